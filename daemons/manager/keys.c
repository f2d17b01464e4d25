/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * API keys: the list and its file
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "libmam/config/config.h"
#include "libmam/util/file.h"
#include "libmam/util/time.h"
#include "manager/keys.h"

#define FILE_MAX (4UL * 1024 * 1024)

static void strings_free(char **list) {
        for (char **s = list; s && *s; s++)
                free(*s);
        free(list);
}

ApiKey *api_key_free(ApiKey *key) {
        if (!key)
                return NULL;

        free(key->name);
        free(key->subject);
        strings_free(key->roles);
        strings_free(key->scopes);
        free(key);
        return NULL;
}

Keys *keys_free(Keys *k) {
        if (!k)
                return NULL;

        for (size_t i = 0; i < k->n_keys; i++)
                api_key_free(k->keys[i]);
        free(k->keys);
        free(k->path);
        free(k);
        return NULL;
}

ApiKey *keys_find(const Keys *k, const char *id) {
        for (size_t i = 0; i < k->n_keys; i++)
                if (strcmp(k->keys[i]->id, id) == 0)
                        return k->keys[i];
        return NULL;
}

ApiKey *keys_find_called(const Keys *k, const char *id_or_name, bool *ret_several) {
        ApiKey *found = keys_find(k, id_or_name);

        *ret_several = false;
        for (size_t i = 0; !found && i < k->n_keys; i++) {
                if (strcmp(k->keys[i]->name, id_or_name) != 0)
                        continue;
                for (size_t n = i + 1; n < k->n_keys; n++)
                        *ret_several = *ret_several || strcmp(k->keys[n]->name, id_or_name) == 0;
                found = k->keys[i];
        }
        return *ret_several ? NULL : found;
}

/* ---- what may be asked for ---- */

/* What may stand in a header of the gateway's and in a log line. */
static bool is_plain(const char *text, size_t max) {
        size_t n = strlen(text);

        if (n == 0 || n > max)
                return false;
        for (size_t i = 0; i < n; i++)
                if (text[i] <= ' ' || text[i] >= 0x7f || strchr(",\"\\", text[i]))
                        return false;
        return true;
}

static bool is_name(const char *text) {
        size_t n = strlen(text);

        for (size_t i = 0; i < n; i++)
                if ((unsigned char) text[i] < ' ' || text[i] == 0x7f)
                        return false;
        return n > 0 && n <= KEY_NAME_MAX;
}

static bool are_plain(char *const *list, size_t max) {
        size_t n = 0;

        for (; list[n]; n++)
                if (n >= max || !is_plain(list[n], 64))
                        return false;
        return true;
}

bool key_request_is_valid(const KeyRequest *q, const char **ret_reason) {
        assert(q);
        assert(ret_reason);

        if (!is_name(q->name))
                *ret_reason = "The name must be 1 to 128 bytes without control characters";
        else if (*q->subject && !is_plain(q->subject, 128))
                *ret_reason = "The subject must be 1 to 128 visible ASCII characters without comma, quote and backslash";
        else if (!are_plain(q->roles, KEY_ROLES_MAX))
                *ret_reason = "There can be 16 roles of 1 to 64 visible ASCII characters without comma, quote and backslash";
        else if (!are_plain(q->scopes, KEY_SCOPES_MAX))
                *ret_reason = "There can be 32 scopes of 1 to 64 visible ASCII characters without comma, quote and backslash";
        else if (q->ttl_usec > KEY_TTL_MAX_USEC)
                *ret_reason = "A key can be valid for ten years at most";
        else if (q->ttl_usec > 0 && q->ttl_usec < MAM_USEC_PER_SEC)
                *ret_reason = "A key must be valid for a second at least";
        else
                return true;
        return false;
}

/* ---- file ---- */

/* Takes the value in any case. */
static int put(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int put_list(json_object *o, const char *key, char *const *list) {
        json_object *array = json_object_new_array();
        int r;

        r = put(o, key, array);
        for (; r >= 0 && *list; list++) {
                json_object *item = json_object_new_string(*list);

                if (!item || json_object_array_add(array, item) < 0) {
                        json_object_put(item);
                        r = -ENOMEM;
                }
        }
        return r;
}

/* for_gateway: without what only people ask for. */
static int key_format(const ApiKey *key, bool for_gateway, uint64_t now_usec, json_object **ret) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        bool has_previous = key->previous_until_usec > now_usec;
        char mac[2 * MAM_API_KEY_MAC_SIZE + 1];
        int r;

        if (!o)
                return -ENOMEM;
        r = put(o, "id", json_object_new_string(key->id));
        if (r >= 0 && !for_gateway)
                r = put(o, "name", json_object_new_string(key->name));
        if (r >= 0)
                r = put(o, "subject", json_object_new_string(key->subject));
        if (r >= 0)
                r = put_list(o, "roles", key->roles);
        if (r >= 0)
                r = put_list(o, "scopes", key->scopes);
        mam_api_key_mac_format(mac, key->mac);
        if (r >= 0)
                r = put(o, "mac", json_object_new_string(mac));
        if (r >= 0 && has_previous) {
                mam_api_key_mac_format(mac, key->previous_mac);
                r = put(o, "previousMac", json_object_new_string(mac));
                if (r >= 0)
                        r = put(o,
                                "previousUntilUSec",
                                json_object_new_int64((int64_t) key->previous_until_usec));
        }
        if (r >= 0)
                r = put(o, "expiresUSec", json_object_new_int64((int64_t) key->expires_usec));
        if (r >= 0 && !for_gateway) {
                r = put(o, "createdUSec", json_object_new_int64((int64_t) key->created_usec));
                if (r >= 0)
                        r = put(o, "usedUSec", json_object_new_int64((int64_t) key->used_usec));
                if (r >= 0)
                        r = put(o, "uses", json_object_new_int64((int64_t) key->uses));
        }
        if (r < 0)
                return r;
        *ret = MAM_TAKE(o);
        return 0;
}

static int format(const Keys *k, bool for_gateway, uint64_t now_usec, json_object **ret) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        json_object *array = json_object_new_array();
        int r;

        if (!o) {
                json_object_put(array);
                return -ENOMEM;
        }
        r = put(o, "keys", array);
        for (size_t i = 0; r >= 0 && i < k->n_keys; i++) {
                json_object *item = NULL;

                r = key_format(k->keys[i], for_gateway, now_usec, &item);
                if (r >= 0 && json_object_array_add(array, item) < 0) {
                        json_object_put(item);
                        r = -ENOMEM;
                }
        }
        if (r < 0)
                return r;
        *ret = MAM_TAKE(o);
        return 0;
}

int keys_format_for_gateway(const Keys *k, uint64_t now_usec, json_object **ret) {
        assert(k);
        assert(ret);

        return format(k, true, now_usec, ret);
}

int keys_save(const Keys *k) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        const char *text;
        int r;

        if (!k->path)
                return 0;
        r = format(k, false, mam_now_realtime(), &o);
        if (r < 0)
                return r;
        text = mam_json_to_string(o);
        return text ? mam_file_write_atomic(k->path, text, strlen(text), 0600) : -ENOMEM;
}

static int read_list(json_object *o, const char *key, size_t max, char ***ret) {
        json_object *array = NULL;
        char **list;
        size_t n;

        if (mam_json_get_array(o, "", key, &array, NULL) <= 0 || json_object_array_length(array) > max)
                return -EBADMSG;
        n = json_object_array_length(array);
        list = calloc(n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        *ret = list;
        for (size_t i = 0; i < n; i++) {
                json_object *item = json_object_array_get_idx(array, i);

                if (!json_object_is_type(item, json_type_string) ||
                    !is_plain(json_object_get_string(item), 64))
                        return -EBADMSG;
                list[i] = strdup(json_object_get_string(item));
                if (!list[i])
                        return -ENOMEM;
        }
        return 0;
}

static int read_text(json_object *o, const char *key, char **ret) {
        const char *text = NULL;

        if (mam_json_get_string(o, "", key, &text, NULL) <= 0)
                return -EBADMSG;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int read_time(json_object *o, const char *key, uint64_t *ret) {
        int64_t n = 0;

        if (mam_json_get_int(o, "", key, 0, INT64_MAX, &n, NULL) < 0)
                return -EBADMSG;
        *ret = (uint64_t) n;
        return 0;
}

static int read_mac(json_object *o, const char *key, uint8_t *ret) {
        const char *text = NULL;

        if (mam_json_get_string(o, "", key, &text, NULL) <= 0 || !mam_api_key_mac_parse(ret, text))
                return -EBADMSG;
        return 0;
}

static int key_parse(json_object *o, ApiKey **ret) {
        _cleanup_(api_key_freep) ApiKey *key = calloc(1, sizeof(*key));
        const char *id = NULL;
        int r;

        if (!key)
                return -ENOMEM;
        if (!json_object_is_type(o, json_type_object) || mam_json_get_string(o, "", "id", &id, NULL) <= 0 ||
            !mam_api_key_id_is_valid(id))
                return -EBADMSG;
        memcpy(key->id, id, sizeof(key->id));
        r = read_text(o, "name", &key->name);
        if (r >= 0)
                r = read_text(o, "subject", &key->subject);
        if (r >= 0)
                r = read_list(o, "roles", KEY_ROLES_MAX, &key->roles);
        if (r >= 0)
                r = read_list(o, "scopes", KEY_SCOPES_MAX, &key->scopes);
        if (r >= 0)
                r = read_mac(o, "mac", key->mac);
        if (r >= 0)
                r = read_time(o, "previousUntilUSec", &key->previous_until_usec);
        if (r >= 0 && key->previous_until_usec > 0)
                r = read_mac(o, "previousMac", key->previous_mac);
        if (r >= 0)
                r = read_time(o, "createdUSec", &key->created_usec);
        if (r >= 0)
                r = read_time(o, "expiresUSec", &key->expires_usec);
        if (r >= 0)
                r = read_time(o, "usedUSec", &key->used_usec);
        if (r >= 0)
                r = read_time(o, "uses", &key->uses);
        if (r >= 0 && (!is_plain(key->subject, 128) || !is_name(key->name)))
                r = -EBADMSG;
        if (r < 0)
                return r;
        *ret = MAM_TAKE(key);
        return 0;
}

/* Takes the key. */
static int append(Keys *k, ApiKey *key) {
        ApiKey **keys = reallocarray(k->keys, k->n_keys + 1, sizeof(ApiKey *));

        if (!keys) {
                api_key_free(key);
                return -ENOMEM;
        }
        k->keys = keys;
        k->keys[k->n_keys++] = key;
        return 0;
}

static int load(Keys *k) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        json_object *array = NULL;
        size_t size;
        int r;

        r = mam_file_read(&text, &size, k->path, FILE_MAX);
        if (r < 0)
                return r;
        r = mam_json_parse(&root, text, size, NULL);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) ||
            mam_json_get_array(root, "", "keys", &array, NULL) <= 0 ||
            json_object_array_length(array) > KEYS_MAX)
                return -EBADMSG;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                ApiKey *key = NULL;

                r = key_parse(json_object_array_get_idx(array, i), &key);
                if (r >= 0)
                        r = append(k, key);
                if (r < 0)
                        return r;
        }
        return 0;
}

int keys_new(Keys **ret, const char *path, const char **ret_problem) {
        _cleanup_(keys_freep) Keys *k = calloc(1, sizeof(*k));
        int r;

        assert(ret);
        assert(ret_problem);

        if (!k)
                return -ENOMEM;
        /* Gateways compare it: it must not begin anew with each manager. */
        k->generation = mam_now_realtime() / MAM_USEC_PER_MSEC;
        if (path) {
                k->path = strdup(path);
                if (!k->path)
                        return -ENOMEM;
                r = load(k);
                if (r == -ENOMEM)
                        return r;
                if (r < 0 && r != -ENOENT) {
                        char aside[PATH_MAX];

                        while (k->n_keys > 0)
                                api_key_free(k->keys[--k->n_keys]);
                        (void) snprintf(aside, sizeof(aside), "%s.bad", path);
                        (void) rename(path, aside);
                        *ret_problem = strerrordesc_np(-r);
                }
        }
        *ret = MAM_TAKE(k);
        return 0;
}

/* ---- changes ---- */

static int copy_list(char ***ret, char *const *list) {
        size_t n = 0;

        while (list[n])
                n++;
        *ret = calloc(n + 1, sizeof(**ret));
        if (!*ret)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                (*ret)[i] = strdup(list[i]);
                if (!(*ret)[i])
                        return -ENOMEM;
        }
        return 0;
}

static int commit(Keys *k) {
        int r = keys_save(k);

        if (r >= 0)
                k->generation++;
        return r;
}

int keys_create(Keys *k,
                const KeyRequest *q,
                const char *secret,
                size_t secret_size,
                uint64_t now_usec,
                ApiKey **ret,
                char ret_text[static MAM_API_KEY_TEXT_SIZE + 1]) {
        _cleanup_(api_key_freep) ApiKey *key = calloc(1, sizeof(*key));
        int r;

        if (!key)
                return -ENOMEM;
        if (k->n_keys >= KEYS_MAX)
                return -EDQUOT;
        do {
                r = mam_api_key_generate(ret_text, key->id);
        } while (r >= 0 && keys_find(k, key->id));
        if (r >= 0)
                r = mam_api_key_mac(key->mac, secret, secret_size, ret_text, MAM_API_KEY_TEXT_SIZE);
        if (r < 0)
                return r;
        key->name = strdup(q->name);
        if (*q->subject)
                key->subject = strdup(q->subject);
        else if (asprintf(&key->subject, "key:%s", key->id) < 0)
                key->subject = NULL;
        if (!key->name || !key->subject)
                return -ENOMEM;
        r = copy_list(&key->roles, q->roles);
        if (r >= 0)
                r = copy_list(&key->scopes, q->scopes);
        if (r < 0)
                return r;
        key->created_usec = now_usec;
        key->expires_usec = q->ttl_usec > 0 ? now_usec + q->ttl_usec : 0;

        *ret = key;
        r = append(k, MAM_TAKE(key));
        if (r < 0)
                return r;
        r = commit(k);
        if (r < 0)
                api_key_free(k->keys[--k->n_keys]);
        return r;
}

int keys_rotate(Keys *k,
                ApiKey *key,
                const char *secret,
                size_t secret_size,
                uint64_t grace_usec,
                uint64_t now_usec,
                char ret_text[static MAM_API_KEY_TEXT_SIZE + 1]) {
        ApiKey before = *key;
        uint8_t mac[MAM_API_KEY_MAC_SIZE];
        int r;

        r = mam_api_key_generate_for(ret_text, key->id);
        if (r >= 0)
                r = mam_api_key_mac(mac, secret, secret_size, ret_text, MAM_API_KEY_TEXT_SIZE);
        if (r < 0)
                return r;
        memcpy(key->previous_mac, key->mac, sizeof(mac));
        memcpy(key->mac, mac, sizeof(mac));
        key->previous_until_usec = grace_usec > 0 ? now_usec + grace_usec : 0;
        r = commit(k);
        if (r < 0)
                *key = before;
        return r;
}

int keys_revoke(Keys *k, ApiKey *key) {
        size_t at = 0;
        int r;

        while (k->keys[at] != key)
                at++;
        memmove(&k->keys[at], &k->keys[at + 1], (k->n_keys - at - 1) * sizeof(ApiKey *));
        k->n_keys--;
        r = commit(k);
        if (r < 0) {
                memmove(&k->keys[at + 1], &k->keys[at], (k->n_keys - at) * sizeof(ApiKey *));
                k->keys[at] = key;
                k->n_keys++;
                return r;
        }
        return 0;
}

void keys_note_use(Keys *k, const char *id, uint64_t uses, uint64_t used_usec) {
        ApiKey *key = keys_find(k, id);

        if (!key)
                return; /* revoked meanwhile */
        key->uses = uses > INT64_MAX - key->uses ? INT64_MAX : key->uses + uses;
        if (used_usec > key->used_usec && used_usec <= INT64_MAX)
                key->used_usec = used_usec;
}
