/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SetLimits on all replicas that run
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "libmam/bus/bus-errors.h"
#include "manager/chaos.h"
#include "manager/manager.h"
#include "manager/operations.h"

typedef struct LimitsOperation {
        sd_bus_message *message; /* owned; the caller we owe an answer */
        unsigned n_calls;        /* that systemd has not answered yet */
        sd_bus_error error;      /* owned; the first failure */
} LimitsOperation;

static void limits_operation_done(LimitsOperation *o) {
        if (sd_bus_error_is_set(&o->error)) {
                (void) sd_bus_reply_method_error(o->message, &o->error);
        } else {
                (void) sd_bus_reply_method_return(o->message, NULL);
        }
        sd_bus_message_unref(o->message);
        sd_bus_error_free(&o->error);
        free(o);
}

/* Also runs, as "cancelled", when the manager ends: so every operation is answered and freed. */
static void on_set(uint32_t job, const sd_bus_error *error, void *userdata) {
        LimitsOperation *o = userdata;

        if (error && !sd_bus_error_is_set(&o->error))
                (void) sd_bus_error_copy(&o->error, error);
        if (--o->n_calls == 0)
                limits_operation_done(o);
}

int limits_operation_start(Service *s, sd_bus_message *message) {
        char unit[MAM_UNIT_NAME_MAX];
        LimitsOperation *o;
        int r = 0;

        assert(s);
        assert(message);

        o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;

        o->message = sd_bus_message_ref(message);
        o->n_calls = 1; /* ours, until all are sent */
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!s->replicas[n] || s->replicas[n]->activity == UNIT_INACTIVE ||
                    chaos_holds_limits(s->replicas[n]))
                        continue;
                s->replicas[n]->memory_max = service_memory_bytes(s);
                s->replicas[n]->memory_waits = false;
                mam_unit_replica_service(unit, s->config->id, n);
                r = systemd_set_limits(
                                s->manager->systemd,
                                unit,
                                service_cpu_millis(s),
                                service_memory_bytes(s),
                                on_set,
                                o);
                if (r < 0) {
                        if (!sd_bus_error_is_set(&o->error))
                                (void) sd_bus_error_set_errno(&o->error, r);
                        continue;
                }
                o->n_calls++;
        }

        if (--o->n_calls == 0)
                limits_operation_done(o);
        return 0;
}
