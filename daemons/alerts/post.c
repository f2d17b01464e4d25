/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/post.h"

#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define RETRY_FIRST_USEC     (1 * MAM_USEC_PER_SEC)
#define RETRY_MAX_USEC       (60 * MAM_USEC_PER_SEC)
#define RETRY_AFTER_MAX_USEC (3600 * MAM_USEC_PER_SEC)

PostVerdict post_verdict(long status, bool is_url_bad) {
        if (status >= 200 && status <= 299)
                return POST_DONE;
        if (status == 0)
                return is_url_bad ? POST_REFUSED : POST_RETRY;
        return status == 429 || status >= 500 ? POST_RETRY : POST_REFUSED;
}

uint64_t post_backoff_usec(unsigned attempt, uint64_t retry_after_usec) {
        uint64_t wait = mam_backoff_usec(attempt, RETRY_FIRST_USEC, RETRY_MAX_USEC);

        if (retry_after_usec > RETRY_AFTER_MAX_USEC)
                retry_after_usec = RETRY_AFTER_MAX_USEC;
        return wait > retry_after_usec ? wait : retry_after_usec;
}
