/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Permissions: "GET,POST /api/v1/projects/{project}/..."
 *
 * A pattern is a path whose segments stand for themselves, for any one ("{name}", "*"), or, as the last one,
 * for all that is below ("..."). Paths are compared as they are sent: one that is written in another way is
 * not covered, which refuses more, never less.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libmam/config/config-gateway-auth.h"

#define PERMISSION_WHAT \
        "methods and a path, such as \"GET,POST /api/v1/things/{id}/...\", \"* /api/...\" or \"/api/...\""
#define CALL_WHAT \
        "a service with or without methods and a path, such as \"things\" or \"GET things/api/v1/things/...\""

static const char *const methods[] = {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"
};

uint32_t mam_auth_method_bit(const char *method) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(methods); i++)
                if (strcmp(methods[i], method) == 0)
                        return 1U << i;
        return 0;
}

/* ---- reading ---- */

/* "GET,POST"; who may GET may ask for the HEAD. */
static bool parse_methods(const char *text, size_t size, uint32_t *ret) {
        uint32_t bits = 0;

        if (size == 1 && *text == '*') {
                *ret = MAM_AUTH_METHODS_ALL;
                return true;
        }
        while (size > 0) {
                const char *comma = memchr(text, ',', size);
                size_t n = comma ? (size_t) (comma - text) : size;
                char method[16];
                uint32_t bit;

                if (n == 0 || n >= sizeof(method))
                        return false;
                memcpy(method, text, n);
                method[n] = '\0';
                bit = mam_auth_method_bit(method);
                if (bit == 0)
                        return false;
                bits |= bit;
                if (n + 1 == size) /* ends in a comma */
                        return false;
                text += comma ? n + 1 : n;
                size -= comma ? n + 1 : n;
        }
        if (bits & mam_auth_method_bit("GET"))
                bits |= mam_auth_method_bit("HEAD");
        *ret = bits;
        return bits != 0;
}

static bool segment_is_good(const char *s, size_t n) {
        if (n == 0)
                return false;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] <= ' ' || (unsigned char) s[i] >= 0x7f || strchr("?#\"\\", s[i]))
                        return false;
        if (s[0] == '{')
                return n > 2 && s[n - 1] == '}' && !memchr(s + 1, '{', n - 1);
        return !memchr(s, '{', n) && !memchr(s, '}', n) && (n == 1 || !memchr(s, '*', n)) &&
               !(n <= 2 && s[0] == '.' && s[n - 1] == '.');
}

/* "/a/{b}/..." → "/a/{b}" and is_prefix. */
static bool parse_pattern(const char *text, size_t *ret_size, bool *ret_prefix) {
        size_t size = strlen(text);

        *ret_prefix = size >= 4 && strcmp(text + size - 4, "/...") == 0;
        if (*ret_prefix)
                size -= 4;
        *ret_size = size;
        if (size == 0 || (size == 1 && !*ret_prefix))
                return text[0] == '/';
        if (size > MAM_ROUTE_PATH_MAX || text[0] != '/')
                return false;
        for (size_t at = 1; at <= size;) {
                const char *slash = memchr(text + at, '/', size - at);
                size_t n = slash ? (size_t) (slash - text) - at : size - at;

                if (!segment_is_good(text + at, n))
                        return false;
                at += n + 1;
        }
        return text[size - 1] != '/';
}

static bool service_is_good(const char *s, size_t n) {
        if (n == 0 || n > 31 || s[0] < 'a' || s[0] > 'z')
                return false;
        for (size_t i = 0; i < n; i++)
                if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", s[i]) || s[i] == '\0')
                        return false;
        return true;
}

/* 1: good; 0: not a permission; -ENOMEM. with_service: the path stands behind the id of a service. */
static int parse_permission(MamPermission *ret, const char *text, bool with_service) {
        const char *space = strchr(text, ' '), *path = space ? space + 1 : text;
        MamPermission p = { .methods = MAM_AUTH_METHODS_ALL };
        size_t size = 0, n = 0;

        if (space && !parse_methods(text, (size_t) (space - text), &p.methods))
                return 0;
        if (with_service) {
                n = strcspn(path, "/");
                if (!service_is_good(path, n))
                        return 0;
        }
        if (path[n] == '\0' && with_service)
                p.is_prefix = true; /* all of it */
        else if (!parse_pattern(path + n, &size, &p.is_prefix))
                return 0;

        p.path = strndup(path + n, size);
        p.service = with_service ? strndup(path, n) : NULL;
        if (!p.path || (with_service && !p.service)) {
                free(p.path);
                free(p.service);
                return -ENOMEM;
        }
        *ret = p;
        return 1;
}

static void read_permissions(
                MamReader *rd,
                json_object *array,
                const char *parent,
                bool with_service,
                MamGrant *g) {
        size_t n = json_object_array_length(array);

        g->permissions = calloc(n ?: 1, sizeof(*g->permissions));
        if (!g->permissions) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                json_object *item = json_object_array_get_idx(array, i);
                char index[24];
                int r = 0;

                if (json_object_is_type(item, json_type_string) &&
                    strlen(json_object_get_string(item)) == (size_t) json_object_get_string_len(item))
                        r = parse_permission(
                                        &g->permissions[g->n_permissions],
                                        json_object_get_string(item),
                                        with_service);
                if (r < 0)
                        mam_reader_note(rd, r);
                else if (r > 0)
                        g->n_permissions++;
                else {
                        (void) snprintf(index, sizeof(index), "%zu", i);
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        index,
                                        "must be %s",
                                        with_service ? CALL_WHAT : PERMISSION_WHAT);
                }
        }
}

void mam_config_read_grants(
                MamReader *rd,
                json_object *o,
                const char *parent,
                bool with_service,
                MamGrant **ret,
                size_t *ret_n) {
        size_t max = (size_t) json_object_object_length(o);

        if (max > MAM_AUTH_GRANTS_MAX) {
                mam_reader_bad_key(
                                rd,
                                parent,
                                NULL,
                                "must not have more than %u entries",
                                MAM_AUTH_GRANTS_MAX);
                return;
        }
        *ret = calloc(max ?: 1, sizeof(**ret));
        if (!*ret) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        json_object_object_foreach(o, key, value) {
                MamGrant *g = &(*ret)[*ret_n];
                char inner[192];

                if (!json_object_is_type(value, json_type_array) ||
                    json_object_array_length(value) > MAM_AUTH_PERMISSIONS_MAX) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        key,
                                        "must be a list of up to %u permissions",
                                        MAM_AUTH_PERMISSIONS_MAX);
                        continue;
                }
                if (with_service ? !service_is_good(key, strlen(key)) : !mam_auth_name_is_good(key)) {
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        key,
                                        with_service ? "is not the id of a service"
                                                     : "is not " MAM_AUTH_NAME_WHAT);
                        continue;
                }
                (*ret_n)++;
                mam_reader_copy(rd, &g->name, key);
                (void) snprintf(inner, sizeof(inner), "%s/%s", parent, key);
                read_permissions(rd, value, inner, with_service, g);
        }
}

void mam_grants_free(MamGrant *grants, size_t n) {
        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < grants[i].n_permissions; k++) {
                        free(grants[i].permissions[k].service);
                        free(grants[i].permissions[k].path);
                }
                free(grants[i].permissions);
                free(grants[i].name);
                free(grants[i].user);
        }
        free(grants);
}

/* "callers" */

static void read_callers(MamReader *rd, json_object *o, const char *parent, void *section) {
        MamGatewayCallers *c = section;

        mam_config_read_grants(rd, o, parent, true, &c->services, &c->n_services);
}

static void callers_done(void *section) {
        MamGatewayCallers *c = section;

        mam_grants_free(c->services, c->n_services);
}

const MamGatewaySection mam_gateway_section_callers = {
        .name = "callers",
        .offset = offsetof(MamGatewayConfig, callers),
        .read = read_callers,
        .done = callers_done,
};

/* ---- matching ---- */

static size_t segment_size(const char *s, size_t size) {
        const char *slash = memchr(s, '/', size);

        return slash ? (size_t) (slash - s) : size;
}

bool mam_permission_covers(
                const MamPermission *p,
                uint32_t method_bit,
                const char *path,
                size_t path_size,
                const char **ret_project,
                size_t *ret_project_size) {
        const char *pattern = p->path;

        *ret_project = NULL;
        *ret_project_size = 0;
        if (p->methods != MAM_AUTH_METHODS_ALL && !(p->methods & method_bit))
                return false;

        while (*pattern == '/') {
                size_t n, k;

                if (path_size == 0 || *path != '/')
                        return false;
                pattern++;
                path++;
                path_size--;
                n = strcspn(pattern, "/");
                k = segment_size(path, path_size);
                if (pattern[0] == '{' || (n == 1 && pattern[0] == '*')) {
                        if (k == 0)
                                return false;
                        if (n == 9 && memcmp(pattern, "{project}", 9) == 0) {
                                *ret_project = path;
                                *ret_project_size = k;
                        }
                } else if (n != k || memcmp(pattern, path, k) != 0)
                        return false;
                pattern += n;
                path += k;
                path_size -= k;
        }
        return path_size == 0 || (p->is_prefix && *path == '/');
}
