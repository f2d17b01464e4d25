/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The HTTP API: handlers of routes (userdata is the App)
 *
 * Reading is open to every authenticated identity, writing needs the role "editor" (or "admin"); the table
 * in main.c says so. Both resources have the same handlers; what differs is in their descriptions.
 */

#include "project-manager/request.h"

extern const Resource project_resource; /* project-api.c */
extern const Resource task_resource;    /* task-api.c */

int handle_project_create(MamHttpExchange *x, void *userdata);
int handle_project_list(MamHttpExchange *x, void *userdata);
int handle_project_get(MamHttpExchange *x, void *userdata);
int handle_project_patch(MamHttpExchange *x, void *userdata);
int handle_project_delete(MamHttpExchange *x, void *userdata);

int handle_import_put(MamHttpExchange *x, void *userdata);
int handle_import_get(MamHttpExchange *x, void *userdata);
int handle_import_delete(MamHttpExchange *x, void *userdata);
int handle_import_rows(MamHttpExchange *x, void *userdata);

/* A list as application/x-ndjson, without pages. */
bool export_is_wanted(MamHttpExchange *x);
int export_list(Request *q);

/* openapi.json, which describes all of them. */
int handle_openapi(MamHttpExchange *x, void *userdata);

int handle_task_create(MamHttpExchange *x, void *userdata);
int handle_task_list(MamHttpExchange *x, void *userdata);
int handle_task_get(MamHttpExchange *x, void *userdata);
int handle_task_patch(MamHttpExchange *x, void *userdata);
int handle_task_delete(MamHttpExchange *x, void *userdata);
