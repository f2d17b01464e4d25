#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bus API: what the manager says of itself, dbus/*.xml, the bus policy and the polkit actions agree.

usage: bus.py mam-manager source-root
"""
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

MANAGER, ROOT = sys.argv[1], Path(sys.argv[2])
NAME = 'org.manageragent.Manager1'
PATHS = {
    'org.manageragent.Manager1': '/org/manageragent/Manager1',
    'org.manageragent.Service1': '/org/manageragent/Manager1/service/sample',
    'org.manageragent.Replica1': '/org/manageragent/Manager1/replica/sample_3a1',
    'org.manageragent.Job1': '/org/manageragent/Manager1/job/1',
    'org.manageragent.Rollout1': '/org/manageragent/Manager1/rollout/1',
}


# What the policy of the bus lets nobody else call.
FOR_GATEWAYS = ('GetKeys', 'ReportKeyUse')


def args(element, default):
    return [(a.get('name'), a.get('type'), a.get('direction', default)) for a in element.findall('arg')]


def annotations(element):
    return sorted((a.get('name'), a.get('value')) for a in element.findall('annotation'))


def shape(interface):
    """All that a client can rely on, in an order of its own."""
    members = {}
    for e in interface:
        key = (e.tag, e.get('name'))
        assert key not in members, f'{key} twice'
        if e.tag == 'method':
            members[key] = args(e, 'in'), annotations(e)
        elif e.tag == 'signal':
            members[key] = args(e, None), annotations(e)
        elif e.tag == 'property':
            members[key] = e.get('type'), e.get('access'), annotations(e)
        else:
            raise AssertionError(f'<{e.tag}> in {interface.get("name")}')
    return members


def interfaces(text):
    return {i.get('name'): shape(i) for i in ET.fromstring(text).iter('interface')
            if i.get('name').startswith('org.manageragent.')}


def written():
    return interfaces((ROOT / f'dbus/{NAME}.xml').read_text(encoding='utf-8'))


def introspection_equals_xml():
    want = written()
    assert set(want) == set(PATHS), f'interfaces: {sorted(want)}'
    for name, path in PATHS.items():
        text = subprocess.run([MANAGER, f'--bus-introspect={path}'], check=True, capture_output=True, text=True).stdout
        got = interfaces(text)
        assert name in got, f'{path} does not have {name}'
        for member in sorted(set(want[name]) | set(got[name])):
            assert want[name].get(member) == got[name].get(member), \
                f'{name} {member}: XML says {want[name].get(member)}, the manager {got[name].get(member)}'


def each_method_has_an_allow_line():
    conf = ET.parse(ROOT / f'dbus/{NAME}.conf').getroot()
    default = [p for p in conf.findall('policy') if p.get('context') == 'default']
    assert len(default) == 1
    assert default[0][0].tag == 'deny' and default[0][0].attrib == \
        {'send_destination': NAME, 'send_type': 'method_call'}, 'not denied by default, or signals are denied too'
    allowed = [(a.get('send_interface'), a.get('send_member')) for a in default[0].findall('allow')
               if a.get('send_interface', '').startswith('org.manageragent.')]
    assert all(a.get('send_destination') == NAME for a in default[0].findall('allow')), 'a line is not about us'
    methods = [(i, m) for i, members in written().items() for kind, m in members if kind == 'method']
    gateway = [(a.get('send_interface'), a.get('send_member')) for p in conf.findall('policy') if p.get('user') == 'mam-api-gateway'
               for a in p.findall('allow')]
    assert sorted(gateway) == sorted((NAME, m) for m in FOR_GATEWAYS), f'for gateways: {gateway}'
    assert sorted(allowed + gateway) == sorted(methods), f'differ: {set(allowed + gateway) ^ set(methods)}'


def nobody_else_may_own_the_name():
    conf = ET.parse(ROOT / f'dbus/{NAME}.conf').getroot()
    owners = [p.get('user') for p in conf.findall('policy') for a in p.findall('allow') if a.get('own')]
    assert owners == ['mam-manager'], owners


def activation_leads_to_the_unit():
    text = (ROOT / f'dbus/{NAME}.service').read_text(encoding='utf-8')
    assert f'\nName={NAME}\n' in text and '\nSystemdService=mam-manager.service\n' in text
    unit = (ROOT / 'units/mam-manager.service').read_text(encoding='utf-8')
    assert f'\nBusName={NAME}\n' in unit and '\nUser=mam-manager\n' in unit


# Actions that somebody else asks about, or that a rule may grant ahead of the code that asks: each with its reason.
WITHOUT_CODE_HERE = {
    'inspect': 'reading is open to everybody',
    'messages': 'the event bus',
}


def actions_in_code_are_those_of_the_policy():
    policy = ET.parse(ROOT / 'polkit/org.manageragent.manager1.policy').getroot()
    prefix = 'org.manageragent.manager1.'
    actions = {a.get('id') for a in policy.findall('action')}
    assert all(a.startswith(prefix) for a in actions)
    header = (ROOT / 'daemons/manager/actions.h').read_text(encoding='utf-8')
    constants = dict(re.findall(r'#define (MAM_ACTION_\w+)\s+"([^"]+)"', header))
    sources = {p: p.read_text(encoding='utf-8') for p in (ROOT / 'daemons/manager').glob('*.c')}
    for p, text in sources.items():
        if p.name.startswith('test-'):
            continue  # it may play polkitd
        assert prefix not in text, f'{p.name} spells an action out'
    used = {v for c, v in constants.items() if any(re.search(rf'\b{c}\b', text) for text in sources.values())}
    assert used == set(constants.values()), f'unused: {set(constants.values()) - used}'
    assert used <= actions, f'not in the policy: {used - actions}'
    missing = {a[len(prefix):] for a in actions - used}
    assert missing == set(WITHOUT_CODE_HERE), f'in the policy only: {missing ^ set(WITHOUT_CODE_HERE)}'


def each_action_has_the_manager_as_owner():
    """Else polkit refuses to answer an unprivileged manager about anybody else, and refuses details."""
    policy = ET.parse(ROOT / 'polkit/org.manageragent.manager1.policy').getroot()
    for a in policy.findall('action'):
        owners = [n.text for n in a.findall('annotate') if n.get('key') == 'org.freedesktop.policykit.owner']
        assert owners == ['unix-user:mam-manager'], a.get('id')
        allow = {d.tag: d.text for d in a.find('defaults')}
        if a.get('id').endswith('.inspect'):
            assert set(allow.values()) == {'yes'}
        else:
            assert all(v.startswith('auth_admin') for v in allow.values()), a.get('id')


def the_rule_grants_the_suite_and_nothing_else():
    text = (ROOT / 'polkit/50-mam.rules').read_text(encoding='utf-8')
    match = re.search(r'if \(/(.+)/\.test\(unit\)', text)
    assert match, 'the rule does not test the unit'
    pattern = re.compile(match.group(1))
    for unit in ('mam@project-manager:2.service', 'mam@redis:10.service', 'mam@api-gateway:1.socket', 'mam-setup.service',
                 'mam-api-gateway.socket', 'mam-api-gateway.target', 'mam.target', 'mam@redis:1-10.target'):
        assert pattern.search(unit), unit
    for unit in ('ssh.service', 'xmam@a:1.service', 'mam@a:1.service.x', 'mam@a.service', 'mam@../a:1.service', 'mam.slice',
                 'undefined', '', 'dbus.service', 'mam@redis:2-3.target', 'mam@redis:1-3.service', 'mam-a.mount', 'evil.service mam@a:1.service'):
        assert not pattern.search(unit), unit
    assert re.findall(r'\["start", "stop", "restart", "set-property"\]\.indexOf\(verb\) >= 0', text), 'other verbs for all units'
    signals = re.search(r'if \(/(.+)/\.test\(unit\) && verb === "kill"\)', text)
    assert signals and set(re.findall(r'verb === "([^"]+)"', text)) == {'kill'}, 'verbs besides'
    assert re.search(signals.group(1), 'mam@project-manager:2.service')
    for unit in ('mam@redis:1.socket', 'mam-manager.service', 'mam-setup.service', 'mam.target', 'mam@a:1.service.x', 'xmam@a:1.service', 'ssh.service'):
        assert not re.search(signals.group(1), unit), unit
    assert set(re.findall(r'action\.id === "([^"]+)"', text)) == \
        {'org.freedesktop.systemd1.reload-daemon', 'org.freedesktop.systemd1.manage-units'}
    assert 'subject.user !== "mam-manager"' in text


def main():
    tests = [introspection_equals_xml, each_method_has_an_allow_line, nobody_else_may_own_the_name,
             activation_leads_to_the_unit, actions_in_code_are_those_of_the_policy, each_action_has_the_manager_as_owner,
             the_rule_grants_the_suite_and_nothing_else]
    failed = 0
    for n, test in enumerate(tests, 1):
        try:
            test()
            print(f'ok {n} - {test.__name__}')
        except Exception as e:  # whatever it is, the test has failed
            failed += 1
            print(f'not ok {n} - {test.__name__}\n# {e}')
    print(f'1..{len(tests)}')
    return 1 if failed else 0


sys.exit(main())
