/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * URLs of webhooks: what can be said of them before they are called
 *
 * libcurl reads them, as it is libcurl that will call them: what it takes for the host is what is judged.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "event-bus/push/push-internal.h"

#define URL_MAX 2048U

typedef struct Parts {
        char *scheme, *host, *user, *password, *fragment; /* libcurl's; or NULL */
} Parts;

static void parts_done(Parts *p) {
        curl_free(p->scheme);
        curl_free(p->host);
        curl_free(p->user);
        curl_free(p->password);
        curl_free(p->fragment);
}

static int parts_read(Parts *ret, const char *url) {
        CURLU *u = curl_url();
        int r;

        if (!u)
                return -ENOMEM;
        r = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                                            curl_url_get(u, CURLUPART_SCHEME, &ret->scheme, 0) ==
                                                            CURLUE_OK &&
                                            curl_url_get(u, CURLUPART_HOST, &ret->host, 0) == CURLUE_OK
                            ? 0
                            : -EINVAL;
        (void) curl_url_get(u, CURLUPART_USER, &ret->user, 0);
        (void) curl_url_get(u, CURLUPART_PASSWORD, &ret->password, 0);
        (void) curl_url_get(u, CURLUPART_FRAGMENT, &ret->fragment, 0);
        curl_url_cleanup(u);
        return r;
}

/* A host that is an address: judged now, so that whoever sets it hears it. */
static bool literal_is_refused(const PushNetworks *allow, const char *host, bool is_http) {
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        char text[INET6_ADDRSTRLEN];
        const struct sockaddr *address;
        socklen_t size;

        if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
                address = (const struct sockaddr *) &v4;
                size = sizeof(v4);
        } else if (host[0] == '[' && strlen(host) < sizeof(text)) {
                (void) snprintf(text, sizeof(text), "%.*s", (int) strcspn(host + 1, "]%"), host + 1);
                if (inet_pton(AF_INET6, text, &v6.sin6_addr) != 1)
                        return true;
                address = (const struct sockaddr *) &v6;
                size = sizeof(v6);
        } else
                return host[0] == '[';

        return is_http ? !push_address_is_named(allow, address, size)
                       : !push_address_is_allowed(allow, address, size);
}

static const char *find_problem(const PushOptions *options, const PushNetworks *allow, const Parts *p) {
        bool is_http = strcasecmp(p->scheme, "http") == 0;

        if (is_http && !options->allow_http)
                return "must begin with https://";
        if (!is_http && strcasecmp(p->scheme, "https") != 0)
                return "must begin with https://";
        if (p->user || p->password)
                return "must not contain a user or password";
        if (p->fragment)
                return "must not have a fragment";
        if (literal_is_refused(allow, p->host, is_http))
                return is_http ? "is plain http to an address that events.webhooks.allow does not name"
                               : "leads to an address that is not public";
        return NULL;
}

int push_url_check(
                const PushOptions *options,
                const PushNetworks *allow,
                const char *url,
                char **ret_problem) {
        _cleanup_(parts_done) Parts p = { 0 };
        const char *problem = NULL;
        char *copy;
        int r;

        assert(options);
        assert(url);

        if (strlen(url) > URL_MAX)
                problem = "is longer than 2048 bytes";
        for (const char *c = url; *c && !problem; c++) {
                if ((unsigned char) *c <= 0x20 || (unsigned char) *c >= 0x7f)
                        problem = "contains a character that has no place in a URL";
        }
        if (!problem) {
                r = parts_read(&p, url);
                if (r == -ENOMEM)
                        return r;
                problem = r < 0 ? "is not a URL" : find_problem(options, allow, &p);
        }
        if (!problem)
                return 0;
        if (ret_problem) {
                copy = strdup(problem);
                if (!copy)
                        return -ENOMEM;
                *ret_problem = copy;
        }
        return -EINVAL;
}

int pusher_check_url(const PushOptions *options, const char *url, char **ret_problem) {
        PushNetworks allow;

        assert(options);

        if (push_networks_parse(&allow, options->allow, NULL) < 0)
                allow.n = 0; /* said where the configuration is read */
        return push_url_check(options, &allow, url, ret_problem);
}
