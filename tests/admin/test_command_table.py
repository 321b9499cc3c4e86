"""Every command of kvcore beside Redis 7.2's table and what a live Redis says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvcore
from kvcore.admin.introspection import summary
from kvcore.command import Command
from tests.support import RedisServer

# What COMMAND of Redis does not tell.
HIDDEN = {"sentinel", "only_sentinel", "protected", "touches_arbitrary_keys"}


def redis_table() -> dict[str, list[Any]]:
    path = Path(__file__).parent / "commands-7.2.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["commands"]
    return {row[0].lower().replace(" ", "|"): row for row in rows}


def ours() -> Iterator[Command]:
    with kvcore.open() as store:
        return iter(store.instance.engine.commands.everything())


OURS = list(ours())
TABLE = redis_table()
SINCE_7_2 = {"client|no-touch", "client|setinfo", "waitaof"}  # so the oracle does not know them


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.name)
def test_arity_flags_group_and_version_are_those_of_redis(command: Command) -> None:
    _, group, since, arity, flags = TABLE[command.name]
    group = group.replace("_", "-")
    assert (command.arity, command.group, command.since) == (arity, group, since)
    assert set(command.flags) - HIDDEN - {"movablekeys", "no_mandatory_keys"} == (
        set(flags) - HIDDEN
    )


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.name)
def test_every_command_tells_what_it_does(command: Command) -> None:
    assert summary(command).endswith(".")
    assert "\n" not in summary(command)


@pytest.mark.parametrize(
    "command",
    [command for command in OURS if command.name not in SINCE_7_2],
    ids=lambda command: command.name,
)
def test_keys_flags_and_categories_are_those_of_a_live_redis(
    command: Command, oracle: RedisServer
) -> None:
    (theirs,) = oracle.client(raw=True).execute_command("COMMAND", "INFO", command.name)
    assert tuple(theirs[3:6]) == command.keys
    assert {flag.decode() for flag in theirs[2]} == set(command.flags) - HIDDEN
    assert {category.decode() for category in theirs[6]} == set(command.acl)
