/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Filters: reading and matching
 */

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "event-bus/filter/cesql.h"
#include "event-bus/filter/filter.h"

#define NODES_MAX 500U
#define DEPTH_MAX 16U
#define PLACE_MAX 256U

typedef enum FilterKind {
        FILTER_EXACT,
        FILTER_PREFIX,
        FILTER_SUFFIX,
        FILTER_SQL,
        FILTER_JSON,
        FILTER_ALL,
        FILTER_ANY,
        FILTER_NOT,
} FilterKind;

struct Filter {
        FilterKind kind;
        Filter *first, *next; /* owned: children, siblings */

        const char *(*get)(const MamEvent *e); /* of the attribute, where it has a function */
        char *name;                            /* of the attribute */
        char *value;
        size_t size; /* of value */

        Cesql *sql;

        char *pointer; /* tokens, unescaped, each ended by NUL */
        size_t n_tokens;
        json_object *expected; /* owned; NULL is null */
};

typedef struct Parser {
        unsigned n, depth;
        MamJsonError *error;
} Parser;

static int parse_one(Parser *p, Filter **ret, json_object *o, const char *at);
static int parse_list(Parser *p, Filter **ret, json_object *array, const char *parent);

static void append(Filter *parent, Filter *child) {
        Filter **link = &parent->first;

        while (*link)
                link = &(*link)->next;
        *link = child;
}

Filter *filter_free(Filter *f) {
        while (f) {
                Filter *next = f->next;

                filter_free(f->first);
                free(f->name);
                free(f->value);
                free(f->pointer);
                cesql_free(f->sql);
                json_object_put(f->expected);
                free(f);
                f = next;
        }
        return NULL;
}

static int add(Parser *p, Filter **ret, FilterKind kind, const char *parent) {
        Filter *f;

        if (++p->n > NODES_MAX)
                return mam_json_fail(p->error, parent, NULL, "there are more conditions than are allowed");
        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->kind = kind;
        *ret = f;
        return 0;
}

/* parent/key, cut where it is too long. */
static void place(char ret[static PLACE_MAX], const char *parent, const char *key) {
        if ((size_t) snprintf(ret, PLACE_MAX, "%s/%s", parent, key) >= PLACE_MAX)
                ret[PLACE_MAX - 1] = '\0';
}

/* ---- conditions on attributes ---- */

static bool is_attribute_name(const char *s) {
        return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789")] == '\0';
}

static int set_attribute(Filter *f, const char *name, const char *value) {
        static const struct {
                const char *name;
                const char *(*get)(const MamEvent *e);
        } known[] = {
                { "type", mam_event_type },
                { "source", mam_event_source },
                { "subject", mam_event_subject },
                { "id", mam_event_id },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(known); i++)
                if (strcmp(known[i].name, name) == 0)
                        f->get = known[i].get;
        f->name = strdup(name);
        f->value = strdup(value);
        if (!f->name || !f->value)
                return -ENOMEM;
        f->size = strlen(value);
        return 0;
}

/* An object of attributes, all of which must fit. */
static int parse_attributes(Parser *p, Filter *parent, FilterKind kind, json_object *o, const char *at) {
        int r;

        if (!json_object_is_type(o, json_type_object) || json_object_object_length(o) == 0)
                return mam_json_fail(p->error, at, NULL, "must be an object of attributes and values");
        json_object_object_foreach(o, key, v) {
                const char *value = NULL;
                Filter *f = NULL;

                if (!is_attribute_name(key))
                        return mam_json_fail(p->error, at, key, "is not an attribute: a-z and 0-9");
                r = mam_json_get_string(o, at, key, &value, p->error);
                if (r < 0)
                        return r;
                if (r == 0 || *value == '\0')
                        return mam_json_fail(p->error, at, key, "must be a string that is not empty");
                (void) v;
                r = add(p, &f, kind, at);
                if (r < 0)
                        return r;
                append(parent, f);
                r = set_attribute(f, key, value);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- conditions on data ---- */

static int set_pointer(Parser *p, Filter *f, const char *pointer, const char *at) {
        char *out;

        if (*pointer != '/' && *pointer != '\0')
                return mam_json_fail(p->error, at, pointer, "must be a JSON pointer: \"/a/b\"");
        f->pointer = out = calloc(1, strlen(pointer) + 1);
        if (!f->pointer)
                return -ENOMEM;
        for (const char *s = pointer; *s; s++) {
                if (*s == '/') {
                        if (f->n_tokens++ > 0)
                                *out++ = '\0';
                } else if (*s == '~') {
                        if (s[1] != '0' && s[1] != '1')
                                return mam_json_fail(
                                                p->error,
                                                at,
                                                pointer,
                                                "must be a JSON pointer: \"/a/b\"");
                        *out++ = *++s == '0' ? '~' : '/';
                } else
                        *out++ = *s;
        }
        return 0;
}

static int parse_data(Parser *p, Filter *parent, json_object *o, const char *at) {
        int r;

        if (!json_object_is_type(o, json_type_object) || json_object_object_length(o) == 0)
                return mam_json_fail(p->error, at, NULL, "must be an object of JSON pointers and values");
        json_object_object_foreach(o, key, v) {
                Filter *f = NULL;

                if (json_object_is_type(v, json_type_object) || json_object_is_type(v, json_type_array))
                        return mam_json_fail(
                                        p->error,
                                        at,
                                        key,
                                        "must be a string, a number, true, false or null");
                r = add(p, &f, FILTER_JSON, at);
                if (r < 0)
                        return r;
                append(parent, f);
                r = set_pointer(p, f, key, at);
                if (r < 0)
                        return r;
                f->expected = json_object_get(v);
        }
        return 0;
}

static bool number_equals(json_object *a, json_object *b) {
        if (json_object_is_type(a, json_type_int) && json_object_is_type(b, json_type_int))
                return json_object_get_int64(a) == json_object_get_int64(b) &&
                       json_object_get_uint64(a) == json_object_get_uint64(b);
        return fabs(json_object_get_double(a) - json_object_get_double(b)) <= 0;
}

static bool value_equals(json_object *a, json_object *b) {
        json_type type = json_object_get_type(a);
        bool is_number = type == json_type_int || type == json_type_double;

        if (is_number && (json_object_is_type(b, json_type_int) || json_object_is_type(b, json_type_double)))
                return number_equals(a, b);
        if (type != json_object_get_type(b))
                return false;
        if (type == json_type_string)
                return json_object_get_string_len(a) == json_object_get_string_len(b) &&
                       memcmp(json_object_get_string(a),
                              json_object_get_string(b),
                              (size_t) json_object_get_string_len(a)) == 0;
        if (type == json_type_boolean)
                return json_object_get_boolean(a) == json_object_get_boolean(b);
        return type == json_type_null;
}

static bool enter(json_object **o, const char *token) {
        size_t i = 0;

        if (json_object_is_type(*o, json_type_object))
                return json_object_object_get_ex(*o, token, o);
        if (!json_object_is_type(*o, json_type_array) || *token == '\0' || strlen(token) > 9 ||
            token[strspn(token, "0123456789")] != '\0' || (token[0] == '0' && token[1] != '\0'))
                return false;
        for (; *token; token++)
                i = i * 10 + (size_t) (*token - '0');
        if (i >= json_object_array_length(*o))
                return false;
        *o = json_object_array_get_idx(*o, i);
        return true;
}

static bool matches_data(const Filter *f, MamEvent *e) {
        json_object *o = mam_event_data(e);
        const char *token = f->pointer;

        if (!o)
                return false;
        for (size_t i = 0; i < f->n_tokens; i++, token += strlen(token) + 1)
                if (!enter(&o, token))
                        return false;
        return value_equals(o, f->expected);
}

/* ---- dialects ---- */

static int parse_sql(Parser *p, Filter *f, json_object *o, const char *at) {
        if (!json_object_is_type(o, json_type_string))
                return mam_json_fail(p->error, at, NULL, "must be an expression, a string");
        return cesql_parse(
                        &f->sql,
                        json_object_get_string(o),
                        (size_t) json_object_get_string_len(o),
                        at,
                        p->error);
}

static int parse_dialect(Parser *p, Filter *parent, const char *name, json_object *o, const char *at) {
        static const struct {
                const char *name;
                FilterKind kind;
        } dialects[] = {
                { "exact", FILTER_EXACT }, { "prefix", FILTER_PREFIX }, { "suffix", FILTER_SUFFIX },
                { "sql", FILTER_SQL },     { "json", FILTER_JSON },     { "all", FILTER_ALL },
                { "any", FILTER_ANY },     { "not", FILTER_NOT },
        };
        Filter *f = NULL;
        size_t i = 0;
        int r;

        while (i < MAM_ELEMENTSOF(dialects) && strcmp(dialects[i].name, name) != 0)
                i++;
        if (i == MAM_ELEMENTSOF(dialects))
                return mam_json_fail(
                                p->error,
                                at,
                                NULL,
                                "is not a dialect: exact, prefix, suffix, all, any, not, sql or json");
        if (dialects[i].kind <= FILTER_SUFFIX)
                return parse_attributes(p, parent, dialects[i].kind, o, at);
        if (dialects[i].kind == FILTER_JSON)
                return parse_data(p, parent, o, at);

        r = add(p, &f, dialects[i].kind, at);
        if (r < 0)
                return r;
        append(parent, f);
        if (f->kind == FILTER_SQL)
                return parse_sql(p, f, o, at);
        if (f->kind == FILTER_NOT)
                return parse_one(p, &f->first, o, at);
        if (!json_object_is_type(o, json_type_array) || json_object_array_length(o) == 0)
                return mam_json_fail(p->error, at, NULL, "must be an array of filters that is not empty");
        return parse_list(p, &f->first, o, at);
}

/* One filter of a list: exactly one dialect, whose conditions must all hold. */
static int parse_one(Parser *p, Filter **ret, json_object *o, const char *at) {
        _cleanup_(filter_freep) Filter *f = NULL;
        int r;

        if (!json_object_is_type(o, json_type_object) || json_object_object_length(o) != 1)
                return mam_json_fail(p->error, at, NULL, "must be an object with one dialect");
        if (++p->depth > DEPTH_MAX)
                return mam_json_fail(p->error, at, NULL, "is nested too deeply");
        r = add(p, &f, FILTER_ALL, at);
        if (r < 0)
                return r;
        json_object_object_foreach(o, name, v) {
                char inner[PLACE_MAX];

                place(inner, at, name);
                r = parse_dialect(p, f, name, v, inner);
                if (r < 0)
                        return r;
        }
        p->depth--;
        if (f->first && !f->first->next)
                *ret = MAM_TAKE(f->first);
        else
                *ret = MAM_TAKE(f);
        return 0;
}

/* What is quick to judge comes first; the order among equals is kept. */
static void insert(Filter **list, Filter *f) {
        while (*list && (*list)->kind <= f->kind)
                list = &(*list)->next;
        f->next = *list;
        *list = f;
}

static int parse_list(Parser *p, Filter **ret, json_object *array, const char *parent) {
        int r;

        for (size_t i = 0; i < json_object_array_length(array); i++) {
                char at[PLACE_MAX], index[24];
                Filter *f = NULL;

                (void) snprintf(index, sizeof(index), "%zu", i);
                place(at, parent, index);
                r = parse_one(p, &f, json_object_array_get_idx(array, i), at);
                if (r < 0)
                        return r;
                insert(ret, f);
        }
        return 0;
}

int filter_parse(Filter **ret, json_object *array, const char *parent, MamJsonError *error) {
        _cleanup_(filter_freep) Filter *f = NULL;
        MamJsonError ignored;
        Parser p = { .error = error ? error : &ignored };
        int r;

        assert(ret);
        assert(parent);

        if (!array ||
            (json_object_is_type(array, json_type_array) && json_object_array_length(array) == 0)) {
                *ret = NULL;
                return 0;
        }
        if (!json_object_is_type(array, json_type_array))
                return mam_json_fail(p.error, parent, NULL, "must be an array of filters");
        if (strlen(mam_json_to_string(array)) > FILTER_TEXT_MAX)
                return mam_json_fail(p.error, parent, NULL, "must be at most %u bytes", FILTER_TEXT_MAX);
        r = add(&p, &f, FILTER_ALL, parent);
        if (r < 0)
                return r;
        r = parse_list(&p, &f->first, array, parent);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(f);
        return 0;
}

/* ---- short form ---- */

static int parse_short_data(Parser *p, Filter **ret, const char *term, const char *equal) {
        _cleanup_(mam_freep) char *pointer = strndup(term, (size_t) (equal - term));
        _cleanup_(filter_freep) Filter *f = NULL;
        int r;

        if (!pointer)
                return -ENOMEM;
        r = add(p, &f, FILTER_JSON, "");
        if (r >= 0)
                r = set_pointer(p, f, pointer, "");
        if (r < 0)
                return r;
        /* A number, true, false or null if it looks like one; else a string. */
        if (mam_json_parse(&f->expected, equal + 1, strlen(equal + 1), NULL) < 0 ||
            json_object_is_type(f->expected, json_type_object) ||
            json_object_is_type(f->expected, json_type_array)) {
                json_object_put(f->expected);
                f->expected = json_object_new_string(equal + 1);
                if (!f->expected)
                        return -ENOMEM;
        }
        *ret = MAM_TAKE(f);
        return 0;
}

static int parse_short_attribute(Parser *p, Filter **ret, const char *term, const char *equal) {
        char operator= equal> term ? equal[-1] : '\0';
        size_t n = (size_t) (equal - term) - (operator!= '\0' && strchr("^$!", operator));
        _cleanup_(mam_freep) char *name = strndup(term, n);
        _cleanup_(filter_freep) Filter *f = NULL;
        Filter *outer = NULL;
        int r;

        if (!name)
                return -ENOMEM;
        if (!is_attribute_name(name) || equal[1] == '\0')
                return mam_json_fail(
                                p->error,
                                "",
                                NULL,
                                "must be attribute=value, ^=, $=, !=, /pointer=value or sql:expression");
        r = add(p, &f, operator== '^' ? FILTER_PREFIX : operator== '$' ? FILTER_SUFFIX : FILTER_EXACT, "");
        if (r >= 0)
                r = set_attribute(f, name, equal + 1);
        if (r >= 0 && operator== '!') {
                r = add(p, &outer, FILTER_NOT, "");
                if (r >= 0) {
                        outer->first = MAM_TAKE(f);
                        f = outer;
                }
        }
        if (r < 0)
                return r;
        *ret = MAM_TAKE(f);
        return 0;
}

static int parse_short_sql(Parser *p, Filter **ret, const char *text) {
        _cleanup_(filter_freep) Filter *f = NULL;
        int r;

        r = add(p, &f, FILTER_SQL, "");
        if (r >= 0)
                r = cesql_parse(&f->sql, text, strlen(text), "", p->error);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(f);
        return 0;
}

int filter_parse_short(Filter **ret, const char *const *terms, size_t n, MamJsonError *error) {
        _cleanup_(filter_freep) Filter *f = NULL;
        MamJsonError ignored;
        Parser p = { .error = error ? error : &ignored };
        size_t size = 0;
        int r;

        assert(ret);
        assert(terms || n == 0);

        if (n == 0) {
                *ret = NULL;
                return 0;
        }
        r = add(&p, &f, FILTER_ALL, "");
        for (size_t i = 0; i < n && r >= 0; i++) {
                const char *term = terms[i], *equal = strchr(term, '=');
                Filter *one = NULL;

                size += strlen(term);
                if (size > FILTER_TEXT_MAX)
                        return mam_json_fail(p.error, "", NULL, "must be at most %u bytes", FILTER_TEXT_MAX);
                if (strncmp(term, "sql:", 4) == 0)
                        r = parse_short_sql(&p, &one, term + 4);
                else if (!equal)
                        r = mam_json_fail(
                                        p.error,
                                        "",
                                        NULL,
                                        "must be attribute=value, ^=, $=, !=, /pointer=value or sql:expression");
                else if (*term == '/')
                        r = parse_short_data(&p, &one, term, equal);
                else
                        r = parse_short_attribute(&p, &one, term, equal);
                if (r >= 0)
                        insert(&f->first, one);
        }
        if (r < 0)
                return r;
        *ret = MAM_TAKE(f);
        return 0;
}

/* ---- matching ---- */

static bool matches_attribute(const Filter *f, const MamEvent *e) {
        const char *s = f->get ? f->get(e) : mam_event_attribute(e, f->name);
        size_t n;

        if (!s)
                return false;
        if (f->kind == FILTER_EXACT)
                return strcmp(s, f->value) == 0;
        if (f->kind == FILTER_PREFIX)
                return strncmp(s, f->value, f->size) == 0;
        n = strlen(s);
        return n >= f->size && memcmp(s + n - f->size, f->value, f->size) == 0;
}

bool filter_matches(const Filter *f, MamEvent *e) {
        if (!f)
                return true;
        switch (f->kind) {
        case FILTER_ALL:
                for (const Filter *c = f->first; c; c = c->next)
                        if (!filter_matches(c, e))
                                return false;
                return true;
        case FILTER_ANY:
                for (const Filter *c = f->first; c; c = c->next)
                        if (filter_matches(c, e))
                                return true;
                return false;
        case FILTER_NOT:
                return !filter_matches(f->first, e);
        case FILTER_SQL:
                return cesql_matches(f->sql, e);
        case FILTER_JSON:
                return matches_data(f, e);
        default:
                return matches_attribute(f, e);
        }
}
