"""The hash against a dict, and its encoding against Redis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvcore.codec import listpack
from kvcore.datatype import TypeRegistry
from kvcore.families.hashes.rdb import TYPE
from kvcore.families.hashes.value import Hash
from tests.datasets import repacked
from tests.support import RedisServer

numbers = st.integers(0, 1500)


def field(number: int) -> bytes:
    return b"f%d" % number


# Some look like the entries of a payload.
values = st.one_of(
    st.binary(max_size=4),
    st.integers(-300, 300).map(lambda number: b"%d" % number),
    numbers.map(lambda number: listpack.entry(field(number)) * 2),
    numbers.map(field),
    st.sampled_from([b"x" * 64, b"x" * 65]),
)

TYPES = TypeRegistry()
TYPES.add(TYPE)


class AsDict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.hash = Hash()
        self.model: dict[bytes, bytes] = {}
        self.copies: list[tuple[Hash, dict[bytes, bytes]]] = []

    @rule(number=numbers, value=values)
    def set(self, number: int, value: bytes) -> None:
        assert self.hash.set(field(number), value) == (field(number) not in self.model)
        self.model[field(number)] = value

    @rule(start=numbers, count=st.integers(0, 900))
    def set_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.set(number, b"")

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        there = self.model.pop(field(number), None) is not None
        assert self.hash.delete(field(number)) is there

    @rule(start=numbers, count=st.integers(0, 900))
    def delete_many(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.delete(number)

    @rule(number=numbers)
    def get(self, number: int) -> None:
        assert self.hash.get(field(number)) == self.model.get(field(number))
        assert self.hash.has(field(number)) == (field(number) in self.model)

    @rule()
    def random_field(self) -> None:
        if self.model:
            assert self.hash.random_field() in self.model
        else:
            with pytest.raises(IndexError):
                self.hash.random_field()

    @rule()
    def scan(self) -> None:
        cursor, found = self.hash.scan(0)
        while cursor:
            cursor, more = self.hash.scan(cursor)
            found += more
        assert sorted(found) == sorted(self.model.items())

    @rule()
    def lie_packed(self) -> None:
        before = self.hash.encoding
        self.hash = repacked(TYPES, self.hash)
        assert self.hash.encoding == before

    @rule()
    def go_on_with_a_copy(self) -> None:
        """Each is independent of the other, whichever is written to."""
        original, self.hash = self.hash, self.hash.copy()
        assert self.hash.encoding == original.encoding
        self.copies.append((original, self.model))
        self.model = self.model.copy()

    @precondition(lambda self: self.copies)
    @rule()
    def go_on_with_the_original(self) -> None:
        copy = self.copies.pop(0)
        self.copies.append((self.hash, self.model))
        self.hash, self.model = copy

    @rule()
    def go_on_with_another_of_its_items(self) -> None:
        items = self.hash.items()
        self.hash = Hash.of(items)
        items.clear()

    @invariant()
    def same_items(self) -> None:
        self.hash.spared = 0  # or the looks below would have it decoded
        self.hash.check()
        assert len(self.hash) == len(self.model)
        assert self.hash.items() == dict(self.hash.pairs()) == self.model
        assert self.hash.fields() == list(dict(self.hash.pairs()))
        assert sorted(self.hash.values()) == sorted(self.model.values())
        for copy, model in self.copies:
            copy.check()
            assert copy.items() == model


TestAsDict = AsDict.TestCase
TestAsDict.settings = settings(max_examples=40, stateful_step_count=20)


def test_a_large_hash_is_scanned_in_small_steps() -> None:
    large = Hash.of({field(number): b"" for number in range(10_000)})
    cursor, steps = 0, 0
    while True:
        cursor, found = large.scan(cursor)
        steps += 1
        assert len(found) < 1000
        if cursor == 0:
            break
    assert steps > 10


@settings(max_examples=40)
@given(
    writes=st.lists(
        st.one_of(
            st.tuples(st.just(b"HSET"), st.integers(0, 12), st.sampled_from([0, 1, 15, 16, 17])),
            st.tuples(st.just(b"HDEL"), st.integers(0, 12), st.just(0)),
            st.tuples(st.just(b"HSET long field"), st.integers(15, 18), st.just(0)),
        ),
        max_size=30,
    )
)
def test_encoding_is_that_of_redis(
    oracle: RedisServer, writes: list[tuple[bytes, int, int]]
) -> None:
    client = oracle.client(raw=True)
    client.execute_command("FLUSHALL")
    client.execute_command("CONFIG", "SET", "hash-max-listpack-entries", 8)
    client.execute_command("CONFIG", "SET", "hash-max-listpack-value", 16)
    try:
        ours = Hash()
        for command, number, size in writes:
            if command == b"HDEL":
                ours.delete(field(number))
                client.execute_command("HDEL", "h", field(number))
            else:
                name = b"x" * number if command == b"HSET long field" else field(number)
                ours.set(name, b"v" * size, 8, 16)
                client.execute_command("HSET", "h", name, b"v" * size)
            if len(ours) == 0:
                ours = Hash()
            else:
                assert ours.encoding.encode() == client.execute_command("OBJECT", "ENCODING", "h")
    finally:
        client.execute_command("CONFIG", "SET", "hash-max-listpack-entries", 512)
        client.execute_command("CONFIG", "SET", "hash-max-listpack-value", 64)
        client.close()


@pytest.mark.parametrize(
    ("items", "encoding"),
    [
        ({}, "listpack"),
        ({b"f": b"v" * 64}, "listpack"),
        ({b"f": b"v" * 65}, "hashtable"),
        ({b"f" * 65: b""}, "hashtable"),
        ({field(number): b"" for number in range(128)}, "listpack"),
        ({field(number): b"" for number in range(129)}, "hashtable"),
    ],
)
def test_encoding_of_a_hash_made_at_once(items: dict[bytes, bytes], encoding: str) -> None:
    assert Hash.of(items).encoding == encoding
