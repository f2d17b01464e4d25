/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Credentials (systemd.exec(5), "CREDENTIALS")
 */

#include <assert.h>
#include <malloc.h>
#include <string.h>

#include "libmam/service/service.h"
#include "libmam/util/file.h"

#define CREDENTIAL_MAX 65536U

int mam_credential_read(const char *name, char **ret, size_t *ret_size) {
        _cleanup_(mam_freep) char *path = NULL;
        const char *folder;

        assert(name);
        assert(ret);

        if (*name == '\0' || *name == '.' || strchr(name, '/'))
                return -EINVAL;

        folder = getenv("CREDENTIALS_DIRECTORY");
        if (!folder || *folder != '/')
                return -ENOENT;
        if (asprintf(&path, "%s/%s", folder, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        return mam_file_read(ret, ret_size, path, CREDENTIAL_MAX);
}

char *mam_secret_free(char *secret) {
        if (secret)
                explicit_bzero(secret,
                               malloc_usable_size(secret)); /* all of it: a credential may hold NUL bytes */
        free(secret);
        return NULL;
}
