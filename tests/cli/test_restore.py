"""``kvcore restore``: the data of a moment, from logs with timestamps."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from pathlib import Path

import pytest

import kvcore
from tests.cli.conftest import Run, digest, redis_check
from tests.support import start_redis

START = 1_700_000_000


def request(*argv: bytes) -> bytes:
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in argv)


def log(*seconds: int) -> bytes:
    """A log in which key number n was set n seconds after START."""
    return b"".join(b"#TS:%d\r\n" % (START + n) + request(b"SET", b"%d" % n, b"v") for n in seconds)


def write_log(folder: Path, manifest: str, files: dict[str, bytes]) -> Path:
    inner = folder / "appendonlydir"
    inner.mkdir(parents=True)
    (inner / "appendonly.aof.manifest").write_text(manifest)
    for name, data in files.items():
        (inner / name).write_bytes(data)
    return folder


def moment(n: int) -> str:
    return datetime.datetime.fromtimestamp(START + n, datetime.UTC).isoformat(" ")


def keys(folder: Path) -> list[int]:
    with kvcore.open(str(folder), persistence="aof") as store:
        return sorted(int(key) for key in store.execute("KEYS", "*"))


TWO_GENERATIONS = (
    "file b1 seq 1 type h\nfile i1.incr.aof seq 1 type h\nfile i2.incr.aof seq 2 type h\n"
    "file b2 seq 2 type b\nfile i3.incr.aof seq 3 type i\nfile i4.incr.aof seq 4 type i\n"
)
FILES = {
    "b1": log(10),
    "i1.incr.aof": log(11, 15),
    "i2.incr.aof": log(20, 21),
    "b2": b"#TS:%d\r\n" % (START + 30)
    + b"".join(request(b"SET", b"%d" % n, b"v") for n in (10, 11, 15, 20, 21)),
    "i3.incr.aof": log(31, 35),
    "i4.incr.aof": log(40, 41),
}
ALL = [10, 11, 15, 20, 21, 31, 35, 40, 41]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write_log(tmp_path / "data", TWO_GENERATIONS, FILES)


@pytest.mark.parametrize("second", [*range(10, 13), *range(14, 23), *range(29, 37), 39, 40, 41, 99])
def test_everything_up_to_that_second_is_there_and_no_more(
    second: int, two: Path, tmp_path: Path, run: Run
) -> None:
    before = {path: path.stat().st_mtime_ns for path in two.rglob("*")}
    result = run("restore", two, tmp_path / "out", "--to", moment(second))
    assert result.code == 0, result.err
    assert keys(tmp_path / "out") == [n for n in ALL if n <= second]
    assert {path: path.stat().st_mtime_ns for path in two.rglob("*")} == before


def test_redis_puts_its_history_the_other_way_round(two: Path, tmp_path: Path, run: Run) -> None:
    manifest = two / "appendonlydir" / "appendonly.aof.manifest"
    lines = TWO_GENERATIONS.splitlines(keepends=True)
    manifest.write_text("".join([lines[2], lines[1], lines[0], *lines[3:]]))
    (two / "appendonlydir" / "i1.incr.aof").write_bytes(log(11, 15))
    assert run("restore", two, tmp_path / "out", "--to", moment(20)).code == 0
    assert keys(tmp_path / "out") == [10, 11, 15, 20]


def test_a_moment_before_the_oldest_base_is_out_of_reach(
    two: Path, tmp_path: Path, run: Run
) -> None:
    result = run("restore", two, tmp_path / "out", "--to", moment(9))
    assert result.code == 3
    assert "the AOF reaches back to" in result.err
    assert not (tmp_path / "out").exists()
    manifest = two / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("".join(TWO_GENERATIONS.splitlines(keepends=True)[3:]))
    assert run("restore", two, tmp_path / "out", "--to", moment(29)).code == 3
    # An order that nobody writes is not guessed at.
    lines = TWO_GENERATIONS.splitlines(keepends=True)
    manifest.write_text("".join([lines[1], lines[0], lines[2], *lines[3:]]))
    assert run("restore", two, tmp_path / "out", "--to", moment(20)).code == 3
    assert run("restore", two, tmp_path / "out", "--to", moment(35)).code == 0


def test_damage_counts_only_up_to_that_moment(two: Path, tmp_path: Path, run: Run) -> None:
    path = two / "appendonlydir" / "i4.incr.aof"
    path.write_bytes(log(40) + b"damage\r\n" + log(41))
    assert run("restore", two, tmp_path / "a", "--to", moment(36)).code == 0
    result = run("restore", two, tmp_path / "b", "--to", moment(41))
    assert result.code == 1
    assert "Bad file format" in result.err
    path.write_bytes(log(40, 41)[:-1])
    result = run("restore", two, tmp_path / "b", "--to", moment(41))
    assert result.code == 0
    assert "which is left out" in result.err
    assert keys(tmp_path / "b") == ALL[:-1]
    (two / "appendonlydir" / "i3.incr.aof").write_bytes(log(31, 35)[:-1])
    result = run("restore", two, tmp_path / "c", "--to", moment(41))
    assert result.code == 1
    assert "yet files follow" in result.err
    assert not (tmp_path / "c").exists()


def test_without_timestamps_nothing_is_guessed(tmp_path: Path, run: Run) -> None:
    undated = request(b"SET", b"1", b"v")
    manifest = "file b seq 1 type b\nfile i.incr.aof seq 1 type i\n"
    data = write_log(tmp_path / "a", manifest, {"b": b"", "i.incr.aof": undated})
    result = run("restore", data, tmp_path / "out", "--to", moment(0))
    assert result.code == 3
    assert "aof-timestamp-enabled yes" in result.err
    # But that it was not changed since a moment is enough to know what was there.
    os.utime(data / "appendonlydir" / "i.incr.aof", (START, START + 0.5))
    os.utime(data / "appendonlydir" / "b", (START, START))
    assert run("restore", data, tmp_path / "then", "--to", moment(0)).code == 0
    assert keys(tmp_path / "then") == [1]
    assert run("restore", data, tmp_path / "out", "--to", moment(-1)).code == 3
    # Switched on later: what lies before has no time, what lies behind has.
    files = {"b": b"", "i.incr.aof": undated + log(20, 30)}
    data = write_log(tmp_path / "b", manifest, files)
    result = run("restore", data, tmp_path / "out", "--to", moment(10))
    assert result.code == 3
    assert "has no timestamps" in result.err
    assert run("restore", data, tmp_path / "out", "--to", moment(20)).code == 0
    assert keys(tmp_path / "out") == [1, 20]


def test_a_transaction_is_restored_whole_or_not_at_all(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.aof"
    multi, end = request(b"MULTI"), request(b"EXEC")
    path.write_bytes(log(1) + multi + request(b"SET", b"5", b"v") + log(2) + end + log(3))
    assert run("restore", path, tmp_path / "one", "--to", moment(1)).code == 0
    assert keys(tmp_path / "one") == [1]
    assert run("restore", path, tmp_path / "two", "--to", moment(2)).code == 0
    assert keys(tmp_path / "two") == [1, 2, 5]


def test_a_moment_is_written_as_people_write_it(two: Path, tmp_path: Path, run: Run) -> None:
    local = datetime.datetime.fromtimestamp(START + 31)
    utc = datetime.datetime.fromtimestamp(START + 31, datetime.UTC)
    for number, text in enumerate(
        (str(local), local.isoformat(), utc.strftime("%Y-%m-%dT%H:%M:%SZ"), utc.isoformat())
    ):
        result = run("restore", two, tmp_path / str(number), "--to", text, "--json")
        assert (result.json["to"], result.json["last"]) == (START + 31, START + 31)
    assert run("restore", two, tmp_path / "day", "--to", "2033-01-01 12:00").code == 0
    for text in ("yesterday", "2026-13-01", ""):
        assert run("restore", two, tmp_path / "no", "--to", text).code == 2
    assert run("restore", two, tmp_path / "day", "--to", moment(31)).code == 3  # it exists


def test_a_log_of_redis_is_cut_where_redis_check_aof_cuts_it(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    options = ("--appendonly", "yes", "--aof-timestamp-enabled", "yes")
    with start_redis(folder, *options) as server:
        client = server.client()
        seconds = []
        for number in range(3):
            client.set(f"key:{number}", "v")
            client.rpush("list", number)
            seconds.append(client.time()[0])
            while client.time()[0] < seconds[-1] + 2:
                time.sleep(0.05)
    theirs = tmp_path / "theirs"
    shutil.copytree(folder, theirs)
    manifest = theirs / "appendonlydir" / "appendonly.aof.manifest"
    redis_check("redis-check-aof", "--truncate-to-timestamp", seconds[1], manifest)
    when = datetime.datetime.fromtimestamp(seconds[1]).isoformat()
    assert run("restore", folder, tmp_path / "ours", "--to", when).code == 0
    assert digest(tmp_path / "ours", "--appendonly", "yes") == digest(theirs, "--appendonly", "yes")
    with kvcore.open(str(tmp_path / "ours"), persistence="hybrid") as store:
        assert store.execute("LRANGE", "list", 0, -1) == [b"0", b"1"]


def test_a_log_of_ours_goes_back_beyond_a_rewrite(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [float(START)]
    monkeypatch.setattr(time, "time", lambda: now[0])
    with kvcore.open(
        str(tmp_path / "data"),
        persistence="aof",
        aof_timestamp_enabled=True,
        aof_disable_auto_gc=True,
        tick=False,
    ) as store:
        for number in range(1, 7):
            now[0] = START + 10 * number
            store.set(str(number), "v")
            if number in (2, 4):
                now[0] += 5
                store.execute("BGREWRITEAOF")
                while store.execute("INFO", "persistence").count(b"aof_rewrite_in_progress:1"):
                    time.sleep(0.01)
                    store.tick()
    monkeypatch.undo()
    for number in range(1, 7):
        out = tmp_path / str(number)
        result = run("restore", tmp_path / "data", out, "--to", moment(10 * number + 7))
        assert result.code == 0, result.err
        assert keys(out) == list(range(1, number + 1))


def test_a_snapshot_knows_no_past(folder: Path, tmp_path: Path, run: Run) -> None:
    result = run("restore", folder / "dump.rdb", tmp_path / "out", "--to", moment(0))
    assert result.code == 3
    assert "no AOF" in result.err
