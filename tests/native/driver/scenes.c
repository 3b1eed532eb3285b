#define _GNU_SOURCE
#include "scenes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.h"
#include "crawl.h"
#include "lock.h"
#include "purge.h"
#include "repair.h"
#include "room.h"
#include "worker.h"

enum { SMALL = 1, LARGE = 2, NEW = 3, AFTER = 4, LEFT = 5, BYSTANDERS = 10, BEFORE = 100, BEHIND = 200, CROWD = 400, CHURN = 2000 };
enum { SMALL_BYTES = 3000, MIDDLING_BYTES = 9000, OUTSIDE_BYTES = 20000, TAILED_BYTES = 110000, LARGE_BYTES = 150000 };
enum { SEGMENT_BYTES = 3 << 20, ENTRIES = 512, REPAIR_STEP = 211, NEIGHBOURS = 60, CROWDED = 420, HOLED = 80, REPORT_BYTES = 1 << 14 };
enum { HOST, ACTOR, SECOND }; /* members */

struct scene {
    const char *name;
    int signal;                                /* what the actor gets at each point */
    void (*prepare)(struct worker *host);
    void (*act)(struct worker *actor);         /* in a child, armed; NULL: there is none, and one point */
    void (*second)(struct worker *actor);      /* NULL, or: stopped at each of its points while act stands */
    void (*meanwhile)(struct worker *host);    /* while it stands, or after its death; may be NULL */
    void (*afterwards)(struct worker *host);   /* once a stopped actor has come to its end; may be NULL */
};

static const char *wrong; /* the first thing found wrong at this point */

static void expect(bool is_so, const char *what) {
    if (!is_so && !wrong) wrong = what;
}

/* --- actors --------------------------------------------------------------------------------------------------------- */

static struct tally *tallies; /* of every member; shared with the children */

/* A child that acts until it gets its signal at that point; its wait status then, or at its end. */
static int act(struct shm *segment, void (*work)(struct worker *), int member, int signal, long point, pid_t *pid) {
    int status = 0;
    *pid = fork();
    if (*pid == 0) {
        struct worker *actor = worker_new(segment, member, (uint64_t)point + 7, tallies);
        fault_arm(point, signal);
        work(actor);
        _exit(0);
    }
    if (*pid < 0 || waitpid(*pid, &status, WUNTRACED) != *pid) exit(2);
    return status;
}

static bool die_at(struct worker *host, int member, long point, void (*work)(struct worker *)) {
    pid_t pid;
    int status = act(&host->shm, work, member, SIGKILL, point, &pid);
    return WIFSIGNALED(status);
}

/* --- preparing ------------------------------------------------------------------------------------------------------ */

static void prepare(struct worker *host) {
    worker_put(host, SMALL, SMALL_BYTES);
    worker_put(host, LARGE, LARGE_BYTES);
    for (uint32_t i = 0; i < 4; i++) worker_put(host, BYSTANDERS + i, 400 + 9000 * i);
}

/* No free page, and free chunks in many classes. */
static void crowd(struct worker *host) {
    prepare(host);
    for (uint32_t i = 0; i < CROWDED; i++) worker_put(host, CROWD + i, SEALED_MIN + i * 997 % 14000);
    for (uint32_t i = 0; i < CROWDED; i += 3) worker_delete(host, CROWD + i);
}

static void prepare_neighbours(struct worker *host) {
    for (uint32_t i = 0; i < NEIGHBOURS; i++) worker_put(host, BEFORE + i, SMALL_BYTES);
    prepare(host);
    for (uint32_t i = 0; i < NEIGHBOURS; i++) worker_put(host, BEHIND + i, SMALL_BYTES);
}

/* A body that will end in two tails is being filled. */
static void prepare_filling(struct worker *host) {
    prepare(host);
    worker_fill_begin(host, NEW, TAILED_BYTES);
}

static void prepare_purged(struct worker *host) {
    prepare_neighbours(host);
    worker_purge_tag(host, 3, 0);
    worker_purge_tag(host, 4, (int64_t)clock_ns());
}

/* The large body is deleted and still pinned. */
static void prepare_held(struct worker *host) {
    prepare(host);
    worker_get(host, LARGE, &host->lent[0]);
    worker_delete(host, LARGE);
}

static bool is_full(const struct shm *shm) {
    struct occupancy now;
    occupancy(shm, &now);
    return now.pages_used == now.pages_total;
}

/* No free page, but many half-empty ones, so that whoever wants a chunk has to move others. */
static void fill_with_holes(struct worker *host) {
    prepare_neighbours(host);
    for (uint32_t i = 0; i < HOLED; i++) {
        worker_put(host, CROWD + i, 33800);
        worker_get(host, LARGE, NULL); /* asked for, so it stays */
    }
    for (uint32_t i = 0, left = 0; i < HOLED; i++)
        if (worker_get(host, CROWD + i, NULL) && left++ % 3) worker_delete(host, CROWD + i);
    for (uint32_t i = 0; i < HOLED && !is_full(&host->shm); i++) worker_put(host, CHURN + i, 65000);
}

/* --- acting --------------------------------------------------------------------------------------------------------- */

static void read_small(struct worker *it) { worker_get(it, SMALL, NULL); }
static void follow_host(struct worker *it) { worker_follow(it, HOST, &it->lent[0]); worker_return_all(it); }
static void fill_tailed(struct worker *it) { worker_fill(it, NEW, TAILED_BYTES, true); }
static void read_large(struct worker *it) { worker_get(it, LARGE, NULL); }
static void put_small(struct worker *it) { worker_put(it, NEW, SMALL_BYTES); }
static void put_middling(struct worker *it) { worker_put(it, NEW, MIDDLING_BYTES); }
static void fill_small(struct worker *it) { worker_fill(it, SMALL, SMALL_BYTES, true); }
static void put_outside(struct worker *it) { worker_put(it, NEW, OUTSIDE_BYTES); }
static void put_large(struct worker *it) { worker_put(it, NEW, LARGE_BYTES); }
static void put_tailed(struct worker *it) { worker_put(it, NEW, TAILED_BYTES); }
static void replace_small(struct worker *it) { worker_put(it, SMALL, SMALL_BYTES + 1); }
static void replace_large(struct worker *it) { worker_put(it, LARGE, LARGE_BYTES + 30000); }
static void shrink_large(struct worker *it) { worker_put(it, LARGE, SEALED_MIN); }
static void delete_small(struct worker *it) { worker_delete(it, SMALL); }
static void delete_large(struct worker *it) { worker_delete(it, LARGE); }
static void fill_new(struct worker *it) { worker_fill(it, NEW, LARGE_BYTES, true); }
static void fill_over(struct worker *it) { worker_fill(it, LARGE, LARGE_BYTES, true); }
static void abandon(struct worker *it) { worker_fill(it, LEFT, LARGE_BYTES, false); }
static void freshen_small(struct worker *it) { worker_freshen(it, SMALL, 600); }
static void freshen_large(struct worker *it) { worker_freshen(it, LARGE, 900); }
static void purge(struct worker *it) { worker_purge_tag(it, SMALL % TAGS, 0); }

/* Stands still once more while the body is pinned, and from then on at no other point. */
static void hold_large(struct worker *it) {
    worker_get(it, LARGE, &it->lent[0]);
    fault_arm(0, 0);
    raise(SIGSTOP);
    worker_return_all(it);
}

/* By a rule: no directory of any key. */
static void purge_by_rule(struct worker *it) {
    static const char prefix[] = "http://1/1";
    purge_prefix(&it->shm, (const uint8_t *)prefix, sizeof prefix - 1, 0);
}

static void purge_softly(struct worker *it) {
    worker_purge_tag(it, SMALL % TAGS, (int64_t)clock_ns());
    purge_everything(&it->shm, (int64_t)clock_ns());
}

static void crawl_all(struct worker *it) {
    struct crawled crawled;
    crawl(&it->shm, (int64_t)clock_ns(), ENTRIES, &crawled);
}

static void reap_second(struct worker *it) {
    struct reaped reaped = {0};
    reap_member(&it->shm, SECOND, &reaped);
}

/* Dies with a body pinned that is deleted, another half made, and the stripe locked. */
static void leave_everything(struct worker *it) {
    worker_get(it, LARGE, &it->lent[0]);
    worker_delete(it, LARGE);
    worker_fill_begin(it, LEFT, LARGE_BYTES);
    fault_arm(5, SIGKILL);
    put_small(it);
}

static void pin_and_delete(struct worker *it) {
    worker_get(it, LARGE, &it->lent[0]);
    worker_delete(it, LARGE);
    worker_return_all(it);
}

static void evict(struct worker *it) {
    for (uint32_t i = 0; i < 12; i++) worker_put(it, CHURN + i, 6000 + 400 * i);
}

static void enter_stripe(struct worker *it) { worker_delete(it, CHURN); }

static void prepare_dead(struct worker *host) {
    prepare(host);
    die_at(host, SECOND, 0, leave_everything);
}

/* --- meanwhile and afterwards ---------------------------------------------------------------------------------------- */

/* Whatever was given back is written over. */
static void churn(struct worker *host) {
    for (uint32_t i = 0; i < 300; i++) {
        worker_put(host, CHURN + 100 + i, SEALED_MIN + i * 997 % 14000);
        worker_get(host, SMALL, NULL);
        worker_get(host, LARGE, NULL);
    }
}

/* The same in short. */
static void overwrite(struct worker *host) {
    for (uint32_t i = 0; i < 4; i++) worker_put(host, CHURN + i, LARGE_BYTES);
    for (uint32_t i = 4; i < 40; i++) worker_put(host, CHURN + i, i * 499 % 14000 + SEALED_MIN);
}

static void replace_both(struct worker *host) {
    replace_small(host);
    replace_large(host);
    churn(host);
}

static void delete_both(struct worker *host) {
    delete_small(host);
    delete_large(host);
    churn(host);
}

/* The same entry and the same chunk for another key. */
static void take_again(struct worker *host) {
    delete_small(host);
    put_small(host);
}

static void freshen_both(struct worker *host) {
    freshen_small(host);
    freshen_large(host);
    churn(host);
}

/* Leave the pages of both keys nearly empty, so that they are moved to another. */
static void move_both(struct worker *host) {
    for (uint32_t i = 0; i < NEIGHBOURS; i++) {
        worker_delete(host, BEFORE + i);
        if (i % 5) worker_delete(host, BEHIND + i);
    }
    churn(host);
}

static struct lent pinned[1 + HOLED];

static void pin_all(struct worker *host) {
    worker_get(host, LARGE, &pinned[HOLED]);
    for (uint32_t i = 0; i < HOLED; i++) worker_get(host, CROWD + i, &pinned[i]);
}

static void return_all(struct worker *host) {
    overwrite(host);
    for (uint32_t i = 0; i <= HOLED; i++) worker_return(host, &pinned[i]);
}

/* Both ends of a fill; what follows overwrites all that was given back. */
static void finish_filling(struct worker *host) {
    worker_fill_end(host, true);
    overwrite(host);
}

static void give_up_filling(struct worker *host) {
    worker_fill_end(host, false);
    overwrite(host);
}

static void follow_actor(struct worker *host) { worker_follow(host, ACTOR, &pinned[0]); }

static void find_both(struct worker *host) {
    expect(worker_get(host, SMALL, NULL), "the small body is missing while it is replaced");
    expect(worker_get(host, LARGE, NULL), "the large body is missing while it is replaced");
}

/* Reading is what would note on the entry that it was found valid; another purge makes the reader look. */
static void read_after_another_purge(struct worker *host) {
    worker_purge_tag(host, (SMALL + 1) % TAGS, 0);
    worker_get(host, SMALL, NULL);
}

static void find_none_tagged(struct worker *host) {
    expect(!worker_get(host, SMALL, NULL), "a purged body is served");
}

/* The dead left everything whole: what is there is right, and all work goes on. */
static void go_on(struct worker *host) {
    static const uint32_t numbers[] = {SMALL, LARGE, NEW, LEFT};
    for (int i = 0; i < 4; i++) worker_get(host, numbers[i], NULL);
    for (uint32_t i = 0; i < 4; i++) worker_get(host, BYSTANDERS + i, NULL);
    expect(!worker_get(host, LEFT, NULL), "an abandoned body is served");
    expect(worker_put(host, AFTER, SMALL_BYTES), "nothing can be stored");
    expect(worker_get(host, AFTER, NULL), "what was just stored is missing");
}

static void go_on_with_both(struct worker *host) {
    find_both(host);
    go_on(host);
}

static void go_on_with_small(struct worker *host) {
    expect(worker_get(host, SMALL, NULL), "a body nobody touched is missing");
    go_on(host);
}

/* Whoever enters the stripe next dies too, each a little later in the repair that the first death made necessary. */
static void die_in_repair(struct worker *host) {
    for (long point = 1; die_at(host, SECOND, point, enter_stripe); point += REPAIR_STEP) {}
}

/* Keys with the same 128 bits of hash: only their bytes tell them apart. */
static void meet_a_twin(struct worker *host) {
    struct key key, twin;
    struct found found;
    char name[KEY_MAX], other[KEY_MAX];
    key_of_number(&host->shm, &key, SMALL, name);
    twin = key;
    memset(other, 'x', sizeof other);
    twin.bytes = (const uint8_t *)other;
    expect(read_find(&host->shm, &twin, 0, &found) == READ_MISS, "a key finds another of the same hash");
    expect(store_delete(&host->shm, &twin, 0, 0) == STORE_GONE, "a key deletes another of the same hash");
}

static const struct scene SCENES[] = {
    {"two keys of one hash", 0, prepare, NULL, NULL, meet_a_twin, find_both},
    {"read small, replaced", SIGSTOP, prepare_neighbours, read_small, NULL, replace_both, NULL},
    {"read small, deleted", SIGSTOP, prepare_neighbours, read_small, NULL, delete_both, NULL},
    {"read small, moved", SIGSTOP, prepare_neighbours, read_small, NULL, move_both, NULL},
    {"read small, freshened", SIGSTOP, prepare_neighbours, read_small, NULL, freshen_both, NULL},
    {"read large, replaced", SIGSTOP, prepare_neighbours, read_large, NULL, replace_both, NULL},
    {"read large, deleted", SIGSTOP, prepare_neighbours, read_large, NULL, delete_both, NULL},
    {"read large, moved", SIGSTOP, prepare_neighbours, read_large, NULL, move_both, NULL},
    {"read large, freshened", SIGSTOP, prepare_neighbours, read_large, NULL, freshen_both, NULL},
    {"read small, taken again", SIGSTOP, prepare, read_small, NULL, take_again, NULL},
    {"hold large, deleted by another", SIGSTOP, prepare, hold_large, delete_large, NULL, overwrite},
    {"hold large, replaced by another", SIGSTOP, prepare, hold_large, replace_large, NULL, overwrite},
    {"hold large, moved by another", SIGSTOP, fill_with_holes, hold_large, put_middling, NULL, overwrite},
    {"put small, unpinned meanwhile", SIGSTOP, prepare_held, put_small, NULL, worker_return_all, NULL},
    {"fill, purged meanwhile", SIGSTOP, prepare, fill_small, NULL, purge, find_none_tagged},
    {"freshen, purged meanwhile", SIGSTOP, prepare, freshen_small, NULL, purge, find_none_tagged},
    {"follow, filled", SIGSTOP, prepare_filling, follow_host, NULL, finish_filling, NULL},
    {"follow, abandoned", SIGSTOP, prepare_filling, follow_host, NULL, give_up_filling, NULL},
    {"fill, followed", SIGSTOP, prepare, fill_tailed, NULL, follow_actor, return_all},
    {"abandon, followed", SIGSTOP, prepare, abandon, NULL, follow_actor, return_all},
    {"follow, killed", SIGKILL, prepare_filling, follow_host, NULL, finish_filling, NULL},
    {"fill with two tails, killed", SIGKILL, prepare, fill_tailed, NULL, go_on_with_both, NULL},
    {"move, pinned", SIGSTOP, fill_with_holes, put_middling, NULL, pin_all, return_all},
    {"replace large, pinned", SIGSTOP, prepare, replace_large, NULL, pin_all, return_all},
    {"delete large, pinned", SIGSTOP, prepare, delete_large, NULL, pin_all, return_all},
    {"freshen large, pinned", SIGSTOP, prepare, freshen_large, NULL, pin_all, return_all},
    {"replace small, read", SIGSTOP, prepare, replace_small, NULL, find_both, find_both},
    {"replace large, read", SIGSTOP, prepare, replace_large, NULL, find_both, find_both},
    {"freshen small, read", SIGSTOP, prepare, freshen_small, NULL, find_both, find_both},
    {"purge, read", SIGSTOP, prepare, purge, NULL, read_after_another_purge, find_none_tagged},
    {"put small, killed", SIGKILL, prepare, put_small, NULL, go_on_with_both, NULL},
    {"put outside the lock, killed", SIGKILL, prepare, put_outside, NULL, go_on_with_both, NULL},
    {"put large, killed", SIGKILL, prepare, put_large, NULL, go_on_with_both, NULL},
    {"put with two tails, killed", SIGKILL, prepare, put_tailed, NULL, go_on_with_both, NULL},
    {"replace small, killed", SIGKILL, prepare, replace_small, NULL, go_on_with_both, NULL},
    {"replace large, killed", SIGKILL, prepare, replace_large, NULL, go_on_with_both, NULL},
    {"shrink large, killed", SIGKILL, prepare, shrink_large, NULL, go_on_with_both, NULL},
    {"delete large, killed", SIGKILL, prepare, delete_large, NULL, go_on_with_small, NULL},
    {"fill, killed", SIGKILL, prepare, fill_new, NULL, go_on_with_both, NULL},
    {"fill over, killed", SIGKILL, prepare, fill_over, NULL, go_on_with_both, NULL},
    {"abandon, killed", SIGKILL, prepare, abandon, NULL, go_on_with_both, NULL},
    {"freshen small, killed", SIGKILL, prepare, freshen_small, NULL, go_on_with_both, NULL},
    {"freshen large, killed", SIGKILL, prepare, freshen_large, NULL, go_on_with_both, NULL},
    {"pin and delete, killed", SIGKILL, prepare, pin_and_delete, NULL, go_on_with_small, NULL},
    {"move, killed", SIGKILL, fill_with_holes, put_middling, NULL, go_on, NULL},
    {"purge by a rule, killed", SIGKILL, prepare, purge_by_rule, NULL, go_on, NULL},
    {"purge softly, killed", SIGKILL, prepare, purge_softly, NULL, go_on_with_both, NULL},
    {"crawl, killed", SIGKILL, prepare_purged, crawl_all, NULL, go_on_with_both, NULL},
    {"reap, killed", SIGKILL, prepare_dead, reap_second, NULL, go_on_with_small, NULL},
    {"evict, killed", SIGKILL, crowd, evict, NULL, go_on, NULL},
    {"replace large, killed, and in repair", SIGKILL, prepare, replace_large, NULL, die_in_repair, go_on_with_both},
    {"evict, killed, and in repair", SIGKILL, crowd, evict, NULL, die_in_repair, go_on},
};

/* --- playing ---------------------------------------------------------------------------------------------------------- */

struct stage {
    struct shm segment;
    struct worker *host;
};

static struct stage stage_make(const struct scene *scene) {
    struct stage stage;
    segment_make(&stage.segment, SEGMENT_BYTES, 1, ENTRIES);
    memset(tallies, 0, SHM_MEMBERS * sizeof *tallies);
    stage.host = worker_new(&stage.segment, HOST, 1, tallies);
    scene->prepare(stage.host);
    return stage;
}

static void stage_close(struct stage *stage) {
    worker_free(stage->host);
    segment_close(&stage->segment);
}

/* Let a stopped child go on; true if it stopped again, else it came to its end. */
static bool let_go(pid_t pid) {
    int status = 0;
    kill(pid, SIGCONT);
    if (waitpid(pid, &status, WUNTRACED) != pid) exit(2);
    if (WIFSTOPPED(status)) return true;
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a stopped process did not come to its end");
    return false;
}

static void expect_sound(struct shm *shm) {
    static char report[REPORT_BYTES];
    if (!audit(shm, report, sizeof report)) return;
    fputs(report, stdout);
    expect(false, "the audit found faults");
}

/* After a death, reap first. Then nobody pins or fills, so every entry in use is an object. */
static void take_stock(struct stage *stage, bool is_death) {
    struct reaped reaped = {0};
    struct occupancy now;
    worker_return_all(stage->host);
    worker_fill_end(stage->host, false); /* nothing, where the scene ended it */
    if (!is_death) expect_sound(&stage->host->shm);
    for (int member = ACTOR; member <= SECOND; member++) reap_member(&stage->host->shm, member, &reaped);
    expect(!reaped.skipped, "a stripe stayed locked");
    expect_sound(&stage->host->shm);
    occupancy(&stage->host->shm, &now);
    expect(now.entries_used == now.objects, "an entry was left that is no object");
    for (int member = HOST; member <= SECOND; member++) {
        expect(!tallies[member].torn, "a torn body");
        expect(!tallies[member].foreign, "another key's body");
        expect(!tallies[member].damaged, "a body with a wrong sum");
    }
}

/* Run a child up to its point; false when it came to its end before. */
static bool reach(struct stage *stage, void (*work)(struct worker *), int member, int signal, long point, pid_t *pid) {
    int status = act(&stage->segment, work, member, signal, point, pid);
    if (signal == SIGKILL ? WIFSIGNALED(status) : WIFSTOPPED(status)) return true;
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the actor died of something else");
    return false;
}

/* Both stand at their points; the first goes on up to where it stops by itself, then the second to its end.
 * A first that only stops by itself has no such point. */
static bool play_two(const struct scene *scene, struct stage *stage, long point, long second_point, bool *was_reached) {
    pid_t first, second;
    reach(stage, scene->act, ACTOR, scene->signal, point, &first);
    bool second_reached = reach(stage, scene->second, SECOND, SIGSTOP, second_point, &second);
    *was_reached = let_go(first);
    if (second_reached) let_go(second);
    scene->afterwards(stage->host);
    if (*was_reached) let_go(first);
    return second_reached;
}

static bool play_one(const struct scene *scene, struct stage *stage, long point) {
    pid_t pid;
    if (scene->act ? !reach(stage, scene->act, ACTOR, scene->signal, point, &pid) : point > 1) return false;
    if (scene->meanwhile) scene->meanwhile(stage->host);
    if (scene->signal == SIGSTOP) let_go(pid);
    if (scene->afterwards) scene->afterwards(stage->host);
    return true;
}

/* False when there is no such point. */
static bool play_point(const struct scene *scene, long point) {
    bool was_reached = false, more = true;
    for (long second_point = 1; more && !wrong; second_point++) {
        struct stage stage = stage_make(scene);
        more = scene->second && play_two(scene, &stage, point, second_point, &was_reached);
        if (!scene->second) was_reached = play_one(scene, &stage, point);
        take_stock(&stage, scene->signal == SIGKILL);
        stage_close(&stage);
    }
    return was_reached;
}

static int play(const struct scene *scene) {
    long point = 1;
    wrong = NULL;
    while (play_point(scene, point) && !wrong) point++;
    if (wrong) printf("%s: %s (fault point %ld)\n", scene->name, wrong, point);
    else if (point < 2) printf("%s: no fault points passed: is this build without?\n", scene->name);
    else printf("%s: %ld points\n", scene->name, point - 1);
    return wrong || point < 2;
}

void list_scenes(void) {
    for (size_t i = 0; i < sizeof SCENES / sizeof *SCENES; i++) puts(SCENES[i].name);
}

int play_scene(const char *name) {
    int failed = 2;
    tallies = tallies_make();
    for (size_t i = 0; i < sizeof SCENES / sizeof *SCENES; i++) {
        bool is_asked = !strcmp(name, "all") || (!strcmp(name, "killed") && SCENES[i].signal == SIGKILL);
        if (!is_asked && strcmp(name, SCENES[i].name)) continue;
        int bad = play(&SCENES[i]);
        failed = failed == 2 ? bad : failed | bad;
        fflush(stdout);
    }
    return failed;
}
