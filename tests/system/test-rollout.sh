# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Rollouts under a fixed request rate: good revisions cost nobody a request; bad ones (they crash at their start, are unhealthy,
# answer with errors, answer late) are reverted, nothing old is touched, and what users notice is bounded by the share of traffic.
#
# MAM_TEST_ROLLOUTS: how many in the campaign, half of them bad (default 6; 100 for a long one). A line about each, and the sum, are in
# the output.

MANAGER=(org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1)
CAMPAIGN=${MAM_TEST_ROLLOUTS:-6}

# A service whose program does what the folder it lies in is called.
rolled_files() {
  local kind
  for kind in good-1 good-2 crash unhealthy errors slow; do
    mkdir -p "/opt/rolled/$kind"
    cat >"/opt/rolled/$kind/serve" <<'PY'
#!/usr/bin/python3
import http.server, os, selectors, socket, sys, time

kind = os.path.basename(os.path.dirname(os.path.abspath(sys.argv[0])))
if kind == "crash":
    sys.exit("no such luck")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_request(self, *_):
        pass

    def do_GET(self):
        health = self.path == "/health"
        status = 500 if kind == ("unhealthy" if health else "errors") else 200
        if kind == "slow" and not health:
            time.sleep(0.4)
        body = f"{kind} {os.environ['MAM_REPLICA']} {os.environ['MAM_REVISION'] if 'MAM_REVISION' in os.environ else '-'}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, fd):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=fd)

    def get_request(self):
        connection, address = self.socket.accept()  # EAGAIN, if another replica was quicker, is an OSError: the server goes on
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
    chmod 755 "/opt/rolled/$kind/serve"
  done
  chmod -R u=rwX,go=rX /opt/rolled
  mkdir -p /etc/mam/services.d
  cat >/etc/mam/services.d/rolled.json <<'JSON'
{ "rolled": { "name": "Rolled", "port": 4300, "replicas": 2, "minReplicas": 1, "maxReplicas": 4, "routes": ["/rolled"], "socket": true,
    "resources": { "cpu": "500m", "memory": "128Mi" }, "healthCheck": { "path": "/health", "interval": "2s", "timeout": "1s" },
    "scaling": { "horizontal": "off", "vertical": "off" }, "exec": ["/opt/rolled/{version}/serve"] } }
JSON
}

# deploy SERVICE [KEY TYPE VALUE]…: answers with the path of the rollout.
deploy() {
  local service=$1 path
  shift
  path=$(busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' "$service" $(($# / 3)) "$@" 0) || return 1
  cut -d'"' -f2 <<<"$path"
}

rollout_path() {
  busctl call "${MANAGER[@]}" GetRollout s "$1" 2>/dev/null | cut -d'"' -f2
}

rollout_is() { # SERVICE PROPERTY VALUE
  [[ $(busctl get-property org.manageragent.Manager1 "$(rollout_path "$1")" org.manageragent.Rollout1 "$2") =~ \ \"?$3\"?$ ]]
}

is_over() {
  [[ -z $(rollout_path "$1") ]]
}

# Status and why of the revision that was deployed last.
latest() {
  busctl --json=short call "${MANAGER[@]}" ListRevisions s "$1" | jq -r '.data[0][0] | .[3] + ": " + .[4]'
}

current() {
  busctl --json=short call "${MANAGER[@]}" ListRevisions s "$1" | jq -r '.data[0][] | select(.[3] == "current") | .[0]'
}

version() {
  busctl --json=short call "${MANAGER[@]}" ListRevisions s "$1" | jq -r '.data[0][] | select(.[3] == "current") | .[1]'
}

pids() {
  local unit
  for unit in $(systemctl list-units --plain --no-legend --state=active "mam@$1:*.service" | cut -d' ' -f1); do
    echo "$unit=$(unit_pid "$unit")"
  done | sort
}

rate_start() {
  rm -f /tmp/rate
  python3 "$here/rate.py" --token "$TOKEN" --report /tmp/rate "$@" &
  rate_pid=$!
  eventually 10 test -s /tmp/rate
}

rate_stop() {
  kill -TERM "$rate_pid"
  wait "$rate_pid"
}

rate_of() {
  jq -r ".$1" /tmp/rate
}

has_no_pins() {
  [[ $(jq -c ".services.$1.replicas" /var/lib/mam/manager/deploy.json) == '{}' ]]
}

rate_is_beyond() {
  (($(rate_of requests) > $1))
}

OPTIONS_rolling=(min_healthy_usec t 2000000 healthy_deadline_usec t 6000000)
OPTIONS_canary=(strategy s canary steps au 2 10 50 pause_usec t 2500000 min_healthy_usec t 500000 healthy_deadline_usec t 6000000)
OPTIONS_blue=(strategy s blue-green min_healthy_usec t 2000000 healthy_deadline_usec t 6000000)

# one KIND STRATEGY: a rollout from beginning to end; what users saw of it, as a line.
one() {
  local kind=$1 strategy=$2 n=$3 failed slow requests result old_pids new_pids mark
  old_pids=$(pids rolled)
  requests=$(rate_of requests) failed=$(rate_of failed) slow=$(rate_of slow)
  case $strategy in
    rolling) busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' rolled 3 version s "$kind" "${OPTIONS_rolling[@]}" 0 >/dev/null ;;
    canary) busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' rolled 6 version s "$kind" "${OPTIONS_canary[@]}" 0 >/dev/null ;;
    blue-green) busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' rolled 4 version s "$kind" "${OPTIONS_blue[@]}" 0 >/dev/null ;;
  esac
  eventually 60 is_over rolled
  mark=$(rate_of requests)
  eventually 5 rate_is_beyond "$mark"
  result=$(latest rolled)
  requests=$(($(rate_of requests) - requests)) failed=$(($(rate_of failed) - failed)) slow=$(($(rate_of slow) - slow))
  new_pids=$(pids rolled)
  echo "# $n $strategy $kind: $result; $requests requests, $failed failed, $slow slow"
  case $kind in
    good*)
      matches "$result" '^current'
      equal "$failed" 0 "failed requests of a good rollout"
      [[ $old_pids != "$new_pids" ]] || fail "nothing was replaced"
      ;;
    *)
      matches "$result" '^reverted'
      equal "$new_pids" "$old_pids" "the old replicas"
      # The most that may be noticed: all of what the new revision was sent until the gateways were asked often enough (3 s), by
      # its share: a third of the traffic (one of three); a tenth, and if that was too little to judge, half of it; and all of it for
      # blue-green.
      case $strategy in
        rolling) ((failed + slow <= 100 * 3 / 3 + 10)) || fail "$failed failed and $slow slow requests" ;;
        canary) ((failed + slow <= 100 * 3 / 10 + 100 * 2 / 2 + 10)) || fail "$failed failed and $slow slow requests" ;;
        blue-green) ((failed + slow <= 100 * 3)) || fail "$failed failed and $slow slow requests" ;;
      esac
      case $kind in crash | unhealthy) equal "$failed" 0 "failed requests of a revision that never got any" ;; esac
      ;;
  esac
}

test_rollouts_good_and_bad_under_a_fixed_rate() {
  suite_up
  rolled_files
  mamctl init >/dev/null
  [[ -n $(current rolled) ]] || deploy rolled version s good-1 >/dev/null
  mamctl start rolled
  mamctl restart api-gateway # it reads its routes when it starts
  rate_start --path /rolled/x --rate 100
  local i kind strategy bads=(errors crash slow unhealthy) strategies=(rolling canary blue-green)
  for ((i = 0; i < CAMPAIGN; i++)); do
    strategy=${strategies[$((i / 2 % 3))]}
    if ((i % 2 == 0)); then
      kind=good-1
      [[ $(version rolled) == good-1 ]] && kind=good-2
    else
      kind=${bads[$((i / 2 % 4))]}
    fi
    one "$kind" "$strategy" "$i"
  done
  rate_stop
  echo "# $CAMPAIGN rollouts: $(jq -c . /tmp/rate)"
  # Whatever was left behind would be a replica too many, a pin, or a unit of another revision.
  eventually 10 has_ready rolled 2
  equal "$(pids rolled | wc -l)" 2 "active replicas"
  eventually 10 has_no_pins rolled
  equal "$(jq -r '.services.rolled.rollout' /var/lib/mam/manager/rollouts.json)" null "rollout"
}

test_each_strategy_loses_nothing_of_a_stateful_api() {
  suite_up
  load_start api --workers 6
  deploy project-manager version s a min_healthy_usec t 500000 >/dev/null
  eventually 40 is_over project-manager
  matches "$(latest project-manager)" '^current'
  busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' project-manager 5 version s b strategy s canary steps au 1 20 pause_usec t 900000 \
    min_healthy_usec t 500000 0 >/dev/null
  eventually 40 is_over project-manager
  matches "$(latest project-manager)" '^current'
  deploy project-manager version s c strategy s blue-green min_healthy_usec t 500000 >/dev/null
  eventually 40 is_over project-manager
  matches "$(latest project-manager)" '^current'
  load_stop api
  matches "$(systemctl show -P Environment 'mam@project-manager:1.service')" 'MAM_VERSION=c'
}

test_a_killed_manager_goes_on_with_a_rollout() {
  suite_up
  load_start killed --workers 4
  deploy project-manager version s killed min_healthy_usec t 1000000 >/dev/null
  local i
  for i in 1 2 3; do
    eventually 20 rollout_is project-manager Updated "$i"
    systemctl kill -s KILL mam-manager.service
    eventually 10 mamctl list
  done
  eventually 40 is_over project-manager
  matches "$(latest project-manager)" '^current'
  load_stop killed
  equal "$(ready_replicas project-manager)" 3 "ready replicas"
}

test_pause_resume_abort_and_undo() {
  suite_up
  local first path
  busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' project-manager 5 version s p strategy s canary steps au 1 10 pause_usec t 600000000 \
    min_healthy_usec t 200000 0 >/dev/null
  eventually 20 rollout_is project-manager Phase watching
  path=$(rollout_path project-manager)
  first=$(busctl get-property org.manageragent.Manager1 "$path" org.manageragent.Rollout1 From | cut -d'"' -f2)
  busctl call org.manageragent.Manager1 "$path" org.manageragent.Rollout1 Pause
  rollout_is project-manager Phase paused
  fails deploy project-manager version s q
  matches "$output" 'under way'
  busctl call org.manageragent.Manager1 "$path" org.manageragent.Rollout1 Abort
  eventually 20 is_over project-manager
  equal "$(current project-manager)" "$first" "revision after the abort"

  busctl call "${MANAGER[@]}" Deploy 'sa{sv}t' project-manager 5 version s p strategy s canary steps au 1 10 pause_usec t 600000000 \
    min_healthy_usec t 200000 0 >/dev/null
  eventually 20 rollout_is project-manager Phase watching
  busctl call org.manageragent.Manager1 "$(rollout_path project-manager)" org.manageragent.Rollout1 Resume
  eventually 40 is_over project-manager
  [[ $(current project-manager) != "$first" ]] || fail "resumed, and not rolled out"
  deploy project-manager revision s "$first" min_healthy_usec t 200000 >/dev/null
  eventually 40 is_over project-manager
  equal "$(current project-manager)" "$first" "revision after the undo"
}
