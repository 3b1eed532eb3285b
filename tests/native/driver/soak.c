#define _GNU_SOURCE
#include "soak.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.h"
#include "lock.h"
#include "repair.h"
#include "worker.h"

enum { SEGMENT_BYTES = 16 << 20, STRIPES = 4, ENTRIES = 2048, KEYS = 400 };
enum { REPAIR_POINTS = 2000, UNREAPED_MAX = 6, NAP_US = 200, REPORT_BYTES = 1 << 16, STOCK_EVERY = 100 };

/* What the processes tell each other; shared. */
struct board {
    _Atomic bool is_paused;
    struct {
        _Atomic bool has_paused, is_repairing;
        _Atomic uint32_t point;           /* it shall die at that fault point from its next operation on; 0: taken */
        _Atomic uint64_t longest_ns;      /* of its operations */
        _Atomic uint64_t longest_held_ns; /* the same without waiting for a core */
    } of[SHM_MEMBERS];
};

struct soak {
    struct shm segment;
    struct board *board;
    struct tally *tallies;
    pid_t pid[SHM_MEMBERS];          /* 0: no living process */
    bool is_unreaped[SHM_MEMBERS];
    uint64_t dice, born;
    uint64_t kills_outside, kills_at_points, deaths_in_repair, deaths_in_reaping;
    uint64_t longest_reap_ns, faults;
    uint64_t pages_least, pages_most;
};

/* --- deaths inside repair: linked with --wrap=lock_take,--wrap=lock_mend these see it begin and end ------------------- */

static struct board *board_of_process;
static int member_of_process = -1;

enum lock_answer __real_lock_take(pthread_mutex_t *lock, int64_t patience_ns) __attribute__((weak));
void __real_lock_mend(pthread_mutex_t *lock) __attribute__((weak));
enum lock_answer __wrap_lock_take(pthread_mutex_t *lock, int64_t patience_ns);
void __wrap_lock_mend(pthread_mutex_t *lock);

enum lock_answer __wrap_lock_take(pthread_mutex_t *lock, int64_t patience_ns) {
    enum lock_answer answer = __real_lock_take(lock, patience_ns);
    if (answer == LOCK_ORPHANED && member_of_process >= 0) board_of_process->of[member_of_process].is_repairing = true;
    return answer;
}

void __wrap_lock_mend(pthread_mutex_t *lock) {
    __real_lock_mend(lock);
    if (member_of_process >= 0) board_of_process->of[member_of_process].is_repairing = false;
}

/* --- a worker's process ------------------------------------------------------------------------------------------------ */

/* Nanoseconds this process was ready to run and had no core. */
static uint64_t waited_for_core_ns(int schedstat) {
    char text[64] = {0};
    uint64_t ran = 0, waited = 0;
    if (pread(schedstat, text, sizeof text - 1, 0) > 0) sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited);
    return waited;
}

static void raise_to(_Atomic uint64_t *most, uint64_t value) {
    if (value > *most) *most = value;
}

static void pause_while(struct board *board, int member) {
    board->of[member].has_paused = true;
    while (board->is_paused) usleep(NAP_US);
    board->of[member].has_paused = false;
}

static void work(const struct soak *soak, int member, uint64_t seed, long point) {
    struct board *board = board_of_process = soak->board;
    int schedstat = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    member_of_process = member;
    struct worker *worker = worker_new(&soak->segment, member, seed, soak->tallies);
    worker->keys = KEYS;
    fault_arm(point, SIGKILL);
    for (uint32_t next = 0;;) {
        if ((next = atomic_exchange(&board->of[member].point, 0))) fault_arm(next, SIGKILL);
        uint64_t waited_ns = waited_for_core_ns(schedstat), began_ns = clock_ns();
        worker_step(worker);
        uint64_t took_ns = clock_ns() - began_ns;
        waited_ns = waited_for_core_ns(schedstat) - waited_ns;
        raise_to(&board->of[member].longest_ns, took_ns);
        raise_to(&board->of[member].longest_held_ns, took_ns > waited_ns ? took_ns - waited_ns : 0);
        if (board->is_paused) pause_while(board, member);
    }
}

/* --- the supervisor ------------------------------------------------------------------------------------------------------ */

static uint64_t roll(struct soak *soak, uint64_t below) { return (next_random(&soak->dice) >> 16) % below; }

/* Half of them will die at a fault point, early ones as often as late ones. */
static void spawn(struct soak *soak, int member) {
    long point = roll(soak, 2) ? (long)roll(soak, 1ull << (4 + roll(soak, 12))) + 1 : 0;
    uint64_t seed = ++soak->born * 7919;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) work(soak, member, seed, point);
    if (pid < 0) exit(2);
    soak->pid[member] = pid;
}

static int living(const struct soak *soak) {
    int count = 0;
    for (int member = 0; member < SHM_MEMBERS; member++) count += soak->pid[member] != 0;
    return count;
}

static void spawn_up_to(struct soak *soak, int processes) {
    int missing = processes - living(soak);
    for (int member = 0; member < SHM_MEMBERS && missing > 0; member++) {
        if (soak->pid[member] || soak->is_unreaped[member]) continue;
        spawn(soak, member);
        missing--;
    }
}

/* Half of the others get so few points to live that whoever repairs what was left may die of it. */
static void doom_others(struct soak *soak) {
    for (int member = 0; member < SHM_MEMBERS; member++)
        if (soak->pid[member] && roll(soak, 2)) soak->board->of[member].point = (uint32_t)roll(soak, REPAIR_POINTS) + 1;
}

static void note_death(struct soak *soak, pid_t pid, int status) {
    for (int member = 0; member < SHM_MEMBERS; member++) {
        if (soak->pid[member] != pid) continue;
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            printf("a worker ended with status %x\n", (unsigned)status);
            soak->faults++;
        }
        soak->deaths_in_repair += soak->board->of[member].is_repairing;
        soak->board->of[member].is_repairing = false;
        soak->board->of[member].has_paused = false;
        soak->board->of[member].point = 0;
        soak->pid[member] = 0;
        soak->is_unreaped[member] = true;
    }
}

/* Those that came to their fault points. */
static void collect(struct soak *soak) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0; soak->kills_at_points++) {
        note_death(soak, pid, status);
        if (!roll(soak, 4)) doom_others(soak);
    }
}

static void kill_one(struct soak *soak) {
    int status, member = (int)roll(soak, SHM_MEMBERS);
    for (int i = 0; i < SHM_MEMBERS && !soak->pid[member]; i++) member = (member + 1) % SHM_MEMBERS;
    if (!soak->pid[member]) return;
    pid_t pid = soak->pid[member];
    kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) == pid) note_death(soak, pid, status);
    soak->kills_outside++;
}

/* A reaper that dies in the middle. */
static void begin_to_reap(struct soak *soak, int member) {
    long point = (long)roll(soak, 400) + 1;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct reaped reaped = {0};
        fault_arm(point, SIGKILL);
        reap_member(&soak->segment, member, &reaped);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) exit(2);
    soak->deaths_in_reaping += WIFSIGNALED(status);
}

static void reap(struct soak *soak, int member) {
    struct reaped reaped = {0};
    if (!soak->is_unreaped[member]) return;
    if (!roll(soak, 8)) begin_to_reap(soak, member);
    uint64_t began_ns = clock_ns();
    reap_member(&soak->segment, member, &reaped);
    uint64_t took_ns = clock_ns() - began_ns;
    if (took_ns > soak->longest_reap_ns) soak->longest_reap_ns = took_ns;
    if (reaped.skipped) {
        printf("reaping skipped %u stripes\n", reaped.skipped);
        soak->faults++;
    }
    soak->is_unreaped[member] = false;
}

static void reap_all(struct soak *soak) {
    for (int member = 0; member < SHM_MEMBERS; member++) reap(soak, member);
}

/* At once, or when several have come together, so that the next to die does so in the repair of what they left. */
static void reap_some(struct soak *soak) {
    int unreaped = 0;
    for (int member = 0; member < SHM_MEMBERS; member++) unreaped += soak->is_unreaped[member];
    if (unreaped > UNREAPED_MAX || (unreaped && roll(soak, 4) == 0)) reap_all(soak);
}

static bool all_have_paused(const struct soak *soak) {
    for (int member = 0; member < SHM_MEMBERS; member++)
        if (soak->pid[member] && !soak->board->of[member].has_paused) return false;
    return true;
}

static uint64_t kills_of(const struct soak *soak) { return soak->kills_outside + soak->kills_at_points; }

static void expect_sound(struct soak *soak) {
    static char report[REPORT_BYTES];
    size_t faults = audit(&soak->segment, report, sizeof report);
    fputs(report, stdout);
    soak->faults += faults;
}

/* Everything counted once, while all stand between two operations and the dead are reaped. */
static void take_stock(struct soak *soak) {
    struct occupancy now;
    soak->board->is_paused = true;
    while (!all_have_paused(soak)) {
        collect(soak);
        usleep(NAP_US);
    }
    reap_all(soak);
    expect_sound(soak);
    occupancy(&soak->segment, &now);
    printf("%5" PRIu64 " kills: %" PRIu64 " pages in use, %" PRIu64 " objects, audit faults so far %" PRIu64 "\n", kills_of(soak),
           now.pages_used, now.objects, soak->faults);
    if (now.pages_used < soak->pages_least) soak->pages_least = now.pages_used;
    if (now.pages_used > soak->pages_most) soak->pages_most = now.pages_used;
    soak->board->is_paused = false;
}

/* All dead and all keys deleted: nothing may be in use. */
static void expect_empty(struct soak *soak) {
    struct occupancy now;
    for (int member = 0; member < SHM_MEMBERS; member++)
        if (soak->pid[member]) kill_one(soak);
    while (living(soak)) kill_one(soak);
    reap_all(soak);
    struct worker *last = worker_new(&soak->segment, 0, 1, soak->tallies);
    for (uint32_t number = 0; number < KEYS; number++) worker_delete(last, number);
    expect_sound(soak);
    occupancy(&soak->segment, &now);
    printf("  all keys deleted: %" PRIu64 " pages and %" PRIu64 " entries in use\n", now.pages_used, now.entries_used);
    soak->faults += now.pages_used + now.entries_used;
    worker_free(last);
}

static void print_outcome(const struct soak *soak) {
    uint64_t longest_ns = 0, held_ns = 0;
    for (int member = 0; member < SHM_MEMBERS; member++) {
        if (soak->board->of[member].longest_ns > longest_ns) longest_ns = soak->board->of[member].longest_ns;
        if (soak->board->of[member].longest_held_ns > held_ns) held_ns = soak->board->of[member].longest_held_ns;
    }
    printf("kills %" PRIu64 " from outside, %" PRIu64 " at fault points; %" PRIu64 " inside repair, %" PRIu64
           " while reaping; repairs finished %" PRIu64 "\n",
           soak->kills_outside, soak->kills_at_points, soak->deaths_in_repair, soak->deaths_in_reaping,
           counter_total(soak->segment.statistics, CORE_REPAIRS));
    printf("longest operation of a survivor %.1f ms, without waiting for a core %.1f ms; longest reaping %.1f ms\n",
           (double)longest_ns / 1e6, (double)held_ns / 1e6, (double)soak->longest_reap_ns / 1e6);
    printf("pages in use from %" PRIu64 " to %" PRIu64 "; waits for a stripe %" PRIu64 "\n",
           soak->pages_least, soak->pages_most, counter_total(soak->segment.statistics, CORE_LOCK_WAITS));
}

int run_soak(int processes, uint64_t kills, uint64_t seed) {
    struct soak soak = {.dice = seed * 2 + 1, .pages_least = UINT64_MAX, .tallies = tallies_make()};
    soak.board = mmap(NULL, sizeof *soak.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (soak.board == MAP_FAILED) return 2;
    segment_make(&soak.segment, SEGMENT_BYTES, STRIPES, ENTRIES);
    for (uint64_t stock_at = STOCK_EVERY; kills_of(&soak) < kills;) {
        spawn_up_to(&soak, processes);
        usleep((useconds_t)roll(&soak, 20000));
        collect(&soak);
        if (roll(&soak, 2)) kill_one(&soak);
        reap_some(&soak);
        if (kills_of(&soak) < stock_at) continue;
        take_stock(&soak);
        stock_at += STOCK_EVERY;
    }
    take_stock(&soak);
    expect_empty(&soak);
    print_outcome(&soak);
    uint64_t wrong = tallies_print(soak.tallies);
    printf("audit faults %" PRIu64 "\n", soak.faults);
    return wrong || soak.faults;
}
