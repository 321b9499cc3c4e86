"""Power failures after several things went wrong, as seeds of the conformance kit found them."""

from __future__ import annotations

import contextlib
import time
from typing import Literal

import pytest

import kvcore
from kvcore import CommandError, PersistenceError, Store
from kvcore.testing import FaultyStorage


def start(storage: FaultyStorage, appendfsync: Literal["always", "everysec", "no"]) -> Store:
    return kvcore.open(persistence="aof", storage=storage, tick=False, appendfsync=appendfsync)


def keys(store: Store) -> list[bytes]:
    return sorted(store.execute("KEYS", "*"))


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_written_behind_what_a_failed_sync_may_have_lost(seed: int) -> None:
    storage = FaultyStorage(seed, tears="zeros")
    store = start(storage, "everysec")
    store.set("a", 1)
    store.tick(now := time.time())
    store.tick(now + 5)
    storage.fail("sync", times=-1)
    for number in range(20):
        now += 1
        with contextlib.suppress(CommandError):
            store.set(f"b{number}", "x" * 100)
        store.tick(now)
        store.instance.keyspace.databases[0].expire(b"a")  # as if its time had come
    after = storage.crash()
    store.close()
    with start(after, "everysec") as store:
        assert set(keys(store)) <= {b"a", *(b"b%d" % number for number in range(20))}


@pytest.fixture
def storage() -> FaultyStorage:
    """Of a process that was killed after a rotation of its log had failed half-way.

    The manifest that names the new increment is there, its folder is not synced, and the process
    went on in the old increment.
    """
    storage = FaultyStorage()
    store = start(storage, "no")
    store.set("a", 1)
    storage.fail("sync_dir", after=1)  # the first one is for the increment itself
    with pytest.raises(CommandError, match="Can't execute an AOF background rewriting"):
        store.execute("BGREWRITEAOF")
    store.set("b", 2)
    assert storage.faults == 1
    after = storage.kill()
    store.close()
    return after


def test_what_is_written_behind_a_half_made_rotation_is_not_lost(storage: FaultyStorage) -> None:
    store = start(storage, "always")
    assert keys(store) == [b"a", b"b"]
    store.set("c", 3)
    after = storage.crash(worst=True)
    store.close()
    with start(after, "always") as store:
        assert keys(store) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("seed", range(10))
def test_an_increment_that_others_follow_is_never_torn(storage: FaultyStorage, seed: int) -> None:
    store = start(storage, "no")
    store.set("c", b"x" * 2000)
    store.execute("BGREWRITEAOF")
    store.set("d", 4)
    storage.chance.seed(seed)
    after = storage.crash()
    store.close()
    with start(after, "no") as store:
        assert keys(store)[:3] == [b"a", b"b", b"c"]


def test_a_torn_end_does_not_come_back_because_cutting_it_off_failed() -> None:
    """The next start reads a file that seems to be good: it is written anew all the same."""
    store = start(storage := FaultyStorage(), "always")
    store.set("a", 1)
    contents = storage.contents()
    store.close()
    (name,) = (name for name in contents if name.endswith("incr.aof"))
    contents[name] += b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$900\r\n" + b"x" * 700
    storage = FaultyStorage.of(contents)
    storage.fail("sync")
    with pytest.raises(PersistenceError):
        start(storage, "always")
    storage = storage.kill()
    store = start(storage, "always")
    store.set("c", 3)
    after = storage.crash(worst=True)
    store.close()
    with start(after, "always") as store:
        assert keys(store) == [b"a", b"c"]


def test_an_increment_that_a_start_failed_to_sync_is_written_anew(storage: FaultyStorage) -> None:
    """It may lie in the system's memory only, and a later sync would not say so."""
    storage.fail("sync", name=".1.incr.aof")
    with contextlib.suppress(PersistenceError):
        start(storage, "always")
    assert storage.faults == 1
    storage = storage.kill()
    store = start(storage, "always")
    store.set("c", 3)
    after = storage.crash(worst=True)
    store.close()
    with start(after, "always") as store:
        assert keys(store) == [b"a", b"b", b"c"]
