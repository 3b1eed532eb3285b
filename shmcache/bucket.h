/* Token buckets: exact rate decisions for all processes by GCRA, one 16-byte compare-and-swap each.
 *
 * A cell (cell.h) holds the key's theoretical arrival time, in nanoseconds of CLOCK_MONOTONIC. This TAT is when
 * the bucket will be full again; granting `cost` tokens moves it `cost` intervals on, and a request is refused
 * when that would put it more than `burst` intervals ahead of now.
 *
 * Why no more than burst + elapsed / interval is granted, whatever the order of clocks. A key's TAT grows by one
 * interval per token and starts no earlier than the clock of the first taker; the last grant leaves it at most
 * burst intervals after the clock of the last. A clock older than the stored time counts as no time passed.
 * A cell that another key takes over held a full bucket, so its former key loses and gains nothing by it.
 */
#ifndef SHMCACHE_BUCKET_H
#define SHMCACHE_BUCKET_H

#include <stddef.h>
#include <stdint.h>

/* Answer of bucket_take when every cell of the set is active for another key: granted, but not counted. */
#define BUCKET_FULL (-1)

/* One process's view; lies in its own memory. */
struct bucket_table {
    void *region;
    size_t cells; /* power of two, at least CELL_WAYS */
};

/* Bytes of a region of that many cells; it must be 64-byte aligned. */
size_t bucket_region_bytes(size_t cells);

/* Lay out a region: every bucket full, which is the same as all bytes zero. */
void bucket_init(void *region, size_t cells);

/* Refill every bucket that takes longer than CELL_AHEAD_S from now on, as only damage makes it. The caller is alone in
 * the region. */
void bucket_settle(void *region, size_t cells, uint64_t now_ns);

/* Take `cost` tokens from the bucket of the key with that hash.
 *
 * 0: granted. Positive: nanoseconds until they will be there, nothing taken. BUCKET_FULL: no cell to count in,
 * granted. `interval_ns` is the time one token takes to come back, `burst` the size of the bucket; both at
 * least 1, 1 <= cost <= burst. burst * interval_ns beyond 73 years counts as 73 years. Never waits.
 */
int64_t bucket_take(const struct bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                    uint64_t burst, uint64_t cost);

/* What bucket_take would say of a key that has a cell, without taking anything; 0 of one that has none. */
int64_t bucket_peek(const struct bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                    uint64_t burst, uint64_t cost);

#endif
