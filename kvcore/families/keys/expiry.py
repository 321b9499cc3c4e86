"""The commands of expiry. Inside, it is always one number: Unix milliseconds."""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import INT64_MAX, INT64_MIN
from kvcore.command import Context, Family, integer
from kvcore.errors import CommandError

command = Family("generic")

_NX: Final = 1
_XX: Final = 2
_GT: Final = 4
_LT: Final = 8
_CONDITIONS: Final = {b"NX": _NX, b"XX": _XX, b"GT": _GT, b"LT": _LT}


def _conditions(argv: list[bytes]) -> int:
    found = 0
    for i in range(3, len(argv)):
        bit = _CONDITIONS.get(argv[i].upper())
        if bit is None:
            raise CommandError(f"ERR Unsupported option {argv[i].decode('latin-1')}")
        found |= bit
    if found & _NX and found != _NX:
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if found & _GT and found & _LT:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    return found


def _allowed(conditions: int, current: int, when: int) -> bool:
    """Do the conditions allow ``when`` in place of ``current``? A missing expiry is infinite."""
    if conditions & _NX:
        return current < 0
    if conditions & (_XX | _GT) and current < 0:
        return False
    if conditions & _GT:
        return when > current
    if conditions & _LT:
        return current < 0 or when < current
    return True


def _expire(ctx: Context, argv: list[bytes], name: str, unit: int, base: int) -> int:
    """EXPIRE and its kin: ``unit`` in ms, ``base`` the Unix ms that the argument counts from."""
    conditions = _conditions(argv) if len(argv) > 3 else 0
    when = integer(argv[2]) * unit
    if when < INT64_MIN or when > INT64_MAX - base:
        raise CommandError(f"ERR invalid expire time in '{name}' command")
    when += base
    db, key, keyspace = ctx.db, argv[1], ctx.keyspace
    if not db.exists(key):
        return 0
    if conditions and not _allowed(conditions, db.expiry(key), when):
        return 0
    if when <= keyspace.now and keyspace.expiring:
        db.delete(key)
        keyspace.propagate(db.index, [b"DEL", key])
    else:
        db.expire_at(key, when)
        db.changed(key, "expire")
        keyspace.propagate(db.index, [b"PEXPIREAT", key, b"%d" % when])
    return 1


@command("EXPIRE", -3, "write fast", keys=(1, 1, 1), complexity="O(1)")
def expire(ctx: Context, argv: list[bytes]) -> object:
    """Sets the expiration time of a key in seconds."""
    return _expire(ctx, argv, "expire", 1000, ctx.keyspace.now)


@command("PEXPIRE", -3, "write fast", keys=(1, 1, 1), since="2.6.0", complexity="O(1)")
def pexpire(ctx: Context, argv: list[bytes]) -> object:
    """Sets the expiration time of a key in milliseconds."""
    return _expire(ctx, argv, "pexpire", 1, ctx.keyspace.now)


@command("EXPIREAT", -3, "write fast", keys=(1, 1, 1), since="1.2.0", complexity="O(1)")
def expireat(ctx: Context, argv: list[bytes]) -> object:
    """Sets the expiration time of a key to a Unix timestamp."""
    return _expire(ctx, argv, "expireat", 1000, 0)


@command("PEXPIREAT", -3, "write fast", keys=(1, 1, 1), since="2.6.0", complexity="O(1)")
def pexpireat(ctx: Context, argv: list[bytes]) -> object:
    """Sets the expiration time of a key to a Unix milliseconds timestamp."""
    return _expire(ctx, argv, "pexpireat", 1, 0)


def _remaining(ctx: Context, key: bytes, base: int) -> int:
    """Milliseconds from ``base`` to the key's expiry; -1 if it has none, -2 if there is no key."""
    if ctx.db.glance(key) is None:
        return -2
    when = ctx.db.expiry(key)
    return -1 if when < 0 else max(when - base, 0)


def _seconds(ms: int) -> int:
    return ms if ms < 0 else (ms + 500) // 1000


@command("TTL", 2, "readonly fast", keys=(1, 1, 1), complexity="O(1)")
def ttl(ctx: Context, argv: list[bytes]) -> object:
    """Returns the expiration time in seconds of a key."""
    return _seconds(_remaining(ctx, argv[1], ctx.keyspace.now))


@command("PTTL", 2, "readonly fast", keys=(1, 1, 1), since="2.6.0", complexity="O(1)")
def pttl(ctx: Context, argv: list[bytes]) -> object:
    """Returns the expiration time in milliseconds of a key."""
    return _remaining(ctx, argv[1], ctx.keyspace.now)


@command("EXPIRETIME", 2, "readonly fast", keys=(1, 1, 1), since="7.0.0", complexity="O(1)")
def expiretime(ctx: Context, argv: list[bytes]) -> object:
    """Returns the expiration time of a key as a Unix timestamp."""
    return _seconds(_remaining(ctx, argv[1], 0))


@command("PEXPIRETIME", 2, "readonly fast", keys=(1, 1, 1), since="7.0.0", complexity="O(1)")
def pexpiretime(ctx: Context, argv: list[bytes]) -> object:
    """Returns the expiration time of a key as a Unix milliseconds timestamp."""
    return _remaining(ctx, argv[1], 0)


@command("PERSIST", 2, "write fast", keys=(1, 1, 1), since="2.2.0", complexity="O(1)")
def persist(ctx: Context, argv: list[bytes]) -> object:
    """Removes the expiration time of a key."""
    db, key = ctx.db, argv[1]
    if not db.exists(key) or not db.persist(key):
        return 0
    db.changed(key, "persist")
    return 1
