"""Data for comparisons: keys of every type, in every encoding, some with expiry.

    fill(server.client(), keys=200_000, seed=1)          # over a redis-py client
    for argv in commands(keys=1000, seed=1):             # or one by one, embedded
        store.execute(*argv)

The same arguments give the same commands, whenever and wherever. Expiries are absolute and lie
in a future that no test sees.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from kvcore.datatype import TypeRegistry, Value
from kvcore.families.hashes.value import Hash
from kvcore.families.lists.value import List
from kvcore.families.sets.value import Set
from kvcore.families.zsets.value import ZSet
from kvcore.keyspace import Keyspace

TYPES = ("string", "list", "set", "zset", "hash")

_BATCH = 500
_FAR = 4_102_444_800_000  # the year 2100, Unix milliseconds
_WORDS = (b"alpha", b"beta", b"gamma", b"delta", b"", b"\x00\xff\r\n", "naïve".encode())
# Both sides of every boundary where RDB, listpack or intset change the width of an integer.
_INTEGERS = tuple(
    sign * (1 << bits) + step
    for bits in (0, 6, 7, 8, 12, 13, 15, 16, 23, 24, 31, 32, 53, 62)
    for sign in (1, -1)
    for step in (-1, 0, 1)
)
_SCORES = (b"0", b"-1", b"3.5", b"1e300", b"-1e-300", b"inf", b"-inf", b"0.1", b"9007199254740993")

Command = list[bytes]


def fill(client: Any, keys: int, seed: int, types: tuple[str, ...] = TYPES) -> None:
    """Write ``keys`` keys through a redis-py client (database as the client has it)."""
    pipeline = client.pipeline(transaction=False)
    for argv in commands(keys, seed, types):
        pipeline.execute_command(*argv)
        if len(pipeline) >= _BATCH:
            pipeline.execute()
    pipeline.execute()


def commands(keys: int, seed: int, types: tuple[str, ...] = TYPES) -> Iterator[Command]:
    """The commands that write ``keys`` keys of these types, in turn."""
    rng = random.Random(seed)
    for number in range(keys):
        kind = types[number % len(types)]
        key = b"%s:%d" % (kind.encode(), number)
        yield from _MAKERS[kind](rng, key)
        if rng.random() < 0.2:
            yield [b"PEXPIREAT", key, b"%d" % (_FAR + rng.randrange(10**9))]


def _integer(rng: random.Random) -> bytes:
    return b"%d" % rng.choice(_INTEGERS)


def _text(rng: random.Random) -> bytes:
    """Short, in words, bytes or digits."""
    choice = rng.randrange(4)
    if choice == 0:
        return _integer(rng)
    if choice == 1:
        return rng.randbytes(rng.randrange(1, 60))
    return rng.choice(_WORDS) + b"-%d" % rng.randrange(10**6)


def _long(rng: random.Random, size: int) -> bytes:
    """At least ``size`` bytes that compress well, or that do not."""
    return rng.randbytes(size) if rng.random() < 0.5 else rng.choice(_WORDS[:3]) * (size // 4 + 1)


def _few_or_many(rng: random.Random, many: int) -> int:
    """Mostly a handful, one time in twenty more than a compact encoding holds."""
    return rng.randrange(1, 12) if rng.random() < 0.95 else many + rng.randrange(20)


def _string(rng: random.Random, key: bytes) -> Iterator[Command]:
    choice = rng.randrange(7)
    if choice == 0:
        yield [b"SET", key, rng.choice([b"", b"0", b"007", b"-0", b" 1", b"9" * 25])]
    elif choice == 1:
        yield [b"INCRBY", key, _integer(rng)]
    elif choice == 2:
        yield [b"SET", key, _long(rng, rng.randrange(20, 300))]
    elif choice == 3:
        yield [b"APPEND", key, _text(rng)]
        yield [b"APPEND", key, _text(rng)]
    elif choice == 4 and rng.random() < 0.05:
        yield [b"SET", key, _long(rng, 20_000)]
    else:
        yield [b"SET", key, _text(rng)]


def _list(rng: random.Random, key: bytes) -> Iterator[Command]:
    count = _few_or_many(rng, 150)
    yield [b"RPUSH", key, *(_text(rng) for _ in range(count))]
    if count > 100:  # several nodes, and one element in a node of its own
        yield [b"LPUSH", key, _long(rng, 5000), _long(rng, 5000), _text(rng)]
        if rng.random() < 0.3:
            yield [b"RPUSH", key, _long(rng, 10_000)]


def _set(rng: random.Random, key: bytes) -> Iterator[Command]:
    choice = rng.randrange(5)
    if choice < 3:  # an intset of 16, 32 or 64 bits
        bound = 1 << (14, 30, 62)[choice]
        members = {b"%d" % rng.randrange(-bound, bound) for _ in range(_few_or_many(rng, 200))}
    elif choice == 3 and rng.random() < 0.1:  # more than an intset takes
        members = {b"%d" % n for n in range(600)}
    else:
        members = {_text(rng) for _ in range(_few_or_many(rng, 150))}
    yield [b"SADD", key, *sorted(members)]


def _zset(rng: random.Random, key: bytes) -> Iterator[Command]:
    argv = [b"ZADD", key]
    for _ in range(_few_or_many(rng, 130)):
        score = rng.choice(_SCORES) if rng.random() < 0.5 else b"%r" % rng.uniform(-1e6, 1e6)
        argv += [score, _text(rng)]
    yield argv
    if rng.random() < 0.1:
        yield [b"ZADD", key, b"17", _long(rng, 100)]


def _hash(rng: random.Random, key: bytes) -> Iterator[Command]:
    argv = [b"HSET", key]
    for _ in range(_few_or_many(rng, 130)):
        argv += [_text(rng), _text(rng)]
    yield argv
    if rng.random() < 0.1:
        yield [b"HSET", key, b"long", _long(rng, 200)]


_MAKERS = {"string": _string, "list": _list, "set": _set, "zset": _zset, "hash": _hash}


def pack_all(keyspace: Keyspace) -> int:
    """Let every value lie packed that may; returns how many did not before."""
    return sum(
        [isinstance(value, Value) and db.pack(key, value) for db, key, value in keyspace.walk()]
    )


def unpack_all(keyspace: Keyspace) -> None:
    """Let every value be live, and none be kept as a payload."""
    for db, key, _ in list(keyspace.walk()):
        value = db.find(key)
        if isinstance(value, Hash | List | Set | ZSet):
            value._live()


def repacked(types: TypeRegistry, value: Any) -> Any:
    """What comes of a value that has lain packed; the value itself if it may not, or is empty,
    as no key's value is."""
    packed = types.pack(value) if len(value) else None
    return value if packed is None else types.unpack(packed, b"key")
