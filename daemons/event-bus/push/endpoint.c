/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Endpoints: whether they want to be called, and how often
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "event-bus/push/push-internal.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"

static void wake_lanes(PushEndpoint *e) {
        PushLane *l;

        LIST_FOREACH(l, &e->pusher->lanes, lanes) {
                if (l->endpoint == e)
                        push_lane_look(l);
        }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        wake_lanes(userdata);
        return 0;
}

int push_endpoint_get(PushEndpoint **ret, Pusher *p, const char *url) {
        PushEndpoint *e;
        int r;

        LIST_FOREACH(e, &p->endpoints, endpoints) {
                if (strcmp(e->url, url) == 0) {
                        e->n_ref++;
                        *ret = e;
                        return 0;
                }
        }

        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->n_ref = 1;
        e->pusher = p;
        LIST_INSERT_HEAD(&p->endpoints, e, endpoints);
        e->is_http = strncasecmp(url, "http:", 5) == 0;
        e->url = strdup(url);
        r = e->url ? mam_fetch_origin(&e->origin, url) : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_time(p->event, &e->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, e);
        if (r >= 0)
                r = sd_event_source_set_enabled(e->timer, SD_EVENT_OFF);
        if (r < 0) {
                push_endpoint_unref(e);
                return r;
        }

        *ret = e;
        return 0;
}

PushEndpoint *push_endpoint_unref(PushEndpoint *e) {
        if (!e || --e->n_ref > 0)
                return NULL;

        LIST_REMOVE(e, endpoints);
        mam_fetch_free(e->asking);
        sd_event_source_disable_unref(e->timer);
        if (e->was_open)
                e->pusher->figures.circuits_open--;
        free(e->url);
        free(e->origin);
        free(e);
        return NULL;
}

MamFetcher *push_endpoint_fetcher(const PushEndpoint *e) {
        return e->is_http ? e->pusher->http : e->pusher->https;
}

/* States are logged when they change, not with each request. */
static void note_circuit(PushEndpoint *e, const char *problem) {
        bool open = push_circuit_is_open(&e->circuit);

        if (open == e->was_open)
                return;
        e->was_open = open;
        if (open) {
                e->pusher->figures.circuits_open++;
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_PUSH_FAILING,
                           "The webhook at %s keeps failing (%s): it is left alone for a while, and tried again",
                           e->origin,
                           problem);
        } else {
                e->pusher->figures.circuits_open--;
                mam_log_id(LOG_INFO,
                           MAM_MESSAGE_PUSH_FAILING,
                           "The webhook at %s takes events again",
                           e->origin);
        }
}

static void note_refusal(PushEndpoint *e, const char *reason) {
        if (e->was_refused)
                return;
        e->was_refused = true;
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_PUSH_REFUSED,
                   "The webhook at %s is not called: %s",
                   e->origin,
                   reason);
}

/* Section 4.2: it agrees by naming our origin, or "*". */
static bool read_consent(PushEndpoint *e, const MamFetchResult *result) {
        const char *value = mam_fetch_field(result->fetch, "WebHook-Allowed-Origin");
        unsigned long rate;

        if (result->status / 100 != 2 || !value)
                return false;
        if (strcmp(value, "*") != 0 && strcasecmp(value, e->pusher->origin) != 0)
                return false;
        e->interval_usec = 0;
        value = mam_fetch_field(result->fetch, "WebHook-Allowed-Rate");
        rate = value ? strtoul(value, NULL, 10) : 0; /* "*" is no number: any */
        if (rate > 0 && rate < PUSH_RATE_ASKED)
                e->interval_usec = 60 * MAM_USEC_PER_SEC / rate;
        return true;
}

static void on_asked(const MamFetchResult *result, void *userdata) {
        PushEndpoint *e = userdata;
        uint64_t now = mam_now_monotonic();

        e->asking = NULL; /* frees itself */
        if (result->is_refused)
                e->pusher->figures.refused++;
        if (result->status == 0 || result->status >= 500 || result->status == 429) {
                push_circuit_failed(&e->circuit, now, result->retry_after_usec);
                note_circuit(e, result->problem);
                if (result->is_refused || result->is_url_bad)
                        note_refusal(e, result->problem);
                if (!push_circuit_is_open(&e->circuit) && e->circuit.rest_usec < now + MAM_USEC_PER_SEC)
                        e->circuit.rest_usec = now + MAM_USEC_PER_SEC;
        } else if (read_consent(e, result)) {
                push_circuit_succeeded(&e->circuit);
                note_circuit(e, "");
                e->consent = PUSH_CONSENT_GIVEN;
                e->was_refused = false;
        } else {
                push_circuit_dropped(&e->circuit);
                e->consent = PUSH_CONSENT_REFUSED;
                e->ask_usec = now + PUSH_ASK_AGAIN_USEC;
                note_refusal(e, "it does not answer OPTIONS with WebHook-Allowed-Origin for us");
        }
        wake_lanes(e);
}

static void ask(PushEndpoint *e) {
        char origin[300], rate[64];
        const char *const fields[] = { origin, rate, NULL };
        const MamFetchRequest request = {
                .url = e->url,
                .method = "OPTIONS",
                .fields = fields,
                .deadline_usec = PUSH_DEADLINE_USEC,
        };

        (void) snprintf(origin, sizeof(origin), "WebHook-Request-Origin: %s", e->pusher->origin);
        (void) snprintf(rate, sizeof(rate), "WebHook-Request-Rate: %u", PUSH_RATE_ASKED);
        if (mam_fetch_new(&e->asking, push_endpoint_fetcher(e), &request, on_asked, e) >= 0)
                push_circuit_begin(&e->circuit);
}

/* Wakes the lanes at that time. */
static void wake_at(PushEndpoint *e, uint64_t usec) {
        if (usec == MAM_USEC_INFINITY)
                return;
        (void) sd_event_source_set_time(e->timer, usec);
        (void) sd_event_source_set_enabled(e->timer, SD_EVENT_ONESHOT);
}

unsigned push_endpoint_room(PushEndpoint *e, unsigned parallel) {
        uint64_t now = mam_now_monotonic(), when = MAM_USEC_INFINITY;
        unsigned room;

        if (e->asking)
                return 0;
        if (e->consent == PUSH_CONSENT_REFUSED) {
                if (now < e->ask_usec) {
                        wake_at(e, e->ask_usec);
                        return 0;
                }
                e->consent = PUSH_CONSENT_UNKNOWN;
        }

        room = push_circuit_room(&e->circuit, parallel, now, &when);
        if (room == 0) {
                wake_at(e, when);
                return 0;
        }
        if (e->consent == PUSH_CONSENT_UNKNOWN) {
                ask(e);
                return 0;
        }
        if (e->interval_usec > 0) {
                if (e->next_usec > now) {
                        wake_at(e, e->next_usec);
                        return 0;
                }
                room = 1;
        }
        return room;
}

void push_endpoint_begin(PushEndpoint *e) {
        uint64_t now = mam_now_monotonic();

        push_circuit_begin(&e->circuit);
        e->next_usec = now + e->interval_usec;
}

/* The endpoint works; it is this event that it does not take. */
static bool is_about_event(long status) {
        return status == 400 || status == 413 || status == 415 || status == 422;
}

void push_endpoint_ended(PushEndpoint *e, const MamFetchResult *result) {
        PushFigures *f = &e->pusher->figures;

        if (!result) {
                push_circuit_dropped(&e->circuit);
                wake_lanes(e);
                return;
        }
        if (result->status / 100 == 2) {
                f->delivered++;
                push_circuit_succeeded(&e->circuit);
        } else {
                f->failed++;
                if (result->is_refused) {
                        f->refused++;
                        note_refusal(e, result->problem);
                }
                if (is_about_event(result->status))
                        push_circuit_dropped(&e->circuit);
                else
                        push_circuit_failed(&e->circuit, mam_now_monotonic(), result->retry_after_usec);
        }
        note_circuit(e, result->problem);
        wake_lanes(e);
}
