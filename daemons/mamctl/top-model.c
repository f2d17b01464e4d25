/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What top shows
 */

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/time.h"
#include "mamctl/bus-json.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"
#include "mamctl/top-model.h"

#define WIDE_COLUMNS 90U /* below, limits, restarts and ages are left out rather than names cut */

TopModel *top_model_free(TopModel *m) {
        if (!m)
                return NULL;

        for (size_t i = 0; i < m->n_rows; i++) {
                free(m->rows[i].replica);
                free(m->rows[i].service);
                free(m->rows[i].health);
        }
        free(m->rows);
        free(m);
        return NULL;
}

static json_object *metrics_of(json_object *rows, const char *replica) {
        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);

                if (strcmp(json_text(row, "replica"), replica) == 0)
                        return json_member(row, "metrics");
        }
        return NULL;
}

static double known(json_object *metrics, const char *key) {
        return json_member(metrics, key) ? json_real(metrics, key) : NAN;
}

/* Per second; NaN where one of the two is not known, or the counter began anew in between. */
static double rate(json_object *now, json_object *before, const char *key, double seconds) {
        double n = known(now, key), b = known(before, key);

        if (isnan(n) || isnan(b) || n < b || seconds <= 0)
                return NAN;
        return (n - b) / seconds;
}

static void add_to(double *sum, double value) {
        if (!isnan(value))
                *sum = isnan(*sum) ? value : *sum + value;
}

static int row_init(
                TopRow *row,
                json_object *replica,
                json_object *now,
                json_object *before,
                double seconds) {
        *row = (TopRow){
                .replica = text_clean(json_text(replica, "id")),
                .service = text_clean(json_text(replica, "service")),
                .health = text_clean(json_text(replica, "health")),
                .number = (uint32_t) json_number(replica, "number"),
                .cpu = rate(now, before, "cpu_seconds_total", seconds),
                .cpu_limit = known(now, "cpu_limit_cores"),
                .memory = known(now, "memory_bytes"),
                .memory_max = known(now, "memory_max_bytes"),
                .requests = rate(now, before, "requests_total", seconds),
                .errors = rate(now, before, "request_errors_total", seconds),
                .p99 = known(now, "request_p99_seconds"),
                .restarts = known(now, "restarts_total"),
                .uptime = known(now, "uptime_seconds"),
        };
        if (isnan(row->requests)) /* of the last minute: better than nothing in the first picture */
                row->requests = known(now, "requests_per_second");
        return row->replica && row->service && row->health ? 0 : -ENOMEM;
}

static int add_service(
                TopModel *m,
                json_object *service,
                json_object *now,
                json_object *before,
                double seconds) {
        json_object *replicas = json_member(service, "replicas");
        TopRow *rows;
        int r;

        rows = reallocarray(m->rows, m->n_rows + json_length(replicas) + 1, sizeof(*rows));
        if (!rows)
                return -ENOMEM;
        m->rows = rows;

        for (size_t i = 0; i < json_length(replicas); i++) {
                json_object *replica = json_object_array_get_idx(replicas, i);
                const char *id = json_text(replica, "id");
                TopRow *row = &rows[m->n_rows++];

                r = row_init(row, replica, metrics_of(now, id), metrics_of(before, id), seconds);
                if (r < 0)
                        return r;
                m->n_ready += strcmp(row->health, "healthy") == 0;
                add_to(&m->cpu, row->cpu);
                add_to(&m->memory, row->memory);
                add_to(&m->requests, row->requests);
                add_to(&m->errors, row->errors);
        }
        m->n_services++;
        return 0;
}

int top_model_new(
                TopModel **ret,
                json_object *services,
                json_object *now,
                json_object *before,
                double seconds) {
        _cleanup_(top_model_freep) TopModel *m = NULL;
        int r;

        assert(ret);

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->cpu = m->memory = m->requests = m->errors = NAN;
        for (size_t i = 0; i < json_length(services); i++) {
                r = add_service(m, json_object_array_get_idx(services, i), now, before, seconds);
                if (r < 0)
                        return r;
        }
        *ret = MAM_TAKE(m);
        return 0;
}

static double sort_value(const TopRow *row, TopSort sort) {
        double value = sort == TOP_SORT_CPU      ? row->cpu
                       : sort == TOP_SORT_MEMORY ? row->memory
                                                 : row->requests;

        return isnan(value) ? -1 : value;
}

static int compare_names(const TopRow *a, const TopRow *b) {
        int order = strcmp(a->service, b->service);

        return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

static int compare_rows(const void *a, const void *b, void *userdata) {
        const TopSort *sort = userdata;
        double x, y;

        if (*sort == TOP_SORT_NAME)
                return compare_names(a, b);
        x = sort_value(a, *sort);
        y = sort_value(b, *sort);
        if (x > y)
                return -1;
        return x < y ? 1 : compare_names(a, b);
}

void top_model_sort(TopModel *m, TopSort sort) {
        assert(m);

        if (m->n_rows > 0)
                qsort_r(m->rows, m->n_rows, sizeof(*m->rows), compare_rows, &sort);
}

TopSort top_sort_of_key(char key) {
        static const char keys[_TOP_SORT_MAX] = { 'c', 'm', 'r', 'n' };

        for (TopSort sort = 0; sort < _TOP_SORT_MAX; sort++) {
                if (keys[sort] == key)
                        return sort;
        }
        return _TOP_SORT_MAX;
}

const char *top_sort_name(TopSort sort) {
        static const char *const names[_TOP_SORT_MAX] = { "CPU", "memory", "requests", "name" };

        assert(sort < _TOP_SORT_MAX);
        return names[sort];
}

void top_model_print_summary(const TopModel *m, FILE *f) {
        char memory[32] = "-";

        assert(m);

        if (!isnan(m->memory))
                text_format_bytes(memory, m->memory);
        fprintf(f, "%zu services, %zu of %zu replicas healthy, CPU ", m->n_services, m->n_ready, m->n_rows);
        if (isnan(m->cpu)) {
                fputs("-", f);
        } else {
                fprintf(f, "%.2f cores", m->cpu);
        }
        fprintf(f, ", memory %s", memory);
        if (!isnan(m->requests))
                fprintf(f, ", %.1f requests/s", m->requests);
        if (!isnan(m->errors) && m->errors > 0)
                fprintf(f, ", %.1f errors/s", m->errors);
}

static void add_number(Table *t, Colour colour, double value, int digits) {
        if (isnan(value)) {
                table_add(t, COLOUR_GREY, "-");
        } else {
                table_add(t, colour, "%.*f", digits, value);
        }
}

static void add_bytes(Table *t, Colour colour, double value) {
        char text[32];

        if (isnan(value)) {
                table_add(t, COLOUR_GREY, "-");
                return;
        }
        text_format_bytes(text, value);
        table_add(t, colour, "%s", text);
}

static Colour near_limit(double used, double limit) {
        return !isnan(used) && limit > 0 && used >= limit * 0.9 ? COLOUR_RED : COLOUR_NONE;
}

static void add_row(Table *t, const TopRow *row, bool wide) {
        char up[48] = "";

        table_add(t, COLOUR_NONE, "%s", row->replica);
        table_add(t, colour_of_state(row->health), "%s", row->health);
        add_number(t, near_limit(row->cpu, row->cpu_limit), row->cpu * 100, 1);
        if (wide)
                add_number(t, COLOUR_NONE, row->cpu_limit * 100, 0);
        add_bytes(t, near_limit(row->memory, row->memory_max), row->memory);
        if (wide)
                add_bytes(t, COLOUR_NONE, row->memory_max);
        add_number(t, COLOUR_NONE, row->requests, 1);
        add_number(t, row->errors > 0 ? COLOUR_RED : COLOUR_NONE, row->errors, 1);
        add_number(t, COLOUR_NONE, row->p99 * 1000, 1);
        if (!wide)
                return;
        add_number(t, row->restarts > 0 ? COLOUR_YELLOW : COLOUR_NONE, row->restarts, 0);
        if (!isnan(row->uptime))
                text_format_seconds(up, (uint64_t) row->uptime * MAM_USEC_PER_SEC);
        table_add(t, COLOUR_NONE, "%s", up);
}

int top_model_print(const TopModel *m, FILE *f, unsigned columns, bool colour) {
        static const TableColumn wide[] = {
                { "REPLICA", false, true },  { "HEALTH", false, false }, { "CPU%", true, false },
                { "OF", true, false },       { "MEMORY", true, false },  { "OF", true, false },
                { "REQ/S", true, false },    { "ERR/S", true, false },   { "P99 MS", true, false },
                { "RESTARTS", true, false }, { "UP", true, true },
        };
        static const TableColumn narrow[] = {
                { "REPLICA", false, true }, { "HEALTH", false, false }, { "CPU%", true, false },
                { "MEMORY", true, false },  { "REQ/S", true, false },   { "ERR/S", true, false },
                { "P99 MS", true, false },
        };
        bool is_wide = columns == 0 || columns >= WIDE_COLUMNS;
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        assert(m);

        r = table_new(&t,
                      is_wide ? wide : narrow,
                      is_wide ? MAM_ELEMENTSOF(wide) : MAM_ELEMENTSOF(narrow),
                      0);
        if (r < 0)
                return r;
        for (size_t i = 0; i < m->n_rows; i++)
                add_row(t, &m->rows[i], is_wide);
        return table_print(t, f, columns, colour);
}

static void add_json(json_object *o, const char *key, double value) {
        json_object *number;

        if (isnan(value))
                return;
        number = json_object_new_double(value);
        if (!number)
                return;
        json_object_set_serializer(number, json_object_double_to_json_string, (void *) "%.15g", NULL);
        json_object_object_add(o, key, number);
}

int top_model_to_json(const TopModel *m, json_object **ret) {
        _cleanup_(json_object_putp) json_object *list = json_object_new_array();

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < m->n_rows; i++) {
                const TopRow *row = &m->rows[i];
                json_object *o = json_object_new_object();

                if (!o || json_object_array_add(list, o) < 0) {
                        json_object_put(o);
                        return -ENOMEM;
                }
                json_object_object_add(o, "replica", json_object_new_string(row->replica));
                json_object_object_add(o, "service", json_object_new_string(row->service));
                json_object_object_add(o, "health", json_object_new_string(row->health));
                add_json(o, "cpu_cores", row->cpu);
                add_json(o, "cpu_limit_cores", row->cpu_limit);
                add_json(o, "memory_bytes", row->memory);
                add_json(o, "memory_max_bytes", row->memory_max);
                add_json(o, "requests_per_second", row->requests);
                add_json(o, "errors_per_second", row->errors);
                add_json(o, "p99_seconds", row->p99);
                add_json(o, "restarts", row->restarts);
                add_json(o, "uptime_seconds", row->uptime);
        }
        *ret = MAM_TAKE(list);
        return 0;
}
