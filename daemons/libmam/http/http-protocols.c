/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a connection may turn out to speak
 *
 * A plain connection says it with its first bytes: a preface that is no request of HTTP/1, where the
 * listener allows it. Each preface begins with bytes that HTTP/1 would refuse or that cannot be a method in
 * use, so nothing that any client sends is taken for the other.
 */

#include <assert.h>
#include <string.h>

#include "libmam/http/http-connection.h"
#include "libmam/http/http2.h"
#include "libmam/http/native-frames.h"
#include "libmam/http/native-server.h"

#define ALPN_MAX 16U

typedef struct Preface {
        const char *bytes;
        size_t size;
        bool native;
        const HttpProtocol *protocol;
} Preface;

/* RFC 9113, section 3.4; native-frames.h */
static const Preface prefaces[] = {
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, false, &http2_protocol },
        { NATIVE_PREFACE, NATIVE_PREFACE_SIZE, true, &native_protocol },
};

/* 1: it is this one; 0: it may become it; -1: it is not. */
static int compare(const Preface *p, const char *data, size_t size) {
        if (memcmp(data, p->bytes, size < p->size ? size : p->size) != 0)
                return -1;
        return size >= p->size;
}

static bool is_allowed(const HttpConnection *c, const Preface *p) {
        return p->protocol && (p->native ? c->may_native : c->may_h2c);
}

int http_protocol_detect(const HttpProtocol **ret, const HttpConnection *c) {
        int found = 1;

        assert(ret);
        assert(c);

        for (size_t i = 0; i < MAM_ELEMENTSOF(prefaces); i++) {
                int r;

                if (!is_allowed(c, &prefaces[i]))
                        continue;
                r = compare(&prefaces[i], c->input.view, c->input.size);
                if (r > 0) {
                        *ret = prefaces[i].protocol;
                        return 1;
                }
                if (r == 0)
                        found = 0;
        }
        return found;
}

static size_t put_alpn(unsigned char *ret, const char *name) {
        size_t size = strlen(name);

        assert(size < ALPN_MAX);

        ret[0] = (unsigned char) size;
        for (size_t i = 0; i < size; i++)
                ret[i + 1] = (unsigned char) name[i];
        return size + 1;
}

unsigned http_protocol_alpn(unsigned char ret[static HTTP_ALPN_SIZE], const HttpConnection *c) {
        size_t n = 0;

        assert(c);

        for (size_t i = 0; i < MAM_ELEMENTSOF(prefaces); i++) {
                if (!prefaces[i].native && is_allowed(c, &prefaces[i]))
                        n += put_alpn(ret + n, prefaces[i].protocol->name);
        }
        n += put_alpn(ret + n, http1_protocol.name);
        return (unsigned) n;
}

const HttpProtocol *http_protocol_by_alpn(const char *name, size_t size) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(prefaces); i++) {
                const HttpProtocol *p = prefaces[i].protocol;

                if (p && !prefaces[i].native && strlen(p->name) == size && memcmp(p->name, name, size) == 0)
                        return p;
        }
        return &http1_protocol;
}
