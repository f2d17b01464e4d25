# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Limits bite, on the replica that goes beyond them and on nobody else.

# A foreign program as a service: burns or eats when asked.
hog_up() {
  mkdir -p /etc/mam/services.d /opt/hog
  cat >/opt/hog/hog.py <<'PY'
import http.server, os, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/burn":
            def burn():
                while True:
                    pass
            threading.Thread(target=burn, daemon=True).start()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok\n")
        if self.path == "/eat":
            self.wfile.flush()
            eaten = []
            while True:
                eaten.append(b"x" * (1 << 20))

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
PY
  cat >/etc/mam/services.d/hog.json <<'JSON'
{ "hog": { "name": "Hog", "type": "service", "port": 3900, "replicas": 2, "exec": ["/usr/bin/python3", "/opt/hog/hog.py"],
    "resources": { "cpu": "200m", "memory": "64Mi" }, "healthCheck": { "path": "/", "interval": 1, "timeout": 1 } } }
JSON
  mamctl init >/dev/null
  mamctl start hog
}

hog_ask() {
  local port
  port=$(tr '\0' '\n' <"/proc/$(unit_pid "mam@hog:$1.service")/environ" | sed -n 's/^PORT=//p')
  curl -sS --max-time 10 "http://127.0.0.1:$port$2"
}

cpu_usec() {
  local cgroup=/sys/fs/cgroup
  [[ -d $cgroup/unified ]] && cgroup=$cgroup/unified
  sed -n 's/^usage_usec //p' "$cgroup$(systemctl show -P ControlGroup "$1")/cpu.stat"
}

test_cpu_quota_holds_a_burning_replica() {
  suite_up
  hog_up
  local before after began percent
  hog_ask 1 /burn
  before=$(cpu_usec mam@hog:1.service)
  began=$(date +%s%N)
  sleep 3 # the time over which the quota is measured
  after=$(cpu_usec mam@hog:1.service)
  percent=$(((after - before) * 100000 / ($(date +%s%N) - began)))
  ((percent >= 12 && percent <= 26)) || fail "a replica with 200m used $percent % of a core"
}

test_memory_eater_dies_alone_and_is_named() {
  suite_up
  hog_up
  local other pid
  other=$(unit_pid mam@hog:2.service)
  pid=$(unit_pid mam@hog:1.service)
  hog_ask 1 /eat || :
  eventually 30 new_pid mam@hog:1.service "$pid"
  equal "$(unit_pid mam@hog:2.service)" "$other" "the sibling's process"
  eventually 10 sh -c 'mamctl status hog | grep -q oom-kill'
  mamctl --json status hog | jq -e '.services[0].replicas[] | select(.id == "hog:1") | .last_exit == "oom-kill" and .oom_kills >= 1'
  has_ready project-manager 3
}

test_foreign_service_scales_and_stops() {
  suite_up
  hog_up
  mamctl scale hog 4
  has_ready hog 4
  hog_ask 4 / | grep -q ok
  mamctl scale hog 1
  mamctl stop hog
  rm /etc/mam/services.d/hog.json
  mamctl init >/dev/null
  ! mamctl --json list | jq -e '.services[] | select(.id == "hog")'
}

test_a_program_that_speaks_no_http_is_probed_by_tcp() {
  suite_up
  mkdir -p /etc/mam/services.d /opt/echo
  cat >/opt/echo/echo.py <<'PY'
import os, pathlib, socketserver, time

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())

while not pathlib.Path("/opt/echo/go").exists():  # it runs, and does not listen yet
    time.sleep(0.02)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
PY
  cat >/etc/mam/services.d/echo.json <<'JSON'
{ "echo": { "name": "Echo", "type": "service", "port": 3950, "replicas": 2, "exec": ["/usr/bin/python3", "/opt/echo/echo.py"],
    "resources": { "cpu": "200m", "memory": "64Mi" }, "healthCheck": { "type": "tcp", "interval": 1, "timeout": 1 } } }
JSON
  mamctl init >/dev/null
  mamctl start echo >/tmp/start 2>&1 &
  local client=$!
  eventually 20 sh -c 'mamctl --json status echo | jq -e "[.services[0].replicas[] | .health_reason | test(\"refused\")] == [true, true]"'
  has_ready echo 0
  touch /opt/echo/go
  wait "$client" || { cat /tmp/start; fail "echo did not start"; }
  has_ready echo 2
  mamctl stop echo
  rm /etc/mam/services.d/echo.json
  mamctl init >/dev/null
}
