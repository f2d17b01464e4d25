/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between the files of config/
 */

#include <json-c/json.h>

#include "libmam/config/config.h"
#include "libmam/json/json.h"

#define MAM_VERSION_MARK "{version}" /* in exec[0] */

/* One file while it is read; what the functions that report a problem need to know of it. */
typedef struct MamConfigFile {
        MamConfig *config; /* borrowed */
        const char *path;  /* borrowed */
        const char *text;  /* borrowed; NULL: could not be read */
        size_t size;
        const char *service; /* borrowed; the service whose definition is being read, or NULL */
} MamConfigFile;

/* Appends a problem and forgets those beyond MAM_CONFIG_PROBLEMS_MAX. key is dotted. Returns 0 or -ENOMEM.
 */
int mam_config_add_problem(
                MamConfig *c,
                MamProblemLevel level,
                const char *file,
                unsigned line,
                const char *key,
                const char *service,
                const char *format,
                ...) _printf_(7, 8);

/* The same for a place in a file: the line is looked up, the key made from the pointer. Returns 0 or
 * -ENOMEM. */
int mam_config_file_problem(
                const MamConfigFile *f,
                MamProblemLevel level,
                const char *parent,
                const char *key,
                const char *format,
                ...) _printf_(5, 6);
int mam_config_file_error(const MamConfigFile *f, const MamJsonError *error);

/* Warns about each key of object that is not in known, with a suggestion where one is near. 0 or -ENOMEM. */
int mam_config_warn_unknown(
                const MamConfigFile *f,
                json_object *object,
                const char *parent,
                const char *const *known);

/* The word of the NULL-terminated list that text was probably meant to be, or NULL. */
const char *mam_config_suggest(const char *text, const char *const *words);

/* Reads microservices.json into the settings of f->config. 0 or -ENOMEM. */
int mam_config_read_settings(MamConfigFile *f, json_object *root);

/* "events". 0 or -ENOMEM. */
int mam_config_read_events(MamConfigFile *f, json_object *root);
void mam_events_config_done(MamEventsConfig *e);

/* Reads one definition. 1: good, *ret written; 0: bad, with at least one error reported; -ENOMEM. The
 * defaults of the settings must be known. */
int mam_config_read_service(MamServiceConfig *ret, MamConfigFile *f, const char *id, json_object *object);
void mam_service_config_done(MamServiceConfig *s);

/* Reads <dir>/<id>.json. 1: good; 0: none, or not good; -ENOMEM. Reports nothing. */
int mam_config_read_last_good(
                MamServiceConfig *ret,
                const MamConfig *settings,
                const char *dir,
                const char *id);

/* Checks what services say of each other (dependencies, ports), replaces or removes those that are wrong. 0
 * or -ENOMEM. */
int mam_config_check_graph(MamConfig *c, const char *last_good_dir);

void mam_config_free_strings(char **list);
void mam_config_remove_service(MamConfig *c, size_t i);
