/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 *     powercut take ROOT IMAGE          what is below ROOT now is durable; programs may start with the shim
 *     powercut cut ROOT IMAGE [SEED]    all programs are dead: makes ROOT what a disk would have kept. With
 *                                       SEED, sectors that were not synced have got there by chance
 *
 * As the user whose files they are, or root.
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"

int main(int argc, char **argv) {
        uint64_t seed = 0;
        struct stat st;
        int r;

        if (argc < 4 || argc > 5 || (strcmp(argv[1], "take") != 0 && strcmp(argv[1], "cut") != 0)) {
                fprintf(stderr, "usage: powercut take|cut ROOT IMAGE [SEED]\n");
                return 2;
        }
        /* Its files belong to whom the root belongs, as the programs write there too. */
        if (stat(argv[2], &st) < 0 ||
            (geteuid() == 0 && st.st_uid != 0 && (setgid(st.st_gid) < 0 || setuid(st.st_uid) < 0))) {
                perror(argv[2]);
                return 1;
        }

        r = image_open(argv[2], argv[3]);
        if (r == 0 && strcmp(argv[1], "cut") == 0) {
                if (argc == 5)
                        seed = strtoull(argv[4], NULL, 10);
                r = image_cut(argc == 5 ? &seed : NULL);
        }
        if (r == 0)
                r = image_take();
        if (r < 0) {
                fprintf(stderr, "powercut: %s: %s\n", argv[1], strerror(-r));
                return 1;
        }
        return 0;
}
