#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A receiver of alerts, as a team would have one: keeps each message as a line of JSON.

usage: receiver.py PORT FILE
"""
import http.server
import json
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        message = json.loads(body)
        message['path'] = self.path
        message['content_type'] = self.headers['Content-Type']
        with open(sys.argv[2], 'a', encoding='utf-8') as f:
            f.write(json.dumps(message) + '\n')
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *args):
        pass


http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Receiver).serve_forever()
