/* Sliding windows. The reasoning is in window.h. */
#include "window.h"

#include "cell.h"

#define SECOND_NS 1000000000ull
#define GRACE_S (CELL_GRACE_NS / SECOND_NS)
#define COUNT_BITS 18
#define EXPIRY_S_MAX ((1ull << 28) - 1)

_Static_assert(CELL_GRACE_NS % SECOND_NS == 0, "the grace is compared in whole seconds");
_Static_assert(WINDOW_LIMIT_MAX < 1u << COUNT_BITS, "a count fits its bits");
_Static_assert(CELL_AHEAD_S >= 2 * WINDOW_S_MAX, "no window counts for longer");

/* The value of a cell, unpacked. */
struct counts {
    uint64_t expiry_s, previous, current;
};

static struct counts unpack(uint64_t value)
{
    return (struct counts){value >> 2 * COUNT_BITS, value >> COUNT_BITS & WINDOW_LIMIT_MAX,
                           value & WINDOW_LIMIT_MAX};
}

static uint64_t pack(struct counts counts)
{
    return counts.expiry_s << 2 * COUNT_BITS | counts.previous << COUNT_BITS | counts.current;
}

/* The counts as they are in the window of a clock that would start a new one with `fresh`. */
static struct counts advance(struct counts counts, struct counts fresh, uint64_t window_s)
{
    uint64_t passed_s = fresh.expiry_s > counts.expiry_s ? fresh.expiry_s - counts.expiry_s : 0;

    if (passed_s < window_s)
        return counts;
    if (passed_s < 2 * window_s)
        return (struct counts){counts.expiry_s + window_s, counts.current, 0};
    return fresh;
}

/* Nanoseconds until `cost` fits under `limit`; 0 when it does. `now_ns` is not after the current window. */
static int64_t wait_ns(struct counts counts, uint64_t now_ns, uint64_t window_s, uint64_t limit, uint64_t cost)
{
    typedef unsigned __int128 wide_t; /* a count times a window in ns has up to 68 bits */
    int64_t window_ns = (int64_t)(window_s * SECOND_NS);
    int64_t start_ns = (int64_t)(counts.expiry_s * SECOND_NS) - 2 * window_ns;
    int64_t elapsed_ns = (int64_t)now_ns > start_ns ? (int64_t)now_ns - start_ns : 0;
    uint64_t most = limit - cost; /* what the estimate may be */

    if (counts.current > most) /* must become the previous window, and then weigh less */
        return start_ns + 2 * window_ns - (int64_t)((wide_t)most * window_ns / counts.current) - (int64_t)now_ns;
    wide_t room = (wide_t)(most - counts.current) * window_ns;
    if ((wide_t)counts.previous * (window_ns - elapsed_ns) <= room)
        return 0;
    return start_ns + window_ns - (int64_t)(room / counts.previous) - (int64_t)now_ns;
}

size_t window_region_bytes(size_t cells)
{
    return cells * sizeof(struct rate_cell);
}

void window_init(void *region, size_t cells)
{
    memset(region, 0, window_region_bytes(cells));
}

void window_settle(void *region, size_t cells, uint64_t now_ns)
{
    struct counts latest = {now_ns / SECOND_NS + CELL_AHEAD_S, WINDOW_LIMIT_MAX, WINDOW_LIMIT_MAX};

    if (latest.expiry_s <= EXPIRY_S_MAX)
        cell_settle(region, cells, pack(latest));
}

int64_t window_take(const struct window_table *table, uint64_t hash, uint64_t now_ns, uint32_t window_s,
                    uint32_t limit, uint32_t cost)
{
    struct rate_cell *set = cell_set(table->region, table->cells, hash);
    uint64_t now_s = now_ns / SECOND_NS;
    struct counts fresh = {now_s + 2ull * window_s, 0, 0};

    if (fresh.expiry_s > EXPIRY_S_MAX)
        return WINDOW_FULL;
    hash = cell_hash(hash);
    for (;;) {
        struct rate_cell seen;
        struct rate_cell *cell = cell_find(set, hash, &seen);
        struct counts counts = unpack(seen.value);

        if (seen.hash != hash && seen.hash != 0 && counts.expiry_s + GRACE_S > now_s)
            return WINDOW_FULL;
        counts = seen.hash == hash ? advance(counts, fresh, window_s) : fresh;
        int64_t wait = wait_ns(counts, now_ns, window_s, limit, cost);
        if (wait > 0) {
            if (cell_stood(cell, seen))
                return wait;
        } else {
            counts.current += cost;
            if (cell_swap(cell, seen, (struct rate_cell){hash, pack(counts)}))
                return 0;
        }
    }
}

int64_t window_peek(const struct window_table *table, uint64_t hash, uint64_t now_ns, uint32_t window_s,
                    uint32_t limit, uint32_t cost)
{
    struct rate_cell *set = cell_set(table->region, table->cells, hash);
    struct counts fresh = {now_ns / SECOND_NS + 2ull * window_s, 0, 0};
    struct rate_cell seen;
    struct rate_cell *cell;

    hash = cell_hash(hash);
    do
        cell = cell_find(set, hash, &seen);
    while (!cell_stood(cell, seen));
    if (seen.hash != hash || fresh.expiry_s > EXPIRY_S_MAX)
        return 0;
    int64_t wait = wait_ns(advance(unpack(seen.value), fresh, window_s), now_ns, window_s, limit, cost);
    return wait > 0 ? wait : 0;
}
