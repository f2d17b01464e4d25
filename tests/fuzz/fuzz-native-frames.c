/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: frames of the native hop
 *
 * The input is a stream of frames, as a peer would send them. Beside memory errors it looks for broken
 * promises: ranges outside of the payload, strings without their NUL, fields that must never pass, and a
 * head that cannot be written again as it was read.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/native-peer.h"
#include "libmam/util/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

static void check_string(MamHttpRange r, const char *data, size_t size) {
        check(r.data >= data && r.data + r.size < data + size && r.data[r.size] == '\0');
}

static void check_fields(const MamHttpField *fields, size_t n, const char *data, size_t size) {
        for (size_t i = 0; i < n; i++) {
                check_string(fields[i].name, data, size);
                check_string(fields[i].value, data, size);
                check(mam_http_is_token(fields[i].name.data, fields[i].name.size));
                check(mam_http_is_field_value(fields[i].value.data, fields[i].value.size));
                check(!native_field_is_refused(fields[i].name));
        }
}

static char *put_fields(char *p, const MamHttpField *fields, size_t n) {
        for (size_t i = 0; i < n; i++)
                p = native_field_format(p, fields[i].name, fields[i].value);
        return p;
}

static void check_request(const NativeFrame *f, const char *data) {
        static MamHttpHead h;
        char *copy, *p;

        if (native_request_parse(&h, f, data) < 0)
                return;
        check_string(h.method, data, f->size);
        check_string(h.target, data, f->size);
        check(h.path.data == h.target.data && h.path.size <= h.target.size);
        check(!h.query.data || h.query.data + h.query.size == h.target.data + h.target.size);
        check(h.host.data && h.framing != MAM_HTTP_BODY_UNTIL_CLOSE);
        check_fields(h.fields, h.n_fields, data, f->size);

        copy = malloc(f->size);
        check(copy != NULL);
        native_request_format(
                        copy,
                        h.framing == MAM_HTTP_BODY_CHUNKED ? NATIVE_LENGTH_UNKNOWN : h.content_length,
                        h.method.size,
                        h.target.size,
                        h.n_fields);
        p = mempcpy(copy + NATIVE_REQUEST_SIZE, h.method.data, h.method.size + 1);
        p = mempcpy(p, h.target.data, h.target.size + 1);
        p = put_fields(p, h.fields, h.n_fields);
        check(p == copy + f->size && memcmp(copy, data, f->size) == 0);
        free(copy);
}

static void check_answer(const NativeFrame *f, const char *data) {
        static MamHttpHead h;
        bool tells;

        for (int head = 0; head < 2; head++) {
                if (native_answer_parse(&h, &tells, f, data, head) < 0)
                        continue;
                check(h.status >= 200 && h.status < 600 && h.framing != MAM_HTTP_BODY_UNTIL_CLOSE);
                check(!head || h.framing == MAM_HTTP_BODY_NONE);
                check_fields(h.fields, h.n_fields, data, f->size);
        }
}

/* --- the peer: a side that takes every head for the beginning of a stream --- */

typedef struct Stream {
        NativeStream stream;
        uint64_t got; /* bytes of DATA */
        bool ended;
} Stream;

typedef struct Side {
        NativePeer peer;
        MamBuffer out;
        uint32_t last;
        uint64_t sum; /* of what happened, so that two runs can be compared */
} Side;

static void note(NativePeer *p, uint64_t what) {
        Side *side = (Side *) p;

        side->sum = side->sum * 31 + what;
}

static void stream_free(NativePeer *p, NativeStream *s) {
        native_stream_done(p, s);
        free((Stream *) s);
}

static int on_hello(NativePeer *p, const NativeHello *h) {
        note(p, h->credit);
        return 0;
}

static int on_head(NativePeer *p, const NativeFrame *f, const char *payload) {
        Side *side = (Side *) p;
        static MamHttpHead h;
        Stream *s;

        if (f->stream <= side->last || p->n_streams >= 8 || native_request_parse(&h, f, payload) < 0)
                return -EBADMSG;
        side->last = f->stream;
        s = calloc(1, sizeof(*s));
        check(s != NULL);
        native_stream_init(p, &s->stream, f->stream);
        check(native_stream_find(p, f->stream) == &s->stream);
        s->stream.got_end = s->ended = f->end;
        if (h.framing == MAM_HTTP_BODY_LENGTH)
                s->stream.left = h.content_length;
        note(p, f->stream);
        /* It answers by as many bytes as there are fields, and ends what it says on odd streams. */
        check(native_stream_write(p, &s->stream, payload, h.n_fields) >= 0);
        if (f->stream % 2)
                check(native_stream_end(p, &s->stream, NULL, 0, 0) >= 0);
        return 0;
}

static int on_data(NativePeer *p, NativeStream *stream, const char *data, size_t size, bool end) {
        Stream *s = (Stream *) stream;

        check(size > 0 && !s->ended);
        s->got += size;
        s->ended = end;
        check(s->got <= NATIVE_WINDOW_MAX * 64UL);
        for (size_t i = 0; i < size; i++)
                note(p, (uint8_t) data[i]);
        if (stream->id % 3 == 0) /* a reader that reads */
                return native_stream_used(p, stream);
        check(s->got <= NATIVE_WINDOW_FIRST);
        return 0;
}

static int on_trailers(NativePeer *p, NativeStream *stream, const MamHttpField *fields, size_t n) {
        Stream *s = (Stream *) stream;

        check(!s->ended);
        s->ended = true;
        note(p, n);
        return 0;
}

static int on_reset(NativePeer *p, NativeStream *s, NativeReset why) {
        note(p, why);
        stream_free(p, s);
        return 0;
}

static int on_goaway(NativePeer *p, uint32_t last) {
        note(p, last);
        return 0;
}

static bool is_known(const NativePeer *p, uint32_t stream) {
        return stream <= ((const Side *) p)->last;
}

static bool is_over(const NativePeer *p) {
        return false;
}

static int put(NativePeer *p, const struct iovec *iov, size_t n) {
        for (size_t i = 0; i < n; i++)
                check(mam_buffer_append(p->out, iov[i].iov_base, iov[i].iov_len) >= 0);
        return 0;
}

/* In pieces of that many bytes. */
static uint64_t run_peer(const char *data, size_t size, size_t piece) {
        static const NativePeerOps ops = { on_hello, on_head,   on_data,  on_trailers,
                                           on_reset, on_goaway, is_known, is_over };
        MamBuffer kept = MAM_BUFFER_INIT;
        Side side = { 0 };
        int r = 0;

        native_peer_init(&side.peer, &side.out, put);
        while (size > 0 && r >= 0) {
                size_t n = size < piece ? size : piece;
                HttpInput in = { 0 };

                check(mam_buffer_append(&kept, data, n) >= 0);
                in.view = mam_buffer_bytes(&kept);
                in.size = kept.size;
                r = native_peer_read(&side.peer, &ops, &in);
                mam_buffer_consume(&kept, kept.size - in.size);
                check(r < 0 || kept.size < NATIVE_INPUT_MAX);
                data += n;
                size -= n;
        }
        note(&side.peer, (uint64_t) -r);
        check(native_peer_fill(&side.peer) >= 0);
        for (unsigned i = 0; i < NATIVE_BUCKETS; i++) {
                while (side.peer.buckets[i])
                        stream_free(&side.peer, side.peer.buckets[i]);
        }
        check(side.peer.n_streams == 0 && side.peer.grown == 0 && !native_peer_is_queued(&side.peer));
        mam_buffer_done(&kept);
        mam_buffer_done(&side.out);
        return side.sum;
}

static void check_frames(const char *p, size_t size) {
        MamHttpField fields[16];
        char again[NATIVE_HEADER_SIZE];
        NativeHello hello;
        NativeFrame f;
        uint32_t number;
        size_t n;

        while (size >= NATIVE_HEADER_SIZE) {
                if (native_frame_parse(&f, p) < 0)
                        return;
                native_frame_format(again, &f);
                check(memcmp(again, p, sizeof(again)) == 0);
                p += NATIVE_HEADER_SIZE;
                size -= NATIVE_HEADER_SIZE;
                if (f.size > size)
                        return;

                if (f.type == NATIVE_HELLO)
                        (void) native_hello_parse(&hello, p, f.size);
                if (f.type == NATIVE_HEAD) {
                        check_request(&f, p);
                        check_answer(&f, p);
                }
                if (f.type == NATIVE_TRAILERS && native_trailers_parse(fields, 16, &n, &f, p) >= 0) {
                        check(n <= 16);
                        check_fields(fields, n, p, f.size);
                }
                if (f.size == 4 && f.type > NATIVE_TRAILERS)
                        (void) native_number_parse(&number, &f, p);
                p += f.size;
                size -= f.size;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        const char *data = (const char *) bytes;

        check_frames(data, size);
        if (size > 0)
                check(run_peer(data, size, size) == run_peer(data, size, 1 + bytes[0] % 16));
        return 0;
}
