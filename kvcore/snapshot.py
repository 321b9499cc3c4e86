"""A stable view of a live keyspace: in the foreground as it lies, in the background by fork.

A forked child owns a copy of the keyspace that nobody changes (the kernel copies a page when the
parent writes to it), so it may take its time. It must not touch the parent's sockets, threads or
event loop: it runs one task, tells the outcome through a pipe and leaves by ``os._exit``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from kvcore.errors import PersistenceError
from kvcore.keyspace import Keyspace
from kvcore.persistence import View


class LiveView(View):
    """The keyspace as it is now: stable as long as no command runs."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self.types = keyspace.types

    def databases(self) -> Iterable[tuple[int, int, int]]:
        for db in self._keyspace.databases:
            if db.entries.count:
                yield db.index, db.entries.count, db.expires.count

    def entries(self, db: int) -> Iterator[tuple[bytes, object, int]]:
        database = self._keyspace.databases[db]
        if database.expires.count == 0:
            for key, value in database.entries.items():
                yield key, value, -1
            return
        expiry = database.expires.get
        for key, value in database.entries.items():
            yield key, value, cast(int, expiry(key, -1))


class Child:
    """A background child. Ask `poll` from cron; it never blocks.

    ``purpose`` is what it does ("rdb", "aof"), ``done`` how many keys it has written.
    After the end: ``error`` is "" if all went well, else one sentence; ``killed`` is the signal
    that ended it, or 0.
    """

    def __init__(self, purpose: str, pid: int, pipe: int, total: int) -> None:
        self.purpose = purpose
        self.pid = pid
        self.total = total
        self.done = 0
        self.started = time.time()
        self.ended = 0.0
        self.cow_bytes = 0
        self.error = ""
        self.killed = 0
        self.expected_kill = False
        self._pipe = pipe
        self._rest = b""

    @property
    def running(self) -> bool:
        return self.ended == 0.0

    def poll(self) -> bool:
        """True once the child is gone (then the outcome is known)."""
        if not self.running:
            return True
        self._read()
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else's SIGCHLD handler reaped it
            pid, status = self.pid, 0 if self.done >= self.total else 256
        if pid == 0:
            return False
        self._read()
        os.close(self._pipe)
        self.ended = time.time()
        if os.WIFSIGNALED(status):
            self.killed = os.WTERMSIG(status)
            self.error = f"terminated by signal {self.killed}"
        elif status and not self.error:
            self.error = f"exited with status {os.waitstatus_to_exitcode(status)}"
        return True

    def kill(self) -> None:
        """End the child now and wait for it; its unfinished file is its starter's to remove."""
        if self.running:
            self.expected_kill = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> None:
        """Block until the child is gone."""
        while not self.poll():
            time.sleep(0.002)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._pipe, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                report = json.loads(line)
                self.done = report.get("done", self.done)
                self.cow_bytes = report.get("cow", self.cow_bytes)
                self.error = report.get("error", self.error)


def fork(
    purpose: str,
    keyspace: Keyspace,
    task: Callable[[View, Callable[[int], None]], None],
    prepare: Callable[[], None] = lambda: None,
) -> Child:
    """Run ``task(view, progress)`` in a child process on the keyspace as it is now.

    ``prepare`` runs first in the child: it closes what is the parent's alone.

    ``progress(keys)`` may be called as often as the task likes. Raises PersistenceError where the
    system cannot fork.
    """
    if not hasattr(os, "fork"):
        raise PersistenceError("this system cannot fork: background saving needs it")
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    parent = os.getpid()
    with warnings.catch_warnings():
        # 3.12 warns of forking with threads. The child runs nothing that takes their locks: it
        # writes through file descriptors of its own and never returns to the caller.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            pid = os.fork()
        except OSError as error:
            os.close(read_end)
            os.close(write_end)
            raise PersistenceError(f"can't fork: {error.strerror}") from error
    if pid:
        os.close(write_end)
        return Child(purpose, pid, read_end, keyspace.size())
    status = 1
    try:
        os.close(read_end)
        prepare()
        status = _run(keyspace, task, write_end, parent)
    finally:
        os._exit(status)


def _run(
    keyspace: Keyspace,
    task: Callable[[View, Callable[[int], None]], None],
    pipe: int,
    parent: int,
) -> int:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is the parent's to handle
    gc.disable()  # a collection would touch, and so copy, every page of the parent's objects
    before = _private_bytes()
    last = 0.0

    def progress(keys: int) -> None:
        nonlocal last
        if os.getppid() != parent:
            os._exit(1)  # the parent is dead: nobody would take this file into use
        now = time.monotonic()
        if now - last > 0.2:
            last = now
            os.write(pipe, json.dumps({"done": keys}).encode() + b"\n")

    report: dict[str, object]
    try:
        task(LiveView(keyspace), progress)
        cow = max(0, _private_bytes() - before)
        report = {"done": keyspace.size(), "cow": cow}
    except OSError as error:
        report = {"error": error.strerror or str(error)}
    except Exception as error:
        report = {"error": str(error) or type(error).__name__}
    os.write(pipe, json.dumps(report).encode() + b"\n")
    return 1 if "error" in report else 0


def _private_bytes() -> int:
    """Private dirty bytes of this process (Linux), 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Private_Dirty:"):
                return int(line.split()[1]) * 1024
    return 0
