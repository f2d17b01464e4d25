/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Waiting for something that the manager works on
 *
 * Subscribe first, then call the method that begins it, then wait: it may be over before its path is known
 * here. Progress goes to stderr: one line that is redrawn on a terminal, else a line now and then. A Wait is
 * part of what waits for a job or a rollout, which knows what the signals mean.
 */

#include <systemd/sd-event.h>

#include "mamctl/client.h"

typedef struct Wait Wait;

/* What differs between jobs and rollouts. */
typedef struct WaitInfo {
        const char *noun;  /* "job": in "The job goes on." */
        const char *where; /* the command that tells how far it is, "mamctl status" */
        /* A person presses Ctrl-C. Either finishes the wait, or asks for an end and waits for that. */
        int (*on_interrupt)(Wait *w, int signal_number);
        /* Each turn of the clock, about twice a second on a terminal; or NULL. */
        int (*on_tick)(Wait *w);
} WaitInfo;

struct Wait {
        const WaitInfo *info;       /* borrowed: a literal */
        Client *client;             /* borrowed */
        const char *verb, *service; /* borrowed; service "" is all */
        sd_event *event;            /* owned */
        sd_bus_slot *owner_slot;    /* owned */
        char *path;                 /* owned; known after the call */
        char *last;                 /* owned; the last progress text */
        uint32_t done, total;
        uint64_t since_usec; /* monotonic */
        bool drawn;          /* a progress line stands on the terminal */
        bool line_due;       /* no terminal: there is progress that no line tells yet */
        uint32_t line_done;  /* what the last line told */
        uint64_t line_usec;  /* monotonic; 0: there was no line */
        char *result;        /* owned; how it ended, in the manager's word */
        char *message;       /* owned; why */
        ExitCode exit;       /* valid once the loop has ended */
};

/* The client is connected. On failure there is nothing to undo but wait_done(). */
int wait_init(Wait *w, const WaitInfo *info, Client *client, const char *verb, const char *service);
void wait_done(Wait *w);

/* Is the signal about what is waited for? Never before the path is known. */
bool wait_is_about(const Wait *w, const char *path);
/* text: as the manager sent it. */
void wait_progress(Wait *w, uint32_t done, uint32_t total, const char *text);
/* The manager's last word: kept, and the loop ends. */
int wait_ended(Wait *w, const char *result, const char *message, ExitCode e);
/* Ends the loop. */
int wait_finish(Wait *w, ExitCode e);
/* Takes the progress line off the terminal, before anything else is printed. */
void wait_erase(Wait *w);

/* Until the loop ends: w->exit, with w->result where the manager had its last word. What else went wrong was
 * told. */
ExitCode wait_run(Wait *w, const char *path);

/* {kind, verb, service, result, message} on stdout. kind: the key of the path. */
ExitCode wait_print_json(const Wait *w, const char *kind);
