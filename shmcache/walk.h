/* Walking over what is stored, for those who want to see it. Changes nothing.
 *
 * Entries are looked at in the order of their numbers, stripe by stripe, some at a time under the stripe's lock, so
 * nobody waits for more than one batch. What is stored or dropped meanwhile may be seen or not; what stays all
 * the while is seen once, unless it is stored anew or its stripe stays locked by a stopped process.
 */
#ifndef SHMCACHE_WALK_H
#define SHMCACHE_WALK_H

#include "segment.h"

enum { WALK_ENTRIES = 65536 }; /* looked at in one call */

/* One stored object, as read_find would find it at that moment. */
struct walked {
    size_t key_at;             /* in walk.keys */
    uint64_t size;             /* bytes of body */
    int64_t fresh_until_ns;    /* or the moment of a soft purge, if that was earlier */
    int64_t keep_until_ns, swr_ns, sie_ns;
    uint32_t key_len, meta_len;
    uint32_t tags;             /* those the caller gave it */
    uint8_t flags, verdict;
};

struct walk {
    const uint8_t *prefix;     /* only keys that begin like this */
    size_t prefix_len;
    int64_t now_ns;
    uint32_t at;               /* the entry to look at next; the number of entries at the end */
    uint32_t found, limit;     /* objects put into `out`, and how many fit */
    struct walked *out;
    uint8_t *keys;
    size_t used, room;         /* bytes of `keys`; room for the longest key (SHM_CHUNK_MAX) lets every walk go on */
};

/* Go on from `at` until something is full, WALK_ENTRIES were looked at, or the end. */
void walk(struct shm *shm, struct walk *walk);

#endif
