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
    if (!atomic_load(&entry->whole) || !entry_fits(shm, entry)) return false;
    const struct head *head = chunk_at(shm, entry->head);
    if (head->chunk.sum != sum_head(head, entry->hash_lo, atomic_load(&entry->size))) return false;
    struct key key;
    key_make(shm, &key, (const uint8_t *)head + head_key_at(head->tags), head->key_len);
    return key.lo == entry->hash_lo && key.hi == entry->hash_hi && key.stripe == stripe;
}

bool sum_body_holds(const struct shm *shm, uint32_t index) {
    const struct entry *entry = &shm->entries[index];
    uint64_t size = atomic_load(&entry->size);
    if (entry->large) return entry->body_sum == sum_stored(shm, index, size);
    const struct head *head = chunk_at(shm, entry->head);
    const uint8_t *body = (const uint8_t *)head + head_body_at(head->tags, head->key_len, head->meta_len);
    return entry->body_sum == sum_body(body, size);
}
