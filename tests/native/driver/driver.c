/* The cache's C without Python: what the sanitizers, the mutants and the soak run.
 *
 *     driver threads [--threads 4] [--operations 100000] [--seed 1]    operations are each thread's
 *     driver scenes                                                    their names
 *     driver scene NAME|all                                            needs a build with SHM_FAULTS
 *     driver soak [--processes 8] [--kills 1000] [--seed 1]            likewise; --wrap=lock_take,--wrap=lock_mend
 *     driver hold FILE BOOT_ID                                         see holder.h; needs SHM_FAULTS
 *
 * Prints what it saw; exits 0 when every byte read was whole and its key's own and the audit found nothing.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holder.h"
#include "scenes.h"
#include "soak.h"
#include "threads.h"

static const struct option OPTIONS[] = {
    {"threads", required_argument, NULL, 't'},
    {"operations", required_argument, NULL, 'o'},
    {"processes", required_argument, NULL, 'p'},
    {"kills", required_argument, NULL, 'k'},
    {"seed", required_argument, NULL, 's'},
    {0},
};

int main(int count, char **arguments) {
    uint64_t threads = 4, operations = 100000, seed = 1, processes = 8, kills = 1000;
    int option;
    while ((option = getopt_long(count, arguments, "", OPTIONS, NULL)) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;
        if (option == 't') threads = value;
        else if (option == 'o') operations = value;
        else if (option == 'p') processes = value;
        else if (option == 'k') kills = value;
        else if (option == 's') seed = value;
        else return 2;
    }
    const char *command = optind < count ? arguments[optind] : "";
    if (!strcmp(command, "threads")) return run_threads((int)threads, operations, seed);
    if (!strcmp(command, "scenes")) {
        list_scenes();
        return 0;
    }
    if (!strcmp(command, "scene") && optind + 1 < count) return play_scene(arguments[optind + 1]);
    if (!strcmp(command, "soak")) return run_soak((int)processes, kills, seed);
    if (!strcmp(command, "hold") && optind + 2 < count) return hold_stripe(arguments[optind + 1], arguments[optind + 2]);
    fprintf(stderr, "unknown command \"%s\": threads, scenes, scene NAME, soak or hold FILE BOOT_ID\n", command);
    return 2;
}
