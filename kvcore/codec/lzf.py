"""LZF, the compression of strings in RDB files (liblzf; the bytes equal those of Redis)."""

from __future__ import annotations

from typing import Final

import lzf as _lzf  # type: ignore[import-not-found]

#: A back reference of 3 bytes stands for at most 264: no LZF data expands further than this.
MAX_EXPANSION: Final = 88

_MIN_SAVING: Final = 5


def compress(data: bytes) -> bytes | None:
    """`data` compressed, or None where that would save fewer than 5 bytes, as in Redis.

    (Redis offers liblzf 4 bytes less than it has, and liblzf leaves one of them unused.)
    """
    if len(data) <= _MIN_SAVING:
        return None
    packed: bytes | None = _lzf.compress(data, len(data) - _MIN_SAVING)
    return packed


def decompress(data: bytes, length: int) -> bytes:
    """The `length` bytes that `data` stands for. Raises ValueError if it is not exactly that.

    The result is allocated before it is filled: `length` is believed only as far as `data`
    could possibly expand.
    """
    if not 0 < length <= len(data) * MAX_EXPANSION:
        raise ValueError(f"{len(data)} bytes of LZF cannot expand to {length}")
    try:
        plain: bytes | None = _lzf.decompress(data, length)
    except ValueError:
        plain = None
    if plain is None or len(plain) != length:
        raise ValueError(f"invalid LZF data: it does not expand to {length} bytes")
    return plain
