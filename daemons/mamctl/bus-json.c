/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Bus messages as JSON
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/macro.h"
#include "mamctl/bus-json.h"

#define DEPTH_MAX 16U

static int read_value(sd_bus_message *m, json_object **ret, bool property_names, unsigned depth);

/* A new object may be NULL for want of memory only. */
static int created(json_object **ret, json_object *o) {
        if (!o)
                return -ENOMEM;
        *ret = o;
        return 1;
}

/* 15 digits: what a double keeps of a decimal number, so that 0.1 stays "0.1" */
static int created_double(json_object **ret, double value) {
        json_object *o;

        o = json_object_new_double(value);
        if (o)
                json_object_set_serializer(o, json_object_double_to_json_string, (void *) "%.15g", NULL);
        return created(ret, o);
}

static int read_basic(sd_bus_message *m, char type, json_object **ret) {
        union {
                uint8_t y;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
                int b;
                const char *s;
        } v;
        int r;

        r = sd_bus_message_read_basic(m, type, &v);
        if (r <= 0)
                return r;

        switch (type) {
        case SD_BUS_TYPE_BYTE:
                return created(ret, json_object_new_int(v.y));
        case SD_BUS_TYPE_BOOLEAN:
                return created(ret, json_object_new_boolean(v.b));
        case SD_BUS_TYPE_INT16:
                return created(ret, json_object_new_int(v.n));
        case SD_BUS_TYPE_UINT16:
                return created(ret, json_object_new_int(v.q));
        case SD_BUS_TYPE_INT32:
                return created(ret, json_object_new_int(v.i));
        case SD_BUS_TYPE_UINT32:
                return created(ret, json_object_new_int64(v.u));
        case SD_BUS_TYPE_INT64:
                return created(ret, json_object_new_int64(v.x));
        case SD_BUS_TYPE_UINT64:
                return created(ret, json_object_new_uint64(v.t));
        case SD_BUS_TYPE_DOUBLE:
                return created_double(ret, v.d);
        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
        case SD_BUS_TYPE_SIGNATURE:
                return created(ret, json_object_new_string(v.s));
        default:
                return -EBADMSG; /* descriptors have no place in JSON */
        }
}

void bus_json_key(char *ret, size_t size, const char *property) {
        size_t n = 0;

        assert(size > 0);

        /* a word begins at a capital behind a small letter, or before one at the end of an abbreviation;
         * "USec" is one word */
        for (const char *p = property; *p && n + 2 < size; p++) {
                bool capital = isupper((unsigned char) *p);

                if (p > property && capital && strncmp(p - 1, "USec", 4) != 0 &&
                    (!isupper((unsigned char) p[-1]) || islower((unsigned char) p[1])))
                        ret[n++] = '_';
                ret[n++] = (char) tolower((unsigned char) *p);
        }
        ret[n] = '\0';
}

static int read_entry(sd_bus_message *m, json_object *to, bool property_names, unsigned depth) {
        _cleanup_(json_object_putp) json_object *value = NULL;
        const char *name;
        char key[128];
        int r;

        r = sd_bus_message_read_basic(m, 's', &name);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;

        r = read_value(m, &value, false, depth + 1);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;

        if (property_names)
                bus_json_key(key, sizeof(key), name);
        if (json_object_object_add(to, property_names ? key : name, value) < 0)
                return -ENOMEM;
        value = NULL;
        return 0;
}

static int read_dictionary(
                sd_bus_message *m,
                const char *contents,
                json_object **ret,
                bool property_names,
                unsigned depth) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        char entry[256];
        size_t length = strlen(contents);
        int r;

        /* "{sv}" without its braces */
        if (length < 4 || length >= sizeof(entry) || contents[1] != 's')
                return -EBADMSG;
        memcpy(entry, contents + 1, length - 2);
        entry[length - 2] = '\0';

        o = json_object_new_object();
        if (!o)
                return -ENOMEM;

        while ((r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
                r = read_entry(m, o, property_names, depth);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        *ret = MAM_TAKE(o);
        return 1;
}

static int read_list(sd_bus_message *m, json_object **ret, unsigned depth) {
        _cleanup_(json_object_putp) json_object *list = NULL;
        json_object *value = NULL;
        int r;

        list = json_object_new_array();
        if (!list)
                return -ENOMEM;

        while ((r = read_value(m, &value, false, depth + 1)) > 0) {
                if (json_object_array_add(list, value) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
                value = NULL;
        }
        if (r < 0)
                return r;

        *ret = MAM_TAKE(list);
        return 1;
}

static int read_value(sd_bus_message *m, json_object **ret, bool property_names, unsigned depth) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        const char *contents;
        char type;
        int r;

        if (depth > DEPTH_MAX)
                return -EBADMSG;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r;

        if (type != 'a' && type != 'r' && type != 'v')
                return read_basic(m, type, ret);

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;

        if (type == 'v') {
                r = read_value(m, &o, false, depth + 1);
        } else if (type == 'a' && *contents == '{') {
                r = read_dictionary(m, contents, &o, property_names, depth);
        } else {
                r = read_list(m, &o, depth);
        }
        if (r <= 0)
                return r < 0 ? r : -EBADMSG; /* a variant that holds nothing */

        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(o);
        return 1;
}

int bus_json_read(sd_bus_message *m, json_object **ret) {
        return read_value(m, ret, false, 0);
}

int bus_json_read_properties(sd_bus_message *m, json_object **ret) {
        return read_value(m, ret, true, 0);
}

static int name_members(json_object *row, const char *const *keys, size_t n, json_object **ret) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        if (!json_object_is_type(row, json_type_array) || json_object_array_length(row) < n)
                return -EBADMSG;

        o = json_object_new_object();
        if (!o)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                json_object *value = json_object_get(json_object_array_get_idx(row, i));

                if (json_object_object_add(o, keys[i], value) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
        }
        *ret = MAM_TAKE(o);
        return 0;
}

int bus_json_read_rows(sd_bus_message *m, const char *const *keys, size_t n, json_object **ret) {
        _cleanup_(json_object_putp) json_object *rows = NULL, *objects = NULL;
        int r;

        r = bus_json_read(m, &rows);
        if (r <= 0)
                return r;
        if (!json_object_is_type(rows, json_type_array))
                return -EBADMSG;

        objects = json_object_new_array();
        if (!objects)
                return -ENOMEM;

        for (size_t i = 0; i < json_object_array_length(rows); i++) {
                json_object *o = NULL;

                r = name_members(json_object_array_get_idx(rows, i), keys, n, &o);
                if (r < 0)
                        return r;
                if (json_object_array_add(objects, o) < 0) {
                        json_object_put(o);
                        return -ENOMEM;
                }
        }

        *ret = MAM_TAKE(objects);
        return 1;
}

json_object *json_member(json_object *o, const char *key) {
        json_object *value = NULL;

        return json_object_object_get_ex(o, key, &value) ? value : NULL;
}

const char *json_text(json_object *o, const char *key) {
        json_object *value = json_member(o, key);

        return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

uint64_t json_number(json_object *o, const char *key) {
        return json_object_get_uint64(json_member(o, key));
}

double json_real(json_object *o, const char *key) {
        return json_object_get_double(json_member(o, key));
}

size_t json_length(json_object *list) {
        return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

int json_pick(json_object *list, const char *const *keys, size_t n_keys, json_object **ret) {
        _cleanup_(json_object_putp) json_object *picked = NULL;

        assert(keys);
        assert(ret);

        picked = json_object_new_array();
        if (!picked)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(list); i++) {
                json_object *from = json_object_array_get_idx(list, i), *o = json_object_new_object();

                if (!o || json_object_array_add(picked, o) < 0) {
                        json_object_put(o);
                        return -ENOMEM;
                }
                for (size_t k = 0; k < n_keys; k++)
                        json_object_object_add(o, keys[k], json_object_get(json_member(from, keys[k])));
        }
        *ret = MAM_TAKE(picked);
        return 0;
}
