/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which answers are compressed on their way to the client, and what that does to their fields
 *
 * Only where the client asks for it, the type is worth it, and nothing speaks against it: an answer that is
 * coded already, a part of one (206), "no-transform". A strong entity tag becomes a weak one, as the bytes
 * are others (RFC 9110, section 8.8.3); "Vary: Accept-Encoding" is said of all answers that could have been
 * compressed.
 */

#include "api-gateway/compressor.h"
#include "libmam/http/http-server.h"

#define COMPRESSORS_MAX 256U /* at once in a gateway; beyond, answers go as they are */

typedef enum CompressVerdict {
        COMPRESS_NO,
        COMPRESS_VARY, /* not for this client */
        COMPRESS_YES,
} CompressVerdict;

/* size: of the body, -1: unknown. *ret_coding with COMPRESS_YES only. Pure. */
CompressVerdict compress_judge(
                const MamGatewayCompression *c,
                const MamHttpHead *request,
                const MamHttpHead *answer,
                int64_t size,
                MamGatewayCoding *ret_coding);
/* Says by fields of the answer what was judged. */
int compress_add_fields(MamHttpExchange *x, CompressVerdict verdict, MamGatewayCoding coding);
/* With COMPRESS_YES: whether a field of the answer goes on. A strong ETag does not: what takes its place is
 * in ret (NUL-terminated), if it fits; else it is left out. */
bool compress_takes_field(const MamHttpField *f, char ret[static 256]);
