/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdint.h>

#include "libmam/http/websocket-message.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

/* Everything that a reader says about these bytes, as text: "T:hello", "B:…", "ping:…", "close:1000:bye",
 * "!1002" at an error, joined by spaces. piece: bytes given at once. */
static char *read_all(const void *bytes, size_t size, bool from_client, size_t max, size_t piece) {
        static char said[4096];
        MamWebsocketReader r;
        char *p = said;

        *p = '\0';
        mam_websocket_reader_init(&r, from_client, max);
        for (size_t at = 0; at < size;) {
                size_t n = size - at < piece ? size - at : piece, taken = 0;
                char *copy = malloc(n); /* exactly: reading beyond is seen */

                memcpy(copy, (const char *) bytes + at, n);
                at += n;
                do {
                        MamWebsocketEvent e;
                        ssize_t k = mam_websocket_reader_read(&r, copy + taken, n - taken, &e);
                        const char *what = "";

                        if (k < 0) {
                                p += sprintf(p, "!%u ", r.error);
                                break;
                        }
                        taken += (size_t) k;
                        if (e.kind == MAM_WEBSOCKET_EVENT_NONE) {
                                ASSERT_EQ(taken, n);
                                break;
                        }
                        switch (e.kind) {
                        case MAM_WEBSOCKET_EVENT_MESSAGE:
                                what = e.text ? "T:" : "B:";
                                break;
                        case MAM_WEBSOCKET_EVENT_PING:
                                what = "ping:";
                                break;
                        case MAM_WEBSOCKET_EVENT_PONG:
                                what = "pong:";
                                break;
                        default:
                                p += sprintf(p, "close:%u:", e.code);
                        }
                        ASSERT_EQ(e.data[e.size], '\0');
                        if (e.size <= 64)
                                p += sprintf(p, "%s%s ", what, e.data);
                        else
                                p += sprintf(p, "%s%zu bytes ", what, e.size);
                } while (true);
                free(copy);
        }
        mam_websocket_reader_done(&r);
        if (p > said)
                p[-1] = '\0';
        return said;
}

/* The same, whole and byte by byte: must not differ. */
static char *said_of(const void *bytes, size_t size, bool from_client, size_t max) {
        static char whole[4096];

        (void) strcpy(whole, read_all(bytes, size, from_client, max, SIZE_MAX));
        for (size_t piece = 1; piece < 8; piece++)
                ASSERT_STREQ(read_all(bytes, size, from_client, max, piece), whole);
        return whole;
}

#define SAID(literal)             said_of(literal, sizeof(literal) - 1, false, 1000)
#define SAID_FROM_CLIENT(literal) said_of(literal, sizeof(literal) - 1, true, 1000)

TEST(examples_of_rfc_6455_section_5_7) {
        ASSERT_STREQ(SAID("\x81\x05Hello"), "T:Hello");
        ASSERT_STREQ(SAID_FROM_CLIENT("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "T:Hello");
        ASSERT_STREQ(SAID("\x01\x03Hel\x80\x02lo"), "T:Hello");
        ASSERT_STREQ(SAID("\x89\x05Hello"), "ping:Hello");
        ASSERT_STREQ(SAID_FROM_CLIENT("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "pong:Hello");
}

TEST(lengths_of_16_and_64_bits_and_only_where_needed) {
        static char big[70000 + 10];
        MamWebsocketHead h;
        uint8_t head[MAM_WEBSOCKET_HEAD_MAX];
        static const uint64_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536, INT64_MAX };

        memcpy(big, "\x82\x7e\x01\x00", 4);
        ASSERT_STREQ(said_of(big, 4 + 256, false, 1000), "B:256 bytes");
        memcpy(big, "\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70", 10);
        ASSERT_STREQ(said_of(big, 10 + 70000, false, 70000), "B:70000 bytes");

        ASSERT_STREQ(SAID("\x82\x7e\x00\x7d"), "!1002");
        ASSERT_STREQ(SAID("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), "!1002");
        ASSERT_STREQ(SAID("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), "!1002");

        for (size_t i = 0; i < MAM_ELEMENTSOF(sizes); i++) {
                for (int masked = 0; masked < 2; masked++) {
                        size_t n = mam_websocket_format_head(
                                        head,
                                        MAM_WEBSOCKET_BINARY,
                                        false,
                                        sizes[i],
                                        masked ? mask : NULL);

                        for (size_t k = 0; k < n; k++)
                                ASSERT_EQ(mam_websocket_parse_head(&h, head, k), 0);
                        ASSERT_EQ(mam_websocket_parse_head(&h, head, n), n);
                        ASSERT_EQ(h.size, sizes[i]);
                        ASSERT_EQ(h.masked, masked);
                        ASSERT_EQ(h.final, false);
                        ASSERT_EQ(memcmp(h.mask, masked ? mask : (const uint8_t[4]){ 0 }, 4), 0);
                }
        }
}

TEST(control_frames_between_fragments) {
        ASSERT_STREQ(SAID("\x01\x03Hel\x89\x01p\x8a\x00\x80\x02lo\x88\x00"),
                     "ping:p pong: T:Hello close:1005:");
        ASSERT_STREQ(SAID("\x02\x00\x00\x00\x80\x00"), "B:");
}

TEST(what_breaks_the_protocol_is_1002) {
        ASSERT_STREQ(SAID("\xc1\x00"), "!1002"); /* a reserved bit */
        ASSERT_STREQ(SAID("\x83\x00"), "!1002"); /* opcodes that are not defined */
        ASSERT_STREQ(SAID("\x8b\x00"), "!1002");
        ASSERT_STREQ(SAID("\x09\x00"), "!1002");           /* a ping in fragments */
        ASSERT_STREQ(SAID("\x89\x7e\x00\x7e"), "!1002");   /* a long one */
        ASSERT_STREQ(SAID("\x80\x00"), "!1002");           /* continues nothing */
        ASSERT_STREQ(SAID("\x01\x01x\x01\x01y"), "!1002"); /* two at once */
        ASSERT_STREQ(SAID("\x01\x01x\x81\x01y"), "!1002");
        ASSERT_STREQ(SAID("\x81\x80\x00\x00\x00\x00"), "!1002"); /* a server masks not, a client does */
        ASSERT_STREQ(SAID_FROM_CLIENT("\x81\x00"), "!1002");
        ASSERT_STREQ(SAID("\x81\x02ok\xff"), "T:ok !1002");
}

TEST(close_codes) {
        ASSERT_STREQ(SAID("\x88\x05\x03\xe8"
                          "bye"),
                     "close:1000:bye");
        ASSERT_STREQ(SAID("\x88\x02\x0f\xa0"), "close:4000:");
        ASSERT_STREQ(SAID("\x88\x00\x81\x01x"), "close:1005:"); /* nothing counts behind it */
        ASSERT_STREQ(SAID("\x88\x01\x03"), "!1002");
        ASSERT_STREQ(SAID("\x88\x02\x03\xe7"), "!1002"); /* 999 */
        ASSERT_STREQ(SAID("\x88\x02\x03\xec"), "!1002"); /* 1004 */
        ASSERT_STREQ(SAID("\x88\x02\x03\xed"), "!1002"); /* 1005 */
        ASSERT_STREQ(SAID("\x88\x02\x03\xee"), "!1002"); /* 1006 */
        ASSERT_STREQ(SAID("\x88\x02\x03\xf7"), "!1002"); /* 1015 */
        ASSERT_STREQ(SAID("\x88\x02\x0b\xb7"), "!1002"); /* 2999 */
        ASSERT_STREQ(SAID("\x88\x02\x13\x88"), "!1002"); /* 5000 */
        ASSERT_STREQ(SAID("\x88\x03\x03\xe8\xff"), "!1007");
        ASSERT_STREQ(SAID("\x88\x04\x03\xe8\xc3\xa4"), "close:1000:\xc3\xa4");
        ASSERT_STREQ(SAID("\x88\x03\x03\xe8\xc3"), "!1007");
}

TEST(text_is_utf_8_also_over_fragments) {
        ASSERT_STREQ(SAID("\x81\x0b\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"),
                     "T:\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5");
        ASSERT_STREQ(SAID("\x01\x01\xce\x80\x01\xba"), "T:\xce\xba");
        ASSERT_STREQ(SAID("\x01\x01\xce\x89\x02\xff\xff\x80\x01\xba"), "ping:\xff\xff T:\xce\xba");
        ASSERT_STREQ(SAID("\x81\x04\xf4\x8f\xbf\xbf"), "T:\xf4\x8f\xbf\xbf");
        ASSERT_STREQ(SAID("\x81\x04\xf4\x90\x80\x80"), "!1007"); /* beyond U+10FFFF */
        ASSERT_STREQ(SAID("\x81\x03\xed\xa0\x80"), "!1007");     /* a surrogate */
        ASSERT_STREQ(SAID("\x81\x02\xc0\xaf"), "!1007");         /* overlong */
        ASSERT_STREQ(SAID("\x81\x03\xe0\x80\xaf"), "!1007");
        ASSERT_STREQ(SAID("\x81\x04\xf0\x80\x80\xaf"), "!1007");
        ASSERT_STREQ(SAID("\x81\x01\x80"), "!1007");
        ASSERT_STREQ(SAID("\x81\x01\xce"), "!1007"); /* ends too early */
        ASSERT_STREQ(SAID("\x81\x09xxxxxxxx\xfe"), "!1007");
        ASSERT_STREQ(SAID("\x82\x01\xff"), "B:\xff");
        /* Seen with the byte that breaks it, not at the message's end. */
        ASSERT_STREQ(SAID("\x01\x7d\xff"), "!1007");
}

/* What the decoder says about every sequence of up to three bytes, against a decoder in another form. */
static bool utf8_by_value(const uint8_t *s, size_t n) {
        for (size_t i = 0; i < n;) {
                size_t k = s[i] < 0x80 ? 1 : (s[i] & 0xe0) == 0xc0 ? 2 : (s[i] & 0xf0) == 0xe0 ? 3 : 0;
                uint32_t v = k == 1 ? s[i] : k == 2 ? s[i] & 0x1f : s[i] & 0x0f;

                if (k == 0 || i + k > n)
                        return false;
                for (size_t j = 1; j < k; j++) {
                        if ((s[i + j] & 0xc0) != 0x80)
                                return false;
                        v = v << 6 | (s[i + j] & 0x3f);
                }
                if ((k == 2 && v < 0x80) || (k == 3 && (v < 0x800 || (v >= 0xd800 && v < 0xe000))))
                        return false;
                i += k;
        }
        return true;
}

TEST(utf_8_of_three_bytes_exhaustively) {
        for (uint32_t v = 0; v < 1 << 24; v += v >> 8 < 0xc000 ? 7 : 1) {
                uint8_t s[3] = { (uint8_t) (v >> 16), (uint8_t) (v >> 8), (uint8_t) v };
                MamUtf8 u = { 0 };

                if (s[0] >= 0xf0 || s[1] >= 0xf0 || s[2] >= 0xf0)
                        continue; /* four bytes: not of this table */
                if ((mam_utf8_feed(&u, s, 3) && u.left == 0) != utf8_by_value(s, 3))
                        mam_test_fail(__FILE__, __LINE__, "utf-8", v);
        }
}

TEST(messages_are_bounded_by_what_their_heads_say) {
        ASSERT_STREQ(said_of("\x82\x05", 2, false, 4), "!1009");
        ASSERT_STREQ(said_of("\x82\x04"
                             "abcd",
                             6,
                             false,
                             4),
                     "B:abcd");
        ASSERT_STREQ(said_of("\x02\x03"
                             "abc\x80\x02",
                             7,
                             false,
                             4),
                     "!1009");
        ASSERT_STREQ(said_of("\x02\x03"
                             "abc\x80\x01"
                             "d\x82\x04"
                             "abcd",
                             14,
                             false,
                             4),
                     "B:abcd B:abcd");
}

TEST(masking_by_words_is_masking_by_bytes) {
        uint8_t a[67], b[67];

        for (size_t offset = 0; offset < 9; offset++) {
                for (size_t n = 0; n < sizeof(a); n++) {
                        for (size_t i = 0; i < n; i++)
                                a[i] = b[i] = (uint8_t) (i * 7);
                        mam_websocket_mask(a, n, mask, offset);
                        for (size_t i = 0; i < n; i++)
                                b[i] ^= mask[(offset + i) % 4];
                        ASSERT_EQ(memcmp(a, b, n), 0);
                }
        }
}

TEST(a_long_reason_is_cut_at_a_character) {
        uint8_t bytes[MAM_WEBSOCKET_HEAD_MAX + MAM_WEBSOCKET_CONTROL_MAX];
        char reason[200] = "";
        size_t n;

        n = mam_websocket_format_close(bytes, 1001, "going", NULL);
        ASSERT_STREQ(said_of(bytes, n, false, 0), "close:1001:going");
        n = mam_websocket_format_close(bytes, 1001, "going", mask);
        ASSERT_STREQ(said_of(bytes, n, true, 0), "close:1001:going");
        n = mam_websocket_format_close(bytes, 0, NULL, mask);
        ASSERT_STREQ(said_of(bytes, n, true, 0), "close:1005:");

        for (size_t i = 0; i < 60; i++)
                (void) strcat(reason, "\xe2\x82\xac");
        n = mam_websocket_format_close(bytes, 1000, reason, NULL);
        ASSERT_EQ(n, 2 + 2 + 123);
        ASSERT_STREQ(said_of(bytes, n, false, 0), "close:1000:123 bytes");
        (void) memmove(reason + 1, reason, strlen(reason) + 1);
        *reason = 'x';
        n = mam_websocket_format_close(bytes, 1000, reason, NULL);
        ASSERT_STREQ(said_of(bytes, n, false, 0), "close:1000:121 bytes");
}

/* ---- a direction that passes through ---- */

typedef struct Passed {
        char bytes[1024];
        size_t size;
        int error;
} Passed;

static void pass(MamWebsocketTrack *t, Passed *p, const char *data, size_t size, bool to_boundary) {
        MamWebsocketPass out;

        if (p->error < 0)
                return;
        p->error = mam_websocket_track(t, data, size, to_boundary, &out);
        memcpy(p->bytes + p->size, out.head, out.head_size);
        p->size += out.head_size;
        memcpy(p->bytes + p->size, out.data, out.size);
        p->size += out.size;
}

static Passed pass_all(MamWebsocketTrack *t, const char *data, size_t size, size_t piece) {
        Passed p = { 0 };

        for (size_t at = 0; at < size; at += piece)
                pass(t, &p, data + at, size - at < piece ? size - at : piece, false);
        return p;
}

TEST(frames_pass_unchanged_however_they_are_cut) {
        static const char bytes[] = "\x01\x03Hel\x89\x05Hello\x80\x02lo\x82\x7e\x00\x80"
                                    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                                    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                                    "\x88\x02\x03\xe8";

        for (size_t piece = 1; piece < sizeof(bytes); piece++) {
                MamWebsocketTrack t = { 0 };
                Passed p = pass_all(&t, bytes, sizeof(bytes) - 1, piece);

                ASSERT_EQ(p.error, 0);
                ASSERT_EQ(p.size, sizeof(bytes) - 1);
                ASSERT_EQ(memcmp(p.bytes, bytes, p.size), 0);
                ASSERT_TRUE(t.closed && mam_websocket_track_at_boundary(&t));
                pass(&t, &p, "\x81\x01x", 3, false);
                ASSERT_EQ(p.size, sizeof(bytes) - 1);
        }
}

TEST(passing_stops_at_the_end_of_a_frame) {
        MamWebsocketTrack t = { 0 };
        Passed p = { 0 };

        /* At a boundary already, with a part of a head held: nothing more goes. */
        pass(&t, &p, "\x81\x01x\x82", 4, false);
        ASSERT_EQ(p.size, 3);
        ASSERT_TRUE(mam_websocket_track_at_boundary(&t));
        pass(&t, &p, "\x01y", 2, true);
        ASSERT_EQ(p.size, 3);
        pass(&t, &p, "\x01y", 2, false);
        ASSERT_EQ(p.size, 6);

        /* Within a frame: its rest goes. */
        t = (MamWebsocketTrack){ 0 };
        p = (Passed){ 0 };
        pass(&t, &p, "\x81\x05He", 4, false);
        ASSERT_TRUE(!mam_websocket_track_at_boundary(&t));
        pass(&t, &p, "l", 1, true);
        ASSERT_TRUE(!mam_websocket_track_at_boundary(&t));
        pass(&t, &p, "lo\x81\x01x", 5, true);
        ASSERT_TRUE(mam_websocket_track_at_boundary(&t));
        ASSERT_EQ(p.size, 7);
        ASSERT_EQ(memcmp(p.bytes, "\x81\x05Hello", 7), 0);
}

static int track_error(const char *data, size_t size, bool from_client, bool extended, size_t *ret_passed) {
        Passed whole, cut;
        MamWebsocketTrack a = { .from_client = from_client, .extended = extended }, b = a;

        whole = pass_all(&a, data, size, size);
        cut = pass_all(&b, data, size, 1);
        ASSERT_EQ(whole.error, cut.error);
        ASSERT_EQ(whole.size, cut.size);
        *ret_passed = whole.size;
        return whole.error;
}

TEST(what_is_no_frame_does_not_pass) {
        size_t n;

        ASSERT_EQ(track_error("\x81\x01x\x83\x00", 5, false, false, &n), -EBADMSG);
        ASSERT_EQ(n, 3);
        ASSERT_EQ(track_error("\x81\x01x\x80\x00", 5, false, false, &n), -EBADMSG);
        ASSERT_EQ(n, 3);
        ASSERT_EQ(track_error("\x81\x01x", 3, true, false, &n), -EBADMSG);
        ASSERT_EQ(n, 0);
        ASSERT_EQ(track_error("\x81\x81\x00\x00\x00\x00x", 7, false, false, &n), -EBADMSG);
        ASSERT_EQ(track_error("\x81\x81\x00\x00\x00\x00x", 7, true, false, &n), 0);
        ASSERT_EQ(n, 7);
        ASSERT_EQ(track_error("\xc1\x01x", 3, false, false, &n), -EBADMSG);
        ASSERT_EQ(track_error("\xc1\x01x", 3, false, true, &n), 0);
}
