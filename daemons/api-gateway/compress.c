/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/compress.h"

/* Whether a list of tokens, in any field of that name, has this one. */
static bool has_token(const MamHttpHead *h, const char *name, const char *token) {
        size_t size = strlen(token);

        for (size_t i = 0; i < h->n_fields; i++) {
                const MamHttpRange v = h->fields[i].value;

                if (!mam_http_range_equal_fold(h->fields[i].name, name))
                        continue;
                for (size_t at = 0; at + size <= v.size; at++) {
                        bool begins = at == 0 || v.data[at - 1] == ',' || v.data[at - 1] == ' ' ||
                                      v.data[at - 1] == '\t';
                        bool ends = at + size == v.size || v.data[at + size] == ',' ||
                                    v.data[at + size] == ' ' || v.data[at + size] == '\t';

                        if (begins && ends && strncasecmp(v.data + at, token, size) == 0)
                                return true;
                }
        }
        return false;
}

CompressVerdict compress_judge(
                const MamGatewayCompression *c,
                const MamHttpHead *request,
                const MamHttpHead *answer,
                int64_t size,
                MamGatewayCoding *ret_coding) {
        const MamHttpField *type, *accept;
        int coding;

        assert(c);
        assert(request);
        assert(answer);
        assert(ret_coding);

        if (!c->enabled || (size >= 0 && (uint64_t) size < c->min_size))
                return COMPRESS_NO;
        if (answer->status == 204 || answer->status == 206 || answer->status == 304)
                return COMPRESS_NO;
        type = mam_http_find(answer, "Content-Type");
        if (!type || !compressor_takes_type(type->value.data, type->value.size, c->types))
                return COMPRESS_NO;
        if (mam_http_find(answer, "Content-Encoding") || mam_http_find(answer, "Content-Range") ||
            has_token(answer, "Cache-Control", "no-transform"))
                return COMPRESS_NO;

        accept = mam_http_find(request, "Accept-Encoding");
        coding = accept ? compressor_choose(accept->value.data, accept->value.size, c->codings) : -ENOENT;
        /* What HEAD would get is not known without the body. */
        if (coding < 0 || mam_http_range_equal(request->method, "HEAD"))
                return COMPRESS_VARY;
        *ret_coding = (MamGatewayCoding) coding;
        return COMPRESS_YES;
}

int compress_add_fields(MamHttpExchange *x, CompressVerdict verdict, MamGatewayCoding coding) {
        int r;

        if (verdict == COMPRESS_NO)
                return 0;
        r = mam_http_exchange_add_field(x, "Vary", "Accept-Encoding");
        if (r >= 0 && verdict == COMPRESS_YES)
                r = mam_http_exchange_add_field(x, "Content-Encoding", compressor_coding_to_string(coding));
        return r;
}

bool compress_takes_field(const MamHttpField *f, char ret[static 256]) {
        static const char *const gone[] = { "Accept-Ranges", "Content-Digest", "Content-MD5", "Digest" };

        assert(f);

        ret[0] = '\0';
        for (size_t i = 0; i < MAM_ELEMENTSOF(gone); i++)
                if (mam_http_range_equal_fold(f->name, gone[i]))
                        return false;
        if (!mam_http_range_equal_fold(f->name, "ETag") || f->value.size < 1 || f->value.data[0] != '"')
                return true;
        if (f->value.size + 3 <= 256) {
                memcpy(ret, "W/", 2);
                memcpy(ret + 2, f->value.data, f->value.size);
                ret[2 + f->value.size] = '\0';
        }
        return false;
}
