"""The road of a load: the two doors of `kvcore.persistence.Loader`, opened on an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from kvcore.codec.numbers import COMPILED
from kvcore.codec.requests import read_request
from kvcore.command import MAY_REPLICATE, WRITE, Command, Context
from kvcore.datatype import Limits, TypeRegistry
from kvcore.engine import Engine
from kvcore.errors import CommandError, CorruptData, KvcoreError
from kvcore.keyspace import Database
from kvcore.packed import Packed
from kvcore.persistence import Loader

_ABORT_CHECK: Final = 0xFF  # keys between two looks at whether to go on, less one
_CHANGES: Final = WRITE | MAY_REPLICATE
_AHEAD: Final = 32  # requests of a log that are read before the first of them is executed
_MOST_AHEAD: Final = 8  # times the keys there are, that room is made for


class LoadAborted(KvcoreError):
    """The store is told to close while it loads."""


class EngineLoader(Loader):
    """Fills an engine's keyspace. Nothing is journalled, nothing expires meanwhile.

    ``done`` and ``total`` are bytes; ``facts`` what the policy noted; ``abort`` may be set from
    another thread to stop the load at its next report. With ``merge``, a key that is there
    already gives way to the one that is loaded.
    """

    takes_packed = True

    def __init__(
        self,
        engine: Engine,
        watch: Callable[[int, int], None] | None = None,
        *,
        merge: bool = False,
    ) -> None:
        self._engine = engine
        self._keyspace = engine.keyspace
        self._context = Context(engine.keyspace)
        self._watch = watch
        self._merge = merge
        self._now = engine.keyspace.tick()
        self.started = time.time()
        self.done = 0
        self.total = 0
        self.keys = 0
        self.commands = 0
        self.facts: dict[str, object] = {}
        self._looked_at = 0  # ``done`` when room was made last, and the keys there were
        self._keys_then = 0
        self.abort = threading.Event()

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        database = self._database(db)
        if not database.entries.set(key, value):
            if not self._merge:
                raise _twice(key, db)
            database.expires.pop(key)
        if expiry >= 0:
            database.expires.set(key, expiry)
        self.keys += 1
        if self.keys & _ABORT_CHECK == 0:
            self._check_abort()

    def restore_all(self, db: int, keys: list[bytes], values: list[object]) -> None:
        if self._merge:
            super().restore_all(db, keys, values)
            return
        count = self._database(db).entries.insert(keys, values)
        if count < len(keys):
            error = _twice(keys[count], db)
            error.offset = count
            raise error
        self.keys += count
        self._check_abort()

    def expect(self, db: int, keys: int, expiring: int) -> None:
        databases = self._keyspace.databases
        if db < len(databases):
            databases[db].entries.reserve(keys)
            databases[db].expires.reserve(expiring)

    def verify(self) -> None:
        types = self._keyspace.types
        for _, key, value in self._keyspace.walk():
            if isinstance(value, Packed):
                types.unpack(value, key)

    def replay(self, db: int, argv: list[bytes]) -> None:
        self._context.db = self._database(db)
        try:
            reply = self._engine.call(self._context, self._command(argv), argv)
            if isinstance(reply, CommandError):
                raise reply
        except CommandError as error:
            raise _refused(argv, error) from error
        self.commands += 1
        if self.commands & _ABORT_CHECK == 0:
            self._check_abort()

    def replay_requests(self, db: int, data: bytes, start: int) -> int:
        database = self._database(db)
        if self.done != self._looked_at:
            self._make_room(database)
        context = self._context
        context.db = database
        replayed = _Replayed()
        try:
            return _replay_requests(self._engine, context, data, start, replayed)
        except CommandError as error:
            refusal = _refused(replayed.argv, error)
            refusal.offset = replayed.at
            raise refusal from error
        finally:
            self.commands += replayed.count
            self._check_abort()

    def _make_room(self, db: Database) -> None:
        """Room for what this log would bring at the pace at which keys came since the last look;
        but not too much, for its end may be of another kind."""
        count = db.entries.count
        came = count - self._keys_then
        read = self.done - self._looked_at
        if came > 0 and read > 0:
            promised = count + came * (self.total - self.done) // read
            db.entries.reserve(min(promised, count * _MOST_AHEAD))
        self._looked_at = self.done
        self._keys_then = count

    def _database(self, db: int) -> Database:
        databases = self._keyspace.databases
        if db >= len(databases):
            raise CorruptData(
                f"database {db} is out of range; this store has {len(databases)} databases",
                advice=f"Start with `databases {db + 1}` or more",
            )
        return databases[db]

    def _command(self, argv: list[bytes]) -> Command:
        command: Command = self._engine.commands.find(argv)
        if not command.bits & _CHANGES:
            # No log holds one, and it may want a client, which a load has not.
            raise CommandError("it writes nothing")
        return command

    def progress(self, done: int, total: int) -> None:
        self.done = done
        self.total = total
        self._check_abort()
        if self._watch is not None:
            self._watch(done, total)

    def _check_abort(self) -> None:
        if self.abort.is_set():
            raise LoadAborted("the load was told to stop")

    def note(self, **fields: object) -> None:
        self.facts.update(fields)

    @property
    def types(self) -> TypeRegistry:
        return self._keyspace.types

    @property
    def limits(self) -> Limits:
        return self._keyspace.limits

    @property
    def now(self) -> int:
        return self._now


class _Replayed:
    """How far `_replay_requests` came: requests it executed, the one it is at and where it lies."""

    count: int
    argv: list[bytes]
    at: int

    def __init__(self) -> None:
        self.count = self.at = 0
        self.argv = []


def _replay_requests(
    engine: Engine, context: Context, data: bytes, start: int, replayed: _Replayed
) -> int:
    """See `Loader.replay_requests`. Leaves whatever is no command that changes something."""
    at = start
    more = True
    while more:
        commands: list[Command] = []
        requests: list[list[bytes]] = []
        end = _read_some(engine, data, at, commands, requests)
        more = len(requests) == _AHEAD
        if COMPILED:  # the interpreter takes longer over a look than the memory does
            # Executing these one by one waits for the memory of each key. What one of them moves
            # is looked for again when it is due, so this changes nothing.
            context.db.entries.fetch([argv[1] for argv in requests if len(argv) > 1])
        for place in range(len(requests)):
            argv = requests[place]
            reply = engine.call(context, commands[place], argv)
            if isinstance(reply, CommandError):
                replayed.argv = argv
                replayed.at = _behind(data, at, place)
                raise reply
            replayed.count += 1
        at = end
    return at


def _read_some(
    engine: Engine, data: bytes, at: int, commands: list[Command], requests: list[list[bytes]]
) -> int:
    """The next requests, at most _AHEAD, up to what is not whole or no plain change; returns where
    that lies."""
    table = engine.table
    command: Command | None = None
    name = b""
    for _ in range(_AHEAD):
        argv: list[bytes] = []
        end = read_request(data, at, argv)
        if end < 0:
            break
        if argv[0] != name:
            name = argv[0]
            command = table.get(name)
        if (
            command is None
            or not command.bits & _CHANGES
            or not command.least <= len(argv) <= command.most
        ):
            break
        commands.append(command)
        requests.append(argv)
        at = end
    return at


def _behind(data: bytes, at: int, requests: int) -> int:
    """Where so many requests end, the first of which begins at ``at``."""
    for _ in range(requests):
        at = read_request(data, at, [])
    return at


def _twice(key: bytes, db: int) -> CorruptData:
    return CorruptData(f"key {key!r} of database {db} is there twice")


def _refused(argv: list[bytes], error: CommandError) -> CorruptData:
    shown = argv[0][:64].decode("latin-1")
    return CorruptData(f"command {shown!r} cannot be replayed: {error}")
