"""A child that is no process: it goes on when it is polled, and stops where it is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import kvcore
from kvcore.persistence import View
from kvcore.snapshot import Child
from kvcore.store import Store
from kvcore.testing import FaultyStorage, PowerFailure


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(seed=3)


@pytest.fixture
def store(storage: FaultyStorage) -> Iterator[Store]:
    with kvcore.open(persistence="none", storage=storage, tick=False) as store:
        for number in range(20):
            store.set(f"k{number}", number)
        yield store


def write_keys(storage: FaultyStorage) -> Callable[[View, Callable[[int], None]], None]:
    def task(view: View, progress: Callable[[int], None]) -> None:
        file = storage.create("keys")
        try:
            for db, _, _ in view.databases():
                for done, (key, value, _) in enumerate(sorted(view.entries(db)), 1):
                    assert isinstance(value, int | bytes)
                    file.append(b"%b=%d " % (key, int(value)))
                    progress(done)
            file.sync()
        finally:
            storage.remove("trace")
        storage.rename("keys", "done")

    return task


def start(store: Store, storage: FaultyStorage) -> Child:
    return store.instance.background("test", write_keys(storage))


EXPECTED = b"".join(
    b"%b=%d " % (key, number)
    for key, number in sorted((b"k%d" % number, number) for number in range(20))
)


def test_it_sees_the_data_of_its_start_and_works_while_commands_run(
    store: Store, storage: FaultyStorage
) -> None:
    child = start(store, storage)
    polls = 0
    while not child.poll():
        store.set(f"k{polls % 20}", -1)
        store.delete(f"k{(polls + 7) % 20}")
        polls += 1
    assert polls > 1
    assert child.error == ""
    assert child.done == child.total == 20
    assert storage.contents()["done"] == EXPECTED


def test_one_can_wait_for_its_end(store: Store, storage: FaultyStorage) -> None:
    child = start(store, storage)
    child.wait()
    assert not child.running
    assert storage.contents()["done"] == EXPECTED
    start(store, storage).wait()


def test_killed_it_does_not_even_tidy_up(store: Store, storage: FaultyStorage) -> None:
    child = start(store, storage)
    while not storage.contents().get("keys"):
        assert not child.poll()
    storage.create("trace")
    child.kill()
    assert (child.running, child.killed) == (False, 9)
    assert set(storage.contents()) == {"keys", "trace"}
    start(store, storage).wait()


def test_a_killed_process_takes_its_children_along(store: Store, storage: FaultyStorage) -> None:
    child = start(store, storage)
    while not storage.contents().get("keys"):
        assert not child.poll()
    after = storage.kill()
    assert set(after.contents()) == {"keys"}
    child.wait()
    assert child.killed == 9


def test_its_errors_are_told(store: Store, storage: FaultyStorage) -> None:
    storage.fail("append", after=3)
    child = start(store, storage)
    child.wait()
    assert child.error == "Input/output error"


def test_a_power_failure_in_it_ends_the_parent(store: Store, storage: FaultyStorage) -> None:
    storage.power_fails_after(5)
    child = start(store, storage)
    with pytest.raises(PowerFailure):
        child.wait()
    assert storage.is_off
    assert set(storage.crash(worst=True).contents()) == set()


def test_it_has_a_number_of_its_own(store: Store, storage: FaultyStorage) -> None:
    numbers = []

    def task(view: View, progress: Callable[[int], None]) -> None:
        numbers.append(storage.getpid())

    child = store.instance.background("test", task)
    child.wait()
    assert numbers == [child.pid]
    assert child.pid != storage.getpid() == storage.pid
