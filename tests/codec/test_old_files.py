"""Files of RDB versions 1 to 8, walked with `Reader`: every value is what redis-server sees.

They are those of redis-rdb-tools, looked for in ``$KVCORE_RDB_FIXTURES`` or, beside a checkout,
in ``../shared/fixtures/rdb``; where there are none, only the file made here is walked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kvcore.codec import intset, ziplist, zipmap
from kvcore.codec.rdb import Reader, Writer
from tests.codec.reference import Reference

REPOSITORY = Path(__file__).parents[2]
FOLDER = Path(
    os.environ.get("KVCORE_RDB_FIXTURES", REPOSITORY.parent / "shared" / "fixtures" / "rdb")
)

EXPIRY_MS, EXPIRY, SELECT, END, AUX, SIZES = 252, 253, 254, 255, 250, 251
STRING, LIST, SET, ZSET, HASH, ZSET_2 = range(6)
ZIPMAP, LIST_ZIPLIST, SET_INTSET, ZSET_ZIPLIST, HASH_ZIPLIST, LIST_QUICKLIST = range(9, 15)
TYPES = {*range(6), *range(9, 15)}  # without modules


def pairs(items: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(items[::2], items[1::2], strict=True))


def scores(items: list[bytes]) -> dict[bytes, float]:
    return {member: float(score) for member, score in pairs(items).items()}


def read_value(reader: Reader, type_code: int) -> object:
    """A value in the shape in which `ask` gets it from Redis."""
    if type_code == STRING:
        return reader.string()
    if type_code == LIST:
        return [reader.string() for _ in range(reader.length())]
    if type_code == SET:
        return {reader.string() for _ in range(reader.length())}
    if type_code == ZSET:
        return {reader.string(): reader.text_double() for _ in range(reader.length())}
    if type_code == HASH:
        return {reader.string(): reader.string() for _ in range(reader.length())}
    if type_code == ZSET_2:
        return {reader.string(): reader.double() for _ in range(reader.length())}
    if type_code == ZIPMAP:
        return pairs(zipmap.decode(reader.string()))
    if type_code == SET_INTSET:
        return {b"%d" % member for member in intset.decode(reader.string())}
    nodes = reader.length() if type_code == LIST_QUICKLIST else 1
    items = [item for _ in range(nodes) for item in ziplist.decode(reader.string())]
    if type_code in (LIST_ZIPLIST, LIST_QUICKLIST):
        return items
    return scores(items) if type_code == ZSET_ZIPLIST else pairs(items)


def ask(reference: Reference, key: str, type_code: int) -> object:
    if type_code == STRING:
        return reference("GET", key)
    if type_code in (LIST, LIST_ZIPLIST, LIST_QUICKLIST):
        return reference("LRANGE", key, 0, -1)
    if type_code in (SET, SET_INTSET):
        return set(reference("SMEMBERS", key))
    if type_code in (ZSET, ZSET_2, ZSET_ZIPLIST):
        return scores(reference("ZRANGE", key, 0, -1, "WITHSCORES"))
    return pairs(reference("HGETALL", key))


def walk(data: bytes) -> Iterator[tuple[int, bytes, object]]:
    """Type code, body and value of every key; raises NotImplementedError for modules, streams."""
    reader = Reader(data, checksum=True)
    assert reader.take(5) == b"REDIS"
    version = int(reader.take(4))
    while (code := reader.byte()) != END:
        if code == SELECT:
            reader.length()
        elif code == SIZES:
            reader.length()
            reader.length()
        elif code == AUX:
            reader.string()
            reader.string()
        elif code == EXPIRY:
            reader.u32()
        elif code == EXPIRY_MS:
            reader.i64()
        elif code not in TYPES:
            raise NotImplementedError(f"{code} is no type of version 8 or below")
        else:
            reader.string()
            start = reader.offset
            value = read_value(reader, code)
            yield code, data[start : reader.offset], value
    if version >= 5:
        expected = reader.crc
        assert reader.u64() in (expected, 0)
    assert reader.at_end()


def check(reference: Reference, data: bytes) -> Iterator[int]:
    """Compare every value of an RDB file with what Redis makes of the same bytes.

    Yields the type code of each.
    """
    for type_code, body, value in walk(data):
        assert reference.restore("key", type_code, body) == b"OK"
        assert ask(reference, "key", type_code) == value
        yield type_code


def test_every_old_file_is_read_as_redis_reads_it(reference: Reference) -> None:
    seen: set[int] = set()
    for path in sorted(FOLDER.glob("*.rdb")):
        try:
            seen.update(check(reference, path.read_bytes()))
        except NotImplementedError:
            assert any(word in path.name for word in ("module", "streams"))
    assert seen == TYPES or not FOLDER.is_dir()


def test_a_file_made_of_old_formats(reference: Reference) -> None:
    values = [
        (STRING, b"a string that LZF can shorten: " + b"la" * 50),
        (LIST_ZIPLIST, ziplist.encode([b"a", b"1", b"-5000", b"12345678901", b"x" * 300])),
        (HASH_ZIPLIST, ziplist.encode([b"f", b"8388607", b"g", b""])),
        (ZSET_ZIPLIST, ziplist.encode([b"one", b"1", b"two", b"2.5"])),
        (SET_INTSET, intset.encode([-70000, 3, 70000])),
        (ZIPMAP, b"\x01\x01k\x01\x02v??\xff"),
    ]
    writer = Writer(checksum=True)
    writer.raw(b"REDIS0006")
    writer.byte(SELECT)
    writer.length(0)
    for type_code, data in values:
        writer.byte(type_code)
        writer.string(b"key")
        writer.string(data)
    writer.byte(END)
    writer.u64(writer.crc)
    found = list(check(reference, writer.getvalue()))
    assert found == [type_code for type_code, _ in values]
