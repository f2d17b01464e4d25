/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * May they: the decision alone (pure)
 *
 * In this order, each of which can refuse:
 *
 * 1. A route for everybody permits. All others need somebody who is known, unless "auth.required" is false
 *    and the route asks for nothing.
 * 2. A service of this host must be permitted the call by "callers"; in its own name it needs nothing else.
 * 3. Roles: those that the route asks for; where it asks for none and "auth.roles" is given, one of the
 *    caller's roles must have a permission that covers the request. A role held in a project counts for
 *    permissions whose pattern has "{project}", where the path names that project. "admin" may everything.
 * 4. Scopes: all that the route asks for; and where "auth.scopes" is given and the credential has scopes,
 *    one of those must cover the request.
 */

#include "api-gateway/caller.h"
#include "libmam/config/gateway-auth.h"

typedef struct AccessQuestion {
        const Caller *caller;
        const MamRouteAuth *route; /* or NULL */
        const char *service;       /* whose route it is */
        const char *method;
        const char *path; /* as sent, without query */
        size_t path_size;
} AccessQuestion;

/* 200, 401 or 403; with the last two *ret_reason (a literal) says why. */
unsigned access_policy_decide(
                const MamGatewayAuth *auth,
                const MamGatewayCallers *callers,
                const AccessQuestion *q,
                const char **ret_reason);
