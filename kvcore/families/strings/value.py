"""What a string value is: ``bytes`` as they were SET, an ``int`` that INCR left, a ``bytearray``
that APPEND and SETRANGE grow in place."""

from __future__ import annotations

from kvcore.codec.numbers import parse_int
from kvcore.errors import WRONG_TYPE, CommandError
from kvcore.keyspace import Database

# Redis embeds strings up to this length in the object (OBJ_ENCODING_EMBSTR_SIZE_LIMIT).
EMBSTR_LIMIT = 44


def text(value: object) -> bytes:
    """The bytes of a string value; raises WRONGTYPE for any other type."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, bytearray):
        return bytes(value)
    raise CommandError(WRONG_TYPE)


def find_text(db: Database, key: bytes) -> bytes | None:
    """The string for a writing command; None if the key is absent."""
    value = db.find(key)
    return None if value is None else text(value)


def encoding(value: object) -> str:
    """int, embstr or raw, as OBJECT ENCODING says it."""
    if isinstance(value, int):
        return "int"
    if isinstance(value, bytes):
        if len(value) <= 20 and parse_int(value) is not None:
            return "int"
        return "embstr" if len(value) <= EMBSTR_LIMIT else "raw"
    return "raw"
