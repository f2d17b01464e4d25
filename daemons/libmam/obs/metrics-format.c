/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Metrics as text: Prometheus 0.0.4 and OpenMetrics 1.0.0, which has exemplars
 */

#include <assert.h>
#include <math.h>
#include <string.h>

#include "libmam/obs/metrics-internal.h"

const char mam_openmetrics_type[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static int append_escaped(MamBuffer *b, const char *text, bool quote) {
        int r;

        while (*text) {
                size_t plain = strcspn(text, quote ? "\\\n\"" : "\\\n");

                r = mam_buffer_append(b, text, plain);
                if (r < 0)
                        return r;
                text += plain;
                if (*text == '\0')
                        break;

                r = mam_buffer_append_string(b, *text == '\n' ? "\\n" : *text == '"' ? "\\\"" : "\\\\");
                if (r < 0)
                        return r;
                text++;
        }
        return 0;
}

static int append_value(MamBuffer *b, double value) {
        if (isnan(value))
                return mam_buffer_append_string(b, " NaN");
        if (isinf(value))
                return mam_buffer_append_string(b, value > 0 ? " +Inf" : " -Inf");
        if (fabs(value) < 9007199254740992.0 && value == trunc(value))
                return mam_buffer_appendf(b, " %.0f", value);
        return mam_buffer_appendf(b, " %.17g", value);
}

static int append_exemplar(MamBuffer *b, const MetricExemplar *e) {
        static const uint8_t none[sizeof(e->trace_id)];
        int r;

        if (memcmp(e->trace_id, none, sizeof(none)) == 0)
                return 0;
        r = mam_buffer_append_string(b, " # {trace_id=\"");
        for (size_t i = 0; r >= 0 && i < sizeof(e->trace_id); i++)
                r = mam_buffer_appendf(b, "%02x", e->trace_id[i]);
        if (r >= 0)
                r = mam_buffer_append_string(b, "\"}");
        if (r >= 0)
                r = append_value(b, e->value);
        return r < 0 ? r : mam_buffer_appendf(b, " %.3f", e->time_sec);
}

/* One line: name, suffix, labels (le may be NULL), value, exemplar (may be NULL). */
static int append_sample(
                MamBuffer *b,
                const MamMetric *s,
                const char *suffix,
                const char *le,
                double value,
                const MetricExemplar *exemplar) {
        const MamMetricFamily *f = s->family;
        const char *separator = "{";
        int r;

        r = mam_buffer_appendf(b, "%s%s", f->name, suffix);
        for (size_t i = 0; i < f->n_labels && r >= 0; i++) {
                r = mam_buffer_appendf(b, "%s%s=\"", separator, f->labels[i]);
                if (r >= 0)
                        r = append_escaped(b, s->values[i], true);
                if (r >= 0)
                        r = mam_buffer_append_string(b, "\"");
                separator = ",";
        }
        if (r >= 0 && le)
                r = mam_buffer_appendf(b, "%sle=\"%s\"", separator, le);
        if (r >= 0 && (f->n_labels > 0 || le))
                r = mam_buffer_append_string(b, "}");
        if (r >= 0)
                r = append_value(b, value);
        if (r >= 0 && exemplar)
                r = append_exemplar(b, exemplar);
        return r < 0 ? r : mam_buffer_append(b, "\n", 1);
}

static int append_series(MamBuffer *b, const MamMetric *s, bool exemplars) {
        const MetricExemplar *e = exemplars ? s->exemplars : NULL;
        uint64_t cumulative = 0;
        int r;

        if (s->family->type != MAM_METRIC_HISTOGRAM)
                return append_sample(b, s, "", NULL, s->value, NULL);

        for (size_t i = 0; i < METRIC_BUCKETS_MAX; i++) {
                cumulative += s->buckets[i];
                r =
                                append_sample(b,
                                              s,
                                              "_bucket",
                                              metric_bounds[i].text,
                                              (double) cumulative,
                                              e ? &e[i] : NULL);
                if (r < 0)
                        return r;
        }
        r = append_sample(b, s, "_bucket", "+Inf", (double) s->count, e ? &e[METRIC_BUCKETS_MAX] : NULL);
        if (r >= 0)
                r = append_sample(b, s, "_sum", NULL, s->value, NULL);
        if (r >= 0)
                r = append_sample(b, s, "_count", NULL, (double) s->count, NULL);
        return r;
}

/* Name and type, as OpenMetrics wants them: a counter's family has no "_total", and what has none is of
 * unknown type there. */
static int append_family(MamBuffer *b, const MamMetricFamily *f, bool open) {
        static const char *const types[] = { "counter", "gauge", "histogram" };
        size_t size = strlen(f->name);
        const char *type = types[f->type];
        int r;

        assert(MAM_ELEMENTSOF(types) == _MAM_METRIC_TYPE_MAX);

        if (open && f->type == MAM_METRIC_COUNTER) {
                if (size > 6 && strcmp(f->name + size - 6, "_total") == 0)
                        size -= 6;
                else
                        type = "unknown";
        }
        r = mam_buffer_appendf(b, "# HELP %.*s ", (int) size, f->name);
        if (r >= 0)
                r = append_escaped(b, f->help, open);
        return r < 0 ? r : mam_buffer_appendf(b, "\n# TYPE %.*s %s\n", (int) size, f->name, type);
}

static int format(MamMetrics *m, MamBuffer *b, bool open) {
        MamMetricFamily *f;
        MamMetric *s;
        int r;

        assert(m);
        assert(b);

        metrics_update_process(m);
        TAILQ_FOREACH(f, &m->families, families) {
                r = append_family(b, f, open);
                if (r < 0)
                        return r;
                TAILQ_FOREACH(s, &f->series, series) {
                        r = append_series(b, s, open);
                        if (r < 0)
                                return r;
                }
        }
        return open ? mam_buffer_append_string(b, "# EOF\n") : 0;
}

int mam_metrics_format(MamMetrics *m, MamBuffer *ret) {
        return format(m, ret, false);
}

int mam_metrics_format_open(MamMetrics *m, MamBuffer *ret) {
        return format(m, ret, true);
}
