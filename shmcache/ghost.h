/* Ghosts: the memory of keys that left the new queue of their pool not long ago. Their return is proof of use.
 *
 * A pool's clock counts the ghosts it made, and each ghost carries the clock's time, so that the difference is its
 * age. One older than its pool has entries says nothing any more (S3-FIFO). Measured: without that bound two
 * points more bytes were missed (zipf 0.9, 1 % of the footprint). Small entries have a clock per stripe and large
 * ones a common one, as they have their queues.
 *
 * Ghosts are hints. A death in here loses or doubles one, which costs or spares a miss. All functions need the lock
 * of the key's stripe. `large`: of which pool.
 */
#ifndef SHMCACHE_GHOST_H
#define SHMCACHE_GHOST_H

#include "segment.h"

/* Remember a key. */
void ghost_make_locked(struct shm *shm, uint32_t stripe, uint64_t hash_lo, uint64_t hash_hi, bool large);

/* True when the key is remembered and young enough; `forget` takes it out. */
bool ghost_known_locked(struct shm *shm, uint32_t stripe, uint64_t hash_lo, uint64_t hash_hi, bool large, bool forget);

#endif
