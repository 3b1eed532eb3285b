#define _GNU_SOURCE
#include "segment.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#include "bucket.h"
#include "lease.h"
#include "lock.h"
#include "presence.h"
#include "score.h"
#include "window.h"

enum {
    LINE = 64,
    OS_PAGE = 4096,
    HUGE_PAGE = 2 << 20,
    PAGES_MIN = 16,              /* a stripe cannot do with less */
    BYTES_PER_ENTRY = 8192,      /* default: about 1.5 % of the segment */
    BYTES_PER_STRIPE = 32 << 20, /* each keeps half a page per class open: 2 % of this; 9 % of 8 MiB */
    STRIPES_DEFAULT = 64,
    TAGS_MAX = 1 << 20,
    INDEX_LOAD = 6,              /* entries to a bucket of 8: with two choices none of 12,000 finds both full */
};

/* struct header keeps the plan's numbers together, `stripes` to `region`. */
#define PLAN_END (offsetof(struct header, region) + sizeof((struct header *)0)->region)

/* Where everything lies, before there is a header. */
struct plan {
    uint32_t stripes, per_stripe, buckets, ghosts, tags, bucket_cells, pages;
    uint64_t region[REGIONS];
};

static uint64_t floor_power(uint64_t n) {
    return n ? 1ull << (63 - __builtin_clzll(n)) : 0;
}

static uint64_t clamp(uint64_t n, uint64_t low, uint64_t high) {
    return n < low ? low : n > high ? high : n;
}

static uint64_t ceil_power(uint64_t n) {
    uint64_t power = floor_power(n);
    return power == n ? n : power * 2;
}

static uint64_t align(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* Reserve `bytes` for a region at the plan's end. */
static void place(struct plan *plan, enum region region, uint64_t *end, uint64_t bytes, uint64_t alignment) {
    *end = align(*end, alignment);
    plan->region[region] = *end;
    *end += bytes;
}

static bool make_plan(struct plan *plan, size_t size, uint32_t stripes, uint32_t entries) {
    memset(plan, 0, sizeof *plan);
    plan->stripes = (uint32_t)(stripes ? clamp(floor_power(stripes), 1, SHM_STRIPES_MAX)
                                       : clamp(floor_power(size / BYTES_PER_STRIPE), 1, STRIPES_DEFAULT));
    uint64_t wanted = entries ? entries : size / BYTES_PER_ENTRY;
    plan->per_stripe = (uint32_t)clamp(wanted / plan->stripes, 16, SHM_PER_STRIPE_MAX);
    plan->buckets = plan->per_stripe / INDEX_LOAD + 2;
    plan->ghosts = (uint32_t)ceil_power(plan->per_stripe);
    plan->tags = (uint32_t)clamp(floor_power(size / 128 / sizeof(uint64_t)), 512, TAGS_MAX);
    plan->bucket_cells = (uint32_t)clamp(floor_power(size / 64 / SHM_BUCKET_BYTES), 1024, SHM_BUCKETS_MAX);

    uint64_t end = OS_PAGE, all = (uint64_t)plan->stripes * plan->per_stripe;
    place(plan, REGION_MEMBERS, &end, SHM_MEMBERS * sizeof(struct member), OS_PAGE);
    place(plan, REGION_STATISTICS, &end, counter_region_bytes(), OS_PAGE);
    place(plan, REGION_LEASES, &end, lease_region_bytes(SHM_LEASES), OS_PAGE);
    place(plan, REGION_BUCKETS, &end, bucket_region_bytes(plan->bucket_cells), OS_PAGE);
    place(plan, REGION_WINDOWS, &end, window_region_bytes(plan->bucket_cells), OS_PAGE);
    place(plan, REGION_TAGS, &end, plan->tags * sizeof(uint64_t), OS_PAGE);
    place(plan, REGION_SOFT, &end, plan->tags / SHM_SOFT_SHARE * sizeof(struct soft_mark), OS_PAGE);
    place(plan, REGION_RULES, &end, SHM_RULES * sizeof(struct rule), OS_PAGE);
    place(plan, REGION_SCORES, &end, score_region_bytes(SHM_SCORES), OS_PAGE);
    place(plan, REGION_PRESENCE, &end, presence_region_bytes(plan->bucket_cells), OS_PAGE);
    place(plan, REGION_STRIPES, &end, plan->stripes * sizeof(struct stripe), LINE);
    place(plan, REGION_SLOTS, &end, (uint64_t)plan->stripes * plan->buckets * SHM_WAYS * sizeof(uint64_t), LINE);
    place(plan, REGION_ENTRIES, &end, all * sizeof(struct entry), LINE);
    place(plan, REGION_GHOSTS, &end, (uint64_t)plan->stripes * plan->ghosts * sizeof(uint64_t), LINE);

    /* The rest is pages and what each page needs beside it. */
    uint64_t per_page = sizeof(struct page) + 8 * sizeof(uint64_t) + SHM_PAGE;
    uint64_t slack = SHM_PAGE + 4 * LINE;
    if (size < end + slack) return false;
    uint64_t pages = (size - end - slack) * 8 / (per_page * 8 + 1);
    if (pages < (uint64_t)PAGES_MIN * plan->stripes || pages > UINT32_MAX / (SHM_PAGE / SHM_UNIT)) return false;
    plan->pages = (uint32_t)pages;
    place(plan, REGION_PAGES, &end, pages * sizeof(struct page), LINE);
    place(plan, REGION_BITMAPS, &end, pages * 8 * sizeof(uint64_t), LINE);
    place(plan, REGION_FREE, &end, align(pages, 64) / 8, LINE);
    place(plan, REGION_DATA, &end, pages * SHM_PAGE, SHM_PAGE);
    return end <= size;
}

size_t segment_minimum(void) {
    struct plan plan;
    size_t size = 1 << 20;
    while (!make_plan(&plan, size, 0, 0)) size += 1 << 18;
    return size;
}

/* Differs when another compiler or an edit of the structs moved anything. */
static uint32_t shape(void) {
    const uint32_t facts[] = {
        sizeof(struct header), sizeof(struct member), sizeof(struct stripe),  sizeof(struct entry),
        sizeof(struct head),   sizeof(struct page),   sizeof(struct rule), SHM_RULES, SHM_SOFT_SHARE,   sizeof(pthread_mutex_t), SHM_PAGE, SHM_UNIT, SHM_CLASSES,
        SHM_WAYS, SHM_PER_STRIPE_MAX, SHM_GHOST_WAYS, SHM_MEMBERS, REGIONS, (uint32_t)counter_region_bytes(), (uint32_t)lease_region_bytes(SHM_LEASES), (uint32_t)bucket_region_bytes(1024),
        (uint32_t)window_region_bytes(1024), (uint32_t)score_region_bytes(SHM_SCORES), (uint32_t)presence_region_bytes(1024),
        offsetof(struct header, purge_epoch), offsetof(struct stripe, queue), offsetof(struct entry, npages),
    };
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) hash = (hash ^ facts[i]) * 16777619u;
    return hash;
}

/* Map the file where its huge pages can be mapped as such: at a multiple of their size. */
static uint8_t *map_aligned(int fd, size_t size) {
    uint8_t *room = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return MAP_FAILED;
    uint8_t *at = (uint8_t *)align((uintptr_t)room, HUGE_PAGE), *end = at + align(size, OS_PAGE);
    void *base = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    if (base == MAP_FAILED) at = room, end = room;
    if (at > room) munmap(room, (size_t)(at - room));
    if (end < room + size + HUGE_PAGE) munmap(end, (size_t)(room + size + HUGE_PAGE - end));
    return base;
}

void segment_collapse(const struct shm *shm, size_t from, size_t end) {
    for (size_t at = from / HUGE_PAGE * HUGE_PAGE; at < end && at + HUGE_PAGE <= shm->size; at += HUGE_PAGE) {
        (void)*(volatile uint8_t *)(shm->base + at); /* the kernel collapses nothing that has no page yet */
        if (madvise(shm->base + at, HUGE_PAGE, MADV_COLLAPSE) != 0) return;
    }
}

static int map_fd(struct shm *shm, int fd, size_t size) {
    memset(shm, 0, sizeof *shm);
    shm->member = -1;
    uint8_t *base = map_aligned(fd, size);
    if (base == MAP_FAILED) return SEGMENT_NO_MAP;
    (void)madvise(base, size, MADV_HUGEPAGE); /* only where the host allows it for shared memory */
    shm->base = base;
    shm->size = size;
    shm->header = (struct header *)base;
    return SEGMENT_OK;
}

/* Take the regions' addresses from the header. */
static int bind(struct shm *shm) {
    const struct header *header = shm->header;
    shm->members = segment_region(shm, REGION_MEMBERS);
    shm->statistics = segment_region(shm, REGION_STATISTICS);
    shm->tags = segment_region(shm, REGION_TAGS);
    shm->soft = segment_region(shm, REGION_SOFT);
    shm->rules = segment_region(shm, REGION_RULES);
    shm->stripes = segment_region(shm, REGION_STRIPES);
    shm->slots = segment_region(shm, REGION_SLOTS);
    shm->entries = segment_region(shm, REGION_ENTRIES);
    shm->ghosts = segment_region(shm, REGION_GHOSTS);
    shm->pages = segment_region(shm, REGION_PAGES);
    shm->bitmaps = segment_region(shm, REGION_BITMAPS);
    shm->free_bits = segment_region(shm, REGION_FREE);
    shm->data_page = (uint32_t)(header->region[REGION_DATA] / SHM_PAGE);
    shm->held = calloc((size_t)header->stripes * header->per_stripe, sizeof *shm->held);
    return shm->held ? SEGMENT_OK : SEGMENT_NO_MEMORY;
}

static int init_stripe(struct shm *shm, uint32_t index) {
    struct stripe *stripe = &shm->stripes[index];
    uint32_t per_stripe = shm->header->per_stripe, first = index * per_stripe;
    memset(stripe, 0, sizeof *stripe);
    for (uint32_t i = 0; i < per_stripe; i++)
        shm->entries[first + i].next = i + 1 < per_stripe ? first + i + 2 : 0;
    stripe->free_entry = first + 1;
    for (int i = 0; i < QUEUES; i++) stripe->queue[i].oldest_seq = UINT64_MAX;
    return lock_init(&stripe->lock) ? SEGMENT_NO_MEMORY : SEGMENT_OK;
}

static uint64_t random_seed(const struct shm *shm) {
    uint64_t seed = 0;
    if (getentropy(&seed, sizeof seed) != 0) seed = (uint64_t)(uintptr_t)shm->base * 0x9e3779b97f4a7c15ull;
    return seed;
}

/* The numbers of the header that follow from the plan. */
static void write_plan(struct header *header, const struct plan *plan) {
    header->stripes = plan->stripes;
    header->per_stripe = plan->per_stripe;
    header->buckets = plan->buckets;
    header->ghosts = plan->ghosts;
    header->tags = plan->tags;
    header->bucket_cells = plan->bucket_cells;
    header->pages = plan->pages;
    header->small_pages = plan->pages / 2;
    memcpy(header->region, plan->region, sizeof header->region);
}

static void init_header(struct shm *shm, const struct plan *plan, const uint8_t *boot_id, size_t boot_id_len) {
    struct header *header = shm->header;
    header->version = SHM_LAYOUT_VERSION;
    header->shape = shape();
    header->size_bytes = shm->size;
    header->boot_id_len = (uint32_t)boot_id_len;
    memcpy(header->boot_id, boot_id, boot_id_len);
    header->seed = random_seed(shm);
    write_plan(header, plan);
    atomic_store(&header->purge_epoch, 1);
}

int segment_create(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len,
                   uint32_t stripes, uint32_t entries) {
    struct plan plan;
    if (!make_plan(&plan, size, stripes, entries)) return SEGMENT_TOO_SMALL;
    int failed = map_fd(shm, fd, size);
    if (failed) return failed;
    atomic_store(&shm->header->state, SEGMENT_INIT);
    memset(shm->base, 0, plan.region[REGION_PAGES] + plan.pages * sizeof(struct page));
    atomic_store(&shm->header->state, SEGMENT_INIT);
    init_header(shm, &plan, boot_id, boot_id_len);
    failed = bind(shm);
    if (!failed && lock_init(&shm->header->rules_lock)) failed = SEGMENT_NO_MEMORY;
    for (uint32_t i = 0; !failed && i < plan.stripes; i++) failed = init_stripe(shm, i);
    if (failed) {
        segment_close(shm);
        return failed;
    }
    memset(shm->bitmaps, 0, plan.pages * 8 * sizeof(uint64_t));
    memset(shm->free_bits, 0, align(plan.pages, 64) / 8);
    for (uint32_t i = 0; i < plan.pages; i++) shm->free_bits[i / 64] |= 1ull << (i % 64);
    counter_init(shm->statistics);
    lease_init(segment_region(shm, REGION_LEASES), SHM_LEASES);
    bucket_init(segment_region(shm, REGION_BUCKETS), plan.bucket_cells);
    window_init(segment_region(shm, REGION_WINDOWS), plan.bucket_cells);
    score_init(segment_region(shm, REGION_SCORES), SHM_SCORES);
    presence_init(segment_region(shm, REGION_PRESENCE), plan.bucket_cells);
    for (int i = 0; i < SHM_MEMBERS; i++) atomic_store(&shm->members[i].epoch, 1);
    segment_collapse(shm, 0, plan.region[REGION_DATA]);
    shm->header->magic = SHM_MAGIC;
    atomic_store(&shm->header->state, SEGMENT_READY);
    return SEGMENT_OK;
}

/* Stripes and entries may have been chosen by hand; all else follows from them and the size, and must agree. */
static bool plan_agrees(const struct header *header, size_t size) {
    struct header expected = {0};
    struct plan plan;
    uint64_t entries = (uint64_t)header->stripes * header->per_stripe;
    if (!entries || entries > UINT32_MAX || !make_plan(&plan, size, header->stripes, (uint32_t)entries)) return false;
    write_plan(&expected, &plan);
    return memcmp(&header->stripes, &expected.stripes, PLAN_END - offsetof(struct header, stripes)) == 0;
}

static int check(const struct shm *shm, const uint8_t *boot_id, size_t boot_id_len) {
    const struct header *header = shm->header;
    if (header->magic != SHM_MAGIC) return SEGMENT_BAD_MAGIC;
    if (header->version != SHM_LAYOUT_VERSION) return SEGMENT_BAD_VERSION;
    if (header->shape != shape()) return SEGMENT_BAD_SHAPE;
    if (header->size_bytes != shm->size) return SEGMENT_BAD_SIZE;
    if (atomic_load(&shm->header->state) != SEGMENT_READY) return SEGMENT_NOT_READY;
    if (header->boot_id_len != boot_id_len || memcmp(header->boot_id, boot_id, boot_id_len) != 0)
        return SEGMENT_BAD_BOOT;
    return plan_agrees(header, shm->size) ? SEGMENT_OK : SEGMENT_BAD_PLAN;
}

int segment_attach(struct shm *shm, int fd, size_t size, const uint8_t *boot_id, size_t boot_id_len) {
    struct stat file;
    if (size < OS_PAGE) return SEGMENT_TOO_SMALL;
    if (fstat(fd, &file) != 0) return SEGMENT_NO_MAP;
    if (file.st_size < 0 || (size_t)file.st_size != size) return SEGMENT_BAD_LENGTH; /* or SIGBUS later */
    int failed = map_fd(shm, fd, size);
    if (failed) return failed;
    failed = check(shm, boot_id, boot_id_len);
    if (!failed) failed = bind(shm);
    if (failed) segment_close(shm);
    return failed;
}

void segment_close(struct shm *shm) {
    if (shm->base) munmap(shm->base, shm->size);
    free(shm->held);
    shm->base = NULL;
    shm->held = NULL;
    shm->member = -1;
}

int segment_join(struct shm *shm, int member, int32_t pid, int64_t now_ns) {
    size_t entries = (size_t)shm->header->stripes * shm->header->per_stripe;
    uint16_t *held = calloc(entries, sizeof *held);
    if (!held) return -1;
    free(shm->held);
    shm->held = held;
    struct member *place = &shm->members[member];
    shm->member = member;
    shm->epoch = atomic_load(&place->epoch);
    atomic_store(&place->pid, pid);
    atomic_store(&place->started_ns, now_ns);
    atomic_store(&place->heartbeat_ns, now_ns);
    atomic_store(&place->joined, 1);
    return 0;
}

uint64_t segment_hash(const struct shm *shm, const void *key, size_t size) {
    return XXH3_64bits_withSeed(key, size, shm->header->seed);
}
