/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between the files of rollouts
 */

#include "libmam/config/revision.h"
#include "manager/manager.h"
#include "manager/rollout.h"

typedef struct DeployOperation DeployOperation;

#define REVISION_WHY_MAX      ROLLOUT_REASON_MAX
#define REVISION_HISTORY_MAX  20U /* kept without being used */
#define DEPLOY_OPERATIONS_MAX 16U

typedef enum RevisionStatus {
        REVISION_CURRENT,
        REVISION_PREVIOUS,
        REVISION_DEPLOYING,
        REVISION_REVERTED,
        _REVISION_STATUS_MAX,
        _REVISION_STATUS_INVALID = -EINVAL,
} RevisionStatus;

typedef struct RevisionRecord {
        char name[MAM_REVISION_NAME_SIZE];
        uint64_t deployed_usec; /* realtime, first */
        RevisionStatus status;
        char why[REVISION_WHY_MAX]; /* it was reverted; else "" */
} RevisionRecord;

/* What systemd's units say of each number. */
typedef struct Assignment {
        char fallback[MAM_REVISION_NAME_SIZE];
        char pinned[MAM_CONFIG_REPLICAS_MAX + 1][MAM_REVISION_NAME_SIZE];
} Assignment;

/* A service that was deployed at least once; its revisions themselves are in the MamDeploy. */
typedef struct Deployed {
        char id[32];
        RevisionRecord records[MAM_DEPLOY_REVISIONS_MAX]; /* newest first */
        size_t n_records;
        Assignment loading, loaded; /* of the daemon-reload under way, of the latest one */
        bool loaded_known;
        struct Deployed *prev, *next;
} Deployed;

typedef struct RolloutWatch {
        RolloutSlotState state;
        RolloutSide side;
        uint64_t since_usec;
        bool known;
        uint32_t deaths;       /* of the replica, when it was begun */
        bool replacing;        /* is to be replaced in place, or is being */
        bool restart_begun;    /* of that: it drains or restarts */
        LoadTotals seen;       /* of the replica's load, what is counted already */
        uint64_t begun_usec;   /* by us; until the gateways were asked after that, what they tell is
                                  still about whoever had the number before; 0: it is not */
        uint64_t traffic_usec; /* when requests first reached it; 0: none did */
} RolloutWatch;

struct Rollout {
        Manager *manager; /* weak */
        Service *service; /* weak: it owns us */
        uint32_t id;
        char from[MAM_REVISION_NAME_SIZE], to[MAM_REVISION_NAME_SIZE];
        uint64_t started_usec; /* realtime */
        RolloutPlan plan;
        bool aborted;
        bool untouched_boot;  /* of another boot: the service may be about to be started by systemd */
        uint64_t loaded_usec; /* when this object was made (monotonic) */
        char why[ROLLOUT_REASON_MAX];     /* it goes back, or is held */
        char waiting[ROLLOUT_REASON_MAX]; /* for what */

        RolloutWatch watches[MAM_CONFIG_REPLICAS_MAX + 1];
        LoadTotals errors[2], latency[2]; /* by RolloutSide, OLD and NEW */
        uint64_t seen_usec;               /* until when the load is known */
        uint64_t asked_usec;              /* of the load that was seen last */
        uint64_t judged_usec;             /* when the load was last counted */
        RolloutVerdict verdict;
        char verdict_reason[128];

        /* announced last */
        char phase_told[16], reason_told[ROLLOUT_REASON_MAX + 32];
        uint32_t step_told, weight_told, updated_told, ready_told, total_told;
};

struct Rollouts {
        Manager *manager;                                 /* weak */
        char *store_path, *deploy_path, *definitions_dir; /* owned */
        MamDeploy *deploy;                                /* owned; as written last */
        Deployed *deployed;                               /* owned list */
        uint32_t last_id;
        bool dirty;      /* rollouts.json is to be written */
        bool assign_due; /* deploy.json may not be what it should */
        bool reload_due;
        bool reload_stored; /* rollouts.json says that systemd may not have loaded deploy.json */
        bool reloading;
        unsigned reload_failures;
        uint64_t retry_usec;         /* nothing is written or reloaded before */
        DeployOperation *operations; /* owned list */
        unsigned n_operations;
};

/* rollout-store.c */
int rollouts_load(Rollouts *rs);
/* <0: told already. */
int rollouts_save(Rollouts *rs);

/* rollout-history.c */
const char *revision_status_to_string(RevisionStatus s);
RevisionStatus revision_status_from_string(const char *s);
Deployed *rollouts_find(const Rollouts *rs, const char *id);
int rollouts_get(Rollouts *rs, const char *id, Deployed **ret, MamDeployService **ret_service);
/* Puts a copy of the revision into deploy.json and on top of the history; drops what is too old. */
int rollouts_add_revision(Rollouts *rs, Deployed *d, MamDeployService *ds, const MamRevision *revision);
void rollouts_set_status(
                Rollouts *rs,
                const char *id,
                const char *revision,
                RevisionStatus status,
                const char *why);

/* rollout-assign.c */
void rollouts_set_fallback(Rollouts *rs, const char *id, const char *revision);
bool rollouts_is_loaded(const Rollouts *rs, const char *id, uint32_t n, const char *revision);
/* What the units say of number n now, "" if that is not known. */
const char *rollouts_loaded(const Rollouts *rs, const char *id, uint32_t n);
void rollouts_assign(Rollouts *rs, uint64_t now_usec, uint64_t *again_usec);

/* rollout-watch.c */
void rollout_watch(Rollout *ro, uint64_t now_usec);
void rollout_view(const Rollout *ro, RolloutView *ret);
void rollout_judge(Rollout *ro, uint64_t now_usec);
void rollout_judge_anew(Rollout *ro);

/* rollout.c */
typedef struct RolloutRequest {
        RolloutPlan plan;
        MamRevision from, to; /* borrowed contents; from without a name: nothing to go back to */
} RolloutRequest;

/* Stored before it returns. The service is usable and has no rollout. Where nothing runs it has ended
 * already afterwards. -EDQUOT: too many revisions are in use. */
int rollout_begin(Service *s, const RolloutRequest *q, uint32_t *ret_id);
const char *rollout_phase(const Rollout *ro);
void rollout_reason(const Rollout *ro, char *ret, size_t size);
void rollout_pause(Rollout *ro);
void rollout_resume(Rollout *ro);
void rollout_abort(Rollout *ro);
/* Tells, and frees. */
void rollout_end(Rollout *ro, const char *result, const char *message);
/* rollout-step.c: notes why it goes back, or is held. */
void rollout_turn_round(Rollout *ro, const RolloutStep *step);
void rollout_count(const Rollout *ro, uint32_t *ret_updated, uint32_t *ret_ready);

/* rollout-bus.c */
int rollout_path_of(uint32_t id, char **ret);
void rollout_emit_new(Manager *m, uint32_t id, const char *service, bool object);
void rollout_emit_removed(
                Manager *m,
                uint32_t id,
                const char *service,
                const char *result,
                const char *message,
                bool object);
void rollout_emit_changes(Rollout *ro);

/* deploy-bus.c: callers that still wait are answered "cancelled". */
void deploy_operations_free(Rollouts *rs);
