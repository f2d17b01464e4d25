#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients of lasting-service.py through the gateway, until SIGTERM or --seconds, that are hard to please.

Nothing may fail: no connection may be refused, no request be lost, no answer be cut. What lasts may end only as its protocol
says goodbye: a WebSocket by a Close with 1001 between two messages' frames, a stream of events behind an event and with the last chunk.
Then the client comes again at once. An idle connection that the server closes before a request is no failure; one that it
closes upon a request is. The report is one JSON object: {"KIND": {"done", "goodbyes"}…, "failures": […]}; exit status 1 if there is
a failure, or if a kind has done nothing.

With --watch there is one WebSocket only: "open", and when it is closed, how.
"""
import argparse
import asyncio
import base64
import hashlib
import json
import os
import signal
import ssl
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
stop = asyncio.Event()
report = {"failures": []}
options = None


class Trouble(Exception):
    pass


def count(kind, what):
    report.setdefault(kind, {"done": 0, "goodbyes": 0})[what] += 1


async def connect():
    context = ssl.create_default_context(cafile=options.ca) if options.ca else None
    return await asyncio.open_connection("127.0.0.1", options.port, limit=1 << 20, ssl=context,
                                         server_hostname="localhost" if context else None)


def head(method, path, *fields):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {options.token}", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return int(lines[0].split(" ")[1]), {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:] if x)}


async def read_body(reader, fields):
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    body = b""
    async for piece in chunks(reader):
        body += piece
    return body


async def chunks(reader):
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        data = (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return
        yield data


async def requests(kind, make, check):
    """One connection, one request after the other."""
    reader = writer = None
    while not stop.is_set():
        if writer is None or reader.at_eof():
            if writer:
                writer.close()
            reader, writer = await connect()
        try:
            await make(writer)
            status, fields = await read_head(reader)
            body = await read_body(reader, fields)
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Trouble(f"{type(e).__name__}: {e}") from e
        if status != 200 or not check(body):
            raise Trouble(f"{status} {body[:200]!r}")
        count(kind, "done")
        if fields.get("connection", "").lower() == "close":
            count(kind, "goodbyes")
            if await reader.read(1):
                raise Trouble("bytes behind an answer that closes")
            writer.close()
            writer = None
        await asyncio.sleep(options.pause)


async def short(kind):
    async def make(writer):
        writer.write(head("GET", "/lasting/short"))
        await writer.drain()
    await requests(kind, make, lambda body: body.isdigit())


async def download(kind):
    want = hashlib.sha256(bytes(range(256)) * 256 * 64).digest()

    async def make(writer):
        writer.write(head("GET", "/lasting/download"))
        await writer.drain()
    await requests(kind, make, lambda body: hashlib.sha256(body).digest() == want)


async def upload(kind):
    async def make(writer):
        writer.write(head("POST", "/lasting/upload", "Transfer-Encoding: chunked", "Idempotency-Key: lasting"))
        for _ in range(20):
            writer.write(b"2000\r\n" + b"x" * 8192 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    await requests(kind, make, lambda body: body == b"163840")


async def events(kind):
    while not stop.is_set():
        reader, writer = await connect()
        writer.write(head("GET", "/lasting/events", "Accept: text/event-stream"))
        status, fields = await read_head(reader)
        if status != 200 or fields.get("content-type") != "text/event-stream":
            raise Trouble(f"{status} {fields}")
        text, n = b"", 0
        try:
            async for piece in chunks(reader):
                text += piece
                while b"\n\n" in text:
                    event, text = text.split(b"\n\n", 1)
                    if event != b"id: %d\ndata: event %d" % (n, n):
                        raise Trouble(f"event {event!r} instead of {n}")
                    n += 1
                    count(kind, "done")
                if stop.is_set():
                    break
            else:
                if text:
                    raise Trouble(f"ended within an event: {text!r}")
                count(kind, "goodbyes")
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Trouble(f"cut: {type(e).__name__} after {n} events") from e
        writer.close()


async def read_frame(reader):
    first, second = await reader.readexactly(2)
    size = second & 127
    if second & 128 or first & 0x70:
        raise Trouble("not a frame of a server")
    if size == 126:
        size = struct.unpack("!H", await reader.readexactly(2))[0]
    elif size == 127:
        size = struct.unpack("!Q", await reader.readexactly(8))[0]
    return first & 15, bool(first & 128), await reader.readexactly(size)


def frame(opcode, data):
    mask = os.urandom(4)
    size = bytes([128 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    return bytes([128 | opcode]) + size + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data))


async def open_socket():
    reader, writer = await connect()
    key = base64.b64encode(os.urandom(16))
    writer.write(head("GET", "/lasting/socket", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                      "Sec-WebSocket-Key: " + key.decode()))
    status, fields = await read_head(reader)
    if status != 101:
        raise Trouble(f"{status} in place of 101: {await read_body(reader, fields)}")
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    if fields.get("sec-websocket-accept") != accept:
        raise Trouble("not the right Sec-WebSocket-Accept")
    return reader, writer


async def talk(reader, writer, kind):
    """Sends messages and waits for each to come back. True: told to go; a message without its echo was not lost by the way,
    as the Close may cross it."""
    n = 0
    while not stop.is_set():
        n += 1
        data = (b"%d " % n) * (n % 100 + 1)
        writer.write(frame(1 + n % 2, data))
        got, opcode = b"", None
        while opcode is None or not final:
            kind_of, final, piece = await read_frame(reader)
            if kind_of == 8:
                code = struct.unpack("!H", piece[:2])[0] if piece else 1005
                if code != 1001:
                    raise Trouble(f"closed with {code} {piece[2:]!r}")
                writer.write(frame(8, piece))
                if await reader.read(1):
                    raise Trouble("bytes behind Close")
                return True
            if opcode is None:
                opcode = kind_of
                if opcode != 1 + n % 2:
                    raise Trouble(f"opcode {opcode}")
            elif kind_of != 0:
                raise Trouble(f"opcode {kind_of} within a message")
            got += piece
        if got != data:
            raise Trouble("another message came back")
        count(kind, "done")
        await asyncio.sleep(options.pause)
    return False


async def websocket(kind):
    while not stop.is_set():
        try:
            reader, writer = await open_socket()
            if await talk(reader, writer, kind):
                count(kind, "goodbyes")
            else:
                writer.write(frame(8, struct.pack("!H", 1000)))
                await writer.drain()
            writer.close()
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise Trouble(f"cut: {type(e).__name__}") from e


async def watch():
    """One WebSocket that only listens: says how it was closed."""
    reader, writer = await open_socket()
    print("open", flush=True)
    try:
        opcode, _, data = await read_frame(reader)
    except (asyncio.IncompleteReadError, ConnectionError) as e:
        print(f"cut: {type(e).__name__}", flush=True)
        return
    print(f"closed {struct.unpack('!H', data[:2])[0]}" if opcode == 8 else f"opcode {opcode}", flush=True)
    writer.write(frame(8, data[:2]))
    await reader.read()
    writer.close()


async def again(kind, client):
    while not stop.is_set():
        try:
            await client(kind)
        except (Trouble, OSError, asyncio.IncompleteReadError) as e:
            if stop.is_set():
                return
            report["failures"].append(f"{kind}: {type(e).__name__}: {e}")
            await asyncio.sleep(0.1)


def write(path):
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(report, f)
        f.write("\n")
    os.rename(path + ".new", path)


async def tell():
    while not stop.is_set():
        write(options.report)
        await asyncio.sleep(0.2)


async def main():
    global options
    p = argparse.ArgumentParser()
    p.add_argument("--token", required=True)
    p.add_argument("--port", type=int, default=3000)
    p.add_argument("--ca", help="speak TLS, and trust this file")
    p.add_argument("--report", default="/dev/null")
    p.add_argument("--kinds", help="only these, separated by commas")
    p.add_argument("--watch", action="store_true")
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--pause", type=float, default=0.01, help="between two requests or messages of a client")
    options = p.parse_args()
    if options.watch:
        await watch()
        return

    kinds = {"short": (short, 8), "download": (download, 3), "upload": (upload, 3), "events": (events, 4), "websocket": (websocket, 6)}
    if options.kinds:
        kinds = {kind: kinds[kind] for kind in options.kinds.split(",")}
    for kind in kinds:
        report[kind] = {"done": 0, "goodbyes": 0}
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.call_later(options.seconds, stop.set)
    teller = asyncio.create_task(tell())
    tasks = [asyncio.create_task(again(kind, client)) for kind, (client, n) in kinds.items() for _ in range(n)]
    await stop.wait()
    _, late = await asyncio.wait(tasks, timeout=10)
    for task in late:
        task.cancel()
    await teller
    report["failures"] = report["failures"][:20]
    write(options.report)
    sys.exit(1 if report["failures"] or not all(report[kind]["done"] for kind in kinds) else 0)


asyncio.run(main())
