# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What lasts through the gateway (WebSocket, streams of events, downloads, uploads) while all gateways are restarted.

# shellcheck source=lasting.sh
. "$here/lasting.sh"

test_a_rolling_restart_of_all_gateways_drops_nothing() {
  lasting_up
  rm -f /tmp/lasting
  python3 "$here/lasting.py" --token "$TOKEN" --report /tmp/lasting &
  local pid=$! before after
  eventually 20 test -s /tmp/lasting
  all_move
  for _ in 1 2; do
    before=$(systemctl show -P MainPID 'mam@api-gateway:1.service' 'mam@api-gateway:2.service' | sort)
    mamctl restart api-gateway
    after=$(systemctl show -P MainPID 'mam@api-gateway:1.service' 'mam@api-gateway:2.service' | sort)
    [[ $before != "$after" ]] || fail "the gateways were not restarted"
    all_move
  done
  # Each gateway had some of them: what lasts was told to go, and came again.
  eventually 20 said_goodbye websocket 6
  eventually 20 said_goodbye events 4
  kill -TERM "$pid"
  wait "$pid" || fail "$(cat /tmp/lasting)"
  echo "# $(cat /tmp/lasting)"
}

test_a_rolling_restart_drops_nothing_over_tls() {
  lasting_up
  local pid text
  text=$(jq '.security.tls = true' /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
  systemctl daemon-reload
  mamctl stop api-gateway
  mamctl start
  eventually 20 lasting_answers
  rm -f /tmp/lasting
  python3 "$here/lasting.py" --token "$TOKEN" --report /tmp/lasting --port 3443 --ca /etc/mam/tls/default.crt &
  pid=$!
  eventually 20 test -s /tmp/lasting
  all_move
  mamctl restart api-gateway
  all_move
  eventually 20 said_goodbye websocket 6
  eventually 20 said_goodbye events 4
  kill -TERM "$pid"
  wait "$pid" || fail "$(cat /tmp/lasting)"
  echo "# $(cat /tmp/lasting)"
}

# The program itself knows no goodbye: it ends at once at SIGTERM. The gateway says it before.
test_a_rolling_restart_of_a_service_ends_what_lasts_cleanly() {
  lasting_up
  rm -f /tmp/lasting
  python3 "$here/lasting.py" --token "$TOKEN" --report /tmp/lasting --kinds websocket,events &
  local pid=$! kind
  eventually 20 test -s /tmp/lasting
  for kind in websocket events; do eventually 20 done_more $kind 20; done
  mamctl restart lasting
  eventually 20 said_goodbye websocket 6
  eventually 20 said_goodbye events 4
  kill -TERM "$pid"
  wait "$pid" || fail "$(cat /tmp/lasting)"
  echo "# $(cat /tmp/lasting)"
}

# Each of four clients was told to go at least once.
h2_went_round() {
  jq -e '.goaways >= 4 and .closed_1001 >= 4 and .events_ended >= 4' /tmp/lasting-h2 >/dev/null
}

h2_more() {
  jq -e --argjson n "$1" '.short > $n and .websocket > $n and .events > 0' /tmp/lasting-h2 >/dev/null
}

test_a_rolling_restart_drops_nothing_over_http_2() {
  python3 -c 'import h2' 2>/dev/null || skip "python3-h2 is not there"
  lasting_up
  rm -f /tmp/lasting-h2
  python3 "$here/lasting-h2.py" --token "$TOKEN" --report /tmp/lasting-h2 &
  local pid=$!
  eventually 20 test -s /tmp/lasting-h2
  eventually 30 h2_more 10
  mamctl restart api-gateway
  eventually 30 h2_went_round
  kill -TERM "$pid"
  wait "$pid" || fail "$(cat /tmp/lasting-h2)"
  echo "# $(cat /tmp/lasting-h2)"
}
