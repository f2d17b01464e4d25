/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/limits-share.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/queue.h>

#include "api-gateway/gateway-redis.h"
#include "api-gateway/limits-internal.h"

#define KEY_NAME      GATEWAY_REDIS_PREFIX "rate-key"
#define KEY_TEXT      33U /* 32 hexadecimal digits, and NUL */
#define NAME_MAX_SIZE 96U
#define NSEC_PER_USEC ((uint64_t) 1000)

typedef struct Batch Batch;

/* A command under way. It owns itself, as Redis answers also when nobody is there any more. */
struct Batch {
        LimitsShare *share; /* weak; NULL: it is gone */
        LimitRule *rule;    /* reference; NULL: it asks for the key */
        size_t n;
        uint64_t keys[LIMIT_DIRTY_MAX];
        uint32_t sent[LIMIT_DIRTY_MAX];
        LIST_ENTRY(Batch) batches;
};

struct LimitsShare {
        Limits *limits;  /* borrowed */
        MamRedis *redis; /* borrowed */
        bool has_key;    /* hashes are the same in all gateways */
        bool asking_key;
        LIST_HEAD(BatchList, Batch) batches; /* weak */
};

/* An account is the time at which the bucket is full again, by Redis' clock. The answer is how far that is
 * away, in microseconds; and negative, less one, of an account that nobody had told of before. */
static const char script[] =
                "local t=redis.call('TIME') local now=t[1]*1000000+t[2] local out={} "
                "for i=1,#KEYS do "
                "local full=tonumber(redis.call('GET',KEYS[i]) or 0) "
                "local new=not full or full<now if new then full=now end "
                "full=full+tonumber(ARGV[i]) "
                "redis.call('SET',KEYS[i],string.format('%.0f',full),'PX',math.floor((full-now)/1000)+1) "
                "out[i]=new and -(full-now)-1 or full-now end return out";

uint32_t limit_share(const LimitRate *rate, uint32_t remaining, unsigned n_gateways) {
        uint64_t earned = LIMITS_SHARE_USEC * NSEC_PER_USEC / rate->interval_nsec;
        uint64_t part;

        if (n_gateways <= 1)
                return UINT32_MAX;
        part = (remaining + earned) / n_gateways;
        return part < 1 ? 1 : part < UINT32_MAX ? (uint32_t) part : UINT32_MAX - 1;
}

static int batch_new(Batch **ret, LimitsShare *s, LimitRule *rule) {
        Batch *b = calloc(1, sizeof(*b));

        if (!b)
                return -ENOMEM;
        b->share = s;
        b->rule = rule ? limit_rule_ref(rule) : NULL;
        LIST_INSERT_HEAD(&s->batches, b, batches);

        *ret = b;
        return 0;
}

static void batch_free(Batch *b) {
        if (!b)
                return;

        if (b->share)
                LIST_REMOVE(b, batches);
        limit_rule_unref(b->rule);
        free(b);
}

int limits_share_new(
                LimitsShare **ret,
                Limits *l,
                MamRedis *redis,
                void (*on_dirty)(void *userdata),
                void *userdata) {
        LimitsShare *s;

        assert(ret);
        assert(l);
        assert(redis);
        assert(on_dirty);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->limits = l;
        s->redis = redis;
        LIST_INIT(&s->batches);
        l->on_dirty = on_dirty;
        l->userdata = userdata;

        *ret = s;
        return 0;
}

LimitsShare *limits_share_free(LimitsShare *s) {
        Batch *b;

        if (!s)
                return NULL;

        s->limits->on_dirty = NULL;
        limits_share_set_gateways(s, 1);
        while ((b = LIST_FIRST(&s->batches))) {
                LIST_REMOVE(b, batches);
                b->share = NULL;
        }
        free(s);
        return NULL;
}

void limits_share_set_gateways(LimitsShare *s, unsigned n) {
        Limits *l = s->limits;

        n = n > 0 ? n : 1;
        if (n == 1 && l->n_gateways > 1)
                /* Nobody is left to share with, or nothing is known of them: the parts are void. */
                for (size_t i = 0; i < l->n_rules; i++)
                        for (size_t k = 0; k < LIMIT_TABLE_ENTRIES; k++) {
                                LimitEntry *e = limit_table_at(l->rules[i]->table, k);

                                if (e->key != 0)
                                        e->share = UINT32_MAX;
                        }
        l->n_gateways = n;
}

/* What all have taken, but for what was admitted here since it was told. Of an account that is new the
 * others may have their first part, and have not told yet: there is no second part until they could have. */
static void learn(Batch *b, size_t i, int64_t answer) {
        uint64_t now = mam_now_monotonic() * NSEC_PER_USEC;
        const LimitRate *rate = &b->rule->rate;
        LimitEntry *e = limit_table_find(b->rule->table, b->keys[i]);
        int64_t debt_usec = answer < 0 ? -(answer + 1) : answer;

        if (!e)
                return; /* pushed out meanwhile */
        e->unsent -= e->unsent < b->sent[i] ? e->unsent : b->sent[i];
        e->full_nsec = now + (uint64_t) debt_usec * NSEC_PER_USEC + e->unsent * rate->interval_nsec;
        e->share = UINT32_MAX;
        e->share = limit_share(rate, limit_remaining(e, rate, now), b->share->limits->n_gateways);
        if (answer < 0 && e->share < UINT32_MAX)
                e->share = 0;
        if (e->share < UINT32_MAX - e->unsent)
                e->share += e->unsent;
}

static void on_told(
                MamRedis *redis,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        Batch *b = userdata;

        /* What could not be told stays untold, and goes along with the next request of that key. */
        if (error >= 0 && b->share && mam_redis_type(reply) == MAM_REDIS_ARRAY &&
            mam_redis_count(reply) == b->n)
                for (size_t i = 0; i < b->n; i++)
                        learn(b, i, mam_redis_integer(mam_redis_item(reply, i)));
        batch_free(b);
}

static int batch_send(Batch *b) {
        static char names[LIMIT_DIRTY_MAX][NAME_MAX_SIZE], amounts[LIMIT_DIRTY_MAX][24];
        const char *argv[3 + 2 * LIMIT_DIRTY_MAX];
        char count[12];
        size_t n = 0;

        (void) snprintf(count, sizeof(count), "%zu", b->n);
        argv[n++] = "EVAL";
        argv[n++] = script;
        argv[n++] = count;
        for (size_t i = 0; i < b->n; i++) {
                (void) snprintf(names[i],
                                NAME_MAX_SIZE,
                                GATEWAY_REDIS_PREFIX "rate:%s:%016" PRIx64,
                                b->rule->name,
                                b->keys[i]);
                (void) snprintf(amounts[i],
                                sizeof(amounts[i]),
                                "%" PRIu64,
                                (uint64_t) (b->sent[i] * b->rule->rate.interval_nsec / NSEC_PER_USEC));
                argv[n++] = names[i];
        }
        for (size_t i = 0; i < b->n; i++)
                argv[n++] = amounts[i];
        return mam_redis_command(b->share->redis, argv, NULL, n, on_told, b);
}

static void tell_rule(LimitsShare *s, LimitRule *rule) {
        Batch *b = NULL;

        if (batch_new(&b, s, rule) < 0)
                return; /* they stay dirty */
        for (unsigned i = 0; i < rule->n_dirty; i++) {
                LimitEntry *e = limit_table_find(rule->table, rule->dirty[i]);

                if (!e || !e->dirty)
                        continue;
                e->dirty = false;
                b->keys[b->n] = e->key;
                b->sent[b->n++] = e->unsent;
        }
        rule->n_dirty = 0;
        if (b->n == 0 || batch_send(b) < 0)
                batch_free(b);
}

static bool parse_key(const char *text, size_t size, KeyHashKey *ret) {
        char copy[KEY_TEXT];

        if (size != KEY_TEXT - 1)
                return false;
        memcpy(copy, text, size);
        copy[size] = '\0';
        return strspn(copy, "0123456789abcdef") == size &&
               sscanf(copy, "%16" SCNx64 "%16" SCNx64, &ret->k0, &ret->k1) == 2;
}

static void on_key(
                MamRedis *redis,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        Batch *b = userdata;
        LimitsShare *s = b->share;
        const char *text;
        KeyHashKey key;
        size_t size;
        Limits *l;

        batch_free(b);
        if (!s)
                return;
        l = s->limits;
        s->asking_key = false;
        if (error < 0 || mam_redis_type(reply) != MAM_REDIS_STRING)
                return;
        text = mam_redis_text(reply, &size);
        if (!parse_key(text, size, &key))
                return;
        s->has_key = true;
        if (key.k0 == l->key.k0 && key.k1 == l->key.k1)
                return;
        /* What was counted under other hashes is lost: at the start, or never. */
        l->key = key;
        for (size_t i = 0; i < l->n_rules; i++) {
                l->rules[i]->key = key;
                l->rules[i]->n_dirty = 0;
                limit_table_clear(l->rules[i]->table);
        }
}

/* One key for all; the first who comes makes it. */
static void ask_key(LimitsShare *s) {
        static const char text_script[] =
                        "redis.call('SET',KEYS[1],ARGV[1],'NX') return redis.call('GET',KEYS[1])";
        char text[KEY_TEXT];
        Batch *b = NULL;

        if (batch_new(&b, s, NULL) < 0)
                return;
        (void) snprintf(text,
                        sizeof(text),
                        "%016" PRIx64 "%016" PRIx64,
                        s->limits->key.k0,
                        s->limits->key.k1);
        s->asking_key = mam_redis_command(
                                        s->redis,
                                        (const char *const[]){ "EVAL", text_script, "1", KEY_NAME, text },
                                        NULL,
                                        5,
                                        on_key,
                                        b) >= 0;
        if (!s->asking_key)
                batch_free(b);
}

void limits_share_run(LimitsShare *s) {
        Limits *l;

        assert(s);

        l = s->limits;
        if (!mam_redis_is_connected(s->redis)) {
                s->has_key = s->asking_key = false; /* it may be another one, or empty, when it is back */
                return;
        }
        if (!s->has_key) {
                if (!s->asking_key)
                        ask_key(s);
                return;
        }
        for (size_t i = 0; i < l->n_rules; i++)
                if (l->rules[i]->n_dirty > 0)
                        tell_rule(s, l->rules[i]);
}
