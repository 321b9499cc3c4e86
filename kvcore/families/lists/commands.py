"""The commands of lists. What takes elements stands first, for commands that wait for them."""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import INT64_MAX
from kvcore.command import Context, Family, integer, wrong_arity
from kvcore.errors import NO_SUCH_KEY, NOT_POSITIVE, OUT_OF_RANGE, SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.lists.rdb import born_packed
from kvcore.families.lists.value import List
from kvcore.keyspace import Database
from kvcore.reply import NIL_ARRAY

command = Family("list")

_NO_RANGE: Final = f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}"
_NO_RANK: Final = (
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)


def lookup_list(db: Database, key: bytes) -> List | None:
    """The list for a reading command; None if the key is absent. Raises WRONGTYPE."""
    value = db.lookup(key)
    if value is None or isinstance(value, List):
        return value
    raise CommandError(WRONG_TYPE)


def find_list(db: Database, key: bytes) -> List | None:
    """The same for a writing command."""
    value = db.find(key)
    if value is None or isinstance(value, List):
        return value
    raise CommandError(WRONG_TYPE)


# Taking elements ----------------------------------------------------------------------------------


def take(db: Database, key: bytes, value: List, left: bool, count: int) -> list[bytes]:
    """Pop up to ``count`` elements of the list at a key, which goes when it is empty.

    Leaves what the journals get to the caller.
    """
    fill = db.keyspace.limits.list_max_listpack_size
    if left:
        taken = value.pop_left(count, fill)
        db.changed(key, "lpop", len(taken))
    else:
        taken = value.pop_right(count, fill)
        db.changed(key, "rpop", len(taken))
    if len(value) == 0:
        db.drop_empty(key)
    return taken


def take_first(
    ctx: Context, keys: list[bytes], left: bool, count: int
) -> tuple[bytes, list[bytes]] | None:
    """Pop from the first list that there is: its key and the elements; None if there is none.

    The journals get that LPOP or RPOP. Raises WRONGTYPE for a key of another type before it.
    """
    db = ctx.db
    for key in keys:
        value = find_list(db, key)
        if value is not None:
            taken = take(db, key, value, left, count)
            name = b"LPOP" if left else b"RPOP"
            ctx.keyspace.propagate(db.index, [name, key, b"%d" % len(taken)])
            return key, taken
    return None


def move(
    ctx: Context, source: bytes, target: bytes, from_left: bool, to_left: bool
) -> bytes | None:
    """Move an element from one end of a list to one of another (or of the same); returns it.

    None if the source is absent. Raises WRONGTYPE, for either key, before anything changes. Leaves
    what the journals get to the caller.
    """
    db = ctx.db
    origin = find_list(db, source)
    if origin is None:
        return None
    into = find_list(db, target)
    fill = ctx.keyspace.limits.list_max_listpack_size
    taken = origin.pop_left(1, fill) if from_left else origin.pop_right(1, fill)
    if into is None:
        into = List()
        db.store(target, into)
    if to_left:
        into.push_left(taken, fill)
    else:
        into.push_right(taken, fill)
    db.changed(target, "lpush" if to_left else "rpush", 0)
    db.changed(source, "lpop" if from_left else "rpop")
    if len(origin) == 0:
        db.drop_empty(source)
    return taken[0]


def ends(arg: bytes) -> bool:
    """Is it LEFT (True) or RIGHT (False)? Raises a syntax error for anything else."""
    word = arg.upper()
    if word == b"LEFT":
        return True
    if word == b"RIGHT":
        return False
    raise CommandError(SYNTAX)


# Both ends ----------------------------------------------------------------------------------------


def _push(ctx: Context, argv: list[bytes], left: bool, create: bool) -> int:
    db, key = ctx.db, argv[1]
    value = db.find(key)
    if value is None:
        if not create:
            return 0
        packed = born_packed(argv[:1:-1] if left else argv[2:], ctx.keyspace.limits)
        if packed is not None:
            db.set(key, packed)
            db.changed(key, "lpush" if left else "rpush", len(argv) - 2)
            return len(argv) - 2
        value = List()
        db.store(key, value)
    elif not isinstance(value, List):
        raise CommandError(WRONG_TYPE)
    elements = argv[2:]
    fill = ctx.keyspace.limits.list_max_listpack_size
    if left:
        value.push_left(elements, fill)
        db.changed(key, "lpush", len(elements))
    else:
        value.push_right(elements, fill)
        db.changed(key, "rpush", len(elements))
    return len(value)


@command(
    "LPUSH", -3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1) for each element added"
)
def lpush(ctx: Context, argv: list[bytes]) -> object:
    """Prepends one or more elements to a list. Creates the key if it doesn't exist."""
    return _push(ctx, argv, True, True)


@command(
    "RPUSH", -3, "write denyoom fast", keys=(1, 1, 1), complexity="O(1) for each element added"
)
def rpush(ctx: Context, argv: list[bytes]) -> object:
    """Appends one or more elements to a list. Creates the key if it doesn't exist."""
    return _push(ctx, argv, False, True)


@command(
    "LPUSHX",
    -3,
    "write denyoom fast",
    keys=(1, 1, 1),
    since="2.2.0",
    complexity="O(1) for each element added",
)
def lpushx(ctx: Context, argv: list[bytes]) -> object:
    """Prepends one or more elements to a list only when the list exists."""
    return _push(ctx, argv, True, False)


@command(
    "RPUSHX",
    -3,
    "write denyoom fast",
    keys=(1, 1, 1),
    since="2.2.0",
    complexity="O(1) for each element added",
)
def rpushx(ctx: Context, argv: list[bytes]) -> object:
    """Appends one or more elements to a list only when the list exists."""
    return _push(ctx, argv, False, False)


def _pop(ctx: Context, argv: list[bytes], left: bool) -> object:
    if len(argv) > 2:
        return _pop_count(ctx, argv, left)
    value = find_list(ctx.db, argv[1])
    return None if value is None else take(ctx.db, argv[1], value, left, 1)[0]


def _pop_count(ctx: Context, argv: list[bytes], left: bool) -> object:
    if len(argv) > 3:
        raise CommandError(wrong_arity("lpop" if left else "rpop"))
    count = integer(argv[2], NOT_POSITIVE)
    if count < 0:
        raise CommandError(NOT_POSITIVE)
    value = find_list(ctx.db, argv[1])
    if value is None:
        return NIL_ARRAY
    return take(ctx.db, argv[1], value, left, count) if count else []


@command("LPOP", -2, "write fast", keys=(1, 1, 1), complexity="O(N) where N is the count")
def lpop(ctx: Context, argv: list[bytes]) -> object:
    """Returns the first elements in a list after removing it. Deletes the list if the last element
    was popped."""
    return _pop(ctx, argv, True)


@command("RPOP", -2, "write fast", keys=(1, 1, 1), complexity="O(N) where N is the count")
def rpop(ctx: Context, argv: list[bytes]) -> object:
    """Returns and removes the last elements of a list. Deletes the list if the last element was
    popped."""
    return _pop(ctx, argv, False)


@command("LMOVE", 5, "write denyoom", keys=(1, 2, 1), since="6.2.0", complexity="O(1)")
def lmove(ctx: Context, argv: list[bytes]) -> object:
    """Returns an element after popping it from one list and pushing it to another. Deletes the
    list if the last element was moved."""
    return move(ctx, argv[1], argv[2], ends(argv[3]), ends(argv[4]))


@command("RPOPLPUSH", 3, "write denyoom", keys=(1, 2, 1), since="1.2.0", complexity="O(1)")
def rpoplpush(ctx: Context, argv: list[bytes]) -> object:
    """Returns the last element of a list after removing and pushing it to another list. Deletes
    the list if the last element was popped."""
    return move(ctx, argv[1], argv[2], False, True)


def _numbered_keys(argv: list[bytes]) -> list[int]:
    """The positions of the keys behind ``numkeys``; none if that number is wrong."""
    count = int(argv[1]) if argv[1].isdigit() and len(argv[1]) < 10 else 0
    return list(range(2, 2 + count)) if count <= len(argv) - 2 else []


@command(
    "LMPOP",
    -4,
    "write movablekeys",
    since="7.0.0",
    complexity="O(N+M) where N is the number of keys and M the number of elements returned",
    find_keys=_numbered_keys,
)
def lmpop(ctx: Context, argv: list[bytes]) -> object:
    """Returns multiple elements from a list after removing them. Deletes the list if the last
    element was popped."""
    count = integer(argv[1], "ERR numkeys should be greater than 0")
    if count < 1:
        raise CommandError("ERR numkeys should be greater than 0")
    where = 2 + count
    if where >= len(argv):
        raise CommandError(SYNTAX)
    left = ends(argv[where])
    most = 1
    if len(argv) > where + 1:
        if len(argv) != where + 3 or argv[where + 1].upper() != b"COUNT":
            raise CommandError(SYNTAX)
        most = integer(argv[where + 2], "ERR count should be greater than 0")
        if most < 1:
            raise CommandError("ERR count should be greater than 0")
    taken = take_first(ctx, argv[2:where], left, most)
    return NIL_ARRAY if taken is None else list(taken)


# By index -----------------------------------------------------------------------------------------


@command("LLEN", 2, "readonly fast", keys=(1, 1, 1), complexity="O(1)")
def llen(ctx: Context, argv: list[bytes]) -> object:
    """Returns the length of a list."""
    value = lookup_list(ctx.db, argv[1])
    return 0 if value is None else len(value)


@command("LINDEX", 3, "readonly", keys=(1, 1, 1), complexity="O(1)")
def lindex(ctx: Context, argv: list[bytes]) -> object:
    """Returns an element from a list by its index."""
    value = lookup_list(ctx.db, argv[1])
    return None if value is None else value.get(integer(argv[2]))


@command("LSET", 4, "write denyoom", keys=(1, 1, 1), complexity="O(1)")
def lset(ctx: Context, argv: list[bytes]) -> object:
    """Sets the value of an element in a list by its index."""
    db, key = ctx.db, argv[1]
    value = find_list(db, key)
    if value is None:
        raise CommandError(NO_SUCH_KEY)
    if not value.set(integer(argv[2]), argv[3], ctx.keyspace.limits.list_max_listpack_size):
        raise CommandError(OUT_OF_RANGE)
    db.changed(key, "lset")
    return "OK"


@command("LRANGE", 4, "readonly", keys=(1, 1, 1), complexity="O(N) where N is the elements given")
def lrange(ctx: Context, argv: list[bytes]) -> object:
    """Returns a range of elements from a list."""
    start, stop = integer(argv[2]), integer(argv[3])
    value = lookup_list(ctx.db, argv[1])
    return [] if value is None else value.range(start, stop)


@command("LTRIM", 4, "write", keys=(1, 1, 1), complexity="O(N) where N is the elements removed")
def ltrim(ctx: Context, argv: list[bytes]) -> object:
    """Removes elements from both ends a list. Deletes the list if all elements were trimmed."""
    start, stop = integer(argv[2]), integer(argv[3])
    db, key = ctx.db, argv[1]
    value = find_list(db, key)
    if value is None:
        return "OK"
    before = len(value)
    value.trim(start, stop, ctx.keyspace.limits.list_max_listpack_size)
    db.changed(key, "ltrim", before - len(value))
    if len(value) == 0:
        db.drop_empty(key)
    return "OK"


# By value -----------------------------------------------------------------------------------------


@command("LINSERT", 5, "write denyoom", keys=(1, 1, 1), since="2.2.0", complexity="O(N)")
def linsert(ctx: Context, argv: list[bytes]) -> object:
    """Inserts an element before or after another element in a list."""
    side = argv[2].upper()
    if side not in (b"BEFORE", b"AFTER"):
        raise CommandError(SYNTAX)
    db, key = ctx.db, argv[1]
    value = find_list(db, key)
    if value is None:
        return 0
    fill = ctx.keyspace.limits.list_max_listpack_size
    if not value.insert(argv[3], argv[4], side == b"AFTER", fill):
        return -1
    db.changed(key, "linsert")
    return len(value)


@command("LREM", 4, "write", keys=(1, 1, 1), complexity="O(N)")
def lrem(ctx: Context, argv: list[bytes]) -> object:
    """Removes elements from a list. Deletes the list if the last element was removed."""
    count = integer(argv[2])
    if count < -INT64_MAX:
        raise CommandError(_NO_RANGE)
    db, key = ctx.db, argv[1]
    value = find_list(db, key)
    if value is None:
        return 0
    removed = value.remove(count, argv[3], ctx.keyspace.limits.list_max_listpack_size)
    if removed:
        db.changed(key, "lrem", removed)
        if len(value) == 0:
            db.drop_empty(key)
    return removed


@command("LPOS", -3, "readonly", keys=(1, 1, 1), since="6.0.6", complexity="O(N)")
def lpos(ctx: Context, argv: list[bytes]) -> object:
    """Returns the index of matching elements in a list."""
    rank, count, most = 1, -1, 0
    i = 3
    while i < len(argv):
        option = argv[i].upper()
        if i + 1 == len(argv):
            raise CommandError(SYNTAX)
        if option == b"RANK":
            rank = integer(argv[i + 1])
            if rank < -INT64_MAX:
                raise CommandError(_NO_RANGE)
            if rank == 0:
                raise CommandError(_NO_RANK)
        elif option == b"COUNT":
            count = integer(argv[i + 1], "ERR COUNT can't be negative")
            if count < 0:
                raise CommandError("ERR COUNT can't be negative")
        elif option == b"MAXLEN":
            most = integer(argv[i + 1], "ERR MAXLEN can't be negative")
            if most < 0:
                raise CommandError("ERR MAXLEN can't be negative")
        else:
            raise CommandError(SYNTAX)
        i += 2
    value = lookup_list(ctx.db, argv[1])
    if value is None:
        return None if count < 0 else []
    if count >= 0:
        return value.find(argv[2], rank, count, most)
    found = value.find(argv[2], rank, 1, most)
    return found[0] if found else None
