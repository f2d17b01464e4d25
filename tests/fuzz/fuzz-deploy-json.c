/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * deploy.json: the unprivileged manager writes it, root reads it
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/revision.h"
#include "libmam/util/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every result; abort() makes it a finding. */
static void require(bool condition) {
        if (!condition)
                abort();
}

static void check_text(const char *text) {
        require(!text || (text[0] == '/' && !strstr(text, "/../") && !strpbrk(text, " \n%$\"'\\:")));
}

static void check_service(const MamDeployService *s) {
        require(mam_service_id_is_valid(s->id));
        require(s->n_revisions >= 1 && s->n_revisions <= MAM_DEPLOY_REVISIONS_MAX);
        for (size_t i = 0; i < s->n_revisions; i++) {
                const MamRevision *r = &s->revisions[i];

                require(strlen(r->name) == MAM_REVISION_NAME_SIZE - 1 &&
                        strlen(r->definition) == MAM_REVISION_NAME_SIZE - 1);
                require(r->version && (r->version[0] == '\0' || mam_revision_version_is_valid(r->version)));
                check_text(r->exec);
                check_text(r->image);
        }
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX + 1; n++)
                require(mam_deploy_of_replica(s, n) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        int r;

        if (size > MAM_DEPLOY_FILE_MAX)
                return 0;
        r = mam_deploy_parse(&d, (const char *) data, size, &problem);
        require(r == 0 || (r == -EBADMSG && problem));
        for (size_t i = 0; d && i < d->n_services; i++)
                check_service(&d->services[i]);
        return 0;
}
