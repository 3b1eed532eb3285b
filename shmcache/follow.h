/* Reading a body while another process is still writing it.
 *
 * Who fills a large entry tells those who wait for its lease where it lies: one word {life 32 | entry + 1 32}. A
 * follower pins the FILLING entry as a reader pins a LIVE one; from then on no page of it is given back, whatever
 * becomes of the fill: an aborted or orphaned one stays as a ZOMBIE until the last pin goes. `size` says how many
 * bytes may be read and only grows. The last page is not traded for chunks while anyone follows.
 */
#ifndef SHMCACHE_FOLLOW_H
#define SHMCACHE_FOLLOW_H

#include "read.h"
#include "segment.h"

enum follow_state {
    FOLLOW_RUNNING,
    FOLLOW_WHOLE,  /* all of the body can be read, whether or not the entry is still to be found */
    FOLLOW_BROKEN, /* no more will come: the fill was given up, or its process died */
};

/* The word that leads to an entry. */
static inline uint64_t follow_word(uint64_t ctl, uint32_t entry) { return ctl_life(ctl) << 32 | (entry + 1); }

/* Pin the entry the word names, if it is being filled or whole, holds that key, and no purge has hit it since its
 * fetch began; what is known of it at now_ns, and how long it will be (UINT64_MAX: nobody knows). */
bool follow_begin(struct shm *shm, uint64_t word, const struct key *key, int64_t now_ns, struct found *found,
                  uint64_t *announced);

/* Copy the meta of a pinned entry (found->meta_len bytes); false when it was freshened meanwhile. */
bool follow_meta(const struct shm *shm, const struct found *found, void *to);

/* How it stands with a pinned entry, and how many bytes of it may be read at least. Read the state first: after
 * FOLLOW_WHOLE or FOLLOW_BROKEN *filled is final. */
enum follow_state follow_look(const struct shm *shm, uint32_t entry, uint64_t *filled);

#endif
