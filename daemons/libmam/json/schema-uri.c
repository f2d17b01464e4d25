/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * References to URIs: RFC 3986, section 5
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/schema-internal.h"

typedef struct Span {
        const char *s;
        size_t n;
        bool is_there;
} Span;

typedef struct Parts {
        Span scheme, authority, path, query, fragment;
} Parts;

static size_t scheme_length(const char *s) {
        size_t n = 0;

        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')))
                return 0;
        while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') ||
               (s[n] >= '0' && s[n] <= '9') || s[n] == '+' || s[n] == '-' || s[n] == '.')
                n++;
        return s[n] == ':' ? n : 0;
}

bool mam_json_uri_is_absolute(const char *s) {
        return scheme_length(s) > 0;
}

static void split(Parts *p, const char *s) {
        size_t n = scheme_length(s);

        *p = (Parts){ 0 };
        if (n > 0) {
                p->scheme = (Span){ s, n, true };
                s += n + 1;
        }
        if (s[0] == '/' && s[1] == '/') {
                n = strcspn(s + 2, "/?#");
                p->authority = (Span){ s + 2, n, true };
                s += 2 + n;
        }
        n = strcspn(s, "?#");
        p->path = (Span){ s, n, true };
        s += n;
        if (*s == '?') {
                n = strcspn(s + 1, "#");
                p->query = (Span){ s + 1, n, true };
                s += 1 + n;
        }
        if (*s == '#')
                p->fragment = (Span){ s + 1, strlen(s + 1), true };
}

/* Section 5.2.4, in place. */
static void remove_dots(char *path) {
        char *out = path;
        const char *in = path;

        while (*in) {
                size_t n = strcspn(in + 1, "/") + 1; /* "/segment", or a first segment without a slash */

                if (*in != '/') {
                        n = strcspn(in, "/");
                        if ((n == 1 && in[0] == '.') || (n == 2 && in[0] == '.' && in[1] == '.')) {
                                in += n + (in[n] == '/');
                                continue;
                        }
                } else if (n == 2 && in[1] == '.') {
                        in += 2;
                        if (!*in)
                                *out++ = '/';
                        continue;
                } else if (n == 3 && in[1] == '.' && in[2] == '.') {
                        in += 3;
                        while (out > path && *--out != '/')
                                ;
                        if (!*in)
                                *out++ = '/';
                        continue;
                }
                memmove(out, in, n);
                out += n;
                in += n;
        }
        *out = '\0';
}

static bool put(char *ret, size_t *at, const char *s, size_t n) {
        if (*at + n >= MAM_JSON_URI_MAX)
                return false;
        memcpy(ret + *at, s, n);
        *at += n;
        ret[*at] = '\0';
        return true;
}

/* The path of a reference that has one of its own, seen from base (section 5.2.3). */
static bool merge(char path[static MAM_JSON_URI_MAX], const Parts *b, const Parts *r) {
        size_t n = b->path.n, at = 0;

        path[0] = '\0';
        if (r->path.n > 0 && r->path.s[0] == '/')
                return put(path, &at, r->path.s, r->path.n);
        if (b->authority.is_there && n == 0)
                return put(path, &at, "/", 1) && put(path, &at, r->path.s, r->path.n);
        while (n > 0 && b->path.s[n - 1] != '/')
                n--;
        return put(path, &at, b->path.s, n) && put(path, &at, r->path.s, r->path.n);
}

bool mam_json_uri_resolve(char ret[static MAM_JSON_URI_MAX], const char *base, const char *reference) {
        char path[MAM_JSON_URI_MAX] = "";
        Parts b, r;
        Span query;
        const Parts *authority;
        size_t at = 0;
        bool fits = true;

        assert(base);
        assert(reference);

        split(&b, base);
        split(&r, reference);
        query = r.query;
        authority = r.scheme.is_there || r.authority.is_there ? &r : &b;
        if (authority == &r) {
                fits = put(path, &at, r.path.s, r.path.n);
                remove_dots(path);
        } else if (r.path.n == 0) {
                fits = put(path, &at, b.path.s, b.path.n);
                if (!r.query.is_there)
                        query = b.query;
        } else {
                fits = merge(path, &b, &r);
                remove_dots(path);
        }

        at = 0;
        ret[0] = '\0';
        if (r.scheme.is_there || b.scheme.is_there) {
                const Span *s = r.scheme.is_there ? &r.scheme : &b.scheme;

                fits = fits && put(ret, &at, s->s, s->n) && put(ret, &at, ":", 1);
        }
        if (authority->authority.is_there)
                fits = fits && put(ret, &at, "//", 2) &&
                       put(ret, &at, authority->authority.s, authority->authority.n);
        fits = fits && put(ret, &at, path, strlen(path));
        if (query.is_there)
                fits = fits && put(ret, &at, "?", 1) && put(ret, &at, query.s, query.n);
        if (r.fragment.is_there)
                fits = fits && put(ret, &at, "#", 1) && put(ret, &at, r.fragment.s, r.fragment.n);
        return fits;
}
