/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Messages over real HTTP to a receiver in the same event loop, and what is kept over a restart
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "alerts/sender.h"
#include "alerts/store.h"
#include "libmam/http/http-server.h"
#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define SECOND MAM_USEC_PER_SEC

typedef struct Fixture {
        sd_event *event;
        AlertTable table;
        Sender *sender;
        unsigned n_changes;
        MamHttpServer *server;
        uint16_t port;
        char url[64];

        unsigned status; /* to answer */
        const char *retry_after;
        bool endless; /* an answer without an end */
        bool hold;    /* no answer */
        MamHttpExchange *held;
        unsigned n_posts, n_gets;
        char content_type[64], agent[64];
        char *last; /* the latest message */
        size_t sent;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 20 * SECOND;                    \
                while (!(condition)) {                                                \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                }                                                                     \
        } while (0)

static void send_more(MamHttpExchange *x, void *userdata) {
        static const char piece[4096];
        Fixture *f = userdata;
        int k;

        while ((k = mam_http_exchange_write(x, piece, sizeof(piece))) >= 0) {
                f->sent += sizeof(piece);
                if (k == 0)
                        return;
        }
}

static void on_held_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->held = NULL;
}

static int on_message(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        ASSERT_OK(error);
        free(f->last);
        f->last = strdup(data);
        f->n_posts++;
        (void) snprintf(f->content_type,
                        sizeof(f->content_type),
                        "%s",
                        mam_http_exchange_header(x, "Content-Type"));
        (void) snprintf(f->agent, sizeof(f->agent), "%s", mam_http_exchange_header(x, "User-Agent"));
        if (f->hold) {
                f->held = x;
                mam_http_exchange_set_on_done(x, on_held_done, f);
                return 0;
        }
        if (f->retry_after)
                ASSERT_OK(mam_http_exchange_add_field(x, "Retry-After", f->retry_after));
        if (f->status == 302)
                ASSERT_OK(mam_http_exchange_add_field(x, "Location", "/elsewhere"));
        if (f->endless) {
                mam_http_exchange_set_on_writable(x, send_more, f);
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                send_more(x, f);
                return 0;
        }
        return mam_http_exchange_respond(x, f->status, "text/plain", "so be it", 8);
}

static int on_request(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        if (strcmp(mam_http_exchange_method(x), "POST") != 0 ||
            strcmp(mam_http_exchange_path(x), "/hook/secret") != 0) {
                f->n_gets++;
                return mam_http_exchange_respond(x, 200, "text/plain", "", 0);
        }
        return mam_http_exchange_read_body(x, 0, on_message, f);
}

/* On the port of last time, if there was one. */
static void receiver_start(Fixture *f) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(a);
        int fd;

        a.sin_port = htons(f->port);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        ASSERT_OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)));
        ASSERT_OK(bind(fd, (struct sockaddr *) &a, sizeof(a)));
        ASSERT_OK(listen(fd, 16));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &a, &size));
        f->port = ntohs(a.sin_port);
        (void) snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/hook/secret", f->port);
        ASSERT_OK(mam_http_server_new(&f->server, f->event, NULL, on_request, f));
        ASSERT_OK(mam_http_server_listen(f->server, fd, false, 0));
}

static void receiver_stop(Fixture *f) {
        f->server = mam_http_server_free(f->server);
}

static void on_change(void *userdata) {
        Fixture *f = userdata;

        f->n_changes++;
}

static void fixture_setup(Fixture *f) {
        *f = (Fixture){ .status = 200 };
        ASSERT_OK(mam_log_set_level("error"));
        ASSERT_OK(sd_event_new(&f->event));
        alert_table_init(&f->table);
        ASSERT_OK(sender_new(&f->sender, f->event, &f->table, on_change, f));
        receiver_start(f);
        ASSERT_OK(sender_set_receivers(f->sender, (const char *[]){ f->url, NULL }));
}

static void fixture_done(Fixture *f) {
        sender_free(f->sender);
        receiver_stop(f);
        alert_table_done(&f->table);
        sd_event_unref(f->event);
        free(f->last);
}

/* As if it had happened a minute ago, so that nothing has to be waited for. */
static void take(Fixture *f, const char *fingerprint, bool firing) {
        const AlertNews n = {
                .fingerprint = fingerprint,
                .name = "ServiceDown",
                .severity = "critical",
                .service = "x",
                .replica = "",
                .summary = "nothing is ready",
                .started_usec = 1767322800 * SECOND,
                .ended_usec = firing ? 0 : 1767322900 * SECOND,
        };
        AlertGroup *g;

        ASSERT_OK(alert_table_take(&f->table, &n, mam_now_monotonic() - 60 * SECOND));
        TAILQ_FOREACH(g, &f->table.groups, groups)
        if (g->sent_usec[0] != 0)
                g->sent_usec[0] = mam_now_monotonic() - 60 * SECOND;
        sender_look(f->sender);
}

static bool last_has(const Fixture *f, const char *text) {
        return f->last && strstr(f->last, text);
}

/* Time for what must not come: the event loop runs out of work. */
static void expect_no_more(Fixture *f) {
        unsigned n = f->n_posts;

        for (int i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f->event, 10 * MAM_USEC_PER_MSEC));
        ASSERT_EQ(f->n_posts, n);
}

TEST(what_fires_and_what_is_over_is_posted) {
        Fixture f;

        fixture_setup(&f);
        take(&f, "a", true);
        RUN_UNTIL(&f, f.n_posts == 1);
        ASSERT_TRUE(last_has(&f, "\"status\":\"firing\""));
        ASSERT_TRUE(last_has(&f, "\"version\":\"4\""));
        ASSERT_STREQ(f.content_type, "application/json");
        ASSERT_TRUE(strncmp(f.agent, "mam-alerts/", 11) == 0);
        RUN_UNTIL(&f, TAILQ_FIRST(&f.table.groups)->sent_usec[0] != 0);
        expect_no_more(&f);

        take(&f, "a", false);
        RUN_UNTIL(&f, f.n_posts == 2 && f.table.n == 0);
        ASSERT_TRUE(last_has(&f, "\"status\":\"resolved\""));
        ASSERT_TRUE(f.n_changes > 0);
        ASSERT_EQ(sender_failing(f.sender), 0);
        fixture_done(&f);
}

TEST(a_receiver_that_is_away_is_told_everything_when_it_is_back) {
        Fixture f;

        fixture_setup(&f);
        receiver_stop(&f);
        take(&f, "a", true);
        RUN_UNTIL(&f, sender_failing(f.sender) == 1);
        take(&f, "a", false); /* begun and over while nobody listened */
        take(&f, "b", true);
        receiver_start(&f);
        RUN_UNTIL(&f, f.n_posts == 1 && sender_failing(f.sender) == 0);
        ASSERT_TRUE(last_has(&f, "\"fingerprint\":\"a\""));
        ASSERT_TRUE(last_has(&f, "\"fingerprint\":\"b\""));
        ASSERT_TRUE(last_has(&f, "\"status\":\"resolved\""));
        ASSERT_EQ(f.table.n, 1);
        fixture_done(&f);
}

TEST(errors_of_the_receiver_are_tried_again) {
        uint64_t asked;
        Fixture f;

        fixture_setup(&f);
        f.status = 500;
        take(&f, "a", true);
        RUN_UNTIL(&f, f.n_posts == 1 && sender_failing(f.sender) == 1);
        f.status = 429;
        f.retry_after = "2";
        RUN_UNTIL(&f, f.n_posts == 2 && TAILQ_FIRST(&f.table.groups)->tried_usec[0] != 0);
        f.status = 200;
        f.retry_after = NULL;
        asked = mam_now_monotonic();
        RUN_UNTIL(&f, f.n_posts == 3);
        ASSERT_TRUE(mam_now_monotonic() - asked > 1900 * MAM_USEC_PER_MSEC);
        RUN_UNTIL(&f, sender_failing(f.sender) == 0);
        fixture_done(&f);
}

TEST(what_is_refused_is_not_sent_again) {
        static const unsigned statuses[] = { 400, 404, 302 };
        Fixture f;

        fixture_setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(statuses); i++) {
                char fingerprint[8];

                (void) snprintf(fingerprint, sizeof(fingerprint), "%zu", i);
                f.status = statuses[i];
                take(&f, fingerprint, true);
                RUN_UNTIL(&f, f.n_posts == i + 1);
                expect_no_more(&f);
        }
        ASSERT_EQ(f.n_gets, 0); /* a redirect is not followed */
        f.status = 200;         /* but what is new is */
        take(&f, "new", true);
        RUN_UNTIL(&f, f.n_posts == 4);
        fixture_done(&f);
}

TEST(an_answer_without_an_end_is_cut) {
        Fixture f;

        fixture_setup(&f);
        f.endless = true;
        take(&f, "a", true);
        RUN_UNTIL(&f, f.n_posts == 1 && TAILQ_FIRST(&f.table.groups)->sent_usec[0] != 0);
        ASSERT_TRUE(f.sent < 16U * 1024U * 1024U);
        ASSERT_EQ(sender_failing(f.sender), 0);
        fixture_done(&f);
}

TEST(one_message_at_a_time_and_a_receiver_can_go_meanwhile) {
        Fixture f;

        fixture_setup(&f);
        f.hold = true;
        take(&f, "a", true);
        RUN_UNTIL(&f, f.held);
        take(&f, "b", true);
        expect_no_more(&f);
        ASSERT_OK(sender_set_receivers(f.sender, NULL));
        ASSERT_OK(mam_http_exchange_respond(f.held, 200, NULL, NULL, 0)); /* to nobody any more */
        expect_no_more(&f);
        ASSERT_EQ(sender_receivers(f.sender), 0);
        take(&f, "a", false);
        ASSERT_EQ(f.table.n, 1); /* nobody is to be told of a */
        fixture_done(&f);
}

TEST(bad_receivers_are_left_out) {
        const char *many[RECEIVERS_MAX + 3] = { NULL };
        char urls[RECEIVERS_MAX + 2][32];
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(mam_log_set_level("error"));
        ASSERT_OK(sender_set_receivers(
                        f.sender,
                        (const char *[]){ "file:///etc/passwd", "", f.url, "ftp://x/", f.url, NULL }));
        ASSERT_EQ(sender_receivers(f.sender), 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(urls); i++) {
                (void) snprintf(urls[i], sizeof(urls[i]), "http://127.0.0.1:9/%zu", i);
                many[i] = urls[i];
        }
        ASSERT_OK(sender_set_receivers(f.sender, many));
        ASSERT_EQ(sender_receivers(f.sender), RECEIVERS_MAX);
        fixture_done(&f);
}

TEST(what_was_told_is_known_after_a_restart) {
        char folder[] = "/tmp/test-alerts-XXXXXX", path[64];
        struct stat st;
        Fixture f;

        ASSERT_TRUE(mkdtemp(folder));
        (void) snprintf(path, sizeof(path), "%s/alerts.json", folder);
        fixture_setup(&f);
        ASSERT_EQ(store_load(&f.table, f.sender, path, mam_now_monotonic()), -ENOENT);
        take(&f, "a", true);
        RUN_UNTIL(&f, f.n_posts == 1 && TAILQ_FIRST(&f.table.groups)->sent_usec[0] != 0);
        f.hold = true;
        take(&f, "b", true);
        RUN_UNTIL(&f, f.held); /* under way when we end */
        ASSERT_OK(store_save(&f.table, f.sender, path));
        ASSERT_OK(stat(path, &st));
        ASSERT_EQ(st.st_mode & 0777, 0600);
        {
                _cleanup_(mam_freep) char *text = NULL;

                ASSERT_OK(mam_file_read(&text, NULL, path, STORE_MAX));
                ASSERT_TRUE(!strstr(text, "secret"));
        }

        alert_table_done(&f.table);
        f.sender = sender_free(f.sender);
        ASSERT_OK(sender_new(&f.sender, f.event, &f.table, on_change, &f));
        f.hold = false;
        ASSERT_OK(sender_set_receivers(f.sender, (const char *[]){ f.url, NULL }));
        ASSERT_OK(store_load(&f.table, f.sender, path, mam_now_monotonic() - 60 * SECOND));
        ASSERT_EQ(f.table.n, 2);
        f.n_posts = 0;
        sender_look(f.sender);
        RUN_UNTIL(&f, f.n_posts == 1); /* b */
        RUN_UNTIL(&f, TAILQ_FIRST(&f.table.groups)->sent_usec[0] > mam_now_monotonic() - SECOND);
        expect_no_more(&f);
        take(&f, "a", false);
        RUN_UNTIL(&f, f.n_posts == 2);
        ASSERT_TRUE(last_has(&f, "\"status\":\"resolved\""));

        /* a file that is not ours is not taken, and not in part */
        ASSERT_OK(mam_file_write_atomic(path, "{\"version\":1,\"alerts\":[{\"fingerprint\":7}]}", 43, 0600));
        alert_table_done(&f.table);
        ASSERT_EQ(store_load(&f.table, f.sender, path, mam_now_monotonic()), -EBADMSG);
        ASSERT_EQ(f.table.n, 0);
        ASSERT_OK(unlink(path));
        ASSERT_OK(rmdir(folder));
        fixture_done(&f);
}
