"""Files both ways with a real redis-server: what it writes we load, what we write it loads.

"Equal" is DEBUG DIGEST, which Redis computes over every key, value and type, and whether the key
expires; the times themselves are compared besides.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import kvcore
from kvcore import digest
from kvcore.errors import CorruptData
from tests.datasets import TYPES, commands, fill
from tests.support import RedisServer, start_redis

REPOSITORY = Path(__file__).parents[3]
FIXTURES = Path(
    os.environ.get("KVCORE_RDB_FIXTURES", REPOSITORY.parent / "shared" / "fixtures" / "rdb")
)
# Values as Redis 1 wrote them, so that the test below never lacks a file.
BY_HAND = (
    b"REDIS0001\xfe\x00"
    b"\x00\x06string\x05value"
    b"\x01\x04list\x02\x01a\xc0\x05"
    b"\x02\x03set\x02\x01a\xc1\x00\x01"
    b"\x03\x04zset\x03\x01a\x031.5\x01b\xfe\x01c\xff"
    b"\x04\x04hash\x01\x05field\x05value"
    b"\xfd\x00\x94\x35\x77\x00\x07expires\x01x"
    b"\xfd\x00\x00\x00\x00\x00\x07expired\x01x"
    b"\xff"
)
KEYS = 400
DATASETS = [*((kind,) for kind in TYPES), TYPES]


def kind_names(types: tuple[str, ...]) -> str:
    return "mixed" if types == TYPES else types[0]


def digest_of(store: kvcore.Store) -> bytes:
    return digest.of_keyspace(store.instance.keyspace).hex().encode()


def expiries_of(store: kvcore.Store) -> dict[bytes, int]:
    database = store.instance.keyspace.databases[0]
    return {key: database.expiry(key) for key in database.entries.keys()}


def expiries_in(client: Any) -> dict[bytes, int]:
    return {key: client.execute_command("PEXPIRETIME", key) for key in client.keys("*")}


@contextlib.contextmanager
def filled(directory: Path, types: tuple[str, ...], **options: object) -> Iterator[kvcore.Store]:
    """An embedded store with the data that `fill` writes into a server."""
    with kvcore.open(str(directory), "rdb", save="", **options) as store:
        for argv in commands(KEYS, 7, types):
            store.execute(*argv)
        yield store


@pytest.mark.parametrize("types", DATASETS, ids=kind_names)
@pytest.mark.parametrize("options", [{}, {"rdbcompression": "no", "rdbchecksum": "no"}], ids=str)
def test_we_load_what_redis_writes(
    tmp_path: Path, types: tuple[str, ...], options: dict[str, str]
) -> None:
    args = [word for name, value in options.items() for word in (f"--{name}", value)]
    with start_redis(tmp_path, *args) as server:
        client = server.client()
        fill(client, KEYS, 7, types)
        expected = client.execute_command("DEBUG", "DIGEST")
        expiries = expiries_in(client)
        client.save()
    with kvcore.open(str(tmp_path), "rdb", save="") as store:
        assert digest_of(store) == expected
        assert expiries_of(store) == expiries


@pytest.mark.parametrize("types", DATASETS, ids=kind_names)
@pytest.mark.parametrize("options", [{}, {"rdbcompression": "no", "rdbchecksum": "no"}], ids=str)
def test_redis_loads_what_we_write(
    tmp_path: Path, types: tuple[str, ...], options: dict[str, str]
) -> None:
    with filled(tmp_path, types, **options) as store:
        expected = digest_of(store)
        expiries = expiries_of(store)
        store.execute("SAVE")
    with start_redis(tmp_path) as server:
        client = server.client()
        assert client.execute_command("DEBUG", "DIGEST") == expected
        assert expiries_in(client) == expiries


@pytest.mark.parametrize("types", DATASETS, ids=kind_names)
def test_a_file_that_we_rewrite_stays_the_same_data(
    tmp_path: Path, oracle: RedisServer, types: tuple[str, ...]
) -> None:
    """Load what Redis wrote and write it as it was loaded, perhaps still packed."""
    client = oracle.client()
    fill(client, KEYS, 7, types)
    expected = client.execute_command("DEBUG", "DIGEST")
    client.save()
    shutil.copy(oracle.directory / "dump.rdb", tmp_path)
    with kvcore.open(str(tmp_path), "rdb") as store:
        store.execute("SAVE")
    with start_redis(tmp_path) as server:
        assert server.client().execute_command("DEBUG", "DIGEST") == expected


def test_databases_and_their_numbers(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server:
        for number in (0, 3, 15):
            with redis.Redis(unix_socket_path=server.socket, db=number) as client:
                client.set(f"key of {number}", "v" * number)
        expected = server.client().execute_command("DEBUG", "DIGEST")
        server.client().save()
    with kvcore.open(str(tmp_path), "rdb") as store:
        assert digest_of(store) == expected
        store.execute("SAVE")
    with start_redis(tmp_path) as server:
        assert server.client().execute_command("DEBUG", "DIGEST") == expected


def test_a_file_with_functions_loads_without_them(tmp_path: Path) -> None:
    with start_redis(tmp_path) as server:
        client = server.client()
        client.function_load("#!lua name=mylib\nredis.register_function('f', function() end)")
        client.set("k", "v")
        client.save()
    with kvcore.open(str(tmp_path), "rdb", save="") as store:
        assert store.get("k") == b"v"


@pytest.mark.parametrize(
    "path", [None, *sorted(FIXTURES.glob("*.rdb"))], ids=lambda path: path.stem if path else "v1"
)
def test_files_of_all_ages_load_as_in_redis(tmp_path: Path, path: Path | None) -> None:
    """The files are those of redis-rdb-tools. Streams and modules are refused by name."""
    original = BY_HAND if path is None else path.read_bytes()
    (tmp_path / "dump.rdb").write_bytes(original)
    foreign = {
        "redis_40_with_module": "module",
        "redis_50_with_streams": "stream",
        "redis_60_with_module_aux": "module",
    }
    if path is not None and path.stem in foreign:
        with pytest.raises(CorruptData, match=foreign[path.stem]):
            kvcore.open(str(tmp_path), "rdb")
    else:
        with start_redis(tmp_path) as server:
            expected = server.client().execute_command("DEBUG", "DIGEST")
        with kvcore.open(str(tmp_path), "rdb", save="") as store:
            assert digest_of(store) == expected
    assert (tmp_path / "dump.rdb").read_bytes() == original
