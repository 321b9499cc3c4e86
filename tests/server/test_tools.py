"""The tools that come with Redis, on our server."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import redis

from tests.support import RedisServer, start_kvcore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with start_kvcore(tmp_path_factory.mktemp("tools"), "--persistence", "none") as server:
        yield server


def tool(name: str, server: RedisServer, *args: str, stdin: bytes = b"") -> str:
    program = shutil.which(name)
    assert program, f"{name} is missing: apt-get install redis-tools"
    ended = subprocess.run(
        [program, "-p", str(server.port), *args],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=True,
    )
    return ended.stdout.decode()


def test_redis_cli_runs_commands_of_a_pipe(server: RedisServer) -> None:
    said = tool("redis-cli", server, stdin=b"SET k v\nGET k\nNOSUCH\nMULTI\nPING\nEXEC\n")
    assert said.split("\n")[:2] == ["OK", "v"]
    assert "ERR unknown command 'NOSUCH'" in said
    assert said.rstrip().endswith("PONG")


def test_redis_cli_speaks_resp3(server: RedisServer) -> None:
    assert "server" in tool("redis-cli", server, "-3", "HELLO")
    assert "redis_version:7.2.4" in tool("redis-cli", server, "-3", "INFO", "server")


def test_redis_cli_knows_our_commands_on_a_terminal(server: RedisServer) -> None:
    """On a terminal it asks COMMAND DOCS first, and `help` shows what it learnt."""
    leader, follower = pty.openpty()
    program = shutil.which("redis-cli")
    assert program
    environment = {**os.environ, "TERM": "dumb", "HOME": "/nonexistent"}
    process = subprocess.Popen(
        [program, "-p", str(server.port)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
    )
    os.close(follower)
    os.write(leader, b"help client no-touch\nset a b\nquit\n")
    said = b""
    try:
        while chunk := os.read(leader, 4096):
            said += chunk
    except OSError:  # Linux' way to tell that the other end is closed
        pass
    os.close(leader)
    assert process.wait(60) == 0
    assert b"CLIENT NO-TOUCH" in said
    assert b"7.2.0" in said
    assert b"OK" in said


def test_redis_cli_loads_much_at_once(server: RedisServer) -> None:
    lines = b"".join(b"SET key:%d value:%d\r\n" % (n, n) for n in range(20_000))
    said = tool("redis-cli", server, "--pipe", stdin=lines)
    assert "errors: 0, replies: 20000" in said
    assert server.client().get("key:19999") == b"value:19999"


def test_redis_cli_scans(server: RedisServer) -> None:
    client = server.client()
    client.flushall()
    client.set("text", "x" * 100)
    client.rpush("list", *range(10))
    client.hset("hash", mapping={"a": 1})
    client.zadd("zset", {"a": 1})
    client.sadd("set", *range(20))
    keys = tool("redis-cli", server, "--scan")
    assert sorted(keys.split()) == ["hash", "list", "set", "text", "zset"]
    big = tool("redis-cli", server, "--bigkeys")
    assert "Biggest   list found" in big
    memory = tool("redis-cli", server, "--memkeys")
    assert "Sampled 5 keys in the keyspace" in memory


@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_runs_what_we_serve(server: RedisServer, pipeline: str) -> None:
    tests = "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd"
    said = tool(
        "redis-benchmark", server, "-t", tests, "-n", "500", "-c", "10", "-P", pipeline, "--csv"
    )
    assert "WARNING" not in said
    assert len(said.splitlines()) == len(tests.split(",")) + 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_finds_its_way(server: RedisServer, protocol: int) -> None:
    with redis.Redis(
        "127.0.0.1", server.port, protocol=protocol, client_name="me", decode_responses=True
    ) as client:
        assert client.ping()
        assert client.client_getname() == "me"
        info = client.client_info()
        assert info["lib-name"].startswith("redis-py")
        assert client.client_list()[-1]["name"] == "me"
        assert client.config_get("max*")["maxclients"] == "10000"
        assert client.info()["redis_version"] == "7.2.4"
        assert client.command_count() > 100
        assert client.time()[0] > 0
        assert client.role()[0] == "master"
        assert client.lastsave().year >= 2020
        with client.pipeline() as pipe:
            pipe.set("a", 1).get("a")
            assert pipe.execute() == [True, "1"]
