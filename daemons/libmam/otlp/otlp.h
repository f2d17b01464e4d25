/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Spans to an OpenTelemetry collector: OTLP/HTTP with JSON (OTLP 1.x, "Binary or JSON Protobuf Encoding")
 *
 * A span is written down as text when it ends, and posted with others: when there are OTLP_BATCH_SPANS, or
 * OTLP_DELAY_USEC after the first. One post is under way at a time; meanwhile at most OTLP_PENDING_MAX bytes
 * gather, beyond that spans are dropped and counted. Nothing here ever waits, and a collector that is away
 * costs spans, never requests: a batch is tried again with back-off, as OTLP asks for (429, 502, 503, 504,
 * no answer), at most OTLP_TRIES times.
 */

#include <systemd/sd-event.h>

#include "libmam/obs/metrics.h"
#include "libmam/obs/trace.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"

typedef struct MamOtlp MamOtlp;

#define OTLP_BATCH_SPANS    512U
#define OTLP_DELAY_USEC     (1 * MAM_USEC_PER_SEC)
#define OTLP_PENDING_MAX    (1024U * 1024U)
#define OTLP_TRIES          5U
#define OTLP_ATTRIBUTES_MAX 16U
#define OTLP_VALUE_SIZE_MAX 256U /* of a text; longer ones are cut */

typedef enum MamSpanKind { /* the protocol's numbers */
        MAM_SPAN_INTERNAL = 1,
        MAM_SPAN_SERVER = 2,
        MAM_SPAN_CLIENT = 3,
} MamSpanKind;

typedef struct MamSpanAttribute {
        const char *key;  /* borrowed; plain ASCII */
        const char *text; /* borrowed; NULL: number counts, and is left out as an attribute if <0 */
        int64_t number;
} MamSpanAttribute;

typedef struct MamSpan {
        const MamTrace *trace; /* borrowed; trace id and the span's own id */
        const uint8_t *parent; /* borrowed; 8 bytes; NULL: a root */
        const char *name;      /* borrowed; "GET /api/v1/projects": few different ones */
        MamSpanKind kind;
        uint64_t start_usec, end_usec; /* realtime */
        const char *error;             /* borrowed; NULL: not an error. A few words: "502" */
        MamSpanAttribute attributes[OTLP_ATTRIBUTES_MAX];
        size_t n_attributes;
} MamSpan;

/* service, replica: the resource ("service.name", "service.instance.id"). Until it is configured with an
 * endpoint all spans are ignored. metrics may be NULL; else mam_spans_exported_total and
 * mam_spans_dropped_total{reason} are kept. */
int mam_otlp_new(
                MamOtlp **ret,
                sd_event *event,
                MamMetrics *metrics,
                const char *service,
                const char *replica);
/* What has not been sent is lost: flush before, and let the loop run. */
MamOtlp *mam_otlp_free(MamOtlp *o);
MAM_DEFINE_CLEANUP(MamOtlp, mam_otlp_free);

/* endpoint: "http://127.0.0.1:4318/v1/traces"; NULL: none. Copied. -EINVAL: not an http or https URL; then
 * the one before stays. */
int mam_otlp_configure(MamOtlp *o, const char *endpoint);
bool mam_otlp_is_on(const MamOtlp *o);
/* Writes it down. */
void mam_otlp_span(MamOtlp *o, const MamSpan *span);
/* Sends what there is without waiting for more: at the end of a program. */
void mam_otlp_flush(MamOtlp *o);

/* Whether a trace that begins here is recorded: the same answer for the same trace id in every program
 * (OpenTelemetry's TraceIdRatioBased). Pure. ppm: millionths. */
bool mam_otlp_samples(const MamTrace *t, uint32_t ppm);
/* Appends the span as a JSON object of OTLP. Pure. -ENOMEM, -ENOBUFS. */
int mam_otlp_format_span(MamBuffer *b, const MamSpan *span);
