/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "api-gateway/compressor.h"

#define GZIP_LEVEL     4
#define GZIP_WINDOW    (15 + 16) /* 16: a gzip header */
#define GZIP_MEMORY    8
#define BROTLI_QUALITY 4U
#define BROTLI_WINDOW  18U
#define ZSTD_LEVEL     3
#define ZSTD_WINDOW    19
#define PIECE_SIZE     16384U

struct Compressor {
        MamGatewayCoding coding;
        union {
                z_stream gzip;
                BrotliEncoderState *br;
                ZSTD_CCtx *zstd;
        };
};

static const char *const names[_MAM_GATEWAY_CODING_MAX] = {
        [MAM_GATEWAY_CODING_ZSTD] = "zstd",
        [MAM_GATEWAY_CODING_BR] = "br",
        [MAM_GATEWAY_CODING_GZIP] = "gzip",
};

const char *compressor_coding_to_string(MamGatewayCoding coding) {
        assert(coding >= 0 && coding < _MAM_GATEWAY_CODING_MAX);

        return names[coding];
}

static int zstd_new(ZSTD_CCtx **ret) {
        ZSTD_CCtx *z = ZSTD_createCCtx();

        if (!z)
                return -ENOMEM;
        if (ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
            ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, ZSTD_WINDOW))) {
                (void) ZSTD_freeCCtx(z);
                return -EINVAL;
        }
        *ret = z;
        return 0;
}

static int br_new(BrotliEncoderState **ret) {
        BrotliEncoderState *b = BrotliEncoderCreateInstance(NULL, NULL, NULL);

        if (!b)
                return -ENOMEM;
        (void) BrotliEncoderSetParameter(b, BROTLI_PARAM_QUALITY, BROTLI_QUALITY);
        (void) BrotliEncoderSetParameter(b, BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
        *ret = b;
        return 0;
}

int compressor_new(Compressor **ret, MamGatewayCoding coding) {
        Compressor *c;
        int r = 0;

        assert(ret);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->coding = coding;
        switch (coding) {
        case MAM_GATEWAY_CODING_ZSTD:
                r = zstd_new(&c->zstd);
                break;
        case MAM_GATEWAY_CODING_BR:
                r = br_new(&c->br);
                break;
        case MAM_GATEWAY_CODING_GZIP:
                if (deflateInit2(&c->gzip,
                                 GZIP_LEVEL,
                                 Z_DEFLATED,
                                 GZIP_WINDOW,
                                 GZIP_MEMORY,
                                 Z_DEFAULT_STRATEGY) != Z_OK)
                        r = -ENOMEM;
                break;
        case _MAM_GATEWAY_CODING_MAX:
        default:
                r = -EINVAL;
        }
        if (r < 0) {
                free(c);
                return r;
        }

        *ret = c;
        return 0;
}

Compressor *compressor_free(Compressor *c) {
        if (!c)
                return NULL;

        switch (c->coding) {
        case MAM_GATEWAY_CODING_ZSTD:
                (void) ZSTD_freeCCtx(c->zstd);
                break;
        case MAM_GATEWAY_CODING_BR:
                BrotliEncoderDestroyInstance(c->br);
                break;
        case MAM_GATEWAY_CODING_GZIP:
        case _MAM_GATEWAY_CODING_MAX:
        default:
                (void) deflateEnd(&c->gzip);
        }
        free(c);
        return NULL;
}

MamGatewayCoding compressor_coding(const Compressor *c) {
        assert(c);

        return c->coding;
}

static int write_zstd(
                Compressor *c,
                const void *data,
                size_t size,
                CompressorFlush flush,
                CompressorSink sink,
                void *userdata) {
        static const ZSTD_EndDirective directives[] = {
                [COMPRESSOR_GATHER] = ZSTD_e_continue,
                [COMPRESSOR_FLUSH] = ZSTD_e_flush,
                [COMPRESSOR_END] = ZSTD_e_end,
        };
        ZSTD_inBuffer in = { .src = data, .size = size };
        char piece[PIECE_SIZE];
        size_t left;
        int r = 0;

        do {
                ZSTD_outBuffer out = { .dst = piece, .size = sizeof(piece) };

                left = ZSTD_compressStream2(c->zstd, &out, &in, directives[flush]);
                if (ZSTD_isError(left))
                        return -ENOMEM;
                if (out.pos > 0)
                        r = sink(piece, out.pos, userdata);
        } while (r >= 0 && (flush == COMPRESSOR_GATHER ? in.pos < in.size : left > 0));
        return r;
}

static int write_br(
                Compressor *c,
                const void *data,
                size_t size,
                CompressorFlush flush,
                CompressorSink sink,
                void *userdata) {
        static const BrotliEncoderOperation operations[] = {
                [COMPRESSOR_GATHER] = BROTLI_OPERATION_PROCESS,
                [COMPRESSOR_FLUSH] = BROTLI_OPERATION_FLUSH,
                [COMPRESSOR_END] = BROTLI_OPERATION_FINISH,
        };
        const uint8_t *in = data;
        int r = 0;

        do {
                size_t room = 0, n = 0;
                const uint8_t *out;

                if (!BrotliEncoderCompressStream(c->br, operations[flush], &size, &in, &room, NULL, NULL))
                        return -ENOMEM;
                out = BrotliEncoderTakeOutput(c->br, &n);
                if (n > 0)
                        r = sink(out, n, userdata);
        } while (r >= 0 && (size > 0 || BrotliEncoderHasMoreOutput(c->br)));
        return r;
}

static int write_gzip(
                Compressor *c,
                const void *data,
                size_t size,
                CompressorFlush flush,
                CompressorSink sink,
                void *userdata) {
        static const int flushes[] = {
                [COMPRESSOR_GATHER] = Z_NO_FLUSH,
                [COMPRESSOR_FLUSH] = Z_SYNC_FLUSH,
                [COMPRESSOR_END] = Z_FINISH,
        };
        unsigned char piece[PIECE_SIZE];
        int r = 0;

        c->gzip.next_in = (unsigned char *) data;
        c->gzip.avail_in = (unsigned) size;
        do {
                c->gzip.next_out = piece;
                c->gzip.avail_out = sizeof(piece);
                if (deflate(&c->gzip, flushes[flush]) == Z_STREAM_ERROR)
                        return -ENOMEM;
                if (c->gzip.avail_out < sizeof(piece))
                        r = sink(piece, sizeof(piece) - c->gzip.avail_out, userdata);
        } while (r >= 0 && c->gzip.avail_out == 0);
        return r;
}

int compressor_write(
                Compressor *c,
                const void *data,
                size_t size,
                CompressorFlush flush,
                CompressorSink sink,
                void *userdata) {
        assert(c);
        assert(data || size == 0);
        assert(sink);

        switch (c->coding) {
        case MAM_GATEWAY_CODING_ZSTD:
                return write_zstd(c, data, size, flush, sink, userdata);
        case MAM_GATEWAY_CODING_BR:
                return write_br(c, data, size, flush, sink, userdata);
        case MAM_GATEWAY_CODING_GZIP:
        case _MAM_GATEWAY_CODING_MAX:
        default:
                return write_gzip(c, data, size, flush, sink, userdata);
        }
}

/*
 * What is asked for
 */

static bool is_space(char c) {
        return c == ' ' || c == '\t';
}

static void trim(const char **p, size_t *n) {
        while (*n > 0 && is_space(**p)) {
                (*p)++;
                (*n)--;
        }
        while (*n > 0 && is_space((*p)[*n - 1]))
                (*n)--;
}

/* "1", "0.8", "0.123" in thousandths; <0: not a weight. */
static int parse_weight(const char *p, size_t n) {
        int value, scale = 100;

        if (n == 0 || n > 5 || (p[0] != '0' && p[0] != '1') || (n > 1 && p[1] != '.'))
                return -EINVAL;
        value = (p[0] - '0') * 1000;
        for (size_t i = 2; i < n; i++) {
                if (p[i] < '0' || p[i] > '9')
                        return -EINVAL;
                value += (p[i] - '0') * scale;
                scale /= 10;
        }
        return value <= 1000 ? value : -EINVAL;
}

/* One element: "gzip;q=0.5". The weight in thousandths, and the name in *p and *n. <0: malformed. */
static int parse_element(const char **p, size_t *n) {
        const char *semicolon = memchr(*p, ';', *n);
        const char *q;
        size_t size;

        if (!semicolon)
                return 1000;
        q = semicolon + 1;
        size = (size_t) (*p + *n - q);
        *n = (size_t) (semicolon - *p);
        trim(p, n);
        trim(&q, &size);
        if (size < 2 || (q[0] != 'q' && q[0] != 'Q') || q[1] != '=')
                return -EINVAL;
        return parse_weight(q + 2, size - 2);
}

int compressor_choose(const char *value, size_t size, uint32_t allowed) {
        int weights[_MAM_GATEWAY_CODING_MAX] = { -1, -1, -1 }, identity = -1, any = -1, best = 0,
            found = -ENOENT;

        if (!value)
                return -ENOENT;
        for (const char *p = value, *end = value + size; p < end;) {
                const char *comma = memchr(p, ',', (size_t) (end - p)), *name = p;
                size_t n = (size_t) ((comma ? comma : end) - p);
                int weight;

                p = comma ? comma + 1 : end;
                trim(&name, &n);
                if (n == 0)
                        continue;
                weight = parse_element(&name, &n);
                if (weight < 0)
                        return -ENOENT;
                if (n == 1 && *name == '*')
                        any = weight;
                else if (n == 8 && strncasecmp(name, "identity", 8) == 0)
                        identity = weight;
                for (int i = 0; i < _MAM_GATEWAY_CODING_MAX; i++)
                        if (strlen(names[i]) == n && strncasecmp(name, names[i], n) == 0)
                                weights[i] = weight;
                if (n == 6 && strncasecmp(name, "x-gzip", 6) == 0) /* an old name of it */
                        weights[MAM_GATEWAY_CODING_GZIP] = weight;
        }

        for (int i = 0; i < _MAM_GATEWAY_CODING_MAX; i++) {
                int weight = weights[i] >= 0 ? weights[i] : any;

                if ((allowed & 1U << i) != 0 && weight > best) {
                        best = weight;
                        found = i;
                }
        }
        return identity > best ? -ENOENT : found;
}

static bool matches(const char *type, size_t n, const char *pattern) {
        size_t m = strlen(pattern);

        if (m > 2 && strcmp(pattern + m - 2, "/*") == 0)
                return n >= m && strncasecmp(type, pattern, m - 1) == 0;
        return n == m && strncasecmp(type, pattern, n) == 0;
}

static bool ends_with(const char *type, size_t n, const char *suffix) {
        size_t m = strlen(suffix);

        return n > m && strncasecmp(type + n - m, suffix, m) == 0;
}

bool compressor_takes_type(const char *value, size_t size, char *const *types) {
        static const char *const defaults[] = {
                "text/*",
                "application/json",
                "application/javascript",
                "application/xml",
                "application/x-ndjson",
                "application/graphql-response+json",
                "application/problem+json",
                "image/svg+xml",
                "application/wasm",
        };
        const char *semicolon = memchr(value, ';', size);
        size_t n = semicolon ? (size_t) (semicolon - value) : size;

        trim(&value, &n);
        if (matches(value, n, "text/event-stream") ||
            (n >= 16 && strncasecmp(value, "application/grpc", 16) == 0))
                return false;
        if (types) {
                for (; *types; types++)
                        if (matches(value, n, *types))
                                return true;
                return false;
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(defaults); i++)
                if (matches(value, n, defaults[i]))
                        return true;
        return ends_with(value, n, "+json") || ends_with(value, n, "+xml");
}
