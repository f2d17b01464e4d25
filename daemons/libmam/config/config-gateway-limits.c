/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "gateway.limits": rate limits by name, and what protects services from too much
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-gateway.h"
#include "libmam/util/time.h"

#define REQUESTS_MAX 1000000
#define WINDOW_MAX   (86400 * MAM_USEC_PER_SEC)
#define BY_MAX       3U
#define CLAIM_PREFIX "claim:"
/* What a burst may be worth in time: more would not be a limit any more. */
#define BURST_WINDOWS 100U

const char *const mam_service_balancings[_MAM_SERVICE_BALANCING_MAX + 1] = { "latency",
                                                                             "least",
                                                                             "turns",
                                                                             NULL };

void mam_gateway_limits_init(MamGatewayLimits *c) {
        assert(c);

        *c = (MamGatewayLimits){
                .shared = true,
                .adaptive = true,
                .concurrency_min = 20,
                .concurrency_max = 1000,
                .queue_max = 16384,
                .queue_wait_usec = 5 * MAM_USEC_PER_SEC,
                .breaker_percent = 50,
                .breaker_open_usec = 2 * MAM_USEC_PER_SEC,
                .retry_percent = 20,
                .client_deadlines = true,
                .slow_bytes = 64,
        };
}

void mam_gateway_limits_done(MamGatewayLimits *c) {
        if (!c)
                return;

        for (size_t i = 0; i < c->n_rates; i++) {
                free(c->rates[i].name);
                free(c->rates[i].claim);
        }
        free(c->rates);
        *c = (MamGatewayLimits){ 0 };
}

bool mam_rate_name_is_valid(const char *name) {
        size_t n = strlen(name);

        return n > 0 && n <= MAM_GATEWAY_RATE_NAME_MAX && name[0] >= 'a' && name[0] <= 'z' &&
               strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool read_by_word(MamReader *rd, const char *text, MamRateConfig *c) {
        static const struct {
                const char *word;
                unsigned by;
        } words[] = {
                { "all", MAM_RATE_BY_ALL }, { "ip", MAM_RATE_BY_ADDRESS },  { "user", MAM_RATE_BY_USER },
                { "key", MAM_RATE_BY_KEY }, { "route", MAM_RATE_BY_ROUTE },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(words); i++)
                if (strcmp(text, words[i].word) == 0) {
                        c->by |= words[i].by;
                        return true;
                }
        if (strncmp(text, CLAIM_PREFIX, strlen(CLAIM_PREFIX)) != 0 || !text[strlen(CLAIM_PREFIX)])
                return false;
        c->by |= MAM_RATE_BY_CLAIM;
        mam_reader_copy(rd, &c->claim, text + strlen(CLAIM_PREFIX));
        return true;
}

static void read_by(MamReader *rd, json_object *o, const char *parent, MamRateConfig *c) {
        static const char what[] = "\"ip\", \"user\", \"key\", \"claim:NAME\", \"route\" or \"all\"";
        char **list = NULL;
        const char *text;
        json_object *v;

        c->by = MAM_RATE_BY_ADDRESS;
        if (!json_object_object_get_ex(o, "by", &v) || !v)
                return;
        if (!json_object_is_type(v, json_type_array)) {
                c->by = 0;
                if (mam_reader_text(rd, o, parent, "by", &text) > 0 && !read_by_word(rd, text, c))
                        mam_reader_bad_key(rd, parent, "by", "must be %s, or a list of them", what);
                return;
        }
        if (!mam_reader_get_texts(rd, o, parent, "by", BY_MAX, NULL, what, &list))
                return;
        c->by = 0;
        for (size_t i = 0; list[i]; i++)
                if (!read_by_word(rd, list[i], c))
                        mam_reader_bad_key(rd, parent, "by", "must be %s, or a list of them", what);
        mam_config_free_strings(list);
}

static void read_rate(MamReader *rd, const char *name, json_object *o, MamGatewayLimits *l) {
        static const char *const known[] = { "requests", "per", "burst", "by", "everywhere", NULL };
        static const char rates[] = "/gateway/limits/rates";
        MamRateConfig *c = &l->rates[l->n_rates];
        int64_t requests = 0, burst = 0;
        char parent[96];

        if (!mam_rate_name_is_valid(name) || !json_object_is_type(o, json_type_object)) {
                mam_reader_bad_key(
                                rd,
                                rates,
                                name,
                                "must be an object, under a name of a-z, 0-9 and '-' of at most %u characters",
                                MAM_GATEWAY_RATE_NAME_MAX);
                return;
        }
        (void) snprintf(parent, sizeof(parent), "%s/%s", rates, name);
        mam_reader_note(rd, mam_config_warn_unknown(rd->file, o, parent, known));
        mam_reader_copy(rd, &c->name, name);
        l->n_rates++;

        if (!mam_reader_get_int(rd, o, parent, "requests", 1, REQUESTS_MAX, &requests) &&
            !json_object_object_get_ex(o, "requests", NULL))
                mam_reader_bad_key(rd, parent, "requests", "is missing: how many requests are permitted");
        c->window_usec = MAM_USEC_PER_SEC;
        mam_reader_span(rd,
                        o,
                        parent,
                        "per",
                        MAM_USEC_PER_SEC,
                        WINDOW_MAX,
                        "a time from \"1s\" to \"1d\"",
                        &c->window_usec);
        c->requests = (uint32_t) requests;
        burst = requests;
        if (mam_reader_get_int(rd, o, parent, "burst", 1, REQUESTS_MAX, &burst) &&
            burst > requests * BURST_WINDOWS)
                mam_reader_bad_key(
                                rd,
                                parent,
                                "burst",
                                "must not be more than %u × requests",
                                BURST_WINDOWS);
        c->burst = (uint32_t) burst;
        read_by(rd, o, parent, c);
        (void) mam_reader_get_bool(rd, o, parent, "everywhere", &c->everywhere);
}

static void read_rates(MamReader *rd, json_object *o, const char *parent, MamGatewayLimits *c) {
        char inner[128];
        json_object *rates;
        int n;

        if (!mam_reader_get_section(rd, o, parent, "rates", NULL, inner, &rates))
                return;
        n = json_object_object_length(rates);
        if (n > (int) MAM_GATEWAY_RATES_MAX) {
                mam_reader_bad_key(
                                rd,
                                parent,
                                "rates",
                                "must not have more than %u entries",
                                MAM_GATEWAY_RATES_MAX);
                return;
        }
        c->rates = calloc((size_t) n + 1, sizeof(*c->rates));
        if (!c->rates) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        json_object_object_foreach(rates, name, rate) read_rate(rd, name, rate, c);
}

static void read_number(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                int64_t min,
                int64_t max,
                uint32_t *ret) {
        int64_t n;

        if (mam_reader_get_int(rd, o, parent, key, min, max, &n))
                *ret = (uint32_t) n;
}

static void read_concurrency(MamReader *rd, json_object *o, const char *parent, MamGatewayLimits *c) {
        static const char *const known[] = { "adaptive", "min", "max", NULL };
        char inner[128];
        json_object *s;

        if (!mam_reader_get_section(rd, o, parent, "concurrency", known, inner, &s))
                return;
        (void) mam_reader_get_bool(rd, s, inner, "adaptive", &c->adaptive);
        read_number(rd, s, inner, "min", 1, 10000, &c->concurrency_min);
        read_number(rd, s, inner, "max", 1, 10000, &c->concurrency_max);
        if (c->concurrency_min <= c->concurrency_max)
                return;
        if (!json_object_object_get_ex(s, "min", NULL))
                c->concurrency_min = c->concurrency_max; /* the default is for the default */
        else
                mam_reader_bad_key(rd, inner, "min", "must not be more than max (%u)", c->concurrency_max);
}

static void read_queue(MamReader *rd, json_object *o, const char *parent, MamGatewayLimits *c) {
        static const char *const known[] = { "max", "wait", NULL };
        char inner[128];
        json_object *s;

        if (!mam_reader_get_section(rd, o, parent, "queue", known, inner, &s))
                return;
        read_number(rd, s, inner, "max", 0, 16384, &c->queue_max);
        mam_reader_span(rd,
                        s,
                        inner,
                        "wait",
                        10 * MAM_USEC_PER_MSEC,
                        60 * MAM_USEC_PER_SEC,
                        "a time from \"10ms\" to \"60s\"",
                        &c->queue_wait_usec);
}

static void read_breaker(MamReader *rd, json_object *o, const char *parent, MamGatewayLimits *c) {
        static const char *const known[] = { "failures", "open", NULL };
        char inner[128];
        json_object *s;

        if (!mam_reader_get_section(rd, o, parent, "breaker", known, inner, &s))
                return;
        read_number(rd, s, inner, "failures", 0, 100, &c->breaker_percent);
        mam_reader_span(rd,
                        s,
                        inner,
                        "open",
                        100 * MAM_USEC_PER_MSEC,
                        60 * MAM_USEC_PER_SEC,
                        "a time from \"100ms\" to \"60s\"",
                        &c->breaker_open_usec);
}

static int limits_init(void *section) {
        mam_gateway_limits_init(section);
        return 0;
}

static void limits_read(MamReader *rd, json_object *o, const char *parent, void *section) {
        MamGatewayLimits *c = section;
        uint32_t slow = (uint32_t) c->slow_bytes;

        read_rates(rd, o, parent, c);
        (void) mam_reader_get_bool(rd, o, parent, "shared", &c->shared);
        read_concurrency(rd, o, parent, c);
        read_queue(rd, o, parent, c);
        read_breaker(rd, o, parent, c);
        read_number(rd, o, parent, "retryBudget", 0, 100, &c->retry_percent);
        (void) mam_reader_get_bool(rd, o, parent, "clientDeadlines", &c->client_deadlines);
        read_number(rd, o, parent, "slowClients", 0, 1000000, &slow);
        c->slow_bytes = slow;
}

static void limits_done(void *section) {
        mam_gateway_limits_done(section);
}

static const char *const limits_known[] = {
        "rates",       "shared",          "concurrency", "queue", "breaker",
        "retryBudget", "clientDeadlines", "slowClients", NULL,
};

const MamGatewaySection mam_gateway_section_limits = {
        .name = "limits",
        .offset = offsetof(MamGatewayConfig, limits),
        .known = limits_known,
        .init = limits_init,
        .read = limits_read,
        .done = limits_done,
};
