/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * All properties of a vtable as a{sv}: what Status answers is what the objects say, from the same getters
 */

#include <systemd/sd-bus.h>

typedef int (*PropertyAppend)(sd_bus_message *m, void *object, const char *property);

int properties_append(sd_bus_message *m, const sd_bus_vtable *vtable, PropertyAppend append, void *object);
