# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# WebSockets and streams of events through the gateway: also with implementations that are not mam's own.

# shellcheck source=lasting.sh
. "$here/lasting.sh"

LIBRARY=/etc/mam/services.d/library.json

library_up() {
  python3 -c 'import websockets' 2>/dev/null || skip "python3-websockets is not there"
  mkdir -p /etc/mam/services.d /opt/library
  install -m 755 "$here/websocket-library.py" /opt/library/serve
  chmod -R u=rwX,go=rX /opt/library
  cat >$LIBRARY <<'JSON'
{ "library": { "name": "Library", "port": 4600, "replicas": 1, "routes": ["/library"], "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/library/serve", "serve"],
    "resources": { "cpu": "1", "memory": "256Mi" }, "healthCheck": { "path": "/health", "interval": "2s", "timeout": "2s" },
    "scaling": { "horizontal": "off", "vertical": "off" } } }
JSON
  suite_up
  eventually 30 has_ready library 1
}

# handshake [CURL ARGUMENT]…: the status that an attempt gets.
handshake() {
  curl -sS --http1.1 -o /dev/null -w '%{http_code}' --max-time 3 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
    -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "$@" http://localhost:3000/library/echo || true
}

test_a_library_talks_through_with_compression() {
  library_up
  eventually 20 python3 "$here/websocket-library.py" talk "$TOKEN"
  equal "$(python3 "$here/websocket-library.py" talk "$TOKEN")" "all is well" "the client"
}

test_a_handshake_needs_what_a_request_needs() {
  library_up
  equal "$(handshake -H 'Sec-WebSocket-Version: 13')" 401 "without a token"
  equal "$(handshake -H 'Sec-WebSocket-Version: 13' -H 'Authorization: Bearer nonsense')" 401 "with a bad one"
  equal "$(handshake -H 'Sec-WebSocket-Version: 8' -H "Authorization: Bearer $TOKEN")" 426 "an old version"
  equal "$(handshake -H "Authorization: Bearer $TOKEN")" 426 "no version"
  equal "$(handshake -H 'Sec-WebSocket-Version: 13' -H "Authorization: Bearer $TOKEN")" 101 "rightly"
}

test_other_protocols_are_not_agreed_on() {
  library_up
  # The request is answered as if nothing had been offered, and never reaches a service as an offer.
  equal "$(http_status GET /library/echo --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: h2c' -H "Authorization: Bearer $TOKEN")" 426 "h2c"
}

test_events_come_when_they_are_sent() {
  lasting_up
  # Ten events at once, and another second until the next: who waits for more than what is there sees none of them in time.
  curl -sSN --max-time 30 -H "Authorization: Bearer $TOKEN" http://localhost:3000/lasting/bursts >/tmp/bursts &
  local pid=$!
  eventually 20 grep -qx 'data: 9' /tmp/bursts
  eventually 20 grep -qx 'data: 11' /tmp/bursts
  kill "$pid"
  wait "$pid" || true
}

test_websockets_are_counted() {
  lasting_up
  rm -f /tmp/lasting
  python3 "$here/lasting.py" --token "$TOKEN" --report /tmp/lasting &
  local pid=$!
  eventually 20 test -s /tmp/lasting
  all_move
  open_websockets() {
    local i sum=0 n
    for i in 1 2; do
      n=$(curl -sS --unix-socket "/run/mam/replica/api-gateway:$i.sock" http://localhost/metrics |
        sed -n 's/^mam_gateway_websockets{service="lasting"} //p')
      sum=$((sum + ${n:-0}))
    done
    [[ $sum == "$1" ]]
  }
  eventually 20 open_websockets 6
  kill -TERM "$pid"
  wait "$pid" || fail "$(cat /tmp/lasting)"
  eventually 20 open_websockets 0
}

# The program says no goodbye when it is killed: the gateway does in its place.
test_a_replica_that_is_killed_ends_websockets_with_close() {
  lasting_up
  local pid
  : >/tmp/watch
  python3 "$here/lasting.py" --token "$TOKEN" --watch >/tmp/watch &
  pid=$!
  eventually 20 grep -qx open /tmp/watch
  systemctl kill --signal=KILL 'mam@lasting:1.service' 'mam@lasting:2.service'
  wait "$pid"
  equal "$(tail -n 1 /tmp/watch)" "closed 1011" "what was said"
  eventually 60 has_ready lasting 2
}

test_what_lasts_ends_with_its_token() {
  lasting_up
  local token
  token=$(mamctl token --subject guest --role admin --ttl 4s)
  python3 "$here/lasting.py" --token "$token" --watch >/tmp/watch &
  wait $! || fail "$(cat /tmp/watch)"
  equal "$(tr '\n' ' ' </tmp/watch)" "open closed 1008 " "what was said"
  # A stream of events ends completely, or curl would say that it broke off (18).
  token=$(mamctl token --subject guest --role admin --ttl 4s)
  curl -sSN --max-time 60 -o /tmp/events -H "Authorization: Bearer $token" http://localhost:3000/lasting/events
  tail -c 2 /tmp/events | od -An -c | grep -q '\\n *\\n' || fail "ended within an event: $(tail -n 3 /tmp/events)"
}

test_only_so_many_websockets() {
  lasting_up
  local text pid
  text=$(jq '.gateway.websocket.maxPerCaller = 1' /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
  one_is_enough() {
    local first second
    : >/tmp/watch
    python3 "$here/lasting.py" --token "$TOKEN" --watch >/tmp/watch &
    first=$!
    eventually 20 grep -qx open /tmp/watch
    second=$(ask_for_websocket)
    kill "$first"
    wait "$first" || true
    [[ $second == 429 ]]
  }
  # Two gateways, each counts for itself: sooner or later one has both.
  eventually 30 one_is_enough
  text=$(jq 'del(.gateway.websocket)' /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
}

ask_for_websocket() {
  curl -sS --http1.1 -o /dev/null -w '%{http_code}' --max-time 2 -H "Authorization: Bearer $TOKEN" -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
    -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://localhost:3000/lasting/socket || true
}
