/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/fields.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/route-policy.h"
#include "libmam/obs/trace.h"
#include "libmam/service/service.h"
#include "libmam/util/macro.h"

#define TRACESTATE_MAX 4096U

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

/* What the vendors of a trace say of it may come in several fields, which are one list (RFC 9110, section
 * 5.3). All of it, or nothing. */
static MamHttpRange gather_tracestate(const MamHttpHead *head, char ret[static TRACESTATE_MAX]) {
        MamHttpRange all = { 0 };

        for (size_t i = 0; i < head->n_fields; i++) {
                const MamHttpField *f = &head->fields[i];

                if (f->name.size != 10 || f->value.size == 0 || !name_is(f, "tracestate"))
                        continue;
                if (!all.data) {
                        all = f->value;
                        continue;
                }
                if (all.size + f->value.size + 1 > TRACESTATE_MAX)
                        return (MamHttpRange){ 0 };
                memmove(ret, all.data, all.size);
                ret[all.size] = ',';
                memcpy(ret + all.size + 1, f->value.data, f->value.size);
                all = (MamHttpRange){ ret, all.size + 1 + f->value.size };
        }
        return all;
}

static int add_trace(MamHttpCall *call, MamHttpExchange *x, const MamTrace *span) {
        char text[MAM_TRACEPARENT_SIZE], list[TRACESTATE_MAX];
        MamHttpRange state;
        MamTrace parent;
        int r;

        /* The exchange's span is a child of the client's; the replica makes a child of it. */
        mam_trace_format(text, span ? span : mam_http_exchange_trace(x));
        r = mam_http_call_add_legal_field(
                        call,
                        NAME("traceparent"),
                        (MamHttpRange){ text, MAM_TRACEPARENT_SIZE - 1 });
        if (r < 0)
                return r;

        state = gather_tracestate(mam_http_exchange_head(x), list);
        if (state.size > 0 && mam_http_exchange_parent(x, &parent) &&
            mam_tracestate_is_valid(state.data, state.size))
                return mam_http_call_add_legal_field(call, NAME("tracestate"), state);
        return 0;
}

int fields_add_for_upstream(
                MamHttpCall *call,
                MamHttpExchange *x,
                const char *scheme,
                const Caller *caller,
                const Route *route,
                const MamTrace *span) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        const char *address = mam_http_exchange_address(x);
        char forwarded[512];
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
                r = mam_http_call_add_fields(call, &caller->fields, caller->n_fields);
        if (r >= 0 && route)
                r = route_add_request_fields(route, call);
        return r;
}
