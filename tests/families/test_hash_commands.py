"""Hashes: what Redis answers, we answer; what it dumps, we restore, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvcore
from kvcore.codec import listpack, ziplist
from kvcore.codec.crc64 import crc64
from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import Limits
from kvcore.errors import CommandError, CorruptData
from kvcore.families.hashes.rdb import TYPE
from kvcore.families.hashes.value import Hash
from tests.families.effects import effects_of_kvcore, effects_of_redis
from tests.scripts import Compare, Step
from tests.support import RedisServer, start_redis


@pytest.fixture
def store() -> Iterator[kvcore.Store]:
    with kvcore.open(enable_debug_command="yes") as store:
        yield store


# Scripts ------------------------------------------------------------------------------------------


def test_setting_and_reading(compare: Compare) -> None:
    compare(r"""
        HSET h f v
        HSET h f w g "" "" empty
        HGET h f
        HGET h ""
        HGET h nofield
        HGET nokey f
        HMGET h f nofield g f
        HMGET nokey f g
        HGETALL h
        HKEYS h
        HVALS h
        HLEN h
        HEXISTS h f
        HEXISTS h nofield
        HEXISTS nokey f
        HSTRLEN h f
        HSTRLEN h nofield
        HSTRLEN nokey f
        HGETALL nokey
        HKEYS nokey
        HVALS nokey
        HLEN nokey
        HMSET h f 1 f 2 new "\x00\xff\r\n"
        HGETALL h
        HSETNX h f no
        HSETNX h other yes
        HSETNX fresh f v
        HGETALL h
        TYPE h
        """)


def test_deleting(compare: Compare) -> None:
    compare(r"""
        HSET h a 1 b 2 c 3
        HDEL h a nofield a
        HDEL h nofield
        HDEL nokey a
        HGETALL h
        HDEL h b c d
        EXISTS h
        HSET h a 1
        EXPIRE h 100
        HSET h b 2
        approx: TTL h
        HDEL h a b
        HSET h a 1
        TTL h
        """)


def test_incrementing(compare: Compare) -> None:
    compare(r"""
        HINCRBY h n 5
        HINCRBY h n -7
        HINCRBY h n 9223372036854775807
        HINCRBY h n 9223372036854775807
        HINCRBY h m -9223372036854775808
        HINCRBY h m -1
        HINCRBY h m x
        HINCRBY h m 1.5
        HSET h text " 5" empty "" plus +1 float 1.5 zero 007
        HINCRBY h text 1
        HINCRBY h empty 1
        HINCRBY h plus 1
        HINCRBY h float 1
        HINCRBY h zero 1
        HINCRBYFLOAT h f 0.1
        HINCRBYFLOAT h f 0.2
        HINCRBYFLOAT h f -0.3
        HINCRBYFLOAT h f 1e17
        HINCRBYFLOAT h n 0.5
        HINCRBYFLOAT h plus 1
        HINCRBYFLOAT h text 1
        HINCRBYFLOAT h empty 1
        HINCRBYFLOAT h e 5.0e3
        HINCRBYFLOAT h hex 0x10
        HINCRBYFLOAT h zero -0
        HINCRBYFLOAT h f nan
        HINCRBYFLOAT h f inf
        HINCRBYFLOAT h f -infinity
        HINCRBYFLOAT h f " 1"
        HINCRBYFLOAT h f ""
        HSET h i inf
        HINCRBYFLOAT h i 1
        HINCRBYFLOAT h g 1e4000
        unordered: HGETALL h
        HINCRBYFLOAT nokey f nan
        HINCRBY nokey f x
        EXISTS nokey
        """)


ERRORS = r"""
    SET string x
    HSET h f v
    {wrong types}
    HSET h
    HSET h f
    HSET h f v g
    HMSET h f
    HMSET h f v g
    HSETNX h f
    HGET h
    HGET h f g
    HMGET h
    HGETALL
    HKEYS h h
    HVALS
    HLEN
    HEXISTS h
    HDEL h
    HSTRLEN h
    HINCRBY h f
    HINCRBYFLOAT h f
    HRANDFIELD
    HRANDFIELD h x
    HRANDFIELD h 1 foo
    HRANDFIELD h 1 withvalues foo
    HRANDFIELD h x withvalues
    HRANDFIELD h -9223372036854775808
    HRANDFIELD h -9223372036854775808 foo
    HRANDFIELD h 9223372036854775808
    HRANDFIELD h 4611686018427387904 withvalues
    HRANDFIELD h -4611686018427387904 withvalues
    HRANDFIELD nokey -9223372036854775807
    HRANDFIELD nokey 9223372036854775807
    HSCAN h
    HSCAN h x
    HSCAN nokey x
    HSCAN h 18446744073709551616
    HSCAN h 0 foo
    HSCAN h 0 match
    HSCAN h 0 count
    HSCAN h 0 count 0
    HSCAN h 0 count -1
    HSCAN h 0 count x
    HSCAN h 0 type hash
    HSCAN nokey 0 foo
    HGETALL h
    """

WRONG_TYPES = """
    HSET string f v
    HMSET string f v
    HSETNX string f v
    HGET string f
    HMGET string f
    HGETALL string
    HKEYS string
    HVALS string
    HLEN string
    HEXISTS string f
    HDEL string f
    HSTRLEN string f
    HINCRBY string f 1
    HINCRBY string f x
    HINCRBYFLOAT string f 1
    HINCRBYFLOAT string f x
    HRANDFIELD string
    HRANDFIELD string 1
    HRANDFIELD string 1 withvalues
    HRANDFIELD string 1 foo
    HSCAN string 0
    HSCAN string x
    HSCAN string 0 foo
    """


def test_errors(compare: Compare) -> None:
    compare(ERRORS.replace("{wrong types}", WRONG_TYPES))


def test_random_fields(compare: Compare) -> None:
    compare(r"""
        HSET h only one
        HRANDFIELD h
        HRANDFIELD h 1
        HRANDFIELD h 5 withvalues
        HRANDFIELD h -3
        HRANDFIELD h -3 WITHVALUES
        HRANDFIELD h 0
        HRANDFIELD h 0 withvalues
        HRANDFIELD nokey
        HRANDFIELD nokey 1
        HRANDFIELD nokey 1 withvalues
        HSET h a 1 b 2 c 3
        unordered: HRANDFIELD h 4
        unordered: HRANDFIELD h 9 withvalues
        any: HRANDFIELD h
        any: HRANDFIELD h 2
        any: HRANDFIELD h 2 withvalues
        """)


@pytest.mark.parametrize("size", [10, 100, 2000])
def test_random_fields_are_as_many_as_asked_for(store: kvcore.Store, size: int) -> None:
    values = {b"f%d" % i: b"%d" % i for i in range(size)}
    for field, value in values.items():
        store.execute("HSET", "h", field, value)
    for count in (1, 3, size // 2, size - 1, size, size + 1):
        different = store.execute("HRANDFIELD", "h", count)
        assert len(set(different)) == len(different) == min(count, size)
        pairs = store.execute("HRANDFIELD", "h", -count, "WITHVALUES")
        assert len(pairs) == count
        assert all(values[field] == value for field, value in pairs)
    assert set(store.execute("HRANDFIELD", "h", -100 * size)) == set(values)
    assert len({store.execute("HRANDFIELD", "h") for _ in range(20)}) > 1
    with pytest.raises(CommandError, match="out of range"):
        store.execute("HRANDFIELD", "h", -(10**12))


def test_scanning_a_small_hash(compare: Compare) -> None:
    compare(r"""
        HSET h aa 1 ab 2 b 3
        HSCAN h 0
        HSCAN h ""
        HSCAN h 77 COUNT 1
        HSCAN h 0 MATCH a*
        HSCAN h 0 MATCH * COUNT 5
        HSCAN h 0 match a? match b
        HSCAN h 0 match nothing
        HSCAN nokey 0
        """)


def test_scanning_a_large_hash_finds_every_field_that_stays(store: kvcore.Store) -> None:
    for i in range(3000):
        store.execute("HSET", "h", f"stays{i}", i)
    found: dict[bytes, bytes] = {}
    cursor: bytes = b"0"
    steps = 0
    while steps == 0 or cursor != b"0":
        cursor, page = store.execute("HSCAN", "h", cursor, "COUNT", 100, "MATCH", "stays*")
        found.update(zip(page[::2], page[1::2]))
        store.execute("HSET", "h", f"comes{steps}", 0, f"comes{steps}b", 0)
        store.execute("HDEL", "h", f"comes{steps - 1}")
        steps += 1
    assert found == {b"stays%d" % i: b"%d" % i for i in range(3000)}
    assert 10 < steps < 40


def test_encodings(compare: Compare) -> None:
    many = [Step((b"HSET", b"many", b"%d" % i, b"x")) for i in range(129)]
    ask = Step((b"OBJECT", b"ENCODING", b"many"))
    compare([*many[:128], ask, many[128], ask, Step((b"HDEL", b"many", b"0", b"1")), ask])
    compare(f"""
        HSET value f {"x" * 64}
        OBJECT ENCODING value
        HSETNX value f {"x" * 65}
        OBJECT ENCODING value
        HSET value f {"x" * 65}
        HSET value f short
        OBJECT ENCODING value
        HSET field {"x" * 65} v
        OBJECT ENCODING field
        HINCRBYFLOAT float f 1e100
        OBJECT ENCODING float
        COPY value twin
        OBJECT ENCODING twin
        """)


def test_what_sort_takes_from_hashes(compare: Compare) -> None:
    compare("""
        SADD s 1 2 3
        HSET h1 w 30 name one
        HSET h2 w 20 name two
        HSET h3 w 10 name three
        SORT s BY h*->w GET # GET h*->name GET h*->nofield
        SORT h1
        """)


# Effects ------------------------------------------------------------------------------------------

EFFECTS = """
    HSET h a 1 b 2 a 3
    HMSET h a 1
    HSETNX h a 1
    HSETNX h c 1
    HINCRBY h a 0
    HINCRBYFLOAT h a 1.5
    HINCRBY h a 1
    HGETALL h
    HRANDFIELD h 2
    HDEL h nofield
    HDEL h a nofield b
    HDEL h c x
    HSET h a
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
    fields = {b"%d" % n: b"value" for n in range(130)}
    commands = list(TYPE.rewrite(b"h", Hash.of(fields)))
    assert [len(argv) for argv in commands] == [130, 130, 6]
    for argv in commands:
        store.execute(*argv)
    assert store.execute("HGETALL", "h") == fields


def test_watching(store: kvcore.Store) -> None:
    for command in (
        "HSET h g 1",
        "HSETNX h x 1",
        "HINCRBY h n 1",
        "HINCRBYFLOAT h n 1",
        "HDEL h f",
    ):
        store.execute("HSET", "h", "f", "v")
        store.execute("WATCH", "h")
        store.execute(*command.split())
        assert store.transaction(["HLEN", "h"]) == []


# RDB ----------------------------------------------------------------------------------------------

ENCODED = {
    "few": {b"f": b"v", b"": b"", b"1": b"-5", b"007": b"1.5"},
    "integers": {b"%d" % (n << bits): b"%d" % (-n << bits) for n in (1, 3) for bits in range(62)},
    "as long as a listpack takes": {b"f" * 64: b"v" * 64},
    "as many as a listpack takes": {b"%d" % n: b"x" for n in range(128)},
    "one more": {b"%d" % n: b"x" for n in range(129)},
    "long field": {b"f" * 65: b"v"},
    "long value": {b"f": bytes(range(256)) * 100},
    "many": {b"field:%d" % n: b"value %d" % n for n in range(1000)},
}


@pytest.mark.parametrize("name", ENCODED)
def test_dumps_go_both_ways(oracle: RedisServer, store: kvcore.Store, name: str) -> None:
    redis = oracle.client(raw=True)
    argv = [b"HSET", b"k", *chain.from_iterable(ENCODED[name].items())]
    store.execute(*argv)
    redis.execute_command(*argv)
    (expected,) = redis.execute_command("DEBUG DIGEST-VALUE", "k")
    encoding = redis.execute_command("OBJECT ENCODING", "k")

    store.execute("RESTORE", "theirs", 0, redis.execute_command("DUMP", "k"))
    redis.execute_command("RESTORE", "ours", 0, store.execute("DUMP", "k"))
    digests = store.execute("DEBUG", "DIGEST-VALUE", "k", "theirs")
    assert [*digests] == [expected.decode()] * 2
    assert redis.execute_command("DEBUG DIGEST-VALUE", "ours") == [expected]
    assert redis.execute_command("OBJECT ENCODING", "ours") == encoding
    assert store.execute("OBJECT", "ENCODING", "k") == encoding
    assert store.execute("OBJECT", "ENCODING", "theirs") == encoding


def string(data: bytes) -> bytes:
    writer = Writer()
    writer.string(data)
    return writer.getvalue()


def payload(code: int, body: bytes) -> bytes:
    """What RESTORE takes."""
    text = bytes([code]) + body + b"\x0a\0"
    return text + crc64(text).to_bytes(8, "little")


OLD = {
    "zipmap": (
        9,
        string(b"\x02\x01a\x01\x001\x02bb\x03\x02333..\xff"),
        {b"a": b"1", b"bb": b"333"},
    ),
    "zipmap, not counted": (9, string(b"\xfe\x01a\x01\x001\xff"), {b"a": b"1"}),
    "ziplist": (
        13,
        string(ziplist.encode([b"a", b"1", b"long" * 20, b"-7"])),
        {b"a": b"1", b"long" * 20: b"-7"},
    ),
    "plain": (4, b"\x02\x01a\xc0\x01\x01b\x00", {b"a": b"1", b"b": b""}),
}


@pytest.mark.parametrize("name", OLD)
def test_old_encodings(oracle: RedisServer, store: kvcore.Store, name: str) -> None:
    code, body, fields = OLD[name]
    redis = oracle.client(raw=True)
    redis.execute_command("RESTORE", "k", 0, payload(code, body))
    store.execute("RESTORE", "k", 0, payload(code, body))
    assert store.execute("HGETALL", "k") == fields
    assert redis.execute_command("HGETALL", "k") == [*chain.from_iterable(fields.items())]
    assert store.execute("OBJECT", "ENCODING", "k") == redis.execute_command("OBJECT ENCODING", "k")


def test_limits_meet_loaded_hashes_as_in_redis(tmp_path: Path) -> None:
    """Each code, with few and many fields, short and long: encodings under narrow limits."""
    limits = {"hash_max_listpack_entries": "2", "hash_max_listpack_value": "3"}
    args = [f"--{name}={value}".replace("_", "-") for name, value in limits.items()]
    args = [part for arg in args for part in arg.split("=")]
    with (
        start_redis(tmp_path, *args) as server,
        kvcore.open(str(tmp_path), persistence="none", **limits) as store,
    ):
        redis = server.client(raw=True)
        for items in (b"a 1 b 2", b"a 1 b 2 c 3", b"a 1 long 2", b"a long"):
            words = items.split()
            plain = bytes([len(words) // 2]) + b"".join(map(string, words))
            zipmap = bytes([len(words) // 2]) + b"".join(
                bytes([len(field)]) + field + bytes([len(value), 0]) + value
                for field, value in zip(words[::2], words[1::2])
            )
            for code, body in (
                (4, plain),
                (9, string(zipmap + b"\xff")),
                (13, string(ziplist.encode(words))),
                (16, string(listpack.encode(words))),
            ):
                data = payload(code, body)
                redis.execute_command("RESTORE", "k", 0, data, "REPLACE")
                store.execute("RESTORE", "k", 0, data, "REPLACE")
                expected = redis.execute_command("OBJECT ENCODING", "k")
                assert store.execute("OBJECT", "ENCODING", "k") == expected, (code, items)
                assert store.execute("HLEN", "k") == len(words) // 2


def load(code: int, data: bytes) -> Hash:
    reader = Reader(data)
    value = TYPE.load(code, reader, Limits())
    assert isinstance(value, Hash)
    assert reader.at_end()
    value.check()
    return value


texts = st.binary(max_size=100) | st.integers().map(lambda n: b"%d" % n)


@given(st.dictionaries(texts, texts, min_size=1))
def test_a_hash_is_loaded_as_it_was_saved(fields: dict[bytes, bytes]) -> None:
    value = Hash.of(fields)
    writer = Writer()
    TYPE.save(value, writer)
    loaded = load(TYPE.rdb_code(value, writer.version), writer.getvalue())
    assert loaded.items() == fields
    assert loaded.encoding == value.encoding


@given(st.sampled_from([4, 9, 13, 16]), st.binary(max_size=40), st.booleans())
def test_any_bytes_are_a_hash_or_corrupt(code: int, data: bytes, wrapped: bool) -> None:
    reader = Reader(string(data) if wrapped else data)
    try:
        value = TYPE.load(code, reader, Limits())
    except CorruptData:
        return
    value.check()
    assert len(value) > 0


BROKEN = [
    (4, b"\x00", "empty"),
    (4, b"\x02\x01a\x01b\x01a\x01c", "a field comes twice"),
    (4, b"\x02\x01a\x01b\x01c", "unexpected end of file"),
    (4, b"\x81" + b"\xff" * 8 + b"\x01a\x01b", "unexpected end of file"),
    (9, string(b"\x00\xff"), "empty"),
    (9, string(b"\x02\x01a\x01\x001\x01a\x01\x002\xff"), "a field comes twice"),
    (9, string(b"\x03\x01a\x01\x001\xff"), "claims 3 fields"),
    (9, string(b"\x01\x01a\x09\x001\xff"), "crosses its end"),
    (9, string(b""), "shorter than its header"),
    (13, string(ziplist.encode([])), "empty"),
    (13, string(ziplist.encode([b"a", b"1", b"b"])), "its last field has no value"),
    (13, string(ziplist.encode([b"a", b"1", b"a", b"1"])), "a field comes twice"),
    (13, string(ziplist.encode([b"a", b"1"])[:-1]), "ziplist"),
    (16, string(listpack.encode([])), "empty"),
    (16, string(listpack.encode([b"a", b"1", b"b"])), "its last field has no value"),
    (16, string(listpack.encode([b"a", b"1", b"a", b"1"])), "a field comes twice"),
    (16, string(listpack.encode([b"a", b"1"])[:-1]), "listpack"),
    (16, b"\x05abc", "unexpected end of file"),
]


@pytest.mark.parametrize(("code", "data", "why"), BROKEN)
def test_what_is_broken_is_refused(code: int, data: bytes, why: str) -> None:
    with pytest.raises(CorruptData, match=why) as caught:
        load(code, data)
    assert caught.value.offset >= 0


# Any sequence -------------------------------------------------------------------------------------

keys = st.sampled_from([b"h", b"h", b"h", b"other"])
fields = st.sampled_from([b"a", b"b", b"1", b"", b"f" * 65])
values = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n),
    st.floats(-1e20, 1e20).map(lambda x: b"%r" % x),
    st.sampled_from([b"", b"0", b"-0", b"1.50", b"inf", b"x" * 70, b"abc"]),
)


def steps() -> st.SearchStrategy[list[Step]]:
    def calls(name: bytes, *args: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
        return st.tuples(st.just(name), keys, *args).map(list)

    pairs = st.lists(st.tuples(fields, values), min_size=1, max_size=3)
    several = st.lists(fields, min_size=1, max_size=3)
    spread = st.tuples(keys, pairs).map(lambda drawn: [drawn[0], *chain.from_iterable(drawn[1])])
    call = st.one_of(
        spread.map(lambda words: [b"HSET", *words]),
        spread.map(lambda words: [b"HMSET", *words]),
        calls(b"HSETNX", fields, values),
        calls(b"HINCRBY", fields, values),
        calls(b"HINCRBYFLOAT", fields, values),
        calls(b"HGET", fields),
        calls(b"HSTRLEN", fields),
        calls(b"HEXISTS", fields),
        calls(b"HLEN"),
        calls(b"HGETALL"),
        calls(b"HDEL", fields),
        st.tuples(keys, several).map(lambda drawn: [b"HDEL", drawn[0], *drawn[1]]),
        st.tuples(keys, several).map(lambda drawn: [b"HMGET", drawn[0], *drawn[1]]),
        calls(b"OBJECT").map(lambda words: [b"OBJECT", b"ENCODING", words[1]]),
        st.just([b"COPY", b"h", b"other", b"REPLACE"]),
        st.just([b"DEBUG", b"DIGEST-VALUE", b"h", b"other"]),
    )
    # Redis' hash tables have an order of their own.
    return st.lists(call.map(lambda argv: Step(tuple(argv), "unordered")), max_size=25)


@settings(max_examples=100)
@given(steps=steps())
def test_any_sequence_is_answered_alike(compare: Compare, steps: list[Step]) -> None:
    compare(steps)
