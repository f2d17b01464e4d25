/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/parser.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql/parser-internal.h"

int gql_expected(GqlParser *p, const char *what) {
        gql_error(p->errors,
                  GQL_CODE_PARSE,
                  p->lexer.token.place,
                  "Syntax error: expected %s, found %s",
                  what,
                  gql_token_describe(p->arena, &p->lexer.token) ?: "something else");
        return -EBADMSG;
}

bool gql_at(const GqlParser *p, char punctuator) {
        return p->lexer.token.kind == GQL_TOKEN_PUNCTUATOR && p->lexer.token.punctuator == punctuator;
}

bool gql_at_keyword(const GqlParser *p, const char *keyword) {
        const GqlToken *t = &p->lexer.token;

        return t->kind == GQL_TOKEN_NAME && t->size == strlen(keyword) &&
               memcmp(t->text, keyword, t->size) == 0;
}

int gql_skip(GqlParser *p, char punctuator) {
        int r;

        if (!gql_at(p, punctuator))
                return 0;
        r = gql_lexer_next(&p->lexer);
        return r < 0 ? r : 1;
}

int gql_skip_keyword(GqlParser *p, const char *keyword) {
        int r;

        if (!gql_at_keyword(p, keyword))
                return 0;
        r = gql_lexer_next(&p->lexer);
        return r < 0 ? r : 1;
}

int gql_expect(GqlParser *p, char punctuator) {
        char what[] = "\"x\"";
        int r;

        r = gql_skip(p, punctuator);
        if (r != 0)
                return r < 0 ? r : 0;
        what[1] = punctuator;
        return gql_expected(p, what);
}

int gql_expect_keyword(GqlParser *p, const char *keyword) {
        int r;

        r = gql_skip_keyword(p, keyword);
        if (r != 0)
                return r < 0 ? r : 0;
        return gql_expected(p, keyword);
}

int gql_parse_name(GqlParser *p, const char **ret) {
        const GqlToken *t = &p->lexer.token;
        char *name;

        if (t->kind != GQL_TOKEN_NAME)
                return gql_expected(p, "a name");
        name = gql_copy(p->arena, t->text, t->size);
        if (!name)
                return -ENOMEM;
        *ret = name;
        return gql_lexer_next(&p->lexer);
}

int gql_nest(GqlParser *p) {
        if (p->depth++ < GQL_NESTING_MAX)
                return 0;
        gql_error(p->errors, GQL_CODE_LIMIT, p->lexer.token.place, "The document is nested too deeply");
        return -EBADMSG;
}

static int parse_list(GqlParser *p, GqlValue *v, bool constant) {
        GqlValue **tail = &v->items;
        int r;

        v->kind = GQL_VALUE_LIST;
        r = gql_lexer_next(&p->lexer);
        while (r >= 0 && !gql_at(p, ']')) {
                r = gql_parse_value(p, tail, constant);
                if (r >= 0)
                        tail = &(*tail)->next;
        }
        return r < 0 ? r : gql_expect(p, ']');
}

/* Name ":" Value */
static int parse_argument(GqlParser *p, GqlArgument **ret, bool constant) {
        GqlArgument *a = GQL_NEW(p->arena, GqlArgument);
        int r;

        if (!a)
                return -ENOMEM;
        a->place = p->lexer.token.place;
        r = gql_parse_name(p, &a->name);
        if (r < 0)
                return r;
        r = gql_expect(p, ':');
        if (r < 0)
                return r;
        r = gql_parse_value(p, &a->value, constant);
        if (r < 0)
                return r;
        *ret = a;
        return 0;
}

static int parse_object(GqlParser *p, GqlValue *v, bool constant) {
        GqlArgument **tail = &v->fields;
        int r;

        v->kind = GQL_VALUE_OBJECT;
        r = gql_lexer_next(&p->lexer);
        while (r >= 0 && !gql_at(p, '}')) {
                r = parse_argument(p, tail, constant);
                if (r >= 0)
                        tail = &(*tail)->next;
        }
        return r < 0 ? r : gql_expect(p, '}');
}

static int parse_variable(GqlParser *p, GqlValue *v, bool constant) {
        int r;

        if (constant)
                return gql_expected(p, "a value without variables");
        v->kind = GQL_VALUE_VARIABLE;
        r = gql_lexer_next(&p->lexer);
        return r < 0 ? r : gql_parse_name(p, &v->text);
}

static int parse_word(GqlParser *p, GqlValue *v) {
        int r;

        r = gql_parse_name(p, &v->text);
        if (r < 0)
                return r;
        v->size = strlen(v->text);
        v->kind = GQL_VALUE_ENUM;
        if (strcmp(v->text, "null") == 0)
                v->kind = GQL_VALUE_NULL;
        else if (strcmp(v->text, "true") == 0 || strcmp(v->text, "false") == 0) {
                v->kind = GQL_VALUE_BOOLEAN;
                v->boolean = v->text[0] == 't';
        }
        return 0;
}

/* Numbers and strings. */
static int parse_scalar(GqlParser *p, GqlValue *v) {
        const GqlToken *t = &p->lexer.token;

        v->kind = t->kind == GQL_TOKEN_INT     ? GQL_VALUE_INT
                  : t->kind == GQL_TOKEN_FLOAT ? GQL_VALUE_FLOAT
                                               : GQL_VALUE_STRING;
        v->text = v->kind == GQL_VALUE_STRING ? t->text : gql_copy(p->arena, t->text, t->size);
        v->size = t->size;
        return v->text ? gql_lexer_next(&p->lexer) : -ENOMEM;
}

int gql_parse_value(GqlParser *p, GqlValue **ret, bool constant) {
        GqlValue *v = GQL_NEW(p->arena, GqlValue);
        int r;

        if (!v)
                return -ENOMEM;
        r = gql_nest(p);
        if (r < 0)
                return r;
        v->place = p->lexer.token.place;
        if (gql_at(p, '['))
                r = parse_list(p, v, constant);
        else if (gql_at(p, '{'))
                r = parse_object(p, v, constant);
        else if (gql_at(p, '$'))
                r = parse_variable(p, v, constant);
        else if (p->lexer.token.kind == GQL_TOKEN_NAME)
                r = parse_word(p, v);
        else if (p->lexer.token.kind == GQL_TOKEN_PUNCTUATOR || p->lexer.token.kind == GQL_TOKEN_END)
                r = gql_expected(p, "a value");
        else
                r = parse_scalar(p, v);
        if (r < 0)
                return r;
        p->depth--;
        *ret = v;
        return 0;
}

/* "(" Argument+ ")", or nothing. */
static int parse_arguments(GqlParser *p, GqlArgument **ret, bool constant) {
        GqlArgument **tail = ret;
        int r;

        r = gql_skip(p, '(');
        if (r <= 0)
                return r;
        do {
                r = parse_argument(p, tail, constant);
                if (r < 0)
                        return r;
                tail = &(*tail)->next;
        } while (!gql_at(p, ')'));
        return gql_expect(p, ')');
}

int gql_parse_directives(GqlParser *p, GqlDirective **ret, bool constant) {
        GqlDirective **tail = ret;
        int r;

        while (gql_at(p, '@')) {
                GqlDirective *d = GQL_NEW(p->arena, GqlDirective);

                if (!d)
                        return -ENOMEM;
                d->place = p->lexer.token.place;
                r = gql_lexer_next(&p->lexer);
                if (r < 0)
                        return r;
                r = gql_parse_name(p, &d->name);
                if (r < 0)
                        return r;
                r = parse_arguments(p, &d->arguments, constant);
                if (r < 0)
                        return r;
                *tail = d;
                tail = &d->next;
        }
        return 0;
}

static GqlTypeRef *type_ref_new(GqlParser *p, GqlTypeRefKind kind) {
        GqlTypeRef *t = GQL_NEW(p->arena, GqlTypeRef);

        if (t) {
                t->kind = kind;
                t->place = p->lexer.token.place;
        }
        return t;
}

int gql_parse_type(GqlParser *p, GqlTypeRef **ret) {
        GqlTypeRef *t, *strict;
        int r;

        t = type_ref_new(p, gql_at(p, '[') ? GQL_TYPE_REF_LIST : GQL_TYPE_REF_NAMED);
        if (!t)
                return -ENOMEM;
        r = gql_nest(p);
        if (r < 0)
                return r;
        if (t->kind == GQL_TYPE_REF_LIST) {
                r = gql_expect(p, '[');
                if (r >= 0)
                        r = gql_parse_type(p, &t->of);
                if (r >= 0)
                        r = gql_expect(p, ']');
        } else
                r = gql_parse_name(p, &t->name);
        if (r < 0)
                return r;
        p->depth--;

        if (gql_at(p, '!')) {
                strict = type_ref_new(p, GQL_TYPE_REF_NON_NULL);
                if (!strict)
                        return -ENOMEM;
                strict->place = t->place;
                strict->of = t;
                t = strict;
                r = gql_expect(p, '!');
                if (r < 0)
                        return r;
        }
        *ret = t;
        return 0;
}

static int parse_selections(GqlParser *p, GqlSelection **ret);

static int parse_field(GqlParser *p, GqlSelection *s) {
        int r;

        s->kind = GQL_SELECTION_FIELD;
        r = gql_parse_name(p, &s->name);
        if (r < 0)
                return r;
        r = gql_skip(p, ':');
        if (r > 0) {
                s->alias = s->name;
                r = gql_parse_name(p, &s->name);
        }
        if (r < 0)
                return r;
        r = parse_arguments(p, &s->arguments, false);
        if (r < 0)
                return r;
        r = gql_parse_directives(p, &s->directives, false);
        if (r < 0)
                return r;
        return gql_at(p, '{') ? parse_selections(p, &s->selections) : 0;
}

/* Behind "...". */
static int parse_spread(GqlParser *p, GqlSelection *s) {
        int r;

        if (p->lexer.token.kind == GQL_TOKEN_NAME && !gql_at_keyword(p, "on")) {
                s->kind = GQL_SELECTION_SPREAD;
                r = gql_parse_name(p, &s->name);
                return r < 0 ? r : gql_parse_directives(p, &s->directives, false);
        }

        s->kind = GQL_SELECTION_INLINE;
        r = gql_skip_keyword(p, "on");
        if (r > 0)
                r = gql_parse_name(p, &s->condition);
        if (r < 0)
                return r;
        r = gql_parse_directives(p, &s->directives, false);
        return r < 0 ? r : parse_selections(p, &s->selections);
}

static int parse_selections(GqlParser *p, GqlSelection **ret) {
        GqlSelection **tail = ret;
        int r;

        r = gql_nest(p);
        if (r < 0)
                return r;
        r = gql_expect(p, '{');
        if (r < 0)
                return r;
        do {
                GqlSelection *s = GQL_NEW(p->arena, GqlSelection);

                if (!s)
                        return -ENOMEM;
                s->place = p->lexer.token.place;
                r = gql_skip(p, '.');
                if (r >= 0)
                        r = r > 0 ? parse_spread(p, s) : parse_field(p, s);
                if (r < 0)
                        return r;
                *tail = s;
                tail = &s->next;
        } while (!gql_at(p, '}'));
        p->depth--;
        return gql_expect(p, '}');
}

/* "(" VariableDefinition+ ")", or nothing. */
static int parse_variables(GqlParser *p, GqlVariable **ret) {
        GqlVariable **tail = ret;
        int r;

        r = gql_skip(p, '(');
        if (r <= 0)
                return r;
        do {
                GqlVariable *v = GQL_NEW(p->arena, GqlVariable);

                if (!v)
                        return -ENOMEM;
                v->place = p->lexer.token.place;
                r = gql_expect(p, '$');
                if (r >= 0)
                        r = gql_parse_name(p, &v->name);
                if (r >= 0)
                        r = gql_expect(p, ':');
                if (r >= 0)
                        r = gql_parse_type(p, &v->type);
                if (r >= 0)
                        r = gql_skip(p, '=');
                if (r > 0)
                        r = gql_parse_value(p, &v->default_value, true);
                if (r >= 0)
                        r = gql_parse_directives(p, &v->directives, true);
                if (r < 0)
                        return r;
                *tail = v;
                tail = &v->next;
        } while (!gql_at(p, ')'));
        return gql_expect(p, ')');
}

static int parse_operation(GqlParser *p, GqlOperation **ret) {
        static const char *const words[] = { "query", "mutation", "subscription" };
        GqlOperation *o = GQL_NEW(p->arena, GqlOperation);
        bool found = false;
        int r = 0;

        if (!o)
                return -ENOMEM;
        o->place = p->lexer.token.place;
        if (!gql_at(p, '{')) {
                for (unsigned i = 0; i < MAM_ELEMENTSOF(words) && !found; i++) {
                        found = gql_at_keyword(p, words[i]);
                        if (found)
                                o->kind = (GqlOperationKind) i;
                }
                if (!found)
                        return gql_expected(p, "an operation or a fragment");
                r = gql_lexer_next(&p->lexer);
                if (r >= 0 && p->lexer.token.kind == GQL_TOKEN_NAME)
                        r = gql_parse_name(p, &o->name);
                if (r >= 0)
                        r = parse_variables(p, &o->variables);
                if (r >= 0)
                        r = gql_parse_directives(p, &o->directives, false);
        }
        if (r >= 0)
                r = parse_selections(p, &o->selections);
        if (r < 0)
                return r;
        *ret = o;
        return 0;
}

/* Behind "fragment". */
static int parse_fragment(GqlParser *p, GqlFragment **ret, GqlPlace place) {
        GqlFragment *f = GQL_NEW(p->arena, GqlFragment);
        int r;

        if (!f)
                return -ENOMEM;
        f->place = place;
        if (gql_at_keyword(p, "on"))
                return gql_expected(p, "the name of a fragment");
        r = gql_parse_name(p, &f->name);
        if (r >= 0)
                r = gql_expect_keyword(p, "on");
        if (r >= 0)
                r = gql_parse_name(p, &f->condition);
        if (r >= 0)
                r = gql_parse_directives(p, &f->directives, false);
        if (r >= 0)
                r = parse_selections(p, &f->selections);
        if (r < 0)
                return r;
        *ret = f;
        return 0;
}

static int parse_executable(GqlParser *p, GqlDocument *d) {
        GqlOperation **operations = &d->operations;
        GqlFragment **fragments = &d->fragments;
        GqlPlace place;
        int r;

        do {
                place = p->lexer.token.place;
                r = gql_skip_keyword(p, "fragment");
                if (r > 0) {
                        r = parse_fragment(p, fragments, place);
                        if (r >= 0)
                                fragments = &(*fragments)->next;
                } else if (r == 0) {
                        r = parse_operation(p, operations);
                        if (r >= 0)
                                operations = &(*operations)->next;
                }
                if (r < 0)
                        return r;
        } while (p->lexer.token.kind != GQL_TOKEN_END);
        return 0;
}

int gql_parse(GqlDocument **ret,
              GqlArena *arena,
              GqlErrors *errors,
              const char *source,
              size_t size,
              unsigned tokens_max) {
        GqlParser p = { .arena = arena, .errors = errors };
        GqlDocument *d;
        int r;

        assert(ret);
        assert(arena);
        assert(errors);

        d = GQL_NEW(arena, GqlDocument);
        if (!d)
                return -ENOMEM;
        r = gql_lexer_init(&p.lexer, arena, errors, source, size, tokens_max);
        if (r < 0)
                return r;
        r = parse_executable(&p, d);
        if (r < 0)
                return r;
        *ret = d;
        return 0;
}
