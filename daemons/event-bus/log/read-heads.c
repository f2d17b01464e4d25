/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Heads of many topics at once: one query, and for volatile topics a command each, all at the same time
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"
#include "event-bus/log/read.h"
#include "libmam/util/buffer.h"

typedef struct HeadsCall HeadsCall;

/* One volatile topic. */
typedef struct HeadsRead {
        HeadsCall *heads;
        LogCall *call; /* owned */
        LogHead *head; /* borrowed from heads */
} HeadsRead;

struct HeadsCall {
        LogCall call;
        LogHead *heads;   /* owned */
        char **names;     /* owned; theirs */
        HeadsRead *reads; /* owned */
        size_t n, n_reads, n_open;
        LogHeadsCallback callback;
};

static const MamPgStatement read_heads = {
        "log_heads",
        "SELECT n.name, t.id, (t.kind = 'volatile')::integer, h.last, first_position(t.id)"
        " FROM unnest($1::text[]) WITH ORDINALITY n (name, ord)"
        " LEFT JOIN topics t ON t.name = n.name LEFT JOIN heads h ON h.topic = t.id ORDER BY n.ord",
        true,
};

static void heads_fail(LogCall *call, int error) {
        HeadsCall *c = (HeadsCall *) call;

        c->callback(error, NULL, 0, call->userdata);
}

static void heads_destroy(LogCall *call) {
        HeadsCall *c = (HeadsCall *) call;

        log_call_done(call);
        for (size_t i = 0; i < c->n_reads; i++)
                (void) log_call_free(c->reads[i].call);
        for (size_t i = 0; c->names && i < c->n; i++)
                free(c->names[i]);
        free(c->names);
        free(c->reads);
        free(c->heads);
        free(c);
}

static void heads_answer(HeadsCall *c) {
        bool is_loose = log_call_detach(&c->call);

        c->callback(0, c->heads, c->n, c->call.userdata);
        if (is_loose)
                log_call_destroy(&c->call);
}

static void on_read(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        HeadsRead *read = userdata;
        HeadsCall *c = read->heads;

        read->call = log_call_free(read->call);
        read->head->error = r;
        if (r >= 0) {
                read->head->first = first;
                read->head->last = last;
        }
        if (--c->n_open == 0)
                heads_answer(c);
}

static void read_begin(HeadsCall *c, LogHead *h) {
        static const LogRange newest = { .backwards = true, .limit = 1 };
        HeadsRead *read = c->reads + c->n_reads++;

        *read = (HeadsRead){ .heads = c, .head = h };
        h->error = log_read_pinned(c->call.log, &read->call, h->topic, h->id, &newest, on_read, read);
        if (h->error == 0)
                c->n_open++;
}

static int heads_store(HeadsCall *c, const MamPgResult *result) {
        size_t n = mam_pg_rows(result), n_volatile = 0;

        c->heads = calloc(n + 1, sizeof(*c->heads));
        c->names = calloc(n + 1, sizeof(*c->names));
        if (!c->heads || !c->names)
                return -ENOMEM;

        for (; c->n < n; c->n++) {
                c->names[c->n] = strdup(mam_pg_text(result, c->n, 0));
                if (!c->names[c->n])
                        return -ENOMEM;
                c->heads[c->n] = (LogHead){
                        .topic = c->names[c->n],
                        .id = mam_pg_int(result, c->n, 1),
                        .last = mam_pg_int(result, c->n, 3),
                        .first = mam_pg_int(result, c->n, 4),
                };
                n_volatile += (size_t) mam_pg_int(result, c->n, 2);
        }

        c->reads = calloc(n_volatile + 1, sizeof(*c->reads));
        return c->reads ? 0 : -ENOMEM;
}

static void on_heads(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        HeadsCall *c = userdata;
        int r = log_error(error);

        c->call.query = mam_pg_query_free(c->call.query); /* the result stays until we return */
        if (r >= 0)
                r = heads_store(c, result);
        for (size_t i = 0; r >= 0 && i < c->n; i++) {
                if (mam_pg_int(result, i, 2))
                        read_begin(c, c->heads + i);
        }

        if (r < 0)
                log_call_fail(&c->call, r);
        else if (c->n_open == 0)
                heads_answer(c);
}

/* Names of topics need no escapes. */
static int heads_ask(HeadsCall *c, const char *const *topics, size_t n) {
        _cleanup_(mam_buffer_done) MamBuffer names = MAM_BUFFER_INIT;
        const char *parameter;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (!topic_name_is_valid(topics[i]))
                        return -EINVAL;
                r = mam_buffer_appendf(&names, "%c\"%s\"", i == 0 ? '{' : ',', topics[i]);
        }
        if (r >= 0)
                r = mam_buffer_append_string(&names, n == 0 ? "{}" : "}");
        if (r < 0)
                return r;

        parameter = mam_buffer_bytes(&names);
        return mam_pg_query(c->call.log->pg, &c->call.query, &read_heads, &parameter, 1, on_heads, c);
}

int log_heads(Log *l,
              LogCall **ret,
              const char *const *topics,
              size_t n,
              LogHeadsCallback callback,
              void *userdata) {
        HeadsCall *c;
        int r;

        assert(l);
        assert(topics || n == 0);
        assert(callback);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        c->callback = callback;
        c->call.fail = heads_fail;
        c->call.destroy = heads_destroy;
        log_call_init(&c->call, l, ret, userdata);
        r = heads_ask(c, topics, n);
        if (r < 0) {
                log_call_destroy(&c->call);
                return r;
        }

        if (ret)
                *ret = &c->call;
        return 0;
}
