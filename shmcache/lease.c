/* Leases. The reasoning is in lease.h. */
#include "lease.h"

#include <string.h>
#include <unistd.h>

#include "counter.h"
#include "lock.h"

#define ATTEMPTS 64 /* of one claim; each one lost means that another process moved on */

enum state { FREE, CLAIMING, RUNNING, ENDED = 0x10 /* | enum lease_ending */ };

typedef unsigned __int128 pair_t __attribute__((may_alias));

/* Written by an owner. */
struct value {
    uint64_t is;
    uint64_t generation; /* of the lease it was written for */
} __attribute__((aligned(16)));

struct cell {
    uint64_t hash;         /* changes with the generation only */
    uint64_t word;         /* {generation 32 | epoch 16 | member 8 | state 8} */
    uint64_t waiters;      /* bit m: member m waits */
    uint64_t ended;        /* order of endings within the bucket, a hint which cell to reuse */
    struct value deadline; /* ns; valid while RUNNING */
    struct value note;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct cell) == 64, "a cell is one cache line");

/* A cell at one instant. */
struct sight {
    uint64_t hash, word;
};

static unsigned state_of(uint64_t word)
{
    return word & 0xff;
}

static uint64_t word_of(uint64_t generation, uint32_t epoch, int member, unsigned state)
{
    return generation << 32 | (uint64_t)(epoch & 0xffff) << 16 | (uint64_t)(member & 0xff) << 8 | state;
}

static uint64_t with_state(uint64_t word, unsigned state)
{
    return (word & ~0xffull) | state;
}

static bool is_live(uint64_t word)
{
    return state_of(word) == CLAIMING || state_of(word) == RUNNING;
}

static struct cell *cells_of(const struct lease_table *table)
{
    return table->region;
}

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static bool swap(uint64_t *word, uint64_t old, uint64_t new)
{
    return __atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Of 16 bytes: __sync, not __atomic, which calls libatomic, which may take a lock private to the process. */
static bool swap_pair(void *at, const void *old, const void *new)
{
    pair_t expected, desired;

    memcpy(&expected, old, sizeof expected);
    memcpy(&desired, new, sizeof desired);
    return __sync_bool_compare_and_swap((pair_t *)at, expected, desired);
}

static struct sight look(const struct cell *cell)
{
    struct sight seen;

    do {
        seen.word = load(&cell->word);
        seen.hash = load(&cell->hash);
    } while (load(&cell->word) != seen.word);
    return seen;
}

/* Has the lease seen as `word` run out of time? Only while it still is that lease. */
static bool is_overdue(const struct cell *cell, uint64_t word, uint64_t now_ns)
{
    return state_of(word) == RUNNING && now_ns >= load(&cell->deadline.is) && load(&cell->word) == word;
}

/* Write a value of the lease whose word that is; false when the cell no longer is that lease. */
static bool set_value(struct cell *cell, struct value *value, uint64_t word, uint64_t is)
{
    struct value seen, mine = {is, word >> 32};

    do {
        seen.is = load(&value->is);
        seen.generation = load(&value->generation);
        FP();
        if (load(&cell->word) != word)
            return false;
        FP();
    } while (!swap_pair(value, &seen, &mine));
    return true;
}

static void count(const struct lease_table *table, enum core_counter what)
{
    counter_add(table->statistics, table->member, what, 1);
}

static void ring(const struct lease_table *table, uint64_t members)
{
    static const uint64_t one = 1;

    while (table->doorbells && members) {
        int fd = table->doorbells[__builtin_ctzll(members)];
        members &= members - 1;
        /* A full eventfd has rung already; there is nobody to tell about any other failure. */
        if (fd >= 0 && write(fd, &one, sizeof one) < 0)
            continue;
    }
}

static void ring_waiters(const struct lease_table *table, struct cell *cell)
{
    uint64_t members;

    FP();
    members = __atomic_exchange_n(&cell->waiters, 0, __ATOMIC_SEQ_CST);
    FP();
    ring(table, members);
}

static void stamp_ending(struct lease_table *table, struct cell *cell)
{
    struct cell *bucket = cell - (size_t)(cell - cells_of(table)) % LEASE_WAYS;
    uint64_t latest = 0;

    for (int way = 0; way < LEASE_WAYS; way++) {
        uint64_t ended = load(&bucket[way].ended);
        if (ended > latest)
            latest = ended;
    }
    __atomic_store_n(&cell->ended, latest + 1, __ATOMIC_RELAXED);
}

/* The one way out of a live state. False when somebody else ended it first. */
static bool end_lease(struct lease_table *table, struct cell *cell, uint64_t word, enum lease_ending ending)
{
    stamp_ending(table, cell);
    FP();
    if (!swap(&cell->word, word, with_state(word, ENDED | ending)))
        return false;
    count(table, CORE_LEASES_PUBLISHED + (ending - LEASE_PUBLISHED));
    ring_waiters(table, cell);
    return true;
}

/* Register the caller's doorbell with the lease seen as `word`; false when it has ended meanwhile. */
static bool wait_for(struct lease_table *table, struct cell *cell, uint64_t word)
{
    uint64_t bit;

    if (table->member < 0)
        return load(&cell->word) == word;
    bit = 1ull << table->member;
    FP();
    if (!(load(&cell->waiters) & bit))
        __atomic_fetch_or(&cell->waiters, bit, __ATOMIC_SEQ_CST);
    FP();
    /* Sequentially consistent against end_lease: it changes the word first and takes the bits then. */
    return __atomic_load_n(&cell->word, __ATOMIC_SEQ_CST) == word;
}

static void expire(struct lease_table *table, struct cell *cell, uint64_t word)
{
    if (end_lease(table, cell, word, LEASE_TOO_SLOW))
        count(table, CORE_LEASES_TAKEN_OVER);
}

/* The live lease of that key in the bucket, other than `own`; overdue ones are ended on the way. */
static struct cell *find_live(struct lease_table *table, struct cell *bucket, uint64_t hash,
                              const struct cell *own, uint64_t now_ns, uint64_t *word)
{
    for (struct cell *cell = bucket; cell < bucket + LEASE_WAYS; cell++) {
        struct sight seen = look(cell);
        if (cell == own || seen.hash != hash || !is_live(seen.word))
            continue;
        if (is_overdue(cell, seen.word, now_ns)) {
            expire(table, cell, seen.word);
            continue;
        }
        *word = seen.word;
        return cell;
    }
    return NULL;
}

/* The cell that ended longest ago; if all are live, one that is overdue; NULL when there is none. */
static struct cell *find_room(struct lease_table *table, struct cell *bucket, uint64_t now_ns, struct sight *seen)
{
    struct cell *oldest = NULL;
    uint64_t oldest_ended = 0;

    for (struct cell *cell = bucket; cell < bucket + LEASE_WAYS; cell++) {
        struct sight here = look(cell);
        uint64_t ended = load(&cell->ended);
        if (is_live(here.word) || (oldest && ended >= oldest_ended))
            continue;
        oldest = cell;
        oldest_ended = ended;
        *seen = here;
    }
    if (oldest)
        return oldest;
    for (struct cell *cell = bucket; cell < bucket + LEASE_WAYS; cell++) {
        struct sight here = look(cell);
        if (!is_overdue(cell, here.word, now_ns))
            continue;
        expire(table, cell, here.word);
        *seen = look(cell);
        return is_live(seen->word) ? NULL : cell;
    }
    return NULL;
}

static uint64_t ticket_of(const struct lease_table *table, const struct cell *cell, uint64_t word)
{
    return (word & ~0xffffffffull) | (uint64_t)(cell - cells_of(table));
}

/* The cell of a ticket; NULL when it was never one of ours. */
static struct cell *cell_of(const struct lease_table *table, uint64_t ticket)
{
    uint64_t index = ticket & 0xffffffff;

    return index < table->cells ? cells_of(table) + index : NULL;
}

static uint64_t deadline_of(uint64_t now_ns, uint64_t lease_ns)
{
    return lease_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + lease_ns;
}

size_t lease_region_bytes(size_t cells)
{
    return cells * sizeof(struct cell);
}

void lease_init(void *region, size_t cells)
{
    memset(region, 0, lease_region_bytes(cells));
}

/* Make the cell seen in `seen` a lease of ours; false when somebody was quicker or holds the key elsewhere. */
static bool try_claim(struct lease_table *table, struct cell *bucket, struct cell *cell, struct sight seen,
                      uint64_t hash, uint64_t now_ns, uint64_t deadline_ns, uint64_t *ticket)
{
    uint64_t generation = ((seen.word >> 32) + 1) & 0xffffffff;
    struct sight mine = {hash, 0};
    uint64_t other;

    generation += generation == 0; /* so that no ticket is 0 */
    mine.word = word_of(generation, table->epoch, table->member, CLAIMING);
    if (!swap_pair(cell, &seen, &mine))
        return false;
    FP();
    set_value(cell, &cell->deadline, mine.word, deadline_ns);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* swap before look, for both of two rivals */
    if (find_live(table, bucket, hash, cell, now_ns, &other)) {
        end_lease(table, cell, mine.word, LEASE_UNKNOWN);
        return false;
    }
    FP();
    *ticket = ticket_of(table, cell, mine.word);
    /* Fails only if we were reaped, that is taken for dead while alive: then it is not ours. */
    return swap(&cell->word, mine.word, with_state(mine.word, RUNNING));
}

enum lease_answer lease_claim(struct lease_table *table, uint64_t hash, uint64_t now_ns, uint64_t lease_ns,
                              uint64_t *ticket)
{
    struct cell *bucket = cells_of(table) + (hash & (table->cells / LEASE_WAYS - 1)) * LEASE_WAYS;
    uint64_t deadline_ns = deadline_of(now_ns, lease_ns);

    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct sight seen;
        uint64_t word;
        struct cell *cell = find_live(table, bucket, hash, NULL, now_ns, &word);

        if (cell) {
            *ticket = ticket_of(table, cell, word);
            /* CLAIMING may have become RUNNING meanwhile: lease_ending knows, and registers again. */
            if (wait_for(table, cell, word) || lease_ending(table, *ticket, now_ns) == LEASE_PENDING)
                return LEASE_WAIT;
            continue;
        }
        cell = find_room(table, bucket, now_ns, &seen);
        if (!cell)
            break;
        if (try_claim(table, bucket, cell, seen, hash, now_ns, deadline_ns, ticket)) {
            count(table, CORE_LEASES_CLAIMED);
            return LEASE_CLAIMED;
        }
    }
    count(table, CORE_LEASE_TABLE_FULL);
    *ticket = 0;
    return LEASE_FULL;
}

enum lease_ending lease_ending(struct lease_table *table, uint64_t ticket, uint64_t now_ns)
{
    struct cell *cell = cell_of(table, ticket);

    while (cell) {
        uint64_t word = load(&cell->word);
        if (word >> 32 != ticket >> 32 || state_of(word) == FREE)
            break;
        if (!is_live(word))
            return state_of(word) & ~ENDED;
        if (is_overdue(cell, word, now_ns))
            return LEASE_TOO_SLOW;
        if (wait_for(table, cell, word))
            return LEASE_PENDING;
    }
    return LEASE_UNKNOWN;
}

/* The cell of a ticket whose lease is the caller's and runs; NULL otherwise. `word` is what it holds then. */
static struct cell *own_cell(const struct lease_table *table, uint64_t ticket, uint64_t *word)
{
    struct cell *cell = cell_of(table, ticket);

    *word = word_of(ticket >> 32, table->epoch, table->member, RUNNING);
    return cell && load(&cell->word) == *word ? cell : NULL;
}

bool lease_renew(struct lease_table *table, uint64_t ticket, uint64_t now_ns, uint64_t lease_ns)
{
    uint64_t word, deadline_ns = deadline_of(now_ns, lease_ns);
    struct cell *cell = own_cell(table, ticket, &word);

    if (!cell || is_overdue(cell, word, now_ns))
        return false;
    if (deadline_ns > load(&cell->deadline.is) && !set_value(cell, &cell->deadline, word, deadline_ns))
        return false;
    count(table, CORE_LEASES_RENEWED);
    return true;
}

bool lease_announce(struct lease_table *table, uint64_t ticket, uint64_t note)
{
    uint64_t word;
    struct cell *cell = own_cell(table, ticket, &word);

    return cell && set_value(cell, &cell->note, word, note);
}

bool lease_note(const struct lease_table *table, uint64_t ticket, uint64_t *note)
{
    const struct cell *cell = cell_of(table, ticket);
    uint64_t word;

    if (!cell || load(&cell->note.generation) != ticket >> 32)
        return false;
    *note = load(&cell->note.is);
    word = load(&cell->word); /* after the note: while it is that lease, only its owner replaces the note */
    return word >> 32 == ticket >> 32 && (is_live(word) || state_of(word) == (ENDED | LEASE_PUBLISHED));
}

bool lease_progress(struct lease_table *table, uint64_t ticket)
{
    uint64_t word;
    struct cell *cell = own_cell(table, ticket, &word);

    if (!cell)
        return false;
    ring_waiters(table, cell);
    return true;
}

bool lease_release(struct lease_table *table, uint64_t ticket, enum lease_ending ending)
{
    uint64_t word;
    struct cell *cell = own_cell(table, ticket, &word);

    return cell && end_lease(table, cell, word, ending);
}

size_t lease_reap(struct lease_table *table, int member, uint32_t epoch)
{
    size_t ended = 0;

    for (struct cell *cell = cells_of(table); cell < cells_of(table) + table->cells; cell++) {
        uint64_t word = load(&cell->word);
        bool is_dead = (word >> 8 & 0xff) == (unsigned)member && (int16_t)((word >> 16) - epoch) <= 0;
        if (is_live(word) && is_dead)
            ended += end_lease(table, cell, word, LEASE_OWNER_DIED);
        if (load(&cell->waiters) >> member & 1)
            __atomic_fetch_and(&cell->waiters, ~(1ull << member), __ATOMIC_SEQ_CST);
    }
    FP();
    /* The dead may have taken waiters' bits and not rung them: everybody asks again. */
    ring(table, ~0ull);
    return ended;
}
