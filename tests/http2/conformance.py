#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speaks HTTP/2 to a server frame by frame, right and wrong, and looks at what it says (RFC 9113, RFC 7541, RFC 8441).

Usage: conformance.py SERVER-PROGRAM. Each case has a connection of its own. Only the standard library is used: no
library of HTTP/2 would send what is wrong. TAP on standard output.
"""

import signal
import socket
import struct
import subprocess
import sys
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 20  # seconds; only a server that hangs takes that long


class Closed(Exception):
    pass


def frame(kind, flags=0, stream=0, payload=b"", size=None):
    size = len(payload) if size is None else size
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack_int(value, bits, first=0):
    if value < (1 << bits) - 1:
        return bytes([first | value])
    out = [first | ((1 << bits) - 1)]
    value -= (1 << bits) - 1
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def hpack_string(s):
    s = s if isinstance(s, bytes) else s.encode("latin-1")
    return hpack_int(len(s), 7) + s


def literal(name, value):
    """Without indexing, with a literal name: nothing of HPACK's state is touched."""
    return b"\x00" + hpack_string(name) + hpack_string(value)


def block(*fields):
    return b"".join(literal(n, v) for n, v in fields)


def request(path="/", method="GET", extra=(), scheme="http", authority="localhost"):
    return block((":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *extra)


def status_of(payload):
    """The :status of a header block of this server: the first field. Digits are all that is decoded of Huffman's code."""
    while payload and payload[0] & 0xe0 == 0x20:  # table size update
        payload = payload[1:]
    if payload[0] & 0x80:
        return {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}.get(payload[0] & 0x7f)
    size = payload[1] & 0x7f
    raw = payload[2:2 + size]
    if not payload[1] & 0x80:
        return int(raw)
    bits = "".join(f"{b:08b}" for b in raw)
    digits = ""
    while len(digits) < 3:
        if bits[:5] in ("00000", "00001", "00010"):
            digits, bits = digits + str(int(bits[:5], 2)), bits[5:]
        else:
            digits, bits = digits + str(int(bits[:6], 2) - 0x19 + 3), bits[6:]
    return int(digits)


class Connection:
    def __init__(self, port, preface=True, settings=b"", handshake=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.seen = []
        if preface:
            self.send(PREFACE + frame(SETTINGS, payload=settings))
        if preface and handshake:
            self.expect(lambda f: f[0] == SETTINGS and not f[1] & ACK, "the server's SETTINGS")
            self.send(frame(SETTINGS, ACK))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server said before is still to be read

    def read(self, n):
        while len(self.buffer) < n:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Closed
            self.buffer += more
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def frame(self):
        head = self.read(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        f = (kind, flags, int.from_bytes(head[5:], "big") & 0x7fffffff, self.read(size))
        self.seen.append(f)
        return f

    def expect(self, condition, what):
        """The next frame for which the condition holds; what comes before is looked at by nobody."""
        try:
            while True:
                f = self.frame()
                if condition(f):
                    return f
        except Closed:
            raise AssertionError(f"closed instead of {what}; saw {describe(self.seen)}")
        except socket.timeout:
            raise AssertionError(f"nothing instead of {what}; saw {describe(self.seen)}")

    def status(self, stream, want):
        f = self.expect(lambda f: f[2] == stream and f[0] in (HEADERS, RST_STREAM) or f[0] == GOAWAY, f"status {want}")
        assert f[0] == HEADERS, f"{describe([f])} instead of status {want}"
        got = status_of(f[3])
        assert got == want, f"status {got} instead of {want}"
        return f

    def body(self, stream):
        data = b""
        while True:
            f = self.expect(lambda f: f[2] == stream and f[0] in (DATA, HEADERS, RST_STREAM) or f[0] == GOAWAY, "a body")
            assert f[0] in (DATA, HEADERS), f"{describe([f])} instead of a body"
            data += f[3] if f[0] == DATA else b""
            if f[1] & END_STREAM:
                return data

    def reset(self, stream, *errors):
        f = self.expect(lambda f: f[2] == stream and f[0] in (HEADERS, RST_STREAM) or f[0] == GOAWAY, "RST_STREAM")
        assert f[0] == RST_STREAM, f"{describe([f])} instead of RST_STREAM"
        assert struct.unpack(">I", f[3])[0] in errors, f"{describe([f])}, wanted {errors}"
        self.alive()

    def gone(self, *errors):
        """GOAWAY with one of the errors, and the end of the connection."""
        f = self.expect(lambda f: f[0] == GOAWAY, "GOAWAY")
        assert struct.unpack(">I", f[3][4:8])[0] in errors, f"{describe([f])}, wanted {errors}"
        self.closed()

    def closed(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while True:
                self.frame()
        except (Closed, OSError):
            pass
        except socket.timeout:
            raise AssertionError("the connection stays open")

    def alive(self):
        token = struct.pack(">d", time.monotonic())
        self.send(frame(PING, payload=token))
        f = self.expect(lambda f: (f[0] == PING and f[1] & ACK and f[3] == token) or f[0] == GOAWAY, "the answer to PING")
        assert f[0] == PING, f"{describe([f])} instead of the answer to PING"

    def get(self, stream, path="/", want=200, **more):
        self.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, request(path, **more)))
        self.status(stream, want)
        return self.body(stream)

    def close(self):
        self.socket.close()


def describe(frames):
    names = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()
    out = []
    for kind, flags, stream, payload in frames[-12:]:
        name = names[kind] if kind < len(names) else str(kind)
        code = payload[:4] if kind == RST_STREAM else payload[4:8] if kind == GOAWAY else b""
        out.append(f"{name}({stream}{f', error {int.from_bytes(code, chr(98)+chr(105)+chr(103))}' if code else ''})")
    return " ".join(out) or "nothing"


CASES = []


def case(name, **options):
    def register(fn):
        CASES.append((name, fn, options))
        return fn
    return register


def goes(name, errors, *frames, **options):
    """A case: after these frames the connection ends with one of the errors."""
    def run(c):
        c.send(b"".join(frames))
        c.gone(*errors)
    CASES.append((name, run, options))


def resets(name, errors, *frames, stream=1):
    """A case: after these frames the stream is reset, and the connection lives."""
    def run(c):
        c.send(b"".join(frames))
        c.reset(stream, *errors)
    CASES.append((name, run, {}))


def answers(name, status, *frames, stream=1):
    def run(c):
        c.send(b"".join(frames))
        c.status(stream, status)
        c.body(stream)
        c.alive()
    CASES.append((name, run, {}))


def get(stream=1, path="/", end=True, extra=(), **more):
    return frame(HEADERS, (END_STREAM if end else 0) | END_HEADERS, stream, request(path, extra=extra, **more))


def post(stream=1, path="/stream", extra=(), **more):
    return get(stream, path, end=False, extra=extra, method="POST", **more)


# ---- 3: starting, 4: frames ----

@case("3.4 the server's preface is SETTINGS", handshake=False)
def _(c):
    f = c.frame()
    assert f[0] == SETTINGS and not f[1] & ACK and f[2] == 0, describe([f])
    values = dict(struct.unpack(">HI", f[3][i:i + 6]) for i in range(0, len(f[3]), 6))
    assert values[3] <= 100 and values[6] >= 8192 and values[8] == 1, values
    c.expect(lambda f: f[0] == SETTINGS and f[1] & ACK, "the acknowledgement of SETTINGS")


@case("3.4 a wrong preface is no HTTP/2", preface=False)
def _(c):
    c.send(b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n" + frame(SETTINGS))
    data = b""
    try:
        while True:
            data += c.read(1)
    except (Closed, socket.timeout):
        pass
    assert data.startswith(b"HTTP/1.1 "), data[:40]
    assert data[9:12] in (b"400", b"505"), data[:40]


@case("3.4 the preface may come in pieces", preface=False)
def _(c):
    for i in range(len(PREFACE)):
        c.send(PREFACE[i:i + 1])
    for b in frame(SETTINGS) + get():
        c.send(bytes([b]))
    c.status(1, 200)


goes("3.4 the client's first frame is not SETTINGS", (PROTOCOL_ERROR,), PREFACE + frame(PING, payload=bytes(8)),
     preface=False)
answers("4.1 frames of an unknown type are ignored", 200, frame(0x16, 0xff, 0, b"unknown"), frame(0x17, 0, 1, b"x"), get())
answers("4.1 unknown flags are ignored", 200, frame(PING, 0xfe & ~ACK, 0, bytes(8)), get())
answers("4.1 the reserved bit is ignored", 200, frame(PING, 0, 0x80000000, bytes(8)), get())
goes("4.2 a DATA frame larger than allowed", (FRAME_SIZE_ERROR,), post(), frame(DATA, 0, 1, bytes(16385)))
goes("4.2 a HEADERS frame larger than allowed", (FRAME_SIZE_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, bytes(16385)))
goes("4.2 a frame of the largest size there is", (FRAME_SIZE_ERROR,), frame(PING, 0, 0, b"", size=0xffffff))
answers("4.2 a DATA frame as large as allowed", 200, post(), frame(DATA, END_STREAM, 1, bytes(16384)))
goes("4.3 a header block that cannot be decoded", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80"))
goes("4.3 a header block interrupted by another frame", (PROTOCOL_ERROR,), frame(HEADERS, END_STREAM, 1, request()),
     frame(PRIORITY, 0, 1, bytes(5)))
goes("4.3 a header block interrupted by another stream's", (PROTOCOL_ERROR,), frame(HEADERS, END_STREAM, 1, request()), get(3))
goes("4.3 a header block continued on another stream", (PROTOCOL_ERROR,), frame(HEADERS, END_STREAM, 1, request()),
     frame(CONTINUATION, END_HEADERS, 3, b""))

# ---- 5: streams ----

for kind, payload in ((DATA, b"x"), (RST_STREAM, bytes(4)), (WINDOW_UPDATE, b"\0\0\0\1"), (CONTINUATION, b"")):
    goes(f"5.1 idle: frame type {kind}", (PROTOCOL_ERROR,), frame(kind, 0, 1, payload))
answers("5.1 idle: PRIORITY is allowed", 200, frame(PRIORITY, 0, 5, struct.pack(">IB", 0, 15)), get())
goes("5.1 half-closed (remote): DATA", (STREAM_CLOSED,), get(1, "/hold"), frame(DATA, END_STREAM, 1, b"x"))
goes("5.1 half-closed (remote): HEADERS", (STREAM_CLOSED,), get(1, "/hold"), get(1))
goes("5.1 half-closed (remote): CONTINUATION", (PROTOCOL_ERROR,), get(1, "/hold"), frame(CONTINUATION, END_HEADERS, 1, b""))


@case("5.1 half-closed (remote): WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed")
def _(c):
    c.send(get(1, "/hold") + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)))
    c.alive()
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.alive()


goes("5.1 closed by RST_STREAM: DATA", (STREAM_CLOSED,), post(1, "/hold"), frame(RST_STREAM, 0, 1, bytes(4)), frame(DATA, 0, 1, b"x"))
goes("5.1 closed by RST_STREAM: HEADERS", (STREAM_CLOSED,), post(1, "/hold"), frame(RST_STREAM, 0, 1, bytes(4)), get(1))
goes("5.1 closed by RST_STREAM: CONTINUATION", (PROTOCOL_ERROR,), post(1, "/hold"), frame(RST_STREAM, 0, 1, bytes(4)),
     frame(CONTINUATION, END_HEADERS, 1, b""))


def after_answer(payload):
    def run(c):
        c.get(1)
        c.send(payload)
        c.gone(STREAM_CLOSED)
    return run


CASES.append(("5.1 closed by END_STREAM: DATA", after_answer(frame(DATA, END_STREAM, 1, b"x")), {}))
CASES.append(("5.1 closed by END_STREAM: HEADERS", after_answer(get(1)), {}))


@case("5.1 closed: WINDOW_UPDATE, PRIORITY and RST_STREAM do no harm")
def _(c):
    c.get(1)
    c.send(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) +
           frame(RST_STREAM, 0, 1, bytes(4)))
    c.alive()
    c.get(3)


@case("5.1 what is under way to a stream that the server has reset is forgiven")
def _(c):
    c.send(get(1, end=False, extra=[("connection", "close")]) + frame(DATA, 0, 1, b"x") + frame(DATA, END_STREAM, 1, b"x"))
    c.reset(1, PROTOCOL_ERROR)
    c.get(3)


goes("5.1.1 an even stream id", (PROTOCOL_ERROR,), get(2))
goes("5.1.1 a stream id that does not grow", (PROTOCOL_ERROR,), get(5, "/hold"), get(3))
goes("5.1.1 a request on stream 0", (PROTOCOL_ERROR,), get(0))


@case("5.1.2 more streams than allowed are refused, others are served")
def _(c):
    c.send(b"".join(get(1 + 2 * i, "/hold") for i in range(100)))
    c.alive()
    c.send(get(201, "/hold"))
    f = c.expect(lambda f: f[0] in (RST_STREAM, GOAWAY), "a refusal")
    code = int.from_bytes(f[3][:4] if f[0] == RST_STREAM else f[3][4:8], "big")
    assert code in (REFUSED_STREAM, PROTOCOL_ERROR), describe([f])


@case("5.1.2 a stream that was taken back makes room")
def _(c):
    c.send(b"".join(get(1 + 2 * i, "/hold") for i in range(100)))
    c.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.alive()
    c.get(201)


@case("5.4.1 the last stream in GOAWAY is the last one that was looked at")
def _(c):
    c.get(1)
    c.get(3)
    c.send(frame(DATA, 0, 0, b"x"))
    f = c.expect(lambda f: f[0] == GOAWAY, "GOAWAY")
    assert int.from_bytes(f[3][:4], "big") == 3, describe([f])


# ---- 6.1: DATA ----

goes("6.1 DATA on stream 0", (PROTOCOL_ERROR,), frame(DATA, 0, 0, b"x"))
goes("6.1 DATA with more padding than payload", (PROTOCOL_ERROR,), post(), frame(DATA, PADDED | END_STREAM, 1, b"\x06abcde"))
goes("6.1 DATA with the flag of padding and nothing", (FRAME_SIZE_ERROR, PROTOCOL_ERROR), post(), frame(DATA, PADDED | END_STREAM, 1, b""))


@case("6.1 padding is not content")
def _(c):
    c.send(post() + frame(DATA, PADDED, 1, b"\x03abc\0\0\0") + frame(DATA, PADDED | END_STREAM, 1, b"\x00d"))
    c.status(1, 200)
    assert c.body(1) == b"abcd"


@case("6.1 padding counts for flow control, and is given back")
def _(c):
    c.send(post(1, "/stream"))
    for _ in range(300):  # 300 * 266 bytes are more than the window, unless padding comes back
        c.send(frame(DATA, PADDED, 1, b"\xff" + b"a" * 10 + bytes(255)))
    c.send(frame(DATA, END_STREAM, 1, b""))
    c.status(1, 200)
    assert c.body(1) == b"a" * 3000


# ---- 6.2: HEADERS ----

goes("6.2 HEADERS with more padding than payload", (PROTOCOL_ERROR, FRAME_SIZE_ERROR),
     frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\xff" + request()))
answers("6.2 HEADERS with padding and priority", 200,
        frame(HEADERS, PADDED | PRIORITY_FLAG | END_HEADERS | END_STREAM, 1, b"\x04" + struct.pack(">IB", 0, 200) + request() + bytes(4)))
goes("6.2 HEADERS too short for its priority", (FRAME_SIZE_ERROR, PROTOCOL_ERROR),
     frame(HEADERS, PRIORITY_FLAG | END_HEADERS | END_STREAM, 1, b"\0\0"))

# ---- 6.3: PRIORITY, 6.4: RST_STREAM ----

goes("6.3 PRIORITY on stream 0", (PROTOCOL_ERROR,), frame(PRIORITY, 0, 0, bytes(5)))


@case("6.3 PRIORITY of a wrong size")
def _(c):
    c.send(get(1, "/hold") + frame(PRIORITY, 0, 1, bytes(4)))
    f = c.expect(lambda f: f[0] in (RST_STREAM, GOAWAY), "an error")
    code = int.from_bytes(f[3][:4] if f[0] == RST_STREAM else f[3][4:8], "big")
    assert code == FRAME_SIZE_ERROR, describe([f])


goes("6.4 RST_STREAM on stream 0", (PROTOCOL_ERROR,), frame(RST_STREAM, 0, 0, bytes(4)))
goes("6.4 RST_STREAM of a wrong size", (FRAME_SIZE_ERROR,), get(1, "/hold"), frame(RST_STREAM, 0, 1, bytes(3)))

# ---- 6.5: SETTINGS ----

goes("6.5 SETTINGS acknowledged with a payload", (FRAME_SIZE_ERROR,), frame(SETTINGS, ACK, 0, bytes(6)))
goes("6.5 SETTINGS on a stream", (PROTOCOL_ERROR,), frame(SETTINGS, 0, 1, bytes(6)))
goes("6.5 SETTINGS of a wrong size", (FRAME_SIZE_ERROR,), frame(SETTINGS, 0, 0, bytes(5)))
for name, number, value, error in (("ENABLE_PUSH 2", 2, 2, PROTOCOL_ERROR),
                                   ("INITIAL_WINDOW_SIZE 2^31", 4, 1 << 31, FLOW_CONTROL_ERROR),
                                   ("MAX_FRAME_SIZE 16383", 5, 16383, PROTOCOL_ERROR),
                                   ("MAX_FRAME_SIZE 2^24", 5, 1 << 24, PROTOCOL_ERROR),
                                   ("ENABLE_CONNECT_PROTOCOL 2", 8, 2, PROTOCOL_ERROR)):
    goes(f"6.5.2 {name}", (error,), frame(SETTINGS, 0, 0, struct.pack(">HI", number, value)))
answers("6.5.2 unknown settings are ignored", 200, frame(SETTINGS, 0, 0, struct.pack(">HI", 0xff, 1)), get())
answers("6.5.2 the last of the same setting holds", 200,
        frame(SETTINGS, 0, 0, struct.pack(">HIHI", 4, 0, 4, 65535)), get())


@case("6.5.3 SETTINGS are acknowledged")
def _(c):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 50)))
    c.expect(lambda f: f[0] == SETTINGS and f[1] & ACK, "the acknowledgement")


@case("6.5.2 the server keeps to MAX_FRAME_SIZE")
def _(c):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 16384)) + get(1, "/bytes/60000"))
    c.status(1, 200)
    assert len(c.body(1)) == 60000
    assert max(len(f[3]) for f in c.seen) <= 16384


@case("6.5.2 HEADER_TABLE_SIZE 0 is kept to")
def _(c):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)))
    c.expect(lambda f: f[0] == SETTINGS and f[1] & ACK, "the acknowledgement")
    for i in range(3):
        f = (c.send(get(1 + 2 * i)), c.status(1 + 2 * i, 200))[1]
        p = f[3]
        assert i > 0 or p[0] & 0xe0 == 0x20, "no update of the table's size"
        c.body(1 + 2 * i)


# ---- 6.6 to 6.10 ----

goes("6.6 PUSH_PROMISE of a client", (PROTOCOL_ERROR,), frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + request()))
goes("6.7 PING on a stream", (PROTOCOL_ERROR,), frame(PING, 0, 1, bytes(8)))
goes("6.7 PING of a wrong size", (FRAME_SIZE_ERROR,), frame(PING, 0, 0, bytes(6)))


@case("6.7 PING is answered with its payload, and its answer with nothing")
def _(c):
    c.alive()
    c.send(frame(PING, ACK, 0, b"invalid!"))
    c.alive()
    assert not any(f[0] == PING and f[3] == b"invalid!" for f in c.seen)


goes("6.8 GOAWAY on a stream", (PROTOCOL_ERROR,), frame(GOAWAY, 0, 1, bytes(8)))
goes("6.8 GOAWAY too short", (FRAME_SIZE_ERROR,), frame(GOAWAY, 0, 0, bytes(7)))


@case("6.8 after the client's GOAWAY what was asked for is still answered, and the connection ends")
def _(c):
    c.send(get(1, "/bytes/1000") + frame(GOAWAY, 0, 0, bytes(8)))
    c.status(1, 200)
    assert len(c.body(1)) == 1000
    c.closed()


goes("6.9 WINDOW_UPDATE of 0 on the connection", (PROTOCOL_ERROR,), frame(WINDOW_UPDATE, 0, 0, bytes(4)))
# Errors of flow control end the connection also where they could end the stream only (5.4.1).
goes("6.9 WINDOW_UPDATE of 0 on a stream", (PROTOCOL_ERROR,), get(1, "/hold"), frame(WINDOW_UPDATE, 0, 1, bytes(4)))
goes("6.9 WINDOW_UPDATE of a wrong size", (FRAME_SIZE_ERROR,), frame(WINDOW_UPDATE, 0, 0, bytes(3)))
goes("6.9.1 the connection's window overflows", (FLOW_CONTROL_ERROR,), frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2)
goes("6.9.1 a stream's window overflows", (FLOW_CONTROL_ERROR,), get(1, "/hold"), frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff") * 2)
goes("6.9.2 SETTINGS make a stream's window overflow", (FLOW_CONTROL_ERROR,), get(1, "/hold"),
     frame(WINDOW_UPDATE, 0, 1, b"\x7f\x00\x00\x00"), frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0x7fffffff)))


@case("6.9 the server sends no more than a stream's window", settings=struct.pack(">HI", 4, 1))
def _(c):
    c.send(get(1))
    c.status(1, 200)
    f = c.expect(lambda f: f[0] == DATA, "a byte")
    assert f[3] == b"h", f
    c.alive()
    assert sum(len(f[3]) for f in c.seen if f[0] == DATA) == 1
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    assert c.body(1) == b"ello\n"


@case("6.9.2 a window can become negative", settings=struct.pack(">HI", 4, 100))
def _(c):
    c.send(get(1, "/bytes/1000"))
    c.expect(lambda f: f[0] == DATA and len(f[3]) == 100, "100 bytes")
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    c.alive()
    assert sum(len(f[3]) for f in c.seen if f[0] == DATA) == 100
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5)))
    c.expect(lambda f: f[0] == DATA and len(f[3]) == 5, "5 bytes")
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 10)))
    c.expect(lambda f: f[0] == DATA and len(f[3]) == 10, "10 bytes")


@case("6.9 the server sends no more than the connection's window")
def _(c):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20)) + get(1, "/bytes/200000"))
    c.status(1, 200)
    while sum(len(f[3]) for f in c.seen if f[0] == DATA) < 65535:
        c.expect(lambda f: f[0] == DATA, "data")
    c.alive()
    assert sum(len(f[3]) for f in c.seen if f[0] == DATA) == 65535
    c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)))
    c.body(1)
    assert sum(len(f[3]) for f in c.seen if f[0] == DATA) == 200000


@case("6.9.1 more DATA than a stream's window")
def _(c):
    c.send(post(1, "/hold") + frame(DATA, 0, 1, bytes(16384)) * 4)
    f = c.expect(lambda f: f[0] in (RST_STREAM, GOAWAY), "an error")
    code = int.from_bytes(f[3][:4] if f[0] == RST_STREAM else f[3][4:8], "big")
    assert code == FLOW_CONTROL_ERROR, describe([f])


@case("6.9 no credit comes while nobody reads the body")
def _(c):
    c.send(post(1, "/hold") + frame(DATA, 0, 1, bytes(16384)) * 3)
    c.alive()
    assert not any(f[0] == WINDOW_UPDATE and f[2] == 1 for f in c.seen)


@case("6.9 credit comes while the body is read, beyond the first window")
def _(c):
    c.send(post(1, "/echo"))
    left, window = 300000, 65535
    while left:
        n = min(left, window, 16384)
        if n == 0:
            f = c.expect(lambda f: f[0] == WINDOW_UPDATE and f[2] == 1, "credit")
            window += int.from_bytes(f[3], "big")
            continue
        c.send(frame(DATA, END_STREAM if n == left else 0, 1, b"e" * n))
        left, window = left - n, window - n
    c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)) + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 20)))
    c.status(1, 200)
    assert c.body(1) == b"e" * 300000


@case("6.9 bodies that nobody reads do not block another")
def _(c):
    for i in range(32):  # 2 MiB: more than the connection's window
        c.send(post(1 + 2 * i, "/hold") + frame(DATA, 0, 1 + 2 * i, bytes(16384)) * 3 + frame(DATA, 0, 1 + 2 * i, bytes(16383)))
        c.alive()
    c.send(post(101, "/echo") + frame(DATA, END_STREAM, 101, b"passes"))
    c.status(101, 200)
    assert c.body(101) == b"passes"


goes("6.10 CONTINUATION after END_HEADERS", (PROTOCOL_ERROR,), get(1, "/hold"), frame(CONTINUATION, END_HEADERS, 1, b""))
goes("6.10 CONTINUATION after DATA", (PROTOCOL_ERROR,), post(), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, b""))
goes("6.10 CONTINUATION on stream 0", (PROTOCOL_ERROR,), frame(HEADERS, END_STREAM, 1, request()), frame(CONTINUATION, END_HEADERS, 0, b""))
answers("6.10 a header block may be continued", 200, frame(HEADERS, END_STREAM, 1, request()[:10]),
        frame(CONTINUATION, 0, 1, request()[10:20]), frame(CONTINUATION, END_HEADERS, 1, request()[20:]))

# ---- 8: messages ----

MALFORMED = {
    "upper-case name": [("X-Upper", "1")],
    "empty name": [("", "1")],
    "space in a name": [("x y", "1")],
    "colon in a name": [("x:y", "1")],
    "non-ASCII name": [("x\xe4", "1")],
    "control character in a name": [("x\x01", "1")],
    "NUL in a value": [("x", "a\0b")],
    "CR in a value": [("x", "a\rb")],
    "LF in a value": [("x", "a\nb")],
    "CR LF in a value": [("x", "a\r\nb: c")],
    "space before a value": [("x", " a")],
    "space behind a value": [("x", "a ")],
    "tab before a value": [("x", "\ta")],
    "connection": [("connection", "keep-alive")],
    "keep-alive": [("keep-alive", "timeout=5")],
    "proxy-connection": [("proxy-connection", "keep-alive")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "upgrade": [("upgrade", "h2c")],
    "te other than trailers": [("te", "gzip")],
    "te with more than trailers": [("te", "trailers, deflate")],
    "unknown pseudo-header field": [(":test", "1")],
    "pseudo-header field of answers": [(":status", "200")],
    "late pseudo-header field": [("x", "1"), (":path", "/")],
    "late unknown pseudo-header field": [("x", "1"), (":late", "/")],
    "duplicate :method": [(":method", "GET")],
    "duplicate :scheme": [(":scheme", "http")],
    "duplicate :path": [(":path", "/")],
    "duplicate :authority": [(":authority", "localhost")],
    "host other than :authority": [("host", "elsewhere")],
    "two hosts": [("host", "localhost"), ("host", "localhost")],
    "malformed host": [("host", "a b")],
    "content-length not a number": [("content-length", "1x")],
    "content-length signed": [("content-length", "+1")],
    "content-length empty": [("content-length", "")],
    "content-length as a list": [("content-length", "1, 1")],
    "two content-lengths": [("content-length", "1"), ("content-length", "1")],
    ":protocol without CONNECT": [(":protocol", "websocket")],
}
for name, extra in MALFORMED.items():
    resets(f"8 malformed: {name}", (PROTOCOL_ERROR,), frame(HEADERS, END_HEADERS, 1, request(method="POST", extra=extra)))

BASIC = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "localhost"}
for name in (":method", ":scheme", ":path", ":authority"):
    resets(f"8.3.1 no {name}", (PROTOCOL_ERROR,),
           frame(HEADERS, END_STREAM | END_HEADERS, 1, block(*((n, v) for n, v in BASIC.items() if n != name))))
for name, value in ((":path", ""), (":path", "relative"), (":path", "http://localhost/"), (":path", "*"), (":path", "/a b"),
                    (":path", "/#fragment"), (":path", "/\xe4"), (":path", "/\x7f"), (":method", ""), (":method", "G T"),
                    (":scheme", "ftp"), (":scheme", ""), (":authority", "user@localhost"), (":authority", "a/b"),
                    (":authority", "localhost:99999"), (":method", "CONNECT")):
    resets(f"8.3.1 {name} {value!r}", (PROTOCOL_ERROR,),
           frame(HEADERS, END_STREAM | END_HEADERS, 1, block(*({**BASIC, name: value}).items())))
answers("8.3.1 OPTIONS *", 200, get(method="OPTIONS", path="*"))
answers("8.3.1 a host in place of :authority", 200,
        frame(HEADERS, END_STREAM | END_HEADERS, 1, block((":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a"))))
answers("8.5 CONNECT to somewhere is not implemented", 501, frame(HEADERS, END_HEADERS, 1, block((":method", "CONNECT"), (":authority", "a:1"))))
answers("10.1.1 an expectation that cannot be met", 417, get(extra=[("expect", "miracles")]))
answers("10.5.1 more fields than allowed", 431, get(extra=[("x", "y")] * 110))
answers("10.5.1 larger fields than allowed", 431, frame(HEADERS, END_STREAM, 1, request(extra=[("x", "y" * 10000)])),
        frame(CONTINUATION, END_HEADERS, 1, literal("x", "y" * 10000)))

resets("8.1.1 content-length larger than the body", (PROTOCOL_ERROR,), post(extra=[("content-length", "5")]), frame(DATA, END_STREAM, 1, b"1234"))
resets("8.1.1 content-length smaller than the body", (PROTOCOL_ERROR,), post(1, "/hold", extra=[("content-length", "3")]),
       frame(DATA, END_STREAM, 1, b"1234"))
resets("8.1.1 content-length smaller than the bodies of several frames", (PROTOCOL_ERROR,),
       post(1, "/hold", extra=[("content-length", "3")]), frame(DATA, 0, 1, b"12"), frame(DATA, END_STREAM, 1, b"34"))
resets("8.1.1 content-length without a body", (PROTOCOL_ERROR,), get(extra=[("content-length", "3")]))
resets("8.1 trailers that do not end the stream", (PROTOCOL_ERROR,), post(1, "/hold"), frame(DATA, 0, 1, b"x"),
       frame(HEADERS, END_HEADERS, 1, block(("x", "y"))))
for name, extra in {"pseudo-header field": (":path", "/"), "upper case": ("X", "1"), "content-length": ("content-length", "1"),
                    "connection": ("connection", "close"), "authorization": ("authorization", "x"), "LF": ("x", "a\nb")}.items():
    resets(f"8.1 trailers with {name}", (PROTOCOL_ERROR,), post(1, "/hold"), frame(DATA, 0, 1, b"x"),
           frame(HEADERS, END_STREAM | END_HEADERS, 1, block(extra)))


@case("8.1 trailers pass both ways")
def _(c):
    c.send(post() + frame(DATA, 0, 1, b"body") + frame(HEADERS, END_STREAM | END_HEADERS, 1, block(("x-sum", "1"))))
    c.status(1, 200)
    f = c.expect(lambda f: f[0] == DATA, "the body")
    assert f[3] == b"body" and not f[1] & END_STREAM, f
    f = c.expect(lambda f: f[0] == HEADERS, "trailers")
    assert f[1] & END_STREAM and len(f[3]) > 4, f


@case("8.1 the answer may come before the end of the request, which is then stopped")
def _(c):
    c.send(post(1, "/ignore"))
    c.status(1, 200)
    assert c.body(1) == b"ignored\n"
    c.reset(1, NO_ERROR)
    c.get(3)


@case("8.1 a client that is answered early may send the rest if it is short")
def _(c):
    c.send(post(1, "/ignore", extra=[("content-length", "4")]))
    c.status(1, 200)
    assert c.body(1) == b"ignored\n"
    c.send(frame(DATA, 0, 1, b"re") + frame(DATA, END_STREAM, 1, b"st"))
    c.alive()
    assert not any(f[0] == RST_STREAM for f in c.seen)
    c.get(3)


@case("8.1 and is stopped if it is long, or never comes")
def _(c):
    c.send(post(1, "/ignore", extra=[("content-length", "70000")]) + post(3, "/ignore", extra=[("content-length", "4")]))
    for stream in (1, 3):
        f = c.expect(lambda f: f[0] == RST_STREAM, "RST_STREAM")
        assert f[2] == stream and f[3] == bytes(4), describe([f])
    c.alive()


@case("8.1 an answer that breaks off is reset, not ended")
def _(c):
    c.send(get(1, "/abort"))
    c.reset_after = c.expect(lambda f: f[0] == RST_STREAM, "RST_STREAM")
    assert not any(f[0] == DATA and f[1] & END_STREAM for f in c.seen)
    c.get(3)


@case("8.1 no body behind the answer to HEAD, and behind 204")
def _(c):
    f = (c.send(get(1, method="HEAD")), c.status(1, 200))[1]
    assert f[1] & END_STREAM
    f = (c.send(get(3, "/empty")), c.status(3, 204))[1]
    assert f[1] & END_STREAM
    c.alive()


@case("8.1 100 Continue comes when the body is asked for")
def _(c):
    c.send(post(1, "/echo", extra=[("expect", "100-continue")]))
    c.status(1, 100)
    c.send(frame(DATA, END_STREAM, 1, b"invited"))
    c.status(1, 200)
    assert c.body(1) == b"invited"


@case("8.2.3 cookies are joined, and the authority is the host")
def _(c):
    text = c.get(1, "/describe?q=1", extra=[("cookie", "a=b"), ("cookie", "c=d"), ("te", "trailers")])
    assert b"cookie: a=b; c=d\n" in text and b"host: localhost\n" in text and text.startswith(b"20 GET /describe\n"), text


CONNECT = ((":method", "CONNECT"), (":protocol", "echo"), (":scheme", "http"), (":path", "/stream"), (":authority", "a"))


@case("RFC 8441 an extended CONNECT is a stream of bytes both ways")
def _(c):
    c.send(frame(HEADERS, END_HEADERS, 1, block(*CONNECT)))
    f = c.status(1, 200)
    assert not f[1] & END_STREAM
    for piece in (b"one", b"two", b"x" * 16384):
        c.send(frame(DATA, 0, 1, piece))
        got = b""
        while len(got) < len(piece):
            got += c.expect(lambda f: f[0] == DATA, "the echo")[3]
        assert got == piece
    c.send(frame(DATA, END_STREAM, 1, b"end"))
    assert c.body(1) == b"end"
    c.alive()


for missing in (":scheme", ":path", ":authority"):
    resets(f"RFC 8441 an extended CONNECT without {missing}", (PROTOCOL_ERROR,),
           frame(HEADERS, END_HEADERS, 1, block(*(f for f in CONNECT if f[0] != missing))))
resets("RFC 8441 an extended CONNECT with a content-length", (PROTOCOL_ERROR,),
       frame(HEADERS, END_HEADERS, 1, block(*CONNECT, ("content-length", "1"))))

# ---- 10.5: floods ----


def flood(name, errors, opening, make, n, paced=False):
    """paced: waits for the server after each piece, so that it never sees too many streams at a time."""
    @case(f"10.5 flood: {name}")
    def _(c):
        c.send(opening)
        for i in range(n):
            c.send(make(i) + (frame(PING, payload=bytes(8)) if paced else b""))
            if paced and c.expect(lambda f: f[0] in (PING, GOAWAY), "an answer")[0] == GOAWAY:
                c.buffer = frame(*c.seen[-1]) + c.buffer
                break
        c.gone(*errors)


CALM = (ENHANCE_YOUR_CALM,)
flood("PING", CALM, b"", lambda i: frame(PING, payload=bytes(8)) * 100, 100)
flood("SETTINGS", CALM, b"", lambda i: frame(SETTINGS) * 100, 20)
flood("acknowledgements of SETTINGS that nobody sent", CALM + (PROTOCOL_ERROR,), b"", lambda i: frame(SETTINGS, ACK) * 100, 100)
flood("PRIORITY", CALM, b"", lambda i: frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) * 100, 100)
flood("WINDOW_UPDATE", CALM, b"", lambda i: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 100, 100)
flood("unknown frames", CALM, b"", lambda i: frame(0x42) * 100, 100)
flood("empty DATA", CALM, post(1, "/stream"), lambda i: frame(DATA, 0, 1) * 100, 50)
flood("DATA that is padding only", CALM, post(1, "/stream"), lambda i: frame(DATA, PADDED, 1, b"\x00") * 100, 50)
flood("CONTINUATION", CALM, frame(HEADERS, END_STREAM, 1, request()), lambda i: frame(CONTINUATION, 0, 1, literal("x", "y")), 100)
flood("empty CONTINUATION", CALM, frame(HEADERS, END_STREAM, 1, request()), lambda i: frame(CONTINUATION, 0, 1), 100)
flood("large CONTINUATION", CALM, frame(HEADERS, END_STREAM, 1, request()), lambda i: frame(CONTINUATION, 0, 1, literal("x", "y" * 16000)), 6)
flood("rapid reset", CALM, b"",
      lambda i: b"".join(get(1 + 2 * (20 * i + k), "/hold") + frame(RST_STREAM, 0, 1 + 2 * (20 * i + k), struct.pack(">I", CANCEL))
                         for k in range(20)), 200)
flood("resets that the server is made to send", CALM, b"",
      lambda i: b"".join(post(1 + 2 * (20 * i + k), "/hold", extra=[("content-length", "1")]) +
                         frame(DATA, 0, 1 + 2 * (20 * i + k), b"xy") for k in range(20)), 200, paced=True)
flood("malformed requests", CALM, b"",
      lambda i: b"".join(get(1 + 2 * (20 * i + k), extra=[("connection", "x")]) for k in range(20)), 200, paced=True)


@case("10.5 HPACK bomb: a small block that means much")
def _(c):
    entry = b"\x40" + hpack_string("x") + hpack_string("y" * 3900)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + entry + b"\xbe" * 8000))
    c.gone(ENHANCE_YOUR_CALM)


@case("10.5 a header block that never ends, dribbled")
def _(c):
    c.send(frame(HEADERS, END_STREAM, 1, request()[:5]))
    c.gone(PROTOCOL_ERROR, ENHANCE_YOUR_CALM, NO_ERROR)


@case("10.5 a body that never comes is answered with 408")
def _(c):
    c.send(post(1, "/echo"))
    c.status(1, 408)


@case("10.5 an answer that nobody takes is given up", settings=struct.pack(">HI", 4, 1))
def _(c):
    c.send(get(1, "/bytes/100"))
    c.status(1, 200)
    f = c.expect(lambda f: f[0] in (RST_STREAM, GOAWAY), "RST_STREAM")
    assert f[0] == RST_STREAM and int.from_bytes(f[3], "big") == CANCEL, describe([f])


# ---- RFC 7541: HPACK ----

goes("7541 2.3.3 an index beyond the tables", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\xff\x10"))
goes("7541 6.1 index 0", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\x80"))
goes("7541 6.3 a table larger than allowed", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x3f\xe2\x1f" + request()))
goes("7541 4.2 a table's size that changes behind a field", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\x20"))
goes("7541 5.1 an integer that overflows", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\xff" * 12))
goes("7541 5.2 a string longer than the block", (COMPRESSION_ERROR,), frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\x00\x01x\x7fabc"))
goes("7541 5.2 Huffman with the end-of-string symbol", (COMPRESSION_ERROR,),
     frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\x00\x01x\x84\xff\xff\xff\xff"))
goes("7541 5.2 Huffman with more than 7 bits of padding", (COMPRESSION_ERROR,),
     frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\x00\x01x\x82\x07\xff"))
goes("7541 5.2 Huffman padded with zeros", (COMPRESSION_ERROR,),
     frame(HEADERS, END_STREAM | END_HEADERS, 1, request() + b"\x00\x01x\x81\x00"))
answers("7541 6.1 to 6.3 indexed, incremental, never indexed, size update", 200,
        frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x20\x3f\xe1\x1f\x82\x86\x84\x41" + hpack_string("localhost") +
              b"\x10" + hpack_string("x") + hpack_string("never") + b"\x0f\x2b" + hpack_string("agent")))


@case("7541 2.3.2 the dynamic table lives as long as the connection, also behind requests that are refused")
def _(c):
    entry = b"\x40" + hpack_string("x-kept") + hpack_string("value")
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, request(extra=[("connection", "x")]) + entry))
    c.reset(1, PROTOCOL_ERROR)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 3, request("/describe") + b"\xbe"))
    c.status(3, 200)
    assert b"x-kept: value\n" in c.body(3)


def drain_case(server):
    """Last of all: the server is told to end."""
    busy, idle, silent = Connection(server.port), Connection(server.port), Connection(server.port)
    silent.send(frame(HEADERS, END_HEADERS, 1, block(*CONNECT)))
    silent.status(1, 200)
    busy.send(post(1, "/stream") + frame(DATA, 0, 1, b"before"))
    busy.status(1, 200)
    idle.get(1)
    server.process.send_signal(signal.SIGTERM)
    for c in (busy, idle, silent):
        f = c.expect(lambda f: f[0] == GOAWAY, "the notice")
        assert int.from_bytes(f[3][:4], "big") == 0x7fffffff and f[3][4:8] == bytes(4), describe([f])
    # What was sent before the notice came is still served.
    busy.send(get(3))
    ping = busy.expect(lambda f: f[0] == PING and not f[1] & ACK, "PING")
    busy.status(3, 200)
    busy.body(3)
    busy.send(frame(PING, ACK, 0, ping[3]))
    f = busy.expect(lambda f: f[0] == GOAWAY, "the last GOAWAY")
    assert int.from_bytes(f[3][:4], "big") == 3, describe([f])
    busy.send(frame(DATA, END_STREAM, 1, b"after"))
    assert busy.body(1).endswith(b"after")
    busy.closed()
    # Those that do not answer PING are not waited for for ever.
    for c in (idle, silent):
        f = c.expect(lambda f: f[0] == GOAWAY, "the last GOAWAY without an answer to PING")
        assert int.from_bytes(f[3][:4], "big") == 1, describe([f])
        c.closed()
    assert server.process.wait(PATIENCE) == 0


class Server:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())


def run(number, name, fn):
    try:
        fn()
        print(f"ok {number} - {name}", flush=True)
        return True
    except (AssertionError, Closed, socket.timeout, OSError) as e:
        print(f"not ok {number} - {name}\n# {type(e).__name__}: {e}", flush=True)
        return False


def main():
    server = Server(sys.argv[1])
    pattern = sys.argv[2] if len(sys.argv) > 2 else ""
    good = True
    cases = [c for c in CASES if pattern in c[0]]
    print(f"1..{len(cases) + 1}")

    def one(fn, options):
        c = Connection(server.port, **options)
        try:
            fn(c)
        finally:
            c.close()
        assert server.process.poll() is None, "the server has ended"

    for i, (name, fn, options) in enumerate(cases, 1):
        good &= run(i, name.replace("#", "number sign "), lambda fn=fn, options=options: one(fn, options))
    good &= run(len(cases) + 1, "6.8 graceful end: notice, then the last stream", lambda: drain_case(server))
    server.process.stdin.close()
    code = server.process.wait(PATIENCE)
    print(f"# the server ended with {code}")
    return 0 if good and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
