"""How the commands reach sorted sets, and leave them behind."""

from __future__ import annotations

from kvcore.codec.numbers import parse_int
from kvcore.command import Context
from kvcore.errors import WRONG_TYPE, CommandError
from kvcore.families.zsets.value import ZSet


def lookup(ctx: Context, key: bytes) -> ZSet | None:
    """The sorted set for a reading command; None if the key is absent. Raises WRONGTYPE."""
    value = ctx.db.lookup(key)
    if value is None or isinstance(value, ZSet):
        return value
    raise CommandError(WRONG_TYPE)


def find(ctx: Context, key: bytes) -> ZSet | None:
    """The sorted set for a writing command; None if the key is absent. Raises WRONGTYPE."""
    value = ctx.db.find(key)
    if value is None or isinstance(value, ZSet):
        return value
    raise CommandError(WRONG_TYPE)


def removed(ctx: Context, key: bytes, zset: ZSet, event: str, count: int) -> None:
    """So many members were removed: tell it, and delete the key if nothing is left."""
    if count:
        ctx.db.changed(key, event, count)
        if len(zset) == 0:
            ctx.db.drop_empty(key)


def store(ctx: Context, key: bytes, items: list[tuple[bytes, float]], event: str) -> int:
    """Put these (member, score) in place of what the key holds, nothing in place of nothing;
    returns how many they are."""
    db = ctx.db
    if items:
        limits = ctx.keyspace.limits
        max_entries = limits.zset_max_listpack_entries
        db.store(key, ZSet.of(items, max_entries, limits.zset_max_listpack_value))
        db.changed(key, event)
    else:
        db.delete(key)
    return len(items)


def numbered_keys(argv: list[bytes], at: int) -> list[int]:
    """Where the keys are whose number stands at argv[at]; empty if it makes no sense."""
    count = parse_int(argv[at])
    if count is None or not 0 < count < len(argv) - at:
        return []
    return list(range(at + 1, at + 1 + count))
