/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * microservices.json: "events", what holds for the event bus
 */

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config-reader.h"

#define NETWORKS_MAX 64U

/* "10.0.0.0/8", "fd00::/8", or an address. */
static bool is_network(const char *text) {
        unsigned char bytes[sizeof(struct in6_addr)];
        char address[INET6_ADDRSTRLEN];
        unsigned long most, bits;
        size_t n = strcspn(text, "/");
        char *end;

        if (n == 0 || n >= sizeof(address))
                return false;
        memcpy(address, text, n);
        address[n] = '\0';
        most = strchr(address, ':') ? 128 : 32;
        if (inet_pton(most == 128 ? AF_INET6 : AF_INET, address, bytes) != 1)
                return false;
        if (text[n] == '\0')
                return true;
        if (text[n + 1] < '0' || text[n + 1] > '9')
                return false;
        bits = strtoul(text + n + 1, &end, 10);
        return *end == '\0' && bits <= most;
}

static bool is_host_name(const char *text) {
        size_t n = strlen(text);

        return n > 0 && n <= 253 && text[0] != '.' && text[0] != '-' &&
               strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == n;
}

static void read_webhooks(MamReader *rd, json_object *o, const char *parent, MamEventsConfig *e) {
        (void) mam_reader_get_texts(
                        rd,
                        o,
                        parent,
                        "allow",
                        NETWORKS_MAX,
                        is_network,
                        "a network or an address, such as \"10.0.0.0/8\"",
                        &e->webhook_allow);
        (void) mam_reader_get_bool(rd, o, parent, "allowHttp", &e->webhook_allow_http);
        if (mam_reader_get_copy(rd, o, parent, "origin", &e->webhook_origin) &&
            !is_host_name(e->webhook_origin)) {
                mam_reader_bad_key(
                                rd,
                                parent,
                                "origin",
                                "must be a host name, such as \"events.example.com\"");
                free(MAM_TAKE(e->webhook_origin));
        }
}

int mam_config_read_events(MamConfigFile *f, json_object *root) {
        static const char *const known[] = { "webhooks", NULL };
        static const char *const webhooks_known[] = { "allow", "allowHttp", "origin", NULL };
        MamReader rd = { .file = f };
        char parent[128], webhooks_parent[128];
        json_object *o, *webhooks;

        assert(f);

        if (mam_reader_get_section(&rd, root, "", "events", known, parent, &o) &&
            mam_reader_get_section(&rd, o, parent, "webhooks", webhooks_known, webhooks_parent, &webhooks))
                read_webhooks(&rd, webhooks, webhooks_parent, &f->config->events);
        return rd.r;
}

void mam_events_config_done(MamEventsConfig *e) {
        mam_config_free_strings(e->webhook_allow);
        free(e->webhook_origin);
        *e = (MamEventsConfig){ 0 };
}
