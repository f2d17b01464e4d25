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
