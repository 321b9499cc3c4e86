"""MULTI, EXEC, DISCARD, WATCH, UNWATCH. The state is the session's."""

from __future__ import annotations

from kvcore.command import Family
from kvcore.errors import CommandError
from kvcore.reply import NIL_ARRAY
from kvcore.session import Session

command = Family("transactions")


@command("MULTI", 1, "noscript loading stale fast allow_busy", since="1.2.0", complexity="O(1)")
def multi(session: Session, argv: list[bytes]) -> object:
    """Starts a transaction."""
    session.multi()
    return "OK"


@command("EXEC", 1, "noscript loading stale skip_slowlog", since="1.2.0")
def exec_(session: Session, argv: list[bytes]) -> object:
    """Executes all commands in a transaction."""
    try:
        replies = session.exec()
    finally:
        session.keyspace.propagate(session.db.index)  # its commands are journalled, EXEC is not
    return NIL_ARRAY if replies is None else replies


@command("DISCARD", 1, "noscript loading stale fast allow_busy", since="2.0.0")
def discard(session: Session, argv: list[bytes]) -> object:
    """Discards a transaction."""
    if session.queue is None:
        raise CommandError("ERR DISCARD without MULTI")
    session.discard()
    return "OK"


@command(
    "WATCH",
    -2,
    "noscript loading stale fast allow_busy",
    keys=(1, -1, 1),
    since="2.2.0",
    complexity="O(1) for every key.",
)
def watch(session: Session, argv: list[bytes]) -> object:
    """Monitors changes to keys to determine the execution of a transaction."""
    if session.queue is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    for key in argv[1:]:
        session.watch(key)
    return "OK"


@command("UNWATCH", 1, "noscript loading stale fast allow_busy", since="2.2.0", complexity="O(1)")
def unwatch(session: Session, argv: list[bytes]) -> object:
    """Forgets about watched keys of a transaction."""
    session.unwatch()
    return "OK"
