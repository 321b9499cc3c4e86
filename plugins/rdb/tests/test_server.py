"""The policy in a server of its own: replies as Redis gives them, log lines, signals, crashes."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

import kvcore
from tests.datasets import fill
from tests.support import RedisServer, start_kvcore, start_redis

DEADLINE_S = 60
RDB = ("--persistence", "rdb")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(client: Any, *words: str) -> object:
    """A reply, errors as their texts."""
    try:
        reply = client.execute_command(*words)
    except redis.ResponseError as error:
        return f"-{error}"
    if isinstance(reply, list):
        return [f"-{item}" if isinstance(item, redis.ResponseError) else item for item in reply]
    return reply


def persistence(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.info("persistence")
    return found


def idle(client: Any) -> bool:
    return persistence(client)["rdb_bgsave_in_progress"] == 0


def child_of(server: RedisServer) -> int:
    return int(re.findall(r"Background saving started by pid (\d+)", server.log)[-1])


SCRIPT: list[tuple[str, ...]] = [
    ("SAVE",),
    ("SAVE", "NOW"),
    ("BGSAVE", "x"),
    ("BGSAVE", "SCHEDULE", "x"),
    ("CONFIG", "SET", "rdb-key-save-delay", "100000000"),
    ("SET", "k", "v"),
    ("BGSAVE",),
    ("BGSAVE",),
    ("BGSAVE", "SCHEDULE"),
    ("SAVE",),
    ("MULTI",),
    ("SAVE",),
    ("EXEC",),
    ("MULTI",),
    ("BGSAVE",),
    ("EXEC",),
    ("CONFIG", "SET", "rdb-key-save-delay", "0"),
    ("KILL THE CHILD",),
    ("SET", "k", "v"),
    ("PING",),
    ("GET", "k"),
    ("MULTI",),
    ("GET", "k"),
    ("SET", "k", "v"),
    ("EXEC",),
    ("CONFIG", "SET", "stop-writes-on-bgsave-error", "no"),
    ("SET", "k", "v"),
    ("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"),
    ("SET", "k", "v"),
    ("SAVE",),
    ("SET", "k", "v"),
    ("MULTI",),
    ("BGSAVE",),
    ("BGSAVE", "SCHEDULE"),
    ("EXEC",),
]


def run_script(server: RedisServer) -> list[tuple[tuple[str, ...], object]]:
    client = server.client(raw=True)
    replies = []
    for words in SCRIPT:
        if words[0] == "KILL THE CHILD":
            os.kill(child_of(server), signal.SIGKILL)
            wait_for(lambda: idle(server.client()))
        else:
            replies.append((words, ask(client, *words)))
    return replies


@pytest.mark.behaviour("SAVE", "replies beside redis-server, in every state")
@pytest.mark.behaviour("BGSAVE", "replies beside redis-server, in every state")
def test_replies_are_those_of_redis(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    with start_redis(theirs, "--save", "3600 1000000") as server:
        expected = run_script(server)
    with start_kvcore(ours, *RDB, "--save", "3600 1000000") as server:
        assert run_script(server) == expected


FLUSHES: list[tuple[str, ...]] = [
    ("FLUSHALL",),
    ("FLUSHALL", "SYNC"),
    ("FLUSHALL", "ASYNC"),
    ("FLUSHDB",),
    ("MULTI", "FLUSHALL", "SET later 1"),
]


@pytest.mark.behaviour("FLUSHALL", "saves at once where there are save points")
@pytest.mark.behaviour("save", "FLUSHALL saves at once")
@pytest.mark.parametrize("points", ["", "3600 1000000"])
@pytest.mark.parametrize("words", FLUSHES, ids=" ".join)
def test_flushall_saves_at_once_where_there_are_save_points(
    tmp_path: Path, words: tuple[str, ...], points: str
) -> None:
    def flush(server: RedisServer) -> tuple[object, ...]:
        with server.client().client() as client:
            client.set("a", 1)
            client.save()
            client.set("b", 1)
            if words[0] == "MULTI":
                for command in (*words, "EXEC"):
                    client.execute_command(*command.split())
            else:
                client.execute_command(*words)
            fields = persistence(client)
            told = (fields["rdb_changes_since_last_save"], fields["rdb_last_bgsave_status"])
        server.kill()
        return told

    found = []
    for start in (start_redis, start_kvcore):
        folder = tmp_path / start.__name__
        folder.mkdir()
        with start(folder, "--save", points) as server:
            told = flush(server)
        with start(folder, "--save", points) as server:
            found.append((told, sorted(server.client().keys("*"))))
    theirs, ours = found
    if words[0] == "MULTI" and points:
        # Redis saves the half of the transaction before FLUSHALL ends; here it is whole.
        assert (theirs[1], ours[1]) == ([], [b"later"])
    else:
        assert ours == theirs


@pytest.mark.behaviour("FLUSHALL", "ends a save in the background")
def test_flushall_ends_a_save_in_the_background(tmp_path: Path) -> None:
    for points in ("", "3600 1000000"):
        with start_kvcore(tmp_path, *RDB, "--save", points) as server:
            client = server.client()
            client.config_set("rdb-key-save-delay", 100_000_000)
            client.set("k", "v")
            client.bgsave()
            client.config_set("rdb-key-save-delay", 0)
            client.flushall()
            assert idle(client)
            assert persistence(client)["rdb_last_bgsave_status"] == "ok"
            server.kill()
    assert [path.name for path in tmp_path.iterdir() if "temp" in path.name] == []


@pytest.mark.behaviour("FLUSHALL", "is done even if it cannot be saved")
def test_a_flushall_that_cannot_be_saved_is_done_and_told_of(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *RDB, "--save", "3600 1000000") as server:
        client = server.client()
        client.set("k", "v")
        client.config_set("rdbcompression", "yes")
        (tmp_path / "dump.rdb").mkdir()
        assert client.flushall()
        assert "Write error saving DB on disk" in server.log
        assert client.set("k", "w")
        (tmp_path / "dump.rdb").rmdir()


def test_a_log_that_is_replayed_saves_nothing(tmp_path: Path) -> None:
    options = ("--persistence", "hybrid", "--save", "3600 1000000", "--appendfsync", "always")
    with start_kvcore(tmp_path, *options) as server:
        client = server.client()
        client.set("a", 1)
        client.flushall()
        client.set("b", 1)
        server.kill()
    assert (tmp_path / "dump.rdb").exists()
    (tmp_path / "dump.rdb").unlink()
    with start_kvcore(tmp_path, *options) as server:
        assert server.client().keys("*") == [b"b"]
        assert not (tmp_path / "dump.rdb").exists()
        server.kill()


def test_the_commands_are_described_as_in_redis(tmp_path: Path, oracle: RedisServer) -> None:
    with start_kvcore(tmp_path, *RDB) as server:
        for name in ("SAVE", "BGSAVE", "LASTSAVE"):
            ours, theirs = (
                side.client(raw=True).execute_command("COMMAND", "INFO", name)[0]
                for side in (server, oracle)
            )
            assert ours[:2] == theirs[:2]
            assert set(ours[2]) == set(theirs[2]), "flags"
            assert set(ours[6]) == set(theirs[6]), "ACL categories"


@pytest.mark.behaviour("log lines", "of saves and loads")
def test_lines_of_the_log(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *RDB, "--save", "3600 1000000") as server:
        client = server.client()
        client.save()
        assert "DB saved on disk" in server.log
        client.bgsave()
        wait_for(lambda: idle(client))
        assert "Background saving terminated with success" in server.log
        client.config_set("rdb-key-save-delay", 100_000_000)
        client.set("k", "v")
        client.bgsave()
        os.kill(child_of(server), signal.SIGKILL)
        wait_for(lambda: idle(client))
        assert "Background saving terminated by signal 9" in server.log
        client.config_set("rdb-key-save-delay", 0)
        server.stop()
        assert "Saving the final RDB snapshot before exiting" in server.log
    with start_kvcore(tmp_path, *RDB) as server:
        assert "Done loading RDB, keys loaded: 1, keys expired: 0" in server.log
        assert "DB loaded from disk" in server.log


@pytest.mark.behaviour("save", "a save point is reached in a running server")
def test_a_save_point_is_reached(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *RDB) as server:
        client = server.client()
        client.set("k", "v")
        client.config_set("save", "1 1")
        wait_for(lambda: persistence(client)["rdb_changes_since_last_save"] == 0)
        assert "1 changes in 1 seconds. Saving..." in server.log
        server.kill()
    with start_kvcore(tmp_path, *RDB) as server:
        assert server.client().get("k") == b"v"


def test_a_save_point_of_an_embedded_store_is_reached(tmp_path: Path) -> None:
    """There the child is started by a thread that is not the main one."""
    with kvcore.open(str(tmp_path), "rdb", save="1 1") as store:
        store.set("k", "v")
        wait_for((tmp_path / "dump.rdb").exists)
        store.close(save=False)
    with kvcore.open(str(tmp_path), "rdb") as store:
        assert store.get("k") == b"v"


def test_killed_while_it_saves(tmp_path: Path) -> None:
    """What counts after the crash is the last snapshot that was whole."""
    with start_kvcore(tmp_path, *RDB) as server:
        client = server.client()
        fill(client, 500, 1, ("string",))
        expected = client.execute_command("DEBUG", "DIGEST")
        client.save()
        client.set("later", "1")
        client.config_set("rdb-key-save-delay", 1_000_000)
        client.bgsave()
        wait_for(lambda: any(tmp_path.glob("temp-*.rdb")))
        server.kill()
    assert len(list(tmp_path.glob("*.rdb"))) == 2
    with start_kvcore(tmp_path, *RDB) as server:
        assert server.client().execute_command("DEBUG", "DIGEST") == expected
        assert [entry.name for entry in tmp_path.glob("*.rdb")] == ["dump.rdb"]


@pytest.mark.behaviour("SHUTDOWN", "ends a save in the background")
@pytest.mark.parametrize("method", ["fork", "inprocess"])
def test_a_server_that_leaves_while_it_saves(tmp_path: Path, method: str) -> None:
    options = ("--snapshot-method", method, "--save", "3600 1000000")
    with start_kvcore(tmp_path, *RDB, *options) as server:
        client = server.client()
        client.mset({"a": "1", "b": "2"})
        client.bgsave()
        wait_for(lambda: idle(client))
        client.config_set("rdb-key-save-delay", 100_000_000)
        client.bgsave()
        client.set("later", "1")
        assert not idle(client)
        assert (child_of(server) == client.info("server")["process_id"]) is (method == "inprocess")
        client.config_set("rdb-key-save-delay", 0)
        assert server.stop() == 0
    assert [entry.name for entry in tmp_path.glob("*.rdb")] == ["dump.rdb"]
    with start_kvcore(tmp_path, *RDB) as server:
        assert server.client().mget("a", "b", "later") == [b"1", b"2", b"1"]


@pytest.mark.behaviour("snapshot-method", "can be changed while the store runs")
def test_the_method_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *RDB) as server:
        client = server.client()
        own = client.info("server")["process_id"]
        for method, threaded in (("inprocess", True), ("fork", False), ("auto", False)):
            client.config_set("snapshot-method", method)
            client.bgsave()
            wait_for(lambda: idle(client))
            assert (child_of(server) == own) is threaded
            assert persistence(client)["rdb_last_bgsave_status"] == "ok"


@pytest.mark.behaviour("save", "SIGTERM saves where there are any")
@pytest.mark.parametrize(("points", "kept"), [("3600 1000000", True), ("", False)])
def test_sigterm_saves_where_there_are_save_points(tmp_path: Path, points: str, kept: bool) -> None:
    with start_kvcore(tmp_path, *RDB, "--save", points) as server:
        server.client().set("k", "v")
        assert server.stop() == 0
    assert (tmp_path / "dump.rdb").exists() == kept


def test_a_snapshot_larger_than_one_piece(tmp_path: Path) -> None:
    """Fifty thousand keys, saved in the background and loaded by both servers."""
    with start_kvcore(tmp_path, *RDB) as server:
        client = server.client()
        for start in range(0, 50_000, 1000):
            client.mset({f"key {n}": f"value {n} " * 4 for n in range(start, start + 1000)})
        expected = client.execute_command("DEBUG", "DIGEST")
        client.bgsave()
        wait_for(lambda: idle(client))
        server.kill()
    for launch in (start_kvcore, start_redis):
        with launch(tmp_path) as server:
            assert server.client().execute_command("DEBUG", "DIGEST") == expected
