# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Everything goes wrong at random, for MAM_FAULT_SECONDS (25), and is then as it should be, with nothing left over. MAM_FAULT_SEED repeats a run.
#
# The manager and the bus are killed in the first half only, so that in the second half one manager lives through the rest and shows what it leaks.

SERVICES=(project-manager api-gateway redis postgresql)

fault_bus() {
  busctl --json=short call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 "$@"
}

fault_plan() {
  fault_bus Plan st "" 0 | jq -c '.data[0]'
}

plan_is_empty() {
  [[ $(fault_plan) == '[]' ]]
}

fault_unit() {
  local units
  mapfile -t units < <(systemctl list-units --plain --no-legend --state=active "mam@$1:*.service" | cut -d' ' -f1)
  ((${#units[@]} > 0)) && echo "${units[RANDOM % ${#units[@]}]}"
}

fault_replica_dies() {
  local unit
  unit=$(fault_unit "${SERVICES[RANDOM % ${#SERVICES[@]}]}") && systemctl kill --signal=KILL "$unit"
}

fault_manager_dies() {
  systemctl kill --signal=KILL mam-manager.service
}

fault_bus_restarts() {
  systemctl restart dbus.service
}

fault_reload() {
  systemctl daemon-reload
}

fault_reexec() {
  systemctl daemon-reexec
}

fault_stop_by_hand() {
  local unit
  unit=$(fault_unit project-manager) && systemctl stop "$unit"
}

fault_start_by_hand() {
  systemctl start "mam@project-manager:$((RANDOM % 6 + 1)).service"
}

fault_scale() {
  mamctl --no-wait scale project-manager $((RANDOM % 6 + 1))
}

fault_limits() {
  mamctl limits project-manager --cpu $((RANDOM % 400 + 200))m
}

fault_limits_by_hand() {
  local unit
  unit=$(fault_unit project-manager) && systemctl set-property --runtime "$unit" CPUQuota=$((RANDOM % 40 + 10))%
}

fault_edit() {
  local folder=/run/systemd/system/mam@project-manager:2.service.d
  if [[ -d $folder ]]; then
    rm -r "$folder"
  else
    mkdir -p "$folder"
    printf '[Service]\nNice=%d\n' $((RANDOM % 5)) >"$folder/90-fault.conf"
  fi
  systemctl daemon-reload
}

fault_mask() {
  local unit=mam@project-manager:3.service
  if [[ -L /run/systemd/system/$unit ]]; then
    systemctl unmask --runtime "$unit"
  else
    systemctl mask --runtime "$unit"
  fi
}

fault_undo() {
  rm -rf /run/systemd/system/mam@project-manager:2.service.d
  systemctl unmask --runtime mam@project-manager:3.service
  systemctl daemon-reload
}

# Names of what lies in the folders of the manager and the replicas, whatever numbers the replicas have. How one ended is kept, and what is wrong.
fault_files() {
  find /run/mam /var/lib/mam/manager ! -path '/run/mam/service/*' ! -name alerts | sed -E 's/:[0-9]+/:N/' | sort
}

fault_descriptors() {
  find "/proc/$(unit_pid mam-manager.service)/fd" -mindepth 1 2>/dev/null | wc -l
}

fault_memory_kib() {
  sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(unit_pid mam-manager.service)/status"
}

fault_is_whole() {
  local s want
  for s in "${SERVICES[@]}"; do
    want=3
    [[ $s == postgresql ]] && want=1
    [[ $s == redis || $s == api-gateway ]] && want=2
    [[ $(ready_replicas "$s") == "$want" ]] || return 1
    [[ $(systemctl list-units --plain --no-legend --state=active "mam@$s:*.service" | wc -l) == "$want" ]] || return 1
  done
  plan_is_empty
}

fault_files_are() {
  [[ $(fault_files) == "$1" ]]
}

fault_descriptors_are() {
  (($(fault_descriptors) <= $1))
}

test_everything_fails_at_random_and_ends_well() {
  local seconds=${MAM_FAULT_SECONDS:-25} seed=${MAM_FAULT_SEED:-$((SRANDOM % 32768))} start=$SECONDS what i
  local often=(replica_dies stop_by_hand start_by_hand scale limits limits_by_hand edit reload mask) rare=(manager_dies bus_restarts reexec)
  declare -A count
  suite_up
  fault_bus SetAutoscaling ssst project-manager off off 0 # the numbers are ours
  eventually 20 fault_is_whole
  # Once over what a first time makes: drop-ins of limits, the record of an exit.
  mamctl limits project-manager --cpu 500m
  eventually 20 plan_is_empty
  local files descriptors memory
  files=$(fault_files)
  descriptors=$(fault_descriptors)
  memory=$(fault_memory_kib)
  RANDOM=$seed
  echo "# seed $seed, $seconds s"

  set +eE
  trap - ERR
  for ((i = 0; SECONDS - start < seconds; i++)); do
    what=${often[RANDOM % ${#often[@]}]}
    if ((SECONDS - start < seconds / 2 && RANDOM % 6 == 0)); then
      what=${rare[RANDOM % ${#rare[@]}]}
    fi
    "fault_$what" >/dev/null 2>&1 # may fail: the manager or the bus may be away just now
    count[$what]=$((${count[$what]:-0} + 1))
    sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
  done
  set -eE

  fault_undo
  eventually 20 mamctl limits project-manager --cpu 500m
  # What crash-loops by now, or was stopped by hand, is wanted again.
  eventually 60 mamctl start
  eventually 30 mamctl scale project-manager 3
  eventually 60 fault_is_whole || fail "not whole: $(mamctl list; fault_plan)"

  printf '# '
  for what in "${!count[@]}"; do
    printf '%s %d, ' "$what" "${count[$what]}"
  done
  echo "$i in all"
  equal "$(systemctl list-units --plain --no-legend --failed 'mam*' | wc -l)" 0 "failed units"
  # What a manager that was killed could not know of is found with a listing, each 5 minutes, or now.
  systemctl daemon-reload
  eventually 20 fault_files_are "$files" || equal "$(fault_files)" "$files" "files are left over"
  # Beside the connections to two gateways that may have been made meanwhile, and a probe that is under way.
  eventually 20 fault_descriptors_are $((descriptors + 4))
  (($(fault_memory_kib) <= memory + 8192)) || fail "the manager has $(fault_memory_kib) KiB; it was $memory KiB"
  echo "# of the manager, before and after: $descriptors and $(fault_descriptors) descriptors, $memory and $(fault_memory_kib) KiB"
}

test_bus_restart_loses_nothing() {
  suite_up
  eventually 20 fault_is_whole
  local pids
  pids=$(systemctl show -P MainPID 'mam@*.service')
  systemctl restart dbus.service
  eventually 10 mamctl list
  eventually 20 fault_is_whole
  equal "$(systemctl show -P MainPID 'mam@*.service')" "$pids" "replicas were restarted"
}

limits_are_set_back() {
  systemctl set-property --runtime mam@project-manager:1.service MemoryMax=99M
  systemctl daemon-reload
  eventually 5 memory_max_is "$1"
  fault_bus ListEvents stu project-manager 0 0 |
    jq -e '.data[0][] | select(.[5] == "repaired" and .[4] == "project-manager:1" and (.[6] | contains("99 MiB")))'
}

memory_max_is() {
  [[ $(systemctl show -P MemoryMax mam@project-manager:1.service) == "$1" ]]
}

# Whatever numbers a campaign has left it with.
numbers_1_to_3() {
  mamctl scale project-manager 1
  mamctl scale project-manager 3
}

test_limits_changed_behind_the_manager_are_set_back() {
  suite_up
  numbers_1_to_3
  fault_bus SetAutoscaling ssst project-manager off off 0
  # What was set through the manager in the last 10 s is not judged, only set again.
  eventually 20 limits_are_set_back "$(systemctl show -P MemoryMax mam@project-manager:1.service)"
  eventually 5 plan_is_empty
}

test_masked_unit_is_named_and_started_once_unmasked() {
  suite_up
  numbers_1_to_3
  systemctl mask --runtime mam@project-manager:4.service
  mamctl --no-wait scale project-manager 4
  eventually 10 sh -c "busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 Plan st project-manager 0 | grep -q 'systemctl unmask mam@project-manager:4.service'"
  systemctl unmask --runtime mam@project-manager:4.service
  eventually 10 has_ready project-manager 4
  mamctl scale project-manager 3
  eventually 10 plan_is_empty
}

test_full_disk_refuses_what_cannot_be_stored() {
  suite_up
  mamctl scale project-manager 3
  local folder=/var/lib/mam/manager
  mount -t tmpfs -o "size=64k,mode=0700,uid=$(id -u mam-manager),gid=$(id -g mam-manager)" tmpfs $folder
  head -c 1M /dev/zero >$folder/filler 2>/dev/null || true
  systemctl restart mam-manager.service
  eventually 10 has_ready project-manager 3
  fails mamctl scale project-manager 4
  matches "$output" 'Cannot store what is wanted'
  has_ready project-manager 3
  eventually 10 sh -c "busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 ListAlerts | grep -q StateNotWritable"
  rm $folder/filler
  mamctl scale project-manager 4
  eventually 10 sh -c "! busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 ListAlerts | grep -q StateNotWritable"
  mamctl scale project-manager 3
  umount --lazy $folder
  systemctl restart mam-manager.service
  eventually 10 has_ready project-manager 3
}
