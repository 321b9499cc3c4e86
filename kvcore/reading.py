"""Data files read beside a store, or without one: nothing of theirs is changed.

`load` fills a `Memory` with what lies at a path, by the installed policy whose data it is. What
the keys are for is the caller's affair: `kvcore.Store.restore` brings them into a running store.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import structlog

from kvcore import families, plugins
from kvcore.codec.glob import Glob
from kvcore.config import Config
from kvcore.datatype import Limits, TypeRegistry
from kvcore.engine import Engine
from kvcore.errors import CorruptData, PersistenceError, PluginError
from kvcore.keyspace import Keyspace
from kvcore.load import EngineLoader
from kvcore.persistence import Found, Host, Loader, Persistence
from kvcore.storage import ReadOnlyStorage, Storage

DATABASES: Final = 256  # at first; more are made when a file has them
MAX_DATABASES: Final = 1 << 16


def registry() -> TypeRegistry:
    """The data types that come with kvcore."""
    types = TypeRegistry()
    for datatype in families.kvcore_types():
        types.add(datatype)
    return types


def default_limits() -> Limits:
    """The limits of encodings in a store that nobody has configured."""
    limits, config = Limits(), Config()
    for name in dir(limits):
        if not name.startswith("_"):
            setattr(limits, name, int(config[name.replace("_", "-")]))
    return limits


class Memory(Loader):
    """Holds all keys, and executes commands on them, as a store that starts does.

    With the data types, commands and limits of the engine ``like``, or with kvcore's own.
    ``watch`` is told how far a load is, in bytes.
    """

    def __init__(self, watch: Any = None, *, like: Engine | None = None) -> None:
        self.keyspace = Keyspace(DATABASES)
        self.keyspace.expiring = False  # a log says itself what expired
        engine = Engine(self.keyspace)
        if like is None:
            self.keyspace.limits = default_limits()
            self.keyspace.types = registry()
            engine.commands.add(families.kvcore_commands())
        else:
            self.keyspace.limits = like.keyspace.limits
            self.keyspace.types = like.keyspace.types
            engine.commands = like.commands
            engine.table = like.table
        self._loader = EngineLoader(engine, watch)

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        self._reach(db)
        self._loader.restore(db, key, value, expiry)

    def replay(self, db: int, argv: list[bytes]) -> None:
        self._reach(db)
        self._loader.replay(db, argv)

    def replay_requests(self, db: int, data: bytes, start: int) -> int:
        self._reach(db)
        return self._loader.replay_requests(db, data, start)

    def verify(self) -> None:
        self._loader.verify()

    def _reach(self, db: int) -> None:
        databases = self.keyspace.databases
        if db >= len(databases) and db < MAX_DATABASES:
            more = Keyspace(db + 1).databases[len(databases) :]
            for database in more:
                database.keyspace = self.keyspace
            databases += more

    def progress(self, done: int, total: int) -> None:
        self._loader.progress(done, total)

    def note(self, **fields: object) -> None:
        self._loader.note(**fields)

    @property
    def types(self) -> TypeRegistry:
        return self.keyspace.types

    @property
    def limits(self) -> Limits:
        return self.keyspace.limits

    @property
    def now(self) -> int:
        return self._loader.now

    def each(self, visit: Callable[[int, bytes, Any, int], None]) -> None:
        """Every key, in the order of databases and keys."""
        for database in self.keyspace.databases:
            for key in sorted(database.entries.keys()):
                visit(database.index, key, database.entries.get(key), database.expiry(key))


class ReadingHost(Host):
    """A store that never starts: all that a policy needs for its ``load``."""

    def __init__(
        self, storage: Storage, config: Config, types: TypeRegistry, log: Any = None
    ) -> None:
        self.config = config
        self.storage = storage
        self.log = log or structlog.get_logger("kvcore")
        self._types = types

    @property
    def types(self) -> TypeRegistry:
        return self._types


# A path -------------------------------------------------------------------------------------------


class Wanted:
    """Which keys: those of one database (None: of all), those that match a pattern (None: all)."""

    def __init__(self, db: int | None = None, match: bytes | None = None) -> None:
        self.db = db
        self._glob = None if match is None else Glob(match)

    def __call__(self, db: int, key: bytes) -> bool:
        if self.db is not None and db != self.db:
            return False
        return self._glob is None or self._glob.match(key)


def load(path: str, wanted: Wanted, like: Engine, log: Any) -> Memory:
    """What lies at ``path``: an RDB file, or a folder with data of any installed policy.

    Of a log also keys that are not ``wanted`` are there, for its commands need them. Raises
    CorruptData, ConfigError (see the policy), PersistenceError if nothing can be read there.
    """
    memory = Memory(like=like)
    memory.takes_packed = True
    try:
        policy = _policy_for(path, like.keyspace.types, log)
        policy.load(memory if policy.log else _Chosen(memory, wanted))
    except OSError as error:
        raise PersistenceError(f"cannot read {path}: {error.strerror or error}") from error
    return memory


class _OneFile(ReadOnlyStorage):
    """What lies beside the file is nobody's business."""

    def __init__(self, path: str) -> None:
        folder, self._name = os.path.split(os.path.abspath(path))
        super().__init__(folder)

    def list(self, folder: str = "") -> list[str]:
        return [self._name]


def _policy_for(path: str, types: TypeRegistry, log: Any) -> Persistence:
    """The policy whose data that is, ready to load it."""
    config = Config()
    if not os.path.isdir(path):
        os.stat(path)
        config.set_keywords({"dbfilename": os.path.basename(path)})
        host = ReadingHost(_OneFile(path), config, types, log)
        return plugins.load_policy("rdb")(host)
    storage = ReadOnlyStorage(path)
    candidates: list[tuple[Found, type[Persistence]]] = []
    for name in sorted(plugins.installed()):
        try:
            policy = plugins.load_policy(name)
        except PluginError as error:
            log.warning("A persistence plugin cannot be asked for its data", error=str(error))
            continue
        config.add(policy.options)
        found = policy.probe(storage, config)
        if found.has_data:
            candidates.append((found, policy))
    if not candidates:
        raise PersistenceError(f"{path} holds no data of any installed persistence")
    _, policy = max(candidates, key=lambda item: (not item[0].secondary, item[0].mtime))
    return policy(ReadingHost(storage, config, types, log))


class _Chosen(Loader):
    """Passes on what is wanted of a snapshot."""

    takes_packed = True

    def __init__(self, memory: Memory, wanted: Wanted) -> None:
        self._memory = memory
        self._wanted = wanted

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        if self._wanted(db, key):
            self._memory.restore(db, key, value, expiry)

    def replay(self, db: int, argv: list[bytes]) -> None:
        raise CorruptData("a command where only keys were due")

    def verify(self) -> None:
        self._memory.verify()

    def progress(self, done: int, total: int) -> None:
        self._memory.progress(done, total)

    def note(self, **fields: object) -> None:
        self._memory.note(**fields)

    @property
    def types(self) -> TypeRegistry:
        return self._memory.types

    @property
    def limits(self) -> Limits:
        return self._memory.limits

    @property
    def now(self) -> int:
        return self._memory.now
