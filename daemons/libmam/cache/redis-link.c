/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * hiredis' asynchronous context on sd-event
 *
 * Commands asked during one turn of the loop leave in one write at its end, from a deferred source; the
 * socket is polled for room only where such a write did not take everything.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "libmam/cache/redis-internal.h"

static void link_poll(MamRedisLink *l, bool reading, bool polling_out) {
        if (reading == l->reading && polling_out == l->polling_out)
                return;

        l->reading = reading;
        l->polling_out = polling_out;
        (void) sd_event_source_set_io_events(l->io, (reading ? EPOLLIN : 0) | (polling_out ? EPOLLOUT : 0));
}

static void redis_link_add_read(void *userdata) {
        MamRedisLink *l = userdata;

        link_poll(l, true, l->polling_out);
}

static void redis_link_del_read(void *userdata) {
        MamRedisLink *l = userdata;

        link_poll(l, false, l->polling_out);
}

static void redis_link_add_write(void *userdata) {
        MamRedisLink *l = userdata;

        if (l->in_write || !l->established) {
                link_poll(l, l->reading, true);
        } else {
                (void) sd_event_source_set_enabled(l->defer, SD_EVENT_ONESHOT);
        }
}

static void redis_link_del_write(void *userdata) {
        MamRedisLink *l = userdata;

        link_poll(l, l->reading, false);
}

static void redis_link_cleanup(void *userdata) {
        MamRedisLink *l = userdata;

        if (l->gone)
                *l->gone = true;
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->defer);
        if (l->redis)
                mam_redis_on_lost(l->redis);
        free(l);
}

static void link_write(MamRedisLink *l, const bool *gone) {
        l->in_write = true;
        redisAsyncHandleWrite(l->ac);
        if (!*gone)
                l->in_write = false;
}

static int on_link_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        MamRedisLink *l = userdata;
        bool gone = false;

        assert(!l->gone);

        l->gone = &gone;
        /* while connecting, its bad end is handled like its good one */
        if (revents & (EPOLLOUT | (l->established ? 0 : EPOLLERR | EPOLLHUP)))
                link_write(l, &gone);
        if (!gone && l->established && revents & (EPOLLIN | EPOLLERR | EPOLLHUP))
                redisAsyncHandleRead(l->ac);
        if (!gone)
                l->gone = NULL;

        return 0;
}

static int on_link_defer(sd_event_source *s, void *userdata) {
        MamRedisLink *l = userdata;
        bool gone = false;

        if (l->gone)
                return 0; /* a loop run from within a callback */

        l->gone = &gone;
        link_write(l, &gone);
        if (!gone)
                l->gone = NULL;

        return 0;
}

static void on_connect(const redisAsyncContext *ac, int status) {
        MamRedisLink *l = ac->ev.data;

        if (status != REDIS_OK || !l)
                return; /* the cleanup follows */

        l->established = true;
        if (l->redis)
                mam_redis_on_connected(l->redis);
}

/* "host:port", "[v6]:port". The host must be an address: resolving a name would block. */
static redisAsyncContext *connect_tcp(const char *address) {
        const char *colon = strrchr(address, ':');
        char host[64];
        size_t n;
        long port;

        if (!colon)
                return NULL;
        port = strtol(colon + 1, NULL, 10);
        n = (size_t) (colon - address);
        if (n > 1 && address[0] == '[' && address[n - 1] == ']') {
                address++;
                n -= 2;
        }
        if (n == 0 || n >= sizeof(host) || port < 1 || port > UINT16_MAX)
                return NULL;

        memcpy(host, address, n);
        host[n] = '\0';
        return redisAsyncConnect(host, (int) port);
}

int mam_redis_link_new(MamRedisLink **ret, MamRedis *r, sd_event *event, const char *address) {
        redisAsyncContext *ac;
        MamRedisLink *l;
        int error;

        ac = address[0] == '/' ? redisAsyncConnectUnix(address) : connect_tcp(address);
        if (!ac)
                return -EINVAL;
        if (ac->err) {
                redisAsyncFree(ac);
                return -ENOTCONN;
        }

        l = calloc(1, sizeof(*l));
        if (!l) {
                redisAsyncFree(ac);
                return -ENOMEM;
        }

        l->ac = ac;
        error = sd_event_add_io(event, &l->io, ac->c.fd, 0, on_link_io, l);
        if (error >= 0)
                error = sd_event_add_defer(event, &l->defer, on_link_defer, l);
        if (error >= 0)
                error = sd_event_source_set_enabled(l->defer, SD_EVENT_OFF);

        ac->ev.data = l;
        ac->ev.addRead = redis_link_add_read;
        ac->ev.delRead = redis_link_del_read;
        ac->ev.addWrite = redis_link_add_write;
        ac->ev.delWrite = redis_link_del_write;
        ac->ev.cleanup = redis_link_cleanup;
        if (error < 0) {
                redisAsyncFree(ac); /* and l with it */
                return error;
        }

        l->redis = r;
        (void) redisAsyncSetConnectCallback(ac, on_connect); /* also asks for the first EPOLLOUT */
        *ret = l;
        return 0;
}

void mam_redis_link_close(MamRedisLink *l) {
        if (!l)
                return;

        l->redis = NULL;
        redisAsyncFree(l->ac); /* now, or at the end of hiredis' handler if we are called from it */
}
