/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * D-Bus error names of mam, and the errno each one stands for (bus-errors.c, the only place where they meet)
 */

#define MAM_BUS_ERROR_NO_SUCH_SERVICE "org.manageragent.Error.NoSuchService"    /* ENXIO */
#define MAM_BUS_ERROR_NO_SUCH_JOB     "org.manageragent.Error.NoSuchJob"        /* ESRCH */
#define MAM_BUS_ERROR_NO_SUCH_ROLLOUT "org.manageragent.Error.NoSuchRollout"    /* EIDRM */
#define MAM_BUS_ERROR_NO_SUCH_ROLLOUT "org.manageragent.Error.NoSuchRollout"    /* ESTALE */
#define MAM_BUS_ERROR_NO_SUCH_KEY     "org.manageragent.Error.NoSuchKey"        /* ENOKEY */
#define MAM_BUS_ERROR_BUSY            "org.manageragent.Error.Busy"             /* EBUSY */
#define MAM_BUS_ERROR_QUOTA           "org.manageragent.Error.Quota"            /* EDQUOT */
#define MAM_BUS_ERROR_CANCELLED       "org.manageragent.Error.Cancelled"        /* ECANCELED */
#define MAM_BUS_ERROR_OUT_OF_RANGE    "org.manageragent.Error.OutOfRange"       /* ERANGE */
#define MAM_BUS_ERROR_NOT_INITIALIZED "org.manageragent.Error.NotInitialized"   /* ENODATA */
#define MAM_BUS_ERROR_BAD_CONFIG      "org.manageragent.Error.BadConfiguration" /* EBADMSG */

#define MAM_BUS_NAME      "org.manageragent.Manager1"
#define MAM_BUS_PATH      "/org/manageragent/Manager1"
#define MAM_IFACE_MANAGER "org.manageragent.Manager1"
#define MAM_IFACE_SERVICE "org.manageragent.Service1"
#define MAM_IFACE_REPLICA "org.manageragent.Replica1"
#define MAM_IFACE_JOB     "org.manageragent.Job1"
#define MAM_IFACE_ROLLOUT "org.manageragent.Rollout1"
#define MAM_IFACE_ROLLOUT "org.manageragent.Rollout1"

/* Makes sd-bus translate the names above. Harmless when repeated. */
int mam_bus_errors_register(void);
