/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Rollouts: bringing the replicas of a service from one revision to another
 *
 * rollout-plan.h decides, rollout-judge.h compares the revisions by what the gateways saw; here the steps
 * are carried out with the means that scaling uses: numbers are wanted or not. What a number runs is written
 * to deploy.json, which the generator turns into units at a daemon-reload; so no replica of a deployed
 * service is started before systemd has loaded what says which revision it is to be (rollout_may_start()).
 *
 * rollouts.json (history, rollouts under way) is written before anything is done; deploy.json follows from
 * it and from what runs. A manager that is killed at any instant goes on where it was.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "manager/autoscale.h"
#include "manager/rollout-plan.h"
#include "manager/service.h"

typedef struct ManagerOptions ManagerOptions;
typedef struct Rollout Rollout;
typedef struct Rollouts Rollouts;

/* After the configuration was read. */
int rollouts_new(Rollouts **ret, Manager *m, const ManagerOptions *options);
Rollouts *rollouts_free(Rollouts *rs);
MAM_DEFINE_CLEANUP(Rollouts, rollouts_free);
Rollout *rollout_free(Rollout *ro);

/* First in a pass: carries out what is due, and stores it. Lowers *again_usec. */
void rollouts_step(Manager *m, uint64_t now_usec, uint64_t *again_usec);
/* Last in a pass: tells what changed of rollouts. */
void rollouts_publish(Manager *m);

/* What the service's replicas run, or are to run; "" if it follows its configuration. */
const char *service_revision(const Service *s);
const char *service_version(const Service *s);
/* What replica n of it runs if it was started as the units are now; "" if the service follows its
 * configuration. */
const char *rollout_assigned(const Service *s, uint32_t n);
/* A number that does not run yet is wanted: outside of a rollout it gets the service's revision. */
void rollout_note_wanted(Replica *r);
/* systemd knows what it is to run. False: a pass will come when it does. */
bool rollout_may_start(const Replica *r);

/* Replicas that somebody wants, which is not how many there are meanwhile. */
uint32_t rollout_wanted(const Rollout *ro);
void rollout_set_wanted(Rollout *ro, uint32_t count);

/* Shares of the requests for the two revisions of a rollout, in thousandths. False: no split. Strings are
 * borrowed. */
bool rollout_split(
                const Service *s,
                const char **ret_old,
                uint32_t *ret_old_share,
                const char **ret_new,
                uint32_t *ret_new_share);
/* Why its replicas run what they run. */
void rollout_explain(Service *s, DecisionRecord *ret);

/* rollout-bus.c, deploy-bus.c */
int rollout_export(Manager *m);
/* ro NULL: "/". */
int rollout_path(const Rollout *ro, char **ret);
int manager_bus_deploy(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_get_rollout(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_list_revisions(sd_bus_message *message, void *userdata, sd_bus_error *error);
/* A job of systemd's has ended: a Deploy may have waited for it. */
void deploy_job_removed(Manager *m, uint32_t job, const char *result);
