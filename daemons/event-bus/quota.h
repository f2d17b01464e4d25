/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Quotas: how many events a second one publisher may put into one topic, at this replica
 *
 * Token buckets that hold one second's worth, kept for pairs that published lately: at most QUOTAS_MAX; the
 * one that was used longest ago makes room, and is full by then as a rule. Pure: "now" is handed in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/macro.h"

#define QUOTAS_MAX 4096U

typedef struct Quotas Quotas;

int quotas_new(Quotas **ret);
Quotas *quotas_free(Quotas *q);
MAM_DEFINE_CLEANUP(Quotas, quotas_free);
/* Takes n events of a bucket that gets rate of them a second. A batch of more than that is taken from a full
 * bucket, and owed. 0: taken; else how long to wait before it may go, in microseconds. Where there is no
 * memory for another bucket, nothing is held back. */
uint64_t quotas_take(
                Quotas *q,
                const char *publisher,
                int64_t topic,
                uint64_t rate,
                unsigned n,
                uint64_t now_usec);
