"""Files and kills with which redis-server 7.0 loses data, aborts or litters, given to both.

What Redis does is asserted too: where a later one does better, a difference is due in the docs.
(The sixth place, a sync that fails, needs a disk that does: see plugins/aof/tests/test_policy.py.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvcore.codec.rdb import Writer
from plugins.aof.tests.harness import request, requests, write_log
from tests.support import RedisServer, ServerExited, start_kvcore, start_redis

Start = Callable[..., RedisServer]
LOG = ("--appendonly", "yes")
# A report would take a quarter of a minute.
QUICK = ("--crash-memcheck-enabled", "no", "--crash-log-enabled", "no")
INCREMENT = "appendonly.aof.1.incr.aof"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return make(tmp_path / "theirs")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return make(tmp_path / "ours")


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def refusal(start: Start, folder: Path, *args: str) -> ServerExited:
    with pytest.raises(ServerExited) as refused, start(folder, *args):
        pass
    return refused.value


def assert_refused(folder: Path, *words: str) -> None:
    """Ours ends with one sentence, and leaves the files as they were."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = refusal(start_kvcore, folder, *LOG)
    assert refused.returncode == 1
    assert "Traceback" not in refused.log
    for word in words:
        assert word in refused.log
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.behaviour(
    "1. a tail torn inside MULTI swallows later writes", "beside redis-server, which loses one"
)
def test_what_is_written_behind_a_torn_transaction(theirs: Path, ours: Path) -> None:
    torn = requests([("SELECT", "0"), ("SET", "a", "1"), ("MULTI",), ("SET", "b", "1")])
    torn += request("SET", "c", "1")[:-5]
    found = []
    for start, folder in ((start_redis, theirs), (start_kvcore, ours)):
        write_log(folder, {INCREMENT: torn})
        with start(folder, *LOG, "--appendfsync", "always") as server:
            assert server.client().keys("*") == [b"a"]
            assert server.client().set("later", 1)
            server.kill()
        with start(folder, *LOG) as server:
            found.append(sorted(server.client().keys("*")))
    assert found == [[b"a"], [b"a", b"later"]]


@pytest.mark.behaviour(
    "2. a negative length in an AOF aborts the process", "beside redis-server, which aborts"
)
def test_a_negative_length(theirs: Path, ours: Path) -> None:
    log = requests([("SELECT", "0"), ("SET", "a", "1")])
    for folder in (theirs, ours):
        write_log(folder, {INCREMENT: log + b"*2\r\n$3\r\nGET\r\n$-5\r\n" + log})
    assert refusal(start_redis, theirs, *LOG, *QUICK).returncode < 0
    assert_refused(ours, "Bad file format reading the append only file", INCREMENT, "offset")


def snapshot(version: bytes, *keys: bytes) -> bytes:
    writer = Writer(checksum=True)
    writer.raw(b"REDIS" + version + b"\xfe\x00")
    for key in keys:
        writer.byte(0)
        writer.string(key)
        writer.string(b"v")
    writer.byte(255)
    return writer.getvalue() + writer.crc.to_bytes(8, "little")


@pytest.mark.behaviour(
    "3. a duplicated key panics; a damaged version is believed", "beside redis-server: it panics"
)
def test_a_key_that_is_there_twice(theirs: Path, ours: Path) -> None:
    for folder in (theirs, ours):
        (folder / "dump.rdb").write_bytes(snapshot(b"0010", b"k", b"other", b"k"))
    assert "BUG REPORT START" in refusal(start_redis, theirs, *QUICK).log
    assert_refused(ours, "dump.rdb", "b'k'", "twice")


@pytest.mark.behaviour(
    "3. a duplicated key panics; a damaged version is believed",
    "beside redis-server, which loads what the checksum would have told",
)
def test_a_damaged_version(theirs: Path, ours: Path) -> None:
    whole = snapshot(b"0010", b"k", b"other")
    damaged = whole.replace(b"REDIS0010", b"REDIS001:").replace(b"other", b"otter")
    for folder in (theirs, ours):
        (folder / "dump.rdb").write_bytes(damaged)
    with start_redis(theirs) as server:
        assert b"otter" in server.client().keys("*")
    assert_refused(ours, "dump.rdb", "REDIS001:")


@pytest.mark.behaviour(
    "4. temporary files of killed children stay", "beside redis-server, where they stay for ever"
)
def test_a_save_that_was_killed_with_its_server(theirs: Path, ours: Path) -> None:
    left = []
    for start, folder in ((start_redis, theirs), (start_kvcore, ours)):
        with start(folder, "--rdb-key-save-delay", "100000000") as server:
            server.client().set("k", "v")
            server.client().bgsave()
            wait_for(lambda folder=folder: any(folder.glob("temp-*")))
            server.kill()
        with start(folder):
            left.append(len(list(folder.glob("temp-*"))))
    assert left == [1, 0]


@pytest.mark.behaviour(
    "5. an overlong length passes for truncation", "beside redis-server, which drops the rest"
)
def test_an_overlong_length_in_the_middle(theirs: Path, ours: Path) -> None:
    commands = [("SET", f"key {n}", "v") for n in range(300)]
    half = requests([("SELECT", "0"), *commands[:150]])
    damaged = (
        half + b"*3\r\n$3\r\nSET\r\n$9999999\r\nkey 150\r\n$1\r\nv\r\n" + requests(commands[151:])
    )
    for folder in (theirs, ours):
        write_log(folder, {INCREMENT: damaged})
    with start_redis(theirs, *LOG) as server:
        assert server.client().dbsize() == 150
    assert_refused(ours, "Bad file format reading the append only file", INCREMENT, "offset")


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
