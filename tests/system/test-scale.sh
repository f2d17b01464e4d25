# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Scaling, restarting and resizing under constant load: not one failed request.

test_scale_up_and_down_loses_nothing() {
  suite_up
  load_start scale --workers 8
  mamctl scale project-manager 8
  has_ready project-manager 8
  mamctl scale project-manager 2
  has_ready project-manager 2
  mamctl scale project-manager 3
  load_stop scale
  equal "$(systemctl list-units --plain --no-legend --state=active 'mam@project-manager:*.service' | wc -l)" 3
}

test_rolling_restart_loses_nothing() {
  suite_up
  local before after
  before=$(unit_pid mam@project-manager:1.service)
  load_start restart --workers 8
  mamctl restart project-manager
  load_stop restart
  after=$(unit_pid mam@project-manager:1.service)
  [[ $before != "$after" ]] || fail "replica 1 was not restarted"
}

test_limits_change_in_place() {
  suite_up
  local before
  before=$(unit_pid mam@project-manager:2.service)
  load_start limits --workers 4
  mamctl limits project-manager --cpu 700m --memory 700Mi
  equal "$(systemctl show -P CPUQuotaPerSecUSec mam@project-manager:2.service)" 700ms
  equal "$(systemctl show -P MemoryMax mam@project-manager:2.service)" $((700 * 1024 * 1024))
  equal "$(systemctl show -P NeedDaemonReload mam@project-manager:2.service)" no "need of a daemon-reload"
  systemctl daemon-reload
  equal "$(systemctl show -P MemoryMax mam@project-manager:2.service)" 734003200 "limit after a daemon-reload"
  mamctl limits project-manager --cpu default --memory default
  eventually 10 sh -c '[ "$(systemctl show -P MemoryMax mam@project-manager:2.service)" = 1073741824 ]'
  load_stop limits
  equal "$(unit_pid mam@project-manager:2.service)" "$before" "process after resizing"
}

test_scale_is_kept_over_a_stop() {
  suite_up
  mamctl scale project-manager 4
  mamctl stop project-manager
  mamctl start project-manager
  has_ready project-manager 4
  mamctl scale project-manager 3
}

# At any moment of the stop: while it drains, while systemd stops the first replica, when the last one is about to go.
test_a_start_overtakes_a_stop_and_loses_no_replica() {
  suite_up
  local moment
  for moment in 0.05 0.20 0.21 0.22 0.23 0.25 0.28 0.32; do
    mamctl stop redis --no-wait # and project-manager before it
    sleep "$moment"
    mamctl start
    has_ready project-manager 3 || fail "started $moment s after the stop: $(ready_replicas project-manager) of 3"
    has_ready redis 2
  done
}

test_stopping_what_others_need_stops_them_first() {
  suite_up
  mamctl stop postgresql
  equal "$(mamctl --json list | jq -r '.services[] | select(.id == "project-manager") | .state')" stopped
  mamctl start project-manager # starts postgresql first
  has_ready project-manager 3
  has_ready postgresql 1
}

# systemd is told once, and yet each of them is on its own.
test_several_start_with_one_command_and_each_fails_for_itself() {
  suite_up
  mamctl scale project-manager 2
  local first second
  first=$(unit_pid mam@project-manager:1.service)
  second=$(unit_pid mam@project-manager:2.service)
  systemctl mask --runtime mam@project-manager:4.service
  mamctl scale project-manager 6 --no-wait
  eventually 20 sh -c '[ "$(systemctl is-active mam@project-manager:3.service mam@project-manager:5.service mam@project-manager:6.service | uniq)" = active ]'
  eventually 20 sh -c 'mamctl status project-manager | grep -q "is masked"'
  journalctl -b --no-pager _PID=1 | grep -q 'mam@project-manager:1-6.target' || fail "they were started one by one"
  equal "$(systemctl show -P ActiveState mam@project-manager:1-6.target)" inactive "the target, once all is started"
  systemctl unmask --runtime mam@project-manager:4.service
  systemctl daemon-reload
  eventually 20 has_ready project-manager 6

  systemctl restart mam@project-manager:5.service
  systemctl stop mam@project-manager:6.service
  eventually 20 has_ready project-manager 5
  equal "$(unit_pid mam@project-manager:1.service)" "$first" "process of replica 1"
  equal "$(unit_pid mam@project-manager:2.service)" "$second" "process of replica 2"
  mamctl scale project-manager 3
}

test_a_killed_manager_leaves_no_replica_of_many_behind() {
  suite_up
  local moment
  for moment in 0.00 0.01 0.03 0.06 0.12 0.25; do
    mamctl scale project-manager 8 --no-wait
    sleep "$moment"
    kill -9 "$(unit_pid mam-manager.service)"
    eventually 30 has_ready project-manager 8 || fail "killed after $moment s: $(ready_replicas project-manager) of 8"
    mamctl scale project-manager 2
    has_ready project-manager 2
  done
  mamctl scale project-manager 3
}
