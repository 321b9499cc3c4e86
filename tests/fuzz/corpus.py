"""Small files to damage: every type in every encoding, as redis-server and kvcore write them.

They are small so that a random change hits what has a meaning, and many so that all is there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis

import kvcore
from kvcore.codec import intset, listpack, ziplist
from kvcore.codec.crc64 import crc64
from kvcore.codec.rdb import Writer
from kvcore.testing import FaultyStorage
from tests.support import start_kvcore, start_redis

FAR: Final = 4_102_444_800_000  # the year 2100
Folder = dict[str, bytes]

# What makes a few elements enough for the encoding of large values.
TIGHT: Final = {
    "hash-max-listpack-entries": "2",
    "zset-max-listpack-entries": "2",
    "set-max-intset-entries": "2",
    "list-max-listpack-size": "2",
}

KEYS: Final[tuple[tuple[tuple[object, ...], ...], ...]] = (
    (("SET", "empty", ""), ("SET", "int", -70000), ("SET", "text", "tide")),
    (("SET", "lzf", "abcabcabc" * 30), ("SET", "noise", bytes(range(200)))),
    (("SET", "k", "v"), ("PEXPIREAT", "k", FAR), ("SELECT", 3), ("SET", "k", "other")),
    (("RPUSH", "list", "a", 1, -300, 70000, 1 << 40, "b" * 70, ""),),
    (("SADD", "ints", 1, -5, 300, 70000, 1 << 40),),
    (("SADD", "set", "x", "y", "", b"\xff\r\n"), ("EXPIREAT", "set", FAR // 1000)),
    (("HSET", "hash", "f", "v", "n", 12, "", "e" * 40),),
    (("ZADD", "zset", 1.5, "a", "-inf", "b", 3, "c", 1e-300, "d"),),
)


def folders_of_rdb(path: Path) -> list[Folder]:
    """One folder for each file."""
    return [{"dump.rdb": data} for data in (*_of_servers(path), *_old(), *_of_kvcore())]


def _of_servers(path: Path) -> Iterator[bytes]:
    for name, start in (("redis", start_redis), ("kvcore", start_kvcore)):
        (path / name).mkdir()
        with start(path / name) as server:
            client = server.client()
            for options in ({}, {"rdbcompression": "no"}, TIGHT):
                _configure(client, options)
                for commands in (*KEYS, tuple(command for keys in KEYS for command in keys)):
                    client.flushall()
                    _run(client, commands)
                    client.save()
                    yield (path / name / "dump.rdb").read_bytes()
            yield (path / name / "dump.rdb").read_bytes()[:-8] + bytes(8)  # rdbchecksum no


def _configure(client: redis.Redis, options: dict[str, str]) -> None:
    for name, value in options.items():
        client.config_set(name, value)


def _run(client: redis.Redis, commands: tuple[tuple[object, ...], ...]) -> None:
    pipeline = client.pipeline(transaction=False)
    for command in (*commands, ("SELECT", 0)):
        pipeline.execute_command(*command)
    pipeline.execute()


def _old() -> Iterator[bytes]:
    """Encodings that today's servers only read, and versions 1 to 12 and 80."""
    text = [b"a", b"1", b"b" * 70, b"-300", b"", b"70000"]

    def plain(*strings: bytes, scores: bool = False) -> bytes:
        writer = Writer(compress=False)
        writer.length(len(strings))
        for string in strings:
            writer.string(string)
            if scores:
                writer.raw(b"\x033.5")
        return writer.getvalue()

    def one(content: bytes) -> bytes:
        writer = Writer(compress=False)
        writer.string(content)
        return writer.getvalue()

    zipmap = b"\x02\x01f\x03\x00abc\x04long\x05\x02value\0\0\xff"
    quicklist = Writer()
    quicklist.length(2)
    quicklist.string(ziplist.encode(text))
    quicklist.string(ziplist.encode([b"end"]))
    mixed = Writer()
    mixed.length(2)
    mixed.raw(b"\x01" + one(b"plain") + b"\x02" + one(listpack.encode(text)))
    pairs = ziplist.encode([b"a", b"1", b"b", b"2.5"])
    values = {
        1: plain(*text),
        2: plain(*text),
        3: plain(b"a", b"b", scores=True),
        4: b"\x01" + plain(b"f", b"v")[1:],
        9: one(zipmap),
        10: one(ziplist.encode(text)),
        11: one(intset.encode([-1, 5, 70000])),
        12: one(pairs),
        13: one(pairs),
        14: quicklist.getvalue(),
        18: mixed.getvalue(),
        20: one(listpack.encode(text)),
    }
    for version in (1, 2, 4, 5, 7, 8, 9, 11, 12, 80):
        head = b"VALKEY080" if version == 80 else b"REDIS%04d" % version
        body = head + (b"\xfa" + one(b"redis-ver") + one(b"x") if version > 6 else b"")
        body += b"\xfe\x00\xfb\x02\x01" if version > 6 else b"\xfe\x00"
        for code, value in values.items():
            since = {9: 2, 10: 2, 11: 2, 12: 2, 13: 4, 14: 7, 18: 10, 20: 11}.get(code, 1)
            if version >= since:
                expiry = b"\xfc" + FAR.to_bytes(8, "little") if version > 2 and code == 11 else b""
                body += expiry + bytes([code]) + one(b"key%d" % code) + value
        yield mend(body + b"\xff" + bytes(8)) if version >= 5 else body + b"\xff"


def _of_kvcore() -> Iterator[bytes]:
    for version in (9, 10, 11, 12):
        storage = FaultyStorage()
        with kvcore.open(
            persistence="rdb", storage=storage, tick=False, rdb_version=version
        ) as store:
            for keys in KEYS:
                for command in keys:
                    store.execute(*command)  # type: ignore[arg-type]
        yield storage.contents()["dump.rdb"]


def mend(data: bytes) -> bytes:
    """An RDB file with a right checksum at its end, so that its content is believed."""
    return data[:-8] + crc64(data[:-8]).to_bytes(8, "little")


def folders_of_aof(path: Path) -> list[Folder]:
    """Logs of several files: base and increments, transactions, annotations, history."""
    logs = list(_logs_of_servers(path))
    return [*logs, *_of_old_redis(logs)]


def _logs_of_servers(path: Path) -> Iterator[Folder]:
    for name, start in (("redis", start_redis), ("kvcore", start_kvcore)):
        folder = path / name
        folder.mkdir()
        with start(folder, "--appendonly", "yes", "--appendfsync", "always") as server:
            client = server.client()
            for options in (
                {"aof-use-rdb-preamble": "no"},
                {"aof-use-rdb-preamble": "yes", "aof-timestamp-enabled": "yes"},
                {"aof-use-rdb-preamble": "no", **TIGHT},
            ):
                _configure(client, options)
                client.flushall()
                for half in (KEYS[:4], KEYS[4:]):
                    _rewrite(client)
                    _run(client, tuple(command for keys in half for command in keys))
                    _transaction(client)
                    yield _log(folder)
                _rewrite(client)
                yield _log(folder)


def _rewrite(client: redis.Redis) -> None:
    client.execute_command("BGREWRITEAOF")
    while client.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.01)


def _transaction(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("m", "1", px=10**12)
        pipeline.rpush("n", "1", "2")
        pipeline.incrbyfloat("o", "1.5")
        pipeline.execute()


def _log(folder: Path) -> Folder:
    return {
        f"appendonlydir/{file.name}": file.read_bytes()
        for file in sorted((folder / "appendonlydir").iterdir())
    }


def _of_old_redis(logs: list[Folder]) -> Iterator[Folder]:
    """One file, with and without an RDB preamble: what Redis wrote before version 7."""
    for suffix in ("base.rdb", "base.aof"):
        log = next(log for log in logs if any(name.endswith(suffix) for name in log))
        base = next(content for name, content in log.items() if name.endswith(suffix))
        increment = next(content for name, content in log.items() if name.endswith("incr.aof"))
        yield {"appendonly.aof": base + increment}
