/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A state machine over bytes; the record grows in one buffer, its fields end with NUL there
 */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/util/buffer.h"
#include "project-manager/csv.h"

typedef enum CsvState {
        CSV_FIELD_START,
        CSV_PLAIN,
        CSV_QUOTED,
        CSV_QUOTE_IN_QUOTED, /* the end of the field, or the first half of "" */
        CSV_CR,              /* LF must follow */
        CSV_ENDED,
} CsvState;

struct Csv {
        CsvCallback callback;
        void *userdata;
        CsvState state;
        bool quoted_first; /* of the record: a quotation mark was there, so it is no empty line */
        char separator;    /* 0: the first record is not whole yet */
        MamBuffer record;  /* fields, each with its NUL */
        MamBuffer head;    /* the first record as it came, until the separator is known */
        size_t n_fields;
        uint64_t line, record_line;
        unsigned mark; /* bytes of the byte order mark that were seen */
        const char *fields[CSV_FIELDS_MAX];
};

int csv_new(Csv **ret, CsvCallback callback, void *userdata) {
        Csv *c;

        assert(ret && callback);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->callback = callback;
        c->userdata = userdata;
        c->record.max = c->head.max = CSV_RECORD_MAX;
        c->line = c->record_line = 1;
        *ret = c;
        return 0;
}

Csv *csv_free(Csv *c) {
        if (!c)
                return NULL;
        mam_buffer_done(&c->record);
        mam_buffer_done(&c->head);
        free(c);
        return NULL;
}

static int fail(Csv *c, CsvError *error, const char *format, ...) _printf_(3, 4);

static int fail(Csv *c, CsvError *error, const char *format, ...) {
        va_list ap;

        error->line = c->line;
        va_start(ap, format);
        (void) vsnprintf(error->message, sizeof(error->message), format, ap);
        va_end(ap);
        c->state = CSV_ENDED;
        return -EBADMSG;
}

static int add(Csv *c, char byte, CsvError *error) {
        int r = mam_buffer_append(&c->record, &byte, 1);

        return r == -ENOBUFS ? fail(c,
                                    error,
                                    "The record that begins in line %llu is larger than %u bytes",
                                    (unsigned long long) c->record_line,
                                    CSV_RECORD_MAX)
                             : r;
}

static int end_field(Csv *c, CsvError *error) {
        if (c->n_fields == CSV_FIELDS_MAX)
                return fail(c, error, "There are more than %u fields", CSV_FIELDS_MAX);
        c->n_fields++;
        c->state = CSV_FIELD_START;
        return add(c, '\0', error);
}

static int end_record(Csv *c, CsvError *error) {
        CsvRecord record = { .line = c->record_line, .fields = c->fields };
        const char *p;
        int r;

        r = end_field(c, error);
        if (r < 0)
                return r;
        p = mam_buffer_bytes(&c->record);
        for (size_t i = 0; i < c->n_fields; i++, p += strlen(p) + 1)
                c->fields[i] = p;
        record.n = c->n_fields;

        /* an empty line */
        r = record.n == 1 && *c->fields[0] == '\0' && !c->quoted_first ? 0
                                                                       : c->callback(&record, c->userdata);
        c->record.size = 0;
        c->record.start = 0;
        c->n_fields = 0;
        c->quoted_first = false;
        c->record_line = c->line + 1;
        if (r < 0)
                c->state = CSV_ENDED;
        return r;
}

static int quoted(Csv *c, char byte, CsvError *error) {
        if (byte == '"') {
                c->state = CSV_QUOTE_IN_QUOTED;
                return 0;
        }
        if (byte == '\n')
                c->line++;
        return add(c, byte, error);
}

static int unquoted(Csv *c, char byte, CsvError *error) {
        int r;

        if (byte == c->separator)
                return end_field(c, error);
        switch (byte) {
        case '\n':
                r = end_record(c, error);
                c->line++;
                return r;
        case '\r':
                c->state = CSV_CR;
                return 0;
        case '"':
                if (c->state != CSV_FIELD_START)
                        return fail(c,
                                    error,
                                    "A quotation mark stands within a field that does not begin with one");
                c->state = CSV_QUOTED;
                c->quoted_first = true;
                return 0;
        default:
                c->state = CSV_PLAIN;
                return add(c, byte, error);
        }
}

static int feed_byte(Csv *c, char byte, CsvError *error) {
        if (byte == '\0')
                return fail(c, error, "There is a NUL byte");
        switch (c->state) {
        case CSV_QUOTED:
                return quoted(c, byte, error);
        case CSV_QUOTE_IN_QUOTED:
                if (byte == '"') {
                        c->state = CSV_QUOTED;
                        return add(c, byte, error);
                }
                if (byte != c->separator && byte != '\n' && byte != '\r')
                        return fail(c,
                                    error,
                                    "Something stands behind the quotation mark that ends a field");
                return unquoted(c, byte, error);
        case CSV_CR:
                if (byte != '\n')
                        return fail(c, error, "A carriage return is not followed by a line feed");
                return unquoted(c, byte, error);
        default:
                return unquoted(c, byte, error);
        }
}

static int feed_bytes(Csv *c, const char *data, size_t size, CsvError *error) {
        int r = 0;

        for (size_t i = 0; i < size && r >= 0; i++)
                r = feed_byte(c, data[i], error);
        return r < 0 ? r : 0;
}

/* ---- the first record: what separates its fields ---- */

/* Where the first line ends outside quotation marks; 0: not yet. Counts what may separate. */
static size_t head_end(const MamBuffer *head, size_t counts[static 3]) {
        static const char candidates[] = ",;\t";
        const char *bytes = mam_buffer_bytes(head), *found;
        bool in_quotes = false;

        memset(counts, 0, 3 * sizeof(*counts));
        for (size_t i = 0; i < head->size; i++) {
                if (bytes[i] == '"')
                        in_quotes = !in_quotes;
                else if (!in_quotes && bytes[i] == '\n')
                        return i + 1;
                else if (!in_quotes && bytes[i] && (found = strchr(candidates, bytes[i])))
                        counts[found - candidates]++;
        }
        return 0;
}

static int head_feed(Csv *c, bool at_end, CsvError *error) {
        _cleanup_(mam_buffer_done) MamBuffer head = MAM_BUFFER_INIT;
        size_t counts[3];

        if (head_end(&c->head, counts) == 0 && !at_end)
                return 0;
        c->separator = counts[1] > counts[0] && counts[1] >= counts[2] ? ';'
                       : counts[2] > counts[0]                         ? '\t'
                                                                       : ',';
        head = c->head;
        c->head = (MamBuffer) MAM_BUFFER_INIT;
        return feed_bytes(c, mam_buffer_bytes(&head), head.size, error);
}

static int finish(Csv *c, CsvError *error) {
        int r = 0;

        if (!c->separator)
                r = head_feed(c, true, error);
        if (r < 0)
                return r;
        if (c->state == CSV_QUOTED)
                return fail(c,
                            error,
                            "The quoted field of the record that begins in line %llu has no end",
                            (unsigned long long) c->record_line);
        if (c->state == CSV_CR)
                return fail(c, error, "A carriage return is not followed by a line feed");
        if (c->n_fields > 0 || c->record.size > 0 || c->quoted_first)
                r = end_record(c, error);
        c->state = CSV_ENDED;
        return r;
}

int csv_feed(Csv *c, const char *data, size_t size, CsvError *error) {
        static const char mark[] = "\xef\xbb\xbf";
        int r;

        assert(c && error);

        if (c->state == CSV_ENDED)
                return 0;
        if (size == 0)
                return finish(c, error);
        for (; c->mark < 3 && size > 0 && *data == mark[c->mark]; c->mark++, data++, size--)
                ;
        if (size == 0)
                return 0;
        if (c->mark < 3) { /* it was none */
                r = mam_buffer_append(&c->head, mark, c->mark);
                if (r < 0)
                        return r;
                c->mark = 3;
        }
        if (c->separator)
                return feed_bytes(c, data, size, error);
        r = mam_buffer_append(&c->head, data, size);
        if (r ==
            -ENOBUFS) /* so much at once, or a first record without an end: the comma is as good as any */
                r = head_feed(c, true, error);
        else
                return r < 0 ? r : head_feed(c, false, error);
        return r < 0 ? r : feed_bytes(c, data, size, error);
}
