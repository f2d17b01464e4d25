/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reading a topic without a subscription: what pages, server-sent events and WebSocket share
 */

#include "event-bus/api.h"

/* The same of all ways: "after", "from" and Last-Event-ID, with from=latest where nothing is said and it
 * lasts, else from=earliest. false: answered. */
bool read_place(ApiRequest *q, bool lasts, Place *ret);
/* Whether an event is wanted; one that cannot be read again is not held back. */
bool read_matches(const Filter *f, const LogEvent *e);
/* 410: what was behind the cursor was dropped. */
int read_answer_gone(ApiRequest *q, int64_t topic, int64_t first);

/* Both take over the request once the place is known; filter is taken. */
int read_sse(ApiRequest *q, const TopicInfo *t, int64_t first_wanted, Filter *filter);
int read_websocket(ApiRequest *q, const TopicInfo *t, int64_t first_wanted, Filter *filter);
