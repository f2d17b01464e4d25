# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# kill -9 of everything, one after the other and at random: it comes back by itself, and no acknowledged write is lost.

comes_back() {
  local unit=$1 pid
  pid=$(unit_pid "$unit")
  [[ $pid != 0 ]] || fail "$unit does not run"
  kill -9 "$pid"
  eventually 30 new_pid "$unit" "$pid"
}

test_replicas_come_back() {
  suite_up
  local unit
  for unit in mam@project-manager:1.service mam@project-manager:3.service mam@api-gateway:1.service mam@redis:2.service mam@redis:1.service; do
    comes_back "$unit"
  done
  eventually 30 has_ready project-manager 3
  mamctl --json status project-manager | jq -e '.services[0].replicas[] | select(.id == "project-manager:1") | .restarts >= 1 and (.last_exit | test("SIGKILL"))'
}

test_manager_adopts_what_runs() {
  suite_up
  local pids again
  mamctl scale project-manager 4
  pids=$(for i in 1 2 3 4; do unit_pid "mam@project-manager:$i.service"; done)
  load_start manager --workers 4
  comes_back mam-manager.service
  eventually 30 has_ready project-manager 4
  load_stop manager
  again=$(for i in 1 2 3 4; do unit_pid "mam@project-manager:$i.service"; done)
  equal "$again" "$pids" "replicas after the manager died"
  mamctl scale project-manager 3
}

test_manager_killed_in_the_middle_of_a_job_finishes_it() {
  suite_up
  local pid before
  before=$(unit_pid mam@project-manager:1.service)
  load_start job --workers 4
  pid=$(unit_pid mam-manager.service)
  mamctl scale project-manager 8 >/tmp/scale 2>&1 &
  local client=$!
  eventually 10 sh -c 'systemctl is-active --quiet mam@project-manager:4.service || systemctl list-jobs | grep -q project-manager'
  kill -9 "$pid"
  eventually 30 new_pid mam-manager.service "$pid"
  wait "$client" || grep -qi manager /tmp/scale || { cat /tmp/scale; fail "mamctl does not say that the manager went away"; }
  eventually 30 has_ready project-manager 8
  equal "$(systemctl list-units --plain --no-legend --state=active 'mam@project-manager:*.service' | wc -l)" 8
  equal "$(mamctl --json list | jq -r '.services[] | select(.id == "project-manager") | .state')" running

  # And down again, killed as soon as the first one goes.
  pid=$(unit_pid mam-manager.service)
  mamctl scale project-manager 3 >/tmp/scale 2>&1 &
  client=$!
  eventually 10 sh -c '[ "$(systemctl list-units --plain --no-legend --state=active "mam@project-manager:*.service" | wc -l)" -lt 8 ]'
  kill -9 "$pid"
  eventually 30 new_pid mam-manager.service "$pid"
  wait "$client" || :
  eventually 30 sh -c '[ "$(systemctl list-units --plain --no-legend --state=active "mam@project-manager:*.service" | wc -l)" = 3 ]'
  eventually 30 has_ready project-manager 3
  load_stop job
  equal "$(unit_pid mam@project-manager:1.service)" "$before" "process of the first replica"
}

test_killed_replica_costs_at_most_its_own_requests() {
  suite_up
  load_start replica --workers 4 --tolerate
  comes_back mam@project-manager:2.service
  eventually 30 has_ready project-manager 3
  load_stop replica
}

test_postgresql_dies_and_loses_nothing() {
  suite_up
  load_start postgresql --workers 4 --tolerate --write-every 2
  comes_back mam@postgresql:1.service
  eventually 30 sh -c 'mamctl health >/dev/null'
  eventually 30 api GET '/api/v1/projects?limit=1'
  load_stop postgresql
}

test_random_kills_lose_nothing() {
  suite_up
  local units=(mam@project-manager:1.service mam@project-manager:2.service mam@api-gateway:1.service mam@api-gateway:2.service mam@postgresql:1.service mam@redis:1.service mam-manager.service)
  local i unit pid
  load_start random --workers 6 --tolerate --write-every 2
  for ((i = 0; i < 25; i++)); do
    unit=${units[RANDOM % ${#units[@]}]}
    pid=$(unit_pid "$unit")
    echo "kill $unit $pid"
    [[ $pid == 0 ]] || kill -9 "$pid" || :
    sleep "0.$((RANDOM % 8 + 1))" # the schedule of the faults, not a wait for anything
  done
  eventually 60 has_ready project-manager 3
  eventually 60 has_ready api-gateway 2
  eventually 60 api GET '/api/v1/projects?limit=1'
  load_stop random
}

test_crash_loop_stays_alone() {
  suite_up
  mkdir -p /etc/systemd/system/mam@project-manager:3.service.d
  printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >/etc/systemd/system/mam@project-manager:3.service.d/90-broken.conf
  systemctl daemon-reload
  load_start loop --workers 4 --tolerate
  kill -9 "$(unit_pid mam@project-manager:3.service)"
  eventually 30 sh -c 'mamctl --json status project-manager | jq -e ".services[0].replicas[] | select(.id == \"project-manager:3\") | .quarantine != \"\""'
  systemctl is-active mam-project-manager.socket mam@project-manager:1.service mam@project-manager:2.service
  rm -r /etc/systemd/system/mam@project-manager:3.service.d
  systemctl daemon-reload
  mamctl restart project-manager
  load_stop loop
  eventually 60 has_ready project-manager 3
  # The starts that came to nothing must not have left the shared socket in a state that hangs the siblings.
  mamctl --json status project-manager | jq -e '[.services[0].replicas[] | .last_exit != "timeout"] | all'
}
