"""Bytes on their way out: small pieces are gathered in blocks, large ones pass as they are.

Compiled, a piece is copied into a block, which costs less than a place in a list of pieces and
their join later. To the interpreter a list is the quickest, so there an `Output` is one
(`kvcore.codec.pieces`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kvcore.codec.numbers import COMPILED

if COMPILED or TYPE_CHECKING:
    from librt.strings import BytesWriter, write_f64_le
    from mypy_extensions import i64

BLOCK: Final = 64 * 1024
"""Bytes of a block, about."""
LONG: Final = 8 * 1024
"""Bytes of a piece that is not copied."""
REFERENCE: Final = 512
"""What such a piece weighs, which takes no room here but is to be handled."""
_DIGITS: Final[list[bytes]] = [b"%d" % n for n in range(1000)]
_THREE: Final[list[bytes]] = [b"%03d" % n for n in range(1000)]  # behind others
_KEPT: Final = 4096  # bytes that a buffer may have held that is used again


class Output:
    """What was written and not taken.

    ``len`` weighs it: the bytes that were copied, and REFERENCE for each piece that was not.
    (Uncompiled, it counts the pieces.)
    """

    _blocks: list[bytes]
    _references: list[int]  # the places in ``_blocks`` of what was not copied
    _weight: i64  # of the blocks
    _tail: BytesWriter

    def __init__(self) -> None:
        self._blocks = []
        self._references = []
        self._weight = 0
        self._tail = BytesWriter()

    def write(self, piece: bytes) -> None:
        tail = self._tail
        if len(piece) > LONG:
            self._end_block()
            self._references.append(len(self._blocks))
            self._blocks.append(piece)
            self._weight += REFERENCE
            return
        tail.write(piece)
        if len(tail) >= BLOCK:
            self._end_block()

    def number(self, value: int) -> None:
        """Write a whole number in decimal."""
        if not 0 <= value < 1_000_000_000:
            self.write(b"%d" % value)
            return
        number: i64 = value
        tail = self._tail
        if number >= 1_000_000:
            tail.write(_DIGITS[number // 1_000_000])
            tail.write(_THREE[number // 1000 % 1000])
            tail.write(_THREE[number % 1000])
        elif number >= 1000:
            tail.write(_DIGITS[number // 1000])
            tail.write(_THREE[number % 1000])
        else:
            tail.write(_DIGITS[number])

    def double(self, value: float) -> None:
        """Write an IEEE 754 double, its lowest byte first."""
        write_f64_le(self._tail, value)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self._blocks)) + len(self._tail)

    def length(self) -> i64:
        """``len``, where compiled code asks."""
        return self._weight + len(self._tail)

    def __len__(self) -> int:
        return self._weight + len(self._tail)

    def take(self) -> list[bytes]:
        """What was written, in pieces. It is no longer in here."""
        blocks = self._blocks
        if not blocks:
            tail = self._tail
            if len(tail) == 0:
                return []
            block = tail.getvalue()
            self._empty(len(block))
            return [block]
        self._end_block()
        self._blocks = []
        self._references = []
        self._weight = 0
        return blocks

    def cut(self, length: int) -> None:
        """Take back what was written since ``len`` was this."""
        self._end_block()
        blocks = self._blocks
        while self._weight > length:
            block = blocks.pop()
            if self._references and self._references[-1] == len(blocks):
                self._references.pop()
                self._weight -= REFERENCE
                continue
            self._weight -= len(block)
            if self._weight < length:
                blocks.append(block[: length - self._weight])
                self._weight = length

    def _end_block(self) -> None:
        tail = self._tail
        size = len(tail)
        if size:
            self._blocks.append(tail.getvalue())
            self._weight += size
            self._empty(size)

    def _empty(self, size: i64) -> None:
        if size > _KEPT:
            self._tail = BytesWriter()
        else:
            self._tail.truncate(0)


if not COMPILED and not TYPE_CHECKING:
    from kvcore.codec.pieces import Output  # noqa: F401
