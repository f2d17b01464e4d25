# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What protects services behind the gateway: rate limits over all gateways, ejection, deadlines, balancing between real processes.

# Three replicas of a service of our own; what replica N does is in /run/guard/N (slow, bad), and each says its name.
guard_up() {
  mkdir -p /opt/guard /run/guard /etc/mam/services.d
  rm -f /run/guard/*
  cat >/opt/guard/guard.py <<'END'
import http.server, os, time
port = int(os.environ["PORT"])
class Guard(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        try:
            mode = open(f"/run/guard/{port - 8199}").read().strip()
        except OSError:
            mode = ""
        time.sleep(5 if self.path.endswith("/late") else 0.4 if mode == "slow" else 0.002)
        text = f"{port - 8199} {self.headers.get('Mam-Timeout-Ms', '-')}\n".encode()
        self.send_response(500 if mode == "bad" else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Guard).serve_forever()
END
  chmod -R u=rwX,go=rX /opt/guard
  jq -n '{guard: {exec: ["/usr/bin/python3", "/opt/guard/guard.py"], port: 8200, replicas: 3, maxReplicas: 3, healthCheck: {type: "tcp"},
    routes: [{prefix: "/guard"}, {prefix: "/guard/few", rateLimit: "few"}]}}' >/etc/mam/services.d/guard.json
  limits '{"rates": {"few": {"requests": 20, "per": "1h", "by": "user"}}}'
  mamctl start guard
  eventually 30 has_ready guard 3
  eventually 20 api GET /guard/up
}

# limits JSON: gateway.limits from now on.
limits() {
  local text
  text=$(jq --argjson limits "$1" '.gateway.limits = $limits' /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
}

# many N PARALLEL PATH: so many requests, each on a connection of its own; "STATUS REPLICA" a line.
many() {
  seq "$1" | xargs -P "$2" -I{} curl -sS --max-time 30 -o - -w '%{http_code}\n' -H "Authorization: Bearer $TOKEN" "http://localhost:3000$3" |
    awk '/^[0-9][0-9][0-9]$/ { print $1, replica; replica = ""; next } { replica = $1 }'
}

count_of() {
  awk -v status="$1" '$1 == status { n++ } END { print n + 0 }'
}

few_is_refused() {
  [[ $(http_status GET /guard/few -H "Authorization: Bearer $TOKEN") == 429 ]]
}

# Whether a user gets 20 of the two gateways, not of each: once they have found Redis, and have heard of each other. The token that
# was used is in /tmp/shared-token.
bucket_is_shared() {
  local good
  TOKEN=$(mamctl token --subject "sharer-$RANDOM$RANDOM" --role admin --ttl 1h)
  echo "$TOKEN" >/tmp/shared-token
  # Long enough for each gateway to hear of the other, and to take what is left.
  good=$(for _ in 1 2 3 4 5 6; do many 20 4 /guard/few; done | count_of 200)
  ((good >= 15 && good <= 26))
}

test_a_rate_limit_holds_for_all_gateways_together() {
  suite_up
  guard_up
  local head
  eventually 20 systemctl is-active --quiet mam@redis:1.service
  # Another user each time, as each has a bucket of its own.
  eventually 60 bucket_is_shared
  TOKEN=$(cat /tmp/shared-token)
  eventually 20 few_is_refused
  head=$(curl -sS -o /tmp/body -D - -H "Authorization: Bearer $TOKEN" http://localhost:3000/guard/few | tr -d '\r')
  matches "$head" $'\nRetry-After: [0-9]+'
  matches "$head" $'\nRateLimit-Policy: "few";q=20;w=3600'
  matches "$head" $'\nRateLimit: "few";r=0;t=[0-9]+'
  equal "$(jq -r '."violated-policies"[0]' /tmp/body)" few "the problem names the limit"
  # Others are not concerned, and another user has a bucket of its own.
  api GET /guard/up >/dev/null
  TOKEN=$(mamctl token --subject other --role admin --ttl 1h) api GET /guard/few >/dev/null
}

# Adds to $good what is admitted now; whether that is all that one gateway may give.
more_is_admitted() {
  good=$((good + $(many 40 4 /guard/few | count_of 200)))
  ((good >= 20))
}

test_limits_hold_without_redis() {
  suite_up
  guard_up
  mamctl stop redis
  local good=0
  TOKEN=$(mamctl token --subject alone --role admin --ttl 1h)
  # They notice after a while that they hear nothing, and keep the limit alone from then on.
  eventually 30 more_is_admitted
  good=$((good + $(many 80 4 /guard/few | count_of 200)))
  mamctl start redis
  ((good <= 41)) || fail "$good were admitted by two gateways that keep a limit of 20 each"
}

test_a_replica_that_answers_badly_is_put_out() {
  suite_up
  guard_up
  local bad
  many 40 4 /guard/x >/dev/null
  echo bad >/run/guard/2
  bad=$(many 300 4 /guard/x | count_of 500)
  rm -f /run/guard/2
  # Five in a row at each gateway, and those that were on their way.
  ((bad >= 1 && bad <= 30)) || fail "$bad of 300 requests met the bad replica"
}

test_a_slow_replica_gets_little() {
  suite_up
  guard_up
  local slow
  echo slow >/run/guard/3
  many 40 6 /guard/x >/dev/null
  slow=$(many 300 6 /guard/x | awk '$2 == 3 { n++ } END { print n + 0 }')
  rm -f /run/guard/3
  ((slow <= 60)) || fail "the slow one of three got $slow of 300 requests"
}

test_deadlines_are_kept_and_told() {
  suite_up
  guard_up
  local told begin=$SECONDS
  told=$(api GET /guard/x -H 'X-Request-Timeout-Ms: 20000' | cut -d' ' -f2)
  ((told > 0 && told <= 20000)) || fail "the service was told '$told'"
  equal "$(api GET /guard/x | cut -d' ' -f2)" - "without a deadline"
  equal "$(http_status GET /guard/late -H "Authorization: Bearer $TOKEN" -H 'X-Request-Timeout-Ms: 300')" 504
  ((SECONDS - begin < 20)) || fail "a deadline of 300 ms took $((SECONDS - begin)) s"
}
