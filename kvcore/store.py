"""The embedded store: `kvcore.open` and `Store`."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, final

from kvcore import plugins, reading
from kvcore.config import Config
from kvcore.engine import SHELL
from kvcore.errors import CommandError, KvcoreError, PersistenceError, StoreClosed
from kvcore.families.keys.dump import serialize
from kvcore.freeing import REST_S
from kvcore.instance import Instance
from kvcore.keyspace import Keyspace
from kvcore.reading import Wanted
from kvcore.reply import Later, plain
from kvcore.session import Session
from kvcore.storage import NoStorage, Storage

Argument = bytes | str | int | float

_TICK_S = 0.1


def open(
    path: str | None = None,
    persistence: str | None = None,
    *,
    hooks: Iterable[object] = (),
    storage: Storage | None = None,
    config_file: str | None = None,
    tick: bool = True,
    **options: object,
) -> Store:
    """Open the store in the folder ``path`` (made if absent); use it as a context manager.

    ``persistence`` is the name of an installed policy; by default the store does what Redis would
    with the same options (snapshots, and an AOF if ``appendonly=True``); without a ``path`` the
    default is ``"none"``. ``options`` are Redis' directives with underscores:
    ``appendfsync="always"``, ``save="60 1000"``. ``hooks`` are objects with `kvcore.hookimpl`
    methods (see kvcore.hookspecs). A store ticks on a thread of its own (expiry, fsync, save
    points); with ``tick=False`` it has none, and whoever opened it calls `Store.tick` about ten
    times a second.

    Raises ConfigError, PluginError, StoreLocked if another process has the folder, CorruptData if
    a file is damaged (nothing is changed then), PersistenceError for the disk's faults.
    """
    config = Config(hold_unknown=True)
    if config_file is not None:
        config.load_file(config_file)
    if path is not None:
        options["dir"] = path
    elif storage is None and persistence in (None, "none"):
        persistence = "none"
        storage = NoStorage()
    if persistence is not None:
        config.set_keywords({"persistence": persistence})
        config.add(plugins.load_policy(persistence).options)
    config.set_keywords(options)
    return Store(Instance(config, hooks=hooks, storage=storage, embedded=True), tick=tick)


@final
class Store:
    """A Redis-compatible store inside this program. Every method may be called from any thread.

    A call returns once its effect is as durable as the policy promises. Replies are plain Python
    values: bytes, int, float, None, list, dict, set, and str for Redis' simple strings ("OK").
    """

    def __init__(self, instance: Instance, *, tick: bool = True) -> None:
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._instance = instance
        self._broken = ""
        self._trouble = ""
        instance.on_fatal = self._fail
        instance.lock()
        try:
            instance.load()
        except BaseException:
            instance.release()
            raise
        self._session = Session(instance.engine)
        self._ticker = threading.Thread(target=self._run, name="kvcore", daemon=True)
        if tick:
            self._ticker.start()

    # Commands ---------------------------------------------------------------------------------

    def execute(self, *args: Argument) -> Any:
        """Run one command: ``store.execute("SET", "k", "v")``; raises CommandError."""
        return self._call([encode(arg) for arg in args])

    def _call(self, argv: list[bytes]) -> Any:
        instance = self._instance
        with self._lock:
            if instance.closed or self._broken:
                self._check()
            session = self._session
            session.keyspace.tick()
            reply = session.answer(argv)
            durable = self._flush() if instance.engine.unflushed else None
        if durable is not None:
            self._wait(durable)
        if type(reply) is bytes or reply is None:
            return reply
        if isinstance(reply, CommandError):
            raise reply
        return reply.wait() if isinstance(reply, Later) else plain(reply)

    def transaction(self, *commands: Iterable[Argument]) -> list[Any]:
        """Run commands as one transaction (MULTI … EXEC): all of them are durable, or none.

        A command that fails leaves its CommandError in its place of the list, as in Redis.
        """
        requests = [[encode(arg) for arg in command] for command in commands]
        with self._lock:
            self._check()
            session = self._session
            session.keyspace.tick()
            session.multi()
            try:
                for argv in requests:
                    session.execute(argv)
                replies = [plain(reply) for reply in session.exec() or []]
            except CommandError:
                if session.queue is not None:
                    session.discard()
                raise
            durable = self._flush()
        if durable is not None:
            self._wait(durable)
        return replies

    def get(self, key: Argument) -> bytes | None:
        """GET; None if the key is absent."""
        value: bytes | None = self._call([b"GET", key if type(key) is bytes else encode(key)])
        return value

    def set(self, key: Argument, value: Argument) -> None:
        """SET."""
        self._call([b"SET", encode(key), encode(value)])

    def delete(self, *keys: Argument) -> int:
        """DEL; returns how many keys there were."""
        count: int = self.execute(b"DEL", *keys)
        return count

    def __getitem__(self, key: Argument) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Argument, value: Argument) -> None:
        self.set(key, value)

    def __delitem__(self, key: Argument) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: Argument) -> bool:
        return bool(self.execute(b"EXISTS", key))

    def __len__(self) -> int:
        size: int = self.execute(b"DBSIZE")
        return size

    # Data from elsewhere ----------------------------------------------------------------------

    def restore(
        self,
        path: str,
        *,
        db: int | None = None,
        match: Argument | None = None,
        replace: bool = False,
    ) -> int:
        """Bring keys of a data file into this store as it runs; returns how many.

        ``path`` is an RDB file, or a data folder of any installed policy; it is only read. ``db``
        and ``match`` (a pattern as KEYS has it) say which keys; each goes to the database that it
        was in. Keys whose time is over are left out.

        All of it is one transaction, journalled as any write. Nothing is changed if the file is
        damaged (CorruptData) or cannot be read (PersistenceError), if a key is there already and
        ``replace`` is not given (CommandError, ``BUSYKEY``), or if writes are refused. It needs
        memory for the keys twice, meanwhile.
        """
        self._check()
        instance = self._instance
        wanted = Wanted(db, None if match is None else encode(match))
        memory = reading.load(path, wanted, instance.engine, instance.log)
        with self._lock:
            self._check()
            instance.keyspace.tick()
            requests = _restoring(memory.keyspace, instance.keyspace, wanted, replace)
            session = Session(instance.engine)
            session.multi()
            try:
                for argv in requests:
                    session.execute(argv)
                replies = session.exec() or []
            finally:
                session.discard()
            for reply in replies:
                if isinstance(reply, CommandError):
                    raise reply
            durable = self._flush()
        if durable is not None:
            self._wait(durable)
        return len([argv for argv in requests if argv[0] == b"RESTORE"])

    # Life -------------------------------------------------------------------------------------

    @property
    def instance(self) -> Instance:
        """The parts behind the store; hold no reference to them across threads."""
        return self._instance

    def close(self, save: bool | None = None) -> None:
        """Make everything durable and let go of the folder; closing twice is no error.

        ``save``: True takes a last snapshot, False none, None as configured (save points).
        Raises PersistenceError if that fails; the store then stays open.
        """
        with self._lock:
            if self._instance.closed:
                return
            self._instance.shutdown(save)
            self._stop.set()
        if self._ticker.is_alive() and threading.current_thread() is not self._ticker:
            self._ticker.join()

    def tick(self, now: float | None = None) -> None:
        """Housekeeping; ``now`` (Unix seconds) instead of the clock. Closed stores do nothing.

        Raises PersistenceError if the disk fails; writes are refused then until a tick succeeds.
        """
        with self._lock:
            if self._instance.closed:
                return
            try:
                self._instance.cron(now)
                self._instance.keyspace.freeing.step()
                self._instance.engine.flush()
            except Exception as error:
                raise self._in_trouble(error) from error
            if self._trouble and not self._instance.engine.unflushed:
                self._instance.log.warning("The disk is well again, writes are accepted")
                self._trouble = ""
                self._instance.engine.refuse_writes(None, SHELL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._instance.closed else self._instance.policy
        return f"<kvcore.Store {self._instance.storage.describe()} ({state})>"

    def _check(self) -> None:
        if self._instance.closed:
            raise StoreClosed("the store is closed")
        if self._broken:
            raise PersistenceError(self._broken)

    def _fail(self, reason: str) -> None:
        self._broken = reason

    def _flush(self) -> Future[None] | None:
        """Make durable what a command did. In trouble writes are refused, so it did nothing."""
        if self._trouble:
            return None
        try:
            return self._instance.engine.flush()
        except Exception as error:
            raise self._in_trouble(error) from error

    def _in_trouble(self, error: Exception) -> PersistenceError:
        """The policy failed: writes are refused until it works, which each tick tries."""
        if not self._trouble:
            self._instance.log.error(
                "The persistence failed, writes are refused until it works", error=str(error)
            )
            self._instance.engine.refuse_writes(f"MISCONF Errors writing to disk: {error}", SHELL)
        self._trouble = str(error) or type(error).__name__
        return PersistenceError(self._trouble)

    def _wait(self, durable: Future[None]) -> None:
        try:
            durable.result()
        except KvcoreError:
            raise
        except OSError as error:
            raise PersistenceError(str(error)) from error

    def _run(self) -> None:
        freeing = self._instance.keyspace.freeing
        while not self._stop.wait(REST_S if freeing.pending else _TICK_S):
            try:
                self.tick()
            except (KvcoreError, OSError) as error:
                self._instance.log.error("Housekeeping failed", error=str(error))


def _restoring(
    source: Keyspace, target: Keyspace, wanted: Wanted, replace: bool
) -> list[list[bytes]]:
    """The commands that bring the wanted keys over. Raises CommandError if that cannot be."""
    requests: list[list[bytes]] = []
    taken: list[str] = []
    for database in source.databases:
        chosen = [key for key in database.entries.keys() if wanted(database.index, key)]
        if not chosen:
            continue
        if database.index >= len(target.databases):
            raise CommandError(
                f"ERR database {database.index} is out of range; "
                f"this store has {len(target.databases)} databases"
            )
        requests.append([b"SELECT", b"%d" % database.index])
        there = target.databases[database.index]
        for key in chosen:
            expiry = database.expiry(key)
            if 0 <= expiry <= target.now:
                continue
            if not replace and there.exists(key):
                taken.append(f"{key[:64]!r} in database {database.index}")
            value = database.entries.get(key)
            payload = serialize(source.types.of(value), value)
            argv = [b"RESTORE", key, b"%d" % max(expiry, 0), payload, b"ABSTTL"]
            requests.append([*argv, b"REPLACE"] if replace else argv)
    if taken:
        raise CommandError(
            f"BUSYKEY {len(taken)} of the keys are there already, such as {taken[0]}: "
            "restore with replace, or fewer keys"
        )
    return requests


def encode(arg: Argument) -> bytes:
    """A Python argument as the bytes of a request (str as UTF-8); TypeError for other types."""
    if isinstance(arg, bytes):
        return arg
    if isinstance(arg, str):
        return arg.encode("utf-8", "surrogateescape")
    if isinstance(arg, bool) or not isinstance(arg, (int, float)):
        raise TypeError(f"a command takes bytes, str, int or float, not {type(arg).__name__}")
    return repr(arg).encode()
