"""The longest pause of a program whose data is saved in the background: by fork, and on a thread.

    python benchmarks/snapshots.py [--quick] [--out FOLDER]

A client, alone on a thread, SETs and GETs keys at random all the time and notes the time between
two answers, during BGSAVE and without. The store is embedded, and its snapshot-method changes from
round to round; a redis-server with the same data stands beside.

What the machine does on its own is in all of them, most of all in the longest time: the least of
all rounds is shown, and beside it what one answer in 10,000 took (the median of rounds).
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from report import Chart, Effort, Part, Table, Target, main, progress
from servers import PLAIN, BenchServer, redis_server

import kvcore
from kvcore.resp import pack

VALUE = b"x" * 32
POLL_S = 0.02
QUIET_S = 2.0


def name_of(number: int) -> bytes:
    return b"key:%012d" % number


class Store(NamedTuple):
    """Something that is asked and saved; ``saving`` tells whether a save still runs."""

    ask: Callable[[list[bytes]], object]
    save: Callable[[], object]
    saving: Callable[[], bool]


class Pause(NamedTuple):
    """``longest`` and ``rare`` (one in 10,000) in milliseconds, ``calls`` a second."""

    longest: float
    rare: float
    calls: float
    seconds: float


class Client:
    """Asks all the time, from a thread of its own."""

    def __init__(self, ask: Callable[[list[bytes]], object], keys: int) -> None:
        self._ask = ask
        self._keys = keys
        self._gaps: list[float] = []
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        ask, keys, draw, clock = self._ask, self._keys, random.random, time.perf_counter
        last = clock()
        while not self._stop:
            key = name_of(int(draw() * keys))
            ask([b"SET", key, VALUE] if draw() < 0.5 else [b"GET", key])
            now = clock()
            self._gaps.append(now - last)
            last = now

    def during(self, work: Callable[[], object]) -> Pause:
        begin = time.perf_counter()
        self._gaps = []
        work()
        seconds = time.perf_counter() - begin
        gaps = sorted(self._gaps)
        return Pause(
            gaps[-1] * 1e3, gaps[len(gaps) * 9999 // 10_000] * 1e3, len(gaps) / seconds, seconds
        )

    def stop(self) -> None:
        self._stop = True
        self._thread.join()


def save(store: Store) -> None:
    store.save()
    while store.saving():
        time.sleep(POLL_S)


@contextmanager
def embedded(keys: int) -> Iterator[tuple[kvcore.Store, Store]]:
    folder = tempfile.mkdtemp(prefix="bench-snapshots-")
    store = kvcore.open(folder, persistence="rdb", save="")
    try:
        for number in range(keys):
            store.execute(b"SET", name_of(number), VALUE)
        yield (
            store,
            Store(
                lambda argv: store.execute(*argv),
                lambda: store.execute("BGSAVE"),
                lambda: store.instance.active_child is not None,
            ),
        )
    finally:
        store.close(save=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def beside(server: BenchServer, keys: int) -> Iterator[Store]:
    control = server.client()
    pipeline = control.pipeline(transaction=False)
    for number in range(keys):
        pipeline.execute_command("SET", name_of(number), VALUE)
        if len(pipeline) == 1000:
            pipeline.execute()
    pipeline.execute()
    with server.connect() as sock:

        def ask(argv: list[bytes]) -> object:
            sock.sendall(pack(argv))
            reply = b""
            while not reply.endswith(b"\r\n"):
                reply += sock.recv(4096)
            return reply

        yield Store(
            ask,
            lambda: control.execute_command("BGSAVE"),
            lambda: bool(control.info("persistence")["rdb_bgsave_in_progress"]),
        )


def measure(keys: int, rounds: int) -> dict[str, list[Pause]]:
    found: dict[str, list[Pause]] = {
        name: [] for name in ("kvcore, no save", "kvcore, thread", "kvcore, fork", "redis-server")
    }
    progress(f"{keys:,} keys")
    with (
        redis_server(*PLAIN) as server,
        beside(server, keys) as theirs,
        embedded(keys) as (store, ours),
    ):
        for turn in range(rounds):
            progress(f"round {turn + 1}")
            client = Client(ours.ask, keys)
            found["kvcore, no save"].append(client.during(lambda: time.sleep(QUIET_S)))
            for name, method in (("kvcore, thread", "inprocess"), ("kvcore, fork", "fork")):
                store.execute("CONFIG", "SET", "snapshot-method", method)
                found[name].append(client.during(lambda: save(ours)))
            client.stop()
            client = Client(theirs.ask, keys)
            found["redis-server"].append(client.during(lambda: save(theirs)))
            client.stop()
    return found


def run(effort: Effort) -> Part:
    keys = effort.pick(100_000, 1_000_000)
    found = measure(keys, effort.pick(3, 7))
    medians = {
        name: Pause(
            min(pause.longest for pause in pauses),
            *(statistics.median(values) for values in list(zip(*pauses, strict=True))[1:]),
        )
        for name, pauses in found.items()
    }
    thread, fork = medians["kvcore, thread"], medians["kvcore, fork"]
    header = ["", "longest ms", "1 in 10,000 ms", "calls/s", "seconds"]
    rows = [[name, *map(float, pause)] for name, pause in medians.items()]
    text = (
        f"An embedded store of {keys:,} keys of {len(VALUE)} bytes, asked all the time. A thread "
        "shares the interpreter with the client, so its save takes longer, and short waits are "
        "many; the longest is what a fork of the process takes."
    )
    chart = Chart(
        "snapshots",
        "Time without an answer during BGSAVE, milliseconds (less is better)",
        "ms",
        {
            "longest": [pause.longest for pause in medians.values()],
            "1 in 10,000": [pause.rare for pause in medians.values()],
        },
        list(medians),
    )
    target = Target(
        "Embedded BGSAVE's longest pause, thread / fork", thread.longest / fork.longest, 1.0
    )
    return Part("Snapshots", text, [target], [Table("Pauses", header, rows)], [chart])


if __name__ == "__main__":
    main(run, __doc__)
