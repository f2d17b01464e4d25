/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CloudEvents in JSON
 *
 * A text is scanned once, in place: that gives the attributes and where the data lies. Then one allocation
 * is made for all of an event: the object, its attributes as strings, and the text that is kept. No tree is
 * built; data becomes one when somebody asks for it.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "libmam/events/event-internal.h"
#include "libmam/json/json-internal.h"
#include "libmam/util/macro.h"

typedef struct Attribute {
        const char *name, *value; /* NUL-terminated, within the event */
} Attribute;

struct MamEvent {
        const char *known[_EVENT_ATTRIBUTE_MAX]; /* within the event; NULL: not there */
        char *text;                              /* within the event */
        size_t text_size;
        EventData data_kind;
        size_t data_start, data_size; /* in text */
        json_object *data;            /* owned; with data_is_parsed */
        bool data_is_parsed;
        size_t n_attributes;
        Attribute attributes[]; /* then the strings, then the text */
};

/* What was found in a text. */
typedef struct Member {
        MamJsonSlice key, value;
        EventAttribute attribute;
} Member;

typedef struct Found {
        Member members[MAM_EVENT_ATTRIBUTES_MAX];
        size_t n;
        size_t strings_max; /* bytes that names and values take, as strings */
        size_t text_max;
        EventData data_kind;
        MamJsonSlice data_key, data;
        bool trusted; /* mam stored it: it is as it should be */
} Found;

static int fail(MamJsonScan *s, const Member *m, const char *message) {
        char name[EVENT_NAME_MAX + 1];

        snprintf(name, sizeof(name), "%.*s", (int) (m->key.size - 2), s->text + m->key.start + 1);
        return mam_json_fail(s->error, "", name, "%s", message);
}

/* Something within its value is wrong. */
static void prepend(MamJsonScan *s, const Member *m) {
        char name[EVENT_NAME_MAX + 1];

        snprintf(name, sizeof(name), "%.*s", (int) (m->key.size - 2), s->text + m->key.start + 1);
        mam_json_error_prepend(s->error, name);
}

/* A name may be any JSON string until it was checked: for the pointer it is cut. */
static int fail_name(MamJsonScan *s, const MamJsonSlice *key) {
        char name[EVENT_NAME_MAX + 1];

        snprintf(name, sizeof(name), "%.*s", (int) (key->size - 2), s->text + key->start + 1);
        return mam_json_fail(
                        s->error,
                        "",
                        name,
                        "is no name of an attribute: they have 1 to 64 letters a-z and digits");
}

static int check_value(MamJsonScan *s, const Member *m) {
        const char *value = s->text + m->value.start;

        switch (m->value.kind) {
        case MAM_JSON_STRING:
                return 0; /* when it is copied */
        case MAM_JSON_BOOLEAN:
                break;
        case MAM_JSON_INTEGER: {
                char text[16];
                long long v;

                if (m->value.size >= sizeof(text))
                        return fail(s, m, "must be an integer of 32 bits");
                memcpy(text, value, m->value.size);
                text[m->value.size] = '\0';
                v = strtoll(text, NULL, 10);
                if (v < INT32_MIN || v > INT32_MAX)
                        return fail(s, m, "must be an integer of 32 bits");
                if (v == 0 && *text == '-')
                        return fail(s, m, "must be 0 rather than -0");
                break;
        }
        default:
                return fail(s, m, "must be a string, an integer, or true or false");
        }
        return m->attribute < _EVENT_ATTRIBUTE_MAX ? fail(s, m, "must be a string") : 0;
}

static int find_data(MamJsonScan *s, Found *f, const MamJsonSlice *key, bool base64) {
        Member m = { .key = *key };
        int r;

        r = mam_json_scan_value(s, &m.value);
        if (r < 0) {
                if (r == -EBADMSG)
                        mam_json_error_prepend(s->error, base64 ? "data_base64" : "data");
                return r;
        }
        if (f->data_kind != EVENT_DATA_NONE)
                return fail(s, &m, "there must be only one of data and data_base64");
        if (base64) {
                if (m.value.kind == MAM_JSON_NULL)
                        return 0;
                if (m.value.kind != MAM_JSON_STRING || m.value.has_escape ||
                    event_base64_size(s->text + m.value.start + 1, m.value.size - 2) < 0)
                        return fail(s, &m, "must be a string in base64");
        }
        f->data_kind = base64 ? EVENT_DATA_BASE64 : EVENT_DATA_JSON;
        f->data_key = *key;
        f->data = m.value;
        f->text_max += key->size + m.value.size + 2;
        return 0;
}

static bool is_known_already(const MamJsonScan *s, const Found *f, const MamJsonSlice *key) {
        for (size_t i = 0; i < f->n; i++) {
                if (f->members[i].key.size == key->size &&
                    memcmp(s->text + f->members[i].key.start, s->text + key->start, key->size) == 0)
                        return true;
        }
        return false;
}

static int find_member(MamJsonScan *s, Found *f) {
        Member m = { 0 };
        const char *name;
        size_t size;
        int r;

        r = mam_json_scan_key(s, &m.key);
        if (r < 0)
                return r;
        name = s->text + m.key.start + 1;
        size = m.key.size - 2;
        if (size == 4 && memcmp(name, "data", 4) == 0)
                return find_data(s, f, &m.key, false);
        if (size == 11 && memcmp(name, "data_base64", 11) == 0)
                return find_data(s, f, &m.key, true);
        if (!event_name_is_valid(name, size))
                return fail_name(s, &m.key);
        if (is_known_already(s, f, &m.key))
                return fail(s, &m, "duplicate key");
        if (f->n >= MAM_EVENT_ATTRIBUTES_MAX)
                return mam_json_fail(s->error, "", NULL, "has more than 64 attributes");

        r = mam_json_scan_value(s, &m.value);
        if (r < 0) {
                if (r == -EBADMSG)
                        prepend(s, &m);
                return r;
        }
        if (m.value.kind != MAM_JSON_NULL) {
                m.attribute = event_attribute_by_name(name, size);
                if (!f->trusted) {
                        r = check_value(s, &m);
                        if (r < 0)
                                return r;
                }
                f->strings_max += size + 1 + m.value.size + 1;
                f->text_max += m.key.size + m.value.size + 2;
        }
        f->members[f->n++] = m; /* one that is null counts as a key, and is no attribute */
        return 0;
}

/* Finds all members of the object that comes next. */
static int find(MamJsonScan *s, Found *f) {
        int r;

        f->n = 0;
        f->strings_max = 0;
        f->text_max = 2;
        f->data_kind = EVENT_DATA_NONE;
        r = mam_json_scan_enter(s, '{');
        while (r > 0) {
                r = find_member(s, f);
                if (r < 0)
                        return r;
                /* What is stored has its data last, and need not be read through. */
                r = f->trusted && f->data_kind != EVENT_DATA_NONE ? 0 : mam_json_scan_next(s, '}');
        }
        return r;
}

static char *put(char *p, const char *text, size_t size) {
        memcpy(p, text, size);
        return p + size;
}

/* Appends "name":value to the text. */
static char *put_member(char *p, char *begin, const MamJsonScan *s, const Member *m) {
        const char *value = s->text + m->value.start;

        *p = p == begin ? (char) '{' : (char) ',';
        p = put(p + 1, s->text + m->key.start, m->key.size);
        *p++ = ':';
        if (m->value.has_space)
                return p + mam_json_copy_compact(p, value, m->value.size);
        return put(p, value, m->value.size);
}

/* Copies an attribute's name and value as strings. */
static int put_strings(MamEvent *e, char **p, MamJsonScan *s, const Member *m, bool trusted) {
        Attribute *a = &e->attributes[e->n_attributes];
        const char *value = s->text + m->value.start, *problem;
        size_t size;

        a->name = *p;
        *p = put(*p, s->text + m->key.start + 1, m->key.size - 2);
        *(*p)++ = '\0';
        a->value = *p;
        if (m->value.kind != MAM_JSON_STRING) {
                memcpy(*p, value, m->value.size);
                size = m->value.size;
        } else if (m->value.has_escape) {
                size = mam_json_copy_unescaped(*p, value, m->value.size);
        } else {
                size = m->value.size - 2;
                memcpy(*p, value + 1, size);
        }
        (*p)[size] = '\0';
        if (!trusted && m->value.kind == MAM_JSON_STRING) {
                problem = event_value_problem(m->attribute, *p, size);
                if (problem)
                        return fail(s, m, problem);
        }
        *p += size + 1;
        if (m->attribute < _EVENT_ATTRIBUTE_MAX)
                e->known[m->attribute] = a->value;
        e->n_attributes++;
        return 0;
}

static int check_required(const MamEvent *e, MamJsonScan *s) {
        static const struct {
                EventAttribute attribute;
                const char *name;
        } required[] = {
                { EVENT_SPECVERSION, "specversion" },
                { EVENT_ID, "id" },
                { EVENT_SOURCE, "source" },
                { EVENT_TYPE, "type" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(required); i++) {
                if (!e->known[required[i].attribute])
                        return mam_json_fail(s->error, "", required[i].name, "is required");
        }
        return 0;
}

/* Makes the event of what was found. text: what is kept already; NULL: it is made here. */
static int build(MamEvent **ret, MamJsonScan *s, const Found *f, const char *text, size_t text_size) {
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        char *strings, *p, *begin;
        int r;

        e = malloc(sizeof(*e) + f->n * sizeof(Attribute) + f->strings_max +
                   (text ? text_size : f->text_max) + 1);
        if (!e)
                return -ENOMEM;
        memset(e, 0, sizeof(*e));
        strings = (char *) (e->attributes + f->n);
        begin = p = e->text = strings + f->strings_max;

        for (size_t i = 0; i < f->n; i++) {
                if (f->members[i].value.kind == MAM_JSON_NULL)
                        continue;
                r = put_strings(e, &strings, s, &f->members[i], f->trusted);
                if (r < 0)
                        return r;
                if (!text)
                        p = put_member(p, begin, s, &f->members[i]);
        }
        r = check_required(e, s);
        if (r < 0)
                return r;

        e->data_kind = f->data_kind;
        if (text) {
                p = put(p, text, text_size);
                e->data_start = f->data.start;
                e->data_size = f->data.size;
        } else {
                if (f->data_kind != EVENT_DATA_NONE) {
                        Member m = { .key = f->data_key, .value = f->data };
                        size_t start = (size_t) (p - begin) + 1 + f->data_key.size + 1;

                        p = put_member(p, begin, s, &m);
                        e->data_start = start;
                        e->data_size = (size_t) (p - begin) - start;
                }
                *p++ = '}';
        }
        *p = '\0';
        e->text_size = (size_t) (p - begin);
        *ret = MAM_TAKE(e);
        return 0;
}

/* The event that comes next. */
static int read_one(MamEvent **ret, MamJsonScan *s) {
        Found f;
        int r;

        f.trusted = false;
        r = find(s, &f);
        if (r < 0)
                return r;
        if (f.text_max > MAM_EVENT_SIZE_MAX) {
                (void) mam_json_fail(s->error, "", NULL, "is larger than %u bytes", MAM_EVENT_SIZE_MAX);
                return -EFBIG;
        }
        return build(ret, s, &f, NULL, 0);
}

int mam_event_parse(MamEvent **ret, const char *text, size_t size, MamJsonError *error) {
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        MamJsonError scratch;
        MamJsonScan s;
        int r;

        assert(ret);

        mam_json_scan_init(&s, text, size, error ? error : &scratch);
        r = read_one(&e, &s);
        if (r < 0)
                return r;
        r = mam_json_scan_end(&s);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(e);
        return 0;
}

int mam_event_parse_batch(
                MamEvent **ret,
                size_t max,
                size_t *ret_n,
                const char *text,
                size_t size,
                MamJsonError *error) {
        MamJsonError scratch;
        MamJsonScan s;
        size_t n = 0;
        int r;

        assert(ret);
        assert(ret_n);

        mam_json_scan_init(&s, text, size, error ? error : &scratch);
        r = mam_json_scan_enter(&s, '[');
        while (r > 0) {
                if (n >= max) {
                        (void) mam_json_fail(s.error, "", NULL, "has more than %zu events", max);
                        r = -EFBIG;
                        break;
                }
                r = read_one(&ret[n], &s);
                if (r < 0) {
                        char index[24];

                        snprintf(index, sizeof(index), "%zu", n);
                        if (r != -ENOMEM)
                                mam_json_error_prepend(s.error, index);
                        break;
                }
                n++;
                r = mam_json_scan_next(&s, ']');
        }
        if (r == 0)
                r = mam_json_scan_end(&s);
        if (r < 0) {
                for (size_t i = 0; i < n; i++)
                        ret[i] = mam_event_free(ret[i]);
                return r;
        }
        *ret_n = n;
        return 0;
}

int mam_event_from_json(MamEvent **ret, json_object *object, const char *parent, MamJsonError *error) {
        MamJsonError found;
        const char *text;
        int r;

        assert(ret);
        assert(parent);

        text = mam_json_to_string(object);
        if (!text)
                return -ENOMEM;
        r = mam_event_parse(ret, text, strlen(text), &found);
        if ((r == -EBADMSG || r == -EFBIG) && error) {
                *error = found;
                error->offset = SIZE_MAX; /* the text was ours */
                (void) snprintf(error->pointer,
                                sizeof(error->pointer),
                                "%.120s%.130s",
                                parent,
                                found.pointer);
        }
        return r;
}

int mam_event_from_stored(MamEvent **ret, const char *text, size_t size) {
        MamJsonError error;
        MamJsonScan s;
        Found f;
        int r;

        assert(ret);

        mam_json_scan_init(&s, text, size, &error);
        f.trusted = true;
        r = find(&s, &f);
        if (r < 0)
                return r;
        return build(ret, &s, &f, text, size);
}

MamEvent *mam_event_free(MamEvent *e) {
        if (!e)
                return NULL;
        json_object_put(e->data);
        free(e);
        return NULL;
}

const char *mam_event_id(const MamEvent *e) {
        return e->known[EVENT_ID];
}

const char *mam_event_source(const MamEvent *e) {
        return e->known[EVENT_SOURCE];
}

const char *mam_event_type(const MamEvent *e) {
        return e->known[EVENT_TYPE];
}

const char *mam_event_subject(const MamEvent *e) {
        return e->known[EVENT_SUBJECT];
}

const char *mam_event_time(const MamEvent *e) {
        return e->known[EVENT_TIME];
}

const char *mam_event_content_type(const MamEvent *e) {
        return e->known[EVENT_DATACONTENTTYPE];
}

const char *mam_event_data_schema(const MamEvent *e) {
        return e->known[EVENT_DATASCHEMA];
}

const char *mam_event_attribute(const MamEvent *e, const char *name) {
        assert(name);

        for (size_t i = 0; i < e->n_attributes; i++) {
                if (strcmp(e->attributes[i].name, name) == 0)
                        return e->attributes[i].value;
        }
        return NULL;
}

const char *mam_event_key(const MamEvent *e) {
        if (e->known[EVENT_PARTITIONKEY])
                return e->known[EVENT_PARTITIONKEY];
        return e->known[EVENT_SUBJECT] ? e->known[EVENT_SUBJECT] : e->known[EVENT_SOURCE];
}

const char *mam_event_text(const MamEvent *e, size_t *ret_size) {
        if (ret_size)
                *ret_size = e->text_size;
        return e->text;
}

EventData event_raw_data(const MamEvent *e, const char **ret, size_t *ret_size) {
        *ret = e->text + e->data_start;
        *ret_size = e->data_size;
        return e->data_kind;
}

bool event_attribute_at(const MamEvent *e, size_t n, const char **ret_name, const char **ret_value) {
        if (n >= e->n_attributes)
                return false;
        *ret_name = e->attributes[n].name;
        *ret_value = e->attributes[n].value;
        return true;
}

json_object *mam_event_data(MamEvent *e) {
        assert(e);

        if (e->data_is_parsed || e->data_kind != EVENT_DATA_JSON)
                return e->data;
        e->data_is_parsed = true;
        if (event_content_type_is_json(mam_event_content_type(e)))
                (void) mam_json_parse(&e->data, e->text + e->data_start, e->data_size, NULL);
        return e->data;
}
