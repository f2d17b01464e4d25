#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tries, from inside a unit's sandbox, what the unit says it forbids. One line per attempt: "refused NAME: why" or "ALLOWED NAME"."""
import ctypes
import mmap
import os
import socket
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)


def call(function, *args):
    if getattr(libc, function)(*args) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path):
    with open(path, "wb") as f:
        f.write(b"x")


def read(path):
    with open(path, "rb") as f:
        f.read(1)


def connect(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)


def family(number, kind=socket.SOCK_RAW):
    socket.socket(number, kind).close()


def write_and_execute():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def setuid_file():
    for folder in (os.environ.get("RUNTIME_DIRECTORY", "/tmp").split(":")[0], "/tmp"):
        try:
            path = os.path.join(folder, "suid")
            write(path)
            os.chmod(path, 0o4755)
            if os.stat(path).st_mode & stat.S_ISUID:
                return
        finally:
            if os.path.exists(path):
                os.unlink(path)
    raise PermissionError("no")


def processes_of_others():
    if any(int(p) == 1 for p in os.listdir("/proc") if p.isdigit()):
        return
    raise PermissionError("PID 1 is not to be seen")


CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS = 0x10000000, 0x40000000, 0x00020000
ATTEMPTS = {
    "write /etc": lambda: write("/etc/mam/forbidden"),
    "write /usr": lambda: write("/usr/forbidden"),
    "write /var/lib": lambda: write("/var/lib/forbidden"),
    "write the manager's state": lambda: write("/var/lib/mam/manager/forbidden"),
    "read the credential store": lambda: os.listdir("/etc/credstore.encrypted"),
    "read /home": lambda: read("/home/forbidden-marker/file"),
    "read /etc/shadow": lambda: read("/etc/shadow"),
    "new user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "new network namespace": lambda: call("unshare", CLONE_NEWNET),
    "new mount namespace": lambda: call("unshare", CLONE_NEWNS),
    "mount": lambda: call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None),
    "packet socket": lambda: family(17),
    "netlink socket": lambda: family(16),
    "bluetooth socket": lambda: family(31),
    "memory writable and executable": write_and_execute,
    "become root": lambda: os.setuid(0),
    "set the clock": lambda: call("settimeofday", ctypes.byref((ctypes.c_long * 2)(0, 0)), None),
    "set the host name": lambda: call("sethostname", b"forbidden", 9),
    "real-time scheduling": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "personality": lambda: call("personality", 0x0008),
    "setuid file": setuid_file,
    "open /dev/vda": lambda: read("/dev/vda"),
    "open /dev/kmsg": lambda: read("/dev/kmsg"),
    "see other processes": processes_of_others,
    "write a kernel variable": lambda: write("/proc/sys/kernel/hostname"),
    "write a control group": lambda: write("/sys/fs/cgroup/forbidden"),
}


def main():
    attempts = dict(ATTEMPTS)
    for argument in sys.argv[1:]:
        kind, _, value = argument.partition("=")
        if kind == "connect":
            attempts["connect to " + value] = lambda value=value: connect(value)
        elif kind == "read":
            attempts["read " + value] = lambda value=value: read(value)
        elif kind == "list":
            attempts["list " + value] = lambda value=value: os.listdir(value)
        elif kind == "except":  # what this unit is there to do
            del attempts[value]
        elif kind == "family":
            attempts["socket of family " + value] = lambda value=value: family(getattr(socket, value), socket.SOCK_STREAM)
    for name, attempt in attempts.items():
        pid = os.fork()  # a system call filter may kill
        if pid == 0:
            try:
                attempt()
            except (OSError, ValueError) as e:
                print(f"refused {name}: {e}", flush=True)
            else:
                print(f"ALLOWED {name}", flush=True)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            print(f"refused {name}: killed by signal {os.WTERMSIG(status)}", flush=True)
    print("end", flush=True)


main()
