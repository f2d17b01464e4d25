/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/introspect.h"

#include <assert.h>
#include <string.h>

#include "libmam/util/buffer.h"

enum {
        META_NOTHING,
        META_TYPENAME,
        META_SCHEMA,
        META_TYPE,
        SCHEMA_DESCRIPTION,
        SCHEMA_TYPES,
        SCHEMA_QUERY,
        SCHEMA_MUTATION,
        SCHEMA_SUBSCRIPTION,
        SCHEMA_DIRECTIVES,
        TYPE_KIND,
        TYPE_NAME,
        TYPE_DESCRIPTION,
        TYPE_FIELDS,
        TYPE_INTERFACES,
        TYPE_POSSIBLE,
        TYPE_VALUES,
        TYPE_INPUTS,
        TYPE_OF,
        TYPE_SPECIFIED_BY,
        FIELD_NAME,
        FIELD_DESCRIPTION,
        FIELD_ARGS,
        FIELD_TYPE,
        FIELD_IS_DEPRECATED,
        FIELD_REASON,
        INPUT_NAME,
        INPUT_DESCRIPTION,
        INPUT_TYPE,
        INPUT_DEFAULT,
        INPUT_IS_DEPRECATED,
        INPUT_REASON,
        VALUE_NAME,
        VALUE_DESCRIPTION,
        VALUE_IS_DEPRECATED,
        VALUE_REASON,
        DIRECTIVE_NAME,
        DIRECTIVE_DESCRIPTION,
        DIRECTIVE_LOCATIONS,
        DIRECTIVE_ARGS,
        DIRECTIVE_REPEATABLE,
        _META_MAX,
};

static const struct {
        const char *type, *field;
} names[_META_MAX] = {
        [META_NOTHING] = { "", "" },
        [META_TYPENAME] = { "__Root", "__typename" },
        [META_SCHEMA] = { "__Root", "__schema" },
        [META_TYPE] = { "__Root", "__type" },
        [SCHEMA_DESCRIPTION] = { "__Schema", "description" },
        [SCHEMA_TYPES] = { "__Schema", "types" },
        [SCHEMA_QUERY] = { "__Schema", "queryType" },
        [SCHEMA_MUTATION] = { "__Schema", "mutationType" },
        [SCHEMA_SUBSCRIPTION] = { "__Schema", "subscriptionType" },
        [SCHEMA_DIRECTIVES] = { "__Schema", "directives" },
        [TYPE_KIND] = { "__Type", "kind" },
        [TYPE_NAME] = { "__Type", "name" },
        [TYPE_DESCRIPTION] = { "__Type", "description" },
        [TYPE_FIELDS] = { "__Type", "fields" },
        [TYPE_INTERFACES] = { "__Type", "interfaces" },
        [TYPE_POSSIBLE] = { "__Type", "possibleTypes" },
        [TYPE_VALUES] = { "__Type", "enumValues" },
        [TYPE_INPUTS] = { "__Type", "inputFields" },
        [TYPE_OF] = { "__Type", "ofType" },
        [TYPE_SPECIFIED_BY] = { "__Type", "specifiedByURL" },
        [FIELD_NAME] = { "__Field", "name" },
        [FIELD_DESCRIPTION] = { "__Field", "description" },
        [FIELD_ARGS] = { "__Field", "args" },
        [FIELD_TYPE] = { "__Field", "type" },
        [FIELD_IS_DEPRECATED] = { "__Field", "isDeprecated" },
        [FIELD_REASON] = { "__Field", "deprecationReason" },
        [INPUT_NAME] = { "__InputValue", "name" },
        [INPUT_DESCRIPTION] = { "__InputValue", "description" },
        [INPUT_TYPE] = { "__InputValue", "type" },
        [INPUT_DEFAULT] = { "__InputValue", "defaultValue" },
        [INPUT_IS_DEPRECATED] = { "__InputValue", "isDeprecated" },
        [INPUT_REASON] = { "__InputValue", "deprecationReason" },
        [VALUE_NAME] = { "__EnumValue", "name" },
        [VALUE_DESCRIPTION] = { "__EnumValue", "description" },
        [VALUE_IS_DEPRECATED] = { "__EnumValue", "isDeprecated" },
        [VALUE_REASON] = { "__EnumValue", "deprecationReason" },
        [DIRECTIVE_NAME] = { "__Directive", "name" },
        [DIRECTIVE_DESCRIPTION] = { "__Directive", "description" },
        [DIRECTIVE_LOCATIONS] = { "__Directive", "locations" },
        [DIRECTIVE_ARGS] = { "__Directive", "args" },
        [DIRECTIVE_REPEATABLE] = { "__Directive", "isRepeatable" },
};

unsigned gql_introspect_find(const char *type, const char *field) {
        for (unsigned i = 1; i < _META_MAX; i++)
                if (strcmp(names[i].type, type) == 0 && strcmp(names[i].field, field) == 0)
                        return i;
        return 0;
}

/* ---- literals as text ---- */

static void print_value(MamBuffer *b, const GqlValue *v) {
        const char *separator = "";

        switch (v->kind) {
        case GQL_VALUE_STRING: {
                _cleanup_(json_object_putp) json_object *o =
                                json_object_new_string_len(v->text, (int) v->size);

                (void) mam_buffer_append_string(b, o ? mam_json_to_string(o) : "\"\"");
                break;
        }
        case GQL_VALUE_LIST:
                (void) mam_buffer_append_string(b, "[");
                for (const GqlValue *i = v->items; i; i = i->next, separator = ", ") {
                        (void) mam_buffer_append_string(b, separator);
                        print_value(b, i);
                }
                (void) mam_buffer_append_string(b, "]");
                break;
        case GQL_VALUE_OBJECT:
                (void) mam_buffer_append_string(b, "{");
                for (const GqlArgument *a = v->fields; a; a = a->next, separator = ", ") {
                        (void) mam_buffer_appendf(b, "%s%s: ", separator, a->name);
                        print_value(b, a->value);
                }
                (void) mam_buffer_append_string(b, "}");
                break;
        case GQL_VALUE_VARIABLE:
        case GQL_VALUE_INT:
        case GQL_VALUE_FLOAT:
        case GQL_VALUE_BOOLEAN:
        case GQL_VALUE_NULL:
        case GQL_VALUE_ENUM:
        default:
                (void) mam_buffer_append_string(b, v->text);
        }
}

static const char *value_text(GqlArena *arena, const GqlValue *v) {
        _cleanup_(mam_buffer_done) MamBuffer b = { .max = 65536 };

        print_value(&b, v);
        return gql_copy(arena, mam_buffer_bytes(&b), b.size);
}

/* ---- answers ---- */

typedef struct Asked {
        const GqlSchema *schema;
        GqlArena *arena;
        json_object *arguments;
        GqlMetaAnswer *answer;
} Asked;

static int say_text(Asked *a, const char *text) {
        a->answer->text = text;
        a->answer->is_null = !text;
        return 0;
}

static int say_boolean(Asked *a, bool value) {
        a->answer->is_boolean = true;
        a->answer->boolean = value;
        return 0;
}

static int say_one(Asked *a, GqlMetaKind kind, const void *what) {
        a->answer->one = (GqlMeta){ kind, what };
        a->answer->is_null = !what;
        return 0;
}

static int say_nothing(Asked *a) {
        a->answer->is_null = true;
        return 0;
}

/* A list with room for n; the caller adds to it. */
static int begin_list(Asked *a, size_t n) {
        a->answer->is_list = true;
        a->answer->items = gql_alloc(a->arena, (n + 1) * sizeof(GqlMeta));
        return a->answer->items ? 0 : -ENOMEM;
}

static void add(Asked *a, GqlMetaKind kind, const void *what) {
        a->answer->items[a->answer->n++] = (GqlMeta){ kind, what };
}

static bool wants_deprecated(const Asked *a) {
        json_object *o = NULL;

        return json_object_object_get_ex(a->arguments, "includeDeprecated", &o) &&
               json_object_get_boolean(o);
}

/* Each kind of member has its list linked by next, and may be deprecated. */
#define SAY_LIST(a, type, first, kind, shown)                            \
        ({                                                               \
                size_t _n = 0;                                           \
                int _r;                                                  \
                for (const type *i = (first); i; i = i->next)            \
                        _n++;                                            \
                _r = begin_list((a), _n);                                \
                for (const type *i = (first); _r >= 0 && i; i = i->next) \
                        if (shown)                                       \
                                add((a), (kind), i);                     \
                _r;                                                      \
        })

static int say_inputs(Asked *a, const GqlInput *first) {
        bool all = wants_deprecated(a);

        return SAY_LIST(a, GqlInput, first, GQL_META_INPUT, all || !i->deprecated);
}

static int say_types(Asked *a, const GqlType *const *types, size_t n) {
        int r;

        r = begin_list(a, n);
        for (size_t i = 0; i < n && r >= 0; i++)
                add(a, GQL_META_TYPE, types[i]);
        return r;
}

static int on_schema(Asked *a, unsigned asked) {
        const GqlSchema *s = a->schema;

        switch (asked) {
        case SCHEMA_DESCRIPTION:
                return say_text(a, s->description);
        case SCHEMA_TYPES:
                return SAY_LIST(a, GqlType, s->types, GQL_META_TYPE, true);
        case SCHEMA_QUERY:
                return say_one(a, GQL_META_TYPE, s->query);
        case SCHEMA_MUTATION:
                return say_one(a, GQL_META_TYPE, s->mutation);
        case SCHEMA_DIRECTIVES:
                return SAY_LIST(a, GqlDirectiveType, s->directives, GQL_META_DIRECTIVE, !i->hidden);
        case SCHEMA_SUBSCRIPTION:
        default:
                return say_nothing(a);
        }
}

static const char *kind_name(GqlTypeKind kind) {
        static const char *const kinds[] = {
                [GQL_SCALAR] = "SCALAR", [GQL_OBJECT] = "OBJECT", [GQL_INTERFACE] = "INTERFACE",
                [GQL_UNION] = "UNION",   [GQL_ENUM] = "ENUM",     [GQL_INPUT_OBJECT] = "INPUT_OBJECT",
        };

        return kinds[kind];
}

static int on_type(Asked *a, unsigned asked, const GqlType *t) {
        bool all = wants_deprecated(a);

        switch (asked) {
        case TYPE_KIND:
                return say_text(a, kind_name(t->kind));
        case TYPE_NAME:
                return say_text(a, t->name);
        case TYPE_DESCRIPTION:
                return say_text(a, t->description);
        case TYPE_SPECIFIED_BY:
                return say_text(a, t->specified_by);
        case TYPE_FIELDS:
                if (t->kind != GQL_OBJECT && t->kind != GQL_INTERFACE)
                        return say_nothing(a);
                return SAY_LIST(a, GqlField, t->fields, GQL_META_FIELD, all || !i->deprecated);
        case TYPE_INTERFACES:
                if (t->kind != GQL_OBJECT && t->kind != GQL_INTERFACE)
                        return say_nothing(a);
                return say_types(a, t->interfaces, t->n_interfaces);
        case TYPE_POSSIBLE:
                return gql_type_is_abstract(t) ? say_types(a, t->possible, t->n_possible) : say_nothing(a);
        case TYPE_VALUES:
                if (t->kind != GQL_ENUM)
                        return say_nothing(a);
                return SAY_LIST(a, GqlEnumValue, t->values, GQL_META_VALUE, all || !i->deprecated);
        case TYPE_INPUTS:
                return t->kind == GQL_INPUT_OBJECT ? say_inputs(a, t->inputs) : say_nothing(a);
        default:
                return say_nothing(a);
        }
}

static int on_type_ref(Asked *a, unsigned asked, const GqlTypeRef *ref) {
        if (ref->kind == GQL_TYPE_REF_NAMED)
                return on_type(a, asked, ref->type);
        if (asked == TYPE_KIND)
                return say_text(a, ref->kind == GQL_TYPE_REF_LIST ? "LIST" : "NON_NULL");
        if (asked == TYPE_OF)
                return say_one(a, GQL_META_TYPE_REF, ref->of);
        return say_nothing(a);
}

static int on_field(Asked *a, unsigned asked, const GqlField *f) {
        switch (asked) {
        case FIELD_NAME:
                return say_text(a, f->name);
        case FIELD_DESCRIPTION:
                return say_text(a, f->description);
        case FIELD_ARGS:
                return say_inputs(a, f->arguments);
        case FIELD_TYPE:
                return say_one(a, GQL_META_TYPE_REF, f->type);
        case FIELD_IS_DEPRECATED:
                return say_boolean(a, f->deprecated);
        case FIELD_REASON:
                return say_text(a, f->deprecated);
        default:
                return say_nothing(a);
        }
}

static int on_input(Asked *a, unsigned asked, const GqlInput *i) {
        switch (asked) {
        case INPUT_NAME:
                return say_text(a, i->name);
        case INPUT_DESCRIPTION:
                return say_text(a, i->description);
        case INPUT_TYPE:
                return say_one(a, GQL_META_TYPE_REF, i->type);
        case INPUT_DEFAULT:
                return say_text(a, i->default_value ? value_text(a->arena, i->default_value) : NULL);
        case INPUT_IS_DEPRECATED:
                return say_boolean(a, i->deprecated);
        case INPUT_REASON:
                return say_text(a, i->deprecated);
        default:
                return say_nothing(a);
        }
}

static int on_value(Asked *a, unsigned asked, const GqlEnumValue *v) {
        switch (asked) {
        case VALUE_NAME:
                return say_text(a, v->name);
        case VALUE_DESCRIPTION:
                return say_text(a, v->description);
        case VALUE_IS_DEPRECATED:
                return say_boolean(a, v->deprecated);
        case VALUE_REASON:
                return say_text(a, v->deprecated);
        default:
                return say_nothing(a);
        }
}

static int on_directive(Asked *a, unsigned asked, const GqlDirectiveType *d) {
        switch (asked) {
        case DIRECTIVE_NAME:
                return say_text(a, d->name);
        case DIRECTIVE_DESCRIPTION:
                return say_text(a, d->description);
        case DIRECTIVE_ARGS:
                return say_inputs(a, d->arguments);
        case DIRECTIVE_REPEATABLE:
                return say_boolean(a, d->repeatable);
        case DIRECTIVE_LOCATIONS:
                a->answer->is_list = true;
                a->answer->texts = gql_alloc(a->arena, _GQL_LOCATION_MAX * sizeof(char *));
                if (!a->answer->texts)
                        return -ENOMEM;
                for (unsigned i = 0; i < _GQL_LOCATION_MAX; i++)
                        if (d->locations & UINT32_C(1) << i)
                                a->answer->texts[a->answer->n++] = gql_location_to_string((GqlLocation) i);
                return 0;
        default:
                return say_nothing(a);
        }
}

static int on_root(Asked *a, unsigned asked) {
        json_object *name = NULL;

        if (asked == META_SCHEMA)
                return say_one(a, GQL_META_SCHEMA, a->schema);
        if (asked == META_TYPE && json_object_object_get_ex(a->arguments, "name", &name) && name)
                return say_one(a, GQL_META_TYPE, gql_schema_find(a->schema, json_object_get_string(name)));
        return say_nothing(a);
}

int gql_introspect(
                GqlMetaAnswer *ret,
                const GqlSchema *s,
                GqlArena *arena,
                GqlMeta on,
                const GqlField *f,
                json_object *arguments) {
        Asked a = { .schema = s, .arena = arena, .arguments = arguments, .answer = ret };

        assert(ret);
        assert(s);
        assert(f->meta > 0);

        *ret = (GqlMetaAnswer){ 0 };
        switch (on.kind) {
        case GQL_META_SCHEMA:
                return on_schema(&a, f->meta);
        case GQL_META_TYPE:
                return on_type(&a, f->meta, on.what);
        case GQL_META_TYPE_REF:
                return on_type_ref(&a, f->meta, on.what);
        case GQL_META_FIELD:
                return on_field(&a, f->meta, on.what);
        case GQL_META_INPUT:
                return on_input(&a, f->meta, on.what);
        case GQL_META_VALUE:
                return on_value(&a, f->meta, on.what);
        case GQL_META_DIRECTIVE:
                return on_directive(&a, f->meta, on.what);
        case GQL_META_NONE:
        default:
                return on_root(&a, f->meta);
        }
}
