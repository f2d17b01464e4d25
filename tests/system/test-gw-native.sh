# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The native hop between the gateways and the replicas of mam's own services: one stream per gateway and replica.

# hop_connections SOCKET: connections to it that stand, as the kernel says.
hop_connections() {
  awk -v path="/run/mam/replica/$1.sock" '$8 == path && $6 == "03"' /proc/net/unix | wc -l
}

# Beside one per gateway there may be a probe of the manager's.
hop_is_narrow() {
  local i n
  for i in 1 2 3; do
    n=$(hop_connections "project-manager:$i")
    ((n >= 1 && n <= 3)) || return 1
  done
}

test_many_requests_share_one_connection_per_replica() {
  local widest=0 n i
  suite_up
  eventually 20 has_ready project-manager 3
  mamctl restart project-manager # connections that were made before are gone
  load_start hop --workers 24 --write-every 4
  eventually 20 hop_is_narrow
  for ((i = 0; i < 40; i++)); do
    n=$(hop_connections "project-manager:$((i % 3 + 1))")
    ((n <= widest)) || widest=$n
  done
  load_stop hop
  ((widest <= 3)) || fail "a replica has $widest connections"
}

test_identity_and_bodies_pass_the_hop() {
  local id body
  suite_up
  id=$(api POST /api/v1/projects -d '{"key":"HOP","name":"Über die native Strecke"}' | jq -r .id)
  equal "$(api GET "/api/v1/projects/$id" | jq -r .name)" "Über die native Strecke"
  equal "$(http_status GET "/api/v1/projects/$id")" 401 "without a token"
  equal "$(http_status GET "/api/v1/projects/$id" -H 'Mam-Subject: root' -H 'Mam-Roles: admin')" 401 "with a claim of one's own"
  equal "$(http_status HEAD "/api/v1/projects/$id" -I -H "Authorization: Bearer $TOKEN")" 200 "of HEAD"
  body=$(head -c 3000000 /dev/zero | tr '\0' 'x')
  printf '{"key":"HOPLARGE","name":"%s"}' "$body" >/tmp/hop-large
  equal "$(http_status POST /api/v1/projects -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' --data-binary @/tmp/hop-large)" 413 "of a body that is too large"
  rm /tmp/hop-large
}

# Draining replicas hand back what they have not begun; nothing fails, also what must not be sent twice.
test_rolling_restart_behind_the_hop_fails_no_request() {
  suite_up
  eventually 20 has_ready project-manager 3
  load_start hop --workers 8 --write-every 2
  mamctl restart project-manager
  load_stop hop
}

test_killed_replica_is_replaced_behind_the_hop() {
  local pid
  suite_up
  eventually 20 has_ready project-manager 3
  load_start hop --workers 8 # what can be asked again is: nobody sees it
  pid=$(unit_pid mam@project-manager:2.service)
  kill -9 "$pid"
  eventually 20 new_pid mam@project-manager:2.service "$pid"
  eventually 20 has_ready project-manager 3
  load_stop hop
}

# Programs that answer in HTTP/1 are spoken to so, whatever the configuration says.
test_program_that_does_not_know_the_hop() {
  suite_up
  mkdir -p /etc/mam/services.d /opt/hop/www/hop
  echo "from python" >/opt/hop/www/hop/hello
  chmod -R u=rwX,go=rX /opt/hop
  cat >/etc/mam/services.d/hop.json <<'JSON'
{
  "hop": { "name": "http.server", "port": 4310, "replicas": 1, "routes": ["/hop"], "protocol": "native",
    "exec": ["/bin/sh", "-c", "exec python3 -m http.server --bind 127.0.0.1 --directory /opt/hop/www $PORT"],
    "resources": { "cpu": "200m", "memory": "64Mi" }, "healthCheck": { "path": "/", "interval": 1, "timeout": 2 },
    "scaling": { "horizontal": "off", "vertical": "off" } }
}
JSON
  mamctl init >/dev/null
  mamctl start hop
  mamctl restart api-gateway
  eventually 20 has_ready hop 1
  equal "$(api GET /hop/hello)" "from python"
  equal "$(api GET /hop/hello)" "from python"
  mamctl stop hop
  rm /etc/mam/services.d/hop.json
  mamctl init >/dev/null
}
