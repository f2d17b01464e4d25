/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Autoscaling in the whole manager, with periods of a fifth of a second
 */

#include <stdlib.h>

#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "manager/autoscaler.h"
#include "manager/manager-fixture.h"

#define SEC MAM_USEC_PER_SEC

/* In place of the fixture's own definition of alpha: with what it says of scaling. */
static void setup(Fixture *f, const char *more) {
        static const char format[] =
                        "{ \"alpha\": { \"name\": \"Alpha\", \"type\": \"service\", \"port\": %u, %s\n"
                        "    \"exec\": [\"/bin/true\"],\n"
                        "    \"healthCheck\": { \"type\": \"tcp\", \"interval\": \"1h\", \"timeout\": \"1s\" } },\n"
                        "  \"gate\": { \"name\": \"Gate\", \"type\": \"gateway\", \"port\": %u, \"replicas\": 1,\n"
                        "    \"minReplicas\": 1, \"maxReplicas\": 1, \"listen\": \"127.0.0.1\", \"exec\": [\"/bin/true\"],\n"
                        "    \"healthCheck\": { \"type\": \"tcp\" } } }\n";
        char path[96], text[1024];

        ASSERT_EQ(setenv(AUTOSCALER_PERIOD_VARIABLE, "200ms", 1), 0);
        fixture_setup(f);
        snprintf(text, sizeof(text), format, f->port, more, f->port + PORTS - 1);
        snprintf(path, sizeof(path), "%s/services.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        ASSERT_OK(manager_load_config(f->manager));
        ASSERT_EQ(f->manager->config->config->n_services, 2);
}

static Service *service_alpha(const Fixture *f) {
        return manager_find_service(f->manager, "alpha");
}

static uint32_t wanted(const Fixture *f) {
        return numbers_count(&service_alpha(f)->state->numbers);
}

/* As the only gateway would. Later rounds find no gateway: said again and again. */
static bool tell(Fixture *f, unsigned in_flight) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        ASSERT_OK(mam_buffer_append_string(&b, "{\"started_usec\":5,\"bounds_usec\":["));
        for (unsigned i = 0; i + 1 < LOAD_BUCKETS; i++) {
                ASSERT_OK(mam_buffer_appendf(
                                &b,
                                "%s%llu",
                                i > 0 ? "," : "",
                                (unsigned long long) load_bound_usec(i)));
        }
        ASSERT_OK(mam_buffer_appendf(
                        &b,
                        "],\"services\":{},\"replicas\":{\"alpha:1\":"
                        "{\"in_flight\":%u,\"requests\":0,\"errors\":0,\"latency\":[0",
                        in_flight));
        for (unsigned i = 1; i < LOAD_BUCKETS; i++)
                ASSERT_OK(mam_buffer_append_string(&b, ",0"));
        ASSERT_OK(mam_buffer_append_string(&b, "]}}}"));
        ASSERT_OK(load_take_answer(
                        f->manager->load,
                        "gate",
                        1,
                        mam_buffer_bytes(&b),
                        b.size,
                        mam_now_monotonic()));
        return true;
}

#define LOADED                                                                                                                 \
        "\"replicas\": 1, \"minReplicas\": 1, \"maxReplicas\": 4, \"scaling\": { \"horizontal\": \"auto\", \"targetCPU\": 0, " \
        "\"targetMemory\": 0, \"targetInFlight\": 2, \"scaleDownWindow\": \"1s\" },"

TEST(grows_with_the_requests_and_shrinks_after_the_window) {
        Fixture f;

        setup(&f, LOADED);
        start_alpha(&f, 1);
        RUN_UNTIL(&f.bus, tell(&f, 8) && wanted(&f) == 4);
        RUN_UNTIL(&f.bus, tell(&f, 8) && service_alpha(&f)->counts.ready == 4);
        ASSERT_TRUE(strstr(autoscale_explain(service_alpha(&f), AUTOSCALE_REPLICAS)->why, "in flight"));
        RUN_UNTIL(&f.bus, tell(&f, 1) && wanted(&f) == 1);
        ASSERT_TRUE(service_decisions(service_alpha(&f)) >= 2);
        ASSERT_EQ(service_alpha(&f)->state->replicas, 1); /* what a person asked for */
        RUN_UNTIL(&f.bus, tell(&f, 1) && strcmp(f.endpoints, "1=ready") == 0);
        fixture_done(&f);
}

TEST(a_person_chooses_who_decides) {
        Fixture f;

        setup(&f, LOADED);
        start_alpha(&f, 1);
        CALL(&f, "SetAutoscaling", "ssst", "alpha", "recommend", "auto", (uint64_t) 0);
        RUN_UNTIL(&f.bus, tell(&f, 8) && service_recommended_replicas(service_alpha(&f)) == 4);
        ASSERT_EQ(wanted(&f), 1);
        ASSERT_EQ(service_vertical_mode(service_alpha(&f)), MAM_SCALING_AUTO);

        /* Kept by the next manager. */
        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        fixture_manager_up(&f);
        ASSERT_EQ(service_horizontal_mode(service_alpha(&f)), MAM_SCALING_RECOMMEND);
        CALL(&f, "SetAutoscaling", "ssst", "alpha", "default", "", (uint64_t) 0);
        ASSERT_EQ(service_horizontal_mode(service_alpha(&f)), MAM_SCALING_AUTO);
        ASSERT_EQ(service_vertical_mode(service_alpha(&f)), MAM_SCALING_AUTO);

        ASK(&f, "SetAutoscaling", "ssst", "alpha", "always", "", (uint64_t) 0);
        RUN_UNTIL(&f.bus, f.answers.n_errors == 1);
        ASSERT_STREQ(f.answers.error, SD_BUS_ERROR_INVALID_ARGS);
        fixture_done(&f);
}

TEST(without_measurements_nothing_shrinks_and_a_scale_of_a_person_stays) {
        uint64_t until;
        Fixture f;

        setup(&f,
              "\"replicas\": 2, \"minReplicas\": 1, \"maxReplicas\": 4, \"scaling\": { \"horizontal\": \"auto\", \"scaleDownWindow\": 0 },");
        start_alpha(&f, 2);
        CALL(&f, "Scale", "sut", "alpha", 3U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, service_alpha(&f)->counts.ready == 3);
        until = mam_now_monotonic() + SEC; /* five periods */
        RUN_UNTIL(&f.bus, mam_now_monotonic() > until);
        ASSERT_EQ(wanted(&f), 3);
        ASSERT_TRUE(strstr(autoscale_explain(service_alpha(&f), AUTOSCALE_REPLICAS)->why, "measured"));
        fixture_done(&f);
}

#define SLEEPER                                                                                      \
        "\"replicas\": 1, \"minReplicas\": 0, \"maxReplicas\": 3, \"socket\": true, \"scaling\": { " \
        "\"horizontal\": \"auto\", \"targetCPU\": 0, \"targetMemory\": 0, \"scaleToZeroAfter\": \"1s\" },"

/* Its probes fail (nobody listens on its socket here); that is no reason to keep it up. */
TEST(what_is_idle_sleeps_with_open_sockets_and_is_adopted_when_woken) {
        Fixture f;

        setup(&f, SLEEPER);
        service_alpha(&f)->state->fresh = false;
        ASK(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(1)) == 1);
        RUN_UNTIL(&f.bus, tell(&f, 0) && service_is_asleep(service_alpha(&f)));
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=asleep") == 0);
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "asleep") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit mam@alpha:1.socket"), 0);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit mam-alpha.socket"), 0);

        /* A manager that begins anew leaves it asleep. */
        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        fixture_manager_up(&f);
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "asleep") == 0);

        /* systemd starts it for a connection. */
        fake_unit_change(&f.systemd, ALPHA(1), "active", "running");
        RUN_UNTIL(&f.bus, wanted(&f) == 1);
        ASSERT_TRUE(!service_is_asleep(service_alpha(&f)));
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 1);

        /* To zero again by a call, and then stopped for good: now the sockets close. */
        ASK(&f, "Scale", "sut", "alpha", 0U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "asleep") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit mam@alpha:1.socket"), 0);
        CALL(&f, "Stop", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "stopped") == 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit mam@alpha:1.socket") == 1);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit mam-alpha.socket"), 1);
        fixture_done(&f);
}

TEST(zero_is_refused_where_no_connection_could_wake_it) {
        Fixture f;

        setup(&f, "\"replicas\": 1, \"minReplicas\": 0, \"maxReplicas\": 3,");
        start_alpha(&f, 1);
        ASK(&f, "Scale", "sut", "alpha", 0U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, f.answers.n_errors == 1);
        ASSERT_STREQ(f.answers.error, MAM_BUS_ERROR_OUT_OF_RANGE);
        ASSERT_EQ(wanted(&f), 1);
        fixture_done(&f);
}

TEST(an_oom_kill_raises_the_limit_and_a_pinned_one_stays) {
        uint64_t before;
        Fixture f;
        Replica *r;

        setup(&f,
              "\"replicas\": 1, \"minReplicas\": 1, \"maxReplicas\": 2, \"resources\": { \"memory\": \"64Mi\" }, \"scaling\": { \"vertical\": \"auto\" },");
        start_alpha(&f, 1);
        before = fake_told(&f.systemd, "SetUnitProperties " ALPHA(1));
        r = service_alpha(&f)->replicas[1];
        r->last_exit_usec = mam_now_realtime();
        autoscaler_note_exit(r, 1);
        ASSERT_TRUE(service_memory_bytes(service_alpha(&f)) >= 164ULL * 1024 * 1024);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "SetUnitProperties " ALPHA(1)) > before);

        /* A sibling that died of the old limit a moment before does not raise it once more. */
        before = service_memory_bytes(service_alpha(&f));
        autoscaler_note_exit(r, 1);
        ASSERT_EQ(service_memory_bytes(service_alpha(&f)), before);

        CALL(&f, "SetLimits", "ssst", "alpha", "", "80Mi", (uint64_t) 0);
        r->last_exit_usec = mam_now_realtime() + 10 * SEC;
        autoscaler_note_exit(r, 1);
        ASSERT_EQ(service_memory_bytes(service_alpha(&f)), 80ULL * 1024 * 1024);
        ASSERT_TRUE(service_recommended_memory_bytes(service_alpha(&f)) >= 164ULL * 1024 * 1024);
        fixture_done(&f);
}

TEST(what_was_learnt_is_kept_and_a_bad_file_moved_aside) {
        char path[96], aside[112];
        Fixture f;
        Replica *r;

        setup(&f,
              "\"replicas\": 1, \"minReplicas\": 1, \"maxReplicas\": 2, \"scaling\": { \"vertical\": \"recommend\" },");
        start_alpha(&f, 1);
        r = service_alpha(&f)->replicas[1];
        r->last_exit_usec = mam_now_realtime();
        autoscaler_note_exit(r, 1);
        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        snprintf(path, sizeof(path), "%s/vpa.json", f.bus.folder);
        snprintf(aside, sizeof(aside), "%s.bad", path);
        ASSERT_EQ(access(path, R_OK), 0);

        fixture_manager_up(&f);
        RUN_UNTIL(&f.bus, service_recommended_memory_bytes(service_alpha(&f)) > 0);
        ASSERT_TRUE(access(aside, F_OK) < 0);

        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        ASSERT_OK(mam_file_write_atomic(path, "{", 1, 0600));
        fixture_manager_up(&f);
        ASSERT_EQ(access(aside, F_OK), 0);
        ASSERT_EQ(service_recommended_memory_bytes(service_alpha(&f)), 0);
        fixture_done(&f);
}
