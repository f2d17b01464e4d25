/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: the chunked decoder
 *
 * The first byte is the size of the pieces that the input is cut into for a second decoding, which must say
 * the same.
 */

#include <stdint.h>
#include <stdlib.h>

#include "libmam/http/http-codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct Outcome {
        bool error;
        bool done;
        size_t used;
        size_t body;
        uint32_t sum;
} Outcome;

static void check(int ok) {
        if (!ok)
                abort();
}

static Outcome decode(const char *data, size_t size, size_t piece) {
        MamHttpChunked c = MAM_HTTP_CHUNKED_INIT;
        Outcome o = { 0 };

        while (o.used < size && !o.done && !o.error) {
                size_t left = size - o.used < piece ? size - o.used : piece;
                const char *reason = NULL;
                MamHttpRange body;
                ssize_t n;

                n = mam_http_chunked_decode(&c, data + o.used, left, &body, &o.done, &reason);
                if (n < 0) {
                        check(reason != NULL);
                        o.error = true;
                        break;
                }
                check(n > 0 || o.done);
                check((size_t) n <= left);
                check(body.size == 0 ||
                      (body.data >= data + o.used && body.data + body.size <= data + o.used + n));
                for (size_t i = 0; i < body.size; i++)
                        o.sum = o.sum * 31 + (uint8_t) body.data[i];
                o.body += body.size;
                o.used += (size_t) n;
        }
        return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        Outcome whole, cut;

        if (size == 0)
                return 0;

        whole = decode((const char *) bytes + 1, size - 1, size);
        cut = decode((const char *) bytes + 1, size - 1, bytes[0] > 0 ? bytes[0] : 1);
        check(whole.error == cut.error && whole.done == cut.done);
        check(whole.error || (whole.used == cut.used && whole.body == cut.body && whole.sum == cut.sum));
        return 0;
}
