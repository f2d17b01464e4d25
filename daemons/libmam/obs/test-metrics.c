/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <math.h>
#include <sys/wait.h>
#include <time.h>

#include "libmam/obs/metrics.h"
#include "libmam/util/test.h"

#define VALUES(...) ((const char *const[]){ __VA_ARGS__ })

static char *format(MamMetrics *m) {
        MamBuffer b = MAM_BUFFER_INIT;
        char *text;

        ASSERT_OK(mam_metrics_format(m, &b));
        text = mam_buffer_steal(&b, NULL);
        ASSERT_TRUE(text);
        return text;
}

static void assert_contains(const char *text, const char *line) {
        if (!strstr(text, line))
                mam_test_fail_string(__FILE__, __LINE__, line, text);
}

/* Runs the strict parser over the text; its list of samples, or NULL if it is not installed. Caller frees.
 */
static char *strict_samples(const char *text) {
        char path[] = "/tmp/test-metrics-XXXXXX", command[4096];
        const char *root = getenv("MAM_SOURCE_ROOT");
        MamBuffer out = MAM_BUFFER_INIT;
        char piece[4096];
        size_t n;
        int fd, status;
        FILE *f;

        fd = mkstemp(path);
        ASSERT_OK(fd);
        ASSERT_EQ(write(fd, text, strlen(text)), strlen(text));
        close(fd);

        snprintf(command,
                 sizeof(command),
                 "/usr/bin/python3 '%s/daemons/libmam/obs/check-metrics.py' %s 2>&1",
                 root ? root : ".",
                 path);
        f = popen(command, "re");
        ASSERT_TRUE(f);
        while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
                ASSERT_OK(mam_buffer_append(&out, piece, n));
        status = pclose(f);
        unlink(path);

        if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)) {
                mam_buffer_done(&out);
                return NULL;
        }
        if (status != 0)
                mam_test_fail_string(
                                __FILE__,
                                __LINE__,
                                "the strict parser accepts the text",
                                mam_buffer_bytes(&out));
        return mam_buffer_steal(&out, NULL);
}

TEST(counter_and_gauge_without_labels) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        MamMetricFamily *f;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_COUNTER, "jobs_total", "Jobs.", NULL));
        mam_metric_add(mam_metric_get(f, NULL), 1);
        mam_metric_add(mam_metric_get(f, NULL), 2);
        ASSERT_TRUE(mam_metric_value(mam_metric_get(f, NULL)) == 3);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "load", "Load.", NULL));
        mam_metric_set(mam_metric_get(f, NULL), 0.1);
        mam_metric_add(mam_metric_get(f, NULL), -0.05);

        text = format(m);
        ASSERT_STREQ(text,
                     "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total 3\n"
                     "# HELP load Load.\n# TYPE load gauge\nload 0.050000000000000003\n");
}

TEST(histogram_buckets_are_cumulative_and_inclusive) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        MamMetricFamily *f;
        MamMetric *s;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_HISTOGRAM, "t_seconds", "T.", VALUES("route", NULL)));
        s = mam_metric_get(f, VALUES("/x"));
        mam_metric_observe(s, 0.0005); /* le is "less or equal" */
        mam_metric_observe(s, 0.3);
        mam_metric_observe(s, 11);
        ASSERT_TRUE(mam_metric_value(s) == 3);

        text = format(m);
        assert_contains(text, "t_seconds_bucket{route=\"/x\",le=\"0.0005\"} 1\n");
        assert_contains(text, "t_seconds_bucket{route=\"/x\",le=\"0.25\"} 1\n");
        assert_contains(text, "t_seconds_bucket{route=\"/x\",le=\"0.5\"} 2\n");
        assert_contains(text, "t_seconds_bucket{route=\"/x\",le=\"10\"} 2\n");
        assert_contains(text, "t_seconds_bucket{route=\"/x\",le=\"+Inf\"} 3\n");
        assert_contains(text, "t_seconds_count{route=\"/x\"} 3\n");
        assert_contains(text, "t_seconds_sum{route=\"/x\"} 11.3005\n");
}

TEST(names_are_checked) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        MamMetricFamily *f;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "", "x", NULL), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "1a", "x", NULL), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "a-b", "x", NULL), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "a", "x", VALUES("a:b", NULL)), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "a", "x", VALUES("__name__", NULL)), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "a", "x", VALUES("b", "b", NULL)), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_HISTOGRAM, "a", "x", VALUES("le", NULL)), -EINVAL);
        ASSERT_EQ(mam_metrics_add(m,
                                  &f,
                                  MAM_METRIC_GAUGE,
                                  "a",
                                  "x",
                                  VALUES("a", "b", "c", "d", "e", "f", "g", NULL)),
                  -EINVAL);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_HISTOGRAM, "a", "x", NULL));
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "a", "x", NULL), -EEXIST);
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "a_count", "x", NULL), -EEXIST);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "b_sum", "x", NULL));
        ASSERT_EQ(mam_metrics_add(m, &f, MAM_METRIC_HISTOGRAM, "b", "x", NULL), -EEXIST);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "b", "x", NULL));
}

TEST(label_values_from_clients_are_bounded_in_number) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        MamMetricFamily *f;
        size_t lines = 0;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_COUNTER, "x_total", "X.", VALUES("a", "b", NULL)));
        for (unsigned i = 0; i < 3 * MAM_METRICS_SERIES_MAX; i++) {
                char value[32];

                snprintf(value, sizeof(value), "v%u", i);
                mam_metric_add(mam_metric_get(f, VALUES(value, "fix")), 1);
        }
        text = format(m);
        for (const char *p = text; (p = strchr(p, '\n')); p++)
                lines++;
        ASSERT_EQ(lines, MAM_METRICS_SERIES_MAX + 2);
        assert_contains(text, "x_total{a=\"other\",b=\"other\"} 2049\n");

        /* A place that was given up is used again. */
        mam_metric_remove(f, VALUES("v5", "fix"));
        mam_metric_remove(f, VALUES("not there", "fix"));
        mam_metric_add(mam_metric_get(f, VALUES("new", "fix")), 7);
        free(text);
        text = format(m);
        assert_contains(text, "x_total{a=\"new\",b=\"fix\"} 7\n");
        ASSERT_TRUE(!strstr(text, "\"v5\""));
}

TEST(series_do_not_mix_adjacent_values) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        MamMetricFamily *f;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "x", "X.", VALUES("a", "b", NULL)));
        ASSERT_TRUE(mam_metric_get(f, VALUES("ab", "c")) != mam_metric_get(f, VALUES("a", "bc")));
        ASSERT_TRUE(mam_metric_get(f, VALUES("ab", "c")) == mam_metric_get(f, VALUES("ab", "c")));
}

TEST(hostile_label_values_stay_one_line_of_utf8) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_freep) char *text = NULL, *samples = NULL;
        char longer[400];
        MamMetricFamily *f;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(
                        mam_metrics_add(m,
                                        &f,
                                        MAM_METRIC_COUNTER,
                                        "x_total",
                                        "Back\\slash\nnewline \"quote\".",
                                        VALUES("v", NULL)));
        mam_metric_add(mam_metric_get(f, VALUES("a\"} 5\nforged{v=\"")), 1);
        mam_metric_add(mam_metric_get(f, VALUES("back\\slash")), 1);
        mam_metric_add(mam_metric_get(f, VALUES("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80")), 1);
        mam_metric_add(mam_metric_get(f, VALUES("\xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82")), 1);
        mam_metric_add(mam_metric_get(f, VALUES("")), 1);
        memset(longer, 'y', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        memcpy(longer + 127, "\xc3\xa9", 2); /* a character across the cut */
        mam_metric_add(mam_metric_get(f, VALUES(longer)), 1);

        text = format(m);
        assert_contains(text, "# HELP x_total Back\\\\slash\\nnewline \"quote\".\n");
        assert_contains(text, "x_total{v=\"a\\\"} 5\\nforged{v=\\\"\"} 1\n");
        assert_contains(text, "x_total{v=\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"} 1\n");
        assert_contains(text, "x_total{v=\"????????????\"} 1\n");
        assert_contains(text, "yyy\"} 1\n");

        samples = strict_samples(text);
        if (!samples)
                mam_test_skip("python3-prometheus-client is not installed");
        assert_contains(samples, "x_total {v='a\"} 5\\nforged{v=\"'} 1.0\n");
        assert_contains(samples, "x_total {v='back\\\\slash'} 1.0\n");
        assert_contains(samples, "x_total {v='\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80'} 1.0\n");
}

TEST(everything_at_once_passes_the_strict_parser) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_freep) char *text = NULL, *samples = NULL;
        MamMetricFamily *f;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(mam_metrics_add_process(m));
        ASSERT_OK(
                        mam_metrics_add(m,
                                        &f,
                                        MAM_METRIC_HISTOGRAM,
                                        "h_seconds",
                                        "H.",
                                        VALUES("route", "method", NULL)));
        mam_metric_observe(mam_metric_get(f, VALUES("/a", "GET")), 0.02);
        mam_metric_observe(mam_metric_get(f, VALUES("/a", "POST")), 1e-9);
        mam_metric_observe(mam_metric_get(f, VALUES("/b", "GET")), 1e9);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_GAUGE, "odd", "Odd values.", VALUES("v", NULL)));
        mam_metric_set(mam_metric_get(f, VALUES("nan")), NAN);
        mam_metric_set(mam_metric_get(f, VALUES("inf")), INFINITY);
        mam_metric_set(mam_metric_get(f, VALUES("-inf")), -INFINITY);
        mam_metric_set(mam_metric_get(f, VALUES("big")), 1e300);
        mam_metric_set(mam_metric_get(f, VALUES("negative")), -12.5);
        ASSERT_OK(
                        mam_metrics_add(m,
                                        &f,
                                        MAM_METRIC_COUNTER,
                                        "empty_total",
                                        "No series yet.",
                                        VALUES("v", NULL)));

        text = format(m);
        samples = strict_samples(text);
        if (!samples)
                mam_test_skip("python3-prometheus-client is not installed");
        assert_contains(samples, "h_seconds_bucket {le='0.025',method='GET',route='/a'} 1.0\n");
        assert_contains(samples, "h_seconds_count {method='GET',route='/b'} 1.0\n");
        assert_contains(samples, "odd {v='inf'} inf\n");
        assert_contains(samples, "odd {v='big'} 1e+300\n");
        assert_contains(samples, "mam_build_info {version='");
}

TEST(openmetrics_has_exemplars_of_sampled_traces) {
        static const MamTrace sampled = { .trace_id = { 0xab, [15] = 0xcd }, .flags = 1 },
                              other = { .trace_id = { 0x11 }, .flags = 0 };
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *samples = NULL, *plain = NULL;
        MamMetricFamily *f;

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(
                        mam_metrics_add(m,
                                        &f,
                                        MAM_METRIC_HISTOGRAM,
                                        "h_seconds",
                                        "H \"quoted\".",
                                        VALUES("route", NULL)));
        mam_metric_observe_traced(mam_metric_get(f, VALUES("/a")), 0.02, &sampled);
        mam_metric_observe_traced(mam_metric_get(f, VALUES("/a")), 100, &sampled);
        mam_metric_observe_traced(mam_metric_get(f, VALUES("/a")), 0.0001, &other);
        mam_metric_observe_traced(mam_metric_get(f, VALUES("/a")), 0.0001, NULL);
        mam_metric_observe(mam_metric_get(f, VALUES("/b")), 0.02);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_COUNTER, "c_total", "C.", NULL));
        mam_metric_add(mam_metric_get(f, NULL), 2);
        ASSERT_OK(mam_metrics_add(m, &f, MAM_METRIC_COUNTER, "odd", "A counter of an odd name.", NULL));
        mam_metric_add(mam_metric_get(f, NULL), 3);

        plain = format(m);
        ASSERT_TRUE(!strstr(plain, "trace_id") && !strstr(plain, "# EOF"));
        assert_contains(plain, "h_seconds_count{route=\"/a\"} 4\n");

        ASSERT_OK(mam_metrics_format_open(m, &b));
        assert_contains(mam_buffer_bytes(&b), "# TYPE c counter\nc_total 2\n");
        samples = strict_samples(mam_buffer_bytes(&b));
        if (!samples)
                mam_test_skip("python3-prometheus-client is not installed");
        assert_contains(samples,
                        "h_seconds_bucket {le='0.025',route='/a'} 3.0 # {'trace_id': 'ab0000000000000000000000000000cd'} 0.02\n");
        assert_contains(samples,
                        "h_seconds_bucket {le='+Inf',route='/a'} 4.0 # {'trace_id': 'ab0000000000000000000000000000cd'} 100.0\n");
        assert_contains(samples, "h_seconds_bucket {le='0.0005',route='/a'} 2.0\n");
        assert_contains(samples, "h_seconds_bucket {le='0.025',route='/b'} 1.0\n");
        assert_contains(samples, "odd {} 3.0\n");
}

static double sample(const char *text, const char *name) {
        const char *p = text;
        size_t n = strlen(name);

        while (p && strncmp(p, name, n) != 0) {
                p = strchr(p, '\n');
                p = p ? p + 1 : NULL;
        }
        ASSERT_TRUE(p);
        return strtod(p + n, NULL);
}

TEST(process_metrics_tell_the_truth) {
        _cleanup_(mam_metrics_freep) MamMetrics *m = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        double fds, cpu, start;
        volatile unsigned long burn = 0;
        int fd[2];

        ASSERT_OK(mam_metrics_new(&m));
        ASSERT_OK(mam_metrics_add_process(m));
        text = format(m);
        fds = sample(text, "process_open_fds ");
        cpu = sample(text, "process_cpu_seconds_total ");
        start = sample(text, "process_start_time_seconds ");
        ASSERT_TRUE(start <= (double) time(NULL) + 1 && start > (double) time(NULL) - 600);
        ASSERT_TRUE(sample(text, "process_resident_memory_bytes ") > 100000);
        ASSERT_TRUE(sample(text, "process_virtual_memory_bytes ") >=
                    sample(text, "process_resident_memory_bytes "));
        ASSERT_TRUE(sample(text, "process_max_fds ") >= fds);

        ASSERT_OK(pipe(fd));
        for (unsigned i = 0; i < 20000000; i++)
                burn = burn + i;
        free(text);
        text = format(m);
        ASSERT_TRUE(sample(text, "process_open_fds ") == fds + 2);
        ASSERT_TRUE(sample(text, "process_cpu_seconds_total ") > cpu);
        close(fd[0]);
        close(fd[1]);
}
