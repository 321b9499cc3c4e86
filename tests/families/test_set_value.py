"""The set against Python's, and its encoding against Redis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvcore.codec import listpack
from kvcore.datatype import TypeRegistry
from kvcore.families.sets.rdb import TYPE
from kvcore.families.sets.value import Set, difference, intersection, intersection_size, union
from tests.datasets import repacked
from tests.support import start_redis

numbers = st.integers(-50, 1500)


def member(number: int) -> bytes:
    return b"%d" % number


# Some look like the entries of a payload.
texts = st.one_of(
    st.binary(max_size=3),
    st.integers(-9, 9).map(lambda number: b"x" + listpack.entry(member(number))),
    st.sampled_from([b"x" * 64, b"x" * 65]),
)

TYPES = TypeRegistry()
TYPES.add(TYPE)


class AsSet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.set = Set()
        self.model: set[bytes] = set()
        self.copies: list[tuple[Set, set[bytes]]] = []

    @rule(number=numbers)
    def add(self, number: int) -> None:
        assert self.set.add(member(number)) == (member(number) not in self.model)
        self.model.add(member(number))

    @rule(text=texts)
    def add_text(self, text: bytes) -> None:
        assert self.set.add(text) == (text not in self.model)
        self.model.add(text)

    @rule(start=numbers, count=st.integers(0, 900))
    def add_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.add(number)

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        assert self.set.remove(member(number)) == (member(number) in self.model)
        self.model.discard(member(number))

    @rule(start=numbers, count=st.integers(0, 900))
    def remove_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.remove(number)

    @rule(number=numbers)
    def has(self, number: int) -> None:
        assert self.set.has(member(number)) == (member(number) in self.model)

    @rule()
    def random(self) -> None:
        if self.model:
            assert self.set.random() in self.model
            self.model.remove(self.set.pop_random())
        else:
            with pytest.raises(IndexError):
                self.set.random()
            with pytest.raises(IndexError):
                self.set.pop_random()

    @rule()
    def scan(self) -> None:
        cursor, found = self.set.scan(0)
        while cursor:
            cursor, more = self.set.scan(cursor)
            found += more
        assert sorted(found) == sorted(self.model)

    @rule()
    def lie_packed(self) -> None:
        before = self.set.encoding
        self.set = repacked(TYPES, self.set)
        assert self.set.encoding == before

    @rule()
    def go_on_with_a_copy(self) -> None:
        """Each is independent of the other, whichever is written to."""
        original, self.set = self.set, self.set.copy()
        assert self.set.encoding == original.encoding
        self.copies.append((original, self.model))
        self.model = self.model.copy()

    @precondition(lambda self: self.copies)
    @rule()
    def go_on_with_the_original(self) -> None:
        copy = self.copies.pop(0)
        self.copies.append((self.set, self.model))
        self.set, self.model = copy

    @rule()
    def go_on_with_another_of_its_members(self) -> None:
        members = self.set.members()
        self.set = Set.of(members)
        members.clear()

    @invariant()
    def same_members(self) -> None:
        self.set.spared = 0  # or the looks below would have it decoded
        self.set.check()
        assert len(self.set) == len(self.model)
        assert self.set.members() == self.model
        for copy, model in self.copies:
            copy.check()
            assert copy.members() == model


TestAsSet = AsSet.TestCase
TestAsSet.settings = settings(max_examples=40, stateful_step_count=20)

ranges = st.tuples(st.integers(0, 200), st.one_of(st.integers(0, 20), st.integers(0, 2000)))


@given(st.lists(ranges, min_size=1, max_size=4), st.integers(1, 5))
@settings(max_examples=60)
def test_algebra(spans: list[tuple[int, int]], limit: int) -> None:
    models = [{member(n) for n in range(start, start + count)} for start, count in spans]
    sets = [Set.of(model) for model in models]
    common = set.intersection(*models)
    assert intersection(sets) == common
    assert intersection_size(sets) == len(common)
    assert intersection_size(sets, limit) == min(len(common), limit)
    assert union(sets) == set.union(*models)
    assert difference(sets[0], sets[1:]) == models[0].difference(*models[1:])
    assert [each.members() for each in sets] == models


def test_the_result_of_algebra_is_a_new_set() -> None:
    only = Set.of({b"a"})
    for result in (union([only]), intersection([only]), difference(only, []), only.members()):
        result.clear()
    assert only.members() == {b"a"}


# Every spelling near to an integer's, at the borders of its sizes.
words = st.one_of(
    st.integers(-20, 20).map(lambda n: b"%d" % n),
    st.sampled_from([-(2**63) - 1, -(2**63), 2**63 - 1, 2**63]).map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"-", b"-0", b"+1", b"01", b" 1", b"1 ", b"1_0", b"1.0", b"\xd9\xa1"]),
)


def test_encoding_is_that_of_redis_7_0(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No listpack: max_entries 0."""
    with start_redis(tmp_path_factory.mktemp("sets"), "--set-max-intset-entries", "8") as server:
        client = server.client(raw=True)

        @settings(max_examples=60)
        @given(st.lists(st.tuples(st.booleans(), words), max_size=30))
        def compare(writes: list[tuple[bool, bytes]]) -> None:
            client.execute_command("DEL", "s")
            ours = Set()
            for add, word in writes:
                if add:
                    ours.add(word, 8, 0, 64)
                else:
                    ours.remove(word)
                client.execute_command("SADD" if add else "SREM", "s", word)
                if len(ours) == 0:
                    ours = Set()
                else:
                    theirs = client.execute_command("OBJECT", "ENCODING", "s")
                    assert ours.encoding.encode() == theirs

        compare()


def encoding_after(*members: bytes) -> str:
    """Under the limits of 7.2, at a quarter of the defaults."""
    ours = Set()
    for each in members:
        ours.add(each, 128, 32, 16)
    ours.check()
    return ours.encoding


def texts(count: int) -> list[bytes]:
    return [b"t%d" % number for number in range(count)]


def integers(count: int) -> list[bytes]:
    return [member(number) for number in range(count)]


def test_encoding_by_the_rules_of_7_2() -> None:
    assert encoding_after(*integers(128)) == "intset"
    assert encoding_after(*integers(129)) == "hashtable"
    assert encoding_after(*texts(32)) == "listpack"
    assert encoding_after(*texts(33)) == "hashtable"
    assert encoding_after(b"x" * 16) == "listpack"
    assert encoding_after(b"x" * 17) == "hashtable"
    # An intset that meets a text becomes a listpack if it fits one with it.
    assert encoding_after(*integers(31), b"text") == "listpack"
    assert encoding_after(*integers(32), b"text") == "hashtable"
    assert encoding_after(*integers(32), b"31") == "intset"
    assert encoding_after(b"12345678901234567", b"text") == "hashtable"
    # A listpack may take integers, and does not become an intset again.
    assert encoding_after(b"text", *integers(31)) == "listpack"
    assert encoding_after(b"text", *integers(32)) == "hashtable"


def test_encoding_never_narrows() -> None:
    ours = Set()
    for each in [b"1", b"text"]:
        ours.add(each)
    ours.remove(b"text")
    assert ours.encoding == "listpack"
    ours.add(b"x" * 65)
    ours.remove(b"x" * 65)
    assert ours.encoding == "hashtable"


def test_an_intset_may_be_larger_than_the_flat_representation() -> None:
    ours = Set()
    for each in integers(700):
        ours.add(each, 1000)
    assert ours.encoding == "intset"
    for each in integers(1001):
        ours.add(each, 1000)
    assert ours.encoding == "hashtable"
    assert Set.of(set(integers(700)), 1000).encoding == "intset"
