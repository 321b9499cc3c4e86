"""How Redis reads the bounds of ranges, and how it spells scores."""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import UNDERSCORE, parse_float
from kvcore.errors import CommandError
from kvcore.families.zsets.value import LISTPACK, ZSet, spell_packed

# A range of scores: both ends, and whether each is exclusive.
ScoreRange = tuple[float, bool, float, bool]
# A range of members: the same; None is an open end.
LexRange = tuple[bytes | None, bool, bytes | None, bool]

_SPACES: Final = b" \t\n\v\f\r"


# Bounds ---------------------------------------------------------------------------------------


def score_range(low: bytes, high: bytes) -> ScoreRange:
    """``(`` in front makes a bound exclusive; raises CommandError."""
    low_ex = low.startswith(b"(")
    high_ex = high.startswith(b"(")
    least = _strtod(low[1:] if low_ex else low)
    most = _strtod(high[1:] if high_ex else high)
    if least is None or most is None:
        raise CommandError("ERR min or max is not a float")
    return least, low_ex, most, high_ex


def _strtod(text: bytes) -> float | None:
    """A bound as C reads it, unlike a score: spaces may lead, nothing at all is 0, what is too
    great is infinite, and a NUL ends it. None for NaN and for what is no number."""
    text = text.partition(b"\0")[0]
    if not text:
        return 0.0
    text = text.lstrip(_SPACES)
    if not text or text[-1] <= 32 or UNDERSCORE in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return parse_float(text)  # hexadecimal
    return number if number == number else None


def lex_range(low: bytes, high: bytes) -> LexRange | None:
    """``[`` or ``(`` and a member, ``-`` or ``+``. None if nothing can lie in the range because it
    starts at ``+`` or ends at ``-``; raises CommandError."""
    if not (_is_lex_bound(low) and _is_lex_bound(high)):
        raise CommandError("ERR min or max not valid string range item")
    if low == b"+" or high == b"-":
        return None
    least = None if low == b"-" else low[1:]
    most = None if high == b"+" else high[1:]
    return least, low.startswith(b"("), most, high.startswith(b"(")


def _is_lex_bound(text: bytes) -> bool:
    return text.startswith((b"[", b"(")) or text in (b"-", b"+")


# Spelling -------------------------------------------------------------------------------------


def spell(zset: ZSet, score: float) -> bytes:
    """A score as ZSCAN answers it: as it is stored."""
    return spell_packed(score) if zset.encoding is LISTPACK else b"%.17g" % score
