/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Following a topic by server-sent events: GET /v1/topics/{topic}/events with Accept: text/event-stream
 *
 * Each message has the cursor as its id, so that a browser that reconnects goes on where it was, and the
 * event as data. A reader gets as many events at once as fit STREAM_WINDOW bytes, by the size of those that
 * came last, and no more until what was written is on its way.
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api-read.h"
#include "event-bus/api-stream.h"

typedef struct Sse {
        ApiStream stream;
        ApiRequest *q; /* weak: it owns us */
        Filter *filter;
        Follower *follower;     /* owned */
        const TopicInfo *topic; /* borrowed */
        unsigned owed;          /* credit to give when the client takes more */
        bool is_waiting;        /* for it */
} Sse;

unsigned api_stream_window(size_t n, size_t bytes) {
        size_t average = n > 0 ? bytes / n + 1 : 1, window = STREAM_WINDOW / average;

        return window < 1 ? 1 : window > 500 ? 500 : (unsigned) window;
}

int api_sse_start(ApiRequest *q) {
        int r;

        r = mam_http_exchange_add_field(q->x, "Content-Type", "text/event-stream");
        if (r >= 0)
                r = mam_http_exchange_add_field(q->x, "Cache-Control", "no-store");
        if (r >= 0)
                r = mam_http_exchange_start(q->x, 200, -1);
        if (r >= 0)
                r = mam_http_exchange_write(q->x, ": here\n\n", 8); /* so that proxies pass the head on */
        return r;
}

void api_sse_ping(ApiRequest *q, bool is_waiting) {
        if (!is_waiting)
                (void) mam_http_exchange_write(q->x, ": ping\n\n", 8);
}

/* A last message that says why, then the end. */
void api_sse_fail(ApiRequest *q, const char *error, const char *detail) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        if (mam_buffer_appendf(&b, "event: %s\ndata: {\"detail\":\"%s\"}\n\n", error, detail) >= 0)
                (void) mam_http_exchange_write(q->x, mam_buffer_bytes(&b), b.size);
        (void) mam_http_exchange_end(q->x);
}

static void sse_done(void *more) {
        Sse *s = more;

        api_stream_remove(&s->stream);
        filter_free(s->filter);
        (void) follower_free(s->follower);
}

static void on_ping(ApiStream *stream) {
        Sse *s = (Sse *) stream;

        api_sse_ping(s->q, s->is_waiting);
}

static void on_drain(MamHttpExchange *x, void *userdata) {
        Sse *s = userdata;

        s->follower = follower_free(s->follower);
        (void) mam_http_exchange_end(x);
}

static void on_writable(MamHttpExchange *x, void *userdata) {
        Sse *s = userdata;
        unsigned owed = s->owed;

        s->is_waiting = false;
        s->owed = 0;
        if (s->follower && owed > 0)
                follower_want(s->follower, owed);
}

static int append_message(MamBuffer *b, int64_t topic, const LogEvent *e) {
        char line[CURSOR_SIZE + 16] = "id: ";
        size_t n = 4 + cursor_format(line + 4, topic, e->position);
        int r;

        memcpy(line + n, "\ndata: ", 7);
        r = mam_buffer_append(b, line, n + 7);
        if (r >= 0)
                r = mam_buffer_append(b, e->text, e->size);
        return r < 0 ? r : mam_buffer_append(b, "\n\n", 2);
}

static void on_events(Follower *f, int r, const LogEvent *events, size_t n, int64_t first, void *userdata) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Sse *s = userdata;
        const char *labels[] = { s->topic->name };
        size_t bytes = 0;

        if (r < 0) {
                s->follower = follower_free(s->follower);
                if (r == -ERANGE)
                        api_sse_fail(s->q, "lost", "events behind this reader are no longer kept");
                else
                        api_sse_fail(s->q, "gone", "the topic was deleted");
                return;
        }
        for (size_t i = 0; i < n && r >= 0; i++) {
                bytes += events[i].size;
                if (read_matches(s->filter, &events[i]))
                        r = append_message(&b, s->topic->id, &events[i]);
        }
        if (r >= 0 && b.size > 0) {
                mam_metric_add(mam_metric_get(s->q->app->metrics.read, labels), (double) n);
                r = mam_http_exchange_write(s->q->x, mam_buffer_bytes(&b), b.size);
        } else if (r >= 0)
                r = 1;
        if (r < 0) {
                s->follower = follower_free(s->follower);
                mam_http_exchange_abort(s->q->x);
                return;
        }
        if (r > 0) {
                follower_want(f, api_stream_window(n, bytes));
        } else {
                s->is_waiting = true;
                s->owed = api_stream_window(n, bytes);
        }
}

int read_sse(ApiRequest *q, const TopicInfo *t, int64_t first_wanted, Filter *filter) {
        Sse *s;
        void *more;
        int r;

        if (q->place.kind == PLACE_CURSOR && first_wanted > 1 && first_wanted < t->first) {
                filter_free(filter);
                return read_answer_gone(q, t->id, t->first);
        }
        free(MAM_TAKE(q->more)); /* the holder of the filter, which is empty now */
        q->more_free = NULL;
        r = api_more(q, &more, sizeof(Sse), sse_done);
        if (r < 0) {
                filter_free(filter);
                return r;
        }
        s = more;
        s->q = q;
        s->filter = filter;
        s->topic = t;
        s->stream.ping = on_ping;
        if (!api_stream_add(&s->stream, q->app))
                return api_problem_errno(q, -EAGAIN, "topic");
        if (first_wanted < t->first)
                first_wanted = t->first;
        r = tail_follow(q->app->tail, &s->follower, t->name, first_wanted - 1, on_events, s);
        if (r < 0)
                return api_problem_errno(q, r, "topic");
        mam_http_exchange_set_on_writable(q->x, on_writable, s);
        mam_http_exchange_set_on_drain(q->x, on_drain, s);
        r = api_sse_start(q);
        if (r < 0)
                return r;
        follower_want(s->follower, STREAM_FIRST);
        return 0;
}
