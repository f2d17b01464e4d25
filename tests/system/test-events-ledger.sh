# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the event bus has acknowledged, against a ledger outside of it, while everything below it is killed at random for MAM_FAULT_SECONDS (40).
# MAM_FAULT_SEED repeats the order of the faults.

TOKEN_COMMAND="mamctl token --subject ledger --role admin --ttl 1h"

ledger_up() {
  suite_up
  eventually 30 has_ready event-bus 2
}

# ledger [ARGUMENT]…: the report is printed as what was measured; what was wrong is said.
ledger() {
  local status=0
  python3 "$here/events-ledger.py" --token "$($TOKEN_COMMAND)" --token-command "$TOKEN_COMMAND" ${MAM_FAULT_SEED:+--seed "$MAM_FAULT_SEED"} "$@" >/tmp/ledger || status=$?
  sed 's/^/# /' /tmp/ledger
  ((status == 0)) || fail "the ledger does not agree"
}

test_without_a_fault_the_ledger_agrees() {
  ledger_up
  ledger --seconds 5 --faults '' --rate 500
}

test_what_was_acknowledged_survives_whatever_is_killed() {
  ledger_up
  ledger --seconds "${MAM_FAULT_SECONDS:-40}"
  jq -e '.faults | length == 4' /tmp/ledger || fail "not everything was killed once: $(cat /tmp/ledger)"
  eventually 60 has_ready event-bus 2
}
