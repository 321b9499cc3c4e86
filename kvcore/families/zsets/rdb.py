"""Sorted sets in RDB: what `DataType` asks of them.

====  ==================================================================
3     a length and as many members (RDB strings) with scores in decimal
5     the same with binary scores (since Redis 4.0)
12    an RDB string that holds a ziplist of members and scores in turn, in order
17    the same as a listpack (since Redis 7.0)
====  ==================================================================

Written are 17 while the encoding is listpack (12 before RDB version 10), else 5, from the highest
down, as Redis does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvcore import digest
from kvcore.codec import listpack, ziplist
from kvcore.codec.rdb import LONGEST_SPAN, SINCE, Reader, Writer, plain_string
from kvcore.datatype import FULL, MADE, MOST_PACKED, TAKEN, DataType, Limits
from kvcore.families.zsets.value import LISTPACK, ZSet, spell_packed
from kvcore.packed import Packed

RDB_ZSET: Final = 3
RDB_ZSET_2: Final = 5
RDB_ZSET_ZIPLIST: Final = 12
RDB_ZSET_LISTPACK: Final = 17

_REWRITE_ITEMS: Final = 64
_STEP: Final = 1024
# What a score is made of; float() would take spaces and underscores, too.
_SCORE_BYTES: Final = b"0123456789+-.einfEINF"


def _rdb_code(value: ZSet, version: int) -> int:
    if value.encoding != LISTPACK:
        return RDB_ZSET_2
    return RDB_ZSET_ZIPLIST if version < SINCE[RDB_ZSET_LISTPACK] else RDB_ZSET_LISTPACK


def _save(value: ZSet, writer: Writer) -> None:
    if value.encoding == LISTPACK:
        packed = value.as_listpack()
        old = writer.version < SINCE[RDB_ZSET_LISTPACK]
        writer.string(ziplist.encode(listpack.decode(packed)) if old else packed)
        return
    writer.length(len(value))
    for members, scores in _in_steps(value, True):
        for place in range(len(members)):
            writer.string(members[place])
            writer.double(scores[place])


def _in_steps(value: ZSet, reverse: bool) -> Iterator[tuple[list[bytes], list[float]]]:
    """All members in order, and their scores. Never all at once: there may be millions, and a
    thread that saves would keep the others waiting."""
    for start in range(0, len(value), _STEP):
        yield value.by_rank(start, start + _STEP - 1, reverse)


def _load(code: int, reader: Reader, limits: Limits) -> ZSet:
    start = reader.offset
    max_entries = limits.zset_max_listpack_entries
    try:
        if code in (RDB_ZSET, RDB_ZSET_2):
            items = _read_plain(code, reader)
            if not items:
                raise reader.empty("sorted set", start)
            return ZSet.of(items, max_entries, limits.zset_max_listpack_value)
        members, scores = _unpack(code, reader)
        if not members:
            raise reader.empty("sorted set", start)
        # As in Redis: what was packed stays so however long its members are.
        return ZSet.of_ordered(members, scores, max_entries)
    except ValueError as error:
        raise reader.fail(f"a sorted set is damaged: {error}", offset=start) from None


def _read_plain(code: int, reader: Reader) -> list[tuple[bytes, float]]:
    count = reader.length()
    items: list[tuple[bytes, float]] = []
    for _ in range(count):
        member = reader.string()
        score = reader.double() if code == RDB_ZSET_2 else reader.text_double()
        if score != score:
            raise ValueError("a score is not a number")
        items.append((member, score))
    return items


def _unpack(code: int, reader: Reader) -> tuple[list[bytes], list[float]]:
    packed = reader.string()
    items = listpack.decode(packed) if code == RDB_ZSET_LISTPACK else ziplist.decode(packed)
    if len(items) % 2:
        raise ValueError("its last member has no score")
    return items[::2], _numbers(items[1::2])


def _numbers(texts: list[bytes]) -> list[float]:
    if not b"".join(texts).translate(None, _SCORE_BYTES):
        try:
            return list(map(float, texts))
        except ValueError:
            pass
    raise ValueError("a score is not a number")


def _small(value: ZSet) -> bool:
    return len(value) <= MOST_PACKED and value.weight() <= LONGEST_SPAN


def _take(code: int, reader: Reader, limits: Limits) -> Packed | None:
    if code == RDB_ZSET_LISTPACK:
        payload = reader.span_listpack(b"", 2 * limits.zset_max_listpack_entries)
        return None if payload is None else _TAKEN.cls(payload)
    count = reader.count()
    if code != RDB_ZSET_2 or not 0 < count <= MOST_PACKED:
        return None
    payload = reader.span_strings(count, limits.zset_max_listpack_value, 8)
    if payload is None:
        return None
    full = reader.over or count > limits.zset_max_listpack_entries
    return (_FULL if full else _FEW).cls(payload)


def _rewrite(key: bytes, value: ZSet) -> Iterator[list[bytes]]:
    for members, scores in _in_steps(value, False):
        argv = [b"ZADD", key]
        for member, score in zip(members, scores):
            argv.append(b"%.17g" % score)
            argv.append(member)
            if len(argv) == 2 + 2 * _REWRITE_ITEMS:
                yield argv
                argv = [b"ZADD", key]
        if len(argv) > 2:
            yield argv


def _digest(value: ZSet, seed: bytes) -> bytes:
    for member, score in value.items():
        entry = digest.mix(digest.mix(digest.ZERO, member), b"%.17g" % score)
        seed = digest.xor(seed, entry)
    return seed


def _encoding(value: ZSet, limits: Limits) -> str:
    return value.encoding


def _elements(value: ZSet) -> list[bytes]:
    return [member for member, _ in value.items()]


TYPE = DataType(
    "zset",
    number=3,
    classes=(ZSet,),
    rdb_codes=(RDB_ZSET, RDB_ZSET_2, RDB_ZSET_ZIPLIST, RDB_ZSET_LISTPACK),
    encoding=_encoding,
    rdb_code=_rdb_code,
    save=_save,
    load=_load,
    rewrite=_rewrite,
    copy=ZSet.copy,
    digest=_digest,
    length=len,
    elements=_elements,
    small=_small,
    open=lambda code, payload: ZSet.open(payload),
    take=_take,
)


_MADE: Final = TYPE.form(RDB_ZSET_LISTPACK, MADE)
_TAKEN: Final = TYPE.form(RDB_ZSET_LISTPACK, TAKEN)
_FEW: Final = TYPE.form(RDB_ZSET_2, TAKEN)
_FULL: Final = TYPE.form(RDB_ZSET_2, FULL)


def born_packed(members: dict[bytes, float], limits: Limits) -> Packed | None:
    """A new sorted set of these members, packed at once; None if it would not be small."""
    ordered = sorted(zip(members.values(), members))
    if (
        len(members) > limits.zset_max_listpack_entries
        or listpack.longest(list(members)) > limits.zset_max_listpack_value
    ):
        return _born_full(ordered)
    entries: list[bytes] = []
    for score, member in ordered:
        entries.append(member)
        entries.append(spell_packed(score))
    packed = listpack.encode(entries)
    return _MADE.cls(plain_string(packed)) if len(packed) < LONGEST_SPAN else None


def _born_full(ordered: list[tuple[float, bytes]]) -> Packed | None:
    writer = Writer(compress=False)
    writer.length(len(ordered))
    for score, member in reversed(ordered):
        if score == 0.0:
            return None  # its sign depends on whether the set was a listpack when it came
        writer.string(member)
        writer.double(score)
    return _FULL.cls(writer.getvalue()) if writer.written <= LONGEST_SPAN else None
