/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pusher: lanes come and go with subscriptions
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/push/push-internal.h"
#include "libmam/obs/log.h"

static bool allows_https(const struct sockaddr *address, size_t size, void *userdata) {
        const Pusher *p = userdata;

        return push_address_is_allowed(&p->allow, address, (socklen_t) size);
}

/* What anybody on the way can read goes only where the administrator said so. */
static bool allows_http(const struct sockaddr *address, size_t size, void *userdata) {
        const Pusher *p = userdata;

        return push_address_is_named(&p->allow, address, (socklen_t) size);
}

/* A subscription that changed begins anew; what the old lane had in hand comes back when its leases end. */
static void on_push(const char *name, const SubscriptionInfo *s, void *userdata) {
        Pusher *p = userdata;
        PushLane *l, *old = NULL;
        int r;

        LIST_FOREACH(l, &p->lanes, lanes) {
                if (strcmp(l->name, name) == 0)
                        old = l;
        }
        if (old && s && old->version == s->version)
                return;
        push_lane_free(old);
        if (!s || !s->settings.push_url || s->settings.paused)
                return;
        r = push_lane_new(&l, p, name, s);
        if (r < 0)
                mam_error_errno(r, "Cannot push to the webhook of subscription %s", name);
}

static char *find_origin(const PushOptions *options) {
        char name[256] = "";

        if (options->origin && options->origin[0])
                return strdup(options->origin);
        if (gethostname(name, sizeof(name) - 1) < 0 || !name[0])
                return strdup("localhost");
        return strdup(name);
}

int pusher_new(Pusher **ret, sd_event *event, Delivery *d, const PushOptions *options) {
        Pusher *p;
        int r;

        assert(ret);
        assert(event);
        assert(d);
        assert(options);

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        LIST_INIT(&p->endpoints);
        LIST_INIT(&p->lanes);
        p->event = sd_event_ref(event);
        p->delivery = d;
        p->allow_http = options->allow_http;
        if (options->key) {
                p->key = *options->key;
                p->has_key = true;
        }
        p->origin = find_origin(options);
        r = p->origin ? push_networks_parse(&p->allow, options->allow, NULL) : -ENOMEM;
        if (r >= 0)
                r = mam_fetcher_new(&p->https, event, "mam-event-bus");
        if (r >= 0)
                r = mam_fetcher_new(&p->http, event, "mam-event-bus");
        if (r < 0) {
                pusher_free(p);
                return r;
        }
        mam_fetcher_set_rule(p->https, allows_https, p);
        mam_fetcher_set_rule(p->http, allows_http, p);
        delivery_set_on_push(d, on_push, p);

        *ret = p;
        return 0;
}

Pusher *pusher_free(Pusher *p) {
        PushLane *l;

        if (!p)
                return NULL;

        delivery_set_on_push(p->delivery, NULL, NULL);
        while ((l = LIST_FIRST(&p->lanes)))
                push_lane_free(l);
        mam_fetcher_free(p->https);
        mam_fetcher_free(p->http);
        push_key_wipe(&p->key);
        free(p->origin);
        sd_event_unref(p->event);
        free(p);
        return NULL;
}

PushFigures pusher_figures(const Pusher *p) {
        assert(p);

        return p->figures;
}
