/* Statistics: one page of u64 counters per member, written by its owner with plain stores.
 *
 * Region layout, 64-bit words throughout:
 *
 *     counts  [COUNTER_MEMBERS + 1][COUNTER_SLOTS]   only ever added to; the last page is nobody's
 *     retired [COUNTER_MEMBERS]    [COUNTER_SLOTS]   what the former processes of that member counted
 *
 * Why a death loses or doubles nothing. A total is the sum of `counts`, and nothing but `counter_add` ever
 * writes `counts`: the next process of a member goes on where the dead one stopped. So a total cannot go
 * backwards, whoever dies where; a process killed inside `counter_add` either stored its sum or did not.
 * Retiring a dead member only copies its page into `retired`, so that `counter_of` starts again at zero. The
 * copy of a page that no longer changes is idempotent: a reaper that dies in its middle is simply repeated.
 *
 * Page COUNTER_MEMBERS belongs to processes that have not joined (a supervisor, an inspector). Several may
 * write it at once, so there the addition is an atomic one.
 */
#ifndef SHMCACHE_COUNTER_H
#define SHMCACHE_COUNTER_H

#include <stddef.h>
#include <stdint.h>

#define COUNTER_MEMBERS 64
#define COUNTER_SLOTS 512
#define COUNTER_USER 64 /* indices below are the core's own, from here on the user's */

/* The core's own counters. Append only: the numbers are part of the segment's layout. Named in counter.c. */
enum core_counter {
    CORE_REPAIRS,           /* stripes rebuilt after their lock's owner died */
    CORE_LOCK_TIMEOUTS,     /* operations given up because a stripe stayed locked */
    CORE_EVICTIONS,         /* entries removed to make room */
    CORE_EXPIRED,           /* entries removed because they were past keep_until */
    CORE_NO_ROOM,           /* stores refused because no room could be made */
    CORE_LEASES_TAKEN_OVER, /* leases ended as TOO_SLOW because another member wanted the key or the cell */
    CORE_LEASE_TABLE_FULL,  /* claims answered FULL */
    CORE_BUCKET_TABLE_FULL, /* rate decisions granted without a cell to count them in */
    CORE_REAPS,             /* dead members cleaned up after */
    CORE_REAPED_PINS,
    CORE_REAPED_FILLS, /* half-made entries given back */
    CORE_REAPED_LEASES,
    CORE_TORN_READS, /* optimistic copies repeated because the entry changed underneath */
    CORE_HITS_SMALL, /* lookups that found a body of one chunk */
    CORE_HITS_LARGE, /* lookups that found a body in pages */
    CORE_MISSES,
    CORE_STORES_SMALL, /* entries published, by the same two kinds of body */
    CORE_STORES_LARGE,
    CORE_EVICTED_SMALL, /* entries removed to make room in their pool */
    CORE_EVICTED_LARGE,
    CORE_EVICTED_INDEX,   /* entries removed because their index buckets were full */
    CORE_RELOCATED,       /* chunks moved so that their page could be given back */
    CORE_LOCK_WAITS,      /* locks not taken within the spins */
    CORE_DAMAGED,         /* entries dropped because a checksum or a length was wrong */
    CORE_NOT_ADMITTED,    /* large bodies refused at first sight */
    CORE_PINS_BROKEN_OFF, /* pinned bodies copied out for slow readers */
    CORE_CRAWLED,         /* entries the crawler looked at */
    CORE_PURGED,          /* entries dropped because a purge had hit them */
    CORE_PREFIX_SWEEPS,   /* passes over the entries for purges by prefix */
    CORE_WARM_STARTS,     /* times a segment was taken over with what lay in it */
    CORE_WINDOW_TABLE_FULL,  /* decisions of sliding windows granted without a cell to count them in */
    CORE_LEASES_CLAIMED,     /* claims that became leases; who dies may leave its last claim or ending uncounted */
    CORE_LEASES_PUBLISHED,   /* leases by how they ended, in the order of enum lease_ending; the ender counts */
    CORE_LEASES_NOT_STORABLE,
    CORE_LEASES_FAILED,
    CORE_LEASES_OWNER_DIED,
    CORE_LEASES_TOO_SLOW,
    CORE_LEASES_UNKNOWN,     /* withdrawn: a rival claimed the same key at the same time */
    CORE_LEASES_RENEWED,
    CORE_SCOREBOARD_FULL,    /* keys that got no cell of the scoreboard */
    CORE_PRESENCE_FULL,      /* let in without a word to count them in */
    CORE_COUNTERS
};

_Static_assert(CORE_COUNTERS <= COUNTER_USER, "the core's counters must stay below the user's");

/* Its name without CORE_, in lower case; `index` below CORE_COUNTERS. */
const char *counter_name(unsigned index);

/* Bytes of the region; it must be 8-byte aligned, and page aligned to keep members apart. */
size_t counter_region_bytes(void);

/* Lay out a region; all counters 0. */
void counter_init(void *region);

/* Keep apart what the member's dead process counted from what its successor will count.
 *
 * Call once the process is gone and before another joins in its place. Idempotent.
 */
void counter_retire(void *region, int member);

/* Sum over all members, living and dead; it never goes backwards. `index` below COUNTER_SLOTS. */
uint64_t counter_total(const void *region, unsigned index);

/* All totals at once, into COUNTER_SLOTS words. */
void counter_totals(const void *region, uint64_t *out);

/* What the living process of `member` (0..COUNTER_MEMBERS-1) counted, into COUNTER_SLOTS words. */
void counter_of(const void *region, int member, uint64_t *out);

/* Add to the caller's own counter. `member` -1: the caller has not joined. `index` below COUNTER_SLOTS. */
static inline void counter_add(void *region, int member, unsigned index, uint64_t amount)
{
    uint64_t *counts = region;

    if ((unsigned)member < COUNTER_MEMBERS) {
        uint64_t *count = counts + (size_t)member * COUNTER_SLOTS + index;
        /* The only writer: no read-modify-write needed, only that readers never see half a word. */
        __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + amount, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_add(counts + (size_t)COUNTER_MEMBERS * COUNTER_SLOTS + index, amount, __ATOMIC_RELAXED);
    }
}

#endif
