#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every MESSAGE_ID of the code has exactly one text in the catalog, and the other way round; journalctl can read it.

usage: check-catalog.py message-ids.h mam.catalog
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile


def main():
    with open(sys.argv[1], encoding='utf-8') as f:
        ids = re.findall(r'^#define MAM_MESSAGE_[A-Z0-9_]+\s+"([^"]*)"', f.read(), re.M)
    with open(sys.argv[2], encoding='utf-8') as f:
        catalog = f.read()
    texts = re.findall(r'^-- (\S+)\nSubject: \S.*\nDefined-By: mam\n(?:Documentation: \S.*\n)*\n\S', catalog, re.M)

    assert ids, 'no ids'
    for i in ids:
        assert re.fullmatch('[0-9a-f]{32}', i), f'{i}: not 32 hex digits'
    assert len(set(ids)) == len(ids), 'an id is used twice'
    assert len(re.findall('^-- ', catalog, re.M)) == len(texts), 'an entry is malformed'
    assert sorted(texts) == sorted(ids), f'differ: {sorted(set(texts) ^ set(ids))}'
    assert max(map(len, catalog.split('\n'))) <= 100, 'a line is too long for a terminal'

    if not shutil.which('journalctl'):
        return
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(f'{root}/usr/lib/systemd/catalog')
        os.makedirs(f'{root}/var/lib/systemd/catalog')
        shutil.copy(sys.argv[2], f'{root}/usr/lib/systemd/catalog/mam.catalog')
        subprocess.run(['journalctl', f'--root={root}', '--update-catalog'], check=True)
        listed = subprocess.run(['journalctl', f'--root={root}', '--list-catalog'], check=True, capture_output=True, text=True)
        assert len(listed.stdout.splitlines()) == len(ids), listed.stdout


main()
