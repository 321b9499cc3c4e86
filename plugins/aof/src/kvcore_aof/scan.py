"""What a file of a log holds, found out without executing it: for tools that check, mend and cut.

The reader is that of a load (`kvcore_aof.commands`), so what it calls whole is what a load takes.
"""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import parse_int
from kvcore.errors import CorruptData
from kvcore.persistence import Loader
from kvcore_aof import base
from kvcore_aof.commands import CRLF, Replayer
from kvcore_rdb.format import Contents

FOREVER: Final = 1 << 62

_ANNOTATION: Final = b"#TS:"


class Scan:
    """What `scan` found.

    ``contents``  of the RDB part, None if there is none; ``preamble`` is its size in bytes
    ``whole``     where the last whole command or transaction ends
    ``commands``  in the whole part, without SELECT, MULTI and EXEC
    ``lines``     the lines of all requests in the whole part, as redis-check-aof counts them
    ``torn``      why what follows is not whole, if a crash may have left it so; else ""
    ``damage``    why what follows is not whole, if no crash leaves it so; else None
    ``first``     Unix seconds of the first annotation, ``last`` of the last one; -1 without any
    ``undated``   whether a command stands before the first annotation
    ``cut``       Unix seconds of the annotation at which the scan stopped; -1 if it did not
    """

    contents: Contents | None
    preamble: int
    whole: int
    commands: int
    lines: int
    torn: str
    damage: CorruptData | None
    first: int
    last: int
    undated: bool
    cut: int

    def __init__(self) -> None:
        self.contents = None
        self.preamble = self.whole = self.commands = self.lines = 0
        self.torn = ""
        self.damage = None
        self.first = self.last = self.cut = -1
        self.undated = False


def scan(
    source: base.Source,
    loader: Loader,
    path: str,
    *,
    is_base: bool,
    until: int = FOREVER,
    contents: Contents | None = None,
) -> Scan:
    """Read one file up to its end, to damage, or to what was written after second ``until``.

    Only a base may have an RDB part; its keys go to ``loader``, and what it holds to ``contents``.
    Raises CorruptData if that part is damaged; damage behind it is told.
    """
    found = Scan()
    if is_base:
        found.contents = base.read_preamble(source, loader, path, contents=contents)
    found.preamble = found.whole = source.offset
    zeroes = source.leave_zeroes()
    scanner = _Scanner(found, path, until)
    try:
        while data := source.read(scanner.want):
            scanner.feed(data)
        found.whole, found.torn = scanner.finish()
        found.torn = found.torn or zeroes
    except CorruptData as error:
        found.damage = error
        found.whole = scanner.whole
    except _Cut:
        found.whole = scanner.whole
    return found


class _Cut(Exception):
    """What follows is too young."""


class _Counter(Loader):
    """Counts what would be executed."""

    def __init__(self, found: Scan) -> None:
        self._found = found

    def replay(self, db: int, argv: list[bytes]) -> None:
        found = self._found
        found.commands += 1
        found.lines += 1 + 2 * len(argv)
        if found.first < 0:
            found.undated = True


class _Scanner(Replayer):
    """Follows a log, and remembers where the request begins that it is at."""

    def __init__(self, found: Scan, path: str, until: int) -> None:
        super().__init__(_Counter(found), path, found.preamble)
        self._found = found
        self._until = until
        self._at = found.preamble
        self._inside = 0  # lines of SELECT in an open transaction

    @property
    def whole(self) -> int:
        """Where the whole part ends, once an exception has ended the scan."""
        return self._at if self._queue is None else self._multi_at

    def finish(self) -> tuple[int, str]:
        self._at = self._begin
        return super().finish()

    def _one(self, data: bytes, at: int, argv: list[bytes]) -> int:
        self._at = self._begin + at
        if data.startswith(_ANNOTATION, at):
            end = data.find(CRLF, at)
            if end >= 0:
                self._annotation(data[at + len(_ANNOTATION) : end])
        return super()._one(data, at, argv)

    def _annotation(self, digits: bytes) -> None:
        found = self._found
        second = parse_int(digits)
        if second is None:
            return
        if second > self._until:
            found.cut = second
            raise _Cut
        if found.first < 0:
            found.first = second
        found.last = second

    def _execute(self, argv: list[bytes], at: int) -> None:
        self._at = self._begin + at
        super()._execute(argv, at)
        name = argv[0].upper()
        if name == b"SELECT":
            if self._queue is None:
                self._found.lines += 5
            else:
                self._inside += 5
        elif name == b"EXEC":
            self._found.lines += 6 + self._inside
            self._inside = 0
