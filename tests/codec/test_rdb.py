"""The primitives of RDB: what is written is read back, from any source, and damage has a place."""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
import tracemalloc
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcore.codec import listpack
from kvcore.codec.crc64 import crc64
from kvcore.codec.numbers import parse_int
from kvcore.codec.rdb import Reader, Writer
from kvcore.errors import CorruptData
from tests.codec.reference import Reference

MEGABYTE = 1 << 20

strings = st.one_of(
    st.binary(max_size=30),
    st.integers(-(2**40), 2**40).map(lambda n: b"%d" % n),
    st.sampled_from([b"-0", b"00", b"+1", b"127", b"128", b"-129", b"32768", b"-2147483648"]),
    st.builds(
        lambda text, size: (text * size)[:size],
        st.binary(min_size=1, max_size=30),
        st.sampled_from([20, 21, 63, 64, 255, 16383, 16384, 70000]),
    ),
)
# Strings that LZF shortens by only a few bytes: Redis has to decide as we do.
hardly_compressible = st.builds(
    lambda text, repeated, size: (text + repeated * 2)[-size:],
    st.binary(min_size=30, max_size=30),
    st.text("ab", min_size=4, max_size=16).map(str.encode),
    st.integers(21, 45),
)
# A primitive is (method of Writer, value, method of Reader).
primitives = st.one_of(
    st.tuples(st.just("string"), strings, st.just("string")),
    st.tuples(st.just("byte"), st.integers(0, 255), st.just("byte")),
    st.tuples(st.just("length"), st.integers(0, 2**64 - 1), st.just("length")),
    st.tuples(st.just("length"), st.integers(0, 2**15), st.just("length")),
    st.tuples(st.just("double"), st.floats(allow_nan=False), st.just("double")),
    st.tuples(st.just("u32"), st.integers(0, 2**32 - 1), st.just("u32")),
    st.tuples(st.just("u64"), st.integers(0, 2**64 - 1), st.just("u64")),
    st.tuples(st.just("i64"), st.integers(-(2**63), 2**63 - 1), st.just("i64")),
)
documents = st.lists(primitives, max_size=12)


class Dribble(io.RawIOBase):
    """A pipe of sorts: gives fewer bytes than asked for, and cannot seek."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = data
        self._step = step
        self._pos = 0

    def read(self, size: int = -1) -> bytes:
        start = self._pos
        self._pos += self._step if size < 0 else min(size, self._step)
        return self._data[start : self._pos]


def from_bytes(data: bytes) -> Reader:
    return Reader(data, checksum=True)


def from_file(data: bytes) -> Reader:
    return Reader(io.BytesIO(data), checksum=True)


def from_file_of_known_size(data: bytes) -> Reader:
    return Reader(io.BytesIO(data + b"what follows"), checksum=True, size=len(data))


def from_pipe(data: bytes) -> Reader:
    return Reader(cast("BinaryIO", Dribble(data, 3)), checksum=True)


sources = pytest.mark.parametrize(
    "read", [from_bytes, from_file, from_file_of_known_size, from_pipe]
)
Read = Callable[[bytes], Reader]


def write(document: list[tuple[str, object, str]], writer: Writer) -> None:
    for put, value, _ in document:
        getattr(writer, put)(value)


def read_back(document: list[tuple[str, object, str]], reader: Reader) -> list[object]:
    return [getattr(reader, get)() for _, _, get in document]


@sources
class TestReading:
    @settings(deadline=None)
    @given(document=documents, compress=st.booleans())
    def test_round_trip(
        self, read: Read, document: list[tuple[str, object, str]], compress: bool
    ) -> None:
        writer = Writer(compress=compress)
        write(document, writer)
        data = writer.getvalue()
        reader = read(data)
        for _, value, get in document:
            assert getattr(reader, get)() == value
            assert reader.crc == crc64(data[: reader.offset])
        assert reader.at_end()
        assert reader.offset == writer.written == len(data)

    @settings(deadline=None)
    @given(document=documents, cut=st.integers(0, 2**20))
    def test_a_truncated_file_says_so(
        self, read: Read, document: list[tuple[str, object, str]], cut: int
    ) -> None:
        writer = Writer()
        write(document, writer)
        data = writer.getvalue()
        if not data:
            return
        reader = read(data[: cut % len(data)])
        with pytest.raises(CorruptData, match="unexpected end of file") as caught:
            read_back(document, reader)
        assert 0 <= caught.value.offset <= cut % len(data)

    @settings(deadline=None, max_examples=300)
    @given(data=st.binary(max_size=80), calls=st.data())
    def test_hostile_bytes_are_read_or_refused(
        self, read: Read, data: bytes, calls: st.DataObject
    ) -> None:
        reader = read(data)
        methods = ["string", "string_or_int", "length", "double", "text_double", "byte", "u32"]
        while not reader.at_end():
            before = reader.offset
            where = len(data)
            try:
                getattr(reader, calls.draw(st.sampled_from(methods)))()
            except CorruptData as error:
                where = error.offset
            assert before <= reader.offset <= len(data)
            assert 0 <= where <= len(data)
            if before == reader.offset:
                return

    def test_strings_that_cross_windows(self, read: Read) -> None:
        values = [os.urandom(size) for size in (10, 300_000, 5, 900_000, 1)]
        values.append(os.urandom(2 * MEGABYTE + 7))
        writer = Writer()
        for value in values:
            writer.string(value)
        reader = read(writer.getvalue())
        for value in values:
            assert reader.string() == value
        assert reader.crc == crc64(writer.getvalue())

    @pytest.mark.parametrize("length", [2**32 - 1, 2**63 - 1, 2**64 - 1])
    def test_a_declared_length_does_not_allocate(self, read: Read, length: int) -> None:
        data = b"\x81" + length.to_bytes(8, "big") + b"not so many"
        reader = read(data)
        tracemalloc.start()
        try:
            with pytest.raises(CorruptData, match="unexpected end of file"):
                reader.string()
            assert tracemalloc.get_traced_memory()[1] < 2 * MEGABYTE + 100_000
        finally:
            tracemalloc.stop()

    def test_compressed_data_cannot_claim_more_than_it_holds(self, read: Read) -> None:
        data = b"\xc3\x06\x80\x7f\xff\xff\xff" + b"\x00a\xff\xff\x00\x00"
        tracemalloc.start()
        try:
            with pytest.raises(CorruptData, match="cannot expand") as caught:
                read(data).string()
            assert tracemalloc.get_traced_memory()[1] < 2 * MEGABYTE + 100_000
        finally:
            tracemalloc.stop()
        assert caught.value.offset == 0

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"\xff\xc0\x01", "string encoding 0 where a length was due"),
            (b"\xff\x82", "unknown length encoding 0x82"),
            (b"\xff\xbf", "unknown length encoding 0xbf"),
        ],
    )
    def test_what_is_no_length_is_refused_where_it_stands(
        self, read: Read, data: bytes, why: str
    ) -> None:
        reader = read(data)
        reader.byte()
        with pytest.raises(CorruptData, match=why) as caught:
            reader.length()
        assert caught.value.offset == 1

    @pytest.mark.parametrize("data", [b"\xc4\x00", b"\xff\x00", b"\xc3\x02\x05ab"])
    def test_what_is_no_string_is_refused_where_it_stands(self, read: Read, data: bytes) -> None:
        reader = read(b"\x00" + data)
        reader.byte()
        with pytest.raises(CorruptData) as caught:
            reader.string()
        assert caught.value.offset == 1

    def test_integer_encodings_on_demand(self, read: Read) -> None:
        reader = read(b"\xc0\x85\xc1\x00\x80\xc2\x00\x00\x00\x80\x03abc\x0212\xc0\x07")
        assert [reader.string_or_int() for _ in range(5)] == [-123, -32768, -(2**31), b"abc", b"12"]
        assert reader.string() == b"7"

    def test_lengths_need_not_be_minimal(self, read: Read) -> None:
        reader = read(b"\x40\x01\x80\0\0\0\x02\x81\0\0\0\0\0\0\0\x03")
        assert [reader.length() for _ in range(3)] == [1, 2, 3]

    def test_doubles_in_decimal(self, read: Read) -> None:
        reader = read(b"\x013\x0420.5\x051e-05\xfe\xff\xfd\x04nope")
        assert [reader.text_double() for _ in range(3)] == [3.0, 20.5, 1e-05]
        assert [reader.text_double() for _ in range(2)] == [math.inf, -math.inf]
        assert math.isnan(reader.text_double())
        with pytest.raises(CorruptData, match="invalid double b'nope'"):
            reader.text_double()


def container(strings: list[bytes], compress: bool) -> bytes:
    writer = Writer(compress=compress)
    for each in strings:
        writer.string(each)
    return writer.getvalue()


class TestSpans:
    """Values as they lie: exactly the bytes that decoding them would have consumed."""

    @settings(deadline=None)
    @given(texts=st.lists(strings, max_size=5), compress=st.booleans(), tail=st.binary(max_size=3))
    def test_a_span_ends_where_decoding_does(
        self, texts: list[bytes], compress: bool, tail: bytes
    ) -> None:
        data = container(texts, compress)
        reader = Reader(b"\x07" + data + tail, checksum=True)
        reader.byte()
        span = reader.span(b"", len(texts))
        if span is None:
            assert len(data) > 1000 or max(map(len, texts)) >= 1 << 14
            assert reader.offset == 1
        else:
            assert span == data
            assert reader.crc == crc64(b"\x07" + data)
            assert reader.take(len(tail)) == tail

    @given(texts=st.lists(strings, min_size=1, max_size=5), compress=st.booleans(), data=st.data())
    def test_no_string_is_longer_than_asked_for(
        self, texts: list[bytes], compress: bool, data: st.DataObject
    ) -> None:
        longest = max(map(len, texts))
        reader = Reader(container(texts, compress))
        if longest >= 12:  # what is written as an integer has no length
            assert reader.span(b"", len(texts), longest - 1) is None
            assert reader.offset == 0
        if reader.span(b"", len(texts)) is not None:
            reader = Reader(container(texts, compress))
            assert reader.span(b"", len(texts), max(longest, 1)) is not None

    @given(data=st.binary(max_size=40), strings=st.integers(0, 3))
    def test_any_bytes_give_a_span_that_decodes_or_none(self, data: bytes, strings: int) -> None:
        reader = Reader(data)
        span = reader.span(b"", strings)
        if span is None:
            assert reader.offset == 0
            return
        assert data.startswith(span)
        decoder = Reader(span)
        with contextlib.suppress(CorruptData):  # LZF that is none
            for _ in range(strings):
                decoder.string()
            assert decoder.at_end()

    @given(
        texts=st.lists(strings | st.integers(-(2**70), 2**70).map(lambda n: b"%d" % n), max_size=9),
        limit=st.integers(0, 80),
        gap=st.sampled_from([0, 8]),
        compress=st.booleans(),
    )
    def test_strings_behind_their_count(
        self, texts: list[bytes], limit: int, gap: int, compress: bool
    ) -> None:
        writer = Writer(compress=compress)
        writer.length(len(texts))
        for text in texts:
            writer.string(text)
            writer.raw(b"\xff" * gap)
        data = writer.getvalue()
        reader = Reader(data + b"\x00")
        assert reader.count() == len(texts)
        span = reader.span_strings(len(texts), limit, gap)
        if span is None:
            assert len(data) > 1000 or max(map(len, texts)) >= 1 << 14
            assert reader.offset == 0
            return
        assert span == data
        assert reader.over == any(len(text) > max(limit, 11) for text in texts) or limit < 12
        if all(parse_int(text) is not None for text in texts):
            assert not reader.words
        if any(text and text[0] > ord("9") for text in texts):
            assert reader.words
        reader.give_back(len(span))
        assert reader.offset == 0

    @given(st.lists(strings, max_size=30), st.integers(1, 400))
    def test_many_strings(self, texts: list[bytes], piece: int) -> None:
        writer = Writer()
        for text in texts:
            writer.string(text)
        data = writer.getvalue()
        for source in (data, cast("BinaryIO", Dribble(data, piece))):
            reader = Reader(source, checksum=True)
            assert reader.strings(len(texts)) == texts
            assert reader.at_end()
            assert reader.crc == crc64(data)
        if texts:
            with pytest.raises(CorruptData):
                Reader(data[:-1]).strings(len(texts))

    @given(st.lists(st.tuples(strings, strings), max_size=90), st.integers(1, 70))
    def test_pairs(self, pairs: list[tuple[bytes, bytes]], most: int) -> None:
        writer = Writer()
        for key, value in pairs:
            writer.byte(7)
            writer.string(key)
            writer.string(value)
        data = writer.getvalue()
        reader = Reader(data)
        first: list[bytes] = []
        second: list[object] = []
        while not reader.at_end():
            start = reader.offset
            before = len(first)
            if reader.pairs(7, most, first, second):
                assert before < len(first) <= before + most
                taken = reader.offset - start
                reader.give_back(taken)
                assert reader.take(taken) == data[start : start + taken]
            else:
                assert reader.offset == start
                assert reader.byte() == 7
                first.append(reader.string())
                second.append(reader.string())
        assert list(zip(first, second)) == pairs
        assert not Reader(data).pairs(8, most, first, second)
        assert not Reader(data[: min(3, len(data))]).pairs(7, most, [], []) or pairs[0] == (
            b"",
            b"",
        )

    def test_the_prefix_must_be_there(self) -> None:
        reader = Reader(b"\x01\x02\x01a")
        assert reader.span(b"\x01\x01", 1) is None
        assert reader.offset == 0
        assert reader.span(b"\x01\x02", 1) == b"\x01\x02\x01a"
        assert reader.at_end()
        assert reader.count() == -1

    def test_a_value_that_crosses_two_pieces_of_a_file_is_left_to_decode(self) -> None:
        text = b"x" * 50
        data = container([text] * 30_000, compress=False)
        reader = Reader(io.BytesIO(data), checksum=True)
        spans = 0
        for _ in range(30_000):
            if reader.span(b"", 1) is None:
                assert reader.string() == text
            else:
                spans += 1
        assert 29_990 <= spans < 30_000
        assert reader.crc == crc64(data)

    @settings(deadline=None)
    @given(
        items=st.lists(strings.filter(lambda text: len(text) < 500), max_size=60),
        most=st.integers(0, 70),
        compress=st.booleans(),
    )
    def test_the_entries_of_a_listpack_are_counted(
        self, items: list[bytes], most: int, compress: bool
    ) -> None:
        data = container([listpack.encode(items)], compress)
        reader = Reader(b"\x01\x02" + data)
        span = reader.span_listpack(b"\x01\x02", most)
        if 0 < len(items) <= most and len(data) < 1 << 13:
            assert span == b"\x01\x02" + data
        elif len(items) > most or not items:  # no key holds an empty one
            assert span is None
            assert reader.offset == 0


class TestSources:
    def test_errors_name_the_file(self) -> None:
        reader = Reader(io.BytesIO(b"\x05ab"), path="dump.rdb")
        with pytest.raises(CorruptData) as caught:
            reader.string()
        assert (caught.value.path, caught.value.offset) == ("dump.rdb", 3)
        assert str(reader.fail("odd")) == "dump.rdb at offset 3: odd"
        assert reader.fail("odd", offset=0).offset == 0

    def test_reads_no_more_than_the_size(self) -> None:
        file = io.BytesIO(b"\x02ab" + b"\x02cd")
        reader = Reader(file, size=3)
        assert reader.string() == b"ab"
        assert reader.at_end()
        assert file.tell() == 3

    def test_a_length_beyond_a_known_size_fails_before_reading(self) -> None:
        file = io.BytesIO(b"\x80\xff\xff\xff\xff" + b"x" * 3 * MEGABYTE)
        reader = Reader(file, size=5 + 3 * MEGABYTE)
        with pytest.raises(CorruptData, match="4294967295 bytes were due, 3145728 are left"):
            reader.string()
        assert file.tell() <= MEGABYTE

    def test_a_real_pipe(self) -> None:
        values = [b"%d:" % n + os.urandom(n % 300) for n in range(3000)]
        writer = Writer(checksum=True)
        for value in values:
            writer.string(value)
        read_end, write_end = os.pipe()

        def fill() -> None:
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(writer.getvalue())

        thread = threading.Thread(target=fill)
        thread.start()
        with os.fdopen(read_end, "rb") as pipe:
            reader = Reader(pipe, checksum=True)
            assert [reader.string() for _ in values] == values
            assert reader.at_end()
        thread.join()
        assert reader.crc == writer.crc

    def test_a_large_file_takes_constant_memory(self) -> None:
        piece = Writer(compress=False)
        for n in range(1000):
            piece.string(b"value %d " % n + b"v" * 1000)
        data = piece.getvalue() * 20
        tracemalloc.start()
        try:
            reader = Reader(io.BytesIO(data), checksum=True)
            while not reader.at_end():
                reader.string()
            assert tracemalloc.get_traced_memory()[1] < 3 * MEGABYTE
        finally:
            tracemalloc.stop()
        assert reader.crc == crc64(data)

    def test_the_crc_is_off_by_default(self) -> None:
        reader = Reader(b"\x01a")
        reader.string()
        assert reader.crc == 0


class TestWriting:
    @settings(deadline=None, max_examples=400)
    @given(st.one_of(strings, hardly_compressible))
    def test_strings_equal_those_of_redis(self, reference: Reference, value: bytes) -> None:
        reference("SET", "s", value)
        writer = Writer()
        writer.string(value)
        assert reference.dump("s") == (0, writer.getvalue())

    @settings(deadline=None)
    @given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-70000, 70000)))
    def test_integers_equal_those_of_redis(self, reference: Reference, value: int) -> None:
        reference("SET", "s", value)
        writer = Writer()
        writer.integer(value)
        assert reference.dump("s") == (0, writer.getvalue())
        assert parse_int(Reader(writer.getvalue()).string()) == value

    @settings(deadline=None)
    @given(st.floats(allow_nan=False))
    def test_redis_reads_our_doubles(self, reference: Reference, score: float) -> None:
        writer = Writer()
        writer.length(1)
        writer.string(b"member")
        writer.double(score)
        assert reference.restore("z", 5, writer.getvalue()) == b"OK"
        assert float(cast("bytes", reference("ZSCORE", "z", "member"))) == score

    @settings(deadline=None)
    @given(documents, st.integers(0, 12))
    def test_the_sink_gets_everything_once(
        self, document: list[tuple[str, object, str]], asked: int
    ) -> None:
        plain = Writer()
        write(document, plain)
        pieces: list[bytes] = []
        writer = Writer(pieces.append, checksum=True)
        write(document[:asked], writer)
        so_far = writer.crc  # asking in between changes nothing
        assert so_far == writer.crc
        write(document[asked:], writer)
        writer.flush()
        writer.flush()
        assert b"".join(pieces) == plain.getvalue()
        assert writer.crc == crc64(plain.getvalue())
        assert writer.written == len(plain.getvalue())

    @pytest.mark.parametrize(
        "put",
        [
            lambda writer: writer.string(b"12"),
            lambda writer: writer.string(b"short"),
            lambda writer: writer.string(b"q" * 3000),
            lambda writer: writer.byte(7),
            lambda writer: writer.length(7),
            lambda writer: writer.double(0.5),
            lambda writer: writer.integer(2**40),
        ],
    )
    def test_nothing_piles_up_before_the_sink(self, put: Callable[[Writer], None]) -> None:
        sizes: list[int] = []
        writer = Writer(lambda piece: sizes.append(len(piece)), compress=False)
        while writer.written < MEGABYTE:
            put(writer)
            assert writer.written - sum(sizes) < 300_000
        assert len(sizes) >= 3
        assert min(sizes) > 200_000

    def test_a_long_string_is_handed_over_uncopied(self) -> None:
        value = os.urandom(3 * MEGABYTE)
        pieces: list[bytes] = []
        writer = Writer(pieces.append, checksum=True)
        writer.byte(0)
        writer.raw(value)
        writer.byte(1)
        writer.flush()
        assert pieces == [b"\0", value, b"\1"]
        assert pieces[1] is value
        assert writer.crc == crc64(b"\0" + value + b"\1")

    def test_writing_goes_on_after_getvalue(self) -> None:
        writer = Writer()
        writer.string(b"a")
        assert writer.getvalue() == b"\x01a"
        writer.string(b"b")
        assert writer.getvalue() == b"\x01a\x01b"
