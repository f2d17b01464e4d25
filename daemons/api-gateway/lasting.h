/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What lasts: exchanges without an end of their own
 *
 * WebSockets and streams of events may go on for days. So nobody watches their progress as that of a
 * request; this table does: whoever is silent for too long, or does not come to an end that was asked for,
 * expires. And it bounds how many WebSockets there are, in all and of one caller.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <systemd/sd-event.h>

#include "libmam/config/gateway-websocket.h"
#include "libmam/util/macro.h"

#define LASTING_CLOSE_USEC (5 * MAM_USEC_PER_SEC) /* for an end that was asked for */

typedef struct Lasting Lasting;
typedef struct LastingTable LastingTable;

/* Why it is to end. All but the last: it is closing from now on, and is to be told so. */
typedef enum LastingEnd {
        LASTING_IDLE,    /* silent for too long */
        LASTING_LEAVING, /* who serves it is about to stop */
        LASTING_OVERDUE, /* it was closing, and is still there: to be ended at once */
} LastingEnd;

/* Embedded in what lasts. */
struct Lasting {
        LastingTable *table; /* weak; NULL: not in one */
        TAILQ_ENTRY(Lasting) entries;
        uint64_t since_usec; /* of the last movement; closing: since it was asked to end */
        const void *server;  /* who serves it, for lasting_leave(); never looked into */
        bool closing;
        void (*on_expire)(Lasting *l, LastingEnd why);
};

typedef enum LastingAdmit {
        LASTING_ADMIT_YES,
        LASTING_ADMIT_FULL,        /* no more in all */
        LASTING_ADMIT_CALLER_FULL, /* no more of this caller */
} LastingAdmit;

int lasting_table_new(LastingTable **ret, sd_event *event);
/* Nothing may be in it any more. */
LastingTable *lasting_table_free(LastingTable *t);
MAM_DEFINE_CLEANUP(LastingTable, lasting_table_free);
/* Holds for what comes; what is there stays. */
void lasting_table_configure(LastingTable *t, const MamGatewayWebsocket *config);

/* A place among those that are counted, to be given back by lasting_release(). caller: who, as a number.
 * A LastingAdmit, or -ENOMEM. */
int lasting_admit(LastingTable *t, uint64_t caller);
void lasting_release(LastingTable *t, uint64_t caller);
unsigned lasting_admitted(const LastingTable *t);

/* From here on it is watched. */
void lasting_add(
                LastingTable *t,
                Lasting *l,
                const void *server,
                void (*on_expire)(Lasting *l, LastingEnd why));
/* All that this server serves is to end. */
void lasting_leave(LastingTable *t, const void *server);
/* Something moved. */
void lasting_touch(Lasting *l);
/* It was asked to end: it has LASTING_CLOSE_USEC. Again: it has them anew. */
void lasting_close(Lasting *l);
/* It is gone. Nothing if it is in no table. */
void lasting_remove(Lasting *l);
