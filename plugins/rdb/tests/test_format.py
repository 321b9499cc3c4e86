"""The envelope of RDB files: what is read, what is refused and how, and that writes read back."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore import families
from kvcore.codec.rdb import Reader, Writer
from kvcore.datatype import Limits
from kvcore.engine import Engine
from kvcore.errors import CorruptData
from kvcore.keyspace import Keyspace
from kvcore.load import EngineLoader, LoadAborted
from kvcore.persistence import Loader
from kvcore.snapshot import LiveView
from kvcore_rdb import format
from tests.datasets import TYPES, fill
from tests.support import ServerExited, start_redis

FUTURE = 4_102_444_800_000
STRING = b"\x00"
HEADER = b"REDIS0010"
END = b"\xff" + bytes(8)  # no checksum


def keyspace(databases: int = 16) -> Keyspace:
    made = Keyspace(databases)
    for datatype in families.kvcore_types():
        made.types.add(datatype)
    return made


def entries(loaded: Keyspace) -> dict[tuple[int, bytes], tuple[object, int]]:
    """What was loaded, strings as bytes."""
    return {
        (db.index, key): (b"%d" % value if isinstance(value, int) else value, db.expiry(key))
        for db, key, value in loaded.walk()
    }


def read(
    data: bytes, *, checksum: bool = True, keep_expired: bool = False, databases: int = 16
) -> tuple[dict[tuple[int, bytes], tuple[object, int]], format.Contents]:
    loaded = keyspace(databases)
    reader = Reader(io.BytesIO(data), path="dump.rdb", size=len(data), checksum=checksum)
    contents = format.read(
        reader, EngineLoader(Engine(loaded)), checksum=checksum, keep_expired=keep_expired
    )
    return entries(loaded), contents


def write(source: Keyspace, **options: object) -> bytes:
    pieces: list[bytes] = []
    size = format.write(LiveView(source), pieces.append, **options)  # type: ignore[arg-type]
    data = b"".join(pieces)
    assert size == len(data)
    return data


def rdb_string(text: bytes) -> bytes:
    writer = Writer(compress=False)
    writer.string(text)
    return writer.getvalue()


def pair(key: bytes, value: bytes) -> bytes:
    return STRING + rdb_string(key) + rdb_string(value)


def refuse(data: bytes, *, checksum: bool = True, databases: int = 16) -> CorruptData:
    with pytest.raises(CorruptData) as caught:
        read(data, checksum=checksum, databases=databases)
    assert caught.value.path == "dump.rdb"
    assert 0 <= caught.value.offset <= len(data)
    return caught.value


# The header -----------------------------------------------------------------------------------


@pytest.mark.behaviour("RDB versions", "1 to 13 are read")
@pytest.mark.parametrize("version", range(1, 14))
def test_versions_that_are_read(version: int) -> None:
    trailer = b"\xff" if version < 5 else END
    found, contents = read(b"REDIS%04d" % version + b"\xfe\x00" + pair(b"k", b"v") + trailer)
    assert found == {(0, b"k"): (b"v", -1)}
    assert contents.version == version


@pytest.mark.behaviour("RDB versions", "80 of Valkey 9 is read")
def test_a_file_of_valkey_9() -> None:
    aux = b"\xfa" + rdb_string(b"valkey-ver") + rdb_string(b"9.0.0")
    found, contents = read(b"VALKEY080" + aux + b"\xfe\x00" + pair(b"k", b"v") + END)
    assert found == {(0, b"k"): (b"v", -1)}
    assert contents.version == 80
    assert contents.maker == "Valkey 9.0.0"


@pytest.mark.behaviour("RDB versions", "others are refused by number")
@pytest.mark.behaviour(
    "3. a duplicated key panics; a damaged version is believed",
    "each digit of the version is checked",
)
@pytest.mark.parametrize("version", [0, 14, 79, 81, 9999])
def test_other_versions_are_refused_by_number(version: int) -> None:
    error = refuse(b"REDIS%04d" % version + END)
    assert f"version {version};" in str(error)
    assert error.offset == 5


@pytest.mark.behaviour("RDB: what is refused", "what is no header")
@pytest.mark.parametrize(
    "header",
    [
        b"VALKEY+80",
        b"VALKEY08\n",
        b"redis0010",
        b"REDIS+010",
        b"REDIS 010",
        b"REDIS10\r\n",
        b"*2\r\n$6\r\nS",
    ],
)
def test_what_is_no_header_is_refused(header: bytes) -> None:
    error = refuse(header + END)
    assert "no RDB file" in str(error)
    assert error.offset == 0


@pytest.mark.parametrize("data", [b"", b"R", b"REDIS", b"REDIS001"])
def test_a_file_shorter_than_its_header(data: bytes) -> None:
    assert "unexpected end of file" in str(refuse(data))


# Opcodes --------------------------------------------------------------------------------------


def test_expiry_in_seconds_and_milliseconds() -> None:
    found, _ = read(
        HEADER
        + b"\xfd" + (2_000_000_000).to_bytes(4, "little") + pair(b"s", b"1")
        + b"\xfc" + FUTURE.to_bytes(8, "little") + pair(b"ms", b"2")
        + pair(b"never", b"3")
        + END
    )  # fmt: skip
    assert found == {
        (0, b"s"): (b"1", 2_000_000_000_000),
        (0, b"ms"): (b"2", FUTURE),
        (0, b"never"): (b"3", -1),
    }


@pytest.mark.behaviour("RDB: what is skipped", "keys whose time is over, counted")
def test_expired_keys_are_dropped_and_counted() -> None:
    past = b"\xfc" + (1000).to_bytes(8, "little")
    found, contents = read(HEADER + past + pair(b"gone", b"1") + pair(b"here", b"2") + END)
    assert found == {(0, b"here"): (b"2", -1)}
    assert (contents.keys, contents.expired) == (1, 1)


@pytest.mark.parametrize("when", [1000, 0, -7])
def test_the_base_of_an_aof_keeps_expired_keys(when: int) -> None:
    past = b"\xfc" + when.to_bytes(8, "little", signed=True)
    found, contents = read(HEADER + past + pair(b"k", b"v") + END, keep_expired=True)
    assert found == {(0, b"k"): (b"v", max(when, 0))}
    assert (contents.keys, contents.expired) == (1, 0)


def test_hints_that_are_read_over() -> None:
    found, _ = read(
        HEADER
        + b"\xfe\x00"
        + b"\xfb\xff\x01"[:1] + b"\x81" + b"\xff" * 8 + b"\x00"  # RESIZEDB with absurd numbers
        + b"\xf4\x05\x40\x80\x01"  # SLOT_INFO
        + b"\xf8\x80\x00\x01\x00\x00" + pair(b"idle", b"1")
        + b"\xf9\xff" + pair(b"freq", b"2")
        + b"\xfc" + FUTURE.to_bytes(8, "little") + b"\xf9\x01" + pair(b"both", b"3")
        + END
    )  # fmt: skip
    assert found == {
        (0, b"idle"): (b"1", -1),
        (0, b"freq"): (b"2", -1),
        (0, b"both"): (b"3", FUTURE),
    }


def test_aux_fields() -> None:
    aux = b"\xfa" + rdb_string(b"redis-ver") + rdb_string(b"7.4.0")
    aux += b"\xfa" + rdb_string(b"used-mem") + rdb_string(b"123456")
    aux += b"\xfa" + rdb_string(b"\xff?") + rdb_string(b"")
    data = HEADER + aux + END
    loader = EngineLoader(Engine(keyspace()))
    contents = format.read(Reader(data), loader, checksum=False)
    assert contents.aux == {"redis-ver": b"7.4.0", "used-mem": b"123456", "\N{REPLACEMENT CHARACTER}?": b""}  # fmt: skip  # noqa: E501
    assert loader.facts["rdb_used_mem"] == 123456


def test_databases_are_kept_apart() -> None:
    found, _ = read(HEADER + b"\xfe\x02" + pair(b"k", b"2") + b"\xfe\x0f" + pair(b"k", b"f") + END)
    assert found == {(2, b"k"): (b"2", -1), (15, b"k"): (b"f", -1)}


def test_a_database_out_of_range_is_refused_with_advice() -> None:
    error = refuse(HEADER + b"\xfe\x05" + pair(b"k", b"v") + END, databases=4)
    assert "database 5 is out of range" in str(error)
    assert "databases 6" in error.advice


@pytest.mark.behaviour(
    "3. a duplicated key panics; a damaged version is believed",
    "a key that is there twice is refused by name",
)
def test_a_key_that_is_there_twice_is_refused() -> None:
    error = refuse(HEADER + pair(b"twin", b"1") + pair(b"twin", b"2") + END)
    assert "twin" in str(error)


@pytest.mark.parametrize("pieces", [True, False])
@pytest.mark.parametrize("place", [1, 63, 64, 65, 999])
def test_a_key_that_is_there_twice_is_refused_where_it_ends(place: int, pieces: bool) -> None:
    pairs = [pair(b"key:%d" % n, b"value:%d" % n) for n in range(1000)]
    pairs[place] = pair(b"key:0", b"2")
    data = HEADER + b"".join(pairs) + END
    loader = EngineLoader(Engine(keyspace()))
    source = cast("BinaryIO", Dribble(data)) if pieces else data
    contents = format.Contents()
    with pytest.raises(CorruptData) as error:
        format.read(Reader(source, path="dump.rdb"), loader, contents=contents)
    assert "'key:0' of database 0 is there twice" in error.value.why
    assert error.value.path == "dump.rdb"
    assert error.value.offset == len(HEADER + b"".join(pairs[: place + 1]))
    assert contents.keys == place


class Dribble:
    """A file that gives a hundred bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 100))


def test_a_database_out_of_range_is_refused_behind_its_first_key() -> None:
    pairs = [pair(b"key:%d" % n, b"v") for n in range(100)]
    error = refuse(HEADER + b"\xfe\x05" + b"".join(pairs) + END, databases=4)
    assert error.offset == len(HEADER) + 2 + len(pairs[0])


def test_a_loader_may_take_keys_only_one_by_one() -> None:
    found: dict[bytes, object] = {}

    class Single(Loader):
        types = keyspace().types
        limits = Limits()
        now = 0

        def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
            if key in found:
                raise CorruptData("twice")
            found[key] = value

    pairs = [pair(b"key:%d" % n, b"v%d" % n) for n in range(100)]
    loader = Single()
    format.read(Reader(HEADER + b"".join(pairs) + END), loader, checksum=False)
    assert found == {b"key:%d" % n: b"v%d" % n for n in range(100)}
    found.clear()
    pairs[70] = pairs[3]
    with pytest.raises(CorruptData) as error:
        format.read(Reader(HEADER + b"".join(pairs) + END), loader, checksum=False)
    assert error.value.offset == len(HEADER + b"".join(pairs[:71]))


@pytest.mark.behaviour("RDB: what is skipped", "functions, with a warning")
def test_functions_are_skipped_with_a_warning() -> None:
    code = b"\xf5" + rdb_string(b"#!lua name=f\nredis.register_function('f', f)")
    found, contents = read(HEADER + code + code + pair(b"k", b"v") + END)
    assert found == {(0, b"k"): (b"v", -1)}
    assert contents.functions == 2
    assert any("skipped (2)" in line for line in contents.warnings())


def test_functions_of_release_candidates_are_refused() -> None:
    assert "before Redis 7.0" in str(refuse(HEADER + b"\xf6\x00" + END))


@pytest.mark.behaviour("RDB: what is refused", "types that are not supported, with key and offset")
@pytest.mark.parametrize(
    ("code", "name"),
    [
        (6, "module"),
        (15, "stream"),
        (19, "stream"),
        (21, "stream"),
        (22, "field expiry"),
        (23, "field expiry"),
        (24, "field expiry"),
        (25, "field expiry"),
    ],
)
def test_foreign_types_are_named_with_key_and_offset(code: int, name: str) -> None:
    before = HEADER + pair(b"fine", b"1")
    error = refuse(before + bytes([code]) + rdb_string(b"the key") + b"\x00" * 9 + END)
    assert name in str(error)
    assert f"type {code}" in str(error)
    assert "the key" in str(error)
    assert error.offset == len(before)


@pytest.mark.behaviour("RDB: what is refused", "unknown types and opcodes, with key and offset")
@pytest.mark.parametrize("header", [HEADER, b"REDIS0013", b"VALKEY080"])
@pytest.mark.parametrize("code", [8, 26, 100, 200, 243])
def test_unknown_types_and_opcodes_are_named(code: int, header: bytes) -> None:
    error = refuse(header + bytes([code]) + rdb_string(b"the key") + END)
    assert str(code) in str(error)
    assert ("the key" in str(error)) == (code <= 100)
    assert error.offset == len(header)
    # In a version that is known all through it is damage, else perhaps something new.
    assert isinstance(error, format.Unsupported) == (header != HEADER)


@pytest.mark.parametrize("version", [8, 13, 80])
def test_versions_that_are_not_written(version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version}"):
        write(keyspace(), version=version)


# The checksum ---------------------------------------------------------------------------------


@pytest.fixture
def small() -> bytes:
    """A file with a bit of everything that strings have, its checksum on."""
    made = keyspace()
    first, other = made.databases[0], made.databases[3]
    first.set(b"plain", b"value")
    first.set(b"number", 12345)
    first.set(b"compressed", b"abcabcabc" * 30)
    first.set(b"expiring", b"x")
    first.expire_at(b"expiring", FUTURE)
    other.set(b"", b"")
    return write(made)


@pytest.mark.behaviour("log lines", "`CRC error`")
def test_a_wrong_checksum_is_refused(small: bytes) -> None:
    assert "CRC error" in str(refuse(small[:-1] + bytes([small[-1] ^ 1])))


def test_a_checksum_is_not_looked_at_if_told_so(small: bytes) -> None:
    damaged = small[:-1] + bytes([small[-1] ^ 1])
    assert read(damaged, checksum=False)[0] == read(small)[0]


def test_a_file_without_checksum_is_read_with_a_warning(small: bytes) -> None:
    found, contents = read(small[:-8] + bytes(8))
    assert found == read(small)[0]
    assert not contents.checked
    assert any("checksum disabled" in line for line in contents.warnings())


def test_what_follows_the_checksum_is_left_alone(small: bytes) -> None:
    data = small + b"*1\r\n$4\r\nPING\r\n"
    reader = Reader(io.BytesIO(data), size=len(data), checksum=True)
    format.read(reader, EngineLoader(Engine(keyspace())))
    assert reader.offset == len(small)
    assert reader.take(4) == b"*1\r\n"


# Damage ---------------------------------------------------------------------------------------


@pytest.mark.behaviour("RDB: what is refused", "every truncation")
def test_every_truncation_is_refused(small: bytes) -> None:
    for size in range(len(small)):
        refuse(small[:size])
        refuse(small[:size], checksum=False)


@pytest.mark.behaviour("RDB: what is refused", "every flipped bit")
def test_every_flipped_bit_is_refused(small: bytes) -> None:
    for position in range(len(small)):
        for bit in range(8):
            damaged = bytearray(small)
            damaged[position] ^= 1 << bit
            refuse(bytes(damaged))


def test_without_checksum_a_flipped_bit_never_fails_in_another_way(small: bytes) -> None:
    for damaged in flips(small[:-8] + bytes(8)):
        with contextlib.suppress(CorruptData):
            read(damaged, checksum=False)


def flips(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            yield bytes(damaged)


@pytest.mark.parametrize("kind", TYPES)
def test_no_flipped_bit_of_a_value_fails_in_another_way(tmp_path: Path, kind: str) -> None:
    with start_redis(tmp_path, "--rdbchecksum", "no") as server:
        client = server.client()
        fill(client, 30, 3, (kind,))
        for key in client.keys("*"):
            if client.memory_usage(key) > 300:
                client.delete(key)
        assert client.dbsize() > 2
        client.save()
    data = (tmp_path / "dump.rdb").read_bytes()
    for damaged in flips(data):
        with contextlib.suppress(CorruptData):
            read(damaged, checksum=False)


@given(st.binary(max_size=200))
def test_noise_after_the_header_never_fails_in_another_way(noise: bytes) -> None:
    with contextlib.suppress(CorruptData):
        read(HEADER + noise, checksum=False)


def test_a_length_beyond_the_file_fails_at_once() -> None:
    error = refuse(HEADER + STRING + b"\x81" + (1 << 60).to_bytes(8, "big") + b"key")
    assert "unexpected end of file" in str(error)


# Writing --------------------------------------------------------------------------------------

texts = st.one_of(
    st.binary(max_size=80),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: b"%d" % n),
    st.sampled_from([b"a" * 64, b"ab" * 9000, b"-0", b"007"]),
)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 15), texts),
        st.tuples(texts, st.one_of(st.just(-1), st.integers(FUTURE, 2**62))),
        max_size=30,
    ),
    st.booleans(),
    st.booleans(),
)
def test_what_is_written_reads_back(
    data: dict[tuple[int, bytes], tuple[bytes, int]], compress: bool, checksum: bool
) -> None:
    made = keyspace()
    for (db, key), (value, expiry) in data.items():
        made.databases[db].set(key, value)
        if expiry >= 0:
            made.databases[db].expire_at(key, expiry)
    found, contents = read(write(made, compress=compress, checksum=checksum))
    assert found == data
    assert contents.keys == len(data)
    assert contents.checked == checksum


def test_aux_and_version_are_the_callers(tmp_path: Path) -> None:
    data = write(keyspace(), aux={"aof-base": 1, "mine": "x"}, version=11)
    _, contents = read(data)
    assert contents.version == 11
    assert contents.aux["aof-base"] == b"1"
    assert contents.aux["mine"] == b"x"
    assert contents.aux["redis-bits"] == b"64"
    assert contents.aux["ctime"].isdigit()


def test_progress_of_a_write_and_of_a_read() -> None:
    made = keyspace()
    for number in range(5000):
        made.databases[number % 2].set(b"%d" % number, b"x" * 400)
    told: list[int] = []
    data = write(made, compress=False, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 5000
    assert len(told) > 3

    seen: list[tuple[int, int]] = []
    loader = EngineLoader(Engine(keyspace()), lambda done, total: seen.append((done, total)))
    source = format.source(io.BytesIO(data), len(data), loader)
    format.read(Reader(source, size=len(data), checksum=True), loader)
    assert seen == sorted(seen)
    assert seen[-1] == (len(data), len(data))
    assert len(seen) >= 2


def test_a_load_can_be_stopped() -> None:
    loader = EngineLoader(Engine(keyspace()))
    loader.abort.set()
    data = HEADER + END
    with pytest.raises(LoadAborted):
        format.read(Reader(format.source(io.BytesIO(data), len(data), loader)), loader)


def test_an_error_of_the_sink_passes_through() -> None:
    made = keyspace()
    made.databases[0].set(b"k", b"v")

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        format.write(LiveView(made), full)


# As Redis does --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("trailing bytes", HEADER + pair(b"k", b"v") + END + b"garbage"),
        ("no database selected", HEADER + pair(b"k", b"v") + END),
        ("unknown aux", HEADER + b"\xfa\x01x\x01y" + pair(b"k", b"v") + END),
        ("lenient digits", b"REDIS 010" + pair(b"k", b"v") + END),
        ("unknown type", HEADER + b"\x1e" + rdb_string(b"k") + rdb_string(b"v") + END),
        ("no end", HEADER + pair(b"k", b"v")),
        ("half a checksum", HEADER + pair(b"k", b"v") + END[:-3]),
        ("idle then expiry", HEADER + b"\xf8\x01\xfc" + FUTURE.to_bytes(8, "little")
         + pair(b"k", b"v") + END),
        ("integer in place of a length", HEADER + b"\xfe\xc0\x01" + pair(b"k", b"v") + END),
    ],
)  # fmt: skip
def test_redis_takes_what_we_take(tmp_path: Path, name: str, data: bytes) -> None:
    """One exception: Redis reads the digits of the version with atoi, we do not."""
    (tmp_path / "dump.rdb").write_bytes(data)
    try:
        with start_redis(tmp_path) as redis:
            taken = redis.client().keys("*") == [b"k"]
    except ServerExited:
        taken = False
    try:
        ours = list(read(data)[0]) == [(0, b"k")]
    except CorruptData:
        ours = False
    assert ours == (taken and name != "lenient digits")


NO_LISTPACK = b"\x07\x07\x00\x00\x00\x00\x00\xff"  # as strings of an RDB file
NO_ZIPLIST = b"\x0b\x0b\x00\x00\x00\x0a\x00\x00\x00\x00\x00\xff"
NO_INTSET = b"\x08\x02\x00\x00\x00\x00\x00\x00\x00"
EMPTY = {
    "list": b"\x01\x00",
    "set": b"\x02\x00",
    "zset": b"\x03\x00",
    "hash": b"\x04\x00",
    "zset 2": b"\x05\x00",
    "zipmap": b"\x09\x02\x00\xff",
    "list of a ziplist": b"\x0a" + NO_ZIPLIST,
    "intset": b"\x0b" + NO_INTSET,
    "zset of a ziplist": b"\x0c" + NO_ZIPLIST,
    "hash of a ziplist": b"\x0d" + NO_ZIPLIST,
    "quicklist without nodes": b"\x0e\x00",
    "quicklist of a ziplist": b"\x0e\x01" + NO_ZIPLIST,
    "hash of a listpack": b"\x10" + NO_LISTPACK,
    "zset of a listpack": b"\x11" + NO_LISTPACK,
    "quicklist 2 without nodes": b"\x12\x00",
    "quicklist 2 of a listpack": b"\x12\x01\x02" + NO_LISTPACK,
    "quicklist 2 of two listpacks": b"\x12\x02\x02" + NO_LISTPACK + b"\x02" + NO_LISTPACK,
}


def checked(data: bytes) -> bytes:
    """With the checksum behind it, so that what is small stays packed."""
    writer = Writer(checksum=True)
    writer.raw(data + b"\xff")
    return data + b"\xff" + writer.crc.to_bytes(8, "little")


@pytest.mark.behaviour("RDB: what is skipped", "empty collections, where redis-server skips them")
@pytest.mark.parametrize("trailer", ["checksum", "none"])
@pytest.mark.parametrize("name", EMPTY)
def test_empty_collections_are_skipped_where_redis_skips_them(
    tmp_path: Path, name: str, trailer: str
) -> None:
    value = EMPTY[name][:1] + rdb_string(b"nothing") + EMPTY[name][1:]
    late = b"\xfc" + FUTURE.to_bytes(8, "little")
    data = HEADER + b"\xfe\x00" + late + value + pair(b"k", b"v")
    data = checked(data) if trailer == "checksum" else data + END
    (tmp_path / "dump.rdb").write_bytes(data)
    theirs: list[bytes] = []
    with contextlib.suppress(ServerExited), start_redis(tmp_path) as redis:
        theirs = redis.client().keys("*")
        assert "skipping empty key: nothing" in redis.log
        assert "keys loaded: 1, keys expired: 0, empty keys skipped: 1" in redis.log
    try:
        found, contents = read(data)
    except CorruptData:
        assert theirs == []
        return
    assert found == {(0, b"k"): (b"v", -1)}
    assert theirs == [b"k"]
    assert contents.counts() == "keys loaded: 1, keys expired: 0, empty keys skipped: 1"
    assert "rdbLoadObject skipping empty key: b'nothing'" in contents.warnings()


def test_damage_in_a_value_names_its_key_and_database() -> None:
    data = HEADER + b"\xfe\x03" + b"\x0b\x04ints\x05wrong" + END
    with pytest.raises(CorruptData, match=r"key b'ints', database 3") as caught:
        format.read(Reader(data), EngineLoader(Engine(keyspace())), checksum=False)
    assert not isinstance(caught.value, format.Unsupported)
    assert len(HEADER) < caught.value.offset <= len(data)


@pytest.mark.parametrize(
    "data",
    [
        HEADER + b"\x0f\x06stream" + END,  # a stream's type
        HEADER + b"\xf6" + END,  # functions of a release candidate
        b"REDIS0079" + END,
    ],
)
def test_a_whole_file_that_we_have_no_place_for_is_not_called_damaged(data: bytes) -> None:
    with pytest.raises(format.Unsupported):
        format.read(Reader(data), EngineLoader(Engine(keyspace())), checksum=False)


def test_a_damaged_file_has_told_its_beginning() -> None:
    contents = format.Contents()
    data = HEADER + b"\xfa\x04name\x05value" + STRING + b"\x01k\x01v" + b"\x63"
    with pytest.raises(CorruptData):
        format.read(Reader(data), EngineLoader(Engine(keyspace())), contents=contents)
    assert contents.version == 10
    assert contents.aux == {"name": b"value"}


def test_a_file_can_be_written_key_by_key() -> None:
    writer = Writer(checksum=True)
    types = keyspace().types
    format.begin(writer, aux={"mine": 1})
    for db, key in ((0, b"a"), (7, b"b"), (0, b"c")):
        format.select(writer, db)
        format.write_keys(writer, types, [(key, b"value", FUTURE)])
    format.end(writer)
    loaded = keyspace()
    reader = Reader(writer.getvalue(), checksum=True)
    contents = format.read(reader, EngineLoader(Engine(loaded)))
    assert (contents.keys, contents.checked, contents.aux["mine"]) == (3, True, b"1")
    found = {(db.index, key): db.expiry(key) for db, key, _ in loaded.walk()}
    assert found == {(0, b"a"): FUTURE, (7, b"b"): FUTURE, (0, b"c"): FUTURE}
