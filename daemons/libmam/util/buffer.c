/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A growing byte buffer with a cap
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/util/buffer.h"

void mam_buffer_done(MamBuffer *b) {
        if (!b)
                return;
        free(b->data);
        *b = (MamBuffer){ .max = b->max };
}

void mam_buffer_reset(MamBuffer *b) {
        mam_buffer_done(b);
}

const char *mam_buffer_bytes(const MamBuffer *b) {
        assert(b);

        return b->data ? b->data + b->start : "";
}

/* Room for size more bytes and the NUL. Moves the content to the front before it grows the allocation. */
static int make_room(MamBuffer *b, size_t size) {
        size_t need, allocated;
        char *data;

        if (b->max > 0 && (size > b->max || b->size > b->max - size))
                return -ENOBUFS;
        if (__builtin_add_overflow(b->size, size, &need) || __builtin_add_overflow(need, 1, &need))
                return -ENOMEM;
        if (b->data && b->start + need <= b->allocated)
                return 0;

        if (b->data && need <= b->allocated) {
                memmove(b->data, b->data + b->start, b->size + 1);
                b->start = 0;
                return 0;
        }

        allocated = b->allocated < 128 ? 256 : b->allocated;
        while (allocated < need) {
                if (__builtin_mul_overflow(allocated, 2, &allocated))
                        return -ENOMEM;
        }
        if (b->start > 0) {
                memmove(b->data, b->data + b->start, b->size + 1);
                b->start = 0;
        }
        data = realloc(b->data, allocated);
        if (!data)
                return -ENOMEM;
        if (b->size == 0)
                data[0] = '\0';
        b->data = data;
        b->allocated = allocated;
        return 0;
}

int mam_buffer_reserve_slowly(MamBuffer *b, size_t size, char **ret) {
        int r;

        assert(b);
        assert(ret);

        r = make_room(b, size);
        if (r < 0)
                return r;

        *ret = b->data + b->start + b->size;
        return 0;
}

int mam_buffer_append(MamBuffer *b, const void *data, size_t size) {
        char *p;
        int r;

        assert(data || size == 0);

        r = mam_buffer_reserve(b, size, &p);
        if (r < 0)
                return r;
        if (size > 0)
                memcpy(p, data, size);
        mam_buffer_commit(b, size);
        return 0;
}

int mam_buffer_append_string(MamBuffer *b, const char *s) {
        assert(s);

        return mam_buffer_append(b, s, strlen(s));
}

int mam_buffer_appendf(MamBuffer *b, const char *format, ...) {
        va_list ap;
        char *p;
        int n, r;

        va_start(ap, format);
        n = vsnprintf(NULL, 0, format, ap);
        va_end(ap);
        if (n < 0)
                return -EINVAL;

        r = mam_buffer_reserve(b, (size_t) n, &p);
        if (r < 0)
                return r;

        va_start(ap, format);
        (void) vsnprintf(p, (size_t) n + 1, format, ap);
        va_end(ap);
        mam_buffer_commit(b, (size_t) n);
        return 0;
}

void mam_buffer_consume(MamBuffer *b, size_t size) {
        assert(b);
        assert(size <= b->size);

        b->size -= size;
        b->start = b->size > 0 ? b->start + size : 0;
        if (b->data && b->size == 0)
                b->data[0] = '\0';
}

char *mam_buffer_steal(MamBuffer *b, size_t *ret_size) {
        char *data;

        assert(b);

        if (!b->data) {
                data = calloc(1, 1);
                if (!data)
                        return NULL;
        } else {
                if (b->start > 0)
                        memmove(b->data, b->data + b->start, b->size + 1);
                data = b->data;
        }
        if (ret_size)
                *ret_size = b->size;
        *b = (MamBuffer){ .max = b->max };
        return data;
}
