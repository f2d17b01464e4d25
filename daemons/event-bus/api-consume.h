/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Consuming as a member of a group: what pull, server-sent events and WebSocket share
 */

#include "event-bus/api-settle.h"
#include "event-bus/api-stream.h"

/* {"ackId":…,"attempt":…,"position":…,"event":…} */
int consume_append(MamBuffer *b, const Delivered *e);
