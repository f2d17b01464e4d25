/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Settling, as it is written in JSON: the same by POST and by WebSocket
 *
 *   {"ack": ["id", …], "nack": ["id", …], "delay": "5s", "reject": ["id", …], "reason": "…",
 *    "extend": [{"ackIds": ["id", …], "delay": "1min"}]}
 *
 * Each of the four is a list of ids, for which delay and reason of the object itself hold, or of objects
 * that bring their own.
 */

#include "event-bus/api.h"

#define SETTLE_MAX 10000U

typedef struct SettleList {
        Settlement *items; /* owned; texts are borrowed from the JSON */
        size_t n, allocated;
        size_t base; /* those before it came with other messages: SETTLE_MAX is about the rest */
} SettleList;

void settle_list_done(SettleList *l);
/* kind: what "ackIds" of the object itself are for, or -1: it has the four members. others: further members
 * that are known, or NULL. -EBADMSG with *e. */
int settle_list_read(SettleList *l, json_object *o, int kind, const char *const *others, MamJsonError *e);
/* {"settled":n,"stale":[…],"invalid":[…] without the closing brace. */
int settle_list_answer(MamBuffer *b, const SettleList *l, const int *results);
