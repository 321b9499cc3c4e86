"""Damaged files: copies of good ones with flipped bits, cuts, insertions, swapped lengths, splices.

`damage` mutates one file of a folder, `mutate` the bytes of one. Both take their choices from a
``random.Random``, so that a seed brings a failing input back; `shrink` makes it small enough to be
kept as a test of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

_NUMBER: Final = re.compile(rb"\d+")
_NUMBERS: Final = tuple(
    b"%d" % number
    for number in (-1, 0, 1, 2, 3, 16, 64, 255, 512, 65536, 2**29, 2**31, 2**32, 2**63, 2**64)
)
# Bytes in which formats say what follows: lengths, encodings, opcodes, ends.
_TELLING: Final = bytes([*range(26), 0x3F, 0x40, 0x7F, 0x80, 0x81, *range(0xC0, 0xC5)]) + bytes(
    range(0xE0, 0x100)
)
_LENGTHS: Final = tuple(
    first + number.to_bytes(size, order)  # type: ignore[arg-type]
    for first, size, order in (
        (b"\x80", 4, "big"),
        (b"\x81", 8, "big"),
        (b"", 4, "little"),
        (b"", 2, "little"),
        (b"\xc3\x80", 4, "big"),
    )
    for number in (0, 1, 7, 255, 0x7FFF, (1 << 8 * size - 1) - 1, (1 << 8 * size) - 1)
)

Mutation = Callable[[bytearray, Random, bytes], None]


def _flip(data: bytearray, chance: Random, other: bytes) -> None:
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _put(data: bytearray, chance: Random, other: bytes) -> None:
    data[chance.randrange(len(data))] = chance.choice(_TELLING)


def _put_length(data: bytearray, chance: Random, other: bytes) -> None:
    length = chance.choice(_LENGTHS)
    at = chance.randrange(len(data))
    data[at : at + len(length)] = length


def _put_number(data: bytearray, chance: Random, other: bytes) -> None:
    """Another number where the text has one: a length, a count, a database, a sequence."""
    numbers = list(_NUMBER.finditer(data))
    if numbers:
        first, last = chance.choice(numbers).span()
        near = b"%d" % abs(int(data[first:last][:18]) + chance.choice((-2, -1, 1, 2, 10)))
        data[first:last] = chance.choice((near, near, chance.choice(_NUMBERS)))


def _swap_numbers(data: bytearray, chance: Random, other: bytes) -> None:
    numbers = list(_NUMBER.finditer(data))
    if len(numbers) > 1:
        one, two = sorted(chance.sample(range(len(numbers)), 2))
        (a, b), (c, d) = numbers[one].span(), numbers[two].span()
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


def _cut(data: bytearray, chance: Random, other: bytes) -> None:
    del data[chance.randrange(len(data)) :]


def _remove(data: bytearray, chance: Random, other: bytes) -> None:
    at, size = _slice(data, chance)
    del data[at : at + size]


def _insert(data: bytearray, chance: Random, other: bytes) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.choice((chance.randbytes(chance.choice((1, 2, 9))), bytes(9), b"\r\n"))


def _repeat(data: bytearray, chance: Random, other: bytes) -> None:
    at, size = _slice(data, chance)
    to = chance.randint(0, len(data))
    data[to:to] = data[at : at + size] * chance.choice((1, 1, 2, 20))


def _swap(data: bytearray, chance: Random, other: bytes) -> None:
    size = min(chance.choice((1, 2, 4, 8, 30)), len(data) // 2)
    one, two = chance.randint(0, len(data) - size), chance.randint(0, len(data) - size)
    here = data[one : one + size]
    data[one : one + size] = data[two : two + size]
    data[two : two + size] = here


def _blank(data: bytearray, chance: Random, other: bytes) -> None:
    """Zeroes, as where a file system knew of the length before it had the bytes."""
    at, size = _slice(data, chance)
    data[at : at + size] = bytes(size)


def _splice(data: bytearray, chance: Random, other: bytes) -> None:
    """The beginning of one file, the end of another (or some of its middle)."""
    at, size = _slice(other, chance)
    if chance.random() < 0.5:
        data[chance.randint(0, len(data)) :] = other[at:]
    else:
        to = chance.randint(0, len(data))
        data[to : to + size] = other[at : at + size]


def _slice(data: bytes | bytearray, chance: Random) -> tuple[int, int]:
    at = chance.randint(0, len(data))
    return at, min(chance.choice((1, 2, 5, 16, 100, 1000)), len(data) - at)


_MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(_flip, _put, _put, _put_length, _put_length, _put_number, _put_number, _swap_numbers),
    *(_cut, _remove, _insert, _repeat, _swap, _blank, _splice),
)


def mutate(data: bytes, chance: Random, other: bytes = b"") -> bytes:
    """A damaged copy; ``other`` is a file to splice it with."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if not damaged:
            break
        chance.choice(_MUTATIONS)(damaged, chance, other)
    return bytes(damaged)


def damage(folders: Sequence[Mapping[str, bytes]], chance: Random) -> dict[str, bytes]:
    """One of the folders (contents by name) with one of its files damaged, missing, or in the
    place of another."""
    folder = dict(chance.choice(folders))
    name = chance.choice(sorted(folder))
    fate = chance.random()
    if fate < 0.02:
        del folder[name]
    elif fate < 0.06 and len(folder) > 1:
        two = chance.choice(sorted(folder))
        folder[name], folder[two] = folder[two], folder[name]
    else:
        other = chance.choice(folders)
        folder[name] = mutate(folder[name], chance, other[chance.choice(sorted(other))])
    return folder


def shrink(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A shorter input that fails as well: whatever can be left out is."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data
