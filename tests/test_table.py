"""The table against a dict, and its scan while it grows and shrinks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvcore.table import SHARD, Table


def key(number: int) -> bytes:
    return b"key:%d" % number


def table_of(*spans: range) -> Table:
    table = Table()
    for span in spans:
        for number in span:
            table.set(key(number), number)
    table.check()
    return table


numbers = st.integers(0, 2000)


class AsDict(RuleBasedStateMachine):
    """Whatever is done to a table and to a dict leaves the same in both."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.model: dict[bytes, object] = {}
        self.copies: list[tuple[Table, dict[bytes, object]]] = []

    @rule(number=numbers, value=st.integers())
    def set(self, number: int, value: int) -> None:
        assert self.table.set(key(number), value) == (key(number) not in self.model)
        self.model[key(number)] = value

    @rule(start=numbers, count=st.integers(0, 600))
    def set_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.set(number, number)

    @rule(start=numbers, count=st.integers(0, 600), value=st.integers())
    def insert(self, start: int, count: int, value: int) -> None:
        keys = [key(number) for number in range(start, start + count)]
        new = next((place for place, each in enumerate(keys) if each in self.model), count)
        assert self.table.insert(keys, [value] * count) == new
        self.model.update(dict.fromkeys(keys[:new], value))
        assert self.table.fetch([*keys, b"none"]) == sum(each in self.model for each in keys)

    @rule(start=numbers, count=st.integers(0, 600), times=st.integers(1, 2))
    def set_all(self, start: int, count: int, times: int) -> None:
        items = [(key(number), number) for number in range(start, start + count)] * times
        self.table.set_all([each for each, _ in items], [value for _, value in items])
        self.model.update(items)

    @rule(number=numbers)
    def pop(self, number: int) -> None:
        assert self.table.pop(key(number)) == self.model.pop(key(number), None)

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        there = key(number) in self.model
        self.model.pop(key(number), None)
        assert self.table.remove(key(number)) is there

    @rule(start=numbers, count=st.integers(0, 600))
    def pop_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.pop(number)

    @rule(number=numbers)
    def get(self, number: int) -> None:
        assert self.table.get(key(number)) == self.model.get(key(number))
        assert self.table.get(key(number), b"none") == self.model.get(key(number), b"none")
        assert self.table.has(key(number)) == (key(number) in self.model)
        assert (key(number) in self.table) == (key(number) in self.model)

    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.model.clear()

    @rule(promised=st.integers(0, 3000), came=st.integers(0, 600))
    def fill_as_promised(self, promised: int, came: int) -> None:
        self.table.reserve(promised)
        for number in range(came):
            assert self.table.set(key(number), number) == (key(number) not in self.model)
            self.model[key(number)] = number
        assert dict(self.table.items()) == self.model
        self.table.trim()

    @rule()
    def make_a_copy(self) -> None:
        self.copies.append((self.table.copy(), self.model.copy()))

    @rule()
    def go_on_with_a_copy(self) -> None:
        """Each of two tables is independent of the other, whichever is written to."""
        self.copies.append((self.table, self.model))
        self.table, self.model = self.table.copy(), self.model.copy()

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def go_on_with_an_older_one(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.copies) - 1))
        other, self.copies[place] = self.copies[place], (self.table, self.model)
        self.table, self.model = other

    @rule()
    def forget_the_copies(self) -> None:
        self.copies.clear()
        self.table.keep_all()

    @rule()
    def random(self) -> None:
        if self.model:
            assert self.table.random() in self.model
        else:
            with pytest.raises(IndexError):
                self.table.random()

    @rule(start=numbers, count=st.integers(0, 600))
    def common(self, start: int, count: int) -> None:
        keys = {key(number) for number in range(start, start + count)}
        assert self.table.common(keys) == keys & self.model.keys()

    @invariant()
    def same_items(self) -> None:
        self.table.check()
        assert self.table.count == len(self.table) == len(self.model)
        assert dict(self.table.items()) == self.model
        assert dict(zip(self.table.keys(), self.table.values())) == self.model
        assert sorted(self.table.keys()) == sorted(self.table) == sorted(self.model)
        for table, model in self.copies:
            table.check()
            assert dict(table.items()) == model


TestAsDict = AsDict.TestCase
TestAsDict.settings = settings(max_examples=60, stateful_step_count=25)


def test_shrinks_back_to_nothing() -> None:
    table = table_of(range(5000))
    for number in range(5000):
        assert table.pop(key(number)) == number
        if number % 97 == 0:
            table.check()
    table.check()
    assert table.count == 0
    assert table.scan(0) == (0, [])


@pytest.mark.parametrize("room", [0, 1000])
def test_insert_stops_at_a_key_that_comes_again_among_those_that_it_brings(room: int) -> None:
    table = Table()
    table.reserve(room)
    assert table.insert([b"a", b"b", b"a", b"c"], [1, 2, 3, 4]) == 2
    assert dict(table.items()) == {b"a": 1, b"b": 2}
    table.trim()
    table.check()


def test_none_is_a_value() -> None:
    table = Table.of_keys([b"a", b"b", b"a"])
    assert table.count == 2
    assert table.get(b"a", 1) is None
    assert table.has(b"a")
    assert table.remove(b"a")
    assert not table.remove(b"a")


def test_each_step_is_small() -> None:
    """What bounds every operation: no shard holds more than a few times the average."""
    table = table_of(range(20_000))
    cursor, steps = 0, 0
    while True:
        cursor, keys = table.scan(cursor)
        steps += 1
        assert len(keys) <= 5 * SHARD
        assert 0 <= cursor < 2**63
        if cursor == 0:
            break
    assert steps >= 20_000 // (2 * SHARD)


@settings(max_examples=80)
@given(
    stable=st.integers(0, 700),
    sizes=st.lists(st.integers(0, 4000), max_size=40),
)
def test_scan_misses_nothing_that_stays(stable: int, sizes: list[int]) -> None:
    """Between steps the table takes the sizes that Hypothesis likes, up and down."""
    lasting = {key(number) for number in range(stable)}
    table = table_of(range(stable))
    seen: set[bytes] = set()
    cursor, steps, others = 0, 0, 0
    while True:
        cursor, keys = table.scan(cursor)
        seen.update(keys)
        if cursor == 0:
            break
        if steps < len(sizes):
            for number in range(others, sizes[steps]):
                table.set(b"other:%d" % number, None)
            for number in range(sizes[steps], others):
                table.pop(b"other:%d" % number)
            others = sizes[steps]
        steps += 1
    assert lasting <= seen


@given(st.integers(0, 3000))
@settings(max_examples=30)
def test_scan_of_a_quiet_table_returns_each_key_once(count: int) -> None:
    table = table_of(range(count))
    found: list[tuple[bytes, object]] = []
    cursor, found = table.scan_items(0)
    while cursor:
        cursor, more = table.scan_items(cursor)
        found += more
    assert len(found) == count
    assert dict(found) == {key(number): number for number in range(count)}


@given(st.integers(0, 1000), st.integers(0, 2**64 - 1))
def test_scan_ends_from_any_cursor(count: int, cursor: int) -> None:
    table = table_of(range(count))
    for _ in range(count + 2):
        cursor, _ = table.scan(cursor)
        if cursor == 0:
            return
    pytest.fail("the scan did not end")


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_random_is_uniform(count: int) -> None:
    """Pearson's chi-squared, with a tolerance of 7 standard deviations."""
    table = table_of(range(count))
    random.seed(count)
    draws = 40 * count
    tally = {key(number): 0 for number in range(count)}
    for _ in range(draws):
        tally[table.random()] += 1
    expected = draws / count
    chi_squared = sum((seen - expected) ** 2 / expected for seen in tally.values())
    assert chi_squared <= count + 7 * (2 * count) ** 0.5


def test_random_finds_the_last_key() -> None:
    table = table_of(range(1000))
    for number in range(999):
        table.pop(key(number))
    assert table.random() == key(999)


def test_iterating_while_removing_each_key() -> None:
    table = table_of(range(3000))
    seen = []
    for each in table.keys():
        seen.append(each)
        table.pop(each)
    assert sorted(seen) == sorted(key(number) for number in range(3000))
    assert table.count == 0
    table.check()


def test_iterating_while_inserting() -> None:
    """What was there at the start comes exactly once, though every shard is split meanwhile."""
    table = table_of(range(300))
    seen = []
    for index, (each, _) in enumerate(table.items()):
        seen.append(each)
        for number in range(10 if index < 100 else 0):
            table.set(b"new:%d:%d" % (index, number), None)
    old = [each for each in seen if each.startswith(b"key:")]
    assert sorted(old) == sorted(key(number) for number in range(300))
    table.check()


@settings(max_examples=60)
@given(start=st.integers(0, 3000), sizes=st.lists(st.integers(0, 4000), max_size=40))
def test_a_copy_that_is_drained_has_what_there_was(start: int, sizes: list[int]) -> None:
    """Between steps the original takes the sizes that Hypothesis likes, up and down."""
    table = table_of(range(start))
    copy = table.copy()
    drained: list[tuple[bytes, object]] = []
    size = start
    for step, items in enumerate(copy.drain(table)):
        drained += items
        if step < len(sizes):
            for number in range(sizes[step]):
                table.set(key(number), -number)
            for number in range(sizes[step], size):
                table.pop(key(number))
            size = sizes[step]
            table.check()
    assert len(drained) == start
    assert dict(drained) == {key(number): number for number in range(start)}
    assert table.count == size
    for each in list(table.keys()):
        table.pop(each)
    assert list(copy.items()) == []


@pytest.mark.parametrize("size", [1, 127, 129, 1000, 4096, 4097])
def test_a_copy_that_is_being_drained_gives_the_values_that_it_still_has(size: int) -> None:
    """`Database._spare` asks it."""
    table = table_of(range(size))
    copy = table.copy()
    left = {key(number): number for number in range(size)}
    for items in copy.drain(table):
        assert {each: copy.get(each) for each in left} == left
        for each, value in items:
            assert left.pop(each) == value
    assert not left
    assert not any(copy.has(key(number)) for number in range(size))


def test_room_that_was_reserved_is_filled_without_a_split() -> None:
    table = Table()
    table.reserve(10_000)
    shards = table._distinct()
    for number in range(10_000):
        table.set(key(number), number)
    assert [old is new for old, new in zip(shards, table._distinct())].count(False) == 0
    table.check()
    table.reserve(5000)  # there is more room already: nothing happens
    assert [old is new for old, new in zip(shards, table._distinct())].count(False) == 0


def test_room_can_be_reserved_for_keys_to_come() -> None:
    table = table_of(range(1000))
    table.reserve(100_000)
    assert dict(table.items()) == {key(number): number for number in range(1000)}
    assert all(table.get(key(number)) == number for number in range(1000))
    table.trim()
    table.check()


def test_what_was_drained_is_not_copied_any_more() -> None:
    table = table_of(range(1000))
    shards = table._distinct()
    steps = table.copy().drain(table)
    passed = [next(steps), next(steps)][0]
    table.set(passed[0][0], b"written to in place")
    rest = next(steps)
    table.set(rest[0][0], b"written to in a copy")
    assert [old is new for old, new in zip(shards, table._distinct())].count(False) == 1
