/* A member of the segment and what it can do to the cache, with every byte it reads checked. */
#ifndef NATIVE_WORKER_H
#define NATIVE_WORKER_H

#include "fill.h"
#include "read.h"
#include "sealed.h"
#include "segment.h"

enum { BODY_MAX = 300000, META_MAX = 2000, LENT = 6, TAGS = 8, KEY_MAX = 40, RUNS = 8 };

/* What a member does and saw; lies where the others read it. */
struct tally {
    _Alignas(64) _Atomic uint64_t operations, hits, followed;
    _Atomic uint64_t torn, foreign, damaged; /* nothing of this may ever be seen */
    _Atomic uint64_t follow_word;            /* of a body it is filling, see follow.h; 0: none */
    _Atomic uint32_t follow_number;          /* its key */
};

/* A body kept pinned, or the part of it that was there: by its addresses, which is what a pin promises. */
struct lent {
    uint64_t size;
    uint32_t entry, number, runs;
    bool is_held, is_part;
    const uint8_t *run[RUNS];
    uint64_t run_bytes[RUNS];
};

/* What is stored beside a body: the key's tags are its number modulo TAGS and its directories. */
struct draft {
    char name[KEY_MAX];
    struct key key;
    struct note note;
    uint32_t tags[1 + SHM_LEVELS];
};

/* A body that comes in pieces. */
struct filling {
    struct draft draft;
    struct fill fill;
    uint64_t size, at;
    uint32_t number;
};

struct worker {
    struct shm shm; /* a view of its own: member and pins are the worker's */
    uint64_t dice;
    uint32_t keys;  /* numbers below this are used by worker_step */
    struct tally *tally, *tallies; /* its own, and every member's */
    struct lent lent[LENT];
    struct filling filling;
    uint8_t scratch[BODY_MAX], meta[META_MAX];
};

/* A fresh segment in memory shared with children; exits when it cannot be made. */
void segment_make(struct shm *segment, size_t size, uint32_t stripes, uint32_t entries);

/* Tallies of all members, zeroed, in memory shared with children. */
struct tally *tallies_make(void);

/* Print their sums as a line; how much of it was wrong. */
uint64_t tallies_print(const struct tally *tallies);

/* Join the segment that `segment` maps as `member`. Give it back with worker_free. */
struct worker *worker_new(const struct shm *segment, int member, uint64_t seed, struct tally *tallies);
void worker_free(struct worker *worker);

/* Store a sealed body of `size` bytes under key `number`; true when it was stored. */
bool worker_put(struct worker *worker, uint32_t number, uint64_t size);

/* The same in pieces, open to followers; `is_wanted` false: abandon it half-way. */
bool worker_fill(struct worker *worker, uint32_t number, uint64_t size, bool is_wanted);

/* The two halves of it: up to the first pieces and the invitation to follow; the rest, or giving up. */
bool worker_fill_begin(struct worker *worker, uint32_t number, uint64_t size);
bool worker_fill_end(struct worker *worker, bool is_wanted);

/* Pin and read what a member, that one or the next that does, is filling; false when none can be followed. */
bool worker_follow(struct worker *worker, int member, struct lent *kept);

bool worker_freshen(struct worker *worker, uint32_t number, uint32_t meta_len);
bool worker_delete(struct worker *worker, uint32_t number);

/* Purge the keys whose number is `tag` modulo TAGS; soft_ns as in purge.h. */
void worker_purge_tag(struct worker *worker, uint32_t tag, int64_t soft_ns);

/* Read key `number` whole, meta and body; false when it is not there. `kept`: leave a large body pinned here. */
bool worker_get(struct worker *worker, uint32_t number, struct lent *kept);

/* Check a pinned body again, and let it go. */
void worker_return(struct worker *worker, struct lent *lent);
void worker_return_all(struct worker *worker);

/* One operation of any kind on any key. */
void worker_step(struct worker *worker);

/* Keys by number. `bytes` needs KEY_MAX. */
void key_of_number(const struct shm *shm, struct key *key, uint32_t number, char *bytes);

uint64_t clock_ns(void);

#endif
