/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What was received and not used yet (internal to libmam/http)
 *
 * While its connection runs, the view lies in the scratch buffer that all connections share; only what is
 * left over at the end of the run is copied and kept. So an idle connection holds no buffer, and most bytes
 * are never copied.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "libmam/http/http-poll.h"
#include "libmam/util/buffer.h"

typedef struct HttpInput {
        MamBuffer kept;
        const char *view;
        size_t size;
        bool in_scratch; /* where view points */
} HttpInput;

/* Begin and end of a run. save: -ENOMEM. */
void http_input_load(HttpInput *i);
int http_input_save(HttpInput *i);
void http_input_consume(HttpInput *i, size_t n);
/* Receives more: behind the view, up to head_max bytes in all, if there is one (an incomplete head), else
 * into the scratch buffer. Bytes received; 0: end of file; -EAGAIN; other errors. *ret_emptied: the socket
 * holds no more. */
ssize_t http_input_receive(HttpInput *i, HttpPoll *p, int fd, size_t head_max, bool *ret_emptied);
/* The same from elsewhere: receive returns what recv() would, or a negative errno, and receives as much as
 * is there and fits. */
typedef ssize_t (*HttpReceive)(void *userdata, char *to, size_t size);
ssize_t http_input_receive_from(
                HttpInput *i,
                HttpPoll *p,
                HttpReceive receive,
                void *userdata,
                size_t head_max,
                bool *ret_emptied);
