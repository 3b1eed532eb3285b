#include "slab.h"

#include "lock.h"
#include "shared.h"

/* 128 bytes by steps of about a quarter, each a multiple of SHM_UNIT that divides a page with little left over. */
const uint32_t slab_class_bytes[SHM_CLASSES] = {
    128,  192,  256,  320,  448,  576,  768,  960,   1216,  1536,  1920,  2432,
    3072, 3840, 4672, 5952, 7232, 9344, 10880, 13056, 16384, 21824, 32768, 65536,
};

enum { SEARCH_WORDS = 256 }; /* of the hint bitmap, per search: 1 GiB */

uint32_t slab_class(uint32_t bytes) {
    uint32_t low = 0, high = SHM_CLASSES - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (slab_class_bytes[middle] < bytes) low = middle + 1;
        else high = middle;
    }
    return low;
}

bool chunk_locate(const struct shm *shm, uint32_t stripe, uint32_t chunk, uint32_t *page, uint32_t *place) {
    if (chunk / (SHM_PAGE / SHM_UNIT) < shm->data_page) return false;
    *page = chunk_page(shm, chunk);
    if (*page >= shm->header->pages) return false;
    const struct page *found = &shm->pages[*page];
    if (atomic_load_explicit(&found->owner, memory_order_relaxed) != page_owner(PAGE_CHUNKS, stripe)) return false;
    if (found->class_ >= SHM_CLASSES) return false;
    uint32_t within = chunk % (SHM_PAGE / SHM_UNIT) * SHM_UNIT, bytes = slab_class_bytes[found->class_];
    *place = within / bytes;
    return within % bytes == 0 && *place < slab_per_page(found->class_);
}

void slab_recount(struct shm *shm) {
    uint64_t pages = 0, small = 0;
    for (uint32_t i = 0; i < shm->header->stripes; i++) {
        const struct stripe *stripe = &shm->stripes[i];
        pages += atomic_load_explicit(&stripe->chunk_pages, memory_order_relaxed);
        small += atomic_load_explicit(&stripe->queue[QUEUE_SMALL_NEW].charge, memory_order_relaxed);
        small += atomic_load_explicit(&stripe->queue[QUEUE_SMALL_MAIN].charge, memory_order_relaxed);
    }
    atomic_store_explicit(&shm->header->chunk_pages, (uint32_t)pages, memory_order_relaxed);
    atomic_store_explicit(&shm->header->small_used, (uint32_t)(small / (SHM_PAGE / SHM_UNIT)), memory_order_relaxed);
}

static void count_page(struct shm *shm, uint32_t stripe, uint32_t kind, int change) {
    struct stripe *held = &shm->stripes[stripe];
    _Atomic uint32_t *count = kind == PAGE_CHUNKS ? &held->chunk_pages : &held->body_pages;
    uint32_t now = atomic_load_explicit(count, memory_order_relaxed) + (uint32_t)change;
    atomic_store_explicit(count, now, memory_order_relaxed);
    if (kind == PAGE_CHUNKS) slab_recount(shm);
}

/* Take one of the free pages a word of hints names; page + 1 or 0. */
static uint32_t take_from_word(struct shm *shm, uint32_t word, uint32_t owner) {
    uint64_t bits = atomic_load_explicit(&shm->free_bits[word], memory_order_relaxed);
    while (bits) {
        uint32_t page = word * 64 + (uint32_t)__builtin_ctzll(bits);
        uint64_t bit = bits & -bits;
        bits ^= bit;
        atomic_fetch_and_explicit(&shm->free_bits[word], ~bit, memory_order_acquire);
        FP();
        uint32_t expected = PAGE_FREE;
        if (atomic_compare_exchange_strong(&shm->pages[page].owner, &expected, owner)) return page + 1;
    }
    return 0;
}

uint32_t page_take_locked(struct shm *shm, uint32_t stripe, uint32_t kind) {
    uint32_t words = (shm->header->pages + 63) / 64;
    uint32_t hand = atomic_load_explicit(&shm->header->free_hand, memory_order_relaxed) % words;
    uint32_t looks = words < SEARCH_WORDS ? words : SEARCH_WORDS;
    for (uint32_t i = 0; i < looks; i++) {
        uint32_t word = (hand + i) % words;
        uint32_t page = take_from_word(shm, word, page_owner(kind, stripe));
        if (!page) continue;
        FP();
        if (i) atomic_store_explicit(&shm->header->free_hand, word, memory_order_relaxed);
        count_page(shm, stripe, kind, 1);
        return page;
    }
    if (looks < words) atomic_store_explicit(&shm->header->free_hand, hand + looks, memory_order_relaxed);
    return 0;
}

static void free_page(struct shm *shm, uint32_t page) {
    atomic_store_explicit(&shm->pages[page].owner, PAGE_FREE, memory_order_release);
    FP();
    atomic_fetch_or_explicit(&shm->free_bits[page / 64], 1ull << (page % 64), memory_order_release);
}

void page_give_locked(struct shm *shm, uint32_t stripe, uint32_t page) {
    uint32_t kind = atomic_load_explicit(&shm->pages[page].owner, memory_order_relaxed) >> 24;
    free_page(shm, page);
    FP();
    count_page(shm, stripe, kind, -1);
}

void page_list_locked(struct shm *shm, uint32_t stripe, uint32_t page) {
    struct page *it = &shm->pages[page];
    uint32_t *first = &shm->stripes[stripe].open_page[it->class_];
    if (it->listed) return;
    it->next = *first;
    it->prev = 0;
    FP();
    if (*first) shm->pages[*first - 1].prev = page + 1;
    *first = page + 1;
    it->listed = 1;
}

void page_unlist_locked(struct shm *shm, uint32_t stripe, uint32_t page) {
    struct page *it = &shm->pages[page];
    if (!it->listed) return;
    if (it->next) shm->pages[it->next - 1].prev = it->prev;
    FP();
    if (it->prev) shm->pages[it->prev - 1].next = it->next;
    else shm->stripes[stripe].open_page[it->class_] = it->next;
    it->listed = 0;
}

/* Cut a page of the pool for the class; false when the pool is empty. */
static bool open_page(struct shm *shm, uint32_t stripe, uint32_t class_) {
    uint32_t page = page_take_locked(shm, stripe, PAGE_CHUNKS);
    if (!page) return false;
    struct page *it = &shm->pages[page - 1];
    it->class_ = (uint8_t)class_;
    it->used = 0;
    it->listed = 0;
    FP();
    for (int i = 0; i < 8; i++) shm->bitmaps[page - 1][i] = 0;
    shm->stripes[stripe].free_chunks[class_] += slab_per_page(class_);
    FP();
    page_list_locked(shm, stripe, page - 1);
    return true;
}

/* The first free chunk of a page that has one, marked as used. */
static uint32_t take_place(struct shm *shm, uint32_t page) {
    uint64_t *bitmap = shm->bitmaps[page];
    uint32_t word = 0;
    while (bitmap[word] == UINT64_MAX) word++;
    uint32_t bit = (uint32_t)__builtin_ctzll(~bitmap[word]);
    bitmap[word] |= 1ull << bit;
    return word * 64 + bit;
}

uint32_t chunk_take_locked(struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t entry, bool grow) {
    struct stripe *held = &shm->stripes[stripe];
    if (!held->open_page[class_] && !(grow && open_page(shm, stripe, class_))) return 0;
    uint32_t page = held->open_page[class_] - 1;
    struct page *it = &shm->pages[page];
    uint32_t place = take_place(shm, page);
    FP();
    it->used++;
    held->free_chunks[class_]--;
    if (it->used == slab_per_page(class_)) page_unlist_locked(shm, stripe, page);
    FP();
    uint32_t chunk = (shm->data_page + page) * (SHM_PAGE / SHM_UNIT) + place * (slab_class_bytes[class_] / SHM_UNIT);
    struct chunk_header *header = chunk_at(shm, chunk);
    STORE(header->entry, entry); /* a reader may still see another part of another object here */
    return chunk;
}

void chunk_give_locked(struct shm *shm, uint32_t stripe, uint32_t chunk) {
    struct stripe *held = &shm->stripes[stripe];
    uint32_t page, place;
    if (!chunk_locate(shm, stripe, chunk, &page, &place)) return;
    struct page *it = &shm->pages[page];
    uint32_t class_ = it->class_;
    shm->bitmaps[page][place / 64] &= ~(1ull << (place % 64));
    FP();
    it->used--;
    held->free_chunks[class_]++;
    FP();
    if (it->used) {
        page_list_locked(shm, stripe, page);
        return;
    }
    page_unlist_locked(shm, stripe, page);
    FP();
    held->free_chunks[class_] -= slab_per_page(class_);
    page_give_locked(shm, stripe, page);
}

void slab_rescue_hints(struct shm *shm) {
    for (uint32_t page = 0; page < shm->header->pages; page++)
        if (atomic_load_explicit(&shm->pages[page].owner, memory_order_relaxed) == PAGE_FREE)
            atomic_fetch_or_explicit(&shm->free_bits[page / 64], 1ull << (page % 64), memory_order_relaxed);
}
