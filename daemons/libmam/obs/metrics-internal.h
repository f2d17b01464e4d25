/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of the metrics (internal to libmam/obs): metrics.c keeps them, metrics-format.c writes them
 */

#include <stdint.h>
#include <sys/queue.h>

#include "libmam/obs/metrics.h"
#include "libmam/obs/trace.h"

#define METRIC_BUCKETS_MAX 14U

#define METRIC_TABLE_SIZE 256U

typedef struct MetricBound {
        double bound;
        const char *text;
} MetricBound;

extern const MetricBound metric_bounds[METRIC_BUCKETS_MAX];

/* The latest traced observation of a bucket. */
typedef struct MetricExemplar {
        uint8_t trace_id[16]; /* all zero: none */
        double value;
        double time_sec; /* realtime */
} MetricExemplar;

struct MamMetric {
        MamMetricFamily *family;   /* weak: the family owns us */
        double value;              /* histogram: the sum */
        uint64_t count;            /* histogram */
        uint64_t *buckets;         /* owned; histogram: not cumulative, METRIC_BUCKETS_MAX of them */
        MetricExemplar *exemplars; /* owned; one more than buckets; NULL until one is seen */
        uint32_t hash;
        MamMetric *same_hash;                 /* weak; next in the hash chain */
        TAILQ_ENTRY(MamMetric) series;        /* in order of creation */
        char *values[MAM_METRICS_LABELS_MAX]; /* owned */
};

struct MamMetricFamily {
        MamMetricType type;
        char *name;
        char *help;
        char *labels[MAM_METRICS_LABELS_MAX]; /* owned */
        size_t n_labels;
        size_t n_series;  /* without the one below */
        MamMetric *other; /* weak; where updates go once there are too many series, or NULL */
        MamMetric *table[METRIC_TABLE_SIZE];
        TAILQ_HEAD(, MamMetric) series; /* owned */
        TAILQ_ENTRY(MamMetricFamily) families;
};

struct MamMetrics {
        TAILQ_HEAD(, MamMetricFamily) families; /* owned */
        /* What mam_metrics_add_process() added, or NULL; filled in when formatting. */
        MamMetric *cpu;
        MamMetric *resident;
        MamMetric *virtual;
        MamMetric *open_fds;
};

/* Brings the process' own figures up to date. */
void metrics_update_process(MamMetrics *m);
