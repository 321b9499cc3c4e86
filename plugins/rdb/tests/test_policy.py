"""The policy: SAVE, BGSAVE, save points, and that no failure costs the snapshot that is there.

The store runs in this process and time is handed to its `cron`, so nothing waits for a clock;
children are real, and those marked ``either_way`` are processes and threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kvcore
from kvcore import digest
from kvcore.config import Config
from kvcore.errors import CommandError, CorruptData, PersistenceError, StoreLocked
from kvcore.instance import Instance
from kvcore.load import LoadAborted
from kvcore.persistence import View
from kvcore.session import Session
from kvcore.storage import File, LocalStorage, Storage
from kvcore_rdb import MISCONF, RdbPersistence
from tests.datasets import commands

SLOW = 50_000  # rdb-key-save-delay in µs: a child that saves three keys is met alive
DEADLINE_S = 30


class Opened:
    """A store without a clock of its own."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        assert isinstance(instance.persistence, RdbPersistence)
        self.rdb = instance.persistence
        instance.lock()
        instance.load()
        self.session = Session(instance.engine)

    def do(self, *words: str | bytes) -> object:
        """Run a command; an error reply is returned as its text."""
        argv = [word.encode() if isinstance(word, str) else word for word in words]
        try:
            return self.session.execute(argv)
        except CommandError as error:
            return f"-{error}"

    def configure(self, name: str, value: str) -> None:
        """CONFIG SET."""
        self.instance.config.set_many([(name.encode(), value.encode())])

    def set(self, *keys: str) -> None:
        for key in keys:
            assert self.do("SET", key, "value of " + key) == "OK"

    def keys(self) -> list[bytes]:
        return sorted(key for _, key, _ in self.instance.keyspace.walk())

    def wait(self) -> None:
        """Until the child is gone and its end was noticed."""
        deadline = time.monotonic() + DEADLINE_S
        while self.rdb.info()["rdb_bgsave_in_progress"]:
            assert time.monotonic() < deadline
            self.instance.cron()
            time.sleep(0.005)

    def info(self, field: str) -> object:
        return self.rdb.info()["rdb_" + field]


Opener = Callable[..., Opened]

either_way = pytest.mark.parametrize("open_store", ["fork", "inprocess"], indirect=True)


@pytest.fixture
def open_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens stores on one folder; none writes by itself (no save points) unless told to."""
    stores: list[Opened] = []
    method = getattr(request, "param", "fork")

    def opener(
        *, storage: Storage | None = None, hooks: tuple[object, ...] = (), **options: object
    ) -> Opened:
        config = Config()
        options = {"persistence": "rdb", "save": "", "snapshot_method": method, **options}
        config.set_keywords({"dir": str(tmp_path), **options})
        stores.append(Opened(Instance(config, hooks=hooks, storage=storage)))
        return stores[-1]

    yield opener
    for store in stores:
        store.instance.shutdown(False, force=True)


def snapshot_files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".rdb")


def reopen(opener: Opener, store: Opened) -> Opened:
    store.instance.shutdown(False)
    return opener()


# SAVE and BGSAVE ------------------------------------------------------------------------------


@pytest.mark.behaviour("SAVE", "everything is durable on return")
def test_save_keeps_everything(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    store.set("a", "b")
    assert store.do("SAVE") == "OK"
    assert store.info("changes_since_last_save") == 0
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    store.set("lost")
    assert reopen(open_store, store).keys() == [b"a", b"b"]


@pytest.mark.behaviour("BGSAVE", "keeps what was there when it began")
@either_way
def test_bgsave_keeps_what_was_there_when_it_began(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(rdb_key_save_delay=SLOW)
    store.set("a", "b")
    assert store.do("BGSAVE") == "Background saving started"
    assert store.info("bgsave_in_progress") == 1
    store.set("later")
    store.do("SET", "a", "changed")
    assert store.do("BGSAVE") == "-ERR Background save already in progress"
    assert store.do("BGSAVE", "SCHEDULE") == "-ERR Background save already in progress"
    assert store.do("SAVE") == "-ERR Background save already in progress"
    store.wait()
    assert store.info("last_bgsave_status") == "ok"
    assert store.info("changes_since_last_save") == 2
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    again = reopen(open_store, store)
    assert again.keys() == [b"a", b"b"]
    assert again.do("GET", "a") == b"value of a"


@either_way
def test_bgsave_of_nothing(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    assert store.do("bgsave", "schedule") == "Background saving started"
    store.wait()
    assert snapshot_files(tmp_path) == ["dump.rdb"]


@pytest.mark.behaviour("BGSAVE", "other words are a syntax error")
@pytest.mark.parametrize("words", [("NOW",), ("SCHEDULE", "x"), ("",)])
def test_bgsave_with_other_words(open_store: Opener, words: tuple[str, ...]) -> None:
    assert open_store().do("BGSAVE", *words) == "-ERR syntax error"


@pytest.mark.behaviour("SAVE", "refused in a transaction")
def test_save_is_refused_in_a_transaction(open_store: Opener) -> None:
    store = open_store()
    store.session.multi()
    assert store.do("SAVE") == "-ERR Command not allowed inside a transaction"


@pytest.mark.behaviour("BGSAVE", "scheduled within EXEC")
@either_way
def test_bgsave_in_a_transaction_is_scheduled(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    store.session.multi()
    store.do("SET", "k", "v")
    store.do("BGSAVE")
    store.do("LASTSAVE")
    assert store.session.exec() == ["OK", "Background saving scheduled", store.rdb.last_save]
    assert store.info("bgsave_in_progress") == 0
    store.instance.cron()
    assert store.info("bgsave_in_progress") == 1
    store.wait()
    assert reopen(open_store, store).keys() == [b"k"]


def dawdle(view: View, progress: Callable[[int], None]) -> None:
    while True:
        progress(0)
        time.sleep(0.002)


@pytest.mark.behaviour("BGSAVE", "CANCEL ends it, which is no failure")
@either_way
def test_a_background_save_can_be_cancelled(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(rdb_key_save_delay=100_000_000)
    idle = "-ERR Background saving is currently not in progress or scheduled"
    assert store.do("BGSAVE", "CANCEL") == idle
    store.set("k")
    store.do("BGSAVE")
    assert store.do("BGSAVE", "cancel") == "Background saving cancelled"
    assert store.do("BGSAVE", "CANCEL") == idle
    assert store.info("last_bgsave_status") == "ok"
    assert store.info("bgsave_in_progress") == 0
    assert [path.name for path in tmp_path.glob("*.rdb")] == []
    assert store.do("SET", "k", "w") == "OK"


@pytest.mark.behaviour("BGSAVE", "refused beside a rewrite, unless SCHEDULE")
def test_beside_another_child(open_store: Opener) -> None:
    """As while the log is rewritten: BGSAVE waits if told to, SAVE needs no child."""
    store = open_store()
    store.set("k")
    other = store.instance.background("aof", dawdle)
    assert str(store.do("BGSAVE")).startswith("-ERR Another child process is active (AOF?): can't")
    assert store.do("BGSAVE", "SCHEDULE") == "Background saving scheduled"
    store.instance.cron()
    assert store.info("bgsave_in_progress") == 0
    assert store.do("SAVE") == "OK"
    other.kill()
    store.instance.cron()
    assert store.info("bgsave_in_progress") == 1
    store.wait()
    store.instance.cron()
    assert store.info("bgsave_in_progress") == 0, "it was scheduled once"


@pytest.mark.behaviour("LASTSAVE", "the start, then the last snapshot that worked")
@either_way
def test_lastsave(open_store: Opener) -> None:
    store = open_store()
    before = int(time.time()) - 100
    store.rdb.last_save = before
    assert store.do("LASTSAVE") == before
    store.do("BGSAVE")
    assert store.do("LASTSAVE") == before, "it has only begun"
    store.wait()
    after = store.do("LASTSAVE")
    assert isinstance(after, int)
    assert after > before
    assert store.info("last_save_time") == after


@pytest.mark.behaviour("INFO persistence", "the fields of snapshots")
@either_way
def test_fields_of_info(open_store: Opener) -> None:
    store = open_store()
    assert list(store.rdb.info()) == [
        "rdb_changes_since_last_save",
        "rdb_bgsave_in_progress",
        "rdb_last_save_time",
        "rdb_last_bgsave_status",
        "rdb_last_bgsave_time_sec",
        "rdb_current_bgsave_time_sec",
        "rdb_saves",
        "rdb_last_cow_size",
        "rdb_last_load_keys_expired",
        "rdb_last_load_keys_loaded",
    ]
    assert store.info("last_bgsave_time_sec") == -1
    assert store.info("current_bgsave_time_sec") == -1
    store.set("a", "b")
    store.do("PEXPIREAT", "b", "1")
    store.instance.keyspace.databases[0].set(b"expired", b"")
    store.instance.keyspace.databases[0].expire_at(b"expired", 1)
    store.do("SAVE")
    store.do("BGSAVE")
    assert store.info("current_bgsave_time_sec") in (0, 1)
    store.wait()
    assert store.info("last_bgsave_time_sec") in (0, 1)
    assert store.info("saves") == 2
    again = reopen(open_store, store)
    assert again.info("last_load_keys_expired") == 1
    assert again.info("last_load_keys_loaded") == len(again.keys())


@either_way
def test_hooks_hear_of_every_end(open_store: Opener) -> None:
    heard: list[tuple[str, bool, str]] = []

    class Listener:
        @kvcore.hookimpl
        def kvcore_saved(self, purpose: str, ok: bool, error: str) -> None:
            heard.append((purpose, ok, error))

    store = open_store(hooks=(Listener(),), rdb_key_save_delay=SLOW)
    store.set("a")
    store.do("SAVE")
    store.do("BGSAVE")
    store.wait()
    assert heard == [("rdb", True, ""), ("rdb", True, "")]
    store.do("BGSAVE")
    store.rdb._child.kill()  # type: ignore[union-attr]
    store.wait()
    assert heard[2][:2] == ("rdb", False)
    assert "signal 9" in heard[2][2]


# Save points ----------------------------------------------------------------------------------


@pytest.mark.behaviour("save", "a save point needs changes and time")
@either_way
def test_a_save_point_needs_changes_and_time(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(save="100 3")
    start = store.rdb.last_save
    store.set("a", "b")
    store.rdb.cron(start + 1000)
    assert store.info("bgsave_in_progress") == 0, "two changes are not enough"
    store.set("c")
    store.rdb.cron(start + 100)
    assert store.info("bgsave_in_progress") == 0, "a hundred seconds are not over"
    store.rdb.cron(start + 101)
    assert store.info("bgsave_in_progress") == 1
    store.wait()
    assert reopen(open_store, store).keys() == [b"a", b"b", b"c"]


@pytest.mark.behaviour("retry of a save", "a save point waits some seconds after a failure")
@either_way
def test_after_a_failure_a_save_point_waits_some_seconds(open_store: Opener) -> None:
    store = open_store(save="100 1", rdb_key_save_delay=SLOW)
    store.set("a")
    start = store.rdb.last_save + 101
    store.rdb.cron(start)
    end_child(store)
    tried = time.time()
    store.rdb.cron(tried + 4)
    assert store.info("bgsave_in_progress") == 0
    store.rdb.cron(tried + 200)
    assert store.info("bgsave_in_progress") == 1
    store.wait()
    assert store.info("last_bgsave_status") == "ok"


# A child that dies ----------------------------------------------------------------------------


def end_child(store: Opened) -> None:
    """Kill it behind the policy's back."""
    child = store.rdb._child
    assert child is not None
    if child.pid == os.getpid():
        child.kill()
    else:
        os.kill(child.pid, signal.SIGKILL)
    store.wait()


def fail_to_save(store: Opened) -> None:
    assert store.do("BGSAVE") == "Background saving started"
    end_child(store)


@pytest.mark.behaviour("snapshot", "a killed child leaves the last one")
@either_way
def test_a_killed_child_leaves_the_last_snapshot(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(rdb_key_save_delay=SLOW)
    store.set("a")
    store.do("SAVE")
    before = (tmp_path / "dump.rdb").read_bytes()
    store.set("b", "c")
    assert store.do("BGSAVE") == "Background saving started"
    child = store.rdb._child
    assert child is not None
    deadline = time.monotonic() + DEADLINE_S
    while f"temp-{child.pid}.rdb" not in snapshot_files(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    end_child(store)
    assert store.info("last_bgsave_status") == "err"
    assert store.info("changes_since_last_save") == 2
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    assert (tmp_path / "dump.rdb").read_bytes() == before


@pytest.mark.behaviour(
    "stop-writes-on-bgsave-error", "`yes`: writes are refused after a failed background save"
)
@either_way
def test_writes_are_refused_after_a_failed_background_save(open_store: Opener) -> None:
    store = open_store(save="3600 1000", rdb_key_save_delay=SLOW)
    store.set("a")
    fail_to_save(store)
    assert store.do("SET", "b", "1") == f"-{MISCONF}"
    assert store.do("PING") == f"-{MISCONF}"
    assert store.do("GET", "a") == b"value of a"
    assert store.do("SAVE") == "OK"
    assert store.do("SET", "b", "1") == "OK"


@either_way
def test_a_background_save_that_works_heals_too(open_store: Opener) -> None:
    store = open_store(save="3600 1000", rdb_key_save_delay=SLOW)
    store.set("a")
    fail_to_save(store)
    assert store.do("SET", "b", "1") == f"-{MISCONF}"
    store.do("BGSAVE")
    store.wait()
    assert store.do("SET", "b", "1") == "OK"


@pytest.mark.behaviour("stop-writes-on-bgsave-error", "nobody is stopped without save points")
@either_way
@pytest.mark.parametrize("options", [{"save": ""}, {"stop_writes_on_bgsave_error": False}], ids=str)
def test_writes_go_on_where_nobody_relies_on_snapshots(
    open_store: Opener, options: dict[str, object]
) -> None:
    store = open_store(rdb_key_save_delay=SLOW, **{"save": "3600 1000", **options})
    store.set("a")
    fail_to_save(store)
    assert store.info("last_bgsave_status") == "err"
    assert store.do("SET", "b", "1") == "OK"


@pytest.mark.behaviour("MISCONF: snapshots", "lifted by CONFIG SET of either option")
@either_way
def test_config_set_opens_and_closes_the_gate(open_store: Opener) -> None:
    store = open_store(save="3600 1000", rdb_key_save_delay=SLOW)
    store.set("a")
    fail_to_save(store)
    refused, fine = f"-{MISCONF}", "OK"
    for name, value, expected in (
        ("stop-writes-on-bgsave-error", "no", fine),
        ("stop-writes-on-bgsave-error", "yes", refused),
        ("save", "", fine),
        ("save", "3600 1000", refused),
    ):
        store.configure(name, value)
        assert store.do("SET", "b", "1") == expected, (name, value)


@pytest.mark.behaviour("BGSAVE", "a child ended by SIGUSR1 is no failure")
def test_sigusr1_is_no_failure(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(save="3600 1000", rdb_key_save_delay=SLOW)
    store.set("a")
    store.do("BGSAVE")
    os.kill(store.rdb._child.pid, signal.SIGUSR1)  # type: ignore[union-attr]
    store.wait()
    assert store.info("last_bgsave_status") == "ok"
    assert store.do("SET", "b", "1") == "OK"
    assert snapshot_files(tmp_path) == []


@either_way
def test_an_older_snapshot_never_replaces_a_newer(open_store: Opener, tmp_path: Path) -> None:
    """What is written in the foreground while a child runs (FLUSHALL, DEBUG RELOAD) is newer."""
    store = open_store(rdb_key_save_delay=SLOW)
    store.set("a", "b")
    store.do("BGSAVE")
    store.set("c")
    store.rdb.snapshot(store.instance.view())
    assert store.instance.active_child is None
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    assert reopen(open_store, store).keys() == [b"a", b"b", b"c"]


@pytest.mark.behaviour("process", "a child whose parent died replaces nothing")
def test_a_child_whose_parent_died_replaces_nothing(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(rdb_key_save_delay=SLOW)
    store.set("a", "b", "c")
    store.do("SAVE")
    before = (tmp_path / "dump.rdb").stat().st_ino
    pid = os.fork()
    if pid == 0:  # a process that starts a background save and dies at once
        store.rdb._child = None
        store.rdb.bgsave()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    deadline = time.monotonic() + 3 * SLOW / 1e6 + 0.3
    while time.monotonic() < deadline:
        assert (tmp_path / "dump.rdb").stat().st_ino == before
        time.sleep(0.01)


PROGRAM = """
import os, signal, sys, time
import kvcore

store = kvcore.open(sys.argv[1], "rdb", save="", snapshot_method="inprocess")
store.execute("MSET", "a", "1", "b", "2", "c", "3")
store.execute("SAVE")
store.execute("CONFIG", "SET", "rdb-key-save-delay", "100000000")
store.set("d", "4")
store.execute("BGSAVE")
while not os.path.exists(f"{sys.argv[1]}/temp-{os.getpid()}.rdb"):
    time.sleep(0.001)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("end", "status"), [("kill", -signal.SIGKILL), ("exit", 0)])
def test_a_process_that_ends_while_its_thread_saves(
    open_store: Opener, tmp_path: Path, end: str, status: int
) -> None:
    """Killed, or at the end of its program without closing the store: it does not linger."""
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), end], timeout=DEADLINE_S, check=False
    )
    assert program.returncode == status
    assert len(snapshot_files(tmp_path)) == 2
    assert open_store().keys() == [b"a", b"b", b"c"]
    assert snapshot_files(tmp_path) == ["dump.rdb"]


@pytest.mark.behaviour("rdb-key-save-delay", "slows a save down")
@pytest.mark.behaviour("snapshot-method", "`fork` and `inprocess` save the same")
@pytest.mark.parametrize("method", ["fork", "inprocess"])
def test_what_is_saved_is_what_there_was(tmp_path: Path, method: str) -> None:
    """Every type, with expiry, while each key is written to."""
    options = {"save": "", "rdb_key_save_delay": 200, "snapshot_method": method}
    with kvcore.open(str(tmp_path), "rdb", **options) as store:
        for argv in commands(300, seed=1):
            store.execute(*argv)
        expected = digest.of_keyspace(store.instance.keyspace)
        store.execute("BGSAVE")
        for argv in commands(300, seed=2):
            with contextlib.suppress(CommandError):  # INCR of what is no integer now
                store.execute(*argv)
        store.execute("FLUSHDB")  # FLUSHALL would end the save
        child = store.instance.active_child
        assert child is not None
        child.wait()
        store.tick()
        assert store.instance.persistence.info()["rdb_last_bgsave_status"] == "ok"
        store.close(save=False)
    with kvcore.open(str(tmp_path), "rdb", **options) as store:
        assert digest.of_keyspace(store.instance.keyspace) == expected


# Opening and closing --------------------------------------------------------------------------


def test_an_empty_folder_is_an_empty_store(open_store: Opener, tmp_path: Path) -> None:
    assert open_store().keys() == []
    assert snapshot_files(tmp_path) == []


@pytest.mark.behaviour("leftovers", "of a save are removed at the next start")
@pytest.mark.behaviour(
    "4. temporary files of killed children stay", "temporary snapshots are removed"
)
def test_what_earlier_processes_left_unfinished_is_removed(
    open_store: Opener, tmp_path: Path
) -> None:
    store = open_store()
    store.set("a")
    store.do("SAVE")
    store.instance.shutdown(False)
    (tmp_path / "temp-999999.rdb").write_bytes(b"REDIS0010 half of it")
    (tmp_path / "temp-mine.rdb").write_bytes(b"not of a process")
    assert open_store().keys() == [b"a"]
    assert snapshot_files(tmp_path) == ["dump.rdb", "temp-mine.rdb"]


@pytest.mark.behaviour("load", "a damaged file stops the start and stays")
def test_a_damaged_file_stops_the_start_and_stays(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    store.set("a")
    store.do("SAVE")
    store.instance.shutdown(False)
    path = tmp_path / "dump.rdb"
    damaged = path.read_bytes()[:-9]
    path.write_bytes(damaged)
    with pytest.raises(CorruptData, match="unexpected end of file") as caught:
        kvcore.open(str(tmp_path), "rdb")
    assert caught.value.path == str(path)
    assert path.read_bytes() == damaged
    assert snapshot_files(tmp_path) == ["dump.rdb"]


@pytest.mark.behaviour("SHUTDOWN", "a last snapshot with save points, SAVE or NOSAVE")
@pytest.mark.parametrize(
    ("points", "save", "written"),
    [
        ("", None, False),
        ("", True, True),
        ("3600 1", None, True),
        ("3600 1", False, False),
    ],
)
def test_a_last_snapshot(
    open_store: Opener, tmp_path: Path, points: str, save: bool | None, written: bool
) -> None:
    store = open_store(save=points)
    store.set("a")
    store.instance.shutdown(save)
    assert snapshot_files(tmp_path) == (["dump.rdb"] if written else [])


@either_way
def test_closing_ends_a_running_child(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(save="3600 1", rdb_key_save_delay=SLOW)
    store.set("a", "b", "c")
    store.do("BGSAVE")
    child = store.rdb._child
    assert child is not None
    store.set("d")
    store.configure("rdb-key-save-delay", "0")
    store.instance.shutdown()
    assert not child.running
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    assert open_store().keys() == [b"a", b"b", b"c", b"d"]


def test_nothing_is_answered_before_the_load(tmp_path: Path) -> None:
    """A server listens first. Whoever is quick must neither read nor write an empty store."""
    config = Config()
    config.set_keywords({"dir": str(tmp_path), "persistence": "rdb"})
    instance = Instance(config)
    with pytest.raises(CommandError, match="LOADING Redis"):
        Session(instance.engine).execute([b"SET", b"k", b"v"])
    instance.lock()
    instance.load()
    assert Session(instance.engine).execute([b"SET", b"k", b"v"]) == "OK"
    instance.shutdown(False)


def test_a_store_told_to_stop_before_it_loads(tmp_path: Path) -> None:
    config = Config()
    config.set_keywords({"dir": str(tmp_path), "persistence": "rdb"})
    instance = Instance(config)
    assert instance.loading
    instance.loader.abort.set()
    instance.lock()
    with pytest.raises(LoadAborted):
        instance.load()
    instance.release()


@pytest.mark.behaviour("key-load-delay", "slows a load down")
def test_a_load_may_be_slowed_down(open_store: Opener) -> None:
    store = open_store()
    store.set("a", "b")
    store.do("SAVE")
    store.instance.shutdown(False)
    assert open_store(key_load_delay=-1).keys() == [b"a", b"b"]


# CONFIG SET -----------------------------------------------------------------------------------


@pytest.mark.behaviour("dbfilename", "takes effect with the next snapshot")
@pytest.mark.behaviour("dir", "the next snapshot lies there")
@either_way
def test_another_name_and_folder_take_effect(open_store: Opener, tmp_path: Path) -> None:
    store = open_store(enable_protected_configs="yes")
    store.set("a")
    store.configure("dbfilename", "other.rdb")
    assert store.do("SAVE") == "OK"
    assert snapshot_files(tmp_path) == ["other.rdb"]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    store.configure("dir", str(folder))
    assert store.do("BGSAVE") == "Background saving started"
    store.wait()
    assert snapshot_files(folder) == ["other.rdb"]
    with pytest.raises(StoreLocked):
        kvcore.open(str(folder), "rdb")
    with kvcore.open(str(tmp_path), "rdb", dbfilename="other.rdb", save="") as copy:
        assert copy.get("a") == b"value of a"


@pytest.mark.behaviour("rdbcompression", "takes effect with the next snapshot")
def test_compression_takes_effect(open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    store.do("SET", "a", "x" * 10_000)
    store.do("SAVE")
    small = (tmp_path / "dump.rdb").stat().st_size
    store.configure("rdbcompression", "no")
    store.do("SAVE")
    assert small < 1000 < 10_000 < (tmp_path / "dump.rdb").stat().st_size


@pytest.mark.behaviour("rdbchecksum", "`no`: none is written, and none is looked at")
@pytest.mark.behaviour("rdbchecksum", "`yes`: a damaged file is refused")
def test_the_checksum_is_written_and_looked_at_as_configured(
    open_store: Opener, tmp_path: Path
) -> None:
    store = open_store(rdbchecksum="no")
    store.set("a")
    store.do("SAVE")
    assert (tmp_path / "dump.rdb").read_bytes().endswith(b"\xff" + bytes(8))
    store = reopen(open_store, store)  # with a checksum, which a file without one may lack
    assert store.keys() == [b"a"]
    store.do("SAVE")
    data = (tmp_path / "dump.rdb").read_bytes()
    assert not data.endswith(bytes(8))
    (tmp_path / "dump.rdb").write_bytes(data.replace(b"value of a", b"valve of a"))
    store.instance.shutdown(False)
    with pytest.raises(CorruptData, match="CRC error"):
        kvcore.open(str(tmp_path), "rdb")
    store = open_store(rdbchecksum="no")
    assert store.do("GET", "a") == b"valve of a"
    assert "immutable" in str(store.do("CONFIG", "SET", "rdbchecksum", "yes"))


class CountingStorage(LocalStorage):
    """``sizes``: how many bytes the file had at each of its syncs."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.sizes: list[int] = []

    def create(self, name: str) -> File:
        file = super().create(name)
        sync = file.sync

        def count() -> None:
            self.sizes.append(file.size)
            sync()

        file.sync = count  # type: ignore[method-assign]
        return file


@pytest.mark.behaviour(
    "rdb-save-incremental-fsync", "`yes`: a sync every 4 MB; `no`: one at the end"
)
@pytest.mark.parametrize("often", ["yes", "no"])
def test_a_large_snapshot_is_synced_in_steps(
    open_store: Opener, tmp_path: Path, often: str
) -> None:
    disk = CountingStorage(tmp_path)
    store = open_store(storage=disk, rdb_save_incremental_fsync=often, rdbcompression="no")
    for n in range(10):
        store.do("SET", f"k{n}", bytes(1 << 20))
    store.do("SAVE")
    *steps, whole = disk.sizes
    assert whole == (tmp_path / "dump.rdb").stat().st_size
    assert [size >> 20 for size in steps] == ([4, 8] if often == "yes" else [])


# A disk that fails ----------------------------------------------------------------------------


class FailingFile(File):
    """Passes on to a real file until its storage says that the disk is full."""

    def __init__(self, file: File, storage: FailingStorage) -> None:
        self._file = file
        self._storage = storage
        self.name = file.name

    def append(self, data: bytes) -> None:
        self._storage.fail_at("append")
        self._file.append(data)

    def sync(self) -> None:
        self._storage.fail_at("sync")
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class FailingStorage(LocalStorage):
    """Fails at every call of the kind ``failing`` after ``grace`` that go well."""

    failing = ""
    grace = 0

    def fail_at(self, kind: str) -> None:
        if kind == self.failing:
            if self.grace == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.grace -= 1

    def create(self, name: str) -> File:
        self.fail_at("create")
        return FailingFile(super().create(name), self)

    def rename(self, old: str, new: str) -> None:
        self.fail_at("rename")
        super().rename(old, new)

    def sync_dir(self, folder: str = "") -> None:
        self.fail_at("sync_dir")
        super().sync_dir(folder)


FAILURES = [("create", 0), ("append", 0), ("append", 2), ("sync", 0), ("sync", 1), ("rename", 0)]


@pytest.fixture
def failing(open_store: Opener, tmp_path: Path) -> Opened:
    """A store of 5 MB, the key ``a`` saved, the key ``b`` not yet."""
    store = open_store(storage=FailingStorage(str(tmp_path)), save="3600 1000")
    store.set("a")
    for number in range(5):
        store.do("SET", f"large {number}", os.urandom(1 << 20))
    assert store.do("SAVE") == "OK"
    store.set("b")
    return store


def break_disk(store: Opened, kind: str, grace: int = 0) -> None:
    assert isinstance(store.instance.storage, FailingStorage)
    store.instance.storage.failing, store.instance.storage.grace = kind, grace


@pytest.mark.behaviour("snapshot", "wherever SAVE fails, the last one stays")
@pytest.mark.parametrize(("kind", "grace"), FAILURES)
def test_a_failed_save_costs_nothing(
    failing: Opened, open_store: Opener, tmp_path: Path, kind: str, grace: int
) -> None:
    before = (tmp_path / "dump.rdb").read_bytes()
    break_disk(failing, kind, grace)
    assert failing.do("SAVE") == "-ERR"
    assert (tmp_path / "dump.rdb").read_bytes() == before
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    assert failing.info("last_bgsave_status") == "ok"
    assert failing.info("changes_since_last_save") == 1
    assert failing.do("SET", "c", "writes go on") == "OK"
    break_disk(failing, "")
    assert failing.do("SAVE") == "OK"
    assert {b"a", b"b", b"c"} <= set(reopen(open_store, failing).keys())


@pytest.mark.behaviour("snapshot", "wherever BGSAVE fails, the last one stays")
@either_way
@pytest.mark.parametrize(("kind", "grace"), FAILURES)
def test_a_failed_background_save_costs_nothing(
    failing: Opened, tmp_path: Path, kind: str, grace: int
) -> None:
    before = (tmp_path / "dump.rdb").read_bytes()
    break_disk(failing, kind, grace)
    failing.do("BGSAVE")
    failing.wait()
    assert failing.info("last_bgsave_status") == "err"
    assert (tmp_path / "dump.rdb").read_bytes() == before
    assert snapshot_files(tmp_path) == ["dump.rdb"]
    assert failing.do("SET", "c", "1") == f"-{MISCONF}"


@pytest.mark.behaviour("snapshot", "a rename that may not last is no success")
def test_a_rename_that_may_not_last_is_no_success(failing: Opened, open_store: Opener) -> None:
    break_disk(failing, "sync_dir")
    assert failing.do("SAVE") == "-ERR"
    assert failing.info("changes_since_last_save") == 1
    break_disk(failing, "")
    assert {b"a", b"b"} <= set(reopen(open_store, failing).keys())


def test_a_store_that_cannot_save_does_not_close(failing: Opened, open_store: Opener) -> None:
    break_disk(failing, "append")
    with pytest.raises(PersistenceError, match="No space left"):
        failing.instance.shutdown()
    assert failing.do("GET", "b") == b"value of b"
    failing.instance.shutdown(force=True)


def test_without_forks_a_background_save_says_so(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory() -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    store = open_store(save="3600 1000")
    store.set("a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", no_memory)
        assert store.do("BGSAVE") == "-ERR"
    assert store.info("last_bgsave_status") == "err"
    assert store.do("SET", "b", "1") == f"-{MISCONF}"
    assert store.do("SAVE") == "OK"
    assert store.do("SET", "b", "1") == "OK"
