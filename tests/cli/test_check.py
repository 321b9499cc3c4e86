"""``kvcore check`` beside redis-check-rdb and redis-check-aof."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvcore.cli import main
from tests.cli.conftest import Run, log_files, redis_check
from tests.codec.test_old_files import FOLDER as OLD_FILES

OLD = sorted(OLD_FILES.glob("*.rdb"))


def test_of_a_snapshot_it_says_what_redis_check_rdb_says(folder: Path, run: Run) -> None:
    path = folder / "dump.rdb"
    assert (run("check", path).code, run("check", path).out) == redis_check("redis-check-rdb", path)
    result = run("check", "--json", path).json[0]
    assert (result["ok"], result["kind"], result["version"]) == (True, "rdb", 10)
    assert result["aux"]["redis-ver"].startswith("7.0")
    assert result["keys"] == 601
    assert 0 < result["expires"] < 601
    assert (result["expired"], result["checksum"]) == (0, True)


def test_of_a_log_it_says_what_redis_check_aof_says(folder: Path, run: Run) -> None:
    manifest, base, increment = log_files(folder)
    for path in (manifest, increment):
        result = run("check", path)
        assert (result.code, result.out) == redis_check("redis-check-aof", path)
    assert run("check", manifest.parent).out == run("check", manifest).out
    files = run("check", "--json", manifest).json[0]["files"]
    assert [file["file"] for file in files] == [base.name, increment.name]
    assert all(file["ok"] and file["diff"] == 0 for file in files)


def test_of_old_files_it_counts_what_redis_check_rdb_counts(run: Run) -> None:
    assert OLD or "KVCORE_RDB_FIXTURES" not in os.environ
    for path in OLD:
        code, out = redis_check("redis-check-rdb", path)
        result = run("check", path)
        if result.code == 3:  # modules and streams, which not every build of ours reads
            assert "not supported" in result.out or "module" in result.out
        else:
            assert result.code == code, path
            assert [line for line in result.out.splitlines() if "[info]" in line] == [
                line for line in out.splitlines() if "[info]" in line
            ]


def test_a_data_folder_is_checked_whole(folder: Path, run: Run) -> None:
    result = run("check", "--load", folder)
    assert result.code == 0
    assert "All AOF files and manifest are valid" in result.out
    assert "\\o/ RDB looks OK! \\o/" in result.out
    paths = [entry["path"] for entry in run("check", "--json", folder).json]
    assert paths == [str(folder / "appendonlydir"), str(folder / "dump.rdb")]


def test_a_torn_or_damaged_log_is_valid_up_to_where_redis_says(folder: Path, run: Run) -> None:
    increment = log_files(folder)[2]
    whole = increment.read_bytes()
    for data in (whole[:-1], whole[:-40], whole + b"*3\r\n$3\r\nSET", whole + b"x\r\n", b"junk"):
        increment.write_bytes(data)
        code, out = redis_check("redis-check-aof", increment)
        result = run("check", increment)
        assert (result.code, code) == (1, 1)
        for field in ("size=", "ok_up_to=", "diff="):
            assert _field(result.out, field) == _field(out, field)
        assert increment.read_bytes() == data


def _field(text: str, name: str) -> str:
    found = re.search(rf" {name}(\d+)", text)
    assert found is not None, text
    return found[1]


def test_a_snapshot_cut_anywhere_is_damaged_and_stays_as_it_is(folder: Path, run: Run) -> None:
    path = folder / "dump.rdb"
    whole = path.read_bytes()
    for size in [*range(0, 200, 7), *range(200, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:size])
        result = run("check", path)
        assert result.code == 1, size
        assert "--- RDB ERROR DETECTED ---" in result.out
        assert path.read_bytes() == whole[:size]
        error = run("check", "--json", path).json[0]
        assert 0 <= error["offset"] <= size
        assert "end of file" in error["error"]


def test_damage_is_told_with_the_key(folder: Path, run: Run) -> None:
    path = folder / "small.rdb"
    path.write_bytes(b"REDIS0010\xfe\x05\x0b\x04ints\x05wrong\xff" + bytes(8))
    result = run("check", path)
    assert result.code == 1
    assert "key b'ints', database 5" in result.out


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_flipped_gets_a_verdict(
    data: st.DataObject, redis_folder: Path, tmp_path: Path
) -> None:
    name = data.draw(st.sampled_from(["a.rdb", "a.aof", "a.manifest"]))
    manifest, _, increment = log_files(redis_folder)
    source = {"a.rdb": redis_folder / "dump.rdb", "a.aof": increment, "a.manifest": manifest}[name]
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["check", "--json", "--load", str(path)]) in (0, 1, 3)
    assert path.read_bytes() == content


def test_only_a_load_finds_commands_that_cannot_be_run(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.aof"
    path.write_bytes(b"*2\r\n$4\r\nNOPE\r\n$1\r\nk\r\n")
    assert run("check", path).code == 0
    result = run("check", "--load", path)
    assert result.code == 1
    assert "'NOPE' cannot be replayed" in result.out


def test_a_file_that_the_manifest_names_must_be_there(folder: Path, run: Run) -> None:
    log_files(folder)[1].unlink()
    result = run("check", folder / "appendonlydir")
    assert result.code == 1
    assert "doesn't exist, but the manifest names it" in result.out


def test_the_worst_of_several_files_is_the_exit_code(folder: Path, run: Run) -> None:
    good, missing, bad = folder / "dump.rdb", folder / "missing", folder / "bad.rdb"
    bad.write_bytes(b"REDIS")
    assert run("check", good).code == 0
    assert run("check", good, missing).code == 3
    assert run("check", bad, good, missing).code == 1
    assert [entry["ok"] for entry in run("check", "--json", bad, good, missing).json] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"hello", "neither RDB, AOF, AOF manifest nor JSON lines: it begins with b'hello'"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_data_cannot_be_read(
    content: bytes, sentence: str, tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    result = run("check", path)
    assert (result.code, result.out) == (3, "")
    assert sentence in result.err
    assert result.err.count("\n") == 1


def test_a_folder_without_data_and_a_pipe_cannot_be_read(tmp_path: Path, run: Run) -> None:
    assert "holds no data of any installed persistence" in run("check", tmp_path).err
    os.mkfifo(tmp_path / "a.rdb")
    result = run("check", tmp_path / "a.rdb")
    assert result.code == 3
    assert "no regular file" in result.err


def test_what_is_not_supported_is_not_called_damaged(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.rdb"
    path.write_bytes(b"REDIS0009\x07\x03key" + b"\x81" + bytes(8) + b"\xff" + bytes(8))
    result = run("check", path)
    assert result.code == 3
    assert "module" in result.out
    assert "repair" not in result.out


def test_without_the_plugin_a_sentence_says_what_to_install(redis_folder: Path) -> None:
    code = (
        "import sys; sys.modules['kvcore_rdb'] = None\n"
        "from kvcore.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(redis_folder / "dump.rdb")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == (
        "kvcore: this needs the plugin kvcore-rdb, which is not installed: pip install kvcore-rdb\n"
    )
