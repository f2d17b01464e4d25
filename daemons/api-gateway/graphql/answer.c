/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers as JSON (specification, section 7)
 */

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql/execute-internal.h"

static int print_text(MamBuffer *to, const char *text) {
        const char *plain = text;
        int r;

        r = mam_buffer_append(to, "\"", 1);
        for (; *text && r >= 0; text++) {
                unsigned char c = (unsigned char) *text;

                if (c >= 0x20 && c != '"' && c != '\\')
                        continue;
                r = mam_buffer_append(to, plain, (size_t) (text - plain));
                if (r >= 0)
                        r = c >= 0x20 ? mam_buffer_appendf(to, "\\%c", c)
                                      : mam_buffer_appendf(to, "\\u%04x", c);
                plain = text + 1;
        }
        if (r >= 0)
                r = mam_buffer_append(to, plain, (size_t) (text - plain));
        return r < 0 ? r : mam_buffer_append(to, "\"", 1);
}

static int print_node(MamBuffer *to, const GqlNode *n) {
        int r = 0;

        switch (n->kind) {
        case GQL_NODE_JSON:
                return mam_buffer_append_string(to, mam_json_to_string(n->json));
        case GQL_NODE_TEXT:
                return print_text(to, n->text);
        case GQL_NODE_BOOLEAN:
                return mam_buffer_append_string(to, n->boolean ? "true" : "false");
        case GQL_NODE_OBJECT:
        case GQL_NODE_LIST:
                r = mam_buffer_append(to, n->kind == GQL_NODE_LIST ? "[" : "{", 1);
                for (const GqlNode *c = n->first; c && r >= 0; c = c->next) {
                        if (c != n->first)
                                r = mam_buffer_append(to, ",", 1);
                        if (r >= 0 && c->name)
                                r = mam_buffer_appendf(to, "\"%s\":", c->name);
                        if (r >= 0)
                                r = print_node(to, c);
                }
                return r < 0 ? r : mam_buffer_append(to, n->kind == GQL_NODE_LIST ? "]" : "}", 1);
        case GQL_NODE_NULL:
        default:
                return mam_buffer_append_string(to, "null");
        }
}

static int print_places(MamBuffer *to, const GqlError *e) {
        int r = 0;

        for (size_t i = 0; i < e->n_places && r >= 0; i++)
                r = mam_buffer_appendf(
                                to,
                                "%s{\"line\":%u,\"column\":%u}",
                                i == 0 ? ",\"locations\":[" : ",",
                                e->places[i].line,
                                e->places[i].column);
        return r < 0 || e->n_places == 0 ? r : mam_buffer_append(to, "]", 1);
}

static int print_path(MamBuffer *to, const GqlNode *n) {
        int r;

        if (!n->parent)
                return 0;
        r = print_path(to, n->parent);
        if (r >= 0 && n->parent->parent)
                r = mam_buffer_append(to, ",", 1);
        if (r < 0)
                return r;
        return n->name ? mam_buffer_appendf(to, "\"%s\"", n->name) : mam_buffer_appendf(to, "%u", n->index);
}

static int print_error(MamBuffer *to, const GqlError *e) {
        int r;

        r = mam_buffer_append_string(to, "{\"message\":");
        if (r >= 0)
                r = print_text(to, e->message ?: "The document needs too much memory");
        if (r >= 0)
                r = print_places(to, e);
        if (r >= 0 && e->path) {
                r = mam_buffer_append_string(to, ",\"path\":[");
                if (r >= 0)
                        r = print_path(to, e->path);
                if (r >= 0)
                        r = mam_buffer_append(to, "]", 1);
        }
        if (r >= 0)
                r = mam_buffer_appendf(to, ",\"extensions\":{\"code\":\"%s\"", e->code);
        if (r >= 0 && e->status > 0)
                r = mam_buffer_appendf(to, ",\"status\":%u", e->status);
        if (r >= 0 && e->problems)
                r = mam_buffer_appendf(to, ",\"errors\":%s", mam_json_to_string(e->problems));
        return r < 0 ? r : mam_buffer_append_string(to, "}}");
}

int gql_answer_print(MamBuffer *to, const GqlExecution *x, const GqlErrors *errors) {
        const char *separator = "{";
        int r = 0;

        assert(to);
        assert(errors);

        if (errors->n > 0) {
                r = mam_buffer_append_string(to, "{\"errors\":[");
                for (const GqlError *e = errors->first; e && r >= 0; e = e->next) {
                        if (e != errors->first)
                                r = mam_buffer_append(to, ",", 1);
                        if (r >= 0)
                                r = print_error(to, e);
                }
                if (r >= 0 && !errors->first)
                        r = mam_buffer_append_string(
                                        to,
                                        "{\"message\":\"The document needs too much memory\","
                                        "\"extensions\":{\"code\":\"" GQL_CODE_LIMIT "\"}}");
                if (r >= 0)
                        r = mam_buffer_append(to, "]", 1);
                separator = ",";
        }
        if (r >= 0 && x) {
                assert(x->done);
                r = mam_buffer_appendf(to, "%s\"data\":", separator);
                if (r >= 0)
                        r = x->failed ? mam_buffer_append_string(to, "null") : print_node(to, x->root);
        }
        return r < 0 ? r : mam_buffer_append(to, "}", 1);
}
