#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks a file in Prometheus text format 0.0.4 strictly and prints its samples.

The client library reads 0.0.4 leniently but OpenMetrics strictly, and the two differ only in the family name of counters and the
last line: the text is turned into OpenMetrics and given to the strict parser. A text that ends with "# EOF" is OpenMetrics already: its
exemplars are printed too. Exit 77: the library is not installed.
"""
import re
import sys

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
    from prometheus_client.parser import text_string_to_metric_families as lenient
except ImportError:
    sys.exit(77)

LINE = re.compile(
    r'(# HELP [a-zA-Z_:][a-zA-Z0-9_:]* ([^\\\n]|\\\\|\\n)*'
    r'|# TYPE [a-zA-Z_:][a-zA-Z0-9_:]* (counter|gauge|histogram)'
    r'|[a-zA-Z_:][a-zA-Z0-9_:]*'
    r'(\{[a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\\\|\\"|\\n)*"(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\\\|\\"|\\n)*")*\})?'
    r' (NaN|[+-]Inf|[+-]?[0-9.]+(e[+-]?[0-9]+)?))')


def main():
    with open(sys.argv[1], 'rb') as f:
        text = f.read().decode('utf-8')  # strict
    if text.endswith('# EOF\n'):
        show(strict(text))
        return
    assert text.endswith('\n'), 'no newline at the end'
    lines = text[:-1].split('\n')
    for n, line in enumerate(lines, 1):
        assert LINE.fullmatch(line), f'line {n}: {line!r}'

    counters = {line.split()[2] for line in lines if line.startswith('# TYPE') and line.endswith(' counter')}
    converted = []
    for line in lines:
        word = line.split(' ')
        if word[0] == '#' and word[2] in counters:
            assert word[2].endswith('_total'), f'{word[2]}: a counter without _total'
            word[2] = word[2][:-len('_total')]
        converted.append(' '.join(word))
    families = list(strict('\n'.join(converted) + '\n# EOF\n'))
    assert len(families) == len(list(lenient(text)))
    show(families)


def show(families):
    for family in families:
        for s in family.samples:
            labels = ','.join(f'{k}={v!r}' for k, v in sorted(s.labels.items()))
            exemplar = f' # {s.exemplar.labels} {float(s.exemplar.value)!r}' if s.exemplar else ''
            print(f'{s.name} {{{labels}}} {float(s.value)!r}{exemplar}')


main()
