/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: heads of HTTP requests
 *
 * Beside memory errors it looks for broken promises: ranges outside of the input, a result that depends on
 * where the input was cut, fields that must never pass.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http-codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

static void check_inside(MamHttpRange r, const char *data, ssize_t n) {
        check(r.size == 0 || (r.data >= data && r.data + r.size <= data + n) ||
              mam_http_range_equal(r, "/"));
}

static void check_head(const MamHttpHead *h, const char *data, ssize_t n) {
        check(mam_http_is_token(h->method.data, h->method.size));
        check_inside(h->method, data, n);
        check_inside(h->target, data, n);
        check_inside(h->path, data, n);
        check_inside(h->query, data, n);
        check_inside(h->host, data, n);
        check(h->path.size > 0);
        check(h->minor_version == 0 || h->host.size > 0);
        check(h->framing != MAM_HTTP_BODY_UNTIL_CLOSE);
        check(h->framing != MAM_HTTP_BODY_CHUNKED || !mam_http_find(h, "Content-Length"));
        for (size_t i = 0; i < h->n_fields; i++) {
                check_inside(h->fields[i].name, data, n);
                check_inside(h->fields[i].value, data, n);
                check(mam_http_is_token(h->fields[i].name.data, h->fields[i].name.size));
                check(mam_http_is_field_value(h->fields[i].value.data, h->fields[i].value.size));
                (void) mam_http_field_is_hop_by_hop(h, &h->fields[i]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        const char *reason = NULL, *data = (const char *) bytes;
        unsigned status = 0;
        MamHttpHead head;
        char text[64];
        ssize_t n;

        n = mam_http_parse_request(&head, data, size, &status, &reason);
        check(n <= (ssize_t) size);
        if (n < 0) {
                check(reason && status >= 400 && status < 600);
                return 0;
        }
        /* What is incomplete must not have been wrong with less, and what is complete needs each of its
         * bytes. */
        for (size_t cut = size < 512 ? 0 : size - 512; n > 0 && cut < (size_t) n; cut++) {
                MamHttpHead partial;

                check(mam_http_parse_request(&partial, data, cut, &status, &reason) == 0);
        }
        if (n == 0)
                return 0;

        check_head(&head, data, n);
        (void) mam_http_percent_decode(text, sizeof(text), head.path.data, head.path.size);
        if (mam_http_query_get(head.query, "a", text, sizeof(text)) > 0)
                check(strlen(text) < sizeof(text));
        return 0;
}
