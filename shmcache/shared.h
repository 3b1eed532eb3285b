/* Loads and stores of shared words that another process may be storing or loading at the same moment.
 *
 * Readers without a lock load whole words, atomically and relaxed, and throw away what they read when ctl has
 * changed meanwhile; so a writer needs no order among its stores, only that none of them is torn within a word.
 * STORE, LOAD and shared_copy compile to what a plain assignment and memcpy compile to.
 */
#ifndef SHMCACHE_SHARED_H
#define SHMCACHE_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

/* memcpy to shared memory.
 *
 * Safe as memcpy although it promises nothing about the order or the size of its stores: the entry is not LIVE while
 * its bytes are written, so whoever reads them finds another ctl afterwards. ThreadSanitizer cannot know that;
 * for it alone every byte goes by an atomic store. */
static inline void shared_copy(void *to, const void *from, size_t len) {
#ifdef __SANITIZE_THREAD__
    uint8_t *out = to;
    const uint8_t *in = from;
    for (; len && (uintptr_t)out % 8; len--) __atomic_store_n(out++, *in++, __ATOMIC_RELAXED);
    for (; len >= 8; len -= 8, out += 8, in += 8) {
        uint64_t word;
        memcpy(&word, in, 8);
        __atomic_store_n((uint64_t *)out, word, __ATOMIC_RELAXED);
    }
    for (; len; len--) __atomic_store_n(out++, *in++, __ATOMIC_RELAXED);
#else
    memcpy(to, from, len);
#endif
}

static inline uint64_t shared_word(const uint8_t *from) {
    return __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED);
}

/* Whether shared bytes equal private ones. Only good if what they belong to is found unchanged afterwards. May
 * load up to 7 bytes beyond them, of the same word. */
static inline bool shared_same(const uint8_t *shared, const uint8_t *bytes, size_t len) {
    while (len && (uintptr_t)shared % 8) {
        if (__atomic_load_n(shared++, __ATOMIC_RELAXED) != *bytes++) return false;
        len--;
    }
    for (; len >= 8; len -= 8, shared += 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        if (shared_word(shared) != word) return false;
    }
    if (!len) return true;
    uint64_t word = shared_word(shared);
    return memcmp(&word, bytes, len) == 0;
}

#endif
