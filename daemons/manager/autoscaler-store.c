/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Autoscaler: what was learnt of the use of services, over restarts
 */

#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/file.h"
#include "manager/autoscaler-internal.h"
#include "manager/manager.h"

static int stored_load(Autoscaler *a) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        json_object *services = NULL;
        size_t size;
        int r;

        r = mam_file_read(&text, &size, a->path, AUTOSCALER_STORED_MAX);
        if (r >= 0)
                r = mam_json_parse(&root, text, size, NULL);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) ||
            mam_json_get_object(root, "", "services", &services, NULL) <= 0)
                return -EBADMSG;
        a->stored = json_object_get(services);
        return 0;
}

int autoscaler_store_open(Autoscaler *a, const char *state_path) {
        const char *slash = strrchr(state_path, '/');
        char aside[4096];
        int r;

        if (asprintf(&a->path, "%.*svpa.json", slash ? (int) (slash + 1 - state_path) : 0, state_path) < 0) {
                a->path = NULL;
                return -ENOMEM;
        }
        r = stored_load(a);
        if (r >= 0 || r == -ENOENT)
                return 0;
        if (r == -ENOMEM)
                return r;

        snprintf(aside, sizeof(aside), "%s.bad", a->path);
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_STATE_UNUSABLE,
                   "Cannot use %s (%s): moved aside to %s; what services use is learnt anew",
                   a->path,
                   strerror(-r),
                   aside);
        if (rename(a->path, aside) < 0)
                mam_warning("Cannot move it aside: %s", strerror(errno));
        return 0;
}

int autoscaler_store_find(const Autoscaler *a, const char *id, VpaState *ret) {
        json_object *object = NULL;

        if (!a->stored || !json_object_object_get_ex(a->stored, id, &object))
                return -ENOENT;
        return vpa_from_json(ret, object);
}

/* Takes value. */
static int put(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int stored_save(Autoscaler *a) {
        _cleanup_(json_object_putp) json_object *root = json_object_new_object();
        json_object *services, *old = NULL;
        const char *text;
        Service *s;
        int r;

        if (!root)
                return -ENOMEM;
        r = put(root, "version", json_object_new_int(1));
        services = json_object_new_object();
        if (r >= 0) {
                r = put(root, "services", services);
        } else
                json_object_put(services);
        DL_FOREACH(a->manager->services, s) {
                if (r < 0)
                        break;
                if (s->scaling && s->scaling->state.vpa.last_usec > 0) {
                        r = put(services, s->config->id, vpa_to_json(&s->scaling->state.vpa));
                } else if (a->stored && json_object_object_get_ex(a->stored, s->config->id, &old))
                        r = put(services, s->config->id, json_object_get(old));
        }
        if (r < 0)
                return r;
        text = mam_json_to_string(root);
        return text ? mam_file_write_atomic(a->path, text, strlen(text), 0600) : -ENOMEM;
}

void autoscaler_store_step(Autoscaler *a, uint64_t now_usec, bool last) {
        int r;

        if (!a->path || !a->dirty || (!last && a->saved_usec + AUTOSCALER_SAVE_USEC > now_usec))
                return;
        a->saved_usec = now_usec;
        r = stored_save(a);
        if (r < 0) {
                mam_log_id(LOG_ERR,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot write %s: %s",
                           a->path,
                           strerror(-r));
        } else
                a->dirty = false;
}
