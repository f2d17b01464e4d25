/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: heads of HTTP responses
 *
 * The first byte says whether the request was HEAD.
 */

#include <stdint.h>
#include <stdlib.h>

#include "libmam/http/http-codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        const char *reason = NULL, *data = (const char *) bytes + 1;
        MamHttpHead head;
        bool head_request;
        ssize_t n;

        if (size == 0)
                return 0;
        size--;
        head_request = bytes[0] == 'H';

        n = mam_http_parse_response(&head, data, size, head_request, &reason);
        check(n <= (ssize_t) size);
        check(n >= 0 || reason);
        for (size_t cut = size < 512 ? 0 : size - 512; n > 0 && cut < (size_t) n; cut++) {
                MamHttpHead partial;

                check(mam_http_parse_response(&partial, data, cut, head_request, &reason) == 0);
        }
        if (n <= 0)
                return 0;

        check(head.status >= 100 && head.status <= 599);
        check(head.framing == MAM_HTTP_BODY_NONE || !head_request);
        check(head.framing != MAM_HTTP_BODY_UNTIL_CLOSE || !head.keep_alive);
        for (size_t i = 0; i < head.n_fields; i++) {
                const MamHttpField *f = &head.fields[i];

                check(f->name.data >= data && f->value.data + f->value.size <= data + n);
                check(mam_http_is_token(f->name.data, f->name.size));
                check(mam_http_is_field_value(f->value.data, f->value.size));
                (void) mam_http_field_is_hop_by_hop(&head, f);
        }
        return 0;
}
