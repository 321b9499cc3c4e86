"""Replies leave in order and completely, and a client that does not read them costs little."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Process
from tests.server.conftest import Start

VALUE = b"v" * 100_000
REPLY = b"$100000\r\n" + VALUE + b"\r\n"


def read_all(sock: socket.socket) -> bytes:
    """What the server says until it closes."""
    chunks = []
    while chunk := sock.recv(1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        assert chunk, f"closed after {len(data)} bytes of {size}"
        data += chunk
    return bytes(data)


def resident(server: Process) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


@pytest.fixture
def server(start: Start) -> Iterator[Process]:
    with start() as server, server.client() as client:
        client.set("k", VALUE)
        yield server


def test_a_client_that_half_closes_gets_its_replies(server: Process) -> None:
    with server.connect() as sock:
        sock.sendall(b"PING\r\n" * 3 + b"GET k\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"+PONG\r\n" * 3 + REPLY


def test_quit_is_answered_and_ends_what_follows(server: Process) -> None:
    with server.connect() as sock:
        sock.sendall(b"PING\r\nGET k\r\nQUIT\r\nSET k evil\r\nPING\r\n")
        assert read_all(sock) == b"+PONG\r\n" + REPLY + b"+OK\r\n"
        with server.client() as client:
            assert client.get("k") == VALUE


def test_commands_cut_anywhere_are_put_together(server: Process) -> None:
    request = b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$5\r\na\r\nb\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nx\r\n"
    with server.connect() as sock:
        for at in range(len(request)):
            sock.sendall(request[at : at + 1])
            time.sleep(0.001)
        assert read_exactly(sock, 16) == b"+OK\r\n$5\r\na\r\nb\n\r\n"


def test_a_client_that_vanishes_in_the_midst_of_a_command_harms_nobody(server: Process) -> None:
    with server.client() as client:
        connected = client.info("clients")["connected_clients"]
    for request in (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc",
        b"GET k\r\n" * 1000,
        b"*1\r",
        b"",
    ):
        with server.connect() as sock:
            sock.sendall(request)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with server.client() as client:
        assert client.get("k") == VALUE
        deadline = time.monotonic() + 30
        while client.info("clients")["connected_clients"] > connected:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "Traceback" not in server.log


def test_many_replies_to_a_slow_reader_cost_no_copies(server: Process) -> None:
    """Some 2,000 replies of 100 KB are asked for, and only then read."""
    before = resident(server)
    count = 2000
    with server.connect() as sock:
        sock.sendall(b"GET k\r\n" * count)
        with server.client() as client:
            deadline = time.monotonic() + 30
            while client.info("clients")["client_recent_max_output_buffer"] < len(REPLY) * 1000:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert resident(server) - before < 50 << 20
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == REPLY * count


def test_a_reader_that_never_reads_is_not_read_from(server: Process) -> None:
    before = resident(server)
    with server.connect() as sock:
        sock.settimeout(2)
        with pytest.raises(TimeoutError):
            sock.sendall(b"GET k\r\n" * 10_000_000)
        assert resident(server) - before < 50 << 20
        with server.client() as client:
            assert client.ping()


def test_more_replies_than_fit_come_in_order(server: Process) -> None:
    """A reply of many pieces for each of many commands that arrive in one packet."""
    with server.client() as client:
        client.rpush("l", *range(2000))
        client.execute_command("CONFIG", "SET", "proto-max-bulk-len", 1 << 20)
    listing = b"*2000\r\n" + b"".join(b"$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(2000))
    with server.connect() as sock:
        requests = [b"LRANGE l 0 -1\r\nECHO %d\r\n" % n for n in range(300)]
        sock.sendall(b"".join(requests))
        sock.shutdown(socket.SHUT_WR)
        expected = [listing + b"$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(300)]
        assert read_all(sock) == b"".join(expected)


# Limits -------------------------------------------------------------------------------------------


def asked_for_much(server: Process) -> socket.socket:
    """A client that asked for 100 MB and reads nothing."""
    sock = server.connect()
    sock.sendall(b"GET k\r\n" * 1000)
    return sock


def wait_for_log(server: Process, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in server.log:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)


CLOSED = "Client closed for overcoming of output buffer limits."


def test_the_hard_limit_closes_at_once(server: Process) -> None:
    with server.client() as client:
        client.config_set("client-output-buffer-limit", "normal 10mb 0 0")
        with asked_for_much(server) as sock:
            wait_for_log(server, CLOSED)
            with pytest.raises((ConnectionError, AssertionError)):
                read_exactly(sock, len(REPLY) * 1000)
        assert client.ping()
        assert client.get("k") == VALUE


def test_the_soft_limit_closes_after_its_time(server: Process) -> None:
    with server.client() as client:
        client.config_set("client-output-buffer-limit", "normal 0 10mb 1")
        begin = time.monotonic()
        with asked_for_much(server):
            wait_for_log(server, CLOSED)
        assert time.monotonic() - begin >= 1
        assert client.ping()


def test_without_limits_nobody_is_closed(server: Process) -> None:
    with asked_for_much(server) as sock:
        time.sleep(0.5)
        assert read_exactly(sock, len(REPLY) * 1000) == REPLY * 1000


def test_a_request_that_is_too_big_ends_the_connection_only(server: Process) -> None:
    with server.client() as client:
        client.config_set("proto-max-bulk-len", 1 << 20)
        with server.connect() as sock:
            sock.sendall(b"PING\r\n*2\r\n$4\r\nECHO\r\n$2000000\r\n")
            assert read_all(sock) == (b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n")
        assert client.ping()


def test_idle_clients_are_closed(start: Start) -> None:
    with start("--timeout", "1") as server, server.connect() as idle, server.client() as busy:
        idle.sendall(b"PING\r\n")
        assert read_exactly(idle, 7) == b"+PONG\r\n"
        idle.settimeout(0.1)
        closed = False
        while not closed:
            assert busy.ping()
            with contextlib.suppress(TimeoutError):
                closed = idle.recv(1) == b""
        assert busy.ping()
