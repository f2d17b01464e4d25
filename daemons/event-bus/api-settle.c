/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Settling: POST /v1/subscriptions/{subscription}/ack, nack, extend, reject, settle
 */

#include <string.h>

#include "event-bus/api-settle.h"

#define DELAY_MAX_USEC (30ULL * 24 * 3600 * MAM_USEC_PER_SEC)
#define REASON_MAX     1000U

static const char *const kind_names[] = {
        [SETTLE_ACK] = "ack",
        [SETTLE_NACK] = "nack",
        [SETTLE_EXTEND] = "extend",
        [SETTLE_DEAD] = "reject",
};

void settle_list_done(SettleList *l) {
        free(l->items);
        *l = (SettleList){ 0 };
}

static int add(SettleList *l, const Settlement *s) {
        if (l->n == l->allocated) {
                size_t allocated = l->allocated > 0 ? 2 * l->allocated : 64;
                Settlement *items = reallocarray(l->items, allocated, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                l->items = items;
                l->allocated = allocated;
        }
        l->items[l->n++] = *s;
        return 0;
}

/* "delay" and "reason" of an object, over what how has. */
static int read_how(Settlement *how, json_object *o, const char *parent, MamJsonError *e) {
        int r;

        r = api_json_timespan(o, parent, "delay", &how->delay_usec, e);
        if (r > 0 && how->delay_usec > DELAY_MAX_USEC)
                return mam_json_fail(e, parent, "delay", "must be at most 30d");
        if (r >= 0)
                r = mam_json_get_string(o, parent, "reason", &how->reason, e);
        if (r > 0 && strlen(how->reason) > REASON_MAX)
                return mam_json_fail(e, parent, "reason", "must have at most %u bytes", REASON_MAX);
        return r;
}

static int read_ids(
                SettleList *l,
                json_object *ids,
                const Settlement *how,
                const char *parent,
                MamJsonError *e) {
        size_t n = json_object_array_length(ids);
        int r = 0;

        if (how->kind == SETTLE_EXTEND && how->delay_usec == UINT64_MAX)
                return mam_json_fail(e, parent, "delay", "is required: how long from now");
        if (l->n - l->base + n > SETTLE_MAX)
                return mam_json_fail(e, parent, NULL, "has more than %u ids", SETTLE_MAX);
        for (size_t i = 0; i < n && r >= 0; i++) {
                json_object *id = json_object_array_get_idx(ids, i);
                Settlement s = *how;

                if (!json_object_is_type(id, json_type_string))
                        return mam_json_fail(e, parent, NULL, "must be a list of ids");
                s.ack_id = json_object_get_string(id);
                r = add(l, &s);
        }
        return r;
}

static int read_object(
                SettleList *l,
                json_object *o,
                const Settlement *how,
                const char *parent,
                MamJsonError *e) {
        static const char *const known[] = { "ackIds", "delay", "reason", NULL };
        Settlement own = *how;
        json_object *ids = NULL;
        int r;

        if (!json_object_is_type(o, json_type_object))
                return mam_json_fail(e, parent, NULL, "must be a list of ids, or of objects with ackIds");
        r = api_json_known(o, parent, known, e);
        if (r >= 0)
                r = read_how(&own, o, parent, e);
        if (r >= 0)
                r = mam_json_get_array(o, parent, "ackIds", &ids, e);
        if (r == 0)
                return mam_json_fail(e, parent, "ackIds", "is required");
        return r < 0 ? r : read_ids(l, ids, &own, parent, e);
}

/* One of the four members. */
static int read_kind(SettleList *l, json_object *o, const Settlement *how, MamJsonError *e) {
        const char *name = kind_names[how->kind];
        json_object *list = NULL;
        char parent[32];
        int r;

        r = mam_json_get_array(o, "", name, &list, e);
        if (r <= 0)
                return r;
        (void) snprintf(parent, sizeof(parent), "/%s", name);
        if (json_object_array_length(list) == 0 ||
            json_object_is_type(json_object_array_get_idx(list, 0), json_type_string))
                return read_ids(l, list, how, parent, e);
        for (size_t i = 0; i < json_object_array_length(list) && r >= 0; i++)
                r = read_object(l, json_object_array_get_idx(list, i), how, parent, e);
        return r;
}

int settle_list_read(SettleList *l, json_object *o, int kind, const char *const *others, MamJsonError *e) {
        const char *known[16] = { "delay", "reason" };
        Settlement how = { .delay_usec = UINT64_MAX };
        size_t n = 2;
        int r;

        if (kind >= 0) {
                known[n++] = "ackIds";
        } else {
                for (unsigned i = 0; i < MAM_ELEMENTSOF(kind_names); i++)
                        known[n++] = kind_names[i];
        }
        for (; others && *others && n < MAM_ELEMENTSOF(known) - 1; others++)
                known[n++] = *others;
        known[n] = NULL;

        r = api_json_known(o, "", known, e);
        if (r >= 0)
                r = read_how(&how, o, "", e);
        if (r < 0)
                return r;
        if (kind >= 0) {
                json_object *ids = NULL;

                how.kind = (SettleKind) kind;
                r = mam_json_get_array(o, "", "ackIds", &ids, e);
                if (r == 0)
                        return mam_json_fail(e, "", "ackIds", "is required");
                return r < 0 ? r : read_ids(l, ids, &how, "", e);
        }
        for (unsigned i = 0; i < MAM_ELEMENTSOF(kind_names) && r >= 0; i++) {
                how.kind = (SettleKind) i;
                r = read_kind(l, o, &how, e);
        }
        return r;
}

static int append_failed(
                MamBuffer *b,
                const SettleList *l,
                const int *results,
                const char *name,
                bool stale) {
        bool any = false;
        int r;

        r = mam_buffer_appendf(b, ",\"%s\":[", name);
        for (size_t i = 0; i < l->n && r >= 0; i++) {
                if (results[i] >= 0 || (results[i] == -ESTALE) != stale)
                        continue;
                if (any)
                        r = mam_buffer_append(b, ",", 1);
                if (r >= 0)
                        r = api_append_string(b, l->items[i].ack_id);
                any = true;
        }
        return r < 0 ? r : mam_buffer_append(b, "]", 1);
}

int settle_list_answer(MamBuffer *b, const SettleList *l, const int *results) {
        size_t settled = 0;
        int r;

        for (size_t i = 0; i < l->n; i++)
                settled += results[i] >= 0;
        r = mam_buffer_appendf(b, "{\"settled\":%zu", settled);
        if (r >= 0)
                r = append_failed(b, l, results, "stale", true);
        return r < 0 ? r : append_failed(b, l, results, "invalid", false);
}

/* ---- by POST ---- */

typedef struct Settle {
        SettleList list;
        int kind;
} Settle;

static void settle_done(void *more) {
        settle_list_done(&((Settle *) more)->list);
}

static void on_settled(int r, const int *results, size_t n, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Settle *s = q->more;

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        bus_metrics_settled(&q->app->metrics, q->name, s->list.items, results, n);
        api_stream_settled(q->app, q->name, s->list.items, s->list.n);
        r = settle_list_answer(&b, &s->list, results);
        if (r >= 0)
                r = mam_buffer_append(&b, "}", 1);
        api_answered(q, r < 0 ? r : api_answer(q, 200, "application/json", &b));
}

static int settle_body(ApiRequest *q) {
        Settle *s = q->more;
        MamJsonError error;
        int r;

        r = settle_list_read(&s->list, q->body, s->kind, NULL, &error);
        if (r == -EBADMSG)
                return api_problem_json(q, 422, &error, "What is to be settled is wrong");
        if (r < 0)
                return r;
        if (s->list.n == 0)
                return mam_http_exchange_respond(
                                q->x,
                                200,
                                "application/json",
                                "{\"settled\":0,\"stale\":[],\"invalid\":[]}",
                                37);
        return api_started(
                        q,
                        delivery_settle(q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        s->list.items,
                                        s->list.n,
                                        on_settled,
                                        q),
                        "subscription");
}

static int handle(MamHttpExchange *x, App *app, int kind) {
        ApiRequest *q;
        void *more;
        int r;

        r = api_begin(&q, x, app, "subscription");
        if (r <= 0)
                return r;
        r = api_more(q, &more, sizeof(Settle), settle_done);
        if (r < 0)
                return r;
        ((Settle *) more)->kind = kind;
        return api_read_json(q, settle_body);
}

int handle_ack(MamHttpExchange *x, void *userdata) {
        return handle(x, userdata, SETTLE_ACK);
}

int handle_nack(MamHttpExchange *x, void *userdata) {
        return handle(x, userdata, SETTLE_NACK);
}

int handle_extend(MamHttpExchange *x, void *userdata) {
        return handle(x, userdata, SETTLE_EXTEND);
}

int handle_reject(MamHttpExchange *x, void *userdata) {
        return handle(x, userdata, SETTLE_DEAD);
}

int handle_settle(MamHttpExchange *x, void *userdata) {
        return handle(x, userdata, -1);
}
