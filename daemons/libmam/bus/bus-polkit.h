/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asking polkit, without waiting
 *
 * A handler calls mam_polkit_check() after it has read and validated its message and before it changes
 * anything. The first time the question goes to polkitd and the handler returns 1 at once ("parked"); when
 * the answer is there, sd-bus runs the same handler on the same message again, and the check returns what
 * polkit said. So everything above the check happens twice.
 *
 * A sender has at most MAM_POLKIT_CHECKS_PER_SENDER open questions, all together MAM_POLKIT_CHECKS_MAX.
 * Where there is no polkit, root may do everything and others nothing. polkit answers about others'
 * processes, and takes details, only from root and from the owner of the action: each action needs the
 * annotation org.freedesktop.policykit.owner.
 */

#include <systemd/sd-bus.h>

#include "libmam/util/macro.h"

typedef struct MamPolkit MamPolkit;

#define MAM_POLKIT_CHECKS_PER_SENDER 8U
#define MAM_POLKIT_CHECKS_MAX        128U

int mam_polkit_new(MamPolkit **ret, sd_bus *bus);
/* Open questions are withdrawn; their callers are told "cancelled". */
MamPolkit *mam_polkit_free(MamPolkit *p);
MAM_DEFINE_CLEANUP(MamPolkit, mam_polkit_free);

/* details: NULL-terminated key, value, key, value … shown to polkit's rules and agents, or NULL. All strings
 * are copied. 1: allowed, go on. 0: parked, return 1. <0: return it, *error is set: AccessDenied,
 * InteractiveAuthorizationRequired, Quota. */
int mam_polkit_check(
                MamPolkit *p,
                sd_bus_message *message,
                const char *action,
                const char *const *details,
                sd_bus_error *error);
