"""`kvcore.codec.output.Output` for the interpreter; never compiled."""

from __future__ import annotations

import struct
from typing import Final

_DOUBLE: Final = struct.Struct("<d")


class Output(list[bytes]):
    """A list of pieces."""

    __slots__ = ()

    write = list.append
    length = list.__len__

    def number(self, value: int) -> None:
        self.append(b"%d" % value)

    def double(self, value: float) -> None:
        self.append(_DOUBLE.pack(value))

    @property
    def size(self) -> int:
        return sum(map(len, self))

    def take(self) -> list[bytes]:
        pieces = self[:]
        self.clear()
        return pieces

    def cut(self, length: int) -> None:
        del self[length:]
