/* Attaching to and taking over a segment of any content: never a crash, never a hang, never a wrong body.
 *
 * An input is a list of mutations, applied to a copy of a small valid segment. What then can be attached to is
 * adopted, audited, read and written. Built with clang's libFuzzer or, without it, with the loop at the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "adopt.h"
#include "audit.h"
#include "bucket.h"
#include "cell.h"
#include "crawl.h"
#include "fill.h"
#include "lease.h"
#include "purge.h"
#include "read.h"
#include "slab.h"
#include "sum.h"
#include "window.h"

enum { STRIPES = 2, ENTRIES = 128, KEYS = 40, LARGE_EVERY = 13, BODY_MAX = 160000, GUARD = 1 << 20 };

static const uint8_t BOOT[] = "a boot", META[] = "the meta";
static const uint64_t NOW = 1000000, FOREVER = 1ull << 40;
static const int64_t FAR = (int64_t)CELL_AHEAD_S * 1000000000;
static uint8_t *image, *body, *answer;
static size_t size;
static int fd;

/* --- guards: what runs over the end of the mapping shall not land in another one -------------------------------- */

void *__real_mmap(void *at, size_t length, int prot, int flags, int file, off_t offset);
int __real_munmap(void *at, size_t length);

void *__wrap_mmap(void *at, size_t length, int prot, int flags, int file, off_t offset) {
    uint8_t *room = __real_mmap(at, length + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return room;
    return __real_mmap(room + GUARD, length, prot, flags | MAP_FIXED, file, offset);
}

int __wrap_munmap(void *at, size_t length) { return __real_munmap((uint8_t *)at - GUARD, length + 2 * GUARD); }

/* --- what lies in the segment --------------------------------------------------------------------------------------- */

static void (*tell_input)(void);

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "FAILED: %s\n", what);
    if (tell_input) tell_input();
    abort();
}

static size_t body_size(int number) {
    return number % LARGE_EVERY == 0 ? (size_t)BODY_MAX - (size_t)number * 1500 : (size_t)number * number * 9;
}

/* The body of a key: different in every byte from that of any other. */
static void make_body(int number) {
    for (size_t i = 0; i < body_size(number); i++) body[i] = (uint8_t)(i * 31 + i / 251 + (size_t)number * 7);
}

static struct key key_of(const struct shm *shm, int number) {
    static char bytes[32];
    struct key key;
    int len = snprintf(bytes, sizeof bytes, "/page/%d", number);
    key_make(shm, &key, (const uint8_t *)bytes, (size_t)len);
    return key;
}

static enum store_answer store(struct shm *shm, int number) {
    uint32_t tags[] = {(uint32_t)number, 7};
    struct key key = key_of(shm, number);
    struct note note = {
        .meta = META, .meta_len = sizeof META, .tags = tags, .tag_count = 2, .fresh_until_ns = (int64_t)FOREVER,
        .keep_until_ns = (int64_t)FOREVER, .born = purge_generation(shm),
    };
    make_body(number);
    if (number % LARGE_EVERY) return store_body(shm, &key, &note, body, body_size(number), 1000000);
    struct fill fill = {.key = key, .note = note};
    if (!fill_open(shm, &fill, UINT64_MAX, 0)) return STORE_TOO_LARGE;
    enum store_answer done = fill_write(shm, &fill, body, body_size(number));
    return done == STORE_DONE ? fill_publish(shm, &fill, 1000000) : done;
}

/* Half-made, pinned and deleted: what a death leaves. */
static void leave_a_mess(struct shm *shm) {
    struct key key = key_of(shm, LARGE_EVERY);
    struct found found;
    if (read_find(shm, &key, (int64_t)NOW, &found) != READ_HIT || !read_pin(shm, &found)) fail("no body to pin");
    store_delete(shm, &key, 0, 1000000);
    struct fill fill = {.key = key_of(shm, 1), .note = {.born = purge_generation(shm)}};
    if (!fill_open(shm, &fill, UINT64_MAX, 0) || fill_write(shm, &fill, body, BODY_MAX) != STORE_DONE)
        fail("no room for half a body");
    sum_forget(fill.sum); /* private memory goes with its process */
}

static void make_image(void) {
    struct shm shm;
    size = segment_minimum() + (3 << 20);
    fd = memfd_create("fuzzed", 0);
    image = malloc(size);
    body = malloc(BODY_MAX);
    answer = malloc(BODY_MAX);
    if (fd < 0 || !image || !body || !answer || ftruncate(fd, (off_t)size) != 0) fail("no memory");
    if (segment_create(&shm, fd, size, BOOT, sizeof BOOT, STRIPES, ENTRIES) != SEGMENT_OK) fail("cannot lay out");
    shm.header->seed = 42; /* the same segment in every run */
    segment_join(&shm, 0, 1, (int64_t)NOW);
    for (int number = 0; number < KEYS; number++)
        if (store(&shm, number) != STORE_DONE) fail("cannot store");
    purge_tag(&shm, 9, 0);
    purge_tag(&shm, 17, 5);
    purge_prefix(&shm, (const uint8_t *)"/page/no", 8, 0);
    leave_a_mess(&shm);
    memcpy(image, shm.base, size);
    segment_close(&shm);
}

/* --- mutations ------------------------------------------------------------------------------------------------------ */

struct mutation {
    uint8_t region; /* 0: the header */
    uint8_t kind;
    uint16_t value;
    uint32_t at;
};

/* Regions are chosen evenly, so that a small one is hit as often as the bodies. */
static uint8_t *place_of(const struct header *valid, uint8_t *base, const struct mutation *it, size_t *left) {
    uint32_t region = it->region % (REGIONS + 1);
    uint64_t start = region ? valid->region[region - 1] : 0;
    uint64_t end = region == REGIONS ? size : region ? valid->region[region] : sizeof(struct header);
    uint64_t at = start + it->at % (end - start);
    *left = (size_t)(size - at);
    return base + at;
}

static void mutate(uint8_t *base, const struct mutation *it) {
    static const uint64_t odd[] = {0, 1, UINT64_MAX, UINT64_MAX - 7, 1ull << 63, 1ull << 32, UINT32_MAX, 0x80000000, 65536};
    size_t left, at;
    uint8_t *place = place_of((const struct header *)image, base, it, &left);
    uint64_t word = odd[it->value % (sizeof odd / sizeof *odd)];
    switch (it->kind % 7) {
    case 0: *place ^= (uint8_t)(1u << (it->value & 7)); break;
    case 1: *place = (uint8_t)it->value; break;
    case 2: memcpy(place, &word, left < 8 ? left : 8); break;
    case 3: memcpy(place, &word, left < 4 ? left : 4); break;
    case 4: memset(place, it->value >> 8, left < (it->value & 0xff) ? left : (it->value & 0xff)); break;
    case 5: /* a cache line from elsewhere in the segment */
        at = (size_t)it->value * 64 % (size - 64);
        memmove(place, image + at, left < 64 ? left : 64);
        break;
    default: /* the number beside it: an entry, a slot, a page that belongs to another */
        if (left >= 4) ++*(uint32_t *)(base + (place - base) / 4 * 4);
    }
}

/* --- the target ------------------------------------------------------------------------------------------------------- */

static void copy_body(const struct shm *shm, const struct found *found) {
    uint64_t run;
    if (!found->large) {
        read_copy(shm, found, found->body_at, answer, found->size);
        return;
    }
    for (uint64_t at = 0; at < found->size; at += run) {
        const uint8_t *bytes;
        run = read_run(shm, found->entry, found->size, at, &bytes);
        if (!run) fail("a run without bytes");
        memcpy(answer + at, bytes, run);
    }
}

static void read_all(struct shm *shm) {
    for (int number = 0; number < KEYS; number++) {
        struct key key = key_of(shm, number);
        struct found found;
        if (read_find(shm, &key, (int64_t)NOW, &found) != READ_HIT) continue;
        if (found.size != body_size(number)) fail("a body of another size");
        if (found.meta_len != sizeof META || found.fresh_until_ns > (int64_t)FOREVER) fail("another head");
        read_copy(shm, &found, found.meta_at, answer, found.meta_len);
        if (memcmp(answer, META, sizeof META) != 0) fail("a wrong meta");
        copy_body(shm, &found);
        make_body(number);
        if (memcmp(answer, body, found.size) != 0) fail("a wrong body");
    }
}

static void check_audit(struct shm *shm) {
    static char report[1 << 16];
    if (!audit(shm, report, sizeof report)) return;
    fputs(report, stderr);
    fail("the audit finds faults");
}

static void work_on(struct shm *shm) {
    struct lease_table leases = {
        .region = segment_region(shm, REGION_LEASES), .cells = SHM_LEASES, .epoch = shm->epoch, .statistics = shm->statistics,
    };
    struct window_table windows = {segment_region(shm, REGION_WINDOWS), shm->header->bucket_cells};
    struct bucket_table buckets = {segment_region(shm, REGION_BUCKETS), shm->header->bucket_cells};
    struct crawled crawled;
    uint64_t ticket;
    for (int number = 0; number < KEYS; number += 3) {
        store(shm, number);
        if (lease_claim(&leases, (uint64_t)number, NOW, NOW, &ticket) != LEASE_CLAIMED) fail("a lease of nobody");
        if (window_take(&windows, (uint64_t)number, NOW, 60, 1, 1) > FAR) fail("refused for ever");
        if (bucket_take(&buckets, (uint64_t)number, NOW, 1000, 1, 1) > FAR) fail("refused for ever");
    }
    purge_prefix(shm, (const uint8_t *)"/page/2", 7, 0);
    purge_tag(shm, 7, 0);
    crawl(shm, (int64_t)NOW, STRIPES * ENTRIES, &crawled);
    check_audit(shm);
}

static int taken_over; /* inputs that were not refused */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct shm shm;
    struct adopted adopted;
    if (!image) make_image();
    if (pwrite(fd, image, size, 0) != (ssize_t)size) fail("cannot restore the segment");
    uint8_t *base = __real_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (; bytes >= sizeof(struct mutation); data += sizeof(struct mutation), bytes -= sizeof(struct mutation)) {
        struct mutation mutation;
        memcpy(&mutation, data, sizeof mutation);
        mutate(base, &mutation);
    }
    __real_munmap(base, size);
    if (segment_attach(&shm, fd, size, BOOT, sizeof BOOT) != SEGMENT_OK) return 0;
    if (segment_adopt(&shm, NOW, true, &adopted) == SEGMENT_OK) {
        taken_over++;
        check_audit(&shm);
        segment_join(&shm, 0, 1, (int64_t)NOW);
        read_all(&shm);
        work_on(&shm);
    }
    segment_close(&shm);
    return 0;
}

#ifndef LIBFUZZER
/* fuzz_attach SECONDS [SEED [FIRST]]: inputs FIRST, FIRST + 1, ... of that seed. */
void __sanitizer_set_death_callback(void (*callback)(void));

static uint64_t dice, seed = 1, number;

static void tell(void) {
    fprintf(stderr, "input %llu of seed %llu\n", (unsigned long long)number, (unsigned long long)seed);
}

static void on_alarm(int signal_number) {
    (void)signal_number;
    fail("it hangs");
}

static uint64_t roll(void) {
    uint64_t word = dice += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ word >> 27) * 0x94d049bb133111ebull;
    return word ^ word >> 31;
}

int main(int argc, char **argv) {
    enum { MUTATIONS_MAX = 64, HANGS_S = 20 };
    if (argc > 2) seed = strtoull(argv[2], NULL, 0);
    if (argc > 3) number = strtoull(argv[3], NULL, 0);
    uint64_t first = number;
    time_t end = time(NULL) + (argc > 1 ? atol(argv[1]) : 10);
    tell_input = tell;
    __sanitizer_set_death_callback(tell);
    signal(SIGALRM, on_alarm);
    do {
        uint64_t input[MUTATIONS_MAX];
        dice = seed << 40 ^ number << 8;
        size_t count = 1ull << roll() % 7;
        for (size_t i = 0; i < count; i++) input[i] = roll();
        alarm(HANGS_S);
        LLVMFuzzerTestOneInput((const uint8_t *)input, count * sizeof *input);
        number++;
    } while (time(NULL) < end);
    fprintf(stderr, "%llu inputs of seed %llu, %d taken over, nothing found\n", (unsigned long long)(number - first),
            (unsigned long long)seed, taken_over);
    return 0;
}
#endif
