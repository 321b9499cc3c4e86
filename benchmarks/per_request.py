"""CPU per request beside redis-server: redis-benchmark's default tests.

    python benchmarks/per_request.py [--quick | --full] [--out FOLDER]

Pipeline 1, 16, 100; 1, 50, 1,000 clients; no persistence, appendfsync everysec and always. By
default one of the three changes at a time; ``--full`` measures every combination, ``--quick`` the
settings besides the first two with fewer tests. Connecting is measured apart and taken off.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from typing import NamedTuple

from report import Chart, Effort, Part, Table, Target, is_compiled, main, progress
from servers import (
    PERSISTENCE,
    BenchServer,
    Load,
    Pair,
    Spent,
    apart,
    both,
    cost_of_connecting,
    fill,
    geometric_mean,
    median_pair,
    redis_benchmark,
    take_turns,
)

TESTS = [
    *("ping_inline", "ping_mbulk", "set", "get", "incr", "lpush", "rpush", "lpop", "rpop", "sadd"),
    *("hset", "spop", "zadd", "zpopmin", "lrange_100", "lrange_300", "lrange_500", "lrange_600"),
    "mset",
]
# Before its own LRANGE tests redis-benchmark fills the list by as many LPUSH, which would count:
# these do it apart. The list, the ranges and their names are its own.
LRANGES = {f"lrange_{n}": ("LRANGE", "mylist", "0", str(n - 1)) for n in (100, 300, 500, 600)}
LIST_LENGTH = 10_000
# A reply of 600 elements costs about 40 requests' time: fewer of them tell as much.
SLOWER = {"lrange_100": 4, "lrange_300": 8, "lrange_500": 12, "lrange_600": 16, "mset": 4}
LEAST = 2000
# For a quick look; redis-benchmark takes its time to connect many clients.
FEW = ["ping_mbulk", "set", "get", "lpush", "hset", "zadd", "lrange_100"]
FEWER = ["set", "get", "lrange_100"]


class Setting(NamedTuple):
    """How the tests are run."""

    pipeline: int
    clients: int
    persistence: str
    random: int = 0

    def __str__(self) -> str:
        text = f"P{self.pipeline}, clients: {self.clients:,}, {self.persistence}"
        return f"{text}, {self.random:,} keys" if self.random else text


HEADLINE = (Setting(1, 50, "none"), Setting(16, 50, "none"))
OTHERS = (
    Setting(100, 50, "none"),
    Setting(1, 1, "none"),
    Setting(16, 1, "none"),
    Setting(1, 1000, "none"),
    Setting(16, 1000, "none"),
    Setting(16, 50, "none", 100_000),
    Setting(1, 50, "everysec"),
    Setting(16, 50, "everysec"),
    Setting(1, 50, "always"),
    Setting(16, 50, "always"),
)


class Result(NamedTuple):
    cpu: Pair
    rate: Pair


def settings(effort: Effort) -> list[Setting]:
    if not effort.full:
        return [*HEADLINE, *OTHERS]
    grid = product((1, 16, 100), (1, 50, 1000), PERSISTENCE)
    others = [Setting(*point) for point in grid if Setting(*point) not in HEADLINE]
    return [*HEADLINE, *others, Setting(16, 50, "none", 100_000)]


def requests_of(setting: Setting, test: str, effort: Effort) -> int:
    """So many that the measurement takes about half a second, and that each client sends several
    pipelines: what connecting costs is taken off, and must not be all there is."""
    requests = {1: 60_000, 16: 200_000, 100: 400_000}[setting.pipeline]
    if setting.clients == 1 and setting.pipeline == 1:
        requests //= 3
    if setting.persistence == "always":
        requests //= 4  # the disk's time, not the CPU's
    requests = effort.pick(requests // 4, requests) // SLOWER.get(test, 1)
    return max(LEAST, 4 * setting.pipeline * setting.clients, requests)


def measure_setting(setting: Setting, effort: Effort) -> dict[str, Result]:
    """The tests with one setting."""
    progress(setting)
    rounds = effort.pick(3, 5 if setting in HEADLINE else 3)
    tests = TESTS
    if effort.quick and setting not in HEADLINE:
        tests = FEWER if setting.clients > 100 else FEW
    results = {}
    with ExitStack() as stack:
        theirs, ours = stack.enter_context(both(*PERSISTENCE[setting.persistence]))
        if setting.persistence != "always":  # whose fsyncs may run beside the requests
            stack.enter_context(apart(theirs, ours))
        connecting = {
            server.name: cost_of_connecting(server, setting.clients) for server in (theirs, ours)
        }
        for test in tests:
            load = Load(requests_of(setting, test, effort), *setting[:2], setting.random)
            results[test] = measure_test(test, load, rounds, theirs, ours, connecting)
    return results


def measure_test(
    test: str,
    load: Load,
    rounds: int,
    theirs: BenchServer,
    ours: BenchServer,
    connecting: dict[str, float],
) -> Result:
    if test in LRANGES:
        for server in (theirs, ours):
            fill(server, [(b"DEL", b"mylist")])
            fill(server, [(b"LPUSH", b"mylist", b"xxx")] * LIST_LENGTH)
    arguments = LRANGES.get(test, ("-t", test))
    by_server: dict[str, Spent] = {}

    def measure(server: BenchServer) -> float:
        spent = redis_benchmark(server, load, arguments, connecting[server.name])
        by_server[server.name] = spent
        return spent.cpu

    cpu = []
    rate = []
    for turn in range(rounds):
        cpu.append(take_turns(turn, measure, theirs, ours))
        other, own = by_server["redis"].rate, by_server["kvcore"].rate
        rate.append(Pair(own / other, other, own))
    return Result(median_pair(cpu), median_pair(rate))


def run(effort: Effort) -> Part:
    results = {setting: measure_setting(setting, effort) for setting in settings(effort)}
    return Part(
        "CPU per request: redis-benchmark's default tests",
        "CPU time of all the server's threads as the kernel accounts it, kvcore divided by "
        "redis-server, so 1.00 is Redis and less is better. Connecting is taken off. P is the "
        "pipeline.",
        targets(results),
        [summary(results), detail(results), absolute(results)],
        charts(results),
    )


def targets(results: dict[Setting, dict[str, Result]]) -> list[Target]:
    headline = [result.cpu for setting in HEADLINE for result in results[setting].values()]
    everysec = [
        result.cpu
        for setting, tests in results.items()
        if setting.persistence == "everysec" and setting.clients == 50 and setting.pipeline <= 16
        for result in tests.values()
    ]
    limit = 1.15 if is_compiled() else 2.2
    return [
        Target("geometric mean of CPU, pipeline 1 and 16", geometric_mean(headline), limit),
        Target("the worst of these tests", max(headline).ratio, 2.0),
        Target("geometric mean with appendfsync everysec", geometric_mean(everysec), 1.2),
    ]


def summary(results: dict[Setting, dict[str, Result]]) -> Table:
    rows = []
    for setting, tests in results.items():
        worst = max(tests, key=lambda test: tests[test].cpu)
        rows.append(
            (
                str(setting),
                geometric_mean(result.cpu for result in tests.values()),
                tests[worst].cpu.ratio,
                worst,
                geometric_mean(result.rate for result in tests.values()),
            )
        )
    header = ("setting", "CPU, mean", "CPU, worst", "which", "throughput, mean")
    return Table("By setting", header, rows, "Geometric means over the tests, kvcore / Redis.")


def detail(results: dict[Setting, dict[str, Result]]) -> Table:
    rows = [
        (test, *(tests[test].cpu.ratio if test in tests else "" for tests in results.values()))
        for test in TESTS
    ]
    short = [
        f"P{setting.pipeline} c{setting.clients} "
        + (f"r{setting.random // 1000}k" if setting.random else setting.persistence)
        for setting in results
    ]
    return Table("CPU per request, kvcore / Redis", ("test", *short), rows)


def absolute(results: dict[Setting, dict[str, Result]]) -> Table:
    rows = [
        (test, *(figure for setting in HEADLINE for figure in results[setting][test].cpu[1:]))
        for test in TESTS
    ]
    header = ("test", "Redis P1", "kvcore P1", "Redis P16", "kvcore P16")
    return Table("CPU microseconds per request, 50 clients, no persistence", header, rows)


def charts(results: dict[Setting, dict[str, Result]]) -> list[Chart]:
    return [
        Chart(
            "requests",
            "CPU per request, kvcore / redis-server (50 clients, no persistence)",
            "ratio",
            {
                f"pipeline {setting.pipeline}": [results[setting][t].cpu.ratio for t in TESTS]
                for setting in HEADLINE
            },
            TESTS,
            line=1.0,
        ),
        Chart(
            "settings",
            "CPU and throughput, kvcore / redis-server, geometric mean over the tests",
            "ratio",
            {
                "CPU per request (less is better)": [
                    geometric_mean(r.cpu for r in tests.values()) for tests in results.values()
                ],
                "throughput (more is better)": [
                    geometric_mean(r.rate for r in tests.values()) for tests in results.values()
                ],
            },
            [str(setting) for setting in results],
            line=1.0,
        ),
    ]


if __name__ == "__main__":
    main(run, __doc__)
