"""A change of policy with data in the folder loses nothing, or kvcore does not start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import kvcore
from kvcore.errors import ConfigError
from tests.support import start_redis

KEEPING = ("rdb", "aof", "hybrid")


def write(folder: Path, policy: str, value: str, *, save: bool = True) -> None:
    """A run of a store that leaves ``value`` behind, as a shutdown does."""
    with kvcore.open(str(folder), policy) as store:
        store.set("k", value)
        store.close(save)


def age(folder: Path, seconds: float) -> None:
    """Make everything in the folder older, so that what follows is clearly newer."""
    for path in [folder, *folder.rglob("*")]:
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def read(folder: Path, policy: str, **options: object) -> bytes | None:
    with kvcore.open(str(folder), policy, **options) as store:
        return store.get("k")


@pytest.mark.behaviour("never silently empty", "every pair of our policies: the data is adopted")
@pytest.mark.behaviour("persistence", "another policy at the next start adopts the data")
@pytest.mark.parametrize("first", KEEPING)
@pytest.mark.parametrize("second", [*KEEPING, "none"])
def test_another_policy_finds_what_the_first_left(tmp_path: Path, first: str, second: str) -> None:
    write(tmp_path, first, "1")
    age(tmp_path, 100)
    assert read(tmp_path, second) == b"1"
    if second != "none":
        assert read(tmp_path, second) == b"1"  # and keeps it in its own form


@pytest.mark.behaviour("never silently empty", "a stale log under a newer snapshot is refused")
@pytest.mark.parametrize("first", ["aof", "hybrid"])
def test_a_log_over_what_snapshots_went_on_from_is_not_loaded_silently(
    tmp_path: Path, first: str
) -> None:
    write(tmp_path, first, "old")
    age(tmp_path, 100)
    write(tmp_path, "rdb", "new")
    with pytest.raises(ConfigError, match=r"newer.*load-from rdb"):
        read(tmp_path, first)
    assert read(tmp_path, first, load_from="rdb") == b"new"
    assert read(tmp_path, first) == b"new"


@pytest.mark.behaviour("never silently empty", "a stale snapshot under a newer log is refused")
def test_snapshots_over_a_log_that_went_on_are_not_loaded_silently(tmp_path: Path) -> None:
    write(tmp_path, "rdb", "old")
    age(tmp_path, 100)
    write(tmp_path, "aof", "new", save=False)
    with pytest.raises(ConfigError, match="load-from"):
        read(tmp_path, "rdb")
    assert read(tmp_path, "rdb", load_from="aof") == b"new"


@pytest.mark.parametrize("policy", ["aof", "hybrid"])
def test_the_last_snapshot_beside_a_log_is_no_rival_of_it(tmp_path: Path, policy: str) -> None:
    write(tmp_path, "hybrid", "1")
    age(tmp_path, 100)
    os.utime(tmp_path / "dump.rdb")
    assert read(tmp_path, policy) == b"1"


# load-from is obeyed once -----------------------------------------------------------------------


def configured(folder: Path, policy: str, source: str) -> kvcore.Store:
    """A store by a configuration file in which the line stays."""
    file = folder.parent / "kvcore.conf"
    file.write_text(f"persistence {policy}\nload-from {source}\n")
    return kvcore.open(str(folder), config_file=str(file), save="", tick=False)


@pytest.mark.behaviour("load-from", "is obeyed once, never over newer data")
@pytest.mark.parametrize(
    ("policy", "source"), [("aof", "rdb"), ("hybrid", "rdb"), ("rdb", "aof"), ("aof", "hybrid")]
)
def test_a_source_is_loaded_once_and_never_over_newer_data(
    tmp_path: Path, policy: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    write(folder, source, "old")
    age(folder, 100)
    with configured(folder, policy, source) as store:
        assert store.get("k") == b"old"
        assert store.execute("CONFIG", "GET", "load-from") == {b"load-from": b""}
        store.set("k", "new")
        store.close(save=True)
    capsys.readouterr()
    for _ in range(2):
        with configured(folder, policy, source) as store:
            assert store.get("k") == b"new"
            store.close(save=True)
        log = capsys.readouterr().out
        assert f"load-from {source} was obeyed by an earlier start" in log
        assert str(folder / "kvcore.load-from") in log


@pytest.mark.behaviour("load-from", "a decision for its own data is remembered")
@pytest.mark.parametrize("policy", ["aof", "hybrid"])
def test_a_decision_for_ones_own_data_is_remembered(tmp_path: Path, policy: str) -> None:
    folder = tmp_path / "data"
    write(folder, policy, "own")
    age(folder, 100)
    write(folder, "rdb", "rival")
    with pytest.raises(ConfigError, match="load-from"):
        read(folder, policy)
    for _ in range(2):
        with configured(folder, policy, policy) as store:
            assert store.get("k") == b"own"
    assert read(folder, policy) == b"own"  # also without the line


def test_what_is_newer_than_the_decision_is_a_rival_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, "aof", "own")
    age(folder, 100)
    write(folder, "rdb", "rival")
    with configured(folder, "aof", "aof") as store:
        assert store.get("k") == b"own"
    age(folder, 100)
    decision = folder / "kvcore.load-from"
    name, when = decision.read_text().split()
    decision.write_text(f"{name} {float(when) - 100}\n")
    write(folder, "rdb", "rival of now")
    with pytest.raises(ConfigError, match="load-from"):
        configured(folder, "aof", "aof")


@pytest.mark.behaviour("load-from", "a source that went on since is loaded again")
def test_a_source_that_went_on_since_is_loaded_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, "rdb", "old")
    with configured(folder, "aof", "rdb") as store:
        store.set("k", "new")
    write(tmp_path / "elsewhere", "rdb", "newer")
    (tmp_path / "elsewhere" / "dump.rdb").rename(folder / "dump.rdb")
    with configured(folder, "aof", "rdb") as store:
        assert store.get("k") == b"newer"


def test_what_was_obeyed_can_be_obeyed_once_more(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, "rdb", "old")
    with configured(folder, "aof", "rdb") as store:
        store.set("k", "new")
    (folder / "kvcore.load-from").unlink()
    with configured(folder, "aof", "rdb") as store:
        assert store.get("k") == b"old"


@pytest.mark.parametrize("text", ["", "rdb", "rdb soon", "\xff\xfe nan x"])
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "data"
    write(folder, "rdb", "old")
    (folder / "kvcore.load-from").write_text(text)
    with configured(folder, "aof", "rdb") as store:
        assert store.get("k") == b"old"


def test_a_file_that_was_rewritten_no_longer_asks_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder, "rdb", "old")
    with configured(folder, "aof", "rdb") as store:
        store.execute("CONFIG", "REWRITE")
    assert 'load-from ""' in (tmp_path / "kvcore.conf").read_text()


def test_what_redis_left_in_both_forms_starts(tmp_path: Path) -> None:
    with start_redis(tmp_path, "--appendonly", "yes") as server:
        server.client().set("k", "1")
        server.client().save()
        server.stop()
    assert read(tmp_path, "hybrid") == b"1"
