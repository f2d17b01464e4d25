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

# The same for each key of an object in "routes"; the prefix comes on top where there is no path.
ROUTE = {
    "prefix": ("/things/{id}", "things"),
    "path": ("/things/{id}/{rest...}", "/things/{id"),
    "host": ("*.example.com", "example.com:80"),
    "methods": (["GET", "PUT"], ["get"]),
    "headers": ({"X-Canary": "1", "X-Any": True}, {"X Canary": "1"}),
    "version": (2, 0),
    "timeout": ("500ms", "soon"),
    "retries": (1, 4),
    "bodyLimit": ("1Mi", -1),
    "rateLimit": ("slow", 5),
    "auth": ({"anonymous": False, "roles": ["admin"], "scopes": ["tasks"]}, {"roles": "admin"}),
    "sticky": ("subject", "always"),
    "mirror": ({"service": "echo", "percent": 0.5}, {"percent": 5}),
    "rewrite": ("/v2/{id}", "v2"),
    "encodedSlash": (True, "yes"),
    "requestHeaders": ({"set": {"X-A": "1"}, "add": {"X-B": "2"}, "remove": ["X-C"]}, {"set": {"X A": "1"}}),
    "responseHeaders": ({"set": {"X-A": "1"}, "remove": ["Server"]}, {"remove": "Server"}),
    "deprecated": ("2026-01-31", "yesterday"),
    "sunset": ("2027-01-31T12:00:00Z", 2027),
    "successor": ("/api/v2/things", "../v2"),
    "maintenance": ({"retryAfter": "10min", "message": "Soon.", "roles": ["admin"]}, "yes"),
    "fault": ({"delay": "200ms", "delayPercent": 10, "abort": 503, "abortPercent": 1.5}, {"abort": 200}),
}

# The same for each section of "gateway": {"section": {"key": (good, wrong)}}; a key that is a value itself stands for itself.
GATEWAY = {
    "allowFaults": (True, "yes"),
    "auth": {
        "required": (False, "no"),
        "issuers": ([{"issuer": "https://idp.example", "audience": "mam", "jwksUrl": "https://idp.example/jwks", "rolesClaim": "realm_access.roles", "projectsClaim": "p",
                      "roles": ["ops"], "refresh": "10min", "clockSkew": 0}], [{"issuer": "https://idp.example", "audience": "mam", "jwksFile": "keys.json"}]),
        "certificates": ([{"name": "robot", "fingerprint": "ab:" * 31 + "AB", "roles": ["ops"], "scopes": ["x"]}], [{"name": "robot", "fingerprint": "abc"}]),
        "roles": ({"viewer": ["GET /api/v1/projects/{project}/...", "/x", "* /y/*/z"], "nothing": []}, {"viewer": ["GET api"]}),
        "scopes": ({"read": ["GET,HEAD /..."]}, {"read": "GET /..."}),
        "tokens": ({"enabled": True, "accessLifetime": "1min", "refreshLifetime": "90d", "sessionsPerSubject": 1}, {"sessionsPerSubject": 0}),
        "introspect": (["ops"], []),
        "audit": ("all", "some"),
        "auditRate": (1, 0),
    },
    "callers": ({"billing": ["things", "GET,POST stores/api/v1/x/...", "* others/"]}, {"billing": ["get things"]}),
    "graphql": {
        "enabled": (False, "no"),
        "introspection": (False, 0),
        "anonymous": (True, 1),
        "maxSize": ("128Ki", 100),
        "maxDepth": (20, 65),
        "maxFields": (5000, 0),
        "maxAliases": (1, 20001),
        "maxRequests": (1000, 10001),
        "timeout": ("90s", 601),
    },
    "tracing": {
        "endpoint": ("https://collector.example:4318/v1/traces", "collector:4318"),
        "sample": (12.5, 101),
    },
    "compression": {
        "enabled": (False, "no"),
        "codings": (["gzip"], ["deflate"]),
        "minSize": ("4Ki", -1),
        "types": (["text/*", "application/json"], ["json"]),
    },
    "accessLog": {
        "format": ("json", "xml"),
        "rate": (0, -1),
    },
    "tls": {
        "port": (8443, 0),
        "minVersion": ("1.3", 1.3),
        "clientCertificates": ("request", "optional"),
        "clientCa": ("/etc/ssl/ca.pem", "ca.pem"),
        "defaultCertificate": ("example.org", "../x"),
    },
    "websocket": {
        "max": (0, -1),
        "maxPerCaller": (1, 0),
        "idleTimeout": ("1h", 0),
    },
    "limits": {
        "rates": ({"few": {"requests": 5, "per": "1min", "burst": 10, "by": ["claim:tenant", "route"], "everywhere": True}}, {"few": {"requests": 0}}),
        "shared": (False, "no"),
        "concurrency": ({"adaptive": False, "max": 10}, {"max": 0}),
        "queue": ({"max": 0, "wait": "100ms"}, {"max": 16385}),
        "breaker": ({"failures": 0, "open": "500ms"}, {"failures": 101}),
        "retryBudget": (0, 101),
        "clientDeadlines": (False, 1),
        "slowClients": (0, -1),
    },
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
    "routes": (["/echo", {"path": "/echo/{id}", "methods": ["GET"]}], ["/echo/"]),
    "protocol": ("h2c", "http3"),
    "balancing": ("turns", "random"),
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

    route = schemas["services"]["$defs"]["route"]["properties"]
    check(set(route) == set(ROUTE), "every key of a route has its case here", set(route) ^ set(ROUTE))
    rates = {"gateway": {"limits": {"rates": {"slow": {"requests": 5}}}}}
    base = {key: values[0] for key, values in ROUTE.items() if key != "path"}
    for key, (right, wrong) in ROUTE.items():
        without = {k: v for k, v in base.items() if key != "path" or k != "prefix"}
        for value, taken in ((right, True), (wrong, False)):
            document = {"echo": {**good, "routes": [{**without, key: value}]}}
            check((not list(validators["services"].iter_errors(document))) == taken, f"the schema {'takes' if taken else 'refuses'} a route with {key} {json.dumps(value)[:40]}")
            said = [line for line in problems(rates, document) if line.startswith("error: ")]
            check(not said if taken else any(f": echo.routes.0.{key}" in line for line in said), f"the loader {'takes' if taken else 'refuses'} a route with {key} {json.dumps(value)[:40]}", said)

    # Every key of "gateway" by itself: a right value and a wrong one.
    known = schemas["microservices"]["properties"]["gateway"]["properties"]
    check(set(known) == set(GATEWAY), "every section of gateway has its cases here", set(known) ^ set(GATEWAY))
    for section, cases in GATEWAY.items():
        if isinstance(cases, dict):
            check(set(known[section]["properties"]) == set(cases), f"every key of gateway.{section} has its case here", set(known[section]["properties"]) ^ set(cases))
        for key, (right, wrong) in (cases if isinstance(cases, dict) else {None: cases}).items():
            name = f"gateway.{section}" + (f".{key}" if key else "")
            for value, taken in ((right, True), (wrong, False)):
                document = {"gateway": {section: {key: value} if key else value}}
                check((not list(validators["microservices"].iter_errors(document))) == taken, f"the schema {'takes' if taken else 'refuses'} {name} {json.dumps(value)[:40]}")
                said = problems(document, {})
                check(not said if taken else any(f": {name}" in line and line.startswith("error: ") for line in said), f"the loader {'takes' if taken else 'refuses'} {name} {json.dumps(value)[:40]}", said)

    # Every key of microservices.json with a value of its type; then one key too many in each place.
    samples = {"boolean": True, "integer": 5, "string": "none"}
    full = {}
    for section, schema in schemas["microservices"]["properties"].items():
        if "properties" in schema and section != "gateway":
            full[section] = {k: samples.get(v.get("type", "string")) for k, v in schema["properties"].items()}
    full["external"] = {"postgresql": "host=db.example", "redis": "redis://cache.example:6379"}
    full["registry"].update(token="credential:registry.token", url="http://localhost:5000")
    full["scaling"].update(hpa="recommend", vpa=True)
    full["monitoring"]["alertWebhooks"] = ["http://127.0.0.1:9093/api/v2/alerts", "https://hooks.example/x?y=1"]
    full["events"] = {"webhooks": {"allow": ["10.20.0.0/16", "fd00::/8", "127.0.0.1"], "allowHttp": True, "origin": "events.example.com"}}
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
