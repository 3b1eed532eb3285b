/* Looking without changing: is everything counted exactly once, and how full is it. */
#ifndef SHMCACHE_AUDIT_H
#define SHMCACHE_AUDIT_H

#include "segment.h"

/* Check every page, chunk, entry, slot, queue and pin. Faults go to `out` as lines, as many as fit in `size`;
 * their number. Takes the stripes one by one (repairing those whose owner died); exact only at rest. */
size_t audit(struct shm *shm, char *out, size_t size);

struct occupancy {
    uint64_t pages_total, pages_used, entries_total, entries_used, bytes_stored, objects;
};

void occupancy(const struct shm *shm, struct occupancy *occupancy);

#endif
