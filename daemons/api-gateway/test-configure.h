/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * For tests: a gateway with the configuration of this text, as the manager would tell it
 */

#include <string.h>

#include "api-gateway/gateway.h"
#include "libmam/util/test.h"

static inline void configure(Gateway *g, const char *text) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *c = NULL;
        _cleanup_(mam_freep) char *problem = NULL;

        if (mam_gateway_config_parse(&c, text, strlen(text), &problem) < 0)
                (void) fprintf(stderr, "# %s\n", problem ? problem : "?");
        ASSERT_TRUE(c);
        ASSERT_OK(gateway_configure(g, c));
        gateway_reap(g);
}

#define CONFIGURE_X        "{\"services\":{\"x\":{\"routes\":[\"/x\"],\"protocol\":\"http1\"}}}"
#define CONFIGURE_X_NATIVE "{\"services\":{\"x\":{\"routes\":[\"/x\"],\"protocol\":\"native\"}}}"
