/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: frames and messages of WebSocket
 *
 * The first byte says whose bytes these are, and in which pieces they come a second time, which must say the
 * same. What a direction lets pass is what came, up to an error; and what the reader calls a message the
 * track has let pass.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/websocket-message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define MESSAGE_MAX 4096U

typedef struct Outcome {
        unsigned error, messages, controls, closed;
        size_t passed;
        uint32_t sum;
        bool track_failed;
} Outcome;

static void check(int ok) {
        if (!ok)
                abort();
}

static void add(Outcome *o, const char *data, size_t size) {
        for (size_t i = 0; i < size; i++)
                o->sum = o->sum * 31 + (uint8_t) data[i];
}

static void note(Outcome *o, const MamWebsocketEvent *e) {
        check(e->data[e->size] == '\0');
        add(o, e->data, e->size);
        if (e->kind == MAM_WEBSOCKET_EVENT_CLOSE) {
                check(e->code == MAM_WEBSOCKET_NO_STATUS || mam_websocket_code_is_legal(e->code));
                o->closed = e->code;
        } else if (e->kind == MAM_WEBSOCKET_EVENT_MESSAGE) {
                check(e->size <= MESSAGE_MAX);
                o->messages++;
        } else {
                check(e->size <= MAM_WEBSOCKET_CONTROL_MAX);
                o->controls++;
        }
}

static void read_piece(MamWebsocketReader *r, Outcome *o, char *data, size_t size) {
        MamWebsocketEvent e;
        ssize_t n;

        for (size_t at = 0; o->error == 0;) {
                n = mam_websocket_reader_read(r, data + at, size - at, &e);
                if (n < 0) {
                        check(r->error != 0);
                        o->error = r->error;
                        return;
                }
                at += (size_t) n;
                check(at <= size);
                if (e.kind == MAM_WEBSOCKET_EVENT_NONE) {
                        check(at == size);
                        return;
                }
                note(o, &e);
        }
}

static Outcome run(const char *data, size_t size, size_t piece, bool from_client) {
        MamWebsocketTrack t = { .from_client = from_client };
        MamWebsocketReader r;
        Outcome o = { 0 };

        mam_websocket_reader_init(&r, from_client, MESSAGE_MAX);
        for (size_t at = 0; at < size; at += piece) {
                size_t n = size - at < piece ? size - at : piece;
                char *copy = malloc(n);
                MamWebsocketPass pass;

                check(copy != NULL);
                memcpy(copy, data + at, n);
                if (!o.track_failed) {
                        o.track_failed = mam_websocket_track(&t, copy, n, false, &pass) < 0;
                        check(o.passed + pass.head_size + pass.size <= at + n);
                        check(memcmp(data + o.passed, pass.head, pass.head_size) == 0);
                        check(memcmp(data + o.passed + pass.head_size, pass.data, pass.size) == 0);
                        o.passed += pass.head_size + pass.size;
                }
                read_piece(&r, &o, copy, n);
                free(copy);
        }
        /* What the one calls broken the other does, unless a Close came first; not the other way round: text
         * and lengths are the reader's alone. */
        check(!o.track_failed || o.error != 0);
        mam_websocket_reader_done(&r);
        return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        Outcome whole, cut;
        bool from_client;
        size_t piece;

        if (size < 2)
                return 0;

        from_client = bytes[0] & 1;
        piece = bytes[0] >> 1 > 0 ? bytes[0] >> 1 : 1;
        whole = run((const char *) bytes + 1, size - 1, size, from_client);
        cut = run((const char *) bytes + 1, size - 1, piece, from_client);
        check(whole.error == cut.error && whole.messages == cut.messages && whole.controls == cut.controls);
        check(whole.closed == cut.closed && whole.sum == cut.sum);
        check(whole.passed == cut.passed && whole.track_failed == cut.track_failed);
        return 0;
}
