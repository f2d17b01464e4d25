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

# A call of each method that asks polkit, harmless to repeat. Objects are made by root first.
access_call() {
  case $1 in
    Manager1.Init) echo "$MANAGER Init t 0" ;;
    Manager1.Start) echo "$MANAGER Start st project-manager 0" ;;
    Manager1.Stop) echo "$MANAGER Stop st redis 0" ;;
    Manager1.Restart) echo "$MANAGER Restart st api-gateway 0" ;;
    Manager1.Scale) echo "$MANAGER Scale sut project-manager 3 0" ;;
    Manager1.SetLimits) echo "$MANAGER SetLimits ssst project-manager 600m 300Mi 0" ;;
    Manager1.SetAutoscaling) echo "$MANAGER SetAutoscaling ssst project-manager recommend off 0" ;;
    Manager1.Deploy) echo "$MANAGER Deploy sa{sv}t $TARGET 1 version s access-test 0" ;;
    Manager1.Chaos) echo "$MANAGER Chaos ssutt latency $TARGET 1 1000000 0" ;;
    Manager1.IssueToken) echo "$MANAGER IssueToken sastt someone 1 viewer 60000000 0" ;;
    Manager1.CreateKey) echo "$MANAGER CreateKey ssasastt access someone 0 0 60000000 0" ;;
    Manager1.ListKeys) echo "$MANAGER ListKeys" ;;
    Manager1.RotateKey) echo "$MANAGER RotateKey stt $KEY 0 0" ;;
    Manager1.RevokeKey) echo "$MANAGER RevokeKey st $KEY 0" ;;
    Job1.Cancel) echo "org.manageragent.Manager1 $JOB org.manageragent.Job1 Cancel" ;;
    Rollout1.*) echo "org.manageragent.Manager1 $ROLLOUT org.manageragent.Rollout1 ${1#*.}" ;;
    *) fail "the API has a method $1 that names an action and that this test does not know" ;;
  esac
}

# What a refused call must not have changed.
access_state() {
  cat /var/lib/mam/manager/*.json | md5sum
  mamctl --json list | jq -c '[.services[] | [.id, .desired]]'
}

test_polkit_decides_each_action_before_anything_changes() {
  suite_up
  MANAGER="org.manageragent.Manager1 /org/manageragent/Manager1 org.manageragent.Manager1"
  local interface method action call before
  # yes-ACTION may do just that, no-ACTION may do nothing of it; others are asked to authenticate.
  cat >/etc/polkit-1/rules.d/10-access.rules <<'JS'
polkit.addRule(function(action, subject) {
    var name = action.id.replace("org.manageragent.manager1.", "");
    if (name == action.id)
        return polkit.Result.NOT_HANDLED;
    if (subject.user == "yes-" + name)
        return polkit.Result.YES;
    if (subject.user == "no-" + name)
        return polkit.Result.NO;
    return polkit.Result.NOT_HANDLED;
});
JS
  user_make plain
  KEY=$(mamctl key create access)
  KEY=${KEY:4:16}
  JOB=$(bus Chaos ssutt latency redis 1 600000000 0 | cut -d'"' -f2)
  ROLLOUT=$(bus Deploy 'sa{sv}t' project-manager 3 version s access strategy s canary pause_usec t 600000000 0 | cut -d'"' -f2)
  # shellcheck disable=SC2016
  eventually 30 sh -c '[ "$(busctl get-property org.manageragent.Manager1 '"$ROLLOUT"' org.manageragent.Rollout1 Phase)" = "s \"watching\"" ]'
  eventually 10 sh -c '! grep -q starting /var/lib/mam/manager/state.json'

  while read -r interface method action; do
    id -u "yes-$action" >/dev/null 2>&1 || { user_make "yes-$action"; user_make "no-$action"; }
  done < <("$here/actions.py")
  eventually 20 sh -c "! setpriv --reuid no-scale --regid $(id -g no-scale) --init-groups -- busctl call $MANAGER Scale sut project-manager 3 0 2>&1 | grep -q Interactive"

  TARGET=api-gateway # the other one has a rollout already
  before=$(access_state)
  local n=0
  while read -r interface method action; do
    call=$(access_call "$interface.$method")
    # shellcheck disable=SC2086
    fails as_user plain busctl --allow-interactive-authorization=no call $call
    matches "$output" "Interactive authorization is required for org.manageragent.manager1.$action"
    # shellcheck disable=SC2086
    fails as_user plain busctl --allow-interactive-authorization=yes call $call # there is no agent
    matches "$output" "org.manageragent.manager1.$action"
    # shellcheck disable=SC2086
    fails as_user "no-$action" busctl call $call
    matches "$output" 'Access denied' # busctl says no more of it
    # shellcheck disable=SC2086
    [[ $action == scale ]] || fails as_user yes-scale busctl --allow-interactive-authorization=no call $call
    ((++n))
  done < <("$here/actions.py")
  ((n >= 14)) || fail "only $n methods name an action"
  equal "$(access_state)" "$before" "a refused call changed something"

  TARGET=project-manager
  # What ends the others comes first; each call is made by who may do just this.
  for call in Pause Resume Abort Cancel SetAutoscaling SetLimits Scale Init Start IssueToken CreateKey ListKeys RotateKey RevokeKey Deploy Chaos Restart Stop; do
    read -r interface method action < <("$here/actions.py" | grep " $call ")
    if [[ $call == Deploy || $call == Chaos ]]; then
      eventually 60 sh -c "busctl call $MANAGER GetRollout s project-manager 2>&1 | grep -q 'no rollout\|No rollout\|NoSuchRollout'"
    fi
    # shellcheck disable=SC2046
    as_user "yes-$action" busctl --allow-interactive-authorization=no --timeout=60 call $(access_call "$interface.$method") >/dev/null
  done
  rm /etc/polkit-1/rules.d/10-access.rules
  mamctl start
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
