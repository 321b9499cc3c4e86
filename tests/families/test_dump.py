"""DUMP and RESTORE: payloads cross over to Redis and back, and no damage gets in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvcore
from kvcore.codec.crc64 import crc64
from tests.datasets import TYPES, commands
from tests.support import RedisServer

KEYS = 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[kvcore.Store]:
    with kvcore.open(str(tmp_path), persistence="none", enable_debug_command="yes") as store:
        yield store


@pytest.mark.behaviour("DEBUG DIGEST", "is that of redis-server")
@pytest.mark.parametrize("kind", TYPES)
def test_payloads_cross_over_both_ways(store: kvcore.Store, oracle: RedisServer, kind: str) -> None:
    redis = oracle.client(raw=True)
    for argv in commands(KEYS, seed=1, types=(kind,)):
        store.execute(*argv)
    digest = store.execute("DEBUG", "DIGEST").encode()
    for key in store.execute("KEYS", "*"):
        expiry = max(store.execute("PEXPIRETIME", key), 0)
        redis.execute_command("RESTORE", key, expiry, store.execute("DUMP", key), "ABSTTL")
    assert redis.execute_command("DEBUG", "DIGEST") == digest

    store.execute("FLUSHALL")
    for key in redis.execute_command("KEYS", "*"):
        expiry = max(redis.execute_command("PEXPIRETIME", key), 0)
        store.execute("RESTORE", key, expiry, redis.execute_command("DUMP", key), "ABSTTL")
    assert store.execute("DEBUG", "DIGEST").encode() == digest


@pytest.mark.behaviour(
    "sanitize-dump-payload", "a payload of RESTORE is always validated in full, whatever it says"
)
@pytest.mark.parametrize("kind", TYPES)
def test_a_damaged_payload_is_refused_or_harmless(store: kvcore.Store, kind: str) -> None:
    rng = random.Random(1)
    for argv in commands(KEYS, seed=2, types=(kind,)):
        store.execute(*argv)
    payloads = [store.execute("DUMP", key) for key in store.execute("KEYS", "*")]
    refusals = set()
    for _ in range(1000):
        body = damage(rng, rng.choice(payloads)[:-8])
        payload = body + crc64(body).to_bytes(8, "little")
        try:
            store.execute("RESTORE", "k", 0, payload, "REPLACE")
        except kvcore.CommandError as error:
            refusals.add(str(error))
            continue
        # It was taken, so it must be a value like any other.
        assert store.execute("RESTORE", "twin", 0, store.execute("DUMP", "k"), "REPLACE") == "OK"
        digests = store.execute("DEBUG", "DIGEST-VALUE", "k", "twin")
        assert digests[0] == digests[1]
    assert refusals == {"ERR Bad data format"}


def damage(rng: random.Random, body: bytes) -> bytes:
    """A byte changed, a piece cut out, or one repeated; the version at the end stays."""
    data, version = bytearray(body[:-2]), body[-2:]
    start = rng.randrange(len(data))
    stop = min(start + rng.randrange(1, 9), len(data))
    choice = rng.randrange(3)
    if choice == 0:
        data[start] = rng.randrange(256)
    elif choice == 1:
        del data[start:stop]
    else:
        data[start:start] = data[start:stop]
    return bytes(data) + version
