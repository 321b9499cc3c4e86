"""Named snapshots: which there are, which go, and that a start loads the newest or says why not."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import redis

import kvcore
from kvcore.errors import ConfigError, CorruptData
from kvcore.storage import LocalStorage
from kvcore.testing.storage import FaultyStorage, PowerFailure
from kvcore_rdb import snapshots
from tests.support import start_kvcore, start_redis

PATTERN = "dump-%Y%m%d-%H%M%S.rdb"
NOON = 1_780_000_000


class Clock:
    """The `time` of kvcore_rdb.snapshots, set by hand."""

    strftime = staticmethod(time.strftime)
    localtime = staticmethod(time.gmtime)  # wherever the tests run

    def __init__(self) -> None:
        self.now = float(NOON)

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshots, "time", clock)
    return clock


def opened(folder: Path, **options: object) -> kvcore.Store:
    defaults: dict[str, Any] = {"save": "", "snapshot_filename": PATTERN}
    return kvcore.open(str(folder), "rdb", **{**defaults, **options})


def save(folder: Path, clock: Clock, *values: str, **options: object) -> None:
    """Save each value of the key, a minute apart, in a store of its own."""
    for value in values:
        clock.now += 60
        with opened(folder, **options) as store:
            store.set("k", value)
            store.execute("SAVE")


def loaded(folder: Path, **options: object) -> bytes | None:
    with opened(folder, **options) as store:
        return store.get("k")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".rdb")


def name_at(second: int) -> str:
    return time.strftime(PATTERN, time.gmtime(NOON + second))


# Names ----------------------------------------------------------------------------------------


@pytest.mark.behaviour("snapshot-filename", "each snapshot stays under a name of its time")
def test_each_snapshot_stays_under_its_time(tmp_path: Path, clock: Clock) -> None:
    save(tmp_path, clock, "1", "2", "3")
    assert files(tmp_path) == [name_at(60), name_at(120), name_at(180), "dump.rdb"]
    assert (tmp_path / "dump.rdb").samefile(tmp_path / name_at(180))
    for second, value in ((60, b"1"), (120, b"2"), (180, b"3")):
        single = tmp_path / str(second)
        single.mkdir()
        shutil.copy(tmp_path / name_at(second), single / "dump.rdb")
        assert loaded(single) == value
        with start_redis(single) as server:
            assert server.client().get("k") == value


@pytest.mark.behaviour("snapshot-keep", "the oldest go, and nothing else")
def test_the_oldest_go_and_nothing_else(tmp_path: Path, clock: Clock) -> None:
    strangers = [
        "dump-1-2.rdb",
        "dump-2026-backup.rdb",
        "dump-20200101-000000.rdb.bak",
        "dump-x-y.rdb",
    ]
    for name in strangers:
        (tmp_path / name).write_bytes(b"precious")
    save(tmp_path, clock, "1", "2", "3", snapshot_keep=2)
    assert (tmp_path / name_at(120)).exists()
    assert (tmp_path / name_at(180)).exists()
    assert not (tmp_path / name_at(60)).exists()
    for name in strangers:
        assert (tmp_path / name).read_bytes() == b"precious"
    save(tmp_path, clock, "4", snapshot_keep=1)
    assert {name_at(240), "dump.rdb"} == set(files(tmp_path)) - set(strangers)


def test_dbfilename_may_look_like_one_of_them(tmp_path: Path, clock: Clock) -> None:
    options = {"dbfilename": "dump-00.rdb", "snapshot_filename": "dump-%M.rdb", "snapshot_keep": 1}
    save(tmp_path, clock, "1", "2", "3", **options)
    assert len(files(tmp_path)) == 2
    assert (tmp_path / "dump-00.rdb").exists()
    assert loaded(tmp_path, **options) == b"3"


@pytest.mark.parametrize("pattern", ["d%Y.%m.%d.rdb", "%H%M%S%j.rdb", "x+%y(%d).rdb"])
def test_names_are_found_again(pattern: str) -> None:
    for second in range(0, 10 * 365 * 86400, 86400 * 11 + 12345):
        name = snapshots.name_at(pattern, (NOON + second) * 1000)
        assert snapshots.matcher(pattern).fullmatch(name), name
        assert not snapshots.matcher(pattern).fullmatch(name.replace(".rdb", "0.rdb"))


def test_a_coarse_name_holds_the_last_of_its_time(tmp_path: Path, clock: Clock) -> None:
    save(tmp_path, clock, "1", "2", snapshot_filename="day-%j.rdb")
    clock.now += 86400
    save(tmp_path, clock, "3", snapshot_filename="day-%j.rdb")
    assert len(files(tmp_path)) == 3
    (yesterday, today) = (tmp_path / name for name in files(tmp_path)[:2])
    assert today.samefile(tmp_path / "dump.rdb")
    (tmp_path / "old").mkdir()
    shutil.copy(yesterday, tmp_path / "old" / "dump.rdb")
    assert loaded(tmp_path / "old") == b"2"


@pytest.mark.parametrize("steps", [-3600, -1, 0])
def test_a_clock_that_runs_backwards(tmp_path: Path, clock: Clock, steps: int) -> None:
    save(tmp_path, clock, "1", snapshot_keep=2)
    for value in "2345":
        clock.now += steps - 60
        save(tmp_path, clock, value, snapshot_keep=2)
        assert loaded(tmp_path) == value.encode()
    (tmp_path / "dump.rdb").unlink()
    assert loaded(tmp_path) == b"5"


@pytest.mark.behaviour("snapshot-filename", "names that would not be found again are refused")
@pytest.mark.parametrize(
    "name",
    ["x.rdb", "dump-%Y", "%Y.aof", "a/%Y.rdb", "temp-%Y.rdb", "%A.rdb", "%Y%.rdb", "%%Y.rdb"],
)
def test_names_that_would_not_be_found_again_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="snapshot-filename"):
        opened(tmp_path, snapshot_filename=name)


def test_a_server_and_its_background_saves(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--snapshot-filename", PATTERN) as server:
        client = server.client()
        client.set("k", "1")
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"
        with pytest.raises(redis.ResponseError, match="protected"):
            client.config_set("snapshot-filename", "evil-%Y.rdb")
        assert client.config_set("snapshot-keep", 3)
    (dated, plain) = files(tmp_path)
    assert plain == "dump.rdb"
    assert time.strptime(dated, PATTERN)


# Loading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"snapshot_filename": ""},
        {"snapshot_filename": "other-%Y%m%d.rdb"},
        {"snapshot_keep": 1},
        {"dbfilename": "other.rdb"},
        {"persistence": "hybrid"},
        {"persistence": "aof"},
    ],
    ids=str,
)
def test_changed_options_still_find_the_data(
    tmp_path: Path, clock: Clock, options: dict[str, str]
) -> None:
    save(tmp_path, clock, "1", "2")
    given: dict[str, Any] = {"snapshot_filename": PATTERN, "persistence": "rdb", **options}
    with kvcore.open(str(tmp_path), save="", **given) as store:
        assert store.get("k") == b"2"


@pytest.mark.parametrize("persistence", ["rdb", "aof", "hybrid"])
def test_another_dbfilename_does_not_start_empty(
    tmp_path: Path, clock: Clock, persistence: str
) -> None:
    save(tmp_path, clock, "1", snapshot_filename="")
    with pytest.raises(ConfigError, match=r"other\.rdb is not there, but .*dbfilename dump\.rdb"):
        kvcore.open(str(tmp_path), persistence, dbfilename="other.rdb", save="")
    assert loaded(tmp_path, dbfilename="dump.rdb") == b"1"
    (tmp_path / "dump.rdb").unlink()
    with kvcore.open(str(tmp_path), persistence, dbfilename="other.rdb", save="") as store:
        assert store.get("k") is None


def test_an_older_one_is_never_loaded_silently(tmp_path: Path, clock: Clock) -> None:
    save(tmp_path, clock, "1")
    other: dict[str, Any] = {"snapshot_filename": "x-%Y%m%d%H%M%S.rdb"}
    with opened(tmp_path, enable_protected_configs="yes", **other) as store:
        store.execute("CONFIG", "SET", "dbfilename", "other.rdb")
        store.set("k", "2")
        store.execute("SAVE")
    assert loaded(tmp_path, snapshot_filename="") == b"1"  # said in the log
    with pytest.raises(ConfigError, match=r"dump\.rdb is of .* is newer.*Move away"):
        loaded(tmp_path, **other)
    (tmp_path / "dump.rdb").unlink()
    (tmp_path / "other.rdb").unlink()
    assert loaded(tmp_path, **other) == b"2"


def test_a_damaged_newest_is_refused_and_the_way_back_works(tmp_path: Path, clock: Clock) -> None:
    save(tmp_path, clock, "1", "2", "3")
    path = tmp_path / "dump.rdb"
    data = bytearray(path.read_bytes())
    data[-12] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptData) as caught:
        loaded(tmp_path)
    assert f"move away {name_at(180)}, dump.rdb" in str(caught.value)
    assert f"before it is {name_at(120)} of " in str(caught.value)
    assert files(tmp_path) == [name_at(60), name_at(120), name_at(180), "dump.rdb"]
    (tmp_path / "away").mkdir()
    for name in (name_at(180), "dump.rdb"):
        (tmp_path / name).rename(tmp_path / "away" / name)
    assert loaded(tmp_path) == b"2"


def test_a_damaged_one_with_nothing_before_it_gets_no_such_advice(
    tmp_path: Path, clock: Clock
) -> None:
    save(tmp_path, clock, "1")
    os.truncate(tmp_path / "dump.rdb", 100)
    with pytest.raises(CorruptData) as caught:
        loaded(tmp_path)
    assert "before it" not in str(caught.value)


def test_a_snapshot_that_redis_took_meanwhile_is_the_newest(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.set("k", "ours")
        store.execute("SAVE")
    time.sleep(1)  # Redis tells the second only
    with start_redis(tmp_path) as server:
        server.client().set("k", "theirs")
        server.client().save()
    assert loaded(tmp_path) == b"theirs"


# Faults ---------------------------------------------------------------------------------------


def test_without_hard_links_the_second_name_is_a_copy(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    save(tmp_path, clock, "1", "2")
    assert not (tmp_path / "dump.rdb").samefile(tmp_path / name_at(120))
    assert (tmp_path / "dump.rdb").read_bytes() == (tmp_path / name_at(120)).read_bytes()
    monkeypatch.undo()
    assert (tmp_path / name_at(60)).exists()


def test_a_link_needs_a_free_name(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        storage.link("a", "b")
    with pytest.raises(FileNotFoundError):
        storage.link("absent", "c")
    assert (tmp_path / "b").read_text() == "b"


def faulty_store(storage: FaultyStorage) -> kvcore.Store:
    options: dict[str, Any] = {"save": "", "snapshot_filename": PATTERN, "snapshot_keep": 2}
    return kvcore.open(None, "rdb", storage=storage, tick=False, **options)


def test_the_power_may_fail_anywhere(clock: Clock) -> None:
    """The newest or the one before is there, the others are whole, and nothing piles up."""
    before = FaultyStorage.of({})
    for value in ("1", "2"):
        clock.now += 60
        with faulty_store(before) as store:
            store.set("k", value)
            store.execute("SAVE")
    clock.now += 60
    outcomes = set()
    for step in range(40):
        for seed in range(5):
            storage = before.copy()
            storage.chance.seed(seed)
            store = faulty_store(storage)
            store.set("k", "3")
            storage.power_fails_after(step)
            acknowledged = False
            try:
                store.execute("SAVE")
                acknowledged = True
            except PowerFailure:
                pass
            after = storage.crash()
            store.instance.shutdown(False, force=True)
            with faulty_store(after) as again:
                value = again.get("k")
                assert value == b"3" or (value == b"2" and not acknowledged)
                outcomes.add((value, acknowledged))
                again.execute("SAVE")
            names = after.list()
            assert not [name for name in names if name.startswith("temp-")]
            assert len(names) <= 4, names
            for taken in snapshots.listed(after):
                assert taken.ours
    assert outcomes == {(b"2", False), (b"3", False), (b"3", True)}


@pytest.mark.parametrize("operation", ["link", "sync_dir", "rename"])
def test_a_disk_that_fails_at_the_second_name(clock: Clock, operation: str) -> None:
    storage = FaultyStorage.of({})
    with faulty_store(storage) as store:
        store.set("k", "1")
        storage.fail(operation, after=0 if operation == "link" else 1)
        with pytest.raises(kvcore.CommandError):
            store.execute("SAVE")
        assert storage.list() in (["dump.rdb"], sorted(["dump.rdb", name_at(0)]))
        store.execute("SAVE")
    with faulty_store(storage.crash(worst=True)) as store:
        assert store.get("k") == b"1"
