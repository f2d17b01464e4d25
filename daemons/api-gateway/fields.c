/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/fields.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/route-policy.h"
#include "libmam/obs/trace.h"
#include "libmam/service/service.h"
#include "libmam/util/macro.h"

static bool name_is(const MamHttpField *f, const char *name) {
        return mam_http_range_equal_fold(f->name, name);
}

static bool name_begins(const MamHttpField *f, const char *prefix) {
        size_t n = strlen(prefix);

        return f->name.size >= n && strncasecmp(f->name.data, prefix, n) == 0;
}

/* One comparison for most fields: by first letter. */
bool field_is_for_upstream(const MamHttpHead *head, const MamHttpField *f) {
        if (f->name.size == 0)
                return false;
        /* In CGI and its heirs '_' and '-' become the same letter. */
        if (memchr(f->name.data, '_', f->name.size))
                return false;

        switch (f->name.data[0] | 0x20) {
        case 'a':
                if (name_is(f, "Authorization"))
                        return false;
                break;
        case 'c':
                if (name_is(f, "Content-Length")) /* the client of the inner hop frames its own message */
                        return false;
                break;
        case 'e':
                if (name_is(f, "Expect")) /* answered at this hop */
                        return false;
                break;
        case 'f':
                if (name_is(f, "Forwarded"))
                        return false;
                break;
        case 'g':
                if (name_is(f, "grpc-timeout")) /* what is left of it is told instead */
                        return false;
                break;
        case 'h':
                if (name_is(f, "Host") || name_is(f, "HTTP2-Settings"))
                        return false;
                break;
        case 'm':
                if (name_begins(f, "Mam-"))
                        return false;
                break;
        case 'p':
                if (name_is(f, "Proxy")) /* becomes HTTP_PROXY in CGI programs */
                        return false;
                break;
        case 't':
                if (name_is(f, "traceparent") || name_is(f, "tracestate"))
                        return false;
                break;
        case 'x':
                if (name_begins(f, "X-Forwarded-") || name_is(f, "X-Real-IP") ||
                    name_is(f, "X-Request-Id") ||
                    name_is(f, "X-API-Key")) /* a credential, as Authorization */
                        return false;
                break;
        default:
                break;
        }
        return !mam_http_field_is_hop_by_hop(head, f);
}

bool field_is_for_client(const MamHttpHead *head, const MamHttpField *f) {
        if (f->name.size == 0)
                return false;

        switch (f->name.data[0] | 0x20) {
        case 'c':
                if (name_is(f, "Content-Length"))
                        return false;
                break;
        case 'd':
                if (name_is(f, "Date"))
                        return false;
                break;
        case 'm':
                if (name_begins(f, "Mam-"))
                        return false;
                break;
        case 'x':
                if (name_is(f, "X-Request-Id")) /* the server of the outer hop gives its own */
                        return false;
                break;
        default:
                break;
        }
        return !mam_http_field_is_hop_by_hop(head, f);
}

void peer_address(char ret[static 64], const char *peer) {
        const char *end;
        size_t n;

        ret[0] = '\0';
        if (!peer)
                return;
        if (peer[0] == '[') {
                peer++;
                end = strchr(peer, ']');
        } else
                end = strncmp(peer, "unix", 4) == 0 ? NULL : strrchr(peer, ':');
        n = end ? (size_t) (end - peer) : 0;
        if (n == 0 || n >= 64 || strspn(peer, "0123456789abcdefABCDEF.:") < n)
                return;

        memcpy(ret, peer, n);
        ret[n] = '\0';
}

void format_forwarded(char ret[static 512], const char *address, const char *scheme, MamHttpRange host) {
        bool v6 = strchr(address, ':') != NULL, host_is_plain = host.size > 0 && host.size <= 255;
        char *p;

        for (size_t i = 0; i < host.size && host_is_plain; i++)
                host_is_plain = host.data[i] > ' ' && host.data[i] < 0x7f && host.data[i] != '"' &&
                                host.data[i] != '\\';

        /* No printf(): this is done for each request. */
        p = stpcpy(ret, v6 ? "for=\"[" : "for=");
        p = stpcpy(p, address[0] ? address : "unknown");
        p = stpcpy(stpcpy(p, v6 ? "]\";proto=" : ";proto="), scheme);
        if (host_is_plain)
                (void) strcpy(mempcpy(stpcpy(p, ";host=\""), host.data, host.size), "\"");
}

static MamHttpRange text_range(const char *s) {
        return (MamHttpRange){ s, strlen(s) };
}

/* Of a name that is a literal. */
#define NAME(s) ((MamHttpRange){ s, sizeof(s) - 1 })

static int add_identity(MamHttpCall *call, const char *subject, const char *const *roles, size_t n_roles) {
        char list[MAM_IDENTITY_ROLES_MAX * 72], *p = list;
        int r;

        if (!subject) /* nobody, on a route for everybody */
                return 0;
        r = mam_http_call_add_field(call, "Mam-Subject", subject);
        if (r < 0)
                return r;

        *p = '\0';
        for (size_t i = 0; i < n_roles; i++) {
                size_t n = strlen(roles[i]);

                if ((size_t) (list + sizeof(list) - p) < n + 2)
                        break; /* fewer rights, never more */
                if (p != list)
                        *p++ = ',';
                p = stpcpy(p, roles[i]);
        }
        return mam_http_call_add_field(call, "Mam-Roles", list);
}

static int add_trace(MamHttpCall *call, MamHttpExchange *x, const MamTrace *span) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        const MamHttpField *parent, *state;
        char text[MAM_TRACEPARENT_SIZE];
        MamTrace t;
        int r;

        /* The exchange's span is a child of the client's; the replica makes a child of it. */
        mam_trace_format(text, span ? span : mam_http_exchange_trace(x));
        r = mam_http_call_add_legal_field(
                        call,
                        NAME("traceparent"),
                        (MamHttpRange){ text, MAM_TRACEPARENT_SIZE - 1 });
        if (r < 0)
                return r;

        state = mam_http_find(head, "tracestate");
        parent = state ? mam_http_find(head, "traceparent") : NULL;
        if (parent && mam_trace_parse(&t, parent->value.data, parent->value.size) >= 0 &&
            mam_tracestate_is_valid(state->value.data, state->value.size))
                return mam_http_call_add_legal_field(call, NAME("tracestate"), state->value);
        return 0;
}

int fields_add_for_upstream(
                MamHttpCall *call,
                MamHttpExchange *x,
                const char *scheme,
                const char *subject,
                const char *const *roles,
                size_t n_roles,
                const Route *route,
                const MamTrace *span) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        char address[64], forwarded[512];
        int r;

        if (head->host.size > 0) {
                r = mam_http_call_add_field_range(call, NAME("Host"), head->host);
                if (r >= 0)
                        r = mam_http_call_add_legal_field(call, NAME("X-Forwarded-Host"), head->host);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < head->n_fields; i++) {
                if (!field_is_for_upstream(head, &head->fields[i]) ||
                    (route && !route_passes_request_field(route, &head->fields[i])))
                        continue;
                r = mam_http_call_add_legal_field(call, head->fields[i].name, head->fields[i].value);
                if (r < 0)
                        return r;
        }

        peer_address(address, mam_http_exchange_peer(x));
        format_forwarded(forwarded, address, scheme, head->host);
        r = mam_http_call_add_legal_field(call, NAME("Forwarded"), text_range(forwarded));
        if (r >= 0 && address[0])
                r = mam_http_call_add_legal_field(call, NAME("X-Forwarded-For"), text_range(address));
        if (r >= 0)
                r = mam_http_call_add_legal_field(call, NAME("X-Forwarded-Proto"), text_range(scheme));
        if (r >= 0)
                r = mam_http_call_add_legal_field(
                                call,
                                NAME("X-Request-Id"),
                                text_range(mam_http_exchange_request_id(x)));
        if (r >= 0)
                r = add_trace(call, x, span);
        if (r >= 0)
                r = add_identity(call, subject, roles, n_roles);
        if (r >= 0 && route)
                r = route_add_request_fields(route, call);
        return r;
}

int fields_add_scopes(MamHttpCall *call, const Caller *c) {
        char list[CALLER_SCOPES_MAX * 65 + 1], *p = list;

        if (!c || !c->scoped)
                return 0;
        *p = '\0';
        for (size_t i = 0; i < c->n_scopes; i++) {
                size_t n = strlen(c->scopes[i]);

                if ((size_t) (list + sizeof(list) - p) < n + 2)
                        break; /* fewer rights, never more */
                if (p != list)
                        *p++ = ' ';
                p = stpcpy(p, c->scopes[i]);
        }
        return mam_http_call_add_field(call, "Mam-Scopes", list);
}
