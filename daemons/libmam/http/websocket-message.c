/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/websocket-message.h"

/* The first byte of a character: how many follow, and within which bounds the second lies. */
static bool utf8_begin(MamUtf8 *u, uint8_t b) {
        u->low = 0x80;
        u->high = 0xbf;
        if (b < 0x80)
                return true;
        if (b < 0xc2 || b > 0xf4)
                return false;
        u->left = b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;
        if (b == 0xe0)
                u->low = 0xa0; /* shorter would do */
        else if (b == 0xed)
                u->high = 0x9f; /* surrogates */
        else if (b == 0xf0)
                u->low = 0x90;
        else if (b == 0xf4)
                u->high = 0x8f; /* beyond U+10FFFF */
        return true;
}

bool mam_utf8_feed(MamUtf8 *u, const void *data, size_t size) {
        const uint8_t *p = data, *end = p + size;

        assert(u);

        while (p < end) {
                uint64_t word;

                /* Most text is ASCII: eight bytes at a time. */
                while (u->left == 0 && end - p >= 8) {
                        memcpy(&word, p, sizeof(word));
                        if (word & UINT64_C(0x8080808080808080))
                                break;
                        p += 8;
                }
                if (p == end)
                        break;
                if (u->left == 0) {
                        if (!utf8_begin(u, *p++))
                                return false;
                        continue;
                }
                if (*p < u->low || *p > u->high)
                        return false;
                p++;
                u->left--;
                u->low = 0x80;
                u->high = 0xbf;
        }
        return true;
}

void mam_websocket_reader_init(MamWebsocketReader *r, bool from_client, size_t message_max) {
        assert(r);

        *r = (MamWebsocketReader){ .from_client = from_client, .message_max = message_max };
}

void mam_websocket_reader_done(MamWebsocketReader *r) {
        mam_buffer_done(&r->message);
}

static int fail(MamWebsocketReader *r, MamWebsocketCode code) {
        r->over = true;
        r->error = code;
        return -EPROTO;
}

static bool is_control(const MamWebsocketReader *r) {
        return r->head.opcode >= MAM_WEBSOCKET_CLOSE;
}

static int begin_frame(MamWebsocketReader *r) {
        const MamWebsocketHead *h = &r->head;

        if (h->masked != r->from_client || h->reserved != 0)
                return fail(r, MAM_WEBSOCKET_PROTOCOL_ERROR);
        if (!is_control(r)) {
                if ((h->opcode == MAM_WEBSOCKET_CONTINUATION) != r->in_message)
                        return fail(r, MAM_WEBSOCKET_PROTOCOL_ERROR);
                if (!r->in_message) {
                        r->text = h->opcode == MAM_WEBSOCKET_TEXT;
                        r->utf8 = (MamUtf8){ 0 };
                        r->in_message = true;
                }
                /* Known from the head: none of it needs to be read. */
                if (h->size > r->message_max - r->message.size)
                        return fail(r, MAM_WEBSOCKET_TOO_BIG);
        }
        r->in_frame = true;
        r->seen = 0;
        return 0;
}

/* Bytes taken. */
static ssize_t read_head(MamWebsocketReader *r, const char *data, size_t size) {
        size_t had = r->n_head,
               more = sizeof(r->head_bytes) - had < size ? sizeof(r->head_bytes) - had : size;
        ssize_t n;
        int k;

        memcpy(r->head_bytes + had, data, more);
        n = mam_websocket_parse_head(&r->head, r->head_bytes, had + more);
        if (n < 0)
                return fail(r, MAM_WEBSOCKET_PROTOCOL_ERROR);
        if (n == 0) {
                r->n_head = (uint8_t) (had + more);
                return (ssize_t) more;
        }
        r->n_head = 0;
        k = begin_frame(r);
        return k < 0 ? k : (ssize_t) ((size_t) n - had);
}

static int tell_close(MamWebsocketReader *r, MamWebsocketEvent *ret) {
        const uint8_t *p = (const uint8_t *) r->control;
        MamUtf8 utf8 = { 0 };
        size_t size = (size_t) r->head.size;

        if (size == 1)
                return fail(r, MAM_WEBSOCKET_PROTOCOL_ERROR);
        ret->code = MAM_WEBSOCKET_NO_STATUS;
        if (size >= 2) {
                ret->code = (unsigned) p[0] << 8 | p[1];
                if (!mam_websocket_code_is_legal(ret->code))
                        return fail(r, MAM_WEBSOCKET_PROTOCOL_ERROR);
                if (!mam_utf8_feed(&utf8, p + 2, size - 2) || utf8.left > 0)
                        return fail(r, MAM_WEBSOCKET_BAD_DATA);
                ret->data = r->control + 2;
                ret->size = size - 2;
        }
        ret->kind = MAM_WEBSOCKET_EVENT_CLOSE;
        r->over = true;
        return 0;
}

static int end_control(MamWebsocketReader *r, MamWebsocketEvent *ret) {
        r->control[r->head.size] = '\0';
        ret->data = r->control;
        ret->size = (size_t) r->head.size;
        if (r->head.opcode == MAM_WEBSOCKET_CLOSE)
                return tell_close(r, ret);
        ret->kind = r->head.opcode == MAM_WEBSOCKET_PING ? MAM_WEBSOCKET_EVENT_PING
                                                         : MAM_WEBSOCKET_EVENT_PONG;
        return 0;
}

/* The frame under way is complete. */
static int end_frame(MamWebsocketReader *r, MamWebsocketEvent *ret) {
        r->in_frame = false;
        if (is_control(r))
                return end_control(r, ret);
        if (!r->head.final)
                return 0;
        if (r->text && r->utf8.left > 0)
                return fail(r, MAM_WEBSOCKET_BAD_DATA);
        r->in_message = false;
        r->told = true;
        *ret = (MamWebsocketEvent){
                .kind = MAM_WEBSOCKET_EVENT_MESSAGE,
                .text = r->text,
                .data = mam_buffer_bytes(&r->message),
                .size = r->message.size,
        };
        return 0;
}

/* Copies and unmasks. Bytes taken. */
static ssize_t read_payload(MamWebsocketReader *r, const char *data, size_t size) {
        size_t n = r->head.size - r->seen < size ? (size_t) (r->head.size - r->seen) : size;
        char *to = NULL;

        if (is_control(r)) {
                to = r->control + r->seen;
        } else if (mam_buffer_reserve(&r->message, n, &to) < 0) {
                r->over = true;
                return -ENOMEM;
        }
        memcpy(to, data, n);
        if (r->head.masked)
                mam_websocket_mask(to, n, r->head.mask, r->seen);
        if (!is_control(r)) {
                if (r->text && !mam_utf8_feed(&r->utf8, to, n))
                        return fail(r, MAM_WEBSOCKET_BAD_DATA);
                mam_buffer_commit(&r->message, n);
        }
        r->seen += n;
        return (ssize_t) n;
}

ssize_t mam_websocket_reader_read(
                MamWebsocketReader *r,
                const char *data,
                size_t size,
                MamWebsocketEvent *ret) {
        size_t at = 0;
        ssize_t n;
        int k;

        assert(r);
        assert(data || size == 0);
        assert(ret);

        *ret = (MamWebsocketEvent){ .data = "" };
        if (r->told) {
                mam_buffer_reset(&r->message);
                r->told = false;
        }
        if (r->over)
                return (ssize_t) size;

        for (;;) {
                if (r->in_frame && r->seen == r->head.size) {
                        k = end_frame(r, ret);
                        if (k < 0)
                                return k;
                        if (ret->kind != MAM_WEBSOCKET_EVENT_NONE)
                                return (ssize_t) at;
                        continue;
                }
                if (at == size)
                        return (ssize_t) at;
                n = r->in_frame ? read_payload(r, data + at, size - at) : read_head(r, data + at, size - at);
                if (n < 0)
                        return n;
                at += (size_t) n;
        }
}
