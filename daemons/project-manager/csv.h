/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * CSV as it comes (RFC 4180): records out of bytes that arrive in pieces
 *
 * Fields are separated by commas, or by semicolons or tabs if the first record has more of those outside
 * quotation marks. A quoted field may hold anything, line breaks too; "" in it is one quotation mark. Lines
 * end with LF or CRLF; a byte order mark in front and empty lines are skipped. Pure: no I/O; whether it is
 * UTF-8 is the caller's question.
 */

#include <stddef.h>
#include <stdint.h>

#include "libmam/util/macro.h"

#define CSV_RECORD_MAX (512U * 1024U) /* bytes */
#define CSV_FIELDS_MAX 256U

typedef struct Csv Csv;

typedef struct CsvRecord {
        uint64_t line; /* where it begins, from 1 */
        size_t n;
        const char *const *fields; /* NUL-terminated; what holds a NUL itself is refused */
} CsvRecord;

/* A negative return ends parsing and is what csv_feed() returns. The record is gone when it returns. */
typedef int (*CsvCallback)(const CsvRecord *record, void *userdata);

typedef struct CsvError {
        uint64_t line;
        char message[120];
} CsvError;

int csv_new(Csv **ret, CsvCallback callback, void *userdata);
Csv *csv_free(Csv *c);
MAM_DEFINE_CLEANUP(Csv, csv_free);
/* size 0: that was all. -EBADMSG with *error: it is no CSV from there on; what came before was given out. */
int csv_feed(Csv *c, const char *data, size_t size, CsvError *error);
