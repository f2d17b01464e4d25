/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Metrics
 */

#include "event-bus/api.h"

static const char *const by_topic[] = { "topic", NULL };
static const char *const by_subscription[] = { "subscription", NULL };
static const char *const by_result[] = { "subscription", "result", NULL };
static const char *const by_reason[] = { "reason", NULL };
static const char *const by_outcome[] = { "outcome", NULL };

int bus_metrics_init(BusMetrics *m, MamMetrics *registry) {
        const struct {
                MamMetricFamily **family;
                MamMetricType type;
                const char *name, *help;
                const char *const *labels;
        } families[] = {
                { &m->published,
                  MAM_METRIC_COUNTER,
                  "mam_events_published_total",
                  "Events stored for publishers",
                  by_topic },
                { &m->duplicates,
                  MAM_METRIC_COUNTER,
                  "mam_events_duplicates_total",
                  "Events that were there already",
                  by_topic },
                { &m->publish_bytes,
                  MAM_METRIC_COUNTER,
                  "mam_events_published_bytes_total",
                  "Bytes of events that were published",
                  by_topic },
                { &m->refused,
                  MAM_METRIC_COUNTER,
                  "mam_events_refused_total",
                  "Requests to publish that were refused",
                  by_reason },
                { &m->append_seconds,
                  MAM_METRIC_HISTOGRAM,
                  "mam_events_publish_seconds",
                  "From a request's head to its commit",
                  NULL },
                { &m->read,
                  MAM_METRIC_COUNTER,
                  "mam_events_read_total",
                  "Events sent to readers without subscription",
                  by_topic },
                { &m->consumed,
                  MAM_METRIC_COUNTER,
                  "mam_events_delivered_total",
                  "Events handed out to consumers",
                  by_subscription },
                { &m->settled,
                  MAM_METRIC_COUNTER,
                  "mam_events_settled_total",
                  "Deliveries settled, by how",
                  by_result },
                { &m->lag,
                  MAM_METRIC_GAUGE,
                  "mam_events_lag",
                  "Positions that a subscription is behind its topic",
                  by_subscription },
                { &m->age,
                  MAM_METRIC_GAUGE,
                  "mam_events_oldest_seconds",
                  "Age of the oldest event that is not settled",
                  by_subscription },
                { &m->outstanding,
                  MAM_METRIC_GAUGE,
                  "mam_events_outstanding",
                  "Events handed out and not settled",
                  by_subscription },
                { &m->dead, MAM_METRIC_GAUGE, "mam_events_dead", "Dead letters", by_subscription },
                { &m->outbox_waiting,
                  MAM_METRIC_GAUGE,
                  "mam_events_outbox_waiting",
                  "Events in the outbox",
                  NULL },
                { &m->outbox_age,
                  MAM_METRIC_GAUGE,
                  "mam_events_outbox_oldest_seconds",
                  "Age of the oldest event in the outbox",
                  NULL },
                { &m->outbox_held,
                  MAM_METRIC_GAUGE,
                  "mam_events_outbox_held_seconds",
                  "How long an open transaction has held the outbox up",
                  NULL },
                { &m->outbox_relayed,
                  MAM_METRIC_GAUGE,
                  "mam_events_outbox_relayed",
                  "Events that this replica moved from the outbox since it started",
                  NULL },
                { &m->outbox_rejected,
                  MAM_METRIC_GAUGE,
                  "mam_events_outbox_rejected",
                  "Events of the outbox that could not be moved, since this replica started",
                  NULL },
                { &m->push_requests,
                  MAM_METRIC_GAUGE,
                  "mam_events_push_requests",
                  "Requests to webhooks since this replica started",
                  by_outcome },
                { &m->push_circuits,
                  MAM_METRIC_GAUGE,
                  "mam_events_push_circuits_open",
                  "Webhooks that are left alone for a while",
                  NULL },
                { &m->streams,
                  MAM_METRIC_GAUGE,
                  "mam_events_streams",
                  "Open server-sent event streams and WebSockets",
                  NULL },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(families); i++) {
                int r =
                                mam_metrics_add(registry,
                                                families[i].family,
                                                families[i].type,
                                                families[i].name,
                                                families[i].help,
                                                families[i].labels);

                if (r < 0)
                        return r;
        }
        return 0;
}

void bus_metrics_published(BusMetrics *m, const char *topic, size_t n, size_t duplicates, uint64_t bytes) {
        const char *labels[] = { topic };

        if (n > 0)
                mam_metric_add(mam_metric_get(m->published, labels), (double) n);
        if (duplicates > 0)
                mam_metric_add(mam_metric_get(m->duplicates, labels), (double) duplicates);
        mam_metric_add(mam_metric_get(m->publish_bytes, labels), (double) bytes);
}

void bus_metrics_consumed(BusMetrics *m, const char *subscription, size_t n) {
        const char *labels[] = { subscription };

        if (n > 0)
                mam_metric_add(mam_metric_get(m->consumed, labels), (double) n);
}

void bus_metrics_settled(
                BusMetrics *m,
                const char *subscription,
                const Settlement *items,
                const int *results,
                size_t n) {
        static const char *const names[] = {
                [SETTLE_ACK] = "ack",
                [SETTLE_NACK] = "nack",
                [SETTLE_EXTEND] = "extend",
                [SETTLE_DEAD] = "reject",
        };
        size_t counts[MAM_ELEMENTSOF(names)] = { 0 }, stale = 0;

        for (size_t i = 0; i < n; i++) {
                if (results[i] < 0)
                        stale++;
                else
                        counts[items[i].kind]++;
        }
        for (size_t i = 0; i <= MAM_ELEMENTSOF(names); i++) {
                bool last = i == MAM_ELEMENTSOF(names);
                const char *labels[] = { subscription, last ? "stale" : names[i] };
                size_t count = last ? stale : counts[i];

                if (count > 0)
                        mam_metric_add(mam_metric_get(m->settled, labels), (double) count);
        }
}

static void on_subscription(const SubscriptionInfo *s, void *userdata) {
        const char *labels[] = { s->name };
        App *app = userdata;

        mam_metric_set(mam_metric_get(app->metrics.lag, labels), (double) s->lag);
        mam_metric_set(mam_metric_get(app->metrics.age, labels),
                       (double) s->oldest_usec / (double) MAM_USEC_PER_SEC);
        mam_metric_set(mam_metric_get(app->metrics.outstanding, labels), (double) s->outstanding);
        mam_metric_set(mam_metric_get(app->metrics.dead, labels), (double) s->dead);
}

void bus_metrics_refresh(App *app) {
        static const char *const outcomes[] = { "delivered", "failed", "refused" };
        BusMetrics *m = &app->metrics;

        mam_metric_set(mam_metric_get(m->streams, NULL), app->n_streams);
        if (app->delivery)
                delivery_each(app->delivery, on_subscription, app);
        if (app->relay) {
                RelayFigures f = relay_figures(app->relay);

                mam_metric_set(mam_metric_get(m->outbox_waiting, NULL), (double) f.waiting);
                mam_metric_set(mam_metric_get(m->outbox_age, NULL),
                               (double) f.oldest_usec / (double) MAM_USEC_PER_SEC);
                mam_metric_set(mam_metric_get(m->outbox_held, NULL),
                               (double) f.held_usec / (double) MAM_USEC_PER_SEC);
                mam_metric_set(mam_metric_get(m->outbox_relayed, NULL), (double) f.relayed);
                mam_metric_set(mam_metric_get(m->outbox_rejected, NULL), (double) f.rejected);
        }
        if (app->pusher) {
                PushFigures f = pusher_figures(app->pusher);
                uint64_t values[] = { f.delivered, f.failed, f.refused };

                for (size_t i = 0; i < MAM_ELEMENTSOF(outcomes); i++)
                        mam_metric_set(mam_metric_get(m->push_requests, &outcomes[i]), (double) values[i]);
                mam_metric_set(mam_metric_get(m->push_circuits, NULL), f.circuits_open);
        }
}
