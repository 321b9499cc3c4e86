"""The commands of sorted sets that deal with members; see also ``ranges.py`` and ``algebra.py``."""

from __future__ import annotations

from random import choices, sample
from typing import Final

from kvcore.codec.numbers import INT64_MAX, INT64_MIN
from kvcore.command import Context, Family, ScanOptions, integer, number, scan_cursor, wrong_arity
from kvcore.datatype import MOST_PACKED
from kvcore.errors import NOT_POSITIVE, SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.zsets.access import find, lookup, numbered_keys, removed
from kvcore.families.zsets.rdb import born_packed
from kvcore.families.zsets.scores import spell
from kvcore.families.zsets.value import ADDED, UPDATED, ZSet
from kvcore.reply import NIL_ARRAY, Pairs

command = Family("sorted-set")

# Repeated members of one ZRANDMEMBER: more would fill the memory before the first is sent.
_MOST_REPEATED: Final = 1 << 24


# Adding ---------------------------------------------------------------------------------------

_NINE: Final = 57
_NX: Final = 1
_XX: Final = 2
_GT: Final = 4
_LT: Final = 8
_CH: Final = 16
_INCR: Final = 32

_ADD_OPTIONS: Final = {b"NX": _NX, b"XX": _XX, b"GT": _GT, b"LT": _LT, b"CH": _CH, b"INCR": _INCR}


@command(
    "ZADD",
    -4,
    "write denyoom fast",
    keys=(1, 1, 1),
    since="1.2.0",
    complexity="O(log(N)) for each item added, where N is the number of elements in the sorted "
    "set.",
)
def zadd(ctx: Context, argv: list[bytes]) -> object:
    """Adds one or more members to a sorted set, or updates their scores. Creates the key if it
    doesn't exist."""
    return _add(ctx, argv, 0)


@command(
    "ZINCRBY",
    4,
    "write denyoom fast",
    keys=(1, 1, 1),
    since="1.2.0",
    complexity="O(log(N)) where N is the number of elements in the sorted set.",
)
def zincrby(ctx: Context, argv: list[bytes]) -> object:
    """Increments the score of a member in a sorted set."""
    return _add(ctx, argv, _INCR)


def _add(ctx: Context, argv: list[bytes], options: int) -> object:
    """ZADD with these options and those of the request (which ZINCRBY reads too, as in Redis)."""
    size = len(argv)
    first, options = _read_options(argv, options)
    if first == size or (size - first) % 2:
        raise CommandError(SYNTAX)
    if options:
        _check_options(options, size - first)
    scores = []
    for at in range(first, size, 2):
        scores.append(number(argv[at]))
    db, key = ctx.db, argv[1]
    limits = ctx.keyspace.limits
    zset = db.find(key)
    if zset is None:
        if options & _XX:
            return None if options & _INCR else 0
        if not options and len(scores) <= MOST_PACKED:
            members = argv[first + 1 :: 2]
            made = dict(zip(members, scores))
            packed = born_packed(made, limits)
            if packed is not None:
                db.set(key, packed)
                updated = _updates(members, scores) if len(made) < len(members) else 0
                db.changed(key, "zadd", len(made) + updated)
                return len(made)
        zset = ZSet()
        db.store(key, zset)
    elif not isinstance(zset, ZSet):
        raise CommandError(WRONG_TYPE)
    max_entries = limits.zset_max_listpack_entries
    max_value = limits.zset_max_listpack_value
    added = updated = 0
    score: float | None = None
    at = first + 1
    for score in scores:
        member = argv[at]
        at += 2
        if options:
            score = _admitted(zset, member, score, options)
            if score is None:
                continue
        outcome = zset.add(member, score, max_entries, max_value)
        if outcome == ADDED:
            added += 1
        elif outcome == UPDATED:
            updated += 1
    if added or updated:
        db.changed(key, "zincr" if options & _INCR else "zadd", added + updated)
    if options & _INCR:
        return score
    return added + updated if options & _CH else added


def _read_options(argv: list[bytes], options: int) -> tuple[int, int]:
    """Where the first score stands, and these options with those before it."""
    at = 2
    while at < len(argv):
        word = argv[at]
        if word and word[0] <= _NINE:
            break  # as most scores begin; every option begins with a letter
        option = _ADD_OPTIONS.get(word.upper())
        if option is None:
            break
        options |= option
        at += 1
    return at, options


def _updates(members: list[bytes], scores: list[float]) -> int:
    """How often a member comes again with another score."""
    updates = 0
    latest: dict[bytes, float] = {}
    for member, score in zip(members, scores):
        if latest.get(member, score) != score:
            updates += 1
        latest[member] = score
    return updates


def _check_options(options: int, args: int) -> None:
    if options & _NX and options & _XX:
        raise CommandError("ERR XX and NX options at the same time are not compatible")
    if (options & _GT and options & (_NX | _LT)) or (options & _LT and options & _NX):
        raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
    if options & _INCR and args > 2:
        raise CommandError("ERR INCR option supports a single increment-element pair")


def _admitted(zset: ZSet, member: bytes, score: float, options: int) -> float | None:
    """The score that the options let the member have, or None; raises CommandError for NaN."""
    before = zset.score(member)
    if before is None:
        return None if options & _XX else score
    if options & _NX:
        return None
    if options & _INCR:
        score += before
        if score != score:
            raise CommandError("ERR resulting score is not a number (NaN)")
    if (options & _GT and score <= before) or (options & _LT and score >= before):
        return None
    return score


# Removing -------------------------------------------------------------------------------------


@command(
    "ZREM",
    -3,
    "write fast",
    keys=(1, 1, 1),
    since="1.2.0",
    complexity="O(M*log(N)) with N being the number of elements in the sorted set and M the number "
    "of elements to be removed.",
)
def zrem(ctx: Context, argv: list[bytes]) -> object:
    """Removes one or more members from a sorted set. Deletes the sorted set if all members were
    removed."""
    zset = find(ctx, argv[1])
    if zset is None:
        return 0
    count = 0
    for i in range(2, len(argv)):
        if zset.remove(argv[i]):
            count += 1
    removed(ctx, argv[1], zset, "zrem", count)
    return count


_POP_COMPLEXITY: Final = (
    "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of "
    "elements popped."
)


@command("ZPOPMIN", -2, "write fast", keys=(1, 1, 1), since="5.0.0", complexity=_POP_COMPLEXITY)
def zpopmin(ctx: Context, argv: list[bytes]) -> object:
    """Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted
    set if the last member was popped."""
    return _pop(ctx, argv, False)


@command("ZPOPMAX", -2, "write fast", keys=(1, 1, 1), since="5.0.0", complexity=_POP_COMPLEXITY)
def zpopmax(ctx: Context, argv: list[bytes]) -> object:
    """Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted
    set if the last member was popped."""
    return _pop(ctx, argv, True)


def _pop(ctx: Context, argv: list[bytes], highest: bool) -> object:
    if len(argv) > 3:
        raise CommandError(SYNTAX)
    count = 1
    if len(argv) == 3:
        count = integer(argv[2], NOT_POSITIVE)
        if count < 0:
            raise CommandError(NOT_POSITIVE)
    zset = find(ctx, argv[1])
    if zset is None or count == 0:
        return []
    popped = _take(ctx, argv[1], zset, count, highest)
    return Pairs(popped) if len(argv) == 3 else list(popped[0])


def _take(
    ctx: Context, key: bytes, zset: ZSet, count: int, highest: bool
) -> list[tuple[bytes, float]]:
    popped = zset.pop_max(count) if highest else zset.pop_min(count)
    removed(ctx, key, zset, "zpopmax" if highest else "zpopmin", len(popped))
    return popped


def _zmpop_keys(argv: list[bytes]) -> list[int]:
    return numbered_keys(argv, 1)


@command(
    "ZMPOP",
    -4,
    "write movablekeys",
    since="7.0.0",
    complexity="O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of "
    "elements in the sorted set, and M being the number of elements popped.",
    find_keys=_zmpop_keys,
)
def zmpop(ctx: Context, argv: list[bytes]) -> object:
    """Returns the highest- or lowest-scoring members from one or more sorted sets after removing
    them. Deletes the sorted set if the last member was popped."""
    keys = _at_least_one(argv[1], "ERR numkeys should be greater than 0")
    where = 2 + keys
    if where >= len(argv) or argv[where].upper() not in (b"MIN", b"MAX"):
        raise CommandError(SYNTAX)
    highest = argv[where].upper() == b"MAX"
    count = 1
    if len(argv) > where + 1:
        if len(argv) != where + 3 or argv[where + 1].upper() != b"COUNT":
            raise CommandError(SYNTAX)
        count = _at_least_one(argv[where + 2], "ERR count should be greater than 0")
    for i in range(2, where):
        zset = find(ctx, argv[i])
        if zset is not None:
            popped = _take(ctx, argv[i], zset, count, highest)
            name = b"ZPOPMAX" if highest else b"ZPOPMIN"
            ctx.keyspace.propagate(ctx.db.index, [name, argv[i], b"%d" % len(popped)])
            return [argv[i], [list(pair) for pair in popped]]
    return NIL_ARRAY


def _at_least_one(arg: bytes, error: str) -> int:
    value = integer(arg, error)
    if value < 1:
        raise CommandError(error)
    return value


# One member -----------------------------------------------------------------------------------


@command("ZCARD", 2, "readonly fast", keys=(1, 1, 1), since="1.2.0", complexity="O(1)")
def zcard(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of members in a sorted set."""
    zset = lookup(ctx, argv[1])
    return 0 if zset is None else len(zset)


@command("ZSCORE", 3, "readonly fast", keys=(1, 1, 1), since="1.2.0", complexity="O(1)")
def zscore(ctx: Context, argv: list[bytes]) -> object:
    """Returns the score of a member in a sorted set."""
    zset = ctx.db.lookup(argv[1])
    if isinstance(zset, ZSet):
        return zset.score(argv[2])
    if zset is None:
        return None
    raise CommandError(WRONG_TYPE)


@command(
    "ZMSCORE",
    -3,
    "readonly fast",
    keys=(1, 1, 1),
    since="6.2.0",
    complexity="O(N) where N is the number of members being requested.",
)
def zmscore(ctx: Context, argv: list[bytes]) -> object:
    """Returns the score of one or more members in a sorted set."""
    zset = lookup(ctx, argv[1])
    if zset is None:
        return [None] * (len(argv) - 2)
    return [zset.score(member) for member in argv[2:]]


@command("ZRANK", -3, "readonly fast", keys=(1, 1, 1), since="2.0.0", complexity="O(log(N))")
def zrank(ctx: Context, argv: list[bytes]) -> object:
    """Returns the index of a member in a sorted set ordered by ascending scores."""
    return _rank(ctx, argv, False)


@command("ZREVRANK", -3, "readonly fast", keys=(1, 1, 1), since="2.0.0", complexity="O(log(N))")
def zrevrank(ctx: Context, argv: list[bytes]) -> object:
    """Returns the index of a member in a sorted set ordered by descending scores."""
    return _rank(ctx, argv, True)


def _rank(ctx: Context, argv: list[bytes], reverse: bool) -> object:
    with_score = len(argv) == 4
    if len(argv) > 4:
        raise CommandError(wrong_arity("zrevrank" if reverse else "zrank"))
    if with_score and argv[3].upper() != b"WITHSCORE":
        raise CommandError(SYNTAX)
    zset = lookup(ctx, argv[1])
    rank: int | None = None
    if zset is not None:
        rank = zset.reverse_rank(argv[2]) if reverse else zset.rank(argv[2])
    if zset is None or rank is None:
        return NIL_ARRAY if with_score else None
    return [rank, zset.score(argv[2])] if with_score else rank


# Random members and scans ---------------------------------------------------------------------


@command(
    "ZRANDMEMBER",
    -2,
    "readonly",
    keys=(1, 1, 1),
    since="6.2.0",
    complexity="O(N) where N is the number of elements returned",
)
def zrandmember(ctx: Context, argv: list[bytes]) -> object:
    """Returns one or more random members from a sorted set."""
    if len(argv) == 2:
        zset = lookup(ctx, argv[1])
        return None if zset is None else zset.random_member()
    count = integer(argv[2])
    if count == INT64_MIN:
        raise CommandError(
            f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}"
        )
    if len(argv) > 4 or (len(argv) == 4 and argv[3].upper() != b"WITHSCORES"):
        raise CommandError(SYNTAX)
    if len(argv) == 4 and abs(count) > INT64_MAX // 2:
        raise CommandError("ERR value is out of range")
    zset = lookup(ctx, argv[1])
    if zset is None:
        return []
    picked = _pick(zset, count)
    if len(argv) == 3:
        return picked
    return Pairs([(member, zset.score(member)) for member in picked])


def _pick(zset: ZSet, count: int) -> list[bytes]:
    """Random members, each as likely as any other: different ones if positive, else any."""
    if count < -_MOST_REPEATED:
        raise CommandError(f"ERR value is out of range, value must be at least {-_MOST_REPEATED}")
    size = len(zset)
    if abs(count) * 4 > size:
        members = [member for member, _ in zset.items()]
        if count >= size:
            return members
        return sample(members, count) if count >= 0 else choices(members, k=-count)
    if count < 0:
        return [zset.random_member() for _ in range(-count)]
    different: set[bytes] = set()
    while len(different) < count:
        different.add(zset.random_member())
    return list(different)


@command("ZSCAN", -3, "readonly", keys=(1, 1, 1), since="2.8.0", complexity="O(1) for every call.")
def zscan(ctx: Context, argv: list[bytes]) -> object:
    """Iterates over members and scores of a sorted set."""
    cursor = scan_cursor(argv[2])
    zset = lookup(ctx, argv[1])
    if zset is None:
        return [b"0", []]
    options = ScanOptions(argv, 3)
    cursor, found = zset.scan(cursor)
    while cursor and len(found) < options.count:
        cursor, more = zset.scan(cursor)
        found += more
    glob = options.glob
    reply: list[bytes] = []
    for member, score in found:
        if glob is None or glob.match(member):
            reply.append(member)
            reply.append(spell(zset, score))
    return [b"%d" % cursor, reply]
