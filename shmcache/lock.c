#define _GNU_SOURCE
#include "lock.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 100 };

int lock_init(pthread_mutex_t *lock) {
    pthread_mutexattr_t attr;
    if (pthread_mutexattr_init(&attr) != 0) return -1;
    int failed = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) ||
                 pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) || pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return failed ? -1 : 0;
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

enum { SECOND_NS = 1000000000 };

uint64_t lock_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static int take_timed(pthread_mutex_t *lock, int64_t patience_ns) {
    uint64_t until_ns = lock_clock_ns() + (uint64_t)patience_ns;
    struct timespec until = {(time_t)(until_ns / SECOND_NS), (long)(until_ns % SECOND_NS)};
    return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
}

enum lock_answer lock_take(pthread_mutex_t *lock, int64_t patience_ns) {
    int error = pthread_mutex_trylock(lock);
    for (int spin = 0; error == EBUSY && spin < SPINS; spin++) {
        relax();
        error = pthread_mutex_trylock(lock);
    }
    if (error == EBUSY && patience_ns > 0) error = take_timed(lock, patience_ns);
    if (error == 0) return LOCK_TAKEN;
    if (error == EOWNERDEAD) return LOCK_ORPHANED;
    return LOCK_BUSY;
}

void lock_mend(pthread_mutex_t *lock) { pthread_mutex_consistent(lock); }

void lock_drop(pthread_mutex_t *lock) { pthread_mutex_unlock(lock); }

#ifdef SHM_FAULTS
static long fault_at, faults_passed;
static int fault_signal;

void fault_point(void) {
    faults_passed++;
    if (fault_at > 0 && --fault_at == 0) {
        kill(getpid(), fault_signal);
    }
}

long fault_arm(long n, int signal_number) {
    long passed = faults_passed;
    faults_passed = 0;
    fault_at = n;
    fault_signal = signal_number;
    return passed;
}
#else
long fault_arm(long n, int signal_number) {
    (void)n;
    (void)signal_number;
    return -1;
}
#endif
