/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is wrong, and what each receiver was told of it
 *
 * An Alert is known by its fingerprint. Alerts of one service are a group: a receiver gets them in one
 * message, as from Prometheus' Alertmanager. The table is level-triggered: no messages are queued; what a
 * receiver is told is made from how things are when it is told. So a receiver that was away for long gets
 * one message and not a hundred, and nothing grows while it is away. An alert that is over stays until every
 * receiver knows.
 *
 * A receiver is a slot, 0 to RECEIVERS_MAX - 1, and a bit in the sets below. Times of alerts are realtime,
 * those of decisions monotonic.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libmam/util/macro.h"

typedef struct Alert Alert;
typedef struct AlertGroup AlertGroup;
typedef struct AlertTable AlertTable;

#define ALERTS_MAX     2048U
#define RECEIVERS_MAX  8U
#define ALERT_TEXT_MAX 1024U /* bytes of each string; the rest is cut */

/* The defaults of Alertmanager are 30 s and 5 min, for many hosts; this is one. Repetition is as there. */
#define GROUP_WAIT_USEC      (1 * MAM_USEC_PER_SEC)  /* to gather what comes together */
#define GROUP_INTERVAL_USEC  (10 * MAM_USEC_PER_SEC) /* between messages of a group that changes */
#define REPEAT_INTERVAL_USEC (4 * 3600 * MAM_USEC_PER_SEC)

/* As the manager says it; borrowed. */
typedef struct AlertNews {
        const char *fingerprint, *name, *severity, *service, *replica, *summary; /* replica may be "" */
        uint64_t started_usec;                                                   /* realtime */
        uint64_t ended_usec;                                                     /* realtime; 0: firing */
} AlertNews;

struct Alert {
        AlertGroup *group;                                       /* weak */
        char *fingerprint, *name, *severity, *replica, *summary; /* owned */
        uint64_t started_usec, ended_usec;
        uint64_t changed_usec; /* monotonic; began or ended */
        uint8_t told_firing;   /* receivers that know that it fires */
        uint8_t told_ended;    /* and that it is over */
        uint8_t sent_firing;   /* what is under way to them */
        uint8_t sent_ended;
        bool missing; /* the manager did not list it */
        TAILQ_ENTRY(Alert) alerts;
};

TAILQ_HEAD(AlertQueue, Alert);

struct AlertGroup {
        char *service; /* owned; "": of the manager as a whole */
        struct AlertQueue alerts;
        uint64_t sent_usec[RECEIVERS_MAX];  /* when it was last told; 0: never */
        uint64_t tried_usec[RECEIVERS_MAX]; /* when that was last tried */
        TAILQ_ENTRY(AlertGroup) groups;
};

TAILQ_HEAD(AlertGroupQueue, AlertGroup);

struct AlertTable {
        struct AlertGroupQueue groups; /* owned */
        unsigned n;
        uint8_t receivers; /* slots in use */
};

void alert_table_init(AlertTable *t);
void alert_table_done(AlertTable *t);

/* 1: something is to be told; 0: nothing new. -ENOMEM; -EDQUOT: ALERTS_MAX. */
int alert_table_take(AlertTable *t, const AlertNews *news, uint64_t now_usec);
/* A list of what fires begins … each of it is taken … and ends. What was not in it is over, if final: a
 * manager that has just started may not have noticed yet. Returns how many are missing. */
void alert_table_list_begin(AlertTable *t);
unsigned alert_table_list_end(AlertTable *t, bool final, uint64_t realtime_usec, uint64_t now_usec);

/* A new receiver is told what fires, and not what is over. */
void alert_table_add_receiver(AlertTable *t, unsigned slot);
void alert_table_remove_receiver(AlertTable *t, unsigned slot);

/* When this receiver is to be told of the group: a monotonic time, perhaps past; MAM_USEC_INFINITY: not. */
uint64_t alert_group_due_usec(const AlertGroup *g, unsigned slot);
/* The group to tell this receiver now, the one that waits longest for a try, or NULL; *ret_next_usec: when
 * the next one is due. */
AlertGroup *alert_table_pick(AlertTable *t, unsigned slot, uint64_t now_usec, uint64_t *ret_next_usec);
/* Whether the alert belongs in a message to this receiver. */
bool alert_is_for(const Alert *a, unsigned slot);
/* The message is under way; everything that is for the receiver counts as in it. */
void alert_group_sent(AlertGroup *g, unsigned slot, uint64_t now_usec);
/* And has arrived (or will never be taken), or not. Groups and alerts may be gone afterwards. */
void alert_table_arrived(AlertTable *t, unsigned slot, bool told, uint64_t now_usec);
