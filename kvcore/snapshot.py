"""A stable view of a live keyspace: in the foreground as it lies, in the background in two ways.

**A forked child** owns a copy of the keyspace that nobody changes (the kernel copies a page when
the parent writes to it), so it may take its time. It must not touch the parent's sockets, threads
or event loop: it runs one task, tells the outcome through a pipe and leaves by ``os._exit``.

**A thread** needs no fork, and so no system that can, and does no harm to a program that has
threads and locks of its own. Theory of operation:

* `Keyspace.freeze` copies the tables of keys and of expiry times, which costs a list of their
  shards (small dicts). A shard is copied when a command first writes to it, so a command pays for
  64 entries and not for a million, and the memory that a view costs is bounded by what is written.
* A value that can be changed in place is copied when `Database.find` first gives it to a writing
  command; large ones are lazy copies in their turn. Nothing that the view has is ever changed, so
  the thread reads it without a lock.
* What the thread has passed it gives up: from then on nothing is copied for it.
* Under the interpreter's lock a thread that works keeps others from working. So the view rests a
  little after each slice of work (see `_Pace`), and commands wait no longer than that; a few
  milliseconds while a value of a megabyte is written.

Either way there is a `Child`, one at a time, and whoever started it sees no difference.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Final, cast

from kvcore.errors import PersistenceError
from kvcore.keyspace import Frozen, Keyspace
from kvcore.persistence import View

Task = Callable[[View, Callable[[int], None]], None]


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
        keys, values = database.entries.keys(), database.entries.values()
        if database.expires.count == 0:
            return zip(keys, values, repeat(-1))
        expiries = map(database.expires.get, database.entries.keys(), repeat(-1))
        return zip(keys, values, cast("Iterator[int]", expiries))


class StableView(View):
    """The keyspace as it was when this was made, while commands go on; see the module.

    To be made and to be closed (`Keyspace.thaw`) on the thread that runs commands, and read on
    any one other. `close` may be called at any time: then reading raises `Killed`.
    """

    def __init__(self, keyspace: Keyspace) -> None:
        self.types = keyspace.types
        self.closed = False
        self._pace = _Pace()
        self._frozen = {frozen.index: frozen for frozen in keyspace.freeze()}
        self._databases = [
            (frozen.index, frozen.entries.count, frozen.expires.count)
            for frozen in self._frozen.values()
        ]

    def databases(self) -> Iterable[tuple[int, int, int]]:
        return self._databases

    def entries(self, db: int) -> Iterator[tuple[bytes, object, int]]:
        if self.closed:
            raise Killed
        frozen: Frozen = self._frozen.pop(db)  # walked once: what is passed is given up
        expiry = frozen.expires.get if frozen.expires.count else None
        for items in frozen.entries.drain(frozen.original):
            self._pace.keep()
            for key, value in items:
                if self.closed:
                    raise Killed
                yield key, value, -1 if expiry is None else cast("int", expiry(key, -1))

    def close(self) -> None:
        """Give up what was not read."""
        self.closed = True
        self._frozen = {}


class Killed(BaseException):
    """The task shall end at once. Not an Exception: it is not the task's to handle."""


WORK_S: Final = 0.001
REST_S: Final = 0.0001


class _Pace:
    """Lets other threads have the interpreter in time.

    By itself Python takes it from a thread that works after 5 ms, and a thread that only offers it
    (``sleep(0)``) has it back before another wakes up. So rest for real, but much less than work.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def keep(self) -> None:
        if time.perf_counter() > self._until:
            time.sleep(REST_S)
            self._until = time.perf_counter() + WORK_S


class Child:
    """A background child. Ask `poll` from cron; it never blocks.

    ``purpose`` is what it does ("rdb", "aof"), ``pid`` the process that it does it in, ``done``
    how many of ``total`` keys it has written, ``cow_bytes`` about what was copied for it.
    After the end: ``error`` is "" if all went well, else one sentence; ``killed`` is the signal
    that ended it, or 0; ``cancelled`` says that nobody wanted it any more, which is no failure.
    """

    def __init__(self, purpose: str, pid: int, total: int) -> None:
        self.purpose = purpose
        self.pid = pid
        self.total = total
        self.done = 0
        self.started = time.time()
        self.ended = 0.0
        self.cow_bytes = 0
        self.error = ""
        self.killed = 0
        self.cancelled = False

    @property
    def running(self) -> bool:
        return self.ended == 0.0

    def poll(self) -> bool:
        """True once the child is gone (then the outcome is known)."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the child now and wait for it; its unfinished file is its starter's to remove."""
        raise NotImplementedError

    def cancel(self) -> None:
        """`kill`, where that is no failure of what it did."""
        self.cancelled = True
        self.kill()

    def wait(self) -> None:
        """Block until the child is gone."""
        raise NotImplementedError

    def _killed_by(self, number: int) -> None:
        self.killed = number
        self.error = f"terminated by signal {number}"


# In a process -------------------------------------------------------------------------------------


class ForkedChild(Child):
    """A child process; ``pipe`` is where it reports."""

    def __init__(self, purpose: str, pid: int, pipe: int, total: int) -> None:
        super().__init__(purpose, pid, total)
        self._pipe = pipe
        self._rest = b""

    def poll(self) -> bool:
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
            self._killed_by(os.WTERMSIG(status))
        elif status and not self.error:
            self.error = f"exited with status {os.waitstatus_to_exitcode(status)}"
        return True

    def kill(self) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> None:
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
    task: Task,
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
        return ForkedChild(purpose, pid, read_end, keyspace.size())
    status = 1
    try:
        os.close(read_end)
        prepare()
        status = _run(keyspace, task, write_end, parent)
    finally:
        os._exit(status)


_CPUS: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5})(?::(\d{1,5}))?)?")


def bind_to(cpus: str) -> None:
    """Bind this process to processors, named as in Redis' ``bgsave_cpulist``: ``0,2-4,8-20:3``
    (every third from 8 to 20). As there, what is wrong or not possible here changes nothing."""
    found: set[int] = set()
    for part in cpus.split(","):
        match = _CPUS.fullmatch(part.strip())
        if match is None:
            return
        first, last, step = (int(number) if number else 0 for number in match.groups())
        found.update(range(first, max(first, last) + 1, step or 1))
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, found)


def _run(keyspace: Keyspace, task: Task, pipe: int, parent: int) -> int:
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
    except Exception as error:
        report = {"error": _describe(error)}
    os.write(pipe, json.dumps(report).encode() + b"\n")
    return 1 if "error" in report else 0


def _describe(error: BaseException) -> str:
    """One sentence."""
    reason = error.strerror if isinstance(error, OSError) else ""
    return reason or str(error) or type(error).__name__


def _private_bytes() -> int:
    """Private dirty bytes of this process (Linux), 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Private_Dirty:"):
                return int(line.split()[1]) * 1024
    return 0


# On a thread --------------------------------------------------------------------------------------


class ThreadChild(Child):
    """A task on a thread of this process, with a `StableView`."""

    def __init__(self, purpose: str, keyspace: Keyspace, task: Task) -> None:
        super().__init__(purpose, os.getpid(), keyspace.size())
        self._keyspace = keyspace
        self._view = StableView(keyspace)
        self._thread = threading.Thread(
            target=self._run, args=(task, self._view), name=f"kvcore-{purpose}", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            keyspace.thaw()
            raise PersistenceError(f"can't start a thread: {error}") from error

    def poll(self) -> bool:
        if self.running and not self._thread.is_alive():
            self.cow_bytes = self._keyspace.spared()
            self._view.close()
            self._keyspace.thaw()
            self.ended = time.time()
        return not self.running

    def kill(self) -> None:
        if self.running:
            self._view.close()
            self.wait()

    def wait(self) -> None:
        self._thread.join()
        self.poll()

    # On the thread ----------------------------------------------------------------------------

    def _run(self, task: Task, view: View) -> None:
        try:
            task(view, self._progress)
            self.done = self.total
        except Killed:
            self._killed_by(signal.SIGKILL)
        except BaseException as error:  # whatever it is, it must not pass for a success
            self.error = _describe(error)

    def _progress(self, keys: int) -> None:
        self.done = keys
        self.cow_bytes = self._keyspace.spared()
        if self._view.closed:
            raise Killed
