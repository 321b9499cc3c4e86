"""Persistence policy ``aof``: Redis' multi-part append-only file.

Every commit is appended to the last *increment*; a *base* holds what older increments did, and a
*manifest* names the files that count (see `kvcore_aof.folder`). What survives a power failure is
what was synced (``appendfsync``):

* ``always``    every commit before its reply: `flush` returns a Future where that takes time, and
                commits that wait together share one sync
* ``everysec``  all but about the last two seconds; what was written survives a crash of the process
* ``no``        what the system had written by itself

**A disk in trouble.** A failed write keeps its commits in memory and refuses further writes
(MISCONF) until a retry succeeds. A failed sync cannot be repaired by a retry (`kvcore_aof.sync`):
writes are refused until a new base, written from memory, takes the place of everything before it.
Under ``always`` either is fatal, as in Redis: no reply may leave whose commit is not durable.

**A rewrite** (BGREWRITEAOF, or the log has grown) goes on in a new increment, which the manifest
names at once, while a child writes the new base. In trouble nothing is named before the base is
there: what is committed meanwhile (keys that expire) waits in memory.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import ClassVar, Final

from kvcore.command import Command, Family
from kvcore.config import Config
from kvcore.errors import CommandError, PersistenceError
from kvcore.persistence import Batch, Found, Host, Loader, Persistence, View
from kvcore.storage import Storage
from kvcore_aof import folder
from kvcore_aof.folder import Folder
from kvcore_aof.loading import Loading
from kvcore_aof.log import Log
from kvcore_aof.manifest import Manifest
from kvcore_aof.rewrite import Limit, NewBase, Rewrite
from kvcore_aof.sync import failed

__all__ = ["AofPersistence"]

POSTPONE_S: Final = 2.0  # how long everysec's writes wait for a slow sync
SYNC_S: Final = 1.0  # between everysec's syncs
RETRY_S: Final = 1.0  # between attempts to write
HEAL_S: Final = 5.0  # between attempts to replace a log that cannot be believed


class AofPersistence(Persistence):
    """The log of a store; see the module for what it promises."""

    name: ClassVar[str] = "aof"
    log: ClassVar[str] = "commands"
    sink: list[Batch] | None = None  # the log's

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        # The log stays in the folder that it was opened in, wherever CONFIG SET dir goes.
        self._folder = Folder(host.storage, host.config)
        self._loading = Loading(self._folder, host.config, host.log)
        self._log: Log | None = None
        self._adopted = False  # what lies there was written by `adopt`, and is not in charge yet
        self._trouble = ""  # why writes are refused
        self._dead = False
        self._now = time.time()  # as cron has it
        self._last_sync = 0.0
        self._last_try = 0.0
        self._last_heal = 0.0
        self._postponed = 0.0
        self._delayed = 0
        self._rewrite: Rewrite | None = None
        self._scheduled = False
        self._limit = Limit()
        self._rewrites = 0
        self._last_ok = True
        self._last_seconds = -1
        self._cow_bytes = 0
        self._base_size = 0
        self._always = self._everysec = False
        self._on_policy(host.config["appendfsync"])
        host.config.subscribe("appendfsync", self._on_policy)
        host.config.subscribe("aof-timestamp-enabled", self._on_timestamps)
        host.config.subscribe("aof-disable-auto-gc", self._on_garbage)

    def _on_policy(self, value: object) -> None:
        self._always = value == "always"
        self._everysec = value == "everysec"
        self._end_healing()

    def _on_timestamps(self, value: object) -> None:
        if self._log is not None:
            self._log.annotate(bool(value))
            self.sink = self._log.sink

    def _on_garbage(self, value: object) -> None:
        if self._log is not None and not value:
            self._log.remove_history(self.host.log)

    # Opening ----------------------------------------------------------------------------------

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        return folder.probe(storage, config)

    def load(self, loader: Loader) -> None:
        self.settle()  # a store that runs may load again (DEBUG LOADAOF)
        self._loading = Loading(self._folder, self.host.config, self.host.log)
        self._loading.run(loader)

    def adopt(self, view: View) -> None:
        """Write a base, and a manifest that loads nothing else. A log that lay there is kept,
        unless this one is made of what it held."""
        files = self._folder
        replaced: list[str] = []
        manifest = Manifest()
        try:
            files.make()
            base = NewBase(files, self.host.config)
            base.write(view)
            if files.is_superseded():
                manifest = files.read_or_adopt()
                replaced = files.rename(files.strays(manifest))
            elif folder.probe(files.storage, self.host.config).has_data or files.strays(manifest):
                replaced = files.set_aside()
            part = base.settle(manifest)
            manifest.replace_base(part, keep=0)
            self._loading.manifest, self._adopted = manifest, True
            files.save(manifest)
        except OSError as error:
            raise PersistenceError(f"cannot write the append-only file: {error}") from error
        if replaced:
            self.host.log.warning(
                "The append-only file that lay there was replaced, and its files were renamed: "
                "remove them when you are sure",
                files=replaced,
            )

    def start(self) -> None:
        """Make the log ready to be appended to."""
        try:
            self._log = self._open(self._folder)
        except OSError as error:
            raise PersistenceError(f"cannot open the append-only file: {error}") from error
        self._adopted = False
        if self._folder.is_distrusted():
            self.host.log.warning("A sync had failed before the crash: writing the AOF anew")
            self.snapshot(self.host.view())
        base = self._log.manifest.base
        self._base_size = 0 if base is None else self._folder.size(base)
        self._on_timestamps(self.host.config["aof-timestamp-enabled"])
        self._on_garbage(self.host.config["aof-disable-auto-gc"])

    def _open(self, files: Folder) -> Log:
        log = self.host.log
        files.make()
        files.take_up()
        for name in files.remove_leftovers(self._loading.manifest):
            log.info(f"Removing the file {name} that a crash left unfinished")
        self._loading.repair()
        manifest = self._loading.manifest.copy()
        if not manifest.parts:
            base = NewBase(files, self.host.config)
            base.write(self.host.view())
            manifest.base = base.settle(manifest)
            log.info(f"Creating AOF base file {manifest.base.name} on server start")
        if manifest.increments:
            # With another behind it, a torn end would be damage.
            files.sync(manifest.increments[:-1])
            part = manifest.increments[-1]
            file = files.storage.reopen(files.path(part.name))
            log.info(f"Opening AOF incr file {part.name} on server start")
        else:
            part = files.next_increment(manifest)
            file = files.create(part)
            manifest.increments.append(part)
            files.save(manifest)
            log.info(f"Creating AOF incr file {part.name} on server start")
        return Log(files, manifest, file)

    # Commits ----------------------------------------------------------------------------------

    def append(self, batch: Batch) -> None:
        if self._log is not None:
            self._log.append(batch)

    def flush(self) -> Future[None] | None:
        log = self._log
        if log is None:
            return None
        if not self._always:
            if not self._trouble:
                self._write_or_wait(log)
            return None
        try:
            if log.pending:
                log.write()
        except OSError as error:
            return self._die("write", error)
        if self._spares_disk():
            return None
        durable = log.syncer.commit(log.file)
        if log.syncer.error is not None:
            self._die("fsync", log.syncer.error)
        return durable

    def make_durable(self) -> Future[None] | None:
        """Sync now, for all who wait at this moment together, whatever ``appendfsync`` says."""
        log = self._log
        if log is None:
            return None
        self._write(log)
        if self._trouble or self._is_healing:
            return failed(OSError(self._trouble or "the log is being written anew"))
        if not (log.unsynced or log.syncer.pending):
            return None
        log.unsynced = 0
        return log.syncer.submit(log.file)

    def _spares_disk(self) -> bool:
        """no-appendfsync-on-rewrite: leave the disk to a child that writes."""
        config = self.host.config
        return bool(config["no-appendfsync-on-rewrite"]) and self.host.active_child is not None

    def _write_or_wait(self, log: Log) -> bool:
        """Write, unless a sync runs: a write would have to wait for it, and all clients too."""
        if self._everysec and log.syncer.pending:
            self._postponed = self._postponed or self._now
            if _is_within(POSTPONE_S, self._postponed, self._now):
                return False
            self._delayed += 1
            self.host.log.info(
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF "
                "buffer without waiting for fsync to complete, this may slow down Redis."
            )
        self._postponed = 0.0
        self._write(log)
        return True

    def _write(self, log: Log) -> None:
        """Write what is pending; an error refuses further writes, a success allows them again."""
        if not log.pending or self._is_healing:
            return
        try:
            log.write()
        except OSError as error:
            self._refuse(error, "Error writing to the AOF file")
            return
        if self._trouble and log.syncer.error is None:
            self._allow("AOF write error looks solved, Redis can write again.")

    @property
    def _is_healing(self) -> bool:
        """A rewrite runs whose base holds what is pending, so that has to stay pending."""
        return self._rewrite is not None and not self._rewrite.rotated

    def _refuse(self, error: OSError, what: str) -> None:
        reason = error.strerror or str(error)
        if reason != self._trouble:
            self._trouble = reason
            self.host.log.warning(f"{what}: {reason}")
            self._tell_refusal()

    def _allow(self, message: str) -> None:
        self._trouble = ""
        self.host.log.warning(message)
        self._tell_refusal()

    def _tell_refusal(self) -> None:
        text = f"MISCONF Errors writing to the AOF file: {self._trouble}"
        self.host.refuse_writes(text if self._trouble else None)

    def _die(self, what: str, error: OSError) -> Future[None]:
        """Under ``always`` no reply may leave any more."""
        self._trouble = error.strerror or str(error)
        if not self._dead:
            self._dead = True
            self.host.fatal(
                f"Can't recover from AOF {what} error when the AOF fsync policy is 'always': "
                f"{self._trouble}. Exiting..."
            )
        return failed(error)

    # Time -------------------------------------------------------------------------------------

    def cron(self, now: float) -> None:
        self._now = now
        log = self._log
        if log is None:
            return
        rewrite = self._rewrite
        if rewrite is not None and rewrite.child.poll():
            self._rewrite = None
            self._reap(rewrite, log)
        error = log.syncer.error
        if self._always:
            if error is not None:
                self._die("fsync", error)
        else:
            if error is not None:
                self._refuse(error, "Error syncing the AOF file")
            self._keep_up(log, now)
        if self.host.active_child is None and self._wants_rewrite(log, now):
            with contextlib.suppress(PersistenceError):  # it is in the log
                self.rewrite()

    def _keep_up(self, log: Log, now: float) -> None:
        """Write what had to wait, and sync once a second."""
        may_try = not self._trouble or not _is_within(RETRY_S, self._last_try, now)
        if log.pending and may_try and self._write_or_wait(log):
            self._last_try = now
        if (
            self._everysec
            and log.unsynced
            and log.syncer.error is None
            and not log.syncer.pending
            and not _is_within(SYNC_S, self._last_sync, now)
            and not self._spares_disk()
        ):
            self._last_sync = now
            log.sync_soon()

    # Rewriting --------------------------------------------------------------------------------

    def _wants_rewrite(self, log: Log, now: float) -> bool:
        if log.syncer.error is not None:
            if self._always or _is_within(HEAL_S, self._last_heal, now):
                return False
            self._last_heal = now
            return True
        growth = 0
        if not self._scheduled:
            config = self.host.config
            percentage = int(config["auto-aof-rewrite-percentage"])
            growth = log.size * 100 // (self._base_size or 1) - 100
            if (
                not percentage
                or log.size <= int(config["auto-aof-rewrite-min-size"])
                or growth < percentage
            ):
                return False
        minutes = self._limit.minutes
        if not self._limit.allows(now):
            if self._limit.minutes != minutes:
                self.host.log.warning(
                    "Background AOF rewrite has repeatedly failed and triggered the limit, "
                    f"will retry in {self._limit.minutes} minutes"
                )
            return False
        if not self._scheduled:
            self.host.log.info(f"Starting automatic rewriting of AOF on {growth}% growth")
        return True

    def rewrite(self) -> None:
        """Start a rewrite in a child; `cron` notices its end. Raises PersistenceError."""
        log = self._log
        if log is None or self._rewrite is not None:
            raise PersistenceError("no rewrite can start now")
        try:
            rotated = self._rotate(log)
            # What is committed from now on is read behind the new base.
            log.separate()
            base = NewBase(self._folder, self.host.config)
            self._rewrites += 1
            child = self.host.background("aof", base.write)
        except (OSError, PersistenceError) as error:
            self.host.log.warning(f"Can't rewrite append only file in background: {error}")
            self._failed(str(error))
            raise PersistenceError(str(error)) from error
        self._scheduled = False
        self._rewrite = Rewrite(child, base, rotated=rotated, covered=len(log.pending))
        self.host.log.info(f"Background append only file rewriting started by pid {child.pid}")

    def _rotate(self, log: Log) -> bool:
        """Go on in a new increment; False if the last one is in trouble. Raises OSError."""
        self._write(log)
        if log.syncer.error is not None or log.pending:
            return False
        try:
            part = log.rotate()
        except OSError as error:
            if log.syncer.error is None:
                raise
            if self._always:
                self._die("fsync", error)
                raise
            self._refuse(error, "Error syncing the AOF file")
            return False
        self.host.log.info(f"Creating AOF incr file {part.name} on background rewrite")
        return True

    def _reap(self, rewrite: Rewrite, log: Log) -> None:
        child, host = rewrite.child, self.host
        self._last_seconds = int(child.ended) - int(child.started)
        self._cow_bytes = child.cow_bytes
        error = child.error
        if not error:
            host.log.info("Background AOF rewrite terminated with success", keys=child.done)
            try:
                self._take_into_use(rewrite.base, log, rewrite.rotated, rewrite.covered)
            except OSError as problem:
                error = str(problem)
                host.log.warning(f"Error trying to take the new AOF base file into use: {error}")
            else:
                host.log.info("Background AOF rewrite finished successfully")
                host.saved("aof")
                return
        elif child.killed:
            host.log.warning(f"Background AOF rewrite terminated by signal {child.killed}")
        else:
            host.log.warning("Background AOF rewrite terminated with error", error=error)
        rewrite.base.discard()
        # SIGUSR1 is how an operator ends a rewrite without it counting as a failure.
        if child.killed != signal.SIGUSR1 and not child.cancelled:
            self._failed(error)

    def _take_into_use(self, base: NewBase, log: Log, rotated: bool, covered: int) -> None:
        """Let a finished base take the place of what it covers. Raises OSError."""
        part = base.settle(log.manifest)
        if rotated:
            log.replace_base(part)
        else:
            log.start_anew(part, covered)
        self._base_size = log.size
        self._last_ok = True
        self._limit.failures = 0
        if self._trouble and not log.pending and log.syncer.error is None:
            self._allow("The AOF was written anew from memory, Redis can write again.")
        self._on_garbage(self.host.config["aof-disable-auto-gc"])

    def _failed(self, error: str) -> None:
        self._last_ok = False
        self._limit.failures += 1
        self.host.saved("aof", error)

    def _end_rewrite(self) -> None:
        """Kill a running rewrite; that is no failure."""
        rewrite = self._rewrite
        if rewrite is None:
            return
        self._rewrite = None
        if rewrite.child.running:
            self.host.log.warning(f"Killing running AOF rewrite child: {rewrite.child.pid}")
            rewrite.child.kill()
        rewrite.base.discard()

    def _end_healing(self) -> None:
        if self._is_healing:
            self._end_rewrite()

    def snapshot(self, view: View) -> None:
        """Rewrite the log here and now. Raises PersistenceError."""
        log = self._log
        if log is None:
            self.adopt(view)
            return
        self._end_rewrite()
        try:
            base = NewBase(self._folder, self.host.config)
            base.write(view)
            log.separate()
            self._take_into_use(base, log, False, len(log.pending))
        except OSError as error:
            raise PersistenceError(f"cannot rewrite the append-only file: {error}") from error

    # Commands, INFO and the end ---------------------------------------------------------------

    def commands(self) -> Iterable[Command]:
        family = Family("server")
        family("BGREWRITEAOF", 1, "admin noscript no_async_loading", complexity="O(1)")(
            self.bgrewriteaof
        )
        return family.commands

    def bgrewriteaof(self, ctx: object, argv: list[bytes]) -> object:
        """Asynchronously rewrites the append-only file to disk."""
        if self._rewrite is not None:
            raise CommandError("ERR Background append only file rewriting already in progress")
        if self.host.active_child is not None or self.host.in_transaction:
            self._scheduled = True
            self._limit.failures = 0
            return "Background append only file rewriting scheduled"
        try:
            self.rewrite()
        except PersistenceError:
            raise CommandError(
                "ERR Can't execute an AOF background rewriting. "
                "Please check the server logs for more information."
            ) from None
        return "Background append only file rewriting started"

    def info(self) -> dict[str, object]:
        rewrite, log = self._rewrite, self._log
        running = -1 if rewrite is None else int(time.time()) - int(rewrite.child.started)
        return {
            "aof_enabled": 1,
            "aof_rewrite_in_progress": int(rewrite is not None),
            "aof_rewrite_scheduled": int(self._scheduled),
            "aof_last_rewrite_time_sec": self._last_seconds,
            "aof_current_rewrite_time_sec": running,
            "aof_last_bgrewrite_status": "ok" if self._last_ok else "err",
            "aof_rewrites": self._rewrites,
            "aof_rewrites_consecutive_failures": self._limit.failures,
            "aof_last_write_status": "err" if self._trouble else "ok",
            "aof_last_cow_size": self._cow_bytes,
            "aof_current_size": 0 if log is None else log.size,
            "aof_base_size": self._base_size,
            "aof_pending_rewrite": 0,
            "aof_buffer_length": 0 if log is None else log.buffered,
            "aof_pending_bio_fsync": 0 if log is None else log.syncer.pending,
            "aof_delayed_fsync": self._delayed,
        }

    def settle(self) -> None:
        """Make everything durable now, whatever the policy. Raises PersistenceError."""
        log = self._log
        if log is None:
            return
        self._end_healing()
        try:
            if log.pending:
                log.write()
            log.sync()
        except OSError as error:
            self._refuse(error, "Error writing to the AOF file")
            self.snapshot(self.host.view())  # what cannot be written on may be written anew
            return
        # Nothing is pending any more, so no later write would tell that the disk is well.
        if self._trouble and not self._dead:
            self._allow("AOF write error looks solved, Redis can write again.")

    def close(self, save: bool | None) -> None:
        """Everything that was appended is durable on return; there is nothing more to save."""
        log = self._log
        if log is None:
            return
        self._end_rewrite()
        self.host.log.info("Calling fsync() on the AOF file.")
        self.settle()
        self._log = self.sink = None
        log.close()

    def release(self) -> None:
        self.host.config.unsubscribe(self)
        self._end_rewrite()
        if self._log is not None:
            log, self._log = self._log, None
            self.sink = None
            self._folder.supersede()
            log.close()
        elif self._adopted:
            self._folder.discard(self._loading.manifest)

    def move(self, host: Host) -> None:
        """Go on as a part of another policy, or alone again."""
        self.host = host
        self._tell_refusal()


def _is_within(seconds: float, since: float, now: float) -> bool:
    """Less than that ago; a clock that was set back does not count."""
    return 0 <= now - since < seconds
