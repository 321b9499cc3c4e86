"""Sets in RDB::

    2  (set)             length, members as strings
    11 (set, intset)     one string: an intset
    20 (set, listpack)   one string: a listpack (Redis 7.2)

Written are 11 while all members are integers and few, and since RDB version 11 20 while the
encoding is listpack; else 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvcore import digest
from kvcore.codec import intset, listpack
from kvcore.codec.numbers import parse_int
from kvcore.codec.rdb import LONGEST_SPAN, SINCE, Reader, Writer, pack_strings, plain_string
from kvcore.datatype import FULL, MADE, MOST_PACKED, TAKEN, DataType, Limits
from kvcore.families.sets.value import INTSET, LISTPACK, Set, build
from kvcore.packed import Packed

RDB_SET: Final = 2
RDB_SET_INTSET: Final = 11
RDB_SET_LISTPACK: Final = 20

_REWRITTEN_TOGETHER: Final = 64
_INTSET_HEADER: Final = 8
_STEP: Final = 1024  # members read at once


def _rdb_code(value: Set, version: int) -> int:
    if value.encoding == INTSET:
        return RDB_SET_INTSET
    packed = value.encoding == LISTPACK and version >= SINCE[RDB_SET_LISTPACK]
    return RDB_SET_LISTPACK if packed else RDB_SET


def _save(value: Set, writer: Writer) -> None:
    if value.encoding == INTSET:
        writer.string(value.as_intset())
        return
    if _rdb_code(value, writer.version) == RDB_SET_LISTPACK:
        writer.string(value.as_listpack())
        return
    writer.length(len(value))
    for members in _in_steps(value):
        for member in members:
            writer.string(member)


def _in_steps(value: Set) -> Iterator[list[bytes]]:
    """All members. Never all at once: there may be millions, a forked child has no room for a
    second set, and a thread that saves would keep the others waiting."""
    cursor, members = value.scan(0)
    yield members
    while cursor:
        cursor, members = value.scan(cursor)
        yield members


def _load(code: int, reader: Reader, limits: Limits) -> Set:
    start = reader.offset
    if code == RDB_SET:
        count = reader.length()
        members = set()
        for done in range(0, count, _STEP):
            members.update(reader.strings(min(count - done, _STEP)))
    else:
        packed = reader.string()
        try:
            if code == RDB_SET_INTSET:
                found = [b"%d" % number for number in intset.decode(packed)]
            else:
                found = listpack.decode(packed)
        except ValueError as error:
            raise reader.fail(str(error), offset=start) from None
        count = len(found)
        members = set(found)
    if len(members) != count:
        raise reader.fail("set with the same member twice", offset=start)
    if count == 0 and code == RDB_SET_INTSET:
        raise reader.fail("empty set", offset=start)  # so it is damage in Redis, too
    if count == 0:
        raise reader.empty("set", start)
    if code == RDB_SET_INTSET and count <= limits.set_max_intset_entries:
        return Set.of_integers(members)
    return build(members, limits)


def _small(value: Set) -> bool:
    return len(value) <= MOST_PACKED and value.weight() <= LONGEST_SPAN


def _open(code: int, payload: bytes) -> Set:
    return Set.open_intset(payload) if code == RDB_SET_INTSET else Set.open_listpack(payload)


def _take(code: int, reader: Reader, limits: Limits) -> Packed | None:
    """An intset, or few members one by one, as Redis 7.0 writes them. A listpack is decoded, and
    then packed anew: see `Limits`, which may make an intset of it."""
    if code == RDB_SET_INTSET:
        if reader.count() == _INTSET_HEADER:  # empty
            return None
        payload = reader.span(b"", 1, _INTSET_HEADER + 2 * limits.set_max_intset_entries)
        return None if payload is None else _TAKEN_INTSET.cls(payload)
    count = reader.count()
    if code != RDB_SET or not 0 < count <= MOST_PACKED:
        return None
    payload = reader.span_strings(count, limits.set_max_listpack_value)
    if payload is None:
        return None
    full = reader.over or count > limits.set_max_listpack_entries
    if not reader.words and (full or count > limits.set_max_intset_entries):
        reader.give_back(len(payload))  # it may be an intset, or not: `_load` finds out
        return None
    return (_FULL if full else _FEW).cls(payload)


def _rewrite(key: bytes, value: Set) -> Iterator[list[bytes]]:
    argv = [b"SADD", key]
    for members in _in_steps(value):
        for member in members:
            argv.append(member)
            if len(argv) == 2 + _REWRITTEN_TOGETHER:
                yield argv
                argv = [b"SADD", key]
    if len(argv) > 2:
        yield argv


def _digest(value: Set, seed: bytes) -> bytes:
    for member in value.members():
        seed = digest.xor(seed, member)
    return seed


TYPE = DataType(
    "set",
    number=2,
    classes=(Set,),
    rdb_codes=(RDB_SET, RDB_SET_INTSET, RDB_SET_LISTPACK),
    encoding=lambda value, limits: value.encoding,
    rdb_code=_rdb_code,
    save=_save,
    load=_load,
    rewrite=_rewrite,
    copy=Set.copy,
    digest=_digest,
    length=len,
    elements=lambda value: list(value.members()),
    small=_small,
    open=_open,
    take=_take,
)


_MADE: Final = TYPE.form(RDB_SET_LISTPACK, MADE)
_MADE_INTSET: Final = TYPE.form(RDB_SET_INTSET, MADE)
_TAKEN_INTSET: Final = TYPE.form(RDB_SET_INTSET, TAKEN)
_FEW: Final = TYPE.form(RDB_SET, TAKEN)
_FULL: Final = TYPE.form(RDB_SET, FULL)


def born_packed(distinct: set[bytes], limits: Limits) -> Packed | None:
    """A new set of these members, packed at once. None if it would not be small."""
    members = list(distinct)
    count = len(members)
    if count <= limits.set_max_intset_entries:
        numbers = _integers(members)
        if numbers is not None:
            numbers.sort()
            return _MADE_INTSET.cls(plain_string(intset.encode(numbers)))
    if (
        count <= limits.set_max_listpack_entries
        and listpack.longest(members) <= limits.set_max_listpack_value
    ):
        if count > limits.set_max_intset_entries:
            return None  # which it is depends on their order
        packed = listpack.encode(members)
        return _MADE.cls(plain_string(packed)) if len(packed) < LONGEST_SPAN else None
    payload = pack_strings(count, members)
    return None if payload is None else _FULL.cls(payload)


def _integers(members: list[bytes]) -> list[int] | None:
    """The members as integers, if all of them are."""
    numbers: list[int] = []
    for member in members:
        number = parse_int(member)
        if number is None:
            return None
        numbers.append(number)
    return numbers
