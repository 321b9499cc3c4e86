"""Our server as a bare process: for what happens before it is ready, and when it never is."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SECONDS = 60.0
PROGRAM = [sys.executable, "-m", "kvcore"]


def run(*args: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself; both streams are its `stdout`."""
    return subprocess.run(
        [*PROGRAM, *args],
        cwd=cwd,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Process:
    """A server that may still be loading; `log` is what it has said."""

    def __init__(
        self, process: subprocess.Popen[bytes], directory: Path, path: str, log: Path
    ) -> None:
        self.process = process
        self.directory = directory
        self.path = path
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def client(self) -> redis.Redis:
        """One connection that never retries."""
        return redis.Redis(
            unix_socket_path=self.path,
            protocol=2,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
        )

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(SECONDS)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            raise
        return sock

    def wait(self) -> int:
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def starting(
    directory: Path, *args: str, program: list[str] | None = None, ready: bool = False
) -> Iterator[Process]:
    """Start a server and wait until its Unix socket takes connections, or until it is ``ready``."""
    scratch = Path(tempfile.mkdtemp(prefix="kvcore-"))
    path = str(scratch / "s")
    words = ["--port", "0", "--unixsocket", path, "--dir", str(directory), *args]
    with open(scratch / "log", "wb") as output:
        process = subprocess.Popen(
            [*(program or PROGRAM), *words],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Process(process, directory, path, scratch / "log")
    try:
        _wait_for_socket(server, ready)
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for_socket(server: Process, ready: bool) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), server.connect() as sock:
            sock.sendall(b"PING\r\n")
            if not ready or not sock.recv(100).startswith(b"-LOADING"):
                return
        if server.process.poll() is not None:
            pytest.fail(f"the server ended at once:\n{server.log}")
        time.sleep(0.01)
    pytest.fail(f"the server does not listen:\n{server.log}")
