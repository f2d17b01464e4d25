#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mam-setup with folders and a host key of the test's own.

Usage: setup.py MAM-SETUP SOURCE-ROOT    (TAP on stdout)"""
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile

setup, source = sys.argv[1:3]
count = failed = 0


def check(ok, name, detail=""):
    global count, failed
    count += 1
    failed += not ok
    print(("ok" if ok else "not ok"), count, "-", name)
    for line in ([] if ok else str(detail).strip().splitlines()):
        print("#", line)
    sys.stdout.flush()


class Place:
    def __init__(self, folder):
        self.config, self.state, self.store = (os.path.join(folder, n) for n in ("config", "state", "store"))
        shutil.copytree(os.path.join(source, "config"), self.config, ignore=shutil.ignore_patterns("*.schema.json", "meson.build"))
        os.mkdir(os.path.join(self.config, "tls"))  # as systemd-tmpfiles does
        self.env = {**os.environ, "SYSTEMD_CREDENTIAL_SECRET": os.path.join(folder, "host-key")}

    def run(self):
        return subprocess.run([setup, "--config=" + self.config, "--state=" + self.state, "--store=" + self.store],
                              env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)

    def secret(self, name):
        return subprocess.run(["systemd-creds", "--name=", "decrypt", os.path.join(self.store, name), "-"],
                              env=self.env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    def snapshot(self):
        found = {}
        for top in (self.config, self.state, self.store):
            for folder, _, files in os.walk(top):
                for f in files:
                    path = os.path.join(folder, f)
                    st = os.stat(path)
                    with open(path, "rb") as handle:
                        found[path] = (st.st_ino, st.st_mode, handle.read())
        return found

    def definitions(self, service):
        """Their names, newest first."""
        folder = os.path.join(self.state, "definitions", service)
        return [f[:-5] for f in sorted(os.listdir(folder), key=lambda f: -os.stat(os.path.join(folder, f)).st_mtime_ns)]

    def edit(self, name, text):
        with open(os.path.join(self.config, name), "w", encoding="utf-8") as f:
            f.write(text)


def definitions(p):
    def redis(cpu):
        p.edit("services.json", json.dumps({"redis": {"resources": {"cpu": cpu}}}))
        result = p.run()
        check(result.returncode == 0, f"a configuration with {cpu}", result.stdout)
        return hashlib.sha256(b'{"redis":{"resources":{"cpu":"%s"}}}' % cpu.encode()).hexdigest()[:12]

    first = redis("100m")
    check(p.definitions("redis")[0] == first, "a definition is called by the hash of its canonical text", p.definitions("redis"))
    check("project-manager" not in os.listdir(os.path.join(p.state, "definitions")), "those of a service that went go with it")
    path = os.path.join(p.state, "definitions/redis", first + ".json")
    check(stat.S_IMODE(os.stat(path).st_mode) == 0o644, "everybody can read it")
    with open(path, "w", encoding="utf-8") as f:
        f.write("{}")
    redis("100m")
    with open(path, encoding="utf-8") as f:
        check(f.read() == '{"redis":{"resources":{"cpu":"100m"}}}', "what holds something else is written anew")

    os.makedirs(os.path.join(p.state, "manager"))
    deploy = {"version": 1, "services": {"redis": {"default": "0" * 12, "revisions": {"0" * 12: {"definition": first}}}}}
    with open(os.path.join(p.state, "manager/deploy.json"), "w", encoding="utf-8") as f:
        json.dump(deploy, f)
    made = [redis(f"{n}m") for n in range(201, 223)]
    kept = p.definitions("redis")
    check(sorted(kept) == sorted(made[-20:] + [first]), "the newest twenty are kept, and what is deployed", kept)
    redis("210m")
    check(p.definitions("redis")[0] == made[9] and len(p.definitions("redis")) == 21, "one that comes back is the newest again")
    p.edit("services.json", "{}")
    p.run()
    check(p.definitions("redis") == [first], "of a service that went only what is deployed stays", p.definitions("redis"))
    os.unlink(os.path.join(p.state, "manager/deploy.json"))
    os.symlink("/etc/passwd", os.path.join(p.state, "manager/deploy.json"))
    result = p.run()
    check(p.definitions("redis") == [first] and "deploy.json" in result.stdout, "nothing is removed if that cannot be told", result.stdout)
    os.unlink(os.path.join(p.state, "manager/deploy.json"))
    p.run()
    check(os.listdir(os.path.join(p.state, "definitions")) == [], "and everything if nothing is deployed")


def main():
    if not shutil.which("systemd-creds") or os.geteuid() != 0:
        print("1..0 # SKIP needs systemd-creds and root")
        return 1 if os.environ.get("MAM_TEST_MUST_RUN") == "1" else 0

    with tempfile.TemporaryDirectory(prefix="mam-setup-") as folder:
        p = Place(folder)
        result = p.run()
        check(result.returncode == 0, "the first run succeeds", result.stdout)
        check(sorted(os.listdir(p.store)) == ["mam.events.key", "mam.gateway.key", "mam.jwt.key", "mam.keys.secret", "mam.redis.api-gateway", "mam.redis.event-bus", "mam.redis.project-manager", "mam.redis.replication", "mam.registry.token", "mam.tls.tickets"],
              "it makes the credentials that are needed", os.listdir(p.store))
        check(all(stat.S_IMODE(os.stat(os.path.join(p.store, f)).st_mode) == 0o600 for f in os.listdir(p.store)),
              "only root can read them")
        secret = p.secret("mam.redis.project-manager")
        check(len(secret) == 64 and int(secret, 16) > 0, "a password is 32 bytes in hexadecimal")
        check(secret != p.secret("mam.registry.token"), "each is its own")
        check(p.secret("mam.jwt.key").startswith(b"-----BEGIN PRIVATE KEY-----"), "the signing key is PKCS#8")
        with open(os.path.join(p.state, "keys/jwks.json"), encoding="utf-8") as f:
            jwks = json.load(f)
        check([k["kty"] for k in jwks["keys"]] == ["OKP"] * 2 and all("d" not in k for k in jwks["keys"]), "the public halves, and no more, are in jwks.json", jwks)
        check([k.get("mam-owner") for k in jwks["keys"]] == [None, "api-gateway"], "one is the manager's, one the gateways'", jwks)
        mode = stat.S_IMODE(os.stat(os.path.join(p.state, "keys/jwks.json")).st_mode)
        check(mode == 0o644, "everybody can read that", oct(mode))
        kept = sorted(os.listdir(os.path.join(p.state, "config")))
        check(kept == ["_microservices.json", "api-gateway.json", "event-bus.json", "postgresql.json", "project-manager.json", "redis.json"],
              "every good definition is kept", kept)
        with open(os.path.join(p.config, "services.json"), encoding="utf-8") as f:
            text = f.read()
        with open(os.path.join(p.state, "config/redis.json"), encoding="utf-8") as f:
            check(json.load(f) == {"redis": json.loads(text)["redis"]}, "as it stood in its file")

        with open(os.path.join(p.state, "definitions/redis", p.definitions("redis")[0] + ".json"), encoding="utf-8") as f:
            check(json.load(f) == {"redis": json.loads(text)["redis"]}, "and by its hash")

        before = p.snapshot()
        result = p.run()
        check(result.returncode == 0 and p.snapshot() == before, "the second run touches nothing", result.stdout)

        p.edit("services.json", text.replace('"cpu": "2000m"', '"cpu": "2000q"'))
        result = p.run()
        check(result.returncode == 0 and "postgresql.resources.cpu" in result.stdout, "a wrong file is reported, not fatal", result.stdout)
        check(all(p.snapshot()[k] == v for k, v in before.items() if "/state/" in k), "and the last good definitions stay as they are")
        p.edit("services.json", "{")
        result = p.run()
        check(all(p.snapshot()[k] == v for k, v in before.items() if "/state/" in k), "also when nothing of it can be read", result.stdout)

        services = json.loads(text)
        del services["api-gateway"]
        p.edit("services.json", json.dumps(services))
        p.run()
        check("api-gateway.json" not in os.listdir(os.path.join(p.state, "config")), "what is taken out of a good file is forgotten")

        with open(os.path.join(p.config, "microservices.json"), encoding="utf-8") as f:
            settings = f.read()
        plain = settings.replace('"credential:registry.token"', '"pl\\u0061in \\"4711\\""  ')
        p.edit("microservices.json", plain)
        os.chmod(os.path.join(p.config, "microservices.json"), 0o640)
        result = p.run()
        with open(os.path.join(p.config, "microservices.json"), encoding="utf-8") as f:
            after = f.read()
        check(after == settings.replace('registry.token"', 'registry.token"  '), "a token leaves the file, the rest stays byte for byte", after)
        check(stat.S_IMODE(os.stat(os.path.join(p.config, "microservices.json")).st_mode) == 0o640, "and so does its mode")
        check(p.secret("mam.registry.token") == b'plain "4711"', "it is in the credential")
        check("registry.token" in result.stdout and "4711" not in result.stdout, "the log warns and does not tell it", result.stdout)
        everything = b"".join(v[2] for v in p.snapshot().values())
        check(b"4711" not in everything, "it is nowhere else")
        check(p.secret("mam.redis.project-manager") == secret, "the other credentials are the same all along")

        definitions(p)

        os.unlink(os.path.join(p.state, "keys/jwks.json"))
        p.run()
        check(os.path.exists(os.path.join(p.state, "keys/jwks.json")), "a lost public key is made anew with its pair")
        os.unlink(os.path.join(p.store, "mam.gateway.key"))
        with open(os.path.join(p.state, "keys/jwks.json"), encoding="utf-8") as f:
            before = json.load(f)["keys"]
        p.run()
        with open(os.path.join(p.state, "keys/jwks.json"), encoding="utf-8") as f:
            after = json.load(f)["keys"]
        check(len(after) == 2 and after[0] == before[0] and after[1] != before[1], "so is a lost private one of the gateways, and only that", after)
        shutil.rmtree(p.config)
        result = p.run()
        check(result.returncode == 0, "without a configuration there is nothing to do", result.stdout)

    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
