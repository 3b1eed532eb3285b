/* Statistics pages: reading, and the end of a member. The reasoning is in counter.h. */
#include "counter.h"

#include <string.h>

#define PAGES (COUNTER_MEMBERS + 1 + COUNTER_MEMBERS)
#define FIRST_RETIRED (COUNTER_MEMBERS + 1)

static uint64_t read_word(const void *region, int page, unsigned index)
{
    return __atomic_load_n((const uint64_t *)region + (size_t)page * COUNTER_SLOTS + index, __ATOMIC_RELAXED);
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
