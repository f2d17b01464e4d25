/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "scaling" of a service: who decides how many replicas there are and how big they are, and by what
 *
 * Without an entry of its own a service follows "scaling" of microservices.json if it is of type service.
 * Gateways and infrastructure are only ever scaled by their own entry: the first are in everybody's way, and
 * most of the second hold data.
 */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "libmam/config/config-reader.h"
#include "libmam/util/quantity.h"
#include "libmam/util/time.h"

#define DOWN_WINDOW_DEFAULT (300U * MAM_USEC_PER_SEC)
#define IDLE_DEFAULT        (60U * MAM_USEC_PER_SEC)
#define TARGET_MAX          1e9

static void read_mode(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                MamScalingMode *ret) {
        MamScalingMode mode;
        const char *text;

        if (mam_reader_text(rd, o, parent, key, &text) <= 0)
                return;
        mode = mam_scaling_mode_from_string(text);
        if (mode < 0) {
                mam_reader_bad_key(rd, parent, key, "must be \"off\", \"recommend\" or \"auto\"");
        } else if (rd->file->config->scaling_enabled) {
                *ret = mode;
        }
}

static void read_percent(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                int64_t max,
                uint32_t *ret) {
        MamJsonError error;
        int64_t n = *ret;

        if (mam_json_get_int(o, parent, key, 0, max, &n, &error) < 0)
                mam_reader_bad(rd, &error);
        *ret = (uint32_t) n;
}

static void read_number(MamReader *rd, json_object *o, const char *parent, const char *key, double *ret) {
        json_object *v;
        double n;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return;
        n = json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double)
                            ? json_object_get_double(v)
                            : -1;
        if (!isfinite(n) || n < 0 || n > TARGET_MAX) {
                mam_reader_bad_key(rd, parent, key, "must be a number from 0 to 1000000000");
        } else {
                *ret = n;
        }
}

static void read_quantity(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                int (*parse)(const char *text, uint64_t *ret),
                const char *what,
                uint64_t *ret) {
        const char *text;

        if (mam_reader_text(rd, o, parent, key, &text) > 0 && parse(text, ret) < 0)
                mam_reader_bad_key(rd, parent, key, "must be %s", what);
}

static void read_bounds(MamReader *rd, json_object *o, const char *parent) {
        static const char cores[] = "a quantity of cores such as \"500m\" or \"2\"",
                          bytes[] = "a quantity of bytes such as \"512Mi\" or \"1.5G\"";
        MamScalingConfig *c = &rd->s->scaling;

        read_quantity(rd, o, parent, "minCPU", mam_quantity_parse_cpu, cores, &c->min_cpu_millis);
        read_quantity(rd, o, parent, "maxCPU", mam_quantity_parse_cpu, cores, &c->max_cpu_millis);
        read_quantity(rd, o, parent, "minMemory", mam_quantity_parse_bytes, bytes, &c->min_memory_bytes);
        read_quantity(rd, o, parent, "maxMemory", mam_quantity_parse_bytes, bytes, &c->max_memory_bytes);
        if (c->max_cpu_millis > 0 && c->min_cpu_millis > c->max_cpu_millis)
                mam_reader_bad_key(rd, parent, "minCPU", "must not be above maxCPU");
        if (c->max_memory_bytes > 0 && c->min_memory_bytes > c->max_memory_bytes)
                mam_reader_bad_key(rd, parent, "minMemory", "must not be above maxMemory");
}

static void read_targets(MamReader *rd, json_object *o, const char *parent) {
        MamScalingConfig *c = &rd->s->scaling;

        read_percent(rd, o, parent, "targetCPU", 1000, &c->target_cpu_percent);
        read_percent(rd, o, parent, "targetMemory", 100, &c->target_memory_percent);
        read_percent(rd, o, parent, "targetPressure", 100, &c->target_pressure_percent);
        read_number(rd, o, parent, "targetInFlight", &c->target_in_flight);
        read_number(rd, o, parent, "targetRPS", &c->target_rps);
        mam_reader_span(rd,
                        o,
                        parent,
                        "targetLatency",
                        0,
                        3600 * MAM_USEC_PER_SEC,
                        "a time of at most an hour such as \"200ms\"",
                        &c->target_latency_usec);
        mam_reader_span(rd,
                        o,
                        parent,
                        "scaleDownWindow",
                        0,
                        3600 * MAM_USEC_PER_SEC,
                        "a number of seconds from 0 to 3600, or a time such as \"5min\"",
                        &c->down_window_usec);
        mam_reader_span(rd,
                        o,
                        parent,
                        "scaleToZeroAfter",
                        MAM_USEC_PER_SEC,
                        86400 * MAM_USEC_PER_SEC,
                        "a number of seconds from 1 to 86400, or a time such as \"10min\"",
                        &c->idle_usec);
}

/* What has no socket of its own cannot be woken. */
static void check_zero(MamReader *rd) {
        json_object *own;

        if (rd->s->min_replicas > 0 || mam_service_has_replica_socket(rd->s) ||
            !json_object_object_get_ex(rd->object, "minReplicas", &own))
                return;
        mam_reader_note(rd,
                        mam_config_file_problem(
                                        rd->file,
                                        MAM_PROBLEM_WARNING,
                                        rd->parent,
                                        "minReplicas",
                                        "it is never scaled to zero by itself: it takes no socket from systemd, so nothing "
                                        "could wake it"));
}

void mam_config_read_scaling(MamReader *rd) {
        static const char *const known[] = {
                "horizontal", "vertical",      "targetCPU",      "targetMemory",    "targetInFlight",
                "targetRPS",  "targetLatency", "targetPressure", "scaleDownWindow", "scaleToZeroAfter",
                "minCPU",     "maxCPU",        "minMemory",      "maxMemory",       NULL,
        };
        const MamConfig *c = rd->file->config;
        bool follows = c->scaling_enabled && rd->s->type == MAM_SERVICE_TYPE_SERVICE;
        json_object *o;
        char parent[128];

        rd->s->scaling = (MamScalingConfig){
                .horizontal = follows ? c->horizontal : MAM_SCALING_OFF,
                .vertical = follows ? c->vertical : MAM_SCALING_OFF,
                .target_cpu_percent = c->target_cpu_percent,
                .target_memory_percent = c->target_memory_percent,
                .down_window_usec = DOWN_WINDOW_DEFAULT,
                .idle_usec = IDLE_DEFAULT,
        };
        if (rd->s->id && !rd->bad)
                check_zero(rd);
        if (!mam_reader_section(rd, "scaling", known, parent, &o))
                return;
        read_mode(rd, o, parent, "horizontal", &rd->s->scaling.horizontal);
        read_mode(rd, o, parent, "vertical", &rd->s->scaling.vertical);
        read_targets(rd, o, parent);
        read_bounds(rd, o, parent);
}
