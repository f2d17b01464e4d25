/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-exit: ExecStopPost= of every replica
 *
 * Notes why the replica ended, in its runtime directory. It runs inside the replica's cgroup and sandbox,
 * with the replica's user (but see record_path_as_root()), after the main process is gone, and must be
 * quick: the restart waits for it. It never fails the unit: what it cannot find out is left out.
 */

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/config/config.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "manager/exit/exit-record.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

#define SERVICE_FOLDER "/run/mam/service/"

/* A program with a dynamic user cannot have a runtime directory that the manager may look into. For such a
 * replica systemd runs us as root, with the replica's environment. */
static int record_path_as_root(char *ret, size_t size) {
        const char *id = getenv("MAM_SERVICE"), *number = getenv("MAM_REPLICA");
        int n;

        if (geteuid() != 0 || !id || !number || !mam_service_id_is_valid(id) || *number == '\0' ||
            number[strspn(number, "0123456789")] != '\0')
                return -ENOENT;

        n = snprintf(ret, size, SERVICE_FOLDER "%s:%s", id, number);
        if (n < 0 || (size_t) n + sizeof("/last-exit") > size)
                return -ENAMETOOLONG;
        /* The unit's umask is 0077; the manager must get through. */
        (void) umask(0022);
        if ((mkdir(SERVICE_FOLDER, 0755) < 0 && errno != EEXIST) ||
            (mkdir(ret, 0755) < 0 && errno != EEXIST))
                return -errno;

        snprintf(ret + n, size - (size_t) n, "/last-exit");
        return 0;
}

/* The entry of $RUNTIME_DIRECTORY that is ours. Entries are separated by ':' and our instance names contain
 * one as well. */
static int record_path(char *ret, size_t size) {
        const char *folders = getenv("RUNTIME_DIRECTORY"), *own;
        size_t id, digits;
        int n;

        own = folders ? strstr(folders, SERVICE_FOLDER) : NULL;
        if (!own)
                return record_path_as_root(ret, size);

        id = strspn(own + strlen(SERVICE_FOLDER), "abcdefghijklmnopqrstuvwxyz0123456789-") +
             strlen(SERVICE_FOLDER);
        if (own[id] != ':')
                return -EINVAL;
        digits = strspn(own + id + 1, "0123456789");
        if (digits == 0)
                return -EINVAL;

        n = snprintf(ret, size, "%.*s/last-exit", (int) (id + 1 + digits), own);
        return n > 0 && (size_t) n < size ? 0 : -ENAMETOOLONG;
}

/* "oom_kill 3" in a file of such lines. */
static int read_counter(uint64_t *ret, const char *path) {
        _cleanup_(mam_freep) char *text = NULL;
        char *line, *save = NULL;
        int r;

        r = mam_file_read(&text, NULL, path, 4096);
        if (r < 0)
                return r;

        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (strncmp(line, "oom_kill ", 9) == 0) {
                        *ret = strtoull(line + 9, NULL, 10);
                        return 0;
                }
        }
        return -ENOENT;
}

/* Our own memory cgroup: "9:memory:/a/b" on v1, else "0::/a/b". */
static int own_cgroup(char *ret, size_t size, const char **ret_file) {
        _cleanup_(mam_freep) char *text = NULL;
        const char *path = NULL, *prefix = "";
        char *line, *save = NULL;
        int n, r;

        r = mam_file_read(&text, NULL, "/proc/self/cgroup", 65536);
        if (r < 0)
                return r;

        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *controllers = strchr(line, ':'), *p;

                p = controllers ? strchr(controllers + 1, ':') : NULL;
                if (!p)
                        continue;
                *p++ = '\0';
                if (strcmp(controllers + 1, "memory") == 0) {
                        path = p;
                        prefix = "/memory";
                        break;
                }
                if (!controllers[1])
                        path = p;
        }
        if (!path)
                return -ENOENT;

        n = snprintf(ret, size, CGROUP_ROOT "%s%s", prefix, path);
        if (n < 0 || (size_t) n >= size)
                return -ENAMETOOLONG;
        *ret_file = *prefix ? "memory.oom_control" : "memory.events";
        return 0;
}

static int oom_counter(uint64_t *ret, uint64_t *ret_cgroup) {
        char folder[PATH_MAX], path[PATH_MAX];
        const char *file = NULL;
        struct stat st;
        int n, r;

        r = own_cgroup(folder, sizeof(folder), &file);
        if (r < 0)
                return r;

        n = snprintf(path, sizeof(path), "%s/%s", folder, file);
        if (n < 0 || (size_t) n >= sizeof(path))
                return -ENAMETOOLONG;

        r = read_counter(ret, path);
        if (r < 0)
                return r;
        if (stat(folder, &st) < 0)
                return -errno;
        *ret_cgroup = (uint64_t) st.st_ino & INT64_MAX;
        return 0;
}

int main(int argc, char **argv) {
        ExitRecord last = EXIT_RECORD_INIT, e = EXIT_RECORD_INIT;
        uint64_t counter = 0, before;
        char path[PATH_MAX];

        if (argc != 1) {
                fprintf(stderr, "mam-exit is run by systemd when a replica has ended (ExecStopPost=).\n");
                return EXIT_FAILURE;
        }
        if (record_path(path, sizeof(path)) < 0)
                return EXIT_SUCCESS;

        (void) exit_record_read(&last, path);
        e.oom_kills = last.oom_kills;
        if (oom_counter(&counter, &e.cgroup) >= 0) {
                before = last.cgroup == e.cgroup && last.oom_seen <= counter ? last.oom_seen : 0;
                e.oom_seen = counter;
                e.oom_kills += counter - before;
        }

        exit_record_set_reason(
                        &e,
                        getenv("SERVICE_RESULT"),
                        getenv("EXIT_CODE"),
                        getenv("EXIT_STATUS"),
                        e.oom_kills > last.oom_kills);
        e.time_usec = mam_now_realtime();
        (void) exit_record_write(&e, path);
        return EXIT_SUCCESS;
}
