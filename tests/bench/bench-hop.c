/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The hop between gateway and replica by itself: a client and a server of libmam/http in two processes, over
 * a unix socket, with requests and answers as the gateway's are. Per protocol and concurrency it tells the
 * CPU time of each side per request.
 *
 *     bench-hop [SECONDS [http1|native]]
 *
 * The last line is a JSON object: of 64 small requests at once, microseconds of CPU time.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libmam/http/http-client.h"
#include "libmam/http/http-server.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

typedef struct Bench {
        sd_event *event;
        MamHttpClient *client;
        uint64_t n_done, n_failed, until_usec;
        unsigned in_flight;
        const char *target;
} Bench;

static const char small[] = "{\"id\":\"0192f1c4-6a3e-7c55-9a5e-4f5a8f0c1d2e\",\"name\":\"Website relaunch\","
                            "\"status\":\"active\",\"createdAt\":\"2026-01-01T00:00:00Z\"}";
static char large[65536];

static void check(int r, const char *what) {
        if (r >= 0)
                return;
        fprintf(stderr, "%s: %s\n", what, strerror(-r));
        exit(EXIT_FAILURE);
}

static int handler(MamHttpExchange *x, void *userdata) {
        if (strcmp(mam_http_exchange_path(x), "/large") == 0)
                return mam_http_exchange_respond(x, 200, "application/octet-stream", large, sizeof(large));
        (void) mam_http_exchange_add_field(x, "Cache-Control", "no-store");
        (void) mam_http_exchange_add_field(x, "ETag", "\"0192f1c4\"");
        return mam_http_exchange_respond(x, 200, "application/json", small, sizeof(small) - 1);
}

static double cpu(int who) {
        struct rusage u;

        (void) getrusage(who, &u);
        return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
               (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

_Noreturn static void serve(int fd) {
        MamHttpServer *s = NULL;
        sd_event *event = NULL;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        check(sd_event_new(&event), "event loop");
        check(mam_http_server_new(&s, event, NULL, handler, NULL), "server");
        check(mam_http_server_listen_with(s, fd, &(MamHttpListenOptions){ .native = true }), "listen");
        exit(sd_event_loop(event) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void begin(Bench *b);

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        return head->status == 200 ? 0 : -EBADMSG;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        return 0;
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Bench *b = userdata;

        b->n_done++;
        b->n_failed += error < 0;
        b->in_flight--;
        mam_http_call_free(call);
        if (mam_now_monotonic() < b->until_usec)
                begin(b);
        else if (b->in_flight == 0)
                (void) sd_event_exit(b->event, 0);
}

static void begin(Bench *b) {
        static const char *const fields[][2] = {
                { "Host", "gateway.example.org" },
                { "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0" },
                { "Accept", "application/json, text/plain, */*" },
                { "Accept-Language", "en-US,en;q=0.5" },
                { "Accept-Encoding", "gzip, deflate, br, zstd" },
                { "X-Forwarded-Host", "gateway.example.org" },
                { "Forwarded", "for=192.0.2.1;proto=https;host=\"gateway.example.org\"" },
                { "X-Forwarded-For", "192.0.2.1" },
                { "X-Forwarded-Proto", "https" },
                { "X-Request-Id", "4bf92f3577b34da6a3ce929d0e0e4736" },
                { "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
                { "Mam-Subject", "alice" },
                { "Mam-Roles", "reader,writer" },
        };
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };
        MamHttpCall *call;

        check(mam_http_call_new(&call, b->client, "GET", b->target, &callbacks, b), "call");
        for (size_t i = 0; i < MAM_ELEMENTSOF(fields); i++)
                check(mam_http_call_add_field(call, fields[i][0], fields[i][1]), "field");
        check(mam_http_call_start(call), "start");
        b->in_flight++;
}

typedef struct Figures {
        double client, server;
} Figures;

static Figures measure(MamHttpProtocol protocol, const char *target, unsigned concurrency, double seconds) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        MamHttpClientOptions o = { .protocol = protocol, .connections_max = 1024, .idle_max = 1024 };
        char folder[] = "/tmp/bench-hop-XXXXXX";
        Bench b = { .target = target };
        double before, server;
        uint64_t start, end;
        pid_t pid;
        int fd;

        if (!mkdtemp(folder))
                check(-errno, "folder");
        (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s/socket", folder);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        check(bind(fd, (struct sockaddr *) &un, sizeof(un)), "bind");
        check(listen(fd, 1024), "listen");
        pid = fork();
        if (pid == 0)
                serve(fd);
        close(fd);

        check(sd_event_new(&b.event), "event loop");
        check(mam_http_client_new(&b.client, b.event, un.sun_path, &o), "client");
        before = cpu(RUSAGE_SELF);
        server = cpu(RUSAGE_CHILDREN);
        start = mam_now_monotonic();
        b.until_usec = start + (uint64_t) (seconds * 1e6);
        for (unsigned i = 0; i < concurrency; i++)
                begin(&b);
        check(sd_event_loop(b.event), "loop");
        end = mam_now_monotonic();
        before = cpu(RUSAGE_SELF) - before;
        (void) kill(pid, SIGTERM);
        (void) waitpid(pid, NULL, 0);
        server = cpu(RUSAGE_CHILDREN) - server;

        printf("%-7s %-7s %4u at once  %8.0f/s  client %6.2f us  server %6.2f us  failed %llu\n",
               protocol == MAM_HTTP_PROTOCOL_NATIVE ? "native" : "http/1",
               target,
               concurrency,
               (double) b.n_done * 1e6 / (double) (end - start),
               before / (double) b.n_done,
               server / (double) b.n_done,
               (unsigned long long) b.n_failed);
        (void) fflush(stdout);
        mam_http_client_free(b.client);
        sd_event_unref(b.event);
        (void) unlink(un.sun_path);
        (void) rmdir(folder);
        return (Figures){ before / (double) b.n_done, server / (double) b.n_done };
}

int main(int argc, char **argv) {
        static const MamHttpProtocol protocols[] = { MAM_HTTP_PROTOCOL_HTTP1, MAM_HTTP_PROTOCOL_NATIVE };
        static const char *const names[] = { "http1", "native" };
        static const unsigned at_once[] = { 1, 16, 64, 256 };
        double seconds = argc > 1 ? atof(argv[1]) : 1;
        Figures figures[MAM_ELEMENTSOF(protocols)] = { 0 };

        for (size_t i = 0; i < MAM_ELEMENTSOF(at_once) + 1; i++)
                for (size_t p = 0; p < MAM_ELEMENTSOF(protocols); p++) {
                        bool is_large = i == MAM_ELEMENTSOF(at_once);
                        Figures f;

                        if (argc > 2 && strcmp(argv[2], names[p]) != 0)
                                continue;
                        f = measure(protocols[p],
                                    is_large ? "/large" : "/small",
                                    is_large ? 16 : at_once[i],
                                    seconds);
                        if (!is_large && at_once[i] == 64)
                                figures[p] = f;
                }
        printf("{\"http1\": {\"client\": %.2f, \"server\": %.2f}, \"native\": {\"client\": %.2f, \"server\": %.2f}}\n",
               figures[0].client,
               figures[0].server,
               figures[1].client,
               figures[1].server);
        return EXIT_SUCCESS;
}
