"""A stable view: whatever commands do, it holds what was there; and a child that reads it."""

from __future__ import annotations

import errno
import functools
import os
import re
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcore import digest, snapshot
from kvcore.codec.rdb import Writer
from kvcore.command import WRITE
from kvcore.config import Config
from kvcore.errors import CommandError, PersistenceError
from kvcore.instance import Instance
from kvcore.persistence import View
from kvcore.session import Session
from kvcore.snapshot import Child, StableView, ThreadChild
from kvcore.table import Table
from tests.commands_pool import POOL
from tests.datasets import pack_all, unpack_all
from tests.scripts import Step
from tests.support import start_kvcore

DEADLINE_S = 30

Entries = dict[tuple[int, bytes], tuple[bytes, int]]


def refused(reply: object) -> bool:
    return isinstance(reply, str) and reply.startswith("-")


class Opened:
    """A store without persistence."""

    def __init__(self) -> None:
        config = Config()
        config.set_keywords({"persistence": "none", "enable_debug_command": "yes"})
        self.instance = Instance(config)
        self.instance.load()
        self.keyspace = self.instance.keyspace
        self.session = Session(self.instance.engine)

    def do(self, *words: str | bytes) -> object:
        """Run a command; an error reply is returned as its text."""
        argv = [word.encode() if isinstance(word, str) else word for word in words]
        try:
            return self.session.execute(argv)
        except CommandError as error:
            return f"-{error}"

    def script(self, lines: str) -> None:
        for line in lines.splitlines():
            if line.strip():
                reply = self.do(*line.split())
                assert not refused(reply), (line, reply)

    def view(self) -> StableView:
        return StableView(self.keyspace)

    def entries(self) -> Entries:
        """What is there now."""
        return {
            (db.index, key): (self.payload(value), db.expiry(key))
            for db, key, value in self.keyspace.walk()
        }

    def payload(self, value: object) -> bytes:
        """All that is saved of a value."""
        datatype = self.keyspace.types.of(value)
        writer = Writer()
        writer.byte(datatype.rdb_code(value, writer.version))
        datatype.save(value, writer)
        return writer.getvalue()

    def read(self, view: View) -> Iterator[tuple[tuple[int, bytes], tuple[bytes, int]]]:
        """The entries of a view, one at a time."""
        for db, _, _ in view.databases():
            for key, value, expiry in view.entries(db):
                yield (db, key), (self.payload(value), expiry)

    def check(self) -> None:
        """Verify every invariant of what is there."""
        for db in self.keyspace.databases:
            db.entries.check()
            db.expires.check()
        for _, _, value in self.keyspace.walk():
            if hasattr(value, "check"):
                value.check()


@pytest.fixture
def store() -> Opened:
    return Opened()


MANY = 700  # elements: enough for each type's large form


def large_values(store: Opened, suffix: str = "") -> None:
    """One of each type that is not copied whole."""
    numbers = [str(number) for number in range(MANY)]
    store.do("HSET", f"hash{suffix}", *[word for n in numbers for word in (n, "v" + n)])
    store.do("SADD", f"set{suffix}", *[f"member {n}" for n in numbers])
    store.do("RPUSH", f"list{suffix}", *numbers)
    store.do("ZADD", f"zset{suffix}", *[word for n in numbers for word in (n, "m" + n)])
    store.do("APPEND", f"string{suffix}", "1")
    store.do("APPEND", f"string{suffix}", "2" * MANY)


def packed_values(store: Opened, suffix: str = "") -> None:
    """The small ones, as they are once nobody touches them."""
    small_values(store, suffix)
    assert pack_all(store.keyspace) >= 4


def small_values(store: Opened, suffix: str = "") -> None:
    """One of each type, the same keys, with a little in common with the large ones."""
    store.do("HSET", f"hash{suffix}", "1", "5", "2", "b", "3", "c")
    store.do("SADD", f"set{suffix}", "member 1", "member 2", "x")
    store.do("RPUSH", f"list{suffix}", "0", "1", "2", "5", "1", "7")
    store.do("ZADD", f"zset{suffix}", "1", "m1", "2", "m2", "9", "m9")
    store.do("APPEND", f"string{suffix}", "1")
    store.do("APPEND", f"string{suffix}", "2")
    unpack_all(store.keyspace)


# What commands do -------------------------------------------------------------------------------


EVERY_STEP = st.one_of([shape.steps for family in POOL.values() for shape in family])


def test_no_sequence_of_commands_moves_a_view(store: Opened) -> None:
    other = Opened()  # without a view

    @settings(max_examples=150)
    @given(
        before=st.lists(EVERY_STEP, max_size=25),
        after=st.lists(EVERY_STEP, min_size=1, max_size=25),
        large=st.booleans(),
        packed=st.booleans(),
        strides=st.lists(st.integers(0, 3), min_size=1),
    )
    def holds(
        before: list[Step], after: list[Step], large: bool, packed: bool, strides: list[int]
    ) -> None:
        store.keyspace.thaw()
        move_no_view(store, other, before, after, large, packed, strides)

    holds()


def move_no_view(
    store: Opened,
    other: Opened,
    before: list[Step],
    after: list[Step],
    large: bool,
    packed: bool,
    strides: list[int],
) -> None:
    """Between the commands the view is read on; and what they leave is what they always leave."""
    for each in (store, other):
        each.session.close()
        each.script("SELECT 0\nFLUSHALL")
        if large:
            large_values(each, "0")
            for number, kind in enumerate(("hash", "set", "list", "zset")):
                each.do("RENAME", f"{kind}0", "abcd"[number])
        for step in before:
            each.do(*step.argv)
        each.session.close()
    if packed:
        pack_all(store.keyspace)
    expected = store.entries()
    view = store.view()
    assert {(db, keys) for db, keys, _ in view.databases()} == {
        (db.index, db.entries.count) for db in store.keyspace.databases if db.entries.count
    }
    seen: Entries = {}
    reading = store.read(view)
    for number, step in enumerate(after):
        for _ in range(strides[number % len(strides)]):
            seen.update([next(reading, ((-1, b""), (b"", 0)))])
        store.do(*step.argv)
        other.do(*step.argv)
    seen.update(reading)
    seen.pop((-1, b""), None)
    assert seen == expected
    store.check()
    if not any(
        step.argv[0] == b"SPOP" for step in (*before, *after)
    ):  # which draws lots from a large set
        assert digest.of_keyspace(store.keyspace) == digest.of_keyspace(other.keyspace)


# A line for each command that writes. What it must find is in `small_values` and `large_values`.
WRITES = {
    "APPEND": "APPEND string more",
    "COPY": "COPY hash list REPLACE",
    "DECR": "SET n 5|DECR n",
    "DECRBY": "SET n 5|DECRBY n 2",
    "DEL": "DEL hash set list zset string",
    "EXPIRE": "EXPIRE hash 1000",
    "EXPIREAT": "EXPIREAT hash 4102444800",
    "FLUSHALL": "FLUSHALL",
    "FLUSHDB": "FLUSHDB",
    "GETDEL": "GETDEL string",
    "GETEX": "GETEX string EX 1000",
    "GETSET": "GETSET string x",
    "HDEL": "HDEL hash 1 2",
    "HINCRBY": "HSET hash 1 5|HINCRBY hash 1 2",
    "HINCRBYFLOAT": "HSET hash 1 5|HINCRBYFLOAT hash 1 2.5",
    "HMSET": "HMSET hash 1 x new y",
    "HSET": "HSET hash 1 x new y",
    "HSETNX": "HSETNX hash new x",
    "INCR": "SET n 5|INCR n",
    "INCRBY": "SET n 5|INCRBY n 2",
    "INCRBYFLOAT": "SET n 5|INCRBYFLOAT n 2.5",
    "LINSERT": "LINSERT list BEFORE 5 x",
    "LMOVE": "LMOVE list list LEFT RIGHT",
    "LMPOP": "LMPOP 1 list LEFT COUNT 3",
    "LPOP": "LPOP list",
    "LPUSH": "LPUSH list x",
    "LPUSHX": "LPUSHX list x",
    "LREM": "LREM list 0 1",
    "LSET": "LSET list 2 x",
    "LTRIM": "LTRIM list 1 -2",
    "MOVE": "MOVE hash2 1|SELECT 1|HSET hash2 1 x|SELECT 0",
    "MSET": "MSET hash 1 set 2",
    "MSETNX": "MSETNX n 1 m 2",
    "PERSIST": "PERSIST expiring",
    "PEXPIRE": "PEXPIRE expiring 100000",
    "PEXPIREAT": "PEXPIREAT expiring 4102444800000",
    "PSETEX": "PSETEX hash 100000 x",
    "RENAME": "RENAME hash h|HSET h 1 x|RENAME list l|RPUSH l x|RENAME zset z|ZADD z 5 m1",
    "RENAMENX": "RENAMENX set s|SADD s x y z|RENAMENX string t|APPEND t more",
    "RESTORE": "RESTORE hash 0 {string} REPLACE",
    "RPOP": "RPOP list 2",
    "RPOPLPUSH": "RPOPLPUSH list list",
    "RPUSH": "RPUSH list x",
    "RPUSHX": "RPUSHX list x",
    "SADD": "SADD set new",
    "SDIFFSTORE": "SDIFFSTORE set set set2",
    "SET": "SET string x",
    "SETEX": "SETEX string 1000 x",
    "SETNX": "SETNX n x",
    "SETRANGE": "SETRANGE string 1 x",
    "SINTERSTORE": "SADD set3 x|SINTERSTORE set set set3",
    "SMOVE": "SADD set x|SMOVE set set2 x",
    "SORT": "SORT set ALPHA LIMIT 0 2 STORE hash",
    "SPOP": "SPOP set|SPOP set 2",
    "SREM": "SADD set x y|SREM set x",
    "SUNIONSTORE": "SADD set3 x y z|SUNIONSTORE set set set3",
    "SWAPDB": "SWAPDB 0 1|SELECT 1|HSET hash 1 x|RPUSH list x|SELECT 0|HSET hash 1 x",
    "UNLINK": "UNLINK hash set list zset string",
    "ZADD": "ZADD zset 5.5 m1 7 new",
    "ZDIFFSTORE": "ZDIFFSTORE zset 2 zset zset2",
    "ZINCRBY": "ZINCRBY zset 0.5 m1",
    "ZINTERSTORE": "ZINTERSTORE zset 2 zset zset2",
    "ZMPOP": "ZMPOP 1 zset MIN COUNT 2",
    "ZPOPMAX": "ZPOPMAX zset 2",
    "ZPOPMIN": "ZPOPMIN zset 2",
    "ZRANGESTORE": "ZRANGESTORE zset zset 0 1",
    "ZREM": "ZREM zset m1",
    "ZREMRANGEBYLEX": "ZREMRANGEBYLEX zset - +",
    "ZREMRANGEBYRANK": "ZREMRANGEBYRANK zset 0 1",
    "ZREMRANGEBYSCORE": "ZREMRANGEBYSCORE zset 1 2",
    "ZUNIONSTORE": "ZUNIONSTORE zset 2 zset zset2",
}


def test_every_command_that_writes_is_among_them(store: Opened) -> None:
    commands = store.instance.engine.commands.by_name.values()
    writing = {each.name.upper() for each in commands if each.bits & WRITE}
    assert writing == WRITES.keys()


@pytest.mark.parametrize("fill", [small_values, large_values, packed_values])
@pytest.mark.parametrize("name", WRITES)
def test_a_command_moves_no_view(
    store: Opened, name: str, fill: Callable[[Opened, str], None]
) -> None:
    for suffix in ("", "2"):
        fill(store, suffix)
    store.do("SET", "expiring", "x", "EX", "1000")
    store.do("SELECT", "1")
    fill(store, "")
    store.do("SELECT", "0")
    dump = store.do("DUMP", "string2")
    assert isinstance(dump, bytes)
    expected = store.entries()
    view = store.view()
    dirty = store.keyspace.dirty
    for line in WRITES[name].split("|"):
        reply = store.do(*[dump if word == "{string}" else word for word in line.split()])
        assert not refused(reply), (line, reply)
    assert store.keyspace.dirty > dirty
    assert store.entries() != expected
    assert dict(store.read(view)) == expected
    store.check()


def test_expiry_moves_no_view(store: Opened) -> None:
    large_values(store)
    for number in range(1000):
        store.do("SET", f"key {number}", "x", "PX", "100000" if number % 2 else "10")
    store.do("PEXPIRE", "hash", "10")
    store.do("PEXPIRE", "list", "10")
    expected = store.entries()
    view = store.view()
    store.keyspace.tick()
    time.sleep(0.02)
    store.keyspace.tick()
    assert store.do("HLEN", "hash") == 0
    assert store.do("RPUSH", "list", "x") == 1
    while store.keyspace.expire_some():
        pass
    assert store.do("DBSIZE") == 500 + 4
    assert dict(store.read(view)) == expected


def test_what_is_loaded_moves_no_view(store: Opened) -> None:
    """DEBUG RELOAD NOFLUSH MERGE: values are replaced by another way than commands."""
    small_values(store)
    store.do("EXPIRE", "set", "1000")
    expected = store.entries()
    view = store.view()
    loader = type(store.instance.loader)(store.instance.engine, merge=True)
    loader.restore(0, b"hash", b"now a string", 4102444800000)
    loader.restore(0, b"set", b"now a string")
    loader.restore(0, b"new", b"x")
    assert dict(store.read(view)) == expected
    assert store.do("GET", "set") == b"now a string"


# What it costs ------------------------------------------------------------------------------------


READS = """
    HGETALL hash
    HSCAN hash 0
    HRANDFIELD hash 10
    SMEMBERS set
    SRANDMEMBER set
    SISMEMBER set x
    LRANGE list 0 -1
    LPOS list 5
    ZRANGE zset 0 -1
    ZRANK zset m1
    ZRANDMEMBER zset 10
    GETRANGE string 0 -1
    SUNION set set2
    ZUNION 2 zset zset2
    SORT list
    DUMP hash
    DUMP zset
    TYPE hash
    TTL hash
    EXISTS hash set
    KEYS *
    SCAN 0 COUNT 1000
    SCAN 0 COUNT 1000 TYPE hash
    RANDOMKEY
    OBJECT ENCODING zset
    OBJECT REFCOUNT hash
    OBJECT IDLETIME list
    DEBUG DIGEST
    DEBUG DIGEST-VALUE hash list
    DEBUG OBJECT set
    MEMORY USAGE hash
    WATCH hash
"""


@pytest.mark.parametrize("fill", [small_values, large_values])
def test_reading_copies_nothing(store: Opened, fill: Callable[[Opened, str], None]) -> None:
    for suffix in ("", "2"):
        fill(store, suffix)
    view = store.view()
    store.script(READS)
    assert store.keyspace.spared() == 0
    del view


def test_deleting_copies_no_value(store: Opened) -> None:
    large_values(store)
    view = store.view()
    store.script("DEL hash set\nUNLINK list\nEXPIRE zset 1000\nPERSIST zset\nSET string x")
    assert store.keyspace.copied == 0
    del view


def test_a_view_costs_what_is_written_to(store: Opened) -> None:
    """Not what there is: with ten times as many keys it is the same."""
    costs = []
    for keys in (5_000, 50_000):
        store.do("FLUSHALL")
        for number in range(keys):
            store.do("SET", f"key {number}", "x")
        view = store.view()
        for number in range(20):
            store.do("SET", f"key {number}", "y")
        costs.append(store.keyspace.spared())
        store.keyspace.thaw()
        del view
    assert 0 < costs[1] <= 20 * 10_000
    assert costs[1] < 2 * costs[0]


def test_what_the_view_has_passed_is_not_copied(store: Opened) -> None:
    for number in range(1000):  # all of them live: packing one would copy
        store.do("HSET", f"key {number}", "f", "v")
    view = store.view()
    reading = store.read(view)
    passed = [next(reading)[0][1] for _ in range(700)]
    for key in passed[:300]:
        store.do("HSET", key, "f", "changed")
    assert store.keyspace.spared() == 0
    rest = [key for (_, key), _ in reading]
    assert len({*passed, *rest}) == 1000


def test_a_value_is_copied_once(store: Opened) -> None:
    small_values(store)
    view = store.view()
    store.do("HSET", "hash", "1", "x")
    cost = store.keyspace.spared()
    value = store.keyspace.databases[0].peek(b"hash")
    for number in range(100):
        store.do("HSET", "hash", "1", str(number))
    assert store.keyspace.spared() == cost
    assert store.keyspace.databases[0].peek(b"hash") is value
    del view


def test_after_a_view_nothing_is_kept_for_it(store: Opened) -> None:
    small_values(store)
    view = store.view()
    with pytest.raises(RuntimeError, match="a view already"):
        store.view()
    store.keyspace.thaw()
    del view
    value = store.keyspace.databases[0].peek(b"hash")
    store.do("HSET", "hash", "1", "x")
    assert store.keyspace.databases[0].peek(b"hash") is value
    assert store.keyspace.spared() == 0
    assert len(dict(store.read(store.view()))) == 5


@pytest.mark.parametrize(
    ("make", "write"),
    [
        ("HSET big {n} value", "HSET big 7 new"),
        ("SADD big {n}", "SREM big 7"),
        ("RPUSH big {n}", "LSET big 7777 new"),
        ("ZADD big {n} {n}", "ZADD big 99999 7"),
    ],
)
def test_the_first_write_to_a_large_value_copies_a_small_part(
    store: Opened, make: str, write: str
) -> None:
    for number in range(20_000):
        store.do(*make.format(n=number).split())
    view = store.view()
    tracemalloc.start()
    try:
        store.do(*write.split())
        copied, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert copied < 50_000, "all of it would be some 8 bytes an element at the very least"
    del view


# A child on a thread ------------------------------------------------------------------------------


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_child_reads_while_commands_run(store: Opened) -> None:
    """Really at the same time: whatever the switches between the threads."""
    large_values(store)
    for number in range(3000):
        store.do("SET", f"key {number}", "x", *(("EX", "1000") if number % 3 else ()))
        store.do("HSET", f"hash {number}", "f", "v")
    expected = store.entries()
    seen: Entries = {}
    begun = threading.Event()

    def task(view: View, progress: Callable[[int], None]) -> None:
        for entry in store.read(view):
            begun.set()
            seen.update([entry])
            progress(len(seen))

    child = ThreadChild("test", store.keyspace, task)
    assert begun.wait(DEADLINE_S)
    rounds = 0
    while not child.poll():
        rounds += 1
        for name in ("hash", f"hash {rounds % 3000}"):
            store.do("HSET", name, str(rounds % MANY), f"round {rounds}")
        store.do("RPUSH", "list", str(rounds))
        store.do("LPOP", "list")
        store.do("ZINCRBY", "zset", "1000", f"m{rounds % MANY}")
        store.do("SREM", "set", f"member {rounds % MANY}")
        store.do("APPEND", "string", "x")
        store.do("DEL", f"key {rounds % 3000}")
        store.do("SET", f"new {rounds}", "x")
        store.do("EXPIRE", f"hash {(rounds + 1500) % 3000}", "1000")
    assert child.error == ""
    assert rounds > 0
    assert seen == expected
    assert child.done == child.total == len(expected)
    store.check()


def waiting(started: threading.Event) -> Callable[[View, Callable[[int], None]], None]:
    """A task that goes on and on, and cannot be stopped by what stops Exceptions."""

    def task(view: View, progress: Callable[[int], None]) -> None:
        started.set()
        while True:
            try:
                progress(7)
                time.sleep(0.001)
            except Exception:
                pytest.fail("the order to end is no Exception")

    return task


def test_a_child_that_is_killed(store: Opened) -> None:
    small_values(store)
    started = threading.Event()
    child = ThreadChild("test", store.keyspace, waiting(started))
    assert started.wait(DEADLINE_S)
    until(lambda: child.done == 7)
    assert not child.poll()
    assert child.running
    child.kill()
    assert child.poll()
    assert not child.running
    assert (child.killed, child.error) == (9, "terminated by signal 9")
    assert child.ended >= child.started
    child.kill()
    store.view()


def test_a_child_is_killed_while_it_reads(store: Opened) -> None:
    for number in range(1000):
        store.do("SET", f"key {number}", "x")
    read = []

    def task(view: View, progress: Callable[[int], None]) -> None:
        for _, key, _ in ((0, *entry[:2]) for entry in view.entries(0)):
            read.append(key)
            time.sleep(0.001)

    child = ThreadChild("test", store.keyspace, task)
    until(lambda: read)
    child.kill()
    assert child.killed
    assert len(read) < 1000


def fail_with(error: BaseException) -> Callable[[View, Callable[[int], None]], None]:
    def task(view: View, progress: Callable[[int], None]) -> None:
        next(iter(view.entries(0)))
        raise error

    return task


@pytest.mark.parametrize("start", ["inprocess", "fork"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (ValueError("cannot be written"), "cannot be written"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_goes_wrong_in_a_child(
    store: Opened, start: str, error: BaseException, told: str
) -> None:
    small_values(store)
    store.instance.config.set_keywords({"snapshot_method": start})
    child = store.instance.background("test", fail_with(error))
    child.wait()
    assert child.error == told
    assert child.killed == 0
    assert store.instance.active_child is None
    assert store.do("HSET", "hash", "1", "x") == 0
    store.view()


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
def test_a_thread_that_ends_in_any_other_way_has_failed(
    store: Opened, error: BaseException
) -> None:
    small_values(store)
    child = ThreadChild("test", store.keyspace, fail_with(error))
    child.wait()
    assert child.error


def test_a_thread_that_cannot_start(store: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    small_values(store)
    store.instance.config.set_keywords({"snapshot_method": "inprocess"})
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(PersistenceError, match="can't start"):
            store.instance.background("test", lambda view, progress: None)
    assert store.instance.active_child is None
    store.view()


# Which of the two ---------------------------------------------------------------------------------


def pid_of_child(**options: Any) -> int:
    """The process that a child of such a store runs in."""
    config = Config()
    embedded = options.pop("embedded", False)
    config.set_keywords({"persistence": "none", **options})
    instance = Instance(config, embedded=embedded)
    instance.load()
    child: Child = instance.background("test", lambda view, progress: None)
    child.wait()
    assert child.error == ""
    return child.pid


@pytest.mark.parametrize(
    ("method", "embedded", "threaded"),
    [
        ("auto", False, False),
        ("auto", True, True),
        ("fork", False, False),
        ("fork", True, False),
        ("inprocess", False, True),
        ("inprocess", True, True),
    ],
)
def test_snapshot_method(method: str, embedded: bool, threaded: bool) -> None:
    pid = pid_of_child(snapshot_method=method, embedded=embedded)
    assert (pid == os.getpid()) is threaded


def test_where_there_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    assert pid_of_child(snapshot_method="auto") == os.getpid()
    with pytest.raises(PersistenceError, match="cannot fork"):
        pid_of_child(snapshot_method="fork")


def test_the_view_of_an_empty_store(store: Opened) -> None:
    view = store.view()
    store.do("SET", "k", "v")
    assert list(view.databases()) == []
    assert isinstance(store.keyspace.databases[0].entries, Table)


# Processors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpus", "found"),
    [
        ("0", {0}),
        ("0,2", {0, 2}),
        ("1-3", {1, 2, 3}),
        ("0,8-20:3,5", {0, 5, 8, 11, 14, 17, 20}),
        ("3-1", {3}),
        ("", None),
        ("a", None),
        ("0,", None),
        ("-1", None),
        ("0-99999999999", None),
    ],
)
def test_processors_are_named_as_in_redis(
    monkeypatch: pytest.MonkeyPatch, cpus: str, found: set[int] | None
) -> None:
    bound: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: bound.append(cpus))
    snapshot.bind_to(cpus)
    assert bound == ([] if found is None else [found])


def runs_on(pid: int, cpu: int) -> bool:
    return os.sched_getaffinity(pid) == {cpu}


@pytest.mark.behaviour("bgsave_cpulist", "binds the child of a save to processors")
@pytest.mark.behaviour("aof_rewrite_cpulist", "binds the child of a rewrite to processors")
def test_children_run_where_they_are_told(tmp_path: Path) -> None:
    (cpu, *_) = sorted(os.sched_getaffinity(0))
    options = ("--rdb-key-save-delay", "100000000", "--persistence", "hybrid")
    for directive, command in (
        ("bgsave_cpulist", "BGSAVE"),
        ("aof-rewrite-cpulist", "BGREWRITEAOF"),
    ):
        folder = tmp_path / command
        folder.mkdir()
        with start_kvcore(folder, *options, f"--{directive}", str(cpu)) as server:
            client = server.client()
            client.set("k", "v")
            client.execute_command(command)
            (pid,) = re.findall(r"started by pid (\d+)", server.log)
            until(functools.partial(runs_on, int(pid), cpu))
            assert os.sched_getaffinity(server.pid) == os.sched_getaffinity(0)
