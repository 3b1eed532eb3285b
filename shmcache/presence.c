/* Counts of what is there at a time. The reasoning is in presence.h. */
#include "presence.h"

#include <stdbool.h>
#include <string.h>

#include "lock.h"

#define COUNT_BITS 18
#define MEMBER_BITS 6
#define COUNT_MASK ((1ull << COUNT_BITS) - 1)
#define MEMBER_MASK ((1ull << MEMBER_BITS) - 1)
#define TAG_BITS (64 - COUNT_BITS - MEMBER_BITS)
#define TRIES 8

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static uint64_t *set_of(const void *region, size_t words, uint64_t hash)
{
    return (uint64_t *)region + (hash & (words / PRESENCE_WAYS - 1)) * PRESENCE_WAYS;
}

static uint64_t tag_of(uint64_t hash)
{
    return hash >> (64 - TAG_BITS);
}

/* A word of that key and member, without its count. */
static uint64_t name_of(uint64_t hash, int member)
{
    return tag_of(hash) << (COUNT_BITS + MEMBER_BITS) | (uint64_t)member << COUNT_BITS;
}

static uint64_t *find(uint64_t *set, uint64_t name)
{
    for (int way = 0; way < PRESENCE_WAYS; way++) {
        uint64_t seen = load(set + way);
        if ((seen & COUNT_MASK) != 0 && (seen & ~COUNT_MASK) == name)
            return set + way;
    }
    return NULL;
}

/* Count the first one of a key in a free word; NULL when there is none. */
static uint64_t *claim(uint64_t *set, uint64_t name)
{
    for (int way = 0; way < PRESENCE_WAYS; way++) {
        uint64_t free = 0;
        if (load(set + way) == 0 && __atomic_compare_exchange_n(set + way, &free, name + 1, false, __ATOMIC_SEQ_CST,
                                                                __ATOMIC_SEQ_CST))
            return set + way;
    }
    return NULL;
}

static uint64_t *add(uint64_t *set, uint64_t name)
{
    uint64_t *word = find(set, name);

    if (word == NULL)
        return claim(set, name);
    __atomic_store_n(word, load(word) + 1, __ATOMIC_SEQ_CST);
    return word;
}

static void take_back(uint64_t *word)
{
    uint64_t less = load(word) - 1;

    __atomic_store_n(word, (less & COUNT_MASK) != 0 ? less : 0, __ATOMIC_SEQ_CST);
}

static uint64_t count(const uint64_t *set, uint64_t tag)
{
    uint64_t sum = 0;

    for (int way = 0; way < PRESENCE_WAYS; way++) {
        uint64_t seen = load(set + way);
        if (seen >> (COUNT_BITS + MEMBER_BITS) == tag)
            sum += seen & COUNT_MASK;
    }
    return sum;
}

size_t presence_region_bytes(size_t words)
{
    return words * sizeof(uint64_t);
}

void presence_init(void *region, size_t words)
{
    memset(region, 0, presence_region_bytes(words));
}

enum presence_answer presence_enter(void *region, size_t words, int member, uint64_t hash, uint64_t most)
{
    uint64_t *set = set_of(region, words, hash), tag = tag_of(hash);

    for (int tries = 0; tries < TRIES; tries++) {
        FP();
        uint64_t *word = add(set, name_of(hash, member));
        if (word == NULL)
            return PRESENCE_UNCOUNTED;
        FP();
        if (count(set, tag) <= most)
            return PRESENCE_ENTERED;
        take_back(word);
        FP();
        if (count(set, tag) >= most)
            break;
    }
    return PRESENCE_OVER;
}

void presence_leave(void *region, size_t words, int member, uint64_t hash)
{
    uint64_t *word = find(set_of(region, words, hash), name_of(hash, member));

    if (word != NULL)
        take_back(word);
}

uint64_t presence_count(const void *region, size_t words, uint64_t hash)
{
    return count(set_of(region, words, hash), tag_of(hash));
}

void presence_reap(void *region, size_t words, int member)
{
    uint64_t *first = region;

    for (uint64_t *word = first; word < first + words; word++) {
        FP();
        uint64_t seen = load(word);
        if (seen != 0 && (seen >> COUNT_BITS & MEMBER_MASK) == (uint64_t)member)
            __atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
    }
}
