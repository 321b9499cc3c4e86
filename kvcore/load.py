"""The road of a load: the two doors of `kvcore.persistence.Loader`, opened on an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from kvcore.command import MAY_REPLICATE, WRITE, Command, Context
from kvcore.datatype import Limits, TypeRegistry
from kvcore.engine import Engine
from kvcore.errors import CommandError, CorruptData, KvcoreError
from kvcore.packed import Packed
from kvcore.persistence import Loader

_ABORT_CHECK: Final = 0xFF  # keys between two looks at whether to go on, less one


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
        self.abort = threading.Event()

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        databases = self._keyspace.databases
        if db >= len(databases):
            raise CorruptData(
                f"database {db} is out of range; this store has {len(databases)} databases",
                advice=f"Start with `databases {db + 1}` or more",
            )
        database = databases[db]
        if not database.entries.set(key, value):
            if not self._merge:
                raise CorruptData(f"key {key!r} of database {db} is there twice")
            database.expires.pop(key)
        if expiry >= 0:
            database.expires.set(key, expiry)
        self.keys += 1
        if self.keys & _ABORT_CHECK == 0:
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
        databases = self._keyspace.databases
        if db >= len(databases):
            raise CorruptData(
                f"database {db} is out of range; this store has {len(databases)} databases",
                advice=f"Start with `databases {db + 1}` or more",
            )
        context = self._context
        context.db = databases[db]
        try:
            command: Command = self._engine.commands.find(argv)
            if not command.bits & (WRITE | MAY_REPLICATE):
                # No log holds one, and it may want a client, which a load has not.
                raise CommandError("it writes nothing")
            self._engine.call(context, command, argv)
        except CommandError as error:
            shown = argv[0][:64].decode("latin-1")
            raise CorruptData(f"command {shown!r} cannot be replayed: {error}") from error
        self.commands += 1
        if self.commands & _ABORT_CHECK == 0:
            self._check_abort()

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
