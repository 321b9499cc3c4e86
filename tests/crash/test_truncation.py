"""The last 300 bytes of a log are cut off, each in turn: what is left is said, and whole."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

import kvcore
from kvcore import CorruptData, Store, plugins
from kvcore.testing import FaultyStorage
from kvcore.testing.workload import fingerprint

LAST = 300
Contents = dict[str, bytes]


@pytest.fixture(autouse=True)
def _search_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of all that is installed would take most of the time."""
    monkeypatch.setattr(plugins, "installed", functools.cache(plugins.installed))


class Log:
    """A log of some commits, the last of which is a transaction.

    ``ends``  where in ``file`` a commit ends, and what the store held then
    """

    def __init__(self, persistence: str, base: str, *, rewritten: bool) -> None:
        self.persistence = persistence
        self.options: dict[str, Any] = {"aof_use_rdb_preamble": base == "rdb", "save": ""}
        storage = FaultyStorage()
        with self.open(storage) as store:
            for n in range(10):
                store.execute("RPUSH", "before", n)
            if rewritten:
                store.execute("BGREWRITEAOF")
                storage.finish_children()
                store.tick()
            self.file = max(name for name in storage.contents() if name.endswith("incr.aof"))
            self.ends = {}
            self._note(store, storage)
            for n in range(4):
                store.execute("HSET", "hash", f"field{n}", n)
                self._note(store, storage)
            for n in range(2):
                store.transaction(
                    ["SET", "a", n], ["RPUSH", "list", "x\r\n$", n], ["SELECT", 1], ["SADD", "s", n]
                )
                self._note(store, storage)
            self.contents = storage.contents()
        assert max(self.ends) == len(self.contents[self.file])
        assert len(self.ends) == 7

    def _note(self, store: Store, storage: FaultyStorage) -> None:
        store.tick()
        self.ends[len(storage.contents()[self.file])] = fingerprint(store.instance.keyspace)

    def open(self, storage: FaultyStorage, **options: object) -> Store:
        options = {"appendfsync": "always", **self.options, **options}
        return kvcore.open(persistence=self.persistence, storage=storage, tick=False, **options)

    def to_one_file(self) -> None:
        """As Redis before version 7 has it: base and increment in one file."""
        (base,) = (content for name, content in self.contents.items() if ".base." in name)
        self.contents = {"appendonly.aof": base + self.contents[self.file]}
        self.file = "appendonly.aof"
        self.ends = {len(base) + end: state for end, state in self.ends.items()}

    def cuts(self) -> Iterator[tuple[int, Contents]]:
        """How many bytes are left, and the files."""
        size = len(self.contents[self.file])
        for left in range(max(min(self.ends), size - LAST), size):
            yield left, {**self.contents, self.file: self.contents[self.file][:left]}


@pytest.fixture(params=["aof, rdb", "aof, aof", "hybrid, rdb", "aof, one file", "aof, first"])
def log(request: pytest.FixtureRequest) -> Log:
    """By policy and kind of base: commands or an RDB file, in one file with the commits, or none
    but the empty one of a new log."""
    policy, base = request.param.split(", ")
    log = Log(policy, "aof" if base == "aof" else "rdb", rewritten=base != "first")
    if base == "one file":
        log.to_one_file()
    return log


@pytest.mark.behaviour(
    "AOF: torn end", "at each of the last 300 bytes: a whole state, and what was dropped is said"
)
def test_what_is_left_is_whole_commits_and_what_is_dropped_is_said(log: Log) -> None:
    for left, contents in log.cuts():
        whole = max(end for end in log.ends if end <= left)
        storage = FaultyStorage.of(contents)
        with capture_logs() as said:
            store = log.open(storage)
        assert fingerprint(store.instance.keyspace) == log.ends[whole], left
        short = [line for line in said if "short read" in str(line["event"])]
        if left == whole:
            assert not short
        else:
            assert [line["offset"] for line in short] == [whole]
            assert short[0]["dropped"].startswith(f"{left - whole} bytes: ")
            assert str(short[0]["file"]).endswith(log.file)
        store.execute("SET", "later", left)
        state = fingerprint(store.instance.keyspace)
        storage = storage.crash(worst=True)
        store.close()
        if left % 5 == 0:
            with log.open(storage) as store:
                assert fingerprint(store.instance.keyspace) == state


@pytest.mark.behaviour("aof-load-truncated", "`no`: each cut is refused with its offset")
def test_each_cut_is_refused_with_its_offset_if_told_so(log: Log) -> None:
    for left, contents in log.cuts():
        whole = max(end for end in log.ends if end <= left)
        storage = FaultyStorage.of(contents)
        if left == whole:
            log.open(storage, aof_load_truncated=False).close()
            continue
        with pytest.raises(CorruptData, match="Unexpected end of file") as refusal:
            log.open(storage, aof_load_truncated=False)
        assert refusal.value.path.endswith(log.file)
        assert refusal.value.offset == whole
        assert storage.contents() == contents


@pytest.mark.parametrize("base", ["rdb", "hybrid"])
@pytest.mark.behaviour("RDB: what is refused", "a snapshot or a base cut short at any byte")
def test_each_truncated_snapshot_is_refused(base: str) -> None:
    """That of policy rdb, and the base of a log, which no crash tears."""
    if base == "rdb":
        storage = FaultyStorage()
        with kvcore.open(persistence="rdb", storage=storage, tick=False) as store:
            store.execute("RPUSH", "list", *range(50))
            store.execute("SET", "k", "v" * 200)
        whole, name, policy = storage.contents(), "dump.rdb", "rdb"
    else:
        log = Log("hybrid", "rdb", rewritten=True)
        whole, policy = log.contents, "hybrid"
        (name,) = (name for name in whole if ".base." in name)
    for left in range(len(whole[name])):
        contents = {**whole, name: whole[name][:left]}
        storage = FaultyStorage.of(contents)
        with pytest.raises(CorruptData) as refusal:
            kvcore.open(persistence=policy, storage=storage, tick=False, save="")
        assert refusal.value.path.endswith(name)
        assert 0 <= refusal.value.offset <= left
        assert storage.contents() == contents
