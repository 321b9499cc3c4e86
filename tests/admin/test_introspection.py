"""COMMAND: forms on the wire, and what clients do with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.scripts import Compare, Connection, Map, Set
from tests.support import RedisServer, start_kvcore


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with start_kvcore(tmp_path_factory.mktemp("table")) as server:
        yield server


def test_words_are_those_of_redis(compare: Compare) -> None:
    compare(r"""
        COMMAND FOO
        COMMAND COUNT a
        COMMAND INFO foo nosuch|command config|nosuch
        COMMAND DOCS nosuch
        COMMAND LIST FOO
        COMMAND LIST FILTERBY
        COMMAND LIST FILTERBY FOO bar
        COMMAND LIST FILTERBY MODULE json
        COMMAND LIST FILTERBY ACLCAT nosuch
        unordered: COMMAND LIST FILTERBY ACLCAT transaction
        COMMAND LIST FILTERBY PATTERN nosuch*
        unordered: COMMAND LIST FILTERBY PATTERN H?E*
        unordered: COMMAND LIST FILTERBY PATTERN "config|*et"
        COMMAND GETKEYS
        COMMAND GETKEYS nosuch a
        COMMAND GETKEYS PING a
        COMMAND GETKEYS GET a b
        COMMAND GETKEYS SET k v
        COMMAND GETKEYS MSET a 1 b 2 c 3
        COMMAND GETKEYS MSET a 1
        COMMAND GETKEYS DEL a b c
        COMMAND GETKEYS SINTERCARD 2 a b LIMIT 1
        COMMAND GETKEYS ZUNIONSTORE d 2 a b
        COMMAND GETKEYS SORT k STORE d
        COMMAND GETKEYS OBJECT ENCODING k
        unordered: COMMAND GETKEYSANDFLAGS GET k
        unordered: COMMAND GETKEYSANDFLAGS MGET a b
        COMMAND HELP
        """)


def entry(server: RedisServer, protocol: int, name: bytes) -> Any:
    client = Connection(server, protocol)
    client.call(b"HELLO", b"%d" % protocol)
    (reply,) = client.call(b"COMMAND", b"INFO", name)  # type: ignore[misc]
    client.close()
    return reply


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", [b"get", b"mget", b"lcs", b"object", b"config|get", b"MSETNX"])
def test_an_entry_is_that_of_redis(
    ours: RedisServer, oracle: RedisServer, protocol: int, name: bytes
) -> None:
    """But for tips, which we have none of, and the exact rights of a key specification."""
    mine, theirs = entry(ours, protocol, name), entry(oracle, protocol, name)
    assert len(mine) == len(theirs) == 10
    assert mine[:2] + mine[3:6] == theirs[:2] + theirs[3:6]
    for at in (2, 6):
        assert type(mine[at]) is type(theirs[at])
        assert sorted(mine[at]) == sorted(theirs[at])
    assert len(mine[8]) == len(theirs[8])
    for spec, expected in zip(mine[8], theirs[8]):
        assert spec[0] == expected[0] == b"flags"
        assert spec[2:] == expected[2:]  # begin_search, find_keys
    assert len(mine[9]) <= len(theirs[9])


def test_where_only_a_command_knows_its_keys_the_specification_says_so(ours: RedisServer) -> None:
    specs = entry(ours, 3, b"sort")[8]
    kinds = [dict(zip(spec[::2], spec[1::2])) for spec in specs]
    assert kinds[-1][b"begin_search"] == [b"type", b"unknown", b"spec", []]
    assert b"incomplete" in kinds[-1][b"flags"]


def test_docs(ours: RedisServer) -> None:
    client = Connection(ours, 3)
    client.call(b"HELLO", b"3")
    reply = client.call(b"COMMAND", b"DOCS", b"config", b"nosuch")
    assert isinstance(reply, Map)
    name, entry = reply
    documentation = dict(zip(entry[::2], entry[1::2]))
    assert name == b"config"
    assert documentation[b"since"] == b"2.0.0"
    assert documentation[b"group"] == b"server"
    children = documentation[b"subcommands"]
    assert isinstance(children, Map)
    assert b"config|get" in children
    everything = client.call(b"COMMAND", b"DOCS")
    assert isinstance(everything, Map)
    assert len(everything) // 2 == client.call(b"COMMAND", b"COUNT")
    assert isinstance(client.call(b"COMMAND", b"INFO", b"get")[0][2], Set)  # type: ignore[index]
    client.close()


def test_command_lists_what_count_counts(ours: RedisServer) -> None:
    client = ours.client()
    table = client.command()
    assert len(table) == client.command_count()
    assert table["get"]["first_key_pos"] == 1
    names = {name.decode() for name in client.command_list()}
    assert {name for name in names if "|" not in name} == set(table)
    assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
