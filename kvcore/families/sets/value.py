"""The set: members, which are bytes.

While small, an intset or a listpack's entries until it is used more, then a plain set; from _FLAT
members on a Table, so that SSCAN, SRANDMEMBER and SPOP take constant time a step. ``encoding``
only tells what Redis would answer, by the rules of 7.2: intset while all are integers and few,
else listpack while few and short, else hashtable; it never returns to a narrower one. With
``max_entries`` 0 there is no listpack: the rules of 7.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import random as fraction
from typing import Final

from kvcore.codec import intset, listpack
from kvcore.codec.numbers import parse_int
from kvcore.codec.rdb import plain_string, skip_length
from kvcore.datatype import MOST_BYTES, MOST_PACKED, Limits, Value, named
from kvcore.table import LARGE, Table

INTSET: Final = "intset"
LISTPACK: Final = "listpack"
HASHTABLE: Final = "hashtable"

_FLAT: Final = 512


# What `Set._add_packed` returns.
_THERE: Final = 0
_ADDED: Final = 1
_CANNOT: Final = 2


class Set(Value):
    """Limits are set-max-intset-entries, set-max-listpack-entries and set-max-listpack-value."""

    __slots__ = ("_members", "_size", "encoding")

    encoding: str
    # Bytes are an intset, or a listpack's entries, and _size counts them. Whoever looks at this
    # looks once: another thread may read a value that this one decodes (see `_live`).
    _members: set[bytes] | Table | bytes
    _size: int

    def __init__(self) -> None:
        super().__init__()
        self.encoding = INTSET
        self._members = intset.EMPTY
        self._size = 0

    @staticmethod
    def open_intset(payload: bytes) -> Set:
        """The set whose `payload` this is, an intset."""
        self = Set()
        self._members = members = payload[skip_length(payload) :]
        self._size = intset.count(members)
        return self

    @staticmethod
    def open_listpack(payload: bytes) -> Set:
        """The set whose `payload` this is, a listpack."""
        self = Set()
        start = skip_length(payload)
        self.encoding = LISTPACK
        self._members = listpack.entries(payload, start)
        self._size = listpack.count(payload, start)
        return self

    def payload(self) -> bytes | None:
        members = self._members
        if not isinstance(members, bytes):
            return None
        return plain_string(self.as_intset() if self.encoding is INTSET else self.as_listpack())

    def as_intset(self) -> bytes:
        """The members, which are integers."""
        members = self._members
        if isinstance(members, bytes):
            return members
        return intset.encode(sorted(map(int, members)))

    def as_listpack(self) -> bytes:
        members = self._members
        if isinstance(members, bytes):
            return listpack.wrap(members, self._size)
        return listpack.encode(list(members))

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
        members = self._members
        if isinstance(members, bytes):
            twin._members = members
            twin._size = self._size
        else:
            twin._members = members.copy()
        return twin

    def __len__(self) -> int:
        members = self._members
        return self._size if isinstance(members, bytes) else len(members)

    def has(self, member: bytes) -> bool:
        members = self._members
        if not isinstance(members, bytes):
            return member in members
        if self.worn():
            return member in self._live()
        if self.encoding is INTSET:
            number = parse_int(member)
            return number is not None and intset.find(members, number) >= 0
        return listpack.find(members, listpack.entry(member)) >= 0

    def add(
        self, member: bytes, max_intset: int = 512, max_entries: int = 128, max_value: int = 64
    ) -> bool:
        """Insert; returns True if the member is new."""
        members = self._members
        if isinstance(members, bytes):
            added = self._add_packed(members, member, max_intset, max_entries, max_value)
            if added != _CANNOT:
                return added == _ADDED
            members = self._live()
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
        if isinstance(members, bytes):
            if not self.worn():
                return self._remove_packed(members, member)
            members = self._live()
        if isinstance(members, Table):
            return members.remove(member)
        if member not in members:
            return False
        members.remove(member)
        return True

    def members(self) -> set[bytes]:
        """A new set of all members."""
        members = self._members
        return self._decode(members) if isinstance(members, bytes) else set(members)

    def random(self) -> bytes:
        """A member chosen uniformly; raises IndexError if there is none."""
        members = self._live()
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
        return 0, self._listed(members) if isinstance(members, bytes) else list(members)

    def common(self, members: set[bytes]) -> set[bytes]:
        """Those of ``members`` that are in this set."""
        mine = self._all()
        if isinstance(mine, Table):
            return mine.common(members)
        return members & mine

    def fetch(self, commands: list[list[bytes]]) -> None:
        members = self._members
        if isinstance(members, Table) and members.count >= LARGE:
            members.fetch(named(commands, -1))

    def dismantle(self) -> Iterator[None] | None:
        members = self._members
        return members.dismantle() if isinstance(members, Table) else None

    def weight(self) -> int:
        """The bytes of all members; for small sets that are no `payload`."""
        return sum(map(len, self._live()))

    def all_integers(self) -> bool:
        """Could the set be an intset?"""
        for member in self._all():
            if not _is_integer(member):
                return False
        return True

    # Encoding ------------------------------------------------------------------------------------

    def _widen(self, added: bytes, max_intset: int, max_entries: int, max_value: int) -> None:
        """After a member was added: Redis' setTypeAdd."""
        size = len(self)
        if self.encoding is INTSET:
            if not _is_integer(added):
                self._encode_strings(max_entries, max_value)
            elif size > max_intset:
                self.encoding = HASHTABLE
        elif size > max_entries or len(added) > max_value:
            self.encoding = HASHTABLE

    def _encode_strings(self, max_entries: int, max_value: int) -> None:
        self.encoding = HASHTABLE
        members = self._live()
        if len(members) <= max_entries:
            for member in members:
                if len(member) > max_value:
                    return
            self.encoding = LISTPACK

    # The payload ---------------------------------------------------------------------------------

    def _listed(self, members: bytes) -> list[bytes]:
        if self.encoding is INTSET:
            return [b"%d" % number for number in intset.decode(members)]
        return listpack.items(members)

    def _decode(self, members: bytes) -> set[bytes]:
        return set(self._listed(members))

    def _all(self) -> set[bytes] | Table:
        """All members, to be read only."""
        members = self._members
        if not isinstance(members, bytes):
            return members
        return self._live() if self.worn() else self._decode(members)

    def _live(self) -> set[bytes] | Table:
        """The members, decoded from now on."""
        members = self._members
        if isinstance(members, bytes):
            members = self._decode(members)
            self._members = members
            self.made = None
        return members

    def _add_packed(
        self, members: bytes, member: bytes, max_intset: int, max_entries: int, max_value: int
    ) -> int:
        """`add` to the payload: _ADDED, _THERE, or _CANNOT if it would not be one any more."""
        size = self._size
        if self.worn() or size >= MOST_PACKED:
            return _CANNOT
        if self.encoding is INTSET:
            number = parse_int(member)
            if number is not None:
                rank = intset.find(members, number)
                if rank >= 0:
                    return _THERE
                if size >= max_intset:
                    return _CANNOT
                self._members = intset.insert(members, number, -1 - rank)
                self._size = size + 1
                return _ADDED
            if size:
                return _CANNOT
            members = b""
        if (
            size >= max_entries
            or len(member) > max_value
            or len(members) + len(member) > MOST_BYTES
        ):
            return _CANNOT
        entry = listpack.entry(member)
        if listpack.find(members, entry) >= 0:
            return _THERE
        if self.encoding is INTSET:
            self.encoding = LISTPACK
            self.made = None
        self._members = members + entry
        self._size = size + 1
        return _ADDED

    def _remove_packed(self, members: bytes, member: bytes) -> bool:
        """`remove` from the payload."""
        if self.encoding is INTSET:
            number = parse_int(member)
            rank = -1 if number is None else intset.find(members, number)
            if rank < 0:
                return False
            self._members = intset.remove(members, rank)
        else:
            entry = listpack.entry(member)
            at = listpack.find(members, entry)
            if at < 0:
                return False
            self._members = members[:at] + members[at + len(entry) :]
        self._size -= 1
        return True

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        members = self._members
        if isinstance(members, Table):
            members.check()
        elif isinstance(members, bytes):
            assert len(self._decode(members)) == self._size <= MOST_PACKED
            if self.encoding is INTSET:
                assert intset.count(members) == self._size
            else:
                assert self.encoding is LISTPACK
                assert listpack.encode(listpack.items(members)) == self.as_listpack()
            members = self._decode(members)
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
        found.update(each._all())
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
    for member in ordered[0]._all():
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
