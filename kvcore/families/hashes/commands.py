"""The commands of hashes."""

from __future__ import annotations

from itertools import chain
from random import choices, sample
from typing import Final

from kvcore.codec import listpack
from kvcore.codec.numbers import INT64_MAX, INT64_MIN, parse_int, parse_long_double
from kvcore.command import Context, Family, ScanOptions, integer, scan_cursor, wrong_arity
from kvcore.datatype import MOST_PACKED
from kvcore.errors import NOT_A_FLOAT, OVERFLOW, SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.hashes.rdb import born_packed
from kvcore.families.hashes.value import Hash
from kvcore.reply import Pairs

command = Family("hash")

# Repeated fields of one HRANDFIELD: more would fill the memory before the first is sent.
_MOST_REPEATED: Final = 1 << 24


def _lookup(ctx: Context, key: bytes) -> Hash | None:
    """The hash for a reading command; None if the key is absent. Raises WRONGTYPE."""
    value = ctx.db.lookup(key)
    if value is None or isinstance(value, Hash):
        return value
    raise CommandError(WRONG_TYPE)


def _find(ctx: Context, key: bytes) -> Hash | None:
    """The hash for a writing command; None if the key is absent. Raises WRONGTYPE."""
    value = ctx.db.find(key)
    if value is None or isinstance(value, Hash):
        return value
    raise CommandError(WRONG_TYPE)


def _put(ctx: Context, key: bytes, fields: Hash | None, field: bytes, value: bytes) -> None:
    """Set one field of a hash that `_find` has found, or of a new one."""
    if fields is None:
        fields = Hash()
        ctx.db.store(key, fields)
    limits = ctx.keyspace.limits
    fields.set(field, value, limits.hash_max_listpack_entries, limits.hash_max_listpack_value)


# Writing --------------------------------------------------------------------------------------


def _set_fields(ctx: Context, argv: list[bytes], name: str) -> int:
    """Set the fields from argv[2] on; returns how many are new."""
    size = len(argv)
    if size % 2:
        raise CommandError(wrong_arity(name))
    db, key = ctx.db, argv[1]
    limits = ctx.keyspace.limits
    fields = db.find(key)
    if fields is None:
        if size // 2 - 1 <= MOST_PACKED:
            items = argv[2:]
            longest = listpack.longest(items)
            created = len(set(argv[2::2]))
            if 2 * created < len(items):  # a field comes twice: its last value counts
                items = list(chain.from_iterable(dict(zip(argv[2::2], argv[3::2])).items()))
            packed = born_packed(items, longest, limits)
            if packed is not None:
                db.set(key, packed)
                db.changed(key, "hset", size // 2 - 1)
                return created
        fields = Hash()
        db.store(key, fields)
    elif not isinstance(fields, Hash):
        raise CommandError(WRONG_TYPE)
    max_entries = limits.hash_max_listpack_entries
    max_value = limits.hash_max_listpack_value
    created = 0
    for i in range(2, size, 2):
        if fields.set(argv[i], argv[i + 1], max_entries, max_value):
            created += 1
    db.changed(key, "hset", (size - 2) // 2)
    return created


@command(
    "HSET",
    -4,
    "write denyoom fast",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity="O(1) for each field/value pair added",
)
def hset(ctx: Context, argv: list[bytes]) -> object:
    """Creates or modifies the value of a field in a hash."""
    return _set_fields(ctx, argv, "hset")


@command("HMSET", -4, "write denyoom fast", keys=(1, 1, 1), since="2.0.0", complexity="O(N)")
def hmset(ctx: Context, argv: list[bytes]) -> object:
    """Sets the values of multiple fields."""
    _set_fields(ctx, argv, "hmset")
    return "OK"


@command("HSETNX", 4, "write denyoom fast", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def hsetnx(ctx: Context, argv: list[bytes]) -> object:
    """Sets the value of a field in a hash only when the field doesn't exist."""
    key, field = argv[1], argv[2]
    fields = _find(ctx, key)
    if fields is not None and fields.has(field):
        return 0
    _put(ctx, key, fields, field, argv[3])
    ctx.db.changed(key, "hset")
    return 1


@command("HINCRBY", 4, "write denyoom fast", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def hincrby(ctx: Context, argv: list[bytes]) -> object:
    """Increments the integer value of a field in a hash by a number. Uses 0 as initial value if
    the field doesn't exist."""
    key, field = argv[1], argv[2]
    total = integer(argv[3])
    fields = _find(ctx, key)
    before = None if fields is None else fields.get(field)
    if before is not None:
        number = parse_int(before)
        if number is None:
            raise CommandError("ERR hash value is not an integer")
        total += number
        if total > INT64_MAX or total < INT64_MIN:
            raise CommandError(OVERFLOW)
    _put(ctx, key, fields, field, b"%d" % total)
    ctx.db.changed(key, "hincrby")
    return total


@command("HINCRBYFLOAT", 4, "write denyoom fast", keys=(1, 1, 1), since="2.6.0", complexity="O(1)")
def hincrbyfloat(ctx: Context, argv: list[bytes]) -> object:
    """Increments the floating point value of a field by a number. Uses 0 as initial value if the
    field doesn't exist."""
    db, key, field = ctx.db, argv[1], argv[2]
    total = parse_long_double(argv[3])
    if total is None:
        raise CommandError(NOT_A_FLOAT)
    if total.infinite:
        raise CommandError("ERR value is NaN or Infinity")
    fields = _find(ctx, key)
    before = None if fields is None else fields.get(field)
    if before is not None:
        number = parse_long_double(before)
        if number is None:
            raise CommandError("ERR hash value is not a float")
        total = number.plus(total)
        if total is None:
            raise CommandError("ERR increment would produce NaN or Infinity")
    text = total.format()
    _put(ctx, key, fields, field, text)
    db.changed(key, "hincrbyfloat")
    ctx.keyspace.propagate(db.index, [b"HSET", key, field, text])
    return text


@command(
    "HDEL",
    -3,
    "write fast",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity="O(N) where N is the number of fields to be removed.",
)
def hdel(ctx: Context, argv: list[bytes]) -> object:
    """Deletes one or more fields and their values from a hash. Deletes the hash if no fields
    remain."""
    db, key = ctx.db, argv[1]
    fields = _find(ctx, key)
    if fields is None:
        return 0
    deleted = 0
    for i in range(2, len(argv)):
        if fields.delete(argv[i]):
            deleted += 1
    if deleted:
        db.changed(key, "hdel", deleted)
        if len(fields) == 0:
            db.drop_empty(key)
    return deleted


# Reading --------------------------------------------------------------------------------------


@command("HGET", 3, "readonly fast", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def hget(ctx: Context, argv: list[bytes]) -> object:
    """Returns the value of a field in a hash."""
    fields = ctx.db.lookup(argv[1])
    if isinstance(fields, Hash):
        return fields.get(argv[2])
    if fields is None:
        return None
    raise CommandError(WRONG_TYPE)


@command(
    "HMGET",
    -3,
    "readonly fast",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity="O(N) where N is the number of fields being requested.",
)
def hmget(ctx: Context, argv: list[bytes]) -> object:
    """Returns the values of all fields in a hash."""
    fields = _lookup(ctx, argv[1])
    if fields is None:
        return [None] * (len(argv) - 2)
    return [fields.get(field) for field in argv[2:]]


@command(
    "HGETALL",
    2,
    "readonly",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
)
def hgetall(ctx: Context, argv: list[bytes]) -> object:
    """Returns all fields and values in a hash."""
    fields = _lookup(ctx, argv[1])
    return {} if fields is None else fields.items()


@command(
    "HKEYS",
    2,
    "readonly",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
)
def hkeys(ctx: Context, argv: list[bytes]) -> object:
    """Returns all fields in a hash."""
    fields = _lookup(ctx, argv[1])
    return [] if fields is None else fields.fields()


@command(
    "HVALS",
    2,
    "readonly",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
)
def hvals(ctx: Context, argv: list[bytes]) -> object:
    """Returns all values in a hash."""
    fields = _lookup(ctx, argv[1])
    return [] if fields is None else fields.values()


@command("HLEN", 2, "readonly fast", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def hlen(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of fields in a hash."""
    fields = _lookup(ctx, argv[1])
    return 0 if fields is None else len(fields)


@command("HEXISTS", 3, "readonly fast", keys=(1, 1, 1), since="2.0.0", complexity="O(1)")
def hexists(ctx: Context, argv: list[bytes]) -> object:
    """Determines whether a field exists in a hash."""
    fields = _lookup(ctx, argv[1])
    return 1 if fields is not None and fields.has(argv[2]) else 0


@command("HSTRLEN", 3, "readonly fast", keys=(1, 1, 1), since="3.2.0", complexity="O(1)")
def hstrlen(ctx: Context, argv: list[bytes]) -> object:
    """Returns the length of the value of a field."""
    fields = _lookup(ctx, argv[1])
    value = None if fields is None else fields.get(argv[2])
    return 0 if value is None else len(value)


@command(
    "HRANDFIELD",
    -2,
    "readonly",
    keys=(1, 1, 1),
    since="6.2.0",
    complexity="O(N) where N is the number of fields returned",
)
def hrandfield(ctx: Context, argv: list[bytes]) -> object:
    """Returns one or more random fields from a hash."""
    if len(argv) == 2:
        fields = _lookup(ctx, argv[1])
        return None if fields is None else fields.random_field()
    count = _pick_count(argv, b"WITHVALUES")
    fields = _lookup(ctx, argv[1])
    if fields is None:
        return []
    picked = _pick(fields, count)
    if len(argv) == 3:
        return picked
    return Pairs([(field, fields.get(field)) for field in picked])


def _pick_count(argv: list[bytes], option: bytes) -> int:
    """How many random elements are asked for: different ones if positive, else any."""
    count = integer(argv[2])
    if count == INT64_MIN:
        raise CommandError(
            f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}"
        )
    if len(argv) > 4 or (len(argv) == 4 and argv[3].upper() != option):
        raise CommandError(SYNTAX)
    if len(argv) == 4 and abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    return count


def _pick(fields: Hash, count: int) -> list[bytes]:
    """Random fields, each as likely as any other; see `_pick_count`."""
    if count < -_MOST_REPEATED:
        raise CommandError(f"ERR value is out of range, value must be at least {-_MOST_REPEATED}")
    size = len(fields)
    if count >= size:
        return fields.fields()
    if count > 0:
        if count * 4 > size:
            return sample(fields.fields(), count)
        different: set[bytes] = set()
        while len(different) < count:
            different.add(fields.random_field())
        return list(different)
    if count * -4 > size:
        return choices(fields.fields(), k=-count)
    return [fields.random_field() for _ in range(-count)]


@command("HSCAN", -3, "readonly", keys=(1, 1, 1), since="2.8.0", complexity="O(1) for every call.")
def hscan(ctx: Context, argv: list[bytes]) -> object:
    """Iterates over fields and values of a hash."""
    cursor = scan_cursor(argv[2])
    fields = _lookup(ctx, argv[1])
    if fields is None:
        return [b"0", []]
    options = ScanOptions(argv, 3)
    cursor, found = fields.scan(cursor)
    while cursor and len(found) < options.count:
        cursor, more = fields.scan(cursor)
        found += more
    glob = options.glob
    reply: list[bytes] = []
    for field, value in found:
        if glob is None or glob.match(field):
            reply.append(field)
            reply.append(value)
    return [b"%d" % cursor, reply]
