/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a gateway does now, for `mamctl gateway`
 *
 * One JSON document over the replica socket, for root and the manager's user alone:
 *   {"generation":G,"started_usec":T,
 *    "routes":[{"route":LABEL,"service":ID,"requests":N,"errors":N,"refused":N,"duration_usec":N,"bytes":N,
 *               "marks":["maintenance",…]}],
 *    "upstreams":[{"service":ID,"protocol":"native","waiting":N,"unserved":N,"open":false,
 *                  "endpoints":[{"replica":ID,"state":"ready","in_flight":N,"limit":N,"cost_usec":N,
 *                                "out":false,"requests":N,"errors":N}]}]}
 */

#include "api-gateway/gateway.h"
#include "libmam/util/buffer.h"

#define STATUS_PATH "/status"

/* Appends the document. -ENOMEM. */
int status_format(const Gateway *g, MamBuffer *b, uint64_t now_usec);
/* The path /status. allowed: who asks is root or the manager; for everybody else it is a path like others.
 */
int gateway_on_status(MamHttpExchange *x, Gateway *g, bool allowed);
