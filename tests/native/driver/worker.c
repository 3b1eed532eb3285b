#define _GNU_SOURCE
#include "worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "crawl.h"
#include "follow.h"
#include "purge.h"
#include "repair.h"

#define FOREVER_NS (INT64_MAX / 2)

enum { READS = 64, PIECE = 40000 };

#define SEED 0x5eed5eed5eed5eedull

static const uint8_t BOOT[] = "a boot";

uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void give_up(const char *what) {
    perror(what);
    exit(2);
}

void segment_make(struct shm *segment, size_t size, uint32_t stripes, uint32_t entries) {
    int fd = memfd_create("segment", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) give_up("memory for the segment");
    if (segment_create(segment, fd, size, BOOT, sizeof BOOT, stripes, entries) != SEGMENT_OK)
        give_up("laying out the segment");
    segment->header->seed = SEED; /* the same hashes in every run */
    close(fd);
}

struct tally *tallies_make(void) {
    struct tally *tallies =
        mmap(NULL, SHM_MEMBERS * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED) give_up("memory for tallies");
    return tallies;
}

uint64_t tallies_print(const struct tally *tallies) {
    uint64_t operations = 0, hits = 0, followed = 0, torn = 0, foreign = 0, damaged = 0;
    for (const struct tally *tally = tallies; tally < tallies + SHM_MEMBERS; tally++) {
        operations += tally->operations;
        hits += tally->hits;
        followed += tally->followed;
        torn += tally->torn;
        foreign += tally->foreign;
        damaged += tally->damaged;
    }
    printf("operations %" PRIu64 ", bodies read %" PRIu64 ", followed %" PRIu64 ", torn %" PRIu64 ", foreign %" PRIu64
           ", damaged %" PRIu64 "\n", operations, hits, followed, torn, foreign, damaged);
    return torn + foreign + damaged;
}

/* The mapping is shared with the segment's maker, so that ThreadSanitizer knows each byte by one address. */
struct worker *worker_new(const struct shm *segment, int member, uint64_t seed, struct tally *tallies) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker) give_up("memory for a worker");
    worker->shm = *segment;
    worker->shm.held = NULL;
    worker->dice = seed * 2 + 1;
    worker->keys = 60;
    worker->tallies = tallies;
    worker->tally = &tallies[member];
    if (segment_join(&worker->shm, member, getpid(), (int64_t)clock_ns()) != 0) give_up("memory for pins");
    return worker;
}

void worker_free(struct worker *worker) {
    free(worker->shm.held);
    free(worker);
}

/* The number modulo TAGS is its host and its tag. */
void key_of_number(const struct shm *shm, struct key *key, uint32_t number, char *bytes) {
    int len = snprintf(bytes, KEY_MAX, "http://%u/%u", number % TAGS, number);
    key_make(shm, key, (const uint8_t *)bytes, (size_t)len);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static uint32_t slot_of_tag(const struct shm *shm, uint32_t tag) {
    return purge_tag_slot(shm, (const uint8_t *)&tag, sizeof tag);
}

static void draft_make(struct worker *worker, struct draft *draft, uint32_t number, uint32_t meta_len) {
    struct shm *shm = &worker->shm;
    key_of_number(shm, &draft->key, number, draft->name);
    seal(worker->meta, meta_len, number, next_random(&worker->dice));
    draft->tags[0] = slot_of_tag(shm, number % TAGS);
    draft->note = (struct note){
        .meta = worker->meta,
        .meta_len = meta_len,
        .tags = draft->tags,
        .tag_count = 1 + purge_levels(shm, draft->key.bytes, draft->key.len, draft->tags + 1),
        .fresh_until_ns = FOREVER_NS,
        .keep_until_ns = FOREVER_NS,
        .born = purge_generation(shm),
    };
    shm->now_ns = clock_ns();
}

bool worker_put(struct worker *worker, uint32_t number, uint64_t size) {
    struct draft draft;
    draft_make(worker, &draft, number, SEALED_MIN + number % 50);
    seal(worker->scratch, size, number, next_random(&worker->dice));
    return store_body(&worker->shm, &draft.key, &draft.note, worker->scratch, size, WRITE_PATIENCE_NS) == STORE_DONE;
}

static bool write_up_to(struct worker *worker, struct filling *it, uint64_t end) {
    while (it->at < end) {
        uint64_t piece = end - it->at < PIECE ? end - it->at : PIECE;
        if (fill_write(&worker->shm, &it->fill, worker->scratch + it->at, piece) != STORE_DONE) return false;
        it->at += piece;
    }
    return true;
}

/* Let the others follow; before they can the bytes so far must lie in pages. */
static bool invite(struct worker *worker, struct filling *it) {
    if (fill_settle(&worker->shm, &it->fill) != STORE_DONE) return false;
    atomic_store(&worker->tally->follow_number, it->number);
    atomic_store(&worker->tally->follow_word, follow_word(it->fill.ctl, it->fill.entry));
    return true;
}

bool worker_fill_begin(struct worker *worker, uint32_t number, uint64_t size) {
    struct filling *it = &worker->filling;
    draft_make(worker, &it->draft, number, SEALED_MIN);
    seal(worker->scratch, size, number, next_random(&worker->dice));
    it->fill = (struct fill){.key = it->draft.key, .note = it->draft.note};
    it->number = number;
    it->size = size;
    it->at = 0;
    if (!fill_open(&worker->shm, &it->fill, UINT64_MAX, 0)) return false;
    if (size <= PIECE) return write_up_to(worker, it, size / 2);
    return write_up_to(worker, it, PIECE) && invite(worker, it);
}

bool worker_fill_end(struct worker *worker, bool is_wanted) {
    struct filling *it = &worker->filling;
    bool is_done = it->fill.open && write_up_to(worker, it, is_wanted ? it->size : it->size / 2) && is_wanted &&
                   fill_publish(&worker->shm, &it->fill, WRITE_PATIENCE_NS) == STORE_DONE;
    fill_abort(&worker->shm, &it->fill); /* nothing, when it is done */
    atomic_store(&worker->tally->follow_word, 0);
    return is_done;
}

bool worker_fill(struct worker *worker, uint32_t number, uint64_t size, bool is_wanted) {
    bool is_begun = worker_fill_begin(worker, number, size);
    return worker_fill_end(worker, is_wanted && is_begun);
}

bool worker_freshen(struct worker *worker, uint32_t number, uint32_t meta_len) {
    struct draft draft;
    draft_make(worker, &draft, number, meta_len);
    return store_freshen(&worker->shm, &draft.key, &draft.note, WRITE_PATIENCE_NS) == STORE_DONE;
}

bool worker_delete(struct worker *worker, uint32_t number) {
    char name[KEY_MAX];
    struct key key;
    key_of_number(&worker->shm, &key, number, name);
    return store_delete(&worker->shm, &key, 0, WRITE_PATIENCE_NS) == STORE_DONE;
}

void worker_purge_tag(struct worker *worker, uint32_t tag, int64_t soft_ns) {
    purge_tag(&worker->shm, slot_of_tag(&worker->shm, tag), soft_ns);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

static void count(_Atomic uint64_t *what) { atomic_fetch_add_explicit(what, 1, memory_order_relaxed); }

static void judge(struct worker *worker, enum seal seal) {
    if (seal == SEAL_TORN) count(&worker->tally->torn);
    if (seal == SEAL_FOREIGN) count(&worker->tally->foreign);
}

/* Where a pinned body lies. False when it claims to be longer than anybody stored. */
static bool find_runs(struct worker *worker, struct lent *lent) {
    lent->runs = 0;
    for (uint64_t at = 0; at < lent->size; at += lent->run_bytes[lent->runs++]) {
        if (lent->size > BODY_MAX || lent->runs == RUNS) {
            count(&worker->tally->torn);
            lent->runs = 0;
            return false;
        }
        lent->run_bytes[lent->runs] = read_run(&worker->shm, lent->entry, lent->size, at, &lent->run[lent->runs]);
    }
    return true;
}

static void check_pinned(struct worker *worker, const struct lent *lent) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < lent->runs; at += lent->run_bytes[i++])
        memcpy(worker->scratch + at, lent->run[i], lent->run_bytes[i]);
    judge(worker, lent->is_part ? seal_check_start(worker->scratch, lent->size, lent->number)
                                : seal_check(worker->scratch, lent->size, lent->number));
}

void worker_return(struct worker *worker, struct lent *lent) {
    if (!lent->is_held) return;
    check_pinned(worker, lent);
    read_unpin(&worker->shm, lent->entry);
    lent->is_held = false;
}

void worker_return_all(struct worker *worker) {
    for (int i = 0; i < LENT; i++) worker_return(worker, &worker->lent[i]);
}

/* A body in pages: pinned, checked, and kept or let go. False: it changed before it was pinned. */
static bool read_large(struct worker *worker, const struct found *found, uint32_t number, struct lent *kept) {
    struct lent lent = {.size = found->size, .entry = found->entry, .number = number, .is_held = true};
    if (!read_pin(&worker->shm, found)) return false;
    read_copy(&worker->shm, found, found->meta_at, worker->meta, found->meta_len);
    if (read_same(&worker->shm, found)) judge(worker, seal_check(worker->meta, found->meta_len, number));
    if (!find_runs(worker, &lent)) return false;
    check_pinned(worker, &lent);
    if (kept && !kept->is_held) *kept = lent;
    else worker_return(worker, &lent);
    return true;
}

static bool read_small(struct worker *worker, const struct found *found, uint32_t number) {
    read_copy(&worker->shm, found, found->meta_at, worker->meta, found->meta_len);
    read_copy(&worker->shm, found, found->body_at, worker->scratch, found->size);
    if (!read_same(&worker->shm, found)) return false;
    judge(worker, seal_check(worker->meta, found->meta_len, number));
    judge(worker, seal_check(worker->scratch, found->size, number));
    return true;
}

bool worker_get(struct worker *worker, uint32_t number, struct lent *kept) {
    char name[KEY_MAX];
    struct key key;
    key_of_number(&worker->shm, &key, number, name);
    for (int i = 0; i < READS; i++) {
        struct found found;
        enum read_answer answer = read_find(&worker->shm, &key, (int64_t)clock_ns(), &found);
        if (answer == READ_DROP) store_drop(&worker->shm, &key, found.entry, found.ctl, CORE_PURGED);
        if (answer != READ_HIT) return false;
        if (!read_sound(&worker->shm, &found)) {
            count(&worker->tally->damaged);
            store_drop(&worker->shm, &key, found.entry, found.ctl, CORE_DAMAGED);
            return false;
        }
        if (found.meta_len > META_MAX || found.size > BODY_MAX) { /* nobody stored such */
            count(&worker->tally->torn);
            return false;
        }
        if (found.large ? read_large(worker, &found, number, kept) : read_small(worker, &found, number)) {
            count(&worker->tally->hits);
            return true;
        }
    }
    return false;
}

/* Who fills something now; the tallies' word may be gone, or another's, a moment later. */
static struct tally *who_fills(struct worker *worker, int member) {
    for (int i = 0; i < SHM_MEMBERS; i++) {
        struct tally *tally = &worker->tallies[(member + i) % SHM_MEMBERS];
        if (tally != worker->tally && atomic_load(&tally->follow_word)) return tally;
    }
    return worker->tally;
}

bool worker_follow(struct worker *worker, int member, struct lent *kept) {
    struct tally *filler = who_fills(worker, member);
    uint64_t word = atomic_load(&filler->follow_word), announced;
    uint32_t number = atomic_load(&filler->follow_number);
    char name[KEY_MAX];
    struct key key;
    struct found found;
    if (!word) return false;
    key_of_number(&worker->shm, &key, number, name);
    if (!follow_begin(&worker->shm, word, &key, (int64_t)clock_ns(), &found, &announced)) return false;
    struct lent lent = {.entry = found.entry, .number = number, .is_held = true};
    lent.is_part = follow_look(&worker->shm, lent.entry, &lent.size) != FOLLOW_WHOLE;
    if (find_runs(worker, &lent)) check_pinned(worker, &lent);
    count(&worker->tally->followed);
    if (kept && !kept->is_held) *kept = lent;
    else worker_return(worker, &lent);
    return true;
}

/* --- a random operation ----------------------------------------------------------------------------------------------- */

static uint32_t roll(struct worker *worker, uint32_t below) { return (uint32_t)(next_random(&worker->dice) >> 16) % below; }

static void purge_something(struct worker *worker) {
    char prefix[KEY_MAX];
    int64_t soft_ns = roll(worker, 2) ? (int64_t)clock_ns() : 0;
    uint32_t tag = roll(worker, TAGS);
    int host = snprintf(prefix, sizeof prefix, "http://%u/", tag), rule = snprintf(prefix, sizeof prefix, "http://%u/1", tag);
    switch (roll(worker, 8)) {
    case 0: purge_everything(&worker->shm, soft_ns); break;
    case 1: case 2: worker_purge_tag(worker, tag, soft_ns); break;
    case 3: case 4: purge_prefix(&worker->shm, (const uint8_t *)prefix, (size_t)host, soft_ns); break;
    default: purge_prefix(&worker->shm, (const uint8_t *)prefix, (size_t)rule, soft_ns);
    }
}

static void crawl_on(struct worker *worker) {
    struct crawled crawled;
    crawl(&worker->shm, (int64_t)clock_ns(), 256, &crawled);
}

static void do_something(struct worker *worker) {
    static const uint32_t sizes[] = {SEALED_MIN, 900, 3000, 5000, 14000, 30000, 50000, 150000, 260000};
    uint32_t number = roll(worker, worker->keys), choice = roll(worker, 1000);
    uint64_t size = sizes[roll(worker, sizeof sizes / sizeof *sizes)] + roll(worker, 64);
    struct lent *kept = &worker->lent[roll(worker, LENT)];
    if (choice < 220) worker_put(worker, number, size);
    else if (choice < 300) worker_fill(worker, number, size, choice % 4 != 0);
    else if (choice < 350) worker_freshen(worker, number, SEALED_MIN + roll(worker, META_MAX - SEALED_MIN));
    else if (choice < 400) worker_delete(worker, number);
    else if (choice < 405) purge_something(worker);
    else if (choice < 420) crawl_on(worker);
    else if (choice < 500) worker_return(worker, kept);
    else if (choice < 580) worker_follow(worker, (int)roll(worker, SHM_MEMBERS), kept);
    else worker_get(worker, number, choice % 8 ? NULL : kept);
}

void worker_step(struct worker *worker) {
    do_something(worker);
    count(&worker->tally->operations);
}
