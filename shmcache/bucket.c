/* Token buckets. The reasoning is in bucket.h. */
#include "bucket.h"

#include "cell.h"

#define LONGEST_NS (INT64_MAX / 4) /* 73 years: sums of two stay far from overflow */

static uint64_t span_ns(uint64_t tokens, uint64_t interval_ns)
{
    uint64_t span;

    return __builtin_mul_overflow(tokens, interval_ns, &span) || span > LONGEST_NS ? LONGEST_NS : span;
}

size_t bucket_region_bytes(size_t cells)
{
    return cells * sizeof(struct rate_cell);
}

void bucket_init(void *region, size_t cells)
{
    memset(region, 0, bucket_region_bytes(cells));
}

void bucket_settle(void *region, size_t cells, uint64_t now_ns)
{
    cell_settle(region, cells, now_ns + CELL_AHEAD_S * 1000000000ull);
}

int64_t bucket_take(const struct bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                    uint64_t burst, uint64_t cost)
{
    struct rate_cell *set = cell_set(table->region, table->cells, hash);
    uint64_t spent_ns = span_ns(cost, interval_ns);
    uint64_t limit_ns = span_ns(burst, interval_ns);

    hash = cell_hash(hash);
    for (;;) {
        struct rate_cell seen, next;
        struct rate_cell *cell = cell_find(set, hash, &seen);

        if (seen.hash != hash && seen.hash != 0 && seen.value + CELL_GRACE_NS > now_ns)
            return BUCKET_FULL;
        next.hash = hash;
        next.value = (seen.value > now_ns ? seen.value : now_ns) + spent_ns;
        if (next.value > now_ns + limit_ns) {
            if (cell_stood(cell, seen))
                return (int64_t)(next.value - now_ns - limit_ns);
        } else if (cell_swap(cell, seen, next)) {
            return 0;
        }
    }
}

int64_t bucket_peek(const struct bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                    uint64_t burst, uint64_t cost)
{
    struct rate_cell *set = cell_set(table->region, table->cells, hash);
    uint64_t spent_ns = span_ns(cost, interval_ns);
    uint64_t limit_ns = span_ns(burst, interval_ns);
    struct rate_cell seen;
    struct rate_cell *cell;

    hash = cell_hash(hash);
    do
        cell = cell_find(set, hash, &seen);
    while (!cell_stood(cell, seen));
    if (seen.hash != hash || seen.value + spent_ns <= now_ns + limit_ns)
        return 0;
    return (int64_t)(seen.value + spent_ns - now_ns - limit_ns);
}
