/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/lexer.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_name_start(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The Unicode standard, table 3-7. */
bool gql_is_utf8(const char *data, size_t size) {
        const unsigned char *s = (const unsigned char *) data, *end = s + size;

        while (s < end) {
                unsigned char low = 0x80, high = 0xbf;
                size_t n;

                if (*s < 0x80) {
                        s++;
                        continue;
                }
                if (*s >= 0xc2 && *s <= 0xdf)
                        n = 2;
                else if (*s >= 0xe0 && *s <= 0xef) {
                        n = 3;
                        low = *s == 0xe0 ? 0xa0 : 0x80;
                        high = *s == 0xed ? 0x9f : 0xbf;
                } else if (*s >= 0xf0 && *s <= 0xf4) {
                        n = 4;
                        low = *s == 0xf0 ? 0x90 : 0x80;
                        high = *s == 0xf4 ? 0x8f : 0xbf;
                } else
                        return false;
                if ((size_t) (end - s) < n)
                        return false;
                for (size_t i = 1; i < n; i++) {
                        if (s[i] < low || s[i] > high)
                                return false;
                        low = 0x80;
                        high = 0xbf;
                }
                s += n;
        }
        return true;
}

/* Where at is, counted on from the last time. */
static GqlPlace lexer_place(GqlLexer *l, size_t at) {
        for (; l->seen < at; l->seen++) {
                char c = l->source[l->seen];

                if (c == '\n' || (c == '\r' && (l->seen + 1 >= l->size || l->source[l->seen + 1] != '\n'))) {
                        l->line++;
                        l->column = 1;
                } else if (((unsigned char) c & 0xc0) != 0x80)
                        l->column++;
        }
        return (GqlPlace){ l->line, l->column };
}

static int lexer_fail(GqlLexer *l, size_t at, const char *what) {
        gql_error(l->errors, GQL_CODE_PARSE, lexer_place(l, at), "Syntax error: %s", what);
        return -EBADMSG;
}

static char lexer_peek(const GqlLexer *l, size_t offset) {
        return l->at + offset < l->size ? l->source[l->at + offset] : '\0';
}

static int skip_ignored(GqlLexer *l) {
        while (l->at < l->size) {
                char c = l->source[l->at];

                if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',')
                        l->at++;
                else if (c == '\xef' && l->at == 0 && l->size >= 3 &&
                         memcmp(l->source, "\xef\xbb\xbf", 3) == 0)
                        l->at += 3;
                else if (c == '#') {
                        for (; l->at < l->size && l->source[l->at] != '\n' && l->source[l->at] != '\r';
                             l->at++)
                                if ((unsigned char) l->source[l->at] < 0x20 && l->source[l->at] != '\t')
                                        return lexer_fail(l, l->at, "a control character");
                } else
                        break;
        }
        return 0;
}

static int read_number(GqlLexer *l) {
        size_t start = l->at;

        l->token.kind = GQL_TOKEN_INT;
        if (lexer_peek(l, 0) == '-')
                l->at++;
        if (!is_digit(lexer_peek(l, 0)))
                return lexer_fail(l, l->at, "a digit is missing");
        if (lexer_peek(l, 0) == '0')
                l->at++;
        else
                while (is_digit(lexer_peek(l, 0)))
                        l->at++;
        if (lexer_peek(l, 0) == '.') {
                l->token.kind = GQL_TOKEN_FLOAT;
                l->at++;
                if (!is_digit(lexer_peek(l, 0)))
                        return lexer_fail(l, l->at, "a digit is missing");
                while (is_digit(lexer_peek(l, 0)))
                        l->at++;
        }
        if (lexer_peek(l, 0) == 'e' || lexer_peek(l, 0) == 'E') {
                l->token.kind = GQL_TOKEN_FLOAT;
                l->at++;
                if (lexer_peek(l, 0) == '+' || lexer_peek(l, 0) == '-')
                        l->at++;
                if (!is_digit(lexer_peek(l, 0)))
                        return lexer_fail(l, l->at, "a digit is missing");
                while (is_digit(lexer_peek(l, 0)))
                        l->at++;
        }
        if (is_digit(lexer_peek(l, 0)) || lexer_peek(l, 0) == '.' || is_name_start(lexer_peek(l, 0)))
                return lexer_fail(l, l->at, "a number cannot go on like this");
        l->token.text = l->source + start;
        l->token.size = l->at - start;
        return 0;
}

static size_t put_utf8(char *to, uint32_t c) {
        if (c < 0x80) {
                to[0] = (char) c;
                return 1;
        }
        if (c < 0x800) {
                to[0] = (char) (0xc0 | c >> 6);
                to[1] = (char) (0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                to[0] = (char) (0xe0 | c >> 12);
                to[1] = (char) (0x80 | (c >> 6 & 0x3f));
                to[2] = (char) (0x80 | (c & 0x3f));
                return 3;
        }
        to[0] = (char) (0xf0 | c >> 18);
        to[1] = (char) (0x80 | (c >> 12 & 0x3f));
        to[2] = (char) (0x80 | (c >> 6 & 0x3f));
        to[3] = (char) (0x80 | (c & 0x3f));
        return 4;
}

static int hex_value(char c) {
        if (is_digit(c))
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* "u1234" or "u{12345}" at l->at. */
static int read_escaped_number(GqlLexer *l, uint32_t *ret) {
        bool braces = lexer_peek(l, 1) == '{';
        uint32_t c = 0;
        unsigned n = 0;

        l->at += braces ? 2 : 1;
        for (; n < (braces ? 8U : 4U) && hex_value(lexer_peek(l, 0)) >= 0; n++, l->at++)
                c = c << 4 | (uint32_t) hex_value(lexer_peek(l, 0));
        if (braces ? n == 0 || lexer_peek(l, 0) != '}' : n != 4)
                return lexer_fail(l, l->at, "an escape of a character is not valid");
        if (braces)
                l->at++;
        *ret = c;
        return 0;
}

static int read_escape(GqlLexer *l, char *to, size_t *size) {
        static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
        const char *found;
        size_t start = l->at++; /* the backslash */
        uint32_t c, low;
        int r;

        if (lexer_peek(l, 0) != 'u') {
                found = l->at < l->size && lexer_peek(l, 0) ? strchr(from, lexer_peek(l, 0)) : NULL;
                if (!found)
                        return lexer_fail(l, start, "an escape of a character is not valid");
                to[(*size)++] = into[found - from];
                l->at++;
                return 0;
        }

        r = read_escaped_number(l, &c);
        if (r < 0)
                return r;
        if (c >= 0xd800 && c <= 0xdbff && lexer_peek(l, 0) == '\\' && lexer_peek(l, 1) == 'u' &&
            lexer_peek(l, 2) != '{') {
                l->at++;
                r = read_escaped_number(l, &low);
                if (r < 0)
                        return r;
                if (low < 0xdc00 || low > 0xdfff)
                        return lexer_fail(l, start, "half of a surrogate pair");
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        if ((c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
                return lexer_fail(l, start, "an escape of a character is not valid");
        *size += put_utf8(to + *size, c);
        return 0;
}

static int read_string(GqlLexer *l) {
        size_t start = ++l->at, end, size = 0;
        char *to;
        int r;

        /* What is meant is never longer than what is written. */
        for (end = start;
             end < l->size && l->source[end] != '"' && l->source[end] != '\n' && l->source[end] != '\r';
             end++)
                if (l->source[end] == '\\' && end + 1 < l->size)
                        end++;
        to = gql_alloc(l->arena, end - start + 1);
        if (!to)
                return -ENOMEM;

        for (;;) {
                unsigned char c = (unsigned char) lexer_peek(l, 0);

                if (l->at >= l->size || c == '\n' || c == '\r')
                        return lexer_fail(l, l->at, "a string does not end");
                if (c == '"')
                        break;
                if (c == '\\') {
                        r = read_escape(l, to, &size);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (c < 0x20 && c != '\t')
                        return lexer_fail(l, l->at, "a control character");
                to[size++] = (char) c;
                l->at++;
        }
        l->at++;
        to[size] = '\0';
        l->token.kind = GQL_TOKEN_STRING;
        l->token.text = to;
        l->token.size = size;
        return 0;
}

/* BlockStringValue() of the specification, in place. Lines end with '\n' alone here. */
static size_t dedent(char *text, size_t size) {
        size_t common = SIZE_MAX, first = SIZE_MAX, last = 0, out = 0, line = 0;

        for (size_t at = 0; at <= size; line++) {
                size_t end = at, indent = 0;

                while (end < size && text[end] != '\n')
                        end++;
                while (at + indent < end && (text[at + indent] == ' ' || text[at + indent] == '\t'))
                        indent++;
                if (at + indent < end) {
                        if (line > 0 && indent < common)
                                common = indent;
                        if (first == SIZE_MAX)
                                first = line;
                        last = line;
                }
                at = end + 1;
        }
        if (first == SIZE_MAX)
                return 0;

        line = 0;
        for (size_t at = 0; at <= size; line++) {
                size_t end = at, from = at;

                while (end < size && text[end] != '\n')
                        end++;
                if (line > 0 && common != SIZE_MAX)
                        from = end - at < common ? end : at + common;
                if (line >= first && line <= last) {
                        memmove(text + out, text + from, end - from);
                        out += end - from;
                        if (line < last)
                                text[out++] = '\n';
                }
                at = end + 1;
        }
        return out;
}

static int read_block_string(GqlLexer *l) {
        size_t start = l->at += 3, end = start, size = 0;
        char *to;

        while (end + 2 < l->size && memcmp(l->source + end, "\"\"\"", 3) != 0)
                end += end + 3 < l->size && memcmp(l->source + end, "\\\"\"\"", 4) == 0 ? 4 : 1;
        if (end + 2 >= l->size)
                return lexer_fail(l, l->size, "a string does not end");
        to = gql_alloc(l->arena, end - start + 1);
        if (!to)
                return -ENOMEM;

        while (l->at < end) {
                unsigned char c = (unsigned char) lexer_peek(l, 0);

                if (c == '\\' && end - l->at >= 4 && memcmp(l->source + l->at, "\\\"\"\"", 4) == 0) {
                        memcpy(to + size, "\"\"\"", 3);
                        size += 3;
                        l->at += 4;
                        continue;
                }
                if (c == '\r') {
                        if (lexer_peek(l, 1) == '\n')
                                l->at++;
                        c = '\n';
                } else if (c < 0x20 && c != '\t' && c != '\n')
                        return lexer_fail(l, l->at, "a control character");
                to[size++] = (char) c;
                l->at++;
        }
        l->at = end + 3;
        size = dedent(to, size);
        to[size] = '\0';
        l->token.kind = GQL_TOKEN_BLOCK_STRING;
        l->token.text = to;
        l->token.size = size;
        return 0;
}

int gql_lexer_next(GqlLexer *l) {
        size_t start;
        char c;
        int r;

        assert(l);

        r = skip_ignored(l);
        if (r < 0)
                return r;
        start = l->at;
        l->token = (GqlToken){ .kind = GQL_TOKEN_END, .place = lexer_place(l, start) };
        if (l->at >= l->size)
                return 0;
        if (l->tokens_left-- == 0) {
                gql_error(l->errors, GQL_CODE_LIMIT, l->token.place, "The document has too many tokens");
                return -EBADMSG;
        }

        c = l->source[l->at];
        if (is_name_start(c)) {
                while (is_name_start(lexer_peek(l, 0)) || is_digit(lexer_peek(l, 0)))
                        l->at++;
                l->token.kind = GQL_TOKEN_NAME;
                l->token.text = l->source + start;
                l->token.size = l->at - start;
                return 0;
        }
        if (is_digit(c) || c == '-')
                return read_number(l);
        if (c == '"')
                return lexer_peek(l, 1) == '"' && lexer_peek(l, 2) == '"' ? read_block_string(l)
                                                                          : read_string(l);
        l->token.kind = GQL_TOKEN_PUNCTUATOR;
        l->token.punctuator = c;
        if (c == '.' && lexer_peek(l, 1) == '.' && lexer_peek(l, 2) == '.') {
                l->at += 3;
                return 0;
        }
        if (c && strchr("!$&():=@[]{|}", c)) {
                l->at++;
                return 0;
        }
        return lexer_fail(l, l->at, "a character that means nothing here");
}

int gql_lexer_init(
                GqlLexer *l,
                GqlArena *arena,
                GqlErrors *errors,
                const char *source,
                size_t size,
                unsigned tokens_max) {
        assert(l);
        assert(source || size == 0);

        *l = (GqlLexer){
                .source = source,
                .size = size,
                .line = 1,
                .column = 1,
                .tokens_left = tokens_max,
                .arena = arena,
                .errors = errors,
        };
        if (!gql_is_utf8(source, size)) {
                gql_error(errors,
                          GQL_CODE_PARSE,
                          (GqlPlace){ 0 },
                          "Syntax error: the document is not UTF-8");
                return -EBADMSG;
        }
        return gql_lexer_next(l);
}

const char *gql_token_describe(GqlArena *arena, const GqlToken *t) {
        switch (t->kind) {
        case GQL_TOKEN_END:
                return "the end of the document";
        case GQL_TOKEN_PUNCTUATOR:
                return t->punctuator == '.' ? "\"...\"" : gql_printf(arena, "\"%c\"", t->punctuator);
        case GQL_TOKEN_STRING:
        case GQL_TOKEN_BLOCK_STRING:
                return "a string";
        case GQL_TOKEN_NAME:
        case GQL_TOKEN_INT:
        case GQL_TOKEN_FLOAT:
        default:
                return gql_printf(arena, "\"%.*s\"", (int) (t->size < 100 ? t->size : 100), t->text);
        }
}
