/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One evaluation: values, and the functions
 */

#include <errno.h>

#include "event-bus/filter/cesql-internal.h"

typedef enum CesqlType {
        CESQL_TYPE_STRING,
        CESQL_TYPE_INTEGER,
        CESQL_TYPE_BOOLEAN,
} CesqlType;

typedef struct CesqlValue {
        CesqlType type;
        int32_t integer;  /* or boolean */
        const char *text; /* borrowed; not NUL-terminated */
        size_t size;
} CesqlValue;

typedef struct CesqlMade CesqlMade;
struct CesqlMade {
        CesqlMade *next;
        char data[];
};

typedef struct CesqlRun {
        const Cesql *c;
        const MamEvent *event;
        size_t steps;
        const char *error; /* which kind, once there is one */
        CesqlMade *made;   /* owned */
        size_t made_size, few_used;
        char few[512];
} CesqlRun;

static inline int cesql_error(CesqlRun *run, const char *kind) {
        run->error = kind;
        return -EBADMSG;
}

bool cesql_spend(CesqlRun *run, size_t n);
/* Room for a string that lives as long as the evaluation; NULL: too much. */
char *cesql_make(CesqlRun *run, size_t size);
int cesql_cast(CesqlRun *run, CesqlValue *v, CesqlType type);
int cesql_call(CesqlRun *run, CesqlFunction function, CesqlValue *arguments, size_t n, CesqlValue *ret);
