/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Last good definitions
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "setup/last-good.h"

static int write_if_changed(const char *path, const char *text, size_t size, mode_t mode) {
        _cleanup_(mam_freep) char *before = NULL;
        size_t before_size;
        struct stat st;

        if (mam_file_read(&before, &before_size, path, MAM_CONFIG_FILE_MAX) == 0 && before_size == size &&
            memcmp(before, text, size) == 0 && stat(path, &st) == 0 && (st.st_mode & 07777) == mode)
                return 0;
        return mam_file_write_atomic(path, text, size, mode);
}

static bool has_error(const MamConfig *c, const char *file) {
        for (size_t i = 0; i < c->n_problems; i++) {
                if (c->problems[i].level == MAM_PROBLEM_ERROR &&
                    (!file || strcmp(c->problems[i].file, file) == 0))
                        return true;
        }
        return false;
}

static int keep_settings(const MamConfig *c, const char *config_dir, const char *last_good_dir) {
        _cleanup_(mam_freep) char *text = NULL;
        char from[PATH_MAX], to[PATH_MAX];
        struct stat st;
        size_t size;
        int r;

        snprintf(from, sizeof(from), "%s/microservices.json", config_dir);
        snprintf(to, sizeof(to), "%s/_microservices.json", last_good_dir);
        if (has_error(c, from))
                return 0;
        if (stat(from, &st) < 0)
                return -errno;
        r = mam_file_read(&text, &size, from, MAM_CONFIG_FILE_MAX);
        if (r < 0)
                return r;
        return write_if_changed(to, text, size, st.st_mode & 0644); /* no more readable than the original */
}

static int keep_services(const MamConfig *c, const char *last_good_dir) {
        int r;

        for (size_t i = 0; i < c->n_services; i++) {
                _cleanup_(mam_freep) char *text = NULL;
                char path[PATH_MAX];

                if (c->services[i].last_good)
                        continue;
                r = mam_config_service_to_json(&text, &c->services[i]);
                if (r < 0)
                        return r;
                snprintf(path, sizeof(path), "%s/%s.json", last_good_dir, c->services[i].id);
                r = write_if_changed(path, text, strlen(text), 0644);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}

static int forget_removed(const MamConfig *c, const char *last_good_dir) {
        _cleanup_(closedirp) DIR *d = opendir(last_good_dir);
        struct dirent *e;

        if (!d)
                return -errno;
        while ((e = readdir(d))) {
                size_t n = strlen(e->d_name);
                char id[NAME_MAX + 1];

                if (n <= 5 || strcmp(e->d_name + n - 5, ".json") != 0)
                        continue;
                snprintf(id, sizeof(id), "%.*s", (int) (n - 5), e->d_name);
                if (!mam_service_id_is_valid(id) || mam_config_find(c, id))
                        continue;
                if (unlinkat(dirfd(d), e->d_name, 0) < 0)
                        return -errno;
        }
        return 0;
}

int last_good_update(const MamConfig *config, const char *config_dir, const char *last_good_dir) {
        int r;

        assert(config);

        r = keep_settings(config, config_dir, last_good_dir);
        if (r < 0)
                return r;
        r = keep_services(config, last_good_dir);
        if (r < 0)
                return r;
        return config->incomplete || has_error(config, NULL) ? 0 : forget_removed(config, last_good_dir);
}
