#include "fill.h"

#include <stdlib.h>
#include <string.h>

#include "evict.h"
#include "lock.h"
#include "purge.h"
#include "repair.h"
#include "room.h"
#include "shared.h"
#include "slab.h"
#include "sum.h"

enum {
    COPY_UNDER_LOCK = 4096,
    PAGES_AT_ONCE = 16,
    LIST_FIRST = 30,                   /* page numbers of the smallest list: one chunk of 128 bytes */
    BUFFER_FIRST = 4096,
    TAIL_WORTH = SHM_PAGE / 8 * 7,     /* a tail that needs more keeps its page */
    LARGE_SHARE = 8,                   /* of all pages, one body may take this part */
};

/* --- parts ---------------------------------------------------------------------------------------------------- */

uint64_t fill_limit(const struct shm *shm) {
    uint64_t limit = (uint64_t)(shm->header->pages / LARGE_SHARE) * SHM_PAGE;
    uint64_t listed = (SHM_PAGE - sizeof(struct chunk_header)) / sizeof(uint32_t) * (uint64_t)SHM_PAGE;
    return limit < listed ? limit : listed;
}

/* Whether the purges since the fetch began let it be stored; lowers *stale_from_ns to the soft ones. */
static bool passes_purges(const struct shm *shm, const struct key *key, const struct note *note, int64_t *stale_from_ns) {
    enum judgement judged =
        purge_judge(shm, note->born, note->tags, note->tag_count, key->bytes, key->len, stale_from_ns);
    FP();
    /* then what is forgotten: a rule that was not there to judge has raised retired_epoch before it went */
    return judged != JUDGED_PURGED && !purge_refuses(shm, note->born, key->lo, key->hi, stale_from_ns);
}

/* The same for an entry that is to be LIVE next; notes on it what the purges were. */
static bool pass_purges_locked(struct shm *shm, const struct key *key, const struct note *note, uint32_t index) {
    int64_t stale_from_ns = INT64_MAX;
    uint64_t epoch = purge_generation(shm);
    if (!passes_purges(shm, key, note, &stale_from_ns)) return false;
    entry_confirm_locked(shm, index, epoch, stale_from_ns);
    return true;
}

bool fill_is_purged(const struct shm *shm, const struct key *key, const struct note *note) {
    int64_t stale_from_ns = INT64_MAX;
    return !passes_purges(shm, key, note, &stale_from_ns);
}

static size_t head_bytes(const struct key *key, const struct note *note) {
    return head_body_at(note->tag_count, key->len, note->meta_len);
}

/* A stale window in the head's unit, rounded down: never longer than allowed. */
static uint32_t window_of(int64_t ns) {
    int64_t units = ns / SHM_WINDOW_NS;
    return units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static void write_head(struct head *head, uint32_t entry, const struct key *key, const struct note *note) {
    uint8_t *start = (uint8_t *)head;
    STORE(head->chunk.entry, entry);
    STORE(head->meta_len, (uint16_t)note->meta_len);
    STORE(head->key_len, (uint16_t)key->len);
    STORE(head->tags, (uint16_t)note->tag_count);
    STORE(head->fresh_until_ns, note->fresh_until_ns);
    STORE(head->keep_until_ns, note->keep_until_ns);
    STORE(head->swr, window_of(note->swr_ns));
    STORE(head->sie, window_of(note->sie_ns));
    STORE(head->flags, note->flags);
    STORE(head->pad, 0);
    if (note->tag_count) shared_copy(start + sizeof *head, note->tags, 4ull * note->tag_count);
    shared_copy(start + head_key_at(note->tag_count), key->bytes, key->len);
    if (note->meta_len) shared_copy(start + head_meta_at(note->tag_count, key->len), note->meta, note->meta_len);
}

/* The head's sum, once the size is known and before anyone can see it. */
static void seal_head(struct shm *shm, uint32_t index, uint32_t chunk) {
    const struct entry *entry = entry_at(shm, index);
    struct head *head = chunk_at(shm, chunk);
    STORE(head->chunk.sum, sum_head(head, entry->hash_lo, atomic_load_explicit(&entry->size, memory_order_relaxed)));
    FP();
}

static bool is_ours(const struct shm *shm, uint32_t entry, uint64_t ctl) {
    return atomic_load(&shm->entries[entry].ctl) == ctl;
}

/* The stripe stayed locked, so a half-made entry cannot be freed now: disown it for the next sweep. */
static void abandon(struct shm *shm, uint32_t stripe, uint32_t entry) {
    __atomic_store_n(&entry_at(shm, entry)->owner_epoch, 0, __ATOMIC_RELEASE);
    FP();
    atomic_store(&shm->stripes[stripe].sweep_due, 1);
    segment_count(shm, CORE_LOCK_TIMEOUTS, 1);
}

/* A chunk for our FILLING entry, leaving and entering the stripe to make room. 0: none, and *held tells
 * whether the stripe is still locked (when not, the entry is lost to us). */
static uint32_t chunk_for(struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t entry, bool *held) {
    for (int attempt = 0; attempt < ROOM_TRIES; attempt++) {
        uint32_t chunk = room_chunk_locked(shm, stripe, class_, entry, attempt >= ROOM_TRIES / 2);
        if (chunk) return chunk;
        stripe_leave(shm, stripe);
        room_make(shm, true);
        *held = stripe_enter(shm, stripe, WRITE_PATIENCE_NS);
        if (!*held) {
            abandon(shm, stripe, entry);
            return 0;
        }
    }
    return 0;
}

/* STORE_DONE when purges and the policy let a body of that size in. */
static enum store_answer may_begin_locked(struct shm *shm, const struct key *key, const struct note *note, uint64_t size) {
    if (fill_is_purged(shm, key, note)) return STORE_PURGED;
    return may_admit_locked(shm, key, size) ? STORE_DONE : STORE_NOT_ADMITTED;
}

/* A FILLING entry with a head chunk of `bytes`, for a body of `size`, as far as that is known. On success the stripe is locked, else not. */
static enum store_answer begin_entry(struct shm *shm, const struct key *key, const struct note *note, size_t bytes,
                                     uint64_t size, int64_t patience_ns, uint32_t *entry) {
    if (!stripe_enter(shm, key->stripe, patience_ns)) return STORE_BUSY;
    enum store_answer answer = may_begin_locked(shm, key, note, size);
    bool held = true;
    if (answer == STORE_DONE) {
        answer = STORE_NO_ROOM;
        *entry = room_entry_locked(shm, key->stripe) ? entry_take_locked(shm, key, note->born) : NOBODY;
        if (*entry != NOBODY) {
            uint32_t chunk = chunk_for(shm, key->stripe, slab_class((uint32_t)bytes), *entry, &held);
            if (chunk) {
                FP();
                STORE(entry_at(shm, *entry)->head, chunk);
                FP();
                write_head(chunk_at(shm, chunk), *entry, key, note);
                return STORE_DONE;
            }
            if (held) entry_free_locked(shm, *entry);
        }
        segment_count(shm, CORE_NO_ROOM, 1);
    }
    if (held) stripe_leave(shm, key->stripe);
    return answer;
}

/* Drop a finished entry that was purged meanwhile; who follows it still has all of it. */
static void refuse_locked(struct shm *shm, uint32_t index) {
    atomic_store_explicit(&entry_at(shm, index)->whole, 1, memory_order_release);
    FP();
    entry_drop_locked(shm, index);
}

/* Make a finished entry visible, unless it was purged meanwhile. Leaves the stripe. */
static enum store_answer publish_locked(struct shm *shm, const struct key *key, const struct note *note, uint32_t index) {
    bool passed = pass_purges_locked(shm, key, note, index);
    if (passed) entry_publish_locked(shm, key, index);
    else refuse_locked(shm, index);
    segment_count(shm, !passed ? CORE_PURGED : entry_at(shm, index)->large ? CORE_STORES_LARGE : CORE_STORES_SMALL, 1);
    stripe_leave(shm, key->stripe);
    return passed ? STORE_DONE : STORE_PURGED;
}

/* --- small bodies: one chunk -------------------------------------------------------------------------------------- */

static enum store_answer store_small(struct shm *shm, const struct key *key, const struct note *note,
                                     const uint8_t *body, uint32_t len, int64_t patience_ns) {
    size_t body_at = head_bytes(key, note);
    uint64_t sum = sum_body(body, len);
    table_foresee(shm, key);
    uint32_t index;
    enum store_answer answer = begin_entry(shm, key, note, body_at + len, len, patience_ns, &index);
    if (answer != STORE_DONE) return answer;
    struct entry *entry = entry_at(shm, index);
    uint8_t *to = (uint8_t *)chunk_at(shm, entry->head) + body_at;
    if (len <= COPY_UNDER_LOCK) {
        if (len) shared_copy(to, body, len);
    } else {
        stripe_leave(shm, key->stripe);
        FP();
        shared_copy(to, body, len);
        if (!stripe_enter(shm, key->stripe, WRITE_PATIENCE_NS)) {
            abandon(shm, key->stripe, index);
            return STORE_NO_ROOM;
        }
    }
    atomic_store_explicit(&entry->size, len, memory_order_relaxed);
    entry->body_sum = sum;
    seal_head(shm, index, entry->head);
    return publish_locked(shm, key, note, index);
}

/* --- large bodies: pages and a tail ---------------------------------------------------------------------------------- */

static enum store_answer begin_large(struct shm *shm, struct fill *fill, int64_t patience_ns) {
    size_t bytes = head_bytes(&fill->key, &fill->note);
    uint32_t index;
    if (!fill->sum && !(fill->sum = sum_begin())) return STORE_NO_ROOM;
    fill->admitted = fill->announced != UINT64_MAX;
    enum store_answer answer = begin_entry(shm, &fill->key, &fill->note, bytes, fill->admitted ? fill->announced : 0,
                                           patience_ns, &index);
    if (answer != STORE_DONE) return answer;
    struct entry *entry = entry_at(shm, index);
    FP();
    STORE(entry->large, 1);
    entry->announced = fill->announced;
    FP();
    fill->ctl = atomic_load(&entry->ctl);
    fill->entry = index;
    stripe_leave(shm, fill->key.stripe);
    return STORE_DONE;
}

/* Make the list hold `count` numbers. The stripe is locked before; after only if *held. */
static bool grow_list(struct shm *shm, struct fill *fill, uint32_t count, bool *held) {
    struct entry *entry = entry_at(shm, fill->entry);
    uint32_t old = entry->list, holds = old ? list_holds(shm, old) : 0;
    if (count <= holds) return true;
    uint32_t wanted = holds * 2 > count ? holds * 2 : count > LIST_FIRST ? count : LIST_FIRST;
    uint32_t bytes = wanted * 4 + (uint32_t)sizeof(struct chunk_header);
    uint32_t list = chunk_for(shm, fill->key.stripe, slab_class(bytes < SHM_PAGE ? bytes : SHM_PAGE), fill->entry, held);
    if (!list) return false;
    if (holds) shared_copy(list_numbers(shm, list), list_numbers(shm, old), atomic_load(&entry->npages) * 4ull);
    FP();
    __atomic_store_n(&entry->list, list, __ATOMIC_RELEASE);
    atomic_thread_fence(memory_order_seq_cst); /* who follows sees the new list before the old chunk changes */
    FP();
    if (old) chunk_give_locked(shm, fill->key.stripe, old);
    return true;
}

/* A body of unknown size is judged once, when it turns out to be very large. */
static bool may_grow_locked(struct shm *shm, struct fill *fill, uint32_t npages) {
    uint64_t size = (uint64_t)npages * SHM_PAGE;
    if (!fill->admitted && is_very_large(shm, size)) {
        if (!may_admit_locked(shm, &fill->key, size)) return false;
        fill->admitted = true;
    }
    return true;
}

/* Up to `wanted` more pages for the entry; at least one, or false. Locks and unlocks. */
static bool grow_pages(struct shm *shm, struct fill *fill, uint32_t wanted) {
    struct entry *entry = entry_at(shm, fill->entry);
    uint32_t stripe = fill->key.stripe, npages = atomic_load(&entry->npages), got = 0;
    for (int attempt = 0; attempt < ROOM_TRIES && !got; attempt++) {
        bool held = stripe_enter(shm, stripe, WRITE_PATIENCE_NS);
        if (!held) {
            segment_count(shm, CORE_LOCK_TIMEOUTS, 1);
            return false;
        }
        if (!is_ours(shm, fill->entry, fill->ctl) || !may_grow_locked(shm, fill, npages + wanted) ||
            !grow_list(shm, fill, npages + wanted, &held)) {
            if (held) stripe_leave(shm, stripe);
            return false;
        }
        uint32_t *numbers = list_numbers(shm, entry->list), page;
        while (got < wanted && (page = page_take_locked(shm, stripe, PAGE_BODY))) {
            STORE(numbers[npages + got++], page - 1);
            FP();
            atomic_store_explicit(&entry->npages, npages + got, memory_order_release);
        }
        stripe_leave(shm, stripe);
        if (!got && !room_make(shm, false)) break;
    }
    return got > 0;
}

static enum store_answer write_pages(struct shm *shm, struct fill *fill, const uint8_t *bytes, size_t len) {
    struct entry *entry = entry_at(shm, fill->entry);
    uint64_t at = atomic_load_explicit(&entry->size, memory_order_relaxed);
    while (len) {
        uint32_t page = (uint32_t)(at / SHM_PAGE), offset = (uint32_t)(at % SHM_PAGE);
        if (page == atomic_load_explicit(&entry->npages, memory_order_relaxed)) {
            uint64_t wanted = (len + SHM_PAGE - 1) / SHM_PAGE;
            if (!grow_pages(shm, fill, wanted < PAGES_AT_ONCE ? (uint32_t)wanted : PAGES_AT_ONCE))
                return STORE_NO_ROOM;
        }
        size_t piece = len < SHM_PAGE - offset ? len : SHM_PAGE - offset;
        shared_copy(page_at(shm, list_numbers(shm, entry->list)[page]) + offset, bytes, piece);
        sum_add(fill->sum, bytes, piece);
        FP();
        at += piece;
        bytes += piece;
        len -= piece;
        atomic_store_explicit(&entry->size, at, memory_order_release);
    }
    return STORE_DONE;
}

/* Bytes of the last page that a chunk or two would hold in less room; 0 when the page is better kept. */
static uint32_t tail_of(uint64_t size) {
    uint32_t tail = (uint32_t)(size % SHM_PAGE), first = tail < TAIL_MAX ? tail : TAIL_MAX;
    if (!tail) return 0;
    uint32_t bytes = slab_class_bytes[slab_class(first + sizeof(struct chunk_header))];
    if (tail > first) bytes += slab_class_bytes[slab_class(tail - first + sizeof(struct chunk_header))];
    return bytes <= TAIL_WORTH ? tail : 0;
}

/* Chunks for the tail, named by the entry but not yet filled. False: no room, or, without *held, all is lost. */
static bool take_tails(struct shm *shm, struct fill *fill, uint32_t tail, bool *held) {
    struct entry *entry = entry_at(shm, fill->entry);
    for (int i = 0; i < 2 && tail; i++) {
        uint32_t piece = tail < TAIL_MAX ? tail : TAIL_MAX;
        uint32_t class_ = slab_class(piece + sizeof(struct chunk_header));
        uint32_t chunk = chunk_for(shm, fill->key.stripe, class_, fill->entry, held);
        if (!chunk) return false;
        FP();
        entry->tail[i] = chunk;
        tail -= piece;
    }
    return true;
}

static void drop_tails_locked(struct shm *shm, struct fill *fill) {
    struct entry *entry = entry_at(shm, fill->entry);
    for (int i = 0; i < 2; i++) {
        uint32_t chunk = entry->tail[i];
        entry->tail[i] = 0;
        FP();
        if (chunk) chunk_give_locked(shm, fill->key.stripe, chunk);
    }
}

/* The tails take the place of the last page, unless somebody follows the fill and may be reading there.
 *
 * MOVING (seq_cst) before the pins are read: whoever pins after that sees MOVING and lets go. */
static void give_last_page_locked(struct shm *shm, struct fill *fill, uint32_t last) {
    struct entry *entry = entry_at(shm, fill->entry);
    uint64_t moving = ctl_with(fill->ctl + (1 << 8), STATE_MOVING);
    atomic_store(&entry->ctl, moving);
    FP();
    if (atomic_load(&entry->pins)) {
        drop_tails_locked(shm, fill);
    } else {
        uint32_t page = list_numbers(shm, entry->list)[last];
        atomic_store(&entry->npages, last);
        FP();
        page_give_locked(shm, fill->key.stripe, page);
    }
    FP();
    fill->ctl = ctl_with(moving + (1 << 8), STATE_FILLING);
    atomic_store(&entry->ctl, fill->ctl);
}

/* Move the bytes of the last, partial page into chunks. The stripe is locked before and, if it returns true,
 * after; in between it is not. False: the entry was abandoned. */
static bool trim_tail(struct shm *shm, struct fill *fill) {
    struct entry *entry = entry_at(shm, fill->entry);
    uint32_t tail = tail_of(atomic_load(&entry->size)), last = atomic_load(&entry->npages) - 1;
    if (!tail) return true;
    bool held = true;
    if (!take_tails(shm, fill, tail, &held)) {
        if (held) drop_tails_locked(shm, fill);
        return held;
    }
    stripe_leave(shm, fill->key.stripe);
    uint32_t page = list_numbers(shm, entry->list)[last], first = tail < TAIL_MAX ? tail : TAIL_MAX;
    shared_copy(list_numbers(shm, entry->tail[0]), page_at(shm, page), first);
    FP();
    if (tail > first) shared_copy(list_numbers(shm, entry->tail[1]), page_at(shm, page) + first, tail - first);
    if (!stripe_enter(shm, fill->key.stripe, WRITE_PATIENCE_NS)) {
        abandon(shm, fill->key.stripe, fill->entry);
        return false;
    }
    if (is_ours(shm, fill->entry, fill->ctl)) give_last_page_locked(shm, fill, last);
    return true;
}

static enum store_answer publish_large(struct shm *shm, struct fill *fill, int64_t patience_ns) {
    uint32_t stripe = fill->key.stripe;
    if (!stripe_enter(shm, stripe, patience_ns)) return STORE_BUSY;
    fill->open = false;
    if (is_ours(shm, fill->entry, fill->ctl) && !trim_tail(shm, fill)) return STORE_NO_ROOM;
    if (!is_ours(shm, fill->entry, fill->ctl)) {
        stripe_leave(shm, stripe);
        return STORE_GONE;
    }
    entry_at(shm, fill->entry)->body_sum = sum_end(fill->sum);
    fill->sum = NULL;
    seal_head(shm, fill->entry, entry_at(shm, fill->entry)->head);
    return publish_locked(shm, &fill->key, &fill->note, fill->entry);
}

/* --- bodies in pieces --------------------------------------------------------------------------------------------------- */

/* Bodies up to here lie in the head chunk; 0 when not even the head fits. */
static uint32_t small_limit(const struct fill *fill) {
    size_t head = head_bytes(&fill->key, &fill->note);
    return head < SHM_CHUNK_MAX ? (uint32_t)(SHM_CHUNK_MAX - head) : 0;
}

bool fill_open(struct shm *shm, struct fill *fill, uint64_t announced, uint64_t max_bytes) {
    uint64_t limit = fill_limit(shm);
    fill->announced = announced;
    fill->max_bytes = max_bytes && max_bytes < limit ? max_bytes : limit;
    fill->filled = 0;
    fill->buffer = NULL;
    fill->buffer_size = 0;
    fill->sum = NULL;
    fill->entry = NOBODY;
    fill->open = small_limit(fill) > 0 && (announced == UINT64_MAX || announced <= fill->max_bytes);
    return fill->open;
}

static bool buffer_bytes(struct fill *fill, const uint8_t *bytes, size_t len) {
    size_t needed = fill->filled + len;
    if (needed > fill->buffer_size) {
        size_t size = fill->buffer_size ? fill->buffer_size * 2ull : BUFFER_FIRST;
        if (size < needed) size = needed;
        uint8_t *larger = realloc(fill->buffer, size);
        if (!larger) return false;
        fill->buffer = larger;
        fill->buffer_size = (uint32_t)size;
    }
    memcpy(fill->buffer + fill->filled, bytes, len);
    return true;
}

/* From buffer to pages. */
static enum store_answer spill(struct shm *shm, struct fill *fill) {
    enum store_answer answer = begin_large(shm, fill, WRITE_PATIENCE_NS);
    if (answer == STORE_DONE && fill->filled) answer = write_pages(shm, fill, fill->buffer, fill->filled);
    free(fill->buffer);
    fill->buffer = NULL;
    return answer;
}

static enum store_answer append(struct shm *shm, struct fill *fill, const uint8_t *bytes, size_t len) {
    if (fill->entry == NOBODY) {
        bool small = fill->filled + len <= small_limit(fill);
        if (fill->announced != UINT64_MAX && fill->announced > small_limit(fill)) small = false;
        if (small) return buffer_bytes(fill, bytes, len) ? STORE_DONE : STORE_NO_ROOM;
        enum store_answer answer = spill(shm, fill);
        if (answer != STORE_DONE) return answer;
    }
    return write_pages(shm, fill, bytes, len);
}

enum store_answer fill_write(struct shm *shm, struct fill *fill, const uint8_t *bytes, size_t len) {
    uint64_t total = fill->filled + len;
    enum store_answer answer = STORE_DONE;
    if (total > fill->max_bytes) answer = STORE_TOO_LARGE;
    else if (total > fill->announced) answer = STORE_WRONG_SIZE;
    else if (len) answer = append(shm, fill, bytes, len);
    if (answer == STORE_DONE) fill->filled = total;
    else fill_abort(shm, fill);
    return answer;
}

enum store_answer fill_settle(struct shm *shm, struct fill *fill) {
    enum store_answer answer = fill->entry == NOBODY ? spill(shm, fill) : STORE_DONE;
    if (answer != STORE_DONE) fill_abort(shm, fill);
    return answer;
}

enum store_answer fill_publish(struct shm *shm, struct fill *fill, int64_t patience_ns) {
    if (fill->announced != UINT64_MAX && fill->announced != fill->filled) {
        fill_abort(shm, fill);
        return STORE_WRONG_SIZE;
    }
    if (fill->entry != NOBODY) return publish_large(shm, fill, patience_ns);
    enum store_answer answer =
        store_small(shm, &fill->key, &fill->note, fill->buffer, (uint32_t)fill->filled, patience_ns);
    if (answer != STORE_BUSY) fill_abort(shm, fill);
    return answer;
}

void fill_abort(struct shm *shm, struct fill *fill) {
    free(fill->buffer);
    fill->buffer = NULL;
    if (fill->sum) sum_forget(fill->sum);
    fill->sum = NULL;
    if (!fill->open) return;
    fill->open = false;
    if (fill->entry == NOBODY) return;
    if (!stripe_enter(shm, fill->key.stripe, WRITE_PATIENCE_NS)) {
        if (is_ours(shm, fill->entry, fill->ctl)) abandon(shm, fill->key.stripe, fill->entry);
        return;
    }
    if (is_ours(shm, fill->entry, fill->ctl)) entry_drop_locked(shm, fill->entry);
    stripe_leave(shm, fill->key.stripe);
}

enum store_answer store_body(struct shm *shm, const struct key *key, const struct note *note, const uint8_t *body,
                             uint64_t len, int64_t patience_ns) {
    size_t head = head_bytes(key, note);
    if (head > SHM_CHUNK_MAX) return STORE_TOO_LARGE;
    if (head + len <= SHM_CHUNK_MAX) return store_small(shm, key, note, body, (uint32_t)len, patience_ns);
    struct fill fill = {.key = *key, .note = *note};
    fill_open(shm, &fill, len, 0);
    if (len > fill.max_bytes) return STORE_TOO_LARGE;
    enum store_answer answer = begin_large(shm, &fill, patience_ns);
    if (answer != STORE_DONE) {
        fill_abort(shm, &fill);
        return answer;
    }
    answer = write_pages(shm, &fill, body, len);
    if (answer == STORE_DONE) answer = publish_large(shm, &fill, WRITE_PATIENCE_NS);
    fill_abort(shm, &fill);
    return answer == STORE_BUSY ? STORE_NO_ROOM : answer;
}

/* --- freshening -------------------------------------------------------------------------------------------------------- */

/* Swap the head chunk of a large entry; its body stays where it is. stale_from_ns: of the soft purges that the
 * freshening does not undo. */
static void swap_head_locked(struct shm *shm, uint32_t stripe, uint32_t index, uint32_t chunk, int64_t stale_from_ns) {
    struct entry *entry = entry_at(shm, index);
    struct stripe *it = &shm->stripes[stripe];
    uint32_t old = entry->head, queue = entry->queue;
    uint64_t ctl = atomic_load(&entry->ctl), moving = ctl_with(ctl + (1 << 8), STATE_MOVING);
    it->bytes -= entry_bytes(shm, entry);
    atomic_store(&entry->ctl, moving);
    FP();
    __atomic_store_n(&entry->head, chunk, __ATOMIC_RELEASE);
    FP();
    atomic_store(&entry->stale_from_ns, stale_from_ns); /* after the head: the old one must not become fresh again */
    FP();
    atomic_store(&entry->ctl, ctl_with(moving + (1 << 8), STATE_LIVE));
    FP();
    table_head_moved_locked(shm, index);
    FP();
    chunk_give_locked(shm, stripe, old);
    it->bytes += entry_bytes(shm, entry);
    queue_remove_locked(shm, stripe, index);
    FP();
    entry->charge = entry_charge(shm, entry);
    queue_push_locked(shm, stripe, index, queue);
}

/* The live entry of the key that may still be served; NOBODY otherwise. What purges say is noted on it. */
static uint32_t usable_locked(struct shm *shm, const struct key *key) {
    _Atomic uint64_t *slot = table_find_locked(shm, key);
    if (!slot) return NOBODY;
    uint32_t index = slot_entry(shm, key->stripe, atomic_load(slot));
    const struct head *head = chunk_at(shm, entry_at(shm, index)->head);
    int64_t stale_from_ns = INT64_MAX;
    uint64_t born = atomic_load(&entry_at(shm, index)->born), epoch = purge_generation(shm);
    if (purge_judge(shm, born, (const uint32_t *)(head + 1), head->tags, key->bytes, key->len, &stale_from_ns) == JUDGED_PURGED)
        return NOBODY;
    entry_confirm_locked(shm, index, epoch, stale_from_ns);
    return index;
}

/* Whether no purge since the origin was asked hit the entry for good, by the tags it has or those it is to have;
 * lowers *stale_from_ns to the soft ones. */
static bool may_freshen_locked(const struct shm *shm, const struct key *key, const struct note *note, uint32_t index,
                               int64_t *stale_from_ns) {
    const struct head *head = chunk_at(shm, entry_at(shm, index)->head);
    struct note asked = {.born = note->born, .tags = (const uint32_t *)(head + 1), .tag_count = head->tags};
    return passes_purges(shm, key, &asked, stale_from_ns) &&
           (!note->tags || passes_purges(shm, key, note, stale_from_ns));
}

/* Write the new head into `chunk`; a small body, and the tags unless there are new ones, come from the entry `from`. */
static void copy_head(struct shm *shm, uint32_t from, uint32_t to, uint32_t chunk, const struct key *key,
                      struct note note) {
    struct entry *entry = entry_at(shm, from);
    const struct head *old = chunk_at(shm, entry->head);
    uint8_t *start = chunk_at(shm, chunk);
    if (!note.tags) {
        note.tags = (const uint32_t *)(old + 1);
        note.tag_count = old->tags;
    }
    write_head((struct head *)start, to, key, &note);
    if (entry->large) return;
    const uint8_t *body = (const uint8_t *)old + head_body_at(old->tags, old->key_len, old->meta_len);
    shared_copy(start + head_bytes(key, &note), body, atomic_load(&entry->size));
}

/* Bytes the new head chunk of this entry needs. */
static size_t fresh_bytes(const struct shm *shm, uint32_t index, const struct key *key, const struct note *note) {
    const struct entry *entry = &shm->entries[index];
    const struct head *head = chunk_at(shm, entry->head);
    size_t bytes = head_body_at(note->tags ? note->tag_count : head->tags, key->len, note->meta_len);
    return entry->large ? bytes : bytes + atomic_load(&entry->size);
}

/* One attempt with the stripe locked. STORE_NO_ROOM asks for another after making room. */
static enum store_answer freshen_locked(struct shm *shm, const struct key *key, const struct note *note, bool force) {
    uint32_t stripe = key->stripe;
    if (!room_entry_locked(shm, stripe)) return STORE_NO_ROOM;
    uint32_t old = usable_locked(shm, key);
    if (old == NOBODY) return STORE_GONE;
    size_t bytes = fresh_bytes(shm, old, key, note);
    if (bytes > SHM_CHUNK_MAX) return STORE_TOO_LARGE;
    uint32_t chunk = room_chunk_locked(shm, stripe, slab_class((uint32_t)bytes), old, force);
    if (!chunk) return STORE_NO_ROOM;
    int64_t stale_from_ns = INT64_MAX;
    /* it was the victim that made the room, or a purge came while the origin was asked */
    if (usable_locked(shm, key) != old || !may_freshen_locked(shm, key, note, old, &stale_from_ns)) {
        chunk_give_locked(shm, stripe, chunk);
        return STORE_GONE;
    }
    FP();
    if (entry_at(shm, old)->large) {
        copy_head(shm, old, old, chunk, key, *note);
        seal_head(shm, old, chunk);
        swap_head_locked(shm, stripe, old, chunk, stale_from_ns);
        return STORE_DONE;
    }
    struct entry *before = entry_at(shm, old);
    uint32_t fresh = entry_take_locked(shm, key, atomic_load(&before->born));
    STORE(entry_at(shm, fresh)->head, chunk);
    FP();
    copy_head(shm, old, fresh, chunk, key, *note);
    atomic_store(&entry_at(shm, fresh)->size, atomic_load(&before->size));
    entry_at(shm, fresh)->body_sum = before->body_sum;
    atomic_store(&entry_at(shm, fresh)->stale_from_ns, stale_from_ns);
    seal_head(shm, fresh, chunk);
    entry_publish_locked(shm, key, fresh);
    return STORE_DONE;
}

enum store_answer store_freshen(struct shm *shm, const struct key *key, const struct note *note, int64_t patience_ns) {
    enum store_answer answer = STORE_NO_ROOM;
    for (int attempt = 0; attempt < ROOM_TRIES && answer == STORE_NO_ROOM; attempt++) {
        if (!stripe_enter(shm, key->stripe, attempt ? WRITE_PATIENCE_NS : patience_ns))
            return attempt ? STORE_NO_ROOM : STORE_BUSY;
        answer = freshen_locked(shm, key, note, attempt >= ROOM_TRIES / 2);
        stripe_leave(shm, key->stripe);
        if (answer == STORE_NO_ROOM) room_make(shm, true);
    }
    if (answer == STORE_NO_ROOM) segment_count(shm, CORE_NO_ROOM, 1);
    return answer;
}

/* --- deleting ------------------------------------------------------------------------------------------------------------- */

enum store_answer store_delete(struct shm *shm, const struct key *key, int64_t soft_ns, int64_t patience_ns) {
    if (!stripe_enter(shm, key->stripe, patience_ns)) return STORE_BUSY;
    purge_key(shm, key->lo, key->hi, soft_ns);
    _Atomic uint64_t *slot = table_find_locked(shm, key);
    if (slot) {
        uint32_t index = slot_entry(shm, key->stripe, atomic_load(slot));
        if (soft_ns) entry_confirm_locked(shm, index, 0, soft_ns);
        else entry_retire_locked(shm, index);
    }
    stripe_leave(shm, key->stripe);
    return slot ? STORE_DONE : STORE_GONE;
}

void store_drop(struct shm *shm, const struct key *key, uint32_t entry, uint64_t ctl, enum core_counter why) {
    if (!stripe_enter(shm, key->stripe, 0)) return;
    if (is_ours(shm, entry, ctl) && ctl_state(ctl) == STATE_LIVE) {
        segment_count(shm, why, 1);
        if (why == CORE_DAMAGED) entry_condemn_locked(shm, entry);
        else entry_retire_locked(shm, entry);
    }
    stripe_leave(shm, key->stripe);
}
