/* Counts the calls that change files below a directory, and lets the N-th one go wrong.
 *
 * Preloaded (LD_PRELOAD) into a process that then calls faults_arm() by way of ctypes, in a child that it
 * has forked. A call is counted when it changes, or could change, something below the directory; which file
 * a descriptor is of is asked of /proc/self/fd. What happens at the N-th call is the mode:
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode {
    COUNT = 0,     /* nothing */
    BEFORE = 1,    /* SIGKILL instead of the call */
    AFTER = 2,     /* SIGKILL after the call */
    TORN = 3,      /* of a write only a part is made, then SIGKILL; other calls: as BEFORE */
    SHORT = 4,     /* of a write only a part is made, which it returns; other calls: nothing */
    ERROR = 5,     /* the call fails with `error`, once */
    ERRORS = 6     /* this call and all after it that write, make or flush files fail */
};

static char base[PATH_MAX];
static size_t base_length;
static long wanted;
static int mode, error;
static atomic_long calls;
static char last[64];

void faults_arm(const char *directory, long number, int how, int code) {
    if (!realpath(directory, base)) strncpy(base, directory, sizeof base - 1);
    base_length = strlen(base);
    wanted = number; mode = how; error = code;
    atomic_store(&calls, 0);
    last[0] = 0;
}
void faults_disarm(void) { base_length = 0; }
long faults_count(void) { return atomic_load(&calls); }
const char *faults_last(void) { return last; }

static int below(const char *path) {
    return strncmp(path, base, base_length) == 0 && (path[base_length] == '/' || path[base_length] == 0);
}
static int descriptor_below(int fd) {
    if (!base_length) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}
static int path_below(int directory, const char *path) {
    if (!base_length || !path) return 0;
    if (path[0] == '/') return below(path);
    if (directory == AT_FDCWD) {
        char here[PATH_MAX];
        return getcwd(here, sizeof here) && below(here);
    }
    return descriptor_below(directory);
}
static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }

/* 0: go on; 1: fail with errno set; 2: kill after; 3: a part, then kill; 4: a part */
static int fate(int counted, const char *name, int needs_room) {
    if (!counted) return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (mode == ERRORS && number > wanted && needs_room) { errno = error; return 1; }
    if (number != wanted) return 0;
    strncpy(last, name, sizeof last - 1);
    switch (mode) {
        case BEFORE: die(); break;
        case AFTER: return 2;
        case TORN: return 3;
        case SHORT: return 4;
        case ERROR: case ERRORS: errno = error; return 1;
    }
    return 0;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

#define PLAIN(counted, name, needs_room, call) do { \
    int f = fate(counted, name, needs_room); \
    if (f == 1) return -1; \
    if (f == 3) die(); \
    __typeof__(call) result = (call); \
    if (f == 2) die(); \
    return result; \
} while (0)

#define CHANGES(flags) ((flags) & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC))
#define MODE_OF(flags) \
    mode_t bits = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); bits = va_arg(list, int); va_end(list); }

int open(const char *path, int flags, ...) {
    MODE_OF(flags) REAL(int, "open", const char *, int, ...);
    PLAIN(CHANGES(flags) && path_below(AT_FDCWD, path), "open", flags & O_CREAT, real(path, flags, bits));
}
int open64(const char *path, int flags, ...) {
    MODE_OF(flags) REAL(int, "open64", const char *, int, ...);
    PLAIN(CHANGES(flags) && path_below(AT_FDCWD, path), "open", flags & O_CREAT, real(path, flags, bits));
}
int openat(int directory, const char *path, int flags, ...) {
    MODE_OF(flags) REAL(int, "openat", int, const char *, int, ...);
    PLAIN(CHANGES(flags) && path_below(directory, path), "openat", flags & O_CREAT, real(directory, path, flags, bits));
}
int openat64(int directory, const char *path, int flags, ...) {
    MODE_OF(flags) REAL(int, "openat64", int, const char *, int, ...);
    PLAIN(CHANGES(flags) && path_below(directory, path), "openat", flags & O_CREAT, real(directory, path, flags, bits));
}

#define WRITING(name, whole, part, size) do { \
    int f = fate((size) > 0 && descriptor_below(fd), name, 1); \
    if (f == 1) return -1; \
    if (f == 3) { if ((size) > 1) { ssize_t ignored = (part); (void)ignored; } die(); } \
    if (f == 4 && (size) > 1) return (part); \
    ssize_t result = (whole); \
    if (f == 2) die(); \
    return result; \
} while (0)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    WRITING("write", real(fd, data, size), real(fd, data, size / 2), size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    WRITING("pwrite", real(fd, data, size, at), real(fd, data, size / 2, at), size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    WRITING("pwrite", real(fd, data, size, at), real(fd, data, size / 2, at), size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    WRITING("writev", real(fd, parts, count), real(fd, parts, count / 2), count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    WRITING("pwritev", real(fd, parts, count, at), real(fd, parts, count / 2, at), count);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t);
    WRITING("pwritev", real(fd, parts, count, at), real(fd, parts, count / 2, at), count);
}
ssize_t sendfile(int fd, int from, off_t *at, size_t size) {
    REAL(ssize_t, "sendfile", int, int, off_t *, size_t);
    WRITING("sendfile", real(fd, from, at, size), real(fd, from, at, 1), size);
}
ssize_t sendfile64(int fd, int from, off64_t *at, size_t size) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    WRITING("sendfile", real(fd, from, at, size), real(fd, from, at, 1), size);
}
ssize_t copy_file_range(int from, off64_t *from_at, int fd, off64_t *at, size_t size, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    WRITING("copy_file_range", real(from, from_at, fd, at, size, flags), real(from, from_at, fd, at, 1, flags), size);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    PLAIN(path_below(AT_FDCWD, from) || path_below(AT_FDCWD, to), "rename", 1, real(from, to));
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    PLAIN(path_below(a, from) || path_below(b, to), "rename", 1, real(a, from, b, to));
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    PLAIN(path_below(a, from) || path_below(b, to), "renameat2", 1,
          (int)(real ? real(a, from, b, to, flags) : syscall(SYS_renameat2, a, from, b, to, flags)));
}
int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    PLAIN(path_below(AT_FDCWD, path), "unlink", 0, real(path));
}
int unlinkat(int directory, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    PLAIN(path_below(directory, path), "unlinkat", 0, real(directory, path, flags));
}
int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    PLAIN(path_below(AT_FDCWD, path), "rmdir", 0, real(path));
}
int mkdir(const char *path, mode_t bits) {
    REAL(int, "mkdir", const char *, mode_t);
    PLAIN(path_below(AT_FDCWD, path), "mkdir", 1, real(path, bits));
}
int mkdirat(int directory, const char *path, mode_t bits) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    PLAIN(path_below(directory, path), "mkdir", 1, real(directory, path, bits));
}
int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    PLAIN(path_below(AT_FDCWD, to), "link", 1, real(from, to));
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    PLAIN(path_below(b, to), "link", 1, real(a, from, b, to, flags));
}
int symlink(const char *from, const char *to) {
    REAL(int, "symlink", const char *, const char *);
    PLAIN(path_below(AT_FDCWD, to), "symlink", 1, real(from, to));
}
int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    PLAIN(descriptor_below(fd), "ftruncate", 0, real(fd, size));
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    PLAIN(descriptor_below(fd), "ftruncate", 0, real(fd, size));
}
int truncate(const char *path, off_t size) {
    REAL(int, "truncate", const char *, off_t);
    PLAIN(path_below(AT_FDCWD, path), "truncate", 0, real(path, size));
}
int fallocate(int fd, int how, off_t at, off_t size) {
    REAL(int, "fallocate", int, int, off_t, off_t);
    PLAIN(descriptor_below(fd), "fallocate", 1, real(fd, how, at, size));
}
int fsync(int fd) {
    REAL(int, "fsync", int);
    PLAIN(descriptor_below(fd), "fsync", 1, real(fd));
}
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    PLAIN(descriptor_below(fd), "fsync", 1, real(fd));
}
int utimensat(int directory, const char *path, const struct timespec times[2], int flags) {
    REAL(int, "utimensat", int, const char *, const struct timespec *, int);
    PLAIN(path ? path_below(directory, path) : descriptor_below(directory), "utimensat", 0,
          real(directory, path, times, flags));
}
int futimens(int fd, const struct timespec times[2]) {
    REAL(int, "futimens", int, const struct timespec *);
    PLAIN(descriptor_below(fd), "utimensat", 0, real(fd, times));
}
