/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who is to be told what and when, without a clock and without a network; and how the message reads
 */

#include <string.h>

#include "alerts/payload.h"
#include "alerts/post.h"
#include "alerts/table.h"
#include "libmam/fetch/fetch.h"
#include "libmam/json/json.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define SECOND MAM_USEC_PER_SEC
#define NOW    (1000 * SECOND)

static AlertNews news(const char *fingerprint, const char *service, uint64_t ended_usec) {
        return (AlertNews){
                .fingerprint = fingerprint,
                .name = "ReplicaCrashLooping",
                .severity = "warning",
                .service = service,
                .replica = "2",
                .summary = "it dies again and again",
                .started_usec = 1767322800 * SECOND,
                .ended_usec = ended_usec,
        };
}

static int take(AlertTable *t, const char *fingerprint, const char *service, bool firing, uint64_t now) {
        AlertNews n = news(fingerprint, service, firing ? 0 : 1767322900 * SECOND);

        return alert_table_take(t, &n, now);
}

/* Sends what is due to receiver 0 and has it arrive; false: nothing is due. */
static bool tell(AlertTable *t, unsigned slot, uint64_t now) {
        uint64_t next;
        AlertGroup *g;

        g = alert_table_pick(t, slot, now, &next);
        if (!g)
                return false;
        alert_group_sent(g, slot, now);
        alert_table_arrived(t, slot, true, now);
        return true;
}

static uint64_t next_due(AlertTable *t, unsigned slot) {
        uint64_t next;

        (void) alert_table_pick(t, slot, 0, &next);
        return next;
}

TEST(a_group_waits_for_company_then_for_its_interval_then_repeats) {
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_TRUE(next_due(&t, 0) == MAM_USEC_INFINITY);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        ASSERT_EQ(take(&t, "b", "x", true, NOW + 1), 1);
        ASSERT_EQ(take(&t, "a", "x", true, NOW + 2), 0); /* known */
        ASSERT_EQ(next_due(&t, 0), NOW + GROUP_WAIT_USEC);
        ASSERT_TRUE(!tell(&t, 0, NOW + GROUP_WAIT_USEC - 1));
        ASSERT_TRUE(tell(&t, 0, NOW + 2 * SECOND));
        ASSERT_EQ(next_due(&t, 0), NOW + 2 * SECOND + REPEAT_INTERVAL_USEC);

        /* something new, and what is over, wait for the interval */
        ASSERT_EQ(take(&t, "c", "x", true, NOW + 3 * SECOND), 1);
        ASSERT_EQ(take(&t, "a", "x", false, NOW + 4 * SECOND), 1);
        ASSERT_EQ(next_due(&t, 0), NOW + 2 * SECOND + GROUP_INTERVAL_USEC);
        /* another service is another group */
        ASSERT_EQ(take(&t, "d", "y", true, NOW + 4 * SECOND), 1);
        ASSERT_EQ(next_due(&t, 0), NOW + 4 * SECOND + GROUP_WAIT_USEC);
        ASSERT_TRUE(tell(&t, 0, NOW + 5 * SECOND));
        ASSERT_TRUE(tell(&t, 0, NOW + 12 * SECOND));
        ASSERT_EQ(t.n, 3); /* what is over is forgotten when it was told */

        ASSERT_TRUE(tell(&t, 0, NOW + 12 * SECOND + REPEAT_INTERVAL_USEC));
        alert_table_done(&t);
}

TEST(what_is_over_is_kept_until_everybody_knows) {
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        alert_table_add_receiver(&t, 3);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        ASSERT_TRUE(tell(&t, 0, NOW + SECOND));
        /* it ends before the other was told that it began: both are told */
        ASSERT_EQ(take(&t, "a", "x", false, NOW + SECOND), 1);
        ASSERT_TRUE(tell(&t, 3, NOW + 2 * SECOND));
        ASSERT_EQ(t.n, 1);
        ASSERT_TRUE(!tell(&t, 3, NOW + 100 * SECOND));
        ASSERT_TRUE(tell(&t, 0, NOW + 100 * SECOND));
        ASSERT_EQ(t.n, 0);
        ASSERT_TRUE(TAILQ_EMPTY(&t.groups));

        /* nor for one that is not there any more */
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        ASSERT_EQ(take(&t, "a", "x", false, NOW), 1);
        alert_table_remove_receiver(&t, 0);
        ASSERT_EQ(t.n, 1);
        alert_table_remove_receiver(&t, 3);
        ASSERT_EQ(t.n, 0);
        ASSERT_EQ(take(&t, "a", "x", false, NOW), 1);
        ASSERT_EQ(t.n, 0);
}

TEST(a_message_that_does_not_arrive_is_made_anew) {
        uint64_t next;
        AlertTable t;
        AlertGroup *g;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        g = alert_table_pick(&t, 0, NOW + SECOND, &next);
        alert_group_sent(g, 0, NOW + SECOND);
        ASSERT_EQ(take(&t, "a", "x", false, NOW + SECOND), 1);
        alert_table_arrived(&t, 0, false, NOW + SECOND);
        ASSERT_TRUE(tell(&t, 0, NOW + 3 * SECOND));
        ASSERT_EQ(t.n, 0);
}

TEST(what_changes_while_a_message_is_under_way_is_told_in_the_next) {
        uint64_t next;
        AlertTable t;
        AlertGroup *g;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        g = alert_table_pick(&t, 0, NOW + SECOND, &next);
        alert_group_sent(g, 0, NOW + SECOND);
        ASSERT_EQ(take(&t, "b", "x", true, NOW + SECOND), 1);
        ASSERT_EQ(take(&t, "a", "x", false, NOW + SECOND), 1);
        alert_table_arrived(&t, 0, true, NOW + SECOND);
        g = TAILQ_FIRST(&t.groups);
        ASSERT_EQ(alert_group_due_usec(g, 0), NOW + SECOND + GROUP_INTERVAL_USEC);

        /* over, but it fires again before that has arrived: the receiver is wrong then, and told */
        alert_group_sent(g, 0, NOW + 20 * SECOND);
        ASSERT_EQ(take(&t, "a", "x", true, NOW + 20 * SECOND), 1);
        alert_table_arrived(&t, 0, true, NOW + 20 * SECOND);
        ASSERT_EQ(t.n, 2);
        ASSERT_EQ(alert_group_due_usec(g, 0), NOW + 20 * SECOND + GROUP_INTERVAL_USEC);
        ASSERT_TRUE(tell(&t, 0, NOW + 40 * SECOND));
        ASSERT_EQ(alert_group_due_usec(g, 0), NOW + 40 * SECOND + REPEAT_INTERVAL_USEC);

        /* over and firing again between two messages: the receiver has missed nothing */
        ASSERT_EQ(take(&t, "a", "x", false, NOW + 41 * SECOND), 1);
        ASSERT_EQ(take(&t, "a", "x", true, NOW + 42 * SECOND), 1);
        ASSERT_EQ(alert_group_due_usec(g, 0), NOW + 40 * SECOND + REPEAT_INTERVAL_USEC);
        alert_table_done(&t);
}

TEST(one_that_chokes_does_not_stand_in_the_way) {
        uint64_t next;
        AlertTable t;
        AlertGroup *g;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        ASSERT_EQ(take(&t, "b", "y", true, NOW), 1);
        g = alert_table_pick(&t, 0, NOW + SECOND, &next);
        ASSERT_STREQ(g->service, "x");
        alert_group_sent(g, 0, NOW + SECOND);
        alert_table_arrived(&t, 0, false, NOW + SECOND);
        ASSERT_STREQ(alert_table_pick(&t, 0, NOW + 2 * SECOND, &next)->service, "y");
        alert_table_done(&t);
}

TEST(what_a_list_does_not_have_is_over_in_the_end) {
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        ASSERT_EQ(take(&t, "b", "x", true, NOW), 1);
        ASSERT_TRUE(tell(&t, 0, NOW + SECOND));

        /* a manager that has just started does not know of b yet */
        alert_table_list_begin(&t);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 0);
        ASSERT_EQ(alert_table_list_end(&t, false, NOW, NOW), 1);
        ASSERT_EQ(next_due(&t, 0), NOW + SECOND + REPEAT_INTERVAL_USEC);

        alert_table_list_begin(&t);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 0);
        ASSERT_EQ(alert_table_list_end(&t, true, NOW, NOW + 300 * SECOND), 1);
        ASSERT_TRUE(tell(&t, 0, NOW + 400 * SECOND));
        ASSERT_EQ(t.n, 1);
        alert_table_done(&t);
}

TEST(a_new_receiver_is_told_what_fires_and_not_what_is_over) {
        uint64_t next;
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        ASSERT_TRUE(tell(&t, 0, NOW + SECOND));
        ASSERT_EQ(take(&t, "a", "x", false, NOW + SECOND), 1);
        ASSERT_EQ(take(&t, "b", "y", true, NOW + SECOND), 1);
        alert_table_add_receiver(&t, 1);
        ASSERT_STREQ(alert_table_pick(&t, 1, NOW + 50 * SECOND, &next)->service, "y");
        ASSERT_TRUE(tell(&t, 1, NOW + 50 * SECOND));
        ASSERT_TRUE(!tell(&t, 1, NOW + 50 * SECOND));
        alert_table_done(&t);
}

TEST(there_is_a_bound) {
        char fingerprint[16];
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        for (unsigned i = 0; i < ALERTS_MAX; i++) {
                (void) snprintf(fingerprint, sizeof(fingerprint), "%u", i);
                ASSERT_EQ(take(&t, fingerprint, "x", true, NOW), 1);
        }
        ASSERT_EQ(take(&t, "one more", "x", true, NOW), -EDQUOT);
        ASSERT_EQ(take(&t, "7", "x", true, NOW), 0);
        alert_table_done(&t);
}

/* ---- the message ---- */

static json_object *format(AlertTable *t, unsigned slot) {
        _cleanup_(mam_freep) char *text = NULL;
        json_object *o = NULL;

        ASSERT_OK(payload_format(&text, TAILQ_FIRST(&t->groups), slot));
        ASSERT_OK(mam_json_parse(&o, text, strlen(text), NULL));
        return o;
}

static const char *text_at(json_object *o, const char *path) {
        char copy[128], *save = NULL;

        (void) snprintf(copy, sizeof(copy), "%s", path);
        for (char *key = strtok_r(copy, "/", &save); key; key = strtok_r(NULL, "/", &save))
                if (json_object_is_type(o, json_type_array))
                        o = json_object_array_get_idx(o, (size_t) atoi(key));
                else if (!json_object_object_get_ex(o, key, &o))
                        return "(none)";
        return mam_json_to_string(o);
}

TEST(the_message_is_alertmanagers) {
        json_object *o;
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "0123456789abcdef", "shop \"x\"", true, NOW), 1);
        o = format(&t, 0);
        ASSERT_STREQ(text_at(o, "version"), "\"4\"");
        ASSERT_STREQ(text_at(o, "status"), "\"firing\"");
        ASSERT_STREQ(text_at(o, "receiver"), "\"mam\"");
        ASSERT_STREQ(text_at(o, "groupKey"), "\"{}:{service=\\\"shop \\\"x\\\"\\\"}\"");
        ASSERT_STREQ(text_at(o, "truncatedAlerts"), "0");
        ASSERT_STREQ(text_at(o, "groupLabels"), "{\"service\":\"shop \\\"x\\\"\"}");
        ASSERT_STREQ(text_at(o, "commonLabels/alertname"), "\"ReplicaCrashLooping\"");
        ASSERT_STREQ(text_at(o, "commonLabels/severity"), "\"warning\"");
        ASSERT_STREQ(text_at(o, "commonAnnotations"), "{\"summary\":\"it dies again and again\"}");
        ASSERT_STREQ(text_at(o, "externalURL"), "\"\"");
        ASSERT_STREQ(text_at(o, "alerts/0/status"), "\"firing\"");
        ASSERT_STREQ(text_at(o, "alerts/0/labels/replica"), "\"2\"");
        ASSERT_STREQ(text_at(o, "alerts/0/startsAt"), "\"2026-01-02T03:00:00Z\"");
        ASSERT_STREQ(text_at(o, "alerts/0/endsAt"), "\"0001-01-01T00:00:00Z\"");
        ASSERT_STREQ(text_at(o, "alerts/0/generatorURL"), "\"\"");
        ASSERT_STREQ(text_at(o, "alerts/0/fingerprint"), "\"0123456789abcdef\"");
        json_object_put(o);

        ASSERT_TRUE(tell(&t, 0, NOW + SECOND));
        ASSERT_EQ(take(&t, "0123456789abcdef", "shop \"x\"", false, NOW + SECOND), 1);
        o = format(&t, 0);
        ASSERT_STREQ(text_at(o, "status"), "\"resolved\"");
        ASSERT_STREQ(text_at(o, "alerts/0/status"), "\"resolved\"");
        ASSERT_STREQ(text_at(o, "alerts/0/endsAt"), "\"2026-01-02T03:01:40Z\"");
        json_object_put(o);
        alert_table_done(&t);
}

TEST(common_is_what_all_have_alike) {
        AlertNews other = news("b", "x", 0);
        json_object *o;
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        ASSERT_EQ(take(&t, "a", "x", true, NOW), 1);
        other.replica = "";
        other.severity = "critical";
        ASSERT_EQ(alert_table_take(&t, &other, NOW), 1);
        ASSERT_EQ(take(&t, "c", "x", false, NOW), 1);
        o = format(&t, 0);
        ASSERT_STREQ(text_at(o, "commonLabels"),
                     "{\"alertname\":\"ReplicaCrashLooping\",\"service\":\"x\"}");
        ASSERT_STREQ(text_at(o, "status"), "\"firing\"");
        ASSERT_STREQ(text_at(o, "alerts/1/labels/replica"), "(none)");
        ASSERT_STREQ(text_at(o, "alerts/2/status"), "\"resolved\""); /* firing ones first */
        json_object_put(o);
        alert_table_done(&t);
}

TEST(of_very_many_the_first_are_told_and_the_rest_is_counted) {
        char fingerprint[16];
        json_object *o;
        AlertTable t;

        alert_table_init(&t);
        alert_table_add_receiver(&t, 0);
        for (unsigned i = 0; i < PAYLOAD_ALERTS_MAX + 7; i++) {
                (void) snprintf(fingerprint, sizeof(fingerprint), "%u", i);
                ASSERT_EQ(take(&t, fingerprint, "x", true, NOW), 1);
        }
        o = format(&t, 0);
        ASSERT_STREQ(text_at(o, "truncatedAlerts"), "7");
        ASSERT_STREQ(text_at(o, "alerts/99/fingerprint"), "\"99\"");
        json_object_put(o);
        alert_table_done(&t);
}

/* ---- what an answer means ---- */

TEST(what_an_answer_means) {
        static const struct {
                long status;
                bool is_url_bad;
                PostVerdict want;
        } cases[] = {
                { 200, false, POST_DONE },    { 204, false, POST_DONE },    { 302, false, POST_REFUSED },
                { 400, false, POST_REFUSED }, { 404, false, POST_REFUSED }, { 408, false, POST_REFUSED },
                { 429, false, POST_RETRY },   { 500, false, POST_RETRY },   { 503, false, POST_RETRY },
                { 0, false, POST_RETRY },     { 0, true, POST_REFUSED },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                ASSERT_EQ(post_verdict(cases[i].status, cases[i].is_url_bad), cases[i].want);
}

TEST(waiting_grows_to_a_minute_and_follows_the_receiver_up_to_an_hour) {
        for (int i = 0; i < 200; i++) {
                ASSERT_TRUE(post_backoff_usec(0, 0) >= SECOND / 2 && post_backoff_usec(0, 0) <= SECOND);
                ASSERT_TRUE(post_backoff_usec(3, 0) >= 4 * SECOND && post_backoff_usec(3, 0) <= 8 * SECOND);
                ASSERT_TRUE(post_backoff_usec(1000, 0) >= 30 * SECOND &&
                            post_backoff_usec(1000, 0) <= 60 * SECOND);
        }
        ASSERT_EQ(post_backoff_usec(0, 90 * SECOND), 90 * SECOND);
        ASSERT_EQ(post_backoff_usec(0, 90000 * SECOND), 3600 * SECOND);
}

TEST(only_the_origin_of_a_url_is_shown) {
        static const struct {
                const char *url, *want;
        } cases[] = {
                { "https://hooks.example.com/services/T0/B0/secret", "https://hooks.example.com" },
                { "http://user:secret@127.0.0.1:9093/x?token=secret", "http://127.0.0.1:9093" },
                { "https://[::1]:8443/", "https://[::1]:8443" },
                { "file:///etc/passwd", NULL },
                { "ftp://example.com/", NULL },
                { "gopher://example.com/", NULL },
                { "example.com/hook", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(mam_freep) char *origin = NULL;
                int r = mam_fetch_origin(&origin, cases[i].url);

                if (!cases[i].want) {
                        ASSERT_EQ(r, -EINVAL);
                        continue;
                }
                ASSERT_OK(r);
                ASSERT_STREQ(origin, cases[i].want);
        }
}
