/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Prometheus metrics
 *
 * Text exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), and
 * OpenMetrics 1.0.0. A registry owns families; a family owns its series, at most MAM_METRICS_SERIES_MAX of
 * them: beyond that updates go to one series whose label values are all "other", so that no client can grow
 * memory by inventing label values. Updating a series that was looked up before costs no allocation.
 */

#include <stddef.h>
#include <stdint.h>

#include "libmam/obs/trace.h"
#include "libmam/util/buffer.h"

typedef struct MamMetrics MamMetrics;
typedef struct MamMetricFamily MamMetricFamily;
typedef struct MamMetric MamMetric; /* one series */

#define MAM_METRICS_SERIES_MAX 1024U
#define MAM_METRICS_LABELS_MAX 6U

typedef enum MamMetricType {
        MAM_METRIC_COUNTER,
        MAM_METRIC_GAUGE,
        MAM_METRIC_HISTOGRAM,
        _MAM_METRIC_TYPE_MAX,
} MamMetricType;

int mam_metrics_new(MamMetrics **ret);
MamMetrics *mam_metrics_free(MamMetrics *m);
MAM_DEFINE_CLEANUP(MamMetrics, mam_metrics_free);

/* labels: NULL-terminated names, or NULL. Histograms are in seconds with the classic latency buckets 0.0005
 * … 10. -EINVAL: not a valid name; -EEXIST: name taken. The family belongs to the registry. */
int mam_metrics_add(
                MamMetrics *m,
                MamMetricFamily **ret,
                MamMetricType type,
                const char *name,
                const char *help,
                const char *const *labels);

/* The series with these label values (as many as names; NULL where the family has none). Borrowed; NULL only
 * on out of memory, which all functions below accept and ignore. */
MamMetric *mam_metric_get(MamMetricFamily *f, const char *const *values);
void mam_metric_remove(MamMetricFamily *f, const char *const *values);

void mam_metric_add(MamMetric *s, double value);     /* counter, gauge */
void mam_metric_set(MamMetric *s, double value);     /* gauge */
void mam_metric_observe(MamMetric *s, double value); /* histogram */
/* The same, and the trace becomes the bucket's exemplar if it is sampled. trace may be NULL. */
void mam_metric_observe_traced(MamMetric *s, double value, const MamTrace *trace);
double mam_metric_value(const MamMetric *s); /* histogram: the count */

int mam_metrics_format(MamMetrics *m, MamBuffer *ret);
/* OpenMetrics 1.0.0, with exemplars; for who accepts mam_openmetrics_type. */
int mam_metrics_format_open(MamMetrics *m, MamBuffer *ret);
extern const char mam_openmetrics_type[];

/* process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds, process_start_time_seconds,
 * mam_build_info. */
int mam_metrics_add_process(MamMetrics *m);
