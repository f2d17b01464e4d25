/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The message: what Prometheus' Alertmanager posts to webhooks, version "4"
 * (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config), so that what understands one
 * understands the other. Labels are alertname, severity, service, replica (where there is one); the
 * annotation is summary.
 */

#include "alerts/table.h"

#define PAYLOAD_ALERTS_MAX 100U /* of a group; the rest is counted in truncatedAlerts. Firing ones first */

/* Caller frees. -ENOMEM. */
int payload_format(char **ret, const AlertGroup *g, unsigned slot);
