/* Checksums of stored objects: they tell bytes that were stored from bytes that a bug, a foreign program or bad
 * memory changed. Not a defence against somebody who may write to the segment.
 *
 * The head's sum covers everything in its chunk before the body (lengths, deadlines, tags, key, meta) and the size;
 * the body has its own. Purge marks are not covered: they change in place.
 */
#ifndef SHMCACHE_SUM_H
#define SHMCACHE_SUM_H

#include "segment.h"

/* Sum of a head chunk for an entry with this hash and body size. `head` must be wholly written. */
uint32_t sum_head(const struct head *head, uint64_t hash_lo, uint64_t size);

/* Sum of a body that lies in one piece. */
uint64_t sum_body(const void *body, size_t len);

/* The same of a body that comes in pieces; NULL without memory. */
void *sum_begin(void);
void sum_add(void *sum, const void *bytes, size_t len);
uint64_t sum_end(void *sum); /* and forget it; safe on NULL only through sum_forget */
void sum_forget(void *sum);

/* Whether a LIVE entry's names, lengths, head and key are what was stored. Trusts nothing it reads, but its stripe
 * must be locked, or nobody else live. */
bool sum_head_holds(const struct shm *shm, uint32_t index);

/* The same of the body of an entry whose head holds. The stripe is locked, the entry is pinned, or nobody else lives. */
bool sum_body_holds(const struct shm *shm, uint32_t index);

#endif
