/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What receivers were told, over restarts
 *
 * A file that is written whole or not at all. Without it a restart would tell everything again and, worse,
 * never say that what ended meanwhile is over. Receivers are kept as a hash of their URL, which is often a
 * secret.
 */

#include "alerts/sender.h"
#include "alerts/table.h"

#define STORE_MAX ((size_t) 16 * 1024 * 1024)

/* The sender has its receivers already; what is stored of others is forgotten. -ENOENT: no file; -EBADMSG:
 * not ours, and nothing is taken. */
int store_load(AlertTable *t, const Sender *s, const char *path, uint64_t now_usec);
int store_save(const AlertTable *t, const Sender *s, const char *path);
