"""``kvcore snapshot list``, and folders with several snapshots."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import kvcore
from tests.cli.conftest import Run

PATTERN = "dump-%H%M%S.rdb"


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    """Three snapshots of 1, 2 and 3 keys."""
    folder = tmp_path / "data"
    with kvcore.open(str(folder), "rdb", save="", snapshot_filename=PATTERN) as store:
        for count in (1, 2, 3):
            store.set(f"k{count}", "v")
            store.execute("SAVE")
            if count < 3:
                time.sleep(1.01 - time.time() % 1)
    return folder


def test_the_newest_is_first_and_its_two_names_are_told(snapshots: Path, run: Run) -> None:
    result = run("snapshot", "list", snapshots, "--json")
    assert result.code == 0
    found = result.json
    assert [entry["keys"] for entry in found] == [3, 3, 2, 1]
    assert found[0]["name"] == "dump.rdb"
    assert [entry["same_as"] for entry in found] == [None, "dump.rdb", None, None]
    times = [entry["time"] for entry in found]
    assert times == sorted(times, reverse=True)
    assert abs(times[0] - time.time()) < 600
    for entry in found:
        path = snapshots / entry["name"]
        assert entry["size"] == path.stat().st_size
        assert entry["whole"] is True
        assert entry["version"] == 10
    text = run("snapshot", "list", snapshots).out
    assert "the same file as dump.rdb" in text
    assert len(text.splitlines()) == 5


def test_damage_and_what_is_not_supported(snapshots: Path, run: Run) -> None:
    (snapshots / "stream.rdb").write_bytes(b"REDIS0010\x0f\x01s" + bytes(9))
    result = run("snapshot", "list", snapshots)
    assert result.code == 3
    assert "not supported" in result.out
    oldest = snapshots / run("snapshot", "list", snapshots, "--json").json[-1]["name"]
    oldest.write_bytes(oldest.read_bytes()[:-20])
    result = run("snapshot", "list", snapshots, "--json")
    assert result.code == 1
    by_name = {entry["name"]: entry for entry in result.json}
    assert by_name[oldest.name]["whole"] is False
    assert oldest.name in by_name[oldest.name]["error"]
    assert by_name["dump.rdb"]["whole"] is True


def test_nothing_to_list(tmp_path: Path, run: Run) -> None:
    assert run("snapshot", "list", tmp_path).code == 0
    assert run("snapshot", "list", tmp_path, "--json").json == []
    assert run("snapshot", "list", tmp_path / "absent").code == 3
    assert run("snapshot").code == 2


def test_a_folder_of_snapshots_is_read_as_a_start_would(snapshots: Path, run: Run) -> None:
    result = run("inspect", snapshots, "--json")
    assert result.json["keys"] == 3
    assert "newer than" in result.err
