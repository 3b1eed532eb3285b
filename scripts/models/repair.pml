/* A robust lock whose owner died, and the repair of what it guards: whoever gets the lock as sound finds it sound.
 *
 * The lock is pthread_mutex_t with PTHREAD_MUTEX_ROBUST: the next to lock after the owner's death gets it with
 * EOWNERDEAD; if that one unlocks without pthread_mutex_consistent, nobody gets it ever again. Guarded is one entry,
 * {name, state}, and what derives from it: the index slot and a count (layout.h: "the entry table is the only
 * truth"). A process stores and removes the object (entry_publish_locked, entry_retire_locked), store by store; it
 * may die before any of them, and so may the repairer (stripe_rebuild_locked). Three processes, of which two may die.
 * A reader without the lock follows the slot and must never find a name that was not written.
 *
 * Compiled with one of these the model must fail:
 *   NO_REPAIR         EOWNERDEAD is answered by consistent alone
 *   NO_MEND           the repairer unlocks without consistent
 *   FORCED_UNLOCK     somebody else opens the dead one's lock (what a supervisor without robust locks would do)
 *   TRUSTS_THE_COUNT  the repair takes the count as it finds it
 *   ADDS_UP           the repair adds to the count without emptying it first
 *   LIVE_FIRST        the entry is LIVE before it has its name
 */

#define PROCESSES 3
#define DOOMED    2   /* processes below this may die */
#define NOBODY    9

#ifndef ROUNDS
#define ROUNDS 2
#endif

bool name, live, slot;  /* name: the entry names its chunk */
byte count_;
byte owner = NOBODY;
bool is_inconsistent, is_lost;
bool is_dead[PROCESSES];

#define owner_died (owner != NOBODY && is_dead[owner])

#ifdef LIVE_FIRST
#define publish() live = true; name = true; slot = true; count_++
#else
#define publish() name = true; live = true; slot = true; count_++
#endif

#define retire() slot = false; count_--; live = false; name = false

inline rebuild() {
    if
    :: slot && !live -> slot = false
    :: else
    fi;
    if
    :: live && !slot -> live = false /* nobody can have seen it */
    :: else
    fi;
    if
    :: !live -> name = false
    :: else
    fi;
#ifndef TRUSTS_THE_COUNT
#ifndef ADDS_UP
    count_ = 0;
#endif
    if
    :: live -> count_++
    :: else
    fi
#endif
}

inline lock(me) {
    atomic {
        assert(!is_lost);
        owner == NOBODY || owner_died;
        orphaned = is_inconsistent || owner_died;
        is_inconsistent = orphaned;
        owner = me
    }
    if
    :: orphaned ->
#ifndef NO_REPAIR
        rebuild();
#endif
#ifndef NO_MEND
        is_inconsistent = false
#endif
    :: else
    fi
}

inline unlock() {
    atomic { is_lost = is_inconsistent; owner = NOBODY }
}

inline work(me) {
    do
    :: rounds < ROUNDS ->
        rounds++;
        lock(me);
        assert(live == slot && live == name && count_ == live);
        if
        :: !live -> publish()
        :: live -> retire()
        fi;
        unlock()
    :: else -> break
    od
}

proctype Process(byte me) {
    byte rounds;
    bool orphaned;
    {
        work(me)
    } unless {
        is_dead[me]
    }
}

/* slot, then state, then name, as read_find looks; a change in between shows in ctl, which is `live` here. */
proctype Reader() {
    if
    :: slot ->
        if
        :: atomic { live -> assert(name) }
        :: else
        fi
    :: true
    fi;
}

proctype Death(byte who) {
    if
    :: is_dead[who] = true
    :: skip
    fi
}

init {
    atomic {
        run Process(0);
        run Process(1);
        run Process(2);
        run Reader();
        run Death(0);
        run Death(1)
    }
#ifdef FORCED_UNLOCK
    if
    :: atomic { owner_died -> owner = NOBODY; is_inconsistent = false }
    :: true
    fi
#endif
}
