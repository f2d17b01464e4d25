/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Finding the topic that a request is about, and where in it reading begins
 */

#include <string.h>

#include "event-bus/api.h"

static void on_topic(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "topic"));
                return;
        }
        q->on_topic(q, topic);
}

int api_with_topic(ApiRequest *q, const char *topic, ApiTopic found) {
        const TopicInfo *t = log_topic_cached(q->app->log, topic);

        if (t) {
                found(q, t);
                return 0;
        }
        q->on_topic = found;
        return api_started(q, log_topic_get(q->app->log, &q->log_call, topic, on_topic, q), "topic");
}

static void on_position(int r, int64_t position, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "topic"));
                return;
        }
        q->on_begin(q, q->topic, position);
}

static void on_place_topic(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "topic"));
                return;
        }
        q->topic = topic;
        switch (q->place.kind) {
        case PLACE_EARLIEST:
                q->on_begin(q, topic, topic->first > 0 ? topic->first : 1);
                break;
        case PLACE_LATEST:
                q->on_begin(q, topic, topic->last + 1);
                break;
        case PLACE_POSITION:
                q->on_begin(q, topic, q->place.position > 0 ? q->place.position : 1);
                break;
        case PLACE_CURSOR:
                if (q->place.topic != topic->id)
                        api_answered(q,
                                     api_problem(q,
                                                 400,
                                                 "The cursor is one of another topic: begin with "
                                                 "from=earliest or from=latest"));
                else
                        q->on_begin(q, topic, q->place.position + 1);
                break;
        case PLACE_TIME:
                r = log_position_at(q->app->log, &q->log_call, topic->name, q->place.usec, on_position, q);
                if (r < 0)
                        api_answered(q, api_problem_errno(q, r, "topic"));
                break;
        }
}

int api_resolve(ApiRequest *q, const char *topic, const Place *place, ApiBegin found) {
        q->place = *place;
        q->on_begin = found;
        return api_started(q, log_topic_get(q->app->log, &q->log_call, topic, on_place_topic, q), "topic");
}
