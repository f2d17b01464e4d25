/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What an answer to a post means (pure)
 */

#include <stdbool.h>
#include <stdint.h>

typedef enum PostVerdict {
        POST_DONE,    /* 2xx */
        POST_RETRY,   /* 429, 5xx, or no answer */
        POST_REFUSED, /* anything else: the same message would be refused again */
} PostVerdict;

/* status 0: no answer; is_url_bad: it could not even be tried. */
PostVerdict post_verdict(long status, bool is_url_bad);
/* How long to wait before another try: doubled from 1 s to a minute, by lot between half and whole; a
 * receiver that asks for more gets it, up to an hour. attempt: 0 after the first failure. */
uint64_t post_backoff_usec(unsigned attempt, uint64_t retry_after_usec);
