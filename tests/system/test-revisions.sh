# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What replicas run, as deploy.json says and root lets it: the manager is out of the way here, so that a wrong one can be played.

IMAGE=/srv/mam-image
REPLICA=mam@project-manager:2.service
DROPIN=/run/systemd/generator/$REPLICA.d/10-mam.conf

# The program with the libraries that it needs, and nothing else.
make_image() {
  local program=/usr/lib/mam/mam-project-manager f
  mkdir -p $IMAGE/usr/lib/mam
  cp $program $IMAGE/usr/lib/mam/
  ldd $program | grep -o '/[^ ]*' | while read -r f; do
    mkdir -p "$IMAGE$(dirname "$f")"
    cp -L "$f" "$IMAGE$f"
  done
  chmod -R u=rwX,go=rX $IMAGE
}

# Ready without the manager: systemd alone.
alone() {
  mamctl init >/dev/null
  systemctl mask --runtime --now mam-manager.service
  systemctl start mam-setup.service mam-postgresql.target mam-redis.target
}

again() {
  systemctl unmask --runtime mam-manager.service
  rm -f /var/lib/mam/manager/deploy.json
  systemctl daemon-reload
}

deployed() {
  grep -q "^Environment=\"MAM_REVISION=$1\"\$" "$DROPIN" || fail "not '$1': $(grep MAM_REVISION "$DROPIN")"
}

# Each of what is looked for is said once.
said() {
  journalctl -b -t mam-generator --no-pager | grep -F -q -- "$1"
}
generator_said() {
  eventually 10 said "$1"
}

test_a_built_in_service_runs_from_an_image() {
  alone
  make_image
  local name
  name=$(python3 "$here/revision.py" project-manager version=2.0 image=$IMAGE)
  systemctl daemon-reload
  deployed "$name"
  systemctl start "$REPLICA"
  local pid
  pid=$(unit_pid "$REPLICA")
  equal "$(tr '\0' '\n' <"/proc/$pid/environ" | grep ^MAM_REVISION=)" "MAM_REVISION=$name"
  equal "$(tr '\0' '\n' <"/proc/$pid/environ" | grep ^MAM_VERSION=)" "MAM_VERSION=2.0"
  # nothing of the system but what is in the folder
  [[ -e /proc/$pid/root/usr/lib/mam/mam-project-manager && ! -e /proc/$pid/root/etc/passwd && ! -e /proc/$pid/root/usr/bin ]]
  equal "$(awk '$5 == "/" { print substr($6, 1, 2) }' "/proc/$pid/mountinfo")" ro "its root"
  # its own socket, the database by peer authentication, and Redis by its credential
  curl --fail --silent --show-error --max-time 10 --unix-socket /run/mam/replica/project-manager:2.sock http://localhost/ready | grep -q '"ready"'
  # what runs beside it runs outside
  kill -9 "$pid"
  eventually 10 test -s /run/mam/service/project-manager:2/last-exit
  jq -e '.reason | contains("KILL")' /run/mam/service/project-manager:2/last-exit >/dev/null
  systemctl stop "$REPLICA"
  again
}

test_what_the_manager_may_not_choose_is_refused_and_the_configuration_runs() {
  alone
  make_image
  local name

  # a program that others can write
  cp /usr/lib/mam/mam-project-manager /tmp/evil
  name=$(python3 "$here/revision.py" project-manager exec=/tmp/evil)
  systemctl daemon-reload
  deployed ''
  grep -q '^ExecStart=/usr/lib/mam/mam-project-manager$' "$DROPIN"
  generator_said "project-manager: revision $name cannot be used: '/tmp' can be written by others than root"

  # a folder of somebody else
  mkdir -p /srv/theirs
  chown nobody /srv/theirs
  python3 "$here/revision.py" project-manager image=/srv/theirs >/dev/null
  systemctl daemon-reload
  deployed ''
  generator_said "'/srv/theirs' does not belong to root"

  # a definition that root has never seen
  python3 "$here/revision.py" project-manager definition=0123456789ab >/dev/null
  systemctl daemon-reload
  deployed ''
  generator_said "/var/lib/mam/definitions/project-manager/0123456789ab.json"

  # a link, a pipe, and nonsense in place of the file: no reload hangs
  rm /var/lib/mam/manager/deploy.json
  ln -s /etc/shadow /var/lib/mam/manager/deploy.json
  timeout 20 systemctl daemon-reload
  generator_said "/var/lib/mam/manager/deploy.json: Too many levels of symbolic links"
  rm /var/lib/mam/manager/deploy.json
  mkfifo /var/lib/mam/manager/deploy.json
  timeout 20 systemctl daemon-reload
  timeout 20 systemctl start mam-setup.service
  rm /var/lib/mam/manager/deploy.json
  echo '{"version":1,"services":{"../x":{}}}' >/var/lib/mam/manager/deploy.json
  systemctl daemon-reload
  generator_said "is not the id of a service"

  # and it starts as configured all along
  systemctl start "$REPLICA"
  systemctl stop "$REPLICA"
  again
}

test_definitions_that_are_deployed_are_kept() {
  alone
  local first n
  python3 "$here/revision.py" project-manager version=1.0 >/dev/null
  first=$(jq -r '.services["project-manager"].revisions[].definition' /var/lib/mam/manager/deploy.json)
  cp /etc/mam/services.json /tmp/services.json
  for n in {1..22}; do
    jq ".[\"project-manager\"].environment.N = \"$n\"" /tmp/services.json >/etc/mam/services.json
    /usr/lib/mam/mam-setup
  done
  cp /tmp/services.json /etc/mam/services.json
  equal "$(find /var/lib/mam/definitions/project-manager -name '*.json' | wc -l)" 21
  [[ -e /var/lib/mam/definitions/project-manager/$first.json ]]
  # the same by its own unit, which is root without a capability, and in the group of the manager
  systemctl start mam-setup.service
  ! journalctl -b -u mam-setup.service --no-pager | grep 'no definition is removed'
  [[ -e /var/lib/mam/definitions/project-manager/$first.json ]]
  # everybody may read them, root alone writes them
  fails setpriv --reuid=mam-manager --regid=mam-manager --clear-groups touch "/var/lib/mam/definitions/project-manager/x"
  setpriv --reuid=mam-manager --regid=mam-manager --clear-groups cat "/var/lib/mam/definitions/project-manager/$first.json" >/dev/null
  again
}

test_the_manager_may_send_signals_to_replicas_and_to_nothing_else() {
  suite_up
  local as_manager=(setpriv --reuid=mam-manager --regid=mam-manager --clear-groups)
  "${as_manager[@]}" systemctl kill --signal=SIGCONT mam@project-manager:1.service
  fails "${as_manager[@]}" systemctl kill --signal=SIGCONT mam-manager.service
  fails "${as_manager[@]}" systemctl kill --signal=SIGCONT dbus.service
  fails "${as_manager[@]}" systemctl start mam@project-manager:1.service --job-mode=isolate
}

test_the_registry_follows_the_settings() {
  suite_up
  eventually 10 systemctl is-active --quiet mam-registry.socket
  cp /etc/mam/microservices.json /tmp/microservices.json

  jq '.registry.url = "http://[::1]:5055"' /tmp/microservices.json >/etc/mam/microservices.json
  mamctl init >/dev/null
  eventually 10 bash -c "ss -lntH | grep -F -q '[::1]:5055'"
  ss -lnuH | grep -F -q '[::1]:5055'
  ! ss -lntuH | grep -F '127.0.0.1:5000' || fail "still at the old address"

  jq '.registry.enabled = false' /tmp/microservices.json >/etc/mam/microservices.json
  mamctl init >/dev/null
  eventually 10 bash -c '! systemctl is-active --quiet mam-registry.socket'
  ! systemctl show -P Wants mam.target | grep mam-registry || fail "still wanted"

  cp /tmp/microservices.json /etc/mam/microservices.json
  mamctl init >/dev/null
  eventually 10 bash -c "ss -lntH | grep -F -q '127.0.0.1:5000'"
  # systemd alone brings it up as well
  systemctl stop mam-registry.socket
  systemctl start mam.target
  systemctl is-active --quiet mam-registry.socket
}
