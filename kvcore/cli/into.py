"""``kvcore restore --into``: keys of a data file into a server that runs.

The file is read twice. The first time it is read to its end, and the server is asked which of the
keys it has already; the second time the keys are sent, by RESTORE, so that the server journals them
as any write. A file that is damaged, and keys that are there already, change nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from kvcore.cli import offline
from kvcore.cli.client import Connection, Refused
from kvcore.cli.terminal import Unreadable, plural, progress, shown
from kvcore.families.keys.dump import serialize
from kvcore.reading import Wanted, registry

_BATCH_KEYS: Final = 500
_BATCH_BYTES: Final = 1 << 20

Answer = Callable[[int, bytes, Any], None]
"""Takes a database, a key, and the server's reply about it."""


class Outcome:
    """Keys that were ``restored``, and those left out because their time is over (``expired``)."""

    def __init__(self) -> None:
        self.restored = 0
        self.expired = 0


class Conflict(Unreadable):
    """Keys are there already; nothing was changed."""


def restore(
    source: offline.Source, connection: Connection, wanted: Wanted, *, replace: bool
) -> Outcome:
    """Raises CorruptData, OSError, Conflict, and Unreadable for what the server refuses."""
    check = _Check(connection, wanted, replace)
    with progress(f"Checking {source.path}") as watch:
        source.each(check.visit, watch)
        check.batch.send()
    check.refuse()
    source.warnings.clear()  # the second time says the same
    sender = _Sender(connection, wanted, replace)
    with progress(f"Restoring into {connection.name}") as watch:
        source.each(sender.visit, watch)
        sender.batch.send()
        sender.check()
    return sender.outcome


class _Batch:
    """Requests about keys, which are sent together, with the SELECTs that they need."""

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer
        self._asked: list[tuple[int, bytes, list[bytes]]] = []
        self._size = 0
        self._db = -1

    def add(self, db: int, key: bytes, argv: list[bytes]) -> None:
        self._asked.append((db, key, argv))
        self._size += sum(map(len, argv))
        if len(self._asked) >= _BATCH_KEYS or self._size >= _BATCH_BYTES:
            self.send()

    def send(self) -> None:
        """Send what is gathered and hand the replies on. Raises Unreadable."""
        requests = []
        about: list[tuple[int, bytes] | None] = []
        for db, key, argv in self._asked:
            if db != self._db:
                self._db = db
                requests.append([b"SELECT", b"%d" % db])
                about.append(None)
            requests.append(argv)
            about.append((db, key))
        self._asked = []
        self._size = 0
        for what, reply in zip(about, self._connection.ask_all(requests)):
            if what is not None:
                self._answer(*what, reply)
            elif isinstance(reply, Refused):
                raise Unreadable(f"{self._connection.name} refuses database {self._db}: {reply}")


class _Check:
    """The first time: is the file whole, and what is there already?"""

    def __init__(self, connection: Connection, wanted: Wanted, replace: bool) -> None:
        self.batch = _Batch(connection, self._answer)
        self._name = connection.name
        self._wanted = wanted
        self._replace = replace
        self._there = 0
        self._first = ""

    def visit(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        if self._wanted(db, key):
            self.batch.add(db, key, [b"EXISTS", key])

    def _answer(self, db: int, key: bytes, reply: Any) -> None:
        if isinstance(reply, Refused):
            raise Unreadable(f"{self._name} refuses EXISTS: {reply}")
        self._there += reply
        if reply and not self._first:
            self._first = f"{shown(key[:64])} in database {db}"

    def refuse(self) -> None:
        if self._there and not self._replace:
            raise Conflict(
                f"{plural(self._there, 'key')} of the file "
                f"{'is' if self._there == 1 else 'are'} there already, such as {self._first}: "
                "--replace overwrites them, --db and --match choose others. Nothing was changed"
            )


class _Sender:
    """The second time: the keys themselves."""

    def __init__(self, connection: Connection, wanted: Wanted, replace: bool) -> None:
        self.batch = _Batch(connection, self._answer)
        self.outcome = Outcome()
        self._name = connection.name
        self._wanted = wanted
        self._options = [b"ABSTTL", b"REPLACE"] if replace else [b"ABSTTL"]
        self._types = registry()
        self._refusal = ""
        self._now = int(time.time() * 1000)

    def visit(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        if not self._wanted(db, key):
            return
        if 0 <= expiry <= self._now:
            self.outcome.expired += 1
            return
        self.check()
        payload = serialize(self._types.of(value), value)
        self.batch.add(db, key, [b"RESTORE", key, b"%d" % max(expiry, 0), payload, *self._options])

    def _answer(self, db: int, key: bytes, reply: Any) -> None:
        if not isinstance(reply, Refused):
            self.outcome.restored += 1
        elif not self._refusal:
            self._refusal = f"key {shown(key[:64])} of database {db}: {reply}"

    def check(self) -> None:
        """Raises Unreadable if the server has refused a key. The others of its batch are there."""
        if self._refusal:
            raise Unreadable(
                f"{self._name} refuses {self._refusal}. "
                f"{plural(self.outcome.restored, 'key')} had been restored by then"
            )
