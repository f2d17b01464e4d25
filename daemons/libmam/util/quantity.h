/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Kubernetes resource quantities
 *
 * https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */

#include <stdint.h>

/* "500m" → 500, "2" → 2000, "1.5" → 1500, "0.1" → 100: thousandths of a core, at least 1. Finer than 1m is
 * rounded up. -EINVAL: not a quantity; -ERANGE: zero, negative, or more than 1,000,000 cores. */
int mam_quantity_parse_cpu(const char *text, uint64_t *ret_millis);

/* "512Mi", "1Gi", "1.5G", "128974848", "129e6", "123k": bytes; suffixes Ki Mi Gi Ti Pi Ei, k M G T P E, m,
 * exponents. A fraction of a byte is rounded up. -EINVAL: not a quantity; -ERANGE: zero, negative, or above
 * 2^63-1. */
int mam_quantity_parse_bytes(const char *text, uint64_t *ret_bytes);

/* For people and for SetLimits: "500m", "2"; "512Mi", "1Gi", or plain bytes where no suffix fits exactly. */
void mam_quantity_format_cpu(char ret[static 32], uint64_t millis);
void mam_quantity_format_bytes(char ret[static 32], uint64_t bytes);
