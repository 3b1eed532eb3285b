/* The mapping of the segment in this process: where each region lies, who we are. Lays out and checks.
 *
 * Attaching trusts nothing but the code it is in: every number of the header must be what laying out a segment
 * of this size would write today, so that no offset or count is used that this code has not computed itself.
 * What the regions hold is another matter: adopt.h.
 */
#ifndef SHMCACHE_SEGMENT_H
#define SHMCACHE_SEGMENT_H

#include "counter.h"
#include "layout.h"

/* Private to the process. `member` is -1 until `segment_join`. */
struct shm {
    uint8_t *base; /* NULL once unmapped */
    size_t size;
    struct header *header;
    struct member *members;
    _Atomic uint64_t *tags;
    struct soft_mark *soft;
    struct rule *rules;
    struct stripe *stripes;
    _Atomic uint64_t *slots;
    struct entry *entries;
    uint64_t *ghosts;
    struct page *pages;
    uint64_t (*bitmaps)[8];
    _Atomic uint64_t *free_bits;
    uint32_t data_page; /* first page of REGION_DATA, counted from the segment's start */
    int member;
    uint32_t epoch;
    uint64_t now_ns;    /* the latest clock a caller handed in */
    uint32_t hits_to_check; /* until the next one whose sums are checked */
    uint16_t *held;     /* pins this process holds on each entry; the shared bit is set while > 0 */
    uint32_t stuck_stripe;  /* where this process last waited in vain, at which of its turns, and until when it */
    uint32_t stuck_turns;   /* does not wait there again unless somebody has had a turn since */
    uint64_t stuck_until_ns;
    uint64_t pinned_bytes; /* of the bodies this process holds pinned */
    void *statistics;
};

enum segment_answer {
    SEGMENT_OK,
    SEGMENT_NO_MAP,      /* errno tells */
    SEGMENT_NO_MEMORY,
    SEGMENT_TOO_SMALL,
    SEGMENT_BAD_MAGIC,
    SEGMENT_BAD_VERSION,
    SEGMENT_BAD_SHAPE,
    SEGMENT_BAD_LENGTH,  /* of the file: truncated, or longer than it should be */
    SEGMENT_BAD_SIZE,
    SEGMENT_BAD_BOOT,
    SEGMENT_NOT_READY,
    SEGMENT_BAD_PLAN,    /* a number of the header is not what this code would have written */
    SEGMENT_BAD_PURGES,  /* adopt.h */
};

/* Smallest segment that can be laid out, bytes. */
size_t segment_minimum(void);

/* Map fd and lay it out; whatever was there is gone. stripes and entries 0: derived from the size. */
int segment_create(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len,
                   uint32_t stripes, uint32_t entries);

/* Map fd and accept what is there, if this code, this size and this boot made it; any file is safe to try.
 * Others may live in it: their work is not touched. */
int segment_attach(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len);

void segment_close(struct shm *shm);

/* Back these bytes of the segment by huge pages, for all processes, whatever the host's settings for shared memory
 * say; as far as the kernel can (Linux 6.1) and has any. What lies there stays, and may be in use meanwhile; what
 * was never touched takes memory now. */
void segment_collapse(const struct shm *shm, size_t from, size_t end);

/* Become `member`; forgets pins counted before the fork. 0, or -1 without memory. */
int segment_join(struct shm *shm, int member, int32_t pid, int64_t now_ns);

/* The segment's hash of `size` bytes, seeded: for the regions that need no more than 64 bits. */
uint64_t segment_hash(const struct shm *shm, const void *key, size_t size);

static inline uint64_t *bitmap_of(const struct shm *shm, uint32_t page) { return shm->bitmaps[page]; }

static inline struct entry *entry_at(const struct shm *shm, uint32_t index) { return &shm->entries[index]; }

static inline uint32_t stripe_of(const struct shm *shm, uint32_t entry) { return entry / shm->header->per_stripe; }

static inline void *segment_region(const struct shm *shm, enum region region) {
    return shm->base + shm->header->region[region];
}

/* Ask for lines that will be read soon, all at once: waiting for memory is most of what a cold look-up costs. It
 * reads nothing, so the bytes may be anybody's. */
static inline void fetch(const void *bytes, size_t from, size_t end) {
    for (size_t at = from; at < end; at += SHM_LINE) __builtin_prefetch((const uint8_t *)bytes + at);
}

/* Count something in the core's own statistics (enum core_counter). */
static inline void segment_count(struct shm *shm, enum core_counter what, uint64_t amount) {
    counter_add(shm->statistics, shm->member, what, amount);
}

#endif
