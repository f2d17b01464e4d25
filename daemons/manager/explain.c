/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Explain: why a service is as it is
 */

#include <assert.h>
#include <string.h>

#include "libmam/util/time.h"
#include "manager/endpoints.h"
#include "manager/explain.h"
#include "manager/manager-acts.h"
#include "manager/manager.h"
#include "manager/plan.h"

#define SET(field, ...) ((void) snprintf(field, sizeof(field), __VA_ARGS__))

static void number(DecisionRecord *d, const char *name, double value) {
        if (d->n_numbers >= DECISION_NUMBERS_MAX)
                return;
        SET(d->numbers[d->n_numbers].name, "%s", name);
        d->numbers[d->n_numbers++].value = value;
}

static void explain_stopped(const Service *s, DecisionRecord *d) {
        if (manager_service_is_external(s->manager, s->config->id)) {
                SET(d->why, "an external one takes its place");
                SET(d->change, "microservices.json without external.%s, then mamctl init", s->config->id);
        } else {
                SET(d->why, "nobody wants it to run");
                SET(d->change, "mamctl start %s", s->config->id);
        }
}

void explain_state(const Service *s, DecisionRecord *ret) {
        const ServiceCounts *c = &s->counts;
        DecisionRecord d = { .since_usec = s->state_since_usec };
        const char *gate = service_gate_of_start(s);

        SET(d.verdict, "%s", s->state_text);
        if (!s->state->running && c->existing == 0) {
                explain_stopped(s, &d);
        } else if (!s->state->running) {
                SET(d.why, "it is being stopped, and %u replicas are still there", c->existing);
                SET(d.change, "mamctl start %s", s->config->id);
        } else if (c->desired == 0) {
                SET(d.why, "no replica is wanted: it sleeps until the next request");
                SET(d.change, "a request, or mamctl scale %s 1", s->config->id);
        } else if (c->ready >= c->desired && s->dependency_note[0]) {
                SET(d.why, "all %u replicas are ready, but %s", c->desired, s->dependency_note);
                SET(d.change, "what it depends on; it is not restarted for that");
        } else if (c->ready >= c->desired) {
                SET(d.why, "all %u wanted replicas are ready", c->desired);
                SET(d.change, "fewer ready replicas");
        } else if (gate) {
                SET(d.why, "%u of %u replicas are ready; it waits for %s", c->ready, c->desired, gate);
                SET(d.change, "a ready replica of %s", gate);
        } else {
                SET(d.why, "%u of %u replicas are ready; %s", c->ready, c->desired, s->reason);
                SET(d.change, "see the replicas that are not healthy");
        }
        number(&d, "desired", c->desired);
        number(&d, "ready", c->ready);
        number(&d, "existing", c->existing);
        number(&d, "starting", c->starting);
        number(&d, "stopping", c->stopping);
        number(&d, "held_back", c->held);
        *ret = d;
}

void explain_health(const Service *s, DecisionRecord *ret) {
        const MamServiceConfig *c = s->config;
        uint32_t healthy = 0, unhealthy = 0, unknown = 0, running = 0;
        DecisionRecord d = { .since_usec = s->state_since_usec };
        char interval[48], timeout[48];

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];

                if (!r || r->activity == UNIT_INACTIVE)
                        continue;
                running++;
                healthy += r->health.state == HEALTH_HEALTHY;
                unhealthy += r->health.state == HEALTH_UNHEALTHY;
                unknown += r->health.state == HEALTH_UNKNOWN;
        }
        mam_format_timespan(interval, c->health_interval_usec);
        mam_format_timespan(timeout, c->health_timeout_usec);
        SET(d.verdict, "%u of %u healthy", healthy, running);
        SET(d.why,
            "each is asked by %s%s%.80s every %s, for at most %s; %u failures in a row make unhealthy, %u "
            "successes healthy",
            mam_probe_type_to_string(c->probe),
            c->probe == MAM_PROBE_HTTP ? " " : "",
            c->probe == MAM_PROBE_HTTP ? c->health_path : "",
            interval,
            timeout,
            c->health_failures,
            c->health_successes);
        SET(d.change, "healthCheck of %s in the configuration", c->id);
        number(&d, "healthy", healthy);
        number(&d, "unhealthy", unhealthy);
        number(&d, "unknown", unknown);
        number(&d, "failure_threshold", c->health_failures);
        number(&d, "success_threshold", c->health_successes);
        number(&d, "interval_seconds", (double) c->health_interval_usec / 1e6);
        number(&d, "timeout_seconds", (double) c->health_timeout_usec / 1e6);
        *ret = d;
}

void explain_endpoints(const Service *s, DecisionRecord *ret) {
        uint32_t ready = 0, draining = 0, unready = 0, asleep = 0;
        DecisionRecord d = { .since_usec = 0 };

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const char *state = s->replicas[n] ? endpoint_state(s->replicas[n]) : "";

                if (s->replicas[n] && s->replicas[n]->activity == UNIT_INACTIVE &&
                    !replica_is_wanted(s->replicas[n]))
                        continue;
                ready += strcmp(state, "ready") == 0;
                draining += strcmp(state, "draining") == 0;
                unready += strcmp(state, "unready") == 0;
                asleep += strcmp(state, "asleep") == 0;
        }
        SET(d.verdict, "%u ready", ready);
        if (ready > 0) {
                SET(d.why, "each ready replica takes new requests, the cheapest first");
                SET(d.change, "a replica that becomes ready, drains, or fails its probes");
        } else if (s->state->running && s->counts.desired == 0) {
                SET(d.verdict, "asleep");
                SET(d.why, "none runs; the first connection starts one");
                SET(d.change, "a request");
        } else {
                SET(d.why, "no replica is ready, so requests wait for one, up to 5 s");
                SET(d.change, "a replica that becomes ready");
        }
        number(&d, "ready", ready);
        number(&d, "draining", draining);
        number(&d, "unready", unready);
        number(&d, "asleep", asleep);
        number(&d, "revision", (double) s->revision);
        *ret = d;
}

bool explain_replica(const Replica *r, uint64_t now_usec, DecisionRecord *ret) {
        DecisionRecord d = { .since_usec = r->health.since_realtime_usec };
        PlanDifference difference = { .is = "" };
        char why[160];
        PlanReplica p;

        if (replica_is_wanted(r) && r->health.state == HEALTH_HEALTHY && r->activity == UNIT_ACTIVE &&
            r->restart == RESTART_NONE)
                return false;
        if (!replica_is_wanted(r) && r->activity == UNIT_INACTIVE)
                return false;

        replica_describe(r, why, sizeof(why));
        replica_plan_view(r, &p);
        SET(d.verdict, "%s", r->hold[0] ? "quarantined" : health_state_to_string(r->health.state));
        if (plan_replica(&p, now_usec, &difference)) {
                SET(d.why, "%s", difference.why[0] ? difference.why : why);
                SET(d.change, "the manager will: %s", difference.todo);
        } else {
                SET(d.why, "%s", why);
                SET(d.change, "its next probe");
        }
        number(&d, "restarts", r->restarts);
        number(&d, "failed_probes", r->health.failures);
        number(&d, "oom_kills", (double) r->oom_kills);
        number(&d, "quarantines", r->backoff.level);
        if (r->backoff.held_until_usec > now_usec)
                number(&d, "held_for_seconds", (double) (r->backoff.held_until_usec - now_usec) / 1e6);
        *ret = d;
        return true;
}
