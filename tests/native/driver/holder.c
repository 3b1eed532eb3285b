#define _GNU_SOURCE
#include "holder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "worker.h"

enum { LAST_MEMBER = SHM_MEMBERS - 1, POINT = 3 }; /* in entry_take_locked, reached in every put */

static size_t bytes_of_hex(const char *hex, uint8_t *bytes, size_t most) {
    size_t len = 0;
    for (unsigned byte; len < most && sscanf(hex + 2 * len, "%2x", &byte) == 1; len++) bytes[len] = (uint8_t)byte;
    return len;
}

int hold_stripe(const char *file, const char *boot_id) {
    struct shm segment;
    struct stat status;
    uint8_t boot[SHM_BOOT_ID_MAX];
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) return 2;
    int answer = segment_attach(&segment, fd, (size_t)status.st_size, boot, bytes_of_hex(boot_id, boot, sizeof boot));
    close(fd);
    if (answer != SEGMENT_OK) return 2;
    struct worker *worker = worker_new(&segment, LAST_MEMBER, 1, tallies_make());
    fault_arm(POINT, SIGSTOP);
    return worker_put(worker, 0, 1000) ? 0 : 1;
}
