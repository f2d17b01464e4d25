#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A receiver of events by webhook, which verifies each signature by itself (Standard Webhooks 1.0). One line of JSON for each request that is
signed rightly, with what it was answered; another has "wrong" in it.

usage: events-webhook.py PORT FILE SECRET [STATUS…]    the first requests are answered with these, all others with 204
"""
import base64
import hashlib
import hmac
import http.server
import json
import sys
import time

port, path, secret, statuses = int(sys.argv[1]), sys.argv[2], sys.argv[3], [int(s) for s in sys.argv[4:]]


def note(value):
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(value) + "\n")


def wrong(fields, body):
    """What is wrong with a signature, or None."""
    when = fields.get("webhook-timestamp", "")
    if not when.isdigit() or abs(int(when) - time.time()) > 300:
        return f"timestamp {when!r}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{fields.get('webhook-id', '')}.{when}.".encode() + body
    want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    if not any(hmac.compare_digest(want, got) for got in fields.get("webhook-signature", "").split(" ")):
        return f"signature {fields.get('webhook-signature')!r}"
    return None


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, fields=()):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def do_OPTIONS(self):
        origin = self.headers.get("WebHook-Request-Origin")
        note({"handshake": origin})
        self.answer(200, (("WebHook-Allowed-Origin", origin or "*"), ("WebHook-Allowed-Rate", "*")))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fields = {k.lower(): v for k, v in self.headers.items()}
        status = statuses.pop(0) if statuses else 204
        note({"wrong": wrong(fields, body), "id": fields.get("webhook-id"), "type": fields.get("content-type"), "status": status,
              "event": json.loads(body) if body else None})
        self.answer(status)

    def log_message(self, *args):
        pass


http.server.HTTPServer(("127.0.0.1", port), Receiver).serve_forever()
