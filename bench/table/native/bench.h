/* What the C rows share: one segment, keys as a request would bring them, CPU clocks, children that start together. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "fill.h"
#include "read.h"
#include "segment.h"

#define BENCH_NOW_NS 1000000000ull
#define BENCH_FOREVER_NS INT64_MAX

enum { KEY_BYTES = 36, KILO = 1024, MEGA = 1 << 20 };

/* One operation's input. They lie in the order of their use, so that fetching the key costs next to nothing. */
struct request {
    uint32_t number;
    uint8_t key[KEY_BYTES];
};

/* Print what went wrong and end the process. */
_Noreturn void die(const char *what);

uint64_t random_below(uint64_t *state, uint64_t limit);

/* The numbers 0..count-1, each once, shuffled. */
uint32_t *shuffled_numbers(uint32_t count, uint64_t seed);

/* The requests 0..count-1, each once, shuffled. Never freed. */
struct request *shuffled(uint32_t count, uint64_t seed);

void set_request(struct request *request, uint32_t number);

/* What is stored with a request's body. `slots` has room for SHM_LEVELS. */
struct note note_of(const struct shm *shm, const struct request *request, uint32_t *slots);

/* A fresh segment joined as member 0. `stripes` and `entries` 0: derived from the size. */
void make_segment(struct shm *shm, size_t bytes, uint32_t stripes, uint32_t entries);

void join_segment(struct shm *shm, int member);

/* Store a body whose first bytes are the request's number. */
void store_request(struct shm *shm, const struct request *request, uint32_t bytes);

/* Copy the body of a request out and check that it is its own; false when there is none. */
bool get_request(struct shm *shm, const struct request *request);

/* CPU time of this process; the wall clock. */
uint64_t cpu_ns(void);
uint64_t wall_ns(void);

/* The middle one; sorts. */
uint64_t median(uint64_t *values, size_t count);

/* Keep this process on one of the cores. */
void pin_to_core(int number);

/* The measurements of special.c and scale.c. */
void measure_memory(size_t bytes);
void measure_wake(void);
void measure_repair(void);
void measure_reap(void);
void measure_scale(uint32_t objects, size_t bytes, uint32_t rounds);

#endif
