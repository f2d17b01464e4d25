/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A token in plain text moves from microservices.json to a credential
 *
 * First the credential, then the file: if we are stopped in between, the next run does both again.
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libmam/config/config.h"
#include "libmam/json/json.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "setup/credential.h"
#include "setup/token.h"

#define REFERENCE "credential:registry.token"

/* The token, borrowed from root, or NULL. */
static const char *find_token(json_object *root) {
        json_object *registry = NULL;
        const char *token = NULL;

        if (mam_json_get_object(root, "", "registry", &registry, NULL) <= 0)
                return NULL;
        if (mam_json_get_string(registry, "/registry", "token", &token, NULL) <= 0)
                return NULL;
        return token[0] == '\0' || strncmp(token, "credential:", 11) == 0 ? NULL : token;
}

static int replace(const char *path, const char *text, size_t size, size_t start, size_t end) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *again = NULL;
        char real[PATH_MAX];
        size_t again_size;
        struct stat st;
        int r;

        r = mam_buffer_append(&b, text, start);
        if (r < 0)
                return r;
        r = mam_buffer_append_string(&b, "\"" REFERENCE "\"");
        if (r < 0)
                return r;
        r = mam_buffer_append(&b, text + end, size - end);
        if (r < 0)
                return r;

        if (!realpath(path, real) || stat(real, &st) < 0) /* a link stays a link */
                return -errno;
        r = mam_file_read(&again, &again_size, real, MAM_CONFIG_FILE_MAX);
        if (r < 0)
                return r;
        if (again_size != size || memcmp(again, text, size) != 0)
                return -EAGAIN; /* somebody is editing it; the next change runs us again */
        return mam_file_write_atomic(real, mam_buffer_bytes(&b), b.size, st.st_mode & 07777);
}

int token_move(const char *microservices_json, const char *store) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        size_t size, start, end;
        const char *token;
        int r;

        assert(microservices_json);
        assert(store);

        r = mam_file_read(&text, &size, microservices_json, MAM_CONFIG_FILE_MAX);
        if (r < 0) {
                return r == -ENOENT || r == -EFBIG || r == -EISDIR
                                       ? 0
                                       : r; /* reported with the rest of the configuration */
        }
        r = mam_json_parse(&root, text, size, NULL);
        if (r < 0)
                return r == -EBADMSG ? 0 : r;
        token = find_token(root);
        if (!token)
                return 0;
        r = mam_json_find(text, size, "/registry/token", &start, &end);
        if (r < 0)
                return r;

        r = credential_write(store, "mam.registry.token", token, strlen(token));
        if (r < 0)
                return r;
        r = replace(microservices_json, text, size, start, end);
        return r < 0 ? r : 1;
}
