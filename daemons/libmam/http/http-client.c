/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP/1.1 client: the address, its channels, its deadlines
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "libmam/http/http-mux.h"
#include "libmam/http/http2-client.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define TIMER_ACCURACY_USEC (20 * MAM_USEC_PER_MSEC)

static int parse_port(const char *text, in_port_t *ret) {
        unsigned long port = 0;

        if (*text == '\0' || strlen(text) > 5)
                return -EINVAL;
        for (; *text; text++) {
                if (*text < '0' || *text > '9')
                        return -EINVAL;
                port = port * 10 + (unsigned long) (*text - '0');
        }
        if (port == 0 || port > 65535)
                return -EINVAL;
        *ret = htons((in_port_t) port);
        return 0;
}

static int parse_unix(MamHttpClient *c, const char *path) {
        if (strlen(path) >= sizeof(c->address.un.sun_path))
                return -EINVAL;
        c->address.un.sun_family = AF_UNIX;
        memcpy(c->address.un.sun_path, path, strlen(path) + 1);
        c->address_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
        return 0;
}

static int parse_inet(MamHttpClient *c, const char *address) {
        char host[INET6_ADDRSTRLEN];
        const char *colon = strrchr(address, ':');
        size_t size;
        bool v6;

        if (!colon)
                return -EINVAL;
        size = (size_t) (colon - address);
        v6 = *address == '[';
        if (v6) {
                if (size < 2 || colon[-1] != ']')
                        return -EINVAL;
                address++;
                size -= 2;
        }
        if (size >= sizeof(host))
                return -EINVAL;
        memcpy(host, address, size);
        host[size] = '\0';

        if (v6) {
                c->address.in6.sin6_family = AF_INET6;
                c->address_size = sizeof(c->address.in6);
                if (inet_pton(AF_INET6, host, &c->address.in6.sin6_addr) != 1)
                        return -EINVAL;
                return parse_port(colon + 1, &c->address.in6.sin6_port);
        }
        c->address.in.sin_family = AF_INET;
        c->address_size = sizeof(c->address.in);
        if (inet_pton(AF_INET, host, &c->address.in.sin_addr) != 1)
                return -EINVAL;
        return parse_port(colon + 1, &c->address.in.sin_port);
}

static int parse_address(MamHttpClient *c, const char *address) {
        if (strncmp(address, "unix:/", 6) == 0)
                return parse_unix(c, address + 5);
        if (*address == '/')
                return parse_unix(c, address);
        return parse_inet(c, address);
}

uint64_t http_client_now(const MamHttpClient *c) {
        return http_poll_now(c->poll);
}

/* Only ever forward; on_timer() sets it back. Most calls end long before, and then it costs nothing. */
void http_client_arm(MamHttpClient *c, uint64_t usec) {
        if (usec >= c->timer_usec)
                return;
        c->timer_usec = usec;
        (void) sd_event_source_set_time(c->timer, usec);
        (void) sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

int http_client_attach(MamHttpCall *call) {
        if (call->upgrade)
                return http_channel_attach(call, false);
        if (call->client->options.protocol == MAM_HTTP_PROTOCOL_NATIVE)
                return native_client_attach(call);
        if (call->client->options.protocol == MAM_HTTP_PROTOCOL_H2C)
                return http2_client_attach(call);
        return http_channel_attach(call, false);
}

static bool expire_one(MamHttpClient *c, uint64_t t) {
        MamHttpCall *call;
        HttpChannel *ch;

        TAILQ_FOREACH(call, &c->calls, calls) {
                if (call->deadline_usec > t)
                        continue;
                http_call_end(call, -ETIMEDOUT);
                return true;
        }
        TAILQ_FOREACH(ch, &c->busy, channels) {
                if (!ch->connecting || !ch->link.call || ch->deadline_usec > t)
                        continue;
                http_call_end(ch->link.call, -ETIMEDOUT);
                return true;
        }
        ch = TAILQ_LAST(&c->idle, HttpChannelQueue);
        if (!ch || ch->deadline_usec > t)
                return http_mux_expire(c, t);
        http_channel_free(ch);
        return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        MamHttpClient *c = userdata;
        uint64_t t, next = MAM_USEC_INFINITY;
        MamHttpCall *call;
        HttpChannel *ch;

        assert(c);

        http_client_ref(c);
        t = http_client_now(c);
        while (!c->closed && expire_one(c, t))
                ;

        TAILQ_FOREACH(call, &c->calls, calls)
        if (call->deadline_usec < next)
                next = call->deadline_usec;
        TAILQ_FOREACH(ch, &c->busy, channels)
        if (ch->connecting && ch->link.call && ch->deadline_usec < next)
                next = ch->deadline_usec;
        ch = TAILQ_LAST(&c->idle, HttpChannelQueue);
        if (ch && ch->deadline_usec < next)
                next = ch->deadline_usec;
        if (http_mux_next_deadline(c) < next)
                next = http_mux_next_deadline(c);
        c->timer_usec = MAM_USEC_INFINITY;
        if (!c->closed)
                http_client_arm(c, next);
        http_client_unref(c);
        return 0;
}

static void set_options(MamHttpClient *c, const MamHttpClientOptions *options) {
        MamHttpClientOptions *o = &c->options;

        if (options)
                *o = *options;
        if (o->connections_max == 0)
                o->connections_max = 64;
        if (o->idle_max == 0)
                o->idle_max = 16;
        if (o->connect_timeout_usec == 0)
                o->connect_timeout_usec = 2 * MAM_USEC_PER_SEC;
        if (o->idle_timeout_usec == 0)
                o->idle_timeout_usec = 60 * MAM_USEC_PER_SEC;
        if (o->head_max == 0)
                o->head_max = 16384;
}

int mam_http_client_new(
                MamHttpClient **ret,
                sd_event *event,
                const char *address,
                const MamHttpClientOptions *options) {
        _cleanup_(mam_http_client_freep) MamHttpClient *c = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(address);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->n_ref = 1;
        c->event = sd_event_ref(event);
        c->timer_usec = MAM_USEC_INFINITY;
        TAILQ_INIT(&c->idle);
        TAILQ_INIT(&c->busy);
        TAILQ_INIT(&c->calls);
        TAILQ_INIT(&c->muxes);
        set_options(c, options);

        r = parse_address(c, address);
        if (r < 0)
                return r;
        c->host = strdup(c->address.any.sa_family == AF_UNIX ? "localhost" : address);
        if (!c->host)
                return -ENOMEM;
        r = http_poll_acquire(&c->poll, event);
        if (r < 0)
                return r;
        r = sd_event_add_time(
                        event,
                        &c->timer,
                        CLOCK_MONOTONIC,
                        UINT64_MAX,
                        TIMER_ACCURACY_USEC,
                        on_timer,
                        c);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(c->timer, "http-client");
        r = sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(c);
        return 0;
}

MamHttpClient *http_client_ref(MamHttpClient *c) {
        c->n_ref++;
        return c;
}

MamHttpClient *http_client_unref(MamHttpClient *c) {
        HttpChannel *ch;
        HttpMux *m;

        assert(c->n_ref > 0);
        if (--c->n_ref > 0)
                return NULL;

        while ((ch = TAILQ_FIRST(&c->idle)) || (ch = TAILQ_FIRST(&c->busy)))
                http_channel_free(ch);
        while ((m = TAILQ_FIRST(&c->muxes)))
                http_mux_free(m);
        sd_event_source_disable_unref(c->timer);
        http_poll_release(c->poll);
        sd_event_unref(c->event);
        free(c->host);
        free(c);
        return NULL;
}

MamHttpClient *mam_http_client_free(MamHttpClient *c) {
        MamHttpCall *call;

        if (!c)
                return NULL;

        c->closed = true;
        while ((call = TAILQ_FIRST(&c->calls)))
                http_call_end(call, -ECANCELED);
        return http_client_unref(c);
}
