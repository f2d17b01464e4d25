# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Wrong configuration: named with file, line and key; what runs goes on, and boot is unharmed.

test_wrong_value_names_file_line_and_key_and_harms_nothing() {
  suite_up
  local before
  before=$(unit_pid mam@project-manager:1.service)
  cp /etc/mam/services.json /tmp/services.json
  sed -i '0,/"cpu": "1000m"/s//"cpu": "1000q"/' /etc/mam/services.json
  local line
  line=$(grep -n '1000q' /etc/mam/services.json | cut -d: -f1)
  mamctl init >/tmp/init 2>&1 || :
  grep -q "/etc/mam/services.json:$line: project-manager.resources.cpu" /tmp/init || { cat /tmp/init; fail "not named"; }
  systemctl daemon-reload
  equal "$(systemctl show -P CPUQuotaPerSecUSec mam@project-manager:1.service)" 1s "last good quota"
  equal "$(unit_pid mam@project-manager:1.service)" "$before"
  has_ready project-manager 3
  cp /tmp/services.json /etc/mam/services.json
  mamctl init >/dev/null
}

test_broken_json_names_the_place_and_harms_nothing() {
  suite_up
  cp /etc/mam/services.json /tmp/services.json
  sed -i '3s/^/]/' /etc/mam/services.json
  mamctl init >/tmp/init 2>&1 || :
  grep -q '/etc/mam/services.json:3' /tmp/init || { cat /tmp/init; fail "not named"; }
  systemctl daemon-reload
  api GET '/api/v1/projects?limit=1' >/dev/null
  mamctl scale project-manager 4
  mamctl scale project-manager 3
  cp /tmp/services.json /etc/mam/services.json
  mamctl init >/dev/null
}

test_token_in_the_file_moves_to_a_credential() {
  suite_up
  cp /etc/mam/microservices.json /tmp/microservices.json
  python3 - <<'PY'
import re
p = "/etc/mam/microservices.json"
s = open(p).read()
s = re.sub(r'"token": *"[^"]*"', '"token": "plain-secret-4711"', s)
assert "plain-secret-4711" in s
open(p, "w").write(s)
PY
  mamctl init >/dev/null
  journalctl -b -u mam-setup.service -p warning --no-pager | grep -q 'registry.token'
  ! grep -q plain-secret-4711 /etc/mam/microservices.json
  systemd-creds decrypt --name= /etc/credstore.encrypted/mam.registry.token - | grep -q plain-secret-4711
}

test_new_limits_in_the_file_arrive() {
  suite_up
  python3 - <<'PY'
import json
p = "/etc/mam/services.json"
s = json.load(open(p))
s["project-manager"]["resources"]["memory"] = "900Mi"
json.dump(s, open(p, "w"), indent=2)
PY
  mamctl init >/dev/null
  equal "$(systemctl show -P MemoryMax mam@project-manager:1.service)" $((900 * 1024 * 1024))
}

test_new_limits_in_the_file_arrive_where_others_were_set_before() {
  suite_up
  mamctl limits project-manager --memory 700Mi
  mamctl limits project-manager --memory default
  python3 - <<'PY'
import json
p = "/etc/mam/services.json"
s = json.load(open(p))
s["project-manager"]["resources"]["memory"] = "800Mi"
json.dump(s, open(p, "w"), indent=2)
PY
  mamctl init >/dev/null
  eventually 10 sh -c '[ "$(systemctl show -P MemoryMax mam@project-manager:1.service)" = 838860800 ]'
  mamctl restart project-manager
  equal "$(systemctl show -P MemoryMax mam@project-manager:1.service)" 838860800
}

test_dryrun_prints_units() {
  /usr/lib/systemd/system-generators/mam-generator --dryrun /etc/mam >/tmp/dryrun 2>&1 || /lib/systemd/system-generators/mam-generator --dryrun /etc/mam >/tmp/dryrun 2>&1
  grep -q 'MemoryMax=' /tmp/dryrun
  grep -q 'mam-project-manager.socket' /tmp/dryrun
}
