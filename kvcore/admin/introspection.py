"""COMMAND: the command table, told in Redis' own forms. Everything derives from the records."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from kvcore.codec.glob import Glob
from kvcore.command import (
    FLAGS,
    MOVABLEKEYS,
    READONLY,
    Command,
    CommandTable,
    Family,
    has_arity,
    help_text,
    unknown_subcommand,
)
from kvcore.errors import SYNTAX, CommandError
from kvcore.session import Session

# Flags of the records that COMMAND does not tell.
HIDDEN: Final = frozenset(["sentinel", "only_sentinel", "protected"])
NO_MANDATORY_KEYS: Final = FLAGS["no_mandatory_keys"]

_HELP: Final = """
(no subcommand)
    Return details about all Redis commands.
COUNT
    Return the total number of commands in this Redis server.
LIST
    Return a list of all commands in this Redis server.
INFO [<command-name> ...]
    Return details about multiple Redis commands.
    If no command names are given, documentation details for all
    commands are returned.
DOCS [<command-name> ...]
    Return documentation details about multiple Redis commands.
    If no command names are given, documentation details for all
    commands are returned.
GETKEYS <full-command>
    Return the keys from a full Redis command.
GETKEYSANDFLAGS <full-command>
    Return the keys and the access flags from a full Redis command.
"""

command = Family("server")


@command(
    "COMMAND",
    -1,
    "loading stale",
    since="2.8.13",
    complexity="O(N) where N is the total number of Redis commands",
    acl="@slow @connection",
)
def command_all(session: Session, argv: list[bytes]) -> object:
    """Returns detailed information about all commands."""
    if len(argv) > 1:
        raise CommandError(unknown_subcommand("command", argv[1]))
    return [info(one) for one in _table(session).top_level()]


@command(
    "COMMAND|COUNT",
    2,
    "loading stale",
    since="2.8.13",
    complexity="O(1)",
    acl="@slow @connection",
)
def command_count(session: Session, argv: list[bytes]) -> object:
    """Returns a count of commands."""
    return len(_table(session).top_level())


@command(
    "COMMAND|INFO",
    -2,
    "loading stale",
    since="2.8.13",
    complexity="O(N) where N is the number of commands to look up",
    acl="@slow @connection",
)
def command_info(session: Session, argv: list[bytes]) -> object:
    """Returns information about one, multiple or all commands."""
    table = _table(session)
    if len(argv) == 2:
        return [info(one) for one in table.top_level()]
    found = [table.named(name) for name in argv[2:]]
    return [None if one is None else info(one) for one in found]


@command(
    "COMMAND|DOCS",
    -2,
    "loading stale",
    since="7.0.0",
    complexity="O(N) where N is the number of commands to look up",
    acl="@slow @connection",
)
def command_docs(session: Session, argv: list[bytes]) -> object:
    """Returns documentary information about one, multiple or all commands."""
    table = _table(session)
    if len(argv) == 2:
        return {one.name.encode(): docs(one) for one in table.top_level()}
    found = [table.named(name) for name in argv[2:]]
    return {one.name.encode(): docs(one) for one in found if one is not None}


@command(
    "COMMAND|LIST",
    -2,
    "loading stale",
    since="7.0.0",
    complexity="O(N) where N is the total number of Redis commands",
    acl="@slow @connection",
)
def command_list(session: Session, argv: list[bytes]) -> object:
    """Returns a list of command names."""
    everything = _table(session).everything()
    if len(argv) == 2:
        return [one.name.encode() for one in everything]
    if len(argv) != 5 or argv[2].upper() != b"FILTERBY":
        raise CommandError(SYNTAX)
    return [one.name.encode() for one in _filtered(everything, argv[3].upper(), argv[4])]


def _filtered(commands: Iterable[Command], by: bytes, what: bytes) -> Iterator[Command]:
    if by == b"MODULE":
        return iter(())  # there are no modules
    if by == b"ACLCAT":
        category = "@" + what.decode("latin-1").lower()
        return (one for one in commands if category in one.acl)
    if by == b"PATTERN":
        glob = Glob(what, nocase=True)
        return (one for one in commands if glob.match(one.name.encode()))
    raise CommandError(SYNTAX)


@command(
    "COMMAND|GETKEYS",
    -3,
    "loading stale",
    since="2.8.13",
    complexity="O(N) where N is the number of arguments to the command",
    acl="@slow @connection",
)
def command_getkeys(session: Session, argv: list[bytes]) -> object:
    """Extracts the key names from an arbitrary command."""
    return [key for key, _ in _keys(session, argv[2:])]


@command(
    "COMMAND|GETKEYSANDFLAGS",
    -3,
    "loading stale",
    since="7.0.0",
    complexity="O(N) where N is the number of arguments to the command",
    acl="@slow @connection",
)
def command_getkeysandflags(session: Session, argv: list[bytes]) -> object:
    """Extracts the key names and access flags for an arbitrary command."""
    return [[key, set(flags)] for key, flags in _keys(session, argv[2:])]


def _keys(session: Session, argv: list[bytes]) -> list[tuple[bytes, list[str]]]:
    """The keys of a request with what is done to them; raises CommandError."""
    try:
        found = _table(session).resolve(argv)
    except CommandError:
        raise CommandError("ERR Invalid command specified") from None
    if found.handler is None:
        raise CommandError("ERR Invalid command specified")
    if found.find_keys is None and found.keys[0] == 0:
        raise CommandError("ERR The command has no key arguments")
    if not has_arity(found, len(argv)):
        raise CommandError("ERR Invalid number of arguments specified for command")
    positions = found.key_positions(argv)
    if not positions and not found.bits & NO_MANDATORY_KEYS:
        raise CommandError("ERR Invalid arguments specified for command")
    return [(argv[at], _access(found)) for at in positions]


@command(
    "COMMAND|HELP", 2, "loading stale", since="5.0.0", complexity="O(1)", acl="@slow @connection"
)
def command_help(session: Session, argv: list[bytes]) -> object:
    """Returns helpful text about the different subcommands."""
    return help_text("COMMAND", _HELP)


# From records to replies --------------------------------------------------------------------------


def info(one: Command) -> list[object]:
    """The ten elements of COMMAND INFO. There are no tips: they are for proxies of clusters."""
    flags = [flag for flag in FLAGS if flag in one.flags and flag not in HIDDEN]
    first, last, step = one.keys
    return [
        one.name.encode(),
        one.arity,
        set(flags),
        first,
        last,
        step,
        set(one.acl),
        set(),
        key_specs(one),
        [info(child) for child in one.children()],
    ]


def key_specs(one: Command) -> list[object]:
    """Where the keys are, in Redis 7's terms: from (first, last, step), or unknown.

    Where only the command itself can tell (``movablekeys``), clients ask COMMAND GETKEYS.
    """
    first, last, step = one.keys
    specs: list[object] = []
    if first:
        last = last - first if last >= 0 else last
        specs.append(
            {
                b"flags": set(_access(one)),
                b"begin_search": {b"type": b"index", b"spec": {b"index": first}},
                b"find_keys": {
                    b"type": b"range",
                    b"spec": {b"lastkey": last, b"keystep": step, b"limit": 0},
                },
            }
        )
    if one.bits & MOVABLEKEYS:
        unknown = {b"type": b"unknown", b"spec": {}}
        specs.append(
            {
                b"flags": {*_access(one), "incomplete"},
                b"begin_search": unknown,
                b"find_keys": unknown,
            }
        )
    return specs


def _access(one: Command) -> list[str]:
    """What a command may do to its keys: the widest that its flags allow."""
    return ["RO", "access"] if one.bits & READONLY else ["RW", "access", "update"]


def docs(one: Command) -> dict[bytes, object]:
    """One command's entry of COMMAND DOCS; arguments are not described."""
    entry: dict[bytes, object] = {
        b"summary": summary(one).encode(),
        b"since": one.since.encode(),
        b"group": one.group.encode(),
    }
    if one.complexity:
        entry[b"complexity"] = one.complexity.encode()
    children = one.children()
    if children:
        entry[b"subcommands"] = {child.name.encode(): docs(child) for child in children}
    return entry


def summary(one: Command) -> str:
    """What a command does, in a sentence: the first of its function's docstring."""
    handler: Any = one.handler
    if one.summary or handler is None:
        return one.summary
    described = _docstrings(handler.__module__).get(handler.__name__, "")
    return described.split("\n\n")[0].replace("\n", " ")


@functools.cache
def _docstrings(module: str) -> dict[str, str]:
    """Docstrings by function. A compiled module has none, but its source lies beside it."""
    path = Path(sys.modules[module].__file__ or "")
    try:
        source = path.with_name(path.name.partition(".")[0] + ".py").read_text(encoding="utf-8")
    except OSError:
        return {}
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_docstring(node) or "" for node in functions}


def _table(session: Session) -> CommandTable:
    return session.engine.commands
