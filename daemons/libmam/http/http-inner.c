/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A carrier in memory
 *
 * Operations of the carrier note what is to be done and set the event source going; the source does it: runs
 * the handler, hands over the body, looks for the end.
 */

#include "libmam/http/http-inner.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-exchange.h"

struct MamHttpInner {
        HttpCarrier carrier;
        sd_event_source *source; /* owned; what is to be done, soon */
        const char *body;        /* borrowed */
        size_t body_size;
        bool handled, body_given;
        unsigned status;
        bool too_large;
        MamBuffer answer;
        void (*on_end)(MamHttpInner *i, const MamHttpInnerAnswer *a, void *userdata);
        void *userdata;
};

static MamHttpInner *inner_of(HttpCarrier *c) {
        return (MamHttpInner *) ((char *) c - offsetof(MamHttpInner, carrier));
}

static void inner_wake(MamHttpInner *i) {
        (void) sd_event_source_set_enabled(i->source, SD_EVENT_ONESHOT);
}

static int inner_start(HttpCarrier *c, const HttpAnswer *a) {
        inner_of(c)->status = a->status;
        return 0;
}

static int inner_write(HttpCarrier *c, const void *data, size_t size) {
        MamHttpInner *i = inner_of(c);
        int r;

        r = mam_buffer_append(&i->answer, data, size);
        if (r == -ENOBUFS) {
                i->too_large = true;
                inner_wake(i);
                return -EPIPE;
        }
        return r < 0 ? r : 1;
}

static int inner_end(HttpCarrier *c, const MamBuffer *trailers) {
        inner_wake(inner_of(c));
        return 0;
}

static void inner_abort(HttpCarrier *c) {
        inner_wake(inner_of(c));
}

static void inner_want_body(HttpCarrier *c) {
        inner_wake(inner_of(c));
}

static const HttpCarrierOps inner_ops = {
        .version = 11,
        .start = inner_start,
        .write = inner_write,
        .end = inner_end,
        .abort = inner_abort,
        .want_body = inner_want_body,
};

bool mam_http_exchange_is_inner(const MamHttpExchange *x) {
        assert(x);

        return x->carrier->ops == &inner_ops;
}

MamHttpExchange *mam_http_inner_exchange(const MamHttpInner *i) {
        assert(i);

        return i->carrier.exchange;
}

/* All of the body at once: it is in memory anyway. */
static void give_body(MamHttpInner *i) {
        MamHttpExchange *x = i->carrier.exchange;

        if (i->body_size > 0 && !i->body_given) {
                i->body_given = true;
                http_exchange_deliver(x, i->body, i->body_size);
        }
        if (http_exchange_wants_body(x))
                http_exchange_deliver_end(x, NULL, 0);
}

static void inner_finish(MamHttpInner *i) {
        MamHttpInnerAnswer a = { .status = i->status };

        if (i->too_large)
                a.error = -EMSGSIZE;
        else if (i->carrier.exchange->aborted)
                a.error = -EPIPE;
        a.body = mam_buffer_bytes(&i->answer);
        a.size = i->answer.size;
        http_exchange_free(i->carrier.exchange);
        i->on_end(i, &a, i->userdata);
}

static int on_source(sd_event_source *source, void *userdata) {
        MamHttpInner *i = userdata;

        if (!i->handled) {
                i->handled = true;
                http_exchange_handle(i->carrier.exchange);
        }
        if (http_exchange_wants_body(i->carrier.exchange))
                give_body(i);
        if (i->too_large || http_exchange_is_over(i->carrier.exchange))
                inner_finish(i);
        return 0;
}

static int make_head(MamBuffer *text, MamHttpExchange *outer, const MamHttpInnerRequest *q) {
        const MamHttpRange host = mam_http_exchange_head(outer)->host;
        int r;

        r = mam_buffer_appendf(text, "%s %s HTTP/1.1\r\nHost: ", q->method, q->target);
        if (r >= 0)
                r = host.size > 0 ? mam_buffer_append(text, host.data, host.size)
                                  : mam_buffer_append_string(text, "localhost");
        if (r >= 0)
                r = mam_buffer_append_string(text, "\r\n");
        if (r >= 0 && q->body)
                r = mam_buffer_appendf(text, "Content-Length: %zu\r\n", q->body_size);
        if (r >= 0 && q->fields)
                r = mam_buffer_append_string(text, q->fields);
        return r < 0 ? r : mam_buffer_append_string(text, "\r\n");
}

int mam_http_inner_new(MamHttpInner **ret, MamHttpExchange *outer, const MamHttpInnerRequest *q) {
        _cleanup_(mam_http_inner_freep) MamHttpInner *i = NULL;
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        const char *reason = NULL;
        MamHttpExchange *x = NULL;
        MamHttpHead head;
        ssize_t n;
        int r;

        assert(ret);
        assert(outer);
        assert(q);

        i = calloc(1, sizeof(*i));
        if (!i)
                return -ENOMEM;
        i->carrier.ops = &inner_ops;
        i->carrier.connection = outer->carrier->connection;
        i->body = q->body;
        i->body_size = q->body_size;
        i->answer.max = q->answer_max;

        r = make_head(&text, outer, q);
        if (r < 0)
                return r;
        n = mam_http_parse_request(&head, mam_buffer_bytes(&text), text.size, NULL, &reason);
        if (n != (ssize_t) text.size)
                return -EBADMSG;
        r = http_exchange_new(&x, &i->carrier, &head, mam_buffer_bytes(&text), text.size);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(i);
        return 0;
}

int mam_http_inner_start(
                MamHttpInner *i,
                void (*on_end)(MamHttpInner *i, const MamHttpInnerAnswer *a, void *userdata),
                void *userdata) {
        int r;

        assert(i);
        assert(!i->source);
        assert(on_end);

        i->on_end = on_end;
        i->userdata = userdata;
        r = sd_event_add_defer(http_exchange_event(i->carrier.exchange), &i->source, on_source, i);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(i->source, "http-inner");
        return 0;
}

MamHttpInner *mam_http_inner_free(MamHttpInner *i) {
        if (!i)
                return NULL;

        if (i->carrier.exchange)
                http_exchange_free(i->carrier.exchange);
        sd_event_source_disable_unref(i->source);
        mam_buffer_done(&i->answer);
        free(i);
        return NULL;
}
