/* A disk that is slow, hangs or is full, for a process that loads this before the C library (LD_PRELOAD).

   Concerns files under $SICK_DISK only. How the disk is, the file $SICK_DISK_STATE says at each call: "slow 1000" (each
   sync takes so many milliseconds), "hang" (nothing returns while it says so), "full" (ENOSPC); anything else: well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int concerned(int fd) {
    struct stat about;
    char name[64], path[4096];
    const char *under = getenv("SICK_DISK");
    if (under == NULL || fstat(fd, &about) != 0 || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    return size > 0 && (size_t)size >= strlen(under) && strncmp(path, under, strlen(under)) == 0;
}

static void state(char *word, size_t room) {
    word[0] = 0;
    const char *file = getenv("SICK_DISK_STATE");
    int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0) return;
    ssize_t size = syscall(SYS_read, fd, word, room - 1);
    word[size > 0 ? size : 0] = 0;
    syscall(SYS_close, fd);
}

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, (ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static int sick(int fd, int syncs) {
    char word[64];
    if (!concerned(fd)) return 0;
    for (state(word, sizeof word); strncmp(word, "hang", 4) == 0; state(word, sizeof word)) pause_ms(10);
    if (syncs && strncmp(word, "slow ", 5) == 0) pause_ms(atol(word + 5));
    return strncmp(word, "full", 4) == 0;
}

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

int fsync(int fd) {
    if (sick(fd, 1)) { errno = ENOSPC; return -1; }
    return REAL(fsync, fd);
}

int fdatasync(int fd) {
    if (sick(fd, 1)) { errno = ENOSPC; return -1; }
    return REAL(fdatasync, fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (sick(fd, 0)) { errno = ENOSPC; return -1; }
    return syscall(SYS_write, fd, data, size);
}
