/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reading for those inside of the log who follow: heads of many topics at once, and pages of a topic that
 * may not have become another one of the same name
 */

#include "event-bus/log/log.h"

typedef struct LogHead {
        const char *topic;
        int64_t id; /* 0: there is no such topic */
        int64_t first, last;
        int error; /* first and last are not known */
} LogHead;

/* heads: one for each topic that was asked for, in this order; borrowed during the callback. */
typedef void (*LogHeadsCallback)(int r, const LogHead *heads, size_t n, void *userdata);
/* One query for all of them (and one command for each volatile one). */
int log_heads(Log *l,
              LogCall **ret,
              const char *const *topics,
              size_t n,
              LogHeadsCallback callback,
              void *userdata);

/* As log_read(). id: -ENOENT when the topic of this name is another one; 0: any. */
int log_read_pinned(
                Log *l,
                LogCall **ret,
                const char *topic,
                int64_t id,
                const LogRange *range,
                LogReadCallback callback,
                void *userdata);
