/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Publishing and subscribing as services do, with the real event bus between them
 */

#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>

#include <libpq-fe.h>

#include "libmam/db/test-server.h"
#include "libmam/events/events.h"
#include "libmam/service/test-service-util.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define KEYS       4U
#define EVENTS_MAX 400U

static MamTestServer postgres, redis_server;

#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 90 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_OK(sd_event_run((f)->event, 50 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                }                                                                    \
        } while (0)

typedef struct Fixture {
        TestWorld w;
        pid_t pid;
        char conninfo[160], pg_variable[200], redis_path[160], redis_variable[180], address[32];
        char *token; /* owned */
        sd_event *event;
        MamPg *pg;
        MamRedis *redis;
        MamSubscription *subscription;
        /* what came */
        unsigned n_incoming, n_distinct, n_published;
        bool seen[KEYS][EVENTS_MAX + 1];
        unsigned next[KEYS];
        unsigned attempts[8];        /* how often an event came as the n-th attempt */
        bool is_out_of_order, keeps; /* keeps: settles nothing */
        char held[EVENTS_MAX][72];
        unsigned n_held;
        unsigned nack_first, reject_key; /* so many are given back; this key's are dead (from 1) */
} Fixture;

static void stop_servers(void) {
        mam_test_server_done(&postgres);
        mam_test_server_done(&redis_server);
}

static void need_servers(void) {
        (void) mam_test_postgres_bin(); /* skips */
        if (!postgres.folder[0]) {
                mam_test_postgres_init(&postgres);
                mam_test_server_init(&redis_server);
                /* The daemon has no capability that would let it pass by the folder's mode. */
                ASSERT_OK(chmod(postgres.folder, 0711));
                ASSERT_OK(chmod(redis_server.folder, 0711));
                ASSERT_EQ(atexit(stop_servers), 0);
                mam_test_postgres_start(&postgres);
                mam_test_redis_start(&redis_server, (const char *[]){ "--unixsocketperm", "777", NULL });
        }
}

static void start_bus(Fixture *f) {
        f->pid = world_start(&f->w, 0, (const char *[]){ f->pg_variable, f->redis_variable, NULL }, NULL);
        world_expect_notify(&f->w, "READY=1");
}

static void setup(Fixture *f) {
        PGconn *c;

        need_servers();
        *f = (Fixture){ 0 };
        for (size_t i = 0; i < KEYS; i++)
                f->next[i] = 1;
        (void) snprintf(f->conninfo,
                        sizeof(f->conninfo),
                        "host=%s dbname=postgres user=postgres",
                        postgres.folder);
        (void) snprintf(f->pg_variable, sizeof(f->pg_variable), "MAM_POSTGRESQL=%s", f->conninfo);
        (void) snprintf(f->redis_path, sizeof(f->redis_path), "%s/redis.sock", redis_server.folder);
        (void) snprintf(f->redis_variable, sizeof(f->redis_variable), "MAM_REDIS=%s", f->redis_path);
        c = PQconnectdb(f->conninfo);
        ASSERT_EQ(PQstatus(c), CONNECTION_OK);
        PQclear(PQexec(c, "SET client_min_messages = error; DROP SCHEMA IF EXISTS event_bus CASCADE"));
        PQfinish(c);

        world_init(&f->w);
        f->w.program = "daemons/event-bus/mam-event-bus";
        f->token = world_token(&f->w, "shop", "subscriber", 3600);
        (void) snprintf(f->address, sizeof(f->address), "127.0.0.1:%u", f->w.port);
        start_bus(f);

        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_pg_new(&f->pg, f->event, f->conninfo, &(MamPgOptions){ 0 }));
        ASSERT_OK(mam_redis_new(&f->redis, f->event, f->redis_path, &(MamRedisOptions){ 0 }));
        RUN_UNTIL(f, mam_redis_is_connected(f->redis));
}

static void teardown(Fixture *f) {
        mam_subscription_free(f->subscription);
        mam_redis_free(f->redis);
        mam_pg_free(f->pg);
        sd_event_unref(f->event);
        ASSERT_OK(kill(f->pid, SIGTERM));
        ASSERT_EQ(world_wait(f->pid), 0);
        free(f->token);
        world_done(&f->w);
        ASSERT_TRUE(!f->is_out_of_order);
}

static void on_published(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Fixture *f = userdata;

        ASSERT_EQ(error, 0);
        f->n_published++;
}

/* In the transaction of somebody, then the bell. */
static void publish(Fixture *f, unsigned from, unsigned to) {
        unsigned sent = f->n_published;

        for (unsigned n = from; n <= to; n++) {
                for (unsigned k = 0; k < KEYS; k++) {
                        char data[16], key[8];
                        MamEventDraft draft = { .source = "/shop",
                                                .type = "made",
                                                .partition_key = key,
                                                .data = data };
                        MamEvent *e = NULL;
                        MamPublication p;

                        (void) snprintf(key, sizeof(key), "%u", k);
                        draft.data_size = (size_t) snprintf(data, sizeof(data), "%u", n);
                        ASSERT_OK(mam_event_new(&e, &draft, NULL));
                        p = mam_event_publish("orders", e);
                        ASSERT_OK(
                                        mam_pg_run(f->pg,
                                                   NULL,
                                                   &(MamPgStep){ p.statement, p.parameters, p.n_parameters },
                                                   1,
                                                   on_published,
                                                   f));
                        mam_event_free(e);
                        sent++;
                }
                RUN_UNTIL(f, f->n_published == sent); /* one of a key after the other */
                mam_event_wake(f->redis);
        }
}

static void on_event(MamSubscription *s, const MamIncoming *incoming, void *userdata) {
        unsigned key = (unsigned) strtoul(mam_event_key(incoming->event), NULL, 10), n;
        json_object *data = mam_event_data(incoming->event);
        Fixture *f = userdata;

        ASSERT_TRUE(data && key < KEYS);
        ASSERT_STREQ(mam_event_source(incoming->event), "/shop");
        n = (unsigned) json_object_get_int(data);
        ASSERT_TRUE(n >= 1 && n <= EVENTS_MAX);
        f->n_incoming++;
        f->attempts[incoming->attempt < 7 ? incoming->attempt : 7]++;
        if (f->keeps) {
                ASSERT_TRUE(f->n_held < EVENTS_MAX);
                (void) snprintf(f->held[f->n_held++], sizeof(f->held[0]), "%s", incoming->ack_id);
                return;
        }
        if (f->nack_first > 0) {
                f->nack_first--;
                ASSERT_OK(mam_subscription_settle(s, incoming->ack_id, MAM_SETTLE_NACK, 1000, NULL));
                return;
        }
        if (!f->seen[key][n]) {
                f->n_distinct++;
                if (n != f->next[key]++)
                        f->is_out_of_order = true;
        }
        f->seen[key][n] = true;
        if (f->reject_key == key + 1)
                ASSERT_OK(mam_subscription_settle(
                                s,
                                incoming->ack_id,
                                MAM_SETTLE_DEAD,
                                0,
                                "not for \"us\""));
        else
                ASSERT_OK(mam_subscription_settle(s, incoming->ack_id, MAM_SETTLE_ACK, 0, NULL));
        ASSERT_EQ(mam_subscription_settle(s, incoming->ack_id, MAM_SETTLE_ACK, 0, NULL), -ENOENT);
}

static void subscribe(Fixture *f, unsigned credit) {
        ASSERT_OK(mam_event_subscribe(
                        &f->subscription,
                        f->event,
                        &(MamSubscriptionOptions){ .bus = f->address,
                                                   .token = f->token,
                                                   .name = "shop.orders",
                                                   .topic = "orders",
                                                   .from_beginning = true,
                                                   .credit = credit },
                        on_event,
                        f));
}

static int64_t number_of(Fixture *f, const char *statement) {
        PGconn *c = PQconnectdb(f->conninfo);
        PGresult *result;
        int64_t value;

        ASSERT_EQ(PQstatus(c), CONNECTION_OK);
        PQclear(PQexec(c, "SET search_path = event_bus"));
        result = PQexec(c, statement);
        if (PQresultStatus(result) != PGRES_TUPLES_OK)
                mam_test_fail_string(__FILE__, __LINE__, statement, PQresultErrorMessage(result));
        value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        PQclear(result);
        PQfinish(c);
        return value;
}

TEST(what_a_transaction_published_comes_in_order_and_is_settled) {
        Fixture f;

        setup(&f);
        publish(&f, 1, 10); /* the topic is made by the first of them */
        subscribe(&f, 0);
        publish(&f, 11, 40);
        RUN_UNTIL(&f, f.n_distinct == 40 * KEYS);
        RUN_UNTIL(&f, mam_subscription_unsettled(f.subscription) == 0);
        RUN_UNTIL(&f, number_of(&f, "SELECT settled_to FROM subscription_states") == 40 * KEYS);
        ASSERT_EQ(f.attempts[1], 40 * KEYS);
        ASSERT_TRUE(!mam_subscription_problem(f.subscription));
        teardown(&f);
}

TEST(what_is_given_back_comes_again_and_what_is_rejected_is_kept) {
        Fixture f;

        setup(&f);
        f.nack_first = 3;
        f.reject_key = 2;
        publish(&f, 1, 5);
        subscribe(&f, 0);
        RUN_UNTIL(&f, f.n_distinct == 5 * KEYS);
        RUN_UNTIL(&f, mam_subscription_unsettled(f.subscription) == 0);
        ASSERT_TRUE(f.attempts[2] >= 1);
        ASSERT_EQ(number_of(&f, "SELECT count(*) FROM dead_letters WHERE reason = 'not for \"us\"'"), 5);
        teardown(&f);
}

TEST(no_more_come_than_there_is_credit) {
        Fixture f;

        setup(&f);
        f.keeps = true;
        publish(&f, 1, 10);
        subscribe(&f, 8);
        RUN_UNTIL(&f, f.n_held >= 4); /* of four keys at least one each, and never more than eight */
        publish(&f, 11, 15);
        ASSERT_TRUE(f.n_held <= 8);
        for (unsigned settled = 0; settled < f.n_held && f.n_held < 60; settled++) {
                ASSERT_OK(mam_subscription_settle(f.subscription, f.held[settled], MAM_SETTLE_ACK, 0, NULL));
                RUN_UNTIL(&f, f.n_held > settled + 1 || settled + 1 == 60);
                ASSERT_TRUE(f.n_held <= settled + 1 + 8);
        }
        ASSERT_EQ(f.n_held, 60);
        teardown(&f);
}

TEST(it_goes_on_when_the_bus_was_killed) {
        Fixture f;

        setup(&f);
        publish(&f, 1, 5);
        subscribe(&f, 20);
        for (unsigned i = 1; i <= 3; i++) {
                RUN_UNTIL(&f, f.n_distinct >= i * 5 * KEYS - KEYS);
                ASSERT_OK(kill(f.pid, SIGKILL));
                (void) world_wait(f.pid);
                publish(&f, i * 5 + 1, i * 5 + 5); /* it need not be there */
                start_bus(&f);
        }
        RUN_UNTIL(&f, f.n_distinct == 20 * KEYS);
        RUN_UNTIL(&f, number_of(&f, "SELECT settled_to FROM subscription_states") == 20 * KEYS);
        ASSERT_EQ(number_of(&f, "SELECT h.last FROM heads h"), 20 * KEYS);
        teardown(&f);
}

static void on_last_event(MamSubscription *s, const MamIncoming *incoming, void *userdata) {
        Fixture *f = userdata;

        f->n_incoming++;
        f->subscription = mam_subscription_free(s);
}

TEST(it_may_be_freed_by_its_callback) {
        Fixture f;

        setup(&f);
        publish(&f, 1, 3);
        ASSERT_EQ(mam_event_subscribe(
                                  &f.subscription,
                                  f.event,
                                  &(MamSubscriptionOptions){ .bus = f.address,
                                                             .name = "Not a name",
                                                             .topic = "orders" },
                                  on_last_event,
                                  &f),
                  -EINVAL);
        ASSERT_EQ(mam_event_subscribe(
                                  &f.subscription,
                                  f.event,
                                  &(MamSubscriptionOptions){ .bus = f.address,
                                                             .name = "n",
                                                             .topic = "orders",
                                                             .filters = "{}" },
                                  on_last_event,
                                  &f),
                  -EINVAL);
        ASSERT_OK(mam_event_subscribe(
                        &f.subscription,
                        f.event,
                        &(MamSubscriptionOptions){ .bus = f.address,
                                                   .token = f.token,
                                                   .name = "once",
                                                   .topic = "orders",
                                                   .filters = "[{\"exact\":{\"type\":\"made\"}}]",
                                                   .from_beginning = true },
                        on_last_event,
                        &f));
        RUN_UNTIL(&f, f.n_incoming == 1);
        ASSERT_TRUE(!f.subscription);
        teardown(&f);
}
