# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Autoscaling under real load through the gateway: more and fewer replicas, none, and bigger ones. Periods and windows are short here.

SCALED=/etc/mam/services.d/scaled.json

# A program that takes its sockets from systemd, answers /slow after half a second, and eats memory when asked.
scaled_up() {
  if [[ ! -e $SCALED ]]; then
    mkdir -p /etc/mam/services.d /opt/scaled /run/systemd/system/mam-manager.service.d
    printf '[Service]\nEnvironment=MAM_AUTOSCALE_PERIOD=1s\n' >/run/systemd/system/mam-manager.service.d/test.conf
    cat >/opt/scaled/scaled.py <<'PY'
import http.server, os, selectors, socket, threading, time

held = []

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_request(self, *_):
        pass

    def do_GET(self):
        if self.path.endswith("/slow"):
            time.sleep(0.5)
        if self.path.endswith("/hold"):
            held.append(bytearray(b"x" * (100 << 20)))
        if self.path.endswith("/release"):
            held.clear()
        if self.path.endswith("/eat"):
            eaten = [b"x" * (1 << 20) for _ in range(1 << 12)]
        body = f"from replica {os.environ['MAM_REPLICA']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(http.server.ThreadingHTTPServer):
    def __init__(self, fd):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=fd)

    def get_request(self):
        connection, address = self.socket.accept()
        connection.setblocking(True)
        return connection, address or ("unix", 0)

selector = selectors.DefaultSelector()
for fd in range(3, 3 + int(os.environ["LISTEN_FDS"])):
    server = Server(fd)
    selector.register(server.socket, selectors.EVENT_READ, server)
while True:
    for key, _ in selector.select():
        key.data.handle_request()
PY
    cat >$SCALED <<'JSON'
{
  "busy": { "name": "Busy", "type": "service", "port": 4500, "replicas": 1, "minReplicas": 1, "maxReplicas": 6, "routes": ["/busy"], "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/scaled/scaled.py"],
    "resources": { "cpu": "500m", "memory": "64Mi" }, "healthCheck": { "path": "/health", "interval": 1, "timeout": 5 },
    "scaling": { "targetCPU": 0, "targetInFlight": 2, "scaleDownWindow": "3s", "vertical": "auto", "minMemory": "32Mi" } },
  "lazy": { "name": "Lazy", "type": "service", "port": 4503, "replicas": 0, "minReplicas": 0, "maxReplicas": 3, "routes": ["/lazy"], "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/scaled/scaled.py"],
    "resources": { "cpu": "500m", "memory": "64Mi" }, "healthCheck": { "path": "/health", "interval": 1, "timeout": 5 } },
  "roomy": { "name": "Roomy", "type": "service", "port": 4502, "replicas": 1, "minReplicas": 1, "maxReplicas": 1, "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/scaled/scaled.py"],
    "resources": { "cpu": "500m", "memory": "512Mi" }, "healthCheck": { "path": "/health", "interval": 1, "timeout": 5 },
    "scaling": { "horizontal": "off", "vertical": "auto", "minMemory": "32Mi" } },
  "drowsy": { "name": "Drowsy", "type": "service", "port": 4501, "replicas": 1, "minReplicas": 0, "maxReplicas": 3, "routes": ["/drowsy"], "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/scaled/scaled.py"],
    "resources": { "cpu": "500m", "memory": "64Mi" }, "healthCheck": { "path": "/health", "interval": 1, "timeout": 5 },
    "scaling": { "targetCPU": 0, "scaleToZeroAfter": "2s", "scaleDownWindow": "2s" } }
}
JSON
    systemctl daemon-reload
    mamctl init >/dev/null
    systemctl restart mam-manager
    mamctl start api-gateway
  fi
  TOKEN=$(mamctl token --subject tester --role admin --ttl 1h)
  export TOKEN
  mamctl start "$1"
}

wanted() {
  mamctl --json list | jq -r --arg s "$1" '.services[] | select(.id == $s) | .desired'
}

has_all_ready() {
  has_ready "$1" "$(wanted "$1")"
}

wants_at_least() {
  (($(wanted "$1") >= $2))
}

wants() {
  [[ $(wanted "$1") == "$2" ]]
}

state() {
  mamctl --json list | jq -r --arg s "$1" '.services[] | select(.id == $s) | .state'
}

sleeps() {
  [[ $(state "$1") == asleep ]]
}

# busy N SERVICE: N clients that ask on and on, until busy_end. What fails is counted.
busy() {
  local n
  rm -f /tmp/busy.failed
  busy_pids=()
  for ((n = 0; n < $1; n++)); do
    while :; do api GET "/$2/slow" >/dev/null || echo failed >>/tmp/busy.failed; done &
    busy_pids+=($!)
  done
}

busy_end() {
  kill "${busy_pids[@]}"
  wait "${busy_pids[@]}" 2>/dev/null || true
  busy_pids=()
}

memory_limit() {
  mamctl --json status "$1" | jq -r '.services[0].memory_limit_bytes'
}

test_grows_on_a_step_within_a_period_and_shrinks_after_the_window() {
  scaled_up busy
  has_ready busy 1
  busy 8 busy
  eventually 15 wants_at_least busy 4 # a period and an answer of the gateways: 2 s, on a machine that has them
  eventually 20 has_all_ready busy
  eventually 5 sh -c 'mamctl explain busy | grep -q "requests in flight"'
  busy_end
  [[ ! -e /tmp/busy.failed ]] || fail "$(wc -l </tmp/busy.failed) requests failed"
  eventually 20 wants busy 1
  eventually 10 has_ready busy 1
  matches "$(mamctl events busy)" 'from [0-9]+ to [0-9]+ replicas'
}

test_goes_to_zero_and_is_woken_by_a_request_that_is_answered() {
  scaled_up drowsy
  eventually 15 sleeps drowsy
  equal "$(systemctl show -P ActiveState mam@drowsy:1.service)" inactive
  equal "$(systemctl show -P ActiveState mam@drowsy:1.socket)" active
  equal "$(systemctl show -P ActiveState mam-drowsy.socket)" active
  matches "$(api GET /drowsy/hello)" 'from replica 1'
  eventually 5 has_ready drowsy 1
  eventually 15 sleeps drowsy
  matches "$(curl -sS --max-time 10 http://127.0.0.1:4501/hello)" 'from replica 1' # by its own port as well
  eventually 5 has_ready drowsy 1
  mamctl scale drowsy 0
  sleeps drowsy
  mamctl stop drowsy
  equal "$(state drowsy)" stopped
  eventually 5 sh -c '[ "$(systemctl show -P ActiveState mam-drowsy.socket)" = inactive ]'
  eventually 5 sh -c '[ "$(systemctl show -P ActiveState mam@drowsy:1.socket)" = inactive ]'
}

# At any moment of it: while it drains, while systemd stops it, just after.
test_requests_that_race_with_falling_asleep_are_answered() {
  local moment
  scaled_up drowsy
  for moment in 0.00 0.05 0.12 0.18 0.20 0.22 0.24 0.27 0.31 0.40; do
    mamctl scale drowsy 0 --no-wait >/dev/null
    sleep "$moment"
    matches "$(api GET /drowsy/hello)" 'from replica'
    matches "$(curl -sS --max-time 10 http://127.0.0.1:4501/hello)" 'from replica'
  done
}

test_what_has_no_replica_is_there_when_somebody_asks() {
  scaled_up lazy
  sleeps lazy
  equal "$(systemctl show -P NRestarts,ActiveEnterTimestampMonotonic mam@lazy:1.service | tr -d '0\n')" "" "it ran before it was asked"
  matches "$(api GET /lazy/hello)" 'from replica 1'
  eventually 5 has_ready lazy 1
  mamctl stop lazy
  equal "$(state lazy)" stopped
}

test_an_oom_kill_raises_the_limit_of_the_running_ones() {
  local before=67108864
  scaled_up busy
  equal "$(memory_limit busy)" $before
  curl -sS --max-time 20 http://127.0.0.1:4500/eat >/dev/null 2>&1 || true # its replica dies of it
  eventually 10 sh -c '[ "$(systemctl show -P MemoryMax mam@busy:1.service)" -ge 171966464 ]'
  (($(memory_limit busy) >= 171966464)) || fail "limit is $(memory_limit busy)"
  matches "$(mamctl events busy)" 'memory of each replica from 64Mi'
  matches "$(mamctl explain busy)" 'lack of memory'
}

test_a_limit_that_a_person_set_stays() {
  scaled_up busy
  mamctl limits busy --memory 80Mi
  curl -sS --max-time 20 http://127.0.0.1:4500/eat >/dev/null 2>&1 || true
  eventually 10 sh -c 'mamctl events busy | grep -q oom-kill'
  eventually 20 has_all_ready busy
  equal "$(memory_limit busy)" $((80 * 1024 * 1024))
  mamctl limits busy --memory default
}

# What it uses is far below its limit, as is known from a month; only at the moment it holds more than it would get.
test_memory_shrinks_by_memory_high_first() {
  local now month
  scaled_up roomy
  curl -sS --max-time 20 http://127.0.0.1:4502/hold >/dev/null
  systemctl stop mam-manager
  now=$(date +%s)000000
  month=$((30 * 24 * 3600 * 1000000))
  cat >/var/lib/mam/manager/vpa.json <<JSON
{"version":1,"services":{"roomy":{"first":$((now - month)),"last":$now,"covered":$month,"cpu":[[0,1000]],"memory":[[3,1000]]}}}
JSON
  chown mam-manager: /var/lib/mam/manager/vpa.json
  systemctl start mam-manager
  eventually 10 sh -c '[ "$(systemctl show -P MemoryHigh mam@roomy:1.service)" -lt 60000000 ]'
  equal "$(systemctl show -P MemoryMax mam@roomy:1.service)" $((512 * 1024 * 1024))
  equal "$(systemctl show -P NRestarts mam@roomy:1.service)" 0
  curl -sS --max-time 20 http://127.0.0.1:4502/release >/dev/null
  eventually 10 sh -c '[ "$(systemctl show -P MemoryMax mam@roomy:1.service)" -lt 60000000 ]'
  equal "$(systemctl show -P NRestarts mam@roomy:1.service)" 0
  matches "$(mamctl explain roomy)" 'watched_hours 720'
}
