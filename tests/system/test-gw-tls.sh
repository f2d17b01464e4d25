# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# TLS at the gateway, with the programs that people have: the certificate that setup makes, HTTP/2 by ALPN, sessions that any replica resumes,
# certificates and policy that change while connections come, a rolling restart.

ca=/etc/mam/tls/default.crt
url='https://localhost:3443/api/v1/projects?limit=1'

# https [CURL ARGUMENT]…: what an answer was: status, protocol, whether the certificate is good (0).
https() {
  curl -sS -o /dev/null -w '%{http_code} %{http_version} %{ssl_verify_result}' --max-time 30 --cacert "$ca" -H "Authorization: Bearer $TOKEN" "$@" "$url"
}

answers() {
  [[ $(https "$@") == "200 "* ]]
}

refused() {
  ! answers "$@"
}

# served_name [HOST]: the common name of the certificate that a client gets.
served_name() {
  openssl s_client -connect localhost:3443 -servername "${1:-localhost}" </dev/null 2>/dev/null | openssl x509 -noout -subject -nameopt multiline |
    sed -n 's/^ *commonName *= //p'
}

serves() {
  [[ $(served_name "$2") == "$1" ]]
}

# pair NAME COMMON-NAME DNS: a self-signed pair as /etc/mam/tls/NAME.crt and .key.
pair() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" -addext "subjectAltName=DNS:$3" \
    -keyout "/tmp/$1.key" -out "/tmp/$1.crt" 2>/dev/null
  install -m 0640 -g mam-api-gateway "/tmp/$1.key" "/tmp/$1.crt" /etc/mam/tls/
}

# policy JSON: of gateway.tls, live.
policy() {
  local text
  text=$(jq ".gateway.tls = $1" /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
}

test_the_certificate_that_setup_makes_works() {
  local version
  suite_up
  equal "$(stat -c '%U:%G:%a' /etc/mam/tls)" root:mam-api-gateway:2750
  equal "$(stat -c '%U:%G:%a' /etc/mam/tls/default.key)" root:mam-api-gateway:640
  for version in 1.2 1.3; do
    equal "$(https "--tlsv$version" --tls-max $version)" "200 2 0" "TLS $version"
  done
  equal "$(api GET '/api/v1/projects?limit=1' -o /dev/null -w '%{http_code}')" 200 "the plain port"
  fails openssl s_client -connect localhost:3443 -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null
}

test_plain_http_on_its_port_is_told_so() {
  matches "$(curl -sS --max-time 10 http://localhost:3443/)" HTTPS
}

test_http2_is_agreed_on() {
  suite_up
  equal "$(https --http2)" "200 2 0"
  equal "$(https --http1.1)" "200 1.1 0"
  # One that offers neither, and one that offers nothing: refused, and HTTP/1.1.
  fails openssl s_client -connect localhost:3443 -alpn gopher </dev/null
  equal "$(https --no-alpn)" "200 1.1 0"
}

test_any_replica_resumes_a_session() {
  local version _
  for version in tls1_2 tls1_3; do
    # With 1.3 the ticket comes behind the handshake: an answer is waited for.
    printf 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
      openssl s_client -connect localhost:3443 -$version -ign_eof -sess_out /tmp/session >/dev/null 2>&1
    for _ in {1..12}; do
      matches "$(openssl s_client -connect localhost:3443 -$version -sess_in /tmp/session </dev/null 2>/dev/null)" "Reused, TLS"
    done
  done
}

test_names_choose_among_certificates() {
  pair other other-name other.test
  eventually 30 serves other-name other.test
  equal "$(served_name other.test)" other-name
  equal "$(served_name localhost)" "$(hostname)"
}

# client NAME: asks again and again until told to end; every failure is a line.
client() {
  until [[ -e /tmp/client-end ]]; do
    https -k >>"/tmp/client-$1" 2>>"/tmp/client-$1.failed" || echo "curl: $?" >>"/tmp/client-$1.failed"
    echo >>"/tmp/client-$1"
  done
}

clients_start() {
  rm -f /tmp/client-*
  client one &
  client two &
  eventually 20 test -s /tmp/client-one
}

clients_end() {
  touch /tmp/client-end
  wait
  equal "$(cat /tmp/client-*.failed)" "" "failures"
  equal "$(cut -d ' ' -f 1 /tmp/client-one /tmp/client-two | sort -u)" 200
  echo "# $(cat /tmp/client-one /tmp/client-two | wc -l) requests"
}

test_a_certificate_is_replaced_under_load() {
  local pids
  suite_up
  pids=$(unit_pid mam@api-gateway:1.service)
  cp /etc/mam/tls/default.* /tmp/
  clients_start
  pair default renewed localhost
  eventually 30 serves renewed localhost
  clients_end
  equal "$(https)" "200 2 0" "with the new one as CA"
  equal "$(unit_pid mam@api-gateway:1.service)" "$pids" "the gateway was restarted"
}

test_what_is_broken_replaces_nothing() {
  echo nonsense >/etc/mam/tls/default.crt
  eventually 30 sh -c "journalctl -b -q MESSAGE_ID=5f0d6d1b1f6e4e0f9a3b8c72d4e6a1c3 | grep -q 'default: its .crt is not a certificate'"
  serves renewed localhost
  install -m 0640 -g mam-api-gateway /tmp/default.* /etc/mam/tls/
}

test_clients_can_be_asked_for_certificates() {
  suite_up
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=robot" -keyout /tmp/robot.key -out /tmp/robot.crt 2>/dev/null
  install -m 0640 -g mam-api-gateway /tmp/robot.crt /etc/mam/tls/clients.pem
  policy '{"clientCertificates": "require"}'
  eventually 30 refused -k
  eventually 30 answers -k --cert /tmp/robot.crt --key /tmp/robot.key
  # With one that nobody vouches for.
  fails https -k --cert /tmp/other.crt --key /tmp/other.key
  policy '{}'
  eventually 30 answers -k
}

test_a_rolling_restart_fails_no_request() {
  suite_up
  clients_start
  mamctl restart api-gateway
  clients_end
}

# switch true|false: TLS, as the manual says.
switch() {
  local text
  text=$(jq ".security.tls = $1" /etc/mam/microservices.json)
  echo "$text" >/etc/mam/microservices.json
  mamctl init >/dev/null
  mamctl stop api-gateway >/dev/null
  mamctl start >/dev/null
}

test_it_can_be_switched_off_and_on() {
  suite_up
  switch false
  eventually 30 api GET '/api/v1/projects?limit=1'
  equal "$(exit_status curl -sk --max-time 10 https://localhost:3443/health)" 7 "not refused"
  fails systemctl cat mam-api-gateway.tls.socket
  switch true
  eventually 30 answers
  eventually 30 api GET '/api/v1/projects?limit=1'
}
