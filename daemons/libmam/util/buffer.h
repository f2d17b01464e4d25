/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A growing byte buffer with a cap
 *
 * MamBuffer owns its memory. data is always NUL-terminated once allocated (the NUL is not counted), so text
 * can be used as a string. max bounds the size: 0 means unbounded. Consuming from the front moves an offset,
 * not memory.
 */

#include <assert.h>
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
int mam_buffer_reserve_slowly(MamBuffer *b, size_t size, char **ret);
/* Room for at least size bytes behind the content; *ret is where to write. mam_buffer_commit() counts them.
 * As a rule there is room, and a message is made of dozens of pieces: no call then. */
static inline int mam_buffer_reserve(MamBuffer *b, size_t size, char **ret) {
        if (b->data && size < b->allocated - b->start - b->size &&
            (b->max == 0 || size <= b->max - b->size)) {
                *ret = b->data + b->start + b->size;
                return 0;
        }
        return mam_buffer_reserve_slowly(b, size, ret);
}

static inline void mam_buffer_commit(MamBuffer *b, size_t size) {
        if (size == 0)
                return;
        assert(b->start + b->size + size < b->allocated);
        b->size += size;
        b->data[b->start + b->size] = '\0';
}

void mam_buffer_consume(MamBuffer *b, size_t size);
/* Forgets the content and frees the memory, so that an idle owner holds none. */
void mam_buffer_reset(MamBuffer *b);
/* Hands over the NUL-terminated content (start at 0), or NULL on -ENOMEM. The buffer is empty then. */
char *mam_buffer_steal(MamBuffer *b, size_t *ret_size);
