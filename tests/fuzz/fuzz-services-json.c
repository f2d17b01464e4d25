/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * services.json: whatever it holds, the loader answers with services and problems, and the generator makes
 * units of the services without an error
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generator/generate.h"
#include "libmam/config/config.h"
#include "libmam/json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every result; abort() makes it a finding. */
static void require(bool condition) {
        if (!condition)
                abort();
}

static void check_service(const MamConfig *c, const MamServiceConfig *s) {
        require(mam_service_id_is_valid(s->id));
        require(s->name && s->listen && s->health_path && s->dependencies && s->environment && s->routes &&
                s->definition);
        require(s->min_replicas <= s->replicas && s->replicas <= s->max_replicas);
        require(s->max_replicas >= 1 && s->max_replicas <= MAM_CONFIG_REPLICAS_MAX);
        require(s->cpu_millis > 0 && s->memory_bytes > 0 && s->tasks_max > 0);
        require(s->health_interval_usec > 0 && s->health_timeout_usec > 0);
        for (char **d = s->dependencies; *d; d++)
                require(mam_config_find(c, *d) != NULL);
}

/* A kept definition must be read back as the same service. */
static void check_round_trip(const MamServiceConfig *s) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        const MamServiceConfig *again;

        require(mam_config_service_to_json(&text, s) == 0);
        require(mam_config_load_text(&c, text, strlen(text)) == 0);
        again = mam_config_find(c, s->id);
        if (!again)
                return; /* its dependencies are not in this text */
        require(again->cpu_millis == s->cpu_millis && again->memory_bytes == s->memory_bytes &&
                again->port == s->port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_fclosep) FILE *nowhere = NULL;
        size_t order[MAM_CONFIG_SERVICES_MAX];
        Output output = { .folder_fd = -EBADF };

        if (size > MAM_CONFIG_FILE_MAX)
                return 0;
        require(mam_config_load_text(&c, (const char *) data, size) == 0);
        for (size_t i = 0; i < c->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;

                require(mam_config_problem_format(&text, &c->problems[i]) == 0);
                for (const char *t = text; *t; t++)
                        require((unsigned char) *t >= 0x20 && *t != 0x7f);
        }
        for (size_t i = 0; i < c->n_services; i++) {
                check_service(c, &c->services[i]);
                check_round_trip(&c->services[i]);
        }
        mam_config_dependency_order(c, order);

        nowhere = fopen("/dev/null", "we");
        require(nowhere != NULL);
        output.stream = nowhere;
        require(generate(c, &output) == 0);
        return 0;
}
