/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A token in plain text moves from microservices.json to a credential
 */

/* Keeps the rest of the file byte for byte. 1: moved; 0: there is none, or the file cannot be understood;
 * -EAGAIN: the file changed meanwhile. */
int token_move(const char *microservices_json, const char *store);
