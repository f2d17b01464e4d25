/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/rest.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-codec.h"

#define TARGET_MAX 4096U
#define FIELDS_MAX 4096U
#define BODY_MAX   (1024U * 1024U)

/* ---- templates ---- */

typedef struct Compiler {
        GqlArena *arena;
        const GqlField *field;
        const char *reason;
} Compiler;

static int fail(Compiler *c, const char *format, ...) _printf_(2, 3);
static int fail(Compiler *c, const char *format, ...) {
        char text[256];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        c->reason = gql_printf(c->arena, "@rest of \"%s\": %s", c->field->name, text);
        return -EBADMSG;
}

static int add_piece(Compiler *c, GqlPiece ***tail, GqlPieceKind kind, const char *text, size_t size) {
        GqlPiece *p = GQL_NEW(c->arena, GqlPiece);

        if (!p)
                return -ENOMEM;
        p->kind = kind;
        p->text = gql_copy(c->arena, text, size);
        if (!p->text)
                return -ENOMEM;
        **tail = p;
        *tail = &p->next;
        return 0;
}

static int compile_text(Compiler *c, GqlPiece **ret, const char *text, size_t size) {
        const char *end = text + size, *close;
        GqlPiece **tail = ret;
        int r;

        while (text < end) {
                size_t plain = 0;

                while (text + plain < end && text[plain] != '{' && text[plain] != '}')
                        plain++;
                if (plain > 0) {
                        r = add_piece(c, &tail, GQL_PIECE_TEXT, text, plain);
                        if (r < 0)
                                return r;
                        text += plain;
                        continue;
                }
                close = *text == '{' ? memchr(text, '}', (size_t) (end - text)) : NULL;
                if (!close)
                        return fail(c, "braces do not match");
                text++;
                if (close - text > 7 && strncmp(text, "parent.", 7) == 0) {
                        r = add_piece(c, &tail, GQL_PIECE_PARENT, text + 7, (size_t) (close - text - 7));
                } else {
                        r = add_piece(c, &tail, GQL_PIECE_ARGUMENT, text, (size_t) (close - text));
                        if (r >= 0 &&
                            !gql_input_find(c->field->arguments,
                                            gql_copy(c->arena, text, (size_t) (close - text)) ?: ""))
                                return fail(c,
                                            "the field has no argument \"%s\"",
                                            gql_copy(c->arena, text, (size_t) (close - text)));
                }
                if (r < 0)
                        return r;
                text = close + 1;
        }
        return 0;
}

static int compile_query(Compiler *c, GqlParameter **tail, const char *text) {
        while (*text) {
                size_t size = strcspn(text, "&"), name = strcspn(text, "=");
                GqlParameter *p = GQL_NEW(c->arena, GqlParameter);
                int r;

                if (!p)
                        return -ENOMEM;
                if (name >= size || name == 0)
                        return fail(c, "a parameter of the query is not NAME=VALUE");
                p->name = gql_copy(c->arena, text, name);
                if (!p->name)
                        return -ENOMEM;
                r = compile_text(c, &p->value, text + name + 1, size - name - 1);
                if (r < 0)
                        return r;
                *tail = p;
                tail = &p->next;
                text += size + (text[size] == '&');
        }
        return 0;
}

static int compile_target(Compiler *c, GqlRest *rest, const char *text) {
        size_t path = strcspn(text, "?");

        if (text[0] != '/' || text[1] == '/' || strstr(text, "/../") || strcmp(text, "/graphql") == 0 ||
            strncmp(text, "/graphql?", 9) == 0)
                return fail(c, "\"%s\" is not a path of a resource", text);
        for (const char *s = text; *s; s++)
                if ((unsigned char) *s <= ' ' || (unsigned char) *s >= 0x7f || *s == '#')
                        return fail(c, "\"%s\" is not a path of a resource", text);
        for (const char *s = text; s < text + path; s++)
                if (*s == '{' && s[-1] != '/' && s[-1] != '}' && s[-1] != ':' && s[-1] != '-' &&
                    s[-1] != '.')
                        return fail(c, "in \"%s\" a value does not begin a segment", text);
        if (compile_text(c, &rest->path, text, path) < 0)
                return c->reason ? -EBADMSG : -ENOMEM;
        return text[path] ? compile_query(c, &rest->query, text + path + 1) : 0;
}

static bool is_forbidden_field(const char *name) {
        static const char *const names[] = {
                "Host",          "Connection",   "Content-Length", "Content-Type", "Transfer-Encoding",
                "Authorization", "Cookie",       "Upgrade",        "TE",           "Trailer",
                "Expect",        "X-Request-Id", "traceparent",    "X-API-Key",    "Accept"
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++)
                if (strcasecmp(names[i], name) == 0)
                        return true;
        return strncasecmp(name, "Mam-", 4) == 0;
}

static int compile_header(Compiler *c, GqlParameter **tail, const GqlValue *v) {
        GqlParameter *p = GQL_NEW(c->arena, GqlParameter);
        size_t name = strcspn(v->text, ":"), value;
        int r;

        if (!p)
                return -ENOMEM;
        p->name = gql_copy(c->arena, v->text, name);
        if (!p->name)
                return -ENOMEM;
        if (!v->text[name] || !mam_http_is_token(p->name, name) || is_forbidden_field(p->name))
                return fail(c, "\"%s\" is not a header field that can be set", v->text);
        value = name + 1 + strspn(v->text + name + 1, " ");
        r = compile_text(c, &p->value, v->text + value, strlen(v->text + value));
        if (r < 0)
                return r;
        *tail = p;
        return 0;
}

static const char *text_of(const GqlDirective *d, const char *name) {
        const GqlArgument *a = gql_argument_find(d->arguments, name);

        return a && a->value->kind == GQL_VALUE_STRING ? a->value->text : NULL;
}

static int compile_method(Compiler *c, GqlRest *rest, const GqlDirective *d) {
        static const struct {
                const char *argument, *method;
        } methods[] = { { "get", "GET" },
                        { "post", "POST" },
                        { "put", "PUT" },
                        { "patch", "PATCH" },
                        { "delete", "DELETE" } };
        const char *target = NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(methods); i++) {
                const char *text = text_of(d, methods[i].argument);

                if (!text)
                        continue;
                if (target)
                        return fail(c, "there can be only one method");
                target = text;
                rest->method = methods[i].method;
        }
        if (!target)
                return fail(c, "there is no method: one of get, post, put, patch, delete is needed");
        return compile_target(c, rest, target);
}

int gql_rest_compile(
                GqlRest **ret,
                GqlArena *arena,
                const GqlField *f,
                const GqlDirective *d,
                const char **ret_reason) {
        Compiler c = { .arena = arena, .field = f };
        GqlParameter **tail;
        const GqlArgument *headers;
        GqlRest *rest;
        int r;

        assert(ret);
        assert(d);

        rest = GQL_NEW(arena, GqlRest);
        if (!rest)
                return -ENOMEM;
        rest->service = text_of(d, "service");
        rest->body = text_of(d, "body");
        rest->at = text_of(d, "at") ?: "";
        r = compile_method(&c, rest, d);
        if (r >= 0 && rest->body && !gql_input_find(f->arguments, rest->body))
                r = fail(&c, "the field has no argument \"%s\"", rest->body);
        if (r >= 0 && rest->body &&
            (strcmp(rest->method, "GET") == 0 || strcmp(rest->method, "DELETE") == 0))
                r = fail(&c, "%s has no body", rest->method);
        if (r >= 0 && *rest->at && *rest->at != '/')
                r = fail(&c, "\"%s\" is not a JSON pointer", rest->at);
        tail = &rest->headers;
        headers = gql_argument_find(d->arguments, "headers");
        for (const GqlValue *v = headers ? headers->value->items : NULL; r >= 0 && v; v = v->next) {
                r = compile_header(&c, tail, v);
                if (r >= 0)
                        tail = &(*tail)->next;
        }
        if (r == -EBADMSG)
                *ret_reason = c.reason ?: "@rest is not valid";
        if (r < 0)
                return r;
        *ret = rest;
        return 0;
}

/* ---- requests ---- */

void gql_request_done(GqlRequest *q) {
        mam_buffer_done(&q->target);
        mam_buffer_done(&q->fields);
        mam_buffer_done(&q->body);
}

/* The text of a scalar: 1; 0: null or none; -EINVAL: it is an object or a list. */
static int scalar_text(json_object *o, const char **ret, size_t *ret_size) {
        if (!o)
                return 0;
        if (json_object_is_type(o, json_type_object) || json_object_is_type(o, json_type_array))
                return -EINVAL;
        *ret = json_object_get_string(o);
        *ret_size = json_object_is_type(o, json_type_string) ? (size_t) json_object_get_string_len(o)
                                                             : strlen(*ret);
        return 1;
}

static int piece_value(
                const GqlPiece *p,
                json_object *arguments,
                json_object *parent,
                const char **ret,
                size_t *ret_size) {
        json_object *o = NULL, *from = p->kind == GQL_PIECE_PARENT ? parent : arguments;

        if (p->kind == GQL_PIECE_TEXT) {
                *ret = p->text;
                *ret_size = strlen(p->text);
                return 1;
        }
        if (!json_object_is_type(from, json_type_object) || !json_object_object_get_ex(from, p->text, &o))
                return 0;
        return scalar_text(o, ret, ret_size);
}

static int append_encoded(MamBuffer *b, const char *data, size_t size) {
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        int r = 0;

        for (size_t i = 0; i < size && r >= 0; i++)
                r = data[i] && strchr(plain, data[i])
                                    ? mam_buffer_append(b, data + i, 1)
                                    : mam_buffer_appendf(b, "%%%02X", (unsigned char) data[i]);
        return r;
}

static bool is_segment(const char *data, size_t size) {
        return size > 0 && !memchr(data, '\0', size) && !(size == 1 && data[0] == '.') &&
               !(size == 2 && memcmp(data, "..", 2) == 0);
}

static int make_path(GqlRequest *q, json_object *arguments, json_object *parent, const char **ret_argument) {
        for (const GqlPiece *p = q->rest->path; p; p = p->next) {
                const char *text = NULL;
                size_t size = 0;
                int r;

                r = piece_value(p, arguments, parent, &text, &size);
                if (p->kind == GQL_PIECE_PARENT && (r <= 0 || !is_segment(text, size)))
                        return -ENODATA;
                if (p->kind == GQL_PIECE_ARGUMENT && (r <= 0 || !is_segment(text, size))) {
                        *ret_argument = p->text;
                        return -EINVAL;
                }
                r = p->kind == GQL_PIECE_TEXT ? mam_buffer_append(&q->target, text, size)
                                              : append_encoded(&q->target, text, size);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* All pieces of a parameter as one text. 1; 0: one of them has no value; <0. */
static int make_text(
                MamBuffer *b,
                const GqlPiece *pieces,
                json_object *arguments,
                json_object *parent,
                const char **ret_argument) {
        for (const GqlPiece *p = pieces; p; p = p->next) {
                const char *text = NULL;
                size_t size = 0;
                int r;

                r = piece_value(p, arguments, parent, &text, &size);
                if (r == -EINVAL)
                        *ret_argument = p->text;
                if (r <= 0)
                        return r;
                r = mam_buffer_append(b, text, size);
                if (r < 0)
                        return r;
        }
        return 1;
}

static int make_query(
                GqlRequest *q,
                json_object *arguments,
                json_object *parent,
                const char **ret_argument) {
        const char *separator = "?";

        for (const GqlParameter *p = q->rest->query; p; p = p->next) {
                _cleanup_(mam_buffer_done) MamBuffer text = { .max = TARGET_MAX };
                int r;

                r = make_text(&text, p->value, arguments, parent, ret_argument);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                r = mam_buffer_appendf(&q->target, "%s%s=", separator, p->name);
                if (r >= 0)
                        r = append_encoded(&q->target, mam_buffer_bytes(&text), text.size);
                if (r < 0)
                        return r;
                separator = "&";
        }
        return 0;
}

static int make_fields(
                GqlRequest *q,
                json_object *arguments,
                json_object *parent,
                const char **ret_argument) {
        for (const GqlParameter *p = q->rest->headers; p; p = p->next) {
                _cleanup_(mam_buffer_done) MamBuffer text = { .max = FIELDS_MAX };
                int r;

                r = make_text(&text, p->value, arguments, parent, ret_argument);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                if (!mam_http_is_field_value(mam_buffer_bytes(&text), text.size)) {
                        *ret_argument = p->name;
                        return -EINVAL;
                }
                r = mam_buffer_appendf(&q->fields, "%s: %s\r\n", p->name, mam_buffer_bytes(&text));
                if (r < 0)
                        return r;
        }
        return 0;
}

int gql_request_make(
                GqlRequest *ret,
                const GqlRest *rest,
                json_object *arguments,
                json_object *parent,
                const char **ret_argument) {
        GqlRequest q = {
                .rest = rest,
                .target = { .max = TARGET_MAX },
                .fields = { .max = FIELDS_MAX },
                .body = { .max = BODY_MAX },
        };
        json_object *body = NULL;
        int r;

        assert(ret);
        assert(rest);

        r = make_path(&q, arguments, parent, ret_argument);
        if (r >= 0)
                r = make_query(&q, arguments, parent, ret_argument);
        if (r >= 0)
                r = make_fields(&q, arguments, parent, ret_argument);
        if (r >= 0 && rest->body && json_object_object_get_ex(arguments, rest->body, &body))
                r = mam_buffer_append_string(&q.body, mam_json_to_string(body));
        if (r < 0) {
                gql_request_done(&q);
                return r;
        }
        *ret = q;
        return 0;
}
