"""Packs the values that nobody touches (see kvcore.packed), a little at each tick.

A round goes over all databases, shard by shard, and asks each small value whether it was looked up
since the last round. So a value is packed when it was left alone for one to two rounds. Rounds
begin seconds apart, and as long as they find nothing that is worth packing, further and further
apart: a store of strings costs nothing here, and what is in use is not packed to be unpacked again.
"""

from __future__ import annotations

import time
from typing import Final

from kvcore.datatype import Value
from kvcore.keyspace import Database, Keyspace

SLICE_S: Final = 0.001
REST_S: Final = 10.0
LONGEST_REST_S: Final = 160.0


class ColdRound:
    """The round over one keyspace, wherever it is.

    ``due``      when the next one begins (monotonic seconds); to be set by tests
    ``running``  one has begun and is not over
    """

    due: float
    running: bool
    _keyspace: Keyspace
    _db: int
    _cursor: int
    _found: bool  # values that are worth packing, now or when they get cold
    _unpacked: int
    _rest: float

    def __init__(self, keyspace: Keyspace) -> None:
        self.due = 0.0
        self.running = False
        self._keyspace = keyspace
        self._db = self._cursor = self._unpacked = 0
        self._found = False
        self._rest = REST_S

    def step(self, now: float) -> int:
        """About a millisecond of work at ``now`` (monotonic seconds), if a round runs or is due.

        Returns how many values were packed. Not to be called while a child has a stable view of
        the keyspace, which would take a copy of all that is packed.
        """
        if not self.running and not self._begin(now):
            return 0
        databases = self._keyspace.databases
        deadline = time.monotonic() + SLICE_S
        packed = 0
        while True:
            packed += self._pack_shard(databases[self._db])
            if self._cursor == 0:
                self._db += 1
                if self._db == len(databases):
                    self._end(now)
                    return packed
            if time.monotonic() > deadline:
                return packed

    def _begin(self, now: float) -> bool:
        unpacked = self._keyspace.unpacked
        if unpacked != self._unpacked:
            self._unpacked = unpacked
            self._rest = REST_S
            self.due = min(self.due, now + REST_S)
        if now < self.due:
            return False
        self.running = True
        self._found = False
        self._db = self._cursor = 0
        return True

    def _end(self, now: float) -> None:
        self.running = False
        self._rest = REST_S if self._found else min(self._rest * 2, LONGEST_REST_S)
        self.due = now + self._rest

    def _pack_shard(self, db: Database) -> int:
        """Pack what is cold in one shard, and move on behind it."""
        if db.entries.count == 0:
            self._cursor = 0
            return 0
        packed = 0
        self._cursor, items = db.entries.scan_items(self._cursor)
        for key, value in items:
            if isinstance(value, Value):
                if value.hot:
                    value.hot = False
                    self._found = True
                elif pack(db, key, value):
                    self._found = True
                    packed += 1
        return packed


def pack(db: Database, key: bytes, value: object) -> bool:
    """Put the packed form in the place of a live value; False if it has none."""
    packed = db.keyspace.types.pack(value)
    if packed is None:
        return False
    db.entries.set(key, packed)
    return True


def pack_all(keyspace: Keyspace) -> int:
    """Pack whatever can be, in use or not; returns how many values that were."""
    return sum(
        [isinstance(value, Value) and pack(db, key, value) for db, key, value in keyspace.walk()]
    )
