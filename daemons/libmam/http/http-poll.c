/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connections' readiness in batches
 */

#include <assert.h>
#include <errno.h>

#include "libmam/http/http-poll.h"
#include "libmam/util/macro.h"
#include "libmam/util/spares.h"
#include "libmam/util/time.h"

/* Deferred items may defer others without end; beyond this the loop's other sources get their turn. */
#define DEFERRED_MAX 512U

/* Who comes while a batch runs goes with it, so that what all of them lead to is sent together: half the
 * sends on connections that many share, and no turn of the loop for a handful. But not for who comes alone,
 * and not for ever. */
#define GATHER_MIN 2U
#define GATHER_MAX 4U

struct HttpPoll {
        unsigned n_ref;
        sd_event *event;     /* owned reference, so that no other loop can get its address while we live */
        sd_event_source *io; /* owned */
        sd_event_source *defer; /* owned; on while items wait outside of a batch */
        int fd;
        struct epoll_event batch[HTTP_POLL_BATCH];
        unsigned n_batch;
        unsigned at;
        bool running;
        uint64_t now_usec;         /* while running */
        MamSpares blocks, objects; /* of HTTP_BLOCK_SIZE and HTTP_OBJECT_SIZE */
        TAILQ_HEAD(, HttpPollItem) deferred;
        LIST_ENTRY(HttpPoll) polls;
        char scratch[HTTP_SCRATCH_SIZE];
};

static _Thread_local LIST_HEAD(, HttpPoll) polls;

MAM_DEFINE_CLEANUP(HttpPoll, http_poll_release);

static void run_deferred(HttpPoll *p) {
        HttpPollItem *item;

        for (unsigned n = 0; n < DEFERRED_MAX && (item = TAILQ_FIRST(&p->deferred)); n++) {
                TAILQ_REMOVE(&p->deferred, item, deferred);
                item->is_deferred = false;
                item->on_event(item, 0);
        }
}

static uint64_t turn_begin(const HttpPoll *p) {
        uint64_t usec;

        return sd_event_now(p->event, CLOCK_MONOTONIC, &usec) >= 0 ? usec : mam_now_monotonic();
}

static void run_batch(HttpPoll *p, unsigned n) {
        p->n_batch = n;
        for (p->at = 0; p->at < p->n_batch; p->at++) {
                HttpPollItem *item = p->batch[p->at].data.ptr;

                if (item)
                        item->on_event(item, p->batch[p->at].events);
        }
        p->n_batch = 0;
}

/* Runs the batch and what it deferred. Any item may be gone after any other one ran, and so may p's last
 * owner. */
static void run(HttpPoll *p, int n) {
        p->n_ref++;
        p->running = true;
        p->now_usec = turn_begin(p);
        run_batch(p, (unsigned) n);
        for (unsigned i = 0; i < GATHER_MAX && n >= (int) GATHER_MIN; i++) {
                n = epoll_wait(p->fd, p->batch, HTTP_POLL_BATCH, 0);
                if (n > 0)
                        run_batch(p, (unsigned) n);
        }
        run_deferred(p);
        p->running = false;
        if (p->defer && !TAILQ_EMPTY(&p->deferred))
                (void) sd_event_source_set_enabled(p->defer, SD_EVENT_ONESHOT);
        http_poll_release(p);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        HttpPoll *p = userdata;
        int n;

        assert(p);

        n = epoll_wait(p->fd, p->batch, HTTP_POLL_BATCH, 0);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        run(p, n);
        return 0;
}

static int on_deferred(sd_event_source *source, void *userdata) {
        run(userdata, 0);
        return 0;
}

int http_poll_acquire(HttpPoll **ret, sd_event *event) {
        _cleanup_(http_poll_releasep) HttpPoll *p = NULL;
        HttpPoll *other;
        int r;

        assert(ret);
        assert(event);

        LIST_FOREACH(other, &polls, polls) {
                if (other->event != event)
                        continue;
                other->n_ref++;
                *ret = other;
                return 0;
        }

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->n_ref = 1;
        p->fd = -EBADF;
        p->event = sd_event_ref(event);
        TAILQ_INIT(&p->deferred);
        LIST_INSERT_HEAD(&polls, p, polls);

        p->fd = epoll_create1(EPOLL_CLOEXEC);
        if (p->fd < 0)
                return -errno;
        r = sd_event_add_io(event, &p->io, p->fd, EPOLLIN, on_readable, p);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(p->io, "http-poll");
        r = sd_event_add_defer(event, &p->defer, on_deferred, p);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(p->defer, "http-defer");
        r = sd_event_source_set_enabled(p->defer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(p);
        return 0;
}

HttpPoll *http_poll_ref(HttpPoll *p) {
        assert(p);

        p->n_ref++;
        return p;
}

HttpPoll *http_poll_release(HttpPoll *p) {
        if (!p)
                return NULL;
        assert(p->n_ref > 0);
        if (--p->n_ref > 0)
                return NULL;

        LIST_REMOVE(p, polls);
        sd_event_source_disable_unref(p->io);
        sd_event_source_disable_unref(p->defer);
        mam_spares_done(&p->blocks);
        mam_spares_done(&p->objects);
        if (p->fd >= 0)
                close(p->fd);
        sd_event_unref(p->event);
        free(p);
        return NULL;
}

static int control(HttpPoll *p, int operation, HttpPollItem *item, int fd, uint32_t events) {
        struct epoll_event e = { .events = events | EPOLLRDHUP | EPOLLET, .data.ptr = item };

        return epoll_ctl(p->fd, operation, fd, &e) < 0 ? -errno : 0;
}

int http_poll_add(HttpPoll *p, HttpPollItem *item, int fd, uint32_t events) {
        assert(p);
        assert(item);

        return control(p, EPOLL_CTL_ADD, item, fd, events);
}

int http_poll_modify(HttpPoll *p, HttpPollItem *item, int fd, uint32_t events) {
        assert(p);
        assert(item);

        return control(p, EPOLL_CTL_MOD, item, fd, events);
}

void http_poll_forget(HttpPoll *p, HttpPollItem *item) {
        assert(p);
        assert(item);

        for (unsigned i = p->at; i < p->n_batch; i++) {
                if (p->batch[i].data.ptr == item)
                        p->batch[i].data.ptr = NULL;
        }
        if (item->is_deferred) {
                TAILQ_REMOVE(&p->deferred, item, deferred);
                item->is_deferred = false;
        }
}

void http_poll_defer(HttpPoll *p, HttpPollItem *item) {
        assert(p);
        assert(item);

        if (item->is_deferred)
                return;
        /* The source is on already if something waits, and not needed if run_deferred() is still to come. */
        if (!p->running && TAILQ_EMPTY(&p->deferred))
                (void) sd_event_source_set_enabled(p->defer, SD_EVENT_ONESHOT);
        TAILQ_INSERT_TAIL(&p->deferred, item, deferred);
        item->is_deferred = true;
}

char *http_poll_scratch(HttpPoll *p) {
        assert(p);

        return p->scratch;
}

uint64_t http_poll_now(const HttpPoll *p) {
        assert(p);

        return p->running ? p->now_usec : turn_begin(p);
}

void http_poll_lend(HttpPoll *p, MamBuffer *b) {
        assert(p);
        assert(b && b->size == 0);

        if (b->data)
                return;
        b->data = mam_spares_take(&p->blocks, HTTP_BLOCK_SIZE);
        if (!b->data)
                return;
        b->data[0] = '\0';
        b->start = 0;
        b->allocated = HTTP_BLOCK_SIZE;
}

void http_poll_give_back(HttpPoll *p, MamBuffer *b) {
        assert(p);
        assert(b);

        if (b->allocated == HTTP_BLOCK_SIZE)
                mam_spares_give(&p->blocks, MAM_TAKE(b->data));
        mam_buffer_done(b);
}

void *http_poll_take_object(HttpPoll *p) {
        assert(p);

        return mam_spares_take_zeroed(&p->objects, HTTP_OBJECT_SIZE);
}

void http_poll_give_object(HttpPoll *p, void *object) {
        assert(p);

        mam_spares_give(&p->objects, object);
}
