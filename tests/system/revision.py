#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deploys a revision of a service of mam's own for all of its replicas, as the manager would, and prints its name. For tests of what root believes of that.

usage: revision.py SERVICE [key=value…]    (keys: version, exec, image, definition)"""
import hashlib
import json
import os
import shutil
import sys

DEFINITIONS, DEPLOY = "/var/lib/mam/definitions", "/var/lib/mam/manager/deploy.json"


def name_of(value):
    return hashlib.sha256(json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def main():
    service, given = sys.argv[1], dict(a.split("=", 1) for a in sys.argv[2:])
    folder = os.path.join(DEFINITIONS, service)
    newest = max(os.listdir(folder), key=lambda f: os.stat(os.path.join(folder, f)).st_mtime_ns)
    with open(os.path.join(folder, newest), encoding="utf-8") as f:
        definition = json.load(f)
    assert name_of(definition) + ".json" == newest, "a definition is not called by its hash"

    environment = definition[service].get("environment", {})
    what = {"service": service, "arguments": [], "environment": sorted(f"{k}={v}" for k, v in environment.items()),
            "user": f"mam-{service}", "notify": "yes", "socket": "yes"}
    what.update({{"exec": "program"}.get(k, k): v for k, v in given.items() if k != "definition"})
    revision = {"definition": newest[:-5], **given}
    name = name_of(what)
    deploy = {"version": 1, "services": {service: {"default": name, "revisions": {name: revision}}}}
    if os.path.lexists(DEPLOY):
        os.unlink(DEPLOY)
    with open(DEPLOY, "w", encoding="utf-8") as f:
        json.dump(deploy, f)
    shutil.chown(DEPLOY, "mam-manager", "mam-manager")
    os.chmod(DEPLOY, 0o640)
    print(name)


main()
