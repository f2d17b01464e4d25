#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Publishes one event after the other on a few connections until SIGTERM, and remembers which were acknowledged; then, once the bus answers
again, counts how many of them are not there.

usage: events-acknowledged.py PORT TOKEN TOPIC        prints "N acknowledged" after the first hundred, and "N acknowledged, M lost" in the end
"""
import signal
import sys
import threading
import time

from events_client import Bus, Client, Gone

port, token, topic = int(sys.argv[1]), sys.argv[2], sys.argv[3]
bus, stop, lock, acknowledged = Bus([("127.0.0.1", port)], token), threading.Event(), threading.Lock(), []


def publish(number):
    client, n = Client(bus, stick=1), 0
    while not stop.is_set():
        n += 1
        event = {"specversion": "1.0", "id": f"{number}-{n}", "source": "/powercut", "type": "org.example.test", "data": "x" * (n % 500)}
        try:
            status, _, _ = client.ask("POST", f"/v1/topics/{topic}/events", event, kind="application/cloudevents+json")
        except Gone:
            stop.wait(0.02)
            continue
        if status == 201:
            with lock:
                acknowledged.append(event["id"])
                if len(acknowledged) == 100:
                    print("100 acknowledged", flush=True)


def read():
    client, found, path = Client(bus, stick=1), set(), f"/v1/topics/{topic}/events?limit=1000"
    where, deadline = "from=earliest", time.monotonic() + 120
    while True:
        try:
            status, _, page = client.ask("GET", f"{path}&{where}")
        except Gone:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        if status == 404:
            return found  # not even the topic is there
        if status != 200:
            raise SystemExit(f"reading: {status} {page}")
        if not page["events"]:
            return found
        found.update(e["event"]["id"] for e in page["events"])
        where = f"after={page['next']}"


signal.signal(signal.SIGTERM, lambda *_: stop.set())
threads = [threading.Thread(target=publish, args=(i,)) for i in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
lost = set(acknowledged) - read()
print(f"{len(acknowledged)} acknowledged, {len(lost)} lost", flush=True)
