#include "room.h"

#include "evict.h"
#include "lock.h"
#include "repair.h"
#include "shared.h"
#include "slab.h"
#include "table.h"

enum { EVICTIONS_MAX = 512, PAGES_TRIED = 4, PAGES_LOOKED = 64, LARGE_LOOKS = 256 };

/* --- moving chunks --------------------------------------------------------------------------------------------- */

/* Which of the entry's names is this chunk, if it may be moved at all. */
static uint32_t *name_of(struct entry *entry, uint32_t chunk) {
    if (entry->head == chunk) return &entry->head;
    if (entry->list == chunk) return &entry->list;
    if (entry->tail[0] == chunk) return &entry->tail[0];
    if (entry->tail[1] == chunk) return &entry->tail[1];
    return NULL;
}

/* Move one chunk to another page of its class. Pinned readers hold addresses, so pins forbid it (the head of a
 * large body is only ever copied out, with a check of ctl afterwards, but nothing is gained by telling apart).
 *
 * MOVING (seq_cst) before the pins are read: whoever pins after that sees MOVING and lets go. */
static bool move_chunk_locked(struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t chunk) {
    uint32_t index = ((struct chunk_header *)chunk_at(shm, chunk))->entry;
    struct entry *entry = entry_at(shm, index);
    uint32_t *name = name_of(entry, chunk);
    uint64_t ctl = atomic_load_explicit(&entry->ctl, memory_order_relaxed);
    if (!name || ctl_state(ctl) != STATE_LIVE || atomic_load(&entry->pins)) return false;
    uint32_t to = chunk_take_locked(shm, stripe, class_, index, false);
    if (!to) return false;
    FP();
    uint64_t moving = ctl_with(ctl + (1 << 8), STATE_MOVING), moved = ctl_with(moving + (1 << 8), STATE_LIVE);
    atomic_store(&entry->ctl, moving);
    FP();
    if (atomic_load(&entry->pins)) {
        atomic_store(&entry->ctl, moved);
        chunk_give_locked(shm, stripe, to);
        return false;
    }
    shared_copy(chunk_at(shm, to), chunk_at(shm, chunk), slab_class_bytes[class_]);
    FP();
    __atomic_store_n(name, to, __ATOMIC_RELEASE);
    FP();
    atomic_store(&entry->ctl, moved);
    FP();
    if (name == &entry->head) table_head_moved_locked(shm, index);
    FP();
    chunk_give_locked(shm, stripe, chunk);
    segment_count(shm, CORE_RELOCATED, 1);
    return true;
}

/* Move everything out of a page; true when that gave the page back to the pool. */
static bool empty_page_locked(struct shm *shm, uint32_t stripe, uint32_t page) {
    struct page *it = &shm->pages[page];
    uint32_t class_ = it->class_, base = (shm->data_page + page) * (SHM_PAGE / SHM_UNIT);
    page_unlist_locked(shm, stripe, page); /* so that nothing moves into it */
    for (uint32_t place = 0; place < slab_per_page(class_); place++) {
        if (!(shm->bitmaps[page][place / 64] >> (place % 64) & 1)) continue;
        bool last = it->used == 1;
        bool moved = move_chunk_locked(shm, stripe, class_, base + place * (slab_class_bytes[class_] / SHM_UNIT));
        if (moved && last) return true;
        page_unlist_locked(shm, stripe, page);
        if (!moved) break;
    }
    page_list_locked(shm, stripe, page);
    return false;
}

/* The page of the class with the fewest chunks in use, beginning the search after `after`. */
static uint32_t emptiest_locked(const struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t skip) {
    uint32_t best = NOBODY, page = shm->stripes[stripe].open_page[class_];
    for (uint32_t look = 0; page && look < PAGES_LOOKED; look++, page = shm->pages[page - 1].next) {
        if (look < skip) continue;
        if (best == NOBODY || shm->pages[page - 1].used < shm->pages[best].used) best = page - 1;
    }
    return best;
}

/* Give one page back to the pool by moving, if some class has a page's worth of free chunks. */
static bool compact_locked(struct shm *shm, uint32_t stripe) {
    for (uint32_t class_ = 0; class_ < SHM_CLASSES; class_++) {
        if (shm->stripes[stripe].free_chunks[class_] < slab_per_page(class_)) continue;
        for (uint32_t skip = 0; skip < PAGES_TRIED; skip++) {
            uint32_t page = emptiest_locked(shm, stripe, class_, skip);
            if (page == NOBODY) break;
            if (empty_page_locked(shm, stripe, page)) return true;
        }
    }
    return false;
}

/* --- within one stripe ------------------------------------------------------------------------------------------- */

static bool evict_locked(struct shm *shm, uint32_t victim, enum core_counter why) {
    if (victim == NOBODY) return false;
    segment_count(shm, CORE_EVICTIONS, 1);
    segment_count(shm, why, 1);
    entry_retire_locked(shm, victim);
    return true;
}

static bool evict_small_locked(struct shm *shm, uint32_t stripe) {
    return evict_locked(shm, victim_small_locked(shm, stripe), CORE_EVICTED_SMALL);
}

/* The small pool has its share or more, and this stripe no less than the others. */
static bool may_give_way(const struct shm *shm, uint32_t stripe) {
    const struct header *header = shm->header;
    uint64_t all = atomic_load_explicit(&header->chunk_pages, memory_order_relaxed);
    uint64_t own = atomic_load_explicit(&shm->stripes[stripe].chunk_pages, memory_order_relaxed);
    uint32_t small = atomic_load_explicit(&header->small_used, memory_order_relaxed);
    return small >= header->small_pages && own && (own + 1) * header->stripes >= all;
}

uint32_t room_chunk_locked(struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t entry, bool force) {
    uint32_t chunk = chunk_take_locked(shm, stripe, class_, entry, true);
    if (!chunk && compact_locked(shm, stripe)) chunk = chunk_take_locked(shm, stripe, class_, entry, true);
    if (chunk || !(force || may_give_way(shm, stripe))) return chunk;
    for (int i = 0; i < EVICTIONS_MAX && !chunk; i++) {
        if (!compact_locked(shm, stripe) && !evict_small_locked(shm, stripe)) break;
        chunk = chunk_take_locked(shm, stripe, class_, entry, true);
    }
    return chunk;
}

bool room_entry_locked(struct shm *shm, uint32_t stripe) {
    for (int i = 0; i < EVICTIONS_MAX && !shm->stripes[stripe].free_entry; i++) {
        if (evict_small_locked(shm, stripe)) continue;
        evict_locked(shm, victim_large_locked(shm, stripe, i & 1), CORE_EVICTED_LARGE);
    }
    return shm->stripes[stripe].free_entry != 0;
}

/* --- across stripes ------------------------------------------------------------------------------------------------ */

static uint32_t pages_of(const struct shm *shm, uint32_t stripe) {
    return atomic_load_explicit(&shm->stripes[stripe].chunk_pages, memory_order_relaxed) +
           atomic_load_explicit(&shm->stripes[stripe].body_pages, memory_order_relaxed);
}

/* Evict one large entry, if the policy has one at hand; true when that gave a page back. The tails of large
 * bodies lie in chunks, so it may take a move to get a page out of them. */
static bool evict_large_locked(struct shm *shm, uint32_t stripe, bool main) {
    uint32_t before = pages_of(shm, stripe);
    if (!evict_locked(shm, victim_large_locked(shm, stripe, main), CORE_EVICTED_LARGE)) return false;
    return pages_of(shm, stripe) < before || compact_locked(shm, stripe);
}

static bool evict_large(struct shm *shm) {
    uint32_t stripe;
    bool main, gave = false;
    for (int look = 0; look < LARGE_LOOKS && !gave && evict_where_large(shm, &stripe, &main); look++) {
        if (!stripe_enter(shm, stripe, WRITE_PATIENCE_NS)) break; /* looking again would find the same stripe */
        gave = evict_large_locked(shm, stripe, main);
        stripe_leave(shm, stripe);
    }
    return gave;
}

static uint32_t richest(const struct shm *shm) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < shm->header->stripes; i++)
        if (atomic_load_explicit(&shm->stripes[i].chunk_pages, memory_order_relaxed) >
            atomic_load_explicit(&shm->stripes[best].chunk_pages, memory_order_relaxed))
            best = i;
    return best;
}

/* Make the stripe with the most chunk pages give one back. */
static bool evict_small_page(struct shm *shm) {
    uint32_t stripe = richest(shm);
    if (!stripe_enter(shm, stripe, WRITE_PATIENCE_NS)) return false;
    uint32_t before = pages_of(shm, stripe);
    bool gave = false;
    for (int i = 0; i < EVICTIONS_MAX && !gave; i++) {
        if (!compact_locked(shm, stripe) && !evict_small_locked(shm, stripe)) break;
        gave = pages_of(shm, stripe) < before;
    }
    stripe_leave(shm, stripe);
    return gave;
}

bool room_make(struct shm *shm, bool for_small) {
    uint32_t small = atomic_load_explicit(&shm->header->small_used, memory_order_relaxed);
    bool small_gives = small > shm->header->small_pages || (!for_small && small == shm->header->small_pages);
    if (small_gives) return evict_small_page(shm) || evict_large(shm);
    return evict_large(shm) || evict_small_page(shm);
}
