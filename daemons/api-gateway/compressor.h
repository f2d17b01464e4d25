/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Content codings of answers: gzip (RFC 1952, zlib), br (RFC 7932, libbrotli), zstd (RFC 8878, libzstd)
 *
 * A Compressor takes a body piece by piece and hands out what it has become. Levels and windows are chosen
 * for a proxy: what costs no more time than it saves on a common link, and a bounded memory per answer (gzip
 * 256 KiB, br and zstd about 1 MiB).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/config/gateway.h"
#include "libmam/util/macro.h"

typedef struct Compressor Compressor;

typedef enum CompressorFlush {
        COMPRESSOR_GATHER, /* more will come soon: hand out what is convenient */
        COMPRESSOR_FLUSH,  /* the reader must be able to read all that was given */
        COMPRESSOR_END,    /* this was the last piece */
} CompressorFlush;

/* A negative return ends compressor_write(), which returns it. */
typedef int (*CompressorSink)(const void *data, size_t size, void *userdata);

int compressor_new(Compressor **ret, MamGatewayCoding coding);
Compressor *compressor_free(Compressor *c);
MAM_DEFINE_CLEANUP(Compressor, compressor_free);
MamGatewayCoding compressor_coding(const Compressor *c);
/* -ENOMEM, or the sink's. After COMPRESSOR_END nothing may be written. */
int compressor_write(
                Compressor *c,
                const void *data,
                size_t size,
                CompressorFlush flush,
                CompressorSink sink,
                void *userdata);

const char *compressor_coding_to_string(MamGatewayCoding coding);
/* The coding that Accept-Encoding (RFC 9110, section 12.5.3) likes best among the allowed ones; of several
 * liked alike the first of MamGatewayCoding. -ENOENT: none, or the body as it is is liked better. value
 * NULL: no such field. A field that cannot be read means none. Pure. */
int compressor_choose(const char *value, size_t size, uint32_t allowed);
/* Whether a media type (Content-Type's value) is among types ("text/" with a star: all of text); types NULL:
 * the defaults. Never an event stream, which must not wait, nor gRPC. Pure. */
bool compressor_takes_type(const char *value, size_t size, char *const *types);
