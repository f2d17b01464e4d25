/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql/introspect.h"
#include "api-gateway/graphql/parser.h"
#include "api-gateway/graphql/schema-internal.h"

#define ARENA_MAX (64U * 1024U * 1024U)

static const char builtin_file[] = "built in";

int gql_build_fail(GqlBuilder *b, const char *file, GqlPlace place, const char *format, ...) {
        char text[384];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void) snprintf(b->message, 512, "%.100s:%u: %s", file, place.line, text);
        b->bad = file;
        return -EBADMSG;
}

int gql_build_result(GqlBuilder *b, const char *file) {
        const GqlError *e = b->errors.first;

        if (!e)
                return gql_arena_failed(b->arena) ? -ENOMEM : 0;
        return gql_build_fail(b, file, e->places[0], "%s", e->message ?: "is not valid");
}

GqlType *gql_build_find(GqlBuilder *b, const char *name) {
        if (b->root && strcmp(b->root->name, name) == 0)
                return b->root;
        return (GqlType *) gql_schema_find(b->schema, name); /* ours: nobody else has it yet */
}

/* ---- types ---- */

static int table_add(GqlBuilder *b, GqlType *t) {
        GqlSchema *s = b->schema;
        GqlType **tail = &s->types;
        size_t h = 5381;

        if (s->n_types >= GQL_TYPES_MAX)
                return -ENOBUFS;
        for (const char *c = t->name; *c; c++)
                h = h * 33 + (unsigned char) *c;
        while (s->table[h & (s->table_size - 1)])
                h++;
        s->table[h & (s->table_size - 1)] = t;
        s->n_types++;
        while (*tail)
                tail = &(*tail)->next;
        *tail = t;
        return 0;
}

static GqlScalarKind scalar_kind(const char *name) {
        static const char *const names[] = {
                [GQL_SCALAR_CUSTOM] = "",         [GQL_SCALAR_INT] = "Int",
                [GQL_SCALAR_FLOAT] = "Float",     [GQL_SCALAR_STRING] = "String",
                [GQL_SCALAR_BOOLEAN] = "Boolean", [GQL_SCALAR_ID] = "ID",
        };

        for (unsigned i = 1; i < MAM_ELEMENTSOF(names); i++)
                if (strcmp(name, names[i]) == 0)
                        return (GqlScalarKind) i;
        return GQL_SCALAR_CUSTOM;
}

static int type_kind(GqlDefinitionKind kind) {
        switch (kind) {
        case GQL_DEFINE_SCALAR:
                return GQL_SCALAR;
        case GQL_DEFINE_OBJECT:
                return GQL_OBJECT;
        case GQL_DEFINE_INTERFACE:
                return GQL_INTERFACE;
        case GQL_DEFINE_UNION:
                return GQL_UNION;
        case GQL_DEFINE_ENUM:
                return GQL_ENUM;
        case GQL_DEFINE_INPUT:
                return GQL_INPUT_OBJECT;
        case GQL_DEFINE_SCHEMA:
        case GQL_DEFINE_DIRECTIVE:
        default:
                return -EINVAL;
        }
}

static int add_type(GqlBuilder *b, const GqlDefinition *d, const char *name, bool implicit) {
        const GqlType *other = gql_build_find(b, name);
        bool builtin = d->file == builtin_file;
        GqlType *t;
        int r;

        if (other && other->builtin)
                return gql_build_fail(b, d->file, d->place, "type \"%s\" is there from the start", name);
        if (other)
                return gql_build_fail(
                                b,
                                d->file,
                                d->place,
                                "type \"%s\" is defined already in %s:%u",
                                name,
                                other->definition->file,
                                other->definition->place.line);
        if (!builtin && strncmp(name, "__", 2) == 0)
                return gql_build_fail(b, d->file, d->place, "\"%s\": names with \"__\" are reserved", name);

        t = GQL_NEW(b->arena, GqlType);
        if (!t)
                return -ENOMEM;
        t->kind = (GqlTypeKind) type_kind(d->kind);
        t->name = t->json_name = name;
        t->kind_member = "__typename";
        t->description = implicit ? NULL : d->description;
        t->definition = d;
        t->builtin = builtin;
        t->implicit = implicit;
        if (builtin && t->kind == GQL_SCALAR)
                t->scalar = scalar_kind(name);
        if (builtin && strcmp(name, "__Root") == 0) {
                b->root = t;
                return 0;
        }
        r = table_add(b, t);
        if (r == -ENOBUFS)
                return gql_build_fail(b, d->file, d->place, "there are more than %u types", GQL_TYPES_MAX);
        return r;
}

static int add_types(GqlBuilder *b) {
        static const char *const roots[] = { "Query", "Mutation" };
        int r;

        for (const GqlDefinition *d = b->definitions; d; d = d->next) {
                if (d->is_extension || type_kind(d->kind) < 0)
                        continue;
                r = add_type(b, d, d->name, false);
                if (r < 0)
                        return r;
        }
        for (const GqlDefinition *d = b->definitions; d; d = d->next)
                for (size_t i = 0; i < MAM_ELEMENTSOF(roots); i++)
                        if (d->is_extension && d->kind == GQL_DEFINE_OBJECT &&
                            strcmp(d->name, roots[i]) == 0 && !gql_build_find(b, roots[i])) {
                                r = add_type(b, d, roots[i], true);
                                if (r < 0)
                                        return r;
                        }
        return 0;
}

/* ---- their content ---- */

static int resolve(GqlBuilder *b, const char *file, GqlTypeRef *ref, bool input) {
        while (ref->kind != GQL_TYPE_REF_NAMED)
                ref = ref->of;
        ref->type = gql_build_find(b, ref->name);
        if (!ref->type)
                return gql_build_fail(b, file, ref->place, "there is no type \"%s\"", ref->name);
        if (input ? !gql_type_is_input(ref->type) : !gql_type_is_output(ref->type))
                return gql_build_fail(
                                b,
                                file,
                                ref->place,
                                "type \"%s\" cannot be used for %s",
                                ref->name,
                                input ? "input" : "output");
        return 0;
}

static int check_name(GqlBuilder *b, const char *file, GqlPlace place, const char *name) {
        if (file != builtin_file && strncmp(name, "__", 2) == 0)
                return gql_build_fail(b, file, place, "\"%s\": names with \"__\" are reserved", name);
        return 0;
}

/* Appends to the list at *tail. */
static int add_inputs(GqlBuilder *b, const char *file, GqlInput **list, const GqlInputDefinition *d) {
        GqlInput **tail = list;
        int r;

        while (*tail)
                tail = &(*tail)->next;
        for (; d; d = d->next) {
                GqlInput *i;

                if (gql_input_find(*list, d->name))
                        return gql_build_fail(b, file, d->place, "\"%s\" is there already", d->name);
                r = check_name(b, file, d->place, d->name);
                if (r < 0)
                        return r;
                i = GQL_NEW(b->arena, GqlInput);
                if (!i)
                        return -ENOMEM;
                i->name = i->json_name = d->name;
                i->description = d->description;
                i->type = d->type;
                i->default_value = d->default_value;
                i->definition = d;
                r = resolve(b, file, i->type, true);
                if (r < 0)
                        return r;
                *tail = i;
                tail = &i->next;
        }
        return 0;
}

static int add_fields(GqlBuilder *b, const char *file, GqlType *t, const GqlFieldDefinition *d) {
        GqlField **tail = &t->fields;
        int r;

        for (; d; d = d->next) {
                GqlField *f;

                for (tail = &t->fields; *tail; tail = &(*tail)->next)
                        if (strcmp((*tail)->name, d->name) == 0)
                                return gql_build_fail(
                                                b,
                                                file,
                                                d->place,
                                                "field \"%s.%s\" is there already",
                                                t->name,
                                                d->name);
                if (t != b->root) {
                        r = check_name(b, file, d->place, d->name);
                        if (r < 0)
                                return r;
                }
                f = GQL_NEW(b->arena, GqlField);
                if (!f)
                        return -ENOMEM;
                f->name = f->json_name = d->name;
                f->description = d->description;
                f->type = d->type;
                f->list_size = GQL_LIST_SIZE;
                f->definition = d;
                f->meta = t->builtin ? gql_introspect_find(t->name, d->name) : 0;
                r = resolve(b, file, f->type, false);
                if (r >= 0)
                        r = add_inputs(b, file, &f->arguments, d->arguments);
                if (r < 0)
                        return r;
                *tail = f;
        }
        return 0;
}

static int add_values(GqlBuilder *b, const char *file, GqlType *t, const GqlFieldDefinition *d) {
        GqlEnumValue **tail = &t->values;

        while (*tail)
                tail = &(*tail)->next;
        for (; d; d = d->next) {
                GqlEnumValue *v;
                int r;

                if (gql_enum_find(t, d->name))
                        return gql_build_fail(b, file, d->place, "value \"%s\" is there already", d->name);
                r = check_name(b, file, d->place, d->name);
                if (r < 0)
                        return r;
                v = GQL_NEW(b->arena, GqlEnumValue);
                if (!v)
                        return -ENOMEM;
                v->name = v->json_name = d->name;
                v->description = d->description;
                *tail = v;
                tail = &v->next;
        }
        return 0;
}

/* Appends to one of the two lists of a type. */
static int add_related(GqlBuilder *b, const GqlType ***list, size_t *n, const GqlType *t) {
        const GqlType **bigger = gql_alloc(b->arena, (*n + 1) * sizeof(*bigger));

        if (!bigger)
                return -ENOMEM;
        if (*n > 0)
                memcpy(bigger, *list, *n * sizeof(*bigger));
        bigger[(*n)++] = t;
        *list = bigger;
        return 0;
}

/* Interfaces of a type, members of a union. */
static int add_names(GqlBuilder *b, const GqlDefinition *d, GqlType *t) {
        bool is_union = t->kind == GQL_UNION;
        GqlTypeKind wanted = is_union ? GQL_OBJECT : GQL_INTERFACE;
        int r;

        for (const GqlName *n = d->names; n; n = n->next) {
                GqlType *other = gql_build_find(b, n->name);

                if (!other || other->kind != wanted || other == t)
                        return gql_build_fail(
                                        b,
                                        d->file,
                                        n->place,
                                        "\"%s\" is not %s",
                                        n->name,
                                        is_union ? "an object type" : "an interface");
                if (is_union ? gql_type_includes(t, other) : gql_type_implements(t, other))
                        return gql_build_fail(b, d->file, n->place, "\"%s\" is there already", n->name);
                r = is_union ? add_related(b, &t->possible, &t->n_possible, other)
                             : add_related(b, &t->interfaces, &t->n_interfaces, other);
                if (r < 0)
                        return r;
                if (!is_union && t->kind == GQL_OBJECT) {
                        r = add_related(b, &other->possible, &other->n_possible, t);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int add_directive(GqlBuilder *b, const GqlDefinition *d) {
        static const char *const hidden[] = { "rest", "json", "list", "kind" };
        GqlDirectiveType **tail = &b->schema->directives;
        GqlDirectiveType *t;
        int r;

        for (; *tail; tail = &(*tail)->next)
                if (strcmp((*tail)->name, d->name) == 0)
                        return 0; /* one that we have: for tools that read the file by itself */
        if (d->file != builtin_file)
                return gql_build_fail(b, d->file, d->place, "nobody would know what \"@%s\" does", d->name);

        t = GQL_NEW(b->arena, GqlDirectiveType);
        if (!t)
                return -ENOMEM;
        t->name = d->name;
        t->description = d->description;
        t->repeatable = d->repeatable;
        for (size_t i = 0; i < MAM_ELEMENTSOF(hidden); i++)
                t->hidden |= strcmp(hidden[i], d->name) == 0;
        for (const GqlName *n = d->names; n; n = n->next) {
                r = gql_location_from_string(n->name);
                if (r < 0)
                        return gql_build_fail(b, d->file, n->place, "\"%s\" is not a location", n->name);
                t->locations |= UINT32_C(1) << r;
        }
        r = add_inputs(b, d->file, &t->arguments, d->inputs);
        if (r < 0)
                return r;
        *tail = t;
        return 0;
}

static int add_schema(GqlBuilder *b, const GqlDefinition *d) {
        static const char *const roots[][2] = { { "query", "Query" }, { "mutation", "Mutation" } };
        bool known;

        if (d->description)
                b->schema->description = d->description;
        for (const GqlFieldDefinition *f = d->fields; f; f = f->next) {
                known = false;
                for (size_t i = 0; i < MAM_ELEMENTSOF(roots); i++)
                        known |= strcmp(f->name, roots[i][0]) == 0 && f->type->kind == GQL_TYPE_REF_NAMED &&
                                 strcmp(f->type->name, roots[i][1]) == 0;
                if (!known)
                        return gql_build_fail(
                                        b,
                                        d->file,
                                        f->place,
                                        "the roots are \"query: Query\" and \"mutation: Mutation\"");
        }
        return 0;
}

static int add_content(GqlBuilder *b, const GqlDefinition *d) {
        GqlType *t;
        int r;

        if (d->kind == GQL_DEFINE_DIRECTIVE)
                return add_directive(b, d);
        if (d->kind == GQL_DEFINE_SCHEMA)
                return add_schema(b, d);
        t = gql_build_find(b, d->name);
        if (!t)
                return gql_build_fail(b, d->file, d->place, "there is no type \"%s\" to extend", d->name);
        if ((int) t->kind != type_kind(d->kind))
                return gql_build_fail(b, d->file, d->place, "type \"%s\" is of another kind", d->name);
        if (t->builtin && d->file != builtin_file)
                return gql_build_fail(b, d->file, d->place, "type \"%s\" cannot be extended", d->name);

        r = add_names(b, d, t);
        if (r >= 0)
                r = t->kind == GQL_ENUM ? add_values(b, d->file, t, d->fields)
                                        : add_fields(b, d->file, t, d->fields);
        if (r >= 0)
                r = add_inputs(b, d->file, &t->inputs, d->inputs);
        return r;
}

/* ---- all of it ---- */

static int parse_source(
                GqlBuilder *b,
                const char *file,
                const char *text,
                size_t size,
                GqlDefinition ***tail) {
        GqlDocument *d = NULL;
        int r;

        r = gql_parse_schema(&d, b->arena, &b->errors, file, text, size);
        if (r == -EBADMSG)
                return gql_build_result(b, file);
        if (r < 0)
                return r;
        **tail = d->definitions;
        while (**tail)
                *tail = &(**tail)->next;
        return 0;
}

static int make_table(GqlBuilder *b) {
        size_t n = 2; /* the roots */

        for (const GqlDefinition *d = b->definitions; d; d = d->next)
                n++;
        for (b->schema->table_size = 64; b->schema->table_size < 2 * n; b->schema->table_size *= 2)
                ;
        b->schema->table = gql_alloc(b->arena, b->schema->table_size * sizeof(GqlType *));
        return b->schema->table ? 0 : -ENOMEM;
}

static int set_roots(GqlBuilder *b) {
        GqlSchema *s = b->schema;

        s->query = gql_schema_find(s, "Query");
        s->mutation = gql_schema_find(s, "Mutation");
        if (s->mutation && !s->mutation->fields)
                s->mutation = NULL;
        s->field_typename = b->root->fields;
        s->field_schema = s->field_typename->next;
        s->field_type = s->field_schema->next;
        s->field_typename->next = s->field_schema->next = NULL;
        return s->query && s->query->fields ? 0 : -ENODATA;
}

static int build(GqlBuilder *b, const GqlSource *sources, const char **names, size_t n) {
        GqlDefinition **tail = &b->definitions;
        int r;

        r = parse_source(b, builtin_file, gql_builtin_sdl, strlen(gql_builtin_sdl), &tail);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = parse_source(b, names[i], sources[i].text, sources[i].size, &tail);
        if (r >= 0)
                r = make_table(b);
        if (r >= 0)
                r = add_types(b);
        for (const GqlDefinition *d = b->definitions; r >= 0 && d; d = d->next)
                r = add_content(b, d);
        if (r >= 0)
                r = set_roots(b);
        if (r >= 0)
                r = gql_build_apply(b);
        if (r >= 0)
                r = gql_build_check(b);
        return r;
}

int gql_schema_new(
                GqlSchema **ret,
                const GqlSource *sources,
                size_t n,
                char ret_message[static 512],
                size_t *ret_bad) {
        _cleanup_(gql_schema_unrefp) GqlSchema *s = NULL;
        GqlBuilder b = { .message = ret_message };
        const char **names;
        int r;

        assert(ret);
        assert(ret_bad);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->n_ref = 1;
        r = gql_arena_new(&s->arena, ARENA_MAX);
        if (r < 0)
                return r;
        names = gql_alloc(s->arena, (n + 1) * sizeof(*names));
        for (size_t i = 0; i < n && names; i++) {
                names[i] = gql_copy(s->arena, sources[i].name, strlen(sources[i].name));
                if (!names[i])
                        return -ENOMEM;
        }
        if (!names)
                return -ENOMEM;

        b.schema = s;
        b.arena = b.errors.arena = s->arena;
        r = build(&b, sources, names, n);
        if (r == -EBADMSG) {
                *ret_bad = n;
                for (size_t i = 0; i < n; i++)
                        if (names[i] == b.bad)
                                *ret_bad = i;
        }
        if (r < 0)
                return r;
        *ret = MAM_TAKE(s);
        return 0;
}
