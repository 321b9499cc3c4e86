"""The persistence contract: what a policy is, and what the core promises it.

A policy is one class, found through an entry point of the group ``kvcore.persistence``::

    [project.entry-points."kvcore.persistence"]
    mine = "my_package:MyPersistence"

and selected by ``persistence mine``. The core makes one instance per open store and calls it from
one thread at a time (the one that holds the store's lock), in this order::

    __init__(host) -> load(loader) -> start()
        -> { append(batch)* flush() | snapshot(view) | cron(now) }* -> close(save)

Where another policy takes over while the store runs (see kvcore.change), the former is ended by
`release` instead, and the new one gets `adopt` in place of ``load``: it writes the data that is
there in its own form. At a start both are called, ``load`` on the policy whose data is adopted.

The data folder exists from ``load`` on.

What a policy promises, and ``kvcore.testing`` checks on every policy alike:

* After ``flush`` (or once the Future that it returned is done) everything appended before survives
  what the policy claims to survive. A reply is sent only then.
* ``append`` gets whole commits, in order. A batch of several commands is a transaction: after a
  crash it is there whole or not at all.
* ``load`` rebuilds what was promised, or raises `CorruptData` and leaves the files as they are. It
  never loads silently less than was promised.
* Whatever touches files goes through ``host.storage`` (see `kvcore.storage`), so that the kit can
  crash it, tear it and fill it up.
* Disk trouble raises `PersistenceError` (or OSError, which the core takes for one). The core then
  refuses writes with MISCONF until ``flush`` or ``cron`` succeeds again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from kvcore.commits import Batch as Batch  # noqa: PLC0414  (part of the contract)
from kvcore.errors import CorruptData

if TYPE_CHECKING:
    from kvcore.command import Command
    from kvcore.config import Config
    from kvcore.config.options import Option
    from kvcore.datatype import Limits, TypeRegistry
    from kvcore.snapshot import Child
    from kvcore.storage import Storage

API_VERSION: Final = 1


@attrs.frozen
class Found:
    """What `Persistence.probe` says of a data folder: the files that the policy would load.

    ``claims`` are files (or folders) that the policy owns there, whether it would load them or
    not; ``mtime`` (Unix seconds) is the newest change to the data, 0 if there is none to load.
    ``secondary`` data is a copy beside files of another policy that hold at least as much.
    """

    files: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    mtime: float = 0.0
    secondary: bool = False

    @property
    def has_data(self) -> bool:
        return bool(self.files)


class Loader:
    """The two doors through which data enters a store that starts; given to `Persistence.load`.

    ``takes_packed``  values may come packed (see kvcore.packed)
    """

    takes_packed: bool = False

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        """A key of a snapshot. ``value`` as a data type's ``load`` made it; ``expiry`` Unix ms.

        Raises CorruptData if the key exists already or the database is out of range.
        """
        raise NotImplementedError

    def restore_all(self, db: int, keys: list[bytes], values: list[object]) -> None:
        """`restore` of each of these keys in turn, none of which expires.

        Raises CorruptData as `restore` does, its offset the key's place in the list.
        """
        for place in range(len(keys)):
            try:
                self.restore(db, keys[place], values[place])
            except CorruptData as error:
                if not error.path:
                    error.offset = place
                raise

    def expect(self, db: int, keys: int, expiring: int) -> None:
        """A hint that so many keys will be restored, of which so many expire."""

    def verify(self) -> None:
        """Look at what was restored packed: no checksum has told that it is not damaged.

        Raises CorruptData.
        """

    def replay(self, db: int, argv: list[bytes]) -> None:
        """A command of a log, executed as it was then; nothing is journalled again.

        Raises CorruptData if it is unknown or refused.
        """
        raise NotImplementedError

    def replay_requests(self, db: int, data: bytes, start: int) -> int:
        """Replay requests (in RESP) that lie one behind the other in ``data``, as many as this
        loader takes so; returns where the first lies that it leaves.

        That may be any, and must be one that is not whole, or none that a log may hold of a
        change: SELECT, MULTI. Raises CorruptData as `replay`, its offset that of the request.
        """
        return start

    def progress(self, done: int, total: int) -> None:
        """How far the load is, in bytes; call it every megabyte or so. Raises LoadAborted."""
        raise NotImplementedError

    def note(self, **fields: object) -> None:
        """Facts for INFO and the log: ``keys_expired``, ``rdb_used_mem``, …"""
        raise NotImplementedError

    @property
    def types(self) -> TypeRegistry:
        """Data types by RDB code (``types.by_code``), whose ``load`` reads a payload."""
        raise NotImplementedError

    @property
    def limits(self) -> Limits:
        """What a data type's ``load`` needs to choose the encoding."""
        raise NotImplementedError

    @property
    def now(self) -> int:
        """Unix milliseconds at which the load began: snapshots drop keys expired by then."""
        raise NotImplementedError


class View:
    """A stable point in time of the whole keyspace, for snapshots. Read it only.

    Whatever commands do meanwhile, it holds what was there when it was made. Walk each database
    once, one after the other: what was walked over is given up, so that a view in the background
    takes less and less memory. A value is yours until you ask for the next. What a walk raises
    that is no `Exception` says that the task shall end: let it pass.
    """

    types: TypeRegistry

    def databases(self) -> Iterable[tuple[int, int, int]]:
        """(number, keys, keys with expiry) of each database that is not empty, rising."""
        raise NotImplementedError

    def entries(self, db: int) -> Iterator[tuple[bytes, object, int]]:
        """(key, value, expiry in Unix ms or -1) of every key of a database, in no order. Once."""
        raise NotImplementedError


class Host:
    """What a policy may use of the store that it serves."""

    config: Config
    storage: Storage
    log: Any
    """A structlog logger."""

    def view(self) -> View:
        """The keyspace as it is at this moment, valid until the next command runs."""
        raise NotImplementedError

    def background(
        self, purpose: str, task: Callable[[View, Callable[[int], None]], None]
    ) -> Child:
        """Run ``task(view, progress)`` on the keyspace as it is now, while commands go on.

        In a child process or on a thread, as ``snapshot-method`` says; see kvcore.snapshot. So
        the task uses the view, the storage and what it brings along, nothing else: options, above
        all, are read before. ``progress(keys)`` may be called as often as it likes. What goes
        wrong in it is told by the child. Raises PersistenceError if another child is active
        (``active_child``), or if none can be started.
        """
        raise NotImplementedError

    @property
    def active_child(self) -> Child | None:
        """The one background child of the store, whoever started it."""
        raise NotImplementedError

    def value(self, db: int, key: bytes) -> tuple[object, int] | None:
        """(value, expiry in ms or -1) that a key holds now; None if it is gone."""
        raise NotImplementedError

    @property
    def types(self) -> TypeRegistry:
        raise NotImplementedError

    @property
    def dirty(self) -> int:
        """Changes since the last snapshot (INFO rdb_changes_since_last_save)."""
        raise NotImplementedError

    @dirty.setter
    def dirty(self, value: int) -> None:
        raise NotImplementedError

    @property
    def in_transaction(self) -> bool:
        """True while EXEC (or a script) runs: background jobs are scheduled then, not started."""
        raise NotImplementedError

    def refuse_writes(self, reason: str | None) -> None:
        """Refuse writes with this whole error text (``MISCONF …``), or allow them again (None)."""
        raise NotImplementedError

    def saved(self, purpose: str, error: str = "") -> None:
        """Tell the ``kvcore_saved`` hooks that a snapshot (``rdb``) or a rewrite of the log
        (``aof``) ended; ``error`` is empty if all went well."""
        raise NotImplementedError

    def fatal(self, reason: str) -> None:
        """A promise cannot be kept any more: the server exits 1, an embedded store refuses."""
        raise NotImplementedError


class Persistence:
    """Base of all policies. The null object: every method may stay as it is.

    ``name``     the entry point's name
    ``log``      what `append` wants: ``""`` (never called), ``"commands"`` or ``"keys"``
    ``options``  further directives, registered before the configuration is read
    ``api``      the contract's version that the policy was written for
    """

    name: ClassVar[str] = "persistence"
    log: ClassVar[str] = ""
    options: ClassVar[Sequence[Option]] = ()
    api: ClassVar[int] = API_VERSION

    host: Host

    def __init__(self, host: Host) -> None:
        self.host = host

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        """What of this policy lies in the folder. Cheap: looks at names and times only."""
        return Found()

    def load(self, loader: Loader) -> None:
        """Fill the empty keyspace from storage; nothing there is no error.

        DEBUG RELOAD calls it once more on a store in use, after `flush` and maybe `snapshot`.
        """

    def start(self) -> None:
        """The load is over; writes may come. ``adopted`` data is written by `adopt` first."""

    def adopt(self, view: View) -> None:
        """The data comes from another policy: write it in this policy's form, durably, in place
        of whatever lies there. Before `start`."""
        self.snapshot(view)

    def append(self, batch: Batch) -> None:
        """Take one commit. May buffer; must not block on the disk longer than the policy says.

        If it raises, nothing of the commit was taken: it is offered again, before any later one.
        """

    @property
    def sink(self) -> list[Batch] | None:
        """A list that takes commits in the place of `append`, at its end; None if none does.

        For a policy that would do no more in `append` than to keep the commit until `flush`: a
        call for each write is most of what that costs. It is asked for at each commit.
        """
        return None

    def flush(self) -> Future[None] | None:
        """Make what was appended as durable as promised: None if it is, else a Future."""
        return None

    def make_durable(self) -> Future[None] | None:
        """Make what was appended durable, whatever is promised (WAITAOF): None if it is, else a
        Future. For policies that keep a log; to be replaced where `flush` promises less."""
        return self.flush()

    def emptied(self) -> None:
        """FLUSHALL has removed all keys, maybe within a transaction; `append` and `flush` follow
        before its reply."""

    def snapshot(self, view: View) -> None:
        """Write this point in time durably, in the foreground; the last one stays until then."""

    def cron(self, now: float) -> None:
        """About ten times a second (``now``: Unix seconds): fsync, save points, children."""

    def commands(self) -> Iterable[Command]:
        """Commands that come with the policy (SAVE, BGREWRITEAOF…), replacing the core's."""
        return ()

    def info(self) -> dict[str, object]:
        """Fields for INFO persistence, in order."""
        return {}

    def close(self, save: bool | None) -> None:
        """The store closes. ``save``: True = SHUTDOWN SAVE, False = NOSAVE, None = as configured.

        Everything acknowledged must be durable on return, as far as the policy promises.
        Raises PersistenceError if that fails; the store then stays open.
        """

    # A change of policy while the store runs (see kvcore.change). The one that takes over is made,
    # adopts the data, and starts; then the former is released. Until then that one is in charge,
    # and stays so if anything fails.

    def release(self) -> None:
        """Another policy has all the data, durably, and is in charge: let go of files, threads and
        children. Nothing needs to become durable any more, and nothing should be written.

        Also called where this one's data was adopted at a start, and where it could not take over
        (after `__init__`, `adopt` or `start`): it is not left on disk as if it had then.
        """
        self.close(False)

    def turn_into(self, successor: type[Persistence], view: View) -> Persistence | None:
        """For a policy made of others: the part of exactly this class, which goes on alone, its
        data complete on disk; the rest is released. None if there is no such part. What it raises
        leaves everything as it was."""
        return None

    def include(self, former: Persistence, view: View) -> bool:
        """For a policy made of others: start, with the one in charge as a part that goes on.
        False if it can be none: then `adopt` and `start` follow. What it raises leaves ``former``
        as it was."""
        return False
