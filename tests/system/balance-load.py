#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sends requests to /balance at a rate, whatever becomes of those before, and prints as JSON how long they took.

usage: balance-load.py [--rate N] [--requests N] [--modes 2=half]    (with $TOKEN)

When each is sent, and how much work it is, is drawn from a fixed seed: two runs differ by nothing but what the replicas do. Times
are counted from when a request was due, so a client that is late hides nothing.
"""
import argparse
import asyncio
import json
import os
import random

idle = []


async def ask(options, ms):
    """Status and the replica's number. Over a connection that is free, or a new one."""
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", 3000)
    modes = f"X-Modes: {options.modes}\r\n" if options.modes else ""
    writer.write(f"GET /balance HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {os.environ['TOKEN']}\r\nX-Work: {ms:.3f}\r\n{modes}\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    body = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    if "connection: close" in head:
        writer.close()
    else:
        idle.append((reader, writer))
    return int(head.split()[1]), body.decode()


async def one(options, due, ms, results):
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    try:
        status, replica = await ask(options, ms)
    except (OSError, asyncio.IncompleteReadError) as e:
        status, replica = type(e).__name__, ""
    results.append(((loop.time() - due) * 1000, status, replica))


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--requests", type=int, default=1200)
    parser.add_argument("--work", type=float, default=20, help="ms, on average")
    parser.add_argument("--modes", default="")
    parser.add_argument("--before", type=int, default=150, help="requests that go before those that count, while gateways get to know the replicas")
    options = parser.parse_args()
    draw, results, tasks = random.Random(4), [], []
    due = asyncio.get_running_loop().time() + 0.5
    for n in range(options.before + options.requests):
        due += draw.expovariate(options.rate)
        # As those of services: most are short, a few take many times as long.
        ms = min(max(draw.expovariate(1 / options.work), options.work / 5), options.work * 6)
        tasks.append(asyncio.create_task(one(options, due, ms, results if n >= options.before else [])))
    await asyncio.gather(*tasks)
    good = sorted(ms for ms, status, _ in results if status == 200)
    replicas = {}
    for _, status, replica in results:
        key = replica if status == 200 else str(status)
        replicas[key] = replicas.get(key, 0) + 1
    at = lambda q: round(good[min(len(good) - 1, int(len(good) * q))], 1)
    print(json.dumps({"requests": len(results), "failed": len(results) - len(good), "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "replicas": replicas}))


asyncio.run(main())
