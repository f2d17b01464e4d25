# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the units say they forbid is tried from inside each of them, as that unit's user, and must be refused.

# forbidden UNIT [ARGUMENT]…: the unit with forbidden.py in place of its program; everything else as it is.
forbidden() {
  local unit=$1 dropin=/run/systemd/system/$1.d/90-forbidden.conf
  shift
  mkdir -p "${dropin%/*}" /home/forbidden-marker
  echo x >/home/forbidden-marker/file
  chmod 0755 /home/forbidden-marker
  {
    printf '[Unit]\nRequires=\nRefuseManualStart=no\n[Service]\nType=oneshot\nRestart=no\nBusName=\nWatchdogSec=0\nExecStartPre=\nExecStartPost=\nExecStopPost=\n'
    printf 'StandardOutput=truncate:/tmp/forbidden.out\nExecStart=\nExecStart=/usr/bin/python3 %s/forbidden.py' "$here"
    printf ' "%s"' "$@"
    printf '\n'
  } >"$dropin"
  systemctl daemon-reload
  systemctl start "$unit" || { systemctl status "$unit" || :; cat /tmp/forbidden.out; fail "$unit could not be run"; }
  rm -r "${dropin%/*}"
  systemctl daemon-reload
  cat /tmp/forbidden.out
  grep -qx end /tmp/forbidden.out || fail "the attempts did not run to their end in $unit"
  ! grep '^ALLOWED' /tmp/forbidden.out || fail "$unit allows what it should not"
}

only_infrastructure() {
  mamctl init >/dev/null
  mamctl stop
}

test_project_manager_is_confined() {
  only_infrastructure
  forbidden mam@project-manager:1.service list=/var/lib/mam/postgresql list=/var/lib/mam/redis list=/var/lib/mam/manager
}

test_gateway_is_confined() {
  only_infrastructure
  forbidden mam@api-gateway:1.service list=/var/lib/mam/postgresql list=/var/lib/mam/redis
}

test_postgresql_is_confined() {
  only_infrastructure
  forbidden mam@postgresql:1.service family=AF_INET family=AF_INET6 list=/var/lib/mam/redis list=/run/mam/replica
}

test_redis_is_confined() {
  only_infrastructure
  forbidden mam@redis:1.service list=/var/lib/mam/postgresql list=/run/mam/replica
}

test_manager_is_confined() {
  only_infrastructure
  systemctl stop mam-manager.service
  forbidden mam-manager.service "except=write the manager's state" list=/var/lib/mam/postgresql list=/var/lib/mam/redis
}

test_setup_is_confined_though_it_is_root() {
  only_infrastructure
  # It makes the credentials, and root owns /etc/shadow and its own processes.
  forbidden mam-setup.service "except=write /etc" "except=read the credential store" "except=read /etc/shadow" "except=become root" \
    "except=see other processes" family=AF_INET list=/var/lib/mam/postgresql list=/var/lib/mam/manager
}

test_registry_and_alerts_are_confined() {
  only_infrastructure
  systemctl stop mam-registry.service mam-alerts.service
  forbidden mam-registry.service list=/var/lib/mam/postgresql list=/var/lib/mam/redis list=/var/lib/mam/manager
  # by which the names of receivers are looked up
  forbidden mam-alerts.service "except=netlink socket" list=/var/lib/mam/postgresql list=/var/lib/mam/redis list=/var/lib/mam/manager list=/run/mam/replica \
    connect=/run/mam/replica/project-manager:1.sock
}

test_a_service_cannot_reach_another_ones_replicas() {
  suite_up
  forbidden mam@project-manager:4.service connect=/run/mam/replica/api-gateway:1.sock connect=/run/mam/replica/project-manager:1.sock
}

test_scores_hold_for_what_runs() {
  suite_up
  local unit limit
  while read -r unit limit; do
    systemd-analyze security --no-pager --threshold="$limit" "$unit" >/tmp/security || { head -40 /tmp/security; fail "$unit is above $limit tenths"; }
  done <<'UNITS'
mam-manager.service 12
mam-registry.service 13
mam-alerts.service 13
mam@api-gateway:1.service 13
mam@project-manager:1.service 12
mam@postgresql:1.service 20
mam@redis:1.service 20
UNITS
}

# The port by which its replicas follow the first one is in a network of their own: a Redis of the host may have the same.
test_redis_does_not_meet_a_redis_of_the_host() {
  mamctl init >/dev/null
  mamctl stop
  python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 6379)); open("/tmp/listening", "w"); s.accept()' &
  local host=$!
  eventually 10 test -e /tmp/listening
  mamctl start redis
  has_ready redis 2
  equal "$(readlink "/proc/$(unit_pid mam@redis:1.service)/ns/net")" "$(readlink "/proc/$(unit_pid mam@redis:2.service)/ns/net")" "network"
  kill -KILL "$(unit_pid mam@redis:1.service)"
  eventually 10 new_pid mam@redis:1.service 0
  equal "$(readlink "/proc/$(unit_pid mam@redis:1.service)/ns/net")" "$(readlink "/proc/$(unit_pid mam@redis:2.service)/ns/net")" "network after a crash"
  kill "$host"
}
