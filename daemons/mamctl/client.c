/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Talking to mam-manager
 */

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"
#include "mamctl/client.h"
#include "mamctl/suggest.h"
#include "mamctl/text.h"

#define CALL_TIMEOUT_USEC (60 * MAM_USEC_PER_SEC)
#define ASK_TIMEOUT_USEC  (300 * MAM_USEC_PER_SEC) /* a person may have to find a password */
#define NAMES_MAX         1024U

void client_init(Client *c, const Invocation *invocation) {
        *c = (Client){ .invocation = invocation };
        terminal_probe(&c->terminal);
}

void client_done(Client *c) {
        polkit_agent_stop(&c->agent);
        c->bus = sd_bus_flush_close_unref(c->bus);
}

void client_complain(const Client *c, const char *format, ...) {
        _cleanup_(mam_freep) char *text = NULL, *clean = NULL;
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r < 0) {
                text = NULL;
                return;
        }

        clean = text_clean(text);
        fflush(stdout);
        fprintf(stderr,
                "%smamctl: %s%s\n",
                colour_start(c->terminal.err_colour, COLOUR_RED),
                clean ? clean : "out of memory",
                colour_end(c->terminal.err_colour, COLOUR_RED));
}

void client_say(const Client *c, const char *format, ...) {
        _cleanup_(mam_freep) char *text = NULL, *clean = NULL;
        va_list arguments;
        int r;

        if (c->invocation->quiet || c->invocation->json)
                return;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r < 0) {
                text = NULL;
                return;
        }

        clean = text_clean(text);
        if (clean)
                puts(clean);
}

ExitCode client_connect(Client *c) {
        const char *host = c->invocation->host;
        int r;

        if (c->bus)
                return EXIT_CODE_OK;

        r = host ? sd_bus_open_system_remote(&c->bus, host) : sd_bus_open_system(&c->bus);
        if (r >= 0)
                return EXIT_CODE_OK;

        if (host) {
                client_complain(c, "Cannot reach the system bus of %s over ssh: %s.", host, strerror(-r));
        } else {
                client_complain(c,
                                "Cannot connect to the system bus: %s. Is dbus running? Try 'systemctl status dbus.socket'.",
                                strerror(-r));
        }
        return EXIT_CODE_NO_MANAGER;
}

/* The service that a message asks for: its first argument, if that is a string. Borrowed from the message.
 */
static const char *asked_service(sd_bus_message *m) {
        const char *service;

        if (sd_bus_message_rewind(m, true) < 0 || sd_bus_message_read_basic(m, 's', &service) <= 0)
                return NULL;
        return *service ? service : NULL;
}

ExitCode client_new_call(Client *c, sd_bus_message **ret, const char *method) {
        ExitCode e;
        int r;

        e = client_connect(c);
        if (e != EXIT_CODE_OK)
                return e;

        r = sd_bus_message_new_method_call(
                        c->bus,
                        ret,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        method);
        return r < 0 ? client_explain(c, NULL, r, NULL) : EXIT_CODE_OK;
}

ExitCode client_send(Client *c, sd_bus_message *m, bool act, sd_bus_message **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        bool ask = act && !c->invocation->no_ask_password;
        int r;

        r = sd_bus_message_set_allow_interactive_authorization(m, ask);
        if (r < 0)
                return client_explain(c, NULL, r, NULL);
        if (ask && !c->invocation->host)
                polkit_agent_start(&c->agent);

        r = sd_bus_call(c->bus, m, c->agent.pid > 0 ? ASK_TIMEOUT_USEC : CALL_TIMEOUT_USEC, &error, &reply);
        if (r < 0)
                return client_explain(c, &error, r, asked_service(m));

        if (ret)
                *ret = MAM_TAKE(reply);
        return EXIT_CODE_OK;
}

static ExitCode client_call(
                Client *c,
                sd_bus_message **ret,
                bool act,
                const char *method,
                const char *types,
                va_list arguments) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        ExitCode e;
        int r;

        e = client_new_call(c, &m, method);
        if (e != EXIT_CODE_OK)
                return e;

        r = *types ? sd_bus_message_appendv(m, types, arguments) : 0;
        return r < 0 ? client_explain(c, NULL, r, NULL) : client_send(c, m, act, ret);
}

ExitCode client_read(Client *c, sd_bus_message **ret, const char *method, const char *types, ...) {
        va_list arguments;
        ExitCode e;

        va_start(arguments, types);
        e = client_call(c, ret, false, method, types, arguments);
        va_end(arguments);
        return e;
}

ExitCode client_act(Client *c, sd_bus_message **ret, const char *method, const char *types, ...) {
        va_list arguments;
        ExitCode e;

        va_start(arguments, types);
        e = client_call(c, ret, true, method, types, arguments);
        va_end(arguments);
        return e;
}

static ExitCode explain_no_manager(Client *c, const sd_bus_error *error) {
        const char *host = c->invocation->host;

        client_complain(c,
                        "Cannot reach mam-manager on the system bus%s%s: is it installed? Try '%s%ssystemctl status mam-manager'.%s%s%s",
                        host ? " of " : "",
                        host ? host : "",
                        host ? "ssh " : "",
                        host ? host : "",
                        error->message ? " (" : "",
                        error->message ? error->message : "",
                        error->message ? ")" : "");
        return EXIT_CODE_NO_MANAGER;
}

static ExitCode explain_access(Client *c, const sd_bus_error *error) {
        const Command *command = c->invocation->command;
        const char *action = command->action ? command->action : "inspect";

        client_complain(c,
                        "Access denied%s%s%s. Try 'sudo mamctl %s', or ask the administrator for the polkit action org.manageragent.manager1.%s.",
                        error->message ? " (" : "",
                        error->message ? error->message : "",
                        error->message ? ")" : "",
                        command->name,
                        action);
        return EXIT_CODE_ACCESS_DENIED;
}

static ExitCode explain_no_service(Client *c, const sd_bus_error *error, const char *service) {
        _cleanup_(client_names_freep) char **names = NULL;
        _cleanup_(mam_freep) char *list = NULL;
        const char *nearest;
        size_t n = 0, size;
        FILE *f;

        if (!service || client_service_names(c, &names, &n, true) < 0 || n == 0) {
                client_complain(c, "%s", error->message ? error->message : "No such service.");
                return EXIT_CODE_NO_SUCH_SERVICE;
        }

        f = open_memstream(&list, &size);
        if (f) {
                for (size_t i = 0; i < n; i++)
                        fprintf(f, "%s%s", i > 0 ? ", " : "", names[i]);
                fclose(f);
        }

        nearest = suggest_nearest(service, (const char *const *) names, n);
        client_complain(c,
                        "There is no service '%s'.%s%s%s Services: %s.",
                        service,
                        nearest ? " Did you mean '" : "",
                        nearest ? nearest : "",
                        nearest ? "'?" : "",
                        list ? list : "");
        return EXIT_CODE_NO_SUCH_SERVICE;
}

static bool error_is_one_of(const sd_bus_error *error, const char *const *names, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (sd_bus_error_has_name(error, names[i]))
                        return true;
        }
        return false;
}

ExitCode client_explain(Client *c, const sd_bus_error *error, int r, const char *service) {
        static const char *const gone[] = {
                SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_NO_REPLY,
                SD_BUS_ERROR_DISCONNECTED,    SD_BUS_ERROR_NO_SERVER,
        };
        static const char *const denied[] = {
                SD_BUS_ERROR_ACCESS_DENIED,
                SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
        };
        static const char activation[] = "org.freedesktop.systemd1.",
                          spawn[] = "org.freedesktop.DBus.Error.Spawn.";
        static const sd_bus_error none = SD_BUS_ERROR_NULL;

        if (!error)
                error = &none;

        if (error_is_one_of(error, denied, MAM_ELEMENTSOF(denied)))
                return explain_access(c, error);
        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_NO_SUCH_SERVICE))
                return explain_no_service(c, error, service);
        if (error_is_one_of(error, gone, MAM_ELEMENTSOF(gone)))
                return explain_no_manager(c, error);
        /* bus activation failed: systemd's or dbus-daemon's own word */
        if (error->name && (strncmp(error->name, activation, strlen(activation)) == 0 ||
                            strncmp(error->name, spawn, strlen(spawn)) == 0))
                return explain_no_manager(c, error);
        if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE) {
                if (c->invocation->host) {
                        client_complain(c,
                                        "The connection to %s was lost, or ssh could not make it.",
                                        c->invocation->host);
                } else {
                        client_complain(c, "The connection to the system bus was lost.");
                }
                return EXIT_CODE_NO_MANAGER;
        }
        if (r == -ETIMEDOUT || sd_bus_error_has_name(error, SD_BUS_ERROR_TIMEOUT)) {
                client_complain(c,
                                "mam-manager did not answer in time. Try 'systemctl status mam-manager'.");
                return EXIT_CODE_TIMEOUT;
        }
        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_NOT_INITIALIZED)) {
                client_complain(c, "mam is not initialized yet: run 'mamctl init' first.");
                return EXIT_CODE_FAILURE;
        }

        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_BUSY) && service && error->message &&
            c->invocation->command->options & OPTION_BIT(OPTION_STRATEGY)) {
                client_complain(c,
                                "%s. 'mamctl rollout status %s' shows it, 'mamctl rollout abort %s' ends it.",
                                error->message,
                                service,
                                service);
                return EXIT_CODE_FAILURE;
        }

        client_complain(c, "%s", error->message && *error->message ? error->message : strerror(-r));
        return EXIT_CODE_FAILURE;
}

ExitCode client_bad_reply(const Client *c, int r) {
        client_complain(c,
                        "Cannot read the answer of mam-manager: %s. Are mamctl and mam-manager of the same version?",
                        strerror(-r));
        return EXIT_CODE_FAILURE;
}

char **client_names_free(char **names) {
        for (char **n = names; n && *n; n++)
                free(*n);
        free(names);
        return NULL;
}

static int read_names(sd_bus_message *reply, char ***ret, size_t *ret_n) {
        _cleanup_(client_names_freep) char **names = NULL;
        const char *id;
        size_t n = 0;
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "(ssssuuuo)");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_read(
                                reply,
                                "(ssssuuuo)",
                                &id,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL)) > 0) {
                char **more;

                if (n >= NAMES_MAX)
                        return -E2BIG;
                more = reallocarray(names, n + 2, sizeof(*names));
                if (!more)
                        return -ENOMEM;
                names = more;
                names[n + 1] = NULL;
                names[n] = strdup(id);
                if (!names[n])
                        return -ENOMEM;
                n++;
        }
        if (r < 0)
                return r;

        *ret = MAM_TAKE(names);
        *ret_n = n;
        return 0;
}

int client_service_names(Client *c, char ***ret, size_t *ret_n, bool may_start_manager) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        int r;

        if (!c->bus) {
                r = sd_bus_open_system(&c->bus);
                if (r < 0)
                        return r;
        }

        r = sd_bus_message_new_method_call(
                        c->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "List");
        if (r < 0)
                return r;
        r = sd_bus_message_set_auto_start(m, may_start_manager);
        if (r < 0)
                return r;
        r = sd_bus_call(c->bus, m, CLIENT_COMPLETE_TIMEOUT_USEC, NULL, &reply);
        if (r < 0)
                return r;
        return read_names(reply, ret, ret_n);
}

ExitCode client_print_json(const Client *c, json_object *o) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
        const char *text;

        if (c->terminal.out)
                flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
        text = json_object_to_json_string_ext(o, flags);
        if (!text) {
                client_complain(c, "Out of memory.");
                return EXIT_CODE_FAILURE;
        }
        puts(text);
        return EXIT_CODE_OK;
}

ExitCode client_print_json_list(const Client *c, const char *key, json_object *list) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        o = json_object_new_object();
        if (!o || json_object_object_add(o, key, json_object_get(list)) < 0) {
                client_complain(c, "Out of memory.");
                return EXIT_CODE_FAILURE;
        }
        return client_print_json(c, o);
}
