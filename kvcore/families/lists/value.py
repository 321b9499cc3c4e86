"""The list: elements (bytes), reached from both ends and by index.

A short list lies as a listpack's entries until it is used more. Then its elements lie in blocks of
_BLOCK, all of them full but the first and the last (a tiered vector). So an index is found by
arithmetic, both ends grow and shrink within one small block, and an insertion or removal in the
middle shifts one element per block towards the nearer end. A deque would have to walk to an index,
and takes 760 bytes when empty.

A copy is lazy, as that of a Table: two lists share their blocks, and whoever changes one copies it.

``encoding`` only tells what Redis would answer, by the rules of 7.2: listpack until a write would
make it exceed list-max-listpack-size, then quicklist until it has shrunk to half of that. The
caller passes this limit as ``fill``: positive, the most elements; negative, a class of sizes from
-1 (4 KB) to -5 (64 KB); ALWAYS_QUICKLIST gives the rules of 7.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvcore.codec import listpack
from kvcore.codec.numbers import parse_int
from kvcore.codec.rdb import plain_string, skip_length
from kvcore.datatype import MOST_PACKED, ONE_NODE, Value

LISTPACK: Final = "listpack"
QUICKLIST: Final = "quicklist"

ALWAYS_QUICKLIST: Final = -(2**31) - 1  # no C int, so no value of the directive

_BLOCK: Final = 256
_BLOCK_BITS: Final = 8

_SAFE_BYTES: Final = 8192  # what a limit in elements allows at most, and a payload
_EMPTY_LISTPACK: Final = 7


class List(Value):
    """Indexes and ranges are Redis': negative ones count from the end, ranges include both."""

    __slots__ = ("_blocks", "_borrowed", "_gauge", "_size", "encoding")

    encoding: str
    # Bytes are a listpack's entries. Whoever looks at this looks once: another thread may read a
    # value that this one decodes (see `_live`).
    _blocks: list[list[bytes]] | bytes
    _size: int
    # The id() of each block that another list may have as well. One that is free by now may be
    # that of a new block, which is copied once for nothing.
    _borrowed: set[int] | None
    # As a listpack: its bytes. As a quicklist: removals until it is worth looking whether it fits
    # a listpack again; to know at each would cost more than the removal.
    _gauge: int

    def __init__(self) -> None:
        super().__init__()
        self.encoding = LISTPACK
        self._blocks = b""
        self._size = 0
        self._borrowed = None
        self._gauge = _EMPTY_LISTPACK

    @classmethod
    def of(cls, elements: list[bytes], fill: int = -2) -> List:
        """A list of these elements, encoded as they and the limit require."""
        self = cls()
        self._blocks = _in_blocks(elements)
        self._size = len(elements)
        size = _EMPTY_LISTPACK
        most = max_bytes(fill)
        for element in elements:
            size += _entry_size(element)
            if size > most:
                break
        if _exceeds(fill, size, len(elements)):
            self.encoding = QUICKLIST
            self._gauge = 0
        else:
            self._gauge = size
        return self

    @staticmethod
    def open(payload: bytes) -> List:
        """The list whose `payload` this is."""
        self = List()
        start = len(ONE_NODE)
        start += skip_length(payload, start)
        self._blocks = listpack.entries(payload, start)
        self._size = listpack.count(payload, start)
        self._gauge = len(payload) - start
        return self

    def payload(self) -> bytes | None:
        blocks = self._blocks
        return ONE_NODE + plain_string(self.as_listpack()) if isinstance(blocks, bytes) else None

    def as_listpack(self) -> bytes:
        blocks = self._blocks
        if isinstance(blocks, bytes):
            return listpack.wrap(blocks, self._size)
        return listpack.encode(self.items())

    def copy(self) -> List:
        twin = List()
        twin.encoding = self.encoding
        twin._gauge = self._gauge
        twin._size = self._size
        blocks = self._blocks
        if isinstance(blocks, bytes):
            twin._blocks = blocks
        elif len(blocks) == 1:
            twin._blocks = [blocks[0].copy()]
        else:
            twin._blocks = blocks.copy()
            twin._borrowed = set(map(id, blocks))
            self._borrowed = twin._borrowed.copy()
        return twin

    def __len__(self) -> int:
        return self._size

    def weight(self) -> int:
        """The bytes of the listpack that holds the list; 0 if none does."""
        return self._gauge if self.encoding is LISTPACK else 0

    def dismantle(self) -> Iterator[None] | None:
        blocks = self._blocks
        return _drop_one_by_one(blocks) if isinstance(blocks, list) and len(blocks) > 2 else None

    # The ends ------------------------------------------------------------------------------------

    def push_left(self, elements: list[bytes], fill: int = -2) -> None:
        """LPUSH: the last of ``elements`` becomes the first of the list."""
        if self.encoding is LISTPACK:
            self._adding(elements, fill)
        self._size += len(elements)
        blocks = self._blocks
        if isinstance(blocks, bytes):
            if self._may_stay():
                for element in elements:
                    blocks = listpack.entry(element) + blocks
                self._blocks = blocks
                return
            blocks = self._live()
        first = blocks[0] if self._borrowed is None else self._own(0)
        for element in elements:
            if len(first) == _BLOCK:
                first = []
                blocks.insert(0, first)
            first.insert(0, element)

    def push_right(self, elements: list[bytes], fill: int = -2) -> None:
        """RPUSH."""
        if self.encoding is LISTPACK:
            self._adding(elements, fill)
        self._size += len(elements)
        blocks = self._blocks
        if isinstance(blocks, bytes):
            if self._may_stay():
                for element in elements:
                    blocks += listpack.entry(element)
                self._blocks = blocks
                return
            blocks = self._live()
        last = blocks[-1] if self._borrowed is None else self._own(-1)
        for element in elements:
            if len(last) == _BLOCK:
                last = []
                blocks.append(last)
            last.append(element)

    def pop_left(self, count: int = 1, fill: int = -2) -> list[bytes]:
        """Take out up to ``count`` elements, the first one first."""
        blocks = self._blocks
        taken: list[bytes]
        if isinstance(blocks, list) and count == 1 and len(blocks[0]) > 1:
            first = blocks[0] if self._borrowed is None else self._own(0)
            taken = [first.pop(0)]
            self._size -= 1
            if self.encoding is QUICKLIST and self._gauge > 1:
                self._gauge -= 1
                return taken
        elif isinstance(blocks, bytes) and self._may_stay():
            taken = []
            at = 0
            while len(taken) < count and at < len(blocks):
                taken.append(listpack.item(blocks, at))
                at = listpack.after(blocks, at)
            self._blocks = blocks[at:]
            self._size -= len(taken)
        else:
            taken = self._slice(0, count)
            self._drop_left(len(taken))
        self._removed(taken, fill)
        return taken

    def pop_right(self, count: int = 1, fill: int = -2) -> list[bytes]:
        """Take out up to ``count`` elements, the last one first."""
        blocks = self._blocks
        taken: list[bytes]
        if isinstance(blocks, list) and count == 1 and len(blocks[-1]) > 1:
            last = blocks[-1] if self._borrowed is None else self._own(-1)
            taken = [last.pop()]
            self._size -= 1
            if self.encoding is QUICKLIST and self._gauge > 1:
                self._gauge -= 1
                return taken
        elif isinstance(blocks, bytes) and self._may_stay():
            taken = []
            at = len(blocks)
            while len(taken) < count and at > 0:
                at = listpack.before(blocks, at)
                taken.append(listpack.item(blocks, at))
            self._blocks = blocks[:at]
            self._size -= len(taken)
        else:
            size = len(self)
            taken = self._slice(max(0, size - count), size)
            taken.reverse()
            self._drop_right(len(taken))
        self._removed(taken, fill)
        return taken

    def trim(self, start: int, stop: int, fill: int = -2) -> None:
        """LTRIM: keep only this range."""
        size = len(self)
        low, high = _bounds(start, stop, size)
        blocks = self._blocks
        if isinstance(blocks, bytes) and self._may_stay():
            first = listpack.skip(blocks, 0, low)
            self._blocks = blocks[first : listpack.skip(blocks, first, high - low)]
            self._size = high - low
            self._gauge = _EMPTY_LISTPACK + len(self._blocks)
            return
        if self.encoding is LISTPACK:
            self._removed(self._slice(0, low), fill)
            self._removed(self._slice(high, size), fill)
        self._drop_right(size - high)
        self._drop_left(low)
        if self.encoding is QUICKLIST:
            self._count_down(size - (high - low), fill)

    # By index ------------------------------------------------------------------------------------

    def get(self, index: int) -> bytes | None:
        """The element at an index, or None."""
        size = len(self)
        if index < 0:
            index += size
        if not 0 <= index < size:
            return None
        blocks = self._blocks
        if isinstance(blocks, bytes):
            if self._may_stay():
                return listpack.item(blocks, listpack.skip(blocks, 0, index))
            blocks = self._live()
        block, place = self._locate(index)
        return blocks[block][place]

    def set(self, index: int, element: bytes, fill: int = -2) -> bool:
        """Replace the element at an index; returns False if there is none."""
        size = len(self)
        if index < 0:
            index += size
        if not 0 <= index < size:
            return False
        self._adding([element], fill)
        place, within = self._locate(index)
        block = self._own(place)
        old = block[within]
        block[within] = element
        self._removed([old], fill)
        return True

    def range(self, start: int, stop: int) -> list[bytes]:
        """LRANGE."""
        low, high = _bounds(start, stop, len(self))
        return self._slice(low, high)

    def items(self) -> list[bytes]:
        """A new list of all elements."""
        return self._slice(0, len(self))

    # By value ------------------------------------------------------------------------------------

    def find(self, element: bytes, rank: int = 1, count: int = 1, maxlen: int = 0) -> list[int]:
        """LPOS: the indexes of up to ``count`` (0: all) elements equal to this one.

        The ``rank``-th match is the first returned; a negative rank (not 0) searches from the end
        on. At most ``maxlen`` (0: all) elements are compared.
        """
        size = len(self)
        limit = min(maxlen, size) if maxlen else size
        skip = abs(rank) - 1
        found: list[int] = []
        for index in self._matches(element, rank < 0, limit):
            if skip:
                skip -= 1
                continue
            found.append(index)
            if len(found) == count:
                break
        return found

    def _matches(self, element: bytes, backward: bool, limit: int) -> Iterator[int]:
        """The indexes of equal elements among the first ``limit``, or the last if ``backward``."""
        size = len(self)
        seen = 0
        blocks = self._live()
        for block in reversed(blocks) if backward else blocks:
            if seen >= limit:
                break
            if element in block:
                places = [place for place, each in enumerate(block) if each == element]
                base = size - seen - len(block) if backward else seen
                for place in reversed(places) if backward else places:
                    index = base + place
                    if (size - 1 - index if backward else index) >= limit:
                        return
                    yield index
            seen += len(block)

    def insert(self, pivot: bytes, element: bytes, after: bool, fill: int = -2) -> bool:
        """LINSERT next to the first element equal to ``pivot``; returns False if there is none."""
        for index, block in enumerate(self._live()):
            if pivot in block:
                self._adding([element], fill)
                place = block.index(pivot)
                self._own(index).insert(place + 1 if after else place, element)
                self._size += 1
                self._spill(index)
                return True
        return False

    def remove(self, count: int, element: bytes, fill: int = -2) -> int:
        """LREM: remove the first ``count`` (negative: the last; 0: all) elements equal to this
        one; returns how many were removed."""
        found = self.find(element, -1 if count < 0 else 1, abs(count))
        if len(found) == 1:
            block, place = self._locate(found[0])
            del self._own(block)[place]
            self._refill(block)
        elif found:
            found.sort()
            kept: list[bytes] = []
            start = 0
            for index in found:
                kept += self._slice(start, index)
                start = index + 1
            kept += self._slice(start, len(self))
            self._blocks = _in_blocks(kept)
        if found:
            self._size -= len(found)
            self._removed([element] * len(found), fill)
        return len(found)

    # Blocks --------------------------------------------------------------------------------------

    def _own(self, index: int) -> list[bytes]:
        """A block that is about to change; a copy takes its place if it is borrowed."""
        blocks = self._live()
        block = blocks[index]
        borrowed = self._borrowed
        if borrowed is not None and id(block) in borrowed:
            borrowed.remove(id(block))
            block = block.copy()
            blocks[index] = block
        return block

    def _locate(self, index: int) -> tuple[int, int]:
        """The block and the place in it of an index that is there."""
        first = len(self._live()[0])
        if index < first:
            return 0, index
        index -= first
        return 1 + (index >> _BLOCK_BITS), index & (_BLOCK - 1)

    def _slice(self, start: int, stop: int) -> list[bytes]:
        """The elements start <= index < stop; ``stop`` may lie behind the end."""
        blocks = self._blocks
        if isinstance(blocks, bytes):
            if self._may_stay():
                return listpack.items(blocks)[start:stop]
            blocks = self._live()
        first = blocks[0]
        if stop <= len(first) or len(blocks) == 1:
            return first[start:stop]
        stop = min(stop, len(self))
        if start >= stop:
            return []
        block, place = self._locate(start)
        left = stop - start
        found = blocks[block][place : place + left]
        while len(found) < left:
            block += 1
            found += blocks[block][: left - len(found)]
        return found

    def _drop_left(self, count: int) -> None:
        size = self._size
        self._size = max(0, size - count)
        if count >= size:
            self._blocks = [[]]
            return
        block, place = self._locate(count)
        del self._live()[:block]
        del self._own(0)[:place]

    def _drop_right(self, count: int) -> None:
        size = self._size
        self._size = max(0, size - count)
        if count >= size:
            self._blocks = [[]]
            return
        block, place = self._locate(size - count - 1)
        del self._live()[block + 1 :]
        del self._own(block)[place + 1 :]

    def _spill(self, block: int) -> None:
        """Pass what block has too much on towards the nearer end."""
        blocks = self._live()
        right = 2 * block >= len(blocks)
        while len(blocks[block]) > _BLOCK:
            if right:
                carry = self._own(block).pop()
                block += 1
                if block == len(blocks):
                    blocks.append([])
                self._own(block).insert(0, carry)
            else:
                carry = self._own(block).pop(0)
                block -= 1
                if block < 0:
                    blocks.insert(0, [])
                    block = 0
                self._own(block).append(carry)

    def _refill(self, block: int) -> None:
        """Fetch what a block lacks from the nearer end."""
        blocks = self._live()
        last = len(blocks) - 1
        if 2 * block >= last:
            while block < last:
                self._own(block).append(self._own(block + 1).pop(0))
                block += 1
        else:
            while block > 0:
                self._own(block).insert(0, self._own(block - 1).pop())
                block -= 1
        if last > 0 and not blocks[block]:
            del blocks[block]

    # The payload ---------------------------------------------------------------------------------

    def _may_stay(self) -> bool:
        """Count an operation on the payload; returns whether it need not be decoded for that.
        What comes with it, size and gauge know already."""
        return (
            not self.worn()
            and self.encoding is LISTPACK
            and self._size <= MOST_PACKED
            and self._gauge <= _SAFE_BYTES
        )

    def _live(self) -> list[list[bytes]]:
        """The blocks, decoded from now on."""
        blocks = self._blocks
        if isinstance(blocks, bytes):
            elements = listpack.items(blocks)
            blocks = _in_blocks(elements)
            self._blocks = blocks
            self.made = None
        return blocks

    # Encoding ------------------------------------------------------------------------------------

    def _adding(self, elements: list[bytes], fill: int) -> None:
        """Before elements are added: Redis' listTypeTryConversionAppend, which goes by the bytes
        of the elements and not by those of their listpack entries."""
        if self.encoding is LISTPACK:
            size = self._gauge + sum(map(len, elements))
            if _exceeds(fill, size, len(self) + len(elements)):
                self.encoding = QUICKLIST
                self._gauge = 0
            else:
                for element in elements:
                    self._gauge += _entry_size(element)

    def _removed(self, elements: list[bytes], fill: int) -> None:
        if self.encoding is LISTPACK:
            for element in elements:
                self._gauge -= _entry_size(element)
        else:
            self._count_down(len(elements), fill)

    def _count_down(self, removed: int, fill: int) -> None:
        self._gauge -= removed
        if self._gauge <= 0:
            self._shrink(fill)

    def _shrink(self, fill: int) -> None:
        """Return to a listpack at half the limit; else say when to look again.

        Redis looks at each removal, but converts only what happens to lie in one node.
        """
        count = len(self)
        most_bytes = max_bytes(fill) if fill >= 0 else max_bytes(fill) // 2
        most = min(max_count(fill) // 2, most_bytes // 2)  # an entry takes 2 bytes at least
        if count > most:
            self._gauge = count - most
            return
        size = _EMPTY_LISTPACK + sum(map(_entry_size, self.items()))
        if size > most_bytes:
            self._gauge = max(1, count // 4, count * (size - most_bytes) // size)
        else:
            self.encoding = LISTPACK
            self._gauge = size

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        blocks = self._blocks
        if isinstance(blocks, bytes):
            assert self.encoding is LISTPACK
            assert len(listpack.items(blocks)) == self._size <= MOST_PACKED
            assert self._gauge == len(self.as_listpack())
            assert listpack.encode(listpack.items(blocks)) == self.as_listpack()
            return
        assert blocks
        for block in blocks[1:-1]:
            assert len(block) == _BLOCK
        for block in (blocks[0], blocks[-1]):
            assert len(block) <= _BLOCK
            assert block or len(blocks) == 1
        assert self._size == sum(map(len, blocks))
        for block in blocks:
            for element in block:
                assert isinstance(element, bytes)
        assert self.encoding in (LISTPACK, QUICKLIST)
        if self.encoding is LISTPACK:
            assert self._gauge == _EMPTY_LISTPACK + sum(map(_entry_size, self.items()))


def _in_blocks(elements: list[bytes]) -> list[list[bytes]]:
    return [elements[start : start + _BLOCK] for start in range(0, len(elements) or 1, _BLOCK)]


def _drop_one_by_one(blocks: list[list[bytes]]) -> Iterator[None]:
    while blocks:
        blocks.pop()
        yield


def _bounds(start: int, stop: int, size: int) -> tuple[int, int]:
    """Redis' range, both ends included and negative ones from the end, as start <= i < stop."""
    if start < 0:
        start = max(0, start + size)
    if stop < 0:
        stop += size
    start = min(start, size)
    return start, max(start, min(stop + 1, size))


def max_bytes(fill: int) -> int:
    """The most bytes of a listpack (Redis: quicklistNodeLimit)."""
    if fill == ALWAYS_QUICKLIST:
        return 0
    return _SAFE_BYTES if fill >= 0 else 2048 << min(-fill, 5)


def max_count(fill: int) -> int:
    """The most elements of a listpack."""
    return max(1, fill) if fill >= 0 else max_bytes(fill)


def fits_listpack(elements: list[bytes], fill: int) -> bool:
    """Is a new list a listpack if these are pushed to it at once?"""
    size = _EMPTY_LISTPACK
    for element in elements:
        size += len(element)
    return not _exceeds(fill, size, len(elements))


def _exceeds(fill: int, size: int, count: int) -> bool:
    return size > max_bytes(fill) or (fill >= 0 and count > max_count(fill))


def _entry_size(element: bytes) -> int:
    """The bytes of an element's listpack entry: header, contents, and length for walking back."""
    size = len(element)
    if 0 < size <= 20 and element[0] <= 57:  # "9"
        integer_size = _integer_entry_size(element)
        if integer_size:
            return integer_size
    if size < 64:
        return size + 2
    size += 2 if size < 4096 else 5
    if size < 128:
        return size + 1
    if size < 16383:
        return size + 2
    if size < 2097151:
        return size + 3
    return size + (4 if size < 268435455 else 5)


def _integer_entry_size(element: bytes) -> int:
    """The same if this is an int64 in its one canonical spelling (Redis: string2ll), else 0."""
    number = parse_int(element)
    if number is None:
        return 0
    if 0 <= number < 128:
        return 2
    bits = number.bit_length() if number >= 0 else (-number - 1).bit_length()
    if bits < 13:
        return 3
    if bits < 24:
        return 4 if bits < 16 else 5
    return 6 if bits < 32 else 10
