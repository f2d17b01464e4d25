/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The desired state
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "libmam/json/json.h"
#include "libmam/util/file.h"
#include "manager/state.h"

int state_new(State **ret) {
        State *s;

        assert(ret);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;

        *ret = s;
        return 0;
}

State *state_free(State *s) {
        if (!s)
                return NULL;

        free(s);
        return NULL;
}

ServiceState *state_get(State *s, const char *id) {
        assert(s);
        assert(id);

        for (size_t i = 0; i < s->n_services; i++) {
                if (strcmp(s->services[i].id, id) == 0)
                        return &s->services[i];
        }

        if (s->n_services >= STATE_SERVICES_MAX || strlen(id) >= sizeof(s->services[0].id))
                return NULL;

        s->services[s->n_services] = (ServiceState){ .fresh = true };
        memcpy(s->services[s->n_services].id, id, strlen(id) + 1);
        return &s->services[s->n_services++];
}

int state_boot_id(char ret[static 33], const char *folder) {
        _cleanup_(mam_freep) char *text = NULL;
        char path[4096];
        sd_id128_t id;
        int n, r;

        if (!folder) {
                r = sd_id128_get_boot(&id);
                if (r < 0)
                        return r;
                sd_id128_to_string(id, ret);
                return 0;
        }

        n = snprintf(path, sizeof(path), "%s/boot", folder);
        if (n < 0 || (size_t) n >= sizeof(path))
                return -ENAMETOOLONG;
        r = mam_file_read(&text, NULL, path, 256);
        if (r >= 0 && sd_id128_from_string(text, &id) >= 0) {
                sd_id128_to_string(id, ret);
                return 0;
        }

        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        sd_id128_to_string(id, ret);
        return mam_file_write_atomic(path, ret, 32, 0600);
}

static int numbers_from_json(Numbers *ret, json_object *object, const char *key) {
        MamJsonError error;
        json_object *array = NULL;
        int r;

        r = mam_json_get_array(object, "", key, &array, &error);
        if (r <= 0)
                return r;

        for (size_t i = 0; i < json_object_array_length(array); i++) {
                json_object *item = json_object_array_get_idx(array, i);

                if (!json_object_is_type(item, json_type_int) || json_object_get_int64(item) < 1 ||
                    json_object_get_int64(item) > MAM_CONFIG_REPLICAS_MAX)
                        return -EBADMSG;
                numbers_add(ret, (uint32_t) json_object_get_int64(item));
        }
        return 0;
}

static int mode_from_json(json_object *object, const char *key, bool *ret_set, MamScalingMode *ret) {
        const char *text = NULL;
        MamJsonError error;
        MamScalingMode mode;
        int r;

        r = mam_json_get_string(object, "", key, &text, &error);
        if (r <= 0)
                return r;
        mode = mam_scaling_mode_from_string(text);
        if (mode < 0)
                return -EBADMSG;
        *ret_set = true;
        *ret = mode;
        return 0;
}

static int service_from_json(State *s, const char *id, json_object *object, bool same_boot) {
        int64_t replicas = 0, cpu = 0, memory = 0;
        ServiceState n = { .fresh = true };
        bool running = false, runtime_limits = false, asleep = false;
        int64_t auto_cpu = 0, auto_memory = 0;
        MamJsonError error;
        ServiceState *v;

        if (!mam_service_id_is_valid(id) || !json_object_is_type(object, json_type_object))
                return -EBADMSG;

        if (mam_json_get_int(object, "", "replicas", 0, MAM_CONFIG_REPLICAS_MAX, &replicas, &error) < 0 ||
            mam_json_get_int(object, "", "cpuMillis", 0, INT64_MAX, &cpu, &error) < 0 ||
            mam_json_get_int(object, "", "memoryBytes", 0, INT64_MAX, &memory, &error) < 0 ||
            mam_json_get_bool(object, "", "running", &running, &error) < 0 ||
            mam_json_get_bool(object, "", "runtimeLimits", &runtime_limits, &error) < 0 ||
            mam_json_get_bool(object, "", "asleep", &asleep, &error) < 0 ||
            mam_json_get_int(object, "", "autoCpuMillis", 0, INT64_MAX, &auto_cpu, &error) < 0 ||
            mam_json_get_int(object, "", "autoMemoryBytes", 0, INT64_MAX, &auto_memory, &error) < 0 ||
            mode_from_json(object, "horizontal", &n.horizontal_set, &n.horizontal) < 0 ||
            mode_from_json(object, "vertical", &n.vertical_set, &n.vertical) < 0 ||
            numbers_from_json(&n.numbers, object, "numbers") < 0 ||
            numbers_from_json(&n.starting, object, "starting") < 0 ||
            numbers_from_json(&n.stopping, object, "stopping") < 0)
                return -EBADMSG;

        v = state_get(s, id);
        if (!v)
                return -ENOMEM;

        v->replicas = (uint32_t) replicas;
        v->cpu_millis = (uint64_t) cpu;
        v->memory_bytes = (uint64_t) memory;
        v->horizontal_set = n.horizontal_set;
        v->horizontal = n.horizontal;
        v->vertical_set = n.vertical_set;
        v->vertical = n.vertical;
        v->auto_cpu_millis = (uint64_t) auto_cpu;
        v->auto_memory_bytes = (uint64_t) auto_memory;
        if (!same_boot)
                return 0;

        v->fresh = false;
        v->running = running;
        v->runtime_limits = runtime_limits;
        v->asleep = asleep && running;
        v->numbers = n.numbers;
        for (size_t i = 0; i < MAM_ELEMENTSOF(n.numbers.bits); i++) {
                v->starting.bits[i] = n.starting.bits[i] & n.numbers.bits[i];
                v->stopping.bits[i] = n.stopping.bits[i] & ~n.numbers.bits[i];
        }
        return 0;
}

int state_load(State **ret, const char *path, const char *boot_id) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(state_freep) State *s = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        json_object *services = NULL;
        const char *boot = "";
        MamJsonError error;
        size_t size;
        int r;

        assert(ret);
        assert(path);
        assert(boot_id);

        r = mam_file_read(&text, &size, path, STATE_FILE_MAX);
        if (r < 0)
                return r;

        r = mam_json_parse(&root, text, size, &error);
        if (r < 0)
                return r;

        r = state_new(&s);
        if (r < 0)
                return r;

        if (!json_object_is_type(root, json_type_object) ||
            mam_json_get_string(root, "", "bootId", &boot, &error) < 0 ||
            mam_json_get_bool(root, "", "initialized", &s->initialized, &error) < 0 ||
            mam_json_get_object(root, "", "services", &services, &error) < 0)
                return -EBADMSG;

        if (services) {
                json_object_object_foreach(services, id, object) {
                        r = service_from_json(s, id, object, strcmp(boot, boot_id) == 0);
                        if (r < 0)
                                return r;
                }
        }

        *ret = MAM_TAKE(s);
        return 0;
}

/* Takes value; NULL (out of memory) is an error. */
static int put(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int put_numbers(json_object *object, const char *key, const Numbers *set) {
        _cleanup_(json_object_putp) json_object *array = NULL;

        if (numbers_is_empty(set))
                return 0;

        array = json_object_new_array();
        if (!array)
                return -ENOMEM;

        NUMBERS_FOREACH(n, set) {
                json_object *item = json_object_new_int64(n);

                if (!item || json_object_array_add(array, item) < 0) {
                        json_object_put(item);
                        return -ENOMEM;
                }
        }
        return put(object, key, MAM_TAKE(array));
}

static int service_to_json(json_object *services, const ServiceState *v) {
        json_object *o = json_object_new_object();
        int r;

        r = put(services, v->id, o);
        if (r >= 0)
                r = put(o, "running", json_object_new_boolean(v->running));
        if (r >= 0 && v->replicas > 0)
                r = put(o, "replicas", json_object_new_int64(v->replicas));
        if (r >= 0 && v->cpu_millis > 0)
                r = put(o, "cpuMillis", json_object_new_int64((int64_t) v->cpu_millis));
        if (r >= 0 && v->memory_bytes > 0)
                r = put(o, "memoryBytes", json_object_new_int64((int64_t) v->memory_bytes));
        if (r >= 0 && v->runtime_limits)
                r = put(o, "runtimeLimits", json_object_new_boolean(true));
        if (r >= 0 && v->asleep)
                r = put(o, "asleep", json_object_new_boolean(true));
        if (r >= 0 && v->horizontal_set) {
                r = put(o, "horizontal", json_object_new_string(mam_scaling_mode_to_string(v->horizontal)));
        }
        if (r >= 0 && v->vertical_set)
                r = put(o, "vertical", json_object_new_string(mam_scaling_mode_to_string(v->vertical)));
        if (r >= 0 && v->auto_cpu_millis > 0)
                r = put(o, "autoCpuMillis", json_object_new_int64((int64_t) v->auto_cpu_millis));
        if (r >= 0 && v->auto_memory_bytes > 0)
                r = put(o, "autoMemoryBytes", json_object_new_int64((int64_t) v->auto_memory_bytes));
        if (r >= 0)
                r = put_numbers(o, "numbers", &v->numbers);
        if (r >= 0)
                r = put_numbers(o, "starting", &v->starting);
        if (r >= 0)
                r = put_numbers(o, "stopping", &v->stopping);
        return r;
}

int state_save(const State *s, const char *path, const char *boot_id) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        json_object *services;
        const char *text;
        int r;

        assert(s);
        assert(path);
        assert(boot_id);

        root = json_object_new_object();
        if (!root)
                return -ENOMEM;

        r = put(root, "version", json_object_new_int64(1));
        if (r >= 0)
                r = put(root, "bootId", json_object_new_string(boot_id));
        if (r >= 0)
                r = put(root, "initialized", json_object_new_boolean(s->initialized));
        if (r < 0)
                return r;

        services = json_object_new_object();
        r = put(root, "services", services);
        for (size_t i = 0; r >= 0 && i < s->n_services; i++)
                r = service_to_json(services, &s->services[i]);
        if (r < 0)
                return r;

        text = mam_json_to_string(root);
        if (!text)
                return -ENOMEM;
        return mam_file_write_atomic(path, text, strlen(text), 0600);
}
