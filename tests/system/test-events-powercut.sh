# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The power fails, again and again: PostgreSQL runs on a simulated disk that keeps only what a finished fsync() covered (tests/powercut). What the event
# bus has acknowledged is there afterwards. That the disk does lose is seen where the database does not wait for it.

DATA=/var/lib/mam/postgresql/data
IMAGE=/var/lib/mam/postgresql/powercut
CUT=/run/mam-powercut
DROPIN=/run/systemd/system/mam@postgresql:1.service.d

powercut_up() {
  [[ -x $here/powercut ]] || skip "the simulated disk was not built (tests/system/run --build)"
  suite_up
  eventually 30 has_ready event-bus 2
  [[ ! -e $DROPIN ]] || return 0
  mamctl stop
  mkdir -p $DROPIN
  # The disk is the server's alone: what prepares it must not be on it.
  cat >$DROPIN/90-powercut.conf <<EOF
[Service]
ExecStartPre=+$here/powercut-start $DATA $IMAGE $CUT
ExecStart=
ExecStart=/usr/bin/env LD_PRELOAD=$here/mam-powercut.so POWERCUT_ROOT=$DATA POWERCUT_IMAGE=$IMAGE /usr/lib/mam/mam-postgresql
EOF
  systemctl daemon-reload
  mamctl start
  grep -q powercut "/proc/$(unit_pid mam@postgresql:1.service)/maps" || fail "PostgreSQL does not run on the simulated disk"
}

# The last word of the cluster's settings; all of the suite starts again with it.
settings() {
  mamctl stop
  printf '%s\n' "$@" >$DATA/local.conf
  chown --reference=$DATA $DATA/local.conf
  # What was written by hand is on the disk too.
  rm -rf $IMAGE
  mamctl start
  eventually 30 has_ready event-bus 2
}

power_cut() {
  : >$CUT
  systemctl kill --signal=KILL 'mam@*.service'
  eventually 60 eval '[[ ! -e $CUT ]]'
  mamctl start
  eventually 60 has_ready event-bus 2
}

# Publishes, cuts the power in the middle of it, and says what is lost.
lost_by_a_power_cut() {
  local pid topic=powercut-$((SRANDOM))
  api PUT "/v1/topics/$topic" -d '{}' >/dev/null
  : >/tmp/acknowledged
  python3 "$here/events-acknowledged.py" 4000 "$TOKEN" "$topic" >/tmp/acknowledged &
  pid=$!
  eventually 60 grep -q . /tmp/acknowledged
  power_cut
  # and goes on as if nothing had happened
  kill -TERM $pid
  wait $pid
  echo "# $(tail -n 1 /tmp/acknowledged)"
}

test_a_power_cut_loses_nothing_that_was_acknowledged() {
  powercut_up
  settings "synchronous_commit = on" "wal_writer_delay = 10s"
  local i
  for i in 1 2 3; do
    lost_by_a_power_cut
    matches "$(tail -n 1 /tmp/acknowledged)" 'acknowledged, 0 lost'
  done
}

test_the_ledger_agrees_after_power_cuts() {
  powercut_up
  local status=0
  python3 "$here/events-ledger.py" --token "$TOKEN" --seconds 30 --faults power --rate 300 >/tmp/ledger || status=$?
  sed 's/^/# /' /tmp/ledger
  ((status == 0)) || fail "the ledger does not agree"
  jq -e '.faults.power >= 2' /tmp/ledger
}

test_the_disk_is_seen_to_lose_what_nobody_waited_for() {
  powercut_up
  settings "synchronous_commit = off" "wal_writer_delay = 10s"
  lost_by_a_power_cut
  fails grep -q 'acknowledged, 0 lost' /tmp/acknowledged
}
