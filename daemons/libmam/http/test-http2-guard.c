/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of what an HTTP/2 connection may send
 */

#include <nghttp2/nghttp2.h>

#include "libmam/http/http2-guard.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define BLOCK_MAX 40000U

static Http2Guard guard;
static uint64_t usec;
static uint32_t error;
static const char *reason;

static void setup(void) {
        http2_guard_done(&guard);
        usec = MAM_USEC_PER_SEC;
        error = 0;
        http2_guard_init(&guard, BLOCK_MAX, usec);
}

static size_t put(uint8_t *p, size_t size, unsigned type, unsigned flags, uint32_t stream) {
        const uint8_t head[HTTP2_FRAME_HEAD_SIZE] = {
                (uint8_t) (size >> 16),   (uint8_t) (size >> 8),   (uint8_t) size,
                (uint8_t) type,           (uint8_t) flags,         (uint8_t) (stream >> 24),
                (uint8_t) (stream >> 16), (uint8_t) (stream >> 8), (uint8_t) stream,
        };

        memcpy(p, head, sizeof(head));
        memset(p + sizeof(head), 0, size <= HTTP2_FRAME_MAX ? size : 0);
        return sizeof(head) + size;
}

/* true: fine; else error has why. */
static bool frame(size_t size, unsigned type, unsigned flags, uint32_t stream) {
        static uint8_t bytes[HTTP2_FRAME_HEAD_SIZE + HTTP2_FRAME_MAX];
        size_t n = put(bytes, size, type, flags, stream);
        ssize_t done;

        done = http2_guard_scan(&guard, bytes, n < sizeof(bytes) ? n : sizeof(bytes), usec, &error, &reason);
        ASSERT_OK(done);
        return (size_t) done == n;
}

#define REFUSED(call, code)               \
        do {                              \
                ASSERT_TRUE(!(call));     \
                ASSERT_EQ(error, (code)); \
                setup();                  \
        } while (0)

#define END (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)

TEST(an_ordinary_connection_passes) {
        setup();
        ASSERT_TRUE(frame(0, NGHTTP2_SETTINGS, 0, 0));
        ASSERT_TRUE(frame(30, NGHTTP2_HEADERS, END, 1));
        ASSERT_TRUE(frame(30, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 3));
        ASSERT_TRUE(frame(100, NGHTTP2_DATA, 0, 3));
        ASSERT_TRUE(frame(10, NGHTTP2_HEADERS, END, 3));
        ASSERT_TRUE(frame(4, NGHTTP2_WINDOW_UPDATE, 0, 3));
        ASSERT_TRUE(frame(4, NGHTTP2_RST_STREAM, 0, 1));
        ASSERT_TRUE(!http2_guard_is_in_head(&guard));
        ASSERT_EQ(guard.n_open, 0);
        ASSERT_TRUE(!guard.open);
}

TEST(a_frame_may_come_byte_by_byte) {
        uint8_t bytes[64];
        size_t n = put(bytes, 20, NGHTTP2_HEADERS, END, 1);

        setup();
        n += put(bytes + n, 5, NGHTTP2_DATA, 0, 1);
        for (size_t i = 0; i < n; i++) {
                ssize_t done = http2_guard_scan(&guard, bytes + i, 1, usec, &error, &reason);

                ASSERT_EQ(done, i < 29 + 8 ? 1 : 0);
                if (done == 0)
                        break;
                ASSERT_EQ(http2_guard_is_in_head(&guard), i != 28);
        }
        ASSERT_EQ(error, NGHTTP2_STREAM_CLOSED);
}

TEST(what_precedes_a_violation_is_fine) {
        uint8_t bytes[128];
        size_t first = put(bytes, 20, NGHTTP2_HEADERS, END, 1), n;

        setup();
        n = first + put(bytes + first, 5, NGHTTP2_DATA, 0, 1);
        ASSERT_EQ(http2_guard_scan(&guard, bytes, n, usec, &error, &reason), first);
}

TEST(frames_on_closed_and_idle_streams_end_the_connection) {
        setup();
        REFUSED(frame(1, NGHTTP2_DATA, 0, 0), NGHTTP2_PROTOCOL_ERROR);
        REFUSED(frame(1, NGHTTP2_DATA, 0, 1), NGHTTP2_PROTOCOL_ERROR);
        REFUSED(frame(4, NGHTTP2_RST_STREAM, 0, 1), NGHTTP2_PROTOCOL_ERROR);
        REFUSED(frame(1, NGHTTP2_HEADERS, END, 2), NGHTTP2_PROTOCOL_ERROR);
        REFUSED(frame(1, NGHTTP2_HEADERS, END, 0), NGHTTP2_PROTOCOL_ERROR);

        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, END, 5));
        REFUSED(frame(1, NGHTTP2_HEADERS, END, 5), NGHTTP2_STREAM_CLOSED);
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, END, 5));
        REFUSED(frame(1, NGHTTP2_HEADERS, END, 3), NGHTTP2_PROTOCOL_ERROR);
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1));
        ASSERT_TRUE(frame(4, NGHTTP2_RST_STREAM, 0, 1));
        REFUSED(frame(1, NGHTTP2_DATA, 0, 1), NGHTTP2_STREAM_CLOSED);
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1));
        ASSERT_TRUE(frame(4, NGHTTP2_RST_STREAM, 0, 1));
        REFUSED(frame(1, NGHTTP2_HEADERS, END, 1), NGHTTP2_STREAM_CLOSED);
}

TEST(what_is_under_way_when_we_reset_a_stream_is_forgiven) {
        setup();
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1));
        ASSERT_TRUE(http2_guard_reset(&guard, 1, true, usec));
        ASSERT_TRUE(frame(100, NGHTTP2_DATA, 0, 1));
        ASSERT_TRUE(frame(100, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1));
        REFUSED(frame(100, NGHTTP2_DATA, 0, 1), NGHTTP2_STREAM_CLOSED);
}

TEST(streams_that_we_have_reset_are_forgotten_when_they_are_many) {
        uint32_t id = 1;

        setup();
        for (unsigned i = 0; i < 10 * HTTP2_GUARD_OPEN_MAX; i++, id += 2) {
                ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id));
                ASSERT_TRUE(http2_guard_reset(&guard, id, false, usec));
                ASSERT_TRUE(guard.n_open <= HTTP2_GUARD_OPEN_MAX);
        }
        ASSERT_TRUE(frame(1, NGHTTP2_DATA, 0, id - 2));
        REFUSED(frame(1, NGHTTP2_DATA, 0, 1), NGHTTP2_STREAM_CLOSED);

        for (id = 1; id < 2 * HTTP2_GUARD_OPEN_MAX; id += 2)
                ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id));
        REFUSED(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id), NGHTTP2_ENHANCE_YOUR_CALM);
}

TEST(a_header_block_is_bounded_and_never_interrupted) {
        setup();
        ASSERT_TRUE(frame(10, NGHTTP2_HEADERS, 0, 1));
        ASSERT_TRUE(http2_guard_is_in_head(&guard));
        REFUSED(frame(8, NGHTTP2_PING, 0, 0), NGHTTP2_PROTOCOL_ERROR);
        REFUSED(frame(1, NGHTTP2_CONTINUATION, 0, 1), NGHTTP2_PROTOCOL_ERROR);

        ASSERT_TRUE(frame(10, NGHTTP2_HEADERS, 0, 1));
        for (unsigned i = 0; i < 7; i++)
                ASSERT_TRUE(frame(1, NGHTTP2_CONTINUATION, 0, 1));
        REFUSED(frame(1, NGHTTP2_CONTINUATION, 0, 1), NGHTTP2_ENHANCE_YOUR_CALM);

        ASSERT_TRUE(frame(16384, NGHTTP2_HEADERS, 0, 1));
        ASSERT_TRUE(frame(16384, NGHTTP2_CONTINUATION, 0, 1));
        REFUSED(frame(16384, NGHTTP2_CONTINUATION, 0, 1), NGHTTP2_ENHANCE_YOUR_CALM);
        REFUSED(frame(16385, NGHTTP2_DATA, 0, 1), NGHTTP2_FRAME_SIZE_ERROR);
}

/* How many pass before the connection is told to calm down. */
static unsigned flood(size_t size, unsigned type, unsigned flags, uint32_t stream) {
        unsigned n = 0;

        while (n < 100000 && frame(size, type, flags, stream))
                n++;
        if (n < 100000)
                ASSERT_EQ(error, NGHTTP2_ENHANCE_YOUR_CALM);
        return n;
}

TEST(floods_end) {
        setup();
        ASSERT_EQ(flood(8, NGHTTP2_PING, 0, 0), HTTP2_CONTROL_CREDIT);
        setup();
        ASSERT_EQ(flood(0, NGHTTP2_SETTINGS, 0, 0), HTTP2_CONTROL_CREDIT / 10);
        setup();
        ASSERT_EQ(flood(5, NGHTTP2_PRIORITY, 0, 1), HTTP2_CONTROL_CREDIT);
        setup();
        ASSERT_EQ(flood(4, NGHTTP2_WINDOW_UPDATE, 0, 0), HTTP2_CONTROL_CREDIT);
        setup();
        ASSERT_EQ(flood(4, 0xfe, 0, 0), HTTP2_CONTROL_CREDIT);
        setup();
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1));
        ASSERT_EQ(flood(0, NGHTTP2_DATA, 0, 1), HTTP2_CONTROL_CREDIT / 10);
        setup();
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1));
        ASSERT_EQ(flood(1, NGHTTP2_DATA, 0, 1), 100000); /* data is work, however small */
        setup();
        for (unsigned i = 0; i < HTTP2_CONTROL_CREDIT / 10; i++)
                ASSERT_TRUE(http2_guard_empty(&guard, usec));
        ASSERT_TRUE(!http2_guard_empty(&guard, usec));
}

TEST(resets_of_both_sides_are_counted) {
        uint32_t id = 1;

        setup();
        for (unsigned i = 0; i < HTTP2_RESET_CREDIT; i++, id += 2) {
                ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, END, id));
                ASSERT_TRUE(frame(4, NGHTTP2_RST_STREAM, 0, id));
        }
        ASSERT_TRUE(frame(1, NGHTTP2_HEADERS, END, id));
        REFUSED(frame(4, NGHTTP2_RST_STREAM, 0, id), NGHTTP2_ENHANCE_YOUR_CALM);

        for (unsigned i = 0; i < HTTP2_RESET_CREDIT; i++) {
                ASSERT_TRUE(http2_guard_reset(&guard, 1, true, usec));
                ASSERT_TRUE(http2_guard_reset(&guard, 1, false, usec)); /* our own doing costs nothing */
        }
        ASSERT_TRUE(!http2_guard_reset(&guard, 1, true, usec));
}

TEST(credit_comes_back_with_time_and_work) {
        setup();
        ASSERT_EQ(flood(8, NGHTTP2_PING, 0, 0), HTTP2_CONTROL_CREDIT);
        for (unsigned i = 0; i < 100; i++) { /* looking often loses nothing */
                usec += 10 * MAM_USEC_PER_MSEC;
                ASSERT_EQ(http2_guard_scan(&guard, NULL, 0, usec, &error, &reason), 0);
        }
        ASSERT_EQ(flood(8, NGHTTP2_PING, 0, 0), HTTP2_CONTROL_REFILL);
        http2_guard_sent_data(&guard);
        ASSERT_EQ(flood(4, NGHTTP2_WINDOW_UPDATE, 0, 0), 4);
        usec += 3600 * MAM_USEC_PER_SEC;
        ASSERT_EQ(flood(8, NGHTTP2_PING, 0, 0), HTTP2_CONTROL_CREDIT);
        http2_guard_done(&guard);
}
