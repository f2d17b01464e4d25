/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: CloudEvents, structured, batched and binary
 *
 * An input that begins with "[" is a batch; one that begins with "ce-" or "content-type" has fields as in
 * HTTP, an empty line, and data; any other is the JSON form of one event. Beside memory errors it looks for
 * broken promises: something refused without an error, a text that is not read back as it was, an event that
 * comes back from the binary form as another one.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libmam/events/event.h"

#define FIELDS_MAX 100U
#define EVENTS_MAX 20U

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

static void same(const char *a, const char *b) {
        check(a && b ? strcmp(a, b) == 0 : a == b);
}

static void same_event(const MamEvent *a, const MamEvent *b) {
        same(mam_event_id(a), mam_event_id(b));
        same(mam_event_source(a), mam_event_source(b));
        same(mam_event_type(a), mam_event_type(b));
        same(mam_event_subject(a), mam_event_subject(b));
        same(mam_event_time(a), mam_event_time(b));
        same(mam_event_data_schema(a), mam_event_data_schema(b));
        same(mam_event_key(a), mam_event_key(b));
        same(mam_event_attribute(a, "x"), mam_event_attribute(b, "x"));
}

typedef struct Fields {
        const char *names[FIELDS_MAX], *values[FIELDS_MAX];
        size_t n;
} Fields;

static bool field(size_t n, const char **ret_name, const char **ret_value, void *userdata) {
        const Fields *f = userdata;

        if (n >= f->n)
                return false;
        *ret_name = f->names[n];
        *ret_value = f->values[n];
        return true;
}

/* Up to the empty line, in place; returns what is behind it. */
static char *split_fields(Fields *f, char *text) {
        f->n = 0;
        while (*text) {
                char *line = text, *end = strchr(text, '\n'), *colon;

                text = end ? end + 1 : text + strlen(text);
                if (end)
                        *end = '\0';
                if (end && end > line && end[-1] == '\r')
                        end[-1] = '\0';
                if (*line == '\0')
                        break;
                colon = strchr(line, ':');
                if (!colon || f->n == FIELDS_MAX)
                        continue;
                *colon++ = '\0';
                f->names[f->n] = line;
                f->values[f->n++] = colon + strspn(colon, " ");
        }
        return text;
}

static int from_binary(MamEvent **ret, char *text, size_t size) {
        MamJsonError error = { 0 };
        Fields f;
        char *body = split_fields(&f, text);
        int r;

        r = mam_event_from_binary(ret, field, &f, body, size - (size_t) (body - text), &error);
        check(r == 0 || r == -ENOMEM || r == -EFBIG || (r == -EBADMSG && error.message[0] != '\0'));
        return r;
}

static void through_binary(const MamEvent *e) {
        _cleanup_(mam_buffer_done) MamBuffer fields = MAM_BUFFER_INIT, body = MAM_BUFFER_INIT;
        _cleanup_(mam_event_freep) MamEvent *back = NULL;
        Fields f;
        int r;

        check(mam_event_to_binary(e, &fields, &body) >= 0);
        check(mam_buffer_append(&fields, "", 1) >= 0);
        (void) split_fields(&f, fields.data + fields.start);
        r = mam_event_from_binary(&back, field, &f, mam_buffer_bytes(&body), body.size, NULL);
        if (r == -EFBIG)
                return; /* data may take more room as text */
        check(r == 0);
        same_event(e, back);
}

static void check_event(MamEvent *e) {
        _cleanup_(mam_event_freep) MamEvent *again = NULL, *stored = NULL;
        const char *text;
        size_t n, n_again;

        text = mam_event_text(e, &n);
        check(strlen(text) == n && n <= MAM_EVENT_SIZE_MAX);
        check(mam_event_parse(&again, text, n, NULL) == 0);
        same_event(e, again);
        same(mam_event_text(again, &n_again), text);
        check(mam_event_from_stored(&stored, text, n) == 0);
        same_event(e, stored);
        check(!mam_event_data(e) == !mam_event_data(stored));
        through_binary(e);
}

static void run_batch(const char *text, size_t size) {
        MamEvent *events[EVENTS_MAX] = { NULL };
        MamJsonError error = { 0 };
        size_t n = 0;
        int r;

        r = mam_event_parse_batch(events, EVENTS_MAX, &n, text, size, &error);
        check(r == 0 || r == -ENOMEM || r == -EFBIG || (r == -EBADMSG && error.message[0] != '\0'));
        for (size_t i = 0; r == 0 && i < n; i++) {
                check_event(events[i]);
                mam_event_free(events[i]);
        }
}

static int from_json(MamEvent **ret, const char *text, size_t size) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        MamEvent *other = NULL;
        MamJsonError error = { 0 };
        int r, k;

        r = mam_event_parse(ret, text, size, &error);
        check(r == 0 || r == -ENOMEM || r == -EFBIG || (r == -EBADMSG && error.message[0] != '\0'));
        if (mam_json_parse(&o, text, size, NULL) < 0) {
                check(r < 0);
                return r;
        }
        k = mam_event_from_json(&other, o, "", NULL);
        /* -0 is refused, but is 0 in a tree */
        check((k == 0) == (r == 0) || r == -EFBIG || k == -EFBIG || strstr(error.message, "-0"));
        if (k == 0 && r == 0)
                same_event(*ret, other);
        mam_event_free(other);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        _cleanup_(mam_freep) char *text = malloc(size + 1);
        int r;

        check(text != NULL);
        memcpy(text, bytes, size);
        text[size] = '\0';
        if (*text == '[') {
                run_batch(text, size);
                return 0;
        }
        if (strncasecmp(text, "ce-", 3) == 0 || strncasecmp(text, "content-type", 12) == 0)
                r = from_binary(&e, text, size);
        else
                r = from_json(&e, text, size);
        if (r == 0)
                check_event(e);
        return 0;
}
