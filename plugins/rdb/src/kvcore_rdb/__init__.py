"""Persistence policy ``rdb``: point-in-time snapshots in one file of Redis' RDB format.

What it promises: a snapshot that was reported (SAVE answered, LASTSAVE moved) survives a crash,
and at every moment there is one whole snapshot or the one before it. What was written after the
last snapshot is lost in a crash; the save points (``save 60 1000``) bound how much that is.

A snapshot is written to ``temp-<pid>.rdb``, synced, and only then renamed over the last one.
What a start loads, and the names by which earlier snapshots stay, is in kvcore_rdb.snapshots.
BGSAVE does that in a child, and so it is the child that renames; it looks first whether its parent
still lives and wants it, because a store that was opened anew must not have its file replaced by
what an orphan knew.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from kvcore.codec.rdb import Reader
from kvcore.command import Command, Family
from kvcore.config import Config
from kvcore.errors import SYNTAX, CommandError, CorruptData, PersistenceError
from kvcore.persistence import Found, Host, Loader, Persistence, View
from kvcore.snapshot import Child
from kvcore.storage import File, Storage
from kvcore_rdb import format, snapshots
from kvcore_rdb.delays import SlowLoader, SlowView

SYNC_BYTES: Final = 4 << 20
RETRY_S: Final = 5

IN_PROGRESS: Final = "ERR Background save already in progress"
OTHER_CHILD: Final = (
    "ERR Another child process is active (AOF?): can't BGSAVE right now. "
    "Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible."
)
MISCONF: Final = (
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
    "disk. Commands that may modify the data set are disabled, because this instance is configured "
    "to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error "
    "option). Please check the Redis logs for details about the RDB error."
)

LOG_FIELD: Final = "kvcore-log"  # AUX: was a log kept besides? Redis ignores it

_TEMPORARY: Final = re.compile(r"temp-\d+\.rdb")


class RdbPersistence(Persistence):
    """Snapshots on demand (SAVE, BGSAVE), at save points and at the end.

    ``last_save``  Unix seconds of the last good snapshot, at first of the start
    ``last_ok``    False once a background save failed, until the next success
    ``saves``      snapshots that were tried
    ``beside_log`` a log is kept besides, which is the first to be loaded: the file says so
    """

    name: ClassVar[str] = "rdb"

    def __init__(self, host: Host, *, beside_log: bool = False) -> None:
        super().__init__(host)
        self.last_save = int(time.time())
        self.last_ok = True
        self.saves = 0
        self.beside_log = beside_log
        self.keys_loaded = 0
        self.keys_expired = 0
        self._last_try = 0.0
        self._last_seconds = -1
        self._cow_bytes = 0
        self._scheduled = False
        self._emptied = False
        self._refusing = False
        self._child: Child | None = None
        self._writing = _Snapshot(host, beside_log)  # what the child does
        self._dirty_before = 0
        for option in ("save", "stop-writes-on-bgsave-error"):
            host.config.subscribe(option, self._on_option)

    # Opening ----------------------------------------------------------------------------------

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        name = snapshots.choose(storage, config)
        named = [taken.name for taken in snapshots.others(storage, config)]
        claims = (str(config["dbfilename"]), *named, *_temporary_files(storage))
        stat = storage.stat(name) if name else None
        if stat is None:
            return Found((), claims)
        return Found((name,), claims, stat.mtime, secondary=was_beside_log(storage, name) is True)

    def load(self, loader: Loader) -> None:
        config, storage, log = self.host.config, self.host.storage, self.host.log
        name = snapshots.choose(storage, config)
        checksum = bool(config["rdbchecksum"])
        stat = storage.stat(name) if name else None
        if stat is None:
            return
        doubt = snapshots.refuse_doubt(storage, config, name)
        if doubt:
            log.warning(doubt, file=storage.describe(name))
        if config["key-load-delay"]:
            loader = SlowLoader(loader, config)
        with storage.open(name) as file:
            reader = Reader(
                format.source(file, stat.size, loader),
                path=storage.describe(name),
                size=stat.size,
                checksum=checksum,
            )
            try:
                contents = format.read(reader, loader, checksum=checksum)
            except CorruptData as error:
                error.advice = error.advice or snapshots.advice(storage, config, name)
                raise
        self.keys_loaded, self.keys_expired = contents.keys, contents.expired
        loader.note(keys_loaded=contents.keys, keys_expired=contents.expired)
        for line in contents.warnings():
            log.warning(line, file=storage.describe(name))
        log.info(
            f"Done loading RDB, {contents.counts()}.",
            produced_by=contents.maker or "an unknown version",
        )

    def start(self) -> None:
        """Remove what children of earlier processes left unfinished."""
        storage = self.host.storage
        for name in _temporary_files(storage):
            self.host.log.info(
                "Removing the unfinished snapshot of a process that is gone",
                file=storage.describe(name),
            )
            with contextlib.suppress(OSError):  # it is in nobody's way but the disk's
                storage.remove(name)

    # Snapshots --------------------------------------------------------------------------------

    def snapshot(self, view: View) -> None:
        """SAVE. Raises PersistenceError; the last snapshot is in place then, writes go on."""
        self._end_child()  # it knows less than we do, and must not rename after us
        try:
            _Snapshot(self.host, self.beside_log).write(view)
        except OSError as error:
            self._report(error)
            self.host.saved("rdb", str(error))
            raise PersistenceError(f"can't save the snapshot: {error}") from error
        self.host.log.info("DB saved on disk")
        self._succeeded(0)

    def emptied(self) -> None:
        self._end_child()  # nobody wants what it writes any more
        self._emptied = bool(self.host.config["save"])

    def flush(self) -> None:
        """After FLUSHALL, where there are save points, the snapshot is empty at once, as in Redis:
        a crash must not bring the data back. That it fails is in the log, and a save point will
        try again. (Not before the transaction is over: half of it is no point in time.)"""
        if self._emptied:
            self._emptied = False
            with contextlib.suppress(PersistenceError):
                self.snapshot(self.host.view())

    def bgsave(self) -> None:
        """Start a snapshot in a child; `cron` notices its end. Raises PersistenceError."""
        host = self.host
        self.saves += 1
        self._last_try = time.time()
        self._dirty_before = host.dirty
        self._writing = _Snapshot(host, self.beside_log)
        try:
            self._child = host.background("rdb", self._writing.write)
        except PersistenceError as error:
            host.log.warning(f"Can't save in background: {error}")
            self._failed(str(error))
            raise
        self._scheduled = False
        host.log.info(f"Background saving started by pid {self._child.pid}")

    def _report(self, error: OSError) -> None:
        self.host.log.warning(
            f"Write error saving DB on disk: {error.strerror or error}",
            file=self.host.storage.describe(str(self.host.config["dbfilename"])),
        )

    def _succeeded(self, dirty: int) -> None:
        self.host.dirty = dirty
        self.last_save = int(time.time())
        self.last_ok = True
        self._gate()
        self.host.saved("rdb")

    def _failed(self, error: str) -> None:
        self.last_ok = False
        self._gate()
        self.host.saved("rdb", error)

    def _gate(self) -> None:
        """Refuse writes while background saves are wanted and fail, as Redis does."""
        config = self.host.config
        refuse = bool(not self.last_ok and config["save"] and config["stop-writes-on-bgsave-error"])
        if refuse != self._refusing:
            self._refusing = refuse
            self._tell_refusal()

    def _tell_refusal(self) -> None:
        self.host.refuse_writes(MISCONF if self._refusing else None)

    def _on_option(self, value: object) -> None:
        self._gate()

    # Time and children ------------------------------------------------------------------------

    def cron(self, now: float) -> None:
        child = self._child
        if child is not None and child.poll():
            self._child = None
            self._reap(child)
        if self.host.active_child is None and (self.last_ok or now - self._last_try > RETRY_S):
            with contextlib.suppress(PersistenceError):  # it is in the log, and writes are refused
                self._save_if_due(now)

    def _save_if_due(self, now: float) -> None:
        if self._scheduled:
            self.bgsave()
            return
        dirty = self.host.dirty
        for seconds, changes in self.host.config["save"]:
            if dirty >= changes and now - self.last_save > seconds:
                self.host.log.info(f"{changes} changes in {seconds} seconds. Saving...")
                self.bgsave()
                return

    def _reap(self, child: Child) -> None:
        log = self.host.log
        self._last_seconds = int(child.ended) - int(child.started)
        self._cow_bytes = child.cow_bytes
        if not child.error:
            log.info("Background saving terminated with success", keys=child.done)
            self._succeeded(max(0, self.host.dirty - self._dirty_before))
            return
        self._writing.discard(child.pid)
        if child.killed:
            log.warning(f"Background saving terminated by signal {child.killed}")
        else:
            log.warning("Background saving error", error=child.error)
        # SIGUSR1 is how an operator ends a background save without it counting as a failure.
        if child.killed != signal.SIGUSR1 and not child.cancelled:
            self._failed(child.error)

    def _end_child(self) -> None:
        """Kill a running background save and remove its file; that is no failure."""
        child = self._child
        if child is None:
            return
        self._child = None
        if child.running:
            self.host.log.warning("There is a child saving an .rdb. Killing it!", pid=child.pid)
            child.kill()
        self._writing.discard(child.pid)

    # Commands ---------------------------------------------------------------------------------

    def commands(self) -> Iterable[Command]:
        family = Family("server")
        size = "O(N) where N is the total number of keys in all databases"
        family("SAVE", 1, "admin noscript no_async_loading no_multi", complexity=size)(
            self.save_command
        )
        family("BGSAVE", -1, "admin noscript no_async_loading", complexity="O(1)")(
            self.bgsave_command
        )
        family(
            "LASTSAVE", 1, "loading stale fast", acl="@admin @fast @dangerous", complexity="O(1)"
        )(self.lastsave_command)
        return family.commands

    def save_command(self, ctx: object, argv: list[bytes]) -> object:
        """Synchronously saves the database(s) to disk."""
        if self._child is not None:
            raise CommandError(IN_PROGRESS)
        self.saves += 1
        try:
            self.snapshot(self.host.view())
        except PersistenceError:
            raise CommandError("ERR") from None
        return "OK"

    def bgsave_command(self, ctx: object, argv: list[bytes]) -> object:
        """Asynchronously saves the database(s) to disk."""
        option = argv[1].upper() if len(argv) == 2 else b""
        if option == b"CANCEL":
            return self._cancel()
        schedule = option == b"SCHEDULE"
        if len(argv) > 1 and not schedule:
            raise CommandError(SYNTAX)
        if self._child is not None:
            raise CommandError(IN_PROGRESS)
        nested = self.host.in_transaction
        if nested or self.host.active_child is not None:
            if not (schedule or nested):
                raise CommandError(OTHER_CHILD)
            self._scheduled = True
            return "Background saving scheduled"
        try:
            self.bgsave()
        except PersistenceError:
            raise CommandError("ERR") from None
        return "Background saving started"

    def _cancel(self) -> object:
        """BGSAVE CANCEL, of Valkey 8.1."""
        if self._child is not None:
            self.host.log.info("Background saving will be aborted due to user request")
            self._end_child()
            return "Background saving cancelled"
        if self._scheduled:
            self.host.log.info("Scheduled background saving will be cancelled due to user request")
            self._scheduled = False
            return "Scheduled background saving cancelled"
        raise CommandError("ERR Background saving is currently not in progress or scheduled")

    def lastsave_command(self, ctx: object, argv: list[bytes]) -> object:
        """Returns the Unix timestamp of the last successful save to disk."""
        return self.last_save

    # INFO and the end -------------------------------------------------------------------------

    def info(self) -> dict[str, object]:
        child = self._child
        running = -1 if child is None else int(time.time()) - int(child.started)
        return {
            "rdb_changes_since_last_save": self.host.dirty,
            "rdb_bgsave_in_progress": int(child is not None),
            "rdb_last_save_time": self.last_save,
            "rdb_last_bgsave_status": "ok" if self.last_ok else "err",
            "rdb_last_bgsave_time_sec": self._last_seconds,
            "rdb_current_bgsave_time_sec": running,
            "rdb_saves": self.saves,
            "rdb_last_cow_size": self._cow_bytes,
            "rdb_last_load_keys_expired": self.keys_expired,
            "rdb_last_load_keys_loaded": self.keys_loaded,
        }

    def close(self, save: bool | None) -> None:
        """A last snapshot if ``save`` asks for it, or by default if there are save points."""
        self._end_child()
        if save or (save is None and self.host.config["save"]):
            self.host.log.info("Saving the final RDB snapshot before exiting.")
            self.snapshot(self.host.view())

    def release(self) -> None:
        self._end_child()
        self.host.config.unsubscribe(self)

    def move(self, host: Host) -> None:
        """Go on as a part of another policy, or alone again."""
        self.host = host
        self._tell_refusal()


def was_beside_log(storage: Storage, name: str) -> bool | None:
    """Was this snapshot taken while a log was kept besides? None if its writer does not say."""
    aux = snapshots.read_aux(storage, name)
    said = None if aux is None else aux.get(LOG_FIELD)
    return None if said is None else said == b"yes"


class _Snapshot:
    """A snapshot in the making. CONFIG SET does not change what it will be, nor where."""

    def __init__(self, host: Host, beside_log: bool) -> None:
        config = host.config
        self._aux: dict[str, str | int] = {LOG_FIELD: "yes" if beside_log else "no"}
        self._storage = host.storage
        self._name = str(config["dbfilename"])
        self._pattern = str(config["snapshot-filename"])
        self._keep = int(config["snapshot-keep"])
        self._compress = bool(config["rdbcompression"])
        self._checksum = bool(config["rdbchecksum"])
        self._sync_often = bool(config["rdb-save-incremental-fsync"])
        self._version = int(config["rdb-version"])
        self._delay = int(config["rdb-key-save-delay"])

    def write(self, view: View, progress: Callable[[int], None] = format.ignore) -> None:
        """Put it in place of the last one. OSError, and the last one stays."""
        storage = self._storage
        temp = _temporary_file(os.getpid())
        when = snapshots.next_moment(storage, self._name)
        done = _Count(progress)
        try:
            with contextlib.closing(storage.create(temp)) as file:
                format.write(
                    SlowView(view, self._delay, done) if self._delay else view,
                    _Sink(file).write if self._sync_often else file.append,
                    compress=self._compress,
                    checksum=self._checksum,
                    aux={**self._aux, snapshots.WHEN_FIELD: when},
                    version=self._version,
                    progress=done,
                )
                file.sync()
            done(done.keys)  # a sync may take long: is our parent still there?
            storage.rename(temp, self._name)
            storage.sync_dir()
            if self._pattern:
                self._name_after(when, temp)
        except BaseException:
            self.discard(os.getpid())
            raise

    def _name_after(self, when: int, temp: str) -> None:
        """Give the snapshot, which is in place now, its second name; then let the oldest go."""
        storage = self._storage
        name = snapshots.name_at(self._pattern, when)
        if name != self._name:
            storage.link(self._name, temp)
            storage.rename(temp, name)  # in place of another one of the same second, or day
            storage.sync_dir()
        if self._keep:
            snapshots.remove_old(storage, self._pattern, self._keep, name, self._name)

    def discard(self, pid: int) -> None:
        """Remove what a process left unfinished; a disk in trouble may keep it."""
        with contextlib.suppress(OSError):
            self._storage.remove(_temporary_file(pid))


class _Sink:
    """A file that is synced every few megabytes, so that the last sync does not stall the disk."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._pending = 0

    def write(self, data: bytes) -> None:
        self._file.append(data)
        self._pending += len(data)
        if self._pending >= SYNC_BYTES:
            self._file.sync()
            self._pending = 0


class _Count:
    """Passes progress on and remembers it."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self.keys = 0

    def __call__(self, keys: int) -> None:
        self.keys = keys
        self._progress(keys)


def _temporary_file(pid: int) -> str:
    return f"temp-{pid}.rdb"


def _temporary_files(storage: Storage) -> list[str]:
    """Unfinished snapshots, whoever began them."""
    return [name for name in storage.list() if _TEMPORARY.fullmatch(name)]
