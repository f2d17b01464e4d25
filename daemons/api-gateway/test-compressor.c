/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include "api-gateway/compressor.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"

#define ALL ((1U << _MAM_GATEWAY_CODING_MAX) - 1)

static int choose(const char *value) {
        return compressor_choose(value, strlen(value), ALL);
}

TEST(client_gets_what_it_likes_best) {
        ASSERT_EQ(compressor_choose(NULL, 0, ALL), -ENOENT);
        ASSERT_EQ(choose(""), -ENOENT);
        ASSERT_EQ(choose("gzip"), MAM_GATEWAY_CODING_GZIP);
        ASSERT_EQ(choose("x-gzip"), MAM_GATEWAY_CODING_GZIP);
        ASSERT_EQ(choose("gzip, deflate, br, zstd"), MAM_GATEWAY_CODING_ZSTD);
        ASSERT_EQ(choose("GZip , BR"), MAM_GATEWAY_CODING_BR);
        ASSERT_EQ(choose("gzip;q=1.0, br;q=0.5"), MAM_GATEWAY_CODING_GZIP);
        ASSERT_EQ(choose("gzip;q=0"), -ENOENT);
        ASSERT_EQ(choose("gzip;q=0.000, *;q=0.1"), MAM_GATEWAY_CODING_ZSTD);
        ASSERT_EQ(choose("*"), MAM_GATEWAY_CODING_ZSTD);
        ASSERT_EQ(choose("identity;q=1, gzip;q=0.5"), -ENOENT);
        ASSERT_EQ(choose("identity;q=0.1, gzip;q=0.5"), MAM_GATEWAY_CODING_GZIP);
        ASSERT_EQ(choose("deflate"), -ENOENT);
        ASSERT_EQ(compressor_choose("zstd, br", 8, 1U << MAM_GATEWAY_CODING_BR), MAM_GATEWAY_CODING_BR);
        ASSERT_EQ(compressor_choose("zstd", 4, 1U << MAM_GATEWAY_CODING_BR), -ENOENT);
}

TEST(field_that_cannot_be_read_means_none) {
        ASSERT_EQ(choose("gzip;q=2"), -ENOENT);
        ASSERT_EQ(choose("gzip;q=1.001"), -ENOENT);
        ASSERT_EQ(choose("gzip;q=-1"), -ENOENT);
        ASSERT_EQ(choose("gzip;q="), -ENOENT);
        ASSERT_EQ(choose("gzip;level=9"), -ENOENT);
        ASSERT_EQ(choose("gzip;q=0.1234"), -ENOENT);
        ASSERT_EQ(choose(",,, ,"), -ENOENT);
        ASSERT_EQ(choose(";"), -ENOENT);
}

static bool takes(const char *type, char *const *types) {
        return compressor_takes_type(type, strlen(type), types);
}

TEST(only_some_types_are_worth_it) {
        static char *const own[] = { (char *) "text/*", (char *) "application/x-special", NULL };

        ASSERT_TRUE(takes("application/json", NULL));
        ASSERT_TRUE(takes("application/json; charset=utf-8", NULL));
        ASSERT_TRUE(takes("application/vnd.example+json", NULL));
        ASSERT_TRUE(takes("TEXT/HTML", NULL));
        ASSERT_TRUE(!takes("image/png", NULL));
        ASSERT_TRUE(!takes("application/octet-stream", NULL));
        ASSERT_TRUE(!takes("text", NULL));
        ASSERT_TRUE(!takes("", NULL));
        /* What must not wait. */
        ASSERT_TRUE(!takes("text/event-stream", NULL));
        ASSERT_TRUE(!takes("text/event-stream; charset=utf-8", own));
        ASSERT_TRUE(!takes("application/grpc", NULL));
        ASSERT_TRUE(!takes("application/grpc-web+proto", NULL));
        ASSERT_TRUE(takes("application/x-special", own));
        ASSERT_TRUE(takes("text/plain", own));
        ASSERT_TRUE(!takes("application/json", own));
}

static int gather(const void *data, size_t size, void *userdata) {
        return mam_buffer_append(userdata, data, size);
}

static size_t expand(MamGatewayCoding coding, const MamBuffer *b, void *ret, size_t size) {
        if (coding == MAM_GATEWAY_CODING_ZSTD) {
                ZSTD_inBuffer in = { mam_buffer_bytes(b), b->size, 0 };
                ZSTD_outBuffer out = { ret, size, 0 };
                ZSTD_DStream *d = ZSTD_createDStream();

                while (in.pos < in.size && out.pos < out.size)
                        ASSERT_TRUE(!ZSTD_isError(ZSTD_decompressStream(d, &out, &in)));
                (void) ZSTD_freeDStream(d);
                return out.pos;
        }
        if (coding == MAM_GATEWAY_CODING_BR) {
                BrotliDecoderState *d = BrotliDecoderCreateInstance(NULL, NULL, NULL);
                const uint8_t *in = (const uint8_t *) mam_buffer_bytes(b);
                size_t left = b->size, room = size;
                uint8_t *out = ret;

                ASSERT_TRUE(BrotliDecoderDecompressStream(d, &left, &in, &room, &out, NULL) !=
                            BROTLI_DECODER_RESULT_ERROR);
                BrotliDecoderDestroyInstance(d);
                return size - room;
        }

        z_stream z = { .next_in = (unsigned char *) mam_buffer_bytes(b),
                       .avail_in = (unsigned) b->size,
                       .next_out = ret,
                       .avail_out = (unsigned) size };
        int r;

        ASSERT_EQ(inflateInit2(&z, 15 + 16), Z_OK);
        r = inflate(&z, Z_SYNC_FLUSH);
        ASSERT_TRUE(r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR);
        ASSERT_EQ(inflateEnd(&z), Z_OK);
        return size - z.avail_out;
}

TEST(body_comes_back_as_it_was) {
        static char body[300000], back[sizeof(body) + 1];
        unsigned seed = 1;

        /* Text that shrinks, with a part that does not. */
        for (size_t i = 0; i < sizeof(body); i++)
                body[i] = i < 200000 ? "{\"id\":1,\"name\":\"x\"}\n"[i % 20] : (char) rand_r(&seed);

        for (int coding = 0; coding < _MAM_GATEWAY_CODING_MAX; coding++) {
                for (size_t step = 1; step <= sizeof(body); step *= 67) {
                        _cleanup_(compressor_freep) Compressor *c = NULL;
                        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                        ASSERT_OK(compressor_new(&c, (MamGatewayCoding) coding));
                        ASSERT_EQ(compressor_coding(c), coding);
                        for (size_t i = 0; i < sizeof(body); i += step) {
                                size_t n = sizeof(body) - i < step ? sizeof(body) - i : step;

                                ASSERT_OK(compressor_write(c, body + i, n, COMPRESSOR_GATHER, gather, &b));
                        }
                        ASSERT_OK(compressor_write(c, NULL, 0, COMPRESSOR_END, gather, &b));
                        ASSERT_TRUE(b.size < 150000);
                        ASSERT_EQ(expand((MamGatewayCoding) coding, &b, back, sizeof(back)), sizeof(body));
                        ASSERT_EQ(memcmp(body, back, sizeof(body)), 0);
                }
        }
}

TEST(flushed_piece_can_be_read_at_once) {
        for (int coding = 0; coding < _MAM_GATEWAY_CODING_MAX; coding++) {
                _cleanup_(compressor_freep) Compressor *c = NULL;
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
                char back[64];

                ASSERT_OK(compressor_new(&c, (MamGatewayCoding) coding));
                ASSERT_OK(compressor_write(c, "first\n", 6, COMPRESSOR_FLUSH, gather, &b));
                ASSERT_EQ(expand((MamGatewayCoding) coding, &b, back, sizeof(back)), 6);
                ASSERT_OK(compressor_write(c, "second\n", 7, COMPRESSOR_FLUSH, gather, &b));
                ASSERT_EQ(expand((MamGatewayCoding) coding, &b, back, sizeof(back)), 13);
                ASSERT_EQ(memcmp(back, "first\nsecond\n", 13), 0);
        }
}

static int refuse(const void *data, size_t size, void *userdata) {
        return -EPIPE;
}

TEST(sink_that_refuses_ends_it) {
        for (int coding = 0; coding < _MAM_GATEWAY_CODING_MAX; coding++) {
                _cleanup_(compressor_freep) Compressor *c = NULL;

                ASSERT_OK(compressor_new(&c, (MamGatewayCoding) coding));
                ASSERT_EQ(compressor_write(c, "x", 1, COMPRESSOR_FLUSH, refuse, NULL), -EPIPE);
        }
}
