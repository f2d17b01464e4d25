/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CESQL: from text to expression, by recursive descent
 *
 * Precedence from the tightest: NOT and minus, LIKE and IN, * / %, + -, comparison, AND OR XOR.
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "event-bus/filter/cesql-internal.h"

typedef struct Parser {
        Cesql *c;
        const char *text, *end, *at;
        char *out; /* where the next text goes in c->texts */
        unsigned depth;
        const char *parent;
        MamJsonError *error;
} Parser;

static int parse_expression(Parser *p, uint16_t *ret);

static int fail_at(Parser *p, const char *at, const char *what) {
        size_t n = 1;

        for (const char *s = p->text; s < at; s++)
                n += ((unsigned char) *s & 0xc0) != 0x80;
        return mam_json_fail(p->error, p->parent, NULL, "at character %zu: %s", n, what);
}

static int fail(Parser *p, const char *what) {
        return fail_at(p, p->at, what);
}

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_word(char c) {
        return is_letter(c) || is_digit(c) || c == '_';
}

static char peek(const Parser *p) {
        return p->at < p->end ? *p->at : '\0';
}

static void skip_space(Parser *p) {
        while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\r' || *p->at == '\n'))
                p->at++;
}

static bool take_symbol(Parser *p, const char *symbol) {
        size_t n = strlen(symbol);

        skip_space(p);
        if ((size_t) (p->end - p->at) < n || memcmp(p->at, symbol, n) != 0)
                return false;
        p->at += n;
        return true;
}

static bool take_keyword(Parser *p, const char *keyword) {
        size_t n = strlen(keyword);

        skip_space(p);
        if ((size_t) (p->end - p->at) < n || strncasecmp(p->at, keyword, n) != 0 ||
            (p->at + n < p->end && is_word(p->at[n])))
                return false;
        p->at += n;
        return true;
}

static CesqlNode *node(Parser *p, uint16_t i) {
        return &p->c->nodes[i];
}

static int add(Parser *p, uint16_t *ret, CesqlKind kind) {
        Cesql *c = p->c;

        if (c->n_nodes >= CESQL_NODES_MAX)
                return fail(p, "the expression is too long");
        if (c->n_nodes % 16 == 0) {
                CesqlNode *nodes = realloc(c->nodes, (c->n_nodes + 16) * sizeof(*nodes));

                if (!nodes)
                        return -ENOMEM;
                c->nodes = nodes;
        }
        c->nodes[c->n_nodes] = (CesqlNode){ .kind = kind, .child = CESQL_NONE, .next = CESQL_NONE };
        *ret = (uint16_t) c->n_nodes++;
        return 0;
}

static int append_child(Parser *p, uint16_t parent, uint16_t child) {
        uint16_t *link = &node(p, parent)->child;

        while (*link != CESQL_NONE)
                link = &node(p, *link)->next;
        *link = child;
        if (node(p, parent)->depth <= node(p, child)->depth)
                node(p, parent)->depth = (uint16_t) (node(p, child)->depth + 1);
        return node(p, parent)->depth > CESQL_DEPTH_MAX ? fail(p, "nested too deeply") : 0;
}

/* A node over one or two others. */
static int combine(Parser *p, uint16_t *ret, CesqlKind kind, uint16_t left, uint16_t right) {
        int r;

        r = add(p, ret, kind);
        if (r >= 0)
                r = append_child(p, *ret, left);
        if (r >= 0 && right != CESQL_NONE)
                r = append_child(p, *ret, right);
        return r;
}

/* ---- leaves ---- */

static void begin_text(Parser *p, uint16_t i) {
        node(p, i)->text = p->out;
}

static void end_text(Parser *p, uint16_t i) {
        node(p, i)->size = (uint32_t) (p->out - node(p, i)->text);
        *p->out++ = '\0';
}

/* 'it\'s', "it's"; a doubled quote stands for one, too. Other backslashes stay. */
static int parse_string(Parser *p, uint16_t *ret) {
        const char *start = p->at;
        char quote = *p->at++;
        int r;

        r = add(p, ret, CESQL_STRING);
        if (r < 0)
                return r;
        begin_text(p, *ret);
        for (;; p->at++) {
                if (p->at == p->end)
                        return fail_at(p, start, "the string has no end");
                if (*p->at == '\0')
                        return fail(p, "a NUL character cannot be in a string");
                if (*p->at == '\\' && p->at + 1 < p->end && p->at[1] == quote) {
                        p->at++;
                } else if (*p->at == quote) {
                        if (p->at + 1 == p->end || p->at[1] != quote)
                                break;
                        p->at++;
                }
                *p->out++ = *p->at;
        }
        p->at++;
        end_text(p, *ret);
        return 0;
}

/* With its sign, so that the smallest one can be written. */
static int parse_integer(Parser *p, uint16_t *ret, bool negative) {
        const char *start = p->at;
        int64_t v = 0;
        int r;

        for (; is_digit(peek(p)); p->at++) {
                v = v * 10 + (*p->at - '0');
                if (v > (int64_t) INT32_MAX + negative)
                        return fail_at(p, start, "the integer is beyond 32 bits");
        }
        r = add(p, ret, CESQL_INTEGER);
        if (r >= 0)
                node(p, *ret)->integer = (int32_t) (negative ? -v : v);
        return r;
}

static int parse_name(Parser *p, uint16_t i) {
        const char *start = p->at;

        begin_text(p, i);
        while (p->at < p->end && is_word(*p->at)) {
                if (!is_digit(*p->at) && !(*p->at >= 'a' && *p->at <= 'z'))
                        return fail_at(p, start, "names of attributes consist of a-z and 0-9");
                *p->out++ = *p->at++;
        }
        if (p->at == start)
                return fail(p, "the name of an attribute is expected");
        end_text(p, i);
        return 0;
}

/* ---- functions ---- */

static int parse_arguments(Parser *p, uint16_t parent, size_t *ret_n) {
        uint16_t child;
        size_t n = 0;
        int r;

        if (take_symbol(p, ")")) {
                *ret_n = 0;
                return 0;
        }
        do {
                r = parse_expression(p, &child);
                if (r >= 0)
                        r = append_child(p, parent, child);
                if (r < 0)
                        return r;
                n++;
        } while (take_symbol(p, ","));
        if (!take_symbol(p, ")"))
                return fail(p, "',' or ')' is expected");
        *ret_n = n;
        return 0;
}

static int parse_function(Parser *p, uint16_t *ret, const char *name, size_t size) {
        static const struct {
                const char *name;
                CesqlFunction function;
                unsigned min, max;
        } functions[] = {
                { "LENGTH", CESQL_LENGTH, 1, 1 },
                { "CONCAT", CESQL_CONCAT, 0, UINT_MAX },
                { "CONCAT_WS", CESQL_CONCAT_WS, 1, UINT_MAX },
                { "LOWER", CESQL_LOWER, 1, 1 },
                { "UPPER", CESQL_UPPER, 1, 1 },
                { "TRIM", CESQL_TRIM, 1, 1 },
                { "LEFT", CESQL_LEFT, 2, 2 },
                { "RIGHT", CESQL_RIGHT, 2, 2 },
                { "SUBSTRING", CESQL_SUBSTRING, 2, 3 },
                { "ABS", CESQL_ABS, 1, 1 },
                { "INT", CESQL_INT, 1, 1 },
                { "BOOL", CESQL_BOOL, 1, 1 },
                { "STRING", CESQL_STR, 1, 1 },
                { "IS_INT", CESQL_IS_INT, 1, 1 },
                { "IS_BOOL", CESQL_IS_BOOL, 1, 1 },
        };
        size_t n = 0;
        int r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(functions); i++) {
                if (strlen(functions[i].name) != size || strncasecmp(functions[i].name, name, size) != 0)
                        continue;
                r = add(p, ret, CESQL_FUNCTION);
                if (r < 0)
                        return r;
                node(p, *ret)->function = functions[i].function;
                r = parse_arguments(p, *ret, &n);
                if (r < 0)
                        return r;
                if (n < functions[i].min || n > functions[i].max)
                        return fail_at(p, name, "the function does not take so many arguments");
                return 0;
        }
        return fail_at(p, name, "there is no such function");
}

/* ---- operators ---- */

static int parse_word(Parser *p, uint16_t *ret) {
        const char *start = p->at, *end = p->at;
        uint16_t i;
        int r;

        if (take_keyword(p, "TRUE") || take_keyword(p, "FALSE")) {
                r = add(p, ret, CESQL_BOOLEAN);
                if (r >= 0)
                        node(p, *ret)->integer = *start == 't' || *start == 'T';
                return r;
        }
        if (take_keyword(p, "EXISTS")) {
                r = add(p, &i, CESQL_EXISTS);
                if (r < 0)
                        return r;
                skip_space(p);
                *ret = i;
                return parse_name(p, i);
        }
        while (end < p->end && is_word(*end))
                end++;
        p->at = end;
        if (take_symbol(p, "("))
                return parse_function(p, ret, start, (size_t) (end - start));
        p->at = start;
        for (end = start; end < p->end && is_digit(*end); end++)
                ;
        if (end > start && (end == p->end || !is_word(*end)))
                return parse_integer(p, ret, false);
        r = add(p, ret, CESQL_ATTRIBUTE);
        return r < 0 ? r : parse_name(p, *ret);
}

static int parse_primary(Parser *p, uint16_t *ret) {
        int r;

        skip_space(p);
        if (p->at == p->end)
                return fail(p, "the expression ends too early");
        if (*p->at == '\'' || *p->at == '"')
                return parse_string(p, ret);
        if (take_symbol(p, "(")) {
                r = parse_expression(p, ret);
                if (r < 0)
                        return r;
                if (!take_symbol(p, ")"))
                        return fail(p, "')' is expected");
                node(p, *ret)->is_bare_not = false;
                return 0;
        }
        if (!is_word(*p->at))
                return fail(p, "a value is expected");
        return parse_word(p, ret);
}

static int parse_unary(Parser *p, uint16_t *ret) {
        uint16_t child;
        bool is_not;
        char sign;
        int r;

        skip_space(p);
        sign = peek(p);
        if ((sign == '-' || sign == '+') && p->end - p->at > 1 && is_digit(p->at[1])) {
                p->at++;
                return parse_integer(p, ret, sign == '-');
        }
        is_not = take_keyword(p, "NOT");
        if (!is_not && !take_symbol(p, "-"))
                return parse_primary(p, ret);
        if (++p->depth > CESQL_DEPTH_MAX)
                return fail(p, "nested too deeply");
        r = parse_unary(p, &child);
        p->depth--;
        if (r >= 0)
                r = combine(p, ret, is_not ? CESQL_NOT : CESQL_MINUS, child, CESQL_NONE);
        if (r >= 0)
                node(p, *ret)->is_bare_not = is_not;
        return r;
}

/* What NOT covers must be plain before another operator takes its result. */
static int check_not(Parser *p, uint16_t i) {
        return node(p, i)->is_bare_not ? fail(p, "put parentheses around what NOT is for") : 0;
}

static int parse_set(Parser *p, uint16_t *ret, uint16_t left) {
        size_t n;
        int r;

        r = combine(p, ret, CESQL_IN, left, CESQL_NONE);
        if (r < 0)
                return r;
        if (!take_symbol(p, "("))
                return fail(p, "'(' is expected behind IN");
        r = parse_arguments(p, *ret, &n);
        if (r < 0)
                return r;
        return n > 0 ? 0 : fail(p, "IN needs at least one value");
}

static int parse_pattern(Parser *p, uint16_t *ret, uint16_t left) {
        uint16_t pattern;
        int r;

        skip_space(p);
        if (peek(p) != '\'' && peek(p) != '"')
                return fail(p, "a pattern in quotes is expected behind LIKE");
        r = parse_string(p, &pattern);
        return r < 0 ? r : combine(p, ret, CESQL_LIKE, left, pattern);
}

static int parse_matching(Parser *p, uint16_t *ret) {
        int r;

        r = parse_unary(p, ret);
        while (r >= 0) {
                const char *start = p->at;
                bool negate = take_keyword(p, "NOT");
                uint16_t left = *ret, i = left;

                if (take_keyword(p, "LIKE")) {
                        r = check_not(p, left);
                        r = r < 0 ? r : parse_pattern(p, &i, left);
                } else if (take_keyword(p, "IN")) {
                        r = check_not(p, left);
                        r = r < 0 ? r : parse_set(p, &i, left);
                } else {
                        p->at = start;
                        break;
                }
                if (r >= 0 && negate)
                        r = combine(p, &i, CESQL_NOT, i, CESQL_NONE);
                *ret = i;
        }
        return r;
}

typedef struct Operator {
        const char *symbol;
        CesqlKind kind;
} Operator;

/* Longer ones first. */
static const Operator multiplications[] = {
        { "*", CESQL_MULTIPLY },
        { "/", CESQL_DIVIDE },
        { "%", CESQL_REMAINDER },
        { NULL, 0 },
};
static const Operator additions[] = { { "+", CESQL_ADD }, { "-", CESQL_SUBTRACT }, { NULL, 0 } };
static const Operator comparisons[] = {
        { "!=", CESQL_UNEQUAL },       { "<>", CESQL_UNEQUAL },
        { "<=", CESQL_LESS_OR_EQUAL }, { ">=", CESQL_GREATER_OR_EQUAL },
        { "=", CESQL_EQUAL },          { "<", CESQL_LESS },
        { ">", CESQL_GREATER },        { NULL, 0 },
};

/* Operators of one precedence, from left to right. */
static int parse_operators(Parser *p, uint16_t *ret, unsigned level) {
        static const Operator *const levels[] = { comparisons, additions, multiplications };
        int r;

        if (level == MAM_ELEMENTSOF(levels))
                return parse_matching(p, ret);
        r = parse_operators(p, ret, level + 1);
        while (r >= 0) {
                const Operator *o = levels[level];
                uint16_t left = *ret, right = left;

                while (o->symbol && !take_symbol(p, o->symbol))
                        o++;
                if (!o->symbol)
                        break;
                r = check_not(p, left);
                if (r >= 0)
                        r = parse_operators(p, &right, level + 1);
                if (r >= 0)
                        r = check_not(p, right);
                if (r >= 0)
                        r = combine(p, ret, o->kind, left, right);
        }
        return r;
}

static bool take_logic(Parser *p, CesqlKind *ret) {
        if (take_keyword(p, "AND"))
                *ret = CESQL_AND;
        else if (take_keyword(p, "OR"))
                *ret = CESQL_OR;
        else if (take_keyword(p, "XOR"))
                *ret = CESQL_XOR;
        else
                return false;
        return true;
}

static int parse_logic(Parser *p, uint16_t *ret) {
        uint16_t right = CESQL_NONE, list = CESQL_NONE;
        CesqlKind kind;
        int r;

        r = parse_operators(p, ret, 0);
        while (r >= 0 && take_logic(p, &kind)) {
                if (list != CESQL_NONE && node(p, list)->kind != kind)
                        return fail(p, "put parentheses where AND, OR and XOR are mixed");
                r = parse_operators(p, &right, 0);
                if (r < 0)
                        return r;
                if (list == CESQL_NONE)
                        r = combine(p, &list, kind, *ret, right);
                else
                        r = append_child(p, list, right);
                *ret = list;
        }
        return r;
}

static int parse_expression(Parser *p, uint16_t *ret) {
        int r;

        if (++p->depth > CESQL_DEPTH_MAX)
                return fail(p, "nested too deeply");
        r = parse_logic(p, ret);
        p->depth--;
        return r;
}

int cesql_parse(Cesql **ret, const char *text, size_t size, const char *parent, MamJsonError *error) {
        _cleanup_(cesql_freep) Cesql *c = NULL;
        Parser p = { .text = text, .end = text + size, .at = text, .parent = parent, .error = error };
        int r;

        assert(ret);
        assert(text);
        assert(parent);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->texts = malloc(2 * size + 1); /* each text and its NUL are at most twice what they are made of */
        if (!c->texts)
                return -ENOMEM;
        p.c = c;
        p.out = c->texts;
        r = parse_expression(&p, &c->root);
        if (r < 0)
                return r;
        skip_space(&p);
        if (p.at < p.end)
                return fail(&p, "an operator is expected");
        *ret = MAM_TAKE(c);
        return 0;
}

Cesql *cesql_free(Cesql *c) {
        if (!c)
                return NULL;
        free(c->nodes);
        free(c->texts);
        free(c);
        return NULL;
}
