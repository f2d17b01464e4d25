/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asking for a password on the terminal
 *
 * polkit asks an authentication agent. Desktops run one; on a plain terminal mamctl runs pkttyagent for
 * itself as long as it lives.
 */

#include <sys/types.h>

typedef struct PolkitAgent {
        pid_t pid; /* 0: none */
} PolkitAgent;

/* Starts one and waits until it is registered. Does nothing without a terminal, as root, or where pkttyagent
 * is not installed: then polkit's own answer decides. Calling it again does nothing. */
void polkit_agent_start(PolkitAgent *a);
void polkit_agent_stop(PolkitAgent *a);
