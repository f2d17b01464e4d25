/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Definitions by their hash
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/config/revision.h"
#include "libmam/obs/log.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "setup/definitions.h"

/* More than this was not made by us. */
#define FILES_MAX 4096U

typedef struct Kept {
        char name[MAM_REVISION_NAME_SIZE];
        struct timespec time;
} Kept;

typedef struct Updater {
        const MamConfig *config;
        const char *dir;
        MamDeploy *deploy; /* owned; NULL: nothing is deployed */
        bool unknown;      /* what is deployed cannot be told: nothing is removed */
} Updater;

static void closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}

static bool is_newer(const struct timespec *a, const struct timespec *b) {
        return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static int newest_first(const void *a, const void *b) {
        const Kept *x = a, *y = b;

        if (is_newer(&x->time, &y->time))
                return -1;
        if (is_newer(&y->time, &x->time))
                return 1;
        return strcmp(x->name, y->name);
}

static bool is_definition_file(const char *file) {
        return strlen(file) == MAM_REVISION_NAME_SIZE - 1 + strlen(".json") &&
               strspn(file, "0123456789abcdef") == MAM_REVISION_NAME_SIZE - 1 &&
               strcmp(file + MAM_REVISION_NAME_SIZE - 1, ".json") == 0;
}

/* The definitions of one service, newest first. */
static int list(Kept **ret, size_t *ret_n, DIR *d) {
        _cleanup_(mam_freep) Kept *kept = NULL;
        struct dirent *e;
        size_t n = 0;

        kept = calloc(FILES_MAX, sizeof(*kept));
        if (!kept)
                return -ENOMEM;
        while (n < FILES_MAX && (e = readdir(d))) {
                struct stat st;

                if (!is_definition_file(e->d_name))
                        continue;
                if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                snprintf(kept[n].name, sizeof(kept[n].name), "%.12s", e->d_name);
                kept[n++].time = st.st_mtim;
        }
        qsort(kept, n, sizeof(*kept), newest_first);
        *ret = MAM_TAKE(kept);
        *ret_n = n;
        return 0;
}

static bool is_deployed(const Updater *u, const char *id, const char *name) {
        const MamDeployService *s = u->deploy ? mam_deploy_find(u->deploy, id) : NULL;

        for (size_t i = 0; s && i < s->n_revisions; i++) {
                if (strcmp(s->revisions[i].definition, name) == 0)
                        return true;
        }
        return false;
}

/* All but the newest most, and those that are deployed. */
static int prune(const Updater *u, DIR *d, const char *id, size_t most) {
        _cleanup_(mam_freep) Kept *kept = NULL;
        size_t n;
        int r;

        if (u->unknown)
                return 0;
        r = list(&kept, &n, d);
        if (r < 0)
                return r;
        for (size_t i = most; i < n; i++) {
                char file[32];

                if (is_deployed(u, id, kept[i].name))
                        continue;
                snprintf(file, sizeof(file), "%s.json", kept[i].name);
                if (unlinkat(dirfd(d), file, 0) < 0)
                        return -errno;
        }
        return 0;
}

/* The file is there and holds text; if it is not the newest, because a configuration of the past came back,
 * it becomes it. */
static int refresh(DIR *d, const char *path, const char *name, const char *text) {
        _cleanup_(mam_freep) char *before = NULL;
        _cleanup_(mam_freep) Kept *kept = NULL;
        size_t n;
        int r;

        r = mam_file_read(&before, NULL, path, MAM_CONFIG_FILE_MAX);
        if (r < 0)
                return r;
        if (strcmp(before, text) != 0)
                return -ESTALE;
        r = list(&kept, &n, d);
        if (r < 0)
                return r;
        if (n > 0 && strcmp(kept[0].name, name) != 0 &&
            utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return 0;
}

static int keep(const Updater *u, const MamServiceConfig *s) {
        _cleanup_(mam_freep) char *text = NULL;
        _cleanup_(closedirp) DIR *d = NULL;
        char folder[PATH_MAX], path[PATH_MAX + 64], name[MAM_REVISION_NAME_SIZE];
        int r;

        r = mam_definition_canonical(&text, s);
        if (r < 0)
                return r;
        r = mam_definition_name(name, s);
        if (r < 0)
                return r;
        snprintf(folder, sizeof(folder), "%s/%s", u->dir, s->id);
        snprintf(path, sizeof(path), "%s/%s.json", folder, name);
        if (mkdir(folder, 0755) == 0) {
                if (chmod(folder, 0755) < 0)
                        return -errno;
        } else if (errno != EEXIST) {
                return -errno;
        }
        d = opendir(folder);
        if (!d)
                return -errno;
        r = refresh(d, path, name, text);
        if (r == -ENOENT || r == -ESTALE || r == -EFBIG) {
                r = mam_file_write_atomic(path, text, strlen(text), 0644);
                rewinddir(d);
        }
        if (r < 0)
                return r;
        rewinddir(d);
        return prune(u, d, s->id, MAM_DEFINITIONS_KEPT);
}

static bool has_error(const MamConfig *c) {
        for (size_t i = 0; i < c->n_problems; i++) {
                if (c->problems[i].level == MAM_PROBLEM_ERROR)
                        return true;
        }
        return false;
}

/* Services that were taken out of a good configuration. */
static int forget_removed(const Updater *u) {
        _cleanup_(closedirp) DIR *top = opendir(u->dir);
        struct dirent *e;
        int r;

        if (!top)
                return -errno;
        while ((e = readdir(top))) {
                _cleanup_(closedirp) DIR *d = NULL;
                char folder[PATH_MAX];

                if (!mam_service_id_is_valid(e->d_name) || mam_config_find(u->config, e->d_name))
                        continue;
                snprintf(folder, sizeof(folder), "%s/%s", u->dir, e->d_name);
                d = opendir(folder);
                if (!d)
                        return -errno;
                r = prune(u, d, e->d_name, 0);
                if (r < 0)
                        return r;
                if (rmdir(folder) < 0 && errno != ENOTEMPTY && errno != EEXIST)
                        return -errno;
        }
        return 0;
}

int definitions_update(const MamConfig *config, const char *dir, const char *deploy_path) {
        _cleanup_(mam_deploy_freep) MamDeploy *deploy = NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        Updater u = { .config = config, .dir = dir };
        int r, result = 0;

        assert(config);
        assert(dir);
        assert(deploy_path);

        r = mam_deploy_load(&deploy, deploy_path, &problem);
        if (r < 0 && r != -ENOENT) {
                mam_warning("%s; no definition is removed", problem ? problem : deploy_path);
                u.unknown = true;
        }
        u.deploy = deploy;

        for (size_t i = 0; i < config->n_services; i++) {
                r = keep(&u, &config->services[i]);
                if (r < 0 && result == 0)
                        result = r;
        }
        if (result < 0 || config->incomplete || has_error(config))
                return result;
        return forget_removed(&u);
}
