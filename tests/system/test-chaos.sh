# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Trouble on purpose: it is really made, under load, ends by itself, and leaves everything as it was.

SERVICE=project-manager

# cgroup_file N CONTROLLER V1-FILE V2-FILE: what the kernel says of a replica; "none" where there is no such file.
cgroup_file() {
  local group
  group=$(systemctl show -P ControlGroup "mam@$SERVICE:$1.service")
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    cat "/sys/fs/cgroup$group/$4" 2>/dev/null || echo none
  else
    cat "/sys/fs/cgroup/$2$group/$3" 2>/dev/null || echo none
  fi
}

processes() {
  local group tree=/sys/fs/cgroup
  group=$(systemctl show -P ControlGroup "mam@$SERVICE:$1.service")
  [[ -d $tree/systemd ]] && tree=$tree/systemd
  cat "$tree$group/cgroup.procs"
}

# Letters of the states of all processes of all replicas: T is stopped.
states() {
  local n pid
  for n in 1 2 3; do
    for pid in $(processes $n); do
      sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null || :
    done
  done
}

one_is_stopped() {
  states | grep -q T
}

none_is_stopped() {
  ! states | grep -q T
}

# All that chaos may change, one line for each replica.
limits() {
  local n
  for n in 1 2 3; do
    echo "$n $(cgroup_file $n cpu cpu.cfs_quota_us cpu.max) $(cgroup_file $n memory memory.limit_in_bytes memory.max)" \
      "$(cgroup_file $n memory memory.soft_limit_in_bytes memory.high) $(cgroup_file $n blkio blkio.throttle.read_bps_device io.max | grep -v none | tr '\n' ' ')" \
      "$(systemctl show -P MemoryHigh -P MemoryMax -P CPUQuotaPerSecUSec -P IOReadBandwidthMax -P IOWriteBandwidthMax "mam@$SERVICE:$n.service" | tr '\n' ' ')"
  done
}

limits_differ() {
  [[ $(limits) != "$before" ]]
}

pids() {
  local n
  for n in 1 2 3; do unit_pid "mam@$SERVICE:$n.service"; done
}

# chaos KIND SECONDS [ARGUMENT]…: in the background until chaos_over, which fails if mamctl did.
chaos() {
  local kind=$1 seconds=$2
  shift 2
  mamctl --yes --json chaos "$kind" "$SERVICE" --for "${seconds}s" "$@" >/tmp/chaos 2>&1 &
  chaos_client=$!
}

chaos_over() {
  wait "$chaos_client" || fail "mamctl: $(cat /tmp/chaos)"
  [[ ! -e /run/mam/manager/chaos.json ]] || fail "something is still to be taken back"
  eventually 15 has_ready "$SERVICE" 3
  none_is_stopped || fail "a process is still stopped"
  equal "$(limits)" "$before" "limits after chaos"
}

chaos_up() {
  suite_up
  mamctl autoscale "$SERVICE" off --vertical off >/dev/null # nothing else is to change its size
  mamctl scale "$SERVICE" 3
  before=$(limits)
  load_start chaos --workers 4 --tolerate
}

chaos_down() {
  load_stop chaos >/dev/null # it also fails if a write was lost, or made twice
}

test_kill_replaces_processes_and_is_reported() {
  chaos_up
  local old
  old=$(pids)
  chaos kill 5 --percent 60
  eventually 10 eval '[[ $(pids) != "$old" ]]'
  chaos_over
  chaos_down
  jq -es '.[-1].during | .requests > 100 and .requests_per_second > 10 and .p99_seconds > 0' /tmp/chaos || fail "report: $(cat /tmp/chaos)"
  mamctl --json events "$SERVICE" | grep -q '"chaos"'
}

test_stop_halts_some_and_lets_them_go_on() {
  chaos_up
  local old
  old=$(pids)
  chaos stop 3 --percent 50
  eventually 5 one_is_stopped
  ((RUNNING = $(states | grep -vc T), RUNNING >= 1)) || fail "none was spared"
  chaos_over
  equal "$(pids)" "$old" "processes after a stop that was shorter than the watchdog"
  chaos_down
}

test_latency_halts_in_turns() {
  chaos_up
  chaos latency 3 --percent 50
  eventually 5 one_is_stopped
  eventually 5 none_is_stopped
  eventually 5 one_is_stopped
  chaos_over
  chaos_down
}

test_cpu_and_memory_and_io_are_squeezed_and_released() {
  chaos_up
  chaos cpu 2 --percent 50
  eventually 5 limits_differ
  limits | grep -qE ' 5000 | 5000 100000 ' || fail "no twentieth of a processor: $(limits)"
  chaos_over
  chaos memory 2 --percent 50
  eventually 5 limits_differ
  chaos_over
  if [[ -d /sys/fs/cgroup/blkio ]] || grep -qsw io /sys/fs/cgroup/cgroup.controllers; then
    chaos io 2 --percent 50
    eventually 5 limits_differ
    chaos_over
  else
    fails mamctl --yes chaos io "$SERVICE" --for 2s
    matches "$output" controller
  fi
  chaos_down
}

test_a_manager_that_is_killed_leaves_nothing_behind() {
  suite_up
  mamctl scale "$SERVICE" 3
  before=$(limits)
  local kind manager
  for kind in stop cpu; do
    mamctl --yes chaos "$kind" "$SERVICE" --for 10min --percent 50 --no-wait
    if [[ $kind == stop ]]; then eventually 5 one_is_stopped; else eventually 5 limits_differ; fi
    manager=$(unit_pid mam-manager.service)
    kill -9 "$manager"
    eventually 10 new_pid mam-manager.service "$manager"
    eventually 10 eval '[[ ! -e /run/mam/manager/chaos.json ]]'
    eventually 5 none_is_stopped
    equal "$(limits)" "$before" "limits after the manager was killed"
  done
  eventually 10 has_ready "$SERVICE" 3
}

test_what_may_not_be_is_refused() {
  suite_up
  user_make stranger
  fails as_user stranger mamctl --yes --no-ask-password chaos stop "$SERVICE" --for 10s
  none_is_stopped
  fails mamctl --yes chaos stop postgresql --for 10s --percent 50
  matches "$output" "100 percent"
  fails mamctl --yes chaos stop "$SERVICE" --for 2h
  mamctl --yes chaos stop "$SERVICE" --for 10min --no-wait
  fails mamctl --yes chaos cpu "$SERVICE" --for 10s
  matches "$output" already
  mamctl stop "$SERVICE" # ends it
  eventually 5 eval '[[ ! -e /run/mam/manager/chaos.json ]]'
  mamctl start "$SERVICE"
}

test_a_database_that_stops_comes_back() {
  suite_up
  mamctl --yes chaos stop postgresql --for 2s --percent 100
  eventually 20 api GET '/api/v1/projects?limit=1'
}
