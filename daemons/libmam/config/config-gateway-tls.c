/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "gateway.tls": where and how TLS is served
 */

#include <string.h>

#include "libmam/config/config-gateway.h"

#define PORT_DEFAULT      3443U
#define CLIENT_CA_DEFAULT "/etc/mam/tls/clients.pem"

static int init(void *section) {
        MamGatewayTls *tls = section;

        *tls = (MamGatewayTls){ .port = PORT_DEFAULT, .version_min = 12 };
        tls->client_ca = strdup(CLIENT_CA_DEFAULT);
        return tls->client_ca ? 0 : -ENOMEM;
}

static void done(void *section) {
        MamGatewayTls *tls = section;

        free(tls->client_ca);
        free(tls->default_name);
}

static void read_tls(MamReader *rd, json_object *o, const char *parent, void *section) {
        static const char *const versions[] = { "1.2", "1.3", NULL }, *const clients[] = { "off",
                                                                                           "request",
                                                                                           "require",
                                                                                           NULL };
        MamGatewayTls *tls = section;
        int64_t port = tls->port;
        unsigned word;

        if (mam_reader_get_int(rd, o, parent, "port", 1, UINT16_MAX, &port))
                tls->port = (uint16_t) port;
        if (mam_reader_get_word(rd, o, parent, "minVersion", versions, &word))
                tls->version_min = 12 + word;
        if (mam_reader_get_word(rd, o, parent, "clientCertificates", clients, &word))
                tls->clients = (MamGatewayTlsClients) word;
        if (mam_reader_get_copy(rd, o, parent, "clientCa", &tls->client_ca) && tls->client_ca[0] != '/')
                mam_reader_bad_key(rd, parent, "clientCa", "must be the path of a file, from / on");
        if (mam_reader_get_copy(rd, o, parent, "defaultCertificate", &tls->default_name) &&
            (tls->default_name[0] == '\0' || strchr(tls->default_name, '/'))) {
                mam_reader_bad_key(
                                rd,
                                parent,
                                "defaultCertificate",
                                "must be the name of a pair in /etc/mam/tls, without .crt");
        }
}

const MamGatewaySection mam_gateway_section_tls = {
        .name = "tls",
        .offset = offsetof(MamGatewayConfig, tls),
        .known = (const char *const[]){ "port",
                                        "minVersion",
                                        "clientCertificates",
                                        "clientCa",
                                        "defaultCertificate",
                                        NULL },
        .init = init,
        .read = read_tls,
        .done = done,
};
