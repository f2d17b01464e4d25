/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Alerts: the rules, and what begins and ends
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "libmam/util/time.h"
#include "manager/alerts.h"

/* A start takes some seconds, and systemd brings back what died in less: the for-durations are above that.
 */
const AlertRule alert_rules[_ALERT_NAME_MAX] = {
        [ALERT_SERVICE_DOWN] = { "ServiceDown", "critical", 30 * MAM_USEC_PER_SEC, 5 * MAM_USEC_PER_SEC },
        [ALERT_SERVICE_DEGRADED] = { "ServiceDegraded",
                                     "warning",
                                     60 * MAM_USEC_PER_SEC,
                                     15 * MAM_USEC_PER_SEC },
        [ALERT_REPLICA_CRASH_LOOPING] = { "ReplicaCrashLooping", "warning", 0, 0 },
        [ALERT_REPLICA_OOM_KILLED] = { "ReplicaOOMKilled", "warning", 0, 0 },
        [ALERT_REPLICA_UNHEALTHY] = { "ReplicaUnhealthy",
                                      "warning",
                                      10 * MAM_USEC_PER_SEC,
                                      30 * MAM_USEC_PER_SEC },
        [ALERT_ROLLOUT_REVERTED] = { "RolloutReverted", "warning", 0, 0 },
        [ALERT_SCALING_AT_MAXIMUM] = { "ScalingAtMaximum",
                                       "warning",
                                       300 * MAM_USEC_PER_SEC,
                                       60 * MAM_USEC_PER_SEC },
        [ALERT_CONFIGURATION_INVALID] = { "ConfigurationInvalid", "warning", 0, 0 },
        [ALERT_STATE_NOT_WRITABLE] = { "StateNotWritable", "critical", 0, 0 },
};

void alert_fingerprint(
                char ret[static ALERT_FINGERPRINT_SIZE],
                AlertName name,
                const char *service,
                uint32_t number) {
        char text[96];
        uint64_t h = 14695981039346656037ULL; /* FNV-1a */

        assert(name >= 0 && name < _ALERT_NAME_MAX);

        snprintf(text, sizeof(text), "%s/%s:%" PRIu32, alert_rules[name].name, service, number);
        for (const char *p = text; *p; p++)
                h = (h ^ (unsigned char) *p) * 1099511628211ULL;
        snprintf(ret, ALERT_FINGERPRINT_SIZE, "%016" PRIx64, h);
}

void alert_set_done(AlertSet *set) {
        assert(set);

        free(set->alerts);
        *set = (AlertSet){ .n = 0 };
}

static Alert *find(AlertSet *set, AlertName name, const char *service, uint32_t number) {
        for (size_t i = 0; i < set->n; i++) {
                Alert *a = &set->alerts[i];

                if (a->name == name && a->number == number && strcmp(a->service, service) == 0)
                        return a;
        }
        return NULL;
}

static Alert *add(AlertSet *set) {
        size_t allocated;
        Alert *more;

        if (set->n >= ALERTS_MAX)
                return NULL;
        if (set->n >= set->allocated) {
                allocated = set->allocated > 0 ? set->allocated * 2 : 8;
                more = realloc(set->alerts, allocated * sizeof(*more));
                if (!more)
                        return NULL;
                set->alerts = more;
                set->allocated = allocated;
        }
        return &set->alerts[set->n++];
}

void alert_set_see(
                AlertSet *set,
                AlertName name,
                const char *service,
                uint32_t number,
                const char *summary,
                uint64_t now_usec) {
        Alert *a;

        assert(set);
        assert(service);

        a = find(set, name, service, number);
        if (!a) {
                a = add(set);
                if (!a)
                        return;
                *a = (Alert){ .name = name, .number = number, .since_usec = now_usec };
                snprintf(a->service, sizeof(a->service), "%s", service);
                alert_fingerprint(a->fingerprint, name, service, number);
        }
        a->seen = true;
        a->gone_usec = 0;
        snprintf(a->summary, sizeof(a->summary), "%s", summary);
}

void alert_set_see_service(AlertSet *set, const AlertServiceView *v, uint64_t now_usec) {
        char text[ALERT_SUMMARY_MAX];

        assert(set);
        assert(v);

        if (v->wanted && v->desired > 0 && v->ready < v->desired) {
                snprintf(text,
                         sizeof(text),
                         "%s: %" PRIu32 " of %" PRIu32 " replicas are ready%s%s",
                         v->id,
                         v->ready,
                         v->desired,
                         v->reason && *v->reason ? ": " : "",
                         v->reason ? v->reason : "");
                alert_set_see(set,
                              v->ready == 0 ? ALERT_SERVICE_DOWN : ALERT_SERVICE_DEGRADED,
                              v->id,
                              0,
                              text,
                              now_usec);
        }
        if (v->wanted && v->unbounded > v->max && v->desired >= v->max) {
                snprintf(text,
                         sizeof(text),
                         "%s: its load asks for %" PRIu32 " replicas, and maxReplicas is %" PRIu32,
                         v->id,
                         v->unbounded,
                         v->max);
                alert_set_see(set, ALERT_SCALING_AT_MAXIMUM, v->id, 0, text, now_usec);
        }
        if (v->reverted) {
                snprintf(text, sizeof(text), "%s: the rollout went back: %s", v->id, v->reverted);
                alert_set_see(set, ALERT_ROLLOUT_REVERTED, v->id, 0, text, now_usec);
        }
}

void alert_set_see_replica(AlertSet *set, const char *id, const AlertReplicaView *v, uint64_t now_usec) {
        char text[ALERT_SUMMARY_MAX];

        assert(set);
        assert(v);

        if (v->looping) {
                snprintf(text,
                         sizeof(text),
                         "%s:%" PRIu32 ": %s",
                         id,
                         v->number,
                         v->hold && *v->hold ? v->hold
                                             : "was held back for a crash loop and is tried again");
                alert_set_see(set, ALERT_REPLICA_CRASH_LOOPING, id, v->number, text, now_usec);
        }
        if (v->unhealthy) {
                snprintf(text,
                         sizeof(text),
                         "%s:%" PRIu32 " runs and does not answer%s%s",
                         id,
                         v->number,
                         v->reason && *v->reason ? ": " : "",
                         v->reason ? v->reason : "");
                alert_set_see(set, ALERT_REPLICA_UNHEALTHY, id, v->number, text, now_usec);
        }
        if (v->oom_age_usec < ALERT_OOM_USEC) {
                snprintf(text,
                         sizeof(text),
                         "%s:%" PRIu32 " was killed at its memory limit of %" PRIu64 " MiB",
                         id,
                         v->number,
                         v->memory_bytes / (1024 * 1024));
                alert_set_see(set, ALERT_REPLICA_OOM_KILLED, id, v->number, text, now_usec);
        }
}

static void wake_at(uint64_t *again_usec, uint64_t when_usec) {
        if (when_usec < *again_usec)
                *again_usec = when_usec;
}

/* True: it is over, or never was. */
static bool settle_one(
                Alert *a,
                uint64_t now_usec,
                uint64_t realtime_usec,
                uint64_t *again_usec,
                void (*tell)(const Alert *, bool, void *),
                void *userdata) {
        const AlertRule *rule = &alert_rules[a->name];

        if (a->seen) {
                a->seen = false;
                if (a->started_usec > 0)
                        return false;
                if (now_usec - a->since_usec < rule->for_usec) {
                        wake_at(again_usec, a->since_usec + rule->for_usec);
                        return false;
                }
                a->started_usec = realtime_usec;
                tell(a, false, userdata);
                return false;
        }

        if (a->started_usec == 0)
                return true;
        if (a->gone_usec == 0)
                a->gone_usec = now_usec;
        if (now_usec - a->gone_usec < rule->keep_usec) {
                wake_at(again_usec, a->gone_usec + rule->keep_usec);
                return false;
        }
        tell(a, true, userdata);
        return true;
}

void alert_set_settle(
                AlertSet *set,
                uint64_t now_usec,
                uint64_t realtime_usec,
                uint64_t *again_usec,
                void (*tell)(const Alert *a, bool ended, void *userdata),
                void *userdata) {
        size_t kept = 0;

        assert(set);
        assert(again_usec);

        for (size_t i = 0; i < set->n; i++) {
                if (settle_one(&set->alerts[i], now_usec, realtime_usec, again_usec, tell, userdata))
                        continue;
                if (kept != i)
                        set->alerts[kept] = set->alerts[i];
                kept++;
        }
        set->n = kept;
}
