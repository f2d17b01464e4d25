#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints INTERFACE METHOD ACTION for each method of the installed bus API whose description names a polkit action."""
import re
import sys
from xml.dom import minidom

PATH = '/usr/share/dbus-1/interfaces/org.manageragent.Manager1.xml'


def description(method):
    """The comment right before it."""
    node = method.previousSibling
    while node is not None and node.nodeType == node.TEXT_NODE:
        node = node.previousSibling
    return node.data if node is not None and node.nodeType == node.COMMENT_NODE else ''


def main():
    for interface in minidom.parse(PATH).getElementsByTagName('interface'):
        for method in interface.getElementsByTagName('method'):
            match = re.search(r'Action: ([a-z-]+)', description(method))
            if match:
                print(interface.getAttribute('name').split('.')[-1], method.getAttribute('name'), match.group(1))
    return 0


sys.exit(main())
