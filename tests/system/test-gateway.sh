# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the gateway tells the manager, and nobody else; and a request that wakes a service.

# load_as USER SOCKET: the status of GET /load.
load_as() {
  as_user "$1" curl -sS -o /tmp/load.json -w '%{http_code}' --max-time 5 --unix-socket "$2" http://localhost/load
}

test_load_is_for_the_manager_alone() {
  suite_up
  local socket=/run/mam/replica/api-gateway:1.sock
  rm -f /tmp/load.json
  install -m 666 /dev/null /tmp/load.json
  equal "$(load_as mam-manager $socket)" 200 "for the manager"
  jq -e '.started_usec > 0 and (.bounds_usec | length) == 39 and .bounds_usec[0] == 100 and
    (.services["project-manager"] | .waiting == 0 and has("unserved")) and
    (.replicas["project-manager:1"] | (.latency | length) == 40 and has("requests") and has("errors") and has("in_flight"))' /tmp/load.json
  equal "$(load_as mam-api-gateway $socket)" 404 "for another user of the socket"
  equal "$(load_as root $socket)" 404 "for root"
  equal "$(http_status GET /load)" 404 "on the public port"
  equal "$(http_status GET /load -H "Authorization: Bearer $TOKEN")" 404 "on the public port, for an administrator"
}

test_load_counts_requests_and_no_probes() {
  suite_up
  local before after i
  requests() {
    for i in 1 2; do
      load_as mam-manager "/run/mam/replica/api-gateway:$i.sock" >/dev/null
      jq '[.replicas | to_entries[] | select(.key | startswith("project-manager:")) | .value.requests] | add' /tmp/load.json
    done | jq -s add
  }
  before=$(requests)
  for i in $(seq 40); do
    api GET '/api/v1/projects?limit=1' >/dev/null
  done
  after=$(requests)
  equal "$((after - before))" 40 "requests counted"
}

test_a_request_wakes_a_service() {
  suite_up
  jq '.["project-manager"].minReplicas = 0' /etc/mam/services.json >/tmp/services.json
  cat /tmp/services.json >/etc/mam/services.json
  mamctl init >/dev/null
  mamctl scale project-manager 0
  eventually 30 sh -c '[ "$(systemctl list-units --plain --no-legend --state=active "mam@project-manager:*.service" | wc -l)" = 0 ]'
  # Several at once: all are answered, and one replica is there.
  local i pids=()
  for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    api GET '/api/v1/projects?limit=1' -o /dev/null -w '%{http_code} %{time_starttransfer}\n' >"/tmp/woken.$i" &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i" || { cat /tmp/woken.*; fail "a request was not answered"; }; done
  cat /tmp/woken.*
  eventually 10 systemctl is-active mam@project-manager:1.service
}
