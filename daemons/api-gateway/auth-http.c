/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /auth/token, /auth/revoke, /auth/introspect, /auth/sessions
 */

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/auth-internal.h"

#define SESSIONS "/auth/sessions"

static AuthRequest *request_free(AuthRequest *q) {
        if (!q)
                return NULL;

        caller_unref(q->caller);
        free(q->scopes);
        free(q);
        return NULL;
}

void auth_request_settle(AuthRequest *q) {
        q->waiting = false;
        if (!q->x)
                request_free(q);
}

static void on_exchange_done(MamHttpExchange *x, void *userdata) {
        AuthRequest *q = userdata;

        q->x = NULL;
        if (!q->waiting)
                request_free(q);
}

uint64_t auth_now_sec(void) {
        return mam_now_realtime() / MAM_USEC_PER_SEC;
}

int auth_put(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

int auth_answer(AuthRequest *q, unsigned status, json_object *o) {
        _cleanup_(json_object_putp) json_object *owned = o;
        const char *text = mam_json_to_string(owned);

        if (!q->x)
                return 0;
        if (!text)
                return -ENOMEM;
        /* RFC 6749, section 5.1 */
        (void) mam_http_exchange_add_field(q->x, "Cache-Control", "no-store");
        return mam_http_exchange_respond(q->x, status, "application/json", text, strlen(text));
}

int auth_error(AuthRequest *q, unsigned status, const char *error, const char *description) {
        json_object *o = json_object_new_object();
        int r;

        if (!o)
                return -ENOMEM;
        r = auth_put(o, "error", json_object_new_string(error));
        if (r >= 0)
                r = auth_put(o, "error_description", json_object_new_string(description));
        if (r < 0) {
                json_object_put(o);
                return r;
        }
        if (status == 401 && q->x)
                (void) mam_http_exchange_add_field(q->x, "WWW-Authenticate", "Basic realm=\"mam\"");
        return auth_answer(q, status, o);
}

int auth_unavailable(AuthRequest *q) {
        if (!q->x)
                return 0;
        (void) mam_http_exchange_add_field(q->x, "Retry-After", "1");
        return mam_http_exchange_problem(q->x, 503, NULL, "Sessions cannot be kept or ended at the moment");
}

int auth_asked(AuthRequest *q, int r) {
        if (r == -ENOMEM || r == -EINVAL)
                return r;
        if (r < 0)
                return auth_unavailable(q);
        q->waiting = true;
        return 0;
}

/* ---- requests ---- */

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        _cleanup_(oauth_form_done) OauthForm form = { 0 };
        AuthRequest *q = userdata;
        int r;

        if (error < 0)
                return 0;
        r = oauth_form_parse(&form, data, size);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return auth_error(
                                q,
                                400,
                                "invalid_request",
                                "The body is not a form in which each parameter is given once");
        return q->handle(q, &form);
}

static bool is_form(MamHttpExchange *x) {
        static const char type[] = "application/x-www-form-urlencoded";
        const char *value = mam_http_exchange_header(x, "Content-Type");
        size_t n = sizeof(type) - 1;

        return value && strncasecmp(value, type, n) == 0 &&
               (value[n] == '\0' || value[n] == ';' || value[n] == ' ');
}

static int request_new(AuthRequest **ret, Access *a, MamHttpExchange *x) {
        AuthRequest *q = calloc(1, sizeof(*q));

        if (!q)
                return -ENOMEM;
        q->access = a;
        q->x = x;
        mam_http_exchange_set_on_done(x, on_exchange_done, q);
        *ret = q;
        return 0;
}

static int wrong_method(MamHttpExchange *x, const char *allow) {
        (void) mam_http_exchange_add_field(x, "Allow", allow);
        return mam_http_exchange_problem(x, 405, NULL, "This resource allows %s", allow);
}

static int take_form(Access *a, MamHttpExchange *x, int (*handle)(AuthRequest *q, const OauthForm *form)) {
        AuthRequest *q = NULL;
        int r;

        if (strcmp(mam_http_exchange_method(x), "POST") != 0)
                return wrong_method(x, "POST");
        if (!is_form(x))
                return mam_http_exchange_problem(
                                x,
                                415,
                                NULL,
                                "The body must be application/x-www-form-urlencoded");
        r = request_new(&q, a, x);
        if (r < 0)
                return r;
        q->handle = handle;
        return mam_http_exchange_read_body(x, OAUTH_FORM_SIZE_MAX, on_body, q);
}

/* Somebody who is known, in the own name: 1; 0: answered. */
static int need_caller(Access *a, MamHttpExchange *x, Caller **ret) {
        _cleanup_(caller_unrefp) Caller *c = NULL;
        int r;

        r = access_identify(a, x, &c);
        if (r <= 0)
                return r;
        if (!c->identity.authenticated) {
                r = access_refuse_nobody(x, false);
                return r < 0 ? r : 0;
        }
        *ret = MAM_TAKE(c);
        return 1;
}

static int take_sessions(Access *a, MamHttpExchange *x, const char *id) {
        const char *method = mam_http_exchange_method(x);
        _cleanup_(caller_unrefp) Caller *c = NULL;
        bool get = strcmp(method, "GET") == 0;
        AuthRequest *q = NULL;
        int r;

        if (strcmp(method, "DELETE") != 0 && (!get || id))
                return wrong_method(x, id ? "DELETE" : "GET, DELETE");
        if (id && (strlen(id) != SESSION_ID_SIZE || strspn(id, "0123456789abcdef") != SESSION_ID_SIZE))
                return mam_http_exchange_problem(x, 404, NULL, "There is no such session");
        r = need_caller(a, x, &c);
        if (r <= 0)
                return r;
        r = request_new(&q, a, x);
        if (r < 0)
                return r;
        q->caller = MAM_TAKE(c);
        return get ? auth_list_sessions(q) : auth_end_sessions(q, id);
}

int access_on_request(Access *a, MamHttpExchange *x) {
        const char *path;
        int r;

        assert(a);
        assert(x);

        if (mam_http_exchange_head(x)->path.size < 6 ||
            memcmp(mam_http_exchange_head(x)->path.data, "/auth/", 6) != 0 || !a->config->auth.tokens)
                return 1;
        path = mam_http_exchange_path(x);
        if (strcmp(path, "/auth/token") == 0)
                r = take_form(a, x, auth_handle_token);
        else if (strcmp(path, "/auth/revoke") == 0)
                r = take_form(a, x, auth_handle_revoke);
        else if (strcmp(path, "/auth/introspect") == 0)
                r = take_form(a, x, auth_handle_introspect);
        else if (strcmp(path, SESSIONS) == 0)
                r = take_sessions(a, x, NULL);
        else if (strncmp(path, SESSIONS "/", sizeof(SESSIONS)) == 0)
                r = take_sessions(a, x, path + sizeof(SESSIONS));
        else
                return 1; /* a route may have it */
        return r < 0 ? r : 0;
}
