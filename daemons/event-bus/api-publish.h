/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Publishing, as HTTP and WebSocket share it
 */

#include "event-bus/api.h"

/* Why events are not taken. */
typedef struct PublishProblem {
        unsigned status;    /* of HTTP; 0: an errno */
        const char *reason; /* for metrics */
        char pointer[300], detail[400];
        uint64_t retry_usec;
} PublishProblem;

void publish_events_free(MamEvent **events, size_t n);
/* Size, schema and quota. 0, -EBADMSG with *p, or another errno with p->status 0. */
int publish_check(
                App *app,
                const TopicInfo *t,
                const char *publisher,
                MamEvent **events,
                size_t n,
                bool batch,
                PublishProblem *p);
/* trace: for those that have none, or NULL. As log_append(). */
int publish_append(
                App *app,
                LogCall **ret,
                const TopicInfo *t,
                MamEvent *const *events,
                size_t n,
                const char *stream,
                int64_t expected,
                const char *trace,
                LogAppendCallback callback,
                void *userdata);
bool publish_stream_is_valid(const char *name);
