# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The commands that explain and watch, with a real manager, a real bus and a real terminal.

test_what_is_explained_is_what_runs() {
  local topics rows
  suite_up
  topics=$(mamctl explain project-manager --json | jq -r '.reasons[].topic' | sort | tr '\n' ' ')
  equal "$topics" 'cpu endpoints health memory replicas revision state ' topics
  eventually 10 mamctl plan --exit-code
  equal "$(mamctl alerts --json | jq '.alerts | length')" 0 alerts

  rows=$(mamctl top --json --interval=200ms)
  equal "$(jq '.replicas | length' <<<"$rows")" "$(mamctl status --json | jq '[.services[].replicas[]] | length')" 'rows of top'
  equal "$(jq '[.replicas[] | select(.cpu_cores == null or .memory_bytes == null)] | length' <<<"$rows")" 0 'rows without CPU or memory'

  mamctl autoscale project-manager recommend --vertical=off >/dev/null
  equal "$(mamctl autoscale project-manager --json | jq -r '.services[0] | .horizontal_mode + " " + .vertical_mode')" 'recommend off'
  mamctl autoscale project-manager default --vertical=default >/dev/null
  equal "$(exit_status mamctl explain nothing-like-it)" 4
  equal "$(exit_status mamctl rollout status redis)" 3
}

plan_has_something() {
  [[ $(exit_status mamctl plan redis --exit-code) == 8 ]]
}

test_a_plan_tells_what_is_missing_and_then_nothing() {
  suite_up
  systemctl mask --runtime mam@redis:2.service # a repair that cannot succeed, so that there is time to look
  systemctl kill --signal=KILL mam@redis:2.service
  eventually 20 plan_has_something
  matches "$(mamctl plan redis)" 'redis:2'
  systemctl unmask --runtime mam@redis:2.service
  eventually 30 mamctl plan redis --exit-code
}

test_events_are_followed_through_a_new_manager() {
  local pid
  suite_up
  mamctl events redis --follow --json >/tmp/followed &
  pid=$!
  eventually 10 test -s /tmp/followed
  mamctl scale redis 3 -q
  eventually 10 grep -q '"type":"scaled".*to 3 replicas' /tmp/followed
  systemctl kill --signal=KILL mam-manager.service
  eventually 10 mamctl list
  mamctl scale redis 2 -q
  eventually 10 grep -q '"type":"scaled".*to 2 replicas' /tmp/followed
  jq -es 'map(.sequence) | . == (unique)' /tmp/followed >/dev/null || fail 'an event twice, or out of order'
  kill "$pid"
  wait "$pid" || :
}

test_the_graph_is_a_picture() {
  suite_up
  mamctl graph --svg >/tmp/graph.svg
  python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' /tmp/graph.svg
  grep -q '<title>project-manager needs postgresql</title>' /tmp/graph.svg
  matches "$(mamctl graph --ascii)" '`-\* redis  running'
  equal "$(mamctl graph --json | jq '.nodes | length')" "$(mamctl list --json | jq '.services | length')" nodes
}

# top_run KEYS|SIGNAL: what it writes goes to /tmp/top; fails unless the terminal is as it was.
top_run() {
  python3 - "$1" <<'PY'
import os, pty, select, signal, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp("mamctl", ["mamctl", "top", "--interval=100ms"])
before = termios.tcgetattr(fd)
out, frames, deadline = b"", 0, time.monotonic() + 20
keys = [] if sys.argv[1].startswith("SIG") else list(sys.argv[1])
left = len(keys) or 1
while time.monotonic() < deadline:
    if not select.select([fd], [], [], 0.1)[0]:
        continue
    try:
        data = os.read(fd, 65536)
    except OSError:
        break
    out += data
    if not left or out.count(b"\x1b[H") < frames + 3:
        continue
    frames = out.count(b"\x1b[H")
    left -= 1
    if keys:
        assert not termios.tcgetattr(fd)[3] & termios.ICANON, "keys wait for a line"
        os.write(fd, keys.pop(0).encode())
    else:
        os.kill(pid, getattr(signal, sys.argv[1]))
open("/tmp/top", "wb").write(out)
status = os.waitpid(pid, 0)[1]
assert not left, out
assert termios.tcgetattr(fd) == before, "the terminal is not as it was"
assert out.startswith(b"\x1b[?1049h"), out[:40]
assert out.endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l"), out[-60:]
print(os.waitstatus_to_exitcode(status))
PY
}

test_top_obeys_keys_and_gives_the_terminal_back() {
  suite_up
  equal "$(top_run nq)" 0
  grep -q 'by name;' /tmp/top
  grep -q 'project-manager:1' /tmp/top
  equal "$(top_run SIGTERM)" -15
  equal "$(top_run SIGINT)" -2
}
