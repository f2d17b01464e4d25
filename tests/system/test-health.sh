# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What is done about replicas that run and do not answer, that crash-loop, or that depend on something unwell.

health_bus() {
  busctl --json=short call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 "$@"
}

# event SERVICE REPLICA TYPE TEXT: such an event has happened.
has_event() {
  health_bus ListEvents stu "$1" 0 0 |
    jq -e --arg r "$2" --arg t "$3" --arg m "$4" '.data[0][] | select(.[4] == $r and .[5] == $t and (.[6] | contains($m)))'
}

has_alert() {
  health_bus ListAlerts | jq -e --arg n "$1" --arg r "$2" '.data[0][] | select(.[1] == $n and .[4] == $r)'
}

state_reason() {
  health_bus Status s "$1" | jq -r '.data[0][0][1].StateReason.data'
}

reason_has() {
  [[ $(state_reason "$1") == *"$2"* ]]
}

plan_has() {
  health_bus Plan st "" 0 | grep -qF "$1"
}

# "sick" answers until replica N finds /run/sick/N, then with 500; if /run/sick/crash-N is there, it does not even start.
health_program() {
  mkdir -p /etc/mam/services.d /run/sick /opt/sick
  chmod 755 /run/sick /opt/sick
  cat >/opt/sick/sick.py <<'PY'
import http.server, os, sys

number = os.environ["MAM_REPLICA"].split(":")[-1]
if os.path.exists(f"/run/sick/crash-{number}"):
    sys.exit(3)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 500 if os.path.exists(f"/run/sick/{number}") else 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
PY
  cat >/etc/mam/services.d/sick.json <<'JSON'
{ "sick": { "name": "Sick", "type": "service", "port": 4300, "replicas": 3, "maxReplicas": 4, "exec": ["/usr/bin/python3", "/opt/sick/sick.py"],
    "resources": { "cpu": "500m", "memory": "64Mi" }, "scaling": { "horizontal": "off", "vertical": "off" },
    "healthCheck": { "path": "/health", "interval": "1s", "timeout": "1s", "failureThreshold": 2 } } }
JSON
  # Nothing of a test before this one, whatever became of it.
  rm -f /run/sick/*
  mamctl init >/dev/null
  mamctl start sick
  has_ready sick 3
}

# restarts_begun COUNT: so many of the two that fail have been given up.
restarts_begun() {
  [[ $(health_bus ListEvents stu sick 0 0 |
    jq '[.data[0][] | select((.[4] == "sick:1" or .[4] == "sick:3") and (.[6] | startswith("still unhealthy")))] | length') == "$1" ]]
}

test_replica_that_goes_on_failing_is_restarted_alone() {
  suite_up
  health_program
  local one three pid
  one=$(unit_pid mam@sick:1.service)
  three=$(unit_pid mam@sick:3.service)
  pid=$(unit_pid mam@sick:2.service)
  touch /run/sick/2
  eventually 10 has_event sick sick:2 unhealthy 'unhealthy: HTTP status 500'
  equal "$(health_bus Plan st sick 0 | jq -r '.data[0][0][0]')" mam@sick:2.service
  matches "$(health_bus Explain st sick 0)" '"replica 2","unhealthy","HTTP status 500","the manager will: restart after [0-9]+ more failed probes"'
  eventually 20 has_event sick sick:2 unhealthy 'still unhealthy after 8 failures in a row'
  rm /run/sick/2
  eventually 20 new_pid mam@sick:2.service "$pid"
  eventually 20 has_ready sick 3
  equal "$(unit_pid mam@sick:1.service)" "$one" "the first one was touched"
  equal "$(unit_pid mam@sick:3.service)" "$three" "the third one was touched"
}

test_replicas_that_all_fail_are_restarted_one_at_a_time() {
  health_program
  local pids
  pids=$(systemctl show -P MainPID 'mam@sick:*.service')
  touch /run/sick/1 /run/sick/3
  # Whichever is the first: the other one waits as long as that one has not come back, and that it does not.
  eventually 30 restarts_begun 1
  eventually 20 plan_has 'another replica is being started or stopped: one at a time'
  restarts_begun 1
  rm /run/sick/1 /run/sick/3
  eventually 30 has_ready sick 3
  [[ $(systemctl show -P MainPID 'mam@sick:*.service') != "$pids" ]] || fail "none was restarted"
}

test_crash_loop_is_held_back_and_harms_nobody() {
  health_program
  local one
  one=$(unit_pid mam@sick:1.service)
  touch /run/sick/crash-3
  systemctl kill --signal=KILL mam@sick:3.service
  eventually 20 has_event sick sick:3 quarantined 'crash loop: 5 deaths within 10s'
  eventually 10 has_alert ReplicaCrashLooping sick:3
  eventually 10 plan_has '"mam@sick:3.service","inactive, held back","active","start in '
  equal "$(unit_pid mam@sick:1.service)" "$one" "a sibling was touched"
  has_ready sick 2
  rm /run/sick/crash-3
  mamctl start sick
  has_ready sick 3
}

test_service_says_that_what_it_depends_on_is_unwell() {
  suite_up
  local pids
  pids=$(systemctl show -P MainPID 'mam@project-manager:*.service')
  eventually 10 reason_has project-manager ''
  systemctl mask --runtime mam@redis:1.service mam@redis:2.service
  systemctl stop mam@redis:1.service mam@redis:2.service
  eventually 10 reason_has project-manager 'ready, but redis it depends on is stopped'
  has_event project-manager '' dependency 'redis it depends on is'
  equal "$(systemctl show -P MainPID 'mam@project-manager:*.service')" "$pids" "dependents were restarted"
  systemctl unmask --runtime mam@redis:1.service mam@redis:2.service
  mamctl start redis
  eventually 10 has_event project-manager '' dependency 'well again'
  [[ -z $(state_reason project-manager) ]] || fail "still says: $(state_reason project-manager)"
}

no_rollout() {
  ! health_bus GetRollout s "$1"
}

test_configuration_that_is_not_loaded_or_not_deployed_is_in_the_plan() {
  health_program
  health_bus Deploy 'sa{sv}t' sick 2 version s one min_healthy_usec t 100000 0
  eventually 30 no_rollout sick
  eventually 10 has_ready sick 3
  fails plan_has sick
  sed -i 's/"replicas": 3,/"replicas": 3, "environment": { "MOOD": "better" },/' /etc/mam/services.d/sick.json
  plan_has 'nothing by itself: mamctl init'
  mamctl init >/dev/null
  plan_has 'nothing by itself: mamctl deploy sick'
  fails plan_has 'mamctl init'
  health_bus Deploy 'sa{sv}t' sick 2 version s one min_healthy_usec t 100000 0
  eventually 30 no_rollout sick
  eventually 10 fails plan_has sick
}
