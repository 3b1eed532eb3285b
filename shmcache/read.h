/* Reading without a lock.
 *
 * A reader takes a snapshot: it loads ctl, follows the entry's names with relaxed word loads, and loads ctl
 * again. Equal means that what it read belonged to that entry all the while; anything else is begun again.
 * Small bodies are copied out between two such looks. Large ones are pinned: the member's bit is set in the
 * entry's pin word, and if ctl is still the same after that, nobody frees or moves the body until the bit goes.
 * One atomic operation each way, so there is no instant at which a death could lose a count.
 *
 * The private counts (shm->held) need the caller's own mutual exclusion: in Python, the GIL.
 */
#ifndef SHMCACHE_READ_H
#define SHMCACHE_READ_H

#include "segment.h"
#include "table.h"

enum verdict { VERDICT_FRESH, VERDICT_SWR, VERDICT_SIE, VERDICT_EXPIRED };

enum read_answer {
    READ_HIT,
    READ_MISS,
    READ_DROP,  /* found, but purged or past keep_until: worth store_drop */
};

struct found {
    uint32_t entry;
    uint64_t ctl;
    uint64_t size;
    uint32_t head;
    uint32_t meta_at, meta_len, body_at; /* bytes from the head chunk's start */
    uint32_t tags;                       /* how many */
    int64_t fresh_until_ns;              /* or the moment of a soft purge, if that was earlier */
    uint8_t flags, verdict, large;
    uint8_t purged;                      /* of READ_DROP: by a purge, not by time */
};

/* How fresh is something with these deadlines and windows? enum verdict. */
uint8_t read_judge(int64_t now_ns, int64_t fresh_until_ns, int64_t swr_ns, int64_t sie_ns);

/* The live entry of the key at now_ns. */
enum read_answer read_find(struct shm *shm, const struct key *key, int64_t now_ns, struct found *found);

/* Copy from the head chunk. What came is only good if read_same says so afterwards. */
void read_copy(const struct shm *shm, const struct found *found, uint32_t at, void *to, size_t len);

/* True when the entry is still what read_find saw. */
bool read_same(const struct shm *shm, const struct found *found);

/* Whether nothing of what was found has changed in memory since it was stored. Compares the sums of a few hits only
 * (the first, then every 1,024th of this process; bodies up to 1 MiB), otherwise only sees that what will be copied
 * fits a chunk. */
bool read_sound(struct shm *shm, const struct found *found);

/* Pin what was found; false when it is no longer that. */
bool read_pin(struct shm *shm, const struct found *found);
void read_unpin(struct shm *shm, uint32_t entry);

/* Where the bytes of a pinned body, whole or being filled, from `at` (< size) lie: how many follow at *bytes without a gap. */
uint64_t read_run(const struct shm *shm, uint32_t entry, uint64_t size, uint64_t at, const uint8_t **bytes);

#endif
