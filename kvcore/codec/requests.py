r"""Requests as a log holds them: ``*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n``, in canonical spelling.

What clients send is for `kvcore.resp`, which takes much more.
"""

from __future__ import annotations

from typing import Final

_STAR: Final = 42
_DOLLAR: Final = 36
_ZERO: Final = 48
_CR: Final = 13
_LF: Final = 10
_MOST_DIGITS: Final = 10


def read_request(data: bytes, start: int, argv: list[bytes]) -> int:
    """Append the arguments of the request at ``start`` to ``argv``; returns where it ends.

    -1 if no whole request lies there. What then is in ``argv`` is of no use.
    """
    end = len(data)
    count, at = _header(data, start, end, _STAR)
    if count <= 0:
        return -1
    for _ in range(count):
        size, at = _header(data, at, end, _DOLLAR)
        stop = at + size
        if size < 0 or stop + 2 > end or data[stop] != _CR or data[stop + 1] != _LF:
            return -1
        argv.append(data[at:stop])
        at = stop + 2
    return at


def _header(data: bytes, at: int, end: int, mark: int) -> tuple[int, int]:
    """The number of a header line that begins with ``mark``, and where the line ends; -1 if it is
    not such a line."""
    stop = at + 1
    if stop >= end or data[at] != mark:
        return -1, at
    digit = data[stop] - _ZERO
    number = 0
    while 0 <= digit <= 9:
        number = number * 10 + digit
        stop += 1
        if stop >= end:
            return -1, at
        digit = data[stop] - _ZERO
    digits = stop - at - 1
    if stop + 1 >= end or data[stop] != _CR or data[stop + 1] != _LF:
        return -1, at
    if not 0 < digits <= _MOST_DIGITS or (digits > 1 and data[at + 1] == _ZERO):
        return -1, at
    return number, stop + 2
