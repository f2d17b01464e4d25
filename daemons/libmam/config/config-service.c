/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One definition of a service
 *
 * All keys are read even after one was found wrong, so that a file is mended in one go.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-gateway.h"
#include "libmam/util/quantity.h"
#include "libmam/util/time.h"

#define ENVIRONMENT_MAX   128U
#define LIST_MAX          64U
#define MEMORY_MIN        (4UL * 1024UL * 1024UL)
#define TASKS_DEFAULT     512U
#define CPU_DEFAULT       500U
#define MEMORY_DEFAULT    (512ULL * 1024U * 1024U)
#define INTERVAL_DEFAULT  (30U * MAM_USEC_PER_SEC)
#define TIMEOUT_DEFAULT   (5U * MAM_USEC_PER_SEC)
#define FAILURES_DEFAULT  3U
#define SUCCESSES_DEFAULT 1U
#define THRESHOLD_MAX     100

static void read_type(MamReader *rd) {
        const char *text, *nearest, *words[_MAM_SERVICE_TYPE_MAX + 1] = { NULL };

        rd->s->type = MAM_SERVICE_TYPE_SERVICE;
        if (mam_reader_text(rd, rd->object, rd->parent, "type", &text) <= 0)
                return;

        for (int t = 0; t < _MAM_SERVICE_TYPE_MAX; t++) {
                words[t] = mam_service_type_to_string((MamServiceType) t);
                if (strcmp(words[t], text) == 0) {
                        rd->s->type = (MamServiceType) t;
                        return;
                }
        }
        nearest = mam_config_suggest(text, words);
        mam_reader_bad_key(
                        rd,
                        rd->parent,
                        "type",
                        "must be \"gateway\", \"service\" or \"infrastructure\"%s%s%s",
                        nearest ? "; did you mean \"" : "",
                        nearest ? nearest : "",
                        nearest ? "\"?" : "");
}

static bool is_listen_address(const char *text) {
        unsigned char address[sizeof(struct in6_addr)];
        size_t n = strlen(text);
        char inner[64];

        if (inet_pton(AF_INET, text, address) == 1)
                return true;
        if (n < 4 || n > sizeof(inner) || text[0] != '[' || text[n - 1] != ']')
                return false;
        memcpy(inner, text + 1, n - 2);
        inner[n - 2] = '\0';
        return inet_pton(AF_INET6, inner, address) == 1;
}

static void read_address(MamReader *rd) {
        int64_t port = 0;
        const char *text;

        if (mam_reader_int(rd, "port", 0, UINT16_MAX, &port))
                rd->s->port = (uint16_t) port;

        mam_reader_copy(rd, &rd->s->listen, rd->s->type == MAM_SERVICE_TYPE_GATEWAY ? "[::]" : "127.0.0.1");
        if (mam_reader_text(rd, rd->object, rd->parent, "listen", &text) <= 0)
                return;
        if (!is_listen_address(text)) {
                mam_reader_bad_key(
                                rd,
                                rd->parent,
                                "listen",
                                "must be an IPv4 address such as \"127.0.0.1\" or an IPv6 address in brackets such as \"[::]\"");
        } else {
                mam_reader_copy(rd, &rd->s->listen, text);
        }
}

static void read_replicas(MamReader *rd) {
        uint32_t cap = rd->builtin ? rd->builtin->replicas_max : 0;
        int64_t min = rd->file->config->min_replicas, max = rd->file->config->max_replicas, n = 1;

        if (cap > 0 && max > cap)
                max = cap;
        if (min > max)
                min = max;
        (void) mam_reader_int(rd, "maxReplicas", 1, cap > 0 ? cap : MAM_CONFIG_REPLICAS_MAX, &max);
        if (!mam_reader_int(rd, "minReplicas", 0, MAM_CONFIG_REPLICAS_MAX, &min) && min > max)
                min = max;
        if (min > max) {
                mam_reader_bad_key(
                                rd,
                                rd->parent,
                                "minReplicas",
                                "must not be above maxReplicas (%" PRIi64 ")",
                                max);
        } else if (!json_object_object_get_ex(rd->object, "replicas", NULL)) {
                n = min > 1 ? min : 1;
        } else if (mam_reader_int(rd, "replicas", 0, MAM_CONFIG_REPLICAS_MAX, &n) && (n < min || n > max)) {
                mam_reader_bad_key(
                                rd,
                                rd->parent,
                                "replicas",
                                "must be from minReplicas (%" PRIi64 ") to maxReplicas (%" PRIi64 ")",
                                min,
                                max);
        }

        rd->s->min_replicas = (uint32_t) min;
        rd->s->max_replicas = (uint32_t) max;
        rd->s->replicas = (uint32_t) n;
}

static void read_resources(MamReader *rd) {
        static const char *const known[] = { "cpu", "memory", NULL };
        const char *text;
        json_object *o;
        int64_t tasks = TASKS_DEFAULT;
        char parent[128];
        int r;

        rd->s->cpu_millis = CPU_DEFAULT;
        rd->s->memory_bytes = MEMORY_DEFAULT;
        (void) mam_reader_int(rd, "tasksMax", 8, 65536, &tasks);
        rd->s->tasks_max = (uint64_t) tasks;

        if (!mam_reader_section(rd, "resources", known, parent, &o))
                return;
        if (mam_reader_text(rd, o, parent, "cpu", &text) > 0) {
                r = mam_quantity_parse_cpu(text, &rd->s->cpu_millis);
                if (r == -ERANGE) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        "cpu",
                                        "must be above zero and at most 1000000 cores");
                } else if (r < 0) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        "cpu",
                                        "must be a quantity of cores such as \"500m\" or \"2\"");
                }
        }
        if (mam_reader_text(rd, o, parent, "memory", &text) > 0) {
                r = mam_quantity_parse_bytes(text, &rd->s->memory_bytes);
                if (r == -EINVAL) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        "memory",
                                        "must be a quantity of bytes such as \"512Mi\" or \"1.5G\"");
                } else if (r < 0 || rd->s->memory_bytes < MEMORY_MIN) {
                        mam_reader_bad_key(rd, parent, "memory", "must be from 4Mi to 8Ei");
                }
        }
}

static bool is_path(const char *text) {
        return text[0] == '/' && !strpbrk(text, " \"\\?#<>^`{|}") && !strstr(text, "//") &&
               !strstr(text, "/../") && !strstr(text, "/./");
}

static void read_probe_type(MamReader *rd, json_object *o, const char *parent) {
        const char *text;

        if (mam_reader_text(rd, o, parent, "type", &text) <= 0)
                return;
        for (int t = 0; t < _MAM_PROBE_TYPE_MAX; t++) {
                if (strcmp(mam_probe_type_to_string((MamProbeType) t), text) == 0) {
                        bool fits = !rd->builtin || (MamProbeType) t == rd->builtin->probe;

                        rd->s->probe = (MamProbeType) t;
                        if (!fits || (!rd->builtin && t > MAM_PROBE_TCP)) {
                                mam_reader_bad_key(
                                                rd,
                                                parent,
                                                "type",
                                                rd->builtin ? "must be \"%s\" for this service"
                                                            : "must be \"%s\" or \"tcp\" for a program of your own",
                                                mam_probe_type_to_string(
                                                                rd->builtin ? rd->builtin->probe
                                                                            : MAM_PROBE_HTTP));
                        }
                        return;
                }
        }
        mam_reader_bad_key(rd, parent, "type", "must be \"http\", \"tcp\", \"postgresql\" or \"redis\"");
}

static void read_span(MamReader *rd, json_object *o, const char *parent, const char *key, uint64_t *ret) {
        mam_reader_span(rd,
                        o,
                        parent,
                        key,
                        100 * MAM_USEC_PER_MSEC,
                        86400 * MAM_USEC_PER_SEC,
                        "a number of seconds from 1 to 86400, or a time such as \"500ms\"",
                        ret);
}

static void read_threshold(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                uint32_t *ret) {
        MamJsonError error;
        int64_t n = *ret;

        if (mam_json_get_int(o, parent, key, 1, THRESHOLD_MAX, &n, &error) < 0)
                mam_reader_bad(rd, &error);
        *ret = (uint32_t) n;
}

static void read_health(MamReader *rd) {
        static const char *const known[] = {
                "path", "interval", "timeout", "type", "failureThreshold", "successThreshold", NULL,
        };
        const char *text;
        json_object *o;
        char parent[128];

        rd->s->probe = rd->builtin ? rd->builtin->probe : MAM_PROBE_HTTP;
        rd->s->health_interval_usec = INTERVAL_DEFAULT;
        rd->s->health_timeout_usec = TIMEOUT_DEFAULT;
        rd->s->health_failures = FAILURES_DEFAULT;
        rd->s->health_successes = SUCCESSES_DEFAULT;
        mam_reader_copy(rd, &rd->s->health_path, "/health");

        if (!mam_reader_section(rd, "healthCheck", known, parent, &o))
                return;
        read_probe_type(rd, o, parent);
        read_span(rd, o, parent, "interval", &rd->s->health_interval_usec);
        read_span(rd, o, parent, "timeout", &rd->s->health_timeout_usec);
        read_threshold(rd, o, parent, "failureThreshold", &rd->s->health_failures);
        read_threshold(rd, o, parent, "successThreshold", &rd->s->health_successes);
        if (mam_reader_text(rd, o, parent, "path", &text) > 0) {
                if (!is_path(text)) {
                        mam_reader_bad_key(rd, parent, "path", "must be a path that begins with '/'");
                } else {
                        mam_reader_copy(rd, &rd->s->health_path, text);
                }
        }
}

/* An array of texts into a NULL-terminated list; check says what is wrong with one, or NULL. */
static bool read_list(
                MamReader *rd,
                const char *key,
                const char *(*check)(MamReader *rd, const char *text, size_t i),
                char ***ret) {
        _cleanup_(mam_freep) char **list = NULL;
        MamJsonError error;
        json_object *o;
        char parent[128];
        size_t n;
        int r;

        r = mam_json_get_array(rd->object, rd->parent, key, &o, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r <= 0)
                return false;
        n = json_object_array_length(o);
        if (n > LIST_MAX) {
                mam_reader_bad_key(rd, rd->parent, key, "must not have more than %u entries", LIST_MAX);
                return false;
        }
        list = calloc(n + 1, sizeof(*list));
        if (!list) {
                mam_reader_note(rd, -ENOMEM);
                return false;
        }
        snprintf(parent, sizeof(parent), "%s/%s", rd->parent, key);

        for (size_t i = 0; i < n; i++) {
                json_object *item = json_object_array_get_idx(o, i);
                const char *text = json_object_is_type(item, json_type_string) ? json_object_get_string(item)
                                                                               : NULL;
                const char *wrong = NULL;
                char index[16];

                if (!text || strlen(text) != (size_t) json_object_get_string_len(item)) {
                        wrong = "must be a string";
                } else if (strlen(text) > MAM_READER_TEXT_MAX) {
                        wrong = "is too long";
                }
                for (const char *c = text; !wrong && *c; c++) {
                        if ((unsigned char) *c < 0x20 || *c == 0x7f)
                                wrong = "must not contain control characters";
                }
                if (!wrong)
                        wrong = check(rd, text, i);
                for (size_t j = 0; !wrong && check && strcmp(key, "exec") != 0 && j < i; j++) {
                        if (list[j] && strcmp(list[j], text) == 0)
                                wrong = "is listed twice";
                }
                if (wrong) {
                        snprintf(index, sizeof(index), "%zu", i);
                        mam_reader_bad_key(rd, parent, index, "%s", wrong);
                        text = "";
                }
                mam_reader_copy(rd, &list[i], text);
        }
        *ret = MAM_TAKE(list);
        return true;
}

static const char *check_dependency(MamReader *rd, const char *text, size_t i) {
        (void) i;
        if (!mam_service_id_is_valid(text))
                return "must be the id of a service";
        if (strcmp(text, rd->s->id) == 0)
                return "a service cannot depend on itself";
        return NULL;
}

/* {version} may stand for a part of its path. */
static bool is_program(const char *text) {
        char path[MAM_READER_TEXT_MAX + 1];
        size_t n = 0;

        while (*text) {
                if (strncmp(text, MAM_VERSION_MARK, strlen(MAM_VERSION_MARK)) == 0) {
                        path[n++] = '0';
                        text += strlen(MAM_VERSION_MARK);
                } else {
                        path[n++] = *text++;
                }
        }
        path[n] = '\0';
        return is_path(path) && !strchr(path, '$') && path[n - 1] != '/';
}

static const char *check_argument(MamReader *rd, const char *text, size_t i) {
        (void) rd;
        if (i == 0 && !is_program(text))
                return "must be the absolute path of a program";
        return NULL;
}

static bool is_reserved_variable(const char *key) {
        static const char *const reserved[] = {
                "PORT",
                "NOTIFY_SOCKET",
                "WATCHDOG_PID",
                "WATCHDOG_USEC",
                "LISTEN_FDS",
                "LISTEN_PID",
                "LISTEN_FDNAMES",
                "CREDENTIALS_DIRECTORY",
                "RUNTIME_DIRECTORY",
                "STATE_DIRECTORY",
                "INVOCATION_ID",
        };

        if (strncmp(key, "MAM_", 4) == 0)
                return true;
        for (size_t i = 0; i < MAM_ELEMENTSOF(reserved); i++) {
                if (strcmp(reserved[i], key) == 0)
                        return true;
        }
        return false;
}

static void read_environment(MamReader *rd) {
        json_object *o;
        char parent[128];
        size_t n = 0;

        rd->s->environment = calloc(ENVIRONMENT_MAX + 1, sizeof(char *));
        if (!rd->s->environment) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        if (!mam_reader_section(rd, "environment", NULL, parent, &o))
                return;
        if (json_object_object_length(o) > (int) ENVIRONMENT_MAX) {
                mam_reader_bad_key(
                                rd,
                                rd->parent,
                                "environment",
                                "must not have more than %u variables",
                                ENVIRONMENT_MAX);
                return;
        }

        json_object_object_foreach(o, key, value) {
                static const char letters[] =
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
                const char *text;

                if (key[0] == '\0' || (key[0] >= '0' && key[0] <= '9') ||
                    key[strspn(key, letters)] != '\0') {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        key,
                                        "is not a name for a variable: letters, digits and '_'");
                } else if (is_reserved_variable(key)) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        key,
                                        "is set by mam or systemd and cannot be configured");
                } else if (!value) {
                        mam_reader_bad_key(rd, parent, key, "must be a string");
                } else if (mam_reader_text(rd, o, parent, key, &text) > 0) {
                        if (asprintf(&rd->s->environment[n], "%s=%s", key, text) < 0) {
                                rd->s->environment[n] = NULL;
                                mam_reader_note(rd, -ENOMEM);
                                return;
                        }
                        n++;
                }
        }
}

static bool is_user_name(const char *text) {
        size_t n = strlen(text);

        return n > 0 && n <= 31 && ((text[0] >= 'a' && text[0] <= 'z') || text[0] == '_') &&
               strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static void read_foreign(MamReader *rd) {
        static const char *const foreign_only[] = { "exec", "user", "socket", "notify" };
        json_object *exec;
        const char *text;

        if (rd->builtin) {
                for (size_t i = 0; i < MAM_ELEMENTSOF(foreign_only); i++) {
                        if (json_object_object_get_ex(rd->object, foreign_only[i], NULL)) {
                                mam_reader_bad_key(
                                                rd,
                                                rd->parent,
                                                foreign_only[i],
                                                "is for programs of your own; '%s' is one of mam's services",
                                                rd->s->id);
                        }
                }
                rd->s->notify = true;
                if (asprintf(&rd->s->user, "mam-%s", rd->s->id) < 0) {
                        rd->s->user = NULL;
                        mam_reader_note(rd, -ENOMEM);
                }
                return;
        }

        if (!json_object_object_get_ex(rd->object, "exec", &exec) || !exec) {
                mam_reader_bad_key(
                                rd,
                                rd->parent,
                                NULL,
                                "mam has no service of this name; a program of your own needs \"exec\": [\"/path/to/program\", …]");
                return;
        }
        if (read_list(rd, "exec", check_argument, &rd->s->exec) && !rd->s->exec[0])
                mam_reader_bad_key(rd, rd->parent, "exec", "must name a program");
        (void) mam_reader_bool(rd, "socket", &rd->s->socket_activated);
        (void) mam_reader_bool(rd, "notify", &rd->s->notify);
        if (mam_reader_text(rd, rd->object, rd->parent, "user", &text) > 0) {
                if (!is_user_name(text)) {
                        mam_reader_bad_key(rd, rd->parent, "user", "must be the name of a system user");
                } else if (strcmp(text, "root") == 0 || strncmp(text, "mam-", 4) == 0) {
                        mam_reader_bad_key(
                                        rd,
                                        rd->parent,
                                        "user",
                                        "must not be root or one of mam's own users");
                } else {
                        mam_reader_copy(rd, &rd->s->user, text);
                }
        }
        if (rd->s->exec && !rd->s->socket_activated && rd->s->port > 0 &&
            rd->s->port + rd->s->max_replicas - 1 > UINT16_MAX) {
                mam_reader_bad_key(
                                rd,
                                rd->parent,
                                "port",
                                "replica N binds port + N - 1, which leaves no port for %" PRIu32
                                " replicas",
                                rd->s->max_replicas);
        }
}

static void read_routes(MamReader *rd) {
        static const char *const none[] = { NULL };
        static const char *const words[] = { "http1", "native", "h2c", NULL };
        json_object *list = NULL;
        MamJsonError error;
        char parent[128];
        unsigned word;
        int r;

        rd->s->protocol = rd->builtin ? MAM_SERVICE_PROTOCOL_NATIVE : MAM_SERVICE_PROTOCOL_HTTP1;
        if (mam_reader_get_word(rd, rd->object, rd->parent, "protocol", words, &word))
                rd->s->protocol = (MamServiceProtocol) word;
        if (mam_reader_get_word(rd, rd->object, rd->parent, "balancing", mam_service_balancings, &word))
                rd->s->balancing = (MamServiceBalancing) word;

        r = mam_json_get_array(rd->object, rd->parent, "routes", &list, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r > 0) {
                (void) snprintf(parent, sizeof(parent), "%s/routes", rd->parent);
                mam_config_read_routes(rd, list, parent, &rd->s->routes);
        } else {
                mam_reader_note(rd,
                                mam_config_make_routes(
                                                &rd->s->routes,
                                                rd->builtin ? rd->builtin->routes : none));
        }
}

static void keep_definition(MamReader *rd) {
        _cleanup_(json_object_putp) json_object *whole = json_object_new_object();

        if (!whole || json_object_object_add(whole, rd->s->id, json_object_get(rd->object)) < 0) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        mam_reader_copy(rd, &rd->s->definition, mam_json_to_string(whole));
}

int mam_config_read_service(MamServiceConfig *ret, MamConfigFile *f, const char *id, json_object *object) {
        static const char *const known[] = {
                "name",         "type",        "port",        "replicas",    "resources", "healthCheck",
                "dependencies", "environment", "minReplicas", "maxReplicas", "listen",    "exec",
                "user",         "socket",      "notify",      "routes",      "tasksMax",  "scaling",
                "protocol",     "balancing",   NULL,
        };
        _cleanup_(mam_service_config_done) MamServiceConfig s = { 0 };
        MamReader rd = { .file = f, .s = &s, .object = object, .builtin = mam_builtin_find(id) };
        const char *text;

        assert(ret);
        assert(f);
        assert(strlen(id) < 32);

        snprintf(rd.parent, sizeof(rd.parent), "/%s", id);
        if (!json_object_is_type(object, json_type_object)) {
                mam_reader_bad_key(&rd, rd.parent, NULL, "must be an object");
                return rd.r < 0 ? rd.r : 0;
        }

        mam_reader_copy(&rd, &s.id, id);
        mam_reader_copy(&rd, &s.name, id);
        mam_reader_copy(&rd, &s.file, f->path);
        if (rd.r < 0)
                return rd.r;
        s.line = mam_json_locate(f->text, f->size, rd.parent);
        s.database = rd.builtin && rd.builtin->database;
        s.cache = rd.builtin && rd.builtin->cache;

        mam_reader_note(&rd, mam_config_warn_unknown(f, object, rd.parent, known));
        if (mam_reader_text(&rd, object, rd.parent, "name", &text) > 0)
                mam_reader_copy(&rd, &s.name, text);
        read_type(&rd);
        read_address(&rd);
        read_replicas(&rd);
        read_resources(&rd);
        read_health(&rd);
        if (!read_list(&rd, "dependencies", check_dependency, &s.dependencies)) {
                s.dependencies = calloc(1, sizeof(char *));
                if (!s.dependencies)
                        mam_reader_note(&rd, -ENOMEM);
        }
        read_environment(&rd);
        read_routes(&rd);
        read_foreign(&rd);
        mam_config_read_scaling(&rd);
        keep_definition(&rd);
        if (rd.r < 0)
                return rd.r;
        if (rd.bad)
                return 0;

        *ret = s;
        s = (MamServiceConfig){ 0 };
        return 1;
}
