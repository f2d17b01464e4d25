# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Who may do what: on the bus, over HTTP, between services.

bus() {
  busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 "$@"
}

test_unprivileged_user_reads_and_does_not_act() {
  suite_up
  user_make alice
  local m
  for m in 'List' 'Status s project-manager' 'Health s project-manager' 'Metrics s project-manager' 'ListEndpoints s project-manager'; do
    # shellcheck disable=SC2086
    as_user alice busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 $m >/dev/null
  done
  for m in 'Init t 0' 'Start st project-manager 0' 'Stop st project-manager 0' 'Restart st project-manager 0' 'Scale sut project-manager 5 0' \
    'SetLimits ssst project-manager 1 1Gi 0' 'IssueToken sastt alice 1 admin 0 0'; do
    # shellcheck disable=SC2086
    fails as_user alice busctl call org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1 $m
    matches "$output" 'denied|Denied|not allowed|authentication required|Interactive'
  done
  has_ready project-manager 3
  equal "$(exit_status as_user alice mamctl --no-ask-password scale project-manager 4)" 5 "exit status when access is denied"
}

test_polkit_rule_grants_exactly_one_action() {
  suite_up
  user_make bob
  cat >/etc/polkit-1/rules.d/10-bob.rules <<'JS'
polkit.addRule(function(action, subject) {
    if (action.id == "org.manageragent.manager1.scale" && subject.user == "bob")
        return polkit.Result.YES;
});
JS
  eventually 20 as_user bob mamctl --no-ask-password scale project-manager 4
  has_ready project-manager 4
  fails as_user bob mamctl --no-ask-password stop project-manager
  fails as_user bob mamctl --no-ask-password limits project-manager --cpu 2
  rm /etc/polkit-1/rules.d/10-bob.rules
  eventually 20 sh -c "! setpriv --reuid bob --regid $(id -g bob) --init-groups -- mamctl --no-ask-password scale project-manager 3"
  mamctl scale project-manager 3
}

test_manager_is_unprivileged_and_may_touch_only_its_units() {
  suite_up
  local pid
  pid=$(unit_pid mam-manager.service)
  equal "$(ps -o user:20= -p "$pid" | tr -d ' ')" mam-manager
  equal "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")" 0000000000000000
  fails as_user mam-manager systemctl --no-ask-password stop dbus.service
  fails as_user mam-manager systemctl --no-ask-password start systemd-journald.service
}

test_gateway_wants_a_token() {
  suite_up
  equal "$(http_status GET /api/v1/projects)" 401
  equal "$(http_status GET /api/v1/projects -H 'Authorization: Bearer nonsense')" 401
  equal "$(http_status GET /api/v1/projects -H "Authorization: Bearer ${TOKEN%?????}AAAAA")" 401
  equal "$(http_status GET /api/v1/projects -H "Authorization: Bearer $TOKEN")" 200
  equal "$(http_status GET /health)" 200
  equal "$(http_status GET /nowhere -H "Authorization: Bearer $TOKEN")" 404
}

test_identity_headers_of_clients_are_not_believed() {
  suite_up
  local viewer
  viewer=$(mamctl token --subject eve --role viewer --ttl 5min)
  equal "$(http_status GET /api/v1/projects -H 'Mam-Subject: eve' -H 'Mam-Roles: admin')" 401
  equal "$(http_status POST /api/v1/projects -H "Authorization: Bearer $viewer" -H 'Mam-Roles: admin' -H 'Content-Type: application/json' -d '{"key":"EVE","name":"x"}')" 403
  equal "$(curl -sS -o /dev/null -w '%{http_code}' -H 'Mam-Subject: eve' -H 'Mam-Roles: admin' http://127.0.0.1:3001/api/v1/projects)" 401
  equal "$(curl -sS -o /dev/null -w '%{http_code}' -H 'Mam-Subject: eve' -H 'Mam-Roles: admin' --unix-socket /run/mam/replica/project-manager:1.sock http://localhost/api/v1/projects)" 401
}

test_databases_know_their_callers() {
  suite_up
  user_make mallory
  fails as_user mallory psql -h /run/mam/postgresql -U project_manager mam -c 'select 1'
  fails as_user mallory psql -h /run/mam/postgresql -U postgres mam -c 'select 1'
  as_user mam-project-manager psql -h /run/mam/postgresql -U project_manager mam -c 'select 1' >/dev/null
  fails as_user mam-project-manager psql -h /run/mam/postgresql -U postgres mam -c 'select 1'
  matches "$(as_user mallory redis-cli -s /run/mam/redis/1.sock get project-manager:x 2>&1)" NOAUTH
  fails as_user mallory ls /run/mam/replica/
}

test_no_secret_lies_in_a_file_or_environment() {
  suite_up
  local secret unit
  secret=$(systemd-creds decrypt --name=redis.password /etc/credstore.encrypted/mam.redis.project-manager - 2>/dev/null || systemd-creds decrypt --name= /etc/credstore.encrypted/mam.redis.project-manager -)
  [[ ${#secret} -ge 32 ]] || fail "the secret is only ${#secret} characters long"
  ! grep -rqF "$secret" /etc/mam /var/lib/mam /run/mam /run/systemd/generator /etc/systemd 2>/dev/null || fail "found in a file"
  for unit in mam@project-manager:1.service mam@redis:1.service mam@api-gateway:1.service; do
    ! tr '\0' '\n' <"/proc/$(unit_pid "$unit")/environ" | grep -qF "$secret" || fail "found in the environment of $unit"
  done
  ! journalctl -b --no-pager -o export | grep -aqF "$secret" || fail "found in the journal"
}
