/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * All properties of a vtable as a{sv}
 */

#include <assert.h>

#include "manager/properties.h"

int properties_append(sd_bus_message *m, const sd_bus_vtable *vtable, PropertyAppend append, void *object) {
        int r;

        assert(m);
        assert(vtable);
        assert(append);

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (const sd_bus_vtable *v = vtable; r >= 0 && v->type != _SD_BUS_VTABLE_END; v++) {
                if (v->type != _SD_BUS_VTABLE_PROPERTY)
                        continue;
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", v->x.property.member);
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', v->x.property.signature);
                if (r >= 0)
                        r = append(m, object, v->x.property.member);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}
