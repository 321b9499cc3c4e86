"""Sets: what Redis answers, we answer; what it writes, we read; their effects are alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvcore
from kvcore.codec import intset, listpack
from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import Limits
from kvcore.errors import CommandError, CorruptData
from kvcore.families.sets.rdb import TYPE
from kvcore.families.sets.value import Set
from tests.families.effects import effects_of_kvcore, effects_of_redis
from tests.scripts import Compare
from tests.support import RedisServer

MANY = b" ".join(b"member:%d" % n for n in range(700)).decode()
NUMBERS = " ".join(map(str, range(-300, 400)))


def test_members(compare: Compare) -> None:
    compare(r"""
        SADD s a b c a
        SADD s a
        SADD s d "" "\x00\xff\r\n"
        SCARD s
        SISMEMBER s a
        SISMEMBER s nomember
        SISMEMBER nokey a
        SMISMEMBER s a x ""
        SMISMEMBER nokey a b
        unordered: SMEMBERS s
        SMEMBERS nokey
        SREM s a x a
        SREM s x
        SREM nokey x
        SCARD s
        SCARD nokey
        SREM s b c d "" "\x00\xff\r\n"
        EXISTS s
        TYPE s
        SADD s 1 2 3
        EXPIRE s 1000
        SADD s 4
        approx: TTL s
        SREM s 1 2 3 4
        SADD s 1
        TTL s
        """)


@pytest.mark.parametrize("members", [MANY, NUMBERS, "x " * 100])
def test_large_sets(compare: Compare, members: str) -> None:
    compare(rf"""
        SADD s {members}
        SADD t {members} other
        unordered: SMEMBERS s
        SCARD s
        SISMEMBER s member:699
        SMISMEMBER s 399 member:700 x
        unordered: SINTER s t
        SDIFF t s
        SUNIONSTORE u s t
        SCARD u
        SREM t {members}
        SMEMBERS t
        SPOP t 5
        COPY s copy
        SREM copy {members}
        SCARD s
        """)


def test_moving(compare: Compare) -> None:
    compare(r"""
        SADD a 1 2
        SADD b 2 x
        SMOVE a b 1
        SMOVE a b 1
        SMOVE a b 2
        EXISTS a
        SMOVE b b 2
        SMOVE b b nomember
        SMOVE b new x
        SMOVE nokey b x
        unordered: SMEMBERS b
        SMEMBERS new
        """)


def test_several_sets(compare: Compare) -> None:
    compare(r"""
        SADD a 1 2 3 x
        SADD b 2 3 4 x
        SADD c 3 4 5
        unordered: SINTER a b
        SINTER a b c
        SINTER a nokey
        SINTER nokey nokey
        unordered: SINTER a
        unordered: SINTER a a b
        unordered: SUNION a b c nokey
        SUNION nokey
        unordered: SDIFF a
        SDIFF a b
        SDIFF a b nokey a
        SDIFF nokey a
        unordered: SDIFF a nokey
        SINTERCARD 2 a b
        SINTERCARD 2 a b LIMIT 2
        SINTERCARD 2 a b LIMIT 0
        SINTERCARD 2 a b limit 100
        SINTERCARD 1 a LIMIT 1 LIMIT 2
        SINTERCARD 2 a nokey
        SINTERCARD 2 a a
        """)


def test_storing(compare: Compare) -> None:
    compare(r"""
        SADD a 1 2 3 x
        SADD b 2 3 4 x
        SET target v EX 1000
        SINTERSTORE target a b
        unordered: SMEMBERS target
        TTL target
        SUNIONSTORE target a b
        unordered: SMEMBERS target
        SDIFFSTORE target a b
        SMEMBERS target
        SDIFFSTORE target a a
        EXISTS target
        SINTERSTORE target a nokey
        SINTERSTORE a a b
        unordered: SMEMBERS a
        SUNIONSTORE a a a
        SUNIONSTORE a nokey
        EXISTS a
        SUNIONSTORE nokey nokey
        RPUSH list x
        SUNIONSTORE list b
        TYPE list
        """)


def test_popping_and_choosing(compare: Compare) -> None:
    compare(rf"""
        SADD s a b c
        any: SRANDMEMBER s
        any: SRANDMEMBER s 2
        any: SRANDMEMBER s -10
        unordered: SRANDMEMBER s 3
        unordered: SRANDMEMBER s 9223372036854775807
        SRANDMEMBER s 0
        SRANDMEMBER nokey
        SRANDMEMBER nokey 0
        SRANDMEMBER nokey -5
        SADD one x
        SRANDMEMBER one
        SRANDMEMBER one 5
        SRANDMEMBER one -3
        SPOP one 0
        SPOP one
        SPOP one
        EXISTS one
        unordered: SPOP s 9223372036854775807
        EXISTS s
        SPOP s 3
        SADD one x
        SPOP one 1
        SADD big {MANY}
        any: SPOP big 699
        SCARD big
        any: SPOP big
        EXISTS big
        """)


def test_scanning(compare: Compare) -> None:
    compare(rf"""
        SADD s a b ab 1
        SADD n 1 2 3
        SADD big {MANY}
        unordered: SSCAN s 0
        unordered: SSCAN s 0 MATCH a*
        unordered: SSCAN n 0 COUNT 1
        unordered: SSCAN big 0 COUNT 10000
        unordered: SSCAN big 0 COUNT 10000 MATCH *:?
        unordered: SSCAN s 0 match ? count 10000
        SSCAN nokey 0
        SSCAN nokey 5 FOO
        SSCAN s 0 MATCH
        SSCAN s 0 COUNT
        SSCAN s 0 COUNT 0
        SSCAN s 0 COUNT -1
        SSCAN s 0 COUNT x
        SSCAN s 0 FOO 1
        SSCAN s x
        SSCAN nokey x
        SSCAN s 18446744073709551616
        """)


WRONG = """
    SADD {0} a
    SREM {0} a
    SMOVE {0} other a
    SMOVE set {0} a
    SMOVE nokey {0} a
    SISMEMBER {0} a
    SMISMEMBER {0} a
    SCARD {0}
    SMEMBERS {0}
    SPOP {0}
    SPOP {0} 0
    SRANDMEMBER {0}
    SRANDMEMBER {0} 0
    SINTER {0}
    SINTER nokey {0}
    SINTERCARD 2 nokey {0}
    SINTERSTORE {0} set {0}
    SUNION set {0}
    SUNIONSTORE set set {0}
    SDIFF nokey {0}
    SDIFFSTORE set nokey {0}
    SSCAN {0} 0 FOO
    SSCAN {0} x
    """


@pytest.mark.parametrize("make", ["SET k v", "RPUSH k a"])
def test_the_wrong_type(compare: Compare, make: str) -> None:
    compare(f"SADD set a\n{make}\n{WRONG.format('k')}")


def test_wrong_arguments(compare: Compare) -> None:
    compare(r"""
        SADD s a b
        SADD s
        SREM s
        SMOVE s t
        SISMEMBER s a b
        SMISMEMBER s
        SCARD
        SMEMBERS s s
        SPOP
        SPOP s 1 2
        SPOP s -1
        SPOP s x
        SPOP nokey -1
        SPOP s 9223372036854775808
        SRANDMEMBER s 1 2
        SRANDMEMBER s x
        SRANDMEMBER nokey x
        SRANDMEMBER s -9223372036854775808
        SRANDMEMBER nokey -9223372036854775808
        SRANDMEMBER nokey -9223372036854775807
        SINTER
        SINTERSTORE t
        SINTERCARD 0 s
        SINTERCARD -1 s
        SINTERCARD x s
        SINTERCARD 2 s
        SINTERCARD 9223372036854775807 s
        SINTERCARD 1 s LIMIT
        SINTERCARD 1 s LIMIT -1
        SINTERCARD 1 s LIMIT x
        SINTERCARD 1 s FOO 1
        SINTERCARD 1 s t
        SSCAN s
        COMMAND GETKEYS SINTERCARD 2 a b LIMIT 1
        COMMAND GETKEYS SINTERCARD 3 a b
        COMMAND GETKEYS SINTERCARD x a b
        COMMAND GETKEYS SINTERSTORE a b c
        """)


# Chance -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kvcore.Store]:
    path = str(tmp_path_factory.mktemp("sets"))
    with kvcore.open(path, persistence="none", enable_debug_command="yes") as store:
        yield store


@pytest.fixture(autouse=True)
def _empty(store: kvcore.Store) -> None:
    store.execute("FLUSHALL")


@pytest.mark.parametrize("size", [10, 1000])
@pytest.mark.parametrize("count", [1, 3, 9, 10])
def test_what_is_chosen_is_different_members_of_the_set(
    store: kvcore.Store, size: int, count: int
) -> None:
    members = {b"%d" % n for n in range(size)}
    store.execute("SADD", "s", *members)
    chosen: Any = store.execute("SRANDMEMBER", "s", count)
    assert len(chosen) == len(set(chosen)) == count
    assert set(chosen) <= members
    repeated: Any = store.execute("SRANDMEMBER", "s", -50)
    assert len(repeated) == 50
    assert set(repeated) <= members
    popped: Any = store.execute("SPOP", "s", count)
    assert len(popped) == count
    rest: Any = store.execute("SMEMBERS", "s")
    assert popped | rest == members
    assert not popped & rest


@pytest.mark.parametrize("count", [None, 1, 4, 9, -3])
def test_each_member_is_chosen_as_often(store: kvcore.Store, count: int | None) -> None:
    store.execute("SADD", "s", *range(10))
    seen: Counter[bytes] = Counter()
    for _ in range(2000):
        chosen: Any = store.execute("SRANDMEMBER", "s", *([] if count is None else [count]))
        seen.update([chosen] if count is None else chosen)
    mean = 2000 * abs(count or 1) / 10
    # Ten binomial counts: each lies within 6 standard deviations but for once in 10**8 runs.
    assert all(abs(times - mean) < 6 * mean**0.5 for times in seen.values())
    assert len(seen) == 10


def test_a_reply_that_no_set_bounds_is_refused(store: kvcore.Store) -> None:
    # Redis would fill its memory with it.
    store.execute("SADD", "s", "a")
    with pytest.raises(CommandError, match="value is out of range"):
        store.execute("SRANDMEMBER", "s", -(2**63) + 1)
    assert store.execute("SRANDMEMBER", "s", -1000) == [b"a"] * 1000


@given(st.integers(1, 3000), st.data())
def test_a_scan_meets_every_member(store: kvcore.Store, size: int, data: st.DataObject) -> None:
    store.execute("FLUSHALL")
    members = {b"%d" % n for n in range(size)}
    store.execute("SADD", "s", *members)
    cursor, found = b"0", set()
    while True:
        count = data.draw(st.integers(1, 500))
        step: Any = store.execute("SSCAN", "s", cursor, "COUNT", count)
        cursor, some = step
        found.update(some)
        assert len(some) < count + 512
        if cursor == b"0":
            break
        other = b"other:%d" % data.draw(st.integers(0, 9))
        store.execute(data.draw(st.sampled_from([b"SADD", b"SREM"])), "s", other)
    assert {member for member in found if not member.startswith(b"other")} == members


# Encodings: those of Redis 7.2, whose small sets are listpacks where 7.0 has hash tables ----------


def test_encodings(store: kvcore.Store) -> None:
    def encoding(*members: object) -> object:
        store.execute("DEL", "s")
        store.execute("SADD", "s", *members)
        return store.execute("OBJECT", "ENCODING", "s")

    assert encoding(*range(512)) == b"intset"
    assert encoding(*range(513)) == b"hashtable"
    assert encoding(1, "a") == b"listpack"
    assert encoding(*[f"m{n}" for n in range(128)]) == b"listpack"
    assert encoding(*[f"m{n}" for n in range(129)]) == b"hashtable"
    assert encoding("x" * 64) == b"listpack"
    assert encoding("x" * 65) == b"hashtable"
    store.execute("SADD", "a", 1, 2, 3, "x")
    store.execute("SADD", "b", 1, 2, 3, "y")
    store.execute("SINTERSTORE", "s", "a", "b")
    assert store.execute("OBJECT", "ENCODING", "s") == b"intset"


def test_limits_of_the_configuration(tmp_path: Path) -> None:
    with kvcore.open(
        str(tmp_path),
        persistence="none",
        set_max_intset_entries="2",
        set_max_listpack_entries="4",
        set_max_listpack_value="3",
    ) as store:
        for members, encoding in [
            ([1, 2], b"intset"),
            ([1, 2, 3, "a"], b"hashtable"),
            (["abc", "b", "c", "d"], b"listpack"),
            (["abc", "b", "c", "d", "e"], b"hashtable"),
            (["abcd"], b"hashtable"),
        ]:
            store.execute("DEL", "s")
            store.execute("SADD", "s", *members)
            assert store.execute("OBJECT", "ENCODING", "s") == encoding
            assert store.execute("SORT", "s", "ALPHA") == [str(m).encode() for m in members]


# RDB ----------------------------------------------------------------------------------------------

ENCODED = {
    "intset of 16 bits": [*range(-5, 5)],
    "intset of 32 bits": [1, -100_000],
    "intset of 64 bits": [1, -(2**63), 2**63 - 1],
    "largest intset": [*range(512)],
    "integers": [*range(513)],
    "strings": ["a", "", "007", "+1", "12", b"\x00\xff"],
    "long strings": ["x" * 100, bytes(range(256)) * 100],
    "many strings": [f"member:{n}" for n in range(1000)],
}


@pytest.mark.parametrize("name", ENCODED)
def test_dumps_go_both_ways(oracle: RedisServer, store: kvcore.Store, name: str) -> None:
    redis = oracle.client(raw=True)

    def digest(key: str) -> object:
        (ours,) = store.execute("DEBUG", "DIGEST-VALUE", key)
        return ours

    store.execute("SADD", "k", *ENCODED[name])
    redis.execute_command("SADD", "k", *ENCODED[name])
    (expected,) = redis.execute_command("DEBUG DIGEST-VALUE", "k")
    encoding = store.execute("OBJECT", "ENCODING", "k")

    store.execute("RESTORE", "theirs", 0, redis.execute_command("DUMP", "k"))
    redis.execute_command("RESTORE", "ours", 0, store.execute("DUMP", "k"))
    assert digest("k") == digest("theirs") == expected.decode()
    assert redis.execute_command("DEBUG DIGEST-VALUE", "ours") == [expected]
    assert store.execute("OBJECT", "ENCODING", "theirs") == encoding
    assert redis.execute_command("OBJECT ENCODING", "ours") == (
        b"intset" if encoding == b"intset" else b"hashtable"
    )


def load(code: int, payload: bytes, limits: Limits | None = None) -> Set:
    reader = Reader(payload)
    value = TYPE.load(code, reader, limits or Limits())
    assert isinstance(value, Set)
    assert reader.at_end()
    value.check()
    return value


def string(data: bytes) -> bytes:
    writer = Writer()
    writer.string(data)
    return writer.getvalue()


@given(st.sets(st.binary(max_size=100) | st.integers().map(lambda n: b"%d" % n), min_size=1))
def test_a_set_is_loaded_as_it_was_saved(members: set[bytes]) -> None:
    value = Set.of(members)
    writer = Writer()
    TYPE.save(value, writer)
    loaded = load(TYPE.rdb_code(value, writer.version), writer.getvalue())
    assert loaded.members() == members
    assert loaded.encoding == value.encoding


def test_the_listpacks_of_redis_7_2(store: kvcore.Store) -> None:
    packed = string(listpack.encode([b"a", b"12", b"-3"]))
    value = load(20, packed)
    assert value.members() == {b"a", b"12", b"-3"}
    assert value.encoding == "listpack"
    limits = Limits()
    limits.set_max_listpack_entries = 2
    assert load(20, packed, limits).encoding == "hashtable"


def test_an_intset_over_the_limit_becomes_another_encoding() -> None:
    limits = Limits()
    limits.set_max_intset_entries = 2
    limits.set_max_listpack_entries = 2
    assert load(11, string(intset.encode([1, 2, 3])), limits).encoding == "hashtable"


BROKEN = [
    (2, b"\x00", "empty set"),
    (2, b"\x02\x01a\x01a", "the same member twice"),
    (2, b"\x02\x01a", "unexpected end of file"),
    (2, b"\x81" + b"\xff" * 8 + b"\x01a", "unexpected end of file"),
    (11, string(intset.encode([])), "empty set"),
    (11, string(b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0"), "intset is out of order"),
    (11, string(b"\x02\0\0\0\x02\0\0\0\x01\0"), "claims 2 integers"),
    (11, string(b""), "shorter than its header"),
    (20, string(listpack.encode([])), "empty set"),
    (20, string(listpack.encode([b"a", b"a"])), "the same member twice"),
    (20, string(listpack.encode([b"a"])[:-1]), "listpack"),
    (20, string(b""), "shorter than its header"),
]


@pytest.mark.parametrize(("code", "payload", "why"), BROKEN)
def test_what_is_broken_is_refused(code: int, payload: bytes, why: str) -> None:
    with pytest.raises(CorruptData, match=why) as caught:
        load(code, payload)
    assert caught.value.offset >= 0


# Effects ------------------------------------------------------------------------------------------

EFFECTS = """
    SADD s a b a
    SADD s a
    SADD t b c
    SREM s x
    SREM s a x
    SMOVE t s b
    SMOVE t s c
    SMOVE s s b
    SMOVE s t nomember
    SADD t 1 2 3
    SINTERSTORE u s t
    SUNIONSTORE u s t
    SDIFFSTORE u u t
    SDIFFSTORE u u u
    SDIFFSTORE u u u
    SREM s b c
    SPOP t 0
    SPOP t 5
    SPOP t 5
    SADD one x
    SPOP one
    SADD one x
    SPOP one 1
    SADD one
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


def test_what_was_popped_leaves_as_removed(tmp_path: Path) -> None:
    with effects_of_kvcore(tmp_path / "ours") as ours:
        ours(f"SADD s {MANY}\nSADD big {' '.join(map(str, range(5000)))}")
        single = ours("SPOP s")
        assert single.events == ["spop s"]
        assert single.dirty == 1
        assert len(single.journal) == 1
        several = ours("SPOP s 600")
        assert several.events == ["spop s"]
        assert several.dirty == 600
        (line,) = several.journal
        assert line.startswith("SREM s member:")
        assert len(set(line.split())) == 602
        chunks = [line.split() for line in ours("SPOP big 4000").journal]
        assert all(len(chunk) <= 1026 for chunk in chunks)
        assert len({member for chunk in chunks for member in chunk[2:]}) == 4000
        last = ours("SPOP s 1000")
        assert (last.events, last.journal, last.dirty) == (["spop s", "del s"], ["DEL s"], 99)


def test_rewriting(store: kvcore.Store) -> None:
    members = {b"%d" % n for n in range(130)}
    commands = list(TYPE.rewrite(b"s", Set.of(members)))
    assert [len(argv) for argv in commands] == [66, 66, 4]
    for argv in commands:
        store.execute(*argv)
    assert store.execute("SMEMBERS", "s") == members
