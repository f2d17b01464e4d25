/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tables for people
 */

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "mamctl/format-table.h"
#include "mamctl/text.h"

#define GAP          2U /* columns between two cells */
#define FLEXIBLE_MIN 8U /* a flexible column keeps at least this many columns */

typedef struct Cell {
        char *text; /* owned; clean */
        Colour colour;
} Cell;

/* A row has n_columns cells; a spanning line has one, and an indent of its own. */
typedef struct Row {
        Cell *cells; /* owned */
        size_t n_cells;
        bool line;
        unsigned indent;
} Row;

struct Table {
        const TableColumn *columns; /* borrowed */
        size_t n_columns;
        unsigned indent;
        Row *rows; /* owned */
        size_t n_rows;
        int error; /* the first one while adding */
};

int table_new(Table **ret, const TableColumn *columns, size_t n_columns, unsigned indent) {
        Table *t;

        assert(ret);
        assert(columns);
        assert(n_columns > 0 && n_columns <= TABLE_COLUMNS_MAX);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;

        t->columns = columns;
        t->n_columns = n_columns;
        t->indent = indent;
        *ret = t;
        return 0;
}

Table *table_free(Table *t) {
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n_rows; i++) {
                for (size_t j = 0; j < t->rows[i].n_cells; j++)
                        free(t->rows[i].cells[j].text);
                free(t->rows[i].cells);
        }
        free(t->rows);
        free(t);
        return NULL;
}

static bool row_is_complete(const Table *t, const Row *row) {
        return row->line || row->n_cells == t->n_columns;
}

static Row *table_new_row(Table *t) {
        Row *rows;

        rows = reallocarray(t->rows, t->n_rows + 1, sizeof(*rows));
        if (!rows)
                return NULL;

        t->rows = rows;
        rows[t->n_rows] = (Row){ .cells = calloc(t->n_columns, sizeof(Cell)) };
        if (!rows[t->n_rows].cells)
                return NULL;
        return &rows[t->n_rows++];
}

_printf_(1, 0) static char *format_clean(const char *format, va_list arguments) {
        _cleanup_(mam_freep) char *text = NULL;

        if (vasprintf(&text, format, arguments) < 0) {
                text = NULL;
                return NULL;
        }
        return text_clean(text);
}

void table_add(Table *t, Colour colour, const char *format, ...) {
        va_list arguments;
        Row *row = NULL;
        char *text;

        assert(t);

        if (t->error < 0)
                return;

        if (t->n_rows > 0 && !row_is_complete(t, &t->rows[t->n_rows - 1])) {
                row = &t->rows[t->n_rows - 1];
        } else {
                row = table_new_row(t);
        }

        va_start(arguments, format);
        text = row ? format_clean(format, arguments) : NULL;
        va_end(arguments);
        if (!text) {
                t->error = -ENOMEM;
                return;
        }
        row->cells[row->n_cells++] = (Cell){ text, colour };
}

void table_add_line(Table *t, unsigned indent, Colour colour, const char *format, ...) {
        va_list arguments;
        Row *row;
        char *text;

        assert(t);

        if (t->error < 0)
                return;

        assert(t->n_rows == 0 || row_is_complete(t, &t->rows[t->n_rows - 1]));

        row = table_new_row(t);
        va_start(arguments, format);
        text = row ? format_clean(format, arguments) : NULL;
        va_end(arguments);
        if (!text) {
                t->error = -ENOMEM;
                return;
        }
        row->line = true;
        row->indent = indent;
        row->cells[row->n_cells++] = (Cell){ text, colour };
}

static unsigned total_width(const Table *t, const unsigned *widths) {
        unsigned total = t->indent;

        for (size_t i = 0; i < t->n_columns; i++)
                total += widths[i] + (i > 0 ? GAP : 0);
        return total;
}

/* Takes columns from the widest flexible column, one at a time, until the table fits or none can give more.
 */
static void shrink(const Table *t, unsigned *widths, unsigned columns) {
        while (total_width(t, widths) > columns) {
                size_t widest = SIZE_MAX;

                for (size_t i = 0; i < t->n_columns; i++) {
                        if (t->columns[i].flexible && widths[i] > FLEXIBLE_MIN &&
                            (widest == SIZE_MAX || widths[i] > widths[widest]))
                                widest = i;
                }
                if (widest == SIZE_MAX)
                        return;
                widths[widest]--;
        }
}

static void measure(const Table *t, unsigned *widths, unsigned columns) {
        for (size_t i = 0; i < t->n_columns; i++)
                widths[i] = text_width(t->columns[i].title);

        for (size_t i = 0; i < t->n_rows; i++) {
                for (size_t j = 0; !t->rows[i].line && j < t->rows[i].n_cells; j++) {
                        unsigned width = text_width(t->rows[i].cells[j].text);

                        if (width > widths[j])
                                widths[j] = width;
                }
        }

        if (columns > 0)
                shrink(t, widths, columns);
}

/* pad: blanks up to width; not behind the last cell, so that no line ends in blanks. */
static int print_cell(
                FILE *f,
                const char *text,
                Colour c,
                bool colour,
                unsigned width,
                bool right,
                bool pad) {
        _cleanup_(mam_freep) char *cut = NULL;
        int blanks;

        cut = text_ellipsize(text, width > 0 ? width : 1);
        if (!cut)
                return -ENOMEM;

        blanks = (int) width - (int) text_width(cut);
        if (blanks < 0)
                blanks = 0;
        fprintf(f,
                "%*s%s%s%s%*s",
                right ? blanks : 0,
                "",
                *cut ? colour_start(colour, c) : "",
                cut,
                *cut ? colour_end(colour, c) : "",
                pad && !right ? blanks : 0,
                "");
        return 0;
}

/* The last cell of a row that has any text: nothing is printed behind it. */
static size_t last_filled(const Row *row) {
        size_t last = 0;

        for (size_t i = 0; i < row->n_cells; i++) {
                if (*row->cells[i].text)
                        last = i;
        }
        return last;
}

static int print_row(const Table *t, const Row *row, FILE *f, const unsigned *widths, bool colour) {
        size_t last = last_filled(row);
        int r;

        fprintf(f, "%*s", (int) t->indent, "");
        for (size_t i = 0; i <= last && i < row->n_cells; i++) {
                if (i > 0)
                        fprintf(f, "%*s", (int) GAP, "");
                r = print_cell(f,
                               row->cells[i].text,
                               row->cells[i].colour,
                               colour,
                               widths[i],
                               t->columns[i].right,
                               i != last);
                if (r < 0)
                        return r;
        }
        fputc('\n', f);
        return 0;
}

static int print_line(const Row *row, FILE *f, unsigned columns, bool colour) {
        unsigned width = text_width(row->cells[0].text);
        int r;

        if (columns > row->indent && width > columns - row->indent)
                width = columns - row->indent;
        if (*row->cells[0].text)
                fprintf(f, "%*s", (int) row->indent, "");
        r = print_cell(f, row->cells[0].text, row->cells[0].colour, colour, width, false, false);
        if (r < 0)
                return r;
        fputc('\n', f);
        return 0;
}

static int print_header(const Table *t, FILE *f, const unsigned *widths, bool colour) {
        int r;

        fprintf(f, "%*s", (int) t->indent, "");
        for (size_t i = 0; i < t->n_columns; i++) {
                if (i > 0)
                        fprintf(f, "%*s", (int) GAP, "");
                r = print_cell(f,
                               t->columns[i].title,
                               COLOUR_BOLD,
                               colour,
                               widths[i],
                               t->columns[i].right,
                               i + 1 < t->n_columns);
                if (r < 0)
                        return r;
        }
        fputc('\n', f);
        return 0;
}

int table_print(Table *t, FILE *f, unsigned columns, bool colour) {
        unsigned widths[TABLE_COLUMNS_MAX] = { 0 };
        bool header = false;
        int r;

        assert(t);
        assert(f);

        if (t->error < 0)
                return t->error;

        measure(t, widths, columns);
        for (size_t i = 0; i < t->n_rows; i++) {
                if (!t->rows[i].line && !header) {
                        r = print_header(t, f, widths, colour);
                        if (r < 0)
                                return r;
                        header = true;
                }
                r = t->rows[i].line ? print_line(&t->rows[i], f, columns, colour)
                                    : print_row(t, &t->rows[i], f, widths, colour);
                if (r < 0)
                        return r;
        }
        return 0;
}
