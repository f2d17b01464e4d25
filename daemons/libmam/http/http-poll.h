/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Connections' readiness in batches (internal to libmam/http)
 *
 * sd-event dispatches one source for each epoll_wait(). All HTTP connections of an event loop, of servers
 * and clients alike, therefore share one epoll instance of their own that is a single source for sd-event:
 * one wait serves up to HTTP_POLL_BATCH connections. Registration is edge-triggered and happens once;
 * EPOLLOUT is added only while a write is blocked (a unix socket would wake us whenever the peer reads).
 *
 * Work that must not run inside somebody's callback is deferred: http_poll_defer() runs the item's on_event
 * with 0 at the end of the batch, or in the next iteration of the loop. That is also what gathers many small
 * writes into one.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include <systemd/sd-event.h>

#define HTTP_POLL_BATCH   64U
#define HTTP_SCRATCH_SIZE 65536U

typedef struct HttpPoll HttpPoll;
typedef struct HttpPollItem HttpPollItem;

struct HttpPollItem {
        void (*on_event)(HttpPollItem *item, uint32_t events);
        TAILQ_ENTRY(HttpPollItem) deferred;
        bool is_deferred;
};

/* The one of this event loop and thread, made at first use. */
int http_poll_acquire(HttpPoll **ret, sd_event *event);
HttpPoll *http_poll_release(HttpPoll *p);

/* fd stays the caller's; closing it ends the registration, http_poll_forget() drops what is pending for the
 * item. */
int http_poll_add(HttpPoll *p, HttpPollItem *item, int fd, uint32_t events);
int http_poll_modify(HttpPoll *p, HttpPollItem *item, int fd, uint32_t events);
void http_poll_forget(HttpPoll *p, HttpPollItem *item);
void http_poll_defer(HttpPoll *p, HttpPollItem *item);

/* HTTP_SCRATCH_SIZE bytes to receive into: valid until the item that is running returns. */
char *http_poll_scratch(HttpPoll *p);
