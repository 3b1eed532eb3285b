/* Token buckets. The reasoning is in bucket.h. */
#include "bucket.h"

#include <stdbool.h>
#include <string.h>

#define LONGEST_NS (INT64_MAX / 4) /* 73 years: sums of two stay far from overflow */

typedef unsigned __int128 pair_t __attribute__((may_alias));

struct cell {
    uint64_t hash; /* 0: never used */
    uint64_t tat;  /* ns, CLOCK_MONOTONIC */
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct cell) == 16, "a cell is what one compare-and-swap can change");
_Static_assert(sizeof(struct cell) * BUCKET_WAYS == 64, "a set is one cache line");

/* __sync, not __atomic: the latter calls libatomic for 16 bytes, which may take a lock private to the process. */
static bool swap_cell(struct cell *cell, struct cell old, struct cell new)
{
    pair_t expected, desired;

    memcpy(&expected, &old, sizeof expected);
    memcpy(&desired, &new, sizeof desired);
    return __sync_bool_compare_and_swap((pair_t *)cell, expected, desired);
}

/* TAT before hash, see bucket.h. A pair torn by a concurrent change fails its swap, since no TAT comes back. */
static struct cell read_cell(const struct cell *cell)
{
    struct cell seen;

    seen.tat = __atomic_load_n(&cell->tat, __ATOMIC_ACQUIRE);
    seen.hash = __atomic_load_n(&cell->hash, __ATOMIC_ACQUIRE);
    return seen;
}

static uint64_t span_ns(uint64_t tokens, uint64_t interval_ns)
{
    uint64_t span;

    return __builtin_mul_overflow(tokens, interval_ns, &span) || span > LONGEST_NS ? LONGEST_NS : span;
}

size_t bucket_region_bytes(size_t cells)
{
    return cells * sizeof(struct cell);
}

void bucket_init(void *region, size_t cells)
{
    memset(region, 0, bucket_region_bytes(cells));
}

void bucket_settle(void *region, size_t cells, uint64_t now_ns)
{
    struct cell *first = region;

    for (struct cell *cell = first; cell < first + cells; cell++)
        if (cell->tat > now_ns && cell->tat - now_ns >= BUCKET_AHEAD_NS)
            *cell = (struct cell){0};
}

/* What the cell of `hash` says, or the cell that the key may take over: the smallest (TAT, position). */
static struct cell *find_cell(struct cell *set, uint64_t hash, struct cell *seen)
{
    struct cell *oldest = set;

    *seen = read_cell(set);
    if (seen->hash == hash)
        return set;
    for (int way = 1; way < BUCKET_WAYS; way++) {
        struct cell here = read_cell(set + way);
        if (here.hash == hash) {
            *seen = here;
            return set + way;
        }
        if (here.tat < seen->tat) {
            *seen = here;
            oldest = set + way;
        }
    }
    return oldest;
}

int64_t bucket_take(const struct bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                    uint64_t burst, uint64_t cost)
{
    struct cell *set = (struct cell *)table->region + (hash & (table->cells / BUCKET_WAYS - 1)) * BUCKET_WAYS;
    uint64_t spent_ns = span_ns(cost, interval_ns);
    uint64_t limit_ns = span_ns(burst, interval_ns);

    hash += hash == 0; /* 0 marks a cell never used */
    for (;;) {
        struct cell seen, next;
        struct cell *cell = find_cell(set, hash, &seen);

        if (seen.hash != hash && seen.hash != 0 && seen.tat + BUCKET_GRACE_NS > now_ns)
            return BUCKET_FULL;
        next.hash = hash;
        next.tat = (seen.tat > now_ns ? seen.tat : now_ns) + spent_ns;
        if (next.tat > now_ns + limit_ns) {
            /* Nothing is swapped, so make sure by hand that this hash and this TAT stood there together. */
            if (__atomic_load_n(&cell->tat, __ATOMIC_RELAXED) == seen.tat)
                return (int64_t)(next.tat - now_ns - limit_ns);
        } else if (swap_cell(cell, seen, next)) {
            return 0;
        }
    }
}
