"""Listpack: a short list of strings and integers in one piece (Redis: listpack.c).

::

    u32 total bytes   u16 count   entries   0xFF
    entry = encoding and data, then their size, which is read from the end (back-length)

==================  =====================================================
``0vvvvvvv``        the integer v, 0..127
``10nnnnnn``        a string of n bytes
``110vvvvv v8``     a signed integer of 13 bits, high bits first
``1110nnnn n8``     a string of n bytes, 12 bits, high bits first
``11110000 n32``    a string of n bytes
``111100tt``        tt = 1, 2, 3: a signed integer of 16, 24, 32 bits follows
``11110100``        a signed integer of 64 bits follows
==================  =====================================================

What is not said otherwise is little endian. A count of 65535 means that the entries have to be
counted. The back-length is 1 to 5 bytes of 7 bits, high bits first; all but the first byte have
their top bit set.

`decode` and `encode` deal with whole ones. What is edited in place lies as its *entries*, without
header and end (`entries`, `wrap`), and is known to be sound: `after`, `find` and the like check
nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kvcore.codec.numbers import COMPILED, parse_int
from kvcore.codec.output import Output

if TYPE_CHECKING:
    from mypy_extensions import i64

_HEADER: Final = struct.Struct("<IH")
_HEADER_SIZE: Final = 6
_END: Final = 0xFF
_UNCOUNTED: Final = 65535
_MAX_TOTAL: Final = 2**32 - 1
_NINE: Final = 57

_STRING_32: Final = 0xF0
_INT_16: Final = 0xF1
_INT_24: Final = 0xF2
_INT_32: Final = 0xF3
_INT_64: Final = 0xF4

# An integer's entry: its encoding, the number, the back-length. Compiled code does without.
_PACK_13: Final = struct.Struct(">HB").pack
_PACK_16: Final = struct.Struct("<BhB").pack
_PACK_24: Final = struct.Struct("<BHbB").pack
_PACK_32: Final = struct.Struct("<BiB").pack
_PACK_64: Final = struct.Struct("<BqB").pack

_BYTE: Final = [bytes([n]) for n in range(256)]
_DIGITS: Final = [b"%d" % n for n in range(128)]
_SMALL_INT: Final = [bytes([n, 1]) for n in range(128)]


def decode(data: bytes) -> list[bytes]:
    """The entries, integers spelled in decimal. Raises ValueError for what is no listpack."""
    end = len(data) - 1
    if end < _HEADER_SIZE:
        raise ValueError(f"listpack of {len(data)} bytes is shorter than its header")
    total, count = _HEADER.unpack_from(data)
    if total != len(data):
        raise ValueError(f"listpack of {len(data)} bytes claims {total} at byte 0")
    if data[end] != _END:
        raise ValueError(f"listpack does not end with 0xff at byte {end}")
    items = _decode_entries(data, _HEADER_SIZE, end)
    if count != _UNCOUNTED and count != len(items):
        raise ValueError(f"listpack claims {count} entries and has {len(items)} at byte 4")
    return items


def _decode_entries(data: bytes, pos: int, end: int) -> list[bytes]:
    items: list[bytes] = []
    while pos < end:
        code = data[pos]
        if code < 0x80:
            items.append(_DIGITS[code])
            stop = pos + 1
        elif code < 0xC0:
            stop = pos + 1 + (code & 0x3F)
            items.append(data[pos + 1 : stop])
        else:
            stop = _decode_long(data, pos, end, items)
        # A back-length of one byte cannot be taken for the end: that is 0xff.
        size = stop - pos
        if size < 128 and stop <= end and data[stop] == size:
            pos = stop + 1
        else:
            pos = _skip_back_length(data, pos, stop, end)
    return items


def _decode_long(data: bytes, pos: int, end: int, items: list[bytes]) -> int:
    """Append the entry at `pos`, which is neither a 7-bit integer nor a short string.

    Returns where its data stops. That lies within `end` if its encoding does.
    """
    code = data[pos]
    if code < 0xE0:
        number = ((code & 0x1F) << 8) | data[pos + 1]
        items.append(b"%d" % (number - 8192 if number >= 4096 else number))
        return pos + 2
    if code <= _STRING_32:
        if code < 0xF0:
            start = pos + 2
            length = ((code & 0x0F) << 8) | data[pos + 1]
        else:
            start = pos + 5
            length = int.from_bytes(data[pos + 1 : start], "little")
        if start + length > end:
            raise ValueError(f"listpack's string of {length} bytes crosses its end at byte {pos}")
        items.append(data[start : start + length])
        return start + length
    if code > _INT_64:
        raise ValueError(f"listpack has no encoding {code:#04x} at byte {pos}")
    stop = pos + 1 + (8 if code == _INT_64 else code - _STRING_32 + 1)
    items.append(b"%d" % int.from_bytes(data[pos + 1 : stop], "little", signed=True))
    return stop


def _skip_back_length(data: bytes, pos: int, stop: int, end: int) -> int:
    """Check the back-length of the entry in ``pos..stop`` and return where the next begins."""
    expected = _back_length(stop - pos)
    if stop + len(expected) > end:
        raise ValueError(f"listpack's entry crosses its end at byte {pos}")
    if not data.startswith(expected, stop):
        raise ValueError(f"listpack's entry has a wrong back-length at byte {stop}")
    return stop + len(expected)


def _back_length(size: int) -> bytes:
    """`size` in 7-bit groups. The limits are one less than would fit, as in lpEncodeBacklen."""
    if size <= 127:
        return _BYTE[size]
    if size < 16383:
        groups = 2
    elif size < 2097151:
        groups = 3
    elif size < 268435455:
        groups = 4
    else:
        groups = 5
    shift = 7 * (groups - 1)
    text = bytearray([size >> shift])
    while shift:
        shift -= 7
        text.append((size >> shift) & 127 | 128)
    return bytes(text)


def encode(items: Sequence[bytes]) -> bytes:
    """The listpack of `items`, with integers packed as Redis packs them.

    Raises ValueError if it would exceed 4 GiB.
    """
    out = Output()
    for item in items:
        size = len(item)
        if 0 < size <= 20 and item[0] <= _NINE:
            number = parse_int(item)
            if number is not None:
                out.write(_encode_int(number))
                continue
        if size < 64:
            out.write(_BYTE[0x80 | size])
            out.write(item)
            out.write(_BYTE[size + 1])
        else:
            _write_string(item, out)
    return wrap(b"".join(out.take()), len(items))


def longest(items: Sequence[bytes]) -> int:
    """The length of the longest item; 0 if there is none."""
    most = 0
    for item in items:
        most = max(most, len(item))
    return most


def _encode_int(number: int) -> bytes:
    """The entry of an int64, with its back-length."""
    if 0 <= number <= 127:
        return _SMALL_INT[number]
    if COMPILED and -(2**31) <= number < 2**31:
        if -4096 <= number <= 4095:
            return ((0xC000 | number & 0x1FFF) << 8 | 2).to_bytes(3, "big")
        if -(2**15) <= number < 2**15:
            return (_INT_16 | (number & 0xFFFF) << 8 | 3 << 24).to_bytes(4, "little")
        if -(2**23) <= number < 2**23:
            return (_INT_24 | (number & 0xFFFFFF) << 8 | 4 << 32).to_bytes(5, "little")
        return (_INT_32 | (number & 0xFFFFFFFF) << 8 | 5 << 40).to_bytes(6, "little")
    if -4096 <= number <= 4095:
        return _PACK_13(0xC000 | number & 0x1FFF, 2)
    if -(2**15) <= number < 2**15:
        return _PACK_16(_INT_16, number, 3)
    if -(2**23) <= number < 2**23:
        return _PACK_24(_INT_24, number & 0xFFFF, number >> 16, 4)
    if -(2**31) <= number < 2**31:
        return _PACK_32(_INT_32, number, 5)
    return _PACK_64(_INT_64, number, 9)


def _write_string(item: bytes, out: Output) -> None:
    """The entry of a string of 64 bytes or more."""
    size = len(item)
    if size < 4096:
        head = (0xE000 | size).to_bytes(2, "big")
    elif size <= _MAX_TOTAL:
        head = _BYTE[_STRING_32] + size.to_bytes(4, "little")
    else:
        raise ValueError(f"a listpack cannot hold a string of {size} bytes")
    out.write(head)
    out.write(item)
    out.write(_back_length(len(head) + size))


# Entries that are edited in place -----------------------------------------------------------------


def entries(data: bytes, start: int = 0) -> bytes:
    """The entries of the listpack that begins at ``start`` and ends with the data."""
    return data[start + _HEADER_SIZE : -1]


def count(data: bytes, start: int = 0) -> int:
    """How many entries the listpack has that begins at ``start``; less than 65535."""
    return data[start + 4] | data[start + 5] << 8


def wrap(entries: bytes, count: int) -> bytes:
    """The listpack of so many entries. Raises ValueError if it would exceed 4 GiB."""
    total = _HEADER_SIZE + len(entries) + 1
    if total > _MAX_TOTAL:
        raise ValueError(f"a listpack cannot hold {total} bytes")
    header = (total | min(count, _UNCOUNTED) << 32).to_bytes(_HEADER_SIZE, "little")
    return header + entries + _BYTE[_END]


def entry(item: bytes) -> bytes:
    """An item as `encode` spells it: equal items have equal entries."""
    size = len(item)
    if 0 < size <= 20 and item[0] <= _NINE:
        number = parse_int(item)
        if number is not None:
            return _encode_int(number)
    if size < 64:
        return _BYTE[0x80 | size] + item + _BYTE[size + 1]
    out = Output()
    _write_string(item, out)
    return b"".join(out.take())


def after(entries: bytes, at: i64) -> i64:
    """Where the entry ends that begins here."""
    code: i64 = entries[at]
    if code < 0x80:
        return at + 2
    if code < 0xC0:
        return at + 2 + (code & 0x3F)
    if code < 0xE0:
        return at + 3
    if code > _STRING_32:
        return at + (10 if code == _INT_64 else code - _INT_16 + 4)
    size: i64
    byte: i64
    if code < _STRING_32:
        byte = entries[at + 1]
        size = 2 + ((code & 0x0F) << 8 | byte)
    else:
        size = 0
        for place in range(4):
            byte = entries[at + 4 - place]
            size = size << 8 | byte
        size += 5
    if size < 128:
        return at + size + 1
    if size < 16383:
        return at + size + 2
    return at + size + len(_back_length(size))


def skip(entries: bytes, at: i64, count: i64) -> i64:
    """Where the entry begins that comes so many after this one."""
    while count > 0:
        at = after(entries, at)
        count -= 1
    return at


def before(entries: bytes, end: i64) -> i64:
    """Where the entry begins that ends here."""
    at: i64 = end - 1
    byte: i64 = entries[at]
    size: i64 = byte & 0x7F
    shift: i64 = 7
    while byte & 0x80:
        at -= 1
        byte = entries[at]
        size |= (byte & 0x7F) << shift
        shift += 7
    return at - size


def item(entries: bytes, at: i64) -> bytes:
    """The item whose entry begins here."""
    code: i64 = entries[at]
    if code < 0x80:
        return _DIGITS[code]
    if code < 0xC0:
        return entries[at + 1 : at + 1 + (code & 0x3F)]
    items: list[bytes] = []
    _decode_long(entries, at, len(entries), items)
    return items[0]


def items(entries: bytes) -> list[bytes]:
    """All items."""
    return _decode_entries(entries, 0, len(entries))


def find(entries: bytes, wanted: bytes, step: i64 = 1) -> i64:
    """Where this entry begins among the first of each ``step`` entries; -1 if it is not there.

    Its bytes may lie inside another one as well, so whatever matches is reached entry by entry.
    """
    at: i64 = 0
    turn: i64 = 0
    hit: i64 = entries.find(wanted)
    while hit >= 0:
        while at < hit:
            at = after(entries, at)
            turn += 1
        if at == hit and turn % step == 0:
            return at
        hit = entries.find(wanted, hit + 1)
    return -1
