/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#define CHUNK_SIZE 8192U

typedef struct Chunk Chunk;
struct Chunk {
        Chunk *next;
        size_t size, used;
        alignas(max_align_t) char data[];
};

struct GqlArena {
        Chunk *chunks;
        size_t left;
        bool failed;
};

int gql_arena_new(GqlArena **ret, size_t max) {
        GqlArena *a;

        assert(ret);

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->left = max;
        *ret = a;
        return 0;
}

GqlArena *gql_arena_free(GqlArena *a) {
        if (!a)
                return NULL;

        while (a->chunks) {
                Chunk *c = a->chunks;

                a->chunks = c->next;
                free(c);
        }
        free(a);
        return NULL;
}

void *gql_alloc(GqlArena *a, size_t size) {
        Chunk *c;
        void *p;

        assert(a);

        if (a->failed || size > SIZE_MAX / 2)
                return NULL;
        size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
        c = a->chunks;
        if (!c || c->size - c->used < size) {
                size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

                c = room <= a->left ? calloc(1, sizeof(*c) + room) : NULL;
                if (!c) {
                        a->failed = true;
                        return NULL;
                }
                a->left -= room;
                c->size = room;
                /* A large one goes behind the chunk that still has room. */
                if (a->chunks && size > CHUNK_SIZE) {
                        c->next = a->chunks->next;
                        a->chunks->next = c;
                } else {
                        c->next = a->chunks;
                        a->chunks = c;
                }
        }
        p = c->data + c->used;
        c->used += size;
        return p;
}

char *gql_copy(GqlArena *a, const char *data, size_t size) {
        char *p;

        p = gql_alloc(a, size + 1);
        if (p && size > 0)
                memcpy(p, data, size);
        return p;
}

char *gql_vprintf(GqlArena *a, const char *format, va_list ap) {
        char text[1024];
        int n;

        n = vsnprintf(text, sizeof(text), format, ap);
        if (n < 0)
                return NULL;
        if ((size_t) n >= sizeof(text)) { /* cut: not within a character */
                n = sizeof(text) - 1;
                while (n > 0 && ((unsigned char) text[n - 1] & 0xc0) == 0x80)
                        n--;
                if (n > 0 && (unsigned char) text[n - 1] >= 0xc0)
                        n--;
        }
        return gql_copy(a, text, (size_t) n);
}

char *gql_printf(GqlArena *a, const char *format, ...) {
        va_list ap;
        char *p;

        va_start(ap, format);
        p = gql_vprintf(a, format, ap);
        va_end(ap);
        return p;
}

bool gql_arena_failed(const GqlArena *a) {
        return a->failed;
}
