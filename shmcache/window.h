/* Sliding windows: exact rate decisions for all processes, one 16-byte compare-and-swap each.
 *
 * A cell (cell.h) holds {expiry_s 28 | previous 18 | current 18}: what was granted in the current window and in
 * the one before, and the second of CLOCK_MONOTONIC at which both count for nothing, which is the start of the
 * current window + 2 windows. The rate is estimated as if the previous window's grants had been spread evenly,
 *
 *     estimate = previous * (window - elapsed) / window + current,
 *
 * and `cost` is granted when estimate + cost <= limit. The comparison is made in integers without a division,
 * so it is the rule over the reals itself. A key's first window starts in the second of its first grant, and so
 * does a window after the key was idle until its expiry; otherwise they follow each other.
 *
 * The laws of a cell hold: within a window `current` grows, and a new window or a new key raises the expiry. A
 * clock older than the current window counts as no time passed, that is as its start. A cell that another key
 * takes over counted for nothing, so its former key loses and gains nothing by it.
 *
 * A key that comes with another window length than before keeps its expiry and its counts: they are weighed by
 * the new length, and exact again once they expired.
 */
#ifndef SHMCACHE_WINDOW_H
#define SHMCACHE_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#define WINDOW_S_MAX (1u << 20)         /* 12 days */
#define WINDOW_LIMIT_MAX ((1u << 18) - 1)

/* Answer of window_take when every cell of the set is active for another key: granted, but not counted. */
#define WINDOW_FULL (-1)

/* One process's view; lies in its own memory. */
struct window_table {
    void *region;
    size_t cells; /* power of two, at least CELL_WAYS */
};

/* Bytes of a region of that many cells; it must be 64-byte aligned. */
size_t window_region_bytes(size_t cells);

/* Lay out a region: nothing ever counted, which is the same as all bytes zero. */
void window_init(void *region, size_t cells);

/* Forget every count that does not expire within CELL_AHEAD_S from now on, as only damage makes it. The caller is
 * alone in the region. */
void window_settle(void *region, size_t cells, uint64_t now_ns);

/* Count `cost` against `limit` per `window_s` seconds for the key with that hash.
 *
 * 0: granted. Positive: nanoseconds until it will fit if nobody else is granted, nothing counted. WINDOW_FULL:
 * no cell to count in, granted; also once the clock is beyond what 28 bits of seconds hold, 8.5 years.
 * 1 <= window_s <= WINDOW_S_MAX, 1 <= cost <= limit <= WINDOW_LIMIT_MAX. Never waits.
 */
int64_t window_take(const struct window_table *table, uint64_t hash, uint64_t now_ns, uint32_t window_s,
                    uint32_t limit, uint32_t cost);

/* What window_take would say of a key that has a cell, without counting anything; 0 of one that has none. */
int64_t window_peek(const struct window_table *table, uint64_t hash, uint64_t now_ns, uint32_t window_s,
                    uint32_t limit, uint32_t cost);

#endif
