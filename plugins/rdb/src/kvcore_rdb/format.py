"""The envelope of an RDB file (Redis: rdb.c): what stands around the values, in both directions.

A file is::

    "REDIS" nnnn                         the version, four digits ("VALKEY" nnn since Valkey 9)
    250 name value                       AUX, any number of times
    254 db  251 keys expiring            SELECTDB and RESIZEDB, for each database that is not empty
      [252 ms] type key payload          each key; the data types' own ``save`` and ``load``
    255 crc64                            EOF; the checksum since version 5, 0 for none

An append-only file may start with one; what comes after the checksum is for its reader then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO, Final, cast

from kvcore.codec.rdb import READ, VERSION, WRITTEN, Reader, Writer
from kvcore.datatype import TypeRegistry
from kvcore.entries import Count, read_entries, write_entries
from kvcore.errors import CorruptData
from kvcore.persistence import Loader, View
from kvcore.version import REDIS_VERSION

MAGIC: Final = b"REDIS"
VALKEY_MAGIC: Final = b"VALKEY"

SLOT_INFO: Final = 244
FUNCTION2: Final = 245
FUNCTION_PRE_GA: Final = 246
MODULE_AUX: Final = 247
AUX: Final = 250
RESIZEDB: Final = 251
SELECTDB: Final = 254
EOF: Final = 255

# Values that some Redis writes and no data type of ours reads.
FOREIGN_TYPES: Final = {
    6: "module value (Redis 4 before release)",
    7: "module value",
    15: "stream",
    19: "stream",
    21: "stream",
    22: "hash with field expiry (Valkey 9, or Redis 7.4 before release)",
    23: "hash with field expiry (Redis 7.4 before release)",
    24: "hash with field expiry",
    25: "hash with field expiry",
}

# Types are counted up from 0 and opcodes down from 255; an unknown byte is the one or the other.
_LAST_TYPE: Final = 127
_LEAST_ENTRY: Final = 3  # bytes: a type, and two empty strings
_MODULE_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


# Writing ------------------------------------------------------------------------------------------


def ignore(keys: int) -> None:
    """The progress of a write that nobody watches."""


def write(
    view: View,
    sink: Callable[[bytes], object],
    *,
    compress: bool = True,
    checksum: bool = True,
    aux: Mapping[str, str | int] = {},
    version: int = VERSION,
    progress: Callable[[int], None] = ignore,
) -> int:
    """Write all keys of ``view`` as an RDB file to ``sink``; returns how many bytes that were.

    ``sink`` gets the file in pieces of about 256 KiB; what it raises passes through, and the file
    is unfinished then. ``aux`` adds to the usual AUX fields or replaces them (an AOF's base has
    ``{"aof-base": 1}``). ``version`` is one of `WRITTEN`; no encoding is used that it has not.
    ``progress`` is called with the number of keys written, every thousand or so and at the end.
    """
    writer = Writer(sink, compress=compress, checksum=checksum, version=version)
    begin(writer, aux=aux)
    done = 0
    for db, keys, expiring in view.databases():
        select(writer, db)
        writer.byte(RESIZEDB)
        writer.length(keys)
        writer.length(expiring)
        done = write_keys(writer, view.types, view.entries(db), done, progress)
    end(writer)
    progress(done)
    return writer.written


# The parts of a file, for whoever has its keys one by one: begin, then select and write_keys as
# often as needed, then end.


def begin(writer: Writer, *, aux: Mapping[str, str | int] = {}) -> None:
    """The header and the AUX fields; see `write`."""
    if writer.version not in WRITTEN:
        raise ValueError(f"RDB version {writer.version} is none of those that can be written")
    writer.raw(MAGIC + b"%04d" % writer.version)
    for name, value in {**_usual_aux(), **aux}.items():
        writer.byte(AUX)
        writer.string(name.encode())
        writer.string(str(value).encode())


def select(writer: Writer, db: int) -> None:
    """The keys that follow are of this database."""
    writer.byte(SELECTDB)
    writer.length(db)


def write_keys(
    writer: Writer,
    types: TypeRegistry,
    entries: Iterable[tuple[bytes, object, int]],
    done: int = 0,
    progress: Callable[[int], None] = ignore,
) -> int:
    """(key, value, expiry in Unix ms or -1) one after the other; returns ``done`` plus their
    number."""
    return write_entries(writer, types, entries, done, progress)


def end(writer: Writer) -> None:
    """The end of the file and its checksum; everything is handed to the sink."""
    writer.byte(EOF)
    writer.u64(writer.crc)
    writer.flush()


def _usual_aux() -> dict[str, str | int]:
    return {
        "redis-ver": REDIS_VERSION,
        "redis-bits": 64,
        "ctime": int(time.time()),
        "used-mem": _resident_bytes(),
        "aof-base": 0,
    }


def _resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0


# Reading ------------------------------------------------------------------------------------------


class Unsupported(CorruptData):
    """The file is whole, but holds what this store has no place for."""


class Contents:
    """What a file turned out to hold.

    `read` fills one as it goes on, so a file that is damaged further on has told its beginning.

    ``version``   0 as long as there was no header
    ``aux``       AUX fields as they stood there
    ``keys``      keys that were loaded
    ``expired``   keys that were dropped, their time being over
    ``empty``     keys that were skipped because they held an empty collection, as Redis skips them;
                  ``skipped`` names the first of them
    ``functions`` libraries of Redis functions that were skipped
    ``ended``     it was read up to its checksum, or to its end if there is none
    ``checked``   whether a checksum stood there, and is right
    ``reader``    what reads it; its offset is where that is
    """

    reader: Reader
    version: int
    aux: dict[str, bytes]
    keys: int
    expired: int
    empty: int
    skipped: list[bytes]
    functions: int
    ended: bool
    checked: bool

    def __init__(self) -> None:
        self.reader = Reader(b"")
        self.version = 0
        self.aux = {}
        self.keys = 0
        self.expired = 0
        self.empty = 0
        self.skipped = []
        self.functions = 0
        self.ended = self.checked = False

    @property
    def maker(self) -> str:
        """What wrote the file and its version; "" if it does not say."""
        for field, name in (("valkey-ver", "Valkey"), ("redis-ver", "Redis")):
            if field in self.aux:
                return f"{name} {self.aux[field].decode('latin-1')}"
        return ""

    def add_aux(self, name: str, value: bytes) -> None:
        """An AUX field was read; for subclasses that want to know at once."""
        self.aux[name] = value

    def select(self, db: int) -> None:
        """The keys that follow are of this database; for subclasses."""

    def counts(self) -> str:
        """How many keys there were, in Redis' words."""
        text = f"keys loaded: {self.keys}, keys expired: {self.expired}"
        return f"{text}, empty keys skipped: {self.empty}" if self.empty else text

    def warnings(self) -> list[str]:
        """What whoever loaded the file should know of it, one line each."""
        found = [f"rdbLoadObject skipping empty key: {key!r}" for key in self.skipped]
        if self.functions:
            found.append(
                f"Libraries of Redis functions were skipped ({self.functions}): they are not "
                "supported, and what is saved from now on is without them"
            )
        if self.version >= 5 and not self.checked:
            found.append("RDB file was saved with checksum disabled: no check performed.")
        return found


class Metered:
    """A file that tells the loader how far it has been read: `source` makes one for a Reader."""

    def __init__(self, file: BinaryIO, size: int, loader: Loader) -> None:
        self._file = file
        self._size = size
        self._loader = loader
        self._done = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        self._loader.progress(self._done, self._size)
        return data


def source(file: BinaryIO, size: int, loader: Loader) -> BinaryIO:
    """``file`` for a `Reader`, reporting every megabyte to ``loader.progress``."""
    return cast("BinaryIO", Metered(file, size, loader))


def read(
    reader: Reader,
    loader: Loader,
    *,
    checksum: bool = True,
    keep_expired: bool = False,
    contents: Contents | None = None,
) -> Contents:
    """Read one RDB file and give its keys to ``loader``; stops behind the checksum.

    ``checksum`` must be what ``reader`` was made with. ``keep_expired`` is for the base of an
    append-only file: the commands that follow were run on all the keys that it holds.
    ``contents`` is what to fill and return.

    Raises CorruptData for whatever is no RDB file of a version in `READ`, Unsupported if it holds
    what this store has no place for; what the loader took until then is incomplete.
    """
    contents = contents or Contents()
    contents.reader = reader
    contents.version = _read_header(reader)
    trusted = checksum and contents.version >= 5
    try:
        _read_body(reader, loader, contents, trusted=trusted, keep_expired=keep_expired)
        contents.ended = True
        if contents.version >= 5:
            _check(reader, contents, checksum)
            if trusted and not contents.checked:
                loader.verify()
    except CorruptData as error:
        if not error.path:  # the loader's own refusal does not know where we are
            error.path = reader.path
            error.offset = reader.offset
        raise
    return contents


def read_aux(reader: Reader) -> dict[str, bytes]:
    """The AUX fields at the head of a file; raises CorruptData if it is no RDB file."""
    _read_header(reader)
    fields: dict[str, bytes] = {}
    while not reader.at_end() and reader.byte() == AUX:
        name = reader.string().decode("utf-8", "replace")
        fields[name] = reader.string()
    return fields


def begins(head: bytes) -> bool:
    """Is this how an RDB file begins? Ask with 6 bytes."""
    return head.startswith((MAGIC, VALKEY_MAGIC))


def _read_header(reader: Reader) -> int:
    header = reader.take(9)
    magic = VALKEY_MAGIC if header.startswith(VALKEY_MAGIC) else MAGIC
    digits = header.removeprefix(magic)
    if len(digits) != 9 - len(magic) or not digits.isdigit():
        raise reader.fail(f"no RDB file: it starts with {header!r}, not REDIS0010", offset=0)
    version = int(digits)
    if version not in READ:
        error = reader.fail(
            f"RDB version {version}; versions 1 to 13 and 80 can be read", offset=len(magic)
        )
        error.advice = "Save the data with Redis 8 or earlier, or with Valkey 9 or earlier"
        raise error if version < 1 else _unsupported(error)
    return version


def _read_body(
    reader: Reader, loader: Loader, contents: Contents, *, trusted: bool, keep_expired: bool
) -> None:
    """Everything between the header and the checksum."""
    db = 0
    count = Count()
    code = 0
    try:
        while code != EOF:
            code = read_entries(
                reader, loader, db, count, trusted=trusted, keep_expired=keep_expired
            )
            if code == SELECTDB:
                db = reader.length()
                contents.select(db)
            elif code == RESIZEDB:
                # Believed as far as what is left of the file could hold so many.
                most = max(0, reader.left) // _LEAST_ENTRY
                loader.expect(db, min(reader.length(), most), min(reader.length(), most))
            elif code != EOF:
                _read_rare(code, reader, loader, contents)
    finally:
        contents.keys, contents.expired = count.keys, count.expired
        contents.empty, contents.skipped = count.empty, count.skipped


def _read_rare(code: int, reader: Reader, loader: Loader, contents: Contents) -> None:
    if code == SLOT_INFO:
        reader.length()
        reader.length()
        reader.length()
    elif code == AUX:
        name = reader.string().decode("utf-8", "replace")
        value = reader.string()
        contents.add_aux(name, value)
        if name == "used-mem" and value.isdigit():
            loader.note(rdb_used_mem=int(value))
    elif code == FUNCTION2:
        reader.string()
        contents.functions += 1
    else:
        raise _refusal(code, reader, contents.version)


def _refusal(code: int, reader: Reader, version: int) -> CorruptData:
    """The error for a type or an opcode that we do not read."""
    start = reader.offset - 1
    if code == MODULE_AUX:
        error = reader.fail(f"data of the module {module_name(reader.length())!r}", offset=start)
        error.advice = "Modules of Redis are not supported"
    elif code == FUNCTION_PRE_GA:
        error = reader.fail("functions in the format before Redis 7.0's release", offset=start)
    elif code in FOREIGN_TYPES:
        key = reader.string()
        what = FOREIGN_TYPES[code]
        if code == 7:
            what = f"value of the module {module_name(reader.length())!r}"
        error = reader.fail(f"key {key!r} holds a {what} (RDB type {code})", offset=start)
        error.advice = "This kind of value is not supported; delete the key in Redis and save again"
    else:
        what = f"{code} is no opcode that is known"
        if code <= _LAST_TYPE:
            what = f"key {reader.string()!r} holds a value of the unknown type {code}"
        error = reader.fail(what, offset=start)
        if version <= WRITTEN[-1]:
            return error  # versions that are known all through: so this is damage
        error.advice = f"It may be new in RDB version {version}; save with an older Redis or Valkey"
    return _unsupported(error)


def _unsupported(error: CorruptData) -> Unsupported:
    return Unsupported(error.why, path=error.path, offset=error.offset, advice=error.advice)


def module_name(module: int) -> str:
    """The name of 9 letters in a module's id of 64 bits (the lowest 10 are its version)."""
    return "".join(_MODULE_ALPHABET[module >> shift & 63] for shift in range(58, 9, -6))


def _check(reader: Reader, contents: Contents, checksum: bool) -> None:
    found = reader.crc
    start = reader.offset
    expected = reader.u64()
    if expected == 0:
        return
    if checksum and found != expected:
        raise reader.fail(
            f"RDB CRC error: {expected:016x} is written here, the data gives {found:016x}",
            offset=start,
        )
    contents.checked = True
