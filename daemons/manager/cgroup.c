/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a replica uses
 */

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "manager/cgroup.h"

/* memory.stat is the longest of them. */
#define TEXT_MAX 8192

/* Where a file is tried, in this order: the tree of cgroup v2, and the one that has it on v1. */
typedef enum File {
        FILE_CPU,
        FILE_MEMORY,
        FILE_MEMORY_STAT,
        FILE_CPU_PRESSURE,
        _FILE_KEPT, /* those before it are kept open by CgroupFiles */
        FILE_TASKS = _FILE_KEPT,
        FILE_MEMORY_PRESSURE,
        FILE_IO_PRESSURE,
        _FILE_MAX,
} File;

static const struct {
        const char *v2, *tree, *v1;
} files[_FILE_MAX] = {
        [FILE_CPU] = { "cpu.stat", "/unified", "cpu.stat" },
        [FILE_MEMORY] = { "memory.current", "/memory", "memory.usage_in_bytes" },
        [FILE_MEMORY_STAT] = { "memory.stat", "/memory", "memory.stat" },
        [FILE_CPU_PRESSURE] = { "cpu.pressure", "/unified", "cpu.pressure" },
        [FILE_TASKS] = { "pids.current", "/pids", "pids.current" },
        [FILE_MEMORY_PRESSURE] = { "memory.pressure", "/unified", "memory.pressure" },
        [FILE_IO_PRESSURE] = { "io.pressure", "/unified", "io.pressure" },
};

static int open_in(const char *root, const char *tree, const char *path, const char *file) {
        char name[PATH_MAX];
        int k, fd;

        k = snprintf(name, sizeof(name), "%s%s%s/%s", root, tree, path, file);
        if (k < 0 || (size_t) k >= sizeof(name))
                return -ENAMETOOLONG;
        fd = open(name, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int open_file(const char *root, const char *path, File f) {
        int fd = open_in(root, "", path, files[f].v2);

        return fd >= 0 ? fd : open_in(root, files[f].tree, path, files[f].v1);
}

/* From its beginning, whatever was read before. "" if it cannot be read, also because the group is gone. */
static void read_text(char ret[static TEXT_MAX], int fd) {
        ssize_t n = fd < 0 ? -1 : pread(fd, ret, TEXT_MAX - 1, 0);

        ret[n > 0 ? n : 0] = '\0';
}

static uint64_t parse_number(const char *text) {
        return isdigit((unsigned char) text[0]) ? strtoull(text, NULL, 10) : CGROUP_UNKNOWN;
}

/* The number behind a key that begins a line. */
static uint64_t parse_key(const char *text, const char *key) {
        const char *p = text;
        size_t length = strlen(key);

        while (p && *p) {
                if (strncmp(p, key, length) == 0 && p[length] == ' ')
                        return parse_number(p + length + 1);
                p = strchr(p, '\n');
                p = p ? p + 1 : NULL;
        }
        return CGROUP_UNKNOWN;
}

/* "some avg10=0.18 avg60=…" */
static double parse_pressure(const char *text) {
        static const char head[] = "some avg10=";
        char *end;
        double v;

        if (strncmp(text, head, sizeof(head) - 1) != 0)
                return -1;
        v = strtod(text + sizeof(head) - 1, &end);
        return end > text + sizeof(head) - 1 && v >= 0 && v <= 100 ? v : -1;
}

static uint64_t working_set(uint64_t memory, const char *stat) {
        uint64_t cache = parse_key(stat, "total_inactive_file"); /* v1, children included */

        if (cache == CGROUP_UNKNOWN)
                cache = parse_key(stat, "inactive_file");
        if (memory == CGROUP_UNKNOWN || cache == CGROUP_UNKNOWN)
                return memory;
        return memory > cache ? memory - cache : 0;
}

static void read_kept(CgroupUsage *u, const int fds[static _FILE_KEPT]) {
        char text[TEXT_MAX];

        read_text(text, fds[FILE_CPU]);
        u->cpu_usec = parse_key(text, "usage_usec");
        read_text(text, fds[FILE_MEMORY]);
        u->memory_bytes = parse_number(text);
        read_text(text, fds[FILE_MEMORY_STAT]);
        u->working_set_bytes = working_set(u->memory_bytes, text);
        read_text(text, fds[FILE_CPU_PRESSURE]);
        u->cpu_pressure = parse_pressure(text);
}

void cgroup_read(CgroupUsage *ret, const char *root, const char *path) {
        CgroupUsage u = { .tasks = CGROUP_UNKNOWN };
        char text[TEXT_MAX];
        int fds[_FILE_MAX];

        assert(ret);
        assert(root);
        assert(path);

        for (File f = 0; f < _FILE_MAX; f++)
                fds[f] = open_file(root, path, f);
        read_kept(&u, fds);
        read_text(text, fds[FILE_TASKS]);
        u.tasks = parse_number(text);
        read_text(text, fds[FILE_MEMORY_PRESSURE]);
        u.memory_pressure = parse_pressure(text);
        read_text(text, fds[FILE_IO_PRESSURE]);
        u.io_pressure = parse_pressure(text);
        for (File f = 0; f < _FILE_MAX; f++)
                mam_closep(&fds[f]);
        *ret = u;
}

/* ---- kept open ---- */

struct CgroupFiles {
        int fds[_FILE_KEPT]; /* owned; negative: there is no such file */
};

int cgroup_files_new(CgroupFiles **ret, const char *root, const char *path) {
        CgroupFiles *f;

        assert(ret);
        assert(root);
        assert(path);

        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;

        for (File k = 0; k < _FILE_KEPT; k++)
                f->fds[k] = open_file(root, path, k);
        *ret = f;
        return 0;
}

CgroupFiles *cgroup_files_free(CgroupFiles *f) {
        if (!f)
                return NULL;

        for (File k = 0; k < _FILE_KEPT; k++)
                mam_closep(&f->fds[k]);
        free(f);
        return NULL;
}

void cgroup_files_read(CgroupFiles *f, CgroupUsage *ret) {
        CgroupUsage u = { .tasks = CGROUP_UNKNOWN, .memory_pressure = -1, .io_pressure = -1 };

        assert(f);
        assert(ret);

        read_kept(&u, f->fds);
        *ret = u;
}
