"""The storage that fails: it keeps what was synced, may lose the rest, and is a storage else."""

from __future__ import annotations

import contextlib
import errno
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kvcore.storage import File, LocalStorage, Storage
from kvcore.testing.storage import CHANGING, FaultyStorage, PowerFailure, Tears

NAMES = ["a", "b", "f/a", "f/b"]
SEEDS = range(60)

name = st.sampled_from(NAMES)
data = st.sampled_from([b"", b"x", b"0123456789" * 60, b"y" * 2000])


@attrs.frozen
class Call:
    """One operation of a program that keeps its files open."""

    what: str
    name: str = ""
    other: str = ""
    data: bytes = b""
    size: int = 0


calls: SearchStrategy[list[Call]] = st.lists(
    st.one_of(
        st.builds(Call, st.just("create"), name),
        st.builds(Call, st.just("reopen"), name),
        st.builds(Call, st.just("append"), name, data=data),
        st.builds(Call, st.just("append"), name, data=data),
        st.builds(Call, st.just("sync"), name),
        st.builds(Call, st.just("truncate"), name, size=st.integers(0, 700)),
        st.builds(Call, st.just("rename"), name, name),
        st.builds(Call, st.just("remove"), name),
        st.builds(Call, st.just("sync_dir"), st.sampled_from(["", "f"])),
        st.builds(Call, st.just("replace"), name, data=data),
    ),
    max_size=25,
)
seeds = st.integers(0, 1000)
all_tears = st.sampled_from(["prefix", "zeros", "any"])


class Program:
    """Runs calls on a storage, and knows what must be durable."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.files: dict[str, File] = {}
        storage.make_folder("f")

    def run(self, call: Call) -> str:
        """The outcome: the kind of error, or nothing."""
        storage = self.storage
        try:
            if call.what in ("create", "reopen"):
                open_file = storage.create if call.what == "create" else storage.reopen
                self.files[call.name] = open_file(call.name)
            elif call.what in ("append", "sync", "truncate"):
                file = self.files.get(call.name)
                if file is None:
                    return "closed"
                if call.what == "append":
                    file.append(call.data)
                elif call.what == "sync":
                    file.sync()
                else:
                    file.truncate(min(call.size, file.size))
            elif call.what == "rename":
                storage.rename(call.name, call.other)
            elif call.what == "replace":
                storage.replace(call.name, call.data)
            elif call.what == "remove":
                storage.remove(call.name)
            else:
                storage.sync_dir(call.name)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        finally:
            if call.what in ("rename", "remove", "replace"):  # those handles mean other files now
                self.files.pop(call.name, None)
                self.files.pop(call.other, None)
        return ""


def put(storage: FaultyStorage, name: str, content: bytes) -> File:
    """A file that no power failure can take."""
    file = storage.create(name)
    file.append(content)
    file.sync()
    storage.sync_dir(name.rpartition("/")[0])
    return file


def crashes(storage: FaultyStorage) -> list[dict[str, bytes]]:
    """What many power failures at this moment would leave."""
    found = []
    for seed in SEEDS:
        copy = storage.copy()
        copy.chance.seed(seed)
        found.append(copy.crash().contents())
    return found


# As a storage -------------------------------------------------------------------------------------


@given(calls)
def test_without_faults_it_is_like_a_local_folder(script: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        faulty, local = FaultyStorage(), LocalStorage(folder)
        programs = Program(faulty), Program(local)
        for call in script:
            outcomes = [program.run(call) for program in programs]
            assert outcomes[0] == outcomes[1], call
        for folder_name in ("", "f", "absent"):
            assert faulty.list(folder_name) == local.list(folder_name)
        for name in NAMES:
            found, expected = faulty.stat(name), local.stat(name)
            assert (found is None) == (expected is None)
            if found and expected:
                assert found.size == expected.size
                with faulty.open(name) as one, local.open(name) as other:
                    assert one.read(10) == other.read(10)
                    assert one.seek(-min(5, found.size), 2) == other.seek(-min(5, found.size), 2)
                    assert one.read() == other.read()
        for program in programs:
            for file in program.files.values():
                file.close()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "f/../x", "f/g/x", "f//x", "."])
def test_names_that_the_contract_does_not_allow_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        FaultyStorage().create(name)


def test_a_file_that_is_absent_cannot_be_opened() -> None:
    storage = FaultyStorage()
    for use in (storage.open, storage.reopen, lambda name: storage.rename(name, "b")):
        with pytest.raises(FileNotFoundError):
            use("a")
    storage.remove("a")
    with pytest.raises(FileNotFoundError):
        storage.create("folder/a")


def test_what_changes_later_is_newer() -> None:
    storage = FaultyStorage()
    put(storage, "a", b"1")
    file = put(storage, "b", b"1")
    first, second = storage.stat("a"), storage.stat("b")
    assert first
    assert second
    assert second.mtime > first.mtime
    file.append(b"2")
    third = storage.stat("b")
    assert third
    assert third.mtime > second.mtime


# Power failures -----------------------------------------------------------------------------------


@given(calls, seeds, all_tears)
def test_what_was_synced_is_there_after_a_crash(
    script: list[Call], seed: int, tears: Tears
) -> None:
    """A file written and synced, name and all, and then left alone."""
    storage = FaultyStorage(seed, tears=tears)
    program = Program(storage)
    put(storage, "f/kept", b"kept" * 300)
    storage.replace("manifest", b"kept, too")
    for call in script:
        program.run(call)
    contents = storage.crash().contents()
    assert contents["f/kept"] == b"kept" * 300
    assert contents["manifest"] == b"kept, too"


@given(calls, seeds, all_tears)
def test_after_syncing_everything_a_crash_takes_nothing(
    script: list[Call], seed: int, tears: Tears
) -> None:
    storage = FaultyStorage(seed, tears=tears)
    program = Program(storage)
    for call in script:
        program.run(call)
    for name in storage.contents():
        with contextlib.closing(storage.reopen(name)) as file:
            file.sync()
    storage.sync_dir("")
    storage.sync_dir("f")
    assert storage.unsynced() == []
    before = storage.contents()
    assert storage.durable() == before
    assert storage.crash().contents() == before


@given(calls, seeds, all_tears)
def test_a_crash_leaves_what_another_crash_leaves_as_well(
    script: list[Call], seed: int, tears: Tears
) -> None:
    storage = FaultyStorage(seed, tears=tears)
    program = Program(storage)
    for call in script:
        program.run(call)
    after = storage.crash()
    assert after.unsynced() == []
    assert after.crash().contents() == after.contents()


@given(st.lists(data, max_size=6), st.integers(0, 6), seeds)
def test_a_file_of_appends_is_cut_at_most(pieces: list[bytes], synced: int, seed: int) -> None:
    storage = FaultyStorage(seed, tears="prefix")
    file = put(storage, "a", b"")
    for number, piece in enumerate(pieces):
        file.append(piece)
        if number < synced:
            file.sync()
    left = storage.crash().contents()["a"]
    assert b"".join(pieces).startswith(left)
    assert left.startswith(b"".join(pieces[:synced]))


def test_tears_are_as_cruel_as_they_say() -> None:
    first, second = b"1" * 600, b"2" * 600
    shapes: dict[Tears, set[str]] = {}
    tears: Tears
    for tears in ("prefix", "zeros", "any"):
        storage = FaultyStorage(tears=tears)
        file = put(storage, "a", b"0")
        file.append(first)
        file.append(second)
        shapes[tears] = set()
        for contents in crashes(storage):
            left = contents["a"]
            body = left.rstrip(b"\0")
            assert left[:1] == b"0"
            if body == (b"0" + first + second)[: len(body)]:
                shapes[tears].add("zeros behind" if body != left else "cut")
            else:
                shapes[tears].add("holes")
    assert shapes == {
        "prefix": {"cut"},
        "zeros": {"cut", "zeros behind"},
        "any": {"cut", "zeros behind", "holes"},
    }


def test_names_survive_in_any_order_that_is_permitted() -> None:
    storage = FaultyStorage()
    put(storage, "old", b"old")
    put(storage, "new", b"new")
    storage.rename("new", "data")
    storage.remove("old")
    found = {tuple(contents) for contents in crashes(storage)}
    assert found == {("data",), ("data", "old"), ("new", "old"), ("new",)}


def test_changes_of_one_name_survive_in_order() -> None:
    storage = FaultyStorage()
    put(storage, "a", b"1")
    storage.rename("a", "b")
    put_unnamed(storage, "a", b"2")
    found = {tuple(contents.items()) for contents in crashes(storage)}
    assert found == {
        (("a", b"1"),),
        (("b", b"1"),),
        (("a", b"2"), ("b", b"1")),
    }


def put_unnamed(storage: FaultyStorage, name: str, content: bytes) -> None:
    """A file whose bytes are durable, but not its name."""
    with contextlib.closing(storage.create(name)) as file:
        file.append(content)
        file.sync()


def test_a_rename_replaces_in_one_step() -> None:
    storage = FaultyStorage()
    put(storage, "a", b"old")
    put_unnamed(storage, "temp", b"new")
    storage.rename("temp", "a")
    found = {contents["a"] for contents in crashes(storage)}
    assert found == {b"old", b"new"}


def test_a_file_that_was_renamed_before_its_bytes_were_synced_may_be_empty_or_torn() -> None:
    storage = FaultyStorage()
    put(storage, "a", b"old")
    file = storage.create("temp")
    file.append(b"new and long")
    storage.rename("temp", "a")
    storage.sync_dir()
    found = {contents["a"] for contents in crashes(storage)}
    assert b"" in found
    assert b"new and long" in found
    assert any(0 < len(content) < 12 for content in found)
    assert b"old" not in found


def test_a_rename_between_folders_is_made_durable_by_the_folder_it_goes_to() -> None:
    storage = FaultyStorage()
    storage.make_folder("f")
    put_unnamed(storage, "a", b"1")
    storage.rename("a", "f/a")
    assert {tuple(contents) for contents in crashes(storage)} == {(), ("a",), ("f/a",)}
    storage.sync_dir("f")
    assert {tuple(contents) for contents in crashes(storage)} == {("f/a",)}
    storage.sync_dir()
    assert {tuple(contents) for contents in crashes(storage)} == {("f/a",)}


def test_the_worst_crash_takes_all_that_was_not_synced() -> None:
    storage = FaultyStorage()
    file = put(storage, "a", b"1")
    file.append(b"2")
    put_unnamed(storage, "b", b"1")
    storage.rename("a", "c")
    assert storage.crash(worst=True).contents() == {"a": b"1"}


@given(calls, seeds)
def test_the_same_seed_meets_the_same_fate(script: list[Call], seed: int) -> None:
    left = []
    for _ in range(2):
        storage = FaultyStorage(seed, tears="any")
        program = Program(storage)
        storage.power_fails_after(len(script) // 2)
        with contextlib.suppress(PowerFailure):
            for call in script:
                program.run(call)
        left.append((storage.crash().contents(), list(storage.log)))
    assert left[0] == left[1]


@pytest.mark.parametrize("after", range(8))
def test_the_power_fails_in_the_operation_that_was_asked_for(after: int) -> None:
    storage = FaultyStorage()
    storage.power_fails_after(after)
    with contextlib.suppress(PowerFailure):
        for _ in range(4):
            put(storage, "a", b"1")
    assert storage.operations == after + 1
    assert storage.is_off
    with pytest.raises(PowerFailure):
        storage.list()
    with pytest.raises(PowerFailure):
        storage.create("b")
    after_crash = storage.crash()
    assert not after_crash.is_off
    put(after_crash, "b", b"1")


def test_what_a_dead_process_still_does_reaches_nobody() -> None:
    storage = FaultyStorage()
    file = put(storage, "a", b"1")
    for after in (storage.crash(), storage.kill()):
        file.append(b"2")
        file.sync()
        storage.remove("a")
        assert after.contents() == {"a": b"1"}
        file = put(storage, "a", b"1")


# Processes ----------------------------------------------------------------------------------------


@given(calls, seeds)
def test_a_kill_takes_nothing_and_saves_nothing(script: list[Call], seed: int) -> None:
    storage = FaultyStorage(seed)
    program = Program(storage)
    for call in script:
        program.run(call)
    before = storage.contents(), storage.durable(), storage.unsynced()
    after = storage.kill()
    assert (after.contents(), after.durable(), after.unsynced()) == before
    assert after.pid != storage.pid


def test_operations_may_come_from_several_threads() -> None:
    storage = FaultyStorage()

    def write(name: str) -> None:
        file = storage.create(name)
        for number in range(200):
            file.append(b"%03d" % number)
            file.sync()
        storage.sync_dir()

    threads = [threading.Thread(target=write, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = b"".join(b"%03d" % number for number in range(200))
    assert storage.crash().contents() == {f"t{i}": whole for i in range(4)}


# Faults -------------------------------------------------------------------------------------------


def operations(storage: FaultyStorage, file: File) -> dict[str, Callable[[], object]]:
    return {
        "create": lambda: storage.create("b"),
        "append": lambda: file.append(b"more"),
        "truncate": lambda: file.truncate(0),
        "sync": file.sync,
        "rename": lambda: storage.rename("a", "b"),
        "link": lambda: storage.link("a", "b"),
        "remove": lambda: storage.remove("a"),
        "make_folder": lambda: storage.make_folder("f"),
        "sync_dir": storage.sync_dir,
        "open": lambda: storage.open("a"),
        "reopen": lambda: storage.reopen("a"),
        "read": lambda: storage.open("a").read(),
    }


@pytest.mark.parametrize("what", [*CHANGING, "open", "reopen", "read"])
def test_any_operation_may_be_planned_to_fail(what: str) -> None:
    storage = FaultyStorage()
    run = operations(storage, put(storage, "a", b"1"))[what]
    storage.fail(what, times=2, error=errno.EROFS)
    for failed in (1, 2):
        with pytest.raises(OSError, match="Read-only"):
            run()
        assert storage.faults == failed
    if what != "append":
        assert storage.contents() == {"a": b"1"}
    run()


def test_a_fault_waits_for_its_turn_and_its_file() -> None:
    storage = FaultyStorage()
    storage.fail("sync", after=1, name="b")
    put(storage, "a", b"1")
    put(storage, "a", b"1")
    put(storage, "b", b"1")
    with pytest.raises(OSError, match="Input/output"):
        put(storage, "b", b"1")
    put(storage, "b", b"1")


def test_a_fault_may_last_until_the_disk_is_healed() -> None:
    storage = FaultyStorage()
    storage.fail("create", times=-1)
    for _ in range(5):
        with pytest.raises(OSError, match="Input/output"):
            storage.create("a")
    storage.heal()
    storage.create("a")


@given(st.binary(min_size=1, max_size=50), seeds)
def test_a_failing_append_tells_how_much_is_there(content: bytes, seed: int) -> None:
    storage = FaultyStorage(seed)
    file = put(storage, "a", b"before")
    storage.fail("append")
    with pytest.raises(OSError, match="Input/output"):
        file.append(content)
    left = storage.contents()["a"]
    assert file.size == len(left)
    assert (b"before" + content).startswith(left)
    file.truncate(6)
    file.append(b"after")
    assert storage.contents()["a"] == b"beforeafter"


def test_a_full_disk_takes_what_fits() -> None:
    storage = FaultyStorage()
    file = put(storage, "a", b"12345")
    storage.capacity = 8
    with pytest.raises(OSError, match="No space left"):
        file.append(b"67890")
    assert (file.size, storage.contents()["a"]) == (8, b"12345678")
    with pytest.raises(OSError, match="No space left"):
        storage.create("b")
    file.truncate(4)
    put(storage, "b", b"1234")
    storage.remove("a")
    put(storage, "c", b"1234")
    with pytest.raises(OSError, match="No space left"):
        put(storage, "d", b"1")
    storage.heal()
    put(storage, "d", b"1")


def test_the_pages_of_a_failed_sync_are_lost_though_the_next_one_succeeds() -> None:
    outcomes = set()
    for seed in SEEDS:
        storage = FaultyStorage(seed)
        file = put(storage, "a", b"1")
        file.append(b"2" * 10)
        storage.fail("sync")
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
        file.append(b"3")
        file.sync()
        whole = b"1" + b"2" * 10 + b"3"
        assert storage.contents()["a"] == whole  # the process reads it back
        left = storage.crash().contents()["a"]
        assert (left[:1], left[-1:], len(left)) == (b"1", b"3", len(whole))
        assert set(left[1:-1]) <= set(b"2\0")
        assert (left == whole) == (storage.durable()["a"] == whole)
        outcomes.add(left == whole)
    assert False in outcomes


def test_a_file_written_anew_after_a_failed_sync_can_be_believed() -> None:
    storage = FaultyStorage()
    file = put(storage, "a", b"1")
    file.append(b"2" * 10)
    storage.fail("sync")
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    storage.replace("a", b"1" + b"2" * 10)
    assert storage.unsynced() == []
    assert storage.crash(worst=True).contents() == {"a": b"1" + b"2" * 10}


def test_it_counts_and_tells_what_was_done(tmp_path: Path) -> None:
    storage = FaultyStorage()
    put(storage, "a", b"12345")
    storage.fail("sync")
    with pytest.raises(OSError, match="Input/output"):
        put(storage, "b", b"1")
    assert storage.counts["sync"] == 2
    assert storage.written == 6
    assert list(storage.log) == [
        "create a",
        "append a 5 bytes at 0",
        "sync a",
        "sync_dir .",
        "create b",
        "append b 1 bytes at 0",
        "sync b -> EIO",
    ]


def test_it_may_begin_with_files() -> None:
    storage = FaultyStorage.of({"a": b"1", "f/b": b"2"})
    assert storage.unsynced() == []
    assert storage.list() == ["a", "f"]
    assert storage.crash(worst=True).contents() == {"a": b"1", "f/b": b"2"}
