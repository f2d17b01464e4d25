#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The house rules that a program can check: formatting, licence lines, layers, spelling. TAP on stdout.

Layers: libmam includes no daemon; a daemon includes itself and libmam; systemd's, PostgreSQL's and Redis' types stay in their rooms.
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1])
FOLDERS = ("daemons", "tests", "units", "dbus", "polkit", "packaging", "config", "docs", ".ci")
TEXT = {".c", ".h", ".py", ".sh", ".build", ".xml", ".policy", ".rules", ".md", ".service", ".socket", ".target", ".slice", ".path"}
# <header> → folders of daemons/ that may include it
ROOMS = {
    "libpq-fe.h": {"libmam/db", "postgresql"},
    "hiredis/": {"libmam/cache"},
    "openssl/": {"event-bus", "libmam/auth", "libmam/config", "libmam/db", "libmam/http", "redis", "setup", "project-manager"},
}


def files(*suffixes):
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in suffixes:
                yield path


def formatting():
    tool = shutil.which("clang-format")
    if not tool:
        return "SKIP clang-format is not installed"
    r = subprocess.run([tool, "--dry-run", "-Werror", *map(str, files(".c", ".h"))], capture_output=True, text=True, check=False)
    return r.stderr if r.returncode else ""


def licence():
    return "\n".join(str(p) for p in files(".c", ".h", ".py", ".sh", ".build", ".service", ".socket", ".target", ".slice", ".path")
                     if "SPDX-License-Identifier: LGPL-2.1-or-later" not in p.read_text(errors="replace")[:400])


def layers():
    wrong = []
    for path in files(".c", ".h"):
        where = path.relative_to(ROOT).parts
        if where[0] != "daemons":
            continue
        for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
            top = name.split("/")[0]
            if "/" in name and top not in ("libmam", where[1]):
                wrong.append(f"{path}: a {where[1]} file includes {name}")
        for name in re.findall(r"^#include <([^>]+)>", path.read_text(), re.M):
            for header, rooms in ROOMS.items():
                if name.startswith(header) and "/".join(where[1:3]) not in rooms and where[1] not in rooms and not where[-1].startswith("test-"):
                    wrong.append(f"{path}: <{name}> stays in {', '.join(sorted(rooms))}")
    return "\n".join(wrong)


def length():
    return "\n".join(f"{p}: {n} lines" for p in files(".c", ".h") if (n := len(p.read_text().splitlines())) > 1200)


def spelling():
    tool = shutil.which("codespell")
    if not tool:
        return "SKIP codespell is not installed"
    paths = [str(p) for p in files(*TEXT) if "corpus" not in p.parts and "data" not in p.parts] + [str(ROOT / "README.md"), str(ROOT / "dev")]
    r = subprocess.run([tool, "--quiet-level", "3", "--ignore-words-list", "sacle,te,ot,nd,ans,iif,fo,inout,crate,mam,ba,hist,creat", *paths],
                       capture_output=True, text=True, check=False)
    return r.stdout + r.stderr if r.returncode else ""


def main():
    failed = 0
    checks = [formatting, licence, layers, length, spelling]
    for n, check in enumerate(checks, 1):
        wrong = check()
        if wrong.startswith("SKIP"):
            print(f"ok {n} - {check.__name__} # {wrong}")
        elif wrong:
            failed += 1
            print("\n".join("# " + line for line in wrong.splitlines()[:40]))
            print(f"not ok {n} - {check.__name__}")
        else:
            print(f"ok {n} - {check.__name__}")
    print(f"1..{len(checks)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
