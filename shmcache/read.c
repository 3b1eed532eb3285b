#include "read.h"

#include <string.h>

#include "evict.h"
#include "lock.h"
#include "purge.h"
#include "repair.h"
#include "shared.h"
#include "slab.h"
#include "sum.h"

enum {
    CHECK_EVERY = 1024, /* hits from one check of the sums to the next */
    CHECKED_MAX = 1 << 20,
    SEARCHES = 256, /* longer than moving one chunk takes */
    HELP_EVERY = 100,
    HELD_MAX = UINT16_MAX,
    FETCHED_FIRST = 512,  /* bytes of a head and what follows it, asked for before its entry was seen */
    FETCHED_MAX = 1280, /* bytes asked for ahead of a copy; the processor sees by then where it is going */
};

/* --- word loads of bytes another process may be changing; every part begins at a multiple of 8 ------------------ */

typedef uint64_t __attribute__((may_alias, aligned(1))) any_word; /* a private word, wherever it lies */

static void copy_words(uint8_t *to, const uint8_t *from, size_t len) {
    const uint8_t *end = from + (len & ~(size_t)7);
    for (; from + 64 <= end; from += 64, to += 64)
#pragma GCC unroll 8
        for (int i = 0; i < 64; i += 8) *(any_word *)(to + i) = shared_word(from + i);
    for (; from < end; from += 8, to += 8) *(any_word *)to = shared_word(from);
    if (len & 7) { /* the rest of the word is inside the chunk */
        uint64_t word = shared_word(from);
        memcpy(to, &word, len & 7);
    }
}

/* --- finding ----------------------------------------------------------------------------------------------------- */

bool read_same(const struct shm *shm, const struct found *found) {
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&shm->entries[found->entry].ctl, memory_order_relaxed) == found->ctl;
}

uint8_t read_judge(int64_t now_ns, int64_t fresh_until_ns, int64_t swr_ns, int64_t sie_ns) {
    if (now_ns < fresh_until_ns) return VERDICT_FRESH;
    uint64_t stale_ns = (uint64_t)now_ns - (uint64_t)fresh_until_ns;
    if (stale_ns < (uint64_t)swr_ns) return VERDICT_SWR;
    if (stale_ns < (uint64_t)sie_ns) return VERDICT_SIE;
    return VERDICT_EXPIRED;
}

enum look { LOOK_OTHER, LOOK_CHANGED, LOOK_FOUND };

/* Another key's entry, unless the slot was swung meanwhile and this entry has become another's. */
static enum look other_unless_swung(const struct shm *shm, const struct found *found, const _Atomic uint64_t *at,
                                    uint64_t slot) {
    bool same = read_same(shm, found) && atomic_load_explicit(at, memory_order_relaxed) == slot;
    return same ? LOOK_OTHER : LOOK_CHANGED;
}

/* Is this slot's entry the key's? Fills in a snapshot, not yet confirmed by read_same. */
static enum look look_at(const struct shm *shm, const struct key *key, const _Atomic uint64_t *at, uint64_t slot,
                         struct found *found) {
    uint32_t index = slot_entry(shm, key->stripe, slot);
    if (index / shm->header->per_stripe != key->stripe) return LOOK_OTHER;
    const struct entry *entry = &shm->entries[index];
    fetch(chunk_at(shm, slot_head(slot)), 0, FETCHED_FIRST);
    fetch(entry, SHM_LINE, sizeof *entry);
    uint64_t ctl = atomic_load_explicit(&entry->ctl, memory_order_acquire);
    if (ctl_state(ctl) != STATE_LIVE) return LOOK_CHANGED;
    FP();
    found->entry = index;
    found->ctl = ctl;
    if (LOAD(entry->hash_lo) != key->lo || LOAD(entry->hash_hi) != key->hi)
        return other_unless_swung(shm, found, at, slot);
    found->head = LOAD(entry->head);
    found->size = atomic_load_explicit(&entry->size, memory_order_relaxed);
    found->large = LOAD(entry->large);
    const struct head *head = chunk_at(shm, found->head);
    uint64_t wanted = head_body_at(SHM_LEVELS, key->len, 0) + (found->large ? 0 : found->size);
    fetch(head, FETCHED_FIRST, wanted < FETCHED_MAX ? wanted : FETCHED_MAX);
    uint32_t key_len = LOAD(head->key_len);
    found->tags = LOAD(head->tags);
    FP();
    if (!read_same(shm, found)) return LOOK_CHANGED; /* before lengths are trusted */
    if (key_len != key->len || !shared_same((const uint8_t *)head + head_key_at(found->tags), key->bytes, key->len))
        return other_unless_swung(shm, found, at, slot);
    found->meta_len = LOAD(head->meta_len);
    found->meta_at = (uint32_t)head_meta_at(found->tags, key_len);
    found->body_at = (uint32_t)head_body_at(found->tags, key_len, found->meta_len);
    return LOOK_FOUND;
}

static enum look search(const struct shm *shm, const struct key *key, struct found *found) {
    enum look worst = LOOK_OTHER;
    for (int which = 0; which < 2; which++) {
        _Atomic uint64_t *slots = slots_of(shm, key->stripe, key->bucket[which]);
        for (int way = 0; way < SHM_WAYS; way++) {
            uint64_t slot = atomic_load_explicit(&slots[way], memory_order_acquire);
            if (!slot || slot_tag(slot) != key->tag) continue;
            enum look look = look_at(shm, key, &slots[way], slot, found);
            if (look == LOOK_FOUND) return look;
            if (look == LOOK_CHANGED) worst = look;
        }
    }
    return worst;
}

/* Remember that the entry was found valid, or stale from some moment, at that purge epoch, so that the next reader
 * need not ask each tag. Only when the stripe's lock is free. */
static void confirm(struct shm *shm, const struct found *found, uint64_t epoch, int64_t stale_from_ns) {
    uint32_t stripe = stripe_of(shm, found->entry);
    if (!stripe_enter(shm, stripe, 0)) return;
    if (read_same(shm, found)) entry_confirm_locked(shm, found->entry, epoch, stale_from_ns);
    stripe_leave(shm, stripe);
}

/* Dates and purges of what was found; READ_MISS when it changed meanwhile. */
static enum read_answer examine(struct shm *shm, const struct key *key, int64_t now_ns, struct found *found) {
    const struct entry *entry = entry_at(shm, found->entry);
    const struct head *head = chunk_at(shm, found->head);
    int64_t keep_until_ns = LOAD(head->keep_until_ns), fresh_until_ns = LOAD(head->fresh_until_ns);
    int64_t swr_ns = (int64_t)LOAD(head->swr) * SHM_WINDOW_NS, sie_ns = (int64_t)LOAD(head->sie) * SHM_WINDOW_NS;
    /* the birth first: one that hides a soft purge was written after the moment of that purge */
    uint64_t born = atomic_load_explicit(&entry->born, memory_order_acquire), epoch = purge_generation(shm);
    FP();
    int64_t stale_from_ns = atomic_load_explicit(&entry->stale_from_ns, memory_order_relaxed);
    found->flags = LOAD(head->flags);
    enum judgement judged =
        purge_judge(shm, born, (const uint32_t *)(head + 1), found->tags, key->bytes, key->len, &stale_from_ns);
    if (!read_same(shm, found)) return READ_MISS;
    found->purged = judged == JUDGED_PURGED;
    if (found->purged || now_ns >= keep_until_ns) return READ_DROP;
    if (purge_is_due(shm, born)) confirm(shm, found, epoch, stale_from_ns);
    found->fresh_until_ns = fresh_until_ns < stale_from_ns ? fresh_until_ns : stale_from_ns;
    found->verdict = read_judge(now_ns, found->fresh_until_ns, swr_ns, sie_ns);
    return READ_HIT;
}

/* An entry that keeps changing may have been left half-moved by the dead: entering its stripe repairs that. */
static void help(struct shm *shm, uint32_t stripe) {
    if (stripe_enter(shm, stripe, 0)) stripe_leave(shm, stripe);
}

enum read_answer read_find(struct shm *shm, const struct key *key, int64_t now_ns, struct found *found) {
    for (int i = 0; i < SEARCHES; i++) {
        if (i && i % HELP_EVERY == 0) help(shm, key->stripe);
        enum look look = search(shm, key, found);
        if (look == LOOK_OTHER) return READ_MISS;
        if (look == LOOK_FOUND) {
            enum read_answer answer = examine(shm, key, now_ns, found);
            if (answer == READ_HIT) evict_touch(entry_at(shm, found->entry));
            if (answer != READ_MISS) return answer;
        }
        segment_count(shm, CORE_TORN_READS, 1);
    }
    return READ_MISS;
}

void read_copy(const struct shm *shm, const struct found *found, uint32_t at, void *to, size_t len) {
    FP();
    copy_words(to, (const uint8_t *)chunk_at(shm, found->head) + at, len);
    FP();
}

/* --- pinning ------------------------------------------------------------------------------------------------------- */

bool read_pin(struct shm *shm, const struct found *found) {
    struct entry *entry = entry_at(shm, found->entry);
    if (shm->held[found->entry] == HELD_MAX) return false;
    FP();
    if (!shm->held[found->entry]++) atomic_fetch_or(&entry->pins, 1ull << shm->member);
    FP();
    if (atomic_load(&entry->ctl) == found->ctl) return true;
    read_unpin(shm, found->entry);
    return false;
}

void read_unpin(struct shm *shm, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    uint64_t bit = 1ull << shm->member;
    if (--shm->held[index]) return;
    uint64_t others = atomic_fetch_and(&entry->pins, ~bit) & ~bit;
    FP();
    if (others || ctl_state(atomic_load(&entry->ctl)) != STATE_ZOMBIE) return;
    uint32_t stripe = stripe_of(shm, index);
    if (!stripe_enter(shm, stripe, 0)) { /* never wait in here: the next to enter sweeps */
        atomic_store(&shm->stripes[stripe].sweep_due, 1);
        return;
    }
    if (ctl_state(atomic_load(&entry->ctl)) == STATE_ZOMBIE && !atomic_load(&entry->pins)) entry_free_locked(shm, index);
    stripe_leave(shm, stripe);
}

/* The head, and a small body with it, under the stripe's lock: a few microseconds. */
static bool is_sound_locked(struct shm *shm, const struct found *found) {
    if (!stripe_enter(shm, stripe_of(shm, found->entry), 0)) return true;
    bool sound = !read_same(shm, found) || (sum_head_holds(shm, found->entry) &&
                                            (found->large || sum_body_holds(shm, found->entry)));
    stripe_leave(shm, stripe_of(shm, found->entry));
    return sound;
}

/* What is copied out of a head chunk fits one: looked at every time, for nothing else bounds the copying. */
static bool fits_chunk(const struct found *found) {
    return found->body_at <= SHM_CHUNK_MAX && (found->large || found->size <= SHM_CHUNK_MAX - found->body_at);
}

bool read_sound(struct shm *shm, const struct found *found) {
    if (!fits_chunk(found)) return false;
    if (shm->hits_to_check) {
        shm->hits_to_check--;
        return true;
    }
    shm->hits_to_check = CHECK_EVERY - 1;
    if (!is_sound_locked(shm, found)) return false;
    if (!found->large || found->size > CHECKED_MAX || !read_pin(shm, found)) return true;
    bool sound = sum_body_holds(shm, found->entry);
    read_unpin(shm, found->entry);
    return sound;
}

/* A list that grows is replaced, and its chunk given back only then: if it is still the list afterwards, what was
 * read was its own. */
static uint64_t run_of_pages(const struct shm *shm, const struct entry *entry, uint64_t at, uint64_t end,
                             const uint8_t **bytes) {
    for (;;) {
        uint32_t list = __atomic_load_n(&entry->list, __ATOMIC_ACQUIRE);
        const uint32_t *numbers = list_numbers(shm, list);
        uint64_t first = at / SHM_PAGE, last = first;
        uint32_t page = LOAD(numbers[first]);
        while ((last + 1) * SHM_PAGE < end && LOAD(numbers[last + 1]) == page + (last + 1 - first)) last++;
        atomic_thread_fence(memory_order_acquire);
        if (LOAD(entry->list) != list) continue;
        *bytes = page_at(shm, page) + at % SHM_PAGE;
        return ((last + 1) * SHM_PAGE < end ? (last + 1) * SHM_PAGE : end) - at;
    }
}

uint64_t read_run(const struct shm *shm, uint32_t index, uint64_t size, uint64_t at, const uint8_t **bytes) {
    const struct entry *entry = &shm->entries[index];
    uint64_t paged = (uint64_t)atomic_load_explicit(&entry->npages, memory_order_acquire) * SHM_PAGE;
    if (at < paged) return run_of_pages(shm, entry, at, paged < size ? paged : size, bytes);
    uint64_t within = at - paged, left = size - at, first = TAIL_MAX;
    uint32_t which = within >= first;
    if (which) within -= first;
    else if (left > first - within) left = first - within;
    *bytes = (const uint8_t *)((const struct chunk_header *)chunk_at(shm, entry->tail[which]) + 1) + within;
    return left;
}
