"""Lists: what Redis answers, we answer; what it writes, we read; their effects are alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvcore
from kvcore.codec import listpack, ziplist
from kvcore.codec.crc64 import crc64
from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import Limits
from kvcore.errors import CommandError, CorruptData
from kvcore.families.lists.rdb import TYPE
from kvcore.families.lists.value import List
from tests.families.effects import effects_of_kvcore, effects_of_redis
from tests.scripts import Compare
from tests.support import RedisServer

MANY = " ".join(f"element:{n}" for n in range(700))


def test_pushing_and_popping(compare: Compare) -> None:
    compare(r"""
        LPUSH l b a
        RPUSH l c "" "\x00\xff\r\n"
        LPUSHX l z y
        RPUSHX l x
        LPUSHX nokey x
        RPUSHX nokey x y
        LRANGE l 0 -1
        LLEN l
        LLEN nokey
        LPOP l
        RPOP l
        LPOP l 2
        RPOP l 2
        LPOP l 0
        LPOP nokey
        RPOP nokey 2
        LPOP nokey 0
        RPOP l 100
        LPOP l 1
        EXISTS l
        TYPE l
        RPUSH l a
        EXPIRE l 1000
        RPUSH l b
        approx: TTL l
        LPOP l 2
        RPUSH l a
        TTL l
        LPOP l
        EXISTS l
        """)


def test_indexes(compare: Compare) -> None:
    compare(r"""
        RPUSH l a b c d
        LINDEX l 0
        LINDEX l 3
        LINDEX l 4
        LINDEX l -1
        LINDEX l -4
        LINDEX l -5
        LINDEX l 9223372036854775807
        LINDEX l -9223372036854775808
        LINDEX nokey 0
        LSET l 0 A
        LSET l -1 D
        LSET l 4 x
        LSET l -5 x
        LSET nokey 0 x
        LRANGE l 0 -1
        LRANGE l 1 2
        LRANGE l -2 100
        LRANGE l -100 0
        LRANGE l 2 1
        LRANGE l 4 5
        LRANGE l -9223372036854775808 9223372036854775807
        LRANGE nokey 0 -1
        LTRIM l 1 -2
        LRANGE l 0 -1
        LTRIM l -100 100
        LRANGE l 0 -1
        LTRIM l 1 1
        LRANGE l 0 -1
        LTRIM l 5 6
        EXISTS l
        LTRIM nokey 0 0
        """)


def test_values(compare: Compare) -> None:
    compare(r"""
        RPUSH l a b a c a b
        LPOS l a
        LPOS l a RANK 2
        LPOS l a RANK 4
        LPOS l a RANK -1
        LPOS l a RANK -2 COUNT 0
        LPOS l a COUNT 0
        LPOS l a COUNT 2
        LPOS l a COUNT 2 RANK 2 MAXLEN 3
        LPOS l a COUNT 0 MAXLEN 3
        LPOS l a count 0 maxlen 1 rank -1
        LPOS l a MAXLEN 0
        LPOS l x
        LPOS l x COUNT 1
        LPOS nokey x
        LPOS nokey x COUNT 5
        LINSERT l BEFORE a x
        LINSERT l after b y
        LINSERT l AFTER nosuch z
        LINSERT nokey BEFORE a x
        LRANGE l 0 -1
        LREM l 1 a
        LREM l -1 b
        LREM l 0 a
        LREM l 5 nosuch
        LREM nokey 0 a
        LRANGE l 0 -1
        LREM l 0 x
        LREM l 0 b
        LREM l 0 c
        LREM l -9 y
        EXISTS l
        """)


def test_moving(compare: Compare) -> None:
    compare(r"""
        RPUSH a 1 2 3
        RPUSH b x
        LMOVE a b LEFT RIGHT
        LMOVE a b right left
        LRANGE b 0 -1
        RPOPLPUSH a b
        EXISTS a
        RPOPLPUSH a b
        LMOVE a b LEFT LEFT
        LMOVE b b LEFT RIGHT
        LMOVE b b LEFT LEFT
        RPOPLPUSH b b
        LRANGE b 0 -1
        RPOPLPUSH b new
        LRANGE new 0 -1
        RPOPLPUSH new new
        LRANGE new 0 -1
        EXPIRE new 1000
        LMOVE new new LEFT RIGHT
        approx: TTL new
        LMOVE new b LEFT RIGHT
        EXISTS new
        """)


def test_popping_from_the_first_that_there_is(compare: Compare) -> None:
    compare(r"""
        RPUSH a 1 2 3 4
        RPUSH b x
        LMPOP 1 a LEFT
        LMPOP 3 nokey a b RIGHT COUNT 2
        LMPOP 2 a b left count 100
        LMPOP 2 a b LEFT
        LMPOP 2 a b LEFT COUNT 5
        EXISTS a b
        SET k v
        RPUSH b x
        LMPOP 2 b k LEFT
        LMPOP 2 b k LEFT
        COMMAND GETKEYS LMPOP 2 a b LEFT
        COMMAND GETKEYS LMPOP 5 a b LEFT
        COMMAND GETKEYS LMPOP x a b LEFT
        """)


def test_large_lists(compare: Compare) -> None:
    compare(rf"""
        RPUSH l {MANY}
        LPUSH l {MANY}
        LLEN l
        LRANGE l 0 -1
        LRANGE l 650 750
        LINDEX l 700
        LINDEX l -300
        LSET l 900 x
        LINSERT l BEFORE x y
        LPOS l element:3 COUNT 0
        LPOS l element:3 RANK -1
        LREM l 0 element:9
        LPOP l 300
        RPOP l 300
        LTRIM l 100 -100
        LRANGE l 0 -1
        RPOPLPUSH l l
        LMPOP 1 l RIGHT COUNT 400
        COPY l copy
        LPUSH copy x
        LLEN l
        LPOP l 9223372036854775807
        EXISTS l
        """)


WRONG = """
    LPUSH k a
    RPUSH k a
    LPUSHX k a
    RPUSHX k a
    LPOP k
    RPOP k 0
    LPOP k 2
    LLEN k
    LINDEX k 0
    LINDEX k x
    LSET k x v
    LRANGE k 0 -1
    LTRIM k 0 -1
    LINSERT k BEFORE a b
    LREM k 0 a
    LPOS k a
    LMOVE k list LEFT LEFT
    LMOVE list k LEFT LEFT
    LMOVE nokey k LEFT LEFT
    LMOVE k k LEFT LEFT
    RPOPLPUSH k list
    RPOPLPUSH list k
    LMPOP 2 nokey k LEFT
    LRANGE list 0 -1
    """


@pytest.mark.parametrize("make", ["SET k v", "SADD k a"])
def test_the_wrong_type(compare: Compare, make: str) -> None:
    compare(f"RPUSH list a\n{make}\n{WRONG}")


def test_wrong_arguments(compare: Compare) -> None:
    compare(r"""
        RPUSH l a b c
        LPUSH l
        RPUSHX l
        LPOP
        LPOP l 1 2
        RPOP l 1 2
        LPOP l -1
        LPOP l x
        LPOP nokey -1
        LPOP l 9223372036854775808
        LLEN
        LINDEX l x
        LINDEX nokey x
        LINDEX l
        LSET l x v
        LSET nokey x v
        LRANGE l x 0
        LRANGE nokey 0 x
        LRANGE l 0
        LTRIM l 0 x
        LTRIM nokey x 0
        LINSERT l AROUND a b
        LINSERT nokey AROUND a b
        LREM l x a
        LREM nokey x a
        LPOS l a RANK 0
        LPOS l a RANK x
        LPOS l a RANK
        LPOS l a COUNT -1
        LPOS l a COUNT x
        LPOS l a MAXLEN -1
        LPOS l a MAXLEN x
        LPOS l a FOO 1
        LPOS l a COUNT 1 FOO
        LPOS nokey a RANK 0
        LMOVE l m LEFT
        LMOVE l m LEFT UP
        LMOVE nokey m UP LEFT
        RPOPLPUSH l
        LMPOP 0 l LEFT
        LMPOP -1 l LEFT
        LMPOP x l LEFT
        LMPOP 9223372036854775807 l LEFT
        LMPOP 2 l LEFT
        LMPOP 1 l UP
        LMPOP 1 l LEFT COUNT
        LMPOP 1 l LEFT COUNT 0
        LMPOP 1 l LEFT COUNT x
        LMPOP 1 l LEFT FOO 1
        LMPOP 1 l LEFT COUNT 1 COUNT 1
        LMPOP 1 nokey LEFT COUNT 0
        LRANGE l 0 -1
        """)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kvcore.Store]:
    path = str(tmp_path_factory.mktemp("lists"))
    with kvcore.open(path, persistence="none", enable_debug_command="yes") as store:
        yield store


@pytest.fixture(autouse=True)
def _empty(store: kvcore.Store) -> None:
    store.execute("FLUSHALL")


def test_numbers_that_cannot_be_negated_are_refused(store: kvcore.Store) -> None:
    # As since Redis 7.2. The oracle negates them, which in C is undefined.
    store.execute("RPUSH", "l", "a")
    with pytest.raises(CommandError, match="value must between -9223372036854775807 and"):
        store.execute("LREM", "l", -(2**63), "a")
    with pytest.raises(CommandError, match="value must between -9223372036854775807 and"):
        store.execute("LPOS", "l", "a", "RANK", -(2**63))
    assert store.execute("LREM", "l", -(2**63) + 1, "a") == 1


# Encodings: those of Redis 7.2, whose small lists are listpacks where 7.0 has quicklists ----------


def test_encodings(store: kvcore.Store) -> None:
    def encoding() -> object:
        return store.execute("OBJECT", "ENCODING", "l")

    store.execute("RPUSH", "l", "a", "b")
    assert encoding() == b"listpack"
    store.execute("RPUSH", "l", *["x" * 100] * 90)
    assert encoding() == b"quicklist"
    store.execute("LTRIM", "l", 0, 3)
    assert encoding() == b"listpack"
    store.execute("LSET", "l", 0, "x" * 9000)
    assert encoding() == b"quicklist"
    store.execute("LMOVE", "l", "other", "LEFT", "LEFT")
    assert store.execute("OBJECT", "ENCODING", "other") == b"quicklist"
    store.execute("SADD", "s", *range(3))
    store.execute("SORT", "s", "STORE", "sorted")
    assert store.execute("OBJECT", "ENCODING", "sorted") == b"listpack"


def test_limits_of_the_configuration(tmp_path: Path) -> None:
    with kvcore.open(str(tmp_path), persistence="none", list_max_listpack_size="3") as store:
        store.execute("RPUSH", "l", 1, 2, 3)
        assert store.execute("OBJECT", "ENCODING", "l") == b"listpack"
        store.execute("LINSERT", "l", "AFTER", 2, 0)
        assert store.execute("OBJECT", "ENCODING", "l") == b"quicklist"
        dump = store.execute("DUMP", "l")
        store.execute("RESTORE", "twin", 0, dump)
        assert store.execute("OBJECT", "ENCODING", "twin") == b"quicklist"
        assert store.execute("LRANGE", "twin", 0, -1) == [b"1", b"2", b"0", b"3"]


# RDB ----------------------------------------------------------------------------------------------

ELEMENTS = {
    "small": [b"a", b"", b"12", b"-7", b"007", b"\x00\xff", b"a"],
    "integers": [b"%d" % (sign << bits) for bits in range(64) for sign in (1, -1)][:-2],
    "many": [b"element:%d" % n for n in range(5000)],
    "medium": [bytes([n]) * 3000 for n in range(20)],
    "as large as a node": [b"x" * n for n in (4095, 4096, 8170, 8181, 8192, 8193, 1, 8192)],
    "huge": [b"a", b"x" * 100_000, b"y" * 20_000, b"b"],
    "one huge": [bytes(range(256)) * 100],
}


def footed(body: bytes) -> bytes:
    """What RESTORE takes: type and payload, with a version and a checksum."""
    body += b"\x0a\x00"
    return body + crc64(body).to_bytes(8, "little")


def payload(value: List) -> bytes:
    writer = Writer()
    writer.byte(TYPE.rdb_code(value, writer.version))
    TYPE.save(value, writer)
    return writer.getvalue()


def packed_sizes(body: bytes) -> list[int]:
    """The size of each node of a saved list; 0 for a plain one."""
    reader = Reader(body[1:])
    sizes = []
    for _ in range(reader.length()):
        plain = reader.length() == 1
        data = reader.string()
        sizes.append(0 if plain else len(data))
    assert reader.at_end()
    return sizes


@pytest.mark.parametrize("name", ELEMENTS)
def test_dumps_go_both_ways(oracle: RedisServer, store: kvcore.Store, name: str) -> None:
    elements = ELEMENTS[name]
    redis = oracle.client(raw=True)
    redis.execute_command("RPUSH", "k", *elements)
    store.execute("RPUSH", "k", *elements)
    redis.execute_command("RESTORE", "ours", 0, store.execute("DUMP", "k"))
    store.execute("RESTORE", "theirs", 0, redis.execute_command("DUMP", "k"))
    assert redis.execute_command("LRANGE", "ours", 0, -1) == elements
    assert store.execute("LRANGE", "theirs", 0, -1) == elements
    digests = redis.execute_command("DEBUG DIGEST-VALUE", "k", "ours")
    assert store.execute("DEBUG", "DIGEST-VALUE", "k", "theirs") == [d.decode() for d in digests]
    # It is a list to work with, not only to look at.
    assert redis.execute_command("LPUSH", "ours", "x") == len(elements) + 1
    assert redis.execute_command("LREM", "ours", 0, elements[-1]) == elements.count(elements[-1])


@pytest.mark.parametrize("size", ["-5", "-1", "1", "7"])
def test_nodes_of_other_sizes_are_read(oracle: RedisServer, store: kvcore.Store, size: str) -> None:
    redis = oracle.client(raw=True)
    before = redis.execute_command("CONFIG GET", "list-max-listpack-size")[1]
    try:
        redis.execute_command("CONFIG SET", "list-max-listpack-size", size)
        redis.execute_command("DEBUG QUICKLIST-PACKED-THRESHOLD", "2000B")
        for name, elements in ELEMENTS.items():
            redis.execute_command("RPUSH", name, *elements)
            store.execute("RESTORE", name, 0, redis.execute_command("DUMP", name))
            assert store.execute("LRANGE", name, 0, -1) == elements
    finally:
        redis.execute_command("CONFIG SET", "list-max-listpack-size", before)
        redis.execute_command("DEBUG QUICKLIST-PACKED-THRESHOLD", "0")


def formats() -> Iterator[tuple[str, bytes]]:
    elements = ELEMENTS["small"]
    writer = Writer()
    writer.byte(1)
    writer.length(len(elements))
    for element in elements:
        writer.string(element)
    yield "plain", writer.getvalue()
    writer = Writer()
    writer.byte(10)
    writer.string(ziplist.encode(elements))
    yield "ziplist", writer.getvalue()
    writer = Writer()
    writer.byte(14)
    writer.length(3)
    writer.string(ziplist.encode(elements[:3]))
    writer.string(ziplist.encode([]))
    writer.string(ziplist.encode(elements[3:]))
    yield "quicklist", writer.getvalue()
    writer = Writer()
    writer.byte(18)
    writer.length(4)
    writer.length(1)
    writer.string(elements[0])
    writer.length(2)
    writer.string(listpack.encode(elements[1:4]))
    writer.length(2)
    writer.string(listpack.encode([]))
    writer.length(2)
    writer.string(listpack.encode(elements[4:]))
    yield "quicklist 2", writer.getvalue()


@pytest.mark.parametrize(("name", "body"), list(formats()))
def test_every_format_is_read_as_redis_reads_it(
    oracle: RedisServer, store: kvcore.Store, name: str, body: bytes
) -> None:
    redis = oracle.client(raw=True)
    redis.execute_command("RESTORE", name, 0, footed(body))
    store.execute("RESTORE", name, 0, footed(body))
    expected = redis.execute_command("LRANGE", name, 0, -1)
    assert expected == ELEMENTS["small"]
    assert store.execute("LRANGE", name, 0, -1) == expected


def load(body: bytes) -> List:
    reader = Reader(body[1:])
    value = TYPE.load(body[0], reader, Limits())
    assert isinstance(value, List)
    assert reader.at_end()
    value.check()
    return value


@given(st.lists(st.binary(max_size=100) | st.integers().map(lambda n: b"%d" % n), min_size=1))
def test_a_list_is_loaded_as_it_was_saved(elements: list[bytes]) -> None:
    value = List.of(elements)
    loaded = load(payload(value))
    assert loaded.items() == elements
    assert loaded.encoding == value.encoding


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=40))
def test_nodes_are_as_large_as_the_default_allows(sizes: list[int]) -> None:
    elements = [b"x" * size for size in sizes]
    nodes = packed_sizes(payload(List.of(elements)))
    # An element that just fits a node may need some bytes more for itself.
    assert all(size <= 8192 + 14 for size in nodes)
    assert nodes.count(0) == sum(size > 8192 for size in sizes)
    # Two neighbours would not fit one node.
    assert all(not a or not b or a + b > 8192 - 14 for a, b in pairwise(nodes))


def string(data: bytes) -> bytes:
    writer = Writer()
    writer.string(data)
    return writer.getvalue()


PACKED = string(listpack.encode([b"a", b"b"]))
ZIPPED = string(ziplist.encode([b"a", b"b"]))

BROKEN = [
    (b"\x01\x00", "empty list"),
    (b"\x01\x02\x01a", "unexpected end of file"),
    (b"\x01\x81" + b"\xff" * 8 + b"\x01a", "unexpected end of file"),
    (b"\x0a" + string(ziplist.encode([])), "empty list"),
    (b"\x0a" + string(b""), "shorter than its header"),
    (b"\x0a" + string(ziplist.encode([b"a"])[:-1]), "ziplist"),
    (b"\x0e\x00", "empty list"),
    (b"\x0e\x01" + string(ziplist.encode([])), "empty list"),
    (b"\x0e\x02" + ZIPPED, "unexpected end of file"),
    (b"\x0e\x01" + PACKED, "ziplist"),
    (b"\x12\x00", "empty list"),
    (b"\x12\x01\x02" + string(listpack.encode([])), "empty list"),
    (b"\x12\x01\x03" + PACKED, "list node in container 3"),
    (b"\x12\x01\x00" + PACKED, "list node in container 0"),
    (b"\x12\x01\xc0" + PACKED, "string encoding"),
    (b"\x12\x02\x02" + PACKED, "unexpected end of file"),
    (b"\x12\x01\x02" + ZIPPED, "listpack"),
    (b"\x12\x81" + b"\xff" * 8 + b"\x02" + PACKED, "unexpected end of file"),
]


@pytest.mark.parametrize(("body", "why"), BROKEN)
def test_what_is_broken_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(CorruptData, match=why) as caught:
        load(body)
    assert caught.value.offset >= 0


# Effects ------------------------------------------------------------------------------------------

EFFECTS = """
    RPUSH l a b c d e a
    LPUSH l z y
    RPUSHX l x
    LPUSHX nokey x
    LSET l 0 Y
    LINSERT l BEFORE a i
    LINSERT l AFTER nosuch i
    LREM l 0 a
    LREM l 0 nosuch
    LTRIM l 1 -2
    LTRIM l 0 -1
    LPOP l
    RPOP l
    LPOP l 0
    LPOP l 2
    RPUSH l 1 2 3 4 5
    LMOVE l m LEFT RIGHT
    LMOVE l l LEFT RIGHT
    RPOPLPUSH l l
    RPOPLPUSH l m
    RPOPLPUSH nokey m
    LMPOP 2 nokey l LEFT
    LMPOP 1 m RIGHT COUNT 100
    LMPOP 1 m RIGHT COUNT 100
    LMOVE l l LEFT LEFT
    LTRIM l 100 200
    RPUSH l a a
    LREM l -5 a
    RPUSH l a
    RPOP l
    RPUSH l a
    LMOVE l l LEFT RIGHT
    LMOVE l m LEFT RIGHT
    LPOP m 5
    LPUSH l
    LSET l 5 x
    """


def test_effects_are_those_of_redis(tmp_path: Path) -> None:
    with (
        effects_of_redis(tmp_path / "redis") as redis,
        effects_of_kvcore(tmp_path / "ours") as ours,
    ):
        expected, actual = redis(EFFECTS), ours(EFFECTS)
    assert actual.events == expected.events
    assert actual.journal == expected.journal
    assert actual.dirty == expected.dirty


def test_rewriting(store: kvcore.Store) -> None:
    elements = [b"%d" % n for n in range(130)]
    commands = list(TYPE.rewrite(b"l", List.of(elements)))
    assert [len(argv) for argv in commands] == [66, 66, 4]
    for argv in commands:
        store.execute(*argv)
    assert store.execute("LRANGE", "l", 0, -1) == elements
