"""Bytes per key beside redis-server: every type, small and large.

    python benchmarks/memory.py [--quick] [--out FOLDER]

The difference of resident memory that the data makes, divided by the number of keys (of elements,
for a large collection). A new server for each kind. "loaded" is kvcore started from the RDB file
of the same data, which nobody has touched. A small collection is made by one command; a second
table tells what it takes where it was made element by element, and after each of them was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from report import Chart, Effort, Part, Table, Target, main, progress
from servers import PLAIN, Argv, BenchServer, fill, kvcore_server, redis_server

SMALL = 10  # elements of a small collection
AT_ONCE = 100  # elements a command, for a large one
GROWN = 50_000  # collections made element by element


class Kind(NamedTuple):
    """``make(number)`` is the command that adds one key, or AT_ONCE elements of ``big``."""

    make: Callable[[int], Argv]
    divisor: int = 1  # elements that one command adds
    limit: float = 0.0


def string(n: int) -> Argv:
    return b"SET", b"key:%012d" % n, b"value:%010d" % n


def number(n: int) -> Argv:
    return b"SET", b"key:%012d" % n, b"%d" % (n * 1000)


def expiring(n: int) -> Argv:
    return b"SET", b"key:%012d" % n, b"value:%010d" % n, b"PX", b"%d" % (10**9 + n)


def a_hash(n: int) -> Argv:
    return b"HSET", b"key:%012d" % n, *_fields(n * SMALL, SMALL)


def a_list(n: int) -> Argv:
    return b"RPUSH", b"key:%012d" % n, *_members(n * SMALL, SMALL)


def a_set(n: int) -> Argv:
    return b"SADD", b"key:%012d" % n, *_members(n * SMALL, SMALL)


def integers(n: int) -> Argv:
    return b"SADD", b"key:%012d" % n, *(b"%d" % (n + step * 1000) for step in range(SMALL))


def a_zset(n: int) -> Argv:
    return b"ZADD", b"key:%012d" % n, *_scores(n * SMALL, SMALL)


def big_hash(n: int) -> Argv:
    return b"HSET", b"big", *_fields(n * AT_ONCE, AT_ONCE)


def big_list(n: int) -> Argv:
    return b"RPUSH", b"big", *_members(n * AT_ONCE, AT_ONCE)


def big_set(n: int) -> Argv:
    return b"SADD", b"big", *_members(n * AT_ONCE, AT_ONCE)


def big_zset(n: int) -> Argv:
    return b"ZADD", b"big", *_scores(n * AT_ONCE, AT_ONCE)


def _members(first: int, count: int) -> Iterable[bytes]:
    return [b"member:%d" % n for n in range(first, first + count)]


def _fields(first: int, count: int) -> Iterable[bytes]:
    """A field repeats from hash to hash, as it does in programs; its value does not."""
    many = count > SMALL
    for n in range(first, first + count):
        yield b"field:%d" % (n if many else n % SMALL)
        yield b"value:%d" % n


def _scores(first: int, count: int) -> Iterable[bytes]:
    for n in range(first, first + count):
        yield b"%d.5" % (n * 7919 % 1_000_003)
        yield b"member:%d" % n


KINDS = {
    "string": Kind(string, limit=1.6),
    "integer": Kind(number, limit=1.6),
    "string that expires": Kind(expiring),
    "hash of 10": Kind(a_hash, limit=2.0),
    "list of 10": Kind(a_list, limit=2.0),
    "set of 10": Kind(a_set, limit=2.0),
    "set of 10 integers": Kind(integers, limit=2.0),
    "sorted set of 10": Kind(a_zset, limit=2.0),
    "field of a large hash": Kind(big_hash, AT_ONCE),
    "element of a large list": Kind(big_list, AT_ONCE),
    "member of a large set": Kind(big_set, AT_ONCE),
    "member of a large sorted set": Kind(big_zset, AT_ONCE),
}


class Bytes(NamedTuple):
    redis: float
    kvcore: float
    loaded: float


def grow(server: BenchServer, kind: Kind, count: int) -> float:
    """Fill the server; bytes per key or element."""
    fill(server, [(b"SET", b"warm", b"up"), (b"DEL", b"warm")] * 1000)
    before = server.memory()
    fill(server, (kind.make(n) for n in range(count // kind.divisor)))
    return (server.memory() - before) / count


def measure(kind: Kind, count: int) -> Bytes:
    with redis_server(*PLAIN) as theirs:
        redis = grow(theirs, kind, count)
    with kvcore_server(*PLAIN) as ours:
        kvcore = grow(ours, kind, count)
        ours.client().save()
        return Bytes(redis, kvcore, loaded(ours.folder, count))


def loaded(data: Path, count: int) -> float:
    with kvcore_server(*PLAIN) as empty:
        fill(empty, [(b"SET", b"warm", b"up"), (b"DEL", b"warm")] * 1000)
        before = empty.memory()
    with kvcore_server(*PLAIN, data=data) as server:
        return (server.memory() - before) / count


class Grown(NamedTuple):
    """Bytes per collection that was made element by element, and after all were read."""

    redis: float
    kvcore: float
    redis_read: float
    kvcore_read: float


READ = {b"HSET": b"HGETALL", b"RPUSH": b"LRANGE", b"SADD": b"SMEMBERS", b"ZADD": b"ZRANGE"}
ALL = {b"LRANGE": (b"0", b"-1"), b"ZRANGE": (b"0", b"-1")}


def one_by_one(argv: Argv) -> Iterator[Argv]:
    """The commands that add the elements of this one."""
    name, key, *rest = argv
    step = 2 if name in (b"HSET", b"ZADD") else 1
    for at in range(0, len(rest), step):
        yield name, key, *rest[at : at + step]


def measure_grown(kind: Kind) -> Grown:
    made = []
    read = []
    with redis_server(*PLAIN) as theirs, kvcore_server(*PLAIN) as ours:
        for server in (theirs, ours):
            fill(server, [(b"SET", b"warm", b"up"), (b"DEL", b"warm")] * 1000)
            before = server.memory()
            fill(server, (argv for n in range(GROWN) for argv in one_by_one(kind.make(n))))
            made.append((server.memory() - before) / GROWN)
            fill(server, (reading(kind.make(n)) for n in range(GROWN)))
            read.append((server.memory() - before) / GROWN)
    return Grown(*made, *read)


def reading(argv: Argv) -> Argv:
    """The command that reads what this one made."""
    name = READ[argv[0]]
    return name, argv[1], *ALL.get(name, ())


def run(effort: Effort) -> Part:
    results = {}
    for name, kind in KINDS.items():
        progress(name)
        count = 1_000_000
        if kind.divisor == 1 and name.endswith(("10", "integers")):
            count = effort.pick(50_000, 200_000)
        elif name != "string":
            count = effort.pick(300_000, 1_000_000)
        results[name] = measure(kind, count)
    grown = {}
    for name, kind in KINDS.items():
        if name.endswith(("10", "integers")):
            progress(f"{name}, element by element")
            grown[name] = measure_grown(kind)
    return part(results, grown)


def part(results: dict[str, Bytes], grown: dict[str, Grown]) -> Part:
    targets = [
        Target(f"memory of a {name}", results[name].kvcore / results[name].redis, kind.limit)
        for name, kind in KINDS.items()
        if kind.limit
    ] + [
        Target(f"memory of a {name}, made element by element", found.kvcore / found.redis, 2.0)
        for name, found in grown.items()
    ]
    rows = [
        [name, found.kvcore / found.redis, *found, found.loaded / found.redis]
        for name, found in results.items()
    ]
    header = ["", "kvcore / Redis", "Redis", "kvcore", "kvcore, loaded", "loaded / Redis"]
    chart = Chart(
        "memory",
        "Resident bytes per key or element (less is better)",
        "bytes",
        {
            "redis-server": [found.redis for found in results.values()],
            "kvcore": [found.kvcore for found in results.values()],
            "kvcore, loaded from RDB": [found.loaded for found in results.values()],
        },
        list(results),
    )
    text = "The growth of resident memory per key; of a large collection, per element."
    slowly = Table(
        "Bytes of small collections made element by element",
        ["", "kvcore / Redis", "read", "Redis", "kvcore", "Redis, read", "kvcore, read"],
        [
            [name, found.kvcore / found.redis, found.kvcore_read / found.redis_read, *found]
            for name, found in grown.items()
        ],
        f"Just after they were made, {GROWN:,} of them as fast as the server takes them, and after "
        "each of them was read whole.",
    )
    return Part("Memory", text, targets, [Table("Bytes", header, rows), slowly], [chart])


if __name__ == "__main__":
    main(run, __doc__)
