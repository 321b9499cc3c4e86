"""``kvcore restore --into``: keys into a running server, ours and Redis, or nothing at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import kvcore
from tests.cli.conftest import Run, log_files
from tests.support import RedisServer, start_kvcore, start_redis

START = {"kvcore": start_kvcore, "redis": start_redis}


@pytest.fixture(params=START)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """An empty one that keeps a log."""
    folder = tmp_path / "server"
    folder.mkdir()
    with START[request.param](folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def digest(client: redis.Redis) -> str:
    return str(client.execute_command("DEBUG", "DIGEST"))


def test_all_of_a_snapshot_comes_and_is_journalled(
    folder: Path, server: RedisServer, run: Run
) -> None:
    with start_redis(folder) as origin:
        expected = digest(origin.client())
    result = run("restore", folder / "dump.rdb", "--into", f"127.0.0.1:{server.port}", "--json")
    assert result.code == 0
    assert result.json["restored"] == 601
    assert result.json["expired"] == 0
    assert digest(server.client()) == expected
    server.kill()
    with start_kvcore(server.directory, "--appendonly", "yes") as again:
        assert digest(again.client()) == expected


@pytest.mark.parametrize("what", ["folder", "manifest", "lines"])
def test_any_kind_of_data(folder: Path, server: RedisServer, run: Run, what: str) -> None:
    with start_redis(folder, "--appendonly", "yes") as origin:
        expected = digest(origin.client())
    source = {"folder": folder, "manifest": log_files(folder)[0], "lines": folder / "x.jsonl"}[what]
    if what == "lines":
        assert run("convert", folder, source).code == 0
    assert run("restore", source, "--into", server.socket).code == 0
    assert digest(server.client()) == expected


def test_by_database_and_pattern(folder: Path, server: RedisServer, run: Run) -> None:
    into = ("--into", server.socket)
    assert run("restore", folder, *into, "--db", 3, "--json").json["restored"] == 1
    client = server.client()
    assert client.dbsize() == 0
    assert client.info("keyspace")["db3"]["keys"] == 1
    assert run("restore", folder, *into, "--match", "later:[12]", "--json").json["restored"] == 2
    assert sorted(client.keys()) == [b"later:1", b"later:2"]
    assert run("restore", folder, *into, "--match", "nothing*", "--json").json["restored"] == 0


def test_keys_that_are_there_already_change_nothing(
    folder: Path, server: RedisServer, run: Run
) -> None:
    client = server.client()
    client.set("later:2", "mine")
    before = digest(client)
    result = run("restore", folder, "--into", server.socket)
    assert result.code == 1
    assert '1 key of the file is there already, such as "later:2" in database 0' in result.err
    assert "--replace" in result.err
    assert digest(client) == before
    assert run("restore", folder, "--into", server.socket, "--replace").code == 0
    assert client.get("later:2") == b"x"


def test_a_damaged_file_changes_nothing(folder: Path, server: RedisServer, run: Run) -> None:
    path = folder / "dump.rdb"
    path.write_bytes(path.read_bytes()[:-9])
    result = run("restore", path, "--into", server.socket)
    assert result.code == 1
    assert "offset" in result.err
    assert server.client().dbsize() == 0


def test_expiries_are_kept_and_what_is_over_stays_away(
    tmp_path: Path, server: RedisServer, run: Run
) -> None:
    lines = tmp_path / "x.jsonl"
    with kvcore.open(None) as store:
        store.execute("SET", "later", "1", "PXAT", 4_102_444_800_000)
        store.execute("SET", "soon", "1", "PX", 50)
        store.set("live", "theirs")
        with kvcore.open(str(tmp_path / "d"), "rdb", save="") as saved:
            saved.execute("SET", "later", "1", "PXAT", 4_102_444_800_000)
            saved.execute("SET", "live", "over", "PX", 80)
            saved.execute("SAVE")
    time.sleep(0.1)
    assert run("convert", tmp_path / "d", lines).code == 0
    client = server.client()
    client.set("live", "mine")
    result = run("restore", lines, "--into", server.socket, "--replace")
    assert result.code == 0
    assert "1 key left out" in result.out
    assert client.get("live") == b"mine"
    assert client.execute_command("PEXPIRETIME", "later") == 4_102_444_800_000


def test_a_moment_into_a_running_server(tmp_path: Path, server: RedisServer, run: Run) -> None:
    data = tmp_path / "data"
    with kvcore.open(str(data), "aof", aof_timestamp_enabled="yes") as store:
        store.set("deleted by mistake", "precious")
        store.set("other", "1")
        then = int(time.time())
        time.sleep(then + 2.05 - time.time())
        store.delete("deleted by mistake")
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then))
    result = run(*("restore", data, "--to", moment, "--into", server.socket, "--match", "deleted*"))
    assert result.code == 0
    assert server.client().keys() == [b"deleted by mistake"]


def test_a_server_that_refuses(folder: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "s").mkdir()
    args = ("--databases", "2", "--requirepass", "secret")
    with start_kvcore(tmp_path / "s", *args) as server:
        address = f"127.0.0.1:{server.port}"
        result = run("restore", folder, "--into", address)
        assert result.code == 3
        assert "NOAUTH" in result.err
        result = run("restore", folder, "--into", f"redis://:wrong@{address}")
        assert result.code == 3
        assert "WRONGPASS" in result.err
        result = run("restore", folder, "--into", f"redis://:secret@{address}")
        assert result.code == 3
        assert "refuses database 3" in result.err
        with redis.Redis(unix_socket_path=server.socket, password="secret") as client:
            assert client.dbsize() == 0


def test_the_password_of_the_environment(
    folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s").mkdir()
    monkeypatch.setenv("REDISCLI_AUTH", "secret")
    with start_kvcore(tmp_path / "s", "--requirepass", "secret") as server:
        assert run("restore", folder, "--into", server.socket).code == 0


def test_wrong_usage_and_nobody_there(folder: Path, tmp_path: Path, run: Run) -> None:
    for args in (
        [],
        [tmp_path / "out"],
        [tmp_path / "out", "--to", "2026-01-01", "--into", ":1"],
        [tmp_path / "out", "--to", "2026-01-01", "--match", "x"],
    ):
        assert run("restore", folder, *args).code == 2
    for address in (str(tmp_path / "no" / "socket"), "127.0.0.1:1", "http://x", "host:99999"):
        result = run("restore", folder, "--into", address)
        assert result.code == 3
        assert len(result.err.splitlines()) == 1
