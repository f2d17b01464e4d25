#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service whose answers last: downloads, uploads, WebSocket (echo), streams of events. Takes its sockets from systemd.

  GET  /lasting/short           the replica's number
  GET  /lasting/download        4 MiB within two seconds, with their length
  POST /lasting/upload          how many bytes came
  GET  /lasting/events          an event each 50 ms, for ever, each in three pieces
  GET  /lasting/bursts          ten events at once, in one piece, then one a second
  GET  /lasting/socket          WebSocket: sends back what comes, in two fragments
"""
import asyncio
import base64
import hashlib
import os
import socket
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def read_head(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    return method, path, {k.lower(): v for k, v in fields.items()}


def answer(writer, body, status="200 OK"):
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def download(writer):
    piece = bytes(range(256)) * 256
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 4194304\r\n\r\n")
    for _ in range(64):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.03)


async def upload(reader, writer, fields):
    total = 0
    if "content-length" in fields:
        left = int(fields["content-length"])
        while left > 0:
            data = await reader.read(min(left, 65536))
            if not data:
                return
            left -= len(data)
            total += len(data)
    else:
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            total += size
            if size == 0:
                break
    answer(writer, str(total).encode())


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def events(writer, burst):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n")
    n = 0
    while True:
        if burst:
            writer.write(chunk(b"".join(b"data: %d\n\n" % (n + i) for i in range(10 if n == 0 else 1))))
            n += 10 if n == 0 else 1
            await writer.drain()
            await asyncio.sleep(1)
            continue
        for piece in (b"id: %d\n" % n, b"data: event %d\n" % n, b"\n"):
            writer.write(chunk(piece))
            await writer.drain()
            await asyncio.sleep(0.017)
        n += 1


async def read_frame(reader):
    first, second = await reader.readexactly(2)
    size = second & 127
    if size == 126:
        size = struct.unpack("!H", await reader.readexactly(2))[0]
    elif size == 127:
        size = struct.unpack("!Q", await reader.readexactly(8))[0]
    mask = await reader.readexactly(4) if second & 128 else b"\0\0\0\0"
    data = await reader.readexactly(size)
    return first & 15, bytes(b ^ mask[i & 3] for i, b in enumerate(data))


def frame(opcode, data, final=True):
    head = bytes([opcode | (128 if final else 0)])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 65536:
        head += b"\x7e" + struct.pack("!H", len(data))
    else:
        head += b"\x7f" + struct.pack("!Q", len(data))
    return head + data


async def websocket(reader, writer, fields):
    accept = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while True:
        opcode, data = await read_frame(reader)
        if opcode == 8:
            writer.write(frame(8, data))
            return
        if opcode == 9:
            writer.write(frame(10, data))
        elif opcode in (1, 2):
            half = len(data) // 2
            writer.write(frame(opcode, data[:half], final=False))
            await writer.drain()
            writer.write(frame(0, data[half:]))
        await writer.drain()


async def serve(reader, writer):
    try:
        while True:
            method, path, fields = await read_head(reader)
            if path == "/health":
                answer(writer, b"ok\n")
            elif path == "/lasting/short":
                answer(writer, os.environ.get("MAM_REPLICA", "0").encode())
            elif path == "/lasting/download":
                await download(writer)
            elif path == "/lasting/upload" and method == "POST":
                await upload(reader, writer, fields)
            elif path in ("/lasting/events", "/lasting/bursts"):
                await events(writer, path == "/lasting/bursts")
            elif path == "/lasting/socket" and fields.get("upgrade", "").lower() == "websocket":
                await websocket(reader, writer, fields)
                break
            else:
                answer(writer, b"nothing here\n", "404 Not Found")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
    servers = [await (asyncio.start_unix_server if s.family == socket.AF_UNIX else asyncio.start_server)(serve, sock=s)
               for s in sockets]
    await asyncio.gather(*(s.serve_forever() for s in servers))


asyncio.run(main())
