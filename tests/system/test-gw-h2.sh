# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# HTTP/2 at the gateway: with prior knowledge and over TLS, from clients and to services.

# h2 METHOD PATH [CURL ARGUMENT]…: like api, over HTTP/2.
h2() {
  api "$@" --http2-prior-knowledge
}

test_requests_are_served_over_http2() {
  suite_up
  equal "$(h2 GET '/api/v1/projects?limit=1' -o /dev/null -w '%{http_code} %{http_version}')" "200 2" "a list"
  local id
  id=$(h2 POST /api/v1/projects -d '{"key":"HTWO","name":"over-http2"}' | jq -r .id)
  equal "$(h2 GET "/api/v1/projects/$id" | jq -r .name)" "over-http2" "what was made"
  equal "$(api GET "/api/v1/projects/$id" | jq -r .name)" "over-http2" "over HTTP/1"
  equal "$(curl -sS -I --max-time 30 --http2-prior-knowledge -H "Authorization: Bearer $TOKEN" -o /dev/null -w '%{http_code} %{size_download}' "http://localhost:3000/api/v1/projects/$id")" "200 0" "HEAD"
  equal "$(http_status GET /api/v1/projects --http2-prior-knowledge)" 401 "without a token"
  curl -sS --max-time 30 --http2-prior-knowledge http://localhost:3000/api/v1/projects | jq -e '.status == 401'
  equal "$(http_status GET /nowhere --http2-prior-knowledge -H "Authorization: Bearer $TOKEN")" 404 "no such route"
}

test_many_streams_at_a_time() {
  command -v h2load >/dev/null || skip "nghttp2-client is not there"
  suite_up
  local origin
  for origin in http://localhost:3000 https://localhost:3443; do
    h2load -n 3000 -c 6 -m 50 -H "Authorization: Bearer $TOKEN" "$origin/api/v1/projects?limit=1" >/tmp/h2load
    cat /tmp/h2load
    grep -q 'requests: 3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored' /tmp/h2load || fail "$origin: not all were served"
  done
}

test_services_may_speak_http2() {
  /usr/bin/python3 -c 'import h2' 2>/dev/null || skip "python3-h2 is not there"
  mkdir -p /etc/mam/services.d /opt/rpc
  install -m 755 "$here/h2c-library.py" /opt/rpc/serve
  chmod -R u=rwX,go=rX /opt/rpc
  cat >/etc/mam/services.d/rpc.json <<'JSON'
{ "rpc": { "name": "RPC", "port": 4610, "replicas": 1, "routes": ["/rpc"], "socket": true, "protocol": "h2c",
    "exec": ["/usr/bin/python3", "-u", "/opt/rpc/serve", "serve"],
    "resources": { "cpu": "1", "memory": "256Mi" }, "healthCheck": { "path": "/health", "interval": "2s", "timeout": "2s" },
    "scaling": { "horizontal": "off", "vertical": "off" } } }
JSON
  suite_up
  eventually 30 has_ready rpc 1
  eventually 20 /usr/bin/python3 "$here/h2c-library.py" talk "$TOKEN"
  equal "$(/usr/bin/python3 "$here/h2c-library.py" talk "$TOKEN")" "all is well" "the client"
}

test_a_flood_ends_and_others_do_not_notice() {
  suite_up
  load_start flood --workers 2
  python3 - <<'PYTHON'
import socket

REQUEST = bytes.fromhex("828684") + b"\x41\x09localhost"  # GET http / of localhost


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def flood(name, piece):
    s = socket.create_connection(("localhost", 3000), timeout=30)
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    try:
        for i in range(3000):
            s.sendall(piece(i))
    except OSError:
        pass
    data = b""
    try:
        while more := s.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    while data[3] != 7:  # up to GOAWAY
        data = data[9 + int.from_bytes(data[:3], "big"):]
    assert int.from_bytes(data[13:17], "big") == 11, (name, data[:17])
    print(name, "is told to calm down")


flood("PING", lambda i: frame(6, 0, 0, bytes(8)))
flood("rapid reset", lambda i: frame(1, 5, 1 + 2 * i, REQUEST) + frame(3, 0, 1 + 2 * i, bytes(4)))
flood("CONTINUATION", lambda i: frame(1, 1, 1, REQUEST) if i == 0 else frame(9, 0, 1, bytes.fromhex("0001780179")))
PYTHON
  load_stop flood
}
