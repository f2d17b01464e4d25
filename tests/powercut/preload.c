/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A disk whose power may fail, for LD_PRELOAD
 *
 * Stands in for the calls by which a program writes files and makes them durable, and keeps an image of what
 * it may rely on (image.h). POWERCUT_ROOT and POWERCUT_IMAGE say where; without them nothing changes. The
 * kernel is not asked to sync: what comes after a cut is the image, so the test is quick.
 *
 * Not seen: io_uring, writes to mapped files, and those of stdio, which the next fsync() of the file finds
 * by its time of change. A program that does anything else to be durable (syncfs(), sync(), msync() of a
 * file) is ended, so that a test cannot pass by ignorance.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "image.h"
#include "libmam/util/macro.h"

#define EXPORT __attribute__((visibility("default")))

_Static_assert(sizeof(off_t) == 8, "both names of a call take the same");

static bool active;

static _Noreturn void die(const char *what, int r) {
        char text[256];
        int n = snprintf(text, sizeof(text), "powercut: %s: %s\n", what, strerror(-r));

        (void) !syscall(SYS_write, STDERR_FILENO, text, (size_t) n);
        abort();
}

__attribute__((constructor)) static void begin(void) {
        const char *root = getenv("POWERCUT_ROOT"), *image = getenv("POWERCUT_IMAGE");
        int r;

        if (!root || !image)
                return;
        r = image_open(root, image);
        if (r < 0)
                die(image, r);
        active = true;
}

static int synced(int fd, const char *what) {
        int saved = errno, r = 0;

        if (active)
                r = image_persist(fd);
        if (r < 0)
                die(what, r);
        errno = saved;
        return 0;
}

/* What was written is told before and after: if the writer is killed in between it is not forgotten, and an
 * fsync() in between cannot have had it. */
static void tell(int fd, int64_t from, int64_t size) {
        int saved = errno;

        if (active)
                image_written(fd, from, size < 0 ? INT64_MAX : from + size);
        errno = saved;
}

static ssize_t written(int fd, int64_t from, ssize_t n, int flags) {
        int saved = errno;

        if (!active || n <= 0)
                return n;
        tell(fd, from, n);
        if ((flags & RWF_DSYNC) != 0 || (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) != 0)
                (void) synced(fd, "write with O_DSYNC");
        errno = saved;
        return n;
}

static int64_t sum(const struct iovec *v, int n) {
        int64_t size = 0;

        for (int i = 0; i < n; i++)
                size += (int64_t) v[i].iov_len;
        return size;
}

/* Where a write without an offset goes. In a file that is appended to, nobody knows: anywhere. */
static int64_t place(int fd) {
        int saved = errno;
        off_t at;

        if (!active || fd <= STDERR_FILENO || (fcntl(fd, F_GETFL) & O_APPEND) != 0) {
                errno = saved;
                return -1;
        }
        at = lseek(fd, 0, SEEK_CUR);
        errno = saved;
        return at;
}

EXPORT ssize_t write(int fd, const void *data, size_t size) {
        int64_t at = place(fd);

        tell(fd, at < 0 ? 0 : at, at < 0 ? -1 : (int64_t) size);
        return written(fd, at < 0 ? 0 : at, syscall(SYS_write, fd, data, size), 0);
}

EXPORT ssize_t writev(int fd, const struct iovec *v, int n) {
        int64_t at = place(fd);

        tell(fd, at < 0 ? 0 : at, at < 0 ? -1 : sum(v, n));
        return written(fd, at < 0 ? 0 : at, syscall(SYS_writev, fd, v, n), 0);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
        tell(fd, at, (int64_t) size);
        return written(fd, at, syscall(SYS_pwrite64, fd, data, size, at), 0);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
        return pwrite64(fd, data, size, at);
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off_t at, int flags) {
        int64_t from = at == -1 ? place(fd) : at;

        tell(fd, from < 0 ? 0 : from, from < 0 ? -1 : sum(v, n));
        return written(fd, from < 0 ? 0 : from, syscall(SYS_pwritev2, fd, v, n, at, 0, flags), flags);
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags) {
        return pwritev64v2(fd, v, n, at, flags);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at) {
        return pwritev64v2(fd, v, n, at, 0);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) {
        return pwritev64v2(fd, v, n, at, 0);
}

EXPORT ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags) {
        tell(out, 0, -1);
        return written(out, 0, syscall(SYS_copy_file_range, in, in_at, out, out_at, size, flags), 0);
}

EXPORT int ftruncate64(int fd, off_t size) {
        int r;

        tell(fd, 0, -1);
        r = (int) syscall(SYS_ftruncate, fd, size);
        tell(fd, 0, -1);
        return r;
}

EXPORT int ftruncate(int fd, off_t size) {
        return ftruncate64(fd, size);
}

EXPORT int truncate64(const char *path, off_t size) {
        _cleanup_(mam_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd < 0 ? -1 : ftruncate64(fd, size);
}

EXPORT int truncate(const char *path, off_t size) {
        return truncate64(path, size);
}

EXPORT int fallocate64(int fd, int mode, off_t at, off_t size) {
        int r;

        tell(fd, 0, -1);
        r = (int) syscall(SYS_fallocate, fd, mode, at, size);
        tell(fd, 0, -1);
        return r;
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t size) {
        return fallocate64(fd, mode, at, size);
}

EXPORT int posix_fallocate64(int fd, off_t at, off_t size) {
        static int (*next)(int, off_t, off_t);
        int r;

        if (!next)
                next = (int (*)(int, off_t, off_t)) dlsym(RTLD_NEXT, "posix_fallocate64");
        tell(fd, 0, -1);
        r = next(fd, at, size);
        tell(fd, 0, -1);
        return r;
}

EXPORT int posix_fallocate(int fd, off_t at, off_t size) {
        return posix_fallocate64(fd, at, size);
}

static int opened(int fd, int flags) {
        if (fd >= 0 && (flags & O_TRUNC) != 0 && (flags & O_ACCMODE) != O_RDONLY)
                tell(fd, 0, -1);
        return fd;
}

static mode_t mode_of(int flags, va_list ap) {
        return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

#define OPEN(name, folder, ...)                                                             \
        EXPORT int name(__VA_ARGS__, int flags, ...) {                                      \
                mode_t mode;                                                                \
                va_list ap;                                                                 \
                                                                                            \
                va_start(ap, flags);                                                        \
                mode = mode_of(flags, ap);                                                  \
                va_end(ap);                                                                 \
                return opened((int) syscall(SYS_openat, folder, path, flags, mode), flags); \
        }                                                                                   \
        struct _mam_swallow_semicolon

OPEN(open, AT_FDCWD, const char *path);
OPEN(open64, AT_FDCWD, const char *path);
OPEN(openat, folder, int folder, const char *path);
OPEN(openat64, folder, int folder, const char *path);

EXPORT int creat64(const char *path, mode_t mode) {
        return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

EXPORT int creat(const char *path, mode_t mode) {
        return creat64(path, mode);
}

EXPORT int fsync(int fd) {
        return active ? synced(fd, "fsync") : (int) syscall(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd) {
        return active ? synced(fd, "fdatasync") : (int) syscall(SYS_fdatasync, fd);
}

EXPORT int sync_file_range(int fd, off64_t at, off64_t size, unsigned flags) {
        return active ? 0 : (int) syscall(SYS_sync_file_range, fd, at, size, flags);
}

EXPORT int syncfs(int fd) {
        if (active)
                die("syncfs() is not followed", -ENOSYS);
        return (int) syscall(SYS_syncfs, fd);
}

EXPORT void sync(void) {
        if (active)
                die("sync() is not followed", -ENOSYS);
        (void) syscall(SYS_sync);
}
