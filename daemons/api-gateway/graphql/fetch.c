/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The requests of an execution
 */

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql/execute-internal.h"

static size_t hash_buffer(size_t h, const MamBuffer *b) {
        const char *s = mam_buffer_bytes(b);

        for (size_t i = 0; i < b->size; i++)
                h = h * 31 + (unsigned char) s[i];
        return h;
}

static bool buffers_equal(const MamBuffer *a, const MamBuffer *b) {
        return a->size == b->size && memcmp(mam_buffer_bytes(a), mam_buffer_bytes(b), a->size) == 0;
}

static bool is_get(const GqlRequest *q) {
        return strcmp(q->rest->method, "GET") == 0;
}

/* The same GET, already asked. */
static GqlFetch *find_same(GqlExecution *x, const GqlRequest *q, size_t hash) {
        if (!is_get(q))
                return NULL;
        for (GqlFetch *f = x->fetches; f; f = f->next)
                if (f->hash == hash && is_get(&f->request) &&
                    buffers_equal(&f->request.target, &q->target) &&
                    buffers_equal(&f->request.fields, &q->fields))
                        return f;
        return NULL;
}

void gql_fetch_forget(GqlExecution *x) {
        for (GqlFetch *f = x->fetches; f; f = f->next)
                mam_buffer_reset(&f->request.target);
}

/* ---- answers ---- */

static const char *code_of(unsigned status) {
        switch (status) {
        case 400:
        case 422:
                return GQL_CODE_INPUT;
        case 401:
                return "UNAUTHENTICATED";
        case 403:
                return "FORBIDDEN";
        case 404:
        case 410:
                return "NOT_FOUND";
        case 409:
                return "CONFLICT";
        case 412:
                return "PRECONDITION_FAILED";
        case 428:
                return "PRECONDITION_REQUIRED";
        case 429:
                return "RATE_LIMITED";
        case 0:
        case 503:
                return "UNAVAILABLE";
        case 504:
                return "TIMEOUT";
        default:
                return "UPSTREAM_ERROR";
        }
}

/* The service did not do it: its problem+json says why, as a rule. */
static void fail_waiter(GqlExecution *x, const GqlWaiter *w, const GqlFetch *f) {
        json_object *detail = NULL, *problems = NULL;
        const char *text = NULL;
        GqlError *e;

        if (json_object_object_get_ex(f->json, "detail", &detail) &&
            json_object_is_type(detail, json_type_string))
                text = json_object_get_string(detail);
        if (text)
                e = gql_node_fail(x, w->node, w->group, code_of(f->status), "%s", text);
        else if (f->status == 0)
                e = gql_node_fail(x, w->node, w->group, "UNAVAILABLE", "The service did not answer");
        else
                e =
                                gql_node_fail(x,
                                              w->node,
                                              w->group,
                                              code_of(f->status),
                                              "The service answered %u",
                                              f->status);
        if (!e)
                return;
        e->status = f->status;
        if (json_object_object_get_ex(f->json, "errors", &problems) &&
            json_object_is_type(problems, json_type_array))
                e->problems = json_object_get(problems);
}

/* The value within the answer. false: the place is not there. */
static json_object *value_at(const GqlFetch *f) {
        json_object *o = f->json, *next = NULL;
        const char *at = f->request.rest->at;
        char name[256];
        size_t size;

        while (o && *at == '/') {
                size = strcspn(++at, "/");
                (void) snprintf(name, sizeof(name), "%.*s", (int) size, at);
                at += size;
                next = NULL;
                (void) json_object_object_get_ex(o, name, &next);
                o = next;
        }
        return o;
}

static void answer_waiter(GqlExecution *x, const GqlWaiter *w, const GqlFetch *f) {
        const GqlTypeRef *type = w->group->field->type;
        const GqlType *named = gql_type_ref_nullable(type)->type;

        if (gql_node_is_lost(w->node))
                return;
        if (f->status == 404 && is_get(&f->request) && type->kind != GQL_TYPE_REF_NON_NULL)
                return; /* there is none, and null says so */
        if (f->status < 200 || f->status > 299)
                fail_waiter(x, w, f);
        else if (f->is_bad)
                (void) gql_node_fail(
                                x,
                                w->node,
                                w->group,
                                "UPSTREAM_ERROR",
                                "The service's answer cannot be used");
        else if (!f->is_json && named && named->scalar == GQL_SCALAR_BOOLEAN) {
                w->node->kind = GQL_NODE_BOOLEAN; /* done, and nothing to be said */
                w->node->boolean = true;
        } else
                gql_complete(x, w->node, w->group, type, value_at(f));
}

static void answer_waiters(GqlFetch *f) {
        GqlWaiter *w = f->waiters;

        f->waiters = f->last_waiter = NULL;
        for (; w; w = w->next)
                answer_waiter(f->execution, w, f);
}

static void read_body(GqlFetch *f, const char *body, size_t size) {
        GqlExecution *x = f->execution;

        if (size == 0)
                return;
        if (size > GQL_ANSWER_MAX || size > x->bytes_left)
                f->is_bad = true;
        else {
                x->bytes_left -= size;
                f->is_bad = mam_json_parse(&f->json, body, size, NULL) < 0;
                f->is_json = !f->is_bad;
        }
}

void gql_fetch_done(GqlFetch *f, unsigned status, const char *body, size_t size) {
        GqlExecution *x = f->execution;

        assert(!f->done);
        assert(x->n_running > 0);

        f->done = true;
        f->handle = NULL;
        f->status = status;
        x->n_running--;
        read_body(f, body, size);
        mam_buffer_reset(&f->request.body);
        answer_waiters(f);
        if (gql_execution_continue(x) > 0)
                x->on_done(x, x->userdata);
}

/* ---- requests ---- */

static int add_waiter(GqlExecution *x, GqlFetch *f, GqlNode *n, GqlGroup *g) {
        GqlWaiter *w = GQL_NEW(x->arena, GqlWaiter);

        if (!w)
                return -ENOMEM;
        w->node = n;
        w->group = g;
        if (f->last_waiter)
                f->last_waiter->next = w;
        else
                f->waiters = w;
        f->last_waiter = w;
        return 0;
}

static int queue(GqlExecution *x, GqlRequest *q, size_t hash, GqlNode *n, GqlGroup *g) {
        GqlFetch *f = GQL_NEW(x->arena, GqlFetch);

        if (!f || add_waiter(x, f, n, g) < 0)
                return -ENOMEM;
        f->execution = x;
        f->request = *q;
        f->hash = hash;
        f->next = x->fetches;
        x->fetches = f;
        if (x->last_ready)
                x->last_ready->next_ready = f;
        else
                x->ready = f;
        x->last_ready = f;
        x->requests_left--;
        return 0;
}

static int ask(GqlExecution *x, GqlNode *n, GqlGroup *g, GqlRequest *q) {
        size_t hash = hash_buffer(hash_buffer(5381, &q->target), &q->fields);
        GqlFetch *f = find_same(x, q, hash);
        int r;

        if (!f && x->requests_left == 0)
                return -ENOBUFS;
        if (!f)
                return queue(x, q, hash, n, g);
        gql_request_done(q);
        r = add_waiter(x, f, n, g);
        if (r >= 0 && f->done)
                answer_waiters(f);
        return r;
}

void gql_fetch_for(GqlExecution *x, GqlNode *n, GqlGroup *g, json_object *parent) {
        const char *argument = NULL;
        GqlRequest q = { 0 };
        int r;

        r = gql_request_make(&q, g->field->rest, g->arguments, parent, &argument);
        if (r == -ENODATA) {
                gql_complete(x, n, g, g->field->type, NULL);
                return;
        }
        if (r >= 0) {
                r = ask(x, n, g, &q);
                if (r < 0)
                        gql_request_done(&q);
        }
        if (r == -EINVAL)
                (void) gql_node_fail(
                                x,
                                n,
                                g,
                                GQL_CODE_INPUT,
                                "The value of \"%s\" cannot be used in a request",
                                argument ?: "an argument");
        else if (r == -ENOBUFS)
                (void) gql_node_fail(
                                x,
                                n,
                                g,
                                GQL_CODE_LIMIT,
                                "The operation needs too many, or too large, requests");
        else if (r < 0)
                (void) gql_node_fail(x, n, g, "UNAVAILABLE", "The gateway is out of memory");
}

static bool is_wanted(const GqlFetch *f) {
        for (const GqlWaiter *w = f->waiters; w; w = w->next)
                if (!gql_node_is_lost(w->node))
                        return true;
        return false;
}

static void start(GqlFetch *f) {
        GqlExecution *x = f->execution;
        int r;

        x->n_requests++;
        r = x->fetcher.start(&f->handle, &f->request, f, x->fetcher.userdata);
        if (r >= 0) {
                x->n_running++;
                return;
        }
        f->done = true;
        for (GqlWaiter *w = f->waiters; w; w = w->next)
                (void) gql_node_fail(
                                x,
                                w->node,
                                w->group,
                                "UNAVAILABLE",
                                r == -ENOENT ? "Service \"%s\" has no such resource behind this gateway"
                                             : "The request to service \"%s\" could not be made",
                                f->request.rest->service);
        f->waiters = NULL;
}

void gql_fetch_start_ready(GqlExecution *x) {
        while (x->ready && x->n_running < GQL_RUNNING_MAX) {
                GqlFetch *f = x->ready;

                x->ready = f->next_ready;
                if (!x->ready)
                        x->last_ready = NULL;
                if (is_wanted(f))
                        start(f);
                else {
                        f->done = true;
                        f->waiters = NULL;
                }
        }
}

void gql_fetches_free(GqlExecution *x) {
        for (GqlFetch *f = x->fetches; f; f = f->next) {
                if (f->handle)
                        x->fetcher.cancel(f->handle, x->fetcher.userdata);
                gql_request_done(&f->request);
                json_object_put(f->json);
        }
        x->fetches = NULL;
}
