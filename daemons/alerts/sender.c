/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/sender.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "alerts/payload.h"
#include "alerts/post.h"
#include "libmam/fetch/fetch.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"

typedef struct Receiver {
        Sender *sender;      /* weak */
        char *url;           /* owned; NULL: the slot is free */
        char *origin;        /* owned; what may be logged */
        MamFetch *post;      /* owned; under way */
        unsigned n_failures; /* in a row */
        uint64_t retry_usec; /* not before */
        bool said_failing;
        bool said_refusing;
} Receiver;

struct Sender {
        AlertTable *table;      /* weak */
        MamFetcher *fetcher;    /* owned */
        sd_event_source *timer; /* owned */
        Receiver receivers[RECEIVERS_MAX];
        void (*on_change)(void *userdata);
        void *userdata;
};

static void log_receiver(const Receiver *v, int priority, const char *message_id, const char *format, ...)
                _printf_(4, 5);

static void log_receiver(const Receiver *v, int priority, const char *message_id, const char *format, ...) {
        _cleanup_(mam_freep) char *field = NULL;
        char text[512];
        va_list ap;

        if (asprintf(&field, "MAM_RECEIVER=%s", v->origin) < 0)
                field = NULL;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        mam_log_full(priority, message_id, (const char *[]){ field, NULL }, "%s", text);
}

static void receiver_clear(Receiver *v) {
        mam_fetch_free(v->post);
        free(v->url);
        free(v->origin);
        *v = (Receiver){ .sender = v->sender };
}

static unsigned slot_of(const Receiver *v) {
        return (unsigned) (v - v->sender->receivers);
}

static void say_failed(Receiver *v, const MamFetchResult *result) {
        if (v->said_failing)
                return;
        v->said_failing = true;
        if (result->status > 0) {
                log_receiver(v,
                             LOG_WARNING,
                             MAM_MESSAGE_ALERTS_RECEIVER_FAILED,
                             "Cannot tell %s of alerts: it answers %ld; trying again",
                             v->origin,
                             result->status);
        } else {
                log_receiver(v,
                             LOG_WARNING,
                             MAM_MESSAGE_ALERTS_RECEIVER_FAILED,
                             "Cannot tell %s of alerts: %s; trying again",
                             v->origin,
                             result->problem);
        }
}

static void say_refused(Receiver *v, const MamFetchResult *result) {
        if (v->said_refusing)
                return;
        v->said_refusing = true;
        log_receiver(v,
                     LOG_ERR,
                     MAM_MESSAGE_ALERTS_RECEIVER_REFUSED,
                     "%s refuses messages of alerts with %ld; what it refuses is not sent again",
                     v->origin,
                     result->status);
}

static void say_well(Receiver *v) {
        if (v->said_failing || v->said_refusing) {
                log_receiver(v,
                             LOG_NOTICE,
                             MAM_MESSAGE_ALERTS_RECEIVER_BACK,
                             "%s takes messages of alerts again",
                             v->origin);
        }
        v->said_failing = v->said_refusing = false;
}

static void on_post_ended(const MamFetchResult *result, void *userdata) {
        PostVerdict verdict = post_verdict(result->status, result->is_url_bad);
        uint64_t now = mam_now_monotonic();
        Receiver *v = userdata;
        Sender *s = v->sender;

        v->post = NULL; /* freed by whom we return to */
        switch (verdict) {
        case POST_DONE:
                say_well(v);
                v->n_failures = 0;
                v->retry_usec = 0;
                break;
        case POST_REFUSED:
                say_refused(v, result);
                v->n_failures = 0;
                v->retry_usec = 0;
                break;
        case POST_RETRY:
        default:
                say_failed(v, result);
                v->retry_usec = now + post_backoff_usec(v->n_failures++, result->retry_after_usec);
                break;
        }
        alert_table_arrived(s->table, slot_of(v), verdict != POST_RETRY, now);
        s->on_change(s->userdata);
        sender_look(s);
}

static void send(Receiver *v, AlertGroup *g, uint64_t now) {
        Sender *s = v->sender;
        _cleanup_(mam_freep) char *body = NULL;
        int r;

        r = payload_format(&body, g, slot_of(v));
        if (r >= 0)
                r =
                                mam_fetch_new(&v->post,
                                              s->fetcher,
                                              &(MamFetchRequest){ .url = v->url,
                                                                  .body = body,
                                                                  .body_size = strlen(body),
                                                                  .content_type = "application/json" },
                                              on_post_ended,
                                              v);
        if (r < 0) {
                g->tried_usec[slot_of(v)] = now;
                say_failed(v, &(MamFetchResult){ .problem = strerrordesc_np(-r) });
                v->retry_usec = now + post_backoff_usec(v->n_failures++, 0);
                return;
        }
        alert_group_sent(g, slot_of(v), now);
        mam_debug("Telling %s of %s", v->origin, *g->service ? g->service : "mam itself");
}

void sender_look(Sender *s) {
        uint64_t now = mam_now_monotonic(), wake = MAM_USEC_INFINITY;

        assert(s);

        for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
                Receiver *v = &s->receivers[i];
                uint64_t next;
                AlertGroup *g;

                if (!v->url || v->post)
                        continue;
                g = alert_table_pick(s->table, i, now, &next);
                if (g && now >= v->retry_usec) {
                        send(v, g, now);
                        next = v->post ? MAM_USEC_INFINITY : v->retry_usec;
                } else if (next < v->retry_usec)
                        next = v->retry_usec;
                if (next < wake)
                        wake = next;
        }

        if (wake == MAM_USEC_INFINITY) {
                (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
                return;
        }
        (void) sd_event_source_set_time(s->timer, wake);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        sender_look(userdata);
        return 0;
}

int sender_new(Sender **ret,
               sd_event *event,
               AlertTable *table,
               void (*on_change)(void *userdata),
               void *userdata) {
        _cleanup_(sender_freep) Sender *s = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(table);
        assert(on_change);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->table = table;
        s->on_change = on_change;
        s->userdata = userdata;
        for (unsigned i = 0; i < RECEIVERS_MAX; i++)
                s->receivers[i].sender = s;
        r = mam_fetcher_new(&s->fetcher, event, "mam-alerts");
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, UINT64_MAX, 0, on_timer, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

Sender *sender_free(Sender *s) {
        if (!s)
                return NULL;

        for (unsigned i = 0; i < RECEIVERS_MAX; i++)
                receiver_clear(&s->receivers[i]);
        sd_event_source_disable_unref(s->timer);
        mam_fetcher_free(s->fetcher);
        free(s);
        return NULL;
}

static Receiver *find(Sender *s, const char *url) {
        for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
                if (s->receivers[i].url && strcmp(s->receivers[i].url, url) == 0)
                        return &s->receivers[i];
        }
        return NULL;
}

static int add_receiver(Sender *s, const char *url) {
        _cleanup_(mam_freep) char *origin = NULL;
        Receiver *v = NULL;
        int r;

        r = mam_fetch_origin(&origin, url);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < RECEIVERS_MAX && !v; i++) {
                if (!s->receivers[i].url)
                        v = &s->receivers[i];
        }
        if (!v)
                return -EDQUOT;
        v->url = strdup(url);
        if (!v->url)
                return -ENOMEM;
        v->origin = MAM_TAKE(origin);
        alert_table_add_receiver(s->table, slot_of(v));
        return 0;
}

static bool is_listed(const char *const *urls, const char *url) {
        for (size_t i = 0; urls && urls[i]; i++) {
                if (strcmp(urls[i], url) == 0)
                        return true;
        }
        return false;
}

int sender_set_receivers(Sender *s, const char *const *urls) {
        int r;

        assert(s);

        for (unsigned i = 0; i < RECEIVERS_MAX; i++) {
                Receiver *v = &s->receivers[i];

                if (!v->url || is_listed(urls, v->url))
                        continue;
                receiver_clear(v);
                alert_table_remove_receiver(s->table, i);
        }
        for (size_t i = 0; urls && urls[i]; i++) {
                if (find(s, urls[i]))
                        continue;
                r = add_receiver(s, urls[i]);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        mam_warning("monitoring.alertWebhooks[%zu] is not used: %s",
                                    i,
                                    r == -EDQUOT ? "there are too many" : "not an http or https URL");
                }
        }
        s->on_change(s->userdata);
        sender_look(s);
        return 0;
}

const char *sender_url(const Sender *s, unsigned slot) {
        assert(s);
        return slot < RECEIVERS_MAX ? s->receivers[slot].url : NULL;
}

unsigned sender_receivers(const Sender *s) {
        unsigned n = 0;

        for (unsigned i = 0; i < RECEIVERS_MAX; i++)
                n += s->receivers[i].url != NULL;
        return n;
}

unsigned sender_failing(const Sender *s) {
        unsigned n = 0;

        for (unsigned i = 0; i < RECEIVERS_MAX; i++)
                n += s->receivers[i].url && s->receivers[i].n_failures > 0;
        return n;
}
