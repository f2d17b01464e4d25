/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * --bus-introspect: the XML of an object as a client would get it, without a bus
 *
 * A manager with one sample of each object (service/sample, replica/sample_3a1, job/1 below its own path) is
 * exported over a socket pair and asked. For documentation and for the contract test.
 */

/* -EINVAL: not an object path. Caller frees. */
int introspect(char **ret, const char *path);
