/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/key-table.h"

#include <assert.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/time.h"

struct KeyTable {
        KeyEntry *entries; /* owned; by id */
        size_t n_entries;
        bool loaded;
        char *secret; /* owned, wiped */
        size_t secret_size;
};

int key_table_new(KeyTable **ret) {
        assert(ret);

        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

static void entries_free(KeyEntry *entries, size_t n) {
        for (size_t i = 0; i < n; i++)
                caller_unref(entries[i].caller);
        free(entries);
}

KeyTable *key_table_free(KeyTable *t) {
        if (!t)
                return NULL;

        entries_free(t->entries, t->n_entries);
        if (t->secret)
                explicit_bzero(t->secret, t->secret_size);
        free(t->secret);
        free(t);
        return NULL;
}

int key_table_set_secret(KeyTable *t, const char *secret, size_t size) {
        char *copy = malloc(size ?: 1);

        assert(!t->secret);

        if (!copy)
                return -ENOMEM;
        memcpy(copy, secret, size);
        t->secret = copy;
        t->secret_size = size;
        return 0;
}

static int by_id(const void *a, const void *b) {
        const KeyEntry *x = a, *y = b;

        return memcmp(x->id, y->id, sizeof(x->id));
}

KeyEntry *key_table_find(const KeyTable *t, const char *id) {
        KeyEntry wanted;

        if (t->n_entries == 0 || strlen(id) != MAM_API_KEY_ID_SIZE)
                return NULL;
        memcpy(wanted.id, id, sizeof(wanted.id));
        return bsearch(&wanted, t->entries, t->n_entries, sizeof(*t->entries), by_id);
}

KeyEntry *key_table_at(const KeyTable *t, size_t i) {
        return i < t->n_entries ? &t->entries[i] : NULL;
}

size_t key_table_size(const KeyTable *t) {
        return t->n_entries;
}

bool key_table_is_loaded(const KeyTable *t) {
        return t->loaded;
}

/* ---- the manager's document ---- */

static const char *text_of(json_object *o) {
        return json_object_is_type(o, json_type_string) &&
                                               strlen(json_object_get_string(o)) ==
                                                               (size_t) json_object_get_string_len(o)
                               ? json_object_get_string(o)
                               : NULL;
}

static int read_list(json_object *o, const char *key, const char **ret, size_t max, size_t *ret_n) {
        json_object *array = NULL;

        if (mam_json_get_array(o, "", key, &array, NULL) <= 0 || json_object_array_length(array) > max)
                return -EBADMSG;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                ret[i] = text_of(json_object_array_get_idx(array, i));
                if (!ret[i])
                        return -EBADMSG;
        }
        *ret_n = json_object_array_length(array);
        return 0;
}

static int read_mac(json_object *o, const char *key, uint8_t *ret) {
        const char *text = NULL;

        return mam_json_get_string(o, "", key, &text, NULL) > 0 && mam_api_key_mac_parse(ret, text)
                               ? 0
                               : -EBADMSG;
}

static int read_entry(json_object *o, KeyEntry *ret) {
        const char *roles[MAM_IDENTITY_ROLES_MAX], *scopes[CALLER_SCOPES_MAX], *id = NULL, *subject = NULL;
        int64_t expires = 0, previous = 0;
        size_t n_roles = 0, n_scopes = 0;
        int r;

        if (!json_object_is_type(o, json_type_object) || mam_json_get_string(o, "", "id", &id, NULL) <= 0 ||
            !mam_api_key_id_is_valid(id) || mam_json_get_string(o, "", "subject", &subject, NULL) <= 0 ||
            mam_json_get_int(o, "", "expiresUSec", 0, INT64_MAX, &expires, NULL) < 0 ||
            mam_json_get_int(o, "", "previousUntilUSec", 0, INT64_MAX, &previous, NULL) < 0)
                return -EBADMSG;
        r = read_list(o, "roles", roles, MAM_ELEMENTSOF(roles), &n_roles);
        if (r >= 0)
                r = read_list(o, "scopes", scopes, MAM_ELEMENTSOF(scopes), &n_scopes);
        if (r >= 0)
                r = read_mac(o, "mac", ret->mac);
        if (r >= 0 && previous > 0)
                r = read_mac(o, "previousMac", ret->previous_mac);
        if (r < 0)
                return r;
        memcpy(ret->id, id, sizeof(ret->id));
        ret->expires_usec = (uint64_t) expires;
        ret->previous_until_usec = (uint64_t) previous;
        r = caller_new(&ret->caller,
                       &(CallerSpec){
                                       .kind = CALLER_KEY,
                                       .subject = subject,
                                       .roles = roles,
                                       .n_roles = n_roles,
                                       .scopes = scopes,
                                       .n_scopes = n_scopes,
                                       .scoped = n_scopes > 0,
                                       .key = id,
                                       .expires_sec = expires > 0 ? (uint64_t) expires / MAM_USEC_PER_SEC
                                                                  : UINT64_MAX,
                       });
        return r == -EINVAL ? -EBADMSG : r;
}

int key_table_load(KeyTable *t, const char *json, size_t size) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        json_object *array = NULL;
        KeyEntry *entries;
        size_t n;
        int r;

        r = mam_json_parse(&root, json, size, NULL);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) ||
            mam_json_get_array(root, "", "keys", &array, NULL) <= 0 ||
            json_object_array_length(array) > KEY_TABLE_MAX)
                return -EBADMSG;
        n = json_object_array_length(array);
        entries = calloc(n ?: 1, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < n && r >= 0; i++)
                r = read_entry(json_object_array_get_idx(array, i), &entries[i]);
        if (r < 0) {
                entries_free(entries, n);
                return r;
        }

        qsort(entries, n, sizeof(*entries), by_id);
        for (size_t i = 0; i < n; i++) {
                const KeyEntry *before = key_table_find(t, entries[i].id);

                if (before) {
                        entries[i].uses = before->uses;
                        entries[i].used_usec = before->used_usec;
                }
        }
        entries_free(t->entries, t->n_entries);
        t->entries = entries;
        t->n_entries = n;
        t->loaded = true;
        return 0;
}

/* ---- checking ---- */

static bool is_over(uint64_t until_usec, uint64_t now_usec) {
        return until_usec > 0 && now_usec >= until_usec;
}

int key_table_check(KeyTable *t, const char *text, size_t size, uint64_t now_usec, Caller **ret) {
        uint8_t mac[MAM_API_KEY_MAC_SIZE];
        char id[MAM_API_KEY_ID_SIZE + 1];
        const KeyEntry *e;
        CallerSpec spec;
        int r;

        if (!mam_api_key_parse(text, size, id))
                return KEY_UNKNOWN;
        if (!t->loaded || !t->secret)
                return KEY_NOT_LOADED;
        e = key_table_find(t, id);
        if (!e)
                return KEY_UNKNOWN;
        r = mam_api_key_mac(mac, t->secret, t->secret_size, text, size);
        if (r < 0)
                return r;
        if (mam_api_key_mac_equal(mac, e->mac)) {
                if (is_over(e->expires_usec, now_usec))
                        return KEY_EXPIRED;
                *ret = caller_ref(e->caller);
                return KEY_OK;
        }
        if (e->previous_until_usec == 0 || !mam_api_key_mac_equal(mac, e->previous_mac))
                return KEY_UNKNOWN;
        if (is_over(e->previous_until_usec, now_usec) || is_over(e->expires_usec, now_usec))
                return KEY_EXPIRED;

        /* With the old secret the caller ends earlier. */
        spec = caller_spec(e->caller);
        if (e->previous_until_usec / MAM_USEC_PER_SEC < spec.expires_sec)
                spec.expires_sec = e->previous_until_usec / MAM_USEC_PER_SEC;
        r = caller_new(ret, &spec);
        return r < 0 ? r : KEY_OK;
}

bool key_table_is_valid(const KeyTable *t, const char *id, uint64_t now_usec) {
        const KeyEntry *e = key_table_find(t, id);

        return e && !is_over(e->expires_usec, now_usec);
}
