"""What a data set is made of: counted key by key, in memory that does not grow with them."""

from __future__ import annotations

import heapq
import re
import time
from typing import Any, Final

from kvcore.codec.rdb import Writer
from kvcore.reading import default_limits, registry

MAX_DEPTH: Final = 4
MAX_CHILDREN: Final = 256  # of a prefix; further ones are counted together
MAX_PREFIXES: Final = 20_000
OTHERS: Final = "(others)"
NO_PREFIX: Final = "(no prefix)"

# A part of a key that numbers things says nothing about their kind.
_NUMBERING: Final = re.compile(
    rb"[+-]?[0-9]+|[0-9a-fA-F]{8,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4,12}){4}"
)

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
TTL_BUCKETS: Final = (
    ("expired", 0),
    ("1 min", _MINUTE),
    ("10 min", 10 * _MINUTE),
    ("1 hour", _HOUR),
    ("6 hours", 6 * _HOUR),
    ("1 day", _DAY),
    ("1 week", 7 * _DAY),
    ("30 days", 30 * _DAY),
    ("1 year", 365 * _DAY),
    ("longer", 1 << 63),
)


class Tally:
    """How many keys, their bytes and elements, and how many expire."""

    def __init__(self) -> None:
        self.keys = self.bytes = self.elements = self.expiring = 0

    def add(self, size: int, elements: int, expires: bool) -> None:
        self.keys += 1
        self.bytes += size
        self.elements += elements
        self.expiring += expires


class Prefix(Tally):
    """All keys that begin alike, and below it those that go on alike.

    The name of a child is what follows, with the separator: ``user:`` then ``*:`` then ``cart``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.children: dict[str, Prefix] = {}

    def child(self, name: str, *, may_grow: bool) -> Prefix:
        """The child of this name; the one of all others if there is no room for it."""
        found = self.children.get(name)
        if found is None:
            if not may_grow or len(self.children) >= MAX_CHILDREN:
                name = OTHERS
            found = self.children.setdefault(name, Prefix())
        return found

    def largest(self) -> list[tuple[str, Prefix]]:
        return sorted(self.children.items(), key=lambda item: (-item[1].bytes, item[0]))


class Big:
    """A key among the biggest."""

    def __init__(
        self, size: int, db: int, key: bytes, type: str, encoding: str, elements: int, expiry: int
    ) -> None:
        self.size = size
        self.db = db
        self.key = key
        self.type = type
        self.encoding = encoding
        self.elements = elements
        self.expiry = expiry

    def __lt__(self, other: Big) -> bool:
        return (self.size, other.key) < (other.size, self.key)


class Survey:
    """Takes all keys, and tells what there is.

    ``types``, ``databases`` and ``encodings`` (by type and encoding) are tallies by name;
    ``prefixes`` the root of a tree; ``biggest`` the biggest keys, biggest first once `finish` was
    called; ``sizes`` counts keys by the power of two that their size does not reach; ``ttl`` keys
    by `TTL_BUCKETS`. A size is what the key takes in a snapshot, in bytes.
    """

    def __init__(self, separator: bytes = b":", top: int = 20) -> None:
        self.now = int(time.time() * 1000)
        self.total = Tally()
        self.types: dict[str, Tally] = {}
        self.encodings: dict[tuple[str, str], Tally] = {}
        self.databases: dict[int, Tally] = {}
        self.prefixes = Prefix()
        self.biggest: list[Big] = []
        self.sizes: dict[int, int] = {}
        self.ttl = [0] * len(TTL_BUCKETS)
        self.expired = 0
        self._nodes = 0
        self._separator = separator
        self._end = separator.decode("utf-8", "backslashreplace")
        self._top = top
        self._registry = registry()
        self._limits = default_limits()

    def visit(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        datatype = self._registry.of(value)
        writer = Writer()
        writer.string(key)
        datatype.save(value, writer)
        size = writer.written + 1 + (9 if expiry >= 0 else 0)
        encoding = datatype.encoding(value, self._limits)
        elements = datatype.length(value)
        expires = expiry >= 0
        for tally in (
            self.total,
            self.types.setdefault(datatype.name, Tally()),
            self.encodings.setdefault((datatype.name, encoding), Tally()),
            self.databases.setdefault(db, Tally()),
        ):
            tally.add(size, elements, expires)
        self._add_prefix(key, size, elements, expires)
        bits = size.bit_length()
        self.sizes[bits] = self.sizes.get(bits, 0) + 1
        if expires:
            self._add_ttl(expiry - self.now)
        biggest = self.biggest
        if len(biggest) < self._top or size > biggest[0].size:
            entry = Big(size, db, key, datatype.name, encoding, elements, expiry)
            if len(biggest) < self._top:
                heapq.heappush(biggest, entry)
            else:
                heapq.heapreplace(biggest, entry)

    def _add_prefix(self, key: bytes, size: int, elements: int, expires: bool) -> None:
        node = self.prefixes
        node.add(size, elements, expires)
        *parts, last = key.split(self._separator, MAX_DEPTH)
        names = [self._name(part) + self._end for part in parts]
        if names and names[-1] == "*" + self._end and not _NUMBERING.fullmatch(last):
            names.append(self._name(last))  # user:1:cart: the end tells the kind of key
        for name in names or [NO_PREFIX]:
            node = node.child(name, may_grow=self._nodes < MAX_PREFIXES)
            node.add(size, elements, expires)
            self._nodes += node.keys == 1

    def _name(self, part: bytes) -> str:
        if _NUMBERING.fullmatch(part):
            return "*"
        return part[:64].decode("utf-8", "backslashreplace")

    def _add_ttl(self, left: int) -> None:
        if left < 0:
            self.expired += 1
        for i, (_, most) in enumerate(TTL_BUCKETS):
            if left < most:
                self.ttl[i] += 1
                return

    def finish(self) -> None:
        self.biggest.sort(reverse=True)

    def histogram(self) -> list[tuple[str, int]]:
        """(upper bound, keys) of sizes, without gaps."""
        if not self.sizes:
            return []
        first, last = min(self.sizes), max(self.sizes)
        return [(_bound(bits), self.sizes.get(bits, 0)) for bits in range(first, last + 1)]

    def prefix_rows(self, count: int) -> list[tuple[str, Prefix]]:
        """The largest prefixes of any depth, largest first.

        One that goes on in one way only is named as far as it does.
        """
        rows: list[tuple[str, Prefix]] = []
        todo = [("", self.prefixes)]
        while todo:
            path, node = todo.pop()
            for name, child in node.children.items():
                if name == OTHERS and path:
                    continue
                todo.append((path + name, child))
                if all([below.keys < child.keys for below in child.children.values()]):
                    rows.append((path + name, child))
        rows.sort(key=lambda row: (-row[1].bytes, len(row[0])))
        return rows[:count]


def _bound(bits: int) -> str:
    size = 1 << bits
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size >>= 10
    return f"{size} {unit}"
