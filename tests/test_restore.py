"""`Store.restore`: keys of a data file into an embedded store that is in use."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import kvcore
from kvcore import digest
from kvcore.errors import CommandError, CorruptData, PersistenceError
from kvcore.testing.storage import FaultyStorage, PowerFailure
from tests.datasets import TYPES, commands

FUTURE = 4_102_444_800_000


def digest_of(store: kvcore.Store) -> str:
    return digest.of_keyspace(store.instance.keyspace).hex()


def make(folder: Path, persistence: str = "rdb") -> str:
    """A folder with 300 keys, one in database 3; returns their digest."""
    with kvcore.open(str(folder), persistence, save="") as store:
        for argv in commands(300, 5, TYPES):
            store.execute(*argv)
        store.execute("SET", "user:1", "one", "PXAT", FUTURE)
        store.transaction(("SELECT", 3), ("SET", "user:2", "two"), ("SELECT", 0))
        if persistence != "aof":
            store.execute("SAVE")
        return digest_of(store)


@pytest.mark.parametrize("source", ["rdb", "aof", "hybrid"])
@pytest.mark.parametrize("target", ["rdb", "aof", "hybrid", "none"])
def test_everything_comes_back_and_stays(tmp_path: Path, source: str, target: str) -> None:
    expected = make(tmp_path / "from", source)
    path = tmp_path / "from" / ("dump.rdb" if source == "rdb" else "")
    with kvcore.open(str(tmp_path / "to"), target, save="3600 1") as store:
        assert store.restore(str(path)) >= 300
        assert digest_of(store) == expected
        assert store.execute("PEXPIRETIME", "user:1") == FUTURE
    if target != "none":
        with kvcore.open(str(tmp_path / "to"), target) as store:
            assert digest_of(store) == expected


def test_by_database_and_pattern(tmp_path: Path) -> None:
    make(tmp_path)
    path = str(tmp_path / "dump.rdb")
    with kvcore.open() as store:
        assert store.restore(path, db=3) == 1
        assert len(store) == 0
        assert store.restore(path, match="user:*", db=0) == 1
        assert store.get("user:1") == b"one"
        assert store.restore(path, match=b"nothing") == 0


def test_what_is_there_is_replaced_only_if_told(tmp_path: Path) -> None:
    make(tmp_path)
    path = str(tmp_path / "dump.rdb")
    with kvcore.open() as store:
        store.set("user:1", "mine")
        with pytest.raises(CommandError, match=r"BUSYKEY 1 of the keys .*b'user:1' in database 0"):
            store.restore(path)
        assert len(store) == 1
        assert store.get("user:1") == b"mine"
        assert store.restore(path, replace=True) >= 300
        assert store.get("user:1") == b"one"


def test_keys_whose_time_is_over_neither_come_nor_replace(tmp_path: Path) -> None:
    with kvcore.open(str(tmp_path), "aof") as saved:
        saved.execute("SET", "k", "over", "PX", 60)
    time.sleep(0.08)
    with kvcore.open() as store:
        store.set("k", "mine")
        assert store.restore(str(tmp_path), replace=True) == 0
        assert store.get("k") == b"mine"


def test_nothing_changes_if_anything_is_wrong(tmp_path: Path) -> None:
    make(tmp_path)
    whole = (tmp_path / "dump.rdb").read_bytes()
    broken = tmp_path / "broken.rdb"
    with kvcore.open(databases=2) as store:
        for size in (0, 8, 100, len(whole) - 9, len(whole) - 1):
            broken.write_bytes(whole[:size])
            with pytest.raises(CorruptData):
                store.restore(str(broken))
        broken.write_bytes(whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:])
        with pytest.raises(CorruptData):
            store.restore(str(broken), match="user:1")
        with pytest.raises(CommandError, match="database 3 is out of range"):
            store.restore(str(tmp_path / "dump.rdb"))
        for absent in ("no.rdb", "no"):
            with pytest.raises(PersistenceError, match="cannot read"):
                store.restore(str(tmp_path / absent))
        (tmp_path / "empty").mkdir()
        with pytest.raises(PersistenceError, match="holds no data"):
            store.restore(str(tmp_path / "empty"))
        assert len(store) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("broken.rdb", "dump.rdb", "empty", "kvcore.lock")
    ]


def test_a_store_that_refuses_writes_takes_none(tmp_path: Path) -> None:
    make(tmp_path)
    with kvcore.open() as store:
        store.instance.engine.refuse_writes("MISCONF no")
        with pytest.raises(CommandError, match="MISCONF"):
            store.restore(str(tmp_path / "dump.rdb"))
        store.instance.engine.refuse_writes(None)
        assert len(store) == 0
        store.set("k", "and goes on")


def test_it_is_one_transaction(tmp_path: Path) -> None:
    """Whenever the power fails, all keys are there or none, and all if the call has returned."""
    make(tmp_path)
    path = str(tmp_path / "dump.rdb")
    options: dict[str, Any] = {"save": "", "appendfsync": "always"}
    outcomes = set()
    for step in range(12):
        storage = FaultyStorage(seed=step, tears="prefix")
        store = kvcore.open(None, "aof", storage=storage, tick=False, **options)
        store.set("first", "1")
        storage.power_fails_after(step)
        returned = False
        try:
            store.restore(path)
            returned = True
        except (PowerFailure, PersistenceError):
            pass
        after = storage.crash()
        store.instance.shutdown(False, force=True)
        with kvcore.open(None, "aof", storage=after, tick=False, **options) as again:
            size = again.instance.keyspace.size()
            assert again.get("first") == b"1"
            outcomes.add((size > 1, returned))
            assert size > 300 if returned else size == 1 or size > 300
    assert (True, True) in outcomes
    assert (False, False) in outcomes


def test_others_go_on_meanwhile(tmp_path: Path) -> None:
    make(tmp_path)
    with kvcore.open() as store:
        stop = threading.Event()
        seen: list[int] = []

        def watch() -> None:
            while not stop.is_set():
                seen.append(len(store))

        thread = threading.Thread(target=watch)
        thread.start()
        restored = store.restore(str(tmp_path / "dump.rdb"), db=0)
        time.sleep(0.01)
        stop.set()
        thread.join()
        assert set(seen) <= {0, restored}
