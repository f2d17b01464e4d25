/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "gateway.tracing", "gateway.compression" and "gateway.accessLog"
 */

#include <string.h>

#include "libmam/config/config-gateway.h"

#define TYPES_MAX 32U

/*
 * tracing
 */

static int init_tracing(void *section) {
        MamGatewayTracing *c = section;

        c->sample_ppm = MAM_PPM / 100;
        return 0;
}

static bool is_http_url(const char *text) {
        const char *rest = NULL;

        if (strncmp(text, "http://", 7) == 0)
                rest = text + 7;
        else if (strncmp(text, "https://", 8) == 0)
                rest = text + 8;
        return rest && *rest && *rest != '/' && !strpbrk(rest, " \"<>\\^`{|}");
}

static void read_tracing(MamReader *rd, json_object *o, const char *parent, void *section) {
        MamGatewayTracing *c = section;

        if (mam_reader_get_copy(rd, o, parent, "endpoint", &c->endpoint) && !is_http_url(c->endpoint))
                mam_reader_bad_key(
                                rd,
                                parent,
                                "endpoint",
                                "must be the URL of a collector, such as \"http://127.0.0.1:4318/v1/traces\"");
        (void) mam_reader_get_ppm(rd, o, parent, "sample", &c->sample_ppm);
}

static void done_tracing(void *section) {
        free(((MamGatewayTracing *) section)->endpoint);
}

const MamGatewaySection mam_gateway_section_tracing = {
        .name = "tracing",
        .offset = offsetof(MamGatewayConfig, tracing),
        .known = (const char *const[]){ "endpoint", "sample", NULL },
        .init = init_tracing,
        .read = read_tracing,
        .done = done_tracing,
};

/*
 * compression
 */

static const char *const coding_names[] = {
        [MAM_GATEWAY_CODING_ZSTD] = "zstd",
        [MAM_GATEWAY_CODING_BR] = "br",
        [MAM_GATEWAY_CODING_GZIP] = "gzip",
        [_MAM_GATEWAY_CODING_MAX] = NULL,
};

static int init_compression(void *section) {
        MamGatewayCompression *c = section;

        c->enabled = true;
        c->codings = (1U << _MAM_GATEWAY_CODING_MAX) - 1;
        c->min_size = 1024;
        return 0;
}

static int find_coding(const char *text) {
        for (int i = 0; i < _MAM_GATEWAY_CODING_MAX; i++)
                if (strcmp(coding_names[i], text) == 0)
                        return i;
        return -ENOENT;
}

static bool is_coding(const char *text) {
        return find_coding(text) >= 0;
}

/* "application/json"; "text/" and a star */
static bool is_media_type(const char *text) {
        const char *slash = strchr(text, '/');

        return slash && slash != text && slash[1] && !strchr(slash + 1, '/') && !strpbrk(text, " ;,\"=") &&
               (!strchr(text, '*') || strcmp(slash, "/*") == 0);
}

static void read_compression(MamReader *rd, json_object *o, const char *parent, void *section) {
        MamGatewayCompression *c = section;
        char **codings = NULL;

        (void) mam_reader_get_bool(rd, o, parent, "enabled", &c->enabled);
        (void) mam_reader_get_bytes(rd, o, parent, "minSize", 0, 1024 * 1024, &c->min_size);
        (void) mam_reader_get_texts(
                        rd,
                        o,
                        parent,
                        "types",
                        TYPES_MAX,
                        is_media_type,
                        "a media type, such as \"application/json\" or \"text/*\"",
                        &c->types);
        if (mam_reader_get_texts(
                            rd,
                            o,
                            parent,
                            "codings",
                            _MAM_GATEWAY_CODING_MAX,
                            is_coding,
                            "\"zstd\", \"br\" or \"gzip\"",
                            &codings)) {
                c->codings = 0;
                for (char **p = codings; *p; p++)
                        c->codings |= 1U << find_coding(*p);
        }
        for (char **p = codings; p && *p; p++)
                free(*p);
        free(codings);
}

static void done_compression(void *section) {
        MamGatewayCompression *c = section;

        for (char **p = c->types; p && *p; p++)
                free(*p);
        free(c->types);
}

const MamGatewaySection mam_gateway_section_compression = {
        .name = "compression",
        .offset = offsetof(MamGatewayConfig, compression),
        .known = (const char *const[]){ "enabled", "codings", "minSize", "types", NULL },
        .init = init_compression,
        .read = read_compression,
        .done = done_compression,
};

/*
 * accessLog
 */

static int init_access_log(void *section) {
        MamGatewayAccessLog *c = section;

        c->rate = 500;
        return 0;
}

static void read_access_log(MamReader *rd, json_object *o, const char *parent, void *section) {
        static const char *const formats[] = {
                [MAM_GATEWAY_LOG_FIELDS] = "fields",
                [MAM_GATEWAY_LOG_JSON] = "json",
                NULL,
        };
        MamGatewayAccessLog *c = section;
        int64_t rate;
        unsigned k;

        if (mam_reader_get_word(rd, o, parent, "format", formats, &k))
                c->format = (MamGatewayLogFormat) k;
        if (mam_reader_get_int(rd, o, parent, "rate", 0, 1000000, &rate))
                c->rate = (uint32_t) rate;
}

const MamGatewaySection mam_gateway_section_access_log = {
        .name = "accessLog",
        .offset = offsetof(MamGatewayConfig, access_log),
        .known = (const char *const[]){ "format", "rate", NULL },
        .init = init_access_log,
        .read = read_access_log,
};
