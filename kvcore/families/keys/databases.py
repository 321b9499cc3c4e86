"""Commands on whole databases."""

from __future__ import annotations

from typing import Final

from kvcore.command import Context, Family, integer
from kvcore.errors import SYNTAX, CommandError
from kvcore.keyspace import Database

command = Family("server")

OUT_OF_RANGE: Final = "ERR DB index is out of range"

_INT_MIN: Final = -(1 << 31)
_INT_MAX: Final = (1 << 31) - 1
_NO_INT: Final = f"ERR value is out of range, value must between {_INT_MIN} and {_INT_MAX}"


def database(ctx: Context, arg: bytes) -> Database:
    """The database that an argument names; raises as Redis does."""
    index = integer(arg)
    if not _INT_MIN <= index <= _INT_MAX:
        raise CommandError(_NO_INT)
    if not 0 <= index < len(ctx.keyspace.databases):
        raise CommandError(OUT_OF_RANGE)
    return ctx.keyspace.databases[index]


@command("DBSIZE", 1, "readonly fast", acl="@keyspace @read @fast", complexity="O(1)")
def dbsize(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of keys in the database."""
    return ctx.db.entries.count


def _flush(ctx: Context, argv: list[bytes], databases: list[Database]) -> object:
    # ASYNC is the same here: the data is freed little by little (see kvcore.freeing).
    if len(argv) > 2 or (len(argv) == 2 and argv[1].upper() not in (b"SYNC", b"ASYNC")):
        raise CommandError(SYNTAX)
    for db in databases:
        ctx.keyspace.dirty += db.clear()
    # Named explicitly, so that it is journalled even where there was nothing to remove: what a
    # log holds from before may be more than what is in memory.
    ctx.keyspace.propagate(ctx.db.index, argv)
    return "OK"


@command("FLUSHDB", -1, "write", acl="@keyspace @write @slow @dangerous", complexity="O(N)")
def flushdb(ctx: Context, argv: list[bytes]) -> object:
    """Remove all keys from the current database."""
    return _flush(ctx, argv, [ctx.db])


@command("FLUSHALL", -1, "write", acl="@keyspace @write @slow @dangerous", complexity="O(N)")
def flushall(ctx: Context, argv: list[bytes]) -> object:
    """Removes all keys from all databases."""
    reply = _flush(ctx, argv, ctx.keyspace.databases)
    ctx.keyspace.emptied()
    return reply


def _index(arg: bytes, error: str) -> int:
    index = integer(arg, error)
    if not _INT_MIN <= index <= _INT_MAX:
        raise CommandError(error)
    return index


@command(
    "SWAPDB",
    3,
    "write fast",
    since="4.0.0",
    acl="@keyspace @write @fast @dangerous",
    complexity="O(N) where N is the number of watched keys",
)
def swapdb(ctx: Context, argv: list[bytes]) -> object:
    """Swaps two Redis databases."""
    first = _index(argv[1], "ERR invalid first DB index")
    second = _index(argv[2], "ERR invalid second DB index")
    size = len(ctx.keyspace.databases)
    if not (0 <= first < size and 0 <= second < size):
        raise CommandError(OUT_OF_RANGE)
    if first != second:
        ctx.keyspace.swap(first, second)
    ctx.keyspace.dirty += 1
    return "OK"
