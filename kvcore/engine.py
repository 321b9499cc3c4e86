"""`Engine.call`: the one road of a command, and the commit that follows it.

The engine knows no data type and no policy: commands and types enter by hooks, the persistence by
its contract. Everything here runs in one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import structlog

from kvcore.command import NEEDS_DATA, PING, WRITE, Command, CommandTable, Context
from kvcore.commits import Batch
from kvcore.errors import CommandError, CorruptData
from kvcore.keyspace import Keyspace
from kvcore.persistence import Persistence

# Who may refuse writes: the policy itself, or the server (or embedded store) that it failed.
POLICY: Final = 0
SHELL: Final = 1

log = structlog.get_logger("kvcore")


class Engine:
    """Runs commands against a keyspace and hands their effects to the persistence.

    ``gate``       command bits that may not run now: WRITE while the disk fails (MISCONF),
                   NEEDS_DATA while data is loaded (LOADING)
    ``refusals``   why writes are refused: the policy's own word, and that of whoever noticed that
                   the policy failed; each is lifted by who gave it
    ``nested``     True inside EXEC: effects gather into one batch
    ``unflushed``  there were commits since the last flush
    ``untaken``    commits that the persistence could not take
    ``before`` / ``after``  frozen observers
    ``processed``  requests so far; ``errors`` counts error replies by their code
    ``received`` / ``sent``  bytes from and to all clients, in ``reads`` and ``writes`` pieces
    ``instance``   what opened this engine (see kvcore.instance); commands of kvcore.admin use it
    """

    keyspace: Keyspace
    commands: CommandTable
    table: dict[bytes, Command]
    persistence: Persistence | None
    gate: int
    refusals: list[str]
    nested: bool
    unflushed: bool
    untaken: list[Batch]
    before: tuple[Callable[..., None], ...]
    after: tuple[Callable[..., None], ...]
    processed: int
    errors: dict[str, int]
    received: int
    sent: int
    reads: int
    writes: int
    instance: Any

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.commands = CommandTable()
        self.table = self.commands.by_name
        self.persistence = None
        self.gate = 0
        self.refusals = ["", ""]
        self.nested = False
        self.unflushed = False
        self.untaken = []
        self.before = ()
        self.after = ()
        self.processed = 0
        self.errors = {}
        self.received = 0
        self.sent = 0
        self.reads = 0
        self.writes = 0
        self.instance = None

    def call(self, ctx: Context, command: Command, argv: list[bytes]) -> object:
        """Run one command that passed every check; returns its reply, an error as its value."""
        keyspace = self.keyspace
        dirty = keyspace.dirty
        command.calls += 1
        if self.before:
            for observer in self.before:
                observer(ctx, argv)
        try:
            reply = command.handler(ctx, argv)  # type: ignore[misc]
        except BaseException as error:
            reply = self.failed(ctx, command, argv, dirty, error)
        if keyspace.pending or (keyspace.journaling and keyspace.dirty != dirty):
            self.record(ctx, argv, dirty)
        return reply

    def record(self, ctx: Context, argv: list[bytes], dirty: int) -> None:
        """Gather the effects of a command that has run, and commit unless others follow.

        Also after an error: keys that expired on the way, or what a faulty command had changed
        before it failed, must reach the journals like any other effect.
        """
        keyspace = self.keyspace
        if keyspace.dirty > dirty and keyspace.journaling and not keyspace.replaced:
            keyspace.effects.append((ctx.db.index, argv))
        keyspace.replaced = False
        keyspace.pending = False
        if keyspace.unpacked or keyspace.crowded:
            keyspace.tidy()
        if not self.nested:
            self.commit()

    def failed(
        self, ctx: Context, command: Command, argv: list[bytes], dirty: int, error: BaseException
    ) -> CommandError:
        """The error reply for what a command raised. A bug must not take anybody else down."""
        command.failed += 1
        if isinstance(error, CommandError):
            reply = error
            reply.__traceback__ = None  # it would hold our frames, and one of those holds it
        elif isinstance(error, CorruptData):  # in a value that had lain packed (see kvcore.packed)
            reply = CommandError(f"ERR {error.why}")
        elif isinstance(error, Exception):
            reply = self.bug(argv, error)
        else:
            self.record(ctx, argv, dirty)
            raise error
        self.count_error(reply)
        return reply

    def bug(self, argv: list[bytes], error: Exception) -> CommandError:
        """What to answer, once it is logged, where a command failed that should not have."""
        log.error("A command failed unexpectedly", command=argv[0][:64], exc_info=error)
        reply = CommandError("ERR internal error, see the server's log")
        reply.__cause__ = error
        return reply

    def commit(self) -> None:
        """Give what changed since the last commit to the persistence, as one transaction."""
        keyspace = self.keyspace
        if not keyspace.effects and not keyspace.touched:
            return
        batch = Batch(keyspace.effects, keyspace.touched)
        keyspace.effects = []
        keyspace.touched = []
        if self.persistence is not None:
            self.unflushed = True
            if self.untaken:
                self.untaken.append(batch)
            else:
                try:
                    sink = self.persistence.sink
                    if sink is None:
                        self.persistence.append(batch)
                    else:
                        sink.append(batch)
                except Exception:
                    # `flush` tries again, and tells whoever waits for it. No reply leaves before.
                    self.untaken.append(batch)
        for observer in self.after:
            observer(batch)

    def flush(self) -> Future[None] | None:
        """Make the commits so far as durable as the policy promises (None: they are)."""
        if not self.unflushed or self.persistence is None:
            return None
        self.hand_over()
        durable = self.persistence.flush()
        self.unflushed = False  # after an error the next flush tries again
        return durable

    def hand_over(self) -> None:
        """Give the persistence what it has not taken yet, in order. What it raises passes through:
        then that commit and all behind it wait for the next call."""
        untaken = self.untaken
        while untaken and self.persistence is not None:
            self.persistence.append(untaken[0])
            del untaken[0]

    def count_error(self, error: CommandError) -> None:
        """An error reply was given (INFO errorstats)."""
        code = error.text.partition(" ")[0]
        self.errors[code] = self.errors.get(code, 0) + 1

    def attach(self, persistence: Persistence) -> None:
        """From now on effects go to this policy (after the load, so that nothing echoes)."""
        self.persistence = persistence
        self.keyspace.journaling = persistence.log == "commands" or bool(self.after)
        self.keyspace.tracking = persistence.log == "keys"

    def detach(self) -> None:
        """From now on nothing is journalled: data is being loaded."""
        self.persistence = None
        self.keyspace.journaling = False
        self.keyspace.tracking = False

    def refuse_writes(self, reason: str | None, by: int = POLICY) -> None:
        """Refuse writes and PING with this error text, as Redis does.

        None takes back what the same source (POLICY or SHELL) said; the other's word stays.
        """
        self.refusals[by] = reason or ""
        if self.refusal:
            self.gate |= WRITE | PING
        else:
            self.gate &= ~(WRITE | PING)

    @property
    def refusal(self) -> str:
        """The error text for writes that are refused; "" if they are allowed."""
        return self.refusals[POLICY] or self.refusals[SHELL]

    def loading(self, active: bool) -> None:
        """Refuse whatever needs the data while it is loaded."""
        if active:
            self.gate |= NEEDS_DATA
        else:
            self.gate &= ~NEEDS_DATA
