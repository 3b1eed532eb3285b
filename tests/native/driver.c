/* The cache's C without Python: what the sanitizers, the mutants and the soak run.
 *
 *     driver threads [--threads 4] [--operations 100000] [--seed 1]    operations are each thread's
 *     driver scenes                                                    their names
 *     driver scene NAME|all                                            needs a build with SHM_FAULTS
 *
 * Prints what it saw; exits 0 when every byte read was whole and its key's own and the audit found nothing.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenes.h"
#include "threads.h"

static const struct option OPTIONS[] = {
    {"threads", required_argument, NULL, 't'},
    {"operations", required_argument, NULL, 'o'},
    {"seed", required_argument, NULL, 's'},
    {0},
};

int main(int count, char **arguments) {
    uint64_t threads = 4, operations = 100000, seed = 1;
    int option;
    while ((option = getopt_long(count, arguments, "", OPTIONS, NULL)) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;
        if (option == 't') threads = value;
        else if (option == 'o') operations = value;
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
    fprintf(stderr, "unknown command \"%s\": threads, scenes or scene NAME\n", command);
    return 2;
}
