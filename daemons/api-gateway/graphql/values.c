/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/values.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define DEPTH_MAX 128U /* defaults within defaults */

/* ---- literals ---- */

typedef struct Coercion {
        GqlErrors *errors;
        json_object *variables; /* borrowed; of literals */
        GqlPlace place;
        const char *variable; /* of what was sent */
        unsigned depth;
} Coercion;

static int coerce_literal(Coercion *c, json_object **ret, const GqlValue *v, const GqlTypeRef *type);

static int make_number(json_object **ret, const GqlValue *v) {
        char *end;
        long long n;

        errno = 0;
        n = strtoll(v->text, &end, 10);
        if (v->kind == GQL_VALUE_INT && errno == 0)
                *ret = json_object_new_int64(n);
        else {
                double d = strtod(v->text, NULL);

                *ret = isfinite(d) ? json_object_new_double_s(d, v->text) : json_object_new_string(v->text);
        }
        return *ret ? 1 : -ENOMEM;
}

static int add_item(json_object *list, json_object *item) {
        if (json_object_array_add(list, item) < 0) {
                json_object_put(item);
                return -ENOMEM;
        }
        return 0;
}

static int add_member(json_object *object, const char *name, json_object *value) {
        if (json_object_object_add(object, name, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

/* A literal of which the schema says nothing more. */
static int make_plain(Coercion *c, json_object **ret, const GqlValue *v) {
        static const GqlType any = { .kind = GQL_SCALAR, .name = "JSON" };
        static const GqlTypeRef type = { .kind = GQL_TYPE_REF_NAMED, .name = "JSON", .type = &any };
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *item = NULL;
        int r;

        switch (v->kind) {
        case GQL_VALUE_INT:
        case GQL_VALUE_FLOAT:
                return make_number(ret, v);
        case GQL_VALUE_BOOLEAN:
                *ret = json_object_new_boolean(v->boolean);
                return *ret ? 1 : -ENOMEM;
        case GQL_VALUE_LIST:
                o = json_object_new_array();
                for (const GqlValue *i = v->items; o && i; i = i->next) {
                        item = NULL;
                        r = coerce_literal(c, &item, i, &type);
                        if (r < 0)
                                return r;
                        if (add_item(o, item) < 0)
                                return -ENOMEM;
                }
                break;
        case GQL_VALUE_OBJECT:
                o = json_object_new_object();
                for (const GqlArgument *a = v->fields; o && a; a = a->next) {
                        item = NULL;
                        r = coerce_literal(c, &item, a->value, &type);
                        if (r < 0)
                                return r;
                        if (r > 0 && add_member(o, a->name, item) < 0)
                                return -ENOMEM;
                }
                break;
        case GQL_VALUE_STRING:
        case GQL_VALUE_ENUM:
        case GQL_VALUE_VARIABLE:
        case GQL_VALUE_NULL:
        default:
                o = json_object_new_string_len(v->text, (int) v->size);
                break;
        }
        if (!o)
                return -ENOMEM;
        *ret = MAM_TAKE(o);
        return 1;
}

static int coerce_object(Coercion *c, json_object **ret, const GqlValue *v, const GqlType *t) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        if (!o)
                return -ENOMEM;
        for (const GqlInput *i = t->inputs; i; i = i->next) {
                const GqlArgument *a = gql_argument_find(v->fields, i->name);
                json_object *value = NULL;

                r = a ? coerce_literal(c, &value, a->value, i->type) : 0;
                if (r == 0 && i->default_value)
                        r = coerce_literal(c, &value, i->default_value, i->type);
                if (r < 0)
                        return r;
                if (r == 0 && i->type->kind == GQL_TYPE_REF_NON_NULL) {
                        gql_error(c->errors,
                                  GQL_CODE_INPUT,
                                  v->place,
                                  "Field \"%s.%s\" of required type \"%s\" was not provided",
                                  t->name,
                                  i->name,
                                  gql_type_ref_print(c->errors->arena, i->type));
                        return -EBADMSG;
                }
                if (r > 0 && add_member(o, i->json_name, value) < 0)
                        return -ENOMEM;
        }
        *ret = MAM_TAKE(o);
        return 1;
}

static int coerce_list(Coercion *c, json_object **ret, const GqlValue *v, const GqlTypeRef *of) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_array();
        const GqlValue *i = v->kind == GQL_VALUE_LIST ? v->items : v;
        int r;

        if (!o)
                return -ENOMEM;
        for (; i; i = v->kind == GQL_VALUE_LIST ? i->next : NULL) {
                json_object *item = NULL;

                r = coerce_literal(c, &item, i, of);
                if (r == 0 && of->kind == GQL_TYPE_REF_NON_NULL) {
                        gql_error(c->errors, GQL_CODE_INPUT, i->place, "An item of the list has no value");
                        return -EBADMSG;
                }
                if (r < 0)
                        return r;
                if (add_item(o, item) < 0)
                        return -ENOMEM;
        }
        *ret = MAM_TAKE(o);
        return 1;
}

static int coerce_variable(Coercion *c, json_object **ret, const GqlValue *v, const GqlTypeRef *type) {
        json_object *o = NULL;

        if (!c->variables || !json_object_object_get_ex(c->variables, v->text, &o))
                return 0;
        if (!o && type->kind == GQL_TYPE_REF_NON_NULL) {
                gql_error(c->errors,
                          GQL_CODE_INPUT,
                          v->place,
                          "Variable \"$%s\" must not be null here",
                          v->text);
                return -EBADMSG;
        }
        *ret = json_object_get(o);
        return 1;
}

static int coerce_named(Coercion *c, json_object **ret, const GqlValue *v, const GqlType *t) {
        const GqlEnumValue *value;

        if (t->kind == GQL_INPUT_OBJECT && v->kind == GQL_VALUE_OBJECT)
                return coerce_object(c, ret, v, t);
        if (t->kind == GQL_ENUM && v->kind == GQL_VALUE_ENUM) {
                value = gql_enum_find(t, v->text);
                *ret = json_object_new_string(value ? value->json_name : v->text);
                return *ret ? 1 : -ENOMEM;
        }
        if (t->scalar == GQL_SCALAR_ID) {
                *ret = json_object_new_string_len(v->text ?: "", v->text ? (int) v->size : 0);
                return *ret ? 1 : -ENOMEM;
        }
        return make_plain(c, ret, v);
}

static int coerce_literal(Coercion *c, json_object **ret, const GqlValue *v, const GqlTypeRef *type) {
        int r;

        if (v->kind == GQL_VALUE_VARIABLE)
                return coerce_variable(c, ret, v, type);
        if (v->kind == GQL_VALUE_NULL) {
                *ret = NULL;
                return 1;
        }
        if (++c->depth > DEPTH_MAX) {
                gql_error(c->errors, GQL_CODE_LIMIT, v->place, "The value is nested too deeply");
                return -EBADMSG;
        }
        type = gql_type_ref_nullable(type);
        r = type->kind == GQL_TYPE_REF_LIST ? coerce_list(c, ret, v, type->of)
                                            : coerce_named(c, ret, v, type->type);
        c->depth--;
        return r;
}

int gql_literal_coerce(
                json_object **ret,
                GqlErrors *e,
                const GqlValue *v,
                const GqlTypeRef *type,
                json_object *variables) {
        Coercion c = { .errors = e, .variables = variables };

        assert(ret);
        assert(e);

        return coerce_literal(&c, ret, v, type);
}

int gql_arguments_coerce(
                json_object **ret,
                GqlErrors *e,
                GqlPlace place,
                const GqlArgument *arguments,
                GqlInput *definitions,
                json_object *variables) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        assert(ret);
        assert(e);

        if (!o)
                return -ENOMEM;
        for (const GqlInput *i = definitions; i; i = i->next) {
                const GqlArgument *a = gql_argument_find(arguments, i->name);
                json_object *value = NULL;

                r = a ? gql_literal_coerce(&value, e, a->value, i->type, variables) : 0;
                if (r == 0 && i->default_value)
                        r = gql_literal_coerce(&value, e, i->default_value, i->type, NULL);
                if (r < 0)
                        return r;
                if (r == 0 && i->type->kind == GQL_TYPE_REF_NON_NULL) {
                        gql_error(e,
                                  GQL_CODE_INPUT,
                                  a ? a->place : place,
                                  "Argument \"%s\" of required type \"%s\" has no value",
                                  i->name,
                                  gql_type_ref_print(e->arena, i->type));
                        return -EBADMSG;
                }
                if (r > 0 && add_member(o, i->name, value) < 0)
                        return -ENOMEM;
        }
        *ret = MAM_TAKE(o);
        return 0;
}

static bool condition(const GqlDirective *d, json_object *variables) {
        const GqlArgument *a = gql_argument_find(d->arguments, "if");
        json_object *o = NULL;

        if (!a)
                return false;
        if (a->value->kind != GQL_VALUE_VARIABLE)
                return a->value->boolean;
        return variables && json_object_object_get_ex(variables, a->value->text, &o) &&
               json_object_get_boolean(o);
}

bool gql_is_included(const GqlDirective *directives, json_object *variables) {
        for (const GqlDirective *d = directives; d; d = d->next) {
                if (strcmp(d->name, "skip") == 0 && condition(d, variables))
                        return false;
                if (strcmp(d->name, "include") == 0 && !condition(d, variables))
                        return false;
        }
        return true;
}

/* ---- what clients send as variables ---- */

static int sent_fail(Coercion *c, const GqlTypeRef *type, const char *path, const char *what) {
        gql_error(c->errors,
                  GQL_CODE_INPUT,
                  c->place,
                  "Variable \"$%s\" has an invalid value%s%.200s: expected type \"%s\"%s",
                  c->variable,
                  *path ? " at " : "",
                  path,
                  gql_type_ref_print(c->errors->arena, type),
                  what);
        return -EBADMSG;
}

static int coerce_sent(
                Coercion *c,
                json_object **ret,
                json_object *o,
                const GqlTypeRef *type,
                const char *path);

static int sent_scalar(
                Coercion *c,
                json_object **ret,
                json_object *o,
                const GqlTypeRef *type,
                const char *path) {
        json_type kind = json_object_get_type(o);
        double d = kind == json_type_double ? json_object_get_double(o) : 0;
        int64_t n = kind == json_type_int ? json_object_get_int64(o) : 0;
        char text[32];

        switch (type->type->scalar) {
        case GQL_SCALAR_INT:
                if (kind == json_type_double && d == floor(d) && d >= INT32_MIN && d <= INT32_MAX) {
                        *ret = json_object_new_int64((int64_t) d);
                        return *ret ? 1 : -ENOMEM;
                }
                if (kind != json_type_int || n < INT32_MIN || n > INT32_MAX)
                        return sent_fail(c, type, path, "");
                break;
        case GQL_SCALAR_FLOAT:
                if (kind != json_type_int && (kind != json_type_double || !isfinite(d)))
                        return sent_fail(c, type, path, "");
                break;
        case GQL_SCALAR_STRING:
                if (kind != json_type_string)
                        return sent_fail(c, type, path, "");
                break;
        case GQL_SCALAR_BOOLEAN:
                if (kind != json_type_boolean)
                        return sent_fail(c, type, path, "");
                break;
        case GQL_SCALAR_ID:
                if (kind == json_type_int) {
                        (void) snprintf(text, sizeof(text), "%lld", (long long) n);
                        *ret = json_object_new_string(text);
                        return *ret ? 1 : -ENOMEM;
                }
                if (kind != json_type_string)
                        return sent_fail(c, type, path, "");
                break;
        case GQL_SCALAR_CUSTOM:
        default:
                break;
        }
        *ret = json_object_get(o);
        return 1;
}

static int sent_enum(
                Coercion *c,
                json_object **ret,
                json_object *o,
                const GqlTypeRef *type,
                const char *path) {
        const GqlEnumValue *v;

        v = json_object_is_type(o, json_type_string) ? gql_enum_find(type->type, json_object_get_string(o))
                                                     : NULL;
        if (!v)
                return sent_fail(c, type, path, ", one of its values");
        *ret = json_object_new_string(v->json_name);
        return *ret ? 1 : -ENOMEM;
}

static int sent_object(
                Coercion *c,
                json_object **ret,
                json_object *o,
                const GqlTypeRef *type,
                const char *path) {
        _cleanup_(json_object_putp) json_object *made = NULL;
        const GqlType *t = type->type;
        const char *below;
        int r;

        if (!json_object_is_type(o, json_type_object))
                return sent_fail(c, type, path, "");
        json_object_object_foreach(o, key, unused) {
                (void) unused;
                if (!gql_input_find(t->inputs, key))
                        return sent_fail(c, type, path, ", which has no such field as one of those given");
        }
        made = json_object_new_object();
        if (!made)
                return -ENOMEM;
        for (const GqlInput *i = t->inputs; i; i = i->next) {
                json_object *member = NULL, *value = NULL;

                if (json_object_object_get_ex(o, i->name, &member)) {
                        below = gql_printf(c->errors->arena, "%s%s%s", path, *path ? "." : "", i->name);
                        r = below ? coerce_sent(c, &value, member, i->type, below) : -ENOMEM;
                } else if (i->default_value)
                        r = coerce_literal(c, &value, i->default_value, i->type);
                else if (i->type->kind == GQL_TYPE_REF_NON_NULL) {
                        gql_error(c->errors,
                                  GQL_CODE_INPUT,
                                  c->place,
                                  "Variable \"$%s\" has an invalid value%s%.200s: field \"%s\" is required",
                                  c->variable,
                                  *path ? " at " : "",
                                  path,
                                  i->name);
                        r = -EBADMSG;
                } else
                        continue;
                if (r < 0)
                        return r;
                if (add_member(made, i->json_name, value) < 0)
                        return -ENOMEM;
        }
        *ret = MAM_TAKE(made);
        return 1;
}

static int sent_list(
                Coercion *c,
                json_object **ret,
                json_object *o,
                const GqlTypeRef *of,
                const char *path) {
        _cleanup_(json_object_putp) json_object *made = json_object_new_array();
        bool is_list = json_object_is_type(o, json_type_array);
        size_t n = is_list ? json_object_array_length(o) : 1;
        const char *below;
        int r;

        if (!made)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                json_object *value = NULL;

                below = is_list ? gql_printf(c->errors->arena, "%s[%zu]", path, i) : path;
                r = below ? coerce_sent(c, &value, is_list ? json_object_array_get_idx(o, i) : o, of, below)
                          : -ENOMEM;
                if (r < 0)
                        return r;
                if (add_item(made, value) < 0)
                        return -ENOMEM;
        }
        *ret = MAM_TAKE(made);
        return 1;
}

static int coerce_sent(
                Coercion *c,
                json_object **ret,
                json_object *o,
                const GqlTypeRef *type,
                const char *path) {
        if (!o) {
                if (type->kind == GQL_TYPE_REF_NON_NULL)
                        return sent_fail(c, type, path, ", not null");
                *ret = NULL;
                return 1;
        }
        type = gql_type_ref_nullable(type);
        if (type->kind == GQL_TYPE_REF_LIST)
                return sent_list(c, ret, o, type->of, path);
        if (type->type->kind == GQL_ENUM)
                return sent_enum(c, ret, o, type, path);
        if (type->type->kind == GQL_INPUT_OBJECT)
                return sent_object(c, ret, o, type, path);
        return sent_scalar(c, ret, o, type, path);
}

int gql_variables_coerce(
                json_object **ret,
                const GqlSchema *s,
                GqlErrors *e,
                const GqlOperation *operation,
                json_object *sent) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        size_t before = e->n;
        int r;

        assert(ret);
        assert(s);

        if (!o)
                return -ENOMEM;
        for (const GqlVariable *v = operation->variables; v; v = v->next) {
                Coercion c = { .errors = e, .place = v->place, .variable = v->name };
                json_object *given = NULL, *value = NULL;

                if (sent && json_object_object_get_ex(sent, v->name, &given))
                        r = coerce_sent(&c, &value, given, v->type, "");
                else if (v->default_value)
                        r = coerce_literal(&c, &value, v->default_value, v->type);
                else if (v->type->kind == GQL_TYPE_REF_NON_NULL) {
                        gql_error(e,
                                  GQL_CODE_INPUT,
                                  v->place,
                                  "Variable \"$%s\" of required type \"%s\" was not provided",
                                  v->name,
                                  gql_type_ref_print(e->arena, v->type));
                        continue;
                } else
                        continue;
                if (r == -EBADMSG)
                        continue;
                if (r < 0)
                        return r;
                if (add_member(o, v->name, value) < 0)
                        return -ENOMEM;
        }
        if (e->n > before)
                return -EBADMSG;
        *ret = MAM_TAKE(o);
        return 0;
}
