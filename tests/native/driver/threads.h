/* Threads standing in for processes: each has its own view and its own member of one segment. */
#ifndef NATIVE_THREADS_H
#define NATIVE_THREADS_H

#include <stdint.h>

/* Mixed operations by that many threads, then an audit. 0 when every byte was whole and nothing was miscounted. */
int run_threads(int threads, uint64_t operations, uint64_t seed);

#endif
