"""Data folders change hands between redis-server and kvcore, whole servers on both sides.

``KVCORE_EXCHANGE_KEYS=200000`` makes it as large as the claim in the README.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import redis

from tests.datasets import fill
from tests.support import RedisServer, start_kvcore, start_redis

KEYS = int(os.environ.get("KVCORE_EXCHANGE_KEYS", "3000"))

RDB = ("--appendonly", "no", "--dbfilename", "dump.rdb")
AOF = ("--appendonly", "yes", "--appendfsync", "no")
PLAIN_AOF = (*AOF, "--aof-use-rdb-preamble", "no")


def patient(server: RedisServer) -> redis.Redis:
    """A client without a timeout: a digest or a SAVE of the large data takes many seconds."""
    return redis.Redis(unix_socket_path=str(server.socket), socket_timeout=None)


def digest(server: RedisServer) -> bytes:
    value: bytes = patient(server).execute_command("DEBUG", "DIGEST")
    return value


def fill_two_databases(server: RedisServer) -> None:
    fill(server.client(), KEYS, seed=7)
    other = server.client()
    other.execute_command("SELECT", "5")
    other.set("in database five", "1")


@pytest.mark.behaviour(
    "never silently empty", "a folder changes hands between redis-server and kvcore"
)
@pytest.mark.parametrize("options", [RDB, AOF, PLAIN_AOF], ids=["rdb", "aof", "plain-aof"])
@pytest.mark.parametrize("ours_first", [False, True], ids=["redis-to-kvcore", "kvcore-to-redis"])
def test_a_folder_changes_hands(tmp_path: Path, options: tuple[str, ...], ours_first: bool) -> None:
    (tmp_path / "first").mkdir()
    start = (start_kvcore, start_redis) if ours_first else (start_redis, start_kvcore)
    with start[0](tmp_path / "first", *options) as writer:
        fill_two_databases(writer)
        client = writer.client()
        if options is not RDB:
            client.execute_command("BGREWRITEAOF")
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.05)
        fill(client, 50, seed=8, types=("list", "hash", "zset"))  # something behind the base
        if options is RDB:
            patient(writer).execute_command("SAVE")
        expected = digest(writer)
        writer.stop()
    shutil.copytree(
        tmp_path / "first", tmp_path / "second", ignore=shutil.ignore_patterns("*.lock")
    )
    with start[1](tmp_path / "second", *options) as reader:
        assert digest(reader) == expected
