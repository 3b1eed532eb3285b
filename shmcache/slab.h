/* Pages of 64 KiB and the chunks they are cut into.
 *
 * A page is taken from the common pool by one compare-and-swap of its owner word, without a lock. From then on
 * it belongs to a stripe, either cut into chunks of one size class or whole for a large body. Whoever gives a
 * page or a chunk back has first taken its name out of the entry: a death in between leaves something owned
 * but not named, which repair sweeps, never something named twice.
 *
 * Functions ending in _locked need the stripe's lock.
 */
#ifndef SHMCACHE_SLAB_H
#define SHMCACHE_SLAB_H

#include "segment.h"

extern const uint32_t slab_class_bytes[SHM_CLASSES];

/* The smallest class of at least `bytes` (1..65536). */
uint32_t slab_class(uint32_t bytes);

static inline uint32_t slab_per_page(uint32_t class_) { return SHM_PAGE / slab_class_bytes[class_]; }

/* Chunk references count SHM_UNIT from the segment's start; 0 names nothing. */
static inline void *chunk_at(const struct shm *shm, uint32_t chunk) {
    return shm->base + (uint64_t)chunk * SHM_UNIT;
}

static inline uint32_t chunk_page(const struct shm *shm, uint32_t chunk) {
    return chunk / (SHM_PAGE / SHM_UNIT) - shm->data_page;
}

static inline uint32_t chunk_class(const struct shm *shm, uint32_t chunk) {
    return shm->pages[chunk_page(shm, chunk)].class_;
}

static inline uint8_t *page_at(const struct shm *shm, uint32_t page) {
    return shm->base + ((uint64_t)shm->data_page + page) * SHM_PAGE;
}

/* The page numbers of a large body. */
static inline uint32_t *list_numbers(const struct shm *shm, uint32_t list) {
    return (uint32_t *)((struct chunk_header *)chunk_at(shm, list) + 1);
}

/* How many numbers a list chunk holds. */
static inline uint32_t list_holds(const struct shm *shm, uint32_t list) {
    return (slab_class_bytes[chunk_class(shm, list)] - (uint32_t)sizeof(struct chunk_header)) / 4;
}

enum { TAIL_MAX = SHM_CHUNK_MAX - sizeof(struct chunk_header) }; /* bytes of a body that one tail holds */

static inline uint32_t page_owner(uint32_t kind, uint32_t stripe) { return kind << 24 | stripe; }

/* Where a chunk lies: false when the reference cannot be one of this stripe's (then it is damaged). */
bool chunk_locate(const struct shm *shm, uint32_t stripe, uint32_t chunk, uint32_t *page, uint32_t *place);

/* A free chunk of the class, marked as `entry`'s; 0 when every page of the class is full. Takes a page from
 * the pool first when `grow`. */
uint32_t chunk_take_locked(struct shm *shm, uint32_t stripe, uint32_t class_, uint32_t entry, bool grow);

/* Give a chunk back, and its page to the pool when it was the last. */
void chunk_give_locked(struct shm *shm, uint32_t stripe, uint32_t chunk);

/* A page for a large body; page + 1, or 0 when the pool is empty. */
uint32_t page_take_locked(struct shm *shm, uint32_t stripe, uint32_t kind);

void page_give_locked(struct shm *shm, uint32_t stripe, uint32_t page);

/* Put a page back on, or off, its class's list of pages with a free chunk. */
void page_list_locked(struct shm *shm, uint32_t stripe, uint32_t page);
void page_unlist_locked(struct shm *shm, uint32_t stripe, uint32_t page);

/* Sum the stripes' chunk pages and small entries again, into the header. */
void slab_recount(struct shm *shm);

/* Set the hint bit of every free page: a death between owner word and bit hides one. */
void slab_rescue_hints(struct shm *shm);

#endif
