"""CONFIG as a command: the words, and that what is set is followed at once.

What each option takes is tested with kvcore.config.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import kvcore
from tests.scripts import Compare, Connection, Failure, Status
from tests.support import RedisServer, start_kvcore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with start_kvcore(tmp_path_factory.mktemp("config")) as server:
        yield server


def test_words_are_those_of_redis(compare: Compare) -> None:
    compare(r"""
        CONFIG
        CONFIG FOO
        CONFIG GET
        CONFIG GET timeout
        CONFIG GET TIMEOUT
        CONFIG GET nosuch
        unordered: CONFIG GET timeout hz
        unordered: CONFIG GET [hz]*-max-listpack-*
        CONFIG SET
        CONFIG SET timeout
        CONFIG SET timeout a
        CONFIG SET timeout 1 hz
        CONFIG SET timeout 1 timeout 2
        CONFIG SET nosuch 1
        CONFIG SET databases 2
        CONFIG SET dir /
        CONFIG SET timeout 5 hz a
        CONFIG GET timeout
        CONFIG REWRITE
        CONFIG REWRITE a
        CONFIG RESETSTAT
        CONFIG HELP
        """)


def test_tools_find_what_they_ask_for(server: RedisServer) -> None:
    client = server.client()
    assert client.config_get("save") == {"save": ""}
    assert client.config_get("appendonly")["appendonly"] in ("yes", "no")
    everything = client.config_get("*")
    assert everything["maxmemory"] == "0"
    assert everything["port"] == str(server.port)


def test_the_file_can_be_written_back(tmp_path: Path) -> None:
    file = tmp_path / "kvcore.conf"
    file.write_text("# mine\ntimeout 7\n", encoding="utf-8")
    with start_kvcore(tmp_path, config_file=file) as server:
        client = server.client()
        client.config_set("timeout", 9)
        client.config_set("maxclients", 100)
        client.config_rewrite()
        assert "CONFIG REWRITE executed with success." in server.log
        assert client.info("server")["config_file"] == str(file)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["# mine", "timeout 9"]
    assert "maxclients 100" in lines


def test_resetstat_forgets_what_was_counted(server: RedisServer) -> None:
    client = server.client()
    client.set("k", "v")
    client.get("k")
    client.get("nokey")
    with pytest.raises(redis.ResponseError):
        client.execute_command("SET", "k", "v", "FOO")
    client.config_resetstat()
    stats = client.info("everything")
    assert stats["keyspace_hits"] == stats["keyspace_misses"] == 0
    assert stats["total_connections_received"] == stats["total_error_replies"] == 0
    assert stats["total_commands_processed"] == 1  # this INFO
    commands = {name for name in stats if str(name).startswith("cmdstat_")}
    assert commands <= {"cmdstat_info", "cmdstat_config|resetstat"}


def test_limits_of_input_are_followed_by_those_connected(server: RedisServer) -> None:
    early = Connection(server, 2)
    early.call(b"PING")
    admin = server.client()
    admin.config_set("proto-max-bulk-len", 1 << 20)
    late = Connection(server, 2)
    for client in (early, late):
        client._socket.sendall(b"*2\r\n$4\r\nECHO\r\n$1048577\r\n")
        assert client.read() == Failure(b"ERR Protocol error: invalid bulk length")
        client.close()
    admin.config_set("proto-max-bulk-len", "512mb")
    admin.config_set("client-query-buffer-limit", 1 << 20)
    hungry = Connection(server, 2)
    hungry._socket.sendall(b"*2\r\n$4\r\nECHO\r\n$5000000\r\n" + b"x" * 2_000_000)
    assert hungry.read() == Failure(b"ERR Protocol error: max query buffer length reached")
    hungry.close()
    admin.config_set("client-query-buffer-limit", "1gb")


def test_maxclients_is_followed_at_once(server: RedisServer) -> None:
    admin = server.client()
    admin.ping()
    connected = int(admin.info("clients")["connected_clients"])
    admin.config_set("maxclients", connected)
    refused = Connection(server, 2)
    assert refused.read() == Failure(b"ERR max number of clients reached")
    refused.close()
    assert admin.info("stats")["rejected_connections"] >= 1
    admin.config_set("maxclients", 10000)
    with pytest.raises(redis.ResponseError, match=r"is not able to handle .*, try with \d+"):
        admin.config_set("maxclients", 4_000_000_000)
    welcome = Connection(server, 2)
    assert welcome.call(b"PING") == Status(b"PONG")
    welcome.close()


def test_the_log_is_as_loud_as_asked(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--loglevel", "nothing") as server:
        client = server.client()
        assert server.log == ""
        client.config_set("loglevel", "warning")
        with pytest.raises(redis.ConnectionError):
            client.execute_command("POST")
        assert "SECURITY ATTACK" in server.log


def test_encodings_follow(server: RedisServer) -> None:
    client = server.client()
    client.config_set("set-max-intset-entries", 2)
    client.sadd("s", 1, 2, 3)
    assert client.object("encoding", "s") != b"intset"
    client.config_set("set-max-intset-entries", 512)


def test_an_embedded_store_has_it_too(tmp_path: Path) -> None:
    with kvcore.open(str(tmp_path), persistence="none") as store:
        assert store.execute("CONFIG", "SET", "timeout", 3) == "OK"
        assert store.execute("CONFIG", "GET", "timeout") == {b"timeout": b"3"}
        assert b"persistence:none" in store.execute("INFO", "kvcore")
