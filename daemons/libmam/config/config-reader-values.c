/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Values of many kinds while a section is read
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-reader.h"
#include "libmam/config/gateway.h"
#include "libmam/util/quantity.h"

#define WORDS_SIZE_MAX 200U

bool mam_reader_get_int(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                int64_t min,
                int64_t max,
                int64_t *ret) {
        MamJsonError error;
        int r;

        r = mam_json_get_int(o, parent, key, min, max, ret, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        return r > 0;
}

bool mam_reader_get_bool(MamReader *rd, json_object *o, const char *parent, const char *key, bool *ret) {
        MamJsonError error;
        int r;

        r = mam_json_get_bool(o, parent, key, ret, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        return r > 0;
}

bool mam_reader_get_double(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                double min,
                double max,
                double *ret) {
        json_object *v;
        double d;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return false;
        d = json_object_get_double(v);
        if ((!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double)) ||
            !(d >= min && d <= max)) {
                mam_reader_bad_key(rd, parent, key, "must be a number from %g to %g", min, max);
                return false;
        }
        *ret = d;
        return true;
}

bool mam_reader_get_ppm(MamReader *rd, json_object *o, const char *parent, const char *key, uint32_t *ret) {
        double percent;

        if (!mam_reader_get_double(rd, o, parent, key, 0, 100, &percent))
                return false;
        *ret = (uint32_t) (percent * (MAM_PPM / 100.0) + 0.5);
        return true;
}

bool mam_reader_get_bytes(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                uint64_t min,
                uint64_t max,
                uint64_t *ret) {
        uint64_t bytes = 0;
        bool good = false;
        json_object *v;
        const char *text;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return false;
        if (json_object_is_type(v, json_type_string)) {
                if (mam_reader_text(rd, o, parent, key, &text) <= 0)
                        return false;
                good = mam_quantity_parse_bytes(text, &bytes) >= 0;
        } else if (json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= 0) {
                bytes = (uint64_t) json_object_get_int64(v);
                good = true;
        }
        if (!good || bytes < min || bytes > max) {
                char least[32], most[32];

                mam_quantity_format_bytes(least, min);
                mam_quantity_format_bytes(most, max);
                mam_reader_bad_key(
                                rd,
                                parent,
                                key,
                                "must be a number of bytes such as \"64Ki\", from %s to %s",
                                least,
                                most);
                return false;
        }
        *ret = bytes;
        return true;
}

bool mam_reader_get_section(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                const char *const *known,
                char ret_parent[static 128],
                json_object **ret) {
        MamJsonError error;
        int r;

        r = mam_json_get_object(o, parent, key, ret, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r <= 0)
                return false;
        (void) snprintf(ret_parent, 128, "%s/%s", parent, key);
        if (known)
                mam_reader_note(rd, mam_config_warn_unknown(rd->file, *ret, ret_parent, known));
        return true;
}

bool mam_reader_get_copy(MamReader *rd, json_object *o, const char *parent, const char *key, char **to) {
        const char *text;

        if (mam_reader_text(rd, o, parent, key, &text) <= 0)
                return false;
        mam_reader_copy(rd, to, text);
        return true;
}

bool mam_reader_get_word(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                const char *const *words,
                unsigned *ret) {
        char list[WORDS_SIZE_MAX] = "";
        const char *text, *nearest;
        size_t n = 0;

        if (mam_reader_text(rd, o, parent, key, &text) <= 0)
                return false;
        for (unsigned i = 0; words[i]; i++) {
                if (strcmp(words[i], text) == 0) {
                        *ret = i;
                        return true;
                }
        }

        for (size_t i = 0; words[i] && n < sizeof(list); i++) {
                const char *between = i == 0 ? "" : words[i + 1] ? ", " : " or ";
                int more = snprintf(list + n, sizeof(list) - n, "%s\"%s\"", between, words[i]);

                n += more > 0 ? (size_t) more : 0;
        }
        nearest = mam_config_suggest(text, words);
        mam_reader_bad_key(
                        rd,
                        parent,
                        key,
                        "must be %s%s%s%s",
                        list,
                        nearest ? "; did you mean \"" : "",
                        nearest ? nearest : "",
                        nearest ? "\"?" : "");
        return false;
}

/* One more at the end, unless it is wrong, which is reported. */
static void take_text(
                MamReader *rd,
                json_object *item,
                const char *parent,
                const char *index,
                bool (*check)(const char *text),
                const char *what,
                char **to,
                size_t *n) {
        const char *text = json_object_is_type(item, json_type_string) ? json_object_get_string(item) : NULL;
        bool good = text && strlen(text) == (size_t) json_object_get_string_len(item) &&
                    strlen(text) <= MAM_READER_TEXT_MAX;

        for (const char *c = text; good && *c; c++)
                good = (unsigned char) *c >= 0x20 && *c != 0x7f;
        if (!good || (check && !check(text))) {
                mam_reader_bad_key(rd, parent, index, "must be %s", what);
                return;
        }
        for (size_t i = 0; i < *n; i++) {
                if (strcmp(to[i], text) == 0) {
                        mam_reader_bad_key(rd, parent, index, "is listed twice");
                        return;
                }
        }
        mam_reader_copy(rd, &to[*n], text);
        (*n)++;
}

bool mam_reader_get_texts(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                size_t max,
                bool (*check)(const char *text),
                const char *what,
                char ***to) {
        char **list, inner[192], index[24];
        json_object *array;
        MamJsonError error;
        size_t n = 0;
        int r;

        r = mam_json_get_array(o, parent, key, &array, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r <= 0)
                return false;
        if (json_object_array_length(array) > max) {
                mam_reader_bad_key(rd, parent, key, "must not have more than %zu entries", max);
                return false;
        }
        list = calloc(json_object_array_length(array) + 1, sizeof(*list));
        if (!list) {
                mam_reader_note(rd, -ENOMEM);
                return false;
        }
        (void) snprintf(inner, sizeof(inner), "%s/%s", parent, key);
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                (void) snprintf(index, sizeof(index), "%zu", i);
                take_text(rd, json_object_array_get_idx(array, i), inner, index, check, what, list, &n);
        }
        mam_config_free_strings(*to);
        *to = list;
        return true;
}
