/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Directives of a schema: checked against their definitions, then applied
 */

#include <string.h>

#include "api-gateway/graphql/rest.h"
#include "api-gateway/graphql/schema-internal.h"
#include "api-gateway/graphql/values.h"

#define LIST_SIZE_MAX 100000

static int check_directive(GqlBuilder *b, const char *file, const GqlDirective *d, GqlLocation where) {
        const GqlDirectiveType *t = gql_schema_find_directive(b->schema, d->name);

        if (!t)
                return gql_build_fail(b, file, d->place, "there is no directive \"@%s\"", d->name);
        if (!(t->locations & UINT32_C(1) << where))
                return gql_build_fail(b, file, d->place, "\"@%s\" cannot be used here", d->name);
        for (const GqlArgument *a = d->arguments; a; a = a->next) {
                const GqlInput *i = gql_input_find(t->arguments, a->name);

                if (!i)
                        return gql_build_fail(
                                        b,
                                        file,
                                        a->place,
                                        "\"@%s\" has no argument \"%s\"",
                                        d->name,
                                        a->name);
                if (gql_argument_find(d->arguments, a->name) != a)
                        return gql_build_fail(b, file, a->place, "argument \"%s\" is there twice", a->name);
                gql_literal_check(b->schema, &b->errors, a->value, i->type);
        }
        for (const GqlInput *i = t->arguments; i; i = i->next)
                if (gql_input_is_required(i) && !gql_argument_find(d->arguments, i->name))
                        return gql_build_fail(
                                        b,
                                        file,
                                        d->place,
                                        "\"@%s\" needs the argument \"%s\"",
                                        d->name,
                                        i->name);
        return gql_build_result(b, file);
}

static int check_directives(GqlBuilder *b, const char *file, const GqlDirective *list, GqlLocation where) {
        for (const GqlDirective *d = list; d; d = d->next) {
                int r;

                r = check_directive(b, file, d, where);
                if (r < 0)
                        return r;
                if (gql_directive_find(list, d->name) != d)
                        return gql_build_fail(b, file, d->place, "\"@%s\" is there twice", d->name);
        }
        return 0;
}

/* A text argument of a directive that was checked, or otherwise. */
static const char *argument_text(
                const GqlDirective *list,
                const char *directive,
                const char *argument,
                const char *otherwise) {
        const GqlDirective *d = gql_directive_find(list, directive);
        const GqlArgument *a = d ? gql_argument_find(d->arguments, argument) : NULL;

        return a && a->value->kind == GQL_VALUE_STRING ? a->value->text : otherwise;
}

static const char *deprecation(const GqlDirective *list) {
        return gql_directive_find(list, "deprecated")
                               ? argument_text(list, "deprecated", "reason", "No longer supported")
                               : NULL;
}

static int apply_inputs(GqlBuilder *b, const char *file, GqlInput *list, GqlLocation where) {
        for (GqlInput *i = list; i; i = i->next) {
                const GqlDirective *directives = i->definition->directives;
                int r;

                r = check_directives(b, file, directives, where);
                if (r < 0)
                        return r;
                i->deprecated = deprecation(directives);
                if (i->deprecated && gql_input_is_required(i))
                        return gql_build_fail(
                                        b,
                                        file,
                                        i->definition->place,
                                        "\"%s\" is required and cannot be deprecated",
                                        i->name);
                i->json_name = argument_text(directives, "json", "name", i->name);
                if (i->default_value) {
                        gql_literal_check(b->schema, &b->errors, i->default_value, i->type);
                        r = gql_build_result(b, file);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

static int apply_list(GqlBuilder *b, const char *file, GqlField *f, const GqlDirective *d) {
        const GqlArgument *size = gql_argument_find(d->arguments, "size");
        const char *name = argument_text(d, "list", "argument", NULL);
        long n;

        f->is_list = true;
        f->list_size = GQL_LIST_SIZE;
        if (size && size->value->kind == GQL_VALUE_INT) {
                n = strtol(size->value->text, NULL, 10);
                if (n < 1 || n > LIST_SIZE_MAX)
                        return gql_build_fail(
                                        b,
                                        file,
                                        size->place,
                                        "a list has 1 to %d items",
                                        LIST_SIZE_MAX);
                f->list_size = (unsigned) n;
        }
        if (!name)
                return 0;
        f->list_argument = gql_input_find(f->arguments, name);
        if (!f->list_argument || gql_type_ref_named(f->list_argument->type)->scalar != GQL_SCALAR_INT)
                return gql_build_fail(
                                b,
                                file,
                                d->place,
                                "the field has no argument \"%s\" that is an Int",
                                name);
        return 0;
}

static bool names_parent(const GqlRest *rest) {
        for (const GqlPiece *p = rest->path; p; p = p->next)
                if (p->kind == GQL_PIECE_PARENT)
                        return true;
        for (const GqlParameter *q = rest->query; q; q = q->next)
                for (const GqlPiece *p = q->value; p; p = p->next)
                        if (p->kind == GQL_PIECE_PARENT)
                                return true;
        for (const GqlParameter *q = rest->headers; q; q = q->next)
                for (const GqlPiece *p = q->value; p; p = p->next)
                        if (p->kind == GQL_PIECE_PARENT)
                                return true;
        return false;
}

static int apply_rest(
                GqlBuilder *b,
                const char *file,
                const GqlType *t,
                GqlField *f,
                const GqlDirective *d) {
        bool is_root = t == b->schema->query || t == b->schema->mutation;
        const char *reason = NULL;
        GqlRest *rest = NULL;
        int r;

        r = gql_rest_compile(&rest, b->arena, f, d, &reason);
        if (r == -EBADMSG)
                return gql_build_fail(b, file, d->place, "%s", reason);
        if (r < 0)
                return r;
        if (t != b->schema->mutation && strcmp(rest->method, "GET") != 0)
                return gql_build_fail(b, file, d->place, "only fields of Mutation may change anything");
        if (is_root && names_parent(rest))
                return gql_build_fail(b, file, d->place, "a field of %s has no parent", t->name);
        f->rest = rest;
        return 0;
}

static int apply_field(GqlBuilder *b, const char *file, const GqlType *t, GqlField *f) {
        const GqlDirective *directives = f->definition->directives, *d;
        int r;

        r = check_directives(b, file, directives, GQL_LOCATION_FIELD_DEFINITION);
        if (r >= 0)
                r = apply_inputs(b, file, f->arguments, GQL_LOCATION_ARGUMENT_DEFINITION);
        if (r < 0)
                return r;
        f->deprecated = deprecation(directives);
        f->json_name = argument_text(directives, "json", "name", f->name);
        d = gql_directive_find(directives, "list");
        if (d) {
                r = apply_list(b, file, f, d);
                if (r < 0)
                        return r;
        }
        d = gql_directive_find(directives, "rest");
        if (d && t->kind == GQL_INTERFACE)
                return gql_build_fail(b, file, d->place, "a field of an interface is not a resource");
        if (d)
                return apply_rest(b, file, t, f, d);
        if ((t == b->schema->query || t == b->schema->mutation) && !t->builtin)
                return gql_build_fail(
                                b,
                                file,
                                f->definition->place,
                                "\"%s.%s\" has no @rest",
                                t->name,
                                f->name);
        return 0;
}

static GqlLocation location_of(GqlTypeKind kind) {
        static const GqlLocation locations[] = {
                [GQL_SCALAR] = GQL_LOCATION_SCALAR,       [GQL_OBJECT] = GQL_LOCATION_OBJECT,
                [GQL_INTERFACE] = GQL_LOCATION_INTERFACE, [GQL_UNION] = GQL_LOCATION_UNION,
                [GQL_ENUM] = GQL_LOCATION_ENUM,           [GQL_INPUT_OBJECT] = GQL_LOCATION_INPUT_OBJECT,
        };

        return locations[kind];
}

/* Fields and values that this definition has brought. */
static int apply_members(GqlBuilder *b, const GqlDefinition *d, GqlType *t) {
        int r;

        for (const GqlFieldDefinition *m = d->fields; m; m = m->next) {
                if (t->kind != GQL_ENUM) {
                        GqlField *f = t->fields;

                        while (f && f->definition != m)
                                f = f->next;
                        r = f ? apply_field(b, d->file, t, f) : 0;
                } else {
                        GqlEnumValue *v = (GqlEnumValue *) gql_enum_find(t, m->name);

                        r = check_directives(b, d->file, m->directives, GQL_LOCATION_ENUM_VALUE);
                        v->deprecated = deprecation(m->directives);
                        v->json_name = argument_text(m->directives, "json", "name", v->name);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int apply_definition(GqlBuilder *b, const GqlDefinition *d) {
        GqlType *t;
        int r;

        if (d->kind == GQL_DEFINE_SCHEMA)
                return check_directives(b, d->file, d->directives, GQL_LOCATION_SCHEMA);
        if (d->kind == GQL_DEFINE_DIRECTIVE)
                return 0;
        t = gql_build_find(b, d->name);
        r = check_directives(b, d->file, d->directives, location_of(t->kind));
        if (r < 0)
                return r;
        t->json_name = argument_text(d->directives, "json", "name", t->json_name);
        t->kind_member = argument_text(d->directives, "kind", "member", t->kind_member);
        t->specified_by = argument_text(d->directives, "specifiedBy", "url", t->specified_by);
        r = apply_members(b, d, t);
        for (const GqlInputDefinition *i = d->inputs; i && r >= 0; i = i->next) {
                GqlInput *input = gql_input_find(t->inputs, i->name), *next = input->next;

                input->next = NULL; /* only this one */
                r = apply_inputs(b, d->file, input, GQL_LOCATION_INPUT_FIELD_DEFINITION);
                input->next = next;
        }
        return r;
}

int gql_build_apply(GqlBuilder *b) {
        for (const GqlDefinition *d = b->definitions; d; d = d->next) {
                int r;

                r = apply_definition(b, d);
                if (r < 0)
                        return r;
        }
        return 0;
}
