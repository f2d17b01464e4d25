/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * polkit actions, as in polkit/org.manageragent.manager1.policy (a contract test compares)
 */

#define MAM_ACTION_CONTROL    "org.manageragent.manager1.control"
#define MAM_ACTION_SCALE      "org.manageragent.manager1.scale"
#define MAM_ACTION_SET_LIMITS "org.manageragent.manager1.set-limits"
#define MAM_ACTION_CONFIGURE  "org.manageragent.manager1.configure"
#define MAM_ACTION_CHAOS      "org.manageragent.manager1.chaos"
#define MAM_ACTION_DEPLOY     "org.manageragent.manager1.deploy"
#define MAM_ACTION_SECRETS    "org.manageragent.manager1.secrets"
