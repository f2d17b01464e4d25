#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of a client's trace context on its way to a replica: the cases of the W3C's own test suite for Trace Context.

usage: trace-context.py PATH    (a service there says what reached it; with $TOKEN). Says what is not as it should be; status 1 then.
"""
import http.client
import json
import os
import re
import sys

TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"
GOOD = f"00-{TRACE}-{SPAN}-01"
KEEP, NEW = True, False
MANY = ",".join(f"bar{i:02}={i:02}" for i in range(1, 33))
CASES = [
    # what, fields, whether the trace goes on, tracestate behind the gateway (None: none)
    ("both missing", [], NEW, None),
    ("traceparent alone", [("traceparent", GOOD)], KEEP, None),
    ("another case of the name", [("TraceParent", GOOD)], KEEP, None),
    ("another name", [("trace-parent", GOOD)], NEW, None),
    ("spaces around it", [("traceparent", f" \t{GOOD}\t ")], KEEP, None),
    ("twice", [("traceparent", f"00-{'1' * 32}-{SPAN}-01"), ("traceparent", GOOD)], NEW, None),
    ("twice the same", [("traceparent", GOOD), ("traceparent", GOOD)], NEW, None),
    ("version 00 with more", [("traceparent", GOOD + ".")], NEW, None),
    ("version 00 with more fields", [("traceparent", GOOD + "-what-the-future-will-be-like")], NEW, None),
    ("a version to come", [("traceparent", f"cc-{TRACE}-{SPAN}-01")], KEEP, None),
    ("a version to come, with more", [("traceparent", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like")], KEEP, None),
    ("a version to come, malformed", [("traceparent", f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like")], NEW, None),
    ("version ff", [("traceparent", f"ff-{TRACE}-{SPAN}-01")], NEW, None),
    ("no hexadecimal version", [("traceparent", f".0-{TRACE}-{SPAN}-01")], NEW, None),
    ("a version too long", [("traceparent", f"000-{TRACE}-{SPAN}-01")], NEW, None),
    ("a version too short", [("traceparent", f"0-{TRACE}-{SPAN}-01")], NEW, None),
    ("a trace of zeros", [("traceparent", f"00-{'0' * 32}-{SPAN}-01")], NEW, None),
    ("no hexadecimal trace", [("traceparent", f"00-.{TRACE[1:]}-{SPAN}-01")], NEW, None),
    ("a trace in capitals", [("traceparent", f"00-{'A' * 32}-{SPAN}-01")], NEW, None),
    ("a trace too long", [("traceparent", f"00-{TRACE}3-{SPAN}-01")], NEW, None),
    ("a trace too short", [("traceparent", f"00-{TRACE[1:]}-{SPAN}-01")], NEW, None),
    ("a span of zeros", [("traceparent", f"00-{TRACE}-{'0' * 16}-01")], NEW, None),
    ("no hexadecimal span", [("traceparent", f"00-{TRACE}-.{SPAN[1:]}-01")], NEW, None),
    ("a span too long", [("traceparent", f"00-{TRACE}-{SPAN}7-01")], NEW, None),
    ("a span too short", [("traceparent", f"00-{TRACE}-{SPAN[1:]}-01")], NEW, None),
    ("no hexadecimal flags", [("traceparent", f"00-{TRACE}-{SPAN}-.0")], NEW, None),
    ("flags too long", [("traceparent", f"00-{TRACE}-{SPAN}-001")], NEW, None),
    ("flags too short", [("traceparent", f"00-{TRACE}-{SPAN}-1")], NEW, None),
    ("a state without a trace", [("tracestate", "foo=1")], NEW, None),
    ("a state with a bad trace", [("traceparent", GOOD[1:]), ("tracestate", "foo=1")], NEW, None),
    ("a state", [("traceparent", GOOD), ("tracestate", "foo=1,bar=2")], KEEP, "foo=1,bar=2"),
    ("a state in another case of the name", [("traceparent", GOOD), ("TraceState", "foo=1")], KEEP, "foo=1"),
    ("a state under another name", [("traceparent", GOOD), ("trace-state", "foo=1")], KEEP, None),
    ("an empty state", [("traceparent", GOOD), ("tracestate", "")], KEEP, None),
    ("states in several fields", [("traceparent", GOOD), ("tracestate", "foo=1,bar=2"), ("tracestate", "rojo=1,congo=2"), ("tracestate", "baz=3")], KEEP,
     "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    ("an empty state beside one", [("traceparent", GOOD), ("tracestate", "foo=1"), ("tracestate", "")], KEEP, "foo=1"),
    ("one beside an empty state", [("traceparent", GOOD), ("tracestate", ""), ("tracestate", "foo=1")], KEEP, "foo=1"),
    ("a key twice", [("traceparent", GOOD), ("tracestate", "foo=1,foo=1")], KEEP, None),
    ("a key twice, in two fields", [("traceparent", GOOD), ("tracestate", "foo=1"), ("tracestate", "foo=2")], KEEP, None),
    ("every letter", [("traceparent", GOOD), ("tracestate", "abcdefghijklmnopqrstuvwxyz0123456789_-*/=\x20!\"#$%&'()*+-./0:;<>?@A[\\]^_`a{|}~")], KEEP,
     "abcdefghijklmnopqrstuvwxyz0123456789_-*/=\x20!\"#$%&'()*+-./0:;<>?@A[\\]^_`a{|}~"),
    ("spaces around members", [("traceparent", GOOD), ("tracestate", "foo=1 \t , \t bar=2, \t baz=3")], KEEP, "foo=1 \t , \t bar=2, \t baz=3"),
    ("a tenant", [("traceparent", GOOD), ("tracestate", "t@vendor=1")], KEEP, "t@vendor=1"),
    ("a tenant of nobody", [("traceparent", GOOD), ("tracestate", "t@=1,bar=2")], KEEP, None),
    ("nobody's tenant", [("traceparent", GOOD), ("tracestate", "@v=1,bar=2")], KEEP, None),
    ("two tenants", [("traceparent", GOOD), ("tracestate", "a@b@c=1")], KEEP, None),
    ("a key with a space", [("traceparent", GOOD), ("tracestate", "foo =1")], KEEP, None),
    ("a key in capitals", [("traceparent", GOOD), ("tracestate", "FOO=1")], KEEP, None),
    ("a key with a dot", [("traceparent", GOOD), ("tracestate", "foo.bar=1")], KEEP, None),
    ("the longest key", [("traceparent", GOOD), ("tracestate", "z" * 256 + "=1")], KEEP, "z" * 256 + "=1"),
    ("a key too long", [("traceparent", GOOD), ("tracestate", "z" * 257 + "=1")], KEEP, None),
    ("the longest tenant", [("traceparent", GOOD), ("tracestate", "t" * 241 + "@" + "v" * 14 + "=1")], KEEP, "t" * 241 + "@" + "v" * 14 + "=1"),
    ("a tenant too long", [("traceparent", GOOD), ("tracestate", "t" * 242 + "@v=1")], KEEP, None),
    ("a vendor too long", [("traceparent", GOOD), ("tracestate", "t@" + "v" * 15 + "=1")], KEEP, None),
    ("a value with '='", [("traceparent", GOOD), ("tracestate", "foo=bar=baz")], KEEP, None),
    ("no value", [("traceparent", GOOD), ("tracestate", "foo=,bar=3")], KEEP, None),
    ("no key", [("traceparent", GOOD), ("tracestate", "=1")], KEEP, None),
    ("as many members as may be", [("traceparent", GOOD), ("tracestate", MANY)], KEEP, MANY),
    ("one member too many", [("traceparent", GOOD), ("tracestate", MANY + ",bar33=33")], KEEP, None),
    ("one member too many, in two fields", [("traceparent", GOOD), ("tracestate", MANY), ("tracestate", "bar33=33")], KEEP, None),
]


def reached(fields):
    connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=30)
    connection.putrequest("GET", sys.argv[1])
    connection.putheader("Authorization", "Bearer " + os.environ["TOKEN"])
    for name, value in fields:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {body[:200]}")
    return json.loads(body)["headers"]


def main():
    wrong = 0
    for what, fields, kept, state in CASES:
        got = reached(fields)
        parent = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]", got.get("traceparent", ""))
        problem = None
        if not parent or set(parent.group(1)) == {"0"} or set(parent.group(2)) == {"0"}:
            problem = f"traceparent is {got.get('traceparent')}"
        elif kept != (parent.group(1) == TRACE) or parent.group(2) == SPAN or (not kept and parent.group(1) in (TRACE, "1" * 32)):
            problem = f"the trace went on as {parent.group(0)}"
        elif got.get("tracestate") != state:
            problem = f"tracestate is {got.get('tracestate')!r}"
        if problem:
            wrong += 1
            print(f"{what}: {problem}")
    print(f"{len(CASES)} cases, {wrong} wrong")
    return wrong > 0


sys.exit(main())
