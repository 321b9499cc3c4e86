"""The policy in a server of its own: replies and INFO as Redis gives them, signals, crashes."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import RedisServer, ServerExited, start_kvcore, start_redis

DEADLINE_S = 60
OURS = ("--persistence", "aof")
THEIRS = ("--appendonly", "yes")
SLOW = ("--rdb-key-save-delay", "1000000")
SECONDS = ("aof_last_rewrite_time_sec",)


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


def aof(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.info("persistence")
    return {name: value for name, value in found.items() if name.startswith("aof_")}


def child_of(server: RedisServer) -> int:
    return int(re.findall(r"rewriting started by pid (\d+)", server.log)[-1])


SCRIPT: list[tuple[str, ...]] = [
    ("SET", "a", "1"),
    ("BGREWRITEAOF", "x"),
    ("MULTI",),
    ("BGREWRITEAOF",),
    ("SET", "b", "1"),
    ("EXEC",),
    ("DEBUG", "SLEEP", "0.3"),
    ("BGREWRITEAOF",),
    ("BGREWRITEAOF",),
    ("MULTI",),
    ("BGREWRITEAOF",),
    ("EXEC",),
]


@pytest.mark.behaviour("BGREWRITEAOF", "replies beside redis-server")
def test_replies_are_those_of_redis(tmp_path: Path) -> None:
    answers = []
    for name, start, args in (("ours", start_kvcore, OURS), ("theirs", start_redis, THEIRS)):
        folder = tmp_path / name
        folder.mkdir()
        with start(folder, *args, *SLOW) as server:
            client = server.client(raw=True)
            answers.append([ask(client, *words) for words in SCRIPT if words[0] != "DEBUG"])
    assert answers[0] == answers[1]


def test_info_is_that_of_redis(tmp_path: Path) -> None:
    found = []
    for name, start, args in (("ours", start_kvcore, OURS), ("theirs", start_redis, THEIRS)):
        folder = tmp_path / name
        folder.mkdir()
        with start(folder, *args) as server:
            client = server.client()
            client.set("a", "1")
            client.bgrewriteaof()
            wait_for(lambda c=client: not aof(c)["aof_rewrite_in_progress"])  # type: ignore[misc]
            found.append(aof(client))
    ours, theirs = found
    assert list(ours) == list(theirs)
    # Sizes and memory depend on the machine and on what the RDB says of who wrote it.
    for field in ("aof_last_cow_size", "aof_current_size", "aof_base_size", *SECONDS):
        assert isinstance(ours.pop(field), int)
        theirs.pop(field)
    assert ours == theirs


@pytest.mark.behaviour("appendfsync", "kill -9 loses nothing that was answered, with each value")
@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, policy: str) -> None:
    args = (*OURS, "--appendfsync", policy, "--auto-aof-rewrite-min-size", "20kb")
    answered: list[int] = [0] * 4

    def write(server: RedisServer, writer: int) -> None:
        client = server.client()
        try:
            while True:
                pipeline = client.pipeline(transaction=writer % 2 == 0)
                for _ in range(10):
                    pipeline.incr(f"n{writer}")
                answered[writer] = pipeline.execute()[-1]
        except (redis.RedisError, OSError, ValueError):
            pass

    with start_kvcore(tmp_path, *args) as server:
        threads = [threading.Thread(target=write, args=(server, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        client = server.client()
        wait_for(lambda: aof(client)["aof_rewrites"] >= 2 and min(answered) > 0)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        for thread in threads:
            thread.join()
    with start_kvcore(tmp_path, *args) as server:
        kept = [int(value or 0) for value in server.client().mget("n0", "n1", "n2", "n3")]
    for writer in range(4):
        assert kept[writer] >= answered[writer]
        if writer % 2 == 0:
            assert kept[writer] % 10 == 0, "transactions are kept whole"


@pytest.mark.behaviour("log lines", "`Killing running AOF rewrite child`")
@pytest.mark.behaviour("SHUTDOWN", "syncs the log and ends the children")
def test_terminating_keeps_everything_and_ends_the_child(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *OURS, *SLOW) as server:
        server.client().mset({"a": 1, "b": 2, "c": 3})
        server.client().bgrewriteaof()
        assert server.stop() == 0
        assert f"Killing running AOF rewrite child: {child_of(server)}" in server.log
        assert "Redis is now ready to exit, bye bye..." in server.log
    assert not list((tmp_path / "appendonlydir").glob("temp-*"))
    with start_kvcore(tmp_path, *OURS) as server:
        assert server.client().mget("a", "b", "c") == [b"1", b"2", b"3"]


@pytest.mark.behaviour("log lines", "the end of a child by a signal")
def test_a_dead_child_is_noticed_and_reported(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *OURS, *SLOW) as server:
        client = server.client()
        client.mset({"a": 1, "b": 2, "c": 3})
        client.bgrewriteaof()
        os.kill(child_of(server), signal.SIGKILL)
        wait_for(lambda: "Background AOF rewrite terminated by signal 9" in server.log)
        assert aof(client)["aof_last_bgrewrite_status"] == "err"
        assert client.set("d", 4)


@pytest.mark.behaviour("process", "a child does not outlive its server")
def test_a_child_does_not_outlive_its_server(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *OURS, "--rdb-key-save-delay", "1000") as server:
        client = server.client()
        client.mset({str(n): n for n in range(3000)})
        client.bgrewriteaof()
        child = child_of(server)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        wait_for(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child))
    with start_kvcore(tmp_path, *OURS) as server:
        assert server.client().dbsize() == 3000


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.behaviour("log lines", "`Bad file format reading the append only file`, no traceback")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("appendonly.aof.manifest", b"", "Found an empty AOF manifest"),
        ("appendonly.aof.manifest", b"x\n", "Invalid AOF manifest file format"),
        (
            "appendonly.aof.1.incr.aof",
            b"nonsense\r\n",
            "Bad file format reading the append only file",
        ),
    ],
)
def test_damage_ends_the_start_with_one_line_and_no_traceback(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with start_kvcore(tmp_path, *OURS):
        pass
    path = tmp_path / "appendonlydir" / name
    path.write_bytes(content)
    with pytest.raises(ServerExited) as refused:
        start_kvcore(tmp_path, *OURS)
    assert refused.value.returncode == 1
    assert message in refused.value.log
    assert str(path) in refused.value.log
    assert "Traceback" not in refused.value.log
    assert path.read_bytes() == content


@pytest.mark.behaviour("log lines", "`Unexpected end of file reading the append only file`")
def test_an_unfinished_command_is_refused_if_told_so(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, *OURS) as server:
        server.client().set("a", 1)
    path = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ServerExited) as refused:
        start_kvcore(tmp_path, *OURS, "--aof-load-truncated", "no")
    assert "Unexpected end of file reading the append only file" in refused.value.log
