"""The conformance kit: one test for each promise of `kvcore.persistence`.

Subclass `PersistenceSuite`, name the policy, declare its `Claims`. Where a promise depends on the
configuration, write one class for each configuration::

    class TestAlways(PersistenceSuite):
        persistence = "mine"
        options = {"mine-fsync": "always"}
        claims = Claims(log=True, survives_kill=True, survives_power=True, disk_error="stop")

A test without the claim that it is about is skipped and names the claim. Simulations are repeated
for each of ``--kvcore-seeds``, damaged files are made for each of ``--kvcore-mutants``; a failing
one is found again by its seed (to the last byte with a fixed ``PYTHONHASHSEED``, and if the policy
has no threads). What the storage was asked to do stands
in the captured output of a test that fails.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

import pytest

import kvcore
from kvcore import plugins, startup
from kvcore.errors import CommandError, CorruptData, PersistenceError
from kvcore.persistence import Loader, Persistence
from kvcore.store import Argument
from kvcore.testing.claims import Claims
from kvcore.testing.fuzzing import Fuzzer
from kvcore.testing.mutation import damage
from kvcore.testing.rig import Rig
from kvcore.testing.simulation import Simulation
from kvcore.testing.storage import CHANGING, FaultyStorage, PowerFailure
from kvcore.testing.workload import FAR, SAMPLES, Argv, Workload

_TICKS: Final = 300  # in which a policy notices that the disk is full, or well again
_WRITERS: Final = 4
_KILL_AFTER: Final = 100  # acknowledged writes
_SHARE: Final = 10  # one of so many damaged files is for each class of tests
_CUT: Final = 300  # bytes at the end of a file

# What a process does that is to be killed: it says what was acknowledged.
_VICTIM: Final = """
import itertools, json, sys, kvcore
store = kvcore.open(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
for n in itertools.count(1):
    store.transaction(["RPUSH", "numbers", n], ["SET", "last", n])
    print(n, flush=True)
"""

Commands = list[tuple[Argument, ...]]

# Commands whose effect a log must not merely repeat, and those that touch many keys at once:
# (what it is, before, the command, behind it).
EFFECTS: Final[list[tuple[str, Commands]]] = [
    ("FLUSHALL", [("SET", "a", 1), ("FLUSHALL",), ("SET", "b", 2)]),
    ("FLUSHDB", [("SET", "a", 1), ("SELECT", 1), ("SET", "a", 2), ("FLUSHDB",)]),
    (
        "RENAME",
        [("RPUSH", "a", 1, 2), ("PEXPIREAT", "a", FAR), ("SET", "b", 1), ("RENAME", "a", "b")],
    ),
    ("MOVE", [("SADD", "a", "x"), ("PEXPIREAT", "a", FAR), ("MOVE", "a", 3)]),
    (
        "SWAPDB",
        [("SET", "a", 1), ("SET", "b", 1), ("SELECT", 5), ("SET", "a", 2), ("SWAPDB", 0, 5)],
    ),
    ("COPY", [("HSET", "a", "f", "v"), ("PEXPIREAT", "a", FAR), ("COPY", "a", "b", "DB", 2)]),
    ("SORT STORE", [("RPUSH", "a", 3, 1, 2), ("SET", "b", 1), ("SORT", "a", "STORE", "b")]),
    ("SPOP", [("SADD", "a", *range(40)), ("SPOP", "a"), ("SPOP", "a", 20), ("SMOVE", "a", "b", 1)]),
    ("SPOP of all", [("SADD", "a", 1, 2), ("SPOP", "a", 2), ("SET", "b", 1)]),
    ("LMOVE", [("RPUSH", "a", 1, 2), ("LMOVE", "a", "b", "LEFT", "RIGHT"), ("LPOP", "a", 5)]),
    ("ZPOPMIN", [("ZADD", "a", 1, "x", 2, "y"), ("ZPOPMIN", "a"), ("ZADD", "a", "INCR", 0.1, "y")]),
    ("INCRBYFLOAT", [("SET", "a", "0.1"), ("INCRBYFLOAT", "a", "0.2"), ("PEXPIREAT", "a", FAR)]),
    ("HINCRBYFLOAT", [("HSET", "a", "f", "3"), ("HINCRBYFLOAT", "a", "f", "0.1")]),
    ("relative expiry", [("SET", "a", 1, "EX", 10**6), ("SET", "b", 1), ("EXPIRE", "b", 10**6)]),
    ("expiry in the past", [("SET", "a", 1), ("PEXPIREAT", "a", 1), ("SET", "b", 1, "PXAT", 1)]),
    ("GETEX", [("SET", "a", 1), ("GETEX", "a", "EX", 10**6), ("SET", "b", 1), ("GETDEL", "b")]),
    ("RESTORE", [("RPUSH", "a", 1, "x"), ("RENAME", "a", "b"), ("SET", "a", "KEEPTTL")]),
    (
        "SET KEEPTTL",
        [("SET", "a", 1, "PXAT", FAR), ("SET", "a", 2, "KEEPTTL"), ("SET", "b", 1, "NX")],
    ),
    (
        "commands that fail",
        [("SET", "a", "x"), ("RPUSH", "a", 1), ("INCR", "a"), ("LPUSH", "b", 1)],
    ),
]


Test = TypeVar("Test", bound=Callable[..., None])


def needs(*claims: str, disk_error: str = "") -> Callable[[Test], Test]:
    """A test that is about these claims, and about one of these ways to take a disk's errors."""

    def declare(test: Test) -> Test:
        test.__dict__["kvcore_needs"] = (claims, disk_error)
        return test

    return declare


def _missing(claims: Claims, test: object) -> str:
    """The claims that a test is about and that are not made; "" if it applies."""
    needed, disk_error = getattr(test, "kvcore_needs", ((), ""))
    missing = [claim for claim in needed if not getattr(claims, claim)]
    if disk_error and claims.disk_error not in disk_error.split(", "):
        missing.append(f"disk_error: {disk_error}")
    return ", ".join(missing)


def _left_out() -> Callable[[object], None]:
    """What stands for a test that does not apply."""

    def test(self: object) -> None:
        raise AssertionError("this test was to be skipped")

    return test


class PersistenceSuite:
    """Base of a policy's conformance tests; see the module.

    ``persistence``  the name of an installed policy
    ``claims``       what it promises
    ``options``      directives to open it with (by default ``save`` is empty)
    """

    persistence: ClassVar[str]
    claims: ClassVar[Claims]
    options: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def rig(
        self,
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Rig]:
        """The store under test, not open yet."""
        call = getattr(request.node, "callspec", None)
        seed = call.params.get("kvcore_seed", 0) if call is not None else 0
        path = "" if self.claims.storage else str(tmp_path_factory.mktemp("kvcore") / "new")
        # A simulation opens stores by the hundred: the search of all that is installed would take
        # most of its time.
        for search in ("installed", "load_policy"):
            monkeypatch.setattr(plugins, search, functools.cache(getattr(plugins, search)))
        rig = Rig(self.persistence, self.claims, self.options, path, seed=seed)
        if self.claims.storage:
            # Processes that follow each other have different numbers, and so has a child: names
            # of temporary files are made of them.
            monkeypatch.setattr(os, "getpid", rig.getpid)
        state = random.getstate()
        random.seed(seed)  # what SPOP chooses
        with rig.ended():
            yield rig
            random.setstate(state)
            if self.claims.storage:
                sys.stdout.write("\n".join(["What the storage did last:", *rig.storage.log, ""]))

    def __init_subclass__(cls) -> None:
        """Put one skipped test, which names the claim, in the place of each that does not apply."""
        super().__init_subclass__()
        if not hasattr(cls, "claims"):
            return
        for name in dir(cls):
            missing = _missing(cls.claims, getattr(cls, name))
            if missing:
                reason = f"persistence {cls.persistence} does not claim {missing}"
                setattr(cls, name, pytest.mark.skip(reason=reason)(_left_out()))

    def lose(self, rig: Rig) -> None:
        """The worst end that spares what was acknowledged: power failure, kill, or a close."""
        if self.claims.survives_power and self.claims.storage:
            rig.crash(worst=True)
        elif self.claims.survives_kill:
            rig.kill()
        else:
            rig.close(save=True)

    def make_durable(self, rig: Rig) -> None:
        """Do the least after which nothing may be lost, whatever happens."""
        if self.claims.survives_power:
            return
        if math.isfinite(self.claims.loses_at_most):
            rig.settle()
            rig.wait_for_syncs()
        elif self.claims.snapshots:
            rig.snapshot()
        else:
            rig.close(save=True)

    # The claims themselves --------------------------------------------------------------------

    def test_claims_agree_with_the_class(self, rig: Rig) -> None:
        """A policy that asks for commits keeps a log; one that overrides snapshot takes them."""
        policy = rig.policy_class
        assert policy.name == self.persistence
        assert policy.log in ("", "commands", "keys")
        assert self.claims.log == (policy.log != ""), "Claims.log contradicts the class"
        overrides = policy.snapshot is not Persistence.snapshot
        assert self.claims.snapshots == overrides, "Claims.snapshots contradicts the class"

    # Opening and closing ----------------------------------------------------------------------

    def test_an_empty_store_opens_closes_and_opens_again(self, rig: Rig) -> None:
        """load: nothing there is no error."""
        assert not rig.probe().has_data
        for _ in range(3):
            assert len(rig.open()) == 0
            rig.close()

    @needs("keeps")
    @pytest.mark.parametrize(
        ("encoding", "commands"),
        [pytest.param(encoding, argvs, id=name) for name, encoding, argvs in SAMPLES],
    )
    def test_values_survive_a_close(self, rig: Rig, encoding: str, commands: list[Argv]) -> None:
        """Every type in every encoding, with and without expiry, snapshot or log."""
        rig.open()
        for argv in commands:
            rig.do(*argv)
        assert rig.do("OBJECT", "ENCODING", "k") == encoding.encode()
        rig.do("COPY", "k", "expiring", "DB", 3)
        rig.do("COPY", "k", "expiring")
        rig.do("PEXPIREAT", "expiring", FAR)
        before = rig.fingerprint()
        rig.reopen()
        assert rig.fingerprint() == before

    @needs("keeps")
    def test_keys_are_bytes(self, rig: Rig) -> None:
        """Keys of any bytes, empty and long ones."""
        rig.open()
        keys = [
            b"",
            b"\x00",
            b"\r\n*1\r\n$4\r\nPING\r\n",
            bytes(range(256)),
            b"k" * 70_000,
            b"%d{}",
        ]
        for key in keys:
            rig.do("SET", key, key)
        rig.reopen()
        assert [rig.do("GET", key) for key in keys] == keys

    @needs("keeps")
    def test_databases_are_kept_apart(self, rig: Rig) -> None:
        """The same key in all 16 databases, and in none that were not written."""
        rig.open()
        for db in range(0, 16, 3):
            rig.do("SELECT", db)
            rig.do("SET", "k", db)
        rig.reopen()
        found = []
        for db in range(16):
            rig.do("SELECT", db)
            found.append(rig.do("GET", "k"))
        assert found == [b"%d" % db if db % 3 == 0 else None for db in range(16)]

    @needs("keeps")
    def test_expiry_survives_to_the_millisecond(self, rig: Rig) -> None:
        """Future expiries as they were; what expired meanwhile is gone."""
        rig.open()
        rig.do("SET", "future", 1, "PXAT", FAR + 7)
        rig.do("SET", "soon", 1, "PX", 30)
        rig.do("SET", "never", 1)
        rig.close()
        time.sleep(0.05)
        rig.open()
        rig.tick()
        assert rig.do("PEXPIRETIME", "future") == FAR + 7
        assert rig.do("PEXPIRETIME", "never") == -1
        assert rig.do("EXISTS", "soon") == 0

    @needs("keeps")
    def test_closing_and_opening_again_and_again_changes_nothing(self, rig: Rig) -> None:
        """load after close is the identity; so is a start without a write."""
        rig.open()
        run(rig, seed=1, commits=60)
        before = rig.fingerprint()
        for save in (True, True, None, None, True):
            rig.reopen(save)
            assert rig.fingerprint() == before

    @needs("keeps")
    def test_writes_after_a_load_are_kept(self, rig: Rig) -> None:
        """append works on after load as before."""
        for life in range(4):
            rig.open()
            assert rig.do("RPUSH", "lives", life) == life + 1
            rig.do("SELECT", life)
            rig.do("SET", "life", life)
            rig.do("SELECT", 0)
            rig.close()
        rig.open()
        assert rig.do("LRANGE", "lives", 0, -1) == [b"0", b"1", b"2", b"3"]

    @needs("log")
    @pytest.mark.parametrize("save", [True, False, None], ids=["save", "nosave", "default"])
    def test_a_log_keeps_everything_however_it_is_closed(self, rig: Rig, save: bool | None) -> None:
        """close: everything acknowledged is durable on return, SHUTDOWN NOSAVE included."""
        rig.open()
        run(rig, seed=2, commits=40)
        before = rig.fingerprint()
        rig.close(save)
        if self.claims.storage:
            rig.crash(worst=True)
        rig.open()
        assert rig.fingerprint() == before

    @needs("keeps")
    def test_close_with_save_is_durable(self, rig: Rig) -> None:
        """close(save=True) survives a power failure right behind it."""
        rig.open()
        run(rig, seed=3, commits=40)
        before = rig.fingerprint()
        rig.close(save=True)
        if self.claims.storage:
            rig.crash(worst=True)
        rig.open()
        assert rig.fingerprint() == before

    def test_closing_twice_is_no_error(self, rig: Rig) -> None:
        """The second close does nothing."""
        store = rig.open()
        store.set("k", "v")
        rig.close()
        before = rig.storage.contents() if self.claims.storage else None
        store.close()
        store.close(save=True)
        assert before is None or rig.storage.contents() == before

    @needs("keeps")
    def test_reload_puts_back_what_is_there(self, rig: Rig) -> None:
        """DEBUG RELOAD calls load once more on a store in use, and writes go on behind it."""
        rig.open()
        run(rig, seed=4, commits=40)
        rig.do("SET", "k", "v")
        before = rig.fingerprint()
        rig.instance.reload()
        assert rig.fingerprint() == before
        rig.do("APPEND", "k", "w")
        after = rig.fingerprint()
        rig.reopen()
        assert rig.fingerprint() == after

    def test_info_is_plain(self, rig: Rig) -> None:
        """info: a field is a word, a value a number or a text without line ends."""
        rig.open()
        rig.do("SET", "k", "v")
        for field, value in rig.policy.info().items():
            assert field.isidentifier()
            assert isinstance(value, (int, float, str))
            assert not set(str(value)) & set("\r\n")
        assert "# Persistence" in str(rig.do("INFO", "persistence"))

    # What the folder tells --------------------------------------------------------------------

    @needs("keeps")
    def test_probe_finds_the_data_and_claims_every_file(self, rig: Rig) -> None:
        """probe: has_data once there is data; no file of the policy looks like a stranger's."""
        rig.open()
        run(rig, seed=5, commits=20)
        rig.do("SET", "k", "v")
        rig.close()
        found = rig.probe()
        assert found.has_data
        assert found.mtime > 0
        mine = {name.split("/")[0] for name in (*found.claims, *found.files)}
        assert set(rig.folder.list()) <= {*mine, *startup.OWN_FILES}

    @needs("storage")
    def test_probe_changes_nothing(self, rig: Rig) -> None:
        """probe only looks."""
        rig.open()
        rig.do("SET", "k", "v")
        rig.close()
        before = rig.storage.operations
        rig.probe()
        assert rig.storage.operations == before

    # Adoption ---------------------------------------------------------------------------------

    @needs("keeps")
    def test_adopted_data_is_kept_from_the_start(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """adopt: what another policy loaded is durable before the first command."""
        with monkeypatch.context() as patch:
            patch.setattr(startup, "choose", lambda *_: ("another", Another))
            rig.open()
        before = rig.fingerprint()
        assert rig.instance.keyspace.size() == Another.KEYS
        if self.claims.storage:
            rig.crash(worst=True)
        else:
            rig.kill()
        rig.open()
        assert rig.fingerprint() == before
        rig.do("SET", "k", "v")
        after = rig.fingerprint()
        self.lose(rig)
        rig.open()
        assert rig.fingerprint() == after

    @needs("keeps")
    def test_adopted_data_takes_the_place_of_what_lay_there(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """adopt: what the policy had there from an earlier time does not come back."""
        rig.open()
        rig.do("SET", "from before", "v")
        rig.close()
        with monkeypatch.context() as patch:
            patch.setattr(startup, "choose", lambda *_: ("another", Another))
            rig.open()
        adopted = rig.fingerprint()
        assert rig.instance.keyspace.size() == Another.KEYS
        self.lose(rig)
        rig.open()
        assert rig.fingerprint() == adopted

    @needs("keeps")
    def test_another_policy_takes_over_and_gives_back(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """release, and adopt in a store that runs: the policy is let go of, writes nothing any
        more, and has everything when it is in charge again."""
        load = plugins.load_policy
        monkeypatch.setattr(
            plugins, "load_policy", lambda name: Another if name == "another" else load(name)
        )
        rig.open()
        rig.do("SET", "before", "v")
        rig.do("SET", "removed", "v")
        rig.instance.change_policy("another")
        quiet = rig.storage.operations if self.claims.storage else 0
        rig.do("SET", "meanwhile", "v")
        rig.do("DEL", "removed")
        rig.tick()
        assert not self.claims.storage or rig.storage.operations == quiet
        rig.instance.change_policy(rig.persistence)
        self.make_durable(rig)
        before = rig.fingerprint()
        assert rig.instance.keyspace.size() == 2
        self.lose(rig)
        rig.open()
        assert rig.fingerprint() == before

    @needs("keeps", "storage")
    def test_an_interrupted_adoption_leaves_all_or_nothing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the power fails in it, the policy finds no data (and will adopt it again) or all."""
        for step in steps(rig):
            with monkeypatch.context() as patch:
                patch.setattr(startup, "choose", lambda *_: ("another", Another))
                step(rig.open)
            rig.crash()
            if rig.probe().has_data:
                rig.open()
                assert rig.instance.keyspace.size() == Another.KEYS
                rig.close(save=False)

    # The log ----------------------------------------------------------------------------------

    @needs("keeps")
    @pytest.mark.parametrize("commands", [pytest.param(c, id=name) for name, c in EFFECTS])
    def test_effects_are_repeated_exactly(self, rig: Rig, commands: Commands) -> None:
        """append gets what happened, in order: the same commands again give the same data."""
        rig.open()
        for argv in commands:
            try:
                rig.do(*argv)
            except CommandError:
                assert argv[0] in ("RPUSH", "INCR")  # of the commands that fail
        rig.tick()
        before = rig.fingerprint()
        self.lose(rig)
        rig.open()
        assert rig.fingerprint() == before

    @needs("keeps")
    @pytest.mark.parametrize("how", ["touched", "swept"])
    def test_expired_keys_stay_expired(self, rig: Rig, how: str) -> None:
        """A key that expired and was written again is the new one, whatever the clock says."""
        rig.open()
        rig.do("SET", "k", "old", "PX", 1)
        rig.do("SADD", "s", "old")
        rig.do("PEXPIRE", "s", 1)
        time.sleep(0.01)
        if how == "swept":
            rig.tick()
        rig.do("APPEND", "k", "new")
        rig.do("SADD", "s", "new")
        before = rig.fingerprint()
        self.lose(rig)
        rig.open()
        assert rig.fingerprint() == before
        assert rig.do("GET", "k") == b"new"

    @needs("keeps")
    def test_commits_of_several_threads_are_all_kept(self, rig: Rig) -> None:
        """Whoever waits for a commit gets it, also if others share its flush."""
        store = rig.open()
        errors: list[BaseException] = []

        def write(writer: int) -> None:
            try:
                for n in range(25):
                    store.execute("RPUSH", f"writer{writer}", n)
                    store.execute("INCR", "all")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(_WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        self.lose(rig)
        rig.open()
        assert rig.do("GET", "all") == b"%d" % (25 * _WRITERS)
        for writer in range(_WRITERS):
            assert rig.do("LRANGE", f"writer{writer}", 0, -1) == [b"%d" % n for n in range(25)]

    @needs("survives_kill")
    def test_acknowledged_writes_survive_kill_9(self, rig: Rig, tmp_path: Any) -> None:
        """A real process on a real disk, killed while it writes."""
        folder = str(tmp_path / "data")
        with subprocess.Popen(
            [
                *(sys.executable, "-c", _VICTIM, folder, self.persistence),
                json.dumps({"save": "", **self.options}),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            # The store's log lies between the numbers, and a kill may tear the last one.
            numbers = (line for line in process.stdout if line[:-1].isdigit() and line[-1] == "\n")
            told = list(itertools.islice(numbers, _KILL_AFTER))
            process.send_signal(signal.SIGKILL)
            told += numbers
        assert len(told) >= _KILL_AFTER
        options: dict[str, Any] = {"save": "", **self.options}
        with kvcore.open(folder, self.persistence, **options) as store:
            kept = [int(number) for number in store.execute("LRANGE", "numbers", 0, -1)]
            assert kept == list(range(1, len(kept) + 1))
            assert len(kept) >= int(told[-1])
            assert store.get("last") == b"%d" % len(kept), "a transaction was torn"

    # Snapshots --------------------------------------------------------------------------------

    @needs("snapshots")
    def test_a_snapshot_is_durable_at_once(self, rig: Rig) -> None:
        """snapshot: it survives a power failure right behind it, and so do promises after it."""
        rig.open()
        run(rig, seed=6, commits=30)
        rig.snapshot()
        if self.claims.survives_power:
            rig.do("SET", "k", "v")
        before = rig.fingerprint()
        rig.crash(worst=True)
        rig.open()
        assert rig.fingerprint() == before

    @needs("snapshots")
    def test_an_interrupted_snapshot_leaves_the_old_or_the_new(self, rig: Rig) -> None:
        """The power fails at each of its operations in turn; no write is there in part."""
        for step in steps(rig):
            rig.open()
            rig.do("FLUSHALL")
            run(rig, seed=7, commits=15)
            rig.snapshot()
            old = rig.fingerprint()
            rig.store.transaction(["SET", "a", b"x" * 2000], ["SET", "b", b"y" * 2000])
            new = rig.fingerprint()
            done = step(rig.snapshot)
            rig.crash()
            rig.open()
            assert rig.fingerprint() in (
                [new] if done or self.claims.survives_power else [old, new]
            )
            rig.close()

    @needs("background", "storage")
    def test_background_work_may_end_at_any_time(self, rig: Rig, kvcore_seed: int) -> None:
        """Its child is left alone, waited for or killed, by a close, a snapshot or kill -9."""
        rig.open()
        for round in range(6):
            run(rig, seed=kvcore_seed * 10 + round, commits=5)
            rig.background(self.claims.background[round % len(self.claims.background)])
            rig.tick()
            run(rig, seed=kvcore_seed * 10 + round + 5, commits=round)
            before = rig.fingerprint()
            if (kvcore_seed + round) % 3 == 0:
                rig.close(save=True)
                rig.crash()
                rig.open()
            elif (kvcore_seed + round) % 3 == 1 and self.claims.snapshots:
                rig.snapshot()
                rig.crash()
                rig.open()
            elif self.claims.survives_kill:
                rig.kill()
                rig.open()
            else:
                rig.storage.finish_children()
                rig.tick()
            assert rig.fingerprint() == before

    # Crashes ----------------------------------------------------------------------------------

    @needs("storage")
    def test_kills_and_power_failures(self, rig: Rig, kvcore_seeds: range) -> None:
        """Random lives on a disk that is well: see `kvcore.testing.simulation`."""
        simulate(rig, kvcore_seeds, faulty=False)

    @needs("storage", disk_error="refuse, stop")
    def test_kills_and_power_failures_with_a_failing_disk(
        self, rig: Rig, kvcore_seeds: range
    ) -> None:
        """Random lives, in which the disk fails or is full now and then as well."""
        simulate(rig, kvcore_seeds, faulty=True)

    @needs("keeps", "storage")
    def test_what_a_killed_process_has_written_becomes_durable(self, rig: Rig) -> None:
        """It may lie in the system's memory only, which the next process cannot see."""
        rig.open()
        run(rig, seed=11, commits=20)
        rig.kill()
        rig.open()
        before = rig.fingerprint()
        self.make_durable(rig)
        rig.crash(worst=True)
        rig.open()
        assert rig.fingerprint() == before

    @needs("log", "storage")
    def test_what_was_waited_for_survives_a_power_failure(self, rig: Rig) -> None:
        """make_durable: WAITAOF waits until it is, whatever flush promises."""
        rig.open()
        run(rig, seed=3, commits=20)
        for n in range(3):
            rig.do("SET", "last", n)
            assert rig.do("WAITAOF", 1, 0, 0) == [1, 0]
        before = rig.fingerprint()
        rig.crash(worst=True)
        rig.open()
        assert rig.fingerprint() == before

    @needs("log", "storage")
    def test_transactions_are_there_whole_or_not_at_all(self, rig: Rig, kvcore_seed: int) -> None:
        """A power failure in the middle of writing large transactions."""
        rig.open()
        rig.storage.power_fails_after(kvcore_seed % 40)
        told = -1
        try:
            for n in range(30):
                rig.store.transaction(*(["SET", f"k{i}", f"{n:_<300}"] for i in range(5)))
                told = n
                rig.tick()
        except (PowerFailure, PersistenceError):
            pass
        rig.crash()
        rig.open()
        values = {rig.do("GET", f"k{i}") for i in range(5)}
        assert len(values) == 1, "a transaction was torn"
        value = values.pop()
        if self.claims.survives_power and told >= 0:
            assert value is not None
            assert int(value.rstrip(b"_")) >= told

    @needs("keeps", "storage")
    def test_a_start_may_be_interrupted(self, rig: Rig, kvcore_seed: int) -> None:
        """The power fails at each operation of a start after a crash: the next one works."""
        rig.open()
        run(rig, seed=kvcore_seed, commits=20)
        if self.claims.snapshots:
            rig.snapshot()
        if self.claims.background:
            rig.background(self.claims.background[0])
        run(rig, seed=kvcore_seed + 1, commits=20)
        rig.crash()
        rig.open()
        wanted = rig.fingerprint()
        rig.crash()
        for step in steps(rig):
            step(rig.open)
            rig.crash()
            rig.open()
            assert rig.fingerprint() == wanted
            rig.crash()

    @pytest.mark.parametrize("operation", ["open", "read", "reopen", *CHANGING])
    @needs("keeps", "storage")
    def test_a_start_that_fails_costs_nothing(self, rig: Rig, operation: str) -> None:
        """The disk fails while a store opens: PersistenceError (or it did not matter), and the next
        start finds everything."""
        rig.open()
        run(rig, seed=12, commits=20)
        if self.claims.snapshots:
            rig.snapshot()
        run(rig, seed=13, commits=20)
        rig.crash()
        rig.open()
        wanted = rig.fingerprint()
        for after in range(4):
            rig.crash()
            rig.storage.fail(operation, after=after, times=-1)
            with contextlib.suppress(PersistenceError):
                rig.open()
                assert rig.fingerprint() == wanted
            rig.kill()
            rig.open()
            assert rig.fingerprint() == wanted

    @needs("keeps", "storage")
    def test_files_do_not_pile_up(self, rig: Rig, kvcore_seed: int) -> None:
        """After many crashes and an orderly life there are as many files as in a young store."""

        def live_in_order() -> int:
            rig.open()
            rig.do("SET", "k", "v")
            for command in self.claims.background:
                rig.background(command)
                rig.storage.finish_children()
                rig.tick()
                rig.tick()
            rig.close()
            rig.open()
            rig.close()
            return len(rig.storage.contents())

        young = live_in_order()
        for life in range(15):
            rig.open()
            rig.storage.power_fails_after(life)
            try:
                run(rig, seed=kvcore_seed + life, commits=3)
                for command in self.claims.background:
                    rig.background(command)
                    rig.storage.finish_children()
                    rig.tick()
                if self.claims.snapshots:
                    rig.snapshot()
            except (PowerFailure, PersistenceError):
                pass
            if life % 3 or rig.storage.is_off:
                rig.crash()
            else:
                rig.kill()
        assert live_in_order() <= young, sorted(rig.storage.contents())

    # Disks that fail --------------------------------------------------------------------------

    @needs("keeps", "storage", disk_error="refuse")
    @pytest.mark.parametrize("healed_by", ["time", "snapshot"])
    def test_a_full_disk_refuses_writes_until_there_is_room(self, rig: Rig, healed_by: str) -> None:
        """MISCONF, reads go on; with room again writes are taken without a restart; all is kept."""
        rig.open()
        rig.do("SET", "known", "value")
        rig.storage.capacity = rig.storage.used + 100
        error = until_refused(rig)
        assert error.startswith("MISCONF")
        assert rig.do("GET", "known") == b"value"
        with pytest.raises(CommandError, match="MISCONF"):
            rig.do("SET", "known", "other")
        assert rig.do("GET", "known") == b"value"
        rig.storage.heal()
        if healed_by == "snapshot" and self.claims.snapshots:
            rig.snapshot()
        until_taken(rig)
        before = rig.fingerprint()
        self.lose(rig)
        rig.open()
        assert rig.fingerprint() == before

    @needs("keeps", "storage", disk_error="stop")
    def test_a_full_disk_stops_the_store(self, rig: Rig) -> None:
        """No reply leaves whose commit is not durable; nothing acknowledged is lost."""
        rig.open()
        rig.storage.capacity = rig.storage.used + 1000
        told = 0
        try:
            for n in range(_TICKS):
                told = rig.do("RPUSH", "numbers", n)
                rig.tick()
        except PersistenceError:
            pass
        assert told < _TICKS, "the disk is full, yet writes are taken"
        with pytest.raises(PersistenceError):
            rig.do("SET", "k", "v")
        rig.storage.heal()
        with pytest.raises(PersistenceError):
            rig.do("SET", "k", "v")
        rig.crash(worst=True)
        rig.open()
        assert rig.do("LRANGE", "numbers", 0, told - 1) == [b"%d" % n for n in range(told)]
        rig.do("SET", "k", "v")

    @needs("storage", "keeps", disk_error="refuse, stop")
    @pytest.mark.parametrize("nth", range(3))
    def test_a_failed_sync_is_never_believed(self, rig: Rig, nth: int) -> None:
        """Its pages may be lost though later syncs succeed: they must be written anew."""
        rig.open()
        rig.storage.fail("sync", after=nth)
        told = 0
        try:
            for n in range(40):
                told = rig.do("RPUSH", "numbers", n)
                rig.tick()
            while self.claims.snapshots and not rig.storage.faults:
                rig.snapshot()
        except (PersistenceError, CommandError, OSError):
            pass
        rig.storage.finish_children()
        assert rig.storage.faults == 1, "no sync was tried"
        if self.claims.disk_error == "refuse":
            until_taken(rig)
            told = rig.do("LLEN", "numbers")
            self.make_durable(rig)
        rig.crash(worst=True)
        rig.open()
        assert rig.do("LRANGE", "numbers", 0, told - 1) == [b"%d" % n for n in range(told)]

    @needs("storage", "keeps", disk_error="refuse")
    def test_a_close_that_fails_leaves_the_store_open(self, rig: Rig) -> None:
        """close raises PersistenceError if the data cannot be made durable; the next one may."""
        rig.open()
        run(rig, seed=8, commits=20)
        rig.do("SET", "k", "v")
        before = rig.fingerprint()
        rig.storage.fail("sync", times=-1)
        rig.storage.fail("append", times=-1)
        with contextlib.suppress(PersistenceError):  # none if everything is durable already
            rig.close(save=True)
        if rig.is_open:
            assert rig.fingerprint() == before
            rig.storage.heal()
            rig.close(save=True)
        rig.crash(worst=True)
        rig.open()
        assert rig.fingerprint() == before

    # Damage -----------------------------------------------------------------------------------

    @needs("storage", "detects_damage", "keeps")
    @pytest.mark.parametrize("where", ["beginning", "middle", "missing"])
    def test_damage_is_refused_and_left_alone(self, rig: Rig, where: str) -> None:
        """load raises CorruptData that names the file, and changes none: never silently less."""
        rig.open()
        for n in range(400):
            rig.do("SET", f"key{n}", n)
            if n == 200 and self.claims.snapshots:
                rig.snapshot()
        rig.close()
        good = rig.storage.contents()
        files = [name for name in rig.probe().files if len(good[name]) > 200]
        assert files
        if where == "missing" and len(rig.probe().files) == 1:
            pytest.skip("the data is one file: if it is missing, there is none")
        for name in files:
            bad = dict(good)
            if where == "missing":
                del bad[name]
            else:
                # More than one value, in which a format without checksums would not see it.
                size = len(good[name])
                first, last = (0, 64) if where == "beginning" else (size // 4, size * 3 // 4)
                bad[name] = good[name][:first] + b"\xff" * (last - first) + good[name][last:]
            rig.storage = FaultyStorage.of(bad)
            with pytest.raises(CorruptData) as error:
                rig.open()
            assert os.path.basename(name) in error.value.path
            assert rig.storage.contents() == bad
        rig.storage = FaultyStorage.of(good)
        rig.open()

    @needs("storage", "detects_damage", "keeps")
    def test_damaged_files_are_loaded_or_refused(self, rig: Rig, kvcore_mutants: range) -> None:
        """Whatever lies in the files: data, or CorruptData with file and offset. Never another
        exception, work without end, memory out of proportion, or a change of what is refused."""
        folders = []
        for life in range(3):
            rig.storage = FaultyStorage()
            rig.open()
            run(rig, seed=life, commits=10)
            if life and self.claims.snapshots:
                rig.snapshot()
            if life == 2 and self.claims.log:
                run(rig, seed=14, commits=10)
            rig.close()
            folders.append(rig.storage.contents())
        fuzzer = Fuzzer(self.persistence, rig.options)
        for seed in kvcore_mutants[::_SHARE]:
            fuzzer.start(damage(folders, random.Random(seed)))

    @needs("storage", "detects_damage", "keeps")
    def test_a_file_cut_short_is_a_whole_state_or_refused(self, rig: Rig) -> None:
        """The file that was written last ends at each of its last bytes in turn: the store holds
        what it held after some commit, or the start is refused and changes nothing."""
        rig.open()
        states = [rig.fingerprint()]
        workload = Workload(15)
        for _ in range(15):
            rig.commit(workload.commit())
            states.append(rig.fingerprint())
        rig.close()
        whole = rig.storage.contents()
        name = rig.probe().files[-1]
        for size in range(max(0, len(whole[name]) - _CUT), len(whole[name]) + 1):
            cut = {**whole, name: whole[name][:size]}
            rig.storage = FaultyStorage.of(cut)
            if refusal := refused(rig):
                assert os.path.basename(name) in refusal.path
                assert refusal.offset <= size
                assert rig.storage.contents() == cut
                continue
            state = rig.fingerprint()
            assert state in states, f"of {name} {size} bytes are left, and no state of before"
            assert size < len(whole[name]) or state == states[-1]
            if size % 10 == 0:
                rig.reopen()
                assert rig.fingerprint() == state, "the second start finds something else"
            rig.kill()


# Helpers ------------------------------------------------------------------------------------------


class Another(Persistence):
    """A policy whose data is adopted."""

    name = "another"
    KEYS: Final = 40

    def load(self, loader: Loader) -> None:
        for n in range(self.KEYS):
            key = b"key%d" % n
            loader.replay(n % 3, [b"RPUSH", key, b"x" * n, b"\r\n"])
            if n % 4 == 0:
                loader.replay(n % 3, [b"PEXPIREAT", key, b"%d" % FAR])


def run(rig: Rig, *, seed: int, commits: int) -> None:
    """Random commits; all of them must be taken."""
    workload = Workload(seed)
    for _ in range(commits):
        if not rig.commit(workload.commit()):
            raise PersistenceError("a write was refused")
    rig.do("SELECT", 0)


def simulate(rig: Rig, seeds: range, *, faulty: bool) -> None:
    """Random lives of one store after the other."""
    for seed in seeds:
        rig.renew(seed)
        try:
            Simulation(rig, seed, faulty=faulty).run()
        except BaseException as error:
            error.add_note(f"with seed {seed}: pytest --kvcore-seeds {seed}:{seed + 1}")
            raise


def refused(rig: Rig) -> CorruptData | None:
    """Open the store; the error if its files are refused."""
    try:
        rig.open()
    except CorruptData as error:
        return error
    return None


def steps(rig: Rig) -> Iterator[Callable[[Callable[[], object]], bool]]:
    """Runs that have the power fail at the first operation of an action, the second, and so on.

    Each is to be called once with the action, and tells whether it came to its end; the run after
    which there is no operation left to fail is the last.
    """
    step = _Step(rig)
    while not step.whole:
        yield step
        step.operations += 1


class _Step:
    """Runs an action, with a power failure after so many operations of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.operations = 0
        self.whole = False

    def __call__(self, action: Callable[[], object]) -> bool:
        self.rig.storage.power_fails_after(self.operations)
        try:
            action()
            self.whole = not self.rig.storage.is_off
        except PowerFailure:
            self.whole = False
        self.rig.storage.power_fails_after(None)
        return self.whole


def until_refused(rig: Rig) -> str:
    """Write until a write is refused: the error."""
    for n in range(_TICKS):
        try:
            rig.do("SET", f"filler{n}", "x" * 50)
            rig.tick(1.0)
        except CommandError as error:
            return str(error)
        except (PersistenceError, OSError):
            continue
    raise AssertionError("the disk is full, yet writes are taken")


def until_taken(rig: Rig) -> None:
    """Let time pass until a write is taken again."""
    for _ in range(_TICKS):
        try:
            rig.tick(1.0)
            rig.do("SET", "k", "taken")
        except (CommandError, PersistenceError, OSError):
            continue
        return
    raise AssertionError("the disk is well again, yet writes are refused")
