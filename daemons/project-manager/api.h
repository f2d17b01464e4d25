/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The HTTP API: handlers of routes (userdata is the App)
 *
 * Reading is open to every authenticated identity, writing needs the role "editor" (or "admin"); the table
 * in main.c says so.
 */

#include "project-manager/request.h"

int handle_project_create(MamHttpExchange *x, void *userdata);
int handle_project_list(MamHttpExchange *x, void *userdata);
int handle_project_get(MamHttpExchange *x, void *userdata);
int handle_project_patch(MamHttpExchange *x, void *userdata);
int handle_project_delete(MamHttpExchange *x, void *userdata);

int handle_task_create(MamHttpExchange *x, void *userdata);
int handle_task_list(MamHttpExchange *x, void *userdata);
int handle_task_get(MamHttpExchange *x, void *userdata);
int handle_task_patch(MamHttpExchange *x, void *userdata);
int handle_task_delete(MamHttpExchange *x, void *userdata);
