# SPDX-License-Identifier: LGPL-2.1-or-later
# For those whose fingers say make: everything is in ./dev.

.PHONY: run stop status shell build test package vm clean

run stop status shell build test package vm clean:
	./dev $@
