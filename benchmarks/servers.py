"""Start redis-server and kvcore side by side, and read what the kernel charges them.

CPU time and memory come from the kernel's accounting of each process: machines are noisy, and wall
time is believed only where nothing else can be asked (throughput, pauses, embedded calls). Every
figure that compares is the median of rounds in which the two servers take turns.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis

# Both servers as they come, but: no save points, no AOF, and no rewrite in the midst of a round.
PLAIN = ("--save", "", "--appendonly", "no")
EVERYSEC = ("--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
ALWAYS = (*EVERYSEC, "--appendfsync", "always")
PERSISTENCE = {"none": PLAIN, "everysec": EVERYSEC, "always": ALWAYS}

_LIBC = ctypes.CDLL(None, use_errno=True)


class BenchServer:
    """A server in a process of its own, with a data folder that goes when it stops."""

    def __init__(
        self,
        name: str,
        command: list[str],
        options: Iterable[str],
        data: Path | None = None,
        where: Path | None = None,
    ) -> None:
        """``data``: a folder of files to start from; it is copied. ``where``: on this disk."""
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=where))
        if data is not None:
            shutil.copytree(data, self.folder, dirs_exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log = self.folder / "log"
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--dir", str(self.folder), *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,  # not the checkout, whose kvcore would hide the installed one
            )
        try:
            self._wait()
            self.seconds_to_start = time.monotonic() - started
            self._clock = _cpu_clock(self.process.pid)
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with self.connect() as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()}")

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def client(self) -> Any:
        """redis-py, for what is asked once (its types differ too much from release to release)."""
        return redis.Redis(port=self.port, socket_timeout=300)

    def cpu(self) -> float:
        """CPU seconds so far of all threads, those that have ended too, to the nanosecond."""
        return time.clock_gettime(self._clock)

    def serving_cpu(self) -> float:
        """CPU seconds so far of the main thread, the one that serves.

        The kernel brings this account up to date when the thread goes to sleep: wait for that.
        """
        time.sleep(0.002)
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9

    def children_cpu(self) -> float:
        """CPU seconds of the children that have ended (background saves), to 10 ms."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"{self.name} has no VmRSS")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leave(self) -> None:
        """SHUTDOWN NOSAVE: everything is written, and the folder stays until `stop`."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _cpu_clock(pid: int) -> int:
    """The clock of a process' CPU time, clock_getcpuclockid(3)."""
    clock = ctypes.c_int()
    if _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        raise OSError(f"no CPU clock of process {pid}")
    return clock.value


def tool(name: str, package: str) -> str:
    """The path of a public tool, or an end with what to install."""
    path = shutil.which(name)
    if path is None:
        sys.exit(f"{name} is missing: apt-get install {package}")
    return path


def redis_server(
    *options: str, data: Path | None = None, where: Path | None = None, under: Iterable[str] = ()
) -> BenchServer:
    """``under``: a command that runs the server, such as strace."""
    command = [*under, tool("redis-server", "redis-server")]
    return BenchServer("redis", command, options, data, where)


def kvcore_server(
    *options: str, data: Path | None = None, where: Path | None = None, under: Iterable[str] = ()
) -> BenchServer:
    command = [*under, sys.executable, "-m", "kvcore"]
    return BenchServer("kvcore", command, options, data, where)


@contextmanager
def both(
    *options: str, data: Path | None = None, where: Path | None = None, under: Iterable[str] = ()
) -> Iterator[tuple[BenchServer, BenchServer]]:
    """redis-server and kvcore with the same options."""
    with (
        redis_server(*options, data=data, where=where, under=under) as theirs,
        kvcore_server(*options, data=data, where=where, under=under) as ours,
    ):
        yield theirs, ours


@contextmanager
def apart(*servers: BenchServer) -> Iterator[None]:
    """The servers' main threads share one core, of which this process, and so the load that it
    starts, keeps away: they take turns, so that core is each one's own.

    Where the kernel moves them about instead, a request costs up to half as much again in one
    round as in the next. Not for what is to run on several cores. Nothing changes if there is one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        yield
        return
    for server in servers:
        os.sched_setaffinity(server.process.pid, cores[:1])
    os.sched_setaffinity(0, cores[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Pair(NamedTuple):
    """One figure of each server, and kvcore's divided by Redis'."""

    ratio: float
    redis: float
    kvcore: float


def compare(
    rounds: int,
    measure: Callable[[BenchServer], float],
    theirs: BenchServer,
    ours: BenchServer,
) -> Pair:
    """The round with the median ratio; who goes first alternates."""
    return median_pair([take_turns(turn, measure, theirs, ours) for turn in range(rounds)])


def take_turns(
    turn: int, measure: Callable[[BenchServer], float], theirs: BenchServer, ours: BenchServer
) -> Pair:
    """One round; in every second one kvcore goes first."""
    if turn % 2:
        own = measure(ours)
        other = measure(theirs)
    else:
        other = measure(theirs)
        own = measure(ours)
    return Pair(own / other, other, own)


def median_pair(pairs: Iterable[Pair]) -> Pair:
    ordered = sorted(pairs)
    return ordered[len(ordered) // 2]


def geometric_mean(pairs: Iterable[Pair]) -> float:
    return statistics.geometric_mean([pair.ratio for pair in pairs])


# redis-benchmark -------------------------------------------------------------------------------


class Load(NamedTuple):
    """What redis-benchmark is asked for."""

    requests: int
    pipeline: int = 1
    clients: int = 50
    random: int = 0  # so many different keys; 0: one key


class Spent(NamedTuple):
    """CPU microseconds of the server per request, and requests per second."""

    cpu: float
    rate: float


def redis_benchmark(
    server: BenchServer, load: Load, arguments: Iterable[str], connecting: float = 0.0
) -> Spent:
    """Run redis-benchmark with ``-t test`` or with a command of its own as last arguments.

    ``connecting``: what `cost_of_connecting` found, which is taken off.
    """
    command = [tool("redis-benchmark", "redis-tools"), "-p", str(server.port), "--csv"]
    command += ["-n", str(load.requests), "-P", str(load.pipeline), "-c", str(load.clients)]
    if load.random:
        command += ["-r", str(load.random)]
    before = server.cpu()
    try:
        out = subprocess.run(
            [*command, *arguments], check=True, capture_output=True, text=True, timeout=300
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{server.name} leaves {list(arguments)[:3]} unanswered") from None
    spent = server.cpu() - before - connecting
    if "error" in out.stderr.lower() or "error" in out.stdout.lower():
        raise RuntimeError(f"{server.name}, {list(arguments)[:3]}: {out.stderr}{out.stdout}")
    rate = float(out.stdout.splitlines()[-1].rsplit('",', 1)[0].split('","')[1])
    return Spent(spent / load.requests * 1e6, rate)


def cost_of_connecting(server: BenchServer, clients: int) -> float:
    """CPU seconds of the server for so many connections made and closed by redis-benchmark."""
    load = Load(clients, 1, clients)
    runs = [redis_benchmark(server, load, ("PING",)).cpu * clients / 1e6 for _ in range(5)]
    return statistics.median(runs)


# Requests that redis-benchmark cannot make -----------------------------------------------------

Argv = tuple[bytes, ...]

_END = b"that-was-all"
_BURST = 500


def pack(*argv: bytes) -> bytes:
    """A request in RESP."""
    parts = [b"*%d\r\n" % len(argv)]
    for arg in argv:
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


def burst(sock: socket.socket, requests: bytes) -> bytes:
    """Send requests at once; returns all their replies. Raises RuntimeError at an error reply."""
    sock.sendall(requests + pack(b"ECHO", _END))
    end = b"$%d\r\n%b\r\n" % (len(_END), _END)
    replies = bytearray()
    while not replies.endswith(end):
        data = sock.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed the connection")
        replies += data
    if replies.startswith(b"-") or b"\r\n-" in replies:
        error = replies[replies.startswith(b"-") or replies.index(b"\r\n-") + 3 :]
        raise RuntimeError(error.partition(b"\r\n")[0].decode())
    return bytes(replies[: -len(end)])


def fill(server: BenchServer, commands: Iterable[Argv]) -> None:
    """Run many commands, pipelined."""
    with server.connect() as sock:
        waiting: list[bytes] = []
        for argv in commands:
            waiting.append(pack(*argv))
            if len(waiting) == _BURST:
                burst(sock, b"".join(waiting))
                waiting.clear()
        burst(sock, b"".join(waiting))


def converse(server: BenchServer, requests: bytes, times: int, clients: int = 1) -> float:
    """Send requests, read all their replies, so many times; CPU seconds of the server.

    The replies must have the same length each time.
    """
    socks = [server.connect() for _ in range(clients)]
    sizes = {len(burst(sock, requests)) for sock in socks * 2}
    if len(sizes) != 1:
        raise RuntimeError(f"{server.name}: replies of different lengths {sizes}")
    before = server.cpu()
    for _ in range(times // clients):
        for sock in socks:
            sock.sendall(requests)
        for sock in socks:
            left = max(sizes)
            while left:
                left -= len(sock.recv(left))
    spent = server.cpu() - before
    for sock in socks:
        sock.close()
    return spent
