/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What lasts: bounds that server-sent events and WebSocket share
 */

#include "event-bus/api.h"

#define STREAM_WINDOW (64U * 1024U) /* bytes of events that are under way to one reader, about */
#define STREAM_FIRST  8U            /* events, before their size is known */

/* How many events may come next, after n of so many bytes. */
unsigned api_stream_window(size_t n, size_t bytes);

int api_sse_start(ApiRequest *q);
void api_sse_ping(ApiRequest *q, bool is_waiting);
/* detail is a literal without quotes. */
void api_sse_fail(ApiRequest *q, const char *error, const char *detail);
