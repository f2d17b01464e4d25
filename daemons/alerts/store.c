/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/store.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/file.h"
#include "libmam/util/time.h"

#define VERSION 1

/* FNV-1a. */
static void receiver_key(char ret[static 17], const char *url) {
        uint64_t h = 14695981039346656037ULL;

        for (const char *p = url; *p; p++)
                h = (h ^ (unsigned char) *p) * 1099511628211ULL;
        (void) snprintf(ret, 17, "%016" PRIx64, h);
}

static int add(json_object *o, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int add_told(json_object *o, const Alert *a, const Sender *s) {
        _cleanup_(json_object_putp) json_object *told = json_object_new_object();
        int r = told ? 0 : -ENOMEM;

        for (unsigned i = 0; i < RECEIVERS_MAX && r >= 0; i++) {
                const char *url = sender_url(s, i);
                bool ended = a->told_ended & 1U << i, firing = a->told_firing & 1U << i;
                char key[17];

                if (!url || (!ended && !firing))
                        continue;
                receiver_key(key, url);
                r = add(told, key, json_object_new_string(ended ? "ended" : "firing"));
        }
        return r < 0 ? r : add(o, "told", MAM_TAKE(told));
}

static int add_alert(json_object *list, const Alert *a, const Sender *s) {
        const char *const strings[][2] = {
                { "fingerprint", a->fingerprint }, { "name", a->name },       { "severity", a->severity },
                { "service", a->group->service },  { "replica", a->replica }, { "summary", a->summary },
        };
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r = o ? 0 : -ENOMEM;

        for (size_t i = 0; i < MAM_ELEMENTSOF(strings) && r >= 0; i++)
                r = add(o, strings[i][0], json_object_new_string(strings[i][1]));
        if (r >= 0)
                r = add(o, "started_usec", json_object_new_int64((int64_t) a->started_usec));
        if (r >= 0)
                r = add(o, "ended_usec", json_object_new_int64((int64_t) a->ended_usec));
        if (r >= 0)
                r = add_told(o, a, s);
        if (r < 0)
                return r;
        if (json_object_array_add(list, o) < 0)
                return -ENOMEM;
        (void) MAM_TAKE(o);
        return 0;
}

int store_save(const AlertTable *t, const Sender *s, const char *path) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(json_object_putp) json_object *list = json_object_new_array();
        const AlertGroup *g;
        const char *text;
        const Alert *a;
        int r;

        assert(t);
        assert(s);
        assert(path);

        r = o && list ? add(o, "version", json_object_new_int(VERSION)) : -ENOMEM;
        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        if (r >= 0)
                r = add_alert(list, a, s);
        if (r >= 0)
                r = add(o, "alerts", MAM_TAKE(list));
        if (r < 0)
                return r;
        text = mam_json_to_string(o);
        if (!text)
                return -ENOMEM;
        return mam_file_write_atomic(path, text, strlen(text), 0600);
}

static void take_told(Alert *a, const Sender *s, json_object *told) {
        for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
                const char *url = sender_url(s, i), *state = NULL;
                char key[17];

                if (!url)
                        continue;
                receiver_key(key, url);
                if (mam_json_get_string(told, "", key, &state, NULL) <= 0)
                        continue;
                a->told_firing |= (uint8_t) (1U << i);
                if (strcmp(state, "ended") == 0 && a->ended_usec != 0)
                        a->told_ended |= (uint8_t) (1U << i);
        }
}

static int load_alert(AlertTable *t, const Sender *s, json_object *o, uint64_t now_usec) {
        AlertNews n = { 0 };
        const struct {
                const char *key, **ret;
        } strings[] = {
                { "fingerprint", &n.fingerprint }, { "name", &n.name },       { "severity", &n.severity },
                { "service", &n.service },         { "replica", &n.replica }, { "summary", &n.summary },
        };
        int64_t started = 0, ended = 0;
        json_object *told = NULL;
        AlertGroup *g;
        Alert *a;
        int r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(strings); i++) {
                r = mam_json_get_string(o, "", strings[i].key, strings[i].ret, NULL);
                if (r <= 0)
                        return -EBADMSG;
        }
        if (mam_json_get_int(o, "", "started_usec", 0, INT64_MAX, &started, NULL) <= 0 ||
            mam_json_get_int(o, "", "ended_usec", 0, INT64_MAX, &ended, NULL) <= 0 ||
            mam_json_get_object(o, "", "told", &told, NULL) <= 0)
                return -EBADMSG;
        n.started_usec = (uint64_t) started;
        n.ended_usec = (uint64_t) ended;

        r = alert_table_take(t, &n, now_usec);
        if (r < 0)
                return r;
        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        if (strcmp(a->fingerprint, n.fingerprint) == 0) {
                take_told(a, s, told);
                return 0;
        }
        return 0; /* over, and there is nobody to be told */
}

/* So that the next word waits for its interval, and what fires is repeated. */
static void note_sent(AlertTable *t, uint64_t now_usec) {
        AlertGroup *g;
        Alert *a;

        TAILQ_FOREACH(g, &t->groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
                if (a->told_firing & 1U << i)
                        g->sent_usec[i] = now_usec;
        }
}

int store_load(AlertTable *t, const Sender *s, const char *path, uint64_t now_usec) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        json_object *list = NULL;
        int64_t version = 0;
        size_t size;
        int r;

        assert(t);
        assert(s);
        assert(path);

        r = mam_file_read(&text, &size, path, STORE_MAX);
        if (r < 0)
                return r;
        r = mam_json_parse(&o, text, size, NULL);
        if (r < 0)
                return r;
        if (mam_json_get_int(o, "", "version", VERSION, VERSION, &version, NULL) <= 0 ||
            mam_json_get_array(o, "", "alerts", &list, NULL) <= 0)
                return -EBADMSG;

        for (size_t i = 0; i < json_object_array_length(list); i++) {
                r = load_alert(t, s, json_object_array_get_idx(list, i), now_usec);
                if (r == -EDQUOT)
                        break;
                if (r < 0) {
                        uint8_t receivers = t->receivers;

                        alert_table_done(t);
                        t->receivers = receivers;
                        return r;
                }
        }
        note_sent(t, now_usec);
        return 0;
}
