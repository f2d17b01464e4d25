#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3-websockets with the event bus.

usage: events-websocket.py URL TOKEN read PATH N       reads N events (cloudevents.json), prints their ids
       events-websocket.py URL TOKEN publish PATH N    publishes N events by the same protocol, prints the answers' number
       events-websocket.py URL TOKEN consume PATH N    takes N events of a subscription (mam.events.v1) and acknowledges each
"""
import asyncio
import json
import sys

import websockets


async def main():
    url, token, what, path, n = sys.argv[1:5] + [int(sys.argv[5])]
    protocol = "mam.events.v1" if what == "consume" else "cloudevents.json"
    async with websockets.connect(url + path, extra_headers={"Authorization": "Bearer " + token}, subprotocols=[protocol], max_size=1 << 22) as c:
        assert c.subprotocol == protocol, c.subprotocol
        if what == "publish":
            for i in range(n):
                await c.send(json.dumps({"specversion": "1.0", "id": f"ws-{i + 1}", "source": "/websocket", "type": "org.example.test", "data": {"n": i + 1}}))
        done = 0
        while done < n:
            message = json.loads(await asyncio.wait_for(c.recv(), 30))
            if what == "consume" and "event" not in message:
                assert message["settled"] == 1 and not message["stale"], message
                done += 1
            elif what == "consume":
                print(message["event"]["id"], message["attempt"], flush=True)
                await c.send(json.dumps({"ack": [message["ackId"]]}))
            else:
                print(message["id"], flush=True)
                done += 1


asyncio.run(main())
