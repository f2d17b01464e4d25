#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A text file as a C array.

Usage: embed-text.py OUTPUT NAME INPUT"""
import sys

output, name, source = sys.argv[1:]
with open(source, "rb") as f:
    data = f.read()
with open(output, "w", encoding="ascii") as f:
    f.write("/* SPDX-License-Identifier: LGPL-2.1-or-later */\n/* Made by embed-text.py */\n#include <stddef.h>\n\n")
    f.write(f"extern const char {name}[];\nextern const size_t {name}_size;\n")
    f.write(f"const char {name}[] = {{\n")
    for i in range(0, len(data), 24):
        f.write("".join(f"{b}," for b in data[i:i + 24]) + "\n")
    f.write(f"0 }};\nconst size_t {name}_size = {len(data)};\n")
