"""CLIENT: the connections of the server, one's own and the others'."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from kvcore.codec.numbers import parse_int
from kvcore.command import Family, help_text
from kvcore.errors import SYNTAX, CommandError
from kvcore.reply import Verbatim
from kvcore.session import Session

TYPES: Final = (b"normal", b"master", b"slave", b"replica", b"pubsub")
"""What TYPE takes. Every client is a normal one: there is no replication and no pub/sub."""

_HELP: Final = """
GETNAME
    Return the name of the current connection.
ID
    Return the ID of the current connection.
INFO
    Return information about the current client connection.
KILL <ip:port>
    Kill connection made from <ip:port>.
KILL <option> <value> [<option> <value> [...]]
    Kill connections. Options are:
    * ADDR (<ip:port>|<unixsocket>:0)
      Kill connections made from the specified address
    * LADDR (<ip:port>|<unixsocket>:0)
      Kill connections made to specified local address
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Kill connections by type.
    * USER <username>
      Kill connections authenticated by <username>.
    * SKIPME (YES|NO)
      Skip killing current connection (default: yes).
    * ID <client-id>
      Kill the connection with that ID.
LIST [options ...]
    Return information about client connections. Options:
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Return clients of specified type.
    * ID <client-id> [<client-id> [...]]
      Return the clients with these IDs.
NO-EVICT (ON|OFF)
    Protect current client connection from eviction.
NO-TOUCH (ON|OFF)
    Will not touch LRU/LFU stats when this mode is on.
REPLY (ON|OFF|SKIP)
    Control the replies sent to the current connection.
SETINFO (LIB-NAME|LIB-VER) <value>
    Tell which library and which version of it uses the connection.
SETNAME <name>
    Assign the name <name> to the current connection.
"""

command = Family("connection")
command.container("CLIENT", since="2.4.0", summary="A container for client connection commands.")


# One's own connection -----------------------------------------------------------------------------


@command("CLIENT|ID", 2, "noscript loading stale", since="5.0.0", complexity="O(1)")
def client_id(session: Session, argv: list[bytes]) -> object:
    """Returns the unique client ID of the connection."""
    return session.id


@command("CLIENT|GETNAME", 2, "noscript loading stale", since="2.6.9", complexity="O(1)")
def client_getname(session: Session, argv: list[bytes]) -> object:
    """Returns the name of the connection."""
    return session.name or None


@command("CLIENT|SETNAME", 3, "noscript loading stale", since="2.6.9", complexity="O(1)")
def client_setname(session: Session, argv: list[bytes]) -> object:
    """Sets the connection name."""
    set_name(session, argv[2])
    return "OK"


def set_name(session: Session, name: bytes) -> None:
    """CLIENT SETNAME, also as HELLO's option; an empty name takes it away."""
    session.name = _printable(name, "Client names")


def _printable(value: bytes, what: str) -> bytes:
    # It is printed in CLIENT LIST, where blanks and newlines separate.
    for byte in value:
        if not 33 <= byte <= 126:
            raise CommandError(f"ERR {what} cannot contain spaces, newlines or special characters.")
    return value


@command("CLIENT|SETINFO", 4, "noscript loading stale", since="7.2.0", complexity="O(1)")
def client_setinfo(session: Session, argv: list[bytes]) -> object:
    """Sets information specific to the client or connection."""
    shown = argv[2].decode("latin-1")
    option = argv[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(f"ERR Unrecognized option '{shown}'")
    value = _printable(argv[3], shown)
    if option == b"lib-name":
        session.lib_name = value
    else:
        session.lib_ver = value
    return "OK"


@command("CLIENT|INFO", 2, "noscript loading stale", since="6.2.0", complexity="O(1)")
def client_info(session: Session, argv: list[bytes]) -> object:
    """Returns information about the connection."""
    return Verbatim(describe(session) + b"\n")


@command("CLIENT|REPLY", 3, "noscript loading stale", since="3.2.0", complexity="O(1)")
def client_reply(session: Session, argv: list[bytes]) -> object:
    """Instructs the server whether to reply to commands."""
    mode = argv[2].upper()
    if mode == b"ON":
        session.silent = 0
    elif mode == b"OFF":
        session.silent = -1
    elif mode == b"SKIP":
        session.silent = 2  # this reply and the next
    else:
        raise CommandError(SYNTAX)
    return "OK"


@command("CLIENT|NO-EVICT", 3, "admin noscript loading stale", since="7.0.0", complexity="O(1)")
def client_no_evict(session: Session, argv: list[bytes]) -> object:
    """Sets the client eviction mode of the connection."""
    session.no_evict = _on_or_off(argv[2])
    return "OK"


@command("CLIENT|NO-TOUCH", 3, "noscript loading stale", since="7.2.0", complexity="O(1)")
def client_no_touch(session: Session, argv: list[bytes]) -> object:
    """Controls whether commands sent by the client affect the LRU/LFU of accessed keys."""
    session.no_touch = _on_or_off(argv[2])
    return "OK"


def _on_or_off(arg: bytes) -> bool:
    word = arg.upper()
    if word not in (b"ON", b"OFF"):
        raise CommandError(SYNTAX)
    return word == b"ON"


# All connections ----------------------------------------------------------------------------------


@command(
    "CLIENT|LIST",
    -2,
    "admin noscript loading stale",
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
)
def client_list(session: Session, argv: list[bytes]) -> object:
    """Lists open connections."""
    chosen = _listed(session.engine.instance.clients, argv)
    return Verbatim(b"".join([describe(one) + b"\n" for one in chosen]))


def _listed(clients: dict[int, Session], argv: list[bytes]) -> Iterable[Session]:
    """The clients that CLIENT LIST is asked for."""
    option = argv[2].upper() if len(argv) > 2 else b""
    if len(argv) == 2:
        return clients.values()
    if option == b"TYPE" and len(argv) == 4:
        return clients.values() if _type(argv[3]) == b"normal" else ()
    if option == b"ID" and len(argv) > 3:
        return _by_id(clients, argv[3:])
    raise CommandError(SYNTAX)


def _by_id(clients: dict[int, Session], args: list[bytes]) -> list[Session]:
    ids = [parse_int(arg) for arg in args]
    if None in ids:
        raise CommandError("ERR Invalid client ID")
    return [clients[one] for one in ids if one in clients]


def _type(arg: bytes) -> bytes:
    kind = arg.lower()
    if kind not in TYPES:
        raise CommandError(f"ERR Unknown client type '{arg.decode('latin-1')}'")
    return kind


def describe(session: Session) -> bytes:
    """One line of CLIENT LIST: Redis' fields in Redis' order."""
    now = time.time()
    running = session.command
    queued = session.queue
    waiting, unsent = session.out.size, session.unsent()
    multi_mem = sum(sum(map(len, argv)) for _, argv in queued or ())
    received = session.parser.buffered()
    facts = (
        f"id={session.id} addr={session.address} laddr={session.local_address} "
        f"fd={session.fd} name={session.name.decode('latin-1')} "
        f"age={int(now - session.created)} idle={max(0, int(now - session.last_active))} "
        f"flags={_flags(session)} db={session.db.index} sub=0 psub=0 ssub=0 "
        f"multi={-1 if queued is None else len(queued)} qbuf={received} qbuf-free=0 "
        f"argv-mem=0 multi-mem={multi_mem} rbs=0 rbp=0 "
        f"obl={waiting} oll=0 omem={unsent} tot-mem={received + multi_mem + waiting + unsent} "
        f"events={'rw' if unsent else 'r'} cmd={running.name if running else 'NULL'} "
        f"user={session.user} redir=-1 resp={session.protocol} "
        f"lib-name={session.lib_name.decode('latin-1')} "
        f"lib-ver={session.lib_ver.decode('latin-1')}"
    )
    return facts.encode("utf-8", "surrogateescape")


def _flags(session: Session) -> str:
    letters = [
        ("x", session.queue is not None),
        ("d", session.watcher.broken),
        ("c", session.closing),
        ("U", session.unix),
        ("e", session.no_evict),
        ("T", session.no_touch),
    ]
    return "".join([letter for letter, yes in letters if yes]) or "N"


# Killing ------------------------------------------------------------------------------------------


class Filter:
    """What CLIENT KILL's options ask for; None: anything."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.kind: bytes | None = None
        self.address: str | None = None
        self.local_address: str | None = None
        self.user: str | None = None
        self.skip_me = True

    def matches(self, session: Session) -> bool:
        return (
            self.id in (None, session.id)
            and self.kind in (None, b"normal")
            and self.address in (None, session.address)
            and self.local_address in (None, session.local_address)
            and self.user in (None, session.user)
        )


@command(
    "CLIENT|KILL",
    -3,
    "admin noscript loading stale",
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
)
def client_kill(session: Session, argv: list[bytes]) -> object:
    """Terminates open connections."""
    old_form = len(argv) == 3
    wanted = Filter()
    if old_form:
        wanted.address = argv[2].decode("latin-1")
        wanted.skip_me = False
    else:
        _read_filter(wanted, argv)
    clients: dict[int, Session] = session.engine.instance.clients
    victims = [one for one in list(clients.values()) if wanted.matches(one)]
    if wanted.skip_me and session in victims:
        victims.remove(session)
    for victim in victims:
        if victim is session:
            victim.closing = True  # once it has its reply
        else:
            victim.kill()
    if old_form and not victims:
        raise CommandError("ERR No such client")
    return "OK" if old_form else len(victims)


def _read_filter(wanted: Filter, argv: list[bytes]) -> None:
    if len(argv) % 2:
        raise CommandError(SYNTAX)
    for option, value in zip(argv[2::2], argv[3::2]):
        option = option.upper()
        text = value.decode("latin-1")
        if option == b"ID":
            wanted.id = parse_int(value)
            if wanted.id is None or wanted.id < 1:
                raise CommandError("ERR client-id should be greater than 0")
        elif option == b"TYPE":
            wanted.kind = _type(value)
        elif option == b"ADDR":
            wanted.address = text
        elif option == b"LADDR":
            wanted.local_address = text
        elif option == b"USER":
            if text != "default":
                raise CommandError(f"ERR No such user '{text}'")
            wanted.user = text
        elif option == b"SKIPME" and value.lower() in (b"yes", b"no"):
            wanted.skip_me = value.lower() == b"yes"
        else:
            raise CommandError(SYNTAX)


@command("CLIENT|HELP", 2, "loading stale", since="5.0.0", complexity="O(1)")
def client_help(session: Session, argv: list[bytes]) -> object:
    """Returns helpful text about the different subcommands."""
    return help_text("CLIENT", _HELP)
