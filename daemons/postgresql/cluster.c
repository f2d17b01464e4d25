/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The private cluster on disk
 */

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "postgresql/cluster.h"

extern char **environ;

MAM_DEFINE_CLEANUP(DIR, closedir);

int cluster_init(Cluster *c, const char *state, const char *socket) {
        int n;

        assert(c);
        assert(state);
        assert(socket);

        *c = (Cluster){ .state = state, .socket = socket };
        n = snprintf(c->data, sizeof(c->data) - sizeof("/postgresql.conf"), "%s/data", state);
        if (n < 0 || (size_t) n >= sizeof(c->data) - sizeof("/postgresql.conf"))
                return -ENAMETOOLONG;

        return 0;
}

unsigned cluster_parse_version(const char *text) {
        const char *close = strchr(text, ')');
        const char *digits = close ? close + 1 : text;

        while (*digits && !isdigit((unsigned char) *digits))
                digits++;

        return (unsigned) strtoul(digits, NULL, 10);
}

/* Runs "<program> --version"; 0 if it cannot be run. */
static unsigned version_of(const char *program) {
        char command[4200], line[256] = "";
        FILE *f;

        if (access(program, X_OK) < 0)
                return 0;
        if (snprintf(command, sizeof(command), "'%s' --version", program) >= (int) sizeof(command))
                return 0;
        f = popen(command, "re");
        if (!f)
                return 0;
        if (!fgets(line, sizeof(line), f))
                line[0] = '\0';
        (void) pclose(f);

        return cluster_parse_version(line);
}

/* Finds the folder of the wanted major version, or of the newest if wanted is 0. installed: what there is,
 * for the message. */
static int find_bin(Cluster *c, unsigned wanted, char *installed, size_t size) {
        /* Debian, PGDG's rpms, Fedora */
        static const char *const patterns[] = { "/usr/lib/postgresql/*/bin",
                                                "/usr/pgsql-*/bin",
                                                "/usr/bin" };
        glob_t found = { 0 };

        installed[0] = '\0';
        c->version = 0;
        for (size_t i = 0; i < MAM_ELEMENTSOF(patterns); i++)
                (void) glob(patterns[i], i > 0 ? GLOB_APPEND : 0, NULL, &found);

        for (size_t i = 0; i < found.gl_pathc; i++) {
                char program[4096 + 16];
                unsigned version;
                size_t used = strlen(installed);

                (void) snprintf(program, sizeof(program), "%s/postgres", found.gl_pathv[i]);
                version = version_of(program);
                if (version == 0)
                        continue;
                (void) snprintf(installed + used, size - used, "%s%u", used > 0 ? ", " : "", version);
                if ((wanted > 0 && version != wanted) || version <= c->version)
                        continue;
                c->version = version;
                (void) snprintf(c->bin, sizeof(c->bin), "%s", found.gl_pathv[i]);
        }

        globfree(&found);
        return c->version > 0 ? 0 : -ENOENT;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int fsync_folder(const char *path) {
        _cleanup_(mam_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || fsync(fd) < 0)
                return -errno;

        return 0;
}

static int run(char *const *argv) {
        int status, r;
        pid_t pid;

        r = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
        if (r != 0)
                return -r;
        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return -errno;
        }

        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int cluster_create(const Cluster *c, char *why, size_t why_size) {
        char initdb[4096 + 16], fresh[4096 + 16];
        char *const argv[] = {
                initdb,
                (char *) "--pgdata",
                fresh,
                (char *) "--username=postgres",
                (char *) "--auth-local=peer",
                (char *) "--auth-host=reject",
                (char *) "--data-checksums",
                (char *) "--encoding=UTF8",
                (char *) "--locale=C.UTF-8",
                (char *) "--no-instructions",
                NULL,
        };
        int r;

        (void) snprintf(initdb, sizeof(initdb), "%s/initdb", c->bin);
        (void) snprintf(fresh, sizeof(fresh), "%s.new", c->data);

        /* what an interrupted attempt left */
        if (nftw(fresh, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT) {
                r = -errno;
                (void) snprintf(why, why_size, "cannot remove %s: %s", fresh, strerror(-r));
                return r;
        }

        r = run(argv);
        if (r < 0) {
                (void) snprintf(why, why_size, "initdb of PostgreSQL %u failed", c->version);
                return r;
        }

        if (rename(fresh, c->data) < 0)
                r = -errno;
        if (r >= 0)
                r = fsync_folder(c->state);
        if (r < 0)
                (void) snprintf(why, why_size, "cannot put %s in place: %s", c->data, strerror(-r));
        return r;
}

/* 1: the folder is missing or empty. */
static int is_vacant(const char *path) {
        _cleanup_(closedirp) DIR *d = opendir(path);
        const struct dirent *entry;

        if (!d)
                return errno == ENOENT ? 1 : -errno;
        while ((entry = readdir(d))) {
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        return 0;
        }

        return 1;
}

int cluster_prepare(Cluster *c, char *why, size_t why_size) {
        char path[4096 + 16], installed[256];
        _cleanup_(mam_freep) char *text = NULL;
        unsigned version;
        int r;

        assert(c);
        assert(why);

        (void) snprintf(path, sizeof(path), "%s/PG_VERSION", c->data);
        r = mam_file_read(&text, NULL, path, 64);
        if (r == -ENOENT) {
                r = is_vacant(c->data);
                if (r <= 0) {
                        (void) snprintf(why, why_size, "%s is not empty, yet no cluster", c->data);
                        return r < 0 ? r : -ENOTEMPTY;
                }
                r = find_bin(c, 0, installed, sizeof(installed));
                if (r < 0) {
                        (void) snprintf(why, why_size, "no PostgreSQL server is installed");
                        return r;
                }
                return cluster_create(c, why, why_size);
        }
        if (r < 0) {
                (void) snprintf(why, why_size, "cannot read %s: %s", path, strerror(-r));
                return r;
        }

        version = cluster_parse_version(text);
        r = find_bin(c, version, installed, sizeof(installed));
        if (r < 0) {
                (void) snprintf(why,
                                why_size,
                                "the cluster in %s is of PostgreSQL %u, installed is %s: install version %u, or "
                                "upgrade the cluster with pg_upgrade",
                                c->data,
                                version,
                                installed[0] ? installed : "none",
                                version);
                return -EPROTO;
        }

        return 0;
}
