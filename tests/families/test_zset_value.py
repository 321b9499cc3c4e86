"""The sorted set against a sorted list, and against Redis."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvcore.datatype import TypeRegistry
from kvcore.families.zsets import tree
from kvcore.families.zsets.rdb import TYPE
from kvcore.families.zsets.value import ADDED, UNCHANGED, UPDATED, ZSet
from tests.datasets import repacked
from tests.support import RedisServer, start_redis

INF = math.inf

members = st.one_of(st.integers(0, 40).map(lambda n: b"%d" % n), st.binary(max_size=2))
scores = st.one_of(
    st.integers(-10, 10).map(float),
    st.sampled_from([0.0, -0.0, INF, -INF, 5e-324, 1.7976931348623157e308, 0.1]),
    st.floats(allow_nan=False),
)
flags = st.booleans()
ranks = st.integers(-60, 60)
limits = st.tuples(st.integers(-1, 5), st.integers(-1, 20))


def paired(found: tuple[list[bytes], list[float]]) -> list[tuple[bytes, float]]:
    return list(zip(*found))


def window(
    found: list[tuple[bytes, float]], offset: int, count: int, reverse: bool
) -> list[tuple[bytes, float]]:
    if offset < 0:
        return []
    found = found[::-1] if reverse else found
    return found[offset:] if count < 0 else found[offset : offset + count]


def redis_range(
    found: list[tuple[bytes, float]], start: int, stop: int
) -> list[tuple[bytes, float]]:
    start = max(0, start + len(found)) if start < 0 else start
    stop = stop + len(found) if stop < 0 else stop
    return found[start : stop + 1] if stop >= start else []


TYPES = TypeRegistry()
TYPES.add(TYPE)


class AsSortedList(RuleBasedStateMachine):
    """With nodes of 8, so that a few hundred members make a tree of several levels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(tree, "_MAX", 8)
        self.patch.setattr(tree, "_MIN", 2)
        self.patch.setattr(tree, "_BUILT", 6)
        self.zset = ZSet()
        self.model: dict[bytes, float] = {}
        self.copies: list[tuple[ZSet, dict[bytes, float]]] = []

    def teardown(self) -> None:
        self.patch.undo()

    def ordered(self) -> list[tuple[bytes, float]]:
        return sorted(self.model.items(), key=lambda item: (item[1], item[0]))

    @initialize(count=st.integers(0, 900), by=st.sampled_from([-1.0, -0.5, 0.0, 0.01, 1.0]))
    def build(self, count: int, by: float) -> None:
        self.model = {b"%d" % number: number * by for number in range(count)}
        self.zset = ZSet.of(list(self.model.items()))

    @rule(member=members, score=scores)
    def add(self, member: bytes, score: float) -> None:
        if member not in self.model:
            expected = ADDED
        elif self.model[member] == score:
            expected = UNCHANGED
        else:
            expected = UPDATED
        assert self.zset.add(member, score) == expected
        if expected != UNCHANGED:
            self.model[member] = score

    @rule(start=ranks, count=st.integers(0, 300), score=scores, by=st.sampled_from([0, 1, -1]))
    def add_many(self, start: int, count: int, score: float, by: int) -> None:
        for number in range(count):
            self.add(b"%d" % (start + number), score + number * by)

    @rule(member=members)
    def remove(self, member: bytes) -> None:
        there = self.model.pop(member, None) is not None
        assert self.zset.remove(member) is there

    @rule(start=ranks, count=st.integers(0, 300))
    def remove_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.remove(b"%d" % number)

    def forget(self, removed: list[tuple[bytes, float]]) -> list[bytes]:
        for member, _ in removed:
            del self.model[member]
        return [member for member, _ in removed]

    @rule(start=ranks, stop=ranks)
    def delete_by_rank(self, start: int, stop: int) -> None:
        expected = self.forget(redis_range(self.ordered(), start, stop))
        assert self.zset.delete_by_rank(start, stop) == expected

    @rule(low=scores, low_ex=flags, high=scores, high_ex=flags)
    def delete_by_score(self, low: float, low_ex: bool, high: float, high_ex: bool) -> None:
        expected = self.forget(self.between(low, low_ex, high, high_ex))
        assert self.zset.delete_by_score(low, low_ex, high, high_ex) == expected

    @rule(count=st.integers(0, 50))
    def pop_min(self, count: int) -> None:
        expected = self.ordered()[:count]
        self.forget(expected)
        assert self.zset.pop_min(count) == expected

    @rule(count=st.integers(0, 50))
    def pop_max(self, count: int) -> None:
        expected = self.ordered()[::-1][:count]
        self.forget(expected)
        assert self.zset.pop_max(count) == expected

    @rule(member=members)
    def one_member(self, member: bytes) -> None:
        assert self.zset.score(member) == self.model.get(member)
        assert self.zset.has(member) == (member in self.model)
        order = [each for each, _ in self.ordered()]
        if member in self.model:
            assert self.zset.rank(member) == order.index(member)
            assert self.zset.reverse_rank(member) == order[::-1].index(member)
        else:
            assert self.zset.rank(member) is None
            assert self.zset.reverse_rank(member) is None

    @rule(start=ranks, stop=ranks, reverse=flags)
    def by_rank(self, start: int, stop: int, reverse: bool) -> None:
        order = self.ordered()
        expected = redis_range(order[::-1] if reverse else order, start, stop)
        assert paired(self.zset.by_rank(start, stop, reverse)) == expected

    def between(
        self, low: float, low_ex: bool, high: float, high_ex: bool
    ) -> list[tuple[bytes, float]]:
        return [
            (member, score)
            for member, score in self.ordered()
            if (low < score if low_ex else low <= score)
            and (score < high if high_ex else score <= high)
        ]

    @rule(low=scores, low_ex=flags, high=scores, high_ex=flags, limit=limits, reverse=flags)
    def by_score(
        self,
        low: float,
        low_ex: bool,
        high: float,
        high_ex: bool,
        limit: tuple[int, int],
        reverse: bool,
    ) -> None:
        found = self.between(low, low_ex, high, high_ex)
        assert self.zset.count_by_score(low, low_ex, high, high_ex) == len(found)
        ours = paired(self.zset.by_score(low, low_ex, high, high_ex, *limit, reverse))
        assert ours == window(found, *limit, reverse)

    @rule()
    def random_member(self) -> None:
        if self.model:
            assert self.zset.random_member() in self.model
        else:
            with pytest.raises(IndexError):
                self.zset.random_member()

    @rule()
    def scan(self) -> None:
        cursor, found = self.zset.scan(0)
        while cursor:
            cursor, more = self.zset.scan(cursor)
            found += more
        assert sorted(found) == sorted(self.model.items())

    @rule()
    def lie_packed(self) -> None:
        before = self.zset.encoding
        self.zset = repacked(TYPES, self.zset)
        assert self.zset.encoding == before

    @rule()
    def go_on_with_a_copy(self) -> None:
        """Each is independent of the other, whichever is written to."""
        original, self.zset = self.zset, self.zset.copy()
        assert self.zset.encoding == original.encoding
        self.copies.append((original, self.model))
        self.model = self.model.copy()

    @precondition(lambda self: self.copies)
    @rule()
    def go_on_with_the_original(self) -> None:
        copy = self.copies.pop(0)
        self.copies.append((self.zset, self.model))
        self.zset, self.model = copy

    @invariant()
    def same_items(self) -> None:
        self.zset.spared = 0  # or the looks below would have it decoded
        self.zset.check()
        assert len(self.zset) == len(self.model)
        assert list(self.zset.items()) == self.ordered()
        for copy, model in self.copies:
            copy.check()
            assert dict(copy.items()) == model


TestAsSortedList = AsSortedList.TestCase
TestAsSortedList.settings = settings(max_examples=100, stateful_step_count=25)


ends = st.one_of(st.none(), st.binary(max_size=2), st.integers(0, 300).map(lambda n: b"%d" % n))


@given(
    names=st.one_of(
        st.sets(st.binary(max_size=2)),
        st.integers(0, 700).map(lambda count: {b"%d" % number for number in range(count)}),
    ),
    score=scores,
    low=ends,
    low_ex=flags,
    high=ends,
    high_ex=flags,
    limit=limits,
    reverse=flags,
)
def test_ranges_of_members(
    names: set[bytes],
    score: float,
    low: bytes | None,
    low_ex: bool,
    high: bytes | None,
    high_ex: bool,
    limit: tuple[int, int],
    reverse: bool,
) -> None:
    zset = ZSet.of([(name, score) for name in names])
    found = [
        (name, score)
        for name in sorted(names)
        if (low is None or (low < name if low_ex else low <= name))
        and (high is None or (name < high if high_ex else name <= high))
    ]
    assert zset.count_by_lex(low, low_ex, high, high_ex) == len(found)
    ours = paired(zset.by_lex(low, low_ex, high, high_ex, *limit, reverse))
    assert ours == window(found, *limit, reverse)
    assert zset.delete_by_lex(low, low_ex, high, high_ex) == [name for name, _ in found]
    zset.check()
    assert len(zset) == len(names) - len(found)


def test_deep_trees_at_their_real_size() -> None:
    zset = ZSet()
    for number in range(20_000):
        zset.add(b"%d" % number, float(number * 7919 % 20_011))
    zset.check()
    ordered = list(zset.items())
    assert [score for _, score in ordered] == sorted(score for _, score in ordered)
    assert paired(zset.by_rank(12_345, 12_350)) == ordered[12_345:12_351]
    assert zset.rank(ordered[7777][0]) == 7777
    assert zset.delete_by_rank(100, 19_899) == [member for member, _ in ordered[100:19_900]]
    zset.check()
    assert list(zset.items()) == ordered[:100] + ordered[19_900:]


def test_a_member_that_moves_is_not_stored_twice() -> None:
    zset = ZSet()
    for score in (float, lambda number: 5000.5 - number):
        for number in range(5000):
            zset.add(b"member:%d" % number, score(number))
    zset.check()
    in_order = {member: member for member, _ in zset.items()}
    _, looked_up = zset.scan(0)
    assert looked_up
    assert all(in_order[member] is member for member, _ in looked_up)


def test_zero_and_minus_zero_are_one_score(server: RedisServer) -> None:
    client = server.client(raw=True)
    client.execute_command("DEL", "z")
    most = int(client.execute_command("CONFIG", "GET", "zset-max-listpack-entries")[1])
    ours = ZSet()
    for member, score in [(b"m", -0.0), (b"m", 0.0), (b"a", 0.0), (b"a", -0.0), (b"z", 0.0)]:
        changed = client.execute_command("ZADD", "z", "CH", repr(score), member)
        assert (ours.add(member, score, most) != UNCHANGED) == changed
    for member in (b"a", b"m", b"z"):
        theirs = client.execute_command("ZSCORE", "z", member)
        assert b"%.17g" % ours.score(member) == theirs  # tells -0 from 0
    assert [member for member, _ in ours.items()] == client.execute_command("ZRANGE", "z", 0, -1)
    assert ours.count_by_score(0.0, False, 0.0, False) == 3
    assert ours.count_by_score(-0.0, True, INF, False) == 0
    again = ZSet.of(ours.items(), most)
    assert [repr(item) for item in again.items()] == [repr(item) for item in ours.items()]
    client.close()


def test_a_listpack_made_at_once_has_no_minus_zero() -> None:
    assert repr(ZSet.of([(b"m", -0.0)]).score(b"m")) == "0.0"
    assert repr(ZSet.of([(b"m", -0.0)], 0).score(b"m")) == "-0.0"


def test_a_member_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        ZSet.of([(b"a", 1.0), (b"b", 1.0), (b"a", 2.0)])


def test_a_large_sorted_set_is_scanned_in_small_steps() -> None:
    large = ZSet.of([(b"%d" % number, 0.0) for number in range(10_000)])
    cursor, steps = 0, 0
    while True:
        cursor, found = large.scan(cursor)
        steps += 1
        assert len(found) < 1000
        if cursor == 0:
            break
    assert steps > 10


# Against Redis ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["listpack", "skiplist"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    most = "8" if request.param == "listpack" else "0"
    args = ("--zset-max-listpack-entries", most, "--zset-max-listpack-value", "16")
    with start_redis(tmp_path_factory.mktemp("zsets"), *args) as server:
        yield server


def pairs(reply: list[bytes]) -> list[tuple[bytes, float]]:
    return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2])]


def bound(number: float, exclusive: bool) -> str:
    return ("(" if exclusive else "") + repr(number)


@settings(max_examples=60)
@given(
    items=st.lists(st.tuples(members, scores), min_size=1, max_size=30),
    low=scores,
    low_ex=flags,
    high=scores,
    high_ex=flags,
    limit=limits,
    span=st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
)
def test_ranges_are_those_of_redis(
    server: RedisServer,
    items: list[tuple[bytes, float]],
    low: float,
    low_ex: bool,
    high: float,
    high_ex: bool,
    limit: tuple[int, int],
    span: tuple[int, int],
) -> None:
    client = server.client(raw=True)
    client.execute_command("DEL", "z")
    ours = ZSet()
    for member, score in items:
        result = ours.add(member, score)
        assert client.execute_command("ZADD", "z", "CH", repr(score), member) == (
            result != UNCHANGED
        )
    between = (low, low_ex, high, high_ex)
    ask = (bound(low, low_ex), bound(high, high_ex))
    theirs = client.execute_command("ZCOUNT", "z", *ask)
    assert ours.count_by_score(*between) == theirs
    theirs = client.execute_command("ZRANGEBYSCORE", "z", *ask, "WITHSCORES", "LIMIT", *limit)
    assert paired(ours.by_score(*between, *limit)) == pairs(theirs)
    theirs = client.execute_command(
        "ZREVRANGEBYSCORE", "z", *reversed(ask), "WITHSCORES", "LIMIT", *limit
    )
    assert paired(ours.by_score(*between, *limit, True)) == pairs(theirs)
    theirs = client.execute_command("ZRANGE", "z", *span, "WITHSCORES")
    assert paired(ours.by_rank(*span)) == pairs(theirs)
    theirs = client.execute_command("ZREVRANGE", "z", *span, "WITHSCORES")
    assert paired(ours.by_rank(*span, True)) == pairs(theirs)
    for member, _ in items:
        assert ours.rank(member) == client.execute_command("ZRANK", "z", member)
        assert ours.reverse_rank(member) == client.execute_command("ZREVRANK", "z", member)
    theirs = client.execute_command("ZREMRANGEBYSCORE", "z", *ask)
    assert len(ours.delete_by_score(*between)) == theirs
    theirs = client.execute_command("ZREMRANGEBYRANK", "z", *span)
    assert len(ours.delete_by_rank(*span)) == theirs
    assert list(ours.items()) == pairs(client.execute_command("ZRANGE", "z", 0, -1, "WITHSCORES"))
    client.close()


def lex(end: bytes | None, exclusive: bool, infinite: bytes) -> bytes:
    return infinite if end is None else (b"(" if exclusive else b"[") + end


@settings(max_examples=60)
@given(
    names=st.sets(members, min_size=1, max_size=20),
    low=ends,
    low_ex=flags,
    high=ends,
    high_ex=flags,
    limit=limits,
)
def test_ranges_of_members_are_those_of_redis(
    server: RedisServer,
    names: set[bytes],
    low: bytes | None,
    low_ex: bool,
    high: bytes | None,
    high_ex: bool,
    limit: tuple[int, int],
) -> None:
    client = server.client(raw=True)
    client.execute_command("DEL", "z")
    ours = ZSet()
    for name in names:
        ours.add(name, 1.0)
        client.execute_command("ZADD", "z", 1, name)
    between = (low, low_ex, high, high_ex)
    ask = (lex(low, low_ex, b"-"), lex(high, high_ex, b"+"))
    assert ours.count_by_lex(*between) == client.execute_command("ZLEXCOUNT", "z", *ask)
    theirs = client.execute_command("ZRANGEBYLEX", "z", *ask, "LIMIT", *limit)
    assert ours.by_lex(*between, *limit)[0] == theirs
    theirs = client.execute_command("ZREVRANGEBYLEX", "z", *reversed(ask), "LIMIT", *limit)
    assert ours.by_lex(*between, *limit, True)[0] == theirs
    theirs = client.execute_command("ZREMRANGEBYLEX", "z", *ask)
    assert len(ours.delete_by_lex(*between)) == theirs
    client.close()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 12), st.sampled_from([0, 10, 15, 16, 17])),
        max_size=30,
    )
)
def test_encoding_is_that_of_redis(
    oracle: RedisServer, writes: list[tuple[bool, int, int]]
) -> None:
    client = oracle.client(raw=True)
    client.execute_command("FLUSHALL")
    client.execute_command("CONFIG", "SET", "zset-max-listpack-entries", 8)
    client.execute_command("CONFIG", "SET", "zset-max-listpack-value", 16)
    try:
        ours = ZSet()
        for add, number, size in writes:
            member = (b"%d" % number).rjust(size, b"m")
            if add:
                ours.add(member, float(number), 8, 16)
                client.execute_command("ZADD", "z", number, member)
            else:
                ours.remove(member)
                client.execute_command("ZREM", "z", member)
            if len(ours) == 0:
                ours = ZSet()
            else:
                assert ours.encoding.encode() == client.execute_command("OBJECT", "ENCODING", "z")
    finally:
        client.execute_command("CONFIG", "SET", "zset-max-listpack-entries", 128)
        client.execute_command("CONFIG", "SET", "zset-max-listpack-value", 64)
        client.close()


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        ([], "listpack"),
        ([b"m" * 64], "listpack"),
        ([b"m" * 65], "skiplist"),
        ([b"%d" % number for number in range(128)], "listpack"),
        ([b"%d" % number for number in range(129)], "skiplist"),
    ],
)
def test_encoding_of_a_sorted_set_made_at_once(names: list[bytes], encoding: str) -> None:
    assert ZSet.of([(name, 0.0) for name in names]).encoding == encoding
