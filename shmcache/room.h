/* Making room: what to evict or move when a chunk, a page or an entry is wanted and none is free.
 *
 * The policy (evict.h) decides who leaves; the allocator only moves what stays. A class without a free chunk
 * takes a page from the pool; with an empty pool, victims leave in their order until some class has a whole
 * page's worth of free chunks, and then its emptiest page is cleared by moving the survivors. So no class
 * starves, and no stripe holds more than a page of slack per class.
 *
 * Small and large bodies share the pages by soft quotas: who is over its own gives way, unused room is lent.
 */
#ifndef SHMCACHE_ROOM_H
#define SHMCACHE_ROOM_H

#include "segment.h"

enum { ROOM_TRIES = 12 };

/* A chunk for `entry`; 0 when this stripe should not be the one to give way: leave it and call room_make.
 * `force`: give way all the same. */
uint32_t room_chunk_locked(struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t entry, bool force);

/* Make sure that an entry of this stripe is free; false when all are pinned or being filled. */
bool room_entry_locked(struct shm *shm, uint32_t stripe);

/* Give pages back to the pool, by evicting large bodies or the small ones of the richest stripe. Takes one
 * stripe after another: call it holding none. False when nothing could be evicted. */
bool room_make(struct shm *shm, bool for_small);

#endif
