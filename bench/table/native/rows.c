/* CPU time of the shared cache's operations, called from C. bench/table/native.py builds and runs it.
 *
 *     rows OPERATION KEYS PROCESSES MS      CPU ns per operation; MS: CPU time each process spends, about
 *     rows memory MIB                       ns of a read that waits for the one before, in that much shared memory
 *     rows wake                             ns from a lease's release to the waiter running, median
 *     rows repair                           ns to rebuild one of 64 stripes of a full 1 GiB segment, median
 *     rows reap                             ns to clean up after a dead member of a segment with 10^6 entries
 *     rows scale OBJECTS BYTES ROUNDS       what a get costs and what an object takes; "name value" lines
 *
 * Every operation begins with its key's bytes, as a request does: hashing is part of it. It checks its own
 * outcome, and anything but a hit, a stored body or a grant ends the run.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "bucket.h"
#include "lease.h"
#include "purge.h"
#include "repair.h"
#include "window.h"

#define SEGMENT_BYTES (1ull << 30)
#define FILLED_BYTES (256ull << 20) /* so small that every process has touched all of it before it is measured */
enum { PROCESSES_MAX = SHM_MEMBERS - 1, PIECE = 65536, PASS = 128, DIRECTORY_BYTES = sizeof "https://example.org/static/" - 1 };

static struct shm shm;
static struct bucket_table buckets;
static struct window_table windows;
static struct lease_table leases;
static uint64_t clock_ns = BENCH_NOW_NS; /* handed to those that ask for the time; the processes' differ, as real ones do */
static volatile uint64_t sink;           /* what a row has to have computed */

static void nothing(const struct request *request) { sink = request->number; }

static void hash(const struct request *request) {
    struct key key;
    key_make(&shm, &key, request->key, KEY_BYTES);
    sink = key.lo;
}

static void get_copy(const struct request *request) {
    if (!get_request(&shm, request)) die("missed");
}

static void find_and_pin(const struct request *request, struct found *found) {
    struct key key;
    key_make(&shm, &key, request->key, KEY_BYTES);
    do
        if (read_find(&shm, &key, BENCH_NOW_NS, found) != READ_HIT) die("missed");
    while (!read_pin(&shm, found));
}

static void get_pin(const struct request *request) {
    struct found found;
    find_and_pin(request, &found);
    read_unpin(&shm, found.entry);
}

static void get_views(const struct request *request) {
    struct found found;
    const uint8_t *bytes;
    find_and_pin(request, &found);
    for (uint64_t at = 0; at < found.size; at += PIECE) {
        if (read_run(&shm, found.entry, found.size, at, &bytes) < PIECE) die("a short page");
        sink = (uintptr_t)bytes;
    }
    read_unpin(&shm, found.entry);
}

static void set(const struct request *request) { store_request(&shm, request, KILO); }

/* False when a lock's holder lost its core for longer than our patience, as happens with 16 processes on 2. */
static bool fill_once(const struct request *request) {
    static uint8_t piece[PIECE];
    uint32_t slots[SHM_LEVELS];
    struct fill filling = {.note = note_of(&shm, request, slots)};
    key_make(&shm, &filling.key, request->key, KEY_BYTES);
    if (!fill_open(&shm, &filling, MEGA, 0)) die("not begun");
    for (int i = 0; i < MEGA / PIECE; i++)
        if (fill_write(&shm, &filling, piece, PIECE) != STORE_DONE) return false;
    enum store_answer answer = fill_publish(&shm, &filling, WRITE_PATIENCE_NS);
    fill_abort(&shm, &filling);
    return answer == STORE_DONE;
}

static void fill(const struct request *request) {
    while (!fill_once(request)) {}
}

static void take(const struct request *request) {
    uint64_t key = segment_hash(&shm, request->key, KEY_BYTES);
    if (bucket_take(&buckets, key, clock_ns += 100, 1, 1ull << 40, 1) > 0) die("refused");
}

static void count(const struct request *request) {
    uint64_t key = segment_hash(&shm, request->key, KEY_BYTES);
    if (window_take(&windows, key, clock_ns += 100, 3600, WINDOW_LIMIT_MAX, 1) > 0) clock_ns += 7200000000000ull;
}

/* Another's lease on the key is an answer too: then there is nothing to release. */
static void lease(const struct request *request) {
    uint64_t key = segment_hash(&shm, request->key, KEY_BYTES), ticket;
    enum lease_answer answer = lease_claim(&leases, key, clock_ns += 100, 1000000000, &ticket);
    if (answer == LEASE_CLAIMED && !lease_release(&leases, ticket, LEASE_PUBLISHED)) die("not released");
}

/* A lease of this process's own, lengthened and told to those who wait, of whom there are none. */
static void renew(const struct request *request) {
    static uint64_t ticket;
    if (!ticket && lease_claim(&leases, (uint64_t)getpid(), clock_ns, 1000000000, &ticket) != LEASE_CLAIMED) die("not ours");
    clock_ns += request->number % 2;
    if (!lease_renew(&leases, ticket, clock_ns, 1000000000) || !lease_progress(&leases, ticket)) die("lost");
}

static void purge_a_tag(const struct request *request) {
    sink = purge_tag(&shm, purge_tag_slot(&shm, request->key, KEY_BYTES), 0);
}

static void purge_a_tag_softly(const struct request *request) {
    sink = purge_tag(&shm, purge_tag_slot(&shm, request->key, KEY_BYTES), BENCH_NOW_NS);
}

static void purge_a_directory(const struct request *request) {
    sink = purge_prefix(&shm, request->key, DIRECTORY_BYTES, 0);
}

static const struct row {
    const char *name;
    void (*run)(const struct request *request);
    uint32_t stored; /* bytes of every key's body before it begins; 0: nothing is stored */
    uint64_t segment;
} rows[] = {
    {"nothing", nothing, 0, SEGMENT_BYTES},
    {"hash", hash, 0, SEGMENT_BYTES},
    {"get-copy", get_copy, KILO, SEGMENT_BYTES},
    {"get-pin", get_pin, KILO, SEGMENT_BYTES},
    {"set", set, KILO, SEGMENT_BYTES},
    {"get-views", get_views, MEGA, SEGMENT_BYTES},
    {"fill", fill, MEGA, FILLED_BYTES},
    {"take", take, 0, SEGMENT_BYTES},
    {"count", count, 0, SEGMENT_BYTES},
    {"lease", lease, 0, SEGMENT_BYTES},
    {"renew", renew, 0, SEGMENT_BYTES},
    {"purge-tag", purge_a_tag, 0, SEGMENT_BYTES},
    {"purge-tag-softly", purge_a_tag_softly, 0, SEGMENT_BYTES},
    {"purge-directory", purge_a_directory, 0, SEGMENT_BYTES},
};

/* What the children share with their parent. */
struct meeting {
    pthread_barrier_t start;
    uint64_t spent_ns[PROCESSES_MAX], operations[PROCESSES_MAX];
};

static struct meeting *make_meeting(unsigned processes) {
    struct meeting *meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attr;
    if (meeting == MAP_FAILED) die("no memory");
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (pthread_barrier_init(&meeting->start, &attr, processes) != 0) die("no barrier");
    return meeting;
}

/* Every key once, and again until there were enough. */
static uint64_t run_pass(const struct row *row, const struct request *requests, uint32_t keys) {
    uint64_t done = 0;
    do
        for (uint32_t at = 0; at < keys; at++) row->run(&requests[at]);
    while ((done += keys) < PASS);
    return done;
}

/* The first pass maps the segment's pages into this process, the second tells how many will last long enough. */
static void run_child(const struct row *row, uint32_t keys, uint64_t budget_ns, int number, struct meeting *meeting) {
    const struct request *requests = shuffled(keys, (uint64_t)number + 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* when a sibling fails, nobody waits for it at the start */
    pin_to_core(number);
    join_segment(&shm, number + 1);
    leases.member = shm.member;
    leases.epoch = shm.epoch;
    run_pass(row, requests, keys);
    uint64_t before = cpu_ns(), operations = 0;
    run_pass(row, requests, keys);
    uint64_t passes = budget_ns / (cpu_ns() - before + 1) + 1;
    pthread_barrier_wait(&meeting->start);
    before = cpu_ns();
    while (passes--) operations += run_pass(row, requests, keys);
    meeting->spent_ns[number] = cpu_ns() - before;
    meeting->operations[number] = operations;
    _exit(0);
}

static void measure_row(const struct row *row, uint32_t keys, unsigned processes, uint64_t budget_ns) {
    struct meeting *meeting = make_meeting(processes);
    const struct request *requests = shuffled(keys, 0);
    uint64_t total_ns = 0, operations = 0;
    int status;
    make_segment(&shm, row->segment, 0, 0);
    buckets = (struct bucket_table){segment_region(&shm, REGION_BUCKETS), shm.header->bucket_cells};
    windows = (struct window_table){segment_region(&shm, REGION_WINDOWS), shm.header->bucket_cells};
    leases = (struct lease_table){.region = segment_region(&shm, REGION_LEASES), .cells = SHM_LEASES, .statistics = shm.statistics};
    for (uint32_t i = 0; i < keys && row->stored; i++) store_request(&shm, &requests[i], row->stored);
    for (unsigned i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0) die("cannot fork");
        if (!pid) run_child(row, keys, budget_ns, (int)i, meeting);
    }
    for (unsigned i = 0; i < processes; i++)
        if (wait(&status) < 0 || status) die("a child failed");
    for (unsigned i = 0; i < processes; i++) {
        total_ns += meeting->spent_ns[i];
        operations += meeting->operations[i];
    }
    printf("%.1f\n", (double)total_ns / (double)operations);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (argc == 2 && !strcmp(what, "wake")) measure_wake();
    else if (argc == 2 && !strcmp(what, "repair")) measure_repair();
    else if (argc == 2 && !strcmp(what, "reap")) measure_reap();
    else if (argc == 3 && !strcmp(what, "memory")) measure_memory((size_t)atoll(argv[2]) << 20);
    else if (argc == 5 && !strcmp(what, "scale"))
        measure_scale((uint32_t)atoll(argv[2]), (size_t)atoll(argv[3]), (uint32_t)atoll(argv[4]));
    else if (argc == 5) {
        unsigned processes = (unsigned)atoi(argv[3]);
        if (processes < 1 || processes > PROCESSES_MAX) die("1 to 63 processes");
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (!strcmp(rows[i].name, what)) {
                measure_row(&rows[i], (uint32_t)atoi(argv[2]), processes, (uint64_t)atoll(argv[4]) * 1000000);
                return 0;
            }
        die("no such operation");
    } else die("usage: rows OPERATION KEYS PROCESSES MS | memory MIB | wake | repair | reap | scale OBJECTS BYTES ROUNDS");
    return 0;
}
