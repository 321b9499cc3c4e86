"""The hash: fields to values, both bytes.

While small, a listpack's entries until it is used more, then a plain dict; from _FLAT fields on a
Table, so that HSCAN and HRANDFIELD take constant time a step. ``encoding`` only tells what Redis
would answer: listpack until a write crosses one of the limits that the caller passes, then
hashtable for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import random as fraction
from typing import Final, cast

from kvcore.codec import listpack
from kvcore.codec.rdb import plain_string, skip_length
from kvcore.datatype import MOST_BYTES, MOST_PACKED, Value, named
from kvcore.table import LARGE, Table

LISTPACK: Final = "listpack"
HASHTABLE: Final = "hashtable"

_FLAT: Final = 512
_LONG: Final = 1 << 40  # longer than any string


class Hash(Value):
    """Limits are hash-max-listpack-entries and hash-max-listpack-value."""

    __slots__ = ("_fields", "_size", "encoding")

    encoding: str
    # Bytes are a listpack's entries, of fields and values in turn, _size of each. Whoever looks at
    # this looks once: another thread may read a value that this one decodes (see `_live`).
    _fields: dict[bytes, bytes] | Table | bytes
    _size: int

    def __init__(self) -> None:
        super().__init__()
        self.encoding = LISTPACK
        self._fields = b""
        self._size = 0

    @staticmethod
    def open(payload: bytes) -> Hash:
        """The hash whose `payload` this is."""
        self = Hash()
        start = skip_length(payload)
        self._fields = listpack.entries(payload, start)
        self._size = listpack.count(payload, start) // 2
        return self

    def payload(self) -> bytes | None:
        fields = self._fields
        return plain_string(self.as_listpack()) if isinstance(fields, bytes) else None

    def as_listpack(self) -> bytes:
        """Fields and values in turn."""
        fields = self._fields
        if isinstance(fields, bytes):
            return listpack.wrap(fields, 2 * self._size)
        items: list[bytes] = []
        for field, value in self.pairs():
            items.append(field)
            items.append(value)
        return listpack.encode(items)

    @classmethod
    def of(cls, items: dict[bytes, bytes], max_entries: int = 128, max_value: int = 64) -> Hash:
        """A hash of these items, encoded as they and the limits require."""
        return Hash.owning(items.copy(), max_entries, max_value)

    @staticmethod
    def owning(items: dict[bytes, bytes], max_entries: int, max_value: int) -> Hash:
        """The same, of a dict that nobody else has."""
        self = Hash()
        if len(items) > _FLAT:
            self._fields = Table.of(items.items())
        else:
            self._fields = items
        if len(items) > max_entries:
            self.encoding = HASHTABLE
        elif max_value < _LONG:
            for field, value in items.items():
                if len(field) > max_value or len(value) > max_value:
                    self.encoding = HASHTABLE
                    break
        return self

    def copy(self) -> Hash:
        twin = Hash()
        twin.encoding = self.encoding
        fields = self._fields
        if isinstance(fields, bytes):
            twin._fields = fields
            twin._size = self._size
        else:
            twin._fields = fields.copy()
        return twin

    def __len__(self) -> int:
        fields = self._fields
        return self._size if isinstance(fields, bytes) else len(fields)

    def has(self, field: bytes) -> bool:
        return self.get(field) is not None

    def get(self, field: bytes) -> bytes | None:
        """The value of a field, or None."""
        fields = self._fields
        if isinstance(fields, dict):
            return fields.get(field)
        if isinstance(fields, Table):
            value = fields.get(field)
            return value if isinstance(value, bytes) else None
        if self.worn():
            return cast("bytes | None", self._live().get(field))
        at = listpack.find(fields, listpack.entry(field), 2)
        return None if at < 0 else listpack.item(fields, listpack.after(fields, at))

    def set(self, field: bytes, value: bytes, max_entries: int = 128, max_value: int = 64) -> bool:
        """Insert or overwrite; returns True if the field is new."""
        fields = self._fields
        if isinstance(fields, bytes):
            if (
                len(field) <= max_value
                and len(value) <= max_value
                and self._size < min(max_entries, MOST_PACKED)
                and len(fields) + len(field) + len(value) <= MOST_BYTES
                and not self.worn()
            ):
                return self._set_entry(fields, field, value)
            fields = self._live()
        if isinstance(fields, Table):
            fresh = fields.set(field, value)
        else:
            fresh = field not in fields
            fields[field] = value
            if fresh and len(fields) > _FLAT:
                self._fields = Table.of(fields.items())
        if self.encoding is LISTPACK and (
            len(value) > max_value or len(field) > max_value or len(self._fields) > max_entries
        ):
            self.encoding = HASHTABLE
        return fresh

    def delete(self, field: bytes) -> bool:
        """Take a field out; returns True if it was there."""
        fields = self._fields
        if not isinstance(fields, bytes):
            return fields.pop(field, None) is not None
        if self.worn():
            return self._live().pop(field, None) is not None
        at = listpack.find(fields, listpack.entry(field), 2)
        if at < 0:
            return False
        end = listpack.after(fields, listpack.after(fields, at))
        self._fields = fields[:at] + fields[end:]
        self._size -= 1
        return True

    def fetch(self, commands: list[list[bytes]]) -> None:
        fields = self._fields
        if isinstance(fields, Table) and fields.count >= LARGE:
            fields.fetch(named(commands, 2))

    def dismantle(self) -> Iterator[None] | None:
        fields = self._fields
        return fields.dismantle() if isinstance(fields, Table) else None

    def weight(self) -> int:
        """The bytes of all fields and values; for small hashes that are no `payload`."""
        return sum(map(len, self.fields())) + sum(map(len, self.values()))

    # All fields ----------------------------------------------------------------------------------

    def fields(self) -> list[bytes]:
        return list(self._all())

    def values(self) -> list[bytes]:
        return [value for _, value in self.pairs()]

    def items(self) -> dict[bytes, bytes]:
        """A new dict of all fields."""
        fields = self._fields
        if isinstance(fields, dict):
            return fields.copy()
        return _decode(fields) if isinstance(fields, bytes) else dict(self.pairs())

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """All (field, value), one at a time; the hash must not change meanwhile."""
        return cast("Iterator[tuple[bytes, bytes]]", iter(self._all().items()))

    def scan(self, cursor: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        """One step of a scan: the next cursor (0 when done) and some (field, value).

        With the guarantee of `Table.scan`; a small hash is returned whole.
        """
        fields = self._all()
        if isinstance(fields, Table):
            following, found = fields.scan_items(cursor)
            return following, cast("list[tuple[bytes, bytes]]", found)
        return 0, list(fields.items())

    def random_field(self) -> bytes:
        """A field chosen uniformly; raises IndexError if there is none."""
        fields = self._live()
        if isinstance(fields, Table):
            return fields.random()
        if not fields:
            raise IndexError("random field of an empty hash")
        return next(islice(fields, int(fraction() * len(fields)), None))

    # The payload ---------------------------------------------------------------------------------

    def _all(self) -> dict[bytes, bytes] | Table:
        """All fields, to be read only."""
        fields = self._fields
        if not isinstance(fields, bytes):
            return fields
        return self._live() if self.worn() else _decode(fields)

    def _live(self) -> dict[bytes, bytes] | Table:
        """The fields, decoded from now on."""
        fields = self._fields
        if isinstance(fields, bytes):
            fields = _decode(fields)
            self._fields = fields
            self.made = None
        return fields

    def _set_entry(self, fields: bytes, field: bytes, value: bytes) -> bool:
        """`set` among the entries of the payload."""
        entry = listpack.entry(field)
        at = listpack.find(fields, entry, 2)
        if at < 0:
            self._fields = fields + entry + listpack.entry(value)
            self._size += 1
            return True
        start = at + len(entry)
        end = listpack.after(fields, start)
        self._fields = fields[:start] + listpack.entry(value) + fields[end:]
        return False

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        fields = self._fields
        if isinstance(fields, Table):
            fields.check()
        elif isinstance(fields, bytes):
            assert self.encoding is LISTPACK
            items = listpack.items(fields)
            assert listpack.encode(items) == self.as_listpack()
            assert len(items) == 2 * self._size == 2 * len(_decode(fields))
        else:
            assert len(fields) <= _FLAT
        assert self.encoding in (LISTPACK, HASHTABLE)
        for field, value in self.pairs():
            assert isinstance(field, bytes)
            assert isinstance(value, bytes)


def _decode(entries: bytes) -> dict[bytes, bytes]:
    items = listpack.items(entries)
    fields: dict[bytes, bytes] = {}
    for index in range(0, len(items), 2):
        fields[items[index]] = items[index + 1]
    return fields
