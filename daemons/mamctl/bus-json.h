/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Bus messages as JSON
 *
 * Whatever a message holds becomes JSON: numbers, strings, arrays, structs as arrays, dictionaries as
 * objects, variants as what they hold. So a property that a newer manager has shows up in --json without
 * mamctl knowing it.
 */

#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>
#include <systemd/sd-bus.h>

/* The next complete value. 1; 0 at the end of a container (ret is not written); <0. Caller puts *ret. */
int bus_json_read(sd_bus_message *m, json_object **ret);

/* The next a{sv}, with names of properties as keys of JSON: "CPULimitMillis" → "cpu_limit_millis". Returns
 * as bus_json_read(). */
int bus_json_read_properties(sd_bus_message *m, json_object **ret);

/* The next a(…): an array of objects, the members of each struct under the n keys. Returns as
 * bus_json_read(); -EBADMSG if the structs have less than n members. */
int bus_json_read_rows(sd_bus_message *m, const char *const *keys, size_t n, json_object **ret);

/* Members of such objects for tables: "" and 0 where there is none. The string is borrowed from o. */
const char *json_text(json_object *o, const char *key);
uint64_t json_number(json_object *o, const char *key);
double json_real(json_object *o, const char *key);
/* An array or object, or NULL. Borrowed from o. */
json_object *json_member(json_object *o, const char *key);
/* The length of an array; 0 for anything else. */
size_t json_length(json_object *list);

/* ret has room for size bytes; longer names are cut. */
void bus_json_key(char *ret, size_t size, const char *property);
/* A new list of objects that have just these members of those in list. Caller puts *ret. -ENOMEM. */
int json_pick(json_object *list, const char *const *keys, size_t n_keys, json_object **ret);
