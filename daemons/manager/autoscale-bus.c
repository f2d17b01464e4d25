/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SetAutoscaling
 */

#include <assert.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/actions.h"
#include "manager/autoscaler.h"
#include "manager/events.h"
#include "manager/manager-bus.h"

typedef struct Choice {
        bool given, set;
        MamScalingMode mode;
} Choice;

/* "" leaves it as it is, "default" goes back to the configured mode. */
static int read_choice(const char *text, const char *what, Choice *ret, sd_bus_error *error) {
        *ret = (Choice){ .given = *text };
        if (!*text || strcmp(text, "default") == 0)
                return 0;
        ret->mode = mam_scaling_mode_from_string(text);
        if (ret->mode < 0) {
                return sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_INVALID_ARGS,
                                "'%.32s' is not a mode of %s scaling; there are: off, recommend, auto, default",
                                text,
                                what);
        }
        ret->set = true;
        return 0;
}

int manager_bus_set_autoscaling(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *id, *horizontal, *vertical;
        Choice h = { .given = false }, v = h;
        Manager *m = userdata;
        Service *s = NULL;
        uint64_t flags;
        int r;

        r = sd_bus_message_read(message, "ssst", &id, &horizontal, &vertical, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, false, &s, error);
        if (r >= 0)
                r = manager_bus_check_usable(m, s, error);
        if (r >= 0)
                r = read_choice(horizontal, "horizontal", &h, error);
        if (r >= 0)
                r = read_choice(vertical, "vertical", &v, error);
        if (r < 0)
                return r;

        r = manager_bus_authorize(m, message, MAM_ACTION_SCALE, "set-autoscaling", id, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;

        if (h.given) {
                s->state->horizontal_set = h.set;
                s->state->horizontal = h.mode;
        }
        if (v.given) {
                s->state->vertical_set = v.set;
                s->state->vertical = v.mode;
        }
        r = manager_bus_commit(m, error);
        if (r < 0)
                return r;

        event_log(m,
                  LOG_NOTICE,
                  NULL,
                  id,
                  0,
                  "autoscaling",
                  "horizontal %s, vertical %s, by a call",
                  mam_scaling_mode_to_string(service_horizontal_mode(s)),
                  mam_scaling_mode_to_string(service_vertical_mode(s)));
        autoscaler_note_settings(s);
        return sd_bus_reply_method_return(message, NULL);
}
