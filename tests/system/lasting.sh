# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A service whose answers last (lasting-service.py) and what tests of it share.

LASTING=/etc/mam/services.d/lasting.json

lasting_files() {
  mkdir -p /etc/mam/services.d /opt/lasting
  install -m 755 "$here/lasting-service.py" /opt/lasting/serve
  chmod -R u=rwX,go=rX /opt/lasting
  cat >$LASTING <<'JSON'
{ "lasting": { "name": "Lasting", "port": 4500, "replicas": 2, "maxReplicas": 4, "routes": ["/lasting"], "socket": true,
    "exec": ["/usr/bin/python3", "-u", "/opt/lasting/serve"],
    "resources": { "cpu": "1", "memory": "128Mi" }, "healthCheck": { "path": "/health", "interval": "2s", "timeout": "2s" },
    "scaling": { "horizontal": "off", "vertical": "off" } } }
JSON
}

lasting_up() {
  if [[ ! -e $LASTING ]]; then
    lasting_files
  fi
  suite_up
  eventually 30 has_ready lasting 2
  eventually 30 lasting_answers
}

lasting_answers() {
  [[ $(http_status GET /lasting/short -H "Authorization: Bearer $TOKEN") == 200 ]]
}

# done_more KIND N: more than N of this kind went well.
done_more() {
  jq -e --arg k "$1" --argjson n "$2" '.[$k].done > $n' /tmp/lasting >/dev/null
}

said_goodbye() {
  jq -e --arg k "$1" --argjson n "$2" '.[$k].goodbyes >= $n' /tmp/lasting >/dev/null
}

all_move() {
  local kind n
  for kind in short download upload events websocket; do
    n=$(jq --arg k "$kind" '.[$k].done' /tmp/lasting)
    eventually 30 done_more "$kind" "$n"
  done
}
