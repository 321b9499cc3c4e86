"""Commands about the whole server: fallbacks of policies that save nothing, SHUTDOWN, MEMORY."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import pytest
import redis

import kvcore
from kvcore.config import Config
from kvcore.errors import PersistenceError
from kvcore.instance import Instance
from kvcore.persistence import Persistence, View
from tests.processes import starting
from tests.scripts import Compare
from tests.support import start_kvcore, start_redis


@pytest.mark.behaviour("SHUTDOWN", "words beside redis-server; ABORT")
def test_words_are_those_of_redis(compare: Compare) -> None:
    compare(r"""
        SHUTDOWN foo
        SHUTDOWN SAVE NOSAVE
        SHUTDOWN ABORT
        SHUTDOWN ABORT NOW
        shutdown abort
        MULTI
        SHUTDOWN
        EXEC
        LASTSAVE a
        SAVE a
        BGREWRITEAOF a
        MEMORY
        MEMORY FOO
        MEMORY USAGE
        MEMORY USAGE nokey
        SET k v
        any: MEMORY USAGE k
        any: MEMORY USAGE k SAMPLES 0
        MEMORY USAGE k SAMPLES
        MEMORY USAGE k SAMPLES -1
        MEMORY USAGE k SAMPLES a
        MEMORY USAGE k FOO 1
        MULTI
        SAVE
        EXEC
        """)


def test_time_is_the_clock() -> None:
    with kvcore.open() as store:
        before = time.time()
        seconds, micros = store.execute("TIME")
        assert before - 1e-3 <= int(seconds) + int(micros) / 1e6 <= time.time() + 1e-3


def test_lolwut_tells_the_version_that_clients_look_for() -> None:
    with kvcore.open() as store:
        assert b"Redis ver. 7.2.4" in store.execute("LOLWUT", "VERSION", 5)


# Snapshots of policies that bring no commands -----------------------------------------------------


@pytest.mark.parametrize("command", ["SAVE", "BGSAVE", "BGREWRITEAOF"])
def test_a_policy_that_keeps_nothing_says_so(command: str) -> None:
    with kvcore.open() as store:
        with pytest.raises(kvcore.CommandError, match=r"^ERR persistence 'none' keeps no "):
            store.execute(command)
        assert abs(store.execute("LASTSAVE") - time.time()) < 60  # the start


class Photographer(Persistence):
    """Keeps its snapshots in memory, and has no commands."""

    name: ClassVar[str] = "photographer"
    album: ClassVar[list[set[bytes]]] = []
    broken: ClassVar[bool] = False

    def snapshot(self, view: View) -> None:
        if self.broken:
            raise PersistenceError("the film is full")
        self.album.append({key for key, _, _ in view.entries(0)})

    def close(self, save: bool | None) -> None:
        if save is not False:
            self.snapshot(self.host.view())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kvcore.Store:
    monkeypatch.setattr(Photographer, "album", [])
    config = Config()
    config.set_keywords({"dir": str(tmp_path), "persistence": "none"})
    return kvcore.Store(Instance(config, replacement=Photographer))


def test_save_serves_any_policy_that_takes_snapshots(store: kvcore.Store) -> None:
    with store:
        store.set("k", "v")
        assert store.instance.dirty == 1
        assert store.execute("SAVE") == "OK"
        assert Photographer.album == [{b"k"}]
        assert store.instance.dirty == 0


def test_a_save_that_fails_is_an_error_and_nothing_is_forgotten(
    store: kvcore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store:
        store.set("k", "v")
        monkeypatch.setattr(Photographer, "broken", True)
        with pytest.raises(kvcore.CommandError, match=r"^ERR$"):
            store.execute("SAVE")
        assert store.instance.dirty == 1
        monkeypatch.setattr(Photographer, "broken", False)


# The end ------------------------------------------------------------------------------------------


@pytest.mark.behaviour("SHUTDOWN", "SAVE, NOSAVE, NOW, FORCE: exit code 0")
@pytest.mark.parametrize(
    ("words", "saved"),
    [
        (["SAVE"], True),
        (["NOSAVE"], False),
        ([], False),  # there are no save points
        (["SAVE", "NOW", "FORCE"], True),
    ],
)
def test_shutdown_ends_the_process_well(tmp_path: Path, words: list[str], saved: bool) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb") as server:
        client = server.client()
        client.set("k", "v")
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", *words)
        assert server.wait() == 0
        assert "User requested shutdown..." in server.log
        assert "ready to exit, bye bye" in server.log
        assert (tmp_path / "dump.rdb").exists() is saved
        assert not Path(server.socket).exists()


def test_a_shutdown_that_cannot_save_is_refused_unless_forced(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb") as server:
        client = server.client()
        client.set("k", "v")
        (tmp_path / "dump.rdb").mkdir()  # a snapshot cannot take its place
        with pytest.raises(redis.ResponseError, match=r"^Errors trying to SHUTDOWN. Check logs.$"):
            client.execute_command("SHUTDOWN", "SAVE")
        assert "Error trying to save the DB, can't exit" in server.log
        assert client.get("k") == b"v"
        client.set("k", "w")  # it goes on as if nothing had been asked
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "SAVE", "FORCE")
        assert server.wait() == 0


@pytest.mark.behaviour("SHUTDOWN", "stops a load")
def test_shutdown_stops_a_load(tmp_path: Path) -> None:
    with start_redis(tmp_path) as writer:
        client = writer.client()
        client.execute_command("DEBUG", "POPULATE", "20000")
        client.save()
    before = (tmp_path / "dump.rdb").read_bytes()
    with (
        starting(tmp_path, "--persistence", "rdb", "--key-load-delay", "1000") as server,
        server.client() as client,
    ):
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN")
        assert server.wait() == 0
    assert (tmp_path / "dump.rdb").read_bytes() == before


def test_an_embedded_store_is_closed_by_shutdown(tmp_path: Path) -> None:
    store = kvcore.open(str(tmp_path), persistence="none")
    store.execute("SHUTDOWN")
    with pytest.raises(kvcore.StoreClosed):
        store.get("k")
    store.close()


# Memory -------------------------------------------------------------------------------------------


def test_memory_usage_grows_with_the_value() -> None:
    with kvcore.open() as store:
        store.set("small", b"x")
        store.set("large", b"x" * 100_000)
        for n in range(5000):
            store.execute("RPUSH", "list", b"%08d" % n)
            store.execute("ZADD", "zset", n, b"%08d" % n)
            store.execute("HSET", "hash", b"%08d" % n, b"%08d" % n)
        small, large = (store.execute("MEMORY", "USAGE", key) for key in ("small", "large"))
        assert small < 300
        assert 100_000 < large < 101_000
        for key in ("list", "zset", "hash"):
            exact = store.execute("MEMORY", "USAGE", key, "SAMPLES", 0)
            assert exact > 5000 * 8
            assert exact / 3 < store.execute("MEMORY", "USAGE", key) < exact * 3
