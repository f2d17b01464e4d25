# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the gateway shows of its work: traces at a collector, the access log, exemplars; and answers compressed for who asks.

gateway_section() {
  local file=/etc/mam/microservices.json text
  text=$(jq --argjson g "$1" '.gateway = $g' $file)
  echo "$text" >$file
  mamctl init >/dev/null
}

# spans TRACE: what the collector has got of it, as one array.
spans() {
  jq -cs --arg t "$1" '[.[] | select(.traceId == $t)]' /tmp/spans 2>/dev/null
}

has_spans() {
  [[ $(spans "$1" | jq length) -ge $2 ]]
}

get_traced() {
  api GET '/api/v1/projects?limit=1' -H "traceparent: 00-$1-00f067aa0ba902b7-$2" >/dev/null
}

# A new trace each time, as a gateway may not have heard of the collector yet. The trace is in $trace.
new_trace_arrives() {
  trace=$(tr -dc 0-9a-f </proc/sys/kernel/random/uuid)
  get_traced "$trace" 01
  local end=$((SECONDS + 4))
  until has_spans "$trace" 2; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

test_sampled_request_has_a_span_and_one_for_its_replica() {
  suite_up
  rm -f /tmp/spans
  python3 "$here/collector.py" 4318 /tmp/spans &
  gateway_section '{ "tracing": { "endpoint": "http://127.0.0.1:4318/v1/traces", "sample": 0 } }'
  local trace got
  eventually 30 new_trace_arrives
  trace=$(jq -r .traceId /tmp/spans | tail -n 1)
  eventually 10 has_spans "$trace" 2
  got=$(spans "$trace")
  echo "$got" | jq -e 'length == 2'
  echo "$got" | jq -e '.[] | select(.kind == 2) | .parentSpanId == "00f067aa0ba902b7" and .attributes["http.request.method"] == "GET" and
    .attributes["http.response.status_code"] == 200 and .attributes["enduser.id"] == "tester" and (.attributes["http.route"] | startswith("/api/v1/projects"))'
  echo "$got" | jq -e '(.[] | select(.kind == 2) | .spanId) as $id | .[] | select(.kind == 3) | .parentSpanId == $id and
    (.attributes["mam.replica"] | startswith("project-manager:")) and .attributes["http.response.status_code"] == 200'
}

test_request_that_is_not_sampled_has_none() {
  suite_up
  local trace quiet
  quiet=$(tr -dc 0-9a-f </proc/sys/kernel/random/uuid)
  get_traced "$quiet" 00
  eventually 30 new_trace_arrives
  equal "$(spans "$quiet")" '[]' "spans of what was not sampled"
}

test_exemplars_lead_from_a_histogram_to_a_trace() {
  suite_up
  local i text=""
  for i in 1 2; do
    text+=$(curl -sS --max-time 10 -H 'Accept: application/openmetrics-text' --unix-socket "/run/mam/replica/api-gateway:$i.sock" http://localhost/metrics)
  done
  matches "$text" 'mam_gateway_request_duration_seconds_bucket[^#]* # \{trace_id="[0-9a-f]{32}"\}'
  matches "$text" '# EOF'
}

test_access_log_is_json_where_asked_for() {
  suite_up
  local id
  api GET '/api/v1/projects?limit=1' >/dev/null
  id=$(journalctl -o json -u 'mam@api-gateway:*' -n 50 | jq -r 'select(.MAM_ROUTE != null and .MAM_STATUS != null) | .MESSAGE_ID' | tail -n 1)
  gateway_section '{ "accessLog": { "format": "json" } }'
  logged() {
    api GET '/api/v1/projects?limit=1' >/dev/null
    journalctl -o cat -u 'mam@api-gateway:*' MESSAGE_ID="$id" -n 5 |
      jq -se 'any(.[]; .method == "GET" and .status == 200 and .subject == "tester" and (.upstream | startswith("project-manager:")) and (.trace_id | length) == 32)'
  }
  eventually 30 logged
}

test_answers_are_compressed_for_who_asks() {
  suite_up
  local i plain coding
  for i in $(seq 30); do
    api POST /api/v1/projects -d "{\"key\":\"CMP$i\",\"name\":\"Compressible $i\"}" >/dev/null
  done
  plain=$(api GET '/api/v1/projects?limit=30' | jq -c .)
  for coding in gzip br zstd; do
    api GET '/api/v1/projects?limit=30' -H "Accept-Encoding: $coding" -D /tmp/head -o /tmp/body
    grep -iq "^content-encoding: $coding" /tmp/head || fail "not $coding: $(cat /tmp/head)"
    grep -iq "^vary: accept-encoding" /tmp/head || fail "no Vary: $(cat /tmp/head)"
    case $coding in
      gzip) gzip -dc </tmp/body ;;
      br) command -v brotli >/dev/null && brotli -dc </tmp/body || echo "$plain" ;;
      zstd) command -v zstd >/dev/null && zstd -dcq </tmp/body || echo "$plain" ;;
    esac >/tmp/expanded
    equal "$(jq -c . /tmp/expanded)" "$plain" "$coding"
    [[ $(stat -c %s /tmp/body) -lt $((${#plain} / 2)) ]] || fail "$coding: $(stat -c %s /tmp/body) bytes of ${#plain}"
  done
  api GET '/api/v1/projects?limit=30' -D /tmp/head -o /dev/null
  ! grep -iq '^content-encoding' /tmp/head || fail "compressed unasked"
}
