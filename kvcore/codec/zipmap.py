"""Zipmap: a small hash before Redis 2.6 (Redis: zipmap.c). Read only: nobody writes it any more.

::

    u8 count   (length field  length u8-free value  free unused bytes)*   0xFF

A length is one byte up to 253, or 0xFE and a little-endian u32. A count of 254 means that
the fields have to be counted.
"""

from __future__ import annotations

from typing import Final

_LONG: Final = 0xFE
_UNCOUNTED: Final = 0xFE
_END: Final = 0xFF


def decode(data: bytes) -> list[bytes]:
    """Fields and values in turn. Raises ValueError for what is no zipmap."""
    if len(data) < 2:
        raise ValueError(f"zipmap of {len(data)} bytes is shorter than its header")
    end = len(data) - 1
    if data[end] != _END:
        raise ValueError(f"zipmap does not end with 0xff at byte {end}")
    items: list[bytes] = []
    pos = 1
    while pos < end:
        start, stop = _span(data, pos, end, 0)
        items.append(data[start:stop])
        start, stop = _span(data, stop, end, 1)
        items.append(data[start:stop])
        pos = stop + data[start - 1]
        if pos > end:
            raise ValueError(f"zipmap's unused bytes cross its end at byte {start - 1}")
    if data[0] != _UNCOUNTED and data[0] * 2 != len(items):
        raise ValueError(f"zipmap claims {data[0]} fields and has {len(items) // 2} at byte 0")
    return items


def _span(data: bytes, pos: int, end: int, gap: int) -> tuple[int, int]:
    """Start and stop of the string whose length is at `pos`; `gap` bytes lie between the two."""
    length = data[pos]
    start = pos + 1
    if length == _LONG:
        start += 4
        length = int.from_bytes(data[pos + 1 : start], "little")
    elif length == _END:
        raise ValueError(f"zipmap ends before its end at byte {pos}")
    start += gap
    if start + length > end:
        raise ValueError(f"zipmap's string of {length} bytes crosses its end at byte {pos}")
    return start, start + length
