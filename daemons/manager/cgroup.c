/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a replica uses
 */

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "manager/cgroup.h"

/* A small file, or the first 1023 bytes of it. */
static int read_file(
                char ret[static 1024],
                const char *root,
                const char *tree,
                const char *path,
                const char *file) {
        _cleanup_(mam_closep) int fd = -EBADF;
        char name[PATH_MAX];
        ssize_t n;
        int k;

        k = snprintf(name, sizeof(name), "%s%s%s/%s", root, tree, path, file);
        if (k < 0 || (size_t) k >= sizeof(name))
                return -ENAMETOOLONG;

        fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, ret, 1023);
        if (n < 0)
                return -errno;

        ret[n] = '\0';
        return 0;
}

static uint64_t read_number(const char *root, const char *tree, const char *path, const char *file) {
        char text[1024] = "";

        if (read_file(text, root, tree, path, file) < 0 || !isdigit((unsigned char) text[0]))
                return CGROUP_UNKNOWN;
        return strtoull(text, NULL, 10);
}

static uint64_t read_cpu(const char *root, const char *tree, const char *path) {
        char text[1024] = "";
        char *p;

        if (read_file(text, root, tree, path, "cpu.stat") < 0)
                return CGROUP_UNKNOWN;
        p = strstr(text, "usage_usec ");
        return p ? strtoull(p + strlen("usage_usec "), NULL, 10) : CGROUP_UNKNOWN;
}

static uint64_t first_known(uint64_t a, uint64_t b) {
        return a != CGROUP_UNKNOWN ? a : b;
}

void cgroup_read(CgroupUsage *ret, const char *root, const char *path) {
        CgroupUsage u;

        assert(ret);
        assert(root);
        assert(path);

        u.cpu_usec = read_cpu(root, "", path);
        if (u.cpu_usec == CGROUP_UNKNOWN)
                u.cpu_usec = read_cpu(root, "/unified", path);

        u.memory_bytes =
                        first_known(read_number(root, "", path, "memory.current"),
                                    read_number(root, "/memory", path, "memory.usage_in_bytes"));
        u.tasks =
                        first_known(read_number(root, "", path, "pids.current"),
                                    read_number(root, "/pids", path, "pids.current"));
        *ret = u;
}
