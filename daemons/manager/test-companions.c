/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The registry follows the settings
 */

#include <string.h>

#include "libmam/util/file.h"
#include "libmam/util/test.h"
#include "manager/manager-fixture.h"

#define REGISTRY "mam-registry.socket"

static void settings(Fixture *f, const char *text) {
        char path[128];

        snprintf(path, sizeof(path), "%s/microservices.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        fake_reload(&f->systemd);
}

TEST(the_registry_follows_the_settings) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " REGISTRY), 0);

        settings(&f, "{ \"registry\": { \"enabled\": true } }");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " REGISTRY) == 1);

        settings(&f, "{ \"registry\": { \"enabled\": true, \"url\": \"http://localhost:5055\" } }");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "RestartUnit " REGISTRY) == 1);

        settings(&f, "{}");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit " REGISTRY) == 1);

        settings(&f, "{ \"registry\": { \"enabled\": true } }");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " REGISTRY) == 2);
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " REGISTRY), 1);
        fixture_done(&f);
}

TEST(a_new_manager_starts_it_and_what_cannot_be_started_is_no_harm) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.refuse = REGISTRY;
        settings(&f, "{ \"registry\": { \"enabled\": true } }");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " REGISTRY) == 1);
        manager_free(f.manager);
        test_bus_disconnect(f.own);
        fixture_manager_up(&f);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " REGISTRY) == 2);
        ASSERT_TRUE(f.manager->ready);
        fixture_done(&f);
}
