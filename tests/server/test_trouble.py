"""One client's or one plugin's fault is nobody else's; what cannot be kept is not promised."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.processes import Process
from tests.server.conftest import Start

FAULTY = """
from kvcore import hookimpl
from kvcore.command import Family

command = Family("faulty")

@command("RAISE", 1)
def raise_(ctx, argv):
    "Raises what no command should."
    raise ZeroDivisionError("a bug")

@command("RECURSE", 1)
def recurse(ctx, argv):
    return recurse(ctx, argv)

@command("NONSENSE", -1)
def nonsense(ctx, argv):
    "Gives, after much that is one, what is no reply."
    return [b"x" * 2000, [1, 2, {b"a": object()}]]

@command("HALFWAY", 2, "write", keys=(1, 1, 1))
def halfway(ctx, argv):
    ctx.db.set(argv[1], b"half")
    ctx.db.changed(argv[1], "set")
    raise RuntimeError("after the change")

@command("SHADY", 1)
def shady(ctx, argv):
    from kvcore.errors import CommandError
    raise CommandError("ERR one\\r\\n+OK two")

class Faulty:
    @hookimpl
    def kvcore_commands(self):
        return command.commands

    @hookimpl
    def before_command(self, session, argv):
        raise KeyError("an observer")

    @hookimpl
    def client_connected(self, session):
        raise KeyError("another")

    @hookimpl
    def client_disconnected(self, session):
        raise KeyError("and another")

hooks = [Faulty()]
"""


@pytest.fixture
def server(start_with: Start) -> Iterator[Process]:
    with start_with(FAULTY) as server:
        yield server


@pytest.mark.parametrize("name", ["RAISE", "RECURSE", "NONSENSE"])
def test_a_bug_of_a_command_is_an_error_reply(server: Process, name: str) -> None:
    with server.client() as client, server.client() as other:
        with pytest.raises(redis.ResponseError, match="internal error, see the server's log"):
            client.execute_command(name)
        assert client.ping()
        assert other.ping()
    assert "A command failed unexpectedly" in server.log


def test_the_replies_around_a_bug_arrive(server: Process) -> None:
    with server.connect() as sock:
        sock.sendall(b"PING\r\nNONSENSE\r\nRAISE\r\nSHADY\r\nPING\r\nQUIT\r\n")
        data = b""
        while chunk := sock.recv(1000):
            data += chunk
    lines = data.split(b"\r\n")
    internal = b"-ERR internal error, see the server's log"
    assert lines == [b"+PONG", internal, internal, b"-ERR one  +OK two", b"+PONG", b"+OK", b""]


def test_a_bug_within_a_transaction_stops_no_other_command(server: Process) -> None:
    with server.client() as client:
        client.execute_command("MULTI")
        client.execute_command("SET", "a", 1)
        client.execute_command("HALFWAY", "b")
        client.execute_command("SET", "c", 1)
        replies = client.execute_command("EXEC")
        assert [type(reply) for reply in replies] == [bytes, redis.ResponseError, bytes]
        assert client.mget("a", "b", "c") == [b"1", b"half", b"1"]


def test_observers_cannot_harm(server: Process) -> None:
    for _ in range(3):
        with server.client() as client:
            assert client.set("k", "v")
    with server.client() as client:
        assert client.get("k") == b"v"
    assert server.log.count("A hook raised") == 3  # once for each hook, not for each call


# A policy whose disk fails while a file named `ill` exists in the data folder.
SICK = """
import os
from kvcore import Persistence

class Sick(Persistence):
    name = "sick"
    log = "commands"

    def flush(self):
        if os.path.exists("ill"):
            raise OSError(28, "No space left on device")

policy = Sick
"""


@pytest.mark.behaviour("MISCONF: any policy", "what is not durable is not answered")
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_not_durable_is_not_answered_and_writes_wait_for_the_disk(
    start_with: Start, times: int
) -> None:
    with start_with(SICK) as server, server.client() as reader:
        ill = server.directory / "ill"
        for _ in range(times):
            with server.client() as writer:
                writer.set("k", "v")
                ill.touch()
                with pytest.raises(redis.ConnectionError):
                    writer.set("k", "lost?")
            with pytest.raises(redis.ResponseError, match="No space left on device"):
                reader.set("k", "w")
            with pytest.raises(redis.ResponseError, match="MISCONF"):
                reader.ping()
            assert reader.get("k") == b"lost?"  # reading goes on
            ill.unlink()
            wait_until_well(reader)
            assert reader.set("k", "x")
        assert server.log.count("writes are refused until it works") == times
        assert server.log.count("The disk is well again") == times


# A policy that refuses writes by itself, and whose housekeeping fails while a file `ill` exists.
REFUSING = """
import os
from kvcore import Persistence

class Refusing(Persistence):
    name = "refusing"

    def cron(self, now):
        self.host.refuse_writes("MISCONF of its own" if os.path.exists("own") else None)
        if os.path.exists("ill"):
            raise OSError(28, "No space left on device")

policy = Refusing
"""


def test_the_policys_own_refusal_is_not_lifted_by_the_server(start_with: Start) -> None:
    with start_with(REFUSING) as server, server.client() as client:
        ill, own = server.directory / "ill", server.directory / "own"
        own.touch()
        ill.touch()
        wait_for(lambda: "writes are refused until it works" in server.log)
        ill.unlink()
        wait_for(lambda: "The disk is well again" in server.log)
        with pytest.raises(redis.ResponseError, match="MISCONF of its own"):
            client.set("k", "v")
        own.unlink()
        wait_until_well(client)
        assert client.set("k", "v")


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_well(client: redis.Redis) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            client.ping()
        except redis.ResponseError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


# A policy that takes its time, on a thread: each commit is durable once a file says so.
SLOW = """
import concurrent.futures, os, time
from kvcore import Persistence

class Slow(Persistence):
    name = "slow"
    log = "commands"
    threads = concurrent.futures.ThreadPoolExecutor(4)

    def flush(self):
        return self.threads.submit(self.wait)

    def wait(self):
        while not os.path.exists("go"):
            time.sleep(0.01)
        if os.path.exists("fail"):
            raise OSError(5, "Input/output error")

policy = Slow
"""


def test_a_reply_waits_for_its_commit_and_the_order_is_kept(start_with: Start) -> None:
    with start_with(SLOW) as server, server.connect() as first, server.connect() as second:
        first.sendall(b"SET a 1\r\n")
        first.sendall(b"GET a\r\n")
        second.sendall(b"GET a\r\n")  # it must not tell what is not durable either
        for sock in (first, second):
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(100)
            sock.settimeout(30)
        (server.directory / "go").touch()
        assert receive(first, 12) == b"+OK\r\n$1\r\n1\r\n"
        assert receive(second, 7) == b"$1\r\n1\r\n"


def test_commands_are_read_while_a_commit_is_on_its_way(start_with: Start) -> None:
    with start_with(SLOW) as server, server.connect() as sock:
        for n in range(100):
            sock.sendall(b"INCR n\r\n")
            if n % 10 == 0:
                time.sleep(0.01)
        sock.shutdown(socket.SHUT_WR)
        (server.directory / "go").touch()
        expected = b"".join(b":%d\r\n" % (n + 1) for n in range(100))
        assert receive(sock, len(expected)) == expected
        assert sock.recv(1) == b""


def test_a_commit_that_fails_ends_the_server_without_an_answer(start_with: Start) -> None:
    with start_with(SLOW) as server, server.connect() as sock:
        sock.sendall(b"SET a 1\r\n")
        (server.directory / "fail").touch()
        (server.directory / "go").touch()
        assert sock.recv(100) == b""
        assert server.wait() == 1
        assert "A commit did not become durable" in server.log


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := sock.recv(size - len(data))):
        data += chunk
    return data
