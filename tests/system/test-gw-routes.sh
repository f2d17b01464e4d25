# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Routes: what they match, what they change, and that a new configuration takes the place of the old one without a pause.

# A service of our own that says what reaches it.
echo_up() {
  mkdir -p /opt/echo /etc/mam/services.d
  cat >/opt/echo/echo.py <<'END'
import http.server, json, os
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        text = json.dumps({"method": self.command, "target": self.path, "size": len(body), "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Inner", "secret")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer
    def log_message(self, *a):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Echo).serve_forever()
END
  chmod -R u=rwX,go=rX /opt/echo
  routes "$1"
  mamctl start echo
  eventually 20 answers /echo/up 200
}

# routes JSON: the routes of echo from now on.
routes() {
  jq -n --argjson routes "$1" '{echo: {exec: ["/usr/bin/python3", "/opt/echo/echo.py"], port: 8100, replicas: 1, maxReplicas: 2,
    healthCheck: {type: "tcp"}, routes: $routes}}' >/etc/mam/services.d/echo.json
  mamctl init
}

# answers PATH STATUS: with the token.
answers() {
  [[ $(http_status GET "$1" -H "Authorization: Bearer $TOKEN") == "$2" ]]
}

head_of() {
  local path=$1
  shift
  curl -sS -o /tmp/body -D - --max-time 30 -H "Authorization: Bearer $TOKEN" "$@" "http://localhost:3000$path" | tr -d '\r'
}

ECHO='[
  {"prefix": "/echo"},
  {"path": "/echo/items/{id}", "methods": ["GET"], "rewrite": "/v2/{id}/item"},
  {"prefix": "/echo/old", "rewrite": "/new", "deprecated": "2026-01-01", "sunset": "2027-01-01", "successor": "/echo/items/1"},
  {"prefix": "/echo/v", "version": 1},
  {"prefix": "/echo/v", "version": 2, "rewrite": "/two"},
  {"prefix": "/echo/canary", "headers": {"X-Canary": "1"}, "rewrite": "/canary"},
  {"prefix": "/echo/open", "auth": "none"},
  {"prefix": "/echo/small", "bodyLimit": 10},
  {"prefix": "/echo/changed", "requestHeaders": {"set": {"X-From": "gateway"}, "remove": ["X-Gone"]},
    "responseHeaders": {"set": {"X-Frame-Options": "DENY"}, "remove": ["X-Inner"]}},
  {"prefix": "/echo/closed", "maintenance": {"retryAfter": "5min", "message": "Back <soon>.", "roles": ["admin"]}},
  {"path": "/echo/only", "methods": ["PUT"]}
]'

test_routes_match_and_change_requests() {
  suite_up
  echo_up "$ECHO"
  equal "$(api GET '/echo/items/a%20b?x=1' | jq -r .target)" '/v2/a%20b/item?x=1' "a template"
  equal "$(api PUT /echo/items/7 -d x | jq -r .target)" /echo/items/7 "another method goes to the prefix"
  equal "$(api GET /echo/canary/x -H 'X-Canary: 1' | jq -r .target)" /canary/x "with the header field"
  equal "$(api GET /echo/canary/x | jq -r .target)" /echo/canary/x "without it"
  equal "$(api GET /echo/v/x -H 'Accept: application/json; version=2' | jq -r .target)" /two/x "version 2"
  equal "$(api GET /echo/v/x -H 'Accept: application/vnd.echo.v2+json' | jq -r .target)" /two/x "version 2, as a vendor says it"
  equal "$(api GET /echo/v/x | jq -r .target)" /echo/v/x "no version is the lowest"
  matches "$(head_of /echo/old/x)" $'\nDeprecation: @1767225600\n'
  matches "$(head_of /echo/old/x)" $'\nSunset: Fri, 01 Jan 2027 00:00:00 GMT\n'
  matches "$(head_of /echo/old/x)" $'\nLink: </echo/items/1>; rel="successor-version"\n'
  equal "$(jq -r .target /tmp/body)" /new/x "a prefix in place of another"

  equal "$(api GET /echo/changed -H 'X-Gone: 1' -H 'X-From: client' | jq -r '.headers | "\(."x-from") \(has("x-gone"))"')" "gateway false" "fields for the replica"
  matches "$(head_of /echo/changed)" $'\nX-Frame-Options: DENY\n'
  [[ $(head_of /echo/changed) != *X-Inner* ]] || fail "a field that was to be removed"
  equal "$(api GET /echo/x | jq -r '.headers["mam-subject"]')" tester "who asks"
}

test_routes_refuse_what_they_must() {
  suite_up
  echo_up "$ECHO"
  equal "$(http_status GET /echo/x)" 401 "without a token"
  equal "$(http_status GET /echo/open/x)" 200 "without a token where none is needed"
  equal "$(curl -sS http://localhost:3000/echo/open/x -H 'Mam-Subject: root' | jq -r '.headers | has("mam-subject")')" false "nobody is nobody"
  equal "$(http_status POST /echo/small -H "Authorization: Bearer $TOKEN" -d 12345678901)" 413 "too large"
  equal "$(http_status POST /echo/small -H "Authorization: Bearer $TOKEN" -H 'Transfer-Encoding: chunked' -d 12345678901)" 413 "too large, in chunks"
  equal "$(http_status POST /echo/small -H "Authorization: Bearer $TOKEN" -d 1234567890)" 200 "just not too large"
  local path
  for path in /echo/a%2fb /echo//a /echo/%00 /echo/%zz /echo/..%2fa '/echo/a\b'; do
    equal "$(http_status GET "$path" --path-as-is -H "Authorization: Bearer $TOKEN")" 400 "$path"
  done

  # Closed for everybody but administrators: a page for browsers, JSON for others.
  local viewer
  viewer=$(mamctl token --subject ada --role viewer)
  equal "$(http_status GET /echo/closed -H "Authorization: Bearer $TOKEN")" 200 "an administrator passes"
  curl -sS -D /tmp/head -o /tmp/body -H "Authorization: Bearer $viewer" http://localhost:3000/echo/closed
  matches "$(tr -d '\r' </tmp/head)" $'HTTP/1.1 503 .*\nRetry-After: 300\n'
  equal "$(jq -r .detail /tmp/body)" 'Back <soon>.' "the message"
  curl -sS -D /tmp/head -o /tmp/body -H 'Accept: text/html,*/*' http://localhost:3000/echo/closed
  matches "$(cat /tmp/head)" 'text/html'
  matches "$(cat /tmp/body)" 'Back &lt;soon&gt;.'
}

test_a_new_configuration_needs_no_reload_and_no_pause() {
  suite_up
  echo_up "$ECHO"
  local pid i
  pid=$(unit_pid mam@api-gateway:1.service)
  load_start live --workers 2 --pause 0.01
  for i in 1 2 3 4 5; do
    routes "[\"/echo\", \"/echo$i\"]" >/dev/null
    eventually 10 answers "/echo$i" 200
  done
  equal "$(http_status GET /echo1 -H "Authorization: Bearer $TOKEN")" 404 "a route that is gone"

  # What is wrong changes nothing, and says what is wrong.
  cp /etc/mam/services.d/echo.json /tmp/echo.json
  jq '.echo.routes = ["/echo", {"path": "/echo/{id"}]' /tmp/echo.json >/etc/mam/services.d/echo.json
  matches "$(mamctl init)" 'echo.routes.1.path: must have \{name\} as a whole segment only'
  equal "$(http_status GET /echo5 -H "Authorization: Bearer $TOKEN")" 200 "what was good before"

  # Two services that want the same: the first one has it, and the report names both.
  jq '.echo.routes = ["/echo", "/api/v1/projects"]' /tmp/echo.json >/etc/mam/services.d/echo.json
  matches "$(mamctl init)" '"/api/v1/projects" is not used: it is in conflict with "/api/v1/projects" of project-manager'
  cp /tmp/echo.json /etc/mam/services.d/echo.json
  mamctl init >/dev/null
  load_stop live
  equal "$(unit_pid mam@api-gateway:1.service)" "$pid" "the gateway's process"

  # The service goes, and so does its route.
  mamctl stop echo
  rm /etc/mam/services.d/echo.json
  mamctl init >/dev/null
  eventually 10 answers /echo5 404
}

test_faults_are_injected_but_not_in_production() {
  suite_up
  echo_up '["/echo", {"prefix": "/echo/bad", "fault": {"abort": 503, "abortPercent": 25}}, {"prefix": "/echo/slow", "fault": {"delay": "300ms"}}]'
  local i n=0 code
  count() {
    n=0
    for i in $(seq 40); do
      code=$(http_status GET /echo/bad -H "Authorization: Bearer $TOKEN")
      [[ $code == 503 ]] && n=$((n + 1))
    done
    echo $n
  }
  equal "$(count)" 0 "faults in production"
  cp /etc/mam/microservices.json /tmp/microservices.json
  jq '.gateway.allowFaults = true' /tmp/microservices.json >/etc/mam/microservices.json
  mamctl init >/dev/null
  # Two gateways take turns by themselves: each has its share of what it got.
  eventually 20 answers /echo/bad 503
  n=$(count)
  ((n >= 8 && n <= 12)) || fail "$n of 40 were to be 10"
  code=$(curl -sS -o /dev/null -w '%{time_total}' -H "Authorization: Bearer $TOKEN" http://localhost:3000/echo/slow)
  awk "BEGIN { exit !($code >= 0.3) }" || fail "no delay: $code"
  cat /tmp/microservices.json >/etc/mam/microservices.json
  mamctl init >/dev/null
}

test_mamctl_gateway_shows_routes_and_replicas() {
  suite_up
  echo_up "$ECHO"
  local i before after
  requests() { mamctl --json gateway routes | jq '.routes[] | select(.route == "/echo") | .requests'; }
  before=$(requests)
  for i in $(seq 20); do api GET /echo/x >/dev/null; done
  after=$(requests)
  equal "$((after - before))" 20 "requests of a route, over all gateways"
  mamctl gateway routes
  matches "$(mamctl gateway routes)" '/echo/closed +echo .*maintenance'
  matches "$(mamctl gateway routes)" 'GET =/echo/items/\{id\}'
  mamctl gateway upstreams
  matches "$(mamctl gateway upstreams)" 'project-manager:1 +ready'
  mamctl --json gateway upstreams | jq -e '.upstreams[] | select(.service == "echo") | .protocol == "http1" and .endpoints[0].replica == "echo:1"'
  mamctl --json gateway top --interval=200ms | jq -e '.routes[] | select(.route == "/echo") | has("requests_per_second")'
  user_make guest
  fails as_user guest mamctl gateway routes
  matches "$output" 'root only'
  equal "$(exit_status mamctl gateway everything)" 2 "something else"
  # It is a path like others for everybody else.
  equal "$(http_status GET /status -H "Authorization: Bearer $TOKEN")" 404 "the status, over the public port"
}

test_the_routes_work_in_nginx() {
  command -v nginx >/dev/null || skip "no nginx"
  cp /etc/mam/microservices.json /tmp/microservices.json
  jq '.gateway.limits.rates.few = {requests: 3, per: "1min"}' /tmp/microservices.json >/etc/mam/microservices.json
  suite_up
  echo_up "$(jq '[.[] | if has("auth") then . else .auth = "none" end] + [
    {"prefix": "/echo/private"}, {"prefix": "/echo/strip", "rewrite": "/"}, {"prefix": "/echo/limited", "rateLimit": "few", "auth": "none"},
    {"path": "/echo/f/{id}/x$y/{rest...}", "rewrite": "/v$2/{id}/{rest...}", "auth": "none"},
    {"prefix": "/echo", "host": "*.example.com", "rewrite": "/example", "auth": "none"},
    {"prefix": "/echo/strip2", "rewrite": "/", "auth": "none"}]' <<<"$ECHO")"

  mamctl export nginx --output=/tmp/nginx.conf 2>/tmp/export.err
  matches "$(cat /tmp/export.err)" '2 of the routes answer 403'
  sed -i 's/\[::\]:3000/127.0.0.1:3900/; s/\[::\]:3443/127.0.0.1:3943/; s/ ipv6only=off//' /tmp/nginx.conf
  mkdir -p /tmp/nginx
  nginx -t -p /tmp/nginx -c /tmp/nginx.conf -g 'error_log stderr; pid /tmp/nginx/pid;'
  nginx -p /tmp/nginx -c /tmp/nginx.conf -g 'error_log stderr; pid /tmp/nginx/pid; user root;'
  local at=http://127.0.0.1:3900 i code
  get() { curl -sS --max-time 20 "$@"; }
  code_of() { get -o /dev/null -w '%{http_code}' "$@"; }
  eventually 10 test "$(code_of $at/echo/x)" = 200

  equal "$(get "$at/echo/items/a%20b?x=1" | jq -r .target)" '/v2/a%20b/item?x=1' "a template"
  equal "$(code_of -X PUT -d x $at/echo/items/7)" 404 "another method: nginx does not go on with the prefix"
  equal "$(get "$at/echo/f/7/x\$y/a/b" | jq -r .target)" '/v$2/7/a/b' "a rest, and a dollar"
  equal "$(get -H 'X-Canary: 1' $at/echo/canary/x | jq -r .target)" /canary/x "with the header field"
  equal "$(get -H 'Accept: application/json; version=2' $at/echo/v/x | jq -r .target)" /two/x "version 2"
  equal "$(get $at/echo/v/x | jq -r .target)" /echo/v/x "no version is the lowest"
  equal "$(get -H 'Host: a.example.com' $at/echo/y | jq -r .target)" /example/y "by host"
  equal "$(get $at/echo/strip2 | jq -r .target)" / "a prefix taken off, and nothing left"
  equal "$(get $at/echo/strip2/a/b | jq -r .target)" /a/b "a prefix taken off"
  get -D /tmp/head $at/echo/old/x >/tmp/body
  matches "$(tr -d '\r' </tmp/head)" $'\nDeprecation: @1767225600\n'
  equal "$(get -H 'X-Gone: 1' $at/echo/changed | jq -r '.headers | "\(."x-from") \(has("x-gone"))"')" "gateway false" "fields for the replica"
  equal "$(code_of -d 12345678901 $at/echo/small)" 413 "too large"
  equal "$(code_of $at/echo/private)" 403 "who asks is not known"
  equal "$(code_of $at/echo/closed)" 503 "closed"
  equal "$(code_of --path-as-is $at/echo/a%2fb)" 400 "an encoded slash"
  equal "$(code_of $at/nowhere)" 404 "no route"
  equal "$(code_of -H "Authorization: Bearer $TOKEN" "$at/api/v1/projects?limit=1")" 200 "a service of mam's own verifies tokens itself"
  equal "$(code_of "$at/api/v1/projects?limit=1")" 401 "and refuses who has none"
  if [[ $(jq -r .security.tls /etc/mam/microservices.json) == true ]]; then
    equal "$(get --insecure --http2 -w ' %{http_version}' https://127.0.0.1:3943/echo/x | jq -r '.target? // .')" $'/echo/x\n2' "over TLS"
  fi
  for i in 1 2 3 4 5; do code=$(code_of $at/echo/limited); done
  equal "$code" 429 "too many requests"
  kill "$(cat /tmp/nginx/pid)"
  mamctl stop echo
  rm /etc/mam/services.d/echo.json
  cat /tmp/microservices.json >/etc/mam/microservices.json
  mamctl init >/dev/null
}

# Strict in what is taken over, as what is malformed may mean anything to who reads it next.
test_trace_context_as_the_w3c_tests_it() {
  local said
  suite_up
  echo_up '["/echo"]'
  said=$(python3 "$here/trace-context.py" /echo/trace) || fail "$said"
  matches "$said" "cases, 0 wrong"
}
