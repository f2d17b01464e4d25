# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an event bus has promised, kept outside of it: of every event what was acknowledged, and of every reader and every group what
came when. Each observation is judged when it is made; finish() says what is missing. Nothing here talks to a bus.

An event is known by its key and its number within the key, from 1. One producer writes a key, and its next event only when the one
before is acknowledged: so the log must have the numbers of a key ascending and complete.
"""
import array
import threading

WRONG_MAX = 50


class Key:
    """Positions of a key's events: 0 is not known yet."""

    def __init__(self):
        self.positions = array.array("q", [0])  # by number; [0] is none
        self.fresh = bytearray(1)  # 1: an answer said that it was stored by that request


class Ledger:
    def __init__(self):
        self.lock = threading.RLock()
        self.keys, self.key_names = [], {}
        self.at_key, self.at_number = array.array("i", [-1]), array.array("q", [0])  # by position
        self.wrong, self.n_wrong = [], 0
        self.acknowledged = self.duplicates = self.refused = 0

    def fail(self, text):
        with self.lock:
            self.n_wrong += 1
            if len(self.wrong) < WRONG_MAX:
                self.wrong.append(text)

    def key(self, name):
        with self.lock:
            if name not in self.key_names:
                self.key_names[name] = len(self.keys)
                self.keys.append(Key())
            return self.key_names[name]

    def name(self, key, number):
        return f"{list(self.key_names)[key]}/{number}"

    # --- what was published

    def stored(self, key, number, position, duplicate, twin_possible):
        """An answer acknowledges an event. twin_possible: an earlier request with it had an unknown outcome, or another is under way."""
        with self.lock:
            k = self.keys[key]
            while len(k.positions) <= number:
                k.positions.append(0)
                k.fresh.append(0)
            known = k.positions[number]
            if known and known != position:
                self.fail(f"{self.name(key, number)} was acknowledged at {known} and again at {position}")
            if duplicate:
                self.duplicates += 1
                if not known and not twin_possible:
                    self.fail(f"{self.name(key, number)} was called a duplicate, and never sent before")
            else:
                if k.fresh[number] or (known and not twin_possible):
                    self.fail(f"{self.name(key, number)} was stored twice: a duplicate was not suppressed")
                k.fresh[number] = 1
            if not known:
                self.acknowledged += 1
                k.positions[number] = position
                before = k.positions[number - 1]
                if number > 1 and before >= position:
                    self.fail(f"{self.name(key, number)} is at {position}, and its predecessor at {before}")
            self.place(position, key, number, "an acknowledgement")

    def place(self, position, key, number, who):
        """What is at a position is the same for all who look."""
        with self.lock:
            if position < 1:
                self.fail(f"{who}: position {position}")
                return
            while len(self.at_key) <= position:
                self.at_key.append(-1)
                self.at_number.append(0)
            if self.at_key[position] == -1:
                self.at_key[position], self.at_number[position] = key, number
            elif (self.at_key[position], self.at_number[position]) != (key, number):
                self.fail(f"{who}: at {position} is {self.name(key, number)}, and was {self.name(self.at_key[position], self.at_number[position])}")

    def is_acknowledged(self, key, number):
        positions = self.keys[key].positions
        return number < len(positions) and positions[number] > 0

    def last_number(self, key):
        return len(self.keys[key].positions) - 1

    def last_position(self):
        with self.lock:
            return len(self.at_key) - 1


class Reader:
    """A plain cursor: every position once, ascending, without gaps."""

    def __init__(self, ledger, name, after=0):
        self.ledger, self.name, self.last = ledger, name, after
        self.numbers = {}  # of each key the last one seen

    def seen(self, position, key, number):
        with self.ledger.lock:
            if position <= self.last:
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)} at {position} came after {self.last}: twice, or out of order")
                return
            if position != self.last + 1:
                self.ledger.fail(f"{self.name}: {position} came after {self.last}: {position - self.last - 1} missing")
            self.last = position
            before = self.numbers.get(key, 0)
            if number != before + 1:
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)} came after number {before} of its key")
            self.numbers[key] = number
            self.ledger.place(position, key, number, self.name)

    def finish(self):
        """Everything that was acknowledged came by."""
        for key in range(len(self.ledger.keys)):
            last = self.ledger.last_number(key)
            if self.numbers.get(key, 0) < last:
                self.ledger.fail(f"{self.name}: lost {self.ledger.name(key, last)}: of its key the last that came is {self.numbers.get(key, 0)}")


class State:
    """Of one key in one group."""

    def __init__(self):
        self.first = bytearray(1)  # by number: 1: attempt 1 came
        self.again = {}  # number → attempts above 1 that came
        self.accepted = {}  # number → (attempt, verb): the bus has confirmed that this settled it
        self.perhaps = set()  # numbers whose settling was sent, in whatever way it ended
        self.done = 0  # up to here all are in perhaps (and no more in the set)


class Group:
    """Competing consumers: each event once, again only with a higher attempt (or when it was handed back
    unseen), and of a key never before its predecessor is settled."""

    def __init__(self, ledger, name):
        self.ledger, self.name = ledger, name
        self.states = {}
        self.received = self.redelivered = self.settled = self.stale = 0
        self.surplus = {}  # (key, number, attempt) → how often it came beyond once, less how often it was handed back before
        self.rejected = set()  # confirmed
        self.perhaps_rejected = set()

    def state(self, key):
        return self.states.setdefault(key, State())

    def may_be_settled(self, state, number):
        return number <= state.done or number in state.perhaps

    def delivered(self, key, number, attempt, position, held):
        """held: earlier numbers of this key that the same consumer holds, delivered together with it or before, not yet settled."""
        with self.ledger.lock:
            s, what = self.state(key), f"{self.name}: {self.ledger.name(key, number)}, attempt {attempt},"
            while len(s.first) <= number:
                s.first.append(0)
            self.received += 1
            if attempt == 1:
                again = s.first[number]
                s.first[number] = 1
            else:
                again = attempt in s.again.get(number, ())
                s.again.setdefault(number, set()).add(attempt)
                if attempt < 1:
                    self.ledger.fail(f"{what} has no such attempt")
            self.redelivered += attempt > 1 or again
            if again:
                self.came(key, number, attempt, 1)
            accepted = s.accepted.get(number)
            if accepted and attempt > accepted[0]:
                self.ledger.fail(f"{what} came although its attempt {accepted[0]} was settled ({accepted[1]})")
            for before in range(s.done + 1, number):
                if before not in s.perhaps and before not in held:
                    self.ledger.fail(f"{what} came before {self.ledger.name(key, before)} was settled")
                    break
            self.ledger.place(position, key, number, self.name)

    def came(self, key, number, attempt, n):
        what = key, number, attempt
        self.surplus[what] = self.surplus.get(what, 0) + n
        if self.surplus[what] == 0:
            del self.surplus[what]

    def came_back(self, key, number, attempt):
        """The consumer has handed back an earlier event of the key in the same lease, and this one with it: it may come once more with the same
        attempt, as none was made. On a stream its consumer may learn that it had it after somebody else has got it: so it is judged at the end."""
        with self.ledger.lock:
            self.came(key, number, attempt, -1)

    def settling(self, key, number, verb):
        """Right before it is sent."""
        with self.ledger.lock:
            s = self.state(key)
            if verb == "nack":
                return
            if verb == "reject":
                self.perhaps_rejected.add((key, number))
            if number > s.done:
                s.perhaps.add(number)
            while s.done + 1 in s.perhaps:
                s.done += 1
                s.perhaps.discard(s.done)

    def settled_as(self, key, number, attempt, verb, ok):
        """The bus has answered: ok, or that this delivery was over."""
        with self.ledger.lock:
            s = self.state(key)
            if not ok:
                self.stale += 1
                return
            self.settled += 1
            if verb == "nack":
                return
            accepted = s.accepted.get(number)
            if accepted and accepted[0] != attempt:
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)} was settled with attempt {accepted[0]} and with {attempt}")
            later = max([1 if number < len(s.first) and s.first[number] else 0, *s.again.get(number, ())])
            if later > attempt:
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)}, attempt {attempt}, could be settled after attempt {later} had come")
            s.accepted[number] = (attempt, verb)
            if verb == "reject":
                self.rejected.add((key, number))

    def is_complete(self):
        with self.ledger.lock:
            return all(self.states.get(key) and self.states[key].done >= self.ledger.last_number(key) for key in range(len(self.ledger.keys))
                       if self.ledger.last_number(key) > 0)

    def finish(self, dead=None):
        """Everything came and was settled; dead: the keys and numbers that the bus says are dead letters."""
        for key in range(len(self.ledger.keys)):
            s, last = self.state(key), self.ledger.last_number(key)
            never = [n for n in range(1, last + 1) if not ((n < len(s.first) and s.first[n]) or n in s.again)]
            if never:
                self.ledger.fail(f"{self.name}: lost {self.ledger.name(key, never[0])}" + (f" and {len(never) - 1} more of its key" if len(never) > 1 else ""))
            elif s.done < last:
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, s.done + 1)} came and was never settled")
        for (key, number, attempt), n in self.surplus.items():
            if n > 0:
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)}, attempt {attempt}, came twice")
        if dead is not None:
            for key, number in sorted(self.rejected - dead):
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)} was rejected and is no dead letter")
            for key, number in sorted(dead - self.perhaps_rejected):
                self.ledger.fail(f"{self.name}: {self.ledger.name(key, number)} is a dead letter, and nobody rejected it")
