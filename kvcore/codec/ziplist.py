"""Ziplist: a short list of strings and integers in one piece, before Redis 7.0 (ziplist.c).

::

    u32 total bytes   u32 offset of the last entry   u16 count   entries   0xFF
    entry = size of the entry before it (u8 below 254, or 0xFE and u32), encoding, data

==================  =====================================================
``00nnnnnn``        a string of n bytes
``01nnnnnn n8``     a string of n bytes, 14 bits, high bits first
``10000000 n32``    a string of n bytes, 32 bits, high byte first
``11tt0000``        a signed integer of 16, 32, 64, 24 bits (tt = 0, 1, 2, 3) follows
``11111110``        a signed integer of 8 bits follows
``1111vvvv``        the integer v - 1, 0..12
==================  =====================================================

What is not said otherwise is little endian. A count of 65535 means that the entries have to be
counted. A small size may be written in 5 bytes: Redis leaves it so when the entry before shrinks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from kvcore.codec.numbers import parse_int

_HEADER: Final = struct.Struct("<IIH")
_HEADER_SIZE: Final = 10
_END: Final = 0xFF
_UNCOUNTED: Final = 65535
_MAX_TOTAL: Final = 2**32 - 1
_NINE: Final = 57

_LONG_SIZE: Final = 0xFE
_INT_16: Final = 0xC0
_INT_32: Final = 0xD0
_INT_64: Final = 0xE0
_INT_24: Final = 0xF0
_INT_8: Final = 0xFE
_IMMEDIATE: Final = 0xF1  # the integer 0; 0xFD is 12

_INT_WIDTH: Final = {_INT_16: 2, _INT_32: 4, _INT_64: 8, _INT_24: 3, _INT_8: 1}
_BYTE: Final = [bytes([n]) for n in range(256)]
_DIGITS: Final = [b"%d" % n for n in range(13)]


def decode(data: bytes) -> list[bytes]:
    """The entries, integers spelled in decimal. Raises ValueError for what is no ziplist."""
    end = len(data) - 1
    if end < _HEADER_SIZE:
        raise ValueError(f"ziplist of {len(data)} bytes is shorter than its header")
    total, tail, count = _HEADER.unpack_from(data)
    if total != len(data):
        raise ValueError(f"ziplist of {len(data)} bytes claims {total} at byte 0")
    if data[end] != _END:
        raise ValueError(f"ziplist does not end with 0xff at byte {end}")
    items: list[bytes] = []
    last = pos = _HEADER_SIZE
    size = 0
    while pos < end:
        last = pos
        before = data[pos]
        pos += 1
        if before >= _LONG_SIZE:
            before = _long_size(data, pos, end)
            pos += 4
        if before != size:
            raise ValueError(f"ziplist's entry has a wrong back-length at byte {last}")
        code = data[pos]
        if code < 0x40:
            start = pos + 1
            pos = start + code
            items.append(data[start:pos])
        else:
            pos = _decode_long(data, pos, end, items)
        if pos > end:
            raise ValueError(f"ziplist's entry crosses its end at byte {last}")
        size = pos - last
    if tail != last:
        raise ValueError(f"ziplist's last entry is at {last}, not {tail}, at byte 4")
    if count != _UNCOUNTED and count != len(items):
        raise ValueError(f"ziplist claims {count} entries and has {len(items)} at byte 8")
    return items


def _long_size(data: bytes, pos: int, end: int) -> int:
    """The 4-byte back-length at `pos`, which something has to follow."""
    if data[pos - 1] == _END:
        raise ValueError(f"ziplist ends before its end at byte {pos - 1}")
    if pos + 4 > end:
        raise ValueError(f"ziplist's entry crosses its end at byte {pos - 1}")
    return int.from_bytes(data[pos : pos + 4], "little")


def _decode_long(data: bytes, pos: int, end: int, items: list[bytes]) -> int:
    """Append what is encoded at `pos` and is no short string; returns where its data stops."""
    code = data[pos]
    if code < 0xC0:
        if code < 0x80:
            start = pos + 2
            length = ((code & 0x3F) << 8) | data[pos + 1]
        else:
            start = pos + 5
            length = int.from_bytes(data[pos + 1 : start], "big")
        if start + length > end:
            raise ValueError(f"ziplist's string of {length} bytes crosses its end at byte {pos}")
        items.append(data[start : start + length])
        return start + length
    if _IMMEDIATE <= code < _INT_8:
        items.append(_DIGITS[code - _IMMEDIATE])
        return pos + 1
    width = _INT_WIDTH.get(code)
    if width is None:
        raise ValueError(f"ziplist has no encoding {code:#04x} at byte {pos}")
    stop = pos + 1 + width
    items.append(b"%d" % int.from_bytes(data[pos + 1 : stop], "little", signed=True))
    return stop


def encode(items: Sequence[bytes]) -> bytes:
    """The ziplist of `items`, with integers packed as Redis packs them (RDB version 6 and up).

    Raises ValueError if it would exceed 4 GiB.
    """
    pieces: list[bytes] = [b""]
    total = _HEADER_SIZE
    tail = total
    size = 0
    for item in items:
        tail = total
        back = _BYTE[size] if size < _LONG_SIZE else b"\xfe" + size.to_bytes(4, "little")
        head = _encode_int(item)
        if head is None:
            head = _string_head(len(item))
            pieces.append(back + head)
            pieces.append(item)
            size = len(back) + len(head) + len(item)
        else:
            pieces.append(back + head)
            size = len(back) + len(head)
        total += size
        if total >= _MAX_TOTAL:
            raise ValueError(f"a ziplist cannot hold {total} bytes")
    pieces[0] = _HEADER.pack(total + 1, tail, min(len(items), _UNCOUNTED))
    pieces.append(_BYTE[_END])
    return b"".join(pieces)


def _string_head(length: int) -> bytes:
    if length < 0x40:
        return _BYTE[length]
    if length < 0x4000:
        return (0x4000 | length).to_bytes(2, "big")
    if length <= _MAX_TOTAL:
        return b"\x80" + length.to_bytes(4, "big")
    raise ValueError(f"a ziplist cannot hold a string of {length} bytes")


def _encode_int(item: bytes) -> bytes | None:
    """Encoding and data of `item` if it spells an integer, else None."""
    if not 0 < len(item) <= 20 or item[0] > _NINE:
        return None
    number = parse_int(item)
    if number is None:
        return None
    if 0 <= number <= 12:
        return _BYTE[_IMMEDIATE + number]
    if -(2**7) <= number < 2**7:
        code = _INT_8
    elif -(2**15) <= number < 2**15:
        code = _INT_16
    elif -(2**23) <= number < 2**23:
        code = _INT_24
    elif -(2**31) <= number < 2**31:
        code = _INT_32
    else:
        code = _INT_64
    return _BYTE[code] + number.to_bytes(_INT_WIDTH[code], "little", signed=True)
