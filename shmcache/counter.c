/* Statistics pages: names, reading, and the end of a member. The reasoning is in counter.h. */
#include "counter.h"

#include <string.h>

#define PAGES (COUNTER_MEMBERS + 1 + COUNTER_MEMBERS)
#define FIRST_RETIRED (COUNTER_MEMBERS + 1)

static const char *const names[CORE_COUNTERS] = {
    [CORE_REPAIRS] = "repairs",
    [CORE_LOCK_TIMEOUTS] = "lock_timeouts",
    [CORE_EVICTIONS] = "evictions",
    [CORE_EXPIRED] = "expired",
    [CORE_NO_ROOM] = "no_room",
    [CORE_LEASES_TAKEN_OVER] = "leases_taken_over",
    [CORE_LEASE_TABLE_FULL] = "lease_table_full",
    [CORE_BUCKET_TABLE_FULL] = "bucket_table_full",
    [CORE_REAPS] = "reaps",
    [CORE_REAPED_PINS] = "reaped_pins",
    [CORE_REAPED_FILLS] = "reaped_fills",
    [CORE_REAPED_LEASES] = "reaped_leases",
    [CORE_TORN_READS] = "torn_reads",
    [CORE_HITS_SMALL] = "hits_small",
    [CORE_HITS_LARGE] = "hits_large",
    [CORE_MISSES] = "misses",
    [CORE_STORES_SMALL] = "stores_small",
    [CORE_STORES_LARGE] = "stores_large",
    [CORE_EVICTED_SMALL] = "evicted_small",
    [CORE_EVICTED_LARGE] = "evicted_large",
    [CORE_EVICTED_INDEX] = "evicted_index",
    [CORE_RELOCATED] = "relocated",
    [CORE_LOCK_WAITS] = "lock_waits",
    [CORE_DAMAGED] = "damaged",
    [CORE_NOT_ADMITTED] = "not_admitted",
    [CORE_PINS_BROKEN_OFF] = "pins_broken_off",
    [CORE_CRAWLED] = "crawled",
    [CORE_PURGED] = "purged",
    [CORE_PREFIX_SWEEPS] = "prefix_sweeps",
    [CORE_WARM_STARTS] = "warm_starts",
    [CORE_WINDOW_TABLE_FULL] = "window_table_full",
    [CORE_LEASES_CLAIMED] = "leases_claimed",
    [CORE_LEASES_PUBLISHED] = "leases_published",
    [CORE_LEASES_NOT_STORABLE] = "leases_not_storable",
    [CORE_LEASES_FAILED] = "leases_failed",
    [CORE_LEASES_OWNER_DIED] = "leases_owner_died",
    [CORE_LEASES_TOO_SLOW] = "leases_too_slow",
    [CORE_LEASES_UNKNOWN] = "leases_unknown",
    [CORE_LEASES_RENEWED] = "leases_renewed",
    [CORE_SCOREBOARD_FULL] = "scoreboard_full",
    [CORE_PRESENCE_FULL] = "presence_full",
};

static uint64_t read_word(const void *region, int page, unsigned index)
{
    return __atomic_load_n((const uint64_t *)region + (size_t)page * COUNTER_SLOTS + index, __ATOMIC_RELAXED);
}

const char *counter_name(unsigned index)
{
    return names[index];
}

size_t counter_region_bytes(void)
{
    return (size_t)PAGES * COUNTER_SLOTS * sizeof(uint64_t);
}

void counter_init(void *region)
{
    memset(region, 0, counter_region_bytes());
}

void counter_retire(void *region, int member)
{
    uint64_t *retired = (uint64_t *)region + (size_t)(FIRST_RETIRED + member) * COUNTER_SLOTS;

    for (unsigned index = 0; index < COUNTER_SLOTS; index++)
        __atomic_store_n(retired + index, read_word(region, member, index), __ATOMIC_RELAXED);
}

uint64_t counter_total(const void *region, unsigned index)
{
    uint64_t total = 0;

    for (int page = 0; page <= COUNTER_MEMBERS; page++)
        total += read_word(region, page, index);
    return total;
}

void counter_totals(const void *region, uint64_t *out)
{
    memset(out, 0, COUNTER_SLOTS * sizeof(uint64_t));
    for (int page = 0; page <= COUNTER_MEMBERS; page++)
        for (unsigned index = 0; index < COUNTER_SLOTS; index++)
            out[index] += read_word(region, page, index);
}

void counter_of(const void *region, int member, uint64_t *out)
{
    for (unsigned index = 0; index < COUNTER_SLOTS; index++) {
        /* retired first: it only ever catches up with the count, so the difference is never negative */
        uint64_t retired = read_word(region, FIRST_RETIRED + member, index);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        out[index] = read_word(region, member, index) - retired;
    }
}
