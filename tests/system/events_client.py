# SPDX-License-Identifier: LGPL-2.1-or-later
"""HTTP/1.1, server-sent events and WebSocket for the tests of the event bus: blocking, with deadlines, and nothing but the standard library,
so that what is judged is not also what judges."""
import base64
import http.client
import json
import os
import random
import socket
import struct


class Gone(Exception):
    """The connection ended, or the answer says to come again: what became of the request is not known."""


class Refused(Exception):
    """An answer that no fault explains."""


class Bus:
    """Where the bus answers: a list of (host, port), one of which is taken for each new connection."""

    def __init__(self, targets, token):
        self.targets, self.token = targets, token

    def fields(self, more=None):
        return {"Authorization": "Bearer " + self.token, **(more or {})}


class Client:
    """One connection at a time, made when it is needed."""

    AGAIN = {408, 425, 429, 500, 502, 503, 504}

    def __init__(self, bus, timeout=15, stick=0.98):
        self.bus, self.timeout, self.stick, self.connection = bus, timeout, stick, None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, body=None, kind="application/json", fields=None):
        """Status, fields and JSON of the answer. Gone: unknown outcome."""
        if random.random() > self.stick:
            self.close()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(*random.choice(self.bus.targets), timeout=self.timeout)
            data = None if body is None else json.dumps(body, separators=(",", ":")).encode() if not isinstance(body, bytes) else body
            self.connection.request(method, path, body=data, headers=self.bus.fields({"Content-Type": kind, **(fields or {})}))
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.will_close:
                self.close()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Gone(f"{type(e).__name__}: {e}") from e
        if answer.status in self.AGAIN:
            self.close()
            raise Gone(f"{answer.status} {text[:300]!r}")
        try:
            value = json.loads(text) if text else None
        except ValueError:
            value = text
        return answer.status, answer.headers, value

    def want(self, statuses, method, path, *arguments, **more):
        status, _, value = self.ask(method, path, *arguments, **more)
        if status not in statuses:
            raise Refused(f"{method} {path}: {status} {json.dumps(value)[:400]}")
        return value


class Sse:
    """Server-sent events, as the standard says to read them."""

    def __init__(self, bus, path, last_id=None, timeout=15):
        fields = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        self.data, self.last_id = b"", last_id
        self.connection = http.client.HTTPConnection(*random.choice(bus.targets), timeout=timeout)
        try:
            self.connection.request("GET", path, headers=bus.fields(fields))
            self.socket = self.connection.sock
            self.answer = self.connection.getresponse()
        except (OSError, http.client.HTTPException) as e:
            self.connection.close()
            raise Gone(str(e)) from e
        if self.answer.status != 200:
            status = self.answer.status
            text = self.answer.read(1000)
            self.connection.close()
            if status in Client.AGAIN:
                raise Gone(f"{status} {text!r}")
            raise Refused(f"GET {path} as text/event-stream: {status} {text!r}")

    def next(self):
        """(id, type, data) of the next event; Gone when it ends or keeps silent for too long (the server pings)."""
        kind, data = "message", []
        while True:
            try:
                line = self.answer.readline(1 << 22)
            except (OSError, http.client.HTTPException, ValueError) as e:
                raise Gone(str(e)) from e
            if not line.endswith(b"\n"):
                raise Gone("the stream ended")
            line = line.rstrip(b"\r\n").decode()
            if not line:
                if data:
                    return self.last_id, kind, "\n".join(data)
                kind = "message"
                continue
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)

    def hang_up(self):
        """From another thread: whoever waits for an event gets Gone."""
        hang_up(self.socket)

    def close(self):
        self.connection.close()


def hang_up(s):
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class WebSocket:
    """RFC 6455, as a client, without extensions."""

    def __init__(self, bus, path, protocol, timeout=15):
        host, port = random.choice(bus.targets)
        self.buffer, self.closed = b"", None
        try:
            self.socket = socket.create_connection((host, port), timeout=timeout)
            key = base64.b64encode(os.urandom(16)).decode()
            self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                 f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\nAuthorization: Bearer {bus.token}\r\n\r\n").encode())
            while b"\r\n\r\n" not in self.buffer:
                self.more()
        except OSError as e:
            raise Gone(str(e)) from e
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            self.socket.close()
            if status in Client.AGAIN:
                raise Gone(f"{status}")
            raise Refused(f"GET {path} as WebSocket: {head!r} {self.buffer[:300]!r}")
        fields = {n.strip().lower(): v.strip() for n, _, v in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        if fields.get(b"sec-websocket-protocol") != protocol.encode():
            raise Refused(f"GET {path}: subprotocol {fields.get(b'sec-websocket-protocol')}")

    def more(self):
        try:
            data = self.socket.recv(65536)
        except OSError as e:
            raise Gone(str(e)) from e
        if not data:
            raise Gone("closed without goodbye")
        self.buffer += data

    def take(self, n):
        while len(self.buffer) < n:
            self.more()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def send(self, value, opcode=1):
        data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 0xfe, size) if size < 65536 else struct.pack(">BQ", 0xff, size))
        long = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(long, "big")).to_bytes(size, "big")
        try:
            self.socket.sendall(head + mask + masked)
        except OSError as e:
            raise Gone(str(e)) from e

    def receive(self):
        """The next message as JSON; pings are answered on the way."""
        message = b""
        while True:
            first, second = self.take(2)
            size = second & 0x7f
            if size == 126:
                size = struct.unpack(">H", self.take(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.take(8))[0]
            data, opcode = self.take(size), first & 0x0f
            if opcode == 8:
                self.closed = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
                raise Gone(f"closed {self.closed} {data[2:]!r}")
            if opcode == 9:
                self.send(data, 10)
            elif opcode in (0, 1, 2):
                message += data
                if first & 0x80:
                    return json.loads(message)

    def close(self):
        self.socket.close()

    def hang_up(self):
        hang_up(self.socket)
