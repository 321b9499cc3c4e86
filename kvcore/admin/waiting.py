"""WAITAOF: a client that wants to know its writes on the disk waits for that, and nobody else."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Final

from kvcore.codec.numbers import parse_int
from kvcore.command import Family, integer
from kvcore.errors import CommandError
from kvcore.reply import Later
from kvcore.session import Session

command = Family("generic")

NO_LOG: Final = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
_LONGEST_S: Final = 1e9


@command("WAITAOF", 4, "noscript", since="7.2.0", complexity="O(1)", acl="@slow @connection")
def waitaof(session: Session, argv: list[bytes]) -> object:
    """Blocks until all writes before it, of any client, are synced to the append-only file.

    There are no replicas, so whoever asks for some waits until the time is over.
    """
    wanted = integer(argv[1])
    if not 0 <= wanted <= 1:
        raise CommandError("ERR value is out of range, value must between 0 and 1")
    replicas = integer(argv[2])
    if replicas < 0:
        raise CommandError("ERR value is out of range, must be positive")
    seconds = _seconds(argv[3])
    persistence = session.engine.instance.persistence
    if not persistence.log:
        if wanted:
            raise CommandError(NO_LOG)
        done: Future[None] | None = Future()
    else:
        session.engine.hand_over()
        done = persistence.make_durable()

    def reply() -> object:
        return [int(done is None or _succeeded(done)), 0]

    if (replicas == 0 and (done is None or not wanted)) or session.engine.nested:
        return reply()
    return Later(None if replicas else done, seconds, reply)


def _succeeded(done: Future[None]) -> bool:
    """Whether it is done; raises CommandError if it failed."""
    if not done.done():
        return False
    error = done.exception()
    if error is None:
        return True
    raise CommandError(f"MISCONF Errors writing to the AOF file: {error}")


def _seconds(arg: bytes) -> float:
    milliseconds = parse_int(arg)
    if milliseconds is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if milliseconds < 0:
        raise CommandError("ERR timeout is negative")
    return min(milliseconds / 1000, _LONGEST_S)
