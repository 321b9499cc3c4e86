"""Start redis-server and kvcore side by side and read the CPU time that the kernel counts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class BenchServer:
    """A server in a process of its own, with a data folder that goes when it stops."""

    def __init__(self, name: str, command: list[str], options: list[str]) -> None:
        self.name = name
        self.folder = tempfile.mkdtemp(prefix=f"bench-{name}-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log = Path(self.folder, "log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--dir", self.folder, *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()}")

    def cpu(self) -> float:
        """CPU seconds so far, all threads, to the nanosecond where Linux tells it so."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            path = f"/proc/{self.process.pid}/task/{task}/schedstat"
            total += int(Path(path).read_text().split()[0])
        return total / 1e9

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def redis_server(*options: str) -> BenchServer:
    path = shutil.which("redis-server")
    if path is None:
        sys.exit("redis-server is missing: apt-get install redis-server")
    return BenchServer("redis", [path], list(options))


def kvcore_server(*options: str) -> BenchServer:
    return BenchServer("kvcore", [sys.executable, "-m", "kvcore"], list(options))
