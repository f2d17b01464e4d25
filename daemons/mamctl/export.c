/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The configuration in the words of other programs
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libmam/config/config.h"
#include "mamctl/export-nginx.h"
#include "mamctl/verbs.h"

#include "mam-build.h"

static ExitCode failed(Client *c, const char *what, int r) {
        client_complain(c, "%s: %s", what, strerror(-r));
        return r == -EACCES || r == -EPERM ? EXIT_CODE_ACCESS_DENIED : EXIT_CODE_FAILURE;
}

static ExitCode write_nginx(Client *c, const MamConfig *config, FILE *f, const char *path) {
        unsigned closed = 0;
        int r;

        r = export_nginx(config, f, &closed);
        if (r == -ENOENT) {
                client_complain(c, "No gateway with a port is configured");
                return EXIT_CODE_FAILURE;
        }
        if (r < 0)
                return failed(c, path, r);
        if (closed > 0)
                client_complain(c,
                                "%u of the routes answer 403 in it: nginx does not verify who asks, and they need that",
                                closed);
        return EXIT_CODE_OK;
}

/* What is left out, and why. */
static void tell_problems(Client *c, const MamConfig *config) {
        for (size_t i = 0; i < config->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;

                if (config->problems[i].level != MAM_PROBLEM_NOTICE &&
                    mam_config_problem_format(&text, &config->problems[i]) >= 0)
                        client_complain(c, "%s", text);
        }
}

ExitCode verb_export(Client *c) {
        const char *folder = getenv("MAM_CONFIG_DIR"), *path = c->invocation->output;
        _cleanup_(mam_config_freep) MamConfig *config = NULL;
        _cleanup_(mam_fclosep) FILE *f = NULL;
        int r;

        if (c->invocation->host) {
                client_complain(c, "The configuration is read on its own machine: run mamctl there");
                return EXIT_CODE_USAGE;
        }
        r = mam_config_load(&config, folder ? folder : MAM_CONFIG_DIR, NULL);
        if (r < 0)
                return failed(c, "Cannot read the configuration", r);
        tell_problems(c, config);
        if (!path || strcmp(path, "-") == 0)
                return write_nginx(c, config, stdout, "standard output");
        f = fopen(path, "we");
        if (!f)
                return failed(c, path, -errno);
        return write_nginx(c, config, f, path);
}
