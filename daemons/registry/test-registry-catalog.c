/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>
#include <sys/wait.h>

#include "libmam/json/json.h"
#include "libmam/util/test.h"
#include "registry/consul.h"
#include "registry/exposition.h"
#include "registry/registry.h"

static Catalog *make(void) {
        Catalog *c = NULL;
        CatalogService *s;

        ASSERT_OK(catalog_new(&c, "box", "0123456789abcdef0123456789abcdef", "manager-agent-ai"));
        ASSERT_OK(catalog_add(c, &s, "web"));
        catalog_service_set_text(s, "Name", "The \"Web\"");
        catalog_service_set_text(s, "Type", "service");
        catalog_service_set_text(s, "State", "running");
        catalog_service_set_number(s, "Port", 3001);
        catalog_text(s->listen, sizeof(s->listen), "127.0.0.1");
        s->serves_metrics = true;
        for (uint32_t n = 1; n <= 2; n++) {
                CatalogReplica *r = catalog_replica(s, n);

                r->exists = true;
                catalog_replica_set_text(r, "ActiveState", "active");
                catalog_replica_set_text(r, "Health", "healthy");
        }
        catalog_endpoint_set(s, "web:1", "/run/mam/replica/web:1.sock", "ready", 100, "r1");
        catalog_endpoint_set(s, "web:2", "/run/mam/replica/web:2.sock", "unready", 100, "r1");
        catalog_replica_set_text(s->replicas[2], "Health", "unhealthy");
        catalog_replica_set_text(s->replicas[2], "HealthReason", "HTTP status 500");
        ASSERT_OK(catalog_add(c, &s, "db"));
        s->has_public_port = false;
        catalog_service_set_number(s, "Port", 5432);
        catalog_endpoint_set(s, "db:1", "/run/mam/postgresql/.s.PGSQL.5432", "ready", 100, "");
        c->listed = c->manager_up = true;
        ASSERT_TRUE(catalog_settle(c, 1000000));
        return c;
}

static const char *text_of(json_object *o, const char *path) {
        json_object *value = NULL;

        ASSERT_EQ(json_pointer_get(o, path, &value), 0);
        return json_object_get_string(value);
}

TEST(indexes_follow_what_clients_see) {
        Catalog *c = make();
        CatalogService *web = catalog_find(c, "web"), *db = catalog_find(c, "db");
        uint64_t index = web->index;

        ASSERT_EQ(web->index, 1000000);
        ASSERT_TRUE(!catalog_settle(c, 2000000));
        ASSERT_EQ(web->index, index);

        catalog_replica_set_text(web->replicas[2], "Health", "healthy");
        catalog_endpoint_set(web, "web:2", "/run/mam/replica/web:2.sock", "ready", 100, "r1");
        ASSERT_TRUE(catalog_settle(c, 2000000));
        ASSERT_EQ(web->index, 2000000);
        ASSERT_EQ(db->index, 1000000);
        ASSERT_EQ(c->index, 1000000); /* the list of services is as it was */
        ASSERT_EQ(c->any_index, 2000000);

        catalog_service_set_text(web, "StateReason", "nobody sees it");
        ASSERT_TRUE(!catalog_settle(c, 3000000));
        catalog_free(c);
}

TEST(indexes_grow_while_the_clock_goes_back) {
        Catalog *c = make();
        CatalogService *web = catalog_find(c, "web");

        catalog_endpoint_set(web, "web:1", "/run/x", "draining", 100, "r1");
        ASSERT_TRUE(catalog_settle(c, 5));
        ASSERT_EQ(web->index, 1000001);
        catalog_endpoint_set(web, "web:1", "/run/x", "ready", 100, "r1");
        ASSERT_TRUE(catalog_settle(c, 1000001));
        ASSERT_EQ(web->index, 1000002);
        catalog_free(c);
}

TEST(the_index_of_a_service_that_goes_does_not_fall) {
        Catalog *c = make();
        uint64_t before = registry_index(c, INDEX_SERVICE, "web");

        catalog_remove(c, "web");
        ASSERT_TRUE(catalog_settle(c, 2000000));
        ASSERT_TRUE(registry_index(c, INDEX_SERVICE, "web") > before);
        ASSERT_EQ(registry_index(c, INDEX_FIXED, NULL), 1);
        catalog_free(c);
}

TEST(index_zero_and_unknown_indexes_do_not_block) {
        ASSERT_TRUE(!registry_index_blocks(0, 7));
        ASSERT_TRUE(registry_index_blocks(7, 7));
        ASSERT_TRUE(!registry_index_blocks(6, 7));
        ASSERT_TRUE(!registry_index_blocks(8, 7)); /* the client resets */
}

TEST(waits_are_durations_of_go) {
        static const struct {
                const char *text;
                uint64_t usec;
        } good[] = { { "10s", 10000000 }, { "5m", 300000000 },    { "1m30s", 90000000 },
                     { "250ms", 250000 }, { "1.5h", 5400000000 }, { "0", 0 } };
        static const char *const bad[] = { "", "10", "s", "-5s", "5x", "1.2.3s", "5s5" };
        uint64_t usec;

        for (size_t i = 0; i < MAM_ELEMENTSOF(good); i++) {
                ASSERT_OK(registry_parse_wait(good[i].text, &usec));
                ASSERT_EQ(usec, good[i].usec);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                ASSERT_EQ(registry_parse_wait(bad[i], &usec), -EINVAL);
}

TEST(endpoints_that_are_not_told_any_more_are_gone) {
        Catalog *c = make();
        CatalogService *web = catalog_find(c, "web");

        catalog_endpoints_begin(web);
        catalog_endpoint_set(web, "web:1", "/run/x", "ready", 100, "");
        ASSERT_TRUE(catalog_is_instance(web->replicas[1]));
        ASSERT_TRUE(web->replicas[2] && !catalog_is_instance(web->replicas[2])); /* an object still */
        catalog_replica_remove(web, 2);
        ASSERT_TRUE(!web->replicas[2]);
        catalog_endpoint_set(web, "web:0", "/run/x", "ready", 100, "");
        catalog_endpoint_set(web, "web:101", "/run/x", "ready", 100, "");
        catalog_endpoint_set(web, "other:3", "/run/x", "ready", 100, "");
        ASSERT_TRUE(!web->replicas[3]);
        catalog_free(c);
}

TEST(text_is_cut_between_characters) {
        char text[5];

        catalog_text(text, sizeof(text), "abc\xc3\xa9x");
        ASSERT_STREQ(text, "abc");
        catalog_text(text, sizeof(text), "ab\xc3\xa9");
        ASSERT_STREQ(text, "ab\xc3\xa9");
}

TEST(health_has_the_shape_of_consul) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        ConsulFilter passing = { .passing = true };
        Catalog *c = make();

        o = consul_health_service(c, "web", NULL);
        ASSERT_EQ(json_object_array_length(o), 2);
        ASSERT_STREQ(text_of(o, "/0/Node/ID"), "01234567-89ab-cdef-0123-456789abcdef");
        ASSERT_STREQ(text_of(o, "/0/Node/Datacenter"), "manager-agent-ai");
        ASSERT_STREQ(text_of(o, "/0/Service/ID"), "web:1");
        ASSERT_STREQ(text_of(o, "/0/Service/Address"), "127.0.0.1");
        ASSERT_STREQ(text_of(o, "/0/Service/Port"), "3001");
        ASSERT_STREQ(text_of(o, "/0/Service/Meta/socket"), "/run/mam/replica/web:1.sock");
        ASSERT_STREQ(text_of(o, "/0/Service/Tags/1"), "r1");
        ASSERT_STREQ(text_of(o, "/0/Checks/0/Status"), "passing");
        ASSERT_STREQ(text_of(o, "/1/Checks/0/Status"), "critical");
        ASSERT_STREQ(text_of(o, "/1/Checks/0/Output"), "unhealthy: HTTP status 500");
        json_object_put(o);

        o = consul_health_service(c, "web", &passing);
        ASSERT_EQ(json_object_array_length(o), 1);
        json_object_put(o);

        o = consul_health_service(c, "db", NULL);
        ASSERT_STREQ(text_of(o, "/0/Service/Port"), "0");
        json_object_put(o);

        o = consul_health_service(c, "none", NULL);
        ASSERT_STREQ(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), "[]");
        catalog_free(c);
}

TEST(the_catalog_has_the_shape_of_consul) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        Catalog *c = make();

        o = consul_catalog_services(c);
        ASSERT_STREQ(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
                     "{\"db\":[],\"web\":[\"service\",\"r1\"]}");
        json_object_put(o);
        o = consul_catalog_service(c, "web", NULL);
        ASSERT_STREQ(text_of(o, "/1/ServiceID"), "web:2");
        ASSERT_STREQ(text_of(o, "/1/ServiceName"), "web");
        ASSERT_STREQ(text_of(o, "/1/ModifyIndex"), "1000000");
        json_object_put(o);
        o = consul_agent_self(c);
        ASSERT_STREQ(text_of(o, "/Config/NodeName"), "box");
        json_object_put(o);
        o = consul_health_checks(c, NULL, CATALOG_CRITICAL);
        ASSERT_EQ(json_object_array_length(o), 1);
        catalog_free(c);
}

TEST(tags_filter) {
        ConsulFilter one = { .tags = { "r1", "service" }, .n_tags = 2 },
                     none = { .tags = { "r2" }, .n_tags = 1 };
        _cleanup_(json_object_putp) json_object *o = NULL;
        Catalog *c = make();

        o = consul_catalog_service(c, "web", &one);
        ASSERT_EQ(json_object_array_length(o), 2);
        json_object_put(o);
        o = consul_catalog_service(c, "web", &none);
        ASSERT_EQ(json_object_array_length(o), 0);
        catalog_free(c);
}

TEST(metrics_have_base_units_and_only_what_is_known) {
        CatalogAlert alert = { "f1", "ReplicaCrashLoops", "critical", "web", "2", 5 };
        MamBuffer page = MAM_BUFFER_INIT;
        Catalog *c = make();
        const char *text;

        catalog_metrics_begin(c);
        catalog_metric_set(c, "web", "web:1", "cpu_seconds_total", 1.5);
        catalog_metric_set(c, "web", "web:1", "psi_cpu_some_avg10", 25);
        catalog_metric_set(c, "web", "", "replicas_desired", 2);
        catalog_metric_set(c, "web", "web:9", "ready", 1);
        catalog_metric_set(c, "web", "web:1", "of_a_later_version", 1);
        ASSERT_OK(catalog_alert_set(c, &alert));
        catalog_job_began(c, "/job/1", "scale");
        catalog_job_ended(c, "/job/1", "done");
        ASSERT_OK(exposition_format(c, &page));
        text = mam_buffer_bytes(&page);
        ASSERT_TRUE(strstr(
                        text,
                        "# TYPE mam_replica_cpu_seconds_total counter\nmam_replica_cpu_seconds_total{service=\"web\",replica=\"1\"} 1.5\n"));
        ASSERT_TRUE(strstr(text, "mam_replica_pressure_cpu_ratio{service=\"web\",replica=\"1\"} 0.25\n"));
        ASSERT_TRUE(strstr(text, "mam_service_replicas_desired{service=\"web\"} 2\n"));
        ASSERT_TRUE(strstr(
                        text,
                        "mam_replica_health{service=\"web\",replica=\"2\",health=\"unhealthy\"} 1\n"));
        ASSERT_TRUE(strstr(
                        text,
                        "mam_alert_firing{alert=\"ReplicaCrashLoops\",severity=\"critical\",service=\"web\",replica=\"2\",id=\"f1\"} 1\n"));
        ASSERT_TRUE(strstr(text, "mam_jobs_total{verb=\"scale\",result=\"done\"} 1\n"));
        ASSERT_TRUE(strstr(text, "mam_manager_up 1\n"));
        ASSERT_TRUE(!strstr(text, "memory_bytes") && !strstr(text, "later_version"));
        mam_buffer_done(&page);
        catalog_free(c);
}

/* Every family that there is, with values that need care, before the strict parser of
 * python3-prometheus-client. */
TEST(metrics_pass_the_strict_parser) {
        static const char *const names[] = {
                "cpu_seconds_total",
                "memory_bytes",
                "memory_max_bytes",
                "cpu_limit_cores",
                "tasks",
                "restarts_total",
                "oom_kills_total",
                "uptime_seconds",
                "ready",
                "psi_cpu_some_avg10",
                "psi_memory_some_avg10",
                "psi_io_some_avg10",
                "requests_total",
                "request_errors_total",
                "requests_in_flight",
                "request_p50_seconds",
                "request_p99_seconds",
                "requests_per_second",
                "replicas_desired",
                "replicas_existing",
                "replicas_ready",
                "replicas_min",
                "replicas_max",
                "replicas_recommended",
                "cpu_recommended_cores",
                "memory_recommended_bytes",
                "decisions_total",
                "rollout_weight_percent",
        };
        const char *root = getenv("MAM_SOURCE_ROOT");
        CatalogAlert alert = { "f1", "A\"\\\nB", "critical", "web", "", 5 };
        char path[] = "/tmp/test-registry-XXXXXX", command[512];
        MamBuffer page = MAM_BUFFER_INIT;
        Catalog *c = make();
        CatalogService *web = catalog_find(c, "web");
        int fd, status;

        ASSERT_EQ(MAM_ELEMENTSOF(names), _CATALOG_METRIC_MAX);
        catalog_service_set_text(web, "HorizontalMode", "auto");
        catalog_service_set_text(web, "Version", "\"1\\0\"");
        catalog_service_set_text(web, "Rollout", "/r/1");
        catalog_rollout_set_text(&web->rollout, "Phase", "paused");
        catalog_replica_set_number(web->replicas[1], "StartedUSec", 1795449188123534ULL);
        catalog_text(c->manager_version, sizeof(c->manager_version), "2.2.0");
        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                catalog_metric_set(c, "web", "", names[i], 1e15 / 7);
                catalog_metric_set(c, "web", "web:1", names[i], (double) i / 3);
        }
        ASSERT_OK(catalog_alert_set(c, &alert));
        catalog_rollout_ended(c, "db", "done");
        ASSERT_OK(exposition_format(c, &page));
        for (CatalogMetric m = 0; m < _CATALOG_METRIC_MAX; m++)
                ASSERT_TRUE(web->metrics.known[m]);

        fd = mkstemp(path);
        ASSERT_OK(fd);
        ASSERT_EQ(write(fd, mam_buffer_bytes(&page), page.size), page.size);
        close(fd);
        (void) snprintf(command,
                        sizeof(command),
                        "/usr/bin/python3 '%s/daemons/libmam/obs/check-metrics.py' %s >/dev/null",
                        root ? root : ".",
                        path);
        status = system(command);
        unlink(path);
        mam_buffer_done(&page);
        catalog_free(c);
        if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127))
                mam_test_skip("python3-prometheus-client is not installed");
        ASSERT_EQ(status, 0);
}

TEST(targets_are_the_replicas_that_serve_metrics) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        Catalog *c = make();

        o = exposition_targets(c, "127.0.0.1:5000");
        ASSERT_EQ(json_object_array_length(o), 3); /* the suite, web:1, web:2 */
        ASSERT_STREQ(text_of(o, "/0/labels/__metrics_path__"), "/metrics");
        ASSERT_STREQ(text_of(o, "/1/labels/__metrics_path__"), "/v1/metrics/replica/web/1");
        ASSERT_STREQ(text_of(o, "/1/labels/instance"), "web:1");
        ASSERT_STREQ(text_of(o, "/1/targets/0"), "127.0.0.1:5000");
        catalog_free(c);
}
