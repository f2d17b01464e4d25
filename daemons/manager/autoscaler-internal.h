/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between autoscaler.c, autoscaler-input.c and autoscaler-store.c
 */

#include <json-c/json.h>
#include <systemd/sd-event.h>

#include "manager/autoscaler.h"

struct ServiceScaling {
        AutoscaleState state;
        LoadTotals before;     /* at the latest period */
        uint64_t before_usec;  /* when the gateways had told that; 0: not known */
        double rps, in_flight; /* of the latest answers */
        bool rps_known;
        uint64_t requests_before; /* at the latest answer of the gateways */
        double in_flight_sum;     /* since the latest period */
        uint32_t n_in_flight;
        uint64_t decisions;
        bool often; /* the gateways are asked often for our sake */
};

struct Autoscaler {
        Manager *manager;       /* weak: it owns us */
        sd_event_source *timer; /* owned */
        uint64_t period_usec;
        uint64_t host_cpu_millis, host_memory_bytes;
        uint64_t started_realtime_usec;
        char *path;          /* owned; vpa.json, or NULL */
        json_object *stored; /* owned; what vpa.json said, for services that have no scaling yet */
        bool dirty;
        uint64_t saved_usec;
};

/* autoscaler-input.c: what a decision needs, from the service as it is. */
void autoscaler_fill_input(const Service *s, AutoscaleInput *in);
void autoscaler_fill_targets(const Service *s, AutoscaleInput *in);
/* Also begins the next period of what is counted. */
void autoscaler_fill_metrics(Service *s, AutoscaleInput *in, uint64_t now_usec);

/* autoscaler-store.c: vpa.json. A file that cannot be understood is moved aside. */
int autoscaler_store_open(Autoscaler *a, const char *state_path);
/* What it says of a service. -ENOENT, -EBADMSG. */
int autoscaler_store_find(const Autoscaler *a, const char *id, VpaState *ret);
/* Writes, if it is time to. last: it is. */
void autoscaler_store_step(Autoscaler *a, uint64_t now_usec, bool last);
