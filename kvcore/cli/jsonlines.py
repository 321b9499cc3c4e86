r"""Keys as lines of JSON, and back, exactly::

    {"db": 0, "key": "user:1", "type": "hash", "value": {"name": "Ann"}, "ttl": 1893456000000}

``ttl`` is the moment at which the key expires, in Unix milliseconds; it is left out where there is
none. Bytes that are not UTF-8 are ``{"base64": "…"}`` wherever a string may stand. Values:

======  ======================================================================
string  the string
list    an array of the elements
set     an array of the members, sorted
zset    an array of [member, score] from the lowest score up; ``"inf"``, ``"-inf"``
hash    an object; an array of [field, value] if a field is not UTF-8
other   ``{"rdb": code, "base64": "…"}``: the payload as it lies in an RDB file
======  ======================================================================
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import DataType, Limits, TypeRegistry
from kvcore.errors import CorruptData

# The plain forms in which every value can be written, whatever its encoding (see the families).
_STRING: Final = 0
_LIST: Final = 1
_SET: Final = 2
_HASH: Final = 4
_ZSET_2: Final = 5

_INT64: Final = 1 << 63


def dump(db: int, key: bytes, value: object, expiry: int, types: TypeRegistry) -> bytes:
    """The line of one key, its end included. ``expiry`` is -1 for none."""
    datatype = types.of(value)
    record: dict[str, Any] = {
        "db": db,
        "key": pack(key),
        "type": datatype.name,
        "value": _pack_value(datatype, key, value),
    }
    if expiry >= 0:
        record["ttl"] = expiry
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def load(line: bytes, types: TypeRegistry, limits: Limits) -> tuple[int, bytes, Any, int]:
    """(db, key, value, expiry) of a line. Raises CorruptData."""
    try:
        record = json.loads(line, object_pairs_hook=_object)
        db, ttl = record["db"], record.get("ttl")
        ttl = -1 if ttl is None else ttl
        if not _is_int(db) or not 0 <= db < 1 << 31:
            raise ValueError(f"db {db!r} is no number of a database")
        if not _is_int(ttl) or not -1 <= ttl < _INT64:
            raise ValueError(f"ttl {ttl!r} is no time in Unix milliseconds")
        key = unpack(record["key"])
        value = _unpack_value(record["type"], record["value"], types, limits)
    except KeyError as error:
        raise CorruptData(f"{error.args[0]!r} is missing") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptData(f"no line of keys: {error}") from None
    except CorruptData as error:
        error.offset = -1  # it is one within the value
        raise
    return db, key, value, ttl


def pack(data: bytes) -> Any:
    """Bytes in JSON: a string where they are UTF-8, else ``{"base64": …}``."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def unpack(item: Any) -> bytes:
    """The bytes that `pack` packed. Raises ValueError."""
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, dict) and item.keys() == {"base64"} and isinstance(item["base64"], str):
        try:
            return base64.b64decode(item["base64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"{item['base64'][:32]!r} is no base64: {error}") from None
    raise ValueError(f"a string is due, {str(item)[:32]!r} was found")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the last one of two fields with one name does not win silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a field twice")
    return found


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Values -------------------------------------------------------------------------------------------


def _pack_value(datatype: DataType, key: bytes, value: object) -> Any:
    name = datatype.name
    if name not in ("string", "list", "set", "zset", "hash"):
        writer = Writer()
        datatype.save(value, writer)
        payload = base64.b64encode(writer.getvalue()).decode("ascii")
        return {"rdb": datatype.rdb_code(value, writer.version), "base64": payload}
    # The commands that rebuild a value hold all that there is to it.
    items: list[bytes] = []
    for argv in datatype.rewrite(key, value):
        items += argv[2:]
    if name == "string":
        return pack(items[0])
    if name == "list":
        return [pack(item) for item in items]
    if name == "set":
        return [pack(item) for item in sorted(items)]
    if name == "zset":
        return [[pack(items[i + 1]), _pack_score(items[i])] for i in range(0, len(items), 2)]
    return _pack_hash(items)


def _pack_hash(items: list[bytes]) -> Any:
    pairs = [[pack(items[i]), pack(items[i + 1])] for i in range(0, len(items), 2)]
    if all([isinstance(field, str) for field, _ in pairs]):
        return dict(pairs)
    return pairs


def _pack_score(text: bytes) -> Any:
    score = float(text)
    return score if abs(score) != float("inf") else text.decode("ascii")


def _unpack_value(name: Any, value: Any, types: TypeRegistry, limits: Limits) -> Any:
    """The value, by way of the plain form that its type reads: so it is checked there."""
    writer = Writer(compress=False)
    if isinstance(value, dict) and value.keys() == {"rdb", "base64"} and name != "hash":
        code = value["rdb"]
        writer.raw(unpack({"base64": value["base64"]}))
    elif name == "string":
        code = _STRING
        writer.string(unpack(value))
    elif name in ("list", "set"):
        code = _LIST if name == "list" else _SET
        _write_strings(writer, _array(value))
    elif name == "zset":
        code = _ZSET_2
        _write_scores(writer, _pairs(value))
    elif name == "hash":
        code = _HASH
        pairs = list(value.items()) if isinstance(value, dict) else _pairs(value)
        writer.length(len(pairs))
        for field, text in pairs:
            writer.string(unpack(field))
            writer.string(unpack(text))
    else:
        raise ValueError(f"type {name!r} is not known")
    datatype = types.by_code.get(code)
    if datatype is None or datatype.name != name:
        raise ValueError(f"{name!r} has no RDB type {code!r} here")
    reader = Reader(writer.getvalue())
    loaded = datatype.load(code, reader, limits)
    if not reader.at_end():
        raise ValueError(f"the payload of a {name} is too long")
    return loaded


def _write_strings(writer: Writer, items: list[Any]) -> None:
    writer.length(len(items))
    for item in items:
        writer.string(unpack(item))


def _write_scores(writer: Writer, pairs: list[Any]) -> None:
    writer.length(len(pairs))
    for member, score in pairs:
        if score in ("inf", "-inf"):
            score = float(score)
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise ValueError(f"a score is due, {str(score)[:32]!r} was found")
        writer.string(unpack(member))
        try:
            writer.double(float(score))
        except OverflowError:
            raise ValueError(f"the score {str(score)[:32]}… is out of range") from None


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"an array is due, {str(value)[:32]!r} was found")
    return value


def _pairs(value: Any) -> list[Any]:
    pairs = _array(value)
    if not all([isinstance(pair, list) and len(pair) == 2 for pair in pairs]):
        raise ValueError("an array of pairs is due")
    return pairs
