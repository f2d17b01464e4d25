/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/test.h"

/* Runs fn with stderr going to a file and returns what it wrote. Caller frees. */
static char *captured(void (*fn)(void)) {
        char path[] = "/tmp/test-log-XXXXXX";
        int fd, saved;
        char *text;
        ssize_t n;

        fd = mkstemp(path);
        ASSERT_OK(fd);
        unlink(path);
        fflush(stderr);
        saved = dup(STDERR_FILENO);
        ASSERT_OK(dup2(fd, STDERR_FILENO));
        fn();
        ASSERT_OK(dup2(saved, STDERR_FILENO));
        close(saved);

        text = calloc(1, 65536);
        ASSERT_TRUE(text);
        n = pread(fd, text, 65535, 0);
        ASSERT_OK(n);
        close(fd);
        return text;
}

static void write_some(void) {
        mam_log_open("test-log");
        mam_info("one %i", 1);
        mam_debug("hidden %i", 2);
        mam_error("three\n<0>forged\x1b[31m");
        mam_log_full(LOG_NOTICE,
                     MAM_MESSAGE_SERVICE_READY,
                     (const char *[]){ "MAM_X=secretless", NULL },
                     "four");
}

TEST(a_plain_stream_gets_one_prefixed_line_per_message) {
        _cleanup_(mam_freep) char *text = NULL;

        unsetenv("JOURNAL_STREAM");
        unsetenv("LOG_LEVEL");
        text = captured(write_some);
        ASSERT_STREQ(text, "<6>one 1\n<3>three <0>forged [31m\n<5>four\n");
}

TEST(debug_shows_fields) {
        _cleanup_(mam_freep) char *text = NULL;

        setenv("LOG_LEVEL", "debug", 1);
        text = captured(write_some);
        unsetenv("LOG_LEVEL");
        ASSERT_STREQ(text, "<6>one 1\n<7>hidden 2\n<3>three <0>forged [31m\n<5>four MAM_X=secretless\n");
}

TEST(a_stream_that_is_not_ours_is_not_the_journal) {
        _cleanup_(mam_freep) char *text = NULL;

        setenv("JOURNAL_STREAM", "1:1", 1);
        text = captured(write_some);
        ASSERT_TRUE(strlen(text) > 0);
        setenv("JOURNAL_STREAM", "nonsense", 1);
        free(text);
        text = captured(write_some);
        ASSERT_TRUE(strlen(text) > 0);
        unsetenv("JOURNAL_STREAM");
}

TEST(levels) {
        setenv("LOG_LEVEL", "bogus", 1);
        mam_log_open("test-log");
        unsetenv("LOG_LEVEL");
        ASSERT_STREQ(mam_log_get_level(), "info");
        ASSERT_OK(mam_log_set_level("WARN"));
        ASSERT_STREQ(mam_log_get_level(), "warn");
        ASSERT_TRUE(mam_log_enabled(LOG_WARNING) && !mam_log_enabled(LOG_NOTICE));
        ASSERT_EQ(mam_log_set_level("loud"), -EINVAL);
        ASSERT_EQ(mam_log_set_level(""), -EINVAL);
        ASSERT_STREQ(mam_log_get_level(), "warn");
        ASSERT_OK(mam_log_set_level("info"));
}

static void write_long_and_errno(void) {
        char big[10000];

        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        mam_log_open("test-log");
        errno = EXDEV;
        mam_info("%s", big);
        ASSERT_EQ(errno, EXDEV);
        ASSERT_EQ(mam_error_errno(-ENOENT, "Cannot open %s", "x"), -ENOENT);
}

TEST(long_messages_are_cut_and_errno_is_kept) {
        _cleanup_(mam_freep) char *text = captured(write_long_and_errno);

        ASSERT_EQ(strcspn(text, "\n"), 3 + 4095);
        ASSERT_STREQ(strchr(text, '\n') + 1, "<3>Cannot open x: No such file or directory\n");
}

/* The journal's socket has a fixed path, so the child gets a /run of its own. Exit 77: that is not allowed
 * here. */
static int journal_child(void) {
        const struct sockaddr_un address = { .sun_family = AF_UNIX,
                                             .sun_path = "/run/systemd/journal/socket" };
        char stream[64], got[8192];
        struct stat st;
        ssize_t n;
        int fd, r = unshare(CLONE_NEWNS);

        if (r < 0)
                r = unshare(CLONE_NEWUSER | CLONE_NEWNS);
        if (r < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
                return 77;
        ASSERT_OK(mkdir("/run/systemd", 0755));
        ASSERT_OK(mkdir("/run/systemd/journal", 0755));
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        ASSERT_OK(bind(fd, (const struct sockaddr *) &address, sizeof(address)));

        ASSERT_OK(fstat(STDERR_FILENO, &st));
        snprintf(stream,
                 sizeof(stream),
                 "%llu:%llu",
                 (unsigned long long) st.st_dev,
                 (unsigned long long) st.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        mam_log_open("test-log");
        mam_log_full(LOG_WARNING,
                     MAM_MESSAGE_SERVICE_FAILED,
                     (const char *[]){ "MAM_SERVICE=x\ny", NULL },
                     "Two\nlines");

        n = recv(fd, got, sizeof(got) - 1, 0);
        ASSERT_TRUE(n > 0);
        /* native protocol: a value with a newline comes as name, newline, 64 bit length, value */
        ASSERT_TRUE(memmem(got, n, "MESSAGE\n\x09\0\0\0\0\0\0\0Two\nlines\n", 26));
        ASSERT_TRUE(memmem(got, n, "PRIORITY=4\n", 11));
        ASSERT_TRUE(memmem(got, n, "SYSLOG_IDENTIFIER=test-log\n", 27));
        ASSERT_TRUE(memmem(got, n, "MESSAGE_ID=" MAM_MESSAGE_SERVICE_FAILED "\n", 44));
        ASSERT_TRUE(memmem(got, n, "MAM_SERVICE\n\x03\0\0\0\0\0\0\0x\ny\n", 24));
        ASSERT_EQ(recv(fd, got, sizeof(got), 0), -1); /* exactly one */
        return 0;
}

TEST(the_journal_gets_fields_natively) {
        int status;
        pid_t pid;

        fflush(NULL);
        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0)
                _exit(journal_child());
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                mam_test_skip("no mount namespace allowed here");
        ASSERT_EQ(status, 0);
}
