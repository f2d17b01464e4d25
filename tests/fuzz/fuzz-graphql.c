/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: GraphQL, from the text of a document to the text of its answer
 *
 * An input that begins with "#schema" is a schema; any other is a document, which is parsed, validated and
 * executed against services that answer from a few values. Beside memory errors it looks for broken
 * promises: something refused without an error, something accepted that cannot be executed, an answer that
 * is not JSON or has neither data nor errors, more requests than are allowed.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api-gateway/graphql/execute.h"
#include "api-gateway/graphql/parser.h"
#include "api-gateway/graphql/values.h"

#define REQUESTS_MAX 60U

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char sdl[] =
                "extend type Query { a(x: Int = 1, i: In, l: [[Int!]], e: E, f: Float, s: String, b: Boolean, id: ID, j: J): O"
                "  @rest(service: \"s\", get: \"/a?x={x}&e={e}&s={s}&j={j}\") o(id: ID!): O! @rest(service: \"s\", get: \"/o/{id}\")"
                "  u: [U!] @rest(service: \"s\", get: \"/u\") n: N @rest(service: \"s\", get: \"/n\") }"
                "extend type Mutation { m(i: In!, h: String): O @rest(service: \"s\", post: \"/m\", body: \"i\", headers: [\"H: {h}\"])"
                "  d: Boolean @rest(service: \"s\", delete: \"/d\") }"
                "interface N { n: String! } union U @kind(member: \"n\") = O | P scalar J enum E { A B C @deprecated }"
                "type O implements N { n: String! i: Int f: Float b: Boolean e: E id: ID! j: J l: [[Int!]!] o: O u: U"
                "  p(first: Int = 2): [P!]! @rest(service: \"s\", get: \"/p/{parent.n}?f={first}\") @list(argument: \"first\", size: 3) }"
                "type P implements N { n: String! q: O @rest(service: \"s\", get: \"/q/{parent.n}\") i: String }"
                "input In { a: Int! = 3 b: [In!] c: E = A d: String @json(name: \"dd\") j: J }";

static const char *const answers[] = {
        "{\"n\":\"O\",\"i\":1,\"f\":1.5,\"b\":true,\"e\":\"A\",\"id\":7,\"j\":{\"x\":[]},\"l\":[[1]],\"o\":{\"n\":\"in\",\"id\":\"i\"},\"u\":{\"n\":\"P\"},\"__typename\":\"O\"}",
        "[{\"n\":\"P\",\"i\":\"x\"},{\"n\":\"O\",\"id\":1}]",
        "{\"n\":null,\"l\":[null],\"e\":\"Z\",\"id\":\"\\u00e4\\\"\",\"__typename\":\"P\"}",
        "null",
        "{\"detail\":\"no\",\"errors\":[1]}",
        "]",
        "",
};

static void check(int ok) {
        if (!ok)
                abort();
}

typedef struct Service {
        GqlFetch *waiting[GQL_RUNNING_MAX];
        const GqlRequest *requests[GQL_RUNNING_MAX];
        size_t n;
        unsigned n_requests;
        bool done;
} Service;

static int start(void **ret, const GqlRequest *q, GqlFetch *f, void *userdata) {
        Service *s = userdata;

        check(s->n < GQL_RUNNING_MAX && ++s->n_requests <= REQUESTS_MAX);
        check(mam_buffer_bytes(&q->target)[0] == '/' && !strpbrk(mam_buffer_bytes(&q->target), " \r\n#"));
        if (s->n_requests % 13 == 12)
                return -ENOENT;
        *ret = f;
        s->requests[s->n] = q;
        s->waiting[s->n++] = f;
        return 0;
}

static void cancel(void *handle, void *userdata) {
        Service *s = userdata;

        for (size_t i = 0; i < s->n; i++)
                if (s->waiting[i] == handle) {
                        s->waiting[i] = s->waiting[--s->n];
                        return;
                }
        abort();
}

static void on_done(GqlExecution *x, void *userdata) {
        ((Service *) userdata)->done = true;
}

/* The last one first; what it says depends on what was asked. */
static void answer_one(Service *s) {
        static const unsigned statuses[] = { 200, 200, 200, 200, 404, 201, 500, 0 };
        const GqlRequest *q = s->requests[s->n - 1];
        const char *target = mam_buffer_bytes(&q->target), *text;
        size_t h = q->target.size * 7 + s->n_requests;
        bool is_list = target[1] == 'p' || target[1] == 'u';

        text = answers[h % 5 == 4 ? h % MAM_ELEMENTSOF(answers) : is_list];
        gql_fetch_done(s->waiting[--s->n], h % 5 == 4 ? statuses[h / 5 % 8] : 200, text, strlen(text));
}

static void check_answer(GqlExecution *x, const GqlErrors *e) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        json_tokener *t = json_tokener_new_ex(1000);
        json_object *o;

        check(gql_answer_print(&text, x, e) >= 0);
        json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(t, mam_buffer_bytes(&text), (int) text.size);
        check(o && json_tokener_get_error(t) == json_tokener_success);
        check(json_object_object_get_ex(o, "data", NULL) == (x != NULL));
        check(json_object_object_get_ex(o, "errors", NULL) == (e->n > 0));
        json_object_put(o);
        json_tokener_free(t);
}

static void execute(GqlSchema *s, GqlArena *a, GqlErrors *e, const GqlDocument *d, const GqlLimits *limits) {
        _cleanup_(json_object_putp) json_object *variables = NULL;
        GqlExecution *x = NULL;
        Service service = { 0 };
        const GqlFetcher fetcher = { start, cancel, &service };

        for (const GqlOperation *o = d->operations; o; o = o->next) {
                if (gql_variables_coerce(&variables, s, e, o, NULL) < 0)
                        break;
                gql_check_cost(s, e, o, variables, limits);
                if (e->n > 0)
                        break;
                service = (Service){ 0 };
                service.done = gql_execution_start(
                                               &x,
                                               s,
                                               a,
                                               e,
                                               o,
                                               variables,
                                               REQUESTS_MAX,
                                               &fetcher,
                                               on_done,
                                               &service) > 0;
                while (!service.done) {
                        check(service.n > 0);
                        answer_one(&service);
                }
                break;
        }
        check_answer(x, e);
        gql_execution_free(x);
        check(service.n == 0);
}

static void run_document(const char *text, size_t size) {
        static const GqlLimits limits = {
                .depth = 12,
                .aliases = 30,
                .selections = 300,
                .cost = REQUESTS_MAX,
                .introspection = true,
        };
        static GqlSchema *s;
        const GqlSource source = { "fuzz", sdl, sizeof(sdl) - 1 };
        GqlArena *a = NULL;
        GqlErrors e = { 0 };
        GqlDocument *d = NULL;
        char message[512];
        size_t bad;
        int r;

        if (!s)
                check(gql_schema_new(&s, &source, 1, message, &bad) >= 0);
        check(gql_arena_new(&a, 4U * 1024U * 1024U) >= 0);
        e.arena = a;
        r = gql_parse(&d, a, &e, text, size, 5000);
        check((r == -EBADMSG) == (e.n > 0) && (r >= 0 || r == -EBADMSG || r == -ENOMEM));
        if (r >= 0) {
                gql_validate(s, &e, d, &limits);
                if (e.n == 0 && d->operations)
                        execute(s, a, &e, d, &limits);
                else
                        check(e.n > 0 || !d->operations);
        }
        gql_errors_done(&e);
        gql_arena_free(a);
}

static void run_schema(const char *text, size_t size) {
        const GqlSource source = { "fuzz", text, size };
        char message[512] = "";
        GqlSchema *s = NULL;
        size_t bad = 0;
        int r;

        r = gql_schema_new(&s, &source, 1, message, &bad);
        check((r == -EBADMSG) == (message[0] != '\0') && (r != -EBADMSG || bad == 0));
        gql_schema_unref(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        const char *text = (const char *) bytes;

        if (size >= 7 && memcmp(text, "#schema", 7) == 0)
                run_schema(text, size);
        else
                run_document(text, size);
        return 0;
}
