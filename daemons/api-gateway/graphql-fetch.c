/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql-internal.h"
#include "api-gateway/graphql/rest.h"
#include "libmam/http/http-inner.h"

/* One request to a service. */
typedef struct Subrequest {
        GraphqlRequest *request; /* weak */
        GqlFetch *fetch;         /* borrowed from the execution */
        MamHttpInner *inner;     /* owned */
} Subrequest;

static Subrequest *subrequest_free(Subrequest *s) {
        if (!s)
                return NULL;

        mam_http_inner_free(s->inner);
        free(s);
        return NULL;
}

MAM_DEFINE_CLEANUP(Subrequest, subrequest_free);

static int copy_field(MamBuffer *to, MamHttpExchange *x, const char *name) {
        const char *value = mam_http_exchange_header(x, name);

        return value ? mam_buffer_appendf(to, "%s: %s\r\n", name, value) : 0;
}

/* What the client shows of itself goes along; nothing else of what it sent does. */
static int make_fields(MamBuffer *to, const GqlRequest *q, MamHttpExchange *x) {
        static const char *const copied[] = { "X-Request-Timeout-Ms", "Authorization",   "X-API-Key",
                                              "User-Agent",           "Accept-Language", "tracestate" };
        char traceparent[MAM_TRACEPARENT_SIZE];
        int r;

        mam_trace_format(traceparent, mam_http_exchange_trace(x));
        r = mam_buffer_appendf(
                        to,
                        "Accept: application/json\r\nX-Request-Id: %s\r\ntraceparent: %s\r\n",
                        mam_http_exchange_request_id(x),
                        traceparent);
        for (size_t i = 0; i < MAM_ELEMENTSOF(copied) && r >= 0; i++)
                r = copy_field(to, x, copied[i]);
        if (r >= 0 && q->body.size > 0)
                r = mam_buffer_append_string(to, "Content-Type: application/json\r\n");
        return r < 0 ? r : mam_buffer_append_string(to, mam_buffer_bytes(&q->fields));
}

static void on_end(MamHttpInner *i, const MamHttpInnerAnswer *a, void *userdata) {
        _cleanup_(subrequest_freep) Subrequest *s = userdata;

        if (a->error < 0)
                gql_fetch_done(s->fetch, 0, NULL, 0);
        else
                gql_fetch_done(s->fetch, a->status, a->body, a->size);
}

static bool belongs_to(const Gateway *g, const MamHttpInner *i, const char *service) {
        const Route *route;

        route = route_table_match(g->routes, mam_http_exchange_head(mam_http_inner_exchange(i)), NULL);
        return route && strcmp(route->service, service) == 0;
}

static int fetch_start(void **ret, const GqlRequest *q, GqlFetch *f, void *userdata) {
        _cleanup_(subrequest_freep) Subrequest *s = NULL;
        _cleanup_(mam_buffer_done) MamBuffer fields = MAM_BUFFER_INIT;
        GraphqlRequest *request = userdata;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->request = request;
        s->fetch = f;
        r = make_fields(&fields, q, request->x);
        if (r < 0)
                return r;
        r = mam_http_inner_new(
                        &s->inner,
                        request->x,
                        &(MamHttpInnerRequest){
                                        .method = q->rest->method,
                                        .target = mam_buffer_bytes(&q->target),
                                        .fields = mam_buffer_bytes(&fields),
                                        .body = q->body.size > 0 ? mam_buffer_bytes(&q->body) : NULL,
                                        .body_size = q->body.size,
                                        .answer_max = GQL_ANSWER_MAX,
                        });
        if (r < 0)
                return r;
        if (!belongs_to(request->graphql->gateway, s->inner, q->rest->service))
                return -ENOENT;
        r = mam_http_inner_start(s->inner, on_end, s);
        if (r < 0)
                return r;
        mam_metric_add(request->graphql->metric_requests, 1);
        *ret = MAM_TAKE(s);
        return 0;
}

static void fetch_cancel(void *handle, void *userdata) {
        subrequest_free(handle);
}

void graphql_fetcher(GqlFetcher *ret, GraphqlRequest *r) {
        *ret = (GqlFetcher){ .start = fetch_start, .cancel = fetch_cancel, .userdata = r };
}
