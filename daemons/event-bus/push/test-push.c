/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Pushing, from a real log and real subscriptions to a real HTTP server that answers as a case says
 */

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>

#include <libpq-fe.h>

#include "event-bus/migrations.h"
#include "event-bus/push/push.h"
#include "event-bus/push/signature.h"
#include "libmam/db/test-server.h"
#include "libmam/http/http-server.h"
#include "libmam/json/json.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define KEYS   4U
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

typedef struct Fixture {
        sd_event *event;
        MamPg *pg;
        Log *log;
        Tail *tail;
        Delivery *delivery;
        Pusher *pusher;
        PushKey key;
        /* the receiver */
        MamHttpServer *server;
        uint16_t port;
        char url[64];
        const char *allow_origin, *allow_rate, *retry_after; /* what OPTIONS and POST are answered with */
        unsigned status;                                     /* of POST; 0: by lot */
        unsigned fail_first;                                 /* so many POSTs fail with status, then 200 */
        unsigned n_options, n_posts, n_events, n_accepted;
        uint64_t posted_usec[64]; /* of the first requests */
        char asked_origin[64], type[96], id[64], signature[256], timestamp[32], binary[256], body[4096];
        int next[KEYS]; /* by key, what has to come next */
        bool is_out_of_order;
        uint32_t seed;
        /* answers of the log and the subscriptions */
        unsigned n_answers;
        int r;
        SubscriptionInfo info;
} Fixture;

static MamTestServer postgres;

#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 90 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 50 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

static void stop_postgres(void) {
        mam_test_server_done(&postgres);
}

/* ---- the receiver ---- */

static void keep_field(char *ret, size_t size, MamHttpExchange *x, const char *name) {
        const char *value = mam_http_exchange_header(x, name);

        (void) snprintf(ret, size, "%s", value ? value : "-");
}

/* Each event has a number of its key; it must be the one that was not accepted yet. */
static void take_event(Fixture *f, json_object *o, bool accept) {
        json_object *key, *data;
        unsigned k;

        ASSERT_TRUE(json_object_object_get_ex(o, "partitionkey", &key));
        ASSERT_TRUE(json_object_object_get_ex(o, "data", &data));
        k = (unsigned) strtoul(json_object_get_string(key), NULL, 10);
        ASSERT_TRUE(k < KEYS);
        f->n_events++;
        if (json_object_get_int(data) != f->next[k])
                f->is_out_of_order = true;
        f->next[k]++;
        if (accept)
                f->n_accepted++;
}

static void take_body(Fixture *f, const char *data, size_t size, bool accept) {
        json_object *root = NULL;
        int next[KEYS];

        memcpy(next, f->next, sizeof(next));
        if (strncmp(f->type, "application/cloudevents", 23) != 0)
                return;
        ASSERT_OK(mam_json_parse(&root, data, size, NULL));
        if (json_object_is_type(root, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(root); i++)
                        take_event(f, json_object_array_get_idx(root, i), accept);
        } else
                take_event(f, root, accept);
        json_object_put(root);
        if (!accept) /* nothing of it has been taken */
                memcpy(f->next, next, sizeof(next));
}

static int on_post(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;
        unsigned status = f->status;

        if (error < 0)
                return 0;
        f->seed = f->seed * 1664525U + 1013904223U;
        if (status == 0)
                status = (f->seed >> 16) % 3 == 0 ? 503 : 204;
        if (f->fail_first > 0)
                f->fail_first--;
        else if (f->status > 0)
                status = f->status < 300 || f->status == 410 ? f->status : 200;
        if (f->n_posts < MAM_ELEMENTSOF(f->posted_usec))
                f->posted_usec[f->n_posts] = mam_now_monotonic();
        f->n_posts++;
        (void) snprintf(f->body, sizeof(f->body), "%.*s", (int) size, data);
        take_body(f, data, size, status < 300);
        if (f->retry_after && status >= 400)
                ASSERT_OK(mam_http_exchange_add_field(x, "Retry-After", f->retry_after));
        return mam_http_exchange_respond(x, status, NULL, NULL, 0);
}

static int handler(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        if (strcmp(mam_http_exchange_method(x), "OPTIONS") == 0) {
                f->n_options++;
                keep_field(f->asked_origin, sizeof(f->asked_origin), x, "webhook-request-origin");
                if (f->allow_origin)
                        ASSERT_OK(mam_http_exchange_add_field(x, "WebHook-Allowed-Origin", f->allow_origin));
                if (f->allow_rate)
                        ASSERT_OK(mam_http_exchange_add_field(x, "WebHook-Allowed-Rate", f->allow_rate));
                return mam_http_exchange_respond(x, 200, NULL, NULL, 0);
        }
        keep_field(f->type, sizeof(f->type), x, "content-type");
        keep_field(f->id, sizeof(f->id), x, "webhook-id");
        keep_field(f->timestamp, sizeof(f->timestamp), x, "webhook-timestamp");
        keep_field(f->signature, sizeof(f->signature), x, "webhook-signature");
        keep_field(f->binary, sizeof(f->binary), x, "ce-id");
        return mam_http_exchange_read_body(x, 4 << 20, on_post, f);
}

static void start_receiver(Fixture *f) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(in);
        int fd;

        ASSERT_OK(mam_http_server_new(&f->server, f->event, NULL, handler, f));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &in, sizeof(in)));
        ASSERT_OK(listen(fd, 64));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &in, &size));
        f->port = ntohs(in.sin_port);
        ASSERT_OK(mam_http_server_listen(f->server, fd, false, 0));
        (void) snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/hook", f->port);
}

/* ---- the bus ---- */

static void on_migrated(int error, const char *message, void *userdata) {
        if (error < 0)
                mam_test_fail_string(__FILE__, __LINE__, "migrate", message);
        *(bool *) userdata = true;
}

static void on_topic(int r, const TopicInfo *topic, void *userdata) {
        Fixture *f = userdata;

        f->r = r;
        f->n_answers++;
}

static void on_appended(const char *topic, int64_t last, void *userdata) {
        Fixture *f = userdata;

        tail_appended(f->tail, topic, last);
}

static void clean_schema(const char *conninfo) {
        PGconn *c = PQconnectdb(conninfo);

        ASSERT_EQ(PQstatus(c), CONNECTION_OK);
        PQclear(PQexec(c, "SET client_min_messages = error; DROP SCHEMA IF EXISTS event_bus CASCADE"));
        PQfinish(c);
}

static void setup(Fixture *f) {
        const MamPgOptions options = { .schema = "event_bus",
                                       .statement_timeout_usec = 20 * MAM_USEC_PER_SEC };
        const LogHooks hooks = { .on_appended = on_appended, .userdata = f };
        const TopicSettings topic = { .kind = TOPIC_DURABLE };
        char conninfo[160];
        bool migrated = false;

        if (!postgres.folder[0]) {
                (void) atexit(stop_postgres);
                mam_test_postgres_init(&postgres);
        }
        if (postgres.pid <= 0)
                mam_test_postgres_start(&postgres);
        *f = (Fixture){ .allow_origin = "*", .status = 204, .seed = 7 };
        for (size_t i = 0; i < KEYS; i++)
                f->next[i] = 1;
        ASSERT_OK(sd_event_new(&f->event));
        (void) snprintf(conninfo,
                        sizeof(conninfo),
                        "host=%s dbname=postgres user=postgres",
                        postgres.folder);
        clean_schema(conninfo);
        ASSERT_OK(mam_pg_new(&f->pg, f->event, conninfo, &options));
        ASSERT_OK(
                        mam_pg_migrate(f->pg,
                                       "event_bus",
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       &migrated));
        RUN_UNTIL(f, migrated);
        ASSERT_OK(log_new(&f->log, f->event, f->pg, NULL, &hooks));
        ASSERT_OK(tail_new(&f->tail, f->event, f->log, NULL, NULL));
        ASSERT_OK(delivery_new(&f->delivery, f->event, f->pg, f->log, f->tail));
        ASSERT_OK(log_topic_create(f->log, NULL, "orders.made", &topic, on_topic, f));
        RUN_UNTIL(f, f->n_answers == 1);
        ASSERT_EQ(f->r, 0);
        ASSERT_OK(
                        push_key_parse(&f->key,
                                       "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"));
        start_receiver(f);
}

static void teardown(Fixture *f) {
        pusher_free(f->pusher);
        delivery_free(f->delivery);
        tail_free(f->tail);
        log_free(f->log);
        mam_pg_free(f->pg);
        mam_http_server_free(f->server);
        sd_event_unref(f->event);
        ASSERT_TRUE(!f->is_out_of_order);
}

static void start_pusher(Fixture *f, bool allow) {
        static const char *const networks[] = { "127.0.0.0/8", NULL };
        const PushOptions options = {
                .allow = allow ? networks : NULL,
                .allow_http = true,
                .origin = "bus.example",
                .key = &f->key,
        };

        ASSERT_OK(pusher_new(&f->pusher, f->event, f->delivery, &options));
}

static void on_subscription(int r, const SubscriptionInfo *s, void *userdata) {
        Fixture *f = userdata;

        f->r = r;
        if (s)
                f->info = *s; /* texts are gone */
        f->n_answers++;
}

static void subscribe(Fixture *f, const char *url, const char *mode, const char *secret, unsigned parallel) {
        _cleanup_(mam_freep) char *sealed = NULL;
        const unsigned before = f->n_answers;
        SubscriptionSettings s = {
                .topic = "orders.made",
                .start = 1,
                .push_url = url,
                .push_mode = mode,
                .push_parallel = parallel,
                .backoff_min_usec = 10 * MAM_USEC_PER_MSEC,
                .backoff_max_usec = 50 * MAM_USEC_PER_MSEC,
                .attempts_max = UINT32_MAX,
        };

        if (secret)
                ASSERT_OK(push_secret_seal(&sealed, &f->key, "hook", secret));
        s.push_secret = sealed;
        ASSERT_OK(delivery_subscription_create(f->delivery, NULL, "hook", &s, on_subscription, f));
        RUN_UNTIL(f, f->n_answers == before + 1);
        ASSERT_EQ(f->r, 0);
}

static void look_at_subscription(Fixture *f) {
        const unsigned before = f->n_answers;

        ASSERT_OK(delivery_subscription_get(f->delivery, NULL, "hook", on_subscription, f));
        RUN_UNTIL(f, f->n_answers == before + 1);
        ASSERT_EQ(f->r, 0);
}

static void on_append(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Fixture *f = userdata;

        f->r = r;
        f->n_answers++;
}

/* Events from … to of each key, in turns. */
static void publish(Fixture *f, unsigned from, unsigned to, unsigned keys) {
        for (unsigned n = from; n <= to; n++) {
                for (unsigned k = 0; k < keys; k++) {
                        const unsigned before = f->n_answers;
                        char text[256], id[32], key[8];
                        LogEntry e = { .key = key,
                                       .id = id,
                                       .source = "/test",
                                       .type = "made",
                                       .text = text };

                        (void) snprintf(id, sizeof(id), "%u-%u", k, n);
                        (void) snprintf(key, sizeof(key), "%u", k);
                        e.size = (size_t) snprintf(
                                        text,
                                        sizeof(text),
                                        "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/test\",\"type\":\"made\","
                                        "\"partitionkey\":\"%s\",\"data\":%u}",
                                        id,
                                        key,
                                        n);
                        ASSERT_OK(log_append(f->log, NULL, "orders.made", &e, 1, on_append, f));
                        RUN_UNTIL(f, f->n_answers == before + 1);
                        ASSERT_EQ(f->r, 0);
                }
        }
}

static void wait_settled(Fixture *f, int64_t to) {
        do
                look_at_subscription(f);
        while (f->info.settled_to < to);
}

TEST(events_arrive_signed_and_are_settled) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        PushSecrets secrets;
        Fixture f;

        setup(&f);
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, SECRET, 0);
        publish(&f, 1, 5, KEYS);
        RUN_UNTIL(&f, f.n_accepted == 5 * KEYS);
        ASSERT_EQ(f.n_options, 1);
        ASSERT_STREQ(f.asked_origin, "bus.example");
        ASSERT_STREQ(f.type, "application/cloudevents+json");
        ASSERT_TRUE(strncmp(f.id, "orders~made:", 12) == 0);
        ASSERT_OK(push_secrets_parse(&secrets, SECRET));
        ASSERT_OK(push_sign(&b, &secrets, f.id, strtoull(f.timestamp, NULL, 10), f.body, strlen(f.body)));
        ASSERT_STREQ(f.signature, mam_buffer_bytes(&b));
        ASSERT_TRUE(strtoull(f.timestamp, NULL, 10) + 60 > mam_now_realtime() / MAM_USEC_PER_SEC);
        wait_settled(&f, 5 * KEYS);
        ASSERT_EQ(f.n_posts, 5 * KEYS);
        ASSERT_EQ(pusher_figures(f.pusher).delivered, 5 * KEYS);
        ASSERT_EQ(pusher_figures(f.pusher).failed, 0);
        teardown(&f);
}

TEST(binary_mode_has_attributes_as_fields) {
        Fixture f;

        setup(&f);
        start_pusher(&f, true);
        subscribe(&f, f.url, "binary", NULL, 0);
        publish(&f, 1, 1, 1);
        RUN_UNTIL(&f, f.n_posts == 1);
        ASSERT_STREQ(f.binary, "0-1");
        ASSERT_STREQ(f.type, "application/json");
        ASSERT_STREQ(f.body, "1");
        ASSERT_STREQ(f.signature, "-");
        wait_settled(&f, 1);
        teardown(&f);
}

TEST(a_batch_holds_what_there_is) {
        Fixture f;

        setup(&f);
        publish(&f, 1, 30, KEYS);
        start_pusher(&f, true);
        subscribe(&f, f.url, "batch", SECRET, 2);
        RUN_UNTIL(&f, f.n_accepted == 30 * KEYS);
        ASSERT_STREQ(f.type, "application/cloudevents-batch+json");
        ASSERT_TRUE(f.n_posts < 20);
        wait_settled(&f, 30 * KEYS);
        teardown(&f);
}

TEST(an_endpoint_that_does_not_agree_is_not_called) {
        Fixture f;

        setup(&f);
        f.allow_origin = "somebody.else";
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, NULL, 0);
        publish(&f, 1, 2, 1);
        RUN_UNTIL(&f, f.n_options == 1);
        publish(&f, 3, 6, 1);
        ASSERT_EQ(f.n_options, 1);
        ASSERT_EQ(f.n_posts, 0);
        look_at_subscription(&f);
        ASSERT_EQ(f.info.lag, 6);
        ASSERT_EQ(f.info.outstanding, 0);
        teardown(&f);
}

TEST(the_rate_that_was_granted_is_kept_to) {
        Fixture f;

        setup(&f);
        f.allow_origin = "bus.example";
        f.allow_rate = "600"; /* a minute */
        publish(&f, 1, 3, 2);
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, NULL, 0);
        RUN_UNTIL(&f, f.n_accepted == 6);
        for (unsigned i = 1; i < 6; i++)
                ASSERT_TRUE(f.posted_usec[i] - f.posted_usec[0] >=
                            i * 100 * MAM_USEC_PER_MSEC - 20 * MAM_USEC_PER_MSEC);
        teardown(&f);
}

TEST(order_per_key_is_kept_by_a_receiver_that_fails_often) {
        Fixture f;

        setup(&f);
        f.status = 0; /* every third, by lot */
        publish(&f, 1, 12, KEYS);
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, NULL, 8);
        RUN_UNTIL(&f, f.n_accepted == 12 * KEYS);
        wait_settled(&f, 12 * KEYS);
        ASSERT_TRUE(f.n_events > 12 * KEYS);
        ASSERT_EQ(f.n_accepted, 12 * KEYS); /* none twice that was accepted */
        teardown(&f);
}

TEST(order_per_key_is_kept_in_batches_that_fail) {
        Fixture f;

        setup(&f);
        f.status = 0;
        publish(&f, 1, 40, KEYS);
        start_pusher(&f, true);
        subscribe(&f, f.url, "batch", NULL, 4);
        publish(&f, 41, 60, KEYS);
        RUN_UNTIL(&f, f.n_accepted == 60 * KEYS);
        wait_settled(&f, 60 * KEYS);
        ASSERT_EQ(f.n_accepted, 60 * KEYS);
        teardown(&f);
}

TEST(retry_after_is_kept_to) {
        Fixture f;

        setup(&f);
        f.status = 429;
        f.fail_first = 1;
        f.retry_after = "1";
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, NULL, 0);
        publish(&f, 1, 1, 1);
        RUN_UNTIL(&f, f.n_accepted == 1);
        ASSERT_EQ(f.n_posts, 2);
        ASSERT_TRUE(f.posted_usec[1] - f.posted_usec[0] >= 990 * MAM_USEC_PER_MSEC);
        ASSERT_EQ(pusher_figures(f.pusher).failed, 1);
        teardown(&f);
}

TEST(a_failing_endpoint_is_left_alone_and_asked_again) {
        Fixture f;

        setup(&f);
        f.status = 500;
        f.fail_first = 5;
        publish(&f, 1, 3, 1);
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, NULL, 1);
        RUN_UNTIL(&f, pusher_figures(f.pusher).circuits_open == 1);
        ASSERT_EQ(f.n_posts, 5);
        RUN_UNTIL(&f, f.n_accepted == 3);
        ASSERT_EQ(pusher_figures(f.pusher).circuits_open, 0);
        ASSERT_TRUE(f.posted_usec[5] - f.posted_usec[4] >= 2 * MAM_USEC_PER_SEC);
        teardown(&f);
}

TEST(gone_pauses_the_subscription) {
        Fixture f;

        setup(&f);
        f.status = 410;
        start_pusher(&f, true);
        subscribe(&f, f.url, NULL, SECRET, 0);
        publish(&f, 1, 1, 1);
        RUN_UNTIL(&f, f.n_posts >= 1);
        do
                look_at_subscription(&f);
        while (!f.info.settings.paused);
        publish(&f, 2, 4, 1);
        ASSERT_EQ(f.n_posts, 1);
        teardown(&f);
}

TEST(what_is_not_public_is_not_called) {
        char url[64];
        Fixture f;

        setup(&f);
        start_pusher(&f, false);
        (void) snprintf(url,
                        sizeof(url),
                        "https://localhost:%u/hook",
                        f.port); /* a name: seen when it connects */
        subscribe(&f, url, NULL, NULL, 0);
        RUN_UNTIL(&f, pusher_figures(f.pusher).refused > 0);
        ASSERT_EQ(f.n_options, 0);
        teardown(&f);
}

TEST(another_key_opens_no_secret) {
        Fixture f;

        setup(&f);
        start_pusher(&f, true);
        f.key.bytes[0] ^= 1; /* of who stores it */
        subscribe(&f, f.url, NULL, SECRET, 0);
        publish(&f, 1, 2, 1);
        look_at_subscription(&f);
        ASSERT_EQ(f.info.lag, 2);
        ASSERT_EQ(f.n_options, 0);
        ASSERT_EQ(f.n_posts, 0);
        teardown(&f);
}

TEST(urls_are_judged_before_they_are_called) {
        static const char *const networks[] = { "10.0.0.0/8", NULL };
        static const struct {
                const char *url;
                bool http;
                const char *problem; /* NULL: good */
        } cases[] = {
                { "https://hooks.example.com/a?b=c", false, NULL },
                { "https://1.1.1.1/", false, NULL },
                { "https://[2606:4700::1111]/", false, NULL },
                { "https://10.1.2.3:8443/", false, NULL },
                { "http://10.1.2.3/", true, NULL },
                { "http://hooks.internal/", true, NULL },
                { "http://hooks.example.com/", false, "must begin with https://" },
                { "http://1.1.1.1/",
                  true,
                  "is plain http to an address that events.webhooks.allow does not name" },
                { "ftp://hooks.example.com/", true, "must begin with https://" },
                { "hooks.example.com", true, "is not a URL" },
                { "", true, "is not a URL" },
                { "https://user:secret@hooks.example.com/", false, "must not contain a user or password" },
                { "https://hooks.example.com/#part", false, "must not have a fragment" },
                { "https://hooks.example.com/a b",
                  false,
                  "contains a character that has no place in a URL" },
                { "https://127.0.0.1/", false, "leads to an address that is not public" },
                { "https://127.1/", false, "leads to an address that is not public" },
                { "https://0x7f000001/", false, "leads to an address that is not public" },
                { "https://2130706433/", false, "leads to an address that is not public" },
                { "https://0177.0.0.1/", false, "leads to an address that is not public" },
                { "https://169.254.169.254/latest/meta-data",
                  false,
                  "leads to an address that is not public" },
                { "https://192.168.1.1/", false, "leads to an address that is not public" },
                { "https://[::1]/", false, "leads to an address that is not public" },
                { "https://[::ffff:127.0.0.1]/", false, "leads to an address that is not public" },
                { "https://[fe80::1%25eth0]/", false, "leads to an address that is not public" },
                { "https://[64:ff9b::7f00:1]/", false, "leads to an address that is not public" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                const PushOptions options = { .allow = networks, .allow_http = cases[i].http };
                _cleanup_(mam_freep) char *problem = NULL;
                int r = pusher_check_url(&options, cases[i].url, &problem);

                if ((r == 0) != !cases[i].problem)
                        mam_test_fail_string(__FILE__, __LINE__, cases[i].url, problem ? problem : "taken");
                if (cases[i].problem)
                        ASSERT_STREQ(problem, cases[i].problem);
        }
}
