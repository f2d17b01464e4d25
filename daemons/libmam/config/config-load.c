/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From files to a MamConfig
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libmam/config/config-internal.h"
#include "libmam/util/file.h"

/* The last good microservices.json; the name cannot be that of a service. */
#define LAST_GOOD_SETTINGS "_microservices.json"

typedef struct Loader {
        MamConfig *config;
        const char *last_good_dir; /* borrowed, or NULL */
} Loader;

static int config_new(MamConfig **ret) {
        _cleanup_(mam_config_freep) MamConfig *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->services = calloc(MAM_CONFIG_SERVICES_MAX, sizeof(*c->services));
        c->namespace = strdup("");
        c->version = strdup("");
        c->environment = strdup("production");
        c->registry_listen = strdup(MAM_REGISTRY_LISTEN_DEFAULT);
        c->alert_webhooks = calloc(1, sizeof(char *));
        if (!c->services || !c->namespace || !c->version || !c->environment || !c->registry_listen ||
            !c->alert_webhooks)
                return -ENOMEM;
        r = mam_gateway_config_new(&c->gateway);
        if (r < 0)
                return r;
        c->min_replicas = 1;
        c->max_replicas = 10;
        c->target_cpu_percent = 70;
        c->target_memory_percent = 80;
        c->scaling_enabled = true;

        *ret = MAM_TAKE(c);
        return 0;
}

/* Reads and parses one file. 1: *root and f->text (owned by *text) are there; 0: reported, or absent where
 * that is fine; -ENOMEM. */
static int read_file(MamConfigFile *f, char **text, json_object **root, bool required) {
        MamJsonError error;
        int r;

        r = mam_file_read(text, &f->size, f->path, MAM_CONFIG_FILE_MAX);
        if (r == -ENOENT && !required)
                return 0;
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                r = mam_config_add_problem(
                                f->config,
                                MAM_PROBLEM_ERROR,
                                f->path,
                                0,
                                "",
                                NULL,
                                r == -EFBIG ? "is larger than 1 MiB" : "cannot be read: %s",
                                strerror(-r));
                return r < 0 ? r : 0;
        }

        f->text = *text;
        r = mam_json_parse(root, *text, f->size, &error);
        if (r == -EBADMSG) {
                r = mam_config_file_error(f, &error);
                return r < 0 ? r : 0;
        }
        return r < 0 ? r : 1;
}

/* microservices.json; with an error in it the last good one stands as a whole, as half of either would be a
 * third thing that nobody wrote. */
static int load_settings(Loader *l, const char *dir) {
        _cleanup_(json_object_putp) json_object *root = NULL, *good = NULL;
        _cleanup_(mam_config_freep) MamConfig *fallback = NULL;
        _cleanup_(mam_freep) char *text = NULL, *good_text = NULL;
        char path[PATH_MAX], good_path[PATH_MAX];
        MamConfigFile f = { .config = l->config, .path = path }, g = { .path = good_path };
        int r;

        snprintf(path, sizeof(path), "%s/microservices.json", dir);
        r = read_file(&f, &text, &root, true);
        if (r < 0)
                return r;
        if (r > 0) {
                r = mam_config_read_settings(&f, root);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < l->config->n_problems; i++) {
                if (l->config->problems[i].level == MAM_PROBLEM_ERROR)
                        l->config->incomplete = true;
        }
        if (!l->config->incomplete || !l->last_good_dir)
                return 0;

        r = config_new(&fallback);
        if (r < 0)
                return r;
        snprintf(good_path, sizeof(good_path), "%s/" LAST_GOOD_SETTINGS, l->last_good_dir);
        g.config = fallback;
        r = read_file(&g, &good_text, &good, true);
        if (r <= 0)
                return r;
        r = mam_config_read_settings(&g, good);
        if (r < 0)
                return r;
        for (size_t i = 0; i < fallback->n_problems; i++) {
                if (fallback->problems[i].level == MAM_PROBLEM_ERROR)
                        return 0;
        }

        r = mam_config_add_problem(
                        l->config,
                        MAM_PROBLEM_NOTICE,
                        path,
                        0,
                        "",
                        NULL,
                        "its last good content stands until that is mended");
        if (r < 0)
                return r;
        fallback->incomplete = true;
        for (size_t i = 0; i < fallback->n_problems; i++) {
                free(fallback->problems[i].file);
                free(fallback->problems[i].key);
                free(fallback->problems[i].service);
                free(fallback->problems[i].message);
        }
        free(fallback->problems);
        fallback->problems = MAM_TAKE(l->config->problems);
        fallback->n_problems = l->config->n_problems;
        l->config->n_problems = 0;
        mam_config_free(l->config);
        l->config = MAM_TAKE(fallback);
        return 0;
}

int mam_config_read_last_good(
                MamServiceConfig *ret,
                const MamConfig *settings,
                const char *dir,
                const char *id) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_config_freep) MamConfig *scratch = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        json_object *object;
        char path[PATH_MAX];
        MamConfigFile f = { .path = path, .service = id };
        MamServiceConfig s;
        int r;

        r = config_new(&scratch);
        if (r < 0)
                return r;
        scratch->min_replicas = settings->min_replicas;
        scratch->max_replicas = settings->max_replicas;
        scratch->target_cpu_percent = settings->target_cpu_percent;
        scratch->target_memory_percent = settings->target_memory_percent;
        scratch->scaling_enabled = settings->scaling_enabled;
        scratch->horizontal = settings->horizontal;
        scratch->vertical = settings->vertical;
        f.config = scratch;

        snprintf(path, sizeof(path), "%s/%s.json", dir, id);
        r = read_file(&f, &text, &root, true);
        if (r <= 0)
                return r;
        if (!json_object_object_get_ex(root, id, &object))
                return 0;
        r = mam_config_read_service(&s, &f, id, object);
        if (r <= 0)
                return r;
        s.last_good = true;
        *ret = s;
        return 1;
}

/* Where the definition of id is to go: its earlier place, or a new one at the end. NULL: no room. */
static MamServiceConfig *slot_for(MamConfig *c, const char *id, bool *ret_replaces) {
        for (size_t i = 0; i < c->n_services; i++) {
                if (strcmp(c->services[i].id, id) == 0) {
                        *ret_replaces = true;
                        return &c->services[i];
                }
        }
        *ret_replaces = false;
        return c->n_services < MAM_CONFIG_SERVICES_MAX ? &c->services[c->n_services] : NULL;
}

static int add_definition(Loader *l, MamConfigFile *f, const char *id, json_object *object) {
        MamConfig *c = l->config;
        MamServiceConfig s = { 0 }, *slot;
        bool replaces;
        int r;

        f->service = id;
        slot = slot_for(c, id, &replaces);
        if (!slot) {
                return mam_config_file_problem(
                                f,
                                MAM_PROBLEM_ERROR,
                                "",
                                id,
                                "there must not be more than %u services",
                                MAM_CONFIG_SERVICES_MAX);
        }
        if (replaces) {
                r = mam_config_file_problem(
                                f,
                                MAM_PROBLEM_WARNING,
                                "",
                                id,
                                "replaces the definition in %s:%u",
                                slot->file,
                                slot->line);
                if (r < 0)
                        return r;
        }

        r = mam_config_read_service(&s, f, id, object);
        if (r == 0 && l->last_good_dir) {
                r = mam_config_read_last_good(&s, c, l->last_good_dir, id);
                if (r > 0 && mam_config_file_problem(
                                             f,
                                             MAM_PROBLEM_NOTICE,
                                             "",
                                             id,
                                             "its last good definition stands until that is mended") < 0) {
                        mam_service_config_done(&s);
                        return -ENOMEM;
                }
        }
        if (r < 0)
                return r;
        if (r == 0) {
                /* The earlier definition was meant to be replaced: it does not come back. */
                if (replaces)
                        mam_config_remove_service(c, (size_t) (slot - c->services));
                return 0;
        }
        if (replaces) {
                mam_service_config_done(slot);
        } else {
                c->n_services++;
        }
        *slot = s;
        return 0;
}

static int add_definitions(Loader *l, MamConfigFile *f, json_object *root) {
        int r;

        if (!json_object_is_type(root, json_type_object)) {
                l->config->incomplete = true;
                return mam_config_file_problem(
                                f,
                                MAM_PROBLEM_ERROR,
                                "",
                                NULL,
                                "must be an object of services");
        }

        json_object_object_foreach(root, id, object) {
                if (id[0] == '$' || strncmp(id, "x-", 2) == 0)
                        continue;
                f->service = NULL;
                if (!mam_service_id_is_valid(id)) {
                        r = mam_config_file_problem(
                                        f,
                                        MAM_PROBLEM_ERROR,
                                        "",
                                        id,
                                        "must be a lower-case letter followed by up to 30 letters, digits and '-', and not "
                                        "\"manager\", \"setup\", \"registry\" or \"alerts\"");
                } else {
                        r = add_definition(l, f, id, object);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int load_services_file(Loader *l, const char *path, bool required) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        MamConfigFile f = { .config = l->config, .path = path };
        size_t before = l->config->n_problems;
        int r;

        r = read_file(&f, &text, &root, required);
        if (r < 0)
                return r;
        if (r == 0) {
                l->config->incomplete = l->config->incomplete || l->config->n_problems > before;
                return 0;
        }
        return add_definitions(l, &f, root);
}

static int is_definition(const struct dirent *e) {
        size_t n = strlen(e->d_name);

        return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

/* Byte order, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_services_d(Loader *l, const char *dir) {
        struct dirent **entries = NULL;
        char folder[PATH_MAX], path[PATH_MAX + 256];
        int n, r = 0;

        snprintf(folder, sizeof(folder), "%s/services.d", dir);
        n = scandir(folder, &entries, is_definition, by_name);
        if (n < 0) {
                if (errno == ENOENT)
                        return 0;
                if (errno == ENOMEM)
                        return -ENOMEM;
                l->config->incomplete = true;
                return mam_config_add_problem(
                                l->config,
                                MAM_PROBLEM_ERROR,
                                folder,
                                0,
                                "",
                                NULL,
                                "cannot be read: %s",
                                strerror(errno));
        }
        for (int i = 0; i < n; i++) {
                snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
                if (r == 0)
                        r = load_services_file(l, path, true);
                free(entries[i]);
        }
        free(entries);
        return r;
}

/* A file that cannot be read as a whole takes no service with it that was good before. */
static int add_missing(Loader *l) {
        struct dirent **entries = NULL;
        int n, r = 0;

        if (!l->config->incomplete || !l->last_good_dir)
                return 0;
        n = scandir(l->last_good_dir, &entries, is_definition, by_name);
        if (n < 0)
                return errno == ENOMEM ? -ENOMEM : 0;

        for (int i = 0; i < n; i++) {
                MamConfig *c = l->config;
                MamServiceConfig s;
                char *id = entries[i]->d_name;

                id[strlen(id) - 5] = '\0';
                if (r == 0 && mam_service_id_is_valid(id) && !mam_config_find(c, id) &&
                    c->n_services < MAM_CONFIG_SERVICES_MAX) {
                        r = mam_config_read_last_good(&s, c, l->last_good_dir, id);
                        if (r > 0) {
                                c->services[c->n_services++] = s;
                                r = 0;
                        }
                }
                free(entries[i]);
        }
        free(entries);
        return r;
}

static int load(Loader *l, const char *dir) {
        char path[PATH_MAX];
        bool settings_incomplete;
        int r;

        r = load_settings(l, dir);
        if (r < 0)
                return r;
        settings_incomplete = l->config->incomplete;

        l->config->incomplete = false;
        snprintf(path, sizeof(path), "%s/services.json", dir);
        r = load_services_file(l, path, true);
        if (r < 0)
                return r;
        r = load_services_d(l, dir);
        if (r < 0)
                return r;
        r = add_missing(l);
        if (r < 0)
                return r;
        l->config->incomplete = l->config->incomplete || settings_incomplete;
        return mam_config_check_graph(l->config, l->last_good_dir);
}

int mam_config_load(MamConfig **ret, const char *dir, const char *last_good_dir) {
        Loader l = { .last_good_dir = last_good_dir };
        int r;

        assert(ret);
        assert(dir);

        if (strlen(dir) > PATH_MAX / 2 || (last_good_dir && strlen(last_good_dir) > PATH_MAX / 2))
                return -ENAMETOOLONG;
        if (access(dir, R_OK | X_OK) < 0)
                return -errno;
        r = config_new(&l.config);
        if (r < 0)
                return r;
        r = load(&l, dir);
        if (r < 0) {
                mam_config_free(l.config);
                return r;
        }
        *ret = l.config;
        return 0;
}

int mam_config_load_text(MamConfig **ret, const char *text, size_t size) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(json_object_putp) json_object *root = NULL;
        MamJsonError error;
        MamConfigFile f = { .path = "", .text = text, .size = size };
        Loader l = { 0 };
        int r;

        assert(ret);

        r = config_new(&c);
        if (r < 0)
                return r;
        f.config = l.config = c;
        r = mam_json_parse(&root, text, size, &error);
        if (r == -EBADMSG) {
                r = mam_config_file_error(&f, &error);
        } else if (r == 0) {
                r = add_definitions(&l, &f, root);
        }
        if (r == 0)
                r = mam_config_check_graph(c, NULL);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(c);
        return 0;
}
