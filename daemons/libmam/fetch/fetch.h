/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asking others by HTTP(S), on libcurl and sd-event
 *
 * For what mam wants of the world outside: webhooks, keys of an issuer, a collector of traces. A MamFetcher
 * owns what its fetches share (connections, TLS sessions); a MamFetch is one request under way. Certificates
 * are verified, redirects are not followed, proxies and credentials of the environment are libcurl's
 * business but .netrc is ignored. Nothing blocks but what libcurl's resolver does in a thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/util/macro.h"

typedef struct MamFetch MamFetch;
typedef struct MamFetcher MamFetcher;

#define MAM_FETCH_ANSWER_MAX    (64U * 1024U)
#define MAM_FETCH_DEADLINE_USEC (10 * MAM_USEC_PER_SEC)

typedef struct MamFetchRequest {
        const char *url;
        const char *method; /* NULL: by body; "OPTIONS" and the like go without one */
        const void *body;   /* NULL: GET; else POST. Copied */
        size_t body_size;
        const char *content_type;  /* of the body; or NULL */
        const char *const *fields; /* NULL-terminated "Name: value"; or NULL */
        size_t answer_max;      /* bytes of the answer's body; 0: MAM_FETCH_ANSWER_MAX; beyond: no answer */
        uint64_t deadline_usec; /* for all of it; 0: MAM_FETCH_DEADLINE_USEC */
} MamFetchRequest;

typedef struct MamFetchResult {
        long status;      /* of HTTP; 0: there was no answer */
        bool is_cut;      /* not all of its body came, or more than answer_max: body is "" */
        bool is_url_bad;  /* with status 0: it could not even be tried */
        bool is_refused;  /* with status 0: the fetcher's rule allowed none of the addresses that were tried
                           */
        const char *body; /* borrowed, NUL-terminated; "" without an answer */
        size_t body_size;
        uint64_t retry_after_usec; /* what the answer asks for, up to an hour; 0: nothing */
        const char *problem;       /* borrowed; fit for a log; of no meaning with a 2xx */
        MamFetch *fetch;           /* for mam_fetch_field() */
} MamFetchResult;

/* The fetch is freed after the callback. */
typedef void (*MamFetchCallback)(const MamFetchResult *result, void *userdata);

/* user_agent: "mam-alerts". */
int mam_fetcher_new(MamFetcher **ret, sd_event *event, const char *user_agent);
/* Fetches must be freed before. */
MamFetcher *mam_fetcher_free(MamFetcher *f);
MAM_DEFINE_CLEANUP(MamFetcher, mam_fetcher_free);

/* Whether it may connect to an address: asked each time a socket is about to connect, with what the name
 * came to then, so that a name that changes its mind between a check and a connection gains nothing. With a
 * rule no proxy is used, as its address would be judged instead. Before the first fetch. */
struct sockaddr;
typedef bool (*MamFetchRule)(const struct sockaddr *address, size_t size, void *userdata);
void mam_fetcher_set_rule(MamFetcher *f, MamFetchRule rule, void *userdata);

/* Begins; the callback runs exactly once, and never from in here, unless the fetch is freed before. -EINVAL:
 * not an http or https URL, or not a legal field. -ENOMEM. */
int mam_fetch_new(
                MamFetch **ret,
                MamFetcher *f,
                const MamFetchRequest *request,
                MamFetchCallback callback,
                void *userdata);
MamFetch *mam_fetch_free(MamFetch *fetch);
MAM_DEFINE_CLEANUP(MamFetch, mam_fetch_free);

/* From within the callback: a field of the answer, the first of that name; NULL: there is none. Borrowed
 * until the callback returns, or the next call. */
const char *mam_fetch_field(MamFetch *fetch, const char *name);

/* "https://example.com:8443": what may be logged of a URL, of which the rest is often a secret. Caller
 * frees. -EINVAL: not an http or https URL. */
int mam_fetch_origin(char **ret, const char *url);
