"""Hashes in RDB: what `DataType` asks of them.

====  ==================================================================
4     a length and as many fields with values, all of them RDB strings
9     an RDB string that holds a zipmap (before Redis 2.6)
13    an RDB string that holds a ziplist of fields and values in turn
16    the same as a listpack (since Redis 7.0)
====  ==================================================================

Written are 16 while the encoding is listpack (13 before RDB version 10), else 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from kvcore import digest
from kvcore.codec import listpack, ziplist, zipmap
from kvcore.codec.rdb import LONGEST_SPAN, SINCE, Reader, Writer, pack_strings, plain_string
from kvcore.datatype import FULL, MADE, MOST_PACKED, TAKEN, DataType, Limits
from kvcore.families.hashes.value import LISTPACK, Hash
from kvcore.packed import Packed

RDB_HASH: Final = 4
RDB_HASH_ZIPMAP: Final = 9
RDB_HASH_ZIPLIST: Final = 13
RDB_HASH_LISTPACK: Final = 16

_REWRITE_ITEMS: Final = 64
_ANY_LENGTH: Final = 1 << 60


def _rdb_code(value: Hash, version: int) -> int:
    if value.encoding != LISTPACK:
        return RDB_HASH
    return RDB_HASH_ZIPLIST if version < SINCE[RDB_HASH_LISTPACK] else RDB_HASH_LISTPACK


def _save(value: Hash, writer: Writer) -> None:
    if value.encoding == LISTPACK:
        if writer.version < SINCE[RDB_HASH_LISTPACK]:
            writer.string(ziplist.encode(list(chain.from_iterable(value.pairs()))))
        else:
            writer.string(value.as_listpack())
        return
    writer.length(len(value))
    for field, text in value.pairs():
        writer.string(field)
        writer.string(text)


def _load(code: int, reader: Reader, limits: Limits) -> Hash:
    start = reader.offset
    try:
        fields = _read_plain(reader) if code == RDB_HASH else _unpack(code, reader)
    except ValueError as error:
        raise reader.fail(f"a hash is damaged: {error}", offset=start) from None
    if not fields and code == RDB_HASH_ZIPMAP:
        raise reader.fail("empty zipmap", offset=start)  # so it is damage in Redis, too
    if not fields:
        raise reader.empty("hash", start)
    max_value = limits.hash_max_listpack_value
    if code in (RDB_HASH_ZIPLIST, RDB_HASH_LISTPACK):
        max_value = _ANY_LENGTH  # as in Redis: what was packed stays so
    return Hash.owning(fields, limits.hash_max_listpack_entries, max_value)


def _read_plain(reader: Reader) -> dict[bytes, bytes]:
    count = reader.length()
    fields: dict[bytes, bytes] = {}
    for _ in range(count):
        field = reader.string()
        fields[field] = reader.string()
    if len(fields) != count:
        raise ValueError("a field comes twice")
    return fields


def _unpack(code: int, reader: Reader) -> dict[bytes, bytes]:
    packed = reader.string()
    if code == RDB_HASH_LISTPACK:
        items = listpack.decode(packed)
    elif code == RDB_HASH_ZIPLIST:
        items = ziplist.decode(packed)
    else:
        items = zipmap.decode(packed)
    if len(items) % 2:
        raise ValueError("its last field has no value")
    fields: dict[bytes, bytes] = {}
    for index in range(0, len(items), 2):
        fields[items[index]] = items[index + 1]
    if 2 * len(fields) != len(items):
        raise ValueError("a field comes twice")
    return fields


def _small(value: Hash) -> bool:
    return len(value) <= MOST_PACKED and value.weight() <= LONGEST_SPAN


def _take(code: int, reader: Reader, limits: Limits) -> Packed | None:
    if code == RDB_HASH_LISTPACK:
        payload = reader.span_listpack(b"", 2 * limits.hash_max_listpack_entries)
        return None if payload is None else _TAKEN.cls(payload)
    count = reader.count()
    if code != RDB_HASH or not 0 < count <= MOST_PACKED:
        return None
    payload = reader.span_strings(2 * count, limits.hash_max_listpack_value)
    if payload is None:
        return None
    full = reader.over or count > limits.hash_max_listpack_entries
    return (_FULL if full else _FEW).cls(payload)


def _rewrite(key: bytes, value: Hash) -> Iterator[list[bytes]]:
    argv = [b"HMSET", key]
    for field, text in value.pairs():
        argv.append(field)
        argv.append(text)
        if len(argv) == 2 + 2 * _REWRITE_ITEMS:
            yield argv
            argv = [b"HMSET", key]
    if len(argv) > 2:
        yield argv


def _digest(value: Hash, seed: bytes) -> bytes:
    for field, text in value.pairs():
        entry = digest.mix(digest.mix(digest.ZERO, field), text)
        seed = digest.xor(seed, entry)
    return seed


def _encoding(value: Hash, limits: Limits) -> str:
    return value.encoding


TYPE = DataType(
    "hash",
    number=4,
    classes=(Hash,),
    rdb_codes=(RDB_HASH, RDB_HASH_ZIPMAP, RDB_HASH_ZIPLIST, RDB_HASH_LISTPACK),
    encoding=_encoding,
    rdb_code=_rdb_code,
    save=_save,
    load=_load,
    rewrite=_rewrite,
    copy=Hash.copy,
    digest=_digest,
    length=len,
    field=Hash.get,
    small=_small,
    open=lambda code, payload: Hash.open(payload),
    take=_take,
)


_MADE: Final = TYPE.form(RDB_HASH_LISTPACK, MADE)
_TAKEN: Final = TYPE.form(RDB_HASH_LISTPACK, TAKEN)
_FEW: Final = TYPE.form(RDB_HASH, TAKEN)
_FULL: Final = TYPE.form(RDB_HASH, FULL)


def born_packed(items: list[bytes], longest: int, limits: Limits) -> Packed | None:
    """A new hash of these fields and values, packed at once; None if it would not be small.

    ``longest``: bytes of the longest that it was ever given, though another value took its place.
    """
    count = len(items) // 2
    if count <= limits.hash_max_listpack_entries and longest <= limits.hash_max_listpack_value:
        packed = listpack.encode(items)
        return _MADE.cls(plain_string(packed)) if len(packed) < LONGEST_SPAN else None
    payload = pack_strings(count, items)
    return None if payload is None else _FULL.cls(payload)
