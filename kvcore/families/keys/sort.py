"""SORT and SORT_RO::

    SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE target]

What can be sorted, and what hashes answer to ``key->field``, the data types say (`DataType`).
Texts are compared as bytes, as Redis does in the C locale.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from kvcore.codec.numbers import parse_float
from kvcore.command import Context, Family, integer
from kvcore.errors import SYNTAX, WRONG_TYPE, CommandError
from kvcore.families.strings.value import text
from kvcore.keyspace import Database

command = Family("generic")


class Pattern:
    """A pattern of BY or GET: where the ``*`` goes in a key's name, and which field to take.

    ``#`` is the element itself; a pattern without ``*`` finds nothing.
    """

    element: bool
    constant: bool
    prefix: bytes
    suffix: bytes
    field: bytes

    def __init__(self, pattern: bytes) -> None:
        self.element = pattern == b"#"
        self.constant = b"*" not in pattern
        self.prefix, _, rest = pattern.partition(b"*")
        self.suffix, arrow, self.field = rest.partition(b"->")
        if arrow and not self.field:
            self.suffix = rest

    def find(self, db: Database, element: bytes) -> bytes | None:
        """What the pattern stands for, given an element."""
        if self.element:
            return element
        if self.constant:
            return None
        value = db.lookup(self.prefix + element + self.suffix)
        if value is None:
            return None
        datatype = db.keyspace.types.of(value)
        if not self.field:
            return text(value) if datatype.name == "string" else None
        return None if datatype.field is None else datatype.field(value, self.field)


class Options:
    """What a SORT asks for. ``count`` negative: all; ``target``: where STORE puts it, or None."""

    by: Pattern | None
    get: list[Pattern]
    offset: int
    count: int
    descending: bool
    alpha: bool
    target: bytes | None

    def __init__(self, argv: list[bytes], may_store: bool) -> None:
        self.by = self.target = None
        self.get = []
        self.offset, self.count = 0, -1
        self.descending = self.alpha = False
        i = 2
        while i < len(argv):
            option = argv[i].upper()
            left = len(argv) - i - 1
            if option in (b"ASC", b"DESC"):
                self.descending = option == b"DESC"
            elif option == b"ALPHA":
                self.alpha = True
            elif option == b"LIMIT" and left >= 2:
                self.offset, self.count = max(integer(argv[i + 1]), 0), integer(argv[i + 2])
                i += 2
            elif option == b"STORE" and may_store and left:
                self.target = argv[i + 1]
                i += 1
            elif option == b"BY" and left:
                self.by = Pattern(argv[i + 1])
                i += 1
            elif option == b"GET" and left:
                self.get.append(Pattern(argv[i + 1]))
                i += 1
            else:
                raise CommandError(SYNTAX)
            i += 1


def _number(weight: bytes) -> float:
    """A weight as C's strtod reads it: up to a NUL, after white space; nothing at all is 0."""
    spelled = weight.partition(b"\0")[0]
    if not spelled:
        return 0.0
    number = parse_float(spelled.lstrip(b" \t\n\v\f\r"))
    if number is None:
        raise CommandError("ERR One or more scores can't be converted into double")
    return number


def _ordered(db: Database, elements: list[bytes], options: Options) -> list[bytes]:
    """The elements in the order asked for; elements without a weight come first, or count as 0.

    Python's sort keeps equals in their order, descending too.
    """
    by = options.by
    if by is None and options.alpha:
        return sorted(elements, reverse=options.descending)
    keyed: list[tuple[Any, bytes]] = []
    for element in elements:
        weight = element if by is None else by.find(db, element)
        if options.alpha:
            keyed.append(((weight is not None, weight or b""), element))
        else:
            keyed.append(((0.0 if weight is None else _number(weight), element), element))
    keyed.sort(key=itemgetter(0), reverse=options.descending)
    return [element for _, element in keyed]


def _sort(ctx: Context, argv: list[bytes], options: Options) -> list[bytes | None]:
    """The rows that a SORT gives; None where a GET finds nothing."""
    db = ctx.db
    value = db.lookup(argv[1])
    if value is None:
        return []
    datatype = ctx.keyspace.types.of(value)
    if datatype.elements is None:
        raise CommandError(WRONG_TYPE)
    elements = datatype.elements(value)
    if options.by is not None and options.by.constant:
        # Nothing to sort by: the type's own order. A set has none, so what is to be stored
        # is sorted after all: a replay must store the same.
        if datatype.name != "set":
            elements = elements[::-1] if options.descending else elements
        elif options.target is not None:
            options.by, options.alpha = None, True
            elements = _ordered(db, elements, options)
    else:
        elements = _ordered(db, elements, options)
    stop = len(elements) if options.count < 0 else options.offset + options.count
    chosen = elements[options.offset : stop]
    if not options.get:
        return list(chosen)
    return [pattern.find(db, element) for element in chosen for pattern in options.get]


def _store(ctx: Context, target: bytes, rows: list[bytes | None]) -> int:
    db = ctx.db
    if rows:
        build = ctx.keyspace.types.by_name["list"].build
        assert build is not None
        elements = [row or b"" for row in rows]
        db.store(target, build(elements, ctx.keyspace.limits))
        db.changed(target, "sortstore", len(rows))
    else:
        db.delete(target)
    return len(rows)


def _key_positions(argv: list[bytes]) -> list[int]:
    """The sorted key and the target of the last STORE (those of BY and GET come from the data)."""
    stored = 0
    i = 2
    while i < len(argv):
        option = argv[i].upper()
        if option == b"LIMIT":
            i += 2
        elif option in (b"GET", b"BY"):
            i += 1
        elif option == b"STORE" and i + 1 < len(argv):
            i += 1
            stored = i
        i += 1
    return [1, stored] if stored else [1]


@command(
    "SORT",
    -2,
    "write denyoom movablekeys",
    keys=(1, 1, 1),
    acl="@write @set @sortedset @list @slow @dangerous",
    complexity="O(N+M*log(M))",
    find_keys=_key_positions,
)
def sort(ctx: Context, argv: list[bytes]) -> object:
    """Sorts the elements in a list, a set, or a sorted set, optionally storing the result."""
    options = Options(argv, may_store=True)
    rows = _sort(ctx, argv, options)
    return rows if options.target is None else _store(ctx, options.target, rows)


@command(
    "SORT_RO",
    -2,
    "readonly movablekeys",
    keys=(1, 1, 1),
    since="7.0.0",
    acl="@read @set @sortedset @list @slow @dangerous",
    complexity="O(N+M*log(M))",
)
def sort_ro(ctx: Context, argv: list[bytes]) -> object:
    """Returns the sorted elements of a list, a set, or a sorted set."""
    return _sort(ctx, argv, Options(argv, may_store=False))
