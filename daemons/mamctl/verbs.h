/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What mamctl does, one function per command
 *
 * Each takes what the command line says from client->invocation.
 */

#include "mamctl/client.h"

/* control.c */
ExitCode verb_init(Client *c);
ExitCode verb_start(Client *c);
ExitCode verb_stop(Client *c);
ExitCode verb_restart(Client *c);
ExitCode verb_scale(Client *c);

/* limits.c */
ExitCode verb_limits(Client *c);

/* autoscale.c */
ExitCode verb_autoscale(Client *c);

/* deploy.c */
ExitCode verb_deploy(Client *c);
ExitCode verb_undo(Client *c);

/* rollout.c */
ExitCode verb_rollout(Client *c);

/* history.c */
ExitCode verb_history(Client *c);

/* explain.c */
ExitCode verb_explain(Client *c);
ExitCode verb_plan(Client *c);
ExitCode verb_alerts(Client *c);

/* events.c */
ExitCode verb_events(Client *c);

/* chaos.c */
ExitCode verb_chaos(Client *c);

/* verb-graph.c */
ExitCode verb_graph(Client *c);

/* top.c */
ExitCode verb_top(Client *c);

/* show.c */
ExitCode verb_list(Client *c);
ExitCode verb_health(Client *c);
ExitCode verb_endpoints(Client *c);
ExitCode verb_version(Client *c);

/* export.c */
ExitCode verb_export(Client *c);

/* gateway.c */
ExitCode verb_gateway(Client *c);

/* metrics.c */
ExitCode verb_metrics(Client *c);

/* status.c */
ExitCode verb_status(Client *c);

/* logs.c: does not return on success, since journalctl takes over */
ExitCode verb_logs(Client *c);

/* token.c */
ExitCode verb_token(Client *c);

/* key.c */
ExitCode verb_key(Client *c);

/* complete.c */
ExitCode verb_complete(Client *c);
