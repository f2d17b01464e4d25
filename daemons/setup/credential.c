/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Encrypted credentials
 *
 * The secret goes to systemd-creds through a pipe: it never stands in a file, an argument or the
 * environment.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "setup/credential.h"

#define SECRET_BYTES  32U
#define SECRET_MAX    65536U /* also what fits into a pipe, so that writing does not wait for the reader */
#define ENCRYPTED_MAX (1024UL * 1024UL)

static int path_of(char ret[static PATH_MAX], const char *store, const char *name, const char *suffix) {
        return (size_t) snprintf(ret, PATH_MAX, "%s/%s%s", store, name, suffix) < PATH_MAX ? 0
                                                                                           : -ENAMETOOLONG;
}

bool credential_exists(const char *store, const char *name) {
        char path[PATH_MAX];
        struct stat st;

        return path_of(path, store, name, "") == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
               st.st_size > 0;
}

static int wait_for(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return -errno;
        }
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* Runs systemd-creds with the secret as its input. */
static int encrypt_to(const char *path, const void *secret, size_t size) {
        char *argv[] = { (char *) "systemd-creds",
                         (char *) "--with-key=host",
                         (char *) "--name=",
                         (char *) "encrypt",
                         (char *) "-",
                         (char *) path,
                         NULL };
        _cleanup_(mam_closep) int input = -EBADF, output = -EBADF;
        posix_spawn_file_actions_t actions;
        int pipe_fds[2], r, k;
        ssize_t n;
        pid_t pid = -1;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        input = pipe_fds[0];
        output = pipe_fds[1];

        r = posix_spawn_file_actions_init(&actions);
        if (r > 0)
                return -r;
        r = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r > 0)
                return -r;

        n = write(output, secret, size);
        k = n < 0 ? -errno : (size_t) n != size ? -EIO : 0;
        close(MAM_TAKE_FD(output)); /* the end of its input */
        r = wait_for(pid);
        return r < 0 ? r : k;
}

int credential_write(const char *store, const char *name, const void *secret, size_t size) {
        _cleanup_(mam_freep) char *encrypted = NULL;
        char path[PATH_MAX], beside[PATH_MAX];
        size_t encrypted_size;
        int r;

        assert(secret);

        if (size == 0 || size > SECRET_MAX)
                return -EINVAL;
        r = path_of(path, store, name, "");
        if (r < 0)
                return r;
        r = path_of(beside, store, name, ".encrypted~");
        if (r < 0)
                return r;

        /* Two steps, as systemd-creds itself neither syncs nor renames. */
        r = encrypt_to(beside, secret, size);
        if (r == 0)
                r = mam_file_read(&encrypted, &encrypted_size, beside, ENCRYPTED_MAX);
        if (r == 0)
                r = encrypted_size > 0 ? mam_file_write_atomic(path, encrypted, encrypted_size, 0600) : -EIO;
        (void) unlink(beside);
        return r;
}

int credential_write_random(const char *store, const char *name) {
        static const char digits[] = "0123456789abcdef";
        unsigned char bytes[SECRET_BYTES];
        char text[2 * SECRET_BYTES];
        int r;

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
                return errno > 0 ? -errno : -EIO;
        for (size_t i = 0; i < sizeof(bytes); i++) {
                text[2 * i] = digits[bytes[i] >> 4];
                text[2 * i + 1] = digits[bytes[i] & 0xf];
        }
        r = credential_write(store, name, text, sizeof(text));
        explicit_bzero(bytes, sizeof(bytes));
        explicit_bzero(text, sizeof(text));
        return r;
}
