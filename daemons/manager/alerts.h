/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Alerts: what is wrong for longer than a moment
 *
 * The rules are pure: each pass shows them how services and replicas are (alerts_see_…), and alerts_settle()
 * says what began and what ended. A condition has to hold for the for_usec of its rule before the alert
 * begins, and to be gone for keep_usec before it ends, so that what flickers neither begins nor ends again
 * and again. The fingerprint is a hash of name, service and replica: the same trouble has the same one
 * tomorrow, and after the manager was replaced.
 *
 * The names are part of the bus API (signal Alert) and of what webhooks get as alertname.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "libmam/util/macro.h"

typedef struct Alert Alert;
typedef struct Alerts Alerts;
typedef struct Manager Manager;
typedef struct Service Service;

#define ALERTS_MAX              1024U /* pending and firing; what comes on top is not told */
#define ALERT_SUMMARY_MAX       256U
#define ALERT_FINGERPRINT_SIZE  17U
#define ALERT_OOM_USEC          (600 * MAM_USEC_PER_SEC)  /* so long a kill for lack of memory is told */
#define ALERT_REVERTED_MAX_USEC (3600 * MAM_USEC_PER_SEC) /* likewise a rollout that went back */

typedef enum AlertName {
        ALERT_SERVICE_DOWN,          /* wanted, and no replica is ready */
        ALERT_SERVICE_DEGRADED,      /* fewer ready than wanted */
        ALERT_REPLICA_CRASH_LOOPING, /* held back, or was and is not well yet */
        ALERT_REPLICA_OOM_KILLED,    /* the kernel killed it at its memory limit */
        ALERT_REPLICA_UNHEALTHY,     /* runs and does not answer */
        ALERT_ROLLOUT_REVERTED,      /* until a rollout succeeds */
        ALERT_SCALING_AT_MAXIMUM,    /* autoscaling wants more replicas than maxReplicas */
        ALERT_CONFIGURATION_INVALID, /* a definition is left out, or its last good one stands */
        ALERT_STATE_NOT_WRITABLE,    /* what is wanted cannot be stored */
        _ALERT_NAME_MAX,
} AlertName;

typedef struct AlertRule {
        const char *name;     /* "ServiceDown" */
        const char *severity; /* "warning", "critical" */
        uint64_t for_usec;
        uint64_t keep_usec;
} AlertRule;

extern const AlertRule alert_rules[_ALERT_NAME_MAX];

struct Alert {
        AlertName name;
        char service[32]; /* "" of the manager as a whole */
        uint32_t number;  /* 0: of the service */
        char summary[ALERT_SUMMARY_MAX];
        char fingerprint[ALERT_FINGERPRINT_SIZE];
        uint64_t since_usec;   /* monotonic; the condition holds since */
        uint64_t gone_usec;    /* monotonic; it does not since; 0: it holds */
        uint64_t started_usec; /* realtime; 0: it is pending */
        bool seen;             /* in this pass */
};

typedef struct AlertSet {
        Alert *alerts; /* owned */
        size_t n, allocated;
} AlertSet;

typedef struct AlertServiceView {
        const char *id;
        bool wanted; /* should run */
        uint32_t desired, ready;
        const char *reason; /* why not all are ready */
        uint32_t unbounded; /* replicas that autoscaling would have without maxReplicas; 0: not known */
        uint32_t max;
        const char *reverted; /* why the latest rollout went back, or NULL */
} AlertServiceView;

typedef struct AlertReplicaView {
        uint32_t number;
        bool looping; /* held back for a crash loop, or was and has not been healthy for long since */
        const char *hold;
        bool unhealthy;
        const char *reason;
        uint64_t oom_age_usec; /* since it was last killed for lack of memory; MAM_USEC_INFINITY: never */
        uint64_t memory_bytes; /* its limit */
} AlertReplicaView;

/* ---- alerts.c: pure ---- */

void alert_set_done(AlertSet *set);
/* A condition holds. */
void alert_set_see(
                AlertSet *set,
                AlertName name,
                const char *service,
                uint32_t number,
                const char *summary,
                uint64_t now_usec);
void alert_set_see_service(AlertSet *set, const AlertServiceView *v, uint64_t now_usec);
void alert_set_see_replica(AlertSet *set, const char *id, const AlertReplicaView *v, uint64_t now_usec);
/* Everything that holds has been seen. tell() runs for what begins (ended false) and what ends; it must not
 * change the set. Lowers *again_usec. */
void alert_set_settle(
                AlertSet *set,
                uint64_t now_usec,
                uint64_t realtime_usec,
                uint64_t *again_usec,
                void (*tell)(const Alert *a, bool ended, void *userdata),
                void *userdata);
void alert_fingerprint(
                char ret[static ALERT_FINGERPRINT_SIZE],
                AlertName name,
                const char *service,
                uint32_t number);

/* ---- alerts-store.c: those that have begun, for the manager after this one ---- */

int alert_set_save(const AlertSet *set, const char *path);
/* Into an empty set; they hold until a pass says otherwise. -ENOENT; -EBADMSG: the rest is left out. */
int alert_set_load(AlertSet *set, const char *path, uint64_t now_usec);

/* ---- alerts-bus.c ---- */

/* runtime_dir: where alerts are kept for the manager after this one, or NULL. */
int alerts_new(Alerts **ret, Manager *m, const char *runtime_dir);
Alerts *alerts_free(Alerts *a);
MAM_DEFINE_CLEANUP(Alerts, alerts_free);
/* At the end of each pass. */
void alerts_pass(Alerts *a, uint64_t now_usec, uint64_t *again_usec);
/* The latest rollout of a service went back, and why; the next one that succeeds takes it back. */
void alerts_note_rollout_reverted(Manager *m, const char *service, const char *message);
void alerts_note_rollout_done(Manager *m, const char *service);

int manager_bus_list_alerts(sd_bus_message *message, void *userdata, sd_bus_error *error);
