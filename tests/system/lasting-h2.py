#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same as lasting.py, over HTTP/2 with prior knowledge: short requests, a stream of events and WebSockets (RFC 8441), all over one
connection per client.

A connection may end by GOAWAY only, and each stream that it says is processed must be answered completely; what lasts must say
goodbye before. Then the client comes again. Runs until SIGTERM or --seconds; exit status 1 if something failed, or nothing was done.
"""
import argparse
import asyncio
import json
import os
import signal
import struct
import sys

import h2.config
import h2.connection
import h2.events

stop = asyncio.Event()
report = {"failures": [], "short": 0, "events": 0, "websocket": 0, "goaways": 0, "closed_1001": 0, "events_ended": 0}
options = None


class Trouble(Exception):
    pass


def frame(opcode, data):
    mask = os.urandom(4)
    return bytes([128 | opcode, 128 | len(data)]) + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data))


class Client:
    def __init__(self):
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.streams = {}  # number -> [kind, status, bytes]
        self.last = None  # of GOAWAY
        self.kept = b""
        self.socket_up = True
        self.events_up = True

    def head(self, method, path, *more):
        return [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path),
                ("authorization", "Bearer " + options.token), *more]

    def ask(self, kind):
        n = self.h2.get_next_available_stream_id()
        if kind == "websocket":
            head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "localhost"),
                    (":path", "/lasting/socket"), ("sec-websocket-version", "13"), ("authorization", "Bearer " + options.token)]
            self.h2.send_headers(n, head)
        else:
            path = "/lasting/events" if kind == "events" else "/lasting/short"
            self.h2.send_headers(n, self.head("GET", path), end_stream=True)
        self.streams[n] = [kind, 0, b""]
        return n

    def more(self):
        """After each answer the next request, until the server says that it takes no more."""
        if self.last is None and not stop.is_set():
            self.ask("short")

    def on_socket(self, n, s):
        while len(s[2]) >= 2 and len(s[2]) >= 2 + s[2][1]:
            opcode, final, data = s[2][0] & 15, s[2][0] & 128, s[2][2:2 + s[2][1]]
            s[2] = s[2][2 + s[2][1]:]
            if opcode == 8:
                if struct.unpack("!H", data[:2])[0] != 1001:
                    raise Trouble(f"closed with {data!r}")
                report["closed_1001"] += 1
                self.h2.send_data(n, frame(8, data), end_stream=True)
                self.socket_up = False
            elif final:
                report["websocket"] += 1
                if self.socket_up:
                    self.h2.send_data(n, frame(1, b"again"))

    def on_event(self, e):
        s = self.streams.get(getattr(e, "stream_id", None))
        if isinstance(e, h2.events.ResponseReceived):
            s[1] = int(dict(e.headers)[":status"])
            if s[1] != 200:
                raise Trouble(f"{s[0]}: {s[1]}")
            if s[0] == "websocket":
                self.h2.send_data(e.stream_id, frame(1, b"hello"))
        elif isinstance(e, h2.events.DataReceived):
            self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            s[2] += e.data
            if s[0] == "websocket":
                self.on_socket(e.stream_id, s)
            elif s[0] == "events":
                report["events"] += s[2].count(b"\n\n")
                s[2] = s[2][s[2].rfind(b"\n\n") + 2 if b"\n\n" in s[2] else 0:]
        elif isinstance(e, h2.events.StreamEnded):
            if s[0] == "websocket" and self.socket_up:
                raise Trouble("a WebSocket ended without Close")
            if s[0] == "events":
                if s[2]:
                    raise Trouble(f"events ended within one: {s[2]!r}")
                report["events_ended"] += 1
                self.events_up = False
            if s[0] == "short":
                if not s[2].isdigit():
                    raise Trouble(f"not an answer: {s[2]!r}")
                report["short"] += 1
                self.more()
            del self.streams[e.stream_id]
        elif isinstance(e, h2.events.StreamReset):
            raise Trouble(f"{s[0] if s else '?'}: reset with {e.error_code}")

    def without_goaway(self, data):
        """What is complete of the frames so far, but for GOAWAY: python3-h2 takes that for the end of everything."""
        self.kept += data
        out = b""
        while len(self.kept) >= 9:
            size, kind = int.from_bytes(self.kept[:3], "big"), self.kept[3]
            if len(self.kept) < 9 + size:
                break
            piece, self.kept = self.kept[:9 + size], self.kept[9 + size:]
            if kind != 7:
                out += piece
                continue
            last, code = struct.unpack("!II", piece[9:17])
            if code != 0:
                raise Trouble(f"GOAWAY with {code} {piece[17:]}")
            if self.last is None:
                report["goaways"] += 1
            self.last = last
        return out

    async def run(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", options.port)
        try:
            await self.converse(reader, writer)
        finally:
            writer.close()

    async def converse(self, reader, writer):
        self.h2.initiate_connection()
        writer.write(self.h2.data_to_send())
        started = False
        while not stop.is_set():
            data = await asyncio.wait_for(reader.read(65536), 30)
            if not data:
                break
            for e in self.h2.receive_data(self.without_goaway(data)):
                self.on_event(e)
                if isinstance(e, h2.events.RemoteSettingsChanged) and not started:
                    started = True
                    if not self.h2.remote_settings.enable_connect_protocol:
                        raise Trouble("no extended CONNECT")
                    for kind in ("websocket", "events", "short", "short", "short"):
                        self.ask(kind)
            writer.write(self.h2.data_to_send())
            await asyncio.sleep(options.pause)
        if not stop.is_set():
            if self.last is None:
                raise Trouble("the connection ended without GOAWAY")
            lost = [n for n in self.streams if n <= self.last]
            if lost:
                raise Trouble(f"streams {[self.streams[n][0] for n in lost]} were not answered, of {self.last}")


async def again():
    while not stop.is_set():
        try:
            await Client().run()
        except (Trouble, OSError, asyncio.TimeoutError, h2.exceptions.ProtocolError) as e:
            if not stop.is_set():
                report["failures"].append(f"{type(e).__name__}: {e}")
            await asyncio.sleep(0.1)


def write():
    with open(options.report + ".new", "w", encoding="utf-8") as f:
        json.dump(report, f)
        f.write("\n")
    os.rename(options.report + ".new", options.report)


async def main():
    global options
    p = argparse.ArgumentParser()
    p.add_argument("--token", required=True)
    p.add_argument("--port", type=int, default=3000)
    p.add_argument("--report", required=True)
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--pause", type=float, default=0.005)
    p.add_argument("--clients", type=int, default=4)
    options = p.parse_args()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.call_later(options.seconds, stop.set)
    tasks = [asyncio.create_task(again()) for _ in range(options.clients)]
    while not stop.is_set():
        write()
        await asyncio.sleep(0.2)
    _, late = await asyncio.wait(tasks, timeout=5)
    for task in late:
        task.cancel()
    report["failures"] = report["failures"][:20]
    write()
    sys.exit(1 if report["failures"] or not (report["short"] and report["events"] and report["websocket"]) else 0)


asyncio.run(main())
