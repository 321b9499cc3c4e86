"""The hash: fields to values, both bytes.

A plain dict while small; from _FLAT fields on a Table, so that HSCAN and HRANDFIELD take constant
time a step. ``encoding`` only tells what Redis would answer: listpack until a write crosses one
of the limits that the caller passes, then hashtable for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import random as fraction
from typing import Final, cast

from kvcore.datatype import Value
from kvcore.table import Table

LISTPACK: Final = "listpack"
HASHTABLE: Final = "hashtable"

_FLAT: Final = 512
_LONG: Final = 1 << 40  # longer than any string


class Hash(Value):
    """Limits are hash-max-listpack-entries and hash-max-listpack-value."""

    __slots__ = ("_fields", "encoding")

    encoding: str
    _fields: dict[bytes, bytes] | Table

    def __init__(self) -> None:
        self.hot = True
        self.origin = None
        self.encoding = LISTPACK
        self._fields = {}

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
        twin._fields = self._fields.copy()
        return twin

    def __len__(self) -> int:
        return len(self._fields)

    def has(self, field: bytes) -> bool:
        return field in self._fields

    def get(self, field: bytes) -> bytes | None:
        """The value of a field, or None."""
        value = self._fields.get(field)
        return value if isinstance(value, bytes) else None

    def set(self, field: bytes, value: bytes, max_entries: int = 128, max_value: int = 64) -> bool:
        """Insert or overwrite; returns True if the field is new."""
        fields = self._fields
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
        return self._fields.pop(field, None) is not None

    def dismantle(self) -> Iterator[None] | None:
        fields = self._fields
        return fields.dismantle() if isinstance(fields, Table) else None

    def weight(self) -> int:
        """The bytes of all fields and values; for small hashes."""
        return sum(map(len, self.fields())) + sum(map(len, self.values()))

    # All fields ----------------------------------------------------------------------------------

    def fields(self) -> list[bytes]:
        return list(self._fields)

    def values(self) -> list[bytes]:
        return [value for _, value in self.pairs()]

    def items(self) -> dict[bytes, bytes]:
        """A new dict of all fields."""
        fields = self._fields
        return fields.copy() if isinstance(fields, dict) else dict(self.pairs())

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """All (field, value), one at a time; the hash must not change meanwhile."""
        fields = self._fields
        if isinstance(fields, Table):
            return cast(Iterator[tuple[bytes, bytes]], fields.items())
        return iter(fields.items())

    def scan(self, cursor: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        """One step of a scan: the next cursor (0 when done) and some (field, value).

        With the guarantee of `Table.scan`; a small hash is returned whole.
        """
        fields = self._fields
        if isinstance(fields, Table):
            following, found = fields.scan_items(cursor)
            return following, cast(list[tuple[bytes, bytes]], found)
        return 0, list(fields.items())

    def random_field(self) -> bytes:
        """A field chosen uniformly; raises IndexError if there is none."""
        fields = self._fields
        if isinstance(fields, Table):
            return fields.random()
        if not fields:
            raise IndexError("random field of an empty hash")
        return next(islice(fields, int(fraction() * len(fields)), None))

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        fields = self._fields
        if isinstance(fields, Table):
            fields.check()
        else:
            assert len(fields) <= _FLAT
        assert self.encoding in (LISTPACK, HASHTABLE)
        for field, value in self.pairs():
            assert isinstance(field, bytes)
            assert isinstance(value, bytes)
