/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration: services come and go with the files
 */

#include <assert.h>
#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "manager/autoscaler.h"
#include "manager/manager.h"

#define GENERATOR_FOLDER "/run/systemd/generator"

MAM_DEFINE_CLEANUP(ConfigRef, config_unref);

static void log_problems(const MamConfig *c, const MamConfig *before) {
        static const int priorities[] = { [MAM_PROBLEM_ERROR] = LOG_ERR,
                                          [MAM_PROBLEM_WARNING] = LOG_WARNING,
                                          [MAM_PROBLEM_NOTICE] = LOG_DEBUG }; /* Init tells them */

        for (size_t i = 0; i < c->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;

                if (mam_config_problem_format(&text, &c->problems[i]) < 0)
                        continue;
                if (before && i < before->n_problems) {
                        _cleanup_(mam_freep) char *old = NULL;

                        if (mam_config_problem_format(&old, &before->problems[i]) >= 0 &&
                            strcmp(old, text) == 0)
                                continue; /* said already */
                }
                mam_log_id(priorities[c->problems[i].level], MAM_MESSAGE_CONFIG_PROBLEM, "%s", text);
        }
}

static bool same_limits(const MamServiceConfig *a, const MamServiceConfig *b) {
        return a->cpu_millis == b->cpu_millis && a->memory_bytes == b->memory_bytes;
}

static int adopt_service(Manager *m, ConfigRef *ref, const MamServiceConfig *c) {
        Service *s = manager_find_service(m, c->id);
        int r;

        if (s) {
                s->dirty |= SERVICE_DIRTY_CONFIG | (same_limits(s->config, c) ? 0 : SERVICE_DIRTY_LIMITS);
                s->config = c;
                config_unref(s->config_ref);
                s->config_ref = config_ref(ref);
                s->configured = true;
                DL_DELETE(m->services, s); /* to its place in the new order */
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX && s->dirty & SERVICE_DIRTY_LIMITS; n++) {
                        if (s->replicas[n])
                                s->replicas[n]->limits_due = service_sets_limits(s);
                }
        } else {
                r = service_new(&s, m, ref, c);
                if (r < 0)
                        return r;
        }
        DL_APPEND(m->services, s);
        if (m->autoscaler)
                autoscaler_note_settings(s);
        return 0;
}

int manager_load_config(Manager *m) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(config_unrefp) ConfigRef *ref = NULL;
        Service *s;
        int r;

        assert(m);

        if (m->config_dir) {
                r = mam_config_load(&c, m->config_dir, m->last_good_dir);
                if (r < 0)
                        return r;
        } else {
                c = calloc(1, sizeof(*c)); /* nothing is configured */
                if (!c)
                        return -ENOMEM;
        }

        log_problems(c, m->config ? m->config->config : NULL);
        r = config_ref_new(&ref, c);
        if (r < 0)
                return r;
        (void) MAM_TAKE(c);

        DL_FOREACH(m->services, s) {
                s->configured = false;
        }
        for (size_t i = 0; i < ref->config->n_services; i++) {
                r = adopt_service(m, ref, &ref->config->services[i]);
                if (r < 0)
                        (void) mam_error_errno(r, "Cannot take in service %s", ref->config->services[i].id);
        }

        config_unref(m->config);
        m->config = MAM_TAKE(ref);
        r = manager_update_gateway(m);
        if (r < 0)
                (void) mam_error_errno(r, "Cannot tell gateways of the configuration");
        if (m->ready) {
                (void) sd_bus_emit_properties_changed(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "ConfigurationProblems",
                                NULL);
        }
        manager_queue_pass(m);
        return 0;
}

static uint64_t mtime(const char *path) {
        struct stat st;

        if (stat(path, &st) < 0)
                return 0;
        return (uint64_t) st.st_mtim.tv_sec * MAM_USEC_PER_SEC + (uint64_t) st.st_mtim.tv_nsec / 1000;
}

static uint64_t newest_in(const char *folder, const char *name, bool inside) {
        uint64_t newest;
        char path[PATH_MAX];
        struct dirent *d;
        DIR *dir;

        snprintf(path, sizeof(path), "%s%s%s", folder, *name ? "/" : "", name);
        newest = mtime(path);
        if (!inside)
                return newest;

        dir = opendir(path);
        while (dir && (d = readdir(dir))) {
                char file[PATH_MAX + NAME_MAX + 2];
                uint64_t t;

                if (d->d_name[0] == '.')
                        continue;
                snprintf(file, sizeof(file), "%s/%s", path, d->d_name);
                t = mtime(file);
                newest = t > newest ? t : newest;
        }
        if (dir)
                closedir(dir);
        return newest;
}

bool manager_needs_daemon_reload(Manager *m) {
        char unit[MAM_UNIT_NAME_MAX], path[PATH_MAX];
        uint64_t files[4], newest = 0, made;

        assert(m);

        files[0] = newest_in(m->config_dir, "microservices.json", false);
        files[1] = newest_in(m->config_dir, "services.json", false);
        files[2] = newest_in(m->config_dir, "services.d", true);
        files[3] = newest_in(m->last_good_dir, "", true);
        for (size_t i = 0; i < MAM_ELEMENTSOF(files); i++)
                newest = files[i] > newest ? files[i] : newest;

        for (size_t i = 0; i < m->config->config->n_services; i++) {
                const char *id = m->config->config->services[i].id;

                if (manager_service_is_external(m, id))
                        continue;
                mam_unit_target(unit, id);
                snprintf(path, sizeof(path), GENERATOR_FOLDER "/%s", unit);
                made = mtime(path);
                if (made == 0 || made < newest)
                        return true;
        }
        return false;
}
