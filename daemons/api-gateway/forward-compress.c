/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers that are compressed on their way to the client
 */

#include "api-gateway/compress.h"
#include "api-gateway/forward-internal.h"

CompressVerdict forward_judge_compression(Forward *f, const MamHttpHead *head, int64_t size) {
        Gateway *g = f->gateway;
        const MamHttpHead *request = mam_http_exchange_head(f->x);
        CompressVerdict v;
        MamGatewayCoding coding;

        if (f->tunnel)
                return COMPRESS_NO;
        v = compress_judge(&g->config->compression, request, head, size, &coding);
        if (v != COMPRESS_YES)
                return v;
        /* Memory for it is bounded; what is over goes as it is. */
        if (g->n_compressors >= COMPRESSORS_MAX || compressor_new(&f->compressor, coding) < 0)
                return COMPRESS_VARY;
        g->n_compressors++;
        f->flush = size < 0; /* it comes bit by bit, and may be waited for */
        return COMPRESS_YES;
}

static int sink(const void *data, size_t size, void *userdata) {
        Forward *f = userdata;
        int r;

        r = mam_http_exchange_write(f->x, data, size);
        if (r == 0)
                f->compressor_blocked = true;
        return r;
}

int forward_write_compressed(Forward *f, const void *data, size_t size) {
        int r;

        f->compressor_blocked = false;
        r = compressor_write(
                        f->compressor,
                        data,
                        size,
                        f->flush ? COMPRESSOR_FLUSH : COMPRESSOR_GATHER,
                        sink,
                        f);
        return r < 0 ? r : !f->compressor_blocked;
}

int forward_end_compressed(Forward *f) {
        return compressor_write(f->compressor, NULL, 0, COMPRESSOR_END, sink, f);
}

void forward_drop_compressor(Forward *f) {
        if (!f->compressor)
                return;
        f->compressor = compressor_free(f->compressor);
        f->gateway->n_compressors--;
}
