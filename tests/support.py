"""Processes for tests: a real redis-server (the oracle) and our own server, handled alike.

    with start_redis(tmp_path) as server:
        server.client().set(b"k", b"v")
        server.kill()                       # as if the power had failed
    with start_kvcore(tmp_path) as server:  # the same directory: its files
        ...

Both listen on a Unix socket and on a free TCP port of 127.0.0.1, write nothing by themselves
(`--save ""`) and allow DEBUG. A configuration file comes before these, arguments of the caller
after them, so the caller's win.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

READY_SECONDS = 60.0  # generous: machines of continuous integration stall
STOP_SECONDS = 60.0
PORT_ATTEMPTS = 5


class ServerExited(Exception):
    """The server ended before it answered; `returncode` as subprocess has it, `log` its output."""

    def __init__(self, command: list[str], returncode: int, log: str) -> None:
        super().__init__(f"{' '.join(command)!r} exited with {returncode}:\n{log}")
        self.returncode = returncode
        self.log = log


class RedisServer:
    """A running server that speaks Redis' protocol, and the owner of its process.

    `directory` holds its data; the socket and the output are kept elsewhere, so that a test may
    list the directory. Leaving the `with` block stops what still runs.
    """

    def __init__(
        self, program: list[str], directory: Path, args: tuple[str, ...], config_file: Path | None
    ) -> None:
        self.directory = directory
        self._program = [*program, str(config_file)] if config_file else program
        self._args = args
        self._clients: list[redis.Redis] = []
        # A Unix socket's path must fit 108 bytes, which pytest's directories may exceed.
        self._scratch = Path(tempfile.mkdtemp(prefix="kvcore-"))
        self.socket = str(self._scratch / "s")
        self._log_path = self._scratch / "log"
        try:
            self._start()
        except BaseException:
            self._clean_up()
            raise

    def client(self, protocol: int = 2, raw: bool = False) -> redis.Redis:
        """A client of the Unix socket that never retries; closed with the server.

        Replies are undecoded. `raw` gives them as they were on the wire (b"OK", not True).
        """
        client = redis.Redis(
            unix_socket_path=self.socket,
            protocol=protocol,
            decode_responses=False,
            retry=Retry(NoBackoff(), 0),
        )
        if raw:
            client.response_callbacks.clear()
        self._clients.append(client)
        return client

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """All output until now, both streams."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for a process that ends by itself (SHUTDOWN, a signal) and return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the server did not end within {seconds:.0f} s:\n{self.log}")

    def stop(self) -> int:
        """End it by SIGTERM, as an operator does; returns the exit code."""
        self._close_clients()
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it and its children by SIGKILL: whatever it had not written is gone."""
        self._close_clients()
        self._kill_group()
        self._process.wait()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what still runs and remove the socket and the output; the data stays."""
        try:
            if self._process.poll() is None:
                self.stop()
        finally:
            self._clean_up()

    def _start(self) -> None:
        with open(self._log_path, "wb") as output:
            for attempt in range(PORT_ATTEMPTS):
                self.port = _free_port()
                self._launch(output)
                try:
                    return self.wait_until_ready()
                except ServerExited as error:
                    # Another process may have taken the port since we looked.
                    taken = "already in use" in error.log.lower()
                    if not taken or attempt == PORT_ATTEMPTS - 1:
                        raise

    def _launch(self, output: IO[bytes]) -> None:
        self.command = [
            *self._program,
            *("--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket),
            *("--dir", str(self.directory), "--save", "", "--enable-debug-command", "yes"),
            *self._args,
        ]
        self._process = subprocess.Popen(
            self.command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: kill() reaches a save in the background
        )

    def wait_until_ready(self) -> None:
        """Until it answers; raises ServerExited if it ends instead."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if (returncode := self._process.poll()) is not None:
                raise ServerExited(self.command, returncode, self.log)
            answer = _answer(self.socket)
            # Who asks for a password does so during a load, too.
            if answer.startswith(b"-NOAUTH"):
                if "Ready to accept connections" in self.log:
                    return
            elif answer and not answer.startswith(b"-LOADING"):
                return
            time.sleep(0.01)
        pytest.fail(f"the server did not answer within {READY_SECONDS:.0f} s:\n{self.log}")

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def _kill_group(self) -> None:
        # The group outlives its leader as long as a child lives, so its number is still ours.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _clean_up(self) -> None:
        self._close_clients()
        if hasattr(self, "_process"):
            self._kill_group()
            self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


def start_redis(directory: Path, *args: str, config_file: Path | None = None) -> RedisServer:
    """Start Redis' own server on `directory` and wait until it answers.

    Raises ServerExited if it refuses to start.
    """
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is missing: apt-get install redis-server", pytrace=False)
    return RedisServer([program], directory, args, config_file)


def start_kvcore(directory: Path, *args: str, config_file: Path | None = None) -> RedisServer:
    """Start our server on `directory`, from the interpreter that runs the tests; as start_redis."""
    return RedisServer([sys.executable, "-m", "kvcore"], directory, args, config_file)


def _answer(path: str) -> bytes:
    """What PING is answered; b"" if nobody is there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(READY_SECONDS)
            connection.connect(path)
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            return connection.recv(64)
    except OSError:
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
