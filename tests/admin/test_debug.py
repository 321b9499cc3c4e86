"""DEBUG beyond what scripts show: who may run it, and loading the data again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

import kvcore
from kvcore import CommandError
from tests.scripts import Connection, Failure, Status
from tests.support import start_kvcore, start_redis

Open = Callable[[str], kvcore.Store]


@pytest.fixture
def open_store(tmp_path: Path) -> Open:
    def open_store(policy: str) -> kvcore.Store:
        return kvcore.open(str(tmp_path), persistence=policy, enable_debug_command="yes")

    return open_store


@pytest.mark.behaviour("enable-debug-command", "yes, local, no")
@pytest.mark.parametrize(
    ("setting", "allowed"), [("yes", True), ("local", True), ("no", False), ("", False)]
)
def test_debug_has_to_be_allowed(tmp_path: Path, setting: str, allowed: bool) -> None:
    options = {"enable_debug_command": setting} if setting else {}
    with kvcore.open(str(tmp_path), persistence="none", **options) as store:
        if allowed:
            assert store.execute("DEBUG", "SLEEP", "0") == "OK"
        else:
            with pytest.raises(kvcore.CommandError, match=r"^ERR DEBUG command not allowed"):
                store.execute("DEBUG", "SLEEP", "0")


@pytest.mark.parametrize("setting", ["no", "local"])
def test_redis_words_the_refusal_so(tmp_path: Path, setting: str) -> None:
    replies = []
    for start in (start_redis, start_kvcore):
        folder = tmp_path / start.__name__
        folder.mkdir()
        with start(folder, "--enable-debug-command", setting) as server:
            connection = Connection(server, 2)
            replies.append(connection.call(b"DEBUG", b"SLEEP", b"0"))
            connection.close()
    assert replies[0] == replies[1]
    assert type(replies[0]) is (Failure if setting == "no" else Status)


@pytest.mark.behaviour("DEBUG RELOAD", "brings back what was there")
@pytest.mark.parametrize("policy", ["rdb", "aof"])
def test_reload_brings_back_what_was_there(open_store: Open, policy: str) -> None:
    with open_store(policy) as store:
        store.execute("SET", "k", "v", "EX", 1000)
        store.execute("SET", "text", "x" * 1000)
        store.execute("INCR", "n")
        digest = store.execute("DEBUG", "DIGEST")
        expiry = store.execute("PEXPIRETIME", "k")
        assert store.execute("DEBUG", "RELOAD") == "OK"
        assert store.execute("DEBUG", "DIGEST") == digest
        assert store.execute("PEXPIRETIME", "k") == expiry
        store.execute("SET", "after", "v")
    with open_store(policy) as store:
        assert store.get("after") == b"v"
        assert len(store) == 4


@pytest.mark.behaviour("DEBUG RELOAD", "NOSAVE, NOFLUSH, MERGE")
def test_reload_from_an_old_snapshot(open_store: Open) -> None:
    with open_store("rdb") as store:
        store.transaction(["SET", "a", "saved"], ["SET", "b", "saved", "EX", 1000])
        store.execute("SAVE")
        store.transaction(["SET", "b", "new"], ["SET", "c", "new"])
        assert store.execute("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE") == "OK"
        assert store.execute("MGET", "a", "b", "c") == [b"saved", b"saved", b"new"]
        assert store.execute("TTL", "b") > 0
        assert store.execute("DEBUG", "RELOAD", "nosave") == "OK"
        assert store.execute("MGET", "a", "b", "c") == [b"saved", b"saved", None]
        with pytest.raises(kvcore.CommandError, match=r"^ERR Error trying to load the RDB dump"):
            store.execute("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH")


@pytest.mark.behaviour("DEBUG LOADAOF", "loads the log again")
def test_reload_of_the_log(open_store: Open) -> None:
    with open_store("aof") as store:
        store.execute("APPEND", "text", "a")
        store.execute("SET", "k", "v")
        digest = store.execute("DEBUG", "DIGEST")
        assert store.execute("DEBUG", "LOADAOF") == "OK"
        assert store.execute("DEBUG", "DIGEST") == digest


@pytest.mark.parametrize("command", ["RELOAD", "LOADAOF"])
def test_what_keeps_nothing_cannot_be_loaded_again(open_store: Open, command: str) -> None:
    with open_store("none") as store:
        store["k"] = b"v"
        with pytest.raises(kvcore.CommandError, match=r"^ERR persistence 'none' "):
            store.execute("DEBUG", command)
        assert store["k"] == b"v"


def test_expiry_in_the_background_can_be_stopped(open_store: Open) -> None:
    with open_store("none") as store:
        store.execute("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        store.execute("SET", "k", "v", "PX", 1)
        time.sleep(0.3)
        assert len(store) == 1
        store.execute("DEBUG", "SET-ACTIVE-EXPIRE", 1)
        deadline = time.monotonic() + 60
        while len(store) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(store) == 0


def test_patterns_of_any_size_match_in_no_time(open_store: Open) -> None:
    with open_store("none") as store:
        assert store.execute("DEBUG", "STRINGMATCH-LEN", 200_000, "a*" * 50 + "b") == "OK"
        for size in ("-1", "x", 1 << 40):
            with pytest.raises(kvcore.CommandError, match=r"^ERR value is out of range"):
                store.execute("DEBUG", "STRINGMATCH-LEN", size, "a")


# Starting again -------------------------------------------------------------------------------


@pytest.mark.behaviour("DEBUG RESTART", "graceful, or CRASH-AND-RECOVER; the number stays")
@pytest.mark.parametrize(("how", "kept"), [("RESTART", True), ("CRASH-AND-RECOVER", False)])
def test_a_server_starts_again_with_its_number(tmp_path: Path, how: str, kept: bool) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--save", "3600 1") as server:
        client = server.client()
        client.set("saved", 1)
        client.save()
        client.set("k", 1)
        client.config_set("rdb-key-save-delay", 100_000_000)
        client.bgsave()
        client.config_set("rdb-key-save-delay", 0)
        run_id = client.info("server")["run_id"]
        with pytest.raises(redis.ConnectionError):
            client.execute_command("DEBUG", how, 10)
        server.wait_until_ready()
        info = server.client().info("server")
        assert info["run_id"] != run_id
        assert info["process_id"] == server.pid
        expected = [b"k", b"saved"] if kept else [b"saved"]
        assert sorted(server.client().keys("*")) == expected
        assert not list(tmp_path.glob("temp-*"))


@pytest.mark.behaviour("DEBUG RESTART", "refused where it would lose data")
def test_a_restart_that_would_lose_data_is_refused(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--save", "3600 1") as server:
        client = server.client()
        client.set("k", 1)
        (tmp_path / "dump.rdb").mkdir()
        with pytest.raises(redis.ResponseError, match="failed to restart the server"):
            client.execute_command("DEBUG", "RESTART")
        (tmp_path / "dump.rdb").rmdir()
        with pytest.raises(redis.ResponseError, match="not an integer"):
            client.execute_command("DEBUG", "RESTART", "x")
        assert client.get("k") == b"1"


def test_an_embedded_store_does_not_restart_its_program(open_store: Open) -> None:
    with open_store("none") as store, pytest.raises(CommandError, match="failed to restart"):
        store.execute("DEBUG", "RESTART")
