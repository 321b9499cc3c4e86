"""DUMP and RESTORE: one value as RDB has it, and a footer::

type byte | payload | RDB version, 2 bytes | CRC-64 of all before, 8 bytes (both little endian)
"""

from __future__ import annotations

from typing import Final

from kvcore.codec.crc64 import crc64
from kvcore.codec.numbers import INT64_MAX
from kvcore.codec.rdb import READ, Reader, Writer
from kvcore.command import Context, Family, integer
from kvcore.datatype import DataType, Limits, TypeRegistry
from kvcore.errors import SYNTAX, CommandError, CorruptData

command = Family("generic")

_FOOTER: Final = 10
_BAD_FOOTER: Final = "ERR DUMP payload version or checksum are wrong"
_BAD_FORMAT: Final = "ERR Bad data format"


def serialize(datatype: DataType, value: object) -> bytes:
    """A value as DUMP answers it."""
    writer = Writer(checksum=True)
    writer.byte(datatype.rdb_code(value, writer.version))
    datatype.save(value, writer)
    writer.raw(writer.version.to_bytes(2, "little"))
    writer.u64(writer.crc)
    return writer.getvalue()


def deserialize(types: TypeRegistry, limits: Limits, payload: bytes) -> object:
    """The value in what DUMP answered; raises CommandError if it is damaged in any way."""
    body = payload[:-_FOOTER]
    version = int.from_bytes(payload[-_FOOTER:-8], "little")
    if len(payload) < _FOOTER or (version and version not in READ):
        raise CommandError(_BAD_FOOTER)
    if crc64(payload[:-8]) != int.from_bytes(payload[-8:], "little"):
        raise CommandError(_BAD_FOOTER)
    reader = Reader(body)
    try:
        code = reader.byte()
        datatype = types.by_code.get(code)
        if datatype is None:
            raise CommandError(_BAD_FORMAT)
        value: object = datatype.load(code, reader, limits)
    except CorruptData as error:
        raise CommandError(_BAD_FORMAT) from error
    if not reader.at_end():
        raise CommandError(_BAD_FORMAT)
    return value


@command("DUMP", 2, "readonly", keys=(1, 1, 1), since="2.6.0", complexity="O(N)")
def dump(ctx: Context, argv: list[bytes]) -> object:
    """Returns a serialized representation of the value stored at a key."""
    value = ctx.db.glance(argv[1])
    return None if value is None else serialize(ctx.keyspace.types.of(value), value)


def _options(argv: list[bytes]) -> tuple[bool, bool]:
    """(REPLACE, ABSTTL). IDLETIME and FREQ are checked; access times are not kept."""
    replace = absolute = False
    hint = b""
    i = 4
    while i < len(argv):
        option = argv[i].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"ABSTTL":
            absolute = True
        elif option in (b"IDLETIME", b"FREQ") and hint in (b"", option) and i + 1 < len(argv):
            hint = option
            i += 1
            value = integer(argv[i])
            if option == b"IDLETIME" and value < 0:
                raise CommandError("ERR Invalid IDLETIME value, must be >= 0")
            if option == b"FREQ" and not 0 <= value <= 255:
                raise CommandError("ERR Invalid FREQ value, must be >= 0 and <= 255")
        else:
            raise CommandError(SYNTAX)
        i += 1
    return replace, absolute


@command(
    "RESTORE",
    -4,
    "write denyoom",
    keys=(1, 1, 1),
    since="2.6.0",
    acl="@keyspace @write @slow @dangerous",
    complexity="O(N)",
)
def restore(ctx: Context, argv: list[bytes]) -> object:
    """Creates a key from the serialized representation of a value."""
    db, key, keyspace = ctx.db, argv[1], ctx.keyspace
    replace, absolute = _options(argv)
    if not replace and db.exists(key):
        raise CommandError("BUSYKEY Target key name already exists.")
    when = integer(argv[2])
    if when < 0 or (not absolute and when > INT64_MAX - keyspace.now):
        raise CommandError("ERR Invalid TTL value, must be >= 0")
    value = deserialize(keyspace.types, keyspace.limits, argv[3])
    if when and not absolute:
        when += keyspace.now
    if when and when <= keyspace.now and keyspace.expiring:
        if db.delete(key):
            keyspace.propagate(db.index, [b"DEL", key])
        return "OK"
    db.store(key, value)
    if when:
        db.expire_at(key, when)
        if not absolute:
            replayed = [*argv[:2], b"%d" % when, *argv[3:], b"ABSTTL"]
            keyspace.propagate(db.index, replayed)
    db.changed(key, "restore")
    return "OK"
