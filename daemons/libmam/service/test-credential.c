/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>

#include "libmam/service/service.h"
#include "libmam/util/file.h"
#include "libmam/util/test.h"

TEST(credentials_are_read_whole_and_only_from_their_folder) {
        char folder[] = "/tmp/test-credential-XXXXXX", path[128];
        char *big = calloc(1, 70000), *secret = NULL;
        size_t size = 0;

        ASSERT_TRUE(big);
        unsetenv("CREDENTIALS_DIRECTORY");
        ASSERT_EQ(mam_credential_read("x", &secret, &size), -ENOENT);
        setenv("CREDENTIALS_DIRECTORY", "relative", 1);
        ASSERT_EQ(mam_credential_read("x", &secret, &size), -ENOENT);

        ASSERT_TRUE(mkdtemp(folder));
        setenv("CREDENTIALS_DIRECTORY", folder, 1);
        ASSERT_EQ(mam_credential_read("x", &secret, &size), -ENOENT);
        snprintf(path, sizeof(path), "%s/x", folder);
        ASSERT_OK(mam_file_write_atomic(path, "se\0cret", 7, 0600));
        ASSERT_OK(mam_credential_read("x", &secret, &size));
        ASSERT_EQ(size, 7);
        ASSERT_TRUE(memcmp(secret, "se\0cret", 8) == 0);
        secret = mam_secret_free(secret);
        ASSERT_TRUE(!secret);

        ASSERT_OK(mam_file_write_atomic(path, big, 65536, 0600));
        ASSERT_OK(mam_credential_read("x", &secret, NULL));
        secret = mam_secret_free(secret);
        ASSERT_OK(mam_file_write_atomic(path, big, 65537, 0600));
        ASSERT_EQ(mam_credential_read("x", &secret, &size), -EFBIG);

        ASSERT_EQ(mam_credential_read("../x", &secret, &size), -EINVAL);
        ASSERT_EQ(mam_credential_read("..", &secret, &size), -EINVAL);
        ASSERT_EQ(mam_credential_read("", &secret, &size), -EINVAL);
        ASSERT_TRUE(!secret);
        unlink(path);
        rmdir(folder);
        unsetenv("CREDENTIALS_DIRECTORY");
        free(big);
}
