#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fixed rate of GET requests through the gateway, whatever happens to them.

Each worker keeps one connection and sends at its turns of a common clock; a turn that comes late is not made up for. Five
times a second the counts so far are written to --report, whole: {"requests", "failed", "slow", "outcomes", "by"}. failed: no
answer, or not 200; slow: an answer after more than --slow seconds; by: 200s by what the answer's first word says. Runs until
SIGTERM.
"""
import argparse
import http.client
import json
import os
import signal
import threading
import time

stop = threading.Event()
lock = threading.Lock()
counts = {"requests": 0, "failed": 0, "slow": 0, "outcomes": {}, "by": {}}


def note(outcome, body, seconds, options):
    with lock:
        counts["requests"] += 1
        counts["outcomes"][outcome] = counts["outcomes"].get(outcome, 0) + 1
        counts["failed"] += outcome != "200"
        counts["slow"] += seconds > options.slow
        if outcome == "200":
            word = body.split(b" ", 1)[0].decode("ascii", "replace").strip()
            counts["by"][word] = counts["by"].get(word, 0) + 1


def work(options, number):
    interval = options.workers / options.rate
    due = time.monotonic() + interval * number / options.workers
    connection = None
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + interval, time.monotonic())
        began, body = time.monotonic(), b""
        try:
            if connection is None:
                connection = http.client.HTTPConnection("localhost", 3000, timeout=10)
            connection.request("GET", options.path, headers={"Authorization": "Bearer " + options.token})
            answer = connection.getresponse()
            body = answer.read()
            outcome = str(answer.status)
            if answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as e:
            outcome = type(e).__name__
            connection.close()
            connection = None
        note(outcome, body, time.monotonic() - began, options)


def write(path):
    with lock:
        text = json.dumps(counts)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--token", required=True)
    p.add_argument("--path", required=True)
    p.add_argument("--report", required=True)
    p.add_argument("--rate", type=float, default=100)
    p.add_argument("--workers", type=int, default=16)
    p.add_argument("--slow", type=float, default=0.25)
    options = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    workers = [threading.Thread(target=work, args=(options, n)) for n in range(options.workers)]
    for w in workers:
        w.start()
    while not stop.wait(0.2):
        write(options.report)
    for w in workers:
        w.join()
    write(options.report)


main()
