/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a configuration to units: targets, sockets, slices
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "generator/generate-replica.h"
#include "generator/generate.h"
#include "generator/unit-text.h"
#include "libmam/util/buffer.h"
#include "mam-build.h"

int generate_head(MamBuffer *b, const MamServiceConfig *s, const char *what) {
        int r;

        r = mam_buffer_appendf(
                        b,
                        "# Made by mam-generator from %s:%u%s\n\n[Unit]\nDescription=",
                        s->file,
                        s->line,
                        s->last_good ? ", the last good definition" : "");
        if (r < 0)
                return r;
        r = unit_text_append_plain(b, s->name);
        if (r < 0)
                return r;
        return mam_buffer_appendf(b, "%s\n", what);
}

static int generate_target(const MamServiceConfig *s, const Output *o) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char target[MAM_UNIT_NAME_MAX], unit[MAM_UNIT_NAME_MAX], name[MAM_UNIT_NAME_MAX * 2];
        int r;

        r = generate_head(&b, s, "");
        if (r < 0)
                return r;
        r = mam_buffer_append_string(
                        &b,
                        "Documentation=man:mamctl(1)\n"
                        "PartOf=mam.target\n"
                        "Before=mam.target\n"
                        "Wants=mam-setup.service\n"
                        "After=mam-setup.service\n");
        if (r < 0)
                return r;
        for (char **d = s->dependencies; *d; d++) {
                mam_unit_target(unit, *d);
                r = mam_buffer_appendf(&b, "Requires=%s\nAfter=%s\n", unit, unit);
                if (r < 0)
                        return r;
        }
        for (uint32_t n = 1; n <= s->replicas; n++) {
                mam_unit_replica_service(unit, s->id, n);
                r = mam_buffer_appendf(&b, "Wants=%s\nAfter=%s\n", unit, unit);
                if (r < 0)
                        return r;
        }

        mam_unit_target(target, s->id);
        r = output_file(o, target, mam_buffer_bytes(&b));
        if (r < 0)
                return r;
        snprintf(name, sizeof(name), "mam.target.wants/%s", target);
        snprintf(unit, sizeof(unit), "../%.200s", target);
        return output_link(o, name, unit);
}

/* What it is called; what its units are part of; what the replicas know it by. */
typedef struct Port {
        const char *unit, *what, *part_of, *name;
        uint16_t number;
} Port;

static int generate_port(const MamServiceConfig *s, const Port *p, const Output *o) {
        bool is_local_too = !p->part_of && strcmp(s->id, "api-gateway") == 0;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char target[MAM_UNIT_NAME_MAX], first[MAM_UNIT_NAME_MAX];
        int r;

        mam_unit_target(target, s->id);
        mam_unit_replica_service(first, s->id, 1);
        r = generate_head(&b, s, p->what);
        if (r < 0)
                return r;
        r = mam_buffer_appendf(
                        &b,
                        "Documentation=man:mamctl(1)\nPartOf=mam.target %s%s%s\n\n[Socket]\n",
                        target,
                        p->part_of ? " " : "",
                        p->part_of ? p->part_of : "");
        if (r < 0)
                return r;
        /* Without an address systemd takes [::], and 0.0.0.0 on a host without IPv6. */
        if (strcmp(s->listen, "[::]") == 0) {
                r = mam_buffer_appendf(&b, "ListenStream=%" PRIu16 "\nBindIPv6Only=both\n", p->number);
        } else {
                r = mam_buffer_appendf(&b, "ListenStream=%s:%" PRIu16 "\n", s->listen, p->number);
        }
        if (r < 0)
                return r;
        /* Where services of this host call each other: the kernel says who is at the other end. */
        if (is_local_too) {
                r = mam_buffer_append_string(
                                &b,
                                "ListenStream=/run/mam/gateway.sock\nSocketMode=0666\nRemoveOnStop=yes\n");
                if (r < 0)
                        return r;
        }
        r = mam_buffer_appendf(
                        &b,
                        "FileDescriptorName=%s\n"
                        "Service=%s\n"
                        "Backlog=4096\n"
                        "%s"
                        "FlushPending=no\n"
                        "TriggerLimitIntervalSec=0\n",
                        p->name,
                        first,
                        is_local_too ? ""
                                     : "NoDelay=yes\n"); /* a warning for each socket that is none of TCP */
        if (r < 0)
                return r;
        return output_file(o, p->unit, mam_buffer_bytes(&b));
}

static int generate_public_sockets(const MamConfig *c, const MamServiceConfig *s, const Output *o) {
        char public[MAM_UNIT_NAME_MAX], tls[MAM_UNIT_NAME_MAX];
        Port p = { .unit = public, .what = ", public port", .name = "public", .number = s->port };
        int r;

        if (!mam_service_has_public_socket(s))
                return 0;

        mam_unit_public_socket(public, s->id);
        r = generate_port(s, &p, o);
        if (r < 0 || !mam_service_has_tls_socket(c, s))
                return r;

        /* Whoever stops the public port stops this one with it. */
        mam_unit_tls_socket(tls, s->id);
        p = (Port){ .unit = tls,
                    .what = ", public port for TLS",
                    .part_of = public,
                    .name = "public-tls",
                    .number = c->gateway->tls.port };
        return generate_port(s, &p, o);
}

static int generate_slice(const MamServiceConfig *s, const Output *o) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char name[MAM_UNIT_NAME_MAX];
        int r;

        r = generate_head(&b, s, ", all replicas");
        if (r < 0)
                return r;
        r = mam_buffer_append_string(
                        &b,
                        "Documentation=man:mamctl(1)\n\n[Slice]\nCPUAccounting=yes\nMemoryAccounting=yes\nTasksAccounting=yes\n");
        if (r < 0)
                return r;
        mam_unit_slice(name, s->id);
        return output_file(o, name, mam_buffer_bytes(&b));
}

/* What the replicas of one service run; each revision is applied once. */
typedef struct Applied {
        MamServiceConfig *configs[MAM_DEPLOY_REVISIONS_MAX]; /* owned; by index of the revision */
        bool tried[MAM_DEPLOY_REVISIONS_MAX];
} Applied;

static void applied_done(Applied *a) {
        for (size_t i = 0; i < MAM_DEPLOY_REVISIONS_MAX; i++)
                mam_service_config_free(a->configs[i]);
}

/* Borrowed from a, or s itself. -ENOMEM. */
static int config_of_replica(
                const MamServiceConfig **ret,
                Applied *a,
                const MamServiceConfig *s,
                uint32_t n,
                const Deployment *d) {
        const MamDeployService *deployed = d->deploy ? mam_deploy_find(d->deploy, s->id) : NULL;
        const MamRevision *revision = deployed ? mam_deploy_of_replica(deployed, n) : NULL;
        _cleanup_(mam_freep) char *problem = NULL;
        size_t i;
        int r;

        *ret = s;
        if (!revision)
                return 0;
        i = (size_t) (revision - deployed->revisions);
        assert(i < MAM_DEPLOY_REVISIONS_MAX);
        if (!a->tried[i]) {
                a->tried[i] = true;
                r = mam_revision_apply(&a->configs[i], s, revision, d->definitions_dir, &problem);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        char text[512];

                        snprintf(text,
                                 sizeof(text),
                                 "%s: revision %s cannot be used: %.400s; as configured in its place",
                                 s->id,
                                 revision->name,
                                 problem ? problem : strerror(-r));
                        d->warn(s->id, text);
                }
        }
        if (a->configs[i])
                *ret = a->configs[i];
        return 0;
}

static int generate_replicas(
                const MamConfig *config,
                const MamServiceConfig *s,
                const Deployment *d,
                const Output *o) {
        _cleanup_(applied_done) Applied applied = { 0 };
        int r;

        for (uint32_t n = 1; n <= mam_service_instances_max(s); n++) {
                const MamServiceConfig *runs;

                r = config_of_replica(&runs, &applied, s, n, d);
                if (r < 0)
                        return r;
                r = generate_replica(config, runs, n, o);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Started, it has systemd start all of the first n replicas that do not run, in one transaction, and is gone
 * when that has ended. Nothing hangs on it, so nothing is stopped or restarted because of it. */
static int generate_first_replicas(const MamServiceConfig *s, const Output *o) {
        uint32_t n_max = mam_service_instances_max(s);
        char unit[MAM_UNIT_NAME_MAX], what[40];
        _cleanup_(mam_buffer_done) MamBuffer wants = MAM_BUFFER_INIT;
        int r;

        for (uint32_t n = 1; n <= n_max; n++) {
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                mam_unit_replica_service(unit, s->id, n);
                r = mam_buffer_appendf(&wants, "%s%s", n > 1 ? " " : "Wants=", unit);
                if (r < 0)
                        return r;
                if (n == 1)
                        continue;

                snprintf(what, sizeof(what), ", replicas 1 to %" PRIu32, n);
                r = generate_head(&b, s, what);
                if (r >= 0)
                        r = mam_buffer_appendf(&b, "StopWhenUnneeded=yes\n%s\n", mam_buffer_bytes(&wants));
                if (r < 0)
                        return r;
                mam_unit_first_replicas(unit, s->id, n);
                r = output_file(o, unit, mam_buffer_bytes(&b));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int generate_registry(const MamConfig *config, const Output *o) {
        char text[256];
        int r;

        if (!config->registry_enabled)
                return 0;
        r = output_link(o, "mam.target.wants/mam-registry.socket", MAM_UNIT_DIR "/mam-registry.socket");
        if (r < 0 || strcmp(config->registry_listen, MAM_REGISTRY_LISTEN_DEFAULT) == 0)
                return r;
        /* the empty one takes back all addresses of the unit */
        snprintf(text,
                 sizeof(text),
                 "# Made by mam-generator from registry.url\n\n[Socket]\nListenStream=\nListenStream=%s\nListenDatagram=%s\n",
                 config->registry_listen,
                 config->registry_listen);
        return output_file(o, "mam-registry.socket.d/10-mam.conf", text);
}

int generate(const MamConfig *config, const Deployment *deployment, const Output *output) {
        int r;

        assert(config);
        assert(deployment);
        assert(output);

        for (size_t i = 0; i < config->n_services; i++) {
                const MamServiceConfig *s = &config->services[i];

                r = generate_target(s, output);
                if (r < 0)
                        return r;
                r = generate_public_sockets(config, s, output);
                if (r < 0)
                        return r;
                r = generate_slice(s, output);
                if (r < 0)
                        return r;
                r = generate_replicas(config, s, deployment, output);
                if (r < 0)
                        return r;
                r = generate_first_replicas(s, output);
                if (r < 0)
                        return r;
        }
        return generate_registry(config, output);
}
