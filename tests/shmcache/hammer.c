/* Threads stand in for processes and meet in one bucket, at full speed, with clocks that differ.
 *
 *     hammer bucket ROUNDS    every key gets exactly its burst, also while it is just being given a cell
 *     hammer window ROUNDS    the same of sliding windows
 *     hammer lease ROUNDS     a key has one owner at a time, and every waiter's bell rings
 *
 * Built with fault points, at which a thread now and then lets another go first.
 *
 * Prints one line about what went wrong and exits 1, or exits 0.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bucket.h"
#include "cell.h"
#include "lease.h"
#include "window.h"

enum { THREADS = 4, KEYS = 3, PATIENCE_MS = 60000 };

static long rounds;
static pthread_barrier_t barrier;
static _Alignas(64) char region[4096];

static void fail(const char *what, uint64_t seen, uint64_t wanted)
{
    printf("%s: %llu, wanted %llu\n", what, (unsigned long long)seen, (unsigned long long)wanted);
    fflush(stdout);
    _exit(1);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

void fault_point(void)
{
    static _Thread_local uint64_t state;

    if (!state)
        state = (uint64_t)(uintptr_t)&state;
    if (next_random(&state) % 8 == 0)
        sched_yield();
}

/* --- rates: fresh keys in every round, and cells that are reusable by some clocks but not by others --- */

enum { LIMIT = 5, TAKES = 12, FRESH = 2, WINDOW_S = 3 };
#define SECOND_NS 1000000000ull
#define JITTER_NS (SECOND_NS / 2)

static uint64_t granted[FRESH], full;

static int64_t take_token(uint64_t key, uint64_t now_ns)
{
    struct bucket_table table = {region, CELL_WAYS};

    return bucket_take(&table, key, now_ns, SECOND_NS, LIMIT, 1);
}

static int64_t take_share(uint64_t key, uint64_t now_ns)
{
    struct window_table table = {region, CELL_WAYS};

    return window_take(&table, key, now_ns, WINDOW_S, LIMIT, 1);
}

/* After `lasts_ns` the cells of the round before last are surely idle. Clocks of a round start and end in different
 * seconds, and lie within one window. */
static struct rate {
    int64_t (*take)(uint64_t key, uint64_t now_ns);
    uint64_t lasts_ns;
} rate, bucket_rate = {take_token, LIMIT * SECOND_NS + CELL_GRACE_NS},
        window_rate = {take_share, WINDOW_S * SECOND_NS + CELL_GRACE_NS};

static void *hammer_rate(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15ull;

    for (long round = 1; round <= rounds; round++) {
        uint64_t start_ns = round * rate.lasts_ns + SECOND_NS - JITTER_NS / 2;
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < TAKES * FRESH; i++) {
            /* The last ones come with the latest clock: one burst is granted to the full, and no more. */
            bool is_last = i >= (TAKES - 1) * FRESH;
            uint64_t key = is_last ? (uint64_t)i % FRESH : next_random(&state) % FRESH;
            uint64_t now_ns = start_ns + (is_last ? JITTER_NS : next_random(&state) % JITTER_NS);
            int64_t wait_ns = rate.take(round * FRESH + key, now_ns);
            if (wait_ns < 0)
                __atomic_fetch_add(&full, 1, __ATOMIC_RELAXED);
            else if (wait_ns == 0)
                __atomic_fetch_add(&granted[key], 1, __ATOMIC_RELAXED);
        }
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
            for (int key = 0; key < FRESH; key++) {
                if (granted[key] != LIMIT)
                    fail("grants of one key", granted[key], LIMIT);
                granted[key] = 0;
            }
            if (full)
                fail("decisions without a cell", full, 0);
        }
    }
    return NULL;
}

/* --- leases: more keys than usual for the cells there are --- */

static int doorbells[LEASE_MEMBERS];
static int owner[KEYS];

static void wait_ending(struct lease_table *table, uint64_t ticket)
{
    struct pollfd bell = {doorbells[table->member], POLLIN, 0};
    uint64_t rings;

    while (lease_ending(table, ticket, 1) == LEASE_PENDING) {
        if (poll(&bell, 1, PATIENCE_MS) != 1)
            fail("rings heard by a waiter", 0, 1);
        if (read(bell.fd, &rings, sizeof rings) != sizeof rings)
            fail("bytes read from a doorbell", 0, sizeof rings);
    }
}

static void *hammer_lease(void *argument)
{
    struct lease_table table = {region, LEASE_WAYS, doorbells, (int)(uintptr_t)argument, 1, 0};
    uint64_t state = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15ull, ticket;

    for (long round = 0; round < rounds; round++) {
        int key = (int)(next_random(&state) % KEYS), nobody = 0;
        enum lease_answer answer = lease_claim(&table, 100 + key, 1, 1000, &ticket);
        if (answer == LEASE_WAIT) {
            wait_ending(&table, ticket);
        } else if (answer == LEASE_CLAIMED) {
            if (!__atomic_compare_exchange_n(&owner[key], &nobody, table.member, false, __ATOMIC_SEQ_CST,
                                             __ATOMIC_SEQ_CST))
                fail("owners of one key besides us", (uint64_t)nobody, 0);
            for (volatile int pause = (int)(next_random(&state) % 200); pause > 0; pause--)
                ;
            __atomic_store_n(&owner[key], 0, __ATOMIC_SEQ_CST);
            if (!lease_release(&table, ticket, LEASE_PUBLISHED))
                fail("releases by the owner that counted", 0, 1);
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    void *(*hammer)(void *) = hammer_lease;

    if (count != 3)
        return 2;
    if (strcmp(arguments[1], "lease")) {
        hammer = hammer_rate;
        rate = strcmp(arguments[1], "bucket") ? window_rate : bucket_rate;
    }
    rounds = atol(arguments[2]);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int member = 0; member < LEASE_MEMBERS; member++)
        doorbells[member] = member <= THREADS ? eventfd(0, EFD_NONBLOCK) : -1;
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, hammer, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
