"""Numbers as Redis reads and prints them; what it refuses gives None.

Three kinds: 64-bit integers (INCR, encodings), doubles (scores), and the 80-bit long doubles of
x86, in which INCRBYFLOAT and HINCRBYFLOAT calculate. Python has no such float, so `LongDouble`
is exact integer arithmetic, rounded where the processor rounds.

Python's own `int` and `float` take more than Redis does (``1_0``, `` 4``, ``+4``, Arabic digits)
and are asked only about bytes that cannot contain those.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

COMPILED: Final = not __file__.endswith(".py")  # where a loop is quicker than two calls
_SURE_DIGITS: Final = 18  # all such numbers are int64

_MINUS: Final = 45
UNDERSCORE: Final = 95
_ZERO: Final = 48
_NINE: Final = 57
_WHOLE: Final = 1e17  # a whole number below is spelled by 17 digits
_EXACT_DIGITS: Final = 16  # fewer than these, and the number is a double


def parse_int(text: bytes) -> int | None:
    """The int64 that `text` spells canonically, else None (Redis: string2ll).

    Canonically: ``b"%d" % n == text``, so no plus, spaces, leading zeros or ``-0``.
    """
    size = len(text)
    if size == 0 or size > 20:
        return None
    first = text[0]
    if first > _NINE:
        return None
    if first > _ZERO:
        if COMPILED and size <= _SURE_DIGITS:
            number = _digits(text, 0)
            return number if number >= 0 else None
        if text.isdigit():
            number = int(text)
            if number <= INT64_MAX:
                return number
    elif first == _ZERO:
        if size == 1:
            return 0
    elif first == _MINUS and size > 1 and text[1] != _ZERO:
        if COMPILED and size <= _SURE_DIGITS:
            number = _digits(text, 1)
            return -number if number >= 0 else None
        if text[1:].isdigit():
            number = int(text)
            if number >= INT64_MIN:
                return number
    return None


def _digits(text: bytes, start: int) -> int:
    """The number that up to 18 digits from a place on spell; -1 if there is anything else."""
    number: i64 = 0
    digit: i64
    place: i64 = start
    size: i64 = len(text)
    while place < size:
        digit = text[place]
        if digit < _ZERO or digit > _NINE:
            return -1
        number = number * 10 + digit - _ZERO
        place += 1
    return number


def parse_float(text: bytes) -> float | None:
    """The double that the whole of `text` spells in C (Redis: getDoubleFromObject), else None.

    Infinity has to be written as such: an overflow is refused, and so is an underflow to
    zero, NaN, and white space. Hexadecimal floats are taken.
    """
    if COMPILED and 0 < len(text) < _EXACT_DIGITS:
        whole = _digits(text, 0)
        if whole >= 0:
            return float(whole)
    elif text.isdigit() and len(text) < _EXACT_DIGITS:
        return float(text)
    if not text or text[0] <= 32 or text[-1] <= 32 or UNDERSCORE in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return _parse_hex_float(text)
    if number - number != 0.0:  # an infinity or NaN
        return number if _INFINITY.fullmatch(text) else None
    if number == 0.0 and _significant(text):
        return None
    return number


def format_double(number: float) -> bytes:
    """`number` as Redis 7.0 replies it in RESP2: ``3``, ``0.10000000000000001``, ``-inf``."""
    if -_WHOLE < number < _WHOLE:
        whole = int(number)
        if whole == number and whole != 0:  # the sign of zero is kept
            return b"%d" % whole
    return b"%.17g" % number


_INFINITY: Final = re.compile(rb"([+-]?)inf(?:inity)?", re.IGNORECASE)
_DECIMAL: Final = re.compile(rb"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0[xX]([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?[0-9]+))?"
)


def _significant(text: bytes) -> bool:
    """Whether the digits of the decimal number `text`, before its exponent, are not all zero."""
    return text.lower().partition(b"e")[0].strip(b"+-.0") != b""


def _parse_hex_float(text: bytes) -> float | None:
    match = _HEXADECIMAL.fullmatch(text)
    if match is None:
        return None
    digits = match[2] + (match[3] or b"")
    try:
        number = float.fromhex(text.decode())
    except (ValueError, OverflowError):
        return None
    return number if number != 0.0 or not digits.strip(b"0") else None


# --- Long doubles ---------------------------------------------------------------------------

_MANTISSA_BITS: Final = 64
_MIN_EXPONENT: Final = -16445  # of the last bit of a denormal
_MAX_BITS: Final = 16384  # the greatest finite number is below 2**16384
_MAX_TEXT: Final = 5 * 1024  # Redis refuses longer texts before it looks at them
_FRACTION_DIGITS: Final = 17
_FRACTION_SCALE: Final = 10**_FRACTION_DIGITS
# int() and "%d" refuse more than 4300 digits at once; a long double has up to 4933.
_PIECE_DIGITS: Final = 4000
_PIECE_SCALE: Final = 10**_PIECE_DIGITS


class LongDouble:
    """An x86 long double: ``mantissa * 2**exponent`` with 64 bits of mantissa, or an infinity.

    An infinity's `mantissa` is 1 or -1. There is no NaN and no negative zero: Redis refuses
    the first and prints the second as 0.
    """

    mantissa: int
    exponent: int
    infinite: bool

    def __init__(self, mantissa: int, exponent: int, infinite: bool = False) -> None:
        self.mantissa = mantissa
        self.exponent = exponent
        self.infinite = infinite

    def plus(self, other: LongDouble) -> LongDouble | None:
        """The sum, rounded to nearest, ties to even; None if it is not finite."""
        if self.infinite or other.infinite:
            return None
        exponent = min(self.exponent, other.exponent)
        total = (self.mantissa << (self.exponent - exponent)) + (
            other.mantissa << (other.exponent - exponent)
        )
        result = _nearest(total, 1, exponent)
        return None if result.infinite else result

    def format(self) -> bytes:
        """``%.17Lf`` without trailing zeros (Redis: ld2string, LD_STR_HUMAN)."""
        if self.infinite:
            return b"inf" if self.mantissa > 0 else b"-inf"
        scaled = abs(self.mantissa) * _FRACTION_SCALE
        if self.exponent >= 0:
            scaled <<= self.exponent
        else:
            scaled = _divide(scaled, 1 << -self.exponent)
        whole, fraction = divmod(scaled, _FRACTION_SCALE)
        text = _to_digits(whole)
        if fraction:
            text += b"." + (b"%017d" % fraction).rstrip(b"0")
        return b"-" + text if self.mantissa < 0 and scaled else text


def parse_long_double(text: bytes) -> LongDouble | None:
    """The long double that the whole of `text` spells in C (Redis: string2ld), else None.

    The same rules as `parse_float`, and fewer than 5120 bytes.
    """
    if len(text) >= _MAX_TEXT:
        return None
    match = _DECIMAL.fullmatch(text)
    if match is not None:
        return _from_decimal(match[1], match[2], match[3] or b"", match[4] or b"0")
    match = _HEXADECIMAL.fullmatch(text)
    if match is not None:
        return _from_hexadecimal(match[1], match[2], match[3] or b"", match[4] or b"0")
    match = _INFINITY.fullmatch(text)
    if match is not None:
        return LongDouble(-1 if match[1] == b"-" else 1, 0, True)
    return None


def long_double_add(a: bytes, b: bytes) -> bytes:
    """``a + b`` as INCRBYFLOAT stores it.

    Raises ValueError, worded as the reply of Redis without its ``ERR``, when one of them is no
    float or when the sum is not finite.
    """
    left = parse_long_double(a)
    right = parse_long_double(b)
    if left is None or right is None:
        raise ValueError("value is not a valid float")
    total = left.plus(right)
    if total is None:
        raise ValueError("increment would produce NaN or Infinity")
    return total.format()


def _from_decimal(sign: bytes, whole: bytes, fraction: bytes, power: bytes) -> LongDouble | None:
    if not whole and not fraction:
        return None
    digits = (whole + fraction).lstrip(b"0")
    if not digits:
        return LongDouble(0, 0)
    exponent = _parse_power(power) - len(fraction)
    # Far out of range either way: decided here, before 10**exponent is computed.
    if not -4970 < len(digits) + exponent < 4940:
        return None
    number = _from_digits(digits)
    if sign == b"-":
        number = -number
    if exponent >= 0:
        return _in_range(_nearest(number * 10**exponent, 1, 0))
    return _in_range(_nearest(number, 10**-exponent, 0))


def _from_hexadecimal(
    sign: bytes, whole: bytes, fraction: bytes, power: bytes
) -> LongDouble | None:
    if not whole and not fraction:
        return None
    number = int(whole + fraction, 16)
    if number == 0:
        return LongDouble(0, 0)
    exponent = _parse_power(power) - 4 * len(fraction)
    if not -16460 < number.bit_length() + exponent < 16400:
        return None
    return _in_range(_nearest(-number if sign == b"-" else number, 1, exponent))


def _in_range(number: LongDouble) -> LongDouble | None:
    """None for what C reports as ERANGE: digits that overflow, or underflow to zero."""
    return None if number.infinite or number.mantissa == 0 else number


def _nearest(numerator: int, denominator: int, exponent: int) -> LongDouble:
    """The long double nearest to ``numerator / denominator * 2**exponent``, ties to even."""
    size = abs(numerator)
    if size == 0:
        return LongDouble(0, 0)
    # The quotient lies in 2**(bits-1) .. 2**(bits+1); the shift leaves it 64 bits, or fewer
    # where that would be finer than a denormal.
    bits = size.bit_length() - denominator.bit_length()
    if (size << -bits if bits < 0 else size) >= (denominator << bits if bits > 0 else denominator):
        bits += 1
    result_exponent = max(exponent + bits - _MANTISSA_BITS, _MIN_EXPONENT)
    shift = exponent - result_exponent
    if shift >= 0:
        mantissa = _divide(size << shift, denominator)
    else:
        mantissa = _divide(size, denominator << -shift)
    if mantissa.bit_length() + result_exponent > _MAX_BITS:
        return LongDouble(1 if numerator > 0 else -1, 0, True)
    return LongDouble(mantissa if numerator > 0 else -mantissa, result_exponent)


def _divide(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` of non-negative integers, rounded to nearest, ties to even."""
    quotient, rest = divmod(numerator, denominator)
    rest *= 2
    if rest > denominator or (rest == denominator and quotient & 1):
        quotient += 1
    return quotient


def _parse_power(text: bytes) -> int:
    """An exponent; one of more digits than can matter becomes a number that is too great, too."""
    digits = text.lstrip(b"+-").lstrip(b"0")
    number = int(digits or b"0") if len(digits) < 10 else 10**9
    return -number if text[:1] == b"-" else number


def _from_digits(digits: bytes) -> int:
    if len(digits) <= _PIECE_DIGITS:
        return int(digits)
    return int(digits[:-_PIECE_DIGITS]) * _PIECE_SCALE + int(digits[-_PIECE_DIGITS:])


def _to_digits(number: int) -> bytes:
    if number < _PIECE_SCALE:
        return b"%d" % number
    high, low = divmod(number, _PIECE_SCALE)
    return b"%d%04000d" % (high, low)
