"""CPU per request over many small collections, chosen at random, beside redis-server.

    python benchmarks/small.py [--quick | --full] [--out FOLDER]

A thousand hot keys fit the processor's caches, and a program's objects for its hot values are
ready; here are 50,000 hashes, lists, sets and sorted sets of 10 elements (and then new ones of one
element), each request to another one: what sessions, carts and timelines of many users look like.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memory import a_hash, a_list, a_set, a_zset, integers
from report import Chart, Effort, Part, Table, main, progress
from servers import (
    PLAIN,
    Argv,
    BenchServer,
    Load,
    Pair,
    apart,
    both,
    cost_of_connecting,
    fill,
    geometric_mean,
    median_pair,
    redis_benchmark,
    take_turns,
)

KEYS: Final = 50_000
PIPELINES: Final = (1, 16)
ROUNDS: Final = 3
MADE: Final = ((b"h", a_hash), (b"l", a_list), (b"s", a_set), (b"i", integers), (b"z", a_zset))
ANY: Final = "__rand_int__"  # redis-benchmark puts twelve digits here

TESTS: Final = {
    "HGET": f"HGET h:{ANY} field:7",
    "HSET": f"HSET h:{ANY} field:7 value",
    "HINCRBY": f"HINCRBY h:{ANY} count 1",
    "HGETALL": f"HGETALL h:{ANY}",
    "RPUSH": f"RPUSH l:{ANY} x",
    "LPOP": f"LPOP l:{ANY}",
    "LRANGE": f"LRANGE l:{ANY} 0 -1",
    "SADD": f"SADD s:{ANY} new",
    "SISMEMBER": f"SISMEMBER s:{ANY} member:7",
    "SADD, integers": f"SADD i:{ANY} 1001",
    "ZADD": f"ZADD z:{ANY} 7.5 new",
    "ZSCORE": f"ZSCORE z:{ANY} member:7",
    "ZRANGE": f"ZRANGE z:{ANY} 0 -1 WITHSCORES",
    "HSET, of 1": f"HSET nh:{ANY} field value",
    "RPUSH, of few": f"RPUSH nl:{ANY} x",
    "SADD, of 1": f"SADD ns:{ANY} x",
    "ZADD, of 1": f"ZADD nz:{ANY} 1 x",
}


def collections() -> Iterator[Argv]:
    for number in range(KEYS):
        for prefix, make in MADE:
            name, _, *rest = make(number)
            yield name, b"%b:%012d" % (prefix, number), *rest


def measure(effort: Effort) -> dict[str, list[Pair]]:
    """For each test its cost with each pipeline."""
    results: dict[str, list[Pair]] = {}
    with both(*PLAIN) as (theirs, ours), apart(theirs, ours):
        connecting = {server.name: cost_of_connecting(server, 50) for server in (theirs, ours)}
        for server in (theirs, ours):
            fill(server, collections())
        for test, command in TESTS.items():
            progress(test)
            results[test] = []
            for pipeline in PIPELINES:
                requests = effort.pick(20_000, 40_000) * (1 if pipeline == 1 else 4)
                load = Load(requests, pipeline, 50, KEYS)

                def cost(server: BenchServer, load: Load = load, command: str = command) -> float:
                    spent = redis_benchmark(server, load, command.split(), connecting[server.name])
                    return spent.cpu

                pairs = [take_turns(turn, cost, theirs, ours) for turn in range(ROUNDS)]
                results[test].append(median_pair(pairs))
    return results


def run(effort: Effort) -> Part:
    results = measure(effort)
    means = [geometric_mean(pairs[at] for pairs in results.values()) for at in (0, 1)]
    rows: list[list[object]] = [
        [test, *(pair.ratio for pair in pairs), *(pair.redis for pair in pairs)]
        for test, pairs in results.items()
    ]
    rows.append(["geometric mean", *means, "", ""])
    chart = Chart(
        "small",
        "CPU per request over 50,000 small collections, kvcore / redis-server",
        "ratio",
        {
            f"pipeline {pipeline}": [pairs[at].ratio for pairs in results.values()]
            for at, pipeline in enumerate(PIPELINES)
        },
        list(results),
    )
    header = ["", "P1", "P16", "Redis P1, µs", "Redis P16, µs"]
    text = (
        f"{KEYS:,} hashes, lists, sets and sorted sets of 10 elements, and then as many of one; "
        "each request goes to one at random. All lie packed, and few stay live: a request to one "
        "that does not pays for wrapping its bytes and, if it writes, for packing them again."
    )
    return Part("Many small collections", text, [], [Table("CPU", header, rows)], [chart])


if __name__ == "__main__":
    main(run, __doc__)
