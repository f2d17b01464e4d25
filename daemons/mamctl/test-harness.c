/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The real mamctl on a real message bus; the test plays the manager
 */

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "mamctl/test-harness.h"

#define ARGUMENTS_MAX 20

static void start_daemon(Fixture *f) {
        char print[32];
        ssize_t n;
        int fds[2];

        ASSERT_OK(pipe2(fds, O_CLOEXEC));
        f->daemon = fork();
        ASSERT_OK(f->daemon);
        if (f->daemon == 0) {
                fcntl(fds[1], F_SETFD, 0);
                snprintf(print, sizeof(print), "--print-address=%d", fds[1]);
                execlp("dbus-daemon",
                       "dbus-daemon",
                       "--session",
                       "--nofork",
                       "--nopidfile",
                       print,
                       (char *) NULL);
                _exit(127);
        }
        close(fds[1]);

        n = read(fds[0], f->address, sizeof(f->address) - 1);
        close(fds[0]);
        ASSERT_TRUE(n > 0);
        f->address[strcspn(f->address, "\n")] = '\0';
        ASSERT_OK(setenv("DBUS_SYSTEM_BUS_ADDRESS", f->address, true));
}

void fixture_setup(Fixture *f, const sd_bus_vtable *vtable) {
        *f = (Fixture){ .result = "done" };
        if (access("/usr/bin/dbus-daemon", X_OK) < 0)
                mam_test_skip("dbus-daemon is not installed");

        ASSERT_OK(sd_event_new(&f->event));
        start_daemon(f);
        if (!vtable)
                return;

        ASSERT_OK(sd_bus_open_system(&f->manager));
        ASSERT_OK(sd_bus_attach_event(f->manager, f->event, 0));
        ASSERT_OK(sd_bus_add_object_vtable(f->manager, NULL, MAM_BUS_PATH, MAM_IFACE_MANAGER, vtable, f));
        ASSERT_OK(sd_bus_request_name(f->manager, MAM_BUS_NAME, 0));
}

void fixture_teardown(Fixture *f) {
        f->manager = sd_bus_flush_close_unref(f->manager);
        f->event = sd_event_unref(f->event);
        ASSERT_OK(kill(f->daemon, SIGTERM));
        ASSERT_EQ(waitpid(f->daemon, NULL, 0), f->daemon);
}

static int on_output(sd_event_source *s, int fd, char *to, size_t *size) {
        ssize_t n;

        n = read(fd, to + *size, OUTPUT_MAX - 1 - *size);
        ASSERT_OK(n);
        if (n == 0)
                return sd_event_source_set_enabled(s, SD_EVENT_OFF);
        *size += (size_t) n;
        to[*size] = '\0';
        return 0;
}

static void interrupt_at(Fixture *f, const char *output) {
        if (!f->interrupt_at || !strstr(output, f->interrupt_at) || f->child <= 0)
                return;
        f->interrupt_at = NULL;
        ASSERT_OK(kill(f->child, SIGINT));
}

static int on_stdout(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Fixture *f = userdata;
        int r;

        r = on_output(s, fd, f->out, &f->n_out);
        interrupt_at(f, f->out);
        return r;
}

static int on_stderr(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Fixture *f = userdata;
        int r;

        r = on_output(s, fd, f->err, &f->n_err);
        interrupt_at(f, f->err);
        return r;
}

static int on_child_exit(sd_event_source *s, const siginfo_t *info, void *userdata) {
        Fixture *f = userdata;

        f->exited = true;
        f->child = 0;
        f->status = info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
        return 0;
}

_Noreturn static void run_child(const char *const *words, int out, int err) {
        const char *argv[ARGUMENTS_MAX + 2] = { getenv("MAMCTL") };
        sigset_t none;

        for (size_t n = 0; n < ARGUMENTS_MAX && words[n]; n++)
                argv[n + 1] = words[n];
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        if (argv[0])
                execv(argv[0], (char **) argv);
        _exit(127);
}

int run_words(Fixture *f, const char *const *words) {
        sd_event_source *exit_source = NULL, *out_source = NULL, *err_source = NULL;
        int out[2], err[2], enabled_out = 1, enabled_err = 1;
        sigset_t mask;

        ASSERT_TRUE(getenv("MAMCTL"));
        f->n_out = f->n_err = 0;
        *f->out = *f->err = '\0';
        f->exited = false;
        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        ASSERT_OK(sigprocmask(SIG_BLOCK, &mask, NULL));
        ASSERT_OK(pipe2(out, O_CLOEXEC));
        ASSERT_OK(pipe2(err, O_CLOEXEC));

        f->child = fork();
        ASSERT_OK(f->child);
        if (f->child == 0)
                run_child(words, out[1], err[1]);
        close(out[1]);
        close(err[1]);

        ASSERT_OK(sd_event_add_child(f->event, &exit_source, f->child, WEXITED, on_child_exit, f));
        ASSERT_OK(sd_event_add_io(f->event, &out_source, out[0], EPOLLIN, on_stdout, f));
        ASSERT_OK(sd_event_add_io(f->event, &err_source, err[0], EPOLLIN, on_stderr, f));
        while (!f->exited || enabled_out || enabled_err) {
                ASSERT_TRUE(sd_event_run(f->event, 20000000) > 0);
                ASSERT_OK(sd_event_source_get_enabled(out_source, &enabled_out));
                ASSERT_OK(sd_event_source_get_enabled(err_source, &enabled_err));
        }

        sd_event_source_unref(exit_source);
        sd_event_source_unref(out_source);
        sd_event_source_unref(err_source);
        close(out[0]);
        close(err[0]);
        return f->status;
}

json_object *parse_output(const Fixture *f) {
        json_object *o = json_tokener_parse(f->out);

        if (!o)
                mam_test_fail_string(__FILE__, __LINE__, "output is JSON", f->out);
        return o;
}
