"""WAITAOF: who asks for it waits until what was written is synced, and nobody else does.

The redis-server beside us is 7.0, which has no WAITAOF; the words are those of Redis 7.2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

import kvcore
from kvcore import CommandError, Persistence
from kvcore.errors import PersistenceError

LOGS = ("aof", "hybrid")


def open_store(tmp_path: Path, policy: str = "aof", **options: Any) -> kvcore.Store:
    return kvcore.open(str(tmp_path), policy, tick=False, save="", **options)


@pytest.mark.behaviour("WAITAOF", "what it refuses")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("x", 0, 0), "ERR value is not an integer or out of range"),
        ((2, 0, 0), "ERR value is out of range, value must between 0 and 1"),
        ((-1, 0, 0), "ERR value is out of range, value must between 0 and 1"),
        ((1, "x", 0), "ERR value is not an integer or out of range"),
        ((1, -1, 0), "ERR value is out of range, must be positive"),
        ((1, 0, "x"), "ERR timeout is not an integer or out of range"),
        ((1, 0, -1), "ERR timeout is negative"),
        ((1, 0), "ERR wrong number of arguments for 'waitaof' command"),
    ],
)
def test_what_it_refuses(tmp_path: Path, arguments: tuple[Any, ...], error: str) -> None:
    with open_store(tmp_path) as store, pytest.raises(CommandError) as refused:
        store.execute("WAITAOF", *arguments)
    assert str(refused.value) == error


@pytest.mark.behaviour("WAITAOF", "an error where appendonly is off")
@pytest.mark.parametrize("policy", ["none", "rdb"])
def test_without_a_log_nothing_local_can_be_waited_for(tmp_path: Path, policy: str) -> None:
    with open_store(tmp_path, policy) as store:
        with pytest.raises(CommandError) as refused:
            store.execute("WAITAOF", 1, 0, 0)
        assert str(refused.value) == (
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
        )
        assert store.execute("WAITAOF", 0, 0, 0) == [0, 0]
        assert store.execute("WAITAOF", 0, 1, 10) == [0, 0]


@pytest.mark.behaviour("WAITAOF", "what was written is synced, with each appendfsync")
@pytest.mark.parametrize("policy", LOGS)
@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_what_was_written_is_synced(tmp_path: Path, policy: str, appendfsync: str) -> None:
    with open_store(tmp_path, policy, appendfsync=appendfsync) as store:
        assert store.execute("WAITAOF", 1, 0, 0) == [1, 0]
        for n in range(3):
            store.set("k", n)
            assert store.execute("WAITAOF", 1, 0, 0) == [1, 0]
            assert b"aof_pending_bio_fsync:0\r\n" in store.execute("INFO", "persistence")


def test_there_are_no_replicas_to_wait_for(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.set("k", 1)
        begin = time.monotonic()
        assert store.execute("WAITAOF", 0, 1, 200) == [1, 0]
        assert store.execute("WAITAOF", 1, 1, 200) == [1, 0]
        assert time.monotonic() - begin >= 0.4


class Log(Persistence):
    """Syncs when told so."""

    name: ClassVar[str] = "log"
    log: ClassVar[str] = "commands"

    def start(self) -> None:
        self.syncs: list[Future[None]] = []

    def make_durable(self) -> Future[None]:
        self.syncs.append(Future())
        return self.syncs[-1]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> kvcore.Store:
    monkeypatch.setattr("kvcore.plugins.load_policy", lambda name: Log)
    return open_store(tmp_path, "log")


def syncs(store: kvcore.Store) -> list[Future[None]]:
    policy = store.instance.persistence
    assert isinstance(policy, Log)
    return policy.syncs


def test_a_program_that_waits_keeps_no_other_thread_waiting(log: kvcore.Store) -> None:
    with log as store, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.execute, "WAITAOF", 1, 0, 0)
        until(lambda: bool(syncs(store)))
        store.set("k", 1)
        assert not waiting.done()
        syncs(store)[0].set_result(None)
        assert waiting.result(30) == [1, 0]


def test_the_wait_has_an_end(log: kvcore.Store) -> None:
    with log as store:
        assert store.execute("WAITAOF", 1, 0, 10) == [0, 0]


@pytest.mark.behaviour("WAITAOF", "a sync that fails is an error")
def test_a_sync_that_fails_is_an_error(log: kvcore.Store) -> None:
    with log as store, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.execute, "WAITAOF", 1, 0, 0)
        until(lambda: bool(syncs(store)))
        syncs(store)[0].set_exception(PersistenceError("Input/output error"))
        with pytest.raises(CommandError, match="MISCONF Errors writing to the AOF file: Input"):
            waiting.result(30)


@pytest.mark.behaviour("WAITAOF", "within MULTI nobody waits")
def test_within_a_transaction_nobody_waits(log: kvcore.Store) -> None:
    with log as store:
        replies = store.transaction(["SET", "k", 1], ["WAITAOF", 1, 0, 0], ["WAITAOF", 0, 9, 0])
        assert replies == ["OK", [0, 0], [0, 0]]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)
