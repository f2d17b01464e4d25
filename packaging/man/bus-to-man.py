#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The man page of the bus API from its XML, whose comments are the source of truth. usage: bus-to-man.py FILE.xml > PAGE.5

A comment belongs to the element behind it. "Action: x." in it is the polkit action. Lines such as "name (type)   text" and
"/path   text" become lists.
"""
import re
import sys
import xml.etree.ElementTree as ET

ACTIONS = 'org.manageragent.manager1.'
CONST = {'name': 'org.freedesktop.DBus.Property.EmitsChangedSignal', 'value': 'const'}
ITEM = re.compile(r'^\s*(/.*?(?=\s\s)|[a-z_]+ \([a-z{}()]+\)(?=\s))\s+(\S.*)$')


def escape(text):
    text = text.replace('\\', '\\e')
    return '\\&' + text if text[:1] in ".'" else text


def sentences(text):
    """Text as lines of roff: one sentence a line."""
    text = re.sub(r'\s+', ' ', text).strip()
    return [escape(s) for s in re.split(r'(?<=[.!?])\s+(?=[A-Z"])', text) if s]


def prose(comment):
    """Paragraphs and lists of a comment, as lines of roff."""
    out, text, items = [], [], []

    def flush():
        if items:
            out.append('.Bl -tag -width Ds -compact')
            for tag, words in items:
                out.append('.It "%s"' % escape(tag).replace('"', '""'))
                out.extend(sentences(' '.join(words)))
            out.append('.El')
            items.clear()
        if text:
            out.extend(sentences(' '.join(text)))
            text.clear()

    indent = None
    for line in comment.splitlines():
        match = ITEM.match(line)
        if match:
            if text:
                flush()
            indent = len(line) - len(line.lstrip())
            items.append((match[1], [match[2]]))
        elif items and line.strip() and len(line) - len(line.lstrip()) > indent:
            items[-1][1].append(line)
        else:
            if items:
                flush()
            text.append(line)
    flush()
    return out


def described(comment):
    """The comment of a member, with its action told in full."""
    actions = re.findall(r'\bAction: ([a-z-]+)\.', comment)
    lines = prose(re.sub(r'\s*\bAction: [a-z-]+\.', '', comment))
    for action in actions:
        lines += ['Asks polkit for', f'.Sy {ACTIONS}{action} .']
    return lines


def call(member, default):
    """.It Fn Name "type name" ... -> "type name" """
    given = [f'"{a.get("type")} {a.get("name")}"' for a in member.findall('arg') if a.get('direction', default) == 'in']
    back = [f'"{a.get("type")} {a.get("name")}"' for a in member.findall('arg') if a.get('direction', default) == 'out']
    line = ' '.join(['.It Fn', member.get('name'), *given])
    for n, arg in enumerate(back):
        line += (' No \\(->' if n == 0 else ' ,') + ' Fa ' + arg
    return line


def member_lines(member, comment):
    if member.tag == 'property':
        const = any(a.attrib == CONST for a in member.findall('annotation'))
        extra = ' , constant' if const else ''
        writable = ' , writable' if member.get('access') != 'read' else ''
        return [f'.It Va {member.get("name")} Pq Vt {member.get("type")}{extra}{writable}', *described(comment)]
    return [call(member, 'in' if member.tag == 'method' else 'in'), *described(comment)]


def interface_lines(interface, comment):
    out = [f'.Sh INTERFACE {interface.get("name")}', *prose(comment)]
    members, pending = [], ''
    for e in interface:
        if e.tag is ET.Comment:
            pending = e.text
            continue
        members.append((e, pending))
        pending = ''
    for tag, title in (('method', 'Methods'), ('signal', 'Signals'), ('property', 'Properties')):
        chosen = [(e, c) for e, c in members if e.tag == tag]
        if not chosen:
            continue
        out += [f'.Ss {title}', '.Bl -tag -width Ds']
        for e, c in chosen:
            out += member_lines(e, c)
        out.append('.El')
    return out


def main():
    with open(sys.argv[1], encoding='utf-8') as f:
        text = f.read()
    root = ET.fromstring(text, parser=ET.XMLParser(target=ET.TreeBuilder(insert_comments=True)))
    head = re.findall(r'<!--(.*?)-->', text[:text.index('<node')], re.S)[-1]
    head = head[max(head.find('Bus name'), 0):]  # what comes before is about the XML file
    name = 'org.manageragent.Manager1'
    out = ['.\\" SPDX-License-Identifier: LGPL-2.1-or-later',
           f'.\\" Made from {name}.xml by bus-to-man.py.',
           '.Dd November 23, 2026', f'.Dt {name.upper()} 5', '.Os mam',
           '.Sh NAME', f'.Nm {name}', '.Nd the bus API of mam-manager',
           '.Sh DESCRIPTION', *prose(head),
           '.Pp', 'Types are those of D-Bus:',
           'a letter or more before the name of an argument, behind the name of a property.']
    pending = ''
    for e in root:
        if e.tag is ET.Comment:
            pending = e.text
        elif e.tag == 'interface':
            out += interface_lines(e, pending)
            pending = ''
    out += ['.Sh FILES', '.Bl -tag -width Ds', f'.It Pa /usr/share/dbus-1/interfaces/{name}.xml',
            'The same for programs.', '.El',
            '.Sh EXAMPLES', 'What the manager says of one service:', '.Bd -literal -offset indent',
            f'busctl call {name} /org/manageragent/Manager1 {name} Status s redis', '.Ed',
            '.Sh SEE ALSO', '.Xr busctl 1 ,', '.Xr mamctl 1 ,', '.Xr mam-manager 8 ,', '.Xr polkit 8']
    print('\n'.join(out))


if __name__ == '__main__':
    main()
