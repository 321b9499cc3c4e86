"""The set: members, which are bytes.

A plain set while small; from _FLAT members on a Table, so that SSCAN, SRANDMEMBER and SPOP take
constant time a step. ``encoding`` only tells what Redis would answer, by the rules of 7.2: intset
while all are integers and few, else listpack while few and short, else hashtable; it never
returns to a narrower one. With ``max_entries`` 0 there is no listpack: the rules of 7.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import random as fraction
from typing import Final

from kvcore.codec.numbers import parse_int
from kvcore.datatype import Limits, Value
from kvcore.table import Table

INTSET: Final = "intset"
LISTPACK: Final = "listpack"
HASHTABLE: Final = "hashtable"

_FLAT: Final = 512


class Set(Value):
    """Limits are set-max-intset-entries, set-max-listpack-entries and set-max-listpack-value."""

    __slots__ = ("_members", "encoding")

    encoding: str
    _members: set[bytes] | Table

    def __init__(self) -> None:
        self.hot = True
        self.origin = None
        self.encoding = INTSET
        self._members = set()

    @classmethod
    def of(
        cls,
        members: set[bytes],
        max_intset: int = 512,
        max_entries: int = 128,
        max_value: int = 64,
    ) -> Set:
        """A set of these members, encoded as they and the limits require."""
        self = Set()
        if len(members) > _FLAT:
            self._members = Table.of_keys(members)
        else:
            self._members = members.copy()
        if len(members) > max_intset or not self.all_integers():
            self._encode_strings(max_entries, max_value)
        return self

    @staticmethod
    def of_integers(members: set[bytes]) -> Set:
        """An intset; takes the set, whose members all spell integers."""
        self = Set()
        self._members = members if len(members) <= _FLAT else Table.of_keys(members)
        return self

    def copy(self) -> Set:
        twin = Set()
        twin.encoding = self.encoding
        twin._members = self._members.copy()
        return twin

    def __len__(self) -> int:
        return len(self._members)

    def has(self, member: bytes) -> bool:
        return member in self._members

    def add(
        self, member: bytes, max_intset: int = 512, max_entries: int = 128, max_value: int = 64
    ) -> bool:
        """Insert; returns True if the member is new."""
        members = self._members
        if isinstance(members, Table):
            if not members.set(member, None):
                return False
        else:
            if member in members:
                return False
            members.add(member)
            if len(members) > _FLAT:
                self._members = Table.of_keys(members)
        if self.encoding is not HASHTABLE:
            self._widen(member, max_intset, max_entries, max_value)
        return True

    def remove(self, member: bytes) -> bool:
        """Take a member out; returns True if it was there."""
        members = self._members
        if isinstance(members, Table):
            return members.remove(member)
        if member not in members:
            return False
        members.remove(member)
        return True

    def members(self) -> set[bytes]:
        """A new set of all members."""
        return set(self._members)

    def random(self) -> bytes:
        """A member chosen uniformly; raises IndexError if there is none."""
        members = self._members
        if isinstance(members, Table):
            return members.random()
        if not members:
            raise IndexError("random member of an empty set")
        return next(islice(members, int(fraction() * len(members)), None))

    def pop_random(self) -> bytes:
        """Take out a member chosen uniformly; raises IndexError if there is none."""
        member = self.random()
        self.remove(member)
        return member

    def scan(self, cursor: int) -> tuple[int, list[bytes]]:
        """One step of a scan: the next cursor (0 when done) and some members.

        With the guarantee of `Table.scan`; a small set is returned whole.
        """
        members = self._members
        if isinstance(members, Table):
            return members.scan(cursor)
        return 0, list(members)

    def common(self, members: set[bytes]) -> set[bytes]:
        """Those of ``members`` that are in this set."""
        mine = self._members
        if isinstance(mine, Table):
            return mine.common(members)
        return members & mine

    def dismantle(self) -> Iterator[None] | None:
        members = self._members
        return members.dismantle() if isinstance(members, Table) else None

    def weight(self) -> int:
        """The bytes of all members; for small sets."""
        return sum(map(len, self._members))

    def all_integers(self) -> bool:
        """Could the set be an intset?"""
        for member in self._members:
            if not _is_integer(member):
                return False
        return True

    # Encoding ------------------------------------------------------------------------------------

    def _widen(self, added: bytes, max_intset: int, max_entries: int, max_value: int) -> None:
        """After a member was added: Redis' setTypeAdd."""
        size = len(self._members)
        if self.encoding is INTSET:
            if not _is_integer(added):
                self._encode_strings(max_entries, max_value)
            elif size > max_intset:
                self.encoding = HASHTABLE
        elif size > max_entries or len(added) > max_value:
            self.encoding = HASHTABLE

    def _encode_strings(self, max_entries: int, max_value: int) -> None:
        self.encoding = HASHTABLE
        if len(self._members) <= max_entries:
            for member in self._members:
                if len(member) > max_value:
                    return
            self.encoding = LISTPACK

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        members = self._members
        if isinstance(members, Table):
            members.check()
        else:
            assert len(members) <= _FLAT
        assert self.encoding in (INTSET, LISTPACK, HASHTABLE)
        for member in members:
            assert isinstance(member, bytes)
            assert self.encoding is not INTSET or _is_integer(member)


def build(members: set[bytes], limits: Limits) -> Set:
    """A set of these members, encoded by the limits."""
    return Set.of(
        members,
        limits.set_max_intset_entries,
        limits.set_max_listpack_entries,
        limits.set_max_listpack_value,
    )


def union(sets: list[Set]) -> set[bytes]:
    """The members of any of the sets."""
    found: set[bytes] = set()
    for each in sets:
        found.update(each._members)
    return found


def intersection(sets: list[Set]) -> set[bytes]:
    """The members of all of the sets (at least one), looked for among those of the smallest."""
    ordered = sorted(sets, key=len)
    found = ordered[0].members()
    for each in ordered[1:]:
        if not found:
            break
        found = each.common(found)
    return found


def intersection_size(sets: list[Set], limit: int = 0) -> int:
    """How many members all of the sets (at least one) share; stops at ``limit`` unless it is 0."""
    if limit == 0:
        return len(intersection(sets))
    ordered = sorted(sets, key=len)
    found = 0
    for member in ordered[0]._members:
        if all(each.has(member) for each in ordered[1:]):
            found += 1
            if found == limit:
                break
    return found


def difference(first: Set, others: list[Set]) -> set[bytes]:
    """The members of the first set that none of the others has."""
    found = first.members()
    for each in others:
        if not found:
            break
        found -= each.common(found)
    return found


def _is_integer(member: bytes) -> bool:
    """Is this an int64 in its one canonical spelling (Redis: string2ll)?"""
    return parse_int(member) is not None
