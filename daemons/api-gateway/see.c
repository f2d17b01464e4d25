/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>

#include "api-gateway/fields.h"
#include "api-gateway/see.h"
#include "libmam/obs/log.h"
#include "libmam/otlp/otlp.h"
#include "libmam/util/time.h"

struct See {
        MamOtlp *otlp; /* owned */
        uint32_t sample_ppm;
};

int see_new(See **ret, sd_event *event, MamMetrics *metrics, const char *replica) {
        _cleanup_(see_freep) See *s = NULL;
        int r;

        assert(ret);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        r = mam_otlp_new(&s->otlp, event, metrics, "api-gateway", replica);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

See *see_free(See *s) {
        if (!s)
                return NULL;

        mam_otlp_free(s->otlp);
        free(s);
        return NULL;
}

int see_configure(See *s, const MamGatewayConfig *c) {
        assert(s);
        assert(c);

        s->sample_ppm = c->tracing.sample_ppm;
        return mam_otlp_configure(s->otlp, c->tracing.endpoint);
}

void see_begin(See *s, MamHttpExchange *x) {
        MamTrace parent, *t;

        if (!s || !mam_otlp_is_on(s->otlp) || s->sample_ppm == 0)
                return;
        if (mam_http_exchange_parent(x, &parent))
                return; /* the client has decided */
        t = mam_http_exchange_trace(x);
        if (mam_otlp_samples(t, s->sample_ppm))
                t->flags |= 1;
}

bool see_wants(const See *s, MamHttpExchange *x) {
        return s && mam_otlp_is_on(s->otlp) && (mam_http_exchange_trace(x)->flags & 1) != 0;
}

static const char *protocol_version(const MamHttpExchange *x) {
        switch (mam_http_exchange_version(x)) {
        case 10:
                return "1.0";
        case 20:
                return "2";
        default:
                return "1.1";
        }
}

/* "502": what went wrong in as few different words as there are. Only what is the gateway's or a replica's
 * fault is an error of a server's span. */
static const char *status_error(char ret[static 4], unsigned status) {
        if (status < 500)
                return NULL;
        (void) snprintf(ret, 4, "%u", status % 1000);
        return ret;
}

void see_request(See *s, const SeeRequest *r) {
        uint64_t end = mam_now_realtime();
        const char *address = mam_http_exchange_address(r->x);
        char name[300], error[4];
        MamTrace parent;
        bool has_parent = mam_http_exchange_parent(r->x, &parent);

        (void) snprintf(name, sizeof(name), "%s %s", r->method, r->route);
        mam_otlp_span(s->otlp,
                      &(MamSpan){
                                      .trace = mam_http_exchange_trace(r->x),
                                      .parent = has_parent ? parent.span_id : NULL,
                                      .name = name,
                                      .kind = MAM_SPAN_SERVER,
                                      .start_usec = end - r->duration_usec,
                                      .end_usec = end,
                                      .error = status_error(error, r->status),
                                      .attributes = {
                                                      { .key = "http.request.method", .text = r->method },
                                                      { .key = "http.route", .text = r->route },
                                                      { .key = "http.response.status_code", .number = r->status },
                                                      { .key = "http.response.body.size",
                                                        .number = (int64_t) mam_http_exchange_bytes_sent(r->x) },
                                                      { .key = "network.protocol.version", .text = protocol_version(r->x) },
                                                      { .key = "client.address", .text = address[0] ? address : NULL, .number = -1 },
                                                      { .key = "enduser.id", .text = r->subject, .number = -1 },
                                                      { .key = "mam.replica", .text = r->replica, .number = -1 },
                                                      { .key = "mam.retries", .number = r->retries > 0 ? (int64_t) r->retries : -1 },
                                                      { .key = "mam.request_id", .text = mam_http_exchange_request_id(r->x) },
                                      },
                                      .n_attributes = 10,
                      });
}

void see_try(See *s, const SeeTry *t) {
        uint64_t end = mam_now_realtime();

        mam_otlp_span(s->otlp,
                      &(MamSpan){
                                      .trace = t->trace,
                                      .parent = t->parent->span_id,
                                      .name = t->method,
                                      .kind = MAM_SPAN_CLIENT,
                                      .start_usec = end - t->duration_usec,
                                      .end_usec = end,
                                      .error = t->error,
                                      .attributes = {
                                                      { .key = "http.request.method", .text = t->method },
                                                      { .key = "peer.service", .text = t->service },
                                                      { .key = "mam.replica", .text = t->replica },
                                                      { .key = "http.response.status_code",
                                                        .number = t->status > 0 ? (int64_t) t->status : -1 },
                                      },
                                      .n_attributes = 4,
                      });
}
