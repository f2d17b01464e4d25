/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "routes" of a service: a text is a prefix, an object says more
 */

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "libmam/config/config-gateway.h"
#include "libmam/util/buffer.h"
#include "libmam/util/time.h"

#define METHODS_MAX 16U
#define VERSION_MAX 9999
#define RETRIES_MAX 3
#define BODY_MAX    (16ULL * 1024U * 1024U * 1024U)
#define DATE_MAX    UINT64_C(253402300799) /* the last second of the year 9999 */
#define SPAN_TEXT   "a time such as \"500ms\" or \"30s\", "

#define PREFIX_TEXT "must be a path prefix such as \"/api/v1/things\", without '/' at its end"

typedef struct RouteReader {
        MamReader *rd;
        json_object *o;
        const char *parent; /* pointer of the route */
        MamRouteConfig *c;
} RouteReader;

static bool is_token(const char *text) {
        if (!*text || strlen(text) > 128)
                return false;
        for (const char *c = text; *c; c++)
                if (!isalnum((unsigned char) *c) && !strchr("!#$%&'*+-.^_`|~", *c))
                        return false;
        return true;
}

static bool is_method(const char *text) {
        for (const char *c = text; *c; c++)
                if (!isupper((unsigned char) *c) && *c != '-')
                        return false;
        return is_token(text) && strlen(text) <= 32 && strcmp(text, "CONNECT") != 0 &&
               strcmp(text, "TRACE") != 0;
}

static bool is_role(const char *text) {
        return *text && strlen(text) <= 64;
}

static bool is_host(const char *text) {
        const char *s = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
        size_t label = 0;

        if (!*s || strlen(text) > 253)
                return false;
        for (; *s; s++) {
                if (*s == '.') {
                        if (label == 0 || s[-1] == '-')
                                return false;
                        label = 0;
                } else if (!isalnum((unsigned char) *s) && *s != '_' && (*s != '-' || label == 0)) {
                        return false;
                } else if (++label > 63) {
                        return false;
                }
        }
        return label > 0 && s[-1] != '-';
}

static void read_host(RouteReader *w) {
        if (!mam_reader_get_copy(w->rd, w->o, w->parent, "host", &w->c->host) || !w->c->host)
                return;
        if (!is_host(w->c->host))
                mam_reader_bad_key(
                                w->rd,
                                w->parent,
                                "host",
                                "must be a host name such as \"api.example.com\" or \"*.example.com\", without a port");
        for (char *c = w->c->host; *c; c++)
                *c = (char) tolower((unsigned char) *c);
}

/* "/" is the prefix of everything: "". */
static void copy_path(MamReader *rd, char **to, const char *text) {
        mam_reader_copy(rd, to, strcmp(text, "/") == 0 ? "" : text);
}

static void read_path(RouteReader *w) {
        bool has_path = json_object_object_get_ex(w->o, "path", NULL);
        const char *key = has_path ? "path" : "prefix", *text, *problem;
        int r;

        if (has_path == json_object_object_get_ex(w->o, "prefix", NULL)) {
                mam_reader_bad_key(
                                w->rd,
                                w->parent,
                                NULL,
                                "must have either \"prefix\" or \"path\": what it is about");
                return;
        }
        r = mam_reader_text(w->rd, w->o, w->parent, key, &text);
        if (r <= 0) {
                if (r == 0)
                        mam_reader_bad_key(w->rd, w->parent, key, "must be a string");
                return;
        }
        problem = mam_route_path_problem(text);
        if (problem) {
                mam_reader_bad_key(w->rd, w->parent, key, "%s", problem);
                return;
        }
        w->c->is_prefix = !has_path;
        if (w->c->is_prefix && strstr(text, "...}"))
                mam_reader_bad_key(
                                w->rd,
                                w->parent,
                                key,
                                "must not have {name...}: a prefix takes all below");
        if (has_path)
                mam_reader_copy(w->rd, &w->c->path, text);
        else
                copy_path(w->rd, &w->c->path, text);
}

/* Members of an object as fields; null or true as a value: any (match only). Appends. */
static void read_fields(
                RouteReader *w,
                json_object *o,
                const char *parent,
                bool match,
                bool append,
                bool (*is_own)(const char *name),
                MamRouteField **fields,
                size_t *n) {
        size_t more = (size_t) json_object_object_length(o);
        MamRouteField *list;

        if (*n + more > MAM_ROUTE_FIELDS_MAX) {
                mam_reader_bad_key(
                                w->rd,
                                parent,
                                NULL,
                                "must not have more than %u fields",
                                MAM_ROUTE_FIELDS_MAX);
                return;
        }
        list = reallocarray(*fields, *n + more + 1, sizeof(*list));
        if (!list) {
                mam_reader_note(w->rd, -ENOMEM);
                return;
        }
        *fields = list;
        json_object_object_foreach(o, name, value) {
                bool any = match && json_object_is_type(value, json_type_boolean) &&
                           json_object_get_boolean(value);
                const char *text = NULL;

                if (!is_token(name)) {
                        mam_reader_bad_key(w->rd, parent, name, "is not the name of a header field");
                        continue;
                }
                if (is_own && is_own(name)) {
                        mam_reader_bad_key(w->rd, parent, name, "is set by the gateway itself");
                        continue;
                }
                if (!any && mam_reader_text(w->rd, o, parent, name, &text) <= 0) {
                        if (!value)
                                mam_reader_bad_key(w->rd, parent, name, "must be a string");
                        continue;
                }
                list[*n] = (MamRouteField){ .append = append };
                mam_reader_copy(w->rd, &list[*n].name, name);
                if (text)
                        mam_reader_copy(w->rd, &list[*n].value, text);
                (*n)++;
        }
}

static bool is_listed(const char *name, const char *const *list) {
        for (; *list; list++)
                if (strcasecmp(*list, name) == 0)
                        return true;
        return false;
}

/* What says where a message ends or who somebody is: never from a file. */
static bool is_own_anywhere(const char *name) {
        static const char *const names[] = {
                "Connection", "Content-Length", "Keep-Alive",        "TE", "Trailer",
                "Upgrade",    "X-Request-Id",   "Transfer-Encoding", NULL,
        };

        return is_listed(name, names) || strncasecmp(name, "Mam-", 4) == 0 ||
               strncasecmp(name, "Proxy-", 6) == 0;
}

static bool is_own_request(const char *name) {
        static const char *const names[] = {
                "Host", "Forwarded", "Traceparent", "Tracestate", "Expect", NULL
        };

        return is_own_anywhere(name) || is_listed(name, names) || strncasecmp(name, "X-Forwarded-", 12) == 0;
}

static bool is_own_response(const char *name) {
        return is_own_anywhere(name) || strcasecmp(name, "Date") == 0;
}

static bool is_removable_request(const char *name) {
        return is_token(name) && !is_own_request(name);
}

static bool is_removable_response(const char *name) {
        return is_token(name) && !is_own_response(name);
}

static void read_header_changes(
                RouteReader *w,
                const char *key,
                bool (*is_own)(const char *name),
                bool (*is_removable)(const char *name),
                MamRouteField **fields,
                size_t *n,
                char ***removed) {
        static const char *const known[] = { "set", "add", "remove", NULL };
        char parent[128], inner[128];
        json_object *o, *list;

        if (!mam_reader_get_section(w->rd, w->o, w->parent, key, known, parent, &o))
                return;
        if (mam_reader_get_section(w->rd, o, parent, "set", NULL, inner, &list))
                read_fields(w, list, inner, false, false, is_own, fields, n);
        if (mam_reader_get_section(w->rd, o, parent, "add", NULL, inner, &list))
                read_fields(w, list, inner, false, true, is_own, fields, n);
        (void) mam_reader_get_texts(
                        w->rd,
                        o,
                        parent,
                        "remove",
                        MAM_ROUTE_FIELDS_MAX,
                        is_removable,
                        "the name of a header field that is not the gateway's own",
                        removed);
}

static void read_match(RouteReader *w) {
        char parent[128];
        json_object *o;
        int64_t version = 0;

        read_host(w);
        read_path(w);
        (void) mam_reader_get_texts(
                        w->rd,
                        w->o,
                        w->parent,
                        "methods",
                        METHODS_MAX,
                        is_method,
                        "a method such as \"GET\"; CONNECT and TRACE are not forwarded",
                        &w->c->methods);
        if (w->c->methods && !w->c->methods[0])
                mam_reader_bad_key(w->rd, w->parent, "methods", "must name a method; leave it out for all");
        if (mam_reader_get_section(w->rd, w->o, w->parent, "headers", NULL, parent, &o))
                read_fields(w, o, parent, true, false, NULL, &w->c->match, &w->c->n_match);
        if (mam_reader_get_int(w->rd, w->o, w->parent, "version", 1, VERSION_MAX, &version))
                w->c->version = (uint32_t) version;
}

static bool has_parameter(const char *path, const char *parameter, size_t size) {
        for (const char *s = path; (s = strchr(s, '/'));) {
                size_t n = strcspn(++s, "/");

                if (n == size && memcmp(s, parameter, size) == 0)
                        return true;
        }
        return false;
}

/* "/v1/{id}", with parameters that the path has. */
static void read_rewrite(RouteReader *w) {
        const char *text, *problem;

        if (mam_reader_text(w->rd, w->o, w->parent, "rewrite", &text) <= 0)
                return;
        problem = mam_route_path_problem(text);
        if (!problem && w->c->path)
                for (const char *s = text; !problem && (s = strchr(s, '/'));) {
                        size_t n = strcspn(++s, "/");

                        if (n > 0 && s[0] == '{' && !has_parameter(w->c->path, s, n))
                                problem = "must only have parameters that the path has, written as they are there";
                }
        if (problem)
                mam_reader_bad_key(w->rd, w->parent, "rewrite", "%s", problem);
        else
                copy_path(w->rd, &w->c->rewrite, text);
}

static void read_mirror(RouteReader *w) {
        static const char *const known[] = { "service", "percent", NULL };
        char parent[128];
        json_object *o;

        if (!mam_reader_get_section(w->rd, w->o, w->parent, "mirror", known, parent, &o))
                return;
        w->c->mirror_ppm = MAM_PPM;
        (void) mam_reader_get_ppm(w->rd, o, parent, "percent", &w->c->mirror_ppm);
        if (!mam_reader_get_copy(w->rd, o, parent, "service", &w->c->mirror_service) ||
            !w->c->mirror_service || !mam_service_id_is_valid(w->c->mirror_service))
                mam_reader_bad_key(
                                w->rd,
                                parent,
                                "service",
                                "must be the id of the service that gets copies");
}

static void read_maintenance(RouteReader *w) {
        static const char *const known[] = { "retryAfter", "message", "roles", NULL };
        json_object *o, *v;
        char parent[128];

        if (!json_object_object_get_ex(w->o, "maintenance", &v) || !v)
                return;
        w->c->maintenance_retry_usec = 60 * MAM_USEC_PER_SEC;
        if (json_object_is_type(v, json_type_boolean)) {
                w->c->maintenance = json_object_get_boolean(v);
                return;
        }
        if (!json_object_is_type(v, json_type_object)) {
                mam_reader_bad_key(w->rd, w->parent, "maintenance", "must be true, false or an object");
                return;
        }
        if (!mam_reader_get_section(w->rd, w->o, w->parent, "maintenance", known, parent, &o))
                return;
        w->c->maintenance = true;
        mam_reader_span(w->rd,
                        o,
                        parent,
                        "retryAfter",
                        MAM_USEC_PER_SEC,
                        86400 * MAM_USEC_PER_SEC,
                        SPAN_TEXT "from 1 s to one day",
                        &w->c->maintenance_retry_usec);
        (void) mam_reader_get_copy(w->rd, o, parent, "message", &w->c->maintenance_message);
        (void) mam_reader_get_texts(
                        w->rd,
                        o,
                        parent,
                        "roles",
                        MAM_AUTH_LIST_MAX,
                        is_role,
                        "a role",
                        &w->c->maintenance_roles);
}

static void read_fault(RouteReader *w) {
        static const char *const known[] = { "delay", "delayPercent", "abort", "abortPercent", NULL };
        int64_t status = 0;
        char parent[128];
        json_object *o;

        if (!mam_reader_get_section(w->rd, w->o, w->parent, "fault", known, parent, &o))
                return;
        mam_reader_span(w->rd,
                        o,
                        parent,
                        "delay",
                        MAM_USEC_PER_MSEC,
                        60 * MAM_USEC_PER_SEC,
                        SPAN_TEXT "from 1 ms to one minute",
                        &w->c->fault_delay_usec);
        if (w->c->fault_delay_usec > 0)
                w->c->fault_delay_ppm = MAM_PPM;
        (void) mam_reader_get_ppm(w->rd, o, parent, "delayPercent", &w->c->fault_delay_ppm);
        if (mam_reader_get_int(w->rd, o, parent, "abort", 400, 599, &status)) {
                w->c->fault_status = (unsigned) status;
                w->c->fault_abort_ppm = MAM_PPM;
        }
        (void) mam_reader_get_ppm(w->rd, o, parent, "abortPercent", &w->c->fault_abort_ppm);
        if (w->c->fault_delay_ppm > 0 && w->c->fault_delay_usec == 0)
                mam_reader_bad_key(w->rd, parent, "delayPercent", "needs \"delay\"");
        if (w->c->fault_abort_ppm > 0 && w->c->fault_status == 0)
                mam_reader_bad_key(w->rd, parent, "abortPercent", "needs \"abort\"");
}

/* "2026-12-31" or "2026-12-31T23:59:59Z". */
static bool parse_date(const char *text, uint64_t *ret_usec) {
        struct tm tm = { 0 };
        const char *end = strptime(text, "%Y-%m-%d", &tm);
        time_t t;

        if (end && *end == 'T')
                end = strptime(end, "T%H:%M:%SZ", &tm);
        if (!end || *end || !isdigit((unsigned char) text[0]))
                return false;
        t = timegm(&tm);
        if (t <= 0 || (uint64_t) t > DATE_MAX)
                return false;
        *ret_usec = (uint64_t) t * MAM_USEC_PER_SEC;
        return true;
}

static void read_date(RouteReader *w, const char *key, uint64_t *ret) {
        const char *text;

        if (mam_reader_text(w->rd, w->o, w->parent, key, &text) > 0 && !parse_date(text, ret))
                mam_reader_bad_key(
                                w->rd,
                                w->parent,
                                key,
                                "must be a date such as \"2026-12-31\" or \"2026-12-31T12:00:00Z\"");
}

static void read_successor(RouteReader *w) {
        const char *text;

        if (!mam_reader_get_copy(w->rd, w->o, w->parent, "successor", &w->c->successor) || !w->c->successor)
                return;
        text = w->c->successor;
        for (const char *c = text; *c; c++)
                if (*c <= ' ' || *c > '~' || strchr("<>\"\\^`{|}", *c))
                        text = "";
        if (text[0] != '/' && strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0)
                mam_reader_bad_key(w->rd, w->parent, "successor", "must be a path or an http(s) URL");
}

static void read_policy(RouteReader *w) {
        static const char *const sticky[] = { "off", "subject", "address", "cookie", "path", NULL };
        int64_t retries = -1;
        unsigned word;

        mam_reader_span(w->rd,
                        w->o,
                        w->parent,
                        "timeout",
                        10 * MAM_USEC_PER_MSEC,
                        3600 * MAM_USEC_PER_SEC,
                        SPAN_TEXT "from 10 ms to one hour",
                        &w->c->timeout_usec);
        (void) mam_reader_get_int(w->rd, w->o, w->parent, "retries", 0, RETRIES_MAX, &retries);
        w->c->retries = (int) retries;
        (void) mam_reader_get_bytes(w->rd, w->o, w->parent, "bodyLimit", 1, BODY_MAX, &w->c->body_max);
        (void) mam_reader_get_copy(w->rd, w->o, w->parent, "rateLimit", &w->c->rate_limit);
        mam_config_read_route_auth(w->rd, w->o, w->parent, &w->c->auth);
        if (mam_reader_get_word(w->rd, w->o, w->parent, "sticky", sticky, &word))
                w->c->sticky = (MamRouteSticky) word;
        read_mirror(w);
        read_rewrite(w);
        (void) mam_reader_get_bool(w->rd, w->o, w->parent, "encodedSlash", &w->c->encoded_slash);
        read_header_changes(
                        w,
                        "requestHeaders",
                        is_own_request,
                        is_removable_request,
                        &w->c->request_set,
                        &w->c->n_request_set,
                        &w->c->request_remove);
        read_header_changes(
                        w,
                        "responseHeaders",
                        is_own_response,
                        is_removable_response,
                        &w->c->response_set,
                        &w->c->n_response_set,
                        &w->c->response_remove);
        read_date(w, "deprecated", &w->c->deprecated_usec);
        read_date(w, "sunset", &w->c->sunset_usec);
        read_successor(w);
        read_maintenance(w);
        read_fault(w);
}

/* "GET,HEAD api.example.com=/a/{id} v2 x-canary=1" */
static int make_label(MamRouteConfig *c) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r = 0;

        for (char **m = c->methods; r >= 0 && m && *m; m++)
                r = mam_buffer_appendf(&b, "%s%s", *m, m[1] ? "," : " ");
        if (r >= 0)
                r = mam_buffer_appendf(
                                &b,
                                "%s%s%s",
                                c->host ? c->host : "",
                                c->is_prefix || strstr(c->path, "...}") ? "" : "=",
                                c->path[0] ? c->path : "/");
        if (r >= 0 && c->version > 0)
                r = mam_buffer_appendf(&b, " v%u", c->version);
        for (size_t i = 0; r >= 0 && i < c->n_match; i++)
                r = mam_buffer_appendf(
                                &b,
                                " %s%s%s",
                                c->match[i].name,
                                c->match[i].value ? "=" : "",
                                c->match[i].value ? c->match[i].value : "");
        if (r < 0)
                return r;
        c->label = strndup(mam_buffer_bytes(&b), b.size);
        return c->label ? 0 : -ENOMEM;
}

static void read_route(MamReader *rd, json_object *o, const char *parent, MamRouteConfig *c) {
        static const char *const known[] = {
                "prefix",          "path",      "host",         "methods",
                "headers",         "version",   "timeout",      "retries",
                "bodyLimit",       "rateLimit", "auth",         "sticky",
                "mirror",          "rewrite",   "encodedSlash", "deprecated",
                "sunset",          "successor", "maintenance",  "requestHeaders",
                "responseHeaders", "fault",     NULL,
        };
        RouteReader w = { .rd = rd, .o = o, .parent = parent, .c = c };

        mam_reader_note(rd, mam_config_warn_unknown(rd->file, o, parent, known));
        read_match(&w);
        read_policy(&w);
}

static void read_prefix(
                MamReader *rd,
                json_object *item,
                const char *parent,
                const char *index,
                MamRouteConfig *c) {
        const char *text = json_object_is_type(item, json_type_string) ? json_object_get_string(item) : NULL;

        c->retries = -1;
        if (!text || strlen(text) != (size_t) json_object_get_string_len(item) ||
            mam_route_path_problem(text) || strstr(text, "...}")) {
                mam_reader_bad_key(rd, parent, index, PREFIX_TEXT);
                return;
        }
        c->is_prefix = true;
        copy_path(rd, &c->path, text);
}

static void check_conflicts(MamReader *rd, const char *parent, size_t i, const MamRouteList *l) {
        const MamRouteConfig *c = &l->routes[l->n - 1];
        char index[24];

        (void) snprintf(index, sizeof(index), "%zu", i);
        for (size_t j = 0; j + 1 < l->n; j++)
                if (mam_route_conflicts(&l->routes[j], c)) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        index,
                                        "is in conflict with \"%s\": some requests match both, and neither is more specific",
                                        l->routes[j].label);
                        return;
                }
}

void mam_config_read_routes(MamReader *rd, json_object *o, const char *parent, MamRouteList **ret) {
        size_t n = o ? json_object_array_length(o) : 0;
        MamRouteList *l = calloc(1, sizeof(*l));

        if (l) {
                l->n_ref = 1;
                l->routes = calloc(n + 1, sizeof(*l->routes));
        }
        if (!l || !l->routes) {
                free(l);
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        *ret = l;
        if (n > MAM_ROUTES_MAX) {
                mam_reader_bad_key(rd, parent, NULL, "must not have more than %u entries", MAM_ROUTES_MAX);
                return;
        }
        for (size_t i = 0; i < n && rd->r >= 0; i++) {
                json_object *item = json_object_array_get_idx(o, i);
                MamRouteConfig *c = &l->routes[l->n++];
                char index[24], inner[128];

                (void) snprintf(index, sizeof(index), "%zu", i);
                (void) snprintf(inner, sizeof(inner), "%s/%zu", parent, i);
                if (json_object_is_type(item, json_type_object))
                        read_route(rd, item, inner, c);
                else
                        read_prefix(rd, item, parent, index, c);
                if (c->path)
                        mam_reader_note(rd, make_label(c));
                if (c->label)
                        check_conflicts(rd, parent, i, l);
                else
                        mam_route_list_drop_last(l);
        }
}

int mam_config_make_routes(MamRouteList **ret, const char *const *prefixes) {
        _cleanup_(mam_route_list_unrefp) MamRouteList *l = calloc(1, sizeof(*l));
        size_t n = 0;
        int r;

        assert(ret);
        assert(prefixes);

        if (!l)
                return -ENOMEM;
        l->n_ref = 1;
        while (prefixes[n])
                n++;
        l->routes = calloc(n + 1, sizeof(*l->routes));
        if (!l->routes)
                return -ENOMEM;
        for (; l->n < n; l->n++) {
                MamRouteConfig *c = &l->routes[l->n];

                *c = (MamRouteConfig){ .is_prefix = true, .retries = -1, .path = strdup(prefixes[l->n]) };
                r = c->path ? make_label(c) : -ENOMEM;
                if (r < 0) {
                        l->n++; /* for unref */
                        return r;
                }
        }
        *ret = MAM_TAKE(l);
        return 0;
}
