/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The gateway's port for TLS
 *
 * Certificates are in /etc/mam/tls (or $MAM_TLS_DIR), policy is gateway.tls of the configuration, the secret
 * of session tickets is the credential tls.tickets, which all gateways of a host share. Both may change
 * while connections are open. While there is no usable certificate the sockets are held and not served, and
 * it is tried again; the plain port does not wait for it.
 */

#include "libmam/config/gateway.h"
#include "libmam/http/http-tls.h"
#include "libmam/obs/metrics.h"

typedef struct TlsPort TlsPort;

int tls_port_new(TlsPort **ret, sd_event *event, MamHttpServer *server, MamMetrics *metrics);
TlsPort *tls_port_free(TlsPort *t);
MAM_DEFINE_CLEANUP(TlsPort, tls_port_free);

/* Takes over a listening socket on success, and serves it as soon as there is a certificate. -ENOBUFS: too
 * many.
 */
int tls_port_add(TlsPort *t, int fd, const MamHttpListenOptions *options);
/* What is wrong with it is logged, and what was in use stays. -ENOMEM. */
int tls_port_configure(TlsPort *t, const MamGatewayTls *config);
