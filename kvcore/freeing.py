"""Frees what was deleted a little at a time, so that nobody waits for a million elements to go.

Redis hands what UNLINK and FLUSHALL ASYNC have unlinked to a thread. Objects of Python cannot be
freed beside the interpreter, so large values and whole databases are taken apart here, between the
requests, whichever command deleted them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Final

from kvcore.datatype import Value
from kvcore.table import Table

SLICE_S: Final = 0.001
REST_S: Final = 0.002  # between two slices, for the clients
_AT_ONCE: Final = 1000  # keys
_MOST_PENDING: Final = 1000


class Freeing:
    """What waits to be freed.

    ``pending``  each takes one thing apart, step by step
    ``freed``    how many have been
    """

    pending: list[Iterator[None]]
    freed: int

    def __init__(self) -> None:
        self.pending = []
        self.freed = 0

    def add(self, value: Value) -> None:
        """Free a value that nobody else has, later if it is large."""
        parts = value.dismantle()
        if parts is not None:
            self._later(parts)

    def add_keys(self, table: Table) -> None:
        """The same for the keys of a table and their values."""
        if table.count > _AT_ONCE:
            self._later(_free_keys(table.give_up()))
        else:
            for value in table.values():
                if isinstance(value, Value):
                    self.add(value)

    def _later(self, parts: Iterator[None]) -> None:
        pending = self.pending
        pending.append(parts)
        if len(pending) > _MOST_PENDING:  # deleting goes faster than freeing, or nobody frees
            for _ in pending.pop(0):
                pass
            self.freed += 1

    def step(self) -> bool:
        """About a millisecond of work; returns whether there is more."""
        pending = self.pending
        if not pending:
            return False
        deadline = time.monotonic() + SLICE_S
        while pending:
            if next(pending[-1], _DONE) is _DONE:
                pending.pop()
                self.freed += 1
            if time.monotonic() > deadline:
                break
        return bool(pending)


_DONE: Final = object()


def _free_keys(shards: Iterator[Collection[object]]) -> Iterator[None]:
    for values in shards:
        for value in values:
            if isinstance(value, Value):
                parts = value.dismantle()
                if parts is not None:
                    yield from parts
        yield
