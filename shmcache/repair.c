#include "repair.h"

#include "evict.h"
#include "lock.h"
#include "presence.h"
#include "slab.h"
#include "table.h"

#define REAP_PATIENCE_NS 1000000000ll
#define STUCK_NS 1000000000ull

static uint64_t state_of(const struct entry *entry) { return ctl_state(atomic_load(&entry->ctl)); }

static void set_state(struct entry *entry, uint64_t state) {
    atomic_store(&entry->ctl, ctl_with(atomic_load(&entry->ctl), state));
}

/* --- rebuilding one stripe ------------------------------------------------------------------------------------ */

/* A chunk that was being moved is named where it was or where it came to; both are whole. A fill that was trading its
 * last page was not LIVE yet and may be without that page already: nobody may pin it any more. */
static void settle_entries(struct shm *shm, uint32_t first, uint32_t end) {
    for (uint32_t index = first; index < end; index++) {
        struct entry *entry = entry_at(shm, index);
        entry->mark = 0;
        if (state_of(entry) != STATE_MOVING) continue;
        uint64_t ctl = atomic_load(&entry->ctl), settled = atomic_load(&entry->whole) ? STATE_LIVE : STATE_ZOMBIE;
        atomic_store(&entry->ctl, ctl_with(ctl + (1 << 8), settled));
        FP();
    }
}

/* Keep the slots that name a live entry of this stripe where it belongs, the first time; mark those. */
static void check_slots(struct shm *shm, uint32_t stripe, uint32_t first, uint32_t end) {
    uint32_t buckets = shm->header->buckets;
    for (uint32_t i = 0; i < buckets * SHM_WAYS; i++) {
        _Atomic uint64_t *slot = &slots_of(shm, stripe, 0)[i];
        uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
        uint32_t index = slot_entry(shm, stripe, word);
        if (!word) continue;
        if (index >= first && index < end && !entry_at(shm, index)->mark &&
            state_of(entry_at(shm, index)) == STATE_LIVE && table_slot_of_locked(shm, index) == slot) {
            entry_at(shm, index)->mark = 1;
            atomic_store(slot, slot_word(shm, index));
        } else {
            atomic_store(slot, 0);
        }
        FP();
    }
}

static void settle_states(struct shm *shm, uint32_t first, uint32_t end) {
    for (uint32_t index = first; index < end; index++) {
        struct entry *entry = entry_at(shm, index);
        if (state_of(entry) == STATE_LIVE && !entry->mark) set_state(entry, STATE_ZOMBIE);
        FP();
        if (state_of(entry) == STATE_FILLING && !filler_lives(shm, entry)) set_state(entry, STATE_ZOMBIE);
        FP();
        if (state_of(entry) == STATE_ZOMBIE && !atomic_load(&entry->pins)) set_state(entry, STATE_FREE);
    }
}

/* Forget which of the stripe's pages are in use for what. */
static void clear_pages(struct shm *shm, uint32_t stripe) {
    for (uint32_t page = 0; page < shm->header->pages; page++) {
        uint32_t owner = atomic_load_explicit(&shm->pages[page].owner, memory_order_relaxed);
        if (owner != page_owner(PAGE_CHUNKS, stripe) && owner != page_owner(PAGE_BODY, stripe)) continue;
        shm->pages[page].used = 0;
        shm->pages[page].listed = 0;
        for (int i = 0; i < 8; i++) shm->bitmaps[page][i] = 0;
    }
}

static bool claim_chunk(struct shm *shm, uint32_t stripe, uint32_t index, uint32_t chunk) {
    uint32_t page, place;
    if (!chunk_locate(shm, stripe, chunk, &page, &place)) return false;
    uint64_t *word = &shm->bitmaps[page][place / 64], bit = 1ull << (place % 64);
    if (*word & bit) return false;
    *word |= bit;
    shm->pages[page].used++;
    ((struct chunk_header *)chunk_at(shm, chunk))->entry = index;
    return true;
}

static bool claim_page(struct shm *shm, uint32_t stripe, uint32_t page) {
    if (page >= shm->header->pages) return false;
    struct page *it = &shm->pages[page];
    if (atomic_load(&it->owner) != page_owner(PAGE_BODY, stripe) || it->used) return false;
    it->used = 1;
    return true;
}

/* Mark all that the entry names as used; false when a name makes no sense. */
static bool claim_entry(struct shm *shm, uint32_t stripe, uint32_t index) {
    struct entry *entry = entry_at(shm, index);
    uint32_t npages = atomic_load(&entry->npages);
    const uint32_t chunks[] = {entry->head, entry->list, entry->tail[0], entry->tail[1]};
    for (int i = 0; i < 4; i++)
        if (chunks[i] && !claim_chunk(shm, stripe, index, chunks[i])) return false;
    if (state_of(entry) != STATE_FILLING && !(entry->head && entry_fits(shm, entry))) return false;
    if (!npages) return true;
    if (!entry->list || npages > list_holds(shm, entry->list)) return false;
    const uint32_t *numbers = list_numbers(shm, entry->list);
    for (uint32_t i = 0; i < npages; i++)
        if (!claim_page(shm, stripe, numbers[i])) return false;
    return true;
}

/* Only a wild write makes a name senseless: such an entry is dropped, and with it the marks it made, by
 * marking everything again. */
static void claim_all(struct shm *shm, uint32_t stripe, uint32_t first, uint32_t end) {
    clear_pages(shm, stripe);
    for (uint32_t index = first; index < end; index++) {
        struct entry *entry = entry_at(shm, index);
        FP();
        if (state_of(entry) == STATE_FREE || claim_entry(shm, stripe, index)) continue;
        _Atomic uint64_t *slot = table_slot_of_locked(shm, index);
        if (slot) atomic_store(slot, 0);
        set_state(entry, STATE_FREE);
        clear_pages(shm, stripe);
        index = first - 1;
    }
}

static void rebuild_pages(struct shm *shm, uint32_t stripe) {
    struct stripe *it = &shm->stripes[stripe];
    uint32_t chunk_pages = 0, body_pages = 0;
    for (uint32_t class_ = 0; class_ < SHM_CLASSES; class_++) it->open_page[class_] = it->free_chunks[class_] = 0;
    for (uint32_t number = 0; number < shm->header->pages; number++) {
        struct page *page = &shm->pages[number];
        uint32_t owner = atomic_load(&page->owner);
        bool chunks = owner == page_owner(PAGE_CHUNKS, stripe), body = owner == page_owner(PAGE_BODY, stripe);
        if (!chunks && !body) continue;
        FP();
        if (!page->used) {
            page_give_locked(shm, stripe, number);
        } else if (body) {
            body_pages++;
        } else {
            chunk_pages++;
            uint32_t free = slab_per_page(page->class_) - page->used;
            it->free_chunks[page->class_] += free;
            if (free) page_list_locked(shm, stripe, number);
        }
    }
    atomic_store(&it->chunk_pages, chunk_pages);
    atomic_store(&it->body_pages, body_pages);
    slab_recount(shm);
}

static void rebuild_counts(struct shm *shm, uint32_t stripe, uint32_t first, uint32_t end) {
    struct stripe *it = &shm->stripes[stripe];
    it->free_entry = it->used = it->objects = 0;
    it->bytes = 0;
    it->crawl_at = 0; /* the dead may have passed an entry and not dealt with it */
    for (uint32_t index = end; index-- > first;) {
        struct entry *entry = entry_at(shm, index);
        uint64_t state = state_of(entry);
        if (state == STATE_FREE) {
            entry->next = it->free_entry;
            it->free_entry = index + 1;
            continue;
        }
        it->used++;
        if (state != STATE_LIVE) continue;
        it->objects++;
        it->bytes += entry_bytes(shm, entry);
        entry->charge = entry_charge(shm, entry);
    }
}

void stripe_rebuild_locked(struct shm *shm, uint32_t stripe) {
    uint32_t first = stripe * shm->header->per_stripe, end = first + shm->header->per_stripe;
    settle_entries(shm, first, end);
    check_slots(shm, stripe, first, end);
    settle_states(shm, first, end);
    claim_all(shm, stripe, first, end);
    rebuild_pages(shm, stripe);
    rebuild_counts(shm, stripe, first, end);
    queue_rebuild_locked(shm, stripe);
}

/* --- entering ----------------------------------------------------------------------------------------------------- */

static uint32_t turns_of(const struct shm *shm, uint32_t stripe) {
    return atomic_load_explicit(&shm->stripes[stripe].turns, memory_order_relaxed);
}

/* Wait for a locked stripe. Who has waited in vain does not wait there again for a while, unless somebody else has
 * entered since: its holder has been stopped, and every store that waits holds up all that this process serves. */
static enum lock_answer wait_for(struct shm *shm, uint32_t stripe, int64_t patience_ns) {
    uint64_t now_ns = lock_clock_ns();
    if (patience_ns <= WRITE_PATIENCE_NS && stripe == shm->stuck_stripe && now_ns < shm->stuck_until_ns &&
        turns_of(shm, stripe) == shm->stuck_turns)
        return LOCK_BUSY;
    segment_count(shm, CORE_LOCK_WAITS, 1);
    enum lock_answer answer = lock_take(&shm->stripes[stripe].lock, patience_ns);
    if (answer == LOCK_BUSY) {
        shm->stuck_stripe = stripe;
        shm->stuck_turns = turns_of(shm, stripe);
        shm->stuck_until_ns = now_ns + STUCK_NS;
    }
    return answer;
}

bool stripe_enter(struct shm *shm, uint32_t stripe, int64_t patience_ns) {
    struct stripe *it = &shm->stripes[stripe];
    enum lock_answer answer = lock_take(&it->lock, 0);
    if (answer == LOCK_BUSY && patience_ns) answer = wait_for(shm, stripe, patience_ns);
    if (answer == LOCK_BUSY) return false;
    atomic_store_explicit(&it->turns, turns_of(shm, stripe) + 1, memory_order_relaxed);
    if (answer == LOCK_ORPHANED) {
        stripe_rebuild_locked(shm, stripe);
        lock_mend(&it->lock);
        segment_count(shm, CORE_REPAIRS, 1);
    }
    if (atomic_load_explicit(&it->sweep_due, memory_order_relaxed)) {
        uint32_t zombies = 0, fills = 0;
        atomic_store(&it->sweep_due, 0);
        table_sweep_locked(shm, stripe, &zombies, &fills);
    }
    return true;
}

void stripe_leave(struct shm *shm, uint32_t stripe) { lock_drop(&shm->stripes[stripe].lock); }

/* --- reaping ------------------------------------------------------------------------------------------------------- */

static void reap_stripe_locked(struct shm *shm, uint32_t stripe, uint64_t bit, struct reaped *reaped) {
    uint32_t first = stripe * shm->header->per_stripe, end = first + shm->header->per_stripe;
    for (uint32_t index = first; index < end; index++) {
        struct entry *entry = entry_at(shm, index);
        if (!(atomic_load_explicit(&entry->pins, memory_order_relaxed) & bit)) continue;
        atomic_fetch_and(&entry->pins, ~bit);
        FP();
        reaped->pins++;
    }
    table_sweep_locked(shm, stripe, &reaped->zombies, &reaped->fills);
}

void reap_member(struct shm *shm, int member, struct reaped *reaped) {
    struct member *place = &shm->members[member];
    /* first of all, so that nobody takes its half-made entries for those of a living process */
    atomic_fetch_add(&place->epoch, 1);
    for (uint32_t stripe = 0; stripe < shm->header->stripes; stripe++) {
        FP();
        if (!stripe_enter(shm, stripe, REAP_PATIENCE_NS)) {
            reaped->skipped++;
            continue;
        }
        reap_stripe_locked(shm, stripe, 1ull << member, reaped);
        stripe_leave(shm, stripe);
    }
    slab_rescue_hints(shm);
    presence_reap(segment_region(shm, REGION_PRESENCE), shm->header->bucket_cells, member);
    atomic_store(&place->joined, 0);
    atomic_store(&place->pid, 0);
}
