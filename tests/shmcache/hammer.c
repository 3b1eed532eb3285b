/* Threads stand in for processes and meet in one bucket, at full speed, with clocks that differ.
 *
 *     hammer bucket ROUNDS    every key gets exactly its burst, also while it is just being given a cell
 *     hammer window ROUNDS    the same of sliding windows
 *     hammer score ROUNDS     a key has one cell of the scoreboard, whoever else claims, and no count is lost
 *     hammer presence ROUNDS  there are never more than there may be, and nobody is left at the end
 *     hammer lease ROUNDS     a key has one owner at a time, every waiter's bell rings at progress and at the end,
 *                             nobody reads another lease's note, and every claim is counted with its ending
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
#include "counter.h"
#include "lease.h"
#include "presence.h"
#include "score.h"
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

/* --- presence: who is in has been counted by whoever came later --- */

enum { PRESENCE_WORDS = 64, MAY_BE_IN = 2 };

static void *hammer_presence(void *argument)
{
    static uint64_t inside;
    int member = (int)(uintptr_t)argument;

    for (long round = 0; round < rounds; round++) {
        fault_point();
        if (presence_enter(region, PRESENCE_WORDS, member, 7, MAY_BE_IN) != PRESENCE_ENTERED)
            continue;
        uint64_t seen = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        if (seen > MAY_BE_IN)
            fail("who is in at once", seen, MAY_BE_IN);
        fault_point();
        __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        presence_leave(region, PRESENCE_WORDS, member, 7);
    }
    pthread_barrier_wait(&barrier);
    if (presence_count(region, PRESENCE_WORDS, 7) != 0)
        fail("who is left", presence_count(region, PRESENCE_WORDS, 7), 0);
    return NULL;
}

/* --- scores: as many keys as there are cells, claimed at once, and one more --- */

enum { SCORES = 8 };

static void check_scores(long round)
{
    for (int key = 0; key < SCORES; key++) {
        struct score *score = score_claim(region, SCORES, (uint64_t)round * SCORES + key);
        if (!score)
            fail("cells of a key", 0, 1);
        for (unsigned word = 0; word < 2; word++)
            if (score_load(score, word) != THREADS)
                fail("counts in a key's cell", score_load(score, word), THREADS);
    }
    if (score_claim(region, SCORES, UINT64_MAX))
        fail("cells beyond the last", 1, 0);
    score_init(region, SCORES);
}

static void *hammer_score(void *argument)
{
    uint64_t first = (uint64_t)(uintptr_t)argument, seen;

    for (long round = 1; round <= rounds; round++) {
        pthread_barrier_wait(&barrier);
        for (uint64_t i = 0; i < SCORES; i++) {
            struct score *score = score_claim(region, SCORES, round * SCORES + (first + i * 3) % SCORES);
            if (!score)
                fail("cells of a key", 0, 1);
            score_add(score, 0, 1);
            do
                seen = score_load(score, 1);
            while (!score_swap(score, 1, seen, seen + 1));
        }
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            check_scores(round);
    }
    return NULL;
}

/* --- leases: more keys than usual for the cells there are --- */

enum { STEPS = 2 };

static int doorbells[LEASE_MEMBERS];
static int owner[KEYS];
static uint64_t *statistics;

/* A note names its key and step, and the owner goes on without being asked: the last step may be missed. */
static void follow(struct lease_table *table, int key, uint64_t ticket)
{
    struct pollfd bell = {doorbells[table->member], POLLIN, 0};
    uint64_t rings, note;

    while (lease_ending(table, ticket, 1) == LEASE_PENDING) {
        if (lease_note(table, ticket, &note) && note / STEPS != (uint64_t)key)
            fail("the key in a note", note / STEPS, (uint64_t)key);
        if (poll(&bell, 1, PATIENCE_MS) != 1)
            fail("rings heard by a waiter", 0, 1);
        if (read(bell.fd, &rings, sizeof rings) != sizeof rings)
            fail("bytes read from a doorbell", 0, sizeof rings);
    }
}

/* What an owner does, alone. */
static void fetch(struct lease_table *table, int key, uint64_t ticket, uint64_t *state)
{
    int nobody = 0;
    uint64_t note, steps = next_random(state) % (STEPS + 1);

    if (!__atomic_compare_exchange_n(&owner[key], &nobody, table->member, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        fail("owners of one key besides us", (uint64_t)nobody, 0);
    if (lease_note(table, ticket, &note))
        fail("a note before there is one", note, 0);
    for (uint64_t step = 0; step < steps; step++) {
        uint64_t wanted = (uint64_t)key * STEPS + step;
        bool did = lease_announce(table, ticket, wanted) && lease_progress(table, ticket) &&
                   lease_renew(table, ticket, 1, 1000 + step);
        if (!did || !lease_note(table, ticket, &note) || note != wanted)
            fail("what an owner announced", did ? note : 0, wanted);
    }
    __atomic_store_n(&owner[key], 0, __ATOMIC_SEQ_CST);
    if (!lease_release(table, ticket, LEASE_PUBLISHED))
        fail("releases by the owner that counted", 0, 1);
}

static void *hammer_lease(void *argument)
{
    struct lease_table table = {region, LEASE_WAYS, doorbells, (int)(uintptr_t)argument, 1, statistics};
    uint64_t state = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15ull, ticket;

    for (long round = 0; round < rounds; round++) {
        int key = (int)(next_random(&state) % KEYS);
        enum lease_answer answer = lease_claim(&table, 100 + key, 1, 1000, &ticket);
        if (answer == LEASE_WAIT)
            follow(&table, key, ticket);
        else if (answer == LEASE_CLAIMED)
            fetch(&table, key, ticket, &state);
    }
    return NULL;
}

static void check_counts(void)
{
    uint64_t claimed = counter_total(statistics, CORE_LEASES_CLAIMED);
    uint64_t published = counter_total(statistics, CORE_LEASES_PUBLISHED);

    if (claimed != published)
        fail("leases counted as claimed", claimed, published);
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    void *(*hammer)(void *) = hammer_lease;

    if (count != 3)
        return 2;
    if (!strcmp(arguments[1], "score")) {
        hammer = hammer_score;
    } else if (!strcmp(arguments[1], "presence")) {
        hammer = hammer_presence;
    } else if (strcmp(arguments[1], "lease")) {
        hammer = hammer_rate;
        rate = strcmp(arguments[1], "bucket") ? window_rate : bucket_rate;
    }
    rounds = atol(arguments[2]);
    statistics = calloc(1, counter_region_bytes());
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int member = 0; member < LEASE_MEMBERS; member++)
        doorbells[member] = member <= THREADS ? eventfd(0, EFD_NONBLOCK) : -1;
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, hammer, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check_counts();
    return 0;
}
