/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/payload.h"

#include <assert.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/time.h"

#define VERSION  "4"
#define RECEIVER "mam"
#define NEVER    "0001-01-01T00:00:00Z"

/* value is taken in any case. */
static int add(json_object *o, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int add_string(json_object *o, const char *key, const char *value) {
        return add(o, key, json_object_new_string(value));
}

static int add_time(json_object *o, const char *key, uint64_t usec) {
        char text[40];

        mam_format_rfc3339(text, usec);
        return add_string(o, key, usec == 0 ? NEVER : text);
}

/* An object that holds what is given here and is not "". */
static int add_labels(json_object *o, const char *key, const char *const (*pairs)[2], size_t n) {
        _cleanup_(json_object_putp) json_object *labels = json_object_new_object();
        int r = labels ? 0 : -ENOMEM;

        for (size_t i = 0; i < n && r >= 0; i++) {
                if (pairs[i][1] && *pairs[i][1])
                        r = add_string(labels, pairs[i][0], pairs[i][1]);
        }
        return r < 0 ? r : add(o, key, MAM_TAKE(labels));
}

static int alert_format(json_object *list, const AlertGroup *g, const Alert *a) {
        const char *const labels[][2] = {
                { "alertname", a->name },
                { "replica", a->replica },
                { "service", g->service },
                { "severity", a->severity },
        };
        const char *const annotations[][2] = { { "summary", a->summary } };
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        if (!o)
                return -ENOMEM;
        r = add_string(o, "status", a->ended_usec == 0 ? "firing" : "resolved");
        if (r >= 0)
                r = add_labels(o, "labels", labels, MAM_ELEMENTSOF(labels));
        if (r >= 0)
                r = add_labels(o, "annotations", annotations, MAM_ELEMENTSOF(annotations));
        if (r >= 0)
                r = add_time(o, "startsAt", a->started_usec);
        if (r >= 0)
                r = add_time(o, "endsAt", a->ended_usec);
        if (r >= 0)
                r = add_string(o, "generatorURL", "");
        if (r >= 0)
                r = add_string(o, "fingerprint", a->fingerprint);
        if (r < 0)
                return r;
        if (json_object_array_add(list, o) < 0)
                return -ENOMEM;
        (void) MAM_TAKE(o);
        return 0;
}

/* Firing ones first: if not all fit, those that are over are the smaller loss. */
static int add_alerts(json_object *o, const AlertGroup *g, unsigned slot) {
        _cleanup_(json_object_putp) json_object *list = json_object_new_array();
        unsigned n = 0, truncated = 0;
        const Alert *a;
        int r;

        if (!list)
                return -ENOMEM;
        for (int firing = 1; firing >= 0; firing--) {
                TAILQ_FOREACH(a, &g->alerts, alerts) {
                        if ((a->ended_usec == 0) != firing || !alert_is_for(a, slot))
                                continue;
                        if (n >= PAYLOAD_ALERTS_MAX) {
                                truncated++;
                                continue;
                        }
                        r = alert_format(list, g, a);
                        if (r < 0)
                                return r;
                        n++;
                }
        }
        r = add(o, "truncatedAlerts", json_object_new_int64(truncated));
        return r < 0 ? r : add(o, "alerts", MAM_TAKE(list));
}

/* What all alerts of the message have alike; "" where they differ. */
static void narrow(const char **common, const char *value) {
        if (!*common) {
                *common = value;
        } else if (strcmp(*common, value) != 0) {
                *common = "";
        }
}

typedef struct Common {
        const char *name, *severity, *replica, *summary; /* borrowed */
        bool fires;                                      /* at least one does */
} Common;

static Common find_common(const AlertGroup *g, unsigned slot) {
        Common c = { 0 };
        const Alert *a;

        TAILQ_FOREACH(a, &g->alerts, alerts) {
                if (!alert_is_for(a, slot))
                        continue;
                c.fires |= a->ended_usec == 0;
                narrow(&c.name, a->name);
                narrow(&c.severity, a->severity);
                narrow(&c.replica, a->replica);
                narrow(&c.summary, a->summary);
        }
        return c;
}

static int add_common(json_object *o, const AlertGroup *g, unsigned slot) {
        Common c = find_common(g, slot);
        const char *const labels[][2] = {
                { "alertname", c.name },
                { "replica", c.replica },
                { "service", g->service },
                { "severity", c.severity },
        };
        const char *const annotations[][2] = { { "summary", c.summary } };
        int r;

        r = add_string(o, "status", c.fires ? "firing" : "resolved");
        if (r >= 0)
                r = add_labels(o, "commonLabels", labels, MAM_ELEMENTSOF(labels));
        return r < 0 ? r : add_labels(o, "commonAnnotations", annotations, MAM_ELEMENTSOF(annotations));
}

/* As Alertmanager writes it: the route ("{}": there is one only) and the labels of the group. */
static int add_group_key(json_object *o, const char *service) {
        _cleanup_(mam_freep) char *text = NULL;

        if (asprintf(&text, *service ? "{}:{service=\"%s\"}" : "{}:{}%s", service) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return add_string(o, "groupKey", text);
}

int payload_format(char **ret, const AlertGroup *g, unsigned slot) {
        const char *const group_labels[][2] = { { "service", g->service } };
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        const char *text;
        char *copy;
        int r;

        assert(ret);
        assert(g);

        if (!o)
                return -ENOMEM;
        r = add_string(o, "receiver", RECEIVER);
        if (r >= 0)
                r = add_common(o, g, slot);
        if (r >= 0)
                r = add_alerts(o, g, slot);
        if (r >= 0)
                r = add_labels(o, "groupLabels", group_labels, MAM_ELEMENTSOF(group_labels));
        if (r >= 0)
                r = add_string(o, "externalURL", "");
        if (r >= 0)
                r = add_string(o, "version", VERSION);
        if (r >= 0)
                r = add_group_key(o, g->service);
        if (r < 0)
                return r;

        text = mam_json_to_string(o);
        if (!text)
                return -ENOMEM;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;

        *ret = copy;
        return 0;
}
