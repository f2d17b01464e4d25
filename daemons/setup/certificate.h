/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The certificate that the gateway begins with
 *
 * Signed by itself, for the names of this host, so that TLS works (and can be trusted by hand) before
 * anybody has got a real one. Made only into a folder that has no certificate at all.
 */

/* 1: default.crt and default.key were made; 0: the folder holds a certificate already. -ENOENT: there is no
 * such folder. -EIO: OpenSSL could not. */
int certificate_make(const char *folder);
