/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Revisions: what a replica runs
 *
 * A revision is the part of a definition that needs a new process to change: program, arguments,
 * environment, user and notify, with what a rollout put in its place (version, program, image). Its name is
 * a hash of all of it, so a revision never changes. Limits, numbers, ports, sockets and health checks do not
 * belong to it.
 *
 * Three parties work together, so that the unprivileged manager cannot make root run what root does not
 * know:
 * - mam-setup (root) keeps every valid definition that it has seen, canonical, as
 *   /var/lib/mam/definitions/ID/HASH.json: the newest MAM_DEFINITIONS_KEPT, and those that deploy.json
 * names;
 * - the manager says in /var/lib/mam/manager/deploy.json which revision of which definition each replica is
 *   to run;
 * - the generator (root) checks both and writes the drop-ins.
 * A program or image must be an absolute path that root owns with all its folders, and that nobody else can
 * write.
 *
 * {version} in exec[0] of a definition stands for the version, and for "current" where there is none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "libmam/config/config.h"

#define MAM_REVISION_NAME_SIZE   13U /* 12 hex digits and NUL */
#define MAM_DEFINITIONS_KEPT     20U
#define MAM_DEPLOY_REVISIONS_MAX 32U /* per service */
#define MAM_DEPLOY_FILE_MAX      ((size_t) 4 * 1024 * 1024)
#define MAM_DEFINITIONS_DIR      "/var/lib/mam/definitions"
#define MAM_DEPLOY_PATH          "/var/lib/mam/manager/deploy.json"

typedef struct MamRevision {
        char name[MAM_REVISION_NAME_SIZE];
        char definition[MAM_REVISION_NAME_SIZE]; /* mam_definition_name() */
        char *version;                           /* owned; "" if none */
        char *exec;                              /* owned; path in place of exec[0], or NULL */
        char *image;                             /* owned; folder, or NULL */
} MamRevision;

typedef struct MamDeployService {
        char id[32];
        MamRevision *revisions; /* owned */
        size_t n_revisions;
        char fallback[MAM_REVISION_NAME_SIZE]; /* of replicas that are not pinned; "" never: the service
                                                  would not be here */
        char pinned[MAM_CONFIG_REPLICAS_MAX + 1][MAM_REVISION_NAME_SIZE]; /* by number; "": not pinned */
} MamDeployService;

typedef struct MamDeploy {
        MamDeployService *services; /* owned */
        size_t n_services;
} MamDeploy;

/* {"version":1,"services":{"ID":{"default":NAME,"revisions":{NAME:{"definition":NAME,"version":…,"exec":…,
 * "image":…}},"replicas":{"2":NAME}}}}. -ENOENT: no file. -EBADMSG: not understood, *ret_problem (owned by
 * the caller; may be NULL) says what and where. Symlinks are refused. */
int mam_deploy_load(MamDeploy **ret, const char *path, char **ret_problem);
/* The same for a text. */
int mam_deploy_parse(MamDeploy **ret, const char *text, size_t size, char **ret_problem);
/* Written whole or not at all, and synced. */
int mam_deploy_save(const MamDeploy *d, const char *path);
int mam_deploy_new(MamDeploy **ret);
MamDeploy *mam_deploy_free(MamDeploy *d);
MAM_DEFINE_CLEANUP(MamDeploy, mam_deploy_free);
/* Borrowed, or NULL. */
MamDeployService *mam_deploy_find(const MamDeploy *d, const char *id);
/* Made if missing. -EDQUOT. */
int mam_deploy_get(MamDeployService **ret, MamDeploy *d, const char *id);
void mam_deploy_remove(MamDeploy *d, const char *id);
const MamRevision *mam_deploy_revision(const MamDeployService *s, const char *name);
/* What replica n is to run: pinned, or the fallback. Borrowed; NULL: not known. */
const MamRevision *mam_deploy_of_replica(const MamDeployService *s, uint32_t n);

/* A label such as "2.3.1": up to 64 letters, digits and ._+~-, beginning with a letter or digit. */
bool mam_revision_version_is_valid(const char *version);

/* {"<id>":{…}} with all keys sorted: what the definitions folder keeps. Caller frees. */
int mam_definition_canonical(char **ret, const MamServiceConfig *s);
/* Hash of a definition as it stands in its file, canonical (keys sorted, compact). */
int mam_definition_name(char ret[static MAM_REVISION_NAME_SIZE], const MamServiceConfig *s);
/* Name of the revision that definition s becomes with these; NULL or "" where there is none. -EINVAL: not a
 * version, or not a clean absolute path. */
int mam_revision_name(
                char ret[static MAM_REVISION_NAME_SIZE],
                const MamServiceConfig *s,
                const char *version,
                const char *exec,
                const char *image);

/* What a replica of the service is to run: *ret is a copy of current with program, arguments, environment,
 * user, notify of the revision's definition, read from definitions_dir, and the revision's program in place.
 * Caller frees with mam_service_config_free(). -ENOENT: no such definition. -EBADMSG: it is not valid any
 * more, or its name does not match what it holds. -EPERM: program or image may not be used. -EXDEV: it takes
 * its sockets in another way than current. *ret_problem (owned by the caller) says it for people. */
int mam_revision_apply(
                MamServiceConfig **ret,
                const MamServiceConfig *current,
                const MamRevision *revision,
                const char *definitions_dir,
                char **ret_problem);
MamServiceConfig *mam_service_config_free(MamServiceConfig *s);
MAM_DEFINE_CLEANUP(MamServiceConfig, mam_service_config_free);

/* exec[0] of a foreign program, {version} replaced. Caller frees; *ret is NULL for a built-in one. */
int mam_revision_program(char **ret, const MamServiceConfig *s, const char *version);

/* The rules on owners, for path and whatever symbolic links lead to. -EINVAL: not absolute or not clean;
 * -ENOENT, -ENOTDIR, -ELOOP: as lstat(2); -EACCES: not executable (folder: not a directory); -EPERM: not
 * only root's. *ret_problem (owned by the caller; may be NULL) says it for people. */
int mam_revision_check_path(const char *path, bool folder, char **ret_problem);
/* The same for a path inside root (a folder that was checked itself, or ""), where owner takes root's part.
 */
int mam_revision_check_path_in(
                const char *root,
                uid_t owner,
                const char *path,
                bool folder,
                char **ret_problem);
