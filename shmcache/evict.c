#include "evict.h"

#include "ghost.h"
#include "lock.h"
#include "table.h"

enum {
    NEW_SHARE = 10,         /* percent of a pool that its new queue is meant to hold */
    PROMOTE_AT = 2,         /* uses */
    LOOKS = 1024,           /* entries looked at for one victim */
};

/* Of which pool; the size of an entry is settled before it is queued. */
static bool is_large(const struct entry *entry) {
    return atomic_load_explicit(&entry->size, memory_order_relaxed) > SHM_SMALL_MAX;
}

static void set_oldest_locked(struct shm *shm, struct queue *queue) {
    uint64_t seq = queue->oldest ? shm->entries[queue->oldest - 1].seq : UINT64_MAX;
    atomic_store_explicit(&queue->oldest_seq, seq, memory_order_relaxed);
}

static uint32_t charge_of(const struct queue *queue) {
    return atomic_load_explicit(&queue->charge, memory_order_relaxed);
}

static uint32_t count_of(const struct queue *queue) {
    return atomic_load_explicit(&queue->count, memory_order_relaxed);
}

static void count_add(struct queue *queue, uint32_t change) {
    atomic_store_explicit(&queue->count, count_of(queue) + change, memory_order_relaxed);
}

static void charge_add(struct queue *queue, uint32_t change) {
    atomic_store_explicit(&queue->charge, charge_of(queue) + change, memory_order_relaxed);
}

/* Append without giving it a new place in time. */
static void append_locked(struct shm *shm, uint32_t stripe, uint32_t index, uint32_t which) {
    struct queue *queue = &shm->stripes[stripe].queue[which];
    struct entry *entry = entry_at(shm, index);
    entry->next = 0;
    entry->prev = queue->newest;
    entry->queue = (uint8_t)which;
    FP();
    if (queue->newest) shm->entries[queue->newest - 1].next = index + 1;
    else queue->oldest = index + 1;
    FP();
    queue->newest = index + 1;
    count_add(queue, 1);
    charge_add(queue, entry->charge);
    if (queue->oldest == index + 1) set_oldest_locked(shm, queue);
}

void queue_push_locked(struct shm *shm, uint32_t stripe, uint32_t index, uint32_t which) {
    const struct queue *queue = &shm->stripes[stripe].queue[which];
    uint64_t after = queue->newest ? shm->entries[queue->newest - 1].seq + 1 : 1;
    entry_at(shm, index)->seq = shm->now_ns > after ? shm->now_ns : after;
    append_locked(shm, stripe, index, which);
}

void queue_remove_locked(struct shm *shm, uint32_t stripe, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    if (entry->queue == QUEUE_NONE) return;
    struct queue *queue = &shm->stripes[stripe].queue[entry->queue];
    if (entry->prev) shm->entries[entry->prev - 1].next = entry->next;
    else queue->oldest = entry->next;
    FP();
    if (entry->next) shm->entries[entry->next - 1].prev = entry->prev;
    else queue->newest = entry->prev;
    FP();
    count_add(queue, UINT32_MAX);
    charge_add(queue, -entry->charge);
    if (!entry->prev) set_oldest_locked(shm, queue);
    entry->queue = QUEUE_NONE;
}

/* --- rebuilding: a merge sort over the entries' own links, so that no memory is needed ------------------- */

static uint32_t merge(struct shm *shm, uint32_t a, uint32_t b) {
    uint32_t first = 0, *end = &first;
    while (a && b) {
        uint32_t *smaller = shm->entries[a - 1].seq <= shm->entries[b - 1].seq ? &a : &b;
        *end = *smaller;
        end = &shm->entries[*smaller - 1].next;
        *smaller = *end;
    }
    *end = a ? a : b;
    return first;
}

static uint32_t sort(struct shm *shm, uint32_t list) {
    uint32_t run[32] = {0};
    while (list) {
        uint32_t carry = list;
        list = shm->entries[list - 1].next;
        shm->entries[carry - 1].next = 0;
        int i = 0;
        for (; run[i]; i++) {
            carry = merge(shm, run[i], carry);
            run[i] = 0;
        }
        run[i] = carry;
    }
    uint32_t sorted = 0;
    for (int i = 0; i < 32; i++)
        if (run[i]) sorted = merge(shm, run[i], sorted);
    return sorted;
}

void queue_rebuild_locked(struct shm *shm, uint32_t stripe) {
    uint32_t per_stripe = shm->header->per_stripe, lists[QUEUES] = {0};
    for (uint32_t index = stripe * per_stripe; index < (stripe + 1) * per_stripe; index++) {
        struct entry *entry = entry_at(shm, index);
        if (ctl_state(atomic_load(&entry->ctl)) != STATE_LIVE) {
            entry->queue = QUEUE_NONE;
            continue;
        }
        uint32_t which = entry->queue;
        if (is_large(entry)) which = which == QUEUE_LARGE_MAIN ? QUEUE_LARGE_MAIN : QUEUE_LARGE_NEW;
        else which = which == QUEUE_SMALL_MAIN ? QUEUE_SMALL_MAIN : QUEUE_SMALL_NEW;
        entry->next = lists[which];
        lists[which] = index + 1;
    }
    for (uint32_t which = 1; which < QUEUES; which++) {
        struct queue *queue = &shm->stripes[stripe].queue[which];
        queue->oldest = queue->newest = 0;
        atomic_store_explicit(&queue->count, 0, memory_order_relaxed);
        atomic_store_explicit(&queue->charge, 0, memory_order_relaxed);
        set_oldest_locked(shm, queue);
        for (uint32_t list = sort(shm, lists[which]); list;) {
            uint32_t index = list - 1;
            list = shm->entries[index].next;
            append_locked(shm, stripe, index, which);
        }
    }
}

/* --- admission --------------------------------------------------------------------------------------------------- */

/* A bound on what the pool has free at this moment, bytes. */
static uint64_t free_bytes(const struct shm *shm) {
    uint64_t used = 0;
    for (uint32_t i = 0; i < shm->header->stripes; i++) {
        used += atomic_load_explicit(&shm->stripes[i].chunk_pages, memory_order_relaxed);
        used += atomic_load_explicit(&shm->stripes[i].body_pages, memory_order_relaxed);
    }
    return used < shm->header->pages ? (shm->header->pages - used) * SHM_PAGE : 0;
}

bool may_admit_locked(struct shm *shm, const struct key *key, uint64_t size) {
    if (!is_very_large(shm, size) || size <= free_bytes(shm) || table_find_locked(shm, key)) return true;
    if (ghost_known_locked(shm, key->stripe, key->lo, key->hi, true, false)) return true;
    ghost_make_locked(shm, key->stripe, key->lo, key->hi, true);
    segment_count(shm, CORE_NOT_ADMITTED, 1);
    return false;
}

void admit_locked(struct shm *shm, uint32_t stripe, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    bool known = ghost_known_locked(shm, stripe, entry->hash_lo, entry->hash_hi, is_large(entry), true);
    uint32_t first = is_large(entry) ? QUEUE_LARGE_NEW : QUEUE_SMALL_NEW;
    queue_push_locked(shm, stripe, index, known ? first + 1 : first);
}

void inherit_locked(struct shm *shm, uint32_t stripe, uint32_t index, uint32_t old) {
    struct entry *entry = entry_at(shm, index), *before = entry_at(shm, old);
    bool main = before->queue == QUEUE_SMALL_MAIN || before->queue == QUEUE_LARGE_MAIN;
    uint8_t freq = atomic_load_explicit(&before->freq, memory_order_relaxed);
    atomic_store_explicit(&entry->freq, freq, memory_order_relaxed);
    uint32_t first = is_large(entry) ? QUEUE_LARGE_NEW : QUEUE_SMALL_NEW;
    queue_push_locked(shm, stripe, index, main ? first + 1 : first);
}

/* --- victims ------------------------------------------------------------------------------------------------ */

static void requeue_locked(struct shm *shm, uint32_t stripe, uint32_t index, uint32_t queue, uint8_t freq) {
    atomic_store_explicit(&entry_at(shm, index)->freq, freq, memory_order_relaxed);
    queue_remove_locked(shm, stripe, index);
    FP();
    queue_push_locked(shm, stripe, index, queue);
}

/* One look at the oldest of the new or the main queue: the victim, or NOBODY when it was given another round. */
static uint32_t look_locked(struct shm *shm, uint32_t stripe, uint32_t first, bool main) {
    uint32_t index = shm->stripes[stripe].queue[main ? first + 1 : first].oldest - 1;
    struct entry *entry = entry_at(shm, index);
    uint8_t freq = atomic_load_explicit(&entry->freq, memory_order_relaxed);
    bool pinned = atomic_load_explicit(&entry->pins, memory_order_relaxed) != 0;
    if (main && (freq || pinned)) requeue_locked(shm, stripe, index, first + 1, freq ? freq - 1 : 0);
    else if (!main && (freq >= PROMOTE_AT || pinned)) requeue_locked(shm, stripe, index, first + 1, 0);
    else {
        if (!main) ghost_make_locked(shm, stripe, entry->hash_lo, entry->hash_hi, is_large(entry));
        return index;
    }
    return NOBODY;
}

uint32_t victim_small_locked(struct shm *shm, uint32_t stripe) {
    const struct queue *new = &shm->stripes[stripe].queue[QUEUE_SMALL_NEW];
    const struct queue *main = &shm->stripes[stripe].queue[QUEUE_SMALL_MAIN];
    for (int look = 0; look < LOOKS && (new->oldest || main->oldest); look++) {
        uint64_t all = (uint64_t)charge_of(new) + charge_of(main);
        bool from_new = new->oldest && (charge_of(new) * 100ull > all * NEW_SHARE || !main->oldest);
        uint32_t victim = look_locked(shm, stripe, QUEUE_SMALL_NEW, !from_new);
        if (victim != NOBODY) return victim;
    }
    return NOBODY;
}

uint32_t victim_large_locked(struct shm *shm, uint32_t stripe, bool main) {
    if (!shm->stripes[stripe].queue[main ? QUEUE_LARGE_MAIN : QUEUE_LARGE_NEW].oldest) return NOBODY;
    return look_locked(shm, stripe, QUEUE_LARGE_NEW, main);
}

bool evict_where_large(struct shm *shm, uint32_t *stripe, bool *main) {
    uint64_t charge[2] = {0, 0}, oldest[2] = {UINT64_MAX, UINT64_MAX};
    uint32_t where[2] = {0, 0}, count = 0;
    for (uint32_t i = 0; i < shm->header->stripes; i++) {
        for (int which = 0; which < 2; which++) {
            const struct queue *queue = &shm->stripes[i].queue[QUEUE_LARGE_NEW + which];
            uint64_t seq = atomic_load_explicit(&queue->oldest_seq, memory_order_relaxed);
            charge[which] += charge_of(queue);
            count += count_of(queue);
            if (seq < oldest[which]) {
                oldest[which] = seq;
                where[which] = i;
            }
        }
    }
    atomic_store_explicit(&shm->header->large_count, count, memory_order_relaxed);
    if (oldest[0] == UINT64_MAX && oldest[1] == UINT64_MAX) return false;
    bool from_new = oldest[0] != UINT64_MAX &&
                    (charge[0] * 100 > (charge[0] + charge[1]) * NEW_SHARE || oldest[1] == UINT64_MAX);
    *main = !from_new;
    *stripe = where[from_new ? 0 : 1];
    return true;
}
