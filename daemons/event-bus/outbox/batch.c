/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rows of the outbox: read, checked, written as parameters
 */

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/outbox/relay-internal.h"

#define REASON_MAX 1000

void relay_batch_done(RelayBatch *b) {
        for (size_t i = 0; i < b->n; i++) {
                RelayRow *row = b->rows + i;

                free(row->topic);
                free(row->publisher);
                free(row->reason);
                mam_event_free(row->event);
        }
        free(b->snapshot);
        *b = (RelayBatch){ 0 };
}

int relay_row_reject(RelayRow *row, const char *format, ...) {
        char text[REASON_MAX];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        free(row->reason);
        row->reason = strdup(text);
        row->event = mam_event_free(row->event);
        return row->reason ? 0 : -ENOMEM;
}

static int read_row(RelayBatch *b, const MamPgResult *result, size_t i) {
        const char *text = mam_pg_text(result, i, 4);
        RelayRow *row = b->rows + b->n++;
        MamJsonError error = { 0 };
        int r;

        row->number = mam_pg_int(result, i, 0);
        row->publisher = strdup(mam_pg_text(result, i, 2));
        row->topic = strdup(mam_pg_text(result, i, 3));
        if (!row->publisher || !row->topic)
                return -ENOMEM;
        if (b->n == 1)
                b->oldest_usec = mam_pg_int(result, i, 1) > 0 ? (uint64_t) mam_pg_int(result, i, 1) : 1;

        r = mam_event_parse(&row->event, text, strlen(text), &error);
        if (r == -EBADMSG)
                return relay_row_reject(row, "not a CloudEvent: %s: %s", error.pointer, error.message);
        if (r == -EFBIG)
                return relay_row_reject(row, "the event is too large");
        return r;
}

int relay_batch_read(RelayBatch *b, const MamPgResult *result) {
        size_t rows = mam_pg_rows(result);
        int r;

        assert(b->n == 0);

        if (rows == 0 || rows - 1 > RELAY_EVENTS_MAX || !mam_pg_is_null(result, rows - 1, 0))
                return -EBADMSG;
        for (size_t i = 0; i + 1 < rows; i++) {
                r = read_row(b, result, i);
                if (r < 0)
                        return r;
        }
        b->high = mam_pg_int(result, rows - 1, 1);
        b->next = strtoull(mam_pg_text(result, rows - 1, 2), NULL, 10);
        b->snapshot = strdup(mam_pg_text(result, rows - 1, 3));
        b->more = mam_pg_text(result, rows - 1, 4)[0] != '\0';
        return b->snapshot ? 0 : -ENOMEM;
}

int relay_row_check(RelayRow *row, const TopicInfo *topic, SchemaRegistry *schemas) {
        uint64_t bytes_max = topic->settings.bytes_max ?: 256 * 1024;
        MamJsonError error = { 0 };
        size_t size;
        int r;

        if (!row->event)
                return 0;
        if (topic->settings.kind == TOPIC_VOLATILE)
                return relay_row_reject(
                                row,
                                "topic %s is volatile, which the outbox is not for",
                                row->topic);
        (void) mam_event_text(row->event, &size);
        if (size > bytes_max) {
                return relay_row_reject(
                                row,
                                "%zu bytes, of which topic %s takes %" PRIu64 " at most",
                                size,
                                row->topic,
                                bytes_max);
        }
        if (topic->settings.schema == SCHEMA_NONE || !schemas)
                return 0;
        r = schema_registry_check(schemas, topic->settings.schema, row->event, &error);
        if (r == -EBADMSG)
                return relay_row_reject(
                                row,
                                "does not fit its schema: %s: %s",
                                error.pointer,
                                error.message);
        if (r == -ENOKEY)
                return relay_row_reject(
                                row,
                                "topic %s requires a schema, and there is none for it",
                                row->topic);
        return r;
}

/* An element of an array literal, quoted. */
static int append_element(MamBuffer *b, const char *text, size_t size) {
        const char *end = text + size;
        int r;

        r = mam_buffer_append(b, b->size == 0 ? "{\"" : ",\"", 2);
        while (r >= 0 && text < end) {
                size_t n = 0;

                while (text + n < end && text[n] != '"' && text[n] != '\\')
                        n++;
                r = mam_buffer_append(b, text, n);
                text += n;
                if (r >= 0 && text < end) {
                        char escaped[2] = { '\\', *text++ };

                        r = mam_buffer_append(b, escaped, 2);
                }
        }
        return r < 0 ? r : mam_buffer_append(b, "\"", 1);
}

static int append_number(MamBuffer *b, int64_t number) {
        return mam_buffer_appendf(b, "%s%" PRId64, b->size == 0 ? "{" : ",", number);
}

static int format_row(const RelayRow *row, MamBuffer *ret) {
        size_t size;
        const char *text;
        int r;

        if (!row->event) {
                r = append_number(ret + 6, row->number);
                return r < 0 ? r : append_element(ret + 7, row->reason, strlen(row->reason));
        }

        text = mam_event_text(row->event, &size);
        r = append_number(ret, row->number);
        if (r >= 0)
                r = append_element(ret + 1, row->topic, strlen(row->topic));
        if (r >= 0)
                r = append_element(ret + 2, mam_event_key(row->event), strlen(mam_event_key(row->event)));
        if (r >= 0)
                r =
                                append_element(ret + 3,
                                               mam_event_source(row->event),
                                               strlen(mam_event_source(row->event)));
        if (r >= 0)
                r = append_element(ret + 4, mam_event_id(row->event), strlen(mam_event_id(row->event)));
        if (r >= 0)
                r = append_element(ret + 5, text, size);
        return r;
}

int relay_batch_format(const RelayBatch *b, MamBuffer ret[static RELAY_MOVE_PARAMETERS]) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < b->n; i++)
                r = format_row(b->rows + i, ret);
        for (size_t i = 0; r >= 0 && i < RELAY_MOVE_PARAMETERS; i++)
                r = mam_buffer_append_string(ret + i, ret[i].size == 0 ? "{}" : "}");
        return r;
}
