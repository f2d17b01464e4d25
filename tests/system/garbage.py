#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sends what no client should send, to HTTP and to DNS over TCP and UDP, some of it with the right token ($REGISTRY_TOKEN), and leaves queries
that block. Usage: garbage.py COUNT [SEED]"""
import os
import random
import socket
import struct
import sys
import urllib.request

count = int(sys.argv[1])
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
token = os.environ["REGISTRY_TOKEN"]
with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:5000/v1/catalog/services", headers={"X-Consul-Token": token})) as answer:
    index = answer.headers["X-Consul-Index"]


def send(port, data, stream=True):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    s.settimeout(10)
    try:
        s.connect(("127.0.0.1", port))
        s.sendall(data)
        if stream and rng.random() < 0.5:
            s.shutdown(socket.SHUT_WR)
            s.recv(4096)
    except OSError:
        pass
    finally:
        s.close()


def http():
    path = rng.choice(["/", "/v1/health/service/", "/v1/catalog/service/%00", "/v1/catalog/service/" + "a" * rng.choice([1, 1000, 9000, 70000]),
                       "/v1/health/service/web?index=%d&wait=10m" % rng.getrandbits(64),
                       f"/v1/catalog/services?index={index}&wait=10m", f"/v1/catalog/services?index={index}", "/metrics", "/v1/metrics/replica/api-gateway/1",
                       "/v1/metrics/replica/../../x/1", "//", "/%zz"])
    head = "%s %s HTTP/1.1\r\nHost: x\r\n" % (rng.choice(["GET", "GET", "GET", "PUT", "G\0T", "DELETE", "HEAD", ""]), path)
    head += rng.choice(["", *3 * [f"X-Consul-Token: {token}\r\n"], "X-Consul-Token: " + "t" * 500 + "\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: what\r\n", "broken\r\n"])
    return (head + rng.choice(["\r\n", "\r\n", "\r\n", "", "\n\n"])).encode("latin-1")


def dns():
    name = b"".join(bytes([len(x)]) + x for x in rng.sample([b"project-manager", b"service", b"mam", b"x" * 63, b"\xff"], 3)) + b"\0"
    data = struct.pack(">HHHHHH", rng.getrandbits(16), rng.choice([0x100, 0, 0x8180, 0x2800]), 1, 0, 0, rng.choice([0, 1, 65535])) + name + b"\0\x21\0\1"
    return data[: rng.randint(0, len(data))] + rng.randbytes(rng.choice([0, 0, 7, 600]))


for i in range(count):
    kind = i % 5
    if kind == 0:
        send(5000, rng.randbytes(rng.randint(1, 2000)))
    elif kind < 3:
        send(5000, http())
    elif kind == 3:
        message = dns()
        send(8600, struct.pack(">H", rng.choice([len(message), 65535, 0])) + message)
    else:
        send(8600, dns(), stream=False)
