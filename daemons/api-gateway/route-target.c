/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Routes: what a request's path and Accept say, and where it goes
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/routes.h"

#define VERSION_MAX 9999U

/* ---- the path ---- */

/* Takes one "." or "%2e" off the front; 0 if there is none. */
static size_t dot_size(const char *s, size_t size) {
        if (size >= 1 && s[0] == '.')
                return 1;
        return size >= 3 && strncasecmp(s, "%2e", 3) == 0 ? 3 : 0;
}

/* Some take an encoded slash, or a backslash, for a divider as well. */
static size_t divider_size(const char *s, size_t size) {
        if (size >= 1 && (*s == '/' || *s == '\\'))
                return 1;
        return size >= 3 && (strncasecmp(s, "%2f", 3) == 0 || strncasecmp(s, "%5c", 3) == 0) ? 3 : 0;
}

/* "." or "..", also with parameters behind (";x"). */
static bool is_dots(const char *s, size_t size) {
        size_t n = dot_size(s, size);

        if (n == 0)
                return false;
        n += dot_size(s + n, size - n);
        return n == size || s[n] == ';' || divider_size(s + n, size - n) > 0;
}

RoutePath route_path_check(const char *path, size_t size) {
        bool slashes = false;

        for (size_t i = 0; i < size; i++) {
                size_t n;

                if (path[i] > '/' && path[i] != '\\') /* as a rule */
                        continue;
                if (path[i] == '\\')
                        return ROUTE_PATH_BACKSLASH;
                if (path[i] == '%') {
                        if (i + 2 >= size || !isxdigit((unsigned char) path[i + 1]) ||
                            !isxdigit((unsigned char) path[i + 2]) || memcmp(path + i, "%00", 3) == 0)
                                return ROUTE_PATH_BAD_ENCODING;
                }
                n = divider_size(path + i, size - i);
                if (n == 0)
                        continue;
                slashes = slashes || n > 1;
                if (is_dots(path + i + n, size - i - n))
                        return ROUTE_PATH_DOTS;
                if (n == 1 && i + 1 < size && path[i + 1] == '/')
                        return ROUTE_PATH_EMPTY_SEGMENT;
        }
        return slashes ? ROUTE_PATH_ENCODED_SLASH : ROUTE_PATH_PLAIN;
}

/* ---- the version ---- */

static uint32_t parse_version(const char *s, size_t size) {
        uint32_t v = 0;
        size_t i = 0;

        if (size > 1 && s[0] == '"' && s[size - 1] == '"') {
                s++;
                size -= 2;
        }
        for (; i < size && isdigit((unsigned char) s[i]) && v <= VERSION_MAX; i++)
                v = v * 10 + (uint32_t) (s[i] - '0');
        return i == size && v <= VERSION_MAX ? v : 0;
}

static MamHttpRange trim(const char *s, const char *end) {
        while (s < end && (*s == ' ' || *s == '\t'))
                s++;
        while (end > s && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
        return (MamHttpRange){ s, (size_t) (end - s) };
}

static const char *find(const char *s, const char *end, char c) {
        const char *found = memchr(s, c, (size_t) (end - s));

        return found ? found : end;
}

/* "application/vnd.mam.project.v2+json" → 2 */
static uint32_t vendor_version(MamHttpRange type) {
        const char *end = find(type.data, type.data + type.size, '+'), *s = end;

        while (s > type.data && isdigit((unsigned char) s[-1]))
                s--;
        if (s == end || s - type.data < 2 || s[-1] != 'v' || s[-2] != '.')
                return 0;
        return parse_version(s, (size_t) (end - s));
}

/* One media range. */
static uint32_t range_version(const char *s, const char *end) {
        const char *semicolon = find(s, end, ';');
        uint32_t version = vendor_version(trim(s, semicolon));

        while (version == 0 && semicolon < end) {
                MamHttpRange p;

                s = semicolon + 1;
                semicolon = find(s, end, ';');
                p = trim(s, semicolon);
                if (p.size > 8 && strncasecmp(p.data, "version=", 8) == 0)
                        version = parse_version(p.data + 8, p.size - 8);
        }
        return version;
}

uint32_t route_accept_version(const MamHttpHead *head) {
        uint32_t version = 0;

        for (size_t i = 0; i < head->n_fields && version == 0; i++) {
                const char *s = head->fields[i].value.data, *end = s + head->fields[i].value.size;

                if (!mam_http_range_equal_fold(head->fields[i].name, "Accept"))
                        continue;
                while (s < end && version == 0) {
                        const char *comma = find(s, end, ',');

                        version = range_version(s, comma);
                        s = comma < end ? comma + 1 : end;
                }
        }
        return version;
}

/* ---- the target ---- */

typedef struct Target {
        char *p;
        size_t left;
        bool full;
} Target;

static void put(Target *t, const char *data, size_t size) {
        if (t->full || size >= t->left) {
                t->full = true;
                return;
        }
        memcpy(t->p, data, size);
        t->p += size;
        t->left -= size;
}

/* What the i-th segment of path begins with, to its end or that of the path. */
static MamHttpRange segment_at(MamHttpRange path, size_t i, bool rest) {
        const char *s = path.data, *end = s + path.size, *next;

        for (;;) {
                if (s == end)
                        return (MamHttpRange){ end, 0 };
                s++;
                next = find(s, end, '/');
                if (i-- == 0)
                        return (MamHttpRange){ s, (size_t) ((rest ? end : next) - s) };
                s = next;
        }
}

/* The value that a parameter of the template has in path. */
static MamHttpRange parameter(const char *template, MamHttpRange path, const char *name, size_t size) {
        size_t i = 0;

        for (const char *s = template; *s; i++) {
                size_t n = strcspn(++s, "/");

                if (n == size && memcmp(s, name, size) == 0)
                        return segment_at(path, i, memchr(name, '.', size) != NULL);
                s += n;
        }
        return (MamHttpRange){ path.data, 0 };
}

static size_t count_segments(const char *template) {
        size_t n = 0;

        for (; *template; template ++)
                n += *template == '/';
        return n;
}

/* What is left of path behind n segments: "", or it begins with '/'. */
static const char *suffix_after(MamHttpRange path, size_t n) {
        const char *s = path.data, *end = s + path.size;

        for (; n > 0 && s < end; n--) {
                s++;
                s = find(s, end, '/');
        }
        return s;
}

static void put_rewritten(Target *t, const MamRouteConfig *c, MamHttpRange path) {
        for (const char *s = c->rewrite; *s;) {
                size_t n = strcspn(++s, "/");
                MamHttpRange value = { s, n };

                put(t, "/", 1);
                if (n > 0 && s[0] == '{')
                        value = parameter(c->path, path, s, n);
                put(t, value.data, value.size);
                s += n;
        }
        if (c->is_prefix) {
                const char *suffix = suffix_after(path, count_segments(c->path));

                put(t, suffix, (size_t) (path.data + path.size - suffix));
        }
}

ssize_t route_target(const Route *route, const MamHttpHead *head, char *ret, size_t size) {
        Target t = { .p = ret, .left = size };

        assert(route);
        assert(ret);

        if (head->path.size == 0)
                return -EMSGSIZE;
        if (route->config->rewrite) {
                put_rewritten(&t, route->config, head->path);
                if (t.p == ret && !t.full)
                        put(&t, "/", 1);
        } else {
                put(&t, head->path.data, head->path.size);
        }
        if (head->query.data) {
                put(&t, "?", 1);
                put(&t, head->query.data, head->query.size);
        }
        if (t.full)
                return -EMSGSIZE;
        *t.p = '\0';
        return t.p - ret;
}
