"""One client's state, from bytes to bytes; no I/O.

`Session.receive` takes what a connection read and leaves encoded replies in ``out``; `execute` is
the same for a program that embeds the store: a request in, a plain value out. Whoever owns the
session flushes the engine before the replies leave (see kvcore.server and kvcore.store).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from kvcore.codec.output import Output
from kvcore.command import (
    NEEDS_AUTH,
    NEEDS_DATA,
    NO_MULTI,
    PING,
    QUEUEABLE,
    WRITE,
    Command,
    Context,
    has_arity,
    wrong_arity,
)
from kvcore.datatype import Value
from kvcore.engine import Engine
from kvcore.errors import CommandError
from kvcore.keyspace import Database, Watcher
from kvcore.reply import QUEUED, Later
from kvcore.resp import COMPILED, Parser, encode2, encode3
from kvcore.table import LARGE

NOAUTH: Final = "NOAUTH Authentication required."
IS_LOADING: Final = "LOADING Redis is loading the dataset in memory"
NOT_IN_MULTI: Final = "ERR Command not allowed inside a transaction"
# After so much of replies a client's further commands wait until that has left.
FULL: Final = 4 << 20 if COMPILED else 8192  # what ``len`` of an `Output` says
MANY: Final = 8  # requests at once, for which `Session._fetch` is worth its while
# What a web browser sends first that is made to talk to us (cross protocol scripting).
CROSS_PROTOCOL: Final = (b"post", b"host:")

log = structlog.get_logger("kvcore")


class Session(Context):
    """SELECT, AUTH, HELLO, MULTI and WATCH of one client.

    ``gate``     command bits that this session may not run right now (or must queue)
    ``queue``    commands since MULTI; None outside
    ``out``      encoded replies that wait for the flush
    ``waiting``  requests that wait for room in ``out``, or behind ``blocked``: call `receive` then
    ``blocked``  the reply that the client waits for: call `unblock` once it can be given
    ``closing``  close the connection once ``out`` is written
    ``silent``   how many replies are swallowed (CLIENT REPLY SKIP); -1: all (OFF)
    ``unsent``   bytes of replies that the transport still holds, as its owner knows
    """

    engine: Engine
    id: int
    name: bytes
    lib_name: bytes
    lib_ver: bytes
    user: str
    address: str
    local_address: str
    fd: int
    created: float
    last_active: float
    unix: bool
    command: Command | None
    protocol: int
    parser: Parser
    out: Output
    waiting: list[list[bytes]]
    blocked: Later | None
    gate: int
    queue: list[tuple[Command, list[bytes]]] | None
    queue_failed: bool
    queue_writes: bool
    watcher: Watcher
    watching: list[tuple[Database, bytes]]
    closing: bool
    silent: int
    no_evict: bool
    no_touch: bool
    kill: Callable[[], object]
    unsent: Callable[[], int]

    def __init__(self, engine: Engine, *, id: int = 0, authenticated: bool = True) -> None:
        super().__init__(engine.keyspace)
        self.engine = engine
        self.id = id
        self.address = ""
        self.local_address = ""
        self.fd = -1
        self.created = time.time()
        self.last_active = self.created
        self.unix = False
        self.command = None
        self.lib_name = b""
        self.lib_ver = b""
        self.parser = Parser()
        self.out = Output()
        self.waiting = []
        self.blocked = None
        self.watcher = Watcher()
        self.watching = []
        self.closing = False
        self.kill = _nothing
        self.unsent = _nothing
        self.gate = 0
        self.queue = None
        self.reset(authenticated)

    def reset(self, authenticated: bool) -> None:
        """RESET: as a new connection (but for its library), its queue and WATCHes gone."""
        self.discard()
        self.db = self.keyspace.databases[0]
        self.name = b""
        self.user = "default"
        self.protocol = 2
        self.silent = 0
        self.no_evict = False
        self.no_touch = False
        self.authenticate(authenticated)

    # From bytes to bytes ----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Run every command that ``data`` completes; their replies go to ``out``, in order.

        A client that asks for more than it takes waits: see ``waiting``.
        """
        parser = self.parser
        engine = self.engine
        engine.received += len(data)
        engine.reads += 1
        self.last_active = self.keyspace.tick() / 1000
        if self.blocked is not None:
            self.waiting += parser.feed(data)
            return
        if self.waiting:
            commands = self.waiting
            self.waiting = []
            self._run(commands + parser.feed(data))
        else:
            self._run(parser.feed(data))
        while parser.paused and not self.closing and not self.waiting and self.blocked is None:
            self._run(parser.feed(b""))
        if (
            parser.error is not None
            and not self.closing
            and not self.waiting
            and self.blocked is None
        ):
            self.out.write(b"-ERR " + parser.error.encode("latin-1") + b"\r\n")
            self.closing = True

    def _run(self, commands: list[list[bytes]]) -> None:
        """Run these and encode their replies.

        `answer` and `Engine.call` are spelled out for what passes every check: the two calls would
        cost a tenth of a request in the interpreter. Whatever is unusual takes `answer`'s long way.
        """
        out = self.out
        engine = self.engine
        keyspace = self.keyspace
        table = engine.table
        observed = bool(engine.before)
        engine.processed += len(commands)
        if COMPILED and len(commands) >= MANY:
            self._fetch(commands)
        for argv in commands:
            begin = out.length() if COMPILED else len(out)
            if begin > FULL:
                self.waiting.append(argv)
                engine.processed -= 1
                continue
            if self.closing:
                return
            command = table.get(argv[0])
            if (
                command is None
                or not command.least <= len(argv) <= command.most
                or command.bits & (engine.gate | self.gate)
                or observed
            ):
                reply = self._consider(argv)
            else:
                self.command = command
                dirty = keyspace.dirty
                command.calls += 1
                try:
                    reply = command.handler(self, argv)  # type: ignore[misc]
                except BaseException as error:
                    reply = engine.failed(self, command, argv, dirty, error)
                if keyspace.pending or (keyspace.journaling and keyspace.dirty != dirty):
                    engine.record(self, argv, dirty)
            if self.silent:
                self.silent -= self.silent > 0
                continue
            try:
                if self.protocol == 2:
                    encode2(reply, out)
                else:
                    encode3(reply, out)
            except Exception as error:
                out.cut(begin)
                if isinstance(reply, Later):
                    self._block(reply, commands, argv)
                    return
                encode2(engine.bug(argv, error), out)  # what a handler returned is no reply

    def _fetch(self, commands: list[list[bytes]]) -> None:
        """Look for the keys of these commands together, and for the members that they name of a
        large collection; one by one, each would wait for its memory. Changes nothing."""
        entries = self.db.entries
        if entries.count >= LARGE:
            entries.fetch([argv[1] for argv in commands if len(argv) > 1])
        if len(commands[0]) > 2:
            value = entries.get(commands[0][1])
            if isinstance(value, Value):
                value.fetch(commands)

    def _block(self, reply: Later, commands: list[list[bytes]], argv: list[bytes]) -> None:
        """The client waits for this reply to ``argv``, and what it sent behind it waits as well."""
        behind = 1
        while commands[behind - 1] is not argv:
            behind += 1
        self.waiting = commands[behind:]
        self.engine.processed -= len(self.waiting)
        self.blocked = reply

    def unblock(self) -> None:
        """Give the reply that the client waits for; `receive` goes on with what waits behind it."""
        later = self.blocked
        if later is None:
            return
        self.blocked = None
        try:
            reply = later.finish()
        except CommandError as error:
            self.engine.count_error(error)
            reply = error
        if self.protocol == 2:
            encode2(reply, self.out)
        else:
            encode3(reply, self.out)

    def take(self) -> list[bytes]:
        """The encoded replies so far, in pieces."""
        return self.out.take()

    # One command ------------------------------------------------------------------------------

    def execute(self, argv: list[bytes]) -> object:
        """Run (or queue) one command; returns its plain value, raises CommandError."""
        reply = self.answer(argv)
        if isinstance(reply, CommandError):
            raise reply
        return reply

    def answer(self, argv: list[bytes]) -> object:
        """As `execute`, but an error is returned, too."""
        engine = self.engine
        engine.processed += 1
        command = engine.table.get(argv[0])
        if (
            command is None
            or not command.least <= len(argv) <= command.most
            or command.bits & (engine.gate | self.gate)
        ):
            return self._consider(argv)
        self.command = command
        return engine.call(self, command, argv)

    def _consider(self, argv: list[bytes]) -> object:
        """`answer` where a second look is needed: a subcommand, a closed gate, a mistake."""
        engine = self.engine
        try:
            self.command = command = self._find(argv)
            stopped = command.bits & (engine.gate | self.gate)
            if stopped and self._stop(command, argv, stopped):
                return QUEUED
        except CommandError as error:
            engine.count_error(error)
            return error
        return engine.call(self, command, argv)

    def _find(self, argv: list[bytes]) -> Command:
        commands = self.engine.commands
        try:
            command = commands.resolve(argv)
            if not has_arity(command, len(argv)):
                command.rejected += 1
                raise CommandError(wrong_arity(command.name))
            return command
        except CommandError:
            if argv[0].lower() in CROSS_PROTOCOL:
                self._cut_off()
            if self.gate & NEEDS_AUTH:
                raise CommandError(NOAUTH) from None
            self.queue_failed = True
            raise

    def _cut_off(self) -> None:
        """A browser was made to talk to us: close without a word, before it comes to a command."""
        log.warning(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: "
            "commands to Redis. This is likely due to an attacker attempting to use Cross Protocol "
            "Scripting to compromise your Redis instance. Connection aborted.",
            client=self.address,
        )
        self.silent = 1
        self.closing = True

    def _stop(self, command: Command, argv: list[bytes], stopped: int) -> bool:
        """A gate is closed to this command: raise its error, or queue it (True)."""
        try:
            if stopped & NEEDS_AUTH:
                raise CommandError(NOAUTH)
            if stopped & NEEDS_DATA:
                raise CommandError(IS_LOADING)
            if stopped & (WRITE | PING):
                raise CommandError(self.engine.refusal)
            if command.bits & NO_MULTI:
                raise CommandError(NOT_IN_MULTI)
        except CommandError:
            command.rejected += 1
            self.queue_failed = True
            raise
        if self.queue is None:
            return False
        self.queue.append((command, argv))
        self.queue_writes = self.queue_writes or command.is_write
        return True

    @property
    def is_local(self) -> bool:
        """On this machine: a Unix socket, the loopback interface, or this process."""
        return self.unix or is_loopback(self.address.rpartition(":")[0])

    # Authentication ---------------------------------------------------------------------------

    @property
    def authenticated(self) -> bool:
        return not self.gate & NEEDS_AUTH

    def authenticate(self, yes: bool) -> None:
        """Open or close the gate; before AUTH the parser takes little."""
        self.gate = self.gate & ~NEEDS_AUTH if yes else self.gate | NEEDS_AUTH
        self.parser.authenticated = yes

    # Transactions -----------------------------------------------------------------------------

    def multi(self) -> None:
        if self.queue is not None:
            raise CommandError("ERR MULTI calls can not be nested")
        self.queue = []
        self.queue_failed = False
        self.queue_writes = False
        self.gate |= QUEUEABLE

    def discard(self) -> None:
        """Forget the queue and the WATCHes."""
        self.queue = None
        self.queue_failed = False
        self.queue_writes = False
        self.gate &= ~QUEUEABLE
        self.unwatch()

    def exec(self) -> list[object] | None:
        """Run the queue as one transaction; None if a watched key was touched.

        An error of one command is its reply and stops nothing, as in Redis.
        """
        engine = self.engine
        queue, failed, writes = self.queue, self.queue_failed, self.queue_writes
        if queue is None:
            raise CommandError("ERR EXEC without MULTI")
        broken = self.watcher.broken or self._watched_expired()
        self.discard()
        if failed:
            raise CommandError("EXECABORT Transaction discarded because of previous errors.")
        if writes and engine.gate & WRITE:
            raise CommandError(f"EXECABORT Transaction discarded because of: {engine.refusal}")
        if broken:
            return None
        replies: list[object] = []
        engine.nested = True
        try:
            for command, argv in queue:
                replies.append(engine.call(self, command, argv))
        finally:
            engine.nested = False
            engine.commit()
        return replies

    def watch(self, key: bytes) -> None:
        db = self.db
        if (db, key) in self.watching:
            return
        db.exists(key)  # an expired key counts as absent from now on
        self.watching.append((db, key))
        db.watched.setdefault(key, []).append(self.watcher)

    def unwatch(self) -> None:
        for db, key in self.watching:
            watchers = db.watched.get(key, [])
            watchers.remove(self.watcher)
            if not watchers:
                db.watched.pop(key, None)
        self.watching = []
        self.watcher.broken = False

    def _watched_expired(self) -> bool:
        for db, key in self.watching:
            if db.expires.count and db.is_due(key):
                return True
        return False

    def close(self) -> None:
        """The client is gone, and so is what it was connected by."""
        self.blocked = None
        self.waiting = []
        self.discard()
        self.kill = self.unsent = _nothing


def size_of(pieces: list[bytes]) -> int:
    """Bytes of all pieces together."""
    return sum(map(len, pieces))


def is_loopback(host: str) -> bool:
    """Is this address (no name) one of this machine alone? An embedded session has none."""
    host = host.strip("[]").removeprefix("::ffff:")
    return host in ("", "::1") or host.startswith("127.")


def _nothing() -> int:
    return 0
