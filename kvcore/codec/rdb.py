"""What RDB files are made of: lengths, strings, numbers and a running checksum (Redis: rdb.c).

DUMP payloads and the AOF's preamble are made of the same. Opcodes, type codes and the order of
things in a file are for whoever calls `Reader` and `Writer`.

A length::

    00nnnnnn                    6 bits
    01nnnnnn n8                 14 bits, high bits first
    10000000 n32  10000001 n64  32 or 64 bits, high byte first
    11eeeeee                    no length, but a string in encoding e

A string is a length and as many bytes, or one of the encodings 0, 1, 2 (an integer of 8, 16 or
32 bits, little endian, spelled in decimal) and 3 (two lengths, compressed and plain, and LZF).
All other numbers are little endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import BinaryIO, Final

from kvcore.codec import lzf
from kvcore.codec.crc64 import crc64
from kvcore.codec.numbers import COMPILED, parse_float, parse_int
from kvcore.codec.output import Output
from kvcore.errors import CorruptData, EmptyValue

_DOUBLE: Final = struct.Struct("<d")

_READ_SIZE: Final = 1 << 20
_WRITE_SIZE: Final = 1 << 18

_LENGTH_14: Final = 1
_LENGTH_32: Final = 0x80
_LENGTH_64: Final = 0x81
_ENCODED: Final = 0xC0

_INT_32: Final = 2
_LZF: Final = 3

_PACK_8: Final = struct.Struct("<Bb").pack
_PACK_16: Final = struct.Struct("<Bh").pack
_PACK_32: Final = struct.Struct("<Bi").pack
_BYTE: Final = [bytes([n]) for n in range(256)]
_INT_8: Final = [bytes([_ENCODED, n]) for n in range(256)]
_NINE: Final = 57

#: The RDB version that is written if nobody asks for another: Redis 7.0's, which all later
#: ones read.
VERSION: Final = 10
#: Those that can be asked for: 9 is what Redis 5 and 6 read, 11 is Redis 7.2's and Valkey 8's, 12
#: Redis 7.4's.
WRITTEN: Final = range(9, 13)
#: Those whose content is known: up to Redis 8.6, and Valkey 9's. A later one may have changed
#: anything.
READ: Final = frozenset([*range(1, 14), 80])
#: The version that brought a type code, where it is one that not every version in `WRITTEN` has.
SINCE: Final = {16: 10, 17: 10, 18: 10, 20: 11}

#: Type codes whose payload is, behind so many bytes, one string: what LZF can be tried on.
ONE_STRING: Final = {9: 0, 10: 0, 11: 0, 12: 0, 13: 0, 16: 0, 17: 0, 18: 2, 20: 0}
#: Those whose payload is a length and strings, each with so many bytes behind it.
MANY_STRINGS: Final = {2: 0, 4: 0, 5: 8}

#: Bytes that `Reader.span` takes at most: what a longer value is made of should not stay packed.
LONGEST_SPAN: Final = 1 << 14
LONGEST_PLAIN: Final = 1 << 14

_LISTPACK_OVERHEAD: Final = 7
_LISTPACK_UNCOUNTED: Final = 65535


class Reader:
    """Takes RDB primitives off `source`, front to back, in constant memory.

    `source` is bytes or a blocking binary file; a pipe will do, nothing seeks. `size` is how
    many bytes of a file belong to the data, -1 if unknown: no more are read, and a length that
    exceeds them fails at once. Where the size is unknown, memory grows with what has arrived.
    The file may be read ahead of `offset`.

    Whatever contradicts the format raises `CorruptData` with `path` and offset; errors of the
    file itself (OSError) pass through.
    """

    path: str
    over: bool
    words: bool
    _source: BinaryIO | None
    _unread: int  # bytes of the source that may still be read; -1: unknown
    _window: bytes
    _pos: int
    _end: int
    _base: int  # absolute offset of the window
    _checksum: bool
    _crc: int  # of everything before _crc_pos
    _crc_pos: int

    def __init__(
        self,
        source: BinaryIO | bytes,
        *,
        path: str = "",
        size: int = -1,
        checksum: bool = False,
    ) -> None:
        self.path = path
        self.over = self.words = False
        self._base = self._pos = self._crc = self._crc_pos = 0
        self._checksum = checksum
        if isinstance(source, bytes):
            self._source = None
            self._window = source if size < 0 else source[:size]
            self._unread = 0
        else:
            self._source = source
            self._window = b""
            self._unread = size
        self._end = len(self._window)

    # -- where we are ------------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """How many bytes have been consumed."""
        return self._base + self._pos

    @property
    def left(self) -> int:
        """How many bytes are left, -1 if unknown."""
        return -1 if self._unread < 0 else self._unread + self._end - self._pos

    @property
    def crc(self) -> int:
        """CRC-64 of the bytes consumed so far; 0 unless made with ``checksum=True``."""
        if self._checksum:
            self._add_crc()
        return self._crc

    def at_end(self) -> bool:
        """Whether nothing is left; waits for more if the source is a pipe."""
        return self._pos == self._end and not self._fill()

    def fail(self, why: str, *, offset: int = -1) -> CorruptData:
        """The error to raise for what was found at `offset` (by default where we are)."""
        return CorruptData(why, path=self.path, offset=self.offset if offset < 0 else offset)

    def empty(self, what: str, offset: int) -> EmptyValue:
        """The error for a collection without elements, all of which was read; it began there."""
        return EmptyValue(f"empty {what}", path=self.path, offset=offset)

    # -- bytes -------------------------------------------------------------------------------

    def byte(self) -> int:
        pos = self._pos
        if pos == self._end:
            self._refill()
            pos = 0
        self._pos = pos + 1
        return self._window[pos]

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        pos = self._pos
        stop = pos + count
        if stop <= self._end:
            self._pos = stop
            return self._window[pos:stop]
        return self._take_across(count)

    def _take_across(self, count: int) -> bytes:
        """`count` bytes that do not all lie in the window."""
        have = self._end - self._pos
        if self._unread >= 0 and count - have > self._unread:
            raise self._end_of_file(f"{count} bytes were due, {have + self._unread} are left")
        pieces: list[bytes] = []
        while count > have:
            pieces.append(self._window[self._pos :])
            count -= have
            self._pos = self._end
            self._refill()
            have = self._end
        pieces.append(self._window[:count])
        self._pos = count
        return b"".join(pieces)

    def _refill(self) -> None:
        if not self._fill():
            raise self._end_of_file("")

    def _fill(self) -> bool:
        """Replace the window, which is consumed, by what follows; False at the end."""
        source = self._source
        if source is None:
            return False
        unread = self._unread
        size = _READ_SIZE if unread < 0 or unread > _READ_SIZE else unread
        fresh = source.read(size) if size else b""
        if not fresh:
            return False
        if self._checksum:
            self._add_crc()
        if unread >= 0:
            self._unread = unread - len(fresh)
        self._base += self._end
        self._window = fresh
        self._end = len(fresh)
        self._pos = self._crc_pos = 0
        return True

    def _add_crc(self) -> None:
        pos = self._pos
        done = self._crc_pos
        if pos > done:
            self._crc = crc64(memoryview(self._window)[done:pos], self._crc)
            self._crc_pos = pos

    def _end_of_file(self, detail: str) -> CorruptData:
        return self.fail(
            f"unexpected end of file: {detail}" if detail else "unexpected end of file"
        )

    # -- lengths and strings -----------------------------------------------------------------

    def length(self) -> int:
        """A length. A string's special encoding in its place is corrupt."""
        pos = self._pos
        if pos < self._end:
            first = self._window[pos]
            if first < 0x40:
                self._pos = pos + 1
                return first
        start = self.offset
        encoded, length = self.length_or_encoding()
        if encoded:
            raise self.fail(f"string encoding {length} where a length was due", offset=start)
        return length

    def length_or_encoding(self) -> tuple[bool, int]:
        """``(False, length)``, or ``(True, encoding)`` of the string that follows."""
        first = self.byte()
        if first >= _ENCODED:
            return True, first & 0x3F
        if first < 0x40:
            return False, first
        if first >> 6 == _LENGTH_14:
            return False, (first & 0x3F) << 8 | self.byte()
        if first == _LENGTH_32:
            return False, int.from_bytes(self.take(4), "big")
        if first == _LENGTH_64:
            return False, int.from_bytes(self.take(8), "big")
        raise self.fail(f"unknown length encoding {first:#04x}", offset=self.offset - 1)

    def string(self) -> bytes:
        """A string in any encoding; integers come spelled in decimal."""
        pos = self._pos
        if pos < self._end:
            window = self._window
            size = window[pos]
            if size < 0x40:
                pos += 1
                stop = pos + size
                if stop <= self._end:
                    self._pos = stop
                    return window[pos:stop]
        value = self._any_string()
        return value if isinstance(value, bytes) else b"%d" % value

    def string_or_int(self) -> bytes | int:
        """A string, as an int if the file has it in an integer encoding."""
        pos = self._pos
        if pos < self._end:
            window = self._window
            size = window[pos]
            if size < 0x40:
                pos += 1
                stop = pos + size
                if stop <= self._end:
                    self._pos = stop
                    return window[pos:stop]
        return self._any_string()

    def strings(self, count: int) -> list[bytes]:
        """So many strings; `string` of each, but faster."""
        found: list[bytes] = []
        window = self._window
        pos = self._pos
        end = self._end
        for _ in range(count):
            if pos < end:
                size = window[pos]
                stop = pos + 1 + size
                if size < 0x40 and stop <= end:
                    found.append(window[pos + 1 : stop])
                    pos = stop
                    continue
            self._pos = pos
            found.append(self.string())
            window = self._window
            pos = self._pos
            end = self._end
        self._pos = pos
        return found

    def pairs(self, mark: int, most: int, first: list[bytes], second: list[object]) -> bool:
        """Two strings behind this byte, as long as such come one behind the other, ``most`` times:
        append the first ones to one list and the second ones to another. False if there are none.

        Stops, nothing of it consumed, before what is not plainly that: a string of 64 bytes or
        more, one in an encoding, one that is not all at hand. So all that was taken can be given
        back.
        """
        window = self._window
        end = self._end
        pos = self._pos
        for _ in range(most):
            at = pos + 2
            if at >= end or window[pos] != mark:
                break
            size = window[pos + 1]
            middle = at + size
            if size >= 0x40 or middle >= end:
                break
            length = window[middle]
            stop = middle + 1 + length
            if length >= 0x40 or stop > end:
                break
            first.append(window[at:middle])
            second.append(window[middle + 1 : stop])
            pos = stop
        found = pos > self._pos
        self._pos = pos
        return found

    def _any_string(self) -> bytes | int:
        pos = self._pos
        if pos + 5 <= self._end:  # most are integers, and at hand
            window = self._window
            first = window[pos]
            if first == _ENCODED:
                self._pos = pos + 2
                number = window[pos + 1]
                return number - 0x100 if number >= 0x80 else number
            if first == _ENCODED | 1:
                self._pos = pos + 3
                number = window[pos + 1] | window[pos + 2] << 8
                return number - 0x10000 if number >= 0x8000 else number
            if first == _ENCODED | _INT_32:
                self._pos = pos + 5
                number = window[pos + 1] | window[pos + 2] << 8
                number |= window[pos + 3] << 16 | window[pos + 4] << 24
                return number - 0x100000000 if number >= 0x80000000 else number
        return self._string_across()

    def _string_across(self) -> bytes | int:
        """As `_any_string`, for all encodings, and wherever the pieces of it lie."""
        start = self.offset
        encoded, value = self.length_or_encoding()
        if not encoded:
            return self.take(value)
        if value == _LZF:
            return self._lzf(start)
        if value > _INT_32:
            raise self.fail(f"unknown string encoding {value}", offset=start)
        number = self.byte()
        if value == 0:
            return number - 0x100 if number >= 0x80 else number
        number |= self.byte() << 8
        if value == 1:
            return number - 0x10000 if number >= 0x8000 else number
        number |= self.byte() << 16 | self.byte() << 24
        return number - 0x100000000 if number >= 0x80000000 else number

    def _lzf(self, start: int) -> bytes:
        packed_size = self.length()
        size = self.length()
        packed = self.take(packed_size)
        try:
            return lzf.decompress(packed, size)
        except ValueError as error:
            raise self.fail(str(error), offset=start) from None

    # -- values as they lie --------------------------------------------------------------------

    def span(self, prefix: bytes, strings: int, longest: int = LONGEST_SPAN) -> bytes | None:
        """These bytes and so many strings behind them as they lie, not decoded.

        None, and nothing is consumed, where something else lies here, where a string is longer
        than ``longest`` (once it is decoded), or where they are not all at hand: a file is read
        in pieces of a megabyte, and a span may cross two of them.
        """
        window = self._window
        start = self._pos
        if prefix and not window.startswith(prefix, start):
            return None
        pos = start + len(prefix)
        stop = min(self._end, start + LONGEST_SPAN)
        for _ in range(strings):
            if pos >= stop:
                return None
            first = window[pos]
            if first < 0x40:
                if first > longest:
                    return None
                pos += 1 + first
            else:
                pos = string_end(window, pos, stop, longest)
                if pos < 0:
                    return None
        if pos > stop:
            return None
        self._pos = pos
        return window[start:pos]

    def give_back(self, count: int) -> None:
        """Let so many bytes be read once more, which `pairs` or a span has just taken."""
        self._pos -= count

    def count(self) -> int:
        """The length of 6 or 14 bits that lies here, not consumed; -1 if there is none."""
        return _short_length(self._window, self._pos, self._end)

    def span_strings(self, strings: int, limit: int, gap: int = 0) -> bytes | None:
        """As `span`, of a `count` and so many strings, each with ``gap`` bytes behind it.

        Then ``over`` tells if a string is longer than ``limit``, and ``words`` that there is one
        that spells no integer (it may be so without).
        """
        window = self._window
        start = self._pos
        stop = min(self._end, start + LONGEST_SPAN)
        pos = start + (1 if window[start] < 0x40 else 2)
        over = words = False
        for _ in range(strings):
            if pos >= stop:
                return None
            first = window[pos]
            if first < 0x40:
                if first > limit:
                    over = True
                pos += 1
                if not words and first > 0 and pos < stop:
                    words = window[pos] > _NINE
                pos += first + gap
            else:
                end = string_end(window, pos, stop, limit)
                if end < 0:
                    end = string_end(window, pos, stop, LONGEST_SPAN)
                    if end < 0:
                        return None
                    over = True
                if first < _ENCODED or first == _ENCODED | _LZF:  # too long for an integer
                    words = True
                pos = end + gap
        if pos > stop:
            return None
        self.over = over
        self.words = words
        self._pos = pos
        return window[start:pos]

    def span_listpack(self, prefix: bytes, most: int, longest: int = LONGEST_SPAN) -> bytes | None:
        """As `span`, of one string that holds a listpack of one to ``most`` entries."""
        # An entry takes 2 bytes at least: of a short listpack the length tells enough.
        enough = _LISTPACK_OVERHEAD + 2 * most
        span = self.span(prefix, 1, min(enough, longest))
        if span is not None and len(span) <= len(prefix) + 1 + _LISTPACK_OVERHEAD:
            self._pos -= len(span)  # empty
            return None
        if span is not None or longest <= enough:
            return span
        span = self.span(prefix, 1, longest)
        if span is None:
            return None
        try:
            head = Reader(span[len(prefix) :]).string()[4:6]
        except CorruptData:
            return span  # for whoever unpacks it to tell
        count = int.from_bytes(head, "little")
        if count <= most and count != _LISTPACK_UNCOUNTED:
            return span
        self._pos -= len(span)
        return None

    # -- numbers -----------------------------------------------------------------------------

    def double(self) -> float:
        """A binary double; may be NaN."""
        number: float = _DOUBLE.unpack(self.take(8))[0]
        return number

    def text_double(self) -> float:
        """A double in decimal, as scores were before RDB version 8; may be NaN."""
        start = self.offset
        size = self.byte()
        if size == 253:
            return math.nan
        if size == 254:
            return math.inf
        if size == 255:
            return -math.inf
        text = self.take(size)
        number = parse_float(text)
        if number is None:
            raise self.fail(f"invalid double {text!r}", offset=start)
        return number

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def i64(self) -> int:
        return int.from_bytes(self.take(8), "little", signed=True)


def string_end(data: bytes, pos: int, stop: int, longest: int) -> int:
    """Where the string at ``pos`` ends, which lies before ``stop``; -1: see `Reader.span`."""
    first = data[pos]
    if first < 0x80:
        size = _short_length(data, pos, stop)
        if not 0 <= size <= longest:
            return -1
        return pos + size + (1 if size < 0x40 else 2)
    if first == _ENCODED | _LZF:
        packed = _short_length(data, pos + 1, stop)
        if packed < 0:
            return -1
        pos += 2 if packed < 0x40 else 3
        size = _short_length(data, pos, stop)
        if not 0 <= size <= longest:
            return -1
        return pos + packed + (1 if size < 0x40 else 2)
    return pos + 1 + (1 << (first & 3)) if _ENCODED <= first <= _ENCODED | _INT_32 else -1


def _short_length(data: bytes, pos: int, stop: int) -> int:
    """The length of 6 or 14 bits, in its shortest form, at a place; -1 if there is none."""
    if pos + 1 >= stop:
        return -1
    first = data[pos]
    if first < 0x40:
        return first
    size = (first & 0x3F) << 8 | data[pos + 1]
    return size if first < 0x80 and size >= 0x40 else -1


def pack_strings(count: int, strings: list[bytes]) -> bytes | None:
    """A length and strings, as `Reader.span_strings` takes them; None if they are too long."""
    writer = Writer(compress=False)
    writer.length(count)
    for string in strings:
        writer.string(string)
    return writer.getvalue() if writer.written <= LONGEST_SPAN else None


def plain_string(value: bytes) -> bytes:
    """A string of less than LONGEST_PLAIN bytes as it is, behind its length."""
    size = len(value)
    if size < 0x40:
        return _BYTE[size] + value
    return (0x4000 | size).to_bytes(2, "big") + value


def skip_length(payload: bytes, at: int = 0) -> int:
    """The size of the length, 1 or 2 bytes, that `plain_string` put here."""
    return 1 if payload[at] < 0x40 else 2


class Writer:
    """Puts RDB primitives together, and hands them to `sink` in pieces of about 256 KiB
    (a longer string in one piece).

    Without a sink the bytes are kept for `getvalue`. With one, `flush` hands over the rest; an
    exception of the sink passes through, and the writer is of no use after it. `compress`
    decides whether strings of more than 20 bytes are tried with LZF. `version` is the RDB version
    whose encodings shall be used: nothing here depends on it, but the data types' ``save`` does.
    """

    version: int
    _sink: Callable[[bytes], object]
    _chunks: list[bytes]  # where the sink of a writer without one puts them
    _out: Output
    _pending: int  # bytes in it
    _flushed: int
    _compress: bool
    _checksum: bool
    _crc: int

    def __init__(
        self,
        sink: Callable[[bytes], object] | None = None,
        *,
        compress: bool = True,
        checksum: bool = False,
        version: int = VERSION,
    ) -> None:
        self.version = version
        self._chunks = []
        self._sink = self._chunks.append if sink is None else sink
        self._out = Output()
        self._pending = self._flushed = self._crc = 0
        self._compress = compress
        self._checksum = checksum

    # -- what was written --------------------------------------------------------------------

    @property
    def written(self) -> int:
        """How many bytes have been written, handed over or not."""
        return self._flushed + self._pending

    @property
    def crc(self) -> int:
        """CRC-64 of the bytes written so far, which are handed over; 0 unless made with
        ``checksum=True``."""
        self.flush()
        return self._crc

    def flush(self) -> None:
        """Hand over what is pending. Says nothing about disks."""
        if self._pending:
            data = b"".join(self._out.take())  # copies nothing if it is one piece already
            if self._checksum:
                self._crc = crc64(data, self._crc)
            self._flushed += self._pending
            self._pending = 0
            self._sink(data)

    def getvalue(self) -> bytes:
        """Everything written, of a writer without a sink."""
        self.flush()
        return b"".join(self._chunks)

    # -- bytes -------------------------------------------------------------------------------

    def byte(self, value: int) -> None:
        self.raw(_BYTE[value])

    def raw(self, data: bytes) -> None:
        """`data` as it is, without a length."""
        size = len(data)
        if size >= _WRITE_SIZE:
            self.flush()  # so that `data` is handed over by itself, uncopied
        self._out.write(data)
        self._pending += size
        if self._pending >= _WRITE_SIZE:
            self.flush()

    # -- lengths and strings -----------------------------------------------------------------

    def length(self, value: int) -> None:
        if value < 0x40:
            self.raw(_BYTE[value])
        elif value < 0x4000:
            self.raw((0x4000 | value).to_bytes(2, "big"))
        elif value < 2**32:
            self.raw(b"\x80" + value.to_bytes(4, "big"))
        else:
            self.raw(b"\x81" + value.to_bytes(8, "big"))

    def string(self, value: bytes) -> None:
        """`value` in the encoding that Redis chooses: integer, LZF, or as it is."""
        size = len(value)
        if size < 0x40:
            if size <= 11:
                if size and value[0] <= _NINE and self._try_integer(value):
                    return
            elif size > 20 and self._compress and self._try_lzf(value):
                return
            out = self._out
            out.write(_BYTE[size])
            out.write(value)
            self._pending += size + 1
            if self._pending >= _WRITE_SIZE:
                self.flush()
        elif not (self._compress and self._try_lzf(value)):
            self.length(size)
            self.raw(value)

    def integer(self, value: int) -> None:
        """The string that spells `value`, an int64."""
        if COMPILED and -(2**31) <= value < 2**31:
            if -(2**7) <= value < 2**7:
                self.raw(_INT_8[value & 0xFF])
            elif -(2**15) <= value < 2**15:
                self.raw((_ENCODED | 1 | (value & 0xFFFF) << 8).to_bytes(3, "little"))
            else:
                self.raw((_ENCODED | _INT_32 | (value & 0xFFFFFFFF) << 8).to_bytes(5, "little"))
        elif -(2**7) <= value < 2**7:
            self.raw(_PACK_8(_ENCODED, value))
        elif -(2**15) <= value < 2**15:
            self.raw(_PACK_16(_ENCODED | 1, value))
        elif -(2**31) <= value < 2**31:
            self.raw(_PACK_32(_ENCODED | _INT_32, value))
        else:
            text = b"%d" % value
            self.raw(_BYTE[len(text)] + text)

    def _try_integer(self, value: bytes) -> bool:
        number = parse_int(value)
        if number is None or not -(2**31) <= number < 2**31:
            return False
        self.integer(number)
        return True

    def packed(self, payload: bytes, at: int) -> None:
        """A payload as it lies, which holds one string, from byte ``at`` to its end. That is tried
        with LZF if it is not compressed."""
        first = payload[at]
        if self._compress and first < _ENCODED:
            start = at + (1 if first < 0x40 else 2)
            if first < 0x80 and len(payload) - start > 20:
                value = payload[start:]
                squeezed = lzf.compress(value)
                if squeezed is not None:
                    self.raw(payload[:at])
                    self._lzf(squeezed, len(value))
                    return
        self.raw(payload)

    def packed_strings(self, payload: bytes, gap: int) -> None:
        """A payload of MANY_STRINGS as it lies, each string tried with LZF that is not compressed.
        It is one that `Reader.span_strings` took or that `pack_strings` made."""
        if not self._compress:
            self.raw(payload)
            return
        end = len(payload)
        done = 0  # what lies before is written
        at = 1 if payload[0] < 0x40 else 2
        while at < end:
            first = payload[at]
            if first < 0x40:
                start = at + 1
                stop = start + first
            elif first < 0x80:
                start = at + 2
                stop = start + ((first & 0x3F) << 8 | payload[at + 1])
            else:
                start = stop = string_end(payload, at, end, LONGEST_SPAN)
            if stop - start > 20:
                value = payload[start:stop]
                squeezed = lzf.compress(value)
                if squeezed is not None:
                    self.raw(payload[done:at])
                    self._lzf(squeezed, stop - start)
                    done = stop
            at = stop + gap
        self.raw(payload[done:])

    def _try_lzf(self, value: bytes) -> bool:
        packed = lzf.compress(value)
        if packed is None:
            return False
        self._lzf(packed, len(value))
        return True

    def _lzf(self, packed: bytes, size: int) -> None:
        self.byte(_ENCODED | _LZF)
        self.length(len(packed))
        self.length(size)
        self.raw(packed)

    # -- numbers -----------------------------------------------------------------------------

    def double(self, value: float) -> None:
        self._out.double(value)
        self._pending += 8
        if self._pending >= _WRITE_SIZE:
            self.flush()

    def u32(self, value: int) -> None:
        self.raw(value.to_bytes(4, "little"))

    def u64(self, value: int) -> None:
        self.raw(value.to_bytes(8, "little"))

    def i64(self, value: int) -> None:
        self.raw(value.to_bytes(8, "little", signed=True))
