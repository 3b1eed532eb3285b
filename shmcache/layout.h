/* Every struct that lies in the shared segment, with its units, its writer and its guarding lock.
 *
 * The entry table is the only truth. Index slots, queues, free lists, chunk bitmaps, page owners and byte
 * counts are derived from it: a stripe whose lock owner died is rebuilt from its entries (repair.c), so there
 * is no log, and a repair that dies is simply begun again. Every transition of an entry is one atomic store.
 *
 * All references are offsets or indices; nothing here holds an address. Little-endian, 64 bit.
 */
#ifndef SHMCACHE_LAYOUT_H
#define SHMCACHE_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_MAGIC 0x31484341434d4853ull /* "SHMCACH1" */
#define SHM_LAYOUT_VERSION 3u

enum {
    SHM_MEMBERS = 64,        /* one bit each in a pin word */
    SHM_LEASES = 4096,
    SHM_BUCKETS_MAX = 1 << 18,
    SHM_SCORES = 1024,       /* cells of the scoreboard */
    SHM_BUCKET_BYTES = 16,
    SHM_LINE = 64,           /* of the processor's caches */
    SHM_PAGE = 65536,
    SHM_UNIT = 64,           /* chunk references count these, from the start of the segment; 0 is none */
    SHM_CLASSES = 24,
    SHM_SMALL_MAX = 57344,   /* bytes of body: up to here it belongs to the small pool (evict.h) */
    SHM_CHUNK_MAX = 32768,   /* largest chunk for bytes; the class above it holds page lists only */
    SHM_STRIPES_MAX = 1024,
    SHM_PER_STRIPE_MAX = (1 << 20) - 1, /* entries: what an index slot can tell apart */
    SHM_WAYS = 8,            /* slots per index bucket: one cache line */
    SHM_GHOST_WAYS = 4,
    SHM_TAGS_MAX = 4096,     /* per entry, given by the caller */
    SHM_LEVELS = 8,          /* directories of a key that are tags of their own, see purge.h */
    SHM_SOFT_SHARE = 8,      /* tag slots to one slot of soft purges */
    SHM_RULES = 256,
    SHM_RULE_BYTES = 480,    /* longest prefix a rule can hold */
    SHM_WINDOW_NS = 10000000, /* unit of the stale windows: 10 ms, so that 32 bits hold 497 days */
    SHM_BOOT_ID_MAX = 64,
};

enum region {
    REGION_MEMBERS,    /* struct member [SHM_MEMBERS] */
    REGION_STATISTICS, /* counter.c */
    REGION_LEASES,     /* lease.c */
    REGION_BUCKETS,    /* bucket.c */
    REGION_WINDOWS,    /* window.c; bucket_cells too */
    REGION_TAGS,       /* u64 [tags]: purge epoch of each tag slot, atomic max */
    REGION_SOFT,       /* struct soft_mark [tags / SHM_SOFT_SHARE] */
    REGION_RULES,      /* struct rule [SHM_RULES] */
    REGION_SCORES,     /* struct score [SHM_SCORES]: score.h; atomic words, no lock */
    REGION_PRESENCE,   /* u64 [bucket_cells]: presence.h; a word is its member's */
    REGION_STRIPES,    /* struct stripe [stripes] */
    REGION_SLOTS,      /* u64 [stripes][buckets][SHM_WAYS] */
    REGION_ENTRIES,    /* struct entry [entries]; stripe s has [s * per_stripe, (s + 1) * per_stripe) */
    REGION_GHOSTS,     /* u64 [stripes][ghosts]: ghost.c; hints only */
    REGION_PAGES,      /* struct page [pages] */
    REGION_BITMAPS,    /* u64 [pages][8]: chunks in use of a chunk page; the stripe's lock */
    REGION_FREE,       /* u64 [pages / 64]: hint which pages are free; page.owner decides */
    REGION_DATA,       /* pages of SHM_PAGE bytes, aligned to SHM_PAGE */
    REGIONS,
};

enum { SEGMENT_INIT = 1, SEGMENT_READY = 2 };

/* A soft purge: what was born before `epoch` is stale from `ns` on. The time is written first, both only rise. */
struct soft_mark {
    _Atomic uint64_t epoch;
    _Atomic int64_t ns;
};

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t shape;             /* hash of struct sizes and constants: another compiler's layout is refused */
    uint64_t size_bytes;
    _Atomic uint32_t state;     /* SEGMENT_READY once laid out */
    uint32_t boot_id_len;
    uint8_t boot_id[SHM_BOOT_ID_MAX]; /* of the boot whose CLOCK_MONOTONIC the deadlines are in */
    uint64_t seed;              /* secret of every hash in this segment */
    uint32_t stripes;           /* power of two */
    uint32_t per_stripe;        /* entries of one stripe */
    uint32_t buckets;           /* index buckets of one stripe */
    uint32_t pages;
    uint32_t tags;              /* power of two */
    uint32_t bucket_cells;      /* power of two */
    uint32_t ghosts;            /* per stripe, multiple of SHM_GHOST_WAYS, power of two */
    uint32_t small_pages;       /* soft quota of the small pool, pages */
    uint64_t region[REGIONS];   /* offsets */
    /* own line: written by every purge, see purge.h */
    _Alignas(64) _Atomic uint64_t purge_epoch; /* counts purges; starts at 1 */
    _Atomic uint64_t mark_epoch;  /* the last purge that may concern an entry with an older birth */
    _Atomic uint64_t soft_epoch;  /* the last soft one of them */
    _Atomic uint64_t rule_epoch;  /* the last one by a rule */
    _Atomic uint64_t retired_epoch; /* the last one by a rule that is forgotten: fetches begun before are refused */
    _Atomic uint64_t all_epoch;   /* the last purge of everything */
    struct soft_mark all_soft;    /* the last soft purge of everything */
    _Alignas(64) pthread_mutex_t rules_lock; /* robust, shared: guards the taking of a rule */
    _Atomic uint32_t crawl_stripe; /* where the crawler looks next; a hint */
    /* own line: hints of the allocator */
    _Alignas(64) _Atomic uint32_t free_hand;   /* word of REGION_FREE where the next search begins */
    _Atomic uint32_t chunk_pages;              /* sum over the stripes, refreshed when one changes */
    _Atomic uint32_t small_used;               /* pages' worth of small entries, refreshed with it */
    /* own line: of the large pool, which has one order over all stripes */
    _Alignas(64) _Atomic uint32_t large_clock; /* large entries that became ghosts */
    _Atomic uint32_t large_count;              /* large entries, when one was last evicted */
};
_Static_assert(sizeof(struct header) <= 4096, "the header is one page");

/* One process's place. Written by that process, the epoch by the supervisor alone. */
struct member {
    _Alignas(64) _Atomic int32_t pid;
    _Atomic uint32_t epoch;       /* raised by reap: what carries an older one belongs to the dead */
    _Atomic uint32_t joined;
    uint32_t unused;
    _Atomic int64_t started_ns;
    _Atomic int64_t heartbeat_ns;
    uint8_t pad[224];
};
_Static_assert(sizeof(struct member) == 256, "member");

/* ctl of an entry: {life 32 | move 24 | state 8}. life rises when the entry is taken, move when its chunks do.
 * FREE -> FILLING -> LIVE -> ZOMBIE -> FREE under the stripe's lock; LIVE -> MOVING -> LIVE (move + 2). */
enum { STATE_FREE = 0, STATE_FILLING = 1, STATE_LIVE = 2, STATE_ZOMBIE = 3, STATE_MOVING = 4 };

enum { QUEUE_NONE = 0, QUEUE_SMALL_NEW, QUEUE_SMALL_MAIN, QUEUE_LARGE_NEW, QUEUE_LARGE_MAIN, QUEUES };

/* One stored object. Guarded by its stripe's lock, except ctl, pins, freq, born and stale_from_ns, which anyone may
 * read and touch atomically; while FILLING, pages named here are written by their owner without the lock. */
struct entry {
    _Alignas(64) _Atomic uint64_t ctl;
    uint64_t hash_lo, hash_hi;    /* XXH3-128 of the key */
    _Atomic uint64_t size;        /* bytes of body; those written so far while FILLING */
    uint32_t head;                /* chunk: struct head, tags, key, meta and, when !large, the body */
    uint32_t list;                /* chunk: struct chunk_header, then u32 page numbers (large bodies) */
    uint32_t tail[2];             /* chunks: struct chunk_header, then the bytes after the last full page */
    _Atomic uint32_t npages;      /* valid numbers in the list */
    uint8_t large;                /* the body is in pages and tails */
    _Atomic uint8_t whole;        /* the body is complete: set before LIVE, kept by what was LIVE once */
    uint8_t pad[2];
    _Atomic uint64_t born;        /* purge epoch at which it was last known to be valid; at first that of the fetch */
    /* second line: written by hits and owners */
    _Alignas(64) _Atomic uint64_t pins; /* bit m: member m has it pinned. Never reset, only own bits are cleared */
    uint64_t seq;                 /* ns of entering its queue, rising within it: orders it, and merges the stripes' */
    uint32_t prev, next;          /* queue or free list; entry index + 1 */
    uint32_t charge;              /* bytes of chunks and pages, in SHM_UNIT, while queued */
    uint32_t owner_epoch;         /* who fills it */
    uint8_t owner;
    _Atomic uint8_t freq;         /* 0..3, lossy */
    uint8_t queue;                /* enum above */
    uint8_t mark;                 /* scratch of repair */
    uint8_t damaged;              /* its names may be wrong: nothing is given back by them */
    uint8_t pad2[3];
    _Atomic int64_t stale_from_ns; /* of a soft purge; INT64_MAX: none */
    uint64_t body_sum;            /* XXH3-64 of the body, once whole */
    uint64_t announced;           /* bytes the body will have, while FILLING; UINT64_MAX: not known */
};
_Static_assert(sizeof(struct entry) == 128, "entry");

/* Start of every chunk: whose it is, so that a page can be emptied. */
struct chunk_header {
    uint32_t entry;               /* index */
    uint32_t sum;                 /* of a head: see sum.h */
};

/* Start of a head chunk. Never changes once LIVE: freshening makes a new one and swaps entry.head. */
struct head {
    struct chunk_header chunk;
    uint16_t meta_len, key_len;
    uint16_t tags;                /* u32 tag slots that follow */
    uint8_t flags;                /* the caller's */
    uint8_t pad;
    int64_t fresh_until_ns;
    int64_t keep_until_ns;
    uint32_t swr, sie;            /* windows after fresh_until, in SHM_WINDOW_NS */
    /* u32 tags[], key, meta, body; meta and body begin at multiples of 8 */
};
_Static_assert(sizeof(struct head) == 40, "head");

/* A purge of all keys that begin with some bytes. In use while epoch is not 0; `epoch` is written last. */
struct rule {
    _Alignas(64) _Atomic uint64_t epoch;
    int64_t soft_ns;              /* stale from then on; 0: purged for good */
    uint32_t len;
    uint8_t bytes[SHM_RULE_BYTES];
};
_Static_assert(sizeof(struct rule) == 512, "rule");

/* Page owner: {kind 8 | stripe 24}. Free pages are taken by CAS; the stripe's lock guards the rest. */
enum { PAGE_FREE = 0, PAGE_CHUNKS = 1, PAGE_BODY = 2 };

struct page {
    _Atomic uint32_t owner;
    uint32_t next, prev;          /* list of the stripe's pages of this class that have a free chunk; page + 1 */
    uint16_t used;                /* chunks */
    uint8_t class_;
    uint8_t listed;
};
_Static_assert(sizeof(struct page) == 16, "page");

struct queue {
    uint32_t oldest, newest;      /* entry index + 1 */
    _Atomic uint32_t count;
    _Atomic uint32_t charge;      /* SHM_UNIT */
    _Atomic uint64_t oldest_seq;  /* UINT64_MAX when empty */
};

/* One lock and its share of the entries. Guarded by `lock`. */
struct stripe {
    _Alignas(64) pthread_mutex_t lock; /* robust, shared */
    _Atomic uint32_t sweep_due;   /* a pin was released while the lock was busy: zombies wait */
    uint32_t free_entry;          /* list by entry.next; index + 1 */
    uint32_t used;                /* entries not FREE */
    _Atomic uint32_t chunk_pages; /* pages held for chunks; read without the lock as a hint */
    _Atomic uint32_t body_pages;  /* pages held for large bodies; likewise */
    struct queue queue[QUEUES];   /* all but the links are read without the lock, as hints */
    uint32_t open_page[SHM_CLASSES];   /* list of pages with a free chunk, page + 1 */
    uint32_t free_chunks[SHM_CLASSES];
    uint64_t bytes;               /* key + meta + body of LIVE entries */
    uint32_t objects;             /* LIVE entries */
    uint32_t ghost_clock;         /* small entries that became ghosts */
    _Atomic uint32_t turns;       /* how often it was entered: tells a holder that stands still from a busy stripe */
    uint32_t crawl_at;            /* the crawler's next entry, counted from the stripe's first */
    uint64_t crawl_epoch;         /* purge epoch when its round began */
    _Atomic uint64_t crawl_clean; /* purge epoch when its last whole round began */
};
_Static_assert(sizeof(struct stripe) % 64 == 0 && sizeof(struct stripe) <= 1024, "stripe");

/* Where the parts of a head chunk begin, bytes from its start. */
static inline size_t head_key_at(uint32_t tags) { return sizeof(struct head) + 4ull * tags; }
static inline size_t head_meta_at(uint32_t tags, uint32_t key_len) {
    return (head_key_at(tags) + key_len + 7) & ~7ull;
}
static inline size_t head_body_at(uint32_t tags, uint32_t key_len, uint32_t meta_len) {
    return (head_meta_at(tags, key_len) + meta_len + 7) & ~7ull;
}

static inline uint64_t ctl_state(uint64_t ctl) { return ctl & 0xff; }
static inline uint64_t ctl_with(uint64_t ctl, uint64_t state) { return (ctl & ~0xffull) | state; }
static inline uint64_t ctl_life(uint64_t ctl) { return ctl >> 32; }

#endif
