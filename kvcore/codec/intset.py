"""Intset: a small set of integers as one sorted array (Redis: intset.c).

::

    u32 width (2, 4 or 8)   u32 count   count integers of that width, ascending

All numbers are little endian; the integers are signed.

`decode` and `encode` deal with whole ones. What is edited in place is known to be sound: `find`
and the like check nothing.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from kvcore.codec.numbers import COMPILED

if TYPE_CHECKING:
    from mypy_extensions import i64

_HEADER: Final = struct.Struct("<II")
_HEADER_SIZE: Final = 8
_CODES: Final = {2: "h", 4: "i", 8: "q"}

EMPTY: Final = _HEADER.pack(2, 0)


def decode(data: bytes) -> list[int]:
    """The members, ascending. Raises ValueError for what is no intset."""
    if len(data) < _HEADER_SIZE:
        raise ValueError(f"intset of {len(data)} bytes is shorter than its header")
    width, count = _HEADER.unpack_from(data)
    if width not in _CODES:
        raise ValueError(f"intset has integers of {width} bytes at byte 0")
    if _HEADER_SIZE + width * count != len(data):
        raise ValueError(f"intset of {len(data)} bytes claims {count} integers at byte 4")
    members = list(struct.unpack_from(f"<{count}{_CODES[width]}", data, _HEADER_SIZE))
    if not all(map(operator.lt, members, islice(members, 1, None))):
        raise ValueError(f"intset is out of order at byte {_disorder(members, width)}")
    return members


def encode(members: Sequence[int]) -> bytes:
    """The intset of `members`, which are int64, distinct and ascending."""
    if not members:
        return EMPTY
    low, high = members[0], members[-1]
    if low >= -(2**15) and high < 2**15:
        width = 2
    elif low >= -(2**31) and high < 2**31:
        width = 4
    else:
        width = 8
    count = len(members)
    return struct.pack(f"<II{count}{_CODES[width]}", width, count, *members)


def _disorder(members: list[int], width: int) -> int:
    """Where the first member lies that is not greater than the one before it."""
    for index in range(1, len(members)):
        if members[index] <= members[index - 1]:
            return _HEADER_SIZE + index * width
    return -1


# Editing in place ---------------------------------------------------------------------------------


def count(data: bytes) -> int:
    """How many members there are."""
    return data[4] | data[5] << 8 | data[6] << 16 | data[7] << 24


def member(data: bytes, rank: int) -> int:
    """The member above so many others."""
    if not COMPILED:
        start = _HEADER_SIZE + rank * data[0]
        return int.from_bytes(data[start : start + data[0]], "little", signed=True)
    width: i64 = data[0]
    at: i64 = _HEADER_SIZE + rank * width
    byte: i64 = data[at + width - 1]
    number: i64 = byte - 0x100 if byte >= 0x80 else byte
    for place in range(width - 2, -1, -1):
        byte = data[at + place]
        number = number << 8 | byte
    return number


def find(data: bytes, number: int) -> int:
    """The rank of a member; if it is not there, less than 0: -1 - the rank that it would have."""
    low = 0
    high = count(data)
    while low < high:
        middle = (low + high) >> 1
        found = member(data, middle)
        if found == number:
            return middle
        if found < number:
            low = middle + 1
        else:
            high = middle
    return -1 - low


def insert(data: bytes, number: int, rank: int) -> bytes:
    """The intset with one more member, whose rank is this."""
    width = data[0]
    bits = 8 * width - 1
    if not -(1 << bits) <= number < 1 << bits:
        members = decode(data)
        members.insert(rank, number)
        return encode(members)
    at = _HEADER_SIZE + rank * width
    added = number.to_bytes(width, "little", signed=True)
    return _header(width, count(data) + 1) + data[_HEADER_SIZE:at] + added + data[at:]


def remove(data: bytes, rank: int) -> bytes:
    """The intset without the member of this rank; as in Redis, those that stay keep their width."""
    width = data[0]
    at = _HEADER_SIZE + rank * width
    return _header(width, count(data) - 1) + data[_HEADER_SIZE:at] + data[at + width :]


def _header(width: int, count: int) -> bytes:
    return (width | count << 32).to_bytes(_HEADER_SIZE, "little")
