/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of an upstream: upstream.c has the set and chooses, endpoint.c knows one replica
 */

#include "api-gateway/upstream.h"

int endpoint_new(Endpoint **ret, Upstream *u, const EndpointSpec *spec);
Endpoint *endpoint_unref(Endpoint *e);
MAM_DEFINE_CLEANUP(Endpoint, endpoint_unref);
/* others_serve: it comes beside some that are ready, and gets its share little by little. -ENOMEM: of the
 * group. */
int endpoint_update(Endpoint *e, const EndpointSpec *spec, bool others_serve);
/* It left the set, which others are now. NULL is nothing. */
void endpoint_remove(Endpoint *e, Endpoint *const *others, size_t n_others);
