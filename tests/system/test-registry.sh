# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The registry with the clients that it is for: curl, dig, Prometheus, VictoriaMetrics, and the Consul client of npm.

registry_up() {
  suite_up
  has_ready project-manager 3 || mamctl scale project-manager 3
  systemctl start mam-registry.socket
  REGISTRY_TOKEN=$(systemd-creds decrypt --name=registry.token /etc/credstore.encrypted/mam.registry.token -)
  export REGISTRY_TOKEN
}

# registry PATH [CURL ARGUMENT]…
registry() {
  local path=$1
  shift
  curl -sS --fail-with-body --max-time 90 -H "X-Consul-Token: $REGISTRY_TOKEN" "$@" "http://127.0.0.1:5000$path"
}

# The index of an answer to GET PATH; its body is in /tmp/registry-body.
registry_index() {
  registry "$1" -D /tmp/registry-head -o /tmp/registry-body
  tr -d '\r' </tmp/registry-head | sed -n 's/^X-Consul-Index: //p'
}

registry_code() {
  curl -sS -o /dev/null -w '%{http_code}' "$@"
}

passing() {
  registry "/v1/health/service/$1?passing" | jq length
}

has_passing() {
  [[ $(passing "$1") == "$2" ]]
}

test_it_speaks_as_consul_does() {
  registry_up
  local base=http://127.0.0.1:5000 path
  for path in catalog/services catalog/service/redis catalog/nodes catalog/datacenters catalog/node/"$(hostname)" health/service/redis \
    health/checks/redis health/state/any health/node/"$(hostname)" agent/services agent/checks agent/self status/leader status/peers; do
    registry "/v1/$path" >/tmp/registry-body
    jq -e '[.. | select(. == null)] | length == 0' /tmp/registry-body >/dev/null || fail "$path has a null: $(cat /tmp/registry-body)"
    [[ $(jq length /tmp/registry-body) != 0 ]] || fail "$path is empty"
  done
  equal "$(registry /v1/health/service/project-manager | jq -r '[.[] | select(.Node.ID == "" or .Node.Datacenter == "" or .Service.Port != 3001)] | length')" 0
  equal "$(registry /v1/health/service/project%2Dmanager?passing | jq -r '[.[].Service.ID] | sort | join(" ")')" \
    "project-manager:1 project-manager:2 project-manager:3"
  equal "$(registry /v1/catalog/service/postgresql | jq -r '.[0].ServicePort, .[0].ServiceAddress' | xargs)" "0 127.0.0.1"
  matches "$(registry /v1/catalog/service/postgresql | jq -r '.[0].ServiceMeta.socket')" ^/run/mam/
  equal "$(registry /v1/catalog/service/nobody)" "[]"
  equal "$(registry /v1/catalog/service/nobody%2fat%2fall)" "[]"
  matches "$(registry_index /v1/catalog/service/nobody)" '^[1-9][0-9]*$'

  equal "$(registry_code $base/v1/catalog/services)" 403
  equal "$(registry_code -H 'X-Consul-Token: wrong' $base/v1/catalog/services)" 403
  equal "$(registry_code -H "Authorization: Bearer $REGISTRY_TOKEN" $base/v1/catalog/services)" 200
  equal "$(registry_code "$base/v1/catalog/services?token=$REGISTRY_TOKEN")" 200
  equal "$(registry_code $base/v1/status/leader)" 200
  equal "$(registry_code -X PUT -H "X-Consul-Token: $REGISTRY_TOKEN" $base/v1/catalog/services)" 405
  equal "$(registry_code -H "X-Consul-Token: $REGISTRY_TOKEN" $base/v1/nothing)" 404
  registry /v1/catalog/services --head | grep -q '^X-Consul-Index: [1-9]'
}

test_a_blocking_query_returns_upon_scale() {
  registry_up
  local index after pid
  index=$(registry_index '/v1/health/service/project-manager?passing')
  registry "/v1/health/service/project-manager?passing&index=$index&wait=60s" -D /tmp/blocked-head -o /tmp/blocked &
  pid=$!
  eventually 10 sh -c "curl -sS -H 'X-Consul-Token: $REGISTRY_TOKEN' http://127.0.0.1:5000/metrics | grep -qx 'mam_registry_blocked_queries 1'"
  mamctl scale project-manager 4
  wait $pid
  after=$(tr -d '\r' </tmp/blocked-head | sed -n 's/^X-Consul-Index: //p')
  ((after > index)) || fail "the index went from $index to $after"
  eventually 10 has_passing project-manager 4
  mamctl scale project-manager 3
  eventually 10 has_passing project-manager 3

  # Nothing changes: it comes back when the wait is over, with the same index; 0 does not wait at all.
  index=$(registry_index /v1/catalog/services)
  equal "$(registry_index "/v1/catalog/services?index=$index&wait=300ms")" "$index"
  equal "$(registry_index '/v1/catalog/services?index=0&wait=10m')" "$index"
}

# Asks without a pause until told to stop; what is wrong goes to /tmp/watcher.
watch_index() {
  local index last=0 n
  while [[ ! -e /tmp/watcher.stop ]]; do
    # Between two registries a connection may break; what is answered has to be right.
    index=$(registry_index /v1/health/service/project-manager 2>/dev/null) || continue
    n=$(jq length /tmp/registry-body)
    ((index >= last)) || echo "from $last to $index" >>/tmp/watcher
    ((n > 0)) || echo "an empty list at $index" >>/tmp/watcher
    last=$index
    echo >>/tmp/watcher.count
  done
}

test_the_index_survives_kill_and_never_goes_back() {
  registry_up
  local i watcher before
  rm -f /tmp/watcher*
  watch_index &
  watcher=$!
  for i in 1 2 3; do
    before=$(unit_pid mam-registry.service)
    systemctl kill --kill-whom=main --signal=KILL mam-registry.service
    eventually 20 new_pid mam-registry.service "$before"
    registry /v1/catalog/services >/dev/null

    before=$(unit_pid mam-manager.service)
    systemctl kill --kill-whom=main --signal=KILL mam-manager.service
    eventually 20 new_pid mam-manager.service "$before"
    mamctl scale project-manager $((2 + i % 2))
    eventually 10 has_passing project-manager $((2 + i % 2))
  done
  touch /tmp/watcher.stop
  wait $watcher
  [[ ! -e /tmp/watcher ]] || fail "$(cat /tmp/watcher)"
  (($(wc -l </tmp/watcher.count) > 20)) || fail "only $(wc -l </tmp/watcher.count) answers"
  mamctl scale project-manager 3
}

test_without_the_manager_it_tells_what_was_last() {
  registry_up
  has_passing project-manager 3
  systemctl stop mam-manager.service
  eventually 10 sh -c "curl -sS -H 'X-Consul-Token: $REGISTRY_TOKEN' http://127.0.0.1:5000/metrics | grep -qx 'mam_manager_up 0'"
  has_passing project-manager 3
  registry /v1/catalog/services --head | grep -q '^X-Consul-KnownLeader: false'
  equal "$(systemctl is-active mam-manager.service || :)" inactive "a manager that was stopped"
  systemctl start mam-manager.service
  eventually 10 sh -c "curl -sS -H 'X-Consul-Token: $REGISTRY_TOKEN' http://127.0.0.1:5000/metrics | grep -qx 'mam_manager_up 1'"
}

test_dns_over_udp_and_tcp() {
  registry_up
  command -v dig >/dev/null || skip "dig is not installed"
  local dig="dig @127.0.0.1 -p 8600 +time=5 +tries=1"
  equal "$($dig +short project-manager.service.mam)" 127.0.0.1
  equal "$($dig +short project-manager.service.consul A +tcp)" 127.0.0.1
  equal "$($dig +short PROJECT-manager.Service.mam SRV | awk '{print $3, $4}' | sort | xargs)" \
    "3001 project-manager-1.node.mam. 3001 project-manager-2.node.mam. 3001 project-manager-3.node.mam."
  equal "$($dig +short +tcp _project-manager._tcp.service.consul SRV | wc -l)" 3
  equal "$($dig +short project-manager-2.node.mam)" 127.0.0.1
  $dig project-manager.service.mam AAAA | grep -q 'status: NOERROR'
  $dig project-manager.service.mam AAAA | grep -q 'SOA'
  $dig nobody.service.mam | grep -q 'status: NXDOMAIN'
  $dig example.org | grep -q 'status: REFUSED'
  mamctl scale project-manager 10
  eventually 10 has_passing project-manager 10
  # Ten SRV records do not fit into 512 bytes: dig is told, and asks again over TCP.
  $dig +noedns +ignore project-manager.service.consul SRV | grep -q 'flags:.* tc'
  equal "$($dig +noedns +short project-manager.service.consul SRV | wc -l)" 10
  equal "$(dig @127.0.0.1 -p 5000 +short api-gateway.service.mam)" 127.0.0.1 # the other port, over UDP
  mamctl scale project-manager 3
}

targets_up() {
  curl -sS http://127.0.0.1:9090/api/v1/targets >/tmp/targets
  [[ $(jq -r '[.data.activeTargets[] | select(.health == "up")] | length' /tmp/targets) == "$1" ]] &&
    [[ $(jq -r '.data.activeTargets | length' /tmp/targets) == "$1" ]]
}

test_prometheus_scrapes_every_replica() {
  registry_up
  command -v prometheus >/dev/null || skip "prometheus is not installed"
  local pid
  registry /metrics >/tmp/metrics
  promtool check metrics </tmp/metrics
  grep -q '^mam_replica_cpu_seconds_total{service="project-manager",replica="1"} [0-9]' /tmp/metrics
  printf '%s' "$REGISTRY_TOKEN" >/tmp/registry-token
  cat >/tmp/prometheus.yml <<'YAML'
rule_files: [/usr/share/mam/prometheus/mam.rules.yml]
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
scrape_configs:
  - job_name: mam
    authorization: { credentials_file: /tmp/registry-token }
    http_sd_configs:
      - url: http://127.0.0.1:5000/v1/sd/prometheus
        refresh_interval: 1s
        authorization: { credentials_file: /tmp/registry-token }
YAML
  promtool check config /tmp/prometheus.yml
  rm -rf /tmp/prometheus
  prometheus --config.file=/tmp/prometheus.yml --storage.tsdb.path=/tmp/prometheus --web.listen-address=127.0.0.1:9090 --log.level=warn &
  pid=$!
  trap "kill $pid" EXIT
  eventually 30 targets_up 8 # the suite, 2 of the gateway, 2 of the event bus, 3 of project-manager
  equal "$(jq -r '[.data.activeTargets[].labels.instance] | sort | join(" ")' /tmp/targets)" \
    "api-gateway:1 api-gateway:2 event-bus:1 event-bus:2 mam project-manager:1 project-manager:2 project-manager:3"
  mamctl scale project-manager 5
  eventually 30 targets_up 10
  eventually 10 sh -c 'curl -sS --data-urlencode "query=mam_service_replicas_ready{service=\"project-manager\"}" http://127.0.0.1:9090/api/v1/query | jq -e ".data.result[0].value[1] == \"5\""'
  equal "$(curl -sS http://127.0.0.1:9090/api/v1/rules | jq '[.data.groups[].rules[] | select(.health == "err")] | length')" 0
  equal "$(curl -sS --data-urlencode 'query=process_resident_memory_bytes{service="project-manager",replica="4"}' http://127.0.0.1:9090/api/v1/query | jq '.data.result | length')" 1
  mamctl scale project-manager 3
}

victoria_up() {
  curl -sS http://127.0.0.1:8428/api/v1/targets >/tmp/targets
  [[ $(jq -r '[.data.activeTargets[] | select(.health == "up")] | length' /tmp/targets) == "$1" ]]
}

test_victoriametrics_discovers_by_consul_sd() {
  registry_up
  command -v victoria-metrics >/dev/null || skip "victoria-metrics is not installed"
  local pid
  cat >/tmp/victoria.yml <<YAML
scrape_configs:
  - job_name: consul
    scrape_interval: 1s
    bearer_token: $REGISTRY_TOKEN
    consul_sd_configs:
      - server: 127.0.0.1:5000
        token: $REGISTRY_TOKEN
    relabel_configs:
      - { source_labels: [__meta_consul_tags], regex: '.*,(service|gateway),.*', action: keep }
      - { source_labels: [__meta_consul_service, __meta_consul_service_metadata_replica], separator: /, target_label: __metrics_path__, replacement: /v1/metrics/replica/\$1 }
      - { source_labels: [__meta_consul_service_id], target_label: instance }
      - { target_label: __address__, replacement: '127.0.0.1:5000' }
YAML
  rm -rf /tmp/victoria
  victoria-metrics -promscrape.config=/tmp/victoria.yml -promscrape.consulSDCheckInterval=1s -storageDataPath=/tmp/victoria \
    -httpListenAddr=127.0.0.1:8428 -loggerLevel=ERROR &
  pid=$!
  trap "kill $pid" EXIT
  eventually 30 victoria_up 5
  equal "$(jq -r '[.data.activeTargets[].labels.instance] | sort | join(" ")' /tmp/targets)" \
    "api-gateway:1 api-gateway:2 project-manager:1 project-manager:2 project-manager:3"
  mamctl scale project-manager 4 # told by a blocking query
  eventually 30 victoria_up 6
  mamctl scale project-manager 3
}

test_the_consul_client_of_npm_works() {
  registry_up
  command -v node >/dev/null || skip "node is not installed"
  [[ -d $here/node_modules/consul ]] || skip "the npm package consul was not fetched (./dev test does where there is npm)"
  local pid
  equal "$(cd "$here" && node registry.js list project-manager | xargs)" \
    "project-manager:1 127.0.0.1:3001 project-manager:2 127.0.0.1:3001 project-manager:3 127.0.0.1:3001"
  rm -f /tmp/watch
  (cd "$here" && exec node registry.js watch project-manager) >/tmp/watch 2>&1 &
  pid=$!
  trap "kill $pid" EXIT
  eventually 20 grep -qx watching /tmp/watch
  mamctl scale project-manager 5
  eventually 20 grep -qx 5 /tmp/watch
  mamctl scale project-manager 3
  eventually 20 sh -c '[ "$(tail -n 1 /tmp/watch)" = 3 ]'
  ! grep error /tmp/watch || fail "$(cat /tmp/watch)"
}

open_fds() {
  find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l
}

test_garbage_leaves_it_alive_and_holding_nothing() {
  registry_up
  registry /v1/catalog/services >/dev/null
  dig @127.0.0.1 -p 8600 +short redis.service.mam >/dev/null || :
  local pid before
  pid=$(unit_pid mam-registry.service)
  before=$(open_fds "$pid")
  python3 "$here/garbage.py" "${MAM_TEST_GARBAGE:-10000}"
  # It was read and not merely sent: of each five, two look like HTTP and two like DNS.
  registry /metrics >/tmp/metrics
  awk -v want="$((${MAM_TEST_GARBAGE:-10000} / 20))" '
    /^mam_registry_requests_total/ { http += $2 }
    /^mam_registry_dns_queries_total/ { dns += $2 }
    END { if (http < want || dns < want) { print http, "requests and", dns, "queries"; exit 1 } }' /tmp/metrics
  equal "$(unit_pid mam-registry.service)" "$pid" "process"
  # Queries that block for nobody, and idle connections, have ended too.
  eventually 20 test "$(open_fds "$pid")" -le "$before"
  has_passing project-manager 3
}

test_idle_it_sleeps() {
  registry_up
  registry /v1/catalog/services >/dev/null
  local pid before
  pid=$(unit_pid mam-registry.service)
  eventually 20 sh -c "[ \"\$(ss -Htn 'sport = :5000' | wc -l)\" = 0 ]"
  before=$(awk '/^voluntary/ {print $2}' "/proc/$pid/status")
  sleep 3 # the time that is measured
  # The watchdog's ping, every quarter to half of 20 s, and nothing else.
  (($(awk '/^voluntary/ {print $2}' "/proc/$pid/status") - before <= 2)) || fail "it woke up while nobody asked"
}
