"""ZUNION, ZINTER, ZDIFF, where they are stored, and ZINTERCARD.

Inputs are sorted sets, or sets, whose members count with the score 1. As in Redis, union and
intersection take their inputs from the smallest to the largest, which decides how sums are
rounded, and a sum or product that is not a number becomes 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Final, Protocol, cast

from kvcore.command import Context, Family, integer, number
from kvcore.errors import SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.zsets.access import numbered_keys, store
from kvcore.families.zsets.value import ZSet
from kvcore.reply import Pairs

command = Family("sorted-set")

_SUM: Final = 0
_MIN: Final = 1
_MAX: Final = 2
_AGGREGATES: Final = {b"SUM": _SUM, b"MIN": _MIN, b"MAX": _MAX}

# What may follow the keys.
_WEIGHTS: Final = 1
_SCORES: Final = 2
_LIMIT: Final = 4

_UNION_COMPLEXITY: Final = (
    "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the "
    "number of elements in the resulting sorted set."
)
_INTER_COMPLEXITY: Final = (
    "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number "
    "of input sorted sets and M being the number of elements in the resulting sorted set."
)
_DIFF_COMPLEXITY: Final = (
    "O(N*K+M*log(M)) worst case with N being the size of the first set, K the number of input sets "
    "and M the number of elements in the resulting sorted set."
)


class Members(Protocol):
    """What is asked of a set, which belongs to another family."""

    def has(self, member: bytes) -> bool: ...


class Source:
    """One input: a sorted set, a set (``zset`` is None), or nothing (so is ``members``)."""

    zset: ZSet | None
    members: Members | None
    elements: list[bytes]
    size: int
    weight: float

    def __init__(self, ctx: Context, key: bytes) -> None:
        self.zset = self.members = None
        self.elements = []
        self.size = 0
        self.weight = 1.0
        value = ctx.db.lookup(key)
        if value is None:
            return
        if isinstance(value, ZSet):
            self.zset = value
            self.size = len(value)
            return
        datatype = ctx.keyspace.types.of(value)
        if datatype.name != "set" or datatype.elements is None:
            raise CommandError(WRONG_TYPE)
        self.elements = datatype.elements(value)
        self.size = len(self.elements)
        self.members = cast("Members", value)

    def score(self, member: bytes) -> float | None:
        if self.zset is not None:
            return self.zset.score(member)
        return 1.0 if self.members is not None and self.members.has(member) else None

    def items(self) -> Iterable[tuple[bytes, float]]:
        if self.zset is not None:
            return self.zset.items()
        return [(element, 1.0) for element in self.elements]


class Operation:
    """``numkeys key … [WEIGHTS …] [AGGREGATE …] [WITHSCORES] [LIMIT …]``, numkeys at ``at``.

    ``allowed`` says which options the command has. Raises CommandError.
    """

    sources: list[Source]
    aggregate: int
    with_scores: bool
    limit: int

    def __init__(self, ctx: Context, argv: list[bytes], at: int, allowed: int, name: str) -> None:
        count = integer(argv[at])
        if count < 1:
            raise CommandError(f"ERR at least 1 input key is needed for '{name}' command")
        first = at + 1 + count
        if first > len(argv):
            raise CommandError(SYNTAX)
        self.sources = [Source(ctx, argv[i]) for i in range(at + 1, first)]
        self.aggregate = _SUM
        self.with_scores = False
        self.limit = 0
        self._read_options(argv, first, allowed)

    def _read_options(self, argv: list[bytes], i: int, allowed: int) -> None:
        while i < len(argv):
            option = argv[i].upper()
            left = len(argv) - i - 1
            if option == b"WEIGHTS" and allowed & _WEIGHTS and left >= len(self.sources):
                for source in self.sources:
                    i += 1
                    source.weight = number(argv[i], "ERR weight value is not a float")
            elif option == b"AGGREGATE" and allowed & _WEIGHTS and left:
                i += 1
                aggregate = _AGGREGATES.get(argv[i].upper())
                if aggregate is None:
                    raise CommandError(SYNTAX)
                self.aggregate = aggregate
            elif option == b"WITHSCORES" and allowed & _SCORES:
                self.with_scores = True
            elif option == b"LIMIT" and allowed & _LIMIT and left:
                i += 1
                self.limit = integer(argv[i], "ERR LIMIT can't be negative")
                if self.limit < 0:
                    raise CommandError("ERR LIMIT can't be negative")
            else:
                raise CommandError(SYNTAX)
            i += 1

    def union(self) -> dict[bytes, float]:
        """The members of any input."""
        found: dict[bytes, float] = {}
        for source in sorted(self.sources, key=_size):
            weight = source.weight
            for member, score in source.items():
                score = _number(score * weight)
                before = found.get(member)
                if before is not None:
                    score = self._join(before, score)
                found[member] = score
        return found

    def intersection(self) -> dict[bytes, float]:
        """The members of every input."""
        found: dict[bytes, float] = {}
        smallest, *others = sorted(self.sources, key=_size)
        for member, score in smallest.items():
            total = _number(score * smallest.weight)
            for other in others:
                another = other.score(member)
                if another is None:
                    break
                total = self._join(total, another * other.weight)
            else:
                found[member] = total
        return found

    def intersection_size(self) -> int:
        """How many members every input has, counted up to ``limit`` (0: all)."""
        smallest, *others = sorted(self.sources, key=_size)
        count = 0
        for member, _ in smallest.items():
            for other in others:
                if other.score(member) is None:
                    break
            else:
                count += 1
                if count == self.limit:
                    break
        return count

    def difference(self) -> dict[bytes, float]:
        """The members of the first input that no other has."""
        first, *others = self.sources
        found = dict(first.items())
        for other in others:
            if other.size < len(found):
                for member, _ in other.items():
                    found.pop(member, None)
            else:
                found = {each: found[each] for each in found if other.score(each) is None}
        return found

    def _join(self, one: float, another: float) -> float:
        if self.aggregate == _SUM:
            return _number(one + another)
        if self.aggregate == _MIN:
            return another if another < one else one
        return another if another > one else one

    def reply(self, found: dict[bytes, float]) -> object:
        """The members in order, with their scores if asked for."""
        ordered = sorted(found.items(), key=itemgetter(1, 0))
        return Pairs(ordered) if self.with_scores else [member for member, _ in ordered]


def _size(source: Source) -> int:
    return source.size


def _number(score: float) -> float:
    """0 if it is no number."""
    return score if score == score else 0.0


def _keys(argv: list[bytes]) -> list[int]:
    return numbered_keys(argv, 1)


def _keys_and_target(argv: list[bytes]) -> list[int]:
    sources = numbered_keys(argv, 2)
    return [1, *sources] if sources else []


# Answering ------------------------------------------------------------------------------------


@command(
    "ZUNION",
    -3,
    "readonly movablekeys",
    since="6.2.0",
    complexity=_UNION_COMPLEXITY,
    find_keys=_keys,
)
def zunion(ctx: Context, argv: list[bytes]) -> object:
    """Returns the union of multiple sorted sets."""
    operation = Operation(ctx, argv, 1, _WEIGHTS | _SCORES, "zunion")
    return operation.reply(operation.union())


@command(
    "ZINTER",
    -3,
    "readonly movablekeys",
    since="6.2.0",
    complexity=_INTER_COMPLEXITY,
    find_keys=_keys,
)
def zinter(ctx: Context, argv: list[bytes]) -> object:
    """Returns the intersect of multiple sorted sets."""
    operation = Operation(ctx, argv, 1, _WEIGHTS | _SCORES, "zinter")
    return operation.reply(operation.intersection())


@command(
    "ZDIFF",
    -3,
    "readonly movablekeys",
    since="6.2.0",
    complexity=_DIFF_COMPLEXITY,
    find_keys=_keys,
)
def zdiff(ctx: Context, argv: list[bytes]) -> object:
    """Returns the difference between multiple sorted sets."""
    operation = Operation(ctx, argv, 1, _SCORES, "zdiff")
    return operation.reply(operation.difference())


@command(
    "ZINTERCARD",
    -3,
    "readonly movablekeys",
    since="7.0.0",
    complexity="O(N*K) worst case with N being the smallest input sorted set, K being the number "
    "of input sorted sets.",
    find_keys=_keys,
)
def zintercard(ctx: Context, argv: list[bytes]) -> object:
    """Returns the number of members of the intersect of multiple sorted sets."""
    return Operation(ctx, argv, 1, _LIMIT, "zintercard").intersection_size()


# Storing --------------------------------------------------------------------------------------


@command(
    "ZUNIONSTORE",
    -4,
    "write denyoom movablekeys",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity=_UNION_COMPLEXITY,
    find_keys=_keys_and_target,
)
def zunionstore(ctx: Context, argv: list[bytes]) -> object:
    """Stores the union of multiple sorted sets in a key."""
    found = Operation(ctx, argv, 2, _WEIGHTS, "zunionstore").union()
    return store(ctx, argv[1], list(found.items()), "zunionstore")


@command(
    "ZINTERSTORE",
    -4,
    "write denyoom movablekeys",
    keys=(1, 1, 1),
    since="2.0.0",
    complexity=_INTER_COMPLEXITY,
    find_keys=_keys_and_target,
)
def zinterstore(ctx: Context, argv: list[bytes]) -> object:
    """Stores the intersect of multiple sorted sets in a key."""
    found = Operation(ctx, argv, 2, _WEIGHTS, "zinterstore").intersection()
    return store(ctx, argv[1], list(found.items()), "zinterstore")


@command(
    "ZDIFFSTORE",
    -4,
    "write denyoom movablekeys",
    keys=(1, 1, 1),
    since="6.2.0",
    complexity=_DIFF_COMPLEXITY,
    find_keys=_keys_and_target,
)
def zdiffstore(ctx: Context, argv: list[bytes]) -> object:
    """Stores the difference of multiple sorted sets in a key."""
    found = Operation(ctx, argv, 2, 0, "zdiffstore").difference()
    return store(ctx, argv[1], list(found.items()), "zdiffstore")
