#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3-h2 at both ends of the gateway: a service that speaks HTTP/2 with prior knowledge ("serve", sockets from systemd; GET /health also
over HTTP/1, as probes ask) and answers as gRPC does, with trailers; and a client ("talk TOKEN") that says what came of it."""
import os
import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings


def serve_connection(s):
    data = s.recv(65536)
    if data.startswith(b"GET "):
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
        s.close()
        return
    c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    c.initiate_connection()
    heads = {}
    while data:
        for e in c.receive_data(data):
            if isinstance(e, h2.events.RequestReceived):
                heads[e.stream_id] = dict(e.headers)
                c.send_headers(e.stream_id, [(":status", "200"), ("content-type", "application/grpc"), ("x-te", heads[e.stream_id].get(b"te", b"none"))])
            elif isinstance(e, h2.events.DataReceived):
                c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                if e.data:
                    c.send_data(e.stream_id, e.data)
            elif isinstance(e, h2.events.StreamEnded):
                c.send_headers(e.stream_id, [("grpc-status", "0"), ("grpc-message", "fine")], end_stream=True)
        s.sendall(c.data_to_send())
        data = s.recv(65536)
    s.close()


def accept(listener):
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(s,), daemon=True).start()


def serve():
    listeners = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
    for listener in listeners:
        listener.setblocking(True)
        threading.Thread(target=accept, args=(listener,)).start()


def talk(token):
    s = socket.create_connection(("localhost", 3000))
    s.settimeout(30)
    c = h2.connection.H2Connection()
    c.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":path", "/rpc/echo"), (":authority", "localhost"), ("te", "trailers"),
            ("content-type", "application/grpc"), ("authorization", "Bearer " + token)]
    bodies, heads, trailers, ended = {}, {}, {}, set()
    for i in range(20):
        stream = c.get_next_available_stream_id()
        c.send_headers(stream, head)
        for _ in range(3):
            c.send_data(stream, b"%02d" % i * 500)
        c.end_stream(stream)
        bodies[stream] = b""
    s.sendall(c.data_to_send())
    while len(ended) < 20:
        data = s.recv(65536)
        assert data, "the connection was closed"
        for e in c.receive_data(data):
            if isinstance(e, h2.events.ResponseReceived):
                heads[e.stream_id] = dict(e.headers)
            elif isinstance(e, h2.events.DataReceived):
                bodies[e.stream_id] += e.data
                c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, h2.events.TrailersReceived):
                trailers[e.stream_id] = dict(e.headers)
            elif isinstance(e, h2.events.StreamEnded):
                ended.add(e.stream_id)
            assert not isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated)), e
        s.sendall(c.data_to_send())
    for i, stream in enumerate(sorted(bodies)):
        assert heads[stream][b":status"] == b"200", heads[stream]
        assert heads[stream][b"x-te"] == b"trailers", heads[stream]
        assert bodies[stream] == b"%02d" % i * 1500, (i, len(bodies[stream]))
        assert trailers[stream][b"grpc-status"] == b"0" and trailers[stream][b"grpc-message"] == b"fine", trailers.get(stream)
    print("all is well")


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else talk(sys.argv[2])
