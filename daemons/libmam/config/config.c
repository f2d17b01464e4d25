/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration: the object, its problems and its order
 */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-internal.h"
#include "libmam/util/macro.h"

void mam_config_free_strings(char **list) {
        for (char **s = list; s && *s; s++)
                free(*s);
        free(list);
}

void mam_service_config_done(MamServiceConfig *s) {
        free(s->id);
        free(s->name);
        free(s->listen);
        free(s->health_path);
        mam_config_free_strings(s->dependencies);
        mam_config_free_strings(s->environment);
        mam_config_free_strings(s->exec);
        free(s->user);
        mam_route_list_unref(s->routes);
        free(s->definition);
        free(s->file);
        free(s->program);
        free(s->image);
        free(s->version);
        *s = (MamServiceConfig){ 0 };
}

MamConfig *mam_config_free(MamConfig *c) {
        if (!c)
                return NULL;

        for (size_t i = 0; i < c->n_services; i++)
                mam_service_config_done(&c->services[i]);
        for (size_t i = 0; i < c->n_problems; i++) {
                free(c->problems[i].file);
                free(c->problems[i].key);
                free(c->problems[i].service);
                free(c->problems[i].message);
        }
        free(c->services);
        free(c->problems);
        free(c->namespace);
        free(c->version);
        free(c->environment);
        free(c->registry_url);
        free(c->registry_listen);
        mam_config_free_strings(c->alert_webhooks);
        free(c->registry_token);
        free(c->postgresql_dsn);
        free(c->redis_dsn);
        mam_gateway_config_unref(c->gateway);
        mam_events_config_done(&c->events);
        free(c);
        return NULL;
}

void mam_config_remove_service(MamConfig *c, size_t i) {
        assert(i < c->n_services);

        mam_service_config_done(&c->services[i]);
        c->n_services--;
        memmove(&c->services[i], &c->services[i + 1], (c->n_services - i) * sizeof(c->services[0]));
}

const MamServiceConfig *mam_config_find(const MamConfig *c, const char *id) {
        assert(c);
        assert(id);

        for (size_t i = 0; i < c->n_services; i++) {
                if (strcmp(c->services[i].id, id) == 0)
                        return &c->services[i];
        }
        return NULL;
}

/* Text of a file goes to terminals and logs: no control characters. */
static void disarm(char *text) {
        for (char *c = text; *c; c++) {
                if ((unsigned char) *c < 0x20 || *c == 0x7f)
                        *c = '?';
        }
}

static int add_problem(
                MamConfig *c,
                MamProblemLevel level,
                const char *file,
                unsigned line,
                const char *key,
                const char *service,
                const char *format,
                va_list ap) _printf_(7, 0);
static int add_problem(
                MamConfig *c,
                MamProblemLevel level,
                const char *file,
                unsigned line,
                const char *key,
                const char *service,
                const char *format,
                va_list ap) {
        MamConfigProblem p = { .level = level, .line = line }, *more;

        if (c->n_problems > MAM_CONFIG_PROBLEMS_MAX)
                return 0;

        more = reallocarray(c->problems, c->n_problems + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        c->problems = more;

        if (c->n_problems == MAM_CONFIG_PROBLEMS_MAX) {
                p.level = MAM_PROBLEM_NOTICE;
                p.line = 0;
                p.file = strdup(file);
                p.key = strdup("");
                p.message = strdup("there are more problems than are listed");
        } else {
                p.file = strdup(file);
                p.key = strdup(key);
                p.service = service ? strdup(service) : NULL;
                if (vasprintf(&p.message, format, ap) < 0)
                        p.message = NULL;
        }
        if (!p.file || !p.key || !p.message || (service && !p.service && p.line > 0)) {
                free(p.file);
                free(p.key);
                free(p.service);
                free(p.message);
                return -ENOMEM;
        }
        disarm(p.file);
        disarm(p.key);
        disarm(p.message);
        c->problems[c->n_problems++] = p;
        return 0;
}

int mam_config_add_problem(
                MamConfig *c,
                MamProblemLevel level,
                const char *file,
                unsigned line,
                const char *key,
                const char *service,
                const char *format,
                ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = add_problem(c, level, file, line, key, service, format, ap);
        va_end(ap);
        return r;
}

/* "/api-gateway/resources/cpu" → "api-gateway.resources.cpu" */
static void pointer_to_key(char *pointer) {
        char *to = pointer;

        for (const char *c = pointer; *c; c++) {
                if (*c == '/') {
                        if (c > pointer)
                                *to++ = '.';
                } else if (*c == '~' && (c[1] == '0' || c[1] == '1')) {
                        c++;
                        *to++ = *c == '0' ? '~' : '/';
                } else
                        *to++ = *c;
        }
        *to = '\0';
}

static unsigned line_of(const MamConfigFile *f, const MamJsonError *error) {
        if (!f->text || f->config->n_problems > MAM_CONFIG_PROBLEMS_MAX)
                return 0;
        if (error->offset != SIZE_MAX)
                return mam_json_line_of_offset(f->text, f->size, error->offset);
        return mam_json_locate(f->text, f->size, error->pointer);
}

static int file_problem(const MamConfigFile *f, MamProblemLevel level, const MamJsonError *error) {
        char key[sizeof(error->pointer)];

        memcpy(key, error->pointer, sizeof(key));
        pointer_to_key(key);
        return mam_config_add_problem(
                        f->config,
                        level,
                        f->path,
                        line_of(f, error),
                        key,
                        f->service,
                        "%s",
                        error->message);
}

int mam_config_file_error(const MamConfigFile *f, const MamJsonError *error) {
        return file_problem(f, MAM_PROBLEM_ERROR, error);
}

int mam_config_file_problem(
                const MamConfigFile *f,
                MamProblemLevel level,
                const char *parent,
                const char *key,
                const char *format,
                ...) {
        char message[sizeof(((MamJsonError *) NULL)->message)];
        MamJsonError error;
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        (void) mam_json_fail(&error, parent, key, "%s", message);
        return file_problem(f, level, &error);
}

int mam_config_warn_unknown(
                const MamConfigFile *f,
                json_object *object,
                const char *parent,
                const char *const *known) {
        json_object_object_foreach(object, key, value) {
                const char *nearest;
                bool found = false;
                int r;

                (void) value;
                for (const char *const *k = known; *k && !found; k++)
                        found = strcmp(*k, key) == 0;
                if (found || strncmp(key, "$", 1) == 0 || strncmp(key, "x-", 2) == 0)
                        continue; /* "$schema" for editors, "x-…" for whoever needs a place of their own */

                nearest = mam_config_suggest(key, known);
                if (nearest) {
                        r = mam_config_file_problem(
                                        f,
                                        MAM_PROBLEM_WARNING,
                                        parent,
                                        key,
                                        "unknown key, ignored; did you mean \"%s\"?",
                                        nearest);
                } else {
                        r = mam_config_file_problem(
                                        f,
                                        MAM_PROBLEM_WARNING,
                                        parent,
                                        key,
                                        "unknown key, ignored");
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int mam_config_problem_format(char **ret, const MamConfigProblem *p) {
        char line[16] = "", *text;

        assert(ret);
        assert(p);

        if (p->line > 0)
                snprintf(line, sizeof(line), ":%u", p->line);
        if (asprintf(&text, "%s%s: %s%s%s", p->file, line, p->key, p->key[0] ? ": " : "", p->message) < 0)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int mam_config_service_to_json(char **ret, const MamServiceConfig *s) {
        char *text;

        assert(ret);
        assert(s);

        if (asprintf(&text, "%s\n", s->definition) < 0)
                return -ENOMEM;
        *ret = text;
        return 0;
}

void mam_config_dependency_order(const MamConfig *c, size_t *ret_order) {
        bool done[MAM_CONFIG_SERVICES_MAX] = { false };
        size_t n = 0;

        assert(c);
        assert(ret_order || c->n_services == 0);
        assert(c->n_services <= MAM_CONFIG_SERVICES_MAX);

        while (n < c->n_services) {
                size_t before = n;

                for (size_t i = 0; i < c->n_services; i++) {
                        bool ready = !done[i];

                        for (char **d = c->services[i].dependencies; ready && d && *d; d++) {
                                const MamServiceConfig *on = mam_config_find(c, *d);

                                ready = !on || done[on - c->services];
                        }
                        if (!ready)
                                continue;
                        done[i] = true;
                        ret_order[n++] = i;
                        break; /* back to the front: file order wins where the graph leaves a choice */
                }
                assert(n > before); /* the loader refuses cycles */
        }
}

const char *mam_service_type_to_string(MamServiceType t) {
        static const char *const names[] = {
                [MAM_SERVICE_TYPE_GATEWAY] = "gateway",
                [MAM_SERVICE_TYPE_SERVICE] = "service",
                [MAM_SERVICE_TYPE_INFRASTRUCTURE] = "infrastructure",
        };

        return t >= 0 && t < _MAM_SERVICE_TYPE_MAX ? names[t] : NULL;
}

const char *mam_probe_type_to_string(MamProbeType t) {
        static const char *const names[] = {
                [MAM_PROBE_HTTP] = "http",
                [MAM_PROBE_TCP] = "tcp",
                [MAM_PROBE_POSTGRESQL] = "postgresql",
                [MAM_PROBE_REDIS] = "redis",
        };

        return t >= 0 && t < _MAM_PROBE_TYPE_MAX ? names[t] : NULL;
}

static const char *const scaling_modes[] = {
        [MAM_SCALING_OFF] = "off",
        [MAM_SCALING_RECOMMEND] = "recommend",
        [MAM_SCALING_AUTO] = "auto",
};

const char *mam_scaling_mode_to_string(MamScalingMode m) {
        return m >= 0 && m < _MAM_SCALING_MODE_MAX ? scaling_modes[m] : NULL;
}

MamScalingMode mam_scaling_mode_from_string(const char *s) {
        assert(s);

        for (int m = 0; m < _MAM_SCALING_MODE_MAX; m++) {
                if (strcmp(scaling_modes[m], s) == 0)
                        return (MamScalingMode) m;
        }
        return _MAM_SCALING_MODE_INVALID;
}
