/* Makes every sync of a file take longer, as on a slower disk, for whatever program it is loaded into: how long the disk takes
 * decides how schedulers that commit once a run compare with those that commit once a batch.
 *
 *     cc -shared -fPIC -O2 -o slow_sync.so benches/peers/slow_sync.c
 *     SLOW_SYNC_US=8000 LD_PRELOAD=$PWD/slow_sync.so python benches/peers/apscheduler3.py
 *     SLOW_SYNC_US=8000 LD_PRELOAD=$PWD/slow_sync.so bellcage bench --row 3
 *
 * SLOW_SYNC_US is added to each, in microseconds. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wait_for_the_disk(void) {
    const char *us = getenv("SLOW_SYNC_US");
    if (us) usleep((useconds_t)strtoul(us, NULL, 10));
}

int fsync(int fd) {
    wait_for_the_disk();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    wait_for_the_disk();
    return (int)syscall(SYS_fdatasync, fd);
}
