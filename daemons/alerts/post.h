/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Posting by HTTP(S), on libcurl and sd-event
 *
 * A Poster owns what posts share (connections, TLS sessions); a Post is one message under way. Certificates
 * are verified, redirects are not followed, answers' bodies are read up to POST_ANSWER_MAX and thrown away.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/util/macro.h"

typedef struct Post Post;
typedef struct Poster Poster;

#define POST_ANSWER_MAX    (64U * 1024U)
#define POST_DEADLINE_USEC (10 * MAM_USEC_PER_SEC)

typedef enum PostVerdict {
        POST_DONE,    /* 2xx */
        POST_RETRY,   /* 429, 5xx, or no answer */
        POST_REFUSED, /* anything else: the same message would be refused again */
} PostVerdict;

typedef struct PostResult {
        PostVerdict verdict;
        long status;               /* of HTTP; 0: there was no answer */
        uint64_t retry_after_usec; /* what the answer asks for; 0: nothing */
        const char *problem;       /* borrowed; fit for a log */
} PostResult;

/* The post is freed after the callback. */
typedef void (*PostCallback)(const PostResult *result, void *userdata);

int poster_new(Poster **ret, sd_event *event);
/* Posts must be freed before. */
Poster *poster_free(Poster *p);
MAM_DEFINE_CLEANUP(Poster, poster_free);

/* Begins; the callback runs exactly once, and never from in here, unless the post is freed before. body is
 * copied. -EINVAL: not an http or https URL. -ENOMEM. */
int post_new(Post **ret,
             Poster *p,
             const char *url,
             const char *body,
             PostCallback callback,
             void *userdata);
Post *post_free(Post *post);

/* Pure. status 0: no answer; is_url_bad: it could not even be tried. */
PostVerdict post_verdict(long status, bool is_url_bad);
/* How long to wait before another try: doubled from 1 s to a minute, by lot between half and whole; a
 * receiver that asks for more gets it, up to an hour. attempt: 0 after the first failure. */
uint64_t post_backoff_usec(unsigned attempt, uint64_t retry_after_usec);

/* "https://example.com:8443": what may be logged of a URL, of which the rest is often a secret. -EINVAL. */
int post_url_origin(char **ret, const char *url);
