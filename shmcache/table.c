#include "table.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "evict.h"
#include "lock.h"
#include "repair.h"
#include "shared.h"
#include "slab.h"

/* Spread 32 bits of hash over any number of buckets. */
static uint32_t bucket_of(uint32_t bits, uint32_t buckets) { return (uint32_t)((uint64_t)bits * buckets >> 32); }

void key_make(const struct shm *shm, struct key *key, const uint8_t *bytes, size_t len) {
    const struct header *header = shm->header;
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, len, header->seed);
    key->bytes = bytes;
    key->len = (uint32_t)len;
    key->lo = hash.low64;
    key->hi = hash.high64;
    key->stripe = (uint32_t)hash.low64 & (header->stripes - 1);
    key->bucket[0] = bucket_of((uint32_t)(hash.low64 >> 32), header->buckets);
    key->bucket[1] = bucket_of((uint32_t)hash.high64, header->buckets);
    key->tag = tag_of(hash.high64);
    for (int which = 0; which < 2; which++)
        fetch((const void *)slots_of(shm, key->stripe, key->bucket[which]), 0, SHM_LINE);
}

/* --- index -------------------------------------------------------------------------------------------------- */

static bool names_key_locked(struct shm *shm, uint64_t slot, const struct key *key) {
    const struct entry *entry = entry_at(shm, slot_entry(shm, key->stripe, slot));
    if (entry->hash_lo != key->lo || entry->hash_hi != key->hi) return false;
    if (ctl_state(atomic_load_explicit(&entry->ctl, memory_order_relaxed)) != STATE_LIVE) return false;
    const struct head *head = chunk_at(shm, entry->head);
    return head->key_len == key->len && memcmp((const uint8_t *)head + head_key_at(head->tags), key->bytes, key->len) == 0;
}

_Atomic uint64_t *table_find_locked(struct shm *shm, const struct key *key) {
    for (int which = 0; which < 2; which++) {
        _Atomic uint64_t *slots = slots_of(shm, key->stripe, key->bucket[which]);
        for (int way = 0; way < SHM_WAYS; way++) {
            uint64_t slot = atomic_load_explicit(&slots[way], memory_order_relaxed);
            if (slot && slot_tag(slot) == key->tag && names_key_locked(shm, slot, key)) return &slots[way];
        }
    }
    return NULL;
}

void table_foresee(const struct shm *shm, const struct key *key) {
    for (int i = 0; i < 2 * SHM_WAYS; i++) {
        const _Atomic uint64_t *slots = slots_of(shm, key->stripe, key->bucket[i / SHM_WAYS]);
        uint64_t slot = atomic_load_explicit(&slots[i % SHM_WAYS], memory_order_relaxed);
        if (!slot || slot_tag(slot) != key->tag) continue;
        fetch(&shm->entries[slot_entry(shm, key->stripe, slot)], 0, sizeof(struct entry));
        fetch(chunk_at(shm, slot_head(slot)), 0, head_key_at(SHM_LEVELS) + key->len);
    }
}

/* The part of a key that the entry's hash gives back: enough to find its slot. */
static struct key key_of(const struct shm *shm, uint32_t index) {
    const struct entry *entry = entry_at(shm, index);
    uint32_t buckets = shm->header->buckets;
    return (struct key){
        .stripe = stripe_of(shm, index),
        .bucket = {bucket_of((uint32_t)(entry->hash_lo >> 32), buckets), bucket_of((uint32_t)entry->hash_hi, buckets)},
    };
}

_Atomic uint64_t *table_slot_of_locked(struct shm *shm, uint32_t index) {
    struct key key = key_of(shm, index);
    uint64_t wanted = slot_word(shm, index) >> 32; /* the head is a hint */
    for (int which = 0; which < 2; which++) {
        _Atomic uint64_t *slots = slots_of(shm, key.stripe, key.bucket[which]);
        for (int way = 0; way < SHM_WAYS; way++)
            if (atomic_load_explicit(&slots[way], memory_order_relaxed) >> 32 == wanted) return &slots[way];
    }
    return NULL;
}

void table_head_moved_locked(struct shm *shm, uint32_t index) {
    _Atomic uint64_t *slot = table_slot_of_locked(shm, index);
    if (slot) atomic_store_explicit(slot, slot_word(shm, index), memory_order_release);
}

static uint32_t empty_ways(_Atomic uint64_t *slots, _Atomic uint64_t **empty) {
    uint32_t count = 0;
    for (int way = 0; way < SHM_WAYS; way++)
        if (!atomic_load_explicit(&slots[way], memory_order_relaxed) && !count++) *empty = &slots[way];
    return count;
}

/* The slot of the least used of the sixteen, its entry retired. */
static _Atomic uint64_t *displace_locked(struct shm *shm, const struct key *key) {
    _Atomic uint64_t *coldest = NULL;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 2 * SHM_WAYS; i++) {
        _Atomic uint64_t *slot = &slots_of(shm, key->stripe, key->bucket[i / SHM_WAYS])[i % SHM_WAYS];
        uint32_t index = slot_entry(shm, key->stripe, atomic_load_explicit(slot, memory_order_relaxed));
        const struct entry *entry = entry_at(shm, index);
        uint64_t heat = (uint64_t)atomic_load_explicit(&entry->freq, memory_order_relaxed) << 62 | entry->seq >> 2;
        if (heat >= least) continue;
        least = heat;
        coldest = slot;
    }
    segment_count(shm, CORE_EVICTIONS, 1);
    segment_count(shm, CORE_EVICTED_INDEX, 1);
    entry_retire_locked(shm, slot_entry(shm, key->stripe, atomic_load_explicit(coldest, memory_order_relaxed)));
    return coldest;
}

static _Atomic uint64_t *room_in_index_locked(struct shm *shm, const struct key *key) {
    _Atomic uint64_t *empty[2] = {NULL, NULL};
    uint32_t first = empty_ways(slots_of(shm, key->stripe, key->bucket[0]), &empty[0]);
    uint32_t second = empty_ways(slots_of(shm, key->stripe, key->bucket[1]), &empty[1]);
    if (!first && !second) return displace_locked(shm, key);
    return first >= second ? empty[0] : empty[1];
}

/* --- the life of an entry ------------------------------------------------------------------------------------ */

bool filler_lives(const struct shm *shm, const struct entry *entry) {
    if (entry->owner >= SHM_MEMBERS) return false;
    /* acquire: a filler that disowned its entry (fill.c) has done its last with it */
    uint32_t epoch = __atomic_load_n(&entry->owner_epoch, __ATOMIC_ACQUIRE);
    return atomic_load(&shm->members[entry->owner].epoch) == epoch;
}

uint32_t entry_take_locked(struct shm *shm, const struct key *key, uint64_t born) {
    struct stripe *stripe = &shm->stripes[key->stripe];
    if (!stripe->free_entry) return NOBODY;
    uint32_t index = stripe->free_entry - 1;
    struct entry *entry = entry_at(shm, index);
    stripe->free_entry = entry->next;
    FP();
    stripe->used++;
    STORE(entry->hash_lo, key->lo);
    STORE(entry->hash_hi, key->hi);
    atomic_store_explicit(&entry->size, 0, memory_order_relaxed);
    STORE(entry->head, 0);
    STORE(entry->list, 0);
    STORE(entry->tail[0], 0);
    STORE(entry->tail[1], 0);
    atomic_store_explicit(&entry->npages, 0, memory_order_relaxed);
    STORE(entry->large, 0);
    atomic_store_explicit(&entry->whole, 0, memory_order_relaxed);
    atomic_store_explicit(&entry->born, born, memory_order_relaxed);
    atomic_store_explicit(&entry->stale_from_ns, INT64_MAX, memory_order_relaxed);
    entry->announced = UINT64_MAX;
    entry->queue = QUEUE_NONE;
    entry->damaged = 0;
    entry->charge = 0;
    entry->owner = (uint8_t)shm->member;
    STORE(entry->owner_epoch, shm->epoch);
    atomic_store_explicit(&entry->freq, 0, memory_order_relaxed);
    FP();
    uint64_t life = ctl_life(atomic_load_explicit(&entry->ctl, memory_order_relaxed)) + 1;
    atomic_store_explicit(&entry->ctl, life << 32 | STATE_FILLING, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* readers of the old life see it ended before its bytes change */
    FP();
    return index;
}

uint64_t entry_bytes(const struct shm *shm, const struct entry *entry) {
    const struct head *head = chunk_at(shm, entry->head);
    return head->key_len + (uint64_t)head->meta_len + atomic_load_explicit(&entry->size, memory_order_relaxed);
}

static uint32_t chunk_bytes(const struct shm *shm, uint32_t chunk) {
    return slab_class_bytes[chunk_class(shm, chunk)];
}

static uint32_t chunk_units(const struct shm *shm, uint32_t chunk) {
    return chunk ? chunk_bytes(shm, chunk) / SHM_UNIT : 0;
}

/* An entry's share of the tables: itself, its part of the index and of the ghosts. */
static uint32_t table_units(const struct shm *shm) {
    const struct header *header = shm->header;
    uint64_t words = (uint64_t)header->buckets * SHM_WAYS + header->ghosts;
    uint64_t bytes = sizeof(struct entry) + words * sizeof(uint64_t) / header->per_stripe;
    return (uint32_t)((bytes + SHM_UNIT - 1) / SHM_UNIT);
}

uint32_t entry_charge(const struct shm *shm, const struct entry *entry) {
    return table_units(shm) + chunk_units(shm, entry->head) + chunk_units(shm, entry->list) +
           chunk_units(shm, entry->tail[0]) + chunk_units(shm, entry->tail[1]) +
           atomic_load_explicit(&entry->npages, memory_order_relaxed) * (SHM_PAGE / SHM_UNIT);
}

/* The bytes after the last full page: the first chunk is filled before the second begins. */
static bool tails_fit(const struct shm *shm, const struct entry *entry, uint64_t bytes) {
    const uint64_t first = bytes < TAIL_MAX ? bytes : TAIL_MAX;
    if (first + sizeof(struct chunk_header) > chunk_bytes(shm, entry->tail[0])) return false;
    if (bytes == first) return true;
    return entry->tail[1] && bytes - first + sizeof(struct chunk_header) <= chunk_bytes(shm, entry->tail[1]);
}

static bool pages_fit(const struct shm *shm, uint32_t stripe, const struct entry *entry) {
    uint32_t npages = atomic_load_explicit(&entry->npages, memory_order_relaxed);
    if (!npages) return true;
    if (!entry->list || npages > list_holds(shm, entry->list)) return false;
    const uint32_t *numbers = list_numbers(shm, entry->list);
    for (uint32_t i = 0; i < npages; i++)
        if (numbers[i] >= shm->header->pages ||
            atomic_load_explicit(&shm->pages[numbers[i]].owner, memory_order_relaxed) != page_owner(PAGE_BODY, stripe))
            return false;
    return true;
}

bool entry_fits(const struct shm *shm, const struct entry *entry) {
    uint32_t stripe = stripe_of(shm, (uint32_t)(entry - shm->entries)), page, place;
    const uint32_t chunks[] = {entry->head, entry->list, entry->tail[0], entry->tail[1]};
    for (int i = 0; i < 4; i++)
        if (chunks[i] && !chunk_locate(shm, stripe, chunks[i], &page, &place)) return false;
    if (!entry->head || !pages_fit(shm, stripe, entry)) return false;
    const struct head *head = chunk_at(shm, entry->head);
    uint64_t size = atomic_load_explicit(&entry->size, memory_order_relaxed);
    uint64_t paged = (uint64_t)atomic_load_explicit(&entry->npages, memory_order_relaxed) * SHM_PAGE;
    size_t room = chunk_bytes(shm, entry->head), body_at = head_body_at(head->tags, head->key_len, head->meta_len);
    if (body_at > room) return false;
    if (!entry->large) return size <= room - body_at;
    /* a fill holds pages ahead, until it trades the last one for tails, just before it is whole */
    if (!atomic_load_explicit(&entry->whole, memory_order_relaxed) && size <= paged) return true;
    if (!entry->tail[0]) return size <= paged && size + SHM_PAGE > paged;
    return size > paged && size < paged + SHM_PAGE && tails_fit(shm, entry, size - paged);
}

void entry_publish_locked(struct shm *shm, const struct key *key, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    struct stripe *stripe = &shm->stripes[key->stripe];
    _Atomic uint64_t *slot = table_find_locked(shm, key);
    uint32_t old = slot ? slot_entry(shm, key->stripe, atomic_load_explicit(slot, memory_order_relaxed)) : NOBODY;
    if (!slot) slot = room_in_index_locked(shm, key);
    entry->charge = entry_charge(shm, entry);
    if (old == NOBODY) admit_locked(shm, key->stripe, index);
    else inherit_locked(shm, key->stripe, index, old);
    FP();
    atomic_store_explicit(&entry->whole, 1, memory_order_relaxed);
    FP();
    uint64_t ctl = ctl_with(atomic_load_explicit(&entry->ctl, memory_order_relaxed), STATE_LIVE);
    atomic_store_explicit(&entry->ctl, ctl, memory_order_release);
    FP();
    atomic_store_explicit(slot, slot_word(shm, index), memory_order_release);
    FP();
    stripe->objects++;
    stripe->bytes += entry_bytes(shm, entry);
    if (old != NOBODY) entry_retire_locked(shm, old);
}

void entry_confirm_locked(struct shm *shm, uint32_t index, uint64_t epoch, int64_t stale_from_ns) {
    struct entry *entry = entry_at(shm, index);
    /* the moment first: a birth that hides a soft purge must not stand without it */
    if (stale_from_ns < atomic_load_explicit(&entry->stale_from_ns, memory_order_relaxed))
        atomic_store_explicit(&entry->stale_from_ns, stale_from_ns, memory_order_relaxed);
    FP();
    if (epoch > atomic_load_explicit(&entry->born, memory_order_relaxed))
        atomic_store_explicit(&entry->born, epoch, memory_order_release);
}

void entry_retire_locked(struct shm *shm, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    uint32_t at = stripe_of(shm, index);
    struct stripe *stripe = &shm->stripes[at];
    _Atomic uint64_t *slot = table_slot_of_locked(shm, index);
    if (slot) atomic_store_explicit(slot, 0, memory_order_release);
    FP();
    stripe->objects--;
    stripe->bytes -= entry_bytes(shm, entry);
    queue_remove_locked(shm, at, index);
    FP();
    entry_drop_locked(shm, index);
}

void entry_condemn_locked(struct shm *shm, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    _Atomic uint64_t *slot = table_slot_of_locked(shm, index);
    entry->damaged = 1;
    FP();
    if (slot) atomic_store_explicit(slot, 0, memory_order_release);
    FP();
    /* LIVE and in no slot: what rebuilding makes a zombie of, or, without pins, gives back */
    stripe_rebuild_locked(shm, stripe_of(shm, index));
}

void entry_drop_locked(struct shm *shm, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    /* seq_cst, before the pins are read: whoever pins after that finds neither LIVE nor FILLING and lets go */
    uint64_t ctl = ctl_with(atomic_load_explicit(&entry->ctl, memory_order_relaxed), STATE_ZOMBIE);
    atomic_store(&entry->ctl, ctl);
    FP();
    if (!atomic_load(&entry->pins)) entry_free_locked(shm, index);
}

static void give_pages_locked(struct shm *shm, uint32_t stripe, uint32_t list, uint32_t npages) {
    if (!list || !npages) return;
    const uint32_t *numbers = list_numbers(shm, list);
    for (uint32_t i = 0; i < npages; i++) {
        if (numbers[i] < shm->header->pages &&
            atomic_load(&shm->pages[numbers[i]].owner) == page_owner(PAGE_BODY, stripe))
            page_give_locked(shm, stripe, numbers[i]);
        FP();
    }
}

void entry_free_locked(struct shm *shm, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    uint32_t at = stripe_of(shm, index);
    struct stripe *stripe = &shm->stripes[at];
    uint32_t chunks[] = {entry->head, entry->tail[0], entry->tail[1], entry->list};
    uint32_t npages = atomic_load_explicit(&entry->npages, memory_order_relaxed);
    /* the names go first: see slab.h */
    uint64_t ctl = ctl_with(atomic_load_explicit(&entry->ctl, memory_order_relaxed), STATE_FREE);
    atomic_store(&entry->ctl, ctl);
    FP();
    if (entry->damaged) {
        stripe_rebuild_locked(shm, at);
        return;
    }
    give_pages_locked(shm, at, entry->list, npages);
    for (int i = 0; i < 4; i++) {
        FP();
        if (chunks[i]) chunk_give_locked(shm, at, chunks[i]);
    }
    entry->next = stripe->free_entry;
    FP();
    stripe->free_entry = index + 1;
    stripe->used--;
}

void table_sweep_locked(struct shm *shm, uint32_t stripe, uint32_t *zombies, uint32_t *fills) {
    uint32_t per_stripe = shm->header->per_stripe;
    for (uint32_t index = stripe * per_stripe; index < (stripe + 1) * per_stripe; index++) {
        struct entry *entry = entry_at(shm, index);
        uint64_t state = ctl_state(atomic_load(&entry->ctl));
        if (state == STATE_ZOMBIE && !atomic_load(&entry->pins)) {
            entry_free_locked(shm, index);
            ++*zombies;
        } else if (state == STATE_FILLING && !filler_lives(shm, entry)) {
            entry_drop_locked(shm, index);
            ++*fills;
        }
    }
}
