"""Commands about one's own connection: who is there, which protocol, which database."""

from __future__ import annotations

import hmac
from typing import Final

import structlog

from kvcore.admin.client import set_name
from kvcore.command import Context, Family, integer, wrong_arity
from kvcore.errors import SYNTAX, CommandError
from kvcore.session import Session
from kvcore.version import REDIS_VERSION

WRONG_PASSWORD: Final = "WRONGPASS invalid username-password pair or user is disabled."
NO_PASSWORD_SET: Final = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
HELLO_NEEDS_AUTH: Final = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
    "AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
    "protocol version at the same time"
)

log = structlog.get_logger("kvcore")
command = Family("connection")


@command("PING", -1, "fast", complexity="O(1)")
def ping(ctx: Context, argv: list[bytes]) -> object:
    """Returns the server's liveliness response."""
    if len(argv) > 2:
        raise CommandError(wrong_arity("ping"))
    return argv[1] if len(argv) == 2 else "PONG"


@command("ECHO", 2, "loading stale fast", complexity="O(1)")
def echo(ctx: Context, argv: list[bytes]) -> object:
    """Returns the given string."""
    return argv[1]


@command("SELECT", 2, "loading stale fast", complexity="O(1)")
def select(ctx: Context, argv: list[bytes]) -> object:
    """Changes the selected database."""
    index = integer(argv[1])
    if not 0 <= index < len(ctx.keyspace.databases):
        raise CommandError("ERR DB index is out of range")
    ctx.db = ctx.keyspace.databases[index]
    return "OK"


@command("QUIT", -1, "noscript loading stale fast no_auth allow_busy", complexity="O(1)")
def quit_(session: Session, argv: list[bytes]) -> object:
    """Closes the connection."""
    session.closing = True
    return "OK"


@command(
    "RESET", 1, "noscript loading stale fast no_auth allow_busy", since="6.2.0", complexity="O(1)"
)
def reset(session: Session, argv: list[bytes]) -> object:
    """Resets the connection."""
    session.reset(not session.engine.instance.config["requirepass"])
    return "RESET"


# Authentication -----------------------------------------------------------------------------------


@command(
    "AUTH",
    -2,
    "noscript loading stale fast no_auth allow_busy",
    complexity="O(N) where N is the number of passwords defined for the user",
)
def auth(session: Session, argv: list[bytes]) -> object:
    """Authenticates the connection."""
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    if len(argv) == 2 and not _password(session):
        raise CommandError(NO_PASSWORD_SET)
    log_in(session, argv[1] if len(argv) == 3 else b"default", argv[-1])
    return "OK"


def log_in(session: Session, user: bytes, password: bytes) -> None:
    """Authenticate as ``default``, the only user there is; raises WRONGPASS."""
    expected = _password(session)
    # Compared in constant time: how long a refusal takes tells nothing of the password. Without
    # a password the default user takes any.
    right = not expected or hmac.compare_digest(expected, password)
    if user != b"default" or not right:
        raise CommandError(WRONG_PASSWORD)
    session.authenticate(True)


def _password(session: Session) -> bytes:
    return str(session.engine.instance.config["requirepass"]).encode("utf-8", "surrogateescape")


@command(
    "HELLO",
    -1,
    "noscript loading stale fast no_auth allow_busy",
    since="6.0.0",
    complexity="O(1)",
)
def hello(session: Session, argv: list[bytes]) -> object:
    """Handshakes with the Redis server."""
    protocol = session.protocol
    if len(argv) > 1:
        protocol = integer(argv[1], "ERR Protocol version is not an integer or out of range")
        if protocol not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    credentials, name = _hello_options(argv)
    if credentials is not None:
        log_in(session, *credentials)
    if not session.authenticated:
        raise CommandError(HELLO_NEEDS_AUTH)
    if name is not None:
        set_name(session, name)
    session.protocol = protocol
    return {
        b"server": b"redis",
        b"version": REDIS_VERSION.encode(),
        b"proto": protocol,
        b"id": session.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


def _hello_options(argv: list[bytes]) -> tuple[tuple[bytes, bytes] | None, bytes | None]:
    credentials, name = None, None
    at = 2
    while at < len(argv):
        option = argv[at].upper()
        if option == b"AUTH" and at + 2 < len(argv):
            credentials = (argv[at + 1], argv[at + 2])
            at += 3
        elif option == b"SETNAME" and at + 1 < len(argv):
            name = argv[at + 1]
            at += 2
        else:
            shown = argv[at].decode("latin-1")
            raise CommandError(f"ERR Syntax error in HELLO option '{shown}'")
    return credentials, name
