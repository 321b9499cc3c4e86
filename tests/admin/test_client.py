"""CLIENT: what it tells of connections, and how it ends them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts import Compare, Connection, Failure, Status
from tests.support import RedisServer, start_kvcore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with start_kvcore(tmp_path_factory.mktemp("clients")) as server:
        yield server


@pytest.fixture
def clients(server: RedisServer) -> Iterator[list[Connection]]:
    """Three connections; whatever a test leaves of them is closed."""
    connections = [Connection(server, 2) for _ in range(3)]
    for connection in connections:
        connection.call(b"PING")
    yield connections
    for connection in connections:
        connection.close()


def fields(line: bytes) -> dict[str, str]:
    return dict(re.findall(r"([a-z-]+)=(\S*)", line.decode()))


def info(client: Connection) -> dict[str, str]:
    reply = client.call(b"CLIENT", b"INFO")
    assert isinstance(reply, bytes)
    return fields(reply)


def test_words_are_those_of_redis(compare: Compare) -> None:
    compare(r"""
        CLIENT
        CLIENT FOO
        CLIENT GETNAME
        CLIENT SETNAME "a b"
        CLIENT SETNAME "a\nb"
        CLIENT SETNAME "\xff"
        CLIENT SETNAME me
        CLIENT GETNAME
        CLIENT SETNAME ""
        CLIENT GETNAME
        CLIENT GETNAME a
        CLIENT SETNAME
        any: CLIENT ID
        CLIENT REPLY foo
        CLIENT REPLY ON
        CLIENT NO-EVICT ON
        CLIENT NO-EVICT off
        CLIENT NO-EVICT maybe
        CLIENT LIST FOO
        CLIENT LIST FOO BAR
        CLIENT LIST TYPE
        CLIENT LIST TYPE foo
        CLIENT LIST TYPE master
        CLIENT LIST TYPE replica
        CLIENT LIST TYPE PUBSUB
        CLIENT LIST TYPE normal extra
        CLIENT LIST ID
        CLIENT LIST ID a
        CLIENT LIST ID 999999 999998
        CLIENT KILL
        CLIENT KILL nobody
        CLIENT KILL 127.0.0.1:1
        CLIENT KILL ID
        CLIENT KILL ID a
        CLIENT KILL ID 0
        CLIENT KILL ID 999999
        CLIENT KILL TYPE foo
        CLIENT KILL TYPE pubsub
        CLIENT KILL USER nobody
        CLIENT KILL SKIPME maybe
        CLIENT KILL ADDR 127.0.0.1:1
        CLIENT KILL ADDR 127.0.0.1:1 LADDR
        CLIENT KILL FOO bar
        """)


def test_a_line_has_the_fields_of_redis_in_its_order(
    clients: list[Connection], oracle: RedisServer
) -> None:
    theirs = Connection(oracle, 2)
    expected = [*info(theirs), "lib-name", "lib-ver"]
    assert list(info(clients[0])) == expected
    theirs.close()


def test_client_info_tells_the_truth(server: RedisServer, clients: list[Connection]) -> None:
    client = clients[0]
    name = client.call(b"CLIENT", b"SETNAME", b"me")
    assert name == Status(b"OK")
    client.call(b"CLIENT", b"SETINFO", b"lib-name", b"lib")
    client.call(b"CLIENT", b"SETINFO", b"LIB-VER", b"1.2")
    client.call(b"CLIENT", b"NO-EVICT", b"ON")
    client.call(b"CLIENT", b"NO-TOUCH", b"ON")
    client.call(b"SELECT", b"7")
    told = info(client)
    identity = client.call(b"CLIENT", b"ID")
    expected = {
        "id": str(identity),
        "laddr": f"127.0.0.1:{server.port}",
        "name": "me",
        "flags": "eT",
        "db": "7",
        "multi": "-1",
        "cmd": "client|info",
        "user": "default",
        "resp": "2",
        "lib-name": "lib",
        "lib-ver": "1.2",
    }
    assert {field: told[field] for field in expected} == expected


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (
            (b"lib-name", b"a b"),
            b"ERR lib-name cannot contain spaces, newlines or special characters.",
        ),
        (
            (b"LIB-VER", b"\n"),
            b"ERR LIB-VER cannot contain spaces, newlines or special characters.",
        ),
        ((b"lib-color", b"red"), b"ERR Unrecognized option 'lib-color'"),
    ],
)
def test_setinfo_refuses(clients: list[Connection], argv: tuple[bytes, bytes], text: bytes) -> None:
    assert clients[0].call(b"CLIENT", b"SETINFO", *argv) == Failure(text)


def test_list_shows_everyone_oldest_first(clients: list[Connection]) -> None:
    ids = [client.call(b"CLIENT", b"ID") for client in clients]
    clients[1].call(b"MULTI")
    clients[1].call(b"PING")
    clients[1].call(b"SET", b"k", b"value")
    reply = clients[0].call(b"CLIENT", b"LIST")
    assert isinstance(reply, bytes)
    lines = [fields(line) for line in reply.splitlines()]
    assert [int(line["id"]) for line in lines][-3:] == ids
    assert (lines[-2]["flags"], lines[-2]["multi"]) == ("x", "2")
    some = clients[0].call(b"CLIENT", b"LIST", b"ID", b"%d" % ids[2], b"999999", b"%d" % ids[1])
    assert isinstance(some, bytes)
    assert [int(fields(line)["id"]) for line in some.splitlines()] == [ids[2], ids[1]]


def closed(client: Connection) -> bool:
    try:
        client.call(b"PING")
    except (EOFError, ConnectionError):
        return True
    return False


def test_kill_by_id_and_by_address(clients: list[Connection]) -> None:
    me, second, third = clients
    identity = second.call(b"CLIENT", b"ID")
    assert me.call(b"CLIENT", b"KILL", b"ID", b"%d" % identity) == 1
    assert me.call(b"CLIENT", b"KILL", info(third)["addr"].encode()) == Status(b"OK")
    assert [closed(client) for client in clients] == [False, True, True]


def test_kill_spares_the_caller_unless_asked(
    server: RedisServer, clients: list[Connection]
) -> None:
    me, *others = clients
    laddr = f"127.0.0.1:{server.port}".encode()
    assert me.call(b"CLIENT", b"KILL", b"LADDR", laddr, b"TYPE", b"normal") == 2
    assert [closed(client) for client in others] == [True, True]
    # The caller gets the answer first.
    assert me.call(b"CLIENT", b"KILL", b"USER", b"default", b"SKIPME", b"no") == 1
    assert closed(me)


def test_the_old_form_kills_the_caller_too(clients: list[Connection]) -> None:
    me = clients[0]
    assert me.call(b"CLIENT", b"KILL", info(me)["addr"].encode()) == Status(b"OK")
    assert closed(me)


@pytest.mark.parametrize("which", ["ours", "redis"])
@pytest.mark.parametrize(
    ("mode", "replies"),
    [
        (b"OFF", [Status(b"OK"), b"3"]),
        (b"SKIP", [b"2", Failure(b"ERR syntax error"), Status(b"OK"), b"3"]),
    ],
)
def test_replies_can_be_turned_off(
    server: RedisServer, oracle: RedisServer, which: str, mode: bytes, replies: list[object]
) -> None:
    client = Connection(server if which == "ours" else oracle, 2)
    client.send(
        [b"CLIENT", b"REPLY", mode],
        [b"PING", b"1"],
        [b"PING", b"2"],
        [b"CLIENT", b"REPLY", b"foo"],
        [b"CLIENT", b"REPLY", b"ON"],
        [b"PING", b"3"],
    )
    assert [client.read() for _ in replies] == replies
    client.close()


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1\r\n", b"host: localhost:6379\r\n"])
def test_a_browser_is_cut_off_before_its_body_is_read(tmp_path: Path, line: bytes) -> None:
    with start_kvcore(tmp_path, "--requirepass", "x") as server:
        client = Connection(server, 2)
        client._socket.sendall(line + b"AUTH x\r\nSET k evil\r\n")
        assert client._stream.read() == b""
        client.close()
        assert "Possible SECURITY ATTACK detected" in server.log
        checker = Connection(server, 2)
        checker.call(b"AUTH", b"x")
        assert checker.call(b"GET", b"k") is None
        checker.close()
