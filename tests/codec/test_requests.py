"""Requests in canonical spelling are read whole; what is odd is left to whoever knows more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.codec.requests import read_request

REQUESTS = st.lists(st.binary(max_size=12) | st.binary(min_size=98, max_size=130), min_size=1)


def spell(argv: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in argv)


@given(REQUESTS, st.binary(max_size=5), st.binary(max_size=5))
def test_a_request_is_read_wherever_it_lies(argv: list[bytes], before: bytes, after: bytes) -> None:
    found: list[bytes] = []
    data = before + spell(argv)
    assert read_request(data + after, len(before), found) == len(data)
    assert found == argv


@given(REQUESTS)
def test_what_is_not_whole_is_no_request(argv: list[bytes]) -> None:
    data = spell(argv)
    assert all(read_request(data[:cut], 0, []) == -1 for cut in range(len(data)))


@given(st.text("*$\r\n0123A", max_size=40).map(str.encode))
def test_only_canonical_spelling_is_taken(data: bytes) -> None:
    found: list[bytes] = []
    end = read_request(data, 0, found)
    assert end == -1 or spell(found) == data[:end]


@pytest.mark.parametrize(
    "data",
    [b"*0\r\n", b"*-1\r\n", b"*01\r\n$1\r\na\r\n", b"*1\r\n$01\r\na\r\n", b"*1\r\n$1\r\nabc",
     b"*1\r\n$-1\r\n", b"*1\n$1\na\n", b"*1\r\n$1\r\na\rb", b"GET a\r\n", b"*99999999999\r\n"],
)  # fmt: skip
def test_what_is_odd_is_left(data: bytes) -> None:
    assert read_request(data + b"*1\r\n$1\r\na\r\n", 0, []) == -1
