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
#include "libmam/config/revision.h"
#include "libmam/json/json.h"

static const Deployment nothing_deployed = { .definitions_dir = "/nonexistent" };

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
        require(s->health_failures >= 1 && s->health_failures <= 100 && s->health_successes >= 1 &&
                s->health_successes <= 100);
        require(mam_scaling_mode_to_string(s->scaling.horizontal) &&
                mam_scaling_mode_to_string(s->scaling.vertical));
        require(s->scaling.target_rps >= 0 && s->scaling.target_in_flight >= 0 && s->scaling.idle_usec > 0);
        require(s->scaling.max_cpu_millis == 0 || s->scaling.min_cpu_millis <= s->scaling.max_cpu_millis);
        require(s->scaling.max_memory_bytes == 0 ||
                s->scaling.min_memory_bytes <= s->scaling.max_memory_bytes);
        require(mam_service_instances_max(s) >= s->max_replicas &&
                mam_service_instances_max(s) <= MAM_CONFIG_REPLICAS_MAX);
        for (char **d = s->dependencies; *d; d++)
                require(mam_config_find(c, *d) != NULL);
}

/* Names do not depend on how a definition was written down. */
static void check_names(const MamServiceConfig *s) {
        char name[MAM_REVISION_NAME_SIZE], again[MAM_REVISION_NAME_SIZE];
        _cleanup_(mam_config_freep) MamConfig *c = NULL;
        _cleanup_(mam_freep) char *text = NULL;

        require(mam_definition_canonical(&text, s) == 0);
        require(mam_definition_name(name, s) == 0);
        require(mam_revision_name(again, s, NULL, NULL, NULL) == 0);
        require(mam_config_load_text(&c, text, strlen(text)) == 0);
        if (!mam_config_find(c, s->id))
                return;
        require(mam_definition_name(again, mam_config_find(c, s->id)) == 0);
        require(strcmp(name, again) == 0);
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
                check_names(&c->services[i]);
        }
        mam_config_dependency_order(c, order);

        nowhere = fopen("/dev/null", "we");
        require(nowhere != NULL);
        output.stream = nowhere;
        require(generate(c, &nothing_deployed, &output) == 0);
        return 0;
}
