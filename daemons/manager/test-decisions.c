/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pure decisions: back-off, health, reconciliation
 */

#include <stdint.h>

#include "libmam/util/test.h"
#include "libmam/util/time.h"
#include "manager/backoff.h"
#include "manager/health.h"
#include "manager/liveness.h"
#include "manager/reconcile.h"

#define SEC MAM_USEC_PER_SEC

static const HealthRules rules = { .interval_usec = 30 * SEC, .failures = 3, .successes = 1 };

TEST(a_replica_may_die_now_and_then) {
        Backoff b = { 0 };
        uint64_t now = 1000 * SEC;

        for (unsigned i = 0; i < 100; i++, now += 3 * SEC)
                ASSERT_TRUE(!backoff_note_deaths(&b, 1, now));
        ASSERT_EQ(b.held_until_usec, 0);
}

TEST(five_deaths_within_ten_seconds_hold_back_and_longer_each_time) {
        static const uint64_t seconds[] = { 10, 20, 40, 80, 160, 300, 300 };
        Backoff b = { 0 };
        uint64_t now = 1000 * SEC;

        for (unsigned k = 0; k < MAM_ELEMENTSOF(seconds); k++) {
                for (unsigned i = 0; i < BACKOFF_DEATHS - 1; i++, now += SEC)
                        ASSERT_TRUE(!backoff_note_deaths(&b, 1, now));
                ASSERT_TRUE(backoff_note_deaths(&b, 1, now));
                ASSERT_EQ(b.held_until_usec, now + seconds[k] * SEC);
                now = b.held_until_usec;
                backoff_release(&b);
        }
}

TEST(deaths_that_arrive_as_one_signal_count_each) {
        Backoff b = { 0 };

        ASSERT_TRUE(!backoff_note_deaths(&b, 4, 50 * SEC));
        ASSERT_TRUE(backoff_note_deaths(&b, 1, 51 * SEC));
        backoff_reset(&b);
        ASSERT_TRUE(backoff_note_deaths(&b, 7, 52 * SEC));
}

TEST(healthy_minutes_reset_the_backoff_and_shorter_ones_do_not) {
        Backoff b = { 0 };

        ASSERT_TRUE(backoff_note_deaths(&b, 5, 100 * SEC));
        ASSERT_EQ(b.level, 1);
        backoff_note_health(&b, true, 200 * SEC);
        backoff_note_health(&b, false, 300 * SEC);
        backoff_note_health(&b, true, 301 * SEC);
        backoff_note_health(&b, true, 301 * SEC + BACKOFF_RESET_USEC - 1);
        ASSERT_EQ(b.level, 1);
        backoff_note_health(&b, true, 301 * SEC + BACKOFF_RESET_USEC);
        ASSERT_EQ(b.level, 0);
}

TEST(failed_starts_are_tried_again_after_longer_and_longer) {
        Backoff b = { 0 };

        for (unsigned i = 0; i < 4; i++) {
                backoff_note_failed_start(&b, 100 * SEC);
                ASSERT_EQ(b.held_until_usec, 100 * SEC + (SEC << i));
        }
        for (unsigned i = 0; i < 100; i++)
                backoff_note_failed_start(&b, 100 * SEC);
        ASSERT_EQ(b.held_until_usec, 100 * SEC + BACKOFF_MAX_USEC);
}

TEST(a_started_replica_is_ready_after_its_first_good_probe) {
        Health h = HEALTH_INIT;

        ASSERT_TRUE(health_note_starting(&h, 1));
        ASSERT_TRUE(!health_is_good(&h));
        ASSERT_EQ(h.next_probe_usec, MAM_USEC_INFINITY);
        (void) health_note_active(&h, false, 10 * SEC, 2);
        ASSERT_EQ(h.next_probe_usec, 10 * SEC);
        ASSERT_TRUE(!health_is_good(&h));
        ASSERT_TRUE(!health_note_probe(&h, &rules, false, 10 * SEC, 3));
        ASSERT_EQ(h.next_probe_usec, 10 * SEC + HEALTH_FIRST_RETRY_USEC);
        for (unsigned i = 0; i < 40; i++)
                (void) health_note_probe(&h, &rules, false, 11 * SEC, 3);
        ASSERT_EQ(h.next_probe_usec, 11 * SEC + HEALTH_RETRY_MAX_USEC);
        ASSERT_EQ(h.state, HEALTH_STARTING);
        ASSERT_TRUE(health_note_probe(&h, &rules, true, 12 * SEC, 4));
        ASSERT_TRUE(health_is_good(&h));
        ASSERT_EQ(h.since_realtime_usec, 4);
        ASSERT_EQ(h.next_probe_usec, 42 * SEC);
}

TEST(three_failures_make_unhealthy_and_one_success_healthy) {
        Health h = HEALTH_INIT;

        (void) health_note_active(&h, true, 0, 0);
        ASSERT_TRUE(health_note_probe(&h, &rules, true, 1 * SEC, 1));
        ASSERT_TRUE(!health_note_probe(&h, &rules, false, 2 * SEC, 2));
        ASSERT_TRUE(!health_note_probe(&h, &rules, false, 3 * SEC, 3));
        ASSERT_TRUE(health_is_good(&h));
        ASSERT_TRUE(health_note_probe(&h, &rules, false, 4 * SEC, 4));
        ASSERT_TRUE(!health_is_good(&h));
        ASSERT_TRUE(health_note_probe(&h, &rules, true, 5 * SEC, 5));
        ASSERT_TRUE(health_is_good(&h));
        ASSERT_TRUE(!health_note_probe(&h, &rules, false, 6 * SEC, 6));
        ASSERT_TRUE(!health_note_probe(&h, &rules, true, 7 * SEC, 7));
        ASSERT_TRUE(!health_note_probe(&h, &rules, false, 8 * SEC, 8));
        ASSERT_TRUE(!health_note_probe(&h, &rules, false, 9 * SEC, 9));
        ASSERT_TRUE(health_is_good(&h)); /* only failures in a row count */
}

TEST(thresholds_come_from_the_configuration) {
        static const HealthRules own = { .interval_usec = 10 * SEC, .failures = 5, .successes = 3 };
        Health h = HEALTH_INIT;

        (void) health_note_active(&h, false, 0, 0);
        ASSERT_TRUE(!health_note_probe(&h, &own, true, 1 * SEC, 1));
        ASSERT_EQ(h.next_probe_usec, 1 * SEC + HEALTH_FIRST_RETRY_USEC); /* somebody waits */
        ASSERT_TRUE(!health_note_probe(&h, &own, false, 2 * SEC, 2));    /* not in a row */
        ASSERT_TRUE(!health_note_probe(&h, &own, true, 3 * SEC, 3));
        ASSERT_TRUE(!health_note_probe(&h, &own, true, 4 * SEC, 4));
        ASSERT_TRUE(health_note_probe(&h, &own, true, 5 * SEC, 5));
        ASSERT_EQ(h.next_probe_usec, 15 * SEC);
        for (unsigned i = 0; i < 4; i++)
                ASSERT_TRUE(!health_note_probe(&h, &own, false, 6 * SEC, 6));
        ASSERT_TRUE(health_is_good(&h));
        ASSERT_TRUE(health_note_probe(&h, &own, false, 7 * SEC, 7));
        ASSERT_EQ(h.state, HEALTH_UNHEALTHY);
        ASSERT_TRUE(!health_note_probe(&h, &own, true, 8 * SEC, 8));
        ASSERT_TRUE(!health_note_probe(&h, &own, true, 9 * SEC, 9));
        ASSERT_TRUE(health_note_probe(&h, &own, true, 10 * SEC, 10));
}

TEST(what_was_found_running_is_believed_until_probes_say_otherwise) {
        Health h = HEALTH_INIT;

        (void) health_note_active(&h, true, 5 * SEC, 1);
        ASSERT_EQ(h.state, HEALTH_UNKNOWN);
        ASSERT_TRUE(health_is_good(&h));
        ASSERT_EQ(h.next_probe_usec, 5 * SEC);
        for (unsigned i = 0; i < 3; i++)
                (void) health_note_probe(&h, &rules, false, 6 * SEC, 2);
        ASSERT_EQ(h.state, HEALTH_UNHEALTHY);
}

static ReplicaAction decide(ReplicaView v, uint64_t now, uint64_t *ret_again) {
        uint64_t again = MAM_USEC_INFINITY;
        ReplicaAction a;

        a = reconcile_replica(&v, now, &again);
        if (ret_again)
                *ret_again = again;
        return a;
}

TEST(an_intended_start_waits_for_the_gate_the_hold_and_systemd) {
        ReplicaView v = { .wanted = true, .starting = true, .gate_open = true };
        uint64_t again;

        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_START);
        v.gate_open = false;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.gate_open = true;
        v.busy = true;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.busy = false;
        v.held_until_usec = 20 * SEC;
        ASSERT_EQ(decide(v, 10 * SEC, &again), REPLICA_NOTHING);
        ASSERT_EQ(again, 20 * SEC);
        ASSERT_EQ(decide(v, 20 * SEC, NULL), REPLICA_START);
        v.held_until_usec = 0;
        v.activity = UNIT_ACTIVATING;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.activity = UNIT_ACTIVE;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_STARTED);
        v.busy = true; /* a stop that was asked for before is still on its way */
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
}

TEST(an_intended_stop_drains_first) {
        ReplicaView v = { .stopping = true, .gate_open = true, .activity = UNIT_ACTIVE };
        uint64_t again;

        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_DRAIN);
        v.gate_open = false;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.gate_open = true;
        v.drain_until_usec = 11 * SEC;
        ASSERT_EQ(decide(v, 10 * SEC, &again), REPLICA_NOTHING);
        ASSERT_EQ(again, 11 * SEC);
        ASSERT_EQ(decide(v, 11 * SEC, NULL), REPLICA_STOP);
        v.busy = true; /* systemd is still starting it */
        ASSERT_EQ(decide(v, 11 * SEC, NULL), REPLICA_STOP);
        v.busy_own = true;
        ASSERT_EQ(decide(v, 11 * SEC, NULL), REPLICA_NOTHING);
        v.busy = v.busy_own = false;
        v.activity = UNIT_DEACTIVATING;
        ASSERT_EQ(decide(v, 12 * SEC, NULL), REPLICA_NOTHING);
        v.activity = UNIT_INACTIVE;
        ASSERT_EQ(decide(v, 12 * SEC, NULL), REPLICA_STOPPED);
}

TEST(an_administrators_stop_is_adopted_once_it_has_settled) {
        ReplicaView v = { .wanted = true, .gate_open = true, .activity_since_usec = 10 * SEC };
        uint64_t again;

        ASSERT_EQ(decide(v, 10 * SEC, &again), REPLICA_NOTHING);
        ASSERT_EQ(again, 10 * SEC + RECONCILE_SETTLE_USEC);
        v.busy = true; /* a restart passes through inactive */
        ASSERT_EQ(decide(v, 20 * SEC, NULL), REPLICA_NOTHING);
        v.busy = false;
        ASSERT_EQ(decide(v, 20 * SEC, NULL), REPLICA_ADOPT_STOPPED);
}

TEST(a_dead_replica_that_systemd_restarts_is_left_alone) {
        ReplicaView v = { .wanted = true, .gate_open = true, .activity = UNIT_ACTIVATING };

        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.held_until_usec = 30 * SEC; /* a start that failed: systemd tries on, so do we */
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.looping = true;
        v.busy = true; /* its restart is queued already */
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_HOLD);
        v.busy_own = true; /* our stop is on its way */
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.busy_own = v.busy = false;
        v.activity = UNIT_ACTIVE;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
}

TEST(an_administrators_start_is_adopted) {
        ReplicaView v = { .gate_open = true, .activity = UNIT_ACTIVE };

        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_ADOPT_RUNNING);
        v.activity = UNIT_DEACTIVATING;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
        v.activity = UNIT_INACTIVE;
        ASSERT_EQ(decide(v, 10 * SEC, NULL), REPLICA_NOTHING);
}

static Numbers numbers(const uint32_t *list, size_t n) {
        Numbers s = NUMBERS_INIT;

        for (size_t i = 0; i < n; i++)
                numbers_add(&s, list[i]);
        return s;
}

TEST(scaling_up_takes_the_lowest_free_numbers) {
        VictimRank ranks[MAM_CONFIG_REPLICAS_MAX + 1] = { VICTIM_FAILED };
        Numbers have = numbers((uint32_t[]){ 1, 3, 6 }, 3), add, rem;

        reconcile_scale(&have, 6, 10, ranks, &add, &rem);
        ASSERT_TRUE(numbers_has(&add, 2) && numbers_has(&add, 4) && numbers_has(&add, 5));
        ASSERT_EQ(numbers_count(&add), 3);
        ASSERT_EQ(numbers_count(&rem), 0);

        have = (Numbers) NUMBERS_INIT;
        reconcile_scale(&have, 100, MAM_CONFIG_REPLICAS_MAX, ranks, &add, &rem);
        ASSERT_EQ(numbers_count(&add), 100);
        ASSERT_TRUE(numbers_has(&add, 100));
}

TEST(scaling_down_takes_failed_then_unready_then_newest_and_the_trigger_last) {
        VictimRank ranks[MAM_CONFIG_REPLICAS_MAX + 1];
        Numbers have = numbers((uint32_t[]){ 1, 2, 3, 4, 5, 6 }, 6), add, rem;

        for (size_t i = 0; i < MAM_ELEMENTSOF(ranks); i++)
                ranks[i] = VICTIM_READY;
        ranks[1] = VICTIM_TRIGGER;
        ranks[2] = VICTIM_FAILED;
        ranks[4] = VICTIM_NOT_READY;

        reconcile_scale(&have, 5, 10, ranks, &add, &rem);
        ASSERT_TRUE(numbers_count(&rem) == 1 && numbers_has(&rem, 2));
        reconcile_scale(&have, 4, 10, ranks, &add, &rem);
        ASSERT_TRUE(numbers_count(&rem) == 2 && numbers_has(&rem, 4));
        reconcile_scale(&have, 3, 10, ranks, &add, &rem);
        ASSERT_TRUE(numbers_count(&rem) == 3 && numbers_has(&rem, 6));
        reconcile_scale(&have, 1, 10, ranks, &add, &rem);
        ASSERT_TRUE(numbers_count(&rem) == 5 && !numbers_has(&rem, 1));
        ASSERT_EQ(numbers_count(&add), 0);
}

TEST(what_is_started_with_one_command_leaves_no_gap) {
        Numbers start = NUMBERS_INIT, runs = NUMBERS_INIT;

        ASSERT_EQ(reconcile_batch(&start, &runs), 0);
        numbers_add(&start, 2);
        numbers_add(&runs, 1);
        ASSERT_EQ(reconcile_batch(&start, &runs), 0); /* one is no batch */
        numbers_add(&start, 4);
        ASSERT_EQ(reconcile_batch(&start, &runs), 0); /* 3 would be started too */
        numbers_add(&runs, 3);
        ASSERT_EQ(reconcile_batch(&start, &runs), 4);
        numbers_add(&runs, 7);
        ASSERT_EQ(reconcile_batch(&start, &runs), 4); /* what runs beyond is not touched */
        numbers_add(&start, MAM_CONFIG_REPLICAS_MAX);
        ASSERT_EQ(reconcile_batch(&start, &runs), 0);
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                numbers_add(&start, n);
        ASSERT_EQ(reconcile_batch(&start, &runs), MAM_CONFIG_REPLICAS_MAX);
}

TEST(state_of_a_service_from_its_counts) {
        ASSERT_STREQ(reconcile_service_state(&(ServiceCounts){ 0 }), "stopped");
        ASSERT_STREQ(reconcile_service_state(&(ServiceCounts){ .existing = 1 }), "stopping");
        ASSERT_STREQ(reconcile_service_state(&(ServiceCounts){ .wanted = true, .desired = 3, .ready = 3 }),
                     "running");
        ASSERT_STREQ(reconcile_service_state(&(ServiceCounts){ .wanted = true,
                                                               .desired = 3,
                                                               .ready = 1,
                                                               .starting = 2 }),
                     "starting");
        ASSERT_STREQ(reconcile_service_state(&(
                                     ServiceCounts){ .wanted = true, .desired = 3, .ready = 2, .held = 1 }),
                     "degraded");
        ASSERT_STREQ(reconcile_service_state(&(ServiceCounts){ .wanted = true, .desired = 3, .ready = 2 }),
                     "degraded");
        ASSERT_STREQ(reconcile_service_state(&(ServiceCounts){ .wanted = true, .desired = 2, .held = 2 }),
                     "failed");
}

static LivenessVerdict judge(const Liveness *l, LivenessView v, uint64_t now) {
        uint64_t again = MAM_USEC_INFINITY;

        return liveness_judge(l, &v, now, &again);
}

TEST(a_replica_that_goes_on_failing_is_restarted) {
        LivenessView v = { .wanted = true, .unhealthy = true, .threshold = 3 };
        Liveness l = { 0 };

        for (v.failures = 3; v.failures < 12; v.failures++)
                ASSERT_EQ(judge(&l, v, 1000 * SEC), LIVENESS_COUNTING);
        ASSERT_EQ(judge(&l, v, 1000 * SEC), LIVENESS_RESTART);
        v.unhealthy = false;
        ASSERT_EQ(judge(&l, v, 1000 * SEC), LIVENESS_FINE);
        v.unhealthy = true;
        v.wanted = false;
        ASSERT_EQ(judge(&l, v, 1000 * SEC), LIVENESS_FINE);
}

TEST(what_a_restart_cannot_cure_is_not_restarted) {
        LivenessView v = { .wanted = true, .unhealthy = true, .threshold = 3, .failures = 1000 }, w;
        Liveness l = { 0 };

        ASSERT_EQ(judge(&l, v, 1000 * SEC), LIVENESS_RESTART);
        w = v;
        w.keeps_data = true;
        ASSERT_EQ(judge(&l, w, 1000 * SEC), LIVENESS_KEEPS_DATA);
        w = v;
        w.dependency_is_down = true;
        ASSERT_EQ(judge(&l, w, 1000 * SEC), LIVENESS_DEPENDENCY);
        w = v;
        w.sibling_is_down = true;
        ASSERT_EQ(judge(&l, w, 1000 * SEC), LIVENESS_SIBLING);
        w = v;
        w.busy = true;
        ASSERT_EQ(judge(&l, w, 1000 * SEC), LIVENESS_BUSY);
}

TEST(restarts_that_do_not_help_become_rare) {
        static const uint64_t waits[] = { 60, 120, 240, 480, 600, 600, 600 };
        LivenessView v = { .wanted = true, .unhealthy = true, .threshold = 3, .failures = 12 };
        uint64_t now = 1000 * SEC, again;
        Liveness l = { 0 };

        for (size_t i = 0; i < MAM_ELEMENTSOF(waits); i++) {
                ASSERT_EQ(judge(&l, v, now), LIVENESS_RESTART);
                liveness_note_restart(&l, now);
                again = MAM_USEC_INFINITY;
                ASSERT_EQ(liveness_judge(&l, &v, now + 1, &again), LIVENESS_BACKOFF);
                ASSERT_EQ(again, now + waits[i] * SEC);
                now = again;
        }
        liveness_note_health(&l, now, now + BACKOFF_RESET_USEC - 1);
        ASSERT_TRUE(liveness_held_until(&l) > 0);
        liveness_note_health(&l, now, now + BACKOFF_RESET_USEC);
        ASSERT_EQ(liveness_held_until(&l), 0);
}

TEST(every_verdict_has_words) {
        for (LivenessVerdict v = LIVENESS_RESTART; v < _LIVENESS_VERDICT_MAX; v++)
                ASSERT_TRUE(liveness_verdict_to_string(v)[0] != '\0');
}
