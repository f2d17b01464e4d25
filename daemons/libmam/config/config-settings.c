/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * microservices.json: what holds for the suite as a whole
 *
 * A wrong value is reported and its default stands. A setting that mam does not act on is reported as a
 * notice, never silently ignored.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-gateway.h"

#define CREDENTIAL_PREFIX "credential:"
#define WEBHOOK_SIZE_MAX  2048U

typedef struct Section {
        const char *name;
        const char *const *known;
} Section;

static const char *const registry_keys[] = { "enabled", "url", "auth", "token", NULL };
static const char *const networking_keys[] = { "enabled", "serviceMesh", "loadBalancer", "dns", NULL };
static const char *const monitoring_keys[] = {
        "enabled", "prometheus", "grafana", "jaeger", "elasticsearch", "alertWebhooks", NULL,
};
static const char *const security_keys[] = { "enabled", "tls", "rbac", "networkPolicies", "secrets", NULL };
static const char *const scaling_keys[] = {
        "enabled", "hpa", "vpa", "minReplicas", "maxReplicas", "targetCPU", "targetMemory", NULL,
};
static const char *const external_keys[] = { "postgresql", "redis", NULL };

static const Section sections[] = {
        { "registry", registry_keys }, { "networking", networking_keys }, { "monitoring", monitoring_keys },
        { "security", security_keys }, { "scaling", scaling_keys },       { "external", external_keys },
};

/* What is asked for and not done. Sections and keys absent here are acted on. */
static const struct {
        const char *section, *key, *message;
} not_yet[] = {
        { "networking", "serviceMesh", "mam does not act on this yet: services meet over local sockets" },
        { "networking",
          "loadBalancer",
          "mam does not act on this: its own gateway balances; mamctl export nginx makes a configuration for an nginx in front" },
        { "networking", "dns", "only mam's registry answers DNS: \"consul\", with registry.enabled" },
        { "monitoring",
          "prometheus",
          "each replica serves /metrics; only with registry.enabled does Prometheus find them all in one place" },
        { "monitoring", "grafana", "mam does not act on this yet: it brings no dashboards" },
        { "monitoring", "jaeger", "mam does not act on this: gateway.tracing.endpoint says where spans go" },
        { "monitoring", "elasticsearch", "mam does not act on this: logs are in the journal" },
};

typedef struct Reader {
        MamConfigFile *file;
        MamConfig *c;
        int r;
} Reader;

static void note(Reader *rd, int r) {
        if (r < 0 && rd->r == 0)
                rd->r = r;
}

static void check(Reader *rd, int r, const MamJsonError *error) {
        if (r == -EBADMSG)
                note(rd, mam_config_file_error(rd->file, error));
}

static void report(
                Reader *rd,
                MamProblemLevel level,
                const char *parent,
                const char *key,
                const char *message) {
        note(rd, mam_config_file_problem(rd->file, level, parent, key, "%s", message));
}

static bool has_control(const char *text) {
        for (const char *c = text; *c; c++) {
                if ((unsigned char) *c < 0x20 || *c == 0x7f)
                        return true;
        }
        return false;
}

static bool get_text(Reader *rd, json_object *o, const char *parent, const char *key, const char **ret) {
        MamJsonError error;
        const char *text;
        int r;

        r = mam_json_get_string(o, parent, key, &text, &error);
        check(rd, r, &error);
        if (r <= 0)
                return false;
        if (strlen(text) > 4096 || has_control(text)) {
                report(rd,
                       MAM_PROBLEM_ERROR,
                       parent,
                       key,
                       "must be at most 4096 bytes without control characters");
                return false;
        }
        *ret = text;
        return true;
}

static void copy(Reader *rd, char **to, const char *text) {
        char *s = strdup(text);

        if (!s)
                note(rd, -ENOMEM);
        free(*to);
        *to = s;
}

static json_object *section(Reader *rd, json_object *root, const Section *s) {
        json_object *o = NULL;
        MamJsonError error;
        char parent[32];
        int r;

        r = mam_json_get_object(root, "", s->name, &o, &error);
        check(rd, r, &error);
        if (r <= 0)
                return NULL;
        snprintf(parent, sizeof(parent), "/%s", s->name);
        note(rd, mam_config_warn_unknown(rd->file, o, parent, s->known));
        return o;
}

/* Asked for: true, or a text such as "nginx"; not false, "", "none". */
static bool is_asked_for(json_object *o, const char *key) {
        json_object *v;
        const char *text;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return false;
        if (!json_object_is_type(v, json_type_string))
                return json_object_get_boolean(v);
        text = json_object_get_string(v);
        return text[0] != '\0' && strcmp(text, "none") != 0;
}

static bool is_done_by_registry(Reader *rd, json_object *o, const char *key) {
        json_object *v;

        if (!rd->c->registry_enabled)
                return false;
        if (strcmp(key, "dns") == 0)
                return json_object_object_get_ex(o, key, &v) &&
                       strcmp(json_object_get_string(v), "consul") == 0;
        return strcmp(key, "prometheus") == 0;
}

static void report_not_yet(Reader *rd, const char *name, json_object *o) {
        json_object *enabled;
        char parent[32];

        /* A section that is switched off asks for nothing. */
        if (json_object_object_get_ex(o, "enabled", &enabled) &&
            json_object_is_type(enabled, json_type_boolean) && !json_object_get_boolean(enabled))
                return;

        snprintf(parent, sizeof(parent), "/%s", name);
        for (size_t i = 0; i < MAM_ELEMENTSOF(not_yet); i++) {
                if (strcmp(not_yet[i].section, name) == 0 && is_asked_for(o, not_yet[i].key) &&
                    !is_done_by_registry(rd, o, not_yet[i].key))
                        report(rd, MAM_PROBLEM_NOTICE, parent, not_yet[i].key, not_yet[i].message);
        }
}

static void read_switches(Reader *rd, const char *name, json_object *o, const char *const *known) {
        static const char *const texts[] = { "url",         "token",       "loadBalancer", "dns",
                                             "minReplicas", "maxReplicas", "targetCPU",    "targetMemory",
                                             "hpa",         "vpa",         "alertWebhooks" };
        char parent[32];

        snprintf(parent, sizeof(parent), "/%s", name);
        for (; *known; known++) {
                MamJsonError error;
                bool is_switch = true, value;

                for (size_t i = 0; i < MAM_ELEMENTSOF(texts); i++) {
                        if (strcmp(texts[i], *known) == 0)
                                is_switch = false;
                }
                if (is_switch)
                        check(rd, mam_json_get_bool(o, parent, *known, &value, &error), &error);
        }
}

/* Port 80 of the scheme would be a surprise: without a port it is the registry's own. */
static bool listen_of_url(const char *url, char ret[static 80]) {
        unsigned char address[sizeof(struct in6_addr)];
        char host[64], inner[64];
        unsigned long port = 5000;
        const char *rest, *end;
        size_t n;

        if (strncmp(url, "http://", 7) != 0)
                return false;
        rest = url + 7;
        n = rest[0] == '[' ? strcspn(rest, "]") + 1 : strcspn(rest, ":/");
        if (n < 1 || n >= sizeof(host))
                return false;
        memcpy(host, rest, n);
        host[n] = '\0';
        end = rest + n;
        if (*end == ':') {
                char *after;

                if (end[1] < '1' || end[1] > '9')
                        return false;
                port = strtoul(end + 1, &after, 10);
                end = after;
        }
        if (port > UINT16_MAX || (*end != '\0' && strcmp(end, "/") != 0))
                return false;

        if (host[0] == '[') {
                memcpy(inner, host + 1, n - 2);
                inner[n - 2] = '\0';
                if (host[n - 1] != ']' || inet_pton(AF_INET6, inner, address) != 1)
                        return false;
        } else if (strcmp(host, "localhost") == 0) {
                snprintf(host, sizeof(host), "127.0.0.1");
        } else if (inet_pton(AF_INET, host, address) != 1) {
                return false;
        }
        snprintf(ret, 80, "%s:%lu", host, port);
        return true;
}

static void read_registry_url(Reader *rd, const char *url) {
        char listen[80];

        if (!listen_of_url(url, listen)) {
                report(rd,
                       MAM_PROBLEM_ERROR,
                       "/registry",
                       "url",
                       "must be \"http://ADDRESS:PORT\" with localhost or an address of this machine: there the registry "
                       "listens");
                return;
        }
        copy(rd, &rd->c->registry_listen, listen);
}

static void read_registry(Reader *rd, json_object *o) {
        MamJsonError error;
        const char *text;

        /* wrong types are reported by read_switches() */
        (void) mam_json_get_bool(o, "/registry", "enabled", &rd->c->registry_enabled, &error);
        (void) mam_json_get_bool(o, "/registry", "auth", &rd->c->registry_auth, &error);
        if (get_text(rd, o, "/registry", "url", &text)) {
                copy(rd, &rd->c->registry_url, text);
                read_registry_url(rd, text);
        }
        if (!get_text(rd, o, "/registry", "token", &text) || text[0] == '\0' ||
            strncmp(text, CREDENTIAL_PREFIX, strlen(CREDENTIAL_PREFIX)) == 0)
                return;
        copy(rd, &rd->c->registry_token, text);
        report(rd,
               MAM_PROBLEM_WARNING,
               "/registry",
               "token",
               "a token in plain text; mam-setup moves it to the credential mam.registry.token");
}

/* false, "recommend" or true. */
static void read_mode(Reader *rd, json_object *o, const char *key, MamScalingMode *ret) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return;
        if (json_object_is_type(v, json_type_boolean)) {
                *ret = json_object_get_boolean(v) ? MAM_SCALING_AUTO : MAM_SCALING_OFF;
        } else if (json_object_is_type(v, json_type_string) &&
                   strcmp(json_object_get_string(v), "recommend") == 0) {
                *ret = MAM_SCALING_RECOMMEND;
        } else {
                report(rd, MAM_PROBLEM_ERROR, "/scaling", key, "must be true, false or \"recommend\"");
        }
}

static void read_scaling(Reader *rd, json_object *o) {
        int64_t min = rd->c->min_replicas, max = rd->c->max_replicas, cpu = 70, memory = 80;
        MamJsonError error;

        /* a wrong type is reported by read_switches() */
        (void) mam_json_get_bool(o, "/scaling", "enabled", &rd->c->scaling_enabled, &error);
        if (rd->c->scaling_enabled) {
                read_mode(rd, o, "hpa", &rd->c->horizontal);
                read_mode(rd, o, "vpa", &rd->c->vertical);
        }
        check(rd,
              mam_json_get_int(o, "/scaling", "minReplicas", 0, MAM_CONFIG_REPLICAS_MAX, &min, &error),
              &error);
        check(rd,
              mam_json_get_int(o, "/scaling", "maxReplicas", 1, MAM_CONFIG_REPLICAS_MAX, &max, &error),
              &error);
        check(rd, mam_json_get_int(o, "/scaling", "targetCPU", 1, 1000, &cpu, &error), &error);
        check(rd, mam_json_get_int(o, "/scaling", "targetMemory", 1, 100, &memory, &error), &error);
        if (min > max) {
                report(rd, MAM_PROBLEM_ERROR, "/scaling", "minReplicas", "must not be above maxReplicas");
                min = max;
        }
        rd->c->min_replicas = (uint32_t) min;
        rd->c->max_replicas = (uint32_t) max;
        rd->c->target_cpu_percent = (uint32_t) cpu;
        rd->c->target_memory_percent = (uint32_t) memory;
}

/* A password anywhere in a libpq conninfo or URI. */
static bool dsn_has_password(const char *dsn) {
        const char *rest = strstr(dsn, "://"), *at;

        if (strstr(dsn, "password="))
                return true;
        if (!rest)
                return false;
        at = strchr(rest + 3, '@');
        return at && memchr(rest + 3, ':', (size_t) (at - rest - 3));
}

static const char *wrong_webhook(const char *text, size_t size) {
        const char *host = strncmp(text, "http://", 7) == 0    ? text + 7
                           : strncmp(text, "https://", 8) == 0 ? text + 8
                                                               : NULL;

        if (!host || strcspn(host, "/?#") == 0 || host[0] == ':')
                return "must be an http:// or https:// URL";
        if (size > WEBHOOK_SIZE_MAX || strlen(text) != size)
                return "is too long";
        for (const char *c = text; *c; c++) {
                if ((unsigned char) *c <= 0x20 || *c == 0x7f)
                        return "must not contain spaces or control characters";
        }
        return NULL;
}

static void read_webhook(Reader *rd, json_object *item, size_t i) {
        const char *text = json_object_is_type(item, json_type_string) ? json_object_get_string(item) : NULL;
        const char *wrong = text ? wrong_webhook(text, (size_t) json_object_get_string_len(item))
                                 : "must be a string";
        char index[16];

        for (size_t j = 0; !wrong && rd->c->alert_webhooks[j]; j++) {
                if (strcmp(rd->c->alert_webhooks[j], text) == 0)
                        wrong = "is listed twice";
        }
        if (wrong) {
                snprintf(index, sizeof(index), "%zu", i);
                report(rd, MAM_PROBLEM_ERROR, "/monitoring/alertWebhooks", index, wrong);
                return;
        }
        for (size_t j = 0;; j++) {
                if (!rd->c->alert_webhooks[j]) {
                        copy(rd, &rd->c->alert_webhooks[j], text);
                        return;
                }
        }
}

static void read_monitoring(Reader *rd, json_object *o) {
        bool enabled = true;
        MamJsonError error;
        json_object *list;
        size_t n;
        int r;

        (void) mam_json_get_bool(o, "/monitoring", "enabled", &enabled, &error);
        r = mam_json_get_array(o, "/monitoring", "alertWebhooks", &list, &error);
        check(rd, r, &error);
        if (r <= 0)
                return;
        n = json_object_array_length(list);
        if (n > MAM_CONFIG_WEBHOOKS_MAX) {
                report(rd,
                       MAM_PROBLEM_ERROR,
                       "/monitoring",
                       "alertWebhooks",
                       "must not have more than 16 entries");
                return;
        }
        mam_config_free_strings(rd->c->alert_webhooks);
        rd->c->alert_webhooks = calloc(n + 1, sizeof(char *));
        if (!rd->c->alert_webhooks) {
                note(rd, -ENOMEM);
                return;
        }
        for (size_t i = 0; i < n; i++)
                read_webhook(rd, json_object_array_get_idx(list, i), i);
        if (!enabled) {
                mam_config_free_strings(rd->c->alert_webhooks);
                rd->c->alert_webhooks = calloc(1, sizeof(char *));
                if (!rd->c->alert_webhooks)
                        note(rd, -ENOMEM);
        }
}

/* redis://host[:port] or unix:///path; whoever connects logs in with the credential redis.password. */
static bool is_redis_dsn(const char *dsn) {
        size_t n;

        if (strncmp(dsn, "unix:///", 8) == 0)
                return dsn[8] != '\0';
        if (strncmp(dsn, "redis://", 8) != 0)
                return false;
        dsn += 8;
        n = strcspn(dsn, "/@?#");
        return n > 0 && (dsn[n] == '\0' || strcmp(dsn + n, "/") == 0);
}

static void read_external(Reader *rd, json_object *o) {
        const char *text;

        if (get_text(rd, o, "/external", "postgresql", &text) && text[0] != '\0') {
                if (strncmp(text, "postgresql://", 13) != 0 && strncmp(text, "postgres://", 11) != 0 &&
                    !strchr(text, '=')) {
                        report(rd,
                               MAM_PROBLEM_ERROR,
                               "/external",
                               "postgresql",
                               "must be a DSN such as \"host=db.example dbname=mam user=mam\" or \"postgresql://…\"");
                } else {
                        copy(rd, &rd->c->postgresql_dsn, text);
                        if (dsn_has_password(text)) {
                                report(rd,
                                       MAM_PROBLEM_WARNING,
                                       "/external",
                                       "postgresql",
                                       "every user of this host can read this password (systemctl show); use a "
                                       "client certificate or passfile=");
                        }
                }
        }
        if (get_text(rd, o, "/external", "redis", &text) && text[0] != '\0') {
                if (!is_redis_dsn(text)) {
                        report(rd,
                               MAM_PROBLEM_ERROR,
                               "/external",
                               "redis",
                               "must be \"redis://host:port\" or \"unix:///path\", without user and password");
                } else {
                        copy(rd, &rd->c->redis_dsn, text);
                }
        }
}

static void read_security(Reader *rd, json_object *o) {
        bool enabled = true;
        MamJsonError error;

        /* What is wrong was reported already: all are switches. */
        (void) mam_json_get_bool(o, "/security", "enabled", &enabled, &error);
        (void) mam_json_get_bool(o, "/security", "tls", &rd->c->tls, &error);
        rd->c->tls = rd->c->tls && enabled;
}

/* "gateway" is read as the definition of a service is: its readers are the same. */
static void read_gateway(Reader *rd, json_object *root) {
        MamReader reader = { .file = rd->file };
        char parent[128];
        json_object *o;

        if (mam_reader_get_section(&reader, root, "", "gateway", NULL, parent, &o))
                mam_config_read_gateway(&reader, o, parent, rd->c->gateway);
        mam_reader_copy(&reader, &rd->c->gateway->environment, rd->c->environment);
        note(rd, reader.r);
}

int mam_config_read_settings(MamConfigFile *f, json_object *root) {
        static const char *const known[] = {
                "namespace", "version", "environment", "registry", "networking", "monitoring",
                "security",  "scaling", "external",    "gateway",  "events",     NULL,
        };
        Reader rd = { .file = f, .c = f->config };
        const char *text;

        assert(f);

        if (!json_object_is_type(root, json_type_object)) {
                report(&rd, MAM_PROBLEM_ERROR, "", NULL, "must be an object");
                return rd.r;
        }
        note(&rd, mam_config_warn_unknown(f, root, "", known));
        if (get_text(&rd, root, "", "namespace", &text))
                copy(&rd, &rd.c->namespace, text);
        if (get_text(&rd, root, "", "version", &text))
                copy(&rd, &rd.c->version, text);
        if (get_text(&rd, root, "", "environment", &text))
                copy(&rd, &rd.c->environment, text);

        for (size_t i = 0; i < MAM_ELEMENTSOF(sections); i++) {
                json_object *o = section(&rd, root, &sections[i]);

                if (!o)
                        continue;
                if (strcmp(sections[i].name, "external") == 0) {
                        read_external(&rd, o);
                        continue;
                }
                read_switches(&rd, sections[i].name, o, sections[i].known);
                if (strcmp(sections[i].name, "registry") == 0) {
                        read_registry(&rd, o);
                } else if (strcmp(sections[i].name, "scaling") == 0) {
                        read_scaling(&rd, o);
                } else if (strcmp(sections[i].name, "monitoring") == 0) {
                        read_monitoring(&rd, o);
                } else if (strcmp(sections[i].name, "security") == 0) {
                        read_security(&rd, o);
                }
                report_not_yet(&rd, sections[i].name, o);
        }
        read_gateway(&rd, root);
        note(&rd, mam_config_read_events(f, root));
        return rd.r;
}
