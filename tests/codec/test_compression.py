"""LZF and CRC-64: what is unpacked is what was packed, and damage cannot allocate."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcore.codec import lzf
from kvcore.codec.crc64 import crc64

texts = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda piece, times: piece * times, st.binary(max_size=9), st.integers(0, 2000)),
)


class TestLzf:
    @given(texts)
    def test_round_trip(self, text: bytes) -> None:
        packed = lzf.compress(text)
        if packed is not None:
            assert len(packed) <= len(text) - 5
            assert lzf.decompress(packed, len(text)) == text

    def test_what_does_not_shrink_is_left(self) -> None:
        assert lzf.compress(bytes(range(256))) is None
        for size in range(7):
            assert lzf.compress(b"a" * size) is None

    def test_the_best_case_is_plausible(self) -> None:
        text = b"a" * 1_000_000
        packed = lzf.compress(text)
        assert packed is not None
        assert lzf.decompress(packed, len(text)) == text

    @given(texts, st.integers(-300, 300))
    def test_another_length_is_refused(self, text: bytes, error: int) -> None:
        packed = lzf.compress(text)
        if packed is not None and error:
            with pytest.raises(ValueError, match="LZF"):
                lzf.decompress(packed, len(text) + error)

    @settings(max_examples=500)
    @given(st.binary(max_size=50), st.integers(-1, 5000))
    def test_hostile_bytes_are_unpacked_or_refused(self, data: bytes, length: int) -> None:
        try:
            plain = lzf.decompress(data, length)
        except ValueError:
            return
        assert len(plain) == length

    @pytest.mark.parametrize("length", [2**26, 2**31, 2**40, 2**63, 2**64])
    def test_a_declared_length_does_not_allocate(self, length: int) -> None:
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="cannot expand"):
                lzf.decompress(b"\xff\xff\x00" * 1000, length)
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()


class TestCrc64:
    def test_check_value(self) -> None:
        assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA

    @given(st.binary(), st.binary())
    def test_goes_on_from_a_former_checksum(self, a: bytes, b: bytes) -> None:
        assert crc64(b, crc64(a)) == crc64(a + b)
        assert crc64(memoryview(a + b)[len(a) :], crc64(a)) == crc64(a + b)

    def test_of_nothing(self) -> None:
        assert crc64(b"") == 0
        assert crc64(b"", 5) == 5
