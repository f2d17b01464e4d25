/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A growing byte buffer with a cap
 *
 * MamBuffer owns its memory. data is always NUL-terminated once allocated (the NUL is not counted), so text
 * can be used as a string. max bounds the size: 0 means unbounded. Consuming from the front moves an offset,
 * not memory.
 */

#include <stdarg.h>
#include <stddef.h>

#include "libmam/util/macro.h"

typedef struct MamBuffer {
        char *data;   /* owned; the allocation */
        size_t start; /* first byte that counts */
        size_t size;  /* bytes that count */
        size_t allocated;
        size_t max; /* 0: unbounded */
} MamBuffer;

#define MAM_BUFFER_INIT \
        { 0 }

void mam_buffer_done(MamBuffer *b);
/* First byte; "" for an empty buffer, never NULL. */
const char *mam_buffer_bytes(const MamBuffer *b);
/* All appending functions: 0; -ENOMEM; -ENOBUFS if max would be passed (nothing is appended then). */
int mam_buffer_append(MamBuffer *b, const void *data, size_t size);
int mam_buffer_append_string(MamBuffer *b, const char *s);
int mam_buffer_appendf(MamBuffer *b, const char *format, ...) _printf_(2, 3);
/* Room for at least size bytes behind the content; *ret is where to write. mam_buffer_commit() counts them.
 */
int mam_buffer_reserve(MamBuffer *b, size_t size, char **ret);
void mam_buffer_commit(MamBuffer *b, size_t size);
void mam_buffer_consume(MamBuffer *b, size_t size);
/* Forgets the content and frees the memory, so that an idle owner holds none. */
void mam_buffer_reset(MamBuffer *b);
/* Hands over the NUL-terminated content (start at 0), or NULL on -ENOMEM. The buffer is empty then. */
char *mam_buffer_steal(MamBuffer *b, size_t *ret_size);
