# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Programs that know nothing of mam, as services: nginx, redis, Python, and one that takes sockets from systemd. The recipes are
# those of docs/FOREIGN-SERVICES.md.

FOREIGN=/etc/mam/services.d/foreign.json

foreign_files() {
  mkdir -p /etc/mam/services.d /opt/foreign/www/web /opt/foreign/www/files
  chmod -R u=rwX,go=rX /opt/foreign
  echo "from nginx" >/opt/foreign/www/web/hello
  echo "from python" >/opt/foreign/www/files/hello
  cat >/opt/foreign/nginx.conf.in <<'CONF'
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 127.0.0.1:@PORT@;
    root /opt/foreign/www;
    add_header Replica @REPLICA@;
    location = /health { return 200 "ok\n"; }
  }
}
CONF
  cat >/opt/foreign/activated.py <<'PY'
import asyncio, os, socket, threading

def burn():
    while True:
        pass

async def answer(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    if b"/burn" in head.split(b"\r\n")[0]:
        threading.Thread(target=burn, daemon=True).start()
    body = f"from replica {os.environ['MAM_REPLICA']}\n".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()

async def main():
    sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
    servers = [await asyncio.start_server(answer, sock=s) if s.family != socket.AF_UNIX
               else await asyncio.start_unix_server(answer, sock=s) for s in sockets]
    await asyncio.gather(*(server.serve_forever() for server in servers))

asyncio.run(main())
PY
  cat >$FOREIGN <<'JSON'
{
  "web": { "name": "nginx", "port": 4100, "replicas": 1, "maxReplicas": 4, "routes": ["/web"],
    "exec": ["/bin/sh", "-c", "sed \"s/@PORT@/$PORT/; s/@REPLICA@/$MAM_REPLICA/\" /opt/foreign/nginx.conf.in >/tmp/nginx.conf && exec nginx -e stderr -c /tmp/nginx.conf"],
    "environment": { "PATH": "/usr/sbin:/usr/bin:/bin" },
    "resources": { "cpu": "200m", "memory": "64Mi" }, "healthCheck": { "path": "/health", "interval": 1, "timeout": 1 },
    "scaling": { "horizontal": "off", "vertical": "off" } },
  "kv": { "name": "Redis", "port": 4200, "replicas": 1, "maxReplicas": 4,
    "exec": ["/bin/sh", "-c", "exec redis-server --bind 127.0.0.1 --port $PORT --dir /tmp --save \"\""],
    "resources": { "cpu": "200m", "memory": "48Mi" }, "healthCheck": { "type": "tcp", "interval": 1, "timeout": 1 },
    "scaling": { "horizontal": "off", "vertical": "off" } },
  "files": { "name": "http.server", "port": 4300, "replicas": 1, "maxReplicas": 4, "routes": ["/files"],
    "exec": ["/bin/sh", "-c", "exec python3 -m http.server --bind 127.0.0.1 --directory /opt/foreign/www $PORT"],
    "resources": { "cpu": "200m", "memory": "64Mi" }, "healthCheck": { "path": "/", "interval": 1, "timeout": 2 },
    "scaling": { "horizontal": "off", "vertical": "off" } },
  "activated": { "name": "Takes sockets", "port": 4400, "replicas": 1, "maxReplicas": 4, "routes": ["/activated"], "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/foreign/activated.py"],
    "resources": { "cpu": "200m", "memory": "64Mi" }, "healthCheck": { "path": "/health", "interval": 1, "timeout": 2 },
    "scaling": { "horizontal": "off", "vertical": "off" } }
}
JSON
  mamctl init >/dev/null
  mamctl restart api-gateway # it reads its routes when it starts; a rolling restart
}

foreign_up() {
  suite_up
  [[ -e $FOREIGN ]] || foreign_files
  mamctl start "$1"
}

# cgroup_file UNIT CONTROLLER V1-FILE V2-FILE: what the kernel says.
cgroup_file() {
  local group
  group=$(systemctl show -P ControlGroup "$1")
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    cat "/sys/fs/cgroup$group/$4"
  else
    cat "/sys/fs/cgroup/$2$group/$3"
  fi
}

memory_max() {
  cgroup_file "mam@$1.service" memory memory.limit_in_bytes memory.max
}

cpu_usec() {
  local tree=/sys/fs/cgroup
  [[ -d $tree/unified ]] && tree=$tree/unified
  sed -n 's/^usage_usec //p' "$tree$(systemctl show -P ControlGroup "mam@$1.service")/cpu.stat"
}

# Everything that has to work for any program: SERVICE MEMORY-LIMIT-IN-BYTES.
foreign_life() {
  local service=$1 bytes=$2 pid
  has_ready "$service" 1
  mamctl scale "$service" 3
  has_ready "$service" 3
  equal "$(memory_max "$service:3")" "$bytes" "memory limit in the kernel"
  mamctl limits "$service" --memory 96Mi
  equal "$(memory_max "$service:1")" $((96 * 1024 * 1024)) "memory limit in the kernel"
  mamctl limits "$service" --memory default
  eventually 5 eval "[[ \$(memory_max $service:1) == $bytes ]]"

  pid=$(unit_pid "mam@$service:2.service")
  kill -9 "$pid"
  eventually 10 new_pid "mam@$service:2.service" "$pid"
  eventually 10 has_ready "$service" 3
  mamctl scale "$service" 1
  has_ready "$service" 1
  equal "$(systemctl list-units --plain --no-legend --state=active "mam@$service:*.service" | wc -l)" 1
}

foreign_gone() {
  local service=$1 name=$2
  mamctl stop "$service"
  equal "$(systemctl list-units --plain --no-legend --state=active,activating,failed "mam@$service:*" "mam-$service.socket" "mam-$service.target")" "" "units that are left"
  ! pgrep -a -f "$name" || fail "processes are left"
}

# spread PATH: how many replicas answer requests that are under way at the same time; each names itself in the field Replica.
spread() {
  seq 200 | xargs -P 20 -I '{}' curl -sS -D - -o /dev/null --fail --max-time 10 -H "Authorization: Bearer $TOKEN" "http://localhost:3000$1" |
    tr -d '\r' | sed -n 's/^Replica: //p' | sort -u | wc -l
}

spreads_to() {
  [[ $(spread "$1") == "$2" ]]
}

# rolled SERVICE PATH VERSION: a new revision, and not one request that fails meanwhile.
rolled() {
  local client unit
  rm -f /tmp/rolled.stop /tmp/rolled
  (until [[ -e /tmp/rolled.stop ]]; do curl -sS -o /dev/null -w '%{http_code}\n' --max-time 20 -H "Authorization: Bearer $TOKEN" "http://localhost:3000$2" >>/tmp/rolled 2>&1 || :; done) &
  client=$!
  mamctl deploy "$1" --version "$3" --min-healthy 500ms
  touch /tmp/rolled.stop
  wait "$client"
  equal "$(sort -u /tmp/rolled)" 200 "answers during the rollout"
  for unit in $(systemctl list-units --plain --no-legend --state=active "mam@$1:*.service" | cut -d ' ' -f 1); do
    systemctl show -P Environment "$unit" | grep -qw "MAM_VERSION=$3" || fail "$unit does not run version $3"
  done
}

test_nginx_lives_as_a_service() {
  foreign_up web
  foreign_life web $((64 * 1024 * 1024))
  equal "$(api GET /web/hello)" "from nginx"
  mamctl scale web 3
  # Who has just come begins with a tenth of its share.
  eventually 30 spreads_to /web/hello 3
  equal "$(http_status GET /web/hello)" 401 "without a token"
  mamctl scale web 2
  rolled web /web/hello 2
  has_ready web 2
  foreign_gone web "nginx: master process nginx -e stderr"
}

test_redis_lives_as_a_service_and_its_memory_limit_bites() {
  foreign_up kv
  foreign_life kv $((48 * 1024 * 1024))
  equal "$(redis-cli -p 4200 set greeting hello)" OK
  equal "$(redis-cli -p 4200 get greeting)" hello
  local pid
  pid=$(unit_pid mam@kv:1.service)
  redis-cli -p 4200 eval 'for i = 1, 100 do redis.call("SET", "k" .. i, string.rep("x", 1048576)) end' 0 || :
  eventually 20 new_pid mam@kv:1.service "$pid"
  eventually 10 sh -c 'mamctl --json status kv | jq -e ".services[0].replicas[0] | .last_exit == \"oom-kill\" and .oom_kills >= 1"'
  eventually 10 has_ready kv 1
  foreign_gone kv 'redis-server 127.0.0.1:42'
}

test_a_python_server_lives_as_a_service() {
  foreign_up files
  foreign_life files $((64 * 1024 * 1024))
  equal "$(api GET /files/hello)" "from python"
  foreign_gone files 'python3 -m http.server'
}

test_a_program_that_takes_sockets_lives_as_a_service_and_its_cpu_limit_bites() {
  foreign_up activated
  foreign_life activated $((64 * 1024 * 1024))
  equal "$(curl -sS --max-time 10 http://127.0.0.1:4400/)" "from replica 1"
  matches "$(api GET /activated/x)" "from replica 1"
  rolled activated /activated/x 2
  local before began percent
  api GET /activated/burn >/dev/null
  before=$(cpu_usec activated:1)
  began=$(date +%s%N)
  sleep 2 # the time over which the quota is measured
  percent=$((($(cpu_usec activated:1) - before) * 100000 / ($(date +%s%N) - began)))
  ((percent >= 10 && percent <= 27)) || fail "a replica with 200m used $percent % of a core"
  foreign_gone activated /opt/foreign/activated.py
}
