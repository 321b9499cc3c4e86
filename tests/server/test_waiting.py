"""A client that waits for a reply (WAITAOF): it alone waits, and what it sent goes on in order."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.server.conftest import Start
from tests.support import start_kvcore

# A policy whose syncs end when a file named `go` exists.
SYNCS_LATE = """
import concurrent.futures, os, time
from kvcore import Persistence

class Late(Persistence):
    name = "late"
    log = "commands"
    threads = concurrent.futures.ThreadPoolExecutor(4)

    def flush(self):
        return None

    def make_durable(self):
        return self.threads.submit(self.wait)

    def wait(self):
        while not os.path.exists("go"):
            time.sleep(0.01)

policy = Late
"""


@pytest.mark.behaviour("WAITAOF", "one connection waits, the others go on")
def test_one_connection_waits_and_the_others_go_on(start_with: Start) -> None:
    with (
        start_with(SYNCS_LATE) as server,
        server.connect() as waiting,
        server.client() as other,
    ):
        waiting.sendall(b"SET k 1\r\nWAITAOF 1 0 0\r\nINCR k\r\nWAITAOF 1 0 0\r\nWAITAOF 1 0 0\r\n")
        expected = b"+OK\r\n"
        assert receive(waiting, len(expected)) == expected
        until(lambda: int(other.info("clients")["blocked_clients"]) == 1)
        waiting.sendall(b"GET k\r\n")
        assert other.get("k") == b"1", "what comes behind it waits as well"
        assert other.set("other", 1)
        (server.directory / "go").touch()
        expected = b"*2\r\n:1\r\n:0\r\n"
        expected = expected + b":2\r\n" + expected * 2 + b"$1\r\n2\r\n"
        assert receive(waiting, len(expected)) == expected
        assert int(other.info("clients")["blocked_clients"]) == 0
        waiting.sendall(b"PING\r\n")
        assert receive(waiting, 7) == b"+PONG\r\n"


@pytest.mark.behaviour("WAITAOF", "the time runs out")
def test_the_time_of_a_connection_runs_out(start_with: Start) -> None:
    with start_with(SYNCS_LATE) as server, server.client() as client:
        client.set("k", 1)
        assert client.execute_command("WAITAOF", 1, 0, 50) == [0, 0]
        assert client.execute_command("WAITAOF", 0, 0, 0) == [0, 0]
        assert client.execute_command("WAITAOF", 0, 1, 50) == [0, 0]


# Each sync has its own file to wait for: go0, go1, …
SYNCS_ONE_BY_ONE = (
    SYNCS_LATE.replace(
        "def make_durable(self):",
        "count = -1\n    def make_durable(self):\n        self.count += 1",
    )
    .replace("self.wait)", "self.wait, self.count)")
    .replace("def wait(self):", "def wait(self, n):")
    .replace('exists("go")', 'exists(f"go{n}")')
)


def test_what_was_waited_for_in_vain_ends_no_later_wait(start_with: Start) -> None:
    with start_with(SYNCS_ONE_BY_ONE) as server, server.connect() as waiting:
        waiting.sendall(b"WAITAOF 1 0 50\r\n")
        assert receive(waiting, 12) == b"*2\r\n:0\r\n:0\r\n"
        waiting.sendall(b"WAITAOF 1 0 0\r\n")
        (server.directory / "go0").touch()
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(100)
        waiting.settimeout(30)
        (server.directory / "go1").touch()
        assert receive(waiting, 12) == b"*2\r\n:1\r\n:0\r\n"


def test_nonsense_behind_a_wait_is_answered_when_it_is_over(start_with: Start) -> None:
    with start_with(SYNCS_LATE) as server, server.connect() as waiting:
        for chunk in (b"WAITAOF 1 0 0\r\n", b"*x\r\n"):
            waiting.sendall(chunk)
            time.sleep(0.1)
        (server.directory / "go").touch()
        data = receive(waiting, 1000)
        assert data == b"*2\r\n:1\r\n:0\r\n-ERR Protocol error: invalid multibulk length\r\n"


def test_who_waits_is_not_idle(start_with: Start) -> None:
    with start_with(SYNCS_LATE, "--timeout", "1") as server, server.connect() as waiting:
        waiting.sendall(b"WAITAOF 1 0 0\r\n")
        time.sleep(2.5)
        (server.directory / "go").touch()
        assert receive(waiting, 12) == b"*2\r\n:1\r\n:0\r\n"


def test_a_client_that_goes_while_it_waits_is_forgotten(start_with: Start) -> None:
    with start_with(SYNCS_LATE) as server, server.client() as other:
        for command in (b"WAITAOF 0 1 0\r\n", b"WAITAOF 1 0 100\r\n"):
            with server.connect() as waiting:
                waiting.sendall(command)
                until(lambda: int(other.info("clients")["blocked_clients"]) == 1)
            until(lambda: int(other.info("clients")["connected_clients"]) == 1)
        (server.directory / "go").touch()
        assert other.ping()


def test_a_client_that_waits_can_be_killed(start_with: Start) -> None:
    with (
        start_with(SYNCS_LATE) as server,
        server.connect() as waiting,
        server.client() as other,
    ):
        waiting.sendall(b"CLIENT ID\r\nWAITAOF 1 0 0\r\n")
        number = receive(waiting, 4)[1:].strip()
        until(lambda: int(other.info("clients")["blocked_clients"]) == 1)
        assert other.execute_command("CLIENT", "KILL", "ID", number) == 1
        assert waiting.recv(100) == b""
        assert int(other.info("clients")["blocked_clients"]) == 0
        (server.directory / "go").touch()
        assert other.ping()


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_many_clients_wait_together_and_kill_9_loses_nothing(
    tmp_path: Path, appendfsync: str
) -> None:
    options = ("--appendonly", "yes", "--appendfsync", appendfsync)
    with start_kvcore(tmp_path, *options) as server, ThreadPoolExecutor(8) as pool:

        def write(client: redis.Redis, number: int) -> object:
            client.set(f"k{number}", number)
            return client.execute_command("WAITAOF", 1, 0, 0)

        clients = [server.client() for _ in range(8)]
        replies = pool.map(write, clients * 5, range(40))
        assert list(replies) == [[1, 0]] * 40
        server.kill()
    with start_kvcore(tmp_path, *options) as server:
        assert server.client().dbsize() == 40


@pytest.mark.behaviour("CONFIG SET appendonly", "`no` leaves nobody waiting in WAITAOF")
def test_turning_the_log_off_leaves_nobody_waiting(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--appendonly", "yes", "--appendfsync", "no") as server:
        client, other = server.client(), server.client()
        with ThreadPoolExecutor(1) as pool:
            client.set("k", 1)
            waiting = pool.submit(client.execute_command, "WAITAOF", 1, 0, 0)
            other.config_set("appendonly", "no")
            error = waiting.exception(30)  # it may come too late to ask
            assert "appendonly is disabled" in str(error) if error else waiting.result() == [1, 0]
        with pytest.raises(redis.ResponseError, match="appendonly is disabled"):
            client.execute_command("WAITAOF", 1, 0, 0)


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)
