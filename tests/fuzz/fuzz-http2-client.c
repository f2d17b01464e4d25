/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: what a peer answers to a client over HTTP/2
 *
 * The input is all that the peer says, through a real socket. The first byte says in which pieces it comes
 * and how the owners of the calls behave. Beside memory errors it looks for calls that end more than once or
 * never, and for what comes after their end.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libmam/http/http-client.h"
#include "libmam/util/time.h"

#define N_CALLS 4U

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum {
        FREE_AT_HEAD = 1 << 3,
        FREE_AT_DATA = 1 << 4,
        PAUSE_AT_HEAD = 1 << 5,
        REFUSE_HEAD = 1 << 6,
        FREE_CLIENT_AT_END = 1 << 7,
};

typedef struct Call {
        MamHttpCall *call;
        unsigned n_heads, n_ends;
        bool freed;
} Call;

static sd_event *event;
static int listener = -EBADF;
static char path[64];
static MamHttpClient *client;
static Call calls[N_CALLS];
static unsigned mode;

static void check(int ok) {
        if (!ok)
                abort();
}

static void free_call(Call *c) {
        c->call = mam_http_call_free(c->call);
        c->freed = true;
}

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Call *c = userdata;

        check(!c->freed && c->n_ends == 0 && c->n_heads++ == 0);
        check(head->status >= 200 && head->status < 600);
        for (size_t i = 0; i < head->n_fields; i++) {
                check(mam_http_is_token(head->fields[i].name.data, head->fields[i].name.size));
                check(mam_http_is_field_value(head->fields[i].value.data, head->fields[i].value.size));
        }
        if (mode & PAUSE_AT_HEAD)
                mam_http_call_pause(call);
        if (mode & FREE_AT_HEAD)
                free_call(c);
        return mode & REFUSE_HEAD ? -EIO : 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Call *c = userdata;

        check(!c->freed && c->n_ends == 0 && c->n_heads == 1 && size > 0);
        if (mode & FREE_AT_DATA)
                free_call(&calls[(size_t) (c - calls + 1) % N_CALLS]);
        return 0;
}

static void on_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        Call *c = userdata;

        check(!c->freed && c->n_ends == 0 && c->n_heads == 1 && n > 0);
        for (size_t i = 0; i < n; i++)
                check(mam_http_trailer_is_legal(fields[i].name));
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Call *c = userdata;

        check(!c->freed && c->n_ends++ == 0);
        check(error <= 0 && (error < 0 || c->n_heads == 1));
        if ((mode & FREE_CLIENT_AT_END) && client) {
                MamHttpClient *gone = client;

                client = NULL;
                mam_http_client_free(gone);
        }
}

static const MamHttpCallbacks callbacks = {
        .on_head = on_head,
        .on_data = on_data,
        .on_trailers = on_trailers,
        .on_end = on_end,
};

static void tear_down(void) {
        if (listener >= 0)
                (void) unlink(path);
}

static void setup(void) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };

        if (event)
                return;
        snprintf(path, sizeof(path), "/tmp/fuzz-h2c-%d", (int) getpid());
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
        check(sd_event_new(&event) >= 0 && atexit(tear_down) == 0);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void) unlink(path);
        check(bind(listener, (struct sockaddr *) &un, sizeof(un)) >= 0 && listen(listener, 8) >= 0);
}

static void settle(int fd) {
        static char sink[65536];

        for (unsigned i = 0; i < 64 && sd_event_run(event, 0) > 0; i++) {
                while (fd >= 0 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
                        ;
        }
}

static void start_calls(void) {
        static const char *const methods[N_CALLS] = { "GET", "POST", "HEAD", "POST" };

        for (size_t i = 0; i < N_CALLS; i++) {
                calls[i] = (Call){ 0 };
                check(mam_http_call_new(&calls[i].call, client, methods[i], "/", &callbacks, &calls[i]) >=
                      0);
                if (i == 1)
                        check(mam_http_call_set_body(calls[i].call, "body", 4) >= 0);
                if (i == 3)
                        check(mam_http_call_set_streaming(calls[i].call, -1) >= 0);
                check(mam_http_call_start(calls[i].call) >= 0);
        }
        (void) mam_http_call_write(calls[3].call, "piece", 5);
}

static void send_all(int fd, const uint8_t *data, size_t size, size_t piece) {
        for (size_t at = 0; at < size;) {
                ssize_t n;

                n = send(fd, data + at, size - at < piece ? size - at : piece, MSG_DONTWAIT | MSG_NOSIGNAL);
                settle(fd);
                if (n <= 0)
                        return;
                at += (size_t) n;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static const size_t pieces[] = { 65536, 1, 7, 9, 100, 1000, 4096, 16393 };
        const MamHttpClientOptions options = { .protocol = MAM_HTTP_PROTOCOL_H2C };
        int fd;

        if (size < 1 || size > 65536)
                return 0;
        setup();
        mode = bytes[0];
        check(mam_http_client_new(&client, event, path, &options) >= 0);
        start_calls();
        settle(-EBADF);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        check(fd >= 0);

        send_all(fd, bytes + 1, size - 1, size > 4096 ? 65536 : pieces[mode % 8]);
        for (size_t i = 0; i < N_CALLS; i++) {
                if (calls[i].call && calls[i].n_ends == 0)
                        mam_http_call_resume(calls[i].call);
        }
        settle(fd);
        close(fd);
        settle(-EBADF);
        for (size_t i = 0; i < N_CALLS; i++) {
                check(calls[i].freed || calls[i].n_ends == 1);
                mam_http_call_free(calls[i].call);
        }
        client = mam_http_client_free(client);
        settle(-EBADF);
        return 0;
}
