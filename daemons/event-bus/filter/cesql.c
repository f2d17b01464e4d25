/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CESQL: evaluation
 *
 * Strings are slices of the event or of the expression. Those that are made go to a buffer on the stack, and
 * only what does not fit there to the heap.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "event-bus/filter/cesql-evaluate.h"

static int evaluate_node(CesqlRun *run, uint16_t i, CesqlValue *ret);

bool cesql_spend(CesqlRun *run, size_t n) {
        if (run->steps < n)
                return false;
        run->steps -= n;
        return true;
}

char *cesql_make(CesqlRun *run, size_t size) {
        CesqlMade *m;
        char *s;

        if (size <= sizeof(run->few) - run->few_used) {
                s = run->few + run->few_used;
                run->few_used += size;
                return s;
        }
        if (run->made_size + size > CESQL_MADE_MAX)
                return NULL;
        m = malloc(sizeof(*m) + size);
        if (!m)
                return NULL;
        run->made_size += size;
        m->next = run->made;
        run->made = m;
        return m->data;
}

static void run_done(CesqlRun *run) {
        for (CesqlMade *m = run->made, *next; m; m = next) {
                next = m->next;
                free(m);
        }
}

/* ---- casts ---- */

static bool read_integer(const CesqlValue *v, int32_t *ret) {
        bool negative = v->size > 0 && v->text[0] == '-';
        size_t i = v->size > 0 && (v->text[0] == '-' || v->text[0] == '+');
        int64_t n = 0;

        if (i == v->size)
                return false;
        for (; i < v->size; i++) {
                if (v->text[i] < '0' || v->text[i] > '9')
                        return false;
                n = n * 10 + (v->text[i] - '0');
                if (n > (int64_t) INT32_MAX + negative)
                        return false;
        }
        *ret = (int32_t) (negative ? -n : n);
        return true;
}

static bool read_boolean(const CesqlValue *v, int32_t *ret) {
        if (v->size == 4 && strncasecmp(v->text, "true", 4) == 0)
                *ret = 1;
        else if (v->size == 5 && strncasecmp(v->text, "false", 5) == 0)
                *ret = 0;
        else
                return false;
        return true;
}

int cesql_cast(CesqlRun *run, CesqlValue *v, CesqlType type) {
        int32_t n = 0;

        if (v->type == type)
                return 0;
        if (type == CESQL_TYPE_STRING) {
                char *s;
                int size;

                if (v->type == CESQL_TYPE_BOOLEAN) {
                        *v = (CesqlValue){ .type = type,
                                           .text = v->integer ? "true" : "false",
                                           .size = v->integer ? 4 : 5 };
                        return 0;
                }
                s = cesql_make(run, 12);
                if (!s)
                        return cesql_error(run, "too much work");
                size = snprintf(s, 12, "%" PRIi32, v->integer);
                *v = (CesqlValue){ .type = type, .text = s, .size = (size_t) size };
                return 0;
        }
        if (v->type == CESQL_TYPE_STRING) {
                if (type == CESQL_TYPE_INTEGER ? !read_integer(v, &n) : !read_boolean(v, &n))
                        return cesql_error(run, "cast");
        } else {
                n = type == CESQL_TYPE_BOOLEAN ? v->integer != 0 : v->integer;
        }
        *v = (CesqlValue){ .type = type, .integer = n };
        return 0;
}

static int evaluate_as(CesqlRun *run, uint16_t i, CesqlValue *ret, CesqlType type) {
        int r;

        r = evaluate_node(run, i, ret);
        return r < 0 ? r : cesql_cast(run, ret, type);
}

/* ---- attributes ---- */

static const char *attribute(const CesqlRun *run, const char *name) {
        return mam_event_attribute(run->event, name);
}

static int evaluate_attribute(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        const char *s = attribute(run, n->text);

        if (!s)
                return cesql_error(run, "missing attribute");
        *ret = (CesqlValue){ .type = CESQL_TYPE_STRING, .text = s, .size = strlen(s) };
        return 0;
}

/* ---- operators ---- */

static CesqlValue boolean(bool b) {
        return (CesqlValue){ .type = CESQL_TYPE_BOOLEAN, .integer = b };
}

static bool are_equal(const CesqlValue *a, const CesqlValue *b) {
        if (a->type == CESQL_TYPE_STRING)
                return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
        return a->integer == b->integer;
}

/* The right operand's type is what both are compared in. */
static int evaluate_equal(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        CesqlValue a, b;
        int r;

        r = evaluate_node(run, n->child, &a);
        if (r >= 0)
                r = evaluate_node(run, run->c->nodes[n->child].next, &b);
        if (r >= 0)
                r = cesql_cast(run, &a, b.type);
        if (r < 0)
                return r;
        if (a.type == CESQL_TYPE_STRING && !cesql_spend(run, a.size / 16))
                return cesql_error(run, "too much work");
        *ret = boolean(are_equal(&a, &b) == (n->kind == CESQL_EQUAL));
        return 0;
}

static int calculate(CesqlRun *run, CesqlKind kind, int64_t a, int64_t b, CesqlValue *ret) {
        int64_t v;

        if ((kind == CESQL_DIVIDE || kind == CESQL_REMAINDER) && b == 0)
                return cesql_error(run, "math");
        switch (kind) {
        case CESQL_ADD:
                v = a + b;
                break;
        case CESQL_SUBTRACT:
                v = a - b;
                break;
        case CESQL_MULTIPLY:
                v = a * b;
                break;
        case CESQL_DIVIDE:
                v = a / b;
                break;
        default:
                v = a % b;
        }
        if (v < INT32_MIN || v > INT32_MAX)
                return cesql_error(run, "math");
        *ret = (CesqlValue){ .type = CESQL_TYPE_INTEGER, .integer = (int32_t) v };
        return 0;
}

static int evaluate_integers(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        CesqlValue a, b;
        int r;

        r = evaluate_as(run, n->child, &a, CESQL_TYPE_INTEGER);
        if (r >= 0)
                r = evaluate_as(run, run->c->nodes[n->child].next, &b, CESQL_TYPE_INTEGER);
        if (r < 0)
                return r;
        switch (n->kind) {
        case CESQL_LESS:
                *ret = boolean(a.integer < b.integer);
                return 0;
        case CESQL_LESS_OR_EQUAL:
                *ret = boolean(a.integer <= b.integer);
                return 0;
        case CESQL_GREATER:
                *ret = boolean(a.integer > b.integer);
                return 0;
        case CESQL_GREATER_OR_EQUAL:
                *ret = boolean(a.integer >= b.integer);
                return 0;
        default:
                return calculate(run, n->kind, a.integer, b.integer, ret);
        }
}

static int evaluate_logic(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        bool result = n->kind == CESQL_AND;
        int r;

        for (uint16_t i = n->child; i != CESQL_NONE; i = run->c->nodes[i].next) {
                CesqlValue v;

                r = evaluate_as(run, i, &v, CESQL_TYPE_BOOLEAN);
                if (r < 0)
                        return r;
                result = n->kind == CESQL_XOR ? result != (v.integer != 0) : v.integer != 0;
                if ((n->kind == CESQL_AND && !result) || (n->kind == CESQL_OR && result))
                        break;
        }
        *ret = boolean(result);
        return 0;
}

static int evaluate_in(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        CesqlValue a, b;
        bool found = false;
        int r;

        r = evaluate_node(run, n->child, &a);
        for (uint16_t i = run->c->nodes[n->child].next; r >= 0 && i != CESQL_NONE && !found;
             i = run->c->nodes[i].next) {
                r = evaluate_as(run, i, &b, a.type);
                if (r >= 0 && !cesql_spend(run, a.type == CESQL_TYPE_STRING ? a.size / 16 : 0))
                        return cesql_error(run, "too much work");
                found = r >= 0 && are_equal(&a, &b);
        }
        *ret = boolean(found);
        return r;
}

static size_t character_size(const char *s, size_t n) {
        size_t i = 1;

        while (i < n && ((unsigned char) s[i] & 0xc0) == 0x80)
                i++;
        return i;
}

/* One element of a pattern at s: the size it takes; *ret_literal: the byte, or -1 for _, -2 for %. */
static size_t pattern_element(const char *s, size_t n, int *ret) {
        if (s[0] == '\\' && n > 1 && (s[1] == '%' || s[1] == '_')) {
                *ret = (unsigned char) s[1];
                return 2;
        }
        *ret = s[0] == '%' ? -2 : s[0] == '_' ? -1 : (unsigned char) s[0];
        return 1;
}

/* 1, 0; -EOVERFLOW. Goes back to the last % only, which is enough. */
static int matches_like(CesqlRun *run, const CesqlValue *v, const char *p, size_t np) {
        size_t at = 0, in = 0, back_at = 0, back_in = SIZE_MAX;

        while (at < v->size || in < np) {
                size_t n = 0;
                int element = 0;

                if (!cesql_spend(run, 1))
                        return -EOVERFLOW;
                if (in < np)
                        n = pattern_element(p + in, np - in, &element);
                if (n > 0 && element == -2) {
                        in += n;
                        back_in = in;
                        back_at = at;
                        continue;
                }
                if (n > 0 && at < v->size && (element == -1 || element == (unsigned char) v->text[at])) {
                        at += element == -1 ? character_size(v->text + at, v->size - at) : 1;
                        in += n;
                        continue;
                }
                if (back_in == SIZE_MAX || back_at >= v->size)
                        return 0;
                back_at += character_size(v->text + back_at, v->size - back_at);
                at = back_at;
                in = back_in;
        }
        return 1;
}

static int evaluate_like(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        const CesqlNode *pattern = &run->c->nodes[run->c->nodes[n->child].next];
        CesqlValue v;
        int r;

        r = evaluate_as(run, n->child, &v, CESQL_TYPE_STRING);
        if (r < 0)
                return r;
        r = matches_like(run, &v, pattern->text, pattern->size);
        if (r < 0)
                return cesql_error(run, "too much work");
        *ret = boolean(r > 0);
        return 0;
}

static int evaluate_unary(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        bool is_not = n->kind == CESQL_NOT;
        int r;

        r = evaluate_as(run, n->child, ret, is_not ? CESQL_TYPE_BOOLEAN : CESQL_TYPE_INTEGER);
        if (r < 0)
                return r;
        if (!is_not)
                return calculate(run, CESQL_SUBTRACT, 0, ret->integer, ret);
        ret->integer = !ret->integer;
        return 0;
}

static int evaluate_function(CesqlRun *run, const CesqlNode *n, CesqlValue *ret) {
        CesqlValue few[4], *arguments = few;
        size_t count = 0;
        int r = 0;

        if (n->function == CESQL_CONCAT || n->function == CESQL_CONCAT_WS) {
                for (uint16_t i = n->child; i != CESQL_NONE; i = run->c->nodes[i].next)
                        count++;
                if (count > MAM_ELEMENTSOF(few)) {
                        arguments = calloc(count, sizeof(*arguments));
                        if (!arguments)
                                return cesql_error(run, "no memory");
                }
                count = 0;
        }
        for (uint16_t i = n->child; r >= 0 && i != CESQL_NONE; i = run->c->nodes[i].next)
                r = evaluate_node(run, i, &arguments[count++]);
        if (r >= 0)
                r = cesql_call(run, n->function, arguments, count, ret);
        if (arguments != few)
                free(arguments);
        return r;
}

static int evaluate_node(CesqlRun *run, uint16_t i, CesqlValue *ret) {
        const CesqlNode *n = &run->c->nodes[i];

        if (!cesql_spend(run, 1))
                return cesql_error(run, "too much work");
        switch (n->kind) {
        case CESQL_STRING:
                *ret = (CesqlValue){ .type = CESQL_TYPE_STRING, .text = n->text, .size = n->size };
                return 0;
        case CESQL_INTEGER:
                *ret = (CesqlValue){ .type = CESQL_TYPE_INTEGER, .integer = n->integer };
                return 0;
        case CESQL_BOOLEAN:
                *ret = boolean(n->integer != 0);
                return 0;
        case CESQL_ATTRIBUTE:
                return evaluate_attribute(run, n, ret);
        case CESQL_EXISTS:
                *ret = boolean(attribute(run, n->text));
                return 0;
        case CESQL_NOT:
        case CESQL_MINUS:
                return evaluate_unary(run, n, ret);
        case CESQL_AND:
        case CESQL_OR:
        case CESQL_XOR:
                return evaluate_logic(run, n, ret);
        case CESQL_EQUAL:
        case CESQL_UNEQUAL:
                return evaluate_equal(run, n, ret);
        case CESQL_LIKE:
                return evaluate_like(run, n, ret);
        case CESQL_IN:
                return evaluate_in(run, n, ret);
        case CESQL_FUNCTION:
                return evaluate_function(run, n, ret);
        default:
                return evaluate_integers(run, n, ret);
        }
}

/* Keeps few uninitialised on purpose: it is large, and seldom used. */
static void run_init(CesqlRun *run, const Cesql *c, const MamEvent *e) {
        run->c = c;
        run->event = e;
        run->steps = CESQL_STEPS_MAX;
        run->error = NULL;
        run->made = NULL;
        run->made_size = run->few_used = 0;
}

bool cesql_matches(const Cesql *c, const MamEvent *e) {
        CesqlRun run;
        CesqlValue v;
        int r;

        assert(c);
        assert(e);

        run_init(&run, c, e);
        r = evaluate_node(&run, c->root, &v);
        if (r >= 0 && v.type == CESQL_TYPE_STRING)
                r = cesql_cast(&run, &v, CESQL_TYPE_BOOLEAN);
        run_done(&run);
        return r >= 0 && v.type == CESQL_TYPE_BOOLEAN && v.integer;
}

void cesql_explain(const Cesql *c, const MamEvent *e, char *ret, size_t size) {
        CesqlRun run;
        CesqlValue v;
        int r;

        assert(c);
        assert(e);

        run_init(&run, c, e);
        r = evaluate_node(&run, c->root, &v);
        if (r < 0)
                (void) snprintf(ret, size, "error: %s", run.error);
        else if (v.type == CESQL_TYPE_INTEGER)
                (void) snprintf(ret, size, "%" PRIi32, v.integer);
        else if (v.type == CESQL_TYPE_BOOLEAN)
                (void) snprintf(ret, size, "%s", v.integer ? "true" : "false");
        else
                (void) snprintf(ret, size, "'%.*s'", (int) v.size, v.text);
        run_done(&run);
}
