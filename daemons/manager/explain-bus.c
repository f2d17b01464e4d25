/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Explain: the records of a service as the answer to a call
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "libmam/util/time.h"
#include "manager/explain.h"
#include "manager/manager-bus.h"
#include "manager/rollout.h"

static int append(sd_bus_message *m, const char *topic, const DecisionRecord *d) {
        int r;

        r = sd_bus_message_open_container(m, 'r', "ssssta{sd}");
        if (r >= 0)
                r = sd_bus_message_append(m, "sssst", topic, d->verdict, d->why, d->change, d->since_usec);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sd}");
        for (uint32_t i = 0; r >= 0 && i < d->n_numbers && i < DECISION_NUMBERS_MAX; i++)
                r = sd_bus_message_append(m, "{sd}", d->numbers[i].name, d->numbers[i].value);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_service(sd_bus_message *m, Service *s) {
        static const struct {
                const char *topic;
                void (*explain)(const Service *s, DecisionRecord *ret);
        } topics[] = { { "health", explain_health }, { "endpoints", explain_endpoints } };
        uint64_t now_usec = mam_now_monotonic();
        char topic[32];
        DecisionRecord d;
        int r;

        explain_state(s, &d);
        r = append(m, "state", &d);
        for (AutoscaleTopic t = 0; r >= 0 && t < _AUTOSCALE_TOPIC_MAX; t++)
                r = append(m, autoscale_topic_to_string(t), autoscale_explain(s, t));
        if (r >= 0) {
                rollout_explain(s, &d);
                r = append(m, "revision", &d);
        }
        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(topics); i++) {
                topics[i].explain(s, &d);
                r = append(m, topics[i].topic, &d);
        }
        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!s->replicas[n] || !explain_replica(s->replicas[n], now_usec, &d))
                        continue;
                snprintf(topic, sizeof(topic), "replica %u", n);
                r = append(m, topic, &d);
        }
        return r;
}

int manager_bus_explain(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        Service *s = NULL;
        const char *id;
        uint64_t flags;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssssta{sd})");
        if (r >= 0)
                r = append_service(reply, s);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
