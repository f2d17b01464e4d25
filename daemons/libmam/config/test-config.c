/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration: what is right, and what each wrong file is told
 */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmam/config/config.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define REDIS "\"redis\": { \"port\": 6379 }"

typedef struct Folder {
        char path[64];
} Folder;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static void folder_done(Folder *f) {
        ASSERT_OK(nftw(f->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS));
}

static Folder folder_new(void) {
        Folder f = { .path = "/tmp/mam-test-config-XXXXXX" };
        char path[128];

        ASSERT_TRUE(mkdtemp(f.path));
        snprintf(path, sizeof(path), "%s/services.d", f.path);
        ASSERT_OK(mkdir(path, 0755));
        snprintf(path, sizeof(path), "%s/good", f.path);
        ASSERT_OK(mkdir(path, 0755));
        return f;
}

static void put(const Folder *f, const char *name, const char *text) {
        char path[192];

        snprintf(path, sizeof(path), "%s/%s", f->path, name);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
}

static MamConfig *load(const Folder *f, bool last_good) {
        MamConfig *c = NULL;
        char good[96];

        snprintf(good, sizeof(good), "%s/good", f->path);
        ASSERT_OK(mam_config_load(&c, f->path, last_good ? good : NULL));
        return c;
}

/* All problems but notices, one a line, the folder's name taken out. */
static void problems_of(const Folder *f, const MamConfig *c, MamBuffer *b, MamProblemLevel least) {
        for (size_t i = 0; i < c->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;
                const char *t;

                if (c->problems[i].level > least)
                        continue;
                ASSERT_OK(mam_config_problem_format(&text, &c->problems[i]));
                t = strncmp(text, f->path, strlen(f->path)) == 0 ? text + strlen(f->path) + 1 : text;
                ASSERT_OK(mam_buffer_appendf(b, "%s%s", b->size > 0 ? "\n" : "", t));
        }
}

static const char *path_in_source(char path[static 512], const char *name) {
        const char *root = getenv("MAM_SOURCE_ROOT");

        snprintf(path, 512, "%s/%s", root ? root : ".", name);
        return path;
}

TEST(the_installed_defaults_are_without_fault) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        const MamServiceConfig *s;
        size_t order[MAM_CONFIG_SERVICES_MAX];
        char path[512];

        ASSERT_OK(mam_config_load(&c, path_in_source(path, "config"), NULL));
        for (size_t i = 0; i < c->n_problems; i++)
                if (c->problems[i].level != MAM_PROBLEM_NOTICE)
                        mam_test_fail_string(__FILE__, __LINE__, "no problem", c->problems[i].message);
        ASSERT_STREQ(c->namespace, "manager-agent-ai");
        ASSERT_STREQ(c->environment, "production");
        ASSERT_TRUE(!c->incomplete);
        ASSERT_EQ(c->max_replicas, 10);
        ASSERT_EQ(c->target_cpu_percent, 70);

        s = mam_config_find(c, "api-gateway");
        ASSERT_TRUE(s);
        ASSERT_STREQ(s->name, "API Gateway");
        ASSERT_EQ(s->type, MAM_SERVICE_TYPE_GATEWAY);
        ASSERT_EQ(s->port, 3000);
        ASSERT_STREQ(s->listen, "[::]");
        ASSERT_EQ(s->replicas, 2);
        ASSERT_EQ(s->cpu_millis, 500);
        ASSERT_EQ(s->memory_bytes, 512ULL << 20);
        ASSERT_EQ(s->health_interval_usec, 30000000);
        ASSERT_EQ(s->health_timeout_usec, 5000000);
        ASSERT_STREQ(s->user, "mam-api-gateway");
        ASSERT_TRUE(mam_service_has_public_socket(s));

        s = mam_config_find(c, "project-manager");
        ASSERT_TRUE(s);
        ASSERT_EQ(s->replicas, 3);
        ASSERT_EQ(s->max_replicas, 10);
        ASSERT_STREQ(s->listen, "127.0.0.1");
        ASSERT_TRUE(s->database && s->cache);
        ASSERT_STREQ(s->routes->routes[0].path, "/api/v1/projects");
        ASSERT_STREQ(s->dependencies[0], "postgresql");
        ASSERT_STREQ(s->dependencies[1], "redis");

        s = mam_config_find(c, "postgresql");
        ASSERT_TRUE(s);
        ASSERT_EQ(s->probe, MAM_PROBE_POSTGRESQL);
        ASSERT_EQ(s->max_replicas, 1);
        ASSERT_TRUE(!mam_service_has_public_socket(s));

        mam_config_dependency_order(c, order);
        ASSERT_EQ(c->n_services, 5);
        ASSERT_STREQ(c->services[order[0]].id, "api-gateway");
        ASSERT_STREQ(c->services[order[1]].id, "postgresql");
        ASSERT_STREQ(c->services[order[2]].id, "redis");
        ASSERT_STREQ(c->services[order[3]].id, "project-manager");
        ASSERT_STREQ(c->services[order[4]].id, "event-bus");
}

TEST(each_wrong_services_file_is_told_what_is_wrong_where) {
        static const struct {
                const char *text;
                const char *want;
                size_t services;
        } cases[] = {
#include "libmam/config/test-config-wrong.inc"
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(folder_done) Folder f = folder_new();
                _cleanup_(mam_config_freep) MamConfig *c = NULL;
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                put(&f, "microservices.json", "{}");
                put(&f, "services.json", cases[i].text);
                c = load(&f, false);
                problems_of(&f, c, &b, MAM_PROBLEM_WARNING);
                ASSERT_STREQ(mam_buffer_bytes(&b), cases[i].want);
                ASSERT_EQ(c->n_services, cases[i].services);
        }
}

TEST(each_wrong_settings_file_is_told_what_is_wrong_where) {
        static const struct {
                const char *text;
                const char *want;
        } cases[] = {
                { "{", "microservices.json:1: unexpected end of the document" },
                { "[]", "microservices.json:1: must be an object" },
                { "{\n \"namespce\": \"x\" }",
                  "microservices.json:2: namespce: unknown key, ignored; did you mean \"namespace\"?" },
                { "{ \"version\": 2 }", "microservices.json:1: version: must be a string" },
                { "{\n\"scaling\": {\n\"minReplicas\": 5,\n\"maxReplicas\": 2 } }",
                  "microservices.json:3: scaling.minReplicas: must not be above maxReplicas" },
                { "{\n\"scaling\": {\n\"maxReplicas\": 1000 } }",
                  "microservices.json:3: scaling.maxReplicas: must be an integer from 1 to 100" },
                { "{ \"scaling\": {\n\"hpa\": \"on\", \"vpa\": 1 } }",
                  "microservices.json:2: scaling.hpa: must be true, false or \"recommend\"\n"
                  "microservices.json:2: scaling.vpa: must be true, false or \"recommend\"" },
                { "{ \"registry\": {\n\"url\": \"http://registry.example:5000\" } }",
                  "microservices.json:2: registry.url: must be \"http://ADDRESS:PORT\" with localhost or an address of this "
                  "machine: there the registry listens" },
                { "{ \"registry\": { \"enabled\": true, \"url\": \"http://localhost:6379\" } }",
                  "services.json:1: redis.port: 6379 is the port of the registry" },
                { "{ \"events\": { \"webhooks\": { \"allow\": [ \"10.0.0.0/33\" ] } } }",
                  "microservices.json:1: events.webhooks.allow.0: must be a network or an address, such as \"10.0.0.0/8\"" },
                { "{ \"events\": { \"webhooks\": { \"origin\": \"a b\", \"allowHttp\": 1 } } }",
                  "microservices.json:1: events.webhooks.allowHttp: must be true or false\n"
                  "microservices.json:1: events.webhooks.origin: must be a host name, such as \"events.example.com\"" },
                { "{ \"monitoring\": { \"alertWebhooks\": \"http://x\" } }",
                  "microservices.json:1: monitoring.alertWebhooks: must be an array" },
                { "{ \"monitoring\": { \"alertWebhooks\": [\n\"ftp://x\",\n5,\n\"http://a b\",\n\"http://x\",\n\"http://x\" ] } }",
                  "microservices.json:2: monitoring.alertWebhooks.0: must be an http:// or https:// URL\n"
                  "microservices.json:3: monitoring.alertWebhooks.1: must be a string\n"
                  "microservices.json:4: monitoring.alertWebhooks.2: must not contain spaces or control characters\n"
                  "microservices.json:6: monitoring.alertWebhooks.4: is listed twice" },
                { "{ \"scaling\": { \"HPA\": true } }",
                  "microservices.json:1: scaling.HPA: unknown key, ignored; did you mean \"hpa\"?" },
                { "{ \"security\": { \"tls\": \"yes\" } }",
                  "microservices.json:1: security.tls: must be true or false" },
                { "{ \"registry\": {\n\"token\": \"s3cret\" } }",
                  "microservices.json:2: registry.token: a token in plain text; mam-setup moves it to the credential "
                  "mam.registry.token" },
                { "{ \"registry\": {\n\"token\": \"credential:registry.token\" } }", "" },
                { "{ \"external\": { \"postgresql\": \"db.example\" } }",
                  "microservices.json:1: external.postgresql: must be a DSN such as \"host=db.example dbname=mam user=mam\" or "
                  "\"postgresql://\xe2\x80\xa6\"" },
                { "{ \"external\": { \"postgresql\": \"postgresql://u:pw@db/mam\" } }",
                  "microservices.json:1: external.postgresql: every user of this host can read this password (systemctl "
                  "show); use a client certificate or passfile=" },
                { "{ \"external\": { \"redis\": \"redis://u:pw@cache:6379\" } }",
                  "microservices.json:1: external.redis: must be \"redis://host:port\" or \"unix:///path\", without user and "
                  "password" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(folder_done) Folder f = folder_new();
                _cleanup_(mam_config_freep) MamConfig *c = NULL;
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                put(&f, "microservices.json", cases[i].text);
                put(&f, "services.json", "{" REDIS "}");
                c = load(&f, false);
                problems_of(&f, c, &b, MAM_PROBLEM_WARNING);
                ASSERT_STREQ(mam_buffer_bytes(&b), cases[i].want);
        }
}

TEST(the_port_for_tls_is_one_that_no_service_has) {
        static const struct {
                const char *settings, *problems;
        } cases[] = {
                { "{ \"security\": { \"tls\": true } }",
                  "services.json:2: other.port: 3443 is the port of the gateway for TLS" },
                { "{ \"security\": { \"tls\": true }, \"gateway\": { \"tls\": { \"port\": 8443 } } }", "" },
                { "{ \"security\": { \"tls\": true, \"enabled\": false } }", "" },
                { "{}", "" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(folder_done) Folder f = folder_new();
                _cleanup_(mam_config_freep) MamConfig *c = NULL;
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                put(&f, "microservices.json", cases[i].settings);
                put(&f,
                    "services.json",
                    "{ \"api-gateway\": { \"type\": \"gateway\", \"port\": 3000 },\n"
                    "\"other\": { \"port\": 3443, \"exec\": [ \"/bin/true\" ], \"socket\": true } }");
                c = load(&f, false);
                problems_of(&f, c, &b, MAM_PROBLEM_WARNING);
                ASSERT_STREQ(mam_buffer_bytes(&b), cases[i].problems);
        }
}

TEST(a_setting_that_is_not_acted_on_is_a_notice_and_one_switched_off_is_silent) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *on = NULL, *off = NULL;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        put(&f, "services.json", "{}");
        put(&f,
            "microservices.json",
            "{ \"networking\": { \"enabled\": true,\n \"dns\": \"consul\", \"serviceMesh\": false } }");
        on = load(&f, false);
        problems_of(&f, on, &b, MAM_PROBLEM_NOTICE);
        ASSERT_STREQ(mam_buffer_bytes(&b),
                     "microservices.json:2: networking.dns: only mam's registry answers DNS: \"consul\", with "
                     "registry.enabled");

        put(&f, "microservices.json", "{ \"networking\": { \"enabled\": false,\n \"dns\": \"consul\" } }");
        off = load(&f, false);
        ASSERT_EQ(off->n_problems, 0);
}

TEST(what_the_registry_does_is_no_notice) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = NULL;

        put(&f, "services.json", "{}");
        put(&f,
            "microservices.json",
            "{ \"networking\": { \"dns\": \"consul\" }, \"monitoring\": { \"prometheus\": true,"
            "  \"alertWebhooks\": [ \"http://127.0.0.1:9093/api/v2/alerts\", \"https://hooks.example/x\" ] },"
            "  \"registry\": { \"enabled\": true, \"auth\": true, \"url\": \"http://[::1]:5001/\" } }");
        c = load(&f, false);
        ASSERT_EQ(c->n_problems, 0);
        ASSERT_TRUE(c->registry_enabled && c->registry_auth);
        ASSERT_STREQ(c->registry_listen, "[::1]:5001");
        ASSERT_STREQ(c->alert_webhooks[0], "http://127.0.0.1:9093/api/v2/alerts");
        ASSERT_STREQ(c->alert_webhooks[1], "https://hooks.example/x");
        ASSERT_TRUE(!c->alert_webhooks[2]);
        mam_config_freep(&c);

        put(&f,
            "microservices.json",
            "{ \"monitoring\": { \"enabled\": false, \"alertWebhooks\": [ \"http://x\" ] } }");
        c = load(&f, false);
        ASSERT_EQ(c->n_problems, 0);
        ASSERT_TRUE(!c->registry_enabled && !c->alert_webhooks[0]);
        ASSERT_STREQ(c->registry_listen, "127.0.0.1:5000");
}

TEST(webhooks_of_the_event_bus_are_set) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = NULL;

        put(&f, "services.json", "{}");
        put(&f,
            "microservices.json",
            "{ \"events\": { \"webhooks\": { \"allow\": [ \"10.0.0.0/8\", \"fd00::/8\", \"127.0.0.1\" ], \"allowHttp\": true,"
            "  \"origin\": \"events.example.com\" } } }");
        c = load(&f, false);
        ASSERT_EQ(c->n_problems, 0);
        ASSERT_STREQ(c->events.webhook_allow[0], "10.0.0.0/8");
        ASSERT_STREQ(c->events.webhook_allow[2], "127.0.0.1");
        ASSERT_TRUE(!c->events.webhook_allow[3]);
        ASSERT_TRUE(c->events.webhook_allow_http);
        ASSERT_STREQ(c->events.webhook_origin, "events.example.com");
        mam_config_freep(&c);

        put(&f, "microservices.json", "{}");
        c = load(&f, false);
        ASSERT_TRUE(!c->events.webhook_allow && !c->events.webhook_allow_http && !c->events.webhook_origin);
}

TEST(autoscaling_follows_the_settings_for_services_only) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = NULL;

        put(&f,
            "services.json",
            "{ \"project-manager\": {}, \"api-gateway\": { \"type\": \"gateway\" },"
            "  \"redis\": { \"type\": \"infrastructure\", \"scaling\": { \"vertical\": \"recommend\" } },"
            "  \"a\": { \"exec\": [ \"/a\" ], \"scaling\": { \"horizontal\": \"off\", \"targetCPU\": 0 } } }");
        put(&f,
            "microservices.json",
            "{ \"scaling\": { \"hpa\": true, \"vpa\": \"recommend\", \"targetCPU\": 60 } }");
        c = load(&f, false);
        ASSERT_EQ(c->n_problems, 0);
        ASSERT_EQ(c->services[0].scaling.horizontal, MAM_SCALING_AUTO);
        ASSERT_EQ(c->services[0].scaling.vertical, MAM_SCALING_RECOMMEND);
        ASSERT_EQ(c->services[0].scaling.target_cpu_percent, 60);
        ASSERT_EQ(c->services[0].scaling.target_memory_percent, 80);
        ASSERT_EQ(c->services[1].scaling.horizontal, MAM_SCALING_OFF);
        ASSERT_EQ(c->services[1].scaling.vertical, MAM_SCALING_OFF);
        ASSERT_EQ(c->services[2].scaling.horizontal, MAM_SCALING_OFF);
        ASSERT_EQ(c->services[2].scaling.vertical, MAM_SCALING_RECOMMEND);
        ASSERT_EQ(c->services[3].scaling.horizontal, MAM_SCALING_OFF);
        ASSERT_EQ(c->services[3].scaling.vertical, MAM_SCALING_RECOMMEND);
        ASSERT_EQ(c->services[3].scaling.target_cpu_percent, 0);
        mam_config_freep(&c);

        put(&f,
            "microservices.json",
            "{ \"scaling\": { \"enabled\": false, \"hpa\": true, \"vpa\": true } }");
        c = load(&f, false);
        for (size_t i = 0; i < c->n_services; i++) {
                ASSERT_EQ(c->services[i].scaling.horizontal, MAM_SCALING_OFF);
                ASSERT_EQ(c->services[i].scaling.vertical, MAM_SCALING_OFF);
        }
}

TEST(scaling_of_a_service_is_read_whole) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        const MamScalingConfig *s;
        static const char text[] =
                        "{ \"a\": { \"exec\": [ \"/a\" ], \"scaling\": { \"horizontal\": \"auto\", \"vertical\": \"auto\","
                        "  \"targetCPU\": 150, \"targetMemory\": 90, \"targetInFlight\": 2.5, \"targetRPS\": 100,"
                        "  \"targetLatency\": \"200ms\", \"targetPressure\": 20, \"scaleDownWindow\": 0,"
                        "  \"scaleToZeroAfter\": \"10min\", \"minCPU\": \"50m\", \"maxCPU\": \"4\", \"minMemory\": \"64Mi\","
                        "  \"maxMemory\": \"2Gi\" },"
                        "  \"healthCheck\": { \"failureThreshold\": 5, \"successThreshold\": 2 } }, \"redis\": {} }";

        ASSERT_OK(mam_config_load_text(&c, text, sizeof(text) - 1));
        ASSERT_EQ(c->n_problems, 0);
        s = &c->services[0].scaling;
        ASSERT_EQ(s->horizontal, MAM_SCALING_AUTO);
        ASSERT_EQ(s->vertical, MAM_SCALING_AUTO);
        ASSERT_EQ(s->target_cpu_percent, 150);
        ASSERT_EQ(s->target_memory_percent, 90);
        ASSERT_TRUE(s->target_in_flight > 2.4 && s->target_in_flight < 2.6);
        ASSERT_TRUE(s->target_rps > 99.9 && s->target_rps < 100.1);
        ASSERT_EQ(s->target_latency_usec, 200000);
        ASSERT_EQ(s->target_pressure_percent, 20);
        ASSERT_EQ(s->down_window_usec, 0);
        ASSERT_EQ(s->idle_usec, 600000000);
        ASSERT_EQ(s->min_cpu_millis, 50);
        ASSERT_EQ(s->max_cpu_millis, 4000);
        ASSERT_EQ(s->min_memory_bytes, 64U << 20);
        ASSERT_EQ(s->max_memory_bytes, 2ULL << 30);
        ASSERT_EQ(c->services[0].health_failures, 5);
        ASSERT_EQ(c->services[0].health_successes, 2);
        ASSERT_EQ(c->services[1].health_failures, 3);
        ASSERT_EQ(c->services[1].health_successes, 1);
        ASSERT_EQ(c->services[1].scaling.down_window_usec, 300000000);
        ASSERT_EQ(c->services[1].scaling.idle_usec, 60000000);

        for (int m = 0; m < _MAM_SCALING_MODE_MAX; m++)
                ASSERT_EQ(mam_scaling_mode_from_string(mam_scaling_mode_to_string((MamScalingMode) m)), m);
        ASSERT_TRUE(mam_scaling_mode_from_string("on") < 0);
        ASSERT_TRUE(!mam_scaling_mode_to_string(_MAM_SCALING_MODE_INVALID));
}

TEST(there_is_room_for_the_new_replicas_of_a_rollout_where_they_share_nothing) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        static const char text[] =
                        "{ \"a\": { \"exec\": [ \"/a\" ], \"port\": 8000, \"maxReplicas\": 4 },"
                        "  \"b\": { \"exec\": [ \"/b\" ], \"port\": 9000, \"socket\": true, \"maxReplicas\": 4 },"
                        "  \"d\": { \"exec\": [ \"/d\" ], \"maxReplicas\": 51 },"
                        "  \"redis\": { \"maxReplicas\": 3 }, \"postgresql\": {}, \"project-manager\": {} }";

        ASSERT_OK(mam_config_load_text(&c, text, sizeof(text) - 1));
        ASSERT_EQ(mam_service_instances_max(&c->services[0]), 4);
        ASSERT_EQ(mam_service_instances_max(&c->services[1]), 8);
        ASSERT_EQ(mam_service_instances_max(&c->services[2]), 100);
        ASSERT_EQ(mam_service_instances_max(&c->services[3]), 3);
        ASSERT_EQ(mam_service_instances_max(&c->services[4]), 1);
        ASSERT_EQ(mam_service_instances_max(&c->services[5]), 20);
}

TEST(missing_files_are_named_and_a_missing_folder_is_an_error) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        MamConfig *none = NULL;

        c = load(&f, false);
        problems_of(&f, c, &b, MAM_PROBLEM_NOTICE);
        ASSERT_STREQ(mam_buffer_bytes(&b),
                     "microservices.json: cannot be read: No such file or directory\n"
                     "services.json: cannot be read: No such file or directory");
        ASSERT_TRUE(c->incomplete);
        ASSERT_EQ(mam_config_load(&none, "/nonexistent/mam", NULL), -ENOENT);
        ASSERT_TRUE(!none);
}

TEST(later_files_replace_earlier_definitions_and_say_so) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        put(&f, "microservices.json", "{}");
        put(&f, "services.json", "{\n \"echo\": { \"exec\": [ \"/bin/cat\" ] },\n " REDIS " }");
        put(&f, "services.d/b.json", "{\n\n \"echo\": { \"exec\": [ \"/bin/b\" ], \"user\": \"nobody\" } }");
        put(&f, "services.d/a.json", "{ \"redis\": { \"replicas\": 2 } }");
        put(&f, "services.d/ignored.json~", "not looked at");
        c = load(&f, false);
        problems_of(&f, c, &b, MAM_PROBLEM_NOTICE);
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "services.d/a.json:1: redis: replaces the definition in "));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "services.d/b.json:3: echo: replaces the definition in "));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "services.json:2\n") ||
                    strstr(mam_buffer_bytes(&b), "services.json:2"));
        ASSERT_EQ(c->n_services, 2);
        ASSERT_STREQ(c->services[0].id, "echo");
        ASSERT_STREQ(c->services[0].exec[0], "/bin/b");
        ASSERT_EQ(c->services[1].replicas, 2);
        ASSERT_EQ(c->services[1].port, 0); /* replaced as a whole, not merged */
}

TEST(the_last_good_definition_stands_in_for_a_bad_one) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *good = NULL, *c = NULL, *broken = NULL, *ring = NULL;
        _cleanup_(mam_freep) char *definition = NULL;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        put(&f, "microservices.json", "{}");
        put(&f, "services.json", "{ \"echo\": { \"exec\": [ \"/bin/cat\" ], \"replicas\": 3 }, " REDIS " }");
        good = load(&f, false);
        ASSERT_OK(mam_config_service_to_json(&definition, mam_config_find(good, "echo")));
        ASSERT_STREQ(definition, "{\"echo\":{\"exec\":[\"/bin/cat\"],\"replicas\":3}}\n");
        put(&f, "good/echo.json", definition);

        put(&f, "services.json", "{ \"echo\": { \"exec\": [ \"cat\" ] }, " REDIS " }");
        c = load(&f, true);
        problems_of(&f, c, &b, MAM_PROBLEM_NOTICE);
        ASSERT_STREQ(mam_buffer_bytes(&b),
                     "services.json:1: echo.exec.0: must be the absolute path of a program\n"
                     "services.json:1: echo: its last good definition stands until that is mended");
        ASSERT_EQ(c->n_services, 2);
        ASSERT_TRUE(c->services[0].last_good);
        ASSERT_EQ(c->services[0].replicas, 3);
        ASSERT_TRUE(!c->services[1].last_good);

        put(&f, "services.json", "{ \"echo\": { \"exec\"");
        broken = load(&f, true);
        ASSERT_EQ(broken->n_services, 1); /* redis has no last good definition */
        ASSERT_STREQ(broken->services[0].id, "echo");
        ASSERT_TRUE(broken->incomplete);

        put(&f,
            "services.json",
            "{ \"echo\": { \"exec\": [ \"/bin/cat\" ], \"dependencies\": [ \"redis\" ] },"
            "  \"redis\": { \"dependencies\": [ \"echo\" ] } }");
        ring = load(&f, true);
        ASSERT_EQ(ring->n_services, 1); /* echo as it was; redis goes, as it is wrong and was never good */
        ASSERT_STREQ(ring->services[0].id, "echo");
        ASSERT_TRUE(ring->services[0].last_good);
}

TEST(broken_settings_leave_the_last_good_ones_in_force) {
        _cleanup_(folder_done) Folder f = folder_new();
        _cleanup_(mam_config_freep) MamConfig *c = NULL;

        put(&f,
            "services.json",
            "{ \"postgresql\": {}, \"project-manager\": { \"dependencies\": [ \"postgresql\" ] } }");
        put(&f,
            "good/_microservices.json",
            "{ \"external\": { \"postgresql\": \"host=db.example dbname=mam\" } }");
        put(&f, "microservices.json", "{ \"external\": { \"postgresql\": 5 } }");
        c = load(&f, true);
        ASSERT_STREQ(c->postgresql_dsn, "host=db.example dbname=mam");
        ASSERT_EQ(c->n_services,
                  1); /* the suite's own database does not start because of a slip of the pen */
        ASSERT_TRUE(!c->services[0].dependencies[0]);
        ASSERT_TRUE(c->incomplete);
        ASSERT_EQ(c->problems[0].level, MAM_PROBLEM_ERROR);
}

TEST(foreign_programs_get_ports_and_addresses) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        static const char text[] =
                        "{ \"a\": { \"exec\": [ \"/bin/a\", \"-x\", \"50%\" ], \"port\": 8000, \"maxReplicas\": 5 },"
                        "  \"b\": { \"exec\": [ \"/bin/b\" ], \"port\": 8005, \"socket\": true, \"routes\": [ \"/b\" ] },"
                        "  \"postgresql\": {}, \"redis\": {} }";
        char name[MAM_UNIT_NAME_MAX];

        ASSERT_OK(mam_config_load_text(&c, text, sizeof(text) - 1));
        ASSERT_EQ(c->n_problems, 0);
        ASSERT_EQ(mam_service_own_port(&c->services[0], 5), 8004);
        ASSERT_TRUE(!mam_service_has_replica_socket(&c->services[0]));
        ASSERT_TRUE(!mam_service_has_public_socket(&c->services[0]));
        mam_replica_address(name, &c->services[0], 2);
        ASSERT_STREQ(name, "127.0.0.1:8001");
        ASSERT_EQ(mam_service_own_port(&c->services[1], 1), 0);
        ASSERT_TRUE(mam_service_has_public_socket(&c->services[1]));
        mam_replica_address(name, &c->services[1], 2);
        ASSERT_STREQ(name, "/run/mam/replica/b:2.sock");
        mam_replica_address(name, &c->services[2], 1);
        ASSERT_STREQ(name, "/run/mam/postgresql/.s.PGSQL.5432");
        mam_replica_address(name, &c->services[3], 2);
        ASSERT_STREQ(name, "/run/mam/redis/2.sock");
        ASSERT_TRUE(!c->services[0].user);
        ASSERT_STREQ(c->services[0].exec[2], "50%");
}

TEST(problems_are_bounded) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_config_freep) MamConfig *c = NULL;

        ASSERT_OK(mam_buffer_append_string(&b, "{ \"redis\": { \"port\": 1"));
        for (unsigned i = 0; i < 5000; i++)
                ASSERT_OK(mam_buffer_appendf(&b, ", \"key%u\": 1", i));
        ASSERT_OK(mam_buffer_append_string(&b, " }, \"postgresql\": { \"port\": \"x\" } }"));
        ASSERT_OK(mam_config_load_text(&c, mam_buffer_bytes(&b), b.size));
        ASSERT_EQ(c->n_problems, MAM_CONFIG_PROBLEMS_MAX + 1);
        ASSERT_EQ(c->n_services, 1); /* an error beyond the list still counts */
}

TEST(unit_names_go_both_ways) {
        static const char *const wrong[] = {
                "mam@x.service",         "mam@x:.service",       "mam@x:0.service",
                "mam@x:01.service",      "mam@x:1.target",       "mam@X:1.service",
                "mam@:1.service",        "mam@x-:1.service",     "mam@x:1",
                "mom@x:1.service",       "mam@x:999999.service", "mam@x:1.service2",
                "mam@manager:1.service",
        };
        char name[MAM_UNIT_NAME_MAX], id[32];
        uint32_t n = 0;

        mam_unit_replica_service(name, "project-manager", 12);
        ASSERT_STREQ(name, "mam@project-manager:12.service");
        ASSERT_OK(mam_unit_parse_replica(name, id, &n));
        ASSERT_STREQ(id, "project-manager");
        ASSERT_EQ(n, 12);
        mam_unit_replica_socket(name, "x", 1);
        ASSERT_STREQ(name, "mam@x:1.socket");
        ASSERT_OK(mam_unit_parse_replica(name, id, &n));
        mam_unit_public_socket(name, "project-manager");
        ASSERT_STREQ(name, "mam-project-manager.socket");
        mam_unit_target(name, "project-manager");
        ASSERT_STREQ(name, "mam-project-manager.target");
        mam_unit_slice(name, "project-manager");
        ASSERT_STREQ(name, "mam-project\\x2dmanager.slice");
        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++)
                if (mam_unit_parse_replica(wrong[i], id, &n) != -EINVAL)
                        mam_test_fail_string(__FILE__, __LINE__, "must be refused", wrong[i]);
}
