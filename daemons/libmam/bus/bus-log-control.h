/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * org.freedesktop.LogControl1
 *
 * Reads and changes a daemon's log level while it runs: `systemctl log-level mam-manager.service debug`,
 * `systemctl log-level …` to read. LogTarget is "journal" or "console", as it was found at the start, and
 * cannot be changed.
 */

#include <systemd/sd-bus.h>

/* identifier: a literal, as given to mam_log_open(). The slot is the caller's; NULL: it lives as long as the
 * bus. */
int mam_log_control_export(sd_bus *bus, sd_bus_slot **ret, const char *identifier);
