/* The scoreboard: cells of seven words that all processes load and change atomically, found by the hash of a key.
 *
 * What the words mean is the business of those who share the key; here they are numbers that begin at 0. Every
 * operation is one atomic access to one word, so a death at any instant leaves each word as some call has left it:
 * there is nothing to lock, to reap or to repair.
 *
 * A key claims the first free cell on its way through the table, which begins where its hash says and goes round
 * once. A cell is never given back. So all cells before a key's own are taken for ever, whoever comes with the same
 * key walks over the same ones, and a key never has two cells: of two that claim the same free cell one
 * succeeds, and the other looks at it again. When no cell is free, new keys get none.
 *
 * Two keys whose seeded 64-bit hashes are equal share a cell: about one in 10^13 with all cells in use.
 */
#ifndef SHMCACHE_SCORE_H
#define SHMCACHE_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCORE_WORDS 7

struct score {
    uint64_t hash; /* 0: free */
    uint64_t words[SCORE_WORDS];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct score) == 64, "a cell is one cache line");

/* Bytes of a region of that many cells; it must be 64-byte aligned. */
size_t score_region_bytes(size_t cells);

/* Lay out a region: every cell free. */
void score_init(void *region, size_t cells);

/* The cell of the key with that hash, claimed if it has none yet; NULL when all are taken by others. `cells` is a
 * power of two. */
struct score *score_claim(void *region, size_t cells, uint64_t hash);

static inline uint64_t score_load(const struct score *score, unsigned word)
{
    return __atomic_load_n(&score->words[word], __ATOMIC_SEQ_CST);
}

static inline void score_store(struct score *score, unsigned word, uint64_t value)
{
    __atomic_store_n(&score->words[word], value, __ATOMIC_SEQ_CST);
}

/* What the word is afterwards; it wraps. */
static inline uint64_t score_add(struct score *score, unsigned word, uint64_t amount)
{
    return __atomic_add_fetch(&score->words[word], amount, __ATOMIC_SEQ_CST);
}

/* Put `value` in the place of `expected`; false when something else stands there. */
static inline bool score_swap(struct score *score, unsigned word, uint64_t expected, uint64_t value)
{
    return __atomic_compare_exchange_n(&score->words[word], &expected, value, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

#endif
