#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ledger itself: a history without fault passes, and each kind of fault is found. TAP on stdout."""
import sys

sys.dont_write_bytecode = True  # the source folder stays as it is
from events_ledger import Group, Ledger, Reader


class History:
    """A small run: keys a and b, two events each, stored at 1 to 4."""

    def __init__(self):
        self.ledger = Ledger()
        self.a, self.b = self.ledger.key("a"), self.ledger.key("b")
        self.reader, self.group = Reader(self.ledger, "reader"), Group(self.ledger, "group")
        for position, (key, number) in enumerate(self.events(), 1):
            self.ledger.stored(key, number, position, False, False)

    def events(self):
        return [(self.a, 1), (self.b, 1), (self.a, 2), (self.b, 2)]

    def read(self, positions=(1, 2, 3, 4)):
        for p in positions:
            self.reader.seen(p, *self.events()[p - 1])

    def consume(self, order=(1, 2, 3, 4), attempt=1):
        for p in order:
            key, number = self.events()[p - 1]
            self.group.delivered(key, number, attempt, p, ())
            self.settle(key, number, attempt)

    def settle(self, key, number, attempt=1, verb="ack", ok=True):
        self.group.settling(key, number, verb)
        self.group.settled_as(key, number, attempt, verb, ok)

    def finish(self, dead=None):
        self.reader.finish()
        self.group.finish(dead)
        return self.ledger.wrong


def check(name, words, change=None, read=(1, 2, 3, 4), consume=(1, 2, 3, 4), dead=None):
    """The fault that change makes is found in these words; None: nothing is wrong."""
    h = History()
    h.read(read)
    h.consume(consume)
    if change:
        change(h)
    wrong = h.finish(dead)
    if (words is None and wrong) or (words is not None and not any(words in w for w in wrong)):
        return f"{name}: {wrong} instead of {words!r}"
    return None


def redelivered(h):
    h.ledger.stored(h.a, 3, 5, False, False)
    h.reader.seen(5, h.a, 3)
    h.group.delivered(h.a, 3, 1, 5, ())
    h.group.delivered(h.a, 3, 2, 5, ())
    h.settle(h.a, 3, 1, ok=False)
    h.settle(h.a, 3, 2)


def together(h):
    for n in (3, 4):
        h.ledger.stored(h.a, n, n + 2, False, False)
        h.reader.seen(n + 2, h.a, n)
    h.group.delivered(h.a, 3, 1, 5, ())
    h.group.delivered(h.a, 4, 1, 6, (3,))
    h.settle(h.a, 3)
    h.settle(h.a, 4)


def nacked(h):
    h.ledger.stored(h.a, 3, 5, False, False)
    h.reader.seen(5, h.a, 3)
    h.group.delivered(h.a, 3, 1, 5, ())
    h.settle(h.a, 3, 1, "nack")
    h.group.delivered(h.a, 3, 2, 5, ())
    h.settle(h.a, 3, 2)


def rejected(h):
    h.ledger.stored(h.a, 3, 5, False, False)
    h.reader.seen(5, h.a, 3)
    h.group.delivered(h.a, 3, 1, 5, ())
    h.settle(h.a, 3, 1, "reject")


def too_early(h):
    for n in (3, 4):
        h.ledger.stored(h.a, n, n + 2, False, False)
        h.reader.seen(n + 2, h.a, n)
    h.group.delivered(h.a, 3, 1, 5, ())
    h.group.delivered(h.a, 4, 1, 6, ())
    h.settle(h.a, 3)
    h.settle(h.a, 4)


def nacked_and_passed(h):
    for n in (3, 4):
        h.ledger.stored(h.a, n, n + 2, False, False)
        h.reader.seen(n + 2, h.a, n)
    h.group.delivered(h.a, 3, 1, 5, ())
    h.settle(h.a, 3, 1, "nack")
    h.group.delivered(h.a, 4, 1, 6, ())


def handed_back_together(h):
    """Three of a key in one lease, the first is handed back: the others come again as if they had not come."""
    for n in (3, 4):
        h.ledger.stored(h.a, n, n + 2, False, False)
        h.reader.seen(n + 2, h.a, n)
        h.group.delivered(h.a, n, 1, n + 2, (3,))
    h.settle(h.a, 3, 1, "nack")
    h.group.delivered(h.a, 3, 2, 5, ())
    h.group.delivered(h.a, 4, 1, 6, (3,))
    h.group.came_back(h.a, 4, 1)
    h.settle(h.a, 3, 2)
    h.settle(h.a, 4, 1)


def twice_after_it_came_back(h):
    handed_back_together(h)
    h.group.delivered(h.a, 4, 1, 6, ())


CHECKS = [
    ("nothing is wrong", None),
    ("a repeated request is suppressed", None, lambda h: h.ledger.stored(h.a, 1, 1, True, True)),
    ("an unknown outcome becomes known", None, lambda h: (h.ledger.stored(h.b, 3, 5, True, True), h.reader.seen(5, h.b, 3), h.group.delivered(h.b, 3, 1, 5, ()), h.settle(h.b, 3))),
    ("redelivery with the next attempt", None, redelivered),
    ("events of a key in one lease", None, together),
    ("nack and again", None, nacked),
    ("handed back with the one before", None, handed_back_together),
    ("handed back once and there twice more", "a/4, attempt 1, came twice", twice_after_it_came_back),
    ("rejected and dead", None, rejected, (1, 2, 3, 4), (1, 2, 3, 4), {(0, 3)}),
    ("lost for a reader", "lost a/2", None, (1, 2)),
    ("a gap for a reader", "1 missing", None, (1, 3, 4)),
    ("twice for a reader", "twice, or out of order", None, (1, 2, 2, 3, 4)),
    ("out of order for a reader", "twice, or out of order", None, (1, 3, 2, 4)),
    ("another event at a position", "and was b/2", lambda h: h.reader.seen(4, h.a, 3), (1, 2, 3)),
    ("a key's number left out in the log", "came after number 2 of its key", lambda h: (h.ledger.stored(h.a, 4, 5, False, False), h.reader.seen(5, h.a, 4))),
    ("a predecessor stored later", "and its predecessor at", lambda h: (h.ledger.stored(h.a, 3, 9, False, False), h.ledger.stored(h.a, 4, 8, False, False))),
    ("stored twice", "a duplicate was not suppressed", lambda h: h.ledger.stored(h.a, 2, 3, False, True)),
    ("stored twice at another position", "and again at 7", lambda h: h.ledger.stored(h.a, 2, 7, False, True)),
    ("called a duplicate wrongly", "never sent before", lambda h: h.ledger.stored(h.a, 3, 5, True, False)),
    ("lost for a group", "lost b/2", None, (1, 2, 3, 4), (1, 2, 3)),
    ("twice in a group", "came twice", lambda h: h.group.delivered(h.a, 1, 1, 1, ())),
    ("again though settled", "was settled (ack)", lambda h: h.group.delivered(h.a, 1, 2, 1, ())),
    ("before its predecessor is settled", "a/4, attempt 1, came before a/3", too_early),
    ("past one that was handed back", "a/4, attempt 1, came before a/3", nacked_and_passed),
    ("never settled", "never settled", lambda h: (h.ledger.stored(h.a, 3, 5, False, False), h.reader.seen(5, h.a, 3), h.group.delivered(h.a, 3, 1, 5, ()))),
    ("an old lease settles", "after attempt 2 had come", lambda h: (h.ledger.stored(h.a, 3, 5, False, False), h.reader.seen(5, h.a, 3), h.group.delivered(h.a, 3, 1, 5, ()),
                                                                h.group.delivered(h.a, 3, 2, 5, ()), h.settle(h.a, 3, 1))),
    ("rejected and not dead", "is no dead letter", rejected, (1, 2, 3, 4), (1, 2, 3, 4), set()),
    ("dead and not rejected", "nobody rejected it", None, (1, 2, 3, 4), (1, 2, 3, 4), {(0, 1)}),
]


def main():
    failed = 0
    print(f"1..{len(CHECKS)}")
    for n, arguments in enumerate(CHECKS, 1):
        wrong = check(*arguments)
        if wrong:
            print("# " + wrong)
        failed += wrong is not None
        print(f"{'not ok' if wrong else 'ok'} {n} - {arguments[0]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
