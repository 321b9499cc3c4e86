"""Strings in RDB: type 0, one RDB string (an integer, LZF or plain)."""

from __future__ import annotations

from collections.abc import Iterator

from kvcore import digest
from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import DataType, Limits
from kvcore.families.strings.value import encoding, text

RDB_STRING = 0


def _save(value: object, writer: Writer) -> None:
    writer.string(text(value))


def _load(code: int, reader: Reader, limits: Limits) -> bytes:
    return reader.string()


def _rewrite(key: bytes, value: object) -> Iterator[list[bytes]]:
    yield [b"SET", key, text(value)]


def _copy(value: object) -> object:
    return bytearray(value) if isinstance(value, bytearray) else value


TYPE = DataType(
    "string",
    number=0,
    classes=(bytes, int, bytearray),
    rdb_codes=(RDB_STRING,),
    encoding=lambda value, limits: encoding(value),
    rdb_code=lambda value, version: RDB_STRING,
    save=_save,
    load=_load,
    rewrite=_rewrite,
    copy=_copy,
    digest=lambda value, seed: digest.mix(seed, text(value)),
    length=lambda value: 1,
)
