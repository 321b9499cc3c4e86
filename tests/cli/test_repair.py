"""``kvcore repair``: asks, keeps the original, and what is left loads everywhere."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

import kvcore
from tests.cli.conftest import Run, log_files, redis_check
from tests.support import start_redis


def test_a_torn_log_is_cut_where_redis_check_aof_cuts_it(folder: Path, run: Run) -> None:
    manifest, _, increment = log_files(folder)
    whole = increment.read_bytes()
    for lost in range(1, 300, 23):
        torn = whole[:-lost]
        increment.write_bytes(torn)
        theirs = redis_check("redis-check-aof", increment)[1]
        result = run("repair", "--yes", manifest)
        assert result.code == 0, result.err
        original = Path(f"{increment}.orig")
        assert original.read_bytes() == torn
        original.unlink()
        assert redis_check("redis-check-aof", manifest)[0] == 0
        assert run("check", manifest).code == 0
        assert torn.startswith(increment.read_bytes())
        assert f"ok_up_to={len(increment.read_bytes())}," in theirs
    with start_redis(folder, "--appendonly", "yes") as server:
        assert server.client().get("later:1") == b"a\r\nb"


def test_an_unfinished_transaction_goes_whole(folder: Path, run: Run) -> None:
    increment = log_files(folder)[2]
    whole = increment.read_bytes()
    increment.write_bytes(whole + b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n")
    assert run("repair", "-y", folder).code == 0
    assert increment.read_bytes() == whole


def test_it_asks_and_no_answer_is_no(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    increment = log_files(folder)[2]
    torn = increment.read_bytes()[:-1]
    increment.write_bytes(torn)
    before = sorted(folder.rglob("*"))
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        result = run("repair", increment)
        assert result.code == 1
        assert "Continue? [y/N]" in result.err
        assert f"cuts it from {len(torn)} bytes to" in result.err
        assert "nothing was changed" in result.err
        assert increment.read_bytes() == torn
        assert sorted(folder.rglob("*")) == before
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    result = run("repair", increment)
    assert (result.code, result.out.startswith("Repaired ")) == (0, True)


def test_a_second_original_does_not_replace_the_first(folder: Path, run: Run) -> None:
    increment = log_files(folder)[2]
    contents = []
    for _ in range(2):
        contents.append(increment.read_bytes() + b"*1\r\n")
        increment.write_bytes(contents[-1])
        increment.chmod(0o640)
        assert run("repair", "--yes", "--json", increment).json["repaired"] is True
        assert increment.stat().st_mode & 0o777 == 0o640
    names = [f"{increment}.orig", f"{increment}.orig.1"]
    assert [Path(name).read_bytes() for name in names] == contents


def test_what_is_whole_stays_as_it_is(folder: Path, run: Run) -> None:
    before = _state(folder)
    for path in (folder, folder / "dump.rdb", log_files(folder)[2]):
        result = run("repair", "--yes", path)
        assert result.code == 0
        assert "nothing to repair" in result.out
    assert _state(folder) == before


def _state(folder: Path) -> set[tuple[Path, int, int, int]]:
    stats = [(path, path.stat()) for path in folder.rglob("*")]
    return {(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats}


def test_the_keys_before_the_damage_of_a_snapshot_are_saved(folder: Path, run: Run) -> None:
    path = folder / "dump.rdb"
    whole = path.read_bytes()
    shutil.copy(path, folder / "whole.rdb")
    for size in (len(whole) // 3, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:size])
        keys = run("check", "--json", path).json[0]["keys"]
        result = run("repair", "--yes", path)
        assert result.code == 0, result.err
        original = Path(f"{path}.orig")
        assert original.read_bytes() == whole[:size]
        original.unlink()
        code, out = redis_check("redis-check-rdb", path)
        assert code == 0
        assert f"[info] {keys} keys read" in out
        # All that is left is as it was.
        kinds = {line["change"] for line in run("diff", folder / "whole.rdb", path, "--json").lines}
        assert kinds <= {"removed"}
    with start_redis(folder) as server:
        assert server.client().dbsize() > 500


def test_a_wrong_checksum_alone_loses_no_key(folder: Path, run: Run) -> None:
    path = folder / "dump.rdb"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = run("repair", "--yes", path)
    assert result.code == 0
    assert "All 601 keys can be read" in result.err
    assert redis_check("redis-check-rdb", path)[0] == 0


def test_where_nothing_can_be_saved_nothing_is_done(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.rdb"
    path.write_bytes(b"REDIS0010\xfe")
    result = run("repair", "--yes", path)
    assert result.code == 1
    assert "no key lies before the damage" in result.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.rdb"]


def test_damage_on_which_other_files_build_is_not_cut(folder: Path, run: Run) -> None:
    manifest, base, increment = log_files(folder)
    snapshot = base.read_bytes()
    base.write_bytes(snapshot[:-20])
    result = run("repair", "--yes", manifest)
    assert result.code == 1
    assert "what the increments hold builds on it" in result.err
    assert base.read_bytes() == snapshot[:-20]
    base.write_bytes(snapshot)
    text = manifest.read_text()
    manifest.write_text(text + "file next.incr.aof seq 9 type i\n")
    (manifest.parent / "next.incr.aof").write_bytes(increment.read_bytes())
    increment.write_bytes(increment.read_bytes()[:-1])
    result = run("repair", "--yes", manifest)
    assert result.code == 1
    assert "it is not the last file" in result.err
    assert not list(folder.rglob("*.orig"))


def test_a_folder_that_a_store_has_open_is_left_alone(tmp_path: Path, run: Run) -> None:
    with kvcore.open(str(tmp_path), persistence="aof") as store:
        store.set("k", "v")
        result = run("repair", "--yes", tmp_path)
        assert result.code == 3
        assert "is open in another store" in result.err
    assert run("repair", "--yes", tmp_path).code == 0


@pytest.mark.parametrize("name", ["a.jsonl", "missing.rdb"])
def test_other_files_are_refused(name: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert run("repair", "--yes", tmp_path / name).code == 3


@pytest.mark.parametrize("version", [9, 10, 11, 12])
def test_a_repaired_snapshot_is_for_the_same_redis(folder: Path, run: Run, version: int) -> None:
    path = folder / "old.rdb"
    assert run("convert", folder / "dump.rdb", path, "--rdb-version", version).code == 0
    os.truncate(path, path.stat().st_size // 2)
    assert run("repair", path, "--yes").code == 0
    assert path.read_bytes().startswith(b"REDIS%04d" % version)
    assert run("check", path).code == 0
