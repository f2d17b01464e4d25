/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Load on the event bus for bench-events
 *
 *     bench-events-load publish ADDRESS TOKEN TOPIC SECONDS PRODUCERS BATCH
 *     bench-events-load consume ADDRESS TOKEN SUBSCRIPTION SECONDS CONSUMERS BATCH
 *     bench-events-load latency ADDRESS TOKEN TOPIC SECONDS RATE
 *     bench-events-load sse     ADDRESS TOKEN TOPIC SUBSCRIBERS
 *
 * publish: each producer sends its next request when the last is acknowledged; 256 bytes of data per event.
 * consume: each consumer pulls and acknowledges. latency: events are published one by one at a fixed rate,
 * whatever the answers do, and followed by SSE; it counts from when an event was due, so that a stall is not
 * hidden. sse: opens them, says "ready" when each has had an event, and stays until stdin ends. The last
 * line is a JSON object. An answer that is none ends it with an error.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "libmam/http/http-client.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define DATA_SIZE   256U
#define WARM_UP     MAM_USEC_PER_SEC
#define LATENCY_MAX 10000U /* ms; what is slower counts as that */
#define SLOTS       (LATENCY_MAX * 20U)

typedef struct Bench Bench;

/* One who sends a request after the other. */
typedef struct Worker {
        Bench *bench;
        MamHttpCall *call;
        MamBuffer answer;
        unsigned status;
        uint64_t began;
        size_t n_events; /* of this request */
        bool acking;
} Worker;

struct Bench {
        sd_event *event;
        MamHttpClient *client;
        char target[512], ack_target[512], authorization[4096];
        unsigned batch;
        uint64_t serial, run;
        char data[DATA_SIZE + 1];
        uint64_t counted_from, until;
        uint64_t n_events, n_requests, n_empty, n_late;
        unsigned n_working;
        unsigned slots[SLOTS + 1]; /* of 50 µs */
        /* latency */
        uint64_t rate, sent, due_first, got;
        sd_event_source *timer;
        unsigned in_flight;
        char *line; /* of the stream, incomplete */
        size_t line_size, line_allocated;
        /* sse */
        unsigned subscribers, heard;
};

static _Noreturn void die(const char *what, const char *why) {
        fprintf(stderr, "bench-events-load: %s: %s\n", what, why);
        exit(EXIT_FAILURE);
}

static void check(int r, const char *what) {
        if (r < 0)
                die(what, strerror(-r));
}

static uint64_t number(const char *text, uint64_t least) {
        char *end;
        uint64_t n = strtoull(text, &end, 10);

        if (*end != '\0' || n < least)
                die(text, "not a number that makes sense here");
        return n;
}

static void record(Bench *b, uint64_t usec) {
        b->slots[usec / 50 < SLOTS ? usec / 50 : SLOTS]++;
}

static double quantile(const Bench *b, double q) {
        uint64_t n = 0, sum = 0;

        for (size_t i = 0; i <= SLOTS; i++)
                n += b->slots[i];
        for (size_t i = 0; i <= SLOTS; i++) {
                sum += b->slots[i];
                if (n > 0 && (double) sum >= q * (double) n)
                        return (double) (i + 1) * 0.05;
        }
        return 0;
}

static bool counts(const Bench *b, uint64_t now) {
        return now >= b->counted_from && now < b->until;
}

/* ---- one request ---- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Worker *w = userdata;

        w->status = head->status;
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Worker *w = userdata;

        return mam_buffer_append(&w->answer, data, size);
}

static void send_request(
                Worker *w,
                const char *target,
                const char *type,
                const MamBuffer *body,
                const MamHttpCallbacks *callbacks) {
        MamHttpCall *call;

        w->answer.size = 0;
        w->status = 0;
        check(mam_http_call_new(&call, w->bench->client, "POST", target, callbacks, w), "call");
        check(mam_http_call_add_field(call, "Authorization", w->bench->authorization), "field");
        check(mam_http_call_add_field(call, "Content-Type", type), "field");
        check(mam_http_call_set_body(call, mam_buffer_bytes(body), body->size), "body");
        check(mam_http_call_start(call), "start");
        w->call = call;
        w->began = mam_now_monotonic();
}

static void answered(Worker *w, int error) {
        w->call = mam_http_call_free(w->call);
        check(error, "request");
        if (w->status / 100 != 2) {
                (void) mam_buffer_append(&w->answer, "", 1);
                fprintf(stderr, "status %u\n", w->status);
                die("answer", mam_buffer_bytes(&w->answer));
        }
}

static void stopped(Bench *b) {
        if (--b->n_working == 0)
                (void) sd_event_exit(b->event, 0);
}

/* ---- publish ---- */

static void append_event(Bench *b, MamBuffer *body, uint64_t due) {
        uint64_t n = ++b->serial;

        check(mam_buffer_appendf(
                              body,
                              "{\"specversion\":\"1.0\",\"id\":\"%" PRIx64 "-%" PRIx64
                              "\",\"source\":\"/bench\",\"type\":\"org.example.bench\",\"partitionkey\":\"k%" PRIu64
                              "\",\"datacontenttype\":\"text/plain\",\"data\":\"%" PRIu64 " %s\"}",
                              b->run,
                              n,
                              n % 1000,
                              due,
                              b->data + 17),
              "event");
}

static void publish(Worker *w);

static void on_published(MamHttpCall *call, int error, void *userdata) {
        Worker *w = userdata;
        Bench *b = w->bench;
        uint64_t now = mam_now_monotonic();

        answered(w, error);
        if (counts(b, now)) {
                b->n_events += w->n_events;
                b->n_requests++;
                record(b, now - w->began);
        }
        if (now < b->until)
                publish(w);
        else
                stopped(b);
}

static void publish(Worker *w) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_published };
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        Bench *b = w->bench;
        bool many = b->batch > 1;

        if (many)
                check(mam_buffer_append(&body, "[", 1), "body");
        for (unsigned i = 0; i < b->batch; i++) {
                if (i > 0)
                        check(mam_buffer_append(&body, ",", 1), "body");
                append_event(b, &body, mam_now_monotonic());
        }
        if (many)
                check(mam_buffer_append(&body, "]", 1), "body");
        w->n_events = b->batch;
        send_request(w,
                     b->target,
                     many ? "application/cloudevents-batch+json" : "application/cloudevents+json",
                     &body,
                     &callbacks);
}

/* ---- consume ---- */

static void pull(Worker *w);

static void on_acked(MamHttpCall *call, int error, void *userdata) {
        Worker *w = userdata;
        Bench *b = w->bench;
        uint64_t now = mam_now_monotonic();

        answered(w, error);
        if (counts(b, now)) {
                b->n_events += w->n_events;
                b->n_requests++;
                record(b, now - w->began);
        }
        if (now < b->until)
                pull(w);
        else
                stopped(b);
}

/* The ids of an answer, as they are, into a body that acknowledges them. */
static size_t copy_ack_ids(MamBuffer *body, const MamBuffer *answer) {
        static const char name[] = "\"ackId\":";
        const char *p = mam_buffer_bytes(answer), *end = p + answer->size;
        size_t n = 0;

        check(mam_buffer_append_string(body, "{\"ackIds\":["), "body");
        while ((p = memmem(p, (size_t) (end - p), name, sizeof(name) - 1))) {
                const char *close;

                p += sizeof(name) - 1;
                while (p < end && *p == ' ')
                        p++;
                close = p < end ? memchr(p + 1, '"', (size_t) (end - p - 1)) : NULL;
                if (!close)
                        die("answer", "an id does not end");
                if (n++ > 0)
                        check(mam_buffer_append(body, ",", 1), "body");
                check(mam_buffer_append(body, p, (size_t) (close + 1 - p)), "body");
                p = close + 1;
        }
        check(mam_buffer_append_string(body, "]}"), "body");
        return n;
}

static void on_pulled(MamHttpCall *call, int error, void *userdata) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_acked };
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        Worker *w = userdata;
        Bench *b = w->bench;

        answered(w, error);
        w->n_events = copy_ack_ids(&body, &w->answer);
        if (w->n_events == 0) {
                b->n_empty++;
                if (mam_now_monotonic() < b->until)
                        pull(w);
                else
                        stopped(b);
                return;
        }
        send_request(w, b->ack_target, "application/json", &body, &callbacks);
}

static void pull(Worker *w) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_pulled };
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;

        check(mam_buffer_appendf(&body, "{\"max\":%u,\"wait\":\"1s\"}", w->bench->batch), "body");
        send_request(w, w->bench->target, "application/json", &body, &callbacks);
}

static void run_workers(Bench *b, unsigned n, void (*begin)(Worker *w)) {
        Worker *workers = calloc(n, sizeof(*workers));

        if (!workers)
                die("workers", strerror(ENOMEM));
        b->n_working = n;
        for (unsigned i = 0; i < n; i++) {
                workers[i].bench = b;
                begin(&workers[i]);
        }
        check(sd_event_loop(b->event), "event loop");
        for (unsigned i = 0; i < n; i++)
                mam_buffer_done(&workers[i].answer);
        free(workers);
}

/* ---- latency ---- */

static void on_one_published(MamHttpCall *call, int error, void *userdata) {
        Worker *w = userdata;

        answered(w, error);
        w->bench->in_flight--;
        mam_buffer_done(&w->answer);
        free(w);
}

static int on_due(sd_event_source *s, uint64_t usec, void *userdata) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_one_published };
        Bench *b = userdata;
        uint64_t now = mam_now_monotonic();

        for (;;) {
                _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
                uint64_t due = b->due_first + b->sent * MAM_USEC_PER_SEC / b->rate;
                Worker *w;

                if (due >= b->until)
                        return 0;
                if (due > now) {
                        check(sd_event_source_set_time(s, due), "timer");
                        check(sd_event_source_set_enabled(s, SD_EVENT_ONESHOT), "timer");
                        return 0;
                }
                w = calloc(1, sizeof(*w));
                if (!w)
                        die("request", strerror(ENOMEM));
                w->bench = b;
                b->sent++;
                b->in_flight++;
                append_event(b, &body, due);
                send_request(w, b->target, "application/cloudevents+json", &body, &callbacks);
        }
}

static void heard(Bench *b, const char *line, size_t size) {
        static const char name[] = "\"data\":\"";
        uint64_t now = mam_now_monotonic(), due;
        const char *p;

        if (size < 5 || memcmp(line, "data:", 5) != 0)
                return;
        p = memmem(line, size, name, sizeof(name) - 1);
        if (!p)
                die("stream", "an event without data");
        due = strtoull(p + sizeof(name) - 1, NULL, 10);
        b->got++;
        if (counts(b, due))
                record(b, now - due);
        if (due >= b->until || (b->got >= b->sent && now >= b->until))
                (void) sd_event_exit(b->event, 0);
}

static int on_stream_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        if (head->status != 200)
                die("stream", "its status is not 200");
        return 0;
}

static int on_stream(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Bench *b = userdata;

        while (size > 0) {
                const char *newline = memchr(data, '\n', size);
                size_t n = newline ? (size_t) (newline - data) : size;

                if (b->line_size + n + 1 > b->line_allocated) {
                        b->line_allocated = (b->line_size + n + 1) * 2;
                        b->line = realloc(b->line, b->line_allocated);
                        if (!b->line)
                                die("stream", strerror(ENOMEM));
                }
                memcpy(b->line + b->line_size, data, n);
                b->line_size += n;
                b->line[b->line_size] = '\0';
                if (newline) {
                        heard(b, b->line, b->line_size);
                        b->line_size = 0;
                        n++;
                }
                data += n;
                size -= n;
        }
        return 0;
}

static void on_stream_end(MamHttpCall *call, int error, void *userdata) {
        die("stream", error < 0 ? strerror(-error) : "it ended");
}

static int on_too_late(sd_event_source *s, uint64_t usec, void *userdata) {
        Bench *b = userdata;

        if (b->got < b->sent)
                die("latency", "events have not come");
        return sd_event_exit(b->event, 0);
}

static MamHttpCall *open_stream(
                Bench *b,
                const char *topic,
                const char *from,
                const MamHttpCallbacks *callbacks,
                void *userdata) {
        char target[512];
        MamHttpCall *call;

        snprintf(target, sizeof(target), "/v1/topics/%s/events?from=%s", topic, from);
        check(mam_http_call_new(&call, b->client, "GET", target, callbacks, userdata), "call");
        check(mam_http_call_add_field(call, "Authorization", b->authorization), "field");
        check(mam_http_call_add_field(call, "Accept", "text/event-stream"), "field");
        mam_http_call_set_timeout(call, MAM_USEC_INFINITY);
        check(mam_http_call_start(call), "start");
        return call;
}

static int begin_latency(sd_event_source *s, uint64_t usec, void *userdata) {
        Bench *b = userdata;
        uint64_t now = mam_now_monotonic(), seconds = b->until;

        b->due_first = now;
        b->counted_from = now + WARM_UP;
        b->until = b->counted_from + seconds;
        check(sd_event_add_time(b->event, &b->timer, CLOCK_MONOTONIC, now, 1, on_due, b), "timer");
        check(sd_event_add_time(
                              b->event,
                              NULL,
                              CLOCK_MONOTONIC,
                              b->until + 5 * MAM_USEC_PER_SEC,
                              1000,
                              on_too_late,
                              b),
              "timer");
        return 0;
}

static void latency(Bench *b, const char *topic, uint64_t seconds, uint64_t rate) {
        static const MamHttpCallbacks callbacks = { .on_head = on_stream_head,
                                                    .on_data = on_stream,
                                                    .on_end = on_stream_end };

        b->rate = rate;
        b->until = seconds * MAM_USEC_PER_SEC;
        (void) open_stream(b, topic, "latest", &callbacks, b);
        /* The stream stands by then; what it might miss would be told as an error. */
        check(sd_event_add_time_relative(
                              b->event,
                              NULL,
                              CLOCK_MONOTONIC,
                              500 * MAM_USEC_PER_MSEC,
                              1000,
                              begin_latency,
                              b),
              "timer");
        check(sd_event_loop(b->event), "event loop");
        if (b->got < b->sent)
                fprintf(stderr, "%" PRIu64 " of %" PRIu64 " events came\n", b->got, b->sent);
}

/* ---- subscribers that only stand there ---- */

static int on_first(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        bool *has_heard = userdata;

        if (!*has_heard && memmem(data, size, "data:", 5))
                *has_heard = true;
        return 0;
}

static int on_stdin(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        return sd_event_exit(sd_event_source_get_event(s), 0);
}

static int look(sd_event_source *s, uint64_t usec, void *userdata) {
        Bench *b = userdata;
        const bool *all = (const bool *) b->line;
        unsigned n = 0;

        for (unsigned i = 0; i < b->subscribers; i++)
                n += all[i];
        if (n > b->heard) {
                b->heard = n;
                if (n == b->subscribers) {
                        printf("ready\n");
                        fflush(stdout);
                }
        }
        check(sd_event_source_set_time_relative(s, 100 * MAM_USEC_PER_MSEC), "timer");
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void subscribe(Bench *b, const char *topic, unsigned n) {
        static const MamHttpCallbacks callbacks = { .on_head = on_stream_head,
                                                    .on_data = on_first,
                                                    .on_end = on_stream_end };
        bool *all = calloc(n, sizeof(bool));
        sd_event_source *timer;

        if (!all)
                die("subscribers", strerror(ENOMEM));
        b->subscribers = n;
        b->line = (char *) all;
        for (unsigned i = 0; i < n; i++)
                (void) open_stream(b, topic, "latest", &callbacks, &all[i]);
        check(sd_event_add_io(b->event, NULL, STDIN_FILENO, EPOLLIN, on_stdin, b), "stdin");
        check(sd_event_add_time_relative(b->event, &timer, CLOCK_MONOTONIC, 0, 1000, look, b), "timer");
        check(sd_event_loop(b->event), "event loop");
}

static double cpu_seconds(void) {
        struct rusage u;

        (void) getrusage(RUSAGE_SELF, &u);
        return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
        static Bench b;
        MamHttpClientOptions options = { .connections_max = 4000, .idle_max = 4000 };
        uint64_t now = mam_now_monotonic(), seconds;

        if (argc < 6)
                die("usage", "publish|consume|latency|sse ADDRESS TOKEN NAME …");
        memset(b.data, 'x', DATA_SIZE);
        b.run = (uint64_t) time(NULL) << 20 ^ (uint64_t) getpid();
        snprintf(b.authorization, sizeof(b.authorization), "Bearer %s", argv[3]);
        check(sd_event_new(&b.event), "event loop");
        check(mam_http_client_new(&b.client, b.event, argv[2], &options), "client");
        snprintf(b.target, sizeof(b.target), "/v1/topics/%s/events", argv[4]);
        seconds = number(argv[5], 1);
        b.counted_from = now + WARM_UP;
        b.until = b.counted_from + seconds * MAM_USEC_PER_SEC;

        if (strcmp(argv[1], "publish") == 0 && argc == 8) {
                b.batch = (unsigned) number(argv[7], 1);
                run_workers(&b, (unsigned) number(argv[6], 1), publish);
        } else if (strcmp(argv[1], "consume") == 0 && argc == 8) {
                snprintf(b.target, sizeof(b.target), "/v1/subscriptions/%s/pull", argv[4]);
                snprintf(b.ack_target, sizeof(b.ack_target), "/v1/subscriptions/%s/ack", argv[4]);
                b.batch = (unsigned) number(argv[7], 1);
                run_workers(&b, (unsigned) number(argv[6], 1), pull);
        } else if (strcmp(argv[1], "latency") == 0 && argc == 7) {
                latency(&b, argv[4], seconds, number(argv[6], 1));
        } else if (strcmp(argv[1], "sse") == 0 && argc == 6) {
                subscribe(&b, argv[4], (unsigned) seconds);
                return 0;
        } else {
                die(argv[1], "not known, or another number of arguments");
        }
        printf("{\"events_per_s\":%.1f,\"requests\":%" PRIu64 ",\"empty\":%" PRIu64
               ",\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"cpu_s\":%.2f,"
               "\"sent\":%" PRIu64 ",\"got\":%" PRIu64 "}\n",
               (double) b.n_events / (double) seconds,
               b.n_requests,
               b.n_empty,
               quantile(&b, 0.5),
               quantile(&b, 0.99),
               cpu_seconds(),
               b.sent,
               b.got);
        return 0;
}
