# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Who may use the gateway: roles, API keys, issued tokens and sessions, services of this host.

GATEWAY=http://127.0.0.1:3000
PROJECTS=$GATEWAY/api/v1/projects

# status CURL-ARGUMENT…: the status alone.
status() {
  curl -sS -o /dev/null -w '%{http_code}' --max-time 10 "$@"
}

is_status() {
  [[ $(status "${@:2}") == "$1" ]]
}

# gateway_auth JQ: changes the section gateway.
gateway_section() {
  local file=/etc/mam/microservices.json text
  text=$(jq "$1" $file)
  echo "$text" >$file
  mamctl init >/dev/null
}

test_an_api_key_works_until_it_is_withdrawn() {
  suite_up
  local key id second
  key=$(mamctl key create ci --role=admin)
  matches "$key" '^mam_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$'
  id=${key:4:16}
  fails grep -r "${key:21}" /var/lib/mam /etc/mam
  eventually 20 is_status 200 -H "X-API-Key: $key" $PROJECTS
  equal "$(status -H "Authorization: Bearer $key" $PROJECTS)" 200 "as a bearer token"
  equal "$(status -H "X-API-Key: ${key%????}AAAA" $PROJECTS)" 401 "another secret"
  equal "$(status -H "X-API-Key: $key" -H "Authorization: Bearer $TOKEN" $PROJECTS)" 401 "two credentials"

  second=$(mamctl key rotate "$id" --grace=1h)
  eventually 20 is_status 200 -H "X-API-Key: $second" $PROJECTS
  equal "$(status -H "X-API-Key: $key" $PROJECTS)" 200 "the secret before, for an hour"
  key=$second
  second=$(mamctl key rotate "$id" --grace=0s)
  eventually 20 is_status 401 -H "X-API-Key: $key" $PROJECTS
  eventually 20 is_status 200 -H "X-API-Key: $second" $PROJECTS
  equal "$(mamctl --json key list | jq -r '.keys[] | select(.id == "'"$id"'") | .name + " " + .subject')" "ci key:$id" "the list"

  mamctl key revoke "$id"
  eventually 20 is_status 401 -H "X-API-Key: $second" $PROJECTS
  fails mamctl key revoke "$id"
  matches "$output" 'no key'
}

test_use_of_keys_is_counted_and_kept() {
  suite_up
  local key id n
  key=$(mamctl key create counted --role=admin)
  id=${key:4:16}
  eventually 20 is_status 200 -H "X-API-Key: $key" $PROJECTS
  for n in 1 2 3; do is_status 200 -H "X-API-Key: $key" $PROJECTS; done
  eventually 50 sh -c "mamctl --json key list | jq -e '.keys[] | select(.id == \"$id\") | .uses >= 4 and .used_usec > 0'"
  systemctl restart mam-manager.service
  eventually 20 sh -c "mamctl --json key list | jq -e '.keys[] | select(.id == \"$id\") | .name == \"counted\"'"
  equal "$(status -H "X-API-Key: $key" $PROJECTS)" 200 "after the manager was restarted"
}

test_tokens_are_issued_refreshed_and_ended() {
  suite_up
  local key answer access refresh
  key=$(mamctl key create robot --role=admin)
  eventually 20 is_status 200 -H "X-API-Key: $key" $PROJECTS
  # Redis may have to be found first.
  eventually 20 is_status 200 -d "grant_type=client_credentials&scope=offline_access&client_secret=$key" $GATEWAY/auth/token
  answer=$(curl -sS -d "grant_type=client_credentials&scope=offline_access" -u "${key:4:16}:$key" $GATEWAY/auth/token)
  access=$(jq -r .access_token <<<"$answer")
  refresh=$(jq -r .refresh_token <<<"$answer")
  equal "$(status -H "Authorization: Bearer $access" $PROJECTS)" 200 "an issued token"
  # Replicas believe it on their own port too: the key of the gateways is in jwks.json.
  equal "$(status -H "Authorization: Bearer $access" http://127.0.0.1:3001/api/v1/projects)" 200 "at the service itself"

  answer=$(curl -sS -d "grant_type=refresh_token&refresh_token=$refresh" $GATEWAY/auth/token)
  equal "$(status -H "Authorization: Bearer $(jq -r .access_token <<<"$answer")" $PROJECTS)" 200 "a refreshed token"
  equal "$(curl -sS -H "X-API-Key: $key" $GATEWAY/auth/sessions | jq '.sessions | length')" 2 "sessions"
  # A copy of the first one ends the family, at every replica of the gateway.
  equal "$(status -d "grant_type=refresh_token&refresh_token=$refresh" $GATEWAY/auth/token)" 400 "used twice"
  local n
  for n in 1 2 3 4 5 6; do
    eventually 20 is_status 401 -H "Authorization: Bearer $access" $PROJECTS
  done
  equal "$(status -X DELETE -H "X-API-Key: $key" $GATEWAY/auth/sessions)" 204 "all sessions ended"

  # A token of mamctl's can be ended too.
  access=$(mamctl token --subject gone --role admin)
  equal "$(status -H "Authorization: Bearer $access" $PROJECTS)" 200 "a token of mamctl"
  equal "$(status -d "token=$access" $GATEWAY/auth/revoke)" 200 "revoked"
  for n in 1 2 3 4 5 6; do
    eventually 20 is_status 401 -H "Authorization: Bearer $access" $PROJECTS
  done
  eventually 10 sh -c 'journalctl -q -u "mam@api-gateway:*" MAM_DECISION=reuse | grep -q "used twice"'
}

test_the_gateway_works_without_redis() {
  suite_up
  mamctl stop redis >/dev/null 2>&1 || true
  systemctl stop 'mam@redis:*'
  TOKEN=$(mamctl token --role=admin)
  mamctl restart api-gateway
  equal "$(status -H "Authorization: Bearer $TOKEN" $GATEWAY/api)" 200 "without redis"
  equal "$(status -d "token=$TOKEN" $GATEWAY/auth/revoke)" 503 "but nothing is revoked"
  equal "$(status -H "Authorization: Bearer $TOKEN" $GATEWAY/api)" 200 "nor was it"
  mamctl start
  eventually 30 is_status 200 -d "token=$TOKEN" $GATEWAY/auth/revoke
}

test_roles_decide_by_path_and_method_without_a_reload() {
  suite_up
  local viewer scoped n pids
  viewer=$(mamctl token --subject vera --role viewer)
  pids=$(unit_pid mam@api-gateway:1.service)
  gateway_section '.gateway.auth = {"roles": {"viewer": ["GET /api/v1/projects/..."]}, "audit": "all"}'
  for n in 1 2 3 4; do
    eventually 20 is_status 403 -X POST -H "Authorization: Bearer $viewer" -d '{}' -H 'Content-Type: application/json' $PROJECTS
    equal "$(status -H "Authorization: Bearer $viewer" $PROJECTS)" 200 "GET"
    equal "$(status -H "Authorization: Bearer $viewer" $GATEWAY/nothing)" 403 "what nobody permits"
  done
  eventually 10 sh -c 'journalctl -q -u "mam@api-gateway:*" MAM_DECISION=refused MAM_SUBJECT=vera -o json | jq -es "any(.[]; .MAM_METHOD == \"POST\" and .MAM_KIND == \"token\")"'
  eventually 10 sh -c 'journalctl -q -u "mam@api-gateway:*" MAM_DECISION=permitted MAM_SUBJECT=vera | grep -q permitted'
  gateway_section 'del(.gateway.auth)'
  eventually 20 is_status 404 -H "Authorization: Bearer $viewer" $GATEWAY/nothing
  equal "$(unit_pid mam@api-gateway:1.service)" "$pids" "the gateway was not restarted"
}

test_a_service_may_call_what_it_was_permitted() {
  suite_up
  local socket=/run/mam/gateway.sock
  as_caller() {
    setpriv --reuid mam-project-manager --regid mam-project-manager --clear-groups -- \
      curl -sS -o /dev/null -w '%{http_code}' --max-time 10 --unix-socket $socket "$@"
  }
  is_answer() {
    [[ $(as_caller "${@:2}") == "$1" ]]
  }
  equal "$(as_caller $PROJECTS)" 401 "nobody may call unless it is permitted"
  gateway_section '.gateway.callers = {"project-manager": ["GET project-manager/api/v1/projects"]}'
  eventually 20 is_answer 200 $PROJECTS
  equal "$(as_caller -X POST -d '{}' $PROJECTS)" 403 "another method"
  equal "$(as_caller $PROJECTS/X)" 403 "another path"
  equal "$(status --unix-socket $socket $PROJECTS)" 401 "root is not that service"
  equal "$(status --unix-socket $socket -H 'Mam-Subject: service:project-manager' $PROJECTS)" 401 "nor who says so"
  # For somebody: both must be permitted.
  equal "$(as_caller -H "Authorization: Bearer $TOKEN" $PROJECTS)" 200 "for somebody"
  equal "$(as_caller -H "Authorization: Bearer $TOKEN" $PROJECTS/X)" 403 "for somebody, elsewhere"
  gateway_section 'del(.gateway.callers)'
  eventually 20 is_answer 401 $PROJECTS
}

test_a_client_certificate_is_somebody() {
  suite_up
  local name fingerprint
  for name in robot printer stranger; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/O=Example/CN=$name" -keyout /tmp/$name.key -out /tmp/$name.crt 2>/dev/null
  done
  cat /tmp/robot.crt /tmp/printer.crt /tmp/stranger.crt >/etc/mam/clients.pem
  chmod 0644 /etc/mam/clients.pem
  fingerprint=$(openssl x509 -in /tmp/printer.crt -noout -fingerprint -sha256 | cut -d= -f2)
  gateway_section '.gateway.tls = {"clientCertificates": "request", "clientCa": "/etc/mam/clients.pem"} |
    .gateway.auth = {"certificates": [{"name": "robot", "subject": "CN=robot,O=Example", "roles": ["admin"]},
                                      {"name": "printer", "fingerprint": "'"$fingerprint"'", "roles": ["nothing"]}],
                     "roles": {"viewer": ["/api/..."]}}'
  local url=https://localhost:3443/api/v1/projects
  as_client() {
    status --cacert /etc/mam/tls/default.crt --cert "/tmp/$1.crt" --key "/tmp/$1.key" "${@:2}" $url
  }
  is_client() {
    [[ $(as_client "${@:2}") == "$1" ]]
  }
  eventually 20 is_client 200 robot
  equal "$(as_client robot --http1.1)" 200 "over HTTP/1.1"
  equal "$(as_client printer)" 403 "known, but without a permission"
  equal "$(as_client stranger)" 401 "a good certificate of nobody in particular"
  equal "$(status --cacert /etc/mam/tls/default.crt $url)" 401 "none"
  equal "$(as_client printer -H "Authorization: Bearer $TOKEN")" 200 "a token says more than a certificate"
  gateway_section 'del(.gateway.auth, .gateway.tls)'
}
