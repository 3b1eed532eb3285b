#include "adopt.h"

#include <string.h>

#include "bucket.h"
#include "presence.h"
#include "evict.h"
#include "lease.h"
#include "lock.h"
#include "repair.h"
#include "score.h"
#include "slab.h"
#include "sum.h"
#include "table.h"
#include "window.h"

#define EPOCH_MAX (1ull << 48) /* purges: a million a second for nine years */
#define COUNT_MAX (1ull << 57) /* of one member: bytes at 10 Gbit/s for three years; the sum of all fits 63 bits */

enum { FREQ_MAX = 3 };

/* --- purges ----------------------------------------------------------------------------------------------------- */

static uint64_t later(uint64_t latest, const _Atomic uint64_t *mark) {
    uint64_t epoch = atomic_load_explicit(mark, memory_order_relaxed);
    return epoch > latest ? epoch : latest;
}

static uint64_t latest_tag(const struct shm *shm) {
    uint64_t latest = later(later(0, &shm->header->all_epoch), &shm->header->retired_epoch);
    for (uint32_t i = 0; i < shm->header->tags; i++) latest = later(latest, &shm->tags[i]);
    return latest;
}

static uint64_t latest_soft(const struct shm *shm) {
    uint64_t latest = later(0, &shm->header->all_soft.epoch);
    for (uint32_t i = 0; i < shm->header->tags / SHM_SOFT_SHARE; i++) latest = later(latest, &shm->soft[i].epoch);
    return latest;
}

static uint64_t latest_rule(const struct shm *shm) {
    uint64_t latest = 0;
    for (uint32_t i = 0; i < SHM_RULES; i++) latest = later(latest, &shm->rules[i].epoch);
    return latest;
}

/* False when it cannot be; then nothing was changed. */
static bool settle_purges(struct shm *shm) {
    struct header *header = shm->header;
    uint64_t epoch = atomic_load(&header->purge_epoch), soft = latest_soft(shm), rule = latest_rule(shm);
    uint64_t latest = latest_tag(shm);
    if (soft > latest) latest = soft;
    if (rule > latest) latest = rule;
    if (!epoch || epoch > EPOCH_MAX || latest > epoch + 1) return false;
    atomic_store(&header->soft_epoch, soft);
    atomic_store(&header->rule_epoch, rule);
    atomic_store(&header->mark_epoch, latest);
    FP();
    if (latest > epoch) atomic_store(&header->purge_epoch, latest);
    return true;
}

/* --- members and counts ------------------------------------------------------------------------------------------- */

static void settle_statistics(struct shm *shm) {
    uint64_t *counts = shm->statistics;
    for (size_t i = 0; i < (COUNTER_MEMBERS + 1) * COUNTER_SLOTS; i++)
        if (counts[i] > COUNT_MAX) counts[i] = 0;
    for (int member = 0; member < SHM_MEMBERS; member++) counter_retire(shm->statistics, member);
}

/* Nobody is a member any more, and what carries an epoch of before belongs to the dead. */
static void bury_members(struct shm *shm) {
    for (int member = 0; member < SHM_MEMBERS; member++) {
        struct member *place = &shm->members[member];
        uint32_t epoch = atomic_load(&place->epoch) + 1;
        atomic_store(&place->epoch, epoch ? epoch : 1); /* 0 is nobody's: fill.c disowns entries by it */
        FP();
        atomic_store(&place->joined, 0);
        atomic_store(&place->pid, 0);
        atomic_store(&place->started_ns, 0);
        atomic_store(&place->heartbeat_ns, 0);
    }
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

static bool page_agrees(const struct shm *shm, const struct page *page) {
    uint32_t owner = atomic_load_explicit(&page->owner, memory_order_relaxed);
    uint32_t kind = owner >> 24, stripe = owner & 0xffffff;
    if (stripe >= shm->header->stripes) return false;
    return kind == PAGE_BODY || (kind == PAGE_CHUNKS && page->class_ < SHM_CLASSES);
}

static void settle_pages(struct shm *shm) {
    for (uint32_t i = 0; i < (shm->header->pages + 63) / 64; i++) atomic_store(&shm->free_bits[i], 0);
    for (uint32_t number = 0; number < shm->header->pages; number++) {
        struct page *page = &shm->pages[number];
        if (!page_agrees(shm, page)) atomic_store_explicit(&page->owner, PAGE_FREE, memory_order_relaxed);
        page->next = page->prev = 0;
        page->used = 0;
        page->listed = 0;
    }
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

/* What it holds is what was stored, and a purge can still reach it. */
static bool is_sound(const struct shm *shm, uint32_t index, bool verify) {
    return sum_head_holds(shm, index) && (!verify || sum_body_holds(shm, index)) &&
           atomic_load(&entry_at(shm, index)->born) <= atomic_load(&shm->header->purge_epoch);
}

/* Bounds of what no sum covers: an entry that came first of all would never be evicted. */
static void settle_age(struct entry *entry, uint64_t now_ns) {
    if (entry->seq > now_ns) entry->seq = now_ns;
    if (atomic_load_explicit(&entry->freq, memory_order_relaxed) > FREQ_MAX)
        atomic_store_explicit(&entry->freq, FREQ_MAX, memory_order_relaxed);
}

static void settle_entry(struct shm *shm, uint32_t index, bool verify, struct adopted *adopted) {
    struct entry *entry = entry_at(shm, index);
    uint64_t ctl = atomic_load(&entry->ctl), state = ctl_state(ctl);
    adopted->pins += (uint64_t)__builtin_popcountll(atomic_load(&entry->pins));
    atomic_store(&entry->pins, 0);
    FP();
    if (state == STATE_FREE) return;
    bool stored = state == STATE_LIVE || state == STATE_MOVING; /* repair.c settles MOVING */
    if (stored && is_sound(shm, index, verify)) {
        settle_age(entry, shm->now_ns);
        return;
    }
    adopted->fills += state == STATE_FILLING;
    adopted->zombies += state == STATE_ZOMBIE;
    atomic_store(&entry->ctl, ctl_with(ctl, STATE_FREE));
}

/* --- stripes ------------------------------------------------------------------------------------------------------ */

static uint64_t slots_in_use(const struct shm *shm, uint32_t stripe) {
    _Atomic uint64_t *slots = slots_of(shm, stripe, 0);
    uint64_t count = 0;
    for (uint32_t i = 0; i < shm->header->buckets * SHM_WAYS; i++)
        count += atomic_load_explicit(&slots[i], memory_order_relaxed) != 0;
    return count;
}

static bool adopt_stripe(struct shm *shm, uint32_t stripe, bool verify, struct adopted *adopted) {
    struct stripe *it = &shm->stripes[stripe];
    uint32_t first = stripe * shm->header->per_stripe, end = first + shm->header->per_stripe;
    uint64_t named = slots_in_use(shm, stripe);
    uint32_t ghost_clock = it->ghost_clock; /* the ghosts' ages count from it */
    memset(it, 0, sizeof *it);
    it->ghost_clock = ghost_clock;
    if (lock_init(&it->lock) != 0) return false;
    for (uint32_t index = first; index < end; index++) settle_entry(shm, index, verify, adopted);
    FP();
    stripe_rebuild_locked(shm, stripe);
    adopted->objects += it->objects;
    adopted->damaged += named - it->objects; /* every object kept is named by one slot */
    return true;
}

int segment_adopt(struct shm *shm, uint64_t now_ns, bool verify, struct adopted *adopted) {
    memset(adopted, 0, sizeof *adopted);
    if (!settle_purges(shm)) return SEGMENT_BAD_PURGES;
    shm->now_ns = now_ns;
    if (lock_init(&shm->header->rules_lock) != 0) return SEGMENT_NO_MEMORY;
    bury_members(shm);
    settle_statistics(shm);
    lease_init(segment_region(shm, REGION_LEASES), SHM_LEASES);
    bucket_settle(segment_region(shm, REGION_BUCKETS), shm->header->bucket_cells, now_ns);
    window_settle(segment_region(shm, REGION_WINDOWS), shm->header->bucket_cells, now_ns);
    score_init(segment_region(shm, REGION_SCORES), SHM_SCORES);
    presence_init(segment_region(shm, REGION_PRESENCE), shm->header->bucket_cells);
    settle_pages(shm);
    for (uint32_t stripe = 0; stripe < shm->header->stripes; stripe++)
        if (!adopt_stripe(shm, stripe, verify, adopted)) return SEGMENT_NO_MEMORY;
    slab_rescue_hints(shm);
    slab_recount(shm);
    segment_count(shm, CORE_WARM_STARTS, 1);
    segment_count(shm, CORE_DAMAGED, adopted->damaged);
    return SEGMENT_OK;
}
