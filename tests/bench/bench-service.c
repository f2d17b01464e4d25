/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A service that does nothing: what a hundred replicas are made of when it is the manager that is measured.
 * It is a whole daemon of libmam (sockets from systemd, READY, watchdog, /health), so that the manager has
 * the same to do as with others.
 */

#include "libmam/service/service.h"

static int setup(MamService *s, void **ret) {
        *ret = NULL;
        return mam_service_ready(s);
}

static const MamRoute routes[] = { { .method = NULL } };

static const MamServiceInfo info = {
        .id = "bench",
        .routes = routes,
        .setup = setup,
};

int main(int argc, char **argv) {
        return mam_service_run(argc, argv, &info);
}
