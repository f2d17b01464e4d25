/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where generated units go
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generator/output.h"
#include "libmam/util/macro.h"

static int make_folder_of(int folder_fd, const char *name) {
        const char *slash = strchr(name, '/');
        char folder[256];

        if (!slash)
                return 0;
        if ((size_t) (slash - name) >= sizeof(folder))
                return -ENAMETOOLONG;
        memcpy(folder, name, (size_t) (slash - name));
        folder[slash - name] = '\0';
        if (mkdirat(folder_fd, folder, 0755) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}

int output_file(const Output *o, const char *name, const char *content) {
        _cleanup_(mam_closep) int fd = -EBADF;
        size_t size = strlen(content);
        int r;

        assert(o);
        assert(name);

        if (o->folder_fd < 0)
                return fprintf(o->stream, "# %s\n%s\n", name, content) < 0 ? -EIO : 0;

        r = make_folder_of(o->folder_fd, name);
        if (r < 0)
                return r;
        fd = openat(o->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return -errno;
        while (size > 0) {
                ssize_t n = write(fd, content, size);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                content += n;
                size -= (size_t) n;
        }
        return 0;
}

int output_link(const Output *o, const char *name, const char *target) {
        int r;

        assert(o);
        assert(name);
        assert(target);

        if (o->folder_fd < 0)
                return fprintf(o->stream, "# %s \xe2\x86\x92 %s\n\n", name, target) < 0 ? -EIO : 0;

        r = make_folder_of(o->folder_fd, name);
        if (r < 0)
                return r;
        if (symlinkat(target, o->folder_fd, name) < 0)
                return -errno;
        return 0;
}
