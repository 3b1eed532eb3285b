/* The robust, process-shared lock of a stripe, and the fault points of the test build. */
#ifndef SHMCACHE_LOCK_H
#define SHMCACHE_LOCK_H

#include <pthread.h>
#include <stdint.h>

enum lock_answer {
    LOCK_TAKEN,
    LOCK_ORPHANED, /* taken, but its owner died inside: repair, then lock_mend */
    LOCK_BUSY,     /* not taken within the patience */
};

int lock_init(pthread_mutex_t *lock);

/* Take it, spinning a little and then sleeping at most patience_ns (0: spin only). */
enum lock_answer lock_take(pthread_mutex_t *lock, int64_t patience_ns);

/* The clock that patience is measured by: CLOCK_MONOTONIC. */
uint64_t lock_clock_ns(void);

/* What the lock guards is sound again. Only by the holder that got LOCK_ORPHANED. */
void lock_mend(pthread_mutex_t *lock);

void lock_drop(pthread_mutex_t *lock);

/* FP(): a place where the test build can die. It stands between any two stores whose order matters. */
#ifdef SHM_FAULTS
void fault_point(void);
#define FP() fault_point()
#else
#define FP() ((void)0)
#endif

/* Get that signal (SIGKILL, SIGSTOP) at the n-th fault point from now; 0 disarms. The points passed since the
 * last call, or -1 when this build has none. */
long fault_arm(long n, int signal_number);

#endif
