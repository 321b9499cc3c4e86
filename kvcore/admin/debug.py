"""DEBUG: what tests look at and turn on. Off unless ``enable-debug-command`` allows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from kvcore import digest
from kvcore.codec.glob import glob_match
from kvcore.codec.numbers import parse_float, parse_int
from kvcore.codec.rdb import Writer
from kvcore.command import Family, help_text
from kvcore.errors import NO_SUCH_KEY, NOT_AN_INTEGER, CommandError, CorruptData, PersistenceError
from kvcore.session import IS_LOADING, Session

command = Family("server")
log = structlog.get_logger("kvcore")

_MAX_STRING: Final = 512 * 1024 * 1024
_NOT_ALLOWED: Final = (
    'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you '
    "can run it from a local connection, otherwise you need to set this option in the "
    "configuration file, and then restart the server."
)


@command("DEBUG", -2, "admin noscript loading stale protected")
def debug(session: Session, argv: list[bytes]) -> object:
    """A container for debugging commands."""
    setting = str(session.engine.instance.config["enable-debug-command"])
    if setting != "yes" and not (setting == "local" and _is_local(session)):
        raise CommandError(_NOT_ALLOWED)
    handler, least, most = _SUBCOMMANDS.get(argv[1].upper(), (None, 0, 0))
    if handler is None or not least <= len(argv) - 2 <= most:
        shown = argv[1][:128].decode("latin-1")
        raise CommandError(
            f"ERR unknown subcommand or wrong number of arguments for '{shown}'. Try DEBUG HELP."
        )
    return handler(session, argv)


def _is_local(session: Session) -> bool:
    """Loopback, Unix socket, or embedded."""
    host = session.address.rpartition(":")[0]
    return host == "" or "/" in host or host == "::1" or host.startswith("127.")


def _digest(session: Session, argv: list[bytes]) -> object:
    return digest.of_keyspace(session.keyspace).hex()


def _digest_value(session: Session, argv: list[bytes]) -> object:
    db = session.db
    digests: list[object] = []
    for key in argv[2:]:
        value = db.peek(key)
        found = digest.ZERO if value is None else digest.of_value(db, key, value)
        digests.append(found.hex())
    return digests


def _object(session: Session, argv: list[bytes]) -> object:
    value = session.db.peek(argv[2])
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    datatype = session.keyspace.types.of(value)
    writer = Writer()
    datatype.save(value, writer)
    encoding = datatype.encoding(value, session.keyspace.limits)
    return (
        f"Value at:{id(value):#x} refcount:1 encoding:{encoding} "
        f"serializedlength:{writer.written} lru:0 lru_seconds_idle:0"
    )


def _sleep(session: Session, argv: list[bytes]) -> object:
    time.sleep(max(parse_float(argv[2]) or 0.0, 0.0))
    return "OK"


def _set_active_expire(session: Session, argv: list[bytes]) -> object:
    session.keyspace.active_expiry = bool(parse_int(argv[2]))
    return "OK"


def _reload(session: Session, argv: list[bytes]) -> object:
    options = {arg.upper() for arg in argv[2:]}
    if options - {b"MERGE", b"NOFLUSH", b"NOSAVE"}:
        raise CommandError("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    _load_again(
        session,
        "ERR Error trying to load the RDB dump, check server logs",
        save=b"NOSAVE" not in options,
        flush=b"NOFLUSH" not in options,
        merge=b"MERGE" in options,
    )
    return "OK"


def _loadaof(session: Session, argv: list[bytes]) -> object:
    instance = session.engine.instance
    if instance.persistence.log != "commands":
        raise CommandError(f"ERR persistence '{instance.policy}' keeps no log to load")
    _load_again(
        session,
        "ERR Error trying to load the AOF files, check server logs",
        save=False,
        flush=True,
        merge=False,
    )
    return "OK"


def _load_again(session: Session, failure: str, *, save: bool, flush: bool, merge: bool) -> None:
    instance = session.engine.instance
    if instance.loading:
        raise CommandError(IS_LOADING)
    try:
        instance.reload(save=save, flush=flush, merge=merge)
    except CorruptData as error:
        log.error("The data could not be loaded again", error=str(error))
        raise CommandError(failure) from error
    except (PersistenceError, OSError) as error:
        raise CommandError(f"ERR {error}") from error
    finally:
        # Loading is no change of the data, and no journal wants a DEBUG in it.
        session.keyspace.propagate(session.db.index)


def _restart(session: Session, argv: list[bytes]) -> object:
    """RESTART: as after SHUTDOWN. CRASH-AND-RECOVER: as after kill -9."""
    instance = session.engine.instance
    milliseconds = parse_int(argv[2]) if len(argv) > 2 else 0
    if milliseconds is None:
        raise CommandError(NOT_AN_INTEGER)
    try:
        if instance.on_restart is None:
            raise PersistenceError("an embedded store cannot be started again from within")
        if argv[1].upper() == b"RESTART":
            instance.shutdown()
    except PersistenceError as error:
        log.error("The server cannot be restarted", error=str(error))
        raise CommandError("ERR failed to restart the server. Check server logs.") from error
    instance.on_restart(max(0, milliseconds) / 1000)
    session.closing = True
    session.silent = 1  # the connection ends, which tells of it
    return "OK"


def _stringmatch_len(session: Session, argv: list[bytes]) -> object:
    size = parse_int(argv[2])
    if size is None or not 0 <= size <= _MAX_STRING:
        raise CommandError("ERR value is out of range")
    glob_match(argv[3], b"a" * size, nocase=True)
    return "OK"


def _help(session: Session, argv: list[bytes]) -> object:
    return help_text("DEBUG", _HELP)


_ANY: Final = 1 << 31

# name -> function, and how many arguments it takes at least and at most.
_SUBCOMMANDS: Final[dict[bytes, tuple[Callable[[Session, list[bytes]], object], int, int]]] = {
    b"CRASH-AND-RECOVER": (_restart, 0, 1),
    b"DIGEST": (_digest, 0, 0),
    b"DIGEST-VALUE": (_digest_value, 0, _ANY),
    b"HELP": (_help, 0, 0),
    b"LOADAOF": (_loadaof, 0, 0),
    b"OBJECT": (_object, 1, 1),
    b"RELOAD": (_reload, 0, _ANY),
    b"RESTART": (_restart, 0, 1),
    b"SET-ACTIVE-EXPIRE": (_set_active_expire, 1, 1),
    b"SLEEP": (_sleep, 1, 1),
    b"STRINGMATCH-LEN": (_stringmatch_len, 2, 2),
}

_HELP: Final = """
CRASH-AND-RECOVER [<milliseconds>]
    Crash the server and start it again after <milliseconds> delay.
DIGEST
    Output a hex signature representing the current DB content.
DIGEST-VALUE <key> [<key> ...]
    Output a hex signature of the values of all the specified keys.
LOADAOF
    Flush the AOF buffers on disk and reload the AOF in memory.
OBJECT <key>
    Show low level info about `key` and associated value.
RELOAD [option ...]
    Save the RDB on disk and reload it back to memory. Valid <option> values:
    * MERGE: conflicting keys will be loaded from RDB.
    * NOFLUSH: the existing database will not be removed before load, but
      conflicting keys will be refused.
    * NOSAVE: the database will be loaded from what is on disk already.
RESTART [<milliseconds>]
    Graceful restart: save, and start again after <milliseconds> delay.
SET-ACTIVE-EXPIRE <0|1>
    Setting it to 0 disables expiring keys in background when they are not
    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the
    default.
SLEEP <seconds>
    Stop the server for <seconds>. Decimals allowed.
STRINGMATCH-LEN <len> <pattern>
    Match <len> times the letter a with <pattern>, without regard to case.
"""
