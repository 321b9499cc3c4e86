"""A file system in memory that may lose power at any moment, and whose faults are planned.

Theory of operation
===================

A file's bytes exist twice: in the *cache*, which every process reads and writes, and on the
*disk*, which is all that a power failure leaves. What was done to the cache since the last good
`sync` is kept as a list of changes; `sync` applies them to the disk. So do names: creations,
renames and removals are a list of pending changes until `sync_dir`.

`FaultyStorage.crash` decides with its random numbers what of those lists the disk has seen:

* of names any subset, but changes of one name in order (a removal may survive although the rename
  before it did not, if they are about different files);
* of a file's bytes what ``tears`` says, from the tame to the cruel:

  ==========  =====================================================================
  ``prefix``  the changes up to some byte: a file ends early, at any place
  ``zeros``   so, and the rest of the file's length may be there, filled with zeroes
  ``any``     any subset of the sectors (512 bytes), zeroes for the others, any length
  ==========  =====================================================================

A `sync` that fails has written any part, and drops the rest, as Linux does: the process goes on
reading what it wrote, later syncs succeed, and after a crash zeroes (or old bytes) lie there.

All is decided by ``seed``: the same operations meet the same fate. Names, offsets and sizes are
those of `kvcore.storage`. Operations may come from any thread.
"""

from __future__ import annotations

import errno
import io
import os
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from kvcore.storage import File, Stat, Storage
from kvcore.testing.children import StepChild

if TYPE_CHECKING:
    from kvcore.keyspace import Keyspace
    from kvcore.persistence import View

Tears = Literal["prefix", "zeros", "any"]

SECTOR: Final = 512
START: Final = 1_700_000_000.0  # Unix seconds of the first change
TICK_S: Final = 0.001  # what each change takes, by the clock of `Storage.stat`
FIRST_PID: Final = 1000
CHANGING: Final = (
    "create",
    "append",
    "truncate",
    "sync",
    "rename",
    "link",
    "remove",
    "make_folder",
    "sync_dir",
)
"""Operations in which the power may fail. These, ``open``, ``reopen`` and ``read`` may `fail`."""


class PowerFailure(BaseException):
    """The power failed in this operation: the process is dead, take what `crash` returns.

    No Exception, so that a policy's handling of errors does not take it for one.
    """


class Inode:
    """One file, whatever it is called.

    ``cache``    the bytes as every process sees them
    ``disk``     the bytes that no power failure can take
    ``changes``  what the disk has not seen: (offset, bytes), or (size, None) for a truncation
    ``lost``     a sync failed: the disk differs from the cache and no later sync will tell
    """

    cache: bytearray
    disk: bytearray
    changes: list[tuple[int, bytes | None]]
    lost: bool
    mtime: float

    def __init__(self, mtime: float) -> None:
        self.cache = bytearray()
        self.disk = bytearray()
        self.changes = []
        self.lost = False
        self.mtime = mtime

    def copy(self) -> Inode:
        other = Inode(self.mtime)
        other.cache = bytearray(self.cache)
        other.disk = bytearray(self.disk)
        other.changes = list(self.changes)
        other.lost = self.lost
        return other

    def change(self, offset: int, data: bytes | None) -> None:
        _apply(self.cache, offset, data)
        self.changes.append((offset, data))
        if offset == 0 and data is None:
            self.lost = False  # nothing is left that could have been lost

    def sync(self) -> None:
        for offset, data in self.changes:
            _apply(self.disk, offset, data)
        self.changes = []

    def fail_sync(self, chance: random.Random, tears: Tears) -> None:
        """Write some part, and forget the rest."""
        if self.changes:
            self.disk = self.survivor(chance, tears)
            self.changes = []
            self.lost = self.disk != self.cache

    def survivor(self, chance: random.Random, tears: Tears) -> bytearray:
        """What a power failure may leave of the bytes."""
        left = bytearray(self.disk)
        fate = chance.random()
        if not self.changes or fate < 0.2:
            return left
        if fate < 0.4:
            return self._all_but(left, len(self.changes), 0)
        if tears == "any":
            self._scatter(left, chance)
        else:
            whole = chance.randrange(len(self.changes))
            torn = self.changes[whole][1]
            self._all_but(left, whole, chance.randint(0, len(torn)) if torn else 0)
        if tears != "prefix" and chance.random() < 0.5 and len(left) < len(self.cache):
            left.extend(bytes(chance.randint(0, len(self.cache) - len(left))))
        return left

    def _all_but(self, left: bytearray, whole: int, more: int) -> bytearray:
        """Apply so many changes, and so many bytes of the next one."""
        for offset, data in self.changes[:whole]:
            _apply(left, offset, data)
        if more:
            offset, data = self.changes[whole]
            assert data is not None
            _apply(left, offset, data[:more])
        return left

    def _scatter(self, left: bytearray, chance: random.Random) -> None:
        """Apply any of the sectors, and any of the truncations."""
        share = chance.random()
        for offset, data in self.changes:
            if data is None:
                if chance.random() < share:
                    _apply(left, offset, None)
                continue
            end = offset + len(data)
            at = offset
            while at < end:
                until = min(end, at - at % SECTOR + SECTOR)
                if chance.random() < share:
                    _apply(left, at, data[at - offset : until - offset])
                at = until


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write ``data`` at an offset, or cut (or lengthen) to a size."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


class _Rename:
    """A change of names that is not durable yet: ``old`` goes, ``new`` is ``inode`` from now on.

    A creation has no ``old``, a removal no ``new``. It is durable once ``folder`` is synced.
    """

    def __init__(self, old: str, new: str, inode: Inode | None) -> None:
        self.old = old
        self.new = new
        self.inode = inode
        self.folder = os.path.dirname(new or old)

    def touches(self, names: Iterable[str]) -> bool:
        return self.old in names or self.new in names

    @property
    def names(self) -> list[str]:
        return [name for name in (self.old, self.new) if name]

    def apply(self, names: dict[str, Inode]) -> None:
        if self.old:
            names.pop(self.old, None)
        if self.new and self.inode is not None:
            names[self.new] = self.inode


class _Fault:
    """A planned error: see `FaultyStorage.fail`."""

    def __init__(self, operation: str, skip: int, times: int, number: int, part: str) -> None:
        self.operation = operation
        self.skip = skip
        self.times = times
        self.number = number
        self.part = part

    def strikes(self, operation: str, name: str) -> bool:
        if self.times == 0 or operation != self.operation or self.part not in name:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class FaultyStorage(Storage):
    """A `kvcore.storage.Storage` in memory for tests: see the module for what it models.

    >>> storage = FaultyStorage(seed=1)
    >>> storage.fail("sync", after=2)           # the third fsync fails with EIO
    >>> storage.power_fails_after(10)           # the eleventh change raises PowerFailure
    >>> storage = storage.crash()               # what the power failure has left

    ``capacity``    bytes that fit on the disk, None for enough; then ENOSPC, after a short write
    ``operations``  how many changes were made (or tried)
    ``faults``      how many operations have failed by plan or for lack of room
    ``counts``      operations by name; ``written`` counts bytes
    ``log``         the last operations, for messages
    ``pid``         of the process that uses it; each `crash` or `kill` brings another
    """

    capacity: int | None
    operations: int
    faults: int
    counts: Counter[str]
    written: int
    log: deque[str]
    pid: int

    def __init__(self, seed: int = 0, *, tears: Tears = "prefix") -> None:
        self.seed = seed
        self.tears: Tears = tears
        self.chance = random.Random(seed)
        self.capacity = None
        self.operations = 0
        self.faults = 0
        self.counts = Counter()
        self.written = 0
        self.log = deque(maxlen=300)
        self.pid = FIRST_PID
        self._names: dict[str, Inode] = {}
        self._disk_names: dict[str, Inode] = {}
        self._pending: list[_Rename] = []
        self._folders: set[str] = {""}
        self._plan: list[_Fault] = []
        self._power: int | None = None  # changes until it fails
        self._dead = False
        self._clock = START
        self._lock = threading.RLock()
        self._children: dict[int, StepChild] = {}

    @classmethod
    def of(cls, contents: Mapping[str, bytes], *, tears: Tears = "prefix") -> FaultyStorage:
        """A storage that holds these files, durably."""
        storage = cls(tears=tears)
        for name, content in contents.items():
            inode = Inode(storage._time())
            inode.cache = bytearray(content)
            inode.disk = bytearray(content)
            storage._names[_checked(name)] = storage._disk_names[name] = inode
            storage._folders.add(os.path.dirname(name))
        return storage

    # Planning ---------------------------------------------------------------------------------

    def fail(
        self,
        operation: str,
        *,
        after: int = 0,
        times: int = 1,
        error: int = errno.EIO,
        name: str = "",
    ) -> None:
        """Let an operation fail: after ``after`` good ones, ``times`` times (-1: for ever).

        ``operation`` is a method of Storage or File, or ``read``. ``name`` restricts it to files
        whose name contains it. An ``append`` that fails has written any part of its bytes.
        """
        self._plan.append(_Fault(operation, after, times, error, name))

    def power_fails_after(self, operations: int | None) -> None:
        """Let the power fail in the change after so many more; None: not at all.

        That change, and all operations after it, raise `PowerFailure`.
        """
        self._power = operations

    def fill(self) -> None:
        """The disk is full from now on (until `heal`, or as far as files are removed)."""
        self.capacity = self.used

    def heal(self) -> None:
        """Forget all planned faults but a power failure; there is room again."""
        with self._lock:
            self._plan = []
            self.capacity = None

    @property
    def is_off(self) -> bool:
        """Whether the power has failed, maybe on another thread; `crash` turns it on again."""
        return self._dead

    # Failing ----------------------------------------------------------------------------------

    def crash(self, *, worst: bool = False) -> FaultyStorage:
        """The power fails now (or has): a new storage with what that may leave.

        ``worst``: nothing that was not synced is left; otherwise chance has it.

        What is done to this one from then on has no effect on the new one, and meets no faults:
        so the store that was open may be closed, if only to end its threads.
        """
        with self._lock:
            after = self._successor()
            after.pid += 10
            memo: dict[int, Inode] = {}
            names = self._disk_names if worst else self._surviving_names()
            for name, inode in names.items():
                if id(inode) not in memo:
                    copy = memo[id(inode)] = Inode(inode.mtime)
                    copy.disk = inode.disk if worst else inode.survivor(self.chance, self.tears)
                    copy.cache = bytearray(copy.disk)
                after._names[name] = after._disk_names[name] = memo[id(inode)]
            self._retire(after, "the power failed")
        return after

    def kill(self) -> FaultyStorage:
        """The process is killed (kill -9) and its children with it, the machine goes on.

        As `crash`, but nothing that was written is lost. It is not durable by that either.
        """
        with self._lock:
            after = self.copy()
            after.pid += 10
            self._retire(after, "the process was killed")
        return after

    def copy(self) -> FaultyStorage:
        """Another storage with the same files, synced as far as these, and no faults planned."""
        memo: dict[int, Inode] = {}

        def copied(inode: Inode) -> Inode:
            return memo.setdefault(id(inode), inode.copy())

        with self._lock:
            after = self._successor()
            after._names = {name: copied(inode) for name, inode in self._names.items()}
            after._disk_names = {name: copied(inode) for name, inode in self._disk_names.items()}
            for change in self._pending:
                inode = None if change.inode is None else copied(change.inode)
                after._pending.append(_Rename(change.old, change.new, inode))
        return after

    def _successor(self) -> FaultyStorage:
        after = FaultyStorage(self.chance.getrandbits(32), tears=self.tears)
        after._folders = set(self._folders)
        after._clock = self._clock
        after.pid = self.pid
        return after

    def _retire(self, after: FaultyStorage, what: str) -> None:
        after.log = deque([*self.log, f"--- {what}"], maxlen=self.log.maxlen)
        for child in list(self._children.values()):
            child.end()
        self._children.clear()
        self.heal()
        self._power = None
        self._dead = False

    def _surviving_names(self) -> dict[str, Inode]:
        names = dict(self._disk_names)
        share = self.chance.choice((0.0, 0.5, 0.5, 0.9, 1.0))
        gone: set[str] = set()  # names whose later changes cannot have happened either
        for change in self._pending:
            if change.touches(gone) or self.chance.random() >= share:
                gone.update(change.names)
            else:
                change.apply(names)
        return names

    # Looking ----------------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(len(inode.cache) for inode in {id(i): i for i in self._names.values()}.values())

    def contents(self) -> dict[str, bytes]:
        """Every file with its bytes, as a process would read them."""
        with self._lock:
            return {name: bytes(inode.cache) for name, inode in sorted(self._names.items())}

    def durable(self) -> dict[str, bytes]:
        """Every file with its bytes, as far as no power failure can take them."""
        with self._lock:
            return {name: bytes(inode.disk) for name, inode in sorted(self._disk_names.items())}

    def unsynced(self) -> list[str]:
        """Files that a power failure may harm: of their bytes or of their name."""
        with self._lock:
            new = {change.new for change in self._pending}
            return [
                name
                for name, inode in sorted(self._names.items())
                if inode.changes or inode.lost or name in new
            ]

    def describe(self, name: str = "") -> str:
        return f"(faulty)/{name}"

    def getpid(self) -> int:
        """``os.getpid()`` as the calling thread should see it: a child has its own."""
        child = self._children.get(threading.get_ident())
        return self.pid if child is None else child.pid

    # Children ---------------------------------------------------------------------------------

    def start_child(
        self,
        purpose: str,
        keyspace: Keyspace,
        task: Callable[[View, Callable[[int], None]], None],
    ) -> StepChild:
        """A child on a thread that goes on, some operations at a time, when it is polled."""
        pid = self.pid + 1 + self.counts["start_child"] % 9
        self.counts["start_child"] += 1
        return StepChild(purpose, pid, keyspace, task, self.chance, self._children)

    def finish_children(self) -> None:
        """Let what runs in the background come to its end."""
        for child in list(self._children.values()):
            child.wait()

    # The operations ---------------------------------------------------------------------------

    def open(self, name: str) -> BinaryIO:
        self._begin("open", name)
        with self._lock:
            return io.BufferedReader(_Reader(self, name, self._inode(name)))

    def create(self, name: str) -> File:
        path = _checked(name)

        def effect() -> None:
            if os.path.dirname(path) not in self._folders:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            inode = self._names.get(path)
            if inode is None:
                if self._room(1) == 0:
                    self.faults += 1
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
                self._change_names("", path, Inode(self._time()))
            else:
                inode.change(0, None)
                inode.mtime = self._time()

        self._do("create", name, effect)
        with self._lock:
            return FaultyFile(self, name, self._inode(name))

    def reopen(self, name: str) -> File:
        self._begin("reopen", name)
        with self._lock:
            return FaultyFile(self, name, self._inode(name))

    def stat(self, name: str) -> Stat | None:
        path = _checked(name)
        with self._lock:
            self._check()
            inode = self._names.get(path)
            if inode is not None:
                return Stat(len(inode.cache), inode.mtime)
            return Stat(0, START) if path in self._folders else None

    def list(self, folder: str = "") -> list[str]:
        with self._lock:
            self._check()
            inside = [name for name in self._names if os.path.dirname(name) == folder]
            if not folder:
                inside += [name for name in self._folders if name]
            return sorted(os.path.basename(name) for name in inside)

    def make_folder(self, folder: str) -> None:
        path = _checked(folder)

        def effect() -> None:
            self._folders.add(path)
            self._sync_names("")

        self._do("make_folder", folder, effect)

    def rename(self, old: str, new: str) -> None:
        source, target = _checked(old), _checked(new)

        def effect() -> None:
            inode = self._inode(source)
            if os.path.dirname(target) not in self._folders:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), new)
            if source != target:
                self._change_names(source, target, inode)

        self._do("rename", f"{old} -> {new}", effect)

    def link(self, name: str, other: str) -> None:
        source, target = _checked(name), _checked(other)

        def effect() -> None:
            inode = self._inode(source)
            if target in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), other)
            self._change_names("", target, inode)

        self._do("link", f"{name} -> {other}", effect)

    def remove(self, name: str) -> None:
        path = _checked(name)

        def effect() -> None:
            if path in self._names:
                self._change_names(path, "", None)

        self._do("remove", name, effect)

    def sync_dir(self, folder: str = "") -> None:
        self._do("sync_dir", folder or ".", lambda: self._sync_names(folder))

    # How an operation goes --------------------------------------------------------------------

    def _begin(self, operation: str, name: str) -> None:
        """Count an operation, and let it fail if that is planned."""
        child = self._children.get(threading.get_ident())
        if child is not None:
            child.pause()
        with self._lock:
            self._check()
            self.counts[operation] += 1
            who = "" if child is None else f"{child.purpose} child: "
            self.log.append(f"{who}{operation} {name}")
            for fault in self._plan:
                if fault.strikes(operation, name):
                    self.faults += 1
                    self.log[-1] += f" -> {errno.errorcode.get(fault.number, fault.number)}"
                    raise OSError(fault.number, os.strerror(fault.number), name)

    def _do(self, operation: str, name: str, effect: Callable[[], None]) -> None:
        """A change, unless it fails by plan; the power may fail before it, or behind it."""
        self._begin(operation, name)
        with self._lock:
            if self._power_is_off():
                if self.chance.random() < 0.5:
                    effect()
                raise PowerFailure(f"{operation} {name}")
            effect()

    def _check(self) -> None:
        if self._dead:
            raise PowerFailure("the power is off")

    def _power_is_off(self) -> bool:
        self.operations += 1
        if self._power is None:
            return False
        self._power -= 1
        if self._power < 0:
            self._dead = True
            self.log[-1] += " -> power failure"
        return self._dead

    def _time(self) -> float:
        self._clock += TICK_S
        return self._clock

    def _inode(self, name: str) -> Inode:
        inode = self._names.get(_checked(name))
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return inode

    def _room(self, wanted: int) -> int:
        """How many of these bytes fit on the disk."""
        if self.capacity is None:
            return wanted
        return max(0, min(wanted, self.capacity - self.used))

    def _change_names(self, old: str, new: str, inode: Inode | None) -> None:
        change = _Rename(old, new, inode)
        change.apply(self._names)
        self._pending.append(change)

    def _sync_names(self, folder: str) -> None:
        """Make the pending changes of a folder durable, and what they build on elsewhere."""
        due: list[_Rename] = []
        wanted: set[str] = set()
        for change in reversed(self._pending):
            if change.folder == folder or change.touches(wanted):
                due.append(change)
                wanted.update(change.names)
        for change in reversed(due):
            change.apply(self._disk_names)
            self._pending.remove(change)

    # What files do ----------------------------------------------------------------------------

    def _append(self, file: FaultyFile, data: bytes) -> None:
        inode = file.inode

        def write(size: int) -> None:
            if size:
                inode.change(len(inode.cache), bytes(data[:size]))
            inode.mtime = self._time()
            self.written += size
            file.size = len(inode.cache)

        try:
            self._begin("append", f"{file.name} {len(data)} bytes at {file.size}")
        except OSError:
            with self._lock:
                write(self._room(self.chance.randint(0, len(data))))
            raise
        with self._lock:
            if self._power_is_off():
                write(self.chance.randint(0, len(data)))
                raise PowerFailure(f"append {file.name}")
            size = self._room(len(data))
            write(size)
            if size < len(data):
                self.faults += 1
                self.log[-1] += f" -> ENOSPC after {size} bytes"
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)

    def _sync(self, file: FaultyFile) -> None:
        try:
            self._begin("sync", file.name)
        except OSError:
            with self._lock:
                file.inode.fail_sync(self.chance, self.tears)
            raise
        with self._lock:
            if self._power_is_off():
                raise PowerFailure(f"sync {file.name}")  # `crash` decides what got through
            file.inode.sync()

    def _truncate(self, file: FaultyFile, size: int) -> None:
        def effect() -> None:
            file.inode.change(size, None)
            file.inode.mtime = self._time()
            file.size = size

        self._do("truncate", f"{file.name} to {size}", effect)


class FaultyFile(File):
    """A file of a `FaultyStorage`, open for appending."""

    def __init__(self, storage: FaultyStorage, name: str, inode: Inode) -> None:
        self._storage = storage
        self._closed = False
        self.name = name
        self.inode = inode
        self.size = len(inode.cache)

    def append(self, data: bytes) -> None:
        self._check()
        self._storage._append(self, data)

    def sync(self) -> None:
        self._check()
        self._storage._sync(self)

    def truncate(self, size: int) -> None:
        self._check()
        self._storage._truncate(self, size)

    def close(self) -> None:
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.name)


class _Reader(io.RawIOBase):
    """A file of a `FaultyStorage`, open for reading."""

    def __init__(self, storage: FaultyStorage, name: str, inode: Inode) -> None:
        self.name = name
        self._storage = storage
        self._inode = inode
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._storage._begin("read", self.name)
        data = self._inode.cache[self._at : self._at + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._at, len(self._inode.cache))[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at


def _checked(name: str) -> str:
    """The name, if the contract allows it; else ValueError."""
    parts = name.split("/")
    if not name or len(parts) > 2 or not all(parts) or "." in parts or ".." in parts:
        raise ValueError(f"{name!r} is not a plain file name, in one folder at most")
    return name
