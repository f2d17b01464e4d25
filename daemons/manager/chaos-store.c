/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * chaos.json: what a manager that is killed leaves to be taken back
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libmam/json/json.h"
#include "libmam/util/file.h"
#include "manager/chaos.h"

#define FILE_MAX ((size_t) 64 * 1024)

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

static int append(json_object *array, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_array_add(array, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int put_record(json_object *runs, const ChaosRecord *record) {
        json_object *o = json_object_new_object(), *victims = json_object_new_array();
        int r;

        r = append(runs, o);
        if (r < 0) {
                json_object_put(victims);
                return r;
        }
        r = put(o, "victims", victims);
        if (r >= 0)
                r = put(o, "service", json_object_new_string(record->service));
        if (r >= 0)
                r = put(o, "kind", json_object_new_string(chaos_kind_to_string(record->kind)));
        NUMBERS_FOREACH(n, &record->victims) {
                if (r >= 0)
                        r = append(victims, json_object_new_int64(n));
        }
        return r;
}

int chaos_store_save(const char *path, const ChaosRecord *records, size_t n) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        json_object *runs;
        const char *text;
        int r;

        assert(path);

        if (n == 0)
                return unlink(path) < 0 && errno != ENOENT ? -errno : 0;

        root = json_object_new_object();
        runs = json_object_new_array();
        if (!root || !runs) {
                json_object_put(runs);
                return -ENOMEM;
        }
        r = put(root, "runs", runs);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = put_record(runs, &records[i]);
        if (r < 0)
                return r;

        text = mam_json_to_string(root);
        if (!text)
                return -ENOMEM;
        return mam_file_write_atomic(path, text, strlen(text), 0600);
}

static int get_record(json_object *o, ChaosRecord *ret) {
        const char *service = NULL, *kind = NULL;
        json_object *victims = NULL;
        MamJsonError error;

        if (!json_object_is_type(o, json_type_object) ||
            mam_json_get_string(o, "", "service", &service, &error) <= 0 ||
            mam_json_get_string(o, "", "kind", &kind, &error) <= 0 ||
            mam_json_get_array(o, "", "victims", &victims, &error) <= 0)
                return -EBADMSG;
        if (!mam_service_id_is_valid(service) || chaos_kind_from_string(kind) < 0)
                return -EBADMSG;

        *ret = (ChaosRecord){ .kind = chaos_kind_from_string(kind) };
        memcpy(ret->service, service, strlen(service) + 1);
        for (size_t i = 0; i < json_object_array_length(victims); i++) {
                json_object *item = json_object_array_get_idx(victims, i);
                int64_t n = json_object_is_type(item, json_type_int) ? json_object_get_int64(item) : 0;

                if (n < 1 || n > MAM_CONFIG_REPLICAS_MAX)
                        return -EBADMSG;
                numbers_add(&ret->victims, (uint32_t) n);
        }
        return 0;
}

int chaos_store_load(ChaosRecord ret[static CHAOS_RUNS_MAX], const char *path) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        ChaosRecord records[CHAOS_RUNS_MAX];
        json_object *runs = NULL;
        MamJsonError error;
        size_t size, n;
        int r;

        assert(path);

        r = mam_file_read(&text, &size, path, FILE_MAX);
        if (r < 0)
                return r;
        r = mam_json_parse(&root, text, size, &error);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) ||
            mam_json_get_array(root, "", "runs", &runs, &error) <= 0)
                return -EBADMSG;

        n = json_object_array_length(runs);
        if (n > CHAOS_RUNS_MAX)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++) {
                r = get_record(json_object_array_get_idx(runs, i), &records[i]);
                if (r < 0)
                        return r;
        }
        memcpy(ret, records, n * sizeof(*records));
        return (int) n;
}
