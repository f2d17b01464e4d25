/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CloudEvents in HTTP's binary form (HTTP protocol binding 1.0.2, section 3.1), and new ones
 *
 * Both write the JSON form and have it read as if it had come in: so what is allowed is decided in one
 * place.
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "libmam/events/event-internal.h"
#include "libmam/json/json-internal.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define FIELDS_MAX 256U /* of a request that are looked at */

static bool is_utf8(const char *text, size_t size) {
        for (size_t i = 0; i < size;) {
                unsigned char c = (unsigned char) text[i];
                size_t n = c < 0x80 ? 1 : mam_json_plain_length(text + i, size - i);

                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

static unsigned hex_value(char c) {
        return isdigit((unsigned char) c) ? (unsigned) (c - '0') : (unsigned) ((c | 0x20) - 'a') + 10;
}

/* Section 3.1.3.2: a quoted string loses its quotes, then percent-encoding is undone, once. In place; what
 * is wrong, or NULL. */
static const char *decode_value(char *value, size_t *size) {
        size_t n = *size, w = 0;

        if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
                for (size_t i = 1; i < n - 1; i++) {
                        if (value[i] == '\\' && ++i >= n - 1)
                                return "is a quoted string that does not end";
                        value[w++] = value[i];
                }
                n = w;
                w = 0;
        }
        for (size_t i = 0; i < n; i++) {
                char c = value[i];

                if (c == '%') {
                        if (n - i < 3 || !isxdigit((unsigned char) value[i + 1]) ||
                            !isxdigit((unsigned char) value[i + 2]))
                                return "has a '%' without two hexadecimal digits behind it";
                        c = (char) (hex_value(value[i + 1]) << 4 | hex_value(value[i + 2]));
                        i += 2;
                }
                value[w++] = c;
        }
        *size = w;
        return is_utf8(value, w) ? NULL : "is not valid UTF-8";
}

static int append_attribute(MamBuffer *text, const char *name, const char *value, size_t size) {
        int r;

        r = mam_buffer_appendf(text, "%c\"%s\":", text->size == 0 ? '{' : ',', name);
        if (r < 0)
                return r;
        return event_append_string(text, value, size);
}

/* A field of the request: "ce-…" becomes an attribute. */
static int read_field(MamBuffer *text, const char *field, const char *value, MamJsonError *error) {
        _cleanup_(mam_freep) char *copy = NULL;
        char name[EVENT_NAME_MAX + 1];
        size_t n = 0, size = strlen(value);
        const char *problem;

        if (strncasecmp(field, "ce-", 3) != 0)
                return 0;
        for (field += 3; *field && n < sizeof(name) - 1; field++)
                name[n++] = (char) tolower((unsigned char) *field);
        name[n] = '\0';
        if (*field || !event_name_is_valid(name, n) || strcmp(name, "data") == 0)
                return mam_json_fail(
                                error,
                                "",
                                name,
                                "is no name of an attribute: they have 1 to 64 letters a-z and digits");
        if (strcmp(name, "datacontenttype") == 0)
                return mam_json_fail(error, "", name, "is told by Content-Type");
        if (size > 4U * MAM_EVENT_ATTRIBUTE_MAX)
                return mam_json_fail(error, "", name, "is longer than %u bytes", MAM_EVENT_ATTRIBUTE_MAX);

        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        problem = decode_value(copy, &size);
        if (problem)
                return mam_json_fail(error, "", name, "%s", problem);
        return append_attribute(text, name, copy, size);
}

/* Bytes that are no JSON. */
static int append_base64(MamBuffer *text, const void *data, size_t size) {
        size_t n = event_base64_encoded_size(size);
        char *p;
        int r;

        r = mam_buffer_append_string(text, ",\"data_base64\":\"");
        if (r < 0)
                return r;
        r = mam_buffer_reserve(text, n, &p);
        if (r < 0)
                return r;
        event_base64_encode(p, data, size);
        mam_buffer_commit(text, n);
        return mam_buffer_append(text, "\"", 1);
}

/* data must be one JSON value, or it could bring members of its own. */
static int append_json(MamBuffer *text, const void *data, size_t size, MamJsonError *error) {
        MamJsonError scratch;
        MamJsonSlice value;
        MamJsonScan s;
        int r;

        mam_json_scan_init(&s, data, size, error ? error : &scratch);
        r = mam_json_scan_value(&s, &value);
        if (r >= 0)
                r = mam_json_scan_end(&s);
        if (r == -EBADMSG)
                mam_json_error_prepend(s.error, "data");
        if (r >= 0)
                r = mam_buffer_append_string(text, ",\"data\":");
        if (r >= 0)
                r = mam_buffer_append(text, (const char *) data + value.start, value.size);
        return r;
}

static int append_data(MamBuffer *text, const void *data, size_t size, bool is_json, MamJsonError *error) {
        if (size == 0)
                return 0;
        return is_json ? append_json(text, data, size, error) : append_base64(text, data, size);
}

/* Ends the text, and reads it. */
static int finish(MamEvent **ret, MamBuffer *text, MamJsonError *error) {
        int r;

        r = mam_buffer_append(text, "}", 1);
        if (r < 0)
                return r;
        return mam_event_parse(ret, mam_buffer_bytes(text), text->size, error);
}

int mam_event_from_binary(
                MamEvent **ret,
                MamEventField field,
                void *userdata,
                const void *body,
                size_t size,
                MamJsonError *error) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *content_type = NULL;
        const char *name, *value;
        int r;

        assert(ret);
        assert(field);

        if (size > MAM_EVENT_SIZE_MAX) {
                (void) mam_json_fail(error, "", "data", "is larger than %u bytes", MAM_EVENT_SIZE_MAX);
                return -EFBIG;
        }
        for (size_t n = 0; n < FIELDS_MAX && field(n, &name, &value, userdata); n++) {
                if (strcasecmp(name, "Content-Type") == 0 && *value && !content_type) {
                        content_type = strdup(value);
                        if (!content_type)
                                return -ENOMEM;
                }
                r = read_field(&text, name, value, error);
                if (r < 0)
                        return r;
        }
        if (text.size == 0)
                return mam_json_fail(
                                error,
                                "",
                                "specversion",
                                "is required: there is no field ce-specversion");
        if (content_type) {
                r = append_attribute(&text, "datacontenttype", content_type, strlen(content_type));
                if (r < 0)
                        return r;
        }
        r = append_data(&text, body, size, content_type && event_content_type_is_json(content_type), error);
        if (r < 0)
                return r;
        return finish(ret, &text, error);
}

/* Section 3.1.3.1: what is not printable ASCII, space, quote and percent. */
static int append_encoded(MamBuffer *b, const char *value) {
        int r = 0;

        while (*value && r >= 0) {
                size_t n = 0;

                while (value[n] > ' ' && value[n] < 0x7f && value[n] != '"' && value[n] != '%')
                        n++;
                r = mam_buffer_append(b, value, n);
                value += n;
                if (r >= 0 && *value)
                        r = mam_buffer_appendf(b, "%%%02X", (unsigned char) *value++);
        }
        return r;
}

static int write_body(const MamEvent *e, MamBuffer *fields, MamBuffer *body) {
        const char *type = mam_event_content_type(e), *data;
        size_t size;
        EventData kind = event_raw_data(e, &data, &size);
        char *p;
        int r;

        if (!type && kind == EVENT_DATA_JSON)
                type = "application/json";
        if (type) {
                r = mam_buffer_appendf(fields, "content-type: %s\r\n", type);
                if (r < 0)
                        return r;
        }
        if (kind == EVENT_DATA_NONE)
                return 0;
        if (kind == EVENT_DATA_JSON && (event_content_type_is_json(type) || *data != '"'))
                return mam_buffer_append(body, data, size);

        r = mam_buffer_reserve(body, size, &p);
        if (r < 0)
                return r;
        if (kind == EVENT_DATA_JSON) {
                mam_buffer_commit(body, mam_json_copy_unescaped(p, data, size));
                return 0;
        }
        event_base64_decode(p, data + 1, size - 2);
        mam_buffer_commit(body, (size_t) event_base64_size(data + 1, size - 2));
        return 0;
}

int mam_event_to_binary(const MamEvent *e, MamBuffer *fields, MamBuffer *body) {
        const char *name, *value;
        int r;

        assert(e);

        for (size_t n = 0; event_attribute_at(e, n, &name, &value); n++) {
                if (strcmp(name, "datacontenttype") == 0)
                        continue;
                r = mam_buffer_appendf(fields, "ce-%s: ", name);
                if (r >= 0)
                        r = append_encoded(fields, value);
                if (r >= 0)
                        r = mam_buffer_append_string(fields, "\r\n");
                if (r < 0)
                        return r;
        }
        return write_body(e, fields, body);
}

/* A random UUID (RFC 9562, version 4). */
static int make_id(char ret[static 37]) {
        unsigned char b[16];

        if (getrandom(b, sizeof(b), 0) != (ssize_t) sizeof(b))
                return -EIO;
        b[6] = (unsigned char) (0x40 | (b[6] & 0x0f));
        b[8] = (unsigned char) (0x80 | (b[8] & 0x3f));
        for (size_t i = 0, n = 0; i < sizeof(b); i++)
                n += (size_t) snprintf(
                                ret + n,
                                37 - n,
                                i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                                b[i]);
        return 0;
}

int mam_event_new(MamEvent **ret, const MamEventDraft *draft, MamJsonError *error) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        bool is_json = draft->data_size > 0 && !draft->data_is_binary;
        const char *type = draft->content_type ? draft->content_type : is_json ? "application/json" : NULL;
        char id[37], now[40];
        int r;

        assert(ret);

        r = make_id(id);
        if (r < 0)
                return r;
        mam_format_rfc3339(now, mam_now_realtime());
        {
                const struct {
                        const char *name, *value;
                } attributes[] = {
                        { "specversion", "1.0" },
                        { "id", draft->id ? draft->id : id },
                        { "source", draft->source },
                        { "type", draft->type },
                        { "subject", draft->subject },
                        { "time", draft->time ? draft->time : now },
                        { "datacontenttype", type },
                        { "dataschema", draft->data_schema },
                        { "partitionkey", draft->partition_key },
                        { "traceparent", draft->traceparent },
                        { "tracestate", draft->tracestate },
                };

                for (size_t i = 0; i < MAM_ELEMENTSOF(attributes); i++) {
                        const char *value = attributes[i].value;

                        if (!value)
                                continue;
                        if (!is_utf8(value, strlen(value)))
                                return mam_json_fail(error, "", attributes[i].name, "is not valid UTF-8");
                        r = append_attribute(&text, attributes[i].name, value, strlen(value));
                        if (r < 0)
                                return r;
                }
        }
        r = append_data(&text, draft->data, draft->data_size, is_json, error);
        if (r < 0)
                return r;
        return finish(ret, &text, error);
}
