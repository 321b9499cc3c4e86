"""What a command tells the policy is what it did: journals replay to the same data, and a policy
that looks only at the keys it was told of misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvcore
from kvcore.config import Config
from kvcore.errors import CommandError
from kvcore.instance import Instance
from kvcore.persistence import Batch, Persistence
from tests.commands_pool import KEY, POOL, SECONDS, maybe, shape
from tests.scripts import Step, parse

# In a test of effects, times may be relative: what leaves must not be.
RELATIVE = [
    shape("EXPIRE", KEY, SECONDS, maybe("NX", "GT")),
    shape("PEXPIRE", KEY, SECONDS.map(lambda s: s + b"000")),
    shape("GETEX", KEY, "EX", SECONDS),
]
STEPS = st.lists(
    st.one_of([shape.steps for name in POOL for shape in POOL[name]] + [s.steps for s in RELATIVE]),
    min_size=1,
    max_size=30,
)

Data = dict[tuple[int, bytes], tuple[bytes, int]]


def data_of(store: kvcore.Store) -> Data:
    """(database, key) -> (digest of its value, expiry): all that a store holds."""
    keyspace = store.instance.keyspace
    data: Data = {}
    for db, key, _ in keyspace.walk():
        store.execute("SELECT", db.index)
        # Not DUMP: the same value has more than one spelling, as it lies or compressed.
        (digest,) = store.execute("DEBUG", "DIGEST-VALUE", key)
        if store.execute("EXISTS", key):  # else it has just expired
            data[db.index, key] = (digest, db.expiry(key))
    store.execute("SELECT", 0)
    return data


def run(store: kvcore.Store, steps: list[Step]) -> None:
    store.execute("RESET")
    store.execute("FLUSHALL")
    for step in steps:
        try:
            store.execute(*step.argv)
        except CommandError:
            pass
    store.execute("RESET")


class Recorder:
    """Keeps what the journals get."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, list[bytes]]] = []

    @kvcore.hookimpl
    def after_write(self, batch: Batch) -> None:
        self.commands += batch.commands


class Mirror(Persistence):
    """Keeps the data itself, by what it is told of keys."""

    name = "mirror"
    log = "keys"

    def __init__(self, host: Any) -> None:
        super().__init__(host)
        self.keys: set[tuple[int, bytes]] = set()

    def append(self, batch: Batch) -> None:
        self.keys.update(batch.keys)


def make(path: Path, **options: Any) -> kvcore.Store:
    config = Config()
    config.set_keywords({"dir": str(path), "persistence": "none", "enable_debug_command": "yes"})
    return kvcore.Store(Instance(config, **options))


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, recorder: Recorder
) -> Iterator[kvcore.Store]:
    with make(tmp_path_factory.mktemp("recorded"), hooks=[recorder]) as store:
        yield store


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kvcore.Store]:
    with make(tmp_path_factory.mktemp("replica")) as store:
        yield store


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kvcore.Store]:
    with make(tmp_path_factory.mktemp("mirrored"), replacement=Mirror) as store:
        yield store


def journal(store: kvcore.Store, recorder: Recorder, script: str) -> list[str]:
    run(store, [])
    recorder.commands.clear()
    for step in parse(script):
        store.execute(*step.argv)
    return [b" ".join([b"%d" % db, *argv]).decode("latin-1") for db, argv in recorder.commands]


def test_a_journal_replays_to_the_same_data(
    recorded: kvcore.Store, recorder: Recorder, replica: kvcore.Store
) -> None:
    @settings(max_examples=60)
    @given(STEPS)
    def replays(steps: list[Step]) -> None:
        recorder.commands.clear()
        run(recorded, steps)
        run(replica, [])
        for db, argv in recorder.commands:
            replica.instance.loader.replay(db, argv)
        assert data_of(replica) == data_of(recorded)

    replays()


def test_a_policy_of_keys_is_told_of_every_key_that_changes(mirrored: kvcore.Store) -> None:
    told = mirrored.instance.persistence
    assert isinstance(told, Mirror)

    @settings(max_examples=60)
    @given(STEPS, STEPS)
    def misses_nothing(before: list[Step], steps: list[Step]) -> None:
        run(mirrored, before)
        first = data_of(mirrored)
        told.keys.clear()
        for step in steps:
            try:
                mirrored.execute(*step.argv)
            except CommandError:
                pass
        mirrored.execute("RESET")
        last = data_of(mirrored)
        changed = {key for key in first.keys() | last.keys() if first.get(key) != last.get(key)}
        assert changed <= told.keys

    misses_nothing()


def test_relative_times_leave_as_absolute_ones(recorded: kvcore.Store, recorder: Recorder) -> None:
    now = recorded.instance.keyspace.tick()
    written = journal(
        recorded,
        recorder,
        r"""
        SET k v
        EXPIRE k 100 NX
        PEXPIRE k 100000
        EXPIREAT k 4102444800
        RESTORE r 100000 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce"
        """,
    )
    times = [line.split()[3] for line in written[1:]]
    assert [line.split()[1] for line in written] == ["SET", *["PEXPIREAT"] * 3, "RESTORE"]
    assert times[2] == "4102444800000"
    assert all(now + 100_000 <= int(time) <= now + 160_000 for time in times[:2] + times[3:])
    assert written[-1].endswith(" ABSTTL")


def test_times_in_the_past_leave_as_deletions(recorded: kvcore.Store, recorder: Recorder) -> None:
    script = r"""
        MSET a 1 b 2
        EXPIRE a -1
        PEXPIREAT b 1
        EXPIRE nokey -1
        """
    assert journal(recorded, recorder, script) == ["0 MSET a 1 b 2", "0 DEL a", "0 DEL b"]


def test_what_is_repeatable_leaves_as_it_is(recorded: kvcore.Store, recorder: Recorder) -> None:
    script = r"""
        SET a 1
        COPY a b DB 3
        COPY a b
        RENAME a c
        MOVE c 2
        UNLINK b nokey
        SWAPDB 0 2
        PERSIST c
        DEL nokey
        SORT nokey STORE nokey
        FLUSHDB
        FLUSHALL ASYNC
        """
    assert journal(recorded, recorder, script) == [
        "0 SET a 1",
        "0 COPY a b DB 3",
        "0 COPY a b",
        "0 RENAME a c",
        "0 MOVE c 2",
        "0 UNLINK b nokey",
        "0 SWAPDB 0 2",
        "0 FLUSHDB",
        "0 FLUSHALL ASYNC",
    ]


def test_flushing_an_empty_store_is_journalled(recorded: kvcore.Store, recorder: Recorder) -> None:
    assert journal(recorded, recorder, "FLUSHALL\nFLUSHDB") == ["0 FLUSHALL", "0 FLUSHDB"]


def test_a_transaction_leaves_as_its_commands(recorded: kvcore.Store, recorder: Recorder) -> None:
    script = r"""
        MULTI
        SET a 1
        SELECT 1
        SET b 2
        GET b
        EXEC
        """
    assert journal(recorded, recorder, script) == ["0 SET a 1", "1 SET b 2"]


def test_a_batch_that_somebody_keeps_does_not_change(tmp_path: Path) -> None:
    kept: list[Batch] = []

    class Keeper:
        @kvcore.hookimpl
        def after_write(self, batch: Batch) -> None:
            kept.append(batch)

    with make(tmp_path, hooks=[Keeper()], replacement=Mirror) as store:
        keyspace = store.instance.keyspace
        keyspace.propagate(0, [b"PING"])  # an effect that touches no key
        store.instance.engine.commit()
        store.execute("SET", "k", "v")
        assert [batch.keys for batch in kept] == [[], [(0, b"k")]]
