/* Entering a stripe, and putting right what the dead left.
 *
 * A stripe whose lock owner died is rebuilt from its entries before its lock is declared consistent. Rebuilding
 * trusts an entry's state and names and nothing else, changes nothing it would change differently the second
 * time, and so may itself be killed anywhere.
 */
#ifndef SHMCACHE_REPAIR_H
#define SHMCACHE_REPAIR_H

#include "segment.h"

#define WRITE_PATIENCE_NS 50000000ll

/* Take the stripe's lock, whole again if its last owner died; false when it stayed locked. Never hold two. */
bool stripe_enter(struct shm *shm, uint32_t stripe, int64_t patience_ns);

void stripe_leave(struct shm *shm, uint32_t stripe);

/* Rebuild all that is derived in a stripe from its entries. The stripe is locked, or nobody else lives. */
void stripe_rebuild_locked(struct shm *shm, uint32_t stripe);

struct reaped {
    uint32_t pins, fills, zombies;
    uint32_t skipped; /* stripes that stayed locked: reap again once their holder is gone */
};

/* Give back the pins and half-made entries of a dead member, and its place. Idempotent. */
void reap_member(struct shm *shm, int member, struct reaped *reaped);

#endif
