"""Bases and increments as whole files: writing a base, loading either.

A base is an RDB file with the AUX field ``aof-base`` (aof-use-rdb-preamble yes), or commands that
rebuild every key. A log of Redis before 7 may be both: an RDB file, and commands behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO, Final, cast

from kvcore.codec.output import Output
from kvcore.codec.rdb import Reader
from kvcore.config import Config
from kvcore.errors import CorruptData
from kvcore.persistence import Loader, View
from kvcore.resp import encode_request
from kvcore.storage import File
from kvcore_aof.commands import Replayer
from kvcore_rdb import format
from kvcore_rdb.delays import SlowLoader, SlowView

SYNC_BYTES: Final = 4 << 20
WRITE_BYTES: Final = 1 << 18
REPORT_KEYS: Final = 1024
TAIL_BYTES: Final = 1 << 16

RDB_SUFFIX: Final = ".base.rdb"  # of files that were written so


# Writing ------------------------------------------------------------------------------------------


def ignore(keys: int) -> None:
    """The progress of a base that nobody watches."""


class Form:
    """How to write a base: all that the configuration says of it, at one moment.

    Whoever writes may be on another thread, where the configuration is out of reach.
    """

    def __init__(self, config: Config) -> None:
        self.rdb = bool(config["aof-use-rdb-preamble"])
        self.compress = bool(config["rdbcompression"])
        self.checksum = bool(config["rdbchecksum"])
        self.version = int(config["rdb-version"])
        self.sync_bytes = SYNC_BYTES if config["aof-rewrite-incremental-fsync"] else 0
        self.second = int(time.time()) if config["aof-timestamp-enabled"] else 0
        self.delay = int(config["rdb-key-save-delay"])


def write(view: View, file: File, form: Form, progress: Callable[[int], None] = ignore) -> None:
    """Write all of ``view`` to ``file``, durably."""
    if form.delay:
        view = SlowView(view, form.delay, progress)
    sink = _Sink(file, form.sync_bytes)
    if form.rdb:
        format.write(
            view,
            sink.write,
            compress=form.compress,
            checksum=form.checksum,
            aux={"aof-base": 1},
            version=form.version,
            progress=progress,
        )
    else:
        if form.second:
            sink.write(b"#TS:%d\r\n" % form.second)
        _write_commands(view, sink.write, progress)
    file.sync()


def _write_commands(
    view: View, write: Callable[[bytes], None], progress: Callable[[int], None]
) -> None:
    types = view.types
    out = Output()
    size = done = 0
    for db, _, _ in view.databases():
        encode_request([b"SELECT", b"%d" % db], out)
        for key, value, expiry in view.entries(db):
            for argv in types.of(value).rewrite(key, value):
                encode_request(argv, out)
                size += sum(map(len, argv))
                if size >= WRITE_BYTES:
                    write(b"".join(out.take()))
                    size = 0
            if expiry >= 0:
                encode_request([b"PEXPIREAT", key, b"%d" % expiry], out)
            done += 1
            if not done % REPORT_KEYS:
                progress(done)
    write(b"".join(out.take()))
    progress(done)


class _Sink:
    """A file that is written in large pieces, and synced every ``step`` bytes (0: never).

    Syncing on the way keeps the sync at the end from stalling the disk.
    """

    def __init__(self, file: File, step: int) -> None:
        self._file = file
        self._step = step
        self._unsynced = 0

    def write(self, data: bytes) -> None:
        self._file.append(data)
        self._unsynced += len(data)
        if self._step and self._unsynced >= self._step:
            self._file.sync()
            self._unsynced = 0


# Loading ------------------------------------------------------------------------------------------


class Source:
    """An open file of ``size`` bytes that tells the loader how far a load of ``total`` bytes is,
    of which ``before`` were in other files."""

    def __init__(
        self, file: BinaryIO, size: int, loader: Loader, before: int = 0, total: int = 0
    ) -> None:
        self.file = file
        self.size = size
        self._loader = loader
        self._before = before
        self._total = total or size
        self._done = 0

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.size - self._done))
        self._done += len(data)
        self._loader.progress(self._before + self._done, self._total)
        return data

    @property
    def offset(self) -> int:
        return self._done

    def seek(self, offset: int) -> None:
        self.file.seek(offset)
        self._done = offset

    def leave_zeroes(self) -> str:
        """Let the file end before the zeroes at its end: says why, "" if there are none.

        A file system may know how long a file is before it has the bytes. Commands end in CRLF.
        """
        end = self.size
        while end > self._done:
            first = max(self._done, end - TAIL_BYTES)
            self.file.seek(first)
            kept = self.file.read(end - first).rstrip(b"\0")
            end = first + len(kept)
            if kept:
                break
        zeroes = self.size - end
        self.size = end
        self.seek(self._done)
        return f"{zeroes} zero bytes" if zeroes else ""


def load(
    source: Source, loader: Loader, path: str, config: Config, *, is_base: bool
) -> tuple[int, str, format.Contents | None]:
    """Load one file: where its whole part ends, why that is not all, and what its RDB part held.

    Only a base may have an RDB part. Raises CorruptData; see `Replayer.finish` for the end.
    """
    if config["key-load-delay"]:
        loader = SlowLoader(loader, config)
    contents = None
    if is_base:
        contents = read_preamble(source, loader, path, checksum=bool(config["rdbchecksum"]))
    zeroes = source.leave_zeroes()
    replayer = Replayer(loader, path, source.offset)
    while data := source.read(replayer.want):
        replayer.feed(data)
    end, why = replayer.finish()
    return end, why or zeroes, contents


def read_preamble(
    source: Source,
    loader: Loader,
    path: str,
    *,
    checksum: bool = True,
    contents: format.Contents | None = None,
) -> format.Contents | None:
    """Load the RDB part that a base may begin with, and leave the source behind it.

    None if there is no such part. ``contents`` as in `format.read`. Raises CorruptData.
    """
    head = source.read(len(format.VALKEY_MAGIC))
    source.seek(0)
    if not format.begins(head):
        if path.endswith(RDB_SUFFIX):
            # It was durable before a manifest named it, so no crash has emptied it.
            raise CorruptData(f"no RDB file: it starts with {head!r}", path=path, offset=0)
        return None
    reader = Reader(cast("BinaryIO", source), path=path, size=source.size, checksum=checksum)
    contents = format.read(reader, loader, checksum=checksum, keep_expired=True, contents=contents)
    source.seek(reader.offset)
    return contents
