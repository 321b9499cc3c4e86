"""``appendfsync always``: what durable writes cost beside redis-server.

    python benchmarks/durability.py [--quick] [--out FOLDER]

Throughput of SET with 50 clients, each of which waits for its reply: in memory, where an fsync is
free; on this machine's disk; and with 5 ms added to every fdatasync and fsync of both servers by
strace. A server that gathers the writes of many clients behind one fsync (group commit) does not
get slower by as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from report import Chart, Effort, Part, Table, Target, main, progress
from servers import (
    ALWAYS,
    EVERYSEC,
    BenchServer,
    Load,
    Pair,
    both,
    compare,
    redis_benchmark,
    tool,
)

DELAY_US = 5000
MEMORY_DISK = Path("/dev/shm")  # where an fsync does nothing
LIMITS = {
    "always, 50 clients, fsync free": 0.9,
    "always, 50 clients": 0.9,
    "always, 50 clients, 5 ms": 1.0,
}


def slow_disk() -> list[str]:
    """A command under which every fsync takes 5 ms more; the rest runs at full speed.

    ``-D``: the server stays our child, strace is its grandchild. ``--seccomp-bpf``: only the
    traced calls stop the server.
    """
    calls = "fdatasync,fsync"
    return [
        *(tool("strace", "strace"), "-D", "-f", "--seccomp-bpf", "-o", "/dev/null"),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:delay_enter={DELAY_US}"),
    ]


def throughput(
    options: Iterable[str],
    loads: dict[str, Load],
    rounds: int,
    where: Path | None = None,
    under: Iterable[str] = (),
) -> dict[str, Pair]:
    results = {}
    with both(*options, where=where, under=under) as (theirs, ours):
        for name, load in loads.items():
            progress(name)

            def rate(server: BenchServer, load: Load = load) -> float:
                return redis_benchmark(server, load, ("-t", "set")).rate

            results[name] = compare(rounds, rate, theirs, ours)
    return results


def run(effort: Effort) -> Part:
    rounds = effort.pick(5, 9)
    many = effort.pick(10_000, 40_000)
    results = throughput(EVERYSEC, {"everysec, 50 clients": Load(many * 2)}, rounds)
    if MEMORY_DISK.is_dir():
        free = {"always, 50 clients, fsync free": Load(many * 2)}
        results |= throughput(ALWAYS, free, rounds, where=MEMORY_DISK)
    disk = {
        "always, 50 clients": Load(many),
        "always, 50 clients, P16": Load(many * 2, 16),
        "always, 1 client": Load(many // 10, 1, 1),
    }
    results |= throughput(ALWAYS, disk, rounds)
    slow = {
        "always, 50 clients, 5 ms": Load(many // 2),
        "always, 50 clients, P16, 5 ms": Load(many * 2, 16),
        "always, 1 client, 5 ms": Load(effort.pick(100, 400), 1, 1),
    }
    results |= throughput(ALWAYS, slow, effort.pick(5, 7), under=slow_disk())
    check_delay(results["always, 1 client, 5 ms"])
    return part(results)


def check_delay(alone: Pair) -> None:
    """One client alone cannot be faster than the delay, if there is one."""
    if max(alone.redis, alone.kvcore) > 1e6 / DELAY_US:
        raise RuntimeError(f"strace does not delay fsync on this machine: {alone}")


def part(results: dict[str, Pair]) -> Part:
    targets = [
        Target(f"throughput, {name}", results[name].ratio, limit, True)
        for name, limit in LIMITS.items()
        if name in results
    ]
    rows = [[name, *pair] for name, pair in results.items()]
    header = ["SET", "kvcore / Redis", "Redis, requests/s", "kvcore, requests/s"]
    chart = Chart(
        "durability",
        "Throughput of durable SETs, kvcore / redis-server (more is better)",
        "ratio",
        {"throughput": [pair.ratio for pair in results.values()]},
        list(results),
        line=1.0,
    )
    return Part(
        "Durable writes",
        "Requests per second of redis-benchmark's SET with an append only file: in memory "
        "(tmpfs), on this machine's disk, and with 5 ms injected by strace into every fdatasync "
        "and fsync of both servers.",
        targets,
        [Table("Throughput", header, rows)],
        [chart],
    )


if __name__ == "__main__":
    main(run, __doc__)
