/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a JSON pointer to a line
 *
 * Walks the text without building anything. It expects a valid document; in a broken one it stops at the
 * last place that it understands, and never reads beyond size.
 */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json.h"

typedef struct Walk {
        const char *text;
        size_t size;
        size_t at;
} Walk;

unsigned mam_json_line_of_offset(const char *text, size_t size, size_t offset) {
        unsigned line = 1;

        assert(text || size == 0);

        for (size_t i = 0; i < size && i < offset; i++)
                line += text[i] == '\n';
        return line;
}

static char peek(const Walk *w) {
        if (w->at >= w->size)
                return '\0';
        return w->text[w->at];
}

static void skip_space(Walk *w) {
        while (w->at < w->size && (w->text[w->at] == ' ' || w->text[w->at] == '\t' ||
                                   w->text[w->at] == '\r' || w->text[w->at] == '\n'))
                w->at++;
}

/* From the opening quote to behind the closing one. */
static void skip_string(Walk *w) {
        w->at++;
        while (w->at < w->size && w->text[w->at] != '"')
                w->at += w->text[w->at] == '\\' && w->at + 1 < w->size ? 2 : 1;
        if (w->at < w->size)
                w->at++;
}

static void skip_value(Walk *w) {
        unsigned depth = 0;

        do {
                char c = peek(w);

                if (c == '"') {
                        skip_string(w);
                } else if (c == '{' || c == '[') {
                        depth++;
                        w->at++;
                } else if (c == '}' || c == ']') {
                        if (depth == 0)
                                return;
                        depth--;
                        w->at++;
                } else if (c == ',' && depth == 0) {
                        return;
                } else {
                        w->at++;
                }
                if (depth == 0 && (c == '"' || c == '}' || c == ']'))
                        return;
        } while (w->at < w->size);
}

/* One reference token of a pointer, unescaped, compared with a name. */
static bool token_equals(const char *token, size_t size, const char *name) {
        size_t i;

        for (i = 0; i < size; i++, name++) {
                char c = token[i];

                if (c == '~' && i + 1 < size)
                        c = token[++i] == '0' ? '~' : '/';
                if (*name == '\0' || c != *name)
                        return false;
        }
        return *name == '\0';
}

/* The key at w, which is on its opening quote; leaves w behind it. A key with escapes is decoded by the
 * parser itself. */
static bool key_matches(Walk *w, const char *token, size_t size) {
        size_t start = w->at;
        json_object *o = NULL;
        bool same;

        skip_string(w);
        if (mam_json_parse(&o, w->text + start, w->at - start, NULL) < 0)
                return false;
        same = token_equals(token, size, json_object_get_string(o));
        json_object_put(o);
        return same;
}

static bool enter_member(Walk *w, const char *token, size_t size) {
        w->at++;
        for (;;) {
                bool match;

                skip_space(w);
                if (peek(w) != '"')
                        return false;
                match = key_matches(w, token, size);
                skip_space(w);
                if (peek(w) != ':')
                        return false;
                w->at++;
                skip_space(w);
                if (match)
                        return true;
                skip_value(w);
                skip_space(w);
                if (peek(w) != ',')
                        return false;
                w->at++;
        }
}

static bool enter_item(Walk *w, const char *token, size_t size) {
        uint64_t index = 0;

        if (size == 0 || size > 9)
                return false;
        for (size_t i = 0; i < size; i++) {
                if (token[i] < '0' || token[i] > '9')
                        return false;
                index = index * 10 + (uint64_t) (token[i] - '0');
        }

        w->at++;
        for (;; index--) {
                skip_space(w);
                if (peek(w) == ']' || peek(w) == '\0')
                        return false;
                if (index == 0)
                        return true;
                skip_value(w);
                skip_space(w);
                if (peek(w) != ',')
                        return false;
                w->at++;
        }
}

/* Goes as far along the pointer as there are values; returns what is left of it. */
static const char *follow(Walk *w, const char *pointer) {
        skip_space(w);
        while (*pointer == '/') {
                size_t n = strcspn(pointer + 1, "/");
                Walk inner = *w;
                bool found = false;

                if (peek(w) == '{') {
                        found = enter_member(&inner, pointer + 1, n);
                } else if (peek(w) == '[') {
                        found = enter_item(&inner, pointer + 1, n);
                }
                if (!found)
                        break;
                *w = inner;
                pointer += 1 + n;
        }
        return pointer;
}

unsigned mam_json_locate(const char *text, size_t size, const char *pointer) {
        Walk w = { .text = text, .size = size };

        assert(text || size == 0);
        assert(pointer);

        (void) follow(&w, pointer);
        return mam_json_line_of_offset(text, size, w.at);
}

int mam_json_find(const char *text, size_t size, const char *pointer, size_t *ret_start, size_t *ret_end) {
        Walk w = { .text = text, .size = size };
        size_t start;

        assert(text || size == 0);
        assert(pointer);
        assert(ret_start);
        assert(ret_end);

        if (*follow(&w, pointer) != '\0' || w.at >= size)
                return -ENOENT;
        start = w.at;
        skip_value(&w);

        /* What ends a number or a literal may have white space in front. */
        while (w.at > start && strchr(" \t\r\n", text[w.at - 1]))
                w.at--;
        *ret_start = start;
        *ret_end = w.at;
        return 0;
}
