"""Persistence policy ``hybrid``: the log of ``aof`` and the snapshots of ``rdb`` side by side.

As a Redis with ``appendonly yes`` and save points: every commit goes to the log, which a start
loads because it is the more complete; snapshots are for backups and copies. Nothing is done here
but to let the two work on one store.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, ClassVar, cast

from kvcore.command import Command
from kvcore.config import Config
from kvcore.errors import ConfigError
from kvcore.persistence import Batch, Found, Host, Loader, Persistence, View
from kvcore.startup import decided_at
from kvcore.storage import Storage
from kvcore_aof import AofPersistence
from kvcore_rdb import RdbPersistence, was_beside_log

__all__ = ["HybridPersistence"]


class HybridPersistence(Persistence):
    """A log to start from, and snapshots besides.

    Where there is a snapshot but no log, the snapshot is loaded, and a log is written from it
    before anything else happens: turning the log on never starts empty.
    """

    name: ClassVar[str] = "hybrid"
    log: ClassVar[str] = "commands"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        refusals: list[str | None] = [None, None]
        # Redis tells of a failed snapshot first.
        self._hosts = [cast("Host", SharedHost(host, refusals, place)) for place in (0, 1)]
        self._rdb = RdbPersistence(self._hosts[0], beside_log=True)
        self._aof = AofPersistence(self._hosts[1])
        self._log_is_due = False

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        aof = AofPersistence.probe(storage, config)
        rdb = RdbPersistence.probe(storage, config)
        found = aof if aof.has_data else rdb
        return Found(found.files, (*aof.claims, *rdb.claims), found.mtime)

    def load(self, loader: Loader) -> None:
        storage, config = self.host.storage, self.host.config
        self._refuse_stale_log(storage, config)
        self._aof.load(loader)
        if AofPersistence.probe(storage, config).has_data:
            return
        if RdbPersistence.probe(storage, config).has_data:
            self._rdb.load(loader)
            self._log_is_due = True

    def _refuse_stale_log(self, storage: Storage, config: Config) -> None:
        """A snapshot that was taken without a log is newer than the log: the store ran with
        ``persistence rdb`` meanwhile, and the log misses what was written then."""
        aof = AofPersistence.probe(storage, config)
        rdb = RdbPersistence.probe(storage, config)
        if not (aof.has_data and rdb.has_data) or config["load-from"]:
            return
        if (
            rdb.mtime > max(aof.mtime, decided_at(storage))
            and was_beside_log(storage, rdb.files[0]) is False
        ):
            raise ConfigError(
                f"{storage.describe(rdb.files[0])} was written without a log and is newer than "
                f"{storage.describe(aof.files[0])}. "
                "Say which to load: load-from rdb or load-from hybrid"
            )

    def adopt(self, view: View) -> None:
        self._aof.adopt(view)

    def start(self) -> None:
        if self._log_is_due:
            self._aof.adopt(self.host.view())
            self.host.log.warning(
                "There was a snapshot but no append-only file: the data was loaded from the "
                "snapshot, and an append-only file was written from it",
                snapshot=self.host.storage.describe(str(self.host.config["dbfilename"])),
            )
        self._rdb.start()
        self._aof.start()

    def append(self, batch: Batch) -> None:
        self._aof.append(batch)

    @property
    def sink(self) -> list[Batch] | None:
        return self._aof.sink

    def emptied(self) -> None:
        self._rdb.emptied()

    def flush(self) -> Future[None] | None:
        durable = self._aof.flush()
        self._rdb.flush()
        return durable

    def make_durable(self) -> Future[None] | None:
        return self._aof.make_durable()

    def snapshot(self, view: View) -> None:
        # A start loads the log: it must not be behind the snapshot.
        self._aof.settle()
        self._rdb.snapshot(view)

    def cron(self, now: float) -> None:
        # A rewrite that was asked for goes before a snapshot that was, as in Redis.
        self._aof.cron(now)
        self._rdb.cron(now)

    def commands(self) -> Iterable[Command]:
        return [*self._rdb.commands(), *self._aof.commands()]

    def info(self) -> dict[str, object]:
        return {**self._rdb.info(), **self._aof.info()}

    def close(self, save: bool | None) -> None:
        # The last snapshot may fail, and the store stays open then: so the log closes behind it.
        self._aof.settle()
        self._rdb.close(save)
        self._aof.close(save)

    # A change of policy: the part that both have in common goes on as it is.

    def release(self) -> None:
        self._rdb.release()
        self._aof.release()

    def turn_into(self, successor: type[Persistence], view: View) -> Persistence | None:
        if successor is AofPersistence:
            self._rdb.release()
            self._aof.move(self.host)
            return self._aof
        if successor is not RdbPersistence:
            return None
        self._rdb.beside_log = False
        try:
            self._rdb.snapshot(view)
        except BaseException:
            self._rdb.beside_log = True
            raise
        self._aof.release()
        self._rdb.move(self.host)
        return self._rdb

    def include(self, former: Persistence, view: View) -> bool:
        if type(former) is AofPersistence:
            self._rdb.start()
            self._aof.release()
            self._aof = former
            former.move(self._hosts[1])
            return True
        if type(former) is not RdbPersistence:
            return False
        self._aof.adopt(view)
        self._aof.start()
        self._rdb.release()
        self._rdb = former
        former.beside_log = True
        former.move(self._hosts[0])
        return True


class SharedHost:
    """The host of one of several policies on one store: writes are allowed when all allow them.

    ``refusals`` is shared between them; ``place`` is this policy's in it. The first one tells.
    All else is the host's own.
    """

    def __init__(self, host: Host, refusals: list[str | None], place: int) -> None:
        self._host = host
        self._refusals = refusals
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    @property
    def dirty(self) -> int:
        return self._host.dirty

    @dirty.setter
    def dirty(self, value: int) -> None:
        self._host.dirty = value

    def refuse_writes(self, reason: str | None) -> None:
        self._refusals[self._place] = reason
        self._host.refuse_writes(next((text for text in self._refusals if text), None))
