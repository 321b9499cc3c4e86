"""What the policy promises: when bytes are written and synced, and what it does if that fails.

The store runs in this process and time is handed to its `cron`; children and disks are real, but
for the faults that a test sets (see harness.Disk).
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest

import kvcore
import kvcore_aof
from kvcore import digest
from kvcore.errors import CorruptData, PersistenceError
from kvcore.storage import File, LocalStorage
from plugins.aof.tests.harness import (
    Disk,
    Opened,
    Opener,
    either_way,
    end_child,
    files,
    request,
    write_log,
)

SLOW = 50_000  # rdb-key-save-delay in µs: a child that saves a few keys is met alive
MISCONF = "-MISCONF Errors writing to the AOF file: "
FULL = MISCONF + "No space left on device"
SICK = MISCONF + "Input/output error"
INCR = "appendonlydir/appendonly.aof.1.incr.aof"


def incr(folder: Path, number: int = 1) -> bytes:
    return files(folder)[f"appendonly.aof.{number}.incr.aof"]


# Where commits go -----------------------------------------------------------------------------


def test_a_fresh_start_makes_base_increment_and_manifest(opener: Opener, tmp_path: Path) -> None:
    opener()
    assert sorted(files(tmp_path)) == [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.manifest",
    ]
    assert files(tmp_path)["appendonly.aof.manifest"] == (
        b"file appendonly.aof.1.base.rdb seq 1 type b\n"
        b"file appendonly.aof.1.incr.aof seq 1 type i\n"
    )


def test_a_flush_writes_all_commits_of_the_turn_at_once(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    for n in range(3):
        store.do("INCR", "n")
        assert incr(tmp_path) == b"" or n
    assert store.info("buffer_length") == len(request("SELECT", "0")) + 3 * len(
        request("INCR", "n")
    )
    assert store.flush() is None
    assert incr(tmp_path) == request("SELECT", "0") + 3 * request("INCR", "n")
    assert store.info("buffer_length") == 0
    assert store.info("current_size") == sum(
        len(content) for name, content in files(tmp_path).items() if "manifest" not in name
    )


def test_what_was_written_is_there_again(opener: Opener) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.do("SELECT", 3)
    store.write("SET", "b", "x", "PX", 10**12)
    store.transaction(("INCR", "n"), ("SELECT", 5), ("INCR", "n"))
    before = store.digest()
    for _ in range(2):
        store = opener.reopen(store)
        assert store.digest() == before
        store.write("SET", "again", "1")
        before = store.digest()


@pytest.mark.behaviour("appendfilename", "what all files of the log begin with")
@pytest.mark.behaviour("appenddirname", "the folder of the log")
def test_names_are_configurable(opener: Opener, tmp_path: Path) -> None:
    store = opener(appendfilename="my log.aof", appenddirname="logs")
    store.write("SET", "a", "1")
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "my log.aof.1.base.rdb",
        "my log.aof.1.incr.aof",
        "my log.aof.manifest",
    ]
    store = opener.reopen(store, appendfilename="my log.aof", appenddirname="logs")
    assert store.keys() == [b"a"]


@pytest.mark.behaviour(
    "aof-timestamp-enabled", "`#TS:` before the commits of another second, from CONFIG SET on"
)
@pytest.mark.behaviour("AOF: timestamps", "written only where a second has passed")
def test_timestamps_are_annotated_while_they_are_wanted(opener: Opener, tmp_path: Path) -> None:
    store = opener(aof_timestamp_enabled=True)
    store.write("SET", "a", "1")
    annotated = incr(tmp_path)
    assert annotated.startswith(b"#TS:")
    store.configure("aof-timestamp-enabled", "no")
    store.write("SET", "b", "1")
    assert incr(tmp_path) == annotated + request("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


def test_timestamps_begin_behind_what_was_committed_before(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.do("SET", "a", "1")  # not flushed: it waits where no second is kept
    store.configure("aof-timestamp-enabled", "yes")
    store.write("SET", "b", "1")
    before, after = re.split(rb"#TS:\d+\r\n", incr(tmp_path))
    assert before.endswith(request("SET", "a", "1"))
    assert after == request("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


def make_slow(store: Opened, disk: Disk) -> None:
    """A disk whose syncs take so long that a thread does them, which the policy has noticed."""
    disk.slow = True
    for _ in range(10):
        store.write("INCR", "n")
        store.cron(5)
        store.until(lambda: not store.info("pending_bio_fsync"))


# appendfsync ----------------------------------------------------------------------------------


@pytest.mark.behaviour("appendfsync", "`no`: no sync before the end")
def test_no_never_syncs_before_the_end(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, appendfsync="no")
    for _ in range(5):
        assert store.write("INCR", "n") is None
        store.cron(10)
    assert disk.syncs == 0
    store.close()
    assert disk.synced[INCR] == os.path.getsize(disk.describe(INCR))


@pytest.mark.behaviour("appendfsync", "`everysec`: a sync a second, if something was written")
def test_everysec_syncs_once_a_second_while_there_is_something_to_sync(
    opener: Opener, disk: Disk
) -> None:
    store = opener(storage=disk)
    for eighth in range(20):
        assert store.write("INCR", "n") is None
        store.cron(0.125)
        store.until(lambda: not store.info("pending_bio_fsync"))
        assert disk.syncs == 1 + eighth // 8
    store.cron(1)
    store.until(lambda: not store.info("pending_bio_fsync"))
    assert disk.synced[INCR] == os.path.getsize(disk.describe(INCR))
    syncs = disk.syncs
    store.cron(100)
    assert disk.syncs == syncs


def test_a_clock_that_is_set_back_stops_no_sync(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk)
    store.write("INCR", "n")
    store.cron(5)
    store.until(lambda: disk.syncs == 1 and not store.info("pending_bio_fsync"))
    store.write("INCR", "n")
    store.cron(-3600)
    store.until(lambda: disk.syncs == 2)


@pytest.mark.behaviour(
    "writes behind a slow sync", "wait two seconds at most; counted in aof_delayed_fsync"
)
def test_everysec_lets_writes_wait_for_a_slow_sync_but_not_for_ever(
    opener: Opener, disk: Disk, tmp_path: Path
) -> None:
    store = opener(storage=disk)
    make_slow(store, disk)
    store.write("INCR", "n")
    syncs = disk.syncs
    disk.gate.clear()
    store.cron(5)
    store.until(lambda: disk.syncs > syncs)
    before = incr(tmp_path)
    assert store.write("INCR", "n") is None
    store.cron()
    assert incr(tmp_path) == before
    assert store.info("buffer_length") == len(request("INCR", "n"))
    assert store.info("delayed_fsync") == 0
    store.cron(kvcore_aof.POSTPONE_S)
    assert incr(tmp_path) == before + request("INCR", "n")
    assert store.info("delayed_fsync") == 1
    disk.gate.set()


@pytest.mark.behaviour("appendfsync", "`always`: durable before the reply")
def test_always_is_durable_before_the_reply(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, appendfsync="always")
    for _ in range(5):
        durable = store.write("INCR", "n")
        if durable is not None:
            durable.result()
        assert disk.synced[INCR] == os.path.getsize(disk.describe(INCR))


@pytest.mark.behaviour("appendfsync", "`always`: commits that wait share a sync")
def test_always_does_not_wait_for_a_slow_disk_and_groups_commits(
    opener: Opener, disk: Disk
) -> None:
    store = opener(storage=disk, appendfsync="always")
    make_slow(store, disk)
    disk.gate.clear()
    before = disk.syncs
    commits: list[tuple[Future[None], int]] = []
    ends: list[int] = []

    def note(future: Future[None]) -> None:
        ends.append(disk.synced[INCR])

    for n in range(10):
        durable = store.write("INCR", "n")
        assert durable is not None
        commits.append((durable, os.path.getsize(disk.describe(INCR))))
        durable.add_done_callback(note)
        if n == 0:
            store.until(lambda: disk.syncs == before + 1)
    assert not any(durable.done() for durable, _ in commits)
    disk.gate.set()
    for durable, _ in commits:
        durable.result()
    # The first had a sync of its own, the nine that came meanwhile share the next one; and each
    # was done only when a sync had covered it.
    assert disk.syncs == before + 2
    assert all(end >= size for end, (_, size) in zip(ends, commits))


def test_always_syncs_here_when_the_disk_is_quick_again(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, appendfsync="always")
    make_slow(store, disk)
    disk.slow = False
    disk.quick = True

    def quick() -> bool:
        durable = store.write("INCR", "n")
        if durable is not None:
            durable.result()
        return durable is None

    store.until(quick)


@pytest.mark.behaviour("no-appendfsync-on-rewrite", "`yes`: no sync while a child writes")
@pytest.mark.parametrize("spare", ["yes", "no"])
@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_the_disk_is_left_to_a_child_that_writes_if_told_so(
    opener: Opener, disk: Disk, spare: str, appendfsync: str
) -> None:
    store = opener(
        storage=disk,
        appendfsync=appendfsync,
        no_appendfsync_on_rewrite=spare,
        rdb_key_save_delay=100_000_000,
    )
    disk.quick = True
    store.write("SET", "a", "1")
    store.do("BGREWRITEAOF")
    before = disk.syncs
    store.write("SET", "b", "1")
    for _ in range(3):
        store.cron(1.5)
    assert (disk.syncs == before) == (spare == "yes")
    end_child(store)
    store.until(lambda: not store.info("rewrite_in_progress"))
    store.write("SET", "c", "1")
    store.cron(1.5)
    assert disk.syncs > before


@pytest.mark.behaviour(
    "aof-rewrite-incremental-fsync", "`yes`: a new base is synced every 4 MB; `no`: at the end"
)
@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("often", ["yes", "no"])
def test_a_large_base_is_synced_in_steps(
    opener: Opener, tmp_path: Path, often: str, preamble: str
) -> None:
    sizes: list[int] = []

    class Counting(LocalStorage):
        def create(self, name: str) -> File:
            file = super().create(name)
            if "temp-rewriteaof" in name:
                sync = file.sync
                file.sync = lambda: (sizes.append(file.size), sync())[1]  # type: ignore
            return file

    store = opener(
        storage=Counting(str(tmp_path)),
        aof_rewrite_incremental_fsync=often,
        aof_use_rdb_preamble=preamble,
        rdbcompression="no",
    )
    for n in range(10):
        store.write("SET", f"k{n}", bytes(1 << 20))
    sizes.clear()
    store.policy.snapshot(store.instance.view())
    assert [size >> 20 for size in sizes[:-1]] == ([4, 8] if often == "yes" else [])
    assert sizes[-1] > 10 << 20


@pytest.mark.behaviour("appendfsync", "can be changed while the store runs")
def test_the_policy_can_be_changed_while_it_runs(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, appendfsync="no")
    store.write("INCR", "n")
    store.cron(5)
    assert disk.syncs == 0
    store.configure("appendfsync", "always")
    durable = store.write("INCR", "n")
    if durable is not None:
        durable.result()
    assert disk.synced[INCR] == os.path.getsize(disk.describe(INCR))
    store.configure("appendfsync", "everysec")
    syncs = disk.syncs
    assert store.write("INCR", "n") is None
    assert disk.syncs == syncs
    store.cron(5)
    store.until(lambda: disk.syncs > syncs)


# A disk in trouble ----------------------------------------------------------------------------


@pytest.mark.behaviour("log: write", "a short write is cut off, kept in memory, and tried again")
@pytest.mark.parametrize("policy", ["no", "everysec"])
def test_a_full_disk_refuses_writes_until_there_is_room(
    opener: Opener, disk: Disk, tmp_path: Path, policy: str
) -> None:
    store = opener(storage=disk, appendfsync=policy)
    store.write("SET", "before", "1")
    whole = incr(tmp_path)
    disk.room = 10
    assert store.write("SET", "kept", "in memory") is None
    assert incr(tmp_path) == whole, "the short write is taken back"
    assert store.do("SET", "refused", "1") == FULL
    assert store.do("PING") == FULL
    assert store.do("GET", "kept") == b"in memory"
    assert store.info("last_write_status") == "err"
    store.cron(5)
    assert store.do("SET", "refused", "1") == FULL
    disk.room = None
    store.cron(0.5)
    assert store.do("SET", "refused", "1") == FULL, "tried again once a second"
    store.cron(0.5)
    store.until(lambda: store.info("last_write_status") == "ok")
    store.write("SET", "after", "1")
    store = opener.reopen(store)
    assert store.keys() == [b"after", b"before", b"kept"]


@pytest.mark.behaviour("log: write", "a short write that cannot be cut off is gone on with")
def test_a_short_write_that_cannot_be_taken_back_is_gone_on_with(
    opener: Opener, disk: Disk
) -> None:
    store = opener(storage=disk)
    disk.room = 10
    disk.deaf = True
    store.write("SET", "a", "1")
    assert os.path.getsize(disk.describe(INCR)) == 10
    disk.room = None
    store.cron(1)
    store.write("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


@pytest.mark.behaviour(
    "log: write", "a crash meanwhile loses only what was not acknowledged as kept"
)
def test_what_a_full_disk_kept_out_is_not_there_after_a_crash_but_all_else_is(
    opener: Opener, disk: Disk
) -> None:
    store = opener(storage=disk)
    store.write("SET", "a", "1")
    disk.room = 10
    disk.deaf = True
    store.write("SET", "b", "1")
    store.crash()
    store = opener()
    assert store.keys() == [b"a"]
    store.write("SET", "c", "1")
    assert opener.reopen(store).keys() == [b"a", b"c"]


@pytest.mark.behaviour("log: sync", "MISCONF until the log was written anew from memory")
@pytest.mark.behaviour(
    "6. writes stay refused after a failed sync; a later sync is believed",
    "the log is written anew from memory, then writes go on",
)
@either_way
def test_a_failed_sync_is_not_believed_until_the_log_is_written_anew(
    opener: Opener, disk: Disk, tmp_path: Path
) -> None:
    store = opener(storage=disk)
    store.write("SET", "a", "1")
    disk.broken = True
    store.cron(5)
    store.until(lambda: store.do("SET", "b", "1") == SICK)
    # The disk is well again, and one sync that succeeds would prove nothing.
    store.until(lambda: not store.info("rewrite_in_progress"))
    assert store.do("SET", "b", "1") == SICK
    disk.broken = False
    store.cron(0.5)
    assert store.do("SET", "b", "1") == SICK
    store.cron(kvcore_aof.HEAL_S)
    store.until(lambda: store.do("SET", "b", "1") == "OK")
    store.flush()
    names = [name for name in files(tmp_path) if name.endswith(".base.rdb")]
    assert names == ["appendonly.aof.2.base.rdb"]
    assert disk.synced[f"appendonlydir/temp-rewriteaof-bg-{os.getpid()}.aof"]
    store.cron(5)
    store.until(lambda: not store.info("pending_bio_fsync"))
    store.crash()
    assert opener().keys() == [b"a", b"b"]


@pytest.mark.behaviour("log: sync", "not forgotten in a crash: the next start writes the log anew")
@either_way
def test_a_failed_sync_is_not_forgotten_in_a_crash(
    opener: Opener, disk: Disk, tmp_path: Path
) -> None:
    store = opener(storage=disk)
    store.write("SET", "a", "1")
    disk.broken = True
    store.cron(5)
    store.until(lambda: store.do("SET", "b", "1") == SICK)
    store.crash()
    # What the next process reads may be in memory only, so it must not go on behind that.
    old = files(tmp_path)
    store = opener()
    assert store.keys() == [b"a"]
    new = files(tmp_path)
    assert not [name for name in new if name in old and "manifest" not in name]
    store.write("SET", "b", "1")
    store = opener.reopen(store)
    assert store.keys() == [b"a", b"b"]
    assert sorted(files(tmp_path)) == sorted(new)


@pytest.mark.behaviour("log: sync", "what expires meanwhile is not lost")
@either_way
def test_what_expires_while_the_log_is_written_anew_is_not_lost(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, rdb_key_save_delay=SLOW)
    store.do("SELECT", 1)
    for n in range(5):
        store.write("SET", f"k{n}", "1", "PX", 10**9)
    disk.broken = True
    store.cron(5)
    store.until(lambda: store.info("last_write_status") == "err")
    disk.broken = False
    store.cron(10)
    store.until(lambda: store.info("rewrite_in_progress"))
    store.instance.keyspace.databases[1].expire(b"k3")
    store.cron()
    store.until(lambda: not store.info("rewrite_in_progress"))
    store.cron(1)
    assert store.info("buffer_length") == 0
    assert store.info("last_write_status") == "ok"
    store.crash()
    assert opener().keys() == [b"k0", b"k1", b"k2", b"k4"]


@pytest.mark.behaviour("log: sync", "a crash while the log is written anew loses nothing")
@either_way
def test_a_crash_while_the_log_is_written_anew_loses_nothing(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, rdb_key_save_delay=SLOW)
    for n in range(5):
        store.write("SET", f"k{n}", "1")
    disk.broken = True
    store.cron(5)
    store.until(lambda: store.info("last_write_status") == "err")
    disk.broken = False
    store.cron(10)
    store.until(lambda: store.info("rewrite_in_progress"))
    store.crash()
    assert opener().keys() == [b"k0", b"k1", b"k2", b"k3", b"k4"]


@pytest.mark.behaviour("log: sync", "always: the server exits 1, no reply leaves")
@pytest.mark.behaviour("appendfsync", "`always`: after an error the server exits 1")
@pytest.mark.parametrize("fault", ["room", "broken"])
def test_under_always_a_failure_is_fatal_and_no_reply_leaves(
    opener: Opener, disk: Disk, fault: str
) -> None:
    store = opener(storage=disk, appendfsync="always")
    setattr(disk, fault, 5 if fault == "room" else True)
    durable = store.write("SET", "a", "1")
    assert durable is not None
    with pytest.raises(PersistenceError):
        durable.result()
    assert len(store.deaths) == 1
    assert "appendfsync" not in store.deaths[0]
    assert "when the AOF fsync policy is 'always'" in store.deaths[0]
    disk.room, disk.broken = None, False
    if fault == "broken":  # a later sync that succeeds proves nothing
        durable = store.write("SET", "b", "1")
        assert durable is not None
        assert durable.exception() is not None


def test_under_always_a_failure_on_the_thread_is_fatal_too(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, appendfsync="always")
    make_slow(store, disk)
    disk.broken = True
    durable = store.write("INCR", "n")
    assert durable is not None
    assert isinstance(durable.exception(), PersistenceError)
    store.cron()
    assert len(store.deaths) == 1


def test_an_embedded_store_says_that_a_commit_is_not_durable(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    store = kvcore.open(str(tmp_path), "aof", storage=disk, appendfsync="always", save="")
    store.set("a", "1")
    disk.broken = True
    with pytest.raises(PersistenceError):
        store.set("b", "1")
    with pytest.raises(PersistenceError):
        store.set("c", "1")
    disk.broken = False
    store.close()
    with kvcore.open(str(tmp_path), "aof", save="") as store:
        assert store.get("a") == b"1"


@pytest.mark.behaviour("shutdown", "a log that cannot be written keeps the store open")
def test_closing_fails_and_the_store_stays_open_while_the_disk_is_sick(
    opener: Opener, disk: Disk
) -> None:
    store = opener(storage=disk)
    store.write("SET", "a", "1")
    disk.broken = True
    with pytest.raises(PersistenceError):
        store.close()
    assert store.do("GET", "a") == b"1"
    assert store.do("SET", "b", "1") == SICK
    disk.broken = False
    store.close()
    assert opener().keys() == [b"a"]


def test_closing_writes_what_still_waits(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk)
    store.do("SET", "a", "1")
    store.close()
    assert disk.synced[INCR] == os.path.getsize(disk.describe(INCR))
    assert opener().keys() == [b"a"]


# Rewriting ------------------------------------------------------------------------------------


@pytest.mark.behaviour(
    "BGREWRITEAOF", "the base takes the place of the log, the history is removed"
)
@pytest.mark.behaviour("manifest: files", "base, increment, history over a rewrite")
@either_way
@pytest.mark.parametrize("preamble", [True, False])
def test_a_rewrite_takes_the_place_of_the_log(
    opener: Opener, tmp_path: Path, preamble: bool
) -> None:
    store = opener(aof_use_rdb_preamble=preamble)
    for _ in range(100):
        store.write("INCR", "n")
    store.write("SET", "expires", "x", "PXAT", 4_102_444_800_000)
    store.do("SELECT", 7)
    store.write("SET", "elsewhere", "x")
    before, size = store.digest(), store.info("current_size")
    store.rewrite()
    kind = "rdb" if preamble else "aof"
    assert sorted(files(tmp_path)) == [
        f"appendonly.aof.2.base.{kind}",
        "appendonly.aof.2.incr.aof",
        "appendonly.aof.manifest",
    ]
    assert files(tmp_path)[f"appendonly.aof.2.base.{kind}"].startswith(
        b"REDIS" if preamble else b"*2\r\n"
    )
    assert store.info("rewrites") == 1
    assert store.info("last_bgrewrite_status") == "ok"
    assert store.info("current_size") == store.info("base_size")
    assert int(str(size)) > int(str(store.info("current_size")))
    assert store.digest() == before
    store = opener.reopen(store)
    assert store.digest() == before


@pytest.mark.behaviour("BGREWRITEAOF", "writes go on in a new increment")
@either_way
def test_writes_go_on_during_a_rewrite(opener: Opener, tmp_path: Path) -> None:
    store = opener(rdb_key_save_delay=SLOW)
    store.do("SELECT", 2)
    for n in range(5):
        store.write("SET", f"k{n}", n)
    assert store.do("BGREWRITEAOF") == "Background append only file rewriting started"
    store.write("SET", "during", "1")
    store.write("DEL", "k1")
    assert store.info("rewrite_in_progress") == 1
    # Replayed behind the new base it starts anew, so it says which database it means.
    assert incr(tmp_path, 2).startswith(request("SELECT", "2"))
    store.until(lambda: not store.info("rewrite_in_progress"))
    store.write("SET", "after", "1")
    before = store.digest()
    store = opener.reopen(store)
    assert store.digest() == before
    assert len(store.keys()) == 6


@pytest.mark.parametrize("preamble", [True, False])
def test_an_embedded_store_rewrites_its_log_while_it_is_used(
    tmp_path: Path, preamble: bool
) -> None:
    def rewriting(store: kvcore.Store) -> object:
        return store.instance.persistence.info()["aof_rewrite_in_progress"]

    options = {"save": "", "rdb_key_save_delay": 2000, "aof_use_rdb_preamble": preamble}
    with kvcore.open(str(tmp_path), "aof", **options) as store:
        for n in range(100):
            store.set(f"k{n}", n)
        store.execute("BGREWRITEAOF")
        n = 0
        while rewriting(store):
            store.execute("INCR", "during")
            store.execute("APPEND", f"k{n % 100}", ".")
            n += 1
        expected = digest.of_keyspace(store.instance.keyspace)
        assert n > 0
        assert store.instance.persistence.info()["aof_last_bgrewrite_status"] == "ok"
    with kvcore.open(str(tmp_path), "aof", **options) as store:
        assert digest.of_keyspace(store.instance.keyspace) == expected


@pytest.mark.behaviour("BGREWRITEAOF", "a crash during it costs nothing")
@either_way
def test_a_crash_during_a_rewrite_costs_nothing(opener: Opener, tmp_path: Path) -> None:
    store = opener(rdb_key_save_delay=SLOW)
    for n in range(5):
        store.write("SET", f"k{n}", n)
    store.do("BGREWRITEAOF")
    store.write("SET", "during", "1")
    before = store.digest()
    store.crash()
    (tmp_path / "appendonlydir" / "temp-rewriteaof-bg-12345.aof").write_bytes(b"REDIS001")
    store = opener()
    assert store.digest() == before
    assert not [name for name in files(tmp_path) if name.startswith("temp-")]
    store.rewrite()
    assert opener.reopen(store).digest() == before


@pytest.mark.behaviour("log: rewrite", "a killed child changes nothing and is told of")
@either_way
def test_a_killed_child_changes_nothing_and_is_told_of(opener: Opener, tmp_path: Path) -> None:
    store = opener(rdb_key_save_delay=SLOW)
    for n in range(5):
        store.write("SET", f"k{n}", n)
    store.do("BGREWRITEAOF")
    end_child(store)
    store.until(lambda: not store.info("rewrite_in_progress"))
    assert store.info("last_bgrewrite_status") == "err"
    assert store.info("rewrites_consecutive_failures") == 1
    assert sorted(files(tmp_path)) == [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.2.incr.aof",
        "appendonly.aof.manifest",
    ]
    store.write("SET", "after", "1")
    store.configure("rdb-key-save-delay", "0")
    store.rewrite()
    assert store.info("last_bgrewrite_status") == "ok"
    assert store.info("rewrites_consecutive_failures") == 0
    assert len(opener.reopen(store).keys()) == 6


@pytest.mark.behaviour("BGREWRITEAOF", "a child ended by SIGUSR1 is no failure")
def test_a_child_ended_by_usr1_is_no_failure(opener: Opener) -> None:
    store = opener(rdb_key_save_delay=SLOW)
    for n in range(5):
        store.write("SET", f"k{n}", n)
    store.do("BGREWRITEAOF")
    child = store.instance.active_child
    assert child is not None
    os.kill(child.pid, signal.SIGUSR1)
    store.until(lambda: not store.info("rewrite_in_progress"))
    assert store.info("last_bgrewrite_status") == "ok"


@pytest.mark.behaviour("log: rewrite", "no room for the base: everything as it was")
@either_way
def test_a_child_that_finds_no_room_leaves_everything_as_it_was(
    opener: Opener, disk: Disk, tmp_path: Path
) -> None:
    store = opener(storage=disk)
    store.write("SET", "a", random.Random(1).randbytes(500))
    before = files(tmp_path)
    disk.room = 250  # enough for the manifest
    store.rewrite()
    assert store.info("last_bgrewrite_status") == "err"
    after = files(tmp_path)
    assert after.pop("appendonly.aof.2.incr.aof") == b""
    assert {**after, "appendonly.aof.manifest": b""} == {**before, "appendonly.aof.manifest": b""}
    disk.room = None
    store.write("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


@pytest.mark.behaviour("log: rewrite", "no room for the increment: everything as it was")
def test_a_rewrite_that_cannot_begin_leaves_everything_as_it_was(
    opener: Opener, disk: Disk, tmp_path: Path
) -> None:
    store = opener(storage=disk)
    store.write("SET", "a", "1")
    before = files(tmp_path)["appendonly.aof.manifest"]
    disk.room = 5  # too little for a manifest
    assert store.do("BGREWRITEAOF") == (
        "-ERR Can't execute an AOF background rewriting. Please check the server logs for more "
        "information."
    )
    assert files(tmp_path)["appendonly.aof.manifest"] == before
    disk.room = None
    store.write("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


@pytest.mark.behaviour(
    "BGREWRITEAOF", "started, scheduled during a save or within EXEC, refused during a rewrite"
)
@either_way
def test_replies_of_bgrewriteaof(opener: Opener) -> None:
    store = opener(rdb_key_save_delay=SLOW)
    for n in range(5):
        store.write("SET", f"k{n}", n)
    assert store.do("BGREWRITEAOF", "now") == (
        "-ERR wrong number of arguments for 'bgrewriteaof' command"
    )
    assert store.do("BGREWRITEAOF") == "Background append only file rewriting started"
    assert store.do("BGREWRITEAOF") == (
        "-ERR Background append only file rewriting already in progress"
    )
    store.until(lambda: not store.info("rewrite_in_progress"))
    store.do("MULTI")
    store.do("BGREWRITEAOF")
    assert store.do("EXEC") == ["Background append only file rewriting scheduled"]
    assert store.info("rewrite_scheduled") == 1
    store.cron()
    assert store.info("rewrite_scheduled") == 0
    assert store.info("rewrite_in_progress") == 1


@pytest.mark.behaviour("auto-aof-rewrite-percentage", "growth since the last rewrite; 0: never")
@pytest.mark.behaviour("auto-aof-rewrite-min-size", "smaller logs are left alone")
@either_way
def test_the_log_is_rewritten_when_it_has_grown(opener: Opener) -> None:
    store = opener(auto_aof_rewrite_percentage=100, auto_aof_rewrite_min_size=1000)
    while int(str(store.info("current_size"))) <= 1000:
        assert store.info("rewrites") == 0
        store.write("INCR", "n")
        store.cron()
    store.write("INCR", "n")
    store.cron()
    assert store.info("rewrites") == 1
    store.until(lambda: not store.info("rewrite_in_progress"))
    store.cron()
    assert store.info("rewrites") == 1
    store.configure("auto-aof-rewrite-percentage", "0")
    store.write("SET", "big", "x" * 10_000)
    store.cron()
    assert store.info("rewrites") == 1


@pytest.mark.behaviour("back-off of rewrites", "after three failures 1, 2, 4 … 60 minutes")
@either_way
def test_rewrites_that_fail_again_and_again_have_to_wait(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk, auto_aof_rewrite_min_size=1000, rdb_key_save_delay=SLOW)
    store.write("SET", "big", "x" * 10_000)
    attempts = []
    for minute in range(30):
        store.cron(60)
        if store.instance.active_child is not None:
            attempts.append(minute)
            end_child(store)
    # Three at once; from then on 1, 2, 4 and 8 minutes after the tick that noticed the end.
    waits = [after - before for before, after in itertools.pairwise(attempts)]
    assert waits == [1, 1, 2, 3, 5, 9]
    assert store.do("BGREWRITEAOF") == "Background append only file rewriting started"


@pytest.mark.behaviour("aof-disable-auto-gc", "`yes`: replaced files stay until it is `no`")
def test_the_history_is_kept_while_it_is_wanted(opener: Opener, tmp_path: Path) -> None:
    store = opener(aof_disable_auto_gc=True)
    store.write("SET", "a", "1")
    store.rewrite()
    manifest = files(tmp_path)["appendonly.aof.manifest"].decode()
    assert "file appendonly.aof.1.base.rdb seq 1 type h\n" in manifest
    assert "file appendonly.aof.1.incr.aof seq 1 type h\n" in manifest
    assert "appendonly.aof.1.incr.aof" in files(tmp_path)
    store.configure("aof-disable-auto-gc", "no")
    assert "type h" not in files(tmp_path)["appendonly.aof.manifest"].decode()
    assert "appendonly.aof.1.incr.aof" not in files(tmp_path)
    assert opener.reopen(store).keys() == [b"a"]


@either_way
def test_a_snapshot_in_the_foreground_rewrites_the_log(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.do("SET", "pending", "1")
    store.policy.snapshot(store.instance.view())
    store.write("SET", "b", "1")
    assert sorted(files(tmp_path)) == [
        "appendonly.aof.2.base.rdb",
        "appendonly.aof.2.incr.aof",
        "appendonly.aof.manifest",
    ]
    store.crash()
    assert opener().keys() == [b"a", b"b", b"pending"]


# Starting -------------------------------------------------------------------------------------


def load_then_write_and_load_again(opener: Opener) -> list[bytes]:
    """What was there; checks that a later write survives too."""
    store = opener()
    keys = store.keys()
    store.write("SET", "later", "1")
    store.crash()
    store = opener()
    assert store.keys() == sorted([*keys, b"later"])
    store.close()
    return keys


@pytest.mark.behaviour(
    "AOF: torn end", "wherever: whole commits are loaded, the rest cut off, later writes survive"
)
@pytest.mark.behaviour("aof-load-truncated", "`yes`: a torn end of the last file is cut off")
@pytest.mark.behaviour(
    "1. a tail torn inside MULTI swallows later writes",
    "the transaction is cut off whole, later writes survive",
)
@pytest.mark.parametrize("zeroes", [0, 1, 5000])
def test_a_log_torn_anywhere_loads_whole_commits_and_later_writes_survive(
    opener: Opener, tmp_path: Path, zeroes: int
) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.transaction(("SET", "b", "2"), ("SET", "c", "3"))
    store.write("SET", "d", "4")
    store.close()
    whole = incr(tmp_path)
    path = tmp_path / INCR
    seen = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut] + bytes(zeroes))
        keys = load_then_write_and_load_again(opener)
        if keys not in seen:
            seen.append(keys)
    assert seen == [[], [b"a"], [b"a", b"b", b"c"], [b"a", b"b", b"c", b"d"]]


@pytest.mark.behaviour("aof-load-truncated", "`no`: refused, the file is left alone")
def test_a_torn_log_is_left_alone_if_told_so(opener: Opener, tmp_path: Path) -> None:
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": request("SET", "a", "1") + b"*3\r\n$3\r\nS"})
    with pytest.raises(CorruptData, match="Unexpected end of file reading the append only") as bad:
        opener(aof_load_truncated=False)
    assert bad.value.offset == len(request("SET", "a", "1"))
    assert incr(tmp_path).endswith(b"S")
    assert opener().keys() == [b"a"]


@pytest.mark.behaviour("aof-load-truncated", "zeroes that a crash left count as a torn end")
def test_zeroes_behind_a_log_are_left_alone_if_told_so(opener: Opener, tmp_path: Path) -> None:
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": request("SET", "a", "1") + bytes(70_000)})
    with pytest.raises(CorruptData, match=r"Unexpected end of file .*: 70000 zero bytes") as bad:
        opener(aof_load_truncated=False)
    assert bad.value.offset == len(request("SET", "a", "1"))
    assert incr(tmp_path).endswith(bytes(70_000))
    assert opener().keys() == [b"a"]


def test_zeroes_within_a_log_are_damage(opener: Opener, tmp_path: Path) -> None:
    text = request("SET", "a", "1")
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": text + bytes(100) + text})
    with pytest.raises(CorruptData, match="Bad file format"):
        opener()


@pytest.mark.behaviour("AOF: damage", "a log whose manifest is missing is refused, not left out")
def test_a_log_without_its_manifest_is_refused(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.close()
    path = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    manifest = path.read_bytes()
    path.unlink()
    before = files(tmp_path)
    with pytest.raises(CorruptData, match=r"manifest is missing, yet .*1\.incr\.aof lie there"):
        opener()
    assert files(tmp_path) == before
    path.write_bytes(manifest)
    assert opener().keys() == [b"a"]


@pytest.mark.behaviour("AOF: torn end", "only in the last file; elsewhere it is damage")
def test_only_the_last_file_may_be_torn(opener: Opener, tmp_path: Path) -> None:
    torn = request("SET", "a", "1")[:-3]
    write_log(
        tmp_path,
        {
            "appendonly.aof.1.incr.aof": torn,
            "appendonly.aof.2.incr.aof": request("SET", "b", "1"),
        },
    )
    before = files(tmp_path)
    with pytest.raises(CorruptData, match="the truncated file is not the last"):
        opener()
    assert files(tmp_path) == before
    # But an empty one behind it is what a crash leaves that came as soon as it was made.
    (tmp_path / "appendonlydir" / "appendonly.aof.2.incr.aof").write_bytes(b"")
    store = opener()
    assert store.keys() == []
    store.write("SET", "c", "1")
    assert opener.reopen(store).keys() == [b"c"]


@pytest.mark.behaviour("AOF: damage", "refused with file and offset, and left alone")
def test_damage_is_refused_with_its_place_and_left_alone(opener: Opener, tmp_path: Path) -> None:
    good = request("SET", "a", "1")
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": good + b"*1\r\n$-5\r\n" + good})
    before = files(tmp_path)
    with pytest.raises(CorruptData) as bad:
        opener()
    text = str(bad.value)
    assert text.startswith(f"{tmp_path / INCR} at offset {len(good) + 4}: Bad file format reading")
    assert "redis-check-aof --fix" in text
    assert files(tmp_path) == before


def test_a_damaged_base_is_refused_and_left_alone(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "some text")
    store.rewrite()
    store.close()
    path = tmp_path / "appendonlydir" / "appendonly.aof.2.base.rdb"
    whole = path.read_bytes()
    for damaged in (whole[:-5], whole[:20], whole.replace(b"some", b"sume")):
        path.write_bytes(damaged)
        before = files(tmp_path)
        with pytest.raises(CorruptData) as bad:
            opener()
        assert bad.value.path == str(path)
        assert files(tmp_path) == before


@pytest.mark.behaviour("manifest: files", "one that is named and missing is refused")
@pytest.mark.parametrize("missing", ["appendonly.aof.1.base.aof", "appendonly.aof.1.incr.aof"])
def test_a_file_that_the_manifest_names_must_be_there(
    opener: Opener, tmp_path: Path, missing: str
) -> None:
    write_log(
        tmp_path,
        {
            "appendonly.aof.1.base.aof": request("SET", "a", "1"),
            "appendonly.aof.1.incr.aof": request("SET", "b", "1"),
        },
    )
    (tmp_path / "appendonlydir" / missing).unlink()
    with pytest.raises(CorruptData, match=f"{missing} doesn't exist"):
        opener()


@pytest.mark.parametrize(
    "words",
    [("NOSUCH", "a"), ("SET", "a"), ("SHUTDOWN",), ("CLIENT", "KILL", "x"), ("PING",), ("WATCH",)],
)
def test_what_no_log_can_hold_is_refused(
    opener: Opener, tmp_path: Path, words: tuple[str, ...]
) -> None:
    good = request("SET", "a", "1")
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": good + request(*words)})
    with pytest.raises(CorruptData, match=words[0]) as bad:
        opener()
    assert bad.value.path == str(tmp_path / INCR)
    assert bad.value.offset == len(good)


@pytest.mark.behaviour("leftovers", "of a rewrite are removed at the next start")
@pytest.mark.behaviour(
    "4. temporary files of killed children stay", "temporary bases and unnamed files are removed"
)
def test_what_a_crash_left_unfinished_is_removed(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.close()
    before = sorted(files(tmp_path))
    for name in (
        "appendonly.aof.2.base.rdb",
        "appendonly.aof.7.base.aof",
        "temp-rewriteaof-bg-1.aof",
        "temp-appendonly.aof.manifest",
    ):
        (tmp_path / "appendonlydir" / name).write_bytes(b"whatever")
    (tmp_path / "appendonlydir" / "appendonly.aof.2.incr.aof").write_bytes(b"")
    (tmp_path / "appendonlydir" / "notes.txt").write_bytes(b"of somebody")
    store = opener()
    assert store.keys() == [b"a"]
    assert sorted(files(tmp_path)) == sorted([*before, "notes.txt"])


@pytest.mark.behaviour("manifest: files", "what it does not name is neither read nor overwritten")
def test_files_that_no_manifest_names_are_neither_read_nor_overwritten(
    opener: Opener, tmp_path: Path
) -> None:
    write_log(tmp_path, {"appendonly.aof.1.base.aof": request("SET", "a", "1")})
    stray = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    stray.write_bytes(request("SET", "stray", "1"))
    store = opener()
    assert store.keys() == [b"a"]
    store.write("SET", "b", "1")
    assert stray.read_bytes() == request("SET", "stray", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


@pytest.mark.behaviour("DEBUG LOADAOF", "loads all that was committed")
def test_a_store_that_runs_loads_all_that_was_committed(opener: Opener, disk: Disk) -> None:
    store = opener(storage=disk)
    make_slow(store, disk)
    disk.gate.clear()
    store.write("SET", "a", "1")
    store.cron(5)
    store.write("SET", "waits", "for the sync")
    before = store.digest()
    disk.gate.set()
    store.instance.reload(save=False)
    assert store.digest() == before
    store.write("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b", b"n", b"waits"]


# Changing the policy --------------------------------------------------------------------------


def test_a_snapshot_is_adopted(opener: Opener, tmp_path: Path) -> None:
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        embedded.set("a", "1")
        embedded.execute("SAVE")
    store = opener()
    assert store.keys() == [b"a"]
    store.write("SET", "b", "1")
    store = opener.reopen(store)
    assert store.keys() == [b"a", b"b"]
    assert (tmp_path / "dump.rdb").exists()


def test_a_log_that_is_replaced_on_demand_is_kept_under_other_names(
    opener: Opener, tmp_path: Path
) -> None:
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        embedded.set("snapshot", "1")
        embedded.execute("SAVE")
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": request("SET", "log", "1") + b"nonsense"})
    old = files(tmp_path)
    store = opener(load_from="rdb")
    assert store.keys() == [b"snapshot"]
    store.write("SET", "b", "1")
    kept = {name: text for name, text in files(tmp_path).items() if name.startswith("replaced-")}
    assert {name.split("-", 2)[2]: text for name, text in kept.items()} == old
    assert opener.reopen(store).keys() == [b"b", b"snapshot"]


def test_a_log_is_adopted_by_others(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    store.write("SET", "a", "1")
    store.write("SET", "b", "1")
    store.close()
    torn = incr(tmp_path)[:-1]
    (tmp_path / INCR).write_bytes(torn)
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        assert embedded.get("a") == b"1"
        assert len(embedded) == 1
    assert incr(tmp_path) == torn, "the files of an adopted log are left as they were"


@pytest.mark.behaviour("never silently empty", "an empty log over a snapshot counts as none")
def test_an_empty_log_is_no_data(opener: Opener, tmp_path: Path) -> None:
    with kvcore.open(str(tmp_path), "rdb", save="") as embedded:
        embedded.set("a", "1")
        embedded.execute("SAVE")
    write_log(tmp_path, {"appendonly.aof.1.base.aof": b"", "appendonly.aof.1.incr.aof": b""})
    store = opener()
    assert store.keys() == [b"a"]
    store.write("SET", "b", "1")
    assert opener.reopen(store).keys() == [b"a", b"b"]


def test_probing_reads_no_data(tmp_path: Path) -> None:
    from kvcore.config import Config
    from kvcore_aof import AofPersistence

    storage = LocalStorage(str(tmp_path))
    assert not AofPersistence.probe(storage, Config()).has_data
    write_log(tmp_path, {"appendonly.aof.1.incr.aof": b"what is in it does not matter"})
    found = AofPersistence.probe(storage, Config())
    assert found.files == (INCR,)
    assert found.mtime == os.path.getmtime(tmp_path / INCR)
    assert set(found.claims) == {"appendonlydir", "appendonly.aof"}
    write_log(tmp_path, {}, "nonsense\n")
    assert AofPersistence.probe(storage, Config()).has_data, "so that the load says what is wrong"
