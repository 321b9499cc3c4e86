"""Redis' files: load RDB, replay an AOF, SAVE, BGSAVE, BGREWRITEAOF, beside redis-server.

    python benchmarks/files.py [--quick] [--out FOLDER]

The same files for both: redis-server writes them. A million small strings, and 200,000 keys of all
types in all encodings (tests/datasets.py). What starting an empty server costs is taken off a
load.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from report import Chart, Effort, Part, Table, Target, main, progress
from servers import (
    EVERYSEC,
    PLAIN,
    Argv,
    BenchServer,
    Pair,
    both,
    fill,
    kvcore_server,
    median_pair,
    pack,
    redis_server,
    take_turns,
)

POLL_S = 0.02
EMPTY_STARTS = 7


Maker = Callable[..., BenchServer]


class Cost(NamedTuple):
    cpu: Pair  # seconds
    wall: Pair


def datasets_module() -> ModuleType:
    """tests/datasets.py; not imported by name, for the checkout's kvcore must stay out of sight."""
    path = Path(__file__).parent.parent / "tests" / "datasets.py"
    spec = importlib.util.spec_from_file_location("datasets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_strings(keys: int) -> Iterable[Argv]:
    for n in range(keys):
        yield b"SET", b"key:%012d" % n, b"value:%d" % (n * 7919)


def mixed(keys: int) -> Iterable[Argv]:
    for argv in datasets_module().commands(keys, seed=1):
        yield tuple(argv)


class Files(NamedTuple):
    """Folders with what redis-server wrote for the same data."""

    rdb: Path
    aof: Path
    keys: int


def write_files(folder: Path, commands: Iterable[Argv]) -> Files:
    """An RDB file, and an AOF that holds every command (no rewrite has shortened it)."""
    with redis_server(*EVERYSEC) as server:
        fill(server, commands)
        server.client().save()
        keys = int(server.client().dbsize())
        server.leave()
        (folder / "rdb").mkdir(parents=True)
        shutil.copy(server.folder / "dump.rdb", folder / "rdb")
        shutil.copytree(server.folder / "appendonlydir", folder / "aof" / "appendonlydir")
    return Files(folder / "rdb", folder / "aof", keys)


# Loading ---------------------------------------------------------------------------------------


def load_costs(options: Iterable[str], data: Path, keys: int, rounds: int) -> Cost:
    """Start from these files, less the start of an empty server."""
    makers = (redis_server, kvcore_server)
    runs = [start_both(turn, options, None, 0) for turn in range(EMPTY_STARTS)]
    # Of each server and each clock a median: one start that was disturbed must not count for all.
    empty = {
        make: [statistics.median(clock) for clock in zip(*(run[make] for run in runs))]
        for make in makers
    }
    cpu: list[Pair] = []
    wall: list[Pair] = []
    for turn in range(rounds):
        spent = start_both(turn, options, data, keys)
        for kind, pairs in enumerate((cpu, wall)):
            other, own = (max(1e-6, spent[make][kind] - empty[make][kind]) for make in makers)
            pairs.append(Pair(own / other, other, own))
    return Cost(median_pair(cpu), median_pair(wall))


def start_both(
    turn: int, options: Iterable[str], data: Path | None, keys: int
) -> dict[Maker, tuple[float, float]]:
    """`start` each of the two; who goes first alternates."""
    makers = (redis_server, kvcore_server)[:: -1 if turn % 2 else 1]
    return {make: start(make, options, data, keys) for make in makers}


def start(make: Maker, options: Iterable[str], data: Path | None, keys: int) -> tuple[float, float]:
    """CPU and wall seconds until the server answers."""
    with make(*options, data=data) as server:
        spent = server.cpu()
        found = server.client().dbsize()
        if found != keys:
            raise RuntimeError(f"{server.name} has loaded {found} of {keys} keys")
        return spent, server.seconds_to_start


# Saving ----------------------------------------------------------------------------------------


def save_costs(theirs: BenchServer, ours: BenchServer, rounds: int) -> Cost:
    walls: dict[str, float] = {}

    def save(server: BenchServer) -> float:
        before = server.cpu()
        begin = time.monotonic()
        server.client().save()
        walls[server.name] = time.monotonic() - begin
        return server.cpu() - before

    return _both_clocks(save, walls, theirs, ours, rounds)


def background_costs(command: str, theirs: BenchServer, ours: BenchServer, rounds: int) -> Cost:
    """BGSAVE or BGREWRITEAOF: the CPU of the parent and of the child that it forks."""
    walls: dict[str, float] = {}

    def save(server: BenchServer) -> float:
        before = server.cpu() + server.children_cpu()
        begin = time.monotonic()
        server.client().execute_command(command)
        wait_for_children(server)
        walls[server.name] = time.monotonic() - begin
        return server.cpu() + server.children_cpu() - before

    return _both_clocks(save, walls, theirs, ours, rounds)


def _both_clocks(
    save: object, walls: dict[str, float], theirs: BenchServer, ours: BenchServer, rounds: int
) -> Cost:
    assert callable(save)
    cpu: list[Pair] = []
    wall: list[Pair] = []
    for turn in range(rounds):
        cpu.append(take_turns(turn, save, theirs, ours))
        other, own = walls["redis"], walls["kvcore"]
        wall.append(Pair(own / other, other, own))
    return Cost(median_pair(cpu), median_pair(wall))


def is_saving(server: BenchServer) -> bool:
    info = server.client().info("persistence")
    return bool(info["rdb_bgsave_in_progress"] or info["aof_rewrite_in_progress"])


def wait_for_children(server: BenchServer) -> None:
    while is_saving(server):
        time.sleep(POLL_S)
    info = server.client().info("persistence")
    if info["rdb_last_bgsave_status"] != "ok" or info["aof_last_bgrewrite_status"] != "ok":
        raise RuntimeError(f"{server.name}: a background save failed:\n{server.log.read_text()}")


# The longest pause -----------------------------------------------------------------------------


def longest_gap(server: BenchServer, request: bytes, save: bool) -> float:
    """Seconds between two replies to a client that asks all the time, while BGSAVE runs.

    Without ``save``: for a quarter of a second; that is what the machine does on its own.
    """
    with server.connect() as sock:
        gap = 0.0
        ask(sock, request)
        last = checked = begin = time.monotonic()
        if save:
            ask(sock, pack(b"BGSAVE"))
        while True:
            ask(sock, request)
            now = time.monotonic()
            gap = max(gap, now - last)
            last = now
            if now - checked < POLL_S:
                continue
            if (not is_saving(server)) if save else now - begin > 0.25:
                return gap
            last = checked = time.monotonic()  # what asking took is no pause


def ask(sock: socket.socket, request: bytes) -> None:
    sock.sendall(request)
    reply = b""
    while not reply.endswith(b"\r\n"):
        reply += sock.recv(4096)
    if reply.startswith(b"-"):
        raise RuntimeError(reply.decode())


def pauses(theirs: BenchServer, ours: BenchServer, rounds: int) -> dict[str, Pair]:
    """Milliseconds."""
    results = {}
    for name, request, save in (
        ("PING, no save", pack(b"PING"), False),
        ("PING during BGSAVE", pack(b"PING"), True),
        ("SET during BGSAVE", pack(b"SET", b"key:000000000001", b"x"), True),
    ):

        def gap(server: BenchServer, request: bytes = request, save: bool = save) -> float:
            return longest_gap(server, request, save) * 1000

        # Each server's median, for what disturbs one round has nothing to do with the other's.
        found = [take_turns(turn, gap, theirs, ours) for turn in range(rounds)]
        other = statistics.median(pair.redis for pair in found)
        own = statistics.median(pair.kvcore for pair in found)
        results[name] = Pair(own / other, other, own)
    return results


# The part --------------------------------------------------------------------------------------


class Results(NamedTuple):
    costs: dict[str, Cost]
    pauses: dict[str, Pair]


def measure(name: str, files: Files, effort: Effort) -> Results:
    rounds = effort.pick(3, 5)
    progress(f"{name}: load RDB")
    costs = {"load RDB": load_costs(PLAIN, files.rdb, files.keys, rounds)}
    progress(f"{name}: load AOF")
    costs["load AOF"] = load_costs(EVERYSEC, files.aof, files.keys, rounds)
    with both(*PLAIN, data=files.rdb) as (theirs, ours):
        progress(f"{name}: SAVE of what was loaded")
        costs["SAVE after loading RDB"] = save_costs(theirs, ours, rounds)
    with both(*EVERYSEC, data=files.aof) as (theirs, ours):
        progress(f"{name}: SAVE, BGSAVE, BGREWRITEAOF")
        costs["SAVE"] = save_costs(theirs, ours, rounds)
        costs["BGSAVE"] = background_costs("BGSAVE", theirs, ours, rounds)
        costs["BGREWRITEAOF"] = background_costs("BGREWRITEAOF", theirs, ours, rounds)
        progress(f"{name}: the longest pause")
        gaps = pauses(theirs, ours, effort.pick(5, 9))
    return Results(costs, gaps)


def run(effort: Effort) -> Part:
    sizes = effort.pick((500_000, 100_000), (1_000_000, 200_000))
    folder = Path(tempfile.mkdtemp(prefix="bench-files-"))
    try:
        results = {}
        for name, commands in (
            (f"{sizes[0]:,} small strings", small_strings(sizes[0])),
            (f"{sizes[1]:,} keys of all types", mixed(sizes[1])),
        ):
            progress(f"{name}: fill")
            files = write_files(folder / name.replace(" ", "-"), commands)
            results[name] = measure(name, files, effort)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return part(results)


def part(results: dict[str, Results]) -> Part:
    targets = [
        Target(f"{what}, {name}", result.costs[what].cpu.ratio, limit)
        for what, limit in (("load RDB", 1.3), ("load AOF", 1.0), ("SAVE", 1.2))
        for name, result in results.items()
    ]
    targets += [
        Target(f"BGSAVE's longest pause, {name}", result.pauses["PING during BGSAVE"].ratio, 2.0)
        for name, result in results.items()
    ]
    header = ["", "CPU ratio", "Redis s", "kvcore s", "wall ratio", "Redis s", "kvcore s"]
    tables = []
    for name, result in results.items():
        rows = [[what, *cost.cpu, *cost.wall] for what, cost in result.costs.items()]
        tables.append(Table(name, header, rows))
    rows = [
        [f"{what}, {name}", *pair]
        for name, result in results.items()
        for what, pair in result.pauses.items()
    ]
    note = "The longest time between two replies to one client that asks all the time."
    tables.append(Table("Pauses", ["", "ratio", "Redis ms", "kvcore ms"], rows, note))
    steps = list(next(iter(results.values())).costs)
    chart = Chart(
        "files",
        "Loading and saving Redis' files: CPU, kvcore / redis-server",
        "ratio",
        {
            name: [result.costs[step].cpu.ratio for step in steps]
            for name, result in results.items()
        },
        steps,
        line=1.0,
    )
    text = (
        "CPU seconds of all threads and, for BGSAVE and BGREWRITEAOF, of the child. Both servers "
        "load the same files, which redis-server wrote."
    )
    return Part("Files", text, targets, tables, [chart])


if __name__ == "__main__":
    main(run, __doc__)
