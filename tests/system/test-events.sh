# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The event bus from outside, with clients that know nothing of it: curl, python3-websockets, a webhook that verifies signatures by itself.

bus_up() {
  suite_up
  eventually 30 has_ready event-bus 2
  eventually 20 api GET /v1/topics
}

# topic: a new one, and its name on stdout.
topic() {
  local name=t$((SRANDOM)).test
  api PUT "/v1/topics/$name" -d "${1:-{\}}" >/dev/null
  echo "$name"
}

# event ID [KEY [DATA]]
event() {
  jq -cn --arg id "$1" --arg key "${2:-}" --argjson data "${3:-null}" \
    '{specversion: "1.0", id: $id, source: "/test", type: "org.example.test"} + (if $key != "" then {partitionkey: $key} else {} end) + (if $data != null then {data: $data} else {} end)'
}

# post FORM PATH: what is on stdin, as application/cloudevents FORM
post() {
  curl -sS --fail-with-body --max-time 30 -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/cloudevents$1+json" --data-binary @- "http://localhost:3000$2"
}

# publish TOPIC ID [KEY [DATA]]
publish() {
  event "${@:2}" | post '' "/v1/topics/$1/events"
}

# publish_many TOPIC FIRST LAST [KEY]: ids N
publish_many() {
  jq -cn --argjson a "$2" --argjson b "$3" --arg key "${4:-}" \
    '[range($a; $b + 1) | {specversion: "1.0", id: "\(.)", source: "/test", type: "org.example.test", partitionkey: (if $key == "" then "k\(. % 7)" else $key end), data: {n: .}}]' |
    post -batch "/v1/topics/$1/events" >/dev/null
}

read_ids() {
  api GET "/v1/topics/$1/events?from=earliest&limit=1000${2:-}" | jq -c '[.events[].event.id]'
}

# pull SUBSCRIPTION [MAX [WAIT]]
pull() {
  api POST "/v1/subscriptions/$1/pull" -d "{\"max\": ${2:-100}, \"wait\": \"${3:-1s}\"}"
}

# settle SUBSCRIPTION VERB MORE: what is on stdin as pull answered it
settle() {
  jq -c --argjson more "${3:-{\}}" '{ackIds: [.events[].ackId]} + $more' | api POST "/v1/subscriptions/$1/$2" -d @-
}

test_what_is_published_is_read_in_every_form() {
  bus_up
  local t
  t=$(topic)
  equal "$(publish "$t" one | jq -c '.events')" '[{"position":1,"duplicate":false}]'
  equal "$(publish "$t" one | jq -c '.events')" '[{"position":1,"duplicate":true}]' "the same again"
  equal "$(http_status POST "/v1/topics/$t/events" -H "Authorization: Bearer $TOKEN" -H 'ce-specversion: 1.0' -H 'ce-id: two' -H 'ce-source: /test' -H 'ce-type: org.example.test' \
    -H 'Content-Type: text/plain' -d 'plain text')" 201 "binary"
  publish_many "$t" 3 5
  equal "$(read_ids "$t")" '["one","two","3","4","5"]'
  equal "$(api GET "/v1/topics/$t/events?from=earliest" | jq -r '.events[1].event | .data // (.data_base64 | @base64d)')" "plain text"
  equal "$(api GET "/v1/topics/$t/events?from=latest&backwards=1&limit=2" | jq -c '[.events[].event.id]')" '["5","4"]'
  equal "$(api GET "/v1/topics/$t/events?from=earliest" -H 'Accept: application/cloudevents-batch+json' | jq -c '[.[].id]')" '["one","two","3","4","5"]'
  # the cursor of the third, used by whatever reads
  local cursor i
  cursor=$(api GET "/v1/topics/$t/events?from=earliest&limit=3" | jq -r .next)
  equal "$(api GET "/v1/topics/$t/events?after=$cursor" | jq -c '[.events[].event.id]')" '["4","5"]'
  (timeout 10 curl -sSN -H "Authorization: Bearer $TOKEN" -H 'Accept: text/event-stream' -H "Last-Event-ID: $cursor" "http://localhost:3000/v1/topics/$t/events" || true) >/tmp/sse &
  eventually 10 eval '[[ $(grep -c ^data: /tmp/sse) == 2 ]]'
  equal "$(sed -n 's/^data: *//p' /tmp/sse | jq -r .id | tr '\n' ' ')" "4 5 "
  equal "$(python3 "$here/events-websocket.py" ws://localhost:3000 "$TOKEN" read "/v1/topics/$t/events?after=$cursor" 2 | tr '\n' ' ')" "4 5 "
  python3 "$here/events-websocket.py" ws://localhost:3000 "$TOKEN" publish "/v1/topics/$t/events?from=latest" 3 >/dev/null
  equal "$(read_ids "$t")" '["one","two","3","4","5","ws-1","ws-2","ws-3"]'
  # on its own port, and waiting for what comes
  curl -sS --max-time 30 -H "Authorization: Bearer $TOKEN" "http://localhost:4000/v1/topics/$t/events?from=latest&wait=20" >/tmp/wait &
  local pid=$!
  for ((i = 0; i < 200; i++)); do
    publish "$t" "late-$i" >/dev/null
    kill -0 $pid 2>/dev/null || break
  done
  wait $pid
  matches "$(jq -r '.events[0].event.id' /tmp/wait)" '^late-'
}

test_it_permits_by_role_and_says_why_not() {
  bus_up
  local t e
  t=$(topic)
  e=$(event one)
  equal "$(http_status POST "/v1/topics/$t/events" -H 'Content-Type: application/cloudevents+json' -d "$e")" 401
  local publisher subscriber viewer
  publisher=$(mamctl token --subject p --role publisher --ttl 1h)
  subscriber=$(mamctl token --subject s --role subscriber --ttl 1h)
  viewer=$(mamctl token --subject v --role viewer --ttl 1h)
  user_make stranger
  may() { # TOKEN METHOD PATH [BODY]
    as_user stranger curl -sS -o /tmp/answer-$$ -w '%{http_code}' --max-time 30 -X "$2" -H "Authorization: Bearer $1" -H 'Content-Type: application/cloudevents+json' ${4:+-d "$4"} "http://localhost:$port$3"
  }
  install -m 666 /dev/null /tmp/answer-$$
  local port
  for port in 3000 4000; do
    equal "$(may "$publisher" POST "/v1/topics/$t/events" "$(event "$port")")" 201 "a publisher publishes ($port)"
    equal "$(may "$publisher" GET "/v1/topics/$t/events")" 403 "a publisher does not read"
    equal "$(may "$subscriber" GET "/v1/topics/$t/events")" 200 "a subscriber reads"
    equal "$(may "$subscriber" POST "/v1/topics/$t/events" "$e")" 403 "a subscriber does not publish"
    equal "$(may "$subscriber" DELETE "/v1/topics/$t")" 403 "a subscriber does not delete"
    equal "$(may "$viewer" GET "/v1/topics/$t/events")" 403 "another role reads nothing"
    jq -e '.status == 403 and (.detail | length > 10)' /tmp/answer-$$ || fail "no problem+json: $(cat /tmp/answer-$$)"
  done
  equal "$(http_status GET "/v1/topics/none/events" -H "Authorization: Bearer $TOKEN")" 404
  equal "$(http_status POST "/v1/topics/$t/events" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/cloudevents+json' -d '{"id": "x"}')" 400
  equal "$(http_status GET "/v1/topics/$t/events?after=nonsense" -H "Authorization: Bearer $TOKEN")" 400
}

test_a_stream_of_events_resumes_after_its_replica_is_killed() {
  bus_up
  local t pid n ended id='' all=200 # few enough kills not to be a crash loop
  t=$(topic)
  publish_many "$t" 1 1
  : >/tmp/sse
  # As a browser does: again, from the last id, whenever it ends.
  (
    set +eE
    trap - ERR
    while true; do
      id=$(sed -n 's/^id: *//p' /tmp/sse | tail -n 1)
      curl -sSN --max-time 60 -H "Authorization: Bearer $TOKEN" -H 'Accept: text/event-stream' ${id:+-H "Last-Event-ID: $id"} "http://localhost:3000/v1/topics/$t/events?from=earliest" >/tmp/sse-part 2>/dev/null
      # what a cut left of an event is none
      awk 'BEGIN {RS = ""; ORS = "\n\n"} /(^|\n)data:/' /tmp/sse-part >>/tmp/sse
      sleep 0.05
    done
  ) &
  pid=$!
  n=1
  while ((n < all)); do
    publish_many "$t" $((n + 1)) $((n + 10)) || publish_many "$t" $((n + 1)) $((n + 10))
    n=$((n + 10))
    if ((n % 50 == 1)); then
      systemctl kill --signal=KILL "mam@event-bus:$((n / 50 % 2 + 1)).service"
      eventually 30 publish_many "$t" "$n" "$n" # again: suppressed
    fi
  done
  n=$(read_ids "$t" | jq length)
  # The last part is only complete when it ends.
  eventually 30 has_ready event-bus 2
  ended() {
    mamctl restart event-bus
    sed -n 's/^data: *//p' /tmp/sse | jq -e -s --argjson n "$n" 'length >= $n'
  }
  eventually 60 ended
  kill $pid
  wait $pid || true
  sed -n 's/^data: *//p' /tmp/sse | jq -r .id >/tmp/got
  equal "$(tr '\n' ' ' </tmp/got)" "$(seq 1 "$n" | tr '\n' ' ')" "what came by SSE"
}

test_a_group_keeps_order_per_key_and_hands_back() {
  bus_up
  local t s first second
  t=$(topic)
  s=group-$t
  api PUT "/v1/subscriptions/$s" -d "{\"topic\": \"$t\", \"from\": \"earliest\", \"ackDeadline\": \"30s\"}" >/dev/null
  publish "$t" a1 a >/dev/null
  first=$(pull "$s")
  equal "$(jq -c '[.events[] | [.event.id, .attempt]]' <<<"$first")" '[["a1",1]]'
  publish "$t" a2 a >/dev/null
  publish "$t" b1 b >/dev/null
  # a2 waits for a1, which somebody has; b1 does not
  second=$(pull "$s")
  equal "$(jq -c '[.events[].event.id]' <<<"$second")" '["b1"]'
  equal "$(settle "$s" ack <<<"$second" | jq -c '[.settled, .stale]')" '[1,[]]'
  equal "$(settle "$s" nack '{"delay": "2s"}' <<<"$first" | jq .settled)" 1
  publish "$t" b2 b >/dev/null
  second=$(pull "$s")
  equal "$(jq -c '[.events[].event.id]' <<<"$second")" '["b2"]' "while a1 waits for its time"
  settle "$s" ack <<<"$second" >/dev/null
  first=$(pull "$s" 1 10s)
  equal "$(jq -c '[.events[] | [.event.id, .attempt]]' <<<"$first")" '[["a1",2]]'
  equal "$(pull "$s" | jq '.events | length')" 0 "a2 before a1 is settled"
  # what is over cannot be settled: the ack id of the first attempt
  settle "$s" ack <<<"$first" >/dev/null
  equal "$(settle "$s" ack <<<"$first" | jq '.settled, (.stale | length)' | tr '\n' ' ')" "0 1 "
  first=$(pull "$s")
  equal "$(jq -c '[.events[] | [.event.id, .attempt]]' <<<"$first")" '[["a2",1]]'
  # rejected: a dead letter with its reason, and again when it is redriven
  settle "$s" reject '{"reason": "cannot be read"}' <<<"$first" >/dev/null
  equal "$(api GET "/v1/subscriptions/$s/dead" | jq -c '[.dead[] | [.event.id, .reason]]')" '[["a2","cannot be read"]]'
  api POST "/v1/subscriptions/$s/redrive" -d '{}' >/dev/null
  first=$(pull "$s")
  equal "$(jq -c '[.events[] | [.event.id, .attempt]]' <<<"$first")" '[["a2",1]]' "redriven"
  settle "$s" ack <<<"$first" >/dev/null
  equal "$(api GET "/v1/subscriptions/$s" | jq -c '[.lag, .outstanding, .dead]')" '[0,0,0]'
  # everything again
  api POST "/v1/subscriptions/$s/seek" -d '{"to": "earliest"}' >/dev/null
  equal "$(python3 "$here/events-websocket.py" ws://localhost:3000 "$TOKEN" consume "/v1/subscriptions/$s/events" 4 | cut -d' ' -f1 | sort | tr '\n' ' ')" "a1 a2 b1 b2 "
}

test_leases_of_a_consumer_that_is_gone_go_to_others() {
  bus_up
  local t s lease
  t=$(topic)
  s=rebalance-$t
  api PUT "/v1/subscriptions/$s" -d "{\"topic\": \"$t\", \"from\": \"earliest\", \"ackDeadline\": \"2s\"}" >/dev/null
  publish_many "$t" 1 20 same
  lease=$(pull "$s" 5)
  equal "$(jq -c '[.events[] | [.event.id, .attempt]]' <<<"$lease")" '[["1",1],["2",1],["3",1],["4",1],["5",1]]'
  # The replicas are other ones now, and the consumer is never heard of again.
  mamctl restart event-bus
  lease=$(pull "$s" 5 20s)
  equal "$(jq -c '[.events[] | [.event.id, .attempt]]' <<<"$lease")" '[["1",2],["2",2],["3",2],["4",2],["5",2]]'
  settle "$s" ack <<<"$lease" >/dev/null
  lease=$(pull "$s" 100 10s)
  equal "$(jq -c '[.events[].event.id | tonumber]' <<<"$lease")" "[$(seq -s, 6 20)]"
}

test_events_survive_scaling_under_load() {
  bus_up
  mamctl autoscale event-bus off --vertical off >/dev/null
  python3 "$here/events-ledger.py" --token "$TOKEN" --seconds 20 --faults '' --rate 400 >/tmp/ledger 2>/tmp/ledger.err &
  local pid=$! n
  for n in 4 1 3 1 2; do
    mamctl scale event-bus $n
    eventually 60 has_ready event-bus $n
  done
  wait $pid || fail "the ledger: $(cat /tmp/ledger /tmp/ledger.err)"
  echo "# $(cat /tmp/ledger)"
}

test_event_sourcing_refuses_what_comes_too_late() {
  bus_up
  local t
  t=$(topic)
  # more than one writer: of each version one wins
  write() { # ID VERSION
    curl -sS -o "/tmp/write-$1" -w '%{http_code}' --max-time 30 -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/cloudevents+json' -d "$(event "$1")" \
      "http://localhost:3000/v1/topics/$t/events?stream=account%2042&expectedVersion=$2"
  }
  equal "$(write one 0)" 201
  equal "$(write two 0)" 409
  equal "$(jq .actualVersion /tmp/write-two)" 1
  equal "$(write two 1)" 201
  equal "$(write one 0)" 200 "the same again is a duplicate"
  equal "$(api GET "/v1/topics/$t/streams/account%2042" | jq -c '[.events[] | [.version, .event.id]]')" '[[1,"one"],[2,"two"]]'
  equal "$(api GET "/v1/topics/$t/streams/account%2042?backwards=1&limit=1" | jq -c '[.events[].version]')" '[2]'
  api PUT "/v1/topics/$t/streams/account%2042/snapshot" -d '{"version": 2, "data": {"balance": 7}}' >/dev/null
  equal "$(api GET "/v1/topics/$t/streams/account%2042/snapshot" | jq -c '[.version, .data.balance]')" '[2,7]'
}

test_webhooks_are_signed_repeated_and_stopped() {
  bus_up
  local t secret receiver text
  t=$(topic)
  secret=whsec_$(head -c 32 /dev/urandom | base64 -w 0)
  # Nobody is called on this machine unless the administrator says so.
  jq -e .events.webhooks.allow /etc/mam/microservices.json >/dev/null || equal "$(http_status PUT "/v1/subscriptions/no-$t" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d "{\"topic\": \"$t\", \"push\": {\"url\": \"http://127.0.0.1:4900/\", \"secret\": \"$secret\"}}")" 422 "a webhook on this machine"
  webhooks_allowed
  : >/tmp/webhook
  python3 "$here/events-webhook.py" 4900 /tmp/webhook "$secret" 500 503 &
  receiver=$!
  # shellcheck disable=SC2064
  trap "kill $receiver" EXIT
  eventually 10 curl -sS -X OPTIONS http://127.0.0.1:4900/
  api PUT "/v1/subscriptions/hook-$t" -d "{\"topic\": \"$t\", \"from\": \"earliest\", \"backoff\": {\"min\": \"100ms\", \"max\": \"500ms\"}, \"push\": {\"url\": \"http://127.0.0.1:4900/in\", \"secret\": \"$secret\"}}" >/dev/null
  publish "$t" one key '{"n": 1}' >/dev/null
  publish "$t" two key '{"n": 2}' >/dev/null
  eventually 30 eval 'jq -es "[.[] | select(.status == 204)] | length >= 2" /tmp/webhook'
  equal "$(jq -c 'select(.event != null) | [.event.id, .status, .wrong]' /tmp/webhook | tr '\n' ' ')" \
    '["one",500,null] ["one",503,null] ["one",204,null] ["two",204,null] ' "what the webhook got"
  # the id names the event: the same for each attempt
  equal "$(jq -r 'select(.event.id == "one") | .id' /tmp/webhook | sort -u | wc -l)" 1
  api DELETE "/v1/subscriptions/hook-$t" >/dev/null
}

# Webhooks may be on this machine, without TLS.
webhooks_allowed() {
  local text
  jq -e .events.webhooks.allow /etc/mam/microservices.json >/dev/null && return 0
  text=$(jq '.events.webhooks = {allow: ["127.0.0.0/8"], allowHttp: true}' /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
  mamctl restart event-bus
  eventually 30 has_ready event-bus 2
}

# as_service SQL…: as the project manager's role, which anybody may not become
as_service() {
  setpriv --reuid mam-project-manager --regid mam-project-manager --init-groups -- psql -XAtq -v ON_ERROR_STOP=1 "host=/run/mam/postgresql dbname=mam user=project_manager" "$@"
}

outbox_event() {
  event "$1" | sed "s/'/''/g"
}

test_a_service_publishes_in_its_own_transaction() {
  bus_up
  local t pid
  t=$(topic)
  as_service -c "BEGIN; SELECT event_bus.publish('$t', '$(outbox_event kept)'); COMMIT" >/dev/null
  eventually 20 eval '[[ $(read_ids '"$t"') == "[\"kept\"]" ]]'
  as_service -c "BEGIN; SELECT event_bus.publish('$t', '$(outbox_event undone)'); ROLLBACK" >/dev/null
  as_service -c "SELECT event_bus.publish('$t', '$(outbox_event later)')" >/dev/null
  eventually 20 eval '[[ $(read_ids '"$t"') == "[\"kept\",\"later\"]" ]]'
  # A transaction that is left open, with an event in it, holds back no other service's events for long without a word.
  rm -f /tmp/idle
  mkfifo /tmp/idle
  setpriv --reuid mam-postgresql --regid mam-postgresql --init-groups -- psql -XAtq "host=/run/mam/postgresql dbname=mam user=postgres" </tmp/idle >/tmp/idle.out 2>&1 &
  pid=$!
  exec 9>/tmp/idle
  echo "SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT event_bus.publish('$t', '$(outbox_event held)'); SELECT 'open';" >&9
  eventually 10 grep -q open /tmp/idle.out
  as_service -c "SELECT event_bus.publish('$t', '$(outbox_event behind)')" >/dev/null
  # Either it comes, or the journal says who holds it.
  outbox_goes_on() {
    read_ids "$t" | grep -q '"behind"' || journalctl -b -o cat MESSAGE_ID=0cc8a541585d4e87adec1cb2334b7d57 | grep -q 'idle in transaction'
  }
  eventually 60 outbox_goes_on
  publish "$t" direct >/dev/null # and publishing by HTTP is not held at all
  read_ids "$t" | grep -q '"direct"'
  echo "COMMIT;" >&9
  exec 9>&-
  wait $pid
  rm /tmp/idle
  eventually 20 eval 'read_ids '"$t"' | jq -e "(. - [\"direct\"] | sort) == [\"behind\", \"held\", \"kept\", \"later\"]"'
}

test_the_official_sdk_understands_every_form_and_is_understood() {
  bus_up
  command -v node >/dev/null || skip "node is not installed"
  [[ -d $here/node_modules/cloudevents ]] || skip "the npm package cloudevents was not fetched (./dev test does where there is npm)"
  webhooks_allowed
  (cd "$here" && node cloudevents.js http://localhost:3000 "$TOKEN") >/tmp/sdk || true
  [[ $(tail -n 1 /tmp/sdk) == *' round trips, 0 different' ]] || fail "$(cat /tmp/sdk)"
  echo "# $(tail -n 1 /tmp/sdk)"
}

test_changes_of_projects_are_events_in_their_order() {
  bus_up
  local key=EV$SRANDOM
  key=${key::9}
  api POST /api/v1/projects -d "{\"key\": \"$key\", \"name\": \"Of events\"}" >/dev/null
  api POST "/api/v1/projects/$key/tasks" -d '{"title": "one"}' >/dev/null
  api PATCH "/api/v1/projects/$key/tasks/$key-1" -H 'If-Match: *' -d '{"status": "done"}' >/dev/null
  told() {
    [[ $(api GET "/v1/topics/projects/events?from=earliest&filter=source=/api/v1/projects/$key" |
      jq -c '[.events[].event | [.type, .subject, .actor, .data.changed]]') == \
      "[[\"mam.project.created\",\"$key\",\"tester\",null],[\"mam.task.created\",\"$key-1\",\"tester\",null],[\"mam.task.updated\",\"$key-1\",\"tester\",[\"status\"]]]" ]]
  }
  eventually 30 told
}
