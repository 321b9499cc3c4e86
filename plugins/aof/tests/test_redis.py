"""Files both ways with a real redis-server: what it writes we load, what we write it loads.

"Equal" is DEBUG DIGEST, which Redis computes over every key, value and type.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import redis

from kvcore import CorruptData
from plugins.aof.tests.harness import Opened, Opener, files, requests
from tests.datasets import commands, fill
from tests.support import RedisServer, start_redis

AOF = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")


def digest_of(server: RedisServer) -> str:
    return bytes(server.client(raw=True).execute_command("DEBUG", "DIGEST")).decode()


def rewrite(client: redis.Redis) -> None:
    client.bgrewriteaof()
    while client.info("persistence")["aof_rewrite_in_progress"]:
        pass


def loaded_by_redis(folder: Path, *args: str) -> str:
    """The digest of what Redis makes of our log."""
    with start_redis(folder, *AOF, *args) as server:
        return digest_of(server)


@pytest.mark.behaviour("AOF: text", "a log of redis-server is loaded")
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_a_log_of_redis_is_loaded(opener: Opener, tmp_path: Path, preamble: str) -> None:
    with start_redis(tmp_path, *AOF, "--aof-use-rdb-preamble", preamble) as server:
        client = server.client()
        fill(client, keys=500, seed=1)
        rewrite(client)
        client.select(5)
        fill(client, keys=200, seed=2)
        pipeline = client.pipeline(transaction=True)
        pipeline.set("a", 1).incr("a").select(3).set("b", 2).execute()
        expected = digest_of(server)
    assert f"appendonly.aof.2.base.{'rdb' if preamble == 'yes' else 'aof'}" in files(tmp_path)
    store = opener()
    assert store.digest() == expected
    store.write("SET", "ours", "1")
    after = store.digest()
    store.close()
    assert loaded_by_redis(tmp_path) == after


def test_a_log_with_several_increments_is_loaded(opener: Opener, tmp_path: Path) -> None:
    # A rewrite whose child is killed leaves the old base, and one more increment.
    with start_redis(tmp_path, *AOF, "--rdb-key-save-delay", "10000000") as server:
        client = server.client()
        for n in range(3):
            client.incr("n")
            client.bgrewriteaof()
            client.set(f"k{n}", n)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
            os.kill(int(children), signal.SIGKILL)
            while client.info("persistence")["aof_rewrite_in_progress"]:
                pass
        expected = digest_of(server)
        server.kill()
    assert [name for name in sorted(files(tmp_path)) if ".incr." in name] == [
        f"appendonly.aof.{n}.incr.aof" for n in (1, 2, 3, 4)
    ]
    assert opener().digest() == expected


@pytest.mark.behaviour("old single-file AOF", "taken over as the base, as redis-server does")
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_an_old_log_of_one_file_is_taken_over_as_redis_does(
    opener: Opener, tmp_path: Path, preamble: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with start_redis(source, *AOF, "--aof-use-rdb-preamble", preamble) as server:
        client = server.client()
        fill(client, keys=100, seed=3)
        rewrite(client)
        client.set("later", 1)
        expected = digest_of(server)
    # A log of Redis 4 to 6 is a base with the later commands right behind it.
    parts = files(source)
    old = next(content for name, content in parts.items() if ".base." in name)
    old += next(content for name, content in parts.items() if ".incr." in name)
    shutil.rmtree(source)
    (tmp_path / "appendonly.aof").write_bytes(old)
    store = opener()
    assert store.digest() == expected
    assert not (tmp_path / "appendonly.aof").exists()
    assert files(tmp_path)["appendonly.aof"] == old
    assert files(tmp_path)["appendonly.aof.manifest"] == (
        b"file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    )
    store.write("SET", "ours", "1")
    after = store.digest()
    store.close()
    assert loaded_by_redis(tmp_path) == after
    store = opener()
    assert store.digest() == after
    store.rewrite()
    assert sorted(files(tmp_path)) == [
        "appendonly.aof.2.base.rdb",
        "appendonly.aof.2.incr.aof",
        "appendonly.aof.manifest",
    ]


@pytest.mark.behaviour("old single-file AOF", "found after a crash between the two steps")
def test_an_old_log_named_but_not_yet_moved_is_found(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(requests([("SELECT", "0"), ("SET", "a", "1")]))
    (tmp_path / "appendonlydir").mkdir()
    manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_bytes(b"file appendonly.aof seq 1 type b\n")
    assert opener().keys() == [b"a"]


def test_an_old_log_beside_a_new_one_is_left_alone(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "new", "1")
    store.close()
    (tmp_path / "appendonly.aof").write_bytes(requests([("SELECT", "0"), ("SET", "old", "1")]))
    assert opener().keys() == [b"new"]
    assert (tmp_path / "appendonly.aof").exists()


def test_a_torn_old_log_is_healed_where_it_moves_to(opener: Opener, tmp_path: Path) -> None:
    whole = requests([("SELECT", "0"), ("SET", "a", "1")])
    (tmp_path / "appendonly.aof").write_bytes(whole + b"*3\r\n$3\r\nSE")
    store = opener()
    assert store.keys() == [b"a"]
    assert files(tmp_path)["appendonly.aof"] == whole
    store.write("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


@pytest.mark.behaviour("AOF: damage", "an empty `.base.rdb` is damage, where Redis loads no data")
def test_a_base_that_became_empty_is_damage(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.rewrite()
    store.write("SET", "b", "1")
    store.close()
    base = tmp_path / "appendonlydir" / "appendonly.aof.2.base.rdb"
    base.write_bytes(bytes(base.stat().st_size))
    with pytest.raises(CorruptData, match=r"base\.rdb at offset 0: no RDB file: it starts"):
        opener()
    base.write_bytes(b"")
    with pytest.raises(
        CorruptData, match=r"base\.rdb at offset 0: no RDB file: it starts with b''"
    ):
        opener()
    assert files(tmp_path)[base.name] == b""
    with start_redis(tmp_path, *AOF) as server:
        assert server.client().keys() == [b"b"]


def fill_store(store: Opened) -> None:
    for argv in commands(keys=500, seed=4):
        store.do(*argv)
    store.flush()
    store.do("SELECT", 9)
    for argv in commands(keys=100, seed=5):
        store.write(*argv)
    store.transaction(("SET", "a", "1"), ("SELECT", "2"), ("INCR", "a"), ("APPEND", "b", "\r\n"))


@pytest.mark.behaviour("aof-use-rdb-preamble", "either form of the base is loaded by redis-server")
@pytest.mark.parametrize("preamble", [True, False])
def test_redis_loads_our_log(opener: Opener, tmp_path: Path, preamble: bool) -> None:
    store = opener(aof_use_rdb_preamble=preamble, aof_timestamp_enabled=True)
    fill_store(store)
    expected = store.digest()
    store.close()
    assert loaded_by_redis(tmp_path) == expected
    shutil.rmtree(tmp_path / "appendonlydir")
    store = opener(aof_use_rdb_preamble=preamble, aof_timestamp_enabled=True)
    fill_store(store)
    store.rewrite()
    store.write("SET", "after", "the rewrite")
    expected = store.digest()
    store.close()
    assert loaded_by_redis(tmp_path) == expected


def test_redis_loads_our_log_after_a_crash_in_a_rewrite(opener: Opener, tmp_path: Path) -> None:
    store = opener(rdb_key_save_delay=1_000_000)
    store.write("SET", "a", "1")
    store.do("BGREWRITEAOF")
    store.write("SET", "b", "1")
    expected = store.digest()
    store.crash()
    assert loaded_by_redis(tmp_path) == expected


@pytest.mark.behaviour("AOF: text", "the same commands give the text that redis-server writes")
def test_the_same_commands_give_the_same_text(opener: Opener, tmp_path: Path) -> None:
    script: list[tuple[str, ...]] = [
        ("SET", "a", "1"),
        ("MULTI",),
        ("SET", "b", "2"),
        ("SELECT", "3"),
        ("SET", "c", "3"),
        ("EXEC",),
        ("MULTI",),
        ("SET", "alone", "1"),
        ("GET", "alone"),
        ("EXEC",),
        ("SET", "d", "x", "PXAT", "4102444800000"),
        ("SETNX", "d", "y"),
        ("INCRBYFLOAT", "f", "1.5"),
        ("SELECT", "0"),
        ("GETDEL", "a"),
        ("INCR", "n"),
        ("DEL", "nothing"),
    ]
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with start_redis(theirs, *AOF) as server:
        client = server.client(raw=True)
        connection = client.connection_pool.get_connection()
        for argv in script:
            connection.send_command(*argv)
            connection.read_response()
        client.connection_pool.release(connection)
    store = opener()
    for argv in script:
        store.do(*argv)
        store.flush()
    name = "appendonly.aof.1.incr.aof"
    assert files(tmp_path)[name] == files(theirs)[name]


@pytest.mark.behaviour("INFO persistence", "the fields of a log, in the order of redis-server")
def test_info_has_the_fields_of_redis_in_its_order(opener: Opener, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with start_redis(theirs, *AOF) as server:
        fields = server.client().info("persistence")
    assert list(opener().policy.info()) == [name for name in fields if name.startswith("aof_")]


@pytest.mark.parametrize("version", ["9", "11"])
def test_a_base_is_of_the_version_that_is_asked_for(
    opener: Opener, tmp_path: Path, version: str
) -> None:
    store = opener()
    for argv in commands(200, 4):
        store.write(*argv)
    store.configure("rdb-version", version)
    store.rewrite()
    (base,) = [content for name, content in files(tmp_path).items() if ".base." in name]
    assert base.startswith(b"REDIS%04d" % int(version))
    expected = store.digest()
    store.close()
    if version == "9":  # 7.0 knows none above 10
        assert loaded_by_redis(tmp_path) == expected
    assert opener().digest() == expected
