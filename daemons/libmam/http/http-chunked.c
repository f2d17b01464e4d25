/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chunked decoder (RFC 9112, section 7.1)
 *
 * A state machine over single bytes for the framing, whole ranges for the data. White space around the size,
 * which the grammar allows before an extension, is refused: servers disagree about it, and no client sends
 * it.
 */

#include <assert.h>
#include <errno.h>

#include "libmam/http/http-chars.h"
#include "libmam/http/http-codec.h"

#define CHUNK_DIGITS_MAX    16U
#define CHUNK_EXTENSION_MAX 256U
#define CHUNK_TRAILER_MAX   8192U

enum {
        CHUNK_SIZE,
        CHUNK_EXTENSION, /* behind ";" */
        CHUNK_EXTENSION_NAME,
        CHUNK_EXTENSION_VALUE, /* behind "=" */
        CHUNK_EXTENSION_TOKEN,
        CHUNK_EXTENSION_QUOTED,
        CHUNK_EXTENSION_ESCAPED,
        CHUNK_EXTENSION_END, /* behind the closing quote */
        CHUNK_SIZE_LF,
        CHUNK_DATA,
        CHUNK_DATA_CR,
        CHUNK_DATA_LF,
        CHUNK_TRAILER_START,
        CHUNK_TRAILER_NAME,
        CHUNK_TRAILER_VALUE,
        CHUNK_TRAILER_LF,
        CHUNK_LAST_LF,
        CHUNK_DONE,
};

static int fail(const char **ret_reason, const char *reason) {
        if (ret_reason)
                *ret_reason = reason;
        return -EBADMSG;
}

static int on_size(MamHttpChunked *c, char b, const char **ret_reason) {
        int digit = http_hex(b);

        if (digit >= 0) {
                if (c->digits >= CHUNK_DIGITS_MAX)
                        return fail(ret_reason, "chunk size with more than 16 digits");
                if (c->left > (uint64_t) INT64_MAX >> 4)
                        return fail(ret_reason, "chunk size too large");
                c->digits++;
                c->left = c->left << 4 | (uint64_t) digit;
                return 0;
        }
        if (c->digits == 0)
                return fail(ret_reason, "chunk size is not a hexadecimal number");
        if (b == ';') {
                c->extension_size = 1;
                c->state = CHUNK_EXTENSION;
        } else if (b == '\r') {
                c->state = CHUNK_SIZE_LF;
        } else if (b == '\n') {
                return fail(ret_reason, "bare LF after chunk size");
        } else {
                return fail(ret_reason, "chunk size is not a hexadecimal number");
        }
        return 0;
}

/* ";" name [ "=" ( token / quoted-string ) ]. What it says is ignored; where it ends must not be in doubt.
 */
static int on_extension(MamHttpChunked *c, char b, const char **ret_reason) {
        bool may_end = c->state == CHUNK_EXTENSION_NAME || c->state == CHUNK_EXTENSION_TOKEN ||
                       c->state == CHUNK_EXTENSION_END;

        if (++c->extension_size > CHUNK_EXTENSION_MAX)
                return fail(ret_reason, "chunk extension too long");
        if (may_end && (b == '\r' || b == ';')) {
                c->state = b == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
                return 0;
        }

        switch (c->state) {
        case CHUNK_EXTENSION_QUOTED:
                if (!http_char_is(b, HTTP_CHAR_VALUE))
                        break;
                if (b == '"')
                        c->state = CHUNK_EXTENSION_END;
                else if (b == '\\')
                        c->state = CHUNK_EXTENSION_ESCAPED;
                return 0;
        case CHUNK_EXTENSION_ESCAPED:
                if (!http_char_is(b, HTTP_CHAR_VALUE))
                        break;
                c->state = CHUNK_EXTENSION_QUOTED;
                return 0;
        case CHUNK_EXTENSION_NAME:
                if (b == '=') {
                        c->state = CHUNK_EXTENSION_VALUE;
                        return 0;
                }
                /* fall through */
        case CHUNK_EXTENSION_TOKEN:
                if (!http_char_is(b, HTTP_CHAR_TOKEN))
                        break;
                return 0;
        case CHUNK_EXTENSION_VALUE:
                if (b == '"') {
                        c->state = CHUNK_EXTENSION_QUOTED;
                        return 0;
                }
                /* fall through */
        case CHUNK_EXTENSION:
                if (!http_char_is(b, HTTP_CHAR_TOKEN))
                        break;
                c->state = c->state == CHUNK_EXTENSION ? CHUNK_EXTENSION_NAME : CHUNK_EXTENSION_TOKEN;
                return 0;
        default:
                break;
        }
        return fail(ret_reason, "malformed chunk extension");
}

/* A line of the trailer section is checked like a field. */
static int on_trailer(MamHttpChunked *c, char b, const char **ret_reason) {
        if (++c->trailer_size > CHUNK_TRAILER_MAX)
                return fail(ret_reason, "trailers too long");

        switch (c->state) {
        case CHUNK_TRAILER_START:
                if (b == '\r') {
                        c->state = CHUNK_LAST_LF;
                } else if (http_char_is(b, HTTP_CHAR_TOKEN)) {
                        c->state = CHUNK_TRAILER_NAME;
                } else {
                        return fail(ret_reason, "trailer is not a field");
                }
                return 0;
        case CHUNK_TRAILER_NAME:
                if (b == ':') {
                        c->state = CHUNK_TRAILER_VALUE;
                } else if (!http_char_is(b, HTTP_CHAR_TOKEN)) {
                        return fail(ret_reason, "trailer is not a field");
                }
                return 0;
        case CHUNK_TRAILER_VALUE:
                if (b == '\r') {
                        c->state = CHUNK_TRAILER_LF;
                } else if (!http_char_is(b, HTTP_CHAR_VALUE)) {
                        return fail(ret_reason, "control character in trailer");
                }
                return 0;
        default:
                assert(c->state == CHUNK_TRAILER_LF);
                if (b != '\n')
                        return fail(ret_reason, "bare CR in trailer");
                c->state = CHUNK_TRAILER_START;
                return 0;
        }
}

/* One byte of framing. */
static int on_byte(MamHttpChunked *c, char b, const char **ret_reason) {
        switch (c->state) {
        case CHUNK_SIZE:
                return on_size(c, b, ret_reason);
        case CHUNK_EXTENSION:
        case CHUNK_EXTENSION_NAME:
        case CHUNK_EXTENSION_VALUE:
        case CHUNK_EXTENSION_TOKEN:
        case CHUNK_EXTENSION_QUOTED:
        case CHUNK_EXTENSION_ESCAPED:
        case CHUNK_EXTENSION_END:
                return on_extension(c, b, ret_reason);
        case CHUNK_SIZE_LF:
                if (b != '\n')
                        return fail(ret_reason, "bare CR after chunk size");
                c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER_START;
                return 0;
        case CHUNK_DATA_CR:
                if (b != '\r')
                        return fail(ret_reason, "chunk data longer than its size");
                c->state = CHUNK_DATA_LF;
                return 0;
        case CHUNK_DATA_LF:
                if (b != '\n')
                        return fail(ret_reason, "bare CR after chunk data");
                c->state = CHUNK_SIZE;
                c->digits = 0;
                c->left = 0;
                return 0;
        case CHUNK_LAST_LF:
                if (b != '\n')
                        return fail(ret_reason, "bare CR after trailers");
                c->state = CHUNK_DONE;
                return 0;
        default:
                return on_trailer(c, b, ret_reason);
        }
}

ssize_t mam_http_chunked_decode(
                MamHttpChunked *c,
                const char *data,
                size_t size,
                MamHttpRange *ret_body,
                bool *ret_done,
                const char **ret_reason) {
        bool in_trailers;
        size_t n = 0;
        int r;

        assert(c);
        assert(data || size == 0);
        assert(ret_body);
        assert(ret_done);

        *ret_body = (MamHttpRange){ .data = data };
        c->trailer_begin = c->trailer_end = 0;
        while (n < size && c->state != CHUNK_DONE) {
                if (c->state == CHUNK_DATA) {
                        size_t piece = size - n;

                        if (piece > c->left)
                                piece = (size_t) c->left;
                        *ret_body = (MamHttpRange){ .data = data + n, .size = piece };
                        c->left -= piece;
                        if (c->left == 0)
                                c->state = CHUNK_DATA_CR;
                        *ret_done = false;
                        return (ssize_t) (n + piece);
                }

                in_trailers = c->state >= CHUNK_TRAILER_START && c->state <= CHUNK_TRAILER_LF;
                r = on_byte(c, data[n], ret_reason);
                if (r < 0)
                        return r;
                if (in_trailers && c->state != CHUNK_LAST_LF) {
                        if (c->trailer_end == 0)
                                c->trailer_begin = n;
                        c->trailer_end = n + 1;
                }
                n++;
        }

        *ret_done = c->state == CHUNK_DONE;
        return (ssize_t) n;
}

MamHttpRange mam_http_chunked_trailers(const MamHttpChunked *c, const char *data) {
        assert(c);

        return (MamHttpRange){ data + c->trailer_begin, c->trailer_end - c->trailer_begin };
}
