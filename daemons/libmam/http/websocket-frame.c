/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/websocket-frame.h"

static bool opcode_is_control(unsigned opcode) {
        return opcode & 8;
}

static bool opcode_is_known(unsigned opcode) {
        return opcode <= MAM_WEBSOCKET_BINARY ||
               (opcode >= MAM_WEBSOCKET_CLOSE && opcode <= MAM_WEBSOCKET_PONG);
}

static uint64_t read_number(const uint8_t *p, size_t n) {
        uint64_t v = 0;

        for (size_t i = 0; i < n; i++)
                v = v << 8 | p[i];
        return v;
}

ssize_t mam_websocket_parse_head(MamWebsocketHead *ret, const void *data, size_t size) {
        const uint8_t *p = data;
        MamWebsocketHead h = { 0 };
        size_t n_length, need;

        assert(ret);
        assert(data || size == 0);

        /* What is wrong already is not waited for. */
        if (size < 1)
                return 0;
        h.opcode = p[0] & 0x0f;
        h.final = p[0] & 0x80;
        h.reserved = p[0] >> 4 & 7;
        if (!opcode_is_known(h.opcode) || (opcode_is_control(h.opcode) && !h.final))
                return -EBADMSG;
        if (size < 2)
                return 0;

        h.masked = p[1] & 0x80;
        h.size = p[1] & 0x7f;
        if (opcode_is_control(h.opcode) && h.size > MAM_WEBSOCKET_CONTROL_MAX)
                return -EBADMSG;
        n_length = h.size == 127 ? 8 : h.size == 126 ? 2 : 0;
        need = 2 + n_length + (h.masked ? 4 : 0);
        if (size < need)
                return 0;

        if (n_length > 0) {
                h.size = read_number(p + 2, n_length);
                if (h.size > INT64_MAX || h.size < (n_length == 8 ? 65536U : 126U))
                        return -EBADMSG;
        }
        if (h.masked)
                memcpy(h.mask, p + 2 + n_length, sizeof(h.mask));
        *ret = h;
        return (ssize_t) need;
}

size_t mam_websocket_format_head(
                uint8_t ret[static MAM_WEBSOCKET_HEAD_MAX],
                MamWebsocketOpcode opcode,
                bool final,
                uint64_t size,
                const uint8_t *mask) {
        size_t n_length = size < 126 ? 0 : size < 65536 ? 2 : 8;
        uint8_t *p = ret;

        assert(size <= INT64_MAX);

        *p++ = (uint8_t) (opcode | (final ? 0x80 : 0));
        *p++ = (uint8_t) ((mask ? 0x80 : 0) | (n_length == 0 ? size : n_length == 2 ? 126 : 127));
        for (size_t i = n_length; i > 0; i--)
                *p++ = (uint8_t) (size >> (8 * (i - 1)));
        if (mask)
                p = mempcpy(p, mask, 4);
        return (size_t) (p - ret);
}

void mam_websocket_mask(void *data, size_t size, const uint8_t mask[static 4], uint64_t offset) {
        uint8_t turned[8], *p = data;
        uint64_t word, piece;

        /* The mask as it stands at data, twice: eight bytes at a time. */
        for (size_t i = 0; i < sizeof(turned); i++)
                turned[i] = mask[(offset + i) & 3];
        memcpy(&word, turned, sizeof(word));
        for (; size >= sizeof(word); size -= sizeof(word), p += sizeof(word)) {
                memcpy(&piece, p, sizeof(piece));
                piece ^= word;
                memcpy(p, &piece, sizeof(piece));
        }
        for (size_t i = 0; i < size; i++)
                p[i] ^= turned[i];
}

size_t mam_websocket_format_close(
                uint8_t ret[static MAM_WEBSOCKET_HEAD_MAX + MAM_WEBSOCKET_CONTROL_MAX],
                unsigned code,
                const char *reason,
                const uint8_t *mask) {
        uint8_t payload[MAM_WEBSOCKET_CONTROL_MAX];
        size_t n = 0, n_head, n_reason = reason ? strlen(reason) : 0;

        if (code > 0) {
                payload[n++] = (uint8_t) (code >> 8);
                payload[n++] = (uint8_t) code;
                if (n_reason > sizeof(payload) - n) {
                        n_reason = sizeof(payload) - n;
                        while (n_reason > 0 && ((uint8_t) reason[n_reason] & 0xc0) == 0x80)
                                n_reason--;
                }
                if (n_reason > 0)
                        memcpy(payload + n, reason, n_reason);
                n += n_reason;
        }

        n_head = mam_websocket_format_head(ret, MAM_WEBSOCKET_CLOSE, true, n, mask);
        if (mask)
                mam_websocket_mask(payload, n, mask, 0);
        memcpy(ret + n_head, payload, n);
        return n_head + n;
}

/* 1004 is not defined, 1005, 1006 and 1015 stand for what was not sent; up to 1014 there is a registry
 * (IANA), 3000 to 3999 are for libraries, 4000 to 4999 for programs. */
bool mam_websocket_code_is_legal(unsigned code) {
        return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
               (code >= 3000 && code <= 4999);
}

bool mam_websocket_track_at_boundary(const MamWebsocketTrack *t) {
        assert(t);

        return t->left == 0;
}

/* Whether this frame may come now, and what follows from it. */
static bool track_head(MamWebsocketTrack *t, const MamWebsocketHead *h) {
        if (h->masked != t->from_client || (h->reserved != 0 && !t->extended))
                return false;
        if (!opcode_is_control(h->opcode)) {
                if ((h->opcode == MAM_WEBSOCKET_CONTINUATION) != t->in_message)
                        return false;
                t->in_message = !h->final;
        }
        t->left = h->size;
        t->in_close = h->opcode == MAM_WEBSOCKET_CLOSE;
        if (t->in_close && t->left == 0)
                t->closed = true;
        return true;
}

/* The rest of a head whose beginning is held. Bytes taken of data, or -EBADMSG. */
static ssize_t track_held(MamWebsocketTrack *t, const char *data, size_t size, MamWebsocketPass *pass) {
        size_t had = t->n_held, more = sizeof(t->held) - had < size ? sizeof(t->held) - had : size;
        MamWebsocketHead h;
        ssize_t n;

        memcpy(t->held + had, data, more);
        n = mam_websocket_parse_head(&h, t->held, had + more);
        if (n < 0)
                return n;
        if (n == 0) {
                t->n_held = (uint8_t) (had + more);
                return (ssize_t) more;
        }
        assert((size_t) n > had); /* or it would have been complete before */
        if (!track_head(t, &h))
                return -EBADMSG;
        memcpy(pass->head, t->held, (size_t) n);
        pass->head_size = (size_t) n;
        t->n_held = 0;
        return (ssize_t) ((size_t) n - had);
}

static size_t track_payload(MamWebsocketTrack *t, size_t size) {
        size_t n = t->left < size ? (size_t) t->left : size;

        t->left -= n;
        if (t->left == 0 && t->in_close)
                t->closed = true;
        return n;
}

int mam_websocket_track(
                MamWebsocketTrack *t,
                const char *data,
                size_t size,
                bool to_boundary,
                MamWebsocketPass *ret) {
        MamWebsocketHead h;
        size_t at = 0;
        ssize_t n;

        assert(t);
        assert(data || size == 0);
        assert(ret);

        *ret = (MamWebsocketPass){ .data = data };
        if (t->n_held > 0 && size > 0 && !to_boundary) {
                n = track_held(t, data, size, ret);
                if (n < 0)
                        return (int) n;
                at = (size_t) n;
                ret->data = data + at;
        }
        for (data = ret->data, size -= at, at = 0; at < size;) {
                if (t->left > 0) {
                        at += track_payload(t, size - at);
                        ret->size = at;
                        continue;
                }
                if (t->closed || to_boundary)
                        return 0;
                n = mam_websocket_parse_head(&h, data + at, size - at);
                if (n == 0) {
                        memcpy(t->held, data + at, size - at);
                        t->n_held = (uint8_t) (size - at);
                        return 0;
                }
                if (n < 0 || !track_head(t, &h))
                        return -EBADMSG;
                at += (size_t) n;
                ret->size = at;
        }
        return 0;
}
