/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the native hop: peers that the test plays, and that misbehave as told
 */

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/native-peer.h"
#include "libmam/http/test-native.h"

/* --- peers by hand --- */

static void receive_exactly(Fixture *f, int fd, char *to, size_t size) {
        while (size > 0) {
                ssize_t n = recv(fd, to, size, MSG_DONTWAIT);

                if (n < 0) {
                        ASSERT_EQ(errno, EAGAIN);
                        ASSERT_TRUE(sd_event_run(f->event, 3000000) > 0);
                        continue;
                }
                ASSERT_TRUE(n > 0);
                to += n;
                size -= (size_t) n;
        }
}

static NativeFrame receive_frame(Fixture *f, int fd, char *payload) {
        char header[NATIVE_HEADER_SIZE];
        NativeFrame frame = { 0 };

        receive_exactly(f, fd, header, sizeof(header));
        ASSERT_OK(native_frame_parse(&frame, header));
        receive_exactly(f, fd, payload, frame.size);
        return frame;
}

static void send_all(int fd, const char *data, size_t size) {
        ASSERT_EQ(send(fd, data, size, MSG_NOSIGNAL), size);
}

static void send_frame(
                int fd,
                NativeType type,
                bool end,
                uint32_t stream,
                const char *payload,
                size_t size) {
        char bytes[NATIVE_HEADER_SIZE + 4096];

        native_frame_format(
                        bytes,
                        &(NativeFrame){ .type = type,
                                        .end = end,
                                        .stream = stream,
                                        .size = (uint32_t) size });
        memcpy(bytes + NATIVE_HEADER_SIZE, payload, size);
        send_all(fd, bytes, NATIVE_HEADER_SIZE + size);
}

static void send_number(int fd, NativeType type, uint32_t stream, uint32_t number) {
        char bytes[NATIVE_HEADER_SIZE + 4];

        send_all(fd, bytes, native_number_format(bytes, type, stream, number));
}

static void send_hello(int fd, uint32_t streams_max, uint32_t credit) {
        char bytes[64];

        send_all(fd, bytes, native_hello_format(bytes, &(NativeHello){ streams_max, credit }));
}

static void send_answer(int fd, uint32_t stream, uint64_t length, bool end) {
        char head[NATIVE_ANSWER_SIZE];

        native_answer_format(head, length, 200, 0);
        send_frame(fd, NATIVE_HEAD, end, stream, head, sizeof(head));
}

/* Accepts, and reads the preface. */
static int accept_peer(Fixture *f) {
        char preface[NATIVE_PREFACE_SIZE];
        int fd;

        RUN_UNTIL(f, (fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
        receive_exactly(f, fd, preface, sizeof(preface));
        ASSERT_EQ(memcmp(preface, NATIVE_PREFACE, sizeof(preface)), 0);
        return fd;
}

/* And greets; the first call's head is read. */
static int greet(Fixture *f, uint32_t credit) {
        char payload[4096];
        int fd = accept_peer(f);

        send_hello(fd, 100, credit);
        ASSERT_EQ(receive_frame(f, fd, payload).type, NATIVE_HELLO);
        ASSERT_EQ(receive_frame(f, fd, payload).type, NATIVE_HEAD);
        return fd;
}

TEST(nothing_is_sent_before_the_peer_has_greeted) {
        Answer a, b;
        Fixture f;
        char c;
        int fd;

        setup(&f, PEER_BY_HAND);
        (void) start(&f, &a, "/");
        (void) start(&f, &b, "/");
        fd = accept_peer(&f);
        settle(&f);
        ASSERT_EQ(recv(fd, &c, 1, MSG_DONTWAIT), -1);
        close(fd);
        RUN_UNTIL(&f, a.n_ends == 1 && b.n_ends == 1);
        ASSERT_EQ(a.error, -ECONNRESET);
        ASSERT_TRUE(!a.was_sent && !b.was_sent);
        teardown(&f);
}

TEST(a_goaway_tells_what_may_be_sent_again) {
        char payload[4096];
        Answer a, b, c;
        Fixture f;
        int fd, other;

        setup(&f, PEER_BY_HAND);
        (void) start(&f, &a, "/");
        (void) start(&f, &b, "/");
        fd = greet(&f, 1000);
        ASSERT_EQ(receive_frame(&f, fd, payload).stream, 2);
        send_number(fd, NATIVE_GOAWAY, 0, 1);
        RUN_UNTIL(&f, b.n_ends == 1);
        ASSERT_EQ(b.error, -ECONNREFUSED);
        ASSERT_TRUE(!b.was_sent);
        ASSERT_EQ(a.n_ends, 0);

        (void) start(&f, &c, "/"); /* goes to a connection of its own */
        other = greet(&f, 1000);
        send_answer(other, 1, 0, true);
        RUN_UNTIL(&f, c.n_ends == 1);
        ASSERT_EQ(c.error, 0);
        send_answer(fd, 1, 0, true);
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        receive_exactly(&f, fd, payload, 0);
        RUN_UNTIL(&f, recv(fd, payload, 1, MSG_DONTWAIT) == 0); /* the old one is left */
        close(fd);
        close(other);
        teardown(&f);
}

TEST(a_reset_says_whether_anything_was_done) {
        static const struct {
                NativeReset why;
                int error;
                bool sent;
        } cases[] = {
                { NATIVE_RESET_UNPROCESSED, -EAGAIN, false },
                { NATIVE_RESET_BROKEN, -ECONNRESET, true },
                { NATIVE_RESET_CANCEL, -ECONNRESET, true },
        };
        char payload[4096];
        Fixture f;
        Answer a;
        int fd = -EBADF;

        setup(&f, PEER_BY_HAND);
        for (uint32_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                (void) start(&f, &a, "/");
                if (fd < 0) {
                        fd = greet(&f, 1000);
                } else
                        ASSERT_EQ(receive_frame(&f, fd, payload).stream, i + 1);
                send_number(fd, NATIVE_RESET, i + 1, cases[i].why);
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(a.error, cases[i].error);
                ASSERT_EQ(a.was_sent, cases[i].sent);
        }
        close(fd);
        teardown(&f);
}

TEST(credit_is_kept_to) {
        MamHttpCall *call;
        char payload[65536];
        NativeFrame frame;
        Fixture f;
        Answer a;
        int fd;

        setup(&f, PEER_BY_HAND);
        call = begin(&f, &a, "POST", "/");
        ASSERT_OK(mam_http_call_set_streaming(call, 3000));
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_EQ(mam_http_call_write(call, big, 3000), 1);
        fd = greet(&f, 1000);
        frame = receive_frame(&f, fd, payload);
        ASSERT_EQ(frame.type, NATIVE_DATA);
        ASSERT_EQ(frame.size, 1000);
        ASSERT_TRUE(!frame.end);
        settle(&f);
        ASSERT_EQ(recv(fd, payload, 1, MSG_DONTWAIT), -1);
        send_number(fd, NATIVE_CREDIT, 1, 1);
        ASSERT_EQ(receive_frame(&f, fd, payload).size, 1);
        send_number(fd, NATIVE_CREDIT, 1, 1999);
        frame = receive_frame(&f, fd, payload);
        ASSERT_EQ(frame.size, 1999);
        ASSERT_TRUE(frame.end);
        ASSERT_OK(mam_http_call_end_body(call));
        send_answer(fd, 1, 0, true);
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        close(fd);
        teardown(&f);
}

typedef enum Misdeed {
        ANSWER_TO_NOTHING,
        ANSWER_TWICE,
        DATA_BEFORE_HEAD,
        DATA_TOO_LONG,
        DATA_TOO_SHORT,
        DATA_WITHOUT_CREDIT,
        DATA_BEHIND_THE_END,
        TRAILERS_TOO_EARLY,
        SECOND_HELLO,
        CREDIT_OVERFLOWS,
        GARBAGE,
        _MISDEED_MAX,
} Misdeed;

static void misbehave(int fd, Misdeed m) {
        static const char trailers[NATIVE_TRAILERS_SIZE];

        if (m == ANSWER_TO_NOTHING)
                send_answer(fd, 2, 0, true);
        if (m == ANSWER_TWICE) {
                send_answer(fd, 1, 10, false);
                send_answer(fd, 1, 10, false);
        }
        if (m == DATA_BEFORE_HEAD)
                send_frame(fd, NATIVE_DATA, true, 1, "x", 1);
        if (m == DATA_TOO_LONG) {
                send_answer(fd, 1, 3, false);
                send_frame(fd, NATIVE_DATA, true, 1, "four", 4);
        }
        if (m == DATA_TOO_SHORT) {
                send_answer(fd, 1, 3, false);
                send_frame(fd, NATIVE_DATA, true, 1, "a", 1);
        }
        if (m == DATA_WITHOUT_CREDIT) {
                char header[NATIVE_HEADER_SIZE];

                send_answer(fd, 1, NATIVE_LENGTH_UNKNOWN, false);
                native_frame_format(
                                header,
                                &(NativeFrame){ .type = NATIVE_DATA,
                                                .stream = 1,
                                                .size = NATIVE_WINDOW_FIRST + 1 });
                send_all(fd, header, sizeof(header));
        }
        if (m == DATA_BEHIND_THE_END) {
                char two[2 * (NATIVE_HEADER_SIZE + 1)];

                send_answer(fd, 1, NATIVE_LENGTH_UNKNOWN, false);
                for (size_t i = 0; i < 2; i++) {
                        native_frame_format(
                                        two + i * sizeof(two) / 2,
                                        &(NativeFrame){ .type = NATIVE_DATA,
                                                        .end = true,
                                                        .stream = i == 0 ? 1 : 7,
                                                        .size = 1 });
                        two[i * sizeof(two) / 2 + NATIVE_HEADER_SIZE] = 'x';
                }
                send_all(fd, two, sizeof(two));
        }
        if (m == TRAILERS_TOO_EARLY) {
                send_answer(fd, 1, 3, false);
                send_frame(fd, NATIVE_TRAILERS, false, 1, trailers, sizeof(trailers));
        }
        if (m == SECOND_HELLO)
                send_hello(fd, 1, 1);
        if (m == CREDIT_OVERFLOWS)
                send_number(fd, NATIVE_CREDIT, 1, NATIVE_CREDIT_MAX);
        if (m == GARBAGE)
                send_all(fd, "HTTP/1.1 200 OK\r\n\r\n", 19);
}

TEST(servers_that_misbehave_are_left) {
        for (Misdeed m = 0; m < _MISDEED_MAX; m++) {
                Fixture f;
                Answer a;
                char c;
                int fd;

                setup(&f, PEER_BY_HAND);
                (void) start(&f, &a, "/");
                fd = greet(&f, 1000);
                misbehave(fd, m);
                RUN_UNTIL(&f, a.n_ends == 1);
                if (a.error != (m == DATA_BEHIND_THE_END ? 0 : -EBADMSG))
                        mam_test_fail(__FILE__, __LINE__, "error of misdeed", m);
                mam_buffer_done(&a.body);
                RUN_UNTIL(&f, recv(fd, &c, 1, MSG_DONTWAIT) == 0);
                close(fd);
                teardown(&f);
        }
}

TEST(an_answer_may_come_byte_by_byte) {
        char bytes[256], *p = bytes;
        Fixture f;
        Answer a;
        int fd;

        setup(&f, PEER_BY_HAND);
        (void) start(&f, &a, "/");
        fd = accept_peer(&f);
        p += native_hello_format(p, &(NativeHello){ 100, 1000 });
        native_frame_format(p, &(NativeFrame){ NATIVE_HEAD, false, 1, NATIVE_ANSWER_SIZE });
        native_answer_format(p + NATIVE_HEADER_SIZE, 5, 201, 0);
        p += NATIVE_HEADER_SIZE + NATIVE_ANSWER_SIZE;
        native_frame_format(p, &(NativeFrame){ NATIVE_DATA, true, 1, 5 });
        p = mempcpy(p + NATIVE_HEADER_SIZE, "bytes", 5);
        for (char *q = bytes; q < p; q++) {
                send_all(fd, q, 1);
                settle(&f);
        }
        ASSERT_EQ(a.n_ends, 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.status, 201);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "bytes");
        mam_buffer_done(&a.body);
        close(fd);
        teardown(&f);
}

/* --- clients by hand --- */

static int connect_by_hand(Fixture *f) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int fd;

        snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(connect(fd, (struct sockaddr *) &un, sizeof(un)));
        return fd;
}

static size_t format_request(
                char *p,
                uint32_t stream,
                uint64_t length,
                const char *method,
                const char *target) {
        char *payload = p + NATIVE_HEADER_SIZE, *q;

        native_request_format(payload, length, strlen(method), strlen(target), 1);
        q = mempcpy(payload + NATIVE_REQUEST_SIZE, method, strlen(method) + 1);
        q = mempcpy(q, target, strlen(target) + 1);
        q = native_field_format(q, (MamHttpRange){ "Host", 4 }, (MamHttpRange){ "x", 1 });
        native_frame_format(
                        p,
                        &(NativeFrame){ .type = NATIVE_HEAD,
                                        .end = length == 0,
                                        .stream = stream,
                                        .size = (uint32_t) (q - payload) });
        return (size_t) (q - p);
}

static void send_request(int fd, uint32_t stream, uint64_t length, const char *method, const char *target) {
        char bytes[512];

        send_all(fd, bytes, format_request(bytes, stream, length, method, target));
}

static int greet_server(Fixture *f) {
        int fd = connect_by_hand(f);
        char payload[64];

        send_all(fd, NATIVE_PREFACE, NATIVE_PREFACE_SIZE);
        ASSERT_EQ(receive_frame(f, fd, payload).type, NATIVE_HELLO);
        return fd;
}

TEST(a_request_may_come_byte_by_byte) {
        char bytes[512], payload[4096], *p = bytes;
        NativeFrame frame;
        Fixture f;
        int fd;

        setup(&f, PEER_NATIVE);
        fd = connect_by_hand(&f);
        p = mempcpy(p, NATIVE_PREFACE, NATIVE_PREFACE_SIZE);
        p += native_hello_format(p, &(NativeHello){ 0, 100 });
        p += format_request(p, 5, 4, "POST", "/echo");
        native_frame_format(p, &(NativeFrame){ NATIVE_DATA, true, 5, 4 });
        p = mempcpy(p + NATIVE_HEADER_SIZE, "data", 4);
        for (char *q = bytes; q < p; q++) {
                send_all(fd, q, 1);
                settle(&f);
        }
        ASSERT_EQ(receive_frame(&f, fd, payload).type, NATIVE_HELLO);
        frame = receive_frame(&f, fd, payload);
        ASSERT_EQ(frame.type, NATIVE_HEAD);
        ASSERT_EQ(frame.stream, 5);
        frame = receive_frame(&f, fd, payload);
        ASSERT_EQ(frame.type, NATIVE_DATA);
        ASSERT_TRUE(frame.end);
        ASSERT_EQ(memcmp(payload, "data", 4), 0);
        close(fd);
        teardown(&f);
}

TEST(clients_that_misbehave_are_left) {
        for (unsigned i = 0; i < 12; i++) {
                static const char trailers[NATIVE_TRAILERS_SIZE];
                char payload[4096], header[NATIVE_HEADER_SIZE];
                Fixture f;
                int fd;

                setup(&f, PEER_NATIVE);
                fd = greet_server(&f);
                if (i > 0)
                        send_hello(fd, 0, 1000);
                switch (i) {
                case 0: /* no HELLO */
                        send_request(fd, 1, 0, "GET", "/later");
                        break;
                case 1: /* the number of a stream is used twice, or goes back */
                case 2:
                        send_request(fd, 5, 0, "GET", "/later");
                        send_request(fd, i == 1 ? 5 : 4, 0, "GET", "/later");
                        break;
                case 3: /* a stream that never was */
                        send_frame(fd, NATIVE_DATA, true, 1, "x", 1);
                        break;
                case 4:
                        send_number(fd, NATIVE_RESET, 1, NATIVE_RESET_CANCEL);
                        break;
                case 5: /* more than the window */
                        send_request(fd, 1, NATIVE_LENGTH_UNKNOWN, "POST", "/later");
                        native_frame_format(
                                        header,
                                        &(NativeFrame){ NATIVE_DATA, false, 1, NATIVE_WINDOW_FIRST + 1 });
                        send_all(fd, header, sizeof(header));
                        break;
                case 6: /* more, or less, than was announced */
                case 7:
                        send_request(fd, 1, 2, "POST", "/later");
                        send_frame(fd, NATIVE_DATA, true, 1, "xyz", i == 6 ? 3 : 1);
                        break;
                case 8:
                        send_request(fd, 1, 2, "POST", "/later");
                        send_frame(fd, NATIVE_TRAILERS, false, 1, trailers, sizeof(trailers));
                        break;
                case 9:
                        send_number(fd, NATIVE_GOAWAY, 0, 1);
                        break;
                case 10: /* a target that no client sends */
                        send_request(fd, 1, 0, "GET", "http://x/");
                        break;
                default:
                        send_all(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
                        break;
                }
                RUN_UNTIL(&f, recv(fd, payload, sizeof(payload), MSG_DONTWAIT) == 0);
                ASSERT_EQ(mam_http_server_connections(f.server), 0);
                ASSERT_EQ(mam_http_server_in_flight(f.server), 0);
                ASSERT_EQ(f.n_done, f.n_requests);
                close(fd);
                teardown(&f);
        }
}

TEST(requests_at_once_are_bounded) {
        char payload[4096];
        NativeFrame frame;
        uint32_t number;
        Fixture f;
        int fd;

        setup(&f, PEER_NATIVE);
        fd = greet_server(&f);
        send_hello(fd, 0, 1000);
        for (uint32_t i = 1; i <= 1025; i++) {
                send_request(fd, i, 0, "GET", "/later");
                if (i % 64 == 0)
                        settle(&f);
        }
        frame = receive_frame(&f, fd, payload);
        ASSERT_EQ(frame.type, NATIVE_RESET);
        ASSERT_EQ(frame.stream, 1025);
        ASSERT_OK(native_number_parse(&number, &frame, payload));
        ASSERT_EQ(number, NATIVE_RESET_UNPROCESSED);
        ASSERT_EQ(mam_http_server_in_flight(f.server), 1024);
        close(fd);
        RUN_UNTIL(&f, f.n_done == 1024);
        teardown(&f);
}

/* Counts what ends a stream: heads here, as all is sent, or resets. */
static unsigned count_ends(MamBuffer *received) {
        unsigned n = 0;
        NativeFrame f;

        while (received->size >= NATIVE_HEADER_SIZE) {
                ASSERT_OK(native_frame_parse(&f, mam_buffer_bytes(received)));
                if (received->size < NATIVE_HEADER_SIZE + f.size)
                        break;
                mam_buffer_consume(received, NATIVE_HEADER_SIZE + f.size);
                n += f.type == NATIVE_HEAD || f.type == NATIVE_RESET;
        }
        return n;
}

TEST(who_does_not_read_gets_no_more_done) {
        enum {
                REQUESTS = 30000
        };
        MamBuffer out = MAM_BUFFER_INIT, in = MAM_BUFFER_INIT;
        unsigned n_ends = 0, sent;
        size_t held, size;
        char bytes[65536];
        Fixture f;
        ssize_t n;
        int fd;

        setup(&f, PEER_NATIVE);
        fd = greet_server(&f);
        send_hello(fd, 0, 1000);
        for (uint32_t i = 1; i <= REQUESTS; i++) {
                size = format_request(bytes, i, 0, "GET", "/nowhere");
                ASSERT_OK(mam_buffer_append(&out, bytes, size));
        }
        while ((n = send(fd, mam_buffer_bytes(&out), out.size, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0) {
                mam_buffer_consume(&out, (size_t) n);
                settle(&f);
        }
        held = out.size;
        ASSERT_TRUE(held > 0);

        /* All that was sent whole is done once we read, without anything more coming in. */
        sent = REQUESTS - (unsigned) ((held + size - 1) / size);
        while (n_ends < REQUESTS) {
                if (n_ends >= sent) {
                        n = send(fd, mam_buffer_bytes(&out), out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
                        if (n > 0)
                                mam_buffer_consume(&out, (size_t) n);
                }
                n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
                if (n > 0)
                        ASSERT_OK(mam_buffer_append(&in, bytes, (size_t) n));
                else
                        ASSERT_TRUE(sd_event_run(f.event, 3000000) > 0);
                n_ends += count_ends(&in);
        }
        ASSERT_EQ(out.size, 0);
        close(fd);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        ASSERT_EQ(f.n_done, f.n_requests);
        mam_buffer_done(&out);
        mam_buffer_done(&in);
        teardown(&f);
}

/* The window of a reader that does not read is all that it keeps. */
TEST(a_body_that_nobody_reads_is_bounded) {
        char payload[4096], block[4096] = { 0 };
        Fixture f;
        int fd;

        setup(&f, PEER_NATIVE);
        fd = greet_server(&f);
        send_hello(fd, 0, 1000);
        send_request(fd, 1, NATIVE_LENGTH_UNKNOWN, "POST", "/later");
        for (unsigned i = 0; i < NATIVE_WINDOW_FIRST / sizeof(block); i++) {
                send_frame(fd, NATIVE_DATA, false, 1, block, sizeof(block));
                settle(&f);
        }
        ASSERT_EQ(recv(fd, payload, sizeof(payload), MSG_DONTWAIT), -1); /* no credit for more */
        ASSERT_OK(mam_http_exchange_read_body(f.later, BIG_SIZE, on_collected, &f));
        settle(&f);
        ASSERT_EQ(receive_frame(&f, fd, payload).type, NATIVE_CREDIT);
        close(fd);
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(f.n_body_errors, 1);
        teardown(&f);
}

TEST(a_listener_that_does_not_allow_it_answers_with_an_error) {
        char text[4096] = { 0 };
        size_t size = 0;
        Fixture f;
        int fd;

        setup(&f, PEER_HTTP1);
        fd = connect_by_hand(&f);
        send_all(fd, NATIVE_PREFACE, NATIVE_PREFACE_SIZE);
        while (size < 12) {
                ssize_t n = recv(fd, text + size, sizeof(text) - 1 - size, MSG_DONTWAIT);

                if (n > 0) {
                        size += (size_t) n;
                } else
                        ASSERT_TRUE(sd_event_run(f.event, 3000000) > 0);
        }
        ASSERT_TRUE(strncmp(text, "HTTP/1.1 505", 12) == 0 || strncmp(text, "HTTP/1.1 400", 12) == 0);
        ASSERT_EQ(f.n_requests, 0);
        close(fd);
        teardown(&f);
}
