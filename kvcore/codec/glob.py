"""Redis' glob (``stringmatchlen`` in its util.c): KEYS, SCAN MATCH, PSUBSCRIBE, ACLs, CONFIG GET.

============  ==============================================================
``*``         any bytes, also none
``?``         one byte
``[abc0-9]``  one byte of the class; an unclosed class ends with the pattern
``[^abc]``    one byte that is not of the class
``\\x``        the byte x, whatever it means otherwise, also inside a class
============  ==============================================================

A pattern is cut at its stars into segments, each of which takes a fixed number of bytes. The
first and the last are tied to the ends of the string; every other one takes the leftmost place
where it fits, which leaves the most room to its successors. So nothing is ever tried again, and
no pattern takes longer than ``len(pattern) * len(string)``. Patterns and strings come from
clients: what is over a limit below simply does not match.

As in Redis: class bounds compare as C's signed chars of x86, so ``[a-\\xff]`` means \\xff to a;
and to the empty string match only the empty pattern and ``*``, not ``**``.
"""

from __future__ import annotations

from typing import Final

MAX_STARS: Final = 1000  # as Redis since CVE-2024-31228; a star at the end is not counted
MAX_STEPS: Final = 1 << 22  # comparisons in Python for one string; plain bytes cost none

_STAR: Final = 42
_DASH: Final = 45
_QUESTION: Final = 63
_OPEN: Final = 91
_BACKSLASH: Final = 92
_CLOSE: Final = 93
_CARET: Final = 94

# A set of bytes is an int while it is built: bit ``byte ^ 128`` stands for `byte`, so that the
# bits lie in the order of signed chars and a range is a run of ones.
_ALL: Final = (1 << 256) - 1
_UPPER: Final = ((1 << 26) - 1) << (ord("A") ^ 128)
_LOWER: Final = ((1 << 26) - 1) << (ord("a") ^ 128)
_CASE: Final = ord("a") - ord("A")


class Segment:
    """What stands between two stars: one set of bytes for each place, as a map of 256 bits."""

    size: int
    literal: bytes  # used if `plain`
    plain: bool  # every place takes exactly one byte
    maps: list[bytes]

    def __init__(self, sets: list[int]) -> None:
        self.size = len(sets)
        self.plain = all(members & (members - 1) == 0 and members for members in sets)
        self.literal = b""
        self.maps = []
        if self.plain:
            self.literal = bytes([(members.bit_length() - 1) ^ 128 for members in sets])
        else:
            self.maps = [members.to_bytes(32, "little") for members in sets]

    def fits(self, string: bytes, at: int) -> bool:
        """Whether the segment matches `string` from `at` on; the caller knows that it has room."""
        if self.plain:
            return string.startswith(self.literal, at)
        for members in self.maps:
            byte = string[at] ^ 128
            if not members[byte >> 3] >> (byte & 7) & 1:
                return False
            at += 1
        return True


class Glob:
    """A pattern made ready for many strings; see the module for its meaning."""

    pattern: bytes
    nocase: bool
    _first: Segment
    _middle: list[Segment]
    _last: Segment
    _stars: bool
    _least: int
    _hopeless: bool

    def __init__(self, pattern: bytes, nocase: bool = False) -> None:
        self.pattern = pattern
        self.nocase = nocase
        segments = _cut(pattern, nocase)
        self._first = segments[0]
        self._middle = [segment for segment in segments[1:-1] if segment.size]
        self._last = segments[-1]
        self._stars = len(segments) > 1
        self._least = sum([segment.size for segment in segments])
        self._hopeless = len(self._middle) + (self._last.size > 0) > MAX_STARS

    def match(self, string: bytes) -> bool:
        size = len(string)
        if size == 0:
            return self.pattern in (b"", b"*")
        if size < self._least or self._hopeless:
            return False
        if not self._stars:
            return size == self._least and self._first.fits(string, 0)
        end = size - self._last.size
        if not (self._first.fits(string, 0) and self._last.fits(string, end)):
            return False
        at = self._first.size
        steps = MAX_STEPS
        for segment in self._middle:
            if segment.plain:
                at = string.find(segment.literal, at, end)
                if at < 0:
                    return False
            else:
                last = end - segment.size
                while at <= last and steps > 0 and not segment.fits(string, at):
                    at += 1
                    steps -= segment.size
                if at > last or steps <= 0:
                    return False
            at += segment.size
        return True


def glob_match(pattern: bytes, string: bytes, nocase: bool = False) -> bool:
    """Whether all of `string` matches `pattern`. For many strings, keep a `Glob`."""
    key = (pattern, nocase)
    glob = _recent.get(key)
    if glob is None:
        glob = Glob(pattern, nocase)
        if len(pattern) <= _RECENT_BYTES:
            if len(_recent) >= _RECENT_PATTERNS:
                _recent.clear()
            _recent[key] = glob
    return glob.match(string)


_RECENT_PATTERNS: Final = 256
_RECENT_BYTES: Final = 256
_recent: dict[tuple[bytes, bool], Glob] = {}


def _cut(pattern: bytes, nocase: bool) -> list[Segment]:
    """The segments around the stars of `pattern`: one more than there are stars."""
    segments: list[Segment] = []
    sets: list[int] = []
    at = 0
    size = len(pattern)
    while at < size:
        byte = pattern[at]
        at += 1
        if byte == _STAR:
            # Of several stars in a row, one counts.
            if sets or not segments:
                segments.append(Segment(sets))
                sets = []
        elif byte == _QUESTION:
            sets.append(_ALL)
        elif byte == _OPEN:
            members, at = _read_class(pattern, at, nocase)
            sets.append(members)
        else:
            if byte == _BACKSLASH and at < size:
                byte = pattern[at]
                at += 1
            sets.append(_one(byte, nocase))
    segments.append(Segment(sets))
    return segments


def _read_class(pattern: bytes, at: int, nocase: bool) -> tuple[int, int]:
    """The set of the class whose ``[`` stands before `at`, and where the pattern goes on."""
    size = len(pattern)
    negated = at < size and pattern[at] == _CARET
    if negated:
        at += 1
    members = 0
    while at < size:
        byte = pattern[at]
        if byte == _BACKSLASH and at + 1 < size:
            members |= _one(pattern[at + 1], False)  # as Redis: escaped, its case counts
            at += 2
        elif byte == _CLOSE:
            at += 1
            break
        elif at + 2 < size and pattern[at + 1] == _DASH:
            members |= _range(byte, pattern[at + 2], nocase)  # as Redis: even up to a "]"
            at += 3
        else:
            members |= _one(byte, nocase)
            at += 1
    return (_ALL ^ members if negated else members), at


def _one(byte: int, nocase: bool) -> int:
    members = 1 << (byte ^ 128)
    if nocase:
        if members & _UPPER:
            members |= members << _CASE
        elif members & _LOWER:
            members |= members >> _CASE
    return members


def _range(start: int, end: int, nocase: bool) -> int:
    """The bytes from `start` to `end`, in either order; without case, those whose lower case is
    between the lower case of both."""
    low = min(start ^ 128, end ^ 128)
    high = max(start ^ 128, end ^ 128)
    if nocase:
        low = _lower(low)
        high = _lower(high)
    if low > high:
        return 0
    members = ((1 << (high - low + 1)) - 1) << low
    if nocase:
        members = members & ~_UPPER | (members & _LOWER) >> _CASE
    return members


def _lower(bit: int) -> int:
    return bit + _CASE if _UPPER >> bit & 1 else bit
