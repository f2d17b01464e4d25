/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * MESSAGE_IDs
 *
 * One per message that an administrator may want to find again (`journalctl MESSAGE_ID=…`) or have explained
 * (`journalctl -x`). Each has its text in packaging/mam.catalog. An id is never reused for another meaning.
 * New ones come from `systemd-id128 new`.
 */

/* libmam/service: every daemon */
#define MAM_MESSAGE_SERVICE_READY     "2012c57d724942aca6484d6052fd3c08"
#define MAM_MESSAGE_SERVICE_DRAINING  "3a89389e621c42dea2bea355fe2f31d6"
#define MAM_MESSAGE_SERVICE_STOPPED   "238c14fdd0ff43c1ad6ec6cc1099f9f4"
#define MAM_MESSAGE_SERVICE_FAILED    "06acac27126340e986a36a8bd5856cfa"
#define MAM_MESSAGE_SERVICE_NOT_READY "687e12b742404bdb8ca8bfa031ddb4eb"
#define MAM_MESSAGE_SERVICE_RECOVERED "26303bbc0a7c4ae3aecc5721f01babc0"
#define MAM_MESSAGE_KEYS_LOADED       "b20a7d6c40ab4b248beeb7775407ca77"
#define MAM_MESSAGE_KEYS_BAD          "bdb2a979413d46bd905c138cfaa4e7b5"

/* daemons that keep rows in PostgreSQL */
#define MAM_MESSAGE_DATABASE_MIGRATED         "f8574dbabcc64ced8185c408e1ed49ac"
#define MAM_MESSAGE_DATABASE_MIGRATION_FAILED "56ece7553f904329ba675dd55ef9f163"
#define MAM_MESSAGE_DATABASE_QUERY_FAILED     "87b23b8dfd61422abac235a1bd45986e"

/* mam-generator, mam-setup */
#define MAM_MESSAGE_CONFIG_PROBLEM  "c49a1497613d42aab8eae4e5c9b7da23"
#define MAM_MESSAGE_CREDENTIAL_MADE "fba248bbff3b42008b9101efb12c08c1"
#define MAM_MESSAGE_TOKEN_MOVED     "0e7022fe5b2b435f9e1e132087343ca5"

/* api-gateway */
#define MAM_MESSAGE_GATEWAY_REQUEST      "1fb9c5d3d12449e4a20b430bc87d88dd"
#define MAM_MESSAGE_GATEWAY_MANAGER_GONE "71423370260d4226a9b2d760bbcd131b"
#define MAM_MESSAGE_GATEWAY_MANAGER_BACK "97fe6f4181204d7ca160e138e235f84f"
#define MAM_MESSAGE_GATEWAY_ROUTE_BAD    "ecb73c4e121a430191d415d0b95aaa7e"

/* mam-manager */
#define MAM_MESSAGE_REPLICA_START     "811978f43a104a47a6cd3668a8211168"
#define MAM_MESSAGE_REPLICA_STOP      "553e0997dfe44d0a9d7e08966bf7ffb3"
#define MAM_MESSAGE_REPLICA_RESTART   "bc9447588e9f475e814dca95963cb3bb"
#define MAM_MESSAGE_REPLICA_FAILED    "66f12425aaa34fe4a2f38d07af6a32d6"
#define MAM_MESSAGE_REPLICA_HELD      "ceb3f3d1087247188fd17a9d8b20d6e5"
#define MAM_MESSAGE_REPLICA_ADOPTED   "6b0881664a2e490eafe67ab6764c76cd"
#define MAM_MESSAGE_REPLICA_UNHEALTHY "aee4e37794cf49ffb934991b9908de5f"
#define MAM_MESSAGE_REPLICA_HEALTHY   "94911288e9d34e08b28ca182c9fa7527"
#define MAM_MESSAGE_JOB_ENDED         "0f3e9fa8a12146bfa57fa29baa2659a1"
#define MAM_MESSAGE_STATE_UNUSABLE    "b6798e89a7f14bbfb689d9df14b095e8"
