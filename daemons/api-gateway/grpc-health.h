/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * grpc.health.v1.Health, for probes that speak gRPC (over HTTP/2)
 *
 * The service "" is the gateway itself, and everybody may ask for it. Any other is one that the gateway
 * forwards to, by its id: SERVING while a replica is ready; only for who shows who asks. Check answers once,
 * Watch at each change until the client leaves or the gateway is about to.
 */

#include <sys/queue.h>

#include "libmam/http/http-server.h"
#include "libmam/util/macro.h"

typedef struct Gateway Gateway;
typedef struct GrpcHealth GrpcHealth;

#define GRPC_HEALTH_WATCHERS_MAX 256U

int grpc_health_new(GrpcHealth **ret, Gateway *g);
GrpcHealth *grpc_health_free(GrpcHealth *h);
MAM_DEFINE_CLEANUP(GrpcHealth, grpc_health_free);

/* A stage of the gateway's chain, before routes. 1: not for it; 0: taken over; <0: an error. */
int grpc_health_on_request(GrpcHealth *h, MamHttpExchange *x);
/* Endpoints are different now: tells who watches. */
void grpc_health_changed(GrpcHealth *h);

/* The name in a HealthCheckRequest as it comes: one message of gRPC with its prefix. 0; -EBADMSG: it is not;
 * -EOPNOTSUPP: it is compressed; -ENOBUFS: the name is longer than size. */
int grpc_health_parse(const char *data, size_t data_size, char *ret_service, size_t size);
