"""Stores without a clock of their own, and a disk that counts, waits and fails on demand."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path

import pytest

from kvcore import digest
from kvcore.config import Config
from kvcore.errors import CommandError
from kvcore.instance import Instance
from kvcore.session import Session
from kvcore.storage import File, LocalStorage, Storage
from kvcore_aof.sync import QUICK_S

DEADLINE_S = 30
START = 1_700_000_000.0  # what `Opened.cron` calls now, in the beginning


class Disk(LocalStorage):
    """A local folder whose faults are set by attributes.

    ``room``       bytes that may still be written; then ENOSPC, after a short write. None: enough
    ``broken``     every sync fails with EIO
    ``deaf``       so does every truncation
    ``gate``       syncs of increments wait until it is set
    ``slow``       each sync of an increment takes longer than the policy does inline
    ``quick``      syncs of increments take no time at all
    ``synced``     bytes of each file that are durable
    ``syncs``      how many syncs of increments have begun
    """

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.room: int | None = None
        self.broken = False
        self.deaf = False
        self.slow = False
        self.quick = False
        self.gate = threading.Event()
        self.gate.set()
        self.synced: dict[str, int] = {}
        self.syncs = 0

    def create(self, name: str) -> File:
        return DiskFile(self, super().create(name))

    def reopen(self, name: str) -> File:
        return DiskFile(self, super().reopen(name))


class DiskFile(File):
    def __init__(self, disk: Disk, file: File) -> None:
        self._disk = disk
        self._file = file
        self.name = file.name

    @property
    def size(self) -> int:  # type: ignore[override]
        return self._file.size

    def append(self, data: bytes) -> None:
        room = self._disk.room
        if room is None:
            self._file.append(data)
            return
        self._file.append(data[:room])
        self._disk.room = max(0, room - len(data))
        if len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        size = self._file.size
        if ".incr." in self.name:
            self._disk.syncs += 1
            assert self._disk.gate.wait(DEADLINE_S)
            if self._disk.slow:
                time.sleep(20 * QUICK_S)
        if self._disk.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if not self._disk.quick:
            self._file.sync()
        self._disk.synced[self.name] = size

    def truncate(self, size: int) -> None:
        if self._disk.deaf:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class Opened:
    """A store whose loop is turned by hand: `do` commands, `flush` a turn, `cron` a tick."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.policy = instance.persistence
        self.deaths: list[str] = []
        instance.on_fatal = self.deaths.append
        instance.lock()
        try:
            instance.load()
        except BaseException:
            instance.release()
            raise
        self.session = Session(instance.engine)
        self.now = START

    def do(self, *words: str | bytes | int) -> object:
        """Run a command; an error reply is returned as its text."""
        argv = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        try:
            return self.session.execute(argv)
        except CommandError as error:
            return f"-{error}"

    def flush(self) -> Future[None] | None:
        """What the server does at the end of a turn, before replies leave."""
        return self.instance.engine.flush()

    def write(self, *words: str | bytes | int) -> Future[None] | None:
        """A command, and the end of its turn."""
        reply = self.do(*words)
        assert not (isinstance(reply, str) and reply.startswith("-")), reply
        return self.flush()

    def transaction(self, *commands: tuple[str | bytes | int, ...]) -> None:
        assert self.do("MULTI") == "OK"
        for command in commands:
            assert self.do(*command) == "QUEUED"
        assert isinstance(self.do("EXEC"), list)
        self.flush()

    def cron(self, seconds: float = 0.0) -> None:
        """Housekeeping, so many seconds later."""
        self.now += seconds
        self.instance.engine.commit()
        self.policy.cron(self.now)

    def until(self, holds: Callable[[], object]) -> None:
        """Let time stand still, but not the machine, until something is so."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline
            self.cron()
            time.sleep(0.002)

    def rewrite(self) -> None:
        """BGREWRITEAOF, to its end."""
        assert self.do("BGREWRITEAOF") == "Background append only file rewriting started"
        self.until(lambda: not self.info("rewrite_in_progress"))

    def configure(self, name: str, value: str) -> None:
        """CONFIG SET."""
        self.instance.config.set_many([(name.encode(), value.encode())])

    def info(self, field: str) -> object:
        return self.policy.info()["aof_" + field]

    def digest(self) -> str:
        return digest.of_keyspace(self.instance.keyspace).hex()

    def keys(self) -> list[bytes]:
        return sorted(key for _, key, _ in self.instance.keyspace.walk())

    def crash(self) -> None:
        """The process is gone: nothing more is written, nothing is synced."""
        child = self.instance.active_child
        if child is not None:
            child.kill()
        self.instance.release()

    def close(self) -> None:
        self.instance.shutdown(None)


def end_child(store: Opened) -> None:
    """Kill it behind the policy's back."""
    child = store.instance.active_child
    assert child is not None
    if child.pid == os.getpid():
        child.kill()
    else:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


# For tests of children: these are processes, and then threads.
either_way = pytest.mark.parametrize("opener", ["fork", "inprocess"], indirect=True)


class Opener:
    """Opens stores on one folder, and closes them at the end."""

    def __init__(self, folder: Path, persistence: str = "aof", method: str = "fork") -> None:
        self.folder = folder
        self.method = method
        self.persistence = persistence
        self.stores: list[Opened] = []

    def __call__(self, *, storage: Storage | None = None, **options: object) -> Opened:
        config = Config()
        options = {"save": "", "snapshot_method": self.method, **options}
        config.set_keywords({"dir": str(self.folder), "persistence": self.persistence, **options})
        self.stores.append(Opened(Instance(config, storage=storage)))
        return self.stores[-1]

    def reopen(self, store: Opened, **options: object) -> Opened:
        store.close()
        return self(**options)

    def close(self) -> None:
        for store in self.stores:
            store.crash()


def files(folder: Path) -> dict[str, bytes]:
    """Every file of the log by its name."""
    return {path.name: path.read_bytes() for path in (folder / "appendonlydir").iterdir()}


def write_log(folder: Path, parts: dict[str, bytes], manifest: str | None = None) -> None:
    """Make a log by hand; the manifest lists names like 1.base.aof and 1.incr.aof by itself."""
    target = folder / "appendonlydir"
    target.mkdir(exist_ok=True)
    lines = []
    for name, content in parts.items():
        (target / name).write_bytes(content)
        seq, kind = name.split(".")[-3:-1]
        lines.append(f"file {name} seq {seq} type {kind[0]}\n")
    (target / "appendonly.aof.manifest").write_text(manifest or "".join(lines))


def request(*words: str | bytes) -> bytes:
    """One command as the log holds it."""
    args = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


def requests(commands: Iterable[tuple[str | bytes, ...]]) -> bytes:
    return b"".join(request(*command) for command in commands)
