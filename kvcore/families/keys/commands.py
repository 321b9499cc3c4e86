"""The commands of keys whatever their type."""

from __future__ import annotations

import re
from typing import Final

from kvcore.codec.glob import Glob
from kvcore.command import Context, Family, ScanOptions, help_text, scan_cursor
from kvcore.errors import NO_SUCH_KEY, SYNTAX, CommandError
from kvcore.families.keys.databases import database
from kvcore.keyspace import Database

command = Family("generic")

SAME_OBJECT: Final = "ERR source and destination objects are the same"

_GLOB: Final = re.compile(rb"[*?\[\\]")

# Redis shares the objects of small integers and never counts references to them.
_SHARED_INTEGERS: Final = range(10000)
_SHARED_COUNT: Final = (1 << 31) - 1

_NO_LFU: Final = (
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "
    "when switching between policies at runtime LRU and LFU data will take some time to adjust."
)


# Deleting and asking --------------------------------------------------------------------------


@command("DEL", -2, "write", keys=(1, -1, 1), complexity="O(N)")
def del_(ctx: Context, argv: list[bytes]) -> object:
    """Deletes one or more keys."""
    delete = ctx.db.delete
    count = 0
    for i in range(1, len(argv)):
        if delete(argv[i]):
            count += 1
    return count


@command("UNLINK", -2, "write fast", keys=(1, -1, 1), since="4.0.0", complexity="O(1) for each key")
def unlink(ctx: Context, argv: list[bytes]) -> object:
    """Asynchronously deletes one or more keys."""
    return del_(ctx, argv)


@command("EXISTS", -2, "readonly fast", keys=(1, -1, 1), complexity="O(N)")
def exists(ctx: Context, argv: list[bytes]) -> object:
    """Determines whether one or more keys exist."""
    glance = ctx.db.glance
    count = 0
    for i in range(1, len(argv)):
        if glance(argv[i]) is not None:
            count += 1
    return count


@command("TOUCH", -2, "readonly fast", keys=(1, -1, 1), since="3.2.1", complexity="O(N)")
def touch(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of existing keys out of those specified after updating the time they
    were last accessed."""
    return exists(ctx, argv)


@command("TYPE", 2, "readonly fast", keys=(1, 1, 1), complexity="O(1)")
def type_(ctx: Context, argv: list[bytes]) -> object:
    """Determines the type of value stored at a key."""
    value = ctx.db.glance(argv[1])
    return "none" if value is None else ctx.keyspace.types.of(value).name


# Walking over the keys ------------------------------------------------------------------------


@command("KEYS", 2, "readonly", acl="@keyspace @read @slow @dangerous", complexity="O(N)")
def keys(ctx: Context, argv: list[bytes]) -> object:
    """Returns all key names that match a pattern."""
    db, pattern = ctx.db, argv[1]
    if _GLOB.search(pattern) is None:
        return [pattern] if _is_alive(db, pattern) else []
    prefix = pattern[:-1]
    if pattern[-1:] == b"*" and _GLOB.search(prefix) is None:
        found = [key for key in db.entries.keys() if key.startswith(prefix)]
    else:
        glob = Glob(pattern)
        found = [key for key in db.entries.keys() if glob.match(key)]
    return [key for key in found if not db.is_due(key)] if db.expires.count else found


def _is_alive(db: Database, key: bytes) -> bool:
    return db.entries.has(key) and not db.is_due(key)


@command("SCAN", -2, "readonly", since="2.8.0", complexity="O(1) for every call")
def scan(ctx: Context, argv: list[bytes]) -> object:
    """Iterates over the key names in the database."""
    cursor = scan_cursor(argv[1])
    options = ScanOptions(argv, 2, typed=True)
    db = ctx.db
    cursor, found = db.entries.scan(cursor)
    while cursor and len(found) < options.count:
        cursor, more = db.entries.scan(cursor)
        found += more
    if options.glob is not None:
        match = options.glob.match
        found = [key for key in found if match(key)]
    if options.kind:
        found = [key for key in found if _has_type(db, key, options.kind)]
    elif db.expires.count:
        found = [key for key in found if db.exists(key)]
    return [b"%d" % cursor, found]


def _has_type(db: Database, key: bytes, kind: str) -> bool:
    value = db.peek(key)
    return value is not None and db.keyspace.types.of(value).name == kind


@command("RANDOMKEY", 1, "readonly", complexity="O(1)")
def randomkey(ctx: Context, argv: list[bytes]) -> object:
    """Returns a random key name from the database."""
    return ctx.db.random_key()


# Renaming, copying, moving --------------------------------------------------------------------


def _put(db: Database, key: bytes, value: object, when: int) -> None:
    """Store a value, over whatever is there, with its expiry (-1: none)."""
    db.store(key, value)
    if when >= 0:
        db.expire_at(key, when)


def _rename(ctx: Context, argv: list[bytes], overwrite: bool) -> bool:
    db, source, target = ctx.db, argv[1], argv[2]
    value = db.movable(source)
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    if source == target:
        return overwrite
    if db.exists(target) and not overwrite:
        return False
    when = db.expiry(source)
    db.remove(source)
    _put(db, target, value, when)
    db.changed(source, "rename_from", 0)
    db.changed(target, "rename_to")
    return True


@command("RENAME", 3, "write", keys=(1, 2, 1), complexity="O(1)")
def rename(ctx: Context, argv: list[bytes]) -> object:
    """Renames a key and overwrites the destination."""
    _rename(ctx, argv, True)
    return "OK"


@command("RENAMENX", 3, "write fast", keys=(1, 2, 1), complexity="O(1)")
def renamenx(ctx: Context, argv: list[bytes]) -> object:
    """Renames a key only when the target key name doesn't exist."""
    return int(_rename(ctx, argv, False))


@command("COPY", -3, "write denyoom", keys=(1, 2, 1), since="6.2.0", complexity="O(N)")
def copy(ctx: Context, argv: list[bytes]) -> object:
    """Copies the value of a key to a new key."""
    source, target = argv[1], argv[2]
    into = ctx.db
    replace = False
    i = 3
    while i < len(argv):
        option = argv[i].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and i + 1 < len(argv):
            i += 1
            into = database(ctx, argv[i])
        else:
            raise CommandError(SYNTAX)
        i += 1
    if into is ctx.db and source == target:
        raise CommandError(SAME_OBJECT)
    value = ctx.db.glance(source)
    if value is None or (into.exists(target) and not replace):
        return 0
    twin = ctx.keyspace.types.of(value).copy(value)
    _put(into, target, twin, ctx.db.expiry(source))
    into.changed(target, "copy_to")
    return 1


@command("MOVE", 3, "write fast", keys=(1, 1, 1), complexity="O(1)")
def move(ctx: Context, argv: list[bytes]) -> object:
    """Moves a key to another database."""
    db, key = ctx.db, argv[1]
    into = database(ctx, argv[2])
    if into is db:
        raise CommandError(SAME_OBJECT)
    value = db.movable(key)
    if value is None or into.exists(key):
        return 0
    when = db.expiry(key)
    db.remove(key)
    _put(into, key, value, when)
    db.changed(key, "move_from", 0)
    into.changed(key, "move_to")
    return 1


# OBJECT ---------------------------------------------------------------------------------------


command.container("OBJECT", since="2.2.3", summary="A container for object introspection commands.")


@command("OBJECT|ENCODING", 3, "readonly", keys=(2, 2, 1), since="2.2.3", complexity="O(1)")
def object_encoding(ctx: Context, argv: list[bytes]) -> object:
    """Returns the internal encoding of a Redis object."""
    value = ctx.db.peek(argv[2])
    if value is None:
        return None
    return ctx.keyspace.types.of(value).encoding(value, ctx.keyspace.limits).encode()


@command("OBJECT|REFCOUNT", 3, "readonly", keys=(2, 2, 1), since="2.2.3", complexity="O(1)")
def object_refcount(ctx: Context, argv: list[bytes]) -> object:
    """Returns the reference count of a value of a key."""
    value = ctx.db.peek(argv[2])
    if value is None:
        return None
    datatype = ctx.keyspace.types.of(value)
    if datatype.encoding(value, ctx.keyspace.limits) == "int":
        number = int(value) if isinstance(value, (int, bytes)) else -1
        return _SHARED_COUNT if number in _SHARED_INTEGERS else 1
    return 1


@command("OBJECT|IDLETIME", 3, "readonly", keys=(2, 2, 1), since="2.2.3", complexity="O(1)")
def object_idletime(ctx: Context, argv: list[bytes]) -> object:
    """Returns the time since the last access to a Redis object.

    Access times are not kept: every key counts as just accessed.
    """
    return None if ctx.db.peek(argv[2]) is None else 0


@command("OBJECT|FREQ", 3, "readonly", keys=(2, 2, 1), since="4.0.0", complexity="O(1)")
def object_freq(ctx: Context, argv: list[bytes]) -> object:
    """Returns the logarithmic access frequency counter of a Redis object."""
    if ctx.db.peek(argv[2]) is None:
        return None
    raise CommandError(_NO_LFU)


@command("OBJECT|HELP", 2, "loading stale", since="6.2.0", acl="@keyspace @slow")
def object_help(ctx: Context, argv: list[bytes]) -> object:
    """Returns helpful text about the different subcommands."""
    return help_text("OBJECT", _OBJECT_HELP)


_OBJECT_HELP: Final = """
ENCODING <key>
    Return the kind of internal representation used in order to store the value
    associated with a <key>.
FREQ <key>
    Return the access frequency index of the <key>. The returned integer is
    proportional to the logarithm of the recent access frequency of the key.
IDLETIME <key>
    Return the idle time of the <key>, that is the approximated number of
    seconds elapsed since the last access to the key.
REFCOUNT <key>
    Return the number of references of the value associated with the specified
    <key>.
"""
