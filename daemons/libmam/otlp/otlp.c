/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/otlp/otlp.h"

#include <assert.h>
#include <string.h>

#include "libmam/fetch/fetch.h"
#include "libmam/obs/log.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#include "mam-build.h"

#define RETRY_FIRST_USEC (1 * MAM_USEC_PER_SEC)
#define RETRY_MAX_USEC   (30 * MAM_USEC_PER_SEC)

struct MamOtlp {
        sd_event *event;        /* owned reference */
        MamFetcher *fetcher;    /* owned; NULL until there is an endpoint */
        MamFetch *fetch;        /* owned; under way */
        sd_event_source *timer; /* owned; to send, or to try again */
        char *endpoint;         /* owned; NULL: none */
        char *origin;           /* owned; what is logged of it */
        char service[64], replica[64];

        MamBuffer pending; /* spans by comma */
        size_t n_pending;
        bool armed; /* the timer will send them */

        MamBuffer batch; /* the document under way, or waiting for another try */
        size_t n_batch;  /* 0: none */
        unsigned n_tries;
        bool failing; /* said so already */

        MamMetric *exported;
        MamMetricFamily *dropped; /* reason */
};

static void drop(MamOtlp *o, size_t n, const char *reason) {
        if (o->dropped && n > 0)
                mam_metric_add(mam_metric_get(o->dropped, (const char *[]){ reason }), (double) n);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int add_metrics(MamOtlp *o, MamMetrics *metrics) {
        MamMetricFamily *exported;
        int r;

        if (!metrics)
                return 0;
        r =
                        mam_metrics_add(metrics,
                                        &exported,
                                        MAM_METRIC_COUNTER,
                                        "mam_spans_exported_total",
                                        "Spans that the collector has taken.",
                                        NULL);
        if (r < 0)
                return r;
        o->exported = mam_metric_get(exported, NULL);
        return mam_metrics_add(
                        metrics,
                        &o->dropped,
                        MAM_METRIC_COUNTER,
                        "mam_spans_dropped_total",
                        "Spans that were lost: the buffer was full, or the collector refused or was away.",
                        (const char *[]){ "reason", NULL });
}

int mam_otlp_new(
                MamOtlp **ret,
                sd_event *event,
                MamMetrics *metrics,
                const char *service,
                const char *replica) {
        _cleanup_(mam_otlp_freep) MamOtlp *o = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(service);

        o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;
        o->event = sd_event_ref(event);
        o->pending.max = OTLP_PENDING_MAX;
        (void) snprintf(o->service, sizeof(o->service), "%s", service);
        (void) snprintf(o->replica, sizeof(o->replica), "%s", replica ? replica : "");
        r = add_metrics(o, metrics);
        if (r < 0)
                return r;
        r = sd_event_add_time(
                        event,
                        &o->timer,
                        CLOCK_MONOTONIC,
                        UINT64_MAX,
                        10 * MAM_USEC_PER_MSEC,
                        on_timer,
                        o);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(o->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(o);
        return 0;
}

MamOtlp *mam_otlp_free(MamOtlp *o) {
        if (!o)
                return NULL;

        mam_fetch_free(o->fetch);
        mam_fetcher_free(o->fetcher);
        sd_event_source_disable_unref(o->timer);
        mam_buffer_done(&o->pending);
        mam_buffer_done(&o->batch);
        free(o->endpoint);
        free(o->origin);
        sd_event_unref(o->event);
        free(o);
        return NULL;
}

static void end_batch(MamOtlp *o) {
        mam_buffer_reset(&o->batch);
        o->n_batch = 0;
        o->n_tries = 0;
}

bool mam_otlp_is_on(const MamOtlp *o) {
        return o && o->endpoint;
}

int mam_otlp_configure(MamOtlp *o, const char *endpoint) {
        char *copy = NULL, *origin = NULL;
        int r;

        assert(o);

        if (endpoint && o->endpoint && strcmp(endpoint, o->endpoint) == 0)
                return 0;
        if (endpoint) {
                r = mam_fetch_origin(&origin, endpoint);
                if (r < 0)
                        return r;
                copy = strdup(endpoint);
                r = copy ? 0 : -ENOMEM;
                if (r >= 0 && !o->fetcher)
                        r = mam_fetcher_new(&o->fetcher, o->event, "mam-otlp");
                if (r < 0) {
                        free(copy);
                        free(origin);
                        return r;
                }
        }
        free(o->endpoint);
        free(o->origin);
        o->endpoint = copy;
        o->origin = origin;
        o->failing = false;
        if (!endpoint) {
                drop(o, o->n_pending + o->n_batch, "switched off");
                mam_buffer_reset(&o->pending);
                o->n_pending = 0;
                o->fetch = mam_fetch_free(o->fetch);
                end_batch(o);
        }
        return 0;
}

static void arm(MamOtlp *o, uint64_t usec) {
        if (sd_event_source_set_time_relative(o->timer, usec) >= 0 &&
            sd_event_source_set_enabled(o->timer, SD_EVENT_ONESHOT) >= 0)
                o->armed = true;
}

static void say_failing(MamOtlp *o, const MamFetchResult *result) {
        if (o->failing)
                return;
        o->failing = true;
        if (result->status > 0)
                mam_warning("The collector at %s does not take spans: HTTP status %ld",
                            o->origin,
                            result->status);
        else
                mam_warning("The collector at %s cannot be reached, spans are lost meanwhile: %s",
                            o->origin,
                            result->problem);
}

static bool is_worth_another_try(const MamFetchResult *result) {
        return (result->status == 0 && !result->is_url_bad) || result->status == 429 ||
               (result->status >= 502 && result->status <= 504);
}

static void on_posted(const MamFetchResult *result, void *userdata) {
        MamOtlp *o = userdata;
        uint64_t wait;

        o->fetch = NULL; /* freed by whom we return to */
        if (result->status >= 200 && result->status <= 299) {
                if (o->failing && o->origin)
                        mam_info("The collector at %s takes spans again", o->origin);
                o->failing = false;
                mam_metric_add(o->exported, (double) o->n_batch);
                end_batch(o);
        } else if (!o->endpoint || !is_worth_another_try(result) || ++o->n_tries >= OTLP_TRIES) {
                if (o->endpoint)
                        say_failing(o, result);
                drop(o, o->n_batch, result->status > 0 ? "refused" : "unreachable");
                end_batch(o);
        } else {
                say_failing(o, result);
                wait = mam_backoff_usec(o->n_tries - 1, RETRY_FIRST_USEC, RETRY_MAX_USEC);
                arm(o, result->retry_after_usec > wait ? result->retry_after_usec : wait);
                return;
        }
        if (o->n_pending > 0)
                arm(o, o->n_pending >= OTLP_BATCH_SPANS ? 0 : OTLP_DELAY_USEC);
}

/* Pending spans become a document. */
static int make_batch(MamOtlp *o) {
        int r;

        r = mam_buffer_appendf(
                        &o->batch,
                        "{\"resourceSpans\":[{\"resource\":{\"attributes\":["
                        "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"%s\"}},"
                        "{\"key\":\"service.namespace\",\"value\":{\"stringValue\":\"mam\"}},"
                        "{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"%s\"}},"
                        "{\"key\":\"service.version\",\"value\":{\"stringValue\":\"" MAM_VERSION "\"}}]},"
                        "\"scopeSpans\":[{\"scope\":{\"name\":\"mam\"},\"spans\":[",
                        o->service,
                        o->replica);
        if (r >= 0)
                r = mam_buffer_append(&o->batch, mam_buffer_bytes(&o->pending), o->pending.size);
        if (r >= 0)
                r = mam_buffer_append_string(&o->batch, "]}]}]}");
        o->n_batch = o->n_pending;
        mam_buffer_reset(&o->pending);
        o->n_pending = 0;
        return r;
}

static void post(MamOtlp *o) {
        int r = 0;

        if (o->fetch || !o->endpoint)
                return;
        if (o->n_batch == 0) {
                if (o->n_pending == 0)
                        return;
                r = make_batch(o);
        }
        if (r >= 0)
                r =
                                mam_fetch_new(&o->fetch,
                                              o->fetcher,
                                              &(MamFetchRequest){ .url = o->endpoint,
                                                                  .body = mam_buffer_bytes(&o->batch),
                                                                  .body_size = o->batch.size,
                                                                  .content_type = "application/json" },
                                              on_posted,
                                              o);
        if (r < 0) {
                drop(o, o->n_batch, "unreachable");
                end_batch(o);
        }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        MamOtlp *o = userdata;

        o->armed = false;
        post(o);
        return 0;
}

void mam_otlp_span(MamOtlp *o, const MamSpan *span) {
        size_t before;
        int r = 0;

        if (!mam_otlp_is_on(o))
                return;

        before = o->pending.size;
        if (before > 0)
                r = mam_buffer_append(&o->pending, ",", 1);
        if (r >= 0)
                r = mam_otlp_format_span(&o->pending, span);
        if (r < 0) { /* half a span must not stay */
                o->pending.size = before;
                drop(o, 1, "buffer full");
                return;
        }
        o->n_pending++;
        if (o->fetch || o->n_batch > 0)
                return; /* whoever ends that goes on */
        if (!o->armed || o->n_pending == OTLP_BATCH_SPANS)
                arm(o, o->n_pending >= OTLP_BATCH_SPANS ? 0 : OTLP_DELAY_USEC);
}

void mam_otlp_flush(MamOtlp *o) {
        if (o)
                post(o);
}
