/* A million small objects: what a get costs beside ten thousand, and what each object takes beside its bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "bench.h"
#include "purge.h"
#include "slab.h"

enum { FEW = 10000, GETS = 1000000, ROUNDS_MAX = 64, SMALLEST = 100, LARGEST = 700 };
#define ZIPF_ALPHA 0.9

/* Log-uniform, always the same for the same number. */
static uint32_t size_of(uint32_t number) {
    uint64_t state = (number + 1) * 0x9e3779b97f4a7c15ull;
    double where = (double)random_below(&state, MEGA) / MEGA;
    return (uint32_t)(SMALLEST * pow((double)LARGEST / SMALLEST, where));
}

static void store_first(struct shm *shm, uint32_t count) {
    struct request request;
    for (uint32_t number = 0; number < count; number++) {
        set_request(&request, number);
        store_request(shm, &request, size_of(number));
    }
}

/* GETS requests over `count` objects, the popularity of rank r falling as r to the -ZIPF_ALPHA. */
static struct request *zipf(uint32_t count) {
    struct request *requests = malloc(GETS * sizeof *requests);
    double *sums = malloc(count * sizeof *sums), sum = 0;
    uint64_t state = 1;
    if (!requests || !sums) die("no memory");
    const struct request *ranks = shuffled(count, 2);
    for (uint32_t rank = 0; rank < count; rank++) sums[rank] = sum += pow(rank + 1.0, -ZIPF_ALPHA);
    for (uint32_t i = 0; i < GETS; i++) {
        double wanted = (double)random_below(&state, 1ull << 40) / (double)(1ull << 40) * sum;
        uint32_t low = 0, high = count - 1;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (sums[middle] < wanted) low = middle + 1;
            else high = middle;
        }
        requests[i] = ranks[low];
    }
    free(sums);
    return requests;
}

/* One pattern of gets, measured in every round. */
struct pattern {
    const char *name;
    struct shm *shm;
    const struct request *requests;
    uint32_t count;
    uint64_t spent_ps[ROUNDS_MAX];
};

/* A crowded index has no place for one object in many thousands. */
static uint64_t get_ps(const struct pattern *pattern) {
    uint32_t missed = 0;
    for (uint32_t i = 0; i < pattern->count; i++) missed += !get_request(pattern->shm, &pattern->requests[i]);
    if (missed > pattern->count / 1000) die("missed");
    uint64_t before = cpu_ns();
    for (uint32_t i = 0, at = 0; i < GETS; i++) {
        get_request(pattern->shm, &pattern->requests[at]);
        if (++at == pattern->count) at = 0;
    }
    return (cpu_ns() - before) * 1000 / GETS;
}

static double region_bytes(const struct shm *shm, enum region region) {
    return (double)(shm->header->region[region + 1] - shm->header->region[region]);
}

static void print_memory(const struct shm *shm, uint32_t objects) {
    uint64_t chunks = 0, parts = 0;
    uint32_t slots[SHM_LEVELS];
    for (uint32_t number = 0; number < objects; number++) {
        struct request request;
        set_request(&request, number);
        uint32_t tags = purge_levels(shm, request.key, KEY_BYTES, slots), size = size_of(number);
        chunks += slab_class_bytes[slab_class((uint32_t)head_body_at(tags, KEY_BYTES, 0) + size)];
        parts += head_key_at(tags) + KEY_BYTES + size;
    }
    double head = (double)head_key_at(purge_levels(shm, shuffled(1, 1)->key, KEY_BYTES, slots));
    printf("entry %.1f\n", region_bytes(shm, REGION_ENTRIES) / objects);
    printf("index %.1f\n", region_bytes(shm, REGION_SLOTS) / objects);
    printf("ghosts %.1f\n", region_bytes(shm, REGION_GHOSTS) / objects);
    printf("head %.1f\n", head);
    printf("pages %.1f\n", (double)chunks / objects / SHM_PAGE * (sizeof(struct page) + 8 * sizeof(uint64_t)));
    printf("stored %.1f\n", (double)parts / objects - head);
    printf("waste %.1f\n", (double)(chunks - parts) / objects);
    printf("waste_percent %.1f\n", (double)(chunks - parts) * 100 / (double)chunks);
}

/* Stripes fill unevenly: the next power of two, which suits the index as well, leaves them 5 % for a million. */
static uint32_t room_for(uint32_t objects) { return 1u << (32 - __builtin_clz(objects)); }

void measure_scale(uint32_t objects, size_t bytes, uint32_t rounds) {
    static struct shm small, large;
    struct occupancy taken;
    pin_to_core(0);
    make_segment(&small, bytes, 0, room_for(objects));
    make_segment(&large, bytes, 0, room_for(objects));
    store_first(&small, FEW);
    uint64_t before = cpu_ns();
    store_first(&large, objects);
    printf("set %.1f\n", (double)(cpu_ns() - before) / objects);
    occupancy(&large, &taken);
    printf("objects %llu\n", (unsigned long long)taken.objects);
    struct pattern patterns[] = {
        {.name = "few", .shm = &small, .requests = shuffled(FEW, 1), .count = FEW},
        {.name = "few_of_many", .shm = &large, .requests = shuffled(FEW, 1), .count = FEW},
        {.name = "many", .shm = &large, .requests = shuffled(objects, 1), .count = objects},
        {.name = "few_zipf", .shm = &small, .requests = zipf(FEW), .count = GETS},
        {.name = "many_zipf", .shm = &large, .requests = zipf(objects), .count = GETS},
    };
    if (rounds < 1 || rounds > ROUNDS_MAX) die("1 to 64 rounds");
    for (uint32_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
            patterns[i].spent_ps[round] = get_ps(&patterns[i]);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        printf("%s %.1f\n", patterns[i].name, (double)median(patterns[i].spent_ps, rounds) / 1000);
    print_memory(&large, objects);
}
