/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Recursive descent over the text; each term is checked against the fields when it is read
 */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "project-manager/field.h"
#include "project-manager/query-internal.h"

typedef struct Parser {
        Query *query;
        const char *text, *p;
        const QueryContext *context;
        QueryError *error;
        unsigned depth, n_terms;
} Parser;

static int fail(Parser *s, const char *at, int r, const char *format, ...) _printf_(4, 5);

static int fail(Parser *s, const char *at, int r, const char *format, ...) {
        va_list ap;

        s->error->offset = 0;
        for (const char *p = s->text; p < at; p++)
                s->error->offset += ((unsigned char) *p & 0xc0) != 0x80;
        va_start(ap, format);
        (void) vsnprintf(s->error->message, sizeof(s->error->message), format, ap);
        va_end(ap);
        return r;
}

static void skip_space(Parser *s) {
        while (*s->p == ' ')
                s->p++;
}

/* A keyword stands alone. */
static bool at_keyword(const Parser *s, const char *word) {
        size_t n = strlen(word);

        return strncmp(s->p, word, n) == 0 && strchr(" ()", s->p[n]);
}

static int node_new(Parser *s, QueryNodeType type, unsigned *ret) {
        Query *q = s->query;

        if (q->n_nodes == q->n_nodes_allocated) {
                size_t n = q->n_nodes_allocated ? q->n_nodes_allocated * 2 : 8;
                QueryNode *nodes = reallocarray(q->nodes, n, sizeof(*nodes));

                if (!nodes)
                        return -ENOMEM;
                q->nodes = nodes;
                q->n_nodes_allocated = n;
        }
        q->nodes[q->n_nodes] = (QueryNode){ .type = type };
        *ret = (unsigned) q->n_nodes++;
        return 0;
}

static int join(Parser *s, QueryNodeType type, unsigned left, unsigned right, unsigned *ret) {
        int r = node_new(s, type, ret);

        if (r < 0)
                return r;
        s->query->nodes[*ret].left = left;
        s->query->nodes[*ret].right = right;
        return 0;
}

static int parameter_new(Parser *s, const char *at, const char *text, unsigned *ret) {
        Query *q = s->query;

        if (q->n_parameters == QUERY_PARAMETERS_MAX)
                return fail(s,
                            at,
                            -E2BIG,
                            "There are too many values; %u are possible",
                            QUERY_PARAMETERS_MAX);
        q->parameters[q->n_parameters] = strdup(text);
        if (!q->parameters[q->n_parameters])
                return -ENOMEM;
        *ret = (unsigned) q->n_parameters++;
        return 0;
}

/* ---- values ---- */

/* A bare word up to any of the characters in end, or a quoted text in which \ takes the next character as it
 * is. */
static int value_read(Parser *s, const char *end, MamBuffer *ret, bool *ret_quoted) {
        const char *start = s->p;
        int r = 0;

        *ret_quoted = *s->p == '"';
        if (!*ret_quoted) {
                while (*s->p && *s->p != ' ' && !strchr(end, *s->p))
                        s->p++;
                return mam_buffer_append(ret, start, (size_t) (s->p - start));
        }
        for (s->p++; *s->p != '"'; s->p++) {
                if (*s->p == '\\' && s->p[1])
                        s->p++;
                if (!*s->p)
                        return fail(s, start, -EINVAL, "The quotation mark has no end");
                r = mam_buffer_append(ret, s->p, 1);
                if (r < 0)
                        return r;
        }
        s->p++;
        return 0;
}

/* Appends ", "-separated names to a message. */
static void name_add(char *message, size_t size, const char *name) {
        size_t n = strlen(message);

        (void) snprintf(message + n, size - n, "%s%s", n > 0 ? ", " : "", name);
}

static const QueryChoice *choice_find(Parser *s, const QueryField *field, const char *at, const char *text) {
        char names[120] = "";

        for (const QueryChoice *c = field->choices; c->name; c++) {
                if (strcmp(c->name, text) == 0)
                        return c;
                name_add(names, sizeof(names), c->name);
        }
        (void) fail(s, at, -EINVAL, "\"%.30s\" is no value of %s: %s", text, field->name, names);
        return NULL;
}

/* All choices below (or above) one, as a condition on an order is a set of values. */
static int choices_ordered(
                Parser *s,
                const QueryField *field,
                QueryOperator
                operator,
                const char * at,
                const char *text,
                MamBuffer *array) {
        bool less = operator== QUERY_LESS || operator== QUERY_LESS_OR_EQUAL;
        bool with = operator== QUERY_LESS_OR_EQUAL || operator== QUERY_GREATER_OR_EQUAL;
        size_t n = 0, k;
        int r;

        if (!field->order)
                return fail(s, at, -EINVAL, "%s has no order: use \":\"", field->name);
        for (k = 0; field->order[k] && strcmp(field->order[k], text) != 0; k++)
                ;
        if (!field->order[k])
                return choice_find(s, field, at, text) ? fail(s,
                                                              at,
                                                              -EINVAL,
                                                              "\"%.30s\" has no place in the order of %s",
                                                              text,
                                                              field->name)
                                                       : -EINVAL;
        for (size_t i = 0; field->order[i]; i++) {
                if (i == k ? !with : (i < k) != less)
                        continue;
                r = field_array_add(array, field->order[i]);
                if (r < 0)
                        return r;
                n++;
        }
        return n > 0 ? 0 : mam_buffer_append_string(array, "{}");
}

/* A choice may stand for several values: "{a,b}" joins what is there. */
static int choice_add(MamBuffer *array, const char *values) {
        if (array->size == 0)
                return mam_buffer_append_string(array, values);
        array->data[array->start + array->size - 1] = ',';
        return mam_buffer_append_string(array, values + 1);
}

static int choice_value(
                Parser *s,
                const QueryNode *term,
                const char *at,
                const char *text,
                MamBuffer *array) {
        const QueryChoice *choice;

        if (term->operator!= QUERY_IS && term->operator!= QUERY_IS_NOT)
                return choices_ordered(s, term->field, term->operator, at, text, array);
        choice = choice_find(s, term->field, at, text);
        return choice ? choice_add(array, choice->values) : -EINVAL;
}

static int name_value(
                Parser *s,
                const QueryNode *term,
                const char *at,
                const char *text,
                bool quoted,
                MamBuffer *array) {
        if (term->operator!= QUERY_IS && term->operator!= QUERY_IS_NOT)
                return fail(s, at, -EINVAL, "%s has no order: use \":\"", term->field->name);
        if (*text == '\0')
                return fail(s, at, -EINVAL, "%s needs a value", term->field->name);
        return field_array_add(
                        array,
                        term->field->is_person && !quoted && strcmp(text, "me") == 0 ? s->context->me
                                                                                     : text);
}

/* One end of a range: its beginning or what comes behind it. */
static int range_end(
                Parser *s,
                const QueryNode *term,
                const char *at,
                const char *text,
                bool high,
                unsigned *ret) {
        char message[200];
        QueryMoment moment;

        if (*text == '\0') {
                *ret = QUERY_UNBOUNDED;
                return 0;
        }
        if (term->field->type == QUERY_NUMBER) {
                if (!query_number_is_valid(text))
                        return fail(s,
                                    at,
                                    -EINVAL,
                                    "%s needs a number, not \"%.40s\"",
                                    term->field->name,
                                    text);
                return parameter_new(s, at, text, ret);
        }
        if (query_moment_parse(
                            &moment,
                            text,
                            term->field->type == QUERY_TIME,
                            s->context->now_usec,
                            message) < 0)
                return fail(s, at, -EINVAL, "%s: %s", term->field->name, message);
        return parameter_new(s, at, high ? moment.high : moment.low, ret);
}

static int range_value(Parser *s, QueryNode *term, const char *at, char *text) {
        QueryRange *range = term->ranges + term->n_ranges;
        char *dots = strstr(text, "..");
        const char *high = text;
        int r;

        if (term->n_ranges == QUERY_RANGES_MAX)
                return fail(s,
                            at,
                            -E2BIG,
                            "%s has too many values; %u are possible",
                            term->field->name,
                            QUERY_RANGES_MAX);
        if (dots) {
                if (term->operator!= QUERY_IS && term->operator!= QUERY_IS_NOT)
                        return fail(s, at, -EINVAL, "A range needs \":\"");
                *dots = '\0';
                high = dots + 2;
        }
        if (*text == '\0' && *high == '\0')
                return fail(s, at, -EINVAL, "%s needs a value", term->field->name);
        *range = (QueryRange){ .low = QUERY_UNBOUNDED, .high = QUERY_UNBOUNDED };
        /* No parameter without a use: PostgreSQL could not tell its type. */
        if (term->operator!= QUERY_LESS_OR_EQUAL && term->operator!= QUERY_GREATER) {
                r = range_end(s, term, at, text, false, &range->low);
                if (r < 0)
                        return r;
        }
        if (term->operator!= QUERY_LESS && term->operator!= QUERY_GREATER_OR_EQUAL) {
                r = range_end(s, term, at, high, true, &range->high);
                if (r < 0)
                        return r;
        }
        term->n_ranges++;
        return 0;
}

static int term_value(Parser *s, QueryNode *term, MamBuffer *array) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        const char *at = s->p;
        bool quoted;
        int r;

        r = value_read(s, ",()\"", &text, &quoted);
        if (r < 0)
                return r;
        if (text.size == 0 && !quoted)
                return fail(s, at, -EINVAL, "%s needs a value", term->field->name);
        switch (term->field->type) {
        case QUERY_CHOICE:
                return choice_value(s, term, at, mam_buffer_bytes(&text), array);
        case QUERY_NAME:
                return name_value(s, term, at, mam_buffer_bytes(&text), quoted, array);
        default:
                if (text.size == 0)
                        return fail(s, at, -EINVAL, "%s needs a value", term->field->name);
                return range_value(s, term, at, text.data + text.start);
        }
}

/* "none" and "any" say whether it is set. */
static bool is_set_question(Parser *s, QueryNode *term) {
        QueryOperator operator= at_keyword(s, "none") ? QUERY_NONE
        : at_keyword(s, "any")                        ? QUERY_ANY
                                                      : QUERY_IS;
        bool negated = term->operator== QUERY_IS_NOT;

        if (operator== QUERY_IS || !term->field->nullable ||(term->operator!= QUERY_IS && !negated))
                return false;
        s->p += operator== QUERY_NONE ? strlen("none") : strlen("any");
        term->operator=(operator== QUERY_NONE) != negated ? QUERY_NONE : QUERY_ANY;
        return true;
}

static int term_values(Parser *s, QueryNode *term) {
        _cleanup_(mam_buffer_done) MamBuffer array = MAM_BUFFER_INIT;
        const char *at = s->p;
        int r;

        if (is_set_question(s, term))
                return 0;
        for (;;) {
                r = term_value(s, term, &array);
                if (r < 0)
                        return r;
                if (*s->p != ',')
                        break;
                if (term->operator!= QUERY_IS && term->operator!= QUERY_IS_NOT)
                        return fail(s, s->p, -EINVAL, "Several values need \":\" or \"!=\"");
                s->p++;
        }
        return array.size > 0 ? parameter_new(s, at, mam_buffer_bytes(&array), &term->parameter) : 0;
}

/* ---- terms ---- */

static bool operator_read(const char **p, QueryOperator *ret) {
        static const struct {
                const char *text;
                QueryOperator operator;
        } operators[] = {
                { "!=", QUERY_IS_NOT },
                { "<=", QUERY_LESS_OR_EQUAL },
                { ">=", QUERY_GREATER_OR_EQUAL },
                { ":", QUERY_IS },
                { "=", QUERY_IS },
                { "<", QUERY_LESS },
                { ">", QUERY_GREATER },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(operators); i++) {
                size_t n = strlen(operators[i].text);

                if (strncmp(*p, operators[i].text, n) == 0) {
                        *p += n;
                        *ret = operators[i].operator;
                        return true;
                }
        }
        return false;
}

static int field_find(Parser *s, const char *name, size_t n, const QueryField **ret) {
        char names[140] = "";

        for (const QueryField *f = s->query->schema->fields; f->name; f++) {
                if (strlen(f->name) == n && strncmp(f->name, name, n) == 0) {
                        *ret = f;
                        return 0;
                }
                name_add(names, sizeof(names), f->name);
        }
        return fail(s,
                    name,
                    -EINVAL,
                    "There is no field \"%.*s\" (%s); put text in quotation marks",
                    (int) (n < 20 ? n : 20),
                    name,
                    names);
}

/* 1: there is a field and an operator. */
static int field_term(Parser *s, unsigned *ret) {
        QueryNode term = { .type = QUERY_TERM };
        const char *name = s->p, *p = s->p;
        size_t n;
        int r;

        while ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_' || (*p >= '0' && *p <= '9'))
                p++;
        n = (size_t) (p - name);
        if (n == 0 || !operator_read(&p, &term.operator))
                return 0;
        r = field_find(s, name, n, &term.field);
        if (r < 0)
                return r;
        s->p = p;
        r = term_values(s, &term);
        if (r < 0)
                return r;
        r = node_new(s, QUERY_TERM, ret);
        if (r < 0)
                return r;
        s->query->nodes[*ret] = term;
        return 1;
}

/* What a negated word is about is not what is looked for. */
static int words_add(Parser *s, bool phrase, const char *text) {
        MamBuffer *words = &s->query->words;
        int r = words->size > 0 ? mam_buffer_append_string(words, " ") : 0;

        if (r < 0)
                return r;
        if (!phrase)
                return mam_buffer_append_string(words, text);
        r = mam_buffer_append_string(words, "\"");
        for (const char *p = text; r >= 0 && *p; p++)
                r = mam_buffer_append(words, *p == '"' ? " " : p, 1);
        return r < 0 ? r : mam_buffer_append_string(words, "\"");
}

/* "word*" as to_tsquery() reads it: 'word':* with quotes and backslashes doubled. */
static int prefix_text(MamBuffer *ret, const char *word, size_t n) {
        int r = mam_buffer_append_string(ret, "'");

        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (word[i] == '\'' || word[i] == '\\')
                        r = mam_buffer_append(ret, word + i, 1);
                if (r >= 0)
                        r = mam_buffer_append(ret, word + i, 1);
        }
        return r < 0 ? r : mam_buffer_append_string(ret, "':*");
}

static int text_term(Parser *s, bool negated, unsigned *ret) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT, prefix = MAM_BUFFER_INIT;
        const char *at = s->p, *value;
        QueryNodeType type;
        bool phrase;
        unsigned parameter;
        int r;

        r = value_read(s, "()\"", &text, &phrase);
        if (r < 0)
                return r;
        if (text.size == 0)
                return fail(s,
                            at,
                            -EINVAL,
                            phrase ? "The quotation marks are empty" : "A term is missing here");
        value = mam_buffer_bytes(&text);
        type = phrase ? QUERY_PHRASE : QUERY_WORDS;
        if (!negated) {
                r = words_add(s, phrase, value);
                if (r < 0)
                        return r;
        }
        if (!phrase && text.size > 1 && value[text.size - 1] == '*') {
                type = QUERY_PREFIX;
                r = prefix_text(&prefix, value, text.size - 1);
                if (r < 0)
                        return r;
                value = mam_buffer_bytes(&prefix);
        }
        r = parameter_new(s, at, value, &parameter);
        if (r < 0)
                return r;
        r = node_new(s, type, ret);
        if (r < 0)
                return r;
        s->query->nodes[*ret].parameter = parameter;
        return 0;
}

static int parse_or(Parser *s, bool negated, unsigned *ret);

static int parse_group(Parser *s, bool negated, unsigned *ret) {
        const char *open = s->p++;
        int r;

        r = parse_or(s, negated, ret);
        if (r < 0)
                return r;
        skip_space(s);
        if (*s->p != ')')
                return fail(s, open, -EINVAL, "The parenthesis has no end");
        s->p++;
        return 0;
}

static int parse_unary(Parser *s, bool negated, unsigned *ret) {
        unsigned inner;
        int r;

        skip_space(s);
        if (at_keyword(s, "NOT") || (*s->p == '-' && s->p[1] && s->p[1] != ' ')) {
                if (++s->depth > QUERY_DEPTH_MAX)
                        return fail(s,
                                    s->p,
                                    -E2BIG,
                                    "The query is nested too deeply; %u levels are possible",
                                    QUERY_DEPTH_MAX);
                s->p += *s->p == '-' ? 1 : strlen("NOT");
                r = parse_unary(s, !negated, &inner);
                s->depth--;
                return r < 0 ? r : join(s, QUERY_NOT, inner, 0, ret);
        }
        if (*s->p == '\0' || *s->p == ')' || at_keyword(s, "OR") || at_keyword(s, "AND"))
                return fail(s, s->p, -EINVAL, "A term is missing here");
        if (*s->p == '(')
                return parse_group(s, negated, ret);
        if (++s->n_terms > QUERY_TERMS_MAX)
                return fail(s, s->p, -E2BIG, "There are too many terms; %u are possible", QUERY_TERMS_MAX);
        r = field_term(s, ret);
        if (r != 0)
                return r < 0 ? r : 0;
        return text_term(s, negated, ret);
}

static int parse_and(Parser *s, bool negated, unsigned *ret) {
        unsigned right;
        int r;

        r = parse_unary(s, negated, ret);
        while (r >= 0) {
                skip_space(s);
                if (*s->p == '\0' || *s->p == ')' || at_keyword(s, "OR"))
                        return 0;
                if (at_keyword(s, "AND"))
                        s->p += strlen("AND");
                r = parse_unary(s, negated, &right);
                if (r >= 0)
                        r = join(s, QUERY_AND, *ret, right, ret);
        }
        return r;
}

static int parse_or(Parser *s, bool negated, unsigned *ret) {
        unsigned right;
        int r;

        if (++s->depth > QUERY_DEPTH_MAX)
                return fail(s,
                            s->p,
                            -E2BIG,
                            "The query is nested too deeply; %u levels are possible",
                            QUERY_DEPTH_MAX);
        r = parse_and(s, negated, ret);
        while (r >= 0 && at_keyword(s, "OR")) {
                s->p += strlen("OR");
                r = parse_and(s, negated, &right);
                if (r >= 0)
                        r = join(s, QUERY_OR, *ret, right, ret);
        }
        s->depth--;
        return r < 0 ? r : 0;
}

int query_parse(Query **ret,
                const char *text,
                const QuerySchema *schema,
                const QueryContext *context,
                QueryError *error) {
        _cleanup_(query_freep) Query *q = NULL;
        Parser s = { .text = text, .p = text, .context = context, .error = error };
        int r;

        assert(ret && text && schema && context && context->me && error);

        if (strlen(text) > QUERY_TEXT_MAX)
                return fail(&s,
                            text,
                            -E2BIG,
                            "The query is too long; %u bytes are possible",
                            QUERY_TEXT_MAX);
        if (!field_text_is_plain(text))
                return fail(&s, text, -EINVAL, "The query is not plain UTF-8 text");
        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->schema = schema;
        s.query = q;
        skip_space(&s);
        if (*s.p == '\0')
                q->is_empty = true;
        else {
                r = parse_or(&s, false, &q->root);
                if (r < 0)
                        return r;
                skip_space(&s);
                if (*s.p != '\0')
                        return fail(&s, s.p, -EINVAL, "There is nothing open that this parenthesis ends");
        }
        *ret = MAM_TAKE(q);
        return 0;
}

Query *query_free(Query *q) {
        if (!q)
                return NULL;
        for (size_t i = 0; i < q->n_parameters; i++)
                free(q->parameters[i]);
        mam_buffer_done(&q->words);
        free(q->nodes);
        free(q);
        return NULL;
}

const char *query_words(const Query *q) {
        return mam_buffer_bytes(&q->words);
}

const char *const *query_parameters(const Query *q, size_t *ret_n) {
        *ret_n = q->n_parameters;
        return (const char *const *) q->parameters;
}
