/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of WebSocket sessions, spoken to byte by byte over real sockets in one event loop
 */

#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-client.h"
#include "libmam/http/http-server.h"
#include "libmam/http/websocket-handshake.h"
#include "libmam/http/websocket-message.h"
#include "libmam/http/websocket.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define UPGRADE                                                                                        \
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" \
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        struct sockaddr_un un;
        char folder[32];
        MamWebsocketOptions options;
        MamWebsocket *session; /* the one that was accepted last */
        unsigned n_closed, n_writable, n_drained, code;
        char reason[128];
        int accepted;
        unsigned answer; /* in place of a session, unless 0 */
        bool refuse_messages;
        MamBuffer received; /* by the test's client */
} Fixture;

static int on_message(MamWebsocket *w, bool text, const char *data, size_t size, void *userdata) {
        Fixture *f = userdata;
        int r;

        ASSERT_EQ(data[size], '\0');
        if (f->refuse_messages)
                return -EIO;
        if (text && strcmp(data, "close") == 0) {
                mam_websocket_close(w, 4001, "as you like");
                ASSERT_EQ(mam_websocket_send(w, true, "x", 1), -EPIPE);
                return 0;
        }
        if (text && strcmp(data, "pause") == 0) {
                mam_websocket_pause(w);
                return 0;
        }
        r = mam_websocket_send(w, text, data, size);
        return r < 0 ? r : 0;
}

static void on_writable(MamWebsocket *w, void *userdata) {
        Fixture *f = userdata;

        f->n_writable++;
}

static void on_close(MamWebsocket *w, unsigned code, const char *reason, void *userdata) {
        Fixture *f = userdata;

        f->n_closed++;
        f->code = code;
        f->session = NULL;
        (void) snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static int handler(MamHttpExchange *x, void *userdata) {
        static const MamWebsocketCallbacks callbacks = {
                .on_message = on_message,
                .on_writable = on_writable,
                .on_close = on_close,
        };
        Fixture *f = userdata;

        if (f->answer != 0)
                return mam_http_exchange_respond(x, f->answer, "text/plain", "no", 2);
        f->accepted = mam_websocket_accept(&f->session, x, &f->options, &callbacks, f);
        if (f->accepted > 0)
                ASSERT_TRUE(mam_websocket_exchange(f->session) == x);
        return f->accepted;
}

static void on_drained(MamHttpServer *s, void *userdata) {
        Fixture *f = userdata;

        f->n_drained++;
}

static void setup(Fixture *f) {
        int fd;

        *f = (Fixture){ .un.sun_family = AF_UNIX };
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-ws-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        snprintf(f->un.sun_path, sizeof(f->un.sun_path), "%s/socket", f->folder);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, NULL, handler, f));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &f->un, sizeof(f->un)));
        ASSERT_OK(listen(fd, 8));
        ASSERT_OK(mam_http_server_listen(f->server, fd, false, 1));
}

static void teardown(Fixture *f) {
        f->server = mam_http_server_free(f->server);
        sd_event_unref(f->event);
        mam_buffer_done(&f->received);
        unlink(f->un.sun_path);
        rmdir(f->folder);
}

/* Runs the loop until the condition holds; five seconds without any event are a failure. */
/* Not that the loop must have something to do meanwhile: what was sent over TCP may be on its way to us. */
#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

static int client_open(Fixture *f) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ASSERT_OK(connect(fd, (struct sockaddr *) &f->un, sizeof(f->un)));
        return fd;
}

static void say(int fd, const void *data, size_t size) {
        ASSERT_EQ(send(fd, data, size, MSG_NOSIGNAL), size);
}

#define SAY(fd, literal) say(fd, literal, sizeof(literal) - 1)

/* What there is to read: bytes; 0 at the end; -1 nothing now. */
static ssize_t hear_some(Fixture *f, int fd) {
        char buffer[65536];
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

        if (n > 0)
                ASSERT_OK(mam_buffer_append(&f->received, buffer, (size_t) n));
        return n < 0 ? -1 : n;
}

/* The loop has nothing to do for its timers alone to be waited for: short turns. */
static void hear(Fixture *f, int fd, size_t size) {
        for (uint64_t end = mam_now_monotonic() + 10 * MAM_USEC_PER_SEC; f->received.size < size;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                ASSERT_OK(sd_event_run(f->event, 10000));
                if (hear_some(f, fd) == 0)
                        break;
        }
        ASSERT_TRUE(f->received.size >= size);
}

static void hear_end(Fixture *f, int fd) {
        ssize_t n;

        for (uint64_t end = mam_now_monotonic() + 10 * MAM_USEC_PER_SEC; (n = hear_some(f, fd)) != 0;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                if (n < 0)
                        ASSERT_OK(sd_event_run(f->event, 10000));
        }
}

static void expect(Fixture *f, int fd, const void *bytes, size_t size) {
        hear(f, fd, size);
        ASSERT_EQ(memcmp(mam_buffer_bytes(&f->received), bytes, size), 0);
        mam_buffer_consume(&f->received, size);
}

#define EXPECT(f, fd, literal) expect(f, fd, literal, sizeof(literal) - 1)

/* A frame as a client sends it. */
static void say_frame(int fd, MamWebsocketOpcode opcode, const char *data, size_t size) {
        static const uint8_t mask[4] = { 1, 2, 3, 4 };
        uint8_t head[MAM_WEBSOCKET_HEAD_MAX];
        char copy[1024];

        ASSERT_TRUE(size <= sizeof(copy));
        say(fd, head, mam_websocket_format_head(head, opcode, true, size, mask));
        memcpy(copy, data, size);
        mam_websocket_mask(copy, size, mask, 0);
        if (size > 0)
                say(fd, copy, size);
}

#define SAY_FRAME(fd, opcode, literal) say_frame(fd, MAM_WEBSOCKET_##opcode, literal, sizeof(literal) - 1)

/* What was heard up to the end of an answer's head, as text. */
static const char *hear_head(Fixture *f, int fd) {
        static char head[2048];
        const char *end;
        size_t n;

        while (!(end = strstr(mam_buffer_bytes(&f->received), "\r\n\r\n")))
                hear(f, fd, f->received.size + 1);
        n = (size_t) (end + 4 - mam_buffer_bytes(&f->received));
        ASSERT_TRUE(n < sizeof(head));
        memcpy(head, mam_buffer_bytes(&f->received), n);
        head[n] = '\0';
        mam_buffer_consume(&f->received, n);
        return head;
}

static int open_session(Fixture *f) {
        int fd = client_open(f);

        SAY(fd, UPGRADE "\r\n");
        ASSERT_TRUE(strncmp(hear_head(f, fd), "HTTP/1.1 101 ", 13) == 0);
        ASSERT_TRUE(f->session);
        return fd;
}

TEST(the_accept_value_of_rfc_6455) {
        char accept[MAM_WEBSOCKET_ACCEPT_SIZE], key[MAM_WEBSOCKET_KEY_SIZE], other[MAM_WEBSOCKET_KEY_SIZE];

        ASSERT_OK(mam_websocket_accept_value(accept, KEY));
        ASSERT_STREQ(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        ASSERT_OK(mam_websocket_key_new(key));
        ASSERT_OK(mam_websocket_key_new(other));
        ASSERT_TRUE(mam_websocket_key_is_valid(key) && strcmp(key, other) != 0);
        ASSERT_TRUE(!mam_websocket_key_is_valid(NULL));
        ASSERT_TRUE(!mam_websocket_key_is_valid("dGhlIHNhbXBsZSBub25jZQ="));
        ASSERT_TRUE(!mam_websocket_key_is_valid("dGhlIHNhbXBsZSBub25jZQ=A"));
        ASSERT_TRUE(!mam_websocket_key_is_valid("dGhlIHNhbXBsZSBub25j*Q=="));
}

TEST(the_first_protocol_that_both_know) {
        static const char *const known[] = { "chat.v1", "chat.v2", NULL };

        ASSERT_STREQ(mam_websocket_choose_protocol("x, chat.v2 ,chat.v1", known), "chat.v2");
        ASSERT_TRUE(!mam_websocket_choose_protocol("chat.v", known));
        ASSERT_TRUE(!mam_websocket_choose_protocol("", known));
        ASSERT_TRUE(!mam_websocket_choose_protocol(NULL, known));
        ASSERT_TRUE(!mam_websocket_choose_protocol("chat.v1", NULL));
}

TEST(messages_go_both_ways_and_close_is_answered) {
        static const char *const protocols[] = { "echo", NULL };
        const char *head;
        Fixture f;
        int fd;

        setup(&f);
        f.options.protocols = protocols;
        fd = client_open(&f);
        SAY(fd, UPGRADE "Sec-WebSocket-Protocol: other, echo\r\n\r\n");
        head = hear_head(&f, fd);
        ASSERT_TRUE(strstr(head, "HTTP/1.1 101 Switching Protocols\r\n"));
        ASSERT_TRUE(strstr(head, "\r\nUpgrade: websocket\r\n"));
        ASSERT_TRUE(strcasestr(head, "\r\nConnection: upgrade\r\n"));
        ASSERT_TRUE(strstr(head, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        ASSERT_TRUE(strstr(head, "\r\nSec-WebSocket-Protocol: echo\r\n"));
        ASSERT_TRUE(!strstr(head, "Content-Length") && !strstr(head, "Transfer-Encoding"));
        ASSERT_STREQ(mam_websocket_protocol(f.session), "echo");
        ASSERT_EQ(mam_websocket_send(f.session, true, "\xff", 1), -EINVAL);

        SAY_FRAME(fd, TEXT, "hello");
        EXPECT(&f, fd, "\x81\x05hello");
        SAY_FRAME(fd, PING, "there?");
        EXPECT(&f, fd, "\x8a\x06there?");
        SAY_FRAME(fd, PONG, "unasked");
        SAY_FRAME(fd, BINARY, "\xff\x00\xff");
        EXPECT(&f, fd, "\x82\x03\xff\x00\xff");

        SAY_FRAME(fd,
                  CLOSE,
                  "\x03\xe8"
                  "bye");
        EXPECT(&f, fd, "\x88\x02\x03\xe8");
        hear_end(&f, fd);
        ASSERT_EQ(f.received.size, 0);
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        ASSERT_EQ(f.code, 1000);
        ASSERT_STREQ(f.reason, "bye");
        teardown(&f);
}

TEST(frames_that_came_with_the_request_count) {
        Fixture f;
        int fd;

        setup(&f);
        fd = client_open(&f);
        SAY(fd, UPGRADE "\r\n\x81\x82\x00\x00\x00\x00hi");
        (void) hear_head(&f, fd);
        EXPECT(&f, fd, "\x81\x02hi");
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_ABNORMAL);
        teardown(&f);
}

TEST(closing_from_here_waits_for_the_client) {
        Fixture f;
        int fd;

        setup(&f);
        fd = open_session(&f);
        SAY_FRAME(fd, TEXT, "close");
        EXPECT(&f,
               fd,
               "\x88\x0d\x0f\xa1"
               "as you like");
        SAY_FRAME(fd, TEXT, "dropped");
        ASSERT_EQ(f.n_closed, 0);
        SAY_FRAME(fd, CLOSE, "\x0f\xa1");
        hear_end(&f, fd);
        ASSERT_EQ(f.received.size, 0);
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        ASSERT_EQ(f.code, 4001);
        teardown(&f);
}

TEST(a_client_that_does_not_answer_close_is_left) {
        Fixture f;
        int fd;

        setup(&f);
        f.options.close_usec = 20000;
        fd = open_session(&f);
        SAY_FRAME(fd, TEXT, "close");
        EXPECT(&f,
               fd,
               "\x88\x0d\x0f\xa1"
               "as you like");
        hear_end(&f, fd); /* and it does not close either */
        RUN_UNTIL(&f, f.n_closed == 1);
        ASSERT_EQ(f.code, 4001);
        close(fd);
        teardown(&f);
}

TEST(what_breaks_the_protocol_is_told_and_ends_it) {
        static const struct {
                const char *bytes;
                size_t size;
                unsigned code;
        } cases[] = {
                { "\x81\x02hi", 4, 1002 },                 /* not masked */
                { "\xc1\x82\x00\x00\x00\x00hi", 8, 1002 }, /* a reserved bit */
                { "\x81\x82\x00\x00\x00\x00\xc0\xaf", 8, 1007 },
                { "\x82\xfe\xff\xff\x00\x00\x00\x00", 8, 1009 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char want[4] = { (char) 0x88, 2, (char) (cases[i].code >> 8), (char) cases[i].code };
                Fixture f;
                int fd;

                setup(&f);
                f.options.message_max = 1000;
                fd = open_session(&f);
                say(fd, cases[i].bytes, cases[i].size);
                expect(&f, fd, want, 4);
                hear_end(&f, fd);
                close(fd);
                RUN_UNTIL(&f, f.n_closed == 1);
                ASSERT_EQ(f.code, cases[i].code);
                teardown(&f);
        }
}

TEST(a_handler_that_fails_closes_with_1011) {
        Fixture f;
        int fd;

        setup(&f);
        f.refuse_messages = true;
        fd = open_session(&f);
        SAY_FRAME(fd, TEXT, "x");
        EXPECT(&f, fd, "\x88\x02\x03\xf3");
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        teardown(&f);
}

TEST(silence_is_asked_and_then_ended) {
        Fixture f;
        int fd;

        setup(&f);
        f.options.ping_usec = 20000;
        f.options.pong_usec = 1500000;
        fd = open_session(&f);
        EXPECT(&f, fd, "\x89\x00"); /* who answers stays */
        SAY_FRAME(fd, PONG, "");
        EXPECT(&f, fd, "\x89\x00");
        ASSERT_EQ(f.n_closed, 0);
        hear_end(&f, fd); /* who does not is left */
        RUN_UNTIL(&f, f.n_closed == 1);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_ABNORMAL);
        close(fd);
        teardown(&f);
}

TEST(draining_says_goodbye) {
        Fixture f;
        int fd;

        setup(&f);
        fd = open_session(&f);
        SAY_FRAME(fd, TEXT, "hello");
        EXPECT(&f, fd, "\x81\x05hello");
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        EXPECT(&f, fd, "\x88\x1a\x03\xe9the server is going away");
        ASSERT_EQ(f.n_drained, 0);
        SAY_FRAME(fd, CLOSE, "\x03\xe9");
        hear_end(&f, fd);
        close(fd);
        RUN_UNTIL(&f, f.n_drained == 1);
        ASSERT_EQ(f.n_closed, 1);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_GOING_AWAY);
        teardown(&f);
}

TEST(a_session_of_a_draining_server_is_told_at_once) {
        Fixture f;
        int fd;

        setup(&f);
        fd = client_open(&f);
        ASSERT_OK(sd_event_run(f.event, 0));
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        SAY(fd, UPGRADE "\r\n");
        ASSERT_TRUE(strncmp(hear_head(&f, fd), "HTTP/1.1 101 ", 13) == 0);
        EXPECT(&f, fd, "\x88\x1a\x03\xe9the server is going away");
        close(fd);
        RUN_UNTIL(&f, f.n_drained == 1);
        teardown(&f);
}

/* A client that sends pings and never reads: what waits for it does not grow without end. */
TEST(pings_without_reading_are_not_read_either) {
        static const char ping[] = "\x89\xfd\x00\x00\x00\x00"
                                   "0123456789012345678901234567890123456789012345678901234567890123456789"
                                   "0123456789012345678901234567890123456789012345678901234";
        size_t sent = 0;
        bool blocked;
        Fixture f;
        int fd;

        setup(&f);
        fd = open_session(&f);
        ASSERT_EQ(sizeof(ping) - 1, 6 + 125);
        for (unsigned quiet = 0; quiet < 50;) {
                ssize_t n = send(fd, ping + sent % 131, 131 - sent % 131, MSG_NOSIGNAL);

                blocked = n < 0;
                if (n > 0)
                        sent += (size_t) n;
                quiet = blocked ? quiet + 1 : 0;
                if (blocked)
                        ASSERT_OK(sd_event_run(f.event, 1000));
                ASSERT_TRUE(sent < 32U << 20);
        }
        ASSERT_EQ(f.n_closed, 0);

        /* Once it reads, all is answered. */
        for (uint64_t end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC;
             f.received.size < sent / 131 * 127;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                (void) hear_some(&f, fd);
                ASSERT_OK(sd_event_run(f.event, 1000));
        }
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        teardown(&f);
}

TEST(a_sender_is_told_to_wait_and_then_to_go_on) {
        static char big[1 << 20];
        Fixture f;
        int fd, r = 1;

        setup(&f);
        memset(big, 'x', sizeof(big));
        fd = open_session(&f);
        for (unsigned i = 0; i < 64 && r > 0; i++)
                r = mam_websocket_send(f.session, false, big, sizeof(big));
        ASSERT_EQ(r, 0);
        ASSERT_EQ(f.n_writable, 0);
        while (f.n_writable == 0) {
                if (hear_some(&f, fd) < 0)
                        ASSERT_OK(sd_event_run(f.event, 10000));
        }
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        teardown(&f);
}

TEST(a_session_that_is_paused_hears_nothing) {
        Fixture f;
        int fd;

        setup(&f);
        fd = open_session(&f);
        SAY_FRAME(fd, TEXT, "pause");
        SAY_FRAME(fd, PING, "");
        EXPECT(&f, fd, "\x8a"); /* came with it */
        SAY_FRAME(fd, TEXT, "later");
        for (unsigned i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 1000));
        (void) hear_some(&f, fd);
        ASSERT_EQ(f.received.size, 1);
        mam_buffer_consume(&f.received, 1);
        mam_websocket_resume(f.session);
        EXPECT(&f, fd, "\x81\x05later");
        close(fd);
        RUN_UNTIL(&f, f.n_closed == 1);
        teardown(&f);
}

static void refused(const char *request, const char *status, const char *field) {
        const char *head;
        Fixture f;
        int fd;

        setup(&f);
        fd = client_open(&f);
        say(fd, request, strlen(request));
        head = hear_head(&f, fd);
        if (strncmp(head, "HTTP/1.1 ", 9) != 0 || strncmp(head + 9, status, 3) != 0)
                mam_test_fail_string(__FILE__, __LINE__, request, head);
        ASSERT_TRUE(!field || strstr(head, field));
        ASSERT_TRUE(!f.session);
        close(fd);
        teardown(&f);
}

TEST(who_does_not_ask_rightly_is_refused) {
        refused("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426", "\r\nUpgrade: websocket\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                "426",
                "\r\nSec-WebSocket-Version: 13\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
                "400",
                NULL);
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n",
                "400",
                NULL);
        refused("DELETE / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                "400",
                NULL);
        refused("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                "426",
                NULL); /* Connection does not name it: it is not for us */
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "426", NULL);
}

/* ---- the client's side of an upgrade ---- */

typedef struct Caller {
        MamHttpCall *call;
        unsigned status;
        char accept[64];
        MamBuffer received;
        int ended; /* 1: not yet */
        unsigned n_writable;
} Caller;

static int on_call_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        const MamHttpField *f = mam_http_find(head, "Sec-WebSocket-Accept");
        Caller *c = userdata;

        c->status = head->status;
        if (f)
                (void) snprintf(c->accept, sizeof(c->accept), "%.*s", (int) f->value.size, f->value.data);
        return 0;
}

static int on_call_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Caller *c = userdata;

        return mam_buffer_append(&c->received, data, size);
}

static void on_call_writable(MamHttpCall *call, void *userdata) {
        Caller *c = userdata;

        c->n_writable++;
}

static void on_call_end(MamHttpCall *call, int error, void *userdata) {
        Caller *c = userdata;

        c->ended = error;
}

static void call_start(Caller *c, MamHttpClient *client, const char *path) {
        static const MamHttpCallbacks callbacks = {
                .on_head = on_call_head,
                .on_data = on_call_data,
                .on_writable = on_call_writable,
                .on_end = on_call_end,
        };

        *c = (Caller){ .ended = 1 };
        ASSERT_OK(mam_http_call_new(&c->call, client, "GET", path, &callbacks, c));
        ASSERT_OK(mam_http_call_add_field(c->call, "Sec-WebSocket-Version", "13"));
        ASSERT_OK(mam_http_call_add_field(c->call, "Sec-WebSocket-Key", KEY));
        ASSERT_OK(mam_http_call_set_upgrade(c->call, "websocket"));
        ASSERT_EQ(mam_http_call_set_upgrade(c->call, "websocket"), -EALREADY);
        ASSERT_OK(mam_http_call_start(c->call));
}

static void call_done(Caller *c) {
        c->call = mam_http_call_free(c->call);
        mam_buffer_done(&c->received);
}

static void call_frame(Caller *c, MamWebsocketOpcode opcode, const char *data, size_t size) {
        static const uint8_t mask[4] = { 0 };
        uint8_t head[MAM_WEBSOCKET_HEAD_MAX];

        ASSERT_EQ(mam_http_call_write(
                                  c->call,
                                  head,
                                  mam_websocket_format_head(head, opcode, true, size, mask)),
                  1);
        ASSERT_OK(mam_http_call_write(c->call, data, size));
}

TEST(a_client_can_change_the_protocol) {
        MamHttpClient *client;
        Caller c;
        Fixture f;

        setup(&f);
        ASSERT_OK(mam_http_client_new(&client, f.event, f.un.sun_path, NULL));
        call_start(&c, client, "/socket");
        RUN_UNTIL(&f, c.status != 0);
        ASSERT_EQ(c.status, 101);
        ASSERT_STREQ(c.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        call_frame(&c, MAM_WEBSOCKET_TEXT, "hello", 5);
        RUN_UNTIL(&f, c.received.size >= 7);
        ASSERT_EQ(memcmp(mam_buffer_bytes(&c.received), "\x81\x05hello", 7), 0);
        call_frame(&c, MAM_WEBSOCKET_CLOSE, "\x03\xe8", 2);
        ASSERT_OK(mam_http_call_end_body(c.call));
        ASSERT_EQ(mam_http_call_write(c.call, "x", 1), -EINVAL);
        RUN_UNTIL(&f, c.ended <= 0);
        ASSERT_EQ(c.ended, 0);
        ASSERT_EQ(c.received.size, 11);
        ASSERT_EQ(f.code, 1000);
        call_done(&c);
        mam_http_client_free(client);
        teardown(&f);
}

/* Ending our side is seen at the other end, also where no Close was said. */
TEST(a_client_can_end_its_side) {
        MamHttpClient *client;
        Caller c;
        Fixture f;

        setup(&f);
        ASSERT_OK(mam_http_client_new(&client, f.event, f.un.sun_path, NULL));
        call_start(&c, client, "/socket");
        RUN_UNTIL(&f, c.status == 101);
        ASSERT_OK(mam_http_call_end_body(c.call));
        RUN_UNTIL(&f, c.ended <= 0);
        ASSERT_EQ(c.ended, 0);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_ABNORMAL);
        call_done(&c);
        mam_http_client_free(client);
        teardown(&f);
}

TEST(a_refused_change_is_an_answer_like_others) {
        MamHttpClient *client;
        MamHttpCall *call;
        Caller c;
        Fixture f;

        setup(&f);
        f.answer = 403;
        ASSERT_OK(mam_http_client_new(&client, f.event, f.un.sun_path, NULL));
        call_start(&c, client, "/socket");
        RUN_UNTIL(&f, c.ended <= 0);
        ASSERT_EQ(c.ended, 0);
        ASSERT_EQ(c.status, 403);
        ASSERT_STREQ(mam_buffer_bytes(&c.received), "no");

        ASSERT_OK(mam_http_call_new(
                        &call,
                        client,
                        "POST",
                        "/",
                        &(MamHttpCallbacks){ .on_end = on_call_end },
                        NULL));
        ASSERT_EQ(mam_http_call_set_upgrade(call, "websocket"), -EINVAL);
        mam_http_call_free(call);
        ASSERT_OK(mam_http_call_new(
                        &call,
                        client,
                        "GET",
                        "/",
                        &(MamHttpCallbacks){ .on_end = on_call_end },
                        NULL));
        ASSERT_EQ(mam_http_call_set_upgrade(call, "a b"), -EINVAL);
        mam_http_call_free(call);
        call_done(&c);
        mam_http_client_free(client);
        teardown(&f);
}

/* Upgraded connections are not of the number that a client may have. */
TEST(many_changes_take_no_connections_from_requests) {
        MamHttpClientOptions options = { .connections_max = 2 };
        MamHttpClient *client;
        Caller c[6];
        Fixture f;

        setup(&f);
        ASSERT_OK(mam_http_client_new(&client, f.event, f.un.sun_path, &options));
        for (size_t i = 0; i < 6; i++) {
                call_start(&c[i], client, "/socket");
                RUN_UNTIL(&f, c[i].status == 101);
        }
        for (size_t i = 0; i < 5; i++)
                call_done(&c[i]); /* cancels */
        RUN_UNTIL(&f, f.n_closed == 5);
        mam_http_client_free(client);
        ASSERT_EQ(c[5].ended, -ECANCELED);
        call_done(&c[5]);
        teardown(&f);
}

static void rogue_answers(const char *answer, int want) {
        char buffer[1024] = "";
        MamHttpClient *client;
        int listener, fd = -1;
        Caller c;
        Fixture f;

        setup(&f);
        unlink(f.un.sun_path);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(listener, (struct sockaddr *) &f.un, sizeof(f.un)));
        ASSERT_OK(listen(listener, 1));
        ASSERT_OK(mam_http_client_new(&client, f.event, f.un.sun_path, NULL));
        call_start(&c, client, "/socket");
        ASSERT_OK(sd_event_run(f.event, 0));
        fd = accept(listener, NULL, NULL);
        ASSERT_TRUE(recv(fd, buffer, sizeof(buffer) - 1, 0) > 0);
        ASSERT_TRUE(strstr(buffer, "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"));
        say(fd, answer, strlen(answer));
        RUN_UNTIL(&f, c.ended <= 0 || c.status == 101);
        ASSERT_EQ(c.ended, want);
        call_done(&c);
        mam_http_client_free(client);
        close(fd);
        close(listener);
        teardown(&f);
}

TEST(only_what_was_asked_for_is_agreed_on) {
        rogue_answers("HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n", 1);
        rogue_answers("HTTP/1.1 101 Fine\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", -EBADMSG);
        rogue_answers("HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\n\r\n", -EBADMSG);
        rogue_answers("HTTP/1.1 101 Fine\r\n\r\n", -EBADMSG);
}
