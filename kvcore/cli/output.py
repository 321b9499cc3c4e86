"""Writing keys to new files: a snapshot, a log, or JSON lines.

What is written gets its name only when it is whole and durable; an error leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from kvcore.cli import jsonlines
from kvcore.cli.terminal import Unreadable
from kvcore.codec.rdb import VERSION, Writer
from kvcore.config import Config
from kvcore.reading import registry
from kvcore.storage import LocalStorage

Append = Callable[[bytes], None]

_LINES_BYTES: Final = 1 << 18


def refuse_existing(path: str) -> None:
    """Raises Unreadable if something lies at ``path`` (an empty folder is nothing)."""
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise Unreadable(f"{path} exists already; choose another name, nothing is overwritten")


@contextlib.contextmanager
def new_file(path: str, *, keep: str = "") -> Iterator[Append]:
    """Yields what appends to a file that takes the name ``path`` at the end, durably.

    What had that name is lost, or gets the name ``keep``; the new file has its owner and mode then.
    """
    folder, name = os.path.split(os.path.abspath(path))
    storage = LocalStorage(folder)
    temporary = f"temp-{os.getpid()}-{name}"
    file = storage.create(temporary)
    try:
        with contextlib.closing(file):
            yield file.append
            file.sync()
        if keep:
            _keep(path, keep, storage.describe(temporary))
        storage.rename(temporary, name)
    except BaseException:
        storage.remove(temporary)
        raise
    storage.sync_dir()


def _keep(path: str, keep: str, replacement: str) -> None:
    """Give the file at ``path`` a second name, and its owner and mode to what will replace it."""
    stat = os.stat(path)
    os.chmod(replacement, stat.st_mode & 0o7777)
    if hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):  # only root may give files away
            os.chown(replacement, stat.st_uid, stat.st_gid)
    try:
        os.link(path, keep)  # so that there is a file of this name at every moment
    except OSError:  # a file system without links
        os.rename(path, keep)


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[LocalStorage]:
    """Yields a storage whose folder takes the name ``path`` at the end.

    Whoever writes there makes the files durable.
    """
    folder, name = os.path.split(os.path.abspath(path))
    parent = LocalStorage(folder)
    temporary = f"temp-{os.getpid()}-{name}"
    parent.make_folder(temporary)
    try:
        yield LocalStorage(os.path.join(folder, temporary))
        parent.rename(temporary, name)
    except BaseException:
        _remove_tree(os.path.join(folder, temporary))
        raise
    parent.sync_dir()


def _remove_tree(path: str) -> None:
    for folder, _, files in os.walk(path, topdown=False):
        for file in files:
            os.unlink(os.path.join(folder, file))
        os.rmdir(folder)


class Output:
    """Takes keys one by one. ``keys`` and ``written`` (bytes) count what it took."""

    keys: int

    def __init__(self) -> None:
        self.keys = 0

    def put(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """All keys are there."""

    @property
    def written(self) -> int:
        raise NotImplementedError


class RdbOutput(Output):
    """A snapshot of the given RDB version (None: what the plugin writes by itself)."""

    def __init__(
        self,
        append: Callable[[bytes], None],
        version: int | None = None,
        aux: dict[str, str | int] | None = None,
    ) -> None:
        from kvcore_rdb import format

        super().__init__()
        self._format = format
        self._types = registry()
        self._writer = Writer(append, checksum=True, version=version or VERSION)
        self._db = -1
        format.begin(self._writer, aux=aux or {})

    def put(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        if db != self._db:
            self._format.select(self._writer, db)
            self._db = db
        self._format.write_keys(self._writer, self._types, [(key, value, expiry)])
        self.keys += 1

    def finish(self) -> None:
        self._format.end(self._writer)

    @property
    def written(self) -> int:
        return self._writer.written


class LinesOutput(Output):
    """JSON lines."""

    def __init__(self, append: Callable[[bytes], object]) -> None:
        super().__init__()
        self._append = append
        self._types = registry()
        self._pending: list[bytes] = []
        self._size = 0
        self._written = 0

    def put(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        line = jsonlines.dump(db, key, value, expiry, self._types)
        self._pending.append(line)
        self._size += len(line)
        self.keys += 1
        if self._size >= _LINES_BYTES:
            self.finish()

    def finish(self) -> None:
        self._append(b"".join(self._pending))
        self._written += self._size
        self._pending.clear()
        self._size = 0

    @property
    def written(self) -> int:
        return self._written + self._size


@contextlib.contextmanager
def rdb_file(path: str, version: int | None = None) -> Iterator[Output]:
    with new_file(path) as append:
        output = RdbOutput(append, version)
        yield output
        output.finish()


@contextlib.contextmanager
def lines_file(path: str) -> Iterator[Output]:
    """``-`` is standard output."""
    if path == "-":
        sys.stdout.flush()
        output = LinesOutput(sys.stdout.buffer.write)
        yield output
        output.finish()
        sys.stdout.buffer.flush()
        return
    with new_file(path) as append:
        output = LinesOutput(append)
        yield output
        output.finish()


@contextlib.contextmanager
def log_folder(path: str, version: int | None = None) -> Iterator[Output]:
    """A data folder with a log: its base holds the keys, its increment is empty."""
    from kvcore_aof.folder import Folder
    from kvcore_aof.manifest import Manifest

    with new_folder(path) as storage:
        folder = Folder(storage, Config())
        folder.make()
        manifest = Manifest()
        manifest.base = folder.next_base(manifest, rdb=True)
        with contextlib.closing(folder.create(manifest.base)) as file:
            output = RdbOutput(file.append, version, {"aof-base": 1})
            yield output
            output.finish()
            file.sync()
        part = folder.next_increment(manifest)
        folder.create(part).close()
        manifest.increments.append(part)
        folder.save(manifest)
