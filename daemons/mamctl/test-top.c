/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <math.h>

#include "libmam/json/json.h"
#include "libmam/util/test.h"
#include "mamctl/top-model.h"

static const char services_text[] =
                "[{\"id\":\"web\",\"replicas\":["
                "{\"id\":\"web:10\",\"service\":\"web\",\"number\":10,\"health\":\"healthy\"},"
                "{\"id\":\"web:2\",\"service\":\"web\",\"number\":2,\"health\":\"unhealthy\"}]},"
                "{\"id\":\"db\",\"replicas\":[{\"id\":\"db:1\",\"service\":\"db\",\"number\":1,\"health\":\"healthy\"}]}]";
static const char before_text[] =
                "[{\"service\":\"web\",\"replica\":\"web:10\",\"metrics\":{\"cpu_seconds_total\":10,\"requests_total\":100,\"request_errors_total\":5}},"
                "{\"service\":\"web\",\"replica\":\"web:2\",\"metrics\":{\"cpu_seconds_total\":50}}]";
static const char now_text[] =
                "[{\"service\":\"web\",\"replica\":\"\",\"metrics\":{\"cpu_seconds_total\":99}},"
                "{\"service\":\"web\",\"replica\":\"web:10\",\"metrics\":{\"cpu_seconds_total\":11,\"cpu_limit_cores\":0.5,\"memory_bytes\":1048576,"
                "\"memory_max_bytes\":2097152,\"requests_total\":120,\"request_errors_total\":6,\"request_p99_seconds\":0.0125,\"restarts_total\":3,"
                "\"uptime_seconds\":65}},"
                "{\"service\":\"web\",\"replica\":\"web:2\",\"metrics\":{\"cpu_seconds_total\":0.5,\"memory_bytes\":5242880,\"requests_per_second\":7}},"
                "{\"service\":\"db\",\"replica\":\"db:1\",\"metrics\":{\"cpu_seconds_total\":3}}]";

static TopModel *model(bool with_before) {
        _cleanup_(json_object_putp) json_object *services = json_tokener_parse(services_text),
                                                *before = json_tokener_parse(before_text),
                                                *now = json_tokener_parse(now_text);
        TopModel *m = NULL;

        ASSERT_TRUE(services && before && now);
        ASSERT_OK(top_model_new(&m, services, now, with_before ? before : NULL, 2));
        return m;
}

static const TopRow *row(const TopModel *m, const char *replica) {
        for (size_t i = 0; i < m->n_rows; i++) {
                if (strcmp(m->rows[i].replica, replica) == 0)
                        return &m->rows[i];
        }
        return NULL;
}

static int near(double a, double b) {
        return fabs(a - b) < 1e-9;
}

TEST(what_counts_up_becomes_a_rate) {
        _cleanup_(top_model_freep) TopModel *m = model(true);
        const TopRow *r = row(m, "web:10");

        ASSERT_TRUE(near(r->cpu, 0.5));
        ASSERT_TRUE(near(r->requests, 10));
        ASSERT_TRUE(near(r->errors, 0.5));
        ASSERT_TRUE(near(r->p99, 0.0125));
        ASSERT_TRUE(near(m->cpu, 0.5)); /* of those that are known, not of the row that sums up */
        ASSERT_TRUE(near(m->requests, 17));
        ASSERT_EQ(m->n_ready, 2);
        ASSERT_EQ(m->n_services, 2);
}

TEST(what_began_to_count_anew_or_is_new_has_no_rate) {
        _cleanup_(top_model_freep) TopModel *m = model(true), *first = model(false);

        ASSERT_TRUE(isnan(row(m, "web:2")->cpu)); /* restarted in between */
        ASSERT_TRUE(isnan(row(m, "db:1")->cpu));
        ASSERT_TRUE(isnan(row(first, "web:10")->cpu));
        ASSERT_TRUE(isnan(first->cpu));
        ASSERT_TRUE(near(row(first, "web:2")->requests, 7)); /* the manager's own rate */
}

TEST(the_biggest_comes_first_and_names_count_numbers_as_numbers) {
        _cleanup_(top_model_freep) TopModel *m = model(true);

        top_model_sort(m, TOP_SORT_CPU);
        ASSERT_STREQ(m->rows[0].replica, "web:10");
        ASSERT_STREQ(m->rows[1].replica, "db:1"); /* unknown last, by name */
        top_model_sort(m, TOP_SORT_MEMORY);
        ASSERT_STREQ(m->rows[0].replica, "web:2");
        top_model_sort(m, TOP_SORT_REQUESTS);
        ASSERT_STREQ(m->rows[1].replica, "web:2");
        top_model_sort(m, TOP_SORT_NAME);
        ASSERT_STREQ(m->rows[0].replica, "db:1");
        ASSERT_STREQ(m->rows[1].replica, "web:2");
        ASSERT_STREQ(m->rows[2].replica, "web:10");
}

TEST(keys_choose_the_order) {
        ASSERT_EQ(top_sort_of_key('c'), TOP_SORT_CPU);
        ASSERT_EQ(top_sort_of_key('m'), TOP_SORT_MEMORY);
        ASSERT_EQ(top_sort_of_key('r'), TOP_SORT_REQUESTS);
        ASSERT_EQ(top_sort_of_key('n'), TOP_SORT_NAME);
        ASSERT_EQ(top_sort_of_key('q'), _TOP_SORT_MAX);
        ASSERT_EQ(top_sort_of_key('\0'), _TOP_SORT_MAX);
}

TEST(the_table_says_what_is_not_known) {
        _cleanup_(top_model_freep) TopModel *m = model(true);
        _cleanup_(mam_freep) char *text = NULL, *summary = NULL;
        size_t size = 0;
        FILE *f;

        top_model_sort(m, TOP_SORT_NAME);
        f = open_memstream(&text, &size);
        ASSERT_OK(top_model_print(m, f, 0, false));
        fclose(f);
        ASSERT_STREQ(text,
                     "REPLICA  HEALTH     CPU%  OF  MEMORY     OF  REQ/S  ERR/S  P99 MS  RESTARTS       UP\n"
                     "db:1     healthy       -   -       -      -      -      -       -         -\n"
                     "web:2    unhealthy     -   -   5.0Mi      -    7.0      -       -         -\n"
                     "web:10   healthy    50.0  50   1.0Mi  2.0Mi   10.0    0.5    12.5         3  1min 5s\n");

        f = open_memstream(&summary, &size);
        top_model_print_summary(m, f);
        fclose(f);
        ASSERT_STREQ(summary,
                     "2 services, 2 of 3 replicas healthy, CPU 0.50 cores, memory 6.0Mi, 17.0 requests/s, 0.5 errors/s");
}

TEST(a_narrow_terminal_gets_fewer_columns_and_whole_names) {
        _cleanup_(top_model_freep) TopModel *m = model(true);
        _cleanup_(mam_freep) char *text = NULL;
        size_t size = 0;
        FILE *f;

        top_model_sort(m, TOP_SORT_CPU);
        f = open_memstream(&text, &size);
        ASSERT_OK(top_model_print(m, f, 60, false));
        fclose(f);
        ASSERT_TRUE(strncmp(text,
                            "REPLICA  HEALTH     CPU%  MEMORY  REQ/S  ERR/S  P99 MS\n"
                            "web:10   healthy    50.0   1.0Mi   10.0    0.5    12.5\n",
                            110) == 0);
}

TEST(json_leaves_out_what_is_not_known) {
        _cleanup_(top_model_freep) TopModel *m = model(true);
        _cleanup_(json_object_putp) json_object *list = NULL;
        json_object *first, *v = NULL;

        top_model_sort(m, TOP_SORT_CPU);
        ASSERT_OK(top_model_to_json(m, &list));
        first = json_object_array_get_idx(list, 0);
        ASSERT_TRUE(json_object_object_get_ex(first, "cpu_cores", &v));
        ASSERT_TRUE(near(json_object_get_double(v), 0.5));
        ASSERT_TRUE(!json_object_object_get_ex(json_object_array_get_idx(list, 1), "cpu_cores", NULL));
}
