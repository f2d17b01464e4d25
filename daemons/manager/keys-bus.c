/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * API keys on the bus
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/file.h"
#include "libmam/util/time.h"
#include "manager/actions.h"
#include "manager/keys.h"
#include "manager/manager-bus.h"

#define SECRET_MAX    65536U
#define SAVE_USE_USEC (60 * MAM_USEC_PER_SEC)

/* The credential under which keys are kept: read each time, as keys are rarely made, and wiped after. */
static int read_secret(char **ret, size_t *ret_size) {
        const char *folder = getenv("CREDENTIALS_DIRECTORY");
        char path[PATH_MAX];
        int n;

        if (!folder)
                return -ENOENT;
        n = snprintf(path, sizeof(path), "%s/keys.secret", folder);
        if (n < 0 || (size_t) n >= sizeof(path))
                return -ENAMETOOLONG;
        return mam_file_read(ret, ret_size, path, SECRET_MAX);
}

static void secret_wipe(char *secret, size_t size) {
        if (secret)
                explicit_bzero(secret, size);
        free(secret);
}

static int no_secret(sd_bus_error *error) {
        return sd_bus_error_setf(
                        error,
                        MAM_BUS_ERROR_NOT_INITIALIZED,
                        "There is no credential for keys yet: run 'mamctl init' and 'systemctl restart mam-manager'");
}

static void log_key(const ApiKey *key, const char *what) {
        char id[48];

        (void) snprintf(id, sizeof(id), "MAM_KEY=%s", key->id);
        mam_log_full(LOG_NOTICE,
                     MAM_MESSAGE_KEY_CHANGED,
                     (const char *[]){ id, NULL },
                     "API key %s (\"%s\", subject '%s') was %s",
                     key->id,
                     key->name,
                     key->subject,
                     what);
}

static int emit_changed(Manager *m) {
        return sd_bus_emit_signal(
                        m->bus,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "KeysChanged",
                        "t",
                        m->keys->generation);
}

static int failed(int r, sd_bus_error *error) {
        return sd_bus_error_set_errnof(
                        error,
                        r,
                        "The list of keys cannot be stored: %s",
                        strerrordesc_np(-r));
}

static void list_free(char ***list) {
        for (char **s = *list; s && *s; s++)
                free(*s);
        free(*list);
}

/* The key, or NULL with *error set. */
static ApiKey *find(Manager *m, const char *id, sd_bus_error *error) {
        bool several;
        ApiKey *key = keys_find_called(m->keys, id, &several);

        if (several)
                (void) sd_bus_error_setf(
                                error,
                                MAM_BUS_ERROR_NO_SUCH_KEY,
                                "There are several keys '%.64s': say which one by its id",
                                id);
        else if (!key)
                (void) sd_bus_error_setf(error, MAM_BUS_ERROR_NO_SUCH_KEY, "There is no key '%.64s'", id);
        return key;
}

int manager_bus_create_key(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(list_free) char **roles = NULL, **scopes = NULL;
        char text[MAM_API_KEY_TEXT_SIZE + 1];
        const char *reason = NULL;
        KeyRequest q = { 0 };
        Manager *m = userdata;
        ApiKey *key = NULL;
        char *secret = NULL;
        size_t size = 0;
        uint64_t flags;
        int r;

        r = sd_bus_message_read(message, "ss", &q.name, &q.subject);
        if (r >= 0)
                r = sd_bus_message_read_strv(message, &roles);
        if (r >= 0)
                r = sd_bus_message_read_strv(message, &scopes);
        if (r >= 0)
                r = sd_bus_message_read(message, "tt", &q.ttl_usec, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r < 0)
                return r;
        q.roles = roles ? roles : (char *[]){ NULL };
        q.scopes = scopes ? scopes : (char *[]){ NULL };
        if (!key_request_is_valid(&q, &reason))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s", reason);

        r = manager_bus_authorize(m, message, MAM_ACTION_SECRETS, "create-key", "", error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = read_secret(&secret, &size);
        if (r == -ENOENT)
                return no_secret(error);
        if (r < 0)
                return r;
        r = keys_create(m->keys, &q, secret, size, mam_now_realtime(), &key, text);
        secret_wipe(secret, size);
        if (r == -EDQUOT)
                return sd_bus_error_setf(error, MAM_BUS_ERROR_QUOTA, "There are %u keys already", KEYS_MAX);
        if (r < 0)
                return failed(r, error);

        log_key(key, "made");
        (void) emit_changed(m);
        r = sd_bus_reply_method_return(message, "ss", key->id, text);
        explicit_bzero(text, sizeof(text));
        return r;
}

static int append_key(sd_bus_message *reply, const ApiKey *key) {
        int r;

        r = sd_bus_message_open_container(reply, 'r', "sssasasttttt");
        if (r >= 0)
                r = sd_bus_message_append(reply, "sss", key->id, key->name, key->subject);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, key->roles);
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, key->scopes);
        if (r >= 0)
                r = sd_bus_message_append(
                                reply,
                                "ttttt",
                                key->created_usec,
                                key->expires_usec,
                                key->previous_until_usec,
                                key->used_usec,
                                key->uses);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int manager_bus_list_keys(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        int r;

        r = manager_bus_authorize(m, message, MAM_ACTION_SECRETS, "list-keys", "", error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssasasttttt)");
        for (size_t i = 0; r >= 0 && i < m->keys->n_keys; i++)
                r = append_key(reply, m->keys->keys[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

int manager_bus_rotate_key(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        char text[MAM_API_KEY_TEXT_SIZE + 1];
        uint64_t grace_usec, flags;
        Manager *m = userdata;
        char *secret = NULL;
        const char *id;
        size_t size = 0;
        ApiKey *key;
        int r;

        r = sd_bus_message_read(message, "stt", &id, &grace_usec, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r < 0)
                return r;
        if (grace_usec > KEY_GRACE_MAX_USEC)
                return sd_bus_error_setf(
                                error,
                                SD_BUS_ERROR_INVALID_ARGS,
                                "The secret before can stay valid for 30 days at most");

        r = manager_bus_authorize(m, message, MAM_ACTION_SECRETS, "rotate-key", "", error);
        if (r <= 0)
                return r < 0 ? r : 1;
        key = find(m, id, error);
        if (!key)
                return -sd_bus_error_get_errno(error);

        r = read_secret(&secret, &size);
        if (r == -ENOENT)
                return no_secret(error);
        if (r < 0)
                return r;
        r = keys_rotate(m->keys, key, secret, size, grace_usec, mam_now_realtime(), text);
        secret_wipe(secret, size);
        if (r < 0)
                return failed(r, error);

        log_key(key, "given a new secret");
        (void) emit_changed(m);
        r = sd_bus_reply_method_return(message, "s", text);
        explicit_bzero(text, sizeof(text));
        return r;
}

int manager_bus_revoke_key(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;
        const char *id;
        uint64_t flags;
        ApiKey *key;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r < 0)
                return r;

        r = manager_bus_authorize(m, message, MAM_ACTION_SECRETS, "revoke-key", "", error);
        if (r <= 0)
                return r < 0 ? r : 1;
        key = find(m, id, error);
        if (!key)
                return -sd_bus_error_get_errno(error);

        r = keys_revoke(m->keys, key);
        if (r < 0)
                return failed(r, error);
        log_key(key, "revoked");
        api_key_free(key);
        (void) emit_changed(m);
        return sd_bus_reply_method_return(message, NULL);
}

int manager_bus_get_keys(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        Manager *m = userdata;
        int r;

        r = keys_format_for_gateway(m->keys, mam_now_realtime(), &o);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(message, "ts", m->keys->generation, mam_json_to_string(o));
}

int manager_bus_report_key_use(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        uint64_t uses, used_usec, now = mam_now_monotonic();
        Manager *m = userdata;
        const char *id;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "(stt)");
        for (unsigned i = 0; r >= 0; i++) {
                r = sd_bus_message_read(message, "(stt)", &id, &uses, &used_usec);
                if (r == 0)
                        break;
                if (r > 0 && i >= KEY_USES_REPORT_MAX)
                        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Too many at once");
                if (r > 0)
                        keys_note_use(m->keys, id, uses, used_usec);
        }
        if (r < 0)
                return r;

        /* How often a key was used is worth a write once a minute. */
        if (m->keys_saved_usec == 0 || now >= m->keys_saved_usec + SAVE_USE_USEC) {
                m->keys_saved_usec = now;
                r = keys_save(m->keys);
                if (r < 0)
                        mam_warning("Cannot store the use of API keys: %s", strerrordesc_np(-r));
        }
        return sd_bus_reply_method_return(message, NULL);
}
