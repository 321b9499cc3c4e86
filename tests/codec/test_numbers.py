"""Numbers are read and printed as redis-server reads and prints them."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvcore.codec.numbers import (
    INT64_MAX,
    INT64_MIN,
    format_double,
    long_double_add,
    parse_float,
    parse_int,
    parse_long_double,
)
from tests.codec.reference import Reference

digits = st.text("0123456789", max_size=25)
sign = st.sampled_from(["", "", "-", "+"])
power = st.one_of(
    st.just(""),
    st.integers(-30, 30).map("e{}".format),
    st.integers(-5200, 5200).map("E{:+}".format),
)
decimals = st.builds("{}{}{}{}{}".format, sign, digits, st.sampled_from(["", "."]), digits, power)
hexadecimals = st.builds(
    "{}0x{}{}{}{}".format,
    sign,
    st.text("0123456789abcDEF", max_size=25),
    st.sampled_from(["", "."]),
    st.text("0123456789abcDEF", max_size=5),
    st.one_of(st.just(""), st.integers(-17000, 17000).map("p{}".format)),
)
noise = st.text(" \t\n_+-.0123456789eEpPxXinfaINFA()\x00٣", max_size=8)
numerals = st.one_of(decimals, hexadecimals, noise).map(str.encode)

ODD = [
    b"", b" 1", b"1 ", b"\t1", b"1\n", b"1\x00", b"1_0", b"0x_1", b"+1", b"--1", b"00012", b"-0",
    b".", b".5", b"5.", b"-.5", b"1e", b"1e+", b"1e+5", b"1d5", b"1f", b"1L", b"0b1", b"0x", b"0x.",
    b"0x1p", b"0x10", b"0X.8P1", b"0x1.p-3", b"\xd9\xa1", b"\xff", b"inf", b"-inf", b"+INF",
    b"Infinity", b"infinit", b"nan", b"-nan", b"NAN", b"nan(12)", b"0e99999999999999999999",
    b"0x0p99999999999999999999", b"1e99999999999999999999", b"1e-99999999999999999999",
]  # fmt: skip


class TestIntegers:
    @given(st.integers(INT64_MIN - 5, INT64_MAX + 5))
    @example(INT64_MIN)
    @example(INT64_MAX)
    @example(INT64_MIN - 1)
    @example(INT64_MAX + 1)
    def test_reads_what_fits_64_bits(self, number: int) -> None:
        expected = number if INT64_MIN <= number <= INT64_MAX else None
        assert parse_int(b"%d" % number) == expected

    @given(numerals)
    def test_takes_only_the_canonical_spelling(self, text: bytes) -> None:
        number = parse_int(text)
        if number is not None:
            assert b"%d" % number == text

    @settings(deadline=None, max_examples=300)
    @given(st.one_of(numerals, st.integers(-(2**65), 2**65).map(lambda n: b"%d" % n)))
    def test_agrees_with_incrby(self, reference: Reference, text: bytes) -> None:
        self.check(reference, text)

    @pytest.mark.parametrize("text", ODD)
    def test_agrees_with_incrby_about_odd_spellings(
        self, reference: Reference, text: bytes
    ) -> None:
        self.check(reference, text)

    def check(self, reference: Reference, text: bytes) -> None:
        reference("SET", "n", 0)
        reply = reference("INCRBY", "n", text)
        expected = reply if isinstance(reply, int) else None
        assert parse_int(text) == expected


class TestDoubles:
    @settings(deadline=None, max_examples=500)
    @given(st.one_of(numerals, st.floats().map(repr).map(str.encode)))
    def test_agrees_with_zadd(self, reference: Reference, text: bytes) -> None:
        self.check(reference, text)

    @pytest.mark.parametrize(
        "text", [*ODD, b"1e400", b"-1e400", b"1e-400", b"1e-320", b"0x1p2000", b"0x1p-2000"]
    )
    def test_agrees_with_zadd_about_odd_spellings(self, reference: Reference, text: bytes) -> None:
        self.check(reference, text)

    def check(self, reference: Reference, text: bytes) -> None:
        reference("DEL", "z")
        reply = reference("ZADD", "z", text, "member")
        number = parse_float(text)
        assert (number is not None) == (reply == 1), (text, reply)
        if number is not None:
            # A packed sorted set forgets the sign of zero.
            assert format_double(number or 0.0) == reference("ZSCORE", "z", "member")

    @settings(deadline=None)
    @given(st.floats(allow_nan=False, allow_infinity=False))
    @example(1e17)
    @example(99999999999999999.0)
    @example(-5e-324)
    @example(1.7976931348623157e308)
    def test_printing_agrees_and_loses_nothing(self, reference: Reference, number: float) -> None:
        text = format_double(number)
        assert struct.pack("<d", float(text)) == struct.pack("<d", number)
        reference("DEL", "z")
        assert reference("ZINCRBY", "z", repr(number or 0.0), "m") == format_double(number or 0.0)

    def test_infinities(self) -> None:
        assert format_double(math.inf) == b"inf"
        assert format_double(-math.inf) == b"-inf"


# Redis keeps at most 5119 bytes of a float; Python reads at most 4300 digits at once.
LONG = [b"1" * 4900, b"1" * 5119, b"0" * 5118 + b"1", b"0" * 5119 + b"1", b"0." + b"3" * 5100]
EDGES = [
    (b"0.1", b"0.2"), (b"1", b"1e-20"), (b"18446744073709551615", b"1"),
    (b"36893488147419103232", b"1"), (b"36893488147419103232", b"3"), (b"1e4932", b"1e4932"),
    (b"1.18973149535723176502e4932", b"0"), (b"1.18973149535723176508575932662800702e4932", b"0"),
    (b"3.6e-4951", b"0"), (b"1e-4960", b"0"), (b"1e-400", b"1"), (b"-0", b"0"),
    (b"-0.0", b"-1e-18"), (b"5e-18", b"0"), (b"1.5e-17", b"0"), (b"-3e-18", b"0"),
    (b"0x1p-16445", b"0"), (b"0x1p-16446", b"0"), (b"0x1.8p-16446", b"0"),
    (b"0x1p16383", b"0"), (b"0x1p16384", b"0"), (b"0x1p16383", b"0x1p16383"),
    (b"0x1p-18", b"0x1p-19"), (b"3.0e3", b"200"), (b"inf", b"-inf"), (b"inf", b"1"),
]  # fmt: skip


class TestLongDoubles:
    @settings(deadline=None, max_examples=600)
    @given(numerals, numerals)
    def test_agrees_with_incrbyfloat(self, reference: Reference, a: bytes, b: bytes) -> None:
        self.check(reference, a, b)

    @settings(deadline=None, max_examples=300)
    @given(
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9),
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9),
    )
    def test_agrees_about_everyday_amounts(
        self, reference: Reference, a: Decimal, b: Decimal
    ) -> None:
        self.check(reference, f"{a:f}".encode(), f"{b:f}".encode())

    @settings(deadline=None, max_examples=300)
    @given(
        st.integers(-(2**64), 2**64), st.integers(-200, 200),
        st.integers(-(2**64), 2**64), st.integers(-200, 200),
    )  # fmt: skip
    def test_agrees_about_rounding(
        self, reference: Reference, m: int, e: int, n: int, f: int
    ) -> None:
        self.check(reference, self.hexadecimal(m, e), self.hexadecimal(n, f))

    @settings(deadline=None, max_examples=60)
    @given(st.integers(-(2**64), 2**64), st.integers(-16600, 16400))
    def test_agrees_about_the_whole_range(self, reference: Reference, m: int, e: int) -> None:
        self.check(reference, self.hexadecimal(m, e), b"0")

    @pytest.mark.parametrize("text", [*ODD, *LONG])
    def test_agrees_about_odd_spellings(self, reference: Reference, text: bytes) -> None:
        self.check(reference, text, b"1")
        self.check(reference, b"1", text)

    @pytest.mark.parametrize(("a", "b"), EDGES)
    def test_agrees_at_the_edges(self, reference: Reference, a: bytes, b: bytes) -> None:
        self.check(reference, a, b)
        self.check(reference, b, a)

    def hexadecimal(self, mantissa: int, exponent: int) -> bytes:
        return f"{'-' if mantissa < 0 else ''}{hex(abs(mantissa))}p{exponent}".encode()

    def check(self, reference: Reference, a: bytes, b: bytes) -> None:
        reference("SET", "f", a)
        assert self.add(a, b) == reference("INCRBYFLOAT", "f", b)
        reference("DEL", "h")
        reference("HSET", "h", "f", a)
        assert self.add_in_hash(a, b) == reference("HINCRBYFLOAT", "h", "f", b)

    def add(self, a: bytes, b: bytes) -> object:
        try:
            return long_double_add(a, b)
        except ValueError as error:
            return str(error)

    def add_in_hash(self, a: bytes, b: bytes) -> object:
        """HINCRBYFLOAT words its errors itself, which takes the two steps apart."""
        increment = parse_long_double(b)
        if increment is None:
            return "value is not a valid float"
        if increment.infinite:
            return "value is NaN or Infinity"
        value = parse_long_double(a)
        if value is None:
            return "hash value is not a float"
        total = value.plus(increment)
        return "increment would produce NaN or Infinity" if total is None else total.format()

    @pytest.mark.parametrize("text", [b"1e999999999", b"1e-999999999", b"0x1p999999999"])
    def test_a_short_text_cannot_make_it_calculate_long(self, text: bytes) -> None:
        assert parse_long_double(text) is None
