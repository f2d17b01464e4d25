/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who is told that the server drains: exchanges that would not end by themselves
 */

#include <assert.h>

#include "libmam/http/http-exchange.h"

void mam_http_exchange_set_on_drain(MamHttpExchange *x, MamHttpDone on_drain, void *userdata) {
        MamHttpServer *s;

        assert(x);

        s = x->carrier->connection->server;
        http_drain_forget(x);
        x->on_drain = on_drain;
        x->on_drain_userdata = userdata;
        if (!on_drain)
                return;
        LIST_INSERT_HEAD(&s->drain_watchers, x, drain_watchers);
        if (s->draining)
                http_poll_defer(s->poll, &s->item);
}

void http_drain_forget(MamHttpExchange *x) {
        if (!x->on_drain)
                return;
        LIST_REMOVE(x, drain_watchers);
        x->on_drain = NULL;
}

void http_drain_tell(MamHttpServer *s) {
        MamHttpExchange *x;

        while ((x = LIST_FIRST(&s->drain_watchers))) {
                MamHttpDone on_drain = x->on_drain;

                http_drain_forget(x);
                on_drain(x, x->on_drain_userdata);
        }
}

sd_event *http_exchange_event(const MamHttpExchange *x) {
        return x->carrier->connection->server->event;
}
