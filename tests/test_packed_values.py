"""Packed values: nobody can tell that they are, damage waits for whoever touches it, and what is
used least recently gets packed. (Scripts of commands run packed as well: see tests.scripts.)"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvcore
from kvcore import digest
from kvcore.codec import intset, listpack
from kvcore.codec.crc64 import crc64
from kvcore.codec.rdb import LONGEST_SPAN, Writer
from kvcore.datatype import MOST_PACKED, Limits, Value
from kvcore.errors import CommandError, CorruptData
from kvcore.families.hashes.value import Hash
from kvcore.families.lists.value import List
from kvcore.families.sets.value import Set
from kvcore.families.zsets.value import ZSet
from kvcore.keyspace import MOST_LIVE, Keyspace
from kvcore.packed import Packed
from tests.datasets import commands, pack_all, unpack_all
from tests.support import RedisServer, start_redis

KINDS = ["hash", "list", "intset", "set", "zset"]


@pytest.fixture
def store() -> Iterator[kvcore.Store]:
    with kvcore.open(enable_debug_command="yes", tick=False) as store:
        yield store


def fill_each_kind(store: kvcore.Store) -> None:
    store.execute("HSET", "hash", "f", "v", "n", "12")
    store.execute("RPUSH", "list", "a", "-5000", "a")
    store.execute("SADD", "intset", "1", "-70000")
    store.execute("SADD", "set", "x", "17", "")
    store.execute("ZADD", "zset", "1.5", "a", "-inf", "b", "1e300", "c")
    unpack_all(keyspace_of(store))


def keyspace_of(store: kvcore.Store) -> Keyspace:
    return store.instance.keyspace


def packed_keys(store: kvcore.Store) -> set[str]:
    walk = keyspace_of(store).walk()
    return {key.decode() for _, key, value in walk if isinstance(value, Packed)}


def digest_of(store: kvcore.Store) -> bytes:
    return digest.of_keyspace(keyspace_of(store)).hex().encode()


# What others see ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        "TYPE KEY", "OBJECT ENCODING KEY", "OBJECT REFCOUNT KEY", "DEBUG DIGEST-VALUE KEY",
        "DUMP KEY", "EXISTS KEY", "TOUCH KEY", "TTL KEY", "EXPIRE KEY 1000", "PERSIST KEY",
        "COPY KEY copy REPLACE", "SCAN 0 TYPE hash", "WATCH KEY", "RENAME KEY KEY", "DEBUG DIGEST",
    ],
)  # fmt: skip
def test_what_takes_any_value_leaves_it_packed(store: kvcore.Store, question: str) -> None:
    def ask() -> list[object]:
        return [store.execute(*question.replace("KEY", kind).split()) for kind in KINDS]

    fill_each_kind(store)
    live = ask()
    pack_all(keyspace_of(store))
    assert ask() == live
    assert packed_keys(store) >= set(KINDS)


def test_a_moved_value_stays_packed_and_a_deleted_one_is_never_decoded(store: kvcore.Store) -> None:
    fill_each_kind(store)
    pack_all(keyspace_of(store))
    store.execute("RENAME", "hash", "renamed")
    store.execute("COPY", "list", "copied")
    store.execute("MOVE", "zset", "1")
    assert packed_keys(store) == {"renamed", "list", "copied", "zset", "intset", "set"}
    assert store.execute("DEL", "renamed", "set", "intset") == 3
    assert not live_keys(store)
    assert store.execute("LRANGE", "copied", "0", "-1") == [b"a", b"-5000", b"a"]
    store.execute("RPUSH", "copied", "more")
    assert store.execute("LLEN", "list") == 3


def test_what_is_used_often_is_live_and_decoded_in_the_end(store: kvcore.Store) -> None:
    fill_each_kind(store)
    pack_all(keyspace_of(store))
    for number in range(200):
        assert store.execute("HGET", "hash", "n") == b"12"
        assert store.execute("SADD", "intset", "1") == 0
        assert store.execute("SADD", "set", "x") == 0
        assert store.execute("LINDEX", "list", "1") == b"-5000"
        assert store.execute("ZADD", "zset", number, "a") == 0
        if number == 0:
            assert len(packed_keys(store)) >= len(KINDS) - 1
    values = [value for _, _, value in keyspace_of(store).walk()]
    assert [isinstance(value, Value) and value.payload() is None for value in values] == [True] * 5
    assert store.execute("ZSCORE", "zset", "a") == 199.0
    assert store.execute("ZRANGE", "zset", "0", "-1") == [b"b", b"a", b"c"]


def test_a_value_that_is_used_now_and_then_lies_packed_between(store: kvcore.Store) -> None:
    for number in range(1000):
        store.execute("RPUSH", number, "first")
    for _ in range(3):
        for number in range(1000):
            store.execute("RPUSH", number, "more")
            assert len(live_keys(store)) < MOST_LIVE + 50
    assert {store.execute("LLEN", number) for number in range(1000)} == {4}


def test_a_command_may_use_a_value_twice(store: kvcore.Store) -> None:
    """Whatever it unpacks is one object until it is over."""
    for _ in range(20):
        store.execute("DEL", "list", "set")
        store.execute("RPUSH", "list", "a", "b", "c")
        store.execute("SADD", "set", "a", "b")
        pack_all(keyspace_of(store))
        assert store.execute("RPOPLPUSH", "list", "list") == b"c"
        assert store.execute("LRANGE", "list", "0", "-1") == [b"c", b"a", b"b"]
        assert store.execute("SMOVE", "set", "set", "a") == 1
        assert store.execute("SINTERSTORE", "set", "set", "set") == 2


def test_packing_breaks_no_watch_and_keeps_the_expiry(store: kvcore.Store) -> None:
    fill_each_kind(store)
    store.execute("PEXPIREAT", "hash", "4102444800000")
    dirty = keyspace_of(store).dirty
    store.execute("WATCH", *KINDS)
    pack_all(keyspace_of(store))
    store.execute("MULTI")
    store.execute("HGET", "hash", "f")
    assert store.execute("EXEC") == [b"v"]
    assert keyspace_of(store).dirty == dirty
    assert store.execute("PEXPIRETIME", "hash") == 4102444800000


def test_an_expired_packed_value_is_gone(store: kvcore.Store) -> None:
    fill_each_kind(store)
    pack_all(keyspace_of(store))
    store.execute("PEXPIRE", "hash", "1")
    keyspace_of(store).databases[0].expire_at(b"hash", 1)
    assert store.execute("HGET", "hash", "f") is None
    assert store.execute("EXISTS", "hash") == 0


def test_the_encoding_is_that_of_the_moment_when_it_was_packed(store: kvcore.Store) -> None:
    fill_each_kind(store)
    store.execute("SADD", "digits", "x", "1", "2")
    store.execute("SREM", "digits", "x")  # a listpack still, though it could be an intset
    before = [store.execute("OBJECT", "ENCODING", key) for key in [*KINDS, "digits"]]
    for limit in ("hash", "set", "zset"):
        store.execute("CONFIG", "SET", f"{limit}-max-listpack-entries", "1")
    store.execute("CONFIG", "SET", "set-max-intset-entries", "1")
    store.execute("CONFIG", "SET", "list-max-listpack-size", "1")
    pack_all(keyspace_of(store))
    assert [store.execute("OBJECT", "ENCODING", key) for key in [*KINDS, "digits"]] == before
    store.execute("SCARD", "set")
    store.execute("HLEN", "hash")
    assert [store.execute("OBJECT", "ENCODING", key) for key in [*KINDS, "digits"]] == before


def test_digests_and_files_are_the_same_packed(tmp_path: Path) -> None:
    """Redis loads a file of packed values, and finds what it was told in commands."""
    with kvcore.open(str(tmp_path), "rdb", save="", tick=False) as store:
        for argv in commands(1000, seed=3):
            store.execute(*argv)
        expected = digest_of(store)
        pack_all(keyspace_of(store))
        assert len(packed_keys(store)) > 500
        assert digest_of(store) == expected
        assert store.execute("SAVE") == "OK"
    with start_redis(tmp_path) as server:
        assert server.client().execute_command("DEBUG", "DIGEST") == expected
        server.client().execute_command("SAVE")
    with kvcore.open(str(tmp_path), "rdb", save="", tick=False) as store:
        assert len(packed_keys(store)) > 500
        assert digest_of(store) == expected
        for key in list(keyspace_of(store).databases[0].entries.keys()):
            keyspace_of(store).databases[0].find(key)
        assert not packed_keys(store)
        assert digest_of(store) == expected


def test_an_open_view_keeps_what_is_touched_and_changed(store: kvcore.Store) -> None:
    fill_each_kind(store)
    keyspace = keyspace_of(store)
    pack_all(keyspace)
    view = keyspace.freeze()[0].entries
    store.execute("RENAME", "hash", "renamed")
    for argv in ("HSET renamed f new", "LPOP list", "SADD intset 9", "SADD set 9", "ZADD zset 9 z"):
        store.execute(*argv.split())
    found = {
        key.decode(): keyspace.types.of(value).digest(value, bytes(20))
        for key, value in view.items()
    }
    keyspace.thaw()
    store.execute("FLUSHALL")
    fill_each_kind(store)
    assert found == {
        key.decode(): keyspace.types.of(value).digest(value, bytes(20))
        for _, key, value in keyspace.walk()
    }


def test_a_log_of_commands_is_rewritten_from_packed_values(tmp_path: Path) -> None:
    options = {"aof_use_rdb_preamble": "no", "tick": False}
    with kvcore.open(str(tmp_path), "aof", **options) as store:  # type: ignore[arg-type]
        for argv in commands(300, seed=4):
            store.execute(*argv)
        pack_all(keyspace_of(store))
        expected = digest_of(store)
        store.instance.persistence.snapshot(store.instance.view())
    with kvcore.open(str(tmp_path), "aof", **options) as store:  # type: ignore[arg-type]
        assert digest_of(store) == expected


# Born packed --------------------------------------------------------------------------------------

WORDS = st.lists(
    st.sampled_from([b"", b"a", b"7", b"-70000", b"12345678901234567890", b"x" * 9, b"1" * 9])
    | st.integers(-300, 300).map(lambda number: b"%d" % number)
    | st.integers(0, 20).map(lambda size: b"w" * size),
    min_size=1,
    max_size=14,
)
SCORES = st.sampled_from([b"0", b"-0", b"1.5", b"inf", b"-inf", b"3", b"1e300", b"0.1"])
LIMITED = [
    f"{kind}_max_{what}"
    for kind, what in (
        ("hash", "listpack_entries"), ("hash", "listpack_value"), ("set", "intset_entries"),
        ("set", "listpack_entries"), ("set", "listpack_value"), ("zset", "listpack_entries"),
        ("zset", "listpack_value"),
    )
]  # fmt: skip
LIMITS = st.sampled_from([0, 1, 5, 10, 128])


def live_twin(argv: list[bytes], limits: Limits) -> object:
    """What the command makes of nothing, element by element."""
    name, items = argv[0], argv[2:]
    if name == b"HSET":
        fields = Hash()
        for field, value in zip(items[::2], items[1::2]):
            fields.set(
                field, value, limits.hash_max_listpack_entries, limits.hash_max_listpack_value
            )
        return fields
    if name == b"SADD":
        members = Set()
        for member in items:
            members.add(
                member,
                limits.set_max_intset_entries,
                limits.set_max_listpack_entries,
                limits.set_max_listpack_value,
            )
        return members
    if name == b"ZADD":
        zset = ZSet()
        for score, member in zip(items[::2], items[1::2]):
            zset.add(
                member,
                float(score),
                limits.zset_max_listpack_entries,
                limits.zset_max_listpack_value,
            )
        return zset
    elements = List()
    push = elements.push_left if name == b"LPUSH" else elements.push_right
    push(items, limits.list_max_listpack_size)
    return elements


@given(st.data())
def test_a_value_made_by_one_command_is_what_its_elements_make(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([b"HSET", b"LPUSH", b"RPUSH", b"SADD", b"ZADD"]))
    words = data.draw(WORDS)
    if name == b"HSET":
        words = [word for field in words for word in (field, data.draw(st.sampled_from(words)))]
    elif name == b"ZADD":
        words = [word for member in words for word in (data.draw(SCORES), member)]
    argv = [name, b"key", *words]
    with kvcore.open(tick=False) as store:
        keyspace = keyspace_of(store)
        limits = keyspace.limits
        for limit in LIMITED:
            setattr(limits, limit, data.draw(LIMITS))
        limits.list_max_listpack_size = data.draw(st.sampled_from([-2, -1, 1, 3, 10]))
        twin = live_twin(argv, limits)
        datatype = keyspace.types.of(twin)
        reply = store.execute(*argv)
        assert reply == datatype.length(twin)
        stored = keyspace.databases[0].peek(b"key")
        for value in (stored, keyspace.databases[0].find(b"key")):
            found = keyspace.types.of(value)
            assert found.encoding(value, limits) == datatype.encoding(twin, limits)
            assert found.digest(value, bytes(20)) == datatype.digest(twin, bytes(20))
            assert found.length(value) == datatype.length(twin)


@pytest.mark.parametrize(
    "command",
    ["HSET key a 1", "HSET key a 1 b 2", "RPUSH key a", "RPUSH key a b", "LPUSH key a b",
     "SADD key a b", "SADD key 1 2", "ZADD key 1 a 2 b"],
)  # fmt: skip
def test_what_one_command_makes_is_packed_from_the_beginning(
    store: kvcore.Store, command: str
) -> None:
    store.execute(*command.split())
    assert packed_keys(store) == {"key"}


@pytest.mark.parametrize(
    "command",
    ["HSET key a 1 b 2 a 3", "SADD key a b a", "SADD key 1 2 1", "RPUSH key a a",
     "ZADD key 1 a 2 a 2 a 3 b 0 c -0 c"],
)  # fmt: skip
def test_what_comes_twice_counts_as_it_does_in_redis(
    oracle: RedisServer, store: kvcore.Store, command: str
) -> None:
    client = oracle.client()
    client.flushall()

    def changes() -> int:
        return int(client.info("persistence")["rdb_changes_since_last_save"])

    before = changes(), keyspace_of(store).dirty
    assert store.execute(*command.split()) == client.execute_command(command)
    assert keyspace_of(store).dirty - before[1] == changes() - before[0]
    digest = store.execute("DEBUG", "DIGEST-VALUE", "key")
    assert digest == [client.execute_command("DEBUG DIGEST-VALUE", "key")[0].decode()]


@given(st.data())
def test_what_is_saved_of_a_value_does_not_depend_on_its_form(data: st.DataObject) -> None:
    """Be it packed or live, strings that LZF makes shorter are written so."""
    name = data.draw(st.sampled_from(["HSET", "RPUSH", "SADD", "ZADD"]))
    texts = st.text("ab1", max_size=9).map(lambda text: text * 9)
    words = data.draw(st.lists(texts, min_size=2, max_size=200 if name == "RPUSH" else 9))
    if name in ("HSET", "ZADD"):
        words = [word for n, text in enumerate(words) for word in (str(n + 1), text)]
    with kvcore.open(tick=False) as store:
        if data.draw(st.booleans()):
            keyspace_of(store).limits.set_max_listpack_entries = 0
            keyspace_of(store).limits.hash_max_listpack_entries = 0
        store.execute(name, "key", *words)
        keyspace = keyspace_of(store)
        live = keyspace.types.unpack(cast("Packed", keyspace.databases[0].peek(b"key")), b"key")

        def saved(value: object) -> list[int]:
            datatype = keyspace.types.of(value)
            writer = Writer()
            datatype.save(value, writer)
            return sorted(writer.getvalue())  # members of a set come in any order

        assert saved(keyspace.databases[0].peek(b"key")) == saved(live)


# Files --------------------------------------------------------------------------------------------

HASH, SET, INTSET, LIST, ZSET = b"\x10", b"\x02", b"\x0b", b"\x12", b"\x11"
SET_LISTPACK, HASH_ZIPLIST = b"\x14", b"\x0d"
HASH_PLAIN, ZSET_PLAIN = b"\x04", b"\x05"


def string(text: bytes, *, compress: bool = False) -> bytes:
    writer = Writer(compress=compress)
    writer.string(text)
    return writer.getvalue()


def save(folder: Path, *entries: bytes, checksum: bool = True) -> bytes:
    """Write a file of these entries (type, key, payload); returns it."""
    data = b"REDIS0010\xfe\x00" + b"".join(entries) + b"\xff"
    data += crc64(data).to_bytes(8, "little") if checksum else bytes(8)
    (folder / "dump.rdb").write_bytes(data)
    return data


@contextmanager
def opened(folder: Path, **options: object) -> Iterator[kvcore.Store]:
    with kvcore.open(
        str(folder), "rdb", save="", rdbcompression="no", tick=False, **options
    ) as store:
        yield store


def many(count: int) -> list[bytes]:
    return [b"item:%d" % number for number in range(count)]


@pytest.mark.parametrize("compress", [False, True])
def test_small_values_of_a_file_stay_as_they_lie(tmp_path: Path, compress: bool) -> None:
    items = listpack.encode(many(20))
    scores = listpack.encode([b"a", b"1", b"b", b"2"])
    save(
        tmp_path,
        HASH + string(b"hash") + string(items, compress=compress),
        LIST + string(b"list") + b"\x01\x02" + string(items, compress=compress),
        ZSET + string(b"zset") + string(scores, compress=compress),
        INTSET + string(b"intset") + string(intset.encode([1, 2, 70000]), compress=compress),
        SET + string(b"set") + b"\x02" + string(b"12") + string(b"long" * 12, compress=compress),
    )
    with opened(tmp_path) as store:
        assert packed_keys(store) == set(KINDS)
        assert store.execute("HGET", "hash", "item:0") == b"item:1"
        assert store.execute("LINDEX", "list", "-1") == b"item:19"
        assert store.execute("ZSCORE", "zset", "b") == 2.0
        assert store.execute("SMEMBERS", "intset") == {b"1", b"2", b"70000"}
        assert store.execute("SMEMBERS", "set") == {b"12", b"long" * 12}


def test_what_cannot_stay_as_it_lies_is_loaded_by_the_limits_and_packed(tmp_path: Path) -> None:
    items = listpack.encode(many(20))
    nodes = string(listpack.encode([b"x"]))
    save(
        tmp_path,
        HASH + string(b"hash") + string(items),
        LIST + string(b"list") + b"\x01\x02" + string(items),
        LIST + string(b"two nodes") + b"\x02\x02" + nodes + b"\x02" + nodes,
        INTSET + string(b"intset") + string(intset.encode(list(range(600)))),
        SET + string(b"set") + b"\x01" + string(b"x" * 65),
        SET_LISTPACK + string(b"new set") + string(listpack.encode([b"a", b"b"])),
        HASH_ZIPLIST + string(b"old hash") + string(ziplist([b"f", b"v"])),
    )
    with opened(tmp_path, hash_max_listpack_entries=9, list_max_listpack_size=19) as store:
        assert live_keys(store) == {"list", "intset"}  # a quicklist, and too many
        assert store.execute("OBJECT", "ENCODING", "hash") == b"hashtable"
        assert store.execute("OBJECT", "ENCODING", "list") == b"quicklist"
        assert store.execute("OBJECT", "ENCODING", "intset") == b"hashtable"
        assert store.execute("OBJECT", "ENCODING", "set") == b"hashtable"
        assert store.execute("OBJECT", "ENCODING", "new set") == b"listpack"
        assert store.execute("LRANGE", "two nodes", "0", "-1") == [b"x", b"x"]
        assert store.execute("HGETALL", "old hash") == {b"f": b"v"}


def test_what_is_not_compact_stays_as_it_lies_too_and_keeps_its_encoding(tmp_path: Path) -> None:
    words, digits = many(200), [b"%d" % number for number in range(200)]
    with_scores = b"".join(string(word) + struct.pack("<d", 1.5) for word in words)
    save(
        tmp_path,
        HASH_PLAIN + string(b"hash") + b"\x40\x64" + b"".join(map(string, words)),
        HASH_PLAIN + string(b"few, long") + b"\x01" + string(b"f") + string(b"v" * 65),
        HASH_PLAIN + string(b"few") + b"\x01" + string(b"f") + string(b"v"),
        SET + string(b"set") + b"\x40\xc8" + b"".join(map(string, words)),
        SET + string(b"digits") + b"\x40\xc8" + b"".join(map(string, digits)),
        SET + string(b"too many") + b"\x42\x01" + b"".join(map(string, many(513))),
        ZSET_PLAIN + string(b"zset") + b"\x40\xc8" + with_scores,
        ZSET_PLAIN + string(b"few scores") + b"\x01" + string(b"a") + struct.pack("<d", -0.0),
    )
    with opened(tmp_path, hash_max_listpack_entries=99) as store:
        assert packed_keys(store) == {
            "hash", "few, long", "few", "set", "zset", "few scores", "digits"
        }  # fmt: skip
        encodings = {
            "hash": b"hashtable", "few, long": b"hashtable", "few": b"listpack",
            "set": b"hashtable", "digits": b"intset", "too many": b"hashtable",
            "zset": b"skiplist", "few scores": b"listpack",
        }  # fmt: skip
        for _ in ("packed", "live"):
            assert {key: store.execute("OBJECT", "ENCODING", key) for key in encodings} == encodings
            unpack_all(keyspace_of(store))
        assert store.execute("HGET", "hash", "item:0") == b"item:1"
        assert store.execute("SCARD", "set") == 200
        assert store.execute("ZSCORE", "zset", "item:199") == 1.5


def ziplist(items: list[bytes]) -> bytes:
    """Of short strings."""
    body = b""
    before = tail = 0
    for item in items:
        tail = 10 + len(body)
        body += bytes([before, len(item)]) + item
        before = 2 + len(item)
    return struct.pack("<IIH", 11 + len(body), tail, len(items)) + body + b"\xff"


DAMAGED = listpack.encode([b"f", b"v"])[:-1] + b"\x00"


def test_damage_behind_a_right_checksum_is_told_to_whoever_touches_it(tmp_path: Path) -> None:
    entry = HASH + string(b"damaged") + string(DAMAGED)
    save(tmp_path, entry, HASH + string(b"whole") + string(listpack.encode([b"f", b"v"])))
    with opened(tmp_path, enable_debug_command="yes") as store:
        for argv in (["HGETALL", "damaged"], ["HSET", "damaged", "f", "w"], ["GET", "damaged"]):
            with pytest.raises(CommandError, match=r"hash at key b'damaged' is damaged: .*0xff"):
                store.execute(*argv)
        for argv in (["OBJECT", "ENCODING", "damaged"], ["DEBUG", "DIGEST"]):
            with pytest.raises(CommandError, match=r"the hash.* is damaged: .*0xff"):
                store.execute(*argv)
        assert store.execute("TYPE", "damaged") == "hash"
        assert store.execute("HGET", "whole", "f") == b"v"
        assert store.execute("SAVE") == "OK"
        assert entry in (tmp_path / "dump.rdb").read_bytes()
    with opened(tmp_path) as store:
        assert store.execute("DEL", "damaged") == 1
        assert store.execute("DBSIZE") == 1


@pytest.mark.parametrize("checksum", ["yes", "no"])
def test_damage_that_no_checksum_covers_is_found_at_once(tmp_path: Path, checksum: str) -> None:
    whole = HASH + string(b"whole") + string(listpack.encode([b"f", b"v"]))
    save(tmp_path, whole, checksum=False)
    with opened(tmp_path, rdbchecksum=checksum) as store:
        assert store.execute("HGET", "whole", "f") == b"v"
    data = save(tmp_path, whole, HASH + string(b"damaged") + string(DAMAGED), checksum=False)
    with pytest.raises(CorruptData, match=r"b'damaged'.*|.*b'damaged'") as caught:
        kvcore.open(str(tmp_path), "rdb", rdbchecksum=checksum, tick=False)
    assert caught.value.path == str(tmp_path / "dump.rdb")
    assert 0 < caught.value.offset <= len(data)


# What is live -------------------------------------------------------------------------------------


def live_keys(store: kvcore.Store) -> set[str]:
    walk = keyspace_of(store).walk()
    return {key.decode() for _, key, value in walk if isinstance(value, Value)}


def test_large_values_are_never_packed(store: kvcore.Store) -> None:
    for limit in ("hash", "zset", "set"):
        store.execute("CONFIG", "SET", f"{limit}-max-listpack-entries", 10**6)
        store.execute("CONFIG", "SET", f"{limit}-max-listpack-value", 10**6)
    store.execute("CONFIG", "SET", "list-max-listpack-size", -5)
    long = b"x" * (LONGEST_SPAN + 1)
    store.execute("HSET", "long hash", "f", long)
    store.execute("RPUSH", "long list", long)
    store.execute("SADD", "long set", long)
    store.execute("ZADD", "long zset", 1, long)
    for i in range(MOST_PACKED + 1):
        store.execute("HSET", "hash", i, i)
        store.execute("RPUSH", "list", i)
        store.execute("SADD", "set", f"m{i}")
        store.execute("ZADD", "zset", i, i)
    assert pack_all(keyspace_of(store)) == 0


@pytest.mark.parametrize(
    "command",
    ["RPUSH {} x", "HSET {} f v", "SADD {} x", "ZADD {} 1 x", "HINCRBY {} f 1", "ZINCRBY {} 1 x"],
)
def test_no_more_than_some_values_are_live_however_many_are_made(
    store: kvcore.Store, command: str
) -> None:
    for number in range(3 * MOST_LIVE):
        for argv in (command.format(number), "RPUSH in-use x", "LPOP in-use"):
            store.execute(*argv.split())
        assert len(live_keys(store)) < MOST_LIVE + 50
    store.execute("RPUSH", "in-use", "x")
    assert len(packed_keys(store)) > MOST_LIVE
    assert len(store.execute("KEYS", "*")) == 3 * MOST_LIVE + 1


def test_what_was_used_least_recently_is_packed_whole(store: kvcore.Store) -> None:
    """Reads and writes go round more values than may be live; one is read all the time."""
    count = 2 * MOST_LIVE
    for number in range(count):
        store.execute("RPUSH", number, "made")
    for number in range(count):
        store.execute("RPUSH", number, "pushed")
        assert store.execute("LLEN", "0") == 2
    assert "0" in live_keys(store)
    for number in range(count):
        assert store.execute("LRANGE", number, "0", "-1") == [b"made", b"pushed"]
    assert len(live_keys(store)) < MOST_LIVE + 50


def test_a_value_that_was_only_read_is_packed_as_it_lay(store: kvcore.Store) -> None:
    fill_each_kind(store)
    pack_all(keyspace_of(store))
    db = keyspace_of(store).databases[0]
    before = {kind: db.peek(kind.encode()) for kind in KINDS}
    for kind, question in zip(KINDS, ("HLEN", "LLEN", "SCARD", "SCARD", "ZCARD")):
        store.execute(question, kind)
    store.execute("HSET", "hash", "f", "w")
    store.execute("LPUSH", "list", "more")
    pack_all(keyspace_of(store))
    after = {kind: db.peek(kind.encode()) for kind in KINDS}
    assert [kind for kind in KINDS if after[kind] is not before[kind]] == ["hash", "list"]
    assert store.execute("HGET", "hash", "f") == b"w"
    assert store.execute("LLEN", "list") == 4


def test_a_transaction_may_use_more_than_may_be_live(store: kvcore.Store) -> None:
    count = 2 * MOST_LIVE
    store.execute("MULTI")
    for number in range(count):
        store.execute("RPUSH", number, "x")
        store.execute("RPUSH", "all", number)
    store.execute("EXEC")
    assert store.execute("LLEN", "all") == count
    assert len(live_keys(store)) < MOST_LIVE + 50


def test_one_command_may_hold_more_than_may_be_live(store: kvcore.Store) -> None:
    count = 2 * MOST_LIVE
    for number in range(count):
        store.execute("SADD", number, number, "common")
    pack_all(keyspace_of(store))
    assert store.execute("SINTERSTORE", "same", *range(count)) == 1
    assert store.execute("SMEMBERS", "same") == {b"common"}
    assert len(live_keys(store)) < MOST_LIVE + 50


def test_other_ways_of_making_a_value_count_as_well(store: kvcore.Store) -> None:
    store.execute("RPUSH", "list", "a", "b")
    dump = store.execute("DUMP", "list")
    unpack_all(keyspace_of(store))
    for number in range(MOST_LIVE):
        store.execute("COPY", "list", f"copy {number}")
        store.execute("RESTORE", f"restored {number}", "0", dump)
        store.execute("SORT", "list", "ALPHA", "STORE", f"sorted {number}")
        store.execute("RPUSH", "renamed", "x")
        store.execute("RENAME", "renamed", f"renamed {number}")
    assert len(live_keys(store)) < MOST_LIVE + 50
    assert len(packed_keys(store)) > 3 * MOST_LIVE - 50


def test_databases_take_what_is_live_along_when_they_are_swapped_or_emptied(
    store: kvcore.Store,
) -> None:
    for number in range(MOST_LIVE):
        store.execute("HINCRBY", number, "f", "1")
    store.execute("SWAPDB", "0", "1")
    assert not keyspace_of(store).databases[0].live
    store.execute("SELECT", "1")
    for number in range(MOST_LIVE):
        store.execute("HINCRBY", f"more {number}", "f", "1")
    assert len(live_keys(store)) < MOST_LIVE + 50
    store.execute("FLUSHDB")
    assert not keyspace_of(store).databases[1].live


def test_an_open_view_keeps_what_is_packed_and_unpacked_meanwhile(store: kvcore.Store) -> None:
    count = 2 * MOST_LIVE
    for number in range(count):
        store.execute("RPUSH", number, "seen")
    keyspace = keyspace_of(store)
    view = keyspace.freeze()[0].entries
    for number in range(count):
        store.execute("RPUSH", number, "unseen")
    assert len(live_keys(store)) < MOST_LIVE + 50
    seen = [keyspace.types.of(value).length(value) for _, value in view.items()]
    keyspace.thaw()
    assert seen == [1] * count
    assert {store.execute("LLEN", number) for number in range(count)} == {2}
