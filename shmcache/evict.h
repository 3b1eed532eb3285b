/* The order in which entries leave: S3-FIFO.
 *
 * Bodies up to SHM_SMALL_MAX are the small pool, larger ones the large pool, each with its share of the pages (room.h).
 * The design's bound is 64 KiB of body; the core's is lower, to make up for heads and for what size classes waste.
 * Measured at 1 % of the footprint: with 48 KiB 0.1 to 0.5 points fewer objects and 0.1 to 0.2 more bytes are missed,
 * with 64 KiB 0.1 to 0.4 more objects and 0.1 fewer bytes.
 *
 * Each stripe keeps two pairs of queues, one for each pool. New entries wait in the "new"
 * queue, which is meant to hold a tenth of the pool; those used twice meanwhile move to the "main" queue, the
 * others leave and are remembered as ghosts; an entry whose key is remembered enters main at once. Main gives
 * each entry as many more rounds as its frequency (0..3) says. A hit writes nothing once that is 3.
 *
 * Small entries are ordered per stripe. Large ones are ordered over all stripes together, although each stripe
 * queues its own: entries carry the time they were queued, and the evictor goes to the stripe with the oldest.
 *
 * Functions ending in _locked need the stripe's lock. Entries are named by index.
 */
#ifndef SHMCACHE_EVICT_H
#define SHMCACHE_EVICT_H

#include "segment.h"

enum { NOBODY = UINT32_MAX };

/* Append to a queue; the entry's charge and frequency are the caller's to set. */
void queue_push_locked(struct shm *shm, uint32_t stripe, uint32_t entry, uint32_t queue);

/* Take out of whatever queue it is in. */
void queue_remove_locked(struct shm *shm, uint32_t stripe, uint32_t entry);

/* Empty every queue and fill it again from the entries' own words, in their order. */
void queue_rebuild_locked(struct shm *shm, uint32_t stripe);

/* Over a hundredth of all pages, and not small anyway. */
static inline bool is_very_large(const struct shm *shm, uint64_t size) {
    return size > SHM_SMALL_MAX && size > (uint64_t)shm->header->pages * SHM_PAGE / 100;
}

struct key; /* table.h */

/* May a body of `size` bytes take room? Yes, but when it is very large and there is no free room for it: then its key must be stored or a ghost, else it becomes one, and enters on the next miss. One
 * that is asked for once would otherwise push out many that are not. Measured, bytes missed in points against
 * admitting all, at 0.1 and 1 % of the footprint: Zipf 0.9 -0.7 and -0.1, Zipf 1.1 -0.6 and -0.2, drifting -0.1 and 0;
 * with half of that size as the bound the same, but +0.2 on the drifting trace at 1 %. */
bool may_admit_locked(struct shm *shm, const struct key *key, uint64_t size);

/* Queue a new entry: main when its key left not long ago, else new. */
void admit_locked(struct shm *shm, uint32_t stripe, uint32_t entry);

/* Queue an entry that takes the place of `old`: it inherits its queue and frequency. */
void inherit_locked(struct shm *shm, uint32_t stripe, uint32_t entry, uint32_t old);

/* The next small entry of this stripe to evict, still queued; NOBODY when all are pinned or none is there.
 * Promotes and gives further rounds on its way; the victim of the new queue becomes a ghost. */
uint32_t victim_small_locked(struct shm *shm, uint32_t stripe);

/* The same for this stripe's large entries, whatever the other stripes hold. */
uint32_t victim_large_locked(struct shm *shm, uint32_t stripe, bool main);

/* Where the next large victim is: false when there are no large entries. A hint, read without locks. */
bool evict_where_large(struct shm *shm, uint32_t *stripe, bool *main);

/* Note a hit. Lossy; safe on an entry that has meanwhile become another. */
static inline void evict_touch(struct entry *entry) {
    uint8_t freq = atomic_load_explicit(&entry->freq, memory_order_relaxed);
    if (freq < 3) atomic_store_explicit(&entry->freq, (uint8_t)(freq + 1), memory_order_relaxed);
}

#endif
