/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One side of a native hop
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "libmam/http/native-peer.h"

void native_peer_init(NativePeer *p, MamBuffer *out, NativePut put) {
        assert(out);
        assert(put);

        *p = (NativePeer){ .out = out, .put = put };
        TAILQ_INIT(&p->queued);
        TAILQ_INIT(&p->waiting);
}

void native_peer_widen(int fd) {
        int size = 1048576;

        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static NativeStream **bucket(NativePeer *p, uint32_t id) {
        return &p->buckets[id % NATIVE_BUCKETS];
}

NativeStream *native_stream_find(const NativePeer *p, uint32_t id) {
        NativeStream *s = p->buckets[id % NATIVE_BUCKETS];

        while (s && s->id != id)
                s = s->next;
        return s;
}

void native_stream_init(NativePeer *p, NativeStream *s, uint32_t id) {
        NativeStream **b = bucket(p, id);

        s->id = id;
        s->credit = p->first_credit;
        s->window = s->target = NATIVE_WINDOW_FIRST;
        s->left = s->out_left = UINT64_MAX;
        s->next = *b;
        *b = s;
        p->n_streams++;
}

static void unqueue(NativePeer *p, NativeStream *s) {
        if (!s->is_queued)
                return;
        TAILQ_REMOVE(&p->queued, s, queued);
        s->is_queued = false;
}

void native_stream_done(NativePeer *p, NativeStream *s) {
        for (NativeStream **b = bucket(p, s->id); *b; b = &(*b)->next) {
                if (*b != s)
                        continue;
                *b = s->next;
                p->n_streams--;
                break;
        }
        unqueue(p, s);
        if (s->is_waiting)
                TAILQ_REMOVE(&p->waiting, s, waiting);
        s->is_waiting = false;
        p->grown -= s->target - NATIVE_WINDOW_FIRST;
        mam_buffer_done(&s->in);
        mam_buffer_done(&s->out);
        mam_buffer_done(&s->out_trailers);
}

void native_stream_wait(NativePeer *p, NativeStream *s) {
        if (s->is_waiting)
                return;
        s->is_waiting = true;
        TAILQ_INSERT_TAIL(&p->waiting, s, waiting);
}

int native_peer_number(NativePeer *p, NativeType type, uint32_t stream, uint32_t number) {
        char *to;
        int r;

        r = mam_buffer_reserve(p->out, NATIVE_HEADER_SIZE + 4, &to);
        if (r < 0)
                return r;
        mam_buffer_commit(p->out, native_number_format(to, type, stream, number));
        return 0;
}

int native_peer_hello(NativePeer *p, uint32_t streams_max) {
        char *to;
        int r;

        r = mam_buffer_reserve(p->out, NATIVE_HEADER_SIZE + NATIVE_HELLO_SIZE, &to);
        if (r < 0)
                return r;
        mam_buffer_commit(
                        p->out,
                        native_hello_format(
                                        to,
                                        &(NativeHello){ .streams_max = streams_max,
                                                        .credit = NATIVE_WINDOW_FIRST }));
        return 0;
}

/* ---- out ---- */

static int put_frame(NativePeer *p, const NativeFrame *f, const char *data) {
        char header[NATIVE_HEADER_SIZE], *to;
        int r;

        if (f->size >= NATIVE_DIRECT) {
                struct iovec iov[] = { { header, sizeof(header) }, { (void *) data, f->size } };

                native_frame_format(header, f);
                return p->put(p, iov, MAM_ELEMENTSOF(iov));
        }
        r = mam_buffer_reserve(p->out, NATIVE_HEADER_SIZE + f->size, &to);
        if (r < 0)
                return r;
        native_frame_format(to, f);
        memcpy(to + NATIVE_HEADER_SIZE, data, f->size);
        mam_buffer_commit(p->out, NATIVE_HEADER_SIZE + f->size);
        return 0;
}

/* One or more DATA frames of size bytes in all; the credit suffices. */
static int put_data(NativePeer *p, NativeStream *s, const char *data, size_t size, bool end) {
        while (size > 0) {
                size_t step = size < NATIVE_DATA_MAX ? size : NATIVE_DATA_MAX;
                int r;

                r = put_frame(p,
                              &(NativeFrame){ .type = NATIVE_DATA,
                                              .end = end && step == size,
                                              .stream = s->id,
                                              .size = (uint32_t) step },
                              data);
                if (r < 0)
                        return r;
                s->credit -= (uint32_t) step;
                data += step;
                size -= step;
        }
        return 0;
}

/* The end where no DATA frame can carry it: with trailers, or the body turned out to be empty. */
static int put_end(NativePeer *p, NativeStream *s) {
        size_t size = s->out_trailers.size;
        char *to;
        int r;

        r = mam_buffer_reserve(p->out, NATIVE_HEADER_SIZE + NATIVE_TRAILERS_SIZE + size, &to);
        if (r < 0)
                return r;
        if (size > 0) {
                memcpy(to + NATIVE_HEADER_SIZE, mam_buffer_bytes(&s->out_trailers), size);
        } else {
                native_trailers_format(to + NATIVE_HEADER_SIZE, 0);
                size = NATIVE_TRAILERS_SIZE;
        }
        native_frame_format(
                        to,
                        &(NativeFrame){ .type = NATIVE_TRAILERS, .stream = s->id, .size = (uint32_t) size });
        mam_buffer_commit(p->out, NATIVE_HEADER_SIZE + size);
        s->sent_end = true;
        return 0;
}

static void queue(NativePeer *p, NativeStream *s) {
        if (s->is_queued || s->sent_end)
                return;
        if (s->out.size > 0 ? s->credit == 0 : !s->out_ended)
                return;
        s->is_queued = true;
        TAILQ_INSERT_TAIL(&p->queued, s, queued);
}

bool native_peer_is_queued(const NativePeer *p) {
        return !TAILQ_EMPTY(&p->queued);
}

/* A stream's turn. */
static int fill_from(NativePeer *p, NativeStream *s) {
        size_t step = s->out.size < NATIVE_QUANTUM ? s->out.size : NATIVE_QUANTUM;
        int r;

        if (step > s->credit)
                step = s->credit;
        if (step > 0) {
                bool end = s->out_ended && step == s->out.size && s->out_trailers.size == 0;

                r = put_data(p, s, mam_buffer_bytes(&s->out), step, end);
                if (r < 0)
                        return r;
                mam_buffer_consume(&s->out, step);
                s->sent_end |= end;
                if (s->out.size <= NATIVE_STREAM_LOW)
                        native_stream_wait(p, s); /* its writer may go on */
        }
        if (s->out.size == 0) {
                mam_buffer_reset(&s->out);
                if (s->out_ended && !s->sent_end) {
                        native_stream_wait(p, s);
                        return put_end(p, s);
                }
        }
        return 0;
}

int native_peer_fill(NativePeer *p) {
        NativeStream *s;
        int r;

        while (p->out->size < NATIVE_OUT_HIGH && (s = TAILQ_FIRST(&p->queued))) {
                unqueue(p, s);
                r = fill_from(p, s);
                if (r < 0)
                        return r;
                queue(p, s);
        }
        return 0;
}

int native_stream_write(NativePeer *p, NativeStream *s, const void *data, size_t size) {
        size_t step = 0;
        int r;

        if (s->out.size == 0 && p->greeted && p->out->size < NATIVE_OUT_HIGH) {
                step = size < NATIVE_OUT_HIGH ? size : NATIVE_OUT_HIGH;
                if (step > s->credit)
                        step = s->credit;
                r = put_data(p, s, data, step, step == s->out_left);
                if (r < 0)
                        return r;
                s->sent_end = step == s->out_left;
        }
        if (s->out_left != UINT64_MAX)
                s->out_left -= size;
        if (s->out_left == 0)
                s->out_ended = true;
        if (step < size) {
                r = mam_buffer_append(&s->out, (const char *) data + step, size - step);
                if (r < 0)
                        return r;
                if (p->greeted)
                        queue(p, s);
        }
        return s->out.size <= NATIVE_STREAM_HIGH;
}

int native_stream_end(NativePeer *p, NativeStream *s, const char *trailers, size_t size, unsigned n) {
        char *to;
        int r;

        if (s->out_ended)
                return 0;
        if (n > 0) {
                r = mam_buffer_reserve(&s->out_trailers, NATIVE_TRAILERS_SIZE + size, &to);
                if (r < 0)
                        return r;
                native_trailers_format(to, n);
                memcpy(to + NATIVE_TRAILERS_SIZE, trailers, size);
                mam_buffer_commit(&s->out_trailers, NATIVE_TRAILERS_SIZE + size);
        }
        s->out_ended = true;
        if (p->greeted)
                queue(p, s);
        return 0;
}

/* ---- in ---- */

int native_stream_used(NativePeer *p, NativeStream *s) {
        uint32_t missing;

        if (s->got_end)
                return 0;
        missing = s->target - s->window - (uint32_t) s->in.size;
        if (missing < s->target / 2)
                return 0;
        /* Who is told of an end soon needs no more credit than that. */
        if (s->left != UINT64_MAX && s->left <= s->window)
                return 0;
        if (s->target < NATIVE_WINDOW_MAX && p->grown + NATIVE_WINDOW_MAX - s->target <= NATIVE_GROWN_MAX) {
                p->grown += NATIVE_WINDOW_MAX - s->target;
                missing += NATIVE_WINDOW_MAX - s->target;
                s->target = NATIVE_WINDOW_MAX;
        }
        s->window += missing;
        return native_peer_number(p, NATIVE_CREDIT, s->id, missing);
}

static int begin_data(NativePeer *p, const NativePeerOps *ops, const NativeFrame *f) {
        NativeStream *s = native_stream_find(p, f->stream);

        if (!s && !ops->is_known(p, f->stream))
                return -EBADMSG;
        if (s) {
                if (s->got_end || f->size > s->window)
                        return -EBADMSG;
                if (s->left != UINT64_MAX) {
                        if (f->size > s->left || (f->end && f->size != s->left))
                                return -EBADMSG;
                        s->left -= f->size;
                }
                s->window -= f->size;
                s->got_end = f->end;
        }
        p->data_stream = f->stream;
        p->data_left = f->size;
        p->data_end = f->end;
        return 0;
}

static int read_data(NativePeer *p, const NativePeerOps *ops, HttpInput *in) {
        NativeStream *s = native_stream_find(p, p->data_stream);
        size_t n = in->size < p->data_left ? in->size : p->data_left;
        int r = 0;

        p->data_left -= (uint32_t) n;
        if (s)
                r = ops->on_data(p, s, in->view, n, p->data_end && p->data_left == 0);
        http_input_consume(in, n);
        return r;
}

static int read_trailers(
                NativePeer *p,
                const NativePeerOps *ops,
                const NativeFrame *f,
                const char *payload) {
        NativeStream *s = native_stream_find(p, f->stream);
        MamHttpField fields[MAM_HTTP_FIELDS_MAX];
        size_t n = 0;
        int r;

        if (!s)
                return ops->is_known(p, f->stream) ? 0 : -EBADMSG;
        r = native_trailers_parse(fields, MAM_HTTP_FIELDS_MAX, &n, f, payload);
        if (r < 0)
                return r;
        if (s->got_end || (s->left != UINT64_MAX && s->left != 0))
                return -EBADMSG;
        s->got_end = true;
        return ops->on_trailers(p, s, fields, n);
}

static int read_number(NativePeer *p, const NativePeerOps *ops, const NativeFrame *f, const char *payload) {
        NativeStream *s = NULL;
        uint32_t n;
        int r;

        r = native_number_parse(&n, f, payload);
        if (r < 0)
                return r;
        if (f->type == NATIVE_GOAWAY)
                return ops->on_goaway(p, n);
        s = native_stream_find(p, f->stream);
        if (!s)
                return ops->is_known(p, f->stream) ? 0 : -EBADMSG;
        if (f->type == NATIVE_RESET)
                return ops->on_reset(p, s, (NativeReset) n);
        if (n > NATIVE_CREDIT_MAX - s->credit)
                return -EBADMSG;
        s->credit += n;
        queue(p, s);
        return 0;
}

static int read_frame(NativePeer *p, const NativePeerOps *ops, const NativeFrame *f, const char *payload) {
        NativeHello hello;
        int r;

        switch (f->type) {
        case NATIVE_HELLO:
                if (p->greeted)
                        return -EBADMSG;
                r = native_hello_parse(&hello, payload, f->size);
                if (r < 0)
                        return r;
                p->greeted = true;
                p->first_credit = hello.credit;
                return ops->on_hello(p, &hello);
        case NATIVE_HEAD:
                return ops->on_head(p, f, payload);
        case NATIVE_TRAILERS:
                return read_trailers(p, ops, f, payload);
        case NATIVE_CREDIT:
        case NATIVE_RESET:
        case NATIVE_GOAWAY:
                return read_number(p, ops, f, payload);
        default:
                return -EBADMSG;
        }
}

int native_peer_read(NativePeer *p, const NativePeerOps *ops, HttpInput *in) {
        NativeFrame f;
        int r;

        while (!ops->is_over(p)) {
                if (p->data_left > 0) {
                        if (in->size == 0)
                                return 0;
                        r = read_data(p, ops, in);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (in->size < NATIVE_HEADER_SIZE)
                        return 0;
                r = native_frame_parse(&f, in->view);
                if (r < 0)
                        return r;
                if (!p->greeted && f.type != NATIVE_HELLO)
                        return -EBADMSG;
                if (f.type == NATIVE_DATA) {
                        http_input_consume(in, NATIVE_HEADER_SIZE);
                        r = begin_data(p, ops, &f);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (in->size < NATIVE_HEADER_SIZE + f.size)
                        return 0;
                r = read_frame(p, ops, &f, in->view + NATIVE_HEADER_SIZE);
                http_input_consume(in, NATIVE_HEADER_SIZE + f.size);
                if (r < 0)
                        return r;
        }
        return 0;
}
