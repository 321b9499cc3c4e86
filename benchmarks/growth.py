"""Does a request cost more when there is more data?

    python benchmarks/growth.py [--quick | --full] [--out FOLDER]

Two curves: GET and SET from 10⁴ to 10⁶ keys (``--full``: 10⁷), ZADD and ZRANK from 10³ to 10⁶
members. And a walk over the commands that are O(1) or O(log n) in Redis (benchmarks/walk.txt): each
runs on data of n and of 64 n, and the program exits with 1 if one grows as the data does.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from report import Chart, Effort, Part, Table, Target, main, progress
from servers import (
    PLAIN,
    Argv,
    BenchServer,
    Load,
    Pair,
    apart,
    both,
    burst,
    compare,
    cost_of_connecting,
    fill,
    kvcore_server,
    pack,
    redis_benchmark,
    redis_server,
)

SETTLE_S = 0.15  # for the housekeeping that a long request has put off
POLL_S = 0.02
CLIENTS = 50

# Curves ----------------------------------------------------------------------------------------

KEYSPACE: dict[str, tuple[str, ...]] = {
    "GET": ("GET", "key:__rand_int__"),
    "SET": ("SET", "key:__rand_int__", "value"),
}
SORTED_SET: dict[str, tuple[str, ...]] = {
    "ZADD": ("ZADD", "zset", "__rand_int__", "key:__rand_int__"),
    "ZRANK": ("ZRANK", "zset", "key:__rand_int__"),
}
Curve = dict[str, dict[int, Pair]]  # command, size


def keys(first: int, last: int) -> Iterator[Argv]:
    for n in range(first, last):
        yield b"SET", b"key:%012d" % n, b"value"


def members(first: int, last: int) -> Iterator[Argv]:
    rng = random.Random(first)
    for n in range(first, last):
        yield b"ZADD", b"zset", b"%d" % rng.randrange(last), b"key:%012d" % n


def curve(
    commands: dict[str, tuple[str, ...]], pipelines: list[int], sizes: list[int], effort: Effort
) -> Curve:
    """CPU microseconds per request of both servers, as the data grows."""
    results: Curve = {}
    make = keys if "GET" in commands else members
    requests = effort.pick(60_000, 300_000)
    with both(*PLAIN) as (theirs, ours), apart(theirs, ours):
        connecting = {s.name: cost_of_connecting(s, CLIENTS) for s in (theirs, ours)}
        before = 0
        for size in sizes:
            progress(f"{', '.join(commands)}: {size:,}")
            for server in (theirs, ours):
                fill(server, make(before, size))
            before = size
            for pipeline, (name, arguments) in product(pipelines, commands.items()):
                load = Load(requests if pipeline > 1 else requests // 4, pipeline, CLIENTS, size)
                cost = compare(effort.pick(5, 7), _cpu(load, arguments, connecting), theirs, ours)
                title = f"{name} P{pipeline}" if len(pipelines) > 1 else name
                results.setdefault(title, {})[size] = cost
    return results


def _cpu(
    load: Load, arguments: tuple[str, ...], connecting: dict[str, float]
) -> Callable[[BenchServer], float]:
    def once(server: BenchServer) -> float:
        return redis_benchmark(server, load, arguments, connecting[server.name]).cpu

    return once


# The walk --------------------------------------------------------------------------------------

TIMES = 64
MOST = 4.0  # O(log n) grows by 1.6, what leaves the processor's caches by 2 to 3
MOST_BESIDE_REDIS = 2.0
SHOWN = 30
GROUPS = 128  # of a line, in one measurement


class Walk(NamedTuple):
    """walk.txt: what to send, and which commands may be linear because Redis' are."""

    lines: list[str]
    exempt: set[str]


def read_walk() -> Walk:
    lines = []
    exempt: set[str] = set()
    for line in (Path(__file__).parent / "walk.txt").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("linear:"):
            exempt.update(line.lower().split()[1:])
        elif line:
            lines.append(line)
    return Walk(lines, exempt)


def names_in(line: str) -> list[str]:
    """The commands of a line."""
    return [command.split()[0].lower() for command in line.replace(">>", ";").split(";")]


def commands_of(server: BenchServer) -> set[str]:
    """Their names, without the subcommands."""
    names = server.client().execute_command("COMMAND LIST")
    return {name.decode().lower() for name in names if b"|" not in name}


def build(size: int, known: set[str]) -> Iterator[Argv]:
    """The data that walk.txt talks of: ``size`` keys, and collections of ``size`` elements."""
    for n in range(size):
        yield b"SET", b"key:%d" % n, b"value"
    for name, count in ((b"", size), (b"small:", 10)):
        for n in range(count):
            yield b"HSET", name + b"hash", b"member:%d" % n, b"%d" % n
            yield b"SADD", name + b"set", b"member:%d" % n
            yield b"ZADD", name + b"zset", b"%d" % n, b"member:%d" % n
            yield b"ZADD", name + b"lex", b"0", b"member:%d" % n
            yield b"RPUSH", name + b"list", b"member:%d" % n
    yield b"SADD", b"other", b"other"
    yield b"SET", b"number", b"1"
    yield b"SET", b"float", b"1"
    yield b"SET", b"text", b"x" * (100 * size)
    if "geoadd" in known:
        for n in range(size):
            place = (b"%.4f" % (n % 170 + n / size), b"%.4f" % (n % 80))
            yield b"GEOADD", b"geo", *place, b"member:%d" % n
    if "xadd" in known:
        for n in range(1, size + 1):
            yield b"XADD", b"stream", b"%d-0" % n, b"field", b"value"
        yield b"XGROUP", b"CREATE", b"stream", b"group", b"0"


class Numbers:
    """What stands for {i}, a member that exists, and {j}, a number never used before."""

    def __init__(self, size: int) -> None:
        self.random = random.Random(size)
        self.size = size
        self.next = size

    def requests(self, line: str, groups: int) -> bytes:
        parts = []
        for _ in range(groups):
            self.next += 1
            i, j = str(self.random.randrange(self.size)), str(self.next)
            for command in line.split(";"):
                argv = command.replace("{i}", i).replace("{j}", j).split()
                parts.append(pack(*(arg.encode() for arg in argv)))
        return b"".join(parts)


class Costs(NamedTuple):
    """CPU microseconds of the serving thread per line, on data of n and of 64 n."""

    small: float
    large: float

    @property
    def growth(self) -> float:
        return self.large / self.small


class Ground:
    """One server's data of both sizes."""

    def __init__(self, small: BenchServer, large: BenchServer, size: int) -> None:
        self.servers = (small, large)
        self.known = commands_of(small)
        self.numbers = (Numbers(size), Numbers(size * TIMES))
        for server, count in zip(self.servers, (size, size * TIMES)):
            fill(server, build(count, self.known))

    def costs(self, line: str, rounds: int) -> Costs:
        """The medians of rounds in which both sizes take turns, after one that warms up.

        ``prepare >> line`` runs the first part apart and just once, for what consumes a collection
        (no numbers then: those of the two parts differ).
        """
        prepare, _, measured = line.rpartition(">>")
        found: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds + 1):
            for server, numbers, costs in zip(self.servers, self.numbers, found):
                spent = cost(server, numbers, prepare, measured)
                if turn:
                    costs.append(spent)
        return Costs(statistics.median(found[0]), statistics.median(found[1]))


def cost(server: BenchServer, numbers: Numbers, prepare: str, line: str) -> float:
    """CPU microseconds of the thread that serves, for one line."""
    groups = 1 if prepare else GROUPS
    with server.connect() as sock:
        if prepare:
            burst(sock, numbers.requests(prepare, 1))
            settle(server)
        requests = numbers.requests(line, groups)
        before = server.serving_cpu()
        burst(sock, requests)
        return (server.serving_cpu() - before) / groups * 1e6


def settle(server: BenchServer) -> None:
    """Wait until what earlier rounds have deleted is freed, too: Redis does that on a thread."""
    time.sleep(SETTLE_S)
    client = server.client()
    while client.info("memory")["lazyfree_pending_objects"]:
        time.sleep(POLL_S)


class Step(NamedTuple):
    """One line of the walk."""

    line: str
    kvcore: Costs
    redis: Costs

    @property
    def is_linear(self) -> bool:
        """Grown too much, by itself and beside Redis."""
        beside = self.kvcore.growth / self.redis.growth
        return self.kvcore.growth > MOST and beside > MOST_BESIDE_REDIS


def walk(effort: Effort) -> tuple[list[Step], list[str]]:
    """All lines that the server knows, and the commands that no line is about."""
    size = 20_000 if effort.full else 2_000
    lines, exempt = read_walk()
    steps = []
    rounds = effort.pick(5, 9)
    with (
        redis_server(*PLAIN) as redis_small,
        redis_server(*PLAIN) as redis_large,
        kvcore_server(*PLAIN) as kvcore_small,
        kvcore_server(*PLAIN) as kvcore_large,
    ):
        progress(f"the walk: fill with {size:,} and {size * TIMES:,}")
        theirs = Ground(redis_small, redis_large, size)
        ours = Ground(kvcore_small, kvcore_large, size)
        progress("the walk")
        known = ours.known & theirs.known
        covered = set(exempt)
        for line in lines:
            names = names_in(line)
            if not known.issuperset(names):
                continue
            covered.update(names)
            step = Step(line, ours.costs(line, rounds), theirs.costs(line, rounds))
            if step.is_linear:  # or was disturbed: look again
                step = Step(line, ours.costs(line, 3 * rounds), theirs.costs(line, 3 * rounds))
            steps.append(step)
    return steps, sorted(known - covered)


# The part --------------------------------------------------------------------------------------


def run(effort: Effort) -> Part:
    steps, forgotten = walk(effort)
    keyspace = curve(KEYSPACE, [16], [10**n for n in range(4, 8 if effort.full else 7)], effort)
    ranks = curve(SORTED_SET, [1, 16], [10**n for n in range(3, 7)], effort)
    failures = [
        f"`{step.line}` costs {step.kvcore.growth:.1f} times as much with {TIMES} times the data "
        f"(Redis: {step.redis.growth:.1f} times)"
        for step in steps
        if step.is_linear
    ]
    failures += [f"walk.txt has no line for {name.upper()}" for name in forgotten]
    targets = [
        Target(f"{name}, growth per doubling of the keys / Redis'", _doubling(points), 1.05)
        for name, points in keyspace.items()
    ]
    for name, points in ranks.items():
        own, other = _growth(points, "kvcore"), _growth(points, "redis")
        what = f"{name} at 10⁶ members / at 10³"
        if name.endswith("P1"):
            targets.append(Target(f"{what} (Redis: {other:.1f})", own, 3.0))
        else:  # where a request costs less than the memory that it has to wait for
            targets.append(Target(f"{what} ({own:.1f}), / Redis' ({other:.1f})", own / other, 1.05))
    linear = sum(step.is_linear for step in steps)
    targets.append(Target("commands that grow and must not", float(linear), 0.0))
    tables = [_table("Keys", keyspace), _table("Members of a sorted set", ranks), _walk(steps)]
    charts = [
        _chart("keys", "CPU per request as the keys grow", "keys", keyspace),
        _chart("members", "CPU per request as a sorted set grows", "members", ranks),
    ]
    text = (
        "CPU microseconds per request, each for another key: at pipeline 16, and those of a sorted "
        "set also one by one. The walk sends every command that is O(1) or O(log n) in Redis to "
        "data of n and of 64 n."
    )
    return Part("Growth", text, targets, tables, charts, failures)


def _growth(points: dict[int, Pair], server: str) -> float:
    """The cost at the greatest size by the cost at the smallest."""
    first, last = points[min(points)], points[max(points)]
    return last.kvcore / first.kvcore if server == "kvcore" else last.redis / first.redis


def _doubling(points: dict[int, Pair]) -> float:
    doublings = math.log2(max(points) / min(points))
    beside = _growth(points, "kvcore") / _growth(points, "redis")
    return float(beside ** (1 / doublings))


def _table(title: str, results: Curve) -> Table:
    rows = [
        [f"{name}, {size:,}", *pair]
        for name, points in results.items()
        for size, pair in points.items()
    ]
    return Table(title, ["", "kvcore / Redis", "Redis µs", "kvcore µs"], rows)


def _walk(steps: list[Step]) -> Table:
    shown = sorted(steps, key=lambda step: -step.kvcore.growth)[:SHOWN]
    rows = [[f"`{s.line}`", s.kvcore.growth, s.redis.growth, *s.kvcore, *s.redis] for s in shown]
    header = ["commands", "kvcore ×", "Redis ×", "kvcore µs, n", "64 n", "Redis µs, n", "64 n"]
    note = (
        f"The {SHOWN} of {len(steps)} lines that grow most. {{i}} is a member that exists, {{j}} a "
        "number never used before."
    )
    return Table("The walk", header, rows, note)


def _chart(name: str, title: str, x_name: str, results: Curve) -> Chart:
    series = {}
    for command, points in results.items():
        series[f"kvcore {command}"] = [pair.kvcore for pair in points.values()]
        series[f"redis-server {command}"] = [pair.redis for pair in points.values()]
    sizes = list(next(iter(results.values())))
    return Chart(f"growth-{name}", title, "µs", series, x=sizes, x_name=x_name)


if __name__ == "__main__":
    main(run, __doc__)
