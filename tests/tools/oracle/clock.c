/* Preloaded into the daemon: its time of day is off by as many seconds as CLOCK_FILE holds (8 bytes).
   Only that: libfaketime also wraps the waiting for locks, and with it each hand-over between threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *offset;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (file < 0)
        return;
    void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    offset = at == MAP_FAILED ? NULL : at;
    close(file);
}

int clock_gettime(clockid_t which, struct timespec *now) {
    if (!real) /* another library's constructor ran first */
        map();
    int status = real(which, now);
    if (!status && offset && which == CLOCK_REALTIME)
        now->tv_sec += *offset;
    return status;
}
