# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# More connections than anybody needs, and slow ones: others are served, memory stays bounded, and nothing is left behind.

gateway_pids() {
  unit_pid mam@api-gateway:1.service
  unit_pid mam@api-gateway:2.service
}

descriptors() {
  local pid n=0
  for pid in $(gateway_pids); do
    n=$((n + $(find "/proc/$pid/fd" -mindepth 1 | wc -l)))
  done
  echo "$n"
}

# The larger of the two, in KiB.
resident() {
  local pid
  for pid in $(gateway_pids); do
    awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"
  done | sort -n | tail -n 1
}

descriptors_are_back() {
  [[ $(descriptors) -le $1 ]]
}

healthy() {
  [[ $(http_status GET '/api/v1/projects?limit=1' -H "Authorization: Bearer $TOKEN") == 200 ]]
}

# under_flood COMMAND…: while it runs, requests of others are answered; what it cost is printed.
under_flood() {
  local pids before most now flood answered=0
  pids=$(gateway_pids)
  healthy
  before=$(descriptors)
  "$@" >/tmp/flood.log 2>&1 &
  flood=$!
  most=$(resident)
  while kill -0 "$flood" 2>/dev/null; do
    healthy || fail "a request of somebody else failed: $(tail -n 5 /tmp/flood.log)"
    answered=$((answered + 1))
    now=$(resident)
    ((now <= most)) || most=$now
    # In between, not instead of an event: nobody tells how many connections there are.
    sleep 0.2
  done
  wait "$flood" || true
  [[ $answered -ge 5 ]] || fail "only $answered requests were tried: $(tail -n 5 /tmp/flood.log)"
  echo "# $1: $answered requests of others answered, the larger gateway at most $most KiB"
  equal "$(gateway_pids)" "$pids" "a gateway ended"
  [[ $most -lt 262144 ]] || fail "$most KiB"
  eventually 90 descriptors_are_back $((before + 20))
}

test_slow_heads_harm_nobody() {
  command -v slowhttptest >/dev/null || skip "slowhttptest is not installed"
  suite_up
  under_flood slowhttptest -H -c 4000 -r 1000 -i 3 -l 12 -p 5 -t GET -u http://localhost:3000/api/v1/projects
}

test_slow_bodies_harm_nobody() {
  command -v slowhttptest >/dev/null || skip "slowhttptest is not installed"
  suite_up
  under_flood slowhttptest -B -c 4000 -r 1000 -i 3 -l 12 -p 5 -s 8192 -t POST -u http://localhost:3000/api/v1/projects
}

test_slow_readers_harm_nobody() {
  command -v slowhttptest >/dev/null || skip "slowhttptest is not installed"
  suite_up
  under_flood slowhttptest -X -c 2000 -r 1000 -l 12 -p 5 -n 2 -w 64 -y 128 -z 16 -k 3 -u http://localhost:3000/
}

test_ten_thousand_connections_are_taken() {
  command -v wrk >/dev/null || skip "wrk is not installed"
  suite_up
  # As many as this machine permits a process to have.
  local most
  most=$(($(ulimit -Hn) - 500))
  ((most <= 10000)) || most=10000
  ulimit -n "$(ulimit -Hn)"
  # What the gateway answers itself: the service behind is not what is to be flooded.
  under_flood wrk -t2 -c "$most" -d 12s --timeout 10s http://localhost:3000/
  grep -E 'requests in|Socket errors' /tmp/flood.log | sed 's/^ */# /'
}

test_http2_streams_of_many_clients_are_taken() {
  command -v h2load >/dev/null || skip "h2load is not installed"
  suite_up
  under_flood h2load -c 1000 -m 20 -D 10 http://localhost:3000/
  grep -E '^(finished|requests|status)' /tmp/flood.log | sed 's/^/# /'
}
