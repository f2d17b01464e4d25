# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# From installed to serving, and the ways in: mamctl, systemctl, busctl, HTTP.

test_init_says_what_is_not_acted_on_yet() {
  local out
  out=$(mamctl init)
  matches "$out" 'grafana'
  mamctl init >/dev/null # harmless when repeated
}

test_start_makes_everything_healthy() {
  mamctl start
  equal "$(mamctl --json list | jq -r '[.services[].state] | unique | join(",")')" running
  mamctl health
}

test_first_request_works() {
  suite_up
  local id
  id=$(api POST /api/v1/projects -d '{"key":"FIRST","name":"First"}' | jq -r .id)
  equal "$(api GET "/api/v1/projects/$id" | jq -r .name)" First
  api POST "/api/v1/projects/$id/tasks" -d '{"title":"Try it"}' | jq -e '.key == "FIRST-1"'
}

test_tables_are_plain_in_a_pipe_and_json_is_json() {
  suite_up
  local c
  for c in list status health metrics; do
    mamctl "$c" >/tmp/out
    ! grep -q $'\e' /tmp/out || fail "mamctl $c writes escapes into a pipe"
    mamctl --json "$c" | jq -e . >/dev/null
  done
  mamctl status project-manager | grep -q 'project-manager:3'
}

test_metrics_know_what_every_replica_uses() {
  suite_up
  mamctl --json metrics >/tmp/metrics
  local replicas
  replicas=$(systemctl list-units --plain --no-legend --state=active 'mam@*.service' | wc -l)
  ((replicas >= 8)) || fail "only $replicas replicas run"
  jq -e --argjson n "$replicas" '[.replicas[] | select(.replica != "")] | length == $n' /tmp/metrics
  jq -e '[.replicas[] | .metrics | .cpu_seconds_total > 0 and .memory_bytes > 0 and .tasks > 0] | all' /tmp/metrics || { cat /tmp/metrics; fail "values are missing"; }
  mamctl scale project-manager 4 # also of one that came later
  mamctl --json metrics project-manager | jq -e '[.replicas[] | select(.replica == "project-manager:4") | .metrics.memory_bytes > 0] == [true]'
  mamctl scale project-manager 3
}

test_status_is_not_cluttered_with_notices() {
  suite_up
  busctl get-property org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 ConfigurationProblems | grep -qx 'as 0'
  ! mamctl status | grep 'does not act on this' || fail "status repeats what init has told"
  ! journalctl -b -u mam-manager.service --no-pager | grep 'does not act on this' || fail "the journal repeats what init has told"
}

test_plain_systemctl_sees_the_replicas() {
  suite_up
  equal "$(systemctl list-units --plain --no-legend --state=active 'mam@project-manager:*.service' | wc -l)" 3
  systemctl status 'mam@project-manager:*.service' >/dev/null
  journalctl -u 'mam@project-manager:1.service' --no-pager | grep -q .
  mamctl logs project-manager -n 5 | grep -q .
}

test_busctl_reads_as_anyone() {
  suite_up
  user_make reader
  as_user reader busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 List | grep -q api-gateway
  as_user reader busctl get-property org.manageragent.Manager1 /org/manageragent/Manager1/service/project_2dmanager org.manageragent.Service1 ReadyReplicas |
    grep -q 'u 3'
  as_user reader busctl tree org.manageragent.Manager1 | grep -q /replica/
}

test_stop_ends_everything_and_data_survives() {
  suite_up
  api POST /api/v1/projects -d '{"key":"KEEP","name":"Keep"}' >/dev/null
  mamctl stop
  equal "$(systemctl list-units --plain --no-legend --state=active 'mam@*' | wc -l)" 0 "active units after stop"
  fails curl -sS --max-time 5 http://localhost:3000/health
  suite_up
  equal "$(api GET /api/v1/projects/KEEP | jq -r .name)" Keep
}

test_plain_systemctl_starts_and_stops_the_suite() {
  mamctl stop
  systemctl start mam.target
  eventually 60 has_ready project-manager 3
  eventually 30 has_ready api-gateway 2
  suite_up
  equal "$(api GET /api/v1/projects/KEEP | jq -r .name)" Keep
  systemctl stop mam.target
  eventually 30 sh -c '[ "$(systemctl list-units --plain --no-legend --state=active "mam@*.service" | wc -l)" = 0 ]'
  eventually 30 sh -c 'mamctl --json list | jq -e "[.services[].state] | unique == [\"stopped\"]"'
}

test_errors_say_what_to_do() {
  suite_up
  fails mamctl scale project-manger 3
  matches "$output" 'project-manager'
  fails mamctl scale project-manager 1000
  matches "$output" '10'
  fails mamctl frobnicate
  matches "$output" 'help'
  equal "$(exit_status mamctl scale project-manager x)" 2 "exit status of a wrong call"
  equal "$(exit_status mamctl status nonesuch)" 4 "exit status for an unknown service"
}
