"""Lists in RDB::

    1  (list)               length, elements as strings
    10 (list, ziplist)      one string: a ziplist (before Redis 3.2)
    14 (list, quicklist)    nodes, each a string: a ziplist (before Redis 7.0)
    18 (list, quicklist 2)  nodes, each its container and a string:
                            1, plain: the one element itself; 2, packed: a listpack

Written is 18 (14 before RDB version 10), in nodes of the size that is Redis' default, 8 KB. Redis
takes nodes as they are, whatever its list-max-listpack-size.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep
from typing import Final

from kvcore import digest
from kvcore.codec import listpack, ziplist
from kvcore.codec.rdb import SINCE, Reader, Writer, plain_string
from kvcore.datatype import MADE, MOST_PACKED, ONE_NODE, TAKEN, DataType, Limits
from kvcore.families.lists.value import List, fits_listpack, max_bytes, max_count
from kvcore.packed import Packed

RDB_LIST: Final = 1
RDB_LIST_ZIPLIST: Final = 10
RDB_LIST_QUICKLIST: Final = 14
RDB_LIST_QUICKLIST_2: Final = 18

PLAIN: Final = 1
PACKED: Final = 2

_NODE_BYTES: Final = 8192
# What a listpack adds, at most, to the bytes of an element shorter than 4 KB. A longer one takes 3
# more, but there is room for only one of those: they are counted with the header and the end.
_ENTRY_OVERHEAD: Final = 4
_LISTPACK_OVERHEAD: Final = 7 + 3
_REWRITTEN_TOGETHER: Final = 64
_STEP: Final = 1 << 16  # elements: some milliseconds of work


# Writing ------------------------------------------------------------------------------------------


def _rdb_code(value: List, version: int) -> int:
    old = version < SINCE[RDB_LIST_QUICKLIST_2]
    return RDB_LIST_QUICKLIST if old else RDB_LIST_QUICKLIST_2


def _save(value: List, writer: Writer) -> None:
    if writer.version < SINCE[RDB_LIST_QUICKLIST_2]:
        _save_ziplists(value, writer)
        return
    if 0 < value.weight() <= _NODE_BYTES:
        writer.raw(ONE_NODE)
        writer.string(value.as_listpack())
        return
    for node in _nodes(value, writer):
        if len(node) == 1 and len(node[0]) > _NODE_BYTES:
            writer.length(PLAIN)
            writer.string(node[0])
        else:
            writer.length(PACKED)
            writer.string(listpack.encode(node))


def _save_ziplists(value: List, writer: Writer) -> None:
    for node in _nodes(value, writer):
        writer.string(ziplist.encode(node))


def _nodes(value: List, writer: Writer) -> Iterator[list[bytes]]:
    """The elements, a node at a time; how many nodes there are is written before the first."""
    ends = _ends(value)
    writer.length(len(ends))
    start = 0
    for end in ends:
        yield value.range(start, end - 1)
        start = end


def _ends(value: List) -> list[int]:
    """Where nodes end: each holds as many elements as it may; one that is too large is alone."""
    ends: list[int] = []
    size = _LISTPACK_OVERHEAD
    index = first = 0
    for start in range(0, len(value), _STEP):
        # Offers the interpreter to other threads, which a compiled loop does not by itself. Not
        # more often: each time they may keep it for 5 ms.
        sleep(0)
        for element in value.range(start, start + _STEP - 1):
            entry = len(element) + _ENTRY_OVERHEAD
            if size + entry > _NODE_BYTES and index > first:
                ends.append(index)
                first = index
                size = _LISTPACK_OVERHEAD
            size += entry
            index += 1
    ends.append(index)
    return ends


# Reading ------------------------------------------------------------------------------------------


def _load(code: int, reader: Reader, limits: Limits) -> List:
    start = reader.offset
    elements: list[bytes] = []
    if code == RDB_LIST_QUICKLIST_2:
        for _ in range(reader.length()):
            elements += _load_node(reader)
    elif code == RDB_LIST:
        for _ in range(reader.length()):
            elements.append(reader.string())
    elif code == RDB_LIST_ZIPLIST:
        elements = _load_ziplist(reader)
    else:
        for _ in range(reader.length()):
            elements += _load_ziplist(reader)
    if not elements:
        raise reader.empty("list", start)
    return _build(elements, limits)


def _load_node(reader: Reader) -> list[bytes]:
    start = reader.offset
    container = reader.length()
    if container == PLAIN:
        return [reader.string()]
    if container != PACKED:
        raise reader.fail(f"list node in container {container}, not 1 or 2", offset=start)
    packed = reader.string()
    try:
        return listpack.decode(packed)
    except ValueError as error:
        raise reader.fail(str(error), offset=start) from None


def _load_ziplist(reader: Reader) -> list[bytes]:
    start = reader.offset
    packed = reader.string()
    try:
        return ziplist.decode(packed)
    except ValueError as error:
        raise reader.fail(str(error), offset=start) from None


def _build(elements: list[bytes], limits: Limits) -> List:
    return List.of(elements, limits.list_max_listpack_size)


# Packed ----------------------------------------------------------------------------------------


def _small(value: List) -> bool:
    return len(value) <= MOST_PACKED and 0 < value.weight() <= _NODE_BYTES


def _take(code: int, reader: Reader, limits: Limits) -> Packed | None:
    """One node, which is a listpack."""
    if code != RDB_LIST_QUICKLIST_2:
        return None
    fill = limits.list_max_listpack_size
    payload = reader.span_listpack(ONE_NODE, max_count(fill), max_bytes(fill))
    return None if payload is None else _TAKEN.cls(payload)


# The rest of the record ---------------------------------------------------------------------------


def _rewrite(key: bytes, value: List) -> Iterator[list[bytes]]:
    for start in range(0, len(value), _REWRITTEN_TOGETHER):
        yield [b"RPUSH", key, *value.range(start, start + _REWRITTEN_TOGETHER - 1)]


def _digest(value: List, seed: bytes) -> bytes:
    for element in value.items():
        seed = digest.mix(seed, element)
    return seed


TYPE = DataType(
    "list",
    number=1,
    classes=(List,),
    rdb_codes=(RDB_LIST, RDB_LIST_ZIPLIST, RDB_LIST_QUICKLIST, RDB_LIST_QUICKLIST_2),
    encoding=lambda value, limits: value.encoding,
    rdb_code=_rdb_code,
    save=_save,
    load=_load,
    rewrite=_rewrite,
    copy=List.copy,
    digest=_digest,
    length=len,
    elements=List.items,
    build=_build,
    small=_small,
    open=lambda code, payload: List.open(payload),
    take=_take,
)


_TAKEN: Final = TYPE.form(RDB_LIST_QUICKLIST_2, TAKEN)
_MADE: Final = TYPE.form(RDB_LIST_QUICKLIST_2, MADE)


def born_packed(elements: list[bytes], limits: Limits) -> Packed | None:
    """A new list of these elements, packed at once. None if it would not be small."""
    if len(elements) > MOST_PACKED:
        return None
    if not fits_listpack(elements, limits.list_max_listpack_size):
        return None
    packed = listpack.encode(elements)
    return _MADE.cls(ONE_NODE + plain_string(packed)) if len(packed) <= _NODE_BYTES else None
