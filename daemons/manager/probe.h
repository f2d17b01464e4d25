/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Health probes
 *
 * A Probe asks one replica once: HTTP GET of the configured path (2xx is healthy), or what the protocol
 * greets with: PostgreSQL's SSLRequest ("yes" and "no" will both do), a Redis PING (+PONG, or that a
 * password is wanted), or a connection that is accepted. It never waits; on_end runs exactly once unless the
 * probe is freed before.
 */

#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/config/config.h"
#include "libmam/util/macro.h"

typedef struct Probe Probe;

/* error 0: healthy. reason: for people, "" if healthy; borrowed. The probe must be freed later, not from
 * here. */
typedef void (*ProbeHandler)(Probe *p, int error, const char *reason, void *userdata);

/* address: path of a unix socket, or "127.0.0.1:8080". path: of the HTTP request, ignored by others. */
int probe_new(Probe **ret,
              sd_event *event,
              MamProbeType type,
              const char *address,
              const char *path,
              uint64_t timeout_usec,
              ProbeHandler handler,
              void *userdata);
Probe *probe_free(Probe *p);
MAM_DEFINE_CLEANUP(Probe, probe_free);
