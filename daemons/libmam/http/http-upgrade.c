/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A change of protocol on a connection of the HTTP/1 client
 *
 * An upgraded channel carries plain bytes for one call and serves no other. It does not count among the
 * connections of its client: it may live for days, and who opens many bounds them.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-channel.h"

int mam_http_call_set_upgrade(MamHttpCall *call, const char *protocol) {
        char *copy;

        assert(call);
        assert(protocol);

        if (call->started || call->upgrade)
                return -EALREADY;
        if (!mam_http_is_token(protocol, strlen(protocol)) || call->head_request || call->wants_length ||
            call->streaming)
                return -EINVAL;
        copy = strdup(protocol);
        if (!copy)
                return -ENOMEM;
        call->upgrade = copy;
        return 0;
}

int http_channel_upgrade(HttpChannel *ch, const MamHttpHead *head) {
        const MamHttpField *f = mam_http_find(head, "Upgrade");
        MamHttpCall *call = ch->link.call;

        if (!call->upgrade || !head->upgrade || !f || !mam_http_range_equal_fold(f->value, call->upgrade))
                return -EBADMSG;
        ch->upgraded = true;
        ch->client->n_channels--;
        ch->framing = MAM_HTTP_BODY_UNTIL_CLOSE;
        call->streaming = true;
        call->content_length = -1;
        return 0;
}

void http_channel_shut(HttpChannel *ch) {
        const MamHttpCall *call = ch->link.call;

        if (!ch->upgraded || ch->shut || !call->body_ended || ch->out.size > 0)
                return;
        ch->shut = true;
        if (shutdown(ch->fd, SHUT_WR) < 0)
                ch->mute = true;
}
