#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Constant load on the project API through the gateway, with a ledger of what was acknowledged.

Runs until SIGTERM, or --seconds. Each worker keeps one connection and alternates reads and writes. With --tolerate, requests
may fail (services are being killed), but every write that was acknowledged with 201 must be there at the end, once.
The report says how many requests of which outcome; exit status 1 if one failed (without --tolerate), or the ledger is wrong.
"""
import argparse
import http.client
import json
import os
import signal
import sys
import threading
import time
import uuid

stop = threading.Event()


class Worker(threading.Thread):
    def __init__(self, options, number, project):
        super().__init__()
        self.options, self.number, self.project = options, number, project
        self.outcomes, self.failures, self.acknowledged = {}, [], []
        self.slowest = 0.0

    def request(self, connection, method, path, body=None, headers=None):
        head = {"Authorization": "Bearer " + self.options.token, "Content-Type": "application/json"}
        head.update(headers or {})
        connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=head)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def run(self):
        connection, n = None, 0
        while not stop.is_set():
            n += 1
            write = self.options.write_every and n % self.options.write_every == 0
            key = str(uuid.uuid4())
            began = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(self.options.host, self.options.port, timeout=30)
                if write:
                    title = f"task {self.number}-{n}-{key}"
                    status, body = self.request(connection, "POST", f"/api/v1/projects/{self.project}/tasks", {"title": title}, {"Idempotency-Key": key})
                    if status == 201:
                        self.acknowledged.append((json.loads(body)["id"], title))
                else:
                    status, body = self.request(connection, "GET", f"/api/v1/projects/{self.project}")
                outcome = str(status)
                if status != (201 if write else 200):
                    self.failures.append(f"{'POST' if write else 'GET'}: {status} {body[:200]!r}")
            except (OSError, http.client.HTTPException) as e:
                outcome = type(e).__name__
                self.failures.append(f"{'POST' if write else 'GET'}: {outcome}: {e}")
                if connection:
                    connection.close()
                connection = None
                stop.wait(0.05)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            if self.options.pause:
                stop.wait(self.options.pause)


def ask(options, method, path, body=None):
    connection = http.client.HTTPConnection(options.host, options.port, timeout=30)
    connection.request(method, path, body=json.dumps(body) if body is not None else None,
                       headers={"Authorization": "Bearer " + options.token, "Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {data!r}")
    return json.loads(data)


def all_tasks(options, project):
    found, path = [], f"/api/v1/projects/{project}/tasks?limit=200"
    while path:
        page = ask(options, "GET", path)
        found += [(t["id"], t["title"]) for t in page["items"]]
        path = f"/api/v1/projects/{project}/tasks?limit=200&cursor={page['next']}" if page.get("next") else None
    return found


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=3000)
    p.add_argument("--token", required=True)
    p.add_argument("--workers", type=int, default=8)
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--pause", type=float, default=0.002, help="between two requests of a worker")
    p.add_argument("--write-every", type=int, default=5)
    p.add_argument("--tolerate", action="store_true")
    p.add_argument("--report", required=True)
    options = p.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    project = ask(options, "POST", "/api/v1/projects", {"key": "L" + uuid.uuid4().hex[:8].upper(), "name": "load"})["id"]
    workers = [Worker(options, i, project) for i in range(options.workers)]
    for w in workers:
        w.start()
    with open(options.report + ".started", "w", encoding="ascii") as f:
        f.write(f"{os.getpid()}\n")
    stop.wait(options.seconds)
    stop.set()
    for w in workers:
        w.join()

    outcomes, failures, acknowledged = {}, [], []
    for w in workers:
        for k, v in w.outcomes.items():
            outcomes[k] = outcomes.get(k, 0) + v
        failures += w.failures
        acknowledged += w.acknowledged
    there = all_tasks(options, project)
    lost = set(acknowledged) - set(there)
    twice = len(there) - len({title for _, title in there})
    report = {"outcomes": outcomes, "acknowledged": len(acknowledged), "lost": len(lost), "twice": twice,
              "slowest_s": round(max(w.slowest for w in workers), 3), "failures": failures[:5]}
    with open(options.report, "w", encoding="utf-8") as f:
        json.dump(report, f)
        f.write("\n")
    bad = bool(lost) or twice > 0 or not acknowledged or (bool(failures) and not options.tolerate)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
