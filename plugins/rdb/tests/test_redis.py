"""Files both ways with a real redis-server: what it writes we load, what we write it loads.

"Equal" is DEBUG DIGEST, which Redis computes over every key, value and type, and whether the key
expires; the times themselves are compared besides.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import kvcore
from kvcore import digest, families
from kvcore.codec.rdb import Reader
from kvcore.datatype import DataType, Limits
from kvcore.engine import Engine
from kvcore.errors import CorruptData
from kvcore.keyspace import Keyspace
from kvcore.load import EngineLoader
from kvcore_rdb import format
from tests.datasets import TYPES, commands, fill, pack_all
from tests.support import RedisServer, start_kvcore, start_redis

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


def codes_of(path: Path) -> set[int]:
    """The type bytes in a file, but for the strings'."""
    seen: set[int] = set()
    keyspace = Keyspace(16)
    for datatype in families.kvcore_types():
        keyspace.types.add(datatype)
    types = keyspace.types.by_code
    for code, datatype in types.items():
        types[code] = noting(datatype, seen)
    with path.open("rb") as file:
        reader = Reader(file, size=path.stat().st_size, checksum=True)
        format.read(reader, EngineLoader(Engine(keyspace)))
    return seen


def noting(base: DataType, seen: set[int]) -> DataType:
    """A type that loads as another does, and notes under which codes; it takes nothing packed."""

    def load(code: int, reader: Reader, limits: Limits) -> object:
        seen.add(code)
        return base.load(code, reader, limits)

    return DataType(
        base.name,
        number=base.number,
        classes=(),
        rdb_codes=(),
        encoding=base.encoding,
        rdb_code=base.rdb_code,
        save=base.save,
        load=load,
        rewrite=base.rewrite,
        copy=base.copy,
        digest=base.digest,
        length=base.length,
    )


PLAIN = {2, 4, 5, 11}  # set, hash, zset, intset: as they were before listpacks, and still are
WRITTEN = {
    9: PLAIN | {12, 13, 14},
    10: PLAIN | {16, 17, 18},
    11: PLAIN | {16, 17, 18, 20},
    12: PLAIN | {16, 17, 18, 20},
}


@pytest.mark.behaviour("rdb-version", "9 to 12: each with its own encodings only")
@pytest.mark.parametrize("version", WRITTEN)
@pytest.mark.parametrize("packed", [False, True])
def test_a_version_has_its_own_encodings_only(tmp_path: Path, version: int, packed: bool) -> None:
    """Values that were touched, and values that lie packed as an earlier version had them."""
    with filled(tmp_path, TYPES, **{"rdb-version": version}) as store:
        expected = digest_of(store)
        if packed:
            pack_all(store.instance.keyspace)
        store.execute("SAVE")
    path = tmp_path / "dump.rdb"
    assert path.read_bytes().startswith(b"REDIS%04d" % version)
    found = codes_of(path)
    if packed:  # then a set may lie as every version has it
        found |= WRITTEN[version] & {20}
    assert found == WRITTEN[version]
    with kvcore.open(str(tmp_path), "rdb", save="", rdb_version=9) as store:
        assert digest_of(store) == expected
        store.execute("SAVE")
    assert codes_of(path) == WRITTEN[9]
    with start_redis(tmp_path, "--sanitize-dump-payload", "yes") as server:
        assert server.client().execute_command("DEBUG", "DIGEST") == expected


@pytest.mark.behaviour("rdb-version", "can be changed while the store runs")
@pytest.mark.parametrize("method", ["fork", "inprocess"])
def test_the_version_can_be_changed_at_runtime(tmp_path: Path, method: str) -> None:
    with start_kvcore(tmp_path, "--persistence", "rdb", "--snapshot-method", method) as server:
        client = server.client()
        client.rpush("list", *range(5000), "x" * 9000)
        client.config_set("rdb-version", 9)
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        expected = client.execute_command("DEBUG", "DIGEST")
        assert client.dump("list")[-10:-8] == b"\x0a\x00"  # DUMP stays as it was
        for wrong in (8, 13):
            with pytest.raises(redis.ResponseError, match="between 9 and 12"):
                client.config_set("rdb-version", wrong)
    assert codes_of(tmp_path / "dump.rdb") == {14}
    with start_redis(tmp_path) as oracle:
        assert oracle.client().execute_command("DEBUG", "DIGEST") == expected


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


@pytest.mark.behaviour("RDB versions", "files of all ages load as in redis-server")
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
