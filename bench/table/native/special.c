/* The costs that are no loop over keys: waiting for memory, waking another process, rebuilding a stripe, cleaning up after a death. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "lease.h"
#include "repair.h"

enum { WAKES = 1000, OBJECTS = 120000, OBJECT_BYTES = 4096, MILLION = 1000000, PINNED = 100,
       MEMORY_ROUNDS = 5, MEMORY_READS = 1000000 };

/* --- memory ---------------------------------------------------------------------------------------------------- */

/* Reads that each need the answer of the one before, all over shared memory of that size. */
void measure_memory(size_t bytes) {
    uint32_t lines = (uint32_t)(bytes / SHM_LINE);
    uint32_t *order = shuffled_numbers(lines, 1);
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("no memory");
    for (uint32_t i = 0; i < lines; i++)
        *(volatile uint64_t *)(memory + (size_t)order[i] * SHM_LINE) = (uint64_t)order[(i + 1) % lines] * SHM_LINE;
    uint64_t at = 0, spent[MEMORY_ROUNDS];
    for (int round = 0; round < MEMORY_ROUNDS; round++) {
        uint64_t before = cpu_ns();
        for (uint32_t i = 0; i < MEMORY_READS; i++) at = *(volatile uint64_t *)(memory + at);
        spent[round] = (cpu_ns() - before) * 10 / MEMORY_READS;
    }
    printf("%.1f\n", (double)median(spent, MEMORY_ROUNDS) / 10);
}

/* --- waking ---------------------------------------------------------------------------------------------------- */

/* What the waiter and the owner of the leases share. */
struct wakes {
    _Atomic uint32_t armed;       /* rounds the waiter has registered for */
    _Atomic uint64_t released_ns; /* when the owner ended this round's lease */
    uint64_t late_ns[WAKES];
};

static void wait_for(struct lease_table *table, int bell, struct wakes *wakes) {
    for (uint32_t round = 0; round < WAKES; round++) {
        uint64_t ticket, rings;
        enum lease_answer answer;
        do answer = lease_claim(table, round, BENCH_NOW_NS, BENCH_NOW_NS, &ticket);
        while (answer == LEASE_CLAIMED && lease_release(table, ticket, LEASE_FAILED)); /* we were first: again */
        atomic_store(&wakes->armed, round + 1);
        if (read(bell, &rings, sizeof rings) != sizeof rings) die("the bell is broken");
        wakes->late_ns[round] = wall_ns() - atomic_load(&wakes->released_ns);
        while (lease_ending(table, ticket, BENCH_NOW_NS) == LEASE_PENDING) {}
    }
    _exit(0);
}

void measure_wake(void) {
    struct shm shm;
    struct wakes *wakes = mmap(NULL, sizeof *wakes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int doorbells[LEASE_MEMBERS], status;
    make_segment(&shm, segment_minimum(), 0, 0);
    for (int i = 0; i < LEASE_MEMBERS; i++) doorbells[i] = -1;
    doorbells[1] = eventfd(0, 0);
    if (wakes == MAP_FAILED || doorbells[1] < 0) die("no memory or no eventfd");
    struct lease_table table = {segment_region(&shm, REGION_LEASES), SHM_LEASES, doorbells, 0, shm.epoch, shm.statistics};
    pid_t pid = fork();
    if (!pid) {
        pin_to_core(1);
        table.member = 1;
        wait_for(&table, doorbells[1], wakes);
    }
    pin_to_core(0);
    for (uint32_t round = 0; round < WAKES; round++) {
        uint64_t ticket;
        while (lease_claim(&table, round, BENCH_NOW_NS, BENCH_NOW_NS, &ticket) != LEASE_CLAIMED) {}
        while (atomic_load(&wakes->armed) != round + 1) usleep(20);
        usleep(200); /* it sleeps by now */
        atomic_store(&wakes->released_ns, wall_ns());
        lease_release(&table, ticket, LEASE_PUBLISHED);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) die("the waiter failed");
    printf("%llu\n", (unsigned long long)median(wakes->late_ns, WAKES));
}

/* --- putting right what the dead left ------------------------------------------------------------------------------ */

void measure_repair(void) {
    struct shm shm;
    const struct request *requests = shuffled(OBJECTS, 1);
    uint64_t spent[SHM_STRIPES_MAX];
    make_segment(&shm, 1ull << 30, 64, 0);
    for (uint32_t i = 0; i < OBJECTS; i++) store_request(&shm, &requests[i], OBJECT_BYTES);
    for (uint32_t stripe = 0; stripe < shm.header->stripes; stripe++) {
        if (!stripe_enter(&shm, stripe, 0)) die("locked");
        uint64_t before = cpu_ns();
        stripe_rebuild_locked(&shm, stripe);
        spent[stripe] = cpu_ns() - before;
        stripe_leave(&shm, stripe);
    }
    printf("%llu\n", (unsigned long long)median(spent, shm.header->stripes));
}

static void pin_and_die(struct shm *shm, const struct request *requests) {
    join_segment(shm, 1);
    for (int i = 0; i < PINNED; i++) {
        struct key key;
        struct found found;
        key_make(shm, &key, requests[i].key, KEY_BYTES);
        if (read_find(shm, &key, BENCH_NOW_NS, &found) != READ_HIT || !read_pin(shm, &found)) die("not pinned");
    }
    _exit(0);
}

void measure_reap(void) {
    struct shm shm;
    const struct request *requests = shuffled(MILLION, 1);
    struct reaped reaped = {0};
    int status;
    make_segment(&shm, 1ull << 30, 0, 1 << 20);
    for (uint32_t i = 0; i < MILLION; i++) store_request(&shm, &requests[i], sizeof(uint64_t));
    pid_t pid = fork();
    if (!pid) pin_and_die(&shm, requests);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) die("the victim failed");
    uint64_t before = cpu_ns();
    reap_member(&shm, 1, &reaped);
    uint64_t spent = cpu_ns() - before;
    if (reaped.pins != PINNED) die("pins were lost");
    printf("%.0f\n", (double)spent * MILLION / (shm.header->stripes * (double)shm.header->per_stripe));
}
