"""The record by which a family declares its data type, and the limits that encodings obey.

A type that is ``small`` at times lies in the keyspace in two forms: as an instance of its class
(a `Value`), and packed, as in an RDB file (see kvcore.packed). Its family writes nothing twice for
that: ``save`` packs, ``load`` unpacks, and the packed form's record is derived from the type's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from kvcore.codec.rdb import (
    LONGEST_PLAIN,
    MANY_STRINGS,
    ONE_STRING,
    SINCE,
    WRITTEN,
    Reader,
    Writer,
)
from kvcore.errors import CorruptData
from kvcore.packed import Packed, form


class Limits:
    """Sizes up to which a value keeps its compact encoding; one per keyspace, set by config.

    Names are the directives' own, with underscores; a negative ``list_max_listpack_size``
    is Redis' class of sizes in bytes (-2: 8 KB).
    """

    list_max_listpack_size: int
    list_compress_depth: int
    hash_max_listpack_entries: int
    hash_max_listpack_value: int
    set_max_intset_entries: int
    set_max_listpack_entries: int
    set_max_listpack_value: int
    zset_max_listpack_entries: int
    zset_max_listpack_value: int

    def __init__(self) -> None:
        self.list_max_listpack_size = -2
        self.list_compress_depth = 0
        self.hash_max_listpack_entries = 128
        self.hash_max_listpack_value = 64
        self.set_max_intset_entries = 512
        self.set_max_listpack_entries = 128
        self.set_max_listpack_value = 64
        self.zset_max_listpack_entries = 128
        self.zset_max_listpack_value = 64


def _unlimited() -> Limits:
    """Limits under which what was packed keeps its compact encoding."""
    limits = Limits()
    limits.list_max_listpack_size = -5
    limits.hash_max_listpack_entries = limits.hash_max_listpack_value = _ANY
    limits.set_max_intset_entries = _ANY
    limits.set_max_listpack_entries = limits.set_max_listpack_value = _ANY
    limits.zset_max_listpack_entries = limits.zset_max_listpack_value = _ANY
    return limits


def _nothing() -> Limits:
    """Limits under which nothing has a compact encoding."""
    limits = Limits()
    limits.list_max_listpack_size = -(2**31) - 1  # see kvcore.families.lists.value
    limits.hash_max_listpack_entries = limits.hash_max_listpack_value = 0
    limits.set_max_intset_entries = 0
    limits.set_max_listpack_entries = limits.set_max_listpack_value = 0
    limits.zset_max_listpack_entries = limits.zset_max_listpack_value = 0
    return limits


MOST_PACKED: Final = 512
"""Elements of a value that is `DataType.small`: packing it must not take long."""

ONE_NODE: Final = b"\x01\x02"
"""What is in front of a list that is one listpack."""

LATEST: Final = WRITTEN[-1]
"""The RDB version whose encodings packed values have."""

MOST_BYTES: Final = LONGEST_PLAIN - 64
"""Bytes of a payload that a live value keeps, and of what is being added to it: the rest is for
what a listpack puts around a string, and for a score."""

PATIENCE: Final = 32
"""Operations on a payload, after which decoding it has paid off."""

_ANY: Final = 1 << 60  # compiled code compares it without an object
_UNLIMITED: Final = _unlimited()
_NOTHING: Final = _nothing()
_FULL: Final = ("hashtable", "skiplist", "quicklist")


class Value:
    """Base of the values that may be packed while nobody touches them, and freed in steps.

    ``hot``     it was looked up since `Database.tidy` last came by; a new one is
    ``origin``  the packed value that it was made of, until a command may change it
    ``made``    the class of its packed form, while it is kept as the payload that it was unpacked
                from, edited perhaps (see `payload`)
    ``spared``  how often that payload was used

    A small value may work on the entries of its payload, as Redis does, instead of decoding all of
    them for a look at one. That is worth it a few times: the classes that do so go by PATIENCE.
    """

    __slots__ = ("hot", "made", "origin", "spared")

    hot: bool
    origin: Packed | None
    made: type[Packed] | None
    spared: int

    def __init__(self) -> None:
        self.hot = True
        self.origin = self.made = None
        self.spared = 0

    def payload(self) -> bytes | None:
        """What ``save`` writes in the latest RDB version, if the value is kept as that."""
        return None

    def worn(self) -> bool:
        """Count an operation on the payload; returns whether it is to be decoded now."""
        self.spared += 1
        return self.spared > PATIENCE

    def fetch(self, commands: list[list[bytes]]) -> None:
        """Look for the members that these requests name, if the value has so many that they lie
        anywhere in memory (see `Table.fetch`). The first is for this value."""

    def dismantle(self) -> Iterator[None] | None:
        """Take a large value apart, of which nobody has any part but this object: each step frees
        some elements. None if it is small. (See kvcore.freeing.)"""
        return None


def named(commands: list[list[bytes]], at: int) -> list[bytes]:
    """What stands at a place in those requests that are for the same key as the first."""
    key = commands[0][1]
    return [argv[at] for argv in commands if len(argv) > 2 and argv[1] == key]


class DataType:
    """One Redis type: how it is named, digested, copied, saved and loaded.

    ``classes``      the Python classes whose instances are values of this type
    ``rdb_codes``    every RDB type byte that ``load`` understands
    ``number``       OBJ_* number of Redis (string 0, list 1, set 2, zset 3, hash 4)
    ``encoding``     value, limits -> what OBJECT ENCODING answers
    ``save``         value, writer -> None; writes the payload (without the type byte) in an
                     encoding that ``writer.version`` has
    ``rdb_code``     value, RDB version -> the type byte under which ``save`` writes it
    ``load``         code, reader, limits -> value; raises CorruptData. An empty collection
                     is corrupt (Redis never writes one).
    ``rewrite``      key, value -> the commands that rebuild it (AOF without RDB preamble);
                     lists of bytes, at most 64 items each
    ``copy``         value -> an independent value
    ``digest``       value -> 20 bytes, as DEBUG DIGEST mixes them: see kvcore.digest
    ``length``       value -> elements (1 for a string); what lazy freeing goes by

    What packing asks of a type whose classes derive from `Value`, None where it does not apply:

    ``small``        value -> may it be packed: it has at most MOST_PACKED elements of few bytes,
                     and what ``save`` writes under ``rdb_code`` comes back from ``load`` with the
                     same encoding under limits that allow any, or none if it is not compact
    ``open``         code, payload -> a value that is kept as this payload, which was made here
                     (so it is sound) and is not of the full encoding; None if there are no such
    ``take``         code, reader, limits -> the payload as it lies, undecoded, in the `form` that
                     unpacks to what ``load`` would make of it; None, with nothing consumed, if
                     that would not be `small`, or cannot be seen

    What SORT asks of a type, None where it does not apply:

    ``elements``     value -> its elements as bytes, in its own order: what SORT sorts
    ``build``        elements, limits -> a new value of them: what SORT ... STORE makes (list)
    ``field``        value, field -> the bytes of that field or None: BY and GET ``key->field``
    """

    name: str
    number: int
    classes: tuple[type, ...]
    rdb_codes: tuple[int, ...]
    encoding: Callable[[Any, Limits], str]
    rdb_code: Callable[[Any, int], int]
    save: Callable[[Any, Writer], None]
    load: Callable[[int, Reader, Limits], Any]
    rewrite: Callable[[bytes, Any], Iterator[list[bytes]]]
    copy: Callable[[Any], Any]
    digest: Callable[[Any, bytes], bytes]
    length: Callable[[Any], int]
    elements: Callable[[Any], list[bytes]] | None
    build: Callable[[list[bytes], Limits], Any] | None
    field: Callable[[Any, bytes], bytes | None] | None
    small: Callable[[Any], bool] | None
    open: Callable[[int, bytes], Value] | None
    take: Callable[[int, Reader, Limits], Packed | None] | None
    forms: list[PackedForm]

    def __init__(
        self,
        name: str,
        *,
        number: int,
        classes: tuple[type, ...],
        rdb_codes: tuple[int, ...],
        encoding: Callable[[Any, Limits], str],
        rdb_code: Callable[[Any, int], int],
        save: Callable[[Any, Writer], None],
        load: Callable[[int, Reader, Limits], Any],
        rewrite: Callable[[bytes, Any], Iterator[list[bytes]]],
        copy: Callable[[Any], Any],
        digest: Callable[[Any, bytes], bytes],
        length: Callable[[Any], int],
        elements: Callable[[Any], list[bytes]] | None = None,
        build: Callable[[list[bytes], Limits], Any] | None = None,
        field: Callable[[Any, bytes], bytes | None] | None = None,
        small: Callable[[Any], bool] | None = None,
        open: Callable[[int, bytes], Value] | None = None,
        take: Callable[[int, Reader, Limits], Packed | None] | None = None,
    ) -> None:
        self.name = name
        self.number = number
        self.classes = classes
        self.rdb_codes = rdb_codes
        self.encoding = encoding
        self.rdb_code = rdb_code
        self.save = save
        self.load = load
        self.rewrite = rewrite
        self.copy = copy
        self.digest = digest
        self.length = length
        self.elements = elements
        self.build = build
        self.field = field
        self.small = small
        self.open = open
        self.take = take
        self.forms = []
        if small is not None:
            for code in rdb_codes:
                self.forms.append(PackedForm(code, self, TAKEN))
                self.forms.append(PackedForm(code, self, FULL))
                self.forms.append(PackedForm(code, self, MADE))

    def form(self, code: int, kind: int) -> PackedForm:
        """The packed form of payloads under an RDB code: one of TAKEN, FULL, MADE."""
        return self.forms[3 * self.rdb_codes.index(code) + kind]


# Kinds of packed forms:
TAKEN: Final = 0  # from a file; its value is of a compact encoding, once it is decoded
FULL: Final = 1  # its value is of the full encoding: hashtable, skiplist, quicklist
MADE: Final = 2  # made here of a value of compact encoding
_KINDS: Final = ["", "Full", "Made"]


class PackedForm:
    """How the payloads of one RDB code lie in the keyspace, and the `DataType` that they have.

    ``kind``    TAKEN, FULL or MADE
    ``cls``     the class of such values: ``form.cls(payload)``
    ``base``    the live values' type
    ``record``  the packed values' type: it writes the payload as it lies, and decodes it for
                whatever asks for more, or for an RDB version that does not have it so
    """

    code: int
    kind: int
    since: int  # the RDB version that brought the code
    string_at: int  # where the payload's only string begins; -1 if it is made otherwise
    gap: int  # behind each string of a payload that is a length and strings; else -1
    cls: type[Packed]
    base: DataType
    record: DataType

    def __init__(self, code: int, base: DataType, kind: int) -> None:
        self.code = code
        self.kind = kind
        self.since = SINCE.get(code, 0)
        self.string_at = ONE_STRING.get(code, -1)
        self.gap = MANY_STRINGS.get(code, -1)
        self.base = base
        self.cls = form(f"Packed{_KINDS[kind]}{base.name.capitalize()}{code}")
        self.record = DataType(
            base.name,
            number=base.number,
            classes=(self.cls,),
            rdb_codes=(),
            encoding=self._encoding,
            rdb_code=self.rdb_code,
            save=self.save,
            load=base.load,
            rewrite=self._rewrite,
            copy=self._copy,
            digest=self._digest,
            length=self._length,
            elements=None if base.elements is None else self._elements,
            build=base.build,
            field=None if base.field is None else self._field,
        )

    def unpack(self, payload: bytes, key: bytes | None = None) -> Any:
        """The live value, made anew; raises CorruptData, which names the key."""
        if self.kind == MADE and self.base.open is not None:
            opened = self.base.open(self.code, payload)
            opened.made = self.cls
            return opened
        reader = Reader(bytes(payload))
        try:
            value = self.base.load(self.code, reader, _NOTHING if self.kind == FULL else _UNLIMITED)
            if not reader.at_end():
                raise reader.fail("something follows it")
        except CorruptData as error:
            where = "" if key is None else f" at key {key[:64]!r}"
            raise CorruptData(f"the {self.base.name}{where} is damaged: {error.why}") from None
        return value

    def _encoding(self, payload: bytes, limits: Limits) -> str:
        return self.base.encoding(self.unpack(payload), limits)

    def rdb_code(self, payload: bytes, version: int) -> int:
        """See `DataType`."""
        if version < self.since:
            return self.base.rdb_code(self.unpack(payload), version)
        return self.code

    def save(self, payload: bytes, writer: Writer) -> None:
        """See `DataType`."""
        if writer.version < self.since:
            self.base.save(self.unpack(payload), writer)
        elif self.gap >= 0:
            writer.packed_strings(payload, self.gap)
        elif self.string_at < 0 or payload[: self.string_at] != ONE_NODE[: self.string_at]:
            writer.raw(payload)
        else:
            writer.packed(payload, self.string_at)

    def _rewrite(self, key: bytes, payload: bytes) -> Iterator[list[bytes]]:
        return self.base.rewrite(key, self.unpack(payload, key))

    def _copy(self, payload: bytes) -> bytes:
        return payload

    def _digest(self, payload: bytes, seed: bytes) -> bytes:
        return self.base.digest(self.unpack(payload), seed)

    def _length(self, payload: bytes) -> int:
        return self.base.length(self.unpack(payload))

    def _elements(self, payload: bytes) -> list[bytes]:
        assert self.base.elements is not None
        return self.base.elements(self.unpack(payload))

    def _field(self, payload: bytes, field: bytes) -> bytes | None:
        assert self.base.field is not None
        return self.base.field(self.unpack(payload), field)


class TypeRegistry:
    """All data types of a store, found by a value's class or by an RDB type byte.

    ``form_of`` is the packed form by class.
    """

    by_class: dict[type, DataType]
    by_code: dict[int, DataType]
    by_name: dict[str, DataType]
    form_of: dict[type, PackedForm]

    def __init__(self) -> None:
        self.by_class = {}
        self.by_code = {}
        self.by_name = {}
        self.form_of = {}

    def add(self, datatype: DataType) -> None:
        """Register a type; raises ValueError if a class or an RDB code is taken."""
        for cls in datatype.classes:
            if cls in self.by_class:
                raise ValueError(f"{cls.__name__} already belongs to {self.by_class[cls].name}")
            self.by_class[cls] = datatype
        for code in datatype.rdb_codes:
            if code in self.by_code:
                raise ValueError(f"RDB code {code} already belongs to {self.by_code[code].name}")
            self.by_code[code] = datatype
        for packed in datatype.forms:
            self.form_of[packed.cls] = packed
            self.by_class[packed.cls] = packed.record
        self.by_name[datatype.name] = datatype

    def of(self, value: object) -> DataType:
        return self.by_class[type(value)]

    def pack(self, value: object) -> Packed | None:
        """The packed form of a live value; None if it has none or is not small."""
        payload = None
        if isinstance(value, Value):
            made = value.made
            payload = value.payload()
            if payload is not None and made is not None:
                return made(payload)
        datatype = self.by_class[type(value)]
        if datatype.small is None:
            return None
        code = datatype.rdb_code(value, LATEST)
        if payload is not None:
            return datatype.form(code, MADE).cls(payload)
        if not datatype.small(value):
            return None
        writer = Writer(compress=False, version=LATEST)
        datatype.save(value, writer)
        full = datatype.encoding(value, _UNLIMITED) in _FULL
        return datatype.form(code, FULL if full else MADE).cls(writer.getvalue())

    def unpack(self, packed: Packed, key: bytes) -> Any:
        """The live value of a packed one; raises CorruptData, which names the key."""
        return self.form_of[type(packed)].unpack(packed, key)
