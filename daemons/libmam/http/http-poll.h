/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Connections' readiness in batches (internal to libmam/http)
 *
 * sd-event dispatches one source for each epoll_wait(). All HTTP connections of an event loop, of servers
 * and clients alike, therefore share one epoll instance of their own that is a single source for sd-event:
 * one wait serves up to HTTP_POLL_BATCH connections, and who comes meanwhile is served along. Registration
 * is edge-triggered and happens once; EPOLLOUT is added only while a write is blocked (a unix socket would
 * wake us whenever the peer reads).
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

#include "libmam/util/buffer.h"

#define HTTP_POLL_BATCH   64U
#define HTTP_SCRATCH_SIZE 65536U
#define HTTP_BLOCK_SIZE   2048U /* the head of a usual message, with what stands around it */
#define HTTP_OBJECT_SIZE  768U

typedef struct HttpPoll HttpPoll;
typedef struct HttpPollItem HttpPollItem;

struct HttpPollItem {
        void (*on_event)(HttpPollItem *item, uint32_t events);
        TAILQ_ENTRY(HttpPollItem) deferred;
        bool is_deferred;
};

/* The one of this event loop and thread, made at first use. */
int http_poll_acquire(HttpPoll **ret, sd_event *event);
HttpPoll *http_poll_ref(HttpPoll *p);
HttpPoll *http_poll_release(HttpPoll *p);

/* fd stays the caller's; closing it ends the registration, http_poll_forget() drops what is pending for the
 * item. */
int http_poll_add(HttpPoll *p, HttpPollItem *item, int fd, uint32_t events);
int http_poll_modify(HttpPoll *p, HttpPollItem *item, int fd, uint32_t events);
void http_poll_forget(HttpPoll *p, HttpPollItem *item);
void http_poll_defer(HttpPoll *p, HttpPollItem *item);

/* When this turn of the loop began, CLOCK_MONOTONIC. Within a batch it costs a look at a variable. */
uint64_t http_poll_now(const HttpPoll *p);

/* Memory for what is made for each request (see spares.h). A buffer without any gets a block of
 * HTTP_BLOCK_SIZE, or stays as it is if there is no memory; one that is given back holds nothing any more,
 * whatever it held. Who forgets to give it back has a buffer like others. */
void http_poll_lend(HttpPoll *p, MamBuffer *b);
void http_poll_give_back(HttpPoll *p, MamBuffer *b);
/* HTTP_OBJECT_SIZE bytes of zeros, or NULL. */
void *http_poll_take_object(HttpPoll *p);
void http_poll_give_object(HttpPoll *p, void *object);

/* HTTP_SCRATCH_SIZE bytes to receive into: valid until the item that is running returns. */
char *http_poll_scratch(HttpPoll *p);
