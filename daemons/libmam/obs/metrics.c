/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Prometheus metrics
 *
 * A series is found by a hash over its label values; the order of output is the order of creation, so that
 * two scrapes can be compared by eye. What a client sends ends up in label values at most: those are cut,
 * and made valid UTF-8, when a series is made.
 */

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "libmam/obs/metrics-internal.h"

#include "mam-build.h"

#define LABEL_VALUE_MAX 128U

const MetricBound metric_bounds[METRIC_BUCKETS_MAX] = {
        { 0.0005, "0.0005" }, { 0.001, "0.001" }, { 0.0025, "0.0025" }, { 0.005, "0.005" }, { 0.01, "0.01" },
        { 0.025, "0.025" },   { 0.05, "0.05" },   { 0.1, "0.1" },       { 0.25, "0.25" },   { 0.5, "0.5" },
        { 1, "1" },           { 2.5, "2.5" },     { 5, "5" },           { 10, "10" },
};

static MamMetric *metric_free(MamMetric *s) {
        if (!s)
                return NULL;

        for (size_t i = 0; i < MAM_METRICS_LABELS_MAX; i++)
                free(s->values[i]);
        free(s->buckets);
        free(s->exemplars);
        free(s);
        return NULL;
}

MAM_DEFINE_CLEANUP(MamMetric, metric_free);

static MamMetricFamily *family_free(MamMetricFamily *f) {
        MamMetric *s;

        if (!f)
                return NULL;

        while ((s = TAILQ_FIRST(&f->series))) {
                TAILQ_REMOVE(&f->series, s, series);
                metric_free(s);
        }
        for (size_t i = 0; i < MAM_METRICS_LABELS_MAX; i++)
                free(f->labels[i]);
        free(f->name);
        free(f->help);
        free(f);
        return NULL;
}

MAM_DEFINE_CLEANUP(MamMetricFamily, family_free);

int mam_metrics_new(MamMetrics **ret) {
        MamMetrics *m;

        assert(ret);

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;

        TAILQ_INIT(&m->families);
        *ret = m;
        return 0;
}

MamMetrics *mam_metrics_free(MamMetrics *m) {
        MamMetricFamily *f;

        if (!m)
                return NULL;

        while ((f = TAILQ_FIRST(&m->families))) {
                TAILQ_REMOVE(&m->families, f, families);
                family_free(f);
        }
        free(m);
        return NULL;
}

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* [a-zA-Z_:][a-zA-Z0-9_:]* for metrics, without the colon for labels */
static bool name_is_valid(const char *name, bool colon) {
        if (!name || *name == '\0' || (*name >= '0' && *name <= '9'))
                return false;
        for (; *name; name++)
                if (!is_letter(*name) && !(*name >= '0' && *name <= '9') && !(colon && *name == ':'))
                        return false;
        return true;
}

static bool label_is_valid(const char *name, MamMetricType type) {
        return name_is_valid(name, false) && strncmp(name, "__", 2) != 0 &&
               !(type == MAM_METRIC_HISTOGRAM && strcmp(name, "le") == 0);
}

/* The names that a family takes: a histogram takes three more. */
static bool names_collide(const char *a, MamMetricType type_a, const char *b, MamMetricType type_b) {
        static const char *const suffixes[] = { "", "_bucket", "_sum", "_count" };
        size_t n_a = type_a == MAM_METRIC_HISTOGRAM ? MAM_ELEMENTSOF(suffixes) : 1;
        size_t n_b = type_b == MAM_METRIC_HISTOGRAM ? MAM_ELEMENTSOF(suffixes) : 1;

        for (size_t i = 0; i < n_a; i++)
                for (size_t k = 0; k < n_b; k++) {
                        size_t size_a = strlen(a), size_b = strlen(b);

                        if (size_a + strlen(suffixes[i]) != size_b + strlen(suffixes[k]))
                                continue;
                        if (size_a == size_b  ? strcmp(a, b) == 0
                            : size_a < size_b ? strncmp(a, b, size_a) == 0 &&
                                                                strcmp(b + size_a, suffixes[i]) == 0
                                              : strncmp(a, b, size_b) == 0 &&
                                                                strcmp(a + size_b, suffixes[k]) == 0)
                                return true;
                }
        return false;
}

int mam_metrics_add(
                MamMetrics *m,
                MamMetricFamily **ret,
                MamMetricType type,
                const char *name,
                const char *help,
                const char *const *labels) {
        _cleanup_(family_freep) MamMetricFamily *f = NULL;
        MamMetricFamily *other;

        assert(m);
        assert(ret);
        assert(type >= 0 && type < _MAM_METRIC_TYPE_MAX);
        assert(help);

        if (!name_is_valid(name, true))
                return -EINVAL;
        TAILQ_FOREACH(other, &m->families, families)
        if (names_collide(other->name, other->type, name, type))
                return -EEXIST;

        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        TAILQ_INIT(&f->series);
        f->type = type;
        f->name = strdup(name);
        f->help = strdup(help);
        if (!f->name || !f->help)
                return -ENOMEM;

        for (; labels && *labels; labels++) {
                if (f->n_labels >= MAM_METRICS_LABELS_MAX || !label_is_valid(*labels, type))
                        return -EINVAL;
                for (size_t i = 0; i < f->n_labels; i++)
                        if (strcmp(f->labels[i], *labels) == 0)
                                return -EINVAL;
                f->labels[f->n_labels] = strdup(*labels);
                if (!f->labels[f->n_labels])
                        return -ENOMEM;
                f->n_labels++;
        }

        TAILQ_INSERT_TAIL(&m->families, f, families);
        *ret = MAM_TAKE(f);
        return 0;
}

/* The size of the well-formed UTF-8 sequence at s (at most left bytes), or 0 (Unicode, table 3-7). */
static size_t utf8_sequence(const unsigned char *s, size_t left) {
        unsigned char low = 0x80, high = 0xbf;
        size_t n;

        if (s[0] < 0x80)
                return 1;
        if (s[0] >= 0xc2 && s[0] <= 0xdf)
                n = 2;
        else if (s[0] >= 0xe0 && s[0] <= 0xef) {
                n = 3;
                low = s[0] == 0xe0 ? 0xa0 : 0x80;
                high = s[0] == 0xed ? 0x9f : 0xbf;
        } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
                n = 4;
                low = s[0] == 0xf0 ? 0x90 : 0x80;
                high = s[0] == 0xf4 ? 0x8f : 0xbf;
        } else
                return 0;

        if (left < n || s[1] < low || s[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        return n;
}

/* Cuts to LABEL_VALUE_MAX bytes at a character's border; bytes that are not UTF-8 become '?'. */
static size_t value_clean(char ret[static LABEL_VALUE_MAX + 1], const char *value) {
        const unsigned char *s = (const unsigned char *) (value ? value : "");
        size_t left = strlen((const char *) s), size = 0;

        while (left > 0) {
                size_t n = utf8_sequence(s, left);

                if (size + (n > 0 ? n : 1) > LABEL_VALUE_MAX)
                        break;
                if (n > 0)
                        memcpy(ret + size, s, n);
                else
                        ret[size] = '?';
                n = n > 0 ? n : 1;
                size += n;
                s += n;
                left -= n;
        }
        ret[size] = '\0';
        return size;
}

typedef struct LabelValues {
        char text[MAM_METRICS_LABELS_MAX][LABEL_VALUE_MAX + 1];
        uint32_t hash;
} LabelValues;

static void values_init(LabelValues *v, const MamMetricFamily *f, const char *const *values) {
        v->hash = 2166136261U; /* FNV-1a */
        for (size_t i = 0; i < f->n_labels; i++) {
                size_t size = value_clean(v->text[i], values ? values[i] : NULL);

                for (size_t k = 0; k <= size; k++) /* with the NUL: ("a", "bc") is not ("ab", "c") */
                        v->hash = (v->hash ^ (unsigned char) v->text[i][k]) * 16777619U;
        }
}

static MamMetric **family_find(MamMetricFamily *f, const LabelValues *v) {
        MamMetric **p;

        for (p = &f->table[v->hash % METRIC_TABLE_SIZE]; *p; p = &(*p)->same_hash) {
                bool equal = (*p)->hash == v->hash;

                for (size_t i = 0; i < f->n_labels && equal; i++)
                        equal = strcmp((*p)->values[i], v->text[i]) == 0;
                if (equal)
                        return p;
        }
        return p;
}

MamMetric *mam_metric_get(MamMetricFamily *f, const char *const *values) {
        static const char *const other[] = { "other", "other", "other", "other", "other", "other" };
        _cleanup_(metric_freep) MamMetric *s = NULL;
        MamMetric **place;
        LabelValues v;
        bool overflow;

        assert(MAM_ELEMENTSOF(other) == MAM_METRICS_LABELS_MAX);

        if (!f)
                return NULL;

        values_init(&v, f, values);
        place = family_find(f, &v);
        if (*place)
                return *place;

        overflow = f->n_series >= MAM_METRICS_SERIES_MAX - 1; /* the last place is for "other" */
        if (overflow) {
                if (f->other)
                        return f->other;
                values_init(&v, f, other);
                place = family_find(f, &v);
                if (*place)
                        return f->other = *place;
        }

        s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->family = f;
        s->hash = v.hash;
        for (size_t i = 0; i < f->n_labels; i++) {
                s->values[i] = strdup(v.text[i]);
                if (!s->values[i])
                        return NULL;
        }
        if (f->type == MAM_METRIC_HISTOGRAM) {
                s->buckets = calloc(METRIC_BUCKETS_MAX, sizeof(uint64_t));
                if (!s->buckets)
                        return NULL;
        }

        *place = s;
        TAILQ_INSERT_TAIL(&f->series, s, series);
        if (overflow)
                f->other = s;
        else
                f->n_series++;
        return MAM_TAKE(s);
}

void mam_metric_remove(MamMetricFamily *f, const char *const *values) {
        MamMetric **place, *s;
        LabelValues v;

        if (!f)
                return;

        values_init(&v, f, values);
        place = family_find(f, &v);
        s = *place;
        if (!s || s == f->other)
                return;

        *place = s->same_hash;
        TAILQ_REMOVE(&f->series, s, series);
        f->n_series--;
        metric_free(s);
}

void mam_metric_add(MamMetric *s, double value) {
        if (!s)
                return;

        assert(s->family->type != MAM_METRIC_HISTOGRAM);
        assert(s->family->type != MAM_METRIC_COUNTER || value >= 0);
        s->value += value;
}

void mam_metric_set(MamMetric *s, double value) {
        if (!s)
                return;

        assert(s->family->type == MAM_METRIC_GAUGE);
        s->value = value;
}

/* The bucket that it fell into. */
static size_t observe(MamMetric *s, double value) {
        size_t i = 0;

        assert(s->family->type == MAM_METRIC_HISTOGRAM);
        while (i < METRIC_BUCKETS_MAX && value > metric_bounds[i].bound)
                i++;
        if (i < METRIC_BUCKETS_MAX)
                s->buckets[i]++;
        s->count++;
        s->value += value;
        return i;
}

void mam_metric_observe(MamMetric *s, double value) {
        if (s)
                (void) observe(s, value);
}

void mam_metric_observe_traced(MamMetric *s, double value, const MamTrace *trace) {
        struct timespec now;
        MetricExemplar *e;
        size_t i;

        if (!s)
                return;
        i = observe(s, value);
        if (!trace || (trace->flags & 1) == 0)
                return;

        if (!s->exemplars)
                s->exemplars = calloc(METRIC_BUCKETS_MAX + 1, sizeof(*s->exemplars));
        if (!s->exemplars || clock_gettime(CLOCK_REALTIME, &now) < 0)
                return; /* the observation counts all the same */
        e = &s->exemplars[i];
        memcpy(e->trace_id, trace->trace_id, sizeof(e->trace_id));
        e->value = value;
        e->time_sec = (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

double mam_metric_value(const MamMetric *s) {
        if (!s)
                return 0;
        return s->family->type == MAM_METRIC_HISTOGRAM ? (double) s->count : s->value;
}

static double count_open_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        double n = -3; /* ".", ".." and the folder itself */

        if (!d)
                return NAN;
        while (readdir(d))
                n++;
        (void) closedir(d);
        return n;
}

void metrics_update_process(MamMetrics *m) {
        unsigned long long pages_virtual, pages_resident;
        _cleanup_(mam_fclosep) FILE *f = NULL;
        struct rusage usage;

        if (!m->cpu)
                return;

        if (getrusage(RUSAGE_SELF, &usage) == 0)
                m->cpu->value = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;

        f = fopen("/proc/self/statm", "re");
        if (f && fscanf(f, "%llu %llu", &pages_virtual, &pages_resident) == 2) {
                double page = (double) sysconf(_SC_PAGESIZE);

                mam_metric_set(m->virtual, (double) pages_virtual * page);
                mam_metric_set(m->resident, (double) pages_resident * page);
        }
        mam_metric_set(m->open_fds, count_open_fds());
}

/* Realtime of the process' start, from its age: independent of /proc/stat, which ProcSubset=pid hides. */
static double process_start_time(void) {
        unsigned long long ticks = 0;
        _cleanup_(mam_fclosep) FILE *f = NULL;
        struct timespec boot, real;
        char line[1024], *p;

        f = fopen("/proc/self/stat", "re");
        if (!f || !fgets(line, sizeof(line), f))
                return NAN;
        p = strrchr(line, ')'); /* the name before it may hold anything */
        if (!p || sscanf(p + 1,
                         " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                         &ticks) != 1)
                return NAN;
        if (clock_gettime(CLOCK_BOOTTIME, &boot) < 0 || clock_gettime(CLOCK_REALTIME, &real) < 0)
                return NAN;
        return (double) real.tv_sec + (double) real.tv_nsec / 1e9 -
               ((double) boot.tv_sec + (double) boot.tv_nsec / 1e9 -
                (double) ticks / (double) sysconf(_SC_CLK_TCK));
}

int mam_metrics_add_process(MamMetrics *m) {
        static const struct {
                MamMetricType type;
                const char *name, *help;
        } table[] = {
                { MAM_METRIC_COUNTER,
                  "process_cpu_seconds_total",
                  "User and system CPU time spent in seconds." },
                { MAM_METRIC_GAUGE, "process_resident_memory_bytes", "Resident memory in bytes." },
                { MAM_METRIC_GAUGE, "process_virtual_memory_bytes", "Virtual memory in bytes." },
                { MAM_METRIC_GAUGE, "process_open_fds", "Open file descriptors." },
                { MAM_METRIC_GAUGE, "process_max_fds", "Soft limit of open file descriptors." },
                { MAM_METRIC_GAUGE,
                  "process_start_time_seconds",
                  "Start of the process since the epoch in seconds." },
        };
        static const char *const version_label[] = { "version", NULL }, *const version[] = { MAM_VERSION };
        MamMetric *series[MAM_ELEMENTSOF(table)];
        MamMetricFamily *f;
        struct rlimit limit;
        int r;

        assert(m);

        for (size_t i = 0; i < MAM_ELEMENTSOF(table); i++) {
                r = mam_metrics_add(m, &f, table[i].type, table[i].name, table[i].help, NULL);
                if (r < 0)
                        return r;
                series[i] = mam_metric_get(f, NULL);
                if (!series[i])
                        return -ENOMEM;
        }
        r =
                        mam_metrics_add(m,
                                        &f,
                                        MAM_METRIC_GAUGE,
                                        "mam_build_info",
                                        "The version of mam; the value is 1.",
                                        version_label);
        if (r < 0)
                return r;
        mam_metric_set(mam_metric_get(f, version), 1);

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                mam_metric_set(series[4],
                               limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double) limit.rlim_cur);
        mam_metric_set(series[5], process_start_time());

        m->cpu = series[0];
        m->resident = series[1];
        m->virtual = series[2];
        m->open_fds = series[3];
        return 0;
}
