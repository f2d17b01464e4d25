/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What connections over TLS have in common: its making, its files
 *
 * Files are written one after the other, so a change is looked at only once nothing has happened for a
 * moment. inotify tells of it soon; a look at their times every minute finds what it cannot see (behind
 * links, on network file systems).
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>

#include "libmam/http/http-tls-context.h"
#include "libmam/util/time.h"

#define SETTLE_USEC    (300 * MAM_USEC_PER_MSEC)
#define LOOK_USEC      (60 * MAM_USEC_PER_SEC)
#define ACCURACY_USEC  (50 * MAM_USEC_PER_MSEC)
#define HANDSHAKES_MAX 1000U

static const char *const clients_names[] = { "off", "request", "require" };

const char *mam_http_tls_clients_to_string(MamHttpTlsClients c) {
        return c >= 0 && c < _MAM_HTTP_TLS_CLIENTS_MAX ? clients_names[c] : NULL;
}

MamHttpTlsClients mam_http_tls_clients_from_string(const char *s) {
        for (int i = 0; s && i < _MAM_HTTP_TLS_CLIENTS_MAX; i++) {
                if (strcmp(s, clients_names[i]) == 0)
                        return (MamHttpTlsClients) i;
        }
        return _MAM_HTTP_TLS_CLIENTS_INVALID;
}

void http_tls_handshake_begins(MamHttpTls *t, HttpTls *session) {
        HttpTls *oldest;

        TAILQ_INSERT_TAIL(&t->handshakes, session, handshakes);
        session->in_handshakes = true;
        if (++t->n_handshakes <= t->options.handshakes_max)
                return;

        /* One that is in earnest takes milliseconds: the oldest is the least likely to be. */
        oldest = TAILQ_FIRST(&t->handshakes);
        oldest->connection->failed = true;
        http_connection_defer(oldest->connection);
        http_tls_handshake_ends(t, oldest);
}

void http_tls_handshake_ends(MamHttpTls *t, HttpTls *session) {
        if (!session->in_handshakes)
                return;
        TAILQ_REMOVE(&t->handshakes, session, handshakes);
        session->in_handshakes = false;
        t->n_handshakes--;
}

int mam_http_tls_reload(MamHttpTls *t) {
        HttpTlsStore *s;
        uint64_t stamp;
        int r;

        assert(t);

        stamp = http_tls_store_stamp(&t->options);
        if (stamp == t->stamp)
                return 0;
        t->stamp = stamp; /* what is wrong is told once, not at each look */
        r = http_tls_store_new(&s, &t->options, t->tickets, t->store);
        if (r < 0)
                return r;
        http_tls_store_unref(t->store);
        t->store = s;
        return 1;
}

static void look_in(MamHttpTls *t, uint64_t usec) {
        (void) sd_event_source_set_time_relative(t->timer, usec);
        (void) sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        look_in(userdata, SETTLE_USEC);
        return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        MamHttpTls *t = userdata;

        (void) mam_http_tls_reload(t);
        look_in(t, LOOK_USEC);
        return 0;
}

static int watch(MamHttpTls *t) {
        int r;

        r = sd_event_add_time_relative(
                        t->event,
                        &t->timer,
                        CLOCK_MONOTONIC,
                        LOOK_USEC,
                        ACCURACY_USEC,
                        on_time,
                        t);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(t->timer, "tls-certificates");
        /* The timer alone will do where there are no watches left. */
        r = sd_event_add_inotify(
                        t->event,
                        &t->watch,
                        t->options.certificates,
                        IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB,
                        on_change,
                        t);
        if (r >= 0)
                (void) sd_event_source_set_description(t->watch, "tls-folder");
        return 0;
}

static int copy(const char **field) {
        if (!*field)
                return 0;
        *field = strdup(*field);
        return *field ? 0 : -ENOMEM;
}

static int copy_options(MamHttpTls *t, const MamHttpTlsOptions *options) {
        const char *certificates = options->certificates, *default_name = options->default_name,
                   *client_ca = options->client_ca, *ciphers = options->ciphers;
        MamHttpTlsOptions *o = &t->options;
        int r, s, u, v;

        *o = *options;
        o->ticket_secret = NULL;
        if (o->handshakes_max == 0)
                o->handshakes_max = HANDSHAKES_MAX;
        if (options->clients == MAM_HTTP_TLS_CLIENTS_OFF)
                client_ca = NULL;
        r = copy(&certificates);
        s = copy(&default_name);
        u = copy(&client_ca);
        v = copy(&ciphers);
        o->certificates = certificates;
        o->default_name = default_name;
        o->client_ca = client_ca;
        o->ciphers = ciphers;
        return r < 0 || s < 0 || u < 0 || v < 0 ? -ENOMEM : 0;
}

int mam_http_tls_new(MamHttpTls **ret, sd_event *event, const MamHttpTlsOptions *options) {
        _cleanup_(mam_http_tls_unrefp) MamHttpTls *t = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(options && options->certificates);

        if (options->version_min != 0 && options->version_min != 12 && options->version_min != 13)
                return -EINVAL;
        if (options->clients != MAM_HTTP_TLS_CLIENTS_OFF && !options->client_ca)
                return -EINVAL;

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->n_ref = 1;
        t->event = sd_event_ref(event);
        TAILQ_INIT(&t->handshakes);
        r = copy_options(t, options);
        if (r < 0)
                return r;
        t->method = http_tls_bio_method();
        if (!t->method)
                return -ENOMEM;
        r = http_tls_tickets_new(&t->tickets, options->ticket_secret, options->ticket_secret_size);
        if (r < 0)
                return r;

        /* Watched first: what changes while it is read is read again. */
        r = watch(t);
        if (r < 0)
                return r;
        t->stamp = http_tls_store_stamp(&t->options);
        r = http_tls_store_new(&t->store, &t->options, t->tickets, NULL);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(t);
        return 0;
}

MamHttpTls *mam_http_tls_ref(MamHttpTls *t) {
        assert(t);

        t->n_ref++;
        return t;
}

MamHttpTls *mam_http_tls_unref(MamHttpTls *t) {
        if (!t || --t->n_ref > 0)
                return NULL;

        assert(t->n_handshakes == 0); /* each session holds a reference */
        sd_event_source_disable_unref(t->watch);
        sd_event_source_disable_unref(t->timer);
        http_tls_store_unref(t->store);
        http_tls_tickets_free(t->tickets);
        BIO_meth_free(t->method);
        mam_buffer_done(&t->gather);
        free((char *) t->options.certificates);
        free((char *) t->options.default_name);
        free((char *) t->options.client_ca);
        free((char *) t->options.ciphers);
        sd_event_unref(t->event);
        free(t);
        return NULL;
}

int64_t mam_http_tls_expiry(const MamHttpTls *t) {
        assert(t);

        return http_tls_store_expiry(t->store);
}
