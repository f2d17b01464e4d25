/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What was revoked before its end: tokens by id ("t:JTI") and sessions ("s:SID")
 *
 * All gateways share the list through Redis: a change is published, and each fetches the whole list when it
 * connects and every REVOKED_REFRESH_USEC, as what was published may have been missed. An entry lives as
 * long as what it revokes could. While Redis is away what is known stands, and nothing new can be revoked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/cache/redis.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

typedef struct Revoked Revoked;

#define REVOKED_MAX          65536U /* beyond, what ends first makes place */
#define REVOKED_MEMBER_MAX   160U
#define REVOKED_REFRESH_USEC (30 * MAM_USEC_PER_SEC)

/* on_revoked: a member is new in the list. */
typedef void (*RevokedCallback)(const char *member, void *userdata);

int revoked_new(Revoked **ret, sd_event *event, RevokedCallback on_revoked, void *userdata);
Revoked *revoked_free(Revoked *v);
MAM_DEFINE_CLEANUP(Revoked, revoked_free);

/* Shares the list. redis: for commands; borrowed, must outlive it, and may come and go. -ENOMEM, -EINVAL. */
int revoked_start(Revoked *v, MamRedis *redis);
bool revoked_has(const Revoked *v, char kind, const char *id, uint64_t now_sec);
size_t revoked_count(const Revoked *v);
/* Into the own list; 1: it is new, 0: known. -EINVAL: not a member. */
int revoked_add(Revoked *v, const char *member, size_t size, uint64_t expires_sec);
/* A word of another gateway: "EXPIRES MEMBER". */
void revoked_take_message(Revoked *v, const char *data, size_t size);
