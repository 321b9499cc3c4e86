"""Keys as a snapshot has them: in either direction, a run of entries of an RDB file::

    [252 ms | 253 s] [248 idle | 249 uses] type key payload

This is where a load and a save spend their time, so it is compiled. What stands around the entries
is for the policy whose file it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, cast

from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import DataType, TypeRegistry
from kvcore.errors import CorruptData, EmptyValue
from kvcore.persistence import Loader

IDLE: Final = 248
FREQ: Final = 249
EXPIRETIME_MS: Final = 252
EXPIRETIME: Final = 253

_STRING: Final = 0
_EXPIRY: Final = struct.Struct("<Bq")
_REPORT_EVERY: Final = 1024  # keys
_TOGETHER: Final = 64  # keys restored at once: as much as stays in the processor's caches
MOST_NAMED: Final = 10  # as many of the keys that were skipped as Redis names

# Many keys hold one of a few integers: one object for each serves them all.
_SHARED_INTEGERS: Final = 10000
_INTEGERS: Final[list[object]] = list(range(_SHARED_INTEGERS))


class Count:
    """Keys that `read_entries` restored, that it dropped because their time was over, and that it
    skipped because they held an empty collection (``skipped`` names the first of these)."""

    keys: int
    expired: int
    empty: int
    skipped: list[bytes]

    def __init__(self) -> None:
        self.keys = self.expired = self.empty = 0
        self.skipped = []

    def skip(self, key: bytes) -> None:
        self.empty += 1
        if len(self.skipped) < MOST_NAMED:
            self.skipped.append(key)


def read_entries(
    reader: Reader, loader: Loader, db: int, count: Count, *, trusted: bool, keep_expired: bool
) -> int:
    """Restore the entries that follow; returns the byte behind them, consumed, that begins none.

    ``trusted``: a checksum will tell whether the file is damaged, so small values may stay as they
    lie, if the loader takes them so. If there was none after all, the caller calls
    ``loader.verify``. ``keep_expired``: keys whose time is over are restored, too. ``count`` goes
    on. Raises CorruptData.
    """
    types = loader.types.by_code
    limits = loader.limits
    restore = loader.restore
    now = loader.now
    packed = trusted and loader.takes_packed
    expiry = -1
    value: object
    while True:
        if expiry == -1:
            _read_strings(reader, loader, db, count)
        code = reader.byte()
        if code == _STRING:
            key = reader.string()
            value = reader.string_or_int()
            if isinstance(value, int) and 0 <= value < _SHARED_INTEGERS:
                value = _INTEGERS[value]
        else:
            datatype = types.get(code)
            if datatype is None:
                if code == EXPIRETIME_MS:
                    expiry = reader.i64()
                elif code == EXPIRETIME:
                    expiry = int.from_bytes(reader.take(4), "little", signed=True) * 1000
                elif code == IDLE:  # how long a key was idle, and how often it was used:
                    reader.length()  # eviction's business
                elif code == FREQ:
                    reader.byte()
                else:
                    return code
                continue
            key = reader.string()
            value = None
            if packed and datatype.take is not None:
                value = datatype.take(code, reader, limits)
            if value is None:
                value = _load(datatype, code, key, reader, loader, db)
                if value is None:
                    count.skip(key)
                    expiry = -1
                    continue
        if expiry == -1:
            restore(db, key, value)
            count.keys += 1
        elif expiry >= now or keep_expired:
            restore(db, key, value, max(expiry, 0))
            count.keys += 1
            expiry = -1
        else:
            count.expired += 1
            expiry = -1


def _read_strings(reader: Reader, loader: Loader, db: int, count: Count) -> None:
    """Restore the short strings that follow, many at once."""
    keys: list[bytes] = []
    values: list[object] = []
    start = reader.offset
    while reader.pairs(_STRING, _TOGETHER, keys, values):
        try:
            loader.restore_all(db, keys, values)
        except CorruptData as error:
            place = max(error.offset, 0)
            reader.give_back(reader.offset - start)  # to where that key ends
            reader.pairs(_STRING, place + 1, [], [])
            count.keys += place
            raise
        count.keys += len(keys)
        keys = []
        values = []
        start = reader.offset


def _load(
    datatype: DataType, code: int, key: bytes, reader: Reader, loader: Loader, db: int
) -> object:
    """The value, packed if it may be; None for an empty collection."""
    try:
        value: object = datatype.load(code, reader, loader.limits)
    except EmptyValue:
        return None
    except CorruptData as error:
        error.why = f"{error.why} (in the value of key {key[:64]!r}, database {db})"
        raise
    if loader.takes_packed and datatype.small is not None:
        return loader.types.pack(value) or value
    return value


def write_entries(
    writer: Writer,
    types: TypeRegistry,
    entries: Iterable[tuple[bytes, object, int]],
    done: int,
    progress: Callable[[int], None],
) -> int:
    """Write (key, value, expiry in Unix ms or -1) in turn; returns ``done`` plus their number,
    with which ``progress`` is called every thousand or so."""
    by_class = types.by_class
    form_of = types.form_of
    version = writer.version
    for key, value, expiry in entries:
        if expiry >= 0:
            writer.raw(_EXPIRY.pack(EXPIRETIME_MS, expiry))
        if type(value) is bytes:
            writer.byte(_STRING)
            writer.string(key)
            writer.string(value)
        elif type(value) is int:
            writer.byte(_STRING)
            writer.string(key)
            writer.integer(value)
        elif (form := form_of.get(type(value))) is not None:  # its record would come to the same
            payload = cast("bytes", value)
            writer.byte(form.rdb_code(payload, version))
            writer.string(key)
            form.save(payload, writer)
        else:
            datatype = by_class[type(value)]
            writer.byte(datatype.rdb_code(value, version))
            writer.string(key)
            datatype.save(value, writer)
        done += 1
        if done % _REPORT_EVERY == 0:
            progress(done)
    return done
