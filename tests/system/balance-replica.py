#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A replica that works on one request at a time, for as long as the request says.

"X-Work: 20" are 20 ms. "X-Modes: 2=half,3=broken" says what replicas do differently in this request: "half" takes twice the time,
"slow" ten times, "broken" answers 500 at once. The time is slept, so that what is measured is how requests are shared out and not
how fast this machine is.
"""
import asyncio
import os

REPLICA = os.environ["MAM_REPLICA"]
FACTORS = {"half": 2.0, "slow": 10.0}
work = asyncio.Lock()


async def answer(head):
    mode = dict(m.split("=") for m in head.get("x-modes", "").split(",") if m).get(REPLICA)
    if mode == "broken":
        return 500
    if "x-work" in head:
        async with work:
            await asyncio.sleep(float(head["x-work"]) / 1000 * FACTORS.get(mode, 1.0))
    return 200


async def serve(reader, writer):
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = await answer({k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)})
            writer.write(f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\nContent-Length: {len(REPLICA)}\r\n\r\n{REPLICA}".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
