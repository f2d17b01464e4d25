/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One definition of a service while it is read: what all its keys need
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-reader.h"
#include "libmam/util/time.h"

void mam_reader_note(MamReader *rd, int r) {
        if (r < 0 && rd->r == 0)
                rd->r = r;
}

void mam_reader_bad(MamReader *rd, const MamJsonError *error) {
        rd->bad = true;
        mam_reader_note(rd, mam_config_file_error(rd->file, error));
}

void mam_reader_bad_key(MamReader *rd, const char *parent, const char *key, const char *format, ...) {
        char message[sizeof(((MamJsonError *) NULL)->message)];
        MamJsonError error;
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        (void) mam_json_fail(&error, parent, key, "%s", message);
        mam_reader_bad(rd, &error);
}

void mam_reader_copy(MamReader *rd, char **to, const char *text) {
        char *s = strdup(text);

        if (!s)
                mam_reader_note(rd, -ENOMEM);
        free(*to);
        *to = s;
}

int mam_reader_text(MamReader *rd, json_object *o, const char *parent, const char *key, const char **ret) {
        MamJsonError error;
        const char *text;
        int r;

        r = mam_json_get_string(o, parent, key, &text, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r <= 0)
                return r;
        if (strlen(text) > MAM_READER_TEXT_MAX) {
                mam_reader_bad_key(rd, parent, key, "must not be longer than %u bytes", MAM_READER_TEXT_MAX);
                return -EBADMSG;
        }
        for (const char *c = text; *c; c++) {
                if ((unsigned char) *c < 0x20 || *c == 0x7f) {
                        mam_reader_bad_key(rd, parent, key, "must not contain control characters");
                        return -EBADMSG;
                }
        }
        *ret = text;
        return 1;
}

bool mam_reader_int(MamReader *rd, const char *key, int64_t min, int64_t max, int64_t *ret) {
        MamJsonError error;
        int r;

        r = mam_json_get_int(rd->object, rd->parent, key, min, max, ret, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        return r > 0;
}

bool mam_reader_bool(MamReader *rd, const char *key, bool *ret) {
        MamJsonError error;
        int r;

        r = mam_json_get_bool(rd->object, rd->parent, key, ret, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        return r > 0;
}

bool mam_reader_section(
                MamReader *rd,
                const char *key,
                const char *const *known,
                char parent[static 128],
                json_object **ret) {
        MamJsonError error;
        int r;

        r = mam_json_get_object(rd->object, rd->parent, key, ret, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r <= 0)
                return false;
        snprintf(parent, 128, "%s/%s", rd->parent, key);
        if (known)
                mam_reader_note(rd, mam_config_warn_unknown(rd->file, *ret, parent, known));
        return true;
}

void mam_reader_span(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                uint64_t min_usec,
                uint64_t max_usec,
                const char *what,
                uint64_t *ret) {
        uint64_t usec = MAM_USEC_INFINITY;
        json_object *v;
        const char *text;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return;
        if (json_object_is_type(v, json_type_string)) {
                if (mam_reader_text(rd, o, parent, key, &text) <= 0)
                        return;
                if (mam_parse_timespan(text, &usec) < 0)
                        usec = MAM_USEC_INFINITY;
        } else if (json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= 0 &&
                   json_object_get_int64(v) <= 86400) {
                usec = (uint64_t) json_object_get_int64(v) * MAM_USEC_PER_SEC;
        }

        if (usec < min_usec || usec > max_usec) {
                mam_reader_bad_key(rd, parent, key, "must be %s", what);
        } else {
                *ret = usec;
        }
}
