/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Access: who asks, and may they
 *
 * The stage of the gateway between the choice of a route and its limits. It never waits: what it needs to
 * know (keys, API keys, sessions that were ended) is brought to it in the background.
 *
 * Who asks is shown by one of: a bearer token (mam's own or of an issuer that is configured), an API key
 * (X-API-Key, or as a bearer token), or, where there is neither, a client certificate that is configured, or
 * the kernel's word on a service of this host at /run/mam/gateway.sock. A service may show a token besides:
 * then it acts for somebody, and both must be permitted. More than one credential, or one that does not
 * hold, is 401 whatever the route asks for.
 */

#include <systemd/sd-event.h>

#include "api-gateway/caller.h"
#include "libmam/cache/redis.h"
#include "libmam/config/gateway-auth.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"

typedef struct Access Access;
typedef struct MamGatewayConfig MamGatewayConfig;

/* mam's own keys are read from the file that MAM_JWKS names. */
int access_new(Access **ret, sd_event *event, MamMetrics *metrics);
Access *access_free(Access *a);
MAM_DEFINE_CLEANUP(Access, access_free);
/* Reads the credentials, and begins to follow what the manager tells of API keys and other gateways of what
 * was revoked. redis: for commands; borrowed, must outlive it; NULL: there are no sessions, and nothing can
 * be revoked. */
int access_start(Access *a, MamRedis *redis);
/* The gateway's own endpoints: /auth/token, /auth/revoke, /auth/introspect, /auth/sessions. 0: taken; 1: the
 * path is another one; <0: an error. */
int access_on_request(Access *a, MamHttpExchange *x);
/* Takes another reference. Key sets of issuers that stay are kept; who was remembered is asked anew. On an
 * error the configuration before stands. */
int access_configure(Access *a, MamGatewayConfig *config);

/* Who sends this request. 1: *ret is a reference (somebody, or CALLER_NOBODY); 0: answered (401; 503 while
 * the keys of an issuer are being fetched); <0: an error. */
int access_identify(Access *a, MamHttpExchange *x, Caller **ret);
/* Whether this caller may do this: for subrequests too. auth: the route's, or NULL. service: whose route it
 * is. path: as sent, without query. 200: yes; 401 or 403: what to answer, and *ret_reason (a literal) says
 * why. */
unsigned access_authorize(
                Access *a,
                const MamRouteAuth *auth,
                const Caller *c,
                const char *service,
                const char *method,
                const char *path,
                size_t path_size,
                const char **ret_reason);
/* Whether who was admitted once would be known still: the token has not expired, and neither it nor its
 * session nor the API key was revoked. For what lasts. */
bool access_still_stands(const Access *a, const Caller *c, uint64_t realtime_usec);
/* Both, for a request on a route to a service. 1: go on, *ret is a reference; 0: answered (401, 403, 503);
 * <0: an error. */
int access_admit(Access *a, const MamRouteAuth *auth, const char *service, MamHttpExchange *x, Caller **ret);

/* For tests: who asks is what this says, instead of what the request shows. */
void access_set_identity(Access *a, const MamIdentity *(*identity)(MamHttpExchange *x));
