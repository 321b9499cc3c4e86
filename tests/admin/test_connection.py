"""Commands about one's own connection, and how it is opened, authenticated and reset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts import Compare, Connection, Failure, Map, Status
from tests.support import RedisServer, start_kvcore, start_redis

PASSWORD = "sesame \u20ac"

NOAUTH = Failure(b"NOAUTH Authentication required.")


def test_small_commands(compare: Compare) -> None:
    compare(r"""
        PING
        PING "a\x00b"
        PING a b
        ECHO hello
        ECHO
        ECHO a b
        SELECT 1
        SET k v
        SELECT 0
        GET k
        SELECT 99
        SELECT -1
        SELECT a
        SELECT 9223372036854775808
        SELECT 00
        QUIT2
        TIME a
        any: TIME
        ROLE
        any: LASTSAVE
        any: LOLWUT
        RESET a
        """)


def test_hello_and_auth_refuse_as_redis_does(compare: Compare) -> None:
    compare(r"""
        HELLO 4
        HELLO 1
        HELLO abc
        HELLO 3 foo
        HELLO 3 AUTH a
        HELLO 3 SETNAME
        HELLO 3 SETNAME "a b"
        HELLO 3 AUTH nobody x
        AUTH
        AUTH a
        AUTH nobody x
        AUTH default x
        AUTH a b c
        """)


@pytest.fixture(scope="module", params=["ours", "redis"])
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """A server with a password."""
    start = start_kvcore if request.param == "ours" else start_redis
    with start(tmp_path_factory.mktemp("guarded"), "--requirepass", PASSWORD) as server:
        yield server


def connect(server: RedisServer, protocol: int = 2) -> Connection:
    return Connection(server, protocol)


def test_nothing_runs_before_auth(guarded: RedisServer) -> None:
    client = connect(guarded)
    password = PASSWORD.encode()
    for argv in (
        [b"PING"],
        [b"GET", b"k"],
        [b"CLIENT", b"ID"],
        [b"COMMAND"],
        [b"MULTI"],
    ):
        assert client.call(*argv) == NOAUTH
    assert client.call(b"AUTH", b"wrong") == Failure(
        b"WRONGPASS invalid username-password pair or user is disabled."
    )
    assert client.call(b"AUTH", b"other", password) == Failure(
        b"WRONGPASS invalid username-password pair or user is disabled."
    )
    assert client.call(b"PING") == NOAUTH
    assert client.call(b"AUTH", password) == Status(b"OK")
    assert client.call(b"PING") == Status(b"PONG")
    assert client.call(b"AUTH", b"wrong") == Failure(
        b"WRONGPASS invalid username-password pair or user is disabled."
    )
    assert client.call(b"PING") == Status(b"PONG")
    assert client.call(b"RESET") == Status(b"RESET")
    assert client.call(b"PING") == NOAUTH
    client.close()


def test_hello_needs_a_password_too(guarded: RedisServer) -> None:
    client = connect(guarded)
    refusal = client.call(b"HELLO", b"3")
    assert isinstance(refusal, Failure)
    assert refusal.startswith(b"NOAUTH HELLO must be called with the client already authenticated")
    client.send([b"HELLO", b"3", b"AUTH", b"default", PASSWORD.encode(), b"SETNAME", b"me"])
    greeting = client.read()
    assert isinstance(greeting, Map)
    fields = dict(zip(greeting[::2], greeting[1::2]))
    assert list(fields) == [b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules"]
    assert (fields[b"server"], fields[b"proto"], fields[b"modules"]) == (b"redis", 3, [])
    assert client.call(b"CLIENT", b"GETNAME") == b"me"
    client.close()


def test_what_follows_auth_in_one_packet_has_the_rights_of_a_known_client(
    guarded: RedisServer,
) -> None:
    client = connect(guarded)
    value = b"v" * 50_000  # more than a stranger may send
    client.send([b"AUTH", PASSWORD.encode()], [b"SET", b"k", value], [b"GET", b"k"])
    assert [client.read() for _ in range(3)] == [Status(b"OK"), Status(b"OK"), value]
    client.close()


def test_a_stranger_may_send_little(guarded: RedisServer) -> None:
    client = connect(guarded)
    client.send([b"SET", b"k", b"v" * 50_000])
    refusal = client.read()
    assert isinstance(refusal, Failure)
    assert refusal == b"ERR Protocol error: unauthenticated bulk length"
    client.close()


def test_a_password_may_come_and_go(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        early, late = connect(server), connect(server)
        assert late.call(b"PING") == Status(b"PONG")  # it is let in, not only in the queue
        assert early.call(b"CONFIG", b"SET", b"requirepass", b"x") == Status(b"OK")
        assert late.call(b"PING") == Status(b"PONG")
        newcomer = connect(server)
        assert newcomer.call(b"PING") == NOAUTH
        assert early.call(b"CONFIG", b"SET", b"requirepass", b"") == Status(b"OK")
        assert newcomer.call(b"PING") == Status(b"PONG")
        for client in (early, late, newcomer):
            client.close()


def test_reset_forgets_everything_but_the_library(oracle: RedisServer, tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        client = connect(server)
        client.call(b"CLIENT", b"SETINFO", b"LIB-NAME", b"lib")
        client.call(b"CLIENT", b"SETNAME", b"me")
        client.call(b"SELECT", b"3")
        client.call(b"WATCH", b"k")
        client.call(b"MULTI")
        assert client.call(b"RESET") == Status(b"RESET")
        assert client.call(b"EXEC") == Failure(b"ERR EXEC without MULTI")
        info = client.call(b"CLIENT", b"INFO")
        assert isinstance(info, bytes)
        assert b" name= " in info
        assert b" db=0 " in info
        assert b" lib-name=lib " in info
        client.close()
