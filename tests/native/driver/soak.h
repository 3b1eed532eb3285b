/* Processes killed at random while they work on the same keys. */
#ifndef NATIVE_SOAK_H
#define NATIVE_SOAK_H

#include <stdint.h>

/* Run `processes` workers until `kills` of them were killed, from outside or at a fault point; dead ones are reaped
 * at once or much later, now and then by somebody who dies too. Prints what was found every hundred kills. 0 when
 * nothing was wrong and, in the end, nothing left. */
int run_soak(int processes, uint64_t kills, uint64_t seed);

#endif
