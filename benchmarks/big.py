"""CPU per request beside redis-server: large replies, large values, transactions.

    python benchmarks/big.py [--quick] [--out FOLDER]

HGETALL, ZRANGE and SMEMBERS of whole collections, GET and SET of 1 KB and 100 KB, MULTI … EXEC of
three commands. 50 clients (the transactions: 16), no persistence, pipeline 1 and 16.
"""

from __future__ import annotations

from collections.abc import Iterable

from report import Chart, Effort, Part, Table, main, progress
from servers import (
    PLAIN,
    Argv,
    BenchServer,
    Load,
    Pair,
    apart,
    both,
    compare,
    converse,
    cost_of_connecting,
    fill,
    geometric_mean,
    pack,
    redis_benchmark,
)

CLIENTS = 50
PIPELINES = (1, 16)
TRANSACTION = b"".join(
    [pack(b"MULTI"), pack(b"SET", b"a", b"1"), pack(b"GET", b"a"), pack(b"STRLEN", b"a")]
) + pack(b"EXEC")

# name: redis-benchmark's arguments, and requests to make at pipeline 1
TESTS: dict[str, tuple[tuple[str, ...], int]] = {
    "HGETALL 10": (("HGETALL", "hash:10"), 50_000),
    "HGETALL 100": (("HGETALL", "hash:100"), 20_000),
    "ZRANGE 10": (("ZRANGE", "zset:10", "0", "-1"), 50_000),
    "ZRANGE 100": (("ZRANGE", "zset:100", "0", "-1"), 30_000),
    "ZRANGE 1000": (("ZRANGE", "zset:1000", "0", "-1"), 6_000),
    "ZRANGE 100 WITHSCORES": (("ZRANGE", "zset:100", "0", "-1", "WITHSCORES"), 20_000),
    "SMEMBERS 10": (("SMEMBERS", "set:10"), 50_000),
    "SMEMBERS 100": (("SMEMBERS", "set:100"), 30_000),
    "SMEMBERS 1000": (("SMEMBERS", "set:1000"), 6_000),
    "SET 1 KB": (("-t", "set", "-d", "1024"), 50_000),
    "GET 1 KB": (("GET", "value:1024"), 50_000),
    "SET 100 KB": (("-t", "set", "-d", "102400"), 6_000),
    "GET 100 KB": (("GET", "value:102400"), 6_000),
}


def data() -> Iterable[Argv]:
    for size in (10, 100, 1000):
        names = [b"field:%d" % n for n in range(size)]
        fields = [part for name in names for part in (name, b"value of " + name)]
        yield (b"HSET", b"hash:%d" % size, *fields)
        scores = [part for n, name in enumerate(names) for part in (b"%d.5" % n, name)]
        yield (b"ZADD", b"zset:%d" % size, *scores)
        yield (b"SADD", b"set:%d" % size, *names)
    for size in (1024, 102400):
        yield (b"SET", b"value:%d" % size, b"x" * size)


def measure(
    arguments: tuple[str, ...], load: Load, rounds: int, theirs: BenchServer, ours: BenchServer
) -> Pair:
    connecting = {server.name: cost_of_connecting(server, CLIENTS) for server in (theirs, ours)}

    def once(server: BenchServer) -> float:
        return redis_benchmark(server, load, arguments, connecting[server.name]).cpu

    return compare(rounds, once, theirs, ours)


def transactions(
    requests: int, pipeline: int, rounds: int, theirs: BenchServer, ours: BenchServer
) -> Pair:
    times = requests // pipeline

    def once(server: BenchServer) -> float:
        return converse(server, TRANSACTION * pipeline, times, 16) / (times * pipeline) * 1e6

    return compare(rounds, once, theirs, ours)


def run(effort: Effort) -> Part:
    results: dict[tuple[str, int], Pair] = {}
    rounds = effort.pick(3, 5)
    with both(*PLAIN) as (theirs, ours), apart(theirs, ours):
        for server in (theirs, ours):
            fill(server, data())
        for name, (arguments, requests) in TESTS.items():
            for pipeline in PIPELINES:
                progress(f"{name}, P{pipeline}")
                # 16 replies of 100 KB take as long as 16 single ones: the disk of neither counts.
                many = requests * (2 if pipeline > 1 and requests > 10_000 else 1)
                load = Load(effort.pick(many // 4, many), pipeline, CLIENTS)
                results[name, pipeline] = measure(arguments, load, rounds, theirs, ours)
        for pipeline in PIPELINES:
            progress(f"MULTI, P{pipeline}")
            many = effort.pick(5_000, 20_000)
            pair = transactions(many, pipeline, rounds, theirs, ours)
            results["MULTI, 3 commands, EXEC", pipeline] = pair
    return part(results)


def part(results: dict[tuple[str, int], Pair]) -> Part:
    names = list(dict.fromkeys(name for name, _ in results))
    rows: list[list[object]] = []
    for name in names:
        one, many = (results[name, pipeline] for pipeline in PIPELINES)
        rows.append([name, *one, *many])
    means = [geometric_mean([results[name, pipeline] for name in names]) for pipeline in PIPELINES]
    rows.append(["geometric mean", means[0], "", "", means[1], "", ""])
    header = ["request"]
    for pipeline in PIPELINES:
        header += [f"P{pipeline} ratio", f"Redis P{pipeline} µs", f"kvcore P{pipeline} µs"]
    series = {
        f"pipeline {pipeline}": [results[name, pipeline].ratio for name in names]
        for pipeline in PIPELINES
    }
    title = "CPU per request, kvcore / redis-server: large replies and values, transactions"
    return Part(
        "Large replies, large values, transactions",
        "CPU time per request as in the tests above.",
        [],
        [Table("CPU per request", header, rows)],
        [Chart("big", title, "ratio", series, names, line=1.0)],
    )


if __name__ == "__main__":
    main(run, __doc__)
