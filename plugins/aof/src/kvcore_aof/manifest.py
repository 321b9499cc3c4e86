"""The manifest of a multi-part append-only file (Redis 7: aof.c, above ``aofInfoCreate``).

One line a file, and a file is named only here::

    file appendonly.aof.2.base.rdb seq 2 type b
    file appendonly.aof.1.incr.aof seq 1 type h
    file appendonly.aof.2.incr.aof seq 2 type i

``b`` is the base, at most one: the data at the moment of the last rewrite. ``i`` are increments,
the commands since, in rising order of ``seq``; the last one is written to. ``h`` is history: no
longer needed, still to be removed. A line is pairs of name and value, in any order; unknown pairs
are skipped. ``#`` starts a comment. A line has at most 1024 bytes, its end included.
"""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import parse_int
from kvcore.config.grammar import decode, encode, quote_if_needed, split_args
from kvcore.errors import CorruptData

MAX_LINE: Final = 1024

BASE: Final = "b"
HISTORY: Final = "h"
INCREMENT: Final = "i"

FORMAT: Final = "Invalid AOF manifest file format"


class Part:
    """One file of the log: its name in the folder, its place among its kind, and the kind."""

    name: str
    seq: int
    kind: str

    def __init__(self, name: str, seq: int, kind: str) -> None:
        self.name = name
        self.seq = seq
        self.kind = kind

    def __repr__(self) -> str:
        return f"Part({self.name!r}, {self.seq}, {self.kind!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class Manifest:
    """Which files make up the log. Never changed once it is in use: make a `copy`."""

    base: Part | None
    increments: list[Part]
    history: list[Part]

    def __init__(self) -> None:
        self.base = None
        self.increments = []
        self.history = []

    def copy(self) -> Manifest:
        other = Manifest()
        other.base = self.base
        other.increments = list(self.increments)
        other.history = list(self.history)
        return other

    @property
    def parts(self) -> list[Part]:
        """What a load reads, in order."""
        base = [] if self.base is None else [self.base]
        return [*base, *self.increments]

    @property
    def base_seq(self) -> int:
        return 0 if self.base is None else self.base.seq

    @property
    def increment_seq(self) -> int:
        return self.increments[-1].seq if self.increments else 0

    def replace_base(self, base: Part, *, keep: int) -> None:
        """``base`` holds all but the last ``keep`` increments; what it replaces is history."""
        whole = len(self.increments) - keep
        replaced = [*([] if self.base is None else [self.base]), *self.increments[:whole]]
        self.history += [Part(part.name, part.seq, HISTORY) for part in replaced]
        self.increments = self.increments[whole:]
        self.base = base


def parse(data: bytes, path: str = "") -> Manifest:
    """Read a manifest. Raises CorruptData, worded as Redis words it."""
    if not data:
        raise CorruptData("Found an empty AOF manifest", path=path)
    manifest = Manifest()
    offset = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        end = offset + len(line) + 1
        if offset == len(data):
            break
        if not line.startswith(b"#"):
            try:
                if end > len(data) or end - offset > MAX_LINE:
                    raise ValueError("The AOF manifest file contains too long line")
                _add(manifest, _parse_line(line))
            except ValueError as error:
                why = f"{error}: line {number} is {line[:100]!r}"
                raise CorruptData(why, path=path, offset=offset) from None
        offset = end
    return manifest


def format(manifest: Manifest) -> bytes:
    """The text of a manifest: base, history, increments."""
    base = [] if manifest.base is None else [manifest.base]
    lines = [
        b"file %b seq %d type %b\n" % (_word(part.name), part.seq, part.kind.encode())
        for part in [*base, *manifest.history, *manifest.increments]
    ]
    return b"".join(lines)


def _word(name: str) -> bytes:
    return quote_if_needed(encode(name))


def _parse_line(line: bytes) -> Part:
    """Raises ValueError."""
    words = split_args(line.strip(b" \t\r\n"))
    if words is None or len(words) < 6 or len(words) % 2:
        raise ValueError(FORMAT)
    pairs = {words[i].lower(): words[i + 1] for i in range(0, len(words), 2)}
    name = decode(pairs.get(b"file", b""))
    seq = parse_int(pairs.get(b"seq", b""))
    kind = decode(pairs.get(b"type", b""))
    if "/" in name or "\\" in name:
        raise ValueError("File can't be a path, just a filename")
    if name in ("", ".", "..") or "\0" in name or seq is None or not kind:
        raise ValueError(FORMAT)
    if kind not in (BASE, HISTORY, INCREMENT):
        raise ValueError("Unknown AOF file type")
    if seq == 0 or (seq < 0 and kind != INCREMENT):
        raise ValueError(FORMAT)
    return Part(name, seq, kind)


def _add(manifest: Manifest, part: Part) -> None:
    """Raises ValueError."""
    if part.kind == HISTORY:
        manifest.history.append(part)
    elif part.kind == BASE:
        if manifest.base is not None:
            raise ValueError("Found duplicate base file information")
        manifest.base = part
    else:
        if part.seq <= manifest.increment_seq:
            raise ValueError("Found a non-monotonic sequence number")
        manifest.increments.append(part)
