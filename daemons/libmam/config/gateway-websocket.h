/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What lasts at the gateway: "gateway.websocket" of microservices.json
 */

#include <stdint.h>

typedef struct MamGatewayWebsocket {
        uint32_t max;            /* "max": WebSockets of one gateway; default 10,000; beyond: 503 */
        uint32_t max_per_caller; /* "maxPerCaller": of those of one subject, or of one address where nobody
                                    is known; default 100; beyond: 429 */
        uint64_t idle_usec;      /* "idleTimeout": without a byte either way, also of streams of events;
                                    default 10 min */
} MamGatewayWebsocket;

/* All defaults, for who has no configuration. */
void mam_gateway_websocket_init(MamGatewayWebsocket *c);
