"""What goes into an `Output` comes out, in order, whatever its pieces and when it is taken."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.codec.output import BLOCK, LONG, Output

sizes = st.one_of(
    st.integers(0, 300), st.sampled_from([LONG - 1, LONG, LONG + 1, BLOCK - 1, BLOCK, BLOCK + 1])
)
pieces = st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255))


@given(st.lists(st.lists(pieces, max_size=30), max_size=4))
def test_what_is_written_is_taken_once(rounds: list[list[bytes]]) -> None:
    out = Output()
    for written in rounds:
        for piece in written:
            out.write(piece)
        whole = b"".join(written)
        assert out.size == len(whole)
        assert bool(out) == bool(out.length())
        taken = out.take()
        assert b"".join(taken) == whole
        assert (out.size, len(out), out.take()) == (0, 0, [])


@given(st.lists(pieces, max_size=30), st.lists(pieces, max_size=30), st.lists(pieces, max_size=5))
def test_what_is_taken_back_leaves_no_trace(
    before: list[bytes], undone: list[bytes], after: list[bytes]
) -> None:
    out = Output()
    for piece in before:
        out.write(piece)
    mark = out.length()
    for piece in undone:
        out.write(piece)
    out.cut(mark)
    assert out.length() == mark
    for piece in after:
        out.write(piece)
    assert b"".join(out.take()) == b"".join(before + after)


@given(st.one_of(st.integers(0, 2000), st.integers(-(2**70), 2**70)), st.binary(max_size=5))
def test_numbers(number: int, before: bytes) -> None:
    out = Output()
    out.write(before)
    out.number(number)
    out.write(b";")
    assert b"".join(out.take()) == before + b"%d;" % number


@given(st.floats(), st.binary(max_size=5))
def test_doubles(number: float, before: bytes) -> None:
    out = Output()
    out.write(before)
    out.double(number)
    assert b"".join(out.take()) == before + struct.pack("<d", number)


@pytest.mark.parametrize("digits", range(1, 22))
def test_numbers_at_the_powers_of_ten(digits: int) -> None:
    for number in (10**digits - 1, 10**digits, -(10**digits)):
        out = Output()
        out.number(number)
        assert out.take() == [b"%d" % number]


def test_a_long_piece_is_not_copied() -> None:
    out = Output()
    long = b"x" * (LONG + 1)
    out.write(b"a")
    out.write(long)
    out.write(b"b")
    assert any(piece is long for piece in out.take())


def test_a_buffer_is_used_again() -> None:
    out = Output()
    out.write(b"first")
    [first] = out.take()
    out.write(b"other")
    assert (first, out.take()) == (b"first", [b"other"])
