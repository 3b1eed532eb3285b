/* Leases of one key: never two owners, no wake-up lost, whoever dies where.
 *
 * Follows lease.c: claim (look at the bucket, swap a cell, look again, settle or withdraw), wait (set the bit, read
 * the word again), end (change the word, take the bits, ring), progress (take the bits, ring, the lease goes on),
 * and reaping (end what the dead owned, clear their bits, ring everybody). A bucket of two cells, one key, two
 * clients (three with THIRD) of which one may die at any step. That no wake-up is lost shows in that nobody waits for ever.
 *
 * Compiled with one of these the model must fail:
 *   NO_LOOK_AGAIN   a claimer does not look at the bucket after its swap
 *   NO_ASK_AGAIN    a waiter does not read the word after setting its bit
 *   PROGRESS_LATE   the owner rings before its progress can be seen
 *   ONE_RING        a waiter that was rung while the lease still runs does not set its bit again
 *   BITS_FIRST      the ender takes the bits before it changes the word
 *   REAP_IN_SILENCE the reaper rings only those whose bits stand in the cells it ended
 *   REAP_NO_LEASE   the reaper leaves the dead one's leases running
 */

#define FREE     0
#define CLAIMING 1
#define RUNNING  2
#define ENDED    3

#define CLIENTS 3
#define DOOMED  0
#define NOBODY  9

#ifndef ATTEMPTS
#define ATTEMPTS 2 /* to claim, by each client */
#endif

typedef Cell { byte state = FREE, owner = NOBODY, generation }
Cell cell[2];          /* state, owner and generation are one word: always changed together */
bool waits0[CLIENTS], waits1[CLIENTS]; /* the cells' waiting bits */
bool bell[CLIENTS];    /* eventfds */
bool progress[2];      /* made by the lease that runs in the cell */
bool is_blind[CLIENTS]; /* waits, and has not seen the progress */
bool is_dead;
byte owners;

#define is_live(c) (cell[c].state == CLAIMING || cell[c].state == RUNNING)

/* Take the bits at once, then ring one after another. */
inline take_bits(c) {
    atomic {
        if
        :: c == 0 -> taken0 = waits0[0]; taken1 = waits0[1]; taken2 = waits0[2];
                     waits0[0] = false; waits0[1] = false; waits0[2] = false
        :: else   -> taken0 = waits1[0]; taken1 = waits1[1]; taken2 = waits1[2];
                     waits1[0] = false; waits1[1] = false; waits1[2] = false
        fi
    }
}

inline ring_taken() {
    if :: taken0 -> bell[0] = true :: else fi;
    if :: taken1 -> bell[1] = true :: else fi;
    if :: taken2 -> bell[2] = true :: else fi;
    atomic { taken0 = false; taken1 = false; taken2 = false }
}

/* The one way out of a live state: a swap, so it only works on the very lease that was seen. */
inline end_lease(c, from, by, g) {
#ifdef BITS_FIRST
    take_bits(c);
#endif
    if
    :: atomic { cell[c].state == from && cell[c].owner == by && cell[c].generation == g ->
                cell[c].state = ENDED;
                owners = owners - (from == RUNNING -> 1 : 0) } ->
#ifndef BITS_FIRST
        take_bits(c);
#endif
        ring_taken()
    :: atomic { !(cell[c].state == from && cell[c].owner == by && cell[c].generation == g) -> skip }
    fi
}

/* Set the bit of `me`, then see whether that lease is still running. */
inline wait_for(me, c, g) {
    is_blind[me] = true;
    if
    :: c == 0 -> waits0[me] = true
    :: else   -> waits1[me] = true
    fi;
#ifdef NO_ASK_AGAIN
    pending = true
#else
    atomic { pending = is_live(c) && cell[c].generation == g };
#endif
    atomic { is_blind[me] = pending && !progress[c] }
}

/* Some other cell with a live lease of the key: 2 when there is none. Cell by cell, as the code looks. */
inline find_live(own) {
    found = 2;
    if
    :: atomic { own != 0 && is_live(0) -> found = 0; gen = cell[0].generation }
    :: atomic { !(own != 0 && is_live(0)) -> skip } ->
        if
        :: atomic { own != 1 && is_live(1) -> found = 1; gen = cell[1].generation }
        :: atomic { !(own != 1 && is_live(1)) -> skip }
        fi
    fi
}

/* Wait until the lease seen in `found` with `gen` is over. */
inline wait_ending(me) {
    wait_for(me, found, gen);
    do
    :: !pending -> is_blind[me] = false; break
    :: pending ->
        atomic { bell[me] -> bell[me] = false };
#ifdef ONE_RING
        atomic { pending = is_live(found) && cell[found].generation == gen }
#else
        wait_for(me, found, gen)
#endif
    od
}

inline try_claim(me) {
    if                                             /* which of two ended cells: a hint, so either */
    :: atomic { !is_live(0) -> at = 0; gen = cell[0].generation }
    :: atomic { !is_live(1) -> at = 1; gen = cell[1].generation }
    fi;
    if
    :: atomic { !is_live(at) && cell[at].generation == gen ->
                cell[at].state = CLAIMING; cell[at].owner = me; cell[at].generation++; progress[at] = false; mine = cell[at].generation } ->
#ifdef NO_LOOK_AGAIN
        found = 2;
#else
        find_live(at);
#endif
        if
        :: found != 2 -> end_lease(at, CLAIMING, me, mine)
        :: found == 2 ->
            if
            :: atomic { cell[at].state == CLAIMING && cell[at].owner == me && cell[at].generation == mine ->
                        cell[at].state = RUNNING; owners++; assert(owners == 1) } -> claimed = true
            :: atomic { !(cell[at].state == CLAIMING && cell[at].owner == me && cell[at].generation == mine) -> skip }
            fi
        fi
    :: atomic { !(!is_live(at) && cell[at].generation == gen) -> skip }
    fi
}

/* Fetch. The owner may make progress, and then not go on before all who wait have seen it: whoever misses it
 * stops the model. */
inline fetch(me) {
    if
    ::
#ifdef PROGRESS_LATE
        take_bits(at);
        ring_taken();
        progress[at] = true;
#else
        progress[at] = true;
        take_bits(at);
        ring_taken();
#endif
        (is_dead || !is_blind[0]) && !is_blind[1] && !is_blind[2]
    :: skip
    fi;
    end_lease(at, RUNNING, me, mine)
}

inline behave(me) {
    do
    :: attempts < ATTEMPTS && !claimed ->
        attempts++;
        find_live(2);
        if
        :: found != 2 -> wait_ending(me)
        :: else ->
            try_claim(me);
            if
            :: claimed -> fetch(me)
            :: else
            fi
        fi;
        atomic { found = 0; gen = 0; mine = 0; at = 0; pending = false } /* fewer states */
    :: else -> break
    od
}

proctype Client(byte me) {
    byte found, gen, at, mine, attempts;
    bool pending, claimed, taken0, taken1, taken2;
    {
        behave(me)
    } unless {
        me == DOOMED && is_dead
    }
}

/* The doomed one's death, and what the supervisor does then. */
active proctype Reaper() {
    byte each, seen_state, seen_generation;
    bool taken0, taken1, taken2;
    run Client(0);
    run Client(1);
#ifdef THIRD
    run Client(2);
#endif
    if
    :: goto nobody_dies
    :: is_dead = true
    fi;
#ifndef REAP_NO_LEASE
    for (each : 0 .. 1) {
        if
        :: atomic { is_live(each) && cell[each].owner == DOOMED ->
                    seen_generation = cell[each].generation; seen_state = cell[each].state } ->
            end_lease(each, seen_state, DOOMED, seen_generation)
        :: atomic { !(is_live(each) && cell[each].owner == DOOMED) -> skip }
        fi;
        if
        :: each == 0 -> waits0[DOOMED] = false
        :: else      -> waits1[DOOMED] = false
        fi
    }
#endif
#ifndef REAP_IN_SILENCE
    bell[1] = true;
    bell[2] = true;
#endif
nobody_dies:
    skip
}
