#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3-websockets at both ends: a service ("serve", sockets from systemd) and a client ("talk TOKEN") that sends messages of many
sizes and kinds through the gateway and says what came of it. Compression is on, so the frames have reserved bits."""
import asyncio
import http
import os
import socket
import sys

import websockets


async def echo(connection, _path=None):
    async for message in connection:
        if message == "close please":
            await connection.close(4000, "as you like")
            return
        await connection.send(message)


async def health(path, _headers):
    return (http.HTTPStatus.OK, [], b"ok\n") if path == "/health" else None


async def serve():
    sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
    for s in sockets:
        start = websockets.unix_serve if s.family == socket.AF_UNIX else websockets.serve
        await start(echo, sock=s, process_request=health, max_size=1 << 24, subprotocols=["echo.v2"])
    await asyncio.Future()


async def pieces(text, size):
    for i in range(0, len(text), size):
        yield text[i:i + size]


async def talk(token):
    url, headers = "ws://localhost:3000/library/echo", {"Authorization": "Bearer " + token}
    async with websockets.connect(url, extra_headers=headers, max_size=1 << 24, subprotocols=["echo.v1", "echo.v2"]) as c:
        assert c.subprotocol == "echo.v2", c.subprotocol
        assert [type(e).__name__ for e in c.extensions] == ["PerMessageDeflate"], c.extensions
        for n in (0, 1, 125, 126, 65535, 65536, 1 << 20, 5 << 20):
            for message in (os.urandom(n), "ü" * (n // 2)):
                await c.send(message)
                assert await c.recv() == message, n
        text = "in many fragments, " * 1000
        await c.send(pieces(text, 77))
        assert await c.recv() == text
        await asyncio.wait_for(await c.ping(), 10)
        many = [f"message {i}" for i in range(2000)]
        for message in many:
            await c.send(message)
        assert [await c.recv() for _ in many] == many
        await c.send("close please")
        try:
            await c.recv()
            raise AssertionError("not closed")
        except websockets.ConnectionClosed as e:
            assert (e.rcvd.code, e.rcvd.reason) == (4000, "as you like"), e
    async with websockets.connect(url, extra_headers=headers) as c:
        await c.send("one")
        assert await c.recv() == "one"
    print("all is well")


asyncio.run(serve() if sys.argv[1] == "serve" else talk(sys.argv[2]))
