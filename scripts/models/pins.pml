/* Pin, evict, move, take again and reap one entry: nobody reads bytes that are not the entry's any more, and
 * nothing is left over.
 *
 * Follows, store by store, read_find's look at ctl, read_pin and read_unpin (read.c), entry_drop_locked,
 * entry_free_locked and entry_take_locked (table.c), move_chunk_locked (room.c), reap_stripe_locked and the repair
 * of states (repair.c). One entry, two places where its chunk may lie. An `atomic` is one atomic operation of the
 * code, or what only the holder of the stripe's lock can see. Two readers pin, read twice and let go, or copy
 * and check; the first may die at any step. One writer stands for all holders of the lock.
 *
 * Compiled with one of these the model must fail:
 *   NO_RECHECK        the reader does not look at ctl after setting its bit
 *   NO_COPY_CHECK     the reader does not look at ctl after copying
 *   SAME_LIFE         an entry taken again begins no new life
 *   PINS_FIRST        the evictor reads the pins before it sets ZOMBIE
 *   FREE_PINNED       the evictor frees whatever the pins say
 *   MOVE_PINNED       the mover looks at the pins only before it sets MOVING
 *   SAME_MOVES        a moved entry's ctl is what it was
 *   REAP_NOTHING      the dead reader's bit stays
 *   UNPIN_FORGETS     the last to let go of a zombie frees nothing
 */

#define FREE    0
#define FILLING 1
#define LIVE    2
#define ZOMBIE  3
#define MOVING  4

#define NOBODY  9
#define WRITER  2

#ifndef WRITES
#define WRITES 3 /* operations of the writer */
#endif
#ifndef READS
#define READS 1
#endif

byte state = LIVE, life = 1, moves = 0; /* ctl: always changed together */
byte place = 0;                         /* the name of the entry's chunk */
byte content[2] = {1, 0};               /* life of the key whose bytes lie there; 0: somebody else's */
bool pinned[2];                         /* the pin word */
byte owner = NOBODY;                    /* of the stripe's lock */
bool sweep_due, is_dead, is_reaped, has_ended[2];

#define no_pins   (!pinned[0] && !pinned[1])
#define is_orphan (is_dead && owner == 0)

/* The last to leave went without a lock: whoever enters after a death repairs first, then sweeps if asked to. */
inline enter(me) {
    atomic {
        owner == NOBODY || is_orphan;
        if
        :: is_orphan ->
            if
            :: state == ZOMBIE && no_pins -> state = FREE
            :: else
            fi;
            if
            :: state == FREE -> content[place] = 0
            :: else
            fi
        :: else
        fi;
        owner = me
    }
    sweep(me)
}

inline leave() { owner = NOBODY }

inline free_entry() {
    state = FREE;
    content[place] = 0 /* the chunk is given back, and at once somebody else's */
}

inline free_unpinned_zombie() {
    if
    :: atomic { state == ZOMBIE && no_pins -> skip } -> free_entry()
    :: atomic { !(state == ZOMBIE && no_pins) -> skip }
    fi
}

inline sweep(me) {
    if
    :: sweep_due -> sweep_due = false; free_unpinned_zombie()
    :: else
    fi
}

inline unpin(me) {
    atomic { pinned[me] = false; others = pinned[1 - me] }
#ifndef UNPIN_FORGETS
    if
    :: atomic { !others && state == ZOMBIE -> skip } ->
        if
        :: atomic { owner == NOBODY -> owner = me } -> sweep(me); free_unpinned_zombie(); leave()
        :: atomic { owner != NOBODY -> skip } -> sweep_due = true /* never wait in here */
        fi
    :: atomic { others || state != ZOMBIE -> skip }
    fi
#endif
}

#define is_same (state == LIVE && life == seen_life && moves == seen_moves)

inline read_pinned(me) {
    pinned[me] = true;
    if
#ifndef NO_RECHECK
    :: atomic { !is_same -> skip }
    :: atomic { is_same -> skip } ->
#else
    :: true ->
#endif
        at = place;
        assert(content[at] == seen_life);
        assert(content[at] == seen_life)
    fi;
    unpin(me)
}

inline read_copied() {
    at = place;
    copied = content[at];
#ifndef NO_COPY_CHECK
    if
    :: atomic { is_same -> assert(copied == seen_life) }
    :: atomic { !is_same -> skip }
    fi
#else
    assert(copied == seen_life)
#endif
}

inline read_some(me) {
    do
    :: reads < READS ->
        reads++;
        if
        :: atomic { state == LIVE -> seen_life = life; seen_moves = moves } ->
            if
            :: read_pinned(me)
            :: read_copied()
            fi
        :: atomic { state != LIVE -> skip }
        fi;
        atomic { seen_life = 0; seen_moves = 0; at = 0; copied = 0; others = false } /* fewer states */
    :: else -> break
    od
}

/* Death may come before any step; `unless` looks before each. */
proctype Reader(byte me) {
    byte seen_life, seen_moves, at, copied, reads;
    bool others;
    {
        read_some(me)
    } unless {
        me == 0 && is_dead
    }
    has_ended[me] = true
}

proctype Death() {
    is_dead = true /* now, or at any later moment */
}

inline evict() {
#ifdef PINS_FIRST
    bool was_unpinned = no_pins;
    state = ZOMBIE;
    if
    :: was_unpinned -> free_entry()
    :: else
    fi
#else
    state = ZOMBIE;
#ifdef FREE_PINNED
    free_entry()
#else
    free_unpinned_zombie()
#endif
#endif
}

inline move() {
    if
    :: no_pins ->
        content[1 - place] = 0;
        atomic { state = MOVING; moves++ }
#ifndef MOVE_PINNED
        if
        :: atomic { !no_pins -> state = LIVE; moves++ }
        :: atomic { no_pins -> skip } ->
#else
        if
        :: true ->
#endif
            content[1 - place] = content[place];
            place = 1 - place;
#ifdef SAME_MOVES
            atomic { state = LIVE; moves-- };
#else
            atomic { state = LIVE; moves++ };
#endif
            content[1 - place] = 0
        fi
    :: else
    fi
}

inline take() {
#ifdef SAME_LIFE
    atomic { state = FILLING; moves = 0 };
#else
    atomic { state = FILLING; life++; moves = 0 };
#endif
    content[place] = 0;
    content[place] = 10 + life;   /* another key's, half written */
    content[place] = life;
    state = LIVE
}

inline reap() {
#ifndef REAP_NOTHING
    pinned[0] = false;
#endif
    free_unpinned_zombie();
    is_reaped = true
}

/* In the end everybody is gone: the dead reaped, all let go. */
active proctype Writer() {
    byte writes;
    run Reader(0);
    run Reader(1);
    run Death();
    do
    :: writes < WRITES ->
        writes++;
        enter(WRITER);
        if
        :: state == LIVE -> evict()
        :: state == LIVE -> move()
        :: state == FREE -> take()
        :: is_dead && !is_reaped -> reap()
        :: else
        fi;
        leave()
    :: break
    od;
    has_ended[0] && has_ended[1] && is_dead;
    enter(WRITER);
    if
    :: !is_reaped -> reap()
    :: else
    fi;
    leave();
    enter(WRITER);
    assert(no_pins && state != ZOMBIE)
}
