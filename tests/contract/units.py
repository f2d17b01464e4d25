#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed units and what the generator makes of the installed configuration, as systemd reads them: no complaint, and sandboxed as promised.

Usage: units.py GENERATOR SOURCE-ROOT    (TAP on stdout)"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Highest exposure in tenths, by service; mam's own first.
EXPOSURE = {"api-gateway": 13, "project-manager": 12, "event-bus": 13, "postgresql": 20, "redis": 20}
STATIC_EXPOSURE = {"mam-manager.service": 12, "mam-setup.service": 12, "mam-registry.service": 13, "mam-alerts.service": 13}

generator, source = sys.argv[1:3]
count = failed = 0


def check(ok, name, detail=""):
    global count, failed
    count += 1
    failed += not ok
    print(("ok" if ok else "not ok"), count, "-", name)
    if not ok:
        for line in detail.strip().splitlines():
            print("#", line)
    sys.stdout.flush()


def run(*argv, **environment):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                          env={**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C", **environment})


def parse_dryrun(text):
    """The files that the generator would write, by name."""
    files, name = {}, None
    for line in text.splitlines():
        link = re.fullmatch(r"# (\S+) → (\S+)", line)
        head = re.fullmatch(r"# (\S+\.(?:conf|target|socket|slice))", line)
        if link:
            files[link[1]], name = ("link", link[2]), None
        elif head:
            name = head[1]
            files[name] = ("file", "")
        elif name:
            files[name] = ("file", files[name][1] + line + "\n")
    return files


def build_tree(folder, libexec):
    """Static and generated units in one folder; returns the names of the instances."""
    for name in os.listdir(os.path.join(source, "units")):
        if name.startswith("mam") and name.rsplit(".", 1)[1] in ("service", "socket", "target", "slice", "path"):
            with open(os.path.join(source, "units", name), encoding="utf-8") as f:
                text = f.read().replace("/usr/lib/mam/", libexec + "/")
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
    made = subprocess.run([generator, "--dryrun", os.path.join(source, "config")], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    instances = []
    for name, (kind, content) in parse_dryrun(made).items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "link":
            os.symlink(content, path)
        else:
            with open(path, "w", encoding="utf-8") as f:
                f.write(content.replace("=/usr/lib/mam/", "=" + libexec + "/"))
        if name.startswith("mam@") and ".d/" in name:
            instances.append(name.split(".d/")[0])
    return instances


def make_programs(libexec):
    """verify wants the programs that units name to exist; it runs none of them, so empty files of the same names do."""
    os.makedirs(libexec)
    for name in ("mam-manager", "mam-setup", "mam-registry", "mam-alerts", "mam-exit", "mam-api-gateway", "mam-project-manager", "mam-event-bus", "mam-postgresql", "mam-redis"):
        path = os.path.join(libexec, name)
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/bin/false\n")
        os.chmod(path, 0o755)


def main():
    if not shutil.which("systemd-analyze"):
        print("1..0 # SKIP no systemd-analyze")
        return 1 if os.environ.get("MAM_TEST_MUST_RUN") == "1" else 0

    with tempfile.TemporaryDirectory(prefix="mam-units-") as folder:
        libexec = os.path.join(folder, "lib")
        units = os.path.join(folder, "units")
        os.mkdir(units)
        make_programs(libexec)
        instances = build_tree(units, libexec)
        path = units + ":" + "/usr/lib/systemd/system:/lib/systemd/system"
        check(len(instances) > 20, "the generator makes replicas of the installed configuration", str(instances))

        services = sorted({i.split("@")[1].split(":")[0] for i in instances})
        check(services == sorted(EXPOSURE), "every service has a limit for its exposure", str(services))

        names = [os.path.join(units, u) for u in ("mam.target", "mam.slice", "mam-manager.service", "mam-setup.service", "mam-setup.path",
                                                  "mam-registry.service", "mam-alerts.service", "mam-alerts.path", "mam-registry.socket", "mam-registry-dns.socket")]
        names += [os.path.join(units, f"mam-{s}.target") for s in services]
        targets = [u for u in os.listdir(units) if re.fullmatch(r"mam@.*:1-[0-9]+\.target", u)]
        check(len(targets) >= len(services), "the generator makes targets that start several replicas at once", str(targets))
        with open(os.path.join(units, "all.target"), "w", encoding="ascii") as f:  # verify takes no instance without a template
            f.write(f"[Unit]\nRequires={' '.join(targets)}\n")
        names.append(os.path.join(units, "all.target"))
        template = os.path.join(units, "mam@.service")
        names += [f"{template}:{i}" for i in instances if i.rsplit(":", 1)[1] in ("1.service", "2.service", "10.service")]
        names += [os.path.join(units, u) for u in os.listdir(units) if u.endswith(".slice") or (u.endswith(".socket") and "@" not in u)]
        result = run("systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", *names, SYSTEMD_UNIT_PATH=path)
        check(result.returncode == 0 and result.stdout.strip() == "", "systemd-analyze verify has nothing to say", result.stdout)

        # The same must fail for a unit that is wrong, else the check above shows nothing.
        os.makedirs(os.path.join(units, "mam@redis:1.service.d"), exist_ok=True)
        wrong = os.path.join(units, "mam@redis:1.service.d", "99-wrong.conf")
        with open(wrong, "w", encoding="ascii") as f:
            f.write("[Service]\nRestart=sometimes\n")
        result = run("systemd-analyze", "verify", "--recursive-errors=yes", "--man=no", template + ":mam@redis:1.service",
                     SYSTEMD_UNIT_PATH=path)
        check(result.returncode != 0 and "99-wrong.conf:2" in result.stdout, "systemd-analyze verify reads the generated drop-ins", result.stdout)
        os.unlink(wrong)

        for instance in instances:
            os.symlink("mam@.service", os.path.join(units, instance))
        for unit, limit in [(f"mam@{s}:1.service", EXPOSURE[s]) for s in services] + list(STATIC_EXPOSURE.items()):
            result = run("systemd-analyze", "security", "--offline=true", f"--threshold={limit}", os.path.join(units, unit), SYSTEMD_UNIT_PATH=path)
            level = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
            bad = "\n".join(line for line in result.stdout.splitlines() if not line.startswith(("+", "✓")))
            check(result.returncode == 0 and level, f"{unit}: exposure {level[1] if level else '?'}, at most {limit / 10}", bad)

    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
