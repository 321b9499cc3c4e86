"""A policy of one file, as small as one that keeps every promise can be; and ways to break them.

The file is records of one commit each: length and CRC-32 of the payload, then the payload, which is
JSON of the commands (bytes as Latin-1). A snapshot is the file written anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from typing import ClassVar

from kvcore import Batch, CorruptData, Found, Host, Loader, Persistence, View
from kvcore.config import Config
from kvcore.storage import File, Storage

HEADER = struct.Struct("<II")
FILE = "journal"
PREFIX = "temp-journal-"
Commands = list[tuple[int, list[bytes]]]


def record(commands: Commands) -> bytes:
    texts = [(db, [arg.decode("latin-1") for arg in argv]) for db, argv in commands]
    payload = json.dumps(texts).encode()
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def payload_at(data: bytes, at: int) -> bytes | None:
    """The payload of the record that begins there, if it is whole."""
    if at + HEADER.size > len(data):
        return None
    size, crc = HEADER.unpack_from(data, at)
    payload = data[at + HEADER.size : at + HEADER.size + size]
    return payload if size and len(payload) == size and zlib.crc32(payload) == crc else None


class Journal(Persistence):
    """Every commit is durable before its reply. Its methods are what the broken ones replace."""

    name: ClassVar[str] = "journal"
    log: ClassVar[str] = "commands"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.file: File | None = None
        self.pending: list[bytes] = []
        self.whole = 0
        self.sick = False  # a sync failed: what the file holds is anybody's guess

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        claims = (FILE, *(name for name in storage.list() if name.startswith(PREFIX)))
        stat = storage.stat(FILE)
        return Found((FILE,), claims, stat.mtime) if stat and stat.size else Found((), claims)

    # Opening and closing ----------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        storage = self.host.storage
        if storage.stat(FILE) is None:
            return
        with storage.open(FILE) as file:
            data = file.read()
        at = 0
        while (payload := payload_at(data, at)) is not None:
            self.replay(loader, json.loads(payload))
            at += HEADER.size + len(payload)
        if any(payload_at(data, later) is not None for later in range(at + 1, len(data))):
            self.refuse(at)
        self.whole = at

    def replay(self, loader: Loader, commands: list[tuple[int, list[str]]]) -> None:
        for db, argv in commands:
            loader.replay(db, [arg.encode("latin-1") for arg in argv])

    def refuse(self, at: int) -> None:
        raise CorruptData("a record is damaged", path=self.host.storage.describe(FILE), offset=at)

    def start(self) -> None:
        storage = self.host.storage
        self.tidy(storage)
        if self.file is not None:  # adopted
            return
        if storage.stat(FILE) is None:
            self.file = storage.create(FILE)
            storage.sync_dir()
            return
        self.file = storage.reopen(FILE)
        if self.file.size > self.whole:
            self.mend(self.file)

    def tidy(self, storage: Storage) -> None:
        for name in storage.list():
            if name.startswith(PREFIX):
                storage.remove(name)

    def mend(self, file: File) -> None:
        """Cut off what a crash has left of a record."""
        file.truncate(self.whole)
        file.sync()

    def close(self, save: bool | None) -> None:
        if self.file is None:  # only loaded from, by another policy
            return
        if self.sick:
            self.snapshot(self.host.view())
        self.flush()
        self.file.close()

    def release(self) -> None:
        if self.file is not None:
            self.file.close()

    # Commits ----------------------------------------------------------------------------------

    def append(self, batch: Batch) -> None:
        self.pending += self.encode(batch)

    def encode(self, batch: Batch) -> list[bytes]:
        return [record(batch.commands)]

    def flush(self) -> None:
        assert self.file is not None
        if self.sick:
            raise OSError("the journal has to be written anew")
        if self.pending:
            self.write(self.file)
            self.sync(self.file)

    def write(self, file: File) -> None:
        before = file.size
        try:
            file.append(b"".join(self.pending))
        except OSError:
            self.undo(file, before)
            raise
        self.pending = []

    def undo(self, file: File, size: int) -> None:
        try:
            file.truncate(size)
        except OSError:
            self.sick = True

    def sync(self, file: File) -> None:
        try:
            file.sync()
        except OSError:
            self.sick = True
            raise

    def cron(self, now: float) -> None:
        if self.sick:
            self.snapshot(self.host.view())

    # Snapshots --------------------------------------------------------------------------------

    def snapshot(self, view: View) -> None:
        storage = self.host.storage
        temp = f"{PREFIX}{os.getpid()}"
        file = storage.create(temp)
        try:
            for commands in self.commands_of(view):
                file.append(record(commands))
            self.sync_new(file)
            # From here on either file may be the journal, should the rest fail.
            self.sick = True
            self.rename(storage, temp)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                storage.remove(temp)
            raise
        if self.file is not None:
            self.file.close()
        self.file = file
        self.pending = []
        self.sick = False

    def commands_of(self, view: View) -> list[Commands]:
        found: list[Commands] = []
        for db, _, _ in view.databases():
            for key, value, expiry in view.entries(db):
                commands = [(db, argv) for argv in view.types.of(value).rewrite(key, value)]
                if expiry >= 0:
                    commands.append((db, [b"PEXPIREAT", key, b"%d" % expiry]))
                found.append(commands)
        return found

    def sync_new(self, file: File) -> None:
        file.sync()

    def rename(self, storage: Storage, temp: str) -> None:
        storage.rename(temp, FILE)
        storage.sync_dir()


# Broken promises ----------------------------------------------------------------------------------


class NeverSyncs(Journal):
    def sync(self, file: File) -> None:
        pass


class LeavesTornEnd(Journal):
    def mend(self, file: File) -> None:
        pass


class TearsTransactions(Journal):
    def encode(self, batch: Batch) -> list[bytes]:
        return [record([command]) for command in batch.commands]


class BelievesFailedSyncs(Journal):
    def sync(self, file: File) -> None:
        with contextlib.suppress(OSError):
            file.sync()


class RetriesFailedSyncs(Journal):
    def sync(self, file: File) -> None:
        try:
            file.sync()
        except OSError:
            self.pending = [b""]  # so that the next flush comes here again
            raise


class DropsWhatFailed(Journal):
    def write(self, file: File) -> None:
        pending, self.pending = self.pending, []
        before = file.size
        try:
            file.append(b"".join(pending))
        except OSError:
            self.undo(file, before)


class LeavesShortWrites(Journal):
    def undo(self, file: File, size: int) -> None:
        pass


class NeverRecovers(Journal):
    def undo(self, file: File, size: int) -> None:
        self.sick = True

    def cron(self, now: float) -> None:
        pass


class RenamesUnsynced(Journal):
    def sync_new(self, file: File) -> None:
        pass


class ForgetsTheFolder(Journal):
    def rename(self, storage: Storage, temp: str) -> None:
        storage.rename(temp, FILE)


class RemovesFirst(Journal):
    def rename(self, storage: Storage, temp: str) -> None:
        storage.remove(FILE)
        super().rename(storage, temp)


class WritesInPlace(Journal):
    def rename(self, storage: Storage, temp: str) -> None:
        with storage.open(temp) as source, contextlib.closing(storage.create(FILE)) as target:
            target.append(source.read())
            target.sync()
        super().rename(storage, temp)


class LeavesTemporaries(Journal):
    def tidy(self, storage: Storage) -> None:
        pass


class SwallowsDamage(Journal):
    def refuse(self, at: int) -> None:
        pass


class CutsDamage(Journal):
    def refuse(self, at: int) -> None:
        with contextlib.closing(self.host.storage.reopen(FILE)) as file:
            file.truncate(at)
        super().refuse(at)


class ForgetsAdoption(Journal):
    def adopt(self, view: View) -> None:
        pass


class AdoptsOnTop(Journal):
    def adopt(self, view: View) -> None:
        with self.host.storage.open(FILE) as file:
            before = file.read()
        super().adopt(view)
        assert self.file is not None
        self.file.append(before)
        self.file.sync()


class LosesDatabases(Journal):
    def replay(self, loader: Loader, commands: list[tuple[int, list[str]]]) -> None:
        super().replay(loader, [(0, argv) for _, argv in commands])


class TakesBytesForText(Journal):
    def replay(self, loader: Loader, commands: list[tuple[int, list[str]]]) -> None:
        for db, argv in commands:
            loader.replay(db, [arg.encode("utf-8") for arg in argv])


class LosesExpiry(Journal):
    def commands_of(self, view: View) -> list[Commands]:
        return [
            [command for command in commands if command[1][0] != b"PEXPIREAT"]
            for commands in super().commands_of(view)
        ]


class KeepsTheLastCommit(Journal):
    """Writes a commit when the next one comes; closing writes it, but NOSAVE does not."""

    def flush(self) -> None:
        if len(self.pending) > 1:
            super().flush()

    def close(self, save: bool | None) -> None:
        if save is not False:
            Journal.flush(self)


class WritesWhileProbing(Journal):
    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        storage.remove("lock")
        return super().probe(storage, config)


class ClaimsNoFile(Journal):
    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        return Found((), (), 0.0)


class LoadsTwice(Journal):
    def load(self, loader: Loader) -> None:
        super().load(loader)
        if self.file is not None:  # a reload
            super().load(loader)
