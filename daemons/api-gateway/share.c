/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/share.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "api-gateway/gateway.h"
#include "api-gateway/limits-share.h"
#include "libmam/util/time.h"

#define LOAD_KEY   GATEWAY_REDIS_PREFIX "load"
#define TEXT_MAX   (16U * 1024U)
#define QUIET_USEC (2 * MAM_USEC_PER_SEC) /* without a request; then nothing is told any more */

struct Share {
        Gateway *gateway;       /* weak: it owns us */
        LimitsShare *limits;    /* owned */
        sd_event_source *timer; /* owned */
        bool armed;
        bool poked;         /* there was a request since the timer last came */
        uint64_t busy_usec; /* when it was last known that there are any */
        uint64_t told_usec;
        uint64_t heard_usec; /* 0: nothing that still holds */
        unsigned n_gateways;
        char id[17];
        Share **alive; /* owned by the command under way, which outlives us: NULL in it when we are gone */
};

/* One field per gateway: when, by Redis' clock, and "ID:N=requests" for each replica. Who is stale is thrown
 * out; the answer has the others. */
static const char script[] = "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) "
                             "redis.call('HSET',KEYS[1],ARGV[1],string.format('%.0f',now)..' '..ARGV[2]) "
                             "redis.call('PEXPIRE',KEYS[1],60000) "
                             "local all=redis.call('HGETALL',KEYS[1]) local out={} "
                             "for i=1,#all,2 do if all[i]~=ARGV[1] then "
                             "local at=tonumber(string.match(all[i+1],'^%d+')) "
                             "if not at or now-at>tonumber(ARGV[3]) then redis.call('HDEL',KEYS[1],all[i]) "
                             "else out[#out+1]=string.match(all[i+1],' (.*)') or '' end end end return out";

static void forget_others(Share *s) {
        Gateway *g = s->gateway;

        for (size_t i = 0; i < g->n_upstreams; i++)
                for (size_t k = 0; k < g->upstreams[i]->n_endpoints; k++)
                        g->upstreams[i]->endpoints[k]->elsewhere = 0;
}

static void set_gateways(Share *s, unsigned n) {
        s->n_gateways = n;
        limits_share_set_gateways(s->limits, n);
}

/* "project-manager:2=5" */
static void learn_replica(Share *s, char *token) {
        char *equals = strchr(token, '='), *colon = strrchr(token, ':'), *end = NULL;
        unsigned long n;
        Upstream *u;

        if (!equals || !colon || colon > equals)
                return;
        *equals = '\0';
        n = strtoul(equals + 1, &end, 10);
        if (*end || n > 1000000)
                return;
        *colon = '\0';
        u = gateway_find_upstream(s->gateway, token);
        *colon = ':';
        for (size_t i = 0; u && i < u->n_endpoints; i++)
                if (strcmp(u->endpoints[i]->id, token) == 0)
                        u->endpoints[i]->elsewhere += (unsigned) n;
}

static void on_load(
                MamRedis *redis,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        Share **alive = userdata, *s = *alive;

        free(alive);
        if (!s)
                return;
        s->alive = NULL;
        if (error < 0 || mam_redis_type(reply) != MAM_REDIS_ARRAY)
                return;

        forget_others(s);
        for (size_t i = 0; i < mam_redis_count(reply); i++) {
                _cleanup_(mam_freep) char *copy = NULL;
                const MamRedisReply *item = mam_redis_item(reply, i);
                size_t size = 0;
                const char *text = mam_redis_text(item, &size);
                char *rest = NULL;

                if (mam_redis_type(item) != MAM_REDIS_STRING || size > TEXT_MAX)
                        continue;
                copy = strndup(text, size);
                if (!copy)
                        return;
                for (char *token = strtok_r(copy, " ", &rest); token; token = strtok_r(NULL, " ", &rest))
                        learn_replica(s, token);
        }
        s->heard_usec = mam_now_monotonic();
        set_gateways(s, (unsigned) mam_redis_count(reply) + 1);
}

/* -ENOBUFS: more than is worth telling; what fits is told. */
static int format_load(const Gateway *g, MamBuffer *b) {
        int r = 0;

        for (size_t i = 0; i < g->n_upstreams && r >= 0; i++) {
                const Upstream *u = g->upstreams[i];

                for (size_t k = 0; k < u->n_endpoints && r >= 0; k++)
                        if (u->endpoints[k]->pending > 0)
                                r = mam_buffer_appendf(
                                                b,
                                                "%s=%u ",
                                                u->endpoints[k]->id,
                                                u->endpoints[k]->pending);
        }
        return r;
}

static void tell_load(Share *s, uint64_t now) {
        _cleanup_(mam_buffer_done) MamBuffer text = { .max = TEXT_MAX };
        char stale[24];

        if (s->alive)
                return; /* the last one is not answered yet */
        (void) format_load(s->gateway, &text);
        (void) snprintf(stale, sizeof(stale), "%" PRIu64, SHARE_STALE_USEC / MAM_USEC_PER_MSEC);
        s->alive = malloc(sizeof(*s->alive));
        if (!s->alive)
                return;
        *s->alive = s;
        s->told_usec = now;
        if (mam_redis_command(
                            s->gateway->redis,
                            (const char *const[]){ "EVAL",
                                                   script,
                                                   "1",
                                                   LOAD_KEY,
                                                   s->id,
                                                   mam_buffer_bytes(&text),
                                                   stale },
                            NULL,
                            7,
                            on_load,
                            s->alive) < 0) {
                free(s->alive);
                s->alive = NULL;
        }
}

static bool has_work(const Gateway *g) {
        return !TAILQ_EMPTY(&g->forwards);
}

static void arm(Share *s) {
        if (sd_event_source_set_time_relative(s->timer, LIMITS_SHARE_USEC) >= 0 &&
            sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT) >= 0)
                s->armed = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Share *s = userdata;
        uint64_t now = mam_now_monotonic();

        s->armed = false;
        if (s->poked || has_work(s->gateway))
                s->busy_usec = now;
        s->poked = false;
        limits_share_run(s->limits);
        if (now >= s->told_usec + SHARE_LOAD_USEC)
                tell_load(s, now);
        if (s->heard_usec > 0 && now > s->heard_usec + SHARE_STALE_USEC) {
                s->heard_usec = 0;
                forget_others(s);
                set_gateways(s, 1);
        }
        if (now < s->busy_usec + QUIET_USEC)
                arm(s);
        else /* what is known now will not be true when there is something to do again */
                forget_others(s);
        return 0;
}

void share_poke(Share *s) {
        if (!s)
                return;
        s->poked = true;
        if (s->armed)
                return;
        if (s->heard_usec > 0) /* after a pause: as many as there were, until we hear or do not */
                s->heard_usec = mam_now_monotonic();
        arm(s);
}

static void on_dirty(void *userdata) {
        share_poke(userdata);
}

unsigned share_gateways(const Share *s) {
        return s ? s->n_gateways : 1;
}

int share_new(Share **ret, Gateway *g) {
        _cleanup_(share_freep) Share *s = NULL;
        uint64_t id = 0;
        int r;

        assert(ret);
        assert(g && g->redis && g->limits);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->gateway = g;
        s->n_gateways = 1;
        if (getrandom(&id, sizeof(id), 0) != (ssize_t) sizeof(id))
                return -EIO;
        (void) snprintf(s->id, sizeof(s->id), "%016" PRIx64, id);
        r = limits_share_new(&s->limits, g->limits, g->redis, on_dirty, s);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(g->event, &s->timer, CLOCK_MONOTONIC, 0, 0, on_timer, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->timer, "gateway-share");
        s->armed = true; /* once at the start: the key of the hashes is fetched before anybody asks */

        *ret = MAM_TAKE(s);
        return 0;
}

Share *share_free(Share *s) {
        if (!s)
                return NULL;

        sd_event_source_disable_unref(s->timer);
        if (s->alive)
                *s->alive = NULL;
        limits_share_free(s->limits);
        free(s);
        return NULL;
}
