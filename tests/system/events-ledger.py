#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Producers and consumers of the event bus with a ledger outside of it (events_ledger.py), while what the bus stands on is killed.

Runs --seconds with faults, each 0.2 to 2 s after the last: kill -9 of a replica of the bus or of the gateway, of PostgreSQL (all of it, its
first process, or one of the others) and of Redis. Then everything that was acknowledged must arrive. Producers send a share of their events
again on purpose, and all whose outcome they do not know. The last line is a report in JSON; exit status 1 if the ledger found anything.

    events-ledger.py --token TOKEN [--token-command COMMAND] --seconds N [--faults NAME,…] [--seed N] [--rate N]
"""
import argparse
import collections
import json
import os
import random
import subprocess
import sys
import threading
import time

from events_client import Bus, Client, Gone, Refused, Sse, WebSocket
from events_ledger import Group, Ledger, Reader

BATCH_MAX = 20
LEASE = "3s"
DRAIN = 120


class Run:
    """What all threads share."""

    def __init__(self, options):
        self.options, self.ledger = options, Ledger()
        targets = [("127.0.0.1", int(p)) for p in options.ports.split(",")]
        self.bus = Bus(targets, options.token)
        self.topic = "ledger-" + format(random.getrandbits(40), "x")
        self.calm = threading.Event()  # no more faults, no new events
        self.over = threading.Event()
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.slowest = 0.0

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] += n

    def pause(self, low=0.02, high=0.2):
        self.over.wait(random.uniform(low, high))


class Worker(threading.Thread):
    """A thread whose mistakes are the ledger's business."""

    def __init__(self, run, name):
        super().__init__(name=name, daemon=True)
        self.run_, self.ledger, self.stream = run, run.ledger, None

    def hang_up(self):
        if self.stream:
            self.stream.hang_up()

    def run(self):
        try:
            self.work()
        except Refused as e:
            self.ledger.fail(f"{self.name}: refused: {e}")
        except Exception as e:  # of the test itself: it must not go unseen
            self.ledger.fail(f"{self.name}: {type(e).__name__}: {e}")
            raise


def event_of(name, number, size):
    key = name.split("/")[0]
    return {"specversion": "1.0", "id": f"{name}-{number}", "source": "/ledger", "type": "org.example.ledger", "partitionkey": key,
            "datacontenttype": "application/json", "data": {"key": key, "number": number, "filling": "x" * size}}


def key_of(event):
    return event["data"]["key"], event["data"]["number"]


class Producer(Worker):
    """Owns keys, and writes an event of a key when the one before is acknowledged."""

    def __init__(self, run, number, keys, rate):
        super().__init__(run, f"producer {number}")
        self.client, self.twin_client = Client(run.bus), Client(run.bus)
        self.names = [f"p{number}k{i}" for i in range(keys)]
        self.keys = [self.ledger.key(name) for name in self.names]
        self.numbers = [0] * keys
        self.gap = 1 / rate
        self.old = collections.deque(maxlen=200)

    def work(self):
        due = time.monotonic()
        while not self.run_.calm.is_set():
            n = random.choice((1, 1, 2, 5, random.randint(1, BATCH_MAX)))
            items = []
            for _ in range(n):
                i = random.randrange(len(self.names))
                self.numbers[i] += 1
                items.append((i, self.numbers[i], random.choice((10, 100, 1000))))
            self.send(items)
            self.old.append(items)
            if random.random() < 0.1:
                self.send(items, again=True)
            if random.random() < 0.05:
                self.send(random.choice(self.old), again=True)
            due = max(due + n * self.gap, time.monotonic() - 1)
            self.run_.calm.wait(max(0, due - time.monotonic()))

    def body(self, items):
        events = [event_of(self.names[i], number, size) for i, number, size in items]
        path = f"/v1/topics/{self.run_.topic}/events"
        if len(events) > 1 or random.random() < 0.3:
            return path, events, "application/cloudevents-batch+json", {}
        if random.random() < 0.5:
            return path, events[0], "application/cloudevents+json", {}
        e = events[0]
        return path, json.dumps(e["data"]).encode(), "application/json", {"ce-" + k: e[k] for k in ("specversion", "id", "source", "type", "partitionkey")}

    def send(self, items, again=False):
        """Until it is acknowledged: with the same ids as often as it takes."""
        request, unknown = self.body(items), again
        if random.random() < 0.05:  # the same at the same time, by another way
            unknown = True
            other = threading.Thread(target=self.once, args=(self.twin_client, request, items, True), daemon=True)
            other.start()
        else:
            other = None
        began = time.monotonic()
        while not self.once(self.client, request, items, unknown):
            unknown = True
            self.run_.count("publish_retries")
            self.run_.pause()
            if self.run_.over.is_set():
                return
        self.run_.slowest = max(self.run_.slowest, time.monotonic() - began)
        if other:
            other.join()

    def once(self, client, request, items, unknown):
        path, body, kind, fields = request
        try:
            status, _, answer = client.ask("POST", path, body, kind=kind, fields=fields)
        except Gone as e:
            self.run_.count("publish_unknown")
            if self.run_.options.verbose:
                print(f"{self.name}: {e}", file=sys.stderr)
            return False
        if status not in (200, 201):
            self.ledger.fail(f"{self.name}: {path}: {status} {json.dumps(answer)[:400]}")
            self.run_.pause(1, 2)
            return False
        results = answer["events"]
        if len(results) != len(items):
            self.ledger.fail(f"{self.name}: {len(items)} events were sent, {len(results)} acknowledged")
            return False
        if (status == 200) != all(r["duplicate"] for r in results):
            self.ledger.fail(f"{self.name}: status {status} for {results}")
        for (i, number, _), r in zip(items, results):
            self.ledger.stored(self.keys[i], number, r["position"], r["duplicate"], unknown)
        return True


class StreamProducer(Worker):
    """Event sourcing by one writer: each event expects the version of the one before."""

    def __init__(self, run):
        super().__init__(run, "stream producer")
        self.client = Client(run.bus)

    def work(self):
        key, number = self.ledger.key("stream"), 0
        while not self.run_.calm.is_set():
            number += 1
            path = f"/v1/topics/{self.run_.topic}/events?stream=ledger&expectedVersion={number - 1}"
            unknown = False
            while not self.run_.over.is_set():
                try:
                    status, _, answer = self.client.ask("POST", path, event_of("stream", number, 10), kind="application/cloudevents+json")
                except Gone:
                    unknown = True
                    self.run_.pause()
                    continue
                if status not in (200, 201):
                    self.ledger.fail(f"{self.name}: version {number - 1} expected: {status} {json.dumps(answer)[:300]}")
                    return
                r = answer["events"][0]
                if r["streamVersion"] != number:
                    self.ledger.fail(f"{self.name}: version {r['streamVersion']} instead of {number}")
                self.ledger.stored(key, number, r["position"], r["duplicate"], unknown)
                if unknown or random.random() > 0.1:
                    break
                unknown = True  # once more on purpose
            self.run_.calm.wait(random.uniform(0, 0.2))


class Follower(Worker):
    """A plain cursor, by one of the ways. Its position is how many events it has had: the topic has no gaps."""

    def __init__(self, run, how):
        super().__init__(run, f"reader by {how}")
        self.how, self.client, self.cursor = how, Client(run.bus), None
        self.reader = Reader(run.ledger, self.name)
        self.path = f"/v1/topics/{run.topic}/events"

    def seen(self, event):
        name, number = key_of(event)
        self.reader.seen(self.reader.last + 1, self.ledger.key(name), number)

    def where(self):
        return f"after={self.cursor}" if self.cursor else "from=earliest"

    def work(self):
        while not self.run_.over.is_set():
            try:
                getattr(self, self.how)()
            except Gone as e:
                self.run_.count(f"{self.how}_again")
                if self.run_.options.verbose:
                    print(f"{self.name}: {e}", file=sys.stderr)
                self.run_.pause(0.02, 0.1)

    def page(self):
        answer = self.client.want((200,), "GET", f"{self.path}?{self.where()}&limit={random.choice((1, 10, 100, 1000))}&wait=2")
        for e in answer["events"]:
            self.seen(e["event"])
        self.cursor = answer["next"]

    def sse(self):
        # A browser resumes by Last-Event-ID alone; the address stays what it was.
        s = self.stream = Sse(self.run_.bus, f"{self.path}?from=earliest", self.cursor, timeout=20)
        try:
            leave = random.random() < 0.3 and random.randint(1, 200)
            for n in range(1 << 30):
                cursor, _, data = s.next()
                self.seen(json.loads(data))
                self.cursor = cursor
                if self.run_.over.is_set() or n == leave:
                    return
        finally:
            s.close()

    def websocket(self):
        s = self.stream = WebSocket(self.run_.bus, f"{self.path}?{self.where()}", "cloudevents.json", timeout=20)
        try:
            while not self.run_.over.is_set():
                event = s.receive()
                self.seen(event)
                self.cursor = event["mamcursor"]
        finally:
            s.close()


class Consumer(Worker):
    """One of a group. It settles what it got, mostly; forgets some, hands some back, and rejects a few."""

    def __init__(self, run, group, how, number):
        super().__init__(run, f"{group.name}, consumer {number}")
        self.how, self.group, self.client, self.unknown = how, group, Client(run.bus), False
        self.path = f"/v1/subscriptions/{run.topic}-{group.name}"

    def work(self):
        while not self.run_.over.is_set():
            try:
                getattr(self, self.how)()
            except Gone as e:
                self.run_.count(f"{self.how}_again")
                if self.run_.options.verbose:
                    print(f"{self.name}: {e}", file=sys.stderr)
                self.run_.pause(0.02, 0.1)

    def delivered(self, item, held):
        """held: numbers of each key that this consumer has got and not settled."""
        name, number = key_of(item["event"])
        key = self.ledger.key(name)
        self.group.delivered(key, number, item["attempt"], item["position"], held.get(key, ()))
        held.setdefault(key, set()).add(number)
        return key, number, item["attempt"], item["ackId"]

    def verb(self, key, number, attempt):
        """Whether one is handed back or rejected does not depend on who has it; it goes well at last."""
        if attempt <= 2 and (number * 7 + key) % 41 == 0:
            return "nack"
        return "reject" if (number * 13 + key) % 397 == 0 else "ack"

    def pull(self):
        # Of the last lease all is settled, or forgotten until it ends: nothing is held.
        answer = self.client.want((200,), "POST", self.path + "/pull", {"max": random.choice((1, 5, 50, 200)), "wait": "2s"})
        held = {}
        lease = [self.delivered(item, held) for item in answer["events"]]
        if not lease or (not self.run_.calm.is_set() and random.random() < 0.03):
            self.run_.count("leases_forgotten", 1 if lease else 0)
            return
        runs, with_it = [], {}  # in the order of the lease; of a key what comes back with the one that is handed back
        for item in lease:
            if item[0] in with_it:
                with_it[item[0]].append(item)
                continue
            verb = self.verb(*item[:3])
            if verb == "nack":
                with_it[item[0]] = []
            if not runs or runs[-1][0] != verb:
                runs.append((verb, []))
            runs[-1][1].append(item)
        for verb, items in runs:
            while items:
                some = items[:random.choice((len(items), 1 + len(items) // 2))]
                stale = self.settle(verb, some)
                if stale is None:
                    return
                for item in some:
                    if verb == "nack" and item[3] not in stale:
                        for other in with_it[item[0]]:
                            self.group.came_back(*other[:3])
                items = items[len(some):]

    def settle(self, verb, items):
        """Until the answer is known: which deliveries were over. An earlier request may have ended them, if its answer was lost: they do not count.
        None: at the end of the run."""
        body, unknown = {"ackIds": [i[3] for i in items]}, False
        if verb == "nack":
            body["delay"] = f"{random.choice((0, 50, 300))}ms"
        if verb == "reject":
            body["reason"] = "the ledger does not like it"
        for key, number, *_ in items:
            self.group.settling(key, number, verb)
        while not self.run_.over.is_set():
            try:
                answer = self.client.want((200,), "POST", f"{self.path}/{verb}", body)
            except Gone:
                self.run_.count("settle_unknown")
                unknown = True
                self.run_.pause()
                continue
            stale = self.answered(verb, items, answer)
            self.unknown = unknown
            return set() if unknown else stale
        return None

    def answered(self, verb, items, answer):
        if answer.get("invalid"):
            self.ledger.fail(f"{self.name}: {verb}: not taken as ids: {answer['invalid'][:3]}")
        stale = set(answer["stale"])
        if answer["settled"] + len(stale) != len(items):
            self.ledger.fail(f"{self.name}: {verb} of {len(items)}: {answer['settled']} settled, {len(stale)} stale")
        for key, number, attempt, ack_id in items:
            self.group.settled_as(key, number, attempt, verb, ack_id not in stale)
        return stale

    # Later ones of a key that were under way when one was handed back are no business of ours any more: they came back with it. On a stream nobody
    # knows to which lease an event belongs, so whatever follows of the key is handed back too until one is not stale, which begins another lease;
    # and for these groups the ledger takes what came on the same connection as held together.

    def after(self, handed_back, item, verb, back, is_stale):
        if back and is_stale:
            self.group.came_back(*item[:3])
        elif verb == "nack" and not is_stale:
            handed_back[item[0]] = item[1]

    def follows(self, handed_back, item):
        """Whether it is a later one than what was handed back of its key, which has not come again yet."""
        if item[1] > handed_back.get(item[0], item[1]):
            return True
        handed_back.pop(item[0], None)
        return False

    def sse(self):
        s = self.stream = Sse(self.run_.bus, f"{self.path}/events?credit=10", timeout=20)
        held, handed_back = {}, {}
        try:
            while not self.run_.over.is_set():
                _, _, data = s.next()
                item = self.delivered(json.loads(data), held)
                back = self.follows(handed_back, item)
                verb = "nack" if back else self.verb(*item[:3])
                stale = self.settle(verb, [item])
                if stale is None:
                    return
                self.after(handed_back, item, verb, back, item[3] in stale or (back and self.unknown))
                if verb != "nack":
                    held[item[0]].discard(item[1])
                if not self.run_.calm.is_set() and random.random() < 0.002:
                    return
        finally:
            s.close()

    def websocket(self):
        s = self.stream = WebSocket(self.run_.bus, f"{self.path}/events?credit=50", "mam.events.v1", timeout=20)
        held, handed_back, waiting, reference = {}, {}, {}, 0
        try:
            while not self.run_.over.is_set():
                message = s.receive()
                if "settled" in message:
                    verb, item, back = waiting.pop(message["ref"])
                    self.after(handed_back, item, verb, back, item[3] in self.answered(verb, [item], message))
                    continue
                if "event" not in message:
                    self.ledger.fail(f"{self.name}: {json.dumps(message)[:300]}")
                    continue
                item = key, number, attempt, ack_id = self.delivered(message, held)
                back = self.follows(handed_back, item)
                if not back and not self.run_.calm.is_set() and random.random() < 0.002:
                    return
                verb = "nack" if back else self.verb(key, number, attempt)
                self.group.settling(key, number, verb)
                reference += 1
                waiting[str(reference)] = verb, item, back
                s.send({verb: [ack_id], "ref": str(reference), **({"delay": "100ms"} if verb == "nack" else {}), **({"reason": "no"} if verb == "reject" else {})})
                if verb == "nack":
                    handed_back.setdefault(key, number)  # until the answer says more
                else:
                    held[key].discard(number)
        finally:
            s.close()
            for _, item, back in waiting.values():
                if back:  # nobody will ever know
                    self.group.came_back(*item[:3])


class Faults(Worker):
    """Kills, at random."""

    def __init__(self, run, names, seed):
        super().__init__(run, "faults")
        self.names, self.random, self.made = names, random.Random(seed), collections.Counter()

    def work(self):
        while not self.run_.calm.wait(self.random.uniform(0.2, 2)):
            name = self.random.choice(self.names)
            getattr(self, name.replace("-", "_"))()
            self.made[name] += 1
            if self.random.random() < 0.2:  # what is held back after so many ends is wanted
                self.call("mamctl", "--no-wait", "start")

    def call(self, *command):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)

    def units(self, service):
        done = subprocess.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"mam@{service}:*.service"], stdout=subprocess.PIPE, text=True,
                              timeout=30, check=False)
        return sorted(line.split()[0] for line in done.stdout.splitlines())

    def kill_one(self, service, *arguments):
        units = self.units(service)
        if units:
            self.call("systemctl", "kill", "--signal=KILL", *arguments, self.random.choice(units))

    def event_bus(self):
        self.kill_one("event-bus")

    def api_gateway(self):
        self.kill_one("api-gateway")

    def redis(self):
        self.kill_one("redis")

    def power(self):
        """Everything dies at once, and PostgreSQL's disk has only what was synced (test-events-powercut.sh)."""
        with open("/run/mam-powercut", "w", encoding="ascii"):
            pass
        self.call("systemctl", "kill", "--signal=KILL", "mam@*.service")
        deadline = time.monotonic() + 60
        while os.path.exists("/run/mam-powercut") and time.monotonic() < deadline:
            time.sleep(0.05)
        self.call("mamctl", "start")
        self.run_.calm.wait(self.random.uniform(1, 4))  # long enough to acknowledge something

    def postgresql(self):
        how = self.random.randrange(3)
        if how == 0:
            self.kill_one("postgresql")
        elif how == 1:
            self.kill_one("postgresql", "--kill-who=main")
        else:
            done = subprocess.run(["pgrep", "-u", "mam-postgresql", "-f", "^postgres: "], stdout=subprocess.PIPE, text=True, timeout=30, check=False)
            pids = done.stdout.split()
            if pids:
                self.call("kill", "-KILL", self.random.choice(pids))


class Tokens(threading.Thread):
    """They end within a long run."""

    def __init__(self, run, command):
        super().__init__(daemon=True)
        self.run_, self.command = run, command

    def run(self):
        while not self.run_.over.wait(600):
            done = subprocess.run(self.command, shell=True, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
            if done.returncode == 0 and done.stdout.strip():
                self.run_.bus.token = done.stdout.strip()


def patiently(client, run, statuses, *arguments, **more):
    """For what must work in the end."""
    deadline = time.monotonic() + DRAIN
    while True:
        try:
            return client.want(statuses, *arguments, **more)
        except Gone:
            if time.monotonic() > deadline:
                raise
            run.pause()


def dead_letters(client, run, group):
    """The keys and numbers of all of them."""
    found, after = set(), ""
    while True:
        page = patiently(client, run, (200,), "GET", f"/v1/subscriptions/{run.topic}-{group.name}/dead?limit=100{after}")
        letters = page["dead"]
        for d in letters:
            name, number = key_of(d["event"])
            found.add((run.ledger.key(name), number))
        if not letters or not page.get("next"):
            return found
        after = f"&after={page['next']}"


def check_stream(client, run):
    """Forwards all versions, one after the other."""
    versions, start = [], 1
    while True:
        page = patiently(client, run, (200,), "GET", f"/v1/topics/{run.topic}/streams/ledger?from={start}&limit=500")
        if not page["events"]:
            break
        versions += [(e["version"], e["event"]["data"]["number"]) for e in page["events"]]
        start = versions[-1][0] + 1
    want = run.ledger.last_number(run.ledger.key("stream"))
    if versions != [(n, n) for n in range(1, want + 1)]:
        run.ledger.fail(f"the stream has {len(versions)} versions, {want} were acknowledged, or they are not in order")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--token", required=True)
    p.add_argument("--token-command")
    p.add_argument("--ports", default="3000,4000", help="of the gateway and of the bus itself")
    p.add_argument("--seconds", type=float, default=40)
    p.add_argument("--faults", default="event-bus,event-bus,postgresql,redis,api-gateway", help="what is killed, by comma; empty: nothing")
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--rate", type=float, default=300, help="events per second of all producers")
    p.add_argument("--producers", type=int, default=4)
    p.add_argument("--verbose", action="store_true", help="say why each connection ended")
    options = p.parse_args()
    seed = options.seed if options.seed is not None else random.getrandbits(31)
    random.seed(seed)
    print(f"seed {seed}", file=sys.stderr, flush=True)

    run = Run(options)
    client = Client(run.bus, stick=1)
    patiently(client, run, (200, 201), "PUT", f"/v1/topics/{run.topic}", {})
    groups = [(Group(run.ledger, how), how, n) for how, n in (("pull", 3), ("websocket", 2), ("sse", 2))]
    for group, _, _ in groups:
        patiently(client, run, (200, 201), "PUT", f"/v1/subscriptions/{run.topic}-{group.name}",
                  {"topic": run.topic, "from": "earliest", "ackDeadline": LEASE, "maxAttempts": 1000, "backoff": {"min": "100ms", "max": "1s"}})

    producers = [Producer(run, n, 8, options.rate / options.producers) for n in range(options.producers)] + [StreamProducer(run)]
    followers = [Follower(run, how) for how in ("page", "sse", "websocket")]
    consumers = [Consumer(run, group, how, i) for group, how, n in groups for i in range(n)]
    faults = Faults(run, options.faults.split(",") if options.faults else [], seed)
    for t in [*producers, *followers, *consumers]:
        t.start()
    if options.faults:
        faults.start()
    if options.token_command:
        Tokens(run, options.token_command).start()

    begin = time.monotonic()
    while time.monotonic() - begin < options.seconds and run.ledger.n_wrong == 0:
        time.sleep(0.5)
        if options.seconds > 300 and int(time.monotonic() - begin) % 60 == 0:
            print(f"{time.monotonic() - begin:.0f} s: {run.ledger.acknowledged} acknowledged, {sum(faults.made.values())} faults", file=sys.stderr, flush=True)
            time.sleep(0.6)
    run.calm.set()
    if options.faults:
        faults.join()
        faults.call("mamctl", "start")
    deadline = time.monotonic() + DRAIN
    for t in producers:
        t.join(max(0.1, deadline - time.monotonic()))
        if t.is_alive():
            run.ledger.fail(f"{t.name} could not end: what it sends is not acknowledged")

    # Everything arrives now.
    last = run.ledger.last_position()
    while time.monotonic() < deadline:
        if all(f.reader.last >= last for f in followers) and all(g.is_complete() for g, _, _ in groups):
            break
        time.sleep(0.1)
    drained = time.monotonic() - (deadline - DRAIN)
    again = Follower(run, "page")
    again.name = again.reader.name = "reading again from the beginning"
    begin = time.monotonic()
    while again.reader.last < last and time.monotonic() - begin < DRAIN:
        try:
            again.page()
        except Gone:
            run.pause()
    run.over.set()
    for t in [*followers, *consumers]:
        t.hang_up()
    for t in [*followers, *consumers]:
        t.join(25)
    for f in [*followers, again]:
        f.reader.finish()
    for group, _, _ in groups:
        group.finish(dead_letters(client, run, group))
    check_stream(client, run)

    report = {"seed": seed, "acknowledged": run.ledger.acknowledged, "wrong": run.ledger.n_wrong, "duplicates_suppressed": run.ledger.duplicates, "last_position": last,
              "faults": dict(faults.made), "slowest_publish_s": round(run.slowest, 2), "drained_s": round(drained, 2),
              "groups": {g.name: {"received": g.received, "again": g.redelivered, "settled": g.settled, "stale": g.stale, "rejected": len(g.rejected)} for g, _, _ in groups},
              "counts": dict(run.counts)}
    for text in run.ledger.wrong:
        print("wrong: " + text, file=sys.stderr)
    print(json.dumps(report), flush=True)
    sys.exit(1 if run.ledger.n_wrong or not run.ledger.acknowledged else 0)


if __name__ == "__main__":
    main()
