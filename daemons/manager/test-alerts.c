/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <unistd.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"
#include "manager/alerts.h"

#define S        MAM_USEC_PER_SEC
#define REALTIME (1700000000 * S)

typedef struct World {
        AlertSet set;
        uint64_t now_usec;
        uint64_t again_usec;
        unsigned n_began, n_ended;
        Alert last;
} World;

#define WORLD_INIT \
        { .now_usec = 1000 * S }

static void tell(const Alert *a, bool ended, void *userdata) {
        World *w = userdata;

        w->n_began += !ended;
        w->n_ended += ended;
        w->last = *a;
}

static void settle(World *w) {
        w->again_usec = MAM_USEC_INFINITY;
        alert_set_settle(&w->set, w->now_usec, REALTIME + w->now_usec, &w->again_usec, tell, w);
}

/* One pass per second for so long; all conditions as in v. */
static void live(World *w, const AlertServiceView *v, unsigned seconds) {
        for (unsigned i = 0; i < seconds; i++) {
                if (v)
                        alert_set_see_service(&w->set, v, w->now_usec);
                settle(w);
                w->now_usec += S;
        }
}

static AlertServiceView view(uint32_t ready, uint32_t desired) {
        return (AlertServiceView){ .id = "alpha",
                                   .wanted = true,
                                   .desired = desired,
                                   .ready = ready,
                                   .reason = "why",
                                   .max = 4 };
}

TEST(a_service_without_a_ready_replica_is_down_after_a_while) {
        AlertServiceView v = view(0, 3);
        World w = WORLD_INIT;

        live(&w, &v, 30);
        ASSERT_EQ(w.n_began, 0);
        ASSERT_EQ(w.again_usec, w.now_usec);
        live(&w, &v, 1);
        ASSERT_EQ(w.n_began, 1);
        ASSERT_EQ(w.last.name, ALERT_SERVICE_DOWN);
        ASSERT_STREQ(w.last.summary, "alpha: 0 of 3 replicas are ready: why");
        live(&w, &v, 1000);
        ASSERT_EQ(w.n_began, 1); /* told once */
        ASSERT_EQ(w.n_ended, 0);
        alert_set_done(&w.set);
}

TEST(what_flickers_neither_begins_nor_ends_again_and_again) {
        AlertServiceView bad = view(1, 2), good = view(2, 2);
        World w = WORLD_INIT;

        for (unsigned i = 0; i < 10; i++) { /* never for a whole minute */
                live(&w, &bad, 50);
                live(&w, &good, 1);
        }
        ASSERT_EQ(w.n_began, 0);
        live(&w, &bad, 61);
        ASSERT_EQ(w.n_began, 1);
        for (unsigned i = 0; i < 10; i++) { /* never well for long enough */
                live(&w, &good, 10);
                live(&w, &bad, 1);
        }
        ASSERT_EQ(w.n_ended, 0);
        live(&w, &good, 16);
        ASSERT_EQ(w.n_ended, 1);
        ASSERT_EQ(w.n_began, 1);
        ASSERT_EQ(w.set.n, 0);
        alert_set_done(&w.set);
}

TEST(one_that_is_not_wanted_or_asleep_is_not_down) {
        AlertServiceView stopped = view(0, 2), asleep = view(0, 0);
        World w = WORLD_INIT;

        stopped.wanted = false;
        live(&w, &stopped, 500);
        live(&w, &asleep, 500);
        ASSERT_EQ(w.n_began, 0);
        ASSERT_EQ(w.again_usec, MAM_USEC_INFINITY);
        alert_set_done(&w.set);
}

TEST(down_takes_the_place_of_degraded) {
        AlertServiceView some = view(1, 2), none = view(0, 2);
        World w = WORLD_INIT;

        live(&w, &some, 61);
        ASSERT_EQ(w.last.name, ALERT_SERVICE_DEGRADED);
        live(&w, &none, 31);
        ASSERT_EQ(w.n_began, 2);
        ASSERT_EQ(w.n_ended, 1);
        ASSERT_EQ(w.set.n, 1);
        ASSERT_EQ(w.set.alerts[0].name, ALERT_SERVICE_DOWN);
        alert_set_done(&w.set);
}

TEST(scaling_at_its_maximum_is_told_after_five_minutes) {
        AlertServiceView v = view(4, 4);
        World w = WORLD_INIT;

        v.unbounded = 4;
        live(&w, &v, 400); /* just enough */
        v.unbounded = 6;
        live(&w, &v, 300);
        ASSERT_EQ(w.n_began, 0);
        live(&w, &v, 1);
        ASSERT_EQ(w.n_began, 1);
        ASSERT_STREQ(w.last.summary, "alpha: its load asks for 6 replicas, and maxReplicas is 4");
        alert_set_done(&w.set);
}

TEST(replicas_have_alerts_of_their_own) {
        AlertReplicaView v = { .number = 2,
                               .looping = true,
                               .hold = "crash loop: 5 deaths within 10s",
                               .oom_age_usec = 3 * S,
                               .memory_bytes = 64ULL * 1024 * 1024 };
        World w = WORLD_INIT;

        alert_set_see_replica(&w.set, "alpha", &v, w.now_usec);
        settle(&w);
        ASSERT_EQ(w.n_began, 2);
        ASSERT_EQ(w.last.name, ALERT_REPLICA_OOM_KILLED);
        ASSERT_STREQ(w.last.summary, "alpha:2 was killed at its memory limit of 64 MiB");
        v.looping = false;
        v.oom_age_usec = ALERT_OOM_USEC;
        alert_set_see_replica(&w.set, "alpha", &v, w.now_usec);
        settle(&w);
        ASSERT_EQ(w.n_ended, 2);
        alert_set_done(&w.set);
}

TEST(an_unhealthy_replica_is_told_after_ten_seconds) {
        AlertReplicaView v = { .number = 1,
                               .unhealthy = true,
                               .reason = "HTTP status 503",
                               .oom_age_usec = MAM_USEC_INFINITY };
        World w = WORLD_INIT;

        for (unsigned i = 0; i <= 10; i++, w.now_usec += S) {
                ASSERT_EQ(w.n_began, 0);
                alert_set_see_replica(&w.set, "alpha", &v, w.now_usec);
                settle(&w);
        }
        ASSERT_EQ(w.n_began, 1);
        ASSERT_STREQ(w.last.summary, "alpha:1 runs and does not answer: HTTP status 503");
        alert_set_done(&w.set);
}

TEST(a_rollout_that_went_back_and_a_bad_configuration_are_told_at_once) {
        AlertServiceView v = view(2, 2);
        World w = WORLD_INIT;

        v.reverted = "not healthy in time";
        alert_set_see(&w.set,
                      ALERT_CONFIGURATION_INVALID,
                      "beta",
                      0,
                      "services.json:3: beta.port: no",
                      w.now_usec);
        live(&w, &v, 1);
        ASSERT_EQ(w.n_began, 2);
        v.reverted = NULL;
        live(&w, &v, 1);
        ASSERT_EQ(w.n_ended, 2);
        alert_set_done(&w.set);
}

TEST(fingerprints_are_stable_and_differ) {
        char a[ALERT_FINGERPRINT_SIZE], b[ALERT_FINGERPRINT_SIZE];

        alert_fingerprint(a, ALERT_SERVICE_DOWN, "alpha", 0);
        ASSERT_STREQ(a, "17b55dab5b613ef1");
        alert_fingerprint(b, ALERT_SERVICE_DOWN, "alpha", 1);
        ASSERT_TRUE(strcmp(a, b) != 0);
        alert_fingerprint(b, ALERT_SERVICE_DEGRADED, "alpha", 0);
        ASSERT_TRUE(strcmp(a, b) != 0);
}

TEST(there_is_a_bound_to_what_is_told) {
        World w = WORLD_INIT;

        for (uint32_t n = 1; n <= ALERTS_MAX + 50; n++)
                alert_set_see(&w.set, ALERT_REPLICA_UNHEALTHY, "alpha", n, "x", w.now_usec);
        ASSERT_EQ(w.set.n, ALERTS_MAX);
        settle(&w);
        settle(&w);
        ASSERT_EQ(w.set.n, 0);
        alert_set_done(&w.set);
}

TEST(every_rule_has_a_name_and_a_severity) {
        for (AlertName n = 0; n < _ALERT_NAME_MAX; n++) {
                ASSERT_TRUE(alert_rules[n].name && alert_rules[n].severity);
                ASSERT_TRUE(strcmp(alert_rules[n].severity, "warning") == 0 ||
                            strcmp(alert_rules[n].severity, "critical") == 0);
        }
}

TEST(a_new_manager_tells_neither_an_end_nor_a_second_beginning) {
        AlertServiceView v = view(0, 3);
        World before = WORLD_INIT, after = WORLD_INIT;
        char path[64];

        snprintf(path, sizeof(path), "/tmp/mam-test-alerts-%d", (int) getpid());
        live(&before, &v, 31);
        alert_set_see(&before.set, ALERT_REPLICA_UNHEALTHY, "beta", 7, "pending: not kept", before.now_usec);
        alert_set_see(&before.set, ALERT_STATE_NOT_WRITABLE, "", 0, "no\nspace", before.now_usec);
        alert_set_see_service(&before.set, &v, before.now_usec);
        settle(&before);
        ASSERT_EQ(before.n_began, 2);
        ASSERT_OK(alert_set_save(&before.set, path));

        ASSERT_OK(alert_set_load(&after.set, path, after.now_usec));
        ASSERT_EQ(after.set.n, 2);
        ASSERT_STREQ(after.set.alerts[0].fingerprint, before.set.alerts[0].fingerprint);
        ASSERT_EQ(after.set.alerts[0].started_usec, before.set.alerts[0].started_usec);
        ASSERT_STREQ(after.set.alerts[1].summary, "no space");
        live(&after, &v, 100);
        ASSERT_EQ(after.n_began, 0);
        ASSERT_EQ(after.n_ended, 1); /* the state can be written again */
        live(&after, NULL, 6);
        ASSERT_EQ(after.n_ended, 2);
        ASSERT_OK(unlink(path));
        alert_set_done(&before.set);
        alert_set_done(&after.set);
}

TEST(a_file_of_alerts_that_is_not_ours_is_no_crash) {
        static const char *const wrong[] = { "x",
                                             "ServiceDown alpha 0 1 text",
                                             "ServiceDown alpha 0\n",
                                             "Nonsense alpha 0 1 text\n",
                                             "ServiceDown ../x 0 1 text\n",
                                             "ServiceDown alpha 4000000000 1 text\n",
                                             "ServiceDown alpha 0 0 text\n",
                                             "ServiceDown alpha 0 1\n",
                                             "\n" };
        char path[64];

        snprintf(path, sizeof(path), "/tmp/mam-test-alerts-%d", (int) getpid());
        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++) {
                AlertSet set = { .n = 0 };

                ASSERT_OK(mam_file_write_atomic(path, wrong[i], strlen(wrong[i]), 0600));
                ASSERT_EQ(alert_set_load(&set, path, 1), -EBADMSG);
                ASSERT_EQ(set.n, 0);
                alert_set_done(&set);
        }
        ASSERT_OK(unlink(path));
}
