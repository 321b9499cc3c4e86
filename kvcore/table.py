"""A hash table of bytes to objects in which no single operation is slow.

One big dict stops the world while it doubles (over a second at ten million keys), cannot be
entered at a random place, and loses an iterator's place when it grows. This table is a list of
small dicts, the shards, and grows by *linear hashing* (Litwin, 1980): whenever the keys exceed
SHARD per shard, one shard is split in two, in turn; whenever they fall well below, the last shard
is merged back. An operation touches one shard, or two if it splits or merges.

Theory of operation. With n shards and 2**k the least power of two >= n, shard i holds the keys
whose hash ends in the bits of i: k bits if its buddy (the index that differs in bit k-1) exists
too, else k-1 bits. Splitting makes shard n, whose buddy is the one that had its keys.

The list has 2n places, at least 2**k. At each place from n on stands once more the shard whose
index is that number without its highest bit (again, if that is n or more): where the keys of that
number are until it has a shard of its own. So a look-up takes k bits of the hash, whatever n is,
and as every split adds two places, and a merge takes two away, none has to fill many at once.

A scan's cursor is a hash read from the right: the point 0.b0b1b2... where b0 is the lowest bit.
Seen so, a shard is an interval, splitting cuts it in two, and merging joins two neighbours, so a
cursor at an interval's end stays valid: what lies left of it has been returned.

A copy is lazy, so that a stable view of a large table costs no more than a list of its shards:
both tables keep the same shards, and whoever first writes to one copies that one. A flag for each
shard tells whether it may have to be copied; shards made by splitting and merging are nobody
else's. So a copy may be read on one thread while the original is written on another.

The bounds hold for keys that hash well: Python's hash of bytes is keyed anew in each process
(SipHash), so that clients cannot choose keys that collide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import chain, islice
from random import random as fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

SHARD: Final = 64  # keys per shard, on average, above which one more shard is made
_SPARSE: Final = 48  # and below which one is given up; the gap keeps them from taking turns

LARGE: Final = 100_000
"""Keys from which no processor's cache holds a table, and `Table.fetch` pays off."""

_Keys = set[bytes]  # inside the class, `set` names its method


def _items(shard: dict[bytes, object]) -> list[tuple[bytes, object]]:
    return list(shard.items())


def _values(shard: dict[bytes, object]) -> list[object]:
    return list(shard.values())


class Table:
    """Keys (bytes) to values (any object). To be read only:

    ``count``   the number of keys
    ``copied``  how many shards were copied because a copy of the table needs the old ones
    """

    __slots__ = (
        "_borrowed",
        "_grow_at",
        "_longest",
        "_mask",
        "_shards",
        "_shrink_at",
        "copied",
        "count",
    )

    count: int
    copied: int
    _shards: list[dict[bytes, object]]  # each of them twice or more
    _borrowed: bytearray | None  # 1 for each shard that another table may have as well
    _mask: int  # 2**k - 1
    _grow_at: int
    _shrink_at: int
    _longest: int  # no shard that `random` has met is longer

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything; what was there is freed at once."""
        self.count = 0
        shard: dict[bytes, object] = {}
        self._shards = [shard, shard]
        self._borrowed = None
        self.copied = 0
        self._mask = 0
        self._grow_at = 2 * SHARD
        self._shrink_at = 0
        self._longest = 2 * SHARD

    def reserve(self, count: int) -> None:
        """Make room for so many keys at once; `trim` if fewer came.

        Filling it goes twice as fast then: no shard has to be split. Not while there is a copy.
        """
        size = count // SHARD
        old = self._distinct()
        if size <= len(old) or self._borrowed is not None:
            return
        shards: list[dict[bytes, object]] = [{} for _ in range(size)]
        for place in range(size, 2 * size):
            shards.append(shards[place - (1 << (place.bit_length() - 1))])
        self._shards = shards
        self._mask = mask = (1 << (size - 1).bit_length()) - 1
        self._set_thresholds()
        for shard in old:
            for key, value in shard.items():
                shards[hash(key) & mask][key] = value

    def give_up(self) -> Iterator[Collection[object]]:
        """Become empty; returns the values that were there, for whoever frees them little by
        little: each step frees those that the last one gave."""
        shards = self._shards
        self.clear()
        return _take_apart(shards)

    def dismantle(self) -> Iterator[None]:
        """Become empty, a shard at each step."""
        for _ in self.give_up():
            yield

    def trim(self) -> None:
        """Give up the shards that are too many."""
        while self.count < self._shrink_at:
            self._merge()

    @classmethod
    def of(cls, items: Collection[tuple[bytes, object]]) -> Table:
        """A table of these (key, value)."""
        table = cls()
        table.reserve(len(items))
        for key, value in items:
            table.set(key, value)
        return table

    @classmethod
    def of_keys(cls, keys: Collection[bytes]) -> Table:
        """A table of these keys, each with the value None."""
        table = cls()
        table.reserve(len(keys))
        for key in keys:
            table.set(key, None)
        return table

    def copy(self) -> Table:
        """An independent table of the same keys and the same (not copied) values.

        Costs a list of the shards now; each of them is copied when it is first written to.
        """
        twin = Table()
        twin.count = self.count
        twin._shards = self._shards.copy()
        twin._borrowed = bytearray(b"\1") * (len(self._shards) >> 1)
        self._borrowed = twin._borrowed.copy()
        twin._mask = self._mask
        twin._grow_at = self._grow_at
        twin._shrink_at = self._shrink_at
        twin._longest = self._longest
        return twin

    # One key. The look-up of the shard is spelled out in each method: a call would double it. ----

    def get(self, key: bytes, default: object = None) -> object:
        """The value of a key, or the default."""
        place: i64 = hash(key)
        return self._shards[place & self._mask].get(key, default)

    def has(self, key: bytes) -> bool:
        """Is the key there?"""
        place: i64 = hash(key)
        return key in self._shards[place & self._mask]

    def set(self, key: bytes, value: object) -> bool:
        """Insert or overwrite; returns True if the key is new."""
        place: i64 = hash(key)
        place &= self._mask
        shard = self._shards[place] if self._borrowed is None else self._own(place)
        before = len(shard)
        shard[key] = value
        if len(shard) == before:
            return False
        self.count += 1
        if self.count > self._grow_at:
            self._split()
        return True

    def set_all(self, keys: list[bytes], values: list[Any]) -> None:
        """`set` each of these keys to its value, in turn."""
        shards = self._shards
        place: i64
        for key, value in zip(keys, values):
            place = hash(key)
            place &= self._mask
            shard = shards[place] if self._borrowed is None else self._own(place)
            before = len(shard)
            shard[key] = value
            if len(shard) != before:
                self.count += 1
                if self.count > self._grow_at:
                    self._split()

    def insert(self, keys: list[bytes], values: list[object]) -> int:
        """Insert these keys in turn, up to the first that is there already; returns how many.

        For a large table that is much faster than one by one: see `fetch`.
        """
        if self._borrowed is not None or self.count + len(keys) > self._grow_at:
            for place in range(len(keys)):
                if self.has(keys[place]):
                    return place
                self.set(keys[place], values[place])
            return len(keys)
        shards = self._shards_of(keys)
        for place in range(len(keys)):
            shard = shards[place]
            before = len(shard)
            shard.setdefault(keys[place], values[place])
            if len(shard) == before:
                self.count += place
                return place
        self.count += len(keys)
        return len(keys)

    def fetch(self, keys: list[bytes]) -> int:
        """Look for keys that will be asked for next; returns how many are there.

        Each lies somewhere else in memory, for which the processor waits. In a loop that does
        nothing else it waits for many at once.
        """
        found = 0
        shards = self._shards_of(keys)
        for place in range(len(keys)):
            if shards[place].get(keys[place], self) is not self:  # which reads the value as well
                found += 1
        return found

    def _shards_of(self, keys: list[bytes]) -> list[dict[bytes, object]]:
        """The shard of each key."""
        shards = self._shards
        mask: i64 = self._mask
        found: list[dict[bytes, object]] = []
        place: i64
        for key in keys:
            place = hash(key)
            found.append(shards[place & mask])
        return found

    def _distinct(self) -> list[dict[bytes, object]]:
        """A new list of the shards, each once, in order."""
        return self._shards[: len(self._shards) >> 1]

    def pop(self, key: bytes, default: object = None) -> object:
        """Take a key out; returns its value, or the default if it is not there."""
        place: i64 = hash(key)
        place &= self._mask
        shard = self._shards[place] if self._borrowed is None else self._own(place)
        before = len(shard)
        value = shard.pop(key, default)
        if len(shard) != before:
            self.count -= 1
            if self.count < self._shrink_at:
                self._merge()
        return value

    def remove(self, key: bytes) -> bool:
        """Take a key out; returns True if it was there."""
        before = self.count
        self.pop(key)
        return self.count != before

    def __contains__(self, key: bytes) -> bool:
        return self.has(key)

    def __len__(self) -> int:
        return self.count

    # All keys ------------------------------------------------------------------------------------

    def random(self) -> bytes:
        """A key chosen uniformly; raises IndexError if there is none.

        One draw names a shard and a place in it as if all were as long as the longest met so far;
        a place that is empty is drawn again (about 2 draws).
        """
        shards = self._shards
        size = len(shards) >> 1
        if size == 1:
            if self.count == 0:
                raise IndexError("random key of an empty table")
            return next(islice(shards[0], int(fraction() * self.count), None))
        while True:
            longest = self._longest
            draw = int(fraction() * (size * longest))
            shard = shards[draw // longest]
            place = draw % longest
            if len(shard) > longest:
                self._longest = len(shard)
            elif place < len(shard):
                return next(islice(shard, place, None))

    def scan(self, cursor: int) -> tuple[int, list[bytes]]:
        """One step of a scan: the next cursor (0 when done) and the keys of one shard.

        Start with 0. A key that is there from the first step to the last is returned at least
        once, whatever else is inserted and removed meanwhile. Any cursor is safe.
        """
        index, following = self._step(cursor)
        return following, list(self._shards[index])

    def scan_items(self, cursor: int) -> tuple[int, list[tuple[bytes, object]]]:
        """As `scan`, with the values."""
        index, following = self._step(cursor)
        return following, list(self._shards[index].items())

    def _step(self, cursor: int) -> tuple[int, int]:
        """The shard in whose interval the cursor lies, and the cursor at that interval's end."""
        half = (self._mask + 1) >> 1
        index = cursor & (self._mask >> 1)
        bit = half >> 1  # the highest bit that this shard's keys share
        if index + half < len(self._shards) >> 1:
            index = cursor & self._mask
            bit = half
        following = index
        while bit and following & bit:  # add one to the reversed number: carries run downwards
            following ^= bit
            bit >>= 1
        return index, following | bit

    def keys(self) -> Iterator[bytes]:
        """Every key that is there now, once. The table may change meanwhile; a key removed before
        its turn may still come."""
        # Splitting and merging put new shards in place of the old, so the old ones, kept by this
        # copy, hold each key once; each is copied when its turn comes, so it may be edited too.
        return chain.from_iterable(map(list, self._distinct()))

    def items(self) -> Iterator[tuple[bytes, object]]:
        """Every key that is there now, once, with its value; see `keys`."""
        return chain.from_iterable(map(_items, self._distinct()))

    def values(self) -> Iterator[object]:
        """The value of every key that is there now, in the order of `keys` and `items`."""
        return chain.from_iterable(map(_values, self._distinct()))

    def __iter__(self) -> Iterator[bytes]:
        return self.keys()

    def common(self, keys: _Keys) -> _Keys:
        """Those of ``keys`` that are in the table. For large sets, faster than asking for each."""
        if len(keys) * 4 < self.count:
            return {key for key in keys if self.has(key)}
        found: _Keys = set()
        for shard in self._distinct():
            found.update(keys.intersection(shard))
        return found

    # Copies --------------------------------------------------------------------------------------

    def _own(self, place: int) -> dict[bytes, object]:
        """A shard that is about to be written to; a copy takes its place if it is borrowed."""
        shard = self._shards[place]
        borrowed = self._borrowed
        if borrowed is not None:
            index = place if place < len(borrowed) else place & (self._mask >> 1)
            if borrowed[index]:
                shard = shard.copy()
                self._replace(index, shard)
                borrowed[index] = 0
                self.copied += 1
        return shard

    def _replace(self, index: int, shard: dict[bytes, object]) -> None:
        """Put a shard where another is, at all its places. They lie half a power of two apart."""
        shards = self._shards
        old = shards[index]
        for place in range(index, len(shards), (self._mask + 1) >> 1 or 1):
            if shards[place] is old:
                shards[place] = shard

    def drain(self, original: Table) -> Iterator[list[tuple[bytes, object]]]:
        """The items of this copy of ``original`` (the only one), shard by shard.

        A shard is given up, and is the original's alone, when the next is asked for. The original
        may be written to meanwhile, on another thread.
        """
        for index in range(len(self._shards) >> 1):
            yield list(self._shards[index].items())
            self._replace(index, {})
            original._keep(index)

    def _keep(self, index: int) -> None:
        # Dicts never change their index, so what is there now is either the one that the copy has
        # just given up, or one that it never had.
        borrowed = self._borrowed
        if borrowed is not None:
            with suppress(IndexError):  # a merge on the other thread
                borrowed[index] = 0

    def keep_all(self) -> None:
        """Copies of this table are in use no more: writes need not spare them."""
        self._borrowed = None
        self.copied = 0

    # Growing and shrinking -----------------------------------------------------------------------

    def _split(self) -> None:
        shards = self._shards
        size = len(shards) >> 1
        if size > self._mask:
            self._mask = 2 * self._mask + 1
        bit = (self._mask + 1) >> 1
        low: dict[bytes, object] = {}
        high: dict[bytes, object] = {}
        for key, value in shards[size - bit].items():
            if hash(key) & bit:
                high[key] = value
            else:
                low[key] = value
        for place in range(size - bit, len(shards), bit):
            shards[place] = high if place & bit else low
        for _ in range(2):
            shards.append(shards[len(shards) - self._mask - 1])
        if self._borrowed is not None:
            self._borrowed[size - bit] = 0
            self._borrowed.append(0)
        self._set_thresholds()

    def _merge(self) -> None:
        shards = self._shards
        last = (len(shards) >> 1) - 1
        bit = (self._mask + 1) >> 1
        buddy = last - bit
        both = {**shards[buddy], **shards[last]}
        del shards[2 * last :]
        for place in range(buddy, len(shards), bit):
            shards[place] = both
        if self._borrowed is not None:
            self._borrowed.pop()
            self._borrowed[buddy] = 0
        if last == bit:
            self._mask >>= 1
        self._set_thresholds()

    def _set_thresholds(self) -> None:
        size = len(self._shards) >> 1
        self._grow_at = SHARD * (size + 1)
        self._shrink_at = _SPARSE * size if size > 1 else 0

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        shards = self._shards
        size = len(shards) >> 1
        assert len(shards) == 2 * size > self._mask >= size - 1 >= self._mask >> 1
        assert (self._mask + 1) & self._mask == 0
        assert len(set(map(id, shards))) == size
        for place in range(size, 2 * size):
            assert shards[place] is shards[place - (1 << (place.bit_length() - 1))]
        assert self.count == sum(map(len, self._distinct()))
        assert self.count <= self._grow_at
        assert self.count >= self._shrink_at
        assert self._borrowed is None or len(self._borrowed) == size
        for place, shard in enumerate(shards[: self._mask + 1]):
            for key in shard:
                assert shards[hash(key) & self._mask] is shard, place


def _take_apart(shards: list[dict[bytes, object]]) -> Iterator[Collection[object]]:
    size = len(shards) >> 1
    while shards:
        shard = shards.pop()
        yield () if len(shards) >= size else shard.values()
