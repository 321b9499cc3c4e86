"""The four policies side by side: what each costs, what it loses, and how fast it is back.

    python benchmarks/policies.py [--quick] [--out FOLDER]

Throughput is redis-benchmark's, between background saves and during one. Restart time and bytes on
disk are those of a million small strings, of which each was written twice. What a crash loses is
measured while a store counts up: by kill -9 of a server, and by a power failure that is simulated
on a store in this process (kvcore.testing: whatever was not synced is gone), at many moments, with
the worst one told.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from report import Chart, Effort, Part, Table, main, progress
from servers import Argv, BenchServer, Load, fill, kvcore_server, pack, redis_benchmark

import kvcore
from kvcore.testing import FaultyStorage

# As they come: Redis' save points, and rewrites when the log has doubled.
POLICIES: Final[dict[str, dict[str, str]]] = {
    "none": {"persistence": "none"},
    "rdb": {"persistence": "rdb"},
    "aof, everysec": {"persistence": "aof", "appendfsync": "everysec"},
    "aof, always": {"persistence": "aof", "appendfsync": "always"},
    "hybrid, everysec": {"persistence": "hybrid", "appendfsync": "everysec"},
    "hybrid, always": {"persistence": "hybrid", "appendfsync": "always"},
}
BACKGROUND: Final = {"none": "", "rdb": "BGSAVE", "aof": "BGREWRITEAOF", "hybrid": "BGREWRITEAOF"}
POLL_S: Final = 0.02


def start(options: dict[str, str], *more: str, data: Path | None = None) -> BenchServer:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return kvcore_server(*words, *more, data=data)


# Throughput ---------------------------------------------------------------------------------------


class Speed(NamedTuple):
    """Requests per second: one at a time, 16 at a time, and one at a time during a save."""

    single: float
    pipelined: float
    saving: float
    cpu: float  # microseconds per request


def speeds_of_all(requests: int, rounds: int) -> dict[str, Speed]:
    """SETs to 100,000 keys by 50 clients. The policies take turns, and the best round counts: what
    else runs on the machine makes a round slower and never faster."""
    single = Load(requests, random=100_000)
    pipelined = Load(requests * 4, pipeline=16, random=100_000)
    best: dict[str, list[Speed]] = {name: [] for name in POLICIES}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(start(options, "--auto-aof-rewrite-percentage", "0"))
            for name, options in POLICIES.items()
        }
        for turn in range(rounds + 1):
            progress(f"throughput, round {turn} of {rounds}")
            for name, server in servers.items():
                _wait_for_saves(server)
                alone = redis_benchmark(server, single, ("-t", "set"))
                fast = redis_benchmark(server, pipelined, ("-t", "set")).rate
                during = alone.rate
                if command := BACKGROUND[POLICIES[name]["persistence"]]:
                    with _saving_all_the_time(server, command):
                        during = redis_benchmark(server, single, ("-t", "set")).rate
                if turn:  # the first one fills the keyspace
                    best[name].append(Speed(alone.rate, fast, during, alone.cpu))
    return {
        name: Speed(
            max([one.single for one in found]),
            max([one.pipelined for one in found]),
            max([one.saving for one in found]),
            min([one.cpu for one in found]),
        )
        for name, found in best.items()
    }


def _wait_for_saves(server: BenchServer) -> None:
    client = server.client()
    while any(
        client.info("persistence").get(field)
        for field in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress")
    ):
        time.sleep(POLL_S)


class _saving_all_the_time:
    """One background save after the other."""

    def __init__(self, server: BenchServer, command: str) -> None:
        self._server = server
        self._command = command
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        client = self._server.client()
        while not self._stop.wait(POLL_S):
            if self._server.process.poll() is None:
                _wait_for_saves(self._server)
                client.execute_command(self._command)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


# Restart and disk ---------------------------------------------------------------------------------


class Files(NamedTuple):
    """Seconds until the data is there again, and bytes on disk."""

    seconds: float
    size: int


def small_strings(keys: int) -> Iterator[Argv]:
    for turn in (b"old", b"new"):
        for n in range(keys):
            yield b"SET", b"key:%012d" % n, b"%s value:%d" % (turn, n * 7919)


def files(options: dict[str, str], keys: int, rounds: int, *, rewritten: bool) -> Files:
    """Of a log as it was written, or just after a rewrite."""
    empty = min([_start_seconds(options, None, 0) for _ in range(4)])
    with start(options, "--auto-aof-rewrite-percentage", "0", "--save", "") as server:
        fill(server, small_strings(keys))
        if rewritten:
            server.client().bgrewriteaof()
            time.sleep(POLL_S)
            _wait_for_saves(server)
        if options["persistence"] in ("rdb", "hybrid"):
            server.client().save()
        server.leave()
        server.log.unlink()
        size = sum(path.stat().st_size for path in server.folder.rglob("*") if path.is_file())
        times = [_start_seconds(options, server.folder, keys) for _ in range(rounds)]
    return Files(max(0.0, min(times) - empty), size)


def _start_seconds(options: dict[str, str], data: Path | None, keys: int) -> float:
    with start(options, "--save", "", data=data) as server:
        found = server.client().dbsize()
        if found != keys:
            raise RuntimeError(f"{found} of {keys} keys are back")
        return server.seconds_to_start


# Loss ---------------------------------------------------------------------------------------------


def lost_by_kill(options: dict[str, str], seconds: float) -> int:
    """Acknowledged writes that are gone after kill -9."""
    with start(options) as server:
        with server.connect() as sock:
            acknowledged = _count_until(sock, time.monotonic() + seconds)
        server.process.kill()
        server.process.wait()
        with start(options, data=server.folder) as again:
            return acknowledged - int(again.client().get("counter") or 0)


def _count_until(sock: socket.socket, deadline: float) -> int:
    request = pack(b"INCR", b"counter")
    reply = b""
    while time.monotonic() < deadline:
        sock.sendall(request)
        reply = sock.recv(64)
    return int(reply[1:])


def lost_by_power(options: dict[str, str], seconds: float, step: float) -> float:
    """The age in seconds of the oldest acknowledged write that is gone, at the worst moment."""
    storage = FaultyStorage()
    given: dict[str, Any] = {
        name: value for name, value in options.items() if name != "persistence"
    }
    worst = 0.0
    with kvcore.open(None, options["persistence"], storage=storage, **given) as store:
        counter = _Counter(store)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(step)
            acknowledged, now = len(counter.times), time.monotonic()
            left = storage.copy().crash(worst=True)
            with kvcore.open(
                None, options["persistence"], storage=left, tick=False, **given
            ) as after:
                kept = int(after.get("counter") or 0)
            if kept < acknowledged:
                worst = max(worst, now - counter.times[kept])
        counter.stop()
        store.close(save=False)
    return worst


class _Counter:
    """Counts up, about a thousand times a second; ``times`` has when each write was answered."""

    def __init__(self, store: kvcore.Store) -> None:
        self.times: list[float] = []
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            self._store.execute("INCR", "counter")
            self.times.append(time.monotonic())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


# The page -----------------------------------------------------------------------------------------


def run(effort: Effort) -> Part:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    speeds = speeds_of_all(effort.pick(20_000, 60_000), effort.pick(3, 9))
    keys = effort.pick(200_000, 1_000_000)
    kept = {}
    for name in ("rdb", "aof, everysec", "hybrid, everysec"):
        options = POLICIES[name]
        for rewritten in (False, True)[: 1 if name == "rdb" else 2]:
            kind = name.partition(",")[0]
            what = kind if kind == "rdb" else f"{kind}, {'' if rewritten else 'not '}rewritten"
            progress(f"restart, {what}")
            kept[what] = files(options, keys, effort.pick(2, 4), rewritten=rewritten)
    kills = {}
    losses = {}
    for name, options in POLICIES.items():
        if name == "none":
            continue
        progress(f"loss, {name}")
        if name != "rdb":
            rounds = effort.pick(3, 10)
            kills[name] = max([lost_by_kill(options, 1.5 + 0.1 * n) for n in range(rounds)])
        slow = name == "rdb"  # save points are a minute apart
        seconds = effort.pick(75, 140) if slow else effort.pick(8, 20)
        losses[name] = lost_by_power(options, seconds, 1.0 if slow else 0.05)
    return part(speeds, kept, keys, kills, losses)


def part(
    speeds: dict[str, Speed],
    kept: dict[str, Files],
    keys: int,
    kills: dict[str, int],
    losses: dict[str, float],
) -> Part:
    requests = [
        [name, s.single, "–" if name == "none" else s.saving, s.pipelined, s.cpu]
        for name, s in speeds.items()
    ]
    loss = [["none", "everything", "everything"]]
    for name, seconds in losses.items():
        killed = f"{kills[name]} writes" if name in kills else "as a power failure"
        loss.append([name, killed, f"{seconds:.2f} s"])
    header = [
        "SET by 50 clients",
        "requests/s",
        "during a save",
        "16 at a time",
        "CPU, µs",
    ]
    tables = [
        Table("Throughput", header, requests),
        Table("What a crash loses, at most", ["policy", "kill -9", "power failure"], loss),
        Table(
            f"Files of {keys:,} small strings, each written twice",
            ["policy", "restart, s", "MB on disk"],
            [[name, f.seconds, f.size / 1e6] for name, f in kept.items()],
        ),
    ]
    charts = [
        Chart(
            "throughput",
            "SETs per second of 50 clients, 16 requests at a time (more is better)",
            "1/s",
            {"SET": [speeds[name].pipelined for name in POLICIES]},
            list(POLICIES),
        ),
        Chart(
            "loss",
            "What a power failure loses at most (less is better; always: nothing)",
            "seconds",
            {"loss": list(losses.values())},
            list(losses),
        ),
        Chart(
            "restart",
            f"Restart with {keys:,} small strings (less is better)",
            "seconds",
            {"restart": [f.seconds for f in kept.values()]},
            list(kept),
        ),
        Chart(
            "size",
            f"On disk: {keys:,} small strings, each written twice (less is better)",
            "MB",
            {"size": [f.size / 1e6 for f in kept.values()]},
            list(kept),
        ),
    ]
    return Part(
        "Which policy for whom: figures",
        "SETs of redis-benchmark to 100,000 keys, the best of several rounds; restart and size of "
        "files as described in `benchmarks/policies.py`. A power failure is simulated: what was "
        "not synced is gone, at the worst of many moments. `rdb` and `hybrid` have Redis' save "
        "points (`3600 1 300 100 60 10000`), `everysec` and `always` are values of `appendfsync`.",
        [],
        tables,
        charts,
    )


if __name__ == "__main__":
    main(run, __doc__)
