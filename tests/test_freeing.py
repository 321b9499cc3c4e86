"""What is deleted is gone at once, and its memory little by little; whatever shares it, stays."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

import kvcore
from kvcore.freeing import Freeing
from kvcore.keyspace import Keyspace

MANY = 20_000


@pytest.fixture
def store() -> Iterator[kvcore.Store]:
    with kvcore.open(enable_debug_command="yes", tick=False) as store:
        yield store


def keyspace_of(store: kvcore.Store) -> Keyspace:
    return store.instance.keyspace


def freeing_of(store: kvcore.Store) -> Freeing:
    return keyspace_of(store).freeing


def fill(store: kvcore.Store, count: int = MANY) -> None:
    numbers = [str(number) for number in range(count)]
    store.execute("HSET", "hash", *[word for number in numbers for word in (number, "v" + number)])
    store.execute("SADD", "set", *numbers, "x")
    store.execute("RPUSH", "list", *numbers)
    store.execute("ZADD", "zset", *[word for number in numbers for word in (number, "m" + number)])


KINDS = ["hash", "set", "list", "zset"]


def run_dry(store: kvcore.Store) -> None:
    while freeing_of(store).step():
        pass


def blocks_in_use() -> int:
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize("delete", ["DEL", "UNLINK", "PEXPIREAT", "FLUSHDB", "FLUSHALL ASYNC"])
def test_large_values_are_freed_in_slices(store: kvcore.Store, delete: str) -> None:
    store.execute("SET", "small", "x")
    before = blocks_in_use()
    fill(store)
    full = blocks_in_use()
    for kind in KINDS:
        if delete.startswith("FLUSH"):
            store.execute(*delete.split())
        else:
            store.execute(delete, kind, *(["1"] if delete == "PEXPIREAT" else []))
        assert store.execute("EXISTS", kind) == 0
    assert len(freeing_of(store).pending) == 4
    info = store.execute("INFO", "memory").decode()
    assert "lazyfree_pending_objects:4" in info
    run_dry(store)
    assert blocks_in_use() - before < (full - before) // 20
    assert "lazyfreed_objects:4" in store.execute("INFO", "memory").decode()


def test_small_values_are_freed_at_once(store: kvcore.Store) -> None:
    fill(store, 100)
    store.execute("UNLINK", *KINDS)
    store.execute("FLUSHALL")
    assert not freeing_of(store).pending


def test_a_flushed_database_goes_shard_by_shard(store: kvcore.Store) -> None:
    for number in range(MANY):
        store.execute("SET", f"key {number}", "x", "EX", "1000")
    fill(store)
    store.execute("FLUSHALL")
    assert store.execute("DBSIZE") == 0
    store.execute("SET", "key 1", "new")
    assert len(freeing_of(store).pending) == 2  # the keys, and when they expire
    run_dry(store)
    assert store.execute("GET", "key 1") == b"new"
    assert store.execute("TTL", "key 1") == -1
    assert store.execute("DBSIZE") == 1


def test_a_copy_keeps_what_the_deleted_value_had(store: kvcore.Store) -> None:
    fill(store)
    expected = [store.execute("DEBUG", "DIGEST-VALUE", kind) for kind in KINDS]
    for kind in KINDS:
        store.execute("COPY", kind, f"{kind} copy")
    store.execute("UNLINK", *KINDS)
    run_dry(store)
    assert [store.execute("DEBUG", "DIGEST-VALUE", f"{kind} copy") for kind in KINDS] == expected
    store.execute("ZADD", "zset copy", "-1", "first")
    assert store.execute("ZRANK", "zset copy", "m0") == 1
    for _, _, value in keyspace_of(store).walk():
        value.check()  # type: ignore[attr-defined]


@pytest.mark.parametrize("delete", ["UNLINK hash set list zset", "FLUSHALL"])
def test_an_open_view_keeps_what_is_deleted(store: kvcore.Store, delete: str) -> None:
    fill(store)
    keyspace = keyspace_of(store)

    def digests(entries: Iterator[tuple[bytes, object]]) -> dict[bytes, bytes]:
        return {key: keyspace.types.of(value).digest(value, bytes(20)) for key, value in entries}

    expected = digests(keyspace.databases[0].entries.items())
    view = keyspace.freeze()[0].entries
    store.execute(*delete.split())
    run_dry(store)
    assert digests(view.items()) == expected
    keyspace.thaw()


def test_values_renamed_or_moved_are_not_freed(store: kvcore.Store) -> None:
    fill(store)
    expected = store.execute("DEBUG", "DIGEST-VALUE", *KINDS)
    for kind in KINDS:
        store.execute("RENAME", kind, f"{kind} renamed")
        store.execute("MOVE", f"{kind} renamed", "1")
    run_dry(store)
    store.execute("SELECT", "1")
    names = [f"{kind} renamed" for kind in KINDS]
    assert store.execute("DEBUG", "DIGEST-VALUE", *names) == expected


def test_who_deletes_faster_than_is_freed_frees_the_oldest(store: kvcore.Store) -> None:
    for _ in range(1100):
        store.execute("RPUSH", "list", *["x"] * 600)
        store.execute("DEL", "list")
    assert len(freeing_of(store).pending) == 1000
    assert freeing_of(store).freed == 100


def test_housekeeping_frees(store: kvcore.Store) -> None:
    fill(store)
    store.execute("UNLINK", *KINDS)
    while freeing_of(store).pending:
        store.tick()
    assert freeing_of(store).freed == 4
