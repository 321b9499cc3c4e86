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


@pytest.mark.parametrize("first", KEEPING)
@pytest.mark.parametrize("second", [*KEEPING, "none"])
def test_another_policy_finds_what_the_first_left(tmp_path: Path, first: str, second: str) -> None:
    write(tmp_path, first, "1")
    age(tmp_path, 100)
    assert read(tmp_path, second) == b"1"
    if second != "none":
        assert read(tmp_path, second) == b"1"  # and keeps it in its own form


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


def test_what_redis_left_in_both_forms_starts(tmp_path: Path) -> None:
    with start_redis(tmp_path, "--appendonly", "yes") as server:
        server.client().set("k", "1")
        server.client().save()
        server.stop()
    assert read(tmp_path, "hybrid") == b"1"
