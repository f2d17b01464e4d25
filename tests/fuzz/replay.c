/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plain driver for a fuzz target: feeds it every file of the corpus folder named on the command line, so
 * that each past finding stays a test with any compiler.
 */

#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void closedirp(DIR **d) {
        if (*d)
                closedir(*d);
}

int main(int argc, char **argv) {
        _cleanup_(closedirp) DIR *d = NULL;
        struct dirent *e;
        unsigned n = 0;
        int r;

        if (argc != 2) {
                fprintf(stderr, "Usage: %s CORPUS-FOLDER\n", argv[0]);
                return 2;
        }

        d = opendir(argv[1]);
        if (!d) {
                fprintf(stderr, "Cannot open '%s': %s\n", argv[1], strerror(errno));
                return 1;
        }

        while ((e = readdir(d))) {
                _cleanup_(mam_freep) char *data = NULL;
                char path[PATH_MAX];
                size_t size;

                if (e->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof(path), "%s/%s", argv[1], e->d_name);
                r = mam_file_read(&data, &size, path, 16U * 1024U * 1024U);
                if (r < 0) {
                        fprintf(stderr, "Cannot read '%s': %s\n", path, strerror(-r));
                        return 1;
                }
                (void) LLVMFuzzerTestOneInput((const uint8_t *) data, size);
                n++;
        }

        printf("%u inputs replayed\n", n);
        return n > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
