/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdint.h>

#include "api-gateway/sse.h"
#include "libmam/util/test.h"

static size_t ends_at(const char *text) {
        SseTrack t = { 0 };

        return sse_track(&t, text, strlen(text));
}

static bool is_whole(const char *text) {
        SseTrack t = { 0 };

        (void) sse_track(&t, text, strlen(text));
        return sse_at_boundary(&t);
}

TEST(an_event_ends_with_an_empty_line) {
        ASSERT_EQ(ends_at("data: 1\n\n"), 9);
        ASSERT_EQ(ends_at("data: 1\n\ndata: 2\n"), 9);
        ASSERT_EQ(ends_at("data: 1\n\ndata: 2\n\n"), 18);
        ASSERT_EQ(ends_at("data: 1\r\n\r\n"), 11);
        ASSERT_EQ(ends_at("data: 1\r\r"), 9);
        ASSERT_EQ(ends_at("data: 1\r\n\n"), 10);
        ASSERT_EQ(ends_at("data: 1\n\r\n"), 10);
        ASSERT_EQ(ends_at("data: 1"), 0);
        ASSERT_EQ(ends_at(""), 0);
        ASSERT_EQ(ends_at(": comment\n\n"), 11);
}

TEST(what_is_under_way_is_known) {
        ASSERT_TRUE(is_whole(""));
        ASSERT_TRUE(is_whole("data: 1\n\n"));
        ASSERT_TRUE(is_whole("data: 1\r\n\r\n\n"));
        ASSERT_TRUE(!is_whole("data: 1\n\nd"));
        ASSERT_TRUE(!is_whole("data: 1\n\ndata: 2\n"));
        ASSERT_TRUE(!is_whole("data: 1\r\n"));
}

/* The last end within a piece is the same however the stream is cut; CR LF may be torn apart. */
TEST(pieces_do_not_matter) {
        static const char *const texts[] = {
                "data: 1\n\ndata: 2\ndata: 3\n\n: x\n\n",
                "data: 1\r\n\r\nid: 7\r\ndata: 2\r\n\r\n",
                "data: 1\r\revent: e\rdata: 2\r\rdata",
                "\n\n\ndata: 1\n\n\n",
        };

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                size_t size = strlen(texts[i]), want = ends_at(texts[i]);

                for (size_t cut = 0; cut <= size; cut++) {
                        SseTrack t = { 0 };
                        size_t a = sse_track(&t, texts[i], cut),
                               b = sse_track(&t, texts[i] + cut, size - cut);
                        size_t got = b > 0 ? cut + b : a;

                        /* Torn between CR and LF, the event's end was told before the LF. */
                        if (b == 0 && got + 1 == want && texts[i][want - 1] == '\n')
                                got++;
                        ASSERT_EQ(got, want);
                        ASSERT_EQ(sse_at_boundary(&t), is_whole(texts[i]));
                }
        }
}

TEST(a_stream_can_be_ended_at_the_first_end) {
        SseTrack t = { 0 };

        ASSERT_EQ(sse_first_end(t, "data: 1\n\n", 9), 0); /* nothing is under way: at once */
        (void) sse_track(&t, "data: 1\n", 8);
        ASSERT_EQ(sse_first_end(t, "\ndata: 2\n\n", 10), 1);
        ASSERT_EQ(sse_first_end(t, "data: 2\n\nx", 10), 9);
        ASSERT_EQ(sse_first_end(t, "data: 2\n", 8), SIZE_MAX);
        ASSERT_EQ(sse_first_end(t, "", 0), SIZE_MAX);
        (void) sse_track(&t, "data: 2\r\n\r", 10);
        ASSERT_TRUE(sse_at_boundary(&t));
        ASSERT_EQ(sse_first_end(t, "\ndata: 3", 8), 1); /* the rest of CR LF still belongs to it */
}

TEST(the_type_is_what_counts) {
        ASSERT_TRUE(sse_is_type("text/event-stream", 17));
        ASSERT_TRUE(sse_is_type("Text/Event-Stream; charset=utf-8", 32));
        ASSERT_TRUE(!sse_is_type("text/event-streams", 18));
        ASSERT_TRUE(!sse_is_type("text/event", 10));
        ASSERT_TRUE(!sse_is_type("", 0));
}
