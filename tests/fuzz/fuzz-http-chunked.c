/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: the chunked decoder, and what follows the last chunk
 *
 * The first byte is the size of the pieces that the input is cut into for a second decoding, which must say
 * the same.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http-codec.h"

#define TRAILERS_MAX 8192U /* what the decoder lets through */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef struct Outcome {
        bool error;
        bool done;
        size_t used;
        size_t body;
        uint32_t sum;
        char trailers[TRAILERS_MAX];
        size_t trailers_size;
} Outcome;

static void check(int ok) {
        if (!ok)
                abort();
}

static void gather(Outcome *o, MamHttpRange piece, const char *from, size_t size) {
        check(piece.size == 0 || (piece.data >= from && piece.data + piece.size <= from + size));
        check(piece.size <= sizeof(o->trailers) - o->trailers_size);
        memcpy(o->trailers + o->trailers_size, piece.data, piece.size);
        o->trailers_size += piece.size;
}

/* What the decoder took for fields, the parser must too; it may only refuse names, and too many of them. */
static void parse(const Outcome *o) {
        MamHttpField fields[MAM_HTTP_TRAILERS_MAX];
        const char *reason = NULL;
        size_t n = 0;

        if (mam_http_parse_trailers(fields, &n, o->trailers, o->trailers_size, &reason) < 0) {
                check(strcmp(reason, "too many trailers") == 0 ||
                      strcmp(reason, "a field that must not be a trailer") == 0);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                check(mam_http_trailer_is_legal(fields[i].name));
                check(mam_http_is_field_value(fields[i].value.data, fields[i].value.size));
                check(fields[i].name.data >= o->trailers &&
                      fields[i].value.data + fields[i].value.size <= o->trailers + o->trailers_size);
        }
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
                gather(&o, mam_http_chunked_trailers(&c, data + o.used), data + o.used, (size_t) n);
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
        check(whole.error || (whole.trailers_size == cut.trailers_size &&
                              memcmp(whole.trailers, cut.trailers, whole.trailers_size) == 0));
        if (whole.done)
                parse(&whole);
        check(whole.error || (whole.used == cut.used && whole.body == cut.body && whole.sum == cut.sum));
        return 0;
}
