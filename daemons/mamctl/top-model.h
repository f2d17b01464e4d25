/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What top shows
 *
 * Made from one answer of Status and one or two of Metrics; what counts up becomes a rate between the two.
 * Nothing here knows a terminal or a bus.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <json-c/json.h>

#include "libmam/util/macro.h"

typedef enum TopSort {
        TOP_SORT_CPU,
        TOP_SORT_MEMORY,
        TOP_SORT_REQUESTS,
        TOP_SORT_NAME,
        _TOP_SORT_MAX,
} TopSort;

/* Numbers that are not known are NaN. */
typedef struct TopRow {
        char *replica, *service, *health; /* owned; clean */
        uint32_t number;
        double cpu, cpu_limit;     /* cores */
        double memory, memory_max; /* bytes */
        double requests, errors;   /* per second */
        double p99;                /* seconds */
        double restarts;
        double uptime; /* seconds */
} TopRow;

typedef struct TopModel {
        TopRow *rows; /* owned */
        size_t n_rows;
        size_t n_services, n_ready;
        double cpu, memory, requests, errors; /* of all; NaN where no replica knows */
} TopModel;

/* services: of status_read_services(). now, before: rows {service, replica, metrics}; before NULL: no rates
 * but those that the manager has. seconds: between the two. */
int top_model_new(
                TopModel **ret,
                json_object *services,
                json_object *now,
                json_object *before,
                double seconds);
TopModel *top_model_free(TopModel *m);
MAM_DEFINE_CLEANUP(TopModel, top_model_free);

/* The biggest first, then by service and number. */
void top_model_sort(TopModel *m, TopSort sort);

/* One line that sums up, without its end. */
void top_model_print_summary(const TopModel *m, FILE *f);
/* A table. columns: of the terminal, 0: unlimited; a narrow one gets fewer of them. */
int top_model_print(const TopModel *m, FILE *f, unsigned columns, bool colour);
/* An array of objects; what is not known is absent. Caller puts *ret. */
int top_model_to_json(const TopModel *m, json_object **ret);

/* 'c', 'm', 'r', 'n' → how to sort; otherwise _TOP_SORT_MAX. */
TopSort top_sort_of_key(char key);
const char *top_sort_name(TopSort sort);
