/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What may stand behind a body
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-codec.h"
#include "libmam/util/macro.h"

/* RFC 9110, section 6.5.1, by its reasons; sorted. */
static const char *const forbidden[] = {
        "Age",
        "Authorization",
        "Cache-Control",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Range",
        "Content-Type",
        "Cookie",
        "Date",
        "Expect",
        "Expires",
        "Forwarded",
        "Host",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Keep-Alive",
        "Location",
        "Max-Forwards",
        "Pragma",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Range",
        "Retry-After",
        "Set-Cookie",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Vary",
        "Via",
        "WWW-Authenticate",
        "X-API-Key",
        "X-Request-Id",
};

static int compare(const void *key, const void *item) {
        const MamHttpRange *name = key;
        const char *const *other = item;
        int r;

        r = strncasecmp(name->data, *other, name->size);
        return r != 0 ? r : (name->size < strlen(*other) ? -1 : 0);
}

bool mam_http_trailer_is_legal(MamHttpRange name) {
        if (!mam_http_is_token(name.data, name.size))
                return false;
        if ((name.size >= 4 && strncasecmp(name.data, "Mam-", 4) == 0) ||
            (name.size >= 12 && strncasecmp(name.data, "X-Forwarded-", 12) == 0))
                return false;
        return !bsearch(&name, forbidden, MAM_ELEMENTSOF(forbidden), sizeof(forbidden[0]), compare);
}
