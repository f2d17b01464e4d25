/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What was received and not used yet
 */

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "libmam/http/http-input.h"

void http_input_load(HttpInput *i) {
        assert(i);

        i->view = mam_buffer_bytes(&i->kept);
        i->size = i->kept.size;
        i->in_scratch = false;
}

/* Afterwards the view is exactly what is kept. */
static int keep(HttpInput *i) {
        int r;

        if (i->size == 0) {
                mam_buffer_reset(&i->kept);
        } else if (i->in_scratch) {
                r = mam_buffer_append(&i->kept, i->view, i->size);
                if (r < 0)
                        return r;
        } else
                mam_buffer_consume(&i->kept, i->kept.size - i->size);
        http_input_load(i);
        return 0;
}

int http_input_save(HttpInput *i) {
        assert(i);

        return keep(i);
}

void http_input_consume(HttpInput *i, size_t n) {
        assert(i);
        assert(n <= i->size);

        i->view += n;
        i->size -= n;
}

ssize_t http_input_receive_from(
                HttpInput *i,
                HttpPoll *p,
                HttpReceive receive,
                void *userdata,
                size_t head_max,
                bool *ret_emptied) {
        size_t room = HTTP_SCRATCH_SIZE;
        char *to = http_poll_scratch(p);
        ssize_t n;
        int r;

        assert(i);
        assert(receive);
        assert(ret_emptied);

        r = keep(i);
        if (r < 0)
                return r;
        if (i->size > 0) {
                assert(i->size < head_max);
                room = head_max - i->size;
                r = mam_buffer_reserve(&i->kept, room, &to);
                if (r < 0)
                        return r;
        }

        n = receive(userdata, to, room);
        if (i->size > 0) {
                if (n > 0)
                        mam_buffer_commit(&i->kept, (size_t) n);
                http_input_load(i);
        } else if (n > 0) {
                i->view = to;
                i->size = (size_t) n;
                i->in_scratch = true;
        }
        /* epoll(7): a short read has emptied a stream socket. */
        *ret_emptied = n < (ssize_t) room;
        return n;
}

static ssize_t receive_plain(void *userdata, char *to, size_t size) {
        const int *fd = userdata;
        ssize_t n;

        do {
                n = recv(*fd, to, size, MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

ssize_t http_input_receive(HttpInput *i, HttpPoll *p, int fd, size_t head_max, bool *ret_emptied) {
        return http_input_receive_from(i, p, receive_plain, &fd, head_max, ret_emptied);
}
