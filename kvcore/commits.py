"""Commits, and their text in a log of commands: this is where a write's way to the disk spends
its time, so it is compiled. What a log looks like otherwise is for the policy whose file it is.
"""

from __future__ import annotations

from typing import Final

from kvcore.codec.output import Output
from kvcore.resp import encode_request

MULTI: Final = b"*1\r\n$5\r\nMULTI\r\n"
EXEC: Final = b"*1\r\n$4\r\nEXEC\r\n"


class Batch:
    """What one commit changed.

    ``commands``  [(database, argv), …] in order; each argv as it must be replayed. More than one
                  means a transaction.
    ``keys``      [(database, key), …] that were touched (with repeats); filled only for policies
                  with ``log = "keys"``. Ask ``host.value`` for what they hold now.
    """

    commands: list[tuple[int, list[bytes]]]
    keys: list[tuple[int, bytes]]

    def __init__(
        self, commands: list[tuple[int, list[bytes]]], keys: list[tuple[int, bytes]]
    ) -> None:
        self.commands = commands
        self.keys = keys


class Encoder:
    """Turns commits into requests: SELECT where the database changes, MULTI and EXEC around a
    commit of several commands, and on demand annotations, ``#TS:1700000000``.

    ``db``          the database that the log has selected; -1 before the first SELECT
    ``timestamps``  annotate the second in which commits were made (aof-timestamp-enabled)
    """

    db: int
    timestamps: bool
    _second: int

    def __init__(self) -> None:
        self.db = -1
        self.timestamps = False
        self._second = 0

    def reset(self) -> None:
        """What comes next is read without what came before."""
        self.db = -1
        self._second = 0

    def add_all(self, batches: list[Batch], out: Output, second: int) -> None:
        """Append the pieces of these commits, made in that Unix second, and take them from their
        list. If one of them raises, it and those behind it stay."""
        done = 0
        try:
            for batch in batches:
                self.add(batch, out, second)
                done += 1
        finally:
            del batches[:done]

    def add(self, batch: Batch, out: Output, second: int) -> None:
        """Append the pieces of one commit made in that Unix second: all of them, or none."""
        mark = out.length()
        db = self.db
        try:
            if self.timestamps and second != self._second:
                out.write(b"#TS:%d\r\n" % second)
                self._second = second
            commands = batch.commands
            if len(commands) == 1:
                self._add(commands[0], out)
            elif commands:
                out.write(MULTI)
                for command in commands:
                    self._add(command, out)
                out.write(EXEC)
        except BaseException:
            out.cut(mark)
            self.db = db
            raise

    def _add(self, command: tuple[int, list[bytes]], out: Output) -> None:
        db, argv = command
        if db != self.db:
            encode_request([b"SELECT", b"%d" % db], out)
            self.db = db
        encode_request(argv, out)
