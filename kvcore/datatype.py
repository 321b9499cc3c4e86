"""The record by which a family declares its data type, and the limits that encodings obey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kvcore.codec.rdb import Reader, Writer


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


class DataType:
    """One Redis type: how it is named, digested, copied, saved and loaded.

    ``classes``      the Python classes whose instances are values of this type
    ``rdb_codes``    every RDB type byte that ``load`` understands
    ``number``       OBJ_* number of Redis (string 0, list 1, set 2, zset 3, hash 4)
    ``encoding``     value, limits -> what OBJECT ENCODING answers
    ``save``         value, writer -> None; writes the payload (without the type byte)
    ``rdb_code``     value -> the type byte under which ``save`` writes it
    ``load``         code, reader, limits -> value; raises CorruptData. An empty collection
                     is corrupt (Redis never writes one).
    ``rewrite``      key, value -> the commands that rebuild it (AOF without RDB preamble);
                     lists of bytes, at most 64 items each
    ``copy``         value -> an independent value
    ``digest``       value -> 20 bytes, as DEBUG DIGEST mixes them: see kvcore.digest
    ``length``       value -> elements (1 for a string); what lazy freeing goes by

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
    rdb_code: Callable[[Any], int]
    save: Callable[[Any, Writer], None]
    load: Callable[[int, Reader, Limits], Any]
    rewrite: Callable[[bytes, Any], Iterator[list[bytes]]]
    copy: Callable[[Any], Any]
    digest: Callable[[Any, bytes], bytes]
    length: Callable[[Any], int]
    elements: Callable[[Any], list[bytes]] | None
    build: Callable[[list[bytes], Limits], Any] | None
    field: Callable[[Any, bytes], bytes | None] | None

    def __init__(
        self,
        name: str,
        *,
        number: int,
        classes: tuple[type, ...],
        rdb_codes: tuple[int, ...],
        encoding: Callable[[Any, Limits], str],
        rdb_code: Callable[[Any], int],
        save: Callable[[Any, Writer], None],
        load: Callable[[int, Reader, Limits], Any],
        rewrite: Callable[[bytes, Any], Iterator[list[bytes]]],
        copy: Callable[[Any], Any],
        digest: Callable[[Any, bytes], bytes],
        length: Callable[[Any], int],
        elements: Callable[[Any], list[bytes]] | None = None,
        build: Callable[[list[bytes], Limits], Any] | None = None,
        field: Callable[[Any, bytes], bytes | None] | None = None,
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


class TypeRegistry:
    """All data types of a store, found by a value's class or by an RDB type byte."""

    by_class: dict[type, DataType]
    by_code: dict[int, DataType]
    by_name: dict[str, DataType]

    def __init__(self) -> None:
        self.by_class = {}
        self.by_code = {}
        self.by_name = {}

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
        self.by_name[datatype.name] = datatype

    def of(self, value: object) -> DataType:
        return self.by_class[type(value)]
