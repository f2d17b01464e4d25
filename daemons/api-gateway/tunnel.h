/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Tunnels: WebSockets through the gateway
 *
 * A tunnel is a forward whose client asked for WebSocket and whose replica agreed. From then on bytes go
 * both ways, and their frames are followed (not unmasked): what is no legal frame goes no further, and where
 * the gateway has to end a conversation (it drains, it was silent for too long, the service has gone) it
 * puts a Close of its own between two frames, to both sides, and waits a moment for theirs.
 *
 * Towards the replica it is always HTTP/1, also for a client that came by HTTP/2 (RFC 8441). Other protocols
 * that a client may offer to change to are not agreed on: the request is answered as if it had not offered.
 */

#include "api-gateway/lasting.h"
#include "libmam/http/http-client.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"

typedef struct Tunnel Tunnel;
typedef struct TunnelTable TunnelTable;

/* What all of them share: their limits and their metrics. lasting is borrowed. */
int tunnel_table_new(TunnelTable **ret, LastingTable *lasting, MamMetrics *metrics);
TunnelTable *tunnel_table_free(TunnelTable *t);
MAM_DEFINE_CLEANUP(TunnelTable, tunnel_table_free);

/* The client asks for WebSocket. */
bool tunnel_is_wanted(const MamHttpExchange *x);
/* Answers what can be no tunnel: 400, 426, 429, 503. 1: *ret is one, not open yet, which the caller owns;
 * 0: answered; <0. caller: who it counts for. service is for the metrics; borrowed. */
int tunnel_new(Tunnel **ret, TunnelTable *t, MamHttpExchange *x, uint64_t caller, const char *service);
Tunnel *tunnel_free(Tunnel *t);
MAM_DEFINE_CLEANUP(Tunnel, tunnel_free);

/* What the request to the replica needs; its method is GET. Errors of mam_http_call_*(). */
int tunnel_prepare(Tunnel *t, MamHttpCall *call);
/* Whether a replica's 101 shows that it has read the request. */
bool tunnel_is_agreed(const Tunnel *t, const MamHttpHead *head);
/* Whether a field of the replica's 101 is for the client. */
bool tunnel_passes_field(const Tunnel *t, const MamHttpField *f);
/* The replica has agreed; its fields are added to the exchange, whose body, on_writable and on_drain are the
 * tunnel's from here on. server: for lasting_leave(). Errors of mam_http_exchange_upgrade(). */
int tunnel_open(Tunnel *t, MamHttpCall *call, const MamHttpHead *head, const void *server);
bool tunnel_is_open(const Tunnel *t);
/* It may not go on: 1008 to the client. */
void tunnel_forbid(Tunnel *t);
/* The call's callbacks, once it is open. After _end the call may be freed. */
int tunnel_on_data(Tunnel *t, const char *data, size_t size);
void tunnel_on_writable(Tunnel *t);
void tunnel_on_end(Tunnel *t, int error);
