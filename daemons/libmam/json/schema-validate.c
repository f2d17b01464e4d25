/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Validation: the frame, and keywords for single values
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/json-internal.h"
#include "libmam/json/schema-validate.h"

#define MATCH_HEAP_KIB 8192U /* that one pattern may take */

/* ---- errors ---- */

static void locate(const Validation *v, MamJsonError *e, const Spot *spot) {
        char tail[sizeof(e->pointer)];

        for (; spot && spot->parent; spot = spot->parent) {
                char index[24];

                (void) snprintf(index, sizeof(index), "%zu", spot->index);
                mam_json_error_prepend(e, spot->key ? spot->key : index);
        }
        if (v->parent[0] == '\0')
                return;
        memcpy(tail, e->pointer, sizeof(tail));
        (void) snprintf(e->pointer, sizeof(e->pointer), "%s%s", v->parent, tail);
}

int mam_json_reject(Validation *v, const Spot *spot, const char *keyword, const char *format, ...) {
        char text[200];
        MamJsonError *e;
        va_list ap;

        if (mam_json_is_decided(v))
                return 0;
        e = &v->errors[v->n_errors++];
        *e = (MamJsonError){ .offset = SIZE_MAX };
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void) snprintf(e->message, sizeof(e->message), "%s (%.40s)", text, keyword);
        locate(v, e, spot);
        return 0;
}

int mam_json_exhausted(Validation *v, const Spot *spot, const char *what) {
        MamJsonError *e = v->errors;

        if (v->errors_max == 0)
                return -EOVERFLOW;
        *e = (MamJsonError){ .offset = SIZE_MAX };
        (void) snprintf(e->message, sizeof(e->message), "%s", what);
        locate(v, e, spot);
        v->n_errors = 1;
        return -EOVERFLOW;
}

static int out_of_steps(Validation *v, const Spot *spot) {
        return mam_json_exhausted(v, spot, "cannot be checked: it takes more work than is allowed");
}

/* ---- what was evaluated ---- */

int mam_json_seen_init(Seen *s, json_object *o) {
        *s = (Seen){ 0 };
        if (json_object_is_type(o, json_type_object))
                s->n = (size_t) json_object_object_length(o);
        else if (json_object_is_type(o, json_type_array))
                s->n = json_object_array_length(o);
        if (s->n <= 64 * MAM_ELEMENTSOF(s->few)) {
                s->bits = s->few;
                return 0;
        }
        s->bits = calloc(s->n / 64 + 1, sizeof(*s->bits));
        return s->bits ? 0 : -ENOMEM;
}

void mam_json_seen_done(Seen *s) {
        if (s->bits != s->few)
                free(s->bits);
        s->bits = NULL;
}

void mam_json_seen_merge(Seen *s, const Seen *other) {
        for (size_t i = 0; i < (s->n + 63) / 64; i++)
                s->bits[i] |= other->bits[i];
}

/* ---- patterns ---- */

/* In front of each item of a pattern: counts it, and what the last one has looked at. */
static int on_callout(pcre2_callout_block *b, void *userdata) {
        Validation *v = userdata;
        size_t at = b->current_position, n = at > v->match_at ? at - v->match_at : v->match_at - at;

        v->match_at = at;
        return mam_json_spend(v, 1 + n / 16 + v->match_cost) ? 0 : PCRE2_ERROR_CALLOUT;
}

static int prepare_match(Validation *v) {
        if (!v->match)
                v->match = pcre2_match_data_create(1, NULL);
        if (!v->match_context) {
                v->match_context = pcre2_match_context_create(NULL);
                if (v->match_context) {
                        (void) pcre2_set_callout(v->match_context, on_callout, v);
                        (void) pcre2_set_heap_limit(v->match_context, MATCH_HEAP_KIB);
                }
        }
        return v->match && v->match_context ? 0 : -ENOMEM;
}

int mam_json_pattern_matches(Validation *v, const Pattern *p, const char *s, size_t n, const Spot *spot) {
        int r;

        r = prepare_match(v);
        if (r < 0)
                return r;
        if (!mam_json_spend(v, 4 + n / 16))
                return out_of_steps(v, spot);
        v->match_at = 0;
        v->match_cost = p->has_back_reference ? n / 32 : 0; /* a failed one is not seen in the position */
        r = pcre2_match(p->code, (PCRE2_SPTR) s, n, 0, 0, v->match, v->match_context);
        if (r >= 0)
                return 1;
        if (r == PCRE2_ERROR_NOMEMORY)
                return -ENOMEM;
        if (r == PCRE2_ERROR_CALLOUT || r == PCRE2_ERROR_MATCHLIMIT || r == PCRE2_ERROR_DEPTHLIMIT ||
            r == PCRE2_ERROR_HEAPLIMIT)
                return mam_json_exhausted(
                                v,
                                spot,
                                "cannot be checked: the schema's pattern takes more work than is allowed");
        return 0; /* also what is not UTF-8 */
}

/* ---- single values ---- */

static const char *short_text(json_object *o, char ret[static 72]) {
        const char *s = mam_json_to_string(o);
        size_t n = strlen(s);

        if (n < 72)
                return s;
        n = 68;
        while (n > 0 && ((unsigned char) s[n] & 0xc0) == 0x80)
                n--;
        memcpy(ret, s, n);
        memcpy(ret + n, "\xe2\x80\xa6", 4);
        return ret;
}

static unsigned type_of(json_object *o, unsigned wanted) {
        switch (json_object_get_type(o)) {
        case json_type_null:
                return TYPE_NULL;
        case json_type_boolean:
                return TYPE_BOOLEAN;
        case json_type_int:
                return TYPE_INTEGER;
        case json_type_double:
                if ((wanted & TYPE_NUMBER) == TYPE_NUMBER)
                        return TYPE_FRACTION; /* whatever it is */
                return mam_json_is_integer(o) ? TYPE_INTEGER : TYPE_FRACTION;
        case json_type_string:
                return TYPE_STRING;
        case json_type_array:
                return TYPE_ARRAY;
        default:
                return TYPE_OBJECT;
        }
}

static int check_type(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        static const struct {
                unsigned types;
                const char *name;
        } names[] = {
                { TYPE_NULL, "null" },        { TYPE_BOOLEAN, "true or false" },
                { TYPE_NUMBER, "a number" },  { TYPE_INTEGER, "an integer" },
                { TYPE_STRING, "a string" },  { TYPE_ARRAY, "an array" },
                { TYPE_OBJECT, "an object" },
        };
        unsigned left = n->types;
        char text[128] = "";
        size_t at = 0;

        if (n->types & type_of(o, n->types))
                return 1;
        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                if ((left & names[i].types) != names[i].types)
                        continue;
                left &= ~names[i].types;
                at += (size_t) snprintf(
                                text + at,
                                sizeof(text) - at,
                                "%s%s",
                                at > 0 ? " or " : "",
                                names[i].name);
        }
        return mam_json_reject(v, spot, "type", "must be %s", text);
}

static int reject_enum(Validation *v, const Node *n, const Spot *spot) {
        char text[160], value[72];
        size_t at = 0, count = json_object_array_length(n->enum_values), i;

        if (mam_json_is_decided(v))
                return 0;
        text[0] = '\0';
        for (i = 0; i < count; i++) {
                const char *s = short_text(json_object_array_get_idx(n->enum_values, i), value);

                if (at + strlen(s) + 8 > sizeof(text))
                        break;
                at += (size_t) snprintf(text + at, sizeof(text) - at, "%s%s", i > 0 ? ", " : "", s);
        }
        return mam_json_reject(
                        v,
                        spot,
                        "enum",
                        "must be one of %s%s",
                        text,
                        i < count ? ", \xe2\x80\xa6" : "");
}

static int check_value(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        char text[72];
        bool found = true;
        int ok = 1;

        if (n->has_const && !mam_json_equal(o, n->const_value, &v->steps))
                ok = mam_json_reject(v, spot, "const", "must be %s", short_text(n->const_value, text));
        if (n->enum_values) {
                uint64_t hash = mam_json_hash(o, &v->steps);

                found = false;
                for (size_t i = 0; i < json_object_array_length(n->enum_values) && !found; i++)
                        found = mam_json_spend(v, (i + 1) % 4 == 0) && n->enum_hashes[i] == hash &&
                                mam_json_equal(o, json_object_array_get_idx(n->enum_values, i), &v->steps);
        }
        if (v->steps == 0)
                return out_of_steps(v, spot);
        return found ? ok : reject_enum(v, n, spot);
}

static int compare_bound(json_object *o, const Bound *b) {
        MamJsonDecimal d;

        if (b->is_small && json_object_is_type(o, json_type_int)) {
                int64_t value = json_object_get_int64(o);

                return (value > b->small) - (value < b->small);
        }
        return mam_json_decimal(&d, o) ? mam_json_decimal_compare(&d, &b->decimal) : 0;
}

static int check_divisor(Validation *v, const Node *n, json_object *o, const Spot *spot) {
        const Bound *b = n->multiple_of;
        MamJsonDecimal d;
        uint64_t cost = 0;
        bool fits;

        if (b->is_small && json_object_is_type(o, json_type_int) && json_object_get_int64(o) != INT64_MAX) {
                fits = json_object_get_int64(o) % b->small == 0;
        } else {
                fits = mam_json_decimal(&d, o) && mam_json_decimal_is_multiple(&d, &b->decimal, &cost);
                if (!mam_json_spend(v, cost))
                        return out_of_steps(v, spot);
        }
        return fits ? 1
                    : mam_json_reject(v,
                                      spot,
                                      "multipleOf",
                                      "must be a multiple of %.60s",
                                      mam_json_to_string(b->value));
}

static int check_number(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        const struct {
                const Bound *bound;
                const char *keyword, *what;
                int sign; /* of what is wrong */
                bool is_equal_wrong;
        } bounds[] = {
                { n->minimum, "minimum", "must be at least", -1, false },
                { n->maximum, "maximum", "must be at most", 1, false },
                { n->exclusive_minimum, "exclusiveMinimum", "must be above", -1, true },
                { n->exclusive_maximum, "exclusiveMaximum", "must be below", 1, true },
        };
        int ok = 1, r;

        if (!json_object_is_type(o, json_type_int) && !json_object_is_type(o, json_type_double))
                return 1;
        if (!mam_json_spend(v, json_object_is_type(o, json_type_int) ? 1 : 8))
                return out_of_steps(v, spot);
        for (size_t i = 0; i < MAM_ELEMENTSOF(bounds); i++) {
                int c;

                if (!bounds[i].bound)
                        continue;
                c = compare_bound(o, bounds[i].bound);
                if (c == 0 ? !bounds[i].is_equal_wrong : (c < 0) != (bounds[i].sign < 0))
                        continue;
                ok =
                                mam_json_reject(v,
                                                spot,
                                                bounds[i].keyword,
                                                "%s %.60s",
                                                bounds[i].what,
                                                mam_json_to_string(bounds[i].bound->value));
        }
        if (n->multiple_of) {
                r = check_divisor(v, n, o, spot);
                if (r <= 0)
                        return r;
        }
        return ok;
}

static size_t count_characters(const char *s, size_t n) {
        size_t count = 0;

        for (size_t i = 0; i < n; i++)
                count += ((unsigned char) s[i] & 0xc0) != 0x80;
        return count;
}

static int check_string(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        const char *s;
        size_t size;
        int ok = 1, r;

        if (!json_object_is_type(o, json_type_string))
                return 1;
        s = json_object_get_string(o);
        size = (size_t) json_object_get_string_len(o);
        if (!mam_json_spend(v, 1 + size / 32))
                return out_of_steps(v, spot);
        if (n->min_length > 0 || n->max_length < INT64_MAX) {
                int64_t length = (int64_t) count_characters(s, size);

                if (length < n->min_length)
                        ok =
                                        mam_json_reject(v,
                                                        spot,
                                                        "minLength",
                                                        "must have at least %" PRIi64 " characters",
                                                        n->min_length);
                if (length > n->max_length)
                        ok =
                                        mam_json_reject(v,
                                                        spot,
                                                        "maxLength",
                                                        "must have at most %" PRIi64 " characters",
                                                        n->max_length);
        }
        if (n->format && !n->format(s, size))
                ok = mam_json_reject(v, spot, "format", "must be in the format %.40s", n->format_name);
        if (n->pattern) {
                r = mam_json_pattern_matches(v, n->pattern, s, size, spot);
                if (r < 0)
                        return r;
                if (r == 0)
                        ok = mam_json_reject(v, spot, "pattern", "must match %.150s", n->pattern->text);
        }
        return ok;
}

/* ---- the frame ---- */

static int check_references(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        const Node *target = n->dynamic_ref;
        int ok = 1, r;

        if (n->ref) {
                ok = mam_json_evaluate(v, n->ref, o, spot, scope, seen);
                if (ok < 0 || (ok == 0 && mam_json_is_decided(v)))
                        return ok;
        }
        if (!target)
                return ok;
        /* The outermost resource that has the anchor decides. */
        for (const Scope *s = scope; n->is_dynamic && s; s = s->parent) {
                const Anchor *a = mam_json_resource_find(s->resource, n->dynamic_name);

                if (!mam_json_spend(v, 1))
                        return out_of_steps(v, spot);
                if (a && a->is_dynamic)
                        target = a->node;
        }
        r = mam_json_evaluate(v, target, o, spot, scope, seen);
        return r <= 0 ? r : ok;
}

static int evaluate_parts(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        static const MamJsonPart parts[_PART_MAX] = {
                [PART_REFERENCE] = check_references,
                [PART_TYPE] = check_type,
                [PART_VALUE] = check_value,
                [PART_NUMBER] = check_number,
                [PART_STRING] = check_string,
                [PART_ARRAY] = mam_json_check_array,
                [PART_OBJECT] = mam_json_check_object,
                [PART_COMBINATION] = mam_json_check_combination,
                [PART_UNEVALUATED] = mam_json_check_unevaluated,
        };
        int ok = 1, r;

        for (unsigned i = 0; i < _PART_MAX; i++) {
                if (!(n->parts & 1U << i))
                        continue;
                if (i == PART_UNEVALUATED && ok == 0)
                        break; /* what a failed subschema has evaluated is not known */
                r = parts[i](v, n, o, spot, scope, seen);
                if (r < 0)
                        return r;
                if (r == 0) {
                        ok = 0;
                        if (mam_json_is_decided(v))
                                break;
                }
        }
        return ok;
}

/* With a set of its own: what is unevaluated is so in this node, whatever others see. */
static int evaluate_apart(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        Seen own;
        int r;

        r = mam_json_seen_init(&own, o);
        if (r < 0)
                return r;
        if (mam_json_spend(v, own.n / 32))
                r = evaluate_parts(v, n, o, spot, scope, &own);
        else
                r = out_of_steps(v, spot);
        if (r > 0 && seen)
                mam_json_seen_merge(seen, &own);
        mam_json_seen_done(&own);
        return r;
}

int mam_json_evaluate(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        const Scope here = { scope, n->resource };
        int r;

        if (!mam_json_spend(v, 1))
                return out_of_steps(v, spot);
        if (n->kind == NODE_TRUE)
                return 1;
        if (n->kind == NODE_FALSE)
                return mam_json_reject(v, spot, n->keyword ? n->keyword : "false", "is not allowed");
        if (v->depth >= MAM_JSON_SCHEMA_DEPTH_MAX)
                return mam_json_exhausted(
                                v,
                                spot,
                                "cannot be checked: it is nested more deeply than is allowed");
        if (!scope || scope->resource != n->resource)
                scope = &here;
        v->depth++;
        r = n->parts & 1U << PART_UNEVALUATED ? evaluate_apart(v, n, o, spot, scope, seen)
                                              : evaluate_parts(v, n, o, spot, scope, seen);
        v->depth--;
        return r;
}

int mam_json_schema_validate_list(
                const MamJsonSchema *s,
                json_object *instance,
                const char *parent,
                MamJsonError *errors,
                size_t errors_max,
                size_t *ret_n) {
        static const Spot root = { 0 };
        Validation v = {
                .schema = s,
                .parent = parent ? parent : "",
                .steps = s->steps_max,
                .errors = errors,
                .errors_max = errors_max,
        };
        int r;

        assert(errors || errors_max == 0);
        assert(ret_n);

        r = mam_json_evaluate(&v, s->root, instance, &root, NULL, NULL);
        pcre2_match_data_free(v.match);
        pcre2_match_context_free(v.match_context);
        *ret_n = v.n_errors;
        return r == 0 ? -EBADMSG : r > 0 ? 0 : r;
}

int mam_json_schema_validate(
                const MamJsonSchema *s,
                json_object *instance,
                const char *parent,
                MamJsonError *error) {
        size_t n;

        return mam_json_schema_validate_list(s, instance, parent, error, error ? 1 : 0, &n);
}
