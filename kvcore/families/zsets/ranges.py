"""The commands of sorted sets that deal with ranges: of ranks, of scores, of members."""

from __future__ import annotations

from typing import Final

from kvcore.command import Context, Family, integer
from kvcore.errors import SYNTAX, CommandError
from kvcore.families.zsets.access import find, lookup, removed, store
from kvcore.families.zsets.scores import LexRange, ScoreRange, lex_range, score_range
from kvcore.families.zsets.value import ZSet
from kvcore.reply import Pairs

command = Family("sorted-set")

# What a range is of. ZRANGE leaves it to its options, as it does the direction.
_BY_OPTION: Final = 0
_RANKS: Final = 1
_SCORES: Final = 2
_MEMBERS: Final = 3

_UP: Final = 1
_DOWN: Final = 2

_RANGE_COMPLEXITY: Final = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of "
    "elements returned."
)
_REMOVE_COMPLEXITY: Final = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of "
    "elements removed by the operation."
)
_COUNT_COMPLEXITY: Final = "O(log(N)) with N being the number of elements in the sorted set."


class Query:
    """``key first last [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]``, key at ``at``.

    ``with_scores``: they are asked for, or about to be stored. ``by`` and ``direction`` are what
    the command itself fixes: then their options are wrong. Raises CommandError.
    """

    by: int
    direction: int
    with_scores: bool
    offset: int
    count: int
    start: int
    stop: int
    scores: ScoreRange
    members: LexRange | None

    def __init__(self, argv: list[bytes], at: int, by: int, direction: int, storing: bool) -> None:
        self.by = by
        self.direction = direction
        self.with_scores = False
        self.offset = 0
        self.count = -1
        self._read_options(argv, at + 3, storing)
        if storing:
            self.with_scores = True
        low, high = argv[at + 1], argv[at + 2]
        if self.by in (_SCORES, _MEMBERS) and self.direction == _DOWN:
            low, high = high, low
        if self.by == _SCORES:
            self.scores = score_range(low, high)
        elif self.by == _MEMBERS:
            self.members = lex_range(low, high)
        else:
            self.start, self.stop = integer(low), integer(high)

    def _read_options(self, argv: list[bytes], i: int, storing: bool) -> None:
        while i < len(argv):
            option = argv[i].upper()
            if option == b"WITHSCORES" and not storing:
                self.with_scores = True
            elif option == b"LIMIT" and i + 2 < len(argv):
                self.offset, self.count = integer(argv[i + 1]), integer(argv[i + 2])
                i += 2
            elif option == b"REV" and self.direction == _BY_OPTION:
                self.direction = _DOWN
            elif option == b"BYSCORE" and self.by == _BY_OPTION:
                self.by = _SCORES
            elif option == b"BYLEX" and self.by == _BY_OPTION:
                self.by = _MEMBERS
            else:
                raise CommandError(SYNTAX)
            i += 1
        if self.by in (_BY_OPTION, _RANKS) and self.count != -1:
            raise CommandError(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or "
                "BYLEX"
            )
        if self.by == _MEMBERS and self.with_scores:
            raise CommandError(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX"
            )

    def run(self, zset: ZSet | None) -> tuple[list[bytes], list[float]]:
        """The members that it finds, in its order, and their scores if it is ``with_scores``."""
        if zset is None:
            return [], []
        offset, count = self.offset, self.count
        reverse = self.direction == _DOWN
        with_scores = self.with_scores
        if self.by == _SCORES:
            low, low_ex, high, high_ex = self.scores
            return zset.by_score(low, low_ex, high, high_ex, offset, count, reverse, with_scores)
        if self.by == _MEMBERS:
            if self.members is None:
                return [], []
            least, least_ex, most, most_ex = self.members
            return zset.by_lex(least, least_ex, most, most_ex, offset, count, reverse, with_scores)
        return zset.by_rank(self.start, self.stop, reverse, with_scores)


def _range(ctx: Context, argv: list[bytes], by: int, direction: int) -> object:
    query = Query(argv, 1, by, direction, False)
    members, scores = query.run(lookup(ctx, argv[1]))
    return Pairs(zip(members, scores)) if query.with_scores else members


@command("ZRANGE", -4, "readonly", keys=(1, 1, 1), since="1.2.0", complexity=_RANGE_COMPLEXITY)
def zrange(ctx: Context, argv: list[bytes]) -> object:
    """Returns members in a sorted set within a range of indexes."""
    return _range(ctx, argv, _BY_OPTION, _BY_OPTION)


@command("ZREVRANGE", -4, "readonly", keys=(1, 1, 1), since="1.2.0", complexity=_RANGE_COMPLEXITY)
def zrevrange(ctx: Context, argv: list[bytes]) -> object:
    """Returns members in a sorted set within a range of indexes in reverse order."""
    return _range(ctx, argv, _RANKS, _DOWN)


@command(
    "ZRANGEBYSCORE", -4, "readonly", keys=(1, 1, 1), since="1.0.5", complexity=_RANGE_COMPLEXITY
)
def zrangebyscore(ctx: Context, argv: list[bytes]) -> object:
    """Returns members in a sorted set within a range of scores."""
    return _range(ctx, argv, _SCORES, _UP)


@command(
    "ZREVRANGEBYSCORE", -4, "readonly", keys=(1, 1, 1), since="2.2.0", complexity=_RANGE_COMPLEXITY
)
def zrevrangebyscore(ctx: Context, argv: list[bytes]) -> object:
    """Returns members in a sorted set within a range of scores in reverse order."""
    return _range(ctx, argv, _SCORES, _DOWN)


@command("ZRANGEBYLEX", -4, "readonly", keys=(1, 1, 1), since="2.8.9", complexity=_RANGE_COMPLEXITY)
def zrangebylex(ctx: Context, argv: list[bytes]) -> object:
    """Returns members in a sorted set within a lexicographical range."""
    return _range(ctx, argv, _MEMBERS, _UP)


@command(
    "ZREVRANGEBYLEX", -4, "readonly", keys=(1, 1, 1), since="2.8.9", complexity=_RANGE_COMPLEXITY
)
def zrevrangebylex(ctx: Context, argv: list[bytes]) -> object:
    """Returns members in a sorted set within a lexicographical range in reverse order."""
    return _range(ctx, argv, _MEMBERS, _DOWN)


@command(
    "ZRANGESTORE",
    -5,
    "write denyoom",
    keys=(1, 2, 1),
    since="6.2.0",
    complexity="O(log(N)+M) with N being the number of elements in the sorted set and M the number "
    "of elements stored into the destination key.",
)
def zrangestore(ctx: Context, argv: list[bytes]) -> object:
    """Stores a range of members from sorted set in a key."""
    query = Query(argv, 2, _BY_OPTION, _BY_OPTION, True)
    members, scores = query.run(lookup(ctx, argv[2]))
    return store(ctx, argv[1], list(zip(members, scores)), "zrangestore")


# Counting -------------------------------------------------------------------------------------


@command("ZCOUNT", 4, "readonly fast", keys=(1, 1, 1), since="2.0.0", complexity=_COUNT_COMPLEXITY)
def zcount(ctx: Context, argv: list[bytes]) -> object:
    """Returns the count of members in a sorted set that have scores within a range."""
    low, low_ex, high, high_ex = score_range(argv[2], argv[3])
    zset = lookup(ctx, argv[1])
    return 0 if zset is None else zset.count_by_score(low, low_ex, high, high_ex)


@command(
    "ZLEXCOUNT", 4, "readonly fast", keys=(1, 1, 1), since="2.8.9", complexity=_COUNT_COMPLEXITY
)
def zlexcount(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of members in a sorted set within a lexicographical range."""
    members = lex_range(argv[2], argv[3])
    zset = lookup(ctx, argv[1])
    if zset is None or members is None:
        return 0
    low, low_ex, high, high_ex = members
    return zset.count_by_lex(low, low_ex, high, high_ex)


# Removing -------------------------------------------------------------------------------------


@command(
    "ZREMRANGEBYRANK", 4, "write", keys=(1, 1, 1), since="2.0.0", complexity=_REMOVE_COMPLEXITY
)
def zremrangebyrank(ctx: Context, argv: list[bytes]) -> object:
    """Removes members in a sorted set within a range of indexes. Deletes the sorted set if all
    members were removed."""
    start, stop = integer(argv[2]), integer(argv[3])
    zset = find(ctx, argv[1])
    if zset is None:
        return 0
    count = len(zset.delete_by_rank(start, stop))
    removed(ctx, argv[1], zset, "zremrangebyrank", count)
    return count


@command(
    "ZREMRANGEBYSCORE", 4, "write", keys=(1, 1, 1), since="1.2.0", complexity=_REMOVE_COMPLEXITY
)
def zremrangebyscore(ctx: Context, argv: list[bytes]) -> object:
    """Removes members in a sorted set within a range of scores. Deletes the sorted set if all
    members were removed."""
    low, low_ex, high, high_ex = score_range(argv[2], argv[3])
    zset = find(ctx, argv[1])
    if zset is None:
        return 0
    count = len(zset.delete_by_score(low, low_ex, high, high_ex))
    removed(ctx, argv[1], zset, "zremrangebyscore", count)
    return count


@command("ZREMRANGEBYLEX", 4, "write", keys=(1, 1, 1), since="2.8.9", complexity=_REMOVE_COMPLEXITY)
def zremrangebylex(ctx: Context, argv: list[bytes]) -> object:
    """Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all
    members were removed."""
    members = lex_range(argv[2], argv[3])
    zset = find(ctx, argv[1])
    if zset is None or members is None:
        return 0
    low, low_ex, high, high_ex = members
    count = len(zset.delete_by_lex(low, low_ex, high, high_ex))
    removed(ctx, argv[1], zset, "zremrangebylex", count)
    return count
