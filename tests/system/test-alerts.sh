# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Alerts reach webhooks: what is wrong, and that it is over, also if the receiver or mam-alerts was away.

messages=/tmp/messages

receiver_start() {
  python3 "$here/receiver.py" 9099 $messages &
  receiver=$!
  # shellcheck disable=SC2064
  trap "kill $receiver 2>/dev/null || :" EXIT
  eventually 10 curl -s -o /dev/null http://127.0.0.1:9099/
}

receiver_stop() {
  kill "$receiver"
  wait "$receiver" || :
}

# told STATUS NAME SERVICE: a message said so of an alert.
told() {
  jq -es --arg status "$1" --arg name "$2" --arg service "$3" \
    'any(.[].alerts[]; .status == $status and .labels.alertname == $name and (.labels.service // "") == $service)' $messages
}

webhooks() {
  jq --argjson urls "$1" '.monitoring.alertWebhooks = $urls' /etc/mam/microservices.json >/tmp/microservices.json
  cat /tmp/microservices.json >/etc/mam/microservices.json
}

# Without a receiver it has ended, and the path unit waits for one.
idle() {
  [[ $(systemctl show -P ActiveState mam-alerts.service) == inactive && $(systemctl show -P Result mam-alerts.service) == success &&
    $(systemctl show -P ActiveState mam-alerts.path) == active ]]
}

# A service of its own that is wrong in a moment and right in a moment.
definition() {
  mkdir -p /etc/mam/services.d
  printf '{"oddjob": {"exec": ["/usr/bin/sleep", "infinity"], "port": 9555, "type": "service", "replicas": %s, "healthCheck": {"type": "tcp"}}}\n' "$1" >/etc/mam/services.d/oddjob.json
  mamctl init >/tmp/init 2>&1 || :
}

definition_remove() {
  rm /etc/mam/services.d/oddjob.json
  mamctl init >/dev/null
}

test_begins_when_there_is_a_receiver() {
  suite_up
  : >$messages
  eventually 20 idle
  receiver_start
  webhooks '["http://127.0.0.1:9099/hook/secret"]'
  eventually 10 systemctl is-active mam-alerts.service
  receiver_stop
}

test_crash_loop_is_told() {
  suite_up
  receiver_start
  mkdir -p /etc/systemd/system/mam@project-manager:3.service.d
  printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >/etc/systemd/system/mam@project-manager:3.service.d/90-broken.conf
  systemctl daemon-reload
  kill -9 "$(unit_pid mam@project-manager:3.service)"
  eventually 30 told firing ReplicaCrashLooping project-manager
  jq -es 'map(select(.groupLabels.service == "project-manager"))[-1] |
    .version == "4" and .status == "firing" and .receiver == "mam" and .truncatedAlerts == 0 and .path == "/hook/secret" and
    .content_type == "application/json" and .groupKey == "{}:{service=\"project-manager\"}" and
    (.alerts[] | select(.labels.alertname == "ReplicaCrashLooping") |
      .labels.replica == "project-manager:3" and .endsAt == "0001-01-01T00:00:00Z" and (.startsAt | test("^20[0-9-]+T[0-9:.]+Z$")) and
      (.annotations.summary | length) > 0)' $messages
  rm -r /etc/systemd/system/mam@project-manager:3.service.d
  systemctl daemon-reload
  mamctl restart project-manager
  eventually 60 has_ready project-manager 3
  receiver_stop
}

test_receiver_that_was_away_loses_nothing() {
  suite_up
  receiver_start
  definition '"many"'
  eventually 30 told firing ConfigurationInvalid oddjob
  receiver_stop
  : >$messages

  # It is over while nobody listens, and something else begins.
  definition 1
  eventually 30 sh -c 'journalctl -b -u mam-alerts.service | grep -q "Cannot tell http://127.0.0.1:9099 of alerts"'
  [[ ! -s $messages ]] || fail "told without a receiver"
  receiver_start
  eventually 70 told resolved ConfigurationInvalid oddjob
  eventually 10 sh -c 'journalctl -b -u mam-alerts.service | grep -q "takes messages of alerts again"'
  fails sh -c 'journalctl -b -u mam-alerts.service | grep -q secret'
  definition_remove
  receiver_stop
}

test_what_was_told_is_known_after_a_kill() {
  suite_up
  receiver_start
  : >$messages
  definition '"many"'
  eventually 30 told firing ConfigurationInvalid oddjob
  local pid before
  pid=$(unit_pid mam-alerts.service)
  eventually 10 sh -c 'grep -q "\"ended_usec\":0,\"told\":{\"" /var/lib/mam/alerts/alerts.json'
  kill -9 "$pid"
  eventually 10 new_pid mam-alerts.service "$pid"
  before=$(wc -l <$messages)
  definition 1
  eventually 40 told resolved ConfigurationInvalid oddjob
  # The first message after the kill is that it is over: what the receiver knew was not told again.
  equal "$(tail -n +$((before + 1)) $messages | head -n 1 | jq -r .status)" resolved
  definition_remove
  receiver_stop
}

test_ends_when_there_is_none() {
  webhooks '[]'
  eventually 20 idle
}
