/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql/parser-internal.h"

#define SCHEMA_TOKENS_MAX 200000U

static int parse_description(GqlParser *p, const char **ret) {
        const GqlToken *t = &p->lexer.token;

        if (t->kind != GQL_TOKEN_STRING && t->kind != GQL_TOKEN_BLOCK_STRING)
                return 0;
        *ret = t->text;
        return gql_lexer_next(&p->lexer);
}

static int parse_input(GqlParser *p, GqlInputDefinition **ret) {
        GqlInputDefinition *i = GQL_NEW(p->arena, GqlInputDefinition);
        int r;

        if (!i)
                return -ENOMEM;
        r = parse_description(p, &i->description);
        i->place = p->lexer.token.place;
        if (r >= 0)
                r = gql_parse_name(p, &i->name);
        if (r >= 0)
                r = gql_expect(p, ':');
        if (r >= 0)
                r = gql_parse_type(p, &i->type);
        if (r >= 0)
                r = gql_skip(p, '=');
        if (r > 0)
                r = gql_parse_value(p, &i->default_value, true);
        if (r >= 0)
                r = gql_parse_directives(p, &i->directives, true);
        if (r < 0)
                return r;
        *ret = i;
        return 0;
}

/* open InputValueDefinition+ close, or nothing. */
static int parse_inputs(GqlParser *p, GqlInputDefinition **ret, char open, char close) {
        GqlInputDefinition **tail = ret;
        int r;

        r = gql_skip(p, open);
        if (r <= 0)
                return r;
        do {
                r = parse_input(p, tail);
                if (r < 0)
                        return r;
                tail = &(*tail)->next;
        } while (!gql_at(p, close));
        return gql_expect(p, close);
}

/* A field of a type, a value of an enum (without type), or an operation of a schema. */
static int parse_member(GqlParser *p, GqlFieldDefinition **ret, GqlDefinitionKind kind) {
        GqlFieldDefinition *f = GQL_NEW(p->arena, GqlFieldDefinition);
        int r;

        if (!f)
                return -ENOMEM;
        r = parse_description(p, &f->description);
        f->place = p->lexer.token.place;
        if (r >= 0 && kind == GQL_DEFINE_ENUM &&
            (gql_at_keyword(p, "true") || gql_at_keyword(p, "false") || gql_at_keyword(p, "null")))
                return gql_expected(p, "a value of an enum");
        if (r >= 0)
                r = gql_parse_name(p, &f->name);
        if (r >= 0 && kind != GQL_DEFINE_ENUM) {
                if (kind != GQL_DEFINE_SCHEMA)
                        r = parse_inputs(p, &f->arguments, '(', ')');
                if (r >= 0)
                        r = gql_expect(p, ':');
                if (r >= 0)
                        r = gql_parse_type(p, &f->type);
        }
        if (r >= 0 && kind != GQL_DEFINE_SCHEMA)
                r = gql_parse_directives(p, &f->directives, true);
        if (r < 0)
                return r;
        *ret = f;
        return 0;
}

static int parse_members(GqlParser *p, GqlDefinition *d) {
        GqlFieldDefinition **tail = &d->fields;
        int r;

        r = gql_skip(p, '{');
        if (r <= 0)
                return r;
        do {
                r = parse_member(p, tail, d->kind);
                if (r < 0)
                        return r;
                tail = &(*tail)->next;
        } while (!gql_at(p, '}'));
        return gql_expect(p, '}');
}

/* Names with a separator between them, and maybe one before. */
static int parse_names(GqlParser *p, GqlName **ret, char separator) {
        GqlName **tail = ret;
        int r;

        r = gql_skip(p, separator);
        do {
                GqlName *n;

                if (r < 0)
                        return r;
                n = GQL_NEW(p->arena, GqlName);
                if (!n)
                        return -ENOMEM;
                n->place = p->lexer.token.place;
                r = gql_parse_name(p, &n->name);
                if (r < 0)
                        return r;
                *tail = n;
                tail = &n->next;
                r = gql_skip(p, separator);
        } while (r != 0);
        return 0;
}

static int parse_directive_definition(GqlParser *p, GqlDefinition *d) {
        int r;

        r = gql_expect(p, '@');
        if (r >= 0)
                r = gql_parse_name(p, &d->name);
        if (r >= 0)
                r = parse_inputs(p, &d->inputs, '(', ')');
        if (r >= 0)
                r = gql_skip_keyword(p, "repeatable");
        if (r >= 0) {
                d->repeatable = r > 0;
                r = gql_expect_keyword(p, "on");
        }
        return r < 0 ? r : parse_names(p, &d->names, '|');
}

/* Behind the keyword. */
static int parse_body(GqlParser *p, GqlDefinition *d) {
        int r = 0;

        if (d->kind == GQL_DEFINE_DIRECTIVE)
                return parse_directive_definition(p, d);
        if (d->kind != GQL_DEFINE_SCHEMA)
                r = gql_parse_name(p, &d->name);
        if (r >= 0 && (d->kind == GQL_DEFINE_OBJECT || d->kind == GQL_DEFINE_INTERFACE)) {
                r = gql_skip_keyword(p, "implements");
                if (r > 0)
                        r = parse_names(p, &d->names, '&');
        }
        if (r >= 0)
                r = gql_parse_directives(p, &d->directives, true);
        if (r < 0)
                return r;

        switch (d->kind) {
        case GQL_DEFINE_UNION:
                r = gql_skip(p, '=');
                return r <= 0 ? r : parse_names(p, &d->names, '|');
        case GQL_DEFINE_INPUT:
                return parse_inputs(p, &d->inputs, '{', '}');
        case GQL_DEFINE_SCHEMA:
        case GQL_DEFINE_OBJECT:
        case GQL_DEFINE_INTERFACE:
        case GQL_DEFINE_ENUM:
                return parse_members(p, d);
        case GQL_DEFINE_SCALAR:
        case GQL_DEFINE_DIRECTIVE:
        default:
                return 0;
        }
}

static int parse_definition(GqlParser *p, GqlDefinition **ret, const char *file) {
        static const char *const words[] = {
                [GQL_DEFINE_SCHEMA] = "schema", [GQL_DEFINE_SCALAR] = "scalar",
                [GQL_DEFINE_OBJECT] = "type",   [GQL_DEFINE_INTERFACE] = "interface",
                [GQL_DEFINE_UNION] = "union",   [GQL_DEFINE_ENUM] = "enum",
                [GQL_DEFINE_INPUT] = "input",   [GQL_DEFINE_DIRECTIVE] = "directive",
        };
        GqlDefinition *d = GQL_NEW(p->arena, GqlDefinition);
        int r;

        if (!d)
                return -ENOMEM;
        d->file = file;
        r = parse_description(p, &d->description);
        d->place = p->lexer.token.place;
        if (r >= 0 && !d->description) {
                r = gql_skip_keyword(p, "extend");
                d->is_extension = r > 0;
        }
        if (r < 0)
                return r;
        for (unsigned i = 0; i < MAM_ELEMENTSOF(words); i++) {
                if (!gql_at_keyword(p, words[i]) || (d->is_extension && i == GQL_DEFINE_DIRECTIVE))
                        continue;
                d->kind = (GqlDefinitionKind) i;
                r = gql_lexer_next(&p->lexer);
                if (r >= 0)
                        r = parse_body(p, d);
                if (r < 0)
                        return r;
                *ret = d;
                return 0;
        }
        return gql_expected(p, "a definition of a schema");
}

int gql_parse_schema(
                GqlDocument **ret,
                GqlArena *arena,
                GqlErrors *errors,
                const char *file,
                const char *source,
                size_t size) {
        GqlParser p = { .arena = arena, .errors = errors };
        GqlDefinition **tail;
        GqlDocument *d;
        int r;

        assert(ret);
        assert(arena);
        assert(errors);

        d = GQL_NEW(arena, GqlDocument);
        if (!d)
                return -ENOMEM;
        tail = &d->definitions;
        r = gql_lexer_init(&p.lexer, arena, errors, source, size, SCHEMA_TOKENS_MAX);
        while (r >= 0 && p.lexer.token.kind != GQL_TOKEN_END) {
                r = parse_definition(&p, tail, file);
                if (r >= 0)
                        tail = &(*tail)->next;
        }
        if (r < 0)
                return r;
        *ret = d;
        return 0;
}
