#define _GNU_SOURCE
#include "bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "purge.h"
#include "repair.h"

static const uint8_t boot_id[] = "bench";

void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

uint64_t random_below(uint64_t *state, uint64_t limit) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (*state * 0x2545f4914f6cdd1dull >> 16) % limit;
}

void set_request(struct request *request, uint32_t number) {
    char text[KEY_BYTES + 1];
    if (snprintf(text, sizeof text, "https://example.org/static/%06u.js", number) != KEY_BYTES) die("number too large");
    request->number = number;
    memcpy(request->key, text, KEY_BYTES);
}

uint32_t *shuffled_numbers(uint32_t count, uint64_t seed) {
    uint32_t *numbers = malloc(count * sizeof *numbers);
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    if (!numbers) die("no memory");
    for (uint32_t i = 0; i < count; i++) numbers[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)random_below(&state, i), number = numbers[i - 1];
        numbers[i - 1] = numbers[other];
        numbers[other] = number;
    }
    return numbers;
}

struct request *shuffled(uint32_t count, uint64_t seed) {
    uint32_t *numbers = shuffled_numbers(count, seed);
    struct request *requests = malloc(count * sizeof *requests);
    if (!requests) die("no memory");
    for (uint32_t i = 0; i < count; i++) set_request(&requests[i], numbers[i]);
    free(numbers);
    return requests;
}

void make_segment(struct shm *shm, size_t bytes, uint32_t stripes, uint32_t entries) {
    int fd = memfd_create("bench", 0);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) die("no memory file");
    if (segment_create(shm, fd, bytes, boot_id, sizeof boot_id, stripes, entries) != SEGMENT_OK) die("no segment");
    close(fd);
    join_segment(shm, 0);
}

void join_segment(struct shm *shm, int member) {
    if (segment_join(shm, member, getpid(), BENCH_NOW_NS) != 0) die("no memory to join");
    shm->now_ns = BENCH_NOW_NS;
}

struct note note_of(const struct shm *shm, const struct request *request, uint32_t *slots) {
    return (struct note){
        .tags = slots,
        .tag_count = purge_levels(shm, request->key, KEY_BYTES, slots),
        .fresh_until_ns = BENCH_FOREVER_NS,
        .keep_until_ns = BENCH_FOREVER_NS,
        .born = purge_generation(shm),
    };
}

void store_request(struct shm *shm, const struct request *request, uint32_t bytes) {
    static uint8_t body[MEGA];
    struct key key;
    uint32_t slots[SHM_LEVELS];
    struct note note = note_of(shm, request, slots);
    memcpy(body, &request->number, sizeof request->number);
    key_make(shm, &key, request->key, KEY_BYTES);
    enum store_answer answer = store_body(shm, &key, &note, body, bytes, 0);
    while (answer == STORE_BUSY) answer = store_body(shm, &key, &note, body, bytes, WRITE_PATIENCE_NS);
    if (answer != STORE_DONE) die("not stored");
}

bool get_request(struct shm *shm, const struct request *request) {
    static uint64_t body[KILO / sizeof(uint64_t)];
    struct key key;
    struct found found;
    key_make(shm, &key, request->key, KEY_BYTES);
    do {
        if (read_find(shm, &key, BENCH_NOW_NS, &found) != READ_HIT) return false;
        if (!read_sound(shm, &found)) die("damaged");
        read_copy(shm, &found, found.body_at, body, found.size);
    } while (!read_same(shm, &found));
    if ((uint32_t)body[0] != request->number) die("another's body");
    return true;
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

uint64_t cpu_ns(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }
uint64_t wall_ns(void) { return read_clock(CLOCK_MONOTONIC); }

static int ascending(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

uint64_t median(uint64_t *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

void pin_to_core(int number) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)number % (size_t)sysconf(_SC_NPROCESSORS_ONLN), &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0) die("cannot stay on one core");
}
