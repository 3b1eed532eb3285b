/* Token buckets: exact rate decisions for all processes by GCRA, one 16-byte compare-and-swap each.
 *
 * A cell holds {hash of the key, theoretical arrival time}. The arrival time (TAT) is when the bucket will be
 * full again; granting `cost` tokens moves it `cost` intervals on, and a request is refused when that would
 * put it more than `burst` intervals ahead of now. One swap is the whole decision: no lock, no state that a
 * death could leave behind.
 *
 * Laws of a cell, on which everything else rests:
 *   1. Its TAT only ever grows. Granting adds to it; a new key takes a cell over only when the old TAT lies in
 *      the past, and starts no earlier than now. So a cell never has the same content twice (no ABA).
 *   2. A new key takes the cell with the smallest (TAT, position) of its set, and no other.
 *
 * Why a key never has two cells. Let P insert key K in cell i while Q, which has seen no K, inserts it in j.
 * Q read i before P's swap and succeeded on j after it. By law 1 Q saw in i at most what P replaced, and P saw
 * in j at most what Q replaced. By law 2 Q's choice means (j) < (i as Q saw it) <= (i as P saw it), and P's
 * means (i as P saw it) < (j as P saw it) <= (j as Q saw it) = (j): a contradiction. No clock occurs in this,
 * so it holds between processes whose clocks were read at different moments. It needs that a cell's TAT is read
 * before its hash.
 *
 * Why no more than burst + elapsed / interval is granted, whatever the order of clocks. A key's TAT grows by one
 * interval per token and starts no earlier than the clock of the first taker; the last grant leaves it at most
 * burst intervals after the clock of the last. A clock older than the stored time counts as no time passed.
 * A cell is given to another key only BUCKET_GRACE_NS after it was full again, so that the clocks of two takers
 * may differ by that much.
 *
 * Two keys whose seeded 64-bit hashes are equal share a bucket: about one in 10^13 with 10^6 keys active.
 */
#ifndef SHMCACHE_BUCKET_H
#define SHMCACHE_BUCKET_H

#include <stddef.h>
#include <stdint.h>

#define BUCKET_WAYS 4
#define BUCKET_GRACE_NS 1000000000ull
#define BUCKET_AHEAD_NS 86400000000000ull /* a day: longer than a bucket of any sensible limit takes to fill */

/* Answer of bucket_take when every cell of the set is active for another key: granted, but not counted. */
#define BUCKET_FULL (-1)

/* One process's view; lies in its own memory. */
struct bucket_table {
    void *region;
    size_t cells; /* power of two, at least BUCKET_WAYS */
};

/* Bytes of a region of that many cells; it must be 64-byte aligned. */
size_t bucket_region_bytes(size_t cells);

/* Lay out a region: every bucket full, which is the same as all bytes zero. */
void bucket_init(void *region, size_t cells);

/* After damage: refill every bucket that would be full again only BUCKET_AHEAD_NS after now_ns or later. The
 * caller is alone in the region. */
void bucket_settle(void *region, size_t cells, uint64_t now_ns);

/* Take `cost` tokens from the bucket of the key with that hash.
 *
 * 0: granted. Positive: nanoseconds until they will be there, nothing taken. BUCKET_FULL: no cell to count in,
 * granted. `interval_ns` is the time one token takes to come back, `burst` the size of the bucket; both at
 * least 1, 1 <= cost <= burst. burst * interval_ns beyond 73 years counts as 73 years. Never waits.
 */
int64_t bucket_take(const struct bucket_table *table, uint64_t hash, uint64_t now_ns, uint64_t interval_ns,
                    uint64_t burst, uint64_t cost);

#endif
