/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which programs and images may be run
 *
 * The manager is not root and names paths that the generator, which is, puts into units. So a path counts
 * only if nobody but root can decide what is found there: every folder, every symbolic link on the way and
 * the file itself belong to root and are writable by no one else. As only root could change any of it, there
 * is no race between this check and systemd's use.
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/config/revision-internal.h"

#define LINKS_MAX 40U

/* Where the walk has come to, and what is still to be walked. */
typedef struct Walk {
        const char *root;
        uid_t owner;
        char at[PATH_MAX]; /* below root; "" is root itself */
        char rest[PATH_MAX];
        unsigned links;
        char **problem;
} Walk;

bool mam_revision_path_is_clean(const char *path) {
        size_t n = strlen(path);

        if (path[0] != '/' || n < 2 || n >= PATH_MAX / 4 || path[n - 1] == '/' || strstr(path, "//"))
                return false;
        for (const char *c = path; *c; c++) {
                if ((unsigned char) *c <= 0x20 || *c == 0x7f || strchr("\"'\\$%:;", *c))
                        return false;
                if (c[0] == '/' && c[1] == '.' &&
                    (c[2] == '/' || c[2] == '\0' || (c[2] == '.' && (c[3] == '/' || c[3] == '\0'))))
                        return false;
        }
        return true;
}

int mam_revision_problem(char **ret, int error, const char *format, ...) {
        char *text;
        va_list ap;
        int r;

        if (!ret)
                return error;
        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        free(*ret);
        *ret = text;
        return error;
}

/* The first component of rest into name; false: there is none left. */
static bool next_component(Walk *w, char name[static NAME_MAX + 1], int *ret_error) {
        const char *start = w->rest + strspn(w->rest, "/");
        size_t n = strcspn(start, "/");

        *ret_error = n > NAME_MAX ? -ENAMETOOLONG : 0;
        if (n == 0 || n > NAME_MAX)
                return false;
        memcpy(name, start, n);
        name[n] = '\0';
        memmove(w->rest, start + n, strlen(start + n) + 1);
        return true;
}

static int follow(Walk *w, const char *full) {
        char target[PATH_MAX], joined[2 * PATH_MAX];
        ssize_t n;

        if (++w->links > LINKS_MAX)
                return mam_revision_problem(w->problem, -ELOOP, "'%s': too many symbolic links", full);
        n = readlink(full, target, sizeof(target) - 1);
        if (n < 0)
                return mam_revision_problem(w->problem, -errno, "'%s': %s", full, strerror(errno));
        target[n] = '\0';
        if ((size_t) snprintf(joined, sizeof(joined), "%s/%s", target, w->rest) >= sizeof(w->rest))
                return mam_revision_problem(w->problem, -ENAMETOOLONG, "'%s': is too long", full);
        memcpy(w->rest, joined, strlen(joined) + 1);
        if (target[0] == '/')
                w->at[0] = '\0';
        return 0;
}

static int step(Walk *w, const char *name, struct stat *st) {
        char next[2 * PATH_MAX], full[3 * PATH_MAX];

        if (strcmp(name, ".") == 0)
                return 0;
        if (strcmp(name, "..") == 0) {
                char *slash = strrchr(w->at, '/');

                if (slash)
                        *slash = '\0';
                return 0;
        }
        if ((size_t) snprintf(next, sizeof(next), "%s/%s", w->at, name) >= sizeof(w->at))
                return mam_revision_problem(w->problem, -ENAMETOOLONG, "'%s': is too long", w->at);
        snprintf(full, sizeof(full), "%s%s", w->root, next);
        if (lstat(full, st) < 0)
                return mam_revision_problem(w->problem, -errno, "'%s': %s", full, strerror(errno));
        if (st->st_uid != w->owner)
                return mam_revision_problem(w->problem, -EPERM, "'%s' does not belong to root", full);
        if (S_ISLNK(st->st_mode))
                return follow(w, full);
        if (st->st_mode & (S_IWGRP | S_IWOTH)) /* with an ACL the group's bits are its mask */
                return mam_revision_problem(
                                w->problem,
                                -EPERM,
                                "'%s' can be written by others than root",
                                full);
        memcpy(w->at, next, strlen(next) + 1);
        return 0;
}

int mam_revision_check_path_in(
                const char *root,
                uid_t owner,
                const char *path,
                bool folder,
                char **ret_problem) {
        Walk w = { .root = root, .owner = owner, .problem = ret_problem };
        char name[NAME_MAX + 1], full[2 * PATH_MAX];
        struct stat st;
        int r, error;

        assert(root);
        assert(path);

        if (!mam_revision_path_is_clean(path)) {
                return mam_revision_problem(
                                ret_problem,
                                -EINVAL,
                                "'%s' must be an absolute path without \"..\", spaces, quotes and any of $ %% : ; \\",
                                path);
        }
        snprintf(w.rest, sizeof(w.rest), "%s", path);

        while (next_component(&w, name, &error)) {
                r = step(&w, name, &st);
                if (r < 0)
                        return r;
        }
        if (error < 0)
                return mam_revision_problem(ret_problem, error, "'%s': %s", path, strerror(-error));
        snprintf(full, sizeof(full), "%s%s", root, w.at[0] ? w.at : "/");
        if (stat(full, &st) < 0)
                return mam_revision_problem(ret_problem, -errno, "'%s': %s", full, strerror(errno));
        if (folder && !S_ISDIR(st.st_mode))
                return mam_revision_problem(ret_problem, -EACCES, "'%s' is not a folder", path);
        if (!folder && (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)))
                return mam_revision_problem(ret_problem, -EACCES, "'%s%s' is not a program", root, path);
        return 0;
}

int mam_revision_check_path(const char *path, bool folder, char **ret_problem) {
        return mam_revision_check_path_in("", 0, path, folder, ret_problem);
}
