/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Whole files
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"

int mam_file_read(char **ret, size_t *ret_size, const char *path, size_t max) {
        _cleanup_(mam_closep) int fd = -EBADF;
        _cleanup_(mam_freep) char *data = NULL;
        size_t size = 0, allocated;
        struct stat st;

        assert(ret);
        assert(path);

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (st.st_size > 0 && (uint64_t) st.st_size > max)
                return -EFBIG;

        /* Files of procfs and sysfs say 0; others may grow while we read. */
        allocated = st.st_size > 0 ? (size_t) st.st_size + 1 : 4096;
        data = malloc(allocated + 1);
        if (!data)
                return -ENOMEM;

        for (;;) {
                ssize_t n;

                if (size == allocated) {
                        char *bigger;

                        if (size > max)
                                return -EFBIG;
                        allocated *= 2;
                        bigger = realloc(data, allocated + 1);
                        if (!bigger)
                                return -ENOMEM;
                        data = bigger;
                }
                n = read(fd, data + size, allocated - size);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        if (size > max)
                return -EFBIG;

        data[size] = '\0';
        *ret = MAM_TAKE(data);
        if (ret_size)
                *ret_size = size;
        return 0;
}

static int write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, data, size);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                data += n;
                size -= (size_t) n;
        }
        return 0;
}

static int write_synced(const char *path, const void *data, size_t size, mode_t mode) {
        _cleanup_(mam_closep) int fd = -EBADF;
        int r;

        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;
        if (fchmod(fd, mode) < 0)
                return -errno;
        r = write_all(fd, data, size);
        if (r < 0)
                return r;
        if (fsync(fd) < 0)
                return -errno;
        return 0;
}

static int sync_folder_of(const char *path) {
        _cleanup_(mam_closep) int fd = -EBADF;
        char folder[PATH_MAX];
        const char *slash = strrchr(path, '/');

        if (!slash)
                snprintf(folder, sizeof(folder), ".");
        else if (slash == path)
                snprintf(folder, sizeof(folder), "/");
        else
                snprintf(folder, sizeof(folder), "%.*s", (int) (slash - path), path);

        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fsync(fd) < 0)
                return -errno;
        return 0;
}

int mam_file_write_atomic(const char *path, const void *data, size_t size, mode_t mode) {
        char beside[PATH_MAX];
        int r;

        assert(path);
        assert(data || size == 0);

        if ((size_t) snprintf(beside, sizeof(beside), "%s.new~", path) >= sizeof(beside))
                return -ENAMETOOLONG;

        /* What an earlier writer left behind when it was killed; two writers of one path at a time are a
         * caller's error, and the loser gets -EEXIST. */
        if (unlink(beside) < 0 && errno != ENOENT)
                return -errno;

        r = write_synced(beside, data, size, mode);
        if (r < 0) {
                if (r != -EEXIST)
                        (void) unlink(beside);
                return r;
        }
        if (rename(beside, path) < 0) {
                r = -errno;
                (void) unlink(beside);
                return r;
        }
        return sync_folder_of(path);
}
