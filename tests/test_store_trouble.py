"""An embedded store whose persistence fails now and then; and one whose time is set by hand."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import pytest

import kvcore
from kvcore import Batch, CommandError, Persistence, PersistenceError, Store, plugins
from kvcore.engine import SHELL

load_policy = plugins.load_policy


class Fragile(Persistence):
    """Keeps commits in a list; ``fails`` names the methods that raise now."""

    name: ClassVar[str] = "fragile"
    log: ClassVar[str] = "commands"
    taken: list[list[bytes]]
    flushed: int
    fails: set[str]
    times: list[float]
    closed: bool

    def start(self) -> None:
        self.taken = []
        self.flushed = 0
        self.fails = set()
        self.times = []
        self.closed = False

    def _may_fail(self, method: str) -> None:
        if method in self.fails:
            raise OSError(28, "No space left on device")

    def append(self, batch: Batch) -> None:
        self._may_fail("append")
        self.taken += [argv for _, argv in batch.commands]

    def flush(self) -> None:
        self._may_fail("flush")
        self.flushed = len(self.taken)

    def cron(self, now: float) -> None:
        self.times.append(now)
        self._may_fail("cron")

    def close(self, save: bool | None) -> None:
        self._may_fail("close")
        self.flushed = len(self.taken)
        self.closed = True


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plugins, "load_policy", lambda name: Fragile if name == "fragile" else load_policy(name)
    )


def open_fragile(path: Any, *, tick: bool = False) -> tuple[Store, Fragile]:
    store = kvcore.open(str(path), "fragile", tick=tick)
    policy = store.instance.persistence
    assert isinstance(policy, Fragile)
    return store, policy


@pytest.mark.behaviour("MISCONF: any policy", "writes are refused until the policy works again")
@pytest.mark.parametrize("method", ["append", "flush"])
def test_writes_are_refused_until_the_policy_works_again(tmp_path: Any, method: str) -> None:
    store, policy = open_fragile(tmp_path)
    store.set("a", 1)
    policy.fails = {method}
    with pytest.raises(PersistenceError, match="No space left"):
        store.set("b", 2)
    with pytest.raises(CommandError, match=r"MISCONF Errors writing to disk: .*No space left"):
        store.set("c", 3)
    assert store.get("a") == b"1"
    assert store.get("b") == b"2"  # done, but not promised
    with pytest.raises(PersistenceError, match="No space left"):
        store.tick()
    assert store.get("a") == b"1"
    policy.fails = set()
    store.tick()
    store.set("d", 4)
    assert [argv[1] for argv in policy.taken] == [b"a", b"b", b"d"]
    assert policy.flushed == 3
    store.close()


class Keeping(Fragile):
    """Keeps commits in ``kept``; they may be put there without it, if it says so."""

    sink: list[Batch] | None = None
    kept: list[Batch]

    def start(self) -> None:
        super().start()
        self.kept = []

    def append(self, batch: Batch) -> None:
        super().append(batch)
        self.kept.append(batch)


def test_a_commit_goes_to_the_policys_sink_but_overtakes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(plugins, "load_policy", lambda name: Keeping)
    store, policy = open_fragile(tmp_path)
    assert isinstance(policy, Keeping)
    store.set("a", 1)
    policy.fails = {"append"}
    with pytest.raises(PersistenceError):
        store.set("b", 2)
    policy.sink = policy.kept
    store.instance.engine.refuse_writes(None, SHELL)
    store.set("c", 3)  # waits behind the one before
    policy.fails = set()
    store.tick()
    policy.fails = {"append"}  # which nothing calls any more
    store.set("d", 4)
    assert [batch.commands[0][1][1] for batch in policy.kept] == [b"a", b"b", b"c", b"d"]
    policy.sink = None
    policy.fails = set()
    store.set("e", 5)
    assert policy.kept[-1].commands[0][1][1] == b"e"
    store.close()


@pytest.mark.behaviour("MISCONF: any policy", "a policy’s own refusal is lifted by nobody else")
def test_the_policys_own_refusal_outlasts_that_of_the_store(tmp_path: Any) -> None:
    store, policy = open_fragile(tmp_path)
    policy.host.refuse_writes("MISCONF of its own")
    policy.fails = {"cron"}
    with pytest.raises(PersistenceError):
        store.tick()
    policy.fails = set()
    store.tick()
    with pytest.raises(CommandError, match="MISCONF of its own"):
        store.set("a", 1)
    policy.host.refuse_writes(None)
    store.set("a", 1)
    store.close()


def test_a_policy_that_is_content_does_not_open_what_its_failure_closed(tmp_path: Any) -> None:
    store, policy = open_fragile(tmp_path)
    policy.fails = {"cron"}
    with pytest.raises(PersistenceError):
        store.tick()
    policy.host.refuse_writes(None)
    with pytest.raises(CommandError, match="MISCONF Errors writing to disk"):
        store.set("a", 1)
    policy.fails = set()
    store.tick()
    store.set("a", 1)
    store.close()


def test_a_transaction_that_could_not_be_taken_stays_one(tmp_path: Any) -> None:
    store, policy = open_fragile(tmp_path)
    batches: list[int] = []
    take = policy.append

    def count(batch: Batch) -> None:
        take(batch)
        batches.append(len(batch.commands))

    policy.append = count  # type: ignore[method-assign]
    policy.fails = {"append"}
    with pytest.raises(PersistenceError):
        store.transaction(["SET", "a", 1], ["SET", "b", 2])
    policy.fails = set()
    store.tick()
    store.set("c", 3)
    assert batches == [2, 1]
    store.close()


def test_what_could_not_be_taken_is_taken_at_the_end(tmp_path: Any) -> None:
    store, policy = open_fragile(tmp_path)
    policy.fails = {"append"}
    with pytest.raises(PersistenceError):
        store.set("a", 1)
    with pytest.raises(PersistenceError):
        store.close()
    assert not policy.closed
    assert store.get("a") == b"1"
    policy.fails = set()
    store.close()
    assert policy.closed
    assert policy.flushed == 1


def test_housekeeping_that_fails_refuses_writes_and_goes_on(tmp_path: Any) -> None:
    store, policy = open_fragile(tmp_path, tick=True)
    policy.fails = {"cron"}
    deadline = time.monotonic() + 30
    refusal = ""
    while not refusal and time.monotonic() < deadline:
        try:
            store.set("a", 1)
        except CommandError as error:
            refusal = str(error)
        time.sleep(0.01)
    assert refusal.startswith("MISCONF")
    policy.fails = set()
    while time.monotonic() < deadline:
        try:
            store.set("b", 2)
            break
        except CommandError:
            time.sleep(0.01)
    assert store.get("b") == b"2"
    store.close()


def test_a_store_without_ticks_has_no_thread_and_takes_the_time_it_is_given(tmp_path: Any) -> None:
    before = threading.active_count()
    store, policy = open_fragile(tmp_path)
    assert threading.active_count() == before
    store.execute("SET", "k", 1, "PX", 1)
    time.sleep(0.01)
    assert len(store) == 1
    store.tick(1234.5)
    assert len(store) == 0
    assert policy.times == [1234.5]
    assert policy.taken[-1] == [b"DEL", b"k"]
    store.close()
    store.tick(5000.0)
    assert policy.times == [1234.5]
