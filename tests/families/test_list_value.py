"""The list against Python's, against Redis, and its encoding against the sizes of listpacks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvcore.datatype import TypeRegistry
from kvcore.families.lists import value as list_value
from kvcore.families.lists.rdb import TYPE
from kvcore.families.lists.value import ALWAYS_QUICKLIST, List
from tests.datasets import repacked
from tests.support import RedisServer, start_redis

few = st.lists(st.sampled_from([b"a", b"b", b"c", b"10", b""]), max_size=12)
elements = st.sampled_from([b"a", b"b", b"c", b"10", b"", b"new"])
indexes = st.integers(-40, 40)


def redis_range(found: list[bytes], start: int, stop: int) -> list[bytes]:
    start = max(0, start + len(found)) if start < 0 else start
    stop = stop + len(found) if stop < 0 else stop
    return found[start : stop + 1] if stop >= start else []


TYPES = TypeRegistry()
TYPES.add(TYPE)


class AsList(RuleBasedStateMachine):
    """With blocks of 4, so that short lists have many."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(list_value, "_BLOCK", 4)
        self.patch.setattr(list_value, "_BLOCK_BITS", 2)
        self.list = List()
        self.model: list[bytes] = []
        self.copies: list[tuple[List, list[bytes]]] = []

    def teardown(self) -> None:
        self.patch.undo()

    @initialize(size=st.integers(0, 600), different=st.integers(1, 700))
    def build(self, size: int, different: int) -> None:
        self.model = [b"%d" % (number % different) for number in range(size)]
        self.list = List.of(self.model)

    @rule(values=few)
    def push_left(self, values: list[bytes]) -> None:
        self.list.push_left(values)
        self.model[:0] = reversed(values)

    @rule(values=few)
    def push_right(self, values: list[bytes]) -> None:
        self.list.push_right(values)
        self.model += values

    @rule(count=st.one_of(st.integers(0, 20), st.just(1), st.just(2**63)))
    def pop_left(self, count: int) -> None:
        assert self.list.pop_left(count) == self.model[:count]
        del self.model[:count]

    @rule(count=st.one_of(st.integers(0, 20), st.just(1), st.just(2**63)))
    def pop_right(self, count: int) -> None:
        assert self.list.pop_right(count) == self.model[::-1][:count]
        del self.model[max(0, len(self.model) - count) :]

    @rule(index=indexes)
    def get(self, index: int) -> None:
        there = -len(self.model) <= index < len(self.model)
        assert self.list.get(index) == (self.model[index] if there else None)

    @rule(index=indexes, element=elements)
    def set(self, index: int, element: bytes) -> None:
        there = -len(self.model) <= index < len(self.model)
        assert self.list.set(index, element) == there
        if there:
            self.model[index] = element

    @rule(start=indexes, stop=indexes)
    def range(self, start: int, stop: int) -> None:
        assert self.list.range(start, stop) == redis_range(self.model, start, stop)

    @rule(start=st.integers(-700, 20), stop=st.integers(-20, 700))
    def trim(self, start: int, stop: int) -> None:
        self.list.trim(start, stop)
        self.model = redis_range(self.model, start, stop)

    @rule(data=st.data(), after=st.booleans(), element=elements)
    def insert(self, data: st.DataObject, after: bool, element: bytes) -> None:
        pivot = data.draw(st.sampled_from(self.model) if self.model else elements)
        assert self.list.insert(pivot, element, after) == (pivot in self.model)
        if pivot in self.model:
            self.model.insert(self.model.index(pivot) + after, element)

    @rule(data=st.data(), count=st.integers(-3, 3))
    def remove(self, data: st.DataObject, count: int) -> None:
        element = data.draw(st.sampled_from(self.model) if self.model else elements)
        places = [place for place, each in enumerate(self.model) if each == element]
        if count:
            places = places[:count] if count > 0 else places[count:]
        assert self.list.remove(count, element) == len(places)
        for place in reversed(places):
            del self.model[place]

    @rule(
        data=st.data(),
        rank=st.sampled_from([1, 2, 3, -1, -2, -3]),
        count=st.integers(0, 3),
        maxlen=st.one_of(st.just(0), st.integers(1, 50)),
    )
    def find(self, data: st.DataObject, rank: int, count: int, maxlen: int) -> None:
        element = data.draw(st.sampled_from(self.model) if self.model else elements)
        order = list(enumerate(self.model))
        if rank < 0:
            order.reverse()
        found = [place for place, each in order[: maxlen or None] if each == element]
        found = found[abs(rank) - 1 :][: count or None]
        assert self.list.find(element, rank, count, maxlen) == found

    @rule()
    def lie_packed(self) -> None:
        before = self.list.encoding
        self.list = repacked(TYPES, self.list)
        assert self.list.encoding == before

    @rule()
    def go_on_with_a_copy(self) -> None:
        """Each is independent of the other, whichever is written to."""
        original, self.list = self.list, self.list.copy()
        assert self.list.encoding == original.encoding
        self.copies.append((original, self.model))
        self.model = self.model.copy()

    @precondition(lambda self: self.copies)
    @rule()
    def go_on_with_the_original(self) -> None:
        copy = self.copies.pop(0)
        self.copies.append((self.list, self.model))
        self.list, self.model = copy

    @invariant()
    def same_elements(self) -> None:
        self.list.spared = 0  # or the looks below would have it decoded
        self.list.check()
        assert len(self.list) == len(self.model)
        assert self.list.items() == self.model
        for copy, model in self.copies:
            copy.check()
            assert copy.items() == model


TestAsList = AsList.TestCase
TestAsList.settings = settings(max_examples=100, stateful_step_count=25)


def test_long_lists_at_their_real_block_size() -> None:
    model = [b"%d" % number for number in range(5000)]
    ours = List()
    ours.push_right(model[2500:])
    ours.push_left(model[:2500][::-1])
    for place in (3000, 10, 4990, 2499):
        ours.insert(b"%d" % place, b"new", True)
        model.insert(model.index(b"%d" % place) + 1, b"new")
        ours.remove(1, b"%d" % (place + 100))
        if b"%d" % (place + 100) in model:
            model.remove(b"%d" % (place + 100))
        ours.check()
    assert ours.items() == model
    assert ours.range(2400, 2700) == model[2400:2701]
    assert ours.get(-2000) == model[-2000]
    assert ours.find(b"new", -1, 0) == [n for n in reversed(range(5000)) if model[n] == b"new"]


# Against Redis ----------------------------------------------------------------------------------

operations = st.one_of(
    st.tuples(st.just("LPUSH"), few),
    st.tuples(st.just("RPUSH"), few),
    st.tuples(st.just("LPOP"), st.integers(0, 5)),
    st.tuples(st.just("RPOP"), st.integers(0, 5)),
    st.tuples(st.just("LINDEX"), indexes),
    st.tuples(st.just("LSET"), indexes, elements),
    st.tuples(st.just("LRANGE"), indexes, indexes),
    st.tuples(st.just("LTRIM"), st.integers(-40, 3), st.integers(-3, 40)),
    st.tuples(st.just("LINSERT"), st.booleans(), elements, elements),
    st.tuples(st.just("LREM"), st.integers(-2, 2), elements),
    st.tuples(
        st.just("LPOS"),
        elements,
        st.sampled_from([1, 2, -1, -2]),
        st.integers(0, 3),
        st.integers(0, 20),
    ),
)


def run(ours: List, name: str, args: tuple[object, ...]) -> tuple[object, list[object]]:
    """Ours, and the command that asks Redis for the same."""
    if name in ("LPUSH", "RPUSH"):
        (ours.push_left if name == "LPUSH" else ours.push_right)(args[0])
        return len(ours), [name, "l", *args[0]]
    if name in ("LPOP", "RPOP"):
        return (ours.pop_left if name == "LPOP" else ours.pop_right)(args[0]), [name, "l", *args]
    if name == "LINDEX":
        return ours.get(*args), [name, "l", *args]
    if name == "LSET":
        return ours.set(*args), [name, "l", *args]
    if name == "LRANGE":
        return ours.range(*args), [name, "l", *args]
    if name == "LTRIM":
        return ours.trim(*args), [name, "l", *args]
    if name == "LINSERT":
        after, pivot, element = args
        found = ours.insert(pivot, element, after)
        where = "AFTER" if after else "BEFORE"
        return len(ours) if found else -1, [name, "l", where, pivot, element]
    if name == "LREM":
        return ours.remove(*args), [name, "l", *args]
    element, rank, count, maxlen = args
    command = [name, "l", element, "RANK", rank, "COUNT", count, "MAXLEN", maxlen]
    return ours.find(*args), command


@settings(max_examples=60)
@given(st.lists(operations, max_size=30))
def test_operations_are_those_of_redis(
    oracle: RedisServer, script: list[tuple[object, ...]]
) -> None:
    client = oracle.client(raw=True)
    client.execute_command("DEL", "l")
    client.execute_command("RPUSH", "l", "last")
    ours = List.of([b"last"])
    for name, *args in script:
        if name in ("LPUSH", "RPUSH") and not args[0]:
            continue
        result, command = run(ours, name, args)
        if name == "LSET" and not result:
            continue
        theirs = client.execute_command(*command)
        if name not in ("LSET", "LTRIM"):
            assert result == theirs
        if len(ours) == 0:
            client.execute_command("RPUSH", "l", "last")
            ours = List.of([b"last"])
        assert ours.items() == client.execute_command("LRANGE", "l", 0, -1)
    client.close()


# Encoding ---------------------------------------------------------------------------------------

Measure = Callable[[list[bytes]], int]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    """Bytes of the listpack that Redis makes of some elements, read in a DUMP."""
    args = ("--list-max-listpack-size", "-5", "--rdbcompression", "no")
    with start_redis(tmp_path_factory.mktemp("lists"), *args) as server:
        client = server.client(raw=True)

        def listpack_bytes(values: list[bytes]) -> int:
            client.execute_command("DEL", "l")
            client.execute_command("RPUSH", "l", *values)
            dump = client.execute_command("DUMP", "l")
            assert dump[:3] == b"\x12\x01\x02"  # a quicklist of one node, which is packed
            length_bytes = {0: 1, 1: 2, 2: 5}[dump[3] >> 6]
            return int.from_bytes(dump[3 + length_bytes : 7 + length_bytes], "little")

        yield listpack_bytes


def fits(values: list[bytes], fill: int) -> bool:
    return List.of(values, fill).encoding == "listpack"


near_borders = [
    border + step
    for border in (
        0,
        127,
        -4096,
        4095,
        *(sign * 2**n for n in (15, 23, 31, 63) for sign in (1, -1)),
    )
    for step in (-1, 0, 1)
]
words = st.one_of(
    st.sampled_from(near_borders).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"-", b"-0", b"+1", b"01", b"1 ", b"1_0", b"x1"]),
    st.sampled_from([1, 62, 63, 64, 65, 124, 125, 126, 127, 128]).map(lambda n: b"x" * n),
)


@settings(max_examples=60)
@given(st.lists(words, min_size=1, max_size=40))
def test_sizes_are_those_of_redis(measure: Measure, values: list[bytes]) -> None:
    """Padded to the limit exactly, elements are a listpack; one byte more, and they are not."""
    room = 8192 - measure(values)
    filler = [b"x" * 100] * (room // 103 - 2)
    room -= 103 * len(filler)  # from 206 to 308 bytes
    filler += [b"x" * (room - 4)]
    assert measure(values + filler) == 8192
    assert fits(values + filler, -2)
    assert not fits([*values, *filler[:-1], filler[-1] + b"x"], -2)


@pytest.mark.parametrize("size", [4095, 4096, 16376, 16377, 16378, 16379, 30_000])
def test_sizes_of_long_elements_are_those_of_redis(measure: Measure, size: int) -> None:
    for fill, limit in ((-1, 4096), (-2, 8192), (-3, 16384), (-4, 32768), (-5, 65536)):
        assert fits([b"x" * size], fill) == (measure([b"x" * size]) <= limit)


def test_a_limit_in_elements() -> None:
    assert fits([b"x"] * 5, 5)
    assert not fits([b"x"] * 6, 5)
    assert not fits([b"x" * 8200], 5)
    assert fits([b"x"], 0)
    assert not fits([b"x"] * 2, 0)


def test_without_listpacks_as_redis_7_0() -> None:
    ours = List()
    ours.push_right([b"a"], ALWAYS_QUICKLIST)
    assert ours.encoding == "quicklist"
    ours.push_right([b"b"] * 3000, ALWAYS_QUICKLIST)
    ours.pop_left(3000, ALWAYS_QUICKLIST)
    ours.set(0, b"c", ALWAYS_QUICKLIST)
    assert ours.encoding == "quicklist"
    assert List.of([b"a"], ALWAYS_QUICKLIST).encoding == "quicklist"


def test_a_list_returns_to_a_listpack_at_half_the_limit() -> None:
    ours = List()
    ours.push_right([b"x" * 98] * 81)
    assert ours.encoding == "listpack"  # 7 + 81 * 101 bytes
    ours.push_right([b"x" * 5])
    assert ours.encoding == "quicklist"
    while len(ours) > 41:
        assert ours.encoding == "quicklist"
        ours.pop_left()
    assert len(ours) == 41  # 7 + 40 * 101 + 7 bytes, at most 4096
    assert ours.encoding == "listpack"


def test_a_list_returns_to_a_listpack_when_its_large_element_goes() -> None:
    for shorten in (
        lambda ours: ours.pop_left(),
        lambda ours: ours.trim(1, -1),
        lambda ours: ours.set(0, b"small"),
        lambda ours: ours.remove(1, b"x" * 9000),
    ):
        ours = List()
        ours.push_right([b"x" * 9000, b"a", b"b"])
        assert ours.encoding == "quicklist"
        shorten(ours)
        assert ours.encoding == "listpack"
        ours.check()


def test_a_limit_in_elements_shrinks_at_half() -> None:
    ours = List()
    ours.push_right([b"x"] * 9, 8)
    assert ours.encoding == "quicklist"
    ours.pop_left(4, 8)
    assert ours.encoding == "quicklist"
    ours.pop_left(1, 8)
    assert ours.encoding == "listpack"


def test_a_queue_of_any_length_keeps_account_of_its_encoding() -> None:
    """However pushes and pops mix, a listpack fits and a long quicklist stays one."""
    random.seed(7)
    ours = List()
    for _ in range(3000):
        ours.push_right([b"%d" % random.randrange(10**6)] * random.randrange(4))
        ours.pop_left(random.randrange(4))
        ours.check()
        if ours.encoding == "listpack":
            assert fits(ours.items(), -2)
