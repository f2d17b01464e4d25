#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON Schemas, the installed configuration and the loader say the same.

Usage: schemas.py SOURCE-ROOT GENERATOR    (TAP on stdout)"""
import copy
import json
import os
import subprocess
import sys
import tempfile

source, generator = sys.argv[1:3]
count = failed = 0


def check(ok, name, detail=""):
    global count, failed
    count += 1
    failed += not ok
    print(("ok" if ok else "not ok"), count, "-", name)
    for line in ([] if ok else str(detail).strip().splitlines()):
        print("#", line)


def load(name):
    with open(os.path.join(source, "config", name), encoding="utf-8") as f:
        return json.load(f)


def problems(microservices, services):
    """What the loader says, without notices."""
    with tempfile.TemporaryDirectory(prefix="mam-schemas-") as folder:
        for name, content in (("microservices.json", microservices), ("services.json", services)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                json.dump(content, f)
        result = subprocess.run([generator, "--dryrun", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return [line for line in result.stderr.splitlines() if not line.startswith("notice: ")]


# One good and one wrong value for each key of "scaling" of a service.
SCALING = {
    "horizontal": ("auto", "on"),
    "vertical": ("recommend", True),
    "targetCPU": (60, 1001),
    "targetMemory": (0, 101),
    "targetInFlight": (2.5, -1),
    "targetRPS": (100, "100"),
    "targetLatency": ("200ms", -1),
    "targetPressure": (20, 101),
    "scaleDownWindow": (0, 3601),
    "scaleToZeroAfter": ("10min", 0),
    "minCPU": ("50m", 1),
    "maxCPU": ("4", "4 cores"),
    "minMemory": ("64Mi", "64 MiB"),
    "maxMemory": ("2Gi", 2),
}

# The same for "healthCheck".
HEALTH = {
    "type": ("tcp", "udp"),
    "path": ("/up", "up"),
    "interval": ("500ms", 0),
    "timeout": (1, True),
    "failureThreshold": (5, 0),
    "successThreshold": (2, 101),
}

# The same for each key that a service can have.
SERVICE = {
    "name": ("Echo", 5),
    "type": ("service", "services"),
    "port": (8000, 70000),
    "listen": ("127.0.0.1", 5),
    "replicas": (2, 101),
    "minReplicas": (1, -1),
    "maxReplicas": (4, 0),
    "resources": ({"cpu": "1.5", "memory": "1e8"}, {"cpu": "1 core"}),
    "tasksMax": (64, 1),
    "healthCheck": ({"type": "tcp", "path": "/up", "interval": "500ms", "timeout": 1, "failureThreshold": 5, "successThreshold": 2}, {"interval": 0}),
    "scaling": ({key: good for key, (good, _) in SCALING.items()}, {"horizontal": True}),
    "dependencies": ([], "redis"),
    "environment": ({"A": "b"}, {"1A": "b"}),
    "routes": (["/echo"], ["/echo/"]),
    "exec": (["/bin/cat"], []),
    "user": ("nobody", "root"),
    "socket": (True, "yes"),
    "notify": (True, 1),
}


def main():
    try:
        import jsonschema
    except ImportError:
        print("1..0 # SKIP no python3-jsonschema")
        return 1 if os.environ.get("MAM_TEST_MUST_RUN") == "1" else 0

    schemas = {n: load(n + ".schema.json") for n in ("microservices", "services")}
    validators = {}
    for name, schema in schemas.items():
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
            check(True, f"{name}.schema.json is a schema")
        except jsonschema.SchemaError as e:
            check(False, f"{name}.schema.json is a schema", e)
        validators[name] = jsonschema.Draft202012Validator(schema)
        errors = list(validators[name].iter_errors(load(name + ".json")))
        check(not errors, f"{name}.json conforms", "\n".join(e.message for e in errors))

    known = schemas["services"]["$defs"]["service"]["properties"]
    check(set(known) == set(SERVICE), "every key of a service has its case here", set(known) ^ set(SERVICE))
    good = {key: values[0] for key, values in SERVICE.items()}
    check(not list(validators["services"].iter_errors({"echo": good})), "the schema takes every key")
    said = problems({}, {"echo": good})
    check(not said, "the loader takes every key", "\n".join(said))
    for key, (_, wrong) in SERVICE.items():
        bad = {"echo": {**good, key: wrong}}
        check(list(validators["services"].iter_errors(bad)), f"the schema refuses a wrong {key}")
        said = problems({}, bad)
        check(any(f": echo.{key}" in line and line.startswith("error: ") for line in said), f"the loader refuses a wrong {key}", said)

    for section, cases in (("scaling", SCALING), ("healthCheck", HEALTH)):
        check(set(known[section]["properties"]) == set(cases), f"every key of {section} has its case here", set(known[section]["properties"]) ^ set(cases))
        for key, (_, wrong) in cases.items():
            bad = {"echo": {**good, section: {**good[section], key: wrong}}}
            check(list(validators["services"].iter_errors(bad)), f"the schema refuses a wrong {section}.{key}")
            said = problems({}, bad)
            check(any(f": echo.{section}.{key}: " in line and line.startswith("error: ") for line in said), f"the loader refuses a wrong {section}.{key}", said)

    # Every key of microservices.json with a value of its type; then one key too many in each place.
    samples = {"boolean": True, "integer": 5, "string": "none"}
    full = {}
    for section, schema in schemas["microservices"]["properties"].items():
        if "properties" in schema:
            full[section] = {k: samples.get(v.get("type", "string")) for k, v in schema["properties"].items()}
    full["external"] = {"postgresql": "host=db.example", "redis": "redis://cache.example:6379"}
    full["registry"].update(token="credential:registry.token", url="http://localhost:5000")
    full["scaling"].update(hpa="recommend", vpa=True)
    full["monitoring"]["alertWebhooks"] = ["http://127.0.0.1:9093/api/v2/alerts", "https://hooks.example/x?y=1"]
    check(not list(validators["microservices"].iter_errors(full)), "the schema takes every setting")
    said = problems(full, {})
    check(not said, "the loader takes every setting", "\n".join(said))
    for section, key, wrong in (("registry", "url", "http://registry.example/"), ("registry", "url", "https://localhost:5000"), ("scaling", "hpa", "on"),
                                ("scaling", "vpa", 1), ("monitoring", "alertWebhooks", "http://x/"), ("monitoring", "alertWebhooks", ["ftp://x/"]),
                                ("monitoring", "alertWebhooks", ["http://x/", "http://x/"]), ("monitoring", "alertWebhooks", [f"http://x/{n}" for n in range(17)])):
        bad = copy.deepcopy(full)
        bad[section][key] = wrong
        check(list(validators["microservices"].iter_errors(bad)), f"the schema refuses {section}.{key}: {str(wrong)[:40]}")
        said = problems(bad, {})
        check(any(f": {section}.{key}" in line and line.startswith("error: ") for line in said), f"the loader refuses {section}.{key}: {str(wrong)[:40]}", said)
    for section in full:
        more = copy.deepcopy(full)
        more[section]["colour"] = "blue"
        check(list(validators["microservices"].iter_errors(more)), f"the schema refuses an unknown key in {section}")
        said = problems(more, {})
        check(any(f": {section}.colour: unknown key" in line for line in said), f"the loader warns of an unknown key in {section}", said)

    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
