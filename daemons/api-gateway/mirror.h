/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Mirror: a share of a route's requests goes to another service too
 *
 * A copy of the request, with what identifies the caller and the field "Mam-Mirror: 1", is sent when the
 * request itself is; the answer is read and dropped. The client never waits for it, and it changes nothing
 * of the request's own fate. Bounded: at most MIRROR_CALLS_MAX at once, each for MIRROR_TIMEOUT; what is
 * beyond is not sent. Only requests whose whole body is at hand (up to GATEWAY_BODY_KEPT) have copies. What
 * is sent twice happens twice: the other service must be one where that does no harm.
 */

#include "api-gateway/caller.h"
#include "api-gateway/gateway.h"
#include "libmam/util/buffer.h"

#define MIRROR_CALLS_MAX    64U
#define MIRROR_TIMEOUT_USEC (10 * MAM_USEC_PER_SEC)

/* If it is the turn of this request. body may be empty; target: as for the service itself. */
void mirror_request(
                Gateway *g,
                const Route *route,
                MamHttpExchange *x,
                const Caller *caller,
                const MamBuffer *body,
                const char *target);
/* Cancels all. */
void mirror_done(Gateway *g);
