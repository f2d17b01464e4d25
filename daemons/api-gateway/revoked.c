/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/revoked.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "api-gateway/gateway-redis.h"
#include "api-gateway/sessions.h"
#include "libmam/obs/log.h"

/* uthash ends the process where there is no memory; here the entry is left out instead. */
#define uthash_nonfatal_oom(entry) ((entry)->expires_sec = 0)
#define HASH_NONFATAL_OOM          1
#include <uthash.h>

typedef struct RevokedEntry {
        uint64_t expires_sec; /* realtime */
        UT_hash_handle hh;
        char member[];
} RevokedEntry;

struct Revoked {
        sd_event *event;       /* owned reference */
        MamRedis *redis;       /* borrowed; or NULL */
        MamRedis *listener;    /* owned; or NULL */
        sd_event_source *tick; /* owned */
        RevokedEntry *entries; /* owned; oldest first */
        RevokedCallback on_revoked;
        void *userdata;
};

int revoked_new(Revoked **ret, sd_event *event, RevokedCallback on_revoked, void *userdata) {
        Revoked *v;

        assert(ret);
        assert(event);
        assert(on_revoked);

        v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->event = sd_event_ref(event);
        v->on_revoked = on_revoked;
        v->userdata = userdata;
        *ret = v;
        return 0;
}

static void entry_remove(Revoked *v, RevokedEntry *e) {
        HASH_DEL(v->entries, e);
        free(e);
}

Revoked *revoked_free(Revoked *v) {
        RevokedEntry *e, *next;

        if (!v)
                return NULL;

        mam_redis_free(v->listener);
        sd_event_source_disable_unref(v->tick);
        HASH_ITER(hh, v->entries, e, next) entry_remove(v, e);
        sd_event_unref(v->event);
        free(v);
        return NULL;
}

size_t revoked_count(const Revoked *v) {
        return HASH_COUNT(v->entries);
}

static bool member_is_fit(const char *member, size_t size) {
        if (size < 3 || size > REVOKED_MEMBER_MAX || (member[0] != 't' && member[0] != 's') ||
            member[1] != ':')
                return false;
        for (size_t i = 0; i < size; i++)
                if (member[i] <= ' ' || member[i] >= 0x7f)
                        return false;
        return true;
}

/* Who comes first ends first, more or less: they live about as long. */
static void make_room(Revoked *v) {
        if (HASH_COUNT(v->entries) >= REVOKED_MAX)
                entry_remove(v, v->entries);
}

int revoked_add(Revoked *v, const char *member, size_t size, uint64_t expires_sec) {
        RevokedEntry *e = NULL;

        assert(v);

        if (!member_is_fit(member, size))
                return -EINVAL;
        HASH_FIND(hh, v->entries, member, size, e);
        if (e) {
                if (expires_sec > e->expires_sec)
                        e->expires_sec = expires_sec;
                return 0;
        }
        make_room(v);
        e = calloc(1, sizeof(*e) + size + 1);
        if (!e)
                return -ENOMEM;
        memcpy(e->member, member, size);
        e->expires_sec = expires_sec;
        HASH_ADD_KEYPTR(hh, v->entries, e->member, size, e);
        if (e->expires_sec == 0 && expires_sec != 0) {
                free(e);
                return -ENOMEM;
        }
        v->on_revoked(e->member, v->userdata);
        return 1;
}

bool revoked_has(const Revoked *v, char kind, const char *id, uint64_t now_sec) {
        char member[REVOKED_MEMBER_MAX + 1];
        RevokedEntry *e = NULL;
        int n;

        if (!id || !v->entries)
                return false;
        n = snprintf(member, sizeof(member), "%c:%s", kind, id);
        if (n < 0 || (size_t) n >= sizeof(member))
                return false;
        HASH_FIND(hh, v->entries, member, (size_t) n, e);
        return e && e->expires_sec > now_sec;
}

void revoked_take_message(Revoked *v, const char *data, size_t size) {
        char text[REVOKED_MEMBER_MAX + 32], *end;
        uint64_t expires;

        if (size >= sizeof(text))
                return;
        memcpy(text, data, size);
        text[size] = '\0';
        if (text[0] < '0' || text[0] > '9')
                return;
        errno = 0;
        expires = strtoull(text, &end, 10);
        if (errno != 0 || *end != ' ')
                return;
        (void) revoked_add(v, end + 1, strlen(end + 1), expires);
}

/* ---- shared ---- */

static void on_message(MamRedis *r, const char *data, size_t size, void *userdata) {
        revoked_take_message(userdata, data, size);
}

static void on_list(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        Revoked *v = userdata;

        if (error < 0) {
                if (error != -ECANCELED)
                        mam_debug("Cannot list what was revoked: %s", message ? message : "no answer");
                return;
        }
        for (size_t i = 0; i + 1 < mam_redis_count(reply); i += 2) {
                size_t size, score_size;
                const char *member = mam_redis_text(mam_redis_item(reply, i), &size);
                const char *score = mam_redis_text(mam_redis_item(reply, i + 1), &score_size);

                (void) revoked_add(v, member, size, strtoull(score, NULL, 10));
        }
}

static void fetch(Revoked *v) {
        const char *key = SESSIONS_REVOKED_KEY;
        char now[24];
        const char *const list[] = {
                "ZRANGEBYSCORE", key, now, "+inf", "WITHSCORES", "LIMIT", "0", "65536",
        };
        const char *const clean[] = { "ZREMRANGEBYSCORE", key, "-inf", now };

        if (!v->redis || !mam_redis_is_connected(v->redis))
                return;
        (void) snprintf(now, sizeof(now), "%" PRIu64, mam_now_realtime() / MAM_USEC_PER_SEC);
        (void) mam_redis_command(v->redis, clean, NULL, MAM_ELEMENTSOF(clean), NULL, NULL);
        (void) mam_redis_command(v->redis, list, NULL, MAM_ELEMENTSOF(list), on_list, v);
}

/* Heard from now on: what was published before is in the list. */
static void on_state(MamRedis *r, bool connected, void *userdata) {
        Revoked *v = userdata;

        if (connected) {
                (void) sd_event_source_set_time_relative(v->tick, 0);
                (void) sd_event_source_set_enabled(v->tick, SD_EVENT_ONESHOT);
        }
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        uint64_t now_sec = mam_now_realtime() / MAM_USEC_PER_SEC;
        RevokedEntry *e, *next;
        Revoked *v = userdata;
        bool waiting = v->redis && !mam_redis_is_connected(v->redis) && mam_redis_is_connected(v->listener);

        HASH_ITER(hh, v->entries, e, next) {
                if (e->expires_sec <= now_sec)
                        entry_remove(v, e);
        }
        fetch(v);
        /* The one connection may be there a moment before the other. */
        (void) sd_event_source_set_time_relative(
                        v->tick,
                        waiting ? 100 * MAM_USEC_PER_MSEC : REVOKED_REFRESH_USEC);
        (void) sd_event_source_set_enabled(v->tick, SD_EVENT_ONESHOT);
        return 0;
}

int revoked_start(Revoked *v, MamRedis *redis) {
        int r;

        assert(v);
        assert(!v->tick);

        if (!redis)
                return 0;
        v->redis = redis;
        r = sd_event_add_time_relative(
                        v->event,
                        &v->tick,
                        CLOCK_MONOTONIC,
                        0,
                        MAM_USEC_PER_MSEC,
                        on_tick,
                        v);
        if (r < 0)
                return r;
        r = gateway_redis_new(&v->listener, v->event, SESSIONS_REVOKED_KEY, on_message, v);
        if (r < 0)
                return r;
        if (v->listener)
                mam_redis_set_on_state(v->listener, on_state, v);
        return 0;
}
