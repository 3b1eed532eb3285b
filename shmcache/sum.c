#include "sum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "read.h"
#include "slab.h"
#include "table.h"

uint32_t sum_head(const struct head *head, uint64_t hash_lo, uint64_t size) {
    size_t from = offsetof(struct head, meta_len);
    size_t end = head_meta_at(head->tags, head->key_len) + head->meta_len;
    return (uint32_t)XXH3_64bits_withSeed((const uint8_t *)head + from, end - from, hash_lo ^ size);
}

uint64_t sum_body(const void *body, size_t len) { return XXH3_64bits(body, len); }

void *sum_begin(void) {
    XXH3_state_t *state = XXH3_createState();
    if (state) XXH3_64bits_reset(state);
    return state;
}

void sum_add(void *sum, const void *bytes, size_t len) { XXH3_64bits_update(sum, bytes, len); }

uint64_t sum_end(void *sum) {
    uint64_t value = XXH3_64bits_digest(sum);
    XXH3_freeState(sum);
    return value;
}

void sum_forget(void *sum) { XXH3_freeState(sum); }

static bool is_chunk(const struct shm *shm, uint32_t stripe, uint32_t chunk, size_t bytes) {
    uint32_t page, place;
    return chunk_locate(shm, stripe, chunk, &page, &place) && slab_class_bytes[shm->pages[page].class_] >= bytes;
}

/* The names lead into the stripe's own chunks and pages, and there is room there for what they should hold. */
static bool is_housed(const struct shm *shm, const struct entry *entry, uint32_t stripe) {
    uint32_t npages = atomic_load(&entry->npages);
    if (!is_chunk(shm, stripe, entry->head, sizeof(struct head)) || !entry_fits(shm, entry)) return false;
    if (!entry->large) return true;
    if (npages && !is_chunk(shm, stripe, entry->list, sizeof(struct chunk_header) + npages * 4ull)) return false;
    uint64_t rest = atomic_load(&entry->size) - (uint64_t)npages * SHM_PAGE, first = TAIL_MAX;
    if (!entry->tail[0]) return true;
    if (rest > 2 * first) return false;
    if (!is_chunk(shm, stripe, entry->tail[0], sizeof(struct chunk_header) + (rest < first ? rest : first))) return false;
    return rest <= first || is_chunk(shm, stripe, entry->tail[1], sizeof(struct chunk_header) + rest - first);
}

static bool pages_exist(const struct shm *shm, const struct entry *entry, uint32_t stripe) {
    uint32_t npages = atomic_load(&entry->npages);
    const uint32_t *numbers = npages ? list_numbers(shm, entry->list) : NULL;
    for (uint32_t i = 0; i < npages; i++)
        if (numbers[i] >= shm->header->pages || atomic_load(&shm->pages[numbers[i]].owner) != page_owner(PAGE_BODY, stripe))
            return false;
    return true;
}

static uint64_t sum_stored(const struct shm *shm, uint32_t index, uint64_t size) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (uint64_t at = 0; at < size;) {
        const uint8_t *bytes;
        uint64_t run = read_run(shm, index, size, at, &bytes);
        XXH3_64bits_update(&state, bytes, run);
        at += run;
    }
    return XXH3_64bits_digest(&state);
}

bool sum_head_holds(const struct shm *shm, uint32_t index) {
    const struct entry *entry = &shm->entries[index];
    uint32_t stripe = stripe_of(shm, index);
    if (!atomic_load(&entry->whole) || !is_housed(shm, entry, stripe)) return false;
    const struct head *head = chunk_at(shm, entry->head);
    if (head->chunk.sum != sum_head(head, entry->hash_lo, atomic_load(&entry->size))) return false;
    struct key key;
    key_make(shm, &key, (const uint8_t *)head + head_key_at(head->tags), head->key_len);
    return key.lo == entry->hash_lo && key.hi == entry->hash_hi && key.stripe == stripe;
}

bool sum_body_holds(const struct shm *shm, uint32_t index) {
    const struct entry *entry = &shm->entries[index];
    uint64_t size = atomic_load(&entry->size);
    if (entry->large) return pages_exist(shm, entry, stripe_of(shm, index)) && entry->body_sum == sum_stored(shm, index, size);
    const struct head *head = chunk_at(shm, entry->head);
    const uint8_t *body = (const uint8_t *)head + head_body_at(head->tags, head->key_len, head->meta_len);
    return entry->body_sum == sum_body(body, size);
}
