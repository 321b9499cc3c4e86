"""Log and snapshots on one store: which is loaded, and that the two do not get in each other's way.

The store runs in this process and time is handed to its `cron`; children are real.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvcore
from kvcore.config import Config
from kvcore.errors import CorruptData, PersistenceError
from kvcore.storage import LocalStorage
from kvcore_hybrid import HybridPersistence
from kvcore_rdb import MISCONF
from plugins.aof.tests.harness import (
    Disk,
    Opened,
    Opener,
    either_way,
    files,
    request,
    write_log,
)
from tests.datasets import commands, fill
from tests.support import start_kvcore, start_redis

SLOW = 50_000  # rdb-key-save-delay in µs: a child that saves a few keys is met alive
BOTH = ("--appendonly", "yes")


@pytest.fixture
def opener(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    opener = Opener(tmp_path, "hybrid", method=getattr(request, "param", "fork"))
    yield opener
    opener.close()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def saving(store: Opened) -> object:
    return store.policy.info()["rdb_bgsave_in_progress"]


def rewriting(store: Opened) -> object:
    return store.info("rewrite_in_progress")


def fill_slowly(opener: Opener, **options: object) -> Opened:
    """A store whose children take their time."""
    store = opener(rdb_key_save_delay=SLOW, **options)
    for n in range(5):
        store.write("SET", f"k{n}", n)
    return store


# What is loaded -------------------------------------------------------------------------------


def test_the_log_is_loaded_and_the_snapshot_is_not(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "saved", "1")
    assert store.do("SAVE") == "OK"
    store.write("SET", "logged", "1")
    store.crash()
    assert opener().keys() == [b"logged", b"saved"]
    assert (tmp_path / "dump.rdb").exists()


def test_a_newer_snapshot_of_its_own_is_no_reason_to_doubt_the_log(
    opener: Opener, tmp_path: Path
) -> None:
    store = opener(save="3600 1")
    store.write("SET", "a", "1")
    store.close()
    future = time.time() + 100
    os.utime(tmp_path / "dump.rdb", (future, future))
    assert opener().keys() == [b"a"]


def test_a_snapshot_alone_is_loaded_and_a_log_is_written_from_it(
    opener: Opener, tmp_path: Path
) -> None:
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        for argv in commands(keys=50, seed=1):
            embedded.execute(*argv)
        embedded.execute("SAVE")
    store = opener()
    expected = store.digest()
    assert len(store.keys()) == 50
    store.write("SET", "later", "1")
    (tmp_path / "dump.rdb").unlink()
    store = opener.reopen(store)
    assert len(store.keys()) == 51
    store.write("DEL", "later")
    assert store.digest() == expected


def test_a_snapshot_is_loaded_where_the_log_holds_nothing(opener: Opener, tmp_path: Path) -> None:
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        embedded.set("a", "1")
        embedded.execute("SAVE")
    write_log(tmp_path, {"appendonly.aof.1.base.aof": b"", "appendonly.aof.1.incr.aof": b""})
    store = opener()
    assert store.keys() == [b"a"]
    assert opener.reopen(store).keys() == [b"a"]


def test_the_files_of_rdb_and_of_aof_are_taken_over_without_a_question(
    opener: Opener, tmp_path: Path
) -> None:
    with kvcore.open(str(tmp_path), "aof", save="") as embedded:
        embedded.set("a", "1")
    store = opener()
    assert store.keys() == [b"a"]
    store.write("SET", "b", "1")
    store.do("SAVE")
    store.close()
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        assert sorted(embedded.execute("KEYS", "*")) == [b"a", b"b"]


@pytest.mark.behaviour("load", "damage of the log is not papered over with a snapshot")
def test_damage_of_the_log_is_not_papered_over_with_the_snapshot(
    opener: Opener, tmp_path: Path
) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.do("SAVE")
    store.close()
    path = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    path.write_bytes(b"*1\r\n$-1\r\n" + path.read_bytes())
    before = files(tmp_path)
    with pytest.raises(CorruptData):
        opener()
    assert files(tmp_path) == before


def test_it_claims_what_either_claims(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    assert not HybridPersistence.probe(storage, Config()).has_data
    (tmp_path / "dump.rdb").write_bytes(b"whatever")
    found = HybridPersistence.probe(storage, Config())
    assert found.files == ("dump.rdb",)
    assert {"appendonlydir", "appendonly.aof", "dump.rdb"} <= set(found.claims)
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": request("SET", "a", "1")})
    found = HybridPersistence.probe(storage, Config())
    assert found.files == ("appendonlydir/appendonly.aof.1.incr.aof",)


# Two children, one at a time ------------------------------------------------------------------


@pytest.mark.behaviour("BGREWRITEAOF", "waits for a snapshot in the background")
@either_way
def test_a_rewrite_waits_for_a_snapshot(opener: Opener) -> None:
    store = fill_slowly(opener)
    assert store.do("BGSAVE") == "Background saving started"
    assert store.do("BGREWRITEAOF") == "Background append only file rewriting scheduled"
    assert store.info("rewrite_scheduled") == 1
    store.cron()
    assert not rewriting(store)
    store.until(lambda: rewriting(store))
    assert not saving(store)
    assert store.info("rewrite_scheduled") == 0
    store.until(lambda: not rewriting(store))
    assert store.info("last_bgrewrite_status") == "ok"
    assert store.policy.info()["rdb_last_bgsave_status"] == "ok"


@pytest.mark.behaviour("BGSAVE", "SCHEDULE waits for a rewrite")
@either_way
def test_a_snapshot_waits_for_a_rewrite_if_told_so(opener: Opener) -> None:
    store = fill_slowly(opener)
    assert store.do("BGREWRITEAOF") == "Background append only file rewriting started"
    assert store.do("BGSAVE") == (
        "-ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE "
        "in order to schedule a BGSAVE whenever possible."
    )
    assert store.do("BGSAVE", "SCHEDULE") == "Background saving scheduled"
    store.until(lambda: saving(store))
    assert not rewriting(store)
    store.until(lambda: not saving(store))


@pytest.mark.behaviour("SAVE", "allowed during a rewrite")
@either_way
def test_save_is_allowed_during_a_rewrite(opener: Opener, tmp_path: Path) -> None:
    store = fill_slowly(opener)
    assert store.do("BGREWRITEAOF") == "Background append only file rewriting started"
    store.configure("rdb-key-save-delay", "0")
    assert store.do("SAVE") == "OK"
    assert rewriting(store)
    store.until(lambda: not rewriting(store))
    assert store.info("last_bgrewrite_status") == "ok"


def test_snapshots_are_no_commits(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "1")
    assert store.do("SAVE") == "OK"
    store.flush()
    assert files(tmp_path)["appendonly.aof.1.incr.aof"] == (
        request("SELECT", "0") + request("SET", "a", "1")
    )


@either_way
def test_save_points_fire_beside_the_log(opener: Opener, tmp_path: Path) -> None:
    store = opener(save="60 2")
    store.now = time.time()
    store.write("SET", "a", "1")
    store.write("SET", "b", "1")
    store.cron()
    assert not saving(store)
    store.cron(61)
    assert saving(store)
    store.until(lambda: not saving(store))
    assert (tmp_path / "dump.rdb").exists()


# Trouble --------------------------------------------------------------------------------------


@pytest.mark.behaviour("MISCONF: snapshots", "beside a log: writes go on when both are well")
@either_way
def test_writes_are_allowed_again_only_when_both_are_well(opener: Opener, disk: Disk) -> None:
    store = fill_slowly(opener, storage=disk, save="3600 1000000")
    disk.room = 0
    assert store.do("BGSAVE") == "Background saving started"
    store.until(lambda: not saving(store))
    assert store.do("SET", "a", "1") == f"-{MISCONF}"
    # Something has to be written for the log to notice: a key that expires.
    store.instance.keyspace.databases[0].expires.set(b"k1", 1)
    store.do("GET", "k1")
    store.flush()
    assert store.info("last_write_status") == "err"
    assert store.do("SET", "a", "1") == f"-{MISCONF}", "Redis tells of the snapshot first"
    store.cron()  # tries to write, and so not again for a second
    disk.room = None
    store.configure("rdb-key-save-delay", "0")
    assert store.do("BGSAVE") == "Background saving started"
    child = store.instance.active_child
    assert child is not None
    child.wait()
    store.policy.cron(store.now)
    assert store.policy.info()["rdb_last_bgsave_status"] == "ok"
    assert store.do("SET", "a", "1") == (
        "-MISCONF Errors writing to the AOF file: No space left on device"
    )
    store.cron(5)
    store.until(lambda: store.info("last_write_status") == "ok")
    assert store.do("SET", "a", "1") == "OK"


def test_closing_takes_a_last_snapshot_and_keeps_the_log(opener: Opener, tmp_path: Path) -> None:
    store = opener(save="3600 1")
    store.write("SET", "a", "1")
    store.do("SET", "b", "not flushed yet")
    store.close()
    (tmp_path / "dump.rdb").unlink()
    store = opener()
    assert store.keys() == [b"a", b"b"]
    store.instance.shutdown(False)
    assert not (tmp_path / "dump.rdb").exists()


def test_a_last_snapshot_that_fails_keeps_the_store_open(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, save="3600 1")
    store.write("SET", "a", "1")
    disk.room = 0
    with pytest.raises(PersistenceError):
        store.close()
    disk.room = None
    store.write("SET", "b", "1")
    store.close()
    assert opener().keys() == [b"a", b"b"]


# With Redis -----------------------------------------------------------------------------------


def digest_of(server: object) -> str:
    reply = server.client(raw=True).execute_command("DEBUG", "DIGEST")  # type: ignore[attr-defined]
    return bytes(reply).decode()


def test_files_cross_over_to_redis_and_back(opener: Opener, tmp_path: Path) -> None:
    with start_redis(tmp_path, *BOTH) as server:
        client = server.client()
        fill(client, keys=300, seed=7)
        client.save()
        client.set("only in the log", 1)
        expected = digest_of(server)
    store = opener()
    assert store.digest() == expected
    store.write("SET", "ours", 1)
    expected = store.digest()
    store.close()
    with start_redis(tmp_path, *BOTH) as server:
        assert digest_of(server) == expected


@pytest.mark.behaviour("BGSAVE", "replies during a rewrite beside redis-server")
@pytest.mark.behaviour("BGREWRITEAOF", "replies during a save beside redis-server")
def test_replies_during_children_are_those_of_redis(tmp_path: Path) -> None:
    script = [
        ("MSET", "a", "1", "b", "2", "c", "3"),
        ("BGSAVE",),
        ("BGREWRITEAOF",),
        ("BGSAVE",),
        ("BGSAVE", "SCHEDULE"),
        ("SAVE",),
        ("BGREWRITEAOF",),
        ("MULTI",),
        ("BGREWRITEAOF",),
        ("BGSAVE",),
        ("EXEC",),
    ]
    answers = []
    for name, start, args in (
        ("ours", start_kvcore, ("--persistence", "hybrid")),
        ("theirs", start_redis, BOTH),
    ):
        folder = tmp_path / name
        folder.mkdir()
        with start(folder, *args, "--rdb-key-save-delay", "1000000") as server:
            client = server.client(raw=True)
            replies = []
            for words in script:
                try:
                    replies.append(repr(client.execute_command(*words)))
                except Exception as error:
                    replies.append(f"-{error}")
            answers.append(replies)
    assert answers[0] == answers[1]


def test_kill_9_in_the_midst_of_both_loses_nothing(tmp_path: Path) -> None:
    args = ("--persistence", "hybrid", "--appendfsync", "always")
    with start_kvcore(tmp_path, *args, "--rdb-key-save-delay", "1000000") as server:
        client = server.client()
        for n in range(20):
            client.incr("n")
            if n == 5:
                client.bgsave()
            if n == 10:
                client.bgrewriteaof()
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    with start_kvcore(tmp_path, *args) as server:
        assert server.client().get("n") == b"20"
