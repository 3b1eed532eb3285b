/* Cells of rate decisions: {hash of the key, value}, 16 bytes, changed by one compare-and-swap.
 *
 * What a value means is its table's business (bucket.h, window.h): as an integer it grows with the time at
 * which the cell will count for nothing. One swap is the whole decision: no lock, no state that a death could
 * leave behind. Cells come in sets of one cache line; a key lives in one cell of the set its hash names.
 *
 * Laws of a cell, on which everything else rests:
 *   1. Its value only ever grows. Granting adds to it; a new key takes a cell over only when the time in the
 *      old value lies in the past, and starts no earlier than now. So a cell never has the same content twice
 *      (no ABA).
 *   2. A new key takes the cell with the smallest (value, position) of its set, and no other.
 *
 * Why a key never has two cells. Let P insert key K in cell i while Q, which has seen no K, inserts it in j.
 * Q read i before P's swap and succeeded on j after it. By law 1 Q saw in i at most what P replaced, and P saw
 * in j at most what Q replaced. By law 2 Q's choice means (j) < (i as Q saw it) <= (i as P saw it), and P's
 * means (i as P saw it) < (j as P saw it) <= (j as Q saw it) = (j): a contradiction. No clock occurs in this,
 * so it holds between processes whose clocks were read at different moments. It needs that a cell's value is
 * read before its hash.
 *
 * A cell is given to another key only a second (CELL_GRACE_NS) after it counted for nothing, so that the clocks
 * of two takers may differ by that much. When every cell of a set is still in use, a new key is granted without
 * being counted: a flood of keys weakens the limits of new keys, never of those that have a cell.
 *
 * Two keys whose seeded 64-bit hashes are equal share a cell: about one in 10^13 with 10^6 keys active.
 *
 * The fault points are for the tests, where another process may go first there; a death has nothing to undo.
 */
#ifndef SHMCACHE_CELL_H
#define SHMCACHE_CELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lock.h"

#define CELL_WAYS 4
#define CELL_GRACE_NS 1000000000ull
#define CELL_AHEAD_S (2ull << 20) /* 24 days: two of the longest windows */

struct rate_cell {
    uint64_t hash; /* 0: never used */
    uint64_t value;
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct rate_cell) == 16, "a cell is what one compare-and-swap can change");
_Static_assert(sizeof(struct rate_cell) * CELL_WAYS == 64, "a set is one cache line");

/* The set of a key; `cells` of the region is a power of two, at least CELL_WAYS. */
static inline struct rate_cell *cell_set(void *region, size_t cells, uint64_t hash)
{
    return (struct rate_cell *)region + (hash & (cells / CELL_WAYS - 1)) * CELL_WAYS;
}

/* The hash as cells hold it: 0 marks a cell never used. */
static inline uint64_t cell_hash(uint64_t hash)
{
    return hash + (hash == 0);
}

/* Value before hash, see above. A pair torn by a concurrent change fails its swap, since no value comes back. */
static inline struct rate_cell cell_read(const struct rate_cell *cell)
{
    struct rate_cell seen;

    seen.value = __atomic_load_n(&cell->value, __ATOMIC_ACQUIRE);
    FP();
    seen.hash = __atomic_load_n(&cell->hash, __ATOMIC_ACQUIRE);
    return seen;
}

/* What the cell of `hash` says, or the cell that the key may take over: the smallest (value, position). */
static inline struct rate_cell *cell_find(struct rate_cell *set, uint64_t hash, struct rate_cell *seen)
{
    struct rate_cell *oldest = set;

    *seen = cell_read(set);
    if (seen->hash == hash)
        return set;
    for (int way = 1; way < CELL_WAYS; way++) {
        struct rate_cell here = cell_read(set + way);
        if (here.hash == hash) {
            *seen = here;
            return set + way;
        }
        if (here.value < seen->value) {
            *seen = here;
            oldest = set + way;
        }
    }
    return oldest;
}

/* Forget every cell whose value is over `most`. The caller is alone in the region. */
static inline void cell_settle(void *region, size_t cells, uint64_t most)
{
    struct rate_cell *first = region;

    for (struct rate_cell *cell = first; cell < first + cells; cell++)
        if (cell->value > most)
            *cell = (struct rate_cell){0};
}

/* Put `next` in the place of what was seen; false when the cell has changed since.
 * __sync, not __atomic: the latter calls libatomic for 16 bytes, which may take a lock private to the process. */
static inline bool cell_swap(struct rate_cell *cell, struct rate_cell seen, struct rate_cell next)
{
    typedef unsigned __int128 pair_t __attribute__((may_alias));
    pair_t expected, desired;

    memcpy(&expected, &seen, sizeof expected);
    memcpy(&desired, &next, sizeof desired);
    FP();
    return __sync_bool_compare_and_swap((pair_t *)cell, expected, desired);
}

/* Did the hash and the value that were seen stand there together? For a decision that swaps nothing. */
static inline bool cell_stood(const struct rate_cell *cell, struct rate_cell seen)
{
    FP();
    return __atomic_load_n(&cell->value, __ATOMIC_RELAXED) == seen.value;
}

#endif
