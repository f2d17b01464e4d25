/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics, publishing, reading and streams from outside: the real daemon, real PostgreSQL and Redis, real
 * HTTP, real tokens
 */

#include <signal.h>

#include "event-bus/test-event-bus.h"

/* ---- topics ---- */

TEST(a_topic_from_creation_to_deletion) {
        _cleanup_(answer_freep) Answer *made = NULL, *read = NULL, *changed = NULL, *list = NULL,
                                       *gone = NULL;
        Fixture f;

        setup(&f);
        made = ask(&f.a,
                   "PUT",
                   TOPICS "/orders.eu",
                   f.a.admin,
                   "",
                   "{\"retention\":{\"time\":\"2d\",\"bytes\":\"1Gi\",\"events\":1000000},\"schema\":\"check\","
                   "\"eventBytesMax\":1000}");
        CHECK(made, 201);
        ASSERT_STREQ(text_at(made, "kind"), "durable");
        ASSERT_STREQ(text_at(made, "retention/time"), "2d");
        ASSERT_EQ(number_at(made, "retention/bytes"), 1073741824);
        ASSERT_EQ(number_at(made, "last"), 0);

        read = ask(&f.a, "GET", TOPICS "/orders.eu", f.a.subscriber, "", NULL);
        CHECK(read, 200);
        ASSERT_STREQ(answer_body(read), answer_body(made));
        ASSERT_STREQ(answer_field(read, "ETag"), answer_field(made, "ETag"));

        EXPECT(&f.a, "PUT", TOPICS "/orders.eu", "If-None-Match: *\r\n", "{}", 412);
        EXPECT(&f.a, "PATCH", TOPICS "/orders.eu", "If-Match: \"99\"\r\n", "{\"schema\":\"none\"}", 412);
        changed = ask(&f.a, "PATCH", TOPICS "/orders.eu", f.a.admin, "", "{\"schema\":\"none\"}");
        CHECK(changed, 200);
        ASSERT_STREQ(text_at(changed, "schema"), "none");
        ASSERT_STREQ(text_at(changed, "retention/time"), "2d");
        EXPECT(&f.a, "PUT", TOPICS "/orders.eu", "", "{\"archive\":false}", 200);

        make_topic(&f.a, "another", "{}");
        list = ask(&f.a, "GET", TOPICS, f.a.publisher, "", NULL);
        CHECK(list, 200);
        ASSERT_EQ(count_at(list, "topics"), 2);
        ASSERT_STREQ(text_at(list, "topics/0/name"), "another");
        ASSERT_STREQ(text_at(list, "topics/1/retention/time"), "7d");

        EXPECT(&f.a, "DELETE", TOPICS "/orders.eu", "", NULL, 204);
        gone = ask(&f.a, "GET", TOPICS "/orders.eu", f.a.admin, "", NULL);
        CHECK(gone, 404);
        EXPECT(&f.a, "DELETE", TOPICS "/orders.eu", "", NULL, 404);
        EXPECT(&f.a, "PATCH", TOPICS "/orders.eu", "", "{}", 404);
        teardown(&f);
}

TEST(wrong_settings_of_topics_are_refused_with_their_place) {
        static const struct {
                const char *body, *pointer;
        } cases[] = {
                { "{\"kind\":\"liquid\"}", "/kind" },
                { "{\"retention\":{\"time\":\"1s\"}}", "/retention/time" },
                { "{\"retention\":{\"bytes\":-1}}", "/retention/bytes" },
                { "{\"retention\":{\"size\":1}}", "/retention/size" },
                { "{\"eventBytesMax\":\"2Mi\"}", "/eventBytesMax" },
                { "{\"kind\":\"volatile\",\"archive\":true}", "/kind" },
                { "{\"unknown\":1}", "/unknown" },
        };
        Fixture f;

        setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(answer_freep) Answer *a =
                                ask(&f.a, "PUT", TOPICS "/t", f.a.admin, "", cases[i].body);

                CHECK(a, 422);
                ASSERT_STREQ(text_at(a, "errors/0/pointer"), cases[i].pointer);
        }
        EXPECT(&f.a, "PUT", TOPICS "/t", "", "{", 400);
        EXPECT(&f.a, "PUT", TOPICS "/t", "", "[]", 400);
        EXPECT(&f.a, "PUT", TOPICS "/t", "Content-Type: text/plain\r\n", "{}", 415);
        EXPECT(&f.a, "PUT", TOPICS "/T", "", "{}", 400);
        EXPECT(&f.a, "PUT", TOPICS "/.t", "", "{}", 400);
        EXPECT(&f.a, "PUT", TOPICS "/t", "If-Match: x\r\n", "{}", 400);
        teardown(&f);
}

TEST(roles_decide_who_may_what) {
        static const struct {
                const char *method, *path, *body;
                int admin, publisher, subscriber;
        } cases[] = {
                { "GET", TOPICS, NULL, 200, 200, 200 },
                { "PUT", TOPICS "/t", "{}", 201, 403, 403 },
                { "DELETE", TOPICS "/nothing", NULL, 404, 403, 403 },
                { "GET", TOPICS "/t/events", NULL, 200, 403, 200 },
                { "GET", SUBSCRIPTIONS, NULL, 200, 403, 200 },
                { "GET", SCHEMAS, NULL, 200, 200, 200 },
                { "PUT", SCHEMAS "/s", "{}", 201, 403, 403 },
                { "GET", "/v1/archives", NULL, 200, 403, 403 },
                { "POST", "/v1/keep", NULL, 202, 403, 403 },
        };
        _cleanup_(answer_freep) Answer *anonymous = NULL, *document = NULL, *refused = NULL;
        Fixture f;

        setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(answer_freep) Answer *a = NULL, *p = NULL, *s = NULL;

                a = ask(&f.a, cases[i].method, cases[i].path, f.a.admin, "", cases[i].body);
                p = ask(&f.a, cases[i].method, cases[i].path, f.a.publisher, "", cases[i].body);
                s = ask(&f.a, cases[i].method, cases[i].path, f.a.subscriber, "", cases[i].body);
                CHECK(a, cases[i].admin);
                CHECK(p, cases[i].publisher);
                CHECK(s, cases[i].subscriber);
        }
        anonymous = ask(&f.a, "GET", TOPICS, "", "", NULL);
        CHECK(anonymous, 401);
        refused = ask(&f.a,
                      "POST",
                      TOPICS "/t/events",
                      f.a.subscriber,
                      STRUCTURED,
                      event_text("1", "k", ""));
        CHECK(refused, 403);
        document = ask(&f.a, "GET", "/asyncapi.json", "", "", NULL);
        CHECK(document, 200);
        ASSERT_STREQ(text_at(document, "asyncapi"), "3.0.0");
        teardown(&f);
}

/* ---- publishing and reading ---- */

TEST(events_are_published_in_all_forms_and_read_in_order) {
        _cleanup_(answer_freep) Answer *one = NULL, *again = NULL, *binary = NULL, *many = NULL,
                                       *page = NULL, *rest = NULL, *plain = NULL, *back = NULL;
        char path[256];
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        one = ask(&f.a, "POST", TOPICS "/t/events", f.a.publisher, STRUCTURED, event_text("1", "a", ""));
        CHECK(one, 201);
        ASSERT_EQ(number_at(one, "events/0/position"), 1);
        ASSERT_STREQ(text_at(one, "events/0/duplicate"), "false");
        again = ask(&f.a, "POST", TOPICS "/t/events", f.a.publisher, STRUCTURED, event_text("1", "a", ""));
        CHECK(again, 200);
        ASSERT_EQ(number_at(again, "events/0/position"), 1);
        ASSERT_STREQ(text_at(again, "events/0/duplicate"), "true");
        ASSERT_STREQ(text_at(again, "cursor"), text_at(one, "cursor"));

        binary = ask(&f.a,
                     "POST",
                     TOPICS "/t/events",
                     f.a.publisher,
                     "ce-specversion: 1.0\r\nce-id: 2\r\nce-source: /test\r\nce-type: test.made\r\nce-subject: "
                     "%E2%82%AC\r\nContent-Type: text/plain\r\n",
                     "hello");
        CHECK(binary, 201);
        many = ask(&f.a,
                   "POST",
                   TOPICS "/t/events",
                   f.a.publisher,
                   BATCH,
                   "[{\"specversion\":\"1.0\",\"id\":\"3\",\"source\":\"/x\",\"type\":\"y\",\"data\":{ \"a\" : 1 }},"
                   "{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/x\",\"type\":\"y\"}]");
        CHECK(many, 201);
        ASSERT_EQ(number_at(many, "events/1/position"), 4);

        page = ask(&f.a, "GET", TOPICS "/t/events?limit=3", f.a.subscriber, "", NULL);
        CHECK(page, 200);
        ASSERT_EQ(count_at(page, "events"), 3);
        ASSERT_STREQ(text_at(page, "events/0/event/id"), "1");
        ASSERT_STREQ(text_at(page, "events/1/event/subject"), "\xe2\x82\xac");
        ASSERT_STREQ(text_at(page, "events/1/event/data_base64"), "aGVsbG8=");
        ASSERT_STREQ(text_at(page, "events/2/event/data"), "{ \"a\": 1 }");
        ASSERT_EQ(strlen(text_at(page, "events/0/recorded")), 27);
        ASSERT_STREQ(text_at(page, "events/2/cursor"), text_at(page, "next"));

        snprintf(path, sizeof(path), TOPICS "/t/events?after=%s", text_at(page, "next"));
        rest = ask(&f.a, "GET", path, f.a.subscriber, "", NULL);
        CHECK(rest, 200);
        ASSERT_EQ(count_at(rest, "events"), 1);
        ASSERT_STREQ(text_at(rest, "events/0/event/id"), "4");
        ASSERT_STREQ(text_at(rest, "next"), text_at(many, "cursor"));

        plain = ask(&f.a,
                    "GET",
                    TOPICS "/t/events?from=3",
                    f.a.subscriber,
                    "Accept: application/cloudevents-batch+json\r\n",
                    NULL);
        CHECK(plain, 200);
        ASSERT_EQ(count_at(plain, ""), 2);
        ASSERT_STREQ(answer_field(plain, "Mam-Cursor"), text_at(many, "cursor"));
        ASSERT_TRUE(strstr(answer_field(plain, "Link"), "rel=\"next\""));

        back = ask(&f.a, "GET", TOPICS "/t/events?backwards=1&limit=2", f.a.subscriber, "", NULL);
        CHECK(back, 200);
        ASSERT_STREQ(text_at(back, "events/0/event/id"), "4");
        ASSERT_STREQ(text_at(back, "events/1/event/id"), "3");
        ASSERT_STREQ(text_at(back, "next"), "2");
        teardown(&f);
}

TEST(filters_times_and_wrong_parameters) {
        _cleanup_(answer_freep) Answer *filtered = NULL, *json = NULL, *late = NULL, *early = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_topic(&f.a, "u", "{}");
        publish_many(&f.a, "t", "e", 10, 2);
        filtered = ask(&f.a, "GET", TOPICS "/t/events?filter=subject=k1&limit=3", f.a.subscriber, "", NULL);
        CHECK(filtered, 200);
        ASSERT_EQ(count_at(filtered, "events"), 3);
        ASSERT_STREQ(text_at(filtered, "events/0/event/id"), "e1");
        json = ask(&f.a,
                   "GET",
                   TOPICS "/t/events?filters=%5B%7B%22exact%22%3A%7B%22id%22%3A%22e7%22%7D%7D%5D",
                   f.a.subscriber,
                   "",
                   NULL);
        CHECK(json, 200);
        ASSERT_EQ(count_at(json, "events"), 1);
        late = ask(&f.a, "GET", TOPICS "/t/events?from=2100-01-01T00:00:00Z", f.a.subscriber, "", NULL);
        CHECK(late, 200);
        ASSERT_EQ(count_at(late, "events"), 0);
        early = ask(&f.a, "GET", TOPICS "/t/events?from=2020-01-01T00:00:00Z", f.a.subscriber, "", NULL);
        CHECK(early, 200);
        ASSERT_EQ(count_at(early, "events"), 10);

        EXPECT(&f.a, "GET", TOPICS "/t/events?limit=0", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?limit=x", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?wait=2h", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?after=AQEB", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?after=5", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?from=soon", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?filters=%5B1%5D", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?filter=%zz", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/t/events?backwards=maybe", "", NULL, 400);
        EXPECT(&f.a, "GET", TOPICS "/none/events", "", NULL, 404);
        {
                char path[160];

                snprintf(path, sizeof(path), TOPICS "/u/events?after=%s", text_at(filtered, "next"));
                EXPECT(&f.a, "GET", path, "", NULL, 400); /* a cursor of another topic */
        }
        teardown(&f);
}

TEST(what_is_no_event_is_refused) {
        _cleanup_(answer_freep) Answer *place = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{\"eventBytesMax\":300}");
        EXPECT(&f.a, "POST", TOPICS "/t/events", "", "{}", 415);
        EXPECT(&f.a, "POST", TOPICS "/t/events", STRUCTURED, "{", 400);
        EXPECT(&f.a, "POST", TOPICS "/t/events", BATCH, "[]", 400);
        EXPECT(&f.a, "POST", TOPICS "/t/events", BATCH, event_text("1", "a", ""), 400);
        EXPECT(&f.a, "POST", TOPICS "/none/events", STRUCTURED, event_text("1", "a", ""), 404);
        EXPECT(&f.a,
               "POST",
               TOPICS "/t/events?expectedVersion=1",
               STRUCTURED,
               event_text("1", "a", ""),
               400);
        EXPECT(&f.a, "POST", TOPICS "/t/events?stream=%01", STRUCTURED, event_text("1", "a", ""), 400);
        EXPECT(&f.a,
               "POST",
               TOPICS "/t/events",
               STRUCTURED,
               event_text("1",
                          "a",
                          ",\"data\":\"01234567890123456789012345678901234567890123456789012345678901234567890123456789"
                          "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                          "01234567890123456789012345678901234567890123456789\""),
               413);
        place = ask(&f.a,
                    "POST",
                    TOPICS "/t/events",
                    f.a.publisher,
                    BATCH,
                    "[{\"specversion\":\"1.0\",\"id\":\"3\",\"source\":\"/x\",\"type\":\"y\"},{\"specversion\":\"1.0\","
                    "\"id\":\"4\",\"source\":\"a b\",\"type\":\"y\"}]");
        CHECK(place, 400);
        ASSERT_STREQ(text_at(place, "errors/0/pointer"), "/1/source");
        EXPECT(&f.a, "GET", TOPICS "/t/events?from=earliest&limit=1", "", NULL, 200);
        teardown(&f);
}

TEST(a_quota_is_kept) {
        _cleanup_(answer_freep) Answer *refused = NULL, *other = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{\"eventsPerSecond\":1}");
        publish_many(&f.a, "t", "e", 1000, 1); /* goes, and is owed: a quarter of an hour */
        refused = ask(&f.a, "POST", TOPICS "/t/events", f.a.publisher, STRUCTURED, event_text("1", "a", ""));
        CHECK(refused, 429);
        ASSERT_TRUE(atoi(answer_field(refused, "Retry-After")) > 100);
        other = ask(&f.a, "POST", TOPICS "/t/events", f.a.admin, STRUCTURED, event_text("1", "a", ""));
        CHECK(other, 201);
        teardown(&f);
}

/* ---- streams ---- */

TEST(a_stream_is_appended_to_at_its_expected_version_only) {
        _cleanup_(answer_freep) Answer *first = NULL, *stale = NULL, *second = NULL, *read = NULL,
                                       *back = NULL, *snapshot = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        first = ask(&f.a,
                    "POST",
                    TOPICS "/t/events?stream=account%2F1&expectedVersion=0",
                    f.a.publisher,
                    BATCH,
                    "[{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/x\",\"type\":\"opened\"},"
                    "{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/x\",\"type\":\"paid\"}]");
        CHECK(first, 201);
        ASSERT_EQ(number_at(first, "events/1/streamVersion"), 2);
        stale = ask(&f.a,
                    "POST",
                    TOPICS "/t/events?stream=account%2F1&expectedVersion=1",
                    f.a.publisher,
                    STRUCTURED,
                    event_text("3", "a", ""));
        CHECK(stale, 409);
        ASSERT_EQ(number_at(stale, "actualVersion"), 2);
        second = ask(&f.a,
                     "POST",
                     TOPICS "/t/events?stream=account%2F1&expectedVersion=2",
                     f.a.publisher,
                     STRUCTURED,
                     event_text("3", "a", ""));
        CHECK(second, 201);
        publish_many(&f.a, "t", "other", 3, 1);

        read = ask(&f.a, "GET", TOPICS "/t/streams/account%2F1?from=2", f.a.subscriber, "", NULL);
        CHECK(read, 200);
        ASSERT_EQ(count_at(read, "events"), 2);
        ASSERT_EQ(number_at(read, "events/0/version"), 2);
        ASSERT_STREQ(text_at(read, "events/1/event/id"), "3");
        back = ask(&f.a,
                   "GET",
                   TOPICS "/t/streams/account%2F1?backwards=1&limit=1",
                   f.a.subscriber,
                   "",
                   NULL);
        CHECK(back, 200);
        ASSERT_EQ(number_at(back, "events/0/version"), 3);
        ASSERT_EQ(number_at(back, "next"), 2);

        EXPECT(&f.a, "GET", TOPICS "/t/streams/account%2F1/snapshot", "", NULL, 404);
        EXPECT(&f.a, "PUT", TOPICS "/t/streams/account%2F1/snapshot", "", "{\"data\":1}", 422);
        EXPECT(&f.a,
               "PUT",
               TOPICS "/t/streams/account%2F1/snapshot",
               "",
               "{\"version\":2,\"data\":{\"balance\":7}}",
               200);
        snapshot = ask(&f.a, "GET", TOPICS "/t/streams/account%2F1/snapshot", f.a.subscriber, "", NULL);
        CHECK(snapshot, 200);
        ASSERT_EQ(number_at(snapshot, "version"), 2);
        ASSERT_EQ(number_at(snapshot, "data/balance"), 7);
        teardown(&f);
}
