#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts a folder of results: junit files (*.xml) and logs (*.json) as meson writes them, and TAP files (*.tap) of the system tests.

A test that died before it could say "not ok" is in meson's log alone: it counts as one failed.

Prints what failed and was skipped, then one line "N passed, N failed[, N skipped]". Exit status 1 if a test failed, if a TAP
file does not keep its plan, or if nothing ran.
"""
import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ET


def junit(path):
    for suite in ET.parse(path).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{path.stem}: {suite.get('name')}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                yield "failed", name, ""
            elif (skip := case.find("skipped")) is not None:
                yield "skipped", name, skip.get("message") or skip.text or ""
            else:
                yield "passed", name, ""


def log(path):
    failed = set()
    for suite in ET.parse(path.with_suffix(".xml")).getroot().iter("testsuite"):
        if any(case.find("failure") is not None or case.find("error") is not None for case in suite.iter("testcase")):
            failed.add(suite.get("name").split(".", 1)[-1])
            failed.update(case.get("name") for case in suite.iter("testcase"))
    for line in path.read_text(errors="replace").splitlines():
        test = json.loads(line)
        if test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") and test["name"] not in failed:
            yield "failed", f"{path.stem}: {test['name']}: {test['result']}", "it ended before its results did"


def tap(path):
    plan, seen = None, 0
    for line in path.read_text(errors="replace").splitlines():
        if m := re.match(r"1\.\.(\d+)", line):
            plan = int(m[1])
        elif m := re.match(r"(not )?ok \d+ - (.*?)(?: # SKIP ?(.*))?$", line):
            seen += 1
            name = f"{path.stem}: {m[2]}"
            if m[1]:
                yield "failed", name, ""
            elif m[3] is not None:
                yield "skipped", name, m[3]
            else:
                yield "passed", name, ""
    if plan is None or plan != seen:
        yield "failed", f"{path.stem}: {seen} tests ran, {'no plan' if plan is None else plan} planned", ""


def main():
    folder = pathlib.Path(sys.argv[1])
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(folder.iterdir()):
        read = {".xml": junit, ".json": log, ".tap": tap}.get(path.suffix)
        for result, name, why in read(path) if read else ():
            counts[result] += 1
            if result != "passed":
                print(f"{result}: {name}{': ' + why if why else ''}")
    print(f"{counts['passed']} passed, {counts['failed']} failed" + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
