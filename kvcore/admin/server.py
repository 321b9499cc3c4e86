"""Commands about the server as a whole: its time, its role, its snapshots, its end."""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from kvcore.admin.memory import usage
from kvcore.codec.numbers import parse_int
from kvcore.command import Family, help_text
from kvcore.errors import NOT_AN_INTEGER, SYNTAX, CommandError, PersistenceError
from kvcore.persistence import Persistence
from kvcore.reply import Verbatim
from kvcore.session import Session
from kvcore.version import REDIS_VERSION, __version__

log = structlog.get_logger("kvcore")
command = Family("server")


@command("TIME", 1, "loading stale fast", since="2.6.0", complexity="O(1)")
def time_(session: Session, argv: list[bytes]) -> object:
    """Returns the server time."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


@command(
    "ROLE",
    1,
    "noscript loading stale fast",
    since="2.8.12",
    complexity="O(1)",
    acl="@admin @fast @dangerous",
)
def role(session: Session, argv: list[bytes]) -> object:
    """Returns the replication role."""
    return [b"master", 0, []]


@command("LOLWUT", -1, "readonly fast", since="5.0.0")
def lolwut(session: Session, argv: list[bytes]) -> object:
    """Displays computer art and the Redis version."""
    art = "  k\n  |\\   v\n  | \\ /    c o r e\n  |  '\n"
    return Verbatim(f"{art}Redis ver. {REDIS_VERSION} (kvcore {__version__})\n".encode())


# Snapshots: for policies that bring no commands of their own --------------------------------------


@command(
    "SAVE",
    1,
    "admin noscript no_async_loading no_multi",
    complexity="O(N) where N is the total number of keys in all databases",
)
def save(session: Session, argv: list[bytes]) -> object:
    """Synchronously saves the database(s) to disk."""
    instance = session.engine.instance
    persistence: Persistence = instance.persistence
    if type(persistence).snapshot is Persistence.snapshot:
        raise CommandError(_has_no(session, "snapshots"))
    try:
        persistence.snapshot(instance.view())
    except (PersistenceError, OSError) as error:
        log.error("SAVE failed", error=str(error))
        raise CommandError("ERR") from error
    instance.last_save = int(time.time())
    instance.dirty = 0
    return "OK"


@command("BGSAVE", -1, "admin noscript no_async_loading", complexity="O(1)")
def bgsave(session: Session, argv: list[bytes]) -> object:
    """Asynchronously saves the database(s) to disk."""
    raise CommandError(_has_no(session, "snapshots in the background"))


@command("BGREWRITEAOF", 1, "admin noscript no_async_loading", complexity="O(1)")
def bgrewriteaof(session: Session, argv: list[bytes]) -> object:
    """Asynchronously rewrites the append-only file to disk."""
    raise CommandError(_has_no(session, "append only file"))


@command(
    "LASTSAVE",
    1,
    "loading stale fast",
    complexity="O(1)",
    acl="@admin @fast @dangerous",
)
def lastsave(session: Session, argv: list[bytes]) -> object:
    """Returns the Unix timestamp of the last successful save to disk."""
    saved: int = session.engine.instance.last_save
    return saved


def _has_no(session: Session, what: str) -> str:
    return f"ERR persistence '{session.engine.instance.policy}' keeps no {what}"


# The end ------------------------------------------------------------------------------------------


@command(
    "SHUTDOWN",
    -1,
    "admin noscript loading stale no_multi allow_busy",
    complexity="O(N) when saving, where N is the total number of keys in all databases when "
    "saving data, otherwise O(1)",
)
def shutdown(session: Session, argv: list[bytes]) -> object:
    """Synchronously saves the database(s) to disk and shuts down the Redis server."""
    words = {word.upper() for word in argv[1:]}
    if words - {b"SAVE", b"NOSAVE", b"NOW", b"FORCE", b"ABORT"}:
        raise CommandError(SYNTAX)
    if words >= {b"SAVE", b"NOSAVE"} or (b"ABORT" in words and len(words) > 1):
        raise CommandError(SYNTAX)
    if b"ABORT" in words:
        # We wait for no replica, so a shutdown is over before another command can run.
        raise CommandError("ERR No shutdown in progress.")
    log.warning("User requested shutdown...")
    save = True if b"SAVE" in words else False if b"NOSAVE" in words else None
    _shut_down(session.engine.instance, save, b"FORCE" in words)
    session.closing = True
    session.silent = 1  # success is told by closing the connection
    return "OK"


def _shut_down(instance: Any, save: bool | None, force: bool) -> None:
    if instance.loading:
        # There is nothing to save. The thread that loads ends itself, and the server with it.
        instance.loader.abort.set()
        return
    try:
        instance.shutdown(save, force=force)
    except PersistenceError as error:
        log.error("Error trying to save the DB, can't exit", error=str(error))
        raise CommandError("ERR Errors trying to SHUTDOWN. Check logs.") from error
    if instance.on_shutdown is not None:
        instance.on_shutdown()


# Memory -------------------------------------------------------------------------------------------

command.container("MEMORY", since="4.0.0", summary="A container for memory diagnostics commands.")


@command(
    "MEMORY|USAGE",
    -3,
    "readonly",
    keys=(2, 2, 1),
    since="4.0.0",
    complexity="O(N) where N is the number of samples.",
)
def memory_usage(session: Session, argv: list[bytes]) -> object:
    """Estimates the memory usage of a key."""
    samples = 5
    options = argv[3:]
    while options:
        if options[0].upper() != b"SAMPLES" or len(options) == 1:
            raise CommandError(SYNTAX)
        count = parse_int(options[1])
        if count is None:
            raise CommandError(NOT_AN_INTEGER)
        if count < 0:
            raise CommandError(SYNTAX)
        samples = count
        options = options[2:]
    value = session.db.peek(argv[2])
    if value is None:
        return None
    return usage(argv[2]) + usage(value, samples)


@command("MEMORY|HELP", 2, "loading stale", since="4.0.0", complexity="O(1)")
def memory_help(session: Session, argv: list[bytes]) -> object:
    """Returns helpful text about the different subcommands."""
    return help_text("MEMORY", _MEMORY_HELP)


_MEMORY_HELP: Final = """
USAGE <key> [SAMPLES <count>]
    Return memory in bytes used by <key> and its value. Nested values are
    sampled up to <count> times (default: 5, 0 means sample all).
"""
