"""What a command is: one decorated function and the record that describes it.

A family's ``commands.py`` starts with ``command = Family("string")`` and then holds one function
a command::

    @command("GET", 2, "readonly fast", keys=(1, 1, 1), since="1.0.0")
    def get(ctx: Context, argv: list[bytes]) -> object:
        "Get the value of a key."
        return text(lookup(ctx.db, argv[1]))

The function gets the context (selected database, keyspace, limits) and the request, and **returns
a plain value** (see ``kvcore.reply``); it raises `CommandError` **before** it changes anything.
After a change it calls ``ctx.db.changed(key, event)``: that is what marks the store dirty, wakes
WATCH and, by itself, puts ``argv`` into the journals. A command whose effect is not repeatable
names what replays instead: ``ctx.keyspace.propagate(ctx.db.index, [...])``.

Arity counts the command's name; negative means "at least". ``keys`` is Redis' (first, last, step).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from kvcore.codec.glob import Glob
from kvcore.codec.numbers import parse_float, parse_int
from kvcore.errors import NOT_A_FLOAT, NOT_AN_INTEGER, SYNTAX, CommandError
from kvcore.keyspace import Database, Keyspace

Handler = Callable[[Any, list[bytes]], object]

# Redis' command flags, as COMMAND INFO spells them, one bit each.
FLAGS: Final = {
    "write": 1 << 0,
    "readonly": 1 << 1,
    "denyoom": 1 << 2,
    "admin": 1 << 3,
    "pubsub": 1 << 4,
    "noscript": 1 << 5,
    "blocking": 1 << 6,
    "loading": 1 << 7,
    "stale": 1 << 8,
    "skip_monitor": 1 << 9,
    "skip_slowlog": 1 << 10,
    "asking": 1 << 11,
    "fast": 1 << 12,
    "no_auth": 1 << 13,
    "may_replicate": 1 << 14,
    "sentinel": 1 << 15,
    "only_sentinel": 1 << 16,
    "no_mandatory_keys": 1 << 17,
    "protected": 1 << 18,
    "no_async_loading": 1 << 19,
    "no_multi": 1 << 20,
    "movablekeys": 1 << 21,
    "allow_busy": 1 << 22,
    "module": 1 << 23,
}
WRITE: Final = 1 << 0
READONLY: Final = 1 << 1
DENYOOM: Final = 1 << 2
ADMIN: Final = 1 << 3
NOSCRIPT: Final = 1 << 5
LOADING: Final = 1 << 7
FAST: Final = 1 << 12
NO_AUTH: Final = 1 << 13
MAY_REPLICATE: Final = 1 << 14
NO_MULTI: Final = 1 << 20
MOVABLEKEYS: Final = 1 << 21
# Bits that exist so that "may this command run now?" is one AND with the gates of the engine and
# of the session: set on every command that the gate in question must stop.
NEEDS_AUTH: Final = 1 << 40
NEEDS_DATA: Final = 1 << 41
QUEUEABLE: Final = 1 << 42
PING: Final = 1 << 43


_UNBOUNDED: Final = 1 << 60  # as much as an int of compiled code holds unboxed, or less


class Command:
    """The record of one command (or of a subcommand, named ``PARENT|CHILD``).

    ``least`` and ``most`` bound the number of arguments that need no second look: a parent with
    children has none, so that whoever runs it asks `CommandTable.find`.
    """

    name: str
    handler: Handler | None
    arity: int
    least: int
    most: int
    bits: int
    flags: tuple[str, ...]
    keys: tuple[int, int, int]
    find_keys: Callable[[list[bytes]], list[int]] | None
    group: str
    since: str
    summary: str
    complexity: str
    acl: tuple[str, ...]
    subcommands: dict[bytes, Command]
    is_write: bool
    calls: int
    rejected: int
    failed: int

    def __init__(
        self,
        name: str,
        handler: Handler | None,
        arity: int,
        flags: tuple[str, ...],
        keys: tuple[int, int, int],
        group: str,
        *,
        since: str = "",
        summary: str = "",
        complexity: str = "",
        acl: tuple[str, ...] = (),
        find_keys: Callable[[list[bytes]], list[int]] | None = None,
    ) -> None:
        self.name = name
        self.handler = handler
        self.arity = arity
        self.least = abs(arity)
        self.most = arity if arity > 0 else _UNBOUNDED
        self.flags = flags
        self.keys = keys
        self.group = group
        self.since = since
        self.summary = summary
        self.complexity = complexity
        self.find_keys = find_keys
        self.subcommands = {}
        bits = 0
        for flag in flags:
            bits |= FLAGS[flag]
        if not bits & NO_AUTH:
            bits |= NEEDS_AUTH
        if not bits & LOADING:
            bits |= NEEDS_DATA
        if name not in ("exec", "discard", "multi", "watch", "quit", "reset"):
            bits |= QUEUEABLE
        if name == "ping":
            bits |= PING
        self.bits = bits
        self.is_write = bits & WRITE != 0
        self.acl = acl or acl_categories(group, bits)
        self.calls = 0
        self.rejected = 0
        self.failed = 0

    def fresh(self) -> Command:
        """The same command for another store: its own counters, no children yet."""
        return Command(
            self.name,
            self.handler,
            self.arity,
            self.flags,
            self.keys,
            self.group,
            since=self.since,
            summary=self.summary,
            complexity=self.complexity,
            acl=self.acl,
            find_keys=self.find_keys,
        )

    def key_positions(self, argv: list[bytes]) -> list[int]:
        """Indexes into ``argv`` that hold keys; empty if the command takes none."""
        if self.find_keys is not None:
            return self.find_keys(argv)
        first, last, step = self.keys
        if first == 0:
            return []
        if last < 0:
            last += len(argv)
        return list(range(first, min(last, len(argv) - 1) + 1, step))

    def children(self) -> list[Command]:
        """The subcommands, each once."""
        return list(dict.fromkeys(self.subcommands.values()))


def acl_categories(group: str, bits: int) -> tuple[str, ...]:
    """ACL categories that follow from flags and group, as Redis derives them."""
    names = {
        "generic": "keyspace",
        "string": "string",
        "list": "list",
        "hash": "hash",
        "set": "set",
        "sorted-set": "sortedset",
        "connection": "connection",
        "transactions": "transaction",
    }
    found = []
    if bits & WRITE:
        found.append("@write")
    if bits & READONLY and group not in ("scripting", "connection"):
        found.append("@read")
    if bits & ADMIN:
        found += ["@admin", "@dangerous"]
    if bits & FAST:
        found.append("@fast")
    else:
        found.append("@slow")
    if group in names:
        found.append("@" + names[group])
    return tuple(found)


class Family:
    """Collects the commands of one module: the decorator that makes a function a command."""

    group: str
    commands: list[Command]

    def __init__(self, group: str) -> None:
        self.group = group
        self.commands = []

    def container(self, name: str, *, since: str, summary: str, acl: str = "") -> None:
        """Declare a command that only holds others, such as CONFIG."""
        self.commands.append(
            Command(
                name.lower(),
                None,
                -2,
                (),
                (0, 0, 0),
                self.group,
                since=since,
                summary=summary,
                complexity="Depends on subcommand.",
                acl=tuple(acl.split()) or ("@slow",),
            )
        )

    def __call__(
        self,
        name: str,
        arity: int,
        flags: str = "",
        *,
        keys: tuple[int, int, int] = (0, 0, 0),
        since: str = "1.0.0",
        complexity: str = "",
        acl: str = "",
        find_keys: Callable[[list[bytes]], list[int]] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function as command ``name`` (``"CLIENT|ID"`` for a child)."""

        def declare(handler: Handler) -> Handler:
            doc = (getattr(handler, "__doc__", None) or "").strip()
            self.commands.append(
                Command(
                    name.lower(),
                    handler,
                    arity,
                    tuple(flags.split()),
                    keys,
                    self.group,
                    since=since,
                    summary=doc.split("\n\n")[0].replace("\n", " "),
                    complexity=complexity,
                    acl=tuple(acl.split()),
                    find_keys=find_keys,
                )
            )
            return handler

        return declare


class CommandTable:
    """Every command of a store, by name in both cases, parents with their children."""

    by_name: dict[bytes, Command]
    _all: dict[str, Command]

    def __init__(self) -> None:
        self.by_name = {}
        self._all = {}

    def add(self, commands: Iterable[Command]) -> None:
        """Add (or replace) commands; a child whose parent is unknown makes a bare parent."""
        for declared in commands:
            command = declared.fresh()
            parent_name, _, child = command.name.partition("|")
            if not child:
                before = self._all.get(command.name)
                if before is not None:
                    command.subcommands.update(before.subcommands)
                    if before.subcommands:
                        command.most = 0
                self._all[command.name] = command
                self.by_name[command.name.encode()] = command
                self.by_name[command.name.upper().encode()] = command
                continue
            parent = self._all.get(parent_name)
            if parent is None:
                parent = Command(parent_name, None, -2, (), (0, 0, 0), command.group)
                self.add([parent])
            parent.most = 0
            parent.subcommands[child.encode()] = command
            parent.subcommands[child.upper().encode()] = command

    def exchange(self, names: Iterable[str], commands: Iterable[Command]) -> None:
        """Take out the commands called ``names``, and add ``commands``.

        Who has queued one of the former runs what bears its name now, if anything does.
        """
        gone = [command for command in map(self._take_out, names) if command is not None]
        self.add(commands)
        for command in gone:
            now = self.named(command.name.encode())
            command.handler = _unknown if now is None else now.handler

    def _take_out(self, name: str) -> Command | None:
        parent, _, child = name.partition("|")
        if child:
            children = self._all[parent].subcommands if parent in self._all else {}
            children.pop(child.upper().encode(), None)
            return children.pop(child.encode(), None)
        self.by_name.pop(name.encode(), None)
        self.by_name.pop(name.upper().encode(), None)
        return self._all.pop(name, None)

    def find(self, argv: list[bytes]) -> Command:
        """As `resolve`, and it may be called with so many arguments."""
        command = self.resolve(argv)
        if not has_arity(command, len(argv)):
            raise CommandError(wrong_arity(command.name))
        return command

    def resolve(self, argv: list[bytes]) -> Command:
        """The command (or child) that ``argv`` calls; raises the CommandError of Redis."""
        command = self.by_name.get(argv[0])
        if command is None:
            command = self.by_name.get(argv[0].lower())
            if command is None:
                raise CommandError(unknown_command(argv))
        if command.subcommands and len(argv) > 1:
            child = command.subcommands.get(argv[1]) or command.subcommands.get(argv[1].lower())
            if child is not None:
                command = child
            elif command.handler is None:
                raise CommandError(unknown_subcommand(command.name, argv[1]))
        return command

    def named(self, name: bytes) -> Command | None:
        """A command by its full name, ``GET`` or ``config|get``; None if there is none."""
        parent, bar, child = name.lower().partition(b"|")
        command = self.by_name.get(parent)
        if command is None or not bar:
            return command
        return command.subcommands.get(child)

    def top_level(self) -> list[Command]:
        """Commands without their children, in the order they were added."""
        return list(self._all.values())

    def everything(self) -> list[Command]:
        """All commands, children behind their parents."""
        return [one for top in self._all.values() for one in (top, *top.children())]


def _unknown(ctx: Any, argv: list[bytes]) -> object:
    """A command that went with the plugin that brought it."""
    raise CommandError(unknown_command(argv))


def has_arity(command: Command, args: int) -> bool:
    """May the command be called with so many arguments (its name counts)?"""
    return args == command.arity if command.arity > 0 else args >= -command.arity


def wrong_arity(name: str) -> str:
    return f"ERR wrong number of arguments for '{name}' command"


def unknown_subcommand(parent: str, child: bytes) -> str:
    shown = child[:128].decode("latin-1")
    return f"ERR unknown subcommand '{shown}'. Try {parent.upper()} HELP."


def unknown_command(argv: list[bytes]) -> str:
    """Redis' text, with at most 128 bytes of the name and of the arguments."""
    shown = ""
    for arg in argv[1:]:
        if len(shown) >= 128:
            break
        shown += f"'{arg[: 128 - len(shown)].decode('latin-1')}' "
    name = argv[0][:128].decode("latin-1")
    return f"ERR unknown command '{name}', with args beginning with: {shown}"


def help_text(name: str, text: str) -> list[object]:
    """What ``name HELP`` answers: ``text`` line by line, framed as Redis frames it."""
    first = f"{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    return [first, *text.strip("\n").split("\n"), "HELP", "    Prints this help."]


class Context:
    """What a command sees of whoever calls it: the keyspace and the selected database."""

    keyspace: Keyspace
    db: Database

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.db = keyspace.databases[0]


def integer(arg: bytes, error: str = NOT_AN_INTEGER) -> int:
    """``arg`` as a signed 64-bit integer, strictly as Redis parses it."""
    value = parse_int(arg)
    if value is None:
        raise CommandError(error)
    return value


def number(arg: bytes, error: str = NOT_A_FLOAT) -> float:
    """``arg`` as a double, as Redis parses it (infinities allowed, NaN refused)."""
    value = parse_float(arg)
    if value is None:
        raise CommandError(error)
    return value


# strtoul's grammar: an empty cursor is 0, a negative one wraps around.
_CURSOR: Final = re.compile(rb"([+-]?)0*([0-9]{1,20})|")
_CURSOR_MAX: Final = (1 << 64) - 1


def scan_cursor(arg: bytes) -> int:
    """The cursor of SCAN, HSCAN, SSCAN and ZSCAN."""
    match = _CURSOR.fullmatch(arg)
    number = int(match[2] or b"0") if match is not None else -1
    if match is None or number > _CURSOR_MAX:
        raise CommandError("ERR invalid cursor")
    return -number & _CURSOR_MAX if match[1] == b"-" else number


class ScanOptions:
    """What follows the cursor of SCAN, HSCAN, SSCAN and ZSCAN: ``argv[first:]``.

    ``count``  COUNT: how many elements one step should look at
    ``glob``   MATCH; None where every name matches
    ``kind``   TYPE, in lower case, if `typed` allows it; "" without
    """

    count: int
    glob: Glob | None
    kind: str

    def __init__(self, argv: list[bytes], first: int, *, typed: bool = False) -> None:
        self.count = 10
        self.glob = None
        self.kind = ""
        for i in range(first, len(argv), 2):
            option = argv[i].upper()
            if i + 1 == len(argv):
                raise CommandError(SYNTAX)
            if option == b"COUNT":
                self.count = integer(argv[i + 1])
                if self.count < 1:
                    raise CommandError(SYNTAX)
            elif option == b"MATCH":
                self.glob = None if argv[i + 1] == b"*" else Glob(argv[i + 1])
            elif option == b"TYPE" and typed:
                self.kind = argv[i + 1].decode("latin-1").lower()
            else:
                raise CommandError(SYNTAX)
