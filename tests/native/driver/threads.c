#define _GNU_SOURCE
#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "audit.h"
#include "repair.h"
#include "worker.h"

#ifdef __SANITIZE_THREAD__
/* This ThreadSanitizer does not know pthread_mutex_clocklock and would take what it locks for unlocked. */
int pthread_mutex_clocklock(pthread_mutex_t *lock, clockid_t clock, const struct timespec *until) {
    static const struct timespec nap = {0, 50000};
    struct timespec now;
    for (;;) {
        int error = pthread_mutex_trylock(lock);
        if (error != EBUSY) return error;
        clock_gettime(clock, &now);
        if (now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
            return ETIMEDOUT;
        nanosleep(&nap, NULL);
    }
}
#endif

enum { SEGMENT_BYTES = 6 << 20, STRIPES = 2, ENTRIES = 512, REPORT_BYTES = 1 << 16 };

struct job {
    const struct shm *segment;
    struct tally *tallies;
    uint64_t operations, seed;
    int member;
};

static void *work(void *argument) {
    struct job *job = argument;
    struct worker *worker = worker_new(job->segment, job->member, job->seed + (uint64_t)job->member, job->tallies);
    for (uint64_t i = 0; i < job->operations; i++) worker_step(worker);
    worker_return_all(worker);
    worker_free(worker);
    return NULL;
}

static size_t report_audit(struct shm *segment) {
    static char report[REPORT_BYTES];
    size_t faults = audit(segment, report, sizeof report);
    fputs(report, stdout);
    return faults;
}

int run_threads(int threads, uint64_t operations, uint64_t seed) {
    struct shm segment;
    struct tally *tallies = tallies_make();
    struct job jobs[SHM_MEMBERS];
    pthread_t running[SHM_MEMBERS];
    segment_make(&segment, SEGMENT_BYTES, STRIPES, ENTRIES);
    for (int i = 0; i < threads; i++) {
        jobs[i] = (struct job){.segment = &segment, .tallies = tallies, .operations = operations, .seed = seed, .member = i};
        if (pthread_create(&running[i], NULL, work, &jobs[i]) != 0) exit(2);
    }
    for (int i = 0; i < threads; i++) pthread_join(running[i], NULL);
    size_t faults = report_audit(&segment);
    uint64_t wrong = tallies_print(tallies);
    printf("audit faults %zu\n", faults);
    segment_close(&segment);
    return wrong || faults;
}
