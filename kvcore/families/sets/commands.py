"""The commands of sets."""

from __future__ import annotations

from random import choices, sample
from typing import Final

from kvcore.codec.numbers import INT64_MAX
from kvcore.command import Context, Family, ScanOptions, integer, scan_cursor
from kvcore.datatype import MOST_PACKED
from kvcore.errors import NOT_POSITIVE, SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.sets.rdb import born_packed
from kvcore.families.sets.value import (
    Set,
    build,
    difference,
    intersection,
    intersection_size,
    union,
)
from kvcore.keyspace import Database

command = Family("set")

# SRANDMEMBER with a negative count repeats members, so no set bounds its reply. Redis fills its
# memory with it; we refuse what would take gigabytes.
_MOST_REPEATED: Final = 1 << 24
_OUT_OF_RANGE: Final = f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}"
_TOO_MANY_REPEATED: Final = f"ERR value is out of range, value must be at least {-_MOST_REPEATED}"

# Members that one SREM in the journal names, as in Redis 7.2.
_POPPED_TOGETHER: Final = 1024


def lookup_set(db: Database, key: bytes) -> Set | None:
    """The set for a reading command; None if the key is absent. Raises WRONGTYPE."""
    value = db.lookup(key)
    if value is None or isinstance(value, Set):
        return value
    raise CommandError(WRONG_TYPE)


def find_set(db: Database, key: bytes) -> Set | None:
    """The same for a writing command."""
    value = db.find(key)
    if value is None or isinstance(value, Set):
        return value
    raise CommandError(WRONG_TYPE)


# Members ------------------------------------------------------------------------------------------


@command("SADD", -3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1) for each member")
def sadd(ctx: Context, argv: list[bytes]) -> object:
    """Adds one or more members to a set. Creates the key if it doesn't exist."""
    db, key = ctx.db, argv[1]
    limits = ctx.keyspace.limits
    value = db.find(key)
    if value is None:
        if len(argv) - 2 <= MOST_PACKED:
            members = set(argv[2:])
            packed = born_packed(members, limits)
            if packed is not None:
                db.set(key, packed)
                db.changed(key, "sadd", len(members))
                return len(members)
        value = Set()
        db.store(key, value)
    elif not isinstance(value, Set):
        raise CommandError(WRONG_TYPE)
    intset = limits.set_max_intset_entries
    entries = limits.set_max_listpack_entries
    size = limits.set_max_listpack_value
    added = 0
    for i in range(2, len(argv)):
        if value.add(argv[i], intset, entries, size):
            added += 1
    if added:
        db.changed(key, "sadd", added)
    return added


@command("SREM", -3, "write fast", keys=(1, 1, 1), complexity="O(1) for each member")
def srem(ctx: Context, argv: list[bytes]) -> object:
    """Removes one or more members from a set. Deletes the set if the last member was removed."""
    db, key = ctx.db, argv[1]
    value = find_set(db, key)
    if value is None:
        return 0
    removed = 0
    for i in range(2, len(argv)):
        if value.remove(argv[i]):
            removed += 1
    if removed:
        db.changed(key, "srem", removed)
        if len(value) == 0:
            db.drop_empty(key)
    return removed


@command("SMOVE", 4, "write fast", keys=(1, 2, 1), complexity="O(1)")
def smove(ctx: Context, argv: list[bytes]) -> object:
    """Moves a member from one set to another."""
    db, source, target, member = ctx.db, argv[1], argv[2], argv[3]
    origin = find_set(db, source)
    if origin is None:
        return 0
    into = find_set(db, target)
    if origin is into:
        return int(origin.has(member))
    if not origin.remove(member):
        return 0
    db.changed(source, "srem")
    if len(origin) == 0:
        db.drop_empty(source)
    if into is None:
        into = Set()
        db.store(target, into)
    limits = ctx.keyspace.limits
    if into.add(
        member,
        limits.set_max_intset_entries,
        limits.set_max_listpack_entries,
        limits.set_max_listpack_value,
    ):
        db.changed(target, "sadd")
    return 1


@command("SISMEMBER", 3, "readonly fast", keys=(1, 1, 1), complexity="O(1)")
def sismember(ctx: Context, argv: list[bytes]) -> object:
    """Determines whether a member belongs to a set."""
    value = lookup_set(ctx.db, argv[1])
    return int(value is not None and value.has(argv[2]))


@command(
    "SMISMEMBER",
    -3,
    "readonly fast",
    keys=(1, 1, 1),
    since="6.2.0",
    complexity="O(1) for each member",
)
def smismember(ctx: Context, argv: list[bytes]) -> object:
    """Determines whether multiple members belong to a set."""
    value = lookup_set(ctx.db, argv[1])
    if value is None:
        return [0] * (len(argv) - 2)
    return [int(value.has(argv[i])) for i in range(2, len(argv))]


@command("SCARD", 2, "readonly fast", keys=(1, 1, 1), complexity="O(1)")
def scard(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of members in a set."""
    value = lookup_set(ctx.db, argv[1])
    return 0 if value is None else len(value)


@command("SMEMBERS", 2, "readonly", keys=(1, 1, 1), complexity="O(N)")
def smembers(ctx: Context, argv: list[bytes]) -> object:
    """Returns all members of a set."""
    value = lookup_set(ctx.db, argv[1])
    return set() if value is None else value.members()


@command("SSCAN", -3, "readonly", keys=(1, 1, 1), since="2.8.0", complexity="O(1) for every call")
def sscan(ctx: Context, argv: list[bytes]) -> object:
    """Iterates over members of a set."""
    cursor = scan_cursor(argv[2])
    value = lookup_set(ctx.db, argv[1])
    if value is None:
        return [b"0", []]
    options = ScanOptions(argv, 3)
    cursor, found = value.scan(cursor)
    while cursor and len(found) < options.count:
        cursor, more = value.scan(cursor)
        found += more
    glob = options.glob
    if glob is not None:
        found = [member for member in found if glob.match(member)]
    return [b"%d" % cursor, found]


# Members at random --------------------------------------------------------------------------------


def _choose(value: Set, count: int) -> list[bytes]:
    """``count`` different members, fewer than there are, each choice equally likely."""
    if count * 3 > len(value):
        return sample(list(value.members()), count)
    chosen: set[bytes] = set()
    while len(chosen) < count:
        chosen.add(value.random())
    return list(chosen)


def _repeat(value: Set, count: int) -> list[bytes]:
    """``count`` members, any of them more than once."""
    if count * 4 > len(value):
        return choices(list(value.members()), k=count)
    return [value.random() for _ in range(count)]


@command("SPOP", -2, "write fast", keys=(1, 1, 1), complexity="O(N) where N is the count")
def spop(ctx: Context, argv: list[bytes]) -> object:
    """Returns one or more random members from a set after removing them. Deletes the set if the
    last member was popped."""
    if len(argv) > 2:
        return _spop_count(ctx, argv)
    db, key = ctx.db, argv[1]
    value = find_set(db, key)
    if value is None:
        return None
    member = value.pop_random()
    db.changed(key, "spop")
    if len(value) == 0:
        db.drop_empty(key)
    ctx.keyspace.propagate(db.index, [b"SREM", key, member])
    return member


def _spop_count(ctx: Context, argv: list[bytes]) -> set[bytes]:
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    count = integer(argv[2], NOT_POSITIVE)
    if count < 0:
        raise CommandError(NOT_POSITIVE)
    db, key = ctx.db, argv[1]
    value = find_set(db, key)
    if value is None or count == 0:
        return set()
    if count >= len(value):
        db.changed(key, "spop", len(value))
        db.drop_empty(key)
        ctx.keyspace.propagate(db.index, [b"DEL", key])
        return value.members()
    popped = _choose(value, count)
    for member in popped:
        value.remove(member)
    db.changed(key, "spop", count)
    ctx.keyspace.propagate(
        db.index,
        *[
            [b"SREM", key, *popped[start : start + _POPPED_TOGETHER]]
            for start in range(0, count, _POPPED_TOGETHER)
        ],
    )
    return set(popped)


@command("SRANDMEMBER", -2, "readonly", keys=(1, 1, 1), complexity="O(N) where N is the count")
def srandmember(ctx: Context, argv: list[bytes]) -> object:
    """Get one or multiple random members from a set."""
    if len(argv) == 2:
        value = lookup_set(ctx.db, argv[1])
        return None if value is None else value.random()
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    count = integer(argv[2])
    if count < -INT64_MAX:
        raise CommandError(_OUT_OF_RANGE)
    value = lookup_set(ctx.db, argv[1])
    if value is None:
        return []
    if count < 0:
        if count < -_MOST_REPEATED:
            raise CommandError(_TOO_MANY_REPEATED)
        return _repeat(value, -count)
    if count >= len(value):
        return list(value.members())
    return _choose(value, count)


# Several sets -------------------------------------------------------------------------------------


def _operands(ctx: Context, keys: list[bytes]) -> list[Set | None]:
    """The sets at these keys, None for each that is absent; WRONGTYPE if any is another type."""
    return [lookup_set(ctx.db, key) for key in keys]


def _intersection(ctx: Context, keys: list[bytes]) -> set[bytes]:
    operands = _operands(ctx, keys)
    present = [value for value in operands if value is not None]
    return intersection(present) if len(present) == len(operands) else set()


def _union(ctx: Context, keys: list[bytes]) -> set[bytes]:
    return union([value for value in _operands(ctx, keys) if value is not None])


def _difference(ctx: Context, keys: list[bytes]) -> set[bytes]:
    first, *others = _operands(ctx, keys)
    if first is None:
        return set()
    return difference(first, [value for value in others if value is not None])


def _store(ctx: Context, target: bytes, members: set[bytes], event: str) -> int:
    """Make the members the value of a key, whatever it held; none: delete it."""
    db = ctx.db
    if members:
        db.store(target, build(members, ctx.keyspace.limits))
        db.changed(target, event)
    else:
        db.delete(target)
    return len(members)


@command("SINTER", -2, "readonly", keys=(1, -1, 1), complexity="O(N*M)")
def sinter(ctx: Context, argv: list[bytes]) -> object:
    """Returns the intersect of multiple sets."""
    return _intersection(ctx, argv[1:])


@command("SINTERSTORE", -3, "write denyoom", keys=(1, -1, 1), complexity="O(N*M)")
def sinterstore(ctx: Context, argv: list[bytes]) -> object:
    """Stores the intersect of multiple sets in a key."""
    return _store(ctx, argv[1], _intersection(ctx, argv[2:]), "sinterstore")


@command("SUNION", -2, "readonly", keys=(1, -1, 1), complexity="O(N)")
def sunion(ctx: Context, argv: list[bytes]) -> object:
    """Returns the union of multiple sets."""
    return _union(ctx, argv[1:])


@command("SUNIONSTORE", -3, "write denyoom", keys=(1, -1, 1), complexity="O(N)")
def sunionstore(ctx: Context, argv: list[bytes]) -> object:
    """Stores the union of multiple sets in a key."""
    return _store(ctx, argv[1], _union(ctx, argv[2:]), "sunionstore")


@command("SDIFF", -2, "readonly", keys=(1, -1, 1), complexity="O(N)")
def sdiff(ctx: Context, argv: list[bytes]) -> object:
    """Returns the difference of multiple sets."""
    return _difference(ctx, argv[1:])


@command("SDIFFSTORE", -3, "write denyoom", keys=(1, -1, 1), complexity="O(N)")
def sdiffstore(ctx: Context, argv: list[bytes]) -> object:
    """Stores the difference of multiple sets in a key."""
    return _store(ctx, argv[1], _difference(ctx, argv[2:]), "sdiffstore")


def _numbered_keys(argv: list[bytes]) -> list[int]:
    """The positions of the keys behind ``numkeys``; none if that number is wrong."""
    count = int(argv[1]) if argv[1].isdigit() and len(argv[1]) < 10 else 0
    return list(range(2, 2 + count)) if count <= len(argv) - 2 else []


@command(
    "SINTERCARD",
    -3,
    "readonly movablekeys",
    since="7.0.0",
    complexity="O(N*M)",
    find_keys=_numbered_keys,
)
def sintercard(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of members of the intersect of multiple sets."""
    count = integer(argv[1], "ERR numkeys should be greater than 0")
    if count < 1:
        raise CommandError("ERR numkeys should be greater than 0")
    if count > len(argv) - 2:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    limit = 0
    i = 2 + count
    while i < len(argv):
        if argv[i].upper() != b"LIMIT" or i + 1 == len(argv):
            raise CommandError(SYNTAX)
        limit = integer(argv[i + 1], "ERR LIMIT can't be negative")
        if limit < 0:
            raise CommandError("ERR LIMIT can't be negative")
        i += 2
    operands = _operands(ctx, argv[2 : 2 + count])
    present = [value for value in operands if value is not None]
    return intersection_size(present, limit) if len(present) == len(operands) else 0
