"""How the server ends when it is told to from outside."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import redis

from tests.processes import starting
from tests.support import RedisServer, start_kvcore, start_redis


@pytest.mark.behaviour("shutdown-on-sigterm", "default, save, nosave, now, force")
@pytest.mark.behaviour("shutdown-on-sigint", "default, save, nosave, now, force")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("how", "saved"), [("default", False), ("save", True), ("nosave", False), ("save now", True)]
)
def test_a_signal_ends_it_well_and_saves_as_configured(
    tmp_path: Path, number: signal.Signals, how: str, saved: bool
) -> None:
    option = f"--shutdown-on-{number.name.lower()}"
    with start_kvcore(tmp_path, "--persistence", "rdb", option, *how.split()) as server:
        server.client().set("k", "v")
        server._process.send_signal(number)
        assert server.wait() == 0
        assert f"Received {number.name} scheduling shutdown..." in server.log
        assert "ready to exit, bye bye" in server.log
        assert (tmp_path / "dump.rdb").exists() is saved


@pytest.mark.behaviour("shutdown", "a signal does not end a server that cannot save, unless forced")
def test_a_save_that_fails_keeps_it_alive_until_forced(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--shutdown-on-sigterm", "save") as server:
        client = server.client()
        client.set("k", "v")
        (tmp_path / "dump.rdb").mkdir()  # a snapshot cannot take its place
        server._process.send_signal(signal.SIGTERM)
        wait_for(server, "Error trying to save the DB, can't exit")
        assert client.get("k") == b"v"
        client.config_set("shutdown-on-sigterm", "save force")
        server._process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.behaviour("process", "a signal ends a load at once, the file stays")
def test_a_load_is_ended_at_once_and_the_file_stays(tmp_path: Path) -> None:
    with start_redis(tmp_path) as writer:
        client = writer.client()
        client.execute_command("DEBUG", "POPULATE", "20000")
        client.save()
    before = (tmp_path / "dump.rdb").read_bytes()
    with starting(tmp_path, "--persistence", "rdb", "--key-load-delay", "1000") as server:
        server.process.terminate()
        assert server.wait() == 0
    assert (tmp_path / "dump.rdb").read_bytes() == before


@pytest.mark.behaviour("LOADING", "commands that need data are refused, others answered")
@pytest.mark.behaviour("LASTSAVE", "answers during a load")
def test_loading_is_answered_while_it_lasts(tmp_path: Path) -> None:
    with start_redis(tmp_path) as writer:
        client = writer.client()
        client.execute_command("DEBUG", "POPULATE", "20000")
        client.save()
    with (
        starting(tmp_path, "--persistence", "rdb", "--key-load-delay", "1000") as server,
        server.client() as client,
    ):
        for argv in (["GET", "k"], ["SET", "k", "v"], ["PING"], ["DBSIZE"], ["SAVE"]):
            with pytest.raises(redis.BusyLoadingError, match="Redis is loading the dataset"):
                client.execute_command(*argv)
        with pytest.raises(redis.BusyLoadingError):
            client.config_set("appendonly", "yes")
        assert client.config_get("port") == {"port": "0"}
        assert client.config_set("timeout", 5)
        assert client.execute_command("LASTSAVE")
        assert client.execute_command("CLIENT", "ID")
        assert client.command_count() > 100


def test_a_terminal_that_closes_is_no_reason(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        server._process.send_signal(signal.SIGHUP)
        assert server.client().ping()


def wait_for(server: RedisServer, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in server.log:
        assert time.monotonic() < deadline
        time.sleep(0.01)
