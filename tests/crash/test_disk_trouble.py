"""A disk with no more room under a server in service, and room again: what it says and keeps.

The limit on the size of files (RLIMIT_FSIZE) is real to the process and to its children, and can
be lifted while it runs. What a failing fsync does is shown in the plugins' own tests.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import RedisServer, start_kvcore

ROOM = 256 * 1024
BIG = b"x" * (1 << 20)  # does not fit
DEADLINE_S = 60
PLAIN = ("--rdbcompression", "no")


def limit(server: RedisServer, size: int) -> None:
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, hard))


def fill_disk(server: RedisServer) -> None:
    limit(server, ROOM)


def make_room(server: RedisServer) -> None:
    limit(server, resource.RLIM_INFINITY)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def info(client: Any, field: str) -> Any:
    """A field of INFO persistence."""
    return client.info("persistence")[field]


def accepts_writes(client: Any) -> bool:
    try:
        return bool(client.set("again", 1))
    except redis.ResponseError:
        return False


@pytest.mark.behaviour(
    "log: write", "everysec: MISCONF until there is room, tried each second; nothing is lost"
)
@pytest.mark.behaviour("MISCONF: log", "writes and PING are refused, reads answered")
@pytest.mark.behaviour("INFO persistence", "aof_last_write_status tells of a disk that fails")
@pytest.mark.parametrize("policy", ["aof", "hybrid"])
def test_a_log_that_finds_no_room(tmp_path: Path, policy: str) -> None:
    with start_kvcore(tmp_path, "--persistence", policy) as server:
        client = server.client()
        client.set("before", 1)
        fill_disk(server)
        client.set("big", BIG)  # everysec promises it for later
        wait_for(lambda: info(client, "aof_last_write_status") == "err")
        for command in (["SET", "k", 1], ["PING"]):
            with pytest.raises(redis.ResponseError, match="MISCONF Errors writing to the AOF file"):
                client.execute_command(*command)
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            client.pipeline(transaction=True).set("k", 1).execute()
        assert client.get("before") == b"1"
        make_room(server)
        wait_for(lambda: accepts_writes(client))
        assert info(client, "aof_last_write_status") == "ok"
        assert "AOF write error looks solved" in server.log
        client.execute_command("WAITAOF", 1, 0, 0)
        server.kill()
    with start_kvcore(tmp_path, "--persistence", policy) as server:
        assert sorted(server.client().keys("*")) == [b"again", b"before", b"big"]
        assert server.client().get("big") == BIG


@pytest.mark.behaviour("log: write", "always: no reply leaves any more, and the server exits 1")
def test_always_exits_rather_than_answer(tmp_path: Path) -> None:
    options = ("--persistence", "aof", "--appendfsync", "always")
    with start_kvcore(tmp_path, *options) as server:
        client = server.client()
        client.set("before", 1)
        fill_disk(server)
        with pytest.raises(redis.ConnectionError):
            client.set("big", BIG)
        assert server.wait() == 1
        assert "Can't recover from AOF write error" in server.log
    with start_kvcore(tmp_path, *options) as server:
        assert server.client().keys("*") == [b"before"]


@pytest.mark.behaviour("log: rewrite", "fails and costs nothing; the next one works")
@pytest.mark.behaviour("INFO persistence", "aof_last_bgrewrite_status and consecutive failures")
def test_a_rewrite_that_finds_no_room(tmp_path: Path) -> None:
    options = ("--persistence", "aof", "--auto-aof-rewrite-percentage", "0", *PLAIN)
    with start_kvcore(tmp_path, *options) as server:
        client = server.client()
        for n in range(4):
            client.set(f"k{n}", BIG)
        fill_disk(server)
        client.execute_command("BGREWRITEAOF")
        wait_for(lambda: not info(client, "aof_rewrite_in_progress"))
        assert info(client, "aof_last_bgrewrite_status") == "err"
        assert info(client, "aof_rewrites_consecutive_failures") == 1
        assert client.set("small", 1), "the log itself has room"
        assert not list(tmp_path.rglob("temp-*"))
        make_room(server)
        client.execute_command("BGREWRITEAOF")
        wait_for(lambda: not info(client, "aof_rewrite_in_progress"))
        assert info(client, "aof_last_bgrewrite_status") == "ok"
        assert info(client, "aof_rewrites_consecutive_failures") == 0
        client.execute_command("WAITAOF", 1, 0, 0)
        server.kill()
    with start_kvcore(tmp_path, *options) as server:
        assert server.client().dbsize() == 5


@pytest.mark.behaviour(
    "snapshot", "BGSAVE fails: MISCONF if there are save points, until one works"
)
@pytest.mark.behaviour("MISCONF: snapshots", "refuses writes and PING, lifted by a save that works")
@pytest.mark.behaviour("stop-writes-on-bgsave-error", "`no` lifts the refusal at once")
@pytest.mark.behaviour("INFO persistence", "rdb_last_bgsave_status tells of the last try")
def test_a_snapshot_in_the_background_that_finds_no_room(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--save", "3600 1000", *PLAIN) as server:
        client = server.client()
        client.set("before", 1)
        client.save()
        client.set("big", BIG)
        fill_disk(server)
        client.bgsave()
        wait_for(lambda: not info(client, "rdb_bgsave_in_progress"))
        assert info(client, "rdb_last_bgsave_status") == "err"
        for command in (["SET", "k", 1], ["PING"]):
            with pytest.raises(redis.ResponseError, match="MISCONF Redis is configured to save"):
                client.execute_command(*command)
        assert client.get("before") == b"1"
        client.config_set("stop-writes-on-bgsave-error", "no")
        assert client.set("k", 1)
        client.config_set("stop-writes-on-bgsave-error", "yes")
        assert not accepts_writes(client)
        make_room(server)
        client.bgsave()
        wait_for(lambda: not info(client, "rdb_bgsave_in_progress"))
        assert info(client, "rdb_last_bgsave_status") == "ok"
        assert accepts_writes(client)
        assert not list(tmp_path.rglob("temp-*"))
        server.kill()
    with start_kvcore(tmp_path, "--persistence", "rdb") as server:
        assert sorted(server.client().keys("*")) == [b"before", b"big", b"k"]


@pytest.mark.behaviour("snapshot", "SAVE fails with a bare -ERR, and writes go on")
@pytest.mark.behaviour("SAVE", "an I/O error is a bare -ERR, writes stay allowed")
@pytest.mark.behaviour("shutdown", "a final save that fails keeps the server alive, unless FORCE")
@pytest.mark.behaviour(
    "SHUTDOWN", "Errors trying to SHUTDOWN where the last save fails; FORCE leaves"
)
def test_a_snapshot_in_the_foreground_that_finds_no_room(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--save", "3600 1", *PLAIN) as server:
        client = server.client()
        client.set("before", 1)
        client.save()
        fill_disk(server)
        client.set("big", BIG)
        with pytest.raises(redis.ResponseError) as refused:
            client.save()
        assert str(refused.value) == ""
        assert accepts_writes(client)
        with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
            client.execute_command("SHUTDOWN")
        assert client.get("before") == b"1"
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "FORCE")
        assert server.wait() == 0
    with start_kvcore(tmp_path, "--persistence", "rdb") as server:
        assert server.client().keys("*") == [b"before"]


@pytest.mark.behaviour("retry of a save", "a save point tries again five seconds after a failure")
@pytest.mark.behaviour("snapshot", "the save points try again by themselves, and lift MISCONF")
def test_a_save_point_heals_by_itself(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--save", "1 1", *PLAIN) as server:
        client = server.client()
        fill_disk(server)
        client.set("big", BIG)
        wait_for(lambda: info(client, "rdb_last_bgsave_status") == "err")
        assert not accepts_writes(client)
        make_room(server)
        wait_for(lambda: info(client, "rdb_last_bgsave_status") == "ok")
        assert accepts_writes(client)
        server.kill()
    with start_kvcore(tmp_path, "--persistence", "rdb", "--save", "") as server:
        assert server.client().get("big") == BIG


@pytest.mark.behaviour("change of policy", "no room: one error, and the former policy goes on")
@pytest.mark.parametrize(("first", "second"), [("rdb", "hybrid"), ("aof", "rdb")])
def test_a_change_of_policy_that_finds_no_room(tmp_path: Path, first: str, second: str) -> None:
    with start_kvcore(tmp_path, "--persistence", first, *PLAIN) as server:
        client = server.client()
        client.set("big", BIG)
        before = sorted(str(path) for path in tmp_path.rglob("*"))
        fill_disk(server)
        with pytest.raises(redis.ResponseError, match=f"persistence '{first}' stays in charge: "):
            client.config_set("persistence", second)
        after = [str(path) for path in tmp_path.rglob("*") if path.name != "appendonlydir"]
        assert sorted(after) == [path for path in before if not path.endswith("appendonlydir")]
        make_room(server)
        assert client.config_set("persistence", second)
        assert client.info("kvcore")["persistence"] == second
        server.kill()
    with start_kvcore(tmp_path, "--persistence", second) as server:
        assert server.client().get("big") == BIG
