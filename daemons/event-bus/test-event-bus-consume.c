/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Subscriptions, what lasts, schemas, and several replicas from outside: the real daemon, real PostgreSQL
 * and Redis, real HTTP, real tokens
 */

#include <signal.h>

#include "event-bus/test-event-bus.h"

/* ---- subscriptions ---- */

TEST(a_subscription_from_creation_to_deletion) {
        _cleanup_(answer_freep) Answer *made = NULL, *read = NULL, *changed = NULL, *list = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        made = ask(&f.a,
                   "PUT",
                   SUBSCRIPTIONS "/s",
                   f.a.subscriber,
                   "",
                   "{\"topic\":\"t\",\"from\":\"earliest\",\"ackDeadline\":\"5s\",\"maxAttempts\":3,\"filters\":"
                   "[{\"prefix\":{\"type\":\"test.\"}}],\"backoff\":{\"min\":\"100ms\",\"max\":\"1s\"}}");
        CHECK(made, 201);
        ASSERT_STREQ(text_at(made, "ackDeadline"), "5000ms");
        ASSERT_EQ(number_at(made, "maxAttempts"), 3);
        ASSERT_STREQ(text_at(made, "filters/0/prefix/type"), "test.");
        read = ask(&f.a, "GET", SUBSCRIPTIONS "/s", f.a.subscriber, "", NULL);
        CHECK(read, 200);
        ASSERT_EQ(number_at(read, "lag"), 0);
        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/s", "If-None-Match: *\r\n", "{\"topic\":\"t\"}", 412);
        changed = ask(&f.a,
                      "PATCH",
                      SUBSCRIPTIONS "/s",
                      f.a.subscriber,
                      "",
                      "{\"paused\":true,\"filters\":null}");
        CHECK(changed, 200);
        ASSERT_STREQ(text_at(changed, "paused"), "true");
        ASSERT_EQ(count_at(changed, "filters"), 0);
        ASSERT_EQ(number_at(changed, "maxAttempts"), 3);
        EXPECT(&f.a, "PATCH", SUBSCRIPTIONS "/s", "If-Match: \"1000\"\r\n", "{\"paused\":true}", 412);
        list = ask(&f.a, "GET", SUBSCRIPTIONS, f.a.subscriber, "", NULL);
        CHECK(list, 200);
        ASSERT_EQ(count_at(list, "subscriptions"), 1);

        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/u", "", "{\"topic\":\"none\"}", 404);
        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/u", "", "{}", 422);
        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/u", "", "{\"topic\":\"t\",\"ackDeadline\":\"1ms\"}", 422);
        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/u", "", "{\"topic\":\"t\",\"filters\":[{\"like\":{}}]}", 422);
        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/u", "", "{\"topic\":\"t\",\"push\":{\"url\":\"ftp://x\"}}", 422);
        EXPECT(&f.a,
               "PUT",
               SUBSCRIPTIONS "/u",
               "",
               "{\"topic\":\"t\",\"push\":{\"url\":\"https://10.0.0.1/\"}}",
               422);
        EXPECT(&f.a, "PUT", SUBSCRIPTIONS "/u", "", "{\"topic\":\"t\",\"from\":\"never\"}", 422);
        EXPECT(&f.a, "DELETE", SUBSCRIPTIONS "/s", "", NULL, 204);
        EXPECT(&f.a, "GET", SUBSCRIPTIONS "/s", "", NULL, 404);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/pull", "", "{}", 404);
        teardown(&f);
}

TEST(events_are_pulled_and_settled) {
        _cleanup_(answer_freep) Answer *one = NULL, *other = NULL, *acked = NULL, *again = NULL,
                                       *nacked = NULL, *back = NULL, *extended = NULL, *none = NULL,
                                       *info = NULL, *wrong = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        publish_many(&f.a, "t", "e", 4, 2); /* k0 k1 k0 k1 */
        one = pull(&f.a, "s", "{\"max\":1}");
        ASSERT_EQ(count_at(one, "events"), 1);
        ASSERT_STREQ(text_at(one, "events/0/event/id"), "e0");
        ASSERT_EQ(number_at(one, "events/0/attempt"), 1);
        ASSERT_EQ(number_at(one, "events/0/position"), 1);

        /* e2 has to wait for e0, as it has the same key */
        other = pull(&f.a, "s", "{\"max\":10,\"wait\":\"5s\"}");
        ASSERT_EQ(count_at(other, "events"), 2);
        ASSERT_STREQ(text_at(other, "events/0/event/id"), "e1");
        ASSERT_STREQ(text_at(other, "events/1/event/id"), "e3");

        acked = settle(&f.a, "s", "ack", other, "");
        ASSERT_EQ(number_at(acked, "settled"), 2);
        again = settle(&f.a, "s", "ack", other, "");
        ASSERT_EQ(number_at(again, "settled"), 0);
        ASSERT_EQ(count_at(again, "stale"), 2);
        extended = settle(&f.a, "s", "extend", one, ",\"delay\":\"1min\"");
        ASSERT_EQ(number_at(extended, "settled"), 1);
        nacked = settle(&f.a, "s", "nack", one, ",\"delay\":\"0s\"");
        ASSERT_EQ(number_at(nacked, "settled"), 1);
        back = pull(&f.a, "s", "{\"wait\":\"10s\"}");
        ASSERT_EQ(count_at(back, "events"), 2);
        ASSERT_STREQ(text_at(back, "events/0/event/id"), "e0");
        ASSERT_EQ(number_at(back, "events/0/attempt"), 2);
        ASSERT_STREQ(text_at(back, "events/1/event/id"), "e2");
        answer_free(settle(&f.a, "s", "ack", back, ""));
        none = pull(&f.a, "s", "{}");
        ASSERT_EQ(count_at(none, "events"), 0);
        info = ask(&f.a, "GET", SUBSCRIPTIONS "/s", f.a.subscriber, "", NULL);
        ASSERT_EQ(number_at(info, "settledTo"), 4);
        ASSERT_EQ(number_at(info, "lag"), 0);

        wrong = ask(&f.a, "POST", SUBSCRIPTIONS "/s/ack", f.a.subscriber, "", "{\"ackIds\":[\"x\"]}");
        CHECK(wrong, 200);
        ASSERT_EQ(count_at(wrong, "invalid"), 1);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/ack", "", "{}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/ack", "", "{\"ackIds\":[1]}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/extend", "", "{\"ackIds\":[\"x\"]}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/settle", "", "{\"forget\":[]}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/settle", "", "{}", 200);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/pull", "", "{\"max\":0}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/pull", "", "{\"wait\":\"1h\"}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/none/ack", "", "{\"ackIds\":[\"x\"]}", 404);
        teardown(&f);
}

TEST(dead_letters_are_listed_and_handed_out_again) {
        _cleanup_(answer_freep) Answer *pulled = NULL, *rejected = NULL, *dead = NULL, *redriven = NULL,
                                       *back = NULL, *none = NULL;
        char body[256];
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        publish_many(&f.a, "t", "e", 2, 2);
        pulled = pull(&f.a, "s", "{\"wait\":\"5s\"}");
        ASSERT_EQ(count_at(pulled, "events"), 2);
        snprintf(body,
                 sizeof(body),
                 "{\"ack\":[\"%s\"],\"reject\":[{\"ackIds\":[\"%s\"],\"reason\":\"it is \\\"broken\\\"\"}]}",
                 text_at(pulled, "events/0/ackId"),
                 text_at(pulled, "events/1/ackId"));
        rejected = ask(&f.a, "POST", SUBSCRIPTIONS "/s/settle", f.a.subscriber, "", body);
        CHECK(rejected, 200);
        ASSERT_EQ(number_at(rejected, "settled"), 2);
        dead = ask(&f.a, "GET", SUBSCRIPTIONS "/s/dead", f.a.subscriber, "", NULL);
        CHECK(dead, 200);
        ASSERT_EQ(count_at(dead, "dead"), 1);
        ASSERT_STREQ(text_at(dead, "dead/0/reason"), "it is \"broken\"");
        ASSERT_STREQ(text_at(dead, "dead/0/event/id"), "e1");
        ASSERT_EQ(number_at(dead, "dead/0/position"), 2);

        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/redrive", "", "{\"numbers\":[\"x\"]}", 422);
        redriven = ask(&f.a, "POST", SUBSCRIPTIONS "/s/redrive", f.a.subscriber, "", "{}");
        CHECK(redriven, 200);
        ASSERT_EQ(number_at(redriven, "redriven"), 1);
        back = pull(&f.a, "s", "{\"wait\":\"10s\"}");
        ASSERT_EQ(count_at(back, "events"), 1);
        ASSERT_STREQ(text_at(back, "events/0/event/id"), "e1");
        ASSERT_EQ(number_at(back, "events/0/attempt"), 1);
        answer_free(settle(&f.a, "s", "ack", back, ""));
        none = ask(&f.a, "GET", SUBSCRIPTIONS "/s/dead", f.a.subscriber, "", NULL);
        CHECK(none, 200);
        ASSERT_EQ(count_at(none, "dead"), 0);
        teardown(&f);
}

TEST(a_subscription_can_go_back) {
        _cleanup_(answer_freep) Answer *first = NULL, *sought = NULL, *second = NULL, *page = NULL,
                                       *third = NULL;
        char body[128];
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        publish_many(&f.a, "t", "e", 5, 5);
        first = pull(&f.a, "s", "{\"wait\":\"5s\"}");
        ASSERT_EQ(count_at(first, "events"), 5);
        answer_free(settle(&f.a, "s", "ack", first, ""));
        sought = ask(&f.a, "POST", SUBSCRIPTIONS "/s/seek", f.a.subscriber, "", "{\"to\":\"3\"}");
        CHECK(sought, 200);
        second = pull(&f.a, "s", "{\"wait\":\"5s\"}");
        ASSERT_EQ(count_at(second, "events"), 3);
        ASSERT_STREQ(text_at(second, "events/0/event/id"), "e2");

        page = ask(&f.a, "GET", TOPICS "/t/events?limit=4", f.a.subscriber, "", NULL);
        snprintf(body, sizeof(body), "{\"to\":\"%s\"}", text_at(page, "next"));
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/seek", "", body, 200);
        third = pull(&f.a, "s", "{\"wait\":\"5s\"}");
        ASSERT_EQ(count_at(third, "events"), 1);
        ASSERT_STREQ(text_at(third, "events/0/event/id"), "e4");
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/s/seek", "", "{\"to\":\"there\"}", 422);
        EXPECT(&f.a, "POST", SUBSCRIPTIONS "/none/seek", "", "{\"to\":\"latest\"}", 404);
        teardown(&f);
}

/* ---- what lasts ---- */

TEST(a_long_poll_waits_for_what_comes) {
        _cleanup_(answer_freep) Answer *empty = NULL;
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        empty = ask(&f.a, "GET", TOPICS "/t/events?wait=100ms", f.a.subscriber, "", NULL);
        CHECK(empty, 200);
        ASSERT_EQ(count_at(empty, "events"), 0);
        s = stream_open(&f.a, TOPICS "/t/events?wait=30s&filter=subject=k1", f.a.subscriber, "");
        publish_many(&f.a, "t", "e", 2, 2);
        stream_expect(&s, "HTTP/1.1 200 OK");
        stream_expect(&s, "\"id\":\"e1\"");
        stream_close(&s);
        teardown(&f);
}

TEST(server_sent_events_go_on_where_they_were) {
        char id[128], fields[256];
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        publish_many(&f.a, "t", "old", 3, 1);
        s = stream_open(&f.a, TOPICS "/t/events", f.a.subscriber, "Accept: text/event-stream\r\n");
        stream_expect(&s, "Content-Type: text/event-stream");
        stream_expect(&s, ": here\n\n");
        publish_many(&f.a, "t", "new", 2, 1);
        stream_expect(&s, "id: ");
        stream_line(&s, id, sizeof(id));
        stream_expect(&s, "data: {\"specversion\":\"1.0\",\"id\":\"new0\"");
        stream_expect(&s, "\"id\":\"new1\"");
        stream_close(&s);

        snprintf(fields, sizeof(fields), "Accept: text/event-stream\r\nLast-Event-ID: %s\r\n", id);
        s = stream_open(&f.a, TOPICS "/t/events", f.a.subscriber, fields);
        stream_expect(&s, ": here\n\n");
        stream_expect(&s, "data: {\"specversion\":\"1.0\",\"id\":\"new1\"");
        stream_close(&s);
        s = stream_open(&f.a,
                        TOPICS "/t/events?from=earliest",
                        f.a.subscriber,
                        "Accept: text/event-stream\r\n");
        stream_expect(&s, "\"id\":\"old0\"");
        stream_expect(&s, "\"id\":\"new1\"");
        EXPECT(&f.a, "DELETE", TOPICS "/t", "", NULL, 204);
        stream_expect(&s, "event: gone");
        stream_expect(&s, "0\r\n\r\n"); /* the end of the answer */
        stream_close(&s);
        teardown(&f);
}

TEST(a_websocket_sends_and_takes_events) {
        _cleanup_(json_object_putp) json_object *one = NULL, *own = NULL, *last = NULL;
        char path[256];
        unsigned code = 0;
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        s = stream_open(&f.a,
                        TOPICS "/t/events",
                        f.a.admin,
                        UPGRADE "Sec-WebSocket-Protocol: other, cloudevents.json\r\n");
        stream_expect(&s, "HTTP/1.1 101");
        stream_expect(&s, "cloudevents.json");
        stream_expect(&s, "\r\n\r\n");
        publish_many(&f.a, "t", "e", 1, 1);
        one = websocket_receive(&s, NULL);
        ASSERT_STREQ(member(one, "id"), "e0");
        websocket_send(&s, event_text("mine", "x", ""));
        own = websocket_receive(&s, NULL);
        ASSERT_STREQ(member(own, "id"), "mine");
        websocket_send(&s, "{\"specversion\":\"1.0\"}");
        ASSERT_TRUE(!websocket_receive(&s, &code));
        ASSERT_EQ(code, MAM_WEBSOCKET_BAD_DATA);
        stream_close(&s);

        snprintf(path, sizeof(path), TOPICS "/t/events?after=%s", member(one, "mamcursor"));
        s = stream_open(&f.a, path, f.a.subscriber, UPGRADE "Sec-WebSocket-Protocol: cloudevents.json\r\n");
        stream_expect(&s, "\r\n\r\n");
        last = websocket_receive(&s, NULL);
        ASSERT_STREQ(member(last, "id"), "mine");
        websocket_send(&s, event_text("not mine", "x", ""));
        ASSERT_TRUE(!websocket_receive(&s, &code));
        ASSERT_EQ(code, MAM_WEBSOCKET_POLICY);
        stream_close(&s);
        teardown(&f);
}

TEST(a_group_is_consumed_by_websocket_with_credit) {
        _cleanup_(json_object_putp) json_object *first = NULL, *second = NULL, *settled = NULL,
                                                *third = NULL;
        char text[256];
        unsigned code = 0;
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        publish_many(&f.a, "t", "e", 3, 3);
        s = stream_open(&f.a,
                        SUBSCRIPTIONS "/s/events?credit=2",
                        f.a.subscriber,
                        UPGRADE "Sec-WebSocket-Protocol: mam.events.v1\r\n");
        stream_expect(&s, "\r\n\r\n");
        first = websocket_receive(&s, NULL);
        second = websocket_receive(&s, NULL);
        ASSERT_STREQ(member(first, "attempt"), "1");
        ASSERT_STREQ(member(second, "position"), "2");
        snprintf(text, sizeof(text), "{\"ack\":[\"%s\"],\"ref\":\"r\"}", member(first, "ackId"));
        websocket_send(&s, text); /* which makes room for the third */
        settled = websocket_receive(&s, NULL);
        ASSERT_STREQ(member(settled, "settled"), "1");
        ASSERT_STREQ(member(settled, "ref"), "r");
        third = websocket_receive(&s, NULL);
        ASSERT_STREQ(member(third, "position"), "3");
        websocket_send(&s, "{\"credits\":1}");
        ASSERT_TRUE(!websocket_receive(&s, &code));
        ASSERT_EQ(code, MAM_WEBSOCKET_BAD_DATA);
        stream_close(&s);
        teardown(&f);
}

static void ack_one(Replica *r, Stream *s) {
        _cleanup_(answer_freep) Answer *acked = NULL;
        char id[128], body[192];

        stream_expect(s, "id: ");
        stream_line(s, id, sizeof(id));
        snprintf(body, sizeof(body), "{\"ackIds\":[\"%s\"]}", id);
        acked = ask(r, "POST", SUBSCRIPTIONS "/s/ack", r->subscriber, "", body);
        CHECK(acked, 200);
        ASSERT_EQ(number_at(acked, "settled"), 1);
}

TEST(a_group_is_consumed_by_server_sent_events) {
        _cleanup_(answer_freep) Answer *info = NULL;
        Fixture f;
        Stream s;

        setup(&f);
        replica_start(&f, &f.b);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\",\"ackDeadline\":\"1h\"}");
        s = stream_open(&f.a,
                        SUBSCRIPTIONS "/s/events?credit=1",
                        f.a.subscriber,
                        "Accept: text/event-stream\r\n");
        stream_expect(&s, ": here\n\n");
        publish_many(&f.a, "t", "e", 4, 4);
        ack_one(&f.a, &s);
        ack_one(&f.b, &s); /* which the group's figures tell */
        ack_one(&f.a, &s);
        info = ask(&f.a, "GET", SUBSCRIPTIONS "/s", f.a.subscriber, "", NULL);
        ASSERT_TRUE(number_at(info, "outstanding") <= 1);
        stream_expect(&s, "\"id\":\"e3\"");
        EXPECT(&f.a, "GET", SUBSCRIPTIONS "/s/events", "", NULL, 406);
        EXPECT(&f.a, "GET", SUBSCRIPTIONS "/s/events?credit=0", "Accept: text/event-stream\r\n", NULL, 400);
        EXPECT(&f.a, "GET", SUBSCRIPTIONS "/none/events", "Accept: text/event-stream\r\n", NULL, 404);
        EXPECT(&f.a, "DELETE", SUBSCRIPTIONS "/s", "", NULL, 204);
        stream_close(&s);
        teardown(&f);
}

TEST(what_lasts_ends_when_the_replica_does) {
        Fixture f;
        Stream s, w;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\"}");
        s = stream_open(&f.a, TOPICS "/t/events", f.a.subscriber, "Accept: text/event-stream\r\n");
        w = stream_open(&f.a,
                        SUBSCRIPTIONS "/s/events",
                        f.a.subscriber,
                        UPGRADE "Sec-WebSocket-Protocol: mam.events.v1\r\n");
        stream_expect(&s, ": here\n\n");
        stream_expect(&w, "\r\n\r\n");
        teardown(&f); /* waits for its end, which has a status of 0 */
        while (stream_more(&s))
                ;
        stream_close(&s);
        stream_close(&w);
}

/* ---- schemas ---- */

TEST(schemas_are_kept_checked_and_compared) {
        static const char schema[] =
                        "{\"type\":\"object\",\"required\":[\"n\"],\"properties\":{\"n\":{\"type\":\"integer\"}}}";
        _cleanup_(answer_freep) Answer *made = NULL, *same = NULL, *version = NULL, *broken = NULL,
                                       *bad = NULL, *list = NULL, *wrong = NULL;
        Fixture f;

        setup(&f);
        made = ask(&f.a, "PUT", SCHEMAS "/test.made", f.a.admin, "", schema);
        CHECK(made, 201);
        ASSERT_EQ(number_at(made, "version"), 1);
        ASSERT_STREQ(text_at(made, "compatibility"), "backward");
        ASSERT_STREQ(text_at(made, "createdBy"), "ada");
        same = ask(&f.a, "PUT", SCHEMAS "/test.made", f.a.admin, "", schema);
        CHECK(same, 200);
        version = ask(&f.a, "GET", SCHEMAS "/test.made/versions/1", f.a.publisher, "", NULL);
        CHECK(version, 200);
        ASSERT_STREQ(text_at(version, "schema/type"), "object");
        broken = ask(&f.a,
                     "PUT",
                     SCHEMAS "/test.made",
                     f.a.admin,
                     "",
                     "{\"type\":\"object\",\"required\":[\"n\",\"m\"],\"properties\":{\"n\":{\"type\":\"string\"}}}");
        CHECK(broken, 409);
        bad = ask(&f.a, "PUT", SCHEMAS "/other", f.a.admin, "", "{\"type\":\"thing\"}");
        CHECK(bad, 422);
        EXPECT(&f.a, "PATCH", SCHEMAS "/test.made", "", "{\"compatibility\":\"full\"}", 200);
        EXPECT(&f.a, "PATCH", SCHEMAS "/test.made", "", "{\"compatibility\":\"some\"}", 422);
        EXPECT(&f.a, "GET", SCHEMAS "/none", "", NULL, 404);
        EXPECT(&f.a, "GET", SCHEMAS "/test.made/versions/9", "", NULL, 404);
        EXPECT(&f.a, "GET", SCHEMAS "/test.made/versions/x", "", NULL, 404);
        EXPECT(&f.a, "POST", SCHEMAS "/test.made/check", "", "{\"data\":{\"n\":1}}", 200);
        EXPECT(&f.a, "POST", SCHEMAS "/test.made/check", "", "{\"data\":{\"n\":\"1\"}}", 422);
        EXPECT(&f.a, "POST", SCHEMAS "/test.made/check", "", "{\"schema\":false}", 409);
        EXPECT(&f.a, "POST", SCHEMAS "/none/check", "", "{\"data\":1}", 404);
        EXPECT(&f.a, "POST", SCHEMAS "/test.made/check", "", "{}", 422);
        list = ask(&f.a, "GET", SCHEMAS, f.a.subscriber, "", NULL);
        CHECK(list, 200);
        ASSERT_EQ(count_at(list, "schemas"), 1);

        make_topic(&f.a, "t", "{\"schema\":\"require\"}");
        publish_many(&f.a, "t", "e", 2, 1);
        wrong = ask(&f.a,
                    "POST",
                    TOPICS "/t/events",
                    f.a.publisher,
                    STRUCTURED,
                    event_text("1", "a", ",\"data\":{\"n\":\"x\"}"));
        CHECK(wrong, 422);
        ASSERT_STREQ(text_at(wrong, "errors/0/pointer"), "/data/n");
        EXPECT(&f.a,
               "POST",
               TOPICS "/t/events",
               STRUCTURED,
               "{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/x\",\"type\":\"unknown\"}",
               422);
        teardown(&f);
}

/* ---- several replicas, and what is away ---- */

TEST(replicas_share_topics_events_and_groups) {
        _cleanup_(answer_freep) Answer *here = NULL, *there = NULL, *acked = NULL, *page = NULL;
        Fixture f;
        Stream s;

        setup(&f);
        replica_start(&f, &f.b);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        s = stream_open(&f.b, TOPICS "/t/events", f.b.subscriber, "Accept: text/event-stream\r\n");
        stream_expect(&s, ": here\n\n");
        publish_many(&f.a, "t", "e", 4, 2);
        stream_expect(&s, "\"id\":\"e3\"");
        stream_close(&s);

        here = pull(&f.a, "s", "{\"max\":1,\"wait\":\"10s\"}");
        there = pull(&f.b, "s", "{\"max\":10,\"wait\":\"10s\"}");
        ASSERT_EQ(count_at(here, "events"), 1);
        ASSERT_EQ(count_at(there, "events"), 2);    /* of the other key */
        acked = settle(&f.b, "s", "ack", here, ""); /* at the other replica */
        ASSERT_EQ(number_at(acked, "settled"), 1);
        publish_many(&f.b, "t", "f", 1, 1);
        page = ask(&f.a, "GET", TOPICS "/t/events", f.a.subscriber, "", NULL);
        CHECK(page, 200);
        ASSERT_EQ(count_at(page, "events"), 5);
        teardown(&f);
}

TEST(volatile_topics_are_in_redis_only) {
        _cleanup_(answer_freep) Answer *page = NULL, *stream = NULL;
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "v", "{\"kind\":\"volatile\",\"retention\":{\"events\":1000}}");
        s = stream_open(&f.a, TOPICS "/v/events", f.a.subscriber, "Accept: text/event-stream\r\n");
        stream_expect(&s, ": here\n\n");
        publish_many(&f.a, "v", "e", 3, 3);
        stream_expect(&s, "\"id\":\"e2\"");
        stream_close(&s);
        page = ask(&f.a, "GET", TOPICS "/v/events?limit=2", f.a.subscriber, "", NULL);
        CHECK(page, 200);
        ASSERT_EQ(count_at(page, "events"), 2);
        stream = ask(&f.a,
                     "POST",
                     TOPICS "/v/events?stream=x",
                     f.a.publisher,
                     STRUCTURED,
                     event_text("9", "k", ""));
        CHECK(stream, 422);
        teardown(&f);
}

static int ready_status(Fixture *f) {
        char text[8192];

        return client_request_port(f->a.w.port, "GET", "/ready", "", text, sizeof(text));
}

TEST(without_redis_durable_topics_go_on) {
        _cleanup_(answer_freep) Answer *away = NULL;
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_topic(&f.a, "v", "{\"kind\":\"volatile\"}");
        s = stream_open(&f.a, TOPICS "/t/events", f.a.subscriber, "Accept: text/event-stream\r\n");
        stream_expect(&s, ": here\n\n");
        mam_test_server_kill(&redis, SIGKILL);
        redis.pid = 0;
        publish_many(&f.a, "t", "e", 2, 1);
        stream_expect(&s, "\"id\":\"e1\"");
        stream_close(&s);
        ASSERT_EQ(ready_status(&f), 200);
        away = ask(&f.a, "POST", TOPICS "/v/events", f.a.publisher, STRUCTURED, event_text("1", "k", ""));
        CHECK(away, 503);
        teardown(&f);
}

TEST(without_postgresql_it_is_not_ready_and_says_so) {
        _cleanup_(answer_freep) Answer *away = NULL;
        Fixture f;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        mam_test_server_kill(&cluster, SIGKILL);
        while (ready_status(&f) != 503)
                ;
        do {
                answer_free(away);
                away = ask(&f.a,
                           "POST",
                           TOPICS "/t/events",
                           f.a.publisher,
                           STRUCTURED,
                           event_text("1", "k", ""));
        } while (away->status == 0);
        CHECK(away, 503);
        ASSERT_STREQ(answer_field(away, "Retry-After"), "1");
        cluster.pid = 0;
        mam_test_postgres_start(&cluster);
        while (ready_status(&f) != 200)
                ;
        publish_many(&f.a, "t", "e", 2, 1);
        teardown(&f);
}

TEST(metrics_tell_what_happened) {
        _cleanup_(mam_freep) char *text = malloc(TEXT_MAX);
        Fixture f;

        ASSERT_TRUE(text);
        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        publish_many(&f.a, "t", "e", 5, 5);
        answer_free(pull(&f.a, "s", "{\"wait\":\"5s\"}"));
        ASSERT_EQ(client_request_port(f.a.w.port, "GET", "/metrics", "", text, TEXT_MAX), 200);
        ASSERT_TRUE(strstr(text, "mam_events_published_total{topic=\"t\"} 5"));
        ASSERT_TRUE(strstr(text, "mam_events_delivered_total{subscription=\"s\"} 5"));
        teardown(&f);
}

/* ---- the document ---- */

/* The value that a reference within the document names. */
static json_object *follow(json_object *document, const char *reference) {
        char copy[256], *save = NULL;
        json_object *o = document;

        ASSERT_TRUE(strncmp(reference, "#/", 2) == 0);
        snprintf(copy, sizeof(copy), "%s", reference + 2);
        for (char *p = strtok_r(copy, "/", &save); p; p = strtok_r(NULL, "/", &save)) {
                if (!json_object_object_get_ex(o, p, &o))
                        mam_test_fail_string(
                                        __FILE__,
                                        __LINE__,
                                        "a reference that leads somewhere",
                                        reference);
        }
        return o;
}

static void follow_all(json_object *document, json_object *o) {
        if (json_object_is_type(o, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(o); i++)
                        follow_all(document, json_object_array_get_idx(o, i));
        } else if (json_object_is_type(o, json_type_object)) {
                json_object_object_foreach(o, key, value) {
                        if (strcmp(key, "$ref") == 0)
                                (void) follow(document, json_object_get_string(value));
                        else
                                follow_all(document, value);
                }
        }
}

/* An answer, or a part of it, against one of the document's schemas. */
static void fits(const Answer *document, const char *name, json_object *value, int line) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *schema = NULL;
        _cleanup_(json_object_putp) json_object *root = json_object_new_object();
        json_object *components = NULL;
        MamJsonError error;
        char reference[64];

        ASSERT_TRUE(root && json_object_object_get_ex(document->json, "components", &components));
        snprintf(reference, sizeof(reference), "#/components/schemas/%s", name);
        json_object_object_add(root, "$ref", json_object_new_string(reference));
        json_object_object_add(root, "components", json_object_get(components));
        ASSERT_OK(mam_json_schema_compile(&schema, root, NULL, &error));
        if (mam_json_schema_validate(schema, value, "", &error) < 0) {
                printf("# %s%s: %s\n", name, error.pointer, error.message);
                mam_test_fail_string(__FILE__, line, name, json_object_to_json_string(value));
        }
}

#define FITS(document, name, value) fits(document, name, value, __LINE__)

TEST(the_asyncapi_document_says_what_is) {
        static const char *const parts[] = { "channels", "operations", "components" };
        _cleanup_(answer_freep) Answer *document = NULL, *published = NULL, *page = NULL, *stream = NULL,
                                       *pulled = NULL, *settled = NULL, *problem = NULL;
        _cleanup_(json_object_putp) json_object *event = NULL, *delivery = NULL, *done = NULL;
        json_object *channels = NULL;
        char text[256];
        Fixture f;
        Stream s;

        setup(&f);
        document = ask(&f.a, "GET", "/asyncapi.json", "", "", NULL);
        CHECK(document, 200);
        for (size_t i = 0; i < MAM_ELEMENTSOF(parts); i++)
                ASSERT_TRUE(json_object_object_get_ex(document->json, parts[i], NULL));
        follow_all(document->json, document->json);

        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        published = ask(&f.a,
                        "POST",
                        TOPICS "/t/events?stream=x",
                        f.a.publisher,
                        BATCH,
                        "[{\"specversion\":\"1.0\",\"id\":\"3\",\"source\":\"/x\",\"type\":\"y\",\"data\":1,\"ext\":true},"
                        "{\"specversion\":\"1.0\",\"id\":\"4\",\"source\":\"/x\",\"type\":\"y\",\"subject\":\"z\"}]");
        CHECK(published, 201);
        FITS(document, "Published", published->json);
        page = ask(&f.a, "GET", TOPICS "/t/events", f.a.subscriber, "", NULL);
        FITS(document, "Page", page->json);
        stream = ask(&f.a, "GET", TOPICS "/t/streams/x", f.a.subscriber, "", NULL);
        FITS(document, "StreamPage", stream->json);
        pulled = pull(&f.a, "s", "{\"max\":1,\"wait\":\"5s\"}");
        FITS(document, "Pulled", pulled->json);
        settled = settle(&f.a, "s", "ack", pulled, "");
        FITS(document, "Settled", settled->json);
        problem = ask(&f.a, "GET", TOPICS "/none", f.a.subscriber, "", NULL);
        FITS(document, "Problem", problem->json);

        s = stream_open(&f.a,
                        TOPICS "/t/events?from=earliest",
                        f.a.subscriber,
                        UPGRADE "Sec-WebSocket-Protocol: cloudevents.json\r\n");
        stream_expect(&s, "\r\n\r\n");
        event = websocket_receive(&s, NULL);
        FITS(document, "Event", event);
        stream_close(&s);
        s = stream_open(&f.a,
                        SUBSCRIPTIONS "/s/events",
                        f.a.subscriber,
                        UPGRADE "Sec-WebSocket-Protocol: mam.events.v1\r\n");
        stream_expect(&s, "\r\n\r\n");
        delivery = websocket_receive(&s, NULL);
        FITS(document, "Delivery", delivery);
        snprintf(text, sizeof(text), "{\"ack\":[\"%s\"]}", member(delivery, "ackId"));
        websocket_send(&s, text);
        done = websocket_receive(&s, NULL);
        FITS(document, "Settled", done);
        stream_close(&s);

        /* every channel but the webhook is a path that is there: something other than "no such path" */
        ASSERT_TRUE(json_object_object_get_ex(document->json, "channels", &channels));
        json_object_object_foreach(channels, name, channel) {
                _cleanup_(answer_freep) Answer *a = NULL;
                json_object *address = NULL;

                if (!json_object_object_get_ex(channel, "address", &address) || !address) {
                        ASSERT_STREQ(name, "webhook");
                        continue;
                }
                a = ask(&f.a, "OPTIONS", json_object_get_string(address), "", "", NULL);
                ASSERT_EQ(a->status, 204);
        }
        teardown(&f);
}

TEST(many_messages_at_once_are_collected) {
        enum {
                N = 300
        };
        _cleanup_(answer_freep) Answer *info = NULL;
        char text[512], id[32];
        size_t settled = 0;
        Fixture f;
        Stream s;

        setup(&f);
        make_topic(&f.a, "t", "{}");
        make_subscription(&f.a, "s", "{\"topic\":\"t\",\"from\":\"earliest\"}");
        s = stream_open(&f.a,
                        TOPICS "/t/events",
                        f.a.admin,
                        UPGRADE "Sec-WebSocket-Protocol: cloudevents.json\r\n");
        stream_expect(&s, "\r\n\r\n");
        for (unsigned i = 0; i < N; i++) {
                snprintf(id, sizeof(id), "w%u", i);
                websocket_send(&s, event_text(id, id, ""));
        }
        for (unsigned i = 0; i < N; i++) { /* in the order in which they were sent */
                _cleanup_(json_object_putp) json_object *o = websocket_receive(&s, NULL);

                snprintf(id, sizeof(id), "w%u", i);
                ASSERT_STREQ(member(o, "id"), id);
        }
        stream_close(&s);

        s = stream_open(&f.a,
                        SUBSCRIPTIONS "/s/events?credit=1000",
                        f.a.subscriber,
                        UPGRADE "Sec-WebSocket-Protocol: mam.events.v1\r\n");
        stream_expect(&s, "\r\n\r\n");
        {
                _cleanup_(mam_buffer_done) MamBuffer ids = MAM_BUFFER_INIT;
                const char *p;

                for (unsigned i = 0; i < N; i++) {
                        _cleanup_(json_object_putp) json_object *o = websocket_receive(&s, NULL);

                        ASSERT_OK(mam_buffer_append(
                                        &ids,
                                        member(o, "ackId"),
                                        strlen(member(o, "ackId")) + 1));
                }
                p = mam_buffer_bytes(&ids);
                for (unsigned i = 0; i < N; i++, p += strlen(p) + 1) {
                        snprintf(text, sizeof(text), "{\"ack\":[\"%s\"],\"ref\":%u}", p, i);
                        websocket_send(&s, text);
                }
        }
        for (unsigned i = 0; i < N; i++) { /* one answer each, in order */
                _cleanup_(json_object_putp) json_object *o = websocket_receive(&s, NULL);

                snprintf(text, sizeof(text), "%u", i);
                ASSERT_STREQ(member(o, "ref"), text);
                settled += (size_t) atoi(member(o, "settled"));
        }
        ASSERT_EQ(settled, N);
        stream_close(&s);
        info = ask(&f.a, "GET", SUBSCRIPTIONS "/s", f.a.subscriber, "", NULL);
        ASSERT_EQ(number_at(info, "settledTo"), N);
        teardown(&f);
}
