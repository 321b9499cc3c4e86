"""GET and SET inside a Python program: kvcore.open beside what one would use instead.

    python benchmarks/embedded.py [--quick] [--out FOLDER]

Wall time, for a program waits: the median of rounds in which all take turns. ``kvcore`` here is
`store.get` and `store.set` with persistence none; with a folder it also keeps the data.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import diskcache
import fakeredis
import redis
from report import Chart, Effort, Part, Table, Target, main, progress
from servers import PLAIN, redis_server

import kvcore

KEYS = [f"key:{n:012}" for n in range(10_000)]
VALUE = b"x" * 32


class Contestant(NamedTuple):
    get: Callable[[str], object]
    set: Callable[[str, bytes], object]
    keeps: str  # where the data is after a crash


def a_dict(folder: Path, stack: ExitStack) -> Contestant:
    entries: dict[str, bytes] = {}
    return Contestant(entries.get, entries.__setitem__, "")


def a_kvcore(folder: Path, stack: ExitStack) -> Contestant:
    store = stack.enter_context(kvcore.open())
    return Contestant(store.get, store.set, "")


def a_kvcore_with_log(folder: Path, stack: ExitStack) -> Contestant:
    store = stack.enter_context(kvcore.open(str(folder / "kvcore"), persistence="aof"))
    return Contestant(store.get, store.set, "AOF, synced every second")


def a_fakeredis(folder: Path, stack: ExitStack) -> Contestant:
    client = fakeredis.FakeRedis()
    return Contestant(client.get, client.set, "")


def a_redis(folder: Path, stack: ExitStack) -> Contestant:
    server = stack.enter_context(redis_server(*PLAIN, "--unixsocket", str(folder / "socket")))
    client = stack.enter_context(redis.Redis(unix_socket_path=str(folder / "socket")))
    assert server.process.poll() is None
    return Contestant(client.get, client.set, "")


def a_redis_over_tcp(folder: Path, stack: ExitStack) -> Contestant:
    server = stack.enter_context(redis_server(*PLAIN))
    client = stack.enter_context(redis.Redis(port=server.port))
    return Contestant(client.get, client.set, "")


def a_diskcache(folder: Path, stack: ExitStack) -> Contestant:
    cache = stack.enter_context(diskcache.Cache(str(folder / "diskcache")))
    return Contestant(cache.get, cache.set, "SQLite file")


def a_sqlite(folder: Path, stack: ExitStack) -> Contestant:
    """A table of keys and values, a write-ahead log, each SET a transaction of its own."""
    base = sqlite3.connect(folder / "sqlite", isolation_level=None)
    stack.callback(base.close)
    base.execute("PRAGMA journal_mode = wal")
    base.execute("PRAGMA synchronous = normal")
    base.execute("CREATE TABLE data (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
    select = "SELECT value FROM data WHERE key = ?"
    replace = "INSERT OR REPLACE INTO data VALUES (?, ?)"
    return Contestant(
        lambda key: base.execute(select, (key,)).fetchone(),
        lambda key, value: base.execute(replace, (key, value)),
        "SQLite file",
    )


CONTESTANTS: dict[str, Callable[[Path, ExitStack], Contestant]] = {
    "a bare dict": a_dict,
    "kvcore": a_kvcore,
    "kvcore with an AOF": a_kvcore_with_log,
    "fakeredis": a_fakeredis,
    "redis-py, Unix socket": a_redis,
    "redis-py, TCP": a_redis_over_tcp,
    "diskcache": a_diskcache,
    "sqlite3": a_sqlite,
}


def time_gets(contestant: Contestant, count: int) -> float:
    """Seconds per call."""
    get = contestant.get
    keys = (KEYS * (count // len(KEYS) + 1))[:count]
    begin = time.perf_counter()
    for key in keys:
        get(key)
    return (time.perf_counter() - begin) / count


def time_sets(contestant: Contestant, count: int) -> float:
    put = contestant.set
    keys = (KEYS * (count // len(KEYS) + 1))[:count]
    begin = time.perf_counter()
    for key in keys:
        put(key, VALUE)
    return (time.perf_counter() - begin) / count


def run(effort: Effort) -> Part:
    slice_s = effort.pick(0.25, 0.5)
    gets: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    sets: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    folder = Path(tempfile.mkdtemp(prefix="bench-embedded-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ready = {name: make(folder, stack) for name, make in CONTESTANTS.items()}
        counts = {name: calls_in(slice_s, contestant) for name, contestant in ready.items()}
        for turn in range(effort.pick(5, 15)):
            progress(f"round {turn + 1}")
            for name, contestant in ready.items():
                sets[name].append(time_sets(contestant, counts[name]))
                gets[name].append(time_gets(contestant, counts[name]))
        keeps = {name: contestant.keeps for name, contestant in ready.items()}
    median = statistics.median
    return part(
        {name: median(times) * 1e6 for name, times in gets.items()},
        {name: median(times) * 1e6 for name, times in sets.items()},
        keeps,
    )


def calls_in(seconds: float, contestant: Contestant) -> int:
    """How many calls take about so long; all keys are there afterwards."""
    for key in KEYS:
        contestant.set(key, VALUE)
    return max(1000, int(seconds / time_sets(contestant, 1000)))


def part(gets: dict[str, float], sets: dict[str, float], keeps: dict[str, str]) -> Part:
    targets = [
        Target(f"{command} faster than {text}, times", times[name] / times["kvcore"], limit, True)
        for name, text, limit in (
            ("redis-py, TCP", "redis-py to a local redis-server", 30),
            ("fakeredis", "fakeredis", 20),
        )
        for command, times in (("GET", gets), ("SET", sets))
    ]
    rows = [
        [
            name,
            *(gets[name], gets[name] / gets["kvcore"]),
            *(sets[name], sets[name] / sets["kvcore"]),
            keeps[name],
        ]
        for name in gets
    ]
    header = ["", "GET µs", "/ kvcore", "SET µs", "/ kvcore", "keeps the data in"]
    chart = Chart(
        "embedded",
        "GET and SET inside a Python program, microseconds a call (less is better)",
        "µs",
        {"GET": list(gets.values()), "SET": list(sets.values())},
        list(gets),
        logarithmic=True,
    )
    text = (
        f"Wall time of one call: {len(KEYS):,} keys, values of {len(VALUE)} bytes. SQLite writes "
        "ahead with synchronous=normal."
    )
    return Part("Embedded", text, targets, [Table("Microseconds a call", header, rows)], [chart])


if __name__ == "__main__":
    main(run, __doc__)
