/* Writing: whole bodies, bodies in pieces, freshening, deleting, purging. These functions lock by themselves.
 *
 * An entry is FILLING, named by no slot, until it is published by one store. Bytes beyond COPY_UNDER_LOCK are
 * copied while the stripe is not locked: the entry names their room already, and only its filler writes there.
 */
#ifndef SHMCACHE_FILL_H
#define SHMCACHE_FILL_H

#include "segment.h"
#include "table.h"

enum store_answer {
    STORE_DONE,
    STORE_BUSY,      /* the stripe stayed locked; nothing was changed */
    STORE_NO_ROOM,
    STORE_TOO_LARGE, /* key and meta over SHM_CHUNK_MAX, or the body over an eighth of all pages */
    STORE_PURGED,    /* a purge since `born` hit it */
    STORE_GONE,      /* freshen, delete: no such entry */
    STORE_WRONG_SIZE,
    STORE_NOT_ADMITTED, /* very large and asked for for the first time (may_admit_locked) */
};

/* What is stored beside the body. */
struct note {
    const uint8_t *meta;
    uint32_t meta_len;
    const uint32_t *tags; /* slots, those of the key's directories among them: see purge.h */
    uint32_t tag_count;
    int64_t fresh_until_ns, keep_until_ns, swr_ns, sie_ns;
    uint64_t born; /* purge epoch; never 0 here */
    uint8_t flags;
};

/* Largest body this segment takes. */
uint64_t fill_limit(const struct shm *shm);

/* Whether a hard purge since note->born refuses what that fetch brings. Takes no lock. */
bool fill_is_purged(const struct shm *shm, const struct key *key, const struct note *note);

/* Store a body that lies in one piece. patience_ns bounds the wait for the stripe. */
enum store_answer store_body(struct shm *shm, const struct key *key, const struct note *note, const uint8_t *body,
                             uint64_t len, int64_t patience_ns);

/* A body that comes in pieces. `key` and `note` point to memory the caller keeps. */
struct fill {
    struct key key;
    struct note note;
    uint64_t announced; /* bytes, or UINT64_MAX */
    uint64_t max_bytes;
    uint64_t filled;
    uint8_t *buffer;    /* the first bytes, until it is clear that they need pages */
    uint32_t buffer_size;
    void *sum;          /* of the body so far, once it lies in pages */
    uint32_t entry;     /* NOBODY while buffered */
    uint64_t ctl;       /* of that entry, while it is ours */
    bool admitted;      /* the policy has let it in, whatever its size */
    bool open;
};

/* False when it could never be stored: larger than the segment or max_bytes (0: no limit) allows. */
bool fill_open(struct shm *shm, struct fill *fill, uint64_t announced, uint64_t max_bytes);

/* Append. Anything but STORE_DONE has aborted the fill. */
enum store_answer fill_write(struct shm *shm, struct fill *fill, const uint8_t *bytes, size_t len);

/* Move what came so far into pages, where others may follow it (follow.h). Anything but STORE_DONE has aborted it. */
enum store_answer fill_settle(struct shm *shm, struct fill *fill);

/* Make it visible. STORE_BUSY leaves it open; every other answer ends it. */
enum store_answer fill_publish(struct shm *shm, struct fill *fill, int64_t patience_ns);

/* Give everything back. Safe on an ended fill. */
void fill_abort(struct shm *shm, struct fill *fill);

/* New meta and deadlines for a stored body, and new tags unless note->tags is NULL. A soft purge from before
 * note->born is over with it; one since makes it stale again, and a hard one, by an old tag or a new one, refuses
 * it with STORE_GONE. */
enum store_answer store_freshen(struct shm *shm, const struct key *key, const struct note *note, int64_t patience_ns);

/* Unlink a key (soft_ns 0), or make it stale from that moment; so with what is being fetched for it. */
enum store_answer store_delete(struct shm *shm, const struct key *key, int64_t soft_ns, int64_t patience_ns);

/* Drop this very entry if it is still the one that was read, and count why. Never waits. */
void store_drop(struct shm *shm, const struct key *key, uint32_t entry, uint64_t ctl, enum core_counter why);

#endif
