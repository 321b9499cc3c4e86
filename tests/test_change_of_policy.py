"""CONFIG SET persistence and CONFIG SET appendonly: another policy takes over while the store runs.

Whatever pair it is: the new one has everything on disk before the reply, or the former one goes on
as if nothing had been asked for.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import kvcore
from kvcore import CommandError, Host, Loader, Persistence, Store, hookimpl, plugins
from kvcore.command import Family
from kvcore.config import Option
from kvcore.config.options import String
from kvcore.errors import ConfigError
from kvcore.storage import File, LocalStorage
from tests.datasets import commands
from tests.support import ServerExited, start_kvcore
from tests.testing.journal import Journal

OURS = ("none", "rdb", "aof", "hybrid")
POLICIES = (*OURS, "journal", "sqlite")
ORIGINAL = plugins.load_policy


def _sqlite() -> type[Persistence]:
    path = Path(__file__).parent / "third_party" / "kvcore-sqlite" / "kvcore_sqlite.py"
    spec = importlib.util.spec_from_file_location("kvcore_sqlite", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    policy: type[Persistence] = module.SqlitePersistence
    return policy


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[Persistence]]]:
    """Policies that are installed besides ours, by name; a test may add some."""
    opened: list[sqlite3.Connection] = []
    sqlite: Any = _sqlite()

    class Sqlite(sqlite):  # type: ignore[misc]
        def __init__(self, host: Host) -> None:
            super().__init__(host)
            opened.append(self.db)

    strangers: dict[str, type[Persistence]] = {"journal": Journal, "sqlite": Sqlite}
    installed = plugins.installed()
    monkeypatch.setattr(
        plugins,
        "load_policy",
        lambda name: strangers[name] if name in strangers else ORIGINAL(name),
    )
    monkeypatch.setattr(plugins, "installed", lambda: {**installed, **strangers})
    yield strangers
    for connection in opened:  # a store that crashed leaves one open, and Python 3.13 tells
        connection.close()


def open_store(folder: Path, policy: str, **options: Any) -> Store:
    settings = {"save": "", "enable_debug_command": "yes", "appendfsync": "always", **options}
    return kvcore.open(str(folder), policy, tick=False, **settings)


def crash(store: Store) -> None:
    """The process is gone: nothing more is written."""
    store.instance.release()


def digest(store: Store) -> str:
    found: str = store.execute("DEBUG", "DIGEST")
    return found


def change(store: Store, policy: str) -> None:
    assert store.execute("CONFIG", "SET", "persistence", policy) == "OK"


def files(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != "kvcore.lock"
    )


# Any pair -------------------------------------------------------------------------------------


@pytest.mark.behaviour(
    "CONFIG SET persistence", "any pair: everything is on disk before the reply; also a stranger’s"
)
@pytest.mark.behaviour("persistence", "can be changed while the store runs")
@pytest.mark.behaviour(
    "never silently empty", "a change that was not written back: found, or refused"
)
@pytest.mark.parametrize("first", POLICIES)
@pytest.mark.parametrize("second", POLICIES)
def test_a_policy_that_takes_over_has_everything_at_once(
    tmp_path: Path, first: str, second: str
) -> None:
    if first == second:
        return
    folder = tmp_path / "data"
    store = open_store(folder, first)
    for argv in commands(keys=60, seed=1):
        store.execute(*argv)
    expected = digest(store)
    change(store, second)
    assert digest(store) == expected
    assert store.instance.policy == second
    assert store.execute("CONFIG", "GET", "persistence") == {b"persistence": second.encode()}
    log = b"yes" if second in ("aof", "hybrid") else b"no"
    assert store.execute("CONFIG", "GET", "appendonly") == {b"appendonly": log}
    crash(store)
    shutil.copytree(folder, tmp_path / "other")
    if second != "none":
        with open_store(folder, second) as store:
            assert digest(store) == expected
    # A configuration that was not written back: everything is found, or the start is refused.
    source = ""
    try:
        store = open_store(tmp_path / "other", first)
    except ConfigError as error:
        source = re.findall(r"load-from (\w+)", str(error))[0]
        store = open_store(tmp_path / "other", first, load_from=source)
    with store:
        # A store of snapshots that was never saved has promised nothing.
        assert (first, second) == ("rdb", "none") or digest(store) == expected, source


@pytest.mark.behaviour("CONFIG SET persistence", "later writes are kept as the new one promises")
@pytest.mark.parametrize("first", POLICIES)
@pytest.mark.parametrize("second", [policy for policy in POLICIES if policy not in ("none", "rdb")])
def test_what_is_written_after_a_change_is_kept_as_the_new_one_promises(
    tmp_path: Path, first: str, second: str
) -> None:
    store = open_store(tmp_path, first)
    store.set("before", 1)
    store.set("gone", 1)
    if first != second:
        change(store, second)
    store.set("after", 1)
    store.delete("gone")
    store.transaction(["INCR", "n"], ["INCR", "n"])
    crash(store)
    with open_store(tmp_path, second) as store:
        assert sorted(store.execute("KEYS", "*")) == [b"after", b"before", b"n"]
        assert store.get("n") == b"2"


@pytest.mark.behaviour("CONFIG SET persistence", "back and forth leaves no litter")
@pytest.mark.parametrize("cycle", [("hybrid", "rdb"), ("aof", "none", "hybrid"), ("sqlite", "aof")])
def test_changes_back_and_forth_keep_the_last_word_and_leave_no_litter(
    tmp_path: Path, cycle: tuple[str, ...]
) -> None:
    store = open_store(tmp_path, cycle[0])
    seen = []
    for round in range(4):
        for policy in (*cycle[1:], cycle[0]):
            store.execute("RPUSH", "list", f"{round} {policy}")
            store.execute("DEL", f"key {round - 1} {policy}")
            store.set(f"key {round} {policy}", 1)
            change(store, policy)
        seen.append(len(files(tmp_path)))
    expected = digest(store)
    assert seen[1:] == seen[1:2] * 3, files(tmp_path)
    crash(store)
    with open_store(tmp_path, cycle[0]) as store:
        assert digest(store) == expected


# appendonly -----------------------------------------------------------------------------------


@pytest.mark.behaviour("appendonly", "turns the log on and off")
@pytest.mark.behaviour("CONFIG SET appendonly", "rdb becomes hybrid, none aof; no makes either rdb")
@pytest.mark.parametrize(
    ("policy", "value", "then"),
    [
        ("rdb", "yes", "hybrid"),
        ("none", "yes", "aof"),
        ("hybrid", "no", "rdb"),
        ("aof", "no", "rdb"),
        ("aof", "yes", "aof"),
        ("none", "no", "none"),
    ],
)
def test_appendonly_turns_the_log_on_and_off(
    tmp_path: Path, policy: str, value: str, then: str
) -> None:
    store = open_store(tmp_path, policy)
    store.set("k", 1)
    assert store.execute("CONFIG", "SET", "appendonly", value) == "OK"
    assert store.instance.policy == then
    assert store.execute("CONFIG", "GET", "persistence") == {b"persistence": then.encode()}
    enabled = int(then in ("aof", "hybrid"))
    assert f"aof_enabled:{enabled}\r\n".encode() in store.execute("INFO", "persistence")
    store.close(save=False)
    if then != "none":
        with open_store(tmp_path, then) as store:
            assert store.get("k") == b"1"


@pytest.mark.behaviour("CONFIG REWRITE", "a redis.conf stays one; the next start finds the data")
def test_a_configuration_of_redis_stays_one(tmp_path: Path) -> None:
    file = tmp_path / "redis.conf"
    file.write_text('save ""\nappendonly no\n')
    with start_kvcore(tmp_path, config_file=file) as server:
        client = server.client()
        client.set("k", 1)
        client.config_set("appendonly", "yes")
        client.config_rewrite()
        server.kill()
    assert file.read_text().splitlines()[:2] == ['save ""', "appendonly yes"]
    assert "\npersistence" not in file.read_text()
    with start_kvcore(tmp_path, config_file=file) as server:
        assert server.client().get("k") == b"1"
        assert server.client().info("persistence")["aof_enabled"] == 1


@pytest.mark.behaviour("appendonly", "a change that was not written back loses nothing")
def test_without_a_rewritten_configuration_the_data_is_found_too(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        server.client().config_set("appendonly", "yes")
        server.client().config_set("appendfsync", "always")
        server.client().set("k", 1)
        server.kill()
    with start_kvcore(tmp_path) as server:
        assert server.client().get("k") == b"1"
        assert server.client().info("persistence")["aof_enabled"] == 0


# Refusals -------------------------------------------------------------------------------------


def refusal(store: Store, *words: str) -> str:
    with pytest.raises(CommandError) as refused:
        store.execute("CONFIG", "SET", *words)
    return str(refused.value)


@pytest.mark.behaviour("CONFIG SET persistence", "what cannot be meant is one clear error")
def test_what_cannot_be_meant_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with open_store(tmp_path, "journal") as store:
        failed = "ERR CONFIG SET failed (possibly related to argument"
        assert refusal(store, "persistence", "nosuch").startswith(
            f"{failed} 'persistence') - persistence 'nosuch' is not installed"
        )
        assert refusal(store, "appendonly", "yes") == (
            f"{failed} 'appendonly') - persistence 'journal' keeps no append only file of ours; "
            "choose another one by CONFIG SET persistence"
        )
        assert refusal(store, "persistence", "rdb", "appendonly", "yes") == (
            f"{failed} 'persistence') - appendonly contradicts persistence rdb"
        )
        assert store.instance.policy == "journal"
        assert store.execute("CONFIG", "GET", "appendonly") == {b"appendonly": b"no"}
        assert store.execute("CONFIG", "SET", "persistence", "aof", "appendonly", "yes") == "OK"


def test_another_option_that_is_refused_stops_the_change_before_it_begins(tmp_path: Path) -> None:
    with open_store(tmp_path, "none") as store:
        assert "'dir'" in refusal(store, "appendonly", "yes", "dir", "/nosuch")
        store.instance.config.subscribe("hz", _refuse)
        assert "'hz'" in refusal(store, "appendonly", "yes", "hz", "99")
        assert store.instance.policy == "none"
        assert files(tmp_path) == []


def _refuse(value: object) -> None:
    raise ConfigError("no")


@pytest.mark.behaviour("CONFIG SET persistence", "refused within a transaction")
def test_half_a_transaction_is_in_neither(tmp_path: Path) -> None:
    with open_store(tmp_path, "aof") as store:
        replies = store.transaction(
            ["INCR", "n"], ["CONFIG", "SET", "persistence", "journal"], ["INCR", "n"]
        )
        assert replies[0::2] == [1, 2]
        assert "a transaction is open" in str(replies[1])
        assert store.instance.policy == "aof"
        crash(store)
    with open_store(tmp_path, "aof") as store:
        assert store.get("n") == b"2"


def test_nothing_is_changed_during_a_load(tmp_path: Path) -> None:
    with open_store(tmp_path, "rdb") as store:
        store.instance.loading = True
        for name, value in (("appendonly", "yes"), ("persistence", "aof")):
            assert refusal(store, name, value).startswith("LOADING")
        store.instance.loading = False


class Clumsy(Persistence):
    """A stranger's, with a bug in the method called ``fails``."""

    name: ClassVar[str] = "clumsy"
    fails: ClassVar[str] = ""
    released: ClassVar[int] = 0

    def adopt(self, view: object) -> None:
        self._may_fail("adopt")

    def start(self) -> None:
        self._may_fail("start")

    def release(self) -> None:
        type(self).released += 1
        self._may_fail("release")

    def _may_fail(self, method: str) -> None:
        if method == self.fails:
            raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("method", ["adopt", "start"])
def test_a_stranger_that_fails_changes_nothing(
    tmp_path: Path, strangers: dict[str, type[Persistence]], method: str
) -> None:
    class Failing(Clumsy):
        fails = method

    strangers["clumsy"] = Failing
    with open_store(tmp_path, "aof") as store:
        store.set("a", 1)
        assert refusal(store, "persistence", "clumsy").endswith(
            "persistence 'aof' stays in charge: a bug"
        )
        assert Failing.released == 1
        store.set("b", 1)
        crash(store)
    with open_store(tmp_path, "aof") as store:
        assert len(store) == 2


def test_a_former_policy_that_does_not_let_go_well_stops_nothing(
    tmp_path: Path, strangers: dict[str, type[Persistence]]
) -> None:
    class Failing(Clumsy):
        fails = "release"

    strangers["clumsy"] = Failing
    with open_store(tmp_path, "clumsy") as store:
        store.set("a", 1)
        change(store, "aof")
        store.set("b", 1)
        crash(store)
    with open_store(tmp_path, "aof") as store:
        assert len(store) == 2


# Disks that fail ------------------------------------------------------------------------------


class FailingStorage(LocalStorage):
    """A folder whose n-th operation from now on fails, and all behind it if ``lasting``."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.until = -1
        self.lasting = False

    def step(self) -> None:
        if self.until > 0:
            self.until -= 1
        elif self.until == 0:
            if not self.lasting:
                self.until = -1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def create(self, name: str) -> File:
        self.step()
        return FailingFile(self, super().create(name))

    def reopen(self, name: str) -> File:
        self.step()
        return FailingFile(self, super().reopen(name))

    def rename(self, old: str, new: str) -> None:
        self.step()
        super().rename(old, new)

    def remove(self, name: str) -> None:
        self.step()
        super().remove(name)

    def sync_dir(self, folder: str = "") -> None:
        self.step()
        super().sync_dir(folder)

    def make_folder(self, folder: str) -> None:
        self.step()
        super().make_folder(folder)


class FailingFile(File):
    def __init__(self, disk: FailingStorage, file: File) -> None:
        self._disk = disk
        self._file = file
        self.name = file.name

    @property
    def size(self) -> int:  # type: ignore[override]
        return self._file.size

    def append(self, data: bytes) -> None:
        self._disk.step()
        self._file.append(data)

    def sync(self) -> None:
        self._disk.step()
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


PAIRS = [
    ("aof", "journal"),
    ("aof", "hybrid"),
    ("aof", "rdb"),
    ("hybrid", "aof"),
    ("hybrid", "rdb"),
    ("hybrid", "journal"),
    ("journal", "aof"),
    ("journal", "hybrid"),
    ("rdb", "hybrid"),
    ("rdb", "aof"),
]


@pytest.mark.behaviour("change of policy", "wherever the disk fails: one of the two has everything")
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_wherever_the_disk_fails_one_of_the_two_has_everything(
    tmp_path: Path, first: str, second: str, lasting: bool
) -> None:
    for step in range(100):
        folder = tmp_path / str(step)
        disk = FailingStorage(folder)
        store = open_store(folder, first, storage=disk)
        # The new one's files lie there already, from an earlier time.
        store.set("old", 1)
        change(store, second)
        change(store, first)
        store.delete("old")
        store.set("a", 1)
        if first in ("rdb", "none"):
            store.execute("SAVE")
        disk.until, disk.lasting = step, lasting
        failed = ""
        try:
            change(store, second)
        except CommandError as error:
            failed = str(error)
        done = disk.until > 0
        disk.until = -1
        assert store.instance.policy == (first if failed else second)
        if failed:
            assert f"persistence '{first}' stays in charge: " in failed
            with contextlib.suppress(CommandError):  # a disk in trouble may be tried again first
                store.set("b", 1)
            store.tick()
        store.set("c", 1)
        if store.instance.policy in ("rdb", "none"):
            store.execute("SAVE")
        expected = digest(store)
        crash(store)
        with open_store(folder, store.instance.policy) as store:
            assert digest(store) == expected, (step, failed)
            assert store.get("old") is None
        if done:
            return
    pytest.fail("there was no end of steps")


@pytest.mark.behaviour("change of policy", "a log on a full disk can be turned off")
def test_a_log_in_trouble_can_be_turned_off(tmp_path: Path) -> None:
    """What an operator does whose disk is full."""
    disk = FailingStorage(tmp_path)
    store = open_store(tmp_path, "aof", storage=disk, appendfsync="everysec")
    store.set("a", 1)
    disk.until, disk.lasting = 0, True
    store.set("b", 1)
    with pytest.raises(CommandError, match="MISCONF"):
        store.set("c", 1)
    change(store, "none")
    store.set("c", 1)
    disk.until = -1
    assert store.execute("CONFIG", "SET", "appendonly", "yes") == "OK"
    crash(store)
    with open_store(tmp_path, "aof") as store:
        assert len(store) == 3


# What comes and goes with a policy ------------------------------------------------------------


class Observer(Persistence):
    """Brings a command, an option, a field of INFO, a subscription and a hook."""

    name: ClassVar[str] = "observer"
    options = (Option("observed", String(), "x"),)
    seen: ClassVar[list[bytes]] = []
    heard: ClassVar[list[object]] = []
    closed: ClassVar[int] = 0

    def __init__(self, host: kvcore.Host) -> None:
        super().__init__(host)
        host.config.subscribe("hz", self.hear)

    def hear(self, value: object) -> None:
        self.heard.append(value)

    @hookimpl
    def before_command(self, session: object, argv: list[bytes]) -> None:
        self.seen.append(argv[0])

    def commands(self) -> list[Any]:
        family = Family("server")
        family("OBSERVE", 1)(self.observe)
        family("SAVE", 1)(self.observe)
        return family.commands

    def observe(self, ctx: object, argv: list[bytes]) -> object:
        """Answers."""
        return "SEEN"

    def info(self) -> dict[str, object]:
        return {"observed": 1}

    def close(self, save: bool | None) -> None:
        type(self).closed += 1


@pytest.mark.behaviour(
    "CONFIG SET persistence", "commands, options, hooks and INFO fields are exchanged"
)
def test_what_a_policy_brings_goes_with_it(
    tmp_path: Path, strangers: dict[str, type[Persistence]]
) -> None:
    class Here(Observer):
        seen: ClassVar[list[bytes]] = []
        heard: ClassVar[list[object]] = []

    strangers["observer"] = Here
    with open_store(tmp_path, "rdb") as store:
        with pytest.raises(CommandError, match="unknown command"):
            store.execute("OBSERVE")
        store.execute("CONFIG", "SET", "persistence", "observer", "observed", "y")
        assert store.execute("CONFIG", "GET", "observed") == {b"observed": b"y"}
        assert store.execute("OBSERVE") == "SEEN"
        assert store.execute("save") == "SEEN"
        assert b"observed:1" in store.execute("INFO", "persistence")
        assert store.execute("CONFIG", "SET", "hz", "20") == "OK"
        assert Here.heard == [20]
        assert Here.seen[-1] == b"CONFIG"

        change(store, "aof")
        assert Here.closed == 1
        before = list(Here.seen)
        with pytest.raises(CommandError, match="unknown command 'OBSERVE'"):
            store.execute("OBSERVE")
        with pytest.raises(CommandError, match="keeps no snapshots"):
            store.execute("BGSAVE")
        assert store.execute("SAVE") == "OK"  # the core's, which any policy serves
        assert b"observed:1" not in store.execute("INFO", "persistence")
        assert store.execute("CONFIG", "GET", "observed") == {}
        store.execute("CONFIG", "SET", "hz", "30")
        assert (Here.seen, Here.heard) == (before, [20])


def test_a_queued_command_does_what_its_name_means_now(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--persistence", "hybrid") as server:
        with server.client().client() as client:
            for words in (("MULTI",), ("BGREWRITEAOF",), ("BGSAVE",), ("SET", "k", "v")):
                client.execute_command(*words)
            server.client().config_set("persistence", "none")
            replies = client.execute_command("EXEC")
        assert [str(reply) for reply in replies] == [
            "persistence 'none' keeps no append only file",
            "persistence 'none' keeps no snapshots in the background",
            "b'OK'",
        ]


@pytest.mark.behaviour("CONFIG REWRITE", "options of a policy that is gone become comments")
def test_options_of_a_stranger_leave_the_file_with_it(
    tmp_path: Path, strangers: dict[str, type[Persistence]]
) -> None:
    file = tmp_path / "kvcore.conf"
    file.write_text("persistence sqlite\nsqlite-file mine.sqlite\n")
    with kvcore.open(str(tmp_path / "data"), config_file=str(file), tick=False) as store:
        store.set("k", 1)
        change(store, "rdb")
        store.execute("CONFIG", "REWRITE")
    lines = file.read_text().splitlines()
    assert 'persistence "rdb"' in lines
    assert "# ??? sqlite-file mine.sqlite" in lines
    with kvcore.open(str(tmp_path / "data"), config_file=str(file), tick=False) as store:
        assert store.get("k") == b"1"


def test_a_child_of_the_former_ends_and_is_no_failure(tmp_path: Path) -> None:
    store = open_store(tmp_path, "hybrid", rdb_key_save_delay=100_000)
    for n in range(100):
        store.set(f"k{n}", n)
    store.execute("BGSAVE")
    change(store, "aof")
    change(store, "hybrid")
    assert store.instance.active_child is None
    info = store.execute("INFO", "persistence")
    assert b"rdb_last_bgsave_status:ok" in info
    assert b"rdb_bgsave_in_progress:0" in info
    crash(store)
    assert not [name for name in files(tmp_path) if "temp" in name]


def test_what_the_common_part_counted_stays(tmp_path: Path) -> None:
    with open_store(tmp_path, "rdb") as store:
        store.execute("SAVE")
        store.execute("SAVE")
        store.execute("CONFIG", "SET", "appendonly", "yes")
        assert b"rdb_saves:2" in store.execute("INFO", "persistence")
        store.execute("CONFIG", "SET", "appendonly", "no")
        assert b"rdb_saves:2" in store.execute("INFO", "persistence")


def test_a_store_in_memory_keeps_being_one() -> None:
    with kvcore.open(tick=False) as store:
        store.set("k", 1)
        assert "persistence 'none' stays in charge" in refusal(store, "persistence", "rdb")
        assert store.get("k") == b"1"


class Source(Persistence):
    """Data that is adopted at a start."""

    name: ClassVar[str] = "source"
    closed: ClassVar[int] = 0

    @classmethod
    def probe(cls, storage: Any, config: object) -> kvcore.Found:
        found = storage.stat("source")
        return kvcore.Found(("source",), ("source",), found.mtime) if found else kvcore.Found()

    def load(self, loader: Loader) -> None:
        loader.replay(0, [b"SET", b"k", b"v"])

    def close(self, save: bool | None) -> None:
        type(self).closed += 1


def test_who_is_adopted_from_at_a_start_is_let_go(
    tmp_path: Path, strangers: dict[str, type[Persistence]]
) -> None:
    class Here(Source):
        pass

    strangers["source"] = Here
    (tmp_path / "source").touch()
    with open_store(tmp_path, "aof") as store:
        assert store.get("k") == b"v"
        assert Here.closed == 1


# Under load -----------------------------------------------------------------------------------


class Writer(threading.Thread):
    """Counts up a key of its own; ``acknowledged`` is the last number that was answered."""

    def __init__(self, client: redis.Redis, number: int) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.key = f"n{number}"
        self.acknowledged = 0

    def run(self) -> None:
        with contextlib.suppress(redis.ConnectionError):
            while True:
                self.acknowledged = self.client.incr(self.key)


@pytest.fixture
def _server_knows_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`journal`, installed for a server of its own process."""
    site = tmp_path / "site"
    info = site / "kvcore_journal-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kvcore-journal\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kvcore.persistence]\njournal = journal:Journal\n")
    shutil.copy(Path(__file__).parent / "testing" / "journal.py", site)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.mark.behaviour(
    "CONFIG SET persistence", "no acknowledged write is lost over changes and kill -9"
)
@pytest.mark.usefixtures("_server_knows_journal")
@pytest.mark.parametrize("changes", range(6))
def test_no_acknowledged_write_is_lost_over_changes_and_kill_9(
    tmp_path: Path, changes: int
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    file = tmp_path / "kvcore.conf"
    file.write_text("persistence aof\nappendfsync always\n")
    cycle = ("hybrid", "journal", "hybrid", "aof", "journal", "aof")
    with start_kvcore(folder, config_file=file) as server:
        # Clients of their own: server.kill() closes those that it handed out, under their feet.
        never = Retry(NoBackoff(), 0)
        clients = [redis.Redis(unix_socket_path=server.socket, retry=never) for _ in range(4)]
        writers = [Writer(client, number) for number, client in enumerate(clients)]
        for writer in writers:
            writer.start()
        client = server.client()
        for policy in cycle[:changes]:
            client.config_set("persistence", policy)
            client.config_rewrite()
            client.ping()
        before = writers[0].acknowledged
        while writers[0].acknowledged < before + 20:
            client.ping()
        server.kill()
        for writer in writers:
            writer.join()
            writer.client.close()
    with start_kvcore(folder, config_file=file) as server:
        for writer in writers:
            found = int(server.client().get(writer.key) or 0)
            assert writer.acknowledged <= found <= writer.acknowledged + 1


@pytest.mark.behaviour("CONFIG SET persistence", "kill -9 during a change leaves one of the two")
@pytest.mark.usefixtures("_server_knows_journal")
def test_a_change_that_is_killed_leaves_one_of_the_two(tmp_path: Path) -> None:
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with start_kvcore(folder, "--persistence", "journal") as server:
            client = server.client()
            client.mset({f"k{n}": "x" * 100 for n in range(2000)})
            asking = threading.Thread(target=_ask, args=(server.client(),))
            asking.start()
            time.sleep(0.006 * attempt)
            server.kill()
            asking.join()
        for policy in ("journal", "aof"):  # where both are there, they ask which to load
            with contextlib.suppress(ServerExited):
                server = start_kvcore(folder, "--persistence", policy)
                break
        with server:
            assert server.client().dbsize() == 2000


def _ask(client: redis.Redis) -> None:
    with contextlib.suppress(redis.ConnectionError):
        client.config_set("persistence", "aof")
