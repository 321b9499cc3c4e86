"""The commands of strings."""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import long_double_add, parse_int
from kvcore.command import Context, Family, integer
from kvcore.errors import NOT_AN_INTEGER, OVERFLOW, SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.strings.value import find_text, text
from kvcore.keyspace import Database

command = Family("string")

INT64_MAX: Final = (1 << 63) - 1
INT64_MIN: Final = -(1 << 63)
_AMPLE: Final = 1 << 61  # compiled, integers below are compared in a register
MAX_BULK: Final = 512 * 1024 * 1024
TOO_LONG: Final = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

# What SET and GETEX may say of expiry: option -> (unit in ms, is it absolute).
_EXPIRY_OPTIONS: Final = {
    b"EX": (1000, False),
    b"PX": (1, False),
    b"EXAT": (1000, True),
    b"PXAT": (1, True),
}


def expiry_ms(ctx: Context, arg: bytes, unit: int, absolute: bool, name: str) -> int:
    """An expiry argument as Unix milliseconds; ``unit`` in ms. Raises as Redis does."""
    value = integer(arg)
    limit = INT64_MAX // unit
    if value <= 0 or value > limit:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    when = value * unit
    if not absolute:
        if when > INT64_MAX - ctx.keyspace.now:
            raise CommandError(f"ERR invalid expire time in '{name}' command")
        when += ctx.keyspace.now
    return when


def store(ctx: Context, key: bytes, value: bytes, when: int) -> None:
    """SET with an expiry in Unix ms; replays as an absolute one."""
    db = ctx.db
    db.set(key, value)
    db.expire_at(key, when)
    db.changed(key, "set")
    ctx.keyspace.tell(db.index, "expire", key)
    ctx.keyspace.propagate(db.index, [b"SET", key, value, b"PXAT", b"%d" % when])


@command("GET", 2, "readonly fast", keys=(1, 1, 1), complexity="O(1)")
def get(ctx: Context, argv: list[bytes]) -> object:
    """Returns the string value of a key."""
    value = ctx.db.lookup(argv[1])
    if value is None or isinstance(value, bytes):
        return value
    return text(value)


@command("SET", -3, "write denyoom", keys=(1, 1, 1), complexity="O(1)")
def set_(ctx: Context, argv: list[bytes]) -> object:
    """Sets the string value of a key, ignoring its type. The key is created if it doesn't exist."""
    db = ctx.db
    key = argv[1]
    if len(argv) == 3:
        db.set(key, argv[2])
        db.changed(key, "set")
        return "OK"
    return _set_with_options(ctx, argv)


def _set_with_options(ctx: Context, argv: list[bytes]) -> object:
    db, key, value = ctx.db, argv[1], argv[2]
    condition = b""
    keep = give = False
    expiry: bytes | None = None
    unit, absolute = 0, False
    i = 3
    while i < len(argv):
        option = argv[i].upper()
        if option in (b"NX", b"XX") and condition in (b"", option):
            condition = option
        elif option == b"GET":
            give = True
        elif option == b"KEEPTTL" and expiry is None:
            keep = True
        elif option in _EXPIRY_OPTIONS and not keep and expiry is None and i + 1 < len(argv):
            unit, absolute = _EXPIRY_OPTIONS[option]
            i += 1
            expiry = argv[i]
        else:
            raise CommandError(SYNTAX)
        i += 1
    when = -1 if expiry is None else expiry_ms(ctx, expiry, unit, absolute, "set")
    before = find_text(db, key) if give else None
    if condition and db.exists(key) == (condition == b"NX"):
        return before
    if when >= 0:
        store(ctx, key, value, when)
    else:
        if keep:
            db.exists(key)  # an expiry that is due is no expiry to keep
            db.put(key, value)
        else:
            db.set(key, value)
        db.changed(key, "set")
        ctx.keyspace.propagate(
            db.index, [b"SET", key, value, b"KEEPTTL"] if keep else [b"SET", key, value]
        )
    return before if give else "OK"


@command("SETNX", 3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1)")
def setnx(ctx: Context, argv: list[bytes]) -> object:
    """Set the string value of a key only when the key doesn't exist."""
    if ctx.db.exists(argv[1]):
        return 0
    ctx.db.set(argv[1], argv[2])
    ctx.db.changed(argv[1], "set")
    return 1


@command("SETEX", 4, "write denyoom", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def setex(ctx: Context, argv: list[bytes]) -> object:
    """Sets the string value and expiration time of a key. Creates the key if it doesn't exist."""
    store(ctx, argv[1], argv[3], expiry_ms(ctx, argv[2], 1000, False, "setex"))
    return "OK"


@command("PSETEX", 4, "write denyoom", keys=(1, 1, 1), since="2.6.0", complexity="O(1)")
def psetex(ctx: Context, argv: list[bytes]) -> object:
    """Sets both string value and expiration time in milliseconds of a key."""
    store(ctx, argv[1], argv[3], expiry_ms(ctx, argv[2], 1, False, "psetex"))
    return "OK"


@command("GETSET", 3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1)")
def getset(ctx: Context, argv: list[bytes]) -> object:
    """Returns the previous string value of a key after setting it to a new value."""
    before = ctx.db.lookup(argv[1])
    reply = None if before is None else text(before)
    ctx.db.set(argv[1], argv[2])
    ctx.db.changed(argv[1], "set")
    ctx.keyspace.propagate(ctx.db.index, [b"SET", argv[1], argv[2]])
    return reply


@command("GETDEL", 2, "write fast", keys=(1, 1, 1), since="6.2.0", complexity="O(1)")
def getdel(ctx: Context, argv: list[bytes]) -> object:
    """Returns the string value of a key after deleting the key."""
    value = ctx.db.lookup(argv[1])
    if value is None:
        return None
    reply = text(value)
    ctx.db.delete(argv[1])
    ctx.keyspace.propagate(ctx.db.index, [b"DEL", argv[1]])
    return reply


@command("GETEX", -2, "write fast", keys=(1, 1, 1), since="6.2.0", complexity="O(1)")
def getex(ctx: Context, argv: list[bytes]) -> object:
    """Returns the string value of a key after setting its expiration time."""
    db, key = ctx.db, argv[1]
    when = -1
    persist = False
    if len(argv) == 3 and argv[2].upper() == b"PERSIST":
        persist = True
    elif len(argv) == 4 and argv[2].upper() in _EXPIRY_OPTIONS:
        unit, absolute = _EXPIRY_OPTIONS[argv[2].upper()]
    elif len(argv) != 2:
        raise CommandError(SYNTAX)
    value = db.lookup(key)
    if value is None:
        return None
    reply = text(value)
    if len(argv) == 4:
        when = expiry_ms(ctx, argv[3], unit, absolute, "getex")
        if absolute and when <= ctx.keyspace.now and ctx.keyspace.expiring:
            db.delete(key)
            ctx.keyspace.propagate(db.index, [b"DEL", key])
        else:
            db.expire_at(key, when)
            db.changed(key, "expire")
            ctx.keyspace.propagate(db.index, [b"PEXPIREAT", key, b"%d" % when])
    elif persist and db.persist(key):
        db.changed(key, "persist")
        ctx.keyspace.propagate(db.index, [b"PERSIST", key])
    return reply


@command("APPEND", 3, "write denyoom fast", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def append(ctx: Context, argv: list[bytes]) -> object:
    """Appends a string to the value of a key. Creates the key if it doesn't exist."""
    db, key, tail = ctx.db, argv[1], argv[2]
    value = db.find(key)
    if value is None:
        db.set(key, tail)
        db.changed(key, "append")
        return len(tail)
    if not isinstance(value, bytearray):
        value = bytearray(text(value))
    if len(value) + len(tail) > MAX_BULK:
        raise CommandError(TOO_LONG)
    value += tail
    db.put(key, value)
    db.changed(key, "append")
    return len(value)


@command("STRLEN", 2, "readonly fast", keys=(1, 1, 1), since="2.2.0", complexity="O(1)")
def strlen(ctx: Context, argv: list[bytes]) -> object:
    """Returns the length of a string value."""
    value = ctx.db.lookup(argv[1])
    return 0 if value is None else len(text(value))


@command("SETRANGE", 4, "write denyoom", keys=(1, 1, 1), since="2.2.0", complexity="O(1)")
def setrange(ctx: Context, argv: list[bytes]) -> object:
    """Overwrites a part of a string value with another by an offset, creating it if needed."""
    db, key, part = ctx.db, argv[1], argv[3]
    offset = integer(argv[2])
    if offset < 0:
        raise CommandError("ERR offset is out of range")
    value = db.find(key)
    before = b"" if value is None else value if isinstance(value, bytearray) else text(value)
    if not part:
        return len(before)
    if offset + len(part) > MAX_BULK:
        raise CommandError(TOO_LONG)
    grown = before if isinstance(before, bytearray) else bytearray(before)
    if offset > len(grown):
        grown += bytes(offset - len(grown))
    grown[offset : offset + len(part)] = part
    db.put(key, grown)
    db.changed(key, "setrange")
    return len(grown)


@command("GETRANGE", 4, "readonly", keys=(1, 1, 1), since="2.4.0", complexity="O(N)")
def getrange(ctx: Context, argv: list[bytes]) -> object:
    """Returns a substring of the string stored at a key."""
    start, end = integer(argv[2]), integer(argv[3])
    value = ctx.db.lookup(argv[1])
    if value is None:
        return b""
    data = text(value)
    size = len(data)
    if start < 0 and end < 0 and start > end:
        return b""
    start = max(start + size, 0) if start < 0 else start
    end = max(end + size, 0) if end < 0 else end
    # Compiled by mypyc, a slice of bytes that ends before it starts is a SystemError.
    return data[start : end + 1] if start <= end else b""


@command("SUBSTR", 4, "readonly", keys=(1, 1, 1), complexity="O(N)")
def substr(ctx: Context, argv: list[bytes]) -> object:
    """Returns a substring from a string value."""
    return getrange(ctx, argv)


def _increment(ctx: Context, key: bytes, by: int) -> int:
    db = ctx.db
    value = db.find(key)
    if isinstance(value, int):
        total = value
    elif value is None:
        total = 0
    elif isinstance(value, (bytes, bytearray)):
        parsed = parse_int(bytes(value))
        if parsed is None:
            raise CommandError(NOT_AN_INTEGER)
        total = parsed
    else:
        raise CommandError(WRONG_TYPE)
    total += by
    if not -_AMPLE < total < _AMPLE and not INT64_MIN <= total <= INT64_MAX:
        raise CommandError(OVERFLOW)
    db.put(key, total)
    db.changed(key, "incrby")
    return total


@command("INCR", 2, "write denyoom fast", keys=(1, 1, 1), complexity="O(1)")
def incr(ctx: Context, argv: list[bytes]) -> object:
    """Increments the integer value of a key by one. Uses 0 as initial value if absent."""
    return _increment(ctx, argv[1], 1)


@command("DECR", 2, "write denyoom fast", keys=(1, 1, 1), complexity="O(1)")
def decr(ctx: Context, argv: list[bytes]) -> object:
    """Decrements the integer value of a key by one. Uses 0 as initial value if absent."""
    return _increment(ctx, argv[1], -1)


@command("INCRBY", 3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1)")
def incrby(ctx: Context, argv: list[bytes]) -> object:
    """Increments the integer value of a key by a number. Uses 0 as initial value if absent."""
    return _increment(ctx, argv[1], integer(argv[2]))


@command("DECRBY", 3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1)")
def decrby(ctx: Context, argv: list[bytes]) -> object:
    """Decrements a number from the integer value of a key. Uses 0 as initial value if absent."""
    by = integer(argv[2])
    if by == INT64_MIN:
        raise CommandError("ERR decrement would overflow")
    return _increment(ctx, argv[1], -by)


@command("INCRBYFLOAT", 3, "write denyoom fast", keys=(1, 1, 1), since="2.6.0", complexity="O(1)")
def incrbyfloat(ctx: Context, argv: list[bytes]) -> object:
    """Increment the floating point value of a key by a number. Uses 0 as initial value."""
    db, key = ctx.db, argv[1]
    before = find_text(db, key)
    try:
        total = long_double_add(b"0" if before is None else before, argv[2])
    except ValueError as error:
        raise CommandError(f"ERR {error}") from None
    db.put(key, total)
    db.changed(key, "incrbyfloat")
    ctx.keyspace.propagate(db.index, [b"SET", key, total, b"KEEPTTL"])
    return total


@command("MGET", -2, "readonly fast", keys=(1, -1, 1), complexity="O(N)")
def mget(ctx: Context, argv: list[bytes]) -> object:
    """Atomically returns the string values of one or more keys."""
    lookup = ctx.db.lookup
    replies: list[object] = []
    for i in range(1, len(argv)):
        value = lookup(argv[i])
        known = isinstance(value, (bytes, int, bytearray))
        replies.append(text(value) if known else None)
    return replies


def _pairs(argv: list[bytes], name: str) -> None:
    if len(argv) % 2 == 0:
        raise CommandError(f"ERR wrong number of arguments for '{name}' command")


def _set_all(db: Database, argv: list[bytes]) -> None:
    keys = argv[1::2]
    db.set_all(keys, argv[2::2])
    db.changed_all(keys, "set")


@command("MSET", -3, "write denyoom", keys=(1, -1, 2), since="1.0.1", complexity="O(N)")
def mset(ctx: Context, argv: list[bytes]) -> object:
    """Atomically creates or modifies the string values of one or more keys."""
    _pairs(argv, "mset")
    _set_all(ctx.db, argv)
    return "OK"


@command("MSETNX", -3, "write denyoom", keys=(1, -1, 2), since="1.0.1", complexity="O(N)")
def msetnx(ctx: Context, argv: list[bytes]) -> object:
    """Atomically modifies the string values of one or more keys only when all keys are absent."""
    _pairs(argv, "msetnx")
    for i in range(1, len(argv), 2):
        if ctx.db.exists(argv[i]):
            return 0
    _set_all(ctx.db, argv)
    return 1
