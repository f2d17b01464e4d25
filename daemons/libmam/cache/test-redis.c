/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The Redis client against a real, private server
 */

#include <signal.h>

#include "libmam/cache/redis.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        MamTestServer server;
        sd_event *event;
        MamRedis *redis;
        char address[96];
        unsigned n_done, n_ok, n_state;
        int error;
        MamRedisType type;
        int64_t integer;
        char text[64], message[128];
        size_t size, count;
        bool connected;
        MamRedis *listener;
        unsigned n_heard;
        char heard[64];
        bool free_when_heard;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 15 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                }                                                                     \
        } while (0)

static void on_state(MamRedis *r, bool connected, void *userdata) {
        Fixture *f = userdata;

        f->n_state++;
        f->connected = connected;
}

static void on_reply(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        Fixture *f = userdata;
        size_t size;

        f->n_done++;
        f->error = error;
        (void) snprintf(f->message, sizeof(f->message), "%s", message ?: "");
        if (error < 0)
                return;
        f->n_ok++;
        f->type = mam_redis_type(reply);
        f->integer = mam_redis_integer(reply);
        f->count = mam_redis_count(reply);
        (void) mam_redis_text(mam_redis_item(reply, f->count), NULL); /* beyond the end is nothing */
        f->size = 0;
        if (f->type == MAM_REDIS_STRING) {
                const char *text = mam_redis_text(reply, &size);

                ASSERT_TRUE(size < sizeof(f->text));
                memcpy(f->text, text, size);
                f->text[size] = '\0';
                f->size = size;
        }
}

static void fixture_setup(Fixture *f, const MamRedisOptions *options, const char *const *more) {
        *f = (Fixture){ 0 };
        mam_test_server_init(&f->server);
        mam_test_redis_start(&f->server, more);
        (void) snprintf(f->address, sizeof(f->address), "%s/redis.sock", f->server.folder);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_redis_new(&f->redis, f->event, f->address, options));
        mam_redis_set_on_state(f->redis, on_state, f);
}

static void fixture_done(Fixture *f) {
        f->redis = mam_redis_free(f->redis);
        f->event = sd_event_unref(f->event);
        mam_test_server_done(&f->server);
}

static int command(Fixture *f, const char *a, const char *b, const char *c) {
        const char *const argv[] = { a, b, c };

        return mam_redis_command(f->redis, argv, NULL, c ? 3 : b ? 2 : 1, on_reply, f);
}

static void command_and_wait(Fixture *f, const char *a, const char *b, const char *c) {
        unsigned n = f->n_done;

        ASSERT_OK(command(f, a, b, c));
        RUN_UNTIL(f, f->n_done > n);
}

TEST(values_come_back_as_they_went) {
        const char *const argv[] = { "SET", "k", "a\0b\r\nc" };
        const size_t sizes[] = { 3, 1, 6 };
        Fixture f;

        fixture_setup(&f, NULL, NULL);
        ASSERT_EQ(command(&f, "PING", NULL, NULL), -ENOTCONN); /* not connected yet: no queueing */
        RUN_UNTIL(&f, f.connected);
        ASSERT_OK(mam_redis_command(f.redis, argv, sizes, 3, on_reply, &f));
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_STREQ(f.text, "OK");
        command_and_wait(&f, "GET", "k", NULL);
        ASSERT_EQ(f.size, 6);
        ASSERT_EQ(memcmp(f.text, "a\0b\r\nc", 6), 0);
        command_and_wait(&f, "GET", "nothing", NULL);
        ASSERT_EQ(f.type, MAM_REDIS_NIL);
        command_and_wait(&f, "INCRBY", "n", "42");
        ASSERT_EQ(f.integer, 42);
        command_and_wait(&f, "MGET", "k", "nothing");
        ASSERT_EQ(f.type, MAM_REDIS_ARRAY);
        ASSERT_EQ(f.count, 2);
        command_and_wait(&f, "INCR", "k", NULL);
        ASSERT_EQ(f.error, -EIO);
        ASSERT_TRUE(strstr(f.message, "not an integer"));
        fixture_done(&f);
}

TEST(a_burst_is_answered_once_each) {
        Fixture f;

        fixture_setup(&f, NULL, NULL);
        RUN_UNTIL(&f, f.connected);
        for (unsigned i = 0; i < 1024; i++)
                ASSERT_OK(command(&f, "INCR", "n", NULL));
        ASSERT_EQ(command(&f, "INCR", "n", NULL), -EAGAIN);
        RUN_UNTIL(&f, f.n_done == 1024);
        ASSERT_EQ(f.n_ok, 1024);
        ASSERT_EQ(f.integer, 1024);
        fixture_done(&f);
}

TEST(a_user_is_held_to_its_keys) {
        static const char *const acl[] = { "--user",  "default", "off",   "--user",  "svc", "on",
                                           ">secret", "~svc:*",  "+@all", "-@admin", NULL };
        static const MamRedisOptions good = { .user = "svc", .password = "secret" };
        static const MamRedisOptions bad = { .user = "svc", .password = "wrong" };
        uint64_t end;
        Fixture f;

        fixture_setup(&f, &good, acl);
        RUN_UNTIL(&f, f.connected);
        command_and_wait(&f, "SET", "svc:k", "v");
        ASSERT_EQ(f.error, 0);
        command_and_wait(&f, "GET", "other:k", NULL);
        ASSERT_EQ(f.error, -EACCES);
        f.redis = mam_redis_free(f.redis);
        f.connected = false;

        ASSERT_OK(mam_redis_new(&f.redis, f.event, f.address, &bad));
        mam_redis_set_on_state(f.redis, on_state, &f);
        end = mam_now_monotonic() + 300 * MAM_USEC_PER_MSEC;
        RUN_UNTIL(&f, mam_now_monotonic() > end);
        ASSERT_TRUE(!f.connected);
        ASSERT_EQ(command(&f, "PING", NULL, NULL), -ENOTCONN);
        fixture_done(&f);
}

TEST(a_silent_server_is_a_miss_in_time) {
        static const MamRedisOptions quick = { .timeout_usec = 50 * MAM_USEC_PER_MSEC };
        uint64_t start;
        Fixture f;

        fixture_setup(&f, &quick, NULL);
        RUN_UNTIL(&f, f.connected);
        ASSERT_EQ(kill(f.server.pid, SIGSTOP), 0);
        start = mam_now_monotonic();
        for (unsigned i = 0; i < 10; i++)
                ASSERT_OK(command(&f, "INCR", "n", NULL));
        RUN_UNTIL(&f, f.n_done == 10);
        ASSERT_EQ(f.error, -ETIMEDOUT);
        ASSERT_TRUE(mam_now_monotonic() - start < 2 * MAM_USEC_PER_SEC);
        ASSERT_EQ(kill(f.server.pid, SIGCONT), 0);
        command_and_wait(&f, "INCR", "n", NULL); /* the late replies are not mistaken for this one's */
        ASSERT_EQ(f.error, 0);
        ASSERT_EQ(f.integer, 11);

        ASSERT_EQ(kill(f.server.pid, SIGSTOP), 0);
        ASSERT_OK(command(&f, "INCR", "n", NULL));
        RUN_UNTIL(&f, !f.connected); /* silent for too long: given up */
        ASSERT_EQ(kill(f.server.pid, SIGCONT), 0);
        RUN_UNTIL(&f, f.connected);
        fixture_done(&f);
}

TEST(a_killed_server_is_found_again) {
        Fixture f;

        fixture_setup(&f, NULL, NULL);
        RUN_UNTIL(&f, f.connected);
        ASSERT_EQ(kill(f.server.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < 10; i++)
                ASSERT_OK(command(&f, "INCR", "n", NULL));
        ASSERT_OK(sd_event_run(f.event, 0));
        mam_test_server_kill(&f.server, SIGKILL);
        RUN_UNTIL(&f, f.n_done == 10);
        ASSERT_EQ(f.error, -ENOTCONN);
        RUN_UNTIL(&f, !f.connected);
        ASSERT_EQ(command(&f, "PING", NULL, NULL), -ENOTCONN);
        mam_test_redis_start(&f.server, NULL);
        RUN_UNTIL(&f, f.connected);
        command_and_wait(&f, "PING", NULL, NULL);
        ASSERT_STREQ(f.text, "PONG");
        ASSERT_EQ(f.n_state, 3);
        fixture_done(&f);
}

static void on_reply_free(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        f->redis = mam_redis_free(f->redis);
}

TEST(a_callback_may_free_the_client) {
        const char *const argv[] = { "PING" };
        Fixture f;

        fixture_setup(&f, NULL, NULL);
        RUN_UNTIL(&f, f.connected);
        ASSERT_OK(mam_redis_command(f.redis, argv, NULL, 1, on_reply_free, &f));
        for (unsigned i = 0; i < 5; i++)
                ASSERT_OK(command(&f, "PING", NULL, NULL));
        RUN_UNTIL(&f, f.n_done == 6);
        ASSERT_EQ(f.error, -ECANCELED);
        ASSERT_TRUE(!f.redis);

        /* the same when the connection breaks */
        ASSERT_OK(mam_redis_new(&f.redis, f.event, f.address, NULL));
        RUN_UNTIL(&f, mam_redis_is_connected(f.redis));
        ASSERT_EQ(kill(f.server.pid, SIGSTOP), 0);
        ASSERT_OK(mam_redis_command(f.redis, argv, NULL, 1, on_reply_free, &f));
        ASSERT_OK(command(&f, "PING", NULL, NULL));
        ASSERT_OK(sd_event_run(f.event, 0));
        mam_test_server_kill(&f.server, SIGKILL);
        RUN_UNTIL(&f, f.n_done == 8);
        ASSERT_TRUE(!f.redis);
        fixture_done(&f);
}

static void on_message(MamRedis *r, const char *data, size_t size, void *userdata) {
        Fixture *f = userdata;

        f->n_heard++;
        (void) snprintf(f->heard, sizeof(f->heard), "%.*s", (int) size, data);
        if (f->free_when_heard)
                f->listener = mam_redis_free(f->listener);
}

static void publish_and_wait(Fixture *f, const char *text) {
        unsigned n = f->n_heard;

        command_and_wait(f, "PUBLISH", "svc:news", text);
        ASSERT_EQ(f->error, 0);
        RUN_UNTIL(f, f->n_heard > n);
        ASSERT_STREQ(f->heard, text);
}

TEST(who_listens_hears_everything_since_it_was_connected) {
        const char *const ping[] = { "PING" };
        Fixture f;

        fixture_setup(&f, NULL, NULL);
        ASSERT_OK(mam_redis_new(&f.listener, f.event, f.address, NULL));
        ASSERT_OK(mam_redis_listen(f.listener, "svc:news", on_message, &f));
        ASSERT_EQ(mam_redis_listen(f.listener, "svc:other", on_message, &f), -EALREADY);
        RUN_UNTIL(&f, f.connected && mam_redis_is_connected(f.listener));
        ASSERT_EQ(mam_redis_command(f.listener, ping, NULL, 1, on_reply, &f), -ENOTCONN);
        publish_and_wait(&f, "one");
        publish_and_wait(&f, "two");

        mam_test_server_kill(&f.server, SIGKILL);
        RUN_UNTIL(&f, !f.connected && !mam_redis_is_connected(f.listener));
        mam_test_redis_start(&f.server, NULL);
        RUN_UNTIL(&f, f.connected && mam_redis_is_connected(f.listener));
        publish_and_wait(&f, "three");
        ASSERT_EQ(f.n_heard, 3);

        f.free_when_heard = true;
        publish_and_wait(&f, "four");
        ASSERT_TRUE(!f.listener);
        fixture_done(&f);
}

TEST(who_may_not_listen_is_never_connected) {
        static const char *const acl[] = { "--user", "default", "off",   "--user",        "svc",
                                           "on",     ">secret", "+@all", "resetchannels", NULL };
        static const MamRedisOptions good = { .user = "svc", .password = "secret" };
        uint64_t end;
        Fixture f;

        fixture_setup(&f, &good, acl);
        ASSERT_OK(mam_redis_new(&f.listener, f.event, f.address, &good));
        ASSERT_OK(mam_redis_listen(f.listener, "svc:news", on_message, &f));
        RUN_UNTIL(&f, f.connected);
        end = mam_now_monotonic() + 300 * MAM_USEC_PER_MSEC;
        RUN_UNTIL(&f, mam_now_monotonic() > end);
        ASSERT_TRUE(!mam_redis_is_connected(f.listener));
        f.listener = mam_redis_free(f.listener);
        fixture_done(&f);
}

TEST(without_a_server_nothing_blocks) {
        Fixture f = { 0 };
        uint64_t end;

        ASSERT_OK(sd_event_new(&f.event));
        ASSERT_EQ(mam_redis_new(&f.redis, f.event, "no-address", NULL), -EINVAL);
        for (unsigned i = 0; i < 2; i++) {
                ASSERT_OK(
                                mam_redis_new(&f.redis,
                                              f.event,
                                              i == 0 ? "/nonexistent/redis.sock" : "127.0.0.1:1",
                                              NULL));
                end = mam_now_monotonic() + 200 * MAM_USEC_PER_MSEC;
                RUN_UNTIL(&f, mam_now_monotonic() > end);
                ASSERT_TRUE(!mam_redis_is_connected(f.redis));
                f.redis = mam_redis_free(f.redis);
        }
        f.event = sd_event_unref(f.event);
}
