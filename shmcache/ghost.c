#include "ghost.h"

#include "lock.h"

enum { GHOSTS_MIN = 8 }; /* remembered however few entries the pool has */

/* {fingerprint 31 | large 1 | clock 32}, newest first in its bucket. */
static uint64_t *bucket_of(struct shm *shm, uint32_t stripe, uint64_t hash_hi) {
    uint32_t ghosts = shm->header->ghosts;
    uint32_t bucket = (uint32_t)hash_hi & (ghosts / SHM_GHOST_WAYS - 1);
    return shm->ghosts + (size_t)stripe * ghosts + (size_t)bucket * SHM_GHOST_WAYS;
}

/* Never 0, which is an empty place. */
static uint32_t fingerprint(uint64_t hash_lo, bool large) {
    return (((uint32_t)(hash_lo >> 32) | 2) & ~1u) | large;
}

/* Entries of the pool; those of large ones as they were at the last eviction. */
static uint32_t residents_locked(const struct shm *shm, uint32_t stripe, bool large) {
    const struct queue *queue = shm->stripes[stripe].queue;
    if (large) return atomic_load_explicit(&shm->header->large_count, memory_order_relaxed);
    return atomic_load_explicit(&queue[QUEUE_SMALL_NEW].count, memory_order_relaxed) +
           atomic_load_explicit(&queue[QUEUE_SMALL_MAIN].count, memory_order_relaxed);
}

static uint32_t clock_locked(const struct shm *shm, uint32_t stripe, bool large) {
    return large ? atomic_load_explicit(&shm->header->large_clock, memory_order_relaxed)
                 : shm->stripes[stripe].ghost_clock;
}

static void advance_locked(struct shm *shm, uint32_t stripe, bool large) {
    if (large) atomic_fetch_add_explicit(&shm->header->large_clock, 1, memory_order_relaxed);
    else shm->stripes[stripe].ghost_clock++;
}

static void close_up(uint64_t *bucket, int way) {
    for (; way < SHM_GHOST_WAYS - 1; way++) bucket[way] = bucket[way + 1];
    bucket[SHM_GHOST_WAYS - 1] = 0;
}

void ghost_make_locked(struct shm *shm, uint32_t stripe, uint64_t hash_lo, uint64_t hash_hi, bool large) {
    uint64_t *bucket = bucket_of(shm, stripe, hash_hi);
    for (int way = SHM_GHOST_WAYS - 1; way > 0; way--) bucket[way] = bucket[way - 1];
    FP();
    bucket[0] = (uint64_t)fingerprint(hash_lo, large) << 32 | clock_locked(shm, stripe, large);
    FP();
    advance_locked(shm, stripe, large);
}

bool ghost_known_locked(struct shm *shm, uint32_t stripe, uint64_t hash_lo, uint64_t hash_hi, bool large, bool forget) {
    uint64_t *bucket = bucket_of(shm, stripe, hash_hi);
    uint32_t residents = residents_locked(shm, stripe, large);
    for (int way = 0; way < SHM_GHOST_WAYS; way++) {
        if (bucket[way] >> 32 != fingerprint(hash_lo, large)) continue;
        uint32_t age = clock_locked(shm, stripe, large) - (uint32_t)bucket[way];
        if (forget) close_up(bucket, way);
        return age <= (residents > GHOSTS_MIN ? residents : GHOSTS_MIN);
    }
    return false;
}
