/* Wall time moved by the seconds that a file says, for one process and its children:
 *
 *     CODETRIAL_REHEARSAL_CLOCK=file LD_PRELOAD=wall_clock.so program
 *
 * Only reading CLOCK_REALTIME is changed. Durations, sleeps and waits go by the monotonic clock, which stays true.
 * (libfaketime can do more, and therefore more goes wrong: in 0.9.10 time.sleep() of Python 3.11 fails under it.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*clock_gettime_t)(clockid_t, struct timespec *);

static clock_gettime_t true_clock(void) {
    static clock_gettime_t found;
    if (!found) found = (clock_gettime_t)dlsym(RTLD_NEXT, "clock_gettime");
    return found;
}

/* Read anew each time: a jump must be seen at once, and a read of a cached page costs some microseconds. */
static long ahead_s(void) {
    const char *path = getenv("CODETRIAL_REHEARSAL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    char text[32] = {0};
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int status = true_clock()(clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead_s();
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return status;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
