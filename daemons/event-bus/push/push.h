/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Push: events to webhooks
 *
 * Every replica takes part, as one of the subscription's consumers. An endpoint is asked once whether it
 * wants to be called (CloudEvents HTTP 1.1 Web Hooks, section 4: OPTIONS with WebHook-Request-Origin).
 * Requests are signed as Standard Webhooks 1.0 says. Answers decide: 2xx settles, 410 pauses the
 * subscription, 429 and 503 with Retry-After are kept to, other failures back off; an endpoint that keeps
 * failing is left alone for a while (circuit). Where it may connect is decided by address, at connection
 * time; redirects are failures, and proxies are not used. Of one key one event is under way at a time. The
 * handshake's variant by callback is not offered: an endpoint says yes in its answer, or is not called.
 */

#include "event-bus/delivery/delivery.h"
#include "event-bus/push/secret.h"

typedef struct Pusher Pusher;

typedef struct PushOptions {
        const char *const *allow; /* networks "10.0.0.0/8" that may be called although they are not public;
                                     NULL-terminated */
        bool allow_http;          /* plain http:// to them */
        const char *origin;       /* WebHook-Request-Origin: a host name; NULL: this host's */
        const PushKey *key;       /* opens settings.push_secret; NULL: what has a secret is not sent */
} PushOptions;

int pusher_new(Pusher **ret, sd_event *event, Delivery *d, const PushOptions *options);
Pusher *pusher_free(Pusher *p);
MAM_DEFINE_CLEANUP(Pusher, pusher_free);
/* Whether a URL may be a push endpoint at all (syntax, scheme, literal address): 0, or -EINVAL with the
 * reason
 * ("must begin with https://"), which the caller frees. Where a name leads is seen at each connection. */
int pusher_check_url(const PushOptions *options, const char *url, char **ret_problem);
/* For metrics. */
typedef struct PushFigures {
        uint64_t delivered, failed, refused; /* requests; refused: by address rules */
        unsigned circuits_open;
} PushFigures;
PushFigures pusher_figures(const Pusher *p);
