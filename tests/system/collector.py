#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A collector of traces: takes OTLP/HTTP in JSON on a port of loopback and writes each span as a line of JSON.

Usage: collector.py PORT FILE
"""
import http.server
import json
import sys


def value(v):
    return v["stringValue"] if "stringValue" in v else int(v["intValue"])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            for resource in document["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        span["attributes"] = {a["key"]: value(a["value"]) for a in span["attributes"]}
                        file.write(json.dumps(span) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
