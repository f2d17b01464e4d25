/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making, changing, listing subscriptions; dead letters
 *
 * These go straight to the database. Whoever has a subscription in memory is told.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/delivery-internal.h"
#include "libmam/util/time.h"

#define DEAD_LIST_MAX 1000U

/* The answer is here: the call belongs to its caller, or to nobody. */
static void call_detach(DeliveryCall *c, DeliveryCall **loose) {
        c->query = mam_pg_query_free(c->query);
        TAILQ_REMOVE(c->list, c, entry);
        c->list = NULL;
        c->delivery = NULL;
        if (!c->has_handle)
                *loose = c;
}

static int info_read(SubscriptionInfo *info, const StoreRow *row) {
        Group group = { 0 };
        int r;

        *info = (SubscriptionInfo){
                .name = row->name,
                .settings = row->settings,
                .version = row->version,
                .dead = row->dead > 0 ? (uint64_t) row->dead : 0,
        };
        info->settings.push_secret = NULL;

        r = group_decode(&group, row->state);
        if (r < 0)
                return r;
        store_figures(info, &group, row->last, row->recorded_usec, row->kind, mam_now_realtime());
        group_done(&group);
        return 0;
}

static int info_error(const DeliveryCall *c, int error) {
        if (c->kind == CALL_INFO && c->is_again && error == -EEXIST)
                return -ESTALE; /* a change, of another version */
        return store_error(error);
}

static void on_info(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *loose = NULL;
        DeliveryCall *c = userdata;
        SubscriptionCallback callback = c->callback.info;
        Delivery *d = c->delivery;
        SubscriptionInfo info;
        StoreRow row;
        int r = info_error(c, error);

        if (r >= 0 && mam_pg_rows(result) == 0)
                r = -ENOENT;
        if (r >= 0) {
                store_read(&row, result, 0, true);
                r = info_read(&info, &row);
        }
        if (r >= 0 && c->name)
                delivery_tell_settings(d, c->name);

        userdata = c->userdata;
        call_detach(c, &loose);
        callback(r, r < 0 ? NULL : &info, userdata);
}

static void on_deleted(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *loose = NULL;
        DeliveryCall *c = userdata;
        SubscriptionCallback callback = c->callback.info;
        int r = store_error(error);

        if (r >= 0 && mam_pg_rows(result) == 0)
                r = -ENOENT;
        if (r >= 0)
                delivery_tell_settings(c->delivery, c->name);

        userdata = c->userdata;
        call_detach(c, &loose);
        callback(r, NULL, userdata);
}

static void on_listed(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *loose = NULL;
        DeliveryCall *c = userdata;
        SubscriptionCallback callback = c->callback.info;
        size_t n = error < 0 ? 0 : mam_pg_rows(result);
        SubscriptionInfo info;
        StoreRow row;

        userdata = c->userdata;
        /* a caller that frees its handle in between must not be called again */
        for (size_t i = 0; i < n; i++) {
                store_read(&row, result, i, true);
                (void) info_read(&info, &row);
                c->is_listing = true;
                callback(0, &info, userdata);
                if (c->is_unheard) {
                        loose = c;
                        return;
                }
        }

        call_detach(c, &loose);
        callback(store_error(error), NULL, userdata);
}

static int call_start(
                DeliveryCall **ret,
                Delivery *d,
                DeliveryCall **handle,
                CallKind kind,
                const char *name,
                SubscriptionCallback callback,
                void *userdata) {
        DeliveryCall *c = NULL;
        int r;

        assert(d);
        assert(callback);

        r = delivery_call_new(&c, handle, d, kind, name, userdata);
        if (r < 0)
                return r;
        c->callback.info = callback;
        *ret = c;
        return 0;
}

static int call_wait(DeliveryCall **ret, DeliveryCall *c) {
        delivery_call_move(c, &c->delivery->waiting);
        if (ret)
                *ret = c;
        return 0;
}

/* The text of a state that begins at a position. */
static int state_text(MamBuffer *ret, int64_t start) {
        Group group;
        int r;

        group_init(&group, start - 1);
        r = group_encode(&group, ret);
        group_done(&group);
        return r;
}

static int settings_check(const char *name, const SubscriptionSettings *from, SubscriptionSettings *to) {
        _cleanup_(json_object_putp) json_object *array = NULL;
        _cleanup_(filter_freep) Filter *filter = NULL;
        int r;

        if (!topic_name_is_valid(name))
                return -EINVAL;
        r = store_settings_complete(to, from);
        if (r < 0 || !to->filters)
                return r;

        r = mam_json_parse(&array, to->filters, strlen(to->filters), NULL);
        if (r >= 0)
                r = filter_parse(&filter, array, "", NULL);
        return r == -EBADMSG ? -EINVAL : r;
}

int delivery_subscription_create(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                const SubscriptionSettings *s,
                SubscriptionCallback callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        _cleanup_(mam_buffer_done) MamBuffer state = MAM_BUFFER_INIT;
        const char *parameters[STORE_CREATE_PARAMETERS];
        const char *const names[] = { name };
        const MamPgStep steps[] = {
                { &store_create, parameters, STORE_CREATE_PARAMETERS },
                { &store_get, names, 1 },
        };
        SubscriptionSettings settings;
        StoreNumbers numbers;
        int r;

        assert(name);
        assert(s);

        r = settings_check(name, s, &settings);
        if (r < 0)
                return r;
        if (!settings.topic || !topic_name_is_valid(settings.topic))
                return -EINVAL;
        r = state_text(&state, settings.start);
        if (r < 0)
                return r;
        r = call_start(&c, d, ret, CALL_INFO, name, callback, userdata);
        if (r < 0)
                return r;

        store_create_parameters(
                        parameters,
                        &numbers,
                        name,
                        &settings,
                        (int64_t) delivery_lot(d),
                        mam_buffer_bytes(&state));
        r = mam_pg_run(d->pg, &c->query, steps, MAM_ELEMENTSOF(steps), on_info, c);
        return r < 0 ? r : call_wait(ret, MAM_TAKE(c));
}

int delivery_subscription_change(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                const SubscriptionSettings *s,
                int64_t version,
                SubscriptionCallback callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        const char *parameters[STORE_CREATE_PARAMETERS];
        const char *const names[] = { name };
        MamPgStep steps[] = {
                { &store_change, parameters, 0 },
                { &store_get, names, 1 },
        };
        SubscriptionSettings settings;
        StoreNumbers numbers;
        int r;

        assert(name);
        assert(s);

        r = settings_check(name, s, &settings);
        if (r < 0)
                return r;
        r = call_start(&c, d, ret, CALL_INFO, name, callback, userdata);
        if (r < 0)
                return r;

        c->is_again = true;
        steps[0].n_parameters = store_change_parameters(parameters, &numbers, name, &settings, version);
        r = mam_pg_run(d->pg, &c->query, steps, MAM_ELEMENTSOF(steps), on_info, c);
        return r < 0 ? r : call_wait(ret, MAM_TAKE(c));
}

int delivery_subscription_delete(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                SubscriptionCallback callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        const char *const parameters[] = { name };
        int r;

        assert(name);

        r = call_start(&c, d, ret, CALL_DELETE, name, callback, userdata);
        if (r < 0)
                return r;
        r = mam_pg_query(d->pg, &c->query, &store_delete, parameters, 1, on_deleted, c);
        return r < 0 ? r : call_wait(ret, MAM_TAKE(c));
}

int delivery_subscription_get(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                SubscriptionCallback callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        const char *const parameters[] = { name };
        int r;

        assert(name);

        r = call_start(&c, d, ret, CALL_INFO, NULL, callback, userdata);
        if (r < 0)
                return r;
        r = mam_pg_query(d->pg, &c->query, &store_get, parameters, 1, on_info, c);
        return r < 0 ? r : call_wait(ret, MAM_TAKE(c));
}

int delivery_subscription_list(
                Delivery *d,
                DeliveryCall **ret,
                SubscriptionCallback callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        int r;

        r = call_start(&c, d, ret, CALL_LIST, NULL, callback, userdata);
        if (r < 0)
                return r;
        r = mam_pg_query(d->pg, &c->query, &store_list, NULL, 0, on_listed, c);
        return r < 0 ? r : call_wait(ret, MAM_TAKE(c));
}

/* Dead letters */

static void on_dead(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *loose = NULL;
        _cleanup_(mam_freep) DeadLetter *letters = NULL;
        DeliveryCall *c = userdata;
        DeadLetterCallback callback = c->callback.letters;
        size_t n = error < 0 ? 0 : mam_pg_rows(result);
        int r = store_error(error);

        if (r >= 0 && n == 0)
                r = -ENOENT;
        if (n == 1 && mam_pg_is_null(result, 0, 0))
                n = 0; /* the subscription has none */
        letters = calloc(n + 1, sizeof(*letters));
        if (!letters)
                r = -ENOMEM;

        for (size_t i = 0; r >= 0 && i < n; i++) {
                letters[i] = (DeadLetter){
                        .number = mam_pg_int(result, i, 0),
                        .position = mam_pg_int(result, i, 1),
                        .reason = mam_pg_text(result, i, 2),
                        .text = mam_pg_is_null(result, i, 3) ? NULL : mam_pg_text(result, i, 3),
                        .attempts = (unsigned) mam_pg_int(result, i, 4),
                        .usec = (uint64_t) mam_pg_int(result, i, 5),
                };
        }

        userdata = c->userdata;
        call_detach(c, &loose);
        callback(r, letters, r < 0 ? 0 : n, userdata);
}

int delivery_dead_list(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                int64_t after,
                unsigned limit,
                DeadLetterCallback callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        char number[STORE_NUMBER_SIZE], count[STORE_NUMBER_SIZE];
        const char *const parameters[] = { subscription, number, count };
        int r;

        assert(d);
        assert(subscription);
        assert(callback);

        r = delivery_call_new(&c, ret, d, CALL_DEAD_LIST, NULL, userdata);
        if (r < 0)
                return r;
        c->callback.letters = callback;

        (void) snprintf(number, sizeof(number), "%" PRIi64, after);
        (void) snprintf(count, sizeof(count), "%u", limit < DEAD_LIST_MAX ? limit : DEAD_LIST_MAX);
        r =
                        mam_pg_query(d->pg,
                                     &c->query,
                                     &store_dead_list,
                                     parameters,
                                     MAM_ELEMENTSOF(parameters),
                                     on_dead,
                                     c);
        return r < 0 ? r : call_wait(ret, MAM_TAKE(c));
}
