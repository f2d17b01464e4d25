/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * D-Bus error names of mam
 */

#include <errno.h>

#include <systemd/sd-bus.h>

#include "libmam/bus/bus-errors.h"

static const sd_bus_error_map bus_errors[] = {
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_NO_SUCH_SERVICE, ENXIO),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_NO_SUCH_JOB, ESRCH),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_NO_SUCH_ROLLOUT, EIDRM),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_NO_SUCH_KEY, ENOKEY),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_NO_SUCH_ROLLOUT, ESTALE),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_BUSY, EBUSY),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_QUOTA, EDQUOT),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_CANCELLED, ECANCELED),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_OUT_OF_RANGE, ERANGE),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_NOT_INITIALIZED, ENODATA),
        SD_BUS_ERROR_MAP(MAM_BUS_ERROR_BAD_CONFIG, EBADMSG),
        SD_BUS_ERROR_MAP_END,
};

int mam_bus_errors_register(void) {
        int r;

        r = sd_bus_error_add_map(bus_errors);
        return r < 0 ? r : 0;
}
