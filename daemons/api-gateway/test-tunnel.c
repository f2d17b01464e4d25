/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of tunnels: a client that is a bare socket, a server whose handler tunnels to a second server that
 * speaks WebSocket, all in one event loop
 */

#include <sys/socket.h>
#include <sys/un.h>

#include "api-gateway/tunnel.h"
#include "libmam/http/websocket-frame.h"
#include "libmam/http/websocket.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define UPGRADE(more)                                                                      \
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n" more "\r\n"
#define MASK "\x00\x00\x00\x00"

typedef enum Service {
        SERVICE_ECHO,
        SERVICE_DEAF,      /* takes messages, does not answer Close */
        SERVICE_LIAR,      /* another Accept */
        SERVICE_ROGUE,     /* sends what is no frame */
        SERVICE_HALF,      /* breaks off in the middle of a frame */
        SERVICE_GONE,      /* ends without Close */
        SERVICE_FLOOD,     /* sends much */
        SERVICE_NO_ANSWER, /* refuses */
} Service;

typedef struct Fixture {
        sd_event *event;
        char folder[32];
        struct sockaddr_un front, back;
        MamMetrics *metrics;
        LastingTable *lasting;
        TunnelTable *tunnels;
        MamHttpServer *front_server, *back_server;
        MamHttpClient *client;
        Service service;

        /* the forward of the test; one at a time */
        MamHttpExchange *x;
        MamHttpCall *call;
        Tunnel *tunnel;
        unsigned n_done, n_drained, n_disagreed;

        /* the service's side */
        MamWebsocket *session;
        MamHttpExchange *raw;
        unsigned n_sessions, n_closed, code;
        size_t flood_left;
        MamBuffer heard;

        MamBuffer received; /* by the client */
} Fixture;

/* ---- the service ---- */

static int on_message(MamWebsocket *w, bool text, const char *data, size_t size, void *userdata) {
        Fixture *f = userdata;
        int r;

        ASSERT_OK(mam_buffer_append(&f->heard, data, size));
        if (f->service != SERVICE_ECHO)
                return 0;
        r = mam_websocket_send(w, text, data, size);
        return r < 0 ? r : 0;
}

static void on_close(MamWebsocket *w, unsigned code, const char *reason, void *userdata) {
        Fixture *f = userdata;

        f->n_closed++;
        f->code = code;
        f->session = NULL;
}

static int on_raw_bytes(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        if (error < 0)
                return 0;
        if (size > 0)
                return mam_buffer_append(&f->heard, data, size);
        return mam_http_exchange_end(x);
}

static void on_raw_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_closed++;
        f->raw = NULL;
}

static void flood(MamHttpExchange *x, void *userdata) {
        static char piece[2 + 125] = "\x82\x7d";
        Fixture *f = userdata;

        while (f->flood_left > 0) {
                f->flood_left--;
                if (mam_http_exchange_write(x, piece, sizeof(piece)) <= 0)
                        break;
        }
}

static int answer_raw(Fixture *f, MamHttpExchange *x) {
        static const char accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

        f->raw = x;
        mam_http_exchange_set_on_done(x, on_raw_done, f);
        ASSERT_OK(mam_http_exchange_add_field(
                        x,
                        "Sec-WebSocket-Accept",
                        f->service == SERVICE_LIAR ? "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" : accept));
        ASSERT_OK(mam_http_exchange_upgrade(x));
        ASSERT_OK(mam_http_exchange_stream_body(x, on_raw_bytes, f));
        switch (f->service) {
        case SERVICE_ROGUE:
                ASSERT_OK(mam_http_exchange_write(x, "\x81\x02ok\x83\x00", 6));
                break;
        case SERVICE_HALF:
                ASSERT_OK(mam_http_exchange_write(x, "\x81\x05ok", 4));
                break; /* the test ends it */
        case SERVICE_GONE:
                ASSERT_OK(mam_http_exchange_write(x, "\x81\x02ok", 4));
                ASSERT_OK(mam_http_exchange_end(x));
                break;
        case SERVICE_FLOOD:
                mam_http_exchange_set_on_writable(x, flood, f);
                flood(x, f);
                break;
        default:
                break;
        }
        return 0;
}

static int on_back_request(MamHttpExchange *x, void *userdata) {
        static const MamWebsocketCallbacks callbacks = { .on_message = on_message, .on_close = on_close };
        Fixture *f = userdata;

        f->n_sessions++;
        ASSERT_STREQ(mam_http_exchange_method(x), "GET");
        if (f->service == SERVICE_NO_ANSWER)
                return mam_http_exchange_respond(x, 403, "text/plain", "no", 2);
        if (f->service == SERVICE_ECHO)
                return mam_websocket_accept(&f->session, x, NULL, &callbacks, f);
        return answer_raw(f, x);
}

/* ---- the gateway ---- */

static int on_call_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Fixture *f = userdata;

        if (head->status != 101) {
                ASSERT_OK(mam_http_exchange_respond(f->x, head->status, NULL, NULL, 0));
                return 0;
        }
        if (!tunnel_is_agreed(f->tunnel, head)) {
                f->n_disagreed++;
                ASSERT_OK(mam_http_exchange_respond(f->x, 502, NULL, NULL, 0));
                return -EBADMSG;
        }
        for (size_t i = 0; i < head->n_fields; i++) {
                const MamHttpField *field = &head->fields[i];
                char name[64], value[128];

                if (mam_http_field_is_hop_by_hop(head, field) || !tunnel_passes_field(f->tunnel, field) ||
                    mam_http_range_equal_fold(field->name, "Date"))
                        continue;
                snprintf(name, sizeof(name), "%.*s", (int) field->name.size, field->name.data);
                snprintf(value, sizeof(value), "%.*s", (int) field->value.size, field->value.data);
                ASSERT_OK(mam_http_exchange_add_field(f->x, name, value));
        }
        ASSERT_OK(tunnel_open(f->tunnel, call, head, f));
        return 0;
}

static int on_call_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Fixture *f = userdata;

        return tunnel_is_open(f->tunnel) ? tunnel_on_data(f->tunnel, data, size) : 0;
}

static void on_call_writable(MamHttpCall *call, void *userdata) {
        Fixture *f = userdata;

        tunnel_on_writable(f->tunnel);
}

static void on_call_end(MamHttpCall *call, int error, void *userdata) {
        Fixture *f = userdata;

        if (tunnel_is_open(f->tunnel))
                tunnel_on_end(f->tunnel, error);
        f->call = mam_http_call_free(f->call);
}

static void on_front_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        f->x = NULL;
        f->tunnel = tunnel_free(f->tunnel);
        f->call = mam_http_call_free(f->call);
}

static int on_front_request(MamHttpExchange *x, void *userdata) {
        static const MamHttpCallbacks callbacks = {
                .on_head = on_call_head,
                .on_data = on_call_data,
                .on_writable = on_call_writable,
                .on_end = on_call_end,
        };
        static const char *const names[] = { "Sec-WebSocket-Key",
                                             "Sec-WebSocket-Version",
                                             "Sec-WebSocket-Extensions" };
        Fixture *f = userdata;
        int r;

        if (!tunnel_is_wanted(x))
                return mam_http_exchange_respond(x, 200, NULL, NULL, 0);
        r = tunnel_new(&f->tunnel, f->tunnels, x, 7, "echo");
        if (r <= 0)
                return r;
        f->x = x;
        mam_http_exchange_set_on_done(x, on_front_done, f);
        ASSERT_OK(mam_http_call_new(&f->call, f->client, "GET", "/socket", &callbacks, f));
        ASSERT_OK(tunnel_prepare(f->tunnel, f->call));
        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++)
                if (mam_http_exchange_header(x, names[i]))
                        ASSERT_OK(mam_http_call_add_field(
                                        f->call,
                                        names[i],
                                        mam_http_exchange_header(x, names[i])));
        mam_http_call_set_timeout(f->call, MAM_USEC_INFINITY);
        return mam_http_call_start(f->call);
}

static void on_drained(MamHttpServer *s, void *userdata) {
        Fixture *f = userdata;

        f->n_drained++;
}

static MamHttpServer *serve(Fixture *f, struct sockaddr_un *un, const char *name, MamHttpHandler handler) {
        MamHttpServer *s;
        int fd;

        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof(un->sun_path), "%s/%s", f->folder, name);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) un, sizeof(*un)));
        ASSERT_OK(listen(fd, 8));
        ASSERT_OK(mam_http_server_new(&s, f->event, NULL, handler, f));
        ASSERT_OK(mam_http_server_listen(s, fd, false, 1));
        return s;
}

static void setup(Fixture *f, Service service) {
        *f = (Fixture){ .service = service };
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-tn-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(lasting_table_new(&f->lasting, f->event));
        ASSERT_OK(tunnel_table_new(&f->tunnels, f->lasting, f->metrics));
        f->back_server = serve(f, &f->back, "back", on_back_request);
        f->front_server = serve(f, &f->front, "front", on_front_request);
        ASSERT_OK(mam_http_client_new(&f->client, f->event, f->back.sun_path, NULL));
}

static void teardown(Fixture *f) {
        mam_http_server_free(f->front_server);
        mam_http_client_free(f->client);
        mam_http_server_free(f->back_server);
        tunnel_table_free(f->tunnels);
        lasting_table_free(f->lasting);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
        mam_buffer_done(&f->received);
        mam_buffer_done(&f->heard);
        unlink(f->front.sun_path);
        unlink(f->back.sun_path);
        rmdir(f->folder);
}

/* ---- the client ---- */

static ssize_t hear_some(Fixture *f, int fd) {
        char buffer[65536];
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

        if (n > 0)
                ASSERT_OK(mam_buffer_append(&f->received, buffer, (size_t) n));
        return n < 0 && errno == ECONNRESET ? 0 : n < 0 ? -1 : n;
}

/* Turns the loop, and hears what there is, until the condition holds. */
#define UNTIL(f, fd, condition)                                                                    \
        do {                                                                                       \
                for (uint64_t _end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC; !(condition);) { \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                                   \
                        ASSERT_OK(sd_event_run((f)->event, 10000));                                \
                        (void) hear_some(f, fd);                                                   \
                }                                                                                  \
        } while (0)

static void hear_end(Fixture *f, int fd) {
        for (uint64_t end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC; hear_some(f, fd) != 0;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                ASSERT_OK(sd_event_run(f->event, 10000));
        }
}

static void say(int fd, const void *data, size_t size) {
        ASSERT_EQ(send(fd, data, size, MSG_NOSIGNAL), size);
}

#define SAY(fd, literal) say(fd, literal, sizeof(literal) - 1)

static void expect(Fixture *f, int fd, const void *bytes, size_t size) {
        UNTIL(f, fd, f->received.size >= size);
        ASSERT_EQ(memcmp(mam_buffer_bytes(&f->received), bytes, size), 0);
        mam_buffer_consume(&f->received, size);
}

#define EXPECT(f, fd, literal) expect(f, fd, literal, sizeof(literal) - 1)

static int ask(Fixture *f, const char *request, const char *status) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const char *end;

        ASSERT_OK(connect(fd, (struct sockaddr *) &f->front, sizeof(f->front)));
        say(fd, request, strlen(request));
        UNTIL(f, fd, strstr(mam_buffer_bytes(&f->received), "\r\n\r\n"));
        end = strstr(mam_buffer_bytes(&f->received), "\r\n\r\n");
        if (strncmp(mam_buffer_bytes(&f->received) + 9, status, 3) != 0)
                mam_test_fail_string(__FILE__, __LINE__, status, mam_buffer_bytes(&f->received));
        if (strcmp(status, "101") == 0)
                mam_buffer_consume(&f->received, (size_t) (end + 4 - mam_buffer_bytes(&f->received)));
        return fd;
}

static double metric(Fixture *f, const char *line) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        const char *p;

        ASSERT_OK(mam_metrics_format(f->metrics, &text));
        p = strstr(mam_buffer_bytes(&text), line);
        return p ? strtod(p + strlen(line), NULL) : -1;
}

static void finish(Fixture *f, int fd) {
        close(fd);
        for (uint64_t end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC;
             f->n_done == 0 || f->n_closed == 0;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                ASSERT_OK(sd_event_run(f->event, 10000));
        }
        ASSERT_EQ(lasting_admitted(f->lasting), 0);
        ASSERT_TRUE(metric(f, "mam_gateway_websockets{service=\"echo\"}") <= 0);
}

TEST(messages_pass_both_ways_and_close_as_well) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        fd = ask(&f, UPGRADE(""), "101");
        ASSERT_EQ(metric(&f, "mam_gateway_websockets{service=\"echo\"}"), 1);
        SAY(fd, "\x81\x85" MASK "he");
        UNTIL(&f, fd, f.x);
        SAY(fd, "llo\x89\x82" MASK "hi");
        EXPECT(&f, fd, "\x81\x05hello\x8a\x02hi");
        SAY(fd, "\x88\x82" MASK "\x0f\xa0");
        EXPECT(&f, fd, "\x88\x02\x0f\xa0");
        hear_end(&f, fd);
        finish(&f, fd);
        ASSERT_EQ(f.code, 4000);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"closed\"}"), 1);
        ASSERT_EQ(metric(&f, "mam_gateway_websocket_bytes_total{service=\"echo\",direction=\"down\"}"), 15);
        teardown(&f);
}

TEST(draining_says_goodbye_to_both_between_two_frames) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        fd = ask(&f, UPGRADE(""), "101");
        SAY(fd, "\x81\x85" MASK "hello\x81\x84" MASK "th");
        EXPECT(&f, fd, "\x81\x05hello");
        ASSERT_OK(mam_http_server_drain(f.front_server, on_drained, &f));
        EXPECT(&f, fd, "\x88\x02\x03\xe9"); /* this way is free */
        ASSERT_EQ(f.n_closed, 0);           /* that one is not */
        SAY(fd, "is\x81\x81" MASK "x");
        UNTIL(&f, fd, f.n_closed == 1);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_GOING_AWAY);
        ASSERT_EQ(memcmp(mam_buffer_bytes(&f.heard), "hellothis", 9),
                  0); /* whole; and what followed is not there */
        ASSERT_EQ(f.heard.size, 9);
        ASSERT_EQ(f.n_drained, 0);
        SAY(fd, "\x88\x82" MASK "\x03\xe9");
        hear_end(&f, fd);
        ASSERT_EQ(f.received.size, 0);
        finish(&f, fd);
        UNTIL(&f, fd, f.n_drained == 1);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"drained\"}"), 1);
        teardown(&f);
}

/* Neither side answers Close: they have their time, and then it is over. */
TEST(draining_does_not_wait_for_ever) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_DEAF);
        fd = ask(&f, UPGRADE(""), "101");
        ASSERT_OK(mam_http_server_drain(f.front_server, on_drained, &f));
        EXPECT(&f, fd, "\x88\x02\x03\xe9");
        hear_end(&f, fd);
        UNTIL(&f, fd, f.n_drained == 1);
        finish(&f, fd);
        teardown(&f);
}

TEST(a_conversation_that_is_ending_is_let_end) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_DEAF);
        fd = ask(&f, UPGRADE(""), "101");
        SAY(fd, "\x88\x82" MASK "\x0f\xa0");
        UNTIL(&f, fd, f.heard.size == 8); /* it has passed */
        ASSERT_OK(mam_http_server_drain(f.front_server, on_drained, &f));
        ASSERT_OK(mam_http_exchange_write(f.raw, "\x88\x02\x0f\xa0", 4));
        EXPECT(&f, fd, "\x88\x02\x0f\xa0"); /* the service's own, and nothing else */
        hear_end(&f, fd);
        ASSERT_EQ(f.received.size, 0);
        finish(&f, fd);
        ASSERT_EQ(f.heard.size, 8);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"closed\"}"), 1);
        teardown(&f);
}

TEST(what_a_client_sends_that_is_no_frame_goes_no_further) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        fd = ask(&f, UPGRADE(""), "101");
        SAY(fd, "\x81\x82" MASK "ok");
        EXPECT(&f, fd, "\x81\x02ok");
        SAY(fd, "\x81\x82" MASK "ok\x81\x02no");
        EXPECT(&f, fd, "\x88\x02\x03\xea");
        hear_end(&f, fd);
        finish(&f, fd);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_GOING_AWAY);
        ASSERT_EQ(f.heard.size, 4);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"broken\"}"), 1);
        teardown(&f);
}

TEST(what_a_service_sends_that_is_no_frame_goes_no_further) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ROGUE);
        fd = ask(&f, UPGRADE(""), "101");
        EXPECT(&f, fd, "\x81\x02ok");
        EXPECT(&f, fd, "\x88\x02\x03\xf3");
        SAY(fd, "\x88\x82" MASK "\x03\xf3");
        hear_end(&f, fd);
        ASSERT_EQ(f.received.size, 0);
        finish(&f, fd);
        ASSERT_EQ(f.heard.size, 8); /* a Close, masked */
        ASSERT_EQ((uint8_t) mam_buffer_bytes(&f.heard)[0], 0x88);
        teardown(&f);
}

TEST(a_service_that_goes_without_close) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_GONE);
        fd = ask(&f, UPGRADE(""), "101");
        EXPECT(&f, fd, "\x81\x02ok\x88\x02\x03\xf3");
        SAY(fd, "\x88\x82" MASK "\x03\xf3");
        hear_end(&f, fd);
        finish(&f, fd);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"service\"}"), 1);
        teardown(&f);
}

TEST(a_service_that_breaks_off_within_a_frame_is_seen_to) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_HALF);
        fd = ask(&f, UPGRADE(""), "101");
        EXPECT(&f, fd, "\x81\x05ok");
        ASSERT_OK(mam_http_exchange_end(f.raw));
        hear_end(&f, fd);
        ASSERT_EQ(f.received.size, 0); /* no Close behind half a frame */
        finish(&f, fd);
        teardown(&f);
}

TEST(a_client_that_goes_without_close) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        fd = ask(&f, UPGRADE(""), "101");
        finish(&f, fd);
        ASSERT_TRUE(f.code == MAM_WEBSOCKET_GOING_AWAY || f.code == MAM_WEBSOCKET_ABNORMAL);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"client\"}"), 1);
        teardown(&f);
}

TEST(silence_ends_with_close) {
        MamGatewayWebsocket config = { .max = 10, .max_per_caller = 10, .idle_usec = MAM_USEC_PER_SEC };
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        lasting_table_configure(f.lasting, &config);
        fd = ask(&f, UPGRADE(""), "101");
        EXPECT(&f, fd, "\x88\x02\x03\xe9");
        SAY(fd, "\x88\x82" MASK "\x03\xe9");
        hear_end(&f, fd);
        finish(&f, fd);
        ASSERT_EQ(f.code, MAM_WEBSOCKET_GOING_AWAY);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets_ended_total{service=\"echo\",end=\"idle\"}"), 1);
        teardown(&f);
}

/* A client that reads nothing holds the service up; once it reads, all comes. */
TEST(who_does_not_read_is_waited_for) {
        const size_t n = 200000;
        size_t total = 0;
        ssize_t k;
        Fixture f;
        int fd;

        setup(&f, SERVICE_FLOOD);
        f.flood_left = n;
        fd = ask(&f, UPGRADE(""), "101");
        total = f.received.size;
        for (unsigned quiet = 0; quiet < 20;)
                quiet = sd_event_run(f.event, 5000) == 0 ? quiet + 1 : 0;
        ASSERT_TRUE(f.flood_left > n / 2); /* most of it is where it comes from */
        while (total < n * 127) {
                char buffer[65536];

                ASSERT_OK(sd_event_run(f.event, 0));
                k = recv(fd, buffer, sizeof(buffer), 0);
                ASSERT_TRUE(k > 0 || (k < 0 && errno == EAGAIN));
                total += k > 0 ? (size_t) k : 0;
        }
        ASSERT_EQ(total, n * 127);
        finish(&f, fd);
        teardown(&f);
}

TEST(extensions_are_of_the_two_sides) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        fd = ask(&f, UPGRADE("Sec-WebSocket-Extensions: permessage-deflate\r\n"), "101");
        SAY(fd, "\xc1\x82" MASK "ok"); /* none was agreed on */
        EXPECT(&f, fd, "\x88\x02\x03\xea");
        finish(&f, fd);
        teardown(&f);
}

TEST(a_replica_that_did_not_read_the_key_is_not_believed) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_LIAR);
        fd = ask(&f, UPGRADE(""), "502");
        ASSERT_EQ(f.n_disagreed, 1);
        finish(&f, fd);
        teardown(&f);
}

TEST(an_answer_that_is_no_agreement_passes) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_NO_ANSWER);
        fd = ask(&f, UPGRADE(""), "403");
        UNTIL(&f, fd, f.n_done == 1);
        ASSERT_EQ(lasting_admitted(f.lasting), 0);
        close(fd);
        teardown(&f);
}

static void refused(const char *request, const char *status) {
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        fd = ask(&f, request, status);
        ASSERT_EQ(f.n_sessions, 0);
        ASSERT_EQ(lasting_admitted(f.lasting), 0);
        close(fd);
        teardown(&f);
}

TEST(what_can_be_no_tunnel_is_refused) {
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Key: " KEY "\r\n\r\n",
                "426");
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
                "400");
        refused("PUT / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n",
                "400");
        /* Not offers to change to something else: answered as if there was none. */
        refused("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "200");
        refused("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
                "200");
}

TEST(there_are_only_so_many) {
        MamGatewayWebsocket config = { .max = 2, .max_per_caller = 1, .idle_usec = MAM_USEC_PER_SEC };
        Fixture f;
        int fd;

        setup(&f, SERVICE_ECHO);
        lasting_table_configure(f.lasting, &config);
        ASSERT_EQ(lasting_admit(f.lasting, 7), LASTING_ADMIT_YES);
        fd = ask(&f, UPGRADE(""), "429");
        close(fd);
        mam_buffer_reset(&f.received);
        lasting_release(f.lasting, 7);
        ASSERT_EQ(lasting_admit(f.lasting, 1), LASTING_ADMIT_YES);
        ASSERT_EQ(lasting_admit(f.lasting, 2), LASTING_ADMIT_YES);
        fd = ask(&f, UPGRADE(""), "503");
        close(fd);
        lasting_release(f.lasting, 1);
        lasting_release(f.lasting, 2);
        teardown(&f);
}
