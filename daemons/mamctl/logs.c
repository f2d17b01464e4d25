/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal of a service
 *
 * journalctl does the work. It resolves a glob once, when it starts; so for --follow the units are named one
 * by one, up to the highest permitted replica, and replicas that are started later are followed as well.
 */

#include <stdarg.h>
#include <string.h>

#include "mamctl/bus-json.h"
#include "mamctl/logs.h"
#include "mamctl/status.h"
#include "mamctl/verbs.h"

#define REPLICAS_MAX 1000U
#define UNITS_MAX    512U

void logs_command_done(LogsCommand *l) {
        for (size_t i = 0; i < l->n; i++)
                free(l->argv[i]);
        free(l->argv);
        *l = (LogsCommand){ 0 };
}

_printf_(2, 3) static int append(LogsCommand *l, const char *format, ...) {
        va_list arguments;
        char **argv, *text;
        int r;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r < 0)
                return -ENOMEM;

        argv = reallocarray(l->argv, l->n + 2, sizeof(*argv));
        if (!argv) {
                free(text);
                return -ENOMEM;
        }
        l->argv = argv;
        argv[l->n++] = text;
        argv[l->n] = NULL;
        return 0;
}

int logs_split(const char *what, char ret_id[static 32], uint32_t *ret_replica) {
        size_t length = strcspn(what, ":");
        uint32_t replica = 0;
        unsigned long n;
        char *end;

        /* what goes into a glob must not bring wildcards of its own */
        if (length == 0 || length >= 32 || strspn(what, "abcdefghijklmnopqrstuvwxyz0123456789-") != length ||
            *what == '-')
                return -EINVAL;

        if (what[length] == ':') {
                errno = 0;
                n = strtoul(what + length + 1, &end, 10);
                if (errno != 0 || *end || what[length + 1] < '0' || what[length + 1] > '9' || n == 0 ||
                    n > REPLICAS_MAX)
                        return -EINVAL;
                replica = (uint32_t) n;
        }

        memcpy(ret_id, what, length);
        ret_id[length] = '\0';
        *ret_replica = replica;
        return 0;
}

/* One service: each unit by name when following and the number is known, else the glob. */
static int append_units(LogsCommand *l, const char *id, uint32_t replica, uint32_t max_replicas) {
        int r;

        if (replica > 0)
                return append(l, "--unit=mam@%s:%u.service", id, replica);
        if (max_replicas == 0 || max_replicas > REPLICAS_MAX)
                return append(l, "--unit=mam@%s:*.service", id);

        for (uint32_t n = 1; n <= max_replicas; n++) {
                r = append(l, "--unit=mam@%s:%u.service", id, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_everything(LogsCommand *l, json_object *services) {
        uint64_t total = 0;
        int r;

        r = append(l, "--unit=mam-manager.service");
        if (r >= 0)
                r = append(l, "--unit=mam-setup.service");
        if (r < 0)
                return r;

        for (size_t i = 0; i < json_length(services); i++)
                total += json_number(json_object_array_get_idx(services, i), "max_replicas");
        if (total == 0 || total > UNITS_MAX)
                return append(l, "--unit=mam@*.service");

        for (size_t i = 0; i < json_length(services); i++) {
                json_object *s = json_object_array_get_idx(services, i);
                uint64_t max = json_number(s, "max_replicas");

                r = append_units(l, json_text(s, "id"), 0, max < UNITS_MAX ? (uint32_t) max : 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* 'a b' → quoted for the shell that sshd runs the command with. */
static int append_quoted(LogsCommand *l, const char *word) {
        _cleanup_(mam_freep) char *quoted = NULL;
        char *to;

        quoted = malloc(4 * strlen(word) + 3);
        if (!quoted)
                return -ENOMEM;

        to = quoted;
        *to++ = '\'';
        for (const char *from = word; *from; from++) {
                if (*from == '\'') {
                        to = stpcpy(to, "'\\''");
                } else {
                        *to++ = *from;
                }
        }
        *to++ = '\'';
        *to = '\0';
        return append(l, "%s", quoted);
}

static int wrap_in_ssh(LogsCommand *l, const char *host, bool terminal) {
        LogsCommand remote = { 0 };
        int r = 0;

        r = append(&remote, "ssh");
        if (r >= 0) /* a terminal for the pager; else leave standard input to whoever it is meant for */
                r = append(&remote, terminal ? "-t" : "-n");
        if (r >= 0)
                r = append(&remote, "--");
        if (r >= 0)
                r = append(&remote, "%s", host);
        for (size_t i = 0; i < l->n && r >= 0; i++)
                r = append_quoted(&remote, l->argv[i]);
        if (r < 0) {
                logs_command_done(&remote);
                return r;
        }

        logs_command_done(l);
        *l = remote;
        return 0;
}

int logs_command_build(
                LogsCommand *l,
                const Invocation *i,
                const char *id,
                uint32_t replica,
                json_object *services,
                bool terminal) {
        uint64_t max = 0;
        int r;

        r = append(l, "journalctl");
        if (r < 0)
                return r;

        if (i->follow && json_length(services) > 0)
                max = json_number(json_object_array_get_idx(services, 0), "max_replicas");
        r = id ? append_units(l, id, replica, max < UNITS_MAX ? (uint32_t) max : 0)
               : append_everything(l, i->follow ? services : NULL);
        if (r < 0)
                return r;

        if (i->follow)
                r = append(l, "--follow");
        if (r >= 0 && i->lines)
                r = append(l, "--lines=%s", i->lines);
        if (r >= 0 && i->quiet)
                r = append(l, "--quiet");
        if (r >= 0 && i->host)
                r = wrap_in_ssh(l, i->host, terminal);
        return r;
}

ExitCode verb_logs(Client *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(logs_command_done) LogsCommand command = { 0 };
        _cleanup_(json_object_putp) json_object *services = NULL;
        const char *what = c->invocation->arguments[0];
        uint32_t replica = 0;
        char id[32] = "";
        ExitCode e;
        int r;

        r = what ? logs_split(what, id, &replica) : 0;
        if (r < 0) {
                client_complain(c,
                                "'%s' is neither a service nor a replica such as project-manager:2.",
                                what);
                return EXIT_CODE_USAGE;
        }

        /* a name that the manager does not know is a mistake; but the journal can be read without it. With
         * -H ask only once over ssh. */
        e = c->invocation->host ? EXIT_CODE_NO_MANAGER : client_read(c, &reply, "Status", "s", id);
        if (e == EXIT_CODE_NO_SUCH_SERVICE)
                return e;
        if (e == EXIT_CODE_OK) {
                r = status_read_services(reply, &services);
                if (r < 0)
                        return client_bad_reply(c, r);
        } else if (!c->invocation->host && !c->invocation->quiet)
                fprintf(stderr, "Showing the journal as it is.\n");

        r = logs_command_build(
                        &command,
                        c->invocation,
                        what ? id : NULL,
                        replica,
                        services,
                        c->terminal.out && isatty(STDIN_FILENO));
        if (r < 0)
                return client_explain(c, NULL, r, NULL);

        fflush(NULL);
        execvp(command.argv[0], command.argv);
        client_complain(c, "Cannot run %s: %s.", command.argv[0], strerror(errno));
        return EXIT_CODE_FAILURE;
}
