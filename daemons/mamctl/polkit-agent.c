/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asking for a password on the terminal
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "libmam/util/macro.h"
#include "mamctl/polkit-agent.h"

#define PKTTYAGENT             "/usr/bin/pkttyagent"
#define REGISTER_TIMEOUT_MSECS 5000

/* In the child; fd says "registered" by being closed. */
_Noreturn static void run_agent(int fd) {
        char number[16];
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);

        if (fcntl(fd, F_SETFD, 0) < 0)
                _exit(EXIT_FAILURE);
        snprintf(number, sizeof(number), "%d", fd);
        execl(PKTTYAGENT, PKTTYAGENT, "--notify-fd", number, "--fallback", (char *) NULL);
        _exit(EXIT_FAILURE);
}

void polkit_agent_start(PolkitAgent *a) {
        _cleanup_(mam_closep) int read_end = -EBADF, write_end = -EBADF;
        struct pollfd p;
        int fds[2];
        pid_t pid;

        if (a->pid > 0 || geteuid() == 0)
                return;
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO) || access(PKTTYAGENT, X_OK) < 0)
                return;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        read_end = fds[0];
        write_end = fds[1];

        pid = fork();
        if (pid < 0)
                return;
        if (pid == 0)
                run_agent(write_end);

        a->pid = pid;
        close(MAM_TAKE_FD(write_end));

        p = (struct pollfd){ .fd = read_end, .events = POLLIN };
        (void) poll(&p, 1, REGISTER_TIMEOUT_MSECS);
}

void polkit_agent_stop(PolkitAgent *a) {
        if (a->pid <= 0)
                return;

        (void) kill(a->pid, SIGTERM);
        (void) kill(a->pid, SIGCONT);
        while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        a->pid = 0;
}
