/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Plain libpq, for comparison: one prepared statement per batch, which locks a head row, inserts the events
 * and leaves out those whose (source, id) is there; without segments, windows, streams or rooms
 */

#include <stdint.h>

/* Events per second, committed, with two batches under way on each connection (one, where a batch is one
 * event). */
double raw_append(
                const char *conninfo,
                const char *text,
                unsigned batch,
                unsigned connections,
                uint64_t usec);
void raw_execute(const char *conninfo, const char *statement);
