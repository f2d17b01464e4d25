/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/access-policy.h"

#include <string.h>

#define ADMIN "admin"

static int hex_value(char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
}

/* Whether a segment as sent means this text: services decode segments one by one. */
static bool segment_is(const char *segment, size_t size, const char *text) {
        for (size_t i = 0; i < size; i++, text++) {
                char c = segment[i];

                if (c == '%') {
                        int high = i + 2 < size ? hex_value(segment[i + 1]) : -1;
                        int low = i + 2 < size ? hex_value(segment[i + 2]) : -1;

                        if (high < 0 || low < 0)
                                return false;
                        c = (char) (high << 4 | low);
                        i += 2;
                }
                if (c == '\0' || c != *text)
                        return false;
        }
        return *text == '\0';
}

static const MamGrant *find_grant(const MamGrant *grants, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(grants[i].name, name) == 0)
                        return &grants[i];
        return NULL;
}

/* project: NULL: held everywhere. */
static bool grant_covers(const MamGrant *g, const AccessQuestion *q, uint32_t bit, const char *project) {
        const char *named;
        size_t size;

        for (size_t i = 0; g && i < g->n_permissions; i++) {
                const MamPermission *p = &g->permissions[i];

                if (p->service && strcmp(p->service, q->service) != 0)
                        continue;
                if (!mam_permission_covers(p, bit, q->path, q->path_size, &named, &size))
                        continue;
                if (!project || (named && segment_is(named, size, project)))
                        return true;
        }
        return false;
}

static bool roles_cover(const MamGatewayAuth *auth, const AccessQuestion *q, uint32_t bit) {
        const Caller *c = q->caller;

        if (caller_has_role(c, ADMIN))
                return true;
        for (size_t i = 0; i < c->identity.n_roles; i++)
                if (grant_covers(find_grant(auth->roles, auth->n_roles, c->identity.roles[i]), q, bit, NULL))
                        return true;
        for (size_t i = 0; i < c->n_projects; i++)
                if (grant_covers(find_grant(auth->roles, auth->n_roles, c->projects[i].role),
                                 q,
                                 bit,
                                 c->projects[i].project))
                        return true;
        return false;
}

static bool scopes_cover(const MamGatewayAuth *auth, const AccessQuestion *q, uint32_t bit) {
        for (size_t i = 0; i < q->caller->n_scopes; i++)
                if (grant_covers(find_grant(auth->scopes, auth->n_scopes, q->caller->scopes[i]),
                                 q,
                                 bit,
                                 NULL))
                        return true;
        return false;
}

static bool has_one(const Caller *c, char *const *roles) {
        for (; *roles; roles++)
                if (caller_has_role(c, *roles))
                        return true;
        return false;
}

static bool has_all(const Caller *c, char *const *scopes) {
        for (; *scopes; scopes++)
                if (!caller_has_scope(c, *scopes))
                        return false;
        return true;
}

unsigned access_policy_decide(
                const MamGatewayAuth *auth,
                const MamGatewayCallers *callers,
                const AccessQuestion *q,
                const char **ret_reason) {
        static const MamRouteAuth plain = { 0 };
        const MamRouteAuth *route = q->route ? q->route : &plain;
        const Caller *c = q->caller;
        uint32_t bit;

        if (route->anonymous)
                return 200;
        if (c->kind == CALLER_NOBODY) {
                if (!auth->required && !route->roles && !route->scopes && auth->n_roles == 0)
                        return 200;
                *ret_reason = "An access token is needed";
                return 401;
        }
        bit = c->service || auth->n_roles > 0 || auth->n_scopes > 0 ? mam_auth_method_bit(q->method) : 0;
        if (c->service) {
                if (!grant_covers(find_grant(callers->services, callers->n_services, c->service),
                                  q,
                                  bit,
                                  NULL)) {
                        *ret_reason = "This service may not call that one";
                        return 403;
                }
                if (c->kind == CALLER_SERVICE)
                        return 200;
        }
        if (route->roles ? !has_one(c, route->roles) : auth->n_roles > 0 && !roles_cover(auth, q, bit)) {
                *ret_reason = "No role of the caller permits this";
                return 403;
        }
        if ((route->scopes && !has_all(c, route->scopes)) ||
            (auth->n_scopes > 0 && c->scoped && !scopes_cover(auth, q, bit))) {
                *ret_reason = "The credential's scopes do not cover this";
                return 403;
        }
        return 200;
}
