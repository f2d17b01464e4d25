# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What system tests share. A test fails by any command that fails (set -e), or by fail.

fail() {
  echo "$*"
  exit 1
}

skip() {
  echo "$*"
  exit 77
}

equal() {
  [[ $1 == "$2" ]] || fail "${3:-got}: '$1' instead of '$2'"
}

matches() {
  [[ $1 =~ $2 ]] || fail "'$1' does not match '$2'"
}

# fails COMMAND…: it must not succeed; its output is in $output.
fails() {
  if output=$("$@" 2>&1); then
    fail "succeeded, and should not: $* (said: $output)"
  fi
}

# The exit status of a command that may fail, as text.
exit_status() {
  if "$@" >/dev/null 2>&1; then echo 0; else echo $?; fi
}

# eventually SECONDS COMMAND…: asks again until it succeeds. For conditions that nothing announces.
eventually() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "did not become true: $*"
    sleep 0.05
  done
}

# Nothing changes numbers or limits by itself: for tests that count on theirs.
autoscaling_off() {
  local file=/etc/mam/microservices.json text
  [[ $(jq -r .scaling.enabled $file) != false ]] || return 0
  text=$(jq '.scaling.enabled = false' $file)
  echo "$text" >$file
}

# The whole suite, healthy, without autoscaling unless AUTOSCALING=1. Cheap when it runs already.
suite_up() {
  [[ ${AUTOSCALING:-} == 1 ]] || autoscaling_off
  mamctl init >/dev/null
  mamctl start
  TOKEN=$(mamctl token --subject tester --role admin --ttl 1h)
  export TOKEN
}

unit_pid() {
  systemctl show -P MainPID "$1"
}

ready_replicas() {
  mamctl --json list | jq -r --arg s "$1" '.services[] | select(.id == $s) | .ready'
}

has_ready() {
  [[ $(ready_replicas "$1") == "$2" ]]
}

new_pid() {
  local pid
  pid=$(unit_pid "$1")
  [[ $pid != 0 && $pid != "$2" && $(systemctl show -P ActiveState "$1") == active ]]
}

# api METHOD PATH [CURL ARGUMENT]…: through the gateway; the body on stdout.
api() {
  local method=$1 path=$2
  shift 2
  curl -sS --fail-with-body --max-time 30 -X "$method" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$@" "http://localhost:3000$path"
}

# status METHOD PATH [CURL ARGUMENT]…: only the status code, without a token of its own.
http_status() {
  local method=$1 path=$2
  shift 2
  curl -sS -o /dev/null -w '%{http_code}' --max-time 30 -X "$method" "$@" "http://localhost:3000$path"
}

# load_start NAME [ARGUMENT OF load.py]…: traffic in the background until load_stop NAME, which fails if a request failed.
load_start() {
  local name=$1
  shift
  python3 "$here/load.py" --token "$TOKEN" --report "/tmp/load-$name" "$@" &
  eval "load_pid_$name=$!"
  eventually 20 test -s "/tmp/load-$name.started"
}

load_stop() {
  local pid_of="load_pid_$1"
  kill -TERM "${!pid_of}"
  wait "${!pid_of}" || fail "load $1: $(cat "/tmp/load-$1")"
  cat "/tmp/load-$1"
}

# An unprivileged user to try things as.
user_make() {
  id -u "$1" >/dev/null 2>&1 || useradd --system --shell /bin/sh "$1"
}

as_user() {
  local user=$1
  shift
  setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --inh-caps=-all -- "$@"
}
