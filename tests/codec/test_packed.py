"""The packed formats: what Redis packs we read, what we pack Redis reads, damage is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvcore.codec import intset, listpack, ziplist, zipmap
from kvcore.codec.rdb import Reader, Writer
from tests.codec.reference import Reference

# RDB type codes
ZIPMAP, LIST_ZIPLIST, SET_INTSET, HASH_LISTPACK, LIST_QUICKLIST = 9, 10, 11, 16, 18

BORDERS = [
    n
    for bits in (0, 3, 6, 7, 12, 13, 15, 16, 23, 24, 31, 32, 63)
    for m in (2**bits, -(2**bits))
    for n in (m - 1, m, m + 1)
    if -(2**63) <= n < 2**63
]
integers = st.one_of(st.sampled_from(BORDERS), st.integers(-(2**63), 2**63 - 1))
long_strings = st.builds(
    lambda text, size: (text * size)[:size],
    st.binary(min_size=1, max_size=5),
    st.sampled_from(
        [63, 64, 121, 125, 126, 127, 128, 250, 253, 254, 300, 4095, 4096, 16383, 16384]
    ),
)
items = st.one_of(
    st.binary(max_size=12),
    integers.map(lambda n: b"%d" % n),
    st.sampled_from([b"-0", b"+1", b" 1", b"01", b"-01", b"-", b"9223372036854775808"]),
    long_strings,
)
item_lists = st.lists(items, max_size=30)


def packed(data: bytes) -> bytes:
    """`data` as an RDB string."""
    writer = Writer()
    writer.string(data)
    return writer.getvalue()


def list_node(data: bytes) -> bytes:
    """The body of a list (RDB type 18) of one packed node."""
    writer = Writer()
    writer.length(1)
    writer.length(2)
    writer.string(data)
    return writer.getvalue()


class TestEntries:
    """Entries that are edited in place are what `encode` writes, wherever they are cut."""

    @given(item_lists)
    def test_they_are_those_of_a_listpack(self, found: list[bytes]) -> None:
        whole = listpack.encode(found)
        entries = listpack.entries(b"in front" + whole, 8)
        assert entries == b"".join(map(listpack.entry, found))
        assert listpack.items(entries) == found
        assert listpack.count(b"in front" + whole, 8) == len(found)
        assert listpack.wrap(entries, len(found)) == whole

    @given(item_lists)
    def test_they_are_walked_both_ways(self, found: list[bytes]) -> None:
        entries = b"".join(map(listpack.entry, found))
        places = [0]
        for each in found:
            assert listpack.item(entries, places[-1]) == each
            places.append(listpack.after(entries, places[-1]))
        assert places[-1] == len(entries)
        for number in range(len(found), 0, -1):
            assert listpack.before(entries, places[number]) == places[number - 1]
            assert listpack.skip(entries, 0, number) == places[number]

    @given(st.data(), st.integers(1, 3))
    def test_one_is_found_where_it_begins_and_not_inside_another(
        self, data: st.DataObject, step: int
    ) -> None:
        found = data.draw(st.lists(st.one_of(items, items.map(listpack.entry)), max_size=30))
        wanted = data.draw(st.one_of(items, st.sampled_from(found)) if found else items)
        entries = b"".join(map(listpack.entry, found))
        at = listpack.find(entries, listpack.entry(wanted), step)
        if wanted in found[::step]:
            number = found[::step].index(wanted) * step
            assert at == sum(len(listpack.entry(each)) for each in found[:number])
        else:
            assert at == -1


class TestIntegers:
    @given(st.lists(integers, unique=True, max_size=20), st.lists(integers, max_size=20))
    def test_an_intset_is_edited_as_a_set(self, first: list[int], others: list[int]) -> None:
        members = set(first)
        data = intset.encode(sorted(members))
        for number in [*others, *first[::2]]:
            rank = intset.find(data, number)
            if number in members:
                assert intset.member(data, rank) == number
                data = intset.remove(data, rank)
            else:
                assert -1 - rank == len([each for each in members if each < number])
                data = intset.insert(data, number, -1 - rank)
            members ^= {number}
            assert intset.decode(data) == sorted(members)
            assert intset.count(data) == len(members)


class TestListpack:
    @settings(deadline=None)
    @given(st.lists(items, min_size=1, max_size=30))
    def test_equals_what_redis_packs(self, reference: Reference, items: list[bytes]) -> None:
        reference("DEL", "l")
        reference("RPUSH", "l", *items)
        type_code, body = reference.dump("l")
        reader = Reader(body)
        assert type_code == LIST_QUICKLIST
        nodes, container, data = reader.length(), reader.length(), reader.string()
        if nodes == 1 and container == 2:
            assert listpack.decode(data) == items
            assert listpack.encode(items) == data

    @pytest.mark.parametrize(
        "size", [4095, 4096, 16377, 16378, 16379, 2097145, 2097146, 2097147]
    )  # where the encoding or the back-length grows
    def test_equals_what_redis_packs_of_long_strings(self, reference: Reference, size: int) -> None:
        items = [b"field", b"x" * size]
        reference("DEL", "h")
        reference("HSET", "h", *items)
        type_code, body = reference.dump("h")
        data = Reader(body).string()
        assert type_code == HASH_LISTPACK
        assert listpack.decode(data) == items
        assert listpack.encode(items) == data

    @given(item_lists)
    def test_round_trip(self, items: list[bytes]) -> None:
        assert listpack.decode(listpack.encode(items)) == items

    @pytest.mark.parametrize("count", [65534, 65536, 70000])
    def test_more_entries_than_the_header_counts(self, reference: Reference, count: int) -> None:
        items = [b"%d" % n for n in range(count)]
        data = listpack.encode(items)
        assert listpack.decode(data) == items
        assert reference.restore("h", HASH_LISTPACK, packed(data)) == b"OK"
        assert reference("HLEN", "h") == count // 2
        assert sorted(reference("HGETALL", "h")) == sorted(items)

    def test_a_back_length_is_not_taken_for_the_end(self, reference: Reference) -> None:
        data = listpack.encode([b"x" * 253])  # its back-length is 01 ff
        cut = (len(data) - 1).to_bytes(4, "little") + data[4:-1]
        assert reference.restore("l", LIST_QUICKLIST, list_node(cut)) != b"OK"
        with pytest.raises(ValueError, match="crosses its end at byte 6"):
            listpack.decode(cut)

    @settings(deadline=None, max_examples=400)
    @given(item_lists, st.data())
    def test_accepts_the_damage_that_redis_accepts(
        self, reference: Reference, items: list[bytes], data: st.DataObject
    ) -> None:
        damaged = damage(listpack.encode(items), data)
        found = decode_or_none(listpack.decode, damaged)
        assume(found != [])  # Redis refuses empty nodes, not for their encoding
        if reference.restore("l", LIST_QUICKLIST, list_node(damaged)) == b"OK":
            assert reference("LRANGE", "l", 0, -1) == found
        else:
            assert found is None


class TestZiplist:
    @given(item_lists)
    def test_round_trip(self, items: list[bytes]) -> None:
        assert ziplist.decode(ziplist.encode(items)) == items

    @settings(deadline=None)
    @given(st.lists(items, min_size=1, max_size=30))
    def test_redis_reads_what_we_pack(self, reference: Reference, items: list[bytes]) -> None:
        assert reference.restore("l", LIST_ZIPLIST, packed(ziplist.encode(items))) == b"OK"
        assert reference("LRANGE", "l", 0, -1) == items

    @pytest.mark.parametrize("count", [65534, 65535, 65536])
    def test_more_entries_than_the_header_counts(self, reference: Reference, count: int) -> None:
        items = [b"%d" % (n % 100) for n in range(count)]
        data = ziplist.encode(items)
        assert ziplist.decode(data) == items
        assert reference.restore("l", LIST_ZIPLIST, packed(data)) == b"OK"
        assert reference("LLEN", "l") == count

    def test_a_small_back_length_may_be_written_in_five_bytes(self, reference: Reference) -> None:
        entries = b"\x00\x01a" + b"\xfe\x03\x00\x00\x00\x01b"
        header = (21).to_bytes(4, "little") + (13).to_bytes(4, "little") + b"\x02\x00"
        data = header + entries + b"\xff"
        assert reference.restore("l", LIST_ZIPLIST, packed(data)) == b"OK"
        assert ziplist.decode(data) == reference("LRANGE", "l", 0, -1) == [b"a", b"b"]

    @settings(deadline=None, max_examples=400)
    @given(item_lists, st.data())
    def test_accepts_the_damage_that_redis_accepts(
        self, reference: Reference, items: list[bytes], data: st.DataObject
    ) -> None:
        damaged = damage(ziplist.encode(items), data)
        found = decode_or_none(ziplist.decode, damaged)
        assume(found != [])
        if reference.restore("l", LIST_ZIPLIST, packed(damaged)) == b"OK":
            assert reference("LRANGE", "l", 0, -1) == found
        else:
            assert found is None


class TestIntset:
    @settings(deadline=None)
    @given(st.sets(integers, min_size=1, max_size=40))
    def test_equals_what_redis_packs(self, reference: Reference, members: set[int]) -> None:
        reference("DEL", "s")
        reference("SADD", "s", *members)
        type_code, body = reference.dump("s")
        data = Reader(body).string()
        assert type_code == SET_INTSET
        assert intset.decode(data) == sorted(members)
        assert intset.encode(sorted(members)) == data

    @given(st.sets(integers))
    def test_round_trip(self, members: set[int]) -> None:
        assert intset.decode(intset.encode(sorted(members))) == sorted(members)

    @pytest.mark.parametrize("members", [[2, 1], [1, 1], [1, 2, 2, 3]])
    def test_members_out_of_order_are_refused(
        self, reference: Reference, members: list[int]
    ) -> None:
        data = intset.encode(members)
        assert reference.restore("s", SET_INTSET, packed(data)) != b"OK"
        with pytest.raises(ValueError, match="out of order at byte"):
            intset.decode(data)

    @settings(deadline=None, max_examples=400)
    @given(st.sets(integers, min_size=1, max_size=8), st.data())
    def test_accepts_the_damage_that_redis_accepts(
        self, reference: Reference, members: set[int], data: st.DataObject
    ) -> None:
        damaged = damage(intset.encode(sorted(members)), data)
        found = decode_or_none(intset.decode, damaged)
        assume(found != [])
        if reference.restore("s", SET_INTSET, packed(damaged)) == b"OK":
            assert sorted(map(int, reference("SMEMBERS", "s"))) == found
        else:
            assert found is None


def encode_zipmap(pairs: list[tuple[bytes, bytes, int]]) -> bytes:
    """The zipmap of (field, value, number of unused bytes after it)."""

    def length(text: bytes) -> bytes:
        size = len(text)
        return bytes([size]) if size < 254 else b"\xfe" + size.to_bytes(4, "little")

    pieces = [bytes([min(len(pairs), 254)])]
    for field, value, free in pairs:
        pieces += [length(field), field, length(value), bytes([free]), value, b"?" * free]
    return b"".join(pieces) + b"\xff"


zipmap_strings = st.one_of(
    st.binary(max_size=10), st.sampled_from([252, 253, 254, 255, 300]).map(lambda n: b"z" * n)
)
zipmaps = st.lists(
    st.tuples(zipmap_strings, zipmap_strings, st.integers(0, 4)),
    min_size=1,
    max_size=8,
    unique_by=lambda pair: pair[0],
)


class TestZipmap:
    @settings(deadline=None)
    @given(zipmaps)
    def test_reads_what_redis_reads(
        self, reference: Reference, pairs: list[tuple[bytes, bytes, int]]
    ) -> None:
        data = encode_zipmap(pairs)
        expected = [text for field, value, _ in pairs for text in (field, value)]
        assert zipmap.decode(data) == expected
        assert reference.restore("h", ZIPMAP, packed(data)) == b"OK"
        assert reference("HGETALL", "h") == expected

    def test_more_fields_than_the_header_counts(self) -> None:
        pairs = [(b"%d" % n, b"v", 0) for n in range(300)]
        assert zipmap.decode(encode_zipmap(pairs))[::2] == [field for field, _, _ in pairs]

    @settings(deadline=None, max_examples=400)
    @given(zipmaps, st.data())
    def test_accepts_no_damage_that_redis_refuses(
        self, reference: Reference, pairs: list[tuple[bytes, bytes, int]], data: st.DataObject
    ) -> None:
        # Not the other way round: Redis takes the end mark for a length in a value's place.
        damaged = damage(encode_zipmap(pairs), data)
        found = decode_or_none(zipmap.decode, damaged)
        if found and len(set(found[::2])) == len(found) // 2:  # fields are checked elsewhere
            assert reference.restore("h", ZIPMAP, packed(damaged)) == b"OK"
            assert reference("HGETALL", "h") == found


def damage(data: bytes, choose: st.DataObject) -> bytes:
    """`data` with a byte changed, or cut, or grown, its length field sometimes put right."""
    kind = choose.draw(st.sampled_from(["change", "change", "change", "cut", "insert"]))
    place = choose.draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "cut":
        result = data[:place] + data[place + choose.draw(st.integers(1, 6)) :]
    else:
        fresh = bytes([choose.draw(st.integers(0, 255))])
        result = data[:place] + fresh + data[place + (kind == "change") :]
    if kind != "change" and choose.draw(st.booleans()):
        result = len(result).to_bytes(4, "little") + result[4:]
    return result


def decode_or_none(decode: Callable[[bytes], list[Any]], data: bytes) -> list[Any] | None:
    """What `decode` finds in `data`, None if it refuses it, with a place, as it should."""
    try:
        return decode(data)
    except ValueError as error:
        refusal = str(error)
    assert " byte" in refusal
    return None


DECODERS = [listpack.decode, ziplist.decode, intset.decode, zipmap.decode]


@pytest.mark.parametrize("decode", DECODERS)
class TestHostileBytes:
    @settings(max_examples=500)
    @given(data=st.binary(max_size=60))
    def test_are_read_or_refused(self, decode: Callable[[bytes], list[bytes]], data: bytes) -> None:
        decode_or_none(decode, data)

    @settings(max_examples=500)
    @given(body=st.binary(max_size=60), count=st.integers(0, 20))
    def test_behind_a_right_header_are_read_or_refused(
        self, decode: Callable[[bytes], list[bytes]], body: bytes, count: int
    ) -> None:
        for head in (
            (len(body) + 7).to_bytes(4, "little") + count.to_bytes(2, "little"),
            (len(body) + 11).to_bytes(4, "little") + b"\x0a\0\0\0" + count.to_bytes(2, "little"),
        ):
            decode_or_none(decode, head + body + b"\xff")

    def test_cannot_make_it_allocate(self, decode: Callable[[bytes], list[bytes]]) -> None:
        huge = [
            b"\xff\xff\xff\x7f" * 4 + b"\xff",
            b"\x0d\0\0\0\x01\0\xf0\xff\xff\xff\x7f\x05\xff",
            b"\x12\0\0\0\x0a\0\0\0\x01\0\x00\x80\x7f\xff\xff\xff\0\xff",
            b"\x02\0\0\0\xff\xff\xff\x7f\0\0",
            b"\x01\xfe\xff\xff\xff\x7f\0\xff",
        ]
        tracemalloc.start()
        try:
            for data in huge:
                assert decode_or_none(decode, data) is None
            assert tracemalloc.get_traced_memory()[1] < 200_000
        finally:
            tracemalloc.stop()
