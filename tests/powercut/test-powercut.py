#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The power cut shim by itself: what a disk keeps, rule by rule, and a real PostgreSQL on it, which loses nothing that it has
acknowledged, and is seen to lose with synchronous_commit=off. TAP on stdout.

Usage: test-powercut.py PRELOAD POWERCUT
"""
import contextlib
import glob
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

LIMIT = 60
USER = {}
if os.geteuid() == 0:
    nobody = pwd.getpwnam("nobody")
    USER = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Skip(Exception):
    pass


class Disk:
    """A folder whose power can be cut, and programs that write there."""

    def __init__(self, ordinary=False):
        """ordinary: for a program that refuses to be root."""
        self.folder = tempfile.mkdtemp(prefix="mam-powercut-")
        for tool in sys.argv[1:3]:  # the build may lie where the ordinary user cannot look
            shutil.copy(tool, self.folder)
        self.preload, self.tool = (os.path.join(self.folder, os.path.basename(t)) for t in sys.argv[1:3])
        self.root, self.image = self.folder + "/root", self.folder + "/image"
        for path in (self.root, self.image):
            os.mkdir(path, 0o700)
        if USER and ordinary:
            for path in (self.folder, self.root, self.image):
                os.chown(path, USER["user"], USER["group"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def environment(self):
        return dict(os.environ, LD_PRELOAD=self.preload, POWERCUT_ROOT=self.root, POWERCUT_IMAGE=self.image)

    def take(self):
        done = subprocess.run([self.tool, "take", self.root, self.image], timeout=LIMIT, check=False, capture_output=True, text=True)
        if "not supported" in done.stderr:
            raise Skip("the file system of the temporary folder knows no birth times")
        assert done.returncode == 0, done.stderr

    def cut(self, seed=None):
        subprocess.run([self.tool, "cut", self.root, self.image, *([str(seed)] if seed is not None else [])], timeout=LIMIT, check=True)

    def write(self, script):
        """Runs Python there, killed by itself at the end: nothing is tidied up."""
        script = "import os, signal\n" + script + "\nos.kill(os.getpid(), signal.SIGKILL)"
        done = subprocess.run([sys.executable, "-S", "-c", script], cwd=self.root, env=self.environment(), timeout=LIMIT, check=False, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done

    def content(self):
        """Every file with its text, every folder with None."""
        found = {}
        for where, folders, files in os.walk(self.root):
            for name in files:
                with open(os.path.join(where, name), "rb") as file:
                    found[os.path.relpath(os.path.join(where, name), self.root)] = file.read()
            for name in folders:
                found[os.path.relpath(os.path.join(where, name), self.root)] = None
        return found


def kept(script, before=(), seed=None):
    """What is there after a script and a power cut. before: files that were there, durable, at the start."""
    with Disk() as disk:
        for name, data in dict(before).items():
            with open(os.path.join(disk.root, name), "wb") as file:
                file.write(data)
        disk.take()
        disk.write(script)
        disk.cut(seed)
        return disk.content()


def equal(got, want):
    assert got == want, f"{got!r} instead of {want!r}"


def what_was_not_synced_is_lost():
    equal(kept("f = os.open('a', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'data')\nos.close(f)"), {})
    equal(kept("f = os.open('a', os.O_WRONLY)\nos.write(f, b'NEW')", {"a": b"old data"}), {"a": b"old data"})
    equal(kept("f = os.open('a', os.O_WRONLY)\nos.ftruncate(f, 2)", {"a": b"old"}), {"a": b"old"})
    equal(kept("os.unlink('a')\nos.mkdir('d')", {"a": b"old"}), {"a": b"old"})


def what_was_synced_is_kept():
    equal(kept("os.mkdir('d')\nf = os.open('d/a', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'data')\nos.fsync(f)\nos.write(f, b' lost')"), {"d": None, "d/a": b"data"})
    equal(kept("f = os.open('a', os.O_WRONLY)\nos.pwrite(f, b'NEW', 1)\nos.fdatasync(f)\nos.pwrite(f, b'x', 0)", {"a": b"old data"}), {"a": b"oNEWdata"})
    equal(kept("f = os.open('a', os.O_RDWR)\nos.ftruncate(f, 1)\nos.ftruncate(f, 3)\nos.fsync(f)", {"a": b"old"}), {"a": b"o\0\0"})
    equal(kept("f = os.open('a', os.O_WRONLY | os.O_APPEND)\nos.write(f, b'+1')\nos.fsync(f)\nos.write(f, b'+2')", {"a": b"0"}), {"a": b"0+1"})
    equal(kept("f = os.open('a', os.O_WRONLY | os.O_TRUNC)\nos.write(f, b'n')\nos.fsync(f)", {"a": b"old"}), {"a": b"n"})
    equal(kept("f = os.open('a', os.O_WRONLY | os.O_CREAT)\nos.pwritev(f, [b'one', b'two'], 2)\nos.posix_fallocate(f, 0, 10)\nos.fsync(f)"), {"a": b"\0\0onetwo\0\0"})


def each_write_of_a_synchronous_file_is_kept():
    equal(kept("f = os.open('a', os.O_CREAT | os.O_WRONLY | os.O_DSYNC)\nos.write(f, b'one')\nos.pwrite(f, b'two', 3)"), {"a": b"onetwo"})
    equal(kept("f = os.open('a', os.O_CREAT | os.O_WRONLY)\nos.pwritev(f, [b'one'], 0, os.RWF_DSYNC)\nos.pwritev(f, [b'x'], 0)"), {"a": b"one"})


def writing_back_early_promises_nothing():
    equal(kept("import ctypes\nf = os.open('a', os.O_WRONLY)\nos.write(f, b'NEW')\n"
               "assert ctypes.CDLL(None).sync_file_range(f, ctypes.c_long(0), ctypes.c_long(0), 7) == 0", {"a": b"old"}), {"a": b"old"})


def names_are_kept_when_their_folder_was_synced():
    folder = "\nd = os.open('.', os.O_RDONLY)\nos.fsync(d)"
    equal(kept("os.rename('a', 'b')", {"a": b"old"}), {"a": b"old"})
    equal(kept("os.rename('a', 'b')" + folder, {"a": b"old"}), {"b": b"old"})
    equal(kept("os.unlink('a')" + folder, {"a": b"old", "b": b"two"}), {"b": b"two"})
    equal(kept("os.link('a', 'b')" + folder + "\nos.unlink('a')", {"a": b"old"}), {"a": b"old", "b": b"old"})
    equal(kept("f = os.open('a', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'data')" + folder), {"a": b""})
    equal(kept("os.mkdir('d')\nos.mkdir('d/e')\nos.symlink('a', 'l')" + folder, {"a": b"x"}), {"a": b"x", "d": None, "l": b"x"})
    # a file that takes another's place is there whole, or the other is
    replace = "f = os.open('new', os.O_CREAT | os.O_WRONLY)\nos.write(f, b'new')\nos.fsync(f)\nos.rename('new', 'a')"
    equal(kept(replace, {"a": b"old"}), {"a": b"old", "new": b"new"})
    equal(kept(replace + folder, {"a": b"old"}), {"a": b"new"})


def one_process_syncs_what_another_has_written():
    equal(kept("import subprocess, sys\nf = os.open('a', os.O_RDWR)\n"
               "subprocess.run([sys.executable, '-S', '-c', \"import os\\nf = os.open('a', os.O_WRONLY)\\nos.pwrite(f, b'NEW', 0)\"], check=True)\n"
               "os.fsync(f)\nos.pwrite(f, b'x', 0)", {"a": b"old"}), {"a": b"NEW"})


def writes_of_stdio_are_found():
    equal(kept("import ctypes, time\nc = ctypes.CDLL(None)\nc.fopen.restype = ctypes.c_void_p\nr = os.open('a', os.O_RDWR)\nos.pwrite(r, b'1', 0)\nos.fsync(r)\n"
               "t = os.stat('a').st_mtime_ns\n"
               "while os.stat('a').st_mtime_ns == t:\n"
               "  f = ctypes.c_void_p(c.fopen(b'a', b'w'))\n  c.fputs(b'by stdio', f)\n  c.fclose(f)\nos.fsync(r)", {"a": b"old"}), {"a": b"by stdio"})


def a_new_file_with_an_old_inode_is_another():
    # Makes and removes files until the kernel gives the removed one's inode again; where it never does, nothing is different.
    script = """
n = os.stat('a').st_ino
os.unlink('a')
for i in range(100):
    f = os.open('b', os.O_CREAT | os.O_WRONLY)
    if os.fstat(f).st_ino == n or i == 99:
        os.write(f, b'new')
        os.fsync(f)
        break
    os.close(f)
    os.unlink('b')
"""
    equal(kept(script, {"a": b"old"}), {"a": b"old", "b": b"new"})


def sectors_may_get_there_by_chance():
    old, new = b"o" * 512 * 64, b"n" * 512 * 64
    script = "f = os.open('a', os.O_WRONLY)\nos.write(f, b'n' * 512 * 64)"
    got = [kept(script, {"a": old}, seed)["a"] for seed in (1, 2)]
    for data in got:
        sectors = {data[i:i + 512] for i in range(0, len(data), 512)}
        equal(sectors, {old[:512], new[:512]})
    assert got[0] != got[1], "the same by two seeds"


class PostgreSQL:
    """A real one whose data folder is the root of a disk."""

    def __init__(self, disk, settings):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) + glob.glob("/usr/bin/initdb")
        if not found:
            raise Skip("no PostgreSQL server is installed")
        self.bin, self.disk, self.process = os.path.dirname(found[0]), disk, None
        self.settings = {"listen_addresses": "", "unix_socket_directories": disk.folder, "jit": "off", "fsync": "on", "full_page_writes": "on",
                         "wal_writer_delay": "10s", "max_wal_size": "32MB", "checkpoint_timeout": "30s", "max_connections": "20", **settings}
        self.run("initdb", "-D", disk.root, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8", "--data-checksums", "--wal-segsize=1")
        disk.take()

    def run(self, program, *arguments):
        done = subprocess.run([f"{self.bin}/{program}", *arguments], cwd=self.disk.folder, timeout=LIMIT, check=False, capture_output=True, text=True, **USER)
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def start(self):
        options = [o for name, value in self.settings.items() for o in ("-c", f"{name}={value}")]
        with open(self.disk.folder + "/log", "ab") as log:
            self.process = subprocess.Popen([f"{self.bin}/postgres", "-D", self.disk.root, *options], cwd=self.disk.folder, env=self.disk.environment(),
                                            stdout=log, stderr=log, **USER)
        deadline = time.monotonic() + LIMIT
        while subprocess.run([f"{self.bin}/pg_isready", "-q", "-h", self.disk.folder], check=False).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                with open(self.disk.folder + "/log", encoding="utf-8", errors="replace") as file:
                    raise AssertionError("PostgreSQL does not start: " + file.read()[-3000:])
            time.sleep(0.02)

    def psql(self, text):
        return self.run("psql", "-h", self.disk.folder, "-U", "postgres", "-d", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text)

    def kill(self):
        """All at once: who starts processes is halted first, so that none is missed and none is told."""
        os.kill(self.process.pid, signal.SIGSTOP)
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            children = [int(pid) for pid in file.read().split()]
        held = [os.pidfd_open(pid) for pid in children]
        for fd in held:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pid, fd in zip(children, held):
            while gone_not(pid):
                time.sleep(0.005)
            os.close(fd)
        self.process = None


def gone_not(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Writer(threading.Thread):
    """Inserts one row after the other and keeps in mind which were acknowledged."""

    def __init__(self, server, number):
        super().__init__()
        self.number, self.acknowledged = number, []
        self.psql = subprocess.Popen([f"{server.bin}/psql", "-h", server.disk.folder, "-U", "postgres", "-d", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1, **USER)

    def run(self):
        n = 0
        with contextlib.suppress(BrokenPipeError, ValueError):
            while True:
                n += 1
                self.psql.stdin.write(f"INSERT INTO events (writer, n, text) VALUES ({self.number}, {n}, repeat('x', {n % 700})) RETURNING n;\n")
                if not self.psql.stdout.readline().strip().isdigit():
                    break
                self.acknowledged.append((self.number, n))
        with contextlib.suppress(BrokenPipeError):
            self.psql.stdin.close()
        self.psql.stdout.close()
        self.psql.wait()


def lost_by_power_cuts(settings, rounds, scattered=False):
    """How many rows were acknowledged, how many of them are gone, over several power cuts under load."""
    acknowledged, lost = 0, 0
    with Disk(ordinary=True) as disk:
        server = PostgreSQL(disk, settings)
        server.start()
        server.psql("CREATE TABLE events (writer int, n int, text text, PRIMARY KEY (writer, n))")
        server.psql("SET synchronous_commit = on; CREATE EXTENSION IF NOT EXISTS amcheck; SELECT pg_switch_wal()")
        server.psql("CHECKPOINT")
        for number in range(rounds):
            writers = [Writer(server, number * 4 + i) for i in range(4)]
            for w in writers:
                w.start()
            more = random.randint(200, 1200)
            deadline = time.monotonic() + LIMIT
            while sum(len(w.acknowledged) for w in writers) < more and time.monotonic() < deadline:
                time.sleep(0.005)
            if number % 2 == 1:
                server.psql("CHECKPOINT")
            server.kill()
            for w in writers:
                w.join(LIMIT)
            disk.cut(number if scattered else None)
            server.start()
            there = {tuple(map(int, line.split("|"))) for line in server.psql("SELECT writer, n FROM events").split()}
            server.psql("SET enable_seqscan = off; SELECT bt_index_check('events_pkey', true)")
            done = {key for w in writers for key in w.acknowledged}
            acknowledged += len(done)
            lost += len(done - there)
        server.kill()
    return acknowledged, lost


def a_database_loses_nothing_that_it_has_acknowledged():
    for scattered in (False, True):
        acknowledged, lost = lost_by_power_cuts({"synchronous_commit": "on"}, 3, scattered)
        print(f"# {acknowledged} acknowledged, {lost} lost in three power cuts{', sectors by chance' if scattered else ''}")
        assert acknowledged >= 600 and lost == 0, f"{lost} of {acknowledged} are lost"


def a_database_that_does_not_wait_for_the_disk_is_seen_to_lose():
    acknowledged, lost = lost_by_power_cuts({"synchronous_commit": "off"}, 3)
    print(f"# {acknowledged} acknowledged, {lost} lost in three power cuts with synchronous_commit=off")
    assert lost > 0, f"none of {acknowledged} is lost: nothing was tested"


def a_database_that_was_told_not_to_sync_is_seen_to_lose():
    try:
        acknowledged, lost = lost_by_power_cuts({"fsync": "off"}, 1)
    except AssertionError as error:
        assert "does not start" in str(error) or "psql" in str(error), error
        print("# with fsync=off it does not even start any more")
        return
    print(f"# {acknowledged} acknowledged, {lost} lost in a power cut with fsync=off")
    assert lost > 0, f"none of {acknowledged} is lost"


def main():
    tests = [what_was_not_synced_is_lost, what_was_synced_is_kept, each_write_of_a_synchronous_file_is_kept, writing_back_early_promises_nothing,
             names_are_kept_when_their_folder_was_synced, one_process_syncs_what_another_has_written, writes_of_stdio_are_found,
             a_new_file_with_an_old_inode_is_another, sectors_may_get_there_by_chance, a_database_loses_nothing_that_it_has_acknowledged,
             a_database_that_does_not_wait_for_the_disk_is_seen_to_lose, a_database_that_was_told_not_to_sync_is_seen_to_lose]
    failed = 0
    print(f"1..{len(tests)}")
    for n, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {n} - {test.__name__}", flush=True)
        except Skip as reason:
            must = os.environ.get("MAM_TEST_MUST_RUN") == "1"
            failed += must
            print(f"{'not ok' if must else 'ok'} {n} - {test.__name__} # SKIP {reason}", flush=True)
        except Exception as error:
            failed += 1
            print("# " + f"{type(error).__name__}: {error}".replace("\n", "\n# "))
            print(f"not ok {n} - {test.__name__}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
