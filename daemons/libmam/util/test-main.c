/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/util/test.h"

int main(int argc, char **argv) {
        return mam_test_main(argc, argv);
}
