/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Tables for people
 *
 * Cells are added row by row, left to right; lines that belong to the row before them (a reason, a problem)
 * span all columns and do not widen any. Text is cleaned as it comes in. On a terminal that is too narrow,
 * columns marked flexible are shortened, the widest first; a table that goes to a pipe or a file is never
 * shortened. An out-of-memory while adding is kept and reported by table_print().
 */

#include <stdbool.h>
#include <stdio.h>

#include "libmam/util/macro.h"
#include "mamctl/terminal.h"

typedef struct Table Table;

#define TABLE_COLUMNS_MAX 16U

typedef struct TableColumn {
        const char *title; /* borrowed: a literal */
        bool right;        /* numbers */
        bool flexible;     /* may be shortened where the terminal is too narrow */
} TableColumn;

/* columns must outlive the table. indent: columns kept free on the left of headers and rows. */
int table_new(Table **ret, const TableColumn *columns, size_t n_columns, unsigned indent);
Table *table_free(Table *t);
MAM_DEFINE_CLEANUP(Table, table_free);

/* The next cell; after the last column a new row begins. */
void table_add(Table *t, Colour colour, const char *format, ...) _printf_(3, 4);
/* A line of its own, only at the beginning of a row. */
void table_add_line(Table *t, unsigned indent, Colour colour, const char *format, ...) _printf_(4, 5);

/* Everything in the order it was added, with the header before the first row. columns: width of the
 * terminal, 0: unlimited. -ENOMEM; otherwise 0. */
int table_print(Table *t, FILE *f, unsigned columns, bool colour);
